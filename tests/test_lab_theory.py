"""The lab's theory: closed forms against eigenvalues, linear algebra, brute force and PyTorch; and its study."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_m.lab import parabola, quadratic, theory
from tinygrad_m.lab.study import Options, Study, write_json
from tinygrad_m.optim import SGD

close = np.testing.assert_allclose
FORMS = pytest.mark.parametrize("nesterov", [False, True], ids=["momentum", "nesterov"])
stable = {"lr_h": st.floats(1e-3, 1.3), "mu": st.floats(0, 0.98), "nesterov": st.booleans()}


def step_matrix(a: float, mu: float, nesterov: bool) -> np.ndarray:
    """The optimizer's own lines on (u, w) = (lr v, w), applied to the two unit vectors."""
    columns = []
    for u, w in np.eye(2):
        g = a * w  # lr times the gradient
        u = mu * u + g
        w = w - (g + mu * u if nesterov else u)
        columns.append([u, w])
    return np.array(columns).T


def random_settings(n: int, low: float = -0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.uniform(low, 4.3, n), rng.uniform(0, 1, n)


# -- closed forms ---------------------------------------------------------------------------------


@FORMS
def test_matrix_roots_and_rate_are_those_of_the_step(nesterov: bool) -> None:
    a, mu = random_settings(500)
    matrices = np.array([step_matrix(*pair, nesterov) for pair in zip(a, mu)])
    close(theory.iteration_matrix(a, mu, nesterov), matrices, atol=1e-14)
    values = np.linalg.eigvals(matrices)
    close(theory.spectral_radius(a, mu, nesterov), np.abs(values).max(axis=1), atol=1e-7)
    roots = theory.roots(a, mu, nesterov)
    close(roots.sum(axis=1), np.trace(matrices, axis1=1, axis2=2), atol=1e-12)
    close(roots.prod(axis=1), np.linalg.det(matrices), atol=1e-12)
    assert (np.abs(roots[:, 0]) >= np.abs(roots[:, 1]) - 1e-12).all()
    assert (roots[:, 0].imag >= 0).all()
    close(theory.frequency(a, mu, nesterov), np.abs(np.angle(roots[:, 0])), atol=1e-7)


@FORMS
def test_trajectory_is_pytorchs(nesterov: bool) -> None:
    torch = pytest.importorskip("torch")
    lr, mu = 0.3, 0.8
    h = np.array([0.01, 0.5, 1.0, 3.0, 20.0])  # creeps, ripples, and diverges at the end
    w = torch.ones(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr, momentum=mu, nesterov=nesterov)
    expected = [np.ones(5)]
    for _ in range(30):
        optimizer.zero_grad()
        (torch.tensor(h) / 2 * w * w).sum().backward()
        optimizer.step()
        expected.append(w.detach().numpy().copy())
    close(theory.trajectory(lr * h, mu, 30, nesterov), expected, rtol=1e-9)
    close(parabola.run(h, lr, mu, 30, nesterov), expected, rtol=1e-9)
    u = np.linalg.matrix_power(theory.iteration_matrix(lr * 0.5, mu, nesterov), 30) @ [0, 1]
    close(u[1], expected[30][1], rtol=1e-9)


@FORMS
def test_edge_of_stability(nesterov: bool) -> None:
    for mu in (0.0, 0.3, 0.9, 0.99):
        limit = theory.stability_limit(mu, nesterov)
        for factor, inside in ((1 - 1e-5, True), (1 + 1e-5, False)):
            radius = np.abs(np.linalg.eigvals(step_matrix(limit * factor, mu, nesterov))).max()
            assert (radius < 1) == inside
    close(theory.stability_limit([0, 0.9], False), [2, 3.8])
    close(theory.stability_limit([0, 0.9], True), [2, 3.8 / 2.8])


@FORMS
def test_critical_momentum_has_equal_roots_and_the_best_rate(nesterov: bool) -> None:
    for a in (1e-3, 0.01, 0.3, 0.99):
        mu = theory.critical_momentum(a, nesterov)
        first, second = np.linalg.eigvals(step_matrix(a, mu, nesterov))
        assert abs(first - second) < 1e-6
        around = theory.spectral_radius(a, np.clip(mu + np.linspace(-0.2, 0.2, 401), 0, 1), nesterov)
        assert theory.spectral_radius(a, mu, nesterov) <= around.min() + 1e-7
        assert theory.regime(a, mu, nesterov) == "critically damped"
        assert theory.regime(a, min(mu + 0.01, 0.999), nesterov) == "under-damped"
        if mu > 0.01:
            assert theory.regime(a, mu - 0.01, nesterov) == "over-damped"
    close(theory.critical_momentum(0.01), 0.81)


def test_regimes() -> None:
    assert theory.regime(1.9, 0.0) == "oscillating"  # w changes its sign at every step, and shrinks
    assert theory.regime(2.1, 0.0) == "diverging"
    assert theory.regime(-0.1, 0.9) == "diverging"
    assert theory.regime(0.0, 0.9) == "diverging"  # nothing moves: at least it does not converge
    assert theory.regime(1.2, 0.9, True) == "oscillating"  # beyond lr_h = 1 Nesterov's roots are real
    assert theory.regime(1.2, 0.9) == "under-damped"
    found = theory.regime([0.01, 0.01, 3.0], [[0.5, 0.9, 0.3]])
    assert found.tolist() == [["over-damped", "under-damped", "diverging"]]


@settings(max_examples=150, deadline=None)
@given(**stable)
def test_overshoot_is_the_largest_swing_of_a_run(lr_h: float, mu: float, nesterov: bool) -> None:
    u, w, low = 0.0, 1.0, 0.0
    matrix = step_matrix(lr_h, mu, nesterov)
    for _ in range(3000):
        u, w = matrix @ (u, w)
        low = min(low, w)
    expected = math.inf if np.abs(np.linalg.eigvals(matrix)).max() >= 1 else -low
    if math.isfinite(expected):
        close(theory.overshoot(lr_h, mu, nesterov), expected, atol=1e-9)


def test_overshoot_at_its_ends() -> None:
    assert theory.overshoot(0.01, [0.0, 0.5, 0.81]).tolist() == [0, 0, 0]
    assert theory.overshoot(0.0, 0.9) == 0
    assert theory.overshoot(4.0, 0.9) == math.inf
    assert theory.overshoot(1.0, 0.0) == 0  # one step to the minimum
    close(theory.overshoot(1.0, 0.7, True), 0.7)  # w is 1, -mu, 0, 0 ...
    close(theory.overshoot(1.5, 0.0), 0.5)
    assert 0.99 < theory.overshoot(1e-6, 0.9999999999) < 1  # must also end where nothing is damped


@pytest.mark.parametrize("method", theory.METHODS)
@pytest.mark.parametrize("kappa", [2.0, 10.0, 400.0])
def test_optimal_settings_have_their_rate_and_none_around_is_better(method: str, kappa: float) -> None:
    m, most = 0.5, 0.5 * kappa
    lr, mu, rate = theory.optimal((m, most), method)
    nesterov = method.startswith("nesterov")
    h = np.geomspace(m, most, 200)

    def slowest(lr: float, mu: float) -> float:
        return float(max(np.abs(np.linalg.eigvals(step_matrix(lr * x, mu, nesterov))).max() for x in h))

    close(slowest(lr, mu), rate, atol=1e-6)
    for factor, more in ((0.98, 0), (1.02, 0), (1, -0.02), (1, 0.02), (0.98, 0.02), (1.02, -0.02)):
        if method != "nesterov" and mu + more >= 0 and (method != "gd" or more == 0):  # "nesterov" has lr = 1 / L given
            assert slowest(lr * factor, mu + more) > rate - 1e-9
    close(theory.optimal(kappa, method)[1:], (mu, rate))
    close(theory.optimal(kappa, method).lr, lr * m)


@FORMS
def test_steady_variance_solves_the_covariance_equation(nesterov: bool) -> None:
    lr, h, sigma2 = 0.07, 1.7, 2.5
    for mu in (0.0, 0.4, 0.9, 0.99):
        matrix = step_matrix(lr * h, mu, nesterov)
        kick = lr * np.array([1.0, -(1 + mu) if nesterov else -1.0])  # what an error e does to (u, w)
        covariance = np.linalg.solve(np.eye(4) - np.kron(matrix, matrix), sigma2 * np.outer(kick, kick).ravel())
        close(theory.steady_variance(lr, h, mu, sigma2, nesterov), covariance[3], rtol=1e-9)
    mu = np.array([0.5, 0.9])
    formula = lr * sigma2 * (1 + mu) / (h * (1 - mu) * (2 * (1 + mu) - lr * h))
    close(theory.steady_variance(lr, h, mu, sigma2), formula)
    assert theory.steady_variance(5.0, 1.0, 0.5, 1.0, nesterov) == math.inf
    assert theory.steady_variance(0.1, 1.0, 0.5, 0.0, nesterov) == 0


@FORMS
def test_smoothing_follows_from_the_impulse_response(nesterov: bool) -> None:
    torch = pytest.importorskip("torch")
    for mu in (0.3, 0.9):
        w = torch.zeros(1, dtype=torch.float64)
        optimizer = torch.optim.SGD([w], lr=1.0, momentum=mu, nesterov=nesterov)
        places, sizes = [0.0], []
        for k in range(400):
            w.grad = torch.full((1,), float(k == 0), dtype=torch.float64)
            optimizer.step()
            places.append(w.item())
        c = -np.diff(places)
        close(theory.update_variance_ratio(mu, nesterov), (1 - mu) ** 2 * (c**2).sum(), rtol=1e-9)
        close(theory.update_autocorrelation(mu, nesterov), (c[1:] * c[:-1]).sum() / (c**2).sum(), rtol=1e-9)
        sizes = c.cumsum()  # a constant gradient is an impulse at every step
        close(theory.update_size(np.arange(1, 401), mu, nesterov), sizes, rtol=1e-9)
        close(theory.effective_lr(0.2, mu), 0.2 * sizes[-1], rtol=1e-9)


@FORMS
def test_saddle_growth(nesterov: bool) -> None:
    a, mu = random_settings(50, low=1e-6)
    expected = [np.abs(np.linalg.eigvals(step_matrix(-x, y, nesterov))).max() for x, y in zip(a, mu)]
    close(theory.saddle_growth(a, mu, nesterov), expected, rtol=1e-9)
    close(np.log(theory.saddle_growth(1e-9, 0.99)) / 1e-9, 100, rtol=1e-3)


def test_arrays_broadcast_and_numbers_give_numbers() -> None:
    a, mu = np.linspace(0.1, 1, 3), np.linspace(0, 0.9, 4)[:, None]
    for function in (theory.spectral_radius, theory.frequency, theory.overshoot, theory.saddle_growth, theory.regime):
        table = function(a, mu)
        assert table.shape == (4, 3)
        assert table[2, 1] == function(a[1], mu[2, 0])
    assert theory.iteration_matrix(a, mu).shape == (4, 3, 2, 2)
    assert theory.roots(a, mu).shape == (4, 3, 2)
    assert theory.trajectory(a, mu, 5).shape == (6, 4, 3)
    assert theory.trajectory(a, mu, 0).shape == (1, 4, 3)
    for number in (theory.spectral_radius(1, 0), theory.overshoot(1, 0), theory.effective_lr(1, 0),
                   theory.steady_variance(0.1, 1, 0), theory.update_variance_ratio(0)):  # fmt: skip
        assert isinstance(number, float)
    assert isinstance(theory.regime(1.0, 0.5), str)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: theory.spectral_radius(0.1, 1.5), ValueError, "momentum must be in [0, 1], got 1.5"),
        (lambda: theory.spectral_radius(0.1, -0.1), ValueError, "got -0.1"),
        (lambda: theory.frequency(math.nan, 0.5), ValueError, "lr_h must be finite, got nan"),
        (lambda: theory.frequency("fast", 0.5), TypeError, "lr_h must be a number"),
        (lambda: theory.effective_lr(0.1, 1.0), ValueError, "momentum must be in [0, 1), got 1.0"),
        (lambda: theory.effective_lr(math.inf, 0.5), ValueError, "lr must be finite"),
        (lambda: theory.update_autocorrelation(1.0), ValueError, "[0, 1)"),
        (lambda: theory.critical_momentum(1.5), ValueError, "lr_h must be in [0, 1]"),
        (lambda: theory.saddle_growth(-0.1, 0.5), ValueError, "lr_h >= 0, got -0.1"),
        (lambda: theory.steady_variance(0.0, 1.0, 0.5), ValueError, "lr > 0"),
        (lambda: theory.optimal(0.5), ValueError, "kappa >= 1), got 0.5"),
        (lambda: theory.optimal((3.0, 1.0)), ValueError, "0 < m <= L"),
        (lambda: theory.optimal((1.0, 2.0, 3.0)), ValueError, "kappa or (m, L)"),
        (lambda: theory.optimal(10.0, "adam"), ValueError, "gd, momentum, nesterov, nesterov-quadratic, got 'adam'"),
        (lambda: theory.trajectory(0.1, 0.5, -1), ValueError, "steps must be an integer >= 0, got -1"),
        (lambda: theory.trajectory(0.1, 0.5, 2.5), ValueError, "got 2.5"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


# -- what is measured -----------------------------------------------------------------------------


def test_measured_rate_of_known_sequences() -> None:
    k = np.arange(1500.0)[:, None]
    rates = np.array([0.3, 0.9, 0.99, 1.0, 1.02])
    close(parabola.measured_rate(rates**k), rates, rtol=1e-9)
    close(parabola.measured_rate(rates**k * np.cos(0.3 * k + 1)), rates, rtol=2e-3)
    close(parabola.measured_rate((1 + k) * rates**k), rates, rtol=6e-3)
    with np.errstate(over="ignore"):
        close(parabola.measured_rate(3.0**k), [3.0], rtol=1e-9)  # it leaves float64 on the way
    still = np.zeros((20, 1))
    still[0] = 1
    assert parabola.measured_rate(still) == 0
    broken = np.full((20, 1), np.nan)
    assert np.isnan(parabola.measured_rate(broken))


def test_sign_changes_and_steps_to() -> None:
    path = np.array([[1.0, 1, 1], [-1, 0.5, -1], [-2, 0.2, 1], [1, 0.1, -1]])
    changes, counted = parabola.sign_changes(path)
    assert changes.tolist() == [2, 0, 3] and counted.tolist() == [3, 3, 3]
    assert parabola.steps_to(np.array([4.0, 2, 1, 0.5]), 0.25) == 2
    assert math.isnan(parabola.steps_to(np.array([4.0, 2]), 0.25))


def test_a_single_nan_fails_its_claim() -> None:
    assert quadratic.near("all", [1.0, 2.0], [1.0, 2.0], 0.1, "").passed
    assert not quadratic.near("all", [1.0, math.nan], [1.0, 2.0], 0.1, "").passed
    assert not quadratic.near("all", [1.0, 2.5], [1.0, 2.0], 0.1, "").passed


class WrongOrder(SGD):
    """The Nesterov of two teaching codebases: the formula for the old velocity, with the new one."""

    def update(self, xp: Any, w: Any, g: Any, state: Any, lr: float, momentum: float, nesterov: bool, **_: Any) -> None:
        v = state["v"] = momentum * state.get("v", 0.0) + g
        w -= lr * (momentum**2 * v + (1 + momentum) * g) if nesterov else lr * v


class Forgetful(SGD):
    """A velocity that keeps 1 % less than it should."""

    def update(self, xp: Any, w: Any, g: Any, state: Any, lr: float, momentum: float, **rest: Any) -> None:
        super().update(xp, w, g, state, lr, 0.99 * momentum, **rest)


@pytest.mark.parametrize(
    ("wrong", "part", "words"),
    [(WrongOrder, quadratic.edges, "Nesterov: converges"), (Forgetful, quadratic.damping, "0.99 overshoots")],
)
def test_a_wrong_optimizer_fails_the_claims(monkeypatch: pytest.MonkeyPatch, wrong: Any, part: Any, words: str) -> None:
    monkeypatch.setattr(parabola, "SGD", wrong)
    assert any(words in claim.claim and not claim.passed for claim in part(Options(quick=True))[0])


def test_another_seed_gives_other_noise_within_the_same_bands() -> None:
    claims, data = quadratic.noise(Options(quick=True, seed=7))
    assert all(claim.passed for claim in claims)
    assert (
        data["rows"][0]["variance"] != quadratic._noisy(np.random.default_rng(8), 100, 1.0, {"lr": 0.1}, 50)[-1].var()
    )


# -- the study ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    return quadratic.study(Options(quick=True))


def test_every_claim_passes(study: Study) -> None:
    assert [str(claim) for claim in study.claims if not claim.passed] == []
    sentences = " ".join(claim.claim for claim in study.claims)
    for words in (
        "2 + 2 mu", "(2 + 2 mu) / (1 + 2 mu)", "theta / pi", "0.99 overshoots", "0.81 does not overshoot",
        "momentum speeds up", "nesterov speeds up", "nesterov-quadratic", "Grid search", "noise floor",
        "smooths the direction", "RMSprop: under a constant gradient", "-0.119", "-0.2", "saddle", "27 times",
    ):  # fmt: skip
        assert words in sentences, words
    assert len({claim.claim for claim in study.claims}) == len(study.claims) > 40
    assert all(claim.source for claim in study.claims)


def test_data_is_json(study: Study, tmp_path: Path) -> None:
    write_json(tmp_path / "theory.json", study.data)
    assert json.loads((tmp_path / "theory.json").read_text())["schedule"]["momentum"] == 0.9


def test_figures_are_drawn(study: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    assert {figure.name for figure in study.figures} == {f"theory-{name}" for name in quadratic.FIGURES}
    for figure in study.figures:
        png, svg = figure.save(tmp_path)
        picture = imread(png)
        assert picture.shape[1] == 800 and picture[..., :3].std() > 0.02  # something is on it
        assert svg.stat().st_size > 1000
        assert "Notice" in figure.caption


def test_claims_need_no_matplotlib() -> None:
    code = "import sys; import tinygrad_m.lab.quadratic; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
