"""`cxr dicom-node`."""

from __future__ import annotations

import datetime
import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError
from serving.commands.options import NetworkCache, cache_folder


def dicom_node(
    config: Annotated[
        Path, typer.Option(help="The node's settings, YAML: docs/dicom.md has an example.")
    ],
    status: Annotated[
        bool, typer.Option("--status", help="Count what is in the queue, as JSON, and end.")
    ] = False,
    list_failures: Annotated[
        bool, typer.Option("--list-failures", help="List what failed, with the reason, and end.")
    ] = False,
    retry_failures: Annotated[
        bool, typer.Option("--retry-failures", help="Have refused results sent again, and end.")
    ] = False,
    network_cache: NetworkCache = None,
) -> None:
    """Take radiographs from a PACS, classify each once, and hand reports and heat maps back."""
    from serving.dicom_node import queue_file
    from serving.dicom_node.settings import read_settings

    if status + list_failures + retry_failures > 1:
        raise InputError("give one of --status, --list-failures and --retry-failures.")
    settings = read_settings(config)
    if status:
        typer.echo(json.dumps(queue_file.counts(settings.queue)))
    elif list_failures:
        failed = queue_file.failures(settings.queue)
        for one in failed:
            when = datetime.datetime.fromtimestamp(one.when).isoformat(" ", "seconds")
            kept = " (results kept: --retry-failures)" if one.retriable else ""
            typer.echo(f"{when}  {one.uid}  from {one.sender}: {one.why}{kept}")
        typer.echo(f"{len(failed)} failed")
    elif retry_failures:
        typer.echo(f"{queue_file.retry_failures(settings.queue)} will be sent again")
    else:
        quiet_logs()
        from serving.dicom_node.answering import load_model
        from serving.dicom_node.node import Node

        Node(settings, lambda: load_model(settings, cache_folder(network_cache))).run()


def quiet_logs() -> None:
    """Log what the node does, and nothing of a library that may quote a patient's data."""
    import warnings

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # INFO and DEBUG of these tell every message and its elements.
    for name in ("pynetdicom", "dicomweb_client", "urllib3", "requests", "highdicom", "retrying"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # Its warnings quote the values that it wonders about.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    for module in ("pydicom", "highdicom", "pynetdicom"):
        warnings.filterwarnings("ignore", module=module)
