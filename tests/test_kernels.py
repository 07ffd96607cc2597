"""The CUDA kernels: each equal to the plain rule that it stands for, on the stand-in (which runs their source, see
standin_kernels.py) and on a GPU where there is one; and all of them compiled for the architectures of the day."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin_kernels
from standin_kernels import launched, needs_compiler

import tinygrad_m as tg
from tinygrad_m import kernels, nn, optim
from tinygrad_m.nn import functional as F
from tinygrad_m.ops import conv_cuda
from tinygrad_m.ops.fused import biased, plain_biased


@pytest.fixture(autouse=True)
def _compiler(request: pytest.FixtureRequest) -> None:
    if standin_kernels.COMPILER is None and "stand-in" in request.node.name:
        pytest.skip("g++ runs the kernels without a GPU")


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """plainly(f) is f() without kernels."""

    def run(f: Callable[[], Any]) -> Any:
        with monkeypatch.context() as without:
            without.setattr(kernels, "ENABLED", False)
            return f()

    return run


# -- they compile -----------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["float", "double"])
@pytest.mark.parametrize("architecture", standin_kernels.ARCHITECTURES)
def test_kernels_compile_for_every_architecture(architecture: str, type_: str, tmp_path: Path) -> None:
    """With CuPy's own compiler, NVRTC, or with nvcc: neither needs a GPU."""
    assert len(kernels.files()) == 5
    for file in kernels.files():
        standin_kernels.check_compiles(file, architecture, (type_, type_), tmp_path)


# -- optimizers -------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "sgd nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "sgd maximize": lambda p: optim.SGD(p, lr=0.1, momentum=0.5, maximize=True, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01),
    "rmsprop momentum": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, weight_decay=0.01),
    "rmsprop centered": lambda p: optim.RMSprop(p, lr=0.01, centered=True, alpha=0.9, momentum=0.5, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adam amsgrad": lambda p: optim.Adam(p, lr=0.01, betas=(0.8, 0.9), amsgrad=True, maximize=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw amsgrad": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
}
SHAPES = [(3, 5), (7,), (), (2, 3, 4, 2), (300, 11), (0, 4)]


