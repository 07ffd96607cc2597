"""Momentum with other techniques: the training function against PyTorch step by step, the two extra optimizers against
loops by hand, the statistics against mathematics, and the quick study with all its claims and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.data import DataLoader, load_mnist
from tinygrad_m.lab import analysis, descendants, techniques, training
from tinygrad_m.lab.study import Options, Study, plain
from tinygrad_m.lab.training import SGDW, Plan, RateInside, band, digits, path, train

close = np.testing.assert_allclose
SMALL: dict[str, Any] = {"images": 256, "test": 200, "steps": 6, "batch": 32, "seed": 3}


@lru_cache
def mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    return load_mnist(split, flatten=True)


@pytest.fixture(scope="module")
def quick() -> Study:
    return techniques.study(Options(quick=True, quiet=True))


# -- training -------------------------------------------------------------------------------------


def torch_run(make: Callable[[Any, list[Any]], Any], schedule: Callable[[Any, Any], Any] | None = None,
              job: dict[str, Any] = SMALL) -> dict[str, Any]:  # fmt: skip
    """The same training by PyTorch: train()'s weights, DataLoader's batches, and nothing else of ours."""
    torch = pytest.importorskip("torch")
    x, y = (a[: job["images"]] for a in mnist("train"))
    tg.manual_seed(job["seed"])
    ours = nn.Linear(784, 128), nn.Linear(128, 10)
    model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    with torch.no_grad():
        for theirs, layer in zip((model[0], model[2]), ours):
            theirs.weight.copy_(torch.from_numpy(layer.weight.numpy()))
            assert layer.bias is not None
            theirs.bias.copy_(torch.from_numpy(layer.bias.numpy()))
    optimizer = make(torch, list(model.parameters()))
    curve = schedule(torch, optimizer) if schedule else None
    loader = DataLoader(x, y, batch_size=job["batch"], shuffle=True, seed=job["seed"])
    run: dict[str, Any] = {"loss": [], "lr": [], "momentum": []}
    for _, (images, labels) in zip(range(job["steps"]), loader):
        group = optimizer.param_groups[0]
        run["lr"].append(group["lr"])
        run["momentum"].append(group["momentum"] if "momentum" in group else group["betas"][0])
        loss = torch.nn.functional.cross_entropy(
            model(torch.from_numpy(images.numpy())), torch.from_numpy(labels.numpy())
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if curve:
            curve.step()
        run["loss"].append(loss.item())
    test_x, test_y = (torch.from_numpy(a[: job["test"]]) for a in mnist("test"))
    with torch.no_grad():
        scores = model(test_x)
        run["test_loss"] = torch.nn.functional.cross_entropy(scores, test_y).item()
        run["accuracy"] = 100.0 * (scores.argmax(1) == test_y).float().mean().item()
        run["norm"] = math.sqrt((model[0].weight ** 2).sum().item() + (model[2].weight ** 2).sum().item())
    return run


@pytest.mark.parametrize(
    ("name", "settings", "theirs"),
    [
        ("sgd", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}, "SGD"),
        ("rmsprop", {"lr": 1e-3, "momentum": 0.9}, "RMSprop"),
        ("adam", {"lr": 1e-3, "betas": (0.5, 0.99), "weight_decay": 0.1}, "Adam"),
        ("adamw", {"lr": 1e-3, "weight_decay": 0.1}, "AdamW"),
    ],
)
def test_training_is_pytorchs(name: str, settings: dict[str, Any], theirs: str) -> None:
    run = train({**SMALL, "optimizer": name, "settings": settings})
    expected = torch_run(lambda torch, params: getattr(torch.optim, theirs)(params, **settings))
    close(run["loss"], expected["loss"], rtol=2e-3)
    for key in ("test_loss", "norm"):
        close(run[key], expected[key], rtol=2e-3)
    assert abs(run["accuracy"] - expected["accuracy"]) <= 1.0  # two images of 200 may stand on the edge
    assert run["diverged"] is None and len(run["loss"]) == SMALL["steps"]


def test_one_cycle_is_pytorchs() -> None:
    settings = {"max_lr": 0.1, "total_steps": 6}
    job = {**SMALL, "settings": {"lr": 0.1, "momentum": 0.95}, "schedule": ("OneCycleLR", settings)}
    expected = torch_run(
        lambda torch, params: torch.optim.SGD(params, lr=0.1, momentum=0.95),
        lambda torch, optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, **settings),
    )
    run = train(job)
    for key, rtol in (("lr", 1e-9), ("momentum", 1e-9), ("loss", 2e-3)):
        close(run[key], expected[key], rtol=rtol)
    assert len(set(run["momentum"])) > 3  # it is cycled


def test_a_seed_gives_the_same_run_and_pairs_the_settings() -> None:
    first, again = (train({**SMALL, "settings": {"lr": 0.1}}) for _ in range(2))
    assert first == again
    for name, lr in ("adam", 0.01), ("lion", 1e-3), ("muon", 0.01), ("sgd", 1.0):
        other = train({**SMALL, "optimizer": name, "settings": {"lr": lr}})  # same weights, same first batch
        assert other["loss"][0] == first["loss"][0] and other["loss"][1] != first["loss"][1]
    assert train({**SMALL, "seed": 4, "settings": {"lr": 0.1}})["loss"][0] != first["loss"][0]
    assert train({**SMALL, "dropout": 0.5, "settings": {"lr": 0.1}})["loss"][0] != first["loss"][0]


def test_the_first_step_of_each_optimizer() -> None:
    """w <- w - lr sign(g) where the size is divided away; RMSprop's is longer by 1 / sqrt(1 - alpha)."""
    once = {**SMALL, "steps": 1, "watch": 1}
    gradient = -train({**once, "settings": {"lr": 1.0}})["update"]
    assert gradient.shape == (128, 784)
    large = np.abs(gradient) > 1e-4  # eps does not count there
    for name, settings, length in (
        ("adam", {"lr": 1e-3}, 1e-3),
        ("rmsprop", {"lr": 1e-3, "alpha": 0.99}, 1e-2),
        ("rmsprop", {"lr": 1e-3, "alpha": 0.75}, 2e-3),
        ("lion", {"lr": 1e-3}, 1e-3),
    ):
        update = train({**once, "optimizer": name, "settings": settings})["update"]
        close(update[large], -length * np.sign(gradient[large]), rtol=2e-3, atol=1e-8)


