"""`python -m tests.cuda` without a GPU: every part runs on the stand-in for CuPy, at tiny sizes. No time is
asserted; that a wrong result is found, and that the report says so, is."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin

import tinygrad_m as tg
from tinygrad_m import backend, nn, optim

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tests.cuda: `cuda` itself is NVIDIA's name

from tests.benchmarks import cases
from tests.cuda import __main__ as command
from tests.cuda import compare, machine, memory, mnist, process, report, speed, suite, targets, timing

ROOT = process.ROOT
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
    """The stand-in with what else this command asks CuPy for; jobs run in this process. `gpu.pool` is its memory."""
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

    device = {"name": b"stand-in (a GPU)", "major": 9, "minor": 0, "totalGlobalMem": 2**36, "multiProcessorCount": 132}
    for where, name, value in (
        (standin.ndarray, "_make", classmethod(made)),
        (cuda, "__version__", "14"), (cuda, "pool", pool), (cuda, "get_default_memory_pool", lambda: pool),
        (cuda.cuda, "MemoryHook", MemoryHook), (cuda.cuda.runtime, "getDeviceProperties", lambda index: device),
        (cuda.cuda.runtime, "driverGetVersion", lambda: 13010), (cuda.cuda.runtime, "runtimeGetVersion", lambda: 13000),
        (process, "run", process.call),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, value, raising=False)
    return cuda


def test_no_package_hides_nvidias() -> None:
    """Under pytest tests/ is on sys.path, and CuPy imports NVIDIA's `cuda.pathfinder`: as a folder without __init__.py
    tests/cuda is only searched beside it."""
    assert not (ROOT / "tests" / "cuda" / "__init__.py").exists() and not (ROOT / "tests" / "cuda.py").exists()
    theirs = {"bindings", "cccl", "compute", "coop", "core", "cuda", "cudart", "nvrtc", "parallel", "pathfinder"}
    assert not {path.stem for path in (ROOT / "tests" / "cuda").glob("*.py")} & theirs


# -- is there a GPU? --------------------------------------------------------------------------------


def test_without_cupy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(backend, "_cuda", None)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert command.main([]) == 2
    said = capsys.readouterr()
    assert "CuPy, which is not installed: pip install" in said.err and not said.out


def test_without_a_device(gpu: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.devices = 0
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "finds no CUDA device (the runtime says 0 devices). Check that nvidia-smi" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_with_a_device_that_cannot_compute(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(job: str) -> None:
        raise process.JobError("ImportError: libcublas.so.13")

    monkeypatch.setattr(process, "run", fails)
    assert command.main([]) == 2
    assert "can't compute on it (ImportError: libcublas.so.13). CuPy needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--part", "speeds"], "invalid choice: 'speeds'"),
        (["--part"], "expected at least one argument"),
        (["--out", __file__], "--out"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_flags(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_facts(gpu: Any) -> None:
    machine.require()
    found = machine.facts()
    assert found["device"] == "stand-in (a GPU)" and found["compute capability"] == "9.0"
    assert found["memory"] == "64.0 GiB" and found["CUDA of the driver"] == "13.1" and found["CUDA runtime"] == "13.0"
    assert found["numpy"] == np.__version__ and machine.installed("no-such-package") == "not installed"


# -- processes ------------------------------------------------------------------------------------


def test_a_job_in_a_process_of_its_own() -> None:
    with pytest.raises(process.JobError, match="KeyError: 'no such job'") as error:
        process.run("no such job")
    assert "Traceback" in error.value.details


@pytest.mark.parametrize("printed", ["", "no JSON", "3", "{}"])
def test_a_job_that_crashes(printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(stdout=printed, stderr="first\nSegmentation fault\n", returncode=-11)
    monkeypatch.setattr(process.subprocess, "run", lambda *args, **options: done)
    with pytest.raises(process.JobError, match="the process ended with -11: Segmentation fault"):
        process.run("probe")


# -- suite ------------------------------------------------------------------------------------------


def test_suite_counts_what_pytest_found(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cuda: needs a GPU\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\npytestmark = pytest.mark.cuda\ndef test_right(): pass\ndef test_wrong(): assert 1 == 2\n"
        "def test_skipped(): pytest.skip('no')\n"
    )
    (tmp_path / "test_two.py").write_text("import hypothesis_is_not_here\n")
    (tmp_path / "test_three.py").write_text("raise ModuleNotFoundError(\"No module named 'hypothesis'\")\n")
    (tmp_path / "test_four.py").write_text("def test_without_the_mark(): assert False\n")
    found = suite.part(tests=".", root=tmp_path)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 1)
    assert (
        any(one == "test_one::test_wrong: assert 1 == 2" for one in found["failures"]) and len(found["failures"]) == 2
    )
    assert found["left_out"] == ["test_three needs hypothesis"]


def test_suite_where_nothing_ran_or_no_report_came(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_without_the_mark(): pass\n")
    assert suite.part(tests=".", root=tmp_path)["failures"] == ["no test ran: all that need a GPU were skipped"]
    (failure,) = suite.part(tests="--no-such-flag", root=tmp_path)["failures"]
    assert failure.startswith("pytest ended with 4 and wrote no report")


# -- compare ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", list(compare.NETWORKS))
def test_comparison_agrees(network: str, gpu: Any) -> None:
    rows = compare.run(3, [network])
    assert [(row["optimizer"], row["dtype"]) for row in rows] == [
        (optimizer, dtype) for optimizer in compare.OPTIMIZERS for dtype in ("float64", "float32")
    ]
    assert all(row["within"] and row["waits"] == 0 and row["waited"] is None for row in rows)
    assert all(0 < row["cpu"] < 1e-3 for row in rows if row["dtype"] == "float32")


@pytest.mark.parametrize("wrong, found", [(1e-7, {"float64"}), (0.01, {"float64", "float32"})])
def test_comparison_finds_a_wrong_update(
    wrong: float, found: set[str], gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that is wrong on the device alone: a little in float64, more in both."""

    def make(parameters: list[tg.Tensor]) -> optim.Optimizer:
        return optim.SGD(parameters, lr=0.02 * (1 + wrong * (parameters[0].device != "cpu")), momentum=0.9)

    def at_the_step(parameters: list[tg.Tensor]) -> optim.Optimizer:  # a state that is loaded has its own rate
        optimizer = make(parameters)
        step, rate = optimizer.step, optimizer.defaults["lr"]

        def stepped() -> None:
            optimizer.param_groups[0]["lr"] = rate
            step()

        optimizer.step = stepped  # type: ignore[method-assign, assignment]
        return optimizer

    monkeypatch.setitem(compare.OPTIMIZERS, "wrong", at_the_step)
    monkeypatch.setattr(process, "run", lambda job, **options: compare.run(3, ["MLP"], ["wrong"]))
    part = compare.part()
    assert {row["dtype"] for row in part["rows"] if not row["within"]} == found
    assert len(part["failures"]) == len(found) and "MLP, wrong, float64: " in part["failures"][0]


