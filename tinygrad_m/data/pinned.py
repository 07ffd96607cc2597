"""Batches on the GPU of a data set that does not fit there. The host gathers the rows of the next batch in
page-locked memory, and the GPU copies them from there while it computes with the batch before. Read loader.py first.

Two streams are at work: the compute stream, which is the current one of the training loop, and the copy stream,
which is made here. Neither waits for the other by itself. So three kinds of memory need a word about who waits:

- Page-locked memory is the host's. The host fills it again only when the last copy from it is done. Two buffers
  take turns, so that this was asked for two batches ago.
- A batch's memory on the device comes from the compute stream's pool, and goes back there when the training loop
  drops the batch: as with any other array, what comes next on that stream may reuse it. If it is given to one of
  our batches, computing that was asked for before may still use it: the copy stream waits for that, and not for
  what is asked for later, which is the computing that the copy runs beside.
- A batch may be computed with when its copy is done: the compute stream waits for that, and the host does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from .. import backend
from ..tensor import Tensor, wrap

T = TypeVar("T")


def copied_ahead(
    arrays: list[np.ndarray], cuts: Iterable[slice], order: np.ndarray | None, rows: int, device: str
) -> Iterator[list[Tensor]]:
    """For each cut of `order` (None: of 0, 1, 2 ...), at most `rows` long, the arrays' rows as Tensors on `device`."""
    home, index = backend.parse(device)
    xp, size = home.xp, len(arrays[0])
    with xp.cuda.Device(index):
        stream = xp.cuda.Stream(non_blocking=True)  # else it and the null stream, where we compute, would take turns
        buffers = [_Buffer(arrays, rows, xp) for _ in range(2)]

    def send(k: int, cut: slice) -> tuple[Any, list[backend.Array]]:
        chosen = np.arange(*cut.indices(size)) if order is None else order[cut]
        with xp.cuda.Device(index):
            return buffers[k % 2].send(arrays, chosen, stream)

    ahead = _one_ahead(send(k, cut) for k, cut in enumerate(cuts))  # named: it has to live until `finally` is done
    try:
        for copied, batch in ahead:
            with xp.cuda.Device(index):
                xp.cuda.get_current_stream().wait_event(copied)
            yield [wrap(array) for array in batch]
    finally:  # also when the training loop ends early: no copy may outlive the memory that it reads and writes
        stream.synchronize()


class _Buffer:
    """Page-locked memory for one batch, and how the copying from there stands."""

    def __init__(self, arrays: list[np.ndarray], rows: int, xp: Any) -> None:
        self.xp = xp
        self.pinned = [backend.empty_pinned((rows, *a.shape[1:]), a.dtype.newbyteorder("=")) for a in arrays]
        self.copied, self.free = (xp.cuda.Event(disable_timing=True) for _ in range(2))

    def send(self, arrays: list[np.ndarray], chosen: np.ndarray, stream: Any) -> tuple[Any, list[backend.Array]]:
        """Gather the chosen rows and begin to copy them: the event of the copy's end, and the arrays to be."""
        self.copied.synchronize()  # the host may wait here: the GPU has later batches to compute with meanwhile
        parts = [_gather(array, chosen, pinned) for array, pinned in zip(arrays, self.pinned)]
        batch = [self.xp.empty(part.shape, part.dtype) for part in parts]
        stream.wait_event(self.xp.cuda.get_current_stream().record(self.free))  # after empty(): what it gave is free
        for array, part in zip(batch, parts):
            array.set(part, stream=stream)
        return stream.record(self.copied), batch


def _gather(array: np.ndarray, chosen: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The chosen rows, written to the first rows of `out`."""
    out = out[: len(chosen)]
    if array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative:
        np.take(array, chosen, axis=0, out=out, mode="clip")  # "raise" would gather elsewhere first
    else:
        out[...] = array[chosen]  # take() would first copy all of the array
    return out


def _one_ahead(steps: Iterator[T]) -> Iterator[T]:
    """The same steps, each given when the next one has been taken."""
    taken: deque[T] = deque()
    for step in steps:
        taken.append(step)
        if len(taken) == 2:
            yield taken.popleft()
    yield from taken
