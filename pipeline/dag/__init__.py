"""The DAG: its branches, and where it runs."""