def trained(make: Callable[..., optim.Optimizer], home: str, dtype: str, steps: int = 6) -> list[Any]:
    """Parameters and state after some steps with gradients that differ from step to step; some in Fortran's order,
    one parameter without a gradient in the first two steps."""
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=shape).astype(dtype) for shape in SHAPES]
    params = [tg.Tensor(a, device=home, requires_grad=True) for a in arrays]
    params.append(tg.Tensor(rng.normal(size=(6, 4)).astype(dtype), device=home).T.detach().requires_grad_())
    optimizer = make(params)
    for step in range(steps):
        for k, p in enumerate(params):
            g = rng.normal(size=p.shape).astype(dtype) * (step != 3)
            p.grad = tg.Tensor(g, device=home) if k != 1 or step > 1 else None
        optimizer.param_groups[0]["lr"] *= 0.9  # as a schedule does
        optimizer.step()
    state = [v for one in optimizer.state_dict()["state"].values() for v in one.values()]
    return [p.numpy() for p in params] + state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_launch_updates_as_the_formula_does(name: str, dtype: str, there: str, plainly: Any) -> None:
    got = trained(OPTIMIZERS[name], there, dtype)
    expected = plainly(lambda: trained(OPTIMIZERS[name], there, dtype))
    on_cpu = trained(OPTIMIZERS[name], "cpu", dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert len(got) == len(expected) == len(on_cpu)
    for a, b, c in zip(got, expected, on_cpu, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(a, c, rtol=tolerance, atol=tolerance)


@needs_compiler
def test_a_step_is_one_launch_and_a_schedule_compiles_nothing(cuda: Any) -> None:
    params = [tg.Tensor(np.ones(shape, np.float32), device="cuda:1", requires_grad=True) for shape in SHAPES]
    optimizer = optim.SGD(params, lr=0.1, momentum=0.9)
    kernels._kernel.cache_clear()

    def step() -> None:
        for p in params:
            p.grad = tg.ones_like(p)
        optimizer.param_groups[0]["lr"] *= 0.5
        optimizer.step()

    assert [launched(step) for _ in range(3)] == [1, 1, 1]
    assert kernels._kernel.cache_info().misses == 1
    assert cuda.syncs == 0


@needs_compiler
def test_more_parameters_than_one_launch_takes(cuda: Any) -> None:
    n = kernels.MANY + 3
    params = [tg.Tensor(np.full(2, k, np.float32), device="cuda", requires_grad=True) for k in range(n)]
    for p in params:
        p.grad = tg.ones_like(p)
    assert launched(optim.SGD(params, lr=1.0).step) == 2
    assert [p.numpy()[1] for p in params] == [k - 1 for k in range(n)]


@needs_compiler
def test_what_a_kernel_can_not_take_is_updated_by_the_formula(cuda: Any) -> None:
    class Halved(optim.SGD):  # an update() of one's own, though SGD's has a kernel
        def update(self, xp: Any, w: Any, g: Any, state: Any, lr: float, **others: Any) -> None:
            w *= 0.5

    with_gaps = tg.Tensor(np.ones((4, 6), np.float32), device="cuda")[:, ::2].detach().requires_grad_()
    small = tg.Tensor(np.ones(3, np.float16), device="cuda", requires_grad=True)
    usual = tg.Tensor(np.ones(3, np.float32), device="cuda", requires_grad=True)
    other = tg.Tensor(np.ones(3, np.float64), device="cuda:1", requires_grad=True)
    for p in (with_gaps, small, usual, other):
        p.grad = tg.ones_like(p)
    assert launched(optim.SGD([with_gaps, small, usual, other], lr=0.25).step) == 2  # for each of the last two
    for p in (with_gaps, small, usual, other):
        assert (p.numpy() == 0.75).all()
    assert launched(Halved([usual], lr=1.0).step) == 0 and (usual.numpy() == 0.375).all()


@needs_compiler
def test_a_state_goes_on_where_it_was_loaded(cuda: Any) -> None:
    def fresh(home: str) -> tuple[tg.Tensor, optim.Optimizer]:
        p = tg.Tensor(np.arange(4.0), device=home, requires_grad=True)
        return p, optim.Adam([p], lr=0.1)

    def step(p: tg.Tensor, optimizer: optim.Optimizer, g: float) -> None:
        p.grad = tg.full(4, g, dtype="float64", device=p.device)
        optimizer.step()

    here, on_cpu = fresh("cpu")
    for g in (1.0, 2.0):
        step(here, on_cpu, g)
    there, on_cuda = fresh("cuda")
    with tg.no_grad():
        there[...] = here.detach().to("cuda")
    on_cuda.load_state_dict(on_cpu.state_dict())
    step(here, on_cpu, -3.0)
    step(there, on_cuda, -3.0)
    np.testing.assert_allclose(there.numpy(), here.numpy(), rtol=1e-12)


# -- cross-entropy ----------------------------------------------------------------------------------


def loss_and_slopes(x: np.ndarray, y: np.ndarray, home: str, **options: Any) -> tuple[Any, Any, Any]:
    """The loss, its gradient, and the gradient of that gradient's squares' sum."""
    logits = tg.Tensor(x, device=home, requires_grad=True)
    labels = tg.Tensor(y, device=home)
    loss = F.cross_entropy(logits, labels, **options)
    (loss * 3.0).backward()
    (g,) = tg.grad(F.cross_entropy(logits, labels, **options), [logits], create_graph=True)
    (second,) = tg.grad((g * g).sum(), [logits])
    return loss.numpy(), logits.grad.numpy(), second.numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (40, 7), (5, 1500), (6, 4, 3, 2)])
