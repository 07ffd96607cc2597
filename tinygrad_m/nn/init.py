"""First values for weights, written into a tensor in place. What matters is their spread: too small and the
signal dies from layer to layer, too large and it explodes; Xavier's and Kaiming's rules keep it. Numbers are
drawn in float64 on the host, so that a seed gives every dtype and device the same ones. Read layers.py next."""

import math
from typing import Any

import numpy as np

from .. import backend
from ..autograd import no_grad
from ..tensor import Tensor


def _fill(tensor: Tensor, values: np.ndarray | float) -> Tensor:
    """Write host values into a tensor, in its dtype and on its device, as no part of any graph."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"nn.init writes into a Tensor, not {type(tensor).__name__}")
    with no_grad():
        tensor[...] = values
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """U(a, b)."""
    if not a <= b:
        raise ValueError(f"uniform_ needs a <= b, got {a!r} and {b!r}")
    return _fill(tensor, backend.rng().uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """N(mean, std^2)."""
    if not std >= 0:
        raise ValueError(f"normal_ needs std >= 0, got {std!r}")
    return _fill(tensor, backend.rng().normal(mean, std, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One value everywhere."""
    return _fill(tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return _fill(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return _fill(tensor, 1)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a layer's weights make up for what the nonlinearity after it takes from the spread.
    `param` is leaky_relu's negative slope (0.01 if None)."""
    slope = 0.01 if param is None else float(param)
    gains = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75,
             "leaky_relu": math.sqrt(2 / (1 + slope**2))}  # fmt: skip
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity must be one of {', '.join(gains)}, not {nonlinearity!r}")
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs an output of this weight sums, and how many outputs an input reaches.
    A weight is (out, in), or (out, in, kh, kw): then times the places of the kernel."""
    if tensor.ndim < 2:
        raise ValueError(f"a weight of at least 2 dimensions has fan in and fan out, not one of shape {tensor.shape}")
    places = math.prod(tensor.shape[2:])
    return tensor.shape[1] * places, tensor.shape[0] * places


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', not {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fans(tensor)[mode == "fan_out"], 1))


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """U(-bound, bound) with bound = gain sqrt(3 / fan). fan_in keeps the spread of the signal, fan_out that of the
    gradient; `a` is leaky_relu's negative slope, 0 for relu (He et al., 2015, arXiv:1502.01852)."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan) (He et al., 2015, arXiv:1502.01852)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return float(gain) * math.sqrt(2.0 / max(sum(fans(tensor)), 1))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """U(-bound, bound) with bound = gain sqrt(6 / (fan_in + fan_out)): a compromise between signal and gradient
    (Glorot and Bengio, 2010)."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """gain times rows (or columns, of which there are fewer) that are orthonormal; a weight of more than two
    dimensions is taken as (out, rest) (Saxe et al., 2013, arXiv:1312.6120)."""
    fans(tensor)  # at least two dimensions
    rows, cols = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(backend.rng().standard_normal((max(rows, cols), min(rows, cols))))
    q *= np.sign(np.diag(r))  # else the matrices would not be spread evenly over all orthogonal ones
    matrix: Any = q if rows >= cols else q.T
    return _fill(tensor, float(gain) * matrix.reshape(tensor.shape))
