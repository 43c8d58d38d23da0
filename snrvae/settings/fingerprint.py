"""The kind of machine that training runs on, as far as bits follow from it."""

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

# What libraries read of the environment to choose their code.
FLAGS = ("ATEN_", "CUBLAS_", "DNNL_", "GLIBC_", "MKL_", "NPY_", "NUMBA_", "ONEDNN_", "OPENBLAS_", "TORCH")
NONE = ("NUMBA_CACHE_DIR", "_NUM_THREADS")  # ends of those that choose no code


@cache
def kind() -> str:
    """Versions of what computes, and the instructions that it chose: the same text, the same bits."""
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
    """What else the bits of an engine follow from that trains cells together: its threads, its GPU."""
    if engine == "compiled":
        return []
    gpu = [torch.cuda.get_device_name(), str(torch.version.cuda)] if engine == "cuda" else []
    asked = [f"{name}={value}" for name, value in os.environ.items() if name.endswith("_NUM_THREADS")]
    return [str(torch.get_num_threads()), *sorted(asked), *gpu]
