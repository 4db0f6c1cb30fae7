"""What stands in a card, against counts by hand and the page as Markdown shows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import markdown
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from components.model_card.content import BySource, ClassData, Share, _by_source, class_results
from components.model_card.rendering import as_text, flat, interval, percent
from models.rendering import Rendering, read_note
from tests.components.model_card.conftest import (
    CLASSES,
    CONFUSION,
    SOURCES,
    VALIDATION,
    Written,
)

WriteCard = Callable[..., Written]
TRAINING = {"learning_rate": 0.001, "head": {"kind": "regularised", "taps": ["a", "b"]}}
WEIGHTS = {"weights": "imagenet_v1", "weights_sha256": "ab12", "image_size": "128"}


# Made once: it looks through what is installed for its extensions.
_MARKDOWN = markdown.Markdown(extensions=["tables"])


def _python_markdown(page: str) -> str:
    return _MARKDOWN.reset().convert(page)


def _commonmark(page: str) -> str:
    # As GitHub does, HTML and tables included.
    return str(MarkdownIt("commonmark").enable("table").render(page))


RENDERERS = [_python_markdown, _commonmark]


class _Tables(HTMLParser):
    """Tables as rows of cells of text, and the names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def _parse(html: str) -> _Tables:
    parser = _Tables()
    parser.feed(html)
    parser.close()
    return parser


@pytest.fixture(params=RENDERERS)
def tables(request: pytest.FixtureRequest) -> Callable[[str], _Tables]:
    """Markdown -> its tables, by either dialect."""
    return lambda page: _parse(request.param(page))


def _rows(table: list[list[str]]) -> Iterator[list[str]]:
    """Without the header; each as wide as that."""
    for row in table[1:]:
        assert len(row) == len(table[0])
        yield row


def test_the_numbers_are_the_ones_counted_by_hand(write_card: WriteCard) -> None:
    card = write_card(training=TRAINING, weights=WEIGHTS).data
    results = card["results"]
    assert results["confusion"] == CONFUSION
    assert (results["accuracy"]["count"], results["accuracy"]["total"]) == (7, 12)
    assert results["accuracy"]["value"] == 7 / 12
    # Wilson's interval of 7 of 12, written out with z = 1.959964.
    assert results["accuracy"]["wilson95"] == pytest.approx([0.319511, 0.806740], abs=1e-6)
    by_class = {one["name"]: one for one in results["classes"]}
    counted = {
        name: [
            (one[key]["count"], one[key]["total"])
            for key in ("sensitivity", "specificity", "precision")
        ]
        for name, one in by_class.items()
    }
    assert counted == {
        CLASSES[0]: [(3, 4), (6, 8), (3, 5)],
        CLASSES[1]: [(4, 4), (5, 8), (4, 7)],
        CLASSES[2]: [(0, 4), (8, 8), (0, 0)],
    }
    slices = {
        (part["feature"], part["value"]): (part["accuracy"]["count"], part["accuracy"]["total"])
        for part in results["slices"]
    }
    assert slices == {
        ("class", CLASSES[0]): (3, 4),
        ("class", CLASSES[1]): (4, 4),
        ("class", CLASSES[2]): (0, 4),
        ("source", SOURCES[0]): (3, 4),
        ("source", SOURCES[1]): (4, 4),
        ("source", SOURCES[2]): (0, 4),
        ("view", "PA"): (7, 12),
        ("sex", "F"): (0, 1),
        ("sex", "M"): (0, 2),
        ("sex", "unknown"): (7, 9),
        ("age group", "unknown"): (7, 12),
    }
    # One image is less sure than 0.65, and wrong.
    abstain = results["abstaining"]
    assert (abstain["threshold"], abstain["target"], abstain["judged_at"]) == (0.65, 0.9, 0.65)
    assert (abstain["answered"]["count"], abstain["answered"]["total"]) == (11, 12)
    assert (abstain["right"]["count"], abstain["right"]["total"]) == (7, 11)
    assert (results["validation"]["count"], results["validation"]["total"]) == (3, 4)
    assert (results["fitted_to"], results["judged_on"]) == (
        "the train split",
        "the validation split",
    )


def test_what_was_judged_out_of_fold_and_fitted_to_both_splits_is_said(
    write_card: WriteCard,
) -> None:
    card = write_card(training=TRAINING, weights=WEIGHTS, validation=VALIDATION | {"folds": 5})
    said = "train and validation split out of fold (5 folds)"
    assert card.data["results"]["judged_on"] == said
    assert card.data["results"]["fitted_to"] == "train and validation split"
    assert "Fitted to train and validation split. Temperature, thresholds" in card.page
    assert f"of its answers on {said} are right." in card.page


