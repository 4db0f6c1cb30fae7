"""TensorFlow Serving's wire formats: paths, JSON, errors."""
