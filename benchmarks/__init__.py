"""Speed against the ways a grid is trained elsewhere; each module is run by `make bench`."""
