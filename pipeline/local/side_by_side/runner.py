"""A LocalDagRunner that starts a node as soon as all that it needs is there."""

from __future__ import annotations

import datetime
import queue
import threading
from collections.abc import Mapping
from typing import Any, Final

from absl import logging
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import data_types, launcher, runtime_parameter_utils
from tfx.proto.orchestration import execution_result_pb2, pipeline_pb2

from pipeline.local.progress import FAILED, FINISHED, STARTED
from pipeline.local.side_by_side.cores import shared_cores
from pipeline.local.side_by_side.operators import OPERATORS
from pipeline.local.side_by_side.places import Places, Spares, Task
from pipeline.local.side_by_side.process import Call

# For a node's thread to note its failure and to remove its temporary files, once its executor is
# ended. A thread that is still at the metadata store when Python ends may keep it from ending.
_CLEANS_UP_WITHIN_S: Final = 30.0


class SideBySideRunner(LocalDagRunner):
    """TFX's runner, several nodes at a time.

    Each node is launched by TFX's own launcher, in a thread of its own: it asks the metadata store
    for its inputs and the cache, and publishes its outputs, as ever. One thread at a time does so;
    while a node's executor runs, in the main thread or in another process, it lets others in.
    So what a run computes, and what the store has of it, is the same as with one node at a
    time, but for the order.
    """

    def __init__(self, processes: int, spares: Spares | None = None) -> None:
        """Take as many nodes at a time as processes may be busy with them.

        Args:
            processes: at least 1; this one is among them. With 1, TFX's runner runs the DAG.
            spares: processes that are there already.
        """
        super().__init__()
        self._processes = processes
        self._spares = spares

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
        **kwargs: Any,
    ) -> None:
        """Run the DAG.

        A node that fails lets no other begin. Those under way are finished, so that nothing of
        their work is lost, and then the error is raised.

        Args:
            pipeline: its intermediate representation.
            run_options: a part of the DAG, which TFX's own runner runs.
            kwargs: handed on to that.

        Raises:
            Exception: the first node's that failed.
        """
        if self._processes == 1 or run_options:
            super().run_with_ir(pipeline, run_options, **kwargs)
            return
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline,
            {constants.PIPELINE_RUN_ID_PARAMETER_NAME: datetime.datetime.now().isoformat()},
        )
        with shared_cores(self._processes):
            _Run(pipeline, self._processes, self._spares).run()


def _urgency(upstream: dict[str, set[str]]) -> dict[str, tuple[int, int, int]]:
    """Say which of the nodes that are ready are to begin first.

    That on which the longest chain of others waits: begun late, it would leave places empty at the
    end. Behind which the chains are as long, that which gathers from more nodes, like Report: it
    has more to do. Of nodes that gather from as many, that which stands on fewer: what is made of
    several models finds done what those share.

    Args:
        upstream: node -> those that it needs; in topological order.

    Returns:
        Node -> nodes in the longest chain that begins with it, how many it gathers from, and how
        many it stands on, at whatever distance, below 0.
    """
    chains = dict.fromkeys(upstream, 1)
    for name in reversed(upstream):
        for other in upstream[name]:
            chains[other] = max(chains[other], chains[name] + 1)
    below: dict[str, set[str]] = {}
    for name, needed in upstream.items():
        below[name] = needed.union(*(below[other] for other in needed))
    return {
        name: (chains[name], len(needed), -len(below[name])) for name, needed in upstream.items()
    }


class _Run:
    """One run of a DAG. The main thread is in `run`; every other method is a node's thread's.

    A node's thread says itself what begins behind it: the main thread may be busy with an executor.
    """

    def __init__(
        self, pipeline: pipeline_pb2.Pipeline, processes: int, spares: Spares | None
    ) -> None:
        self._pipeline = pipeline
        self._deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = self._deployment.metadata_connection_config
        self._connection = getattr(connection, connection.WhichOneof("connection_config"))
        self._most = processes
        self._spares = spares
        # Held by the thread that uses TFX's launcher, the metadata store, or what stands below.
        self._turn = threading.Lock()
        # Executors that the main thread has to call; None when no node is under way any more.
        self._for_main: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # In topological order, as TFX's compiler leaves them.
        self._waiting = {
            node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes
        }
        self._missing = {name: set(node.upstream_nodes) for name, node in self._waiting.items()}
        self._urgency = _urgency(self._missing)
        self._under_way: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._stopped = False

    def run(self) -> None:
        try:
            with Places(self._most, self._for_main.put, self._spares) as self._places:
                with self._turn:
                    self._go_on()
                while (task := self._for_main.get()) is not None:
                    task.execute()
        finally:
            self._stopped = True
            # After Ctrl-C, those of the nodes that were under way.
            for thread in self._threads:
                thread.join(_CLEANS_UP_WITHIN_S)
        if self._error is not None:
            raise self._error

    def _go_on(self) -> None:
        """Start the next node that is ready, if there is a place for it; end where none is left.

        Only one: it has the next turn, and says `_go_on` itself. The most urgent one begins; of
        equally urgent ones the first in topological order.
        """
        if self._error is None and not self._stopped and len(self._under_way) < self._most:
            ready = [name for name in self._waiting if not self._missing[name]]
            if ready:
                name = max(ready, key=self._urgency.__getitem__)
                node = self._waiting.pop(name)
                # A daemon: Ctrl-C doesn't wait for what a node's thread waits for.
                thread = threading.Thread(target=self._launch, args=(node,), name=name, daemon=True)
                self._under_way.add(name)
                self._threads.append(thread)
                thread.start()
        if not self._under_way:
            self._for_main.put(None)

    def _launch(self, node: pipeline_pb2.PipelineNode) -> None:
        name = node.node_info.id
        with self._turn:
            logging.info(STARTED, name)
            try:
                self._launcher(node).launch()
                logging.info(FINISHED, name)
            except BaseException as error:
                logging.exception(FAILED, name)
                self._error = self._error or error
            self._under_way.remove(name)
            for missing in self._missing.values():
                missing.discard(name)
            self._go_on()

    def _launcher(self, node: pipeline_pb2.PipelineNode) -> launcher.Launcher:
        name = node.node_info.id
        return launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(self._connection),
            pipeline_info=self._pipeline.pipeline_info,
            pipeline_runtime_spec=self._pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(self._deployment, name),
            custom_executor_operators=self._operators(name),
        )

    def _operators(self, name: str) -> Mapping[Any, type]:
        return {
            spec: self._operator(name, kind, operator)
            for kind, (spec, operator) in OPERATORS.items()
        }

    def _operator(self, name: str, kind: str, operator: Any) -> type:
        """Derive TFX's operator of a kind of executors: in one of the run's places, out of turn."""
        turn, places, go_on = self._turn, self._places, self._go_on

        class Operator(operator):
            def run_executor(
                self, execution_info: data_types.ExecutionInfo
            ) -> execution_result_pb2.ExecutorOutput:
                here = super().run_executor
                go_on()
                turn.release()
                try:
                    output = places.execute(
                        name, lambda: here(execution_info), lambda: self._call(execution_info)
                    )
                finally:
                    turn.acquire()
                if isinstance(output, bytes):
                    return execution_result_pb2.ExecutorOutput.FromString(output)
                return output

            def _call(self, execution_info: data_types.ExecutionInfo) -> Call:
                spec = self._executor_spec.SerializeToString()
                return kind, spec, execution_info.to_proto().SerializeToString()

        return Operator
