"""Pooling: the largest or the mean of each window of an image, (N, C, H, W) -> (N, C, oh, ow). A window's place (i, j)
over all windows is a strided view of the image, so there is no loop but over the few places; channels are worked on
in pieces that fit the cache. Read windows.py first."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import autograd, kernels
from ..autograd import Operand
from ..backend import Array
from ..operation import composed, op
from .elementwise import XP, masked
from .pieces import each, ranges
from .windows import Pair, Windows, batch_last, windows_of

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["avg_pool2d", "max_pool2d"]


@composed
def max_pool2d(
    x: Operand, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0), dilation: Pair = (1, 1)
) -> Tensor:
    """The largest of each window, (N, C, H, W) -> (N, C, oh, ow); of equal ones the first takes the gradient."""
    windows = windows_of("max_pool2d", kernel, stride, padding, dilation)
    if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
        raise ValueError(f"max_pool2d: padding {padding} must be at most half the kernel {kernel}")
    return _max_pool(x, windows=windows, winners=[] if x.requires_grad and autograd.is_grad_enabled() else None)


# Which pixel is the largest of a window does not change with a small step. So it is a constant of the rules, found in
# the forward, where the pixels are in the cache: (C, oh, kh, ow, kw, N), true for one place (i, j) of each window.


@op(x=lambda g, shape, windows, winners: _max_scatter(g, size=shape, windows=windows, winners=winners))
def _max_pool(xp: XP, x: Operand, windows: Any = None, winners: Any = None) -> Array:
    (oh, ow), (n, c), kernel = windows.out_size(x.shape), x.shape[:2], windows.kernel
    if kernels.fits(x, dtypes="efd") and prod(kernel) < 255:
        return _max_pool_on_cuda(xp, x, windows, winners)
    image = windows.pad(xp, x, -float("inf"))
    tile, out = windows.tile(image, oh, ow), xp.empty((c, oh, ow, n), x.dtype)
    hits = None if winners is None else xp.empty((c, oh, kernel[0], ow, kernel[1], n), bool)

    def piece(a: int, b: int) -> None:
        part, top = image[a:b], out[a:b]
        if tile:  # first along the rows, which are long
            tiles = _tiles(part, windows, oh, ow)
            rows = _largest(xp, [tiles[:, :, i] for i in range(kernel[0])])
            _largest(xp, [rows[:, :, :, j] for j in range(kernel[1])], top)
        else:
            _largest(xp, [part[place] for _, _, place in windows.places(oh, ow)], top)
        if hits is None:
            return
        if tile:
            hits[a:b] = tiles == top[:, :, None, :, None]
        free = None  # windows that no place has won yet
        for i, j, place in windows.places(oh, ow):
            here = hits[a:b, :, i, :, j]
            if not tile:
                here[...] = part[place] == top
            if free is None:
                free = ~here
            else:
                here &= free
                free ^= here

    each(piece, _channels(xp, image))
    if winners is not None:
        winners.append(hits)
    return out.transpose(3, 0, 1, 2)


def _max_pool_on_cuda(xp: XP, x: Array, windows: Windows, winners: Any) -> Array:
    """The same by one kernel; it leaves which place of each window is the largest: (N, C, oh, ow), bytes."""
    size = windows.out_size(x.shape)
    out = xp.empty((*x.shape[:2], *size), x.dtype)
    places = xp.empty(out.shape, np.uint8)
    kernels.slide("max_pool", xp.ascontiguousarray(x), out, x.shape, windows, size, places)
    if winners is not None:
        winners.append(places)
    return out


def _largest(xp: XP, arrays: list[Array], out: Array | None = None) -> Array:
    """The largest of the arrays, element by element."""
    out = xp.empty(arrays[0].shape, arrays[0].dtype) if out is None else out
    xp.maximum(arrays[0], arrays[-1], out=out)
    for array in arrays[1:-1]:
        xp.maximum(out, array, out=out)
    return out


def _tiles(image: Array, windows: Windows, oh: int, ow: int) -> Array:
    """(C, H, W, N) -> (C, oh, kh, ow, kw, N), for windows that tile it."""
    return image.reshape(len(image), oh, windows.kernel[0], ow, windows.kernel[1], -1)


@op(g=lambda grad, windows, winners: _max_gather(grad, windows=windows, winners=winners))
def _max_scatter(xp: XP, g: Operand, size: Any = None, windows: Any = None, winners: Any = None) -> Array:
    """Each window's gradient to the pixel that is its maximum: the transpose of _max_gather."""
    hits, (oh, ow) = winners[0], g.shape[2:]
    if hits.dtype == np.uint8:  # _max_pool_on_cuda() was there
        back, g = xp.empty(size, g.dtype), xp.ascontiguousarray(g)
        return kernels.slide("max_pool_back", g, back, size, windows, (oh, ow), hits)
    g, image = batch_last(xp, g), windows.blank(xp, size, g.dtype, fill=False)

    def piece(a: int, b: int) -> None:
        part = image[a:b]
        if windows.tile(image, oh, ow):  # all places at once, so that memory is written in its order
            masked(xp, g[a:b, :, None, :, None], hits[a:b], out=_tiles(part, windows, oh, ow))
            return
        part.fill(0)
        for i, j, place in windows.places(oh, ow):
            part[place] += masked(xp, g[a:b], hits[a:b, :, i, :, j])

    each(piece, _channels(xp, image))
    return windows.inner(image)


