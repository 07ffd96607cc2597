"""What each operation is tried on. test_ops.py walks the registry: an operation without an entry here gets the
default sample, so that a new one is tested as soon as it exists; an entry says where that will not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_m as tg
from tinygrad_m.operation import REGISTRY

NO_GRADIENT = {
    "all", "any", "argmax", "argmin", "argsort", "equal", "greater", "greater_equal", "isfinite", "isnan", "less",
    "less_equal", "logical_and", "logical_not", "logical_or", "not_equal", "one_hot",
}  # fmt: skip
ELEMENTWISE: set[str] = set()  # filled below: also tried on empty and size-one shapes


@dataclass
class Sample:
    """f(*tensors) for tensors of `shapes` with elements from `low` to `high`; `torch` is the same in PyTorch."""

    name: str
    f: Callable[..., Any]
    shapes: list[tuple[int, ...]]
    low: float = -1.5
    high: float = 1.5
    torch: Callable[..., Any] | None = None
    second: bool = True
    label: str = ""
    arrays: list[np.ndarray] = field(default_factory=list)

    def make(self) -> list[np.ndarray]:
        """The inputs, float64: distinct values, so that no maximum is tied and no kink is hit."""
        rng = np.random.default_rng(sum(map(ord, self.name)) + len(self.shapes))
        made = []
        for shape in self.shapes:
            n = int(np.prod(shape))
            grid = np.linspace(self.low, self.high, n + 2)[1:-1] if n else np.zeros(0)
            width = (self.high - self.low) / (n + 1)
            made.append((rng.permutation(grid) + rng.uniform(-0.3, 0.3, n) * width).reshape(shape))
        return made

    def __str__(self) -> str:
        return f"{self.name}{'-' + self.label if self.label else ''}"


SAMPLES: list[Sample] = []


def add(name: str, *shapes: tuple[int, ...], args: tuple[Any, ...] = (), torch: Any = None, **options: Any) -> None:
    """A sample of REGISTRY[name](*tensors, *args, **attributes)."""
    attrs = options.pop("attrs", {})
    function = options.pop("f", None) or (lambda *xs: REGISTRY[name](*xs, *args, **attrs))
    count = sum(1 for s in SAMPLES if s.name == name)
    SAMPLES.append(Sample(name, function, list(shapes), torch=torch, label=str(count) if count else "", **options))


def _t(path: str) -> Callable[..., Any]:
    """torch.<path>, looked up when it is called: PyTorch may be missing."""

    def call(*xs: Any, **kw: Any) -> Any:
        import torch

        target: Any = torch
        for part in path.split("."):
            target = getattr(target, part)
        return target(*xs, **kw)

    return call


F = "nn.functional."

# -- elementwise: name, domain, and PyTorch's name for it -------------------------------------------
for name, low, high, theirs in [
    ("abs", -1.5, 1.5, "abs"), ("negative", -1.5, 1.5, "negative"), ("sign", -1.5, 1.5, "sign"),
    ("square", -1.5, 1.5, "square"), ("sqrt", 0.2, 3, "sqrt"), ("rsqrt", 0.2, 3, "rsqrt"), ("exp", -2, 2, "exp"),
    ("expm1", -2, 2, "expm1"), ("log", 0.2, 3, "log"), ("log1p", -0.7, 3, "log1p"), ("log2", 0.2, 3, "log2"),
    ("log10", 0.2, 3, "log10"), ("sin", -3, 3, "sin"), ("cos", -3, 3, "cos"), ("tan", -1.2, 1.2, "tan"),
    ("asin", -0.9, 0.9, "asin"), ("acos", -0.9, 0.9, "acos"), ("atan", -3, 3, "atan"), ("sinh", -2, 2, "sinh"),
    ("cosh", -2, 2, "cosh"), ("tanh", -2, 2, "tanh"), ("sigmoid", -4, 4, "sigmoid"), ("erf", -2, 2, "erf"),
    ("relu", -1.5, 1.5, "relu"), ("leaky_relu", -1.5, 1.5, F + "leaky_relu"), ("elu", -1.5, 1.5, F + "elu"),
    ("gelu", -2, 2, F + "gelu"), ("silu", -2, 2, F + "silu"), ("softplus", -4, 4, F + "softplus"),
    ("clone", -1, 1, "clone"),
]:  # fmt: skip
    ELEMENTWISE.add(name)
    add(name, (3, 4), low=low, high=high, torch=_t(theirs))
add("gelu", (3, 4), args=("tanh",), torch=lambda x: _t(F + "gelu")(x, approximate="tanh"))
add("leaky_relu", (3, 4), attrs={"negative_slope": 0.3}, torch=lambda x: _t(F + "leaky_relu")(x, 0.3))
add("elu", (3, 4), args=(0.7,), torch=lambda x: _t(F + "elu")(x, 0.7))
add("clip", (3, 4), args=(-0.5, 0.7), torch=lambda x: x.clip(-0.5, 0.7))
add("clip", (3, 4), attrs={"min": 0.1}, torch=lambda x: x.clip(min=0.1))
add("clip", (3, 4), attrs={"max": 0.1}, torch=lambda x: x.clip(max=0.1))

# -- two operands: broadcasting in every way --------------------------------------------------------
for name, low, high, theirs in [
    ("add", -1, 1, "add"), ("subtract", -1, 1, "subtract"), ("multiply", -1, 1, "multiply"),
    ("divide", 0.3, 2, "divide"), ("pow", 0.3, 2, "pow"), ("maximum", -1, 1, "maximum"), ("minimum", -1, 1, "minimum"),
]:  # fmt: skip
    ELEMENTWISE.add(name)
    for shapes in [
        ((2, 3), (2, 3)),
        ((2, 3), (3,)),
        ((3,), (2, 3)),
        ((2, 1), (1, 3)),
        ((), (2, 3)),
        ((2, 1, 3), (4, 1)),
    ]:
        add(name, *shapes, low=low, high=high, torch=_t(theirs))
for exponent in (0, 1, 2, 3, -1, 0.5, -1.5):
    add("pow", (3, 4), args=(exponent,), low=0.3, high=2, torch=lambda x, e=exponent: x**e)
add("pow", (3, 4), f=lambda x: REGISTRY["pow"](2.0, x), torch=lambda x: 2.0**x)
_mask = np.array([[True, False, True], [False, False, True]])
add(
    "where",
    (2, 3),
    (2, 3),
    f=lambda a, b: REGISTRY["where"](tg.Tensor(_mask, device=a.device), a, b),
    torch=lambda a, b: _t("where")(_t("tensor")(_mask), a, b),
)
add(
    "where",
    (3,),
    (),
    f=lambda a, b: REGISTRY["where"](tg.Tensor(_mask, device=a.device), a, b),
    torch=lambda a, b: _t("where")(_t("tensor")(_mask), a, b),
)

# -- reductions -------------------------------------------------------------------------------------
_axes: list[Any] = [None, 0, -1, (0, 2), (2, 0)]
for name, theirs in [("sum", "sum"), ("mean", "mean"), ("max", "amax"), ("min", "amin"), ("logsumexp", "logsumexp")]:
    for axis in _axes:
        for keepdims in (False, True):
            add(
                name, (2, 3, 2), attrs={"axis": axis, "keepdims": keepdims},
                torch=lambda x, n=theirs, a=axis, k=keepdims: _t(n)(x, (0, 1, 2) if a is None else a, k),
            )  # fmt: skip
for name in ("var", "std"):
    for axis in _axes:
        for correction in (0, 1):
            add(
                name, (2, 3, 2), attrs={"axis": axis, "correction": correction, "keepdims": axis == 0},
                torch=lambda x, n=name, a=axis, c=correction: _t(n)(x, dim=a, correction=c, keepdim=a == 0),
            )  # fmt: skip
add("prod", (2, 3), torch=lambda x: x.prod())
add("prod", (2, 3, 2), attrs={"axis": 1}, torch=lambda x: x.prod(1))
add("prod", (2, 3, 2), attrs={"axis": (0, 2), "keepdims": True}, torch=lambda x: x.prod(0, True).prod(2, True))
for axis in (0, 1, -1):
    add("cumsum", (2, 3, 2), attrs={"axis": axis}, torch=lambda x, a=axis: x.cumsum(a))
    add("softmax", (2, 3, 2), attrs={"axis": axis}, torch=lambda x, a=axis: x.softmax(a))
    add("log_softmax", (2, 3, 2), attrs={"axis": axis}, torch=lambda x, a=axis: x.log_softmax(a))
    add("sort", (3, 4, 2), attrs={"axis": axis}, torch=lambda x, a=axis: x.sort(a).values)
    add(
        "sort",
        (3, 4),
        attrs={"axis": axis, "descending": True},
        torch=lambda x, a=axis: x.sort(a, descending=True).values,
    )
for ord_ in (None, 1, 2, 3, 1.5, float("inf"), -float("inf"), "fro"):
    add(
        "norm",
        (3, 4),
        args=(ord_,),
        torch=lambda x, o=ord_: _t("linalg.vector_norm")(x, 2 if o in (None, "fro") else o),
    )
    add(
        "norm",
        (2, 3, 2),
        args=(ord_, 1, True),
        torch=lambda x, o=ord_: _t("linalg.vector_norm")(x, 2 if o in (None, "fro") else o, 1, True),
    )

# -- shapes -----------------------------------------------------------------------------------------
add("reshape", (2, 6), args=(3, -1), torch=lambda x: x.reshape(3, -1))
add("reshape", (2, 6), args=((4, 3),), torch=lambda x: x.reshape(4, 3))
add("permute_dims", (2, 3, 4), args=(2, 0, 1), torch=lambda x: x.permute(2, 0, 1))
add("permute_dims", (2, 3, 4), torch=lambda x: x.permute(2, 1, 0))
add("swapaxes", (2, 3, 4), args=(0, -1), torch=lambda x: x.swapaxes(0, -1))
add("moveaxis", (2, 3, 4), args=(0, 2), torch=lambda x: x.moveaxis(0, 2))
add("moveaxis", (2, 3, 4), args=((0, 1), (-1, 0)), torch=lambda x: x.moveaxis((0, 1), (-1, 0)))
add("squeeze", (2, 1, 3, 1), torch=lambda x: x.squeeze())
add("squeeze", (2, 1, 3, 1), attrs={"axis": 1}, torch=lambda x: x.squeeze(1))
add("expand_dims", (2, 3), attrs={"axis": 1}, torch=lambda x: x.unsqueeze(1))
add("expand_dims", (2, 3), attrs={"axis": (0, -1)}, torch=lambda x: x[None, ..., None])
add("broadcast_to", (2, 1, 3), args=((4, 2, 5, 3),), torch=lambda x: x.expand(4, 2, 5, 3))
add("broadcast_to", (), args=((2, 3),), torch=lambda x: x.expand(2, 3))
add("flip", (2, 3), torch=lambda x: x.flip((0, 1)))
add("flip", (2, 3), attrs={"axis": 1}, torch=lambda x: x.flip(1))
add("roll", (2, 5), args=(2, 1), torch=lambda x: x.roll(2, 1))
add("roll", (2, 5), args=(-3,), torch=lambda x: x.roll(-3))
add("roll", (2, 5), args=((1, 2), (0, 1)), torch=lambda x: x.roll((1, 2), (0, 1)))
add("concat", (2, 3), (4, 3), f=lambda *xs: REGISTRY["concat"](xs), torch=lambda *xs: _t("cat")(xs))
add(
    "concat", (2, 3), (2, 1), (2, 2), f=lambda *xs: REGISTRY["concat"](xs, axis=-1), torch=lambda *xs: _t("cat")(xs, -1)
)
add("stack", (2, 3), (2, 3), f=lambda *xs: REGISTRY["stack"](xs, axis=1), torch=lambda *xs: _t("stack")(xs, 1))
add("stack", (2,), (2,), f=lambda *xs: REGISTRY["stack"](xs, axis=-1), torch=lambda *xs: _t("stack")(xs, -1))
add("split", (6, 2), f=lambda x: REGISTRY["split"](x, 3)[1], torch=lambda x: x.chunk(3)[1])
add("split", (2, 6), f=lambda x: REGISTRY["split"](x, [1, 4], axis=1)[1], torch=lambda x: x[:, 1:4])
add("tile", (2, 3), args=((2, 1, 3),), torch=lambda x: x.tile(2, 1, 3))
add("tile", (2, 3), args=(2,), torch=lambda x: x.tile(2))
add("repeat", (2, 3), args=(2,), torch=lambda x: x.repeat_interleave(2))
add("repeat", (2, 3), args=([1, 0, 2], 1), torch=lambda x: x.repeat_interleave(_t("tensor")([1, 0, 2]), 1))
add("pad", (2, 3), args=(1,), torch=lambda x: _t(F + "pad")(x, (1, 1, 1, 1)))
add("pad", (2, 3), args=(((1, 0), (2, 3)), 7.0), torch=lambda x: _t(F + "pad")(x, (2, 3, 1, 0), value=7.0))
add("tril", (3, 4), torch=lambda x: x.tril())
add("tril", (2, 3, 3), attrs={"k": -1}, torch=lambda x: x.tril(-1))
add("triu", (3, 4), attrs={"k": 1}, torch=lambda x: x.triu(1))
add("diagonal", (3, 4), torch=lambda x: x.diagonal())
add("diagonal", (2, 3, 4), args=(-1, 2, 1), torch=lambda x: x.diagonal(-1, 2, 1))
add("diag", (3,), args=(1,), torch=lambda x: x.diag(1))
add("diag", (3, 4), args=(-1,), torch=lambda x: x.diag(-1))
add("trace", (3, 4), torch=lambda x: x[:3, :3].trace())
add("astype", (2, 3), args=("float64",), torch=lambda x: x + 0)
add("to_device", (2, 3), f=lambda x: REGISTRY["to_device"](x, x.device), torch=lambda x: x + 0)

# -- indexing: reading and assignment ---------------------------------------------------------------
_rows, _cols = np.array([0, 2, 2]), np.array([1, 1, 3])
_flags = np.array([[True, False, True, True], [False, False, True, False], [True, False, False, False]])
INDICES: list[Any] = [
    0, -1, slice(1, None), (slice(None), slice(None, None, 2)), (..., 1), (None, 0), (slice(None, None, -1), None, 2),
    _rows, [0, 1], (_rows, _cols), (slice(None), _cols), (_rows[:, None], np.array([0, 3])), _flags, (_flags[:, 0],),
    (0, _cols), (..., np.array([-1, 0])), (slice(0, 2), [True, False, True, True]), (1, 2), (), ...,
]  # fmt: skip


def _torch_index(index: Any) -> Any:
    import torch

    parts = index if isinstance(index, tuple) else (index,)
    return tuple(torch.tensor(p) if isinstance(p, (np.ndarray, list)) else p for p in parts)


for index in INDICES:
    reverse = isinstance(index, tuple) and any(isinstance(p, slice) and p.step == -1 for p in index)
    theirs_ = (
        (lambda x, i=index: x.flip(0)[_torch_index((slice(None), *i[1:]))])
        if reverse
        else (lambda x, i=index: x[_torch_index(i)])
    )
    add("getitem", (3, 4), f=lambda x, i=index: x[i], torch=theirs_)
for index in [0, (slice(None), 1), (slice(1, 3), slice(0, 2)), (np.array([0, 2]), np.array([1, 3])), _flags, (..., 2)]:
    shape = np.zeros((3, 4))[index].shape
    for value_shape in dict.fromkeys([shape, ()]):

        def ours(x: Any, v: Any, i: Any = index) -> Any:
            y = x * 1.0
            y[i] = v
            return y

        def theirs_put(x: Any, v: Any, i: Any = index) -> Any:
            y = x * 1.0
            y[_torch_index(i)] = v
            return y

        add("assign", (3, 4), value_shape, f=ours, torch=theirs_put)
add("scatter", (3,),
    f=lambda g: REGISTRY["scatter"](g, index=(tg.Tensor([0, 2, 2], device=g.device).data,), shape=(4,)),
    torch=lambda g: _t("zeros")(4, dtype=g.dtype).index_add(0, _t("tensor")([0, 2, 2]), g))  # fmt: skip
add("take", (3, 4), args=([2, 0, 2], 1), torch=lambda x: x[:, [2, 0, 2]])
add("take", (3, 4), args=(np.array([[5, 1], [0, 5]]),), torch=lambda x: x.take(_t("tensor")([[5, 1], [0, 5]])))
_along = np.array([[0, 2, 1, 1], [2, 2, 0, 0]])
add("take_along_axis", (3, 4), args=(_along[:, :1], 0), torch=lambda x: x[[0, 2]])
add("take_along_axis", (3, 4), args=(_along, 0), torch=lambda x: x.gather(0, _t("tensor")(_along)))

# -- products ---------------------------------------------------------------------------------------
for shapes in [
    ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
    ((2, 1, 2, 3), (3, 3, 2)), ((3,), (2, 3, 4)), ((2, 2, 3), (3,)), ((1, 3), (3, 1)),
]:  # fmt: skip
    add("matmul", *shapes, torch=_t("matmul"))
add("tensordot", (2, 3, 4), (3, 4, 2), torch=lambda a, b: _t("tensordot")(a, b, 2))
add("tensordot", (2, 3), (3, 4), args=(1,), torch=lambda a, b: _t("tensordot")(a, b, 1))
add(
    "tensordot",
    (2, 3, 4),
    (4, 2, 5),
    args=(((0, 2), (1, 0)),),
    torch=lambda a, b: _t("tensordot")(a, b, ((0, 2), (1, 0))),
)
add("tensordot", (2,), (3,), args=(0,), torch=lambda a, b: _t("tensordot")(a, b, 0))
for spec, *shapes_ in [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("i,i->", (3,), (3,)), ("i,j->ij", (2,), (3,)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->ji", (2, 3)), ("ij->", (2, 3)),
    ("ij->j", (2, 3)), ("...ij,...jk->...ik", (2, 2, 3), (2, 3, 2)), ("...i,i->...", (2, 3, 2), (2,)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 3)), ("ij,ij->ij", (2, 3), (2, 3)), ("iij->j", (2, 2, 3)),
    ("ij,k->i", (2, 3), (2,)), ("iii->i", (2, 2, 2)), ("bhwc,hkc->bwk", (2, 2, 2, 3), (2, 2, 3)),
]:  # fmt: skip
    add(
        "einsum",
        *shapes_,
        f=lambda *xs, s=spec: REGISTRY["einsum"](s, *xs),
        torch=lambda *xs, s=spec: _t("einsum")(s, *xs),
    )
add("outer", (3,), (4,), torch=_t("outer"))

# -- fused, convolution, pooling --------------------------------------------------------------------
add("linear", (4, 3), (2, 3), (2,), torch=_t(F + "linear"))
add("linear", (2, 2, 3), (4, 3), (4,), torch=_t(F + "linear"))
add("linear", (4, 3), (2, 3), args=(None,), torch=_t(F + "linear"))
_labels = np.array([1, 0, 2, 2])
add(
    "softmax_cross_entropy",
    (4, 3),
    f=lambda x: REGISTRY["softmax_cross_entropy"](x, tg.Tensor(_labels, device=x.device)),
    torch=lambda x: _t(F + "cross_entropy")(x, _t("tensor")(_labels), reduction="none"),
)
for stride, padding, dilation, groups in [
    ((1, 1), (0, 0), (1, 1), 1),
    ((2, 1), (1, 2), (1, 1), 1),
    ((1, 1), (1, 1), (2, 1), 1),
    ((1, 2), (1, 0), (1, 1), 2),
]:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    add(
        "conv2d",
        (2, 2, 4, 5),
        (2, 2 // groups, 3, 2),
        (2,),
        attrs=options,
        torch=lambda x, w, b, o=options: _t(F + "conv2d")(x, w, b, **o),
    )
add("conv2d", (1, 1, 3, 3), (2, 1, 1, 1), args=(None,), torch=lambda x, w: _t(F + "conv2d")(x, w))
for kernel, stride, padding, dilation in [
    ((2, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 2), (1, 2), (1, 1), (1, 1)),
    ((2, 2), (1, 1), (0, 0), (2, 2)),
]:
    o1 = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    add(
        "max_pool2d",
        (2, 2, 4, 5),
        attrs=o1,
        torch=lambda x, k=kernel, s=stride, p=padding, d=dilation: _t(F + "max_pool2d")(x, k, s, p, d),
    )
for kernel, stride, padding in [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 1))]:
    o2 = {"kernel": kernel, "stride": stride, "padding": padding}
    add(
        "avg_pool2d",
        (2, 2, 4, 5),
        attrs=o2,
        torch=lambda x, k=kernel, s=stride, p=padding: _t(F + "avg_pool2d")(x, k, s, p),
    )

# -- whatever else is in the registry ---------------------------------------------------------------
for name, function in REGISTRY.items():
    if not name.startswith("_") and name not in NO_GRADIENT and not any(s.name == name for s in SAMPLES):
        inputs = len(function.op.inputs) if hasattr(function, "op") else 1
        add(name, *[(2, 3), (3,), (2, 3)][:inputs], low=0.1, high=0.9)
        ELEMENTWISE.add(name)
