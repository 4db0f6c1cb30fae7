"""From `--beam` to Beam's pipeline options; what is wrong with it is said before anything runs."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.errors import InputError
from pipeline.beam.options import beam_pipeline_args
from pipeline.cli import app
from pipeline.config.beam import (
    check_beam,
    job_server_jar,
    plan_beam,
    require_complete,
    require_known,
)
from pipeline.config.pipeline_config import load_config

REMOTE = {
    "portable:host": {"--runner=PortableRunner", "--job_endpoint=host:8099"},
    "portable:host:77": {"--job_endpoint=host:77"},
    "flink:jobs.example": {"--runner=FlinkRunner", "--flink_master=jobs.example:8081"},
    "spark:[::1]:7000": {"--runner=SparkRunner", "--spark_master_url=spark://[::1]:7000"},
}
DATAFLOW = ("region", "temp_location", "staging_location", "sdk_container_image")


def _yaml(folder: Path, text: str) -> str:
    file = folder / "options.yaml"
    file.write_text(text)
    return str(file)


def test_the_default_stays_in_this_process(tmp_path: Path) -> None:
    config = load_config(overrides={"data": {"dir": tmp_path}})
    assert config.beam == "direct"
    assert "--direct_running_mode=in_memory" in beam_pipeline_args(config)


@pytest.mark.parametrize(("beam", "workers"), [("multi", 0), ("multi:3", 3)])
def test_multi_asks_for_processes(beam: str, workers: int) -> None:
    plan = plan_beam(beam)
    assert "--direct_running_mode=multi_processing" in plan.arguments
    # Beam's 0 is one a core.
    assert f"--direct_num_workers={workers}" in plan.arguments
    assert not plan.missing


@pytest.mark.parametrize(("beam", "options"), REMOTE.items())
def test_a_remote_runner_takes_its_workers_from_a_pool(beam: str, options: set[str]) -> None:
    plan = plan_beam(beam)
    assert options | {"--environment_type=EXTERNAL"} <= set(plan.arguments)
    assert not plan.missing
    assert any("worker pool at localhost:50000" in sentence for sentence in plan.provide)


@pytest.mark.parametrize("beam", ["direct", "multi", *REMOTE, "dataflow:my-project"])
def test_beam_knows_all_that_it_is_told(beam: str) -> None:
    require_known(plan_beam(beam).arguments)


def test_dataflow_needs_what_only_the_user_knows() -> None:
    plan = plan_beam("dataflow:my-project")
    assert tuple(plan.missing) == DATAFLOW
    with pytest.raises(InputError, match="--temp_location=…"):
        require_complete(plan)
    whole = plan_beam("dataflow:my-project", [f"--{name}=x" for name in DATAFLOW])
    require_complete(whole)
    # Workers are containers: a name that stands for none would be pulled.
    assert "--sdk_container_image=in-process" not in whole.arguments


@pytest.mark.parametrize("script", [True, False])
def test_the_pool_is_given_as_a_command_that_works_as_it_is_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: bool
) -> None:
    python = tmp_path / "my env" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    if script:
        (python.parent / "cxr").touch()
    monkeypatch.setattr(sys, "executable", str(python))
    plan = plan_beam("portable:host", ["--environment_config=localhost:51000"])
    sentence = next(sentence for sentence in plan.provide if "worker pool" in sentence)
    command = shlex.split(sentence.split("environment: ")[1].split(" (")[0])
    own = [str(python.parent / "cxr")] if script else [str(python), "-m", "pipeline.cli"]
    assert command == [*own, "beam", "worker-pool", "--port", "51000"]
    done = CliRunner().invoke(app, [*command[len(own) :], "--help"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("beam", "jar"),
    [
        ("flink:host", "org.apache.beam:beam-runners-flink-1.20-job-server:{}"),
        ("spark:host", "org.apache.beam:beam-runners-spark-3-job-server:{}"),
    ],
)
def test_where_nothing_was_ever_run_the_dry_run_says_so_and_names_the_jar(
    beam: str, jar: str
) -> None:
    done = CliRunner().invoke(app, ["beam", beam])
    assert done.exit_code == 0, done.output
    *_, there, caution = done.output.split("\n\n")
    assert jar.format(version("apache-beam")) in there
    assert caution.startswith("Options checked, never run: ")
    assert "Unable to fetch remote job server jar" in caution
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    for release in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS:
        assert (release in caution) == beam.startswith("flink")


def test_the_jar_has_the_coordinates_that_beam_fetches() -> None:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
    from apache_beam.runners.portability.spark_runner import SparkJarJobServer

    for engine, server in (("flink", FlinkJarJobServer), ("spark", SparkJarJobServer)):
        plan = plan_beam(f"{engine}:host")
        # The address only; nothing is fetched.
        url = server(PipelineOptions(plan.arguments)).path_to_jar()
        group, artifact, release = job_server_jar(engine, plan.values).split(":")
        assert f"/{group.replace('.', '/')}/{artifact}/{release}/{artifact}-{release}.jar" in url


def test_containers_elsewhere_need_an_image_and_no_pool() -> None:
    plan = plan_beam("flink:host", ["--environment_type=DOCKER"])
    assert tuple(plan.missing) == ("sdk_container_image",)
    assert not any(a.startswith("--environment_config") for a in plan.arguments)
    assert not any("worker pool" in sentence for sentence in plan.provide)


@pytest.mark.parametrize(
    ("beam", "said"),
    [
        ("flnik:host", "is no engine: write one of direct"),
        ("flink", "write flink:HOST"),
        ("spark:a b", "write spark:HOST"),
        ("portable:host:99999", "names no host"),
        ("dataflow:", "write dataflow:PROJECT"),
        ("multi:0", "multi:N"),
        ("direct:2", "write direct"),
        ("dask:host", "loses data"),
        ("nowhere.yaml", "can't be read"),
    ],
)
def test_what_is_no_engine_is_said_with_the_field(tmp_path: Path, beam: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"beam: .*{said}"):
        load_config(overrides={"data": {"dir": tmp_path}, "beam": beam})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a list", "must map names"),
        ("", "must map names"),
        ("{", "is no YAML"),
        ("--runner: X", "write runner, not --runner"),
        ("runner: {a: 1}", "runner: must be a text"),
        ("runner: DaskRunner", "loses data"),
    ],
)
def test_a_yaml_that_is_none_of_options(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan_beam(_yaml(tmp_path, text))


def test_a_yaml_of_options(tmp_path: Path) -> None:
    text = "runner: FlinkRunner\nflink_master: host:8081\nflink_submit_uber_jar: true\n"
    text += "experiments: [a, b]\nsdk_container_image: cxr:1\nsave_main_session: false\n"
    plan = plan_beam(_yaml(tmp_path, text))
    assert plan.engine == "flink"
    assert plan.arguments[1:] == [
        "--runner=FlinkRunner",
        "--flink_master=host:8081",
        "--flink_submit_uber_jar",
        "--experiments=a",
        "--experiments=b",
        "--sdk_container_image=cxr:1",
    ]
    require_complete(plan)


def test_a_yaml_lies_beside_the_configuration_that_names_it(tmp_path: Path) -> None:
    _yaml(tmp_path, "direct_num_workers: 2\ndirect_running_mode: multi_threading\n")
    file = tmp_path / "cxr.yaml"
    file.write_text("data: {dir: .}\nbeam: options.yaml\n")
    arguments = beam_pipeline_args(load_config(file))
    assert arguments[-2:] == ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--direct_num_worker=2", "no option --direct_num_worker; did you mean --direct_num_w"),
        ("--direct_running_mode=fast", "invalid choice: 'fast'"),
        ("--direct_num_workers=many", "invalid int value"),
    ],
)
def test_what_beam_does_not_know_stops_the_run(tmp_path: Path, option: str, said: str) -> None:
    config = load_config(overrides={"data": {"dir": tmp_path}, "beam_args": [option]})
    with pytest.raises(InputError, match=f"beam: .*{said}"):
        beam_pipeline_args(config)


def test_the_dry_run_prints_an_option_a_line_and_what_is_missing() -> None:
    done = CliRunner().invoke(app, ["beam", "dataflow:my-project", "--option", "--region=x"])
    assert done.exit_code == 0, done.output
    options, missing, there, caution = done.output.split("\n\n")
    assert [line.split()[0] for line in options.splitlines()][-1] == "--region=x"
    assert all("  # " in line for line in options.splitlines())
    assert "--temp_location=…  # " in missing
    assert "--region=…" not in missing
    assert there.startswith("Has to be there:\n- ")
    assert caution.startswith("Options checked, never run: ")


def test_the_dry_run_refuses_what_a_run_would() -> None:
    for arguments in (["flink"], ["direct", "--option", "x=1"], ["direct", "--option", "--x=1"]):
        done = CliRunner().invoke(app, ["beam", *arguments])
        assert isinstance(done.exception, InputError)


@pytest.mark.parametrize("command", [["run"], ["kubeflow", "compile"]])
def test_both_commands_take_beam(tmp_path: Path, command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--data", str(tmp_path), "--beam", "flink"])
    assert isinstance(done.exception, InputError)
    assert "beam: 'flink' names no host" in str(done.exception)


def test_engines_are_taken_as_they_are() -> None:
    assert check_beam("multi") == "multi"