@op(x=lambda g, shape, windows, winners: _max_scatter(g, size=shape, windows=windows, winners=winners))
def _max_gather(xp: XP, x: Operand, windows: Any = None, winners: Any = None) -> Array:
    """The pixels of an image where another one had the maxima of its windows."""
    image, (oh, ow) = windows.pad(xp, x), windows.out_size(x.shape)
    total, hits = xp.zeros((x.shape[1], oh, ow, x.shape[0]), x.dtype), winners[0]
    if hits.dtype == np.uint8:  # _max_pool_on_cuda()'s, (N, C, oh, ow)
        hits = hits.transpose(1, 2, 3, 0)
    for i, j, place in windows.places(oh, ow):
        here = hits == i * windows.kernel[1] + j if hits.dtype == np.uint8 else hits[:, :, i, :, j]
        total += masked(xp, image[place], here)
    out: Array = total.transpose(3, 0, 1, 2)
    return out


@composed
def avg_pool2d(x: Operand, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0)) -> Tensor:
    """The mean of each window, (N, C, H, W) -> (N, C, oh, ow); padding counts as zeros."""
    return _avg_pool(x, windows=windows_of("avg_pool2d", kernel, stride, padding))


@op(cast="float", x=lambda g, shape, windows: _avg_spread(g, size=shape, windows=windows))
def _avg_pool(xp: XP, x: Operand, windows: Any = None) -> Array:
    oh, ow = windows.out_size(x.shape)
    share = 1.0 / prod(windows.kernel)
    if kernels.fits(x, dtypes="efd"):
        small, x = xp.empty((*x.shape[:2], oh, ow), x.dtype), xp.ascontiguousarray(x)
        return kernels.slide("avg_pool", x, small, x.shape, windows, (oh, ow), np.float64(share))
    image = windows.pad(xp, x)
    out = xp.zeros((x.shape[1], oh, ow, x.shape[0]), x.dtype)

    def piece(a: int, b: int) -> None:
        mean = out[a:b]
        for _, _, place in windows.places(oh, ow):
            mean += image[a:b][place]
        mean *= share

    each(piece, _channels(xp, image))
    return out.transpose(3, 0, 1, 2)


@op(g=lambda grad, windows: _avg_pool(grad, windows=windows))
def _avg_spread(xp: XP, g: Operand, size: Any = None, windows: Any = None) -> Array:
    """The transpose of _avg_pool: an equal share of each window's gradient to all its pixels."""
    share = 1.0 / prod(windows.kernel)
    if kernels.fits(g, dtypes="efd"):
        back, g = xp.empty(size, g.dtype), xp.ascontiguousarray(g)
        return kernels.slide("avg_pool_back", g, back, size, windows, g.shape[2:], np.float64(share))
    image, shares = windows.blank(xp, size, g.dtype), batch_last(xp, g) * share

    def piece(a: int, b: int) -> None:
        for _, _, place in windows.places(*g.shape[2:]):
            image[a:b][place] += shares[a:b]

    each(piece, _channels(xp, image))
    return windows.inner(image)


def _channels(xp: XP, image: Array) -> list[tuple[int, int]]:
    """The channels of (C, H, W, N) in pieces; all at once on CUDA."""
    return ranges(len(image), image[:1].nbytes) if xp is np else [(0, len(image))]
