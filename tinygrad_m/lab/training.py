"""One training run on MNIST with an optimizer, a schedule, weight decay, dropout and a batch size of one's choice, and
many such runs from the same weights and in the same order of images. techniques.py asks its questions with these."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from .. import nn, optim
from ..autograd import no_grad
from ..backend import Array, manual_seed
from ..data import DataLoader, load_mnist
from ..data.mnist import MEAN, STD
from ..nn import functional as F
from ..optim import lr_scheduler
from ..optim.optimizer import Params, State, buffer
from ..tensor import Tensor
from .analysis import T
from .parallel import each
from .study import Claim, Figure, Options

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Job: TypeAlias = dict[str, Any]
Run: TypeAlias = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)


# -- two optimizers to compare with ---------------------------------------------------------------


class SGDW(optim.SGD):
    """SGD, its weight decay apart from the gradient (Loshchilov and Hutter, arXiv 1711.05101):

    w <- w - lr weight_decay w,    then SGD's step without weight decay"""

    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, momentum: float,
               dampening: float, weight_decay: float, nesterov: bool) -> None:  # fmt: skip
        w *= 1 - lr * weight_decay
        super().update(xp, w, g, state, lr, momentum, dampening, 0.0, nesterov)


class RateInside(optim.Optimizer):
    """Momentum as Sutskever et al. (2013) and Keras write it. At a constant lr it is SGD's; after a change of lr
    the velocity still holds the old one.

        v <- momentum v - lr g                           v starts at 0
        w <- w + v"""

    def __init__(self, params: Params, lr: float = 1e-3, momentum: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def update(self, xp: Any, w: Array, g: Array, state: State, lr: float, momentum: float) -> None:
        v = buffer(xp, state, "velocity", w)
        v *= momentum
        v -= lr * g
        w += v


# -- one training run -----------------------------------------------------------------------------

OPTIMIZERS: dict[str, type[optim.Optimizer]] = {
    "sgd": optim.SGD, "sgdw": SGDW, "rate-inside": RateInside, "rmsprop": optim.RMSprop, "adam": optim.Adam,
    "adamw": optim.AdamW, "lion": optim.Lion, "muon": optim.Muon,
}  # fmt: skip
DEFAULTS: Job = {
    "optimizer": "sgd", "settings": {}, "schedule": None, "batch": 64, "dropout": 0.0, "seed": 0, "steps": 187,
    "images": 12_000, "test": 10_000, "validate": False, "probe": None, "watch": None,
}  # fmt: skip


def train(job: Job) -> Run:
    """Train 784-128-10 with ReLU on MNIST as the job says; what it leaves out is in DEFAULTS.

    optimizer, settings   a name in OPTIMIZERS and its arguments. "muon" moves the first matrix; Adam, lr 1e-3, the rest
    schedule              (name in optim.lr_scheduler, its arguments), stepped after every batch
    batch, steps, seed    the seed (for manual_seed, too) gives weights and order of images, whatever the other settings
    dropout               on the 128 hidden values
    images, test          the first so many of the training images, and of the test images. validate: test on the
                          training images that follow instead, so that a rate can be chosen without the test images
    probe                 (first, last): the loss on 500 training images before each of these steps, 0, 1 ...
    watch                 keep the change of the first matrix, (128, 784), in this step, 1, 2 ...

    Returns a dict: loss, lr and momentum of each step; accuracy in per cent and test_loss at the end; norm of both
    matrices; diverged, the step whose loss was above a million or no number (the run ends there), else None;
    probe and update. Raises ValueError for a job that cannot be run."""
    _check(job)
    job = {**DEFAULTS, **job}
    images, count = job["images"], job["test"]
    x, y = digits("train", 0, images)
    held_out = digits("train", images, images + count) if job["validate"] else digits("test", 0, count)
    manual_seed(job["seed"])  # weights and dropout's masks
    model = nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Dropout(job["dropout"]), nn.Linear(128, 10))
    first, last = cast(nn.Linear, model[0]).weight, cast(nn.Linear, model[3]).weight
    optimizers = _optimizers(job, list(model.parameters()))
    name, arguments = job["schedule"] or ("", {})
    schedules = [getattr(lr_scheduler, name)(optimizer, **arguments) for optimizer in optimizers if name]
    group = optimizers[0].param_groups[0]
    run: Run = {"loss": [], "lr": [], "momentum": [], "probe": [], "diverged": None, "update": None}
    probed = range(*job["probe"]) if job["probe"] else ()

    with np.errstate(all="ignore"):  # a run that diverges is a result
        for t, (inputs, labels) in zip(range(job["steps"]), _forever(x, y, job["batch"], job["seed"])):
            if t in probed:
                run["probe"].append(score(model, x[:500], y[:500])[0])
            loss = F.cross_entropy(model(inputs), labels)
            run["loss"].append(loss.item())
            run["lr"].append(group["lr"])
            run["momentum"].append(group["momentum"] if "momentum" in group else group["betas"][0])
            if not run["loss"][-1] < 1e6:
                run["diverged"] = t + 1
                break
            before = first.numpy() if t + 1 == job["watch"] else None
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            for schedule in schedules:
                schedule.step()
            if before is not None:
                run["update"] = first.numpy() - before
        run["test_loss"], run["accuracy"] = score(model, *held_out)
        run["norm"] = math.hypot(np.linalg.norm(first.numpy()), np.linalg.norm(last.numpy()))
    return run


