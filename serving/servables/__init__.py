"""What answers: a loaded SavedModel, run by TensorFlow or by OpenVINO."""
