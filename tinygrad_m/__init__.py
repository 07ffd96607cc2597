"""tinygrad_m: an autograd micro-framework to learn with, on NumPy (CPU) and CuPy (CUDA).

    import tinygrad_m as tg
    x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                       # 2 x

Read tensor.py, then ops/elementwise.py, operation.py and autograd.py: that is the whole engine."""

from importlib import import_module
from typing import TYPE_CHECKING

from . import creation, ops
from .autograd import GraphError, enable_grad, grad, is_grad_enabled, no_grad
from .backend import (
    CaptureError,
    DeviceError,
    device_count,
    get_default_device,
    get_float32_matmul_precision,
    manual_seed,
    set_default_device,
    set_float32_matmul_precision,
)
from .capture import capture
from .creation import *  # noqa: F403
from .cudnn import get_convolution, set_convolution
from .gradcheck import GradcheckError, gradcheck
from .interop import PYTORCH_NAMES
from .ops.conv import *  # noqa: F403  (every operation, by its NumPy or array API name)
from .ops.elementwise import *  # noqa: F403
from .ops.fused import *  # noqa: F403
from .ops.indexing import *  # noqa: F403
from .ops.linalg import *  # noqa: F403
from .ops.pieces import get_num_threads, set_num_threads
from .ops.pool import *  # noqa: F403
from .ops.reduce import *  # noqa: F403
from .ops.shape import *  # noqa: F403
from .tensor import Tensor, from_dlpack

__version__ = "0.1.0"
__all__ = [
    "CaptureError", "DeviceError", "GradcheckError", "GraphError", "Tensor", "amp", "capture", "data", "device_count",
    "enable_grad", "from_dlpack", "get_convolution", "get_default_device", "get_float32_matmul_precision",
    "get_num_threads", "grad", "gradcheck", "is_grad_enabled", "manual_seed", "nn", "no_grad", "ops", "optim",
    "set_convolution", "set_default_device", "set_float32_matmul_precision", "set_num_threads",
]  # fmt: skip
__all__ += creation.__all__
__all__ += ops.elementwise.__all__
__all__ += ops.reduce.__all__
__all__ += ops.shape.__all__
__all__ += ops.indexing.__all__
__all__ += ops.linalg.__all__
__all__ += ops.fused.__all__
__all__ += ops.conv.__all__
__all__ += ops.pool.__all__

if TYPE_CHECKING:
    from . import amp, data, nn, optim
else:
    del tensor  # noqa: F821 (the file, so that tg.tensor(...) gives the hint below)

    def __getattr__(name: str) -> object:
        if name in ("amp", "data", "nn", "optim"):  # imported when first used: many scripts need only tensors
            return import_module(f"{__name__}.{name}")
        if name in PYTORCH_NAMES:  # for people who come from PyTorch
            raise AttributeError(f"tinygrad_m has no {name!r}: use {PYTORCH_NAMES[name]}")
        raise AttributeError(f"module 'tinygrad_m' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
