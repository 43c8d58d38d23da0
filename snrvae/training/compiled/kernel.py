"""The common parts of all kernels: the compiler's settings, instructions, constants and views.

Numba compiles a kernel at its first call, in seconds and without a C compiler; settings/machine_code.py keeps
the result. Arrays are [features, b], so that the long axis is contiguous. Constant factors are named float32
values, since Numba computes in double precision with a plain number or an integer.

Numba's fastmath is off: every operation is rounded as it is written. So a cell's bits do not depend on when,
with which other code and for which processor its step was compiled. BLAS computes long sums, as products, in
an order that suits vector registers.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg.blas  # noqa: F401 - np.dot calls it, and a limit on threads applies to loaded libraries
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from snrvae.settings.machine_code import Function, kept

Floats = NDArray[np.float32]

COMPILER: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
}
ZERO, HALF, ONE, TWO, INFINITY = (np.float32(value) for value in (0, 0.5, 1, 2, math.inf))


def compiled(function: Function) -> Function:
    """Compiled code that releases Python's global lock, so that other threads run."""
    return kept(njit(function, **COMPILER))


def inlined(function: Function) -> Function:
    """As `compiled`, but inlined in its only caller: otherwise, Numba would compile it again for that."""
    return kept(njit(function, inline="always", **COMPILER))


def instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that compiles to the LLVM instructions that `function` builds."""
    return intrinsic(function)


@instruction
def fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """a·b + c of float32, rounded once."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), build


@instruction
def power_of_two(_typing: Any, _power: Any) -> Any:
    """2^power as float32, of an int32 from -126 to 127: the bits of its exponent."""

    def build(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (power,) = arguments
        bits = builder.shl(builder.add(power, power.type(127)), power.type(23))
        return builder.bitcast(bits, context.get_value_type(types.float32))

    return types.float32(types.int32), build


@compiled
def view(flat: Floats, start: int, rows: int, columns: int) -> Floats:
    """A flat array, from `start` on, as [rows, columns]."""
    return flat[start : start + rows * columns].reshape(rows, columns)


@compiled
def copy(x: Floats, into: Floats) -> None:
    """Copy an array [m, b]. For an assignment to a slice, Numba would compile error messages for seconds."""
    rows, columns = x.shape
    for row in range(rows):
        for column in range(columns):
            into[row, column] = x[row, column]


# e^r on |r| ≤ ln 2 / 2 is within a unit in the last place of its Taylor polynomial of this degree
TAYLOR = tuple(np.float32(1 / math.factorial(power)) for power in (7, 6, 5, 4, 3, 2, 1, 0))
LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH = np.float32(0.693359375)  # nine bits: its multiples are exact
LN2_LOW = np.float32(math.log(2) - 0.693359375)
LEAST = np.float32(-87)  # its exponential is close to the least normal float32


@compiled
def exp_of_minus(x: Floats) -> None:
    """Replace x ≥ 0 by e^{-x}, at least 1e-38, in vector registers, which the C library does not use."""
    for place in range(len(x)):
        y = -x[place]
        y = LEAST if y < LEAST else y
        power = np.floor(fma(y, LOG2_E, HALF))
        r = fma(-power, LN2_LOW, fma(-power, LN2_HIGH, y))
        value = TAYLOR[0]
        for coefficient in TAYLOR[1:]:
            value = fma(value, r, coefficient)
        x[place] = value * power_of_two(np.int32(power))
