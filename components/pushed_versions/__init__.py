"""The memory of what was pushed: what each version is, and which one a run goes by."""
