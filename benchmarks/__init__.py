"""Speed against other ways to train a grid of codecs, and where our own time goes: `make bench`."""

import stages  # noqa: F401 - it chooses instructions and threads before NumPy is loaded
