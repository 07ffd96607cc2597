"""The layers: each holds its weights, draws their first values, and checks what it is given; the formula is the
function of the same name in functional.py, where layers that only keep its settings, such as ReLU, are documented.
Names, arguments, defaults, shapes and first values are PyTorch's. Then build something: containers.py."""

import math
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ..amp import autocasting
from ..creation import zeros
from ..ops.fused import biased
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter

__all__ = ["AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv2d", "Dropout", "ELU", "Embedding", "Flatten", "GELU",
           "Identity", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MaxPool2d", "ReLU", "SiLU", "Sigmoid",
           "Softmax", "Softplus", "Tanh"]  # fmt: skip


class FunctionModule(Module):
    """class Name(FunctionModule, of=f): a module that computes f(*inputs, **settings) with what _keep() was given."""

    _function: Callable[..., Any]
    _settings: tuple[str, ...] = ()

    def __init_subclass__(cls, of: Callable[..., Any] | None = None) -> None:
        super().__init_subclass__()
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


class _Layer(Module):
    """What the layers share: making parameters, checking sizes and inputs."""

    def _parameter(self, shape: Any, device: str | None, dtype: Any) -> Parameter:
        """A Parameter to be filled by reset_parameters()."""
        return Parameter(zeros(shape, dtype=dtype or "float32", device=device))

    def _size(self, what: str, value: Any) -> int:
        """A size from __init__, checked."""
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{type(self).__name__}: {what} must be an int of at least 1, not {value!r}")
        return int(value)

    def _input(self, x: Any, weight: Tensor | None = None) -> Tensor:
        """x as a Tensor. Another float dtype than the weight's is an error: all after it would become float64."""
        if not isinstance(x, Tensor) and not hasattr(x, "shape"):
            kind = type(x).__name__
            raise TypeError(f"{type(self).__name__} takes a Tensor or an array, not {kind}: use tg.Tensor(...)")
        tensor = x if isinstance(x, Tensor) else Tensor(x)
        if weight is not None and tensor.dtype != weight.dtype and tensor.dtype.kind == "f":
            if autocasting.on and tensor.dtype.char in "ef" and weight.dtype.char in "ef":
                return tensor  # the function casts
            name, has, got = type(self).__name__, weight.dtype, tensor.dtype
            remedy = f'use x.astype("{has}"), or model.to("{got}")'
            raise TypeError(f"{name} has {has} weights, but its input is {got}: {remedy}")
        return tensor

    def _wrong(self, x: Tensor, expected: str, hint: str = "") -> ValueError:
        return ValueError(f"{type(self).__name__}({self.extra_repr()}) expects {expected}, got shape {x.shape}{hint}")


class Identity(Module):
    """x as it is, whatever the arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def forward(self, x: Any) -> Any:
        return x


class _Affine(_Layer):
    """What Linear and Conv2d share: their first values."""

    weight: Parameter
    bias: Parameter | None
    _channel: int  # the bias's axis in the output, from the end

    def forward(self, x: Tensor) -> Tensor:
        return self._map(x, self.bias)

    def joins(self, x: Any) -> bool:
        """Whether activated(x, ...) is faster than an activation of forward(x), and the same."""
        if self.bias is None or not isinstance(x, Tensor) or x.device == "cpu":
            return False
        return getattr(self.forward, "__func__", None) is _Affine.forward  # nobody's own

    def activated(self, x: Tensor, activation: str) -> Tensor:
        """relu, tanh or sigmoid of forward(x), for Sequential: on CUDA bias and activation are one launch."""
        if self.bias is None:
            raise ValueError(f"{type(self).__name__} has no bias: call the layer, then {activation}")
        out = self._map(x, None)
        bias = self.bias if self.bias.dtype == out.dtype else self.bias.astype(out.dtype)  # autocast's
        return biased(out, bias, activation, axis=out.ndim - self._channel)  # type: ignore[no-any-return]

    def _map(self, x: Tensor, bias: Parameter | None) -> Tensor:
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw weight and bias again from U(-b, b), b = 1 / sqrt(inputs of each output)."""
        b = 1.0 / math.sqrt(init.fans(self.weight)[0])
        for p in (self.weight, self.bias):
            if p is not None:
                init.uniform_(p, -b, b)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class Linear(_Affine):
    """x weight^T + bias: (..., in_features) -> (..., out_features), weight (out_features, in_features).
    First values: U(-b, b) with b = 1 / sqrt(in_features), for weight and bias."""

    _shown = ("in_features", "out_features")
    _channel = 1

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: str | None = None,
                 dtype: Any = None) -> None:  # fmt: skip
        self.in_features = self._size("in_features", in_features)
        self.out_features = self._size("out_features", out_features)
        by_rows = zeros((self.in_features, self.out_features), dtype=dtype or "float32", device=device)
        self.weight = Parameter(by_rows.T)  # (out, in), in memory by columns: its products are faster
        self.bias = self._parameter(self.out_features, device, dtype) if bias else None
        self.reset_parameters()

    def _map(self, x: Tensor, bias: Parameter | None) -> Tensor:
        x = self._input(x, self.weight)
        if x.shape[-1:] != (self.in_features,):
            hint = ": put nn.Flatten() before it" if math.prod(x.shape[1:]) == self.in_features else ""
            raise self._wrong(x, f"(..., {self.in_features})", hint)
        return F.linear(x, self.weight, bias)


