"""Mixed precision: linear layers and convolutions compute in float16, weights, gradients and the optimizer stay
float32. autocast() says where; GradScaler keeps small gradients from becoming 0 in float16:

    scaler = tg.amp.GradScaler()
    for x, y in loader:
        optimizer.zero_grad()
        with tg.amp.autocast():
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()      # the gradients of scale * loss,
        scaler.step(optimizer)             # divided by the scale; no step if one of them is inf or nan
        scaler.update()                    # then a smaller scale, else now and then a larger one

Names as in PyTorch, the method of Micikevicius et al. (2018, arXiv:1710.03740)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ContextDecorator
from functools import reduce
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from . import backend, kernels
from .backend import Array
from .tensor import Tensor, wrap

if TYPE_CHECKING:
    from .optim import Optimizer


class _Autocasting(threading.local):
    on = False
    before: Sequence[bool] = ()  # what to go back to after each autocast


autocasting = _Autocasting()


class autocast(ContextDecorator):
    """`with autocast():` (or `@autocast()`), in this thread, on every device:

        F.linear, F.conv2d, nn.Linear, nn.Conv2d     cast float32 inputs, weights and biases to float16, give float16
        losses, (log_)softmax, batch and layer norm  cast float16 inputs to float32, give float32
        all else, x @ w too                          as without: relu, pooling and dropout give what they get

    The weights' gradients are float32. Beyond 65504 float16 is inf: say x.astype("float32").sum(). On the CPU it is
    for trying out only: NumPy's float16 is slow. autocast(enabled=False) switches off what is on outside."""

    def __init__(self, enabled: bool = True) -> None:
        if not isinstance(enabled, bool):
            remedy = "it is for all devices, and as a decorator it has brackets, @autocast()"
            raise TypeError(f"autocast() takes enabled=True or False, not {enabled!r}: {remedy}")
        self.enabled = enabled

    def __enter__(self) -> None:
        autocasting.before, autocasting.on = (*autocasting.before, autocasting.on), self.enabled

    def __exit__(self, *exc: object) -> None:
        *autocasting.before, autocasting.on = autocasting.before


def narrow(*tensors: Any) -> list[Any]:
    """Those of float32 in float16, the others as they are."""
    return [t.astype("float16") if getattr(t, "dtype", None) == np.float32 else t for t in tensors]


def wide(x: Tensor) -> Tensor:
    """x; inside autocast in float32 if it is float16."""
    return x.astype("float32") if autocasting.on and x.dtype.char == "e" else x


_KEYS = "scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"  # of a state, as in PyTorch
_ORDER = "first scale(loss).backward(), then perhaps unscale_(optimizer), step(optimizer), and update() once"


