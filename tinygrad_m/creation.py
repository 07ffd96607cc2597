"""New tensors: constants, ranges and random numbers. Random numbers come from one generator on the host
(backend.rng, restarted by manual_seed), so that every device starts from the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backend
from .backend import check_dtype
from .ops.shape import flat_ints
from .tensor import Tensor, wrap

__all__ = [
    "arange", "eye", "full", "full_like", "linspace", "ones", "ones_like", "rand", "randint", "randn", "uniform",
    "zeros", "zeros_like",
]  # fmt: skip


def _made(array: Any, dtype: Any, device: str | None, requires_grad: bool) -> Tensor:
    """A Tensor of a fresh host array."""
    array, wanted = np.asarray(array), check_dtype(dtype)
    tensor = wrap(backend.put(array if array.dtype == wanted else backend.cast(array, wanted), device))
    tensor.requires_grad = requires_grad
    return tensor


def zeros(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros: zeros(2, 3) or zeros((2, 3))."""
    return _made(np.zeros(flat_ints("zeros", shape), check_dtype(dtype)), dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones: ones(2, 3) or ones((2, 3))."""
    return _made(np.ones(flat_ints("ones", shape), check_dtype(dtype)), dtype, device, requires_grad)


def full(
    shape: Any, fill_value: float, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A constant; of the number's own type unless dtype is given (float32, int64 or bool)."""
    value = Tensor(fill_value, dtype, "cpu").data
    return _made(np.full(flat_ints("full", (shape,)), value), value.dtype, device, requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None, device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step ... before stop; arange(n) counts from 0. Integers give int64, else float32."""
    start, stop = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise ValueError("arange: step must not be 0")
    whole = all(isinstance(v, (int, np.integer)) for v in (start, stop, step))
    return _made(np.arange(start, stop, step), dtype or ("int64" if whole else "float32"), device, requires_grad)


def linspace(
    start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: Any = "float32",
    device: str | None = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`num` numbers evenly spaced from start to stop."""
    return _made(np.linspace(start, stop, num, endpoint=endpoint), dtype, device, requires_grad)


def eye(
    n: int, m: int | None = None, k: int = 0, dtype: Any = "float32", device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """(n, m) with ones on diagonal k."""
    return _made(np.eye(n, m, k), dtype, device, requires_grad)


def zeros_like(x: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of x's shape, dtype and device."""
    return zeros(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def ones_like(x: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of x's shape, dtype and device."""
    return ones(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def full_like(x: Tensor, fill_value: float, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A constant of x's shape, dtype and device."""
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def rand(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1)."""
    return uniform(0.0, 1.0, flat_ints("rand", shape), dtype, device, requires_grad)


def randn(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Standard normal."""
    return _made(backend.rng().standard_normal(flat_ints("randn", shape)), dtype, device, requires_grad)


def uniform(
    low: float, high: float, size: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uniform on [low, high)."""
    return _made(backend.rng().uniform(low, high, flat_ints("uniform", (size,))), dtype, device, requires_grad)


def randint(low: int, high: int, size: Any, dtype: Any = "int64", device: str | None = None) -> Tensor:
    """Integers from low to high - 1."""
    if high <= low:
        raise ValueError(f"randint needs low < high, got {low} and {high}")
    return _made(backend.rng().integers(low, high, flat_ints("randint", (size,))), dtype, device, False)
