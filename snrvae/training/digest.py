"""The code that trains, as a digest: a cell's bytes follow from it."""

from snrvae.settings import cache

SOURCES = ("dataset", "domain", "normalisation", "npz")  # what training needs of that room
ROOMS = ("codecs", "settings", "training", *(f"sources/{name}.py" for name in SOURCES))
CODE = cache.code(ROOMS)  # as it was loaded
