"""`python -m tests.cuda --part memory` on the stand-in, whose pool counts what its arrays hold."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import standin_cudnn
import standin_gpu
from standin_cudnn import Graph, NotSupported
from standin_gpu import CAN_CAPTURE, TINY

import tinygrad_m as tg
from tests.cuda import memory, process, report, speed, targets
from tinygrad_m import cudnn, kernels

gpu, package = standin_gpu.gpu, standin_cudnn.package  # the fixtures


def test_memory_is_flat(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "NETWORK", TINY)
    found = memory.run(many=7, few=2, size=3 * TINY.batch)
    assert found["used after few"] == found["used after many"] and found["missed"] == 0
    assert found["reserved"] == found["peak"] > TINY.batch * 64 * 4  # the data set alone


def test_a_leak_is_found(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cuda import with_tinygrad_m

    kept: list[Any] = []
    step = with_tinygrad_m.Training.step

    def leaks(self: Any) -> None:
        step(self)
        kept.append(self.last.data)

    monkeypatch.setattr(with_tinygrad_m.Training, "step", leaks)
    monkeypatch.setattr(memory, "NETWORK", TINY)
    found = memory.run(many=7, few=2, size=3 * TINY.batch)
    each = (kept[-1] if kept[-1].base is None else kept[-1].base).nbytes  # a loss, or what it is a view of
    assert found["used after many"] - found["used after few"] == 5 * each > 0
    target = targets.targets({"memory": found})[-1]
    assert (target.found, target.met) == (f"+{5 * each} bytes", "no")


def test_memory_of_torch_may_be_missing(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"peak": 1}
    monkeypatch.setattr(process, "run", lambda job, **options: ours if job == "memory" else process.call(job))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(kernels, "ENABLED", True)
    part = memory.part(quick=True)
    assert part["torch"] == {"absent": "torch is not installed"} and part["failures"] == []
    assert "No module named 'cudnn'" in part["cudnn"]["absent"]


@pytest.mark.skipif(not CAN_CAPTURE, reason="cuDNN is asked where the kernels are on: g++ runs them without a GPU")
def test_peak_with_cudnn(gpu: Any, package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workspace counts; and the usual figure is the own way's, whatever was set."""
    monkeypatch.setattr(memory, "NETWORK", TINY)
    tg.set_convolution("cudnn")
    usual = memory.run(many=3, few=2, size=2 * TINY.batch)
    assert not Graph.made and "refused" not in usual
    peaks = []
    for workspace in (1000, 10_000_000):
        monkeypatch.setattr(standin_cudnn, "WORKSPACE", workspace)
        cudnn._plan.cache_clear()
        found = memory.run_cudnn()
        assert Graph.made and found["refused"] == [] and found["missed"] == 0
        assert found["reserved"] == found["peak"] > TINY.batch * 64 * 4
        peaks.append(found["peak"])
    assert peaks[1] > 10_000_000 > peaks[0] != usual["peak"]
    standin_cudnn.forget()
    Graph.refusal = "validate", NotSupported("no engine")
    assert [why.partition(" ")[0] for why in memory.run_cudnn()["refused"]] == ["conv_fprop", "conv_wgrad"]


def test_memory_where_cudnn_fails_or_is_not_asked(gpu: Any, package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(job: str, **options: Any) -> dict[str, Any]:
        if job == "memory with cuDNN":
            raise process.JobError("RuntimeError: CUDNN_STATUS_NOT_INITIALIZED")
        return {"peak": 1, "reserved": 2, "missed": 0, "few": 1, "many": 2, "used after few": 3, "used after many": 3}

    monkeypatch.setattr(process, "run", run)
    part = memory.part(quick=True)
    assert part["failures"] == ["tinygrad_m, cuDNN: RuntimeError: CUDNN_STATUS_NOT_INITIALIZED"]
    assert part["torch"]["peak"] == 1
    said = "- left out: tinygrad_m, cuDNN: RuntimeError: CUDNN_STATUS_NOT_INITIALIZED\n"
    assert said in report._memory(part)
    monkeypatch.setattr(kernels, "ENABLED", False)
    assert memory.run_cudnn() == {"absent": speed.NOR_CUDNN} and not Graph.made
