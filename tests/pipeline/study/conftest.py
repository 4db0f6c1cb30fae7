"""A study of phantoms with a backbone that takes no time, and a screen that remembers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.config.pipeline_config import PipelineConfig, load_config
from tests.some_phantoms import copy_some

if TYPE_CHECKING:
    from pipeline.study.results import SeedResult


@dataclass
class Remembering:
    """In the place of `StudyScreen`.

    Attributes:
        warnings: sentences.
        computed: (recipe, seed) of results that were computed.
        reused: of those that were there.
        passes: how many there were through a frozen network.
        stop_after: raise as Ctrl-C does, after so many computed results.
    """

    warnings: list[str] = field(default_factory=list)
    computed: list[tuple[str, int]] = field(default_factory=list)
    reused: list[tuple[str, int]] = field(default_factory=list)
    passes: int = 0
    stop_after: int | None = None

    def warn(self, sentence: str) -> None:
        """Remembers."""
        self.warnings.append(sentence)

    def featurized(self, backbone: str, done: int, total: int) -> None:
        """Remembers the whole sum, at the end of it."""
        assert done <= total
        if done == total:
            self.passes += total

    def finished(self, result: SeedResult, *, computed: bool) -> None:
        """Remembers, and stops where it has to."""
        (self.computed if computed else self.reused).append((result.recipe, result.seed))
        if computed and self.stop_after == len(self.computed):
            raise KeyboardInterrupt


Configure = Callable[..., PipelineConfig]


@pytest.fixture(scope="module")
def weights_dir(tiny_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights for the tiny backbone that aren't ImageNet's, in Keras' layout."""
    import h5py
    import keras
    from keras.src.legacy.saving import legacy_h5_format

    from models.backbones import build_network, get_backbone

    keras.utils.set_random_seed(11)
    folder = tmp_path_factory.mktemp("weights")
    with h5py.File(folder / "tiny_drawn_notop.h5", "w") as file:
        network = build_network(get_backbone(tiny_backbone))
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return folder


@pytest.fixture(scope="session")
def few_phantoms(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12, 13 and 14 images of the classes, of which a split takes as many of each."""
    return copy_some(phantom_folder, tmp_path_factory.mktemp("few") / "phantoms", (12, 13, 14))


@pytest.fixture(scope="module")
def configure(tiny_backbone: str, weights_dir: Path, few_phantoms: Path) -> Iterator[Configure]:
    """Output folder, and fields that differ -> a configuration that trains in no time.

    Heads are fitted once, not in folds: a study with folds, that comes to what a run does, is in
    tests/pipeline/test_local_run.py. Nobody looks for garbage between networks: among all that the
    tests of this process have made, that takes a fifth of a second each time.
    """
    import keras

    def call(output: Path, **fields: Any) -> PipelineConfig:
        values: dict[str, Any] = {
            "data": {"dir": few_phantoms},
            "output": output,
            "weights_dir": weights_dir,
            "backbones": [tiny_backbone],
            "gate": {"min_accuracy": 0.5},
            "training": {"learning_rate": 0.01, "epochs": 4, "validation": "holdout"},
        }
        return load_config(preset="fast", overrides=values | fields)

    clear = functools.partial(keras.utils.clear_session, free_memory=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.utils, "clear_session", clear)
        yield call
