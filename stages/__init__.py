"""The pipeline's stages, one module each: read, call snrvae, write."""

import os

import snrvae  # noqa: F401 - it has to come before every library

# Matplotlib reads a user's settings on import, and fails at a file or a backend that it cannot read.
os.environ |= {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}
