"""Runs the DAG on this machine, in this process and some beside it.

`cxr run` calls `run`. For TFX's own command line this file is the pipeline definition:
`tfx pipeline create --engine=local --pipeline_path=pipeline/local_runner.py` and
`tfx run create --engine=local --pipeline_name=cxr-tfx`; the configuration is the YAML
file that $CXR_CONFIG names, else `cxr.yaml` in the working folder.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.runtime import (
    make_folder,
    prepare_environment,
    quick_tfx_import,
    scratch_below,
)
from pipeline.beam.options import beam_plan
from pipeline.beam.reach import Services, require_services, what_is_gone
from pipeline.beam.watch import watching
from pipeline.config.layout import OutputLayout
from pipeline.config.pipeline_config import PipelineConfig, check_inputs, load_config
from pipeline.local.exclusive import alone_in
from pipeline.local.folder.inventory import update_inventory
from pipeline.local.folder.opening import begin_folder, open_folder
from pipeline.local.folder.vanishing import (
    Held,
    damaged_files,
    holding,
    missing_artifact,
    missing_data,
    missing_output,
)
from pipeline.local.progress import Listener, NodeClock, log_at_info
from pipeline.local.recording import Recording, code_of, new_record
from pipeline.local.room import Room
from pipeline.local.side_by_side.places import Spares
from pipeline.local.side_by_side.process import reason_of
from pipeline.resolve.columns import resolve_columns
from pipeline.resolve.docker import require_images
from pipeline.resolve.engine import resolve_engine
from pipeline.resolve.processes import resolve_processes
from pipeline.resolve.signing import resolve_signer
from pipeline.resolve.spans import resolve_spans
from pipeline.resolve.weights import found_weights, resolve_weights


class NodeFailedError(RuntimeError):
    """A node failed; its own error is the cause."""


def run(config: PipelineConfig, listener: Listener) -> dict[str, Any] | None:
    """Build the DAG and run it.

    Args:
        config: the checked configuration.
        listener: told of warnings and of each node.

    Returns:
        The summary that is written to `summary.json`; None where nothing was run, as when
        `tfx pipeline create` only wants to see the DAG.

    Raises:
        InputError: bad input, weights or data that break the schema; an output folder
            that can't be written to, or whose metadata store can't be used; images, output or
            Beam's services that are not there, or went meanwhile.
        NodeFailedError: anything else, naming the node.
    """
    check_inputs(config)
    layout = OutputLayout(config.output)
    make_folder(layout.root)
    with scratch_below(layout.root), Spares() as spares:
        return _run(config, layout, listener, spares)


def _run(
    config: PipelineConfig, layout: OutputLayout, listener: Listener, spares: Spares
) -> dict[str, Any] | None:
    prepare_environment()
    started, begun = datetime.now().astimezone(), time.monotonic()
    # Before TFX is imported, which takes seconds: what is wrong with the folder, services that
    # aren't there, missing columns and weights are said at once.
    open_folder(layout, listener.warn)
    services = require_services(beam_plan(config))
    if config.tuning.mode == "reuse":
        from pipeline.local.tuning_results import check_reusable

        check_reusable(config, layout)
    spans = resolve_spans(config.data)
    config = resolve_columns(config, spans)
    found = found_weights(config)
    require_images(config.infra_validation)
    config = resolve_signer(config)

    first = "tfx" not in sys.modules
    with quick_tfx_import():
        from models.feature_store.store import point_to
        from pipeline.dag.graph import create_pipeline
        from pipeline.local.report_folder import publish_report
        from pipeline.local.side_by_side.runner import SideBySideRunner
        from pipeline.local.summary import read_run, summarize, write_summary

    # Both look for a GPU, which takes TensorFlow. OpenVINO comes behind the forks: it has threads.
    processes = resolve_processes(config)
    if first:
        spares.fork(processes)
    # Behind the forks, too: a download takes Keras, and with it TensorFlow.
    weights = resolve_weights(config, listener.warn, found)
    engine = resolve_engine(config.featurizer, listener.warn)
    pipeline = create_pipeline(config, weights, engine, spans=spans)

    def look() -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        outputs = read_run(layout)
        seconds = {**clock.seconds, "total": time.monotonic() - begun}
        summary = summarize(config, outputs, seconds)
        return summary, outputs.places(layout)

    record = new_record(config, layout, started, weights=weights, engine=engine, spans=spans)
    recording = Recording(layout, record, code_of(pipeline), listener, look)
    clock = NodeClock(recording, Room(layout.root, config).check)
    begin_folder(layout)
    point_to(str(layout.features), config.featurizer.store)
    with holding(layout) as held, recording:
        try:
            with watching(services):
                run_observed(lambda: SideBySideRunner(processes, spares).run(pipeline), clock)
            if not record.nodes:
                return None
            summary = recording.look()
            write_summary(layout, summary)
            publish_report(layout, record)
        except Exception as error:
            # It would tell of an earlier run.
            layout.summary.unlink(missing_ok=True)
            raise _reason(error, config, layout, held, clock, services, listener) from error
    _take_down(layout, read_run(layout).uris, listener)
    return summary


def _reason(
    error: Exception,
    config: PipelineConfig,
    layout: OutputLayout,
    held: Held,
    clock: NodeClock,
    services: Services | None,
    listener: Listener,
) -> Exception:
    """Find what the user is told: that something went or is damaged, or else the error itself.

    What the run finished is taken down.
    """
    import ml_metadata as mlmd

    from pipeline.local.summary import read_run

    node = clock.running
    gone = missing_output(held, node)
    if gone:
        return gone
    try:
        uris = read_run(layout).uris
    except (RuntimeError, mlmd.errors.StatusError):
        # The store itself is what failed; the next run's first look says how.
        return error
    lost = missing_data(config, node)
    if lost is None and not isinstance(error, InputError):
        lost = (
            what_is_gone(services, node, str(error))
            or missing_artifact(uris, node)
            or damaged_files(layout, uris, node)
        )
    _take_down(layout, uris, listener)
    return lost or error


def _take_down(layout: OutputLayout, uris: Iterable[str], listener: Listener) -> None:
    """Note what the run's files are. That it can't is no reason for the run to fail."""
    try:
        update_inventory(layout, uris)
    except OSError as error:
        listener.warn(
            f"output: {layout.inventory} can't be written ({error}), so damage to its files "
            "will not be noticed."
        )


def run_observed(run_pipeline: Callable[[], Any], clock: NodeClock) -> None:
    """Run a pipeline with a clock listening.

    Args:
        run_pipeline: calls LocalDagRunner, or the runner that stands on it.
        clock: is told of every node.

    Raises:
        InputError: bad input, or data that break the schema.
        NodeFailedError: anything else, naming the node.
    """
    logger = logging.getLogger("absl")
    log_at_info()
    logger.addHandler(clock)
    try:
        run_pipeline()
    except InputError:
        raise
    except Exception as error:
        raise _explained(error, clock.running) from error
    finally:
        logger.removeHandler(clock)


def _explained(error: BaseException, node: str | None) -> Exception:
    """Find the user's own mistake, where one lies beneath; else the node's failure."""
    reason = reason_of(error)
    if isinstance(reason, InputError):
        return reason
    return NodeFailedError(f"{node or 'the runner'} failed: {reason}")


def main() -> None:
    """Run the pipeline for TFX's command line."""
    from pipeline.local.console import Console

    config = load_config(Path(os.environ.get("CXR_CONFIG", "cxr.yaml")))
    console = Console()
    layout = OutputLayout(config.output)
    with alone_in(layout):
        summary = run(config, console)
    if summary is not None:
        console.result(summary, layout)


if __name__ == "__main__":
    main()
