"""One trained backbone as a served model: network, heads, their calibration, what they see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import keras
import tensorflow as tf

from models.backbones import Pool
from models.boundary import Part
from models.calibration import TINY
from models.chunks import in_chunks
from models.explanation import MAP_SHAPE, evidence
from models.heads import apply_head, tap_means
from models.input_gate_tensors import GateTensors
from models.lending import WEIGHTS, Lender
from models.lent_network import lent_parts
from models.preprocessing import PIXELS, decode_transformed
from models.signatures import ImageModel, Outputs, ServedModel, Transform, traced
from models.table_parts import added
from schema import contract
from schema.inputs import Input


class Network(Protocol):
    """Pixels -> feature maps -> taps: a backbone's, or several (`models.fusion`)."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """Backbone -> its network."""

    def with_parts(self, parts: Mapping[str, Part], /) -> Network:
        """Return the same with other networks in the places of these."""

    @property
    def pools(self) -> Mapping[str, Pool]:
        """Tap -> how its map is pooled."""

    @property
    def variables(self) -> Sequence[keras.Variable]:
        """All that are in memory."""

    def feature_maps(self, pixels: tf.Tensor, /) -> dict[str, tf.Tensor]:
        """Turn grey levels float32 [batch, 256, 256, 1] into {tap: map [batch, h, w, channels]}."""

    def pooled(self, maps: Mapping[str, tf.Tensor], /) -> dict[str, tf.Tensor]:
        """Say what `feature_maps` returned -> {tap: [batch, channels]}."""

    def taps(self, features: Mapping[str, Mapping[str, tf.Tensor]], /) -> dict[str, tf.Tensor]:
        """{backbone: {feature: float32 [batch, ...]}} -> {tap: [batch, channels]}."""


