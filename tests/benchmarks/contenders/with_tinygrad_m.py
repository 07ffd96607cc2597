"""tinygrad_m as its README says to use it: Sequential, cross_entropy, an optimizer, a DataLoader.
Nothing here is made for speed; what is fast is so for every user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.data import DataLoader
from tinygrad_m.nn import functional as F

from .. import cases
from . import sequential, time_chain_back, time_products


def model_of(network: cases.Network) -> nn.Sequential:
    """The network with the first weights that all contenders have."""
    model: nn.Sequential = sequential(nn, network)
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict(dict(zip(names, cases.first_weights(network), strict=True)))
    return model


def forever(loader: DataLoader) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        network = cases.NETWORKS[case.network]
        self.model = model_of(network)
        make = optim.SGD if case.optimizer == "momentum" else optim.RMSprop
        self.optimizer = make(self.model.parameters(), **cases.OPTIMIZERS[case.optimizer])
        data = cases.dataset(network.image, size)
        self.batches = forever(DataLoader(*data, batch_size=network.batch, shuffle=True, drop_last=True, seed=0))

    def step(self) -> None:
        x, y = next(self.batches)
        self.last = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        self.last.backward()
        self.optimizer.step()

    def wait(self) -> None:
        """Nothing runs on."""

    def loss(self) -> float:
        return float(self.last.item())

    def weights(self) -> list[np.ndarray]:
        return [p.numpy() for p in self.model.parameters()]


def evaluation(case: cases.Case) -> Callable[[], None]:
    network = cases.NETWORKS[case.network]
    model = model_of(network).eval()
    images, _ = cases.dataset(network.image, cases.EVALUATED)
    loader = DataLoader(images, batch_size=cases.EVALUATION_BATCH)

    def evaluate() -> None:
        with tg.no_grad():
            for x in loader:
                model(x).argmax(axis=1)

    return evaluate


def loading() -> Callable[[], None]:
    data = cases.dataset((784,), cases.LOADED)
    loader = DataLoader(*data, batch_size=cases.LOADED_BATCH, shuffle=True, seed=0)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def _scalars() -> tuple[tg.Tensor, tg.Tensor]:
    return tg.Tensor(1.0, requires_grad=True), tg.Tensor(1.0001, requires_grad=True)


def tiny_forward(count: int) -> float:
    return time_products(*_scalars(), count)


def tiny_backward(length: int) -> float:
    return time_chain_back(*_scalars(), length)
