"""The golden run: one run of the whole DAG on phantoms, read by every test that only reads.

    python -m tests.golden_run      make it where it is not there yet; print its folder

All three backbones, in miniature (tests/miniatures.py), ensemble, cascade, fusion, report and
cards. It lies in `output/golden/DIGEST`, and DIGEST is that of the product's code and of what is
installed: a change of either makes a new one, and removes the old one. A second `cxr run` follows
at once into the same folder, and has to take everything from the product's own cache.

Its models are fitted so briefly that they make mistakes, which a report has to show.

Nobody may write into it. Who has to change something copies it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import yaml

from pipeline.config.layout import OutputLayout
from pipeline.phantoms import write_phantoms
from tests import miniatures

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "output" / "golden"
# What the product is made of, with its templates, presets and schema.
_PRODUCT: Final = ("common", "components", "models", "pipeline", "schema", "serving")
_LIBRARIES: Final = ("tfx", "tensorflow", "keras", "openvino", "tensorflow-model-analysis", "numpy")
_DONE: Final = "done.json"
# What this process holds open.
_READING: Final[list[IO[str]]] = []
_FIRST_SUMMARY: Final = "first-summary.json"
PHANTOMS: Final[dict[str, Any]] = {"per_class": (30, 36, 33), "size": 128, "seed": 7}
SCANNERS: Final = ("CR 30", "DX-100", "")
SETTINGS: Final[dict[str, Any]] = {
    "preset": "demo",
    "seed": 3,
    "gate": {"min_accuracy": 0.0},
    # `auto` would take bf16 on some CPUs, and what tests compare would be another one's.
    "featurizer": {"precision": "f32"},
    # With a second augmentation, which no preset has.
    "training": {"learning_rate": 0.01, "epochs": 3, "augmentations": ["identity", "mirror"]},
}
_NODE: Final = re.compile(r"^ *\d+  (executed|cached|resolved) +(\S+) +[\d.]+ s$", re.MULTILINE)


@dataclass(frozen=True)
class Printed:
    """What one `cxr run` did, as its user saw it.

    Attributes:
        exit_code: of the command.
        printed: standard output and standard error.
        served: files below the serving folder afterwards -> time of change, ns.
        left: files that it left in its working folder and its TMPDIR.
    """

    exit_code: int
    printed: str
    served: dict[str, int]
    left: list[str]

    @property
    def how(self) -> dict[str, str]:
        """Node -> what was done for it: executed, cached or resolved."""
        return {node: how for how, node in _NODE.findall(self.printed)}

    @property
    def executed(self) -> set[str]:
        """Nodes that computed something."""
        return {node for node, how in self.how.items() if how == "executed"}

    @property
    def cached(self) -> set[str]:
        """Nodes whose output came from the cache."""
        return {node for node, how in self.how.items() if how == "cached"}


@dataclass(frozen=True)
class GoldenRun:
    """It, and what was seen when it was made.

    Attributes:
        folder: of all of it.
        first: the run that made everything.
        second: the same command once more.
        phantoms_changed: images or tables that the runs changed, made or removed.
    """

    folder: Path
    first: Printed
    second: Printed
    phantoms_changed: list[str]

    @property
    def data(self) -> Path:
        """The phantoms, with metadata.csv."""
        return self.folder / "phantoms"

    @property
    def layout(self) -> OutputLayout:
        """Of the output folder."""
        return OutputLayout(self.folder / "run")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json, of the second run."""
        content: dict[str, Any] = json.loads(self.layout.summary.read_text())
        return content

    @cached_property
    def first_summary(self) -> dict[str, Any]:
        """summary.json, of the first run."""
        content: dict[str, Any] = json.loads((self.folder / _FIRST_SUMMARY).read_text())
        return content


def code_and_libraries() -> str:
    """SHA-256 of all that the golden run depends on: code, templates, presets, schema, versions."""
    digest = hashlib.sha256()
    for name in _LIBRARIES:
        digest.update(f"{name} {version(name)}\0".encode())
    files = [file for room in _PRODUCT for file in (ROOT / room).rglob("*") if file.is_file()]
    for file in sorted((*files, Path(miniatures.__file__), Path(__file__))):
        if file.suffix not in (".pyc", ".md"):
            digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def is_there() -> bool:
    """Whether nothing needs to be made."""
    return (_place() / _DONE).exists()


