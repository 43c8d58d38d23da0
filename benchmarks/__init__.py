"""Speed against the ways a grid of codecs is trained elsewhere, and where our own time goes: `make bench`."""
