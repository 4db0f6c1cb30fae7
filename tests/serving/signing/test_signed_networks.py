"""Signed models of this project on OpenVINO: from the proven copy alone."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common.runtime import prepare_environment

prepare_environment()

from schema import contract  # noqa: E402
from serving.local_client import latest_version  # noqa: E402
from serving.networks import versions as versions_module  # noqa: E402
from serving.networks.places import PUSHED_NETWORKS  # noqa: E402
from serving.networks.probes import probe_pixels  # noqa: E402
from serving.networks.pushing import convert_for  # noqa: E402
from serving.networks.versions import Networks  # noqa: E402
from serving.openvino_repository import digest_of  # noqa: E402
from serving.protocol.tensors import strings  # noqa: E402
from serving.servables.loading import load_servable  # noqa: E402
from serving.servables.servable import Servable  # noqa: E402
from serving.signing.folder import sign_version  # noqa: E402
from serving.signing.keys import read_private_key, read_public_key  # noqa: E402
from serving.signing.loading import load_signed  # noqa: E402
from tests.golden_run import GoldenRun  # noqa: E402
from tests.serving.signing.versions import write_keys  # noqa: E402

NAME = "densenet121"


@pytest.mark.slow
def test_networks_that_nobody_signed_are_not_used(
    golden: GoldenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = latest_version(golden.layout.serving, NAME)
    version = tmp_path / "serving" / NAME / pushed.name
    shutil.copytree(pushed, version)
    before = digest_of(version)
    private, public = write_keys(tmp_path)
    sign_version(version, read_private_key(private))
    # Signed, the model is the same model: results that name it don't change.
    assert digest_of(version) == before
    convert_for(str(version), str(version.parent.parent))
    assert (version.parent.parent / PUSHED_NETWORKS / "versions").is_dir()
    converted: list[Path] = []
    plain = versions_module.convert_version

    def convert(directory: Path, *given: Any) -> Any:
        converted.append(directory)
        return plain(directory, *given)

    monkeypatch.setattr(versions_module, "convert_version", convert)
    networks = Networks(None)

    def load(folder: Path) -> Servable:
        return load_servable(folder, "openvino", "f32", networks)

    load(version)
    assert not converted
    servable = load_signed(version, [read_public_key(public)], load)
    (copy,) = converted
    assert copy.parts[-2:] == version.parts[-2:]
    assert copy != version
    assert servable.engine == "openvino-f32"
    # Of the version nothing is read any more, not even for what is asked for seldom.
    shutil.rmtree(version.parent.parent)
    png = io.BytesIO()
    Image.fromarray(probe_pixels()[0, :, :, 0]).save(png, "PNG")
    given = {contract.INPUT_IMAGES: strings([png.getvalue()])}
    answer = servable.run("", given)[contract.OUTPUT_PROBABILITIES]
    explained = servable.run(contract.SIGNATURE_EXPLAIN, given)
    np.testing.assert_allclose(explained[contract.OUTPUT_PROBABILITIES], answer, atol=1e-3)
