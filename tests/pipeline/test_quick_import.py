"""What importing TFX costs, and that nothing is lost by paying less."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.runtime import defer_import, quick_tfx_import

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
    monkeypatch.setattr("pipeline.runtime._UNUSED", "os")
    frozen = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), quick_tfx_import():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


def test_where_tfx_is_imported_already_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tfx", ModuleType("tfx"))
    frozen = gc.get_freeze_count()
    with quick_tfx_import():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


@pytest.mark.slow
def test_a_run_imports_none_of_googles_clients_for_vertex_ai() -> None:
    """Also through the DAG's own modules; and TFX's extensions are there all the same."""
    code = (
        "import sys\n"
        "from pipeline.runtime import prepare_environment, quick_tfx_import\n"
        "prepare_environment()\n"
        "with quick_tfx_import():\n"
        "    from tfx import v1 as tfx\n"
        "    import pipeline.dag, pipeline.summary\n"
        "print('google.cloud.aiplatform' in sys.modules)\n"
        "print(tfx.extensions.google_cloud_ai_platform.Trainer.__name__)\n"
        "print('google.cloud.aiplatform' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "Trainer", "True"]


def test_matplotlib_waits_until_somebody_draws(tmp_path: Path) -> None:
    code = (
        "from pipeline.runtime import prepare_environment; prepare_environment()\n"
        "import sys, keras\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import components.report.drawing\n"
        "assert callable(keras.visualization.plot_image_gallery)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / "keras")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # Nor does a drawing leave anything in the user's home.
    assert {path.name for path in tmp_path.iterdir()} <= {"keras"}
