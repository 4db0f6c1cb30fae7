"""A frozen prefix, loaded and handed to an engine: images -> features as they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from models.backbones import BOUNDARY_INPUT, Scaling
from models.boundary import load_frozen
from models.devices import find_gpus, select
from models.engines import TENSORFLOW, EngineName, load_engine, precision_here

# Images at once through TensorFlow's network: beyond 8 nothing is gained on a CPU. (OpenVINO
# takes them one by one.) A GPU takes more. It isn't set by the clock, on which TensorFlow's
# last digits would then depend, but by what the device can hold.
BATCH: Final = 8


class Job(NamedTuple):
    """All that a worker needs to rebuild the prefix.

    Attributes:
        backbone, scaling, boundaries, backbone_dir, taps: arguments of `load_frozen`.
        engine: what is to run it.
    """

    backbone: str
    scaling: Scaling | None
    boundaries: tuple[str, ...]
    backbone_dir: str
    taps: tuple[str, ...]
    engine: EngineName = TENSORFLOW


class Plan(NamedTuple):
    """The way in which a prefix runs.

    Attributes:
        engine: what runs it.
        batch: how many images it may take at once.
    """

    engine: EngineName
    batch: int


def planned(job: Job) -> Plan:
    """Say how a prefix will run, unless its engine turns out not to take the network.

    Args:
        job: the prefix.
    """
    # At the input there is nothing that OpenVINO could compute.
    nothing = set(job.boundaries) == {BOUNDARY_INPUT}
    return _plan(TENSORFLOW if nothing else precision_here(job.engine))


def _plan(engine: EngineName) -> Plan:
    scale = select(find_gpus()).batch_scale if engine == TENSORFLOW else 1
    return Plan(engine, BATCH * scale)


class Prefix:
    """A loaded prefix: uint8 images -> features in their stored dtype.

    Attributes:
        engine: name of what runs it, which needn't be what was asked for.
        batch: how many images it may take at once.
    """

    def __init__(self, job: Job) -> None:
        """Build the network, load its weights and hand it to the engine."""
        frozen = load_frozen(*job[:-1])
        self._specs = frozen.features
        self._engine = load_engine(job.engine, frozen.prefix, list(frozen.features))
        self.engine, self.batch = _plan(self._engine.name)

    @property
    def plan(self) -> Plan:
        """The way in which it runs."""
        return Plan(self.engine, self.batch)

    def shrink_batch(self) -> bool:
        """Halves `batch`, for a device that can't hold as many; False where it is 1 already."""
        if self.batch == 1:
            return False
        self.batch //= 2
        return True

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Featurizes batches of uint8 [n, 256, 256, 1], in order, several in flight.

        Raises:
            FloatingPointError: an activation doesn't fit the stored dtype.
        """
        for features in self._engine.stream(batches):
            yield {name: self._stored(name, array) for name, array in features.items()}

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Featurizes one batch (see `stream`)."""
        (features,) = self.stream([images])
        return features

    def _stored(self, name: str, array: np.ndarray) -> np.ndarray:
        stored = array.astype(self._specs[name].dtype)
        if not np.isfinite(stored).all():
            raise FloatingPointError(
                f"features {name}: an activation is no number or beyond "
                f"{stored.dtype}'s range; move the boundary."
            )
        return stored