def _optimizers(job: Job, params: list[Tensor]) -> list[optim.Optimizer]:
    make = OPTIMIZERS[job["optimizer"]]
    if make is optim.Muon:
        return [optim.Muon(params[:1], **job["settings"]), optim.Adam(params[1:], lr=1e-3)]
    return [make(params, **job["settings"])]


def _forever(x: np.ndarray, y: np.ndarray, batch: int, seed: int) -> Iterator[Any]:
    """Batches without end, all of one size, in an order that the seed alone decides."""
    loader = DataLoader(x, y, batch_size=batch, shuffle=True, drop_last=True, seed=seed)
    while True:
        yield from loader


def _check(job: Job) -> None:
    if unknown := sorted(set(job) - set(DEFAULTS)):
        raise ValueError(f"train: unknown {', '.join(unknown)} in a job, which may set {', '.join(DEFAULTS)}")
    job = {**DEFAULTS, **job}
    if job["optimizer"] not in OPTIMIZERS:
        raise ValueError(f"train: optimizer must be one of {', '.join(OPTIMIZERS)}, not {job['optimizer']!r}")
    if job["schedule"] and job["schedule"][0] not in lr_scheduler.__all__:
        raise ValueError(f"train: schedule must be a class in optim.lr_scheduler, not {job['schedule'][0]!r}")
    for key in ("batch", "steps", "images", "test"):
        if not isinstance(job[key], int) or job[key] < 1:
            raise ValueError(f"train: {key} must be a whole number of at least 1, not {job[key]!r}")
    if job["batch"] > job["images"]:
        raise ValueError(f"train: a batch of {job['batch']} needs at least so many images, not {job['images']}")


