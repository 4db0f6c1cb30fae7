"""Small radiography folders, and ways to run the component on them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.radiograph_example_gen.salt import ENVIRONMENT
from components.radiograph_example_gen.settings import ClassSpec

CLASSES: list[ClassSpec] = [
    {"name": "COVID-19", "folders": ["COVID-19", "COVID"]},
    {"name": "Normal", "folders": ["Normal"]},
    {"name": "Viral Pneumonia", "folders": ["Viral Pneumonia"]},
]
# Most tests have a table of a row or two.
ANY_TABLE = {"max_unmatched_fraction": 1.0}
MakePng = Callable[..., bytes]


def _png(number: int, side: int = 40, mode: str = "L", step: int = 257) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (side, side), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise.astype(np.uint16) * step)
    else:
        image = Image.fromarray(noise).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def salt_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the salt for patients' ids lies, in place of the user's."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "cxr-tfx" / "patient-salt"


@pytest.fixture(scope="session")
def make_png() -> MakePng:
    """(number, side in pixels, Pillow mode, step) → bytes of a PNG of noise.

    The values are 0..255, times `step` where the mode is I;16.
    """
    return _png


@pytest.fixture(scope="session")
def claim_png() -> Callable[[int, int], bytes]:
    """(width, height) → a PNG of a few bytes that claims that size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    def build(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(9))))
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")

    return build


@pytest.fixture
def classes() -> list[ClassSpec]:
    """The paper's classes."""
    return [dict(entry) for entry in CLASSES]  # type: ignore[misc]


@dataclass
class Tree:
    """A data folder under construction."""

    root: Path

    def fill(self, folder: str, count: int, first: int) -> list[Path]:
        """Write `count` distinct images 0.png … into `folder`."""
        paths = [self.root / folder / f"{index}.png" for index in range(count)]
        for index, path in enumerate(paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_png(first + index))
        return paths

    def metadata(
        self, rows: Sequence[Sequence[str]], header: str = "file,label,patient_id"
    ) -> None:
        """Write metadata.csv."""
        lines = [header, *(",".join(row) for row in rows)]
        (self.root / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Eight images in each of three classes, without metadata."""
    built = Tree(tmp_path / "data")
    for index, folder in enumerate(("COVID-19", "Normal", "Viral Pneumonia")):
        built.fill(folder, 8, 100 * index)
    return built


@dataclass(frozen=True)
class Run:
    """Where the executor wrote, and the artifacts that it set properties on."""

    examples: Any
    manifest: Any


RunExecutor = Callable[..., Run]


@pytest.fixture
def run_executor(tmp_path: Path) -> RunExecutor:
    """(data folder, beam, settings…) → Run; calls the executor without an orchestrator.

    Without Beam, too, unless that is asked for.
    """
    from tfx.types import standard_artifacts

    from components.radiograph_example_gen import RadiographExampleGen, SplitManifest
    from components.radiograph_example_gen.executor import RadiographExampleGenExecutor
    from tests.components.without_beam import InProcess

    runs = 0

    def run(data_dir: Path, *, beam: bool = False, **settings: Any) -> Run:
        nonlocal runs
        runs += 1
        settings["limits"] = {**ANY_TABLE, **settings.get("limits", {})}
        arguments = {"classes": CLASSES, "seed": 1, **settings}
        component = RadiographExampleGen(str(data_dir), **arguments)
        result = Run(standard_artifacts.Examples(), SplitManifest())
        for name, artifact in (("examples", result.examples), ("manifest", result.manifest)):
            artifact.uri = str(tmp_path / f"run{runs}" / name)
            Path(artifact.uri).mkdir(parents=True)
        executor = RadiographExampleGenExecutor if beam else InProcess
        executor().Do(
            {},
            {"examples": [result.examples], "manifest": [result.manifest]},
            component.exec_properties,
        )
        return result

    return run
