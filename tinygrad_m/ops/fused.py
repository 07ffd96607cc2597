"""Fused operations: one node instead of several, for speed. Each says what plain operations it stands for;
the tests hold the two equal, to second order. Read these after the others; conv.py is the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Operand
from ..backend import Array
from ..operation import op
from .elementwise import XP, where
from .reduce import softmax

__all__ = [
    "linear", "softmax_cross_entropy",
]  # fmt: skip


def _weight_slope(g: Any, x: Any) -> Any:
    return g.reshape(-1, g.shape[-1]).T @ x.reshape(-1, x.shape[-1])


@op(x=lambda g, weight: g @ weight, weight=_weight_slope, bias=lambda g: g)
def linear(xp: XP, x: Operand, weight: Operand, bias: Operand) -> Array:
    """x @ weight.T + bias: x (..., in), weight (out, in), bias (out,) or None -> (..., out)."""
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"the input {x.shape} needs as many features in its last axis as weight {weight.shape} in axis 1"
        )
    out = xp.matmul(x, weight.T)
    if bias is not None:
        out += bias
    return out


@op(cast=None)
def one_hot(xp: XP, labels: Operand, classes: int = 1, dtype: Any = np.float32) -> Array:
    """(N,) integers -> (N, classes): 1 at the label, 0 elsewhere; a label out of range gives a row of nan."""
    hot = (labels[:, None] == xp.arange(classes)).astype(dtype)
    return xp.where(((labels >= 0) & (labels < classes))[:, None], hot, hot.dtype.type(np.nan))


def _logits_slope(g: Any, logits: Any, labels: Any) -> Any:
    hot = one_hot(labels, classes=logits.shape[-1], dtype=logits.dtype)
    g = g[:, None]
    return where(g == 0, 0.0, g * (softmax(logits, axis=-1) - hot))  # an ignored label may be out of range


@op(cast=None, logits=_logits_slope)
def softmax_cross_entropy(xp: XP, logits: Operand, labels: Operand) -> Array:
    """-log_softmax(logits)[n, labels[n]]: logits (N, C), labels (N,) integers -> (N,). A label out of range
    gives nan: no wrong loss, and no wait for the device to look."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"logits {logits.shape} must be (N, C), labels {labels.shape} {labels.dtype} (N,) and integers"
        )
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(shifted), axis=-1))
    inside = (labels >= 0) & (labels < logits.shape[-1])
    picked = shifted[xp.arange(len(labels)), xp.where(inside, labels, 0)]
    return xp.where(inside, total - picked, logits.dtype.type(np.nan))
