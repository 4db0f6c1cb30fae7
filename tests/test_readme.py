"""Every command that the README prints is one that something runs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Command -> the file that runs it (or the same with other values), and how it reads there.
RUN_BY = {
    "make run": (".ci/run", "make run"),
    "make test": (".ci/run", "make test"),
    "make run DATA=": (".ci/run", '"DATA=$SHARED/data/radiography"'),
    "make setup": (".ci/run", "make setup"),
    # The flags, by the configuration that they come to; the run itself by .ci/run.
    ".venv/bin/cxr run --data DIR": ("tests/pipeline/test_cli.py", "--min-accuracy"),
    ".venv/bin/cxr run --data '/data/span-{SPAN}'": (
        "tests/pipeline/test_spans.py",
        'data=root / "span-{SPAN}"',
    ),
    ".venv/bin/cxr check --data": ("tests/pipeline/check/test_command.py", '"check", *map('),
    ".venv/bin/cxr config --config": (
        "tests/pipeline/config/test_provenance.py",
        '["config", "--config", str(file)',
    ),
    ".venv/bin/cxr run --tune": ("tests/pipeline/test_tuning_runs.py", '"--tune"'),
    ".venv/bin/cxr runs --output": (
        "tests/pipeline/runs/test_runs_cli.py",
        'cxr("runs", "--output", runs',
    ),
    ".venv/bin/cxr runs diff previous latest --output": (
        "tests/pipeline/runs/test_runs_cli.py",
        'cxr("runs", "diff", "previous", "latest", "--output", runs',
    ),
    ".venv/bin/cxr cache --output": (
        "tests/pipeline/local/folder/test_cache_command.py",
        'cxr("cache", "--output", layout',
    ),
    ".venv/bin/cxr report": ("tests/pipeline/test_report_runs.py", '"report", "--output"'),
    ".venv/bin/cxr study": ("tests/pipeline/study/test_study.py", '["cxr", "study", *arguments]'),
    "make study DATA=": ("tests/scripts/test_makefile.py", '"study", f"DATA={data}"'),
    "source .venv/bin/activate": (".ci/run", "source .venv/bin/activate"),
    "cxr phantoms": ("Makefile", "/cxr phantoms --out"),
    "tfx pipeline create": (".ci/run", "tfx pipeline create --engine=local"),
    "tfx run create": (".ci/run", "tfx run create --engine=local"),
    "tfx pipeline update": (".ci/run", "tfx pipeline update --engine=local"),
    ".venv/bin/cxr serve": (".ci/run", ".venv/bin/cxr serve --model-dir output/demo/serving"),
    ".venv/bin/cxr predict output/phantoms/NORMAL --url": (
        ".ci/run",
        ".venv/bin/cxr predict output/phantoms/NORMAL --url",
    ),
    "curl -s http://127.0.0.1:8501/v1/models/champion": (".ci/run", "/v1/models/champion"),
    "printf": (".ci/run", "| curl -sf -d @-"),
    "make conformance": (".ci/run", "make conformance"),
    "make bench-serving": ("tests/benchmarks/test_serving.py", "served(serving, "),
    ".venv/bin/cxr predict 'output/phantoms/NORMAL/NORMAL (1).png' --explain": (
        "tests/serving/test_explained.py",
        'cxr("predict", files[0], "--explain"',
    ),
    ".venv/bin/cxr predict": (".ci/run", ".venv/bin/cxr predict output/phantoms/NORMAL/*.png"),
    ".venv/bin/cxr kubeflow compile": (
        "tests/pipeline/kubeflow/whole_runs.py",
        '"kubeflow", "compile"',
    ),
    ".venv/bin/cxr kubeflow run-local": (
        "tests/pipeline/kubeflow/test_whole_pipeline.py",
        '"kubeflow", "run-local"',
    ),
    ".venv/bin/cxr kubeflow submit": (
        "tests/pipeline/kubeflow/submit_runs.py",
        "pipeline.kubeflow.submit_command import submit",
    ),
    ".venv/bin/cxr beam portable:": ("tests/pipeline/config/test_beam.py", '["beam", beam]'),
    ".venv/bin/cxr beam worker-pool": (
        "tests/pipeline/beam/test_worker_pool.py",
        '"beam", "worker-pool"',
    ),
    ".venv/bin/cxr doctor": (".ci/run", ".venv/bin/cxr doctor --weights-dir"),
}


def _commands(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip()]


def test_every_command_is_run_somewhere() -> None:
    commands = _commands((ROOT / "README.md").read_text())
    assert len(commands) >= 8
    for command in commands:
        matching = [key for key in RUN_BY if command.startswith(key)]
        assert matching, f"nothing is known to run `{command}`"
        file, text = RUN_BY[max(matching, key=len)]
        assert text in (ROOT / file).read_text(), f"{file} no longer runs `{command}`"


def test_every_link_leads_to_a_file() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
