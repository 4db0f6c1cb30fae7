"""What the API server tells of a run: Argo's nodes, and rows of KFP's cache."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

NEVER: Final = "1970-01-01T00:00:00Z"
WORKFLOW: Final = "chest-x7k2p"
_SECONDS: Final = 12


def node(name: str, state: str = "", **more: Any) -> dict[str, Any]:
    """An entry of run_details.task_details: a node of Argo. One that Argo omits has no state."""
    ended = state not in ("PENDING", "RUNNING")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    start = (now - timedelta(seconds=_SECONDS)).isoformat()
    return {
        "task_id": str(uuid.uuid4()),
        "display_name": name,
        "create_time": start,
        "start_time": start,
        "end_time": now.isoformat() if ended else NEVER,
        **({"state": state} if state else {}),
        "state_history": [{"update_time": now.isoformat(), **({"state": state} if state else {})}],
        **more,
    }


def task(name: str, state: str) -> list[dict[str, Any]]:
    """The nodes of a task whose driver has done its work."""
    pod, child = {"pod_name": f"{WORKFLOW}-1234567890"}, {"pod_name": f"{WORKFLOW}-987654321"}
    return [
        node(f"{name}-driver", "SUCCEEDED", child_tasks=[pod]),
        node(name, state, child_tasks=[child]),
        node("executor", state, child_tasks=[pod]),
        node("executor(0)", state),
    ]


def cache_row() -> dict[str, Any]:
    """An entry of run_details.task_details: what KFP's cache has got. It names no step."""
    row = node("")
    for field_ in ("display_name", "state_history"):
        del row[field_]
    return {**row, "start_time": NEVER, "execution_id": "17"}


def snapshot(state: str, *nodes: Mapping[str, Any], root: str = "") -> dict[str, Any]:
    """A run at one moment; with its tasks' nodes come those of the workflow."""
    run: dict[str, Any] = {
        "state": state,
        "state_history": [{"update_time": NEVER, "state": state}],
    }
    if nodes:
        above = [
            node(WORKFLOW, root or state),
            node("root-driver", "SUCCEEDED"),
            node("root", root or state),
        ]
        run["run_details"] = {"task_details": [*above, *nodes]}
    return run


_EXAMPLES_DONE: Final = (*task("csv-example-gen", "SUCCEEDED"), cache_row())
GOOD_RUN: Final = (
    snapshot("PENDING"),
    snapshot("RUNNING", *task("csv-example-gen", "RUNNING")),
    snapshot("RUNNING", *_EXAMPLES_DONE, node("trainer-vgg16-driver", "RUNNING")),
    # The run's own state is the first to be written.
    snapshot("SUCCEEDED", *_EXAMPLES_DONE, *task("trainer-vgg16", "RUNNING"), root="RUNNING"),
    snapshot("SUCCEEDED", *_EXAMPLES_DONE, *task("trainer-vgg16", "SUCCEEDED")),
)
