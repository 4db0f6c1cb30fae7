"""Which versions are in memory, and that no request loses the one it was lent."""

from __future__ import annotations

import shutil
import threading
import weakref
from pathlib import Path

import pytest
from grpc import StatusCode

from common.errors import InputError
from serving.core.manager import Manager, State
from serving.core.memory import give_back
from serving.core.model_config import (
    ModelConfig,
    VersionPolicy,
    models_in,
    parse_config,
    versions_in,
)
from serving.prediction_log.settings import LogTarget
from serving.protocol.paths import ModelRef
from serving.protocol.status import ServingError
from serving.servables.servable import Servable
from tests.serving.fakes import Loader, write_version

M = ModelRef("m")


class Setup:
    """A manager over one model's folder."""

    def __init__(self, folder: Path, policy: VersionPolicy | None = None) -> None:
        self.base = folder / "m"
        self.base.mkdir()
        self.loader = Loader()
        self.manager = Manager(self.loader)
        self.configure(policy=policy or VersionPolicy())

    def configure(self, **fields: object) -> None:
        self.manager.configure({"m": ModelConfig("m", self.base, **fields)})  # type: ignore[arg-type]

    def version(self, ref: ModelRef = M) -> int:
        with self.manager.borrow(ref) as lent:
            return lent.version

    def states(self) -> dict[int, State]:
        return {status.version: status.state for status in self.manager.status(M)}


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_the_highest_version_is_served(setup: Setup) -> None:
    for number in (2, 10, 9):
        write_version(setup.base, number)
    (setup.base / "notes").mkdir()
    (setup.base / "11").touch()
    assert setup.manager.reconcile()
    assert setup.version() == 10
    assert setup.states() == {10: State.AVAILABLE}
    assert not setup.manager.reconcile()
    assert len(setup.loader.loaded) == 1


def test_a_new_version_takes_over_and_the_old_one_ends(setup: Setup) -> None:
    write_version(setup.base, 1)
    setup.manager.reconcile()
    write_version(setup.base, 2)
    setup.manager.reconcile()
    assert setup.version() == 2
    assert setup.states() == {2: State.AVAILABLE, 1: State.END}
    with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
        setup.version(ModelRef("m", 1))


def test_an_old_version_waits_for_its_requests(setup: Setup) -> None:
    write_version(setup.base, 1)
    setup.manager.reconcile()
    write_version(setup.base, 2)
    with setup.manager.borrow(M) as lent:
        thread = threading.Thread(target=setup.manager.reconcile)
        thread.start()
        while setup.states().get(1) != State.UNLOADING:
            pass
        # Whoever comes now gets the new one; who has the old one keeps it.
        assert setup.version() == 2
        assert lent.servable is setup.loader.servables[setup.base / "1"]
        assert thread.is_alive()
    thread.join(10)
    assert setup.states() == {2: State.AVAILABLE, 1: State.END}


def test_a_half_copied_version_is_tried_again_once_it_changes(setup: Setup) -> None:
    write_version(setup.base, 1)
    setup.manager.reconcile()
    folder = write_version(setup.base, 2, good=False)
    for _ in range(3):
        setup.manager.reconcile()
    assert setup.loader.loaded.count(folder) == 1
    assert setup.version() == 1
    (status,) = [s for s in setup.manager.status(M) if s.version == 2]
    assert status.state == State.END
    assert status.error is not None
    assert status.error.code.name == "NOT_FOUND"
    (folder / "good").touch()
    setup.manager.reconcile()
    assert setup.version() == 2
    assert setup.states() == {2: State.AVAILABLE, 1: State.END}


def test_a_model_that_breaks_the_loader_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("bad", "m"):
        write_version(tmp_path / name, 1)

    loader = Loader()

    def load(path: Path) -> object:
        if "bad" in path.parts:
            raise RuntimeError("boom")
        return loader(path)

    manager = Manager(load)  # type: ignore[arg-type]
    manager.configure(models_in(tmp_path))
    manager.reconcile()
    with manager.borrow(M) as lent:
        assert lent.version == 1
    (status,) = manager.status(ModelRef("bad"))
    assert status.error is not None
    assert "boom" in status.error.message
    assert not manager.is_ready()


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(latest=2), {3, 4}),
        (VersionPolicy(latest=None, all_versions=True), {1, 2, 3, 4}),
        (VersionPolicy(latest=None, specific=frozenset({2, 9})), {2}),
    ],
)
def test_policies(policy: VersionPolicy, served: set[int], tmp_path: Path) -> None:
    setup = Setup(tmp_path, policy)
    for number in (1, 2, 3, 4):
        write_version(setup.base, number)
    setup.manager.reconcile()
    assert set(setup.states()) == served
    assert setup.version() == max(served)


def test_a_version_that_is_deleted_ends(setup: Setup) -> None:
    write_version(setup.base, 1)
    write_version(setup.base, 2)
    setup.manager.reconcile()
    shutil.rmtree(setup.base / "2")
    setup.manager.reconcile()
    assert setup.version() == 1
    assert setup.states() == {2: State.END, 1: State.AVAILABLE}


