"""What momentum does on a parabola f = h w^2 / 2, in closed form: h is the curvature, and all depends on lr_h, which is
lr * h, and on the momentum mu. quadratic.py, which is the file to read next, holds every formula against runs.

A step is linear in u = lr v and w, so a 2x2 matrix does it; its two roots (eigenvalues) tell everything. They solve
s^2 - T s + D = 0, and w_k+1 = T w_k - D w_k-1, with

    momentum (heavy ball):  T = 1 + mu - lr_h             D = mu
    Nesterov:               T = (1 + mu) (1 - lr_h)       D = mu (1 - lr_h)

Arguments are numbers or NumPy arrays that broadcast; results are float64 of the broadcast shape. nesterov=True means
SGD's w <- w - lr (g + mu v). Each function raises ValueError for NaN, infinite, or impossible arguments, TypeError for
what is no number. Sources: Polyak 1964 (momentum); Qian 1999 (the damped spring); Lessard, Recht and Packard 2016, SIAM
J. Optim. 26(1) (optimal values); O'Donoghue and Candes 2015 (Nesterov on quadratics); Goh 2017, Distill (regimes)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Numbers: TypeAlias = Any  # a number, or an array or a nested list of them
Values: TypeAlias = Any  # np.float64 for numbers, else an array of float64

METHODS = ("gd", "momentum", "nesterov", "nesterov-quadratic")
REGIMES = ("over-damped", "critically damped", "under-damped", "oscillating", "diverging")


# -- one step, and its roots ----------------------------------------------------------------------


def iteration_matrix(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """The step as a matrix, of shape (..., 2, 2), on the column (u, w) with u = lr v. From (0, w_0), as SGD starts:

    momentum  u <- mu u + lr_h w;  w <- w - u            [[mu, lr_h], [-mu,   1 - lr_h]]
    Nesterov  the same u;  w <- w - lr_h w - mu u        [[mu, lr_h], [-mu^2, 1 - (1 + mu) lr_h]]"""
    a, mu = _checked(lr_h, momentum)
    rows = [[mu, a], [-mu * mu, 1 - (1 + mu) * a]] if nesterov else [[mu, a], [-mu, 1 - a]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def roots(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """The two eigenvalues of the step, complex128 of shape (..., 2), the larger one in size first:
    s = (T +- sqrt(T^2 - 4 D)) / 2. A complex pair has the one with the positive imaginary part first."""
    t, d = _trace_det(*_checked(lr_h, momentum), nesterov)
    root = np.sqrt((t * t - 4 * d).astype(complex))
    first = (t + np.where((root.real > 0) & (t < 0), -root, root)) / 2
    second = np.where(root.imag > 0, first.conj(), np.divide(d, first, out=np.zeros_like(first), where=first != 0))
    return np.stack([first, second], axis=-1)


def spectral_radius(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """The rate: the factor by which the error shrinks in each step, after many of them (>= 1: it does not shrink).

        sqrt(D)                            where T^2 < 4 D, the roots are complex; sqrt(mu) for momentum, whatever lr_h
        (|T| + sqrt(T^2 - 4 D)) / 2        where they are real

    (Goh's article prints 2 sqrt(mu) for the first case; that is above 1 for most mu.) lr_h < 0 is a saddle."""
    return _radius(*_trace_det(*_checked(lr_h, momentum), nesterov))[()]


def frequency(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """theta, the angle of the larger root, in [0, pi]: w_k ~ rate^k cos(k theta + phase), so w changes its sign
    theta / pi times per step. theta = arccos(T / (2 sqrt(D))), written with atan2 to be exact near 0 and pi; real
    positive roots give 0 (no oscillation), negative ones pi (a change of sign at every step)."""
    t, d = _trace_det(*_checked(lr_h, momentum), nesterov)
    return np.arctan2(np.sqrt(np.maximum(4 * d - t * t, 0)), t)[()]


def trajectory(lr_h: Numbers, momentum: Numbers, steps: int, nesterov: bool = False) -> Values:
    """w_0 = 1, w_1, ... w_steps of SGD started at rest, by the recurrence: shape (steps + 1, ...)."""
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ValueError(f"trajectory: steps must be an integer >= 0, got {steps!r}")
    a, mu = _checked(lr_h, momentum)
    t, d = _trace_det(a, mu, nesterov)
    w = np.ones((steps + 1, *a.shape))
    w[1:2] = _first(a, mu, nesterov)
    with np.errstate(over="ignore", invalid="ignore"):  # diverging ones end as inf, and then NaN
        for k in range(2, steps + 1):
            w[k] = t * w[k - 1] - d * w[k - 2]
    return w


# -- where it converges, and how ------------------------------------------------------------------


def stability_limit(momentum: Numbers, nesterov: bool = False) -> Values:
    """lr_h must be in (0, limit), or the run diverges: 2 + 2 mu; Nesterov (2 + 2 mu) / (1 + 2 mu). At mu = 0, 2.
    There a root reaches -1: 1 + T + D = 0. So the sharpest curvature that lr stands is limit / lr."""
    _, mu = _checked(0.0, momentum)
    return ((2 + 2 * mu) / (1 + 2 * mu) if nesterov else 2 + 2 * mu)[()]


def critical_momentum(lr_h: Numbers, nesterov: bool = False) -> Values:
    """The momentum that is fastest at this lr_h in [0, 1]: below it the run creeps (over-damped), above it swings.
    Both roots are equal, T^2 = 4 D: (1 - sqrt(lr_h))^2; Nesterov (1 - sqrt(lr_h)) / (1 + sqrt(lr_h))."""
    a, _ = _checked(lr_h, 0.0)
    _require(bool(np.all((a >= 0) & (a <= 1))), f"lr_h must be in [0, 1], where momentum can be critical, got {lr_h!r}")
    root = np.sqrt(a)
    return ((1 - root) / (1 + root) if nesterov else (1 - root) ** 2)[()]


def regime(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Any:
    """How w goes to 0, one of REGIMES: a str, or an array of them.

    over-damped        roots real, positive: w creeps down and keeps its sign
    critically damped  both roots equal (to 1e-12 in T^2 - 4 D) and not negative: the edge between its neighbours
    under-damped       roots complex: ripples of frequency theta
    oscillating        the larger root is negative: w changes its sign at every step
    diverging          rate >= 1: w does not go to 0 (lr_h = 0 is among these: w stays)"""
    t, d = _trace_det(*_checked(lr_h, momentum), nesterov)
    gap = t * t - 4 * d
    equal = np.abs(gap) <= 1e-12
    which = np.select([~_stable(t, d), equal & (t >= 0), (gap < 0) & ~equal, t < 0], [4, 1, 2, 3], default=0)
    return str(REGIMES[int(which)]) if which.ndim == 0 else np.array(REGIMES)[which]


def overshoot(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """How far w swings to the other side of the minimum: max(0, max_k -w_k / w_0), over whole steps k, exactly.
    0: it never does. inf: it diverges (rate >= 1; but 0 for lr_h = 0, where nothing moves).

    Complex roots r e^(+-i theta): w_k = A r^k cos(k theta - phi), which has one trough in each period, at
    k* = (phi + pi - atan(-ln r / theta)) / theta + 2 pi j / theta; the lowest whole step is beside one of them."""
    a, mu = _checked(lr_h, momentum)
    one = np.vectorize(lambda a, mu: _overshoot(float(a), float(mu), nesterov), otypes=[float])
    return one(a, mu)[()]


def _overshoot(a: float, mu: float, nesterov: bool) -> float:
    t, d = (float(x) for x in _trace_det(np.float64(a), np.float64(mu), nesterov))
    first = float(_first(a, mu, nesterov))
    if a == 0:
        return 0.0
    if not _stable(t, d):
        return math.inf
    if t * t >= 4 * d:
        if t > 0:  # positive roots: w keeps its sign, since w_1 is larger than both
            return 0.0
        best, w, after = 0.0, first, t * first - d  # w_1, w_2; the odd ones are negative, with a single crest
        while -w > best:
            best, w = -w, t * after - d * w
            after = t * w - d * after
        return best
    r, theta = math.sqrt(d), math.atan2(math.sqrt(4 * d - t * t), t)
    slope = (first / r - math.cos(theta)) / math.sin(theta)
    amplitude, phi, lag = math.hypot(1, slope), math.atan(slope), math.atan(-math.log(r) / theta)
    best, trough = 0.0, (phi + math.pi - lag) / theta
    for _ in range(100_000):  # rarely more than three; if r is so near 1 that this ends it, no trough to come matters
        if amplitude * r**trough * math.cos(lag) <= best:  # the curve through the steps: each trough is higher
            break
        for k in {math.floor(trough), math.ceil(trough)}:
            best = max(best, -amplitude * r**k * math.cos(k * theta - phi))
        trough += 2 * math.pi / theta
    return best


# -- the best values ------------------------------------------------------------------------------


class Optimum(NamedTuple):
    """The best settings, and the factor by which the worst direction's error shrinks per step with them."""

    lr: float
    momentum: float
    rate: float


def optimal(spectrum: float | tuple[float, float], method: str = "momentum") -> Optimum:
    """The lr and momentum with the smallest worst rate over all curvatures in [m, L], with kappa = L / m.
    spectrum: (m, L), or kappa alone for (1, kappa). Lessard, Recht and Packard 2016, Proposition 1.

    gd                  lr 2 / (L + m)                        rate (kappa - 1) / (kappa + 1)
    momentum            lr 4 / (sqrt(L) + sqrt(m))^2          rate (sqrt(kappa) - 1) / (sqrt(kappa) + 1), mu = rate^2
    nesterov            lr 1 / L, the textbook's choice       rate 1 - 1 / sqrt(kappa),
                        mu (sqrt(kappa) - 1) / (sqrt(kappa) + 1)
    nesterov-quadratic  lr 4 / (3 L + m), best on parabolas   rate 1 - 2 / sqrt(3 kappa + 1),
                        mu (sqrt(3 kappa + 1) - 2) / (sqrt(3 kappa + 1) + 2)

    It is the best rate after many steps; at the optimum of momentum roots are equal, and the error ~ k rate^k."""
    ends = spectrum if isinstance(spectrum, tuple) else (1.0, spectrum)
    _require(len(ends) == 2, f"spectrum must be kappa or (m, L), got {spectrum!r}")
    m, most = (_array("the spectrum", end).item() for end in ends)
    _require(0 < m <= most, f"curvatures must be 0 < m <= L (kappa >= 1), got {spectrum!r}")
    kappa = most / m
    root, three = math.sqrt(kappa), math.sqrt(3 * kappa + 1)
    if method == "gd":
        return Optimum(2 / (most + m), 0.0, (kappa - 1) / (kappa + 1))
    if method == "momentum":
        rate = (root - 1) / (root + 1)
        return Optimum(4 / (math.sqrt(most) + math.sqrt(m)) ** 2, rate**2, rate)
    if method == "nesterov":
        return Optimum(1 / most, (root - 1) / (root + 1), 1 - 1 / root)
    if method == "nesterov-quadratic":
        return Optimum(4 / (3 * most + m), (three - 2) / (three + 2), 1 - 2 / three)
    raise ValueError(f"theory: method must be one of {', '.join(METHODS)}, got {method!r}")


# -- how large the steps are, and noise -----------------------------------------------------------


def effective_lr(lr: Numbers, momentum: Numbers) -> Values:
    """lr / (1 - mu): the rate at which w moves in the end under a constant gradient, for momentum and Nesterov."""
    lr, mu = _checked(lr, momentum, 1, "lr")
    return (lr / (1 - mu))[()]


def update_size(step: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """The length of step 1, 2, ... under a constant gradient 1 and lr 1, which grows to 1 / (1 - mu):
    1 + mu + ... = (1 - mu^step) / (1 - mu); Nesterov is one step ahead, (1 - mu^(step + 1)) / (1 - mu)."""
    step, mu = _checked(step, momentum, 1, "step")
    return ((1 - mu ** (step + bool(nesterov))) / (1 - mu))[()]


def steady_variance(lr: Numbers, h: Numbers, momentum: Numbers, noise: Numbers = 1.0, nesterov: bool = False) -> Values:
    """The variance of w in the end, where each gradient is h w + an independent error of variance `noise`: what the
    noise keeps alive. The mean loss is then h / 2 times that. inf where the run diverges. For momentum

        lr noise (1 + mu) / (h (1 - mu) (2 (1 + mu) - lr h))  ~  effective_lr noise / (2 h)    where lr h is small

    It is the variance of w_k+1 = T w_k - D w_k-1 - lr (p e_k + q e_k-1), p, q = 1, 0; Nesterov 1 + mu, -mu."""
    lr, h, mu, noise = np.broadcast_arrays(
        _array("lr", lr), _array("h", h), _momentum(momentum, below=1), _array("noise", noise)
    )
    _require(bool(np.all((lr > 0) & (h > 0) & (noise >= 0))), "steady_variance needs lr > 0, h > 0 and noise >= 0, "
                                                             f"got {lr=}, {h=}, {noise=}")  # fmt: skip
    t, d = _trace_det(lr * h, mu, nesterov)
    p, q = (1 + mu, -mu) if nesterov else (1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = t * (1 - d) * p * q + (1 + d) * (p * p + q * q + t * p * q)
        variance = lr * lr * noise * above / ((1 - d) * ((1 + d) ** 2 - t * t))
    return np.where(_stable(t, d), variance, np.inf)[()]


def update_variance_ratio(momentum: Numbers, nesterov: bool = False) -> Values:
    """How momentum smooths: the variance of (1 - mu) times the update over that of the gradient, where gradients are
    independent: (1 - mu) / (1 + mu); Nesterov (1 - mu)^2 ((1 + mu)^2 + mu^4 / (1 - mu^2)). The factor 1 - mu undoes
    effective_lr, so that steps of one mean length are compared."""
    mu = _momentum(momentum, below=1)
    ahead = (1 - mu) ** 2 * ((1 + mu) ** 2 + mu**4 / (1 - mu**2))
    return (ahead if nesterov else (1 - mu) / (1 + mu))[()]


def update_autocorrelation(momentum: Numbers, nesterov: bool = False) -> Values:
    """The correlation of one update with the next where gradients are independent: mu. Nesterov's updates weigh past
    gradients with c = 1 + mu, mu^2, mu^3 ...: sum c_k c_k+1 / sum c_k^2."""
    mu = _momentum(momentum, below=1)
    shared, own = (1 + mu) * mu**2 + mu**5 / (1 - mu**2), (1 + mu) ** 2 + mu**4 / (1 - mu**2)
    return (shared / own if nesterov else mu)[()]


def saddle_growth(lr_h: Numbers, momentum: Numbers, nesterov: bool = False) -> Values:
    """The factor per step at which a run leaves a saddle, along curvature -h: lr_h = lr * h >= 0 is its size.
    (1 + mu + lr_h + sqrt((1 + mu + lr_h)^2 - 4 mu)) / 2, which is ~ 1 + lr_h / (1 - mu) while lr_h << (1 - mu)^2."""
    a, mu = _checked(lr_h, momentum)
    _require(bool(np.all(a >= 0)), f"saddle_growth takes the size of the negative curvature: lr_h >= 0, got {lr_h!r}")
    return _radius(*_trace_det(-a, mu, nesterov))[()]


# -- helpers --------------------------------------------------------------------------------------


def _trace_det(a: Any, mu: Any, nesterov: bool) -> tuple[Any, Any]:
    """T and D of the docstring at the top."""
    return ((1 + mu) * (1 - a), mu * (1 - a)) if nesterov else (1 + mu - a, mu)


def _first(a: Any, mu: Any, nesterov: bool) -> Any:
    """w_1 from w_0 = 1 and no velocity."""
    return 1 - (1 + mu) * a if nesterov else 1 - a


def _radius(t: Any, d: Any) -> Any:
    gap = t * t - 4 * d
    return np.where(gap < 0, np.sqrt(np.maximum(d, 0)), (np.abs(t) + np.sqrt(np.maximum(gap, 0))) / 2)


def _stable(t: Any, d: Any) -> Any:
    """rate < 1, without a root's rounding: both roots of s^2 - T s + D are inside the unit circle (Jury)."""
    return (np.abs(t) < 1 + d) & (d < 1)


def _array(name: str, value: Numbers) -> Any:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"theory: {name} must be a number or an array of numbers, got {value!r}") from None
    _require(bool(np.isfinite(array).all()), f"{name} must be finite, got {value!r}")
    return array


def _momentum(value: Numbers, below: float = math.inf) -> Any:
    mu = _array("momentum", value)
    ok = (mu >= 0) & (mu <= 1) & (mu < below)
    _require(bool(ok.all()), f"momentum must be in [0, 1{')' if below == 1 else ']'}, got {value!r}")
    return mu


def _checked(value: Numbers, momentum: Numbers, below: float = math.inf, name: str = "lr_h") -> tuple[Any, Any]:
    """Both as float64, of one shape."""
    first, second = np.broadcast_arrays(_array(name, value), _momentum(momentum, below))
    return first, second


def _require(ok: bool, text: str) -> None:
    if not ok:
        raise ValueError(f"theory: {text}")
