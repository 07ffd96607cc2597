"""CUDA kernels of our own: how those in kernels.cu are compiled and launched. Each does in one launch what a plain
rule does in several; the plain rules stand beside the calls, and run where a kernel can't: for other dtypes, for
arrays with gaps, or for all if the environment says TINYGRAD_M_KERNELS=0."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from . import backend
from .backend import Array

Item: TypeAlias = tuple[Array, Array, list[Array | None], int, bool]  # w, g, state, step, is the state a new one

ENABLED = os.environ.get("TINYGRAD_M_KERNELS", "1") != "0"
SOURCE = Path(__file__).with_name("kernels.cu")
TYPES = {"f": "float", "d": "double"}
MANY = 56  # parameters in one launch: their addresses are arguments, 4 kB at most
THREADS, BLOCKS = 256, 1024  # at most; a thread takes several elements if there are more


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


def update(name: str, items: Sequence[Item], maximize: bool, settings: Sequence[float]) -> None:
    """Run an optimizer's kernel over parameters of one device and dtype. w, g and state of each must lie alike in
    memory; settings: the numbers that the kernel takes, in its order."""
    numbers = [np.float64(number) for number in (maximize, *settings)]
    for start in range(0, len(items), MANY):
        part = [item for item in items[start : start + MANY] if item[0].size]
        table = np.zeros((8, MANY), np.int64)  # struct Many
        for k, (w, g, state, step, first) in enumerate(part):
            addresses = [0 if a is None else a.data.ptr for a in (w, g, *state)]
            table[: 3 + len(addresses), k] = w.size, step, first, *addresses
        if part:
            blocks = min(BLOCKS, -(-int(table[0].max()) // THREADS))
            launch(name, part[0][0], (blocks, len(part)), THREADS, table, *numbers)
