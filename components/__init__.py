"""Custom TFX components, a folder each; and the reader of TFMA's result that they share."""
