"""Model code: backbones, heads, preprocessing, training and signatures.

Modules here know tensors and files, but no TFX artifacts and no pipeline layout.
"""