def test_muon_moves_the_hidden_matrix_and_adam_the_rest() -> None:
    job = {**SMALL, "steps": 2, "watch": 2, "optimizer": "muon", "settings": {"lr": 0.02, "weight_decay": 0.0}}
    run = train(job)
    sizes = np.linalg.svd(run["update"] / 0.02, compute_uv=False)
    assert sizes.max() < 1.21 and np.median(sizes) > 0.3  # 64 images at most give 64 directions or so
    other = train({**job, "settings": {"lr": 0.0, "weight_decay": 0.0}})
    assert not other["update"].any() and other["norm"] != train({**SMALL, "settings": {"lr": 0.0}})["norm"]


def test_a_run_that_diverges_says_when() -> None:
    run = train({**SMALL, "steps": 60, "settings": {"lr": 100.0, "momentum": 0.9}})
    assert run["diverged"] == len(run["loss"]) < 60
    assert not run["loss"][-1] < 1e6 and all(value < 1e6 for value in run["loss"][:-1])
    assert 0 <= run["accuracy"] <= 100 and run["test_loss"] > 0
    whole = techniques._whole(run, 60)
    assert len(whole) == 60 and whole[-1] == math.inf and whole[: len(run["loss"])] == run["loss"]


def test_probes_are_taken_before_their_steps() -> None:
    x, y = mnist("train")
    tg.manual_seed(3)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    scores = model(tg.Tensor(x[:256])).numpy().astype("float64")
    shifted = scores - scores.max(axis=1, keepdims=True)
    loss = (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(256), y[:256]]).mean()
    run = train({**SMALL, "settings": {"lr": 0.1}, "probe": (0, 4)})
    assert len(run["probe"]) == 4
    close(run["probe"][0], loss, rtol=1e-5)
    later = train({**SMALL, "settings": {"lr": 0.1}, "probe": (2, 4)})
    assert later["probe"] == run["probe"][2:]
    assert later["loss"] == run["loss"]  # looking changes nothing


