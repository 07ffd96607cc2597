"""Networks: modules, layers, losses and first values, with PyTorch's names, arguments, defaults and state dicts.

    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    loss = nn.functional.cross_entropy(model(images), labels)

Read module.py first, then layers.py and functional.py, losses.py, init.py."""

from . import criteria, functional, init, layers
from .containers import ModuleDict, ModuleList, Sequential
from .criteria import *  # noqa: F403
from .layers import *  # noqa: F403
from .module import Module, Parameter

__all__ = ["Module", "ModuleDict", "ModuleList", "Parameter", "Sequential", "functional", "init"]
__all__ += layers.__all__
__all__ += criteria.__all__
