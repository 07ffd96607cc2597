"""Convolution on CUDA: the same three maps as in conv.py, which is the text to read first. An image's memory is as its
shape says, (N, C, H, W): CuPy's elementwise operations give no other order. So all windows of one image are a matrix of
columns, a stack of products makes as many images, and nothing is moved between layers. Where columns would take much
memory, some images' are made at a time; or none at all, where cuDNN is switched on (cudnn.py)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from .. import cudnn, kernels
from ..backend import Array
from .elementwise import XP
from .windows import Pair, Windows

COLUMNS = 128 << 20  # bytes of columns at a time


def conv(xp: XP, x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """conv.py's _conv, without bias: x (N, C, H, W), weight (O, C/groups, kh, kw) -> (N, O, oh, ow)."""
    if cudnn.wanted(x, weight) and (found := cudnn.conv(xp, x, weight, windows, groups)) is not None:
        return found
    x, weight, size = xp.ascontiguousarray(x), xp.ascontiguousarray(weight), windows.out_size(x.shape)
    out = xp.empty((len(x), len(weight), *size), x.dtype)
    for part in _parts(x, windows, size):
        by_group, columns = _grouped(out[part], groups), _columns(xp, x[part], windows, size, groups)
        kernels.products(_for_each(xp, weight, groups, columns), columns, by_group)
    return out


def conv_input(xp: XP, g: Array, weight: Array, size: Any, windows: Windows, groups: int) -> Array:
    """conv.py's _conv_input: the transpose of conv in its image, of shape `size`."""
    if cudnn.wanted(g, weight) and (found := cudnn.conv_input(xp, g, weight, size, windows, groups)) is not None:
        return found
    g, weight = xp.ascontiguousarray(g), xp.ascontiguousarray(weight)
    image, direct = xp.empty(size, g.dtype), _is_its_columns(windows)
    for part in _parts(image, windows, g.shape[2:]):
        rows, target = _grouped(g[part], groups), image[part]
        each = _for_each(xp, weight, groups, rows).swapaxes(1, 2)
        shape = len(rows), each.shape[1], rows.shape[2]
        columns = kernels.products(each, rows, _grouped(target, groups) if direct else xp.empty(shape, g.dtype))
        if not direct:
            kernels.slide("col2im", columns, target, size, windows, g.shape[2:])
    return image


def conv_weight(xp: XP, g: Array, x: Array, windows: Windows, groups: int) -> Array:
    """conv.py's _conv_weight: the transpose of conv in its weight; of each image by itself, to be added up."""
    shape = g.shape[1], x.shape[1] // groups, *windows.kernel
    if cudnn.wanted(g, x) and (found := cudnn.conv_weight(xp, g, x, shape, windows, groups)) is not None:
        return found
    g, x = xp.ascontiguousarray(g), xp.ascontiguousarray(x)
    total, wide = None, np.result_type(g.dtype, np.float32)  # float16 is added up in float32
    for part in _parts(x, windows, g.shape[2:]):
        rows, columns = _grouped(g[part], groups), _columns(xp, x[part], windows, g.shape[2:], groups)
        of_each = xp.empty((len(rows), rows.shape[1], columns.shape[1]), g.dtype)
        kernels.products(rows, columns.swapaxes(1, 2), of_each)
        slope = of_each.reshape(-1, *shape).sum(axis=0, dtype=wide)
        total = slope if total is None else xp.add(total, slope, out=total)
    return xp.zeros(shape, g.dtype) if total is None else total.astype(g.dtype, copy=False)


def _parts(x: Array, windows: Windows, size: Pair) -> Iterator[slice]:
    """The images in parts of about COLUMNS bytes of columns."""
    if _is_its_columns(windows):
        return iter([slice(None)] if len(x) else [])
    n = max(1, COLUMNS // max(1, x[:1].nbytes // max(1, prod(x.shape[2:])) * prod((*windows.kernel, *size))))
    n = -(-len(x) // max(1, -(-len(x) // n)))  # parts of one size, but for the last
    return (slice(start, start + n) for start in range(0, len(x), max(1, n)))


def _is_its_columns(windows: Windows) -> bool:
    """Whether an image is already laid out as its windows: those of one pixel."""
    return windows == Windows((1, 1), (1, 1), (0, 0), windows.dilation)


def _columns(xp: XP, x: Array, windows: Windows, size: Pair, groups: int) -> Array:
    """All windows as columns: (N groups, C/groups kh kw, oh ow)."""
    if _is_its_columns(windows):
        return _grouped(x, groups)
    columns = xp.empty((*x.shape[:2], *windows.kernel, *size), x.dtype)
    kernels.slide("im2col", x, columns, x.shape, windows, size)
    return columns.reshape(len(x) * groups, x.shape[1] // groups * prod(windows.kernel), prod(size))


def _grouped(x: Array, groups: int) -> Array:
    """(N, C, H, W) -> (N groups, C/groups, H W), a view."""
    return x.reshape(len(x) * groups, x.shape[1] // groups, prod(x.shape[2:]))


def _for_each(xp: XP, weight: Array, groups: int, stack: Array) -> Array:
    """The weight as one matrix (O/groups, C/groups kh kw) for each group of each image of a stack (N groups, ., .); the
    same memory for all images if there is one group."""
    matrices = weight.reshape(groups, len(weight) // groups, prod(weight.shape[1:]))
    if groups == 1:
        return xp.broadcast_to(matrices, (len(stack), *matrices.shape[1:]))
    every = xp.broadcast_to(matrices, (len(stack) // groups, *matrices.shape))
    return xp.ascontiguousarray(every).reshape(len(stack), *matrices.shape[1:])
