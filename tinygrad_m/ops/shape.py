"""Operations that move elements: shapes and axes, joining, borders, copies to other dtypes and devices. Their
rules put the gradient back where the element came from. Read indexing.py next."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import autograd, backend
from ..autograd import Operand
from ..backend import Array
from ..operation import composed, op
from .elementwise import XP

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = [
    "astype", "broadcast_to", "clone", "concat", "expand_dims", "flip", "moveaxis", "pad", "permute_dims", "reshape",
    "roll", "squeeze", "stack", "swapaxes", "tile", "to_device", "transpose", "tril", "triu",
]  # fmt: skip


# -- shapes and axes ------------------------------------------------------------------------------


def flat_ints(name: str, values: Sequence[Any]) -> tuple[int, ...]:
    """f(2, 3) and f((2, 3)) alike -> (2, 3), checked."""
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = values[0]
    try:
        return tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{name} takes ints, or one tuple of ints, not {values!r}") from None


@op(cast=None, x=lambda g, shape: g.reshape(shape))
def _reshape(xp: XP, x: Operand, to: tuple[int, ...] = ()) -> Array:
    return x.reshape(to)


@composed
def reshape(x: Operand, *shape: Any) -> Tensor:
    """The elements in another shape; one size may be -1. reshape(x, 2, 3) or reshape(x, (2, 3))."""
    to = flat_ints("reshape", shape)
    if min(to, default=0) < -1:
        raise ValueError(f"reshape: sizes {to} must not be negative, but that one may be -1 (what is left over)")
    return _reshape(x, to=to)


def axis_of(name: str, x: Any, axis: Any) -> int:
    """One axis, counted from 0. AxisError or TypeError if there is no such axis."""
    ndim = len(x.shape)
    try:
        if -ndim <= operator.index(axis) < ndim:
            return operator.index(axis) % ndim
    except TypeError:
        raise TypeError(f"{name}: axis must be an int, not {axis!r}") from None
    raise np.exceptions.AxisError(
        f"{name}: axis {axis} is out of bounds for shape {x.shape}: axes count from 0 to ndim - 1, or back from -1"
    )


@op(cast=None, x=lambda g, axes: g.transpose(tuple(np.argsort(axes).tolist())))
def _permute(xp: XP, x: Operand, axes: tuple[int, ...] = ()) -> Array:
    return xp.transpose(x, axes)


@composed
def permute_dims(x: Operand, *axes: Any) -> Tensor:
    """Axes in another order: result axis k is x's axis axes[k]. No axes: all reversed."""
    ndim = len(x.shape)
    order = flat_ints("permute_dims", axes) if axes and axes != (None,) else tuple(range(ndim))[::-1]
    if sorted(a % ndim if -ndim <= a < ndim else -1 for a in order) != list(range(ndim)):
        raise ValueError(f"permute_dims: axes {order} are no order of the {ndim} axes of shape {x.shape}")
    return _permute(x, axes=tuple(a % ndim for a in order))


transpose = permute_dims


