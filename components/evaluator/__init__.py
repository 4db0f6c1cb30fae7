"""The gate: its configuration, what TFMA computes, what came of it."""
