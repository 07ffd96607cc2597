"""Batch normalisation (Ioffe and Szegedy, 2015, arXiv:1502.03167): plain_batch_norm() is the formula, and what to
read first. _batch_norm() is the same as one operation, which reads and writes memory as seldom as it can: a channel's
numbers stay in the cache from their sum to the result. nn.functional.batch_norm() chooses, and keeps the running
statistics."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import autograd, backend, kernels
from ..autograd import Operand
from ..backend import Array
from ..operation import op
from .elementwise import XP, rsqrt, square
from .pieces import each, ordered_as, ranges, scratch
from .windows import channel_sums

if TYPE_CHECKING:
    from ..tensor import Tensor


def plain_batch_norm(
    x: Tensor, weight: Any = None, bias: Any = None, mean: Any = None, var: Any = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(var + eps) weight + bias for each channel (axis 1), and the mean and var: those given, or
    else the batch's own, mean = sum(x) / n and var = sum((x - mean)^2) / n, which are functions of x."""
    axes, view = _others(x), _column(x)
    if mean is None:
        mean = x.mean(axis=axes, keepdims=True)
        off = x - mean
        var = square(off).mean(axis=axes, keepdims=True)
    else:
        mean, var = mean.reshape(view), var.reshape(view)
        off = x - mean
    scale = rsqrt(var + eps)
    out = off * (scale if weight is None else scale * weight.reshape(view))
    return out if bias is None else out + bias.reshape(view), mean.reshape(-1), var.reshape(-1)


def _others(x: Any) -> tuple[int, ...]:
    """All axes but the channels'."""
    return (0, *range(2, len(x.shape)))


def _column(x: Any) -> tuple[int, ...]:
    """The shape in which a number for each channel broadcasts against x."""
    return (1, -1, *[1] * (len(x.shape) - 2))


def fits(x: Any, *by_channel: Any) -> bool:
    """Whether _batch_norm() and _affine() can take these: all float32, or all float64, and by_channel (C,) or None."""
    alike = [p is None or (getattr(p, "shape", None) == x.shape[1:2] and p.dtype == x.dtype) for p in by_channel]
    return x.ndim > 1 and x.dtype.char in "fd" and all(alike)


