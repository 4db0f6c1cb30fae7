"""Print how much of each room the tests go through, from coverage's JSON report.

    python scripts/coverage_by_room.py REPORT [BEFORE]

With a second report, of an earlier run, each room's difference in points stands beside it, and the
exit status is 1 where a room has less.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# A room is a folder of this depth at most: components/report, pipeline/kubeflow.
_DEPTH: Final = 2
# In points: what the order of threads makes of a line or two.
_NOISE: Final = 0.05

# Covered and all, of lines and then of branches.
Counts = list[int]


def rooms(report: Path) -> dict[str, Counts]:
    """Sum a report by room.

    Args:
        report: what `coverage json` wrote.

    Returns:
        Room -> [lines covered, lines, branches covered, branches]; `all` last.
    """
    found: dict[str, Counts] = defaultdict(lambda: [0, 0, 0, 0])
    for name, file in json.loads(report.read_text())["files"].items():
        summary = file["summary"]
        counts = [
            summary[key]
            for key in ("covered_lines", "num_statements", "covered_branches", "num_branches")
        ]
        room = "/".join(Path(name).parent.parts[:_DEPTH])
        for of in (room, "all"):
            found[of] = [a + b for a, b in zip(found[of], counts, strict=True)]
    return dict(sorted(found.items(), key=lambda item: (item[0] == "all", item[0])))


def percent(covered: int, total: int) -> float:
    """Write a share in percent; of nothing all is covered."""
    return 100 * covered / total if total else 100.0


def main(arguments: Sequence[str]) -> int:
    """Print the table; return the exit status."""
    after, *before = (rooms(Path(name)) for name in arguments)
    print(f"{'room':<40} {'lines':>7} {'branches':>9}" + ("   change in points" if before else ""))
    less = False
    for room, counts in after.items():
        shares = [percent(*counts[:2]), percent(*counts[2:])]
        row = f"{room:<40} {shares[0]:6.1f}% {shares[1]:8.1f}%"
        if before and room in before[0]:
            old = before[0][room]
            changes = [
                new - was
                for new, was in zip(shares, (percent(*old[:2]), percent(*old[2:])), strict=True)
            ]
            less = less or min(changes) < -_NOISE
            row += f"   {changes[0]:+.1f} {changes[1]:+.1f}"
        print(row)
    return int(less)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
