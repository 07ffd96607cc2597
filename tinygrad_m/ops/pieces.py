"""How NumPy is kept fast on large arrays: work in pieces that stay in the processor's cache, write intermediate
results into memory that is used again, and share the pieces between threads (NumPy lets other Python threads run
while it computes)."""

from __future__ import annotations

import contextvars
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import backend
from ..backend import Array

CACHE = 2 << 20  # bytes of a piece: about what a core's caches hold, and enough work for a thread to be worth it
SHORT = 512  # elements; NumPy >= 2.3 copies rows shorter than half its buffer (8192) before it works on them: for views
SHARED = 40_000_000  # multiplications; for a smaller product a thread takes longer to wake up than it saves
KEPT = 32 << 20  # bytes of scratch memory, at most, that a thread keeps

_pool: Any = None  # the other threads, started when first needed
_local = threading.local()


def _from_environment() -> int:
    text = os.environ.get("TINYGRAD_M_THREADS", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"the environment variable TINYGRAD_M_THREADS must be a whole number from 1, not {text!r}")
    return int(text)


_threads = _from_environment()


def set_num_threads(n: int) -> None:
    """How many threads convolution, pooling and large matrix products are shared between (at start:
    $TINYGRAD_M_THREADS, else 1). NumPy's own matrix product has threads as well, which get in the way of these: set
    OPENBLAS_NUM_THREADS=1 before NumPy is imported."""
    global _threads
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"set_num_threads takes a whole number of at least 1, not {n!r}")
    _threads = n
    _forget_pool()


def get_num_threads() -> int:
    """What set_num_threads() has set."""
    return _threads


def _forget_pool() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)  # a forked process has none of the threads


def each(work: Callable[..., Any], pieces: Sequence[tuple[int, int]]) -> list[Any]:
    """[work(a, b) for (a, b) in pieces], shared between the threads; each takes the next piece when it is free."""
    before = np.setbufsize(SHORT)
    try:
        return _each(work, pieces)
    finally:
        np.setbufsize(before)


def _each(work: Callable[..., Any], pieces: Sequence[tuple[int, int]]) -> list[Any]:
    global _pool
    helpers = min(_threads, len(pieces)) - 1
    if helpers < 1 or getattr(_local, "working", False):  # a piece that is cut again would wait for itself
        return [work(a, b) for a, b in pieces]
    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(_threads - 1, "tinygrad_m")
    todo, results = deque(enumerate(pieces)), [None] * len(pieces)

    def run() -> None:
        _local.working = True
        try:
            while todo:
                try:
                    k, (a, b) = todo.popleft()
                except IndexError:  # another thread was quicker
                    return
                results[k] = work(a, b)
        finally:
            _local.working = False

    # in a copy of this thread's context: np.errstate is part of it
    others = [_pool.submit(contextvars.copy_context().run, run) for _ in range(helpers)]
    try:
        run()
    finally:
        todo.clear()
        for other in others:
            other.result()
    return results


def ranges(n: int, bytes_each: int, cache: int = CACHE) -> list[tuple[int, int]]:
    """range(n) cut into [(a, b), ...] of about one size, which fit the cache."""
    return _cut(n, -(-n * bytes_each // cache))


def shared(n: int, multiplications: int) -> list[tuple[int, int]]:
    """range(n) cut into [(a, b), ...], one for each thread, if there is enough to do."""
    return _cut(n, _threads if multiplications >= SHARED else 1)


def _cut(n: int, parts: int) -> list[tuple[int, int]]:
    size = max(1, -(-n // max(1, parts)))
    cuts = [*range(0, n, size)] or [0]
    return list(zip(cuts, [*cuts[1:], n], strict=True))


def matmul(a: Array, b: Array, out: Array) -> Array:
    """np.matmul of two matrices; the threads share a large one."""
    (m, k), n = a.shape, b.shape[1]
    if _threads == 1 or m * n * k < SHARED:
        return np.matmul(a, b, out=out)
    rows = m > n  # which side of the result is cut

    def piece(start: int, stop: int) -> None:
        part = slice(start, stop)
        np.matmul(a[part] if rows else a, b if rows else b[:, part], out=out[part] if rows else out[:, part])

    each(piece, shared(max(m, n), m * n * k))
    return out


def elementwise(f: Callable[..., Array], *arrays: Array) -> Array:
    """f(*arrays), and f(*arrays, out=...) for large arrays of floats that lie alike and without gaps in memory: as one
    row each, which can be cut anywhere."""
    first = arrays[0]
    if first.nbytes <= CACHE or first.dtype.kind != "f" or any(a.strides != first.strides for a in arrays):
        return f(*arrays)
    rows = [a.ravel("K") for a in arrays]
    if any(row.base is None for row in rows):  # a copy: there were gaps
        return f(*arrays)
    result = np.empty_like(first)
    out = result.ravel("K")
    each(lambda a, b: f(*[row[a:b] for row in rows], out=out[a:b]), ranges(first.size, first.itemsize))
    return result


def ordered_as(like: Array, array: Array) -> Array:
    """The array, or a copy of it that lies in memory as another one does: NumPy is slow where orders differ."""
    if array.strides == like.strides:
        return array
    if all(s == t or n == 1 for s, t, n in zip(array.strides, like.strides, like.shape, strict=True)):
        return array  # an axis of one element has any stride
    copy = backend.of(like).xp.empty_like(like)
    copy[...] = array
    return copy


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Uninitialized memory of this thread, the same for the same name: the next call overwrites it."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    kept: dict[str, Array] = _local.__dict__.setdefault("kept", {})
    memory = kept.get(name)
    if memory is None or memory.nbytes < size:
        kept.pop(name, None)
        memory = np.empty(size, np.uint8)
        if size + sum(m.nbytes for m in kept.values()) <= KEPT:
            kept[name] = memory
    return memory[:size].view(dtype).reshape(shape)
