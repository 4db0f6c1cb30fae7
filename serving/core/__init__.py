"""The versions of models that are in memory, and the way of requests to them."""
