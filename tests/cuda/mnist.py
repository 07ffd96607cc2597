"""The part `mnist`: how long the CNN of examples/mnist.py trains to 99 % test accuracy, on the device, with usual steps
and with captured ones in turn: seed by seed the same weights and orders.

The clock runs while the network is trained: all epochs, each batch taken from the data set, which is on the device, and
the schedule's steps. "After warm-up" means for both ways: a whole training before all others compiles the kernels and
takes memory. A captured step needs more than that, as a graph belongs to one model. So before the clock starts the step
is called WARMUP times and recorded, for each size of batch (the last one of an epoch is smaller, and has a graph of its
own), with the first images. Then weights, running statistics and the optimizer's state are put back in place: the
training that is timed begins where the one with usual steps does. The time that this takes is reported beside it, so
that who wants to can add it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_m as tg
from examples import mnist as example
from tinygrad_m import kernels, nn, optim
from tinygrad_m.data import DataLoader, load_mnist
from tinygrad_m.nn import functional as F

from . import process
from .states import put_back
from .with_tinygrad_m import wait

SEEDS, QUICK_SEEDS = 10, 2
ACCURACY = 99.0
WARMUP = 3
USUAL, CAPTURED = "usual steps", "captured steps"

Data = tuple[np.ndarray, ...]
Step = Callable[[tg.Tensor, tg.Tensor], Any]


def files() -> Data:
    """Images and labels for training and for the test. FileNotFoundError where there are none."""
    return (*load_mnist("train"), *load_mnist("test"))


def train(seed: int, data: Data, device: str, epochs: int, captured: bool = False) -> dict[str, float]:
    """{"seconds": of the training loop, "accuracy": per cent of the test images that are right, "before": seconds that
    a captured step needs before it}."""
    recipe = example.RECIPES["cnn"]
    tg.manual_seed(seed)
    train_x, train_y, test_x, test_y = data
    batches = DataLoader(train_x, train_y, batch_size=recipe["batch_size"], shuffle=True, device=device)
    test = DataLoader(test_x, test_y, batch_size=1000, device=device)
    model = example.build("cnn").to(device)
    make, settings = example.OPTIMIZERS[recipe["optimizer"]]
    optimizer = make(model.parameters(), **settings)
    schedule = example.schedule_of(recipe["schedule"], optimizer, epochs * len(batches))

    def learn(x: tg.Tensor, y: tg.Tensor) -> None:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    start = time.perf_counter()
    step = recorded(learn, model, optimizer, batches) if captured else learn
    wait(device)
    before = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(epochs):
        for x, y in batches:
            step(x, y)
            schedule.step()
    wait(device)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": float(example.accuracy(model, test)), "before": before}


def recorded(step: Step, model: nn.Module, optimizer: optim.Optimizer, batches: DataLoader) -> Step:
    """The step, captured and recorded for each size of batch that the loader has; model and optimizer are as before."""
    captured, before = tg.capture(step, WARMUP), model.state_dict()
    for size in {min(batches.batch_size, batches.size), batches.size % batches.batch_size} - {0}:
        images, labels = [tg.Tensor(a[:size]) for a in batches.arrays]
        for _ in range(WARMUP + 1):
            captured(images, labels)
    model.load_state_dict(before)  # in place
    put_back(optimizer, {})
    return captured


def run(seeds: int, device: str = "cuda") -> dict[str, Any]:
    """All seeds in both ways, after a training in each that is not counted. A way that raises is out of the race."""
    try:
        data = files()
    except FileNotFoundError as error:
        return {"absent": str(error)}
    epochs = example.RECIPES["cnn"]["epochs"]
    ways: dict[str, list[dict[str, float]]] = {USUAL: [], **({CAPTURED: []} if kernels.ENABLED else {})}
    failures: list[str] = []
    for seed in (0, *range(seeds)):
        for way in list(ways):
            try:
                ways[way].append(train(seed, data, device, epochs, captured=way == CAPTURED))
            except Exception as error:
                if way == USUAL:
                    raise
                failures.append(f"{way}, seed {seed}: {process.said(error)}")
                del ways[way]
    return {
        "epochs": epochs, "seeds": seeds, "ways": {way: summary(all_[1:]) for way, all_ in ways.items()},
        "failures": failures,
    }  # fmt: skip


def summary(trainings: list[dict[str, float]]) -> dict[str, Any]:
    """Each number's values by its name, and their means as "mean ..."."""
    values = {name: [one[name] for one in trainings] for name in ("seconds", "accuracy", "before")}
    return {**values, **{f"mean {name}": statistics.fmean(all_) for name, all_ in values.items()}}


def fastest(ways: dict[str, dict[str, Any]]) -> str:
    """The way that took the least time on average."""
    return min(ways, key=lambda way: float(ways[way]["mean seconds"]))


def part(quick: bool = False) -> dict[str, Any]:
    """The trainings, in one process."""
    found: dict[str, Any] = process.run("mnist", seeds=QUICK_SEEDS if quick else SEEDS)
    return {"failures": [], **found}
