"""The place where the DAG's Beam nodes run: Beam's options for `--beam`, each with its reason.

Imports neither TFX nor, but to look an option's name up, Beam.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from common.errors import InputError

ENGINES: Final = "direct, multi, portable:HOST, flink:HOST, spark:HOST, dataflow:PROJECT"
YAML_SUFFIXES: Final = (".yaml", ".yml")
_LOCAL: Final = ("direct", "multi")
_PORTS: Final = {"portable": 8099, "flink": 8081, "spark": 7077}
POOL_PORT: Final = 50000
_POOL: Final = f"localhost:{POOL_PORT}"
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_IMAGE: Final = {
    "sdk_container_image": "image of the workers: this project in its locked environment, on "
    "Beam's Python SDK harness"
}
# What Dataflow can't do without.
_DATAFLOW_NEEDS: Final = {
    "project": "Google Cloud project that owns the jobs and pays for them",
    "region": "where the workers run, near the bucket: europe-west4",
    "temp_location": "bucket for Beam's temporary files: gs://BUCKET/tmp",
    "staging_location": "bucket for what is sent to the workers: gs://BUCKET/staging",
    **_IMAGE,
}


@dataclass(frozen=True)
class BeamOption:
    """One pipeline option.

    Attributes:
        argument: `--name=value`, or `--name` alone.
        reason: what it is for.
    """

    argument: str
    reason: str

    @property
    def name(self) -> str:
        """Without dashes and value."""
        return _name(self.argument)


@dataclass(frozen=True)
class BeamPlan:
    """The options that Beam is told, and those that only the user can know.

    Attributes:
        engine: `direct`, `multi`, `portable`, `flink`, `spark`, `dataflow`, or the runner's
            name in a YAML of options.
        options: in order; of two of a name Beam takes the last.
        missing: options without which the runner can't start: name -> what to give.
        provide: what has to be there besides options, a sentence each.
    """

    engine: str
    options: tuple[BeamOption, ...]
    missing: dict[str, str]
    provide: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """The options as `beam_pipeline_args` takes them."""
        return [option.argument for option in self.options]

    @property
    def values(self) -> dict[str, str]:
        """Name -> value; of two of a name the last."""
        return _last_values(self.options)


def check_beam(text: str) -> str:
    """Check what was given, and return it.

    Raises:
        ValueError: no such engine, no host or project, or no YAML mapping of options.
    """
    if _is_yaml(text):
        _read_options(Path(text))
    else:
        _engine_options(text)
    return text


def plan_beam(beam: str, own: Sequence[str] = ()) -> BeamPlan:
    """Plan the whole.

    Args:
        beam: an engine (`ENGINES`), or path of a YAML mapping of option names to values.
        own: the user's further options, which win.

    Raises:
        ValueError: see `check_beam`.
    """
    if _is_yaml(beam):
        given = [BeamOption(argument, f"from {beam}") for argument in _read_options(Path(beam))]
        engine = _runner_of(given, own)
    else:
        engine, given = _engine_options(beam)
        given = [option for option in given if not _is_pool_replaced(option, own)]
    given += [BeamOption(argument, "yours: beam_args") for argument in own]
    values = _last_values(given)
    in_container = engine == "dataflow" or _is_docker(engine, values)
    # And of few records: `common.beam_batches`.
    base = [BeamOption("--tfxio_use_byte_size_batching=true", "batches of at most 20 MiB")]
    # Where no option says how workers get their packages, TFX builds a source package of
    # itself for every Beam node. An image's name stops that: the workers here, and those of
    # a pool, come from an environment that is there already. Containers need a real one.
    if not in_container and "sdk_container_image" not in values:
        base.append(
            BeamOption("--sdk_container_image=in-process", "no source package of TFX is built")
        )
    needed = _DATAFLOW_NEEDS if engine == "dataflow" else _IMAGE if in_container else {}
    missing = {name: reason for name, reason in needed.items() if name not in values}
    provide = () if engine in _LOCAL else _to_provide(engine, values)
    return BeamPlan(engine, (*base, *given), missing, provide)


def require_complete(plan: BeamPlan) -> None:
    """Refuse a plan that lacks options.

    Raises:
        InputError: names them.
    """
    if plan.missing:
        lines = "".join(f"\n  --{name}=…  {what}" for name, what in plan.missing.items())
        raise InputError(
            f"beam: {plan.engine} needs further options, as beam_args or in a YAML of "
            f"options:{lines}"
        )


def require_known(arguments: Sequence[str]) -> None:
    """Refuse options that neither Beam nor TFX knows, or whose value Beam can't read.

    Imports Beam.

    Raises:
        InputError: names the first.
    """
    from pipeline.config.beam_names import problem_with

    if problem := problem_with(arguments):
        raise InputError(f"beam: {problem}")


def _engine_options(text: str) -> tuple[str, list[BeamOption]]:
    engine, colon, target = text.partition(":")
    if engine in _LOCAL:
        if colon and not (engine == "multi" and target.isdigit() and int(target) > 0):
            raise ValueError(f"{text!r}: write direct, multi, or multi:N for N workers")
        return engine, _direct() if engine == "direct" else _multi(int(target or 0))
    if engine == "dataflow":
        if not _PROJECT.fullmatch(target):
            raise ValueError(f"{text!r} names no project: write dataflow:PROJECT")
        return engine, _dataflow(target)
    if engine in _PORTS:
        match = _HOST.fullmatch(target)
        if not match or not 0 < int(match["port"] or _PORTS[engine]) < 2**16:
            raise ValueError(
                f"{text!r} names no host: write {engine}:HOST or {engine}:HOST:PORT "
                f"(port {_PORTS[engine]} where none is given)"
            )
        return engine, _BUILDERS[engine](f"{match['host']}:{match['port'] or _PORTS[engine]}")
    if engine == "dask":
        raise ValueError("dask is not offered: Beam's DaskRunner loses data without an error")
    raise ValueError(
        f"{text!r} is no engine: write one of {ENGINES}, or the path of a YAML file of "
        "pipeline options (.yaml, .yml)"
    )


def _direct() -> list[BeamOption]:
    return [
        BeamOption("--runner=DirectRunner", "Beam's own runner"),
        BeamOption("--direct_running_mode=in_memory", "in this process; no port is opened"),
        BeamOption("--direct_num_workers=1", "one worker; the nodes' threads use all cores"),
    ]


def _multi(workers: int) -> list[BeamOption]:
    count = "one a core of the machine" if not workers else "as asked for"
    return [
        BeamOption("--runner=DirectRunner", "Beam's own runner"),
        BeamOption("--direct_running_mode=multi_processing", "workers are processes; opens ports"),
        BeamOption(f"--direct_num_workers={workers}", count),
    ]


def _portable(address: str) -> list[BeamOption]:
    return [
        BeamOption("--runner=PortableRunner", "hands jobs to a job service"),
        BeamOption(f"--job_endpoint={address}", "the job service"),
        *_worker_pool(),
    ]


def _flink(address: str) -> list[BeamOption]:
    return [
        BeamOption("--runner=FlinkRunner", "starts Beam's job server for Flink (Java) here"),
        BeamOption(f"--flink_master={address}", "REST address of the JobManager"),
        BeamOption("--flink_version=1.20", "of the cluster; must match its minor version"),
        BeamOption("--parallelism=-1", "Flink's own default; else a number, at most its slots"),
        *_worker_pool(),
    ]


def _spark(address: str) -> list[BeamOption]:
    return [
        BeamOption("--runner=SparkRunner", "starts Beam's job server for Spark (Java) here"),
        BeamOption(f"--spark_master_url=spark://{address}", "the master"),
        BeamOption("--spark_version=3", "of the cluster; Beam has no other"),
        *_worker_pool(),
    ]


def _worker_pool() -> list[BeamOption]:
    return [
        BeamOption("--environment_type=EXTERNAL", "Python runs in worker pools that are there"),
        BeamOption(f"--environment_config={_POOL}", "the pool, as each worker machine sees it"),
        BeamOption("--sdk_worker_parallelism=1", "Python processes a worker; 0: runner's choice"),
    ]


def _dataflow(project: str) -> list[BeamOption]:
    return [
        BeamOption("--runner=DataflowRunner", "Google Cloud Dataflow"),
        BeamOption(f"--project={project}", "owns the jobs and pays for them"),
        BeamOption("--experiments=use_runner_v2", "needed for a container of one's own"),
        BeamOption("--sdk_location=container", "Beam is in the image; nothing is installed"),
        BeamOption("--experiments=no_use_multiple_sdk_containers", "one model a machine"),
    ]


_BUILDERS: Final = {"portable": _portable, "flink": _flink, "spark": _spark}


def _to_provide(engine: str, values: dict[str, str]) -> tuple[str, ...]:
    shared = (
        "data.dir and output at the same path on this machine and on every worker (a network "
        "volume): workers read the images and write the artifacts themselves"
    )
    address = values.get("environment_config", _POOL)
    _, _, port = address.rpartition(":")
    pool = (
        f"a worker pool at {address} beside every worker of the runner, in this project's "
        f"environment: {pool_command(port)} (on loopback, unless --host says "
        "otherwise)"
    )
    firewall = (
        "a network that nobody else reaches: Beam's ports (job service, pool, workers) know "
        "neither passwords nor encryption, and run the code that they are sent"
    )
    java = (
        f"Java here, and Beam's job server: --{engine}_job_server_jar=FILE, or a way to Maven "
        f"Central, from which Beam fetches {job_server_jar(engine, values)}"
    )
    external = values.get("environment_type") == "EXTERNAL"
    if engine == "dataflow":
        return (
            "credentials: gcloud auth application-default login, or a service account",
            "images and output on a file share that the workers' image mounts (Filestore): "
            "ExampleGen reads data.dir as files, not from a bucket",
            "a subnetwork with private Google access, for --no_use_public_ips and --subnetwork=…",
            "the size of the job: --max_num_workers=…, --worker_machine_type=… (4 GB a worker)",
        )
    if engine in ("flink", "spark"):
        return (java, *([pool] if external else []), shared, firewall)
    return (*([pool] if external else []), shared, firewall)


def pool_command(port: str = "") -> str:
    """Say what starts a pool in this environment, whatever PATH is where it is pasted."""
    cxr = Path(sys.executable).with_name("cxr")
    own = [str(cxr)] if cxr.exists() else [sys.executable, "-m", "pipeline.cli"]
    return shlex.join([*own, "beam", "worker-pool", *(["--port", port] if port else [])])


def job_server_jar(engine: str, values: dict[str, str]) -> str:
    """Return the Maven coordinates of the installed Beam's job server for Flink or Spark."""
    release = values.get(f"{engine}_version", "VERSION")
    return f"org.apache.beam:beam-runners-{engine}-{release}-job-server:{version('apache-beam')}"


