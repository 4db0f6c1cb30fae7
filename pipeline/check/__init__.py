"""`cxr check`: what a run would read, without one."""
