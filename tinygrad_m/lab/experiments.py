"""The theory of theory.py asked of real networks and real digits, in four experiments: the best momentum predicted and
then measured (bridge), a network plucked like a string (ring_down), training at the edge of stability (edge), and the
spectrum of curvatures that momentum has to serve (spectra). curvature.py has the tools; network.py runs all four."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .. import nn, optim
from ..data import load_mnist
from ..data.mnist import STD
from ..nn import functional as F
from ..tensor import Tensor
from . import theory
from .curvature import Hessian, flatten, gauge, power_iteration, spectrum, unflatten

MOMENTA = (0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
STEPS = 40  # for which one listens to a pluck

# -- what the experiments share --------------------------------------------------------------------


def digits(images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random MNIST digits: pixels (images, 784), float64 from 0 to 1 less their mean; labels (images,)."""
    pixels, labels = load_mnist("train", flatten=True, normalize=False)
    chosen = rng.choice(len(labels), images, replace=False)
    x = pixels[chosen] / 255
    return x - x.mean(axis=0), labels[chosen]


def mlp(widths: Sequence[int], rng: np.random.Generator, dtype: str) -> nn.Module:
    """784-widths-10 with tanh between; first values U(-b, b), b = 1 / sqrt(inputs), drawn from `rng`."""
    sizes = [784, *widths, 10]
    layers: list[nn.Module] = []
    for n, m in zip(sizes, sizes[1:]):
        layers += [nn.Linear(n, m, dtype=dtype), nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    state = model.state_dict()
    bounds = [1 / math.sqrt(n) for n in sizes[:-1] for _ in ("weight", "bias")]
    model.load_state_dict({name: rng.uniform(-b, b, a.shape) for (name, a), b in zip(state.items(), bounds)})
    return model


def place(params: Sequence[Tensor], vector: np.ndarray) -> None:
    """Write a flat vector into the parameters."""
    for p, values in zip(params, unflatten(vector, params)):
        p.data = values.data


def descent(loss: Callable[[], Tensor], params: Sequence[Tensor], **settings: Any) -> Iterator[float]:
    """Steps of SGD, without end; gives the loss before each, when the step is done."""
    optimizer = optim.SGD(params, **settings)
    while True:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        yield float(value.item())


# -- 1. the bridge: predicted, then measured ---------------------------------------------------------


def bridge(images: int, seed: int, weight_decay: float = 0.01, most: int = 5000) -> dict[str, Any]:
    """Softmax regression, the convex problem that is nearest to a network. Measure the curvature at the optimum,
    predict how fast every momentum will be, then run them, full batch, all from one start. `most`: steps at most."""
    rng = np.random.default_rng([seed, 1])
    x, labels = digits(images, rng)
    pixels, w = Tensor(x), Tensor(0.03 * rng.standard_normal((784, 10)), requires_grad=True)

    def loss() -> Tensor:
        return F.cross_entropy(pixels @ w, labels) + (weight_decay / 2) * (w * w).sum()

    start = flatten([w])
    roughly = power_iteration(Hessian(loss, [w]), rng.standard_normal(start.size), 1e-3).value
    for _ in islice(descent(loss, [w], lr=1 / roughly, momentum=0.8), 400):
        pass
    optimum, hessian = flatten([w]), Hessian(loss, [w])
    top = power_iteration(hessian, rng.standard_normal(start.size), 1e-6, 2000)
    # one number added to all ten classes' scores changes no probability: there only the weight decay is curved, and
    # as cross-entropy is convex, nowhere less
    flat = np.repeat(rng.standard_normal(784), 10)
    low, high = float(flat @ hessian(flat) / (flat @ flat)), top.value

    def run(name: str, lr: float, momentum: float, nesterov: bool = False, most: int = most) -> dict[str, Any]:
        predicted = float(np.max(theory.spectral_radius(lr * np.geomspace(low, high, 1000), momentum, nesterov)))
        settings: dict[str, Any] = {"lr": lr, "momentum": momentum, "nesterov": nesterov}
        place([w], start)
        distances = [1.0]
        for _ in islice(descent(loss, [w], **settings), most):
            distances.append(float(np.linalg.norm(flatten([w]) - optimum) / np.linalg.norm(start - optimum)))
            if not 1e-10 < distances[-1] < 1e6:
                break
        return {"name": name, **settings, "predicted": predicted, **_measured(distances), "distances": distances}

    best, free, told = theory.optimal((low, high), "nesterov"), gauge(low, high), gauge(low, high, 1 / high)
    runs = [run("gd", 2 / (high + low), 0.0), run("gauge", free.lr, free.momentum),
            run("nesterov", best.lr, best.momentum, True)]  # fmt: skip
    sweep = [run(f"{mu:g}", 1 / high, mu) for mu in (0.0, *MOMENTA)]
    around = [run(f"lr x {k:g}, momentum {d:+.1f}", free.lr * k, free.momentum + d, most=150)
              for k in (0.85, 1.0, 1.15) for d in (-0.1, 0.0, 0.1) if (k, d) != (1.0, 0.0)]  # fmt: skip
    for neighbour in around:
        del neighbour["distances"]  # nobody draws them
    return {"images": images, "weight_decay": weight_decay, "h_min": low, "h_max": high, "residual": top.residual,
            "gradient": float(np.linalg.norm(hessian.gradient)), "runs": runs, "sweep": sweep, "around": around,
            "gauge": vars(free), "gauge_at_this_lr": vars(told)}  # fmt: skip


def _measured(distances: list[float]) -> dict[str, Any]:
    """Steps to a millionth of the way, and the late rate: exp of the slope of log(distance) between 1e-5 and 1e-10."""
    d = np.array(distances)
    if not d[-1] < 1e6:
        return {"diverged": True, "steps": None, "measured": None, "window": None}
    arrived = np.flatnonzero(d < 1e-6)
    inside = np.flatnonzero((d < 1e-5) & (d > 1e-10))
    window = [int(inside[0]), int(inside[-1])] if len(inside) > 5 else None
    rate = None
    if window is not None:
        k = np.arange(window[0], window[1] + 1)
        rate = float(np.exp(np.polyfit(k, np.log(d[k]), 1)[0]))
    steps = int(arrived[0]) if len(arrived) else None
    return {"diverged": False, "steps": steps, "measured": rate, "window": window}


# -- 2. ring-down: pluck the network and listen ------------------------------------------------------


def ring_down(images: int, seed: int, plucks: Sequence[tuple[float, float, bool]], training: int = 600,
              hidden: int = 32, weight_decay: float = 0.01, kick: float = 1e-4) -> dict[str, Any]:  # fmt: skip
    """Train 784-hidden-10 and find its sharpest direction v and curvature h. For each setting take two copies, at w
    and w + kick v, and let both train on: the difference along v, over kick, is the ringing; theory.trajectory says
    what it should be. training: full-batch steps before; few leave the network far from its minimum."""
    rng = np.random.default_rng([seed, 2])
    x, labels = digits(images, rng)
    pixels, model = Tensor(x / STD), mlp((hidden,), rng, "float64")
    params = list(model.parameters())

    def loss() -> Tensor:
        value = F.cross_entropy(model(pixels), labels)
        for p in params:
            value = value + (weight_decay / 2) * (p * p).sum()
        return value

    for _ in islice(descent(loss, params, lr=0.5, momentum=0.9), training):
        pass
    home, hessian = flatten(params), Hessian(loss, params)
    top = power_iteration(hessian, rng.standard_normal(home.size), 1e-6)
    h, v = top.value, top.vector

    def walk(start: np.ndarray, **settings: Any) -> np.ndarray:
        place(params, start)
        places = [v @ start]
        for _ in islice(descent(loss, params, **settings), STEPS):
            places.append(v @ flatten(params))
        return np.array(places)

    heard = []
    for lr_h, momentum, nesterov in plucks:
        settings = {"lr": lr_h / h, "momentum": momentum, "nesterov": nesterov}
        measured = (walk(home + kick * v, **settings) - walk(home, **settings)) / kick
        predicted = theory.trajectory(lr_h, momentum, STEPS, nesterov)
        heard.append({"lr_h": lr_h, "momentum": momentum, "nesterov": nesterov, "measured": measured.tolist(),
                      "predicted": predicted.tolist(), **compare(measured, predicted),
                      "heard": listen(measured, lr_h / h, nesterov) if momentum else None})  # fmt: skip
    return {"images": images, "hidden": hidden, "training": training, "loss": hessian.loss, "curvature": h,
            "residual": top.residual, "gradient": float(np.linalg.norm(hessian.gradient)), "plucks": heard}  # fmt: skip


def compare(measured: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Correlation; the largest error in the first 20 steps; overshoot; and how often the sign changes, counted while
    the prediction is above 1 %: below, what is left is too small to be told from the motion of everything else."""
    loud = np.maximum(np.abs(predicted[1:]), np.abs(predicted[:-1])) > 0.01

    def crossings(w: np.ndarray) -> float:
        return float(np.mean((np.sign(w[1:]) != np.sign(w[:-1]))[loud]))

    return {
        "correlation": float(np.corrcoef(measured, predicted)[0, 1]),
        "error": float(np.abs(measured - predicted)[:21].max()),
        "overshoot": [max(0.0, -float(w.min())) for w in (measured, predicted)],
        "crossings": [crossings(measured), crossings(predicted)],
    }


def listen(w: np.ndarray, lr: float, nesterov: bool = False) -> dict[str, float]:
    """The momentum and the curvature, from the ringing alone: w_k+1 = T w_k - D w_k-1 by least squares gives T and D,
    and they give momentum and lr h (see theory.py). It needs momentum > 0: else w_k-1 says nothing new."""
    (t, d), *_ = np.linalg.lstsq(np.column_stack([w[1:-1], -w[:-2]]), w[2:], rcond=None)
    return {"momentum": float(d / (t - d) if nesterov else d), "curvature": float((1 - t + d) / lr)}


# -- 3. the edge of stability ------------------------------------------------------------------------


def edge(seed: int, widths: Sequence[int], images: int, steps: int, every: int, lr: float, momentum: float,
         nesterov: bool = False, warm_up: int = 0) -> dict[str, Any]:  # fmt: skip
    """Full-batch training of a deep tanh network on half the squared error, float32. Every `every` steps the sharpest
    curvature is measured, beside the sharpest that theory says these settings can stand at the present lr, which
    rises in a line over the first `warm_up` steps."""
    rng = np.random.default_rng([seed, 3])
    x, labels = digits(images, rng)
    pixels, targets = Tensor(x / STD, dtype="float32"), Tensor(np.eye(10)[labels], dtype="float32")
    model = mlp(widths, rng, "float32")
    params = list(model.parameters())
    optimizer = optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov)
    schedule = optim.lr_scheduler.LinearLR(optimizer, 1 / max(1, warm_up), 1.0, total_iters=max(1, warm_up))
    limit = float(theory.stability_limit(momentum, nesterov))
    direction = rng.standard_normal(sum(p.size for p in params))
    log: dict[str, list[float]] = {name: [] for name in ("step", "sharpness", "threshold", "loss")}

    def loss() -> Tensor:
        return F.mse_loss(model(pixels), targets) * 5.0  # mean over images of half the sum over the ten outputs

    for step in range(steps + 1):
        if step % every == 0:
            top = power_iteration(hessian := Hessian(loss, params), direction, 1e-3, 40)
            direction = top.vector  # the next search begins where this one ended
            now = (step, top.value, limit / optimizer.param_groups[0]["lr"], hessian.loss)
            for values, value in zip(log.values(), now):
                values.append(value)
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if not value.item() < 1e6:
            break
    diverged = not value.item() < 1e6
    ratio = [s / t for k, s, t in zip(log["step"], log["sharpness"], log["threshold"]) if k >= 0.6 * steps]
    late = np.array([math.nan] if diverged else ratio)
    return {"widths": list(widths), "images": images, "lr": lr, "momentum": momentum, "nesterov": nesterov,
            "warm_up": warm_up, **log, "late": float(np.median(late)), "off": float(np.median(np.abs(late - 1))),
            "diverged": diverged}  # fmt: skip


# -- 4. the whole spectrum, and the gauge --------------------------------------------------------------


def spectra(images: int, seed: int, training: int, probes: int, steps: int, hidden: int = 64) -> dict[str, Any]:
    """The curvatures of 784-hidden-10 in all directions, before and after `training` steps of full-batch momentum."""
    rng = np.random.default_rng([seed, 4])
    x, labels = digits(images, rng)
    pixels, model = Tensor(x / STD), mlp((hidden,), rng, "float64")
    params = list(model.parameters())

    def loss() -> Tensor:
        return F.cross_entropy(model(pixels), labels)

    found = {}
    for when, more in (("before", 0), ("after", training)):
        for _ in islice(descent(loss, params, lr=0.1, momentum=0.9), more):
            pass
        hessian = Hessian(loss, params)
        ritz = spectrum(hessian, hessian.size, rng, probes, steps)
        low, high = min(r.values[0] for r in ritz), max(r.values[-1] for r in ritz)
        near = float(np.mean([r.weights[np.abs(r.values) < 0.05 * high].sum() for r in ritz]))
        found[when] = {"loss": hessian.loss, "h_min": float(low), "h_max": float(high), "near_zero": near,
                       "gauge": vars(gauge(low, high)), "ritz": [[v.tolist() for v in r] for r in ritz]}  # fmt: skip
    return {"images": images, "hidden": hidden, "training": training, "parameters": hessian.size, **found}
