"""The pipeline's stages, one module each: read, call snrvae, write."""
