"""The curvature of a loss without ever writing down its Hessian: products H v by differentiating twice, the sharpest
direction by power iteration, the whole spectrum by Lanczos, and what momentum such a spectrum suggests. With n
parameters H has n^2 numbers; a product costs a few gradients. network.py uses all of it; theory.py has the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from .. import autograd
from ..tensor import Tensor

Vector: TypeAlias = np.ndarray  # (n,) of float64: all parameters, one after the other
Product: TypeAlias = Callable[[Vector], Vector]  # v -> H v


# -- products --------------------------------------------------------------------------------------


def flatten(tensors: Sequence[Tensor]) -> Vector:
    """The values of all tensors in one float64 vector (n,), in their order: a NumPy copy."""
    return np.concatenate([np.asarray(t.numpy(), dtype=np.float64).ravel() for t in tensors])


def unflatten(vector: Vector, like: Sequence[Tensor]) -> list[Tensor]:
    """flatten() undone: tensors of the shapes, dtypes and devices of `like`. Raises ValueError if the vector has not
    as many numbers as they."""
    vector, size = np.asarray(vector), sum(t.size for t in like)
    if vector.shape != (size,):
        raise ValueError(f"the parameters have {size} numbers: a vector of shape ({size},) fits, not {vector.shape}")
    parts = np.split(vector, np.cumsum([t.size for t in like])[:-1])
    return [Tensor(part.reshape(t.shape), dtype=t.dtype, device=t.device) for part, t in zip(parts, like)]


class Hessian:
    """The second derivatives of `loss()` at the parameters' present values, as a map: H(v) is H v, n numbers -> n.

        H v = d/dw (g . v),   g = dL/dw the gradient and v held fixed               (Pearlmutter 1994)

    loss: a function without arguments that computes the scalar loss from `params`. Its gradient's graph is computed
    here, once, and each product is one more walk over it. So change no parameter between making H and using it: the
    product would raise GraphError. Where the loss has kinks (ReLU), H is that of the smooth piece w is in."""

    def __init__(self, loss: Callable[[], Tensor], params: Sequence[Tensor]) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError("Hessian: got no parameters: was a generator, such as model.parameters(), used up before?")
        with autograd.enable_grad():
            value = loss()
            if not isinstance(value, Tensor) or value.size != 1:
                got = f"a tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"Hessian: loss() must return a scalar Tensor, not {got}: take its mean()")
            gradient = autograd.grad(value, self.params, create_graph=True, allow_unused=True)
        self.loss = float(value.item())
        # a gradient that depends on no parameter (of a loss that is linear in it) has no second derivative
        self._curved = [(k, g) for k, g in enumerate(gradient) if g is not None and g.requires_grad]
        zeros = (np.zeros(p.shape) for p in self.params)
        self.gradient = np.concatenate([(z if g is None else g.numpy()).ravel() for g, z in zip(gradient, zeros)])
        self.gradient = self.gradient.astype(np.float64)

    @property
    def size(self) -> int:
        """n, the number of all parameters' numbers."""
        return len(self.gradient)

    def __call__(self, v: Vector) -> Vector:
        """H v, in the parameters' precision. v: (n,); ValueError for another shape."""
        tensors = unflatten(v, self.params)
        if not self._curved:
            return np.zeros(self.size)
        gradients, directions = [g for _, g in self._curved], [tensors[k] for k, _ in self._curved]
        products = autograd.grad(gradients, self.params, directions, retain_graph=True, allow_unused=True)
        return flatten([Tensor(np.zeros(p.shape)) if h is None else h for h, p in zip(products, self.params)])


def hvp(loss: Callable[[], Tensor], params: Sequence[Tensor], v: Vector) -> Vector:
    """One product H v: Hessian(loss, params)(v). v and the result are flat, (n,)."""
    return Hessian(loss, params)(v)


# -- eigenvalues -----------------------------------------------------------------------------------


class Eigenpair(NamedTuple):
    """value: the eigenvalue; vector: (n,), of length 1; residual: |H v - value v| / |value|; steps: products used."""

    value: float
    vector: Vector
    residual: float
    steps: int