class GradScaler:
    """Multiplies the loss by a scale, so that gradients that pass through float16 do not become 0; step() divides the
    gradients by it. If one is inf or nan then, the step is left out, and update() multiplies the scale by
    backoff_factor; after growth_interval good steps in a row it multiplies it by growth_factor. On CUDA nothing waits:
    the GPU itself leaves the step out, also in a captured step, where the optimizer has a kernel for that: SGD,
    RMSprop, Adam, AdamW. enabled=False: nothing is scaled, and step() is the optimizer's."""

    def __init__(self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:  # fmt: skip
        self._take_settings(init_scale, growth_factor, backoff_factor, growth_interval)
        self._enabled, self._device = bool(enabled), ""  # no device yet
        # the scale, and how many steps it has been good: always in the same memory, so that launches can be replayed
        self._numbers: Array = np.array([init_scale, 0], np.float32)
        self._found: WeakKeyDictionary[Optimizer, Array] = WeakKeyDictionary()  # (1,): not 0 if one is inf or nan
        self._done: WeakKeyDictionary[Optimizer, str] = WeakKeyDictionary()  # since the last update()

    def scale(self, loss: Tensor) -> Tensor:
        """The loss times the scale."""
        if not self._enabled:
            return loss
        if not isinstance(loss, Tensor):
            raise TypeError(f"GradScaler.scale() takes a Tensor, not {loss!r}: scale the losses one by one")
        if not self._device:
            self._numbers, self._device = backend.put(self._numbers, loss.device), loss.device
        self._check("the loss", loss, 'losses inside autocast are; others compute of x.astype("float32")')
        with backend.on(self._numbers):  # a copy: update() must not change what backward() will read
            return loss * wrap(self._numbers[:1].reshape(()).astype(loss.dtype))

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide an optimizer's gradients by the scale, in place, to clip them or look at them before step()."""
        if not self._enabled:
            return
        if not self._device or optimizer in self._done:
            done = "were " + self._done[optimizer] if self._device else "have no scale"
            raise RuntimeError(f"GradScaler: {type(optimizer).__name__}'s gradients {done}: {_ORDER}")
        grads, xp = self._gradients(optimizer), backend.of(self._numbers).xp
        with backend.on(self._numbers), np.errstate(all="ignore"):
            found = self._found[optimizer] = xp.zeros(1, np.float32)
            for g in kernels.unscale(grads, self._numbers, found):  # those that no kernel can take
                g /= self._numbers[:1].reshape(()).astype(g.dtype)
                xp.maximum(found, (~xp.isfinite(g)).any(), out=found)
        self._done[optimizer] = "unscaled already"

    def step(self, optimizer: Optimizer) -> Any:
        """unscale_(), unless that was done, and optimizer.step(), unless a gradient is inf or nan."""
        if not self._enabled:
            return optimizer.step()
        if self._done.get(optimizer) != "unscaled already":
            self.unscale_(optimizer)
        self._done[optimizer] = "used for a step"
        if self._device == "cpu":
            return None if self._found[optimizer][0] else optimizer.step()
        try:
            optimizer._skip = self._found[optimizer]
            return optimizer.step()
        finally:
            optimizer._skip = None

    def update(self) -> None:
        """A new scale, when every optimizer has made its step."""
        if not self._enabled:
            return
        if not self._done:
            raise RuntimeError(f"GradScaler: no step was made since the last update(): {_ORDER}")
        xp, numbers, founds = backend.of(self._numbers).xp, self._numbers, [self._found[o] for o in self._done]
        self._done.clear()
        with backend.on(numbers), np.errstate(all="ignore"):
            if kernels.rescale(numbers, found := reduce(xp.maximum, founds), *self._settings):
                return
            (growth, backoff, interval), scale, bad = self._settings, numbers[:1], found > 0  # the kernel's plain rule
            good, larger = (numbers[1:] + 1) * ~bad, scale * growth
            larger = xp.where((good >= interval) & xp.isfinite(larger), larger, scale)
            numbers[...] = xp.concatenate([xp.where(bad, scale * backoff, larger), good * (good < interval)])

    def get_scale(self) -> float:
        """The scale now (waits for the GPU)."""
        return float(backend.to_numpy(self._numbers)[0]) if self._enabled else 1.0

    def state_dict(self) -> dict[str, Any]:
        """The scale, the settings, and the count of good steps, in PyTorch's names (waits for the GPU)."""
        scale, good = backend.to_numpy(self._numbers).tolist()
        return dict(zip(_KEYS, (scale, *self._settings, int(good)))) if self._enabled else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what state_dict() gave, ours or PyTorch's. A captured step keeps the factors that it has."""
        if self._enabled:
            if missing := [key for key in _KEYS if key not in state_dict]:
                raise ValueError(f"GradScaler: no {missing[0]!r} in the state's {list(state_dict)}: of enabled=False?")
            scale, *settings, good = (state_dict[key] for key in _KEYS)
            self._take_settings(scale, *settings)
            with backend.on(self._numbers):
                self._numbers[...] = backend.put(np.array([scale, good], np.float32), self._device or "cpu")

    def _take_settings(self, scale: Any, growth: Any, backoff: Any, interval: Any) -> None:
        factors = ("init_scale", scale, 0, 3e38), ("growth_factor", growth, 1, 3e38), ("backoff_factor", backoff, 0, 1)
        for name, value, low, high in (*factors, ("growth_interval", interval, 0, 2**24)):  # float32 counts so far
            kind: Any = Integral if high == 2**24 else Real
            if isinstance(value, bool) or not isinstance(value, kind) or not low < value < high:
                what = "whole number" if kind is Integral else "number"
                raise ValueError(f"GradScaler: {name} must be a {what} between {low} and {high}, not {value!r}")
        self._settings = float(growth), float(backoff), int(interval)

    def _check(self, what: str, t: Tensor, remedy: str) -> None:
        if t.dtype.char not in "fd":
            raise TypeError(f"GradScaler: {what} is {t.dtype}, but must be float32 or float64: {remedy}")
        if t.device != self._device:
            text = f"{what} is on {t.device}, but the scale on {self._device}, as the first loss was"
            raise backend.DeviceError(f"GradScaler: {text}: use a GradScaler for each device")

    def _gradients(self, optimizer: Optimizer) -> list[Array]:
        """The arrays of all gradients, checked, and marked as changed."""
        name, params = type(optimizer).__name__, [p for group in optimizer.param_groups for p in group["params"]]
        grads = {k: p.grad for k, p in enumerate(params) if p.grad is not None}
        for k, g in grads.items():
            what = f"the gradient of {name}'s parameter {k}, of shape {g.shape},"
            self._check(what, g, 'keep weights in float32, model.to("float32"), and let autocast cast them')
            g._version[0] += 1  # a graph that has kept the old value will say so
        if not grads:
            raise RuntimeError(f"GradScaler: no parameter of {name} has a gradient: {_ORDER}")
        return [g.data for g in grads.values()]
