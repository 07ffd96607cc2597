"""Losses: every one, with every option, is one line that works in both libraries and must equal PyTorch in float64,
values and gradients; second derivatives equal differences; and every error is read."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg

nn: Any = tg.nn
F: Any = nn.functional
torch: Any = pytest.importorskip("torch")
torch.set_num_threads(1)

REDUCTIONS = ["mean", "sum", "none"]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def grad(t: tg.Tensor) -> np.ndarray:
    assert t.grad is not None
    return t.grad.numpy()


def probabilities(*shape: int, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).uniform(0.1, 1.0, shape)
    return np.asarray(p / p.sum(axis=min(1, len(shape) - 1), keepdims=True))


def labels_for(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Class labels for an input of this shape."""
    axis = min(1, len(shape) - 1)
    return np.random.default_rng(seed).integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])


def same(loss: Callable[..., Any], *arrays: np.ndarray, wrt: tuple[int, ...] = (0,)) -> None:
    """loss(F, number type, *tensors) of both libraries: same value, same gradients of the arguments `wrt`."""
    ours = [tg.Tensor(a, requires_grad=k in wrt) for k, a in enumerate(arrays)]
    theirs = [torch.tensor(a, requires_grad=k in wrt) for k, a in enumerate(arrays)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's about kl_div's "mean"
        out, expected = loss(F, tg.Tensor, *ours), loss(torch.nn.functional, torch.tensor, *theirs)
    assert out.shape == tuple(expected.shape) and out.dtype == np.float64
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    g = numbers(*out.shape, seed=9)
    out.backward(tg.Tensor(g))
    expected.backward(torch.tensor(g))
    for k in wrt:
        np.testing.assert_allclose(grad(ours[k]), theirs[k].grad.numpy(), rtol=1e-10, atol=1e-10)


# -- numbers against numbers, and signs -----------------------------------------------------------

X, Y = numbers(5, 3), numbers(5, 3, seed=1)
SIGNS = np.where(numbers(5, 3, seed=2) > 0, 1.0, -1.0)
P, Q = np.random.default_rng(0).uniform(0.05, 0.95, (5, 3)), np.random.default_rng(1).uniform(0, 1, (5, 3))
W = np.array([0.5, 2.0, 1.0])

PAIRS: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "mse": (lambda F, t, x, y, **r: F.mse_loss(x, y, **r), [X, Y]),
    "l1": (lambda F, t, x, y, **r: F.l1_loss(x, y, **r), [X, Y]),
    "smooth_l1": (lambda F, t, x, y, **r: F.smooth_l1_loss(x, y, **r), [X, Y]),
    "smooth_l1 0.3": (lambda F, t, x, y, **r: F.smooth_l1_loss(x, y, beta=0.3, **r), [X, Y]),
    "smooth_l1 0": (lambda F, t, x, y, **r: F.smooth_l1_loss(x, y, beta=0.0, **r), [X, Y]),
    "huber": (lambda F, t, x, y, **r: F.huber_loss(x, y, **r), [X, Y]),
    "huber 0.4": (lambda F, t, x, y, **r: F.huber_loss(x, y, delta=0.4, **r), [X, Y]),
    "bce": (lambda F, t, x, y, **r: F.binary_cross_entropy(x, y, **r), [P, Q]),
    "bce weight": (lambda F, t, x, y, **r: F.binary_cross_entropy(x, y, weight=t(W), **r), [P, Q]),
    "logits": (lambda F, t, x, y, **r: F.binary_cross_entropy_with_logits(x, y, **r), [X * 3, Q]),
    "logits weight": (lambda F, t, x, y, **r: F.binary_cross_entropy_with_logits(x, y, t(W[:1]), **r), [X, Q]),
    "logits pos": (lambda F, t, x, y, **r: F.binary_cross_entropy_with_logits(x, y, pos_weight=t(W), **r), [X, Q]),
    "kl": (lambda F, t, x, y, **r: F.kl_div(x, y, **r), [np.log(P), Q]),
    "kl log": (lambda F, t, x, y, **r: F.kl_div(x, y, log_target=True, **r), [np.log(P), np.log(Q)]),
    "soft margin": (lambda F, t, x, y, **r: F.soft_margin_loss(x, y, **r), [X, SIGNS]),
    "hinge": (lambda F, t, x, y, **r: F.hinge_embedding_loss(x, y, **r), [X, SIGNS]),
    "hinge 0.4": (lambda F, t, x, y, **r: F.hinge_embedding_loss(x, y, margin=0.4, **r), [X, SIGNS]),
}
CONSTANT_TARGET = {"bce weight", "soft margin", "hinge", "hinge 0.4"}  # PyTorch or the formula gives it no gradient


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", PAIRS)
def test_pair_losses_equal_torch(name: str, reduction: str) -> None:
    loss, arrays = PAIRS[name]
    wrt = (0,) if name in CONSTANT_TARGET else (0, 1)
    same(lambda F, t, *a: loss(F, t, *a, reduction=reduction), *arrays, wrt=wrt)
    same(lambda F, t, *a: loss(F, t, *a, reduction=reduction), arrays[0][:1], arrays[1][:1])


