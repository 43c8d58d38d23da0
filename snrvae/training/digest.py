"""A digest of the code on which the bytes of a trained cell depend."""

from snrvae.settings import cache

SOURCES = ("dataset", "domain", "normalisation", "npz")  # the modules of that folder which training uses
ROOMS = ("codecs", "settings", "training", *(f"sources/{name}.py" for name in SOURCES))
CODE = cache.code(ROOMS)  # as it was loaded
