"""The one SavedModel: raw image bytes or tf.Examples in, class and probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from schema import contract

Outputs = dict[str, tf.Tensor]


class ServedModel(tf.Module):
    """Any classifier with the training pipeline's own transform graph in front.

    A subclass says how transformed images are classified; what a client sees is the same
    for all. `classify` stays callable in the SavedModel, so that another model can be put
    together from saved ones.
    """

    def __init__(
        self,
        transform_layer: keras.layers.Layer,
        classes: Sequence[str],
        abstain_below: float,
    ) -> None:
        """Joins the parts.

        Args:
            transform_layer: `TFTransformOutput.transform_features_layer()`.
            classes: names in the order of the probabilities.
            abstain_below: an image whose highest probability is lower is marked as one that
                a person has to look at.
        """
        super().__init__(name="cxr_classifier")
        self.transform_layer = transform_layer
        self.class_names = tf.Variable(list(classes), trainable=False, name="class_names")
        self.abstain_below = tf.Variable(abstain_below, trainable=False, name="abstain_below")
        self.classify = tf.function(
            self._classify, input_signature=[tf.TensorSpec([None], tf.string)]
        )
        self.predict = tf.function(
            self._predict, input_signature=[tf.TensorSpec([None], tf.string)]
        )

    def _classify(self, pngs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Classifies what the transform graph put out.

        Args:
            pngs: string [batch].

        Returns:
            `contract.FLAT`, the answer, and whatever else the subclass knows; each
            calibrated probabilities, float32 [batch, n].
        """
        raise NotImplementedError

    def _predict(self, image_bytes: tf.Tensor) -> Outputs:
        """Classifies images.

        Args:
            image_bytes: string [batch], PNG or JPEG files.

        Returns:
            `classes` string [batch, n]: the names in the order of the probabilities;
            `probabilities` float32 [batch, n]; `predicted_class` string [batch];
            `abstain` bool [batch].
        """
        transformed = self.transform_layer({contract.IMAGE: image_bytes})
        pngs = tf.reshape(transformed[contract.TRANSFORMED_IMAGE], [-1])
        probabilities = self.classify(pngs)[contract.FLAT]
        names = self.class_names.read_value()
        return {
            contract.OUTPUT_CLASSES: tf.tile(names[tf.newaxis], [tf.shape(image_bytes)[0], 1]),
            contract.OUTPUT_PROBABILITIES: probabilities,
            contract.OUTPUT_PREDICTED: tf.gather(names, tf.argmax(probabilities, axis=-1)),
            contract.OUTPUT_ABSTAIN: tf.reduce_max(probabilities, axis=-1) < self.abstain_below,
        }


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