@pytest.mark.parametrize("name", PAIRS)
def test_pair_losses_have_second_derivatives(name: str) -> None:
    loss, (x, y) = PAIRS[name]
    inputs = [tg.Tensor(x[:2], requires_grad=True), tg.Tensor(y[:2], requires_grad=name not in CONSTANT_TARGET)]
    assert tg.gradcheck(lambda a, b: loss(F, tg.Tensor, a, b, reduction="none"), inputs, order=2, atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_pair_losses_keep_float32_and_take_arrays(name: str) -> None:
    loss, (x, y) = PAIRS[name]
    a = tg.Tensor(x, dtype="float32", requires_grad=True)
    out = loss(F, tg.Tensor, a, y)  # a float64 array; the weights are float64 too
    assert out.dtype == np.float32
    out.backward()
    assert a.grad is not None and a.grad.dtype == np.float32
    again = loss(F, tg.Tensor, a, y.tolist())
    np.testing.assert_allclose(out.numpy(), again.numpy())
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(out.numpy(), loss(F, tg.Tensor, tg.Tensor(x), y).numpy(), rtol=1e-5)


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div_with_zeros_in_the_target(reduction: str) -> None:
    y = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    same(lambda F, t, x, y: F.kl_div(x, y, reduction=reduction), np.log(P[:2]), y)


def test_kl_div_of_a_distribution_from_itself_is_zero() -> None:
    p = tg.Tensor(probabilities(3, 4))
    assert abs(F.kl_div(p.log(), p, reduction="batchmean").item()) < 1e-15


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_margin_ranking_equals_torch(margin: float, reduction: str) -> None:
    same(lambda F, t, a, b, y: F.margin_ranking_loss(a, b, y, margin, reduction=reduction), X, Y, SIGNS, wrt=(0, 1))


def test_kinks_have_torchs_slopes() -> None:
    zeros, one = np.zeros((1, 2)), np.ones((1, 2))
    same(lambda F, t, x, y: F.l1_loss(x, y), zeros, zeros)
    same(lambda F, t, x, y: F.smooth_l1_loss(x, y), one, zeros)
    same(lambda F, t, x, y: F.huber_loss(x, y), one, zeros)
    same(lambda F, t, x, y: F.hinge_embedding_loss(x, y), one, -one)
    same(lambda F, t, a, b, y: F.margin_ranking_loss(a, b, y), one, one, one, wrt=(0, 1))
    same(lambda F, t, x: F.multi_margin_loss(x, t([0]), margin=0.0), zeros)


def test_binary_cross_entropy_at_the_ends_is_finite_as_in_torch() -> None:
    p, y = np.array([0.0, 0.0, 1.0, 1.0, 1e-300]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    x = tg.Tensor(p, requires_grad=True)
    out = F.binary_cross_entropy(x, y, reduction="none")
    expected = torch.nn.functional.binary_cross_entropy(torch.tensor(p), torch.tensor(y), reduction="none")
    np.testing.assert_allclose(out.numpy(), expected.numpy())
    out.sum().backward()
    assert np.isfinite(grad(x)).all()


@pytest.mark.parametrize("z", [-800.0, -40.0, 0.0, 40.0, 800.0])
def test_logits_far_out_equal_torch(z: float) -> None:
    same(lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y), np.full((1, 3), z), np.array([[0.0, 0.5, 1.0]]))
    signs = np.array([1.0, -1.0])
    if abs(z) < 100:
        same(lambda F, t, x, y: F.soft_margin_loss(x, y), np.full((1, 2), z), signs.reshape(1, 2))
    else:  # PyTorch overflows
        out = F.soft_margin_loss(tg.Tensor([z, z]), signs, reduction="none").numpy()
        np.testing.assert_allclose(out, np.maximum(-z * signs, 0))


# -- classes --------------------------------------------------------------------------------------

SHAPES = [(5, 4), (4,), (3, 4, 2), (2, 3, 2, 3), (3, 1), (1, 4)]
WEIGHT = np.array([0.5, 2.0, 0.0, 1.5])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_equals_torch_with_every_option(shape: tuple[int, ...], reduction: str) -> None:
    x, y = numbers(*shape) * 2, labels_for(shape)
    classes = shape[min(1, len(shape) - 1)]
    some_ignored = np.where(np.arange(y.size).reshape(y.shape) % 3 == 1, -7, y)
    weights, targets = (None, WEIGHT[:classes] + 0.1), (y, some_ignored)
    for weight, smoothing, labels in itertools.product(weights, (0.0, 0.3, 1.0), targets):

        def loss(F: Any, t: Any, x: Any, w: Any = weight, s: float = smoothing, y: Any = labels) -> Any:
            w = w if w is None else t(w)
            return F.cross_entropy(x, t(y), w, ignore_index=-7, reduction=reduction, label_smoothing=s)

        same(loss, x)
        if smoothing == 0.0:

            def nll(F: Any, t: Any, x: Any, w: Any = weight, y: Any = labels) -> Any:
                log_p, w = F.log_softmax(x, dim=min(1, x.ndim - 1)), w if w is None else t(w)
                return F.nll_loss(log_p, t(y), w, ignore_index=-7, reduction=reduction)

            same(nll, x)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_of_probabilities_equals_torch(shape: tuple[int, ...], reduction: str) -> None:
    x, y = numbers(*shape), probabilities(*shape)
    classes = shape[min(1, len(shape) - 1)]
    for weight, s in itertools.product((None, WEIGHT[:classes]), (0.0, 0.3)):
        same(lambda F, t, x, y, w=weight, s=s: F.cross_entropy(
            x, y, w if w is None else t(w), reduction=reduction, label_smoothing=s), x, y, wrt=(0, 1))  # fmt: skip


@pytest.mark.parametrize("ignore_index", [2, 0, 255])
def test_ignore_index_may_be_a_class_or_any_number(ignore_index: int) -> None:
    y = np.array([0, 2, 1, 2, 0 if ignore_index == 0 else 255 if ignore_index == 255 else 2])
    same(lambda F, t, x: F.cross_entropy(x, t(y), ignore_index=ignore_index), numbers(5, 3))
    same(lambda F, t, x: F.cross_entropy(x, t(y), t(W), ignore_index=ignore_index), numbers(5, 3))


def test_everything_ignored_is_nan_in_the_mean_and_zero_in_the_sum() -> None:
    x, y = tg.randn(3, 4), [-100, -100, -100]
    for f in (F.cross_entropy, F.plain_cross_entropy, F.nll_loss):
        with np.errstate(invalid="ignore"):
            assert math.isnan(f(x, y).item())
        assert f(x, y, reduction="sum").item() == 0.0 and not f(x, y, reduction="none").numpy().any()


def test_cross_entropy_with_minus_infinity_and_far_logits_equals_torch() -> None:
    x = np.array([[0.0, -np.inf, 1.0], [1000.0, -1000.0, 0.0], [-np.inf, 2.0, -np.inf]])
    for weight in (None, W):
        same(lambda F, t, x, w=weight: F.cross_entropy(x, t([2, 1, 1]), w if w is None else t(w)), x)


@pytest.mark.parametrize("ignored", [1, None])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fused_cross_entropy_equals_the_plain_one_to_second_order(
    shape: tuple[int, ...], reduction: str, ignored: int | None
) -> None:
    y = labels_for(shape)
    y = np.where(np.arange(y.size).reshape(y.shape) == ignored, -100, y)
    results = []
    for f in (F.cross_entropy, F.plain_cross_entropy):
        x = tg.Tensor(numbers(*shape), requires_grad=True)
        out = f(x, y, reduction=reduction)
        g = tg.Tensor(numbers(*out.shape, seed=3))
        first = tg.grad(out, x, g, create_graph=True)
        second = tg.grad((first * tg.Tensor(numbers(*shape, seed=4))).sum(), x, allow_unused=True)
        alone = tg.grad(f(x, y, reduction=reduction), x, g)  # the rules on plain arrays
        results.append([out.numpy(), first.numpy(), second.numpy(), alone.numpy()])
    for fused, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-12, atol=1e-12)


