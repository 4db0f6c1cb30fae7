"""The component's execution properties, parsed and checked in one place.

Messages name a setting as the pipeline's configuration does (`data.dir`), because its
author reads them; what only a caller in Python can get wrong has the argument's name.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Final, TypedDict

from common.errors import InputError
from models.rendering import Rendering
from schema import contract
from schema.table import TableColumn, from_json

INPUT_FINGERPRINT = "input_fingerprint"
DEFAULT_TEST_FRACTION = "0.2"
DEFAULT_EVAL_FRACTION = "0.3"
# What says the class of an image: its folder, or a row of the table; AUTO is the table only where
# no class has a folder, and the table has a column of labels.
AUTO: Final = "auto"
FOLDERS: Final = "folders"
TABLE: Final = "table"
LAYOUTS: Final = (AUTO, FOLDERS, TABLE)
# Labels of a class that are no words: an empty cell, and any cell that no other class has.
EMPTY_LABEL: Final = ""
ANY_LABEL: Final = "*"


class ClassSpec(TypedDict, total=False):
    """One class as the configuration gives it: its name, its folders' names and its labels."""

    name: str
    folders: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True)
class ClassFolders:
    """A class, the sub-folders of the data folder that may hold its images, and its labels.

    Attributes:
        name: a label, too.
        folders: labels, too; none are needed where a table says the classes.
        labels: further words of a table that mean the class; EMPTY_LABEL and ANY_LABEL among them
            mean what they say.
    """

    name: str
    folders: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """All that a table may call the class."""
        return (self.name, *self.folders, *self.labels)

    def accepts_label(self, label: str) -> bool:
        """Return whether `label` (a metadata cell) can mean this class, in any case and form."""
        return bool(label) and plain(label) in set(map(plain, self.words))


@dataclass(frozen=True)
class Layout:
    """The way in which images, classes and table belong together.

    Attributes:
        kind: one of `LAYOUTS`.
        columns: our name of a column (`contract.OWN_COLUMNS`) -> its name in the table, where that
            is none of `columns.KNOWN_NAMES`, or not the first of them.
        views: of the images that are taken, as the table has them, in any case; all where empty.
            Only where a table says the classes.
    """

    kind: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """The limits at which an image is unusable, and at which there are too many such images.

    Attributes:
        max_bad_fraction: 0..1, share of candidate images that may be unusable.
        max_unmatched_fraction: 0..1, share of a table's rows, and of the images that it is about,
            that may find no partner.
        max_pixels: largest width × height that is decoded.
        min_side: smallest usable width and height, pixels.
        bits_stored: 9..15, of the detector: unscaled 16-bit images are scaled by it; they are
            unusable where 0.
        dicom_window: as `models.rendering.Rendering` has it.
        dicom_percentile: likewise.
    """

    max_bad_fraction: float = 0.05
    max_unmatched_fraction: float = 0.05
    max_pixels: int = contract.MAX_PIXELS
    min_side: int = 32
    bits_stored: int = 0
    dicom_window: int = 1
    dicom_percentile: float = 0.0

    @property
    def rendering(self) -> Rendering:
        """The choices that DICOM's standard leaves open."""
        return Rendering(self.dicom_window, self.dicom_percentile)


@dataclass(frozen=True)
class SpanFolder:
    """The folder of the images of one span.

    Attributes:
        number: of the span.
        folder: that holds its class folders, relative to the data folder, "/" separated; the
            paths of its images start with it.
        metadata_csv: path of its metadata; None reads metadata.csv in the folder if it is there.
        taken: whether its images are used; those of the others only fix patients' places.
    """

    number: int
    folder: str
    metadata_csv: str | None = None
    taken: bool = True


