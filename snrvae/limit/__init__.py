"""Shannon's limit: R(D) between two bounds for each source, and the least distortion over a channel."""
