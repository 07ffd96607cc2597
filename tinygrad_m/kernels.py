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

from . import backend, cublas
from .backend import Array

# w, g, state, whether the state is a new one, and the count of steps that were left out (see amp.py)
Item: TypeAlias = tuple[Array, Array, list[Array | None], bool, Array | None]

ENABLED = os.environ.get("TINYGRAD_M_KERNELS", "1") != "0"
SOURCE = Path(__file__).with_name("kernels.cu")
TYPES = {"f": ("float", "float"), "d": ("double", "double"), "e": ("float", "Half")}  # to compute with; in memory
MANY = 56  # parameters in one launch: their addresses are arguments, 4 kB at most
THREADS, BLOCKS = 256, 1024  # at most; a thread takes several elements if there are more
TILE = 32  # of matmul's result, as kernels.cu says
ENOUGH = 264  # blocks that keep a GPU busy: two for each of an H100's multiprocessors


def fits(*arrays: Any) -> bool:
    """Whether kernels can work on these: arrays on CUDA, of one dtype, float32 or float64, without gaps in memory."""
    if not ENABLED or not all(map(backend.is_cuda, arrays)) or arrays[0].dtype.char not in "fd":
        return False
    return all(a.dtype == arrays[0].dtype and (a.flags.c_contiguous or a.flags.f_contiguous) for a in arrays)


def launch(name: str, like: Array, grid: tuple[int, ...], threads: int, *args: Any) -> None:
    """Run a kernel for arrays of `like`'s dtype, on its device. args: arrays; numbers as NumPy's scalars of the
    parameter's type; None for a null pointer; a NumPy array for a struct by value."""
    with backend.on(like):
        given = [np.uint64(0) if a is None else _by_value(a) if isinstance(a, np.ndarray) else a for a in args]
        try:
            kernel = _kernel(backend.of(like).xp, name, TYPES[like.dtype.char])
        except Exception as error:
            raise RuntimeError(
                f"{SOURCE.name} can't be compiled here ({type(error).__name__}: {error}): check CuPy's installation, "
                "or do without these kernels, by TINYGRAD_M_KERNELS=0 in the environment"
            ) from error
        kernel(grid, (threads,), tuple(given))


def _by_value(struct: np.ndarray) -> np.ndarray:
    """The same memory as an array of one element, which is what CuPy takes by value."""
    return struct.reshape(-1).view(np.dtype((np.void, struct.nbytes)))


@cache
def _kernel(xp: Any, name: str, types: tuple[str, str]) -> Any:
    return _module(xp, types).get_function(name)


@cache
def _module(xp: Any, types: tuple[str, str]) -> Any:
    return xp.RawModule(code=SOURCE.read_text(), options=options(types))


def options(types: tuple[str, str]) -> tuple[str, ...]:
    """What the compiler is told, for one of TYPES' pairs."""
    return f"-DREAL={types[0]}", f"-DSTORED={types[1]}", f"-DMANY={MANY}"


def rows(name: str, like: Array, n: int, length: int, *args: Any) -> None:
    """Run a kernel for n rows of so many elements each: a block for each row, of a power of two of threads."""
    if n:
        threads = 1 << (min(max(length, 32), 1024) - 1).bit_length()
        launch(name, like, (n,), threads, *args)


def windows(image: Sequence[int], sliding: Any, size: tuple[int, int]) -> np.ndarray:
    """struct Windows: of an image's shape (C, H, W, N), how they slide (ops/windows.py's Windows) and how many fit."""
    kernel, stride, padding, dilation = sliding
    return np.array([*image[1:], *kernel, *size, *stride, *padding, *dilation], np.int32)


