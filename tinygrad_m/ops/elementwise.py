"""Operations on each element, a table of derivatives: each entry says what the function is and, for each
argument, how the gradient `g` goes back through it. Two operands broadcast as in NumPy; the engine sums the
gradients back. Where a function has a kink or a tie the slope is PyTorch's choice. Read operation.py for what
a rule may name, and reduce.py next."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import autograd, backend, kernels
from ..autograd import Operand
from ..backend import Array
from ..operation import Rule, composed, op
from .pieces import elementwise

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = [
    "abs", "acos", "add", "asin", "atan", "clip", "cos", "cosh", "divide", "elu", "equal", "erf", "exp", "expm1",
    "gelu", "greater", "greater_equal", "isfinite", "isnan", "leaky_relu", "less", "less_equal", "log", "log10",
    "log1p", "log2", "logical_and", "logical_not", "logical_or", "maximum", "minimum", "multiply", "negative",
    "not_equal", "pow", "relu", "rsqrt", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt", "square",
    "subtract", "tan", "tanh", "where",
]  # fmt: skip

XP = Any  # the array library: numpy, or cupy


def ufunc(name: str, doc: str, cast: str = "float", numpy: str = "", **rules: Rule | None) -> Callable[..., Tensor]:
    """The operation that is one function of the array library (`numpy`: its name there), of x or of a and b."""
    if "x" in rules:

        def forward(xp: XP, x: Operand) -> Array:
            return getattr(xp, numpy or name)(x)
    else:

        def forward(xp: XP, a: Operand, b: Operand) -> Array:  # type: ignore[misc]
            return getattr(xp, numpy or name)(a, b)

    forward.__name__, forward.__doc__, forward.__module__ = name, doc, __name__
    forward.numpy = getattr(np, numpy or name)  # type: ignore[attr-defined]
    return op(cast=cast, **rules)(forward)


def _pow_base(g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        return g * 0.0 if b == 0 else g * a * 2.0 if b == 2 else g * (b * a ** (b - 1))
    return g * (b * a ** (_where((a == 0) & (b == 0), 1.0, b) - 1.0))  # the slope of a^0 is 0, also at a = 0


def _pow_exponent(g: Any, out: Any, a: Any) -> Any:
    if isinstance(a, (int, float)):
        return g * out * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan)
    return g * out * log(_where(a == 0, 1.0, a))  # 0^b does not change with b


def _larger_share(g: Any, mine: Any, other: Any) -> Any:
    return _where(mine > other, g, _where(mine == other, g * 0.5, 0.0))


# fmt: off
# -- arithmetic -----------------------------------------------------------------------------------
add = ufunc("add", "a + b.", "common", a=lambda g: g, b=lambda g: g)
subtract = ufunc("subtract", "a - b.", "common", a=lambda g: g, b=lambda g: -g)
multiply = ufunc("multiply", "a * b.", "common", a=lambda g, b: g * b, b=lambda g, a: g * a)
divide = ufunc("divide", "a / b; integers give float32.", a=lambda g, b: g / b, b=lambda g, out, b: -g * out / b)
pow = ufunc("pow", "a to the power b.", "common", numpy="power", a=_pow_base, b=_pow_exponent)
negative = ufunc("negative", "-x.", "common", x=lambda g: -g)
abs = ufunc("abs", "|x|; its slope at 0 is 0.", "common", x=lambda g, x: g * sign(x))
sign = ufunc("sign", "-1, 0 or 1; its slope is 0.", "common", x=lambda g: g * 0.0)
square = ufunc("square", "x^2.", "common", x=lambda g, x: g * x * 2.0)
sqrt = ufunc("sqrt", "Square root; its slope at 0 is infinite.", x=lambda g, out: g * 0.5 / out)
maximum = ufunc("maximum", "The larger of a and b; equal ones share the gradient.", "common",
                a=lambda g, a, b: _larger_share(g, a, b), b=lambda g, a, b: _larger_share(g, b, a))
minimum = ufunc("minimum", "The smaller of a and b; equal ones share the gradient.", "common",
                a=lambda g, a, b: _larger_share(g, b, a), b=lambda g, a, b: _larger_share(g, a, b))

# -- exponentials and trigonometry (angles in radians) --------------------------------------------
exp = ufunc("exp", "e^x.", x=lambda g, out: g * out)
expm1 = ufunc("expm1", "e^x - 1, exact near 0.", x=lambda g, out: g * (out + 1.0))
log = ufunc("log", "Natural logarithm.", x=lambda g, x: g / x)
log1p = ufunc("log1p", "log(1 + x), exact near 0.", x=lambda g, x: g / (x + 1.0))
log2 = ufunc("log2", "Logarithm to base 2.", x=lambda g, x: g / (x * math.log(2.0)))
log10 = ufunc("log10", "Logarithm to base 10.", x=lambda g, x: g / (x * math.log(10.0)))
sin = ufunc("sin", "Sine.", x=lambda g, x: g * cos(x))
cos = ufunc("cos", "Cosine.", x=lambda g, x: -g * sin(x))
tan = ufunc("tan", "Tangent.", x=lambda g, out: g * (1.0 + out * out))
asin = ufunc("asin", "Inverse sine.", numpy="arcsin", x=lambda g, x: g * rsqrt(1.0 - x * x))
acos = ufunc("acos", "Inverse cosine.", numpy="arccos", x=lambda g, x: -g * rsqrt(1.0 - x * x))
atan = ufunc("atan", "Inverse tangent.", numpy="arctan", x=lambda g, x: g / (1.0 + x * x))
sinh = ufunc("sinh", "Hyperbolic sine.", x=lambda g, x: g * cosh(x))
cosh = ufunc("cosh", "Hyperbolic cosine.", x=lambda g, x: g * sinh(x))
tanh = ufunc("tanh", "Hyperbolic tangent.", x=lambda g, out: g * (1.0 - out * out))

# -- comparisons and tests: bool tensors, without a gradient ---------------------------------------
equal = ufunc("equal", "a == b.", "common", a=None, b=None)
not_equal = ufunc("not_equal", "a != b.", "common", a=None, b=None)
less = ufunc("less", "a < b.", "common", a=None, b=None)
less_equal = ufunc("less_equal", "a <= b.", "common", a=None, b=None)
greater = ufunc("greater", "a > b.", "common", a=None, b=None)
greater_equal = ufunc("greater_equal", "a >= b.", "common", a=None, b=None)
logical_and = ufunc("logical_and", "a and b.", "common", a=None, b=None)
logical_or = ufunc("logical_or", "a or b.", "common", a=None, b=None)
logical_not = ufunc("logical_not", "not x.", "common", x=None)
isnan = ufunc("isnan", "Whether each element is nan.", "common", x=None)
isfinite = ufunc("isfinite", "Whether each element is neither infinite nor nan.", "common", x=None)
# fmt: on

# -- functions that the libraries lack, or write less carefully ------------------------------------


@op(cast="float", x=lambda g, out: g * -0.5 * out * out * out)
def rsqrt(xp: XP, x: Operand) -> Array:
    """1 / sqrt(x)."""
    return 1.0 / xp.sqrt(x)


@op(cast="float", x=lambda g, x: g * (2.0 / math.sqrt(math.pi)) * exp(-x * x))
def erf(xp: XP, x: Operand) -> Array:
    """Error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return backend.of(x).erf(x)