@dataclass(frozen=True)
class Settings:
    """Everything the driver and the executor need to know.

    Attributes:
        spans: in the order of their numbers; none where `data_dir` itself has the class folders.
        splits_dir: where ServingPusher keeps the places that earlier runs gave; None
            where nothing does.
        follow_links: also symbolic links that lead out of the data folder.
        layout: what says the class of an image, and how the table's columns are called.
        table: columns that models take.
    """

    data_dir: str
    metadata_csv: str | None
    classes: tuple[ClassFolders, ...]
    seed: int
    limits: Limits
    test_fraction: Fraction
    eval_fraction: Fraction
    columns: tuple[str, ...] = ()
    spans: tuple[SpanFolder, ...] = ()
    splits_dir: str | None = None
    follow_links: bool = False
    layout: Layout = field(default_factory=Layout)
    table: tuple[TableColumn, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(entry.name for entry in self.classes)

    def folders_of(self, label: str) -> tuple[str, ...]:
        """Name the folders of the class that a label means; none where it is no class."""
        return next((c.folders for c in meant(self.classes, label)), ())


def plain(name: str) -> str:
    """Return a name without regard to case and Unicode's normal form."""
    return unicodedata.normalize("NFC", name).casefold()


def meant(classes: Sequence[ClassFolders], label: str) -> list[ClassFolders]:
    """Find the classes that a label can mean: the one called so, else all that accept it."""
    if not label:
        return []
    exact = [each for each in classes if each.name == label or label in each.labels]
    return exact or [each for each in classes if each.accepts_label(label)]


def meant_by_any(classes: Sequence[ClassFolders], *, empty: bool) -> list[ClassFolders]:
    """Find the classes of a cell that no class has as a word.

    Args:
        classes: of the run.
        empty: the cell is, or it says that nothing is known.
    """
    return [each for each in classes if (EMPTY_LABEL if empty else ANY_LABEL) in each.labels]


def to_json(value: object) -> str:
    """Serialize with sorted keys, so that equal settings give equal cache keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def limits_to_json(limits: Mapping[str, float] | None) -> str:
    """Fill in the defaults and serialize.

    Raises:
        InputError: an unknown key or a value out of range.
    """
    return to_json(asdict(_parse_limits(limits or {})))


def parse_settings(properties: Mapping[str, Any]) -> Settings:
    """Read the execution properties that `RadiographExampleGen` wrote.

    Raises:
        InputError: a property is missing, malformed or out of range.
    """
    data_dir = properties.get("data_dir")
    if not data_dir:
        raise InputError("data.dir is empty: give the folder that holds the class folders.")
    layout = _parse_layout(_load("layout", properties.get("layout") or "{}"))
    test_fraction = _parse_fraction("data.test_fraction", properties.get("test_fraction"))
    eval_fraction = _parse_fraction("data.eval_fraction", properties.get("eval_fraction"))
    spans = _parse_spans(_load("spans", properties.get("spans") or "[]"))
    return Settings(
        data_dir=str(data_dir),
        metadata_csv=properties.get("metadata_csv") or None,
        classes=_parse_classes(_load("classes", properties.get("classes")), layout.kind),
        seed=int(properties["seed"]),
        limits=_parse_limits(_load("limits", properties.get("limits"))),
        test_fraction=test_fraction,
        eval_fraction=eval_fraction,
        columns=_parse_columns(_load("columns", properties.get("columns") or "[]")),
        spans=spans,
        splits_dir=properties.get("splits_dir") or None,
        follow_links=bool(properties.get("follow_links")),
        layout=layout,
        table=from_json(properties.get("table")),
    )


def classes_to_json(classes: Sequence[ClassSpec]) -> str:
    """Serialize; labels only where there are some, so that cache keys without them stay."""
    return to_json(
        [
            {
                "name": entry["name"],
                "folders": list(entry.get("folders", ())),
                **({"labels": list(labels)} if (labels := entry.get("labels")) else {}),
            }
            for entry in classes
        ]
    )


def layout_to_json(layout: Layout | None) -> str | None:
    """Serialize what differs from the default; None where nothing does."""
    given = asdict(layout or Layout())
    default = asdict(Layout())
    changed = {name: value for name, value in given.items() if value != default[name]}
    return to_json(changed) if changed else None


def claimed_twice(classes: Sequence[ClassFolders]) -> str | None:
    """Find a label of one class that may mean another class, too; None where there is none."""
    for entry in classes:
        others = {plain(word) for other in classes if other is not entry for word in other.words}
        for label in entry.labels:
            if plain(label) in others:
                return label
    return None


def _parse_layout(raw: object) -> Layout:
    if not isinstance(raw, Mapping):
        raise InputError("layout must be a mapping of Layout's fields.")
    try:
        layout = Layout(**{**raw, "views": tuple(raw.get("views", ()))})
    except TypeError as error:
        raise InputError(f"layout must have Layout's fields: {error}.") from error
    if layout.kind not in LAYOUTS:
        raise InputError(f"data.layout is {layout.kind!r}: it must be {' or '.join(LAYOUTS)}.")
    for ours in layout.columns:
        if ours not in contract.OWN_COLUMNS:
            raise InputError(
                f"data.columns: {ours!r} is none of {', '.join(contract.OWN_COLUMNS)}."
            )
    if layout.views and layout.kind != TABLE:
        raise InputError("data.views: needs data.layout: table.")
    return layout


def spans_to_json(spans: Sequence[SpanFolder]) -> str | None:
    """Serialize; None where there are none, so that a plain folder's cache key has no such part."""
    return to_json([asdict(span) for span in spans]) if spans else None


def _parse_spans(raw: object) -> tuple[SpanFolder, ...]:
    try:
        spans = tuple(SpanFolder(**entry) for entry in raw)  # type: ignore[attr-defined]
    except TypeError as error:
        raise InputError(f"spans must be a list of SpanFolder's fields: {error}.") from error
    numbers = [span.number for span in spans]
    if numbers != sorted(set(numbers)):
        raise InputError(f"spans: the numbers {numbers} must rise.")
    if spans and not any(span.taken for span in spans):
        raise InputError("spans: at least one must be taken.")
    return spans


def _load(name: str, text: object) -> Any:
    try:
        return json.loads(str(text))
    except ValueError as error:
        raise InputError(f"{name} is not JSON: {error}.") from error


def _parse_fraction(name: str, text: object) -> Fraction:
    try:
        value = Fraction(str(text))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f'{name} is {text!r}: give a decimal string such as "0.2".') from error
    if not 0 < value < 1:
        raise InputError(f"{name} is {text}: it must lie between 0 and 1, both excluded.")
    return value


