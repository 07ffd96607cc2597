"""Runs of our optimizers on a parabola, f = sum(h w^2) / 2, in float64 and with gradients of our autograd, and what is
measured in them. One tensor with many curvatures h is many one-dimensional parabolas in a single run. Since only
lr * h counts, runs here often have lr = 1 and curvatures lr_h. quadratic.py holds theory against these runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..optim import SGD, Optimizer
from ..tensor import Tensor
from .theory import Values

SMALL, LARGE = 1e-280, 1e140  # sizes between which a run is measured: before w, or w^2 in the loss, leaves float64


def descend(optimizer: Optimizer, w: Tensor, h: Values, steps: int,
            noise: Iterator[Values] | None = None) -> Iterator[Values]:  # fmt: skip
    """Step down f = sum(h w^2) / 2 and yield w after each step. noise: what each gradient has in addition."""
    half = Tensor(h / 2)
    for _ in range(steps):
        optimizer.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging entry may pass float64's end
            loss = (half * w * w).sum()
            if noise is not None:
                loss = loss + (Tensor(next(noise)) * w).sum()
            loss.backward()
        optimizer.step()
        yield w.numpy()


def run(h: Any, lr: float, momentum: float = 0.0, steps: int = 100, nesterov: bool = False) -> Values:
    """w_0 = 1, w_1 ... w_steps of SGD on f = sum(h w^2) / 2, for all curvatures h at once: (steps + 1, *h.shape).
    nesterov counts only where momentum > 0, as Nesterov without momentum is gradient descent."""
    h = np.asarray(h, dtype=np.float64)
    w = Tensor(np.ones(h.shape), requires_grad=True)
    optimizer = SGD([w], lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
    path = np.ones((steps + 1, *h.shape))
    for k, now in enumerate(descend(optimizer, w, h, steps)):
        path[k + 1] = now
    return path


def inside_floats(path: Values) -> tuple[Values, Values]:
    """|w_k| + |w_k+1|, and where it (and all before it) is of a size that can be measured."""
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(path[1:]) + np.abs(path[:-1])
    return size, np.logical_and.accumulate((size > SMALL) & (size < LARGE), axis=0)


def measured_rate(path: Values) -> Values:
    """The factor by which each column's size changes per step: the slope of log(|w_k| + |w_k+1|) over the second half
    of what can be measured (late, since at repeated roots there is a factor k). 0 where w is 0 within 8 steps."""
    size, inside = inside_floats(path)
    steps = np.arange(len(size), dtype=float).reshape(-1, *[1] * (size.ndim - 1))
    count = inside.sum(axis=0)
    late = inside & (steps >= count / 2)
    n = np.maximum(late.sum(axis=0), 1)
    x = np.where(late, steps - np.where(late, steps, 0).sum(axis=0) / n, 0)
    slope = (x * np.log(np.where(late, size, 1))).sum(axis=0) / np.maximum((x * x).sum(axis=0), 1e-300)
    return np.where(count > 8, np.exp(slope), np.where(np.abs(path[min(8, len(path) - 1)]) < SMALL, 0.0, np.nan))


def sign_changes(path: Values) -> tuple[Values, Values]:
    """How often each column changed its sign, and the number of steps over which that was counted."""
    _, inside = inside_floats(path)
    signs = np.sign(path)
    return ((signs[1:] * signs[:-1] < 0) & inside).sum(axis=0), inside.sum(axis=0)


def lengths(path: Values) -> Values:
    """The length of w at each step, over the last axis."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.square(path).sum(axis=-1))


def steps_to(size: Values, fraction: float = 1e-6) -> float:
    """The first step at which `size` is at most `fraction` of the first one; NaN if there is none."""
    below = np.flatnonzero(size <= fraction * size[0])
    return float(below[0]) if len(below) else math.nan
