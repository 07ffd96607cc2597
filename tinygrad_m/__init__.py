"""tinygrad_m: an autograd micro-framework to learn with, on NumPy (CPU) and CuPy (CUDA).

    import tinygrad_m as tg
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                       # 2 x

Read tensor.py, then ops/elementwise.py, operation.py and autograd.py: that is the whole engine."""

from . import data, nn, ops, optim
from .autograd import GraphError, enable_grad, grad, is_grad_enabled, no_grad
from .backend import DeviceError, device_count, get_default_device, manual_seed, set_default_device
from .creation import (
    arange,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    uniform,
    zeros,
    zeros_like,
)
from .gradcheck import gradcheck
from .ops import *  # noqa: F403  (every operation, by its NumPy or array API name)
from .tensor import Tensor, from_dlpack

__version__ = "0.1.0"
