"""Measures a side: a run, a prediction, a server's start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.processes import Used, used_by, used_so_far
from benchmarks.serving.start import is_ready
from benchmarks.side_by_side.images import copy_flat, copy_images, spans
from benchmarks.side_by_side.record import Figure
from benchmarks.side_by_side.sides import Side
from common.errors import InputError
from schema import contract
from serving.core.model_config import models_in
from serving.process import free_port

_PUSHED: Final = 0
# `cxr run`: all was computed, and no model was good enough to be pushed.
_NONE_BLESSED: Final = 3
_PATIENCE_S: Final = 1800.0
_PREDICTED: Final = 300
_SPAN: Final = "span-{SPAN}"


@dataclass(frozen=True)
class Wanted:
    """The subject of a measurement.

    Attributes:
        folder: all that the bench writes lies below.
        data: folder of images.
        files: those of them that are used, from `data` on.
        weights: folder of backbone weights.
        backbones: their names; all where empty.
        seed: of the runs.
    """

    folder: Path
    data: Path
    files: tuple[Path, ...]
    weights: Path
    backbones: tuple[str, ...] = ()
    seed: int = 0


class Bench:
    """Measures each side in the same way.

    Below the folder, `SIDE/` holds a side's runs. A run that others go on from is copied to
    `….kept` when it has ended, and each of those starts from that copy, in the run's own place.
    """

    def __init__(self, wanted: Wanted) -> None:
        """Write what both sides read.

        Args:
            wanted: what to measure.
        """
        self._wanted = wanted
        self._images = wanted.folder / "images"
        self._few = wanted.folder / "predicted"
        copy_images(wanted.data, wanted.files, self._images)
        copy_flat(wanted.data, wanted.files[:_PREDICTED], self._few)

    @property
    def predicted(self) -> int:
        """The number of images that are predicted."""
        return len(self._wanted.files[:_PREDICTED])

    def cold_run(self, side: Side, number: int) -> Figure:
        """Run into an empty folder; the first time, keep what it wrote.

        Args:
            side: whose code.
            number: of the round.
        """
        output = self._emptied(side, "run")
        figure = self._run(side, output, f"cold-{number}", allowed=(_PUSHED,))
        self._keep(output)
        return figure

    def other_penalty(self, side: Side, number: int) -> Figure:
        """Run again where the cold run was, with heads of another penalty.

        Args:
            side: whose code.
            number: of the round.
        """
        output = self._back(self._own(side, "run"))
        settings = {"training": {"head": {"l2": 0.02}}}
        return self._run(side, output, f"penalty-{number}", settings=settings)

    def other_seed(self, side: Side, number: int) -> Figure:
        """Run again where the cold run was, with another seed.

        Args:
            side: whose code.
            number: of the round.
        """
        output = self._back(self._own(side, "run"))
        return self._run(side, output, f"seed-{number}", seed=self._wanted.seed + 1)

    def without_fusion(self, side: Side, number: int) -> Figure:
        """Run into an empty folder, with the combinations that were there before fusion.

        Args:
            side: whose code.
            number: of the round.
        """
        output = self._emptied(side, "fewer")
        settings = {"combinations": [contract.ENSEMBLE, contract.CASCADE]}
        return self._run(side, output, f"fewer-{number}", settings=settings)

    def make_run(self, side: Side, number: int) -> Figure:
        """Run `make run` as its Makefile has it, but for the set-up and the folders.

        Args:
            side: whose code.
            number: of the round.
        """
        folder = self._emptied(side, "make-run")
        command = ["make", "--old-file=setup", "run", f"BIN={side.python.parent}"]
        command += [f"PHANTOMS={folder / 'phantoms'}", f"OUTPUT={folder / 'run'}"]
        return self._measured(side, command, f"make-run-{number}", output=folder / "run")

    def predict(
        self, side: Side, number: int, *, model: str, again: bool = False, first: Figure | None
    ) -> Figure | None:
        """Classify a folder of images with a model that the cold run pushed.

        Args:
            side: whose code.
            number: of the round.
            model: its name.
            again: whether the networks that an earlier call converted are there.
            first: what that call took.

        Returns:
            None where the side pushed no such model.
        """
        models = self._pushed(side)
        if not (models / model).is_dir():
            return None
        networks = self._networks(side, f"predict-{model}-{number}", again)
        if again and not _holds_files(networks):
            return first
        command = side.cxr(
            "predict", self._few, "--model-dir", models, "--model", model, "--json"
        )  # fmt: skip
        name = f"predict-{model}{'-again' if again else ''}-{number}"
        return self._measured(side, command, name, networks=networks)

    def serve(
        self, side: Side, number: int, *, again: bool = False, first: Figure | None
    ) -> Figure | None:
        """Start a server of the models that the cold run pushed, until it is ready.

        Args:
            side: whose code.
            number: of the round.
            again: whether the networks that an earlier start converted are there.
            first: what that start took.
        """
        models = self._pushed(side)
        networks = self._networks(side, f"serve-{number}", again)
        if again and not _holds_files(networks):
            return first
        log = (
            self._wanted.folder
            / "logs"
            / f"serve{'-again' if again else ''}-{number}-{side.name}.log"
        )
        load = os.getloadavg()[0]
        used = _to_readiness(side, models, networks, log)
        return _figure(used, load, f"{len(models_in(models))} models")

    def first_span(self, side: Side, number: int) -> Figure:
        """Run the images that are there before the delivery, as a first span, and keep the run.

        Args:
            side: whose code.
            number: of the round.
        """
        folder = self._emptied(side, "delivery")
        there, _ = spans(list(self._wanted.files))
        copy_images(self._wanted.data, there, folder / _SPAN.format(SPAN=1))
        name = f"first-span-{number}"
        figure = self._run(side, folder / "run", name, data=folder / _SPAN, allowed=(_PUSHED,))
        self._keep(folder / "run")
        return figure

    def delivery(self, side: Side, number: int) -> Figure:
        """Deliver the other images as a second span, and run again.

        Args:
            side: whose code.
            number: of the round.
        """
        folder = self._own(side, "delivery")
        self._back(folder / "run")
        _, later = spans(list(self._wanted.files))
        copy_images(self._wanted.data, later, folder / _SPAN.format(SPAN=2))
        return self._run(side, folder / "run", f"delivery-{number}", data=folder / _SPAN)

    def _own(self, side: Side, name: str) -> Path:
        return self._wanted.folder / side.name / name

    def _emptied(self, side: Side, name: str) -> Path:
        folder = self._own(side, name)
        _remove(folder)
        return folder

    def _networks(self, side: Side, name: str, again: bool) -> Path:
        folder = self._own(side, "networks") / name
        if not again:
            _remove(folder)
        return folder

    def _pushed(self, side: Side) -> Path:
        return _kept(self._own(side, "run")) / "serving"

    def _keep(self, output: Path) -> None:
        kept = _kept(output)
        if kept.exists():
            return
        unfinished = output.with_name(f"{output.name}.copying")
        _remove(unfinished)
        shutil.copytree(output, unfinished, symlinks=True)
        unfinished.rename(kept)
        # What is still to be written to the disk mustn't be in the next figure.
        os.sync()

    def _back(self, output: Path) -> Path:
        _remove(output)
        shutil.copytree(_kept(output), output, symlinks=True)
        os.sync()
        return output

    def _run(
        self,
        side: Side,
        output: Path,
        name: str,
        *,
        data: Path | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        allowed: Collection[int] = (_PUSHED, _NONE_BLESSED),
    ) -> Figure:
        file = self._wanted.folder / "settings" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Both sides push all models, so that the work doesn't hang on which is good enough.
        file.write_text(yaml.safe_dump({"gate": {"min_accuracy": 0.0}, **(settings or {})}))
        arguments: list[object] = ["run", "--preset", "fast", "--config", file]
        arguments += ["--data", data or self._images, "--weights-dir", self._wanted.weights]
        arguments += ["--output", output, "--seed", self._wanted.seed if seed is None else seed]
        if self._wanted.backbones:
            arguments += ["--backbones", ",".join(self._wanted.backbones)]
        return self._measured(side, side.cxr(*arguments), name, output=output, allowed=allowed)

    def _measured(
        self,
        side: Side,
        command: Sequence[str],
        name: str,
        *,
        output: Path | None = None,
        networks: Path | None = None,
        allowed: Collection[int] = (_PUSHED,),
    ) -> Figure:
        load = os.getloadavg()[0]
        used = used_by(
            command,
            environment=side.environment(networks),
            folder=side.checkout,
            log=self._wanted.folder / "logs" / f"{name}-{side.name}.log",
            allowed=allowed,
        )
        return _figure(used, load, nodes=_nodes_of(output) if output else {})


def _figure(
    used: Used, load: float, what: str = "", nodes: Mapping[str, float] | None = None
) -> Figure:
    return Figure(used.seconds, used.cpu, used.peak_mib, load, what, nodes or {})


def _nodes_of(output: Path) -> dict[str, float]:
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return dict(summary["seconds"])


def _kept(output: Path) -> Path:
    return output.with_name(f"{output.name}.kept")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _holds_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _to_readiness(side: Side, models: Path, networks: Path, log: Path) -> Used:
    """Start a server, look at it as soon as it is ready, and end it."""
    port = free_port()
    command = side.cxr(
        "serve", "--model-dir", models, "--port", port, "--grpc-port", 0
    )  # fmt: skip
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            env=side.environment(networks),
            cwd=side.checkout,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        try:
            while not is_ready(f"http://127.0.0.1:{port}"):
                if process.poll() is not None or time.monotonic() - began > _PATIENCE_S:
                    raise InputError(f"{' '.join(command)} doesn't get ready; its log is {log}.")
                time.sleep(0.05)
            return used_so_far(process.pid, began)
        finally:
            process.terminate()
            process.wait()
