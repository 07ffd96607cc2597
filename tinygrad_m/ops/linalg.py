"""Products of matrices, and what is made of them. matmul and einsum have rules of their own; the others are
composed. Read fused.py next."""

from __future__ import annotations

from math import inf, prod
from typing import TYPE_CHECKING, Any

from ..autograd import Operand
from ..backend import Array
from ..kernels import product
from ..operation import composed, op
from .elementwise import XP, abs, pow, where
from .indexing import diagonal
from .reduce import Axis, max, min, spread, sum
from .shape import axis_of, permute_dims, reshape, tensor_list

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = [
    "einsum", "matmul", "norm", "outer", "tensordot", "trace",
]  # fmt: skip


def matrix(x: Any) -> Any:
    """All axes but the last as one."""
    if x.ndim == 2:
        return x
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])  # -1 in its place is unclear if the last has no elements


def _matmul_left(g: Any, b: Any, shape: tuple[int, ...]) -> Any:
    if b.ndim == 1:
        return g[..., None] * b if len(shape) > 1 else g * b
    if len(shape) == 1:
        return product(b, g[..., None])[..., 0]
    return product(g, b.swapaxes(-1, -2))


def _matmul_right(g: Any, a: Any, shape: tuple[int, ...]) -> Any:
    if a.ndim == 1:
        return a[:, None] * g[..., None, :] if len(shape) > 1 else g * a
    if len(shape) == 1:
        return product(a.swapaxes(-1, -2), g[..., None])[..., 0]
    if len(shape) == 2:  # one matrix for the whole batch: one product, not one for each to be summed after
        return product(matrix(a).T, matrix(g))
    return product(a.swapaxes(-1, -2), g)


@op(a=_matmul_left, b=_matmul_right)
def matmul(xp: XP, a: Operand, b: Operand) -> Array:
    """a @ b: matrices in the last two axes, the others broadcast; vectors as in NumPy."""
    return product(a, b)


