"""Captured steps: replays do what the step itself would have done, number for number; what would be frozen in the graph
is refused. On the stand-in, which computes nothing while a graph is captured, and on a GPU where there is one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from standin_kernels import needs_compiler

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.nn import functional as F
from tinygrad_m.optim.lr_scheduler import OneCycleLR

pytestmark = needs_compiler


def cnn(bias: bool) -> nn.Module:
    """Images (N, 1, 6, 6) -> scores (N, 3). bias: the convolution's, whose gradient batch norm leaves nothing of but
    rounding."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=bias),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)),
    "cnn": lambda: cnn(bias=False),
}
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
}


def train(model_name: str, name: str, home: str, captured: bool, dtype: str = "float64", steps: int = 12) -> list[Any]:
    """Losses, accuracies, parameters, buffers and the optimizer's state after some steps under a schedule."""
    tg.manual_seed(5)
    model = MODELS[model_name]().to(home, dtype)
    optimizer = OPTIMIZERS[name](model.parameters())
    schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=steps + 1, cycle_momentum=name != "adam")
    rng = np.random.default_rng(6)
    images, labels = rng.normal(size=(40, 1, 6, 6)).astype(dtype), rng.integers(0, 3, 40)

    def step(x: tg.Tensor, y: tg.Tensor) -> dict[str, Any]:
        optimizer.zero_grad()
        scores = model(x)
        loss = F.cross_entropy(scores, y)
        loss.backward()
        optimizer.step()
        return {"loss": loss, "more": ((scores.argmax(axis=1) == y).sum(), None)}

    run = tg.capture(step, warmup=2) if captured else step
    found = []
    for k in range(steps):
        rows = rng.integers(0, 40, 8 if k % 5 else 7)  # now and then a smaller batch
        got = run(tg.Tensor(images[rows], device=home), tg.Tensor(labels[rows], device=home))
        found += [got["loss"], got["more"][0]]
        schedule.step()
    state = [v for one in optimizer.state_dict()["state"].values() for v in one.values()]
    return [t.numpy() for t in [*found, *model.parameters(), *model.buffers()]] + state


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_replays_do_what_the_step_does(model: str, name: str, there: str) -> None:
    expected = train(model, name, there, captured=False)
    for a, b in zip(train(model, name, there, captured=True), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_replays_in_float32(there: str) -> None:
    expected = train("cnn", "momentum", there, captured=False, dtype="float32")
    for a, b in zip(train("cnn", "momentum", there, captured=True, dtype="float32"), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_on_the_cpu_it_is_the_plain_function() -> None:
    for a, b in zip(train("cnn", "adam", "cpu", True), train("cnn", "adam", "cpu", False), strict=True):
        np.testing.assert_array_equal(a, b)


def test_results_stay_and_the_step_runs_once_in_python(cuda: Any) -> None:
    ran = []

    @tg.capture
    def double(x: tg.Tensor) -> tg.Tensor:
        """Twice as much."""
        ran.append(x.shape)
        return x * 2.0

    results = [double(tg.full(3, float(k), device="cuda:1")) for k in range(8)]
    assert [r.tolist() for r in results] == [[2.0 * k] * 3 for k in range(8)]
    assert len(ran) == 4 and double.__doc__ == "Twice as much." and double.__name__ == "double"
    assert results[-1].device == "cuda:1" and not results[-1].requires_grad
    double(tg.ones(2, device="cuda"))
    assert len(ran) == 5  # another shape begins anew


def test_a_captured_step_does_not_wait_and_gives_its_memory_back(cuda: Any) -> None:
    model = MODELS["cnn"]().to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @tg.capture
    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = tg.randn(4, 1, 6, 6, device="cuda"), tg.Tensor([0, 1, 2, 0], device="cuda")
    losses = [step(x, y) for _ in range(10)]
    assert cuda.syncs == 0
    assert losses[-1].item() < losses[0].item()
    del step, losses
    gc.collect()


def test_products_of_all_shapes_are_captured(there: str) -> None:
    rng = np.random.default_rng(0)
    shapes = [((3, 4), (4, 5)), ((70, 33), (33, 65)), ((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)),
              ((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 0), (0, 2)), ((0, 3), (3, 2))]  # fmt: skip
    for a, b in shapes:
        x, y = rng.normal(size=a), rng.normal(size=b)
        step = tg.capture(lambda s, t: (s @ t, (t.T @ s.T).T if s.ndim == t.ndim == 2 else s @ t), warmup=1)
        for _ in range(3):
            for got in step(tg.Tensor(x, device=there), tg.Tensor(y, device=there)):
                np.testing.assert_allclose(got.numpy(), x @ y, rtol=1e-12, atol=1e-12)


def test_a_captured_step_in_a_captured_step(there: str) -> None:
    x = tg.ones(3, device=there)
    inner = tg.capture(lambda y: y * 2.0, warmup=1)
    outer = tg.capture(lambda y: inner(y) + 1.0, warmup=3)
    assert [outer(x * float(k)).tolist() for k in range(6)] == [[2.0 * k + 1] * 3 for k in range(6)]


def test_gradients_may_be_forgotten_and_used_outside_of_the_step(there: str) -> None:
    def run(captured: bool) -> list[Any]:
        tg.manual_seed(1)
        model = MODELS["mlp"]().to(there, "float64")
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        rng = np.random.default_rng(2)

        def backward(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        step, losses = tg.capture(backward, warmup=1) if captured else backward, []
        for _ in range(6):
            optimizer.zero_grad()
            x, y = rng.normal(size=(5, 1, 6, 6)), rng.integers(0, 3, 5)
            losses.append(step(tg.Tensor(x, device=there), tg.Tensor(y, device=there)))
            optim.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
        return [t.numpy() for t in (*losses, *model.parameters())]

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_clipping_many_gradients_in_the_step(there: str) -> None:
    def run(captured: bool) -> list[Any]:
        weights = [tg.full(2, 0.1 * k, dtype="float64", device=there).requires_grad_() for k in range(12)]
        optimizer = optim.SGD(weights, lr=0.1, momentum=0.9)

        def step(x: tg.Tensor) -> tg.Tensor:
            optimizer.zero_grad()
            loss = (tg.concat(weights) * x).sum() ** 2
            loss.backward()
            norm = optim.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            return norm

        f = tg.capture(step, warmup=1) if captured else step
        norms = [f(tg.full(24, float(k + 1), dtype="float64", device=there)) for k in range(5)]
        return [t.numpy() for t in (*norms, *weights)]

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_usual_steps_between_replays_with_fewer_gradients(there: str) -> None:
    def run(captured: bool) -> list[Any]:
        weights = [tg.full(3, 1.0 + k, dtype="float64", device=there).requires_grad_() for k in range(3)]
        optimizer = optim.Adam(weights, lr=0.1)

        def step(x: tg.Tensor, use: int = 3) -> None:
            optimizer.zero_grad()
            sum((w * w * x).sum() for w in weights[:use]).backward()
            optimizer.step()

        f = tg.capture(step, warmup=2) if captured else step
        for k in range(8):
            x = tg.full(3, float(k + 1), dtype="float64", device=there)
            f(x)
            if k % 3 == 2:
                step(x, use=1)
        return [w.numpy() for w in weights] + [s["step"] for s in optimizer.state.values()]

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_each_device_has_a_graph_of_its_own(cuda: Any) -> None:
    double = tg.capture(lambda x: x * 2.0, warmup=1)
    for k in range(4):
        for home in ("cuda:0", "cuda:1"):
            got = double(tg.full(3, float(k), device=home))
            assert got.device == home and got.tolist() == [2.0 * k] * 3


def test_what_the_step_finds_outside_stays_alive(cuda: Any) -> None:
    found = [tg.full(3, 5.0, device="cuda")]
    step = tg.capture(lambda x: x + found[0] * 2.0, warmup=1)
    results = [step(tg.ones(3, device="cuda")).tolist() for _ in range(3)]
    found.clear()
    gc.collect()
    assert step(tg.ones(3, device="cuda")).tolist() == results[0] == [11.0] * 3


# -- what can't be captured -------------------------------------------------------------------------


def twice(step: Any, *tensors: tg.Tensor) -> None:
    step(*tensors)
    step(*tensors)


def test_what_would_wait_or_be_frozen_is_refused(there: str) -> None:
    x = tg.ones(3, device=there)
    whole, host = tg.ones(2, 2, dtype="int64", device=there), np.ones(3)
    weight = tg.ones(3, device=there, requires_grad=True)
    lion, late = optim.Lion([weight]), optim.SGD([weight], lr=0.1, momentum=0.9)

    def update(optimizer: optim.Optimizer) -> None:
        weight.grad = weight.detach() * 1.0
        optimizer.step()

    update(lion)
    runs: list[int] = []

    def new_state(x: tg.Tensor) -> None:
        runs.append(0)
        if len(runs) > 1:
            update(late)

    wrong: list[tuple[Callable[[tg.Tensor], Any], str]] = [
        (lambda x: x.sum().item(), "wait for the GPU"),
        (lambda x: x * 2 if x.sum() > 0 else x, "wait for the GPU"),
        (lambda x: x[x > 0], "wait for the GPU"),
        (lambda x: x + tg.Tensor(host, device=x.device), "move data to the GPU"),
        (lambda x: x * (whole @ whole).sum(), "int64"),
        (lambda x: update(lion), "Lion.*settings would be frozen"),
        (new_state, "first step makes the state"),
    ]
    for step, why in wrong:
        captured = tg.capture(step, warmup=1)
        with pytest.raises(tg.CaptureError, match=why):
            twice(captured, x)
        assert (x + 1).tolist() == [2.0, 2.0, 2.0]  # all is as before


def test_arguments_and_results_are_checked(cuda: Any) -> None:
    x = tg.ones(3, device="cuda")
    with pytest.raises(TypeError, match="takes a function of Tensors"):
        tg.capture(3)  # type: ignore[arg-type]
    for warmup in (0, True, 1.5):
        with pytest.raises(ValueError, match="warmup must be a whole number"):
            tg.capture(lambda x: x, warmup=warmup)  # type: ignore[arg-type]
    for others in ([tg.ones(3)], [tg.ones(3, device="cuda:1")], [3.0]):
        with pytest.raises(tg.CaptureError, match="must be Tensors on one GPU, got"):
            tg.capture(lambda *all: all[0])(x, *others)
    with pytest.raises(tg.CaptureError, match="returns Tensors"):
        twice(tg.capture(lambda x: "done", warmup=1), x)


def recorded(make: Callable[..., optim.Optimizer], **more: Any) -> tuple[Any, nn.Module, optim.Optimizer]:
    """A captured step that has been replayed, its model and its optimizer."""
    model = MODELS["mlp"]().to("cuda")
    optimizer = make(model.parameters(), **more)

    @tg.capture
    def step(x: tg.Tensor) -> tg.Tensor:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(5):
        step(tg.ones(2, 1, 6, 6, device="cuda"))
    return step, model, optimizer


def test_a_replay_on_other_memory_is_refused(cuda: Any) -> None:
    x = tg.ones(2, 1, 6, 6, device="cuda")
    step, model, _ = recorded(optim.SGD, momentum=0.9)
    model.to("cpu").to("cuda")
    with pytest.raises(tg.CaptureError, match="now has other memory.*capture the step again"):
        step(x)
    step, model, optimizer = recorded(optim.Adam)
    optimizer.load_state_dict(optimizer.state_dict())
    with pytest.raises(tg.CaptureError, match="Adam.*another state.*capture the step again"):
        step(x)
    step, _, optimizer = recorded(optim.SGD)
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(tg.CaptureError, match="momentum_buffer.*capture the step again"):
        step(x)


def test_gradients_from_before_and_two_updates_are_refused(cuda: Any) -> None:
    weight = tg.ones(3, device="cuda", requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)

    def accumulate(x: tg.Tensor) -> None:
        (weight * x).sum().backward()

    with pytest.raises(tg.CaptureError, match="has a gradient from before the captured step.*zero_grad"):
        twice(tg.capture(accumulate, warmup=1), tg.ones(3, device="cuda"))

    def two(x: tg.Tensor) -> None:
        for _ in range(2):
            optimizer.zero_grad()
            accumulate(x)
            optimizer.step()

    with pytest.raises(tg.CaptureError, match="twice in one captured step"):
        twice(tg.capture(two, warmup=1), tg.ones(3, device="cuda"))


def test_a_schedules_mistake_is_noticed_before_a_replay(cuda: Any) -> None:
    weight = tg.ones(3, device="cuda", requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)

    @tg.capture
    def step(x: tg.Tensor) -> None:
        weight.grad = x * 1.0
        optimizer.step()

    for _ in range(5):
        step(tg.ones(3, device="cuda"))
    np.testing.assert_allclose(weight.numpy(), 0.5, rtol=1e-6)
    optimizer.param_groups[0]["lr"] = -1.0
    count = optimizer.state[0]["step"]
    with pytest.raises(ValueError, match="lr must be in"):
        step(tg.ones(3, device="cuda"))
    assert optimizer.state[0]["step"] == count


def test_autocast_and_no_grad_have_recordings_of_their_own(there: str) -> None:
    weight = tg.ones(4, 3, device=there, requires_grad=True)
    seen = []

    @tg.capture
    def step(x: tg.Tensor) -> tg.Tensor:
        out = F.linear(x, weight)
        seen.append((str(out.dtype), out.requires_grad))
        return out

    x = tg.ones(2, 3, device=there)
    for k in range(5):
        assert step(x).dtype == "float32"
        with tg.amp.autocast():
            assert step(x).dtype == "float16"
        with tg.no_grad():
            assert step(x * float(k)).tolist() == [[3.0 * k] * 4] * 2
    assert len(seen) == 12 and set(seen) == {("float32", True), ("float16", True), ("float32", False)}
