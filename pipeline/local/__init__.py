"""Runs on this machine, and the folder that they write."""
