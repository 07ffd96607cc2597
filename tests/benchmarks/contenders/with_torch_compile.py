"""PyTorch with torch.compile: forward, gradients and update are one compiled function of the weights, written with
torch.func, as of several ways this was the fastest. The batch is taken outside, as in eager mode."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.func import functional_call, grad_and_value
from torch.nn import functional as F

from .. import cases
from . import with_torch

Tensors = dict[str, torch.Tensor]


class Training(with_torch.Training):
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        super().__init__(case, size)
        self.parameters = {name: p.detach() for name, p in self.model.named_parameters()}  # the model's own memory
        slots = 1 if case.optimizer == "momentum" else 2
        self.state = {name: [torch.zeros_like(p) for _ in range(slots)] for name, p in self.parameters.items()}
        update = momentum if case.optimizer == "momentum" else rmsprop

        def loss_of(parameters: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(functional_call(self.model, parameters, (x,)), y)

        @torch.compile
        def whole(parameters: Tensors, state: dict[str, list[torch.Tensor]], x: torch.Tensor, y: torch.Tensor):
            slopes, loss = grad_and_value(loss_of)(parameters, x, y)
            for name, w in parameters.items():
                update(w, slopes[name], *state[name])
            return loss

        self.whole = whole

    def step(self) -> None:
        rows = next(self.orders)
        with torch.no_grad():
            self.last = self.whole(self.parameters, self.state, self.images[rows], self.labels[rows])


def momentum(w: torch.Tensor, g: torch.Tensor, v: torch.Tensor) -> None:
    v.mul_(cases.MOMENTUM["momentum"]).add_(g)
    w.sub_(v, alpha=cases.MOMENTUM["lr"])


def rmsprop(w: torch.Tensor, g: torch.Tensor, s: torch.Tensor, b: torch.Tensor) -> None:
    alpha = cases.RMSPROP["alpha"]
    s.mul_(alpha).addcmul_(g, g, value=1 - alpha)
    b.mul_(cases.RMSPROP["momentum"]).addcdiv_(g, s.sqrt().add_(cases.RMSPROP["eps"]))
    w.sub_(b, alpha=cases.RMSPROP["lr"])


def evaluation(case: cases.Case) -> Callable[[], None]:
    return with_torch.evaluation(case, torch.compile)
