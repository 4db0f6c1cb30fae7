"""The one SavedModel: image bytes or tf.Examples in; class, probabilities, heat map out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from models.explanation import heat_map
from models.lending import Lender
from models.linking import link
from models.preprocessing import decode_transformed
from schema import contract

Outputs = dict[str, tf.Tensor]
# Raw features -> transformed features.
Transform = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]
PIXELS = tf.TensorSpec([None, contract.IMAGE_SIZE, contract.IMAGE_SIZE, 1], tf.float32)


def load_transform(directory: str) -> Transform:
    """Load what tf.Transform wrote, to be put in front of a model.

    Args:
        directory: of the transform graph.

    Returns:
        The graph's layer where it has files of its own (vocabularies), which a SavedModel
        must hold. Else a function: what the signatures use of the graph is in them anyway,
        and an exported layer brings all that loading it has made, too (4 s of CPU
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
    for all. Besides the signatures, the SavedModel keeps callable:

    * `classify` and a backbone's `evidence`, so that another model can be put together from
      saved ones;
    * what `predict` is made of, `preprocess` (bytes -> pixels), `network` (pixels -> heads)
      and `answer` (probabilities -> outputs), so that a server can run the network, which is
      nearly all of the work, on something faster.
    """

    def __init__(
        self,
        transform: Transform,
        classes: Sequence[str],
        abstain_below: float,
    ) -> None:
        """Join the parts.

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
        strings = tf.TensorSpec([None], tf.string)
        self.transformed = traced(self._transformed, strings)
        self.preprocess = traced(self._preprocess, strings)
        self.network = traced(self._network, PIXELS)
        self.classify = traced(self._classify, strings)
        self.answer = traced(self._answer, tf.TensorSpec([None, len(classes)], tf.float32))
        self.predict = traced(self._predict, strings)

    def to_export(self) -> ServedModel:
        """Return what is saved in its place."""
        return self

    @property
    def lenders(self) -> Mapping[str, Lender]:
        """The lenders whose functions it calls (see `models.linking.link`)."""
        return {}

    def _classify(self, pngs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Classify what the transform graph put out.

        Args:
            pngs: string [batch].

        Returns:
            `contract.FLAT`, the answer, and whatever else the subclass knows; each
            calibrated probabilities, float32 [batch, n].
        """
        raise NotImplementedError

    def _explained(self, pngs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Classify what the transform graph put out, and return what the answer stands on.

        Args:
            pngs: string [batch].

        Returns:
            `_classify`'s `contract.FLAT`, and what speaks for the class of the highest
            probability (see `models.explanation.evidence`), float32 [batch, 256, 256].
        """
        raise NotImplementedError

    def _network(self, pixels: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Classify pixels, all at once.

        Args:
            pixels: grey levels 0..255, float32 [batch, 256, 256, 1].

        Returns:
            As `_classify`.
        """
        raise NotImplementedError

    def _transformed(self, image_bytes: tf.Tensor) -> tf.Tensor:
        transformed = self.transform({contract.IMAGE: image_bytes})
        return tf.reshape(transformed[contract.TRANSFORMED_IMAGE], [-1])

    def _preprocess(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """Turn PNG or JPEG files, string [batch], into grey levels uint8 [batch, 256, 256, 1]."""
        return decode_transformed(self.transformed(image_bytes))

    def _predict(self, image_bytes: tf.Tensor) -> Outputs:
        """Classify images.

        Args:
            image_bytes: string [batch], PNG or JPEG files.

        Returns:
            `classes` string [batch, n]: the names in the order of the probabilities;
            `probabilities` float32 [batch, n]; `predicted_class` string [batch];
            `abstain` bool [batch].
        """
        return self.answer(self.classify(self.transformed(image_bytes))[contract.FLAT])

    def explain(self, image_bytes: tf.Tensor) -> Outputs:
        """Classify images, and show what speaks for each answer.

        Args:
            image_bytes: string [batch], PNG or JPEG files.

        Returns:
            What `_predict` returns, and `heat_map`, float32 [batch, 256, 256], 0..1.
        """
        probabilities, evidence = self._explained(self.transformed(image_bytes))
        outputs: Outputs = self.answer(probabilities)
        return outputs | {contract.OUTPUT_HEAT_MAP: heat_map(evidence)}

    def _answer(self, probabilities: tf.Tensor) -> Outputs:
        """Turn probabilities float32 [batch, n] into what `_predict` returns."""
        names = self.class_names.read_value()
        return {
            contract.OUTPUT_CLASSES: tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1]),
            contract.OUTPUT_PROBABILITIES: probabilities,
            contract.OUTPUT_PREDICTED: tf.gather(names, tf.argmax(probabilities, axis=-1)),
            contract.OUTPUT_ABSTAIN: tf.reduce_max(probabilities, axis=-1) < self.abstain_below,
        }


def traced(python_function: Callable[..., Any], *specs: tf.TensorSpec) -> Any:
    """Trace a function once, for these inputs, as a SavedModel holds it."""
    return tf.function(python_function, input_signature=specs, autograph=False)


def _signatures(model: ServedModel) -> dict[str, Callable[..., Outputs]]:
    strings = tf.TensorSpec([None], tf.string)

    @tf.function(autograph=False)
    def serving_default(image_bytes: tf.Tensor) -> Outputs:
        return model.predict(image_bytes)

    @tf.function(autograph=False)
    def serve_examples(examples: tf.Tensor) -> Outputs:
        spec = {contract.IMAGE: tf.io.FixedLenFeature([], tf.string)}
        return model.predict(tf.io.parse_example(examples, spec)[contract.IMAGE])

    @tf.function(autograph=False)
    def explain(image_bytes: tf.Tensor) -> Outputs:
        return model.explain(image_bytes)

    def named(name: str) -> tf.TensorSpec:
        return tf.TensorSpec(strings.shape, strings.dtype, name=name)

    return {
        contract.SIGNATURE_DEFAULT: serving_default.get_concrete_function(
            image_bytes=named(contract.INPUT_IMAGES)
        ),
        contract.SIGNATURE_EXAMPLES: serve_examples.get_concrete_function(
            examples=named(contract.INPUT_EXAMPLES)
        ),
        contract.SIGNATURE_EXPLAIN: explain.get_concrete_function(
            image_bytes=named(contract.INPUT_IMAGES)
        ),
    }


def export(model: ServedModel, directory: str) -> None:
    """Write the SavedModel with its signatures.

    Args:
        model: the trained classifier.
        directory: of the SavedModel; made where it isn't there.
    """
    saved = model.to_export()
    tf.saved_model.save(saved, directory, signatures=_signatures(saved))
    if saved.lenders:
        link(directory, saved.lenders)
