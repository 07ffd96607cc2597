"""Optimizers: 30 steps of every one, in every setting that matters, equal PyTorch's; exact values from the theory;
what must not happen (float64, aliasing, waiting for the device); and every error. Schedules: test_lr_scheduler.py."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m import backend, optim

Setting = tuple[str, dict[str, Any]]
untyped: Any = optim  # for calls that a type checker would refuse, too

# -- a small network, in both libraries --------------------------------------------------------------

SHAPES = {"w1": (3, 4), "b1": (4,), "w2": (4, 2), "scale": (), "unused": (2, 2)}


def start() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {name: np.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}


def batch(k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(100 + k)
    return rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def loss_of(p: Any, x: Any, y: Any) -> Any:
    """The same text for Tensors of both libraries; "unused" gets no gradient."""
    hidden = (x @ p["w1"] + p["b1"]).tanh()
    error = hidden @ p["w2"] * p["scale"] - y
    return (error * error).mean()


def groups_of(p: Any, own: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"params": [p["w1"], p["b1"]]}, {"params": [p["unused"], p["w2"], p["scale"]], **own}]


def ours(dtype: str = "float64", device: str = "cpu") -> dict[str, tg.Tensor]:
    return {k: tg.Tensor(v, dtype=dtype, device=device, requires_grad=True) for k, v in start().items()}


def train(opt: optim.Optimizer, p: dict[str, tg.Tensor], steps: Iterable[int]) -> None:
    for k in steps:
        x, y = (tg.Tensor(a, dtype=p["w1"].dtype, device=p["w1"].device) for a in batch(k))
        opt.zero_grad()
        loss_of(p, x, y).backward()
        opt.step()


def make_ours(setting: Setting, p: Any, own: dict[str, Any] | None = None) -> optim.Optimizer:
    name, settings = setting
    if name == "Muon":
        return optim.Muon([p["w1"], p["w2"]], **settings)
    kind: type[optim.Optimizer] = getattr(optim, name)
    return kind(groups_of(p, own or {}), **settings)


def torch_run(torch: Any, setting: Setting, own: dict[str, Any], steps: int = 30) -> list[dict[str, np.ndarray]]:
    name, settings = setting
    torch.set_num_threads(1)
    p = {k: torch.tensor(v, requires_grad=True) for k, v in start().items()}
    groups = [p["w1"], p["w2"]] if name == "Muon" else groups_of(p, own)
    opt = getattr(torch.optim, name)(groups, **settings)
    path = []
    for k in range(steps):
        opt.zero_grad()
        loss_of(p, *(torch.tensor(a) for a in batch(k))).backward()
        opt.step()
        path.append({n: t.detach().numpy().copy() for n, t in p.items()})
    return path


def grid(name: str, **choices: tuple[Any, ...]) -> list[Setting]:
    return [(name, dict(zip(choices, values, strict=True))) for values in product(*choices.values())]


SETTINGS: list[Setting] = [
    ("SGD", {}),
    *grid("SGD", lr=(0.1,), momentum=(0.0, 0.9), weight_decay=(0.0, 0.1)),
    *grid("SGD", lr=(0.1,), momentum=(0.5, 0.9), dampening=(0.1, 0.9), weight_decay=(0.0, 0.1)),
    *grid("SGD", lr=(0.1,), momentum=(0.5, 0.9), nesterov=(True,), weight_decay=(0.0, 0.1)),
    *grid("SGD", lr=(0.001,), momentum=(0.0, 0.9), weight_decay=(0.0, 0.1), maximize=(True,)),
    ("RMSprop", {}),
    *grid("RMSprop", alpha=(0.9, 0.99), momentum=(0.0, 0.9), centered=(False, True), weight_decay=(0.0, 0.1)),
    *grid("RMSprop", momentum=(0.0, 0.5), eps=(1e-3,), centered=(True,), maximize=(True,)),
    ("Adagrad", {}),
    *grid("Adagrad", lr=(0.1,), lr_decay=(0.0, 0.1), initial_accumulator_value=(0.0, 0.5), weight_decay=(0.0, 0.1)),
    ("Adagrad", {"eps": 0.1, "maximize": True}),
    ("Adam", {}),
    *grid("Adam", lr=(0.03,), betas=((0.9, 0.999), (0.5, 0.6)), amsgrad=(False, True), weight_decay=(0.0, 0.1)),
    ("Adam", {"eps": 0.1, "maximize": True}),
    ("AdamW", {}),
    *grid("AdamW", lr=(0.03,), betas=((0.9, 0.999), (0.0, 0.6)), amsgrad=(False, True), weight_decay=(0.0, 0.1)),
    ("AdamW", {"maximize": True}),
]  # fmt: skip
EACH: list[Setting] = [  # every optimizer, with everything switched on: for what does not depend on the numbers
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True, "weight_decay": 0.01}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.01}),
    ("Lion", {"lr": 0.01, "weight_decay": 0.1}),
    ("Muon", {"lr": 0.01, "adjust_lr_fn": "match_rms_adamw"}),
]


def ident(value: Any) -> str | None:
    return f"{value[0]}-" + ",".join(f"{k}={v}" for k, v in value[1].items()) if isinstance(value, tuple) else None


# -- equal to PyTorch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS, ids=ident)
def test_30_steps_equal_pytorch(setting: Setting) -> None:
    torch = pytest.importorskip("torch")
    own = {"lr": 0.002 if setting[1].get("maximize") else 0.02}
    expected = torch_run(torch, setting, own)
    p = ours()
    opt = make_ours(setting, p, own)
    for k in range(30):
        train(opt, p, [k])
        for name, t in p.items():
            np.testing.assert_allclose(t.numpy(), expected[k][name], rtol=0, atol=1e-10, err_msg=f"{name}, step {k}")
    moved = [name for name, t in p.items() if not np.array_equal(t.numpy(), start()[name])]
    assert moved == ["w1", "b1", "w2", "scale"]


MUONS = [
    ("Muon", {}),
    *grid("Muon", lr=(0.02,), nesterov=(False, True), adjust_lr_fn=(None, "original", "match_rms_adamw")),
    ("Muon", {"weight_decay": 0.0, "momentum": 0.5, "ns_steps": 2, "ns_coefficients": (1.5, -0.5, 0.0)}),
]


@pytest.mark.parametrize("setting", MUONS, ids=ident)
def test_muon_equals_pytorch(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda t: t.clone())  # PyTorch's own text, but in float64
    expected = torch_run(torch, setting, {})
    p = ours()
    opt = make_ours(setting, p)
    for k in range(30):
        train(opt, p, [k])
        for name, t in p.items():
            np.testing.assert_allclose(t.numpy(), expected[k][name], rtol=0, atol=1e-10, err_msg=f"{name}, step {k}")


def test_a_setting_changed_between_steps_equals_pytorch() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    changes: dict[int, dict[str, float]]
    changes = {5: {"lr": 0.02}, 9: {"momentum": 0.5, "weight_decay": 0.1}, 15: {"momentum": 0.0}, 20: {"momentum": 0.9}}
    p, q = ours(), {k: torch.tensor(v, requires_grad=True) for k, v in start().items()}
    opt = optim.SGD(groups_of(p, {}), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(groups_of(q, {}), lr=0.1, momentum=0.9)
    for k in range(30):
        for group, theirs in zip(opt.param_groups, other.param_groups, strict=True):
            group.update(changes.get(k, {}))
            theirs.update(changes.get(k, {}))
        train(opt, p, [k])
        other.zero_grad()
        loss_of(q, *(torch.tensor(a) for a in batch(k))).backward()
        other.step()
    for name in p:
        np.testing.assert_allclose(p[name].numpy(), q[name].detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "Muon"])
def test_arguments_and_defaults_are_pytorchs(name: str) -> None:
    import inspect

    torch = pytest.importorskip("torch")
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    mine = inspect.signature(getattr(optim, name)).parameters
    speed = {"foreach", "fused", "capturable", "differentiable", "maximize"}  # those take no part in the formulas
    speed |= {"decoupled_weight_decay"}  # Adam's, to become AdamW
    assert [k for k in mine if k not in speed] == [k for k in theirs if k not in speed]
    for k, parameter in mine.items():
        assert parameter.default == theirs[k].default, k


# -- exact values from elsewhere -----------------------------------------------------------------------

# torch.optim 2.13 in float64 on f = (w1^2 + 10 w2^2) / 2 from (1, 1)
REFERENCE: list[tuple[Setting, dict[int, tuple[float, ...]]]] = [
    (("SGD", {"lr": 0.05}),
     {1: (0.95, 0.5), 2: (0.9025, 0.25), 3: (0.857375, 0.125), 5: (0.7737809375, 0.03125)}),
    (("SGD", {"lr": 0.05, "momentum": 0.9}),
     {1: (0.95, 0.5), 2: (0.8575, -0.2), 3: (0.731375, -0.73), 5: (0.4171559375, -0.5218)}),
    (("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.1}),
     {1: (0.95, 0.5), 2: (0.86225, -0.175), 3: (0.74447375, -0.70375), 5: (0.452200035594, -0.617884375)}),
    (("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
     {1: (0.905, 0.05), 2: (0.778525, -0.4025), 3: (0.631462625, -0.404875), 5: (0.315942305066, -0.0111371875)}),
    (("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
     {1: (0.945, 0.495), 2: (0.843525, -0.209475), 3: (0.705803625, -0.737717625),
      5: (0.366676659591, -0.508675216191)}),
    (("RMSprop", {"lr": 0.01, "alpha": 0.9}),
     {1: (0.968377224398, 0.968377223498), 2: (0.945788026242,), 3: (0.927053099659,), 5: (0.895506712205,)}),
    (("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.9}),
     {1: (0.968377224398,), 2: (0.917327528204,), 3: (0.853019602412,), 5: (0.699728612965,)}),
    (("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.9, "centered": True}),
     {1: (0.966666667778,), 2: (0.911590145289,), 3: (0.840596472836,), 5: (0.665562796693,)}),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "values"), REFERENCE, ids=ident)
def test_reference_values(setting: Setting, values: dict[int, tuple[float, ...]], device: str) -> None:
    w = tg.Tensor([1.0, 1.0], dtype="float64", device=device, requires_grad=True)
    curvature = tg.Tensor([1.0, 10.0], dtype="float64", device=device)
    opt = getattr(optim, setting[0])([w], **setting[1])
    for k in range(1, 6):
        opt.zero_grad()
        (0.5 * (curvature * w * w).sum()).backward()
        opt.step()
        for got, expected in zip(w.tolist(), values.get(k, ()), strict=False):
            assert got == pytest.approx(expected, abs=1e-11), f"step {k}"


def moves(make: Callable[[list[tg.Tensor]], optim.Optimizer], gradients: list[float], rates: Any = None) -> list[float]:
    """Where a weight that starts at 0 is after each of the given gradients."""
    w = tg.Tensor(np.zeros(1), requires_grad=True)
    opt = make([w])
    path = []
    for k, g in enumerate(gradients):
        if rates is not None:
            opt.param_groups[0]["lr"] = rates[k]
        w.grad = tg.Tensor(np.array([g]))
        opt.step()
        path.append(w.item())
    return path


def test_nesterovs_impulse_response() -> None:
    """1 + mu, mu^2, mu^3 ...: two well-known teaching codes give 1 + mu + mu^2 at first."""
    path = moves(lambda p: optim.SGD(p, lr=1.0, momentum=0.9, nesterov=True), [1.0, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(-np.diff([0.0, *path]), [1.9, 0.81, 0.729, 0.6561, 0.59049], rtol=1e-14)


def test_a_dropped_rate_slows_the_whole_velocity() -> None:
    """lr outside the velocity (PyTorch): -0.119 after the drop; inside (Keras) it would be -0.2."""
    path = moves(lambda p: optim.SGD(p, lr=0.1, momentum=0.9), [1.0] * 3, rates=[0.1, 0.01, 0.01])
    np.testing.assert_allclose(path, [-0.1, -0.119, -0.1461], rtol=1e-14)
    path = moves(lambda p: optim.RMSprop(p, alpha=0.9, momentum=0.9), [1.0] * 3, rates=[0.1, 0.01, 0.01])
    np.testing.assert_allclose(path, [-0.3162, -0.3676, -0.4331], atol=6e-5)


def test_momentum_amplifies_a_constant_gradient() -> None:
    path = moves(lambda p: optim.SGD(p, lr=0.1, momentum=0.9), [1.0] * 400)
    assert path[-2] - path[-1] == pytest.approx(0.1 / (1 - 0.9), rel=1e-12)


def test_first_steps_do_not_depend_on_the_gradients_size() -> None:
    for g in (1e-3, 1.0, 1e3):
        assert moves(lambda p: optim.RMSprop(p, lr=0.01, eps=0.0), [g])[0] == pytest.approx(-0.01 / math.sqrt(0.01))
        assert moves(lambda p: optim.Adam(p, lr=0.01, eps=0.0), [g])[0] == pytest.approx(-0.01)
        assert moves(lambda p: optim.Adagrad(p, lr=0.01, eps=0.0), [g])[0] == pytest.approx(-0.01)


def test_without_momentum_it_is_sgd_bitwise_and_every_momentum_differs() -> None:
    ends = []
    for settings in ({}, {"momentum": 0.0}, {"momentum": 0.5}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}):
        p = ours()
        train(optim.SGD(list(p.values()), lr=0.1, **settings), p, range(10))  # type: ignore[arg-type]
        ends.append(p["w1"].numpy().tobytes())
    assert ends[0] == ends[1]
    assert len(set(ends)) == 4


def test_sgd_is_its_formula_bitwise() -> None:
    p = ours("float32")
    expected = p["w1"].numpy()
    for k in range(5):
        train(optim.SGD([p["w1"]], lr=0.1), p, [k])
        assert p["w1"].grad is not None
        expected = expected - np.float32(0.1) * p["w1"].grad.numpy()
    assert np.array_equal(p["w1"].numpy(), expected)


def test_centered_rmsprop_survives_rounding() -> None:
    """With a constant gradient s - m^2 goes to 0, and by rounding below: its root must not be NaN."""
    w = tg.Tensor(np.zeros(1000, dtype="float32"), requires_grad=True)
    opt = optim.RMSprop([w], centered=True, alpha=0.5, eps=1e-3)
    g = np.random.default_rng(0).normal(size=1000).astype("float32")
    for _ in range(100):
        w.grad = tg.Tensor(g)
        opt.step()
    s, m = opt.state[0]["square_avg"], opt.state[0]["grad_avg"]
    assert (s - m * m).min() < 0  # or this test shows nothing
    assert np.isfinite(w.numpy()).all()


def test_lion_moves_every_weight_by_lr() -> None:
    w = tg.Tensor(np.zeros((5, 3)), requires_grad=True)
    w.grad = tg.Tensor(np.random.default_rng(0).normal(size=(5, 3)))
    optim.Lion([w], lr=0.3).step()
    assert np.array_equal(np.abs(w.numpy()), np.full((5, 3), 0.3))
    assert np.array_equal(np.sign(w.numpy()), -np.sign(w.grad.numpy()))


def test_lion_is_the_papers_algorithm() -> None:
    """arXiv 2302.06675, Algorithm 2, with PyTorch's gradients."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    lr, beta1, beta2, decay = 0.01, 0.8, 0.95, 0.3
    q = {k: torch.tensor(v, requires_grad=True) for k, v in start().items() if k != "unused"}
    m = {k: np.zeros(t.shape) for k, t in q.items()}
    p = ours()
    opt = optim.Lion(list(p.values()), lr=lr, betas=(beta1, beta2), weight_decay=decay)
    for k in range(30):
        grads = torch.autograd.grad(loss_of(q, *(torch.tensor(a) for a in batch(k))), list(q.values()))
        for (name, t), g in zip(q.items(), grads, strict=True):
            update = np.sign(beta1 * m[name] + (1 - beta1) * g.numpy())
            with torch.no_grad():
                t -= torch.tensor(lr * (update + decay * t.numpy()))
            m[name] = beta2 * m[name] + (1 - beta2) * g.numpy()
        train(opt, p, [k])
    for name, t in q.items():
        np.testing.assert_allclose(p[name].numpy(), t.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(128, 784), (784, 128), (10, 128), (64, 64)])
