"""The part `mnist`: how long the CNN of examples/mnist.py trains to 99 % test accuracy, on the device."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import tinygrad_m as tg
from examples import mnist as example
from tinygrad_m.data import DataLoader, load_mnist
from tinygrad_m.nn import functional as F

from . import process
from .with_tinygrad_m import wait

SEEDS, QUICK_SEEDS = 10, 2
ACCURACY = 99.0


def files() -> tuple[np.ndarray, ...]:
    """Images and labels for training and for the test. FileNotFoundError where there are none."""
    return (*load_mnist("train"), *load_mnist("test"))


def train(seed: int, data: tuple[np.ndarray, ...], device: str, epochs: int) -> tuple[float, float]:
    """Seconds of the training loop (the data set is on the device before, and the test comes after), and the per cent
    of the test images that are right."""
    recipe = example.RECIPES["cnn"]
    tg.manual_seed(seed)
    train_x, train_y, test_x, test_y = data
    batches = DataLoader(train_x, train_y, batch_size=recipe["batch_size"], shuffle=True, device=device)
    test = DataLoader(test_x, test_y, batch_size=1000, device=device)
    model = example.build("cnn").to(device)
    make, settings = example.OPTIMIZERS[recipe["optimizer"]]
    optimizer = make(model.parameters(), **settings)
    schedule = example.schedule_of(recipe["schedule"], optimizer, epochs * len(batches))
    wait(device)
    start = time.perf_counter()
    for _ in range(epochs):
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    wait(device)
    seconds = time.perf_counter() - start
    return seconds, float(example.accuracy(model, test))


def run(seeds: int, device: str = "cuda") -> dict[str, Any]:
    """All seeds, after a training that is not counted: it compiles the kernels and takes the memory."""
    try:
        data = files()
    except FileNotFoundError as error:
        return {"absent": str(error)}
    epochs = example.RECIPES["cnn"]["epochs"]
    train(seeds, data, device, epochs)
    seconds, accuracies = zip(*[train(seed, data, device, epochs) for seed in range(seeds)])
    return {
        "epochs": epochs, "seeds": seeds, "seconds": list(seconds), "accuracies": list(accuracies),
        "mean seconds": statistics.fmean(seconds), "mean accuracy": statistics.fmean(accuracies),
    }  # fmt: skip


def part(quick: bool = False) -> dict[str, Any]:
    """The trainings, in one process."""
    found: dict[str, Any] = process.run("mnist", seeds=QUICK_SEEDS if quick else SEEDS)
    return {**found, "failures": []}
