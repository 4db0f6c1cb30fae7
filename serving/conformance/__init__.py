"""TensorFlow Serving's REST contract as cases that any server can be held against."""