def test_muons_update_is_nearly_orthogonal(shape: tuple[int, int]) -> None:
    w = tg.Tensor(np.zeros(shape, "float32"), requires_grad=True)
    w.grad = tg.Tensor(np.random.default_rng(0).normal(size=shape).astype("float32"))
    optim.Muon([w], lr=1.0, weight_decay=0.0).step()
    values = np.linalg.svd(w.numpy(), compute_uv=False) / math.sqrt(max(1, shape[0] / shape[1]))
    assert values.min() > 0.3
    assert values.max() < 1.21  # the polynomial 3.4445 x - 4.775 x^3 + 2.0315 x^5 has its maximum, 1.2024, at 0.555
    u, _, v = np.linalg.svd(w.grad.numpy(), full_matrices=False)
    inside = u.T @ -w.numpy() @ v.T
    assert np.linalg.norm(inside - np.diag(np.diag(inside))) < 1e-3  # along the gradient's own singular vectors


# -- numbers, memory, devices --------------------------------------------------------------------------


def strong(value: Any) -> Any:
    """The setting as NumPy's float64, which turns float32 arrays into float64 where it is let near them."""
    if isinstance(value, tuple):
        return tuple(np.float64(v) for v in value)
    return np.float64(value) if isinstance(value, float) else value


def arrays_of(opt: optim.Optimizer) -> list[Any]:
    return [value for state in opt.state.values() for name, value in state.items() if name != "step"]


