"""The kind of machine that training runs on: everything about it that decides a codec's bits."""

import json
import os
import platform
from functools import cache

import llvmlite
import numba
import numpy as np
import scipy
import scipy.linalg.blas  # which the compiled step calls
import torch
from numba.core.registry import cpu_target
from threadpoolctl import threadpool_info

# Libraries choose their code by environment variables whose names start with these.
FLAGS = ("ATEN_", "CUBLAS_", "DNNL_", "GLIBC_", "MKL_", "NPY_", "NUMBA_", "ONEDNN_", "OPENBLAS_", "TORCH")
NONE = ("_CACHE_DIR", "_NUM_THREADS")  # endings of those that choose no code; PyTorch sets one


@cache
def kind() -> str:
    """The libraries that compute, as JSON: versions and instructions. The same text means the same bits."""
    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    blas = {(lib["internal_api"], lib["version"], lib.get("architecture")) for lib in libraries}
    return json.dumps(
        {
            "machine": [platform.system(), platform.machine(), *platform.libc_ver()],
            "python": platform.python_version(),
            "packages": {p.__name__: p.__version__ for p in (llvmlite, numba, np, scipy, torch)},
            "blas": sorted(map(str, blas)),
            "torch": torch.backends.cpu.get_cpu_capability(),
            "numba": cpu_target.target_context.codegen().magic_tuple(),
            "flags": {name: value for name, value in sorted(os.environ.items()) if _is_flag(name)},
        }
    )


def _is_flag(name: str) -> bool:
    return name.startswith(FLAGS) and not name.endswith(NONE)


def device(engine: str) -> list[str]:
    """What else decides the bits of an engine that trains cells together: its threads and its GPU."""
    if engine == "compiled":
        return []
    gpu = [torch.cuda.get_device_name(), str(torch.version.cuda)] if engine == "cuda" else []
    asked = [f"{name}={value}" for name, value in os.environ.items() if name.endswith("_NUM_THREADS")]
    return [str(torch.get_num_threads()), *sorted(asked), *gpu]
