"""The one SavedModel: image bytes or tf.Examples in; class, probabilities, heat map out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from models import input_gate_tensors
from models.explanation import heat_map
from models.input_gate import PixelGate
from models.lending import Lender
from models.linking import link
from models.preprocessing import PIXELS, decode_transformed
from models.table_signature import nothing, sparse, spread, write_columns, write_defaults
from models.table_values import missing_value
from schema import contract, inputs
from schema.inputs import Input, Tensor

Outputs = dict[str, tf.Tensor]
# Raw features -> transformed features.
Transform = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]


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

    A subclass says how transformed inputs are classified; what a client sees is the same
    for all. Besides the signatures, the SavedModel keeps `classify` callable, so that another
    model can be put together from saved ones.
    """

    def __init__(
        self,
        transform: Transform,
        classes: Sequence[str],
        abstain_below: float,
        taken: Sequence[Input],
        beside: Sequence[Input] = (),
    ) -> None:
        """Join the parts.

        Args:
            transform: what `load_transform` returned.
            classes: names in the order of the probabilities.
            abstain_below: an image whose highest probability is lower is marked as one that
                a person has to look at.
            taken: the model's inputs. Its functions take their values in this order. Columns of
                the table are dense, with NaN or "" where a value is missing.
            beside: columns of the table without which it answers, too: `serving_default` has
                them not, and `serve_with_table` has them all, each of them optional.
        """
        super().__init__(name="cxr_classifier")
        self.transform = transform
        self.taken = tuple(taken)
        self.beside = tuple(beside)
        self.class_names = tf.Variable(list(classes), trainable=False, name="class_names")
        self.abstain_below = tf.Variable(abstain_below, trainable=False, name="abstain_below")
        raw = [_batch_of(each.raw) for each in taken]
        self.transformed = traced(self._transformed, *raw)
        self.classify = traced(self._classify, *(_batch_of(each.transformed) for each in taken))
        self.answer = traced(self._answer, tf.TensorSpec([None, len(classes)], tf.float32))
        self.predict = traced(self._predict, *raw)
        if self.beside:
            every = [_batch_of(each.raw) for each in (*self.taken, *self.beside)]
            self.predict_with_table = traced(self._predict_with_table, *every)

    def to_export(self) -> ServedModel:
        """Return what is saved in its place."""
        return self

    @property
    def lenders(self) -> Mapping[str, Lender]:
        """Lenders of the functions that it calls (see `models.linking.link`)."""
        return {}

    def _classify(self, *transformed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Classify what the transform graph put out.

        Returns:
            `contract.FLAT`, the answer, and whatever else the subclass knows; each
            calibrated probabilities, float32 [batch, n], but for `contract.DISTANCE`.
        """
        if not self.beside:
            raise NotImplementedError
        size = tf.shape(transformed[0])[0]
        return self._classify_with_table(
            *transformed, *(nothing(each, size) for each in self.beside)
        )

    def _classify_with_table(self, *transformed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Classify what the transform graph put out, columns of the table among it.

        Args:
            transformed: of `taken`, then of `beside`. What is missing of a column is zeros.

        Returns:
            As `_classify`.
        """
        raise NotImplementedError

    def _transformed(self, *raw: tf.Tensor) -> list[tf.Tensor]:
        """Turn what the examples hold into what Transform hands on."""
        return self._transform_of(self.taken, raw)

    def _transform_of(self, taken: Sequence[Input], raw: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        given = {
            each.raw.name: sparse(each.column, value) if each.column else value
            for each, value in zip(taken, raw, strict=True)
        }
        made = self.transform(given)
        stages = (each.transformed for each in taken)
        return [tf.reshape(made[one.name], [-1, *one.shape]) for one in stages]

    def _predict(self, *raw: tf.Tensor) -> Outputs:
        """Classify images.

        Returns:
            `classes` string [batch, n]: the names in the order of the probabilities;
            `probabilities` float32 [batch, n]; `predicted_class` string [batch];
            `abstain` bool [batch]; of a model with an input gate also `in_domain` bool [batch]
            and `domain_reason` string [batch].
        """
        made = self.transformed(*raw)
        answers = self.classify(*made)
        outputs: Outputs = self.answer(answers[contract.FLAT])
        return outputs | self._screened(made, answers)

    def _predict_with_table(self, *raw: tf.Tensor) -> Outputs:
        """Classify images and rows of the table; as `_predict` else."""
        made = self._transform_of((*self.taken, *self.beside), raw)
        answers = self._classify_with_table(*made)
        outputs: Outputs = self.answer(answers[contract.FLAT])
        return outputs | self._screened(made, answers)

    def _screened(
        self, made: Sequence[tf.Tensor], answers: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Return the input gate's outputs, where there is a gate.

        Args:
            made: what the transform graph put out.
            answers: to it.
        """
        return {}

    def _answer(self, probabilities: tf.Tensor) -> Outputs:
        """Turn probabilities float32 [batch, n] into what `_predict` returns."""
        names = self.class_names.read_value()
        return {
            contract.OUTPUT_CLASSES: tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1]),
            contract.OUTPUT_PROBABILITIES: probabilities,
            contract.OUTPUT_PREDICTED: tf.gather(names, tf.argmax(probabilities, axis=-1)),
            contract.OUTPUT_ABSTAIN: tf.reduce_max(probabilities, axis=-1) < self.abstain_below,
        }


class ImageModel(ServedModel):
    """A classifier of what the networks see, and of nothing beside it.

    Besides a `ServedModel`'s, the SavedModel keeps callable:

    * a backbone's `evidence`, so that another model can be put together from saved ones;
    * what `predict` is made of, `preprocess` (bytes -> pixels), `network` (pixels -> heads),
      `answer` (probabilities -> outputs) and, where there is an input gate, `screen` (pixels and
      distances -> its outputs), so that a server can run the network, which is nearly all of the
      work, on something faster.
    """

    def __init__(
        self,
        transform: Transform,
        classes: Sequence[str],
        abstain_below: float,
        beside: Sequence[Input] = (),
        gate: PixelGate | None = None,
    ) -> None:
        """Join the parts; arguments as those of `ServedModel`, and the half of an input gate."""
        self.gate = gate
        if gate is not None:
            # So that another model can take it over.
            self.written_gate = tf.Variable(gate.to_json(), trainable=False, name="gate")
            pixels = tf.TensorSpec(PIXELS.shape, tf.uint8)
            self.screen = traced(self._screen, pixels, tf.TensorSpec([None, 1], tf.float32))
        super().__init__(transform, classes, abstain_below, [inputs.for_backbones()], beside)
        self.preprocess = traced(self._preprocess, tf.TensorSpec([None], tf.string))
        self.network = traced(self._network, PIXELS)

    def _explained(self, pngs: tf.Tensor) -> tuple[Mapping[str, tf.Tensor], tf.Tensor]:
        """Classify what the transform graph put out, and return what the answer stands on.

        Args:
            pngs: string [batch].

        Returns:
            `_classify`'s `contract.FLAT` and `contract.DISTANCE`, and what speaks for the class of
            the highest probability (see `models.explanation.evidence`), float32 [batch, 256, 256].
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

    def _preprocess(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """Turn PNG or JPEG files, string [batch], into grey levels uint8 [batch, 256, 256, 1]."""
        (pngs,) = self.transformed(image_bytes)
        return decode_transformed(pngs)

    def explain(self, image_bytes: tf.Tensor) -> Outputs:
        """Classify images, and show what speaks for each answer.

        Args:
            image_bytes: string [batch], PNG or JPEG files.

        Returns:
            What `_predict` returns, and `heat_map`, float32 [batch, 256, 256], 0..1.
        """
        (pngs,) = self.transformed(image_bytes)
        answers, evidence = self._explained(pngs)
        outputs: Outputs = self.answer(answers[contract.FLAT])
        outputs |= self._screened([pngs], answers)
        return outputs | {contract.OUTPUT_HEAT_MAP: heat_map(evidence)}

    def _screened(
        self, made: Sequence[tf.Tensor], answers: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        if self.gate is None:
            return {}
        found: Outputs = self.screen(decode_transformed(made[0]), answers[contract.DISTANCE])
        return found

    def _screen(self, pixels: tf.Tensor, distances: tf.Tensor) -> dict[str, tf.Tensor]:
        assert self.gate is not None
        return input_gate_tensors.screen(self.gate, pixels, distances)


def traced(python_function: Callable[..., Any], *specs: tf.TensorSpec) -> Any:
    """Trace a function once, for these inputs, as a SavedModel holds it."""
    return tf.function(python_function, input_signature=specs, autograph=False)


def parse_examples(examples: tf.Tensor, taken: Sequence[Input]) -> list[tf.Tensor]:
    """Read inputs from serialized tf.Examples, string [batch].

    Args:
        examples: what RadiographExampleGen writes, or as much of it as is read.
        taken: which inputs; each must be in each, but for columns of the table.
    """
    spec = {
        each.raw.name: tf.io.FixedLenFeature(
            each.raw.shape, each.raw.dtype, missing_value(each.column) if each.column else None
        )
        for each in taken
    }
    parsed = tf.io.parse_example(examples, spec)
    return [parsed[each.raw.name] for each in taken]


def _batch_of(tensor: Tensor, name: str | None = None) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape], tensor.dtype, name)


def _signatures(model: ServedModel) -> dict[str, Any]:
    """Make functions that are traced when they are saved.

    TensorFlow keeps what is traced while it saves apart from what was traced before: all that the
    signatures call would be traced twice, and be in the SavedModel twice. The names that clients
    give are those of the specifications.
    """
    every = (*model.taken, *model.beside)
    predict = model.predict_with_table if model.beside else model.predict

    def serving_default(*served: tf.Tensor) -> Outputs:
        return model.predict(*_in_rows(model.taken, served))

    def serve_with_table(*served: tf.Tensor) -> Outputs:
        return predict(*_in_rows(every, served))

    def serve_examples(examples: tf.Tensor) -> Outputs:
        return predict(*parse_examples(examples, every))

    named = [_batch_of(each.raw, each.served) for each in model.taken]
    examples = tf.TensorSpec([None], tf.string, contract.INPUT_EXAMPLES)
    signatures = {
        contract.SIGNATURE_DEFAULT: traced(serving_default, *named),
        contract.SIGNATURE_EXAMPLES: traced(serve_examples, examples),
    }
    if any(each.column for each in every):
        further = [_batch_of(each.raw, each.served) for each in model.beside]
        signatures[contract.SIGNATURE_TABLE] = traced(serve_with_table, *named, *further)
    if isinstance(model, ImageModel):
        signatures[contract.SIGNATURE_EXPLAIN] = traced(model.explain, *named)
    return signatures


def _in_rows(taken: Sequence[Input], served: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Give each row of a request a value of each column, where there is one for all."""
    columns = [each.column for each in taken]
    if not any(columns):
        return list(served)
    # Whatever is no column has a row for each; a table alone may have columns of one value.
    rows = [values for column, values in zip(columns, served, strict=True) if not column]
    size = tf.reduce_max(tf.stack([tf.shape(values)[0] for values in rows or served]))
    return [
        spread(column, values, size) if column else values
        for column, values in zip(columns, served, strict=True)
    ]


def export(model: ServedModel, directory: str) -> None:
    """Write the SavedModel with its signatures.

    Args:
        model: the trained classifier.
        directory: of the SavedModel; made where it isn't there.
    """
    saved = model.to_export()
    signatures = _signatures(saved)
    tf.saved_model.save(saved, directory, signatures=signatures)
    if saved.lenders:
        link(directory, saved.lenders)
    columns = [each.column for each in (*saved.taken, *saved.beside) if each.column]
    if columns:
        own = [each.column for each in saved.taken if each.column]
        optional = {contract.SIGNATURE_TABLE: columns, contract.SIGNATURE_DEFAULT: own}
        write_defaults(directory, optional)
        write_columns(directory, columns)
