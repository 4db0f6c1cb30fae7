"""The installed packages that this project needs, with the versions and licences that they name.

Nothing but their metadata is read, and nothing is looked up: what a package doesn't say is None.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PackageMetadata, PackageNotFoundError, distribution
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = "cxr-tfx"
# Licences that are so long are texts.
_LONGEST_NAME: Final = 80
_CLASSIFIER: Final = "License :: "
_UNKNOWN: Final = ("", "unknown", "none", "license.txt", "license")


@dataclass(frozen=True)
class Package:
    """An installed distribution.

    Attributes:
        name: as PyPI normalises it.
        version: of it.
        licence: an SPDX expression, or what the package calls its licence; None where it says none.
        is_expression: whether `licence` is an SPDX expression.
        sha256: of the archive that it was installed from, where the installer noted it.
        needs: names of the packages that it needs, of those that are installed.
    """

    name: str
    version: str
    licence: str | None
    is_expression: bool
    sha256: str | None
    needs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**asdict(self), "needs": list(self.needs)}


@functools.cache
def needed_packages(root: str = ROOT) -> tuple[Package, ...]:
    """List what is installed of what a package needs, and what that needs, and so on.

    Optional parts of the package itself count where they are installed. Three hundred packages take
    most of a second, so each root is looked at once a process.

    Args:
        root: its name; it comes first, the others by name.

    Raises:
        importlib.metadata.PackageNotFoundError: the root isn't installed.
    """
    found = {canonicalize_name(root): _Installed.find(root)}
    own_extras = found[canonicalize_name(root)].all("Provides-Extra")
    extras = {canonicalize_name(root): set(own_extras)}
    needs: dict[str, set[str]] = {}
    waiting = [canonicalize_name(root)]
    while waiting:
        name = waiting.pop()
        try:
            if name not in found:
                found[name] = _Installed.find(name)
        # For another platform, or an optional part that isn't there.
        except PackageNotFoundError:
            continue
        needs[name] = set()
        for requirement in _requirements(found[name], extras.get(name, set())):
            other = canonicalize_name(requirement.name)
            needs[name].add(other)
            wanted = extras.setdefault(other, set())
            if other not in found or not requirement.extras <= wanted:
                wanted |= requirement.extras
                waiting.append(other)
    rest = sorted(set(found) - {canonicalize_name(root)})
    return tuple(
        _package(name, found[name], tuple(sorted(needs[name] & set(found))))
        for name in (canonicalize_name(root), *rest)
    )


@dataclass(frozen=True)
class _Installed:
    """A distribution whose metadata is parsed once; Python parses it for each field."""

    distribution: Distribution
    metadata: PackageMetadata

    @classmethod
    def find(cls, name: str) -> _Installed:
        found = distribution(name)
        return cls(found, found.metadata)

    def all(self, field: str) -> list[str]:
        return list(self.metadata.get_all(field) or ())

    @property
    def requires(self) -> list[str]:
        if self.distribution.read_text("requires.txt") is not None:
            # An egg's.
            return list(self.distribution.requires or ())
        return self.all("Requires-Dist")


def _requirements(found: _Installed, extras: set[str]) -> Iterator[Requirement]:
    for text in found.requires:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _package(name: str, found: _Installed, needs: tuple[str, ...]) -> Package:
    licence, is_expression = _licence(found)
    version, sha256 = found.metadata["Version"], _sha256(found.distribution)
    return Package(name, version, licence, is_expression, sha256, needs)


def _licence(found: _Installed) -> tuple[str | None, bool]:
    expression = _field(found, "License-Expression")
    if expression:
        return expression, True
    classified = [
        text.rpartition(" :: ")[2]
        for text in found.all("Classifier")
        if text.startswith(_CLASSIFIER) and not text.endswith("OSI Approved")
    ]
    if classified:
        return "; ".join(classified), False
    named = _field(found, "License").strip()
    if named.lower() in _UNKNOWN or "\n" in named or len(named) > _LONGEST_NAME:
        return None, False
    return named, False


def _field(found: _Installed, name: str) -> str:
    return next(iter(found.all(name)), "")


def _sha256(found: Distribution) -> str | None:
    """Read what pip notes (PEP 610) of a package that came by its address; else nothing is kept."""
    try:
        noted: Mapping[str, Any] = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    hashes = noted.get("archive_info", {}).get("hashes", {})
    return hashes.get("sha256")
