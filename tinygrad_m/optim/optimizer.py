"""What all optimizers share: parameter groups, state, checks, and the loop over parameters. An algorithm adds
its own update of one array: see momentum.py, which is the file to read next (and adaptive.py, after it)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from math import inf, nextafter
from typing import Any, TypeAlias

import numpy as np

from .. import backend
from ..autograd import enable_grad
from ..backend import Array
from ..tensor import Tensor, wrap

Params: TypeAlias = Iterable[Tensor | tuple[str, Tensor] | dict[str, Any]]
State: TypeAlias = dict[str, Any]  # of one parameter: arrays of its shape by name, and "step", an int

RANGES: dict[str, Any] = {  # what a hyper-parameter may be; checked() explains
    "lr": "[0, inf)", "momentum": "[0, inf)", "dampening": "[0, 1]", "weight_decay": "[0, inf)", "alpha": "[0, 1)",
    "betas": ("[0, 1)", "[0, 1)"), "eps": "[0, inf)", "lr_decay": "[0, inf)", "initial_accumulator_value": "[0, inf)",
    "ns_coefficients": ("(-inf, inf)",) * 3, "adjust_lr_fn": [None, "original", "match_rms_adamw"],
    "nesterov": bool, "centered": bool, "amsgrad": bool, "maximize": bool,
}  # fmt: skip


class Optimizer:
    """Owns `param_groups` (dicts: "params" and the hyper-parameters that schedulers change) and `state` (a dict
    for each parameter, by its position over all groups). A subclass gives its defaults and writes update():

        class SignSGD(Optimizer):
            def __init__(self, params, lr=1e-3):
                super().__init__(params, {"lr": lr})

            def update(self, xp, w, g, state, lr):
                w -= lr * xp.sign(g)

    params: tensors, or (name, tensor) pairs, or dicts {"params": ..., "lr": ...} with settings of their own.
    Parameters without a gradient are skipped. Every wrong setting raises, and the error says what is allowed."""

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.defaults = self._settings(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, State] = {}
        items = self._listed(params, "an iterable of tensors")
        for group in items if items and isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
            me = type(self).__name__
            raise ValueError(f"{me} got no parameters: if they came from a generator, was it used up before?")

    # -- for the algorithms -----------------------------------------------------------------------

    def update(self, xp: Any, w: Array, g: Array, state: State, *args: Any, **kwargs: Any) -> None:
        """One step of one parameter, in place. w: its array; g: its gradient, not to be written into; state: its
        own dict, with state["step"] = 1, 2, ...; then the group's hyper-parameters by name, as Python numbers."""
        raise NotImplementedError(f"{type(self).__name__} has no update(self, xp, w, g, state, lr, ...)")

    def check(self, group: dict[str, Any]) -> None:
        """Raise if the settings or parameters of a new group do not go together."""

    # -- for training -----------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients (or make them zeros: then parameters are not skipped, and momentum moves them)."""
        for p in (p for group in self.param_groups for p in group["params"] if p.grad is not None):
            with backend.on(p.data):
                p.grad = None if set_to_none else wrap(backend.of(p.data).xp.zeros_like(p.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. closure: computes the loss and its gradients first
        (zero_grad, loss, backward), and its loss is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        k = -1
        for group in self.param_groups:
            settings = self._settings(group)
            maximize = settings.pop("maximize", False)
            for p in group["params"]:
                k += 1
                if p.grad is None:
                    continue
                w, g = p.data, p.grad.data
                if g.dtype != w.dtype or p.grad.device != p.device:
                    me, got = type(self).__name__, f"{g.dtype} on {p.grad.device}"
                    raise ValueError(f"{me}: the gradient of parameter {k} must have its dtype and device: it is {got}, "
                                     f"the parameter {w.dtype} on {p.device}")  # fmt: skip
                state = self.state.setdefault(k, {})
                _follow(state, w)
                state["step"] = state.get("step", 0) + 1
                with backend.on(w), np.errstate(all="ignore"):  # nan and inf pass, as in PyTorch and on CUDA
                    self.update(backend.of(w).xp, w, -g if maximize else g, state, **settings)
                p._version[0] += 1  # a graph that has kept the old value will say so
        return loss

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters, {"params": tensors, "lr": ...}; what the group does not set, it takes from defaults."""
        me = type(self).__name__
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{me}: a parameter group is a dict with 'params', not {group!r}")
        for key in group:
            if key not in self.defaults and key not in ("params", "name", "initial_lr"):
                allowed = ", ".join(self.defaults)
                raise ValueError(f"{me}: unknown {key!r} in a parameter group, which may set {allowed}")
        pairs = self._pairs(group["params"])
        fresh = {**group, "params": [p for _, p in pairs], **self._settings({**self.defaults, **group})}
        if pairs and pairs[0][0] is not None:
            fresh["param_names"] = [name for name, _ in pairs]
        self.check(fresh)
        self.param_groups.append(fresh)

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: {name: NumPy copy or number}}, "param_groups": [{settings, "params": positions}]}."""
        k = count()
        groups = [copy.deepcopy({**group, "params": [next(k) for _ in group["params"]]}) for group in self.param_groups]
        state = {
            k: {name: np.array(backend.to_numpy(v)) if _is_array(v) else v for name, v in one.items()}
            for k, one in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what state_dict() gave. Arrays may be NumPy's, CuPy's or Tensors: they are copied to their
        parameter's device and dtype. If anything does not fit, ValueError says what, and nothing is changed."""
        me = type(self).__name__
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(f"{me}: a state dict has 'state' and 'param_groups', this is {state_dict!r:.100}")
        saved, own = state_dict["param_groups"], self.param_groups
        if len(saved) != len(own):
            raise ValueError(f"{me}: the state has {len(saved)} parameter groups, this optimizer {len(own)}")
        groups: list[dict[str, Any]] = []
        state: dict[int, State] = {}
        k = 0
        for i, (old, new) in enumerate(zip(own, saved)):
            where = f"{me}: group {i} of the state"
            if len(new["params"]) != len(old["params"]):
                raise ValueError(f"{where} has {len(new['params'])} parameters, this optimizer's {len(old['params'])}")
            for mine, theirs in zip(old.get("param_names", ()), new.get("param_names", ())):
                if mine != theirs:
                    raise ValueError(f"{where} has parameter {theirs!r} where this optimizer has {mine!r}")
            for name in self.defaults:
                if name not in new:
                    raise ValueError(f"{where} has no {name!r}, only {', '.join(new)}: was it another optimizer's?")
            groups.append({**old, **copy.deepcopy(new), **self._settings(new), "params": old["params"]})
            self.check(groups[i])
            for key, p in zip(new["params"], old["params"]):
                if key in state_dict["state"]:
                    state[k] = {name: self._restored(k, p, name, v) for name, v in state_dict["state"][key].items()}
                k += 1
        for group, new in zip(own, groups):
            group.update(new)  # the same dicts: schedulers and users may hold them
        self.state = state

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            settings = ", ".join(f"{key}={value}" for key, value in group.items() if key[:5] != "param")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {settings}")
        return "\n".join([*lines, ")"])

    # -- helpers ----------------------------------------------------------------------------------

    def _settings(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group's hyper-parameters, checked; as Python numbers, since NumPy's turn float32 weights into float64."""
        me = type(self).__name__
        return {name: checked(f"{me}: {name}", group[name], RANGES.get(name)) for name in self.defaults}

    def _listed(self, params: Any, allowed: str) -> list[Any]:
        """`params` in order; a set has none that a state dict could rely on."""
        me, kind = type(self).__name__, type(params).__name__
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{me}: parameters in a set have no fixed order: use a list")
        if isinstance(params, (Tensor, dict)) or not isinstance(params, Iterable):
            raise TypeError(f"{me}: 'params' must be {allowed}, such as model.parameters() or [w, b], not a {kind}: "
                            "put a single one into a list")  # fmt: skip
        return list(params)

    def _pairs(self, params: Any) -> list[tuple[str | None, Tensor]]:
        """The (name or None, tensor) of a new group, checked."""
        me = type(self).__name__
        items = [params] if isinstance(params, Tensor) else self._listed(params, "a Tensor or an iterable of them")
        pairs = [item if isinstance(item, tuple) and len(item) == 2 else (None, item) for item in items]
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for k, (name, p) in enumerate(pairs):
            what = f"{me}: parameter {k if name is None else repr(name)}"
            if not isinstance(p, Tensor):
                raise TypeError(f"{what} must be a Tensor, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(f"{what} of shape {p.shape} is computed from others: optimize the leaves that it is "
                                 "computed from, or make it one: t.detach().clone().requires_grad_()")  # fmt: skip
            if id(p) in seen:
                raise ValueError(f"{what} of shape {p.shape} is given twice: it would be updated twice in each step")
            seen.add(id(p))
        named = sum(name is not None for name, _ in pairs)
        if 0 < named < len(pairs):
            raise ValueError(f"{me}: {named} of {len(pairs)} parameters have names: give all one, or none")
        return pairs

    def _restored(self, k: int, p: Tensor, name: str, value: Any) -> Any:
        """One entry of a saved state, where its parameter lives."""
        if name == "step":
            return int(value)
        if not _is_array(value):
            return copy.deepcopy(value)
        if tuple(value.shape) != p.shape:
            raise ValueError(f"{type(self).__name__}: {name!r} of parameter {k} has shape {tuple(value.shape)} in the "
                             f"state, the parameter {p.shape}")  # fmt: skip
        return Tensor(value, dtype=p.dtype, device=p.device).data


def buffer(xp: Any, state: State, name: str, w: Array) -> Array:
    """The array `name` of a parameter's state: zeros of w's shape and dtype at first."""
    if name not in state:
        state[name] = xp.zeros_like(w)
    return state[name]


def checked(name: str, value: Any, allowed: Any) -> Any:
    """`value`, if it is what `allowed` says: an interval such as "[0, 1)" for a number, a tuple of intervals, a
    list of choices, bool, or None for anything. Raises TypeError or ValueError, which print what was received."""
    if isinstance(allowed, str):
        return number(name, value, allowed)
    if isinstance(allowed, tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(allowed):
            raise TypeError(f"{name} must be {len(allowed)} numbers in {allowed[0]}, got {value!r}")
        return tuple(number(f"{name}[{i}]", v, a) for i, (v, a) in enumerate(zip(value, allowed)))
    if isinstance(allowed, list) and value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")
    if allowed is bool and not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value.item() if isinstance(value, np.generic) else value


def number(name: str, value: Any, interval: str) -> float:
    """`value` (a number, NumPy's and Tensors too) as a Python float, if it lies in the interval."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number in {interval}, got {value!r}")
    found, (least, greatest) = float(value), _ends(interval)
    if not least <= found <= greatest:
        raise ValueError(f"{name} must be in {interval}, got {found!r}")
    return found


@cache
def _ends(interval: str) -> tuple[float, float]:
    """The least and the greatest number in an interval: "[0, 1)" ends just before 1."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    return low if interval[0] == "[" else nextafter(low, inf), high if interval[-1] == "]" else nextafter(high, -inf)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and not isinstance(value, np.generic)


def _follow(state: State, w: Array) -> None:
    """Move a parameter's state to where the parameter has been moved."""
    home = backend.device_of(w)
    for name, value in state.items():
        if _is_array(value) and backend.device_of(value) != home:
            state[name] = backend.put(value, home)
