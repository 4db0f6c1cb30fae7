"""The layout of what a run writes: everything lies below one output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schema import contract

PIPELINE_NAME: Final = "cxr-tfx"


@dataclass(frozen=True)
class OutputLayout:
    """Paths below the output folder.

    Attributes:
        root: the output folder, as given.
    """

    root: Path

    @property
    def artifacts(self) -> Path:
        """TFX's pipeline root."""
        return self.root.resolve() / "artifacts"

    @property
    def metadata(self) -> Path:
        """The metadata store, SQLite."""
        return self.root.resolve() / "metadata.sqlite"

    @property
    def features(self) -> Path:
        """The frozen networks' features by what they depend on, or a file that says where."""
        return self.root.resolve() / "features"

    @property
    def inventory(self) -> Path:
        """The file that says what the files of each artifact were when its run ended."""
        return self.root.resolve() / "inventory.json"

    @property
    def damaged(self) -> Path:
        """Artifacts that were set aside because a file of theirs was damaged."""
        return self.root.resolve() / "damaged"

    @property
    def runs(self) -> Path:
        """One folder a run, in it what the run was and came to."""
        return self.root.resolve() / "runs"

    @property
    def serving(self) -> Path:
        """One folder a model name, in it one folder a version."""
        return self.root.resolve() / "serving"

    @property
    def pushed(self) -> Path:
        """One folder a model name, in it, a folder a version, what the version was made with."""
        return self.root.resolve() / "pushed"

    @property
    def report(self) -> Path:
        """The last run's report: index.html, figures, numbers."""
        return self.root.resolve() / "report"

    @property
    def log(self) -> Path:
        """The file with all that TFX, TensorFlow and Beam said in the last run."""
        return self.root.resolve() / "logs" / "run.log"

    @property
    def lock(self) -> Path:
        """The file that a running process holds, and that names it."""
        return self.root.resolve() / "logs" / "run.lock"

    @property
    def summary(self) -> Path:
        """The run's result, for machines."""
        return self.root.resolve() / contract.SUMMARY_FILE
