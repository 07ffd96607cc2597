"""What all optimizers share: parameter groups, state, checks, and the loop over parameters. An algorithm adds
its own update of one array: see momentum.py, which is the file to read next (and adaptive.py, after it)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from math import inf, nextafter
from operator import is_
from types import NoneType
from typing import Any, TypeAlias, TypeVar

import numpy as np

from .. import backend, kernels
from ..autograd import enable_grad
from ..backend import Array
from ..ops.pieces import each, ordered_as, ranges
from ..ops.pieces import scratch as scratch_memory
from ..tensor import Tensor, wrap
from .on_cuda import update_on_cuda

Params: TypeAlias = Iterable[Tensor | tuple[str, Tensor] | dict[str, Any]]
F = TypeVar("F", bound=Callable[..., None])
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
        self._numbers: dict[Any, kernels.Numbers] = {}  # on CUDA: the settings, where kernels read them
        self._skip: Any = None  # while amp.GradScaler steps, on CUDA: a number there, not 0 to leave the step out
        self._seen: dict[int, Any] = {}  # for each group the values that were checked last, and what they gave
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[int, State] = {}
        items = self._listed(params, "an iterable of tensors")
        for group in items if items and isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)
        require(self, any(g["params"] for g in self.param_groups), "got no parameters: was a generator used up before?")

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
                if set_to_none:
                    p._grad = None
                elif p._grad is not None:
                    with backend.on(p.data):
                        p.grad = wrap(backend.of(p.data).xp.zeros_like(p.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. closure: computes the loss and its gradients first
        (zero_grad, loss, backward), and its loss is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        pieces = getattr(self.update, "pieces", False)
        k = -1
        with np.errstate(all="ignore"):  # nan and inf pass, as in PyTorch and on CUDA
            for i, group in enumerate(self.param_groups):
                settings, maximize = self._current(i, group)
                on_cuda: list[tuple[int, Tensor, Array, State]] = []
                for p in group["params"]:
                    k += 1
                    if p._grad is None:
                        continue
                    w, g, state = p._data, p._grad._data, self.state.setdefault(k, {})
                    if type(w) is np.ndarray or backend.capturing.hooks is None:  # else each replay counts
                        state["step"] = state.get("step", 0) + 1
                    _follow(state, w)
                    if type(w) is not np.ndarray:
                        on_cuda.append((k, p, g, state))
                    else:
                        g = ordered_as(w, -g if maximize else g)
                        if pieces and w.nbytes > PIECE and w.flags.forc:
                            self._update_in_pieces(w, g, state, settings)
                        else:
                            self.update(np, w, g, state, **settings)
                    p._version[0] += 1  # a graph that has kept the old value will say so
                if on_cuda:
                    update_on_cuda(self, i, on_cuda, settings, maximize)
        return loss

    def _current(self, i: int, group: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The settings of group number i for update(), and maximize. They are checked again if one has changed:
        a schedule's mistake is noticed."""
        values = list(map(group.__getitem__, self.defaults))
        before, settings, maximize = self._seen.get(i, ((), {}, False))
        if len(before) != len(values) or not all(map(is_, before, values)):
            settings = self._settings(group)
            maximize = settings.pop("maximize", False)
            if all(isinstance(v, _FIXED) for v in values):
                self._seen[i] = values, settings, maximize
        return settings, maximize

    def _update_in_pieces(self, w: Array, g: Array, state: State, settings: dict[str, Any]) -> None:
        """update() for one piece of w after the other, with the same piece of g and of the state's arrays."""
        order: Any = "C" if w.flags.c_contiguous else "F"
        for name, value in state.items():
            if type(value) is np.ndarray:
                state[name] = ordered_as(w, value)  # one that was loaded may be in another
        arrays = {name: v.reshape(-1, order=order) for name, v in state.items() if type(v) is np.ndarray}
        others = {name: v for name, v in state.items() if name not in arrays}
        flat_w, flat_g = w.reshape(-1, order=order), g.reshape(-1, order=order)
        fresh: dict[str, Array] = {}  # arrays that update() makes: it knows its piece only

        def piece(start: int, stop: int) -> None:
            part = slice(start, stop)
            own = {**others, **{name: array[part] for name, array in arrays.items()}}
            self.update(np, flat_w[part], flat_g[part], own, **settings)
            for name in own.keys() - (others | arrays).keys():
                if name not in fresh:
                    state[name] = np.empty_like(w)
                    fresh[name] = state[name].reshape(-1, order=order)
                fresh[name][part] = own[name]

        first, *rest = ranges(w.size, w.itemsize, PIECE)
        piece(*first)  # alone: it may make new arrays
        each(piece, rest)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters, {"params": tensors, "lr": ...}; what the group does not set, it takes from defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"{type(self).__name__}: a parameter group is a dict with 'params', not {group!r}")
        for key in group:
            known = key in self.defaults or key in ("params", "name", "initial_lr")
            require(self, known, f"unknown {key!r} in a parameter group, which may set {', '.join(self.defaults)}")
        pairs = self._pairs(group["params"])
        fresh = {**self.defaults, **group}
        fresh.update(self._settings(fresh), params=[p for _, p in pairs])
        if pairs and pairs[0][0] is not None:
            fresh["param_names"] = [name for name, _ in pairs]
        self.check(fresh)
        self.param_groups.append(fresh)

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: {name: NumPy copy or number}}, "param_groups": [{settings, "params": positions}]}."""
        k = count()
        groups = [copy.deepcopy({**group, "params": [next(k) for _ in group["params"]]}) for group in self.param_groups]
        state = {k: {name: np.array(backend.to_numpy(v)) if _is_array(v) else v for name, v in one.items()}
                 for k, one in self.state.items()}  # fmt: skip
        for one in state.values():
            if (late := one.pop("skipped", None)) is not None:  # counted on the GPU
                one["step"] -= int(late[0])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what state_dict() gave. Arrays may be NumPy's, CuPy's or Tensors: they are copied to their
        parameter's device and dtype. If anything does not fit, ValueError says what, and nothing is changed."""
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(f"{type(self).__name__}: it needs 'state' and 'param_groups', got {state_dict!r:.99}")
        saved, own, entries = state_dict["param_groups"], self.param_groups, state_dict["state"]
        require(self, len(saved) == len(own), f"state has {len(saved)} parameter groups, this optimizer {len(own)}")
        groups: list[dict[str, Any]] = []
        for i, (old, new) in enumerate(zip(own, saved)):
            where, n, m = f"group {i} of the state", len(new["params"]), len(old["params"])
            require(self, n == m, f"{where} has {n} parameters, this optimizer's {m}")
            for mine, theirs in zip(old.get("param_names", ()), new.get("param_names", ())):
                require(self, mine == theirs, f"{where} has parameter {theirs!r} where this optimizer has {mine!r}")
            for name in self.defaults:
                require(self, name in new, f"{where} has no {name!r}, only {', '.join(new)}: another optimizer's?")
            groups.append({**old, **copy.deepcopy(new), **self._settings(new), "params": old["params"]})
            self.check(groups[i])
        pairs = [pair for old, new in zip(own, saved) for pair in zip(new["params"], old["params"])]
        state = {k: {name: self._restored(k, p, name, v) for name, v in entries[key].items()}
                 for k, (key, p) in enumerate(pairs) if key in entries}  # fmt: skip
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
        return {k: checked(f"{type(self).__name__}: {k}", group[k], RANGES.get(k)) for k in self.defaults}

    def _listed(self, params: Any, allowed: str) -> list[Any]:
        """`params` in order; a set has none that a state dict could rely on."""
        if isinstance(params, (set, frozenset)):
            raise TypeError(f"{type(self).__name__}: parameters in a set have no fixed order: use a list")
        fits = isinstance(params, Iterable) and not isinstance(params, (Tensor, dict))
        require(self, fits, f"'params' must be {allowed}, such as model.parameters() or [w, b], "
                            f"not a {type(params).__name__}: put a single one into a list", TypeError)  # fmt: skip
        return list(params)

    def _pairs(self, params: Any) -> list[tuple[str | None, Tensor]]:
        """The (name or None, tensor) of a new group, checked."""
        items = [params] if isinstance(params, Tensor) else self._listed(params, "a Tensor or an iterable of them")
        pairs: list[Any] = [x if isinstance(x, tuple) and len(x) == 2 else (None, x) for x in items]
        seen = {id(p) for group in self.param_groups for p in group["params"]}
        for k, (name, p) in enumerate(pairs):
            what = f"parameter {k if name is None else repr(name)}"
            require(self, isinstance(p, Tensor), f"{what} must be a Tensor, not {type(p).__name__}", TypeError)
            what += f" of shape {p.shape}"
            require(self, p.is_leaf, f"{what} is computed from others: optimize those, or make it a leaf: "
                                     "t.detach().clone().requires_grad_()")  # fmt: skip
            require(self, id(p) not in seen, f"{what} is given twice: it would be updated twice in each step")
            seen.add(id(p))
        n = sum(name is not None for name, _ in pairs)
        require(self, n in (0, len(pairs)), f"{n} of {len(pairs)} parameters have names: give all one, or none")
        return pairs

    def _restored(self, k: int, p: Tensor, name: str, value: Any) -> Any:
        """One entry of a saved state, where its parameter lives."""
        if name == "step":
            return int(value)
        if not _is_array(value):
            return copy.deepcopy(value)
        shape = tuple(value.shape)
        require(self, shape == p.shape, f"{name!r} of parameter {k} has shape {shape} in the state, not {p.shape}")
        return Tensor(value, dtype=p.dtype, device=p.device).data


