"""What the graph means: where gradients go, what is kept and for how long, derivatives of derivatives, changes in
place, hooks, copies. Expectations come from mathematics, NumPy, PyTorch or weak references, never from the engine
itself. test_misuse.py tests what must raise."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import gc
import pickle
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_m as tg
from tinygrad_m import operation

T = tg.Tensor


def leaf(*values: float, dtype: str = "float64") -> tg.Tensor:
    return T(values, dtype=dtype, requires_grad=True)


def grad_of(t: tg.Tensor) -> Any:
    assert t.grad is not None
    return t.grad.tolist()


# -- where gradients go ------------------------------------------------------------------------------


def test_diamond() -> None:
    """z = (2x)(3x) = 6 x^2."""
    x = leaf(1.0, -2.0)
    a, b = x * 2.0, x * 3.0
    (a * b).sum().backward()
    assert grad_of(x) == [12.0, -24.0] and a.grad is None and b.grad is None


def test_one_tensor_twice_in_one_operation() -> None:
    for f, slope in (
        (lambda x: x + x, 2.0), (lambda x: x * x, 6.0), (lambda x: x - x, 0.0), (lambda x: x / x, 0.0),
        (lambda x: tg.concat([x, x, x]), 3.0), (lambda x: tg.stack([x, x * x]), 7.0), (lambda x: x @ x, 6.0),
        (lambda x: tg.where(T([True]), x, x), 1.0), (lambda x: tg.maximum(x, x), 1.0),
        (lambda x: tg.einsum("i,i,i->", x, x, x), 27.0), (lambda x: x**x, 27 * (1 + np.log(3.0))),
    ):  # fmt: skip
        x = leaf(3.0)
        f(x).sum().backward()
        np.testing.assert_allclose(grad_of(x), [slope], rtol=1e-14)


def test_leaves_accumulate_over_calls_and_no_array_is_reused() -> None:
    x = leaf(3.0)
    (x * x).sum().backward()
    first = x.grad
    (x * 5.0).sum().backward()
    assert first is not None and first.tolist() == [6.0] and grad_of(x) == [11.0]


def test_retain_grad() -> None:
    x = leaf(2.0)
    y, z = x * 3.0, x * 4.0
    y.retain_grad()
    x.retain_grad()  # a leaf has one anyway
    (y * y + z).sum().backward()
    assert grad_of(y) == [12.0] and z.grad is None and grad_of(x) == [40.0]
    y = x * 3.0
    y.retain_grad()
    y *= 2.0  # y is now 6x: its gradient is that of the new y
    (y * y).sum().backward()
    assert grad_of(y) == [24.0]


def test_retain_graph_adds_the_same_again() -> None:
    x = leaf(2.0)
    loss = (x * x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    loss.backward()
    assert grad_of(x) == [36.0]
    with pytest.raises(tg.GraphError):
        loss.backward()


def test_backward_from_a_leaf_and_through_a_given_gradient() -> None:
    x = leaf(2.0)
    x.backward()
    assert grad_of(x) == [1.0]
    v = np.array([1.0, 10.0])
    y = leaf(1.0, 2.0)
    (y * y).backward(v)
    assert grad_of(y) == [2.0, 40.0] and v.tolist() == [1.0, 10.0]


# -- derivatives of any order ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "derivatives"),
    [
        (tg.sin, [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]),
        (lambda x: x**4, [lambda x: 4 * x**3, lambda x: 12 * x**2, lambda x: 24 * x, lambda x: 24 + 0 * x]),
        (tg.exp, [np.exp] * 4),
        (tg.log, [lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3, lambda x: -6 / x**4]),
    ],
    ids=["sin", "x^4", "exp", "log"],
)
def test_four_derivatives(f: Callable[[tg.Tensor], tg.Tensor], derivatives: list[Callable[[Any], Any]]) -> None:
    x = leaf(0.3, 1.7)
    y = f(x)
    for exact in derivatives:
        y = tg.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(y.numpy(), exact(x.numpy()), rtol=1e-12)
    assert x.grad is None


def test_backward_with_create_graph_gives_a_differentiable_grad() -> None:
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    g, x.grad = x.grad, None
    assert g is not None and g.tolist() == [12.0] and g.requires_grad
    g.sum().backward()
    assert grad_of(x) == [12.0]


def test_hessian_vector_product() -> None:
    """f(x) = sum(A x * sin x), whose Hessian is A' cos(x_j) + ... by hand: H_ij = a_ij cos x_i + a_ji cos x_j, less
    (A x)_i sin x_i on the diagonal."""
    rng = np.random.default_rng(0)
    a, x0, v = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
    c = np.cos(x0)
    hessian = a * c[:, None] + a.T * c - np.diag((a @ x0) * np.sin(x0))
    x = T(x0, requires_grad=True)
    g = tg.grad(((T(a) @ x) * tg.sin(x)).sum(), x, create_graph=True)
    np.testing.assert_allclose(tg.grad(g, x, v, retain_graph=True).numpy(), hessian @ v, rtol=1e-12)
    rows = [tg.grad(g, x, row, retain_graph=True).numpy() for row in np.eye(4)]
    np.testing.assert_allclose(rows, hessian, rtol=1e-12)


# -- grad() ------------------------------------------------------------------------------------------


def test_grad_of_intermediate_tensors_leaves_everything_as_it_was() -> None:
    x = leaf(1.0, 2.0)
    y = x * x
    y.retain_grad()
    z = (y * y).sum()
    assert tg.grad(z, y).tolist() == [2.0, 8.0]
    assert x.grad is None and y.grad is None
    y.sum().backward()  # what lies before y was not walked, so it was not freed
    assert grad_of(x) == [2.0, 4.0]


def test_grad_of_several_outputs_and_inputs() -> None:
    x, w = leaf(2.0), leaf(5.0)
    y = x * w
    z = y * y
    dx, dw, dy = tg.grad([z, y, z], [x, w, y], [None, T([10.0], dtype="float64"), 2.0 * np.ones(1)])
    slope = 3 * 2 * 10.0 + 10.0  # d(3z + 10y)/dy
    assert (dx.item(), dw.item(), dy.item()) == (slope * 5, slope * 2, slope)


def test_outputs_that_are_inputs_or_ancestors() -> None:
    x = leaf(3.0)
    y = x * x
    z = y * 2.0
    assert tg.grad(x, x).tolist() == [1.0]
    assert tg.grad(y, y, retain_graph=True).tolist() == [1.0]
    dz, dy, dx = tg.grad([z, y, x], [z, y, x])
    assert (dz.item(), dy.item(), dx.item()) == (1.0, 3.0, 19.0)


def test_grad_of_unused_inputs() -> None:
    x, w = leaf(3.0), leaf(1.0)
    got = tg.grad((x * x).sum(), [w, x], allow_unused=True)
    assert got[0] is None and got[1].tolist() == [6.0]
    assert tg.grad((x * x).sum(), []) == ()


def test_branches_that_lead_nowhere_are_not_walked() -> None:
    calls: list[int] = []
    x, w = leaf(3.0), leaf(2.0)
    side = w * w
    side.register_hook(lambda g: calls.append(1))
    assert tg.grad((x * side).sum(), x).tolist() == [4.0] and not calls and w.grad is None


def test_grad_inside_no_grad_and_with_it() -> None:
    x = leaf(3.0)
    loss = (x * x).sum()
    with tg.no_grad():
        g = tg.grad(loss, x)
    assert g.tolist() == [6.0] and not g.requires_grad


# -- memory that is not shared -----------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_share_no_memory(create_graph: bool) -> None:
    def arrays(build: Callable[[tg.Tensor, tg.Tensor], tg.Tensor]) -> list[list[Any]]:
        found = []
        for by_grad in (False, True):
            a, b, v = leaf(1.0, 2.0), leaf(3.0, 4.0), T([1.0, 1.0], dtype="float64")
            out = build(a, b)
            if by_grad:
                got = list(tg.grad(out, [a, b, a], v, create_graph=create_graph, retain_graph=True))
            else:
                out.backward(v, create_graph=create_graph, retain_graph=True)
                got = [a.grad, b.grad]
            found.append([t.data for t in [*got, v, a, b, out]])
        return found

    for build in (lambda a, b: a + b, lambda a, b: a * b, lambda a, b: tg.stack([a, b]).sum(axis=0),
                  lambda a, b: (a + b).reshape(2, 1).T[0], lambda a, b: tg.concat([a[:1], b[1:]]),
                  lambda a, b: tg.relu(a + 0.0) + b.clone().detach() * b):  # fmt: skip
        for group in arrays(build):
            for i in range(len(group)):
                for j in range(i):
                    assert not np.shares_memory(group[i], group[j]), (build, i, j)
            for array in group[:-4]:
                assert array.flags.writeable


def test_gradients_of_a_broadcast_are_writable() -> None:
    x, b = T(np.ones((3, 2)), requires_grad=True), leaf(1.0)
    (x + b).sum().backward()
    for t in (x, b):
        assert t.grad is not None and t.grad.data.flags.writeable
        with tg.no_grad():
            t.grad *= 2.0
    assert grad_of(b) == [12.0] and grad_of(x) == [[2.0, 2.0]] * 3


def test_a_gradient_that_nobody_shares_is_not_copied() -> None:
    """A transposed view, when nobody but it knows its memory, becomes .grad as it is; else a copy in its order."""
    held: list[Any] = []
    before = dict(operation.REGISTRY)
    try:

        @operation.op(x=lambda g, shape: held[0].T if held else np.full(shape[::-1], g.item()).T)
        def total(xp: Any, x: Any) -> Any:
            return xp.sum(x)
    finally:
        operation.REGISTRY.clear()
        operation.REGISTRY.update(before)
    for others in ([], [np.ones((2, 3))]):
        held[:] = others
        x = T(np.ones((3, 2)), requires_grad=True)
        total(x).backward()
        assert x.grad is not None and x.grad.data.flags.f_contiguous and grad_of(x) == [[1.0, 1.0]] * 3
        assert (x.grad.data.base is None) == bool(others)
        assert not any(np.shares_memory(x.grad.data, other) for other in others)


# -- hooks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_that_writes_into_its_argument_harms_nobody(create_graph: bool) -> None:
    """Two leaves fed by one operation: b's gradient and the given one stay what they are."""
    for op in (lambda a, b: a + b, lambda a, b: a * 1.0 + b * 1.0, lambda a, b: tg.stack([a, b]).sum(axis=0)):
        a, b, v = leaf(1.0, 2.0), leaf(3.0, 4.0), T([1.0, 1.0], dtype="float64")

        def scribble(g: tg.Tensor) -> None:
            with tg.no_grad():
                g *= 100.0

        a.register_hook(scribble)
        out = op(a, b)
        out.backward(v, create_graph=create_graph)
        assert grad_of(b) == [1.0, 1.0] and v.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("create_graph", [False, True])
