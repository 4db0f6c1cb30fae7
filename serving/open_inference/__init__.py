"""The Open Inference Protocol, version 2, on the same models as TensorFlow Serving's API."""
