"""A run: its settings, its cells, its random streams, the memory it needs."""
