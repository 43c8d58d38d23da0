"""Which vector instructions numbers are computed with: chosen here, before any library is loaded.

NumPy and OpenBLAS choose by the processor's model, and each choice rounds in its own way. Importing snrvae
puts a processor into one of two classes instead, whoever made it, and its libraries compute alike within one:

avx512  AVX-512 as Skylake-X has it
avx2    AVX2 and FMA; the environment variable SNRVAE_CPU=avx2 asks for it on a processor of the other class

On any other processor the libraries choose for themselves.
"""

import os
import sys
from functools import cache

import llvmlite.binding

KERNELS = {"avx512": "SkylakeX", "avx2": "Haswell"}  # OpenBLAS's names
NEEDED = {"avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma"}}
BEYOND = {"AVX512_ICL": "avx512vbmi2", "AVX512_SPR": "avx512fp16"}  # NumPy's names of what lies above avx512


def variables(flags: set[str], asked: str = "") -> dict[str, str]:
    """The environment variables that make libraries compute as in the class `asked`, or else in the best one.

    flags  the processor's features, by LLVM's names

    Raises ValueError if the processor is not of the class that is asked for.
    """
    classes = [name for name, needed in NEEDED.items() if needed <= flags]
    if asked and asked not in classes:
        known = " and ".join(classes) or "none that has a name"
        raise ValueError(f"SNRVAE_CPU={asked}: the classes of this processor are {known}; or unset it")
    if not classes:
        return {}
    chosen = asked or classes[0]
    off = [name for name, flag in BEYOND.items() if flag in flags]
    if chosen == "avx2" and "avx512" in classes:
        off.append("X86_V4")
    return {
        "OPENBLAS_CORETYPE": KERNELS[chosen],
        "NPY_DISABLE_CPU_FEATURES": " ".join(off),
        "ATEN_CPU_CAPABILITY": chosen,
    }


@cache
def kernel() -> str:
    """The kernel that NumPy's OpenBLAS computes with in this process, by its own account."""
    import numpy  # noqa: F401, PLC0415 - loads it
    import threadpoolctl  # noqa: PLC0415 - that NumPy is not loaded before the choice is made

    libraries = threadpoolctl.threadpool_info()
    return next((each["architecture"] for each in libraries if each["internal_api"] == "openblas"), "unknown")


def pin() -> None:
    """Make the choice for this process and its children. Ends it if SNRVAE_CPU asks for what is not there."""
    flags = {name for name, present in llvmlite.binding.get_host_cpu_features().items() if present}
    try:
        os.environ.update(variables(flags, os.environ.get("SNRVAE_CPU", "")))
    except ValueError as error:
        sys.exit(str(error))


pin()
