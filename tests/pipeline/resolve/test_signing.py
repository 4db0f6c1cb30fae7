"""Whose key signs is known before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from pipeline.config.pipeline_config import PipelineConfig, load_config
from pipeline.resolve.signing import resolve_signer
from serving.signing.keys import hint_of, read_public_key
from tests.serving.signing.versions import write_keys


def _config(tmp_path: Path, **push: Any) -> PipelineConfig:
    return load_config(overrides={"data": {"dir": tmp_path}, "push": push})


def test_the_public_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path)
    hint = hint_of(read_public_key(public))
    assert resolve_signer(_config(tmp_path, signing_key=private)).push.signed_by == hint
    monkeypatch.setenv("SIGNING", private.read_text())
    by_variable = _config(tmp_path, signing_key_variable="SIGNING", signed_by=hint)
    assert resolve_signer(by_variable).push.signed_by == hint
    # The key itself is nowhere in the configuration.
    assert "PRIVATE" not in resolve_signer(by_variable).model_dump_json()
    assert resolve_signer(_config(tmp_path)) == _config(tmp_path)


def test_a_key_that_cant_be_used_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path)
    with pytest.raises(InputError, match=r"none\.pem"):
        resolve_signer(_config(tmp_path, signing_key=tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"push\.signed_by"):
        resolve_signer(_config(tmp_path, signing_key=private, signed_by="0" * 64))
    with pytest.raises(InputError, match="either signing_key or signing_key_variable"):
        _config(tmp_path, signing_key=private, signing_key_variable="SIGNING")
    with pytest.raises(InputError, match="there is no key"):
        _config(tmp_path, signed_by="0" * 64)


def test_a_relative_key_lies_beside_the_configuration(tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path)
    file = tmp_path / "cxr.yaml"
    file.write_text(f"data: {{dir: .}}\npush: {{signing_key: {private.name}}}\n")
    assert load_config(file).push.signing_key == private
