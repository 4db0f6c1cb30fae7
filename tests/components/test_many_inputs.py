"""Specs that have inputs for each of several models."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from tfx.types import channel, component_spec, standard_artifacts

from components.many_inputs import input_key, with_inputs

_MODEL = component_spec.ChannelParameter(type=standard_artifacts.Model)


class _Spec(component_spec.ComponentSpec):
    PARAMETERS: ClassVar[dict[str, Any]] = {}
    INPUTS: ClassVar[dict[str, Any]] = {"model": _MODEL}
    OUTPUTS: ClassVar[dict[str, Any]] = {}


def _channel() -> channel.BaseChannel:
    return channel.Channel(type=standard_artifacts.Model)


def test_each_model_has_a_key_of_its_own_and_the_spec_itself_is_left_alone() -> None:
    names = [input_key("model", name) for name in ("vgg16", "xception")]
    spec = with_inputs(_Spec, {name: _channel() for name in ["model", *names]}, names[1:])
    assert set(spec.INPUTS) == {"model", "model_vgg16", "model_xception"}
    assert spec.INPUTS["model"] is _MODEL
    assert {key: of.optional for key, of in spec.INPUTS.items() if key in names} == {
        "model_vgg16": False,
        "model_xception": True,
    }
    assert set(_Spec.INPUTS) == {"model"}


def test_only_what_is_optional_may_be_left_out() -> None:
    given = {"model": _channel(), "a": _channel()}
    spec = with_inputs(_Spec, {**given, "b": _channel()}, ["b"])
    assert set(spec(**given).inputs) == {"model", "a"}
    with pytest.raises(ValueError, match="a"):
        spec(model=_channel(), b=_channel())
