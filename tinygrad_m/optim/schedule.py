"""What all schedules share: LRScheduler sets the rates, and Curve describes one by a formula for its factor.
lr_scheduler.py has the schedules themselves: read it next.

In the formulas t = 0, 1, 2, ... counts schedule.step() (`last_epoch`), and base is the group's own lr at the
beginning. Every rate is a Python float, so no float32 weight becomes float64."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .optimizer import Optimizer, checked


class LRScheduler:
    """A schedule of one's own overrides get_lr(): the rate of each group, from `base_lrs` and `last_epoch`.

    last_epoch: the last one already done, to resume without a state dict; -1 begins. Creating the scheduler sets
    the first rate."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"resuming at last_epoch={last_epoch} needs 'initial_lr' in parameter group {i}: load the "
                    "optimizer's state dict first, or give it in the group"
                )
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
        own = self.state_dict()
        if set(own) != set(state_dict):
            raise ValueError(
                f"this is not the state of a {type(self).__name__}: missing {sorted(set(own) - set(state_dict))}, "
                f"unexpected {sorted(set(state_dict) - set(own))}"
            )
        if len(state_dict["_last_lr"]) != len(self.optimizer.param_groups):
            raise ValueError(
                f"the state is for {len(state_dict['_last_lr'])} parameter groups, the optimizer has "
                f"{len(self.optimizer.param_groups)}"
            )
        vars(self).update({key: copy.deepcopy(value) for key, value in state_dict.items() if key in vars(self)})
        self._set(self._last_lr)

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__} schedules a tinygrad_m optimizer, not {type(optimizer).__name__}")
        self.optimizer = optimizer

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _set(self, rates: Sequence[float]) -> None:
        if len(rates) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{type(self).__name__} was made for {len(rates)} parameter groups, the optimizer has now "
                f"{len(self.optimizer.param_groups)}: make the scheduler after add_param_group()"
            )
        self._last_lr = [float(lr) for lr in rates]
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr

    def _restart(self) -> None:
        """From t = 0 again, from its own base rates: SequentialLR has come to this schedule."""
        self.last_epoch, self._last_lr = -1, list(self.base_lrs)
        self._set(self._last_lr)
        self.step()


class Curve(LRScheduler):
    """lr(t) = floor + (base - floor) factor(t). If you, or another scheduler, have changed a group's lr since the
    last step, the curve is stretched by that and goes on from there: so schedules can be chained, as in PyTorch."""

    floor = 0.0

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        self.stretch = [1.0] * len(optimizer.param_groups)
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        """The curve, as a multiple of base."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        for k, (now, then) in enumerate(zip(self._rates(), self._last_lr, strict=False)):
            if now != then and then != self.floor:
                self.stretch[k] *= (now - self.floor) / (then - self.floor)
        factor, low = self.factor(self.last_epoch), self.floor
        return [low + (base - low) * factor * s for base, s in zip(self.base_lrs, self.stretch, strict=True)]

    def _restart(self) -> None:
        self.stretch = [1.0] * len(self.stretch)
        super()._restart()


def whole(name: str, value: Any, least: int = 1) -> int:
    """An int from `least` on, NumPy's too."""
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__") or int(value) < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}")
    return int(value)


def for_groups(optimizer: Optimizer, name: str, value: Any, allowed: Any = None) -> list[Any]:
    """A list with one checked entry for each parameter group."""
    n = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * n
    if len(values) != n:
        raise ValueError(f"{name} has {len(values)} entries for {n} parameter groups: give one for each, or one number")
    return [checked(name, v, allowed) for v in values]
