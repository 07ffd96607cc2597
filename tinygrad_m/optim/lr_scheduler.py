"""Schedules: curves that change an optimizer's learning rate (OneCycleLR: and its momentum) from step to step.

    schedule = StepLR(optimizer, step_size=30)
    for epoch in range(90):
        train()                     # ... optimizer.step() ...
        schedule.step()             # after it; OneCycleLR: after every batch

In the formulas t = 0, 1, 2, ... counts schedule.step() (`last_epoch`), and base is the group's own lr at the beginning.
Every rate is a Python float, so no float32 weight becomes float64. clip.py is the last file of this folder."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from math import cos, floor, inf, pi
from typing import Any, SupportsFloat, TypeAlias

from .optimizer import Optimizer, checked, number, require

__all__ = [
    "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR",
    "MultiStepLR", "OneCycleLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip

Each: TypeAlias = float | Sequence[float]  # a number for all parameter groups, or one for each


class LRScheduler:
    """A schedule of one's own overrides get_lr(): the rate of each group, from `base_lrs` and `last_epoch`.

    last_epoch: the last one already done, to resume without a state dict; -1 begins. Creating the scheduler sets
    the first rate."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            require(self, "initial_lr" in group, f"{last_epoch=} needs 'initial_lr' in parameter group {i}: give "
                                                 "it, or load the optimizer's state dict first", KeyError)  # fmt: skip
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr = list(self.base_lrs) if last_epoch == -1 else self._rates()
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group at `last_epoch`: the curve itself. What is in force now: get_last_lr()."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr(self)")

    def step(self) -> None:
        """One step along the curve, after optimizer.step()."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rate of each group, as this scheduler set it last."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        left_out = ("optimizer", "lr_lambdas", "_schedulers")
        return {key: copy.deepcopy(value) for key, value in vars(self).items() if key not in left_out}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what state_dict() gave, and set its rates. ValueError says what does not fit."""
        me, own, new = type(self).__name__, set(self.state_dict()), set(state_dict)
        require(self, own == new, f"this is not the state of a {me}: missing {sorted(own - new)}, "
                                  f"unexpected {sorted(new - own)}")  # fmt: skip
        n, m = len(state_dict["_last_lr"]), len(self.optimizer.param_groups)
        require(self, n == m, f"the state is for {n} parameter groups, the optimizer has {m}")
        vars(self).update({key: copy.deepcopy(value) for key, value in state_dict.items() if key in vars(self)})
        self._set(self._last_lr)

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__} schedules a tinygrad_m optimizer, not {type(optimizer).__name__}")
        self.optimizer = optimizer

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _set(self, rates: Sequence[float]) -> None:
        n, m = len(rates), len(self.optimizer.param_groups)
        require(self, n == m, f"made for {n} parameter groups, the optimizer has now {m}: make it after adding them")
        self._last_lr = [float(lr) for lr in rates]
        for group, lr in zip(self.optimizer.param_groups, self._last_lr):
            group["lr"] = lr

    def _restart(self) -> None:
        """From t = 0 again, from its own base rates: SequentialLR has come to this schedule."""
        self.last_epoch = -1
        self._set(self.base_lrs)
        self.step()