def test_plain_integer_labels_take_the_fused_operations() -> None:
    x = tg.randn(3, 4, requires_grad=True)

    def made_by(loss: tg.Tensor) -> list[str]:
        names, node = [], loss._node
        while hasattr(node, "op"):
            names.append(node.op.name)
            node = next((p for p in node.parents if p is not None), None)
        return names

    assert (
        made_by(F.cross_entropy(x, [0, 1, 3])) == made_by(nn.CrossEntropyLoss()(x, [0, 1, 3])) == ["mean_cross_entropy"]
    )
    assert "softmax_cross_entropy" in made_by(F.cross_entropy(x, [0, 1, 3], reduction="sum"))
    for plain in (F.cross_entropy(x, [0, 1, 3], np.ones(4)), F.cross_entropy(x, [0, 1, 3], label_smoothing=0.1)):
        assert not any("entropy" in name for name in made_by(plain))


CLASSES: dict[str, Callable[..., Any]] = {
    "cross entropy": lambda x, y, **k: F.cross_entropy(x, y, **k),
    "smoothed": lambda x, y, **k: F.cross_entropy(x, y, W, label_smoothing=0.2, **k),
    "probabilities": lambda x, y, **k: F.cross_entropy(x, probabilities(*x.shape), W, label_smoothing=0.2, **k),
    "nll": lambda x, y, **k: F.nll_loss(F.log_softmax(x, 1), y, W, **k),
    "multi margin": lambda x, y, **k: F.multi_margin_loss(x, y, p=2, weight=W, **k),
}