@dataclass(frozen=True)
class CalibratedHead:
    """A head and the temperature of its answers.

    Attributes:
        model: pooled taps -> probabilities (see `models.heads`).
        temperature: T of Guo et al. 2017: calibrated is softmax(log p / T), which for a
            softmax layer is softmax(logits / T). It never changes which class is first.
    """

    model: keras.Model
    temperature: float = 1.0

    def __call__(self, taps: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Turn pooled taps [batch, channels] into calibrated probabilities float32 [batch, n]."""
        probabilities = apply_head(self.model, taps, training=False)
        logits = tf.math.log(tf.maximum(probabilities, TINY))
        return tf.nn.softmax(logits / self.temperature)


@dataclass(frozen=True)
class Classifier:
    """The trained parts behind the preprocessing.

    A plain object on purpose: tf.Module doesn't track it, and a graph of 400 Keras layers
    takes longer to save and to load than the weights.

    Attributes:
        network: a backbone's, or several side by side.
        heads: by name; `contract.FLAT` is always there.
        gate: for images that are none of this task; None where there is none.
    """

    network: Network
    heads: Mapping[str, CalibratedHead]
    gate: GateTensors | None = None

    def feature_maps(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Turn grey levels float32 [batch, 256, 256, 1] into {tap: map [batch, h, w, channels]}."""
        return self.network.feature_maps(pixels)

    def answers(self, maps: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Turn what `feature_maps` returned into what `of_taps` returns."""
        return self.of_taps(self.network.pooled(maps))

    def of_taps(self, taps: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Turn pooled taps [batch, channels] into answers.

        Returns:
            {head: probabilities float32 [batch, n]}; where there is a gate, also
            {`contract.DISTANCE`: float32 [batch, 1]}.
        """
        answers = {name: head(taps) for name, head in self.heads.items()}
        return answers | self.distance(taps)

    def distance(self, taps: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the gate's part of `of_taps`."""
        return {} if self.gate is None else {contract.DISTANCE: self.gate.look(taps)}

    def evidence(
        self,
        head: str,
        maps: Mapping[str, tf.Tensor],
        taps: Mapping[str, tf.Tensor],
        classes: tf.Tensor,
    ) -> tf.Tensor:
        """Compute what speaks for classes in one head's answers (`models.explanation.evidence`).

        Args:
            head: its name.
            maps: what `feature_maps` returned.
            taps: the same pooled.
            classes: int [batch].

        Returns:
            float32 [batch, 256, 256].
        """
        chosen, network = self.heads[head], self.network
        # What has no map, such as a column of the table, speaks for no place.
        means = {n: mean for n, mean in tap_means(chosen.model).items() if n in network.pools}
        return evidence(chosen, maps, taps, network.pools, means, classes)

    @property
    def variables(self) -> list[tf.Variable]:
        """All of them."""
        parts = (self.network, *(head.model for head in self.heads.values()))
        own = [variable.value for part in parts for variable in part.variables]
        return own if self.gate is None else [*own, *self.gate.look.variables]


class BackboneModel(ImageModel):
    """A classifier, ready to be exported: a backbone's, or one on several networks."""

    def __init__(
        self,
        transform: Transform,
        classifier: Classifier,
        classes: Sequence[str],
        abstain_below: float,
        beside: Sequence[Input] = (),
    ) -> None:
        """Join the parts.

        Args:
            transform: what `load_transform` returned.
            classifier: the trained parts.
            classes: names in the order of the probabilities.
            abstain_below: see `ServedModel`.
            beside: likewise.
        """
        gate = classifier.gate
        super().__init__(
            transform, classes, abstain_below, beside, None if gate is None else gate.pixels
        )
        self.classifier = classifier
        self.weights = classifier.variables
        self._n_classes = len(classes)
        # By itself: all that runs the network calls this one function.
        self.feature_maps = traced(self._feature_maps, PIXELS)
        ints = tf.TensorSpec([None], tf.int32)
        self.evidence = traced(self._evidence, PIXELS, ints, ints)

    def to_export(self) -> ServedModel:
        """Return the same model with a stand-in for its network, which is linked in."""
        return _Linked(self)

    def _feature_maps(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.classifier.feature_maps(pixels)

    def _network(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.classifier.answers(self.feature_maps(pixels))

    def _classify(self, pngs: tf.Tensor) -> dict[str, tf.Tensor]:
        widths = dict.fromkeys(self.classifier.heads, self._n_classes)
        if self.classifier.gate is not None:
            widths[contract.DISTANCE] = 1

        def classify(rows: slice) -> list[tf.Tensor]:
            answers = self.network(tf.cast(decode_transformed(pngs[rows]), tf.float32))
            return [tf.concat([answers[name] for name in widths], axis=-1)]

        (together,) = in_chunks(classify, tf.shape(pngs)[0], [(sum(widths.values()),)])
        parts = tf.split(together, list(widths.values()), axis=-1)
        return dict(zip(widths, parts, strict=True))

    def _classify_with_table(self, *transformed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return self.classifier.of_taps(self._joined_taps(*transformed))

    def _predict_with_table(self, *raw: tf.Tensor) -> Outputs:
        made = self._transform_of((*self.taken, *self.beside), raw)
        taps, head = self._joined_taps(*made), self.classifier.heads[contract.FLAT]
        probabilities = head(taps)
        answer: Outputs = self.answer(probabilities)
        screened = self._screened(made, self.classifier.distance(taps))
        return answer | screened | added(head.model, head.temperature, taps, probabilities)

    def _joined_taps(self, pngs: tf.Tensor, *columns: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute the image's taps, and put the columns of the table beside them."""
        network = self.classifier.network
        beside = {each.transformed.name: v for each, v in zip(self.beside, columns, strict=True)}
        heads = self.classifier.heads.values()
        channels = {tap: t.shape[-1] for head in heads for tap, t in head.model.input.items()}
        names = [name for name in channels if name not in beside]

        def pool(rows: slice) -> list[tf.Tensor]:
            maps = self.feature_maps(tf.cast(decode_transformed(pngs[rows]), tf.float32))
            taps = network.pooled(maps)
            return [taps[name] for name in names]

        pooled = in_chunks(pool, tf.shape(pngs)[0], [(channels[name],) for name in names])
        return dict(zip(names, pooled, strict=True)) | beside

    def _evidence(
        self, pixels: tf.Tensor, rows: tf.Tensor, classes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Compute what speaks for classes that another model has chosen.

        An image passes the network once, of however many classes it is asked.

        Args:
            pixels: grey levels 0..255, float32 [batch, 256, 256, 1].
            rows: int32 [answers], the image of each.
            classes: int32 [answers], the class of each.

        Returns:
            {head: float32 [answers, 256, 256]} (see `models.explanation.evidence`).
        """
        classifier, maps = self.classifier, self.feature_maps(pixels)
        taps = classifier.network.pooled(maps)
        maps, taps = (
            {name: tf.gather(each, rows) for name, each in of_images.items()}
            for of_images in (maps, taps)
        )
        return {n: classifier.evidence(n, maps, taps, classes) for n in classifier.heads}

    def _explained(self, pngs: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        def explain(rows: slice) -> list[tf.Tensor]:
            maps = self.feature_maps(tf.cast(decode_transformed(pngs[rows]), tf.float32))
            # The one head alone: each is traced where it is called.
            taps = self.classifier.network.pooled(maps)
            probabilities = self.classifier.heads[contract.FLAT](taps)
            classes = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
            shown = self.classifier.evidence(contract.FLAT, maps, taps, classes)
            return [probabilities, shown, *self.classifier.distance(taps).values()]

        gated = self.classifier.gate is not None
        shapes = [(self._n_classes,), MAP_SHAPE, *([(1,)] if gated else [])]
        probabilities, evidence, *distance = in_chunks(explain, tf.shape(pngs)[0], shapes)
        answers = {contract.FLAT: probabilities}
        return answers | ({contract.DISTANCE: distance[0]} if gated else {}), evidence


class _Linked(BackboneModel):
    """A model whose network stands aside while it is traced and saved (see `models.lending`)."""

    def __init__(self, model: BackboneModel) -> None:
        """Take the parts, and trace those networks that aren't yet.

        Args:
            model: whose they are; traced or not.
        """
        network = model.classifier.network
        parts = lent_parts(network.parts)
        classifier = replace(model.classifier, network=network.with_parts(parts))
        names = [name.decode() for name in model.class_names.numpy()]
        below = float(model.abstain_below.numpy())
        super().__init__(model.transform, classifier, names, below, model.beside)
        lenders = [part.lender for part in parts.values()]
        if isinstance(network, Part):
            # What it borrows are the model's own, where another model looks for them.
            (part,), (lender,) = parts.values(), lenders
            self._lenders = {WEIGHTS: lender}
            self.stand_in = lender.stand_in
            self.feature_maps = part.borrowed
            return
        self.networks = [_Borrowed(lender) for lender in lenders]
        self._lenders = {f"networks/{n}/{WEIGHTS}": each for n, each in enumerate(lenders)}

    def to_export(self) -> ServedModel:
        """Return the model itself."""
        return self

    @property
    def lenders(self) -> dict[str, Lender]:
        """Its networks."""
        return self._lenders


class _Borrowed(tf.Module):
    """The place where a model that is saved has a lender's variables."""

    def __init__(self, lender: Lender) -> None:
        super().__init__()
        self.stand_in = lender.stand_in
        self.weights: list[tf.Variable] = []
