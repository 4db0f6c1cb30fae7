"""What a run says where Beam's services aren't there, are others than it needs, or went."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.portability import portable_runner
from typer.testing import CliRunner

from common.errors import InputError
from pipeline.beam import pool_state as beam_pool_state
from pipeline.beam.pool_state import Death, PoolWorkers, environment
from pipeline.beam.reach import Services, require_services, what_is_gone, workers_of
from pipeline.beam.watch import watching
from pipeline.cli import app
from pipeline.config.beam import plan_beam, pool_command
from pipeline.phantoms import write_phantoms
from tests.pipeline.beam_place import BeamsOwnPool, Place, made_jobs, made_place, require, served

pytestmark = pytest.mark.waits

NODE = "Featurizer.vgg16"


@pytest.fixture
def place() -> Iterator[Place]:
    """A job service and a pool."""
    with made_place() as found:
        yield found


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with made_jobs() as (address, end):
        end()
        yield address


def test_services_that_are_there_are_found(place: Place) -> None:
    found = place.services()
    assert (found.jobs, found.pool) == (place.jobs, place.pool)
    assert found.workers is not None
    assert found.workers.died == ()
    assert what_is_gone(found, NODE, "ValueError: a node's own mistake") is None


@pytest.mark.parametrize("beam", ["direct", "multi", "flink:host", "dataflow:my-project"])
def test_where_beam_has_no_services_of_its_own_nobody_is_asked(beam: str) -> None:
    assert require_services(plan_beam(beam)) is None
    assert what_is_gone(None, NODE, "anything") is None
    with watching(None):
        pass


def test_a_wrong_port_is_named_before_anything_runs(place: Place, nobody: str) -> None:
    with pytest.raises(InputError, match=f"no Beam job service at {nobody}: nothing answers"):
        require(nobody, place.pool)


def test_a_port_of_something_else_is_named(place: Place) -> None:
    with pytest.raises(InputError, match=f"job service at {place.pool}: .* another service"):
        require(place.pool, place.pool)
    with pytest.raises(InputError, match=f"worker pool at {place.jobs}: .* another service"):
        require(place.jobs, place.jobs)
    page = HTTPServer(("localhost", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match=r"or not in Beam's protocol\. Start it"):
            require(f"localhost:{page.server_port}", place.pool)
    finally:
        page.shutdown()
        page.server_close()


def test_a_pool_that_is_not_there_is_named_with_the_command(place: Place, nobody: str) -> None:
    with pytest.raises(
        InputError, match=f"pool at {nobody}: .*Start `.*cxr beam worker-pool --port "
    ):
        require(place.jobs, nobody)


def test_options_that_beam_does_not_know_come_first(nobody: str) -> None:
    with pytest.raises(InputError, match="no option --environment_confg"):
        require(nobody, nobody, "--environment_confg=x")


@pytest.mark.parametrize(
    "options", [["--environment_type=LOOPBACK"], ["--environment_config=elsewhere.example:50000"]]
)
def test_a_pool_elsewhere_is_not_asked(place: Place, options: list[str]) -> None:
    found = require(place.jobs, place.pool, *options)
    assert found == Services(place.jobs, None, None)
    # Nothing is watched, either.
    wait = portable_runner.PipelineResult.wait_until_finish
    with watching(found):
        assert portable_runner.PipelineResult.wait_until_finish is wait


def test_a_pool_in_another_environment_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environment()
    there = here | {"Python": "3.99", "tfx": "0.1"}
    monkeypatch.setattr("pipeline.beam.worker_pool.environment", lambda: there)
    with pytest.raises(InputError) as refused:
        require(place.jobs, place.pool)
    said = str(refused.value)
    assert f"Python 3.99 there and {here['Python']} here; tfx 0.1 there and" in said
    assert "numpy" not in said
    port = place.pool.rpartition(":")[2]
    assert f"End it, and start `{pool_command(port)}`." in said


def test_the_environment_follows_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment()
    assert before == environment()
    assert "none" not in before.values()
    monkeypatch.setattr(beam_pool_state, "_CODE", ("schema",))
    assert environment() != before


def test_beams_own_pool_is_taken_as_it_is(place: Place) -> None:
    add = beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server
    with served(lambda server: add(BeamsOwnPool(), server)) as (pool, end):
        found = require(place.jobs, pool)
        assert found == Services(place.jobs, pool, None)
        assert what_is_gone(found, NODE, "ValueError") is None
        # All that one has is what the runner says.
        for said, sentence in (
            ("job failed: didn't get control connection to worker", f"no worker of .*{pool} came"),
            ("SDK worker disconnected: worker[a], 1 active", f"a worker of .*{pool} went while"),
            ("ModuleNotFoundError: No module named 'components'", "has no module components"),
        ):
            gone = what_is_gone(found, NODE, said)
            assert gone is not None
            with pytest.raises(InputError, match=sentence):
                raise gone
            assert NODE in str(gone)
        end()
        assert f"the worker pool at {pool} went" in str(what_is_gone(found, NODE, ""))


def test_what_went_is_named_with_the_node_and_what_to_do(place: Place) -> None:
    services = place.services()
    place.end_jobs()
    gone = str(what_is_gone(services, NODE, "<_MultiThreadedRendezvous of RPC that …>"))
    assert f"the job service at {place.jobs} went while {NODE} ran. Start it again, and run" in gone
    assert gone.endswith("run again: what is done comes from the cache.")
    assert "pool" not in gone
    place.end_pool()
    gone = str(what_is_gone(services, NODE, ""))
    assert f"the job service at {place.jobs} and the worker pool at {place.pool} went" in gone


def test_a_killed_worker_is_named_with_its_signal(place: Place) -> None:
    services = place.services()
    place.kill_worker()
    gone = str(what_is_gone(services, NODE, "whatever the runner makes of it"))
    assert f"a worker of the pool at {place.pool} died while {NODE} ran (signal SIGKILL, as" in gone
    assert any("worker died (signal SIGKILL" in said for said in place.said)
    # The next run starts from there.
    assert what_is_gone(place.services(), NODE, "ValueError") is None


def test_a_runner_may_notice_a_death_before_the_pool_does(place: Place) -> None:
    services = place.services()
    later = threading.Timer(0.3, place.kill_worker)
    later.start()
    gone = str(what_is_gone(services, NODE, "SDK worker disconnected: worker[a]"))
    assert f"died while {NODE} ran (signal SIGKILL" in gone
    # Else it would ask on for ever, of a pool that has gone, and hold up the end of this process.
    later.join()


def test_a_worker_that_the_runner_replaced_is_no_reason(place: Place) -> None:
    services = place.services()
    place.kill_worker()
    place.start_worker()
    assert what_is_gone(services, NODE, "ValueError") is None


@pytest.mark.parametrize(
    ("started", "died", "lost"),
    [
        (3, [], None),
        (3, [(0, -9, 3)], None),  # of an earlier run, whenever it dies
        (3, [(2, -9, 3)], -9),
        (4, [(2, -9, 3)], None),  # replaced
        (4, [(2, 1, 3), (3, -9, 4)], -9),
        (4, [(3, -9, 4), (1, 1, 4)], -9),
    ],
)
def test_which_death_matters_to_a_run(
    started: int, died: list[tuple[int, int, int]], lost: int | None
) -> None:
    before = PoolWorkers("pool", 2, ())
    now = PoolWorkers("pool", started, tuple(Death(*death) for death in died))
    assert now.lost_since(before) == lost
    assert PoolWorkers.from_bytes(now.to_bytes()) == now


def test_a_stopped_worker_did_not_die(place: Place) -> None:
    services = place.services()
    process = place.start_worker()
    with grpc.insecure_channel(place.pool) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="worker"))
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert services.workers is not None
    assert workers_of(place.pool) == dataclasses.replace(services.workers, started=1)


def test_another_pool_at_the_address_is_noticed(place: Place) -> None:
    services = place.services()
    place.workers._name = "another"
    gone = str(what_is_gone(services, NODE, ""))
    assert f"the worker pool at {place.pool} ended while {NODE} ran, and another is there" in gone


def test_a_run_stops_before_its_first_node_and_leaves_the_folder_as_it_was(
    tmp_path: Path, nobody: str
) -> None:
    data, output = tmp_path / "data", tmp_path / "output"
    write_phantoms(data, (2, 2, 2), size=64, seed=1)
    command = ["run", "--data", data, "--output", output, "--preset", "demo"]
    done = CliRunner().invoke(app, [*map(str, command), "--beam", f"portable:{nobody}"])
    assert isinstance(done.exception, InputError), done.output
    assert f"beam: there is no Beam job service at {nobody}" in str(done.exception)
    assert {path.name for path in output.iterdir()} == {"logs"}
