"""HIPS autograd: a function of the weights in its NumPy, and value_and_grad of it.
It has no layers, no convolution and no optimizers, so the update is NumPy's, in place."""

from __future__ import annotations

import time
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp, value_and_grad

from .. import cases
from . import Skip
from .plain_updates import Optimizer


def scores(network: cases.Network, weights: list[Any], x: Any) -> Any:
    left = iter(weights)
    for kind, *_ in network.layers:
        x = anp.maximum(x, 0) if kind == "relu" else anp.dot(x, next(left).T) + next(left)
    return x


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        network = cases.NETWORKS[case.network]
        if cases.has(network, "conv"):
            raise Skip("no convolution")
        self.w = cases.first_weights(network)
        self.optimizer = Optimizer(case.optimizer, self.w)
        self.images, self.labels = cases.dataset(network.image, size)
        self.orders = cases.orders(size, network.batch)
        hot = np.eye(10, dtype=np.float32)

        def loss_of(weights: list[Any], x: np.ndarray, y: np.ndarray) -> Any:
            z = scores(network, weights, x)
            z = z - anp.max(z, axis=1, keepdims=True)
            return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - anp.sum(z * hot[y], axis=1))

        self.slopes = value_and_grad(loss_of)

    def step(self) -> None:
        rows = next(self.orders)
        self.last, slopes = self.slopes(self.w, self.images[rows], self.labels[rows])
        self.optimizer.step(slopes)

    def wait(self) -> None:
        """Nothing runs on."""

    def loss(self) -> float:
        return float(self.last)

    def weights(self) -> list[np.ndarray]:
        return [w.copy() for w in self.w]


def tiny_forward(count: int) -> float:
    """It records only inside of make_vjp: so this is a chain, like the one for backward."""
    start = time.perf_counter()
    make_vjp(_chain(count), 0)(1.0, 1.0001)
    return time.perf_counter() - start


def tiny_backward(length: int) -> float:
    """The slopes in both factors, as for the others."""
    back, _ = make_vjp(_chain(length), (0, 1))(1.0, 1.0001)
    start = time.perf_counter()
    back(1.0)
    return time.perf_counter() - start


def _chain(length: int) -> Any:
    def product(a: Any, b: Any) -> Any:
        for _ in range(length):
            a = a * b
        return a

    return product
