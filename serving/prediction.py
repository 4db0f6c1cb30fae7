"""The results of classifying files, by any client: answers, failures, a table, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.errors import InputError
from models.conversion import dicom
from schema import contract
from schema.class_tables import MOST_COLUMNS
from schema.image_names import IMAGE_SUFFIXES, is_image, is_of_the_system, is_skipped_folder
from serving.settings import Limits

if TYPE_CHECKING:
    import numpy as np

# Of the probabilities of many classes, so many are in the table; JSON has all.
_SHOWN: Final = 3
# What the names may have together, to be headings.
_LETTERS: Final = 100
# Of a file; more isn't read, and no server takes more by default.
MOST_BYTES: Final = Limits().body_bytes
_DICOMDIR: Final = "dicomdir"


@dataclass(frozen=True)
class Prediction:
    """The answer for one file.

    Attributes:
        file: that was classified.
        predicted_class: its name.
        probabilities: class name -> probability.
        abstain: whether the model is too unsure, and a person has to look at it.
        heat_map: float32 [256, 256], 0..1: what speaks for the predicted class, and where;
            None where it wasn't asked for.
        explanation: the picture that was made of it.
        dicom: files of the DICOM objects that were made of it.
        domain_reason: one of `contract.DOMAIN_REASONS`: whether the image is one as those of the
            training; None of a model without an input gate.
        columns: of the table that had a value for it, and that the answer is to, too.
    """

    file: Path
    predicted_class: str
    probabilities: Mapping[str, float]
    abstain: bool = False
    heat_map: np.ndarray | None = field(default=None, compare=False, repr=False)
    explanation: Path | None = None
    dicom: tuple[Path, ...] = ()
    domain_reason: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def in_domain(self) -> bool:
        """False where the model's input gate says that the image is none of its kind."""
        return self.domain_reason in (None, contract.DOMAIN_OK)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        answer: dict[str, Any] = {
            "file": str(self.file),
            "predicted_class": self.predicted_class,
            "probabilities": dict(self.probabilities),
            "abstain": self.abstain,
        }
        if self.domain_reason is not None:
            answer[contract.OUTPUT_IN_DOMAIN] = self.in_domain
            answer[contract.OUTPUT_DOMAIN_REASON] = self.domain_reason
        if self.explanation:
            answer["explanation"] = str(self.explanation)
        if self.dicom:
            answer["dicom"] = [str(file) for file in self.dicom]
        return answer


@dataclass(frozen=True)
class Failure:
    """A file without an answer.

    Attributes:
        file: that couldn't be classified.
        why: it couldn't.
    """

    file: Path
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        return {"file": str(self.file), "error": self.why}


Result = Prediction | Failure


def files_in(paths: Sequence[Path]) -> list[Path]:
    """List the files that are meant: those given, and the images below the folders given.

    What is an image there is what training takes for one: no masks, none of a system's own files.
    DICOM files often have no suffix, so they are found by how they begin; a DICOMDIR is no image.

    Raises:
        InputError: a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        below = sorted(
            inner
            for inner in path.rglob("*")
            if _is_image(inner)
            and not any(map(is_skipped_folder, inner.relative_to(path).parts[:-1]))
        )
        if not below:
            raise InputError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
        files += below
    return list(dict.fromkeys(files))


def _is_image(file: Path) -> bool:
    if not file.is_file() or is_of_the_system(file.name):
        return False
    return is_image(file.name, IMAGE_SUFFIXES) or _is_dicom(file)


def _is_dicom(file: Path) -> bool:
    if file.name.casefold() == _DICOMDIR:
        return False
    offset, magic = dicom.MAGIC
    try:
        with file.open("rb") as opened:
            return opened.read(offset + len(magic)).startswith(magic, offset)
    except OSError:
        # Whether it is one can't be known, and its name doesn't say so.
        return False


def read_file(file: Path, max_bytes: int = MOST_BYTES) -> bytes | Failure:
    """Read a file's content, or find out why it can't be read.

    Args:
        file: of an image.
        max_bytes: that it may have; no more is read of a larger one.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(max_bytes + 1)
    except OSError as error:
        return Failure(file, f"can't be read: {error.strerror}")
    if len(content) > max_bytes:
        return Failure(file, f"has more than {max_bytes} bytes, and no image needs as many")
    return content


def print_results(results: Iterable[Result]) -> None:
    """Print a table with a line a file, and below it the files without an answer."""
    from rich.table import Table

    from common.console import open_console

    answers = [result for result in results if isinstance(result, Prediction)]
    console = open_console()
    if not answers:
        return
    classes = list(answers[0].probabilities)
    unsure = any(answer.abstain for answer in answers)
    foreign = any(not answer.in_domain for answer in answers)
    many = len(classes) > MOST_COLUMNS or sum(map(len, classes)) > _LETTERS
    columns = ["probability", "next"] if many else classes
    further = [*(["unsure"] if unsure else []), *(["out of domain"] if foreign else [])]
    table = Table("file", "predicted class", *columns, *further)
    for answer in answers:
        if many:
            (_, first), *others = _largest(answer.probabilities)
            shares = [f"{first:.3f}", ", ".join(f"{name} {p:.3f}" for name, p in others)]
        else:
            shares = [f"{answer.probabilities[name]:.3f}" for name in classes]
        marks = ["yes" if answer.abstain else ""] if unsure else []
        if foreign:
            marks.append("" if answer.in_domain else str(answer.domain_reason))
        table.add_row(str(answer.file), answer.predicted_class, *shares, *marks)
    console.print(table)


def _largest(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda item: -item[1])[:_SHOWN]


def not_explained(model: str) -> InputError:
    """Make the error about a model that was exported before heat maps were."""
    return InputError(
        f"explain: {model} has no signature {contract.SIGNATURE_EXPLAIN!r}; models pushed by an "
        "earlier version have none: run the pipeline again."
    )


def raise_for(results: Sequence[Result]) -> None:
    """Raise an error that says which files have no answer.

    Raises:
        InputError: any has none.
    """
    failures = [result for result in results if isinstance(result, Failure)]
    if failures:
        lines = "".join(f"\n  {failure.file}: {failure.why}" for failure in failures)
        raise InputError(f"{len(failures)} of {len(results)} files have no answer:{lines}")
