"""Mixed precision: what autocast casts, against float64 and PyTorch; the scale's rules, against PyTorch's GradScaler;
and steps that are left out on the device, as if they had not been. On the CPU, the stand-in, and a GPU if there is."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin_kernels
import test_capture
from standin_kernels import launched, needs_compiler

import tinygrad_m as tg
from tinygrad_m import kernels, nn, optim
from tinygrad_m.amp import GradScaler, autocast
from tinygrad_m.nn import functional as F
from tinygrad_m.optim.clip import clip_grad_norm_

HALF, SINGLE = np.dtype("float16"), np.dtype("float32")
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
}


@pytest.fixture(autouse=True)
def _compiler(request: pytest.FixtureRequest) -> None:
    if standin_kernels.COMPILER is None and {"there", "device", "cuda"} & set(request.fixturenames):
        pytest.skip("g++ runs the kernels without a GPU")


def parameter(values: Any, home: str, dtype: str = "float32") -> tg.Tensor:
    return tg.Tensor(np.asarray(values, dtype), device=home, requires_grad=True)


def backward(scaler: GradScaler, params: list[tg.Tensor], grads: list[Any]) -> None:
    """Give the parameters these gradients, through a scaled loss."""
    for p in params:
        p.grad = None
    loss = sum((p * tg.Tensor(np.asarray(g, p.dtype), device=p.device)).sum() for p, g in zip(params, grads))
    scaler.scale(loss).backward()


# -- autocast ---------------------------------------------------------------------------------------


def test_what_is_cast_and_what_is_not(device: str) -> None:
    x, images = tg.randn(4, 6, device=device), tg.randn(4, 2, 6, 6, device=device)
    linear, conv = nn.Linear(6, 3).to(device), nn.Conv2d(2, 3, 3, padding="same").to(device)
    layers = [nn.ReLU(), nn.Tanh(), nn.GELU(), nn.Dropout(0.5), nn.Identity()]
    labels, target = tg.Tensor([0, 1, 2, 1], device=device), tg.zeros(4, 3, device=device)
    losses = [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits, F.kl_div]
    with autocast():
        y, z = linear(x), conv(images)
        assert y.dtype == z.dtype == HALF
        assert linear(y @ tg.ones(3, 6, dtype="float16", device=device)).dtype == HALF  # takes float16, too
        for layer in layers:
            assert layer(y).dtype == HALF and layer(x).dtype == SINGLE
        for layer in (nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten()):
            assert layer(z).dtype == HALF and layer(images).dtype == SINGLE
        norms = nn.BatchNorm1d(3), nn.LayerNorm(3), nn.LayerNorm(3, elementwise_affine=False), nn.BatchNorm1d(3).eval()
        for norm in [*norms, nn.BatchNorm1d(3, affine=False)]:
            assert norm.to(device)(y).dtype == SINGLE
        assert nn.BatchNorm2d(3).to(device)(z).dtype == SINGLE
        assert nn.Softmax()(y).dtype == F.log_softmax(y).dtype == F.softmax(y).dtype == SINGLE
        for loss in losses:
            assert loss(y, target).dtype == SINGLE
        assert F.cross_entropy(y, labels).dtype == F.cross_entropy(y, labels, label_smoothing=0.1).dtype == SINGLE
        assert F.nll_loss(F.log_softmax(y), labels).dtype == F.multi_margin_loss(y, labels).dtype == SINGLE
        (F.cross_entropy(y, labels) + z.astype("float32").sum()).backward()
    for p in (*linear.parameters(), *conv.parameters()):
        assert p.dtype == p.grad.dtype == SINGLE and p.grad.device == p.device
    assert linear.weight.grad.data.flags.f_contiguous  # as the weight lies: an optimizer would have to copy it
    assert linear(x).dtype == conv(images).dtype == SINGLE
    with pytest.raises(TypeError, match="float32 weights, but its input is float16"):
        linear(x.astype("float16"))


def test_losses_in_autocast_are_those_of_float32(device: str) -> None:
    x = tg.Tensor(np.linspace(-60, 60, 12).reshape(4, 3), dtype="float16", device=device)
    y = tg.Tensor([0, 1, 2, 1], device=device)
    for f in (lambda x: F.cross_entropy(x, y), lambda x: F.mse_loss(x * 10, x * -10), lambda x: F.softmax(x).sum()):
        with autocast():
            got = f(x)
        assert got.dtype == SINGLE
        np.testing.assert_allclose(got.item(), f(x.astype("float64")).item(), rtol=2e-3)  # x * 10 was rounded


def test_float64_is_left_alone_and_so_are_integers(device: str) -> None:
    with autocast():
        x = tg.randn(2, 3, device=device, dtype="float64")
        assert F.linear(x, tg.ones(4, 3, dtype="float64", device=device)).dtype == np.float64
        with pytest.raises(TypeError, match="float32 weights, but its input is float64"):
            nn.Linear(3, 2).to(device)(x)
        assert nn.Embedding(5, 2).to(device)(tg.Tensor([1, 2], device=device)).dtype == SINGLE


def test_it_is_on_where_it_stands_and_in_its_thread_only() -> None:
    x, w = tg.ones(2, 3), tg.ones(4, 3)
    half = autocast()
    with half, half:
        with autocast(enabled=False):
            assert F.linear(x, w).dtype == SINGLE
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(F.linear(x, w).dtype))
        thread.start()
        thread.join()
        assert found == [SINGLE] and F.linear(x, w).dtype == HALF
    assert F.linear(x, w).dtype == SINGLE

    @autocast()
    def halved(depth: int) -> Any:
        return F.linear(x, w).dtype if depth == 0 else halved(depth - 1)

    assert halved(2) == HALF and F.linear(x, w).dtype == SINGLE
    with pytest.raises(ZeroDivisionError), autocast():
        raise ZeroDivisionError
    assert F.linear(x, w).dtype == SINGLE
    for wrong in ("cuda", halved):
        with pytest.raises(TypeError, match=r"enabled=True or False.*@autocast\(\)"):
            autocast(wrong)  # type: ignore[arg-type]


def layer_and_gradients(home: str, name: str, x: np.ndarray, w: np.ndarray, b: np.ndarray, g: np.ndarray) -> list[Any]:
    """A layer's output in autocast, and the gradients of sum(g * output)."""
    t, weight, bias = (parameter(a, home) for a in (x, w, b))
    with autocast():
        out = getattr(F, name)(t, weight, bias)
    (out.astype("float32") * tg.Tensor(g.astype("float32"), device=home)).sum().backward()
    return [out.numpy(), *[p.grad.numpy() for p in (t, weight, bias)]]


