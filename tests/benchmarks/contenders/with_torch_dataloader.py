"""PyTorch's own DataLoader over a TensorDataset, without worker processes: for the case `loader` only.
with_torch.py has the faster way, plain indexing."""

from __future__ import annotations

from collections.abc import Callable

from torch.utils.data import DataLoader, TensorDataset

from .. import cases
from .with_torch import tensors


def loading() -> Callable[[], None]:
    loader = DataLoader(TensorDataset(*tensors((784,), cases.LOADED)), cases.LOADED_BATCH, shuffle=True)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch
