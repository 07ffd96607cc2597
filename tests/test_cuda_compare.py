"""`python -m tests.cuda --part compare` on the stand-in: what is right agrees, and what is wrong is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import standin_gpu
from standin_gpu import BOTH, captures

import tinygrad_m as tg
from tests.cuda import compare, process, report, speed, states, targets
from tinygrad_m import backend, kernels, nn, optim

gpu = standin_gpu.gpu  # the fixture


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to compute, and of three steps the second is recorded."""
    for name, value in (("BATCH", 8), ("BATCHES", 2), ("WARMUP", 1)):
        monkeypatch.setattr(compare, name, value)


def replaced(monkeypatch: pytest.MonkeyPatch, network: Callable[[], nn.Module]) -> Callable[..., list[dict[str, Any]]]:
    """compare.run() for three steps of this network alone."""
    monkeypatch.setitem(compare.NETWORKS, "odd", lambda: nn.Sequential(network()))
    return lambda *optimizers: compare.run(3, ["odd"], optimizers or ["momentum"])


@pytest.mark.parametrize("network", list(compare.NETWORKS))
def test_comparison_agrees(network: str, gpu: Any, small: None) -> None:
    rows = compare.run(3, [network])
    assert [(row["optimizer"], row["captured"], row["dtype"]) for row in rows] == [
        (optimizer, captured, dtype)
        for optimizer in compare.OPTIMIZERS for captured in BOTH for dtype in ("float64", "float32")
    ]  # fmt: skip
    assert all(row["within"] and row["waits"] == 0 and row["waited"] is None for row in rows)
    assert all(0 < row["cpu"] < 1e-3 for row in rows if row["dtype"] == "float32")
    assert gpu.asked == ["float32"]


@pytest.mark.parametrize("captured", BOTH)
def test_each_float32_step_starts_from_the_state_that_it_is_given(captured: bool, gpu: Any, small: None) -> None:
    setting, batches = ("MLP", "momentum"), compare.data()
    starts = compare.train(*setting, "float64", "cpu", batches, 3).starts
    weights, velocity = starts[2][0]["1.weight"], starts[2][1]["state"][0]["momentum_buffer"]
    velocity *= 100
    weights += 1
    values = compare.train(*setting, "float32", "cuda", batches, 3, starts, captured).values
    expected = weights - 0.02 * (0.9 * velocity + values["gradient of 1.weight"][2])
    np.testing.assert_allclose(values["1.weight"][2], expected, rtol=1e-5)
    assert abs(velocity).max() > 1


