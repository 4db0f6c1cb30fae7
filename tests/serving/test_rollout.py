"""A rollout: who answers which request, what is asked beside, and files that are at fault."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.example import example_pb2

from common.errors import InputError
from schema import contract
from serving.core.manager import Manager
from serving.core.model_config import models_in, read_config
from serving.core.observing import Asked
from serving.core.rollout import (
    ROLLOUT_FILE,
    Rollout,
    place_of,
    place_of_digest,
    place_of_examples,
    read_rollout,
    write_rollout,
)
from serving.core.shadows import Shadows
from serving.prediction_log.settings import LogSettings, LogTarget
from serving.protocol.paths import ModelRef
from serving.protocol.status import ServingError
from serving.protocol.tensors import Tensors, strings
from serving.servables.servable import PREDICT, Servable, Signature
from serving.settings import Limits
from tests.serving.fakes import Loader, write_version
from tests.serving.in_thread import server_in_thread, until
from tests.serving.prediction_log.logged import Radiologist, ask, png, records

M = ModelRef("m")


def _manager(folder: Path, rollout: Rollout, *versions: int) -> Manager:
    for number in versions:
        write_version(folder / "m", number)
    write_rollout(folder / "m", rollout)
    manager = Manager(Loader())
    manager.configure(models_in(folder))
    manager.reconcile()
    return manager


def _asked(manager: Manager, place: float, ref: ModelRef = M) -> tuple[int, int | None]:
    with manager.borrow(ref, lambda: place) as lent:
        return lent.version, lent.shadow


def test_a_canary_gets_its_share_and_stable_the_rest(tmp_path: Path) -> None:
    manager = _manager(tmp_path, Rollout(1, 3, 0.25), 1, 2, 3)
    assert _asked(manager, 0.2499) == (3, None)
    assert _asked(manager, 0.25) == (1, None)
    # Whoever names a version or a label gets it.
    assert _asked(manager, 0.0, ModelRef("m", label="stable")) == (1, None)
    assert _asked(manager, 0.9, ModelRef("m", label="canary")) == (3, None)
    assert _asked(manager, 0.0, ModelRef("m", version=1)) == (1, None)
    # As what tells a model's signatures does, a request without a place is stable's.
    with manager.borrow(M) as lent:
        assert lent.version == 1
    with pytest.raises(ServingError):
        _asked(manager, 0.0, ModelRef("m", version=2))


def test_a_shadow_never_answers(tmp_path: Path) -> None:
    manager = _manager(tmp_path, Rollout(1, 3, 0.25, shadow=True), 1, 3)
    assert _asked(manager, 0.2) == (1, 3)
    assert _asked(manager, 0.3) == (1, None)


def test_a_promotion_needs_no_restart_and_fails_no_request(tmp_path: Path) -> None:
    """Until the new version is loaded, what was stable before answers."""
    manager = _manager(tmp_path, Rollout(1), 1, 2)
    assert _asked(manager, 0.0) == (1, None)
    write_rollout(tmp_path / "m", Rollout(2))
    manager.configure(models_in(tmp_path))
    assert _asked(manager, 0.0) == (1, None)
    manager.reconcile()
    assert _asked(manager, 0.0) == (2, None)


def test_a_new_push_changes_nothing_where_somebody_decides(tmp_path: Path) -> None:
    manager = _manager(tmp_path, Rollout(1), 1)
    write_version(tmp_path / "m", 9)
    manager.reconcile()
    assert _asked(manager, 0.0) == (1, None)


def test_a_canary_that_cannot_be_loaded_gets_nothing(tmp_path: Path) -> None:
    write_version(tmp_path / "m", 3, good=False)
    manager = _manager(tmp_path, Rollout(1, 3, 1.0), 1)
    assert _asked(manager, 0.0) == (1, None)


def test_a_stable_version_that_is_gone_fails_no_request(tmp_path: Path) -> None:
    manager = _manager(tmp_path, Rollout(1, 3, 0.5), 3)
    assert _asked(manager, 0.9) == (3, None)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
def test_the_same_image_has_the_same_place_however_it_comes(images: list[bytes]) -> None:
    place = place_of({contract.INPUT_IMAGES: strings(images)})
    assert 0.0 <= place < 1.0
    assert place == place_of_digest(hashlib.sha256(images[0]).hexdigest())
    example = example_pb2.Example()
    example.features.feature[contract.IMAGE].bytes_list.value.append(images[0])
    example.features.feature[contract.SEX].bytes_list.value.append(b"F")
    serialized = example.SerializeToString()
    assert place_of({contract.INPUT_EXAMPLES: strings([serialized])}) == place
    assert place_of_examples([serialized]) == place


def test_places_are_spread_evenly() -> None:
    places = [place_of({"x": np.array([float(n)], np.float32)}) for n in range(2000)]
    counts = np.histogram(places, 10, (0, 1))[0]
    # Five standard deviations of a binomial distribution.
    assert np.abs(counts - 200).max() < 5 * (2000 * 0.1 * 0.9) ** 0.5
    assert place_of_examples([b"\xff\xff no example"]) < 1.0


def test_models_config_follows_a_rollout_unless_it_says_more(tmp_path: Path) -> None:
    write_version(tmp_path / "m", 1)
    write_rollout(tmp_path / "m", Rollout(1, 2, 0.5))
    file = tmp_path / "models.config"
    entry = f'name: "m" base_path: "{tmp_path / "m"}"'
    file.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    assert dict(read_config(file)["m"].labels) == {"stable": 1, "canary": 2}
    entry += (
        ' model_version_policy { specific { versions: 1 } } version_labels { key: "a" value: 1 }'
    )
    file.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    assert read_config(file)["m"].rollout is None
    assert dict(read_config(file)["m"].labels) == {"a": 1}


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"stable": 1', b"\xff", b'{"stable": null, "canary": 1}',
     b'{"stable": 1, "canary": 2, "share": 7, "shadow": false, "history": []}',
     b'{"stable": 1, "canary": 2, "share": 0, "shadow": false, "history": [{"what": "x"}]}'],
)  # fmt: skip
def test_a_file_at_fault_is_named(tmp_path: Path, content: bytes) -> None:
    write_version(tmp_path / "m", 1)
    (tmp_path / "m" / ROLLOUT_FILE).write_bytes(content)
    with pytest.raises(InputError, match=ROLLOUT_FILE):
        models_in(tmp_path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_rollout(tmp_path) is None
    history = ({"what": "promoted", "version": 7, "from": 6, "why": "šéf"},)
    rollout = Rollout(7, 8, 0.1, shadow=True, history=history)
    write_rollout(tmp_path, rollout)
    assert read_rollout(tmp_path) == rollout
    assert [path.name for path in tmp_path.iterdir()] == [ROLLOUT_FILE]


class Versioned(Radiologist):
    """Its answers' first probability is its version's number; version 13 fails."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.number = int(path.name)

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        if self.number == 13:
            raise ValueError("unlucky")
        found = super()._run(signature, inputs)
        found[contract.OUTPUT_PROBABILITIES][:, 0] = self.number / 100
        # As JSON, a heat map takes longer than all the rest.
        found[contract.OUTPUT_HEAT_MAP] = found[contract.OUTPUT_HEAT_MAP][:, :1, :1]
        return found


