"""A backbone's frozen network that lends its functions to a model, and need not be in memory.

Whoever fits a head takes the network as it is kept (`models.traced_network`) and links it into the
model. It is built in Keras only where nothing of the kind is kept, or where its blocks are to be
trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from models.backbones import BOUNDARY_HEAD, Scaling
from models.boundary import FeatureSpec, Part, cached_taps, load_network
from models.lending import Lender
from models.traced_network import FEATURE_MAPS, find_traced, trace, traced_folder

if TYPE_CHECKING:
    import keras

# The lender's name where a model has no other.
ALONE: Final = "network"


@dataclass(frozen=True)
class LentNetwork(Part):
    """A network whose functions are there to borrow; it can be exported, and not called.

    Attributes:
        lender: of the function.
        function: its name there; pixels -> feature maps.
        cost: multiply-adds for one image.
    """

    lender: Lender
    function: str
    cost: int

    @cached_property
    def borrowed(self) -> Any:
        """The stand-in for the function."""
        return self.lender.borrow(self.function)

    @property
    def multiply_adds(self) -> int:
        """The cost of the whole network, for one image."""
        return self.cost

    @property
    def variables(self) -> Sequence[keras.Variable]:
        """None: the lender has them."""
        return ()

    def feature_maps(self, pixels: Any) -> dict[str, Any]:
        """Call the stand-in."""
        maps: dict[str, Any] = self.borrowed(pixels)
        return maps


def lent_parts(parts: Mapping[str, Part]) -> dict[str, LentNetwork]:
    """Have networks lend their functions; those in memory are traced.

    Args:
        parts: backbone -> its network; all that one model stands on.
    """
    return {n: _lent(part, ALONE if len(parts) == 1 else n) for n, part in parts.items()}


def _lent(part: Part, name: str) -> LentNetwork:
    if isinstance(part, LentNetwork):
        return part
    variables = [variable.value for variable in part.variables]
    lender = Lender.of_network(name, {FEATURE_MAPS: trace(part.feature_maps)}, variables)
    return LentNetwork(
        part.backbone,
        part.features,
        part.suffix,
        part.pools,
        lender,
        FEATURE_MAPS,
        part.multiply_adds,
    )


def load_part(
    backbone: str,
    scaling: Scaling | None,
    boundary: str,
    backbone_dir: str,
    taps: Sequence[str] | None,
    *,
    name: str = ALONE,
) -> Part:
    """Take a frozen network's functions from where they are kept, or else load the network.

    Args:
        backbone: name in the table.
        scaling: overrides the backbone's input scaling; None for its own.
        boundary: one of its boundaries.
        backbone_dir: what `models.pretrained.save_pretrained` wrote, and `keep` maybe.
        taps: as in `models.boundary.cut`.
        name: of the lender, that no other of the model has.

    Raises:
        InputError: there is no such backbone, boundary or tap.
    """
    kept = None
    if boundary == BOUNDARY_HEAD and taps:
        kept = find_traced(backbone_dir, scaling, taps)
    if kept is None:
        return load_network(backbone, scaling, boundary, backbone_dir, taps)
    lender = Lender.of_saved_model(name, traced_folder(backbone_dir), [kept.name])
    return LentNetwork(
        backbone,
        {tap: FeatureSpec((size,), "float32") for tap, size in kept.channels.items()},
        cached_taps(kept.channels),
        kept.pools,
        lender.reading(kept.weights),
        kept.name,
        kept.multiply_adds,
    )
