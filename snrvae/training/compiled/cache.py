"""Where the compiled step is kept: in the user's cache, by what it was compiled from and for which processor.

Clones, and the copies in which DVC runs experiments, find there what another folder has compiled, and
machines of different kinds that share a home do not disturb each other. By itself Numba keeps it beside the
source.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import config
from numba.core.caching import UserWideCacheLocator
from numba.core.registry import cpu_target

# A kernel contains those of other modules that it calls: what is kept belongs to the folder as a whole.
_CODE = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))


class ByContent(UserWideCacheLocator):
    """A folder of Numba's user-wide cache for each content of this folder and each kind of processor."""

    def __init__(self, function: Callable[..., object], file: str):
        super().__init__(function, file)
        processor: tuple[Any, ...] = cpu_target.target_context.codegen().magic_tuple()
        name = hashlib.sha256(_CODE + repr(processor).encode()).hexdigest()[:16]
        self._cache_path = str(Path(self._cache_path).with_name(f"snrvae_{name}"))


def use() -> None:
    """Let Numba look in NUMBA_CACHE_DIR, if set, then there, then beside the source: where it can write."""
    ours = f"{ByContent.__module__}.{ByContent.__qualname__}"
    vars(config)["CACHE_LOCATOR_CLASSES"] = f"UserProvidedCacheLocator,{ours},InTreeCacheLocator"
