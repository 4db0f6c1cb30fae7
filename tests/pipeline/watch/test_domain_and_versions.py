"""The input gate's answers by day, and versions against each other: alarms, and none by chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.watch.judging import judge
from pipeline.watch.labels import Labels
from pipeline.watch.log_rows import LogRows, Row, read_rows
from pipeline.watch.metrics import write_metrics
from pipeline.watch.page import render
from pipeline.watch.reference import Reference, read_reference
from pipeline.watch.statistics import mcnemar
from schema import contract
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.protocol.tensors import Tensors, strings
from serving.servables.servable import Signature
from tests.pipeline.watch.kept import (
    CLASSES,
    DAY,
    NOON,
    VERSION,
    Image,
    Source,
    images,
    keep_version,
    write_log,
)
from tests.serving.in_thread import server_in_thread
from tests.serving.prediction_log.logged import Radiologist, ask, folder_of, png

NOW = NOON + 20 * DAY
NEWER = VERSION + 100
References = dict[tuple[str, int], Reference]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> References:
    """Two versions that were pushed."""
    folder = tmp_path_factory.mktemp("kept")
    found = {}
    for number in (VERSION, NEWER):
        keep_version(folder, number=number)
        reference = read_reference(folder, "lungs", number)
        assert reference is not None
        found["lungs", number] = reference
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """400 images of the source that training had."""
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, images(Source(), 400, 2))
    return read_rows(folder).rows


def _gated(rows: Sequence[Row], out: int, reason: str = contract.DOMAIN_INVERTED) -> list[Row]:
    reasons = [reason] * out + [contract.DOMAIN_OK] * (len(rows) - out)
    return [replace(row, domain_reason=why) for row, why in zip(rows, reasons, strict=True)]


def _judged(rows: Sequence[Row], kept: References, labels: Labels | None = None) -> dict[str, Any]:
    return judge(LogRows(list(rows)), kept, labels, now=NOW)


def _domain_alarms(found: dict[str, Any]) -> list[str]:
    return [alarm["sentence"] for alarm in found["alarms"] if alarm["kind"] == "domain"]


def test_the_gates_own_false_alarms_are_none(usual: list[Row], kept: References) -> None:
    found = _judged(_gated(usual, 8), kept)
    (version,) = found["versions"]
    assert version["domain"]["reasons"] == {"inverted": 8}
    assert _domain_alarms(found) == []


def test_many_images_kept_out_are_an_alarm_that_says_why(
    usual: list[Row], kept: References
) -> None:
    rows = _gated(usual[:100], 14)
    rows[0] = replace(rows[0], domain_reason=contract.DOMAIN_BLANK)
    (said,) = _domain_alarms(_judged(rows, kept))
    assert said == (
        f"The input gate of lungs {VERSION} kept out 14 of 100 images (14.0 %; blank 1, "
        "inverted 13); 1 % are to be expected."
    )


def test_ten_images_raise_no_alarm_though_all_are_kept_out(
    usual: list[Row], kept: References
) -> None:
    assert _domain_alarms(_judged(_gated(usual[:10], 10), kept)) == []


def test_a_share_that_does_not_matter_is_none_however_sure(
    usual: list[Row], kept: References
) -> None:
    """Five of a hundred, of 400: no chance at 1 %, and four points more."""
    assert stats.binomtest(20, 400, 0.01, "greater").pvalue < 1e-6
    assert _domain_alarms(_judged(_gated(usual, 20), kept)) == []


def test_a_day_of_inverted_images_is_named(usual: list[Row], kept: References) -> None:
    days = [replace(row, seconds=NOON + index // 100 * DAY) for index, row in enumerate(usual)]
    rows = _gated(days[:300], 0) + _gated(days[300:], 30)
    found = _judged(rows, kept)
    (said,) = _domain_alarms(found)
    (version,) = found["versions"]
    day = version["days"][-1]
    assert said.startswith(f"On {day['day']}, the input gate")
    assert day["alarms"] == ["answer/in_domain"]
    assert (day["domain"]["count"], day["domain"]["total"]) == (30, 100)


def test_answers_without_a_gate_are_passed_over(usual: list[Row], kept: References) -> None:
    rows = [*usual[:50], *_gated(usual[50:100], 1)]
    (version,) = _judged(rows, kept)["versions"]
    assert version["domain"]["total"] == 50
    (version,) = _judged(usual, kept)["versions"]
    assert version["domain"] is None


class Gated(Radiologist):
    """Keeps out each second image of a request."""

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        found = super()._run(signature, inputs)
        count = len(found[contract.OUTPUT_PREDICTED])
        why = [b"turned" if index % 2 else b"ok" for index in range(count)]
        found[contract.OUTPUT_IN_DOMAIN] = np.array([reason == b"ok" for reason in why])
        found[contract.OUTPUT_DOMAIN_REASON] = strings(why)
        return found


def test_the_gates_answers_are_read_from_a_servers_log(tmp_path: Path) -> None:
    log = LogSettings(LogTarget(tmp_path / "log"))
    with server_in_thread(
        lambda _: Gated(), model_dir=folder_of(tmp_path), prediction_log=log
    ) as server:
        ask(server.url, png(1), png(2), png(3))
        server.stop()
    rows = read_rows(tmp_path).rows
    assert [row.domain_reason for row in rows] == ["ok", "turned", "ok"]
    assert [row.in_domain for row in rows] == [True, False, True]


def _answered(asked: Sequence[Image], right: Sequence[bool], number: int) -> list[Row]:
    """A version's answers: right or wrong, as told."""
    rows = []
    for image, is_right in zip(asked, right, strict=True):
        predicted = image.label if is_right else (image.label + 1) % 3
        probabilities = [0.05] * 3
        probabilities[predicted] = 0.9
        rows.append(
            Row(
                image.digest, "lungs", number, NOON, {}, {}, CLASSES, tuple(probabilities),
                CLASSES[predicted], False,
            )
        )  # fmt: skip
    return rows


