"""Convolution with NumPy at speed: the same three maps as in conv.py, which is the text to read first. An image's
memory is (C, H, W, N), and the work goes in pieces of a few rows, which stay in the cache. Rows are not dilated here.

Two ideas. Windows share rows: each row of the image is copied once for every column of the kernel, shifted, and then
all windows of an output row are a view of neighbouring rows, which overlaps with the next row's; a 5x5 kernel costs 5
copies of the image instead of 25. And a matrix product is slow if its result has few rows: where it pays, one product
gives an image row's share in all kh output rows that meet it (kh times as many rows), to be added up afterwards."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..backend import Array
from .pieces import CACHE, each, ranges, scratch, shared
from .windows import Windows, batch_last


def conv(x: Array, weight: Array, bias: Array | None, windows: Windows, groups: int) -> Array:
    """conv.py's _conv: x (N, C, H, W), weight (O, C/groups, kh, kw), bias (O,) or None -> (N, O, oh, ow)."""
    (oh, ow), n, (o, c, kh, kw) = windows.out_size(x.shape), x.shape[0], weight.shape
    image = windows.pad(np, x)
    out = np.empty((groups, o // groups, oh, ow, n), x.dtype)
    offset = 0 if bias is None else bias.reshape(groups, -1, 1, 1, 1)
    kernels = weight.reshape(groups, o // groups, c, kh, kw)
    if kh > 1 and windows.stride[0] == 1 and c * kw >= 64:
        out[...] = offset
        _conv_by_shares(image, kernels.transpose(0, 3, 1, 2, 4), out, windows)
        return out.reshape(o, oh, ow, n).transpose(3, 0, 1, 2)
    matrix = kernels.transpose(0, 1, 3, 2, 4).reshape(groups, 1, 1, o // groups, kh * c * kw)
    cuts = _cuts(ow, n, matrix[0].size)

    def piece(a: int, b: int) -> None:
        part = out[:, :, a:b]
        columns = _columns(image, windows, groups, a, b, cuts)
        np.matmul(matrix, columns, out=part.reshape(groups, -1, b - a, cuts, ow // cuts * n).transpose(0, 2, 3, 1, 4))
        if bias is not None:
            part += offset

    each(piece, ranges(oh, _row_bytes(x, windows, ow), CACHE // 2))
    return out.reshape(o, oh, ow, n).transpose(3, 0, 1, 2)


def _conv_by_shares(image: Array, kernels: Array, out: Array, windows: Windows) -> None:
    """Add the shares of the image's rows to out (groups, O/groups, oh, ow, N).
    kernels (groups, kh, O/groups, C/groups, kw)."""
    (groups, kh, o, c, kw), (oh, ow, n), height = kernels.shape, out.shape[2:], image.shape[1]
    matrix = kernels.reshape(groups, 1, kh * o, c * kw)
    lines = image.reshape(groups, c, *image.shape[1:]).swapaxes(1, 2)
    few = max(1, CACHE // ((kh * o + kw * c) * groups * ow * n * image.itemsize))

    def columns(left: int, right: int) -> None:
        size = right - left, n
        for a in range(0, height, few):
            b = min(a + few, height)
            rows = scratch("rows", (groups, b - a, c, kw, *size), image.dtype)
            rows[...] = windows.shifted(lines[:, a:b, :, left * windows.stride[1] :], right - left)
            shares = scratch("shares", (groups, b - a, kh, o, *size), image.dtype)
            by_group = rows.reshape(groups, b - a, c * kw, -1)
            np.matmul(matrix, by_group, out=shares.reshape(groups, b - a, kh * o, -1))
            for i in range(kh):
                first, last = max(a - i, 0), min(b - i, oh)  # the output rows that meet them with row i of the kernel
                if first < last:
                    met = out[:, :, first:last, left:right]
                    met += shares[:, first + i - a : last + i - a, i].swapaxes(1, 2)

    each(columns, shared(ow, out.size * c * kh * kw))  # neighbouring rows add to the same ones, columns do not


def conv_input(g: Array, weight: Array, size: tuple[int, ...], windows: Windows, groups: int) -> Array:
    """conv.py's _conv_input: g (N, O, oh, ow), weight (O, C/groups, kh, kw) -> (N, C, H, W) = size."""
    (n, o, oh, ow), (_, c, kh, kw), (down, right_by) = g.shape, weight.shape, windows.stride
    image, g = windows.blank(np, size, g.dtype), batch_last(np, g).reshape(groups, o // groups, oh, ow, n)
    by_group = image.reshape(groups, c, *image.shape[1:])
    kernels = weight.reshape(groups, 1, o // groups, c, kh, kw).transpose(0, 1, 4, 5, 3, 2)
    few = _few(oh)

    def rows(a: int, b: int, first: int, last: int) -> None:
        """What rows a to b of the output give back to the channels from `first` to `last` of each group."""
        matrix = kernels[..., first:last, :].reshape(groups, 1, -1, o // groups)
        for left, right in ranges(ow, matrix.shape[2] * groups * n * g.itemsize):
            shares = scratch("shares", (groups, b - a, kh, kw, last - first, right - left, n), g.dtype)
            part = g[:, :, a:b, left:right].reshape(groups, o // groups, b - a, -1).swapaxes(1, 2)
            np.matmul(matrix, part, out=shares.reshape(groups, b - a, matrix.shape[2], -1))
            for i in range(kh):
                top = a * down + i
                met = by_group[:, first:last, top : top + (b - a - 1) * down + 1 : down]
                for j in range(kw):
                    start = left * right_by + j * windows.dilation[1]
                    pixels = met[:, :, :, start : start + (right - left - 1) * right_by + 1 : right_by]
                    pixels += shares[:, :, i, j].swapaxes(1, 2)

    def channels(first: int, last: int) -> None:
        for a in range(0, oh, few):
            rows(a, min(a + few, oh), first, last)

    each(channels, shared(c, g.size * c * kh * kw // groups))  # neighbouring rows overlap, channels do not
    return windows.inner(image)


def conv_weight(g: Array, x: Array, windows: Windows, groups: int) -> Array:
    """conv.py's _conv_weight: g (N, O, oh, ow), x (N, C, H, W) -> (O, C/groups, kh, kw)."""
    (n, o, oh, ow), c, (kh, kw) = g.shape, x.shape[1] // groups, windows.kernel
    image, k = windows.pad(np, x), kh * c * kw
    cuts = _cuts(ow, n, k * o // groups)
    by_group = batch_last(np, g).reshape(groups, o // groups, oh, cuts, ow // cuts * n)

    def piece(a: int, b: int) -> Array:
        columns = _columns(image, windows, groups, a, b, cuts)
        return np.matmul(columns, by_group[:, :, a:b].transpose(0, 2, 3, 4, 1)).sum(axis=(1, 2))

    total = sum(each(piece, ranges(oh, _row_bytes(x, windows, ow), CACHE // 2)))
    by_kernel: Array = total.reshape(groups, kh, c, kw, o // groups).transpose(0, 4, 2, 1, 3)
    return by_kernel.reshape(o, c, kh, kw)


def _columns(image: Array, windows: Windows, groups: int, a: int, b: int, cuts: int) -> Array:
    """The windows of output rows a to b, each row in `cuts` parts, as columns: (groups, b - a, cuts,
    kh * C/groups * kw, ow / cuts * N), a view of rows that overlap; the image (C, H, W, N) is padded."""
    (c, _, width, n), (kh, kw), stride = image.shape, windows.kernel, windows.stride[0]
    ow = (width - windows.dilation[1] * (kw - 1) - 1) // windows.stride[1] + 1
    met = slice(a * stride, (b - 1) * stride + kh)
    lines = image.reshape(groups, c // groups, *image.shape[1:])[:, :, met].swapaxes(1, 2)
    if windows.kernel == (1, 1) and windows.stride[1] == 1:
        return lines[:, ::stride].reshape(groups, b - a, c // groups, cuts, -1).swapaxes(2, 3)
    rows = scratch("rows", (groups, lines.shape[1], c // groups, kw, ow, n), image.dtype)
    rows[...] = windows.shifted(lines, ow)
    group, row, item = rows.strides[0], rows.strides[1], rows.itemsize
    shape = groups, b - a, cuts, kh * c // groups * kw, ow // cuts * n
    return as_strided(rows, shape, (group, stride * row, ow // cuts * n * item, ow * n * item, item))


def _few(rows: int) -> int:
    """How many rows at a time, where each gives back to several: their shares are to stay in the cache."""
    return -(-rows // (12 if rows >= 24 else 4))


def _row_bytes(x: Array, windows: Windows, ow: int) -> int:
    """What _columns() writes for one row of the output."""
    return int(x.shape[1] * windows.kernel[1] * ow * x.shape[0] * windows.stride[0] * x.itemsize)


def _cuts(ow: int, n: int, weights: int) -> int:
    """Into how many parts a row's ow * N pixels are cut: OpenBLAS is up to twice as fast at products of less than a
    million multiplications, if a part has a few hundred pixels."""
    good = (p for p in range(1, ow + 1) if ow % p == 0 and weights * ow * n // p <= 1_000_000)
    cuts = next(good, 1)
    return cuts if ow * n // cuts >= 256 else 1
