"""Operations on each element, a table of derivatives: every function's forward and, above it, its slope.
Two operands broadcast as in NumPy; the engine sums the gradients back. Where a function has a kink or a tie
the slope is PyTorch's choice. Read operation.py for what a rule may name, reduce.py next."""

from __future__ import annotations

import math
from types import NoneType
from typing import TYPE_CHECKING, Any

from .. import backend
from ..autograd import Operand
from ..backend import Array
from ..operation import composed, op

if TYPE_CHECKING:
    from ..tensor import Tensor

XP = Any  # the array library: numpy, or cupy

# -- arithmetic -----------------------------------------------------------------------------------


@op(a=lambda g: g, b=lambda g: g)
def add(xp: XP, a: Operand, b: Operand) -> Array:
    """a + b."""
    return xp.add(a, b)


@op(a=lambda g: g, b=lambda g: -g)
def subtract(xp: XP, a: Operand, b: Operand) -> Array:
    """a - b."""
    return xp.subtract(a, b)


@op(a=lambda g, b: g * b, b=lambda g, a: g * a)
def multiply(xp: XP, a: Operand, b: Operand) -> Array:
    """a * b."""
    return xp.multiply(a, b)


@op(cast="float", a=lambda g, b: g / b, b=lambda g, out, b: -g * out / b)
def divide(xp: XP, a: Operand, b: Operand) -> Array:
    """a / b; integers give float32."""
    return xp.divide(a, b)


def _pow_base(g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        return g * 0.0 if b == 0 else g * a * 2.0 if b == 2 else g * (b * a ** (b - 1))
    safe = where(b == 0, 1.0, b)  # the slope of a^0 is 0, also at a = 0
    return g * (b * a ** (safe - 1.0))


def _pow_exponent(g: Any, out: Any, a: Any) -> Any:
    if isinstance(a, (int, float)):
        return g * out * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan)
    safe = where(a == 0, 1.0, a)  # 0^b does not change with b
    return g * out * log(safe)


@op(a=_pow_base, b=_pow_exponent)
def pow(xp: XP, a: Operand, b: Operand) -> Array:
    """a ** b."""
    return xp.power(a, b)


@op(x=lambda g: -g)
def negative(xp: XP, x: Operand) -> Array:
    """-x, elementwise."""
    return xp.negative(x)


@op(x=lambda g, x: g * sign(x))
def abs(xp: XP, x: Operand) -> Array:
    """|x|, elementwise; its slope at 0 is 0."""
    return xp.abs(x)


@op(x=lambda g: g * 0.0)
def sign(xp: XP, x: Operand) -> Array:
    """-1, 0 or 1; its slope is 0."""
    return xp.sign(x)


@op(x=lambda g, x: g * x * 2.0)
def square(xp: XP, x: Operand) -> Array:
    """x^2, elementwise."""
    return xp.square(x)


@op(cast="float", x=lambda g, out: g * 0.5 / out)
def sqrt(xp: XP, x: Operand) -> Array:
    """Square root; its slope at 0 is infinite."""
    return xp.sqrt(x)


@op(cast="float", x=lambda g, out: g * -0.5 * out * out * out)
def rsqrt(xp: XP, x: Operand) -> Array:
    """1 / sqrt(x)."""
    return 1.0 / xp.sqrt(x)


# -- exponentials and trigonometry ----------------------------------------------------------------


@op(cast="float", x=lambda g, out: g * out)
def exp(xp: XP, x: Operand) -> Array:
    """e^x."""
    return xp.exp(x)


@op(cast="float", x=lambda g, out: g * (out + 1.0))
def expm1(xp: XP, x: Operand) -> Array:
    """e^x - 1, exact near 0."""
    return xp.expm1(x)


@op(cast="float", x=lambda g, x: g / x)
def log(xp: XP, x: Operand) -> Array:
    """Natural logarithm."""
    return xp.log(x)


@op(cast="float", x=lambda g, x: g / (x + 1.0))
def log1p(xp: XP, x: Operand) -> Array:
    """log(1 + x), exact near 0."""
    return xp.log1p(x)


@op(cast="float", x=lambda g, x: g / (x * math.log(2.0)))
def log2(xp: XP, x: Operand) -> Array:
    """Logarithm to base 2."""
    return xp.log2(x)


@op(cast="float", x=lambda g, x: g / (x * math.log(10.0)))
def log10(xp: XP, x: Operand) -> Array:
    """Logarithm to base 10."""
    return xp.log10(x)


@op(cast="float", x=lambda g, x: g * cos(x))
def sin(xp: XP, x: Operand) -> Array:
    """Sine of x in radians."""
    return xp.sin(x)


@op(cast="float", x=lambda g, x: -g * sin(x))
def cos(xp: XP, x: Operand) -> Array:
    """Cosine of x in radians."""
    return xp.cos(x)


@op(cast="float", x=lambda g, out: g * (1.0 + out * out))
def tan(xp: XP, x: Operand) -> Array:
    """Tangent of x in radians."""
    return xp.tan(x)


@op(cast="float", x=lambda g, x: g * rsqrt(1.0 - x * x))
def asin(xp: XP, x: Operand) -> Array:
    """Inverse sine, in radians."""
    return xp.arcsin(x)


@op(cast="float", x=lambda g, x: -g * rsqrt(1.0 - x * x))
def acos(xp: XP, x: Operand) -> Array:
    """Inverse cosine, in radians."""
    return xp.arccos(x)


@op(cast="float", x=lambda g, x: g / (1.0 + x * x))
def atan(xp: XP, x: Operand) -> Array:
    """Inverse tangent, in radians."""
    return xp.arctan(x)


