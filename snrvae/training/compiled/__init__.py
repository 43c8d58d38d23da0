"""The compiled engine: a training step of one cell as machine code, its kernels split by subject."""