@composed
def swapaxes(x: Operand, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    order = list(range(len(x.shape)))
    i, j = axis_of("swapaxes", x, axis1), axis_of("swapaxes", x, axis2)
    order[i], order[j] = j, i
    return _permute(x, axes=tuple(order))


@composed
def moveaxis(x: Operand, source: Any, destination: Any) -> Tensor:
    """Axis `source` moved to place `destination` (ints or tuples), the others in their order."""
    return _permute(x, axes=np.moveaxis(np.empty(range(len(x.shape))), source, destination).shape)  # sizes 0, 1, 2 ...


@op(cast=None, x=lambda g, shape: g.reshape(shape))
def squeeze(xp: XP, x: Operand, axis: int | tuple[int, ...] | None = None) -> Array:
    """Without the axes of size 1: all of them, or those named (an error if their size is not 1)."""
    return xp.squeeze(x, axis=axis)


@op(cast=None, x=lambda g, shape: g.reshape(shape))
def expand_dims(xp: XP, x: Operand, axis: int | tuple[int, ...] = 0) -> Array:
    """With new axes of size 1 at these places of the result."""
    return xp.expand_dims(x, axis)


@op(cast=None, x=lambda g: g)
def broadcast_to(xp: XP, x: Operand, shape: tuple[int, ...] = ()) -> Array:
    """Stretched to a shape by NumPy's rules, as a read-only view."""
    return xp.broadcast_to(x, shape)


@op(cast=None, x=lambda g, axis: flip(g, axis=axis))
def flip(xp: XP, x: Operand, axis: int | tuple[int, ...] | None = None) -> Array:
    """Order reversed along the axes (None: all)."""
    return xp.flip(x, axis=axis)


@op(cast=None, x=lambda g, shift, axis: roll(g, shift=_minus(shift), axis=axis))
def roll(xp: XP, x: Operand, shift: Any = 1, axis: Any = None) -> Array:
    """Elements moved by `shift` places along `axis`, those that fall off coming back at the start."""
    if not all(isinstance(s, (int, np.integer)) for s in (shift if isinstance(shift, tuple) else (shift,))):
        raise TypeError(f"shift must be an int, or a tuple of one for each axis, not {shift!r}")
    return xp.roll(x, shift, axis=axis)


def _minus(shift: Any) -> Any:
    return -shift if isinstance(shift, int) else tuple(-s for s in shift)


# -- joining and cutting --------------------------------------------------------------------------


@op(xs=lambda g, i, axis, cuts: g[(slice(None),) * axis + (slice(cuts[i], cuts[i + 1]),)])
def _concat(xp: XP, *xs: Operand, axis: int = 0, cuts: tuple[int, ...] = ()) -> Array:
    if backend.capturing.hooks is None or xp is np:
        return xp.concatenate(xs, axis=axis)
    shape = list(xs[0].shape)
    shape[axis] = cuts[-1]
    out = xp.empty(shape, xs[0].dtype)  # CuPy's concatenate moves a table to the GPU, which can't be captured
    for x, start, stop in zip(xs, cuts, cuts[1:], strict=False):
        out[(slice(None),) * axis + (slice(start, stop),)] = x
    return out


@composed
def concat(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors joined along an existing axis."""
    xs = tensor_list("concat", tensors)
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"concat: axis must be an int, not {axis!r}; the tensors go into one list")
    shapes, ndim = [x.shape for x in xs], len(xs[0].shape)
    if not -ndim <= axis < ndim:
        raise ValueError(f"concat: axis {axis} is out of bounds for shape {shapes[0]}; stack() joins along a new axis")
    axis %= ndim
    if any(len(s) != ndim or s[:axis] + s[axis + 1 :] != shapes[0][:axis] + shapes[0][axis + 1 :] for s in shapes):
        raise ValueError(f"concat: shapes {shapes} must be equal but along axis {axis}; stack() joins along a new one")
    return _concat(*xs, axis=axis, cuts=tuple(np.cumsum([0, *(s[axis] for s in shapes)]).tolist()))


def tensor_list(name: str, tensors: Any) -> list[Any]:
    """A non-empty list of Tensors from a sequence of things that can be Tensors."""
    if not isinstance(tensors, (list, tuple)) and not getattr(tensors, "shape", ()):
        raise TypeError(f"{name} takes a list or tuple of tensors, not {type(tensors).__name__}")
    xs = [t if isinstance(t, autograd.TensorType) else autograd.TensorType(t) for t in tensors]
    if not xs:
        raise ValueError(f"{name} needs at least one tensor, got an empty list")
    return xs


@composed
def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    xs = tensor_list("stack", tensors)
    if any(x.shape != xs[0].shape for x in xs):
        raise ValueError(f"stack: shapes {', '.join(str(x.shape) for x in xs)} must be equal")
    ndim = len(xs[0].shape) + 1
    if not -ndim <= axis < ndim:
        raise ValueError(f"stack: axis {axis} is out of bounds for a result of {ndim} dimensions")
    return concat([expand_dims(x, axis=axis) for x in xs], axis=axis)


@composed
def tile(x: Operand, reps: Any) -> Tensor:
    """x laid out `reps` times along each axis, as numpy.tile."""
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    shape = x.shape
    reps = (1,) * (len(shape) - len(reps)) + reps
    shape = (1,) * (len(reps) - len(shape)) + shape
    pairs = [n for r, s in zip(reps, shape, strict=True) for n in (r, s)]
    x = reshape(x, tuple(n for s in shape for n in (1, s)))
    return reshape(broadcast_to(x, tuple(pairs)), tuple(r * s for r, s in zip(reps, shape, strict=True)))


@op(cast=None, x=lambda g, shape, width: g[tuple(slice(a, a + n) for (a, _), n in zip(width, shape, strict=True))])
def _pad(xp: XP, x: Operand, width: tuple[tuple[int, int], ...] = (), constant_values: float = 0.0) -> Array:
    return xp.pad(x, width, constant_values=constant_values)


@composed
def pad(x: Operand, width: Any, constant_values: float = 0.0) -> Tensor:
    """A border of a constant: `width` is an int, (before, after) for all axes, or one such pair for each."""
    if np.asarray(width).dtype.kind not in "iu":
        raise TypeError(f"pad: width must be an int or pairs of ints, not {width!r}")
    try:
        pairs = np.broadcast_to(np.asarray(width), (len(x.shape), 2)).tolist()
    except ValueError:
        raise ValueError(f"pad: width {width!r} does not fit shape {x.shape}: give one pair for each axis") from None
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"pad: width {width!r} must not be negative; cut with x[...] instead")
    if x.dtype.kind != "f" and constant_values != int(constant_values):
        raise TypeError(f"pad: {constant_values!r} does not fit into {x.dtype}: convert x with .astype() first")
    return _pad(x, width=tuple((a, b) for a, b in pairs), constant_values=constant_values)


@op(x=lambda g, k: tril(g, k=k))
def tril(xp: XP, x: Operand, k: int = 0) -> Array:
    """The lower triangle of the last two axes; 0 above diagonal k."""
    return xp.tril(x, k)


@op(x=lambda g, k: triu(g, k=k))
def triu(xp: XP, x: Operand, k: int = 0) -> Array:
    """The upper triangle of the last two axes; 0 below diagonal k."""
    return xp.triu(x, k)


# -- copies ---------------------------------------------------------------------------------------


@op(cast=None, x=lambda g: g)  # the engine casts a gradient to its argument's dtype
def _astype(xp: XP, x: Operand, dtype: Any = None) -> Array:
    return backend.cast(x, dtype) if isinstance(x, np.ndarray) else x.astype(dtype)


@composed
def astype(x: Operand, dtype: Any) -> Tensor:
    """In another dtype; integers and bools carry no gradient."""
    wanted = backend.check_dtype(dtype)
    return clone(x) if x.dtype == wanted else _astype(x, dtype=wanted)


@op(cast=None, x=lambda g: g)
def clone(xp: XP, x: Operand) -> Array:
    """A copy that is part of the graph."""
    return x.copy()


@op(cast=None, x=lambda g, home: _to(g, home))
def _to_device(xp: XP, x: Operand, device: str = "cpu", home: str = "cpu") -> Array:
    return backend.put(x, device)


def _to(x: Any, device: str) -> Any:
    if isinstance(x, autograd.TensorType):
        return _to_device(x, device=device, home=x.device)
    return backend.put(x, device)


@composed
def to_device(x: Operand, device: str) -> Tensor:
    """On another device; the gradient travels back."""
    return cast("Tensor", x if x.device == device else _to(x, device))
