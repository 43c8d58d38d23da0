"""The pipeline's stages, one module each: read, call snrvae, write."""

from stages import environment  # noqa: F401 - it has to come before every library
