"""Indexing: reading and assigning with any NumPy index, and what is made of it (take, sort, split, diagonal).
getitem and scatter are each other's transpose, and so each other's rule. Read linalg.py next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import autograd, backend
from ..autograd import Operand
from ..backend import Array
from ..operation import composed, op
from .elementwise import XP
from .shape import axis_of, moveaxis, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["argsort", "diag", "diagonal", "repeat", "sort", "split", "take", "take_along_axis"]


def raw_index(index: Any, x: Any) -> tuple[Any, ...]:
    """An index whose Tensors, lists and arrays are arrays of its own on x's device: changing the original later
    must not change the gradient. Integers are checked against x's shape where the library would not."""
    parts = [_index_part(part) for part in (index if isinstance(index, tuple) else (index,))]
    if x.device != "cpu":
        np.broadcast_to(np.int8(0), x.shape)[tuple([backend.to_numpy(p) if hasattr(p, "dtype") else p for p in parts])]
    return tuple([backend.put(part, x.device) if hasattr(part, "dtype") else part for part in parts])


def _index_part(part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)):
        return part
    if isinstance(part, autograd.TensorType):
        part = part.data
    elif isinstance(part, (list, np.bool_)):
        part = np.asarray(part, dtype=None if np.size(part) else np.int64)
    if getattr(part, "dtype", np.dtype(object)).kind not in "iub":
        found = getattr(part, "dtype", type(part).__name__)
        raise IndexError(f"an index is ints, slices, ..., None, integer or bool arrays, not {found}: {part!r}")
    with backend.on(part):
        return int(part) if part.ndim == 0 and part.dtype.kind in "iu" else part.copy()


def _is_mask(part: Any) -> bool:
    return getattr(part, "dtype", None) == np.bool_


def _fancy(index: tuple[Any, ...]) -> bool:
    """Whether integer arrays are in it: then it may name an element twice."""
    return any(hasattr(part, "dtype") and part.ndim and not _is_mask(part) for part in index)


@op(cast=None, x=lambda g, shape, index: scatter(g, index=index, shape=shape))
def _getitem(xp: XP, x: Operand, index: Any = ()) -> Array:
    return x[index]


@composed
def getitem(x: Operand, index: Any) -> Tensor:
    """x[index] with any NumPy index: ints, slices, ..., None, integer and bool arrays or Tensors."""
    return _getitem(x, index=raw_index(index, x))


@op(cast=None, g=lambda grad, index: _getitem(grad, index=index))
def scatter(xp: XP, g: Operand, index: Any = (), shape: tuple[int, ...] = (), once: bool = False) -> Array:
    """Zeros of `shape` with g added at `index`: the transpose of getitem. Equal indices add up; `once` promises
    that there are none."""
    out = xp.zeros(shape, g.dtype)
    if _fancy(index) and not once:
        xp.add.at(out, index, g)
    else:
        out[index] = g
    return out


def write(out: Array, index: Any, value: Any) -> None:
    """out[index] = value, with an error that says what does not fit."""
    if not getattr(out.flags, "writeable", True):
        raise ValueError("this tensor's memory is read-only (broadcast_to gives such views): change a clone()")
    try:
        out[index] = value
    except ValueError as error:
        found, place = np.shape(value), out[index].shape
        raise ValueError(f"a value of shape {found} does not fit into {place}: reshape() it ({error})") from None


@op(cast=None, x=lambda g, index: _assign(g, 0.0, index=index), value=lambda g, index: _getitem(g, index=index))
def _assign(xp: XP, x: Operand, value: Operand, index: Any = ()) -> Array:
    out = x.copy()
    write(out, index, value)
    return out


@composed
def assign(x: Operand, index: Any, value: Operand) -> Tensor:
    """A copy of x with x[index] = value; gradients flow to both."""
    raw = raw_index(index, x)
    if _fancy(raw) and getattr(value, "requires_grad", False):
        hits = np.zeros(x.shape, np.int64)
        np.add.at(hits, tuple(backend.to_numpy(p) if hasattr(p, "dtype") else p for p in raw), 1)
        if hits.max(initial=0) > 1:
            raise IndexError("assignment: the index names an element twice, so the gradient of the value is undefined")
    return _assign(x, value, index=raw)


def _index_array(indices: Any) -> Array:
    """Tensor, array of either library, or list -> an array, where it is."""
    if isinstance(indices, autograd.TensorType):
        return indices.data
    return indices if hasattr(indices, "dtype") else np.asarray(indices)


