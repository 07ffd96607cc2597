"""tinygrad_m as its README says to use it, on a device; and CuPy's own rates, to compare its times with."""

from __future__ import annotations

import numpy as np

import tinygrad_m as tg
from tinygrad_m import backend, cublas, cudnn, optim
from tinygrad_m.data import DataLoader
from tinygrad_m.nn import functional as F

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from ..benchmarks.contenders.with_tinygrad_m import forever, model_of
from .timing import step_time


def check(device: str, tf32: bool = False, captured: bool = False, convolution: str = "own") -> str:
    """Let products of float32 be rounded to TF32, or not, and "own" or "cudnn" convolve, whatever the environment says.
    Returns what products are then; and of captured steps what computes them. Absent if there is no cuDNN."""
    if device != "cpu":
        tg.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            tg.set_convolution(convolution)
        except ImportError as error:
            raise Absent(str(error)) from error
    on = "on" if tg.get_float32_matmul_precision() == "high" else "off"
    if not captured:
        return on
    if cublas.binding() is None:
        return "off: as no cuBLAS was found, products of captured steps run in a kernel of ours"
    return f"{on}, cuBLAS {'by ctypes' if isinstance(cublas.binding(), cublas.Direct) else 'through nvmath-python'}"


def refused() -> list[str]:
    """The convolutions that cuDNN had no plan for in this process, and what it said. The own way has done them."""
    return [
        f"{case.kind} of {case.shapes[0]} and {case.shapes[1]}, {np.dtype(case.dtype)}: {' '.join(why.split())}"
        for case, why in cudnn.REFUSED.items()
    ]


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
