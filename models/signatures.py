"""The one SavedModel: raw image bytes or tf.Examples in, class and probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from models.boundary import CutNetwork
from models.heads import apply_head
from models.preprocessing import decode_transformed
from schema import contract

Outputs = dict[str, tf.Tensor]

# Images through the network at once; more gains nothing on a CPU.
_CHUNK = 16


@dataclass(frozen=True)
class Classifier:
    """The trained parts behind the preprocessing.

    A plain object on purpose: tf.Module doesn't track it, and a graph of 400 Keras layers
    takes longer to save and to load than the weights.

    Attributes:
        network: prefix and suffix.
        head: pooled taps -> probabilities.
    """

    network: CutNetwork
    head: keras.Model

    def __call__(self, pngs: tf.Tensor) -> tf.Tensor:
        """Transformed images, string [batch] -> probabilities float32 [batch, n]."""
        grey = tf.cast(decode_transformed(pngs), tf.float32)
        taps = self.network.suffix(self.network.prefix(grey, training=False), training=False)
        return apply_head(self.head, taps, training=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """All of them."""
        parts = (self.network.prefix, self.network.suffix, self.head)
        return [variable.value for part in parts for variable in part.variables]


class ServedModel(tf.Module):
    """A trained classifier with the training pipeline's own transform graph in front."""

    def __init__(
        self,
        transform_layer: keras.layers.Layer,
        network: CutNetwork,
        head: keras.Model,
        classes: Sequence[str],
    ) -> None:
        """Joins the parts.

        Args:
            transform_layer: `TFTransformOutput.transform_features_layer()`.
            network: prefix and suffix.
            head: pooled taps -> probabilities.
            classes: names in the order of the probabilities.
        """
        super().__init__(name="cxr_classifier")
        self.transform_layer = transform_layer
        self.class_names = tf.Variable(list(classes), trainable=False, name="class_names")
        self.classifier = Classifier(network, head)
        self.weights = self.classifier.variables
        self._n_classes = len(classes)
        self.predict = tf.function(
            self._predict, input_signature=[tf.TensorSpec([None], tf.string)]
        )

    def _predict(self, image_bytes: tf.Tensor) -> Outputs:
        """Classifies images.

        Args:
            image_bytes: string [batch], PNG or JPEG files.

        Returns:
            `classes` string [batch, n]: the names in the order of the probabilities;
            `probabilities` float32 [batch, n]; `predicted_class` string [batch].
        """
        transformed = self.transform_layer({contract.IMAGE: image_bytes})
        pngs = tf.reshape(transformed[contract.TRANSFORMED_IMAGE], [-1])
        probabilities = self._classify_in_chunks(pngs)
        names = self.class_names.read_value()
        return {
            contract.OUTPUT_CLASSES: tf.tile(names[tf.newaxis], [tf.shape(image_bytes)[0], 1]),
            contract.OUTPUT_PROBABILITIES: probabilities,
            contract.OUTPUT_PREDICTED: tf.gather(names, tf.argmax(probabilities, axis=-1)),
        }

    def _classify_in_chunks(self, pngs: tf.Tensor) -> tf.Tensor:
        """Activations take up to 34 MB an image (VGG16): chunks bound them for any batch size."""
        count = tf.shape(pngs)[0]
        chunks = (count + _CHUNK - 1) // _CHUNK
        classes = self._n_classes
        _, collected = tf.while_loop(
            lambda index, _: index < chunks,
            lambda index, done: (
                index + 1,
                done.write(index, self.classifier(pngs[index * _CHUNK : (index + 1) * _CHUNK])),
            ),
            (
                tf.constant(0),
                tf.TensorArray(
                    tf.float32, size=chunks, infer_shape=False, element_shape=[None, classes]
                ),
            ),
            parallel_iterations=1,
        )
        return tf.ensure_shape(collected.concat(), [None, classes])


def _signatures(model: ServedModel) -> dict[str, Callable[..., Outputs]]:
    strings = tf.TensorSpec([None], tf.string)

    @tf.function
    def serving_default(image_bytes: tf.Tensor) -> Outputs:
        return model.predict(image_bytes)

    @tf.function
    def serve_examples(examples: tf.Tensor) -> Outputs:
        spec = {contract.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        return model.predict(tf.io.parse_example(examples, spec)[contract.IMAGE])

    def named(name: str) -> tf.TensorSpec:
        return tf.TensorSpec(strings.shape, strings.dtype, name=name)

    return {
        contract.SIGNATURE_DEFAULT: serving_default.get_concrete_function(
            image_bytes=named(contract.INPUT_IMAGES)
        ),
        contract.SIGNATURE_EXAMPLES: serve_examples.get_concrete_function(
            examples=named(contract.INPUT_EXAMPLES)
        ),
    }


def export(model: ServedModel, directory: str) -> None:
    """Writes the SavedModel with its signatures.

    Args:
        model: the trained classifier.
        directory: of the SavedModel; made where it isn't there.
    """
    tf.saved_model.save(model, directory, signatures=_signatures(model))
