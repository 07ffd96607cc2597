"""`python -m tests.cuda --part mnist` on the stand-in: both ways train alike, from the same beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin_gpu
from standin_gpu import BOTH, captures

import tinygrad_m as tg
from tests.cuda import mnist, report, speed, targets
from tinygrad_m import kernels, nn, optim
from tinygrad_m.data import DataLoader

gpu = standin_gpu.gpu  # the fixture


@pytest.fixture
def digits(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> mnist.Data:
    """What files() gives: six images, in batches of four, for a network of little work."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((6, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 6)
    monkeypatch.setattr(mnist, "files", lambda: (images, labels, images, labels))
    monkeypatch.setattr(mnist.example, "build", lambda name: nn.Sequential(nn.MaxPool2d(4), nn.Flatten(),
                        nn.Linear(49, 8), nn.ReLU(), nn.Linear(8, 10)))  # fmt: skip
    monkeypatch.setitem(mnist.example.RECIPES["cnn"], "batch_size", 4)
    return mnist.files()


WAYS = [mnist.USUAL, mnist.CAPTURED][: len(BOTH)]


def test_mnist_is_trained(digits: mnist.Data) -> None:
    part = mnist.part(quick=True)
    assert part["seeds"] == 2 and part["failures"] == [] and list(part["ways"]) == WAYS
    for found in part["ways"].values():
        assert len(found["seconds"]) == len(found["accuracy"]) == 2  # not the first training
        assert 0 <= found["mean accuracy"] <= 100 and found["mean seconds"] > 0


@captures
def test_mnist_is_recorded_before_the_clock_starts(digits: mnist.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways train alike from the same beginning; the captured one runs in Python for its two sizes of batch, and
    all of that before the model and the optimizer are as new again."""
    loss, ran = mnist.F.cross_entropy, list[tuple[int, ...]]()
    kept: list[Any] = []
    recorded, accuracy = mnist.recorded, mnist.example.accuracy

    def watched(step: mnist.Step, model: nn.Module, optimizer: optim.Optimizer, batches: DataLoader) -> mnist.Step:
        before = model.state_dict()
        captured = recorded(step, model, optimizer, batches)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
        assert len(optimizer.state) == 4 and all(state["step"] == 0 for state in optimizer.state.values())
        assert not any(state["momentum_buffer"].any() for state in optimizer.state.values())
        assert sorted(ran) == [(2, 10)] * (mnist.WARMUP + 1) + [(4, 10)] * (mnist.WARMUP + 1)
        return captured

    def tested(model: nn.Module, test: DataLoader) -> float:
        kept.append(list(model.state_dict().values()))
        return accuracy(model, test)

    monkeypatch.setattr(mnist.F, "cross_entropy", lambda x, y: ran.append(x.shape) or loss(x, y))
    monkeypatch.setattr(mnist, "recorded", watched)
    monkeypatch.setattr(mnist.example, "accuracy", tested)
    for captured in (True, False):
        assert mnist.train(3, digits, "cuda", 3, captured)["seconds"] > 0
        assert len(ran) == (2 * (mnist.WARMUP + 1) if captured else 6)
        ran.clear()
    fresh = list(mnist.example.build("cnn").state_dict().values())
    for a, b, other in zip(*kept, fresh, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert abs(a - other).max() > 1e-3


@captures
def test_a_way_of_mnist_that_raises_is_a_failure(digits: mnist.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise tg.CaptureError("no graph\nat all")

    monkeypatch.setattr(mnist, "recorded", fails)
    part = mnist.part(quick=True)
    assert part["failures"] == ["captured steps, seed 0: CaptureError: no graph"]
    assert list(part["ways"]) == [mnist.USUAL] and len(part["ways"][mnist.USUAL]["seconds"]) == 2


def test_mnist_without_kernels(digits: mnist.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "ENABLED", False)
    part = mnist.part(quick=True)
    assert part["failures"] == [] and list(part["ways"]) == [mnist.USUAL]
    assert f"Left out: {speed.WITHOUT_KERNELS}.\n" in report._mnist(part)


@pytest.mark.parametrize("usual, captured, found, met", [
    ((0.6, 99.2), (0.4, 99.1), "400 ms, 99.10 %, captured steps", "yes"),
    ((0.4, 99.0), (0.6, 99.1), "400 ms, 99.00 %, usual steps", "yes"),
    ((0.7, 99.2), (0.5, 99.2), "500 ms, 99.20 %, captured steps", "no"),
    ((0.7, 99.2), (0.4, 98.99), "400 ms, 98.99 %, captured steps", "no"),
])  # fmt: skip
def test_mnists_target_is_for_the_faster_way(usual: Any, captured: Any, found: str, met: str) -> None:
    ways = {name: dict(zip(("mean seconds", "mean accuracy"), way))
            for name, way in ((mnist.USUAL, usual), (mnist.CAPTURED, captured))}  # fmt: skip
    (target,) = targets.targets({"mnist": {"ways": ways}})
    assert (target.found, target.met) == (found, met)


def test_mnist_without_its_files(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_M_DATA", str(tmp_path))
    part = mnist.part()
    assert "train-images-idx3-ubyte" in part["absent"]
    (target,) = targets.targets({"mnist": part})
    assert target.met == "not measured"
