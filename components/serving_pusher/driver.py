"""Adds the number of the attempt to the cache key, so that a push is never taken for granted."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import ml_metadata as mlmd
from absl import logging
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.compiler import compiler_utils, constants
from tfx.dsl.components.base import base_driver
from tfx.dsl.io import fileio
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.orchestration.portable.mlmd import event_lib
from tfx.proto import pusher_pb2
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from common.errors import InputError
from components.saved_models import versions_in
from components.serving_pusher.executor import Executor
from schema import contract

ATTEMPT: Final = "attempt"
# A version above the clock's time by no more than this is waited for.
_PATIENCE_SECONDS: Final = 5


@dataclass(frozen=True)
class Push:
    """A push that was done, not taken from the cache.

    Attributes:
        attempt: the number it had.
        destination: the version's folder.
    """

    attempt: int
    destination: str


# Two base classes, as in TFX's own drivers: the component class is checked against the
# first, the launcher of the local runner calls the second.
class ServingPusherDriver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """The driver of `attempt`: a number already in the cache only if its push is being served."""

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Return the attempt as an execution property.

        Raises:
            InputError: a push is due, and the serving folder has a version from the future.
        """
        base = _base_directory(execution_info)
        with self._mlmd_connection as handle:
            pushes = find_pushes(handle.store, _node_name(execution_info), _inputs(execution_info))
        highest = highest_version(base)
        attempt = choose_attempt(pushes, None if highest is None else os.path.join(base, highest))
        is_new = attempt not in [push.attempt for push in pushes]
        # Who is not blessed, or stopped by the audit, is not pushed and has to wait for nothing.
        if is_new and Executor().CheckBlessing(execution_info.input_dict):
            logging.info("Push number %d of this model to %s.", attempt + 1, base)
            _wait_for_a_higher_version(base, highest)
        result = driver_output_pb2.DriverOutput()
        result.exec_properties[ATTEMPT].int_value = attempt
        return result


def find_pushes(store: mlmd.MetadataStore, node: str, inputs: set[tuple[str, int]]) -> list[Push]:
    """Find the pushes by one node of one model with one blessing, and one audit where there is one.

    A cached execution is no push, nor is one whose model wasn't blessed, or that the audit stopped.

    Args:
        store: with the executions of all runs.
        node: name of its context.
        inputs: key and id of each input artifact.

    Returns:
        In the order in which they were done.
    """
    context = store.get_context_by_type_and_name(constants.NODE_CONTEXT_TYPE_NAME, node)
    executions = store.get_executions_by_context(context.id) if context else []
    pushes = []
    for execution in sorted(executions, key=lambda execution: execution.id):
        if execution.last_known_state != metadata_store_pb2.Execution.COMPLETE:
            continue
        events = store.get_events_by_execution_ids([execution.id])
        read = {
            (event.path.steps[0].key, event.artifact_id)
            for event in events
            if event_lib.is_valid_input_event(event)
        }
        if read != inputs:
            continue
        written = [e.artifact_id for e in events if event_lib.is_valid_output_event(e)]
        for artifact in store.get_artifacts_by_id(written) if written else []:
            properties = artifact.custom_properties
            if properties["pushed"].int_value == 1:
                # The launcher stores what the driver returned with the finished execution.
                # A stock Pusher's execution has no attempt, which reads as 0.
                attempt = execution.custom_properties[ATTEMPT].int_value
                pushes.append(Push(attempt, properties["pushed_destination"].string_value))
    return pushes


def choose_attempt(pushes: Sequence[Push], served: str | None) -> int:
    """Return the attempt of the last push if it is being served, else a new one.

    The last push's own number and not a count of pushes: should its cached result be
    unusable for another reason, the next push has this number again, and the one after
    finds it.

    Args:
        pushes: of this model.
        served: folder of the highest version; None where there is none.
    """
    if not pushes:
        return 0
    last = pushes[-1]
    if last.destination == served and fileio.exists(
        os.path.join(served, contract.SAVED_MODEL_FILE)
    ):
        return last.attempt
    return max(push.attempt for push in pushes) + 1


def highest_version(base: str) -> str | None:
    """Name of the version that TensorFlow Serving would choose.

    Args:
        base: the model's serving folder, local or remote; it need not exist.
    """
    return next(iter(versions_in(base)), None)


def _wait_for_a_higher_version(base: str, highest: str | None) -> None:
    """Wait, as Pusher names a version by the second, and skips a push to a version that exists."""
    if highest is None:
        return
    if int(highest) - time.time() > _PATIENCE_SECONDS:
        raise InputError(
            f"{os.path.join(base, highest)} is a version from the future: versions are named "
            "by the time in seconds, and TensorFlow Serving would go on serving this one. "
            "Delete the folder, or set this machine's clock right."
        )
    while int(time.time()) <= int(highest):
        time.sleep(0.05)


def _base_directory(execution_info: data_types.ExecutionInfo) -> str:
    destination = pusher_pb2.PushDestination()
    content = execution_info.exec_properties[standard_component_specs.PUSH_DESTINATION_KEY]
    proto_utils.json_to_proto(content, destination)
    return str(destination.filesystem.base_directory)


def _node_name(execution_info: data_types.ExecutionInfo) -> str:
    return str(
        compiler_utils.node_context_name(
            execution_info.pipeline_info.id, execution_info.pipeline_node.node_info.id
        )
    )


def _inputs(execution_info: data_types.ExecutionInfo) -> set[tuple[str, int]]:
    inputs: Mapping[str, Sequence[types.Artifact]] = execution_info.input_dict
    return {(key, artifact.id) for key, artifacts in inputs.items() for artifact in artifacts}
