"""tinygrad_m as its README says to use it, on a device; and CuPy's own rates, to compare its times with."""

from __future__ import annotations

import os

import numpy as np

import tinygrad_m as tg
from tinygrad_m import backend, optim
from tinygrad_m.data import DataLoader
from tinygrad_m.nn import functional as F

from ..benchmarks import cases
from ..benchmarks.contenders.with_tinygrad_m import forever, model_of
from .timing import step_time


def check(device: str) -> str:
    """What is to be known of its settings: TF32."""
    on = os.environ.get("CUPY_TF32", "0") != "0"
    return "on (CUPY_TF32)" if on else "off"


def wait(device: str) -> None:
    """Until the device has done everything."""
    if device != "cpu":
        backend.cuda().xp.cuda.runtime.deviceSynchronize()


class Training:
    """Steps of SGD with momentum. `captured`: a step is recorded once and replayed."""

    def __init__(self, network: cases.Network, device: str, size: int = cases.SAMPLES, captured: bool = False) -> None:
        self.device = device
        self.model = model_of(network).to(device)
        self.optimizer = optim.SGD(self.model.parameters(), **cases.MOMENTUM)
        data = cases.dataset(network.image, size)
        self.batches = forever(
            DataLoader(*data, batch_size=network.batch, shuffle=True, drop_last=True, seed=0, device=device)
        )
        self.learn = tg.capture(self.compute) if captured else self.compute

    def compute(self, x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def step(self) -> None:
        self.last = self.learn(*next(self.batches))

    def wait(self) -> None:
        wait(self.device)

    def loss(self) -> float:
        return float(self.last.item())

    def weights(self) -> list[np.ndarray]:
        return [p.numpy() for p in self.model.parameters()]


class OptimizerStep:
    """Steps of an optimizer on `parts` parameters of `size` elements, with the same gradients each time."""

    def __init__(self, name: str, size: int, parts: int, device: str) -> None:
        self.device = device
        parameters = [tg.ones(size, device=device, requires_grad=True) for _ in range(parts)]
        for p in parameters:
            p.grad = tg.full(size, 1e-3, device=device)
        self.optimizer = optim.SGD(parameters, **cases.MOMENTUM) if name == "sgd" else optim.Adam(parameters, lr=1e-5)
        self.step = self.optimizer.step

    def wait(self) -> None:
        wait(self.device)


def product_rate(n: int, device: str, seconds: float) -> float:
    """Operations a second of CuPy's own product of two float32 matrices, n x n."""
    xp = backend.parse(device)[0].xp
    rng = np.random.default_rng(0)
    a, b = (xp.asarray(rng.random((n, n), dtype=np.float32) - np.float32(0.5)) for _ in range(2))
    return 2 * n**3 / step_time(lambda: a @ b, lambda: wait(device), seconds)


def copy_rate(size: int, device: str, seconds: float) -> float:
    """Bytes a second, read and written, of a copy of `size` float32 numbers from the device to itself."""
    xp = backend.parse(device)[0].xp
    a, b = xp.ones(size, np.float32), xp.empty(size, np.float32)
    return 2 * a.nbytes / step_time(lambda: xp.copyto(b, a), lambda: wait(device), seconds)
