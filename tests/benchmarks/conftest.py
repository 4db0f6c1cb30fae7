"""Before any test module of this folder imports TensorFlow."""

from __future__ import annotations

from common.runtime import prepare_environment

prepare_environment()
