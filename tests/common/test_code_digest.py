"""Digests of source code: what follows from the imports, and that the nodes see it."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common import code_digest as module
from common.code_digest import closure
from common.runtime import prepare_environment

ROOT = Path(__file__).parents[2]
# Of each node that this project's code computes.
NODES = (
    ("components.radiograph_example_gen.driver", "components.radiograph_example_gen.executor"),
    ("components.schema_gate.executor",),
    ("components.shortcut_audit.executor",),
    ("components.span_drift.executor",),
    ("models.preprocessing",),
    ("models.preprocessing", "components.featurizer.executor"),
    ("components.pretrained_backbone.executor",),
    ("components.featurizer.executor",),
    ("models.tuning",),
    ("models.trainer", "components.continued_trainer.executor"),
    ("components.model_combiner.executor",),
    ("components.fused_trainer.executor",),
    ("components.table_trainer.executor",),
    ("components.inferrer.executor",),
    ("components.evaluator.answers", "components.evaluator.metrics"),
    ("components.infra_check.executor", "serving.commands.serve"),
    ("components.model_card.executor",),
    ("components.champion.executor",),
    ("components.serving_precision.executor",),
    ("components.report.executor",),
)
FILES = {
    "models/a.py": "def f():\n    from models.b import g\n    return g()\n",
    "models/b.py": "import schema.c\nimport numpy\nfrom components import pack\n",
    "schema/c.py": "C = 1\n",
    "components/pack/__init__.py": "",
    "components/pack/inner.py": "from components.pack import other\n",
    "components/pack/other.py": "",
    "models/typed.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models.b import G\n"
    ),
    "models/alone.py": "",
}
Digest = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    return tmp_path


def _digest(*modules: str) -> str:
    module.code_digest.cache_clear()
    return module.code_digest(*modules)


def test_what_is_imported_belongs_to_it(root: Path) -> None:
    assert closure("models.a") == {"models.a", "models.b", "schema.c", "components.pack"}
    assert closure("models.typed") == {"models.typed"}
    # The package on the way to a module holds nothing that a result depends on.
    assert closure("components.pack.inner") == {"components.pack.inner", "components.pack.other"}


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("models/a.py", True),
        ("models/b.py", True),
        ("schema/c.py", True),
        ("models/alone.py", False),
    ],
)
def test_an_edit_counts_however_indirectly_it_is_imported(
    file: str, counts: bool, root: Path
) -> None:
    before = _digest("models.a")
    (root / file).write_text((root / file).read_text() + "# edited\n")
    assert (_digest("models.a") != before) is counts


@pytest.mark.parametrize("name", ["page.html.j2", "templates/style.css"])
def test_templates_are_code(root: Path, name: str) -> None:
    before = _digest("components.pack.inner")
    (root / "components/pack" / name).parent.mkdir(exist_ok=True)
    (root / "components/pack" / name).write_text("")
    changed = _digest("components.pack.inner")
    assert changed != before
    (root / "components/pack/notes.md").write_text("")
    assert _digest("components.pack.inner") == changed


def test_the_order_does_not_matter(root: Path) -> None:
    assert _digest("models.a", "models.typed") == _digest("models.typed", "models.a")


def test_a_module_that_is_not_there_is_an_error(root: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no source code of models\.gone"):
        _digest("models.gone")


def test_the_nodes_here_are_those_of_the_dag() -> None:
    """What the code hands to `code_digest` stands above."""
    calls: set[str] = set()
    for file in (ROOT / "pipeline").rglob("*.py"):
        for call in re.findall(r"code_digest\(([^)]*)\)", file.read_text()):
            calls |= set(re.findall(r'"((?:components|models|pipeline|serving)\.[\w.]+)"', call))
    assert calls <= {name for names in NODES for name in names}
    assert calls >= {name for names in NODES for name in names if "evaluator" not in name}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's code, to be edited."""
    folder = tmp_path_factory.mktemp("code")
    for room in module._ROOMS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / room, folder / room, ignore=ignored)
    return folder


@pytest.mark.parametrize("names", NODES, ids=lambda names: names[0])
def test_each_module_that_a_node_imports_is_in_its_digest(
    names: tuple[str, ...], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROOT", copied)
    imported = closure(*names)
    # An edit below leaves imports and files as they are: they needn't be looked for anew at each.
    monkeypatch.setattr(module, "closure", lambda *_: imported)
    monkeypatch.setattr(module, "_file", functools.cache(module._file))
    templates = module._templates
    found: dict[Path, list[Path]] = {}

    def once(folder: Path) -> list[Path]:
        if folder not in found:
            found[folder] = list(templates(folder))
        return found[folder]

    monkeypatch.setattr(module, "_templates", once)
    before = _digest(*names)
    for name in imported:
        file = copied.joinpath(*name.split("."))
        file = file.with_suffix(".py") if file.with_suffix(".py").exists() else file / "__init__.py"
        content = file.read_bytes()
        file.write_bytes(content + b"# edited\n")
        assert _digest(*names) != before, name
        file.write_bytes(content)
    assert _digest(*names) == before


def test_working_on_heads_costs_no_features() -> None:
    features = closure("components.featurizer.executor")
    assert not features & {"models.heads", "models.training", "models.fitting", "models.trainer"}
    assert "models.augmentation_names" in features


def test_working_on_what_lies_beside_the_weights_is_all_that_costs_features_besides() -> None:
    """The Featurizer stands on PretrainedBackbone's artifact."""
    features = closure("components.featurizer.executor")
    own = closure("components.pretrained_backbone.executor") - features
    assert {n for n in own if n.startswith("models.")} == {
        "models.pretrained", "models.traced_network", "models.weights",
    }  # fmt: skip


@pytest.mark.slow
def test_the_cache_misses_where_a_module_behind_a_module_changed(
    tiny_backbone: str, copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real node in TFX's runner; its executor imports the table, and that the names."""
    monkeypatch.setattr(module, "_ROOT", copied)
    prepare_environment()
    from tfx import v1 as tfx

    from components.pretrained_backbone import PretrainedBackbone

    artifacts = tmp_path / "root" / "PretrainedBackbone" / "model"
    store = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "store"))

    def executed() -> bool:
        before = set(artifacts.glob("*"))
        node = PretrainedBackbone(
            backbone=tiny_backbone,
            weights_path=None,
            weights_label="random",
            weights_sha256="",
            seed=1,
            code_digest=_digest("components.pretrained_backbone.executor"),
        )
        pipeline = tfx.dsl.Pipeline(
            "p",
            str(tmp_path / "root"),
            components=[node],
            enable_cache=True,
            metadata_connection_config=store,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return set(artifacts.glob("*")) != before

    assert executed()
    assert not executed()
    assert "models.augmentation_names" not in module._imports(
        copied / "components/pretrained_backbone/executor.py"
    )
    edited = copied / "models/augmentation_names.py"
    edited.write_bytes(edited.read_bytes() + b"# edited\n")
    assert executed()
