"""The stand-in beside what the real API server answered, where that was kept."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.pipeline.kubeflow.api_stand_in import StandIn
from tests.pipeline.kubeflow.run_nodes import cache_row, node, snapshot, task
from tests.pipeline.kubeflow.submit_runs import IR, serving

ANSWERS: Final = Path(__file__).parents[4] / "shared/data/kfp/api/answers.txt"
NOBODY: Final = "11111111-1111-1111-1111-111111111111"
# What differs from server to server, and from one run to the next.
_VARIES: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:]+(Z|\+00:00)|seed|epochs"
)
Call = Callable[..., tuple[int, Any]]
needs_answers = pytest.mark.skipif(
    not ANSWERS.is_file(), reason="needs ../shared/data/kfp/api/answers.txt"
)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serving() as made:
        yield made


@pytest.fixture
def call(stand_in: StandIn) -> Call:
    """(path, body) asks the stand-in, by POST where there is a body; status and answer."""

    def ask(path: str, body: Any = None) -> tuple[int, Any]:
        if not isinstance(body, bytes):
            content, kind = json.dumps(body).encode(), "application/json"
        else:
            kind = "multipart/form-data; boundary=x"
            head = b'--x\r\nContent-Disposition: form-data; name="uploadfile"; filename="p"\r\n\r\n'
            content = head + body + b"\r\n--x--\r\n"
        request = urllib.request.Request(
            f"{stand_in.url}/apis/v2beta1{path}",
            None if body is None else content,
            {"Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return ask


def _real() -> dict[str, tuple[int, str]]:
    """Title -> status and body; some bodies were cut as they were written down."""
    found = {}
    for section in ANSWERS.read_text().split("\n### ")[1:]:
        title, *lines = section.strip().splitlines()
        head = re.match(r"HTTP/1.1 (\d+)", lines[0])
        tail = re.fullmatch(r"\d{3}", lines[-1])
        status = int(head[1]) if head else int(tail[0]) if tail else 200
        found[title] = status, lines[1 if head else 0]
    return found


def _upload(changes: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump({**IR, **changes}, sort_keys=False).encode()


def _answers(call: Call, stand_in: StandIn) -> dict[str, tuple[int, Any]]:
    """What the stand-in answers where the real server was asked the same."""
    new = "/pipelines/upload?name="
    _, pipeline = call(f"{new}chest&description=IR+sha256:0", _upload({}))
    (version,) = stand_in.versions
    _, experiment = call("/experiments", {"display_name": "cxr-tfx"})
    one = {"pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": version}
    add = f"/pipelines/upload_version?name=chest&pipelineid={pipeline['pipeline_id']}"

    def run(parameters: Mapping[str, Any] | None = None, **changes: Any) -> tuple[int, Any]:
        body = {
            "display_name": "t6",
            "experiment_id": changes.pop("experiment", experiment["experiment_id"]),
            "pipeline_version_reference": {**one, **changes},
            "runtime_config": {"parameters": parameters} if parameters else {},
        }
        return call("/runs", body)

    def named(name: str) -> str:
        predicate = {"operation": 1, "key": "display_name", "stringValue": name}
        wanted = json.dumps({"predicates": [predicate]})
        return f"/pipelines?filter={urllib.parse.quote(wanted)}"

    return {
        "same pipeline name again": call(f"{new}chest", _upload({})),
        "same version name again": call(add, _upload({})),
        "version of unknown pipeline": call(add[:-36] + NOBODY, _upload({})),
        "bad yaml": call(f"{new}other", b"["),
        "no pipeline": call(f"{new}other", b"a: 1"),
        "schema 2.0.0": call(f"{new}other", _upload({"schemaVersion": "2.0.0"})),
        "unknown field": call(f"{new}other", _upload({"surplus": 1})),
        "capital name": call(f"{new}other", _upload({"pipelineInfo": {"name": "Chest"}})),
        "list filter": call(named("chest")),
        "list filter none": call(named("none")),
        "run unknown version": run(pipeline_version_id=NOBODY),
        "run unknown experiment": run(experiment=NOBODY),
        "run wrong type": run({"epochs": "three"}),
        "run unknown parameter": run({"nope": 1}),
        "run version of other pipeline": run(pipeline_id=NOBODY),
        "seed 3.7": run({"epochs": 3.7}),
        "unknown route": call("/nothing"),
        "healthz": call("/healthz"),
    }


def _shape(value: Any) -> Any:
    """Keys, in their order, and kinds of values."""
    if isinstance(value, dict):
        return [(key, _shape(each)) for key, each in value.items()]
    return [_shape(value[0])] if isinstance(value, list) else type(value).__name__


def _plain(text: str) -> str:
    return _VARIES.sub("…", text)


@needs_answers
def test_it_answers_as_the_real_one_does(call: Call, stand_in: StandIn) -> None:
    real = _real()
    for title, (status, answer) in _answers(call, stand_in).items():
        wanted_status, wanted = real[title]
        assert status == wanted_status, title
        try:
            whole = json.loads(wanted)
        except ValueError:
            # As far as it was written down.
            mine = _plain(json.dumps(answer, separators=(",", ":")))
            until = re.split(r'"(?:scheduled_at|sched|@type)|PipelineVer', _plain(wanted))[0]
            assert mine[: len(until)] == until, title
            continue
        assert _shape(answer) == _shape(whole), title
        for field in ("message", "error_message"):
            if field in whole and title != "bad yaml":
                assert _plain(answer[field]) == _plain(whole[field]), title
        if "error_details" in whole:
            assert answer["error_details"].startswith(f"{answer['error_message']}\ngithub.com/")


@needs_answers
def test_a_run_of_it_has_the_fields_of_a_real_one(call: Call, stand_in: StandIn) -> None:
    fields = re.match(r'\{"runs":\[(\{.*?"state_history":\[.*?\]\})', _real()["run state"][1])
    assert fields
    _answers(call, stand_in)
    (run,) = stand_in.runs.values()
    without = {name: value for name, value in run.items() if name != "runtime_config"}
    assert _shape(without) == _shape(json.loads(fields[1]))


def test_a_runs_details_have_neither_messages_nor_names_of_pods() -> None:
    run = snapshot("FAILED", *task("a", "FAILED"), node("b"), cache_row())
    entries = run["run_details"]["task_details"]
    assert not any({"error", "pod_name"} & entry.keys() for entry in entries)
    names = [entry.get("display_name") for entry in entries]
    assert names == [
        "chest-x7k2p", "root-driver", "root", "a-driver", "a", "executor", "executor(0)", "b", None,
    ]  # fmt: skip
    # Protocol buffers' JSON leaves out what is unspecified.
    assert [entry.get("state") for entry in entries][-2:] == [None, None]
