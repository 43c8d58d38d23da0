"""The choice of vector instructions for all numerical libraries, made before any of them is loaded.

By default, NumPy and OpenBLAS choose by the processor's model, and each choice rounds differently. Importing
snrvae instead puts every processor into one of two classes. Within a class, the libraries round alike:

avx512  the AVX-512 instructions of Skylake-X
avx2    AVX2 and FMA; the environment variable SNRVAE_CPU=avx2 selects it on a processor with AVX-512

On any other processor the libraries choose for themselves.
"""

import os
import sys
from functools import cache

import llvmlite.binding

KERNELS = {"avx512": "SkylakeX", "avx2": "Haswell"}  # OpenBLAS's names
NEEDED = {"avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma"}}
BEYOND = {"AVX512_ICL": "avx512vbmi2", "AVX512_SPR": "avx512fp16"}  # newer sets than avx512, by NumPy's names


def variables(flags: set[str], asked: str = "") -> dict[str, str]:
    """The environment variables that select the class `asked`, or else the processor's best class.

    flags  the processor's features, by LLVM's names

    Raises ValueError if the processor does not support the class `asked`.
    """
    classes = [name for name, needed in NEEDED.items() if needed <= flags]
    if asked and asked not in classes:
        known = " and ".join(classes) or "neither avx512 nor avx2"
        raise ValueError(f"SNRVAE_CPU={asked}: this processor has {known}; set what it has, or unset it")
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
    """The kernel that NumPy's OpenBLAS reports for this process; "unknown" if it reports none."""
    import numpy  # noqa: F401, PLC0415 - loads it
    import threadpoolctl  # noqa: PLC0415 - only after the choice is made, like NumPy

    libraries = threadpoolctl.threadpool_info()
    return next((each["architecture"] for each in libraries if each["internal_api"] == "openblas"), "unknown")


def pin() -> str:
    """Choose for this process and its children; return whose choice this process computes with.

    Exits if the processor lacks the class SNRVAE_CPU.
    """
    flags = {name for name, present in llvmlite.binding.get_host_cpu_features().items() if present}
    try:
        chosen = variables(flags, os.environ.get("SNRVAE_CPU", ""))
    except ValueError as error:
        sys.exit(str(error))
    late = "numpy" in sys.modules and not chosen.items() <= os.environ.items()
    os.environ.update(chosen)
    return "NumPy's own" if late or not chosen else f"{chosen['OPENBLAS_CORETYPE']}'s"


CHOICE = pin()