def _serve(tmp_path: Path, rollout: Rollout, *versions: int) -> Any:
    for number in versions:
        (tmp_path / "models" / "lungs" / str(number)).mkdir(parents=True)
    write_rollout(tmp_path / "models" / "lungs", rollout)

    def load(path: Path) -> Servable:
        return Versioned(path)

    return server_in_thread(
        load,
        model_dir=tmp_path / "models",
        prediction_log=LogSettings(LogTarget(tmp_path / "log")),
        file_poll_s=0.05,
    )


def _version(url: str, image: bytes) -> int:
    return round(100 * ask(url, image)["predictions"][0]["probabilities"][0])


def _logged(tmp_path: Path) -> Counter[int]:
    return Counter(r.log_metadata.model_spec.version.value for r in records(tmp_path))


def test_a_served_canary_answers_the_same_images_each_time(tmp_path: Path) -> None:
    images = [png(seed) for seed in range(30)]
    wanted = [8 if place_of({contract.INPUT_IMAGES: strings([i])}) < 0.4 else 7 for i in images]
    assert set(wanted) == {7, 8}
    with _serve(tmp_path, Rollout(7, 8, 0.4), 7, 8) as server:
        assert [_version(server.url, image) for image in images] == wanted
        assert [_version(server.url, image) for image in images] == wanted
        # Promoted while it serves.
        write_rollout(tmp_path / "models" / "lungs", Rollout(8))
        until(lambda: _version(server.url, images[wanted.index(7)]) == 8)
        labelled = f"{server.url}/v1/models/lungs/labels/stable/metadata"
        assert requests.get(labelled, timeout=30).json()["model_spec"]["version"] == "8"
        server.stop()
    assert _logged(tmp_path)[8] >= 2 * wanted.count(8)


