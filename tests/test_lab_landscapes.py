"""The landscapes, the races over them, and their figures, against hand-written formulas, NumPy loops and PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m.lab import races
from tinygrad_m.lab.landscapes import (
    BARRIER,
    DIVERGED,
    GLOBAL,
    HOLD,
    LANDSCAPES,
    LOCAL,
    METHODS,
    MOVING,
    RATES,
    WELLS,
    Landscape,
    basins,
    ends,
    race,
    run,
    times,
    tune,
    tune_momentum,
)  # fmt: skip
from tinygrad_m.lab.study import Animation, Figure, Options, Study, plain

RAVINE, BANANA, WELL = LANDSCAPES["ravine"], LANDSCAPES["banana"], LANDSCAPES["double-well"]
close = np.testing.assert_allclose


def ball(
    slope: Callable[[Any], Any], start: Any, lr: float, mu: float, steps: int, nesterov: bool = False
) -> np.ndarray:
    """Heavy ball or Nesterov in NumPy: the formula, once more."""
    w, v, places = np.array(start, float), 0.0, [np.array(start, float)]
    for _ in range(steps):
        g = slope(w)
        v = mu * v + g
        w = w - lr * (g + mu * v if nesterov else v)
        places.append(w)
    return np.array(places)


def banana_slope(w: np.ndarray) -> np.ndarray:
    x, y = w
    return np.array([-2 * (1 - x) - 80 * x * (3 * y - x * x), 120 * (3 * y - x * x)])


# -- the landscapes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("land", LANDSCAPES.values(), ids=list(LANDSCAPES))
def test_slopes_are_those_of_finite_differences(land: Landscape) -> None:
    rng = np.random.default_rng(1)
    places = np.stack([rng.uniform(low, high, 40) for low, high in land.box])
    slopes = land.slopes(places)
    assert slopes.shape == places.shape
    for k in range(len(places)):
        step = np.zeros_like(places)
        step[k] = 1e-5
        close(slopes[k], (land.values(places + step) - land.values(places - step)) / 2e-5, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("land", LANDSCAPES.values(), ids=list(LANDSCAPES))
def test_minima_are_minima_and_the_first_is_the_lowest(land: Landscape) -> None:
    rng = np.random.default_rng(2)
    for minimum in land.minima:
        close(land.slopes(np.array(minimum)[:, None]), 0, atol=1e-12)
        around = np.array(minimum)[:, None] + 1e-3 * rng.normal(size=(len(minimum), 50))
        assert (land.values(around) > land.values(minimum)).all()
    places = np.stack([rng.uniform(low, high, 5000) for low, high in land.box])
    assert land.values(places).min() >= land.lowest() - 1e-12
    assert all(low <= x <= high for x, (low, high) in zip(land.start, land.box, strict=True))


def test_values_known_by_hand() -> None:
    assert LANDSCAPES["beale"].values((3.0, 0.5)) == 0
    assert LANDSCAPES["beale"].values((0.0, 0.0)) == 1.5**2 + 2.25**2 + 2.625**2
    assert BANANA.values((0.0, 1.0)) == 1 + 20 * 9
    close(LANDSCAPES["rastrigin"].values((1.0, -2.0)), 5, rtol=1e-12)
    close(LANDSCAPES["monkey"].lowest(), -27 / 256, rtol=1e-12)
    assert LANDSCAPES["plateau"].values((0.0, 0.0)) == 0
    assert LANDSCAPES["saddle"].values((0.0, 0.0)) == 1 / 80
    close([4 * x**3 - 4 * x + 0.3 for x in (*WELLS, BARRIER)], 0, atol=1e-14)
    assert WELLS[0] < BARRIER < WELLS[1] and WELL.values([WELLS[0]]) < WELL.values([WELLS[1]])


def test_lessards_function_has_its_three_slopes_and_no_jump() -> None:
    land = LANDSCAPES["lessard"]
    x = np.array([-3.0, -0.5, 0.999, 1.0, 1.5, 1.999, 2.0, 3.7])
    exact = [-75, -12.5, 24.975, 25, 25.5, 25.999, 26, 68.5]
    close(land.slopes([x])[0], exact, rtol=1e-14)
    for kink in (1.0, 2.0):
        below, at = land.values([[kink - 1e-12, kink]])
        close(below, at, atol=1e-10)
    assert land.values([1.0]) == 12.5 and land.values([2.0]) == 38


def test_rastrigins_box_has_121_minima() -> None:
    """f is a sum of a function of x and the same of y: so 11 minima along x are 121."""
    x = np.linspace(-5.12, 5.12, 20_001)
    slope = LANDSCAPES["rastrigin"].slopes([x, 0 * x])[0]
    assert ((slope[:-1] < 0) & (slope[1:] >= 0)).sum() == 11


def test_saddle_bends_as_its_theory_assumes() -> None:
    """races.saddle_growth takes the curvature -0.05."""
    x = tg.Tensor(0.0, dtype="float64", requires_grad=True)
    y = tg.Tensor(0.0, dtype="float64", requires_grad=True)
    slope = tg.grad(LANDSCAPES["saddle"].function(x, y), y, create_graph=True)
    close(tg.grad(slope, y).item(), -0.05, rtol=1e-14)


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_runs_are_pytorchs(method: str) -> None:
    torch = pytest.importorskip("torch")
    rates = np.array([0.001, 0.002, 0.05])
    make, settings = METHODS[method]
    ours = run(BANANA, method, rates, 60)
    assert ours.shape == (61, 2, 3)
    for k, lr in enumerate(rates):
        w = torch.tensor(BANANA.start, dtype=torch.float64, requires_grad=True)
        optimizer = getattr(torch.optim, make.__name__)([w], lr=float(lr), **settings)
        for step in range(61):
            there = w.detach().numpy()
            if not np.abs(there).max() < 1e100:
                assert not np.abs(ours[step, :, k]).max() < 1e90  # it diverges there, and here
                break
            close(ours[step, :, k], there, rtol=1e-6, atol=1e-9)
            optimizer.zero_grad()
            ((1 - w[0]) ** 2 + 20 * (3 * w[1] - w[0] ** 2) ** 2).backward()
            optimizer.step()


@pytest.mark.parametrize("method", METHODS)
def test_runs_beside_each_other_do_not_meet(method: str) -> None:
    rates = np.array([0.001, 5.0, 0.02])  # the one in the middle diverges with the SGD family
    together = run(BANANA, method, rates, 40)
    for k, lr in enumerate(rates):
        np.testing.assert_array_equal(together[..., k], run(BANANA, method, lr, 40))
    assert np.isfinite(together[-1, :, 0]).all()
    if METHODS[method][0].__name__ == "SGD":
        assert not np.isfinite(together[-1, :, 1]).any()


def test_rates_and_starts_broadcast() -> None:
    rates, x = np.array([[0.1], [0.2]]), np.array([1.0, 2.0, 3.0])
    places = run(RAVINE, "gd", rates, 5, start=(x, 0.0))
    assert places.shape == (6, 2, 2, 3)
    close(places[5, 0], x * (1 - 0.2 * rates) ** 5, rtol=1e-12)
    assert (places[:, 1] == 0).all()


def test_momentum_can_be_set_and_0_is_gd() -> None:
    close(run(BANANA, "nesterov", 0.001, 50, 0.8), ball(banana_slope, BANANA.start, 0.001, 0.8, 50, nesterov=True))
    for method in ("momentum", "nesterov"):
        np.testing.assert_array_equal(run(BANANA, method, 0.001, 20, 0), run(BANANA, "gd", 0.001, 20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sgd", 0.1, 5), "no method 'sgd'.*rmsprop"),
        (("gd", 0.0, 5), "lr must be positive"),
        (("gd", [0.1, np.nan], 5), "lr must be positive"),
        (("gd", 0.1, 0), "steps must be a whole number"),
        (("gd", 0.1, 2.5), "steps must be a whole number.*2.5"),
        (("gd", 0.1, True), "steps must be a whole number"),
        (("gd", 0.1, 5, 0.9), "gd has none; use momentum"),
        (("momentum", 0.1, 5, 1.0), r"momentum must be in \[0, 1\)"),
        (("gd", 0.1, 5, None, (1.0,)), "ravine has 2 coordinates, start has 1"),
    ],
)
def test_wrong_arguments(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(RAVINE, *arguments)


# -- arriving, and the rule -------------------------------------------------------------------------------------------


def held(places: np.ndarray, minimum: Any) -> tuple[float, float]:
    """The first step near the minimum, and the first of HOLD in a row."""
    near = np.hypot(*(places - minimum).T) <= 0.01
    runs = [k for k in range(len(near) - HOLD + 1) if near[k : k + HOLD].all()]
    return float(near.argmax()), float(runs[0]) if runs else np.inf


@pytest.mark.parametrize("mu", [0, 0.5, 0.9, 0.95, 0.99])
def test_steps_to_the_goal_on_the_banana(mu: float) -> None:
    expected = ball(banana_slope, BANANA.start, 0.002, mu, 2000)
    first, stays = held(expected, BANANA.minima[0])
    arrived, places = times(BANANA, "momentum", np.array([0.002]), 2000, mu)
    assert arrived[0] == stays and len(places) == stays + HOLD
    if mu in (0.95, 0.99):
        assert first < stays  # it came by, too fast to stay: that does not count


def test_who_is_too_late_has_not_arrived() -> None:
    arrived, _ = times(RAVINE, "gd", 0.1, 10_000)
    steps = math.ceil(math.log(0.01 / 5) / math.log(1 - 0.02))  # x = -5 (1 - 0.2 lr)^k; y is long at 0
    assert arrived == steps
    assert times(RAVINE, "gd", 0.1, steps - 1)[0] == np.inf and times(RAVINE, "gd", 0.1, steps)[0] == steps


def test_a_fence_keeps_out_who_left_the_box() -> None:
    """RMSprop's first step is 10 lr long: with lr 5 it flies out of the ravine's picture, and comes back."""
    arrived, places = times(RAVINE, "rmsprop", 5.0, 300)
    assert np.isfinite(arrived) and RAVINE.outside(places[1]) and not RAVINE.outside(places[-1])
    assert times(RAVINE, "rmsprop", 5.0, 300, fence=True)[0] == np.inf


def test_outside_and_arrived_take_nan_for_far() -> None:
    places = np.array([[0.0, 6.1, np.nan, -np.inf, 0.009], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert RAVINE.outside(places).tolist() == [False, True, True, True, False]
    assert RAVINE.arrived(places).tolist() == [True, False, False, False, True]


def test_tune_takes_the_rate_with_the_fewest_steps() -> None:
    """gd in the ravine is known in closed form, so the best of the grid is, too."""
    k, stable = np.arange(2000)[:, None], RATES[RATES < 0.5]  # lr times the curvature, 4, must be below 2
    far = np.hypot(5 * np.abs(1 - 0.2 * stable) ** k, 2 * np.abs(1 - 4 * stable) ** k)
    stays = np.where((far <= 0.01).any(axis=0), (far <= 0.01).argmax(axis=0), 10**9)
    tuned = tune(RAVINE, "gd", 2000)
    assert tuned.lr == RATES[stays.argmin()] and tuned.steps == stays.min()
    assert len(tuned.path) == tuned.steps + HOLD and tuned.momentum is None
    close(tuned.path, run(RAVINE, "gd", tuned.lr, len(tuned.path) - 1))


def test_tune_when_nobody_arrives() -> None:
    tuned = tune(BANANA, "gd", 20, rates=[1e-4, 1e-3, 4.0])
    assert tuned.steps == np.inf and tuned.lr == 1e-3  # the lowest in the end; 4.0 diverges
    assert np.isfinite(tuned.path).all()
    assert [one.method for one in race(RAVINE, 5)] == list(METHODS)
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        tune(RAVINE, "gd", 5, rates=[])


def test_tune_momentum_takes_the_best_pair() -> None:
    rates = RATES[::3]
    best = tune_momentum(RAVINE, "momentum", 500, (0.2, 0.5, 0.9), rates)
    alone = [tune(RAVINE, "momentum", 500, mu, rates).steps for mu in (0.2, 0.5, 0.9)]
    assert best.steps == min(alone) and best.momentum == (0.2, 0.5, 0.9)[int(np.argmin(alone))]


# -- the experiments --------------------------------------------------------------------------------------------------


def test_ends() -> None:
    places = np.array([WELLS[0] + 0.05, WELLS[1] - 0.05, BARRIER, 3.0, np.nan, np.inf, -1e9])
    assert ends(places).tolist() == [GLOBAL, LOCAL, MOVING, MOVING, DIVERGED, DIVERGED, DIVERGED]


@pytest.mark.parametrize("nesterov", [False, True])
def test_basins_are_those_of_a_loop_in_numpy(nesterov: bool) -> None:
    rates, momenta, starts = (0.01, 0.02), (0.0, 0.8, 0.95), np.array([-2.5, -0.4, 0.3, 1.7, 2.0, 2.9])
    found = basins("nesterov" if nesterov else "momentum", rates, momenta, starts)
    assert found.shape == (2, 3, 6)
    for i, lr in enumerate(rates):
        for j, mu in enumerate(momenta):
            x = ball(lambda x: 4 * x**3 - 4 * x + 0.3, starts, lr, mu, 3000, nesterov)[-1]
            expected = np.where(np.abs(x - WELLS[0]) < 1e-3, GLOBAL, LOCAL)
            assert (np.abs(x - np.array(WELLS)[expected]) < 1e-3).all()
            assert found[i, j].tolist() == expected.tolist()


def test_a_run_that_diverges_in_the_well_is_said_to() -> None:
    starts = np.array([3.0, 0.9])  # from 3, a first step of 0.1 * 96.3 leads to -6.6, and on and on
    assert basins("momentum", (0.1,), (0.0,), starts).tolist() == [[[DIVERGED, LOCAL]]]


def test_apart_and_overshoot() -> None:
    line = np.stack([np.linspace(0, 2, 9), np.zeros(9)], axis=1)
    finer = np.stack([np.linspace(0, 2, 31), np.zeros(31)], axis=1)
    close(races.apart(finer, line), 0, atol=1e-15)  # the same curve, other points
    close(races.apart(finer + [0, 0.3], line), 0.15)
    close(races.apart(finer + [0.5, 0], line), 0.25)  # its end is past the other's
    path = np.array([[-1.0, 0.0], [1.0, 0.0], [1.5, 0.0], [1.1, 0.0]])
    close(races.overshoot(path, 1.0), 0.25)
    close(races.overshoot(path[:1] * [1, 1], 1.0), -1)


def test_the_cycle_is_one_of_the_recurrence() -> None:
    """-2208, 2592, 792 over 1225: exact, by hand; and a step of heavy ball leads from each to the next."""
    p, q, r = cycle = races.lessard_cycle()
    close(cycle, np.array([-2208, 2592, 792]) / 1225, rtol=1e-14)
    for before, x, after in ((r, p, q), (p, q, r), (q, r, p)):
        slope = 25 * x if x < 1 else 25 * x - 24
        close(x - slope / 9 + 4 / 9 * (x - before), after, rtol=1e-13)
    tail = np.resize(cycle, 400)[:, None]
    close(races.off_cycle(tail + [[0, 1e-3]]), [0, 1e-3], atol=1e-15)
    assert races.off_cycle(np.full((400, 1), np.nan))[0] != 0
    close(races.off_cycle(np.zeros((400, 1))), np.abs(cycle).max())


def test_dents_counts_who_stays() -> None:
    """A tiny lr leaves every run in the dent where it started."""
    starts = np.array([[0.1, 1.1, -0.2, 0.1], [0.1, 0.0, 0.3, -3.0]])
    close(races.dents("gd", np.array([1e-3, 2e-3]), starts, 150), [0.5, 0.5])


def test_steps_until() -> None:
    assert races.steps_until(lambda w: w[0] > -4, "ravine", "gd", None, 0.5) == 3  # 5 * 0.9^k: 4.5, 4.05, 3.645
    assert races.steps_until(lambda w: w[0] > 100, "ravine", "gd", None, 0.5) == np.inf


def test_same_rate_gives_each_its_lr() -> None:
    paths = races.same_rate("ravine", 0.2, 3, (0.5,))
    assert list(paths) == ["gd", "momentum 0.5", "nesterov 0.5"]
    np.testing.assert_array_equal(paths["momentum 0.5"], run(RAVINE, "momentum", 0.1, 3, 0.5))


# -- the study --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    from tinygrad_m.lab import landscapes

    return landscapes.study(Options(quick=True, seed=3, quiet=True))


def test_every_claim_passes(study: Study) -> None:
    assert [str(claim) for claim in study.claims if not claim.passed] == []
    said = " ".join(claim.claim for claim in study.claims)
    for words in (
        "momentum 0.9 needs at least 10 times fewer steps than gd", "0.99 overshoots", "best momentum depends on lr",
        "more is not better", "circles for ever", "RMSprop does not see steepness", "takes others away",
        "Momentum helps RMSprop", "Momentum 0.9 does not find the deepest", "all take the same path",
        "leave the saddle", "cross the plain", "momentum 0.9 is slower than gd, both tuned", "gd diverges",
    ):  # fmt: skip
        assert words in said, words
    assert len({claim.claim for claim in study.claims}) == len(study.claims)
    assert all(races.ENGINE in claim.source for claim in study.claims)


def test_the_study_can_be_written(study: Study) -> None:
    data = json.loads(json.dumps(study.data, allow_nan=False))
    assert set(data) == set(races.PARTS)
    assert {row["method"] for row in data["races"]["tuned"]["banana"]} == set(METHODS)
    assert len(study.text) > 200 and study.name == "landscapes"
    names = [figure.name for figure in study.figures]
    assert len(set(names)) == len(names) and all(name.startswith("landscapes-") for name in names)
    for figure in study.figures:
        assert "Notice" in figure.caption and figure.caption.endswith("."), figure.name


def test_rastrigins_starts_come_from_the_seed() -> None:
    rates = np.array([0.2])
    shares = [races.dents("rmsprop", rates, np.random.default_rng(seed).uniform(-5, 5, (2, 50)), 120)[0]
              for seed in (0, 0, 1)]  # fmt: skip
    assert shares[0] == shares[1]


def test_every_figure_can_be_drawn(study: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from tinygrad_m.lab.figures import style

    for figure in study.figures:
        if isinstance(figure, Figure):
            with style.context():
                drawing = figure.draw()
                assert drawing.get_figwidth() == 8
                drawing.savefig(tmp_path / f"{figure.name}.png", dpi=50)
                style.close(drawing)
            assert (tmp_path / f"{figure.name}.png").stat().st_size > 3000


def test_films(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from tinygrad_m.lab.figures import landscapes as pictures

    tuned = race(RAVINE, 300, rates=RATES[::4])
    shown = {mu: run(WELL, "momentum", 0.01, 30, mu)[:, 0] for mu in (0.0, 0.9)}
    for film in (
        Animation("a", "", lambda: pictures.race_film(RAVINE, tuned, frames=7)),
        Animation("b", "", lambda: pictures.well_film(WELL, shown, frames=5)),
    ):
        (path,) = film.save(tmp_path)
        with image.open(path) as frames:
            assert frames.size[0] == 640 and frames.n_frames >= 3


def test_figures_show_runs_that_did_not_arrive() -> None:
    pytest.importorskip("matplotlib")
    from tinygrad_m.lab.figures import landscapes as pictures

    def crosses(drawing: Any) -> int:
        return sum(len(line.get_xdata()) for axes in drawing.axes for line in axes.lines if line.get_marker() == "x")

    tuned = [tune(BANANA, "gd", 20), tune(BANANA, "adam", 400)]
    assert [np.isinf(one.steps) for one in tuned] == [True, False]
    assert crosses(pictures.race(BANANA, tuned)) == 1
    assert crosses(pictures.summary({"banana": tuned}, {})) == 1
    found = np.array([[90.0, np.inf], [40.0, 70.0]])
    drawing = pictures.best_momentum([0, 0.5], [0.1, 0.2], found, 100)
    assert crosses(drawing) == 1
    lines = [line for line in drawing.axes[0].lines if str(line.get_label()).startswith("lr")]
    close(lines[0].get_xydata(), [[1, 90], [2, 40]])
    close(lines[1].get_xydata(), [[2, 70]])


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "examples"))
    import landscapes as example

    example.main(["ravine", "--steps", "200", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert all(method in printed for method in METHODS)
    assert (tmp_path / "ravine.png").exists() and (tmp_path / "ravine.svg").exists()
    with pytest.raises(ValueError, match="steps"):
        example.main(["ravine", "--steps", "0", "--out", str(tmp_path)])


def test_plain_data_keep_infinite_steps_as_none() -> None:
    assert plain({"steps": np.array([np.inf, 3.0])}) == {"steps": [None, 3.0]}
