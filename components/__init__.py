"""Custom TFX components, a folder each."""
