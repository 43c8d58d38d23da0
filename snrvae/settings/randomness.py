"""Random streams by name: a stream's numbers depend on the seed and its name, on nothing else."""

import hashlib

import numpy as np


def stream_seed(seed: int, *name: object) -> int:
    """63-bit seed of the stream called `name`, e.g. stream_seed(0, "noise", latent_dim, repeat)."""
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_stream(seed: int, *name: object) -> np.random.Generator:
    """NumPy generator of the stream called `name`."""
    return np.random.default_rng(stream_seed(seed, *name))
