"""The statements of a filing: facts of a run, each with where it is from.

Nothing here is anybody's opinion. A sentence says what a field of an artifact says, and names both.
Of what no artifact says, it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from components.software import Package

CARD: Final = "model_card.json"
REPORT: Final = "report.json"
AUDIT: Final = "audit.json"
MANIFEST: Final = "summary.json"
SETTINGS: Final = "settings"
# The node's artifact that each is a file of; settings are the Report's execution property.
ARTIFACTS: Final = {
    CARD: "ModelCard's model_card",
    REPORT: "Report's report",
    AUDIT: "ShortcutAudit's audit",
    MANIFEST: "RadiographExampleGen's manifest",
    SETTINGS: "Report's property settings",
}
# Fields of the configuration that say what a later run may change, and that no artifact holds.
SETTING_FIELDS: Final = (
    "continue_training",
    "tuning.mode",
    "champion.prefer",
    "abstain_accuracy",
    "input_gate.false_alarms",
    "infra_validation.mode",
)
NOT_RECORDED: Final = "not recorded"


@dataclass(frozen=True)
class Statement:
    """A sentence, and where it is from.

    Attributes:
        topic: in a word or two.
        sentence: for people.
        known: whether an artifact says it; else the sentence says that none does.
        file: of the artifact; empty where nothing is known.
        field: in the file, with dots.
        value: of the field.
    """

    topic: str
    sentence: str
    known: bool = False
    file: str = ""
    field: str = ""
    value: Any = None


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    statements: list[Statement] = field(default_factory=list)


@dataclass(frozen=True)
class Filing:
    """The page.

    Attributes:
        model: that it is about.
        sections: in their order.
        packages: that were installed where the page was made.
    """

    model: str
    sections: list[Section]
    packages: Sequence[Package]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "model": self.model,
            "artifacts": ARTIFACTS,
            "sections": [asdict(section) for section in self.sections],
            "packages": [package.to_json() for package in self.packages],
        }


class Facts:
    """The documents that a run wrote, by their names."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Keep them; None where a run has no such artifact."""
        self._documents = documents

    def get(self, file: str, field: str) -> Any:
        """Return a field, by its names with dots; None where it isn't there."""
        value: Any = self._documents.get(file)
        # A setting's own name has dots.
        if file == SETTINGS:
            return (value or {}).get(field)
        for name in field.split("."):
            if isinstance(value, Mapping):
                value = value.get(name)
            elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
                value = value[int(name)]
            else:
                return None
        return value

    def say(self, topic: str, file: str, field: str, word: Callable[[Any], str] = str) -> Statement:
        """Word a field; where it isn't there, say that."""
        value = self.get(file, field)
        if value is None:
            return unknown(topic)
        return Statement(topic, word(value), True, file, field, value)

    def each(
        self, topic: str, file: str, field: str, word: Callable[[Any], str] = str
    ) -> Iterator[Statement]:
        """Word each item of a list, or of a mapping (by name and value)."""
        value = self.get(file, field)
        if value is None:
            yield unknown(topic)
        elif isinstance(value, Mapping):
            for name, one in value.items():
                yield Statement(topic, word((name, one)), True, file, f"{field}.{name}", one)
        else:
            for index, one in enumerate(value):
                yield Statement(topic, word(one), True, file, f"{field}.{index}", one)


def unknown(topic: str) -> Statement:
    """Say that no artifact of the run knows."""
    return Statement(topic, f"{topic}: {NOT_RECORDED}.")
