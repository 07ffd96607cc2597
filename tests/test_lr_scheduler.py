"""Schedules: every one equals PyTorch's step by step, to 1e-12, alone, in sequence and chained; rates stay Python
floats and weights float32; saving and resuming; and every error."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m import optim
from tinygrad_m.optim import lr_scheduler

S: Any = lr_scheduler  # for calls that a type checker would refuse, too
# PyTorch's optimizers stand still here, about which it warns
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")

Build = Callable[[Any, Any], Any]  # (lr_scheduler module, optimizer) -> schedule


def weight(*shape: int) -> tg.Tensor:
    return tg.zeros(shape or (2,), requires_grad=True)


def pair(name: str = "SGD", **settings: Any) -> tuple[optim.Optimizer, Any]:
    """The same optimizer in both libraries, with two groups of different rates."""
    torch = pytest.importorskip("torch")
    mine = getattr(optim, name)([{"params": weight()}, {"params": weight(), "lr": 0.03}], lr=0.1, **settings)
    a, b = (torch.zeros(2, requires_grad=True) for _ in range(2))
    theirs = getattr(torch.optim, name)([{"params": [a]}, {"params": [b], "lr": 0.03}], lr=0.1, **settings)
    return mine, theirs


def same_settings(mine: Any, theirs: Any, where: str) -> None:
    for group, other in zip(mine.param_groups, theirs.param_groups, strict=True):
        assert type(group["lr"]) is float, where
        assert group["lr"] == pytest.approx(other["lr"], rel=1e-12, abs=1e-15), where
        for name in ("momentum", "betas"):
            if name in group:
                assert group[name] == pytest.approx(other[name], rel=1e-12), where


def compare(build: Build, steps: int, name: str = "SGD", between: Callable[[Any, int], None] | None = None) -> None:
    from torch.optim import lr_scheduler as theirs

    ours, torchs = pair(name)
    schedule, expected = build(lr_scheduler, ours), build(theirs, torchs)
    for k in range(steps):
        same_settings(ours, torchs, f"step {k}")
        got = schedule.get_last_lr()
        assert got == pytest.approx(expected.get_last_lr(), rel=1e-12, abs=1e-15)
        assert got == [group["lr"] for group in ours.param_groups]
        if between is not None:
            between(ours, k)
            between(torchs, k)
        schedule.step()
        expected.step()
    same_settings(ours, torchs, "at the end")


CURVES: dict[str, Build] = {
    "step": lambda s, o: s.StepLR(o, 3),
    "step gamma": lambda s, o: s.StepLR(o, step_size=1, gamma=0.7),
    "step up": lambda s, o: s.StepLR(o, 5, gamma=1.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [4, 9, 20]),
    "multistep unsorted, twice": lambda s, o: s.MultiStepLR(o, [9, 4, 9, 1], gamma=0.5),
    "multistep from the first": lambda s, o: s.MultiStepLR(o, [0, 2], gamma=0.5),
    "multistep none": lambda s, o: s.MultiStepLR(o, []),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "exponential up": lambda s, o: s.ExponentialLR(o, gamma=1.1),
    "linear": lambda s, o: s.LinearLR(o),
    "linear warm-up": lambda s, o: s.LinearLR(o, start_factor=0.001, total_iters=20),
    "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.1, 13),
    "linear to 0": lambda s, o: s.LinearLR(o, 1.0, 0.0, 7),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 40),
    "cosine, past its end": lambda s, o: s.CosineAnnealingLR(o, T_max=7),
    "cosine eta_min": lambda s, o: s.CosineAnnealingLR(o, 10, eta_min=0.001),
    "cosine upwards": lambda s, o: s.CosineAnnealingLR(o, 10, eta_min=0.05),
    "cosine T_max=1": lambda s, o: s.CosineAnnealingLR(o, 1),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 6),
    "restarts T_mult": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.01),
    "restarts T_0=1": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, T_mult=3),
    "lambda": lambda s, o: s.LambdaLR(o, lambda t: 0.95**t),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: np.cos(t) ** 2]),
    "one cycle": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=40),
    "one cycle, to the last step": lambda s, o: s.OneCycleLR(o, max_lr=1, epochs=5, steps_per_epoch=8),
    "one cycle, two groups": lambda s, o: s.OneCycleLR(
        o, [0.5, 1.0], 45, base_momentum=[0.8, 0.7], max_momentum=[0.9, 0.99]
    ),
    "one cycle linear": lambda s, o: s.OneCycleLR(o, 0.5, 47, anneal_strategy="linear", pct_start=0.4),
    "one cycle three phases": lambda s, o: s.OneCycleLR(o, 0.5, 50, three_phase=True, pct_start=0.35),
    "one cycle three phases, linear": lambda s, o: s.OneCycleLR(
        o, 0.5, 41, three_phase=True, anneal_strategy="linear", div_factor=10, final_div_factor=100.0
    ),
    "one cycle without momentum": lambda s, o: s.OneCycleLR(o, 0.5, 41, cycle_momentum=False),
    "one cycle pct_start=0": lambda s, o: s.OneCycleLR(o, 0.5, 41, pct_start=0.0),
    "one cycle pct_start=1": lambda s, o: s.OneCycleLR(o, 0.5, 41, pct_start=1.0),
    "warm-up, then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.01, total_iters=5), s.CosineAnnealingLR(o, 30)], [5]
    ),
    "three in sequence": lambda s, o: s.SequentialLR(
        o, [s.ExponentialLR(o, 0.9), s.StepLR(o, 4, 0.5), s.MultiStepLR(o, [3, 5])], milestones=[7, 19]
    ),
    "restarts in sequence": lambda s, o: s.SequentialLR(
        o, [s.LambdaLR(o, lambda t: (t + 1) / 4), s.CosineAnnealingWarmRestarts(o, 5, 2)], [4]
    ),
}


@pytest.mark.parametrize("curve", CURVES)
def test_equals_pytorch(curve: str) -> None:
    pytest.importorskip("torch")
    compare(CURVES[curve], 40)


@pytest.mark.parametrize("name", ["RMSprop", "Adam", "AdamW"])
@pytest.mark.parametrize("curve", [name for name in CURVES if "one cycle" in name])
def test_one_cycle_moves_each_optimizers_momentum(curve: str, name: str) -> None:
    pytest.importorskip("torch")
    compare(CURVES[curve], 40, name)


def test_one_cycles_corners() -> None:
    """From the definition: where the rate begins, is highest and ends, and the momentum the other way round."""
    opt = optim.SGD([weight()], lr=7.0, momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=101, pct_start=0.5)
    path = []
    for _ in range(101):
        path.append((opt.param_groups[0]["lr"], opt.param_groups[0]["momentum"]))
        schedule.step()
    assert path[0] == pytest.approx((0.04, 0.95))
    assert path[50] == pytest.approx((1.0, 0.85), rel=1e-2)
    assert path[100] == pytest.approx((4e-6, 0.95))
    assert max(lr for lr, _ in path) <= 1.0 and min(m for _, m in path) >= 0.85


def test_one_cycle_whose_rise_is_one_step_long() -> None:
    """pct_start * total_steps == 1 divides by zero in PyTorch; the rise is over at once."""
    opt = optim.SGD([weight()], lr=1.0, momentum=0.9)
    lr_scheduler.OneCycleLR(opt, max_lr=0.5, total_steps=10, pct_start=0.1)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.5)


def test_a_sequence_in_a_sequence_is_one_sequence() -> None:
    """PyTorch starts the inner one at its second step."""

    def rates(build: Callable[[Any], Any]) -> list[float]:
        opt = optim.SGD([weight()], lr=0.1)
        schedule, path = build(opt), []
        for _ in range(20):
            path += schedule.get_last_lr()
            schedule.step()
        return path

    def parts(o: Any) -> list[Any]:
        return [S.LinearLR(o, 0.1, total_iters=3), S.ExponentialLR(o, 0.8), S.StepLR(o, 2, 0.5)]

    def nested(o: Any) -> Any:
        warm_up, exponential, step = parts(o)
        return S.SequentialLR(o, [S.SequentialLR(o, [warm_up, exponential], [3]), step], [10])

    assert rates(nested) == rates(lambda o: S.SequentialLR(o, parts(o), [3, 10]))


def test_one_cycle_as_a_line_never_goes_below_0() -> None:
    """One step past its end, where no optimizer step uses the rate, PyTorch's line does; a checkpoint must load."""
    opt = optim.SGD([weight()], lr=0.1, momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(opt, 0.5, total_steps=10, anneal_strategy="linear")
    for _ in range(10):
        schedule.step()
    assert opt.param_groups[0]["lr"] == 0.0
    opt.load_state_dict(opt.state_dict())


CHAINS: dict[str, Build] = {
    "exponential, multistep": lambda s, o: [s.ExponentialLR(o, 0.9), s.MultiStepLR(o, [3, 8], 0.5)],
    "linear, step": lambda s, o: [s.LinearLR(o, 0.1, total_iters=6), s.StepLR(o, 4, 0.5)],
    "linear, exponential, cosine": lambda s, o: [
        s.LinearLR(o, 0.5, total_iters=3), s.ExponentialLR(o, 0.95), s.CosineAnnealingLR(o, 50)
    ],
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_chained_schedules_equal_pytorch(chain: str) -> None:
    pytest.importorskip("torch")
    from torch.optim import lr_scheduler as theirs

    ours, torchs = pair()
    schedules, expected = CHAINS[chain](lr_scheduler, ours), CHAINS[chain](theirs, torchs)
    for k in range(30):
        same_settings(ours, torchs, f"step {k}")
        for schedule in (*schedules, *expected):
            schedule.step()


@pytest.mark.parametrize("curve", ["step", "multistep", "exponential", "linear warm-up", "cosine", "cosine eta_min"])
def test_a_rate_changed_by_hand_is_kept_as_in_pytorch(curve: str) -> None:
    pytest.importorskip("torch")

    def between(opt: Any, k: int) -> None:
        if k == 2:
            opt.param_groups[0]["lr"] = 0.5
        if k == 6:
            opt.param_groups[1]["lr"] *= 3.0

    compare(CURVES[curve], 9, between=between)


@pytest.mark.parametrize("settings", [
    {}, {"patience": 0}, {"patience": 2, "factor": 0.5}, {"mode": "max", "patience": 1}, {"factor": 0.0, "patience": 1},
    {"threshold": 0.1, "patience": 1}, {"threshold": 0.1, "threshold_mode": "abs", "patience": 1}, {"threshold": 0.0},
    {"mode": "max", "threshold": 0.2, "threshold_mode": "abs", "patience": 1}, {"cooldown": 3, "patience": 0},
    {"mode": "max", "threshold": 0.2, "patience": 1}, {"min_lr": 0.01, "patience": 0},
    {"min_lr": [0.05, 0.001], "patience": 0, "factor": 0.3}, {"eps": 0.02, "patience": 0, "factor": 0.7},
], ids=str)  # fmt: skip
def test_reduce_on_plateau_equals_pytorch(settings: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    rng = np.random.default_rng(5)
    metrics = [*(1 / (1 + np.arange(15)) + 0.2 * rng.normal(size=15)), math.nan, *rng.normal(size=30)]
    ours, torchs = pair()
    mine, theirs = lr_scheduler.ReduceLROnPlateau(ours, **settings), ReduceLROnPlateau(torchs, **settings)
    for k, metric in enumerate(metrics):
        mine.step(tg.Tensor(metric, dtype="float64"))
        theirs.step(metric)
        same_settings(ours, torchs, f"step {k}")
        assert mine.get_last_lr() == [group["lr"] for group in ours.param_groups]
        assert (mine.num_bad_epochs, mine.cooldown_counter) == (theirs.num_bad_epochs, theirs.cooldown_counter)
    assert ours.param_groups[0]["lr"] < 0.1 or "eps" in settings


def test_plateau_after_a_warm_up_equals_pytorch() -> None:
    pytest.importorskip("torch")
    from torch.optim import lr_scheduler as theirs

    ours, torchs = pair()
    warm_up, other = lr_scheduler.LinearLR(ours, 0.1), theirs.LinearLR(torchs, 0.1)
    plateau, expected = lr_scheduler.ReduceLROnPlateau(ours, patience=1), theirs.ReduceLROnPlateau(torchs, patience=1)
    for k in range(15):
        warm_up.step()
        other.step()
        plateau.step(1.0)
        expected.step(1.0)
        same_settings(ours, torchs, f"step {k}")
    assert ours.param_groups[0]["lr"] < 1e-3


def test_warm_restarts_within_an_epoch_equal_pytorch() -> None:
    pytest.importorskip("torch")
    from torch.optim import lr_scheduler as theirs

    for T_mult in (1, 2):
        ours, torchs = pair()
        mine = lr_scheduler.CosineAnnealingWarmRestarts(ours, 3, T_mult)
        expected = theirs.CosineAnnealingWarmRestarts(torchs, 3, T_mult)
        for k in range(60):
            mine.step(k / 4)
            expected.step(k / 4)
            same_settings(ours, torchs, f"epoch {k / 4}")
        for k in range(5):  # and on from 14.75, without a time
            mine.step()
            expected.step()
            same_settings(ours, torchs, f"{k} later")
            assert mine.last_epoch == expected.last_epoch


# -- numbers -------------------------------------------------------------------------------------------


NUMPYS: dict[str, Build] = {
    **CURVES,
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, factor=np.float64(0.5), patience=0, min_lr=np.float64(1e-3)),
    "numpy gamma": lambda s, o: s.ExponentialLR(o, np.float64(0.9)),
    "numpy max_lr": lambda s, o: s.OneCycleLR(o, np.float64(0.5), np.int64(40), pct_start=np.float64(0.3)),
}


@pytest.mark.parametrize("curve", NUMPYS)
def test_float32_weights_stay_float32(curve: str) -> None:
    w = tg.Tensor(np.ones(3, dtype="float32"), requires_grad=True)
    opt = optim.SGD([{"params": [w]}, {"params": [weight()]}], lr=np.float64(0.1), momentum=np.float64(0.9))
    schedule = NUMPYS[curve](lr_scheduler, opt)
    for _ in range(6):
        w.grad = tg.ones(3)
        opt.step()
        schedule.step(*([1.0] if curve == "plateau" else []))
    assert w.dtype == "float32" and opt.state[0]["momentum_buffer"].dtype == "float32"
    assert all(type(lr) is float for lr in schedule.get_last_lr())
    assert all(type(group[k]) is float for group in opt.param_groups for k in ("lr", "momentum"))


def test_a_schedule_of_ones_own() -> None:
    class InverseRoot(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / np.sqrt(self.last_epoch + 1) for base in self.base_lrs]

    opt = optim.SGD([weight()], lr=1.0)
    schedule = InverseRoot(opt)
    rates = []
    for _ in range(4):
        rates.append(opt.param_groups[0]["lr"])
        schedule.step()
    assert rates == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5])
    assert type(rates[1]) is float