def test_writing_in_a_hook_means_the_same_for_every_operation(create_graph: bool) -> None:
    seen = set()
    for f in (
        lambda x: x + 0.0, lambda x: x * 1.0, lambda x: x[...], lambda x: x.expand_dims(0), lambda x: x @ np.eye(2),
    ):  # fmt: skip
        x = leaf(1.0, 2.0)

        def scribble(g: tg.Tensor) -> None:
            with tg.no_grad():
                g *= 2.0

        x.register_hook(scribble)
        f(x).backward(np.ones(f(x).shape), create_graph=create_graph)
        seen.add(tuple(grad_of(x)))
    assert len(seen) == 1, f"the gradient depends on the operation that it comes from: {seen}"


def test_what_a_hook_returns_is_not_shared() -> None:
    x, given = leaf(1.0, 2.0), T([5.0, 6.0], dtype="float64")
    kept: list[tg.Tensor] = []
    x.register_hook(lambda g: given)
    x.register_hook(kept.append)
    (x * 2.0).sum().backward()
    assert grad_of(x) == [5.0, 6.0] and x.grad is not None and kept[0].tolist() == [5.0, 6.0]
    assert not np.shares_memory(x.grad.data, given.data) and not np.shares_memory(x.grad.data, kept[0].data)


def test_hooks_run_in_order_once_with_the_complete_gradient() -> None:
    x = leaf(3.0)
    y = x * x
    log: list[Any] = []
    y.register_hook(lambda g: log.append(("first", g.item())))
    y.register_hook(lambda g: g * 2.0)
    y.register_hook(lambda g: log.append(("third", g.item())))
    x.register_hook(lambda g: log.append(("x", g.item())))
    (y + y * 4.0).sum().backward()
    assert log == [("first", 5.0), ("third", 10.0), ("x", 60.0)] and grad_of(x) == [60.0]