@pytest.mark.parametrize("orders", ["CC", "FF", "CF", "FC", "FK"])
@pytest.mark.parametrize("setting", [s for s in EACH if s[0] != "Muon"], ids=ident)
def test_a_big_parameter_in_pieces_is_as_its_rows_apart(
    setting: Setting, orders: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bitwise, in whatever order parameter, gradient and a loaded state (K: the other order) lie in memory."""
    rng = np.random.default_rng(3)
    values, slopes = rng.normal(size=(41, 60)), rng.normal(size=(4, 41, 60))
    monkeypatch.setattr(optim.optimizer, "PIECE", 5000)  # 4 pieces that end within a row
    whole = tg.Tensor(values, requires_grad=True)
    whole._data = np.array(values, order=orders[0])  # type: ignore[call-overload]
    rows = [tg.Tensor(row, requires_grad=True) for row in values]
    name, settings = setting
    big, small = getattr(optim, name)([whole], **settings), getattr(optim, name)(rows, **settings)
    for k, slope in enumerate(slopes):
        if k == 2:
            big.load_state_dict(big.state_dict())
            if orders[1] == "K":
                big.state[0].update({n: np.array(v, order="C") for n, v in big.state[0].items() if n != "step"})
        whole.grad = tg.Tensor(slope)
        whole.grad._data = np.array(slope, order="C" if orders[1] == "C" else "F")
        for row, g in zip(rows, slope, strict=True):
            row.grad = tg.Tensor(g)
        big.step()
        small.step()
    np.testing.assert_array_equal(whole.data, [row.data for row in rows])
    for key, array in big.state[0].items():
        if key != "step":
            np.testing.assert_array_equal(array, [small.state[i][key] for i in range(41)])


def test_ones_own_update_gets_whole_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it overrides an update that may be given pieces."""
    seen = []

    class Clipped(optim.SGD):
        def update(self, xp: Any, w: Any, g: Any, state: Any, *args: Any, **settings: Any) -> None:
            seen.append(w.shape)
            super().update(xp, w, g / max(1.0, float((g * g).sum()) ** 0.5), state, *args, **settings)

    monkeypatch.setattr(optim.optimizer, "PIECE", 64)
    w = tg.zeros(8, 5, requires_grad=True)
    w.grad = tg.ones(8, 5)
    Clipped([w], lr=1.0, momentum=0.9).step()
    assert seen == [(8, 5)]
    np.testing.assert_allclose(w.numpy(), -(40**-0.5), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("setting", EACH, ids=ident)
def test_dtype_and_memory_stay(setting: Setting, dtype: str) -> None:
    if dtype == "float16" and setting[0] in ("RMSprop", "Adam", "AdamW"):
        setting = (setting[0], {**setting[1], "eps": 1e-3})  # 1e-8 is 0 in float16
    p = ours(dtype)
    before = {k: t.data for k, t in p.items()}
    opt = make_ours((setting[0], {k: strong(v) for k, v in setting[1].items()}), p)
    train(opt, p, [0])
    for group in opt.param_groups:  # as a schedule of the user's own would write it
        group.update({k: strong(v) for k, v in group.items() if k in opt.defaults})
    train(opt, p, [1, 2])
    for name, t in p.items():
        assert t.data is before[name], name
        assert t.dtype == dtype, name
    assert arrays_of(opt)
    for array in arrays_of(opt):
        assert isinstance(array, np.ndarray)  # a 0-d one, too
        assert array.dtype == dtype


def test_hyper_parameters_may_be_tensors_and_become_python_numbers() -> None:
    w = tg.Tensor([1.0], requires_grad=True)
    opt = optim.AdamW([w], lr=tg.Tensor(0.5), betas=[np.float32(0.5), 0.75], amsgrad=np.bool_(True))  # type: ignore[arg-type]
    group = opt.param_groups[0]
    assert (group["lr"], group["betas"], group["amsgrad"]) == (0.5, (0.5, 0.75), True)
    assert [type(group[k]) for k in ("lr", "betas", "amsgrad")] == [float, tuple, bool]


@pytest.mark.parametrize("setting", EACH, ids=ident)
def test_the_device_gives_the_cpus_numbers_without_waiting(setting: Setting, cuda: Any) -> None:
    p, q = ours("float32"), ours("float32", "cuda")
    one, two = make_ours(setting, p), make_ours(setting, q)
    train(one, p, range(3))
    train(two, q, range(3))
    before = cuda.syncs
    two.step()
    assert cuda.syncs == before
    one.step()
    for name in p:
        np.testing.assert_allclose(q[name].numpy(), p[name].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("home", "target"), [("cpu", "cuda"), ("cuda:0", "cuda:1"), ("cuda:1", "cpu")])
def test_state_follows_a_moved_model(home: str, target: str, cuda: Any) -> None:
    p, model = ours(), tg.nn.Module()
    for name, value in start().items():
        setattr(model, name, tg.nn.Parameter(value))
    q: Any = dict(model.to(home).named_parameters())
    one, two = (optim.Adam(list(x.values()), lr=0.1) for x in (p, q))
    train(one, p, range(4))
    train(two, q, range(2))
    model.to(target)  # with its gradients
    train(two, q, range(2, 4))
    for name in p:
        np.testing.assert_allclose(q[name].numpy(), p[name].numpy(), rtol=1e-12)
    assert {backend.device_of(array) for array in arrays_of(two)} == {q["w1"].device}


def test_what_is_not_finite_passes_without_a_warning() -> None:
    """As in PyTorch, and on CUDA: a run that diverges ends in inf and nan, not in NumPy's warnings."""
    w = tg.Tensor([1e38, 1.0], requires_grad=True)
    w.grad = tg.Tensor([-1e38, 0.0])
    optim.SGD([w], lr=10.0).step()
    assert w.tolist() == [math.inf, 1.0]
    w.grad = tg.Tensor([0.0, 0.0])
    optim.RMSprop([w], eps=0.0).step()
    assert np.isnan(w.numpy()).all()


# -- gradients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", EACH, ids=ident)
def test_parameters_without_gradient_are_skipped(setting: Setting) -> None:
    p = ours()
    opt = make_ours(setting, p)
    opt.step()
    assert opt.state == {}
    for name, value in start().items():
        assert np.array_equal(p[name].numpy(), value), name


def test_a_gradient_that_is_part_of_a_graph() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    (w**3).sum().backward(create_graph=True)
    optim.SGD([w], lr=0.1).step()
    np.testing.assert_allclose(w.numpy(), [1 - 0.3, 2 - 1.2], rtol=1e-6)
    assert w.is_leaf and w.requires_grad


def test_the_velocity_is_not_the_gradients_memory() -> None:
    w = tg.Tensor([1.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.1, momentum=0.9)
    w.grad = tg.Tensor([1.0])
    opt.step()
    w.grad.data[...] = 5.0
    assert opt.state[0]["momentum_buffer"].tolist() == [1.0]


@pytest.mark.parametrize("setting", EACH, ids=ident)
def test_gradients_are_left_as_they_are(setting: Setting) -> None:
    p = ours()
    opt = make_ours(setting, p)
    for k in range(2):
        opt.zero_grad()
        loss_of(p, *(tg.Tensor(a) for a in batch(k))).backward()
        before = {name: t.grad.numpy() for name, t in p.items() if t.grad is not None}
        opt.step()
        for name, g in before.items():
            assert np.array_equal(p[name].grad.numpy(), g), name  # type: ignore[union-attr]


def test_an_old_graph_notices_the_step() -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(tg.GraphError, match="changed in place"):
        loss.backward()


def test_zero_grad() -> None:
    p = ours()
    opt = optim.SGD(list(p.values()), lr=0.1)
    loss_of(p, *(tg.Tensor(a) for a in batch(0))).backward()
    held = p["w1"].grad
    assert held is not None
    value = held.numpy()
    opt.zero_grad(set_to_none=False)
    assert p["w1"].grad is not None and p["w1"].grad.numpy().tolist() == np.zeros((3, 4)).tolist()
    assert p["unused"].grad is None
    assert np.array_equal(held.numpy(), value)
    opt.zero_grad()
    assert all(t.grad is None for t in p.values())


def test_closure_computes_the_loss_with_gradients() -> None:
    w = tg.Tensor([3.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.1)

    def closure() -> tg.Tensor:
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        loss = opt.step(closure)
    assert loss.item() == 9.0
    assert w.item() == pytest.approx(2.4)
    assert opt.step() is None


@pytest.mark.parametrize(
    ("grad", "text"),
    [
        (tg.Tensor([1.0]), r"\(2,\).* not .*\(1,\)"),
        (tg.Tensor([[1.0, 2.0]]), r"\(1, 2\)"),
        (tg.Tensor([1.0, 2.0], dtype="float64"), "float32.* not .*float64"),
        (np.ones(2, "float32"), "Tensor of .*array"),
        (1.0, "Tensor of .*1.0"),
    ],
)
def test_a_gradient_that_does_not_fit(grad: Any, text: str) -> None:
    w = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=text):
        w.grad = grad
    assert w.grad is None


def test_a_gradient_on_another_device(cuda: Any) -> None:
    w = tg.Tensor([1.0], requires_grad=True, device="cuda")
    with pytest.raises(TypeError, match="cuda:0, not .* cuda:1"):
        w.grad = tg.Tensor([1.0], device="cuda:1")


# -- saving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", EACH, ids=ident)
def test_a_restored_run_continues_bitwise(setting: Setting) -> None:
    p = ours("float32")
    opt = make_ours(setting, p)
    train(opt, p, range(5))
    saved = pickle.loads(pickle.dumps(opt.state_dict()))
    weights = {k: t.numpy() for k, t in p.items()}
    train(opt, p, range(5, 10))

    q = {k: tg.Tensor(v, requires_grad=True) for k, v in weights.items()}
    other = make_ours((setting[0], {"lr": 123.0}), q)
    other.load_state_dict(saved)
    train(other, q, range(5, 10))
    for name in p:
        assert np.array_equal(p[name].numpy(), q[name].numpy()), name
    assert repr(other.state_dict()) == repr(opt.state_dict())


def test_state_dict_is_a_copy_with_pytorchs_structure() -> None:
    p = ours()
    opt = optim.SGD(groups_of(p, {"lr": 0.5}), lr=0.1, momentum=0.9)
    train(opt, p, [0])
    saved = opt.state_dict()
    assert list(saved["state"]) == [0, 1, 3, 4]  # by position over all groups; "unused", number 2, has none
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2, 3, 4]]
    assert [group["lr"] for group in saved["param_groups"]] == [0.1, 0.5]
    before = copy.deepcopy(saved)
    train(opt, p, [1])
    opt.param_groups[0]["lr"] = 7.0
    assert repr(saved) == repr(before)
    opt.load_state_dict(saved)
    train(opt, p, [2])
    assert repr(saved) == repr(before)
    assert all(isinstance(v, np.ndarray) for state in saved["state"].values() for k, v in state.items() if k != "step")


def test_load_keeps_the_group_dicts_that_others_hold() -> None:
    w = tg.Tensor([1.0], requires_grad=True)
    opt = optim.SGD([w], lr=0.1)
    held = opt.param_groups[0]
    saved = opt.state_dict()
    saved["param_groups"][0]["lr"] = 0.5
    opt.load_state_dict(saved)
    assert held is opt.param_groups[0] and held["lr"] == 0.5 and held["params"][0] is w


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW"])
def test_pytorchs_state_dict_can_be_loaded(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    settings: dict[str, Any] = {"lr": 0.02}
    settings |= {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    q = {k: torch.tensor(v, requires_grad=True) for k, v in start().items()}
    theirs = getattr(torch.optim, name)(groups_of(q, {"lr": 0.01}), **settings)

    def run(steps: Iterable[int]) -> None:
        for k in steps:
            theirs.zero_grad()
            loss_of(q, *(torch.tensor(a) for a in batch(k))).backward()
            theirs.step()

    run(range(5))
    p = {k: tg.Tensor(t.detach().numpy(), requires_grad=True) for k, t in q.items()}
    opt = getattr(optim, name)(groups_of(p, {}))
    opt.load_state_dict(theirs.state_dict())
    run(range(5, 10))
    train(opt, p, range(5, 10))
    for key in p:
        np.testing.assert_allclose(p[key].numpy(), q[key].detach().numpy(), rtol=0, atol=1e-10)


def test_a_state_goes_to_the_parameters_device_and_dtype(cuda: Any) -> None:
    p = ours("float64")
    opt = optim.SGD(list(p.values()), lr=0.1, momentum=0.9)
    train(opt, p, [0])
    saved = opt.state_dict()
    saved["state"][0]["momentum_buffer"] = tg.Tensor(saved["state"][0]["momentum_buffer"])  # Tensors are fine, too
    saved["state"][1]["momentum_buffer"] = cuda.asarray(saved["state"][1]["momentum_buffer"])
    q = ours("float32", "cuda")
    other = optim.SGD(list(q.values()), lr=0.1, momentum=0.9)
    other.load_state_dict(saved)
    for k in (0, 1, 2, 3):
        v = other.state[k]["momentum_buffer"]
        assert (type(v), v.dtype) == (cuda.ndarray, np.dtype("float32"))
    train(other, q, [1])


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    p = ours()
    opt = optim.SGD([("w1", p["w1"]), ("b1", p["b1"])], lr=0.1, momentum=0.9)
    train(opt, p, [0])
    saved = opt.state_dict()
    change(saved)
    return saved


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.pop("state"), "'state' and 'param_groups'"),
        (lambda d: d["param_groups"].append(d["param_groups"][0]), "2 parameter groups, this optimizer 1"),
        (lambda d: d["param_groups"][0]["params"].pop(), "group 0 of the state has 1 parameters, this optimizer's 2"),
        (lambda d: d["param_groups"][0].update(param_names=["b1", "w1"]), "'b1' where this optimizer has 'w1'"),
        (lambda d: d["param_groups"][0].pop("momentum"), "no 'momentum', only lr, dampening"),
        (lambda d: d["param_groups"][0].update(lr=-3), r"lr must be in \[0, inf\), got -3"),
        (lambda d: d["state"][1].update(momentum_buffer=np.ones(2)), r"'momentum_buffer' of parameter 1 .* \(2,\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: Callable[[dict[str, Any]], Any], text: str) -> None:
    p = ours()
    opt = optim.SGD([("w1", p["w1"]), ("b1", p["b1"])], lr=0.5, momentum=0.9)
    train(opt, p, [0])
    before = repr(opt.state_dict())
    with pytest.raises(ValueError, match=text):
        opt.load_state_dict(broken(change))
    assert repr(opt.state_dict()) == before


def test_an_optimizer_can_be_copied_with_its_model() -> None:
    p = ours()
    opt = optim.SGD(list(p.values()), lr=0.1, momentum=0.9)
    train(opt, p, [0])
    q, other = copy.deepcopy((p, opt))
    train(opt, p, [1])
    train(other, q, [1])
    assert np.array_equal(p["w1"].numpy(), q["w1"].numpy())
    assert other.param_groups[0]["params"][0] is q["w1"]


# -- parameters and groups -----------------------------------------------------------------------------


def weight(*shape: int) -> tg.Tensor:
    return tg.zeros(shape, requires_grad=True)


def test_the_forms_that_parameters_may_take() -> None:
    a, b = weight(2), weight(3)
    for params in ([a, b], (a, b), iter([a, b]), {"x": a, "y": b}.values(), {"x": a, "y": b}.items()):
        assert [id(t) for t in untyped.SGD(params).param_groups[0]["params"]] == [id(a), id(b)]
    named = untyped.SGD({"x": a, "y": b}.items())
    assert named.param_groups[0]["param_names"] == ["x", "y"]
    grouped = untyped.SGD([{"params": a, "lr": 0.5}, {"params": iter([b]), "name": "rest"}], lr=0.1)
    assert [group["lr"] for group in grouped.param_groups] == [0.5, 0.1]
    assert [len(group["params"]) for group in grouped.param_groups] == [1, 1]


def test_add_param_group() -> None:
    a, b = weight(2), weight(3)
    opt = untyped.SGD([a], lr=0.1, momentum=0.9)
    opt.add_param_group({"params": [b], "lr": 0.5})
    a.grad, b.grad = tg.ones(2), tg.ones(3)
    opt.step()
    np.testing.assert_allclose(a.numpy(), [-0.1] * 2, rtol=1e-6)
    np.testing.assert_allclose(b.numpy(), [-0.5] * 3, rtol=1e-6)
    assert sorted(opt.state) == [0, 1]
    assert "group 1: 1 parameters, lr=0.5, momentum=0.9" in repr(opt)


def test_an_optimizer_of_ones_own() -> None:
    class SignSGD(optim.Optimizer):
        def __init__(self, params: Any, lr: float = 1e-3) -> None:
            super().__init__(params, {"lr": lr})

        def update(self, xp: Any, w: Any, g: Any, state: Any, lr: float) -> None:
            w -= lr * xp.sign(g)

    w = weight(2)
    w.grad = tg.Tensor([3.0, -2.0])
    SignSGD([w], lr=0.5).step()
    assert w.tolist() == [-0.5, 0.5]
    with pytest.raises(ValueError, match=r"SignSGD: lr must be in \[0, inf\), got -1"):
        SignSGD([w], lr=-1)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: untyped.SGD([]), ValueError, "got no parameters"),
        (lambda: untyped.SGD([{"params": []}]), ValueError, "got no parameters"),
        (lambda: untyped.SGD(weight(2)), TypeError, "not a Tensor: put a single one into a list"),
        (lambda: untyped.SGD({"params": [weight(2)]}), TypeError, "not a dict"),
        (lambda: untyped.SGD(3), TypeError, r"such as model.parameters\(\) .* not a int"),
        (lambda: untyped.SGD([np.ones(2)]), TypeError, "parameter 0 must be a Tensor, not ndarray"),
        (lambda: untyped.SGD([weight(2), None]), TypeError, "parameter 1 must be a Tensor, not NoneType"),
        (lambda: untyped.SGD([("w", 3)]), TypeError, "parameter 'w' must be a Tensor, not int"),
        (lambda: untyped.SGD({weight(2)}), TypeError, "set have no fixed order"),
        (lambda: untyped.SGD([weight(2) * 2]), ValueError, r"parameter 0 of shape \(2,\) is computed from others"),
        (lambda: untyped.SGD([("a", weight(1)), weight(2)]), ValueError, "1 of 2 parameters have names"),
        (lambda: untyped.SGD([{"params": 3}]), TypeError, "'params' must be a Tensor or an iterable"),
        (lambda: untyped.SGD([{"lr": 3}]), TypeError, "a parameter group is a dict with 'params'"),
        (lambda: untyped.SGD([{"params": weight(1)}, weight(1)]), TypeError, "a parameter group is a dict"),
        (lambda: untyped.SGD([{"params": weight(1), "rate": 1}]), ValueError, "unknown 'rate' .* may set lr, momentum"),
        (lambda: untyped.Lion([{"params": weight(1), "momentum": 1}]), ValueError, "unknown 'momentum'"),
    ],
)
def test_parameters_that_are_refused(make: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_parameter_twice() -> None:
    w = weight(2)
    with pytest.raises(ValueError, match=r"parameter 1 of shape \(2,\) is given twice"):
        untyped.SGD([w, w])
    with pytest.raises(ValueError, match="parameter 'w' .* given twice"):
        untyped.SGD([{"params": [w]}, {"params": [("w", w)]}])
    opt = untyped.SGD([w])
    with pytest.raises(ValueError, match="given twice"):
        opt.add_param_group({"params": w})
    assert len(opt.param_groups) == 1


NUMBERS: dict[str, list[Any]] = {  # what each hyper-parameter must refuse
    "lr": [-0.1, math.nan, math.inf, "0.1", None, True, [0.1]],
    "momentum": [-0.9, math.nan, math.inf, "0.9", None],
    "dampening": [-0.1, 1.5, math.nan, "0"],
    "weight_decay": [-1.0, math.nan, math.inf, "0"],
    "nesterov": ["False", 1, None],
    "alpha": [-0.1, 1.0, math.nan],
    "eps": [-1e-8, math.nan, "1e-8"],
    "centered": [1],
    "lr_decay": [-1.0],
    "initial_accumulator_value": [-1.0],
    "betas": [(-0.1, 0.9), (0.9, 1.0), (math.nan, 0.9), 0.9, (0.9,), ("0.9", 0.99), None],
    "amsgrad": [0],
    "maximize": ["no"],
    "ns_coefficients": [(1.0, 2.0), (math.inf, 1.0, 1.0)],
    "ns_steps": [0, 100, 5.0, "5"],
    "adjust_lr_fn": ["adamw", 1],
}


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "Lion", "Muon"])
def test_hyper_parameters_that_are_refused(name: str) -> None:
    import inspect

    kind = getattr(optim, name)
    for argument in list(inspect.signature(kind).parameters)[1:]:
        for value in NUMBERS[argument]:
            shown = [value, *(value if isinstance(value, tuple) else ())]
            for params, settings in (
                ([weight(2, 2)], {argument: value}),
                ([{"params": weight(2, 2), argument: value}], {}),
            ):
                with pytest.raises((TypeError, ValueError)) as caught:
                    kind(params, **settings)
                text = str(caught.value)
                assert name in text and argument in text, text
                assert any(f"got {v!r}" in text or f"got {v}" in text for v in shown), text  # what was received
                assert " must be " in text, text  # and what is allowed


