"""The folder of all that is kept between runs: one for every clone and experiment of a user."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "SNRVAE_CACHE"
OFF = "off"


def folder() -> Path | None:
    """What SNRVAE_CACHE names, or `snr-vae` in the user's cache; None if it is `off`, or there is no home."""
    named = os.environ.get(VARIABLE, "")
    if named.strip().lower() == OFF:
        return None
    try:
        if named:
            return Path(named).expanduser().absolute()
        return platformdirs.user_cache_path("snr-vae", appauthor=False)
    except RuntimeError:  # no home
        return None