def test_removing_hooks() -> None:
    x = leaf(3.0)
    double = lambda g: g * 2.0  # noqa: E731
    remove, again = x.register_hook(double), x.register_hook(double)
    remove()
    (x * 1.0).sum().backward()
    assert grad_of(x) == [2.0]  # one registration is left
    again()
    again()
    x.grad = None
    (x * 1.0).sum().backward()
    assert grad_of(x) == [1.0]


def test_a_hook_under_create_graph_is_part_of_the_graph() -> None:
    x = leaf(3.0)
    x.register_hook(lambda g: g * g)
    (g,) = tg.grad((x * x).sum(), [x], create_graph=True)  # (2x)^2
    assert g.tolist() == [36.0]
    x = leaf(3.0)
    y = x * 1.0
    remove = y.register_hook(lambda g: g * g)
    g = tg.grad((y * y).sum(), x, create_graph=True)
    remove()  # y is part of the second graph too
    assert tg.grad(g, x).tolist() == [24.0]  # d(4 x^2)/dx


def test_a_hook_may_use_the_engine() -> None:
    x, norms = leaf(3.0, 4.0), []
    x.register_hook(lambda g: norms.append(g.norm().item()))

    @tg.enable_grad()
    def differentiates(g: tg.Tensor) -> Any:
        w = T(g, requires_grad=True)
        return tg.grad((w * w).sum(), w)

    x.register_hook(differentiates)
    (x * x).sum().backward()
    assert norms == [10.0] and grad_of(x) == [12.0, 16.0]