def test_refused_also_when_written_later() -> None:
    w = weight(1)
    opt = untyped.SGD([w], lr=0.1)
    w.grad = tg.ones(1)
    opt.param_groups[0]["lr"] = "fast"
    with pytest.raises(TypeError, match="lr must be a number .* got 'fast'"):
        opt.step()


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "dampening": 0.1}])
def test_nesterov_needs_momentum_without_dampening(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"momentum={settings.get('momentum', 0.0)} and dampening="):
        untyped.SGD([weight(1)], nesterov=True, **settings)
    with pytest.raises(ValueError, match="nesterov needs"):
        untyped.SGD([{"params": weight(1), "nesterov": True}], **settings)


def test_muon_refuses_what_is_no_matrix() -> None:
    with pytest.raises(ValueError, match=r"parameter 1 has shape \(3,\)"):
        optim.Muon([weight(2, 2), weight(3)])
    with pytest.raises(ValueError, match=r"parameter 'conv' has shape \(2, 2, 3, 3\): give it to AdamW"):
        optim.Muon([("conv", weight(2, 2, 3, 3))])
    with pytest.raises(ValueError, match=r"momentum .* \[0, 1\], got 1.5"):
        optim.Muon([weight(2, 2)], momentum=1.5)


# -- clipping ------------------------------------------------------------------------------------------


