"""The number of images that `cxr watch` needs to tell another source from the same one.

    make bench-watch DATA=../shared/data/radiography OTHER=../shared/data/hannover/images WEIGHTS=…

A model that tells two classes of one source apart is trained on a part of its images. Then it is
served with the prediction log on, and asked about images of that source which it has never seen,
about adults from other hospitals, and about the first ones as a scanner with another contrast
would give them. All are as large as those of training, so that size gives nothing away. `cxr watch`
reads the logs. Then so many of the logged rows are drawn at random, many times: how often is there
an alarm?
"""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import requests
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from common.errors import InputError
from common.intervals import wilson95
from pipeline.cli import EXIT_NONE_BLESSED, EXIT_PUSHED
from pipeline.config.layout import OutputLayout
from pipeline.watch.command import EXIT_ALARM
from pipeline.watch.judging import judge
from pipeline.watch.log_rows import LogRows, Row, read_rows
from pipeline.watch.reference import Reference, read_reference
from serving.local_client import latest_version
from serving.process import running_server

_CLASSES: Final = ("NORMAL", "Viral Pneumonia")
_ELSEWHERE: Final = "COVID-19"
_COUNTS: Final = (10, 20, 30, 50, 75, 100, 150, 200, 300)
_SIDE: Final = 299
# Another contrast: grey levels g become 255 · (g / 255)^γ.
_GAMMAS: Final = (0.8, 0.9)


def main(
    data: Annotated[Path, typer.Option(help="Folder of classes, with metadata.csv.")],
    other: Annotated[Path, typer.Option(help="Folder of images from another hospital.")],
    weights_dir: Annotated[Path | None, typer.Option(help="Pre-trained weights.")] = None,
    output: Annotated[Path, typer.Option(help="Of run and logs.")] = Path("output/bench-watch"),
    backbone: Annotated[str, typer.Option(help="Trained and served.")] = "xception",
    served: Annotated[int, typer.Option(help="Images of the same source that are asked.")] = 300,
    draws: Annotated[int, typer.Option(help="For each number of images.")] = 200,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
) -> None:
    """Measure and show."""
    console = Console(width=130, highlight=False)
    asked = _prepare(data, other, output, served, seed)
    layout = OutputLayout(output / "run")
    _train(output, layout, backbone, weights_dir, seed)
    version = int(latest_version(layout.serving, backbone).name)
    reference = read_reference(layout.pushed, backbone, version)
    assert reference is not None
    shares: dict[str, Mapping[int, str]] = {}
    for name, contents in asked.items():
        log = output / "logs" / name
        if not log.exists():
            _ask(layout, backbone, contents, log)
        found = _watch(layout, log, output / "watch" / name)
        drifted = [r["feature"] for v in found["versions"] for r in v["features"] if r["alarm"]]
        rows = read_rows(log).rows
        said = f"alarm: {', '.join(drifted)}" if drifted else "no alarm"
        console.print(f"cxr watch on {len(rows)} images of {name}: {said}")
        shares[name] = _shares(rows, (backbone, version), reference, draws, seed)
    table = Table("images", *shares, title=f"share of {draws} draws with an alarm (95 % interval)")
    for count in _COUNTS:
        table.add_row(str(count), *(of_source.get(count, "–") for of_source in shares.values()))
    console.print(table)


def _prepare(
    data: Path, other: Path, output: Path, served: int, seed: int
) -> dict[str, list[bytes]]:
    """Lay the run's images out, and return what is asked about afterwards: name -> files."""
    with (data / "metadata.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    draw = np.random.default_rng(seed)
    asked: list[bytes] = []
    for name in _CLASSES:
        of_class = [row for row in rows if row["label"] == name]
        patients = sorted({row["patient_id"] for row in of_class})
        if len(patients) != len(of_class):
            raise InputError(f"data: {name} has patients with several images; this needs one each.")
        of_class = [of_class[index] for index in draw.permutation(len(of_class))]
        ours, theirs = of_class[served // 2 :], of_class[: served // 2]
        folder = output / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for row in ours:
            shutil.copyfile(data / row["file"], folder / Path(row["file"]).name)
        asked += [(data / row["file"]).read_bytes() for row in theirs]
    # Those of the other hospital itself are in its own folder, larger and more of them.
    adults = [
        row
        for row in rows
        if row["label"] == _ELSEWHERE and "hannover" not in f"{row['source']} {row['patient_id']}"
    ]
    hospital = [_png(file.read_bytes()) for file in sorted(other.glob("*.png"))]
    elsewhere = [_png((data / row["file"]).read_bytes()) for row in adults]
    return {
        "the same source": asked,
        "another hospital": hospital,
        "other hospitals": (hospital + elsewhere)[:served],
        **{f"the same, γ = {g:g}": [_png(content, g) for content in asked] for g in _GAMMAS},
    }


def _png(content: bytes, gamma: float = 1.0) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        grey = image.convert("L")
        if grey.size != (_SIDE, _SIDE):
            grey = grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    grey = Image.fromarray(np.round(255 * (np.asarray(grey) / 255) ** gamma).astype(np.uint8))
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    return buffer.getvalue()


def _train(
    output: Path, layout: OutputLayout, backbone: str, weights: Path | None, seed: int
) -> None:
    config = output / "config.yaml"
    classes = [{"name": name, "folders": [name]} for name in _CLASSES]
    settings = {"data": {"classes": classes}, "gate": {"min_accuracy": 0.5}}
    config.write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-m", "pipeline.cli", "run", "--config", str(config)]
    command += ["--data", str(output / "data"), "--output", str(layout.root)]
    command += ["--backbones", backbone, "--seed", str(seed)]
    command += ["--weights-dir", str(weights)] if weights else ["--allow-random-weights"]
    ran = subprocess.run(command, check=False)
    if ran.returncode not in (EXIT_PUSHED, EXIT_NONE_BLESSED):
        raise InputError(f"cxr run ended with {ran.returncode}")


def _ask(layout: OutputLayout, model: str, contents: Sequence[bytes], log: Path) -> None:
    flags = ("--model-dir", str(layout.serving), "--prediction-log-dir", str(log))
    with running_server(*flags, "--prediction-log-statistics", "1000000") as server:
        url = f"{server.url}/v1/models/{model}:predict"
        for content in contents:
            body = {"instances": [{"b64": base64.b64encode(content).decode()}]}
            requests.post(url, json=body, timeout=120).raise_for_status()


def _watch(layout: OutputLayout, log: Path, page: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline.cli", "watch", "--log", str(log), "--json"]
    command += ["--model-dir", str(layout.serving), "--output", str(page)]
    ran = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if ran.returncode not in (0, EXIT_ALARM):
        raise InputError(f"cxr watch ended with {ran.returncode}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def _shares(
    rows: Sequence[Row],
    version: tuple[str, int],
    reference: Reference,
    draws: int,
    seed: int,
) -> Mapping[int, str]:
    """Count how often some of the rows raise an alarm."""
    found = {}
    draw = np.random.default_rng(seed)
    for count in _COUNTS:
        if count > len(rows):
            break
        # All of them are one draw only.
        repeats = 1 if count == len(rows) else draws
        alarms = 0
        for _ in range(repeats):
            chosen = draw.choice(len(rows), count, replace=False)
            log = LogRows([rows[index] for index in chosen])
            alarms += bool(judge(log, {version: reference})["alarms"])
        low, high = wilson95(alarms, repeats)
        told = f"{100 * alarms / repeats:.0f} %"
        found[count] = told if repeats == 1 else f"{told} ({100 * low:.0f}–{100 * high:.0f})"
    return found


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"bench-watch: {error}") from None