# -- saving and resuming -------------------------------------------------------------------------------


@pytest.mark.parametrize("curve", CURVES)
def test_a_restored_schedule_continues_exactly(curve: str) -> None:
    def new() -> tuple[optim.Optimizer, Any]:
        opt = optim.SGD([{"params": weight()}, {"params": weight(), "lr": 0.03}], lr=0.1, momentum=0.9)
        return opt, CURVES[curve](lr_scheduler, opt)

    def run(opt: optim.Optimizer, schedule: Any, steps: int) -> list[Any]:
        path = []
        for _ in range(steps):
            schedule.step()
            path.append([(group["lr"], group["momentum"]) for group in opt.param_groups])
        return path

    opt, schedule = new()
    run(opt, schedule, 8)
    opt.param_groups[0]["lr"] *= 0.5  # this, too, must survive
    run(opt, schedule, 3)
    saved = pickle.loads(pickle.dumps((opt.state_dict(), schedule.state_dict())))
    rates = schedule.get_last_lr()
    expected = run(opt, schedule, 20)
    again, resumed = new()
    again.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.get_last_lr() == rates == [group["lr"] for group in again.param_groups]
    assert run(again, resumed, 20) == expected


TAKES_LAST_EPOCH_ELSEWHERE = ("lambda", "one cycle", "then", "sequence")


