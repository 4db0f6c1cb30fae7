"""Doors: TLS, tokens, limits a client, and a record of who asked what."""
