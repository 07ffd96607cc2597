"""`python -m tests.cuda --part speed` on the stand-in: who takes part, in what, and what the targets make of it.
No time is asserted."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin_cudnn
import standin_gpu
from standin_cudnn import Graph, NotSupported
from standin_gpu import CAN_CAPTURE, TINY, captures

import tinygrad_m as tg
from tests.benchmarks import cases
from tests.cuda import process, speed, targets, timing
from tinygrad_m import cublas, cudnn, kernels

gpu, package = standin_gpu.gpu, standin_cudnn.package  # the fixtures


@pytest.fixture
def tiny_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    small = speed.Case("a step of a tiny network", TINY, size=256, tf32=True, product=8)
    large = small._replace(what="a step of a large network")
    monkeypatch.setattr(speed, "CASES", {
        "mlp": small, "cnn": small, "large": large,
        "sgd": speed.Case("a tiny step of SGD", optimizer="sgd", numbers=40, arrays=5),
        "adam": speed.Case("a tiny step of Adam", optimizer="adam", numbers=40, arrays=7),
    })  # fmt: skip


@pytest.mark.parametrize("case", ["cnn", "sgd", "adam"])
def test_speed_of_tinygrad_m_is_measured(case: str, gpu: Any, tiny_cases: None) -> None:
    found = speed.measure(speed.OURS, case, 0.0)
    assert found["seconds"] > 0 and found["tf32"] == "off"
    assert found["product" if case == "cnn" else "copy"] > 0
    assert gpu.syncs >= 2 * timing.RUNS  # the device is waited for at both ends of each run


@captures
@pytest.mark.parametrize("has_cublas", [False, True])
@pytest.mark.parametrize("contender", [speed.TF32, speed.CAPTURED, f"{speed.CAPTURED}, TF32"])
def test_tf32_and_captured_steps_are_measured(
    contender: str, has_cublas: bool, gpu: Any, tiny_cases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 is what was set, not what CUPY_TF32 says; a captured step has it only where it has cuBLAS."""
    from tests.cuda import with_tinygrad_m

    monkeypatch.setenv("CUPY_TF32", "0" if "TF32" in contender else "1")
    ran: list[Any] = []
    compute = with_tinygrad_m.Training.compute
    monkeypatch.setattr(with_tinygrad_m.Training, "compute", lambda *a: ran.append(a) or compute(*a))
    found = speed.measure(contender, "cnn", 0.0)
    assert found["seconds"] > 0 and gpu.asked == ["TF32" if "TF32" in contender else "float32"]
    assert ("product" in found) == (contender == speed.TF32)
    assert len(ran) == 4 if "captured" in contender else len(ran) > 4
    monkeypatch.setattr(cublas, "binding", lambda: SimpleNamespace() if has_cublas else None)
    said = with_tinygrad_m.check("cuda", **speed.CONTENDERS[contender].settings)
    on = "on" if "TF32" in contender else "off"
    if "captured" in contender:
        on = f"{on}, cuBLAS through" if has_cublas else "off: as no cuBLAS was found"
    assert said.startswith(on)


@pytest.mark.parametrize("contender", ["torch", "torch without TF32", "torch, TF32", "torch, fused", "jax"])
def test_speed_of_others_is_measured(contender: str, tiny_cases: None) -> None:
    """On the CPU, which they can do, too."""
    package = pytest.importorskip(contender.partition(",")[0].split()[0])
    flags = [package.backends.cuda.matmul, package.backends.cudnn] if package.__name__ == "torch" else []
    before = [one.allow_tf32 for one in flags]
    tf32 = {
        "torch": "off for products, on for convolutions",
        "torch without TF32": "off for products, off for convolutions",
        "torch, TF32": "on for products, on for convolutions",
    }
    try:
        for case in ("cnn", "sgd", "adam"):
            if contender in speed.racing(speed.CASES[case]):
                found = speed.measure(contender, case, 0.0, device="cpu")
                assert found["seconds"] > 0 and found["tf32"].startswith(tf32.get(contender, "off"))
    finally:
        for one, value in zip(flags, before):
            one.allow_tf32 = value