@op(cast="float", x=lambda g, x: g * cosh(x))
def sinh(xp: XP, x: Operand) -> Array:
    """Hyperbolic sine."""
    return xp.sinh(x)


@op(cast="float", x=lambda g, x: g * sinh(x))
def cosh(xp: XP, x: Operand) -> Array:
    """Hyperbolic cosine."""
    return xp.cosh(x)


@op(cast="float", x=lambda g, out: g * (1.0 - out * out))
def tanh(xp: XP, x: Operand) -> Array:
    """Hyperbolic tangent."""
    return xp.tanh(x)


@op(cast="float", x=lambda g, x: g * (2.0 / math.sqrt(math.pi)) * exp(-x * x))
def erf(xp: XP, x: Operand) -> Array:
    """Error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return backend.of(x).erf(x)


# -- activations ----------------------------------------------------------------------------------


@op(cast="float", x=lambda g, out: g * out * (1.0 - out))
def sigmoid(xp: XP, x: Operand) -> Array:
    """1 / (1 + e^-x), written as exp(-log(1 + e^-x)): no overflow, and exact in the tail."""
    return xp.exp(-xp.logaddexp(-x, x.dtype.type(0)))


@op(x=lambda g, out: g * (out > 0))
def relu(xp: XP, x: Operand) -> Array:
    """max(x, 0); its slope at 0 is 0."""
    return xp.maximum(x, 0)


@op(x=lambda g, x, negative_slope: where(x > 0, g, g * negative_slope))
def leaky_relu(xp: XP, x: Operand, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope * x."""
    return xp.where(x > 0, x, x * negative_slope)


@op(x=lambda g, x, alpha: where(x > 0, g, g * alpha * exp(minimum(x, 0.0))))
def elu(xp: XP, x: Operand, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (e^x - 1) (Clevert et al., 2015)."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@op(cast="float", x=lambda g, x: g * sigmoid(x))
def softplus(xp: XP, x: Operand) -> Array:
    """log(1 + e^x), without overflow."""
    return xp.logaddexp(x, x.dtype.type(0))


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


# -- choice ---------------------------------------------------------------------------------------


def _larger_share(g: Any, mine: Any, other: Any) -> Any:
    """The larger operand takes the gradient; a tie is shared in halves."""
    return g * (mine > other) + g * (mine == other) * 0.5


@op(a=lambda g, a, b: _larger_share(g, a, b), b=lambda g, a, b: _larger_share(g, b, a))
def maximum(xp: XP, a: Operand, b: Operand) -> Array:
    """The larger of a and b; equal ones share the gradient."""
    return xp.maximum(a, b)


@op(a=lambda g, a, b: _larger_share(g, b, a), b=lambda g, a, b: _larger_share(g, a, b))
def minimum(xp: XP, a: Operand, b: Operand) -> Array:
    """The smaller of a and b; equal ones share the gradient."""
    return xp.minimum(a, b)


def _clip_slope(g: Any, x: Any, min: float | None, max: float | None) -> Any:
    if min is not None:
        g = g * (x >= min)
    return g if max is None else g * (x <= max)


@op(x=_clip_slope)
def _clip(xp: XP, x: Operand, min: float | None = None, max: float | None = None) -> Array:
    return xp.clip(x, min, max)


@composed
def clip(x: Operand, min: Operand = None, max: Operand = None) -> Tensor:
    """x limited to [min, max]; the slope is 1 inside, bounds included, and 0 outside. Bounds are numbers,
    None, or tensors (then maximum and minimum, which share ties)."""
    if isinstance(min, (int, float, NoneType)) and isinstance(max, (int, float, NoneType)):
        return _clip(x, min=min, max=max)
    x = x if min is None else maximum(x, min)
    return x if max is None else minimum(x, max)


@op(a=lambda g, condition: where(condition, g, 0.0), b=lambda g, condition: where(condition, 0.0, g))
def where(xp: XP, condition: Operand, a: Operand, b: Operand) -> Array:
    """a where condition is true, else b."""
    return xp.where(condition, a, b)


# -- comparisons: they carry no gradient ----------------------------------------------------------


@op()
def equal(xp: XP, a: Operand, b: Operand) -> Array:
    """a == b, as a bool tensor."""
    return xp.equal(a, b)


@op()
def not_equal(xp: XP, a: Operand, b: Operand) -> Array:
    """a != b, as a bool tensor."""
    return xp.not_equal(a, b)


@op()
def less(xp: XP, a: Operand, b: Operand) -> Array:
    """a < b, as a bool tensor."""
    return xp.less(a, b)


@op()
def less_equal(xp: XP, a: Operand, b: Operand) -> Array:
    """a <= b, as a bool tensor."""
    return xp.less_equal(a, b)


@op()
def greater(xp: XP, a: Operand, b: Operand) -> Array:
    """a > b, as a bool tensor."""
    return xp.greater(a, b)


@op()
def greater_equal(xp: XP, a: Operand, b: Operand) -> Array:
    """a >= b, as a bool tensor."""
    return xp.greater_equal(a, b)


@op()
def logical_and(xp: XP, a: Operand, b: Operand) -> Array:
    """a and b, as a bool tensor."""
    return xp.logical_and(a, b)


@op()
def logical_or(xp: XP, a: Operand, b: Operand) -> Array:
    """a or b, as a bool tensor."""
    return xp.logical_or(a, b)


@op()
def logical_not(xp: XP, x: Operand) -> Array:
    """not x, as a bool tensor."""
    return xp.logical_not(x)


@op()
def isnan(xp: XP, x: Operand) -> Array:
    """Whether each element is nan."""
    return xp.isnan(x)


@op()
def isfinite(xp: XP, x: Operand) -> Array:
    """Whether each element is neither infinite nor nan."""
    return xp.isfinite(x)