def with_gradients(device: str = "cpu", dtype: str = "float64") -> list[tg.Tensor]:
    rng = np.random.default_rng(3)
    tensors = [tg.Tensor(np.zeros(shape), dtype=dtype, device=device, requires_grad=True) for shape in SHAPES.values()]
    for t in tensors[:-1]:
        t.grad = tg.Tensor(np.asarray(rng.normal(size=t.shape)), dtype=dtype, device=device)
    return tensors


@pytest.mark.parametrize("norm_type", [2, 1, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.7, 1e3, math.inf])
def test_clip_grad_norm_equals_pytorch(norm_type: float, max_norm: float, device: str) -> None:
    torch = pytest.importorskip("torch")
    mine = with_gradients(device)
    theirs = [torch.zeros(t.shape, dtype=torch.float64) for t in mine]
    for t, u in zip(mine, theirs, strict=True):
        u.grad = None if t.grad is None else torch.tensor(t.grad.numpy())
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    total = untyped.clip_grad_norm_(mine, max_norm, norm_type)
    assert isinstance(total, tg.Tensor) and total.shape == ()
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    for t, u in zip(mine, theirs, strict=True):
        if t.grad is not None:
            np.testing.assert_allclose(t.grad.numpy(), u.grad.numpy(), rtol=1e-12)


