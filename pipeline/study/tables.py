"""A study's report as text for people: Markdown for the docs, cells for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from common.words import interval, percent
from components.radiograph_example_gen.remarks import PATIENTS_UNKNOWN
from schema import contract
from schema.class_tables import MOST_COLUMNS, SHOWN_CONFUSIONS

# Images in the list of those that are most often read wrongly.
_ERRORS_SHOWN: Final = 15
# Of what a split couldn't meet, class by class and seed by seed.
_DEVIATIONS_SHOWN: Final = 100
MAIN_HEADER: Final = (
    "model",
    "weights",
    "mean ± sd",
    "lowest–highest",
    "pooled",
    "95 % Wilson, pooled",
    "95 % Wilson, each image once",
    "paper",
)
_CAVEAT: Final = (
    "Mean and standard deviation are over seeds; a seed is another patient-disjoint split and "
    "another training. The test splits of several seeds overlap, and an image that is hard once "
    "is hard again, so the pooled interval is too narrow: it takes {total} tests of {images} "
    "images for {total} images. The other one counts each image once, with the share of its "
    "tests that were right."
)


def markdown(report: Mapping[str, Any]) -> str:
    """Write the whole report, GitHub-flavoured."""
    sections = [
        ("", _introduction(report)),
        ("Accuracy on the test splits", _accuracy(report)),
        ("Seed by seed", _seed_by_seed(report)),
        ("Confusion, all seeds", _confusion(report)),
        ("Where the rest of the error sits", _errors(report)),
        ("With the right to abstain", _abstaining(report)),
        ("Cost", _cost(report)),
        ("Data", _data(report)),
    ]
    text = "\n\n".join((f"## {title}\n\n" if title else "") + body for title, body in sections)
    return f"# Study\n\n{text}\n"


def main_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Write a row a model, under MAIN_HEADER."""
    rows = []
    for name, model in report["models"].items():
        accuracies = [seed["correct"] / seed["total"] for seed in model["per_seed"]]
        sd = "" if model["sd"] is None else f" ± {_points(model['sd'])}"
        rows.append(
            [
                name,
                weights_text(model["weights"]),
                f"{percent(model['mean'], 2)}{sd}",
                f"{percent(min(accuracies), 2)}–{percent(max(accuracies), 2)}",
                f"{model['correct']}/{model['total']}",
                interval(model["wilson95"]),
                interval(model["distinct"]["wilson95"]),
                _paper_text(model["paper"]),
            ]
        )
    return rows


def weights_text(label: str | None) -> str:
    """Name a backbone's weights: "ImageNet", or that they aren't."""
    if label is None:
        return "–"
    known = {"imagenet": "ImageNet", "random": "RANDOM, for demonstration"}
    return known.get(label, f"{label}, not ImageNet")


def github_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _paper_text(paper: Mapping[str, Any] | None) -> str:
    if paper is None:
        return "–"
    return f"{percent(paper['accuracy'], 2)} ({paper['correct']}/{paper['total']})"


def _introduction(report: Mapping[str, Any]) -> str:
    code, machine = report["code"], report["machine"]
    commit = "no Git commit"
    if code is not None:
        commit = f"commit {code['commit'][:7]}" + (" with changes" if code["changed"] else "")
    seeds = report["seeds"]
    return (
        f"{report['date']}, {machine['cores']} cores of {machine['cpu']}, {commit}, "
        f"{report['engine']['name']} {report['engine']['version']} under the frozen networks. "
        f"Preset `{report['preset']}`, seeds {', '.join(map(str, seeds))}. "
        f"{report['results']} results, {report['reused']} of them from an earlier, stopped or "
        f"repeated, study; training and answering took {report['seconds']['training']:.0f} s in "
        f"all, this study {report['seconds']['total']:.0f} s."
    )


def _accuracy(report: Mapping[str, Any]) -> str:
    widest = max(report["models"].values(), key=lambda model: model["total"])
    caveat = _CAVEAT.format(total=widest["total"], images=widest["distinct"]["images"])
    return f"{github_table(MAIN_HEADER, main_rows(report))}\n\n{caveat}"


def _seed_by_seed(report: Mapping[str, Any]) -> str:
    by_model = {
        name: {seed["seed"]: seed for seed in model["per_seed"]}
        for name, model in report["models"].items()
    }
    rows = []
    for seed in report["seeds"]:
        cells = [str(seed)]
        for of_seed in by_model.values():
            one = of_seed.get(seed)
            chosen = f" ({one['model']})" if one and "model" in one else ""
            cells.append(f"{one['correct']}/{one['total']}{chosen}" if one else "none passed")
        rows.append(cells)
    table = github_table(["seed", *by_model], rows)
    return (
        f"{table}\n\nThe champion of a seed has the lowest validation loss of those that pass "
        "the gate's `min_accuracy`, as in a run (out of fold, unless the recipe says `holdout`)."
    )


