"""The heart of the matter: SGD, momentum, Nesterov, RMSprop and RMSprop with momentum, each as its formula.
adaptive.py has their descendants, from Adagrad to Muon; optimizer.py the loop that calls update().

In the formulas w is a parameter, g its gradient, and <- happens in place, line by line. In the code t is a scratch
array, and xp.multiply(lr, v, out=t) is lr * v without new memory: memory is what an optimizer's time goes to."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from .optimizer import Optimizer, Params, State, buffer, in_pieces, scratch, with_kernel


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) and Nesterov's variant (Sutskever et al. 2013).

        g <- g + weight_decay w
        v <- g                                       the first time, else
        v <- momentum v + (1 - dampening) g
        w <- w - lr v                                or, Nesterov:  w <- w - lr (g + momentum v)

    A constant gradient is amplified by 1 / (1 - momentum). lr stands outside v: a schedule that drops it slows the
    whole velocity at once. (Sutskever's and Keras' v <- momentum v - lr g, w <- w + v keeps running at the old rate.)
    maximize: go up instead of down. Raises ValueError for nesterov without momentum or with dampening."""

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov, "maximize": maximize})

    def check(self, group: dict[str, Any]) -> None:
        momentum, dampening = group["momentum"], group["dampening"]
        if group["nesterov"] and (momentum == 0 or dampening != 0):
            raise ValueError(f"SGD: nesterov needs momentum > 0 and dampening = 0, got {momentum=} and {dampening=}")

    @in_pieces
    @with_kernel("sgd", momentum_buffer="momentum")
    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, momentum: float,
               dampening: float, weight_decay: float, nesterov: bool) -> None:  # fmt: skip
        t = scratch(xp, w)
        if weight_decay:
            g = g + xp.multiply(weight_decay, w, out=t)
        if momentum:
            if "momentum_buffer" not in state:
                v = state["momentum_buffer"] = xp.array(g)  # the first gradient, undamped
            else:
                v = state["momentum_buffer"]
                v *= momentum
                v += xp.multiply(1 - dampening, g, out=t) if dampening else g
            g = xp.add(g, xp.multiply(momentum, v, out=t), out=t) if nesterov else v
        w -= xp.multiply(lr, g, out=t)


class RMSprop(Optimizer):
    """Every coordinate's gradient divided by its own running size (Tieleman and Hinton 2012), with momentum.

        g <- g + weight_decay w
        s <- alpha s + (1 - alpha) g^2                   s, m and b start at 0
        m <- alpha m + (1 - alpha) g                     centered (Graves 2013)
        u <- g / (sqrt(s) + eps)                         centered:  u <- g / (sqrt(s - m^2) + eps)
        b <- momentum b + u
        w <- w - lr b

    eps stands outside the root and lr outside b, as in PyTorch; TensorFlow and Keras put both inside. s starts at 0
    without correction, so the first step is lr / sqrt(1 - alpha), whatever the gradient's size: 10 lr by default."""

    def __init__(self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False,
                 *, maximize: bool = False) -> None:  # fmt: skip
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**settings, "centered": centered, "maximize": maximize})

    @in_pieces
    @with_kernel("rmsprop", square_avg=None, grad_avg="centered", momentum_buffer="momentum")
    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, alpha: float, eps: float,
               weight_decay: float, momentum: float, centered: bool) -> None:  # fmt: skip
        t = scratch(xp, w)
        if weight_decay:
            g = g + xp.multiply(weight_decay, w, out=t)
        s = buffer(xp, state, "square_avg", w)
        s *= alpha
        s += xp.multiply(xp.multiply(1 - alpha, g, out=t), g, out=t)
        variance = s
        if centered:
            m = buffer(xp, state, "grad_avg", w)
            m *= alpha
            m += xp.multiply(1 - alpha, g, out=t)
            variance = xp.subtract(s, xp.multiply(m, m, out=t), out=t)
            variance = xp.maximum(variance, 0, out=t)  # rounding can make it a little less than 0, and its root NaN
        u = xp.sqrt(variance, out=t)
        u += eps
        u = xp.divide(g, u, out=t)
        if momentum:
            b = buffer(xp, state, "momentum_buffer", w)
            b *= momentum
            b += u
            u = b
        w -= xp.multiply(lr, u, out=t)
