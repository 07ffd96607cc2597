"""How wrong is a prediction? Each loss is a formula for a sample or an element, then `reduction`: "mean" and "sum"
give a number, "none" gives them all. Targets may be Tensors, arrays or lists. Start at mse_loss;
criteria.py has the same losses as modules, such as nn.CrossEntropyLoss."""

import math
from typing import Any

import numpy as np

from .. import kernels, ops
from ..amp import wide
from ..autograd import is_grad_enabled
from ..creation import arange, ones
from ..ops.fused import _mean_cross_entropy
from ..tensor import Tensor

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "hinge_embedding_loss",
           "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss", "multi_margin_loss", "nll_loss",
           "plain_cross_entropy", "smooth_l1_loss", "soft_margin_loss"]  # fmt: skip

# -- numbers against numbers ----------------------------------------------------------------------


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(x - y)^2."""
    input, target = _pair("mse_loss", input, target, reduction)
    return _reduce(ops.square(input - target), reduction)


def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|x - y|."""
    input, target = _pair("l1_loss", input, target, reduction)
    return _reduce(ops.abs(input - target), reduction)


def smooth_l1_loss(input: Tensor, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where d = |x - y| < beta, else d - beta/2 (Girshick, 2015, arXiv:1504.08083)."""
    input, target = _pair("smooth_l1_loss", input, target, reduction)
    beta = float(beta)
    if beta == 0.0:
        return l1_loss(input, target, reduction)
    if not beta > 0.0:
        raise ValueError(f"smooth_l1_loss: beta must be >= 0, not {beta!r}")
    d = ops.abs(input - target)
    return _reduce(ops.where(d < beta, ops.square(d) * (0.5 / beta), d - 0.5 * beta), reduction)


def huber_loss(input: Tensor, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where d = |x - y| <= delta, else delta (d - delta/2) (Huber, 1964)."""
    input, target = _pair("huber_loss", input, target, reduction)
    delta = float(delta)
    if not delta > 0.0:
        raise ValueError(f"huber_loss: delta must be > 0, not {delta!r}")
    d = ops.abs(input - target)
    return _reduce(ops.where(d <= delta, ops.square(d) * 0.5, (d - 0.5 * delta) * delta), reduction)


# -- probabilities --------------------------------------------------------------------------------


def binary_cross_entropy(input: Tensor, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-w (y log(p) + (1 - y) log(1 - p)) for probabilities p = input; for p = sigmoid(x) rather use ..._with_logits,
    which is exact. As in PyTorch a logarithm is at least -100; its slope there is taken as 0. Raises ValueError for p
    outside [0, 1] (on CUDA, where nothing waits to look, the loss is nan)."""
    p, y = _pair("binary_cross_entropy", input, target, reduction)
    if p.device == "cpu" and p.size and not (p.data.min() >= 0 and p.data.max() <= 1):
        got, remedy = f"{p.data.min():g} to {p.data.max():g}", "sigmoid() first, or binary_cross_entropy_with_logits"
        raise ValueError(f"binary_cross_entropy: probabilities from 0 to 1 expected, got {got}: use {remedy}")
    loss = -(y * _log_from_minus_100(p) + (1.0 - y) * _log_from_minus_100(1.0 - p))
    return _reduce(loss if weight is None else loss * _weight("binary_cross_entropy", "weight", weight, p), reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Any, weight: Any = None, reduction: str = "mean",
                                     pos_weight: Any = None) -> Tensor:  # fmt: skip
    """binary_cross_entropy of sigmoid(x), without its rounding:
    w ((1 - y) x + (1 + (pos_weight - 1) y) log(1 + e^-x))."""
    name = "binary_cross_entropy_with_logits"
    x, y = _pair(name, input, target, reduction)
    tail = ops.softplus(-x)
    if pos_weight is not None:
        tail = tail * ((_weight(name, "pos_weight", pos_weight, x) - 1.0) * y + 1.0)
    loss = (1.0 - y) * x + tail
    return _reduce(loss if weight is None else loss * _weight(name, "weight", weight, x), reduction)


def _log_from_minus_100(p: Tensor) -> Tensor:
    """log(p), but at least -100, with a slope of 0 there (and not 0 * inf)."""
    zero = p == 0
    return ops.where(zero, -100.0, ops.clip(ops.log(ops.where(zero, 1.0, p)), min=-100.0))


def kl_div(input: Tensor, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Kullback and Leibler's divergence y (log(y) - x): input x holds log-probabilities, target probabilities y, or
    log(y) with log_target. "batchmean" divides the sum by the batch size, which is the textbook's value."""
    x, y = _pair("kl_div", input, target, reduction, "batchmean")
    log_y = y if log_target else ops.log(ops.where(y == 0, 1.0, y))  # 0 log(0) = 0
    loss = (ops.exp(y) if log_target else y) * (log_y - x)
    return loss.sum() * (1.0 / x.shape[0]) if reduction == "batchmean" else _reduce(loss, reduction)


# -- classes --------------------------------------------------------------------------------------


def cross_entropy(input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """-log(softmax(x))[y]: how surprised scores x (logits) are at the label y. Input (N, C), (C,) or
    (N, C, d1, ...); target integer labels (N,), () or (N, d1, ...), or probabilities of the input's shape.

    weight           one for each class, w (C,); the mean is then sum(w[y] loss) / sum(w[y])
    ignore_index     samples with this label count for nothing, neither in the sum nor in the mean
    label_smoothing  s: the target becomes (1 - s) target + s / C (Szegedy et al., 2015, arXiv:1512.00567)

    Raises ValueError for labels that are no class, TypeError if they are no integers; a bad label on CUDA is not
    waited for, and makes the loss nan. Without options this is one fused operation, else plain_cross_entropy."""
    x, y, shape, maybe_ignored = _classes("cross_entropy", input, target, ignore_index, reduction)
    if weight is not None or label_smoothing != 0.0 or y.dtype.kind == "f":
        return plain_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    if reduction == "mean" and x.size and (not maybe_ignored or kernels.fits(x.data)):
        slope: list[Any] | None = [] if x.requires_grad and is_grad_enabled() else None
        return _mean_cross_entropy(x, y, kept=slope, ignore=ignore_index if maybe_ignored else None)
    loss = ops.softmax_cross_entropy(x, y)
    if not maybe_ignored:
        return _reduce(loss, reduction, shape)
    kept = y != ignore_index
    return _reduce(ops.where(kept, loss, 0.0), reduction, shape, kept.astype(x.dtype))


def plain_cross_entropy(input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100,
                        reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """cross_entropy in plain operations: nll_loss(log_softmax(x), y), and all options."""
    name, s = "cross_entropy", float(label_smoothing)
    if not 0.0 <= s <= 1.0:
        raise ValueError(f"{name}: label_smoothing must be from 0 to 1, not {label_smoothing!r}")
    x, y, shape, _ = _classes(name, input, target, ignore_index, reduction)
    log_p, w, classes = ops.log_softmax(x, axis=1), _class_weight(name, weight, x), x.shape[1]
    if y.dtype.kind == "f":  # probabilities
        return _reduce(-(log_p * w * (y * (1.0 - s) + s / classes)).sum(axis=1), reduction, shape)
    loss, sample_weight = _nll(log_p, y, w, ignore_index)
    if s > 0.0:
        uniform = -(log_p * w).sum(axis=1) * (s / classes)
        loss = loss * (1.0 - s) + ops.where(y != ignore_index, uniform, 0.0)
    return _reduce(loss, reduction, shape, sample_weight)


def nll_loss(input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:  # fmt: skip
    """-w[y] x[y] for log-probabilities x = log_softmax(...) and integer labels y; shapes and options as in
    cross_entropy, of which this is the second half."""
    log_p, y, shape, _ = _classes("nll_loss", input, target, ignore_index, reduction)
    loss, sample_weight = _nll(log_p, y, _class_weight("nll_loss", weight, log_p), ignore_index)
    return _reduce(loss, reduction, shape, sample_weight)


def _nll(log_p: Tensor, y: Tensor, w: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """-w[y] log_p[y] and w[y] for each sample, both 0 for ignored ones."""
    hot, ignored = _hot(y, log_p), y == ignore_index
    return ops.where(ignored, 0.0, -_pick(log_p * w, hot)), ops.where(ignored, 0.0, _pick(w, hot))


def multi_margin_loss(input: Tensor, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """w[y] / C times the sum over classes j != y of max(0, margin - x[y] + x[j])^p: input (N, C) or (C,), integer
    labels (N,) or (), p 1 or 2 (Crammer and Singer, 2001)."""
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p must be 1 or 2, not {p!r}")
    x, y, shape, _ = _classes("multi_margin_loss", input, target, None, reduction)
    w, hot = _class_weight("multi_margin_loss", weight, x), _hot(y, x)
    over = ops.relu(x - ops.expand_dims(_pick(x, hot), axis=1) + float(margin))
    over = ops.where(hot, 0.0, over if p == 1 else ops.square(over)).sum(axis=1)
    return _reduce(over * _pick(w, hot) * (1.0 / x.shape[1]), reduction, shape)


# -- a target of 1 or -1 --------------------------------------------------------------------------


def soft_margin_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """log(1 + e^(-y x)) with y of 1 or -1."""
    x, y = _pair("soft_margin_loss", input, target, reduction, signs=True)
    return _reduce(ops.softplus(-y * x), reduction)


def hinge_embedding_loss(input: Tensor, target: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1: x is a distance, small for what belongs together."""
    x, y = _pair("hinge_embedding_loss", input, target, reduction, signs=True)
    return _reduce(ops.where(y > 0, x, ops.clip(float(margin) - x, min=0.0)), reduction)


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Any, margin: float = 0.0,
                        reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, -y (x1 - x2) + margin): y = 1 wants x1 above x2, y = -1 below."""
    x1, x2 = _pair("margin_ranking_loss", input1, input2, reduction)
    x1, y = _pair("margin_ranking_loss", x1, target, reduction, signs=True)
    return _reduce(ops.clip(-y * (x1 - x2) + float(margin), min=0.0), reduction)


# -- what they share ------------------------------------------------------------------------------


def _reduce(loss: Tensor, reduction: str, shape: Any = None, sample_weight: Tensor | None = None) -> Tensor:
    """One number, or all in a shape. The mean is over the sample_weight, if any: nan if all of it is 0."""
    if reduction == "mean":
        return loss.mean() if sample_weight is None else loss.sum() / sample_weight.sum()
    return loss.sum() if reduction == "sum" else loss if shape is None else loss.reshape(shape)


def check_reduction(name: str, reduction: str, *also: str) -> None:
    """ValueError unless reduction is "mean", "sum", "none" or one of `also`."""
    known = ("mean", "sum", *also)
    if reduction not in (*known, "none"):
        raise ValueError(f"{name}: reduction must be {', '.join(map(repr, known))} or 'none', not {reduction!r}")


def _like(value: Any, x: Tensor) -> Tensor:
    """A value in x's dtype if that is floating; arrays and lists also on x's device."""
    dtype = x.dtype if x.dtype.kind == "f" else None
    if not isinstance(value, Tensor):
        return Tensor(value, dtype, x.device)
    return value if dtype is None else value.astype(dtype)


def _pair(name: str, input: Any, target: Any, reduction: str, *also: str, signs: bool = False) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one shape: broadcasting (N, 1) against (N,) would compare everything with everything."""
    check_reduction(name, reduction, *also)
    x = wide(input if isinstance(input, Tensor) else Tensor(input))
    y = _like(target, x)
    if x.shape != y.shape:
        remedy = "reshape one of them: target.reshape(input.shape)" if x.size == y.size else "give one target for each"
        raise ValueError(f"{name}: input {x.shape} and target {y.shape} must have the same shape: {remedy}")
    if signs and y.device == "cpu" and not bool((abs(y.data) == 1).all()):
        raise ValueError(f"{name}: targets must be 1 or -1: of 0 and 1 make them with 2 * target - 1")
    return x, y


def _weight(name: str, what: str, weight: Any, x: Tensor) -> Tensor:
    """A weight that broadcasts against x and does not enlarge it."""
    w = _like(weight, x)
    if w.ndim > x.ndim or any(a not in (1, b) for a, b in zip(w.shape[::-1], x.shape[::-1])):
        raise ValueError(f"{name}: {what} of shape {w.shape} does not broadcast to the input's shape {x.shape}")
    return w


def _class_weight(name: str, weight: Any, x: Tensor) -> Tensor:
    """Weights (C,) of the classes of x (n, C); ones if None."""
    w = ones(x.shape[1], dtype=x.dtype, device=x.device) if weight is None else _like(weight, x)
    if w.shape != (x.shape[1],):
        raise ValueError(f"{name}: weight must have one element for each of {x.shape[1]} classes, got shape {w.shape}")
    return w


def _hot(y: Tensor, x: Tensor) -> Tensor:
    """(n, C): True at each sample's label."""
    return ops.expand_dims(y, axis=1) == arange(x.shape[1], device=y.device)


def _pick(x: Tensor, hot: Tensor) -> Tensor:
    """x[y] of each sample, nan where the label is no class."""
    picked = ops.where(hot, x, 0.0).sum(axis=1)  # where, not times: 0 * -inf is nan
    return ops.where(hot.any(axis=1), picked, math.nan)


def extremes(x: Tensor) -> tuple[int, int]:
    """The least and largest of integers; (0, -1) if there are none, or on CUDA, where nothing waits to look."""
    values: Any = x.data
    if x.device != "cpu" or not values.size:
        return 0, -1
    return int(np.minimum.reduce(values, axis=None)), int(np.maximum.reduce(values, axis=None))


def _classes(name: str, input: Any, target: Any, ignore_index: int | None,
             reduction: str) -> tuple[Tensor, Tensor, tuple[int, ...], bool]:  # fmt: skip
    """(x, y, shape, whether a label may be ignore_index), all checked: x (n, C) a row of classes for each sample,
    y (n,) int64 labels, or for cross_entropy probabilities (n, C); shape is that of the n samples before."""
    check_reduction(name, reduction)
    x = wide(input if isinstance(input, Tensor) else Tensor(input))
    whole = x.shape
    if not whole or x.dtype.kind != "f":
        raise ValueError(f"{name}: input must be floats (N, C), (C,) or (N, C, ...), not {x.dtype} of shape {whole}")
    if not isinstance(target, Tensor):  # on the host, to be checked
        target = Tensor(target, device=None if hasattr(target, "__cuda_array_interface__") else "cpu")
    axis, soft, kind = min(len(whole) - 1, 1), name == "cross_entropy", target.dtype.kind
    classes, shape = whole[axis], whole[:axis] + whole[axis + 1 :]
    if soft and kind == "f" and target.shape == whole:
        if ignore_index is not None and ignore_index >= 0:
            raise ValueError(f"{name}: ignore_index={ignore_index} goes with integer labels, not with probabilities")
        return _rows(x, axis), _rows(target.astype(x.dtype).to(x.device), axis), shape, False
    if kind not in "iu":
        other = f", or give probabilities of the input's shape {x.shape}" if soft else ""
        raise TypeError(f"{name}: labels must be integers, not {target.dtype}: use labels.astype('int64'){other}")
    if target.shape != shape:
        remedy = "; of one-hot rows make labels with target.argmax(axis=1)" if target.shape == x.shape else ""
        raise ValueError(f"{name}: input {x.shape} needs labels of shape {shape}, got {target.shape}{remedy}")
    low, high = extremes(target)
    if low < 0 or high >= classes:
        bad = [y for y in target.data.reshape(-1).tolist() if not 0 <= y < classes and y != ignore_index]
        if bad:
            remedy = "" if ignore_index is None else f"; label samples to be skipped with ignore_index={ignore_index}"
            known = f"input {x.shape} has {classes} classes, 0 to {classes - 1}"
            raise ValueError(f"{name}: label {bad[0]} is no class: {known}{remedy}")
    maybe_ignored = target.device != "cpu" or (ignore_index is not None and low <= ignore_index <= high)
    y = target if target.dtype == np.int64 else target.astype("int64")
    y = y if y.device == x.device else y.to(x.device)
    return _rows(x, axis), y if y.ndim == 1 else y.reshape(-1), shape, maybe_ignored


def _rows(x: Tensor, axis: int) -> Tensor:
    """(n, C): the classes, along this axis, as the last one of two."""
    return x if x.ndim == 2 else ops.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
