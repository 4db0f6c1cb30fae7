"""Networks on OpenVINO: in parts that models share, in memory once, and kept on disk."""
