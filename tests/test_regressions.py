"""Bugs that were found once, each with the smallest case that failed before. What is expected comes from
mathematics or PyTorch."""

from __future__ import annotations

import enum
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m.operation import REGISTRY, op

T = tg.Tensor


def test_a_masked_slope_times_an_infinite_one_is_zero() -> None:
    for f in (
        lambda x: tg.sqrt(tg.relu(x)), lambda x: tg.sqrt(tg.maximum(x, 0.0)), lambda x: tg.sqrt(tg.clip(x, 0.0, None)),
        lambda x: tg.log(tg.relu(x)),
    ):  # fmt: skip
        x = T([-1.0, 4.0], requires_grad=True)
        with np.errstate(divide="ignore"):
            f(x).sum().backward()
        assert x.grad is not None and x.grad.numpy()[0] == 0.0 and x.grad.numpy()[1] > 0.0


def test_relu_passes_the_gradient_of_nan_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    x, t = T([np.nan, 1.0, -1.0], requires_grad=True), torch.tensor([np.nan, 1.0, -1.0], requires_grad=True)
    tg.relu(x).sum().backward()
    torch.relu(t).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), t.grad.numpy())


def test_data_takes_a_copy_of_the_same_dtype() -> None:
    x, w = T([1.0, 2.0], requires_grad=True), T([3.0, 4.0], requires_grad=True)
    for wrong in (np.ones(2), np.ones(2, "int64"), np.ones(2, complex)):
        with pytest.raises(TypeError, match="float32"):
            x.data = wrong
    x.data = w.data
    loss = (x * x).sum()
    with tg.no_grad():
        w += 10.0
    loss.backward()
    assert x.grad is not None and x.grad.tolist() == [6.0, 8.0]


def test_threads_may_share_a_leaf() -> None:
    x = T([0.0], requires_grad=True)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def work() -> None:
            for _ in range(200):
                (x * 1.0).sum().backward()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert x.grad is not None and x.grad.tolist() == [800.0]


def test_a_hook_gets_its_gradient_where_the_tensor_is(cuda: Any) -> None:
    tg.set_default_device("cuda")
    x = T([1.0, 2.0], device="cpu", requires_grad=True)
    y = x * 2.0
    y.register_hook(lambda g: g * 2.0)
    x.register_hook(lambda g: g * 2.0)
    y.sum().backward()
    assert x.grad is not None and x.grad.device == "cpu" and x.grad.tolist() == [8.0, 8.0]


def test_mixed_second_derivative_of_pow_at_exponent_zero() -> None:
    a, b = (T([v], dtype="float64", requires_grad=True) for v in (2.0, 0.0))
    ga, gb = tg.grad((a**b).sum(), [a, b], create_graph=True)
    assert tg.grad(ga.sum(), [b], retain_graph=True)[0].tolist() == [0.5]  # d/db b a^(b-1) = 1/a
    assert tg.grad(gb.sum(), [a])[0].tolist() == [0.5]


def test_a_leaf_that_became_a_computed_tensor_is_noticed() -> None:
    x, w = T([2.0, 3.0], requires_grad=True), T([10.0, 10.0], requires_grad=True)
    y = (x * x).sum()
    x.requires_grad_(False)
    x += w
    with pytest.raises(tg.GraphError, match="in place"):
        y.backward(create_graph=True)


