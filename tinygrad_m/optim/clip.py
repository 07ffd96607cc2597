"""Gradient clipping, between backward() and step(): against one bad batch, or a network's exploding gradients.
PyTorch keeps these two functions in nn.utils. It is the last file of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite

import numpy as np

from .. import backend
from ..backend import Array
from ..tensor import Tensor, wrap
from .optimizer import checked


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale all gradients, in place, by one factor, so that together they have a norm of at most max_norm:

        g <- g min(1, max_norm / (norm + 1e-6))

    norm_type: 2, 1, any p > 0, or inf. Returns the norm before clipping, a 0-d Tensor: the device is not waited for
    until you read it, or unless error_if_nonfinite (RuntimeError for a norm that is inf or nan)."""
    max_norm = checked("clip_grad_norm_: max_norm", max_norm, "[0, inf]")
    norm_type = checked("clip_grad_norm_: norm_type", norm_type, "(0, inf]")
    grads = [grad for grad in _gradients(parameters) if grad.size]
    if not grads:
        return Tensor(0.0)
    home = grads[0].device
    with np.errstate(all="ignore"):  # nan and inf pass, as in PyTorch, without a warning
        norms = [backend.put(_norm(grad.data, norm_type), home) for grad in grads]
        with backend.on(norms[0]):
            norm = _norm(backend.of(norms[0]).xp.concatenate(norms), norm_type)
            factor = backend.of(norm).xp.minimum(max_norm / (norm + 1e-6), 1.0)
        total = wrap(norm.reshape(()))
        if error_if_nonfinite and not isfinite(total.item()):
            raise RuntimeError(
                f"the gradients' norm of order {norm_type} is {total.item()}, so they can't be clipped: look for the "
                "step that diverged, or pass error_if_nonfinite=False"
            )
        for grad in grads:
            with backend.on(grad.data):
                grad.data *= backend.put(factor, grad.device).reshape(())
            grad._version[0] += 1
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient, in place, to [-clip_value, clip_value]."""
    limit = checked("clip_grad_value_: clip_value", clip_value, "[0, inf]")
    for grad in _gradients(parameters):
        with backend.on(grad.data):
            backend.of(grad.data).xp.clip(grad.data, -limit, limit, out=grad.data)
        grad._version[0] += 1


def _norm(g: Array, p: float) -> Array:
    """(sum |g|^p)^(1/p), as an array of shape (1,); in float32 at least, where float16 would soon be inf."""
    with backend.on(g):
        xp = backend.of(g).xp
        size = xp.abs(g).astype("float32") if g.dtype.itemsize < 4 else xp.abs(g)
        if p == inf:
            norm = size.max()
        else:
            norm = xp.sqrt((size * size).sum()) if p == 2 else (size**p).sum() ** (1 / p)
        return norm.reshape(1)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients that there are."""
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for k, p in enumerate(tensors):
        if not isinstance(p, Tensor):
            raise TypeError(f"parameter {k} must be a Tensor, not {type(p).__name__}")
    return [p.grad for p in tensors if p.grad is not None]