def test_gate_data_and_origin(write_card: WriteCard) -> None:
    card = write_card(training=TRAINING, weights=WEIGHTS, served=False).data
    assert card["notice"] == "Not for diagnosis."
    assert card["model"]["classes"] == CLASSES
    assert card["model"]["versions"] == {"tfx": "1.16.0", "python": "3.10.1"}
    assert card["recipe"]["training"] == TRAINING
    assert (card["recipe"]["weights"], card["recipe"]["weights_sha256"]) == ("imagenet_v1", "ab12")
    assert card["recipe"]["image_size"] == 128
    gate = card["gate"]
    assert (gate["blessed"], gate["served"]) == (False, False)
    assert gate["refused_because"] == "accuracy 0.5833 is below 0.9 (gate.min_accuracy)"
    assert gate["thresholds"] == {"min_accuracy": 0.9, "min_wilson_lower": None}
    assert gate["figures"]["accuracy"] == pytest.approx(7 / 12)
    data = card["data"]
    assert (data["manifest_digest"], data["duplicates_dropped"]) == ("d1", 4)
    assert data["classes"][2] == {
        "name": CLASSES[2],
        "found": 32,
        "clean": 30,
        "splits": {"train": 11, "eval": 5, "test": 4},
        "sources": {SOURCES[1]: 5, SOURCES[2]: 15},
        "licences": {"CC BY-NC-SA": 19, "unknown": 1},
    }
    limits = card["limits"]
    assert limits["test_images"] == 12
    assert limits["populations"] == [
        {"feature": "view", "values": ["PA"], "unknown": 0},
        {"feature": "sex", "values": ["F", "M"], "unknown": 9},
        {"feature": "age group", "values": [], "unknown": 12},
    ]
    # The second source has 20 of one class and 5 of another.
    assert limits["by_source"] == {"right": 55, "chance": 20, "total": 60}


def test_how_dicom_became_grey_is_said_and_noted_for_the_server(write_card: WriteCard) -> None:
    plain = write_card()
    assert plain.note is None
    assert "Grey levels of DICOM" not in plain.page
    learned = Rendering(2, 1.5)
    card = write_card(rendering=learned.to_json())
    assert card.note is not None
    assert read_note(card.note) == learned
    assert "Grey levels of DICOM: VOI LUT or window 2; of images without any, 1.5 % of" in card.page
    whole = write_card(rendering=Rendering().to_json())
    assert "VOI LUT or window 1; of images without any, the range of BitsStored." in whole.page


