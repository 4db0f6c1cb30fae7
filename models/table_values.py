"""Cells of a table as values that models take; the columns of a pushed model. No TensorFlow."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Final

from common.errors import InputError
from schema import contract
from schema.table import NUMERIC, TableColumn, from_json

Value = float | str
# Cells that say "not known", without regard to case. The list is in docs/data.md, too.
UNKNOWN_VALUES: Final = frozenset(
    {
        *("", contract.UNKNOWN, "unk", "not known", "not available", "not applicable", "missing"),
        *("na", "n/a", "n.a.", "#n/a", "nan", "none", "null", "nil", "-", "--", "–", "?", "."),
        *("<na>", "#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!"),
        *("anonymous", "anonymized", "anonymised", "anonym", "unbekannt"),
    }
)
# As the schema and DICOM's headers have a person's sex; the table's spellings of each.
SEXES: Final = ("F", "M")
_SPELT: Final = {
    **dict.fromkeys(("f", "female", "w", "woman", "weiblich"), "F"),
    **dict.fromkeys(("m", "male", "man", "männlich"), "M"),
}
_LARGEST: Final = 3.4028234663852886e38  # of float32, in which models take numbers
_NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?")
_INFINITY: Final = re.compile(r"([+-]?)inf(inity)?")
# 1,234 may be a thousand or one and a bit; 0,123 and 12,5 can't.
_AMBIGUOUS: Final = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_AGE: Final = re.compile(
    r"(?P<number>\d+(?:[.,]\d+)?) ?(?P<unit>y|yrs?|years?|m|months?|w|weeks?|d|days?)?"
)
_A_YEAR: Final = {"y": 1.0, "m": 12.0, "w": 365.25 / 7, "d": 365.25}


def parse_number(cell: str) -> float | None:
    """Read a number: with a decimal point or comma, or `inf` or `-inf` beyond a detection limit.

    Args:
        cell: stripped.

    Returns:
        None where it is none, has two meanings (1,234), or is too large for float32.
    """
    text = cell.casefold().replace("−", "-")
    if infinity := _INFINITY.fullmatch(text):
        return -math.inf if infinity[1] == "-" else math.inf
    if not text.isascii() or not _NUMBER.fullmatch(text) or _AMBIGUOUS.fullmatch(text):
        return None
    number = float(text.replace(",", "."))
    return number if abs(number) <= _LARGEST else None


def parse_years(text: str) -> float | None:
    """Read a number of years: plain, with a decimal comma, or DICOM's Age String (PS3.5, 6.2)."""
    age = _AGE.fullmatch(text.casefold())
    try:
        number = float(age["number"].replace(",", ".")) if age else float(text)
    except ValueError:
        return None
    if age:
        number /= _A_YEAR[(age["unit"] or "y")[0]]
    return number if math.isfinite(number) and number >= 0 else None


def parse_sex(cell: str) -> str | None:
    """Read a person's sex in one of its known spellings, in any case.

    Args:
        cell: stripped.

    Returns:
        One of `SEXES`; None where it is another word, such as DICOM's O (other).
    """
    return _SPELT.get(cell.casefold())


def advice_on(cell: str) -> str:
    """Say how to write a cell that is no number; empty where nothing is known of it."""
    if _AMBIGUOUS.fullmatch(cell):
        return " that has one meaning: write it without signs between thousands, or with a point"
    if cell.startswith(("<", ">", "≤", "≥")):
        return ": beyond a detection limit, write -inf or inf"
    return ""


def why_beyond(column: TableColumn, number: float) -> str:
    """Say that a number can't be true; empty where it can, or is beyond a detection limit.

    Args:
        column: whose.
        number: of it.
    """
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    if math.isinf(number) or low <= number <= high:
        return ""
    unit = f" {column.unit}" if column.unit else ""
    end = f"below {low:g}" if number < low else f"above {high:g}"
    return f"{column.column} {number:g}{unit} is {end}{unit}: a wrong cell, or another unit"


def missing_value(column: TableColumn) -> float | bytes:
    """Return what stands for a missing value in a signature."""
    return math.nan if column.kind == NUMERIC else b""


def read_columns(version: Path) -> tuple[TableColumn, ...]:
    """Read which columns of the table a model takes.

    Args:
        version: folder of the SavedModel.

    Returns:
        None where it takes none.

    Raises:
        InputError: the file beside the model is damaged.
    """
    file = version / contract.TABLE_FILE
    try:
        return from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} can't be read: {error}") from error
