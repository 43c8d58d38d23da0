"""Shannon's limit: R(D) in a bracket for each source, and what a channel leaves of it."""
