"""Servables, which answer: a loaded SavedModel, run by TensorFlow or by OpenVINO."""
