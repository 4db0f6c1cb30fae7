"""Commands of `cxr` that answer by pushed models."""
