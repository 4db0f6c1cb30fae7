"""What was asked and answered, as TensorFlow Serving's PredictionLog records in TFRecord shards."""