def test_the_page_is_tables_that_show_what_the_file_says(
    write_card: WriteCard, tables: Callable[[str], _Tables]
) -> None:
    written = write_card(training=TRAINING, weights=WEIGHTS)
    card, shown = written.data, tables(written.page)
    assert shown.tags == {
        *("h1", "h2", "h3", "p", "strong", "ul", "li"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    (
        overview,
        classes,
        confusion,
        slices,
        asked,
        found,
        data,
        sources,
        licences,
        recipe,
        versions,
    ) = (list(_rows(table)) for table in shown.tables)
    assert ["classes", ", ".join(CLASSES)] in overview
    assert ["verdict of the gate", "refused"] in overview
    assert [row[0] for row in classes] == CLASSES
    assert classes[0][1:3] == ["75.0 % (3 of 4)", "30.1–95.4 %"]
    assert classes[2][5:] == ["– (0 of 0)", "–"]
    assert [[int(cell) for cell in row[1:]] for row in confusion] == CONFUSION
    assert shown.tables[2][0] == ["true class", *(f"as {name}" for name in CLASSES)]
    assert [row[:3] for row in slices] == [
        [part["feature"], part["value"], str(part["accuracy"]["total"])]
        for part in card["results"]["slices"]
    ]
    assert asked == [["min_accuracy", "0.9"], ["min_wilson_lower", "–"]]
    assert ["accuracy", "0.583333"] in found
    assert data[0] == [CLASSES[0], "30", "28", "11", "5", "4"]
    assert sources == [
        [one["name"], source, str(count)]
        for one in card["data"]["classes"]
        for source, count in sorted(one["sources"].items())
    ]
    assert licences[:2] == [[CLASSES[0], "CC BY-NC-SA", "19"], [CLASSES[0], "unknown", "1"]]
    assert recipe == [
        ["temperature", "0.8"],
        ["learning_rate", "0.001"],
        ["head.kind", "regularised"],
        ["head.taps", "a, b"],
    ]
    assert versions == [["tfx", "1.16.0"], ["python", "3.10.1"]]


def test_the_page_says_first_that_it_is_not_for_diagnosis_and_last_what_limits_it(
    write_card: WriteCard,
) -> None:
    page = write_card(training=TRAINING, weights=WEIGHTS, served=False).page
    assert page.splitlines()[2].startswith("**Not for diagnosis.**")
    assert "refused: accuracy 0.5833 is below 0.9 (gate.min_accuracy)." in page
    assert "could not be served" in page
    limits = page.partition("## Limits\n")[2]
    assert "no estimate of clinical accuracy" in limits
    assert "The test split has 12 images" in limits
    assert "By sex, the test split covers F, M (unknown: 9 of 12 images)" in limits
    assert "By age group, the test split covers nothing that is known (unknown: 12 of" in limits
    assert "can name the class of 55 of 60 images" in limits
    assert "imagenet_v1 (SHA-256 ab12). The network sees the image at 128×128 pixels." in page
    assert "None" not in page
    assert not re.search(r"\n{3}", page)


def test_a_combination_names_its_members_and_how_they_are_joined(write_card: WriteCard) -> None:
    joined = {"members": ["vgg16", "xception"], "cascade": {"first": "vgg16", "threshold": 0.7}}
    written = write_card(validation=VALIDATION | joined)
    recipe = written.data["recipe"]
    assert recipe["members"] == ["vgg16", "xception"]
    assert recipe["training"] is recipe["weights"] is None
    assert "Put together from vgg16, xception" in written.page
    assert "| cascade.threshold | 0.7 |" in written.page
    assert "Weights that training started from" not in written.page


def test_a_model_that_always_abstains_answers_nothing(write_card: WriteCard) -> None:
    never = {"abstain": VALIDATION["abstain"] | {"threshold": 2.0}}  # type: ignore[operator]
    written = write_card(validation=VALIDATION | never)
    abstain = written.data["results"]["abstaining"]
    assert abstain["judged_at"] is None
    assert abstain["answered"]["count"] == abstain["right"]["total"] == 0
    assert abstain["right"]["value"] is None
    assert "abstains from every image" in written.page


def test_the_input_gates_figures_are_said_and_which_kind_it_misses(write_card: WriteCard) -> None:
    kinds = {
        "blank": {"images": 4, "caught": 4},
        "inverted": {"images": 40, "caught": 38},
        "digits": {"images": 8, "caught": 5},
        "shapes": {"images": 8, "caught": 7},
    }
    figures = {"test": {"images": 40, "kept_out": 1}, "kinds": kinds}
    written = write_card(input_gate=figures)
    found = written.data["results"]["input_gate"]
    assert (found["kept_out"]["count"], found["kept_out"]["total"]) == (1, 40)
    # 38 of 40 are just 95 %.
    assert found["missed"] == ["digits", "shapes"]
    assert "It keeps out 2.5 % of the test split's images (1 of 40; interval" in written.page
    assert "| digits | 62.5 % (5 of 8) |" in written.page
    assert "Less than 95 % is kept out of: digits, shapes." in written.page
    for kind in ("digits", "shapes"):
        kinds[kind]["caught"] = 8
    page = write_card(input_gate=figures).page
    assert "Of each kind at least 95 % are kept out." in page
    assert "Less than 95 %" not in page


def test_what_the_table_adds_is_said_with_intervals_or_a_dash(write_card: WriteCard) -> None:
    known = {"value": 0.9, "low": 0.85, "high": 0.95}
    unknown = {"value": None, "low": None, "high": None}
    joint = {"loss": 0.25, "accuracy": known, "balanced_accuracy": known, "auc": unknown}
    table = {
        "sentence": "The joint model's log loss is lower.",
        "few_patients": "12 patients are few.",
        "models": {"joint": joint},
    }
    written = write_card(validation=VALIDATION | {"columns": ["age", "crp"], "table": table})
    assert written.data["table"]["columns"] == ["age", "crp"]
    assert "The model takes these columns of the table" in written.page
    for sentence in (table["sentence"], table["few_patients"]):
        assert f"\n\n{sentence}\n\n" in written.page
    figure = "0.900 (0.850 to 0.950)"
    assert f"| joint | 0.2500 | {figure} | {figure} | – |" in written.page
    # The table alone was compared with nothing.
    alone = write_card(validation=VALIDATION | {"columns": ["age"]})
    assert alone.data["table"]["models"] == {}
    assert "Out of fold, by patient" not in alone.page
    assert write_card().data["table"] is None


def test_a_card_without_a_gate_says_what_that_means(write_card: WriteCard) -> None:
    written = write_card()
    assert written.data["results"]["input_gate"] is None
    assert "The model has no input gate: it answers whatever image it is shown" in written.page


def test_the_same_inputs_give_the_same_bytes(write_card: WriteCard) -> None:
    first, second = (write_card(training=TRAINING, weights=WEIGHTS) for _ in range(2))
    assert first == second
    assert write_card(training=TRAINING, weights=WEIGHTS, digest="d2") != first


def test_where_no_source_is_known_nothing_is_said_of_sources(write_card: WriteCard) -> None:
    unknown = {name: {"unknown": 20} for name in CLASSES}
    written = write_card(sources=unknown, licences={})
    assert written.data["limits"]["by_source"] is None
    assert "the source of no image is known" in written.page


def test_what_sources_give_away() -> None:
    one = ClassData("a", 0, 0, {}, {"x": 3, "unknown": 1}, {})
    other = replace(one, name="b", sources={"x": 2})
    # Of x the first class has more; of unknown it alone has any.
    assert _by_source([one, other]) == BySource(right=4, chance=4, total=6)
    # A manifest from before sources were counted.
    assert _by_source([replace(one, sources={})]) is None


def test_a_class_that_nothing_is_taken_for_has_no_precision() -> None:
    never, always = class_results(["a", "b"], [[0, 2], [0, 3]])
    assert never.precision == Share(0, 0, None, None)
    assert percent(never.precision) == interval(never.precision) == "–"
    assert (never.specificity.count, never.specificity.total) == (3, 3)
    assert (always.precision.count, always.precision.total) == (3, 5)


@pytest.mark.parametrize("render", RENDERERS)
@given(text=st.text(min_size=1))
@example(text="a|b \\| `x|y` <b>&amp;</b> [l](u) ![i](u) *e* __s__ ~~d~~ $x$ {: .c}")
@example(text="_a_ a_b_c a__b__ _x")
@example(text="---")
@example(text="line\nbreak\r\n\n# heading")
@example(text="\x02amp\x03 \x00")
def test_any_text_is_shown_as_it_is_and_stays_in_its_cell(
    render: Callable[[str], str], text: str
) -> None:
    page = f"| head | other |\n|---|---|\n| {as_text(text)} | x{as_text(text)} |\n"
    shown = _parse(render(page))
    visible = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "–"
    assert shown.tables == [[["head", "other"], [visible, f"x{visible}"]]]
    assert shown.tags == {"table", "thead", "tbody", "tr", "th", "td"}


def test_an_item_of_a_list_goes_by_its_number() -> None:
    slices = [{"feature": "sex", "value": None}, {"feature": "view"}]
    assert list(flat({"gate": {"slices": slices}, "none": [], "taps": [1, 2]})) == [
        ("gate.slices.0.feature", "sex"),
        ("gate.slices.0.value", None),
        ("gate.slices.1.feature", "view"),
        ("none", []),
        ("taps", [1, 2]),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("", "–"),
        ([], "–"),
        (True, "yes"),
        (3, "3"),
        (0.1 + 0.2, "0.3"),
        (["a*", 1.0], "a&#42;, 1"),
        ("min_accuracy", "min_accuracy"),
    ],
)
def test_values_as_text(value: Any, shown: str) -> None:
    assert as_text(value) == shown


@pytest.mark.parametrize("fits", [True, False])
def test_a_card_says_that_training_went_on_from_an_earlier_model(
    fits: bool, write_card: WriteCard
) -> None:
    note = {"model": "/out/Trainer.vgg16/model/17/Format-Serving", "continued": fits}
    written = write_card(training=TRAINING, weights=WEIGHTS, continued=note)
    plain = write_card(training=TRAINING, weights=WEIGHTS)
    if fits:
        said = "an earlier model (execution 17), so it has learnt from that one's images, too"
        assert written.data["recipe"]["training"]["continued_from"] == said
        assert "| continued_from | an earlier model (execution 17)" in written.page
        assert "/out/" not in written.page
    else:
        assert written == plain
