"""Optimizers, their schedules (optim.lr_scheduler) and gradient clipping: names, arguments and defaults are PyTorch's.

Read momentum.py first: SGD, momentum, Nesterov and RMSprop as formulas. Then optimizer.py, adaptive.py,
lr_scheduler.py, clip.py."""

from . import lr_scheduler
from .adaptive import Adagrad, Adam, AdamW, Lion, Muon
from .clip import clip_grad_norm_, clip_grad_value_
from .momentum import SGD, RMSprop
from .optimizer import Optimizer

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "Lion", "Muon", "Optimizer", "RMSprop", "clip_grad_norm_", "clip_grad_value_",
    "lr_scheduler",
]  # fmt: skip
