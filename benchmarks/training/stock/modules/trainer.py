"""Trainer's module file in the stock pipeline; on its own, as TFX's examples have it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public.tfxio import TensorFlowDatasetOptions

_IMAGE = "image/encoded"
_SIDE = 256
_BATCH = 32


def _dataset(
    files: list[str], fn_args: tfx.components.FnArgs, transform: tft.TFTransformOutput
) -> tf.data.Dataset:
    """Read one epoch of (float32 [batch, 256, 256, 3] 0..255, int64 [batch])."""
    options = TensorFlowDatasetOptions(batch_size=_BATCH, label_key="label_xf", num_epochs=1)
    return fn_args.data_accessor.tf_dataset_factory(
        files, options, transform.transformed_metadata.schema
    ).map(lambda features, label: (features["image_xf"], tf.reshape(label, [-1])))


def _model(config: dict[str, Any]) -> keras.Model:
    """Build the frozen network with a head: images [batch, 256, 256, 3] 0..255 -> softmax."""
    images = keras.Input((_SIDE, _SIDE, 3))
    scaled = keras.applications.imagenet_utils.preprocess_input(images, mode=config["mode"])
    application = getattr(keras.applications, config["application"])
    backbone = application(include_top=False, weights=None, input_tensor=scaled)
    if config["weights"]:
        backbone.load_weights(config["weights"])
    backbone.trainable = False
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    hidden = keras.layers.Dense(1024, activation="relu")(pooled)
    model = keras.Model(images, keras.layers.Dense(config["classes"], activation="softmax")(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    return model


class _Served(tf.Module):
    """The model with Transform's graph in front; Keras 3 models are no SavedModels."""

    def __init__(self, model: keras.Model, transform: tft.TFTransformOutput) -> None:
        super().__init__()
        self.layer = transform.transform_features_layer()
        self.model = model

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Turn tf.Examples, string [batch], into probabilities, float32 [batch, classes]."""
        spec = {_IMAGE: tf.io.FixedLenFeature([1], tf.string)}
        images = self.layer(tf.io.parse_example(examples, spec))["image_xf"]
        return {"probabilities": self.model(images, training=False)}


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Train, as TFX Trainer's entry point.

    Args:
        fn_args: `custom_config` holds `application` (a class of `keras.applications`),
            `weights` (HDF5 without the top, or None), `mode` (of Keras' `preprocess_input`),
            `classes` (their number), `epochs` and `seed`.
    """
    config = fn_args.custom_config
    keras.utils.set_random_seed(config["seed"])
    transform = tft.TFTransformOutput(fn_args.transform_output)
    model = _model(config)
    model.fit(
        _dataset(fn_args.train_files, fn_args, transform),
        validation_data=_dataset(fn_args.eval_files, fn_args, transform),
        epochs=config["epochs"],
        callbacks=[keras.callbacks.TensorBoard(fn_args.model_run_dir, update_freq="epoch")],
        verbose=2,
    )
    served = _Served(model, transform)
    tf.saved_model.save(
        served, fn_args.serving_model_dir, signatures={"serving_default": served.serve}
    )
