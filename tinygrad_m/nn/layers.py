"""The layers: each holds its weights, draws their first values, and checks what it is given; the formula is the
function of the same name in functional.py. Names, arguments, defaults, shapes and first values are PyTorch's.
Read activations.py and criteria.py next, or build something: containers.py."""

from __future__ import annotations

import math
import operator
from typing import Any

from ..creation import ones, zeros
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module, Parameter


class _Layer(Module):
    """What the layers share: making parameters, and the error for an input of a wrong shape."""

    def _count(self, what: str, value: Any) -> int:
        """A size, checked."""
        try:
            n = operator.index(value)
        except TypeError:
            n = 0
        if n < 1:
            raise ValueError(f"{type(self).__name__}: {what} must be an int of at least 1, not {value!r}")
        return n

    def _expect(self, fits: bool, expected: str, x: Any, hint: str = "") -> None:
        if not fits:
            layer = f"{type(self).__name__}({self.extra_repr()})"
            raise ValueError(f"{layer} expects {expected}, got shape {x.shape}{hint}")

    def _shape(self, x: Any) -> tuple[int, ...]:
        """The shape of what is a Tensor or an array."""
        if not hasattr(x, "shape"):
            kind = type(x).__name__
            raise TypeError(f"{type(self).__name__} takes a Tensor or an array, not {kind}: use tg.Tensor(...)")
        return tuple(x.shape)


def _parameter(shape: Any, device: str | None, dtype: Any) -> Parameter:
    """A Parameter to be filled by reset_parameters()."""
    return Parameter(zeros(shape, dtype="float32" if dtype is None else dtype, device=device))


