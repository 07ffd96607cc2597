"""An optimizer's step on CUDA: one launch for all parameters of a group that its kernel in kernels/ can take, and
what has to happen before each replay of a step that was captured (capture.py). Read optimizer.py first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import backend, kernels
from ..backend import Array, CaptureError
from ..ops.pieces import ordered_as
from ..tensor import Tensor

if TYPE_CHECKING:
    from .optimizer import Optimizer


class Member(NamedTuple):
    """A parameter in a launch: its position over all groups, itself, its array, its state, and what the kernel gets."""

    k: int
    p: Tensor
    w: Array
    state: dict[str, Any]
    item: kernels.Item


def update_on_cuda(optimizer: Optimizer, i: int, many: list[Any], settings: dict[str, Any], maximize: bool) -> None:
    """update() for each (k, parameter, gradient, state) of group i."""
    name, _, arrays = getattr(optimizer.update, "kernel", ("", False, {}))
    used = _used(optimizer, settings)
    together: dict[Any, list[Member]] = {}
    for k, p, g, state in many:
        w = p._data
        with backend.on(w):
            xp = backend.of(w).xp
            kept = [state[key] for key in used if key in state]
            if not (name and kernels.fits(w, *kept) and kernels.dense(w, *kept)):
                _check_plain(optimizer, w)
                optimizer.update(xp, w, -g if maximize else g, state, **settings)
                continue
            first = any(key not in state for key in used)
            for key in used:
                state[key] = ordered_as(w, state[key] if key in state else xp.zeros_like(w))
            if optimizer._skip is not None and not hasattr(state.get("skipped"), "dtype"):
                if backend.capturing.hooks is not None:
                    raise _too_early(optimizer)
                state["skipped"] = xp.zeros(1)  # the host does not know: state["step"] counts all
            late = state["skipped"] if hasattr(state.get("skipped"), "dtype") else None
            own = [state[key] if key in used else None for key in arrays]
            item = w, ordered_as(w, g), own, first, late
            together.setdefault((w.device.id, w.dtype.char), []).append(Member(k, p, w, state, item))
    for home, members in together.items():
        for start in range(0, len(members), kernels.MANY):
            _launch(optimizer, (i, *home, start), members[start : start + kernels.MANY], used)


def _used(optimizer: Optimizer, settings: dict[str, Any]) -> list[str]:
    """The arrays of a parameter's state that these settings need."""
    _, _, arrays = getattr(optimizer.update, "kernel", ("", False, {}))
    return [key for key, setting in arrays.items() if setting is None or settings[setting]]


def _launch(optimizer: Optimizer, key: Any, members: list[Member], used: list[str]) -> None:
    """Start the kernel for at most MANY parameters. While a step is captured nothing is computed: what changes from
    step to step, the settings and the count of steps, is brought up to date before each replay."""
    me, (name, counted, _) = type(optimizer).__name__, optimizer.update.kernel  # type: ignore[attr-defined]
    numbers = optimizer._numbers.setdefault(key, kernels.Numbers())

    def refresh(ahead: int = 0) -> None:
        settings, maximize = optimizer._current(key[0], optimizer.param_groups[key[0]])
        if _used(optimizer, settings) != used:
            now = ", ".join(_used(optimizer, settings)) or "none"
            raise CaptureError(f"{me}: the settings need other state ({now}) than when the step was recorded "
                               f"({', '.join(used) or 'none'}): capture the step again")  # fmt: skip
        values = [x for v in settings.values() for x in (v if isinstance(v, tuple) else (v,))]
        steps = [m.state["step"] + ahead for m in members] if counted else []
        numbers.set(members[0].w, [float(x) for x in (maximize, *values, *steps)])

    def again() -> None:
        for m in members:
            kept = [m.state.get(name) for name in used]
            same = all(a is b for a, b in zip(kept, [a for a in m.item[2] if a is not None], strict=True))
            if m.p._data is not m.w or optimizer.state.get(m.k) is not m.state or not same:
                raise CaptureError(f"{me} has another state, or parameter {m.k} of shape {m.w.shape} other memory, "
                                   "than when the step was recorded: capture the step again")  # fmt: skip
        refresh(ahead=1)
        for m in members:
            m.state["step"] += 1

    hooks, stepped = backend.capturing.hooks, {id(m.p) for m in members}
    if hooks is None:
        refresh()
    elif numbers.array is None or any(m.item[3] for m in members):
        raise _too_early(optimizer)
    elif stepped & backend.capturing.stepped:
        raise CaptureError(f"{me} updates a parameter twice in one captured step, where both updates would have the "
                           "settings and the count of the second: capture the two apart")  # fmt: skip
    else:
        backend.capturing.stepped |= stepped
        hooks.append(again)
    kernels.update(name, [m.item for m in members], numbers.array, optimizer._skip)


def _too_early(optimizer: Optimizer) -> CaptureError:
    return CaptureError(f"{type(optimizer).__name__}: the first step makes the state, so it can't be captured: take "
                        "one in the calls before, the warmup, too")  # fmt: skip


def _check_plain(optimizer: Optimizer, w: Array) -> None:
    """Whether a parameter that no kernel can take may be updated by the formula."""
    me, instead = (
        type(optimizer).__name__,
        "use SGD, RMSprop, Adam or AdamW, on float32 or float64 without gaps in memory",
    )
    if backend.capturing.hooks is not None:
        raise CaptureError(f"{me}.step() on {w.dtype} of shape {w.shape} can't be captured: its settings would be "
                           f"frozen. Call it after the captured step, or {instead}")  # fmt: skip
    if optimizer._skip is not None:
        raise RuntimeError(f"GradScaler: {me} has no kernel for {w.dtype} of shape {w.shape}, to leave a step out "
                           f"without waiting for the GPU: {instead}, and not TINYGRAD_M_KERNELS=0; or autocast "
                           "without a GradScaler")  # fmt: skip