def rounded(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random numbers that float16 can hold."""
    return rng.normal(size=shape).astype(HALF).astype(np.float64)


def test_linear_is_float64s_result_rounded(device: str) -> None:
    rng = np.random.default_rng(0)
    x, w, b, g = rounded(rng, 9, 33), rounded(rng, 5, 33), rounded(rng, 5), rounded(rng, 9, 5)
    got = layer_and_gradients(device, "linear", x, w, b, g)
    exact = [x @ w.T + b, g @ w, g.T @ x, g.sum(axis=0)]
    sizes = [abs(x) @ abs(w.T) + abs(b), abs(g) @ abs(w), abs(g.T) @ abs(x), abs(g).sum(axis=0)]
    for a, e, size in zip(got, exact, sizes, strict=True):  # float16 has 11 bits: a few roundings of what was added
        assert (abs(a - e) <= 4 * 2.0**-11 * size + 1e-6).all()


@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_layers_agree_with_pytorchs_autocast(name: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    shapes = {"linear": [(6, 10), (4, 10), (4,), (6, 4)], "conv2d": [(3, 2, 6, 5), (4, 2, 3, 3), (4,), (3, 4, 4, 3)]}
    x, w, b, g = (rng.normal(size=shape) for shape in shapes[name])
    got = layer_and_gradients(device, name, x, w, b, g)
    theirs = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in (x, w, b)]
    with torch.autocast("cpu", dtype=torch.float16):
        out = getattr(torch.nn.functional, name)(*theirs)
    assert out.dtype == torch.float16 and got[0].dtype == HALF
    (out.float() * torch.tensor(g, dtype=torch.float32)).sum().backward()
    for a, e in zip(got, [out, *[t.grad for t in theirs]], strict=True):
        np.testing.assert_allclose(a, e.detach().float().numpy(), rtol=2e-2, atol=2e-2)


# -- the scale --------------------------------------------------------------------------------------

SETTINGS = [
    {"init_scale": 8.0, "growth_interval": 2},
    {"init_scale": 1024.0, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 3},
    {"init_scale": 2.0**127, "growth_interval": 1},  # float32 ends there
    {"init_scale": 2.0**-125, "growth_interval": 2},
]
BAD = {2: np.inf, 3: np.nan, 8: -np.inf, 13: np.nan}  # steps with such a gradient


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_scale_goes_as_pytorchs(
    settings: dict[str, Any], plain: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(kernels, "ENABLED", not plain)
    theirs = torch.amp.GradScaler("cpu", **settings)
    ours = GradScaler(**settings)
    weight, p = torch.zeros(3, requires_grad=True), parameter(np.zeros(3), device)
    their_sgd, our_sgd = torch.optim.SGD([weight], lr=1.0), optim.SGD([p], lr=1.0)
    for k in range(16):
        theirs.scale(torch.tensor(1.0))
        ours.scale(tg.ones((), device=device))
        g = np.array([1e-3, BAD.get(k, 2.0), 0.0], np.float32)
        weight.grad, p.grad = torch.tensor(g), tg.Tensor(g, device=device)
        theirs.unscale_(their_sgd)
        ours.unscale_(our_sgd)
        np.testing.assert_allclose(p.grad.numpy(), weight.grad.numpy(), rtol=1e-6)
        theirs.update()
        ours.update()
        found = ours.state_dict()
        np.testing.assert_allclose(ours.get_scale(), theirs.get_scale(), rtol=1e-6)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(found.pop(key), value, rtol=1e-6)
        assert not found
    again = GradScaler()
    again.load_state_dict(theirs.state_dict())
    np.testing.assert_allclose(again.get_scale(), theirs.get_scale(), rtol=1e-6)


def test_small_gradients_survive_in_float16(device: str) -> None:
    """d loss / d output = 1e-9, which float16 can't hold; 2^16 times that it can."""
    x = tg.full((2, 3), 2.0, device=device)
    for scaler, expected in [(GradScaler(enabled=False), 0.0), (GradScaler(), 2 * 2 * 1e-9)]:
        w = parameter(np.ones((1, 3)), device)
        optimizer = optim.SGD([w], lr=1.0)
        with autocast():
            loss = F.linear(x, w).astype("float32").sum() * 1e-9
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        np.testing.assert_allclose(w.grad.numpy(), np.full((1, 3), expected), rtol=2e-3)


# -- steps that are left out ------------------------------------------------------------------------


def trained(
    make: Callable[..., optim.Optimizer], home: str, bad: dict[int, float], dtype: str = "float32"
) -> list[Any]:
    """Parameters and the optimizer's state after 9 steps, of which those in `bad` have such a gradient; {}: after the
    others alone. One parameter has no gradient now and then."""
    rng, scaler = np.random.default_rng(2), GradScaler(init_scale=64.0)
    params = [parameter(rng.normal(size=shape), home, dtype) for shape in [(4, 3), (), (300, 7), (5,)]]
    params.append(tg.Tensor(rng.normal(size=(6, 4)).astype(dtype), device=home).T.detach().requires_grad_())
    optimizer = make(params)
    for step in range(9):
        some = [p for k, p in enumerate(params) if k != 3 or step % 3]
        grads = [rng.normal(size=p.shape) for p in some]
        if step in (0, 4, 7):
            if step not in bad:
                continue
            grads[2].flat[-1] = bad[step]
        for p in params:
            p.grad = None
        backward(scaler, some, grads)
        scaler.step(optimizer)
        scaler.update()
    state = [v for _, one in sorted(optimizer.state_dict()["state"].items()) for _, v in sorted(one.items())]
    assert scaler.get_scale() == 64.0 * 0.5 ** len(bad)
    return [p.numpy() for p in params] + state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_left_out_leaves_nothing(name: str, dtype: str, device: str) -> None:
    make = OPTIMIZERS[name]
    got = trained(make, device, {0: np.inf, 4: np.nan, 7: -np.inf}, dtype)
    for expected in (trained(make, device, {}, dtype), trained(make, "cpu", {}, dtype)):
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-6)


