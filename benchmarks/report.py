"""The seconds of Report and of ShortcutAudit on a finished run (`make bench-report`).

Without OUTPUT the run is made first, and kept: phantoms, networks of real size with random weights
(where Keras' cache has none), and heads that make mistakes, which the report has to explain. Each
node's work is measured in a process of its own that has imported what the nodes before it have, TFX
and TensorFlow. CPU seconds are there since the machine may do other things meanwhile.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.phantom_sets import cache_folder, phantom_set
from common.runtime import prepare_environment, quick_tfx_import

prepare_environment()
_IMAGES: Final = 120
_SIDE: Final = 299
_SETTINGS: Final[dict[str, Any]] = {
    "preset": "demo",
    "gate": {"min_accuracy": 0.0},
    "training": {"learning_rate": 0.01, "epochs": 3},
}


@dataclass(frozen=True)
class Spent:
    """The time that a node took.

    Attributes:
        node: its name.
        cpu: seconds of all threads.
        wall: seconds.
        made: what came of it, in words.
    """

    node: str
    cpu: float
    wall: float
    made: str


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line a node and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "output", type=Path, nargs="?", help="OUTPUT of a run; made where not given"
    )
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args(argv)
    output = args.output or made_run(cache_folder())
    for _ in range(args.rounds):
        for node in (report, shortcut_audit):
            spent = measure(node, output)
            print(
                f"{spent.node:<14} {spent.cpu:7.1f} CPU s {spent.wall:7.1f} s  {spent.made}",
                flush=True,
            )


def made_run(cache: Path) -> Path:
    """Make a run of the whole DAG where it isn't there yet; minutes.

    Args:
        cache: it is kept below.

    Returns:
        Its OUTPUT.
    """
    output, settings = cache / "report-run", cache / "report-run.yaml"
    if not (output / "summary.json").is_file():
        data = phantom_set(cache, _IMAGES, size=_SIDE)
        settings.write_text(yaml.safe_dump(_SETTINGS))
        command = ("run", "--data", data, "--config", settings, "--output", output)
        subprocess.run([sys.executable, "-m", "pipeline.cli", *map(str, command)], check=True)
    return output


def measure(node: Callable[[Path], Spent], output: Path) -> Spent:
    """Run a node's work in a fresh process: nothing is traced, loaded or drawn yet.

    Args:
        node: `report` or `shortcut_audit`.
        output: of a run.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh:
        return fresh.submit(node, output).result()


def report(output: Path) -> Spent:
    """Write the report of a run into a folder that is thrown away.

    Args:
        output: of the run.
    """
    with quick_tfx_import():
        importlib.import_module("components.report.executor")
        from components.report.sources import ModelSources, ReportSources, in_order

    artifacts = output / "artifacts"

    def latest(node: str, key: str) -> str:
        folders = (artifacts / node / key).iterdir()
        return str(max(folders, key=lambda path: int(path.name)))

    def latest_if_any(node: str, key: str) -> str | None:
        return latest(node, key) if (artifacts / node / key).is_dir() else None

    def model(name: str) -> ModelSources:
        trained = (artifacts / f"Trainer.{name}").is_dir()
        producer = f"{'Trainer' if trained else 'Combiner'}.{name}"
        return ModelSources(
            name=name,
            model=latest(producer, "model"),
            run=latest(producer, "model_run"),
            evaluation=latest(f"Evaluator.{name}", "evaluation"),
            blessed=summary["models"][name]["blessed"],
            card=latest_if_any(f"ModelCard.{name}", "model_card"),
        )

    summary = json.loads((output / "summary.json").read_text())
    sources = ReportSources(
        models=tuple(map(model, in_order(summary["models"]))),
        champion=summary["champion"],
        examples=latest("RadiographExampleGen", "examples"),
        manifest=latest("RadiographExampleGen", "manifest"),
        statistics=latest("StatisticsGen", "statistics"),
        schema=latest("CuratedSchemaGen", "schema"),
        audit=latest_if_any("ShortcutAudit", "audit"),
    )
    with tempfile.TemporaryDirectory() as folder:
        started = _now()
        # Matplotlib and all that only the report needs is its own to import.
        from components.report.writing import write_report

        write_report(sources, folder)
        cpu, wall = (after - before for before, after in zip(started, _now(), strict=True))
        page = (Path(folder) / "index.html").read_text()
        figures = len(list((Path(folder) / "figures").iterdir()))
    embedded = page.count('<img src="data:image/jpeg')
    made = f"{len(sources.models)} models, {figures} figures, {embedded} images and heat maps"
    return Spent("Report", cpu, wall, made)


def shortcut_audit(output: Path) -> Spent:
    """Audit the images of a run.

    Args:
        output: of the run.
    """
    with quick_tfx_import():
        from tfx.types import standard_artifacts

        from components.radiograph_example_gen.artifact import SplitManifest
        from components.shortcut_audit import executor
        from components.shortcut_audit.artifact import AuditReport
        from components.shortcut_audit.report import read_audit
        from pipeline.config.audit import AuditConfig
        from schema import contract

    def artifact(kind: Any, folder: Path) -> Any:
        made = kind()
        made.uri = str(folder)
        return made

    generated = output / "artifacts" / "RadiographExampleGen"
    examples, manifest = (
        artifact(kind, max((generated / key).iterdir(), key=lambda path: int(path.name)))
        for kind, key in ((standard_artifacts.Examples, "examples"), (SplitManifest, "manifest"))
    )
    examples.split_names = json.dumps(contract.SPLITS)
    properties = {"seed": 0, "min_correlation": AuditConfig().min_correlation}
    with tempfile.TemporaryDirectory() as folder:
        inputs = {executor.EXAMPLES: [examples], executor.MANIFEST: [manifest]}
        outputs = {executor.AUDIT: [artifact(AuditReport, Path(folder))]}
        started = _now()
        executor.Executor().Do(inputs, outputs, properties)
        cpu, wall = (after - before for before, after in zip(started, _now(), strict=True))
        audit = read_audit(folder)
    pairs = audit["duplicates"]["across_splits"] + audit["duplicates"]["within_a_split"]
    made = f"{pairs} near-duplicates, {len(audit['shortcuts'])} shortcuts"
    return Spent("ShortcutAudit", cpu, wall, made)


def _now() -> tuple[float, float]:
    return time.process_time(), time.monotonic()


if __name__ == "__main__":
    main()
