"""Schedules: curves that change an optimizer's learning rate (OneCycleLR: and its momentum) from step to step.

    schedule = StepLR(optimizer, step_size=30)
    for epoch in range(90):
        train()                     # ... optimizer.step() ...
        schedule.step()             # after it; OneCycleLR: after every batch

In the formulas t = 0, 1, 2, ... counts schedule.step(), and base is the group's own lr at the beginning.
schedule.py is what they share; clip.py is the last file of this folder."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from math import cos, floor, inf, pi
from typing import Any, SupportsFloat

from .optimizer import Optimizer, checked, number
from .schedule import Curve, LRScheduler, for_groups, whole

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class StepLR(Curve):
    """A drop every `step_size` steps: lr = base gamma^floor(t / step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = whole("StepLR: step_size", step_size)
        self.gamma = number("StepLR: gamma", gamma, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return float(self.gamma ** (t // self.step_size))


class MultiStepLR(Curve):
    """A drop at each milestone: lr = base gamma^(number of milestones <= t)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(whole("MultiStepLR: a milestone", m, 0) for m in milestones)
        self.gamma = number("MultiStepLR: gamma", gamma, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return float(self.gamma ** bisect_right(self.milestones, t))


class ExponentialLR(Curve):
    """lr = base gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = number("ExponentialLR: gamma", gamma, "[0, inf)")
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return float(self.gamma**t)


class LinearLR(Curve):
    """A straight line from start_factor base to end_factor base in total_iters steps, then constant: a warm-up.

    lr = base (start_factor + (end_factor - start_factor) min(t, total_iters) / total_iters)"""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = number("LinearLR: start_factor", start_factor, "(0, 1]")
        self.end_factor = number("LinearLR: end_factor", end_factor, "[0, 1]")
        self.total_iters = whole("LinearLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return float(self.start_factor + (self.end_factor - self.start_factor) * min(t / self.total_iters, 1.0))


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

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_0 = self.T_i = whole("CosineAnnealingWarmRestarts: T_0", T_0)
        self.T_mult = whole("CosineAnnealingWarmRestarts: T_mult", T_mult)
        self.eta_min = number("CosineAnnealingWarmRestarts: eta_min", eta_min, "[0, inf)")
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: float | None = None) -> None:
        """One step, or to any time: step(epoch + batch / batches) in every batch."""
        if epoch is None:
            self.last_epoch, self.T_cur = self.last_epoch + 1, self.T_cur + 1
        else:
            time = number("CosineAnnealingWarmRestarts: epoch", epoch, "[0, inf)")
            self.last_epoch, self.T_cur, self.T_i = floor(time), time, self.T_0
        if self.T_mult == 1:
            self.T_cur %= self.T_i
        while self.T_cur >= self.T_i:
            self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self._set(self.get_lr())

    def get_lr(self) -> list[float]:
        factor = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * factor for base in self.base_lrs]

    def _restart(self) -> None:
        self.T_cur, self.T_i = -1, self.T_0
        super()._restart()


class LambdaLR(LRScheduler):
    """Any curve: lr = base lr_lambda(t); one function, or a list with one for each group.
    state_dict() leaves the functions out."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        self.lr_lambdas = for_groups(optimizer, "LambdaLR: lr_lambda", lr_lambda)
        for f in self.lr_lambdas:
            if not callable(f):
                raise TypeError(f"LambdaLR: lr_lambda must be a function of t, got {f!r}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * float(f(self.last_epoch)) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class SequentialLR(LRScheduler):
    """One schedule after the other: number k + 1 takes over, from its own t = 0, when t reaches milestones[k]."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._attach(optimizer)
        for k, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
                what = type(scheduler).__name__
                raise TypeError(f"SequentialLR: schedulers[{k}] is a {what}, which is no curve over time")
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedulers[{k}] ({type(scheduler).__name__}) has another optimizer")
        self._schedulers = list(schedulers)
        self._milestones = [whole("SequentialLR: a milestone", m, 0) for m in milestones]
        if len(schedulers) != len(milestones) + 1:
            raise ValueError(
                f"SequentialLR needs one milestone between each two schedulers, got {len(schedulers)} schedulers and "
                f"{len(milestones)} milestones"
            )
        if self._milestones != sorted(self._milestones):
            raise ValueError(f"SequentialLR: milestones must increase, got {self._milestones}")
        self._restart()
        for _ in range(last_epoch + 1):
            self.step()

    def step(self) -> None:
        self.last_epoch += 1
        scheduler = self._schedulers[bisect_right(self._milestones, self.last_epoch)]
        if self.last_epoch == 0 or self.last_epoch in self._milestones:
            scheduler._restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        inner = state_dict.get("schedulers", [])
        if len(inner) != len(self._schedulers):
            raise ValueError(f"the state has {len(inner)} schedulers, this SequentialLR {len(self._schedulers)}")
        for scheduler, state in zip(self._schedulers, inner, strict=True):
            scheduler.load_state_dict(state)
        super().load_state_dict(state_dict)

    def _restart(self) -> None:
        self.last_epoch = -1
        self.step()


class OneCycleLR(LRScheduler):
    """Up and down once (Smith and Topin, arXiv 1708.07120), momentum the other way round; step() after every batch.

        up, pct_start of all steps:  lr from initial = max_lr / div_factor to max_lr,  momentum from max_ to base_
        down, to the end:            lr from max_lr to initial / final_div_factor,     momentum back to max_momentum

    Half a cosine each, or a line. three_phase: down to initial in as many steps as up, then on to the end. The momentum
    of SGD and RMSprop, beta1 of Adam; pass cycle_momentum=False to leave it alone (a momentum of 0, too, is cycled).
    Needs total_steps, or epochs and steps_per_epoch. max_lr and the momenta: a number, or a list for the groups."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError(
                "OneCycleLR needs total_steps, or epochs and steps_per_epoch: got "
                f"total_steps={total_steps}, epochs={epochs}, steps_per_epoch={steps_per_epoch}"
            )
        if total_steps is None:
            epochs = whole("OneCycleLR: epochs", epochs)
            total_steps = epochs * whole("OneCycleLR: steps_per_epoch", steps_per_epoch)
        self.total_steps = total = whole("OneCycleLR: total_steps", total_steps)
        up = number("OneCycleLR: pct_start", pct_start, "[0, 1]") * total
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum and no betas: pass cycle_momentum=False"
            )
        self.phases = [(up - 1, "initial", "max"), (total - 1.0, "max", "final")]  # (last step, from, to)
        if three_phase:
            self.phases[1:] = [(2 * up - 2, "max", "initial"), (total - 1.0, "initial", "final")]
        first = number("OneCycleLR: div_factor", div_factor, "(0, inf)")
        last = number("OneCycleLR: final_div_factor", final_div_factor, "(0, inf)")
        tops = for_groups(optimizer, "OneCycleLR: max_lr", max_lr, "[0, inf)")
        slow = for_groups(optimizer, "OneCycleLR: base_momentum", base_momentum, "[0, 1)")
        fast = for_groups(optimizer, "OneCycleLR: max_momentum", max_momentum, "[0, 1)")
        self.levels = [  # of each group: (lr, momentum) by name
            {"initial": (top / first, m1), "max": (top, m0), "final": (top / first / last, m1)}
            for top, m0, m1 in zip(tops, slow, fast, strict=True)
        ]
        for group, top in zip(optimizer.param_groups, tops, strict=True):
            group["initial_lr"] = top / first
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: step {t} of a cycle of total_steps={self.total_steps}: make it longer")
        k = sum(t > end for end, *_ in self.phases[:-1])  # the phase that t is in
        end, source, target = self.phases[k]
        begin = self.phases[k - 1][0] if k else 0.0
        done = (t - begin) / (end - begin) if end != begin else 1.0
        if self.anneal_strategy == "cos":
            done = (1 - cos(pi * done)) / 2
        rates = []
        for group, level in zip(self.optimizer.param_groups, self.levels, strict=True):
            (lr0, momentum0), (lr1, momentum1) = level[source], level[target]
            rates.append(max(lr0 + (lr1 - lr0) * done, 0.0))  # a line, one step past its end, may be below 0
            if self.cycle_momentum:
                momentum = momentum0 + (momentum1 - momentum0) * done
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return rates


class ReduceLROnPlateau(LRScheduler):
    """lr <- factor lr when a metric, step(loss) say, has not become better for more than `patience` steps.

    Better than the best so far: by the threshold, relative ("rel": best (1 - threshold) in mode "min",
    best (1 + threshold) in "max") or absolute ("abs"). After a reduction, `cooldown` steps are not counted. No lr falls
    below min_lr (a number, or a list for the groups), and changes of at most eps are left out."""

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor = number("ReduceLROnPlateau: factor", factor, "[0, 1)")
        self.patience = whole("ReduceLROnPlateau: patience", patience, 0)
        self.threshold = number("ReduceLROnPlateau: threshold", threshold, "[0, inf)")
        self.cooldown = whole("ReduceLROnPlateau: cooldown", cooldown, 0)
        self.min_lr = min_lr
        self._limits()
        self.eps = number("ReduceLROnPlateau: eps", eps, "[0, inf)")
        self.best = inf if mode == "min" else -inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """After each epoch, with its loss (mode "min") or accuracy ("max"), a number or a Tensor (it is read)."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        rates = self._rates()
        if self.num_bad_epochs > self.patience:
            lower = [max(lr * self.factor, limit) for lr, limit in zip(rates, self._limits(), strict=True)]
            rates = [new if old - new > self.eps else old for old, new in zip(rates, lower, strict=True)]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(rates)

    def _limits(self) -> list[float]:
        return for_groups(self.optimizer, "ReduceLROnPlateau: min_lr", self.min_lr, "[0, inf)")

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        margin = self.threshold * sign
        limit = self.best * (1 - margin) if self.threshold_mode == "rel" else self.best - margin
        return bool(sign * value < sign * limit)
