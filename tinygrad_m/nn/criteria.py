"""The losses of losses.py as modules that keep their options: loss = nn.CrossEntropyLoss(label_smoothing=0.1), then
loss(logits, labels). Weights are buffers, so that they move with .to(device). The formulas are in losses.py."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import losses
from .module import Module


class _Loss(Module):
    """A loss that keeps its reduction, and perhaps weights."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, reduction: str = "mean", *also: str, **weights: Any) -> None:
        losses.check_reduction(type(self).__name__, reduction, *also)
        self.reduction = reduction
        for name, value in weights.items():
            self.register_buffer(name, value if value is None or isinstance(value, Tensor) else Tensor(value))

    def extra_repr(self) -> str:
        """The options."""
        hidden = ("training", "_buffers", *self._buffers)
        return ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k not in hidden)


class MSELoss(_Loss):
    """losses.mse_loss."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """losses.l1_loss."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """losses.smooth_l1_loss."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = float(beta)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """losses.huber_loss."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = float(delta)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(_Loss):
    """losses.binary_cross_entropy."""

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction, weight=weight)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """losses.binary_cross_entropy_with_logits."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction, weight=weight, pos_weight=pos_weight)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class KLDivLoss(_Loss):
    """losses.kl_div; reduction may also be "batchmean"."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction, "batchmean")
        self.log_target = log_target

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.kl_div(input, target, self.reduction, self.log_target)


class CrossEntropyLoss(_Loss):
    """losses.cross_entropy: logits (N, C) and integer labels (N,), or probabilities."""

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction, weight=weight)
        self.ignore_index, self.label_smoothing = ignore_index, float(label_smoothing)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(_Loss):
    """losses.nll_loss: log-probabilities (N, C) and integer labels (N,)."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction, weight=weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MultiMarginLoss(_Loss):
    """losses.multi_margin_loss."""

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction, weight=weight)
        self.p, self.margin = p, float(margin)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class SoftMarginLoss(_Loss):
    """losses.soft_margin_loss."""

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.soft_margin_loss(input, target, self.reduction)


class HingeEmbeddingLoss(_Loss):
    """losses.hinge_embedding_loss."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MarginRankingLoss(_Loss):
    """losses.margin_ranking_loss."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, input1: Tensor, input2: Tensor, target: Any) -> Tensor:
        """The loss."""
        return losses.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)