@composed
def take(x: Operand, indices: Operand, axis: int | None = None) -> Tensor:
    """Elements at integer `indices` along an axis (None: of the flattened tensor), as numpy.take."""
    if axis is None:
        x, axis = reshape(x, -1), 0
    before = (slice(None),) * axis_of("take", x, axis)
    return getitem(x, (*before, indices if isinstance(indices, (int, np.integer)) else _index_array(indices)))


@composed
def take_along_axis(x: Operand, indices: Operand, axis: int = -1) -> Tensor:
    """x[i, indices[i, j]] for axis=1 and so on, as numpy.take_along_axis. `indices` broadcasts against x."""
    index = _index_array(indices)
    ndim = len(x.shape)
    if index.ndim != ndim or index.dtype.kind not in "iu":
        raise ValueError(
            f"take_along_axis: indices need {ndim} dimensions and integers, got shape {index.shape} {index.dtype}"
        )
    axis = axis_of("take_along_axis", x, axis)
    return getitem(x, _along(index, axis, x.shape))


def _along(index: Array, axis: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """The index tuple that reads along an axis: ranges for the other axes, on the index's device."""
    with backend.on(index):
        xp, ndim = backend.of(index).xp, index.ndim
        grid = [xp.arange(n).reshape([-1 if k == j else 1 for k in range(ndim)]) for j, n in enumerate(shape)]
    return (*grid[:axis], index, *grid[axis + 1 :])


@op(cast=None)
def argsort(xp: XP, x: Operand, axis: int = -1, descending: bool = False) -> Array:
    """Indices (int64) that sort along an axis; equal elements stay in their order."""
    if axis is None:
        raise TypeError("axis must be an int; reshape(-1) first to sort all elements")
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    order = xp.argsort(xp.flip(x, axis=axis), axis=axis, kind="stable")
    return xp.flip(x.shape[axis] - 1 - order, axis=axis)


@composed
def sort(x: Operand, axis: int = -1, descending: bool = False) -> Tensor:
    """Values in order along an axis."""
    order = argsort(x, axis=axis, descending=descending)
    return _getitem(x, index=_along(order.data, axis_of("sort", x, axis), x.shape))


@composed
def split(x: Operand, sections: Any, axis: int = 0) -> list[Tensor]:
    """A list of pieces: `sections` is their number (equal sizes), or the positions of the cuts, as in NumPy."""
    axis = axis_of("split", x, axis)
    n = x.shape[axis]
    if not isinstance(sections, (int, np.integer, list, tuple, np.ndarray)):
        raise TypeError(f"split: sections must be an int or a list of cut positions, not {sections!r}")
    if isinstance(sections, (int, np.integer)):
        if sections < 1 or n % sections:
            raise ValueError(f"split: {n} elements do not divide into {sections} equal pieces; give the cut positions")
        cuts = list(range(0, n + 1, n // sections)) if n else [0] * (sections + 1)
    else:
        cuts = [0, *sections, n]
    before = (slice(None),) * axis
    return [getitem(x, (*before, slice(a, b))) for a, b in zip(cuts, cuts[1:], strict=False)]


@composed
def repeat(x: Operand, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element `repeats` times (an int, or one for each index), along the axis or flattened, as numpy.repeat."""
    if axis is None:
        x, axis = reshape(x, -1), 0
    counts, axis = np.asarray(repeats), axis_of("repeat", x, axis)
    if counts.dtype.kind not in "iu":
        raise TypeError(f"repeat: repeats must be an int, or one for each index, not {repeats!r}")
    if counts.size and counts.min() < 0:
        raise ValueError(f"repeat: repeats {repeats!r} must not be negative")
    return take(x, np.repeat(np.arange(x.shape[axis]), counts), axis=axis)


@composed
def diagonal(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal over two axes, as the last axis of the result, as numpy.diagonal."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, cols = x.shape[-2:]
    n = max(0, min(rows + min(offset, 0), cols - max(offset, 0)))
    k = np.arange(n)
    return getitem(x, (..., k - min(offset, 0), k + max(offset, 0)))


@composed
def diag(x: Operand, k: int = 0) -> Tensor:
    """A matrix with the vector x on diagonal k, or the diagonal k of a matrix."""
    if len(x.shape) == 2:
        return diagonal(x, k)
    if len(x.shape) != 1:
        raise ValueError(f"diag takes a vector or a matrix, not shape {x.shape}")
    n = x.shape[0] + abs(k)
    rows = np.arange(x.shape[0]) - min(k, 0)
    return scatter(x, index=tuple(backend.put(p, x.device) for p in (rows, rows + k)), shape=(n, n), once=True)
