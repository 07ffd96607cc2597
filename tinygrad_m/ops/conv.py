"""Convolution and pooling over images (N, C, H, W). A convolution is one matrix product with the image's
windows laid out as columns; activations are channel-first in memory, (C, N, H, W) behind the logical order,
so that the product's result needs no transposition. The three functions conv2d, _conv_input and _conv_weight
are each linear in both arguments, and each one's rules are the other two: derivatives of every order."""

from __future__ import annotations

from typing import Any

from .. import autograd
from ..autograd import Operand
from ..backend import Array
from ..operation import op
from .elementwise import XP

__all__ = [
    "avg_pool2d", "conv2d", "max_pool2d",
]  # fmt: skip


Pair = tuple[int, int]


def out_size(n: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Windows along one axis: (n + 2 padding - dilation (kernel - 1) - 1) / stride + 1, rounded down."""
    return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _windows(height: int, width: int, kernel: Pair, stride: Pair, dilation: Pair) -> Any:
    """For each kernel place (i, j): the slices of the padded image that it meets, height and width of the result."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (height - 1) * stride[0] + 1, stride[0])
            cols = slice(left, left + (width - 1) * stride[1] + 1, stride[1])
            yield i, j, (slice(None), slice(None), rows, cols)


def _padded(xp: XP, x: Array, padding: Pair, value: float) -> Array:
    """(N, C, H, W) -> (C, N, H + 2p, W + 2q), contiguous."""
    x = x.transpose(1, 0, 2, 3)
    if padding == (0, 0):
        return x
    c, n, h, w = x.shape
    out = xp.full((c, n, h + 2 * padding[0], w + 2 * padding[1]), value, x.dtype)
    out[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w] = x
    return out


def _columns(
    xp: XP, x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Array, Any]:
    """The windows as columns: (groups, C/groups * kh * kw, N * oh * ow), and (oh, ow)."""
    n, c, h, w = x.shape
    oh = out_size(h, kernel[0], stride[0], padding[0], dilation[0])
    ow = out_size(w, kernel[1], stride[1], padding[1], dilation[1])
    image = _padded(xp, x, padding, 0.0)
    columns = xp.empty((c, *kernel, n, oh, ow), x.dtype)
    for i, j, window in _windows(oh, ow, kernel, stride, dilation):
        columns[:, i, j] = image[window]
    return columns.reshape(groups, c // groups * kernel[0] * kernel[1], n * oh * ow), (oh, ow)


@op(
    x=lambda g, weight, shape, stride, padding, dilation, groups: _conv_input(
        g, weight, size=shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
    ),
    weight=lambda g, x, shape, stride, padding, dilation, groups: _conv_weight(
        g, x, kernel=shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
    ),
    bias=lambda g: g.sum(axis=(0, 2, 3)),
)
def conv2d(
    xp: XP,
    x: Operand,
    weight: Operand,
    bias: Operand,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Cross-correlation: x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O,) or None -> (N, O, oh, ow)."""
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"the image {x.shape} must be (N, C, H, W) with C = weight.shape[1] * groups of the weight {weight.shape}, "
            f"groups {groups}, which must divide the weight's {weight.shape[0]} outputs"
        )
    columns, (oh, ow) = _columns(xp, x, weight.shape[2:], stride, padding, dilation, groups)
    if oh < 1 or ow < 1:
        raise ValueError(
            f"a kernel {weight.shape[2:]} with dilation {dilation} is larger than the image {x.shape[2:]} "
            f"padded by {padding}"
        )
    out = xp.matmul(weight.reshape(groups, weight.shape[0] // groups, -1), columns)
    out = out.reshape(weight.shape[0], x.shape[0], oh, ow)
    if bias is not None:
        out += bias.reshape(-1, 1, 1, 1)
    return out.transpose(1, 0, 2, 3)


@op(
    g=lambda g, weight, stride, padding, dilation, groups: conv2d(
        g, weight, None, stride=stride, padding=padding, dilation=dilation, groups=groups
    ),
    weight=lambda grad, g, shape, stride, padding, dilation, groups: _conv_weight(
        g, grad, kernel=shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
    ),
)
def _conv_input(
    xp: XP,
    g: Operand,
    weight: Operand,
    size: Pair = (1, 1),
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """The transpose of conv2d in its image (H, W = size): what each output pixel gives back to its window."""
    n, o, oh, ow = g.shape
    c, kernel = weight.shape[1] * groups, weight.shape[2:]
    rows = g.transpose(1, 0, 2, 3).reshape(groups, o // groups, n * oh * ow)
    columns = xp.matmul(weight.reshape(groups, o // groups, -1).swapaxes(1, 2), rows)
    columns = columns.reshape(c, *kernel, n, oh, ow)
    image = xp.zeros((c, n, size[0] + 2 * padding[0], size[1] + 2 * padding[1]), g.dtype)
    for i, j, window in _windows(oh, ow, kernel, stride, dilation):
        image[window] += columns[:, i, j]
    inner = image[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    return inner.transpose(1, 0, 2, 3)


@op(
    g=lambda grad, x, stride, padding, dilation, groups: conv2d(
        x, grad, None, stride=stride, padding=padding, dilation=dilation, groups=groups
    ),
    x=lambda grad, g, shape, stride, padding, dilation, groups: _conv_input(
        g, grad, size=shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
    ),
)
def _conv_weight(
    xp: XP,
    g: Operand,
    x: Operand,
    kernel: Pair = (1, 1),
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """The transpose of conv2d in its weight: each output pixel times the window that it saw."""
    columns, (oh, ow) = _columns(xp, x, kernel, stride, padding, dilation, groups)
    o = g.shape[1]
    rows = g.transpose(1, 0, 2, 3).reshape(groups, o // groups, -1)
    return xp.matmul(rows, columns.swapaxes(1, 2)).reshape(o, x.shape[1] // groups, *kernel)


# -- pooling --------------------------------------------------------------------------------------


def hold(x: Any) -> Any:
    """x as a constant: which place of a window is the largest does not change with x."""
    return x.detach() if isinstance(x, autograd.TensorType) else x


def _pool_shape(x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)) -> Pair:
    if x.ndim != 4:
        raise ValueError(f"pooling takes images (N, C, H, W), got shape {x.shape}")
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise ValueError(f"padding {padding} must be at most half the kernel {kernel}")
    oh = out_size(x.shape[2], kernel[0], stride[0], padding[0], dilation[0])
    ow = out_size(x.shape[3], kernel[1], stride[1], padding[1], dilation[1])
    if oh < 1 or ow < 1:
        raise ValueError(f"a window {kernel} is larger than the image {x.shape[2:]} padded by {padding}")
    return oh, ow


@op(
    x=lambda g, out, x, kernel, stride, padding, dilation: _max_scatter(
        g, hold(x), hold(out), kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
)
def max_pool2d(
    xp: XP, x: Operand, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Array:
    """The largest of each window, (N, C, H, W) -> (N, C, oh, ow); of equal ones the first takes the gradient."""
    oh, ow = _pool_shape(x, kernel, stride, padding, dilation)
    image = _padded(xp, x, padding, -float("inf"))
    out: Any = None
    for _, _, window in _windows(oh, ow, kernel, stride, dilation):
        out = image[window].copy() if out is None else xp.maximum(out, image[window], out=out)
    return out.transpose(1, 0, 2, 3)


def _firsts(xp: XP, x: Array, out: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Any:
    """For each place of the window: its slices of the padded image, and where the maximum is taken from it."""
    image, out = _padded(xp, x, padding, -float("inf")), out.transpose(1, 0, 2, 3)
    free = xp.ones(out.shape, bool)
    for _, _, window in _windows(out.shape[2], out.shape[3], kernel, stride, dilation):
        hit = (image[window] == out) & free
        free &= ~hit
        yield window, hit


@op(
    g=lambda grad, x, out_, kernel, stride, padding, dilation: _max_gather(
        grad, x, out_, kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
)
def _max_scatter(
    xp: XP,
    g: Operand,
    x: Operand,
    out_: Operand,
    kernel: Pair = (2, 2),
    stride: Pair = (2, 2),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Array:
    """Each window's gradient to the place of its maximum."""
    n, c, h, w = x.shape
    image = xp.zeros((c, n, h + 2 * padding[0], w + 2 * padding[1]), g.dtype)
    g = g.transpose(1, 0, 2, 3)
    for window, hit in _firsts(xp, x, out_, kernel, stride, padding, dilation):
        image[window] += g * hit
    return image[:, :, padding[0] : padding[0] + h, padding[1] : padding[1] + w].transpose(1, 0, 2, 3)


@op(
    g=lambda grad, x, out_, kernel, stride, padding, dilation: _max_scatter(
        grad, x, out_, kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
)
def _max_gather(
    xp: XP,
    g: Operand,
    x: Operand,
    out_: Operand,
    kernel: Pair = (2, 2),
    stride: Pair = (2, 2),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Array:
    """The transpose of _max_scatter: from an image, what stands at each window's maximum."""
    image = _padded(xp, g, padding, 0.0)
    total = xp.zeros((out_.shape[1], out_.shape[0], *out_.shape[2:]), g.dtype)
    for window, hit in _firsts(xp, x, out_, kernel, stride, padding, dilation):
        total += image[window] * hit
    return total.transpose(1, 0, 2, 3)


@op(
    x=lambda g, shape, kernel, stride, padding: _avg_scatter(
        g, size=shape[2:], kernel=kernel, stride=stride, padding=padding
    )
)
def avg_pool2d(xp: XP, x: Operand, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0)) -> Array:
    """The mean of each window, (N, C, H, W) -> (N, C, oh, ow); padding counts as zeros."""
    oh, ow = _pool_shape(x, kernel, stride, padding)
    image = _padded(xp, x, padding, 0.0)
    total = xp.zeros((image.shape[0], image.shape[1], oh, ow), x.dtype)
    for _, _, window in _windows(oh, ow, kernel, stride, (1, 1)):
        total += image[window]
    total *= 1.0 / (kernel[0] * kernel[1])
    return total.transpose(1, 0, 2, 3)


@op(g=lambda grad, kernel, stride, padding: avg_pool2d(grad, kernel=kernel, stride=stride, padding=padding))
def _avg_scatter(
    xp: XP, g: Operand, size: Pair = (1, 1), kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0)
) -> Array:
    """The transpose of avg_pool2d: each output's share to all places of its window."""
    n, c, oh, ow = g.shape
    image = xp.zeros((c, n, size[0] + 2 * padding[0], size[1] + 2 * padding[1]), g.dtype)
    share = g.transpose(1, 0, 2, 3) * (1.0 / (kernel[0] * kernel[1]))
    for _, _, window in _windows(oh, ow, kernel, stride, (1, 1)):
        image[window] += share
    return image[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]].transpose(1, 0, 2, 3)
