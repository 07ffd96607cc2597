"""Fused operations: one node instead of several, for speed. Each says what plain operations it stands for;
the tests hold the two equal, to second order. Read these after the others; conv.py is the last."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Operand
from ..backend import Array
from ..kernels import elements, fits, product, rows
from ..operation import op
from .elementwise import XP, relu, sigmoid, slope_on_cuda, tanh, where
from .linalg import matrix
from .pieces import matmul
from .reduce import softmax
from .windows import channel_sums

__all__ = [
    "linear", "softmax_cross_entropy",
]  # fmt: skip


def by_columns(x: Any) -> bool:
    """Whether a matrix lies in memory column by column (Fortran order), as nn.Linear's weight does and the flattened
    images of conv.py: OpenBLAS is up to half again as fast at such products."""
    strides: Any = getattr(x, "strides", ())  # a Tensor has none
    return len(strides) == 2 and strides[0] < strides[1]


def dot(a: Any, b: Any, columns: bool = False) -> Any:
    """a @ b; of two NumPy matrices by columns or by rows, and shared between the threads."""
    if not isinstance(a, np.ndarray) or a.ndim != 2:
        return product(b.T, a.T).T if columns and a.ndim == 2 else product(a, b)  # on CUDA, too, by columns if wanted
    return matmul(a, b, out=np.empty((len(a), b.shape[1]), a.dtype, order="F" if columns else "C"))


def _weight_slope(g: Any, x: Any, columns: bool = False) -> Any:
    return dot(matrix(g).T, matrix(x), columns)


def _input_slope(g: Any, weight: Any) -> Any:
    return dot(g, weight, by_columns(g))


@op(x=_input_slope, weight=lambda g, x: _weight_slope(g, x), bias=lambda g: g)
def linear(xp: XP, x: Operand, weight: Operand, bias: Operand) -> Array:
    """x @ weight.T + bias: x (..., in), weight (out, in), bias (out,) or None -> (..., out)."""
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"the input {x.shape} needs as many features in its last axis as weight {weight.shape} in axis 1"
        )
    out = dot(x, weight.T, by_columns(x))
    if bias is not None:
        out += bias
    return out


@op(x=_input_slope, weight=lambda g, x: _weight_slope(g, x, columns=True), bias=lambda g: g)
def _linear_by_columns(xp: XP, x: Operand, weight: Operand, bias: Operand) -> Array:
    """linear() for a weight that lies in memory by columns: its gradient then does, too."""
    return _linear(xp, x, weight, bias)


_linear: Callable[..., Array] = linear.op.forward  # type: ignore[attr-defined]
_linear_by_columns.op.name = "linear"  # type: ignore[attr-defined] # for errors, and who looks at the graph


# bias and activation in one, where every launch counts: on CUDA, for nn.Sequential


def plain_biased(x: Any, bias: Any, activation: str = "relu", axis: int = 1) -> Any:
    """relu, tanh or sigmoid of x + bias, with a number of bias for each place along an axis."""
    return ACTIVATIONS[activation](x + bias.reshape(-1, *[1] * (x.ndim - 1 - axis)))


ACTIVATIONS: dict[str, Any] = {"relu": relu, "tanh": tanh, "sigmoid": sigmoid}  # a kernel's 0, 1, 2
NUMBERS = {name: np.int32(k) for k, name in enumerate(ACTIVATIONS)}


def biased(x: Any, bias: Any, activation: str, axis: int) -> Any:
    """plain_biased(), where a kernel can as one operation, whose rules share what they find."""
    if not fits(x.data, bias.data, dtypes="efd"):
        return plain_biased(x, bias, activation, axis)
    return _biased(x, bias, activation=activation, axis=axis, seen=[])


def _activation_slope(g: Any, out: Any, activation: str, seen: list[Any]) -> Any:
    """The gradient of x. The rule for the bias, which is the next, finds it in `seen`."""
    if not fits(g, out, dtypes="efd"):  # Tensors
        return ACTIVATIONS[activation].op.rules["x"](g, out)
    slope = slope_on_cuda(g, out, NUMBERS[activation])
    seen[:] = weakref.ref(g), weakref.ref(slope)
    return slope


def _bias_slope(g: Any, out: Any, activation: str, axis: int, seen: list[Any]) -> Any:
    known, slope = [ref() for ref in seen] or (None, None)
    if known is not g or slope is None:
        slope = _activation_slope(g, out, activation, [])
    return channel_sums(slope, axis)


@op(x=_activation_slope, bias=_bias_slope)
def _biased(xp: XP, x: Operand, bias: Operand, activation: str = "", axis: int = 1, seen: Any = None) -> Array:
    sizes = np.uint32(x.shape[axis]), np.uint32(max(1, prod(x.shape[axis + 1 :])))
    x, bias, out = xp.ascontiguousarray(x), xp.ascontiguousarray(bias), xp.empty(x.shape, x.dtype)
    return elements("biased", out, x, bias, *sizes, NUMBERS[activation])


@op(cast=None)
def one_hot(xp: XP, labels: Operand, classes: int = 1, dtype: Any = np.float32) -> Array:
    """(N,) integers -> (N, classes): 1 at the label, 0 elsewhere; a label out of range gives a row of nan."""
    hot = (labels[:, None] == xp.arange(classes)).astype(dtype)
    return xp.where(((labels >= 0) & (labels < classes))[:, None], hot, hot.dtype.type(np.nan))


def _logits_slope(g: Any, logits: Any, labels: Any) -> Any:
    hot = one_hot(labels, classes=logits.shape[-1], dtype=logits.dtype)
    g = g[:, None]
    return where(g == 0, 0.0, g * (softmax(logits, axis=-1) - hot))  # an ignored label may be out of range


@op(cast=None, logits=_logits_slope)
def softmax_cross_entropy(xp: XP, logits: Operand, labels: Operand) -> Array:
    """-log_softmax(logits)[n, labels[n]]: logits (N, C), labels (N,) integers -> (N,). A label out of range
    gives nan: no wrong loss, and no wait for the device to look."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"logits {logits.shape} must be (N, C), labels {labels.shape} {labels.dtype} (N,) and integers"
        )
    inside = (labels >= 0) & (labels < logits.shape[-1])
    losses = _losses(xp, logits, xp.where(inside, labels, 0))
    return xp.where(inside, losses, logits.dtype.type(np.nan))