class Conv2d(_Affine):
    """Slide out_channels kernels over images: (N, in_channels, H, W) -> (N, out_channels, H', W'), also without N,
    see functional.conv2d. weight (out_channels, in_channels / groups, kh, kw); sizes are ints or (height, width);
    padding may be "same" or "valid". First values: U(-b, b), b = 1 / sqrt(in_channels / groups kh kw)."""

    _channel = 3

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
                 device: str | None = None, dtype: Any = None) -> None:  # fmt: skip
        self.in_channels = self._size("in_channels", in_channels)
        self.out_channels = self._size("out_channels", out_channels)
        self.groups = self._size("groups", groups)
        self.kernel_size = F.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = F.pair("Conv2d", "stride", stride, 1)
        self.padding = F.pair("Conv2d", "padding", padding, 0, "valid", "same")
        self.dilation = F.pair("Conv2d", "dilation", dilation, 1)
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"Conv2d: padding='same' does not go with stride {self.stride}: give the padding in ints")
        if padding_mode != "zeros":
            raise ValueError(f"Conv2d: padding_mode must be 'zeros', not {padding_mode!r}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"Conv2d: groups={groups} must divide in_channels={in_channels} and {out_channels=}")
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = self._parameter(shape, device, dtype)
        self.bias = self._parameter(self.out_channels, device, dtype) if bias else None
        usual = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        self._shown = ("in_channels", "out_channels", "kernel_size", "stride",
                       *(name for name in usual if getattr(self, name) != usual[name]))  # fmt: skip
        self.reset_parameters()

    def _map(self, x: Tensor, bias: Parameter | None) -> Tensor:
        x = self._input(x, self.weight)
        if x.ndim not in (3, 4) or x.shape[-3] != self.in_channels:
            hint = ": x.reshape(-1, 1, H, W) adds the channel axis" if self.in_channels == 1 else ""
            raise self._wrong(x, f"(N, {self.in_channels}, H, W)", hint)
        return F.conv2d(x, self.weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _Pool2d(FunctionModule, _Layer):
    """What MaxPool2d and AvgPool2d share: checked windows and inputs, (N, C, H, W) or (C, H, W)."""

    def _keep_window(self, kernel_size: Any, stride: Any, padding: Any, **others: Any) -> None:
        kernel, stride, padding = F.window(type(self).__name__, kernel_size, stride, padding)
        self._keep(kernel_size=kernel, stride=stride, padding=padding, **others)

    def forward(self, x: Any) -> Tensor:
        images = self._input(x)
        if images.ndim not in (3, 4):
            raise self._wrong(images, "(N, C, H, W)")
        return super().forward(images)


class MaxPool2d(_Pool2d, of=F.max_pool2d):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> None:
        self._keep_window(kernel_size, stride, padding, dilation=F.pair("MaxPool2d", "dilation", dilation, 1))


class AvgPool2d(_Pool2d, of=F.avg_pool2d):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, *,
                 count_include_pad: bool = True) -> None:  # fmt: skip
        self._keep_window(kernel_size, stride, padding, count_include_pad=count_include_pad)


class Flatten(FunctionModule, of=F.flatten):
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self._keep(start_dim=start_dim, end_dim=end_dim)


class Dropout(FunctionModule, of=F.dropout):
    def __init__(self, p: float = 0.5) -> None:
        self._keep(p=F.probability("Dropout", p))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, training=self.training)