def test_cross_entropy_is_the_plain_one(shape: tuple[int, ...], dtype: str, there: str, plainly: Any) -> None:
    rng = np.random.default_rng(1)
    x = (3 * rng.normal(size=shape)).astype(dtype)
    y = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    y[rng.random(y.shape) < 0.3] = -100  # ignored
    y.flat[0] = 0
    got = loss_and_slopes(x, y, there)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for expected in (plainly(lambda: loss_and_slopes(x, y, there)), loss_and_slopes(x, y, "cpu")):
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("ignore", [-100, 2, -(2**63)])
def test_labels_that_are_ignored_and_labels_that_are_no_class(ignore: int, there: str) -> None:
    x = np.random.default_rng(2).normal(size=(5, 4))
    y = np.array([0, 2, 3, 1, 2])
    if ignore == 2:
        expected = loss_and_slopes(x, y, "cpu", ignore_index=2)
        for a, b in zip(loss_and_slopes(x, y, there, ignore_index=2), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    for bad in (4, -1, 10**9):
        y[3] = bad
        loss, slope, _ = loss_and_slopes(x, y, there, ignore_index=ignore)
        assert np.isnan(loss) and np.isnan(slope[3]).all() and not np.isnan(slope[[0, 2]]).any()


def test_cross_entropy_of_large_and_of_lost_numbers(there: str) -> None:
    x = np.array([[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0], [np.nan, 0.0, 1.0]], np.float32)
    for rows in ([0], [1], [0, 1], [2]):
        y = np.array([0, 1, 2])[rows]
        logits = tg.Tensor(x[rows], device=there, requires_grad=True)
        F.cross_entropy(logits, tg.Tensor(y, device=there)).backward()
        on_cpu = tg.Tensor(x[rows], requires_grad=True)
        F.cross_entropy(on_cpu, tg.Tensor(y)).backward()
        np.testing.assert_allclose(logits.grad.numpy(), on_cpu.grad.numpy(), rtol=1e-6, atol=1e-7)


def test_arrays_with_gaps_are_read_right(there: str) -> None:
    rng = np.random.default_rng(3)
    x, both, pairs = rng.normal(size=(6, 4)), rng.integers(0, 4, (6, 2)), rng.normal(size=(4, 2))
    for home in ("cpu", there):
        labels, rows = tg.Tensor(both, device=home)[:, 1], tg.Tensor(np.repeat(x, 2, axis=0), device=home)[::2]
        weight, bias = (tg.Tensor(pairs, device=home)[:, k] for k in range(2))
        out = F.batch_norm(rows, None, None, weight, bias, training=True)
        found = [F.cross_entropy(rows, labels).item(), out.numpy()]
        if home == "cpu":
            expected = found
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)


# -- batch norm -------------------------------------------------------------------------------------


def normalised(x: np.ndarray, home: str, affine: bool, images_last: bool) -> list[Any]:
    """Output, gradients of all that has one, running statistics, and a second derivative."""
    tg.manual_seed(0)
    layer = (nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d)(x.shape[1], affine=affine).to(home, str(x.dtype))
    if images_last:  # in memory as (C, H, W, N), as convolutions leave them
        x = np.ascontiguousarray(np.moveaxis(x, 0, -1)).transpose(-1 % x.ndim, *range(x.ndim - 1))
    t = tg.Tensor(x, device=home, requires_grad=True)
    params = [t, *layer.parameters()]
    if affine:
        with tg.no_grad():
            layer.weight += tg.arange(x.shape[1], device=home).astype(x.dtype) * 0.1
    target = tg.Tensor(np.random.default_rng(4).normal(size=x.shape).astype(x.dtype), device=home)
    out = layer(t)
    (out * target).sum().backward()
    slopes = tg.grad((layer(t) * target).sum(), params, create_graph=True)
    second = tg.grad((slopes[0] * target).sum(), [t])
    found = [out, *[p.grad for p in params], *slopes, *second, layer.running_mean, layer.running_var]
    return [a.numpy() for a in found]


@pytest.mark.parametrize("images_last", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (33, 2), (2, 5, 40, 1), (3, 1, 20), (7, 1, 30, 31)])
def test_batch_norm_is_the_plain_one(
    shape: tuple[int, ...], dtype: str, affine: bool, images_last: bool, there: str, plainly: Any
) -> None:
    x = (2 + 3 * np.random.default_rng(5).normal(size=shape)).astype(dtype)
    got = normalised(x, there, affine, images_last)
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    for home, run in ((there, plainly), ("cpu", lambda f: f())):
        expected = run(lambda home=home: normalised(x, home, affine, images_last))
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@needs_compiler
def test_batch_norm_takes_few_launches(cuda: Any) -> None:
    layer = nn.BatchNorm2d(3).to("cuda:1")
    x = tg.randn(4, 3, 5, 5, device="cuda:1").requires_grad_()
    out: list[tg.Tensor] = []
    assert launched(lambda: out.append(layer(x))) == 3  # and the running statistics
    assert launched(lambda: out[0].sum().backward()) == 2
    weight_only = layer(x.detach())
    layer.eval()
    assert launched(lambda: layer(x)) == 0
    assert launched(lambda: weight_only.sum().backward()) == 2
    assert cuda.syncs == 0


