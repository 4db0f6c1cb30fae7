"""A repository whose `cxr` does next to nothing: two commits of it, and images for it.

It is run as the project is: by `python -m pipeline.cli`, and by the script that `make` calls.
"""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any, Final

_CLI: Final = '''
"""Notes each call in the home folder."""
import http.server, json, os, pathlib, signal, sys

MODELS = {models}
KEEPS_NETWORKS = {keeps}


def option(name):
    return sys.argv[sys.argv.index(name) + 1]


def main():
    command = sys.argv[1]
    home, networks = (pathlib.Path(os.environ[name]) for name in ("HOME", "CXR_NETWORK_CACHE"))
    with (home / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({{"argv": sys.argv[1:], "environment": dict(os.environ)}}) + "\\n")
    if command == "run":
        output = pathlib.Path(option("--output"))
        for name in MODELS:
            (output / "serving" / name / "1").mkdir(parents=True, exist_ok=True)
        before = output / "runs"
        runs = before.read_text() + "+" if before.exists() else "run"
        before.write_text(runs)
        (output / "summary.json").write_text(json.dumps({{"seconds": {{"total": 1.0, runs: 1.0}}}}))
    elif KEEPS_NETWORKS:
        networks.mkdir(parents=True, exist_ok=True)
        (networks / "network").write_text("")
    if command == "serve":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/readyz" else 404)
                self.end_headers()
        http.server.HTTPServer(("127.0.0.1", int(option("--port"))), Handler).serve_forever()


if __name__ == "__main__":
    main()
'''
_MAKEFILE: Final = """
BIN := .venv/bin
PHANTOMS := output/phantoms
OUTPUT ?= output/run
.PHONY: setup run
setup:
	false
run: setup
	$(BIN)/cxr run --data "$(PHANTOMS)" --output "$(OUTPUT)"
"""
OLD_MODELS: Final = ("densenet121", "ensemble")
NEW_MODELS: Final = ("densenet121", "ensemble", "fusion")
CLASSES: Final = ("COVID-19", "NORMAL", "Viral Pneumonia")


def repository(folder: Path) -> str:
    """Make it; the checkout is of the later commit.

    Returns:
        The earlier commit.
    """
    (folder / "pipeline").mkdir(parents=True)
    (folder / "pipeline" / "__init__.py").write_text("")
    (folder / "Makefile").write_text(_MAKEFILE)
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "--quiet")
    for models, keeps in ((OLD_MODELS, False), (NEW_MODELS, True)):
        cli = _CLI.format(models=models, keeps=keeps)
        (folder / "pipeline" / "cli.py").write_text(cli)
        git(folder, "add", "--all")
        who = ("-c", "user.name=T", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
        git(folder, *who, "commit", "--quiet", "--message", f"{len(models)} models")
    return git(folder, "rev-parse", "HEAD~1").strip()


def git(folder: Path, *arguments: str) -> str:
    """Ask Git."""
    ran = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return ran.stdout


def radiographs(folder: Path, per_class: int) -> Path:
    """Write files with the names of images, their metadata, and a folder that is no class."""
    rows = []
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            file = f"{name}/{name} ({number}).png"
            (folder / file).write_text(file)
            rows.append({"file": file, "patient_id": f"{name}-{number}"})
    (folder / "tables").mkdir()
    with (folder / "metadata.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, ("file", "patient_id"))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def calls(home: Path) -> list[dict[str, Any]]:
    """Read what a side's `cxr` was called with."""
    return [json.loads(line) for line in (home / "calls.jsonl").read_text().splitlines()]
