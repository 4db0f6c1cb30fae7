"""Where the DAG's Beam nodes run."""
