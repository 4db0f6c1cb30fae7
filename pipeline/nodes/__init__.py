"""The nodes of the DAG, branch by branch; `pipeline.dag` puts them together."""
