"""What libraries read of the environment as a stage imports them: `stages/__init__.py` sets it first."""

import os

from snrvae.settings import machine

# Matplotlib reads a user's settings, and fails at a file or a backend that it does not understand.
os.environ |= {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}

# Each library starts as many threads as the machine has cores, whatever time a container may have on them.
if (quota := machine.cpu_quota()) and not os.environ.get("OMP_NUM_THREADS"):
    os.environ["OMP_NUM_THREADS"] = str(quota)