def require(who: Any, ok: bool, text: str, error: type[Exception] = ValueError) -> None:
    """Unless ok, raise an error which begins with the name of `who`'s class."""
    if not ok:
        raise error(f"{type(who).__name__}: {text}")


def buffer(xp: Any, state: State, name: str, w: Array, start: float = 0.0) -> Array:
    """The array `name` of a parameter's state, of w's shape and dtype. It starts at 0, or at `start`."""
    if name not in state:
        state[name] = xp.full_like(w, start)
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
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) > 0:
        raise TypeError(f"{name} must be a number in {interval}, got {value!r}")
    found, (least, greatest) = float(value), _ends(interval)
    if not least <= found <= greatest:
        raise ValueError(f"{name} must be in {interval}, got {found!r}")
    return found


@cache
def _ends(interval: str) -> tuple[float, float]:
    """The least and the greatest number in an interval: "[0, 1)" ends just before 1."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    return (low if "[" in interval else nextafter(low, inf)), (high if "]" in interval else nextafter(high, -inf))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and not isinstance(value, np.generic)


def _follow(state: State, w: Array) -> None:
    """Move a parameter's state to the device that the parameter is on: model.to(device) moves the parameter alone."""
    for name, value in state.items():
        if type(value) is int or type(value) is type(w) is np.ndarray:
            continue
        if _is_array(value) and backend.device_of(value) != backend.device_of(w):
            if name == "skipped" and type(w) is np.ndarray:  # now the host can know
                state["step"] -= int(backend.to_numpy(state.pop(name))[0])
                return _follow(state, w)
            state[name] = backend.put(value, backend.device_of(w))