@pytest.mark.parametrize("curve", [n for n in CURVES if not any(w in n for w in TAKES_LAST_EPOCH_ELSEWHERE)])
def test_resuming_by_last_epoch(curve: str) -> None:
    """The optimizer's state dict brings initial_lr; the schedule is made for the epochs done so far."""
    opt = optim.SGD([weight()], lr=0.1)
    schedule = CURVES[curve](lr_scheduler, opt)
    for _ in range(5):
        schedule.step()
    again = optim.SGD([weight()], lr=1.0)
    again.load_state_dict(opt.state_dict())

    class From5:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: getattr(lr_scheduler, name)(*args, last_epoch=4, **kwargs)

    resumed = CURVES[curve](From5(), again)
    for _ in range(10):
        assert resumed.get_last_lr() == pytest.approx(schedule.get_last_lr(), rel=1e-12, abs=1e-15)
        resumed.step()
        schedule.step()


def test_sequence_and_one_cycle_resume_by_last_epoch() -> None:
    def rates(build: Callable[[optim.Optimizer, int], Any], done: int, steps: int) -> list[float]:
        opt = optim.SGD([{"params": weight(), "initial_lr": 0.1}], lr=0.1)
        schedule, path = build(opt, done - 1), []
        for _ in range(steps):
            path += schedule.get_last_lr()
            schedule.step()
        return path

    def cycle(opt: optim.Optimizer, last_epoch: int) -> Any:
        return lr_scheduler.OneCycleLR(opt, 0.5, 30, last_epoch=last_epoch)

    def sequence(opt: optim.Optimizer, last_epoch: int) -> Any:
        parts = [lr_scheduler.LinearLR(opt, 0.1, total_iters=4), lr_scheduler.ExponentialLR(opt, 0.9)]
        return lr_scheduler.SequentialLR(opt, parts, [4], last_epoch=last_epoch)

    for build in (cycle, sequence):
        assert rates(build, 6, 10) == pytest.approx(rates(build, 0, 16)[6:], rel=1e-12)


