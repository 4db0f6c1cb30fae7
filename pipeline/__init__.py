"""The DAG, its configuration, the runners and the command line."""
