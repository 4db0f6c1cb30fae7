"""Changes a model's rollout: tries, promotes and leaves versions, and writes down who did it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from components.pushed_versions.rollouts import RECORD_FILE, has_record, note
from schema import contract
from serving.core.model_config import versions_in
from serving.core.rollout import Rollout, read_rollout, write_rollout

TRIED: Final = "tried"
STOPPED: Final = "stopped"
PROMOTED: Final = "promoted"
ROLLED_BACK: Final = "rolled back"


@dataclass(frozen=True)
class Place:
    """A model, and where it is.

    Attributes:
        name: of it.
        serving: folder of its versions.
        kept: folder of what was kept of each.
    """

    name: str
    serving: Path
    kept: Path


@dataclass(frozen=True)
class Signed:
    """The one who decides.

    Attributes:
        by: name.
        why: a sentence.
    """

    by: str
    why: str


def place_of_model(model_dir: Path, pushed: Path | None, name: str) -> Place:
    """Find a model.

    Args:
        model_dir: the run's serving folder.
        pushed: what the run kept of its pushes; `pushed` beside `model_dir` where None.
        name: of the model.

    Raises:
        InputError: nothing is served under that name.
    """
    serving = model_dir / name
    if not versions_in(serving):
        there = sorted(path.parent.name for path in model_dir.glob("*/[0-9]*"))
        raise InputError(
            f"{model_dir} has no version of a model {name!r}; it has "
            f"{', '.join(dict.fromkeys(there)) or 'none'}."
        )
    return Place(name, serving, (pushed or model_dir.resolve().parent / "pushed") / name)


def try_version(
    place: Place, version: int, share: float, signed: Signed, *, shadow: bool
) -> Rollout:
    """Let a version answer a share of the requests, or be asked beside the stable one.

    Raises:
        InputError: it isn't there, isn't blessed, or is stable already; or the share is none.
    """
    if not 0.0 < share <= 1.0:
        raise InputError(f"share: {share:g} is none; give more than 0, and 1 at most.")

    def change(rollout: Rollout) -> Rollout:
        _check(place, rollout, version)
        return replace(rollout, tried=version, share=share, shadow=shadow)

    told = {"share": share, "shadow": shadow}
    return _changed(place, TRIED, signed, change, lambda _: version, told)


def stop_trial(place: Place, signed: Signed) -> Rollout:
    """Let the stable version answer all requests.

    Raises:
        InputError: no version is on trial.
    """

    def change(rollout: Rollout) -> Rollout:
        if rollout.tried is None:
            raise InputError(f"No version of {place.name} is on trial.")
        return replace(rollout, tried=None, share=0.0, shadow=False)

    return _changed(place, STOPPED, signed, change, lambda before: before.tried or 0)


def promote(place: Place, version: int | None, signed: Signed) -> Rollout:
    """Make a version the stable one.

    Args:
        place: of the model.
        version: that is on trial, where None.
        signed: who and why.

    Raises:
        InputError: it isn't there, isn't blessed, or is stable already; or none is on trial.
    """

    def chosen(rollout: Rollout) -> int:
        if version is None and rollout.tried is None:
            raise InputError(f"No version of {place.name} is on trial; name one with --version.")
        return rollout.tried or 0 if version is None else version

    def change(rollout: Rollout) -> Rollout:
        number = chosen(rollout)
        # Whoever wants a version to stay, though others are pushed, says so for the first time.
        if rollout.history or number != rollout.stable:
            _check(place, rollout, number)
        _check_blessed(place, number)
        return Rollout(number, history=rollout.history)

    return _changed(place, PROMOTED, signed, change, chosen)


def roll_back(place: Place, signed: Signed) -> Rollout:
    """Make the version stable again that was stable before, and end a trial.

    Raises:
        InputError: there was none, or it is gone.
    """

    def change(rollout: Rollout) -> Rollout:
        number = _before(place, rollout)
        _check(place, rollout, number)
        return Rollout(number, history=rollout.history)

    return _changed(place, ROLLED_BACK, signed, change, lambda rollout: _before(place, rollout))


def _before(place: Place, rollout: Rollout) -> int:
    """Find the version to go back to; two steps back are two versions back."""
    left: list[int] = []
    for entry in rollout.history:
        if entry["what"] == PROMOTED and entry["from"] != entry["version"]:
            left.append(entry["from"])
        elif entry["what"] == ROLLED_BACK and left:
            left.pop()
    if left:
        return left[-1]
    # Nobody promoted any: the one that was pushed before.
    older = [n for n in _whole(place) if n < rollout.stable and has_record(place.kept / str(n))]
    if not older:
        raise InputError(f"{place.name} has no version before {rollout.stable} to go back to.")
    return max(older)


def _check(place: Place, rollout: Rollout, version: int) -> None:
    if version not in _whole(place):
        there = ", ".join(map(str, sorted(_whole(place))))
        raise InputError(f"{place.name} has no version {version}; it has {there or 'none'}.")
    _check_blessed(place, version)
    if version == rollout.stable:
        # Without a rollout, the latest answers from the moment of its push.
        hint = "" if rollout.history else "; `cxr promote --version` of an older one comes first"
        raise InputError(f"Version {version} of {place.name} is stable already{hint}.")


def _check_blessed(place: Place, version: int) -> None:
    folder = place.kept / str(version)
    if not has_record(folder):
        raise InputError(
            f"Version {version} of {place.name} isn't blessed: no push left a record of it in "
            f"{folder / RECORD_FILE}."
        )


def _whole(place: Place) -> set[int]:
    """List the versions that are no half copies."""
    found = versions_in(place.serving).items()
    return {number for number, path in found if (path / contract.SAVED_MODEL_FILE).is_file()}


def _changed(
    place: Place,
    what: str,
    signed: Signed,
    change: Callable[[Rollout], Rollout],
    version: Callable[[Rollout], int],
    told: dict[str, Any] | None = None,
) -> Rollout:
    """Carry out a change: the rollout first, which is what counts, then the versions' records."""
    if not signed.why.strip():
        raise InputError("why: say why, in a sentence that will be read later.")
    with _alone(place.serving):
        before = read_rollout(place.serving)
        if before is None:
            whole = _whole(place)
            if not whole:
                raise InputError(f"{place.serving} has no version that is whole.")
            before = Rollout(max(whole))
        entry = {
            "what": what,
            "version": version(before),
            "from": before.stable,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "by": signed.by,
            "why": signed.why.strip(),
            **(told or {}),
        }
        after = change(before)
        after = replace(after, history=(*before.history, entry))
        write_rollout(place.serving, after)
        _note(place, after)
    return after


def _note(place: Place, rollout: Rollout) -> None:
    """Write the history into the records; also what a kill kept an earlier change from writing."""
    for number in {n for entry in rollout.history for n in (entry["version"], entry["from"])}:
        folder = place.kept / str(number)
        if has_record(folder):
            own = [e for e in rollout.history if number in (e["version"], e["from"])]
            note(folder, own)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep two changes of one model apart; the lock ends with the process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