# -- detach, no_grad ---------------------------------------------------------------------------------


def test_detach_shares_memory_and_stops_the_gradient() -> None:
    x = leaf(1.0, 2.0)
    d = x.detach()
    assert np.shares_memory(d.data, x.data) and not d.requires_grad and d.is_leaf
    (x * d).sum().backward()
    assert grad_of(x) == [1.0, 2.0]
    loss = (x * x).sum()
    d[0] = 7.0
    assert x.tolist() == [7.0, 2.0]
    with pytest.raises(tg.GraphError, match="changed in place"):
        loss.backward()


def test_no_grad_and_enable_grad_nest() -> None:
    x = leaf(1.0)

    def on() -> bool:
        assert tg.is_grad_enabled() == (x * 2.0).requires_grad
        return tg.is_grad_enabled()

    with tg.no_grad():
        assert not on()
        with tg.enable_grad():
            assert on()
            with tg.no_grad():
                assert not on()
            assert on()
        assert not on()
    assert on()
    both = tg.no_grad()
    with both, both:  # one object may be entered twice
        assert not on()
    assert on()
    with pytest.raises(KeyError), tg.no_grad(), tg.enable_grad():
        raise KeyError
    assert on()


def test_no_grad_as_a_decorator() -> None:
    @tg.no_grad()
    def depth(n: int) -> bool:
        return tg.is_grad_enabled() or (n > 0 and depth(n - 1)) or inner()

    @tg.enable_grad()
    def recorded(x: tg.Tensor) -> tg.Tensor:
        return x * 2.0

    def inner() -> bool:
        return not recorded(leaf(1.0)).requires_grad or tg.is_grad_enabled()

    @tg.no_grad()
    def fails() -> None:
        raise KeyError

    assert depth(5) is False and tg.is_grad_enabled() and depth.__name__ == "depth"
    with pytest.raises(KeyError):
        fails()
    assert tg.is_grad_enabled()


# -- changes in place --------------------------------------------------------------------------------


def test_recorded_changes() -> None:
    """y = 3x; y += x; y *= y; y[0] = x[1]: (16 x0^2 -> x1, 16 x1^2)."""
    x = leaf(1.0, 2.0)
    y = x * 3.0
    before = y[:1]
    y += x
    y *= y
    y[0] = x[1]
    assert y.tolist() == [2.0, 64.0] and before.tolist() == [3.0]
    (y * np.array([10.0, 1.0])).sum().backward()
    assert grad_of(x) == [0.0, 74.0]  # 10 from y[0], 32 x1 = 64 from y[1]
    for change, value, slope in (
        (lambda t, v: t.__iadd__(v), 5.0, 1.0), (lambda t, v: t.__isub__(v), 1.0, -1.0),
        (lambda t, v: t.__imul__(v), 6.0, 3.0), (lambda t, v: t.__itruediv__(v), 1.5, -0.75),
    ):  # fmt: skip
        t, v = T([3.0], dtype="float64"), leaf(2.0)
        change(t, v)  # a constant becomes a function of v
        assert t.tolist() == [value]
        t.sum().backward()
        assert grad_of(v) == [slope]


