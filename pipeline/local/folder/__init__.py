"""OUTPUT as an earlier run, or its user, left it: copied, moved, damaged, without its store."""
