"""Momentum's descendants: Adagrad, Adam, AdamW, Lion and Muon, each as its formula. Read momentum.py first.

In the formulas w is a parameter, g its gradient, t = 1, 2, ... the step, and <- happens in place, line by line."""

from __future__ import annotations

from itertools import count
from math import sqrt
from typing import Any, TypeAlias

from ..backend import Array
from .optimizer import Optimizer, Params, State, buffer, in_pieces, require, scratch, with_kernel

Betas: TypeAlias = tuple[float, float]


class Adagrad(Optimizer):
    """Steps shrink with all gradients seen so far (Duchi et al., JMLR 2011).

    g <- g + weight_decay w
    s <- s + g^2                                         s starts at initial_accumulator_value
    w <- w - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)"""

    def __init__(self, params: Params, lr: float = 1e-2, lr_decay: float = 0.0,
                 weight_decay: float = 0.0, initial_accumulator_value: float = 0.0, eps: float = 1e-10,
                 *, maximize: bool = False) -> None:  # fmt: skip
        start = {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, **start})

    @in_pieces
    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, lr_decay: float,
               weight_decay: float, eps: float, initial_accumulator_value: float) -> None:  # fmt: skip
        t, root = scratch(xp, w), scratch(xp, w, 1)
        if weight_decay:
            g = g + xp.multiply(weight_decay, w, out=t)
        s = buffer(xp, state, "sum", w, initial_accumulator_value)
        s += xp.multiply(g, g, out=t)
        xp.sqrt(s, out=root)
        root += eps
        u = xp.multiply(lr / (1 + (state["step"] - 1) * lr_decay), g, out=t)
        w -= xp.divide(u, root, out=t)


class Adam(Optimizer):
    """Momentum over RMSprop, both corrected for starting at 0 (Kingma and Ba, arXiv 1412.6980).

    g <- g + weight_decay w
    m <- beta1 m + (1 - beta1) g
    s <- beta2 s + (1 - beta2) g^2                       amsgrad: the largest s so far (arXiv 1904.09237)
    w <- w - lr m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps)"""

    def __init__(self, params: Params, lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "amsgrad": amsgrad, "maximize": maximize})

    @in_pieces
    @with_kernel("adam", True, exp_avg=None, exp_avg_sq=None, max_exp_avg_sq="amsgrad")
    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, betas: Betas, eps: float,
               weight_decay: float, amsgrad: bool) -> None:  # fmt: skip
        (beta1, beta2), t = betas, state["step"]
        u, root = scratch(xp, w), scratch(xp, w, 1)
        if weight_decay:
            g = g + xp.multiply(weight_decay, w, out=u)
        m, s = buffer(xp, state, "exp_avg", w), buffer(xp, state, "exp_avg_sq", w)
        m *= beta1
        m += xp.multiply(1 - beta1, g, out=u)
        s *= beta2
        s += xp.multiply(xp.multiply(1 - beta2, g, out=u), g, out=u)
        if amsgrad:
            largest = buffer(xp, state, "max_exp_avg_sq", w)
            s = xp.maximum(largest, s, out=largest)
        xp.sqrt(xp.divide(s, 1 - beta2**t, out=root), out=root)
        root += eps
        xp.multiply(lr / (1 - beta1**t), m, out=u)
        w -= xp.divide(u, root, out=u)


class AdamW(Adam):
    """Adam, its weight decay apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101).

    w <- w - lr weight_decay w,    then Adam's step without weight decay"""

    def __init__(self, params: Params, lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    @in_pieces
    @with_kernel("adamw", True, exp_avg=None, exp_avg_sq=None, max_exp_avg_sq="amsgrad")
    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, betas: Betas, eps: float,
               weight_decay: float, amsgrad: bool) -> None:  # fmt: skip
        w *= 1 - lr * weight_decay
        super().update(xp, w, g, state, lr, betas, eps, 0.0, amsgrad)


