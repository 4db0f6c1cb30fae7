"""A SavedModel that TensorFlow runs, whatever is in it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from grpc import StatusCode

from serving.networks.front import load_saved_model
from serving.protocol.status import ServingError, invalid
from serving.protocol.tensors import STRING, Tensors
from serving.servables.saved_model import read_signature_defs, signatures_of
from serving.servables.servable import Servable, Signature, check_shapes

TENSORFLOW: Final = "tensorflow"
_CODES: Final = {code.value[0]: code for code in StatusCode}


class TensorFlowServable(Servable):
    """A servable that calls the SavedModel's signatures."""

    engine = TENSORFLOW

    def __init__(self, directory: Path, *, lazy: bool = False) -> None:
        """Load the SavedModel.

        Args:
            directory: a version's folder.
            lazy: load it once it is needed, and read only what it says of itself now.

        Raises:
            ServingError: it holds no SavedModel, or, unless `lazy`, none that can be loaded.
        """
        definitions = read_signature_defs(directory)
        super().__init__(signatures_of(definitions), definitions)
        self._directory = directory
        self._loaded: Any = None
        self._loading = threading.Lock()
        if not lazy:
            self.load()

    @property
    def loaded(self) -> Any:
        """TensorFlow's object; loaded now, where it wasn't.

        Raises:
            ServingError: it can't be loaded.
        """
        return self.load()

    def load(self) -> Any:
        """Load the SavedModel, if it isn't in memory.

        Raises:
            ServingError: it can't be loaded.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = _load(self._directory)
            return self._loaded

    def _run(self, signature: Signature, inputs: Tensors) -> Tensors:
        function = self.loaded.signatures[signature.name]
        tensors = {
            name: to_tensor(value, signature.inputs[name].type_name)
            for name, value in inputs.items()
        }
        try:
            outputs = function(**tensors)
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        except (TypeError, ValueError) as error:
            check_shapes(signature, inputs)
            raise invalid(f"{signature.name}: {error}") from error
        return {name: to_array(tensor) for name, tensor in outputs.items()}


def _load(directory: Path) -> Any:
    try:
        return load_saved_model(directory)
    except tf.errors.OpError as error:
        raise from_tensorflow(error) from error
    # A damaged graph or checkpoint fails in many ways.
    except Exception as error:
        raise ServingError(
            StatusCode.DATA_LOSS, f"{directory}: {type(error).__name__}: {error}"
        ) from error


def to_tensor(value: np.ndarray, type_name: str) -> tf.Tensor:
    """Turn an array into a tensor; objects are strings."""
    return tf.constant(value.tolist() if type_name == STRING else value, type_name, value.shape)


def to_array(tensor: tf.Tensor) -> np.ndarray:
    """Turn a tensor into an array; strings are objects, and a scalar is an array, too."""
    array = np.asarray(tensor.numpy())
    return array.astype(np.object_) if tensor.dtype == tf.string else array


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """Turn TensorFlow's error into one of serving, with its own code."""
    return ServingError(_CODES.get(error.error_code, StatusCode.UNKNOWN), error.message)
