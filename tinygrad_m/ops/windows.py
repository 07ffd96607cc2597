"""How windows slide over images (N, C, H, W): their sizes and places, padding, and the memory order of images. With
NumPy an image's memory is (C, H, W, N) behind the logical (N, C, H, W), a transposed view: so every pixel of a window
is a long run of memory, all images at once, and flattening to (N, C H W) moves nothing. On CUDA it is as the shape
says, see conv_cuda.py. Read conv.py next."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .. import backend
from ..backend import Array
from .elementwise import XP

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

    def row(self, i: int, oh: int) -> slice:
        """The padded image's rows that row i of the kernel meets, over all windows."""
        top = i * self.dilation[0]
        return slice(top, top + (oh - 1) * self.stride[0] + 1, self.stride[0])

    def column(self, j: int, ow: int) -> slice:
        """The same for columns."""
        left = j * self.dilation[1]
        return slice(left, left + (ow - 1) * self.stride[1] + 1, self.stride[1])

    def shifted(self, rows: Array, ow: int) -> Array:
        """A row of windows' pixels for each column of the kernel: (..., W, N) -> (..., kw, ow, N), a view."""
        *outer, pixel, item = rows.strides
        strides = (*outer, self.dilation[1] * pixel, self.stride[1] * pixel, item)
        return as_strided(rows, (*rows.shape[:-2], self.kernel[1], ow, rows.shape[-1]), strides, writeable=False)

    def places(self, oh: int, ow: int) -> Iterator[tuple[int, int, Any]]:
        """For each place (i, j) of the kernel: which pixels of the padded (C, H, W, N) it meets, over all windows."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield i, j, (slice(None), self.row(i, oh), self.column(j, ow))

    def tile(self, image: Array, oh: int, ow: int) -> bool:
        """Whether the windows meet every pixel of the padded image (C, H, W, N) once."""
        sizes = oh * self.kernel[0], ow * self.kernel[1]
        return self.kernel == self.stride and self.dilation == (1, 1) and sizes == image.shape[1:3]

    def pad(self, xp: XP, x: Array, value: float = 0.0) -> Array:
        """(N, C, H, W) -> (C, H + 2p, W + 2q, N); x itself, transposed, if nothing is to be padded or moved."""
        if not any(self.padding):
            return batch_last(xp, x)
        (n, c, h, w), (p, q) = x.shape, self.padding
        image = xp.empty((c, h + 2 * p, w + 2 * q, n), x.dtype)
        for border in (image[:, :p], image[:, p + h :], image[:, p : p + h, :q], image[:, p : p + h, q + w :]):
            border.fill(value)
        self.inner(image)[...] = x
        return image

    def blank(self, xp: XP, shape: tuple[int, ...], dtype: Any, fill: bool = True) -> Array:
        """A padded image (C, H + 2p, W + 2q, N) of zeros, or of anything, for images of `shape`."""
        (n, c, h, w), (p, q) = shape, self.padding
        image = xp.empty((c, h + 2 * p, w + 2 * q, n), dtype)
        if fill:
            image.fill(0)
        return image

    def inner(self, image: Array) -> Array:
        """The view (N, C, H, W) of a padded image without its padding."""
        (h, w), (p, q) = image.shape[1:3], self.padding
        return image[:, p : h - p, q : w - q].transpose(3, 0, 1, 2)


def batch_last(xp: XP, x: Array) -> Array:
    """(N, C, H, W) -> (C, H, W, N) in one piece of memory: a view if it lies like that, else a copy."""
    return xp.ascontiguousarray(x.transpose(1, 2, 3, 0))


def channel_sums(g: Any, axis: int = 1) -> Any:
    """The sum over all axes but one, of an array or a Tensor."""
    if isinstance(g, np.ndarray) and g.ndim == 4:
        return g.transpose(1, 2, 3, 0).reshape(g.shape[1], -1).sum(axis=1)  # one long row a channel
    if not backend.is_cuda(g) or g.ndim < 3:
        return g.sum(axis=tuple(k for k in range(g.ndim) if k != axis))
    planes = g.reshape(prod(g.shape[:axis]), g.shape[axis], prod(g.shape[axis + 1 :]))
    wide = np.result_type(g.dtype, np.float32)  # CuPy is fast at sums along the last axes only: so it takes two
    return planes.sum(axis=2, dtype=wide).sum(axis=0).astype(g.dtype, copy=False)


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