def test_a_state_dict_is_a_copy() -> None:
    opt = optim.SGD([weight()], lr=0.1)
    schedule = lr_scheduler.ExponentialLR(opt, 0.9)
    saved = schedule.state_dict()
    before = repr(saved)
    for _ in range(3):
        opt.param_groups[0]["lr"] *= 0.5
        schedule.step()
    assert repr(saved) == before
    schedule.load_state_dict(saved)
    schedule.step()
    assert repr(saved) == before


def test_a_lambdas_functions_are_not_saved() -> None:
    schedule = lr_scheduler.LambdaLR(optim.SGD([weight()]), lambda t: 1.0)
    assert set(schedule.state_dict()) == {"base_lrs", "last_epoch", "_last_lr"}


def test_state_dicts_that_do_not_fit() -> None:
    opt = optim.SGD([weight()], lr=0.1)
    state = lr_scheduler.StepLR(opt, 3).state_dict()
    with pytest.raises(ValueError, match=r"not the state of a ExponentialLR: .* unexpected \['step_size'\]"):
        lr_scheduler.ExponentialLR(opt, 0.9).load_state_dict(state)
    two = optim.SGD([{"params": weight()}, {"params": weight()}])
    with pytest.raises(ValueError, match="for 1 parameter groups, the optimizer has 2"):
        lr_scheduler.StepLR(two, 3).load_state_dict(state)
    sequence = lr_scheduler.SequentialLR(opt, [lr_scheduler.StepLR(opt, 3)], [])
    with pytest.raises(ValueError, match="state has 0 schedulers, this SequentialLR 1"):
        sequence.load_state_dict(state)


