"""Writes the record of a run as the run goes on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import IO, Any, Final

from common.errors import InputError
from common.runtime import make_folder
from components.versions import versions
from models.weights import WeightsSource
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig
from pipeline.config.provenance import fields
from pipeline.local.exit_codes import (
    EXIT_ERROR,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NONE_BLESSED,
    EXIT_PUSHED,
)
from pipeline.local.progress import How, Listener
from pipeline.resolve.engine import ResolvedEngine
from pipeline.resolve.spans import ResolvedSpans
from pipeline.runs.record import IN_USE_FILE, Node, Record, Result, write_record
from schema import SCHEMA_DIR, SCHEMA_FILE

_EXAMPLE_GEN: Final = "RadiographExampleGen"
# Wherever it stands among the properties: by itself, in custom_config, or in TFMA's configuration.
_CODE: Final = re.compile(r"code_digest\W+([0-9a-f]{64})")

# summary.json as far as it can be told, and node -> output key -> artifact's folder.
Look = Callable[[], tuple[dict[str, Any], Mapping[str, Mapping[str, str]]]]


class Recording:
    """The record of one run, which begins to be written when the first node does.

    Stands between the runner and a listener, and ends with the run, however that ends.

    Attributes:
        record: as it stands.
    """

    def __init__(
        self,
        layout: OutputLayout,
        record: Record,
        code: Mapping[str, str],
        listener: Listener,
        look: Look,
    ) -> None:
        """Prepare the recording; write nothing yet.

        Args:
            layout: of the output folder.
            record: without a node.
            code: node -> digest of its code.
            listener: is told what the recording is told.
            look: says what came of the run so far.
        """
        self.record = record
        self._layout, self._code, self._listener, self._look = layout, code, listener, look
        self._in_use: IO[bytes] | None = None

    def __enter__(self) -> Recording:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write how the run ended, unless nothing was run."""
        record = self.record
        if not record.nodes:
            return
        if error is None:
            record.state = "complete" if record.result.champion else "none blessed"
            pushed = any(model.pushed_to for model in record.result.models.values())
            record.exit = EXIT_PUSHED if pushed else EXIT_NONE_BLESSED
        else:
            self._failed(error)
        self._write()
        if self._in_use is not None:
            self._in_use.close()
            with contextlib.suppress(OSError):
                (self._layout.runs / record.id / IN_USE_FILE).unlink()

    def _failed(self, error: BaseException) -> None:
        record = self.record
        if isinstance(error, Exception):
            record.state, record.error = "failed", str(error)
            record.exit = EXIT_INPUT if isinstance(error, InputError) else EXIT_ERROR
            last = record.nodes[next(reversed(record.nodes))]
            if last.how == "unfinished":
                last.how = "failed"
            self._look_if_possible()
        else:
            record.state, record.exit = "stopped", EXIT_INTERRUPTED

    def look(self) -> dict[str, Any]:
        """Take what came of the run so far into the record.

        Returns:
            The content of `summary.json`.
        """
        summary, outputs = self._look()
        self.record.result = Result.model_validate(summary)
        for node, places in outputs.items():
            if node in self.record.nodes:
                self.record.nodes[node].outputs = dict(places)
        return summary

    def _look_if_possible(self) -> None:
        try:
            self.look()
        # What failed may be just what is looked at.
        except Exception:
            logging.exception("What came of the run so far can't be told.")

    def warn(self, sentence: str) -> None:
        """Hands it on."""
        self._listener.warn(sentence)

    def node_started(self, node: str) -> None:
        """Write down that it is under way."""
        if self._in_use is None:
            self._begin()
        self.record.nodes[node] = Node(how="unfinished", code=self._code.get(node))
        self._write()
        self._listener.node_started(node)

    def node_progressed(self, node: str, what: str, done: int, total: int) -> None:
        """Hands it on."""
        self._listener.node_progressed(node, what, done, total)

    def node_finished(self, node: str, seconds: float, how: How) -> None:
        """Write down what was done for it."""
        done = self.record.nodes[node]
        done.how, done.seconds = how, round(seconds, 3)
        if node == _EXAMPLE_GEN:
            self._look_if_possible()
        self._write()
        self._listener.node_finished(node, seconds, how)

    def node_failed(self, node: str) -> None:
        """Write down that it failed, while others may go on."""
        self.record.nodes[node].how = "failed"
        self._write()
        self._listener.node_failed(node)

    def _begin(self) -> None:
        folder = self._layout.runs / self.record.id
        make_folder(folder)
        self._in_use = (folder / IN_USE_FILE).open("wb")
        fcntl.flock(self._in_use, fcntl.LOCK_EX)

    def _write(self) -> None:
        spent = datetime.now(timezone.utc) - self.record.started
        self.record.seconds = round(spent.total_seconds(), 3)
        try:
            write_record(self.record, self._layout)
        except FileNotFoundError:
            # OUTPUT was taken away, which the run itself will say.
            logging.exception("The record has no folder any more.")
        except OSError as error:
            self.warn(
                f"output: the record of this run can't be written ({error}), so `cxr runs` won't "
                "say how it ended."
            )


def new_record(
    config: PipelineConfig,
    layout: OutputLayout,
    started: datetime,
    *,
    weights: Mapping[str, WeightsSource],
    engine: ResolvedEngine,
    spans: ResolvedSpans | None,
) -> Record:
    """Say what a run is, before its first node.

    Args:
        config: as the run has it, columns included.
        layout: of its output folder.
        started: with the local time zone.
        weights: backbone -> where its weights come from.
        engine: what runs the frozen networks.
        spans: of the images, where they come in spans.
    """
    schema = (config.schema_dir or SCHEMA_DIR) / SCHEMA_FILE
    found: dict[str, Any] = {"engine": f"{engine.name} {engine.version}"}
    for backbone, source in weights.items():
        found[f"weights.{backbone}"] = f"{source.label} {source.sha256}".rstrip()
    found["schema"] = hashlib.sha256(schema.read_bytes()).hexdigest()
    if spans:
        found["spans"] = [span.folder for span in spans.folders if span.taken]
    return Record(
        # No colons, which some file systems don't take.
        id=started.strftime("%Y-%m-%dT%H-%M-%S.%f"),
        started=started,
        output=str(layout.root.resolve()),
        configuration=fields(config),
        found=found,
        versions=versions(),
    )


def code_of(pipeline: Any) -> dict[str, str]:
    """Node -> digest of the code that it depends on, where it has one.

    Args:
        pipeline: `tfx.dsl.Pipeline`.
    """
    digests = {node.id: _CODE.search(str(node.exec_properties)) for node in pipeline.components}
    return {node: digest[1] for node, digest in digests.items() if digest}