def _losses(xp: XP, logits: Array, labels: Array, slope: list[Array] | None = None) -> Array:
    """softmax_cross_entropy() of labels that are classes; into `slope` goes what its gradient is, softmax - one_hot."""
    shifted = xp.ascontiguousarray(logits - logits.max(axis=1, keepdims=True))
    flat, at = shifted.reshape(-1), xp.arange(0, shifted.size, logits.shape[1]) + labels.astype("int64", copy=False)
    picked = flat[at]
    e = xp.exp(shifted, out=shifted)
    total = e.sum(axis=1, keepdims=True)
    losses: Array = xp.log(total)[:, 0] - picked
    if slope is not None:
        e /= total
        flat[at] -= 1
        slope.append(e)
    return losses


def _mean_slope(g: Any, logits: Any, labels: Any, kept: Any, ignore: Any) -> Any:
    if kept and type(logits) is type(kept[0]):
        slope, count = kept
        if fits(slope, g):
            return elements("scaled", backend.of(slope).xp.empty_like(slope), slope, g, count)
        return slope * (g / count)
    slope, count = softmax(logits, axis=-1) - one_hot(labels, classes=logits.shape[-1], dtype=logits.dtype), len(labels)
    if ignore is not None:
        counts = (labels != ignore)[:, None]
        slope, count = where(counts, slope, 0.0), counts.sum()
    return slope * (g / count)


@op(cast=None, logits=_mean_slope)
def _mean_cross_entropy(xp: XP, logits: Operand, labels: Operand, kept: Any = None, ignore: Any = None) -> Array:
    """softmax_cross_entropy(logits, labels).mean(): what a training step computes. `kept`: an empty list, to keep there
    what backward needs. On the CPU all labels must be classes; on CUDA a label that is none gives nan, and those that
    are `ignore`, an int, count for nothing."""
    if xp is np or not fits(logits):
        slope: list[Array] = []
        losses = _losses(xp, logits, labels, None if kept is None else slope)
        if kept is not None:
            kept[:] = slope[0], len(labels)
        return losses.sum() / len(labels)
    n, classes = logits.shape
    logits, labels = xp.ascontiguousarray(logits), xp.ascontiguousarray(labels)
    slopes = xp.empty((n, classes), logits.dtype)
    losses = xp.empty((2, n), logits.dtype)
    ignored = np.int64(-(2**63) if ignore is None else ignore)
    rows("cross_entropy", logits, n, classes, logits, labels, losses, slopes, np.int64(classes), ignored)
    mean, count = moments = xp.empty(2, logits.dtype)
    rows("mean_loss", logits, 1, n, losses, moments, np.int64(n))
    if kept is not None:
        kept[:] = slopes, count
    return mean
