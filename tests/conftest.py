"""What several folders share: Hypothesis' profile, phantoms, images, and a tiny backbone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from models.boundary import CutNetwork

TINY = "tiny"
SCANNERS = ("CR 30", "DX-100", "")

# The same examples in every run, and no verdict that depends on how busy the machine is.
hypothesis.settings.register_profile(
    "cxr",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("cxr")


def _tiny_application(
    include_top: bool,
    weights: str | None,
    input_tensor: Any = None,
    input_shape: tuple[int, ...] | None = None,
) -> Any:
    """Two strided convolutions, with the signature of a `keras.applications` class."""
    import keras

    assert not include_top
    if weights is not None:
        raise OSError(f"no {weights} weights for {input_shape}: nobody trained this backbone")
    layers = keras.layers
    x = layers.Conv2D(12, 5, strides=4, activation="relu", name="block1_conv")(input_tensor)
    x = layers.Conv2D(24, 5, strides=4, activation="relu", name="block2_conv")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


@pytest.fixture(scope="module")
def tiny_backbone() -> Iterator[str]:
    """Adds a fourth backbone: a row in the table, and nothing else.

    Gone again at the module's end, since other tests go through the whole table.

    Returns:
        Its name.
    """
    from pipeline.runtime import prepare_environment

    prepare_environment()
    import keras

    from models import backbones

    row = backbones.Backbone(
        name=TINY,
        application="Tiny",
        imagenet_file="tiny_imagenet_notop.h5",
        scaling="tf",
        blocks={"block2": "block2_conv"},
        taps={"block1": backbones.Tap("block2_conv")},
        head_taps=("block1", backbones.TAP_LAST),
        head_l2=0.007,
        paper=backbones.PaperRecipe(learning_rate=1e-3, batch_size=8, epochs=2),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, "Tiny", _tiny_application, raising=False)
        patch.setitem(backbones._TABLE, TINY, row)
        yield TINY


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30, 36 and 33 phantoms of 128 pixels, with metadata.csv.

    To it are added a column to slice by, and one with a value of its own for each image.
    """
    from pipeline.phantoms import write_phantoms

    folder = write_phantoms(
        tmp_path_factory.mktemp("images") / "phantoms", (30, 36, 33), size=128, seed=7
    )
    table = folder / "metadata.csv"
    header, *lines = table.read_text().splitlines()
    rows = [f"{line},{SCANNERS[n % 3]},{n}" for n, line in enumerate(lines)]
    table.write_text("\n".join([f"{header},Scanner,number", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def tiny_cut(tiny_backbone: str) -> Callable[..., CutNetwork]:
    """Boundary -> a new tiny network cut there, with the same weights at each call."""

    def call(boundary: str = "head") -> CutNetwork:
        import keras

        from models.backbones import build_network, get_backbone
        from models.boundary import cut

        keras.utils.set_random_seed(0)
        row = get_backbone(tiny_backbone)
        return cut(build_network(row), row, boundary)

    return call


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """(Pillow image or array, format, Pillow's options) -> bytes of the file."""

    def call(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return call
