"""`cxr canary`, `cxr promote` and `cxr rollback`: which pushed version answers. No TFX."""
