"""PyTorch, eager with its default settings, or by CUDA graphs in two ways:

- compiled: forward and backward are CUDA graphs of generated kernels (mode="reduce-overhead"), and the optimizer, the
  fused one, is called as usual;
- graph: the whole eager step, with the fused optimizer, is recorded once and replayed, as PyTorch's notes on CUDA
  graphs say: a few steps on a side stream, no gradients when recording begins (so that they lie in the graph's memory,
  and backward writes them anew), and each batch is copied to where the first one was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from ..benchmarks.contenders.with_torch import model_of, tensors

WARMUP = 3  # steps before one is recorded


def check(device: str, tf32: bool | None = None) -> str:
    """Allow TF32 for products and convolutions, or for neither. None: PyTorch's default, which is for convolutions.
    Returns what is allowed."""
    if device != "cpu" and not torch.cuda.is_available():
        raise Absent("torch is installed without CUDA, or finds no device")
    if tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return f"{'on' if products else 'off'} for products, {'on' if convolutions else 'off'} for convolutions"


def wait(device: str) -> None:
    """Until the device has done everything."""
    if device != "cpu":
        torch.cuda.synchronize()


class Training:
    """Steps of SGD with momentum."""

    def __init__(
        self, network: cases.Network, device: str, size: int = cases.SAMPLES, compiled: bool = False,
        graph: bool = False,
    ) -> None:  # fmt: skip
        self.device, self.compiled = device, compiled
        self.model = model_of(network).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **cases.MOMENTUM, fused=compiled or graph or None)
        self.images, self.labels = (t.to(device) for t in tensors(network.image, size))
        self.orders = self.shuffled(size, network.batch)
        self.loss_of = torch.compile(self.compute, mode="reduce-overhead") if compiled else self.compute
        self.graph = self.recorded() if graph else None

    def shuffled(self, size: int, batch: int) -> Iterator[torch.Tensor]:
        """The rows of each batch, without end."""
        for _ in itertools.count():
            yield from torch.randperm(size, device=self.device)[: size // batch * batch].split(batch)

    def compute(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.model(x), y)

    def learn(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()  # to None
        loss = self.loss_of(x, y)
        loss.backward()
        self.optimizer.step()
        return loss

    def recorded(self) -> Any:
        """A graph of learn() for the batch that is at self.x and self.y."""
        rows = next(self.orders)
        self.x, self.y = self.images[rows], self.labels[rows]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUP):
                self.learn(self.x, self.y)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.last = self.learn(self.x, self.y)
        return graph

    def step(self) -> None:
        rows = next(self.orders)
        if self.graph is not None:
            self.x.copy_(self.images[rows])
            self.y.copy_(self.labels[rows])
            self.graph.replay()
            return
        if self.compiled:  # the graphs' memory of the last step may be used again
            torch.compiler.cudagraph_mark_step_begin()
        self.last = self.learn(self.images[rows], self.labels[rows])

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
