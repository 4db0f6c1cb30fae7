"""Which device and precision are chosen, and that Keras layers take the precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from models import devices
from models.devices import DevicePlan, Gpu, Policy, Precision

FakeGpus = Callable[[Sequence[dict[str, Any]]], list[Any]]


@pytest.fixture
def fake_gpus(monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """Has TensorFlow see GPUs with these details; returns what had memory growth set."""
    import tensorflow as tf

    def call(details: Sequence[dict[str, Any]]) -> list[Any]:
        growing: list[Any] = []
        seen = {f"/physical_device:GPU:{index}": given for index, given in enumerate(details)}

        def list_devices(kind: str) -> list[str]:
            return list(seen) if kind == "GPU" else []

        def set_growth(device: str, enable: bool) -> None:
            growing.append((device, enable))

        monkeypatch.setattr(tf.config, "list_physical_devices", list_devices)
        monkeypatch.setattr(tf.config.experimental, "get_device_details", seen.__getitem__)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_growth)
        return growing

    return call


@pytest.fixture
def cpu_with_bf16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether the CPU multiplies bfloat16."""
    return lambda has: monkeypatch.setattr(devices, "has_bf16", lambda: has)


@pytest.mark.parametrize(
    ("capability", "policy"),
    [
        ((9, 0), "mixed_bfloat16"),
        ((8, 0), "mixed_bfloat16"),
        ((7, 5), "mixed_float16"),
        ((7, 0), "mixed_float16"),
        ((6, 1), "float32"),
        (None, "float32"),
    ],
)
def test_a_gpus_precision_follows_its_compute_capability(
    capability: tuple[int, int] | None, policy: Policy
) -> None:
    plan = devices.select([Gpu("GPU:0", capability)])
    assert plan.policy == policy
    assert plan.device == "GPU:0"
    assert plan.batch_scale > 1


def test_the_first_of_several_gpus_is_taken() -> None:
    plan = devices.select([Gpu("GPU:0", (7, 0)), Gpu("GPU:1", (9, 0))])
    assert (plan.device, plan.policy) == ("GPU:0", "mixed_float16")


def test_without_a_gpu_it_is_the_cpu_in_float32_unless_told_otherwise() -> None:
    assert devices.select([]) == DevicePlan("float32", 1, "CPU:0")
    assert devices.select([], "mixed_bfloat16") == DevicePlan("mixed_bfloat16", 1, "CPU:0")


def test_gpus_are_found_with_their_capability_and_take_memory_as_they_need_it(
    fake_gpus: FakeGpus,
) -> None:
    growing = fake_gpus([{"compute_capability": (8, 6), "device_name": "x"}, {}])
    assert devices.find_gpus() == (Gpu("GPU:0", (8, 6)), Gpu("GPU:1", None))
    assert growing == [("/physical_device:GPU:0", True), ("/physical_device:GPU:1", True)]
    assert devices.has_gpu()


def test_a_gpu_that_is_in_use_already_is_found_all_the_same(
    fake_gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    def refuse(device: str, enable: bool) -> None:
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    fake_gpus([{"compute_capability": (7, 5)}])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    assert devices.find_gpus() == (Gpu("GPU:0", (7, 5)),)


def test_no_gpu_is_found_where_tensorflow_sees_none(fake_gpus: FakeGpus) -> None:
    fake_gpus([])
    assert devices.find_gpus() == ()
    assert not devices.has_gpu()


@pytest.mark.parametrize(
    ("backbone", "bf16", "policy"),
    [
        ("vgg16", True, "mixed_bfloat16"),
        ("xception", True, "mixed_bfloat16"),
        ("densenet121", True, "float32"),
        ("vgg16", False, "float32"),
    ],
)
def test_on_a_cpu_auto_takes_bfloat16_where_it_was_measured_to_be_faster(
    fake_gpus: FakeGpus,
    cpu_with_bf16: Callable[[bool], None],
    backbone: str,
    bf16: bool,
    policy: Policy,
) -> None:
    fake_gpus([])
    cpu_with_bf16(bf16)
    assert devices.plan_training(backbone) == DevicePlan(policy, 1, "CPU:0")


def test_what_holds_for_the_cpu_says_nothing_about_a_gpu(
    fake_gpus: FakeGpus, cpu_with_bf16: Callable[[bool], None]
) -> None:
    fake_gpus([{"compute_capability": (6, 0)}])
    cpu_with_bf16(True)
    assert devices.plan_training("vgg16").policy == "float32"


@pytest.mark.parametrize(
    ("precision", "policy"), [("float32", "float32"), ("bfloat16", "mixed_bfloat16")]
)
@pytest.mark.parametrize("gpus", [[], [{"compute_capability": (7, 0)}]])
def test_a_precision_that_is_asked_for_is_taken(
    fake_gpus: FakeGpus,
    cpu_with_bf16: Callable[[bool], None],
    gpus: list[dict[str, Any]],
    precision: Precision,
    policy: Policy,
) -> None:
    fake_gpus(gpus)
    cpu_with_bf16(False)
    plan = devices.plan_training("vgg16", precision)
    assert plan.policy == policy
    assert plan.device == ("GPU:0" if gpus else "CPU:0")


def test_the_policy_holds_inside_the_block_and_is_put_back_even_after_an_error() -> None:
    import keras

    before = keras.config.dtype_policy().name
    with (
        pytest.raises(KeyError),
        devices.keras_policy(DevicePlan("mixed_bfloat16", 1, "CPU:0")),
    ):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        raise KeyError
    assert keras.config.dtype_policy().name == before


def test_a_network_made_inside_computes_in_bfloat16_but_keeps_float32_variables_and_taps(
    tiny_backbone: str,
) -> None:
    import keras

    from models.backbones import build_network, get_backbone
    from models.boundary import cut

    row = get_backbone(tiny_backbone)
    with devices.keras_policy(DevicePlan("mixed_bfloat16", 1, "CPU:0")):
        network = build_network(row)
        whole = cut(network, row, "input")
    outside = keras.layers.Dense(3)

    images = np.zeros((2, 256, 256, 1), np.float32)
    assert network(images).dtype == "bfloat16"
    assert {variable.dtype for variable in network.variables} == {"float32"}
    assert {tap.dtype.name for tap in whole.suffix(whole.prefix(images)).values()} == {"float32"}
    assert outside.compute_dtype == "float32"


def test_keras_scales_the_loss_of_a_model_made_under_float16() -> None:
    import keras

    with devices.keras_policy(DevicePlan("mixed_float16", 1, "GPU:0")):
        image = keras.Input((4,))
        model = keras.Model(image, keras.layers.Dense(3, dtype="float32")(image))
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
