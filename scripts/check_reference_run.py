"""Checks what a run on the reference radiographs (3 × 219, see README) has to come to.

    python scripts/check_reference_run.py OUTPUT

Reads OUTPUT/summary.json and OUTPUT/report. Exits with 1 and a line for each thing that isn't as
it must be.
`.ci/run` calls it after its run on real images.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

# The paper's table for 219 images a class.
COUNTS: Final = {"train": 123, "eval": 53, "test": 43}
# The weights folder holds no ImageNet weights of DenseNet121, but those of another
# pre-training, which must never be called ImageNet.
WEIGHTS: Final = {
    "vgg16": "imagenet",
    "xception": "imagenet",
    "densenet121": "densenet121_kermany_pediatric_notop.h5",
}
MODELS: Final = (*WEIGHTS, "ensemble", "cascade", "fusion")


def problems(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each deviation."""
    data = summary["data"]
    for split, wanted in COUNTS.items():
        counts = data["counts"][split]
        if set(counts.values()) != {wanted}:
            yield f"split {split}: {counts}, wanted {wanted} of each class"
    if data["patients_in_two_splits"]:
        yield f"{data['patients_in_two_splits']} patients are in two splits"
    for name, weights in WEIGHTS.items():
        given = summary["models"][name]["weights"]
        if given != weights:
            yield f"{name}: weights {given!r}, wanted {weights!r}"
    for name in MODELS:
        model = summary["models"][name]
        if not model["blessed"]:
            yield f"{name}: not blessed with an accuracy of {model['accuracy']:.4f}"
        if model["total"] != len(data["classes"]) * COUNTS["test"]:
            yield f"{name}: judged on {model['total']} images"
    pushed = {name: summary["models"][name]["pushed_to"] for name in MODELS}
    for name, folder in (pushed | {"champion": summary["champion_pushed_to"]}).items():
        if not folder or not Path(folder, "saved_model.pb").is_file():
            yield f"{name}: no SavedModel in {folder}"


def report_problems(summary: Mapping[str, Any], report: Path) -> Iterator[str]:
    """Yield a sentence for each way in which the report isn't of the run."""
    numbers = json.loads((report / "report.json").read_text(encoding="utf-8"))
    for name, model in summary["models"].items():
        accuracy = numbers["models"][name]["accuracy"]
        if (accuracy["count"], accuracy["total"]) != (model["correct"], model["total"]):
            yield f"report: {name} has {accuracy}, the summary {model['correct']}"
    if numbers["champion"] != summary["champion"]:
        yield f"report: champion {numbers['champion']!r}, the summary {summary['champion']!r}"
    shown = {path.stem for path in (report / "figures").glob("*.png")}
    wanted = {f"{name}-{kind}" for name in MODELS for kind in ("confusion", "curves")}
    if missing := sorted(wanted - shown):
        yield f"report: figures are missing: {', '.join(missing)}"


def main(output: str) -> int:
    """Print what was found; return the exit code."""
    summary = json.loads(Path(output, "summary.json").read_text(encoding="utf-8"))
    found = [*problems(summary), *report_problems(summary, Path(output, "report"))]
    for sentence in found:
        print(f"check_reference_run: {sentence}", file=sys.stderr)
    if not found:
        print("123/53/43 a class, patient-disjoint; all six models blessed and pushed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
