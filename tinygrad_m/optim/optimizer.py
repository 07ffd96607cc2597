"""What all optimizers share: parameter groups, state, checks, and the loop over parameters. An algorithm adds
its own update of one array: see momentum.py, which is the file to read next (and adaptive.py, after it)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from .. import backend
from ..autograd import enable_grad
from ..backend import Array
from ..tensor import Tensor, wrap

Params: TypeAlias = Iterable[Tensor | tuple[str, Tensor] | dict[str, Any]]
State: TypeAlias = dict[str, Any]  # of one parameter: arrays of its shape by name, and "step", an int

RANGES: dict[str, Any] = {  # what a hyper-parameter may be, in the notation that errors print
    "lr": "[0, inf)",
    "momentum": "[0, inf)",
    "dampening": "[0, 1]",
    "weight_decay": "[0, inf)",
    "alpha": "[0, 1)",
    "betas": ("[0, 1)", "[0, 1)"),
    "eps": "[0, inf)",
    "lr_decay": "[0, inf)",
    "initial_accumulator_value": "[0, inf)",
    "ns_coefficients": ("(-inf, inf)",) * 3,
    "nesterov": bool,
    "centered": bool,
    "amsgrad": bool,
    "maximize": bool,
}


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
        self.defaults = {name: self._checked(name, value) for name, value in defaults.items()}
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, State] = {}
        me = type(self).__name__
        if isinstance(params, (Tensor, dict)) or not isinstance(params, Iterable):
            raise TypeError(
                f"{me} takes an iterable of tensors, such as model.parameters() or [w, b], not a "
                f"{type(params).__name__}: put a single one into a list"
            )
        items: list[Any] = _in_order(params, me)
        for group in items if items and isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)
        if not any(group["params"] for group in self.param_groups):
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
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and not set_to_none:
                    with backend.on(p.data):
                        p.grad = wrap(backend.of(p.data).xp.zeros_like(p.data))
                elif set_to_none:
                    p.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. closure: computes the loss and its gradients first
        (zero_grad, loss, backward), and its loss is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        k = 0
        for group in self.param_groups:
            # NumPy's float64 numbers would turn float32 weights into float64: Python's do not
            hyper = {name: self._checked(name, group[name]) for name in self.defaults}
            maximize = hyper.pop("maximize", False)
            for p in group["params"]:
                if p.grad is not None:
                    w, g = p.data, self._gradient(k, p)
                    state = self.state.setdefault(k, {})
                    _follow(state, w)
                    state["step"] = state.get("step", 0) + 1
                    with backend.on(w), np.errstate(all="ignore"):  # nan and inf pass, as in PyTorch and on CUDA
                        self.update(backend.of(w).xp, w, -g if maximize else g, state, **hyper)
                    p._version[0] += 1  # a graph that has kept the old value will say so
                k += 1
        return loss

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters, {"params": tensors, "lr": ...}; what the group does not set, it takes from defaults."""
        me = type(self).__name__
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{me}: a parameter group is a dict with 'params', not {group!r}")
        unknown = [key for key in group if key not in self.defaults and key not in ("params", "name", "initial_lr")]
        if unknown:
            allowed = ", ".join(self.defaults)
            raise ValueError(f"{me}: unknown {unknown[0]!r} in a parameter group, which may set {allowed}")
        tensors, names = self._tensors(group["params"])
        settings = {name: self._checked(name, group.get(name, value)) for name, value in self.defaults.items()}
        fresh: dict[str, Any] = {**group, "params": tensors, **settings}
        if names:
            fresh["param_names"] = names
        self.check(fresh)
        self.param_groups.append(fresh)

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: {name: NumPy copy or number}}, "param_groups": [{settings, "params": positions}]}."""
        groups, first = [], 0
        for group in self.param_groups:
            settings = {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
            groups.append({**settings, "params": list(range(first, first + len(group["params"])))})
            first += len(group["params"])
        state = {
            k: {name: np.array(backend.to_numpy(v)) if hasattr(v, "shape") else v for name, v in one.items()}
            for k, one in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what state_dict() gave. Arrays may be NumPy's, CuPy's or Tensors: they are copied to their
        parameter's device and dtype. If anything does not fit, ValueError says what, and nothing is changed."""
        me = type(self).__name__
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(f"{me}: a state dict has 'state' and 'param_groups', this is {state_dict!r:.100}")
        saved: list[dict[str, Any]] = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"{me}: the state has {len(saved)} parameter groups, this optimizer {len(self.param_groups)}"
            )
        groups, order = [], []
        for i, (old, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            where = f"{me}: group {i} of the state"
            if len(new["params"]) != len(old["params"]):
                raise ValueError(f"{where} has {len(new['params'])} parameters, this optimizer's {len(old['params'])}")
            names = zip(old.get("param_names", ()), new.get("param_names", ()), strict=False)
            for mine, theirs in names:
                if mine != theirs:
                    raise ValueError(f"{where} has parameter {theirs!r} where this optimizer has {mine!r}")
            missing = [name for name in self.defaults if name not in new]
            if missing:
                raise ValueError(f"{where} has no {missing[0]!r}, only {', '.join(new)}: was it another optimizer's?")
            settings = {name: self._checked(name, new[name]) for name in self.defaults}
            group = {**old, **copy.deepcopy({**new, "params": None}), **settings, "params": old["params"]}
            self.check(group)
            groups.append(group)
            order += list(zip(new["params"], old["params"], strict=True))
        state = {}
        for k, (key, p) in enumerate(order):
            if key in state_dict["state"]:
                state[k] = {name: self._restored(k, p, name, v) for name, v in state_dict["state"][key].items()}
        for group, new in zip(self.param_groups, groups, strict=True):
            group.update(new)  # the same dicts: schedulers and users may hold them
        self.state = state

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            settings = ", ".join(f"{key}={value}" for key, value in group.items() if key[:5] != "param")
            lines.append(f"  group {i}: {len(group['params'])} parameters, {settings}")
        return "\n".join([*lines, ")"])

    # -- helpers ----------------------------------------------------------------------------------

    def _checked(self, name: str, value: Any) -> Any:
        return checked(f"{type(self).__name__}: {name}", value, RANGES.get(name))

    def _tensors(self, params: Any) -> tuple[list[Tensor], list[str]]:
        """The tensors of a new group and their names, if they came as pairs."""
        me, tensors, names = type(self).__name__, [], []
        items = [params] if isinstance(params, Tensor) else _in_order(params, me)
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for k, item in enumerate(items):
            name, p = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
            what = f"{me}: parameter {k if name is None else repr(name)}"
            if not isinstance(p, Tensor):
                raise TypeError(f"{what} must be a Tensor, not {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{what} of shape {p.shape} is computed from others: optimize the leaves that it is computed from, "
                    "or make it one with t.detach().clone().requires_grad_()"
                )
            if id(p) in seen:
                raise ValueError(f"{what} of shape {p.shape} is given twice: it would be updated twice in each step")
            seen.add(id(p))
            tensors.append(p)
            names += [] if name is None else [name]
        if names and len(names) != len(tensors):
            raise ValueError(f"{me}: {len(names)} of {len(tensors)} parameters have names: give all one, or none")
        return tensors, names

    def _gradient(self, k: int, p: Tensor) -> Array:
        """The gradient's array, if it fits the parameter."""
        g, w = p.grad, p.data
        if (
            isinstance(g, Tensor)
            and g.data.shape == w.shape
            and g.data.dtype == w.dtype
            and backend.device_of(g.data) == backend.device_of(w)
        ):
            return g.data
        got = f"{g.shape} {g.dtype} on {g.device}" if isinstance(g, Tensor) else type(g).__name__
        raise ValueError(
            f"{type(self).__name__}: the gradient of parameter {k} is {got}, the parameter {p.shape} {p.dtype} on "
            f"{p.device}: .grad must be a Tensor of its shape, dtype and device"
        )

    def _restored(self, k: int, p: Tensor, name: str, value: Any) -> Any:
        """One entry of a saved state, where its parameter lives."""
        if name == "step":
            return int(value)
        if not hasattr(value, "shape"):
            return copy.deepcopy(value)
        if tuple(value.shape) != p.shape:
            raise ValueError(
                f"{type(self).__name__}: {name!r} of parameter {k} has shape {tuple(value.shape)} in the state, "
                f"the parameter {p.shape}"
            )
        return Tensor(value, dtype=p.dtype, device=p.device).data


def buffer(xp: Any, state: State, name: str, w: Array) -> Array:
    """The array `name` of a parameter's state: zeros of w's shape and dtype at first."""
    if name not in state:
        state[name] = xp.zeros_like(w)
    return state[name]


def checked(name: str, value: Any, allowed: Any) -> Any:
    """`value` as a Python number in the interval `allowed`, or as a bool (allowed: bool), or as a tuple (a tuple
    of intervals). None allows anything. Raises TypeError or ValueError, which print what was received."""
    if allowed is None:
        return value.item() if isinstance(value, np.generic) else value
    if allowed is bool:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}")
        return bool(value)
    if isinstance(allowed, tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(allowed):
            raise TypeError(f"{name} must be {len(allowed)} numbers in {allowed[0]}, got {value!r}")
        return tuple(checked(f"{name}[{i}]", v, a) for i, (v, a) in enumerate(zip(value, allowed, strict=True)))
    try:
        number = None if isinstance(value, (str, bytes, bool)) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{name} must be a number in {allowed}, got {value!r}")
    low, high, closed = _ends(allowed)
    if not (low < number < high or (number in closed)):
        raise ValueError(f"{name} must be in {allowed}, got {number!r}")
    return number


@cache
def _ends(interval: str) -> tuple[float, float, tuple[float, ...]]:
    """ "[0, 1)" -> 0, 1 and the ends that belong to it."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    return low, high, (low,) * (interval[0] == "[") + (high,) * (interval[-1] == "]")


def _in_order(params: Any, who: str) -> list[Any]:
    """As a list; a set has no order that a state dict could rely on."""
    if isinstance(params, (set, frozenset)):
        raise TypeError(f"{who}: parameters in a set have no fixed order: use a list")
    if isinstance(params, dict) or not isinstance(params, Iterable):
        raise TypeError(f"{who}: 'params' must be a Tensor or an iterable of them, not {type(params).__name__}")
    return list(params)


def _follow(state: State, w: Array) -> None:
    """Move a parameter's state to where the parameter has been moved."""
    for name, value in state.items():
        if type(value) is not type(w) and hasattr(value, "shape"):
            state[name] = backend.put(value, backend.device_of(w))
