"""The sources by name: that of their module, and what params.yaml calls them. A new one is a line here."""

from importlib import import_module

from snrvae.sources.source import Source

NAMES = (
    "cube",
    "sphere",
    "square",
    "gaussian",
    "circle",
)
SOURCES: dict[str, Source] = {name: import_module(f"snrvae.sources.{name}").SOURCE for name in NAMES}