@pytest.mark.parametrize("make", [lambda p: optim.Lion(p, lr=0.1), lambda p: optim.Adagrad(p, lr_decay=0.1)])
def test_on_the_cpu_every_optimizer_can_leave_a_step_out(make: Any) -> None:
    got = trained(make, "cpu", {0: np.inf, 4: np.nan, 7: -np.inf})
    for a, b in zip(got, trained(make, "cpu", {}), strict=True):
        np.testing.assert_array_equal(a, b)


def test_on_cuda_one_without_a_kernel_is_refused(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = tg.Tensor(np.ones((4, 6), np.float32), device=there)[:, ::2].detach().requires_grad_()
    whole = parameter(np.ones(3), there)
    for p, make in [(whole, optim.Lion), (gaps, optim.SGD)]:
        scaler, optimizer = GradScaler(), make([p], lr=0.1)
        backward(scaler, [p], [np.ones(p.shape)])
        with pytest.raises(RuntimeError, match="no kernel for float32 .* use SGD, RMSprop, Adam or AdamW"):
            scaler.step(optimizer)
        optimizer.step()  # without a scaler as before
        np.testing.assert_allclose(p.numpy(), 0.9, rtol=1e-6)


@needs_compiler
def test_gradients_with_gaps_are_unscaled_plainly(cuda: Any) -> None:
    p, q = parameter(np.ones((4, 3)), "cuda:1"), parameter(np.ones(2), "cuda:1", "float64")
    for bad in (1.0, np.nan):
        scaler, optimizer = GradScaler(4.0), optim.SGD([p, q], lr=1.0)
        scaler.scale(tg.ones((), device="cuda:1"))
        values = np.arange(24, dtype=np.float32).reshape(4, 6)
        values[-1, -2] *= bad
        p.grad, q.grad = tg.Tensor(values, device="cuda:1")[:, ::2].detach(), tg.ones_like(q)
        assert launched(lambda s=scaler, o=optimizer: s.unscale_(o)) == 1  # q's
        assert launched(scaler.update) == 1
        assert cuda.syncs == 0
        np.testing.assert_array_equal(p.grad.numpy(), values[:, ::2] / 4)
        np.testing.assert_array_equal(q.grad.numpy(), [0.25, 0.25])
        assert scaler.get_scale() == (4.0 if bad == 1.0 else 2.0)
        cuda.syncs = 0


@needs_compiler
def test_three_launches_and_no_wait(cuda: Any) -> None:
    params = [parameter(np.ones(shape), "cuda:1") for shape in [(3, 5), (7,), (), (300, 11), (0, 4)]]
    scaler, optimizer = GradScaler(growth_interval=2), optim.Adam(params, lr=0.1)

    def step() -> None:
        scaler.step(optimizer)
        scaler.update()

    for k in range(4):
        backward(scaler, params, [np.full(p.shape, np.inf if k == 1 else 1.0) for p in params])
        assert launched(step) == 3  # unscale, the update, the scale
    assert cuda.syncs == 0
    assert scaler.get_scale() == 2.0**16  # halved once, doubled once
    many = [parameter(np.ones(2), "cuda") for _ in range(kernels.MANY + 3)]
    scaler, optimizer = GradScaler(), optim.SGD(many, lr=1.0)
    backward(scaler, many, [np.ones(2)] * (kernels.MANY + 2) + [[1.0, np.inf]])
    assert launched(step) == 5
    assert all((p.numpy() == 1.0).all() for p in many)  # also those of the first launch


def test_two_optimizers_each_by_its_own_gradients(device: str) -> None:
    p, q, scaler = parameter([1.0], device), parameter([1.0], device), GradScaler(4.0)
    first, second = optim.SGD([p], lr=0.5), optim.SGD([q], lr=0.5)
    backward(scaler, [p, q], [[np.inf], [1.0]])
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert p.tolist() == [1.0] and q.tolist() == [0.5] and scaler.get_scale() == 2.0


def test_a_loss_keeps_the_scale_that_it_had(device: str) -> None:
    p, q, scaler = parameter([1.0], device), parameter([1.0], device), GradScaler(4.0)
    early, optimizer = scaler.scale((p * 3.0).sum()), optim.SGD([q], lr=1.0)
    backward(scaler, [q], [[np.inf]])
    scaler.step(optimizer)
    scaler.update()
    early.backward()
    assert scaler.get_scale() == 2.0 and p.grad.tolist() == [12.0]


def test_clipping_between(device: str) -> None:
    p, scaler = parameter([0.0, 0.0], device), GradScaler(2.0**10)
    optimizer = optim.SGD([p], lr=1.0)
    backward(scaler, [p], [[3.0, 4.0]])
    scaler.unscale_(optimizer)
    np.testing.assert_allclose(clip_grad_norm_([p], 1.0).item(), 5.0, rtol=1e-6)
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_allclose(p.numpy(), [-0.6, -0.8], rtol=1e-5)


def test_a_model_goes_on_elsewhere_with_the_right_count(there: str) -> None:
    results = []
    for bad in ({}, {0, 3}):
        model = nn.Linear(3, 2).to(there)
        nn.init.ones_(model.weight)
        optimizer, scaler = optim.Adam(model.parameters(), lr=0.1), GradScaler()
        for k in range(5):
            if k in (0, 3) and k not in bad:
                continue
            backward(scaler, [model.weight], [np.full((2, 3), np.inf if k in bad else 0.5 - 0.2 * k)])
            scaler.step(optimizer)
            scaler.update()
        state = optimizer.state_dict()
        assert state["state"][0]["step"] == 3 and "skipped" not in state["state"][0]
        model.to("cpu")
        model.weight.grad = tg.ones(2, 3)
        optimizer.step()
        assert optimizer.state_dict()["state"][0]["step"] == 4
        results.append(model.weight.numpy())
        fresh = optim.Adam(model.parameters(), lr=0.1)
        fresh.load_state_dict(state)
        assert fresh.state_dict()["state"][0]["step"] == 3
        model.to(there)  # and back
        for value in (1.0, np.inf, 2.0) if bad else (1.0, 2.0):
            backward(scaler, [model.weight], [np.full((2, 3), value)])
            scaler.step(optimizer)
            scaler.update()
        results[-1] = np.stack([results[-1], model.weight.numpy()])
        assert optimizer.state_dict()["state"][0]["step"] == 6
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_scaler_that_comes_later_and_goes_again(name: str, device: str) -> None:
    results = []
    for home in (device, "cpu"):
        p, scaler = parameter(np.linspace(-1, 1, 6), home), GradScaler()
        optimizer = OPTIMIZERS[name]([p])
        for k, value in enumerate([1.0, 0.5, -1.0, np.nan, 2.0, 0.1, 1.5]):
            if 2 <= k < 5:
                backward(scaler, [p], [np.linspace(0, value, 6)])
                scaler.step(optimizer)
                scaler.update()
            else:
                p.grad = tg.Tensor(np.linspace(0, value, 6).astype(SINGLE), device=home)
                optimizer.step()
        results.append([p.numpy(), *[v for _, v in sorted(optimizer.state_dict()["state"][0].items())]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# -- captured ---------------------------------------------------------------------------------------

MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": test_capture.MODELS["mlp"],
    "cnn": lambda: test_capture.cnn(bias=True),
}


def scaled_step(
    model: nn.Module, optimizer: optim.Optimizer, scaler: GradScaler, x: tg.Tensor, y: tg.Tensor
) -> tg.Tensor:
    """A training step as users write it; the loss."""
    optimizer.zero_grad()
    with autocast():
        loss = F.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss


def run(model_name: str, name: str, home: str, captured: bool) -> tuple[list[float], list[Any], list[Any]]:
    """Scales, steps made and parameters; the first scales are too large, and there is one bad batch."""
    tg.manual_seed(5)
    model = MODELS[model_name]().to(home)
    optimizer, scaler = OPTIMIZERS[name](model.parameters()), GradScaler(2.0**22, growth_interval=4)
    rng = np.random.default_rng(6)
    images, labels = rng.normal(size=(40, 1, 6, 6)).astype(SINGLE), rng.integers(0, 3, 40)

    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return scaled_step(model, optimizer, scaler, x, y)

    do = tg.capture(step, warmup=2) if captured else step
    scales, losses = [], []
    for k in range(20):
        rows = rng.integers(0, 40, 8)
        x = tg.Tensor(images[rows] * (1 if k != 15 else np.nan), device=home)
        losses.append(do(x, tg.Tensor(labels[rows], device=home)))
        scales.append(scaler.get_scale())
        if k == 15:
            for m in model.modules():  # nan in them would stay
                if isinstance(m, nn.BatchNorm2d):
                    m.reset_parameters()
    steps = [one["step"] for one in optimizer.state_dict()["state"].values()]
    return scales, steps, [t.numpy() for t in (*losses, *model.parameters())]


@pytest.mark.parametrize("name", ["nesterov", "adam"])
@pytest.mark.parametrize("model", MODELS)
def test_replays_do_what_the_step_does(model: str, name: str, there: str) -> None:
    scales, steps, arrays = run(model, name, there, captured=True)
    eager_scales, eager_steps, expected = run(model, name, there, captured=False)
    assert scales == eager_scales and steps == eager_steps
    halvings = sum(b < a for a, b in zip([2.0**22, *scales], scales))
    assert halvings >= 3 and max(b / a for a, b in zip(scales, scales[1:])) == 2.0  # it went down, and up
    assert steps == [20 - halvings] * len(steps) and scales[15] == scales[14] / 2
    for a, b in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-2, atol=1e-2)  # sums of float16 in another order


def test_products_of_float16_are_captured(there: str) -> None:
    rng = np.random.default_rng(0)
    shapes = [((3, 4), (4, 5)), ((70, 133), (133, 65)), ((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)),
              ((2, 1, 3, 4), (5, 4, 2)), ((3, 0), (0, 2))]  # fmt: skip
    for a, b in shapes:
        x, y = rng.normal(size=a).astype(HALF), rng.normal(size=b).astype(HALF)
        step = tg.capture(lambda s, t: (s @ t, (t.T @ s.T).T if s.ndim == t.ndim == 2 else s @ t), warmup=1)
        exact, size = x.astype(float) @ y.astype(float), abs(x).astype(float) @ abs(y).astype(float)
        for _ in range(3):
            for got in step(tg.Tensor(x, device=there), tg.Tensor(y, device=there)):
                assert got.dtype == HALF  # one rounding to float16, and float32's before
                assert (abs(got.numpy() - exact) <= abs(exact) * 2.0**-11 + 2e-5 * size + 1e-7).all()


def test_sums_of_float16_do_not_overflow_on_their_way(there: str) -> None:
    x = tg.Tensor(np.array([[60000.0, 60000.0, -60000.0, -59008.0]], HALF), device=there)
    ones = tg.ones(4, 1, dtype="float16", device=there)
    step = tg.capture(lambda s: s @ ones, warmup=1)
    assert [step(x).item() for _ in range(3)] == [992.0] * 3


def test_what_a_capture_can_not_do(there: str) -> None:
    p, x = parameter(np.ones(3), there), tg.ones(3, device=there)
    scaler, optimizer = GradScaler(), optim.SGD([p], lr=0.1)
    p.grad = tg.ones_like(p)
    optimizer.step()
    runs = []

    def step(x: tg.Tensor) -> None:
        runs.append(0)
        optimizer.zero_grad()
        scaler.scale((p * x).sum()).backward()
        if len(runs) > 1:
            scaler.step(optimizer)

    late = tg.capture(step, warmup=1)
    late(x)
    with pytest.raises(tg.CaptureError, match="first step makes the state"):
        late(x)
    waits = tg.capture(lambda x: x * scaler.get_scale(), warmup=1)
    waits(x)
    with pytest.raises(tg.CaptureError, match="wait for the GPU"):
        waits(x)


@pytest.mark.parametrize("architecture", standin_kernels.ARCHITECTURES)
def test_kernels_compile_for_float16(architecture: str, tmp_path: Path) -> None:
    """With CuPy's own compiler, NVRTC, or with nvcc: neither needs a GPU."""
    for file in kernels.files():
        standin_kernels.check_compiles(file, architecture, kernels.TYPES["e"], tmp_path)


# -- a network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_small_network_learns_while_the_scale_settles(name: str, device: str) -> None:
    """Which of three bars is in the picture: from too large a scale, so that the first steps are left out."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    images = 0.3 * rng.normal(size=(60, 1, 6, 6)).astype(SINGLE)
    images[np.arange(60), 0, 2 * labels] += 1.0
    model = MODELS[name]().to(device)
    optimizer, scaler = optim.SGD(model.parameters(), lr=0.1, momentum=0.9), GradScaler(2.0**24, growth_interval=1000)
    x, y = tg.Tensor(images, device=device), tg.Tensor(labels, device=device)
    scales, losses, before = [scaler.get_scale()], [], [p.numpy() for p in model.parameters()]
    for _ in range(60):
        losses.append(scaled_step(model, optimizer, scaler, x, y).item())
        scales.append(scaler.get_scale())
        if len(scales) == 2:
            assert scales[1] == scales[0] / 2  # left out
            for p, b in zip(model.parameters(), before, strict=True):
                np.testing.assert_array_equal(p.numpy(), b)
    model.eval()
    with tg.no_grad(), autocast():
        right = (model(x).argmax(axis=1) == y).sum().item()
    assert losses[-1] < 0.2 * losses[0] and right >= 57
    assert scales[-1] < scales[0] and scales[-1] == scales[-20]  # it has settled
    assert all(p.dtype == SINGLE for p in model.parameters())


def test_without_it_nothing_is_different(device: str) -> None:
    results = []
    for scaler in (GradScaler(enabled=False), None):
        p = parameter([1.0, 2.0], device)
        optimizer = optim.SGD([p], lr=0.5, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            loss = (p * p).sum()
            (loss if scaler is None else scaler.scale(loss)).backward()
            if scaler is None:
                optimizer.step()
            else:
                scaler.unscale_(optimizer)
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
                assert scaler.get_scale() == 1.0 and scaler.state_dict() == {}
                scaler.load_state_dict({})
        results.append(p.numpy())
    np.testing.assert_array_equal(*results)


# -- states and mistakes ----------------------------------------------------------------------------


def test_a_state_is_taken_over(device: str) -> None:
    p, scaler = parameter([1.0], device), GradScaler(8.0, growth_interval=3)
    optimizer = optim.SGD([p], lr=0.1)

    def step(scaler: GradScaler) -> float:
        backward(scaler, [p], [[1.0]])
        scaler.step(optimizer)
        scaler.update()
        return scaler.get_scale()

    assert [step(scaler), step(scaler)] == [8.0, 8.0]
    fresh = GradScaler()
    fresh.load_state_dict(scaler.state_dict())
    assert step(fresh) == 16.0  # the third
    assert fresh.state_dict() == {"scale": 16.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3,
                                  "_growth_tracker": 0}  # fmt: skip
    fresh.load_state_dict(scaler.state_dict())  # once it has a device, too
    assert fresh.get_scale() == 8.0 and step(fresh) == 16.0
    with pytest.raises(ValueError, match=r"no 'scale' in the state's \[\]: of enabled=False"):
        fresh.load_state_dict({})
    with pytest.raises(ValueError, match="growth_factor must be a number between 1"):
        fresh.load_state_dict({**scaler.state_dict(), "growth_factor": 0.5})
    assert fresh.get_scale() == 16.0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("init_scale", [0, -1.0, np.inf, np.nan, 1e39, "cuda", True, None]),
        ("growth_factor", [1.0, 0.5, np.inf, "2"]),
        ("backoff_factor", [0.0, 1.0, 2.0, None]),
        ("growth_interval", [0, -3, 1.5, 2**24, True]),
    ],
)
def test_settings_out_of_range(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=f"GradScaler: {name} must be a .*number between .* not "):
            GradScaler(**{name: value})
    GradScaler(np.float32(2.0), growth_interval=np.int64(3))  # type: ignore[arg-type]


def test_the_order_of_calls(device: str) -> None:
    p, scaler = parameter([1.0], device), GradScaler()
    optimizer = optim.SGD([p], lr=0.1)
    p.grad = tg.ones_like(p)
    for call in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match=r"SGD's gradients have no scale: first scale\(loss\).backward\(\)"):
            call(optimizer)
    with pytest.raises(RuntimeError, match=r"no step was made since the last update\(\)"):
        scaler.update()
    backward(scaler, [p], [[1.0]])
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="gradients were unscaled already"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for call in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match="gradients were used for a step"):
            call(optimizer)
    np.testing.assert_allclose(p.numpy(), [0.9], rtol=1e-6)  # one step
    scaler.update()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="no parameter of SGD has a gradient"):
        scaler.step(optimizer)


def test_losses_and_gradients_that_do_not_fit(device: str) -> None:
    scaler = GradScaler()
    with pytest.raises(TypeError, match=r"takes a Tensor, not \[1.0\]"):
        scaler.scale([1.0])  # type: ignore[arg-type]
    x = tg.ones(2, 2, dtype="float16", device=device)
    with pytest.raises(TypeError, match=r"the loss is float16.*x.astype\(\"float32\"\)"):
        scaler.scale(x.mean())
    model = nn.Linear(2, 2).to(device, "float16")
    with autocast():
        loss = F.mse_loss(model(x), x)
    scaler.scale(loss).backward()
    with pytest.raises(TypeError, match=r"SGD's parameter 0, of shape \(2, 2\), is float16.*model.to\(\"float32\"\)"):
        scaler.step(optim.SGD(model.parameters(), lr=0.1))


def test_devices_that_do_not_fit(there: str) -> None:
    scaler, p = GradScaler(), parameter([1.0], "cpu")
    scaler.scale(tg.ones((), device=there))
    with pytest.raises(tg.DeviceError, match="the loss is on cpu, but the scale on cuda"):
        scaler.scale(tg.ones((), device="cpu"))
    p.grad = tg.ones_like(p)
    with pytest.raises(tg.DeviceError, match="the gradient of SGD's parameter 0, .* is on cpu, but the scale on cuda"):
        scaler.step(optim.SGD([p], lr=0.1))


def test_it_is_imported_when_it_is_used() -> None:
    import sys

    code = "import sys, tinygrad_m as tg; assert 'tinygrad_m.amp' not in sys.modules; tg.amp.GradScaler()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "amp" in dir(tg)