def test_clip_grad_value_equals_pytorch(device: str) -> None:
    torch = pytest.importorskip("torch")
    mine = with_gradients(device)
    theirs = [torch.zeros(t.shape, dtype=torch.float64) for t in mine]
    for t, u in zip(mine, theirs, strict=True):
        u.grad = None if t.grad is None else torch.tensor(t.grad.numpy())
    torch.nn.utils.clip_grad_value_(theirs, 0.4)
    untyped.clip_grad_value_(iter(mine), np.float64(0.4))
    for t, u in zip(mine, theirs, strict=True):
        assert t.grad is None or np.array_equal(t.grad.numpy(), u.grad.numpy())


def test_clipping_keeps_dtype_and_memory_and_does_not_wait(cuda: Any) -> None:
    for dtype in ("float32", "float16"):
        tensors = with_gradients("cuda", dtype)
        before = [None if t.grad is None else t.grad.data for t in tensors]
        syncs = cuda.syncs
        untyped.clip_grad_norm_(tensors, np.float64(0.5), np.float64(2))
        untyped.clip_grad_value_(tensors, np.float64(0.5))
        assert cuda.syncs == syncs
        for t, array in zip(tensors, before, strict=True):
            assert t.grad is None or (t.grad.data is array and t.grad.dtype == dtype)


