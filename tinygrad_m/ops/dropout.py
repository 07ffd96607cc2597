"""Dropout's mask: which elements stay is a hash of their place and of two seeds, so that it is the same on every device
and needs no random numbers from the host. dropped() multiplies with it; on CUDA there is no mask in memory, as the
kernel finds it again on the way back."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import autograd, backend, kernels
from ..autograd import Operand
from ..backend import Array
from ..operation import op
from .elementwise import XP
from .fused import by_columns
from .pieces import CACHE, each, ordered_as, ranges, scratch

if TYPE_CHECKING:
    from ..tensor import Tensor

# The hash of a place x, modulo 2^32: x <- x + seed, x <- (x ^ x >> 16) 0x21f0aaad, then x <- x + seed 2,
# x <- (x ^ x >> 15) 0x735a2d97. Its upper bits, which decide, depend on all of x. Numbers: C. Wellons, hash-prospector.
SHIFTS = np.uint32(16), np.uint32(15)
MULTIPLIERS = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)


class Dropping(NamedTuple):
    """Two seeds, on a device; the hashes from which on elements stay; and what these are multiplied with."""

    seeds: Any
    least: np.uint32
    scale: np.float64


def dropped(x: Tensor, p: float) -> Tensor:
    """x times a mask of 0 with probability p (to 2^-32), else 1 / (1 - p). The seeds come from the generator that
    manual_seed() restarts. The places of images are counted as in (C, H, W, N), whatever their order in memory."""
    least, scale = np.uint32(min(round(p * 2**32), 2**32 - 1)), np.float64(1.0 / (1.0 - p) if p < 1.0 else 0.0)
    with backend.on(x.data):
        how = Dropping(_draw() if isinstance(x.data, np.ndarray) else _draw_on_device(x.data), least, scale)
        plain = not kernels.fits(x.data, dtypes="efd")
        out: Tensor = x * autograd.wrap(_mask(x.data, how)) if plain else _drop(x, how=how)
    return out


@op(x=lambda g, how: _drop(g, how=how))
def _drop(xp: XP, x: Operand, how: Any = None) -> Array:
    """x times its mask, by a kernel; linear, so the gradient goes the same way."""
    images = np.uint32(len(x) if x.ndim == 4 else 1)
    return kernels.elements("dropout", xp.empty(x.shape, x.dtype), xp.ascontiguousarray(x), images, *how)


def _mask(x: Array, how: Dropping) -> Array:
    """The mask in plain operations, in x's floating dtype (float32 for others) and order in memory."""
    xp, dtype = backend.of(x).xp, x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    shape = (*x.shape[1:], len(x)) if x.ndim == 4 else x.shape
    if xp is np:
        mask = _in_pieces(np.empty(shape, dtype), how)
    else:
        places = _hash(xp, xp.arange(prod(shape), dtype=np.uint32), how.seeds)
        mask = (xp.greater_equal(places, how.least) * dtype.type(how.scale)).reshape(shape)
    if x.ndim == 4:
        return mask.transpose(3, 0, 1, 2)
    return ordered_as(x, mask) if by_columns(x) else mask


def _draw() -> Any:
    return backend.rng().integers(2**32, size=2, dtype=np.uint32)


def _draw_on_device(x: Array) -> Array:
    """Two seeds where x is; other ones in each replay of a captured step."""
    xp, hooks = backend.of(x).xp, backend.capturing.hooks
    if hooks is None:
        return xp.asarray(_draw())
    seeds = xp.empty(2, np.uint32)

    def draw() -> None:
        with backend.on(seeds):
            seeds[...] = xp.asarray(_draw())

    hooks.append(draw)
    return seeds


def _hash(xp: Any, x: Array, seeds: Any, t: Array | None = None) -> Array:
    """x, uint32, in place; t: memory like it."""
    t = xp.empty_like(x) if t is None else t
    for seed, shift, multiplier in zip(seeds, SHIFTS, MULTIPLIERS, strict=True):
        x += seed
        x ^= xp.right_shift(x, shift, out=t)
        x *= multiplier
    return x


def _in_pieces(mask: Array, how: Dropping) -> Array:
    flat = mask.reshape(-1)

    def piece(a: int, b: int) -> None:
        x, t = scratch("hash", (b - a,), np.uint32), scratch("hash 2", (b - a,), np.uint32)
        x[...] = np.arange(a, b, dtype=np.uint32)
        np.multiply(_hash(np, x, how.seeds, t) >= how.least, mask.dtype.type(how.scale), out=flat[a:b])

    each(piece, ranges(mask.size, 12, CACHE // 8))
    return mask
