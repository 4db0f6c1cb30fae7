"""Brings a backbone's weights into the metadata store."""

from components.pretrained_backbone.component import PretrainedBackbone

__all__ = ["PretrainedBackbone"]
