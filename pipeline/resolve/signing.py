"""Finds, before the DAG is built, whose key signs what is pushed.

A key that can't be used is said before hours of training, and not behind them. And the public key's
name is part of the Pushers' cache keys: who takes a new key pushes anew.
"""

from __future__ import annotations

from common.errors import InputError
from pipeline.config.pipeline_config import PipelineConfig
from serving.signing.keys import hint_of, signing_key


def resolve_signer(config: PipelineConfig) -> PipelineConfig:
    """Read the signing key, where there is one.

    Args:
        config: the checked configuration.

    Returns:
        The configuration with `push.signed_by`.

    Raises:
        InputError: the key can't be used, or isn't the one of `push.signed_by`.
    """
    push = config.push
    key = signing_key(push.signing_key, push.signing_key_variable)
    if key is None:
        return config
    found = hint_of(key.public_key())
    if push.signed_by not in (None, found):
        raise InputError(
            f"push.signed_by: the signing key belongs to the public key {found}, "
            f"not to {push.signed_by}."
        )
    signed = push.model_copy(update={"signed_by": found})
    return config.model_copy(update={"push": signed})
