"""Dates moved by whole days, and ages in years.

Whole days: intervals stay, in days between dates, and in seconds within a day.
"""

from __future__ import annotations

import datetime
import re
from typing import Final

# From this age on, all are one: the oldest are few, and an exact age tells who they are.
POOLED: Final = 90
_DATE = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})")
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.IGNORECASE)
_DAYS: Final = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


def moved_date(value: str, days_back: int) -> str | None:
    """Move a date (DA; also with the points of older files) back.

    Returns:
        YYYYMMDD; an empty value as it is; None: it is no date that can be moved.
    """
    date = _parsed(value.strip(" \0"))
    if not value.strip(" \0"):
        return ""
    if date is None or date.toordinal() <= days_back:
        return None
    return _written(date - datetime.timedelta(days=days_back))


def moved_datetime(value: str, days_back: int) -> str | None:
    """Move a date with a time (DT) back; the time and the offset from UTC stay.

    Returns:
        The same, moved; an empty value as it is; None: it is none that can be moved, a bare year
        or month for one.
    """
    value = value.strip(" \0")
    if not value:
        return ""
    time = value[8:]
    if time and re.fullmatch(r"(\d{2}){0,3}(\.\d{1,6})?([+-]\d{4})?", time) is None:
        return None
    date = moved_date(value[:8], days_back)
    return date + time if date else None


def whole_years(age: str) -> str | None:
    """Turn an age (AS) into years; 90 and more are 090Y.

    Returns:
        Such as 056Y; an empty value as it is; None: it is no age.
    """
    if not age.strip(" \0"):
        return ""
    found = _AGE.fullmatch(age.strip(" \0"))
    if found is None:
        return None
    number, unit = int(found[1]), found[2].upper()
    years = number if unit == "Y" else int(number * _DAYS[unit] / _DAYS["Y"])
    return _age(years)


def age_between(birth: str, day: str) -> str | None:
    """Work out the age in years on a day; None where either is no date, or they are swapped."""
    born, then = _parsed(birth.strip(" \0")), _parsed(day.strip(" \0"))
    if born is None or then is None or then < born:
        return None
    return _age(then.year - born.year - ((then.month, then.day) < (born.month, born.day)))


def _age(years: int) -> str:
    return f"{min(years, POOLED):03}Y"


def _parsed(value: str) -> datetime.date | None:
    found = _DATE.fullmatch(value)
    if found is None:
        return None
    try:
        return datetime.date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def _written(date: datetime.date) -> str:
    # strftime("%Y") writes the year 999 as such, without a zero in front.
    return f"{date.year:04}{date.month:02}{date.day:02}"
