"""PyTorch, eager, with its default settings, and batches by plain indexing with a permutation.
with_torch_compile.py builds on this file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .. import cases
from . import sequential, time_chain_back, time_products

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def model_of(network: cases.Network) -> nn.Sequential:
    """The network with the first weights that all contenders have."""
    model: nn.Sequential = sequential(nn, network)
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict(dict(zip(names, map(torch.from_numpy, cases.first_weights(network)), strict=True)))
    return model


def tensors(image: tuple[int, ...], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The data set, which shares memory with NumPy's arrays."""
    images, labels = cases.dataset(image, size)
    return torch.from_numpy(images), torch.from_numpy(labels)


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        network = cases.NETWORKS[case.network]
        self.model = model_of(network)
        make = torch.optim.SGD if case.optimizer == "momentum" else torch.optim.RMSprop
        self.optimizer = make(self.model.parameters(), **cases.OPTIMIZERS[case.optimizer])
        self.images, self.labels = tensors(network.image, size)
        self.orders = map(torch.from_numpy, cases.orders(size, network.batch))

    def compute(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.model(x), y)

    def step(self) -> None:
        rows = next(self.orders)
        self.last = self.compute(self.images[rows], self.labels[rows])
        self.optimizer.zero_grad()
        self.last.backward()
        self.optimizer.step()

    def wait(self) -> None:
        """Nothing runs on."""

    def loss(self) -> float:
        return self.last.item()

    def weights(self) -> list[np.ndarray]:
        return [p.detach().numpy().copy() for p in self.model.parameters()]


def evaluation(case: cases.Case, compiled: Callable[[nn.Module], Any] = lambda model: model) -> Callable[[], None]:
    network = cases.NETWORKS[case.network]
    model = compiled(model_of(network).eval())
    images, _ = tensors(network.image, cases.EVALUATED)

    def evaluate() -> None:
        with torch.no_grad():
            for x in images.split(cases.EVALUATION_BATCH):
                model(x).argmax(dim=1)

    return evaluate


def loading() -> Callable[[], None]:
    images, labels = tensors((784,), cases.LOADED)

    def epoch() -> None:
        for rows in torch.randperm(cases.LOADED).split(cases.LOADED_BATCH):
            images[rows], labels[rows]

    return epoch


def _scalars() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(1.0, requires_grad=True), torch.tensor(1.0001, requires_grad=True)


def tiny_forward(count: int) -> float:
    return time_products(*_scalars(), count)


def tiny_backward(length: int) -> float:
    return time_chain_back(*_scalars(), length)