def test_unrecorded_changes_write_through_views() -> None:
    base = tg.zeros(2, 3)
    row, column, flat = base[1], base.T[0], base.flatten()
    row += 1.0
    column[0] = 5.0
    flat[1:2] = 7.0
    assert base.tolist() == [[5.0, 7.0, 0.0], [1.0, 1.0, 1.0]]
    w = leaf(1.0, 2.0, 3.0)
    part, array = w[1:], w.data
    with tg.no_grad():
        part *= 10.0
        w -= 1.0
    assert w.tolist() == [0.0, 19.0, 29.0] and w.data is array and w.is_leaf and w.requires_grad


def test_in_place_keeps_object_dtype_and_leafness() -> None:
    w = leaf(1.0, 2.0, dtype="float32")
    same = w
    with tg.no_grad():
        w -= np.float64(0.5) * T([1.0, 1.0], dtype="float64")
    assert w is same and w.dtype == np.float32 and w.is_leaf
    y = w * 2.0
    other = y
    y += T([1.0, 1.0], dtype="float64")
    assert y is other and y.dtype == np.float32 and not y.is_leaf
    (y * 1.0).sum().backward()
    assert grad_of(w) == [2.0, 2.0]


def test_assignment_by_list_mask_and_tensor() -> None:
    for index in ([2, 0], np.array([True, False, True]), T([2, 0]), slice(None, None, 2), (..., [0, 2])):
        t, v = T([1.0, 2.0, 3.0], dtype="float64"), leaf(10.0, 20.0)
        array = t.numpy()
        array[index.numpy() if isinstance(index, tg.Tensor) else index] = v.numpy()
        t[index] = v
        np.testing.assert_array_equal(t.numpy(), array)
        (t * t).sum().backward()
        assert grad_of(v) == [20.0, 40.0]


# -- long, wide, fast --------------------------------------------------------------------------------


def chain(n: int) -> float:
    """Seconds for n operations forward, backward and their removal."""
    x = leaf(1.0)
    start = time.perf_counter()
    y = x
    for _ in range(n):
        y = y + 1.0
    y.backward()
    del y
    seconds = time.perf_counter() - start
    assert grad_of(x) == [1.0]
    return seconds


def test_time_for_an_operation_does_not_grow_with_the_chain() -> None:
    """200,000 operations in a row: no recursion, and each as fast as in a chain of 20,000."""
    chain(2_000)
    short, long = min(chain(20_000) for _ in range(3)), chain(200_000)
    assert long / short < 30, f"10 times the operations took {long / short:.0f} times as long"


@pytest.mark.slow
def test_a_million_operations() -> None:
    chain(1_000_000)
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y * 1.0
    del y  # never walked: freed without recursion


def test_ten_thousand_consumers() -> None:
    x = leaf(2.0)
    y = x * 1.0
    total = tg.stack([y * float(k) for k in range(10_000)]).sum()
    total.backward()
    assert grad_of(x) == [sum(range(10_000))]
    x = leaf(2.0)
    out = sum((x * x for _ in range(10_000)), T([0.0], dtype="float64"))
    assert isinstance(out, tg.Tensor)
    out.backward()
    assert grad_of(x) == [40_000.0]


def test_a_number_of_paths_that_is_exponential() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert grad_of(x) == [2.0**60]


def test_create_graph_over_a_long_chain() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(3_000):
        y = y * 1.0001
    g = tg.grad((y * y).sum(), x, create_graph=True)
    np.testing.assert_allclose(tg.grad(g, x).item(), 2 * 1.0001**6000, rtol=1e-9)


# -- memory ------------------------------------------------------------------------------------------


