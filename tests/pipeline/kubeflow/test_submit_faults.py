"""What goes wrong between `cxr kubeflow submit` and the API server, over real HTTP."""

from __future__ import annotations

import faulthandler
import functools
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.access import TOKEN_VARIABLE
from tests.pipeline.kubeflow.api_stand_in import Fault, StandIn
from tests.pipeline.kubeflow.refusals import TRACE
from tests.pipeline.kubeflow.run_nodes import node, snapshot, task
from tests.pipeline.kubeflow.submit_runs import TOKEN, Here, Ran, serving, write_ir

LOOK = "GET /runs/{}"
UPLOAD = "POST /pipelines/upload"
UPLOAD_VERSION = "POST /pipelines/upload_version"

FAILED_RUN = [
    snapshot("RUNNING", *task("csv-example-gen", "RUNNING")),
    snapshot(
        "FAILED",
        *task("csv-example-gen", "FAILED"),
        node("trainer-vgg16-driver"),
        node("trainer-vgg16"),
    ),
]


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serving() as made:
        yield made


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    return write_ir(tmp_path)


@pytest.fixture
def submit(
    stand_in: StandIn,
    ir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ran]:
    here = Here(monkeypatch, capsys)

    def submitted(*options: str) -> Ran:
        # It has waited a minute for the stand-in's answer twice, under load. Should it wait so long
        # again, the test's error says where all threads were.
        with (tmp_path / "threads.txt").open("w+") as threads:
            faulthandler.dump_traceback_later(40, file=threads)
            try:
                return here(ir, "--endpoint", stand_in.url, *options)
            finally:
                faulthandler.cancel_dump_traceback_later()
                threads.seek(0)
                if waited := threads.read():
                    pytest.fail(f"no answer for 40 seconds, with {stand_in.calls()}:\n{waited}")

    return submitted