@op(cast="float", x=lambda g, out: g * out * (1.0 - out))
def sigmoid(xp: XP, x: Operand) -> Array:
    """1 / (1 + e^-x), written as exp(-log(1 + e^-x)): no overflow, and exact in the tail."""
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


def hold(x: Any) -> Any:
    """x as a constant of a rule: whether it is positive does not change with a small step."""
    return x.detach() if isinstance(x, autograd.TensorType) else x


@op(g=lambda grad, y: _relu_slope(grad, y))
def _relu_slope(xp: XP, g: Operand, y: Operand) -> Array:
    """g where y = relu(x) > 0, or is nan, else 0."""

    def slope(g: Array, y: Array, out: Array | None = None) -> Array:
        return masked(xp, g, y != 0, out)  # y is never negative; nan stays

    if xp is np:
        return elementwise(slope, g, y)
    return slope_on_cuda(g, y, np.int32(0)) if kernels.fits(g, y, dtypes="efd") else slope(g, y)


def slope_on_cuda(g: Array, out: Array, activation: np.int32) -> Array:
    """The gradient behind an activation by its number (fused.py's ACTIVATIONS), from the result, by a kernel."""
    xp = backend.of(out).xp
    g, out = xp.ascontiguousarray(g), xp.ascontiguousarray(out)
    return kernels.elements("biased_back", xp.empty_like(out), g, out, activation)


