"""What people look at: figures, the report, the interactive page."""