def test_without_a_token_where_one_is_wanted(stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    stand_in.token = TOKEN
    ran = submit()
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert f"wants a token (401). Set {TOKEN_VARIABLE} or give --token-file." in ran.err
    assert stand_in.calls() == ["GET /healthz"]


def test_with_a_wrong_token(
    stand_in: StandIn, submit: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.token = TOKEN
    monkeypatch.setenv(TOKEN_VARIABLE, "a-wrong-one")
    ran = submit()
    assert ran.code == 1
    assert f"does not accept the token from the environment variable {TOKEN_VARIABLE}" in ran.err
    assert "a-wrong-one" not in ran.out + ran.err


def test_a_server_that_repeats_the_token_does_not_bring_it_into_the_message(
    stand_in: StandIn, submit: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    stand_in.faults["POST /runs"] = [Fault(500, f"header was Bearer {TOKEN}")]
    ran = submit()
    assert ran.code == 1
    assert "header was Bearer [token]" in ran.err
    assert TOKEN not in ran.out + ran.err


@pytest.mark.parametrize("holds_this_ir", [False, True])
def test_a_pipeline_made_by_another_since_the_look_up_gets_a_version_or_gives_its_own(
    holds_this_ir: bool, stand_in: StandIn, submit: Callable[..., Ran], ir: Path
) -> None:
    if holds_this_ir:
        # What the other one's description will say.
        assert submit("--pipeline-name", "other").code == 0
    description = stand_in.of(UPLOAD)[0].query["description"] if holds_this_ir else ""
    stand_in.before[UPLOAD] = functools.partial(
        stand_in.add_pipeline, "chest", ir.read_bytes(), description
    )
    ran = submit()
    assert ran.code == 0
    assert len(stand_in.of(UPLOAD_VERSION)) == (0 if holds_this_ir else 1)
    assert stand_in.calls().count("GET /pipelines") == (3 if holds_this_ir else 2)


def test_a_version_made_by_another_since_the_look_up_is_taken(
    stand_in: StandIn, submit: Callable[..., Ran], ir: Path
) -> None:
    made = stand_in.add_pipeline("chest", b"pipelineInfo: {name: chest}")

    def another() -> None:
        query = stand_in.requests[-1].query
        stand_in.add_version(
            made["pipeline_id"], query["name"], ir.read_bytes(), query["description"]
        )

    stand_in.before[UPLOAD_VERSION] = another
    assert submit().code == 0
    assert len(stand_in.versions) == 2


def test_a_name_that_is_taken_where_it_cannot_be_seen(
    stand_in: StandIn, submit: Callable[..., Ran]
) -> None:
    said = "Failed to create a pipeline and a pipeline version"
    body = json.dumps({"error_message": said, "error_details": said + TRACE})
    stand_in.faults[UPLOAD] = [Fault(409, body)] * 2
    ran = submit()
    assert ran.code == 1
    assert ran.err == (
        f"cxr: Could not upload the pipeline 'chest': there is one of that name already (409): "
        f"{said}. If this account doesn't see it, give another name.\n"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schemaVersion": "2.0.0"}, "400: KFP only supports schema version 2.1.0"),
        ({"pipelineInfo": {"name": "Chest"}}, "400: invalid v2 pipeline spec: name should"),
        ({"surplus": 1}, "400: unknown template format."),
    ],
)
def test_what_the_server_refuses_to_take_is_one_sentence(
    changes: dict[str, Any], said: str, submit: Callable[..., Ran], ir: Path
) -> None:
    write_ir(ir.parent, **changes)
    ran = submit()
    assert ran.code == 1
    assert f"the API server answered {said}" in ran.err
    assert ran.err.count("\n") == 1
    assert ".go:" not in ran.err


def test_of_a_chain_of_errors_the_cause_is_shown(
    stand_in: StandIn, submit: Callable[..., Ran]
) -> None:
    stand_in.before["POST /runs"] = stand_in.experiments.clear
    ran = submit("--run-name", "first")
    assert ran.err.startswith("cxr: Could not start the run 'first': not found (404): Experiment ")
    stand_in.before["POST /runs"] = stand_in.versions.clear
    ran = submit()
    assert ran.code == 1
    assert "the API server answered 500: Failed to create a new run: " in ran.err
    assert ran.err.endswith(" not found.\n")


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("GET /healthz", "ask the API server for its health"),
        ("GET /pipelines", "look up the pipeline 'chest'"),
        (UPLOAD, "upload the pipeline 'chest'"),
        ("GET /pipelines/{}/versions", "list the pipeline's versions"),
        ("GET /experiments", "look up or make the experiment 'cxr-tfx'"),
        ("POST /experiments", "look up or make the experiment 'cxr-tfx'"),
        ("POST /runs", "start the run 'first'"),
    ],
)
@pytest.mark.parametrize("fault", [500, 403, 404, 302, "cut", "half", "html", "empty"])
def test_an_error_before_the_run_names_the_call_and_is_not_tried_again(
    call: str, what: str, fault: int | str, stand_in: StandIn, submit: Callable[..., Ran]
) -> None:
    faults = {
        "cut": Fault(),
        "half": Fault(cut_after=1),
        "html": Fault(200, "<html>Sign in</html>", {"Content-Type": "text/html"}),
        "empty": Fault(200, ""),
        302: Fault(302, "", {"Location": "http://127.0.0.1:9/login"}),
        403: Fault(403, json.dumps({"error_message": "no rights", "error_details": TRACE})),
    }
    body = f'{{"code": 13, "message": {json.dumps("disk full" + TRACE)}}}'
    shown = faults[fault] if fault in faults else Fault(int(fault), body)
    stand_in.faults[call] = [shown]
    ran = submit("--run-name", "first")
    assert ran.code == 1
    assert ran.err.startswith(f"cxr: Could not {what}: ")
    assert ran.err.count("\n") == 1
    assert stand_in.calls().count(call) == 1
    expected = {
        500: "the API server answered 500: disk full.",
        403: "does not allow it (403): no rights. ",
        404: "Check --endpoint",
        302: "sends elsewhere (302)",
        "cut": "gave no answer",
        "half": "IncompleteRead",
        "html": "sign-in page",
        "empty": "no JSON",
    }
    assert expected[fault] in ran.err