@pytest.mark.parametrize("wrong, found", [(1e-7, {"float64"}), (0.01, {"float64", "float32"})])
def test_comparison_finds_a_wrong_update(
    wrong: float, found: set[str], gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that is wrong on the device alone: a little in float64, more in both."""

    def make(parameters: list[tg.Tensor]) -> optim.Optimizer:
        return optim.SGD(parameters, lr=0.02 * (1 + wrong * (parameters[0].device != "cpu")), momentum=0.9)

    monkeypatch.setitem(compare.OPTIMIZERS, "wrong", make)
    monkeypatch.setattr(process, "run", lambda job, **options: compare.run(3, ["MLP"], ["wrong"]))
    part = compare.part()
    bad = [(row["captured"], row["dtype"]) for row in part["rows"] if not row["within"]]
    assert sorted(bad) == [(captured, dtype) for captured in BOTH for dtype in sorted(found)]
    assert len(part["failures"]) == len(bad) and "MLP, wrong, float64: " in part["failures"][0]
    if True in BOTH:
        assert "MLP, wrong, float64, captured: " in part["failures"][len(found)]


def test_comparison_finds_a_wrong_gradient_and_nan(gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(nn.Module):
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            return x if x.device == "cpu" else x * self.factor

    for factor in (1.001, float("nan")):
        rows = replaced(monkeypatch, lambda factor=factor: nn.Sequential(compare.mlp(), Wrong(factor)))("adam")
        assert len(rows) == 2 * len(BOTH) and not any(row["within"] or row["raised"] for row in rows)
    assert rows[0]["found"] == rows[-1]["found"] == np.inf


@captures
@pytest.mark.parametrize("optimizer, network", [("adam", compare.mlp), ("momentum", lambda: nn.Sequential(
    compare.mlp(), nn.Dropout(0.25)))])  # fmt: skip
def test_comparison_finds_what_is_frozen_in_a_graph(
    optimizer: str, network: Callable[[], nn.Module], gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replays without what the host does before each: Adam's count of steps, dropout's seeds."""
    record = tg.capture._record
    monkeypatch.setattr(tg.capture, "_record", lambda self, tensors: record(self, tensors)._replace(hooks=[]))
    rows = replaced(monkeypatch, network)(optimizer)
    assert [row["within"] for row in rows] == [True, True, False, False] and not any(row["raised"] for row in rows)


@captures
def test_steps_that_are_not_replayed_are_no_captured_ones(
    gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tg, "capture", lambda step, warmup: step)
    rows = replaced(monkeypatch, compare.mlp)()
    assert [row["within"] for row in rows] == [True, True, False, False]
    assert compare.failure(rows[2]) == (
        "odd, momentum, float64, captured: it raised RuntimeError: 3 calls of a captured step ran it 3 times in "
        "Python, where 2 were expected, 1 to warm up and one to record it: these are no replays"
    )


def test_without_kernels_nothing_is_captured(gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "ENABLED", False)
    rows = replaced(monkeypatch, compare.mlp)()
    assert [row["captured"] for row in rows] == [False, False] and all(row["within"] for row in rows)
    assert f"Not compared: {speed.WITHOUT_KERNELS}." in report._compare({"steps": 3, "rows": rows})
    met = {one.what: one.met for one in targets.targets({"compare": {"rows": rows}})}
    assert met == {
        "no training step waits for the device": "yes",
        "no replay of a captured step waits for the device": "not measured",
    }


def test_a_step_that_waits_is_counted(gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Looks(nn.Module):
        def forward(self, x: tg.Tensor) -> tg.Tensor:
            return x * (x.sum().item() > 0 or 1.0)

    rows = replaced(monkeypatch, lambda: nn.Sequential(compare.mlp(), Looks()))()
    assert [row["waits"] for row in rows[:2]] == [3, 3]
    assert all(row["raised"].startswith("CaptureError: step can't be captured") for row in rows[2:])
    usual, captured = targets.targets({"compare": {"rows": rows}})
    assert (usual.found, usual.met) == ("2 of 2 runs", "no") and captured.met == "not measured"


@captures
def test_a_replay_that_waits_is_counted(gpu: Any, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Waits(nn.Module):
        def forward(self, x: tg.Tensor) -> tg.Tensor:
            if backend.capturing.hooks is not None:
                backend.capturing.hooks.append(backend.cuda().xp.cuda.runtime.deviceSynchronize)
            return x

    rows = replaced(monkeypatch, lambda: nn.Sequential(compare.mlp(), Waits()))()
    assert [row["waits"] for row in rows] == [0, 0, 2, 2] and all(row["within"] for row in rows)
    usual, captured = targets.targets({"compare": {"rows": rows}})
    assert usual.met == "yes" and (captured.found, captured.met) == ("2 of 2 runs", "no")


def test_state_is_put_back_in_place() -> None:
    def stepped(steps: int) -> optim.Optimizer:
        w = tg.Tensor([1.0, 2.0], requires_grad=True)
        adam = optim.Adam([w], lr=0.1)
        for k in range(steps):
            w.grad = tg.Tensor([0.5, -1.0 - k])
            adam.step()
        return adam

    adam, saved = stepped(3), stepped(2).state_dict()["state"]
    arrays = {name: value for name, value in adam.state[0].items() if name != "step"}
    states.put_back(adam, saved)
    assert adam.state[0]["step"] == 2 and len(arrays) == 2
    for name, array in arrays.items():
        assert adam.state[0][name] is array
        np.testing.assert_array_equal(array, saved[0][name])
    states.put_back(adam, {})
    assert adam.state[0]["step"] == 0 and not any(array.any() for array in arrays.values())
    with pytest.raises(ValueError, match="Adam has no .* of parameter 0.* to put back into: take a step before"):
        states.put_back(stepped(0), saved)


@pytest.mark.parametrize("waits", [False, True])
def test_waiting_on_a_real_device_is_noticed(waits: bool, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with a queue, in the place of one: an event is done when the queue has been waited for."""
    queue: list[int] = []

    class Event:
        def __init__(self, disable_timing: bool) -> None:
            pass

        def record(self) -> None:
            assert queue == [compare.CYCLES]

        @property
        def done(self) -> bool:
            return not queue

    monkeypatch.setattr(gpu, "RawKernel", lambda code, name: lambda grid, block, args: queue.append(int(args[0])),
                        raising=False)  # fmt: skip
    monkeypatch.setattr(gpu.cuda, "Event", Event, raising=False)
    monkeypatch.setattr(gpu.cuda.runtime, "deviceSynchronize", queue.clear)
    assert compare.host_waits(queue.clear if waits else lambda: None) is waits
