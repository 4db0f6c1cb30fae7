"""One trained backbone as a served model: network, heads and their calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from models.boundary import CutNetwork
from models.calibration import TINY
from models.heads import apply_head
from models.preprocessing import decode_transformed
from models.signatures import ServedModel, Transform

# Images through the network at once; more gains nothing on a CPU.
_CHUNK = 16


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
        """Pooled taps [batch, channels] -> calibrated probabilities float32 [batch, n]."""
        probabilities = apply_head(self.model, taps, training=False)
        logits = tf.math.log(tf.maximum(probabilities, TINY))
        return tf.nn.softmax(logits / self.temperature)


@dataclass(frozen=True)
class Classifier:
    """The trained parts behind the preprocessing.

    A plain object on purpose: tf.Module doesn't track it, and a graph of 400 Keras layers
    takes longer to save and to load than the weights.

    Attributes:
        network: prefix and suffix.
        heads: by name; `contract.FLAT` is always there.
    """

    network: CutNetwork
    heads: Mapping[str, CalibratedHead]

    def __call__(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grey levels float32 [batch, 256, 256, 1] -> {head: probabilities [batch, n]}."""
        taps = self.network.suffix(self.network.prefix(pixels, training=False), training=False)
        return {name: head(taps) for name, head in self.heads.items()}

    @property
    def variables(self) -> list[tf.Variable]:
        """All of them."""
        models = [head.model for head in self.heads.values()]
        parts = (self.network.prefix, self.network.suffix, *models)
        return [variable.value for part in parts for variable in part.variables]


class BackboneModel(ServedModel):
    """A backbone's classifier, ready to be exported."""

    def __init__(
        self,
        transform: Transform,
        classifier: Classifier,
        classes: Sequence[str],
        abstain_below: float,
    ) -> None:
        """Joins the parts.

        Args:
            transform: what `load_transform` returned.
            classifier: the trained parts.
            classes: names in the order of the probabilities.
            abstain_below: see `ServedModel`.
        """
        super().__init__(transform, classes, abstain_below)
        self.classifier = classifier
        self.weights = classifier.variables
        self._n_classes = len(classes)

    def _network(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.classifier(pixels)

    def _classify(self, pngs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Activations take up to 34 MB an image (VGG16): chunks bound them for any batch size."""
        count = tf.shape(pngs)[0]
        chunks = (count + _CHUNK - 1) // _CHUNK
        names = list(self.classifier.heads)
        width = self._n_classes * len(names)

        def classify(start: tf.Tensor) -> tf.Tensor:
            pixels = decode_transformed(pngs[start : start + _CHUNK])
            answers = self.network(tf.cast(pixels, tf.float32))
            return tf.concat([answers[name] for name in names], axis=-1)

        _, collected = tf.while_loop(
            lambda index, _: index < chunks,
            lambda index, done: (index + 1, done.write(index, classify(index * _CHUNK))),
            (
                tf.constant(0),
                tf.TensorArray(
                    tf.float32, size=chunks, infer_shape=False, element_shape=[None, width]
                ),
            ),
            parallel_iterations=1,
        )
        together = tf.ensure_shape(collected.concat(), [None, width])
        return dict(zip(names, tf.split(together, len(names), axis=-1), strict=True))
