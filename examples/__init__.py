"""Codecs outside the pipeline, one short program each: `python -m examples.NAME`."""
