"""Columns that no model may take: outcomes, ids, sources, and what follows from the label.

A model that takes them answers well on the table at hand and is of no use: at the bedside nobody
knows them, or they stand for the answer. They are known by the words of their names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from schema import contract

# Beginnings of words -> why a column that is called so is refused. In the languages of the tables
# that people have; beginnings, since words are inflected.
_OUTCOME: Final = "it sounds like an outcome, which nobody knows when the image is taken"
_TREATED: Final = (
    "it sounds like what was done afterwards, which follows from how ill somebody turned out to be"
)
_FINDING: Final = "it sounds like the finding itself, or like a test that says it"
_ID: Final = "it sounds like an id or a file's name, by which a model can learn images by heart"
_SOURCE: Final = "it sounds like the place an image is from, which may stand for the class"
_WHEN: Final = "it sounds like a date, by which a model can tell patients apart"
_BEGINNINGS: Final[Mapping[str, tuple[str, ...]]] = {
    _OUTCOME: (
        *("death", "dead", "died", "deceas", "mortal", "surviv", "alive", "expired", "outcome"),
        *("prognos", "recover", "readmi", "complication", "verstorben", "tod"),
        *("uberleb", "sterb", "deces", "muert", "fallec"),
    ),
    _TREATED: (
        *("icu", "itu", "intensive", "intensiv", "intubat", "intubier", "extubat", "ventilat"),
        *("beatm", "ecmo", "discharg", "entlass", "admission", "admitted", "hospitali", "aufnahme"),
        *("treatment", "therap", "resuscit", "tracheo", "vasopressor"),
    ),
    _FINDING: (
        *("diagnos", "finding", "findings", "label", "class", "target", "disease", "pathology"),
        *(
            "pcr",
            "covid",
            "sarscov",
            "icd",
            "icd10",
            "befund",
            "groundtruth",
            "truth",
            "prediction",
        ),
    ),
    _ID: (
        *("id", "ids", "uid", "uuid", "mrn", "identifier", "patientid", "imageid", "subjectid"),
        *("studyid", "seriesid", "accession", "file", "filename", "path", "folder", "url", "doi"),
        *("name", "surname", "firstname", "lastname", "sha256", "md5", "hash", "address"),
    ),
    _SOURCE: (
        *("source", "institution", "hospital", "clinic", "site", "center", "centre", "location"),
        *("licence", "license", "dataset", "country", "city", "ward", "station"),
    ),
    _WHEN: ("date", "datetime", "timestamp", "birthdate", "dob", "birthday", "datum"),
}
# These are whole words; as beginnings they'd stand in too many others.
_WHOLE: Final = frozenset(
    {
        *("id", "ids", "uid", "icu", "itu", "ecmo", "pcr", "icd", "icd10", "tod", "class", "file"),
        *("path", "name", "site", "city", "ward", "date", "dob", "url", "doi", "hash", "mrn"),
        *("label", "dead", "center", "centre", "clinic", "target", "truth", "station", "address"),
        *("finding", "findings", "expired", "alive", "folder", "source", "admitted", "country"),
        *("location", "datum"),
    }
)
# Two words that are an outcome together.
_PAIRS: Final = {
    ("length", "stay"): _OUTCOME,
    ("days", "hospital"): _OUTCOME,
    ("follow", "up"): _OUTCOME,
    ("oxygen", "needed"): _TREATED,
    ("needed", "supplemental"): _TREATED,
}
# Words that say nothing of what a column is about.
_EMPTY_WORDS: Final = frozenset(
    {
        *("val", "value", "values", "offset", "day", "days", "date", "time", "hours", "hour", "is"),
        *("has", "was", "in", "of", "the", "to", "at", "on", "and", "or", "a", "an", "no", "yes"),
        *("first", "last", "count", "number", "level", "score", "result", "test", "type", "status"),
        *("patient", "image", "column", "group", "data", "unit", "max", "min", "mean", "label"),
    }
)
# Own columns of which nothing can be a feature, whatever is said of them.
NEVER: Final[Mapping[str, str]] = {
    contract.FILE_COLUMN: "it names the image's file",
    contract.LABEL_COLUMN: "it is the label",
    "patient_id": "it names the patient, by which the splits are made",
}


def words_of(name: str) -> list[str]:
    """Split a column's name into words: small letters and digits, without accents.

    Args:
        name: as a table has it; `wentICU`, `went_icu` and `Went ICU` are the same.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)
    return re.findall(r"[^\W_]+", parted.casefold())


def why_refused(name: str, label: str = "") -> str:
    """Say why a column of this name should be no feature; empty where nothing speaks against it.

    Args:
        name: of the column in the table.
        label: of the column that says the class; empty where a folder or `label` does.
    """
    words = words_of(name)
    return next(_reasons(words, words_of(label)), "")


def _reasons(words: list[str], label: list[str]) -> Iterator[str]:
    if label and words == label:
        yield "it is the column of the label (data.label)"
    for reason, beginnings in _BEGINNINGS.items():
        for word in words:
            if any(_begins(word, beginning) for beginning in beginnings):
                yield reason
    for (one, other), reason in _PAIRS.items():
        if one in words and other in words:
            yield reason
    if shared := (set(words) & set(label)) - _EMPTY_WORDS:
        yield (
            f"it has {min(shared)!r} in its name, as the label's column has: it may follow from it"
        )


def _begins(word: str, beginning: str) -> bool:
    return word == beginning if beginning in _WHOLE else word.startswith(beginning)
