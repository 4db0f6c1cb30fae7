"""The decisions that are taken before the DAG is built."""