def _parse_classes(raw: object, layout: str) -> tuple[ClassFolders, ...]:
    if not isinstance(raw, list) or len(raw) < 2:
        raise InputError(
            "data.classes must be a list of at least two classes with name and folders."
        )
    classes: list[ClassFolders] = []
    owner: dict[str, str] = {}
    for entry in raw:
        parsed = _parse_class(entry, layout)
        if parsed.name in {other.name for other in classes}:
            raise InputError(f"data.classes: the name {parsed.name!r} is given twice.")
        for folder in parsed.folders:
            first = owner.setdefault(plain(folder), parsed.name)
            if first != parsed.name:
                raise InputError(
                    f"data.classes: the folder {folder!r} belongs to both {first!r} and "
                    f"{parsed.name!r}; a folder can feed one class only."
                )
        classes.append(parsed)
    if label := claimed_twice(classes):
        raise InputError(f"data.classes: the label {label!r} may mean two classes.")
    return tuple(classes)


def _parse_columns(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise InputError("columns must be a list of names.")
    columns = tuple(name.strip().casefold() for name in raw)
    for column in columns:
        if not column or column in contract.OWN_COLUMNS:
            raise InputError(f"data.slice_columns: {column!r} is not the name of a further column.")
        if columns.count(column) > 1:
            raise InputError(f"data.slice_columns: {column!r} is given twice.")
    return columns


def _parse_class(entry: object, layout: str) -> ClassFolders:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise InputError(f"data.classes: {entry!r} has no name.")
    name = entry["name"].strip()
    folders = entry.get("folders")
    if not name or not isinstance(folders, list) or not (folders or layout == TABLE):
        raise InputError(f"data.classes: {name!r} needs a name and at least one folder name.")
    for folder in folders:
        if not isinstance(folder, str) or not folder.strip("./ ") or "/" in folder:
            raise InputError(
                f"data.classes: {folder!r} of {name!r} is not the name of a direct sub-folder."
            )
    return ClassFolders(name, tuple(folders), _parse_labels(name, entry.get("labels", [])))


def _parse_labels(name: str, raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(map(_is_label, raw)):
        raise InputError(f"data.classes: labels of {name!r} must be a list of words of the table.")
    return tuple(label.strip() for label in raw)


def _is_label(word: object) -> bool:
    return isinstance(word, str) and (word == EMPTY_LABEL or bool(word.strip()))


def _parse_limits(raw: object) -> Limits:
    if not isinstance(raw, Mapping):
        raise InputError("limits must be a mapping.")
    unknown = sorted(set(raw) - set(asdict(Limits())))
    if unknown:
        raise InputError(f"limits: unknown key {unknown[0]!r}.")
    limits = Limits(**raw)
    for name, value in asdict(limits).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"data.{name} is {value!r}: it must be a number.")
    for name in ("max_bad_fraction", "max_unmatched_fraction"):
        if not 0 <= getattr(limits, name) <= 1:
            raise InputError(
                f"data.{name} is {getattr(limits, name)}: it must lie between 0 and 1."
            )
    for name in ("max_pixels", "min_side"):
        if getattr(limits, name) < 1:
            raise InputError(f"data.{name} is {getattr(limits, name)}: it must be at least 1.")
    try:
        _ = limits.rendering
    except ValueError as error:
        raise InputError(f"data.{error}.") from error
    return limits
