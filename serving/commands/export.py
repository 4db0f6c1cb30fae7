"""`cxr export-openvino`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.commands.options import SERVING_FOLDER, ModelDir, prepare


def export_openvino(
    output: Annotated[Path, typer.Option(help="Folder for OpenVINO Model Server to serve.")],
    model_dir: ModelDir = SERVING_FOLDER,
) -> None:
    """Write the networks of pushed models as OpenVINO IR, for OpenVINO Model Server."""
    prepare()
    from serving.openvino_export import NotExported, export_models, raise_for

    results = []
    for result in export_models(model_dir, output):
        results.append(result)
        if not isinstance(result, NotExported):
            typer.echo(f"{result.model}: {result.folder}{'' if result.new else ' (unchanged)'}")
    raise_for(results)
