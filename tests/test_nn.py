"""Layers, modules and first values. A layer is built by one line that works in both libraries, loads PyTorch's state
dict, and must then equal PyTorch in float64; modules are walked, moved, saved, printed; and every error is read."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m.nn import Module

nn: Any = tg.nn
F: Any = nn.functional
torch: Any = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def grad(t: tg.Tensor) -> np.ndarray:
    assert t.grad is not None
    return t.grad.numpy()


def load_from_torch(ours: Module, theirs: Any) -> None:
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})


def close(ours: Any, theirs: Any, tolerance: float = 1e-10) -> None:
    assert (ours is None) == (theirs is None)
    if ours is not None:
        a, b = ours.numpy(), theirs.detach().numpy()
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def same_as_torch(build: Callable[[Any], Any], x: np.ndarray, training: bool = True) -> None:
    """Output, input gradient, parameter gradients and buffers of build(nn) and build(torch.nn) agree."""
    ours, theirs = build(nn).to("float64"), build(torch.nn).double()
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    load_from_torch(ours, theirs)
    ours.train(training), theirs.train(training)
    a, b = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, expected = ours(a), theirs(b)
    close(out, expected)
    g = numbers(*expected.shape, seed=9)
    out.backward(tg.Tensor(g))
    expected.backward(torch.tensor(g))
    close(a.grad, b.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad)
    for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
        close(p, q)


LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "linear": (lambda nn: nn.Linear(5, 3), (4, 5)),
    "linear no bias": (lambda nn: nn.Linear(5, 3, bias=False), (4, 5)),
    "linear vector": (lambda nn: nn.Linear(5, 3), (5,)),
    "linear 4d": (lambda nn: nn.Linear(5, 3), (2, 3, 4, 5)),
    "linear empty batch": (lambda nn: nn.Linear(5, 3), (0, 5)),
    "identity": (lambda nn: nn.Identity(54, anything=True), (4, 5)),
    "conv": (lambda nn: nn.Conv2d(2, 4, 3), (2, 2, 6, 5)),
    "conv unbatched": (lambda nn: nn.Conv2d(2, 4, 3), (2, 6, 5)),
    "conv no bias": (lambda nn: nn.Conv2d(2, 4, 3, bias=False), (2, 2, 6, 5)),
    "conv pair": (lambda nn: nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 2), (1, 2)), (2, 2, 7, 6)),
    "conv stride": (lambda nn: nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 2, 8, 7)),
    "conv valid": (lambda nn: nn.Conv2d(2, 3, 3, padding="valid"), (2, 2, 5, 6)),
    "conv same": (lambda nn: nn.Conv2d(2, 3, 3, padding="same"), (2, 2, 5, 6)),
    "conv same even": (lambda nn: nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(3, 1)), (2, 2, 6, 6)),
    "conv dilation": (lambda nn: nn.Conv2d(2, 3, 3, dilation=2), (1, 2, 7, 8)),
    "conv groups": (lambda nn: nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 5, 5)),
    "conv depthwise": (lambda nn: nn.Conv2d(3, 6, 3, 2, groups=3), (2, 3, 7, 7)),
    "conv 1x1": (lambda nn: nn.Conv2d(3, 2, 1), (2, 3, 4, 4)),
    "maxpool": (lambda nn: nn.MaxPool2d(2), (2, 3, 6, 5)),
    "maxpool unbatched": (lambda nn: nn.MaxPool2d(2), (3, 6, 5)),
    "maxpool overlap": (lambda nn: nn.MaxPool2d(3, 2, 1), (2, 3, 7, 7)),
    "maxpool pairs": (lambda nn: nn.MaxPool2d((2, 3), stride=(1, 2), padding=(1, 0), dilation=(2, 1)), (2, 2, 6, 7)),
    "avgpool": (lambda nn: nn.AvgPool2d(2), (2, 3, 6, 5)),
    "avgpool unbatched": (lambda nn: nn.AvgPool2d(2), (3, 6, 5)),
    "avgpool padding": (lambda nn: nn.AvgPool2d(3, 2, 1), (2, 3, 7, 7)),
    "avgpool not counting": (lambda nn: nn.AvgPool2d((3, 2), (2, 1), (1, 1), count_include_pad=False), (2, 3, 7, 6)),
    "flatten": (lambda nn: nn.Flatten(), (2, 3, 4, 5)),
    "flatten some": (lambda nn: nn.Flatten(-3, 2), (2, 3, 4, 5)),
    "flatten empty": (lambda nn: nn.Flatten(), (0, 3, 4)),
    "batchnorm1d": (lambda nn: nn.BatchNorm1d(3), (5, 3)),
    "batchnorm1d 3d": (lambda nn: nn.BatchNorm1d(3, eps=0.1, momentum=0.3), (4, 3, 5)),
    "batchnorm1d plain": (lambda nn: nn.BatchNorm1d(3, affine=False), (5, 3)),
    "batchnorm1d own": (lambda nn: nn.BatchNorm1d(3, track_running_stats=False), (5, 3)),
    "batchnorm1d mean": (lambda nn: nn.BatchNorm1d(3, momentum=None), (5, 3)),
    "batchnorm2d": (lambda nn: nn.BatchNorm2d(3), (2, 3, 4, 5)),
    "layernorm": (lambda nn: nn.LayerNorm(5), (4, 3, 5)),
    "layernorm 2d": (lambda nn: nn.LayerNorm((3, 5), eps=0.01), (4, 3, 5)),
    "layernorm no bias": (lambda nn: nn.LayerNorm([5], bias=False), (4, 5)),
    "layernorm plain": (lambda nn: nn.LayerNorm(5, elementwise_affine=False), (4, 5)),
    "relu": (lambda nn: nn.ReLU(), (4, 5)),
    "leaky": (lambda nn: nn.LeakyReLU(), (4, 5)),
    "leaky 0.3": (lambda nn: nn.LeakyReLU(0.3), (4, 5)),
    "elu": (lambda nn: nn.ELU(), (4, 5)),
    "elu 0.5": (lambda nn: nn.ELU(alpha=0.5), (4, 5)),
    "gelu": (lambda nn: nn.GELU(), (4, 5)),
    "gelu tanh": (lambda nn: nn.GELU(approximate="tanh"), (4, 5)),
    "silu": (lambda nn: nn.SiLU(), (4, 5)),
    "sigmoid": (lambda nn: nn.Sigmoid(), (4, 5)),
    "tanh": (lambda nn: nn.Tanh(), (4, 5)),
    "softplus": (lambda nn: nn.Softplus(), (4, 5)),
    "softplus beta": (lambda nn: nn.Softplus(beta=2.0, threshold=1.0), (4, 5)),
    "softmax": (lambda nn: nn.Softmax(dim=1), (4, 5, 2)),
    "log softmax": (lambda nn: nn.LogSoftmax(dim=0), (4, 5)),
    "sequential": (lambda nn: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), (6, 5)),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_torch(name: str, training: bool) -> None:
    build, shape = LAYERS[name]
    same_as_torch(build, numbers(*shape), training)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_keeps_float32(name: str) -> None:
    build, shape = LAYERS[name]
    layer, x = build(nn), tg.Tensor(numbers(*shape), dtype="float32", requires_grad=True)
    out = layer(x)
    assert out.dtype == np.float32
    out.sum().backward()
    assert x.grad is not None and x.grad.dtype == np.float32
    for p in layer.parameters():
        assert p.dtype == np.float32 and p.grad is not None and p.grad.dtype == np.float32


WEIGHTED = ["linear", "linear no bias", "conv", "batchnorm1d", "batchnorm1d plain", "batchnorm2d", "layernorm"]


@pytest.mark.parametrize("name", WEIGHTED)
def test_another_float_dtype_than_the_weights_is_an_error(name: str) -> None:
    build, shape = LAYERS[name]
    layer = build(nn)
    for wrong in (numbers(*shape), tg.Tensor(numbers(*shape)), torch.tensor(numbers(*shape)), np.ones(shape, "f2")):
        given = "float16" if wrong.dtype == np.float16 else "float64"
        with pytest.raises(TypeError) as caught:
            layer(wrong)
        for part in (type(layer).__name__, "float32 weights", f"is {given}", '.astype("float32")', f'.to("{given}")'):
            assert part in str(caught.value)
    with pytest.raises(TypeError, match=r"Linear has float32 weights, but its input is float64"):
        nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(5, 3))(numbers(4, 5))
    x = numbers(*shape)
    assert layer(x.astype("float32")).dtype == np.float32 and layer(np.ones(shape, np.int64)).dtype == np.float32
    assert layer.to("float64")(x).dtype == np.float64
    with pytest.raises(TypeError, match=r"float64 weights.*is float32.*float64.*or model.to.*float32"):
        layer(x.astype("float32"))


def test_hyperparameters_of_numpys_float64_keep_float32() -> None:
    x, k = tg.randn(4, 3), np.float64(0.3)
    makers = [nn.LeakyReLU(k), nn.ELU(k), nn.Softplus(k, np.float64(2)), nn.Dropout(k), nn.LayerNorm(3, eps=k),
              nn.BatchNorm1d(3, eps=k, momentum=k)]  # fmt: skip
    for module in makers:
        assert module(x).dtype == np.float32, module
    assert F.batch_norm(x, None, None, training=True, eps=k).dtype == np.float32
    assert F.dropout(x, k).dtype == np.float32
    bn = makers[-1]
    assert all(b.dtype == np.float32 for b in (bn.running_mean, bn.running_var))
    for write in (nn.init.uniform_, nn.init.normal_):
        assert write(x, k, k + 1).dtype == np.float32


@pytest.mark.parametrize("extreme", [-1e4, -750.0, 30.0, 1e4])
def test_activations_in_the_tails_equal_torch(extreme: float) -> None:
    for name in ("elu", "gelu", "silu", "sigmoid", "tanh", "softplus"):
        same_as_torch(LAYERS[name][0], np.array([extreme]))


def test_dim_is_also_called_axis() -> None:
    x = tg.Tensor(numbers(3, 4))
    for f in (F.softmax, F.log_softmax):
        assert np.array_equal(f(x, axis=0).numpy(), f(x, 0).numpy())
        assert np.array_equal(f(x).numpy(), f(x, dim=1).numpy())


# -- second derivatives ---------------------------------------------------------------------------


def leaf(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.Tensor(numbers(*shape, seed=seed), requires_grad=True)


SECOND: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "linear": (F.linear, [(2, 3), (4, 3), (4,)]),
    "conv": (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, groups=2), [(1, 2, 4, 3), (2, 1, 3, 2), (2,)]),
    "conv same": (lambda x, w: F.conv2d(x, w, padding="same"), [(1, 1, 3, 3), (1, 1, 2, 2)]),
    "maxpool": (lambda x: F.max_pool2d(x, 2, 1).square(), [(1, 1, 3, 4)]),
    "avgpool": (lambda x: F.avg_pool2d(x, 2, 2, 1, count_include_pad=False).square(), [(1, 1, 3, 4)]),
    "batchnorm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(4, 2), (2,), (2,)]),
    "batchnorm 2d": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [(2, 2, 2, 1), (2,), (2,)]),
    "layernorm": (lambda x, w, b: F.layer_norm(x, (3,), w, b), [(2, 3), (3,), (3,)]),
    "embedding": (lambda w: F.embedding([[0, 2], [2, 1]], w).square(), [(3, 2)]),
    "softplus": (lambda x: F.softplus(x, 1.5, 1.0), [(5,)]),
    "leaky": (lambda x: F.leaky_relu(x, 0.2).square(), [(5,)]),
    "elu": (lambda x: F.elu(x, 0.5), [(5,)]),
    "gelu": (F.gelu, [(5,)]),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), [(5,)]),
    "silu": (F.silu, [(5,)]),
    "log_softmax": (lambda x: F.log_softmax(x, 0), [(3, 2)]),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name: str) -> None:
    f, shapes = SECOND[name]
    inputs = [leaf(*shape, seed=k) for k, shape in enumerate(shapes)]
    assert tg.gradcheck(f, inputs, order=2, atol=1e-5)


# -- embedding and one_hot ------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [None, 0, 2, -1])
@pytest.mark.parametrize("index", [3, [0, 2, 2, 3], [[0, 1], [3, 3]], np.zeros((0,), np.int64)])
def test_embedding_equals_torch(index: Any, padding: int | None) -> None:
    ours, theirs = nn.Embedding(4, 3, padding), torch.nn.Embedding(4, 3, padding).double()
    load_from_torch(ours.to("float64"), theirs)
    out, expected = ours(index), theirs(torch.tensor(index))
    close(out, expected)
    g = numbers(*out.shape)
    out.backward(tg.Tensor(g))
    expected.backward(torch.tensor(g))
    close(ours.weight.grad, theirs.weight.grad)
    w, v = tg.Tensor(numbers(4, 3), requires_grad=True), torch.tensor(numbers(4, 3), requires_grad=True)
    F.embedding(index, w, padding).backward(tg.Tensor(g))
    torch.nn.functional.embedding(torch.tensor(index), v, padding).backward(torch.tensor(g))
    close(w.grad, v.grad)


def test_embedding_keeps_its_own_index() -> None:
    w, index = tg.zeros(3, 1, requires_grad=True), tg.Tensor([0, 1])
    out = F.embedding(index, w)
    index[0] = 2
    out.sum().backward()
    assert grad(w).tolist() == [[1.0], [1.0], [0.0]]


def test_embedding_starts_normal_with_a_row_of_zeros() -> None:
    weight = nn.Embedding(2000, 50, padding_idx=-3).weight.numpy()
    assert not weight[1997].any() and abs(weight.mean()) < 0.01 and abs(weight.std() - 1) < 0.01


def test_one_hot_equals_torch() -> None:
    labels = [[0, 2], [1, 0]]
    close(F.one_hot(labels), torch.nn.functional.one_hot(torch.tensor(labels)))
    close(F.one_hot(np.array(labels, np.uint8), 5), torch.nn.functional.one_hot(torch.tensor(labels), 5))


# -- dropout --------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_is_off_in_eval() -> None:
    layer, x = nn.Dropout(0.3), tg.ones(400, 500, requires_grad=True)
    out = layer(x)
    values = set(np.unique(out.numpy()).tolist())
    assert values == {0.0, float(np.float32(1 / 0.7))}
    assert abs(float(out.mean()) - 1) < 0.01 and abs((out.numpy() == 0).mean() - 0.3) < 0.01
    out.sum().backward()
    assert np.array_equal(grad(x), out.numpy())
    assert layer.eval()(x) is x and nn.Dropout(0.0)(x) is x


def test_dropout_of_everything() -> None:
    x = tg.ones(3, 4, requires_grad=True)
    out = nn.Dropout(1.0)(x)
    out.sum().backward()
    assert not out.numpy().any() and not grad(x).any()


def test_dropout_same_seed_same_mask_in_every_dtype_and_on_every_device(device: str) -> None:
    masks = []
    for dtype, where in (("float32", "cpu"), ("float32", device), ("float64", device)):
        tg.manual_seed(3)
        masks.append(F.dropout(tg.ones(50, 20, dtype=dtype, device=where)).numpy() != 0)
    assert np.array_equal(masks[0], masks[1]) and np.array_equal(masks[0], masks[2])
    assert not np.array_equal(masks[0], F.dropout(tg.ones(50, 20)).numpy() != 0)


# -- batch norm over several steps ----------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
def test_running_statistics_over_steps_equal_torch(momentum: float | None) -> None:
    ours, theirs = nn.BatchNorm2d(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum).double()
    ours.to("float64")
    for step in range(5):
        x = numbers(2, 3, 4, 4, seed=step) * (step + 1) + step
        close(ours(tg.Tensor(x)), theirs(torch.tensor(x)))
        for name, value in theirs.state_dict().items():
            close(dict(ours.named_buffers()).get(name, getattr(ours, name)), value)
    assert int(ours.num_batches_tracked) == 5
    x = numbers(2, 3, 4, 4, seed=8)
    close(ours.eval()(tg.Tensor(x)), theirs.eval()(torch.tensor(x)))
    assert int(ours.num_batches_tracked) == 5


def test_running_statistics_are_no_part_of_the_graph() -> None:
    layer = nn.BatchNorm1d(2)
    layer(tg.randn(4, 2, requires_grad=True))
    assert not layer.running_mean.requires_grad and layer.running_mean.is_leaf


# -- first values ---------------------------------------------------------------------------------

INITS: dict[str, Callable[[Any, Any], Any]] = {
    "kaiming_uniform": lambda init, t: init.kaiming_uniform_(t),
    "kaiming_uniform fan_out": lambda init, t: init.kaiming_uniform_(t, a=0.5, mode="fan_out"),
    "kaiming_uniform relu": lambda init, t: init.kaiming_uniform_(t, nonlinearity="relu"),
    "kaiming_normal": lambda init, t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal tanh": lambda init, t: init.kaiming_normal_(t, nonlinearity="tanh"),
    "xavier_uniform": lambda init, t: init.xavier_uniform_(t, gain=2.0),
    "xavier_normal": lambda init, t: init.xavier_normal_(t),
    "uniform": lambda init, t: init.uniform_(t, -1.0, 3.0),
    "normal": lambda init, t: init.normal_(t, 2.0, 0.5),
    "orthogonal": lambda init, t: init.orthogonal_(t, gain=1.5),
}


@pytest.mark.parametrize("shape", [(300, 200), (64, 32, 5, 3)])
@pytest.mark.parametrize("name", INITS)
def test_init_has_torchs_distribution(name: str, shape: tuple[int, ...]) -> None:
    ours, theirs = tg.zeros(shape), torch.zeros(shape)
    assert INITS[name](nn.init, ours) is ours
    torch.manual_seed(0)
    INITS[name](torch.nn.init, theirs)
    a, b = np.sort(ours.numpy().reshape(-1)), np.sort(theirs.numpy().reshape(-1))
    spread = b.std()
    assert abs(a.mean() - b.mean()) < 0.02 * spread and abs(a.std() / spread - 1) < 0.02
    assert np.abs(a - b)[len(a) // 100 : -len(a) // 100].max() < 0.1 * spread  # quantile by quantile
    if "uniform" in name:  # the bounds are sharp
        assert abs(a[-1] / b[-1] - 1) < 0.01 and abs(a[0] / b[0] - 1) < 0.01


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (3, 2, 2, 2)])
def test_orthogonal_is_orthogonal(shape: tuple[int, ...]) -> None:
    w = nn.init.orthogonal_(tg.zeros(shape, dtype="float64"), gain=2.0).numpy().reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)
    signs = {nn.init.orthogonal_(tg.zeros(1, 1)).item() for _ in range(50)}
    assert signs == {-1.0, 1.0}  # every orthogonal matrix is as likely


def test_constants_and_gains() -> None:
    t = tg.randn(3, 2)
    assert (nn.init.zeros_(t).numpy() == 0).all() and (nn.init.ones_(t).numpy() == 1).all()
    assert (nn.init.constant_(t, 0.3).numpy() == np.float32(0.3)).all()
    for name, param in [("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None),
                        ("selu", None), ("leaky_relu", None), ("leaky_relu", 0.2)]:  # fmt: skip
        assert math.isclose(nn.init.calculate_gain(name, param), torch.nn.init.calculate_gain(name, param))


@pytest.mark.parametrize("build, fan_in", [(lambda: nn.Linear(400, 300), 400), (lambda: nn.Conv2d(16, 300, 5), 400),
                                           (lambda: nn.Conv2d(32, 300, 5, groups=2), 400)])  # fmt: skip
def test_layers_start_as_in_torch(build: Callable[[], Any], fan_in: int) -> None:
    layer, bound = build(), 1 / math.sqrt(fan_in)
    for p in layer.parameters():
        assert bound * 0.97 < np.abs(p.numpy()).max() <= bound
        assert abs(p.numpy().std() / (bound / math.sqrt(3)) - 1) < 0.08
    other = build()
    assert not np.array_equal(layer.weight.numpy(), other.weight.numpy())


def test_same_seed_same_weights_in_every_dtype_and_on_every_device(device: str) -> None:
    weights = []
    for kind in ({}, {"device": device}, {"dtype": "float64", "device": device}):
        tg.manual_seed(5)
        model = nn.Sequential(nn.Linear(4, 3, **kind), nn.Conv2d(2, 3, 3, **kind), nn.Embedding(5, 2, **kind),
                              nn.BatchNorm1d(3, **kind), nn.LayerNorm(3, **kind))  # fmt: skip
        assert {p.device for p in model.parameters()} == {"cpu" if kind == {} or device == "cpu" else "cuda:0"}
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        assert np.array_equal(value, weights[1][name])
        assert np.array_equal(value, weights[2][name].astype(value.dtype)), name
        assert weights[2][name].dtype == (np.int64 if value.dtype == np.int64 else np.float64)


def test_init_is_seen_by_a_graph_recorded_before() -> None:
    w = nn.Parameter(np.ones(3))
    loss = (w * w).sum()
    nn.init.zeros_(w)
    with pytest.raises(tg.GraphError, match="changed in place"):
        loss.backward()


# -- parameters and the walk ----------------------------------------------------------------------


class Tangle(Module):
    """Parameters in every place where they may be."""

    def __init__(self) -> None:
        self.before = nn.Parameter([1.0, 2.0])  # before super().__init__()
        super().__init__()
        self.layers = [nn.Linear(2, 2), nn.ReLU(), (nn.Linear(2, 3, bias=False), {"deep": nn.Linear(1, 1)})]
        self.by_name = {"b": nn.Parameter(np.zeros(4)), "a": nn.LayerNorm(2)}
        self.frozen = tg.randn(3, requires_grad=True)  # a plain Tensor is no parameter
        self.again = self.layers[0]
        self.tied = self.layers[2][0].weight
        self.register_buffer("steps", tg.zeros(2))
        self.nothing = None
        self.text = "a string"


NAMES = ["before", "layers.0.weight", "layers.0.bias", "layers.2.0.weight", "layers.2.1.deep.weight",
         "layers.2.1.deep.bias", "by_name.b", "by_name.a.weight", "by_name.a.bias"]  # fmt: skip


def test_the_walk_finds_everything_once_and_in_order() -> None:
    model = Tangle()
    assert [n for n, _ in model.named_parameters()] == NAMES
    assert [p for p in model.parameters()] == [p for _, p in model.named_parameters()]
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())
    assert [n for n, _ in model.named_buffers()] == ["steps"]
    inside = ["layers.0", "layers.1", "layers.2.0", "layers.2.1.deep", "by_name.a"]
    assert [n for n, _ in model.named_modules()] == ["", *inside]
    assert [n for n, _ in model.named_children()] == inside
    everywhere = [n for n, _ in model.named_parameters(remove_duplicate=False)]
    assert everywhere == [*NAMES, "again.weight", "again.bias", "tied"]
    assert list(model.state_dict()) == [*everywhere, "steps"]


def test_the_order_does_not_depend_on_the_hash_seed() -> None:
    program = ("import sys; sys.path.insert(0, 'tests'); import test_nn; "
               "print([n for n, _ in test_nn.Tangle().named_parameters()])")  # fmt: skip
    root = Path(__file__).parent.parent
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        done = subprocess.run([sys.executable, "-c", program], cwd=root, env=env, capture_output=True, text=True)
        assert done.stdout.strip() == str(NAMES), done.stderr


def test_a_module_inside_itself_is_walked_once() -> None:
    a, b = nn.Sequential(nn.Linear(1, 1)), nn.Module()
    a.child, b.parent = b, a
    assert [n for n, _ in a.named_parameters()] == ["0.weight", "0.bias"]
    assert list(a.state_dict()) == ["0.weight", "0.bias"] and "..." in repr(a)


def test_tied_weights_get_one_gradient_from_both_places() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    x = tg.randn(2, 3, dtype="float32")
    model(x).sum().backward()
    w = model[0].weight.detach().clone().requires_grad_()
    F.linear(F.linear(x, w), w).sum().backward()
    np.testing.assert_allclose(model[1].weight.grad.numpy(), w.grad.numpy(), rtol=1e-6)
    assert len(list(model.parameters())) == 1 and len(list(copy.deepcopy(model).parameters())) == 1


def test_parameter() -> None:
    source = np.ones((2, 3))
    p = nn.Parameter(source)
    source[:] = 5
    assert p.dtype == np.float64 and (p.numpy() == 1).all() and p.requires_grad and isinstance(p, tg.Tensor)
    assert nn.Parameter([1.0, 2.0]).dtype == np.float32 and not nn.Parameter([1.0], requires_grad=False).requires_grad
    computed = tg.ones(2, requires_grad=True) * 3
    assert nn.Parameter(computed).is_leaf and type(p * 2) is tg.Tensor and repr(p).startswith("Parameter")
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(twin) is nn.Parameter and twin.requires_grad and np.array_equal(twin.numpy(), p.numpy())
        twin.data[:] = 7
    assert (p.numpy() == 1).all()


def test_models_are_copied_and_pickled() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    x = tg.randn(4, 3)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin(x).numpy(), model(x).numpy()) and not twin.training
        twin[0].weight.data[...] = 0
    assert model[0].weight.numpy().any()


def test_train_eval_apply_zero_grad_freeze() -> None:
    model, seen = Tangle(), []
    assert model.training and model.eval() is model and not any(m.training for m in model.modules())
    assert model.train() is model and all(m.training for m in model.modules())
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["Linear", "ReLU", "Linear", "Linear", "LayerNorm", "Tangle"]
    sum((p.sum() for p in model.parameters()), tg.zeros(())).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert not any(p.requires_grad for p in model.requires_grad_(False).parameters())


def test_buffers_are_replaced_by_assignment() -> None:
    model = nn.Module()
    model.register_buffer("b", None)
    assert list(model.buffers()) == [] and model.state_dict() == {}
    model.b = tg.ones(2)
    assert list(model.state_dict()) == ["b"]
    model.register_buffer("b", tg.zeros(3))
    assert [b.shape for b in model.buffers()] == [(3,)]


def test_containers() -> None:
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)
    model = nn.Sequential(OrderedDict(first=a, second=b, third=c))
    assert [n for n, _ in model.named_parameters()] == ["first.weight", "first.bias", "third.weight", "third.bias"]
    assert len(model) == 3 and model[0] is a and model[-1] is c and list(model) == [a, b, c]
    assert isinstance(model[1:], nn.Sequential) and list(model[1:]) == [b, c] and list(nn.Sequential(b, b)) == [b, b]
    model[0] = c
    assert model.first is c
    items = nn.ModuleList([a]).append(b).extend([c])
    assert list(items) == [a, b, c] and [n for n, _ in items.named_children()] == ["0", "1", "2"]
    del items[0]
    assert list(items) == [b, c] and [n for n, _ in items.named_parameters()] == ["1.weight", "1.bias"]
    assert list(items[:1]) == [b] and isinstance(items[:1], nn.ModuleList)
    table = nn.ModuleDict({"one": a})
    table["two"] = c
    assert list(table) == list(table.keys()) == ["one", "two"] and list(table.values()) == [a, c] and "two" in table
    assert dict(table.items())["one"] is a and table["two"] is c and len(table) == 2
    del table["one"]
    assert [n for n, _ in table.named_parameters()] == ["two.weight", "two.bias"]
    assert nn.Sequential()(3) == 3


# -- moving ---------------------------------------------------------------------------------------


def test_to_dtype_keeps_the_parameter_objects_and_moves_gradients() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model(tg.randn(4, 3)).sum().backward()
    held, arrays = list(model.parameters()), [p.data for p in model.parameters()]
    assert model.to("float32") is model and all(p.data is a for p, a in zip(held, arrays, strict=True))
    model.to(np.float64)
    assert all(p is q for p, q in zip(model.parameters(), held, strict=True))
    assert all(p.dtype == np.float64 and p.grad.dtype == np.float64 for p in held)
    assert model[1].running_mean.dtype == np.float64 and model[1].num_batches_tracked.dtype == np.int64
    model.to(dtype="float32", device="cpu")
    assert all(np.array_equal(p.data, a) for p, a in zip(held, arrays, strict=True))


def test_to_cuda_and_back(cuda: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model(tg.randn(4, 3)).sum().backward()
    held, before = list(model.parameters()), model.state_dict()
    model.to("cuda", "float64")
    assert {p.device for p in held} == {p.grad.device for p in held} == {"cuda:0"}
    assert {b.device for b in model.buffers()} == {"cuda:0"}
    assert isinstance(model.state_dict()["0.weight"], np.ndarray) and model[0].weight.device == "cuda:0"
    model.load_state_dict(before)  # NumPy arrays into a model on CUDA
    assert {p.device for p in held} == {"cuda:0"} and {p.dtype for p in held} == {np.dtype("float64")}
    assert {p.device for p in model.cuda(1).parameters()} == {"cuda:1"}
    model.cpu().to("float32")
    for name, value in model.state_dict().items():
        assert np.array_equal(value, before[name])
    assert {p.grad.device for p in held} == {"cpu"}


def test_a_training_step_does_not_wait_for_cuda(cuda: Any) -> None:
    class Net(Module):
        def __init__(self) -> None:
            self.words = nn.Embedding(7, 16, padding_idx=0)
            self.body = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding="same"), nn.BatchNorm2d(4, momentum=None), nn.GELU(), nn.MaxPool2d(2),
                nn.AvgPool2d(2, 1, 1, count_include_pad=False), nn.Flatten(), nn.Dropout(0.2), nn.LayerNorm(36),
                nn.Linear(36, 3), nn.Softplus(),
            )  # fmt: skip

        def forward(self, index: tg.Tensor) -> Any:
            return self.body(self.words(index).reshape(-1, 1, 4, 4))

    tg.manual_seed(1)
    model, twin = Net().cuda(), Net()
    twin.load_state_dict(model.state_dict())
    index, labels = tg.Tensor([1, 5, 0, 6]), tg.Tensor([0, 2, -100, 1])
    near, far = tg.Tensor(index, device="cuda"), tg.Tensor(labels, device="cuda")
    tg.manual_seed(2)
    before = cuda.syncs
    loss = F.cross_entropy(model(near), far) + F.cross_entropy(model(near), far, label_smoothing=0.1)
    loss.backward()
    assert cuda.syncs == before, "a training step waited for the device"
    assert loss.device == "cuda:0"
    tg.manual_seed(2)
    expected = F.cross_entropy(twin(index), labels) + F.cross_entropy(twin(index), labels, label_smoothing=0.1)
    expected.backward()
    np.testing.assert_allclose(loss.numpy(), expected.numpy(), rtol=1e-6)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(grad(p), grad(q), rtol=1e-4, atol=1e-6)
    bad = F.embedding(tg.Tensor([1, 9, -1], device="cuda"), model.words.weight).numpy()
    assert np.isnan(bad[1:]).all() and np.isfinite(bad[0]).all()


# -- state dicts ----------------------------------------------------------------------------------


def build_all(nn: Any) -> Any:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8, bias=False),
                         nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 2)))  # fmt: skip


def test_state_dicts_go_to_torch_and_back() -> None:
    ours, theirs = build_all(nn).to("float64"), build_all(torch.nn).double()
    theirs(torch.tensor(numbers(3, 1, 6, 6)))  # statistics that are not the first ones
    x = numbers(2, 1, 6, 6, seed=1)
    ours.load_state_dict(theirs.state_dict())  # PyTorch's tensors
    close(ours.eval()(tg.Tensor(x)), theirs.eval()(torch.tensor(x)))
    other, fresh = build_all(torch.nn).double().eval(), build_all(nn).to("float64").eval()
    other.load_state_dict({name: torch.from_numpy(a) for name, a in fresh.state_dict().items()})
    close(fresh(tg.Tensor(x)), other(torch.tensor(x)))
    ours.load_state_dict(dict(theirs.named_parameters()), strict=False)  # they require grad


def test_a_state_dict_is_a_copy() -> None:
    model = nn.Linear(2, 2)
    state, before = model.state_dict(), model.weight.numpy()
    assert all(type(a) is np.ndarray for a in state.values())
    state["weight"][:] = 9
    assert np.array_equal(model.weight.numpy(), before)
    model.load_state_dict(state)
    state["weight"][:] = 1
    assert (model.weight.numpy() == 9).all()


def test_loading_lists_every_problem_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 1))
    before, state = model.state_dict(), model.state_dict()
    state["0.bias"] = np.full(2, 5.0)  # fits, and must not be loaded
    state["2.weight"], state["2.bias"] = np.zeros((3, 3)), np.zeros((2, 1))
    state["3.bias"] = "text"
    del state["0.weight"], state["3.weight"]
    state["extra"], state["4.bias"] = np.zeros(1), np.zeros(1)
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    for part in ("missing: '0.weight' (2, 3)", "missing: '3.weight'", "unexpected: 'extra'", "unexpected: '4.bias'",
                 "shape: '2.weight' is (2, 2) in the model, (3, 3) in the state", "shape: '2.bias'", "'3.bias' is str",
                 "strict=False"):  # fmt: skip
        assert part in message, part
    assert "'0.bias'" not in message
    with pytest.raises(ValueError, match="shape: '2.weight'") as caught:
        model.load_state_dict(state, strict=False)
    assert "missing" not in str(caught.value).partition("):")[2]
    for name, value in model.state_dict().items():
        assert np.array_equal(value, before[name])
    for name in ("2.weight", "2.bias", "3.bias"):
        del state[name]
    left = model.load_state_dict(state, strict=False)
    assert left.missing_keys == ["0.weight", "2.weight", "2.bias", "3.weight", "3.bias"]
    assert left.unexpected_keys == ["extra", "4.bias"] and (model[0].bias.numpy() == 5).all()


def test_loading_keeps_dtype_and_is_seen_by_a_graph_recorded_before() -> None:
    model = nn.Linear(3, 2)
    loss = model(tg.randn(2, 3, requires_grad=True)).sum()
    weight, array = model.weight, model.weight.data
    model.load_state_dict({"weight": np.ones((2, 3)), "bias": tg.ones(2, dtype="float64")})
    assert model.weight is weight and weight.data is array and weight.dtype == np.float32 and (array == 1).all()
    with pytest.raises(tg.GraphError, match="changed in place"):
        loss.backward()


def test_loading_from_parts_of_the_model_itself() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    first, second = (model[k].weight.numpy() for k in (0, 1))
    model.load_state_dict({"0.weight": model[1].weight, "1.weight": model[0].weight})
    assert np.array_equal(model[0].weight.numpy(), second) and np.array_equal(model[1].weight.numpy(), first)


def test_save_and_load(tmp_path: Path) -> None:
    class Odd(Module):  # names that np.savez would take for its own arguments
        def __init__(self) -> None:
            self.file, self.allow_pickle = nn.Parameter([1.0]), nn.Parameter([[2.0]])
            self.norm = nn.BatchNorm1d(2)

    model, path, stream = Odd(), tmp_path / "model.weights", io.BytesIO()
    model.norm(tg.randn(4, 2))
    model.save(path)
    model.save(stream)
    assert [p.name for p in tmp_path.iterdir()] == ["model.weights"]
    with np.load(path, allow_pickle=False) as archive:
        assert archive["norm.num_batches_tracked"] == 1
    stream.seek(0)
    for source in (path, str(path), stream):
        other = Odd()
        other.load(source)
        for name, value in model.state_dict().items():
            assert np.array_equal(other.state_dict()[name], value)


def test_loading_a_file_that_is_no_model(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 2), tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        model.load(path)
    model.save(path)
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", weight=np.array([{}], dtype=object))
    other = [(tmp_path / name).read_bytes() for name in ("array.npy", "objects.npz")]
    damaged = [b"", b"rubbish" * 9, whole[: len(whole) // 2], whole[:70] + b"??" + whole[72:]]
    for content in (*damaged, *other, pickle.dumps({"weight": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no file of arrays"):
            model.load(path)
    nn.Linear(2, 3).save(path)
    with pytest.raises(ValueError, match="shape: 'weight'"):
        model.load(path)


# -- printing -------------------------------------------------------------------------------------


def test_print_shows_the_tree_and_counts() -> None:
    inner = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, 10, bias=False))
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), inner)
    lines = repr(model).split("\n")
    assert lines[1] == "  (0): Linear(in_features=784, out_features=128, bias=True)  # 100,480 parameters"
    assert lines[2] == "  (1): ReLU()" and lines[4] == "    (0): Dropout(p=0.2)"
    assert lines[5].startswith("    (1): Linear(") and lines[5].endswith("# 1,280 parameters")
    assert lines[-1] == ")  # 101,760 parameters"
    model[0].requires_grad_(False)
    assert repr(model).endswith(")  # 101,760 parameters, 100,480 of them frozen")
    assert repr(Tangle()).endswith(f"# {2 + 6 + 6 + 2 + 4 + 4} parameters")
    for build, _ in LAYERS.values():
        assert type(build(nn)).__name__ in repr(build(nn))


# -- training with PyTorch, step by step ----------------------------------------------------------


def mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def cnn(nn: Any) -> Any:
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(3, 4, 2), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3))  # fmt: skip


@pytest.mark.parametrize("build, shape", [(mlp, (8, 6)), (cnn, (8, 1, 6, 6))], ids=["mlp", "cnn"])
def test_100_steps_follow_torch(build: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    ours, theirs = build(nn).to("float64"), build(torch.nn).double()
    load_from_torch(ours, theirs)
    first = ours.state_dict()
    criterion, their_criterion = nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    rng, lr = np.random.default_rng(3), 0.1
    for _ in range(100):
        x, y = rng.normal(size=shape), rng.integers(0, 3, shape[0])
        ours.zero_grad(), theirs.zero_grad()
        loss, expected = criterion(ours(tg.Tensor(x)), y), their_criterion(theirs(torch.tensor(x)), torch.tensor(y))
        loss.backward(), expected.backward()
        assert abs(loss.item() - expected.item()) < 1e-9
        with torch.no_grad():
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                p.data -= lr * p.grad.data
                q -= lr * q.grad
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=0, atol=1e-9)
    assert np.abs(ours.state_dict()["0.weight"] - first["0.weight"]).max() > 1e-3


# -- errors ---------------------------------------------------------------------------------------


class NoForward(Module):
    pass


def x(*shape: int) -> tg.Tensor:
    return tg.zeros(shape)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.Linear(0, 3), ValueError, r"Linear: in_features must be an int of at least 1, not 0"),
    (lambda: nn.Linear(3, 2.5), ValueError, r"out_features .* not 2.5"),
    (lambda: nn.Linear(3, 2)(x(4, 5)), ValueError, r"Linear\(in_features=3.*expects \(\.\.\., 3\), got shape \(4, 5\)"),
    (lambda: nn.Linear(12, 2)(x(4, 3, 4)), ValueError, r"got shape \(4, 3, 4\).*Flatten"),
    (lambda: nn.Linear(3, 2)([1.0, 2.0, 3.0]), TypeError, r"Linear takes a Tensor or an array, not list"),
    (lambda: nn.Linear(3, 2, dtype="int64"), TypeError, r"only floats can be learnt, not int64"),
    (lambda: nn.Conv2d(3, 4, 0), ValueError, r"Conv2d: kernel_size must be an int >= 1.*not 0"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ValueError, r"kernel_size .* not \(3, 3, 3\)"),
    (lambda: nn.Conv2d(3, 4, 3, padding=-1), ValueError, r"padding .* not -1"),
    (lambda: nn.Conv2d(3, 4, 3, padding="full"), ValueError, r"'valid' or .*'same', not 'full'"),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), ValueError, r"with stride \(2, 2\)"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, r"groups=2 must divide in_channels=3"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="circular"), ValueError, r"not 'circular'"),
    (lambda: nn.Conv2d(1, 4, 3)(x(5, 28, 28)), ValueError, r"expects \(N, 1, H, W\), got shape \(5, 28, 28\).*reshape"),
    (lambda: F.conv2d(x(1, 1, 4, 4), x(1, 1, 2, 2), padding="some"), ValueError, r"'same' or 'valid', not 'some'"),
    (lambda: F.conv2d(x(4, 4), x(1, 1, 2, 2)), ValueError, r"conv2d takes images .*got shape \(4, 4\)"),
    (lambda: nn.MaxPool2d("2"), ValueError, r"MaxPool2d: kernel_size .* not '2'"),
    (lambda: nn.MaxPool2d(2, padding=2), ValueError, r"padding 2 must be at most half the kernel \(2, 2\)"),
    (lambda: nn.AvgPool2d(2)(x(4, 4)), ValueError, r"AvgPool2d\(.*expects \(N, C, H, W\), got shape \(4, 4\)"),
    (lambda: nn.Flatten(1, 3)(x(2, 3)), ValueError, r"axes 1 to 3 are none of shape \(2, 3\)"),
    (lambda: nn.Embedding(5, 2)([1, 5]), IndexError, r"index 5 is outside of the table of 5 rows"),
    (lambda: nn.Embedding(5, 2)([-1]), IndexError, r"index -1 is outside"),
    (lambda: nn.Embedding(5, 2)([1.0]), TypeError, r"indices must be integers, not float32"),
    (lambda: nn.Embedding(5, 2, padding_idx=5), ValueError, r"padding_idx 5 is none of 5 rows"),
    (lambda: F.one_hot([0.5]), TypeError, r"one_hot takes integers, not float32"),
    (lambda: F.one_hot([0, 3], 3), ValueError, r"labels are 0 to 3, but classes 0 to 2"),
    (lambda: nn.Dropout(1.5), ValueError, r"p must be a probability from 0 to 1, not 1.5"),
    (lambda: F.dropout(x(2), -0.1), ValueError, r"not -0.1"),
    (lambda: nn.BatchNorm1d(3)(x(4, 2)), ValueError, r"expects \(N, 3\) or \(N, 3, L\), got shape \(4, 2\)"),
    (lambda: nn.BatchNorm1d(3)(x(4, 3, 2, 2)), ValueError, r"got shape \(4, 3, 2, 2\)"),
    (lambda: nn.BatchNorm2d(3)(x(4, 3)), ValueError, r"expects \(N, 3, H, W\), got shape \(4, 3\)"),
    (lambda: nn.BatchNorm1d(3)(x(1, 3)), ValueError, r"more than 1 value for each channel.*\(1, 3\)"),
    (lambda: F.batch_norm(x(2, 3), None, None), ValueError, r"unless training=True"),
    (lambda: nn.LayerNorm((3, 4))(x(4, 3)), ValueError, r"LayerNorm\(.*expects \(\.\.\., 3, 4\), got shape \(4, 3\)"),
    (lambda: nn.LayerNorm(()), ValueError, r"at least one axis, not \(\)"),
    (lambda: F.layer_norm(x(4, 3), 4), ValueError, r"last axes \(4,\) does not fit .*\(4, 3\)"),
    (lambda: nn.GELU("fast"), ValueError, r"'none' or 'tanh', not 'fast'"),
    (lambda: NoForward()(1), NotImplementedError, r"NoForward has no forward\(\)"),
    (lambda: nn.ModuleList([nn.ReLU()])(x(1)), NotImplementedError, r"ModuleList has no forward"),
    (lambda: nn.Sequential(nn.ReLU), TypeError, r"item '0' is the class ReLU"),
    (lambda: nn.Sequential([nn.ReLU()]), TypeError, r"not list: unpack it"),
    (lambda: nn.Sequential(nn.ReLU(), F.relu), TypeError, r"item '1' must be a Module, not function.*nn.ReLU"),
    (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), ValueError, r"key 'a.b' must be a string without"),
    (lambda: nn.ModuleDict({"keys": nn.ReLU()}), ValueError, r"key 'keys'"),
    (lambda: nn.ModuleDict({"a": nn.ReLU()})["b"], KeyError, r"no 'b', only \['a'\]"),
    (lambda: nn.Parameter([1, 2]), TypeError, r"Parameter: only floats can be learnt, not int64"),
    (lambda: nn.Module().register_buffer("a", np.zeros(2)), TypeError, r"takes a Tensor or None, not ndarray"),
    (lambda: nn.Module().register_buffer("training", x(2)), ValueError, r"'training' must be a new attribute"),
    (lambda: nn.Linear(2, 2).to("gpu"), TypeError, r"'cuda:1'\) or a floating dtype, not 'gpu'"),
    (lambda: nn.Linear(2, 2).to("int64"), TypeError, r"floating dtype, not 'int64'"),
    (lambda: nn.Linear(2, 2).load_state_dict([1, 2]), TypeError, r"takes a dict of names and arrays, not list"),
    (lambda: nn.init.zeros_(np.zeros(2)), TypeError, r"writes into a Tensor, not ndarray"),
    (lambda: nn.init.uniform_(x(2), 1.0, 0.0), ValueError, r"a <= b, got 1.0 and 0.0"),
    (lambda: nn.init.normal_(x(2), 0.0, -1.0), ValueError, r"std >= 0, got -1.0"),
    (lambda: nn.init.kaiming_normal_(x(2)), ValueError, r"at least 2 dimensions .* shape \(2,\)"),
    (lambda: nn.init.kaiming_normal_(x(2, 2), mode="fan"), ValueError, r"'fan_in' or 'fan_out', not 'fan'"),
    (lambda: nn.init.xavier_normal_(x(2, 2), gain=nn.init.calculate_gain("gelu")), ValueError, r"not 'gelu'"),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(BAD)))
def test_errors_say_what_was_wrong(k: int) -> None:
    wrong, kind, message = BAD[k]
    with pytest.raises(kind, match=message):
        wrong()


def test_a_parameter_is_not_overwritten_by_a_tensor() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter and would be lost: assign nn.Parameter"):
        layer.weight = layer.weight * 0.5
    layer.weight, layer.bias = nn.Parameter(layer.weight * 0.5), None
    with tg.no_grad():
        layer.weight *= 2.0
    assert [n for n, _ in layer.named_parameters()] == ["weight"]


def test_a_set_of_modules_and_two_tensors_of_one_name_are_errors() -> None:
    model = nn.Module()
    model.layers = {nn.ReLU()}
    with pytest.raises(TypeError, match="'layers' is a set, which has no fixed order"):
        list(model.parameters())
    model.layers = {1: nn.Parameter([1.0]), "1": nn.Parameter([2.0])}
    with pytest.raises(ValueError, match="two tensors named 'layers.1'"):
        model.state_dict()