def test_labels(setup: Setup) -> None:
    for number in (1, 2):
        write_version(setup.base, number)
    everything = VersionPolicy(latest=None, all_versions=True)
    setup.configure(policy=everything, labels={"stable": 1, "canary": 2})
    setup.manager.reconcile()
    assert setup.version(ModelRef("m", label="stable")) == 1
    setup.configure(policy=everything, labels={"stable": 2})
    assert setup.version(ModelRef("m", label="stable")) == 2
    with pytest.raises(ServingError, match="Unrecognized servable version label: canary"):
        setup.version(ModelRef("m", label="canary"))
    with pytest.raises(ServingError, match="assign label to version 7 of model m"):
        setup.configure(policy=everything, labels={"stable": 7})
    assert setup.version(ModelRef("m", label="stable")) == 2


def test_a_model_that_is_taken_out_ends(setup: Setup) -> None:
    write_version(setup.base, 1)
    setup.manager.reconcile()
    setup.manager.configure({})
    setup.manager.reconcile()
    assert setup.manager.names() == []
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        setup.version()
    setup.configure()
    setup.manager.reconcile()
    assert setup.version() == 1


def test_versions_are_plain_numbers(tmp_path: Path) -> None:
    for name in ("7", "007", "8", "-1", "1.5", "\u0661", "v2", str(2**63)):
        (tmp_path / name).mkdir()
    assert set(versions_in(tmp_path)) == {7, 8}
    assert versions_in(tmp_path / "absent") == {}


def test_a_models_config() -> None:
    models = parse_config("""
        model_config_list {
          config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
          config { name: "b" base_path: "/models/b"
                   model_version_policy { specific { versions: 3 versions: 5 } }
                   version_labels { key: "stable" value: 3 } }
          config { name: "c" base_path: "/models/c" model_version_policy { all {} } }
          config { name: "d" base_path: "/m/d" model_version_policy { latest { num_versions: 2 } } }
        }""")
    assert models["a"] == ModelConfig("a", Path("/models/a"))
    assert models["b"].policy.specific == {3, 5}
    assert dict(models["b"].labels) == {"stable": 3}
    assert models["c"].policy.all_versions
    assert models["d"].policy.latest == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense {", "models.config"),
        ('model_config_list { config { base_path: "/a" } }', "no name"),
        ('model_config_list { config { name: "a" } }', "no base_path"),
        ('model_config_list { config { name: "a" base_path: "a" } }', "not absolute"),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "x" } }',
            "model_platform 'x' is unknown",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/a" }'
            ' config { name: "a" base_path: "/b" } }',
            "given twice",
        ),
        ("custom_model_config {}", "custom_model_config is not supported"),
    ],
)
def test_a_wrong_models_config_is_told(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_config(text)


def test_the_champion_is_loaded_first_and_the_others_say_that_they_will_be(tmp_path: Path) -> None:
    for name in ("a", "champion", "m"):
        write_version(tmp_path / name, 1)
    loader = Loader()
    seen: dict[str, list[State]] = {}

    def load(path: Path) -> Servable:
        seen[path.parent.name] = [
            status.state
            for name in ("a", "champion", "m")
            for status in manager.status(ModelRef(name))
        ]
        return loader(path)

    manager = Manager(load)
    manager.configure(models_in(tmp_path))
    manager.reconcile()
    assert seen == {
        "champion": [State.START, State.LOADING, State.START],
        "a": [State.LOADING, State.AVAILABLE, State.START],
        "m": [State.AVAILABLE, State.AVAILABLE, State.LOADING],
    }
    assert list(seen) == ["champion", "a", "m"]


def test_models_are_loaded_side_by_side(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_version(tmp_path / name, 1)
    loader = Loader()
    # Passed by two threads that are there at the same time, or by none.
    both = threading.Barrier(2)

    def load(path: Path) -> Servable:
        if path.parent.name != "c":
            both.wait(60)
        return loader(path)

    manager = Manager(load, side_by_side=2)
    manager.configure(models_in(tmp_path))
    manager.reconcile()
    assert manager.is_ready()
    assert not manager.reconcile()
    assert len(loader.loaded) == 3


def test_a_client_chooses_no_folder_for_a_log(tmp_path: Path) -> None:
    def logging_to(folder: str) -> dict[str, ModelConfig]:
        target = LogTarget(tmp_path / folder / "log")
        return {"a": ModelConfig("a", tmp_path, logged=target), "b": ModelConfig("b", tmp_path)}

    manager = Manager(Loader())
    manager.configure(logging_to("here"))
    manager.check_logs(logging_to("here"))
    with pytest.raises(ServingError, match=r"model a: this server has no log in .*elsewhere"):
        manager.check_logs(logging_to("elsewhere"))


def test_a_failed_load_keeps_nothing_of_what_it_had_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error has the frames that it came through, and those of its cause."""
    # A server in a thread of this process leaves it out, for as long as it runs.
    monkeypatch.setattr("serving.core.manager.give_back", give_back)
    known: list[weakref.ref[object]] = []

    class Half:
        """Something large, in a circle as TensorFlow's objects are."""

        def __init__(self) -> None:
            self.itself = self

    def load(_: Path) -> Servable:
        half = Half()
        known.append(weakref.ref(half))
        try:
            raise OSError("torn")
        except OSError as error:
            raise ServingError(StatusCode.UNKNOWN, "can't be read") from error

    (tmp_path / "m").mkdir()
    manager = Manager(load)
    manager.configure({"m": ModelConfig("m", tmp_path / "m")})
    write_version(tmp_path / "m", 1)
    manager.reconcile()
    (status,) = manager.status(M)
    assert status.state == State.END
    assert "can't be read" in str(status.error)
    assert [each() for each in known] == [None]
