"""Rows of a table → the images that they speak of, by rules that are tried one after the other."""

from __future__ import annotations

import posixpath
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from common.errors import InputError
from components.radiograph_example_gen.columns import Columns
from components.radiograph_example_gen.discovery import Kind, LeftOut
from components.radiograph_example_gen.listed import Listed
from components.radiograph_example_gen.metadata import Row
from components.radiograph_example_gen.readers import picture_suffixes
from components.radiograph_example_gen.remarks import Remark, some_of
from components.radiograph_example_gen.settings import plain
from schema.image_names import IMAGES_FOLDER

EXACT: Final = "as it stands"
AS_WRITTEN: Final = "without regard to case and normal form"
WITHOUT_SUFFIX: Final = "without its extension"
FEWER_FOLDERS: Final = "with folders in front left out"
BY_CLASS: Final = "by its label's class folder"
AS_A_URL: Final = "by reading the cell as a URL (%20 is a blank)"
_SHOWN: Final = 2


@dataclass(frozen=True)
class Matched:
    """Image path → row, and the rows that were not used.

    Attributes:
        by_path: image -> its row.
        left_out: rows without an image, and rows that say the same as another.
        rows: how many there were.
        by_rule: rule -> rows whose image it found, but for those that are found as they stand.
        remarks: what people should know of it.
        tables: name and columns of each table that is used.
    """

    by_path: Mapping[str, Row]
    left_out: Collection[LeftOut]
    rows: int = 0
    by_rule: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    tables: tuple[tuple[str, Columns], ...] = ()

    @property
    def without_image(self) -> Iterator[LeftOut]:
        """Rows that no image goes by."""
        return (item for item in self.left_out if item.kind is Kind.ROW_WITHOUT_IMAGE)


def match_rows(
    rows: Iterable[Row],
    paths: Iterable[str],
    name: str = "metadata.csv",
    folders_of: Callable[[str], Sequence[str]] = lambda label: (),
) -> Matched:
    """Find the image of every row.

    The key is compared with the relative paths first, then with the relative paths without their
    `images/` folder, then with bare file names. Where that finds nothing, the same is tried without
    regard to case and Unicode's normal form, then without the extension, then with folders in front
    of the key left out. A name that several images go by is looked for in the class folders of the
    row's label. The key is also read as a URL, and without `images/`. What is still not one image
    is none.

    Args:
        rows: of one table; read one at a time.
        paths: of the images, relative to the data folder, "/" separated.
        name: how messages call the table.
        folders_of: label -> names of the folders of its class; none where it is no class.

    Raises:
        InputError: two rows say different things of one image.
    """
    index = Index(paths)
    by_path: dict[str, Row] = {}
    left_out = Listed(in_order=True)
    by_rule: Counter[str] = Counter()
    count = 0
    for row in rows:
        count += 1
        path, rule, several = index.find(row.file, folders_of(row.label))
        if path is None:
            reason = f"{name}, line {row.line}: {_why_none(several)}"
            left_out.add(LeftOut(row.file, Kind.ROW_WITHOUT_IMAGE, reason))
            continue
        if rule != EXACT:
            by_rule[rule] += 1
        first = by_path.setdefault(path, row)
        if first is row:
            continue
        if not first.agrees_with(row):
            raise InputError(
                f"{name}: lines {first.line} and {row.line} contradict each other about "
                f"{path!r}; correct or delete one."
            )
        reason = f"{name}, line {row.line}: says the same as line {first.line}; used once"
        left_out.add(LeftOut(path, Kind.METADATA, reason))
    return Matched(by_path, left_out.done(), count, dict(by_rule))