def power_iteration(product: Product, start: Vector, tolerance: float = 1e-6, max_steps: int = 1000) -> Eigenpair:
    """The eigenvalue of largest absolute value, and its vector: v <- H v / |H v| until the residual is at most
    `tolerance` or after `max_steps`. Look at the residual: there is an eigenvalue within residual * |value|.

    start: (n,), any vector with a part in the direction sought: a random one, or the last answer where H has changed
    little. A network's largest |eigenvalue| is as a rule lambda_max; a negative answer says that it is lambda_min.
    Raises ValueError for a start that is 0 or not finite, and for a product that is not finite."""
    length = float(np.linalg.norm(start))
    if not (math.isfinite(length) and length > 0):
        raise ValueError(f"power_iteration: start must be finite and not 0, got a vector of length {length}")
    if max_steps < 1:
        raise ValueError(f"power_iteration: max_steps must be at least 1, got {max_steps}")
    v, value, residual = np.asarray(start, np.float64) / length, 0.0, math.inf
    for step in range(1, max_steps + 1):
        h = product(v)
        value, length = float(v @ h), float(np.linalg.norm(h))
        if not math.isfinite(length):
            raise ValueError(f"power_iteration: H v is not finite at step {step}: has the training diverged?")
        if length == 0:
            return Eigenpair(0.0, v, 0.0, step)
        residual = float(np.linalg.norm(h - value * v)) / max(abs(value), np.finfo(float).tiny)
        if residual <= tolerance:
            break
        v = h / length
    return Eigenpair(value, v, residual, step)


class Ritz(NamedTuple):
    """What k steps of Lanczos know of H, all (k,). values: ascending estimates of eigenvalues, the outermost the best;
    weights: how much of the start's length^2 lies there (their sum is 1); errors: |H y - value y| for each value's
    own vector y of length 1, so that an eigenvalue is that close."""

    values: Vector
    weights: Vector
    errors: Vector


def lanczos(product: Product, start: Vector, steps: int) -> Ritz:
    """Lanczos (1950): an orthonormal basis of start, H start, H^2 start ... in which H is a (k, k) tridiagonal matrix
    T, with k = steps, or fewer if the basis is complete before. T's eigenvalues and the squares of its eigenvectors'
    first components are a Gaussian quadrature (Golub and Welsch 1969): with the start scaled to length 1

        sum_j weights[j] values[j]^p = start' H^p start     exactly, for p = 0 ... 2k - 1.

    Rounding makes the basis lose its orthogonality, and copies of eigenvalues appear: so each new vector is
    orthogonalised against all of the basis, twice. Raises ValueError for steps < 1 or a start that is 0 or not
    finite."""
    length = float(np.linalg.norm(start))
    if steps < 1 or not (math.isfinite(length) and length > 0):
        raise ValueError(f"lanczos needs steps >= 1 and a finite start that is not 0, got {steps=}, length {length}")
    steps = min(steps, len(start))
    basis = np.empty((steps, len(start)))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    v = np.asarray(start, np.float64) / length
    for k in range(steps):
        basis[k] = v
        h = product(v)
        size = float(np.linalg.norm(h))
        if not math.isfinite(size):
            raise ValueError(f"lanczos: H v is not finite at step {k + 1}: has the training diverged?")
        diagonal[k] = v @ h
        for _ in range(2):
            h = h - basis[: k + 1].T @ (basis[: k + 1] @ h)
        beside[k] = np.linalg.norm(h)
        if beside[k] <= 1e-12 * size:  # H maps the basis into itself: nothing is left to find from this start
            beside[k], steps = 0.0, k + 1
            break
        v = h / beside[k]
    off = beside[: steps - 1]
    values, vectors = np.linalg.eigh(np.diag(diagonal[:steps]) + np.diag(off, 1) + np.diag(off, -1))
    rounding = np.finfo(float).eps * np.abs(values).max()
    return Ritz(values, vectors[0] ** 2, np.maximum(beside[steps - 1] * np.abs(vectors[-1]), rounding))


def spectrum(product: Product, size: int, rng: np.random.Generator, probes: int = 3, steps: int = 50) -> list[Ritz]:
    """lanczos() from `probes` random starts: together their weights estimate which share of the n eigenvalues lies
    where, since a random direction has on average 1/n of its length^2 in each eigenvector."""
    if probes < 1:
        raise ValueError(f"spectrum: probes must be at least 1, got {probes}")
    return [lanczos(product, rng.standard_normal(size), steps) for _ in range(probes)]