def test_digits_are_mnists_and_validation_is_apart() -> None:
    x, y = mnist("train")
    part, labels = digits("train", 256, 300)
    assert part.dtype == np.float32
    close(part, x[256:300], atol=1e-6)
    assert (labels == y[256:300]).all()
    run = train({**SMALL, "settings": {"lr": 0.0}, "test": 100, "validate": True})
    tg.manual_seed(3)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    guesses = model(tg.Tensor(x[256:356])).numpy().argmax(axis=1)
    close(run["accuracy"], 100 * (guesses == y[256:356]).mean())


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"optimiser": "sgd"}, ["unknown optimiser", "optimizer"]),
        ({"optimizer": "adamax"}, ["'adamax'", "rmsprop"]),
        ({"schedule": ("Cosine", {})}, ["'Cosine'", "lr_scheduler"]),
        ({"batch": 0}, ["batch", "not 0"]),
        ({"steps": 1.5}, ["steps", "1.5"]),
        ({"images": 32, "batch": 64}, ["batch of 64", "32"]),
        ({"images": 60_001}, ["60001", "60000"]),
        ({"images": 64, "validate": True, "test": 60_000}, ["60064", "60000"]),
        ({"test": 10_001, "images": 64}, ["10001", "'test'", "10000"]),
        ({"dropout": 1.5, "images": 64}, ["1.5"]),
    ],
)
def test_jobs_that_cannot_be_run(job: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        train(job)
    assert all(word in str(error.value) for word in words), error.value


# -- the two extra optimizers ---------------------------------------------------------------------


def test_sgdw_by_hand() -> None:
    """On (w1^2 + 10 w2^2) / 2: w <- (1 - lr decay) w, then v <- mu v + g with g at the old w, w <- w - lr v."""
    lr, mu, decay, curvature = 0.05, 0.9, 0.1, np.array([1.0, 10.0])
    w = tg.Tensor([1.0, 1.0], dtype="float64", requires_grad=True)
    optimizer = SGDW([w], lr=lr, momentum=mu, weight_decay=decay)
    place, v = np.ones(2), np.zeros(2)
    for _ in range(5):
        optimizer.zero_grad()
        (0.5 * (w * w * curvature).sum()).backward()
        optimizer.step()
        v = mu * v + curvature * place
        place = (1 - lr * decay) * place - lr * v
        close(w.numpy(), place, rtol=1e-13)
    # without decay SGD itself, and with it alone (1 - lr decay)^t, whatever the momentum
    ups = np.sin(np.arange(20.0))
    assert (path("sgdw", {"lr": lr, "momentum": mu}, ups) == path("sgd", {"lr": lr, "momentum": mu}, ups)).all()
    alone = path("sgdw", {"lr": lr, "momentum": 0.99, "weight_decay": decay}, np.zeros(20), start=2.0)
    close(alone, 2 * (1 - lr * decay) ** np.arange(1, 21), rtol=1e-13)


def test_rate_inside_by_hand() -> None:
    rates, own = (0.1, 0.01, 0.01), {"lr": 0.1, "momentum": 0.9}
    close(path("rate-inside", own, np.ones(3), rates=rates), [-0.1, -0.2, -0.3], rtol=1e-12)
    close(path("sgd", own, np.ones(3), rates=rates), [-0.1, -0.119, -0.1461], rtol=1e-12)
    ups = np.cos(np.arange(30.0))
    close(path("rate-inside", own, ups), path("sgd", own, ups), rtol=1e-12, atol=1e-14)  # at a constant rate the same
    w = tg.ones(2, requires_grad=True)
    w.grad = tg.ones(2)
    RateInside([w], lr=np.float64(0.1), momentum=np.float64(0.9)).step()
    assert w.dtype == np.float32
    with pytest.raises(ValueError, match="momentum"):
        RateInside([w], momentum=-0.1)


def test_coupled_decay_is_the_heavy_balls_slow_root() -> None:
    """w <- w - lr v, v <- mu v + decay w is heavy ball on decay w^2 / 2: z^2 - (1 + mu - lr decay) z + mu = 0."""
    lr, mu, decay = 0.01, 0.9, 0.01
    w = path("sgd", {"lr": lr, "momentum": mu, "weight_decay": decay}, np.zeros(800), start=1.0)
    root = np.roots([1, -(1 + mu - lr * decay), mu]).real.max()
    close(w[700] / w[600], root**100, rtol=1e-9)


# -- statistics -----------------------------------------------------------------------------------


def test_students_t() -> None:
    """Each t of the table leaves 2.5 % above it: the density integrated."""
    for n, t in enumerate(analysis.T, start=1):  # n: degrees of freedom
        scale = math.gamma((n + 1) / 2) / (math.sqrt(n * math.pi) * math.gamma(n / 2))
        x = np.linspace(0, t, 20001)
        close(np.trapezoid(scale * (1 + x * x / n) ** (-(n + 1) / 2), x), 0.475, atol=3e-5)


def test_band() -> None:
    mean, half = band([1.0, 2.0, 3.0])
    assert mean == 2.0
    close(half, 4.303 / math.sqrt(3), rtol=1e-12)
    with pytest.raises(ValueError, match="two values, got 1"):
        band([1.0])
    rng = np.random.default_rng(0)  # it covers the true mean in 95 % of samples
    covered = [abs(mean) <= half for mean, half in (band(rng.normal(size=4)) for _ in range(4000))]
    assert abs(np.mean(covered) - 0.95) < 0.015


def test_edge_is_read_off_between_the_rates() -> None:
    rates = 0.1 * 2.0 ** np.arange(6)
    losses = np.array([0.5, 0.3, 0.2, 0.2, 3.2, math.inf])  # a factor 16 from 0.8 to 1.6
    close(techniques._edge(rates, losses, 0.8), 0.8 * 2**0.5)  # 0.8 is half way, in logarithms
    assert 0.8 < techniques._edge(rates, losses, 0.4) < techniques._edge(rates, losses, 1.6) < 1.6
    assert techniques._edge(rates, np.full(6, 0.2), 0.4) == rates[-1]
    ends = np.array([0.2, 0.2, 0.2, 0.2, 0.2, math.inf])
    assert rates[4] < techniques._edge(rates, ends, 0.4) < rates[5]


def test_plan() -> None:
    plan = Plan.of(Options(quick=True, quiet=True))
    assert plan.seeds == Plan.of(Options(quick=True)).seeds != Plan.of(Options(quick=True, seed=1)).seeds
    assert len(set(plan.seeds)) == 3 and len(Plan.of(Options()).seeds) == 4
    job = {"a": {**SMALL, "settings": {"lr": 0.1}}, "b": {**SMALL, "settings": {"lr": 0.2}}}
    rows = plan.repeat(job, "test")
    assert rows["b"][2] == train({**plan.size, **job["b"], "seed": plan.seeds[2]})
    both = Plan.of(Options(quick=True, quiet=True, jobs=2))
    assert both.repeat({"a": {**SMALL, "settings": {"lr": 0.1}}}, "test")["a"][0]["lr"] == rows["a"][0]["lr"]
    low, high = rows["a"], rows["b"]
    mean, _ = training.ahead(high, low)
    close(mean, np.mean([h["accuracy"] - one["accuracy"] for h, one in zip(high, low)]))
    close(training.spread([low, high]), abs(mean), atol=1e-9)


# -- the study ------------------------------------------------------------------------------------

SENTENCES = (
    "RMSprop: momentum 0.99, at the lr that suits 0, loses accuracy",
    "RMSprop at lr (1 - momentum): from 0 to 0.9 the accuracy stays",
    "Adam at one lr: from beta1 0 to 0.99 the accuracy hardly changes",
    "RMSprop starts cold",
    "Adam corrects for its cold start",
    "Coupled decay with momentum 0.9 is 1 / (1 - 0.9) = 10 times as fast",
    "Decoupled decay with momentum 0.9 is as fast as without",
    "Adam divides coupled decay's size away",
    "MNIST: decoupled, momentum 0.9 needs 10 times the weight_decay",
    "One cycle to lr 0.2: cycling the momentum beats leaving it at 0.95",
    "MNIST, momentum 0.99: with lr inside the velocity",
    "this advantage of momentum grows",
    "With momentum 0.99 at the same lr, dropout 0.5 costs much more",
    "Lion: every weight that moves, moves by lr",
    "Muon's step has no small direction",
    "Muon is no worse than SGD with momentum",
)


def test_every_claim_passed(quick: Study) -> None:
    assert len(quick.claims) >= 40
    for claim in quick.claims:
        assert claim.passed, str(claim)
    for sentence in SENTENCES:
        assert sum(sentence in claim.claim for claim in quick.claims) == 1, sentence
    assert len({claim.claim for claim in quick.claims}) == len(quick.claims)
    assert all(claim.source for claim in quick.claims)


class Damped(optim.RMSprop):
    """RMSprop whose momentum averages, as Adam's does."""

    def update(self, xp: Any, w: Any, g: Any, state: Any, **own: Any) -> None:  # type: ignore[override]
        super().update(xp, w, g, state, **{**own, "lr": own["lr"] * (1 - own["momentum"])})


@pytest.mark.parametrize(
    ("experiment", "name", "other", "sentence"),
    [
        ("decay", "sgdw", optim.SGD, "Decoupled decay with momentum 0.9"),
        ("decay", "adamw", optim.Adam, "AdamW's decay is as fast"),
        ("decay", "adam", optim.AdamW, "Adam divides coupled decay's size away"),
        ("adaptive", "rmsprop", Damped, "under a constant gradient: steps grow"),
        ("adaptive", "rmsprop", Damped, "RMSprop starts cold"),
        ("adaptive", "adam", optim.RMSprop, "Adam corrects for its cold start"),
    ],
)
def test_claims_fail_with_another_optimizer(
    experiment: str, name: str, other: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say what was measured: put another optimizer in the place of the one that they name."""

    def value(plan: Plan) -> bool:
        run = getattr(techniques, experiment, None) or getattr(descendants, experiment)
        return next(claim.passed for claim in run(plan).claims if sentence in claim.claim)

    plan = Plan(Options(quick=True, quiet=True), (1, 2), {"images": 64, "test": 50, "steps": 1})
    assert value(plan)

    def wrong(params: Any, lr: float, betas: Any = None, **own: Any) -> Any:
        return other(params, lr=lr, **own)

    monkeypatch.setitem(training.OPTIMIZERS, name, wrong)
    assert not value(plan)


def test_its_data_are_json_and_what_the_claims_say(quick: Study) -> None:
    assert (quick.name, quick.data["seeds"]) == ("techniques", Plan.of(Options(quick=True)).seeds)
    text = json.dumps(plain(quick.data), allow_nan=False)
    assert len(text) < 400_000
    values = {claim.claim: claim.value for claim in quick.claims}
    rows = quick.data["adaptive"]["accuracy"]
    fixed = [np.mean(rows[f"fixed {mu}"]) for mu in (0.0, 0.99)]
    close(next(v for k, v in values.items() if "at the lr that suits 0" in k), fixed[0] - fixed[1])
    assert all(len(row) == 3 for row in rows.values())
    spectrum = quick.data["descendants"]["singular"]["muon"]
    assert spectrum.shape == (3, 128)
    close(next(v for k, v in values.items() if "smallest singular value" in k), spectrum.min())


def test_every_figure_is_drawn(quick: Study, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    names = "adaptive", "decay", "onecycle", "drop", "batches", "dropout", "updates", "descendants"
    assert [figure.name for figure in quick.figures] == [f"techniques-{name}" for name in names]
    for figure in quick.figures:
        assert "otice" in figure.caption
        png, svg = figure.save(tmp_path)
        pixels = image.imread(png)
        assert pixels.shape[1] == 800 and pixels[..., :3].std() > 0.02  # not an empty page
        assert svg.read_text().startswith("<?xml")


def test_a_diverged_run_is_drawn(quick: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    data = dict(quick.data["batches"])
    data["loss"] = {key: table.copy() for key, table in data["loss"].items()}
    data["loss"]["16 0.0"][-1] = math.inf
    paths = training.picture("batches", "a loss without end", data).save(tmp_path)
    assert all(p.stat().st_size > 1000 for p in paths)


def test_the_optimizers_are_ours() -> None:
    assert training.OPTIMIZERS["sgd"] is optim.SGD and issubclass(SGDW, optim.SGD)
