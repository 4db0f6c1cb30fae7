"""`cxr kubeflow submit` against a stand-in API server, over real HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.kubeflow.access import TOKEN_VARIABLE
from tests.pipeline.kubeflow.api_stand_in import StandIn
from tests.pipeline.kubeflow.run_nodes import snapshot, task
from tests.pipeline.kubeflow.submit_runs import IR, ROOT, TOKEN, Here, program, serving, write_ir


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serving() as made:
        yield made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


@pytest.fixture
def ir(tmp_path: Path) -> Path:
    return write_ir(tmp_path)


def test_a_new_pipeline_is_uploaded_run_and_followed(
    stand_in: StandIn, here: Here, ir: Path
) -> None:
    ran = here(ir, "--endpoint", stand_in.url)
    assert (ran.code, ran.err) == (0, "")
    assert stand_in.calls() == [
        "GET /healthz",
        "GET /pipelines",
        "POST /pipelines/upload",
        "GET /pipelines/{}/versions",
        "GET /experiments",
        "POST /experiments",
        "POST /runs",
        *["GET /runs/{}"] * 5,
    ]
    (pipeline,) = stand_in.pipelines.values()
    assert pipeline["display_name"] == "chest"
    (experiment,) = stand_in.experiments.values()
    assert experiment["display_name"] == "cxr-tfx"
    (run,) = stand_in.runs.values()
    (version,) = stand_in.versions
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version
    assert run["display_name"].startswith("chest 2")
    assert "pipeline_root" not in run.get("runtime_config", {})
    assert stand_in.of("POST /pipelines/upload")[0].upload == ("pipeline.yaml", ir.read_bytes())

    url = f"{stand_in.url}/#/runs/details/{run['run_id']}"
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["Uploaded", "the", "pipeline", "chest."]
    assert lines[1] == f"Run {run['run_id']} started: {url}".split()
    # A line a change, of the IR's tasks; those of the last look, too, which comes after the end.
    assert [line[:2] for line in lines[2:5]] == [
        ["RUNNING", "csv-example-gen"],
        ["SUCCEEDED", "csv-example-gen"],
        ["SUCCEEDED", "trainer-vgg16"],
    ]
    assert lines[3][2:] == ["12.0", "s"]
    assert [line for line in lines[5:-1] if line[1:] and line[0] != "step"] == [
        ["csv-example-gen", "SUCCEEDED", "12.0", "s"],
        ["trainer-vgg16", "SUCCEEDED", "12.0", "s"],
    ]
    assert lines[-1] == f"The run succeeded: {url}".split()
    # kfp's own links.
    assert "details: " not in ran.out
    assert "root" not in ran.out
    assert "executor" not in ran.out


def test_the_same_ir_is_not_uploaded_twice(stand_in: StandIn, here: Here, ir: Path) -> None:
    assert here(ir, "--endpoint", stand_in.url).code == 0
    ran = here(ir, "--endpoint", stand_in.url)
    assert ran.code == 0
    assert "holds this IR already" in ran.out
    assert len(stand_in.versions) == 1
    assert len(stand_in.experiments) == 1
    assert len(stand_in.runs) == 2


def test_another_ir_becomes_a_version_found_again_by_its_name_on_a_later_page(
    stand_in: StandIn, here: Here, tmp_path: Path
) -> None:
    stand_in.add_pipeline("chest", b"pipelineInfo: {name: chest}")
    second = write_ir(tmp_path)
    assert here(second, "--endpoint", stand_in.url).code == 0
    name = stand_in.of("POST /pipelines/upload_version")[0].query["name"]
    assert name.startswith("sha256-")
    for number in range(3):
        write_ir(tmp_path, sdkVersion=str(number))
        assert here(second, "--endpoint", stand_in.url).code == 0
    assert len(stand_in.versions) == 5
    write_ir(tmp_path)
    ran = here(second, "--endpoint", stand_in.url)
    assert f"Version {name} of chest holds this IR already." in ran.out
    assert len(stand_in.versions) == 5


def test_names_root_and_parameters_reach_the_server(
    stand_in: StandIn, here: Here, ir: Path
) -> None:
    options = (
        *("--endpoint", stand_in.url, "--pipeline-name", "lungs", "--version-name", "v1"),
        *("--experiment", "trial & error", "--run-name", "first", "--namespace", "team-a"),
        *("--pipeline-root", "gs://bucket/root", "--parameter", "epochs=7"),
        *("--parameter", "rate=1e-3", "--parameter", "tune=true", "--parameter", "note=a=b"),
    )
    assert here(ir, *options).code == 0
    (run,) = stand_in.runs.values()
    assert run["display_name"] == "first"
    assert run["runtime_config"] == {
        "pipeline_root": "gs://bucket/root",
        "parameters": {"epochs": 7, "rate": 0.001, "tune": True, "note": "a=b"},
    }
    assert stand_in.of("GET /pipelines")[0].query["namespace"] == "team-a"
    assert stand_in.of("POST /pipelines/upload")[0].query["namespace"] == "team-a"
    (experiment,) = stand_in.experiments.values()
    assert (experiment["display_name"], experiment["namespace"]) == ("trial & error", "team-a")
    used = stand_in.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    assert used["display_name"] == "v1"
    # The same again: nothing new. Another IR under that name: refused.
    assert here(ir, *options).code == 0
    assert len(stand_in.versions) == 2
    write_ir(ir.parent, sdkVersion="another")
    ran = here(ir, *options)
    assert ran.code == 2
    assert ran.err.startswith("cxr: version-name: v1 of lungs exists and doesn't hold this IR")
    assert len(stand_in.runs) == 2


@pytest.mark.parametrize("given", [None, "s3://other/root"])
def test_the_root_given_at_compile_goes_with_the_run(
    given: str | None, stand_in: StandIn, here: Here, tmp_path: Path
) -> None:
    ir = write_ir(tmp_path, defaultPipelineRoot="gs://bucket/compiled")
    options = ["--pipeline-root", given] if given else []
    assert here(ir, "--endpoint", stand_in.url, *options).code == 0
    (run,) = stand_in.runs.values()
    assert run["runtime_config"]["pipeline_root"] == (given or "gs://bucket/compiled")


def test_no_cache_uploads_a_version_of_its_own(stand_in: StandIn, here: Here, ir: Path) -> None:
    assert here(ir, "--endpoint", stand_in.url).code == 0
    for _ in range(2):
        assert here(ir, "--endpoint", stand_in.url, "--no-cache").code == 0
    (uploaded,) = stand_in.of("POST /pipelines/upload_version")
    tasks = yaml.safe_load(uploaded.upload[1])["root"]["dag"]["tasks"]
    assert tasks["trainer-vgg16"]["cachingOptions"] == {"enableCache": False}
    assert yaml.safe_load(ir.read_text()) == IR


def test_no_wait_ends_once_the_run_is_started(stand_in: StandIn, here: Here, ir: Path) -> None:
    ran = here(ir, "--endpoint", stand_in.url, "--no-wait")
    assert ran.code == 0
    (run_id,) = stand_in.runs
    assert f"Run {run_id} started: {stand_in.url}/#/runs/details/{run_id}" in ran.out
    assert "GET /runs/{}" not in stand_in.calls()


def test_the_token_is_sent_and_shown_nowhere(
    stand_in: StandIn, here: Here, ir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.token = TOKEN
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    ran = here(ir, "--endpoint", stand_in.url)
    assert ran.code == 0
    assert {r.headers["authorization"] for r in stand_in.requests} == {f"Bearer {TOKEN}"}
    assert TOKEN not in ran.out + ran.err
    # Nor anywhere else in what was sent.
    for request in stand_in.requests:
        assert TOKEN.encode() not in request.body
        assert TOKEN not in json.dumps(dict(request.query))


def test_a_token_that_changes_in_its_file_during_the_run_is_taken(
    stand_in: StandIn, here: Here, ir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    stand_in.token = TOKEN

    def rotate() -> None:
        stand_in.token = "the-next-one"
        file.write_text("the-next-one")

    stand_in.before["GET /runs/{}"] = rotate
    assert here(ir, "--endpoint", stand_in.url, "--token-file", file).code == 0
    tokens = [request.headers["authorization"] for request in stand_in.of("GET /runs/{}")]
    assert tokens == [f"Bearer {TOKEN}", *["Bearer the-next-one"] * 4]


def test_a_server_for_many_users_wants_a_namespace(stand_in: StandIn, here: Here, ir: Path) -> None:
    stand_in.multi_user = True
    ran = here(ir, "--endpoint", stand_in.url)
    assert ran.code == 2
    assert "--namespace" in ran.err
    assert stand_in.pipelines == {}
    assert here(ir, "--endpoint", stand_in.url, "--namespace", "kubeflow").code == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--parameter", "epoch=3"], "parameter"),
        (["--poll-seconds", "nan"], "poll-seconds"),
        (["--timeout-seconds", "0"], "timeout-seconds"),
        (["--experiment", " "], "experiment"),
        (["--token-file", "none"], "token-file"),
    ],
)
def test_wrong_input_exits_with_2_before_anything_is_sent(
    options: list[str], field: str, stand_in: StandIn, here: Here, ir: Path
) -> None:
    ran = here(ir, "--endpoint", stand_in.url, *options)
    assert ran.code == 2
    assert ran.err.startswith(f"cxr: {field}: ")
    assert stand_in.requests == []


def test_a_token_over_plain_http_to_another_machine_exits_with_2(
    here: Here, ir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    ran = here(ir, "--endpoint", "http://192.0.2.1:8888")
    assert ran.code == 2
    assert "plain http" in ran.err
    assert TOKEN not in ran.out + ran.err


def test_https_with_a_ca_of_ones_own(here: Here, ir: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", tmp_path / "key.pem", "-out", tmp_path / "ca.pem"),
        ],
        check=True,
        capture_output=True,
    )
    parts = [(tmp_path / name).read_text() for name in ("key.pem", "ca.pem")]
    certificate.write_text("".join(parts))
    with serving(certificate) as secure:
        ran = here(ir, "--endpoint", secure.url)
        assert ran.code == 1
        assert "--ca-cert" in ran.err
        assert secure.requests == []
        assert here(ir, "--endpoint", secure.url, "--ca-cert", tmp_path / "ca.pem").code == 0


@pytest.mark.long
def test_as_a_program_it_follows_no_other_configuration_and_leaves_the_home_folder_alone(
    stand_in: StandIn, ir: Path, tmp_path: Path
) -> None:
    stand_in.token = TOKEN
    home = tmp_path / "home"
    context = home / ".config" / "kfp" / "context.json"
    context.parent.mkdir(parents=True)
    context.write_text('{"namespace": "elsewhere", "client_authentication_cookie": "crumbs"}')
    kube = home / ".kube" / "config"
    kube.parent.mkdir()
    kube.write_text("not even YAML: [")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    environment = {
        TOKEN_VARIABLE: TOKEN,
        "KF_PIPELINES_ENDPOINT": "http://127.0.0.1:9",
        "KF_PIPELINES_UI_ENDPOINT": "http://127.0.0.1:9",
        "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID": "somebody",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    started = program(ir, "--endpoint", stand_in.url, home=home, environment=environment)
    out, err = started.communicate(timeout=100)
    assert (started.returncode, err) == (0, "")
    assert f"The run succeeded: {stand_in.url}/#/runs/" in out
    assert TOKEN not in out
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before
    assert not any("cookie" in request.headers for request in stand_in.requests)
    assert "elsewhere" not in str([request.query for request in stand_in.requests])


def test_the_command_is_there_before_kfp_is_imported() -> None:
    code = "import sys, pipeline.kubeflow.submit_command; print('kfp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"]


def test_ctrl_c_before_there_is_a_run_exits_with_130(
    stand_in: StandIn, here: Here, ir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.kubeflow.api_client.Api.pipeline_id", interrupted)
    ran = here(ir, "--endpoint", stand_in.url)
    assert ran.code == 130
    assert "before a run was confirmed" in ran.err


@pytest.mark.long
def test_ctrl_c_leaves_the_run_going_and_exits_with_130(
    stand_in: StandIn, ir: Path, tmp_path: Path
) -> None:
    stand_in.script = [snapshot("RUNNING", *task("csv-example-gen", "RUNNING"))]
    looked = threading.Event()
    stand_in.before["GET /runs/{}"] = looked.set
    started = program(ir, "--endpoint", stand_in.url, home=tmp_path)
    assert looked.wait(100)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=100)
    (run_id,) = stand_in.runs
    assert started.returncode == 130
    assert f"The run {run_id} goes on: {stand_in.url}/#/runs/details/{run_id}" in err
    assert "Traceback" not in err