def test_groups_added_later() -> None:
    opt = optim.SGD([weight()], lr=0.1)
    schedule = lr_scheduler.StepLR(opt, 3)
    plateau = lr_scheduler.ReduceLROnPlateau(opt, patience=0)
    opt.add_param_group({"params": weight(), "lr": 1.0})
    with pytest.raises(ValueError, match="made for 1 parameter groups, the optimizer has now 2"):
        schedule.step()
    for _ in range(2):
        plateau.step(1.0)
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([0.01, 0.1])


# -- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda o: S.StepLR(o, 0), "step_size must be an int >= 1, got 0"),
        (lambda o: S.StepLR(o, 2.5), "step_size must be an int >= 1, got 2.5"),
        (lambda o: S.StepLR(o, 3, gamma=-1), r"StepLR: gamma must be in \[0, inf\), got -1"),
        (lambda o: S.StepLR(o, 3, gamma="0.1"), r"gamma must be a number in \[0, inf\), got '0.1'"),
        (lambda o: S.MultiStepLR(o, [3, -1]), "a milestone must be an int >= 0, got -1"),
        (lambda o: S.ExponentialLR(o, math.nan), "gamma must be in .* got nan"),
        (lambda o: S.LinearLR(o, start_factor=0), r"start_factor must be in \(0, 1\], got 0"),
        (lambda o: S.LinearLR(o, start_factor=1.5), "start_factor must be .* got 1.5"),
        (lambda o: S.LinearLR(o, end_factor=-0.5), r"end_factor must be in \[0, 1\], got -0.5"),
        (lambda o: S.LinearLR(o, total_iters=0), "total_iters must be an int >= 1, got 0"),
        (lambda o: S.CosineAnnealingLR(o, 0), "T_max must be .* got 0"),
        (lambda o: S.CosineAnnealingLR(o, 3, eta_min=-1), "eta_min must be .* got -1"),
        (lambda o: S.CosineAnnealingWarmRestarts(o, 0), "T_0 must be .* got 0"),
        (lambda o: S.CosineAnnealingWarmRestarts(o, 3, 0), "T_mult must be .* got 0"),
        (lambda o: S.CosineAnnealingWarmRestarts(o, 3).step(-1), r"epoch must be in \[0, inf\), got -1"),
        (lambda o: S.LambdaLR(o, [lambda t: 1.0] * 2), "lr_lambda has 2 entries for 1 parameter groups"),
        (lambda o: S.LambdaLR(o, 0.9), "lr_lambda must be a function of t, got 0.9"),
        (lambda o: S.OneCycleLR(o, 0.5), "needs total_steps, or epochs and steps_per_epoch: got total_steps=None"),
        (lambda o: S.OneCycleLR(o, 0.5, epochs=3), "epochs=3, steps_per_epoch=None"),
        (lambda o: S.OneCycleLR(o, 0.5, total_steps=0), "total_steps must be an int >= 1, got 0"),
        (lambda o: S.OneCycleLR(o, 0.5, epochs=0, steps_per_epoch=3), "epochs must be an int >= 1, got 0"),
        (lambda o: S.OneCycleLR(o, 0.5, epochs=3, steps_per_epoch=1.5), "steps_per_epoch must be .* got 1.5"),
        (lambda o: S.OneCycleLR(o, [0.5, 0.1], 10), "max_lr has 2 entries for 1 parameter groups"),
        (lambda o: S.OneCycleLR(o, -0.5, 10), "max_lr must be .* got -0.5"),
        (lambda o: S.OneCycleLR(o, 0.5, 10, pct_start=1.5), r"pct_start must be in \[0, 1\], got 1.5"),
        (lambda o: S.OneCycleLR(o, 0.5, 10, anneal_strategy="exp"), "'cos' or 'linear', got 'exp'"),
        (lambda o: S.OneCycleLR(o, 0.5, 10, div_factor=0), "div_factor must be .* got 0"),
        (lambda o: S.OneCycleLR(o, 0.5, 10, max_momentum=-1), "max_momentum must be .* got -1"),
        (lambda o: S.OneCycleLR(optim.Adagrad([weight()]), 0.5, 10), "Adagrad has no momentum .* cycle_momentum=False"),
        (lambda o: S.ReduceLROnPlateau(o, mode="low"), "mode must be 'min' or 'max', got 'low'"),
        (lambda o: S.ReduceLROnPlateau(o, threshold_mode="x"), "threshold_mode must be 'rel' or 'abs', got 'x'"),
        (lambda o: S.ReduceLROnPlateau(o, factor=1.0), r"factor must be in \[0, 1\), got 1.0"),
        (lambda o: S.ReduceLROnPlateau(o, patience=-1), "patience must be an int >= 0, got -1"),
        (lambda o: S.ReduceLROnPlateau(o, min_lr=[0.1, 0.1]), "min_lr has 2 entries for 1 parameter groups"),
        (lambda o: S.SequentialLR(o, [S.StepLR(o, 3)], [3]), "got 1 schedulers and 1 milestones"),
        (lambda o: S.SequentialLR(o, [], []), "got 0 schedulers and 0 milestones"),
        (lambda o: S.SequentialLR(o, [S.StepLR(o, 3)] * 3, [5, 3]), r"milestones must increase, got \[5, 3\]"),
        (lambda o: S.SequentialLR(o, [S.ReduceLROnPlateau(o)], []), r"schedulers\[0\] is a ReduceLROnPlateau"),
        (lambda o: S.SequentialLR(o, [S.StepLR(optim.SGD([weight()]), 3)], []), "has another optimizer"),
        (lambda o: S.StepLR([o], 3), "schedules a tinygrad_m optimizer, not list"),
        (lambda o: S.StepLR(o, 3, last_epoch=4), "last_epoch=4 needs 'initial_lr' in parameter group 0"),
    ],
)
def test_refused(make: Callable[[Any], Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError, KeyError), match=text):
        make(optim.SGD([weight()], lr=0.1))


def test_one_cycle_past_its_end() -> None:
    schedule = lr_scheduler.OneCycleLR(optim.SGD([weight()]), 0.5, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="step 4 of a cycle of total_steps=3"):
        schedule.step()


def test_the_names_are_pytorchs() -> None:
    import inspect

    theirs = pytest.importorskip("torch.optim.lr_scheduler")
    for name in lr_scheduler.__all__:
        mine, other = (inspect.signature(getattr(m, name)).parameters for m in (lr_scheduler, theirs))
        assert list(mine) == list(other), name
        assert {k: p.default for k, p in mine.items()} == {k: p.default for k, p in other.items()}, name
