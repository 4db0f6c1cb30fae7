"""Looks through the tree for what must never be committed.

It reads every file that git tracks or would add, and reports: names of package
registries' hosts (locks and docs stay usable behind any mirror), absolute paths of one
machine, files over 1 MB, and data or weights by their suffix.

    python scripts/check_tree.py [ROOT]

Exits with 1 and one line a finding; a line that holds `tree-check: ok` is not looked at.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1_000_000
DATA_SUFFIXES: Final = (
    ".h5",
    ".hdf5",
    ".keras",
    ".onnx",
    ".safetensors",
    ".tflite",
    ".tfrecord",
    ".tfrecord.gz",
    ".tfrecords",
)
EXEMPTION: Final = "tree-check: ok"

# In pieces: this file is searched too.
_HOSTS = (
    ("pypi", "org"),
    ("pypi", "python", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("yarnpkg", "com"),
    ("debian", "org"),
    ("archive", "ubuntu", "com"),
    ("security", "ubuntu", "com"),
    ("proxy", "golang", "org"),
)
_MACHINE_PATHS = (
    ("", "root", ""),
    ("", "work", "main"),
    ("", "work", "shared"),
    ("", "work", ".library"),
    ("", "opt", "wheels"),
    ("", "opt", "pypi"),
    ("", "home", "[a-z]"),
    ("", "Users", "[A-Za-z]"),
)
_HOST = re.compile(
    r"(?<![\w-])(?:[\w-]+\.)*(?:" + "|".join(r"\.".join(host) for host in _HOSTS) + r")(?![\w-])",
    re.IGNORECASE,
)
# Not behind a letter, dot or slash: `pages/home/x` and `https://a.b/home/x` are no machine's,
# but `file://` leads to one.
_PATH = re.compile(
    r"(?:(?<![\w./~}-])|(?<=file://))(?:"
    + "|".join("/".join(path) for path in _MACHINE_PATHS)
    + ")"
)


def list_files(root: Path) -> list[Path]:
    """List the files that git tracks, or would with `git add --all`; deleted ones left out."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout
    names = {name for name in listing.decode(errors="surrogateescape").split("\0") if name}
    return [root / name for name in sorted(names) if (root / name).is_file()]


def find_faults(root: Path, file: Path) -> Iterator[str]:
    """Yield one sentence for each thing in the file that must not be there."""
    name = file.relative_to(root).as_posix()
    if file.name.lower().endswith(DATA_SUFFIXES):
        yield f"{name}: data and weights stay out of the repository; put it beside the checkout."
    size = file.stat().st_size
    if size > MAX_BYTES:
        yield f"{name}: {size:,} bytes; the limit is {MAX_BYTES:,}."
        return
    content = file.read_bytes()
    if b"\0" in content:
        return
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        if EXEMPTION in line:
            continue
        if host := _HOST.search(line):
            yield f"{name}:{number}: names the registry host {host[0]}; leave the host out."
        if path := _PATH.search(line):
            yield f"{name}:{number}: names the machine's own path {path[0]}; use a relative one."


def main(arguments: list[str]) -> int:
    """Print the findings.

    Returns:
        0 where there is none, else 1.
    """
    root = Path(arguments[0] if arguments else ".").resolve()
    files = list_files(root)
    faults = [fault for file in files for fault in find_faults(root, file)]
    for fault in faults:
        print(fault)
    if not faults:
        print(f"check_tree: {len(files)} files, nothing that must not be committed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