# -- speed: one launch on CUDA; on the CPU, what is read again soon should still be in the processor's cache ----------

PIECE = 1 << 19  # bytes of a parameter at a time: a few arrays of this size fit into the cache of a core
_FIXED = (int, float, bool, str, tuple, NoneType)  # settings that can't change but by another in their place


def with_kernel(name: str, counted: bool = False, **arrays: str | None) -> Callable[[F], F]:
    """Mark an update() that a kernel of kernels/optimizers.cu does, too. counted: it reads state["step"]. arrays: the
    state's, each with the setting that it is needed for (None: always), in the kernel's order."""

    def mark(update: F) -> F:
        update.kernel = name, counted, arrays  # type: ignore[attr-defined]
        return update

    return mark


def in_pieces(update: F) -> F:
    """Mark an update() that treats every element by itself. step() may then give it a big parameter in pieces, as
    vectors, so that a piece stays in the cache from the first line of the formula to the last."""
    update.pieces = True  # type: ignore[attr-defined]
    return update


def scratch(xp: Any, w: Array, number: int = 0) -> Array:
    """An array like w for a result between two lines: `xp.multiply(lr, v, out=t)` needs no new memory. It is good until
    the next call with this number: all parameters, steps and optimizers share it, so it is in the cache."""
    if xp is not np or not 4096 < w.nbytes <= PIECE or not w.flags.forc:
        return xp.empty_like(w)
    row = scratch_memory(f"update {number}", w.shape if w.flags.c_contiguous else w.shape[::-1], w.dtype)
    return row if w.flags.c_contiguous else row.T