def _confusion(report: Mapping[str, Any]) -> str:
    classes = report["data"]["classes"]
    if len(classes) > MOST_COLUMNS:
        return "The tables of so many classes are in study.json; the most frequent mistakes follow."
    rows = [
        [name, *(" ".join(map(str, row)) for row in model["confusion"])]
        for name, model in report["models"].items()
    ]
    order = ", ".join(classes)
    table = github_table(["model", *(f"true {name}" for name in classes)], rows)
    return f"{table}\n\nIn each cell: how often it was read as {order}."


def _main_model(report: Mapping[str, Any]) -> str:
    """Choose the model whose errors are looked at image by image: what would be served."""
    models = report["models"]
    return contract.CHAMPION if contract.CHAMPION in models else next(iter(models))


def _errors(report: Mapping[str, Any]) -> str:
    models = report["models"]
    main = _main_model(report)
    pairs = [
        [name, f"{pair['true']} → {pair['predicted']}", str(pair["count"]), _share(pair, model)]
        for name, model in models.items()
        for pair in model["pairs"][:SHOWN_CONFUSIONS]
    ]
    slices = [
        [
            column,
            value,
            f"{count['correct']}/{count['total']}",
            percent(count["correct"] / count["total"], 2),
        ]
        for column, values in models[main]["slices"].items()
        for value, count in values.items()
    ]
    others = [name for name in models if name != main]
    wrong = {
        name: {error["path"]: error["wrong"] for error in models[name]["errors"]} for name in others
    }
    images = [
        [
            error["path"],
            error["true"],
            ", ".join(f"{name} {count}×" for name, count in error["predicted"].items()),
            f"{error['wrong']}/{error['tested']}",
            *(str(wrong[name].get(error["path"], 0)) for name in others),
        ]
        for error in models[main]["errors"][:_ERRORS_SHOWN]
    ]
    count = len(models[main]["errors"])
    parts = [github_table(["model", "true → read as", "times", "of its errors"], pairs)]
    if slices:
        parts.append(f"By metadata, {main}:")
        parts.append(github_table(["column", "value", "correct", "accuracy"], slices))
    if images:
        parts.append(
            f"Images that {main} read wrongly most often ({len(images)} of {count}); behind it, "
            "how often the others did:"
        )
        header = ["image", "true", "read as", "wrong/tested", *others]
        parts.append(github_table(header, images))
    return "\n\n".join(parts)


def _share(pair: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    return percent(pair["count"] / (model["total"] - model["correct"]), 0)


def _abstaining(report: Mapping[str, Any]) -> str:
    rows = []
    target = 0.0
    for name, model in report["models"].items():
        abstain = model["abstain"]
        target = abstain["target"]
        answered = abstain["accuracy"] is not None
        rows.append(
            [
                name,
                percent(abstain["coverage"], 2),
                f"{percent(abstain['accuracy'], 2)} ({abstain['correct']}/{abstain['answered']})"
                if answered
                else "–",
                interval(abstain["wilson95"]) if answered else "–",
                percent(model["mean"], 2),
            ]
        )
    header = ["model", "answered", "of those right", "95 % Wilson, pooled", "without abstaining"]
    return (
        f"{github_table(header, rows)}\n\nThresholds are chosen by each seed's validation (out of "
        "fold, unless the recipe says `holdout`), where the answers given are to be right in "
        f"{percent(target, 2)}; what they "
        "come to is counted on the test splits, all seeds together."
    )


def _cost(report: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{model['multiply_adds'] / 1e9:.2f}",
            percent(model["passed_on"], 2) if "passed_on" in model else "–",
        ]
        for name, model in report["models"].items()
    ]
    return github_table(["model", "10⁹ multiply-adds an image", "passed on by the cascade"], rows)


def _data(report: Mapping[str, Any]) -> str:
    data = report["data"]
    clean = ", ".join(f"{name} {count}" for name, count in data["clean"].items())
    left_out = ", ".join(f"{kind} {count}" for kind, count in data["left_out"].items())
    torn = [split["patients_in_two_splits"] for split in data["splits"]]
    # Whether any patient is known is the same for every seed, or nearly so.
    known = [count for count in torn if count is not None]
    shared = str(sum(known)) if known else PATIENTS_UNKNOWN
    counts = data["splits"][0]["counts"]
    per_class = "; ".join(
        f"{name} " + "/".join(str(counts[name][split]) for split in contract.SPLITS)
        for name in data["classes"]
    )
    lines = [
        f"Usable images: {clean}. Left out: {left_out or 'nothing'}. Train/eval/test with seed "
        f"{data['splits'][0]['seed']}: {per_class}. Patients in two splits, all seeds: {shared}."
    ]
    missed = [
        f"- seed {split['seed']}: {item['class_name']}, {item['split']}: {item['got']} instead of "
        f"{item['wanted']}: {item['reason']}"
        for split in data["splits"]
        for item in split["deviations"]
    ]
    more = len(missed) - _DEVIATIONS_SHOWN
    rest = [f"- {more} more counts are missed: study.json has all."] if more > 0 else []
    return "\n".join([*lines, *missed[:_DEVIATIONS_SHOWN], *rest])
