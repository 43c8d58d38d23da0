"""Codecs outside the pipeline, one short program each: `python -m examples.NAME`."""

import snrvae  # noqa: F401 - it chooses vector instructions before NumPy is loaded
