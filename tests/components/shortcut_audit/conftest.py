"""Radiographs that are made up, and the audit of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.shortcut_audit.radiographs import Radiograph
from components.shortcut_audit.report import read_audit
from schema import contract

CLASSES = ("COVID-19", "Normal", "Viral Pneumonia")
MakeRadiographs = Callable[..., list[Radiograph]]
Audited = Callable[..., tuple[Any, dict[str, Any]]]


@pytest.fixture(scope="session")
def make_radiographs() -> MakeRadiographs:
    """(images a class, change of each) -> noise without any shortcut, unless one is put in.

    `change` gets the fields of a Radiograph and its label, and may alter them in place.
    """

    def call(
        per_class: int = 60, change: Callable[[dict[str, Any], int], None] | None = None
    ) -> list[Radiograph]:
        rng = np.random.default_rng(5)
        images = []
        for number in range(3 * per_class):
            label = number % 3
            part = number // 3 / per_class
            split = contract.SPLITS[0 if part < 0.5 else 1 if part < 0.7 else 2]
            fields: dict[str, Any] = {
                "split": split,
                "path": f"{CLASSES[label]}/{number}.png",
                "sha256": f"{number:064x}",
                "label": label,
                "class_name": CLASSES[label],
                "patient": f"patient-{number}",
                "text": {"sex": str(rng.choice(["F", "M"])), "source": contract.UNKNOWN},
                "numbers": {"age": float(rng.uniform(20, 90))},
                "statistics": rng.normal(size=6),
                "thumbnail": rng.uniform(0, 255, (32, 32)).astype(np.float32),
                "texture": rng.normal(size=(64, 64)).astype(np.float16),
            }
            if change:
                change(fields, label)
            images.append(Radiograph(**fields))
        return images

    return call


def generate(folder: Path, root: Path, seed: int = 3) -> dict[str, list[Any]]:
    """RadiographExampleGen's outputs for a folder of images."""
    from tfx.types import standard_artifacts

    from components.radiograph_example_gen import RadiographExampleGen, SplitManifest
    from tests.components.without_beam import InProcess

    node = RadiographExampleGen(
        str(folder),
        classes=[
            {"name": name, "folders": [name, name.split("-")[0]]}  # COVID-19 or COVID
            for name in CLASSES
        ],
        seed=seed,
    )
    outputs: dict[str, list[Any]] = {
        "examples": [standard_artifacts.Examples()],
        "manifest": [SplitManifest()],
    }
    for name, (artifact,) in outputs.items():
        artifact.uri = str(root / name)
        Path(artifact.uri).mkdir(parents=True)
    InProcess().Do({}, outputs, node.exec_properties)
    return outputs


@pytest.fixture(scope="session")
def audited() -> Audited:
    """(RadiographExampleGen's outputs, folder to write to, parameters) -> artifact, audit.json."""

    def call(
        inputs: Mapping[str, list[Any]], folder: Path, **parameters: Any
    ) -> tuple[Any, dict[str, Any]]:
        from components.shortcut_audit import AuditReport
        from components.shortcut_audit.executor import Executor

        audit = AuditReport()
        audit.uri = str(folder)
        folder.mkdir(parents=True)
        properties = {"seed": 3, "min_correlation": 0.92} | parameters
        Executor().Do(dict(inputs), {"audit": [audit]}, properties)
        return audit, read_audit(str(folder))

    return call


@pytest.fixture(scope="session")
def generated() -> Callable[..., dict[str, list[Any]]]:
    """See `generate`."""
    return generate
