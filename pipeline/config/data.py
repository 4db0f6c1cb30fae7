"""The part of the configuration that says which images there are, of which classes."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from common.errors import InputError
from common.strict import Strict
from components.radiograph_example_gen.settings import (
    ANY_LABEL,
    AUTO,
    TABLE,
    ClassFolders,
    ClassSpec,
    Layout,
    claimed_twice,
    plain,
)
from pipeline.config.features import FeatureConfig
from schema import contract
from schema.outcomes import NEVER, why_refused, words_of
from schema.table import TableColumn

# Stands for a span's number in `data.dir` and `data.metadata`.
SPAN: Final = "{SPAN}"


class ClassConfig(Strict):
    """A class, and the folders its images lie in or the labels that a table gives them.

    Attributes:
        name: as it appears in predictions and reports.
        folders: folder names below the data folder; upper and lower case don't matter. They are
            needed unless `data.layout` is `table`.
        labels: words of the table's column `label` that mean the class, beside its name and its
            folders; upper and lower case don't matter. With `data.label`, `""` is an empty cell,
            and `"*"` any cell that no other class has.
    """

    name: str = Field(min_length=1)
    folders: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name != name.strip() or not name.isprintable():
            raise ValueError(f"{name!r}: no blanks around a name, and nothing unprintable")
        return name

    @field_validator("folders")
    @classmethod
    def _check_folders(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        for folder in folders:
            if not folder.strip() or folder in (".", "..") or "/" in folder or "\\" in folder:
                raise ValueError(f"{folder!r} is no name of a folder below data.dir")
        return folders

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        # As cells are read.
        if any(label and not label.strip() for label in labels):
            raise ValueError("a label is blank")
        return tuple(label.strip() for label in labels)


# The paper's order: COVID-19 0, Normal 1, Viral Pneumonia 2.
_PAPER_CLASSES = (
    ClassConfig(name="COVID-19", folders=("COVID-19", "COVID")),
    ClassConfig(name="Normal", folders=("Normal",)),
    ClassConfig(name="Viral Pneumonia", folders=("Viral Pneumonia",)),
)


class DataConfig(Strict):
    """The images: where they are and how they are chosen.

    Attributes:
        dir: the folder with one folder a class; with `{SPAN}` in it, one such folder a span.
        metadata: CSV with a line an image; `metadata.csv` in `dir` where null. It may have
            `{SPAN}` in it, too; one for all spans names images from the span's folder on.
        layout: what says the class of an image: `folders`, or a row of the `table`, wherever the
            image lies below `dir`. `auto` is `table` only where no class has a folder, and the
            table has a column `label`.
        columns: how columns of the table are called, by ours (`file`, `label`, `patient_id`, ...);
            needed only where it is none of the known names (docs/data.md).
        label: the table's column that says the class, where it is none of the known names, such
            as an outcome; `labels` of each class say which cells mean it. Needs `layout: table`.
        features: columns of the table that models take beside the image: a name of yours (small
            letters, digits, `_`) -> what the column is.
        views: values of the table's column `view` that are taken, in any case; all where null.
            Needs `layout: table`.
        window: how many of the latest spans a run takes; all where null.
        span: the last span to take; the latest there is where null.
        max_drift: TFDV's distance, 0..1, between the last span and the one before, beyond
            which nothing is trained; null asks for nothing.
        slice_columns: further columns of the metadata to slice by, in lower case; where null,
            each that has from 2 to 20 different values (`pipeline.resolve.columns` looks).
        classes: two or more, in the order of the class index.
        healthy: the name of the class that is no illness, which the cascade asks for
            first; null where there is none.
        test_fraction: how much of the balanced images of a class is the test split.
        eval_fraction: how much of what the test split leaves is the validation split.
        max_bad_fraction: a larger share of unusable images stops the run.
        max_unmatched_fraction: more rows of the table without an image, or images without a row,
            stop the run.
        follow_links: also symbolic links that lead out of `dir`; those inside are followed anyway.
        max_pixels: an image that claims more is left out unread.
        min_side: an image with fewer pixels on a side is left out.
        bits_stored: bits of the detector, where 16-bit PNGs hold its values as they were: they are
            scaled by it. Where null, such images are left out as bad.
        dicom_window: which of a DICOM's VOI LUTs and windows its grey levels follow, from 1, tables
            first; an image with fewer takes its first. It is pushed beside the model.
        dicom_percentile: of a DICOM without any, so much of the darkest and of the brightest pixels
            is cut off; where null, the whole range of BitsStored is shown. Serving needs the same.
    """

    dir: Path
    metadata: Path | None = None
    layout: Literal["auto", "folders", "table"] = AUTO
    columns: dict[str, str] = Field(default_factory=dict)
    label: str | None = Field(None, min_length=1)
    features: dict[str, FeatureConfig] = Field(default_factory=dict)
    views: tuple[str, ...] | None = Field(None, min_length=1)
    window: int | None = Field(None, ge=1)
    span: int | None = Field(None, ge=0)
    max_drift: float | None = Field(None, gt=0.0, le=1.0)
    slice_columns: tuple[str, ...] | None = None
    classes: tuple[ClassConfig, ...] = _PAPER_CLASSES
    healthy: str | None = "Normal"
    test_fraction: Decimal = Field(Decimal("0.2"), gt=0, lt=1)
    eval_fraction: Decimal = Field(Decimal("0.3"), gt=0, lt=1)
    max_bad_fraction: float = Field(0.05, ge=0.0, le=1.0)
    max_unmatched_fraction: float = Field(0.05, ge=0.0, le=1.0)
    follow_links: bool = False
    max_pixels: int = Field(contract.MAX_PIXELS, ge=1)
    min_side: int = Field(32, ge=1)
    bits_stored: int | None = Field(None, ge=9, le=15)
    dicom_window: int = Field(1, ge=1)
    dicom_percentile: float | None = Field(None, gt=0, lt=50)

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[ClassConfig, ...]) -> tuple[ClassConfig, ...]:
        if len(classes) < 2:
            raise ValueError("at least two classes are needed")
        names = [c.name for c in classes]
        folders = [plain(f) for c in classes for f in c.folders]
        for what, values in (("class name", names), ("folder", folders)):
            twice = sorted({v for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{what} given twice: {', '.join(twice)}")
        entries = [ClassFolders(c.name, c.folders, c.labels) for c in classes]
        if label := claimed_twice(entries):
            raise ValueError(f"the label {label!r} may mean two classes")
        return classes

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        for ours, theirs in columns.items():
            if ours not in contract.OWN_COLUMNS:
                raise ValueError(f"{ours!r} is none of {', '.join(contract.OWN_COLUMNS)}")
            if not theirs.strip():
                raise ValueError(f"the name of the column for {ours!r} is blank")
        names = [plain(theirs.strip()) for theirs in columns.values()]
        for theirs in columns.values():
            if names.count(plain(theirs.strip())) > 1:
                raise ValueError(f"the column {theirs!r} is given twice")
        return columns

    @field_validator("slice_columns")
    @classmethod
    def _check_slice_columns(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if given is None:
            return None
        # As the header is read.
        columns = tuple(name.strip().casefold() for name in given)
        for column in columns:
            if not column:
                raise ValueError("a column's name is blank")
            if column in contract.OWN_COLUMNS:
                raise ValueError(
                    f"{column!r} is none of the further columns: beside these, "
                    f"{', '.join(contract.SLICE_NAMES)} are always sliced by"
                )
            if columns.count(column) > 1:
                raise ValueError(f"{column!r} is given twice")
        return columns

    @field_validator("dir", "metadata")
    @classmethod
    def _check_span(cls, path: Path | None) -> Path | None:
        if "{SPAN:" in str(path):
            raise ValueError(f"write {SPAN}; any number of leading zeros is fine")
        if str(path).count(SPAN) > 1:
            raise ValueError(f"{SPAN} can stand once in a path")
        return path

    @model_validator(mode="after")
    def _check_spans(self) -> Self:
        if not self.in_spans:
            given = [n for n in ("window", "span", "max_drift") if getattr(self, n) is not None]
            given += ["metadata"] if SPAN in str(self.metadata) else []
            if given:
                raise ValueError(f"{given[0]}: needs {SPAN} in data.dir, and {self.dir} has none")
        return self

    @model_validator(mode="after")
    def _check_layout(self) -> Self:
        shared = self.metadata is not None and SPAN not in str(self.metadata)
        if self.layout == TABLE and self.in_spans and shared:
            raise ValueError(
                f"metadata: with layout: {TABLE} and {SPAN} in data.dir, each span has a table of "
                f"its own: write {SPAN} into metadata, or put metadata.csv into each span's folder"
            )
        if self.layout != TABLE:
            if self.views:
                raise ValueError(f"views: needs layout: {TABLE}")
            without = [c.name for c in self.classes if not c.folders]
            if without:
                raise ValueError(
                    f"classes: {without[0]!r} has no folders: name them, or set layout: {TABLE}"
                )
        return self

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if self.label and self.layout != TABLE:
            raise ValueError(f"label: needs layout: {TABLE}")
        if self.label and contract.LABEL_COLUMN in self.columns:
            raise ValueError("label: columns names the label's column, too; leave one out")
        for each in self.classes:
            for word in each.labels:
                if not self.label and word in ("", ANY_LABEL):
                    raise ValueError(
                        f"classes: {word!r} of {each.name!r} needs label, the column's name"
                    )
        return self

    @model_validator(mode="after")
    def _check_features(self) -> Self:
        owner: dict[str, str] = {}
        for name, feature in self.features.items():
            try:
                column = feature.as_column(name)
            except InputError as error:
                raise ValueError(f"features.{name}: {error}") from error
            if why := self._why_no_feature(column, allowed=feature.no_outcome):
                raise ValueError(f"features.{name}: {column.column!r} can't be a feature: {why}")
            first = owner.setdefault(plain(column.column), name)
            if first != name:
                raise ValueError(f"features.{name}: {first} has the column {column.column!r}, too")
        return self

    def _why_no_feature(self, column: TableColumn, *, allowed: bool) -> str:
        """Say why a column can be none, and what to do; empty where it can.

        Args:
            column: of the table.
            allowed: somebody said that it is no outcome.
        """
        theirs = {plain(theirs.strip()): ours for ours, theirs in self.columns.items()}
        own = theirs.get(plain(column.column), plain(column.column))
        if own in NEVER:
            return NEVER[own]
        if self.label and words_of(self.label) == words_of(column.column):
            return "it is the label (data.label)"
        if allowed:
            return ""
        names = (column.column, column.name)
        why = next(filter(None, (why_refused(each, self.label or "") for each in names)), "")
        return why and f"{why}. If it is known before and is neither, say no_outcome: true"

    @model_validator(mode="after")
    def _check_healthy(self) -> Self:
        given = "healthy" in self.model_fields_set and self.healthy is not None
        if given and self.healthy_class is None:
            names = ", ".join(c.name for c in self.classes)
            raise ValueError(f"healthy: {self.healthy!r} is none of the classes {names}")
        return self

    @property
    def healthy_class(self) -> str | None:
        """`healthy`, where the classes hold it."""
        return self.healthy if self.healthy in [c.name for c in self.classes] else None

    @property
    def in_spans(self) -> bool:
        """True where the images come in spans, a folder each."""
        return SPAN in str(self.dir)

    @property
    def class_specs(self) -> list[ClassSpec]:
        """The classes, as RadiographExampleGen takes them."""
        return [{"name": c.name, "folders": c.folders, "labels": c.labels} for c in self.classes]

    @property
    def how_laid_out(self) -> Layout:
        """The layout and the table's columns, as RadiographExampleGen takes them."""
        label = {contract.LABEL_COLUMN: self.label} if self.label else {}
        return Layout(self.layout, {**self.columns, **label}, self.views or ())

    @property
    def table(self) -> tuple[TableColumn, ...]:
        """The columns that models take, as the nodes know them."""
        return tuple(feature.as_column(name) for name, feature in self.features.items())

    @property
    def limits(self) -> dict[str, float]:
        """The limits, as RadiographExampleGen takes them."""
        return {
            "max_bad_fraction": self.max_bad_fraction,
            "max_unmatched_fraction": self.max_unmatched_fraction,
            "max_pixels": self.max_pixels,
            "min_side": self.min_side,
            "bits_stored": self.bits_stored or 0,
            "dicom_window": self.dicom_window,
            "dicom_percentile": self.dicom_percentile or 0.0,
        }
