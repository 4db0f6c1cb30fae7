"""The inputs of a trainer on several backbones: where their networks and features lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tfx import types
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.many_inputs import input_key

BACKBONE: Final = "backbone"
FEATURES: Final = "features"
Inputs = Mapping[str, Sequence[types.Artifact]]


def network_folders(input_dict: Inputs, backbones: Iterable[str]) -> dict[str, str]:
    """Find each backbone's network, as PretrainedBackbone wrote it.

    Args:
        input_dict: of the executor.
        backbones: their names.

    Returns:
        Backbone -> folder.
    """
    return {
        name: path_utils.serving_model_path(
            artifact_utils.get_single_uri(list(input_dict[input_key(BACKBONE, name)]))
        )
        for name in backbones
    }


def feature_pattern(input_dict: Inputs, backbone: str, split: str) -> str:
    """Name the files that a Featurizer wrote of a split."""
    features = list(input_dict[input_key(FEATURES, backbone)])
    return os.path.join(artifact_utils.get_split_uri(features, split), "*")