def density(probes: Sequence[Ritz], at: Vector, width: float) -> Vector:
    """The spectral density at the points `at`: each Ritz value a normal curve of standard deviation `width` whose
    area is its weight, averaged over the probes (Lin, Saad and Yang 2016; Ghorbani et al. 2019). Its integral is 1."""
    if not (len(probes) > 0 and width > 0):
        raise ValueError(f"density needs at least one probe and width > 0, got {len(probes)} and {width=}")
    total = np.zeros(np.shape(at))
    for values, weights, _ in probes:
        distance = (np.asarray(at)[:, None] - values) / width
        total += np.exp(-0.5 * distance**2) @ weights
    return total / (len(probes) * width * math.sqrt(2 * math.pi))


# -- a gauge for momentum --------------------------------------------------------------------------


@dataclass(frozen=True)
class Gauge:
    """What curvature alone suggests. momentum, lr: the suggestion; rate: the factor by which the distance to the
    minimum would shrink in a step; limit: the lr at which the sharpest direction would diverge with this momentum;
    usable: whether the assumptions hold; words: what to think of it."""

    momentum: float
    lr: float
    rate: float
    limit: float
    usable: bool
    words: str


def gauge(h_min: float, h_max: float, lr: float | None = None) -> Gauge:
    """The momentum (heavy ball) that curvatures from h_min to h_max suggest: the smallest at which every direction is
    under-damped, so that all shrink by the same factor sqrt(mu) in a step (Zhang and Mitliagkas 2017, YellowFin):

        (1 - sqrt(mu))^2 <= lr h <= (1 + sqrt(mu))^2   for all h in [h_min, h_max]

        lr given:  mu = max((1 - sqrt(lr h_min))^2, (sqrt(lr h_max) - 1)^2)
        lr free:   mu = ((sqrt(k) - 1) / (sqrt(k) + 1))^2,  k = h_max / h_min,   lr = (1 - sqrt(mu))^2 / h_min

    A gauge to read, not an optimizer: `words` says when not to believe it. Raises ValueError for h_max <= 0,
    h_min > h_max, or lr <= 0."""
    if not (math.isfinite(h_min) and math.isfinite(h_max) and h_max > 0 and h_min <= h_max):
        raise ValueError(f"gauge needs h_min <= h_max, h_max > 0 and both finite, got {h_min=} and {h_max=}")
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"gauge: lr must be > 0, got {lr}: leave it out to have one suggested")
    h_min, h_max = float(h_min), float(h_max)
    low = max(h_min, 0.0)
    if lr is None:
        root, top = math.sqrt(low), math.sqrt(h_max)
        mu = ((top - root) / (top + root)) ** 2
        lr = 4 / (top + root) ** 2  # = (1 - sqrt(mu))^2 / h_min, also where that is 0 / 0
    else:
        mu = max((1 - math.sqrt(lr * low)) ** 2, (math.sqrt(lr * h_max) - 1) ** 2)
    limit = 2 * (1 + mu) / h_max
    return Gauge(mu, lr, math.sqrt(mu), limit, h_min > 0 and mu < 1, _words(h_min, h_max, lr, mu, limit))


def _words(h_min: float, h_max: float, lr: float, mu: float, limit: float) -> str:
    if mu >= 1 and h_min > 0:
        return (f"No suggestion: at lr {lr:.4g} no momentum below 1 damps the curvature {h_max:.4g}. "
                f"Below 4 / h_max = {4 / h_max:.4g} there is one.")  # fmt: skip
    if h_min <= 0:
        what = "is flat" if h_min == 0 else f"curves down ({h_min:.4g})"
        return (f"No suggestion: some direction {what}, where nothing converges, and the formula alone runs to "
                f"momentum {mu:.4g}. That is the rule for networks: choose momentum by trying values. What does hold "
                f"is the limit of the sharpest direction, lr < 2 (1 + momentum) / {h_max:.4g}.")  # fmt: skip
    advice = (f"Momentum {mu:.4g} with lr {lr:.4g} (it diverges from {limit:.4g}): every direction shrinks by "
              f"{math.sqrt(mu):.4g} a step. It holds near a minimum, for full batches and while the curvature stays "
              "as it is; noise asks for a smaller lr.")  # fmt: skip
    if h_max / h_min > 1e4:
        advice += (f" But h_max / h_min is {h_max / h_min:.2g}: momentum this near 1 pays only in runs of many times "
                   f"{1 / (1 - math.sqrt(mu)):.0f} steps.")  # fmt: skip
    return advice