@pytest.mark.parametrize("other", ["with_torch", "with_jax"])
def test_same_mathematics(other: str, gpu: Any) -> None:
    """The data set is one batch, so that every order of it is as good."""
    pytest.importorskip(other.removeprefix("with_"))
    import importlib

    from tests.cuda import with_tinygrad_m

    ours = with_tinygrad_m.Training(TINY, "cuda", TINY.batch)
    theirs = importlib.import_module(f"tests.cuda.{other}").Training(TINY, "cpu", TINY.batch)
    for _ in range(3):
        ours.step()
        theirs.step()
        assert ours.loss() == pytest.approx(theirs.loss(), rel=1e-4)
    for a, b, first in zip(ours.weights(), theirs.weights(), cases.first_weights(TINY), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
        assert abs(a - first).max() > 1e-5


def test_pytorchs_graph_is_its_eager_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for streams and graphs: what PyTorch computes while it records is computed again in a replay. Here
    it is computed while it is recorded, too, which CUDA does not do."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from tests.cuda import with_torch

    class Graph:
        def replay(self) -> None:
            with torch.no_grad():
                for f, args, kwargs, result in self.calls:
                    for old, new in zip(tree_leaves(result), tree_leaves(f(*args, **kwargs)), strict=True):
                        if isinstance(old, torch.Tensor) and old is not new:
                            old.copy_(new)

    class Recording(TorchDispatchMode):
        def __init__(self, graph: Graph) -> None:
            super().__init__()
            self.calls = graph.calls = []
            assert said == ["side waits", "usual waits"]

        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = f(*args, **(kwargs or {}))
            self.calls.append((f, args, kwargs or {}, result))
            return result

    said: list[str] = []
    side, usual = (SimpleNamespace(wait_stream=lambda _, n=n: said.append(f"{n} waits")) for n in ("side", "usual"))
    for name, value in (
        ("Stream", lambda: side), ("current_stream", lambda: usual), ("stream", lambda s: nullcontext()),
        ("CUDAGraph", Graph), ("graph", Recording),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    eager, graph = (with_torch.Training(TINY, "cpu", TINY.batch, graph=graph) for graph in (False, True))
    calls = len(graph.graph.calls)
    for _ in range(with_torch.WARMUP + 1):
        eager.step()
    for _ in range(3):
        eager.step()
        graph.step()
        assert graph.loss() == pytest.approx(eager.loss(), rel=1e-5)
    assert len(graph.graph.calls) == calls
    for a, b, first in zip(graph.weights(), eager.weights(), cases.first_weights(TINY), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert abs(a - first).max() > 1e-5
    graph.images.zero_()
    eager.images.zero_()
    eager.step()
    graph.step()
    assert graph.loss() == pytest.approx(eager.loss(), rel=1e-5)  # of this batch, not of the one that was recorded


def test_who_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "ENABLED", True)
    both = ["tinygrad_m, TF32", "tinygrad_m, captured, TF32"]
    training = ["tinygrad_m", "tinygrad_m, captured", "torch", "torch, CUDA graph", "torch.compile", "jax"]
    for case in ("mlp", "large"):
        assert {*speed.racing(speed.CASES[case])} == {*training, *both, "torch, TF32"}
    convolving = ["torch without TF32", "tinygrad_m, cuDNN", "tinygrad_m, captured, cuDNN"]
    assert {*speed.racing(speed.CASES["cnn"])} == {*training, *both, "torch, TF32", *convolving}
    assert {*speed.racing(speed.CASES["lenet"])} == {*training, *convolving}
    assert speed.racing(speed.CASES["adam"]) == ["tinygrad_m", "torch", "torch, fused", "jax"]
    assert {*speed.QUICK_CASES} <= {*speed.CASES} and {*speed.QUICK_CONTENDERS} <= {*speed.CONTENDERS}
    quick = [case for case in speed.QUICK_CASES if {*convolving[1:]} & {*speed.racing(speed.CASES[case])}]
    assert quick == ["cnn"] and {*convolving[1:]} < {*speed.QUICK_CONTENDERS}
    monkeypatch.setattr(kernels, "ENABLED", False)
    assert {*training, *both} - {*speed.racing(speed.CASES["mlp"])} == {"tinygrad_m, captured", both[1]}
    assert not {*convolving[1:]} & {*speed.racing(speed.CASES["cnn"])}  # it would not be asked


def test_who_is_absent_is_left_out(tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "tests.cuda.with_jax", raising=False)
    assert speed.measure("jax", "mlp", 0.0)["absent"] == "jax is not installed"
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "without CUDA" in speed.measure("torch", "mlp", 0.0)["absent"]


def fake_speed(job: str, contender: str, case: str, seconds: float) -> dict[str, Any]:
    if contender in ("jax", speed.CUDNN, speed.CUDNN_CAPTURED):
        return {"absent": f"{contender} is not installed"}
    if contender == "torch.compile":
        raise process.JobError("RuntimeError: no compiler")
    times = {speed.OURS: 50e-6, speed.CAPTURED: 70e-6, speed.TF32: 40e-6, speed.GRAPH: 55e-6, "torch, TF32": 20e-6}
    found = {"tf32": "off", "seconds": times.get(contender, 100e-6)}
    if contender in (speed.OURS, speed.TF32) and speed.CASES[case].product:
        found["product"] = 1e9 if contender == speed.OURS else 16e9
    if contender == speed.OURS and speed.CASES[case].numbers:
        found["copy"] = 20e6
    return found


def test_rounds_and_rates(tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", fake_speed)
    monkeypatch.setattr(kernels, "ENABLED", True)
    part = speed.part()
    assert part["failures"] == [] and part["left_out"].count("jax: jax is not installed") == 1
    assert part["left_out"].count(f"{speed.CUDNN}: {speed.CUDNN} is not installed") == 1
    assert "torch.compile, cnn: RuntimeError: no compiler" in part["left_out"]
    row = part["cases"]["sgd"][speed.OURS]
    assert row["rounds"] == [50e-6] * 5
    assert row["bytes"] == pytest.approx(4 * 5 * 40 / 50e-6) and row["of copy"] == pytest.approx(0.8)
    assert part["cases"]["sgd"]["torch"]["of copy"] == pytest.approx(0.4)
    two = 2 * (2 * 9 * 36 * 64) + 3 * (64 * 18 * 10)  # multiplications; of the first layer's input there are none
    for who, seconds, rate in (
        (speed.OURS, 50e-6, 1e9), (speed.CAPTURED, 70e-6, 1e9), ("torch", 100e-6, 1e9), (speed.GRAPH, 55e-6, 1e9),
        (speed.TF32, 40e-6, 16e9), (f"{speed.CAPTURED}, TF32", 100e-6, 16e9), ("torch, TF32", 20e-6, 16e9),
    ):  # fmt: skip
        assert part["cases"]["large"][who]["of product"] == pytest.approx(2 * two / seconds / rate)
    share = f"{2 * two / 40e-6 / 16e9:.0%}"
    what, captured = "a step of a tiny network", "a step of a tiny network, captured"
    assert [tuple(one) for one in targets.targets({"speed": part})] == [
        (what, "at most eager PyTorch's time", "0.50 of it", "yes"),
        (what, "at most eager PyTorch's time", "0.50 of it", "yes"),
        (captured, "at most 60 us", "70 us", "no"),
        (captured, "at most 1.2 x PyTorch's time with CUDA graphs", "1.27 x that of torch, CUDA graph", "no"),
        (captured, "at most 1.3 x PyTorch's time with CUDA graphs", "1.27 x that of torch, CUDA graph", "yes"),
        ("a step of a large network", "at least 85% of CuPy's rate of matrix products, both in TF32", share, "no"),
        ("a tiny step of SGD", "at least 80% of the device's copy rate", "80%", "yes"),
        ("a tiny step of Adam", "at least 80% of the device's copy rate", "112%", "yes"),
    ]


def test_captured_steps_are_held_to_the_faster_of_pytorchs_graphs() -> None:
    """And the large network to its rate in TF32, whatever it is in float32."""

    def found(*seconds: float, **share: float) -> dict[str, tuple[str, str]]:
        names = (speed.CAPTURED, speed.GRAPH, speed.COMPILED)
        rows = {who: {"seconds": one} for who, one in zip(names, seconds) if one}
        large = {speed.OURS: {"of product": share.get("ours")}, speed.TF32: {"of product": share.get("tf32")}}
        checked = targets.targets({"speed": {"cases": {"mlp": rows, "cnn": rows, "large": large}}})
        return {one.wanted.partition(" x ")[0]: (one.found, one.met) for one in checked}

    names = "at most 1.2", "at most 1.3"
    assert [found(1.2, 2.0, 1.0)[name] for name in names] == [("1.20 x that of torch.compile", "yes")] * 2
    assert [found(1.25, 1.0, 2.0)[name][1] for name in names] == ["no", "yes"]
    assert found(1.35, 1.0, 1.1)[names[1]] == ("1.35 x that of torch, CUDA graph", "no")
    assert found(1.0, 1.0)[names[0]] == ("1.00 x that of torch, CUDA graph", "yes")  # --quick compiles nothing
    for missing in (found(0, 1.0, 1.0), found(1.0)):
        assert missing[names[0]] == missing[names[1]] == ("unknown", "not measured")
    least = "at least 85% of CuPy's rate of matrix products, both in TF32"
    assert found(ours=0.5, tf32=0.86)[least] == ("86%", "yes")
    assert found(ours=0.9, tf32=0.84)[least] == ("84%", "no")
    assert found(ours=0.9)[least] == ("unknown", "not measured")


def test_an_error_of_ours_is_a_failure(tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(job: str, contender: str, case: str, seconds: float) -> dict[str, Any]:
        if contender in (speed.OURS, speed.CAPTURED) and case == "cnn":
            raise process.JobError("ValueError: no")
        return fake_speed(job, contender, case, seconds)

    monkeypatch.setattr(process, "run", fails)
    monkeypatch.setattr(kernels, "ENABLED", True)
    part = speed.part(quick=True)
    assert part["failures"] == [f"{who}, cnn: ValueError: no" for who in (speed.OURS, speed.CAPTURED)]
    assert "torch" in part["cases"]["cnn"] and speed.WITHOUT_KERNELS not in part["left_out"]
    assert part["rounds"] == 1 and set(part["cases"]) == set(speed.QUICK_CASES)
    missing = [one for one in targets.targets({"speed": part}) if one.met == "not measured"]
    assert len(missing) == 2 and {one.found for one in missing} == {"unknown"}
    monkeypatch.setattr(kernels, "ENABLED", False)
    assert {speed.WITHOUT_KERNELS, speed.NOR_CUDNN} <= {*speed.part(quick=True)["left_out"]}


# -- convolutions by cuDNN --------------------------------------------------------------------------

WITH_CUDNN = [speed.CUDNN, pytest.param(speed.CUDNN_CAPTURED, marks=captures)]
needs_kernels = pytest.mark.skipif(not CAN_CAPTURE, reason="cuDNN is asked where the kernels are on: g++ runs them")


@needs_kernels
@pytest.mark.parametrize("contender", WITH_CUDNN)
def test_cudnn_convolves_for_its_contenders_alone(
    contender: str, gpu: Any, package: Any, tiny_cases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cuda import with_tinygrad_m

    ran: list[Any] = []
    compute = with_tinygrad_m.Training.compute
    monkeypatch.setattr(with_tinygrad_m.Training, "compute", lambda *a: ran.append(a) or compute(*a))
    found = speed.measure(contender, "cnn", 0.0)
    assert len(ran) == 4 if contender == speed.CUDNN_CAPTURED else len(ran) > 4
    assert found["seconds"] > 0 and found["refused"] == [] and "product" not in found
    assert found["tf32"].startswith("off") and ("cuBLAS" in found["tf32"]) == (contender == speed.CUDNN_CAPTURED)
    assert {graph.node[0] for graph in Graph.made} == {"conv_fprop", "conv_wgrad"}  # no gradient of the images
    Graph.made.clear()
    cudnn._plan.cache_clear()
    for own in (speed.OURS, speed.CAPTURED, speed.TF32):  # whatever was set before them
        tg.set_convolution("cudnn")
        assert "refused" not in speed.measure(own, "cnn", 0.0) and tg.get_convolution() == "own"
    assert not Graph.made


@needs_kernels
@pytest.mark.parametrize("contender", WITH_CUDNN)
def test_what_cudnn_refuses_is_said(contender: str, gpu: Any, package: Any, tiny_cases: None) -> None:
    Graph.refusal = "check_support", NotSupported("no\nengine")
    found = speed.measure(contender, "cnn", 0.0)
    assert found["seconds"] > 0 and found["refused"] == [
        "conv_fprop of (64, 1, 8, 8) and (2, 1, 3, 3), float32: NotSupported: no engine",
        "conv_wgrad of (64, 1, 8, 8) and (64, 2, 6, 6), float32: NotSupported: no engine",
    ]


@needs_kernels
@pytest.mark.parametrize("captured", [False, True])
def test_cudnn_learns_what_the_own_way_does(captured: bool, gpu: Any, package: Any) -> None:
    from tests.cuda import with_tinygrad_m

    weights = []
    for way in ("own", "cudnn"):
        with_tinygrad_m.check("cuda", captured=captured, convolution=way)
        training = with_tinygrad_m.Training(TINY, "cuda", TINY.batch, captured=captured and way == "cudnn")
        for _ in range(6):  # two are replays
            training.step()
        weights.append(training.weights())
        assert len(Graph.made) == (2 if way == "cudnn" else 0)
    for a, b, first in zip(*weights, cases.first_weights(TINY), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert abs(a - first).max() > 1e-5


@pytest.mark.parametrize("contender", [speed.CUDNN, speed.CUDNN_CAPTURED])
def test_without_cudnn_its_contenders_are_absent(contender: str, gpu: Any, tiny_cases: None) -> None:
    said = speed.measure(contender, "cnn", 0.0)["absent"]
    assert "No module named 'cudnn'" in said and "pip install nvidia-cudnn-frontend" in said


def test_refusals_of_all_rounds_count() -> None:
    rounds = [{"seconds": 1.0, "tf32": "off", "refused": refused} for refused in (["a"], [], ["b", "a"])]
    assert speed.summary(rounds)["refused"] == ["a", "b"] and speed.summary(rounds[1:2])["refused"] == []
    assert "refused" not in speed.summary([{"seconds": 1.0, "tf32": "off"}])


@pytest.mark.parametrize("own, with_cudnn, eager, graphs", [
    (0.9, 0.8, ("tinygrad_m, cuDNN: 0.80 of it", "yes"), ("tinygrad_m, captured, cuDNN: 0.80 x that of torch", "yes")),
    (0.9, 1.4, ("tinygrad_m: 0.90 of it", "yes"), ("tinygrad_m, captured: 0.90 x that of torch", "yes")),
    (1.4, 1.2, ("tinygrad_m, cuDNN: 1.20 of it", "no"), ("tinygrad_m, captured, cuDNN: 1.20 x that of torch", "yes")),
    (1.5, 1.4, ("tinygrad_m, cuDNN: 1.40 of it", "no"), ("tinygrad_m, captured, cuDNN: 1.40 x that of torch", "no")),
    (0.0, 0.7, ("tinygrad_m, cuDNN: 0.70 of it", "yes"), ("tinygrad_m, captured, cuDNN: 0.70 x that of torch", "yes")),
    (1.2, 0.0, ("1.20 of it", "no"), ("1.20 x that of torch", "yes")),
])  # fmt: skip
def test_the_cnns_targets_are_for_the_faster_way(own: float, with_cudnn: float, eager: Any, graphs: Any) -> None:
    """0: not measured."""
    times = {speed.OURS: own, speed.CAPTURED: own, speed.CUDNN: with_cudnn, speed.CUDNN_CAPTURED: with_cudnn,
             speed.EAGER: 1.0, speed.GRAPH: 1.0}  # fmt: skip
    rows = {who: {"seconds": seconds} for who, seconds in times.items() if seconds}
    checked = targets.targets({"speed": {"cases": {"cnn": rows}}})
    found = {one.wanted: (one.found.removesuffix(", CUDA graph"), one.met) for one in checked if "CNN" in one.what}
    assert found == {
        "at most eager PyTorch's time": eager, "at most 1.3 x PyTorch's time with CUDA graphs": graphs,
    }  # fmt: skip
