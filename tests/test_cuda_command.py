"""`python -m tests.cuda` without a GPU: every part runs on the stand-in for CuPy, at tiny sizes. No time is asserted;
that a wrong result is found, and that the report says so, is. Here are the command, its processes, the suite and the
report; test_cuda_compare.py, _speed.py, _mnist.py and _memory.py have the other parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin_gpu

from tests.cuda import __main__ as command
from tests.cuda import machine, mnist, process, report, suite
from tinygrad_m import backend, cudnn

ROOT = process.ROOT
gpu = standin_gpu.gpu  # the fixture


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


def test_facts(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.require()
    found = machine.facts()
    assert found["device"] == "stand-in (a GPU)" and found["compute capability"] == "9.0"
    assert found["memory"] == "64.0 GiB" and found["CUDA of the driver"] == "13.1" and found["CUDA runtime"] == "13.0"
    assert found["numpy"] == np.__version__ and machine.installed("no-such-package") == "not installed"
    assert found["cuDNN"] == "not found"
    monkeypatch.setattr(cudnn, "binding", lambda: SimpleNamespace(backend_version=lambda: 92801))
    assert machine.facts()["cuDNN"] == 92801


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
        "network": "MLP", "optimizer": "adam", "dtype": "float32", "captured": False, "raised": "", "found": 2e-6,
        "where": "loss, step 3", "largest": 3e-6, "cpu": 1e-6, "allowed": 8e-6, "within": True, "last loss": 0.1,
        "waits": None, "waited": False,
    }  # fmt: skip
    raised = {**{k: row[k] for k in ("network", "optimizer", "dtype", "cpu", "allowed", "last loss")},
              "captured": True, "raised": "CaptureError: a | b", "within": False}  # fmt: skip
    one = {"rounds": [1e-3, 3e-3], "seconds": 2e-3, "tf32": "off"}
    parts: dict[str, Any] = {
        "suite": {"passed": 9, "failed": 0, "skipped": 0, "left_out": ["test_x needs hypothesis"]},
        "compare": {"steps": 100, "rows": [
            row, {**row, "dtype": "float64", "within": False, "waited": True}, {**row, "captured": True}, raised,
        ]},
        "speed": {"rounds": 2, "left_out": ["jax: jax is not installed"], "cases": {
            "mlp": {"tinygrad_m": one, "torch": {**one, "seconds": 1e-3}, "tinygrad_m, captured": one,
                    "torch, CUDA graph": {**one, "seconds": 1.6e-3}, "torch.compile": {**one, "seconds": 1.8e-3}},
            "large": {"tinygrad_m": {**one, "product": 5e13, "operations": 4.5e13, "of product": 0.9},
                      "tinygrad_m, TF32": {**one, "tf32": "on", "product": 4e14, "operations": 3.2e14,
                                           "of product": 0.8}},
            "sgd": {"tinygrad_m": {**one, "copy": 2e12, "bytes": 1e12, "of copy": 0.5}},
            "lenet": {"tinygrad_m, cuDNN": {**one, "refused": ["conv_dgrad of (1,) and (2,): no | engine"]},
                      "tinygrad_m, captured, cuDNN": {**one, "refused": []}},
        }},
        "mnist": {"epochs": 2, "seeds": 2, "ways": {
            mnist.USUAL: mnist.summary([{"seconds": s, "accuracy": 99.0, "before": 1e-5} for s in (0.6, 0.7)]),
            mnist.CAPTURED: mnist.summary([{"seconds": s, "accuracy": s + 98.7, "before": 2.0} for s in (0.4, 0.5)]),
        }},
        "memory": {"peak": 120_000_000, "reserved": 150_000_000, "missed": 512, "few": 100, "many": 1000,
                   "used after few": 7, "used after many": 7, "torch": {"peak": 100_000_000, "reserved": 110_000_000},
                   "cudnn": {"peak": 90_000_000, "reserved": 95_000_000, "refused": ["conv_wgrad of all"]}},
    }  # fmt: skip
    for part in parts.values():
        part.update(took=1.0, failures=[])
    text, _ = report.write({"machine": machine.facts(), "quick": True, "parts": parts}, tmp_path)
    for line in (
        "Run with `--quick`: fewer cases, rounds, seeds and steps.",
        "Nothing.",
        "| no training step waits for the device | none | 1 of 2 runs | no |",
        "| no replay of a captured step waits for the device | none | 0 of 1 runs | yes |",
        "| a training step of the MLP 784-128-10, batch 128, captured | at most 60 us | 2 ms | no |",
        "| a training step of the MLP 784-128-10, batch 128, captured | at most 1.2 x PyTorch's time with CUDA graphs "
        "| 1.25 x that of torch, CUDA graph | no |",
        "| a training step of the small CNN, batch 256, captured | at most 1.3 x PyTorch's time with CUDA graphs "
        "| unknown | not measured |",
        "| a training step of the MLP 784-128-10, batch 128 | at most eager PyTorch's time | 2.00 of it | no |",
        "| a training step of the small CNN, batch 256 | at most eager PyTorch's time | unknown | not measured |",
        "| a training step of the MLP 8192-8192-10, batch 8192 | at least 85% of CuPy's rate of matrix products, "
        "both in TF32 | 80% | no |",
        "| a step of SGD with momentum on 100 M parameters | at least 80% of the device's copy rate | 50% | no |",
        "| MNIST to 99 % | less than 0.5 s | 450 ms, 99.15 %, captured steps | yes |",
        "| peak memory in a step of the small CNN | at most 1.2 x PyTorch's | 1.20 x | yes |",
        "| memory in use after 1,000 steps | what it is after 100 | +0 bytes | yes |",
        "| compute capability | 9.0 |",
        "- left out: test_x needs hypothesis",
        "| MLP | adam | float32 | no | 2.0e-06 | 1.0e-06 | 8.0e-06 | yes | loss, step 3 | 3.0e-06 | no |",
        "| MLP | adam | float64 | no | 2.0e-06 | 1.0e-06 | 8.0e-06 | **no** | loss, step 3 | 3.0e-06 | yes |",
        "| MLP | adam | float32 | yes | 2.0e-06 | 1.0e-06 | 8.0e-06 | yes | loss, step 3 | 3.0e-06 | no |",
        "| MLP | adam | float32 | yes | raised | 1.0e-06 | 8.0e-06 | **no** | CaptureError: a \\| b |  | unknown |",
        "| tinygrad_m | 2 ms (1 ms to 3 ms) | 2.00 |  | off |",
        "CuPy's own product of two 8192 x 8192 float32 matrices, in float32: 50.0 TFLOP/s.",
        "CuPy's own product of two 8192 x 8192 float32 matrices, in TF32: 400.0 TFLOP/s.",
        "| tinygrad_m | 2 ms (1 ms to 3 ms) |  | 45.0 TFLOP/s, 90% | off |",
        "| tinygrad_m, TF32 | 2 ms (1 ms to 3 ms) |  | 320.0 TFLOP/s, 80% | on |",
        "| usual steps | 650 ms (600 ms to 700 ms) | 99.00 % (99.00 to 99.00 %) |  |",
        "| captured steps | 450 ms (400 ms to 500 ms) | 99.15 % (99.10 to 99.20 %) | 2 s |",
        "| tinygrad_m | 2 ms (1 ms to 3 ms) |  | 1000 GB/s, 50% | off |",
        "- left out: jax: jax is not installed",
        "| tinygrad_m, cuDNN (in part, see below) | 2 ms (1 ms to 3 ms) |  |  | off |",
        "tinygrad_m, cuDNN: cuDNN refused these convolutions, which were done in the own way:",
        "- conv_dgrad of (1,) and (2,): no | engine",
        "| tinygrad_m, captured, cuDNN | 2 ms (1 ms to 3 ms) |  |  | off |",
        "| tinygrad_m | 120.0 MB | 150.0 MB |",
        "| tinygrad_m, cuDNN | 90.0 MB | 95.0 MB |",
        "- conv_wgrad of all",
        "The pool's own count of bytes in use after the step differs by +512 from the one here.",
    ):
        assert line in text.splitlines(), f"{line}\nis not in\n{text}"
