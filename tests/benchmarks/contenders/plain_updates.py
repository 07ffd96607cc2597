"""SGD with momentum and RMSprop with momentum in NumPy, one weight after the other, in place:
for contenders which give gradients but have no optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cases


def momentum(w: np.ndarray, g: np.ndarray, state: tuple[np.ndarray, ...], settings: dict[str, float]) -> None:
    (v,) = state
    v *= settings["momentum"]
    v += g
    w -= settings["lr"] * v


def rmsprop(w: np.ndarray, g: np.ndarray, state: tuple[np.ndarray, ...], settings: dict[str, float]) -> None:
    s, b = state
    s *= settings["alpha"]
    s += (1 - settings["alpha"]) * g * g
    b *= settings["momentum"]
    b += g / (np.sqrt(s) + settings["eps"])
    w -= settings["lr"] * b


class Optimizer:
    def __init__(self, name: str, weights: list[np.ndarray]) -> None:
        self.update: Any = momentum if name == "momentum" else rmsprop
        self.settings, self.weights = cases.OPTIMIZERS[name], weights
        self.states = [tuple(np.zeros_like(w) for _ in range(1 if name == "momentum" else 2)) for w in weights]

    def step(self, slopes: list[np.ndarray]) -> None:
        for w, g, state in zip(self.weights, slopes, self.states, strict=True):
            self.update(w, g, state, self.settings)