def _read_options(file: Path) -> list[str]:
    """Turn a YAML mapping into arguments.

    Raises:
        ValueError: it can't be read, or isn't such a mapping.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{file}: the top must map names of pipeline options to values")
    return [
        argument for name, value in values.items() for argument in _arguments(file, name, value)
    ]


def _arguments(file: Path, name: Any, value: Any) -> list[str]:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ValueError(f"{file}: {name!r} is no name of an option: write runner, not --runner")
    if isinstance(value, list):
        return [argument for part in value for argument in _arguments(file, name, part)]
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{file}: {name}: must be a text, a number, true, or a list of them")
    return [f"--{name}={value}"]


def _runner_of(options: Sequence[BeamOption], own: Sequence[str]) -> str:
    arguments = [*(option.argument for option in options), *own]
    runners = [a.partition("=")[2] for a in arguments if _name(a) == "runner"]
    runner = runners[-1] if runners else "DirectRunner"
    short = runner.rpartition(".")[2].lower().removesuffix("runner")
    if short == "dask":
        raise ValueError("runner: Beam's DaskRunner loses data without an error")
    mode = _last_values(options).get("direct_running_mode")
    return ("multi" if mode and mode != "in_memory" else "direct") if short == "direct" else short


def _is_pool_replaced(option: BeamOption, own: Sequence[str]) -> bool:
    """Return whether it is the address of a pool, where the user wants no pool."""
    kinds = [a.partition("=")[2] for a in own if _name(a) == "environment_type"]
    return option.name == "environment_config" and bool(kinds) and kinds[-1] != "EXTERNAL"


def _is_docker(engine: str, values: dict[str, str]) -> bool:
    """Return whether it is Docker, Beam's own default for runners elsewhere."""
    return engine not in _LOCAL and values.get("environment_type", "DOCKER") == "DOCKER"


def _last_values(options: Sequence[BeamOption]) -> dict[str, str]:
    return {option.name: option.argument.partition("=")[2] for option in options}


def _name(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0]


def _is_yaml(text: str) -> bool:
    return text.endswith(YAML_SUFFIXES)