class Lion(Optimizer):
    """Only the sign of the momentum counts (Chen et al., arXiv 2302.06675): every weight moves by exactly lr.

        u <- sign(beta1 m + (1 - beta1) g)
        w <- w - lr (u + weight_decay w)
        m <- beta2 m + (1 - beta2) g                         m starts at 0

    Take an lr 3 to 10 times smaller, and a weight decay as much larger, than AdamW's."""

    def __init__(self, params: Params, lr: float = 1e-4, betas: Betas = (0.9, 0.99), weight_decay: float = 0.0,
                 *, maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    @in_pieces
    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, betas: Betas, weight_decay: float) -> None:
        beta1, beta2 = betas
        m = buffer(xp, state, "exp_avg", w)
        t, u = scratch(xp, w), scratch(xp, w, 1)
        xp.multiply(beta1, m, out=u)
        u += xp.multiply(1 - beta1, g, out=t)
        w *= 1 - lr * weight_decay
        w -= xp.multiply(lr, xp.sign(u, out=t), out=t)
        m *= beta2
        m += xp.multiply(1 - beta2, g, out=t)


class Muon(Optimizer):
    """Momentum whose matrix is made orthogonal: all directions move equally far (Keller Jordan 2024,
    kellerjordan.github.io/posts/muon). For the 2-D weights of hidden layers; give the rest to another optimizer.

        m <- momentum m + (1 - momentum) g                   m starts at 0
        u <- (1 - momentum) g + momentum m                   nesterov, else  u <- m
        w <- w - lr weight_decay w
        w <- w - lr scale orthogonalize(u)

    adjust_lr_fn: None or "original", scale = sqrt(max(1, rows / columns)); "match_rms_adamw",
    scale = 0.2 sqrt(max(rows, columns)), to use AdamW's lr (arXiv 2502.16982). PyTorch orthogonalizes in bfloat16,
    which NumPy lacks; here it is done in the parameter's own dtype, so results agree to bfloat16's two digits.
    Raises ValueError for a parameter that is not 2-D."""

    def __init__(self, params: Params, lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
                 nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
                 eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None) -> None:  # fmt: skip
        settings = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "eps": eps}
        series = {"ns_coefficients": ns_coefficients, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, {**settings, **series})

    def check(self, group: dict[str, Any]) -> None:
        n, momentum = group["ns_steps"], group["momentum"]
        require(self, isinstance(n, int) and 0 < n < 100, f"ns_steps must be an int from 1 to 99, got {n!r}")
        require(self, momentum <= 1, f"momentum weighs an average, so it must be in [0, 1], got {momentum}")
        for name, p in zip(group.get("param_names", count()), group["params"]):
            require(self, p.ndim == 2, f"for 2-D weights; parameter {name!r} has shape {p.shape}: give it to AdamW")

    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, weight_decay: float, momentum: float,
               nesterov: bool, ns_coefficients: tuple[float, float, float], eps: float, ns_steps: int,
               adjust_lr_fn: str | None) -> None:  # fmt: skip
        m = buffer(xp, state, "momentum_buffer", w)
        m *= momentum
        m += (1 - momentum) * g
        u = (1 - momentum) * g + momentum * m if nesterov else m
        rows, columns = w.shape
        scale = 0.2 * sqrt(max(rows, columns)) if adjust_lr_fn == "match_rms_adamw" else sqrt(max(1, rows / columns))
        w *= 1 - lr * weight_decay
        w -= lr * scale * orthogonalize(xp, u, ns_coefficients, eps, ns_steps)


def orthogonalize(xp: Any, g: Array, coefficients: tuple[float, float, float], eps: float, steps: int) -> Array:
    """The 2-D array g = U S V' with its singular values S brought near to 1, by Newton and Schulz' iteration:

        x <- g / max(|g|, eps)                               all singular values are at most 1 now
        x <- a x + b (x x') x + c (x x')^2 x                 `steps` times: an odd polynomial acts on S alone

    Muon's coefficients give up on exactly 1 for speed: five steps bring S between about 0.3 and 1.2."""
    a, b, c = coefficients
    wide = g.shape[0] <= g.shape[1]
    x = g if wide else g.T  # x x' is the smaller product
    x = x / xp.maximum(xp.sqrt((x * x).sum()), eps)
    for _ in range(steps):
        xx = x @ x.T
        x = a * x + (b * xx + c * xx @ xx) @ x
    return x if wide else x.T
