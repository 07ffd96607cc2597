"""The MNIST experiment: every value of momentum, in three optimizers, under three protocols for the learning rate,
with paired seeds. train() is one run, written out; plan() lists the runs; run() does what is not yet done. journal.py
keeps the results, analysis.py reads them, parallel.py brings them onto all cores or a cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import cache
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np

from .. import manual_seed, nn, no_grad, optim
from ..data import DataLoader, load_mnist
from ..nn import functional as F
from ..tensor import Tensor
from . import parallel
from .journal import Journal

# 0 is plain SGD; 0.95 fills the hole in 0.5, 0.6 ... 0.9, 0.99 where the best value often is
MOMENTA = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
OPTIMIZERS = ("momentum", "nesterov", "rmsprop-momentum")
FIXED = {"momentum": (0.01, 0.1), "nesterov": (0.01, 0.1), "rmsprop-momentum": (1e-4, 1e-3)}
PROTOCOLS = ("small", "large", "matched")
GUESSING = log(10)  # the loss of an even guess among ten digits


@dataclass(frozen=True)
class Settings:
    """What one experiment is. images: how many of the 60,000 training images; targets: accuracies, in per cent, that
    are timed; heat_*: the map of lr x momentum."""

    images: int = 60_000
    tests: int = 10_000
    epochs: int = 10
    seeds: int = 5
    first_seed: int = 0
    batch_size: int = 64
    hidden: int = 128
    targets: tuple[float, float] = (95.0, 97.0)
    heat_rates: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    heat_epochs: int = 3
    heat_seeds: int = 3

    def __post_init__(self) -> None:
        if self.images < 4 * self.batch_size:
            raise ValueError(f"{self.images} images make fewer than 4 batches of {self.batch_size}, but accuracy is "
                             "measured four times an epoch: take more images, or a smaller batch_size")  # fmt: skip


FULL = Settings()
QUICK = Settings(images=12_000, tests=2_000, epochs=2, seeds=3, targets=(80.0, 85.0),
                 heat_rates=(0.001, 0.01, 0.1, 1.0), heat_epochs=1, heat_seeds=1)  # fmt: skip


def rate(optimizer: str, protocol: str, momentum: float) -> float:
    """The learning rate: one of two fixed ones, or the second one times (1 - momentum), so that the effective
    rate lr / (1 - momentum) is the same for all."""
    small, large = FIXED[optimizer]
    if protocol == "matched":
        return float(f"{large * (1 - momentum):.6g}")
    return small if protocol == "small" else large


def job(optimizer: str, lr: float, momentum: float, seed: int, settings: Settings, epochs: int) -> dict[str, Any]:
    """One run, as train() takes it. Nesterov without momentum is momentum without momentum."""
    if momentum == 0 and optimizer == "nesterov":
        optimizer = "momentum"
    numbers = {"lr": lr, "momentum": momentum, "seed": settings.first_seed + seed, "epochs": epochs}
    data = {name: getattr(settings, name) for name in ("images", "tests", "batch_size", "hidden")}
    return {"optimizer": optimizer, **numbers, **data}


def plan(settings: Settings) -> list[dict[str, Any]]:
    """Every run once, though protocols and the map share some: by seed first, so that an experiment that is
    stopped early has whole seeds."""
    jobs = [job(name, rate(name, protocol, mu), mu, seed, settings, settings.epochs)
            for seed in range(settings.seeds)
            for name in OPTIMIZERS for protocol in PROTOCOLS for mu in MOMENTA]  # fmt: skip
    jobs += [job("momentum", lr, mu, seed, settings, settings.heat_epochs)
             for seed in range(settings.heat_seeds) for lr in settings.heat_rates for mu in MOMENTA]  # fmt: skip
    return list({key(one): one for one in jobs}.values())


def key(run: dict[str, Any]) -> str:
    """The name of a run: what makes it this run and no other."""
    return "{optimizer} lr={lr:g} momentum={momentum:g} seed={seed} epochs={epochs}".format(**run)


@cache
def _mnist() -> tuple[np.ndarray, ...]:
    return (*load_mnist("train", flatten=True), *load_mnist("test", flatten=True))


def digits(images: int, tests: int) -> tuple[np.ndarray, ...]:
    """The first MNIST images, as rows of 784 numbers, and their labels: (train x, y, test x, y)."""
    train_x, train_y, test_x, test_y = _mnist()
    return train_x[:images], train_y[:images], test_x[:tests], test_y[:tests]


def network(hidden: int) -> nn.Module:
    """784 - hidden - 10, with ReLU."""
    return nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def make_optimizer(name: str, params: Any, lr: float, momentum: float) -> optim.Optimizer:
    """The optimizer of a run."""
    if name == "rmsprop-momentum":
        return optim.RMSprop(params, lr=lr, momentum=momentum)
    return optim.SGD(params, lr=lr, momentum=momentum, nesterov=name == "nesterov")


def train(job: dict[str, Any]) -> dict[str, Any]:
    """One run: the job itself, and what was measured.

    train_loss, test_loss  one number an epoch; None after a run has diverged
    test_accuracy          in per cent, four times an epoch
    curve                  means of the minibatch loss over the steps up to curve_steps()[k] (from the one before)
    overshoot              the largest rise of the smoothed minibatch loss above its lowest value so far
    cosine, reversals      of successive updates: mean cosine, and the fraction that point back (cosine < 0)
    zigzag                 the fraction of successive gradients that point back
    diverged               None, or the step at which the loss was no longer finite; or the last one, if the loss has
                           risen again and ends within 5 % of that of guessing
    seconds                spent in training steps, without evaluation"""
    train_x, train_y, test_x, test_y = digits(job["images"], job["tests"])
    manual_seed(job["seed"])  # a seed's first weights and batches are the same for all optimizers and rates
    batches = DataLoader(train_x, train_y, batch_size=job["batch_size"], shuffle=True, seed=job["seed"], device="cpu")
    tests = DataLoader(test_x, test_y, batch_size=1000, device="cpu")
    model = network(job["hidden"])
    params = list(model.parameters())
    optimizer = make_optimizer(job["optimizer"], params, job["lr"], job["momentum"])

    steps = job["epochs"] * len(batches)
    quarters = np.linspace(0, len(batches), 5).round().astype(int)[1:]
    losses: list[float] = []
    moves = Directions()
    seconds, accuracies, test_losses = 0.0, [], []
    with np.errstate(all="ignore"):  # a run that diverges overflows on its way
        for _ in range(job["epochs"]):
            start = time.perf_counter()
            for k, (x, y) in enumerate(batches, 1):
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                moves.before(len(losses), params)
                optimizer.step()
                moves.after(len(losses), params)
                losses.append(loss.item())
                if not isfinite(losses[-1]):
                    break
                if k in quarters:
                    seconds += time.perf_counter() - start
                    accuracy, test_loss = evaluate(model, tests)
                    accuracies.append(accuracy)
                    start = time.perf_counter()
            if not isfinite(losses[-1]):
                break
            test_losses.append(test_loss)

    per_epoch = [float(np.mean(losses[k : k + len(batches)])) for k in range(0, len(losses), len(batches))]
    rise = drawup(losses)
    overflow = not all(map(isfinite, (losses[-1], *test_losses)))
    lost = overflow or (per_epoch[-1] > 0.95 * GUESSING and rise is not None and rise > 0.5)
    missing = [None] * (job["epochs"] - len(test_losses))
    return {
        **job,
        "train_loss": short(per_epoch[: len(test_losses)]) + missing,
        "test_loss": [short(one) if isfinite(one) else None for one in test_losses] + missing,
        "test_accuracy": short(accuracies) + [None] * (4 * job["epochs"] - len(accuracies)),
        "curve": curve(losses, steps),
        "overshoot": short(rise),
        **moves.summary(),
        "diverged": len(losses) if lost else None,
        "seconds": round(seconds, 3),
    }


@no_grad()
def evaluate(model: nn.Module, tests: DataLoader) -> tuple[float, float]:
    """(accuracy in per cent, mean loss) on the test images."""
    right, total = 0, 0.0
    for x, y in tests:
        scores = model(x)
        right += int((scores.argmax(axis=1) == y).sum().item())
        total += F.cross_entropy(scores, y).item() * len(y)
    return 100 * right / tests.size, total / tests.size


class Directions:
    """Watches two successive steps in every five: the cosine between their updates, and between their gradients.
    (A loss curve's own ups and downs say nothing: they are the noise of the batches, at every momentum.)"""

    def __init__(self) -> None:
        self.cosines: list[float] = []
        self.gradients: list[float] = []
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def before(self, step: int, params: Sequence[Tensor]) -> None:
        if step % 5 >= 3:
            self.gradient = np.concatenate([p.grad.data.ravel() for p in params if p.grad is not None])
            self.place = np.concatenate([p.data.ravel() for p in params])

    def after(self, step: int, params: Sequence[Tensor]) -> None:
        if step % 5 < 3:
            return
        pair = np.concatenate([p.data.ravel() for p in params]) - self.place, self.gradient
        if step % 5 == 4 and self.last is not None:
            self.cosines.append(cosine(pair[0], self.last[0]))
            self.gradients.append(cosine(pair[1], self.last[1]))
        self.last = pair

    def summary(self) -> dict[str, float | None]:
        """Means over the pairs in which both vectors had a direction; None if there was none."""
        updates, gradients = (np.array([c for c in values if isfinite(c)]) for values in (self.cosines, self.gradients))
        return {
            "cosine": short(float(updates.mean())) if len(updates) else None,
            "reversals": short(float((updates < 0).mean())) if len(updates) else None,
            "zigzag": short(float((gradients < 0).mean())) if len(gradients) else None,
        }


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The cosine of the angle between two vectors; NaN if one is zero or not finite."""
    return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))


def drawup(losses: Sequence[float], keep: float = 0.9) -> float | None:
    """max over t of EMA_t - min over s <= t of EMA_s, where EMA is the bias-corrected moving average that keeps
    `keep` of itself: how far the loss rose again after it had been low. None if the loss was never finite."""
    average, weight, low, rise = 0.0, 0.0, float("inf"), None
    for loss in losses:
        if not isfinite(loss):
            break
        average, weight = keep * average + (1 - keep) * loss, keep * weight + (1 - keep)
        low = min(low, average / weight)
        rise = max(rise or 0.0, average / weight - low)
    return rise


def curve_steps(steps: int, points: int = 80) -> list[int]:
    """The steps at which the bins of `curve` end: closer at the beginning, where most happens."""
    return sorted({round(edge) for edge in np.geomspace(1, steps, points)})


def curve(losses: Sequence[float], steps: int) -> list[float | None]:
    """The mean of the losses in each bin; None for a bin that a diverged run did not fill."""
    known = np.array(losses)
    edges = [0, *curve_steps(steps)]
    means = [known[a:b].mean() if b <= len(known) else np.nan for a, b in zip(edges, edges[1:])]
    return [short(float(mean)) if isfinite(mean) else None for mean in means]


def short(value: Any) -> Any:
    """Five digits: more is noise, and the file is committed."""
    if isinstance(value, list):
        return [short(one) for one in value]
    return value if value is None else float(f"{value:.5g}")


def run(settings: Settings, path: Path, jobs: int = 1, executor: Executor | None = None, quiet: bool = False,
        title: str = "MNIST x momentum") -> dict[str, Any]:  # fmt: skip
    """Do every run of plan(settings) that the journal at `path` does not have yet, and return the whole experiment
    (see journal.py for its form). Stop it whenever you like, in whatever way, and call it again to go on."""
    by = f"{jobs} process{'es' if jobs > 1 else ''}" if executor is None else type(executor).__name__
    with Journal(path, asdict(settings), by) as journal:
        todo = [one for one in plan(settings) if key(one) not in journal.runs]
        if journal.runs and todo:
            journal.say(f"{len(journal.runs)} runs are in {path}; {len(todo)} are left")
        costs = [one["epochs"] for one in todo]
        for _, result in parallel.each(train, todo, jobs, executor, title, quiet, costs):
            journal.add(key(result), result)
        return journal.result({"curve_steps": curve_steps(settings.epochs * -(-settings.images // settings.batch_size)),
                               "protocols": protocols()})  # fmt: skip


def protocols() -> dict[str, Any]:
    """{optimizer: {protocol: {"label": ..., "lr": {momentum: lr}}}}: which runs belong together."""
    labels = {name: [f"lr {small:g}", f"lr {large:g}", f"lr / (1 - momentum) = {large:g}"]
              for name, (small, large) in FIXED.items()}  # fmt: skip
    return {name: {protocol: {"label": label, "lr": {str(mu): rate(name, protocol, mu) for mu in MOMENTA}}
                   for protocol, label in zip(PROTOCOLS, labels[name])} for name in OPTIMIZERS}  # fmt: skip