class Embedding(_Layer):
    """A row of weight (num_embeddings, embedding_dim) for each integer, of any shape -> (*shape, embedding_dim). The
    row padding_idx starts at 0 and gets no gradient. First values: N(0, 1)."""

    _shown = ("num_embeddings", "embedding_dim", "padding_idx")

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 device: str | None = None, dtype: Any = None) -> None:  # fmt: skip
        n = self.num_embeddings = self._size("num_embeddings", num_embeddings)
        self.embedding_dim = self._size("embedding_dim", embedding_dim)
        if padding_idx is not None and not -n <= padding_idx < n:
            raise ValueError(f"Embedding: padding_idx {padding_idx} is none of {n} rows")
        self.padding_idx = None if padding_idx is None else padding_idx % n
        self.weight = self._parameter((n, self.embedding_dim), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight.detach()[self.padding_idx])

    def forward(self, x: Any) -> Tensor:
        return F.embedding(x, self.weight, self.padding_idx)


class _Norm(_Layer):
    """What the normalising layers share: their first values."""

    def reset_parameters(self) -> None:
        """weight 1, bias 0, and no statistics yet: mean 0, variance 1."""
        first = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
        for name, value in first.items():
            if (tensor := getattr(self, name, None)) is not None:
                init.constant_(tensor, value)


class _BatchNorm(_Norm):
    """What BatchNorm1d and BatchNorm2d share: everything but the shapes that they take."""

    _shapes: tuple[str, ...] = ()
    _shown = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: str | None = None, dtype: Any = None) -> None:  # fmt: skip
        n = self.num_features = self._size("num_features", num_features)
        self.eps, self.momentum = float(eps), None if momentum is None else float(momentum)
        self.affine, self.track_running_stats, dtype = affine, track_running_stats, dtype or "float32"
        self.weight = self._parameter(n, device, dtype) if affine else None
        self.bias = self._parameter(n, device, dtype) if affine else None
        stats = ("running_mean", n, dtype), ("running_var", n, dtype), ("num_batches_tracked", (), "int64")
        for name, size, kind in stats:
            self.register_buffer(name, zeros(size, dtype=kind, device=device) if track_running_stats else None)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        x = self._input(x, self.running_mean if self.weight is None else self.weight)
        if x.ndim not in [s.count(",") + 1 for s in self._shapes] or x.shape[1] != self.num_features:
            raise self._wrong(x, " or ".join(f"({s})" for s in self._shapes).replace("C", str(self.num_features)))
        momentum: Any = self.momentum
        if self.training and self.num_batches_tracked is not None and self.running_mean is not None:
            self.num_batches_tracked += 1
            if momentum is None:  # the plain mean of all batches; on CUDA the count is not waited for
                momentum = 1.0 / self.num_batches_tracked.astype(self.running_mean.dtype)
        own = self.training or self.running_mean is None
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Each channel to mean 0 and variance 1 over the batch, then weight and bias: (N, C) or (N, C, L). In training
    the batch's own statistics count, after eval() the running ones: r <- (1 - momentum) r + momentum new;
    momentum None: the plain mean of all so far."""

    _shapes = ("N, C", "N, C, L")


class BatchNorm2d(_BatchNorm):
    """BatchNorm1d for images: statistics over batch, height and width of each channel of (N, C, H, W)."""

    _shapes = ("N, C, H, W",)


class LayerNorm(_Norm):
    """Each sample to mean 0 and variance 1 over its last axes, whose sizes are normalized_shape; then weight and
    bias of that shape."""

    _shown = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: str | None = None, dtype: Any = None) -> None:  # fmt: skip
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(self._size("normalized_shape", n) for n in sizes)
        if not sizes:
            raise ValueError("LayerNorm: normalized_shape must name at least one axis, not ()")
        self.eps, self.elementwise_affine = float(eps), elementwise_affine
        self.weight = self._parameter(self.normalized_shape, device, dtype) if elementwise_affine else None
        self.bias = self._parameter(self.normalized_shape, device, dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        x = self._input(x, self.weight)
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise self._wrong(x, f"({', '.join(['...', *map(str, self.normalized_shape)])})")
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


# -- activations: without parameters ---------------------------------------------------------------


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
