"""Environment variables for the libraries that stages import; `stages/__init__.py` sets them first."""

import os

from snrvae.settings import machine

# Matplotlib reads a user's settings, and fails if it does not know their file or backend.
os.environ |= {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}

# Libraries start as many threads as the machine has cores, even if a container may use fewer.
if (quota := machine.cpu_quota()) and not os.environ.get("OMP_NUM_THREADS"):
    os.environ["OMP_NUM_THREADS"] = str(quota)
