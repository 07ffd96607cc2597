"""CUDA kernels of our own: how those in kernels.cu are compiled and launched. Each does in one launch what a plain
rule does in several; the plain rules stand beside the calls, and run where a kernel can't: for other dtypes, for
arrays with gaps, or for all if the environment says TINYGRAD_M_KERNELS=0."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from . import backend
from .backend import Array

Item: TypeAlias = tuple[Array, Array, list[Array | None], bool]  # w, g, state, whether the state is a new one

ENABLED = os.environ.get("TINYGRAD_M_KERNELS", "1") != "0"
SOURCE = Path(__file__).with_name("kernels.cu")
TYPES = {"f": "float", "d": "double"}
MANY = 56  # parameters in one launch: their addresses are arguments, 4 kB at most
THREADS, BLOCKS = 256, 1024  # at most; a thread takes several elements if there are more
TILE = 32  # of matmul's result, as kernels.cu says


def fits(*arrays: Any) -> bool:
    """Whether kernels can work on these: arrays on CUDA, of one dtype, float32 or float64, without gaps in memory."""
    if not ENABLED or not all(map(backend.is_cuda, arrays)) or arrays[0].dtype.char not in TYPES:
        return False
    return all(a.dtype == arrays[0].dtype and (a.flags.c_contiguous or a.flags.f_contiguous) for a in arrays)


def launch(name: str, like: Array, grid: tuple[int, ...], threads: int, *args: Any) -> None:
    """Run a kernel for arrays of `like`'s dtype, on its device. args: arrays; numbers as NumPy's scalars of the
    parameter's type; None for a null pointer; a NumPy array for a struct by value."""
    with backend.on(like):
        given = [np.uint64(0) if a is None else a for a in args]
        _kernel(backend.of(like).xp, name, TYPES[like.dtype.char])(grid, (threads,), tuple(given))


@cache
def _kernel(xp: Any, name: str, type_: str) -> Any:
    return _module(xp, type_).get_function(name)


@cache
def _module(xp: Any, type_: str) -> Any:
    return xp.RawModule(code=SOURCE.read_text(), options=(f"-DREAL={type_}", f"-DMANY={MANY}"))


def rows(name: str, like: Array, n: int, length: int, *args: Any) -> None:
    """Run a kernel for n rows of so many elements each: a block for each row, of a power of two of threads."""
    if n:
        threads = 1 << (min(max(length, 32), 1024) - 1).bit_length()
        launch(name, like, (n,), threads, *args)


def elements(name: str, out: Array, *args: Any) -> Array:
    """Run a kernel that fills `out`, which has no gaps, element by element."""
    if out.size:
        grid = (min(BLOCKS, -(-out.size // THREADS)),)
        launch(name, out, grid, THREADS, out, np.int64(out.size), *args)
    return out


class Numbers:
    """Numbers that kernels read from the device's memory: always the same memory, so that launches can be replayed."""

    def __init__(self) -> None:
        self.array: Any = None
        self.known: list[float] | None = None

    def set(self, like: Array, values: list[float]) -> None:
        """Upload them to `like`'s device, if they have changed."""
        if values == self.known:
            return
        with backend.on(like):
            fresh = backend.of(like).xp.asarray(np.array(values))
            if self.array is None or self.array.shape != fresh.shape or self.array.device != fresh.device:
                self.array = fresh
            else:
                self.array[...] = fresh
        self.known = values


def update(name: str, items: Sequence[Item], numbers: Array) -> None:
    """Run an optimizer's kernel over at most MANY parameters of one device and dtype. w, g and state of each must lie
    alike in memory; numbers: on the device, as kernels.cu says."""
    table = np.zeros((7, MANY), np.int64)  # struct Many
    for k, (w, g, state, first) in enumerate(items):
        addresses = [0 if a is None else a.data.ptr for a in (w, g, *state)]
        table[: 2 + len(addresses), k] = w.size, first, *addresses
    blocks = min(BLOCKS, -(-int(table[0].max()) // THREADS))
    if blocks:
        launch(name, items[0][0], (blocks, len(items)), THREADS, table, numbers)


def product(a: Any, b: Any) -> Any:
    """a @ b, of arrays or Tensors. cuBLAS does it on CUDA; while a step is captured, when CuPy can't call cuBLAS, a
    kernel of ours (float32 and float64)."""
    if backend.capturing.hooks is None or not backend.is_cuda(a):
        return a @ b
    if a.dtype.char not in TYPES:
        raise backend.CaptureError(f"a product of {a.dtype} can't be captured: use float32 or float64")
    xp = backend.of(a).xp
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    (m, k), n = left.shape[-2:], right.shape[-1]
    if right.shape[-2] != k:
        raise ValueError(f"a @ b: mismatch in its core dimension, {a.shape} and {b.shape}")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    if batch:
        left, right = [xp.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(-1, *x.shape[-2:]) for x in (left, right)]
    else:
        left, right = left[None], right[None]
    out = xp.empty((*batch, *(m,)[: a.ndim - 1], *(n,)[: b.ndim - 1]), a.dtype)
    sizes = m, n, k, *[stride // a.itemsize for x in (left, right) for stride in x.strides]
    if out.size:
        grid = -(-n // TILE), -(-m // TILE), prod(batch)
        launch("matmul", a, grid, 256, left, right, out, *map(np.int64, sizes))
    return out