class Identity(Module):
    """x as it is, whatever the arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        """x."""
        return x


class Linear(_Layer):
    """x weight^T + bias: (..., in_features) -> (..., out_features), weight (out_features, in_features).
    First values: U(-b, b) with b = 1 / sqrt(in_features), for weight and bias."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ) -> None:
        self.in_features = self._count("in_features", in_features)
        self.out_features = self._count("out_features", out_features)
        self.weight = _parameter((self.out_features, self.in_features), device, dtype)
        self.bias = _parameter(self.out_features, device, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again."""
        _uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        shape = self._shape(x)
        if not shape or shape[-1] != self.in_features:
            hint = ": put nn.Flatten() before it" if math.prod(shape[1:]) == self.in_features else ""
            self._expect(False, f"(..., {self.in_features})", x, hint)
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _uniform_by_fan_in(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's default: kaiming_uniform_ with a = sqrt(5), which is U(-b, b) with b = 1 / sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5.0))
    if bias is not None:
        bound = 1.0 / math.sqrt(init.fans(weight)[0])
        init.uniform_(bias, -bound, bound)


class Conv2d(_Layer):
    """Slide out_channels kernels over images: (N, in_channels, H, W) -> (N, out_channels, H', W'), see
    functional.conv2d. weight (out_channels, in_channels / groups, kh, kw); sizes are ints or (height, width);
    padding may be "same" or "valid". First values: U(-b, b), b = 1 / sqrt(in_channels / groups kh kw)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.in_channels = self._count("in_channels", in_channels)
        self.out_channels = self._count("out_channels", out_channels)
        self.groups = self._count("groups", groups)
        self.kernel_size = F.pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = F.pair("Conv2d", "stride", stride, 1)
        self.dilation = F.pair("Conv2d", "dilation", dilation, 1)
        if isinstance(padding, str):
            if padding not in ("same", "valid") or (padding == "same" and self.stride != (1, 1)):
                raise ValueError(f"Conv2d: padding must be ints, 'valid' or (with stride 1) 'same', not {padding!r} "
                                 f"with stride {self.stride}")  # fmt: skip
            self.padding: Any = padding
        else:
            self.padding = F.pair("Conv2d", "padding", padding, 0)
        if padding_mode != "zeros":
            raise ValueError(f"Conv2d: padding_mode must be 'zeros', not {padding_mode!r}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"Conv2d: groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        self.weight = _parameter(
            (self.out_channels, self.in_channels // self.groups, *self.kernel_size), device, dtype
        )
        self.bias = _parameter(self.out_channels, device, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again."""
        _uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H', W'); also without N."""
        shape = self._shape(x)
        fits = len(shape) in (3, 4) and shape[-3] == self.in_channels
        hint = ": x.reshape(-1, 1, H, W) adds the channel axis" if self.in_channels == 1 else ""
        self._expect(fits, f"(N, {self.in_channels}, H, W)", x, hint)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Sizes, and what is not the default."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", padding={self.padding!r}" if self.padding != (0, 0) else ""
        text += f", dilation={self.dilation}" if self.dilation != (1, 1) else ""
        text += f", groups={self.groups}" if self.groups != 1 else ""
        return text + (", bias=False" if self.bias is None else "")


class MaxPool2d(_Layer):
    """The largest of each window, (N, C, H, W) -> (N, C, H', W'). stride None: the kernel's size."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> None:
        self.kernel_size = F.pair("MaxPool2d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else F.pair("MaxPool2d", "stride", stride, 1)
        self.padding = _half_at_most("MaxPool2d", padding, self.kernel_size)
        self.dilation = F.pair("MaxPool2d", "dilation", dilation, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W'); also without N."""
        self._expect(len(self._shape(x)) in (3, 4), "(N, C, H, W)", x)
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"


class AvgPool2d(_Layer):
    """The mean of each window, (N, C, H, W) -> (N, C, H', W'). stride None: the kernel's size."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True
    ) -> None:
        self.kernel_size = F.pair("AvgPool2d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else F.pair("AvgPool2d", "stride", stride, 1)
        self.padding = _half_at_most("AvgPool2d", padding, self.kernel_size)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W'); also without N."""
        self._expect(len(self._shape(x)) in (3, 4), "(N, C, H, W)", x)
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, count_include_pad=self.count_include_pad)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def _half_at_most(name: str, padding: Any, kernel: tuple[int, int]) -> tuple[int, int]:
    rows, cols = F.pair(name, "padding", padding, 0)
    if 2 * rows > kernel[0] or 2 * cols > kernel[1]:
        raise ValueError(f"{name}: padding {padding!r} must be at most half the kernel {kernel}")
    return rows, cols


class Flatten(Module):
    """The axes from start_dim to end_dim as one: (N, C, H, W) -> (N, C H W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, product of the rest)."""
        return F.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Embedding(_Layer):
    """A row of weight (num_embeddings, embedding_dim) for each integer; the row padding_idx starts at 0 and gets no
    gradient. First values: N(0, 1)."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.num_embeddings = self._count("num_embeddings", num_embeddings)
        self.embedding_dim = self._count("embedding_dim", embedding_dim)
        if padding_idx is not None:
            if not -self.num_embeddings <= padding_idx < self.num_embeddings:
                raise ValueError(f"Embedding: padding_idx {padding_idx} is none of {num_embeddings} rows")
            padding_idx %= self.num_embeddings
        self.padding_idx = padding_idx
        self.weight = _parameter((self.num_embeddings, self.embedding_dim), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            init.zeros_(self.weight.detach()[self.padding_idx])

    def forward(self, x: Any) -> Tensor:
        """Integers of any shape -> (*shape, embedding_dim)."""
        return F.embedding(x, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """In training: each element 0 with probability p, else divided by 1 - p. Otherwise x."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p must be a probability from 0 to 1, not {p!r}")
        self.p = float(p)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """p."""
        return f"p={self.p}"


class _BatchNorm(_Layer):
    """What BatchNorm1d and BatchNorm2d share: everything but the shapes that they take."""

    _shapes: tuple[str, ...] = ()
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        n = self.num_features = self._count("num_features", num_features)
        self.eps = float(eps)
        self.momentum = None if momentum is None else float(momentum)
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = _parameter(n, device, dtype) if affine else None
        self.bias = _parameter(n, device, dtype) if affine else None
        kind: Any = "float32" if dtype is None else dtype
        self.register_buffer("running_mean", zeros(n, dtype=kind, device=device) if track_running_stats else None)
        self.register_buffer("running_var", ones(n, dtype=kind, device=device) if track_running_stats else None)
        count = zeros((), dtype="int64", device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1, bias 0, and no statistics yet: mean 0, variance 1."""
        for ones_like in (self.weight, self.running_var):
            if ones_like is not None:
                init.ones_(ones_like)
        for zeros_like in (self.bias, self.running_mean, self.num_batches_tracked):
            if zeros_like is not None:
                init.zeros_(zeros_like)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        shape, channels = self._shape(x), str(self.num_features)
        fits = any(len(shape) == s.count(",") + 1 for s in self._shapes) and shape[1] == self.num_features
        self._expect(fits, " or ".join(f"({s})" for s in self._shapes).replace("C", channels), x)
        momentum: Any = self.momentum
        if self.training and self.num_batches_tracked is not None and self.running_mean is not None:
            self.num_batches_tracked += 1
            if momentum is None:  # the plain mean of all batches; on CUDA the count is not waited for
                momentum = 1.0 / self.num_batches_tracked.astype(self.running_mean.dtype)
        own = self.training or self.running_mean is None
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps
        )

    def extra_repr(self) -> str:
        """Settings."""
        return (f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """Each channel to mean 0 and variance 1 over the batch, then weight and bias: (N, C) or (N, C, L). In training
    the batch's own statistics count, after eval() the running ones: r <- (1 - momentum) r + momentum new;
    momentum None: the plain mean of all so far."""

    _shapes = ("N, C", "N, C, L")


class BatchNorm2d(_BatchNorm):
    """BatchNorm1d for images: statistics over batch, height and width of each channel of (N, C, H, W)."""

    _shapes = ("N, C, H, W",)


class LayerNorm(_Layer):
    """Each sample to mean 0 and variance 1 over its last axes, whose sizes are normalized_shape; then weight and
    bias of that shape."""

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        sizes = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(self._count("normalized_shape", n) for n in sizes)
        if not sizes:
            raise ValueError("LayerNorm: normalized_shape must name at least one axis, not ()")
        self.eps, self.elementwise_affine = float(eps), elementwise_affine
        self.weight = _parameter(self.normalized_shape, device, dtype) if elementwise_affine else None
        self.bias = _parameter(self.normalized_shape, device, dtype) if elementwise_affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        sizes = self.normalized_shape
        expected = ", ".join(["(...", *map(str, sizes)]) + ")"
        self._expect(self._shape(x)[-len(sizes) :] == sizes, expected, x)
        return F.layer_norm(x, sizes, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Settings."""
        return f"{self.normalized_shape}, eps={self.eps:g}, elementwise_affine={self.elementwise_affine}"