def golden_run() -> GoldenRun:
    """Make the golden run where it is not there, or wait for who makes it.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    place = _place()
    with _locked(FOLDER / ".lock"):
        if not (place / _DONE).exists():
            _make(place)
        # As long as this process lives: nobody removes what it reads.
        reading = _lock_of(place).open("w")
        fcntl.flock(reading, fcntl.LOCK_SH)
        _READING.append(reading)
    return _read(place)


def _place() -> Path:
    return FOLDER / code_and_libraries()[:16]


def _lock_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.lock")


@contextlib.contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, how)
        yield


def _make(place: Path) -> None:
    for old in filter(Path.is_dir, FOLDER.iterdir()):
        # One that somebody reads stays for the next time.
        with (
            contextlib.suppress(BlockingIOError),
            _locked(_lock_of(old), fcntl.LOCK_EX | fcntl.LOCK_NB),
        ):
            shutil.rmtree(old)
            _lock_of(old).unlink()
    elsewhere = place / "elsewhere"
    elsewhere.mkdir(parents=True)
    output = place / "run"
    phantoms = Path(shutil.copytree(drawn_phantoms(), place / "phantoms"))
    settings = place / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS))
    before = _snapshot(phantoms)
    command = ("run", "--data", phantoms, "--config", settings, "--output", output)
    first = _run(command, output, elsewhere)
    if first.exit_code:
        raise RuntimeError(f"the golden run failed with {first.exit_code}:\n{first.printed}")
    shutil.copy(OutputLayout(output).summary, place / _FIRST_SUMMARY)
    # What somebody deleted there: the second run brings it back.
    shutil.rmtree(OutputLayout(output).report)
    second = _run(command, output, elsewhere)
    after = _snapshot(phantoms)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    content = {"first": asdict(first), "second": asdict(second), "phantoms_changed": changed}
    # Last, and at once: who finds it finds all of it.
    new = place / f".{_DONE}"
    new.write_text(json.dumps(content))
    new.rename(place / _DONE)


def drawn_phantoms() -> Path:
    """Draw 30, 36 and 33 phantoms of 128 pixels, with metadata.csv, where they aren't there yet.

    To it are added a column to slice by, and one with a value of its own for each image. That
    takes ten seconds; so they lie in `output/drawn/DIGEST` for all processes, and for the next
    time, too (`output/phantoms` is `make run`'s). DIGEST is that of what draws them. Nobody may
    write into them.

    Returns:
        The folder.
    """
    digest = hashlib.sha256()
    for name in ("numpy", "pillow"):
        digest.update(f"{name} {version(name)}\0".encode())
    for file in (*sorted((ROOT / "pipeline" / "phantoms").glob("*.py")), Path(__file__)):
        digest.update(file.read_bytes())
    place = FOLDER.with_name("drawn") / digest.hexdigest()[:16]
    with _locked(place.with_name(".lock")):
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent) as unfinished:
                _draw(Path(unfinished) / "phantoms").rename(place)
    return place


def _draw(folder: Path) -> Path:
    write_phantoms(folder, **PHANTOMS)
    table = folder / "metadata.csv"
    header, *lines = table.read_text().splitlines()
    rows = [f"{line},{SCANNERS[n % 3]},{n}" for n, line in enumerate(lines)]
    table.write_text("\n".join([f"{header},Scanner,number", *rows]) + "\n")
    return folder


def _read(place: Path) -> GoldenRun:
    content = json.loads((place / _DONE).read_text())
    return GoldenRun(
        folder=place,
        first=Printed(**content["first"]),
        second=Printed(**content["second"]),
        phantoms_changed=content["phantoms_changed"],
    )


def _run(command: tuple[str | Path, ...], output: Path, elsewhere: Path) -> Printed:
    done = subprocess.run(
        [sys.executable, "-m", "tests.miniatures", *command],
        cwd=elsewhere,
        env={**os.environ, "TMPDIR": str(elsewhere), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Printed(
        exit_code=done.returncode,
        printed=done.stdout,
        served=_snapshot(OutputLayout(output).serving),
        left=sorted(_snapshot(elsewhere)),
    )


def _snapshot(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


if __name__ == "__main__":
    print(golden_run().folder)