class Index:
    """Images by what a table may call them."""

    def __init__(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        # Without what is common to all, Windows' way or the Mac's.
        self._exact = [_by(paths, way, str) for way in _WAYS]
        self._plain = [_by(paths, way, plain) for way in _WAYS]
        self._stems = [_by(paths, way, _stem) for way in _WAYS]
        self._folders = {plain(part) for path in paths for part in path.split("/")[:-1]}

    def find(
        self, key: str, class_folders: Sequence[str], *, strict: bool = False
    ) -> tuple[str | None, str, list[str]]:
        """Find the image that goes by a key, the rule that found it, and all that may be meant.

        Args:
            key: a cell of the column `file`.
            class_folders: of the class of the row's label.
            strict: all folders and the extension count where the key has some.
        """
        several: list[str] = []
        for read, whole, its_rule in _readings(key, strict=strict):
            path, rule, more = self._find(read, class_folders, whole=whole, strict=strict)
            several = several or more
            if path is not None:
                return path, its_rule or rule, several
        return None, "", several

    def _find(
        self, key: str, class_folders: Sequence[str], *, whole: bool, strict: bool
    ) -> tuple[str | None, str, list[str]]:
        several: list[str] = []
        for spelled, fewer in _spellings(key, self._folders):
            if fewer and (whole or strict):
                break
            for indexes, change, rule in (
                (self._exact, str, EXACT),
                (self._plain, plain, AS_WRITTEN),
                (self._stems, _stem, WITHOUT_SUFFIX),
            ):
                if rule == WITHOUT_SUFFIX and strict and _stem(spelled) != plain(spelled):
                    continue
                hits = next((i[change(spelled)] for i in indexes if change(spelled) in i), [])
                if len(hits) == 1:
                    return hits[0], FEWER_FOLDERS if fewer else rule, hits
                several = several or hits
        wanted = {plain(folder) for folder in class_folders}
        own = [path for path in several if wanted & set(map(plain, path.split("/")[:-1]))]
        return (own[0], BY_CLASS, several) if len(own) == 1 else (None, "", several)


def _why_none(several: Sequence[str]) -> str:
    if not several:
        return "no image goes by this name"
    return (
        f"{len(several)} images go by this name ({some_of(map(repr, several), _SHOWN)}): write "
        "the path, or name the class in a column 'label'"
    )


def _readings(key: str, *, strict: bool) -> Iterator[tuple[str, bool, str]]:
    """Yield what a key may mean, whether all its folders count, and what the rule is called then.

    A URL is read before folders in front are left out: `Viral%20Pneumonia/1.png` is not the only
    `1.png` that another class may have.
    """
    from_url = _from_url(key)
    if from_url != key:
        yield key, True, ""
        yield from_url, False, AS_A_URL
    yield key, False, ""
    without = _without_images(key)
    if without and not strict:
        yield without, False, FEWER_FOLDERS


def _from_url(key: str) -> str:
    """Return the path in a URL, its signs as they are; other keys may have such signs, too."""
    if ":/" in key:
        key = key.partition("?")[0].partition("#")[0]
    return urllib.parse.unquote(key)


def _whole(path: str) -> str | None:
    return path


def _without_images(path: str) -> str | None:
    folder, base = posixpath.split(path)
    parent, last = posixpath.split(folder)
    return posixpath.join(parent, base) if last.casefold() == IMAGES_FOLDER else None


def _bare(path: str) -> str | None:
    return posixpath.basename(path)


_WAYS: Final = (_whole, _without_images, _bare)


def _by(
    paths: Sequence[str], way: Callable[[str], str | None], change: Callable[[str], str]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        key = way(path)
        if key is not None:
            found[change(key)].append(path)
    return dict(found)


def _stem(text: str) -> str:
    name = plain(text)
    # Endings that are no image's belong to the name ("1.2.840.113").
    return next((name[: -len(end)] for end in picture_suffixes() if name.endswith(end)), name)


def _spellings(key: str, folders: set[str]) -> Iterator[tuple[str, bool]]:
    """Yield the key, and what is left of it without folders in front; whether any was left out.

    The folder in front of the bare name is not left out where it is one of the images' folders:
    `NORMAL/1.png` is not the `1.png` of another class.
    """
    yield key, False
    parts = key.split("/")
    for count in range(1, len(parts)):
        last = plain(parts[count - 1])
        if last in folders and last != IMAGES_FOLDER:
            return
        yield "/".join(parts[count:]), True
