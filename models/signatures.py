"""The one SavedModel: raw image bytes or tf.Examples in, class and probabilities out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from schema import contract

Outputs = dict[str, tf.Tensor]
# Raw features -> transformed features.
Transform = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]


def load_transform(directory: str) -> Transform:
    """Loads what tf.Transform wrote, to be put in front of a model.

    Args:
        directory: of the transform graph.

    Returns:
        The graph's layer where it has files of its own (vocabularies), which a SavedModel
        must hold. Else a function: what the signatures use of the graph is in them anyway,
        and whoever exports a layer exports all that loading it has made, too (4 s of CPU
        more, on two cores, for the same answers).
    """
    # What trains needs no tf.Transform, only what exports.
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(directory)
    layer: Transform = output.transform_features_layer()
    assets = os.path.join(output.transform_savedmodel_dir, tf.saved_model.ASSETS_DIRECTORY)
    if tf.io.gfile.isdir(assets) and tf.io.gfile.listdir(assets):
        return layer
    return lambda features: layer(features)


class ServedModel(tf.Module):
    """Any classifier with the training pipeline's own transform graph in front.

    A subclass says how transformed images are classified; what a client sees is the same
    for all. `classify` stays callable in the SavedModel, so that another model can be put
    together from saved ones.
    """

    def __init__(
        self,
        transform: Transform,
        classes: Sequence[str],
        abstain_below: float,
    ) -> None:
        """Joins the parts.

        Args:
            transform: what `load_transform` returned.
            classes: names in the order of the probabilities.
            abstain_below: an image whose highest probability is lower is marked as one that
                a person has to look at.
        """
        super().__init__(name="cxr_classifier")
        self.transform = transform
        self.class_names = tf.Variable(list(classes), trainable=False, name="class_names")
        self.abstain_below = tf.Variable(abstain_below, trainable=False, name="abstain_below")
        self.classify = tf.function(
            self._classify,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )
        self.predict = tf.function(
            self._predict,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
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
        transformed = self.transform({contract.IMAGE: image_bytes})
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

    @tf.function(autograph=False)
    def serving_default(image_bytes: tf.Tensor) -> Outputs:
        return model.predict(image_bytes)

    @tf.function(autograph=False)
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
