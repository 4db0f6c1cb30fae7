"""Measures how far a span's images are from those of the span before."""

from components.span_drift.component import SpanDrift

__all__ = ["SpanDrift"]
