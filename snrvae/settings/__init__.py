"""What a run is: its settings, its cells, its random streams, the memory it needs."""
