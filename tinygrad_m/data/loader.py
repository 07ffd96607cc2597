"""Batches for a training loop: `for images, labels in DataLoader(x, y, batch_size=64, shuffle=True): ...`.
The data set stays whole on its device and a batch is one index into it, so that an epoch costs no Python loop
over samples; what does not fit there stays on the host and is copied batch by batch (pinned.py). Read mnist.py for
arrays to put in, ../optim for what to do with the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import backend
from ..tensor import Tensor, wrap
from .pinned import copied_ahead


class DataLoader:
    """Batches of arrays (NumPy arrays or Tensors) whose first axes have one length.

    Each pass over the loader is an epoch. It gives for each batch a tuple of Tensors, one for each array, of
    shape (batch_size, ...) and the array's dtype; the last batch has what is left. Of a single array it gives
    Tensors, not tuples of one. Batches carry no gradient and never share memory with the data set.

    batch_size  rows in a batch
    shuffle     a new random order each epoch, else the order of the arrays
    drop_last   leave out a last batch that is smaller
    seed        of the orders: loaders with one seed give the same orders, epoch by epoch, whatever else draws
                random numbers. None: one is drawn here from the generator that `manual_seed` restarts
    transform   a function of a batch's Tensors; what it returns is given in place of the batch
    device      where the data set is kept and its batches are. None: where its first Tensor is, or the
                default device if all are NumPy arrays. On the CPU the loader reads your arrays, not copies
    pin_memory  for a data set that does not fit on the GPU. With a CUDA device the data set stays on the host (a
                np.memmap stays on the disk); a batch's rows are gathered there, into page-locked memory, and
                copied to `device` on a stream of their own while the batch before is computed with. The
                orders are the same as without. On the CPU, where nothing is copied, it changes nothing

    len(loader) is the number of batches; `loader.epoch` counts epochs begun, and can be set to resume later.
    Raises TypeError or ValueError for arguments that do not fit. Training needs no DataLoader: any iterable
    of batches will do, such as a list or a generator of your own.
    """

    def __init__(
        self,
        *arrays: np.ndarray | Tensor,
        batch_size: int = 64,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        transform: Callable[..., Any] | None = None,
        device: str | None = None,
        pin_memory: bool = False,
    ) -> None:
        self.size = _common_length(arrays)
        self.batch_size = _whole("batch_size", batch_size, least=1)
        self.shuffle, self.drop_last, self.transform = shuffle, drop_last, transform
        if seed is None:
            seed = int(backend.rng().integers(2**63)) if shuffle else 0
        self.seed = _whole("seed", seed, least=0)
        self.epoch = 0
        if transform is not None and not callable(transform):
            raise TypeError(f"transform must be a function of the batch's tensors, not {transform!r}")
        if device is None:
            device = next((array.device for array in arrays if isinstance(array, Tensor)), None)
        if not isinstance(pin_memory, (bool, np.bool_)):
            raise TypeError(f"pin_memory must be True or False, not {pin_memory!r}: name the GPU with device=")
        self._copy_to = None
        if pin_memory and backend.parse(device)[0] is not backend.CPU:
            _check_on_host(arrays)
            self._copy_to, device = device or backend.get_default_device(), "cpu"
        self.arrays = [backend.put(a.data if isinstance(a, Tensor) else a, device) for a in arrays]

    def __len__(self) -> int:
        full, rest = divmod(self.size, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        order = None
        if self.shuffle:  # on the host, so that every device sees the same order; moved once an epoch
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
            order = backend.put(order, backend.device_of(self.arrays[0]))
        self.epoch += 1
        return self._batches(order)

    def _batches(self, order: backend.Array | None) -> Iterator[Any]:
        cuts = (slice(i, i + self.batch_size) for i in range(0, len(self) * self.batch_size, self.batch_size))
        batches: Iterator[list[Tensor]] = (self._indexed(cut, order) for cut in cuts)
        if self._copy_to is not None:
            batches = copied_ahead(self.arrays, cuts, order, min(self.batch_size, self.size), self._copy_to)
        for batch in batches:
            if self.transform is not None:
                yield self.transform(*batch)
            else:
                yield batch[0] if len(batch) == 1 else tuple(batch)

    def _indexed(self, cut: slice, order: backend.Array | None) -> list[Tensor]:
        with backend.on(self.arrays[0]):  # copy: changing a batch must not change the data set
            return [wrap(a[cut].copy() if order is None else a[order[cut]]) for a in self.arrays]


def _whole(name: str, value: Any, least: int) -> int:
    """`value` as an int, if it is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _check_on_host(arrays: tuple[Any, ...]) -> None:
    """An error that names the array that pin_memory=True cannot take."""
    for i, array in enumerate(arrays):
        backend.check_dtype(array.dtype)  # a number type that CUDA lacks, such as longdouble
        if isinstance(array, Tensor) and array.device != "cpu":
            hint = "give a NumPy array or .cpu(), or leave pin_memory out: what is there needs no copying"
            raise ValueError(f"pin_memory=True is for data on the host, but array {i} is on {array.device}: {hint}")


def _common_length(arrays: tuple[Any, ...]) -> int:
    """The one length of all arrays' first axes, or an error that names the array that does not fit."""
    if not arrays:
        raise ValueError("DataLoader needs at least one array: DataLoader(images, labels, batch_size=64)")
    for i, array in enumerate(arrays):
        if not isinstance(array, (np.ndarray, Tensor)):
            hint = "give arrays one by one, DataLoader(x, y), a list as np.array(list), options by name"
            raise TypeError(f"array {i} must be a NumPy array or Tensor, not {type(array).__name__}: {hint}")
        if array.ndim == 0 or np.dtype(array.dtype).kind not in "biuf":
            found = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"array {i} must hold numbers, one row for each sample, not {found}")
    lengths = [array.shape[0] for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"arrays must have one length, one row for each sample in each, not {lengths}")
    return int(lengths[0])
