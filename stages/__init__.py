"""The pipeline's stages, one module each: read, call snrvae, write."""

import snrvae  # noqa: F401 - it has to come before every library