def elements(name: str, out: Array, *args: Any) -> Array:
    """Run a kernel that fills `out`, which has no gaps, element by element."""
    if out.size:
        grid = (min(BLOCKS, -(-out.size // THREADS)),)
        launch(name, out, grid, THREADS, out, np.int64(out.size), *args)
    return out


class Numbers:
    """At most 16 + MANY numbers that kernels read from the device's memory: always the same memory, as launches that
    are replayed read it, too."""

    def __init__(self) -> None:
        self.array: Any = None
        self.known: list[float] | None = None

    def set(self, like: Array, values: list[float]) -> None:
        """Upload them to `like`'s device, if they have changed."""
        if values == self.known:
            return
        with backend.on(like):
            fresh = backend.of(like).xp.asarray(np.array(values + [0.0] * (16 + MANY - len(values))))
            if self.array is None:
                self.array = fresh
            else:
                self.array[...] = fresh
        self.known = values


def update(name: str, items: Sequence[Item], numbers: Array, skip: Array | None = None) -> None:
    """Run an optimizer's kernel over at most MANY parameters of one device and dtype. w, g and state of each must lie
    alike in memory; numbers: on the device, as kernels.cu says; skip: a number there, not 0 to leave the step out."""
    table = np.zeros((8, MANY), np.int64)  # struct Many
    for k, (w, g, state, first, late) in enumerate(items):
        addresses = [0 if a is None else a.data.ptr for a in (w, g, *state)]
        table[: 2 + len(addresses), k] = w.size, first, *addresses
        table[7, k] = 0 if late is None else late.data.ptr
    blocks = min(BLOCKS, -(-int(table[0].max()) // THREADS))
    if blocks:
        launch(name, items[0][0], (blocks, len(items)), THREADS, table, numbers, skip)


def unscale(grads: Sequence[Array], numbers: Array, found: Array) -> list[Array]:
    """What amp.GradScaler.unscale_() does to gradients of one device, MANY in a launch. Returns those that are left for
    the plain rule."""
    together: dict[str, list[Item]] = {}
    left: list[Array] = []
    for g in grads:
        if fits(g):
            together.setdefault(g.dtype.char, []).append((g, g, [], False, None))
        else:
            left.append(g)
    for items in together.values():
        for start in range(0, len(items), MANY):
            update("unscale", items[start : start + MANY], numbers, found)
    return left


def rescale(numbers: Array, found: Array, *settings: float) -> bool:
    """What amp.GradScaler.update() does, in one launch, if a kernel can."""
    can = fits(numbers)
    if can:
        launch("rescale", numbers, (1,), 1, numbers, found, *map(np.float64, settings))
    return can


def product(a: Any, b: Any) -> Any:
    """a @ b, of arrays or Tensors. cuBLAS does it on CUDA. While a step is captured, when CuPy can't call cuBLAS, it is
    called through cublas.py, or else a kernel of ours does it (float32 and float64; float16, with sums in float32)."""
    if (backend.capturing.hooks is None and not backend.capturing.rehearsal) or not backend.is_cuda(a):
        return a @ b
    if a.dtype.char not in TYPES or b.dtype != a.dtype:
        raise backend.CaptureError(
            f"a product of {a.dtype} and {b.dtype} can't be captured: use float16, float32 or float64, one for both"
        )
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
    shape = (*batch, *(m,)[: a.ndim - 1], *(n,)[: b.ndim - 1])
    if cublas.binding() is not None and left.size and right.size:
        out = xp.empty((len(left), m, n), a.dtype)
        with backend.on(a):
            cublas.matmul(xp, left, right, out)
        return out.reshape(shape)
    tiles, parts = -(-m // TILE) * -(-n // TILE), 1
    if len(left) == 1 and a.dtype.char != "e":  # few tiles of long rows: cut these, and add up
        parts = next((p for p in range(min(k // 64, ENOUGH // max(tiles, 1)), 1, -1) if k % p == 0), 1)
    if parts > 1:
        left = left[0].reshape(m, parts, k // parts).swapaxes(0, 1)
        right = right[0].reshape(parts, k // parts, n)
    out = xp.empty((len(left), m, n), a.dtype)
    sizes = len(left), m, n, k // parts, *[stride // a.itemsize for x in (left, right) for stride in x.strides]
    if out.size:
        grid = tiles, min(len(left), 65535)
        launch("matmul", a, grid, 256, left, right, out, *map(np.int64, sizes))
    if parts > 1:
        out = out.sum(axis=0)
    return out.reshape(shape)
