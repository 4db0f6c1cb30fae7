"""What is decided before the DAG is built."""
