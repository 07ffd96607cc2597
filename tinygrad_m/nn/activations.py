"""Functions as modules: the activations, for use in a Sequential; criteria.py does the same with the losses. Such a
module is documented by its function, in functional.py or ../ops/elementwise.py, and keeps the function's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor
from . import functional as F
from .module import Module

__all__ = [
    "ELU", "GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh",
]  # fmt: skip


class FunctionModule(Module):
    """class Name(FunctionModule, of=f): a module that computes f(*inputs, **settings) with what _keep() was given."""

    _function: Callable[..., Any]
    _settings: tuple[str, ...] = ()

    def __init_subclass__(cls, of: Callable[..., Any] | None = None) -> None:
        if of is not None:
            cls._function, cls.__doc__ = staticmethod(of), cls.__doc__ or of.__doc__

    def _keep(self, **settings: Any) -> None:
        """Make each setting an attribute, which may be changed later."""
        for name, value in settings.items():
            setattr(self, name, value)
        self._settings, self._shown = tuple(settings), tuple(k for k in settings if k not in self._buffers)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """The function of these inputs, with the settings."""
        settings = {name: getattr(self, name) for name in self._settings}
        return self._function(*inputs, **named, **settings)  # type: ignore[no-any-return]

    if TYPE_CHECKING:  # the attributes that _keep() makes

        def __getattr__(self, name: str) -> Any: ...


class ReLU(FunctionModule, of=F.relu): ...


class Sigmoid(FunctionModule, of=F.sigmoid): ...


class Tanh(FunctionModule, of=F.tanh): ...


class SiLU(FunctionModule, of=F.silu):
    """x sigmoid(x), also called swish (Hendrycks and Gimpel, 2016, arXiv:1606.08415)."""


class GELU(FunctionModule, of=F.gelu):
    """x P(N(0, 1) < x); approximate="tanh" is the paper's formula (Hendrycks and Gimpel, 2016, arXiv:1606.08415)."""

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', not {approximate!r}")
        self._keep(approximate=approximate)


class LeakyReLU(FunctionModule, of=F.leaky_relu):
    def __init__(self, negative_slope: float = 0.01) -> None:
        self._keep(negative_slope=float(negative_slope))


class ELU(FunctionModule, of=F.elu):
    def __init__(self, alpha: float = 1.0) -> None:
        self._keep(alpha=float(alpha))


class Softplus(FunctionModule, of=F.softplus):
    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self._keep(beta=float(beta), threshold=float(threshold))


class Softmax(FunctionModule, of=F.softmax):
    def __init__(self, dim: int = -1) -> None:
        self._keep(dim=dim)


class LogSoftmax(FunctionModule, of=F.log_softmax):
    def __init__(self, dim: int = -1) -> None:
        self._keep(dim=dim)