def fused_batch_norm(x: Tensor, weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """plain_batch_norm() with the batch's own statistics, which come without a graph."""
    moments = Moments(eps)
    out = _batch_norm(x, 1.0 if weight is None else weight, 0.0 if bias is None else bias, moments=moments)
    return out, autograd.wrap(moments.mean), autograd.wrap(moments.var)


class Moments:
    """What _batch_norm() finds out on its way: each channel's mean and var, and rstd = 1 / sqrt(var + eps)."""

    def __init__(self, eps: float) -> None:
        self.eps = float(eps)
        self.mean: Any = None  # these three are arrays (C,)
        self.var: Any = None
        self.rstd: Any = None
        self.found: Any = None  # on CUDA: all three, as the kernel left them
        self.sums: tuple[Any, Any, Any] = (lambda: None), None, None  # _backward() was given g: (reference to g, *sums)

    def of(self, x: Any) -> tuple[Any, Any]:
        """mean and rstd, to broadcast against x. Those of a Tensor are functions of it: they are computed again, as
        second derivatives need to know."""
        if not isinstance(x, autograd.TensorType):
            return self.mean.reshape(_column(x)), self.rstd.reshape(_column(x))
        mean = x.mean(axis=_others(x), keepdims=True)
        return mean, rsqrt(square(x - mean).mean(axis=_others(x), keepdims=True) + self.eps)

    def sums_of(self, g: Any) -> tuple[Any, Any] | None:
        """What _backward() has found out about this gradient: the three rules get the same one, one after the other."""
        known, sum_g, sum_g_hat = self.sums  # one look: another thread may walk the graph, too
        return (sum_g, sum_g_hat) if known() is g else None


# With hat = (x - mean) rstd, so that out = hat weight + bias, and n numbers in a channel:
#     d bias = sum(g)      d weight = sum(g hat)      d x = weight rstd (g - sum(g) / n - hat sum(g hat) / n)


def _x_slope(g: Any, x: Any, weight: Any, moments: Any) -> Any:
    if _runs(x) is not None:
        back = np.empty_like(x)
        _backward(g, x, moments, weight, back)
        return back
    if kernels.fits(x):
        return _backward_on_cuda(g, x, moments, weight)
    mean, rstd = moments.of(x)
    hat = (x - mean) * rstd
    scale = rstd if isinstance(weight, float) else rstd * weight.reshape(_column(x))
    axes = _others(x)
    return scale * (g - g.mean(axis=axes, keepdims=True) - hat * (g * hat).mean(axis=axes, keepdims=True))


def _weight_slope(g: Any, x: Any, moments: Any) -> Any:
    if _runs(x) is not None:
        _, sum_g_hat = moments.sums_of(g) or _backward(g, x, moments)
        return sum_g_hat
    if kernels.fits(x):
        if moments.sums_of(g) is None:
            _backward_on_cuda(g, x, moments, 1.0)
        return moments.sums_of(g)[1]
    mean, rstd = moments.of(x)
    return channel_sums(g * ((x - mean) * rstd))


def _bias_slope(g: Any, moments: Any) -> Any:
    sums = moments.sums_of(g)
    return channel_sums(g) if sums is None else sums[0]


@op(cast="float", x=_x_slope, weight=_weight_slope, bias=_bias_slope)
def _batch_norm(xp: XP, x: Operand, weight: Operand, bias: Operand, moments: Any = None) -> Array:
    """(x - mean) rstd weight + bias, with the batch's own statistics, which are left in `moments`; weight and bias are
    (C,), or 1.0 and 0.0."""
    n, runs = x.size // x.shape[1], _runs(x)
    if kernels.fits(x) and n:
        return _on_cuda(xp, x, weight, bias, moments)
    if runs is None:
        axes, view = _others(x), _column(x)
        mean = x.mean(axis=axes, keepdims=True)
        out = x - mean
        var = xp.square(out).mean(axis=axes, keepdims=True)
        rstd = 1.0 / xp.sqrt(var + moments.eps)
        out *= rstd if isinstance(weight, float) else rstd * weight.reshape(view)
        out += bias if isinstance(bias, float) else bias.reshape(view)
    else:
        out = np.empty_like(x)
        mean, var, rstd = np.empty((3, x.shape[1], 1, 1), x.dtype)
        weights, biases, result = _each_channel(weight, x), _each_channel(bias, x), _runs(out)

        def piece(a: int, b: int) -> None:
            part, off = runs[a:b], result[a:b]
            mean[a:b] = part.sum(axis=(1, 2), keepdims=True) / n
            np.subtract(part, mean[a:b], out=off)
            var[a:b] = _dot(off, off) / n
            rstd[a:b] = 1.0 / np.sqrt(var[a:b] + moments.eps)
            off *= rstd[a:b] * weights[a:b]
            off += biases[a:b]

        each(piece, ranges(len(runs), 2 * runs[:1].nbytes))
    moments.mean, moments.var, moments.rstd = mean.reshape(-1), var.reshape(-1), rstd.reshape(-1)
    return out


def _backward(g: Array, x: Array, moments: Moments, weight: Any = 1.0, back: Any = None) -> tuple[Array, Array]:
    """sum(g) and sum(g hat) of each channel, which the rules that follow find in moments.sums; and the gradient of x
    into `back`, if given."""
    gs, runs, backs = _runs_like(x, g), _runs(x), _runs(back)
    n, weights = x.size // x.shape[1], _each_channel(weight, x)
    mean, rstd = moments.mean.reshape(-1, 1, 1), moments.rstd.reshape(-1, 1, 1)
    sum_g, sum_g_hat = np.empty((2, *mean.shape), x.dtype)

    def piece(a: int, b: int) -> None:
        part = gs[a:b]
        off = scratch("off", part.shape, x.dtype) if back is None else backs[a:b]
        np.subtract(runs[a:b], mean[a:b], out=off)
        sum_g[a:b] = part.sum(axis=(1, 2), keepdims=True)
        sum_g_hat[a:b] = _dot(part, off) * rstd[a:b]
        if back is not None:
            off *= sum_g_hat[a:b] * rstd[a:b] / -n
            off -= sum_g[a:b] / n
            off += part
            off *= weights[a:b] * rstd[a:b]

    each(piece, ranges(len(runs), 3 * runs[:1].nbytes))
    sums = sum_g.reshape(-1), sum_g_hat.reshape(-1)
    moments.sums = weakref.ref(g), *sums
    return sums


# on CUDA: two launches each way, the first for the sums of each block's share of a channel


def _on_cuda(xp: Any, x: Array, weight: Any, bias: Any, moments: Moments) -> Array:
    x, weight, bias = (None if isinstance(a, float) else xp.ascontiguousarray(a) for a in (x, weight, bias))
    channels, n, out, found = x.shape[1], x.size // x.shape[1], xp.empty_like(x), xp.empty((3, x.shape[1]), x.dtype)
    parts, sizes = _parts(xp, x), (np.int64(n), np.int64(n // len(x)))
    kernels.shares("batch_norm_moments", x, channels, n, x, parts, *sizes)
    kernels.shares("batch_norm", x, channels, n, x, weight, bias, parts, out, found, *sizes, np.float64(moments.eps))
    moments.found, (moments.mean, moments.var, moments.rstd) = found, found
    return out


def _backward_on_cuda(g: Array, x: Array, moments: Moments, weight: Any) -> Array:
    """The gradient of x; sum(g) and sum(g hat) are left in moments.sums."""
    xp, known = backend.of(x).xp, weakref.ref(g)
    g, x, weight = (None if isinstance(a, float) else xp.ascontiguousarray(a) for a in (g, x, weight))
    channels, n, back = x.shape[1], x.size // x.shape[1], xp.empty_like(x)
    sums = [xp.empty(channels, x.dtype) for _ in range(2)]  # two arrays: each is a parameter's gradient
    parts, sizes = _parts(xp, x), (np.int64(n), np.int64(n // len(x)))
    kernels.shares("batch_norm_sums", x, channels, n, g, x, moments.found, parts, *sizes)
    kernels.shares("batch_norm_back", x, channels, n, g, x, weight, moments.found, parts, back, *sums, *sizes)
    moments.sums = known, *sums
    return back


def follow(running_mean: Any, running_var: Any, mean: Tensor, var: Tensor, n: int, momentum: Any) -> bool:
    """What nn.functional.batch_norm() does to the running statistics, in one launch; False if that can't be."""
    if running_mean is None or running_var is None or not isinstance(momentum, (int, float)):
        return False
    running, arrays = (running_mean, running_var), [t.data for t in (running_mean, running_var, mean, var)]
    if not kernels.fits(*arrays) or not kernels.dense(*arrays):
        return False
    kernels.elements("follow", *arrays, np.float64(momentum), np.float64(n / (n - 1)))
    for t in running:
        t._version[0] += 1
    if backend.capturing.hooks is not None:
        backend.capturing.met(running, arrays[0])
    return True


def _parts(xp: Any, x: Array) -> Array:
    """For two sums of each share of each channel."""
    return xp.empty((2, x.shape[1], kernels.count_shares(x.shape[1], x.size // x.shape[1])), x.dtype)


@op(
    cast="float",
    x=lambda g, scale: _affine(g, scale, 0.0),
    scale=lambda g, x: channel_sums(g * x),
    offset=lambda g: channel_sums(g),
)
def _affine(xp: XP, x: Operand, scale: Operand, offset: Operand) -> Array:
    """x scale + offset for each channel (axis 1): scale (C,), offset (C,) or a number."""
    runs = _runs(x)
    if runs is None:
        out = x * scale.reshape(_column(x))
        out += offset if isinstance(offset, float) else offset.reshape(_column(x))
        return out
    out = np.empty_like(x)
    scales, offsets, result = _each_channel(scale, x), _each_channel(offset, x), _runs(out)

    def piece(a: int, b: int) -> None:
        np.multiply(runs[a:b], scales[a:b], out=result[a:b])
        if not isinstance(offset, float):
            result[a:b] += offsets[a:b]

    each(piece, ranges(len(runs), 2 * runs[:1].nbytes))
    return out


# -- channels in memory -----------------------------------------------------------------------------


def _runs(x: Any) -> Any:
    """(N, C, ...) as a view (C, runs, length): long runs of memory. One a channel in images that lie as (C, H, W, N),
    see windows.py; N in those that lie as (N, C, H, W). None for others, and for what is no NumPy array."""
    if not isinstance(x, np.ndarray):
        return None
    last = x.transpose(*range(1, x.ndim), 0)
    if last.flags.c_contiguous:
        return last.reshape(len(last), 1, last[:1].size)
    if x.flags.c_contiguous:
        if x.ndim == 2:
            return last[:, None]
        return x.reshape(*x.shape[:2], x[:1, :1].size).swapaxes(0, 1)
    return None


def _runs_like(x: Array, g: Array) -> Any:
    """_runs(g), of a copy if it does not lie in memory as x does."""
    runs = _runs(g)
    if runs is None or runs.shape != _runs(x).shape:
        runs = _runs(ordered_as(x, g))
    return runs


def _each_channel(values: Any, x: Array) -> Array:
    """(C,), or one number for all, as (C, 1, 1)."""
    by_channel: Array = values.reshape(-1, 1, 1) if hasattr(values, "reshape") else np.full((x.shape[1], 1, 1), values)
    return by_channel.astype(x.dtype, copy=False)


def _dot(a: Array, b: Array) -> Array:
    """sum(a b) for each channel: (C, runs, length) twice -> (C, 1, 1)."""
    if a.strides[2] == b.strides[2] == a.itemsize:
        return np.vecdot(a, b).sum(axis=1).reshape(-1, 1, 1)
    return np.einsum("crn,crn->c", a, b).reshape(-1, 1, 1)  # (N, C) with each sample's numbers in one run
