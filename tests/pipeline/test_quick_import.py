"""What imports cost and bring with them, and that nothing is lost by paying less."""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from common.runtime import defer_import, quick_tfx_import

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose `__init__` imports its module `heavy`, as tfx.v1 does its extensions."""
    folder = tmp_path / "heavy_package"
    (folder / "heavy").mkdir(parents=True)
    (folder / "__init__.py").write_text("from heavy_package import heavy\n")
    (folder / "heavy" / "__init__.py").write_text("ANSWER = 42\n")
    (folder / "heavy" / "below.py").write_text("ANSWER = 43\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("heavy_package", "heavy_package.heavy", "heavy_package.heavy.below"):
        # Forgotten again at the test's end.
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    return "heavy_package"


def loaded(module: ModuleType) -> bool:
    """Whether the module's code has run."""
    return "ANSWER" in vars(sys.modules[module.__name__])


def test_a_deferred_module_is_imported_when_an_attribute_is_asked_for(package: str) -> None:
    defer_import(f"{package}.heavy")
    parent = importlib.import_module(package)
    assert not loaded(parent.heavy)
    assert parent.heavy.ANSWER == 42
    assert loaded(parent.heavy)


def test_looking_through_all_modules_imports_nothing(package: str) -> None:
    defer_import(f"{package}.heavy")
    parent = importlib.import_module(package)
    assert not hasattr(parent.heavy, "__file__")
    assert not hasattr(parent.heavy, "__warningregistry__")
    assert not loaded(parent.heavy)


def test_what_lies_below_a_deferred_module_can_be_imported(package: str) -> None:
    defer_import(f"{package}.heavy")
    importlib.import_module(package)
    below = importlib.import_module(f"{package}.heavy.below")
    assert below.ANSWER == 43
    assert sys.modules[f"{package}.heavy"].below is below


def test_a_name_that_the_module_lacks_is_an_attribute_error(package: str) -> None:
    defer_import(f"{package}.heavy")
    parent = importlib.import_module(package)
    with pytest.raises(AttributeError, match="QUESTION"):
        _ = parent.heavy.QUESTION


def test_a_module_that_is_there_already_is_left_alone(package: str) -> None:
    heavy = importlib.import_module(f"{package}.heavy")
    defer_import(f"{package}.heavy")
    assert sys.modules[f"{package}.heavy"] is heavy


def test_the_garbage_collector_works_again_after_the_import_even_where_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "tfx", raising=False)
    monkeypatch.setattr("common.runtime._UNUSED", ("os",))
    frozen = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), quick_tfx_import():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
        if frozen:  # as tests/conftest.py left it
            gc.freeze()


def test_where_tfx_is_imported_already_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tfx", ModuleType("tfx"))
    frozen = gc.get_freeze_count()
    with quick_tfx_import():
        assert gc.isenabled()
    # What was frozen may go; a freeze would add all that is there.
    assert gc.get_freeze_count() <= frozen


_STARTED = "TensorFlow and Transform are there"
# One process for all questions, as its imports take most of the time: what is asked first is what
# needs less.
_FRESH = f"""
import json, os, sys
from pathlib import Path
output, images = sys.argv[1:]
from common.runtime import prepare_environment, quick_tfx_import, scratch_below
found = {{}}
with scratch_below(Path(output)):
    prepare_environment()
    import keras
    found["keras draws"] = "matplotlib" in sys.modules
    found["home after keras"] = os.listdir(os.environ["HOME"])
    from pipeline.study import command, experiment, outcomes, report, screen, tables
    found["study imports"] = [m for m in ("tfx", "apache_beam") if m in sys.modules]
    from pipeline.cli import app
    app(["check", "--data", images], standalone_mode=False)
    found["check imports"] = [
        m for m in ("tfx", "apache_beam", "ml_metadata") if m in sys.modules
    ]
    import tensorflow as tf, tensorflow_transform
    found["six"] = float(tf.constant(2.0) * 3)
    print({_STARTED!r}, file=sys.stderr, flush=True)
    vertex = "google.cloud.aiplatform"
    with quick_tfx_import():
        from tfx import v1 as tfx
        import pipeline.dag.graph, pipeline.local.summary
    found["vertex before"] = vertex in sys.modules
    found["grammar before"] = "rfc3987_syntax" in sys.modules
    import components.report.drawing
    found["keras can draw"] = callable(keras.visualization.plot_image_gallery)
found["left in output"] = os.listdir(output)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def fresh(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Question -> answer of a process that had imported nothing, in a home of its own."""
    folder = tmp_path_factory.mktemp("fresh")
    home, output = folder / "home", folder / "output"
    home.mkdir()
    output.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", _FRESH, str(output), str(phantom_folder)],
        cwd=ROOT,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["said"], _, _ = done.stderr.partition(f"{_STARTED}\n")
    return found


@pytest.mark.slow
def test_a_run_imports_none_of_googles_clients_for_vertex_ai(fresh: dict[str, Any]) -> None:
    """Also through the DAG's own modules."""
    assert fresh["vertex before"] is False


@pytest.mark.long
def test_tfxs_extensions_are_there_all_the_same() -> None:
    """It takes five seconds to import them."""
    with quick_tfx_import():
        from tfx import v1 as tfx
    assert tfx.extensions.google_cloud_ai_platform.Trainer.__name__ == "Trainer"
    assert "google.cloud.aiplatform" in sys.modules


def test_a_run_reads_no_grammar_for_kubernetes_client_of_all_kinds(fresh: dict[str, Any]) -> None:
    assert fresh["grammar before"] is False


def test_tensorflow_itself_starts_quietly(fresh: dict[str, Any]) -> None:
    assert (fresh["six"], fresh["said"]) == (6.0, "")


def test_matplotlib_waits_until_somebody_draws(fresh: dict[str, Any]) -> None:
    assert fresh["keras draws"] is False
    assert fresh["keras can draw"] is True


def test_importing_keras_writes_nothing_into_the_home_folder(fresh: dict[str, Any]) -> None:
    assert fresh["home after keras"] == []
    assert fresh["left in output"] == []


def test_a_study_needs_no_tfx(fresh: dict[str, Any]) -> None:
    """Importing it takes longer than training a head."""
    assert fresh["study imports"] == []


def test_a_check_of_the_data_needs_no_tfx(fresh: dict[str, Any]) -> None:
    assert fresh["check imports"] == []