# -- images -----------------------------------------------------------------------------------------

SLIDING = [
    {"kernel": (2, 2), "stride": (2, 2)}, {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 1)},
    {"kernel": (3, 3), "stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)}, {"kernel": (1, 1), "stride": (3, 2)},
    {"kernel": (5, 4), "stride": (1, 1), "padding": (2, 2), "dilation": (1, 2)}, {"kernel": (7, 3), "stride": (3, 3)},
]  # fmt: skip


def through(f: Callable[..., Any], arrays: list[np.ndarray], home: str, images_last: bool = False) -> list[Any]:
    """f's output, all gradients of it, and second derivatives."""
    if images_last:
        arrays = [np.ascontiguousarray(arrays[0].transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2), *arrays[1:]]
    tensors = [tg.Tensor(a, device=home, requires_grad=True) for a in arrays]
    out = f(*tensors)
    weight = tg.Tensor(np.random.default_rng(9).normal(size=out.shape).astype(out.dtype), device=home)
    first = tg.grad((out * out * weight).sum(), tensors, create_graph=True)
    second = tg.grad(sum((g * g).sum() for g in first), tensors)
    (f(*tensors) * weight).sum().backward()
    return [t.numpy() for t in (out, *first, *second, *[t.grad for t in tensors])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("settings", SLIDING)
def test_convolution_is_the_plain_one(settings: Any, groups: int, dtype: str, there: str, plainly: Any) -> None:
    rng = np.random.default_rng(7)
    sizes = (3, 4, 9, 8), (6, 4 // groups, *settings["kernel"]), (6,)
    arrays = [rng.normal(size=size).astype(dtype) for size in sizes]
    others = {key: value for key, value in settings.items() if key != "kernel"}

    def run(home: str) -> list[Any]:
        return through(
            lambda x, w, b: tg.conv2d(x, w, b, groups=groups, **others), arrays, home, settings is SLIDING[1]
        )

    got, tolerance = run(there), 1e-9 if dtype == "float64" else 2e-3
    for expected in (plainly(lambda: run(there)), run("cpu")):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(abs(b).max())))


@pytest.mark.parametrize("kind", ["different", "ties", "nan"])
@pytest.mark.parametrize("settings", SLIDING)
def test_max_pool_is_the_plain_one(settings: Any, kind: str, there: str, plainly: Any) -> None:
    rng = np.random.default_rng(8)
    x = rng.permutation(3 * 2 * 9 * 8).reshape(3, 2, 9, 8) / 10.0
    if kind == "ties":
        x = np.round(x / 10) - 1
    if kind == "nan":
        x[rng.random(x.shape) < 0.1] = np.nan
    settings = {
        **settings,
        "padding": tuple(min(p, k // 2) for p, k in zip(settings.get("padding", (0, 0)), settings["kernel"])),
    }

    def run(home: str) -> list[Any]:
        return through(lambda x: tg.max_pool2d(x, **settings), [x], home, images_last=kind == "ties")

    got = run(there)
    for expected in (plainly(lambda: run(there)), run("cpu")):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_window_that_is_all_padding_has_no_maximum(there: str) -> None:
    found = []
    for home in ("cpu", there):
        x = tg.ones(1, 1, 2, 5, device=home, requires_grad=True)
        out = F.max_pool2d(x, 2, 1, 1, 3)
        out[np.isfinite(out.numpy())].sum().backward()
        found.append((out.tolist(), x.grad.tolist()))
    assert found[0] == found[1] and -np.inf in np.array(found[0][0])


@pytest.mark.parametrize("settings", SLIDING)
def test_avg_pool_is_the_plain_one(settings: Any, there: str, plainly: Any) -> None:
    x = np.random.default_rng(10).normal(size=(3, 2, 9, 8))
    settings = {"padding": (0, 0), **settings}
    kernel, stride, padding = settings["kernel"], settings.get("stride"), settings["padding"]

    def run(home: str) -> list[Any]:
        return through(lambda x: F.avg_pool2d(x, kernel, stride, padding), [x], home)

    got = run(there)
    for expected in (plainly(lambda: run(there)), run("cpu")):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", SLIDING[:3])
def test_images_in_float16(settings: Any, there: str) -> None:
    """Sums are in float32: the errors are those of rounding inputs and results."""
    rng = np.random.default_rng(11)
    x, w = rng.normal(size=(3, 4, 9, 8)).astype("float16"), rng.normal(size=(6, 4, *settings["kernel"])) / 4
    kernel, others = settings["kernel"], {key: value for key, value in settings.items() if key != "kernel"}
    pooling = {"kernel_size": kernel, "stride": others["stride"]}
    cases: list[Any] = [
        (lambda x, w: tg.conv2d(x, w, **others), [x, w.astype("float16")]),
        (lambda x: F.max_pool2d(x, **pooling), [x]),
        (lambda x: F.avg_pool2d(x, **pooling), [x]),
    ]
    for f, arrays in cases:
        found = []
        for home, dtype in ((there, "float16"), ("cpu", "float64")):
            tensors = [tg.Tensor(a.astype(dtype), device=home, requires_grad=True) for a in arrays]
            out = f(*tensors)
            (out * out).sum().backward()
            assert out.dtype == dtype and all(t.grad.dtype == dtype for t in tensors)
            found.append([out.numpy(), *[t.grad.numpy() for t in tensors]])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3 * abs(b).max())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 2), (1, 1)])
