"""What all tests share: one thread of linear algebra, the same random numbers for every test, and the devices.
`device` runs a test on the CPU, on the stand-in for CuPy (standin.py), and on a real GPU where there is one."""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ.get("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests' own helpers: standin, samples

import standin_kernels
from standin import fake_cupy, fake_erf

import tinygrad_m as tg
from tinygrad_m import backend, cublas, cudnn, kernels

GPUS = tg.device_count() if importlib.util.find_spec("cupy") else 0
_REAL = backend._cuda
fake_cupy.RawModule = standin_kernels.RawModule


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cuda: needs a CUDA device (skipped where there is none)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not GPUS and item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs CuPy and a GPU; the stand-in ran in their place"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    tg.manual_seed(0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in in CuPy's place: "cuda" and "cuda:1" work. `cuda.syncs` counts how often the host waited."""
    fake_cupy.reset()
    monkeypatch.setattr(backend, "_cuda", backend.Backend("cuda", fake_cupy, fake_erf))
    monkeypatch.setattr(backend, "_default", "cpu")
    monkeypatch.setattr(cublas, "binding", lambda: None)  # the real one needs a GPU
    monkeypatch.setattr(cudnn, "_way", "own")
    if standin_kernels.COMPILER is None:
        monkeypatch.setattr(kernels, "ENABLED", False)
    yield fake_cupy
    fake_cupy.reset()


@pytest.fixture(params=["stand-in", pytest.param("gpu", marks=pytest.mark.cuda)])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A CUDA device's name: the stand-in's second one, and the real one where there is a GPU."""
    if request.param == "stand-in":
        request.getfixturevalue("cuda")
        return "cuda:1"
    monkeypatch.setattr(backend, "_cuda", _REAL)
    return f"cuda:{GPUS - 1}"


@pytest.fixture(params=["cpu", "cuda", pytest.param("gpu", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """ "cpu", or "cuda": the stand-in, and the real one where there is a GPU."""
    if request.param == "cuda":
        request.getfixturevalue("cuda")
    elif request.param == "gpu":
        monkeypatch.setattr(backend, "_cuda", _REAL)
    return "cpu" if request.param == "cpu" else "cuda"
