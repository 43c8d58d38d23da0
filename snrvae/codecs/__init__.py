"""The definition: a codec in PyTorch, its channels, networks and loss, and the file that keeps it."""
