"""The losses of losses.py, where their formulas and options are explained, as modules that keep the options:
loss = nn.CrossEntropyLoss(label_smoothing=0.1), then loss(logits, labels)."""

from types import NoneType
from typing import Any

from ..tensor import Tensor
from . import losses
from .layers import FunctionModule

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
           "MSELoss", "MarginRankingLoss", "MultiMarginLoss", "NLLLoss", "SmoothL1Loss", "SoftMarginLoss"]  # fmt: skip


class _Loss(FunctionModule):
    """A loss that keeps its reduction, and perhaps weights: these are buffers, so that .to(device) moves them."""

    _buffers = ("weight", "pos_weight")

    def __init__(self, reduction: str = "mean") -> None:
        self._keep(reduction=reduction)

    def _keep(self, *reductions: str, **settings: Any) -> None:
        """Make the settings attributes. `reductions` are allowed besides "mean", "sum" and "none"."""
        losses.check_reduction(type(self).__name__, settings["reduction"], *reductions)
        for name in self._buffers:
            if not isinstance(settings.get(name), (Tensor, NoneType)):
                settings[name] = Tensor(settings[name])
        super()._keep(**settings)


class MSELoss(_Loss, of=losses.mse_loss): ...


class L1Loss(_Loss, of=losses.l1_loss): ...


class SmoothL1Loss(_Loss, of=losses.smooth_l1_loss):
    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        self._keep(reduction=reduction, beta=float(beta))


class HuberLoss(_Loss, of=losses.huber_loss):
    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        self._keep(reduction=reduction, delta=float(delta))


class BCELoss(_Loss, of=losses.binary_cross_entropy):
    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        self._keep(reduction=reduction, weight=weight)


class BCEWithLogitsLoss(_Loss, of=losses.binary_cross_entropy_with_logits):
    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        self._keep(reduction=reduction, weight=weight, pos_weight=pos_weight)


class KLDivLoss(_Loss, of=losses.kl_div):
    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        self._keep("batchmean", reduction=reduction, log_target=log_target)


class CrossEntropyLoss(_Loss, of=losses.cross_entropy):
    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0) -> None:  # fmt: skip
        self._keep(reduction=reduction, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing)


class NLLLoss(_Loss, of=losses.nll_loss):
    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        self._keep(reduction=reduction, weight=weight, ignore_index=ignore_index)


class MultiMarginLoss(_Loss, of=losses.multi_margin_loss):
    def __init__(self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean") -> None:
        self._keep(reduction=reduction, p=p, margin=float(margin), weight=weight)


class SoftMarginLoss(_Loss, of=losses.soft_margin_loss): ...


class HingeEmbeddingLoss(_Loss, of=losses.hinge_embedding_loss):
    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        self._keep(reduction=reduction, margin=float(margin))


class MarginRankingLoss(_Loss, of=losses.margin_ranking_loss):
    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        self._keep(reduction=reduction, margin=float(margin))
