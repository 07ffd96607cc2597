"""CUDA kernels of our own: how those in the .cu files beside this one are compiled and launched. Each does in one
launch what a plain rule does in several; the plain rules stand beside the calls, and run where a kernel can't: for
other dtypes, for arrays of 2^31 elements and more, or for all if the environment says TINYGRAD_M_KERNELS=0."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .. import backend, cublas
from ..backend import Array

# w, g, state, whether the state is a new one, and the count of steps that were left out (see amp.py)
Item: TypeAlias = tuple[Array, Array, list[Array | None], bool, Array | None]

ENABLED = os.environ.get("TINYGRAD_M_KERNELS", "1") != "0"
FOLDER = Path(__file__).parent
TYPES = {"f": ("float", "float"), "d": ("double", "double"), "e": ("float", "Half")}  # to compute with; in memory
MANY = 56  # parameters in one launch: their addresses are arguments, 4 kB at most
THREADS, BLOCKS = 256, 1024  # at most; a thread takes several elements if there are more
SHARE = 2048  # numbers of a row, at least, for a block of its own
TILE = 32  # of matmul's result, as matrices.cu says
ENOUGH = 264  # blocks that keep a GPU busy: two for each of an H100's multiprocessors


def fits(*arrays: Any, dtypes: str = "fd") -> bool:
    """Whether kernels can work on these: not too large arrays on CUDA, all of one of these dtypes (characters of
    TYPES). How they lie in memory is not asked."""
    if not ENABLED or not all(map(backend.is_cuda, arrays)) or arrays[0].dtype.char not in dtypes:
        return False
    return all(a.dtype == arrays[0].dtype and a.size < 1 << 31 for a in arrays)  # places are counted in 32 bits


def dense(*arrays: Array) -> bool:
    """Whether they have no gaps in memory."""
    return all(a.flags.c_contiguous or a.flags.f_contiguous for a in arrays)


def launch(name: str, like: Array, grid: tuple[int, ...], threads: int, *args: Any) -> None:
    """Run a kernel for arrays of `like`'s dtype, on its device. args: arrays; numbers as NumPy's scalars of the
    parameter's type; None for a null pointer; a NumPy array for a struct by value."""
    with backend.on(like):
        given = [np.uint64(0) if a is None else _by_value(a) if isinstance(a, np.ndarray) else a for a in args]
        try:
            kernel = _kernel(backend.of(like).xp, name, TYPES[like.dtype.char])
        except Exception as error:
            raise RuntimeError(
                f"{_file_of(name).name} can't be compiled here ({type(error).__name__}: {error}): check CuPy's "
                "installation, or do without these kernels, by TINYGRAD_M_KERNELS=0 in the environment"
            ) from error
        kernel(grid, (threads,), tuple(given))


def _by_value(struct: np.ndarray) -> np.ndarray:
    """The same memory as an array of one element, which is what CuPy takes by value."""
    return struct.reshape(-1).view(np.dtype((np.void, struct.nbytes)))


@cache
def _kernel(xp: Any, name: str, types: tuple[str, str]) -> Any:
    return _module(xp, _file_of(name), types).get_function(name)


@cache
def _module(xp: Any, file: Path, types: tuple[str, str]) -> Any:
    return xp.RawModule(code=source(file), options=options(types))


@cache
def _file_of(name: str) -> Path:
    return next(file for file in files() if f"void {name}(" in file.read_text(encoding="utf-8"))


def files() -> list[Path]:
    """The kernels' source, by topic. Each file is compiled by itself, when one of its kernels is first launched."""
    return sorted(FOLDER.glob("*.cu"))


def source(file: Path) -> str:
    """All that the compiler gets for a file of kernels."""
    return (FOLDER / "common.cuh").read_text(encoding="utf-8") + file.read_text(encoding="utf-8")


def options(types: tuple[str, str]) -> tuple[str, ...]:
    """What the compiler is told, for one of TYPES' pairs."""
    return f"-DREAL={types[0]}", f"-DSTORED={types[1]}", f"-DMANY={MANY}"


def rows(name: str, like: Array, n: int, length: int, *args: Any) -> None:
    """Run a kernel for n rows of so many elements each: a block for each row, of a power of two of threads."""
    if n:
        launch(name, like, (n,), _power_of_two(length, 1024), *args)


def _power_of_two(n: int, most: int) -> int:
    """A thread for each of n numbers, up to the next power of two: 32 at least, and `most`."""
    return 1 << (min(max(n, 32), most) - 1).bit_length()


