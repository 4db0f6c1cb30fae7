"""A person's sex and age in a DICOM's header, as tables have them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from models.conversion import converter_of, dicom
from models.deep_images import UnusableImageError
from models.table_values import parse_sex, parse_years

if TYPE_CHECKING:
    from models.conversion.dicom_file import DicomFile

_OLDEST: Final = 120.0
_A_YEAR: Final = 365.25


def sex_and_age(content: bytes) -> dict[str, str | float]:
    """Read what is known of a person.

    Args:
        content: of any image file.

    Returns:
        `sex`, F or M, and `age` in years, as far as the file is a DICOM, and its header says so.
    """
    if converter_of(content) is not dicom:
        return {}
    try:
        file = dicom.opened(content)
    except UnusableImageError:
        # Whoever decodes its pixels says why.
        return {}
    unread: list[str] = []
    sex, age = sex_of(file, unread), age_of(file, unread)
    return {**({"sex": sex} if sex else {}), **({} if age is None else {"age": age})}


def sex_of(file: DicomFile, unread: list[str]) -> str:
    """Read PatientSex: F, M, or empty.

    Args:
        file: whose header.
        unread: gets the names of elements that can't be read, or aren't known here.
    """
    stated = tried(lambda: file.text("PatientSex"), "", "PatientSex", unread)
    sex = parse_sex(stated) or ""
    if stated and not sex:
        unread.append("PatientSex")
    return sex


def age_of(file: DicomFile, unread: list[str]) -> float | None:
    """Read PatientAge in years; where there is none, count from PatientBirthDate.

    Args:
        file: as `sex_of` takes it, like the rest.
        unread: likewise.
    """

    def text(keyword: str) -> str:
        return str(tried(lambda: file.text(keyword), "", keyword, unread))

    stated = text("PatientAge")
    age = parse_years(stated) if stated else None
    if stated and age is None:
        unread.append("PatientAge")
    born, day = day_of(text("PatientBirthDate")), examined(text)
    if age is None and born and day:
        age = float(int((day - born).days / _A_YEAR))
    if age is not None and not 0 <= age <= _OLDEST:
        unread.append("PatientAge")
        return None
    return age


def examined(text: Callable[[str], str]) -> date | None:
    """Return the day of the examination.

    Args:
        text: keyword -> the element's text.
    """
    return day_of(text("AcquisitionDate")) or day_of(text("StudyDate"))


def day_of(text: str) -> date | None:
    """Read a DA (PS3.5, 6.2); None where it is none."""
    digits = text.replace(".", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) if digits else None
    except ValueError:
        return None


def tried(ask: Callable[[], Any], default: Any, keyword: str, unread: list[str]) -> Any:
    """Ask a file for an element; where its value can't be read, note that, and take a default.

    Args:
        ask: the question.
        default: that is returned then.
        keyword: of the element.
        unread: gets it.
    """
    try:
        return ask()
    except UnusableImageError:
        unread.append(keyword)
        return default