@pytest.fixture
def counting_only() -> Any:
    """Only reference counting frees: what dies here has no cycle."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def step(x: tg.Tensor, w: tg.Tensor) -> tuple[tg.Tensor, list[weakref.ref[Any]]]:
    h = tg.tanh(x @ w)
    p = tg.softmax(h[:, 1:] * 2.0, axis=-1)
    h[0] = 0.0
    loss = (p * p).mean() + h.max()
    return loss, [weakref.ref(o) for o in (h, p, p.data)]


def test_a_dropped_graph_dies_by_reference_counting(counting_only: None) -> None:
    x, w = T(np.ones((4, 3))), T(np.ones((3, 3)), requires_grad=True)
    loss, refs = step(x, w)
    assert refs[2]() is not None  # kept for backward
    del loss
    assert [r() for r in refs] == [None] * 3


def test_backward_releases_arrays_while_the_loss_is_kept(counting_only: None) -> None:
    x, w = T(np.ones((4, 3))), T(np.ones((3, 3)), requires_grad=True)
    loss, refs = step(x, w)
    loss.backward(retain_graph=True)
    assert refs[2]() is not None
    loss.backward()
    assert [r() for r in refs] == [None] * 3 and np.isfinite(loss.item())
    loss, refs = step(x, w)
    tg.grad(loss, w)
    assert [r() for r in refs] == [None] * 3


def test_leaves_hooks_and_errors_make_no_cycle(counting_only: None) -> None:
    w = T(np.ones((3, 3)), requires_grad=True)
    y = w * 2.0
    y.retain_grad()
    y.register_hook(lambda g: None)
    loss = (y * y).sum()
    loss.backward()
    with pytest.raises(tg.GraphError):
        loss.backward()
    refs = [weakref.ref(w), weakref.ref(y), weakref.ref(loss), weakref.ref(w.data)]
    del w, y, loss
    assert [r() for r in refs] == [None] * 4


def test_many_steps_leave_nothing_behind(counting_only: None) -> None:
    x, w = T(np.ones((4, 3))), T(np.ones((3, 3)), requires_grad=True)

    def train() -> None:
        for _ in range(20):
            loss, _ = step(x, w)
            w.grad = None
            loss.backward()
            g = tg.grad(step(x, w)[0], w, create_graph=True)
            tg.grad((g * g).sum(), w)
            with tg.no_grad():
                w.__isub__(w.grad * 0.1)  # type: ignore[operator]

    train()
    gc.collect()
    before = len(gc.get_objects())
    train()
    assert len(gc.get_objects()) - before < 20
    assert gc.collect() == 0


@pytest.mark.parametrize(
    ("f", "kept"),
    [
        (lambda x: x + 1.0, False), (lambda x: x - np.ones(3), False), (lambda x: x * 2.0, False),
        (lambda x: -x, False), (lambda x: x * np.ones(3), False), (lambda x: x / 3.0, False),
        (lambda x: x.sum(), False), (tg.exp, False), (lambda x: x.mean(), False), (lambda x: tg.concat([x, x]), False),
        (lambda x: x @ np.ones(3), False), (lambda x: tg.where(T([True]), x, 0.0), False), (tg.tanh, False),
        (tg.relu, False), (lambda x: x[[0, 1]], False),
        (lambda x: x.cumsum(), False), (tg.sin, True), (lambda x: x * x, True), (lambda x: x**3, True),
    ],
)  # fmt: skip
def test_an_operation_keeps_only_what_its_rules_read(f: Callable[[tg.Tensor], tg.Tensor], kept: bool) -> None:
    hidden = leaf(1.0, 2.0, 3.0) + 0.0
    array = weakref.ref(hidden.data)
    out = f(hidden)
    del hidden
    assert (array() is not None) == kept
    out.sum().backward()


@pytest.mark.parametrize(("f", "kept"), [(tg.exp, True), (tg.tanh, True), (tg.sin, False), (tg.square, False)])
def test_an_output_is_kept_only_if_a_rule_reads_it(f: Callable[[tg.Tensor], tg.Tensor], kept: bool) -> None:
    out = f(leaf(1.0, 2.0))
    array, loss = weakref.ref(out.data), out.sum()
    del out
    assert (array() is not None) == kept
    loss.backward()


# -- random graphs against PyTorch -------------------------------------------------------------------

OPERATIONS = ["sin", "tanh", "add", "multiply", "matmul"]


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Operations on 2x2 matrices, each on any two of the values before it (the first three are leaves)."""
    count = draw(st.integers(1, 12))
    return [
        (draw(st.sampled_from(OPERATIONS)), draw(st.integers(0, 2 + k)), draw(st.integers(0, 2 + k)))
        for k in range(count)
    ]


