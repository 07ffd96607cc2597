"""The fast ways give what the plain ones give: convolution in pieces, threads, masks by bits, layouts in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m import nn
from tinygrad_m.nn import functional as F
from tinygrad_m.ops import conv, pieces


@pytest.fixture
def threads() -> Iterator[None]:
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


CONVOLUTIONS = [  # images, weight, settings
    ((5, 3, 9, 8), (4, 3, 3, 2), {}),
    ((5, 3, 9, 8), (4, 3, 3, 3), {"padding": (1, 2)}),
    ((3, 3, 11, 12), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0)}),
    ((3, 3, 11, 12), (4, 3, 3, 2), {"dilation": (2, 3), "stride": (1, 2)}),
    ((3, 4, 9, 9), (6, 2, 2, 3), {"groups": 2, "padding": 1, "stride": 2}),
    ((2, 32, 9, 7), (5, 32, 3, 3), {"padding": 1}),  # many channels: by shares of rows
    ((2, 64, 13, 7), (6, 32, 3, 3), {"groups": 2, "dilation": (1, 2), "stride": (1, 2)}),
    ((2, 32, 30, 6), (4, 32, 4, 3), {}),  # many rows
    ((4, 5, 6, 7), (3, 5, 1, 1), {}),
    ((4, 5, 6, 7), (3, 5, 1, 1), {"stride": 2}),
    ((4, 5, 6, 7), (3, 5, 6, 7), {}),  # one window
    ((1, 2, 40, 40), (3, 2, 5, 5), {}),  # a single image
    ((600, 1, 12, 12), (8, 1, 5, 5), {}),  # a row is cut into parts
    ((0, 2, 6, 6), (3, 2, 3, 3), {}),
]


@pytest.mark.parametrize(("images", "weight", "settings"), CONVOLUTIONS)
def test_convolution_in_pieces_is_the_plain_one(
    images: Any, weight: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, first and second derivatives, in float64."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size) for size in (images, weight, weight[:1])]

    def everything() -> list[np.ndarray]:
        x, w, b = [tg.Tensor(a, requires_grad=True) for a in arrays]
        out = F.conv2d(x, w, b, **settings)
        firsts = tg.grad((out * out * out).sum(), (x, w, b), create_graph=True)
        seconds = tg.grad(sum((g * g).sum() for g in firsts), (x, w, b))
        return [t.numpy() for t in (out, *firsts, *seconds)]

    fast = everything()
    monkeypatch.setattr(conv, "_fast", lambda xp, x, windows: False)
    for ours, plain in zip(fast, everything(), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(plain).max(initial=0.0)))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


def gradients(model: nn.Module, x: tg.Tensor, y: np.ndarray) -> list[np.ndarray]:
    model.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    return [loss.numpy(), *[p.grad.numpy() for p in model.parameters() if p.grad is not None]]


def test_any_number_of_threads_gives_the_same_numbers(threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CACHE", 1 << 16)
    monkeypatch.setattr(pieces.ranges, "__defaults__", (1 << 16,))
    monkeypatch.setattr(pieces, "SHARED", 1000)
    tg.manual_seed(0)
    model, x, y = network(), tg.randn(64, 1, 28, 28), np.arange(64) % 10
    tg.set_num_threads(1)
    alone = gradients(model, x, y)
    for n in (2, 3):
        tg.set_num_threads(n)
        for a, b in zip(alone, gradients(model, x, y), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)  # OpenBLAS sums other shapes otherwise


def test_an_error_in_a_thread_reaches_the_caller(threads: None) -> None:
    tg.set_num_threads(2)

    def work(a: int, b: int) -> int:
        if a == 3:
            raise ValueError("piece 3")
        return a

    with pytest.raises(ValueError, match="piece 3"):
        pieces.each(work, [(k, k + 1) for k in range(6)])
    assert pieces.each(lambda a, b: a, [(k, k + 1) for k in range(6)]) == list(range(6))


def test_pieces_of_pieces_do_not_wait_for_each_other(threads: None) -> None:
    tg.set_num_threads(2)
    cut = [(k, k) for k in range(4)]
    found = pieces.each(lambda a, b: pieces.each(lambda c, d: 10 * a + c, cut), cut)
    assert found == [[10 * a + c for c in range(4)] for a in range(4)]


def test_threads_keep_errstate_and_numpys_buffer(threads: None) -> None:
    before = np.getbufsize()
    for n in (1, 3):
        tg.set_num_threads(n)
        with np.errstate(over="raise"):
            found = pieces.each(lambda a, b: np.geterr()["over"], [(k, k) for k in range(8)])
        assert set(found) == {"raise"} and np.getbufsize() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = (
        "import os, tinygrad_m as tg\n"
        "from tinygrad_m.ops import pieces\n"
        "tg.set_num_threads(2)\n"
        "run = lambda: pieces.each(lambda a, b: a, [(k, k) for k in range(4)])\n"
        "run(); pid = os.fork()\n"
        "assert run() == [0, 1, 2, 3]\n"
        "if pid: assert os.waitpid(pid, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_number_of_threads_is_checked() -> None:
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="whole number of at least 1"):
            tg.set_num_threads(wrong)  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-c", "import tinygrad_m"], env={**os.environ, "TINYGRAD_M_THREADS": "two"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "TINYGRAD_M_THREADS must be a whole number from 1, not 'two'" in done.stderr


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_is_masked_is_zero_whatever_it_was(dtype: str) -> None:
    x = tg.Tensor(np.array([[1.0, -2.0, np.inf], [np.nan, -0.0, -np.inf]], dtype))
    keep = tg.Tensor(np.array([[True, True, False], [False, True, True]]))
    kept, dropped = tg.where(keep, x, 0.0).numpy(), tg.where(keep, 0.0, x).numpy()
    np.testing.assert_array_equal(kept, np.where(keep.numpy(), x.numpy(), 0))
    np.testing.assert_array_equal(dropped, np.where(keep.numpy(), 0, x.numpy()))
    assert kept.dtype == dtype and dropped.dtype == dtype


LAYOUTS = {
    "rows": lambda a: a, "columns": np.asfortranarray, "gaps": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "turned": lambda a: a[::-1, ::-1], "images": lambda a: np.ascontiguousarray(a.T).T,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_relu_of_large_arrays_in_any_layout(layout: str) -> None:
    array = LAYOUTS[layout](np.random.default_rng(0).standard_normal((900, 700)))
    g = np.random.default_rng(1).standard_normal((900, 700))
    x = tg.Tensor(np.zeros_like(array), requires_grad=True)
    with tg.no_grad():
        x._replace(array)  # Tensor() would tidy the memory up
    out = tg.relu(x)
    out.backward(tg.Tensor(g))
    np.testing.assert_array_equal(out.numpy(), np.maximum(array, 0))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.where(array > 0, g, 0))


def test_relu_of_many_bools_is_that_of_few() -> None:
    few, many = tg.relu(tg.Tensor([True, False])), tg.relu(tg.Tensor(np.ones(pieces.CACHE + 1, bool)))
    assert many.dtype == few.dtype and int(many.sum()) == pieces.CACHE + 1


@pytest.mark.parametrize("second_layer", [False, True])
def test_linear_in_both_memory_orders(second_layer: bool) -> None:
    """A weight by columns gives the same numbers, and a gradient that lies as it does."""
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((6, 5)), rng.standard_normal((4, 5)), rng.standard_normal(4)
    if second_layer:  # as after flattened images
        x = np.asfortranarray(x)
    found = []
    for weight in (w, np.asfortranarray(w)):
        ts = [tg.Tensor(a, requires_grad=True) for a in (x, weight, b)]
        out = F.linear(*ts)
        firsts = tg.grad((out**3).sum(), ts, create_graph=True)
        seconds = tg.grad(sum((g**2).sum() for g in firsts), ts)
        (F.linear(*ts) ** 3).sum().backward()
        assert ts[1].grad is not None and ts[1].grad.data.strides == ts[1].data.strides
        found.append([t.numpy() for t in (out, *firsts, *seconds)])
    np.testing.assert_allclose(found[0][0], x @ w.T + b)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("values", ["numbers", "zeros", "ties"])
def test_pooling_before_relu_changes_nothing(values: str) -> None:
    """What Sequential does: outputs and gradients are the same, exactly."""
    rng = np.random.default_rng(0)
    numbers = {"numbers": rng.standard_normal((3, 2, 6, 6)), "zeros": np.zeros((3, 2, 6, 6)),
               "ties": rng.integers(-1, 2, (3, 2, 6, 6)).astype(float)}[values]  # fmt: skip
    relu, pool, g = nn.ReLU(), nn.MaxPool2d(2), tg.Tensor(rng.standard_normal((3, 2, 3, 3)))
    a, b = (tg.Tensor(numbers, requires_grad=True) for _ in range(2))
    one, two = nn.Sequential(relu, pool)(a), pool(relu(b))
    one.backward(g)
    two.backward(g)
    assert one._node is not None and one._node.op.name == "relu"
    np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert a.grad is not None and b.grad is not None
    np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


def test_backward_frees_where_the_maxima_were() -> None:
    x = tg.randn(2, 3, 4, 4, requires_grad=True)
    out = F.max_pool2d(x, 2)
    assert out._node is not None and out._node.attrs["winners"][0].shape == (3, 2, 2, 2, 2, 2)
    out.sum().backward()
    assert out._node.attrs == {}
    with tg.no_grad():
        assert F.max_pool2d(x, 2)._node is None


def test_flattened_images_are_not_copied() -> None:
    """Images lie in memory as (C, H, W, N): a convolution's output and its flattening share memory."""
    out = F.conv2d(tg.randn(8, 3, 6, 6), tg.randn(4, 3, 3, 3))
    assert out.data.transpose(1, 2, 3, 0).flags.c_contiguous
    assert np.shares_memory(F.flatten(out, 1).data, out.data)
