"""MyGrad, with its own layers; it has no optimizers, so the update is NumPy's, in place.
Its memory guard is off, which its manual names as the way to speed."""

from __future__ import annotations

from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet import conv_nd, max_pool, relu, softmax_crossentropy

from .. import cases
from . import Skip, time_chain_back, time_products
from .plain_updates import Optimizer

mg.turn_memory_guarding_off()


def scores(network: cases.Network, weights: list[mg.Tensor], x: Any) -> mg.Tensor:
    left = iter(weights)
    for kind, *sizes in network.layers:
        if kind == "linear":
            x = mg.matmul(x, next(left).T) + next(left)
        elif kind == "conv":
            x = conv_nd(x, next(left), stride=1, padding=sizes[3]) + next(left).reshape(1, -1, 1, 1)
        elif kind == "relu":
            x = relu(x)
        elif kind == "pool":
            x = max_pool(x, (sizes[0], sizes[0]), sizes[0])
        elif kind == "flatten":
            x = x.reshape(len(x), -1)
    return x


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        self.network = cases.NETWORKS[case.network]
        if cases.has(self.network, "dropout"):
            raise Skip("no dropout")
        self.w = [mg.tensor(w) for w in cases.first_weights(self.network)]
        self.optimizer = Optimizer(case.optimizer, [w.data for w in self.w])
        self.images, self.labels = cases.dataset(self.network.image, size)
        self.orders = cases.orders(size, self.network.batch)

    def step(self) -> None:
        rows = next(self.orders)
        self.last = softmax_crossentropy(scores(self.network, self.w, self.images[rows]), self.labels[rows])
        self.last.backward()  # new gradients, in place of the old: there is nothing to be set to zero
        self.optimizer.step([w.grad for w in self.w])

    def wait(self) -> None:
        """Nothing runs on."""

    def loss(self) -> float:
        return float(self.last.item())

    def weights(self) -> list[np.ndarray]:
        return [w.data.copy() for w in self.w]


def _scalars() -> tuple[mg.Tensor, mg.Tensor]:
    return mg.tensor(1.0), mg.tensor(1.0001)


def tiny_forward(count: int) -> float:
    return time_products(*_scalars(), count)


def tiny_backward(length: int) -> float:
    return time_chain_back(*_scalars(), length)