def evaluate(program: list[tuple[str, int, int]], leaves: list[Any], lib: Any) -> list[Any]:
    rules = {"sin": lambda a, b: lib.sin(a), "tanh": lambda a, b: lib.tanh(a), "add": lambda a, b: a + b,
             "multiply": lambda a, b: a * b * 0.5, "matmul": lambda a, b: a @ b * 0.5}  # fmt: skip
    values = list(leaves)
    for name, i, j in program:
        values.append(rules[name](values[i], values[j]))
    return values


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs(), seed=st.integers(0, 1000), data=st.data())
def test_random_graphs_have_pytorchs_gradients(program: list[Any], seed: int, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    start = [np.random.default_rng([seed, k]).uniform(-1, 1, (2, 2)) for k in range(3)]
    ours, theirs = [T(a, requires_grad=True) for a in start], [torch.tensor(a, requires_grad=True) for a in start]
    mine, ref = evaluate(program, ours, tg), evaluate(program, theirs, torch)
    outs = data.draw(st.lists(st.integers(3, len(mine) - 1), min_size=1, max_size=3))
    ins = data.draw(st.lists(st.integers(0, len(mine) - 1), min_size=1, max_size=4, unique=True))
    weight = np.array([[1.0, -2.0], [0.5, 3.0]])
    args = [weight] * len(outs)
    got = tg.grad([mine[o] for o in outs], [mine[i] for i in ins], args, allow_unused=True, create_graph=True)
    expected = torch.autograd.grad(
        [ref[o] for o in outs], [ref[i] for i in ins], [torch.tensor(weight)] * len(outs), allow_unused=True,
        create_graph=True,
    )  # fmt: skip
    assert [g is None for g in got] == [e is None for e in expected]
    pairs = [(g, e) for g, e in zip(got, expected, strict=True) if e is not None]
    for g, e in pairs:
        np.testing.assert_allclose(g.numpy(), e.detach().numpy(), rtol=1e-10, atol=1e-10)
    second = [(g, e) for g, e in pairs if e.requires_grad]
    if second:
        sum(((g * g).sum() for g, _ in second), T(0.0, dtype="float64")).backward(retain_graph=True)
        sum((e * e).sum() for _, e in second).backward(retain_graph=True)
        for t, r in zip(ours, theirs, strict=True):
            assert t.grad is not None or r.grad is None or not r.grad.any()
            if t.grad is not None:
                reference = np.zeros((2, 2)) if r.grad is None else r.grad.numpy()
                np.testing.assert_allclose(t.grad.numpy(), reference, rtol=1e-9, atol=1e-9)


# -- random indices against NumPy --------------------------------------------------------------------


@st.composite
def indices(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape, and an index that NumPy takes: ints, slices, ..., None, integer arrays and masks mixed."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    fancy, axis = draw(st.sampled_from([(), (1,), (3,), (2, 1), (2, 3)])), 0
    index: list[Any] = []
    while axis < len(shape):
        kind = draw(st.sampled_from(["int", "slice", "array", "list", "tensor", "mask", "none", "stop"]))
        n = shape[axis]
        if kind == "stop":
            break
        if kind == "none":
            index.append(None)
            continue
        if kind == "int":
            index.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            bound = st.none() | st.integers(-n - 1, n + 1)
            index.append(slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, -1, -2]))))
        elif kind == "mask":
            wide = draw(st.integers(axis + 1, len(shape)))
            mask = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
            mask = np.broadcast_to(mask.reshape(n, *[1] * (wide - axis - 1)), shape[axis:wide])
            index.append(mask.copy())
            axis = wide - 1
        else:
            size = int(np.prod(fancy))
            values = draw(st.lists(st.integers(-n, n - 1), min_size=size, max_size=size))
            array = np.array(values, dtype=int).reshape(fancy)
            index.append(array if kind == "array" else array.tolist() if kind == "list" and array.ndim else T(array))
        axis += 1
    if draw(st.booleans()) and axis == len(shape):
        index.insert(draw(st.integers(0, len(index))), Ellipsis)
    elif axis < len(shape) and draw(st.booleans()):
        index.append(Ellipsis)
    return shape, index[0] if len(index) == 1 and draw(st.booleans()) else tuple(index)


