"""Convolution and pooling over images (N, C, H, W). A convolution is one matrix product with the image's
windows laid out as columns; activations are channel-first in memory, (C, N, H, W) behind the logical order,
so that the product's result needs no transposition. The three functions _conv, _conv_input and _conv_weight
are each linear in both arguments, and each one's rules are the other two: derivatives of every order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import autograd
from ..autograd import Operand
from ..backend import Array
from ..operation import composed, op
from .elementwise import XP
from .shape import reshape

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["avg_pool2d", "conv2d", "max_pool2d"]

Pair = tuple[int, int]


class Windows(NamedTuple):
    """How windows of a kernel slide over an image: each a pair for height and width."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def out_size(self, image: tuple[int, ...]) -> Pair:
        """How many fit: (n + 2 padding - dilation (kernel - 1) - 1) / stride + 1 each way, rounded down."""
        sizes = zip(image[2:], *self, strict=True)
        oh, ow = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes]
        if len(image) != 4 or oh < 1 or ow < 1:
            raise ValueError(f"no window fits: {self} on images {image}, which should be (N, C, H, W)")
        return oh, ow

    def places(self, oh: int, ow: int) -> Iterator[tuple[int, int, Any]]:
        """For each place (i, j) of the kernel: which pixels of the padded image it meets, over all windows."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                top, left = i * self.dilation[0], j * self.dilation[1]
                rows = slice(top, top + (oh - 1) * self.stride[0] + 1, self.stride[0])
                yield i, j, (..., rows, slice(left, left + (ow - 1) * self.stride[1] + 1, self.stride[1]))

    def pad(self, xp: XP, x: Array, value: float = 0.0) -> Array:
        """(N, C, H, W) -> (C, N, H + 2p, W + 2q)."""
        if not any(self.padding):
            return x.transpose(1, 0, 2, 3)
        image = self.blank(xp, x.shape, x.dtype, value)
        self.inner(image)[...] = x
        return image

    def blank(self, xp: XP, shape: tuple[int, ...], dtype: Any, value: float = 0.0) -> Array:
        """A padded image (C, N, H + 2p, W + 2q) of one value, for images of `shape`."""
        (n, c, h, w), (p, q) = shape, self.padding
        return xp.full((c, n, h + 2 * p, w + 2 * q), value, dtype)

    def inner(self, image: Array) -> Array:
        """The view (N, C, H, W) of a padded image without its padding."""
        (h, w), (p, q) = image.shape[2:], self.padding
        return image[:, :, p : h - p, q : w - q].transpose(1, 0, 2, 3)


def pair(name: str, what: str, value: Any, least: int, *words: str) -> Any:
    """An int, or two of them, as (height, width); or one of the words."""
    if isinstance(value, str) and value in words:
        return value
    parts = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(parts) != 2 or not all(isinstance(n, (int, np.integer)) and n >= least for n in parts):
        or_words = f", {' or '.join(map(repr, words))}" if words else ""
        expected = f"an int >= {least} or two of them (height, width){or_words}"
        raise ValueError(f"{name}: {what} must be {expected}, not {value!r}")
    return int(parts[0]), int(parts[1])


def windows_of(name: str, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> Windows:
    """Windows of ints or pairs, checked."""
    given = zip(Windows._fields, (kernel, stride, padding, dilation), (1, 1, 0, 1), strict=True)
    return Windows(*[pair(name, what, value, least) for what, value, least in given])


# -- convolution ----------------------------------------------------------------------------------


@composed
def conv2d(
    x: Operand, weight: Operand, bias: Operand = None, stride: Pair = (1, 1), padding: Pair = (0, 0),
    dilation: Pair = (1, 1), groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation: x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O,) or None -> (N, O, oh, ow)."""
    o, c, *kernel = weight.shape if len(weight.shape) == 4 else (0, 0)
    if len(x.shape) != 4 or o == 0 or x.shape[1] != c * groups or o % groups:
        raise ValueError(
            f"conv2d: images {x.shape} must be (N, C, H, W), with C = {groups} groups x weight.shape[1]; the weight "
            f"{weight.shape} must be (O, C/groups, kh, kw), its O outputs a multiple of groups"
        )
    return _conv(x, weight, bias, windows=windows_of("conv2d", tuple(kernel), stride, padding, dilation), groups=groups)


def _columns(xp: XP, x: Array, windows: Windows, groups: int) -> tuple[Array, Pair]:
    """All windows as columns (groups, C/groups * kh * kw, N * oh * ow), and (oh, ow)."""
    oh, ow = windows.out_size(x.shape)
    image = windows.pad(xp, x)
    columns = xp.empty((x.shape[1], *windows.kernel, x.shape[0], oh, ow), x.dtype)
    for i, j, place in windows.places(oh, ow):
        columns[:, i, j] = image[place]
    return columns.reshape(groups, -1, x.shape[0] * oh * ow), (oh, ow)


