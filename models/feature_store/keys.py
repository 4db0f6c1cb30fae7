"""Keys of a store: what a network's features depend on, and what a network sees of an image."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from common.code_digest import code_digest
from models.backbones import get_backbone
from models.engines import TENSORFLOW
from models.openvino_runtime import instruction_sets
from models.prefix import Job, Plan, find_gpus
from models.stored_backbone import read_image_size, weights_digest

# Of entries, indexes and keys: what lies under another number isn't read.
_LAYOUT: Final = 1
# All code that a network's features depend on; that of the images is in their pixels.
_CODE: Final = "models.prefix"


def network_facts(job: Job, engine_version: str) -> dict[str, Any]:
    """Say all that features depend on besides the image and the plan.

    Reads the weights: to be called once, and not by each worker.

    Args:
        job: the prefix.
        engine_version: of the package behind the job's engine.
    """
    return {
        "layout": _LAYOUT,
        "backbone": job.backbone,
        "scaling": job.scaling or get_backbone(job.backbone).scaling,
        "image_size": read_image_size(job.backbone_dir),
        "weights": weights_digest(job.backbone_dir),
        # Another cut is another graph, which an engine may fuse in another way.
        "boundaries": sorted(job.boundaries),
        "taps": sorted(job.taps),
        "engine_asked_for": [job.engine, engine_version],
        "libraries": {name: importlib.metadata.version(name) for name in ("keras", "tensorflow")},
        "code": code_digest(_CODE),
    }


def network_key(facts: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Complete a network's key by what runs it, and on what kind of processor.

    OpenVINO's kernels follow from the instructions that the CPU has, so other CPUs' last digits
    may differ. TensorFlow's follow from an image's place in a batch, too, which no key can hold.

    Args:
        facts: of `network_facts`.
        plan: what runs it.
    """
    key = {name: value for name, value in facts.items() if name != "engine_asked_for"}
    asked, version = facts["engine_asked_for"]
    if (asked == TENSORFLOW) != (plan.engine == TENSORFLOW):
        version = importlib.metadata.version("tensorflow")
    key["engine"] = [plan.engine, version]
    key["processor"] = instruction_sets()
    if plan.engine == TENSORFLOW:
        key["batch"] = plan.batch
        key["gpu"] = [list(gpu.compute_capability or ()) for gpu in find_gpus()[:1]]
    return key


def image_key(pixels: np.ndarray) -> bytes:
    """Hash what a network sees of an image.

    So the file, Transform's graph and the augmentation are in the key, with whatever code made
    them; and neither name nor class is.

    Args:
        pixels: uint8 [256, 256, 1], augmented.
    """
    return hashlib.sha256(np.ascontiguousarray(pixels, np.uint8).data).digest()
