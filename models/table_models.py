"""Models that take columns of the table: beside a network, and alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from models.backbones import Pool
from models.boundary import FeatureSpec, Part
from models.classifier import CalibratedHead, Network
from models.feature_records import specs_of
from models.signatures import Outputs, ServedModel, Transform
from models.table_parts import added
from models.table_signature import nothing
from schema import contract, inputs
from schema.table import TableColumn


def columns_of(
    features: Mapping[str, Mapping[str, Any]], columns: Sequence[TableColumn]
) -> dict[str, Any]:
    """Pick the columns, by their taps' names, out of {backbone: {feature: ...}}."""
    own = {each.transformed for each in columns}
    return {n: value for of in features.values() for n, value in of.items() if n in own}


class NoNetwork:
    """The place of a network in a model of the table alone."""

    def __init__(self, columns: Sequence[TableColumn]) -> None:
        """Take the columns, in any order."""
        self._columns = columns

    parts: Mapping[str, Part] = {}
    pools: Mapping[str, Pool] = {}
    variables: Sequence[keras.Variable] = ()

    def with_parts(self, _: Mapping[str, Part]) -> NoNetwork:
        """Return the same."""
        return self

    def feature_maps(self, _: Any) -> dict[str, Any]:
        """Return no map."""
        return {}

    def pooled(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Return no tap."""
        return {}

    def taps(self, features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Turn {backbone: {feature: [batch, ...]}} into {tap: [batch, channels]}."""
        return columns_of(features, self._columns)


@dataclass(frozen=True)
class JointNetwork:
    """Networks with columns of the table beside them: further taps, which come as they are.

    Where the columns aren't given, they are missing: zeros, as Transform has it.

    Attributes:
        network: a backbone's, or several (`models.fusion`).
        columns: of the table.
    """

    network: Network
    columns: tuple[TableColumn, ...]

    @property
    def parts(self) -> Mapping[str, Part]:
        """Backbone -> its network."""
        return self.network.parts

    def with_parts(self, parts: Mapping[str, Part]) -> JointNetwork:
        """Return the same with other networks in the places of these."""
        return JointNetwork(self.network.with_parts(parts), self.columns)

    @property
    def pools(self) -> Mapping[str, Pool]:
        """Tap of the image -> how its map is pooled; a column has no map."""
        return self.network.pools

    @property
    def variables(self) -> Sequence[keras.Variable]:
        """The networks'."""
        return self.network.variables

    def feature_maps(self, pixels: Any) -> dict[str, Any]:
        """Turn grey levels float32 [batch, 256, 256, 1] into {tap: map [batch, h, w, channels]}."""
        return self.network.feature_maps(pixels)

    def pooled(self, maps: Mapping[str, Any]) -> dict[str, Any]:
        """Pool maps into {tap: [batch, channels]}, without any value in the table."""
        taps = self.network.pooled(maps)
        size = tf.shape(next(iter(taps.values())))[0]
        return taps | {
            each.transformed.name: nothing(each, size) for each in inputs.of_columns(self.columns)
        }

    def taps(self, features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Turn {backbone: {feature: [batch, ...]}} into {tap: [batch, channels]}.

        The first backbone's features hold the columns, too.
        """
        straight = columns_of(features, self.columns)
        of_networks = {
            backbone: {name: value for name, value in values.items() if name not in straight}
            for backbone, values in features.items()
        }
        return self.network.taps(of_networks) | straight


class TableModel(ServedModel):
    """A classifier of the table alone, ready to be exported."""

    def __init__(
        self,
        transform: Transform,
        head: CalibratedHead,
        columns: Sequence[TableColumn],
        classes: Sequence[str],
        abstain_below: float,
    ) -> None:
        """Join the parts; arguments as those of `ServedModel`, and the head on the columns."""
        self._head = head
        super().__init__(transform, classes, abstain_below, inputs.of_columns(columns))
        self.weights = [variable.value for variable in head.model.variables]

    def _classify(self, *columns: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {contract.FLAT: self._head(self._taps(columns))}

    def _taps(self, columns: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        names = (each.transformed.name for each in self.taken)
        return dict(zip(names, columns, strict=True))

    def _predict(self, *raw: tf.Tensor) -> Outputs:
        made = self.transformed(*raw)
        probabilities = self.classify(*made)[contract.FLAT]
        answer: Outputs = self.answer(probabilities)
        return answer | added(
            self._head.model, self._head.temperature, self._taps(made), probabilities
        )


def beside_specs(columns: Sequence[TableColumn]) -> dict[str, FeatureSpec]:
    """Say as what Featurizer's records hold columns."""
    return specs_of(inputs.of_columns(columns))
