"""The choice of int8, made at a push: on which images, how much faster, and where it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from common.digests import digest_of
from models.openvino_runtime import import_openvino
from schema import contract
from serving.networks.plan import KEY, Plan
from serving.openvino_repository import file_digest

_DIGEST: Final = "digest"


class UnusableError(Exception):
    """The choice beside a model can't be used here; its text says why."""


@dataclass(frozen=True)
class Figures:
    """The figures of a comparison on the validation images.

    Attributes:
        images: that were compared.
        classes_changed: of these, beside float32's answers.
        largest_move: of a probability, likewise.
        classes_changed_alone: where nothing is asked again.
        largest_move_alone: likewise.
        asked_again: share of the images that int8 is unsure of.
        timed_images: of which the speed was measured.
        images_per_second: with int8, and what is unsure asked again.
        images_per_second_otherwise: of what would serve without int8.
    """

    images: int
    classes_changed: int
    largest_move: float
    classes_changed_alone: int
    largest_move_alone: float
    asked_again: float
    timed_images: int
    images_per_second: float
    images_per_second_otherwise: float

    @property
    def gain(self) -> float:
        """Images a second, with what is asked again, by those of what would serve otherwise."""
        return self.images_per_second / self.images_per_second_otherwise


@dataclass(frozen=True)
class Machine:
    """A machine on which int8 was measured.

    Attributes:
        cpu: its name.
        instructions: for int8 and bf16.
        openvino: its version.
        nncf: its version.
    """

    cpu: str
    instructions: tuple[str, ...]
    openvino: str
    nncf: str


@dataclass(frozen=True)
class Int8Choice:
    """The choice of int8 for a version, or against it.

    Attributes:
        chosen: whether it is.
        reason: why, or why not; a sentence.
        otherwise: the engine that serves without int8, and what int8 is unsure of.
        difference: the largest of the log-odds that was seen (see `CarefulEngine`).
        networks: keys of the version's networks, for which it was chosen.
        files: trunk's key -> name of a file -> its digest; empty where it wasn't chosen.
        machine: on which it was measured.
        figures: None where nothing was measured.
    """

    chosen: bool
    reason: str
    otherwise: str
    difference: float
    networks: tuple[str, ...]
    files: Mapping[str, Mapping[str, str]]
    machine: Machine
    figures: Figures | None

    def to_text(self) -> str:
        """Return it as a file can hold it, with a digest of itself."""
        content = asdict(self)
        if self.figures is not None:
            content["figures"]["gain"] = self.figures.gain
        # As JSON has it, where tuples are lists.
        content = json.loads(json.dumps(content))
        return json.dumps({**content, _DIGEST: digest_of(content)}, indent=1)


def keys_of(plan: Plan) -> tuple[str, ...]:
    """Name a version's networks by what they compute."""
    return tuple(network.key for network in plan.networks)


def network_files(key: str) -> tuple[str, str]:
    """Name the two files of a quantised trunk: what it does, and its numbers."""
    return f"int8-{key}.xml", f"int8-{key}.bin"


def read_choice(directory: Path) -> Int8Choice:
    """Read the choice beside a version.

    Args:
        directory: the version's folder.

    Raises:
        UnusableError: there is none, or it was changed.
    """
    file = directory / contract.INT8_CHOICE_FILE
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        digest = content.pop(_DIGEST)
        unchanged = digest == digest_of(content)
        choice = _parsed(content)
    except FileNotFoundError as error:
        raise UnusableError(
            "int8 wasn't tried when it was pushed; set serve.precision to int8, run the pipeline "
            "and push it again"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableError(f"{file} can't be read ({error!r}); push the model again") from error
    if not unchanged:
        raise UnusableError(f"{file} was changed; push the model again")
    return choice


def _parsed(content: Mapping[str, Any]) -> Int8Choice:
    figures = content["figures"] and {
        name: value for name, value in content["figures"].items() if name != "gain"
    }
    machine = {**content["machine"], "instructions": tuple(content["machine"]["instructions"])}
    fields = {
        **content,
        "networks": tuple(content["networks"]),
        "machine": Machine(**machine),
        "figures": figures and Figures(**figures),
    }
    choice = Int8Choice(**fields)
    # They become names of files.
    if not all(KEY.fullmatch(key) for key in choice.files):
        raise ValueError("files: a name is no trunk's")
    return choice


def check_usable(choice: Int8Choice, plan: Plan, instructions: list[str], insist: bool) -> None:
    """Check that a choice counts for this version on this machine.

    Args:
        choice: of `read_choice`.
        plan: of the version.
        instructions: of this CPU, for int8 and bf16.
        insist: take int8 on CPUs on which nobody measured it, too.

    Raises:
        UnusableError: it doesn't.
    """
    if not choice.chosen:
        raise UnusableError(f"int8 was tried at the push, and not chosen: {choice.reason}")
    if choice.networks != keys_of(plan) or set(choice.files) != set(plan.trunks):
        raise UnusableError("int8 was chosen for another model; push this one again")
    version = import_openvino().__version__
    if choice.machine.openvino != version:
        raise UnusableError(
            f"int8 was chosen with OpenVINO {choice.machine.openvino}, and this is {version}; "
            "push the model again"
        )
    if list(choice.machine.instructions) != instructions and not insist:
        raise UnusableError(
            f"int8 was measured on {choice.machine.cpu} "
            f"({', '.join(choice.machine.instructions)}), and this CPU has "
            f"{', '.join(instructions) or 'none of these instructions'}; push the model from a "
            "machine such as this one, or start the server with --precision int8"
        )


def read_trunk(directory: Path, choice: Int8Choice, key: str) -> Any:
    """Read a quantised trunk that lies beside a version.

    Args:
        directory: the version's folder.
        choice: which names its files.
        key: of the trunk.

    Returns:
        `openvino.Model`.

    Raises:
        UnusableError: a file is missing, is another, or can't be read.
    """
    folder = directory / contract.EXTRA_ASSETS
    for name in network_files(key):
        try:
            unchanged = file_digest(folder / name) == choice.files[key].get(name)
        except OSError as error:
            raise UnusableError(f"{folder / name}: {error}; push the model again") from error
        if not unchanged:
            raise UnusableError(f"{folder / name} was changed; push the model again")
    try:
        return import_openvino().Core().read_model(str(folder / network_files(key)[0]))
    # OpenVINO has no class of its own.
    except Exception as error:
        raise UnusableError(f"{folder / network_files(key)[0]}: {error}") from error
