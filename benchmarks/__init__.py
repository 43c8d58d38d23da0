"""Speed against other ways to train a grid of codecs, and where our own time goes: `make bench`."""