@composed
def tensordot(a: Operand, b: Operand, axes: Any = 2) -> Tensor:
    """Sum of products over axes: the last n of a with the first n of b, or (axes of a, axes of b)."""
    if isinstance(axes, int):
        left, right = list(range(len(a.shape) - axes, len(a.shape))), list(range(axes))
        fits = 0 <= axes <= len(a.shape) and axes <= len(b.shape)
    else:
        left, right = ([s] if isinstance(s, int) else list(s) for s in axes)
        left, right = [axis_of("tensordot", a, k) for k in left], [axis_of("tensordot", b, k) for k in right]
        fits = True
    if not fits or [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        raise ValueError(f"tensordot: axes {axes} of shapes {a.shape} and {b.shape} must exist and agree in size")
    free_a = [k for k in range(len(a.shape)) if k not in left]
    free_b = [k for k in range(len(b.shape)) if k not in right]
    n = prod(a.shape[k] for k in left)
    flat_a = reshape(permute_dims(a, (*free_a, *left)), (prod(a.shape[k] for k in free_a), n))
    flat_b = reshape(permute_dims(b, (*right, *free_b)), (n, prod(b.shape[k] for k in free_b)))
    return reshape(matmul(flat_a, flat_b), (*[a.shape[k] for k in free_a], *[b.shape[k] for k in free_b]))


def _einsum_slope(g: Any, xs: Any, i: int, terms: tuple[str, ...], to: str) -> Any:
    others = [(t, x) for k, (t, x) in enumerate(zip(terms, xs, strict=True)) if k != i]
    names, arrays = (to, *[t for t, _ in others]), (g, *[x for _, x in others])
    return _einsum(*arrays, terms=names, to=terms[i])


@op(xs=_einsum_slope)
def _einsum(xp: XP, *xs: Operand, terms: tuple[str, ...] = (), to: str = "") -> Array:
    """Every letter of a term stands in the result or in another term, and once in its own."""
    return xp.einsum(",".join(terms) + "->" + to, *xs, optimize=len(xs) > 1)


@composed
def einsum(subscripts: str, *operands: Operand) -> Tensor:
    """Einstein's summation, as numpy.einsum: "ij,jk->ik", "...i,...i", "ii->i" ..."""
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts come first, as a str such as 'ij,jk->ik', not {type(subscripts).__name__}")
    xs = tensor_list("einsum", operands)
    terms, to = _einsum_terms(subscripts, [len(x.shape) for x in xs])
    sizes: dict[str, int] = {}
    for term, x in zip(terms, xs, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(
                    f"einsum {subscripts!r}: axes {letter!r} of shapes {[x.shape for x in xs]} differ in size"
                )
    for k, term in enumerate(terms):
        for letter in sorted({c for c in term if term.count(c) > 1}):  # a repeated letter is a diagonal
            while term.count(letter) > 1:
                first, second = term.index(letter), term.rindex(letter)
                xs[k] = diagonal(xs[k], 0, first, second)
                term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
        alone = [c for c in term if c not in to and not any(c in t for j, t in enumerate(terms) if j != k)]
        if alone:
            xs[k] = sum(xs[k], axis=tuple(term.index(c) for c in alone))
            term = "".join(c for c in term if c not in alone)
        terms[k] = term
    return _einsum(*xs, terms=tuple(terms), to=to)


def _einsum_terms(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """Explicit terms, one for each operand, and the result's: "..." and a missing "->" are filled in."""
    left, arrow, to = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum {subscripts!r} names {len(terms)} operands, got {len(ndims)}")
    if not set(left.replace("...", "") + to.replace("...", "")) <= set(
        ",abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ):
        raise ValueError(f"einsum {subscripts!r}: subscripts are letters, ',', '...' and '->'")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in subscripts]
    longest = 0
    for k, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        letters = len(term.replace("...", ""))
        if letters > ndim or ("..." not in term and letters != ndim):
            raise ValueError(f"einsum {subscripts!r}: term {term!r} does not fit operand {k} with {ndim} dimensions")
        longest = ndim - letters if ndim - letters > longest else longest
        terms[k] = term.replace("...", "".join(spare[: ndim - letters][::-1]))
    dots = "".join(spare[:longest][::-1])
    if not arrow:
        joined = "".join(terms)
        to = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    to = to.replace("...", dots)
    if len(set(to)) != len(to) or not set(to) <= set("".join(terms)):
        raise ValueError(f"einsum {subscripts!r}: the result {to!r} must name letters of the terms, each once")
    return terms, to


@composed
def outer(a: Operand, b: Operand) -> Tensor:
    """a[i] * b[j] of two vectors (others are flattened, as in NumPy)."""
    return reshape(a, -1, 1) * reshape(b, 1, -1)


@composed
def trace(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Sum of a diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


def _norm_slope(g: Any, out: Any, x: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    inverse = (out != 0) / where(out == 0, 1.0, out)  # 0 where the norm is 0
    return x * spread(g * inverse.astype(g.dtype), shape, axis, keepdims)


@op(cast="float", x=_norm_slope)
def _norm2(xp: XP, x: Operand, axis: Axis = None, keepdims: bool = False) -> Array:
    return xp.sqrt(xp.sum(x * x, axis=axis, keepdims=keepdims))


@composed
def norm(x: Operand, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Vector norm (sum |x|^ord)^(1/ord) over the axes (None: all elements); ord None, 2 or "fro" is
    Euclid's, whose slope at 0 is 0; inf and -inf are the extremes of |x|, 0 counts what is not 0."""
    if ord is None or ord == 2 or ord == "fro":
        return _norm2(x, axis=axis, keepdims=keepdims)
    if not isinstance(ord, (int, float)):
        raise ValueError(f"norm: ord must be a number, inf, -inf, 'fro' or None, not {ord!r}")
    size = abs(x)
    if ord == inf:
        return max(size, axis=axis, keepdims=keepdims)
    if ord == -inf:
        return min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return sum((size != 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    total = sum(pow(size, ord) if ord != 1 else size, axis=axis, keepdims=keepdims)
    if ord == 1:
        return total
    empty = total == 0  # the root has an infinite slope there; the norm's is taken as 0
    return where(empty, 0.0, pow(where(empty, 1.0, total), 1.0 / ord))
