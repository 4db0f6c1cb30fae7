"""The device that the networks are computed on, and their precision.

TensorFlow takes a GPU by itself where it sees one. What has to be chosen is the precision
of the layers and how many images go through at once. Imports TensorFlow and Keras only
inside the functions that need them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from models.openvino_runtime import has_bf16

Policy = Literal["float32", "mixed_float16", "mixed_bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]

# NVIDIA's compute capabilities from which on tensor cores multiply such numbers.
_MULTIPLIES_BFLOAT16: Final = (8, 0)
_MULTIPLIES_FLOAT16: Final = (7, 0)
# Training steps of these take less than 0.7 of the time in bfloat16 on a CPU that multiplies
# it; DenseNet121's about as long as in float32 (docs/operations.md has the figures).
_FASTER_ON_CPU: Final = frozenset({"vgg16", "xception"})
_GPU_BATCH_SCALE: Final = 4


@dataclass(frozen=True)
class Gpu:
    """One GPU that TensorFlow sees.

    Attributes:
        name: as TensorFlow's placement wants it, such as `GPU:0`.
        compute_capability: major and minor; None where the driver doesn't say, as with
            makers other than NVIDIA.
    """

    name: str
    compute_capability: tuple[int, int] | None


@dataclass(frozen=True)
class DevicePlan:
    """The way to run a network.

    Attributes:
        policy: Keras' dtype policy for the layers; variables are float32 in all three.
        batch_scale: a forward pass may take this many times the images that a CPU's would.
            A training step may, too, but that is another recipe: the learning rate belongs
            to the batch size.
        device: `CPU:0`, or the GPU's name.
    """

    policy: Policy
    batch_scale: int
    device: str


def select(gpus: Sequence[Gpu], cpu_policy: Policy = "float32") -> DevicePlan:
    """Choose device and precision.

    Args:
        gpus: those there are; the first is taken, since nothing here is distributed.
        cpu_policy: where there is none.

    Returns:
        On a GPU: bfloat16 from compute capability 8.0 on, float16 from 7.0 on, float32 for
        older ones and where the capability is unknown.
    """
    if not gpus:
        return DevicePlan(cpu_policy, 1, "CPU:0")
    return DevicePlan(_gpu_policy(gpus[0].compute_capability), _GPU_BATCH_SCALE, gpus[0].name)


def _gpu_policy(capability: tuple[int, int] | None) -> Policy:
    if capability is None or capability < _MULTIPLIES_FLOAT16:
        return "float32"
    return "mixed_bfloat16" if capability >= _MULTIPLIES_BFLOAT16 else "mixed_float16"


def find_gpus() -> tuple[Gpu, ...]:
    """List the GPUs that TensorFlow sees, in its order.

    Has TensorFlow take a GPU's memory as it needs it, instead of all of it at once: a run
    may share the GPU, and Beam's workers are processes of their own.
    """
    import tensorflow as tf

    found = []
    for index, device in enumerate(tf.config.list_physical_devices("GPU")):
        # It can't be changed once the GPU is in use; then it has been decided already.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(device, True)
        details = tf.config.experimental.get_device_details(device)
        found.append(Gpu(f"GPU:{index}", details.get("compute_capability")))
    return tuple(found)


def has_gpu() -> bool:
    """Return whether TensorFlow sees a GPU."""
    return bool(find_gpus())


def plan_training(backbone: str, precision: Precision = "auto") -> DevicePlan:
    """Choose how to train what lies behind a boundary of a backbone.

    Args:
        backbone: its name in the table.
        precision: `float32` and `bfloat16` are taken as they are; `auto` is what `select`
            says on a GPU, and on a CPU bfloat16 for the backbones that it makes faster,
            where the CPU multiplies it.
    """
    by_measurement = backbone in _FASTER_ON_CPU and has_bf16()
    plan = select(find_gpus(), "mixed_bfloat16" if by_measurement else "float32")
    if precision == "auto":
        return plan
    policy: Policy = "float32" if precision == "float32" else "mixed_bfloat16"
    return DevicePlan(policy, plan.batch_scale, plan.device)


@contextlib.contextmanager
def keras_policy(plan: DevicePlan) -> Iterator[None]:
    """Give Keras layers that are made inside the block the plan's precision.

    A layer keeps the policy under which it was made, so the block has to hold the making
    of the network (`models.boundary.load_network`) and of the model that is fitted: Keras
    scales the loss of a model that is itself `mixed_float16`, and float16 gradients vanish
    without it. Make what turns features into probabilities outside, or with
    `dtype="float32"`: a softmax over bfloat16's 8 bits can't tell 0.996 from 1. The pooled
    taps are float32 in any case.

    Args:
        plan: its `policy` counts.

    Yields:
        Nothing. The policy that was set before is back afterwards.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(plan.policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
