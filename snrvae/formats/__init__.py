"""What a stage hands to the next: records, and their arrays and tables as bytes and back."""
