"""PyTorch, eager with its default settings, or compiled: then forward and backward are CUDA graphs of generated
kernels (mode="reduce-overhead"), and the optimizer is the fused one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from ..benchmarks.contenders.with_torch import model_of, tensors


def check(device: str, tf32: bool = True, compiled: bool = False, fused: bool = False) -> str:
    """What is to be known of its settings: TF32, which it allows for convolutions unless told otherwise."""
    if device != "cpu" and not torch.cuda.is_available():
        raise Absent("torch is installed without CUDA, or finds no device")
    if not tf32:
        torch.backends.cudnn.allow_tf32 = False
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return f"{'on' if products else 'off'} for products, {'on' if convolutions else 'off'} for convolutions"


def wait(device: str) -> None:
    """Until the device has done everything."""
    if device != "cpu":
        torch.cuda.synchronize()


class Training:
    """Steps of SGD with momentum."""

    def __init__(
        self, network: cases.Network, device: str, size: int = cases.SAMPLES, tf32: bool = True, compiled: bool = False
    ) -> None:
        self.device, self.compiled = device, compiled
        self.model = model_of(network).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **cases.MOMENTUM, fused=compiled or None)
        self.images, self.labels = (t.to(device) for t in tensors(network.image, size))
        self.orders = self.shuffled(size, network.batch)
        self.loss_of = torch.compile(self.compute, mode="reduce-overhead") if compiled else self.compute

    def shuffled(self, size: int, batch: int) -> Iterator[torch.Tensor]:
        """The rows of each batch, without end."""
        for _ in itertools.count():
            yield from torch.randperm(size, device=self.device)[: size // batch * batch].split(batch)

    def compute(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.model(x), y)

    def step(self) -> None:
        rows = next(self.orders)
        if self.compiled:  # the graphs' memory of the last step may be used again
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad()
        self.last = self.loss_of(self.images[rows], self.labels[rows])
        self.last.backward()
        self.optimizer.step()

    def wait(self) -> None:
        wait(self.device)

    def loss(self) -> float:
        return self.last.item()

    def weights(self) -> list[np.ndarray]:
        return [p.detach().cpu().numpy() for p in self.model.parameters()]


class OptimizerStep:
    """Steps of an optimizer on `parts` parameters of `size` elements, with the same gradients each time."""

    def __init__(self, name: str, size: int, parts: int, device: str, fused: bool = False) -> None:
        self.device = device
        parameters = [torch.ones(size, device=device, requires_grad=True) for _ in range(parts)]
        for p in parameters:
            p.grad = torch.full((size,), 1e-3, device=device)
        kind = {"fused": True} if fused else {}
        if name == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, **cases.MOMENTUM, **kind)
        else:
            self.optimizer = torch.optim.Adam(parameters, lr=1e-5, **kind)
        self.step = self.optimizer.step

    def wait(self) -> None:
        wait(self.device)