@pytest.mark.parametrize("name", CLASSES)
def test_class_losses_have_second_derivatives(name: str) -> None:
    x = tg.Tensor(numbers(4, 3), requires_grad=True)
    assert tg.gradcheck(lambda x: CLASSES[name](x, [0, 2, 1, 2], reduction="none"), x, order=2, atol=1e-5)
    assert tg.gradcheck(lambda x: CLASSES[name](x, [0, 2, 1, 2]), x, order=2, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_class_losses_keep_float32_and_take_any_integers(name: str) -> None:
    if "margin" not in name:
        assert CLASSES[name](tg.randn(3, 3), [0, -100, 1]).dtype == np.float32
    results = []
    for y in ([0, 2, 1], (0, 2, 1), np.array([0, 2, 1], np.uint8), np.array([0, 2, 1], np.int32), tg.Tensor([0, 2, 1])):
        x = tg.Tensor(numbers(3, 3), dtype="float32", requires_grad=True)
        out = CLASSES[name](x, y)
        out.backward()
        assert out.dtype == np.float32 and x.grad is not None and x.grad.dtype == np.float32
        results.append((out.item(), x.grad.tolist()))
    assert all(r == results[0] for r in results)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 4), (4,), (1, 4), (3, 1)], ids=str)
def test_multi_margin_equals_torch(shape: tuple[int, ...], reduction: str) -> None:
    y = labels_for(shape)
    for p, margin, weight in itertools.product((1, 2), (1.0, 0.3), (None, WEIGHT[: shape[-1]])):
        same(lambda F, t, x, p=p, m=margin, w=weight: F.multi_margin_loss(
            x, t(y), p, m, w if w is None else t(w), reduction=reduction), numbers(*shape))  # fmt: skip


def test_uniform_logits_cost_log_of_the_number_of_classes() -> None:
    x = tg.zeros(6, 10, dtype="float64")
    assert math.isclose(F.cross_entropy(x, np.arange(6)).item(), math.log(10))
    assert math.isclose(F.binary_cross_entropy_with_logits(x, tg.ones(6, 10)).item(), math.log(2))


# -- as modules -----------------------------------------------------------------------------------

LABELS = np.array([0, 1, 2, 0, 1])
MODULES: dict[str, tuple[Callable[[Any, Any], Any], list[np.ndarray]]] = {
    "MSELoss": (lambda nn, t: nn.MSELoss(reduction="sum"), [X, Y]),
    "L1Loss": (lambda nn, t: nn.L1Loss(), [X, Y]),
    "SmoothL1Loss": (lambda nn, t: nn.SmoothL1Loss(beta=0.5), [X, Y]),
    "HuberLoss": (lambda nn, t: nn.HuberLoss(delta=0.5), [X, Y]),
    "BCELoss": (lambda nn, t: nn.BCELoss(weight=t(W)), [P, Q]),
    "BCEWithLogitsLoss": (lambda nn, t: nn.BCEWithLogitsLoss(t(W), pos_weight=t(W)), [X, Q]),
    "KLDivLoss": (lambda nn, t: nn.KLDivLoss(reduction="batchmean", log_target=True), [np.log(P), np.log(Q)]),
    "CrossEntropyLoss": (lambda nn, t: nn.CrossEntropyLoss(t(W), label_smoothing=0.1, ignore_index=1), [X, LABELS]),
    "NLLLoss": (lambda nn, t: nn.NLLLoss(t(W), reduction="none"), [np.log(P), LABELS]),
    "MultiMarginLoss": (lambda nn, t: nn.MultiMarginLoss(2, 0.5, t(W)), [X, LABELS]),
    "SoftMarginLoss": (lambda nn, t: nn.SoftMarginLoss(), [X, SIGNS]),
    "HingeEmbeddingLoss": (lambda nn, t: nn.HingeEmbeddingLoss(0.7), [X, SIGNS]),
    "MarginRankingLoss": (lambda nn, t: nn.MarginRankingLoss(0.2), [X, Y, SIGNS]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_loss_modules_equal_torchs(name: str) -> None:
    build, arrays = MODULES[name]
    libraries = {F: nn, torch.nn.functional: torch.nn}
    same(lambda F, t, *a: build(libraries[F], t)(*a), *arrays)
    module = build(nn, tg.Tensor)
    assert type(module).__name__ == name and repr(module).startswith(f"{name}(reduction=")
    assert sorted(module.state_dict()) == sorted(build(torch.nn, torch.tensor).state_dict())
    module.to("float32")(*(tg.Tensor(a, dtype="float32" if a.dtype == np.float64 else None) for a in arrays))
    with pytest.raises(ValueError, match=f"{name}: reduction must be .*, not 'average'"):
        getattr(nn, name)(reduction="average")


# -- on CUDA --------------------------------------------------------------------------------------


def test_losses_on_cuda_do_not_wait_and_equal_the_cpu(cuda: Any) -> None:
    losses: list[tuple[Callable[..., Any], list[np.ndarray]]] = []
    for name in ("mse", "smooth_l1", "huber", "bce", "logits", "kl", "soft margin", "hinge"):
        pair_loss, arrays = PAIRS[name]
        losses.append((functools.partial(pair_loss, F, None), arrays))
    labels = np.array([0, -100, 2, 1, 1])
    losses += [(f, [X, labels]) for f in (F.cross_entropy, F.plain_cross_entropy, F.nll_loss)]
    losses += [(lambda x, y: F.cross_entropy(x, y, W.tolist(), label_smoothing=0.1), [X, labels]),
               (F.cross_entropy, [X, Q]), (F.multi_margin_loss, [X, np.abs(labels) % 3])]  # fmt: skip
    for loss, arrays in losses:
        near, far = ([tg.Tensor(a, device=d) for a in arrays] for d in ("cpu", "cuda"))
        near[0].requires_grad = far[0].requires_grad = True
        before = cuda.syncs
        out = loss(*far)
        out.backward()
        assert cuda.syncs == before, "a loss waited for the device"
        expected = loss(*near)
        expected.backward()
        assert out.device == "cuda:0"
        np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=1e-12)
        np.testing.assert_allclose(grad(far[0]), grad(near[0]), rtol=1e-12)


def test_a_bad_label_on_cuda_gives_nan_and_labels_on_the_host_are_checked(cuda: Any) -> None:
    x = tg.Tensor(X, device="cuda")
    for f in (F.cross_entropy, F.plain_cross_entropy, F.nll_loss, F.multi_margin_loss):
        out = f(x, tg.Tensor([0, 3, 2, -1, 1], device="cuda"), reduction="none").numpy()
        assert np.isnan(out).tolist() == [False, True, False, True, False]
        assert np.isnan(f(x, tg.Tensor([0, 3, 2, -1, 1], device="cuda")).numpy())
        with pytest.raises(ValueError, match="label 3 is no class"):
            f(x, [0, 3, 2, -1, 1])
        before = cuda.syncs
        f(x, [0, 1, 2, 0, 1])
        assert cuda.syncs == before


# -- errors ---------------------------------------------------------------------------------------


def t(*shape: int) -> tg.Tensor:
    return tg.full(shape, 0.5)


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: F.mse_loss(t(4, 1), t(4)), ValueError, r"mse_loss: input \(4, 1\) and target \(4,\).*reshape"),
    (lambda: F.l1_loss(t(4, 2), t(2)), ValueError, r"input \(4, 2\) and target \(2,\) must have the same shape"),
    (lambda: F.mse_loss(t(2), 0.5), ValueError, r"target \(\)"),
    (lambda: F.mse_loss(t(2), t(2), reduction="avg"), ValueError, r"must be 'mean', 'sum' or 'none', not 'avg'"),
    (lambda: F.mse_loss(t(2), t(2), reduction="batchmean"), ValueError, r"not 'batchmean'"),
    (lambda: F.cross_entropy(t(2, 3), [0, 1], reduction="Mean"), ValueError, r"cross_entropy: .*not 'Mean'"),
    (lambda: F.kl_div(t(2), t(2), reduction=None), ValueError, r"'batchmean' or 'none', not None"),
    (lambda: F.smooth_l1_loss(t(2), t(2), beta=-1), ValueError, r"beta must be >= 0, not -1"),
    (lambda: F.huber_loss(t(2), t(2), delta=0), ValueError, r"delta must be > 0, not 0"),
    (lambda: F.huber_loss(t(2), t(2), delta=math.nan), ValueError, r"delta must be > 0, not nan"),
    (lambda: F.binary_cross_entropy(t(2) * 3, t(2)), ValueError, r"from 0 to 1 expected, got 1.5 to 1.5.*_with_logits"),
    (lambda: F.binary_cross_entropy(t(4, 1), t(4)), ValueError, r"must have the same shape"),
    (lambda: F.binary_cross_entropy(t(2, 3), t(2, 3), t(2)), ValueError, r"weight of shape \(2,\) does not broadcast"),
    (lambda: F.binary_cross_entropy_with_logits(t(3), t(3), t(2, 3)), ValueError, r"weight of shape \(2, 3\)"),
    (lambda: F.binary_cross_entropy_with_logits(t(2, 3), t(2, 3), pos_weight=t(2)), ValueError, r"pos_weight of shape"),
    (lambda: F.hinge_embedding_loss(t(2), [0, 1]), ValueError, r"targets must be 1 or -1.*2 \* target - 1"),
    (lambda: F.soft_margin_loss(t(2), [0.0, 1.0]), ValueError, r"soft_margin_loss: targets must be 1 or -1"),
    (lambda: F.margin_ranking_loss(t(2), t(2), [2, 1]), ValueError, r"margin_ranking_loss: targets"),
    (lambda: F.margin_ranking_loss(t(2), t(2, 1), [1, 1]), ValueError, r"must have the same shape"),
    (lambda: F.cross_entropy(t(2, 3), [0, 3]), ValueError, r"label 3 is no .*3 classes, 0 to 2.*ignore_index=-100"),
    (lambda: F.cross_entropy(t(2, 3), [0, -1]), ValueError, r"label -1 is no class"),
    (lambda: F.cross_entropy(t(2, 3), [-100, 1], ignore_index=-1), ValueError, r"label -100 .*ignore_index=-1"),
    (lambda: F.nll_loss(t(2, 3), [0, 7]), ValueError, r"nll_loss: label 7 is no class"),
    (lambda: F.multi_margin_loss(t(2, 3), [0, -100]), ValueError, r"multi_margin_loss: label -100 is no class"),
    (lambda: F.cross_entropy(t(2, 3), [0.0, 1.0]), TypeError, r"integers, not float32: .*astype.*, or .*\(2, 3\)"),
    (lambda: F.nll_loss(t(2, 3), t(2, 3)), TypeError, r"nll_loss: labels must be integers, not float32"),
    (lambda: F.cross_entropy(t(2, 3), [True, False]), TypeError, r"integers, not bool"),
    (lambda: F.cross_entropy(t(2, 3), [0, 1, 2]), ValueError, r"needs labels of shape \(2,\), got \(3,\)"),
    (lambda: F.cross_entropy(t(2, 3), [[0, 1, 0], [1, 0, 0]]), ValueError, r"got \(2, 3\).*argmax"),
    (lambda: F.cross_entropy(t(2, 3), [[0], [1]]), ValueError, r"got \(2, 1\)"),
    (lambda: F.cross_entropy(t(), 0), ValueError, r"input must be floats \(N, C\).*shape \(\)"),
    (lambda: F.cross_entropy(tg.Tensor([[1, 2]]), [0]), ValueError, r"input must be floats.*int64"),
    (lambda: F.cross_entropy(t(2, 3), [0, 1], t(2)), ValueError, r"each of 3 classes, got shape \(2,\)"),
    (lambda: F.cross_entropy(t(2, 3), [0, 1], label_smoothing=1.5), ValueError, r"must be from 0 to 1, not 1.5"),
    (lambda: F.cross_entropy(t(2, 3), t(2, 3), ignore_index=1), ValueError, r"ignore_index=1 goes with integer labels"),
    (lambda: F.multi_margin_loss(t(2, 3), [0, 1], p=3), ValueError, r"p must be 1 or 2, not 3"),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(BAD)))
def test_errors_say_what_was_wrong(k: int) -> None:
    wrong, kind, message = BAD[k]
    with pytest.raises(kind, match=message):
        wrong()
