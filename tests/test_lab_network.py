"""Curvature and the experiments on networks. Hessian products are held against differences of gradients, PyTorch and
matrices whose eigenvalues NumPy knows; measures against numbers chosen here; and what the study claims must hold."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.lab import experiments, network, theory
from tinygrad_m.lab.curvature import (
    Gauge,
    Hessian,
    density,
    flatten,
    gauge,
    hvp,
    lanczos,
    power_iteration,
    spectrum,
    unflatten,
)
from tinygrad_m.lab.study import Options, Study, plain
from tinygrad_m.nn import functional as F

close = np.testing.assert_allclose


# -- products ---------------------------------------------------------------------------------------


def tanh_mse(rng: np.random.Generator) -> tuple[nn.Module, Callable[[nn.Module], tg.Tensor]]:
    x, y = tg.Tensor(rng.standard_normal((7, 4))), tg.Tensor(rng.standard_normal((7, 2)))
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), lambda net: F.mse_loss(net(x), y)


def softmax_entropy(rng: np.random.Generator) -> tuple[nn.Module, Callable[[nn.Module], tg.Tensor]]:
    x, y = tg.Tensor(rng.standard_normal((9, 4))), rng.integers(0, 3, 9)
    return nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 3)), lambda net: F.cross_entropy(net(x), y)


def relu_entropy(rng: np.random.Generator) -> tuple[nn.Module, Callable[[nn.Module], tg.Tensor]]:
    x, y = tg.Tensor(rng.standard_normal((9, 4))), rng.integers(0, 3, 9)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), lambda net: F.cross_entropy(net(x), y)


def convolution(rng: np.random.Generator) -> tuple[nn.Module, Callable[[nn.Module], tg.Tensor]]:
    x, y = tg.Tensor(rng.standard_normal((3, 1, 6, 6))), rng.integers(0, 2, 3)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2))
    return net, lambda net: F.cross_entropy(net(x), y)


def build(make: Any) -> tuple[Callable[[], tg.Tensor], list[tg.Tensor]]:
    net, loss = make(np.random.default_rng(3))
    net.to("float64")
    return lambda: loss(net), list(net.parameters())


def by_differences(loss: Callable[[], tg.Tensor], params: list[tg.Tensor], step: float = 1e-5) -> np.ndarray:
    """The Hessian, a column for each parameter, from the gradients on both sides of it."""

    def gradient(w: np.ndarray) -> np.ndarray:
        experiments.place(params, w)
        for p in params:
            p.grad = None
        loss().backward()
        return np.concatenate([p.grad.numpy().ravel() for p in params])  # type: ignore[union-attr]

    w = flatten(params)
    columns = [(gradient(w + e) - gradient(w - e)) / (2 * step) for e in step * np.eye(w.size)]
    experiments.place(params, w)
    return np.array(columns).T


@pytest.mark.parametrize("make", [tanh_mse, softmax_entropy, relu_entropy, convolution])
def test_products_are_the_hessian(make: Any) -> None:
    loss, params = build(make)
    explicit = by_differences(loss, params)
    assert np.abs(explicit).max() > 1e-2
    hessian = Hessian(loss, params)
    columns = np.array([hessian(e) for e in np.eye(hessian.size)]).T
    close(columns, explicit, atol=1e-8, rtol=1e-6)

    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, hessian.size))
    close(u @ hessian(v), v @ hessian(u), rtol=1e-12)  # symmetric
    close(hessian(2 * u - v), 2 * hessian(u) - hessian(v), atol=1e-12)  # linear
    close(hvp(loss, params, v), hessian(v), rtol=0, atol=0)

    values = np.linalg.eigvalsh((columns + columns.T) / 2)
    top = power_iteration(hessian, u, 1e-9, 20_000)
    close(top.value, values[np.argmax(np.abs(values))], rtol=1e-9)
    ritz = lanczos(hessian, u, hessian.size)
    close([ritz.values[0], ritz.values[-1]], [values[0], values[-1]], rtol=1e-7)


def test_products_equal_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x, y, w, v = (rng.standard_normal(shape) for shape in ((8, 5), (8, 3), (5, 3), (5, 3)))
    ours = tg.Tensor(w, requires_grad=True)
    mine = hvp(lambda: F.mse_loss((tg.Tensor(x) @ ours).tanh(), y), [ours], v.ravel())

    def loss(w: Any) -> Any:
        return torch.nn.functional.mse_loss((torch.from_numpy(x) @ w).tanh(), torch.from_numpy(y))

    theirs = torch.autograd.functional.hvp(loss, torch.from_numpy(w), torch.from_numpy(v))[1]
    close(mine, theirs.numpy().ravel(), rtol=1e-10)


def test_a_parabola_has_its_own_matrix() -> None:
    rng = np.random.default_rng(2)
    m = rng.standard_normal((6, 6))
    matrix = m + m.T
    a, b = (tg.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((2, 2), (2,)))

    def loss() -> tg.Tensor:
        w = tg.concat([a.reshape(-1), b])
        return 0.5 * (w @ (tg.Tensor(matrix) @ w))

    hessian, w = Hessian(loss, [a, b]), flatten([a, b])
    v = rng.standard_normal(6)
    close(hessian(v), matrix @ v)
    close(hessian.gradient, matrix @ w)
    close(hessian.loss, 0.5 * w @ matrix @ w)
    assert a.grad is None and b.grad is None


def test_what_is_not_curved_is_zero() -> None:
    a, b, unused = (tg.Tensor([1.0, 2.0], dtype="float64", requires_grad=True) for _ in range(3))
    close(hvp(lambda: (3 * a).sum(), [a], np.ones(2)), 0)  # linear: its gradient depends on nothing
    close(hvp(lambda: (a * a).sum() + b.sum(), [b, a, unused], np.arange(6.0)), [0, 0, 4, 6, 0, 0])
    hessian = Hessian(lambda: (a * b).sum(), [a, b])  # all curvature is between the two
    close(hessian([1, 2, 3, 4]), [3, 4, 1, 2])


def test_float32_parameters_give_float64_vectors() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    product = hvp(lambda: (w**3).sum(), [w], np.array([1.0, 1.0]))
    assert product.dtype == np.float64 and w.dtype == np.float32
    close(product, [6, 12], rtol=1e-6)


def test_a_changed_parameter_is_noticed() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    hessian = Hessian(lambda: (w**3).sum(), [w])
    experiments.place([w], np.zeros(2))
    with pytest.raises(tg.GraphError):
        hessian(np.ones(2))


def test_products_work_under_no_grad() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    with tg.no_grad():
        close(hvp(lambda: (w**3).sum(), [w], np.ones(2)), [6, 12], rtol=1e-6)


def test_wrong_products_say_so() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="no parameters"):
        Hessian(lambda: w.sum(), [])
    with pytest.raises(ValueError, match="scalar"):
        Hessian(lambda: w * w, [w])
    with pytest.raises(ValueError, match="scalar"):
        Hessian(lambda: 3.0, [w])  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"\(2,\) fits, not \(3,\)"):
        hvp(lambda: (w * w).sum(), [w], np.ones(3))


def test_flatten_and_back() -> None:
    tensors = [tg.Tensor(np.arange(6.0).reshape(2, 3)), tg.Tensor([7.0], dtype="float32"), tg.Tensor(8.0)]
    vector = flatten(tensors)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    for t, back in zip(tensors, unflatten(vector, tensors)):
        assert back.shape == t.shape and back.dtype == t.dtype
        assert back.tolist() == t.tolist()


# -- eigenvalues ------------------------------------------------------------------------------------


def rotated(values: Any, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return (q * np.asarray(values, float)) @ q.T  # type: ignore[no-any-return]


@pytest.mark.parametrize("values", [[5, 3, 1, -2], [-5, 3, 1, 0.5], [4, 4, 1, 0]])
def test_power_iteration(values: list[float]) -> None:
    matrix = rotated(values)
    top = power_iteration(lambda v: matrix @ v, np.array([1.0, 2, 3, 4]), 1e-9)
    close(top.value, values[0], rtol=1e-9)
    close(matrix @ top.vector, top.value * top.vector, atol=1e-7)
    close(np.linalg.norm(top.vector), 1)
    close(top.residual, np.linalg.norm(matrix @ top.vector - top.value * top.vector) / abs(top.value), atol=1e-14)
    assert top.residual <= 1e-9
    again = power_iteration(lambda v: matrix @ v, top.vector, 1e-8)
    assert again.steps == 1  # a start that is right needs one look
    rough = power_iteration(lambda v: matrix @ v, np.array([1.0, 2, 3, 4]), 0.0, 3)
    assert rough.steps == 3 and rough.residual > 1e-9  # what is not reached is told
    spectrum_ = np.linalg.eigvalsh(matrix)
    assert np.abs(spectrum_ - rough.value).min() <= rough.residual * abs(rough.value)


def test_power_iteration_of_nothing() -> None:
    assert power_iteration(lambda v: 0 * v, np.ones(3)).value == 0


@pytest.mark.parametrize("search", [power_iteration, lambda product, start: lanczos(product, start, 3)])
def test_wrong_searches_say_so(search: Any) -> None:
    for start in (np.zeros(3), np.array([1, np.nan, 0])):
        with pytest.raises(ValueError, match="start"):
            search(lambda v: v, start)
    with pytest.raises(ValueError, match="not finite"):
        search(lambda v: v * math.inf, np.ones(3))
    with pytest.raises(ValueError, match="steps"):
        lanczos(lambda v: v, np.ones(3), 0)
    with pytest.raises(ValueError, match="max_steps"):
        power_iteration(lambda v: v, np.ones(3), max_steps=0)


def test_lanczos_finds_all_eigenvalues_once() -> None:
    """With far outliers, the case in which Lanczos without reorthogonalisation finds them several times."""
    values = np.concatenate([np.linspace(-1, 1, 57), [50, 300, 1000]])
    matrix = rotated(values)
    ritz = lanczos(lambda v: matrix @ v, np.random.default_rng(1).standard_normal(60), 60)
    close(ritz.values, np.sort(values), atol=1e-9)
    close(ritz.weights.sum(), 1)


def test_lanczos_is_a_gaussian_quadrature() -> None:
    rng = np.random.default_rng(5)
    values = rng.uniform(-1, 1, 40)
    matrix, start = rotated(values), rng.standard_normal(40)
    ritz = lanczos(lambda v: matrix @ v, start, 6)
    v = start / np.linalg.norm(start)
    for p in range(12):
        close(ritz.weights @ ritz.values**p, v @ np.linalg.matrix_power(matrix, p) @ v, atol=1e-13)
    wrong = abs(ritz.weights @ ritz.values**12 - v @ np.linalg.matrix_power(matrix, 12) @ v)
    assert wrong > 1e-9  # and no further than 2 k - 1
    for value, error in zip(ritz.values, ritz.errors):
        assert np.abs(values - value).min() <= error * (1 + 1e-9)
    assert ritz.errors.max() > 1e-3


def test_lanczos_stops_where_nothing_is_left() -> None:
    matrix = np.diag([1.0, 2, 3, 4, 5])
    ritz = lanczos(lambda v: matrix @ v, np.array([0, 1.0, 0, 2.0, 0]), 5)
    close(ritz.values, [2, 4])
    close(ritz.weights, [0.2, 0.8])
    assert ritz.errors.max() < 1e-14


def test_density_is_where_the_eigenvalues_are() -> None:
    rng = np.random.default_rng(0)
    matrix = rotated([0.0] * 90 + [1.0] * 10)
    probes = spectrum(lambda v: matrix @ v, 100, rng, probes=30, steps=5)
    at = np.linspace(-1, 2, 3001)
    shares = density(probes, at, 0.02)
    step = at[1] - at[0]
    close(shares.sum() * step, 1, rtol=1e-6)
    close(shares[at > 0.5].sum() * step, 0.1, atol=0.02)  # 30 probes of 100 numbers: the share's sd is 0.008
    assert shares[np.abs(at - 0.5) < 0.2].max() < 1e-9
    close(np.mean([r.weights @ r.values for r in probes]), 0.1, atol=0.03)
    with pytest.raises(ValueError, match="width"):
        density(probes, at, 0.0)
    with pytest.raises(ValueError, match="probe"):
        density([], at, 0.1)
    with pytest.raises(ValueError, match="probes"):
        spectrum(lambda v: v, 3, rng, probes=0)


# -- the gauge --------------------------------------------------------------------------------------


def worst_rate(low: float, high: float, lr: float, mu: float) -> float:
    """By the eigenvalues of the steps themselves."""
    steps = [[[1 + mu - lr * h, -mu], [1, 0]] for h in np.geomspace(low, high, 200)]
    return float(np.abs(np.linalg.eigvals(np.array(steps))).max())


@pytest.mark.parametrize(("low", "high", "lr"), [(1, 10, None), (0.01, 3, None), (0.01, 3, 0.3), (0.5, 3, 1.2)])
def test_the_gauge_is_the_smallest_momentum_with_one_rate(low: float, high: float, lr: float | None) -> None:
    found = gauge(low, high, lr)
    assert found.usable
    close(worst_rate(low, high, found.lr, found.momentum), found.rate, rtol=1e-6)
    close(found.rate, math.sqrt(found.momentum))
    assert lr is None or found.lr == lr
    assert worst_rate(low, high, found.lr, found.momentum - 0.02) > found.rate + 1e-3
    assert worst_rate(low, high, found.lr, found.momentum + 0.02) > found.rate + 1e-3
    assert worst_rate(low, high, found.limit * 0.999, found.momentum) < 1
    assert worst_rate(low, high, found.limit * 1.001, found.momentum) > 1
    if lr is None:  # YellowFin's formulas, and no other lr is better
        root = math.sqrt(high / low)
        close(found.momentum, ((root - 1) / (root + 1)) ** 2)
        close(found.lr, (1 - math.sqrt(found.momentum)) ** 2 / low)
        for other in (0.9, 1.02):
            assert worst_rate(low, high, found.lr * other, found.momentum) > found.rate
    for word in ("diverges", "full batches", f"{found.momentum:.4g}"):
        assert word in found.words


def test_the_gauge_says_when_not_to_believe_it() -> None:
    down, flat, steep, long = gauge(-0.1, 2), gauge(0.0, 2), gauge(1, 2, 3.0), gauge(1e-6, 1)
    for useless in (down, flat):
        assert not useless.usable and useless.momentum == 1 and "No suggestion" in useless.words
        close(useless.limit, 2)  # 2 (1 + 1) / 2
    assert "curves down" in down.words and "flat" in flat.words
    assert not steep.usable and steep.momentum >= 1 and "No suggestion" in steep.words  # 3 * 2 > 4
    assert long.usable and "runs of many" in long.words
    assert isinstance(down, Gauge) and json.dumps(vars(gauge(np.float64(1), np.float64(2))))
    for low, high in ((1, 0), (3, 2), (math.nan, 1), (1, math.inf)):
        with pytest.raises(ValueError, match="h_min"):
            gauge(low, high)
    for lr in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="lr"):
            gauge(1, 2, lr)


# -- the experiments' tools -------------------------------------------------------------------------


def test_digits_and_networks_come_from_the_seed() -> None:
    one, two = (experiments.digits(50, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert one[0].shape == (50, 784) and one[0].dtype == np.float64
    close(one[0].mean(axis=0), 0, atol=1e-12)
    assert 0.5 < np.ptp(one[0]) <= 2 and set(one[1]) <= set(range(10))
    nets = [experiments.mlp((16, 8), np.random.default_rng(4), "float64").state_dict() for _ in range(2)]
    assert [a.shape for a in nets[0].values()] == [(16, 784), (16,), (8, 16), (8,), (10, 8), (10,)]
    for (name, a), b, fan in zip(nets[0].items(), nets[1].values(), (784, 784, 16, 16, 8, 8)):
        assert np.array_equal(a, b) and a.dtype == np.float64
        assert 0.5 / math.sqrt(fan) < np.abs(a).max() <= 1 / math.sqrt(fan), name


def test_descent_is_sgd() -> None:
    """w^2 / 2 from 1 with lr 0.5, momentum 0.5: v = 1, 1, so w = 0.5, 0.0 by hand."""
    w = tg.Tensor([1.0], dtype="float64", requires_grad=True)
    losses, places = [], []
    for loss in islice(experiments.descent(lambda: 0.5 * (w * w).sum(), [w], lr=0.5, momentum=0.5), 2):
        losses.append(loss)
        places.append(w.item())
    assert losses == [0.5, 0.125] and places == [0.5, 0.0]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.5, False), (0.9, False), (0.9, True)])
def test_one_hears_momentum_and_curvature(momentum: float, nesterov: bool) -> None:
    lr, h = 0.03, 12.0
    w = tg.Tensor([1.0], dtype="float64", requires_grad=True)
    settings = {"lr": lr, "momentum": momentum, "nesterov": nesterov}
    run = [1.0] + [
        w.item() for _ in islice(experiments.descent(lambda: (0.5 * h) * (w * w).sum(), [w], **settings), 30)
    ]
    heard = experiments.listen(np.array(run), lr, nesterov)
    close([heard["momentum"], heard["curvature"]], [momentum, h], rtol=1e-8)


def test_compare_counts_what_can_be_heard() -> None:
    predicted = np.array([1.0, -0.5, 0.25, 0.125, 0.001, -0.001])
    same = experiments.compare(predicted, predicted)
    close(same["correlation"], 1)
    assert same["error"] == 0 and same["overshoot"] == [0.5, 0.5]
    assert same["crossings"] == [0.5, 0.5]  # 2 of the 4 steps above 1 %; the last one is below
    other = experiments.compare(np.abs(predicted), predicted)
    assert other["error"] == 1.0 and other["overshoot"] == [0.0, 0.5] and other["crossings"] == [0.0, 0.5]


def test_measured_rates() -> None:
    exact = experiments._measured([0.8**k for k in range(150)])
    close(exact["measured"], 0.8)
    assert exact["steps"] == math.ceil(math.log(1e-6) / math.log(0.8)) and not exact["diverged"]
    gone = experiments._measured([1.0, 1e3, math.inf])
    assert gone["diverged"] and gone["measured"] is None and gone["steps"] is None
    assert experiments._measured([1.0, math.nan])["diverged"]
    slow = experiments._measured([0.999**k for k in range(100)])
    assert not slow["diverged"] and slow["steps"] is None and slow["measured"] is None


def test_edge_measures_the_curvature_and_the_limit() -> None:
    small = {"widths": (4,), "images": 20, "steps": 3, "every": 1, "lr": 0.1, "momentum": 0.5, "warm_up": 2}
    run = experiments.edge(seed=7, **small)
    assert run["step"] == [0, 1, 2, 3]
    close(run["threshold"], [2 * 1.5 / lr for lr in (0.05, 0.075, 0.1, 0.1)])
    rng = np.random.default_rng([7, 3])
    x, labels = experiments.digits(20, rng)
    net = experiments.mlp((4,), rng, "float64")
    wanted = np.eye(10)[labels]
    pixels = tg.Tensor(x / 0.3081)

    def loss() -> tg.Tensor:  # half the squared distance, averaged over the images
        return 0.5 * ((net(pixels) - tg.Tensor(wanted)) ** 2).sum(axis=1).mean()

    hessian = Hessian(loss, list(net.parameters()))
    close(run["loss"][0], hessian.loss, rtol=1e-5)
    close(run["sharpness"][0], lanczos(hessian, rng.standard_normal(hessian.size), 60).values[-1], rtol=1e-2)
    assert not run["diverged"] and math.isfinite(run["late"])
    lost = experiments.edge(seed=7, **{**small, "lr": 1e4, "steps": 40, "every": 20})
    assert lost["diverged"] and math.isnan(lost["late"]) and len(lost["step"]) < 3  # shown as lost, and no claim holds
    claims = network.edge_claims({"edge": [run, lost]})
    assert [claim.passed for claim in claims][1:] == [False, False]
    nesterov = experiments.edge(seed=7, **{**small, "nesterov": True, "warm_up": 0})
    close(nesterov["threshold"], theory.stability_limit(0.5, True) / 0.1)


# -- the study --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick() -> Study:
    return network.study(Options(quick=True, quiet=True))


def test_every_claim_holds(quick: Study) -> None:
    assert [str(claim) for claim in quick.claims if not claim.passed] == []
    said = " ".join(claim.claim for claim in quick.claims)
    for words in ("theory picks momentum", "More is not better", "The gauge is right", "plucked network rings",
                  "hears the momentum", "hears the curvature", "formula fails", "limit of stability",
                  "no run stays above", "curves down"):  # fmt: skip
        assert words in said, words
    assert len(quick.claims) >= 20 and all(claim.source for claim in quick.claims)
    json.dumps(plain(quick.data), allow_nan=False)


def test_the_bridge_is_measured(quick: Study) -> None:
    """What the claims stand on: the optimum is one, and the lowest curvature is the weight decay."""
    found = quick.data["bridge"]
    assert found["gradient"] < 1e-12 and found["residual"] <= 1e-6
    close(found["h_min"], found["weight_decay"], rtol=1e-9)
    kappa = found["h_max"] / found["h_min"]
    named = {run["name"]: run for run in found["runs"]}
    close(named["gauge"]["predicted"], (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1), rtol=1e-4)
    close(named["gd"]["predicted"], (kappa - 1) / (kappa + 1))
    assert [run["momentum"] for run in found["sweep"]] == [0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99]


def test_claims_can_fail(quick: Study) -> None:
    data = copy.deepcopy(quick.data)
    slow = next(run for run in data["bridge"]["sweep"] if run["momentum"] == 0.9)
    slow["measured"] = slow["measured"] ** 1.02
    failed = [claim.claim for claim in network.bridge_claims(data["bridge"]) if not claim.passed]
    assert len(failed) == 1 and "0.7 to 0.99" in failed[0]
    slow["measured"] = None  # never arrived: no number, and no pass
    assert sum(not claim.passed for claim in network.bridge_claims(data["bridge"])) == 1
    for run in data["bridge"]["sweep"]:
        run["steps"] = None if run["momentum"] == 0.7 else run["steps"]
    assert not network.bridge_claims(data["bridge"])[0].passed  # another momentum was the fastest
    pluck = data["ring"]["plucks"][0]
    pluck["overshoot"][0] += 0.02
    pluck["heard"]["momentum"] += 0.01
    assert sum(not claim.passed for claim in network.ring_claims(data["ring"], data["ring-early"])) == 2
    data["edge"][0]["off"] = 0.05
    data["edge"][1]["late"] = 1.1
    assert sum(not claim.passed for claim in network.edge_claims(data)) == 2


def test_the_full_form_has_all_settings(quick: Study) -> None:
    plan = network.jobs(Options(seed=5))
    assert all(settings["seed"] == 5 for _, settings in plan)
    assert [name for name, _ in plan].count("edge") == 3
    assert {"bridge", "edge-touch", "edge-short", "spectra", "ring", "ring-early"} <= {name for name, _ in plan}
    ring = dict(plan)["ring"]
    assert len(ring["plucks"]) == 8 and any(nesterov for *_, nesterov in ring["plucks"])
    for job in plan:  # other processes must be able to take them
        assert pickle.loads(pickle.dumps((network._run, job))) == (network._run, job)
    data = {**quick.data, "edge-touch": full_edge(1.05, 0.9), "edge-short": full_edge(0.8, 0.8)}
    said = [claim for claim in network.edge_claims(data) if "touches" in claim.claim or "is gone" in claim.claim]
    assert len(said) == 2 and all(claim.passed for claim in said)
    data["edge-short"]["late"] = 1.0
    assert any("is gone" in claim.claim and not claim.passed for claim in network.edge_claims(data))


def full_edge(top: float, late: float) -> dict[str, Any]:
    """What edge() would give for a run that reaches `top` of its limit and then stays at `late` of it."""
    log = {"step": [0, 1, 2, 3], "threshold": [20.0, 10, 10, 10], "loss": [1, 0.1, 0.01, 1e-3]}
    sharpness = [1.0, 10 * top, 10 * late, 10 * late]
    return {**log, "sharpness": sharpness, "widths": [64], "images": 500, "lr": 0.2, "momentum": 0.9,
            "nesterov": False, "warm_up": 1, "late": late, "off": abs(1 - late),
            "diverged": False}  # fmt: skip


# -- figures ----------------------------------------------------------------------------------------


def test_figures_are_drawn(quick: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert [figure.name for figure in quick.figures] == [
        "network-bridge", "network-ring-down", "network-edge", "network-spectrum",
    ]  # fmt: skip
    for figure in quick.figures:
        png, svg = figure.save(tmp_path)
        assert png.read_bytes()[:4] == b"\x89PNG" and svg.stat().st_size > 10_000
        assert int.from_bytes(png.read_bytes()[16:20]) == 800  # pixels wide
        assert "Note" in figure.caption


def test_figures_of_the_full_form_and_of_lost_runs(quick: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    data = copy.deepcopy(quick.data)
    data["ring"]["plucks"] = (data["ring"]["plucks"] * 3)[:8]
    data["edge-touch"], data["edge-short"] = full_edge(1.05, 0.9), full_edge(0.8, 0.8)
    data["edge"].append({**full_edge(1.0, 1.0), "diverged": True})
    lost = data["bridge"]["sweep"][2]
    lost.update(distances=[1.0, 1e4, math.inf], diverged=True, steps=None, measured=None, window=None)
    bridge, ring, edge, _ = (figure.draw() for figure in network.figures(data))
    assert len(ring.axes) == 9 and len(edge.axes) == 6
    for axes in (bridge.axes[0], edge.axes[2]):  # each lost run is a cross
        assert len([line for line in axes.lines if line.get_marker() == "x"]) == 1
    measured = next(line for line in bridge.axes[1].lines if line.get_label() == "measured, the same lr")
    assert len(measured.get_xdata()) == 6  # the lost one has no rate


def test_the_example_runs() -> None:
    example = Path(__file__).resolve().parent.parent / "examples" / "curvature.py"
    done = subprocess.run([sys.executable, example, "--steps", "5"], capture_output=True, text=True, check=True)
    for word in ("loss", "power iteration", "Lanczos", "lowest", "No suggestion"):
        assert word in done.stdout, word


def test_optimizers_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimizer that forgets its momentum is found out by the ringing."""

    class Forgetful(optim.SGD):
        def update(self, xp: Any, w: Any, g: Any, state: Any, **settings: Any) -> None:
            state.pop("momentum_buffer", None)
            super().update(xp, w, g, state, **settings)

    monkeypatch.setattr(experiments.optim, "SGD", Forgetful)
    found = experiments.ring_down(30, 0, ((0.57, 0.9, False),), training=30, hidden=4)
    assert abs(found["plucks"][0]["heard"]["momentum"] - 0.9) > 0.1
    assert found["plucks"][0]["error"] > 0.1
