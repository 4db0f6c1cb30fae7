"""Asks the audit, and pushes along with the model what belongs beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from tfx import types
from tfx.components.pusher import executor
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils, proto_utils

from common.errors import InputError
from components.model_card.beside import put_beside
from components.pushed_versions.record import keep
from components.serving_precision.beside import put_precision_beside
from components.serving_pusher.proofs import sign_folder, write_sbom
from components.shortcut_audit.artifact import lets_push
from components.training_verdict import may_be_pushed
from serving.networks.pushing import convert_for
from serving.signing.keys import hint_of, signing_key
from serving.warm_up import write_warm_up

MODEL_CARD: Final = "model_card"
AUDIT: Final = "audit"
MANIFEST: Final = "manifest"
MODEL_RUN: Final = "model_run"
STATISTICS: Final = "statistics"
PRECISION_FILES: Final = "precision_files"
PUSHED: Final = "pushed"
SIGNING_KEY: Final = "signing_key"
SIGNING_KEY_VARIABLE: Final = "signing_key_variable"
SIGNED_BY: Final = "signed_by"


class Executor(executor.Executor):
    """TFX's Pusher; a model card and the choice of a precision go into `assets.extra`."""

    # Of the push that is under way: TFX asks for the folder without the properties.
    _key: ec.EllipticCurvePrivateKey | None = None
    _name = ""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Push, and keep what the version was made with where that is asked for."""
        self._name = os.path.basename(_base(exec_properties))
        if self.CheckBlessing(input_dict):
            self._key = _signing_key(exec_properties)
            # Before the push: a server that looks for new versions finds the networks there.
            convert_for(super().GetModelPath(input_dict), _serving(exec_properties))
        super().Do(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        kept = exec_properties.get(PUSHED)
        if kept and pushed.get_int_custom_property("pushed") == 1:
            version = pushed.get_string_custom_property("pushed_version")
            model = artifact_utils.get_single_uri(input_dict[standard_component_specs.MODEL_KEY])
            heads = path_utils.eval_model_dir(model)
            keep(
                os.path.join(kept, version),
                saved_model=super().GetModelPath(input_dict),
                manifest=artifact_utils.get_single_uri(input_dict[MANIFEST]),
                model_run=_uri_if_any(input_dict.get(MODEL_RUN)),
                statistics=_uri_if_any(input_dict.get(STATISTICS)),
                heads=heads if fileio.exists(heads) else None,
            )

    def CheckBlessing(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[types.Artifact]]
    ) -> bool:
        """Return whether the model is blessed, and neither audit nor training speak against it."""
        return (
            super().CheckBlessing(input_dict)
            and lets_push(input_dict.get(AUDIT))
            and may_be_pushed(input_dict.get(MODEL_RUN))
        )

    def GetModelPath(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[types.Artifact]]
    ) -> str:
        """Return the folder that is copied: the model's, with what belongs beside it."""
        model: str = super().GetModelPath(input_dict)
        files = input_dict.get(PRECISION_FILES)
        infra = input_dict.get(standard_component_specs.INFRA_BLESSING_KEY)
        card = input_dict.get(MODEL_CARD)
        # A node that reads an artifact never writes to it.
        copied = os.path.join(self._get_tmp_dir(), "model")
        io_utils.copy_dir(model, copied)
        put_precision_beside(files, infra, copied)
        put_beside(card, copied)
        write_warm_up(copied)
        write_sbom(copied, self._name)
        # The last: it covers all that is there.
        if self._key is not None:
            sign_folder(copied, self._key)
        return copied


def _signing_key(exec_properties: dict[str, Any]) -> ec.EllipticCurvePrivateKey | None:
    file = exec_properties.get(SIGNING_KEY)
    key = signing_key(Path(file) if file else None, exec_properties.get(SIGNING_KEY_VARIABLE))
    wanted = exec_properties.get(SIGNED_BY)
    if key is not None and wanted and hint_of(key.public_key()) != wanted:
        raise InputError(
            f"push.signed_by: the signing key belongs to the public key "
            f"{hint_of(key.public_key())}, not to {wanted}; nothing was pushed."
        )
    return key


def _serving(exec_properties: dict[str, Any]) -> str:
    """Return the folder that has a folder a model."""
    return os.path.dirname(_base(exec_properties))


def _base(exec_properties: dict[str, Any]) -> str:
    """Return the folder of the model's versions."""
    destination = pusher_pb2.PushDestination()
    content = exec_properties[standard_component_specs.PUSH_DESTINATION_KEY]
    proto_utils.json_to_proto(content, destination)
    return str(destination.filesystem.base_directory.rstrip("/"))


def _uri_if_any(artifacts: list[types.Artifact] | None) -> str | None:
    return artifact_utils.get_single_uri(artifacts) if artifacts else None
