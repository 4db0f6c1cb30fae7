"""An output folder of one run, with a store by ml_metadata itself and files to damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.layout import OutputLayout
from pipeline.local.folder.inventory import update_inventory
from tests.pipeline.local.folder.store import Store

Ran = Callable[[Path], Store]
TRANSFORM = "Transform/transformed_examples/2"


@pytest.fixture
def ran() -> Ran:
    """Folder -> a run in it, of three nodes: finished, and taken down."""

    def call(root: Path) -> Store:
        store = Store(root)
        serving = str(store.layout.serving)
        run = store.begin("2026-01-02T03:04:05.000001")
        written = store.node(run, "RadiographExampleGen", outputs={"examples": {}})
        (store.folder(written["examples"]) / "data.gz").write_bytes(b"images")
        destination = f'{{\n "filesystem": {{\n "base_directory": "{serving}/tiny"\n }}\n}}'
        written |= store.node(
            run,
            "Transform",
            inputs={"examples": written["examples"]},
            outputs={"transformed_examples": {}},
        )
        folder = store.folder(written["transformed_examples"])
        (folder / "Split-train").mkdir()
        (folder / "Split-train" / "data.gz").write_bytes(b"more images")
        (folder / "Split-train" / "rest.gz").write_bytes(b"the rest")
        written |= store.node(
            run,
            "Pusher.tiny",
            properties={
                "push_destination": destination,
                "pushed": str(store.layout.pushed / "tiny"),
                "data_dir": f"{root}/data",
            },
            outputs={"pushed_model": {"pushed": 1, "pushed_destination": f"{serving}/tiny/17"}},
        )
        uris = [str(store.folder(written[key])) for key in written]
        update_inventory(store.layout, uris)
        return store

    return call


@pytest.fixture
def layout(ran: Ran, tmp_path: Path) -> OutputLayout:
    """Of such a folder."""
    return ran(tmp_path / "my output").layout


@pytest.fixture
def warnings() -> list[str]:
    """To be filled."""
    return []