@op(x=lambda g, out: _relu_slope(g, hold(out)))
def relu(xp: XP, x: Operand) -> Array:
    """max(x, 0); its slope at 0 is 0."""
    if xp is not np:
        return xp.maximum(x, 0)
    return elementwise(lambda x, out=None: np.maximum(x, 0, out=out), x)


@op(cast="float", x=lambda g, x, negative_slope: _where(x > 0, g, g * negative_slope))
def leaky_relu(xp: XP, x: Operand, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope * x."""
    return xp.where(x > 0, x, x * negative_slope)


@op(cast="float", x=lambda g, x, alpha: _where(x > 0, g, g * alpha * exp(minimum(x, 0.0))))
def elu(xp: XP, x: Operand, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (e^x - 1) (Clevert et al., 2015)."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@op(cast="float", x=lambda g, x: g * sigmoid(x))
def softplus(xp: XP, x: Operand) -> Array:
    """log(1 + e^x), without overflow."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


@composed
def silu(x: Operand) -> Tensor:
    """x * sigmoid(x), also called swish (Hendrycks and Gimpel, 2016)."""
    return multiply(x, sigmoid(x))


@composed
def gelu(x: Operand, approximate: str = "none") -> Tensor:
    """x * P(N(0, 1) < x) = x/2 (1 + erf(x / sqrt 2)); approximate="tanh" is the original paper's formula
    x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel, 2016)."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', not {approximate!r}")
    if approximate == "none":
        return multiply(x, 0.5) * (erf(multiply(x, math.sqrt(0.5))) + 1.0)
    inner = multiply(x, math.sqrt(2.0 / math.pi)) * (multiply(square(x), 0.044715) + 1.0)
    return multiply(x, 0.5) * (tanh(inner) + 1.0)


def _clip_slope(g: Any, x: Any, min: float | None, max: float | None) -> Any:
    if min is not None:
        g = _where(x >= min, g, 0.0)
    return g if max is None else _where(x <= max, g, 0.0)


@op(x=_clip_slope)
def _clip(xp: XP, x: Operand, min: float | None = None, max: float | None = None) -> Array:
    return x.copy() if min is None and max is None else xp.clip(x, min, max)  # NumPy 2.0 refuses two Nones


@composed
def clip(x: Operand, min: Operand = None, max: Operand = None) -> Tensor:
    """x limited to [min, max]; the slope is 1 inside, bounds included, and 0 outside. Bounds are numbers,
    None, or tensors (then maximum and minimum, which share ties)."""
    if isinstance(min, (int, float, NoneType)) and isinstance(max, (int, float, NoneType)):
        if x.dtype.kind != "f" and (isinstance(min, float) or isinstance(max, float)):
            x = x.astype("float32")
        return _clip(x, min=min, max=max)
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


@op(a=lambda g, condition: _where(condition, g, 0.0), b=lambda g, condition: _where(condition, 0.0, g))
def _where(xp: XP, condition: Operand, a: Operand, b: Operand) -> Array:
    if not hasattr(a, "dtype") and not hasattr(b, "dtype") and float in (type(a), type(b)):
        a = xp.asarray(a, dtype="float32")  # two numbers: as when a Tensor is made of them
    condition = condition if hasattr(condition, "dtype") else xp.asarray(bool(condition))
    if type(b) is float and b == 0:
        return masked(xp, a, condition)
    if type(a) is float and a == 0:
        return masked(xp, b, ~condition)
    return xp.where(condition, a, b)


_WORDS = {2: np.dtype("int16"), 4: np.dtype("int32"), 8: np.dtype("int64")}  # by bytes


def masked(xp: XP, x: Array, mask: Array, out: Array | None = None) -> Array:
    """x where the mask is true, else 0; written into `out` if given. Not x * mask, as 0 * inf is nan; and np.where is
    ten times slower, since the processor cannot guess its branches. So its bits, an integer, are taken 1 or 0 times."""
    if xp is np and getattr(x, "dtype", mask.dtype).kind == "f":
        word = _WORDS[x.itemsize]
        return np.multiply(x.view(word), mask, out=None if out is None else out.view(word)).view(x.dtype)
    result = xp.where(mask, x, 0.0)
    if out is None:
        return result
    out[...] = result
    return out


@composed
def where(condition: Operand, x1: Operand, x2: Operand) -> Tensor:
    """x1 where condition is true (not zero), else x2."""
    if not isinstance(condition, bool) and getattr(condition, "dtype", None) != "bool":
        condition = not_equal(condition, 0)
    return _where(condition, x1, x2)