def test_a_shadow_is_logged_and_counted_and_stable_answers(tmp_path: Path) -> None:
    images = [png(seed) for seed in range(12)]
    with _serve(tmp_path, Rollout(7, 8, 1.0, shadow=True), 7, 8) as server:
        assert {_version(server.url, image) for image in images} == {7}
        metrics = f"{server.url}/monitoring/prometheus/metrics"
        line = 'cxr_serving_shadow_requests_total{model="lungs",outcome="answered"} 12.0'
        until(lambda: line in requests.get(metrics, timeout=30).text)
        # Nobody got those: they are no answers of the model.
        told = requests.get(metrics, timeout=30).text
        assert 'cxr_serving_answers_total{class="COVID-19",model="lungs"} 12.0' in told
        server.stop()
    assert _logged(tmp_path) == {7: 12, 8: 12}


def test_a_shadow_that_fails_harms_no_request(tmp_path: Path) -> None:
    with _serve(tmp_path, Rollout(7, 13, 1.0, shadow=True), 7, 13) as server:
        assert {_version(server.url, png(seed)) for seed in range(3)} == {7}
        metrics = f"{server.url}/monitoring/prometheus/metrics"
        line = 'cxr_serving_shadow_requests_total{model="lungs",outcome="failed"} 3.0'
        until(lambda: line in requests.get(metrics, timeout=30).text)
        server.stop()
    assert _logged(tmp_path) == {7: 3}


def test_a_rollout_that_breaks_while_it_serves_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with _serve(tmp_path, Rollout(7), 7, 8) as server:
        assert _version(server.url, png()) == 7
        (tmp_path / "models" / "lungs" / ROLLOUT_FILE).write_text(json.dumps({"stable": "x"}))
        until(lambda: "the old configuration is kept" in caplog.text)
        assert _version(server.url, png()) == 7


@pytest.mark.parametrize(("queued", "outcome"), [(65, "busy"), (64, "failed")])
def test_a_shadow_leaves_a_busy_server_to_its_clients(
    tmp_path: Path, queued: int, outcome: str
) -> None:
    """From a quarter of the queue's 256 places on; below, this one is asked, and isn't there."""
    batcher: Any = SimpleNamespace(queued=queued)
    manager = _manager(tmp_path, Rollout(1, 3, 1.0, shadow=True), 1)
    shadows = Shadows(manager, batcher, Limits(), lambda *_: None)
    signature: Any = SimpleNamespace(name="serving_default")
    with manager.borrow(M) as lent:
        shadows.ask(Asked(replace(lent, shadow=3), signature, PREDICT, {}, {}))
    assert shadows.counts() == {("m", outcome): 1}