def _rows(g: Array, groups: int) -> Array:
    """(N, O, oh, ow) -> (groups, O/groups, N * oh * ow)."""
    return g.transpose(1, 0, 2, 3).reshape(groups, g.shape[1] // groups, -1)


@op(
    x=lambda g, weight, shape, windows, groups: _conv_input(g, weight, size=shape, windows=windows, groups=groups),
    weight=lambda g, x, windows, groups: _conv_weight(g, x, windows=windows, groups=groups),
    bias=lambda g: g.sum(axis=(0, 2, 3)),
)
def _conv(xp: XP, x: Operand, weight: Operand, bias: Operand, windows: Any = None, groups: int = 1) -> Array:
    columns, (oh, ow) = _columns(xp, x, windows, groups)
    out = xp.matmul(weight.reshape(groups, weight.shape[0] // groups, -1), columns)
    out = out.reshape(weight.shape[0], x.shape[0], oh, ow)
    if bias is not None:
        out += bias.reshape(-1, 1, 1, 1)
    return out.transpose(1, 0, 2, 3)


@op(
    g=lambda grad, weight, windows, groups: _conv(grad, weight, None, windows=windows, groups=groups),
    weight=lambda grad, g, windows, groups: _conv_weight(g, grad, windows=windows, groups=groups),
)
def _conv_input(xp: XP, g: Operand, weight: Operand, size: Any = None, windows: Any = None, groups: int = 1) -> Array:
    """The transpose of _conv in its image (of shape `size`): what each output gives back to its window."""
    image = windows.blank(xp, size, g.dtype)
    columns = xp.matmul(weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2), _rows(g, groups))
    columns = columns.reshape(size[1], *windows.kernel, size[0], *g.shape[2:])
    for i, j, place in windows.places(*g.shape[2:]):
        image[place] += columns[:, i, j]
    return windows.inner(image)


@op(
    g=lambda grad, x, windows, groups: _conv(x, grad, None, windows=windows, groups=groups),
    x=lambda grad, g, shape, windows, groups: _conv_input(g, grad, size=shape, windows=windows, groups=groups),
)
def _conv_weight(xp: XP, g: Operand, x: Operand, windows: Any = None, groups: int = 1) -> Array:
    """The transpose of _conv in its weight: each output times the window that it saw."""
    columns, _ = _columns(xp, x, windows, groups)
    product = xp.matmul(_rows(g, groups), columns.swapaxes(1, 2))
    return product.reshape(g.shape[1], x.shape[1] // groups, *windows.kernel)


# -- pooling --------------------------------------------------------------------------------------


def hold(x: Any) -> Any:
    """x as a constant: which place of a window is the largest does not change with x."""
    return x.detach() if isinstance(x, autograd.TensorType) else x


@composed
def max_pool2d(
    x: Operand, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Tensor:
    """The largest of each window, (N, C, H, W) -> (N, C, oh, ow); of equal ones the first takes the gradient."""
    windows = windows_of("max_pool2d", kernel, stride, padding, dilation)
    if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
        raise ValueError(f"max_pool2d: padding {padding} must be at most half the kernel {kernel}")
    return _max_pool(x, windows=windows)


@op(x=lambda g, out, x, windows: _max_scatter(g, hold(x), hold(out), windows=windows))
def _max_pool(xp: XP, x: Operand, windows: Any = None) -> Array:
    oh, ow = windows.out_size(x.shape)
    image = windows.pad(xp, x, -float("inf"))
    out = xp.full((x.shape[1], x.shape[0], oh, ow), -float("inf"), x.dtype)
    for _, _, place in windows.places(oh, ow):
        xp.maximum(out, image[place], out=out)
    return out.transpose(1, 0, 2, 3)


def _winners(xp: XP, x: Array, out: Array, windows: Windows) -> Iterator[tuple[Any, Array]]:
    """For each place of the window: its pixels, and in which windows the maximum is taken from there."""
    image, out = windows.pad(xp, x, -float("inf")), out.transpose(1, 0, 2, 3)
    free = xp.ones(out.shape, bool)
    for _, _, place in windows.places(*out.shape[2:]):
        hit = (image[place] == out) & free
        free &= ~hit
        yield place, hit


@op(g=lambda grad, x, top, windows: _max_gather(grad, x, top, windows=windows))
def _max_scatter(xp: XP, g: Operand, x: Operand, top: Operand, windows: Any = None) -> Array:
    """Each window's gradient to the place of its maximum `top`."""
    image, g = windows.blank(xp, x.shape, g.dtype), g.transpose(1, 0, 2, 3)
    for place, hit in _winners(xp, x, top, windows):
        image[place] += g * hit
    return windows.inner(image)


@op(g=lambda grad, x, top, windows: _max_scatter(grad, x, top, windows=windows))
def _max_gather(xp: XP, g: Operand, x: Operand, top: Operand, windows: Any = None) -> Array:
    """The transpose of _max_scatter: from an image, what stands where each window of x has its maximum."""
    image = windows.pad(xp, g)
    total = xp.zeros((top.shape[1], top.shape[0], *top.shape[2:]), g.dtype)
    for place, hit in _winners(xp, x, top, windows):
        total += image[place] * hit
    return total.transpose(1, 0, 2, 3)


@composed
def avg_pool2d(x: Operand, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0)) -> Tensor:
    """The mean of each window, (N, C, H, W) -> (N, C, oh, ow); padding counts as zeros. A convolution of each
    channel with a constant."""
    n, c, *image = x.shape
    mean = autograd.TensorType(np.full((1, 1, *kernel), 1.0 / (kernel[0] * kernel[1]), x.dtype), device=x.device)
    out = conv2d(reshape(x, (n * c, 1, *image)), mean, None, stride, padding)
    return reshape(out, (n, c, *out.shape[2:]))
