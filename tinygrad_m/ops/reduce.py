"""Operations along an axis: sums, extremes, softmax and their like. `axis` is an int, a tuple of ints or None
for all, `keepdims` keeps the reduced axes at size 1, as in NumPy. Read shape.py next."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod as product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..autograd import Operand
from ..backend import Array
from ..operation import composed, op
from .elementwise import XP, exp, square, subtract, where
from .shape import broadcast_to, flip, tril, triu

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = [
    "all", "any", "argmax", "argmin", "cumsum", "log_softmax", "logsumexp", "max", "mean", "min", "prod",
    "softmax", "std", "sum", "var",
]  # fmt: skip


Axis: TypeAlias = int | tuple[int, ...] | None


def axes_of(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The axes as a sorted tuple of numbers from 0."""
    if axis is None:
        return tuple(range(len(shape)))
    axes = axis if isinstance(axis, tuple) else (operator.index(axis),)
    return tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axes, len(shape))))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements meet in one result of a reduction over `axis`. ValueError for none."""
    n = product(shape[a] for a in axes_of(shape, axis))
    if n == 0:
        raise ValueError(f"axis {axis} of shape {shape} has no elements to reduce")
    return n


def spread(x: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A reduction's result, stretched back over `shape`: what each element contributed to."""
    if not keepdims:
        axes = axes_of(shape, axis)
        x = x.reshape(tuple([1 if k in axes else n for k, n in enumerate(shape)]))
    return broadcast_to(x, shape=shape)


def reduction(name: str, doc: str, cast: str = "common", empty: bool = True, x: Any = None) -> Callable[..., Tensor]:
    """The operation that the array library calls `name`; ValueError for no elements unless `empty`."""

    def forward(xp: XP, x: Operand, axis: Axis = None, keepdims: bool = False) -> Array:
        if not empty:
            count(x.shape, axis)
        return getattr(xp, name)(x, axis=axis, keepdims=keepdims)

    forward.__name__, forward.__doc__, forward.__module__ = name, doc, __name__
    return op(cast=cast, x=x)(forward)


sum = reduction(
    "sum",
    "Sum; bools and integers give 64-bit integers.",
    x=lambda g, shape, axis, keepdims: spread(g, shape, axis, keepdims),
)
mean = reduction(
    "mean",
    "Arithmetic mean; of integers as float32. ValueError for nothing: 0/0.",
    "float",
    empty=False,
    x=lambda g, shape, axis, keepdims: spread(g * (1.0 / count(shape, axis)), shape, axis, keepdims),
)
argmax = reduction("argmax", "Index (int64) of the first largest element; into the flattened tensor if axis is None.")
argmin = reduction("argmin", "Index (int64) of the first smallest element; into the flattened tensor if axis is None.")
all = reduction("all", "Whether all elements are true (not zero).")
any = reduction("any", "Whether any element is true (not zero).")


@op(x=lambda g: (tril(g, k=-1) + triu(g, k=1)).sum(axis=-2))
def _leave_one_out(xp: XP, x: Operand) -> Array:
    """(..., n) -> (..., n, n): row i is x with a 1 in place of x[i]."""
    n = x.shape[-1]
    return xp.where(xp.eye(n, dtype=bool), x.dtype.type(1), x[..., None, :])


