"""Requests and answers, as TensorFlow Serving's PredictionLog records in TFRecord shards."""
