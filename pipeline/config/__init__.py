"""The configuration: typed, from YAML, checked at start."""
