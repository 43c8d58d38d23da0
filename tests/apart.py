"""Keeps tests apart from what the user's runs have kept: no test is answered by a cell trained before.

The compiled step, which is kept by its code, lies in the checkout. Numba reads its settings as it is loaded.
"""

import os
from pathlib import Path

COMPILED = Path(__file__).with_name("__pycache__") / "compiled"

os.environ["SNRVAE_CACHE"] = "off"
os.environ["NUMBA_CACHE_DIR"] = str(COMPILED)

import snrvae  # noqa: E402, F401 - it chooses vector instructions before NumPy is loaded
