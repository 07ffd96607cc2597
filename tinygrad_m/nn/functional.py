"""Layers and losses as functions: what a layer computes when its weights are given as arguments, to write forward()
in formulas (`import tinygrad_m.nn.functional as F`). All are composed of operations in ../ops, and so have derivatives
of every order. The losses come from losses.py; layers.py holds the weights."""

import math
from typing import Any

from .. import ops
from ..amp import autocasting, narrow, wide
from ..autograd import no_grad
from ..creation import arange, ones
from ..ops import gelu, relu, sigmoid, silu, tanh
from ..ops.batch_norm import _affine, fits, follow, fused_batch_norm, plain_batch_norm
from ..ops.dropout import dropped
from ..ops.fused import _linear_by_columns, by_columns
from ..ops.windows import pair as pair  # layers.py calls it, too
from ..tensor import Tensor
from . import losses
from .losses import *  # noqa: F403

__all__ = ["avg_pool2d", "batch_norm", "conv2d", "dropout", "elu", "embedding", "flatten", "gelu", "layer_norm",
           "leaky_relu", "linear", "log_softmax", "max_pool2d", "one_hot", "relu", "sigmoid", "silu", "softmax",
           "softplus", "tanh"]  # fmt: skip
__all__ += losses.__all__

# -- activations (relu, sigmoid, tanh, silu and gelu are operations as they are) -------------------


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope x (Maas et al., 2013)."""
    return ops.leaky_relu(input, negative_slope=float(negative_slope))


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha (e^x - 1) (Clevert et al., 2015, arXiv:1511.07289)."""
    return ops.elu(input, alpha=float(alpha))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta: a smooth relu. Where beta x > threshold it is x itself."""
    z = ops.multiply(input, float(beta))
    return ops.where(z > float(threshold), input, ops.softplus(z) * (1.0 / float(beta)))


def softmax(input: Tensor, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """e^x / sum(e^x) along an axis, called dim or axis. Not before cross_entropy, which contains it."""
    return ops.softmax(wide(input), axis=dim if axis is None else axis)


def log_softmax(input: Tensor, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """log(softmax(x)) along an axis, called dim or axis, without overflow; nll_loss goes with it."""
    return ops.log_softmax(wide(input), axis=dim if axis is None else axis)


# -- linear maps and images -----------------------------------------------------------------------


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias: input (..., in), weight (out, in), bias (out,) -> (..., out)."""
    if autocasting.on:
        input, weight, bias = narrow(input, weight, bias)
    return (_linear_by_columns if by_columns(weight.data) else ops.linear)(input, weight, bias)


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:  # fmt: skip
    """out[n, o, i, j] = bias[o] + sum of weight[o, c, k, l] input[n, c, i + k, j + l] over c, k, l (for stride 1):
    input (N, C, H, W) or (C, H, W), weight (O, C/groups, kh, kw), bias (O,). padding: zeros on each side, or "valid"
    (none), or "same" (as many as keep H and W; stride must be 1)."""
    if autocasting.on:
        input, weight, bias = narrow(input, weight, bias)
    stride, dilation = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
    padding = pair("conv2d", "padding", padding, 0, "same", "valid")
    x = _images("conv2d", input)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"conv2d: padding='same' does not go with stride {stride}: give the padding in ints")
        total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(n % 2 for n in total):  # the odd one goes below and to the right, as in PyTorch
            x = ops.pad(x, [(0, 0), (0, 0), *((n // 2, n - n // 2) for n in total)])
            total = [0, 0]
        padding = (total[0] // 2, total[1] // 2)
    elif padding == "valid":
        padding = (0, 0)
    out = ops.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=int(groups))
    return out if input.ndim == 4 else out.squeeze(0)


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """The largest of each window, (N, C, H, W) or (C, H, W); stride None: the kernel's size, so windows touch."""
    kernel, stride, padding = window("max_pool2d", kernel_size, stride, padding)
    x, dilation = _images("max_pool2d", input), pair("max_pool2d", "dilation", dilation, 1)
    out = ops.max_pool2d(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return out if input.ndim == 4 else out.squeeze(0)


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *,
               count_include_pad: bool = True) -> Tensor:  # fmt: skip
    """The mean of each window, (N, C, H, W) or (C, H, W); the padding's zeros count unless count_include_pad=False."""
    kernel, stride, padding = window("avg_pool2d", kernel_size, stride, padding)
    x = _images("avg_pool2d", input)
    out = ops.avg_pool2d(x, kernel=kernel, stride=stride, padding=padding)
    if padding != (0, 0) and not count_include_pad:
        inside = ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        out = out / ops.avg_pool2d(inside, kernel=kernel, stride=stride, padding=padding)
    return out if input.ndim == 4 else out.squeeze(0)


def _images(name: str, x: Tensor) -> Tensor:
    """(C, H, W) as a batch of one."""
    if x.ndim not in (3, 4):
        raise ValueError(f"{name} takes images (N, C, H, W) or (C, H, W), got shape {x.shape}")
    return x if x.ndim == 4 else ops.expand_dims(x, axis=0)


def window(name: str, kernel: Any, stride: Any, padding: Any) -> tuple[Any, Any, Any]:
    """Kernel, stride (None: the kernel's) and padding of a pooling window, as pairs."""
    kernel, pad = pair(name, "kernel_size", kernel, 1), pair(name, "padding", padding, 0)
    if 2 * pad[0] > kernel[0] or 2 * pad[1] > kernel[1]:
        raise ValueError(f"{name}: padding {padding!r} must be at most half the kernel {kernel}")
    return kernel, pair(name, "stride", kernel if stride is None else stride, 1), pad


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim as one: with start_dim=1 (N, C, H, W) -> (N, C H W)."""
    shape, ndim = input.shape, max(input.ndim, 1)
    start, end = (d + ndim if d < 0 else d for d in (start_dim, end_dim))
    if not 0 <= start <= end < ndim:
        raise ValueError(f"flatten: axes {start_dim} to {end_dim} are none of shape {shape}")
    return ops.reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


# -- integers -------------------------------------------------------------------------------------


def embedding(input: Any, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """weight[input]: integers of any shape -> rows of weight (n, d), shape (*input.shape, d). The row padding_idx
    gets no gradient. Raises IndexError for an integer outside 0 .. n - 1; integers on CUDA are not waited
    for: there a bad one gives nan."""
    index = input if isinstance(input, Tensor) else Tensor(input, device="cpu")
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: indices must be integers, not {index.dtype}: use .astype('int64')")
    (low, high), rows = losses.extremes(index), weight.shape[0]
    if low < 0 or high >= rows:
        bad = low if low < 0 else high
        raise IndexError(f"embedding: index {bad} is outside of the table of {rows} rows, 0 to {rows - 1}")
    index = index.astype("int64")
    inside = None if index.device == "cpu" else (index >= 0) & (index < rows)
    index = (index if inside is None else ops.where(inside, index, 0)).to(weight.device)
    own = index.clone().data  # changing the caller's later must not change the gradient
    out = ops.indexing._getitem(weight, index=(own,))  # getitem would check it again, and wait for the GPU
    if padding_idx is not None:
        out = ops.where(ops.expand_dims(index == padding_idx % rows, axis=-1), out.detach(), out)
    return out if inside is None else ops.where(ops.expand_dims(inside, axis=-1), out, math.nan)


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """Integers of any shape -> int64 (*input.shape, num_classes): 1 at the integer, 0 elsewhere. num_classes -1: one
    more than the largest (from CUDA this waits)."""
    labels = input if isinstance(input, Tensor) else Tensor(input)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"one_hot takes integers, not {labels.dtype}: use .astype('int64')")
    if num_classes < 0:
        num_classes = int(labels.max()) + 1
    low, high = losses.extremes(labels)
    if low < 0 or high >= num_classes:
        raise ValueError(f"one_hot: labels are {low} to {high}, but classes 0 to {num_classes - 1}")
    classes = arange(num_classes, device=labels.device)
    return (ops.expand_dims(labels.astype("int64"), axis=-1) == classes).astype("int64")


# -- noise and normalisation ----------------------------------------------------------------------


def probability(name: str, p: float) -> float:
    """p, checked."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: p must be a probability from 0 to 1, not {p!r}")
    return float(p)


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """x m / (1 - p), where m is 0 with probability p, else 1: the mean stays (Srivastava et al., 2014). Without
    training x itself. The mask's seeds come from the host's generator: one seed, one mask, on every device."""
    p = probability("dropout", p)
    if not training or p == 0.0:
        return input
    return dropped(input if isinstance(input, Tensor) else Tensor(input), p)


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float | Tensor = 0.1,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) weight + bias for each channel (axis 1) (Ioffe and Szegedy, 2015, arXiv:1502.03167).

    In training mean and var are the batch's own (var divides by n), part of the graph, and the running ones, if
    given, follow in place: r <- (1 - momentum) r + momentum new, where the new var divides by n - 1."""
    x = wide(input if isinstance(input, Tensor) else Tensor(input))
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm needs running_mean and running_var unless training=True")
        if not fits(x, running_mean, running_var, weight, bias):
            return plain_batch_norm(x, weight, bias, running_mean, running_var, eps)[0]
        scale = ops.rsqrt(running_var + eps) if weight is None else ops.rsqrt(running_var + eps) * weight
        offset = -running_mean * scale if bias is None else bias - running_mean * scale
        return _affine(x, scale, offset)
    n = x.size // max(x.shape[1], 1)
    if n < 2:
        raise ValueError(f"batch_norm: training needs more than 1 value for each channel, got {x.shape}: use eval()")
    if fits(x, weight, bias):
        out, mean, var = fused_batch_norm(x, weight, bias, eps)
    else:
        out, mean, var = plain_batch_norm(x, weight, bias, eps=eps)
    with no_grad():
        if not follow(running_mean, running_var, mean, var, n, momentum):
            if running_mean is not None:
                running_mean += (mean - running_mean) * momentum  # in place
            if running_var is not None:
                running_var += (var * (n / (n - 1)) - running_var) * momentum
    return out


def layer_norm(input: Tensor, normalized_shape: int | tuple[int, ...], weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) weight + bias, each sample by itself: mean and var over the last axes, whose sizes
    are normalized_shape; weight and bias have that shape (Ba et al., 2016, arXiv:1607.06450)."""
    x = wide(input if isinstance(input, Tensor) else Tensor(input))
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm over the last axes {shape} does not fit an input of shape {x.shape}")
    axes = tuple(range(-len(shape), 0))
    off = x - x.mean(axis=axes, keepdims=True)
    out = off * ops.rsqrt(ops.square(off).mean(axis=axes, keepdims=True) + eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias
