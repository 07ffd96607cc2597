"""Batch normalisation as one operation: equal to its plain composed version in values, first and second derivatives,
and to PyTorch, in every memory order; a channel's statistics are functions of the input."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m.ops import batch_norm, pieces
from tinygrad_m.ops.batch_norm import Moments, _affine, _batch_norm, fits, fused_batch_norm, plain_batch_norm
from tinygrad_m.tensor import wrap

F: Any = tg.nn.functional
nn: Any = tg.nn
SHAPES = [(5, 3), (4, 3, 6), (3, 2, 4, 5), (2, 1, 3, 3), (1, 3, 2, 2), (6, 3, 1, 1), (7, 1), (2, 2, 2, 1, 3)]
ORDERS = ["C", "last", "F", "strided"]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def lay(a: np.ndarray, order: str) -> np.ndarray:
    """The same numbers in another memory order; "last": (C, ..., N), as images lie."""
    if order == "last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0)
    if order == "strided":
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        wide[..., ::2] = a
        return wide[..., ::2]
    return np.array(a, order=order)  # type: ignore[call-overload]


def leaf(a: np.ndarray, order: str = "C") -> tg.Tensor:
    tensor = wrap(lay(a, order))  # Tensor() would copy into memory of its own
    tensor.requires_grad = True
    return tensor


def operands(shape: tuple[int, ...], order: str = "C") -> list[tg.Tensor]:
    c = shape[1]
    return [leaf(numbers(*shape) + 0.5, order), leaf(numbers(c, seed=1)), leaf(numbers(c, seed=2))]


def gradients(outputs: list[tg.Tensor], inputs: list[tg.Tensor], seeds: list[tg.Tensor], **kw: Any) -> list[Any]:
    return list(tg.grad(outputs, inputs, seeds, allow_unused=True, **kw))


def close(a: Any, b: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(a.numpy(), b.numpy() if hasattr(b, "numpy") else b, rtol=tolerance, atol=tolerance)


# -- equal to the plain version -------------------------------------------------------------------


@pytest.mark.parametrize("g_order", ORDERS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_training_equals_the_plain_version(shape: tuple[int, ...], order: str, g_order: str) -> None:
    inputs, g = operands(shape, order), wrap(lay(numbers(*shape, seed=3), g_order))
    before = [t.numpy().copy() for t in (*inputs, g)]
    fused, plain = fused_batch_norm(*inputs, 1e-5), plain_batch_norm(*inputs)
    for ours, expected in zip(fused, plain, strict=True):
        assert ours.shape == expected.shape
        close(ours, expected, 1e-12)
    for chosen in itertools.chain.from_iterable(itertools.combinations(inputs, k) for k in (1, 2, 3)):
        wanted = gradients([plain[0]], list(chosen), [g], retain_graph=True)
        for create in (False, True):
            found = gradients([fused[0]], list(chosen), [g], retain_graph=True, create_graph=create)
            for a, b in zip(found, wanted, strict=True):
                assert a.shape == b.shape and a.dtype == b.dtype
                close(a, b)
    for t, a in zip((*inputs, g), before, strict=True):
        assert np.array_equal(t.numpy(), a)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4), (2, 3, 2, 2)])
def test_second_derivatives_equal_the_plain_version(shape: tuple[int, ...], order: str) -> None:
    inputs, g = operands(shape, order), leaf(numbers(*shape, seed=3), order)
    seeds = [tg.Tensor(numbers(*t.shape, seed=5 + k)) for k, t in enumerate(inputs)]
    found = []
    for out in (fused_batch_norm(*inputs, 1e-5)[0], plain_batch_norm(*inputs)[0]):
        first = gradients([out], inputs, [g], create_graph=True)
        found.append(gradients(first, [*inputs, g], seeds))
    assert float(np.abs(found[0][0].numpy()).max()) > 0.01
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b)


@pytest.mark.parametrize("weighted", ["both", "weight", "bias", "neither"])
@pytest.mark.parametrize("shape", [(4, 2), (3, 2, 2), (2, 2, 2, 1)])
def test_derivatives_by_differences(shape: tuple[int, ...], weighted: str) -> None:
    x, w, b = operands(shape, "last")
    parameters = {"weight": w, "bias": b} if weighted == "both" else {weighted: w} if weighted != "neither" else {}
    running = [tg.Tensor(numbers(2, seed=7)), tg.Tensor(numbers(2, seed=8) ** 2)]

    def train(x: tg.Tensor, *p: tg.Tensor) -> tg.Tensor:
        out: tg.Tensor = F.batch_norm(x, None, None, training=True, **dict(zip(parameters, p, strict=True)))
        return out

    def use(x: tg.Tensor, *p: tg.Tensor) -> tg.Tensor:
        out: tg.Tensor = F.batch_norm(x, *running, **dict(zip(parameters, p, strict=True)))
        return out

    for f in (train, use):
        inputs = [x, *parameters.values()]
        assert tg.gradcheck(f, inputs) and tg.gradcheck(f, inputs, order=2, atol=1e-5)


def test_statistics_are_functions_of_the_input_in_second_derivatives() -> None:
    """out is unchanged if x is stretched, but for eps: so the sum of x times the gradient is next to nothing, and its
    derivative too. With constant statistics neither would be."""
    x = leaf(numbers(6, 3, 2, 2))
    out = F.batch_norm(x, None, None, training=True, eps=1e-12)
    (g,) = tg.grad([(out * out * out).sum()], [x], create_graph=True)
    (second,) = tg.grad([(g * x).sum()], [x])
    assert abs(float((g * x).sum().item())) < 1e-9 and np.abs(second.numpy()).max() < 1e-9


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [*SHAPES, (0, 3), (0, 3, 2, 2), (2, 0), (2, 3, 0)])
def test_use_equals_the_plain_version(shape: tuple[int, ...], order: str) -> None:
    inputs, c = operands(shape, order), shape[1]
    mean, var = leaf(numbers(c, seed=3)), leaf(numbers(c, seed=4) ** 2)
    g = tg.Tensor(numbers(*shape, seed=5))
    for weight, bias in itertools.product((inputs[1], None), (inputs[2], None)):
        ours = F.batch_norm(inputs[0], mean, var, weight, bias)
        expected = plain_batch_norm(inputs[0], weight, bias, mean, var)[0]
        assert ours.shape == expected.shape == shape
        close(ours, expected, 1e-12)
        chosen = [t for t in (inputs[0], weight, bias, mean, var) if t is not None]
        for a, b in zip(gradients([ours], chosen, [g]), gradients([expected], chosen, [g]), strict=True):
            close(a, b)


def test_channels_cut_in_pieces_and_shared_between_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm, "ranges", lambda n, size: pieces.ranges(n, size, 1))  # one channel at a time
    before = pieces.get_num_threads()
    try:
        for threads, order in itertools.product((1, 3), ORDERS):
            pieces.set_num_threads(threads)
            for shape in ((4, 5), (4, 5, 3, 2)):
                test_training_equals_the_plain_version(shape, order, "C")
                test_use_equals_the_plain_version(shape, order)
    finally:
        pieces.set_num_threads(before)


def test_sums_are_only_taken_over_for_the_same_gradient() -> None:
    x, w, b = [t.numpy() for t in operands((8, 3, 5, 5))]
    moments, g, other = Moments(1e-5), numbers(8, 3, 5, 5, seed=3), numbers(8, 3, 5, 5, seed=4)
    _batch_norm.op.forward(np, x, w, b, moments=moments)
    hat = (x - x.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
    x_rule, weight_rule, bias_rule = (_batch_norm.op.rules[name] for name in ("x", "weight", "bias"))
    x_rule(g, x, w, moments)
    for given in (g, other, g):
        np.testing.assert_allclose(bias_rule(given, moments), given.sum(axis=(0, 2, 3)))
        np.testing.assert_allclose(weight_rule(given, x, moments), (given * hat).sum(axis=(0, 2, 3)))
        np.testing.assert_allclose(bias_rule(given, moments), given.sum(axis=(0, 2, 3)))


def test_two_threads_walk_one_graph() -> None:
    inputs = operands((8, 3, 5, 5), "last")
    out, wrong = fused_batch_norm(*inputs, 1e-5)[0], []
    seeds = [tg.Tensor(numbers(*out.shape, seed=k)) for k in (1, 2)]
    wanted = [gradients([out], inputs, [g], retain_graph=True) for g in seeds]

    def walk(k: int) -> None:
        for _ in range(50):
            for a, b in zip(gradients([out], inputs, [seeds[k]], retain_graph=True), wanted[k], strict=True):
                if not np.array_equal(a.numpy(), b.numpy()):
                    wrong.append(k)

    threads = [threading.Thread(target=walk, args=(k,)) for k in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# -- equal to PyTorch -----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("given", ["all", "no weight", "no bias", "plain"])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (3, 2, 4, 5), (1, 3, 2, 2)])
@pytest.mark.parametrize("order", ["C", "last"])
def test_equals_torch(shape: tuple[int, ...], given: str, training: bool, order: str) -> None:
    torch = pytest.importorskip("torch")
    inputs = operands(shape, order)
    theirs = [torch.tensor(np.ascontiguousarray(t.numpy()), requires_grad=True) for t in inputs]
    stats = [numbers(shape[1], seed=7), numbers(shape[1], seed=8) ** 2]
    used = {"no weight": (0, 2), "no bias": (0, 1), "plain": (0,)}.get(given, (0, 1, 2))
    ours_running, their_running = [tg.Tensor(a) for a in stats], [torch.tensor(a) for a in stats]
    a, b = ([t[k] if k in used else None for k in (1, 2)] for t in (inputs, theirs))
    ours = F.batch_norm(inputs[0], *ours_running, *a, training, 0.3, 1e-3)
    expected = torch.nn.functional.batch_norm(theirs[0], *their_running, *b, training, 0.3, 1e-3)
    close(ours, expected.detach())
    g = numbers(*shape, seed=9)
    ours.backward(tg.Tensor(g))
    expected.backward(torch.tensor(g))
    for k in used:
        close(inputs[k].grad, theirs[k].grad)
    for r, s in zip(ours_running, their_running, strict=True):
        close(r, s)


@pytest.mark.parametrize("order", ["C", "last"])
def test_float32_is_as_exact_as_torchs(order: str) -> None:
    torch = pytest.importorskip("torch")
    x, g = numbers(32, 3, 20, 20) + np.array([0.0, 30.0, -300.0]).reshape(1, 3, 1, 1), numbers(32, 3, 20, 20, seed=1)

    def by_torch(dtype: Any) -> list[np.ndarray]:
        t, w, b = (torch.tensor(a, dtype=dtype, requires_grad=True) for a in (x.astype("f4"), np.ones(3), np.zeros(3)))
        out = torch.nn.functional.batch_norm(t, None, None, w, b, True)
        out.backward(torch.tensor(g.astype("f4"), dtype=dtype))
        return [a.detach().double().numpy() for a in (out, t.grad, w.grad, b.grad)]

    t, w, b = leaf(x.astype("f4"), order), tg.ones(3, requires_grad=True), tg.zeros(3, requires_grad=True)
    out = F.batch_norm(t, None, None, w, b, True)
    out.backward(wrap(lay(g.astype("f4"), order)))
    found = [a.numpy() for a in (out, t.grad, w.grad, b.grad)]
    for ours, theirs, exact in zip(found, by_torch(torch.float32), by_torch(torch.float64), strict=True):
        assert ours.dtype == np.float32
        size = np.abs(exact).max()
        assert np.abs(ours - exact).max() <= 4 * np.abs(theirs - exact).max() + 1e-6 * size


# -- what the graph keeps, and what is not for the one operation ----------------------------------


def test_a_graph_walked_twice() -> None:
    inputs = operands((4, 3, 2, 2), "last")
    out = fused_batch_norm(*inputs, 1e-5)[0]
    first = gradients([out], inputs, [tg.ones(*out.shape, dtype="float64")], retain_graph=True)
    twice = gradients([out], inputs, [tg.full(out.shape, 2.0, dtype="float64")])
    for a, b in zip(first, twice, strict=True):
        close(b, 2.0 * a)


def test_an_input_changed_in_place_is_noticed() -> None:
    layer, x = nn.BatchNorm2d(3), tg.randn(2, 3, 4, 4)
    out = layer(x).sum()
    x += 1.0
    with pytest.raises(tg.GraphError, match="batch_norm .* changed in place"):
        out.backward()


def test_running_statistics_may_change_between_forward_and_backward() -> None:
    layer = nn.BatchNorm2d(3)
    a, b = layer(tg.randn(2, 3, 4, 4)), layer(tg.randn(2, 3, 4, 4))
    (a.sum() + b.sum()).backward()
    assert layer.weight.grad is not None


def test_what_does_not_fit_takes_the_plain_way() -> None:
    x = tg.randn(4, 3, 2, 2, requires_grad=True)
    assert fits(x) and fits(x, None, tg.ones(3))
    assert not fits(x, tg.ones(1)) and not fits(x, tg.ones(3, dtype="float64"))
    half = F.batch_norm(x.astype("float16"), None, None, training=True)
    assert half.dtype == np.float16 and half._node.op.name != "batch_norm"
    np.testing.assert_allclose(half.numpy(), F.batch_norm(x, None, None, training=True).numpy(), atol=5e-3)
    assert F.batch_norm(tg.arange(12).reshape(4, 3), None, None, training=True).dtype == np.float32
    assert F.batch_norm(x, None, None, tg.ones(3, dtype="float64"), training=True).dtype == np.float64
    one = F.batch_norm(x, None, None, tg.full((1,), 2.0), training=True)
    np.testing.assert_allclose(one.numpy(), 2 * F.batch_norm(x, None, None, training=True).numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match="broadcast"):
        F.batch_norm(x, None, None, tg.ones(4), training=True)
    for shape in ((1, 3), (0, 3), (4, 0), (2, 3, 0)):
        with pytest.raises(ValueError, match="more than 1 value"):
            F.batch_norm(tg.zeros(shape), None, None, training=True)


def test_nan_stays_in_its_channel() -> None:
    a = numbers(4, 3, 5)
    a[1, 1, 2] = np.nan
    for order in ORDERS:
        x = leaf(a, order)
        out = F.batch_norm(x, None, None, training=True)
        out.backward(tg.Tensor(numbers(4, 3, 5, seed=1)))
        for result in (out, x.grad):
            assert result is not None
            assert np.array_equal(np.isnan(result.numpy()).any(axis=(0, 2)), [False, True, False])


def test_momentum_may_be_a_tensor() -> None:
    x, found = tg.Tensor(numbers(4, 3)), []
    for momentum in (0.25, tg.Tensor(0.25, dtype="float64")):
        running = [tg.zeros(3, dtype="float64"), tg.ones(3, dtype="float64")]
        F.batch_norm(x, *running, training=True, momentum=momentum)
        found.append([r.numpy() for r in running])
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[0][0], 0.25 * x.numpy().mean(axis=0))
    np.testing.assert_allclose(found[0][1], 0.75 + 0.25 * x.numpy().var(axis=0, ddof=1))


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (3, 2, 4, 5)])
def test_cuda_equals_the_cpu_and_does_not_wait(cuda: Any, shape: tuple[int, ...]) -> None:
    near = operands(shape, "last")
    far = [tg.Tensor(t.numpy(), device="cuda", requires_grad=True) for t in near]
    g = numbers(*shape, seed=3)
    for create in (False, True):
        seeds = [tg.Tensor(g), tg.Tensor(g, device="cuda")]
        before = cuda.syncs
        stats = [tg.zeros(shape[1], dtype="float64", device="cuda") for _ in range(2)]
        out = F.batch_norm(far[0], *stats, *far[1:], training=True)
        found = gradients([out], far, [seeds[1]], create_graph=create)
        use = F.batch_norm(far[0], *stats, *far[1:])
        found += gradients([use], far, [seeds[1]], create_graph=create)
        assert cuda.syncs == before
        running = [tg.zeros(shape[1], dtype="float64") for _ in range(2)]
        expected = F.batch_norm(near[0], *running, *near[1:], training=True)
        wanted = gradients([expected], near, [seeds[0]], create_graph=create)
        in_use = F.batch_norm(near[0], *running, *near[1:])
        wanted += gradients([in_use], near, [seeds[0]], create_graph=create)
        for a, b in zip((out, use, *found, *stats), (expected, in_use, *wanted, *running), strict=True):
            assert a.device == "cuda:0"
            close(a, b)


def test_errors_name_the_operation() -> None:
    assert _batch_norm.op.name == "batch_norm" and _affine.op.name == "affine"
