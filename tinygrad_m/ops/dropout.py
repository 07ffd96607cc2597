"""Dropout's mask: which elements stay is a hash of their place and of two seeds, so that it is the same on every device
and needs no random numbers from the host. nn.functional.dropout() draws the seeds, and multiplies."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import backend, kernels
from ..backend import Array
from .pieces import CACHE, each, ranges, scratch

# The hash of a place x, modulo 2^32: x <- x + seed, x <- (x ^ x >> 16) 0x21f0aaad, then x <- x + seed 2,
# x <- (x ^ x >> 15) 0x735a2d97. Its upper bits, which decide, depend on all of x. Numbers: C. Wellons, hash-prospector.
SHIFTS = np.uint32(16), np.uint32(15)
MULTIPLIERS = np.uint32(0x21F0AAAD), np.uint32(0x735A2D97)


def dropout_mask(shape: tuple[int, ...], dtype: np.dtype[Any], p: float, device: str) -> Array:
    """An array of 0 with probability p (to 2^-32), else 1 / (1 - p): shape, a floating dtype, on a device. The seeds
    come from the generator that manual_seed() restarts. Images' places are counted as in (C, H, W, N), and masks of
    images lie in memory as images do on that device (windows.py)."""
    least = np.uint32(min(round(p * 2**32), 2**32 - 1))
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    images = shape[0] if len(shape) == 4 else 1
    counted = (*shape[1:], images) if len(shape) == 4 else shape
    home, index = backend.parse(device)
    if home is backend.CPU:
        mask = _in_pieces(np.empty(counted, dtype), _draw(), least, scale)
        return mask.transpose(3, 0, 1, 2) if len(shape) == 4 else mask
    with home.xp.cuda.Device(index):
        seeds, mask = _seeds_on_device(home.xp, index), home.xp.empty(shape, dtype)
        if kernels.fits(mask, dtypes="efd"):
            return kernels.elements("dropout_mask", mask, np.uint32(images), seeds, least, np.float64(scale))
        x = _hash(home.xp, home.xp.arange(prod(shape), dtype=np.uint32), seeds)
        mask = (home.xp.greater_equal(x, least) * mask.dtype.type(scale)).reshape(counted)
        return mask.transpose(3, 0, 1, 2) if len(shape) == 4 else mask


def _draw() -> Any:
    return backend.rng().integers(2**32, size=2, dtype=np.uint32)


def _seeds_on_device(xp: Any, index: int) -> Array:
    """Two seeds; other ones in each replay of a captured step."""
    hooks = backend.capturing.hooks
    if hooks is None:
        return xp.asarray(_draw())
    seeds = xp.empty(2, np.uint32)

    def draw() -> None:
        with xp.cuda.Device(index):
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


def _in_pieces(mask: Array, seeds: Any, least: np.uint32, scale: float) -> Array:
    flat = mask.reshape(-1)

    def piece(a: int, b: int) -> None:
        x, t = scratch("hash", (b - a,), np.uint32), scratch("hash 2", (b - a,), np.uint32)
        x[...] = np.arange(a, b, dtype=np.uint32)
        np.multiply(_hash(np, x, seeds, t) >= least, mask.dtype.type(scale), out=flat[a:b])

    each(piece, ranges(mask.size, 12, CACHE // 8))
    return mask
