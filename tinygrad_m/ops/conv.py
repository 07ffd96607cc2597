"""Convolution over images (N, C, H, W): one matrix product with the image's windows laid out as columns. The three
functions _conv, _conv_input and _conv_weight are each linear in both arguments, and each one's rules are the other
two: derivatives of every order. What stands here is the plain way; conv_cpu.py does the same with NumPy and
conv_cuda.py on a GPU, faster. windows.py says how images lie in memory; pool.py has what usually follows a
convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Operand
from ..backend import Array
from ..kernels import product
from ..operation import composed, op
from . import conv_cpu, conv_cuda
from .elementwise import XP
from .windows import Pair, Windows, batch_last, channel_sums, windows_of

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["conv2d"]


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


def _fast(xp: XP, x: Array, windows: Windows) -> bool:
    """Whether conv_cpu.py can do it: there a window's rows are neighbours, and something is to be done."""
    return xp is np and windows.dilation[0] == 1 and x.size > 0


def _on_cuda(*arrays: Array) -> bool:
    """Whether conv_cuda.py can."""
    return kernels.fits(*arrays, dtypes="efd")


def _columns(xp: XP, x: Array, windows: Windows, groups: int) -> tuple[Array, Pair]:
    """All windows as columns (groups, C/groups * kh * kw, oh * ow * N), and (oh, ow)."""
    oh, ow = windows.out_size(x.shape)
    columns = xp.empty((x.shape[1], *windows.kernel, oh, ow, x.shape[0]), x.dtype)
    image = windows.pad(xp, x)
    for i, j, place in windows.places(oh, ow):
        columns[:, i, j] = image[place]
    k = x.shape[1] // groups * windows.kernel[0] * windows.kernel[1]
    return columns.reshape(groups, k, oh * ow * x.shape[0]), (oh, ow)


def _rows(xp: XP, g: Array, groups: int) -> Array:
    """(N, O, oh, ow) -> (groups, O/groups, oh * ow * N)."""
    return batch_last(xp, g).reshape(groups, g.shape[1] // groups, g.size // max(g.shape[1], 1))


@op(
    x=lambda g, weight, shape, windows, groups: _conv_input(g, weight, size=shape, windows=windows, groups=groups),
    weight=lambda g, x, windows, groups: _conv_weight(g, x, windows=windows, groups=groups),
    bias=lambda g: channel_sums(g),
)
def _conv(xp: XP, x: Operand, weight: Operand, bias: Operand, windows: Any = None, groups: int = 1) -> Array:
    if _fast(xp, x, windows):
        return conv_cpu.conv(x, weight, bias, windows, groups)
    if _on_cuda(x, weight):
        out = conv_cuda.conv(xp, x, weight, windows, groups)
        if bias is not None:
            out += bias.reshape(-1, 1, 1)
        return out
    columns, (oh, ow) = _columns(xp, x, windows, groups)
    out = product(weight.reshape(groups, weight.shape[0] // groups, -1), columns)
    out = out.reshape(weight.shape[0], oh, ow, x.shape[0])
    if bias is not None:
        out += bias.reshape(-1, 1, 1, 1)
    return out.transpose(3, 0, 1, 2)


@op(
    g=lambda grad, weight, windows, groups: _conv(grad, weight, None, windows=windows, groups=groups),
    weight=lambda grad, g, windows, groups: _conv_weight(g, grad, windows=windows, groups=groups),
)
def _conv_input(xp: XP, g: Operand, weight: Operand, size: Any = None, windows: Any = None, groups: int = 1) -> Array:
    """The transpose of _conv in its image (of shape `size`): what each output gives back to its window."""
    if _fast(xp, g, windows):
        return conv_cpu.conv_input(g, weight, size, windows, groups)
    if _on_cuda(g, weight):
        return conv_cuda.conv_input(xp, g, weight, size, windows, groups)
    columns = product(weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2), _rows(xp, g, groups))
    columns = columns.reshape(size[1], *windows.kernel, *g.shape[2:], size[0])
    image = windows.blank(xp, size, g.dtype)
    for i, j, place in windows.places(*g.shape[2:]):
        image[place] += columns[:, i, j]
    return windows.inner(image)


@op(
    g=lambda grad, x, windows, groups: _conv(x, grad, None, windows=windows, groups=groups),
    x=lambda grad, g, shape, windows, groups: _conv_input(g, grad, size=shape, windows=windows, groups=groups),
)
def _conv_weight(xp: XP, g: Operand, x: Operand, windows: Any = None, groups: int = 1) -> Array:
    """The transpose of _conv in its weight: each output times the window that it saw."""
    if _fast(xp, x, windows):
        return conv_cpu.conv_weight(g, x, windows, groups)
    if _on_cuda(g, x):
        return conv_cuda.conv_weight(xp, g, x, windows, groups)
    columns, _ = _columns(xp, x, windows, groups)
    slope = product(_rows(xp, g, groups), columns.swapaxes(1, 2))
    return slope.reshape(g.shape[1], x.shape[1] // groups, *windows.kernel)