def slide(
    name: str, source: Array, target: Array, image: Sequence[int], windows: Any, size: Sequence[int], *more: Any
) -> Array:
    """Run a kernel that fills `target` from `source`, both without gaps, a block for each plane (the last two axes) of
    it. image: the images' shape (N, C, H, W); windows: ops/windows.py's Windows; size: how many of them fit."""
    length = target.shape[-2] * target.shape[-1]
    if target.size:
        kernel, stride, padding, dilation = windows
        struct = np.array([*image[2:], *kernel, *size, *stride, *padding, *dilation], np.int32)
        threads = min(-(-length // 32) * 32, THREADS)
        launch(name, target, (target.size // length,), threads, source, target, *more, struct)
    return target


def shares(name: str, like: Array, rows: int, n: int, *args: Any) -> None:
    """Run a kernel for so many rows of n numbers, a block for each of count_shares(rows, n) shares of each row."""
    count = count_shares(rows, n)
    launch(name, like, (rows, count), _power_of_two(n // count, THREADS), *args)


def count_shares(rows: int, n: int) -> int:
    """How many blocks each row of n numbers is shared between: enough for a GPU, with enough to do for each."""
    return max(1, min(-(-4 * ENOUGH // rows), n // SHARE, 256))


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
    alike in memory; numbers: on the device, as optimizers.cu says; skip: a number there, not 0 to leave it out."""
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
        if fits(g) and dense(g):
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
    """a @ b, of arrays or Tensors. On CUDA two matrices are CuPy's affair, unless a step is captured; stacks of them,
    and all products of captured steps, go to products()."""
    if not backend.is_cuda(a):
        return a @ b
    fit = a.dtype.char in TYPES and b.dtype == a.dtype
    if not _captured() and not (fit and max(a.ndim, b.ndim) > 2):
        return a @ b
    if not fit:
        raise backend.CaptureError(
            f"a product of {a.dtype} and {b.dtype} can't be captured: use float16, float32 or float64, one for both"
        )
    xp = backend.of(a).xp
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    (m, k), n = left.shape[-2:], right.shape[-1]
    if right.shape[-2] != k:
        raise ValueError(f"a @ b: mismatch in its core dimension, {a.shape} and {b.shape}")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (xp.broadcast_to(x, (*(batch or (1,)), *x.shape[-2:])) for x in (left, right))
    if len(batch) > 1:
        left, right = (x.reshape(-1, *x.shape[-2:]) for x in (left, right))
    out = products(left, right, xp.empty((len(left), m, n), a.dtype))
    return out.reshape((*batch, *(m,)[: a.ndim - 1], *(n,)[: b.ndim - 1]))


def products(left: Array, right: Array, out: Array) -> Array:
    """out <- left @ right on CUDA: stacks (batch, m, k), (batch, k, n) and (batch, m, n) of one dtype, float16 (added
    up in float32), float32 or float64; out without gaps. By cuBLAS, see cublas.py; if that is not found, by CuPy's
    matmul, or in a captured step by a kernel of ours."""
    xp, (batches, m, k), n = backend.of(out).xp, left.shape, right.shape[2]
    with backend.on(out):
        if not out.size or not k:
            out.fill(0)
        elif not cublas.matmul(xp, left, right, out, _captured()):
            if not _captured():
                return xp.matmul(left, right, out=out)
            tiles, parts = -(-m // TILE) * -(-n // TILE), 1
            if batches == 1 and out.dtype.char != "e":  # few tiles of long rows: cut these, and add up
                parts = next((p for p in range(min(k // 64, ENOUGH // tiles), 1, -1) if k % p == 0), 1)
            total = out if parts == 1 else xp.empty((parts, m, n), out.dtype)
            if parts > 1:
                left = left[0].reshape(m, parts, k // parts).swapaxes(0, 1)
                right = right[0].reshape(parts, k // parts, n)
            strides = [stride // x.itemsize for x in (left, right) for stride in x.strides]
            sizes = map(np.int64, (len(left), m, n, k // parts, *strides))
            launch("matmul", out, (tiles, min(len(left), 65535)), 256, left, right, total, *sizes)
            if parts > 1:
                xp.sum(total, axis=0, out=out[0])
    return out


def _captured() -> bool:
    return backend.capturing.hooks is not None or backend.capturing.rehearsal