@pytest.mark.parametrize("f", [lambda x: x * x, lambda x: (x.T * 1.0) ** 2, lambda x: x.reshape(4) ** 2])
def test_create_graph_inside_no_grad_gives_a_graph(f: Any) -> None:
    x = T([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = f(x).sum()
    with tg.no_grad():
        g = tg.grad(y, x, create_graph=True)
    assert g.requires_grad
    assert tg.grad(g.sum(), x).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_a_retained_gradient_is_not_the_one_that_travels() -> None:
    x = T([1.0, 2.0], requires_grad=True)
    y = x + 0.0
    y.retain_grad()

    def scribble(g: tg.Tensor) -> None:
        assert y.grad is not None
        y.grad[...] = 100.0

    x.register_hook(scribble)
    (y * y).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0, 4.0]


def test_one_no_grad_object_in_two_threads() -> None:
    off, entered, leave = tg.no_grad(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def other() -> None:
        with off:
            entered.set()
            leave.wait(5)
            seen.append(tg.is_grad_enabled())
        seen.append(tg.is_grad_enabled())

    thread = threading.Thread(target=other)
    with off:
        thread.start()
        entered.wait(5)
    assert tg.is_grad_enabled()
    leave.set()
    thread.join()
    assert seen == [False, True] and tg.is_grad_enabled()


def test_a_label_out_of_range_spoils_its_gradient_too() -> None:
    x = T([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    tg.softmax_cross_entropy(x, T([0, 5])).sum().backward()
    assert x.grad is not None and np.isfinite(x.grad.numpy()[0]).all() and np.isnan(x.grad.numpy()[1]).all()


def test_integers_do_not_wrap_on_the_way() -> None:
    with pytest.raises(OverflowError, match="300.*int8"):
        T([300]).astype("int8")


def test_a_condition_has_no_say_in_the_dtype() -> None:
    x = T([1.0, 2.0])
    assert tg.where(T(np.array([0.0, 1.0])), x, 0.0).dtype == np.float32
    assert tg.where(T([0, 1]), T([1, 2], dtype="int8"), T([3, 4], dtype="int8")).dtype == np.int8
    assert tg.where(T([True, False]), T([1.0, 2.0], dtype="float16"), 0.5).dtype == np.float16


def test_astype_copies() -> None:
    x = T([1.0])
    y = x.astype("float32")
    y += 1.0
    assert x.tolist() == [1.0] and x.to("float32") is x


def test_an_attribute_is_a_number_of_its_own() -> None:
    x, slope = T([-1.0], requires_grad=True), np.array(0.5, "float32")
    y = tg.leaky_relu(x, slope)
    slope[...] = 5.0
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.5]


def test_a_computed_tensor_on_fresh_memory_is_no_view() -> None:
    w = tg.ones(1, 1, 2, 2, requires_grad=True)
    y = tg.conv2d(tg.ones(1, 1, 3, 3), w)
    y[0, 0, 0] = 0.0
    y.sum().backward()
    assert w.grad is not None and w.grad.tolist() == [[[[2.0, 2.0], [2.0, 2.0]]]]


def test_numbers_of_a_subclass() -> None:
    class Two(enum.IntEnum):
        A = 2

    class Half(float):
        pass

    assert (T([1.0]) * Two.A).tolist() == [2.0] and (T([1.0]) * Half(0.5)).dtype == np.float32


def test_definitions_that_cannot_work_are_refused() -> None:
    before = dict(REGISTRY)
    try:
        with pytest.raises(TypeError, match="typo"):

            @op(typo=lambda g: g)
            def first(xp: Any, x: Any) -> Any:
                return x

        with pytest.raises(TypeError, match="inputs alone"):

            @op(a=lambda g: g, xs=lambda g: g)
            def second(xp: Any, a: Any, *xs: Any) -> Any:
                return a

        with pytest.raises(TypeError, match="shape"):

            @op(x=lambda g, shape: g)
            def third(xp: Any, x: Any, shape: Any = ()) -> Any:
                return x
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


def test_variadic_plans_do_not_pile_up() -> None:
    concat = REGISTRY["_concat"].op
    rng = np.random.default_rng(0)
    for _ in range(50):
        tg.concat([tg.zeros(1, requires_grad=bool(k)) for k in rng.integers(0, 2, 20)])
    assert len(concat.plans) <= 1


def test_removing_a_hook_keeps_nothing_alive() -> None:
    x = T(np.ones(1000), requires_grad=True)
    y = x * x
    array = weakref.ref(x.data)
    remove = y.register_hook(lambda g: None)
    del x, y
    assert array() is None
    remove()


def test_a_view_of_the_second_operand_shares_its_version() -> None:
    before = dict(REGISTRY)
    try:

        @op(a=lambda g: g * 0.0, b=lambda g: g)
        def second_operand(xp: Any, a: Any, b: Any) -> Any:
            return b[...]

        a, b, w = tg.ones(2), tg.ones(2), tg.ones(2, requires_grad=True)
        loss = (second_operand(a, b) * w).sum()
        b += 1.0
        with pytest.raises(tg.GraphError, match="in place"):
            loss.backward()
    finally:
        REGISTRY.clear()
        REGISTRY.update(before)


def test_contains() -> None:
    with pytest.raises(TypeError, match="'a'"):
        assert "a" in T([1.0])


def test_softmax_of_a_number() -> None:
    assert tg.softmax(T(3.0).reshape(1)).tolist() == [1.0]


def test_sizes_of_windows_may_be_ints() -> None:
    x, w = tg.ones(1, 1, 4, 4), tg.ones(1, 1, 2, 2)
    assert tg.conv2d(x, w, stride=2).shape == (1, 1, 2, 2) and tg.max_pool2d(x, 2, 2).shape == (1, 1, 2, 2)
    for bad in ({"stride": (0, 0)}, {"padding": (-1, -1)}, {"stride": 1.5}, {"padding": (1, 1, 1)}):
        with pytest.raises((TypeError, ValueError), match=next(iter(bad))):
            tg.conv2d(x, w, **bad)
    with pytest.raises(ValueError, match="padding"):
        tg.max_pool2d(x, (2, 2), (2, 2), padding=(2, 2))
