"""One page that tells a person whether to trust the models."""

from components.report.component import Report

__all__ = ["Report"]
