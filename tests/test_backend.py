"""Devices: their names and errors, moving between them, and that the CPU and CUDA (the stand-in for CuPy, and a real
GPU where there is one) compute the same, with no wait for the device in a training step."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m import backend, ops


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# -- names of devices -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cpu:1", "CPU", "", " cuda", 0, 1.5])
def test_unknown_devices_are_refused(name: Any, cuda: Any) -> None:
    uses: list[Callable[[], Any]] = [
        lambda: tg.zeros(2, device=name),
        lambda: tg.Tensor([1.0], device=name),
        lambda: tg.set_default_device(name),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="'cpu', 'cuda' or 'cuda:N'") as caught:
            use()
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "home"), [("cpu", "cpu"), ("cpu:0", "cpu"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_names_and_homes(name: str, home: str, cuda: Any) -> None:
    for t in (tg.zeros(2, device=name), tg.Tensor([1, 2], device=name), tg.randn(2, device=name), tg.ones(2).to(name)):
        assert t.device == home
        assert isinstance(t.data, np.ndarray if home == "cpu" else cuda.ndarray)


def test_cuda_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_cuda", None)
    monkeypatch.setitem(sys.modules, "cupy", None)  # `import cupy` raises ImportError
    assert tg.device_count() == 0
    for use in (lambda: tg.zeros(2, device="cuda"), lambda: tg.zeros(2).cuda(), lambda: tg.set_default_device("cuda")):
        with pytest.raises(tg.DeviceError, match="CuPy, which is not installed.*pip install.*device='cpu'"):
            use()
    assert tg.get_default_device() == "cpu"


def test_cuda_without_a_gpu(cuda: Any) -> None:
    cuda.devices = 0
    assert tg.device_count() == 0
    with pytest.raises(tg.DeviceError, match="CuPy is installed but finds no CUDA devices.*device='cpu'"):
        tg.zeros(2, device="cuda")


def test_a_driver_that_fails_counts_as_no_gpu(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(cuda.cuda.runtime, "getDeviceCount", broken)
    assert tg.device_count() == 0
    with pytest.raises(tg.DeviceError, match="finds no CUDA devices"):
        tg.zeros(2).to("cuda")


def test_an_index_too_large_names_the_count(cuda: Any) -> None:
    assert tg.device_count() == 2
    with pytest.raises(tg.DeviceError, match="'cuda:2'.*finds 2 CUDA devices"):
        tg.zeros(2, device="cuda:2")
    cuda.devices = 1
    with pytest.raises(tg.DeviceError, match="'cuda:1'.*finds 1 CUDA device;"):
        tg.zeros(2).cuda(1)


def test_default_device(cuda: Any) -> None:
    assert tg.get_default_device() == "cpu"
    tg.set_default_device("cuda:1")
    assert tg.get_default_device() == "cuda:1"
    assert tg.zeros(2).device == tg.Tensor([1.0]).device == tg.randn(3).device == tg.arange(3).device == "cuda:1"
    assert tg.Tensor(np.ones(2)).device == "cuda:1"
    assert tg.zeros(2, device="cpu").device == "cpu"
    on_first = tg.ones(2, device="cuda:0")
    assert tg.Tensor(on_first).device == (on_first * 2).device == tg.zeros_like(on_first).device == "cuda:0"
    with pytest.raises(tg.DeviceError):
        tg.set_default_device("cuda:7")
    assert tg.get_default_device() == "cuda:1"


def test_default_device_from_the_environment() -> None:
    show = "import tinygrad_m as tg; print(tg.get_default_device(), tg.zeros(1).device)"
    assert python(show, TINYGRAD_M_DEVICE="cpu") == "cpu cpu"
    refused = "import tinygrad_m as tg\ntry: tg.zeros(1)\nexcept ValueError as error: print(error)"
    assert "'abacus'" in python(refused, TINYGRAD_M_DEVICE="abacus")


def test_import_is_light() -> None:
    heavy = ["cupy", "matplotlib", "torch", "scipy", "pandas", "PIL", "tqdm", "requests", "IPython"]
    assert python(f"import sys, tinygrad_m; print([m for m in {heavy} if m in sys.modules])") == "[]"


# -- moving ---------------------------------------------------------------------------------------


def test_moving(cuda: Any) -> None:
    x = tg.Tensor([[1.0, 2.0], [3.0, 4.0]])
    there = x.cuda(1)
    assert there.device == "cuda:1" and there.cuda(1) is there and x.cpu() is x and x.to("cpu") is x
    assert there.to("cuda").device == "cuda:0" and there.cuda().device == "cuda:0"
    back = there.to("cuda:0").cpu()
    assert back.device == "cpu" and back.tolist() == x.tolist() and back.dtype == x.dtype
    assert there.to("float64").device == "cuda:1" and there.to("float64").dtype == np.float64
    assert tg.Tensor(there, device="cpu").device == "cpu" and tg.Tensor(there).device == "cuda:1"
    assert tg.Tensor(there.data).device == "cuda:1" and tg.Tensor(there.data, device="cpu").device == "cpu"
    assert cuda.cuda.runtime.getDevice() == 0


def test_gradients_travel_back(cuda: Any) -> None:
    w = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    first = (w * 2.0).to("cuda:1")
    second = first * first + w.cuda().to("cuda:1")
    loss = second.sum().cpu()
    loss.backward()
    assert w.grad is not None and w.grad.device == "cpu"
    np.testing.assert_allclose(w.grad.numpy(), 8 * w.numpy() + 1)  # d/dw (4 w^2 + w)


def test_second_gradients_travel_back(cuda: Any) -> None:
    w = tg.Tensor([1.0, 2.0, 3.0], device="cuda:1", requires_grad=True)
    g = tg.grad((w.cpu() ** 3).sum(), w, create_graph=True)
    assert g.device == "cuda:1"
    np.testing.assert_allclose(tg.grad(g.sum(), w).numpy(), 6 * w.numpy())


def test_copies_do_not_share_memory(cuda: Any) -> None:
    array = np.ones(3, np.float32)
    t = tg.Tensor(array, device="cuda")
    array[:] = 5
    raw = t.data
    u = tg.Tensor(raw)
    raw[:] = 7
    assert u.tolist() == [1.0] * 3 and t.tolist() == [7.0] * 3


def test_mixed_devices_name_both(cuda: Any) -> None:
    a, b, c = tg.ones(2, 3), tg.ones(2, 3, device="cuda"), tg.ones(2, 3, device="cuda:1")
    mixtures: list[tuple[Callable[[], Any], str, str]] = [
        (lambda: a + b, "cpu", "cuda:0"),
        (lambda: b @ c.T, "cuda:0", "cuda:1"),
        (lambda: tg.where(c > 0, b, c), "cuda:1", "cuda:0"),
        (lambda: tg.concat([a, c]), "cpu", "cuda:1"),
        (lambda: tg.linear(a, b, None), "cpu", "cuda:0"),
        (lambda: b * np.ones((2, 3), np.float32), "cuda:0", "cpu"),
    ]
    for mix, *homes in mixtures:
        with pytest.raises(tg.DeviceError, match=r"\.to\(") as caught:
            mix()
        assert all(home in str(caught.value) for home in homes)
    with pytest.raises(tg.DeviceError, match="cuda:1.*cuda:0"):
        b[0] = c[0]
    with pytest.raises(tg.DeviceError, match="cpu.*cuda:0"):
        (b.requires_grad_() * 2).backward(a)


def test_scalars_belong_to_every_device(cuda: Any) -> None:
    x = tg.ones(2, device="cuda:1")
    for result in (
        x * 2,
        2.0 - x,
        x / np.float64(3),
        np.float64(3) * x,
        x**2,
        x > 0,
        tg.maximum(x, 0.5),
        tg.where(x > 0, x, 0.0),
    ):
        assert result.device == "cuda:1" and result.dtype in (np.float32, np.bool_)


def test_a_python_condition(device: str) -> None:
    a, b = tg.ones(2, device=device, requires_grad=True), tg.zeros(2, device=device)
    tg.where(True, a, b).sum().backward()
    assert a.grad is not None and a.grad.tolist() == [1, 1] and tg.where(False, a, b).tolist() == [0, 0]


# -- out of the device ----------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["cuda", "cuda:1"])
def test_leaving_the_device(home: str, cuda: Any) -> None:
    t = tg.Tensor([[1.5, -2.0]], device=home, requires_grad=True)
    assert isinstance(t.numpy(), np.ndarray) and t.tolist() == [[1.5, -2.0]] and t[0, 0].item() == 1.5
    assert float(t.sum()) == -0.5 and int(t.sum()) == 0 and bool(t[0, 0] > 1) and f"{t.sum():.2f}" == "-0.50"
    assert "1.5" in repr(t) and "device=cuda:" in repr(t)
    assert [row.device for row in t] == [t.device] and len(t) == 1 and 1.5 in t
    assert tg.Tensor([2], device=home).sum().item() == 2 and [10, 20, 30][tg.Tensor(1, device=home)] == 20


def test_numpy_functions_refuse_cuda_tensors(cuda: Any) -> None:
    t = tg.ones(3, device="cuda")
    uses: list[Callable[[Any], Any]] = [
        np.asarray,
        np.array,
        lambda t: np.asarray(t, dtype="float64"),
        lambda t: np.concatenate([np.ones(3), t]),
    ]
    for use in uses:
        with pytest.raises(TypeError, match=r"numpy\(\)"):
            use(t)


@pytest.mark.parametrize("home", ["cuda:0", "cuda:1"])
def test_pickle_and_deepcopy_keep_the_device(home: str, cuda: Any) -> None:
    t = tg.Tensor([1.0, 2.0], device=home, requires_grad=True)
    for twin in (copy.deepcopy(t), pickle.loads(pickle.dumps(t)), t.detach().clone()):
        assert twin.device == home and twin.tolist() == [1.0, 2.0] and twin.data is not t.data


# -- random numbers -------------------------------------------------------------------------------


def test_one_seed_gives_the_same_numbers_everywhere(cuda: Any) -> None:
    def draw(home: str) -> list[Any]:
        tg.manual_seed(7)
        made = [
            tg.randn(3, 2, device=home), tg.rand(4, device=home), tg.uniform(-1, 1, (2, 2), device=home),
            tg.randint(0, 9, 5, device=home),
        ]  # fmt: skip
        return [t.numpy() for t in made]

    for a, b, c in zip(draw("cpu"), draw("cuda"), draw("cuda:1"), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


# -- the same numbers -----------------------------------------------------------------------------

IMAGE, KERNEL = (2, 3, 5, 5), (4, 3, 3, 3)
LABELS = np.array([1, 0, 2])
CASES: list[tuple[str, Callable[..., tg.Tensor], list[tuple[int, ...]]]] = [
    ("arithmetic", lambda a, b: (a + b) * a - b / (a * a + 1.0), [(3, 4), (4,)]),
    ("powers", lambda a: a**2 + (a * a + 1.0) ** 0.5 + 2.0**a, [(3, 4)]),
    ("exponentials", lambda a: tg.exp(a) + tg.log(a * a + 1.0) + tg.expm1(a) + tg.log1p(a * a), [(5,)]),
    ("trigonometry", lambda a: tg.sin(a) + tg.cos(a) * tg.tanh(a) + tg.atan(a), [(5,)]),
    ("activations", lambda a: tg.sigmoid(a) + tg.relu(a) + tg.softplus(a) + tg.silu(a) + tg.elu(a), [(3, 4)]),
    ("gelu", lambda a: tg.gelu(a) + tg.gelu(a, "tanh") + tg.erf(a), [(3, 4)]),
    ("choice", lambda a, b: tg.where(a > b, a, b * 2.0) + tg.maximum(a, b) + tg.clip(a, -0.5, 0.5), [(3, 4), (3, 4)]),
    ("sums", lambda a: a.sum(axis=0) * a.mean(axis=(0, 1)) + a.prod(axis=0), [(3, 4)]),
    ("extremes", lambda a: a.max(axis=1) + a.min(axis=1) + a.max(), [(3, 4)]),
    ("deviation", lambda a: a.var(axis=1) + a.std(axis=1, correction=1) + a.norm(), [(3, 4)]),
    ("softmax", lambda a: tg.softmax(a) * tg.log_softmax(a) + tg.logsumexp(a, axis=1, keepdims=True), [(3, 4)]),
    ("running sum", lambda a: tg.cumsum(a, axis=0), [(3, 4)]),
    ("shapes", lambda a: a.reshape(4, 3).T.swapaxes(0, 1).expand_dims(1).squeeze(1).flatten(), [(3, 4)]),
    ("order", lambda a: tg.flip(a, axis=0) + tg.roll(a, 1, axis=1) + tg.sort(a, axis=1), [(3, 4)]),
    ("joining", lambda a, b: tg.concat([a, b, a], axis=1).sum(axis=0) * tg.stack([b, b]).sum(), [(3, 4), (3, 2)]),
    ("cutting", lambda a: a.split(2, axis=1)[1] + a[:, 1:3], [(3, 4)]),
    ("repeating", lambda a: tg.tile(a, (2, 1)) + tg.repeat(a, 2, axis=0) + tg.pad(a, ((1, 2), (0, 0))), [(3, 4)]),
    ("triangles", lambda a: tg.tril(a) + tg.triu(a, 1) * 2.0 + tg.diag(tg.diagonal(a)), [(3, 3)]),
    ("slices", lambda a: a[1:, ::2].sum() * a[..., -1] + a[None, 0].sum(), [(3, 4)]),
    ("integers as index", lambda a: a[np.array([0, 2, 2, -1])] * 2.0, [(3, 4)]),
    ("two arrays as index", lambda a: a[[0, 2, 0], [1, -1, 1]], [(3, 4)]),
    ("a mask as index", lambda a: a[a.detach() > 0.0] ** 2, [(3, 4)]),
    ("take", lambda a: a.take([1, 1, 0], axis=1) + tg.take_along_axis(a, np.array([[2], [1], [0]]), axis=1), [(3, 3)]),
    ("matmul", lambda a, b: a @ b, [(2, 3, 4), (4, 5)]),
    ("vectors", lambda a, b: (a @ b) @ a * b + tg.outer(b, b).sum(), [(3, 4), (4,)]),
    ("einsum", lambda a, b: tg.einsum("bij,jk->bik", a, b) + tg.tensordot(a, b, axes=1), [(2, 3, 4), (4, 5)]),
    ("linear", lambda x, w, b: tg.linear(x, w, b), [(5, 3), (2, 3), (2,)]),
    ("cross-entropy", lambda x: tg.softmax_cross_entropy(x, tg.Tensor(LABELS, device=x.device)), [(3, 4)]),
    ("conv2d", lambda x, w, b: tg.conv2d(x, w, b, stride=(2, 1), padding=(1, 1)), [IMAGE, KERNEL, (4,)]),
    ("groups", lambda x, w: tg.conv2d(x, w, None, dilation=(2, 2), groups=3), [IMAGE, (6, 1, 2, 2)]),
    ("pooling", lambda x: tg.max_pool2d(x, (3, 3), (2, 2), (1, 1)) + tg.avg_pool2d(x, (2, 2), (2, 2), (1, 1)), [IMAGE]),
    ("assignment", lambda a, b: ops.assign(a, (slice(1, 3), 0), b), [(3, 4), (2,)]),
]  # fmt: skip


@pytest.mark.parametrize("home", ["cuda:0", "cuda:1"])
@pytest.mark.parametrize(("f", "shapes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_cuda_equals_the_cpu(f: Callable[..., tg.Tensor], shapes: list[tuple[int, ...]], home: str, cuda: Any) -> None:
    """Value, gradient and gradient of the gradient, for arrays that do not live on the current device, too."""
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(-1.5, 1.5, shape) for shape in shapes]
    results = []
    for place in ("cpu", home):
        xs = [tg.Tensor(a, device=place, requires_grad=True) for a in arrays]
        out = f(*xs)
        (out * out).sum().backward()
        slopes = tg.grad((f(*xs) ** 2).sum(), xs, create_graph=True)
        curves = tg.grad(sum((g * g).sum() for g in slopes), xs)
        found = [out, *(x.grad for x in xs), *slopes, *curves]
        assert {t.device for t in found} == {place} and {t.dtype for t in found} == {np.dtype("float64")}
        results.append([t.numpy() for t in found])
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-12, atol=1e-12)
    assert cuda.cuda.runtime.getDevice() == 0


@pytest.mark.parametrize("home", ["cuda:0", "cuda:1"])
def test_gradcheck_on_the_device(home: str, cuda: Any) -> None:
    x = tg.Tensor([[0.3, -0.7], [1.1, 0.2]], dtype="float64", device=home, requires_grad=True)
    assert tg.gradcheck(lambda t: tg.tanh(t @ t).sum(axis=0), x, order=2)


@pytest.mark.parametrize("home", ["cuda:0", "cuda:1"])
def test_hooks_retained_gradients_and_shared_leaves(home: str, cuda: Any) -> None:
    x = tg.Tensor([1.0, 2.0], device=home, requires_grad=True)
    middle = x * 3.0
    middle.retain_grad()
    middle.register_hook(lambda g: g * 2.0)
    (middle * middle + x).sum().backward()
    x.sum().backward()  # accumulates
    assert x.grad is not None and middle.grad is not None and x.grad.device == middle.grad.device == home
    np.testing.assert_allclose(middle.grad.numpy(), 2 * 2 * 3 * x.numpy())
    np.testing.assert_allclose(x.grad.numpy(), 36 * x.numpy() + 2)


@pytest.mark.parametrize("home", ["cpu", "cuda:0", "cuda:1"])
def test_assignment(home: str, cuda: Any) -> None:
    t = tg.zeros(3, 4, device=home)
    t[0] = 1.0
    t[1] = [1, 2, 3, 4]
    t[2] = np.arange(4)
    t[:, [0, 3]] = t[:, [3, 0]]
    t[t > 3] = -1.0
    t[1, 1] += 10
    assert t.tolist() == [[1, 1, 1, 1], [-1, 12, 3, 1], [3, 1, 2, 0]] and t.device == home
    t[0] = t.data[1]  # an array of the device itself
    assert t[0].tolist() == t[1].tolist()


def test_raw_device_arrays_are_operands(cuda: Any) -> None:
    t = tg.Tensor([1.0, 2.0, 3.0], device="cuda:1", requires_grad=True)
    with cuda.cuda.Device(1):
        raw, index = cuda.asarray(np.array([2.0, 3.0, 4.0], np.float32)), cuda.asarray(np.array([2, 0]))
    for result in (t * raw, raw * t, tg.add(raw, t), t[index], t.take(index)):
        assert isinstance(result, tg.Tensor) and result.device == "cuda:1" and result.requires_grad


# -- indices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [3, -4])
def test_an_index_out_of_range_raises_on_both(bad: int, device: str) -> None:
    x = tg.Tensor(np.arange(12.0).reshape(3, 4), device=device)
    uses: list[Callable[[], Any]] = [
        lambda: x[bad],
        lambda: x[[0, bad]],
        lambda: x[np.array([bad])],
        lambda: x[tg.Tensor([bad, 0], device=device)],
        lambda: x[:, 1][[bad]],
        lambda: x[..., [bad + (1 if bad > 0 else -1)]],
        lambda: x.take([bad], axis=0),
        lambda: tg.take_along_axis(x, np.full((1, 4), bad), axis=0),
        lambda: x.__setitem__([bad], 0.0),
        lambda: x[np.array([0, 1]), np.array([0, 4])],
    ]
    for use in uses:
        with pytest.raises(IndexError, match="(?i)out of bounds"):
            use()


def test_a_host_index_is_checked_without_waiting(cuda: Any) -> None:
    x = tg.Tensor(np.arange(12.0).reshape(3, 4), device="cuda", requires_grad=True)
    picked = [x[[2, 0]], x[np.array([1]), np.array([-1])], x.take([1, 2], axis=1), x[1:, 0], x[-1]]
    tg.stack([p.sum() for p in picked]).sum().backward()
    assert cuda.syncs == 0


# -- a training step ------------------------------------------------------------------------------


def mlp(home: str, steps: int = 5) -> tuple[list[Any], list[Any], tg.Tensor]:
    """Parameters and losses of a small network trained by hand, and the last loss."""
    tg.manual_seed(1)
    shapes = [(8, 4), (8,), (3, 8), (3,)]
    params = [(tg.randn(*s, device=home) * 0.5).detach().requires_grad_() for s in shapes]
    x, labels = tg.randn(16, 4, device=home), tg.randint(0, 3, 16, device=home)
    velocity = [tg.zeros_like(p) for p in params]
    losses = []
    for _ in range(steps):
        hidden = tg.relu(tg.linear(x, params[0], params[1]))
        loss = tg.softmax_cross_entropy(tg.linear(hidden, params[2], params[3]), labels).mean()
        loss.backward()
        with tg.no_grad():
            for p, v in zip(params, velocity, strict=True):
                v *= 0.9
                v += p.grad
                p -= v * 0.1
                p.grad = None
        losses.append(loss.detach())
    return params, losses, loss


@pytest.mark.parametrize("home", ["cuda:0", "cuda:1"])
def test_training_is_the_same_on_the_device(home: str, cuda: Any) -> None:
    params, losses, _ = mlp("cpu")
    theirs, their_losses, _ = mlp(home)
    assert cuda.syncs == 0, "a training step waited for the device"
    for a, b in zip([*params, *losses], [*theirs, *their_losses], strict=True):
        assert b.device == home and b.dtype == np.float32
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)
    assert losses[-1].item() < losses[0].item()


def test_a_convolutional_step_does_not_wait(cuda: Any) -> None:
    x = tg.randn(2, 1, 8, 8, device="cuda:1")
    w = tg.randn(4, 1, 3, 3, device="cuda:1", requires_grad=True)
    b = tg.zeros(4, device="cuda:1", requires_grad=True)
    h = tg.max_pool2d(tg.relu(tg.conv2d(x, w, b, padding=(1, 1))), (2, 2), (2, 2))
    tg.log_softmax(h.reshape(2, -1)).mean().backward()
    assert cuda.syncs == 0 and w.grad is not None and w.grad.device == "cuda:1"


@pytest.mark.cuda
def test_a_real_gpu_trains_the_same() -> None:
    params, losses, _ = mlp("cpu")
    theirs, their_losses, _ = mlp("cuda")
    for a, b in zip([*params, *losses], [*theirs, *their_losses], strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_precision_of_products_is_a_switch(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    products = SimpleNamespace(COMPUTE_TYPE_TF32="tf32", COMPUTE_TYPE_FP32="float32")
    products.set_compute_type = lambda dtype, kind: asked.append((dtype, kind))
    monkeypatch.setitem(sys.modules, "cupy._core", SimpleNamespace(_routines_linalg=products))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(_core=sys.modules["cupy._core"]))
    tg.set_float32_matmul_precision("high")
    tg.set_float32_matmul_precision("highest")
    assert asked == [(np.float32, "tf32"), (np.float32, "float32")]
    assert tg.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="'highest' \\(float32\\) or 'high' \\(TF32\\), not 'medium'"):
        tg.set_float32_matmul_precision("medium")


def test_cupy_has_what_the_switch_calls() -> None:
    products = pytest.importorskip("cupy._core._routines_linalg")
    assert callable(products.set_compute_type) and products.COMPUTE_TYPE_TF32 != products.COMPUTE_TYPE_FP32


@pytest.mark.cuda
def test_tf32_rounds_to_ten_bits() -> None:
    """TF32 has no number 1 + 2^-12; its products of it with 1 may be off by that much, float32's may not."""
    x = tg.Tensor(np.full((64, 64), 1 + 2.0**-12, np.float32), device="cuda")
    eye = tg.Tensor(np.eye(64, dtype=np.float32), device="cuda")
    exact = (x @ eye).numpy()
    try:
        tg.set_float32_matmul_precision("high")
        rounded = (x @ eye).numpy()
    finally:
        tg.set_float32_matmul_precision("highest")
    assert (exact == np.float32(1 + 2.0**-12)).all() and ((x @ eye).numpy() == exact).all()
    np.testing.assert_allclose(rounded, exact, rtol=2.0**-10)


# -- erf, which NumPy lacks -----------------------------------------------------------------------


def test_erf_is_exact_to_the_last_digits() -> None:
    x = np.concatenate([np.linspace(-7, 7, 2001), 10.0 ** np.arange(-300, 1, 20.0), [0.0, -0.0, np.inf, -np.inf]])
    expected = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(tg.erf(tg.Tensor(x)).numpy(), expected, rtol=1e-14, atol=0)
    assert np.isnan(tg.erf(tg.Tensor([np.nan])).item())
