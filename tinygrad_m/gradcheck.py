"""gradcheck: are the gradients right? It compares backward with central differences, in float64, to first or
second order. Use it on any function of your own; the tests use it on every operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from . import autograd, backend
from .tensor import Tensor


class GradcheckError(AssertionError):
    """A derivative that does not agree with differences; the message says where and by how much."""


def gradcheck(
    f: Callable[..., Any],
    inputs: Tensor | Sequence[Tensor],
    order: int = 1,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-5,
    seed: int = 0,
) -> bool:
    """True if the derivatives of f(*inputs), a Tensor, agree with (f(x + eps) - f(x - eps)) / (2 eps) for every
    element of every input that requires grad, which must be float64. A random weight on each output makes a
    scalar of it. order=2 checks the gradient's gradient in the same way. Raises GradcheckError if they differ."""
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for k, x in enumerate(given):
        if isinstance(x, Tensor) and x.requires_grad and x.dtype != np.float64:
            raise TypeError(f"gradcheck: input {k} is {x.dtype}; differences need dtype='float64'")
    wanted = [k for k, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError("gradcheck: no input requires grad, there is nothing to check")
    if not eps > 0:
        raise ValueError(f"gradcheck: eps must be positive, not {eps!r}")
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order must be 1 or 2, not {order!r}")
    generator = np.random.default_rng(seed)
    xs = [x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in given]

    def weigh(out: Any) -> Tensor:
        if not isinstance(out, Tensor):
            raise TypeError(f"gradcheck: f must return a Tensor, not {type(out).__name__}")
        key = out.shape
        if key not in weights:
            weights[key] = Tensor(generator.uniform(0.5, 1.5, out.shape), device=out.device)
        return (out * weights[key]).sum()

    weights: dict[Any, Tensor] = {}

    def scalar() -> Tensor:
        return weigh(f(*xs))

    _compare(scalar, xs, wanted, eps, atol, rtol, "first")
    if order == 2:
        probe = [Tensor(generator.uniform(0.5, 1.5, xs[k].shape), device=xs[k].device) for k in wanted]

        def slope() -> Tensor:  # a weighted sum of all first derivatives
            with autograd.enable_grad():
                grads = autograd.grad(scalar(), [xs[k] for k in wanted], create_graph=True, allow_unused=True)
                parts = [(g * p).sum() for g, p in zip(grads, probe, strict=True) if g is not None]
                total = parts[0]
                for part in parts[1:]:
                    total = total + part
                return cast(Tensor, total)

        _compare(slope, xs, wanted, eps, atol, rtol, "second")
    return True


def _compare(
    scalar: Callable[[], Tensor], xs: list[Any], wanted: list[int], eps: float, atol: float, rtol: float, order: str
) -> None:
    value = scalar()
    targets = [xs[k] for k in wanted]
    if value.requires_grad:
        found = autograd.grad(value, targets, allow_unused=True)
    else:
        found = (None,) * len(targets)
    for k, x, g in zip(wanted, targets, found, strict=True):
        analytic = np.zeros(x.shape) if g is None else g.numpy()
        flat = x.data.reshape(-1)  # a view: x was cloned, so it is contiguous
        for j in range(x.size):
            with autograd.no_grad(), backend.on(flat):
                before = float(flat[j])
                flat[j] = before + eps
                up = scalar().item()
                flat[j] = before - eps
                down = scalar().item()
                flat[j] = before
            numeric = (up - down) / (2 * eps)
            mine = float(analytic.reshape(-1)[j])
            if not abs(mine - numeric) <= atol + rtol * abs(numeric):
                place = tuple(int(i) for i in np.unravel_index(j, x.shape))
                raise GradcheckError(
                    f"the {order} derivative at input {k}{list(place)} is {mine:.8g}, differences give {numeric:.8g} "
                    f"(off by {abs(mine - numeric):.2g}, allowed {atol:g} + {rtol:g} * |difference|)"
                )
