"""What the tests of `python -m tests.cuda` share: the stand-in for CuPy with what else this command asks a GPU for."""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin
from standin_kernels import COMPILER

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tests.cuda: `cuda` itself is NVIDIA's name

from tests.benchmarks import cases
from tests.cuda import process
from tinygrad_m import backend, cudnn, kernels

CAN_CAPTURE = kernels.ENABLED and COMPILER is not None
captures = pytest.mark.skipif(not CAN_CAPTURE, reason="captured steps need the kernels: g++ runs them without a GPU")
BOTH = [False, True] if CAN_CAPTURE else [False]  # captured?
TINY = cases.Network(64, (1, 8, 8), (("conv", 1, 2, 3, 0), ("relu",), ("pool", 2), ("flatten",), ("linear", 18, 10)))


class Pool:
    """CuPy's memory pool for the stand-in: what its arrays hold."""

    def __init__(self) -> None:
        self.used, self.most = 0, 0
        self.hooks: list[Any] = []

    def malloc(self, size: int) -> None:
        self.used += size
        self.most = max(self.most, self.used)
        for hook in self.hooks:
            hook.malloc_postprocess(mem_size=size)

    def free(self, size: int) -> None:
        self.used -= size
        for hook in self.hooks:
            hook.free_postprocess(mem_size=size)

    def used_bytes(self) -> int:
        return self.used

    def total_bytes(self) -> int:
        return self.most

    def free_all_blocks(self) -> None:
        self.most = self.used


@pytest.fixture
def gpu(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in with what else this command asks CuPy for; jobs run in this process. `gpu.pool` is its memory,
    `gpu.asked` has the precisions of products that were asked for. There is no cuDNN: with `package` of
    standin_cudnn.py there is."""
    pool = Pool()
    make = standin.ndarray.__dict__["_make"].__func__

    def made(cls: type, host: np.ndarray, device: int, base: Any = None, **more: Any) -> Any:
        array = make(cls, host, device, base, **more)
        if base is None:
            pool.malloc(host.nbytes)
            weakref.finalize(array, pool.free, host.nbytes)
        return array

    class MemoryHook:
        def __enter__(self) -> MemoryHook:
            pool.hooks.append(self)
            return self

        def __exit__(self, *exc: object) -> None:
            pool.hooks.remove(self)

    asked: list[str] = []
    products = SimpleNamespace(COMPUTE_TYPE_TF32="TF32", COMPUTE_TYPE_FP32="float32")
    products.set_compute_type = lambda dtype, kind: asked.append(kind)
    monkeypatch.setitem(sys.modules, "cupy._core", SimpleNamespace(_routines_linalg=products))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(_core=sys.modules["cupy._core"]))
    device = {"name": b"stand-in (a GPU)", "major": 9, "minor": 0, "totalGlobalMem": 2**36, "multiProcessorCount": 132}
    for where, name, value in (
        (standin.ndarray, "_make", classmethod(made)),
        (cuda, "__version__", "14"), (cuda, "pool", pool), (cuda, "get_default_memory_pool", lambda: pool),
        (cuda.cuda, "MemoryHook", MemoryHook), (cuda.cuda.runtime, "getDeviceProperties", lambda index: device),
        (cuda.cuda.runtime, "driverGetVersion", lambda: 13010), (cuda.cuda.runtime, "runtimeGetVersion", lambda: 13000),
        (process, "run", process.call), (cuda, "asked", asked), (backend, "_precision", "highest"),
        (cudnn, "_imported", lambda: (None, "ModuleNotFoundError: No module named 'cudnn'")),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, value, raising=False)
    return cuda
