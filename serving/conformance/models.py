"""Small SavedModels that the cases ask for, and the configuration that serves them.

`h2` is TensorFlow Serving's own example, y = x / 2 + 2, built the way it is built there: for
TensorFlow 1, fed at an inner node, with signatures to predict, classify and regress. The
others are for what it can't show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import tensorflow as tf

H2: Final = "h2"
H2_VERSION: Final = 123
LABEL: Final = "L"
CONFIG: Final = "models.config"
_SPEC: Final = tf.TensorSpec([None], tf.float32)
# A signature a type; of any shape.
_TYPES: Final = {
    name: tf.TensorSpec(None, tf.as_dtype(name), "x")
    for name in (
        *("float32", "float64", "float16", "bool", "string", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
    )
}


def write_models(folder: Path) -> Path:
    """Write the models and their models.config.

    Args:
        folder: to be made.

    Returns:
        The configuration's path.
    """
    write_half_plus_two(folder / H2 / str(H2_VERSION))
    for name, module in (("two", _Two()), ("text", _Text())):
        tf.saved_model.save(module, str(folder / name / "1"), signatures=module.answer)
    types = _Types()
    signatures = {name: types.answer.get_concrete_function(spec) for name, spec in _TYPES.items()}
    tf.saved_model.save(types, str(folder / "types" / "1"), signatures=signatures)
    config = folder / CONFIG
    config.write_text(models_config(folder, (H2, "two", "text", "types")), encoding="utf-8")
    return config


def models_config(folder: Path, names: tuple[str, ...]) -> str:
    """Return a models.config in text form; `h2` with its label."""
    entries = []
    for name in names:
        labels = f' version_labels {{ key: "{LABEL}" value: {H2_VERSION} }}' if name == H2 else ""
        path = (folder / name).resolve()
        entries.append(
            f'  config {{ name: "{name}" base_path: "{path}" '
            f'model_platform: "tensorflow"{labels} }}'
        )
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"


def write_half_plus_two(directory: Path, half: float = 0.5) -> None:
    """Write a model that computes y = half x + 2.

    Args:
        directory: of the version.
        half: the factor.
    """
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        features = {"x": tf.io.FixedLenFeature([1], tf.float32)}
        x = tf.identity(tf.io.parse_example(serialized, features)["x"], name="x")
        factor = v1.get_variable("factor", initializer=half)
        y = tf.add(factor * x, 2.0, name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session,
            [v1.saved_model.tag_constants.SERVING],
            signature_def_map={
                "serving_default": _signature("predict", {"x": x}, {"y": y}),
                "regress_x_to_y": _signature("regress", {"inputs": serialized}, {"outputs": y}),
                "classify_x_to_y": _signature("classify", {"inputs": serialized}, {"scores": y}),
            },
        )
        builder.save()


def _signature(method: str, inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> Any:
    v1 = tf.compat.v1.saved_model
    return v1.build_signature_def(
        {name: v1.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: v1.build_tensor_info(tensor) for name, tensor in outputs.items()},
        f"tensorflow/serving/{method}",
    )


class _Two(tf.Module):
    """Two inputs, two outputs."""

    @tf.function(input_signature=[_SPEC, _SPEC])
    def answer(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": a + b, "pairs": tf.stack([a, b], axis=1)}


class _Text(tf.Module):
    """Hands a string on, under a name for text and under one for bytes."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def answer(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"same": tf.identity(text), "same_bytes": tf.identity(text)}


class _Types(tf.Module):
    """Hands a tensor on, whatever its type is."""

    @tf.function
    def answer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.identity(x)}