def _prod_slope(g: Any, out: Any, x: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    g = spread(g, shape, axis, keepdims)
    if not bool((x == 0).any()):
        return g * spread(out, shape, axis, keepdims) / x
    # a zero: multiply all the others, n^2 numbers, which is right to every order
    axes = axes_of(shape, axis)
    order = (*[k for k in range(len(shape)) if k not in axes], *axes)
    moved = [shape[k] for k in order]
    rows = x.transpose(order).reshape((*moved[: len(shape) - len(axes)], -1))
    others = _leave_one_out(rows).prod(axis=-1).reshape(tuple(moved))
    return g * others.transpose(tuple(sorted(range(len(shape)), key=order.__getitem__)))


prod = reduction(
    "prod", "Product; where an element is 0 its derivative takes n^2 numbers, and is right.", x=_prod_slope
)


def _extreme_slope(g: Any, out: Any, x: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    hit = (x == spread(out, shape, axis, keepdims)).astype(g.dtype)
    return spread(g, shape, axis, keepdims) * (hit / hit.sum(axis=axis, keepdims=True))


max = reduction("max", "Largest element; equal ones share the gradient (as torch.amax).", empty=False, x=_extreme_slope)
min = reduction(
    "min", "Smallest element; equal ones share the gradient (as torch.amin).", empty=False, x=_extreme_slope
)


@composed
def var(
    x: Operand, axis: Axis = None, correction: float = 0, keepdims: bool = False, *, ddof: float | None = None
) -> Tensor:
    """Variance, mean((x - mean(x))^2) * n / (n - correction). The default is NumPy's population variance;
    correction=1 is PyTorch's default. `ddof` is NumPy's name for correction."""
    off = subtract(x, mean(x, axis=axis, keepdims=True))
    correction = correction if ddof is None else ddof
    n = count(off.shape, axis)
    if n <= correction:
        raise ValueError(
            f"var: {n} element(s) over axis {axis} of shape {off.shape} minus correction {correction} leave none"
        )
    return sum(square(off), axis=axis, keepdims=keepdims) * (1.0 / (n - correction))


@op(x=lambda g, out: g * 0.5 * (out != 0) / where(out == 0, 1.0, out))
def _root(xp: XP, x: Operand) -> Array:
    """Square root whose slope at 0 is taken as 0, as PyTorch does for std."""
    return xp.sqrt(x)


@composed
def std(
    x: Operand, axis: Axis = None, correction: float = 0, keepdims: bool = False, *, ddof: float | None = None
) -> Tensor:
    """Standard deviation, the root of var(); its slope is 0 where it is 0."""
    return _root(var(x, axis, correction, keepdims, ddof=ddof))


@op(x=lambda g, axis: flip(flip(g, axis=axis).cumsum(axis=axis), axis=axis))
def cumsum(xp: XP, x: Operand, axis: int = -1) -> Array:
    """Running sum along one axis."""
    if axis is None:
        raise TypeError("axis must be an int; reshape(-1) first to sum over all elements")
    return xp.cumsum(x, axis=axis)


def _logsumexp_slope(g: Any, out: Any, x: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    top = where(out == -float("inf"), 0.0, out)  # a row of -inf: no gradient, rather than nan
    return spread(g, shape, axis, keepdims) * exp(x - spread(top, shape, axis, keepdims))


@op(cast="float", x=_logsumexp_slope)
def logsumexp(xp: XP, x: Operand, axis: Axis = None, keepdims: bool = False) -> Array:
    """log(sum(e^x)), as max + log(sum(e^(x - max))): no overflow."""
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, x.dtype.type(0))
    with np.errstate(divide="ignore"):  # log(0) = -inf is the answer for a row of -inf
        out = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else out.reshape(xp.sum(x, axis=axis).shape)


@op(cast="float", x=lambda g, out, axis: out * (g - (g * out).sum(axis=axis, keepdims=True)))
def softmax(xp: XP, x: Operand, axis: int = -1) -> Array:
    """e^x / sum(e^x) along an axis, computed from x - max: no overflow."""
    e = x - x.max(axis=axis, keepdims=True)
    xp.exp(e, out=e)
    e /= e.sum(axis=axis, keepdims=True)
    return e


@op(cast="float", x=lambda g, out, axis: g - exp(out) * g.sum(axis=axis, keepdims=True))
def log_softmax(xp: XP, x: Operand, axis: int = -1) -> Array:
    """x - logsumexp(x) along an axis, without overflow."""
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))