def test_comparison_finds_a_wrong_gradient_and_nan(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(nn.Module):
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            return x if x.device == "cpu" else x * self.factor

    for factor in (1.001, float("nan")):
        monkeypatch.setitem(
            compare.NETWORKS, "wrong", lambda factor=factor: nn.Sequential(compare.mlp(), Wrong(factor))
        )
        rows = compare.run(3, ["wrong"], ["adam"])
        assert not any(row["within"] for row in rows)
    assert rows[0]["found"] == np.inf


def test_a_step_that_waits_is_counted(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Looks(nn.Module):
        def forward(self, x: tg.Tensor) -> tg.Tensor:
            return x * (x.sum().item() > 0 or 1.0)

    monkeypatch.setitem(compare.NETWORKS, "looks", lambda: nn.Sequential(compare.mlp(), Looks()))
    rows = compare.run(3, ["looks"], ["momentum"])
    assert [row["waits"] for row in rows] == [3, 3]
    (target,) = targets.targets({"compare": {"rows": rows}})
    assert (target.found, target.met) == ("2 of 2 runs", "no")


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


# -- speed ------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    small = speed.Case("a step of a tiny network", TINY, size=256, product=8)
    monkeypatch.setattr(speed, "CASES", {
        "mlp": small, "cnn": small, "large": small,
        "sgd": speed.Case("a tiny step of SGD", optimizer="sgd", numbers=40, arrays=5),
        "adam": speed.Case("a tiny step of Adam", optimizer="adam", numbers=40, arrays=7),
    })  # fmt: skip


@pytest.mark.parametrize("case", ["cnn", "sgd", "adam"])
def test_speed_of_tinygrad_m_is_measured(case: str, gpu: Any, tiny_cases: None) -> None:
    found = speed.measure(speed.OURS, case, 0.0)
    assert found["seconds"] > 0 and found["tf32"] == "off"
    assert found["product" if case == "cnn" else "copy"] > 0
    assert gpu.syncs >= 2 * timing.RUNS  # the device is waited for at both ends of each run


@pytest.mark.parametrize("contender", ["torch", "torch without TF32", "torch, fused", "jax"])
def test_speed_of_others_is_measured(contender: str, tiny_cases: None) -> None:
    """On the CPU, which they can do, too."""
    pytest.importorskip(contender[:5].strip())
    torch_backends = sys.modules["torch"].backends.cudnn if "torch" in sys.modules else SimpleNamespace(allow_tf32=True)
    before = torch_backends.allow_tf32
    try:
        for case in ("cnn", "sgd", "adam"):
            if contender in speed.racing(speed.CASES[case]):
                found = speed.measure(contender, case, 0.0, device="cpu")
                assert found["seconds"] > 0 and found["tf32"]
    finally:
        torch_backends.allow_tf32 = before


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


def test_who_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tg, "capture", raising=False)
    assert speed.racing(speed.CASES["mlp"]) == ["tinygrad_m", "torch", "torch.compile", "jax"]
    assert speed.racing(speed.CASES["adam"]) == ["tinygrad_m", "torch", "torch, fused", "jax"]
    assert "torch without TF32" in speed.racing(speed.CASES["lenet"])
    monkeypatch.setattr(tg, "capture", lambda f: f, raising=False)
    assert speed.CAPTURED in speed.racing(speed.CASES["mlp"])
    assert speed.CAPTURED not in speed.racing(speed.CASES["sgd"])
    assert {*speed.QUICK_CASES} <= {*speed.CASES} and {*speed.QUICK_CONTENDERS} <= {*speed.CONTENDERS}


def test_a_captured_step(gpu: Any, tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Callable[..., Any]] = []
    monkeypatch.setattr(tg, "capture", lambda f: calls.append(f) or f, raising=False)
    assert speed.measure(speed.CAPTURED, "mlp", 0.0)["seconds"] > 0 and len(calls) == 1


def test_who_is_absent_is_left_out(tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "tests.cuda.with_jax", raising=False)
    assert speed.measure("jax", "mlp", 0.0)["absent"] == "jax is not installed"
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "without CUDA" in speed.measure("torch", "mlp", 0.0)["absent"]


def fake_speed(job: str, contender: str, case: str, seconds: float) -> dict[str, Any]:
    if contender == "jax":
        return {"absent": "jax is not installed"}
    if contender == "torch.compile":
        raise process.JobError("RuntimeError: no compiler")
    found = {"tf32": "off", "seconds": {speed.OURS: 50e-6, speed.CAPTURED: 70e-6}.get(contender, 100e-6)}
    if contender == speed.OURS and speed.CASES[case].product:
        found["product"] = 1e9
    if contender == speed.OURS and speed.CASES[case].numbers:
        found["copy"] = 20e6
    return found


def test_rounds_and_rates(tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", fake_speed)
    monkeypatch.setattr(tg, "capture", lambda f: f, raising=False)
    part = speed.part()
    assert part["failures"] == [] and part["left_out"].count("jax: jax is not installed") == 1
    assert "torch.compile, cnn: RuntimeError: no compiler" in part["left_out"]
    row = part["cases"]["sgd"][speed.OURS]
    assert row["rounds"] == [50e-6] * 5
    assert row["bytes"] == pytest.approx(4 * 5 * 40 / 50e-6) and row["of copy"] == pytest.approx(0.8)
    assert part["cases"]["sgd"]["torch"]["of copy"] == pytest.approx(0.4)
    two = 2 * (2 * 9 * 36 * 64) + 3 * (64 * 18 * 10)  # multiplications; of the first layer's input there are none
    assert part["cases"]["large"][speed.OURS]["of product"] == pytest.approx(2 * two / 50e-6 / 1e9)
    met = {one.what: one.met for one in targets.targets({"speed": part})}
    assert met["a tiny step of SGD"] == "yes" and met["a step of a tiny network, captured"] == "no"


def test_an_error_of_ours_is_a_failure(tiny_cases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(job: str, contender: str, case: str, seconds: float) -> dict[str, Any]:
        if (contender, case) == (speed.OURS, "cnn"):
            raise process.JobError("ValueError: no")
        return fake_speed(job, contender, case, seconds)

    monkeypatch.setattr(process, "run", fails)
    part = speed.part(quick=True)
    assert part["failures"] == ["tinygrad_m, cnn: ValueError: no"] and "torch" in part["cases"]["cnn"]
    assert part["rounds"] == 1 and set(part["cases"]) == set(speed.QUICK_CASES)
    (missing,) = [one for one in targets.targets({"speed": part}) if one.met == "not measured"]
    assert missing.found == "unknown"


# -- mnist and memory -------------------------------------------------------------------------------


def test_mnist_is_trained(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.random((40, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, 40)
    monkeypatch.setattr(mnist, "files", lambda: (images, labels, images, labels))
    monkeypatch.setitem(mnist.example.RECIPES["cnn"], "batch_size", 16)
    part = mnist.part(quick=True)
    assert part["seeds"] == len(part["seconds"]) == 2 and part["failures"] == []
    assert 0 <= part["mean accuracy"] <= 100 and part["mean seconds"] > 0


def test_mnist_without_its_files(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_M_DATA", str(tmp_path))
    part = mnist.part()
    assert "train-images-idx3-ubyte" in part["absent"]
    (target,) = targets.targets({"mnist": part})
    assert target.met == "not measured"


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
    assert found["used after many"] - found["used after few"] == 5 * 4
    target = targets.targets({"memory": found})[-1]
    assert (target.found, target.met) == ("+20 bytes", "no")


def test_memory_of_torch_may_be_missing(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"peak": 1}
    monkeypatch.setattr(process, "run", lambda job, **options: ours if job == "memory" else process.call(job))
    monkeypatch.setitem(sys.modules, "torch", None)
    part = memory.part(quick=True)
    assert part["torch"] == {"absent": "torch is not installed"} and part["failures"] == []


# -- the command ------------------------------------------------------------------------------------


def test_one_part_that_fails_does_not_stop_the_others(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raises(quick: bool) -> dict[str, Any]:
        raise RuntimeError("an illegal memory access\nwas encountered")

    absent = {"absent": "no MNIST here", "failures": []}
    found = {"passed": 3, "failed": 1, "skipped": 2, "left_out": [], "failures": ["test_a::test_b: assert | 1"]}
    monkeypatch.setattr(
        command, "PARTS", {"suite": lambda quick: found, "compare": raises, "mnist": lambda quick: absent}
    )
    assert command.main(["--out", str(tmp_path / "new")]) == 1
    printed = capsys.readouterr()
    (js, md) = sorted((tmp_path / "new").iterdir())
    assert md.name.startswith("cuda-2") and md.name.endswith("-stand-in-a-GPU.md") and js.stem == md.stem
    assert md.read_text(encoding="utf-8") == printed.out
    assert "- suite: test_a::test_b: assert | 1\n- compare: RuntimeError: an illegal memory access\n" in printed.out
    assert "3 tests passed, 1 failed, 2 were skipped." in printed.out
    assert "It raised RuntimeError: an illegal memory access" in printed.out
    assert "Not measured: no MNIST here" in printed.out
    assert "in raises" in printed.err  # the traceback
    data = json.loads(js.read_text(encoding="utf-8"))
    assert set(data["parts"]) == {"suite", "compare", "mnist"} and "Traceback" in data["parts"]["compare"]["details"]
    assert {one["met"] for one in data["targets"]} == {"not measured"}


def test_parts_are_chosen_and_ctrl_c_keeps_what_there_is(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(quick: bool) -> dict[str, Any]:
        assert quick
        raise KeyboardInterrupt

    good = {"absent": "nothing", "failures": []}
    monkeypatch.setattr(command, "PARTS", {"suite": lambda quick: good, "speed": stops, "memory": lambda quick: good})
    assert command.main(["--part", "memory", "suite", "--out", str(tmp_path)]) == 0
    assert "Nothing." in capsys.readouterr().out
    assert command.main(["--quick", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "speed: stopped by hand" in said and "## Suite" in said and "## Memory" not in said


def test_the_whole_page(gpu: Any, tmp_path: Path) -> None:
    """From results such as a GPU may give; the numbers are made up."""
    row = {
        "network": "MLP", "optimizer": "adam", "dtype": "float32", "found": 2e-6, "where": "loss, step 3",
        "largest": 3e-6, "cpu": 1e-6, "allowed": 8e-6, "within": True, "last loss": 0.1, "waits": None, "waited": False,
    }  # fmt: skip
    one = {"rounds": [1e-3, 3e-3], "seconds": 2e-3, "tf32": "off"}
    parts: dict[str, Any] = {
        "suite": {"passed": 9, "failed": 0, "skipped": 0, "left_out": ["test_x needs hypothesis"]},
        "compare": {"steps": 100, "rows": [row, {**row, "dtype": "float64", "within": False, "waited": True}]},
        "speed": {"rounds": 2, "left_out": ["jax: jax is not installed"], "cases": {
            "mlp": {"tinygrad_m": one, "torch": {**one, "seconds": 1e-3}},
            "large": {"tinygrad_m": {**one, "product": 5e13, "operations": 4.5e13, "of product": 0.9}},
            "sgd": {"tinygrad_m": {**one, "copy": 2e12, "bytes": 1e12, "of copy": 0.5}},
        }},
        "mnist": {"epochs": 2, "seeds": 2, "seconds": [0.4, 0.5], "accuracies": [99.1, 99.3], "mean seconds": 0.45,
                  "mean accuracy": 99.2},
        "memory": {"peak": 120_000_000, "reserved": 150_000_000, "missed": 512, "few": 100, "many": 1000,
                   "used after few": 7, "used after many": 7, "torch": {"peak": 100_000_000, "reserved": 110_000_000}},
    }  # fmt: skip
    for part in parts.values():
        part.update(took=1.0, failures=[])
    text, _ = report.write({"machine": machine.facts(), "quick": True, "parts": parts}, tmp_path)
    for line in (
        "Run with `--quick`: fewer cases, rounds, seeds and steps.",
        "Nothing.",
        "| no training step waits for the device | none | 1 of 2 runs | no |",
        "| a training step of the MLP 784-128-10, batch 128 | at most eager PyTorch's time | 2.00 of it | no |",
        "| a training step of the small CNN, batch 256 | at most eager PyTorch's time | unknown | not measured |",
        "| a training step of the MLP 8192-8192-10, batch 8192 | at least 85% of CuPy's rate of matrix products | 90% "
        "| yes |",
        "| a step of SGD with momentum on 100 M parameters | at least 80% of the device's copy rate | 50% | no |",
        "| MNIST to 99 % | less than 0.5 s | 450 ms, 99.20 % | yes |",
        "| peak memory in a step of the small CNN | at most 1.2 x PyTorch's | 1.20 x | yes |",
        "| memory in use after 1,000 steps | what it is after 100 | +0 bytes | yes |",
        "| compute capability | 9.0 |",
        "- left out: test_x needs hypothesis",
        "| MLP | adam | float32 | 2.0e-06 | 1.0e-06 | 8.0e-06 | yes | loss, step 3 | 3.0e-06 | no |",
        "| MLP | adam | float64 | 2.0e-06 | 1.0e-06 | 8.0e-06 | **no** | loss, step 3 | 3.0e-06 | yes |",
        "| tinygrad_m | 2 ms (1 ms to 3 ms) | 2.00 |  | off |",
        "| tinygrad_m | 2 ms (1 ms to 3 ms) |  | 45.0 TFLOP/s, 90% | off |",
        "| tinygrad_m | 2 ms (1 ms to 3 ms) |  | 1000 GB/s, 50% | off |",
        "- left out: jax: jax is not installed",
        "| tinygrad_m | 120.0 MB | 150.0 MB |",
        "The pool's own count of bytes in use after the step differs by +512 from the one here.",
    ):
        assert line in text.splitlines(), f"{line}\nis not in\n{text}"