def test_version_upload_that_fails(stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    stand_in.add_pipeline("chest", b"pipelineInfo: {name: chest}")
    stand_in.faults[UPLOAD_VERSION] = [Fault(500, '{"error_message": "no space"}')]
    ran = submit("--version-name", "v2")
    assert ran.code == 1
    assert "Could not upload the version 'v2': the API server answered 500: no space." in ran.err


def test_an_answer_without_ids_is_no_success(stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    stand_in.faults["POST /runs"] = [Fault(200, "{}")]
    ran = submit()
    assert ran.code == 1
    assert "has no id" in ran.err


def test_nobody_listens(
    ir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ran = Here(monkeypatch, capsys)(ir, "--endpoint", f"http://127.0.0.1:{port}")
    assert ran.code == 1
    assert "Connection refused" in ran.err
    assert "object at 0x" not in ran.err


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(503, "upstream"), Fault(429), Fault(502, "\udcff"), Fault(cut_after=9)]
)
def test_an_outage_while_waiting_passes(
    fault: Fault, stand_in: StandIn, submit: Callable[..., Ran]
) -> None:
    stand_in.faults[LOOK] = [fault] * 3
    ran = submit()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("Trying again for up to 5 minutes.") == 1
    assert ran.out.count("The API server answers again.") == 1
    # Half an answer is lost, and the script goes on.
    assert stand_in.calls().count(LOOK) == (5 if fault.cut_after else 8)
    # Nothing was started twice.
    assert stand_in.calls().count("POST /runs") == 1


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (Fault(401), "may have expired"),
        (Fault(403, '{"message": "not yours"}'), "not yours"),
        (Fault(404, '{"message": "Run not found"}'), "Run not found"),
        (Fault(400, '{"message": "odd"}'), "answered 400: odd"),
    ],
)
def test_an_error_while_waiting_that_does_not_pass(
    fault: Fault,
    advice: str,
    stand_in: StandIn,
    submit: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    stand_in.faults[LOOK] = [fault]
    ran = submit()
    assert ran.code == 1
    assert stand_in.calls().count(LOOK) == 1
    (run_id,) = stand_in.runs
    assert advice in ran.err
    assert f"The run {run_id} goes on: {stand_in.url}/#/runs/details/{run_id}" in ran.err
    assert ran.err.count("\n") == 1


def test_a_run_that_is_gone(stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    stand_in.before[LOOK] = stand_in.runs.clear
    ran = submit()
    assert ran.code == 1
    assert "not found (404): Run " in ran.err


def test_a_run_that_does_not_end_in_time(stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    stand_in.script = [snapshot("RUNNING", *task("csv-example-gen", "RUNNING"))]
    ran = submit("--timeout-seconds", "0.05")
    assert ran.code == 1
    assert "has not ended within 0.05 s. The run " in ran.err


@pytest.mark.parametrize("namespace", ["kubeflow", "team-a"])
def test_a_run_that_fails(namespace: str, stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    stand_in.script = FAILED_RUN
    ran = submit(*([] if namespace == "kubeflow" else ["--namespace", namespace]))
    assert ran.code == 1
    assert ran.err == ""
    lines = ran.out.splitlines()
    (run_id,) = stand_in.runs
    assert lines[-3:] == [
        f"The run ended as FAILED: {stand_in.url}/#/runs/details/{run_id}",
        "Failed: csv-example-gen",
        f"Logs: kubectl logs -n {namespace} -l pipeline/runid={run_id} --all-containers --prefix",
    ]
    table = [line.split() for line in lines[:-3]]
    assert ["csv-example-gen", "FAILED", "12.0", "s"] in table
    assert ["trainer-vgg16", "not", "run", "–"] in table
    # No line of its own.
    assert ran.out.count("not run") == 1


def test_a_run_that_somebody_cancels_ends_as_failed(
    stand_in: StandIn, submit: Callable[..., Ran]
) -> None:
    stand_in.script = [
        snapshot("RUNNING", *task("csv-example-gen", "RUNNING")),
        snapshot("CANCELING", *task("csv-example-gen", "RUNNING")),
        snapshot("FAILED", *task("csv-example-gen", "FAILED")),
    ]
    ran = submit()
    assert ran.code == 1
    assert "The run was cancelled, and ended as FAILED: " in ran.out


def test_the_last_look_may_fail(stand_in: StandIn, submit: Callable[..., Ran]) -> None:
    def silence() -> None:
        stand_in.script = [snapshot("SUCCEEDED", *task("csv-example-gen", "SUCCEEDED"))]
        stand_in.before[LOOK] = lambda: stand_in.faults.update({LOOK: [Fault(401)]})

    stand_in.before[LOOK] = silence
    ran = submit()
    assert (ran.code, ran.err) == (0, "")
    assert stand_in.calls().count(LOOK) == 2


@pytest.mark.parametrize("state", ["CANCELED", "SKIPPED"])
def test_other_ends_are_no_success(
    state: str, stand_in: StandIn, submit: Callable[..., Ran]
) -> None:
    stand_in.script = [snapshot(state)]
    ran = submit()
    assert ran.code == 1
    assert f"The run ended as {state}: " in ran.out