def for_numpy(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(for_numpy(part) for part in index)
    return index.numpy() if isinstance(index, tg.Tensor) else index


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=indices())
def test_random_indices_are_numpys(case: tuple[tuple[int, ...], Any]) -> None:
    shape, index = case
    a = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    raw = for_numpy(index)
    try:
        expected = np.asarray(a[raw])
    except IndexError:  # masks and arrays that do not fit together
        with pytest.raises(IndexError):
            T(a)[index]
        return
    x = T(a, requires_grad=True)
    got = x[index]
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.numpy(), expected)
    g = np.random.default_rng(0).normal(size=expected.shape)
    got.backward(g)
    scattered = np.zeros(shape)
    np.add.at(scattered, raw, g)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), scattered, rtol=1e-12, atol=1e-12)

    written, t, y = a.copy(), T(a), T(a, requires_grad=True) * 1.0
    written[raw] = g
    t[index] = g
    y[index] = g
    np.testing.assert_array_equal(t.numpy(), written)
    np.testing.assert_array_equal(y.numpy(), written)
    numbers = np.arange(a.size).reshape(shape)[raw]
    if len(np.unique(numbers)) == numbers.size:  # else the gradient of the value is not defined
        base, v = T(a, requires_grad=True), T(g, requires_grad=True)
        z = base * 1.0
        z[index] = v
        z.backward(a)
        assert v.grad is not None and base.grad is not None
        np.testing.assert_array_equal(v.grad.numpy(), expected)
        rest = a.copy()
        rest[raw] = 0.0
        np.testing.assert_array_equal(base.grad.numpy(), rest)


# -- copies and other libraries ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("duplicate", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy])
def test_copies_keep_everything_and_share_nothing(duplicate: Callable[[tg.Tensor], tg.Tensor], dtype: str) -> None:
    floating = dtype.startswith("float")
    t = T([[1, 0], [1, 1]], dtype=dtype, requires_grad=floating)
    if floating:
        (t * t).sum().backward()
    c = duplicate(t)
    assert c.dtype == t.dtype == np.dtype(dtype) and c.device == t.device and c.requires_grad is floating and c.is_leaf
    np.testing.assert_array_equal(c.numpy(), t.numpy())
    assert not np.shares_memory(c.data, t.data)
    if floating:
        assert grad_of(c) == grad_of(t) and c.grad is not t.grad
        assert not np.shares_memory(c.grad.data, t.grad.data)  # type: ignore[union-attr]
        (c * 2.0).sum().backward()
        assert grad_of(c) != grad_of(t)


def test_a_tensor_in_two_places_is_copied_once() -> None:
    w = leaf(1.0)
    for duplicate in (copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        a, b = duplicate([w, w])
        assert a is b and a is not w


def test_making_a_tensor_copies() -> None:
    a = np.ones(3)
    t, u = T(a), T(T(a))
    a[:] = 9.0
    assert t.tolist() == u.tolist() == [1.0] * 3
    t.numpy()[:] = 5.0
    assert t.tolist() == [1.0] * 3
    x = leaf(1.0)
    assert x.numpy().tolist() == [1.0]  # also of one that requires grad


def test_dlpack_with_numpy() -> None:
    t = T([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(np.from_dlpack(t), t.numpy())
    np.testing.assert_array_equal(np.from_dlpack(t.T), t.numpy().T)
    array = np.arange(6, dtype="int32").reshape(2, 3)
    back = tg.from_dlpack(array)
    array[:] = 0
    assert back.dtype == np.int32 and back.tolist() == [[0, 1, 2], [3, 4, 5]]  # a copy
    assert np.asarray(t).tolist() == t.tolist() and np.asarray(t, dtype="float64").dtype == np.float64


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    t = T([[1.0, 2.0], [3.0, 4.0]])
    assert torch.from_dlpack(t).tolist() == t.tolist()
    assert torch.from_dlpack(leaf(1.0).detach()).dtype == torch.float64
    for dtype in (torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool):
        source = torch.tensor([[1, 0], [1, 1]], dtype=dtype)
        back = tg.from_dlpack(source.T)
        assert str(back.dtype) == str(dtype).split(".")[1] and back.tolist() == source.T.tolist()
    assert T(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