def test_clipping_float16_does_not_overflow() -> None:
    """The sum of squares is 90000, more than float16's 65504."""
    w = tg.zeros(1, dtype="float16", requires_grad=True)
    w.grad = tg.Tensor([300.0], dtype="float16")
    assert untyped.clip_grad_norm_([w], 30.0).item() == 300.0
    assert w.grad.tolist() == pytest.approx([30.0], rel=1e-3)


def test_clipping_over_two_devices(cuda: Any) -> None:
    a, b = (tg.zeros(2, device=d, requires_grad=True) for d in ("cuda:0", "cuda:1"))
    a.grad, b.grad = tg.Tensor([3.0, 0.0], device="cuda:0"), tg.Tensor([0.0, 4.0], device="cuda:1")
    total = untyped.clip_grad_norm_([a, b], 1.0)
    assert (total.item(), total.device) == (5.0, "cuda:0")
    np.testing.assert_allclose([*a.grad.numpy(), *b.grad.numpy()], [0.6, 0, 0, 0.8], rtol=1e-6)


def test_clipping_one_tensor_and_none() -> None:
    w = weight(2)
    assert untyped.clip_grad_norm_(w, 1.0).item() == 0.0
    w.grad = tg.Tensor([3.0, 4.0])
    assert untyped.clip_grad_norm_(w, 1.0).item() == 5.0
    np.testing.assert_allclose(w.grad.numpy(), [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(value: float) -> None:
    w = weight(2)
    w.grad = tg.Tensor([1.0, value])
    with pytest.raises(RuntimeError, match=f"norm of order 2.0 is {value}"):
        untyped.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)
    assert w.grad.tolist()[0] == 1.0
    assert not math.isfinite(untyped.clip_grad_norm_([w], 1.0).item())


def test_a_graph_notices_the_clipping() -> None:
    w = tg.Tensor([2.0], requires_grad=True)
    (w**3).sum().backward(create_graph=True)
    assert w.grad is not None
    penalty = (w.grad * w.grad).sum()
    untyped.clip_grad_norm_([w], 1.0)
    with pytest.raises(tg.GraphError, match="changed in place"):
        penalty.backward()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: untyped.clip_grad_norm_([weight(1)], -1.0), ValueError, r"max_norm must be in \[0, inf\], got -1.0"),
        (lambda: untyped.clip_grad_norm_([weight(1)], 1.0, 0), ValueError, r"norm_type must be in \(0, inf\], got 0"),
        (lambda: untyped.clip_grad_value_([weight(1)], math.nan), ValueError, "clip_value must be .* got nan"),
        (lambda: untyped.clip_grad_value_([weight(1)], "1"), TypeError, "clip_value must be .* got '1'"),
        (lambda: untyped.clip_grad_norm_([np.ones(1)], 1.0), TypeError, "parameter 0 must be a Tensor, not ndarray"),
    ],
)
def test_clipping_refuses(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