def test_convolution_in_parts_is_the_same(
    kernel: tuple[int, int], groups: int, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(12)
    arrays = [rng.normal(size=size) for size in ((5, 4, 6, 7), (6, 4 // groups, *kernel), (6,))]
    found = []
    for size in (conv_cuda.COLUMNS, 2 * 4 * 8 * 42, 1):  # of all images, of some, and at least of one
        monkeypatch.setattr(conv_cuda, "COLUMNS", size)
        found.append(through(lambda x, w, b: tg.conv2d(x, w, b, groups=groups), arrays, there))
    for other in (found[1], found[2], through(lambda x, w, b: tg.conv2d(x, w, b, groups=groups), arrays, "cpu")):
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * abs(b).max())


# -- bias and activation ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 5, 4), (7, 6), (6,), (2, 3, 6), (0, 6)])
def test_bias_and_activation_together(
    shape: tuple[int, ...], activation: Any, dtype: str, there: str, plainly: Any
) -> None:
    """A layer and its activation in a Sequential: as each by itself on the CPU, and on CUDA without kernels."""
    rng = np.random.default_rng(13)
    x = rng.normal(size=shape).astype(dtype)

    def run(home: str) -> list[Any]:
        tg.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(2, 3, 2) if shape[-1] == 4 else nn.Linear(6, 5), activation()).to(home, dtype)
        t = tg.Tensor(x, device=home, requires_grad=True)
        every = [t, *model.parameters()]
        out = model(t)
        (out * out).sum().backward()
        first = tg.grad((model(t) * out.detach()).sum(), every, create_graph=True)
        second = tg.grad(sum((g * g).sum() for g in first), every, allow_unused=True)
        found = [out, *[p.grad for p in every], *first, *[g for g in second if g is not None]]
        return [a.numpy() for a in found]

    got, tolerance = run(there), 1e-10 if dtype == "float64" else 2e-4
    for expected in (plainly(lambda: run(there)), run("cpu")):
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_biased_of_large_and_of_lost_numbers(activation: str, there: str) -> None:
    x = np.array([[0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 1000.0, -1000.0]], np.float32).T + np.zeros((1, 3), "f")
    found = []
    for home, f in ((there, biased), ("cpu", plain_biased)):
        t, bias = (tg.Tensor(a, device=home, requires_grad=True) for a in (x, np.array([0.0, 1.0, -1.0], "f")))
        out = f(t, bias, activation, 1)
        out.sum().backward()
        found.append([out.numpy(), t.grad.numpy(), bias.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@needs_compiler
def test_bias_and_activation_are_one_launch_each_way(cuda: Any) -> None:
    def launches(layer: nn.Module, x: tg.Tensor) -> list[int]:
        model, out = nn.Sequential(layer, nn.ReLU()).to("cuda:1"), []
        return [launched(lambda: out.append(model(x))), launched(lambda: out[0].backward(tg.ones_like(out[0])))]

    for x, make in [(tg.randn(5, 4), partial(nn.Linear, 4, 3)), (tg.randn(5, 2, 3, 3), partial(nn.Conv2d, 2, 3, 1))]:
        x = x.to("cuda:1")
        assert launches(make(), x) == [1, 1]  # not again for the bias
        assert launches(make(bias=False), x) == [0, 1]
        own = make()
        own.forward = lambda x, usual=own.forward: usual(x) * 2.0  # type: ignore[method-assign]
        assert launches(own, x) == [0, 1]
    assert cuda.syncs == 0


@needs_compiler
def test_images_stay_as_they_lie(cuda: Any) -> None:
    """(N, C, H, W) in memory from layer to layer: CuPy's operations give no other order, and no kernel has to copy."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Tanh(),
        nn.AvgPool2d(2), nn.Dropout(), nn.Conv2d(6, 5, 1), nn.Flatten(),
    ).to("cuda")  # fmt: skip
    x = tg.randn(8, 1, 14, 14, device="cuda", requires_grad=True)
    copies = []
    whole = cuda.ascontiguousarray
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(cuda), "ascontiguousarray", lambda _, a: copies.append(a.flags.c_contiguous) or whole(a), raising=False
        )
        for layer in model:
            x = layer(x)
            assert x.data.flags.c_contiguous, layer
        model(tg.randn(8, 1, 14, 14, device="cuda", requires_grad=True)).backward(tg.ones(8, 20, device="cuda"))
    assert len(copies) > 10 and all(copies)


@needs_compiler
def test_images_take_few_launches(cuda: Any) -> None:
    x = tg.randn(2, 3, 8, 8, device="cuda:1", requires_grad=True)
    w = tg.randn(4, 3, 5, 5, device="cuda:1", requires_grad=True)
    out: list[tg.Tensor] = []
    assert launched(lambda: out.append(tg.conv2d(x, w))) == 1
    assert launched(lambda: out[0].sum().backward()) == 2  # the gradient of the image, and of the weight
    assert launched(lambda: out.append(tg.max_pool2d(x))) == 1
    assert launched(lambda: out[1].sum().backward()) == 1
    assert cuda.syncs == 0


# -- dropout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (40, 7), (11,), (0, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_seed_one_mask_on_every_device(
    dtype: str, shape: tuple[int, ...], p: float, there: str, plainly: Any
) -> None:
    def mask(home: str) -> Any:
        tg.manual_seed(7)
        return F.dropout(tg.ones(*shape, dtype=dtype, device=home), p).numpy()

    here = mask("cpu")
    np.testing.assert_array_equal(mask(there), here)
    np.testing.assert_array_equal(plainly(lambda: mask(there)), here)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (40, 7)])
def test_dropout_goes_back_as_it_came(shape: tuple[int, ...], there: str, plainly: Any) -> None:
    """The kernel keeps no mask: it finds the same one again, for gradients of every order."""
    x = np.random.default_rng(15).normal(size=shape)

    def run(home: str) -> list[Any]:
        tg.manual_seed(8)
        t = tg.Tensor(x, device=home, requires_grad=True)
        out = F.dropout(t * t, 0.4)
        (first,) = tg.grad((out * out).sum(), [t], create_graph=True)
        (second,) = tg.grad((first * first).sum(), [t])
        return [a.numpy() for a in (out, first, second)]

    got = run(there)
    assert 0.2 < (got[0] == 0).mean() < 0.6 and ((got[0] == 0) == (got[2] == 0)).all()
    for expected in (plainly(lambda: run(there)), run("cpu")):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)


def test_masks_are_as_random_as_they_should_be() -> None:
    """Of 400 masks of 2,500 elements: the mean, no correlation of neighbours, rows, columns, or masks that follow
    each other, all within 5 standard deviations; and about as many as binomial numbers say, not more alike."""
    p, n = 0.3, 2500
    tg.manual_seed(11)
    kept = np.stack([F.dropout(tg.ones(50, 50), p).numpy() > 0 for _ in range(400)])
    per_mask = kept.mean(axis=(1, 2))
    assert abs(kept.mean() - 0.7) < 5 * (0.21 / kept.size) ** 0.5
    assert 0.8 < per_mask.std() / (0.21 / n) ** 0.5 < 1.2
    assert 0.8 < kept.mean(axis=0).std() / (0.21 / 400) ** 0.5 < 1.2
    z = (kept - 0.7) / 0.21**0.5
    for a, b in [(z[:, :, 1:], z[:, :, :-1]), (z[:, 1:], z[:, :-1]), (z[1:], z[:-1]), (z[:, ::2], z[:, 1::2])]:
        assert abs((a * b).mean()) < 5 / a.size**0.5


# -- a whole step -----------------------------------------------------------------------------------


@needs_compiler
def test_a_step_of_a_network_starts_few_kernels_and_waits_for_none(cuda: Any) -> None:
    tg.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
    model.to("cuda:1")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = tg.randn(5, 3, 4, device="cuda:1"), tg.Tensor([0, 1, 2, 1, 0], device="cuda:1")

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    assert launched(step) == 12  # batch norm 5, dropout 2, relu's slope, cross-entropy 3, the update
    assert cuda.syncs == 0


@needs_compiler
def test_a_step_starts_few_kernels_of_all_kinds(cuda: Any) -> None:
    """CuPy's own are counted, too: with each a student's network waits for Python some microseconds longer."""
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.ReLU(), nn.Linear(16, 10))
    cnn = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(),
        nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip
    x, y = tg.randn(5, 1, 12, 12, device="cuda"), tg.randint(0, 10, 5, device="cuda")
    for model, most in ((mlp, 15), (cnn, 42)):
        optimizer = optim.SGD(model.to("cuda").parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            cuda.launches = 0
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert cuda.launches <= most


# -- the stand-in finds mistakes --------------------------------------------------------------------


@needs_compiler
def test_the_stand_in_refuses_what_a_gpu_would_punish(cuda: Any) -> None:
    source = 'extern "C" __global__ void twice(float *x, long long n) { for (int i = 0; i < n; i++) x[i] *= 2; }'
    module = cuda.RawModule(code=source.replace("float", "T").replace("extern", "typedef float T; extern", 1))
    twice = module.get_function("twice")
    x = cuda.asarray(np.arange(3, dtype=np.float32))
    twice((1,), (1,), (x, np.int64(3)))
    assert x.get().tolist() == [0, 2, 4]
    for wrong, why in [((x,), "arguments"), ((x, 3), "say its type"), ((x, np.int32(3)), "4 bytes"),
                       ((np.float64(1.0), np.int64(3)), "for a pointer"), ((x, x), "an array for"),
                       ((cuda.asarray(np.arange(3)), np.int64(3)), "int64")]:  # fmt: skip
        with pytest.raises(TypeError, match=why):
            twice((1,), (1,), wrong)
    with pytest.raises(ValueError, match="invalid configuration"):
        twice((0,), (1,), (x, np.int64(3)))
    with cuda.cuda.Device(1), pytest.raises(RuntimeError, match="device"):
        twice((1,), (1,), (x, np.int64(3)))
    with pytest.raises(RuntimeError, match="CompileException"):
        cuda.RawModule(code=source + "nonsense").get_function("twice")


@needs_compiler
@pytest.mark.parametrize("gap", ["first", "second", "none"])
def test_the_stand_in_finds_a_missing_syncthreads(gap: str, cuda: Any) -> None:
    source = """typedef float T;
    extern "C" __global__ void backwards(T *x) {
        __shared__ float there[64];
        for (int again = 0; again < 3; again++) {
            there[threadIdx.x] = x[threadIdx.x];
            FIRST;
            x[threadIdx.x] = there[blockDim.x - 1 - threadIdx.x] + 1;
            SECOND;
        }
    }"""
    source = source.replace("FIRST", "" if gap == "first" else "__syncthreads()")
    source = source.replace("SECOND", "" if gap == "second" else "__syncthreads()")
    x = cuda.asarray(np.arange(64, dtype=np.float32))
    cuda.RawModule(code=source).get_function("backwards")((1,), (64,), (x,))
    assert (x.get().tolist() == [66.0 - k for k in range(64)]) == (gap == "none")