class Curve(LRScheduler):
    """lr(t) = floor + (base - floor) factor(t). If you, or another scheduler, have changed a group's lr since the
    last step, the curve is stretched by that and goes on from there: so schedules can be chained, as in PyTorch."""

    floor = 0.0
    stretch: Sequence[float] = ()  # of each group; none yet

    def factor(self, t: int) -> float:
        """The curve, as a multiple of base."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        factor, low = self.factor(self.last_epoch), self.floor
        moved = [(now - low) / (then - low) if then != low else 1.0 for now, then in zip(self._rates(), self._last_lr)]
        self.stretch = [s * m for s, m in zip(self.stretch or [1.0] * len(moved), moved)]
        return [low + (base - low) * factor * s for base, s in zip(self.base_lrs, self.stretch)]

    def _restart(self) -> None:
        self.stretch = ()
        super()._restart()


class StepLR(Curve):
    """A drop every `step_size` steps: lr = base gamma^floor(t / step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = whole("StepLR: step_size", step_size)
        self.gamma = number("StepLR: gamma", gamma, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.gamma ** (t // self.step_size)


class MultiStepLR(Curve):
    """A drop at each milestone: lr = base gamma^(number of milestones <= t)."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1,
                 last_epoch: int = -1) -> None:  # fmt: skip
        self.milestones = sorted(whole("MultiStepLR: a milestone", m, 0) for m in milestones)
        self.gamma = number("MultiStepLR: gamma", gamma, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(Curve):
    """lr = base gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("ExponentialLR: gamma", gamma, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.gamma**t


class LinearLR(Curve):
    """A straight line from start_factor base to end_factor base in total_iters steps, then constant: a warm-up.

    lr = base (start_factor + (end_factor - start_factor) min(t, total_iters) / total_iters)"""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0,
                 total_iters: int = 5, last_epoch: int = -1) -> None:  # fmt: skip
        self.start_factor = number("LinearLR: start_factor", start_factor, "(0, 1]")
        self.end_factor = number("LinearLR: end_factor", end_factor, "[0, 1]")
        self.total_iters = whole("LinearLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(t / self.total_iters, 1.0)


class CosineAnnealingLR(Curve):
    """Half a cosine from base down to eta_min in T_max steps, and up again (Loshchilov and Hutter, arXiv 1608.03983).

    lr = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2"""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = whole("CosineAnnealingLR: T_max", T_max)
        self.eta_min = self.floor = number("CosineAnnealingLR: eta_min", eta_min, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return (1 + cos(pi * t / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """The cosine, begun again after T_0 steps, then after T_0 T_mult, T_0 T_mult^2 ... (arXiv 1608.03983).

    lr = eta_min + (base - eta_min) (1 + cos(pi T_cur / T_i)) / 2,  T_cur steps into a cycle of length T_i"""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
                 last_epoch: int = -1) -> None:  # fmt: skip
        self.T_0 = whole("CosineAnnealingWarmRestarts: T_0", T_0)
        self.T_mult = whole("CosineAnnealingWarmRestarts: T_mult", T_mult)
        self.eta_min = number("CosineAnnealingWarmRestarts: eta_min", eta_min, "[0, inf)")
        self.time: float = last_epoch  # in steps, between two of them with step(epoch + batch / batches)
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """One step, or to any time: step(epoch + batch / batches) in every batch."""
        self.time = self.time + 1 if epoch is None else number("CosineAnnealingWarmRestarts: epoch", epoch, "[0, inf)")
        self.last_epoch, self.T_i = floor(self.time), self.T_0
        self.T_cur = self.time if self.T_mult > 1 else self.time % self.T_i
        while self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self._set(self.get_lr())

    def get_lr(self) -> list[float]:
        factor = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]

    def _restart(self) -> None:
        self.time = -1
        super()._restart()


class LambdaLR(LRScheduler):
    """Any curve: lr = base lr_lambda(t); one function, or a list with one for each group.
    state_dict() leaves the functions out."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
                 last_epoch: int = -1) -> None:  # fmt: skip
        self._attach(optimizer)
        self.lr_lambdas = for_groups(optimizer, "LambdaLR: lr_lambda", lr_lambda, None)
        for f in self.lr_lambdas:
            require(self, callable(f), f"lr_lambda must be a function of t, got {f!r}", TypeError)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * float(f(self.last_epoch)) for base, f in zip(self.base_lrs, self.lr_lambdas)]


class SequentialLR(LRScheduler):
    """One schedule after the other: number k + 1 takes over, from its own t = 0, when t reaches milestones[k]."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int],
                 last_epoch: int = -1) -> None:  # fmt: skip
        self._attach(optimizer)
        for k, part in enumerate(schedulers):
            what = f"schedulers[{k}] is a {type(part).__name__}, which"
            fits = isinstance(part, LRScheduler) and not isinstance(part, ReduceLROnPlateau)
            require(self, fits, f"{what} is no curve over time", TypeError)
            require(self, part.optimizer is optimizer, f"{what} has another optimizer")
        n, m = len(schedulers), len(milestones)
        require(self, n == m + 1, f"one milestone between each two schedulers: got {n} schedulers and {m} milestones")
        turns = [whole("SequentialLR: a milestone", m, 0) for m in milestones]
        require(self, turns == sorted(turns), f"milestones must increase, got {turns}")
        self._schedulers, self._milestones, self.base_lrs = list(schedulers), turns, schedulers[0].base_lrs
        self._restart()
        for _ in range(last_epoch + 1):
            self.step()

    def step(self) -> None:
        self.last_epoch += 1
        part = self._schedulers[bisect_right(self._milestones, self.last_epoch)]
        advance = part._restart if self.last_epoch in (0, *self._milestones) else part.step
        advance()
        self._last_lr = part.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        inner = state_dict.get("schedulers", [])
        n, m = len(inner), len(self._schedulers)
        require(self, n == m, f"the state has {n} schedulers, this SequentialLR {m}")
        for scheduler, state in zip(self._schedulers, inner):
            scheduler.load_state_dict(state)
        super().load_state_dict(state_dict)


class OneCycleLR(LRScheduler):
    """Up and down once (Smith and Topin, arXiv 1708.07120), momentum the other way round; step() after every batch.

        up, pct_start of all steps:  lr from initial = max_lr / div_factor to max_lr,  momentum from max_ to base_
        down, to the end:            lr from max_lr to initial / final_div_factor,     momentum back to max_momentum

    Half a cosine each, or a line. three_phase: down to initial in as many steps as up, then on to the end. The momentum
    of SGD and RMSprop, beta1 of Adam; pass cycle_momentum=False to leave it alone (a momentum of 0, too, is cycled).
    Needs total_steps, or epochs and steps_per_epoch. max_lr and the momenta: a number, or a list for the groups."""

    def __init__(self, optimizer: Optimizer, max_lr: Each, total_steps: int | None = None, epochs: int | None = None,
                 steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
                 cycle_momentum: bool = True, base_momentum: Each = 0.85, max_momentum: Each = 0.95,
                 div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
                 last_epoch: int = -1) -> None:  # fmt: skip
        self._attach(optimizer)
        if total_steps is None:
            require(self, None not in (epochs, steps_per_epoch), "needs total_steps, or epochs and steps_per_epoch: "
                    f"got {total_steps=}, {epochs=}, {steps_per_epoch=}")  # fmt: skip
            total_steps = whole("OneCycleLR: epochs", epochs) * whole("OneCycleLR: steps_per_epoch", steps_per_epoch)
        self.total_steps = whole("OneCycleLR: total_steps", total_steps)
        self.anneal_strategy = checked("OneCycleLR: anneal_strategy", anneal_strategy, ["cos", "linear"])
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(f"{type(optimizer).__name__} has no momentum and no betas: pass cycle_momentum=False")
        up = number("OneCycleLR: pct_start", pct_start, "[0, 1]") * self.total_steps
        end = self.total_steps - 1.0
        down = [(2 * up - 2, "max", "initial"), (end, "initial", "final")] if three_phase else [(end, "max", "final")]
        self.phases = [(up - 1, "initial", "max"), *down]  # (last step, from, to)
        first = number("OneCycleLR: div_factor", div_factor, "(0, inf)")
        last = number("OneCycleLR: final_div_factor", final_div_factor, "(0, inf)")
        tops = for_groups(optimizer, "OneCycleLR: max_lr", max_lr, "[0, inf)")
        slow = for_groups(optimizer, "OneCycleLR: base_momentum", base_momentum, "[0, 1)")
        fast = for_groups(optimizer, "OneCycleLR: max_momentum", max_momentum, "[0, 1)")
        self.levels = [{"initial": (top / first, m1), "max": (top, m0), "final": (top / first / last, m1)}
                       for top, m0, m1 in zip(tops, slow, fast)]  # of each group: (lr, momentum)  # fmt: skip
        for group, top in zip(optimizer.param_groups, tops):
            group["initial_lr"] = top / first
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        require(self, t <= self.total_steps, f"step {t} of a cycle of total_steps={self.total_steps}: make it longer")
        k = sum(t > end for end, *_ in self.phases[:-1])  # the phase that t is in
        end, source, target = self.phases[k]
        begin = self.phases[k - 1][0] if k else 0.0
        done = (t - begin) / (end - begin) if end != begin else 1.0
        if self.anneal_strategy == "cos":
            done = (1 - cos(pi * done)) / 2
        rates = []
        for group, level in zip(self.optimizer.param_groups, self.levels):
            lr, momentum = (a + (b - a) * done for a, b in zip(level[source], level[target]))
            rates.append(max(lr, 0.0))  # a line, one step past its end, may be below 0
            if self.cycle_momentum and "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif self.cycle_momentum:
                group["momentum"] = momentum
        return rates


class ReduceLROnPlateau(LRScheduler):
    """lr <- factor lr when a metric, step(loss) say, has not become better for more than `patience` steps.

    Better than the best so far: by the threshold, relative ("rel": best (1 - threshold) in mode "min",
    best (1 + threshold) in "max") or absolute ("abs"). After a reduction, `cooldown` steps are not counted. No lr falls
    below min_lr (a number, or a list for the groups), and changes of at most eps are left out."""

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: Each = 0.0,
                 eps: float = 1e-8) -> None:  # fmt: skip
        self._attach(optimizer)
        self.mode = checked("ReduceLROnPlateau: mode", mode, ["min", "max"])
        self.factor = number("ReduceLROnPlateau: factor", factor, "[0, 1)")
        self.patience = whole("ReduceLROnPlateau: patience", patience, 0)
        self.threshold = number("ReduceLROnPlateau: threshold", threshold, "[0, inf)")
        self.threshold_mode = checked("ReduceLROnPlateau: threshold_mode", threshold_mode, ["rel", "abs"])
        self.cooldown = whole("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.min_lr = min_lr
        self._limits()
        self.eps = number("ReduceLROnPlateau: eps", eps, "[0, inf)")
        self.best = inf if mode == "min" else -inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """After each epoch, with its loss (mode "min") or accuracy ("max"), a number or a Tensor (it is read)."""
        value, best, t = float(metrics), self.best, self.threshold
        low, high = (best * (1 - t), best * (1 + t)) if self.threshold_mode == "rel" else (best - t, best + t)
        better = value < low if self.mode == "min" else value > high
        self.last_epoch += 1
        if better:
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        rates = self._rates()
        if self.num_bad_epochs > self.patience:
            lower = [max(lr * self.factor, limit) for lr, limit in zip(rates, self._limits())]
            rates = [new if old - new > self.eps else old for old, new in zip(rates, lower)]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(rates)

    def _limits(self) -> list[float]:
        return for_groups(self.optimizer, "ReduceLROnPlateau: min_lr", self.min_lr, "[0, inf)")


def whole(name: str, value: Any, least: int = 1) -> int:
    """An int from `least` on, NumPy's too."""
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__") or int(value) < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}")
    return int(value)


def for_groups(optimizer: Optimizer, name: str, value: Any, allowed: Any) -> list[Any]:
    """A list with one checked entry for each parameter group."""
    n = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * n
    if len(values) != n:
        raise ValueError(f"{name} has {len(values)} entries for {n} parameter groups: give one for each, or one number")
    return [checked(name, v, allowed) for v in values]
