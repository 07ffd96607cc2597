"""The benchmarks compare like with like: every contender computes the same losses and weights as PyTorch. How fast
anything is is nobody's assertion; that a wrong name is refused and that the table can be written is."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as command
from benchmarks import cases, contenders, measure, where_time_goes

STEPS = 3
_known: dict[str, Any] = {}  # PyTorch's results, computed once


def trained(contender: str, name: str) -> tuple[list[float], list[np.ndarray]]:
    """Losses and last weights of three steps. The data set is one batch, so that every order of it is as good."""
    case = cases.CASES[name]
    trainer = contenders.load(contender).Training(case, cases.NETWORKS[case.network].batch)
    losses = []
    for _ in range(STEPS):
        trainer.step()
        losses.append(trainer.loss())
    return losses, trainer.weights()


@pytest.mark.parametrize("contender", ["tinygrad_m", "numpy"])
@pytest.mark.parametrize("optimizer", list(cases.OPTIMIZERS))
@pytest.mark.parametrize("network", ["mlp-64", "lenet"])
def test_same_mathematics_as_pytorch(network: str, optimizer: str, contender: str) -> None:
    pytest.importorskip("torch")
    name = f"{network} {optimizer}"
    if name not in _known:
        _known[name] = trained("torch", name)
    (losses, weights), (right_losses, right) = trained(contender, name), _known[name]
    np.testing.assert_allclose(losses, right_losses, atol=1e-4)
    for got, expected, first in zip(weights, right, cases.first_weights(cases.NETWORKS[network]), strict=True):
        moved = abs(expected - first).max()
        assert got.shape == first.shape and moved > 1e-5
        np.testing.assert_allclose(got, expected, atol=min(1e-4, 0.01 * moved), rtol=0)


def test_every_case_has_contenders_and_every_target_a_case() -> None:
    kinds = {case.kind for case in cases.CASES.values()}
    assert kinds == {kind for one in contenders.CONTENDERS.values() for kind in one.kinds.split()}
    assert {target.case for target in cases.TARGETS} <= set(cases.CASES)
    assert {target.against for target in cases.TARGETS} <= {*contenders.CONTENDERS, ""}
    assert cases.select(cases.QUICK) and set(contenders.QUICK) <= set(contenders.CONTENDERS)
    assert not {case.name for case in cases.select([])} & set(cases.LONG)
    for network in cases.NETWORKS.values():
        assert cases.SAMPLES % network.batch == 0


def test_names_of_cases() -> None:
    assert [case.name for case in cases.select(["mlp-64"])] == ["mlp-64 momentum", "mlp-64 rmsprop-momentum"]
    assert [case.name for case in cases.select(["tiny forward", "tiny"])] == ["tiny forward", "tiny backward"]
    assert len(cases.select(["memory"])) == len(cases.NETWORKS)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--case", "mlp-65"], "did you mean 'mlp-64'?); the names are: tiny, mlp-64"),
        (["--contender", "pytorch"], "did you mean 'torch'?); the names are: tinygrad_m, numpy, torch"),
        (["--rounds", "0"], "not a whole number of at least 1"),
        (["--threads", "two"], "not a whole number of at least 1"),
    ],
)
def test_wrong_names_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_table_from_fake_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: Any) -> None:
    speed = {"tinygrad_m": 50e-6, "torch": 100e-6, "numpy": 40e-6}

    def fake(case: cases.Case, contender: str, threads: int, seconds: float, round_: int) -> dict[str, Any]:
        if contender == "jax":
            return {"absent": "jax is not installed"}
        if contender == "autograd":
            return {"skip": "no convolution"}
        found = {"value": speed.get(contender, 1.0) / threads * (1 + round_)}
        return {**found, "accuracy": 99.1} if case.kind == "mnist-99" else found

    monkeypatch.setattr(measure, "run_child", fake)
    names = ["mlp-64 momentum", "lenet momentum", "mnist-99", "memory lenet"]
    assert command.main(["--case", *names, "--rounds", "3", "--threads", "1", "2", "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr()
    written = (tmp_path / "new" / "benchmarks.md").read_text(encoding="utf-8")
    assert printed.out == written
    assert "| mlp-64 momentum | 1 | <= 0.60 x torch | 0.50 | yes |" in written
    assert "| mlp-64 momentum | 2 | <= 1.10 x numpy | 1.25 | no |" in written
    assert "| mlp-64 momentum | 1 | <= 1.00 x jax | no jax | not measured |" in written
    assert "| lenet momentum | 2 | <= 0.90 x torch | 0.50 | yes |" in written
    assert "| mnist-99 | 2 | accuracy >= 99 % | 99.10 % | yes |" in written
    assert "| tinygrad_m | 100 us (50 us to 150 us) | 0.50 | 50 us (25 us to 75 us) | 0.50 |" in written
    assert "- autograd: no convolution (mlp-64 momentum, lenet momentum, memory lenet)" in written
    assert "- jax: jax is not installed (everything)" in written
    assert printed.err.count("jax left out") == printed.err.count("autograd left out") == 1  # one line, however often

    data = json.loads((tmp_path / "new" / "benchmarks.json").read_text(encoding="utf-8"))
    assert {"machine", "settings", "results", "targets", "left_out"} == set(data)
    row = next(r for r in data["results"] if r["case"] == "mnist-99" and r["contender"] == "tinygrad_m")
    assert row["threads"] == 2 and row["accuracy"] == [99.1] * 3 and row["middle"] == pytest.approx(50e-6)
    assert data["machine"]["versions"]["numpy"] == np.__version__


def test_a_measurement_in_a_process_of_its_own() -> None:
    case = cases.CASES["mlp-64 momentum"]
    found = measure.run_child(case, "numpy", 1, 0.01, 0)
    assert 0 < found["value"] < 60
    results = measure.run(cases.select(["tiny forward"]), ["numpy"], [1], 1, 0.01, io.StringIO())
    assert not results.values and not results.left_out  # it is none who does cases of this kind


def test_where_the_time_of_a_step_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where_time_goes, "SECONDS", 0.01)
    _, watched, parts, calls = where_time_goes.parts_of(cases.CASES["mlp-64 momentum"])
    for phase in ("forward: ", "backward: "):  # two layers, whatever the operation is called
        assert any(name.startswith(phase) and "linear" in name and n == 2 for name, n in calls.items())
    assert {"batch", "optimizer", "forward: the engine and checks"} < set(parts) and watched > 0


def test_floor_of_a_step() -> None:
    products = where_time_goes.products(cases.NETWORKS["mlp-64"])
    assert products == [(64, 784, 128), (128, 64, 784), (64, 128, 10), (10, 64, 128), (64, 10, 128)]
    out = [shape for _, _, shape in where_time_goes.shapes(cases.NETWORKS["small"])]
    assert out[0] == (24, 256, 24, 24) and out[6] == (256, 800) and out[-1] == (256, 10)
