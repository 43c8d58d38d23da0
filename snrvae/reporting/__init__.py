"""The results for readers: figures, the report, the interactive page."""
