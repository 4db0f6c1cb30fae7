"""The backbones in miniature: each row of the table with its taps, on a few convolutions.

    python -m tests.miniatures run --data …      `cxr`, with networks that take no time

A miniature has the layers that its row names (where it is tapped and cut), in that order, and a few
channels. Nothing of the product knows of it: `keras.applications` answers with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.backbones import Backbone

# Height and width are halved so often in front of the first layer with a name: 256 -> 32.
_HALVINGS = 3
_CHANNELS = 8


@contextmanager
def miniature_backbones(*, in_others_too: bool = False) -> Iterator[None]:
    """Have `keras.applications` build miniatures in this process, while the block lasts.

    Args:
        in_others_too: processes beside a run's do so, too, since they begin with this file; else
            a run of the block has none.
    """
    from common.runtime import prepare_environment

    prepare_environment()
    import keras

    from models.backbones import BACKBONES
    from pipeline.resolve import processes

    with pytest.MonkeyPatch.context() as patch:
        if not in_others_too:
            patch.setattr(processes, "_MOST", 1)
        for row in BACKBONES.values():
            patch.setattr(keras.applications, row.application, _miniature(row), raising=False)
        patch.setattr(keras.utils, "get_file", _untrained)
        yield


def _untrained(name: str, *_: Any, **__: Any) -> str:
    raise OSError(f"no {name}: nobody trained a miniature")


def _miniature(row: Backbone) -> Callable[..., Any]:
    names = list(dict.fromkeys(tap.before for tap in row.taps.values()))
    assert set(row.blocks.values()) <= set(names), f"{row.name} is cut where no tap is"

    def application(
        include_top: bool, weights: str | None, input_tensor: Any = None, **_: Any
    ) -> Any:
        import keras

        assert not include_top
        assert weights is None
        x = keras.layers.Conv2D(
            _CHANNELS, 2**_HALVINGS, strides=2**_HALVINGS, activation="relu", name="stem"
        )(input_tensor)
        for index, name in enumerate(names, 1):
            x = keras.layers.Conv2D(
                _CHANNELS + 4 * index, 3, strides=1 + index % 2, padding="same",
                activation="relu", name=name,
            )(x)  # fmt: skip
        x = keras.layers.Conv2D(2 * _CHANNELS, 3, activation="relu", padding="same", name="top")(x)
        return keras.Model(keras.utils.get_source_inputs(input_tensor), x)

    return application


def main() -> None:
    """`cxr`, on miniatures."""
    # Processes beside the run begin with this file. By its name they'd find another `tests`:
    # IPython, which comes with TFX, puts a folder with one on the path.
    sys.modules["__main__"].__spec__ = None
    with miniature_backbones(in_others_too=True):
        from pipeline import cli

        cli.main()


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # A process beside such a run, which begins with the run's own module.
    _whole_process = miniature_backbones(in_others_too=True)
    _whole_process.__enter__()
