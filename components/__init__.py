"""Custom TFX components, a folder each; and what they share: TFMA's result, versions."""
