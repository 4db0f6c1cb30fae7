"""A serving folder as a run pushes it, of networks with random weights: nothing is trained.

The networks have the size that the table of backbones gives them. Their heads stand on features
that are standardised by a few images, so that answers aren't all but 0 or 1.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import keras
import tensorflow as tf

from models.backbones import BACKBONES, BOUNDARY_HEAD, Backbone, build_network
from models.boundary import CutNetwork, cut
from models.classifier import BackboneModel, CalibratedHead, Classifier, Network
from models.combined_model import CombinedModel
from models.fusion import FusedNetwork
from models.heads import build_head, build_hierarchical_head
from models.hyperparameters import HeadParams
from models.preprocessing import decode_and_resize
from models.rule import Kind, Rule
from models.signatures import export
from schema import contract
from serving.networks.probes import probe_pixels

CLASSES: Final = ("COVID-19", "Normal", "Viral Pneumonia")
_COMBINED: Final[tuple[Kind, ...]] = ("ensemble", "cascade")
_VERSION: Final = "1700000000"
# Of the cascade: some images are passed on, and some aren't.
_THRESHOLD: Final = 0.5


def write_models(folder: Path, champion: str = contract.ENSEMBLE) -> None:
    """Write a version of each backbone, of what is put together from them, and a champion.

    Args:
        folder: of models.
        champion: the model that it is a copy of.
    """
    keras.utils.set_random_seed(0)
    networks = {name: build_network(row) for name, row in BACKBONES.items()}
    for name, row in BACKBONES.items():
        network = cut(networks[name], row, BOUNDARY_HEAD)
        heads = _heads(network, hierarchical=True)
        _export(BackboneModel(transform, Classifier(network, heads), CLASSES, 0.4), folder / name)
    fused = FusedNetwork({name: _fused(networks[name], row) for name, row in BACKBONES.items()})
    heads = _heads(fused, hierarchical=False)
    _export(BackboneModel(transform, Classifier(fused, heads), CLASSES, 0.4), folder / "fusion")
    members = {name: str(folder / name / _VERSION) for name in sorted(BACKBONES)}
    for kind in _COMBINED:
        rule = Rule(kind, tuple(members), _THRESHOLD, 1.1)
        _export(CombinedModel(transform, rule, members, CLASSES, 0.4), folder / kind)
    shutil.copytree(folder / champion, folder / contract.CHAMPION)


def write_backbone(folder: Path, name: str) -> None:
    """Write a version of one backbone alone.

    Args:
        folder: of models.
        name: in the table of backbones.
    """
    keras.utils.set_random_seed(0)
    network = cut(build_network(BACKBONES[name]), BACKBONES[name], BOUNDARY_HEAD)
    heads = _heads(network, hierarchical=True)
    _export(BackboneModel(transform, Classifier(network, heads), CLASSES, 0.4), folder / name)


def transform(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Do what Transform's graph does to images."""

    def one(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.io.encode_png(decode_and_resize(image_bytes), compression=0)

    pngs = tf.map_fn(one, inputs[contract.IMAGE], fn_output_signature=tf.string)
    return {contract.TRANSFORMED_IMAGE: pngs}


def _fused(network: keras.Model, row: Backbone) -> CutNetwork:
    return cut(network, row, BOUNDARY_HEAD, tuple(row.fused_taps))


def _heads(network: Network, *, hierarchical: bool) -> dict[str, CalibratedHead]:
    pixels = tf.cast(probe_pixels()[::4], tf.float32)
    taps = {n: t.numpy() for n, t in network.pooled(network.feature_maps(pixels)).items()}
    channels = {name: values.shape[-1] for name, values in taps.items()}
    # Features go up and down together: their sum would make the head as sure as they are many.
    many = sum(channels.values())
    moments = {name: (v.mean(axis=0), many * v.var(axis=0)) for name, v in taps.items()}
    params = HeadParams(l2=0.01)
    heads = {contract.FLAT: build_head(params, channels, len(CLASSES), moments, 1)}
    if hierarchical:
        heads[contract.HIERARCHICAL] = build_hierarchical_head(
            params, channels, len(CLASSES), 1, moments, 2
        )
    return {name: CalibratedHead(head, 1.2) for name, head in heads.items()}


def _export(model: BackboneModel | CombinedModel, folder: Path) -> None:
    export(model, str(folder / _VERSION))
