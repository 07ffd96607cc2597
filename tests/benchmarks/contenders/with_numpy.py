"""The same mathematics by hand, in NumPy: a program for one network, without autograd, every result in its buffer.
All weights lie in one array, as do gradients and velocities, so that an optimizer is a few calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import cases
from . import numpy_layers as layers

BLOCK = 1 << 16  # numbers that an optimizer updates at a time: what it reads of them stays in the second-level cache


def views(flat: np.ndarray, network: cases.Network) -> list[np.ndarray]:
    """One long array as the weights and biases that lie in it; linear ones are (in, out), as x @ w wants them."""
    found, start = [], 0
    for shape, _ in cases.weight_shapes(network):
        size = math.prod(shape)
        found.append(flat[start : start + size].reshape(shape[::-1] if len(shape) == 2 else shape))
        start += size
    return found


def transposed(weights: list[np.ndarray]) -> list[np.ndarray]:
    """Linear weights (in, out) <-> PyTorch's (out, in)."""
    return [w.T if w.ndim == 2 else w for w in weights]


def first_weights(network: cases.Network) -> np.ndarray:
    """All of them in one array."""
    return np.concatenate([w.ravel() for w in transposed(cases.first_weights(network))])


def build(network: cases.Network, w: np.ndarray, g: np.ndarray, batch: int) -> list[Any]:
    """The layers, on weights w and gradients g that are one long array each."""
    weights = iter(zip(views(w, network), views(g, network), strict=True))
    image = network.image
    shape = (batch, *image) if len(image) == 1 else (image[0], batch, *image[1:])
    built: list[Any] = []
    for kind, *sizes in network.layers:
        if kind in ("linear", "conv"):
            (one, slope), (bias, bias_slope) = next(weights), next(weights)
            four = [one, bias, slope, bias_slope]
            first = not built
            layer = layers.Linear(four, shape, first) if kind == "linear" else layers.Conv(four, shape, sizes[3], first)
        else:
            make = {"relu": layers.ReLU, "pool": layers.Pool, "dropout": layers.Dropout, "flatten": layers.Flatten}
            layer = make[kind](shape, *sizes)
        built.append(layer)
        shape = layer.shape
    return built


class Momentum:
    """v <- momentum v + g, w <- w - lr v, block by block."""

    def __init__(self, w: np.ndarray, g: np.ndarray, lr: float, momentum: float) -> None:
        self.blocks = _blocks(w, g, np.zeros_like(w))
        self.lr, self.momentum = lr, momentum

    def step(self) -> None:
        for w, g, v, t in self.blocks:
            v *= self.momentum
            v += g
            np.multiply(v, self.lr, out=t)
            w -= t


class RMSprop:
    """s <- alpha s + (1 - alpha) g^2, b <- momentum b + g / (sqrt(s) + eps), w <- w - lr b, block by block."""

    def __init__(self, w: np.ndarray, g: np.ndarray, lr: float, alpha: float, eps: float, momentum: float) -> None:
        self.blocks = _blocks(w, g, np.zeros_like(w), np.zeros_like(w))
        self.lr, self.alpha, self.eps, self.momentum = lr, alpha, eps, momentum

    def step(self) -> None:
        for w, g, s, b, t in self.blocks:
            s *= self.alpha
            np.multiply(g, g, out=t)
            t *= 1 - self.alpha
            s += t
            np.sqrt(s, out=t)
            t += self.eps
            np.divide(g, t, out=t)
            b *= self.momentum
            b += t
            np.multiply(b, self.lr, out=t)
            w -= t


def _blocks(*arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The arrays cut into blocks, with one scratch array for all at the end."""
    scratch = np.empty(min(BLOCK, arrays[0].size), np.float32)
    cuts = [slice(start, start + BLOCK) for start in range(0, arrays[0].size, BLOCK)]
    return [(*(a[cut] for a in arrays), scratch[: arrays[0][cut].size]) for cut in cuts]


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        network = cases.NETWORKS[case.network]
        self.network = network
        self.w = first_weights(network)
        g = np.empty_like(self.w)
        self.layers = build(network, self.w, g, network.batch)
        make = Momentum if case.optimizer == "momentum" else RMSprop
        self.optimizer = make(self.w, g, **cases.OPTIMIZERS[case.optimizer])
        self.criterion = layers.CrossEntropy(network.batch, 10)
        self.images, self.labels = cases.dataset(network.image, size)
        self.x = np.empty((network.batch, *network.image), np.float32)
        self.orders = cases.orders(size, network.batch)

    def step(self) -> None:
        rows = next(self.orders)
        np.take(self.images, rows, axis=0, out=self.x, mode="clip")  # the default mode would copy once more
        x = channel_first(self.x)
        for layer in self.layers:
            x = layer.forward(x)
        self.last = self.criterion.forward(x, self.labels[rows])
        g = self.criterion.backward()
        for layer in reversed(self.layers):
            g = layer.backward(g)
        self.optimizer.step()

    def wait(self) -> None:
        """Nothing runs on."""

    def loss(self) -> float:
        return self.last

    def weights(self) -> list[np.ndarray]:
        return [w.copy() for w in transposed(views(self.w, self.network))]


def channel_first(x: np.ndarray) -> np.ndarray:
    """(N, 1, H, W) -> (1, N, H, W): of one channel it is the same memory."""
    return x if x.ndim == 2 else x.transpose(1, 0, 2, 3)


def evaluation(case: cases.Case) -> Callable[[], None]:
    network = cases.NETWORKS[case.network]
    w = first_weights(network)
    built = build(network, w, w, cases.EVALUATION_BATCH)
    images, _ = cases.dataset(network.image, cases.EVALUATED)

    def evaluate() -> None:
        for start in range(0, cases.EVALUATED, cases.EVALUATION_BATCH):
            x = channel_first(images[start : start + cases.EVALUATION_BATCH])
            for layer in built:
                x = layer.forward(x)
            x.argmax(axis=1)

    return evaluate


def loading() -> Callable[[], None]:
    images, labels = cases.dataset((784,), cases.LOADED)
    x, y = np.empty((cases.LOADED_BATCH, 784), np.float32), np.empty(cases.LOADED_BATCH, np.int64)
    rng = np.random.default_rng(0)

    def epoch() -> None:
        order = rng.permutation(cases.LOADED)
        for start in range(0, cases.LOADED, cases.LOADED_BATCH):
            rows = order[start : start + cases.LOADED_BATCH]
            np.take(images, rows, axis=0, out=x[: len(rows)], mode="clip")
            np.take(labels, rows, out=y[: len(rows)], mode="clip")

    return epoch