def _truth(asked: Sequence[Image]) -> Labels:
    return Labels({image.digest: image.truth for image in asked})


def _worse(found: dict[str, Any]) -> list[str]:
    return [alarm["sentence"] for alarm in found["alarms"] if alarm["kind"] == "comparison"]


def test_a_worse_shadow_is_an_alarm_on_labelled_images_and_agreement_needs_none(
    kept: References,
) -> None:
    asked = images(Source(), 60, 4)
    stable = _answered(asked, [True] * 55 + [False] * 5, VERSION)
    shadow = _answered(asked, [True] * 40 + [False] * 15 + [True] * 5, NEWER)
    (told,) = _judged([*stable, *shadow], kept)["comparisons"]
    assert told["both"]["labelled"] is None
    assert (told["both"]["agreement"]["count"], told["both"]["images"]) == (40, 60)
    found = _judged([*stable, *shadow], kept, _truth(asked))
    paired = found["comparisons"][0]["both"]["labelled"]
    assert (paired["only_first"], paired["only_second"]) == (15, 5)
    # By hand: the tails of twenty tosses of a coin.
    assert paired["mcnemar_p"] == pytest.approx(2 * stats.binom.cdf(5, 20, 0.5))
    assert _worse(found) == []  # p is 0.04
    shadow = _answered(asked, [True] * 40 + [False] * 20, NEWER)
    (said,) = _worse(_judged([*stable, *shadow], kept, _truth(asked)))
    assert said.startswith(f"lungs {NEWER} is worse than {VERSION}: of 60 labelled images")
    # Nor is a better one an alarm.
    better = _answered(asked, [True] * 60, NEWER)
    worse = _answered(asked, [True] * 40 + [False] * 20, VERSION)
    assert _worse(_judged([*worse, *better], kept, _truth(asked))) == []


def test_a_canary_is_compared_on_images_of_its_own(kept: References) -> None:
    asked = images(Source(), 200, 4)
    stable = _answered(asked[:150], [True] * 140 + [False] * 10, VERSION)
    canary = _answered(asked[150:], [True] * 30 + [False] * 20, NEWER)
    found = _judged([*stable, *canary], kept, _truth(asked))
    (told,) = found["comparisons"]
    assert told["both"]["images"] == 0
    assert told["both"]["agreement"] is None
    table = [[140, 10], [30, 20]]
    assert told["apart"]["labelled"]["fisher_p"] == pytest.approx(stats.fisher_exact(table)[1])
    (said,) = _worse(found)
    assert "30 of 50 labelled images are right, against 140 of 150 others" in said


def test_versions_of_other_models_are_not_compared(kept: References) -> None:
    asked = images(Source(), 40, 4)
    rows = _answered(asked, [True] * 40, VERSION)
    other = [replace(row, model="knees") for row in _answered(asked, [True] * 40, NEWER)]
    references = {**kept, ("knees", NEWER): kept["lungs", NEWER]}
    assert _judged([*rows, *other], references)["comparisons"] == []
    # Nor is a version of which nothing was kept.
    strange = _answered(asked, [True] * 40, NEWER + 1)
    found = _judged([*rows, *strange], kept)
    assert (found["comparisons"], found["log"]["other_models"]) == ([], {f"lungs {NEWER + 1}": 40})


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_test_knows_no_first_and_second(one: int, other: int) -> None:
    p = mcnemar(one, other)
    assert 0.0 < p <= 1.0
    assert p == pytest.approx(mcnemar(other, one))
    assert mcnemar(one + 1, one + 1) == 1.0


def test_equal_versions_rarely_raise_the_alarm() -> None:
    """At most in one per cent of the cases; here 200, and four standard deviations."""
    draw = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        first, second = draw.binomial(1, 0.85, (2, 80)).astype(bool)
        right = list(zip(first, second, strict=True))
        only = [right.count((True, False)), right.count((False, True))]
        alarms += only[0] > only[1] and mcnemar(*only) < 0.01
    assert alarms / 200 < 0.01 + 4 * (0.01 * 0.99 / 200) ** 0.5


def test_page_and_metrics_say_it_all(tmp_path: Path, usual: list[Row], kept: References) -> None:
    asked = images(Source(), 60, 4)
    stable = _gated(_answered(asked, [True] * 55 + [False] * 5, VERSION), 20)
    shadow = _answered(asked, [True] * 40 + [False] * 20, NEWER)
    found = _judged([*stable, *shadow], kept, _truth(asked))
    json.dumps(found, allow_nan=False)
    page = render(found, {})
    assert "Version against version" in page
    assert "out of domain" in page
    assert "worse" in page
    write_metrics(found, tmp_path / "metrics.prom")
    told = (tmp_path / "metrics.prom").read_text()
    line = f'cxr_watch_out_of_domain_share{{model="lungs",reason="inverted",version="{VERSION}"}}'
    assert f"{line} 0.3333333333333333" in told
    pair = f'{{first="{VERSION}",model="lungs",second="{NEWER}"}}'
    assert f"cxr_watch_agreement{pair} 0.75" in told
    assert f"cxr_watch_mcnemar_p{pair} " in told
