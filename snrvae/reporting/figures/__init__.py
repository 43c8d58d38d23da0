"""The report's figures: each function takes tables and arrays and returns a matplotlib Figure."""