@lru_cache(maxsize=6)
def digits(split: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Images start to stop of "train" or "test", float32 (N, 784), normalized, and their labels (N,)."""
    x, y = load_mnist(split, normalize=False, flatten=True)
    if stop > len(x):
        raise ValueError(f"train: the job asks for {stop} images of {split!r}, which has {len(x)}: ask for fewer")
    part = x[start:stop].astype(np.float32)
    return (part - np.float32(255 * MEAN)) / np.float32(255 * STD), y[start:stop]


@no_grad()
def score(model: nn.Module, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(mean loss, accuracy in per cent), without dropout. A loss that is no number is infinite."""
    model.eval()
    scores = model(Tensor(x))
    model.train()
    loss = F.cross_entropy(scores, Tensor(y)).item()
    return loss if math.isfinite(loss) else math.inf, 100.0 * float((scores.numpy().argmax(axis=1) == y).mean())


# -- many runs ------------------------------------------------------------------------------------


def band(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """(mean, half width): the 95 % band of Student's t for the mean. Raises ValueError for fewer than two values."""
    if len(values) < 2:
        raise ValueError(f"band: a band needs at least two values, got {len(values)}: use more seeds")
    t = T[min(len(values) - 2, len(T) - 1)]
    return float(np.mean(values)), float(t * np.std(values, ddof=1) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Plan:
    """How large the experiments are: `seeds` of each setting, and what train() takes from here."""

    options: Options
    seeds: tuple[int, ...]
    size: Job

    @classmethod
    def of(cls, options: Options) -> Plan:
        small = {"images": 4000, "test": 2000, "steps": 90}
        size = small if options.quick else {"images": 12_000, "test": 10_000, "steps": 5 * 187}
        seeds = np.random.default_rng(options.seed).integers(2**31, size=3 if options.quick else 4)
        return cls(options, tuple(int(seed) for seed in seeds), size)

    def pick(self, quick: Any, full: Any) -> Any:
        """What belongs to this size."""
        return quick if self.options.quick else full

    def fewer(self, quick: int) -> Plan:
        """The same with fewer seeds, if quick: for what is the same with every seed, or takes long."""
        return replace(self, seeds=self.seeds[: self.pick(quick, len(self.seeds))])

    def repeat(self, settings: Mapping[Key, Job], title: str) -> dict[Key, list[Run]]:
        """Every setting with every seed: {key: runs in the order of the seeds}."""
        jobs = [{**self.size, **job, "seed": seed} for job in settings.values() for seed in self.seeds]
        done = dict(each(train, jobs, self.options.jobs, title=title, quiet=self.options.quiet))
        n = len(self.seeds)
        return {key: [done[k * n + i] for i in range(n)] for k, key in enumerate(settings)}

    def said(self, half: float | None = None, steps: int = 0) -> str:
        """For a claim's source: what was run; half: of the band over seeds."""
        what = f"MNIST, 784-128-10, {self.size['images']} images, {steps or self.size['steps']} steps"
        return f"{what}, {len(self.seeds)} seeds" + ("" if half is None else f", +- {half:.2g} (95 %)")


@dataclass(frozen=True)
class Part:
    """What one experiment found."""

    claims: list[Claim]
    figures: list[Figure]
    data: dict[str, Any]


def picture(name: str, caption: str, data: Mapping[str, Any]) -> Figure:
    """The figure that figures/techniques.py draws of `data` under this name."""

    def draw() -> Drawing:
        from .figures import techniques as drawings

        return cast("Drawing", getattr(drawings, name)(data))

    return Figure(f"techniques-{name}", caption, draw)


def accuracies(runs: Sequence[Run]) -> np.ndarray:
    return np.array([run["accuracy"] for run in runs])


def table(runs: Mapping[Any, Sequence[Run]]) -> dict[str, np.ndarray]:
    """{"the parts of the key": accuracies}, as JSON wants its keys."""
    return {" ".join(map(str, key)): accuracies(own) for key, own in runs.items()}


def ahead(runs: Sequence[Run], other: Sequence[Run]) -> tuple[float, float]:
    """By how many points `runs` are above `other`, seed by seed: (mean, half width of its band)."""
    return band(accuracies(runs) - accuracies(other))


def spread(rows: Sequence[Sequence[Run]]) -> float:
    """The best mean accuracy less the worst."""
    means = [accuracies(runs).mean() for runs in rows]
    return float(max(means) - min(means))


def path(optimizer: str, settings: Job, gradients: Sequence[float] | np.ndarray, start: float = 0.0,
         rates: Sequence[float] | None = None) -> np.ndarray:  # fmt: skip
    """Where one float64 weight is after each of the gradients; rates: a learning rate for each step."""
    w = Tensor([start], dtype="float64", requires_grad=True)
    mover = OPTIMIZERS[optimizer]([w], **settings)
    places = []
    for k, g in enumerate(gradients):
        if rates is not None:
            mover.param_groups[0]["lr"] = rates[k]
        w.grad = Tensor([g], dtype="float64")
        mover.step()
        places.append(w.item())
    return np.array(places)
