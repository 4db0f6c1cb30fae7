"""Which versions of which models are in memory, and how requests reach them."""
