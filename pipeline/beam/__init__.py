"""The places where the DAG's Beam nodes run."""
