"""The compiled IR of two configurations, kept beside the tests so that a review sees a change.

python -m tests.pipeline.kubeflow.golden_ir      write both anew
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from common.runtime import prepare_environment
from pipeline.config.pipeline_config import load_config

FOLDER: Final = Path(__file__).parent / "golden"
# Digests of code, and versions of what is installed, say nothing of the IR.
_DIGEST: Final = re.compile(r"\b[0-9a-f]{64}\b")
_VERSION: Final = re.compile(r"\b\d+\.\d+\.\d+(-\d+)?(-[0-9a-f]{11})?([-+a-z/0-9.]*)?\b")
# Of TFDV's options, as JSON; the TFDV of TFX 1.21 has it no more.
_ONLY_IN_1_16: Final = '"_slice_sqls": null, '
CONFIGURATIONS: Final[dict[str, dict[str, Any]]] = {
    "small": {
        "preset": "demo",
        "data": {"dir": "elsewhere"},
        "backbones": ["vgg16"],
        "kubeflow": {"data": "gs://bucket/data"},
    },
    "full": {
        "preset": "demo",
        "data": {"dir": "spans/{SPAN}", "slice_columns": ["scanner"], "max_drift": 0.2},
        "tuning": {"mode": "search"},
        "gate": {"few_patients": "refuse", "slices": [{"feature": "sex", "min_accuracy": 0.5}]},
        "infra_validation": {"mode": "embedded"},
        "kubeflow": {
            "data": "s3://bucket/data/{SPAN}",
            "metadata": "s3://bucket/table.csv",
            "root": "s3://bucket/artifacts",
            "serving": "s3://bucket/serving",
            "pushed": "s3://bucket/pushed",
            "data_version": "2026-11",
            "retries": 2,
            "resources": {
                "default": {"cpu": 2, "memory": "8Gi"},
                "Featurizer": {"accelerator": "nvidia.com/gpu"},
            },
            "volumes": [{"claim": "models", "mount_path": "/mnt"}],
            "secrets": [{"secret": "s3", "key": "id", "variable": "AWS_ACCESS_KEY_ID"}],
        },
    },
}


def compiled(name: str, folder: Path) -> str:
    """One of them as YAML, without digests and versions.

    Args:
        name: of CONFIGURATIONS.
        folder: for the configuration's file.
    """
    prepare_environment()
    from pipeline.kubeflow.compiler import compile_pipeline

    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(CONFIGURATIONS[name]))
    documents = compile_pipeline(load_config(file))
    # Before the lines are broken: versions differ in length.
    return yaml.safe_dump_all(map(_plain, documents), sort_keys=True, width=100)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        value = value.replace(_ONLY_IN_1_16, "")
        return _VERSION.sub("VERSION", _DIGEST.sub("DIGEST", value))
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    """Writes both."""
    import tempfile

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in CONFIGURATIONS:
            (FOLDER / f"{name}.yaml").write_text(compiled(name, Path(folder)))


if __name__ == "__main__":
    main()
