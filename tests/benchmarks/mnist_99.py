"""MNIST to 99 % test accuracy, on two threads: one recipe, for tinygrad_m and for PyTorch. The network, its first
values' distribution, the optimizer and the schedule are the same; only the random numbers differ.

    python -m tests.benchmarks.mnist_99 tinygrad_m --seeds 0 1 2 3 4
    python -m tests.benchmarks.mnist_99 torch --epochs 2 --max-lr 0.2

prints for each seed how long the training loop took (batches, steps and schedule, no evaluation) and the accuracy on
the 10,000 test images at its end; OMP_NUM_THREADS and its like, if set, say another number of threads.
`python -m tests.benchmarks --case mnist-99` lets the two take turns."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .cases import FLATTEN, NETWORKS, POOL, RELU, convolutional, unknown
from .contenders import sequential
from .measure import environment, keep_to_cores

CNN = convolutional(
    128, ("conv", 1, 12, 5, 0), RELU, POOL, ("conv", 12, 32, 5, 0), RELU, POOL, FLATTEN,
    ("linear", 512, 128), RELU, ("linear", 128, 10),
)  # fmt: skip
RACED = {"cnn": CNN, **NETWORKS}


class Recipe(NamedTuple):
    """What `examples/mnist.py --model cnn` does: SGD with Nesterov momentum under a one-cycle schedule, where the rate
    goes up and down, momentum down and up."""

    network: str = "cnn"
    batch: int = 128
    epochs: int = 2
    max_lr: float = 0.1
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    label_smoothing: float = 0.0


RECIPE = Recipe()
THREADS = 2
TEST_BATCH = 1000


class Found(NamedTuple):
    """Seconds of the training loop, and the per cent of the test images that are right."""

    seconds: float
    accuracy: float


def schedule(recipe: Recipe, steps: int) -> dict[str, Any]:
    """The arguments of OneCycleLR, which both libraries name alike."""
    names = ("max_lr", "base_momentum", "max_momentum", "pct_start", "div_factor", "final_div_factor")
    return {"total_steps": steps, **{name: getattr(recipe, name) for name in names}}


def time_epochs(epochs: int, losses: Callable[[], Iterator[Any]], optimizer: Any, cycle: Any) -> float:
    """Seconds of the training loop, which reads the same for both; losses() computes an epoch's, one by one."""
    start = time.perf_counter()
    for _ in range(epochs):
        for loss in losses():
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
    return time.perf_counter() - start


def with_tinygrad_m(recipe: Recipe, seed: int, data: tuple[np.ndarray, ...]) -> Found:
    import tinygrad_m as tg
    from tinygrad_m import nn, optim
    from tinygrad_m.data import DataLoader
    from tinygrad_m.nn import functional as F

    train_x, train_y, test_x, test_y = data
    tg.manual_seed(seed)
    model = sequential(nn, RACED[recipe.network])
    optimizer = optim.SGD(model.parameters(), lr=recipe.max_lr, momentum=recipe.max_momentum, nesterov=True)
    loader = DataLoader(train_x, train_y, batch_size=recipe.batch, shuffle=True)
    cycle = optim.lr_scheduler.OneCycleLR(optimizer, **schedule(recipe, recipe.epochs * len(loader)))

    def losses() -> Iterator[Any]:
        for x, y in loader:
            yield F.cross_entropy(model(x), y, label_smoothing=recipe.label_smoothing)

    seconds = time_epochs(recipe.epochs, losses, optimizer, cycle)

    model.eval()
    with tg.no_grad():
        guesses = [model(x).argmax(axis=1).numpy() for x in DataLoader(test_x, batch_size=TEST_BATCH)]
    return Found(seconds, 100.0 * float(np.mean(np.concatenate(guesses) == test_y)))


def with_torch(recipe: Recipe, seed: int, data: tuple[np.ndarray, ...]) -> Found:
    import torch
    from torch import nn
    from torch.nn import functional as F

    train_x, train_y, test_x, test_y = map(torch.from_numpy, data)
    torch.manual_seed(seed)
    model = sequential(nn, RACED[recipe.network])
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.max_lr, momentum=recipe.max_momentum, nesterov=True)
    steps = -(-len(train_x) // recipe.batch)  # the last batch of an epoch is smaller
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, **schedule(recipe, recipe.epochs * steps))

    def losses() -> Iterator[Any]:
        for rows in torch.randperm(len(train_x)).split(recipe.batch):
            yield F.cross_entropy(model(train_x[rows]), train_y[rows], label_smoothing=recipe.label_smoothing)

    seconds = time_epochs(recipe.epochs, losses, optimizer, cycle)

    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(x).argmax(dim=1) for x in test_x.split(TEST_BATCH)])
    return Found(seconds, 100.0 * float((guesses == test_y).float().mean()))


TRAINERS = {"tinygrad_m": with_tinygrad_m, "torch": with_torch}


def train(contender: str, recipe: Recipe, seed: int) -> Found:
    """Train once and test."""
    from tinygrad_m.data import load_mnist

    if contender not in TRAINERS:
        raise ValueError(unknown("contender", contender, list(TRAINERS)))
    return TRAINERS[contender](recipe, seed, (*load_mnist("train"), *load_mnist("test")))


def main() -> None:
    """Seed after seed in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=list(TRAINERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    for name, value in RECIPE._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    args = parser.parse_args()
    recipe = Recipe(**{name: getattr(args, name) for name in Recipe._fields})
    if "OMP_NUM_THREADS" not in os.environ:  # the libraries read it when they are imported: begin again
        sys.exit(subprocess.run(sys.orig_argv, env=environment(THREADS, args.contender)).returncode)
    keep_to_cores(int(os.environ["OMP_NUM_THREADS"]))
    print(recipe)
    found = []
    for seed in args.seeds:
        found.append(train(args.contender, recipe, seed))
        print(f"seed {seed}: {found[-1].seconds:.2f} s, test accuracy {found[-1].accuracy:.2f} %", flush=True)
    seconds, accuracy = (statistics.fmean(values) for values in zip(*found, strict=True))
    print(f"{args.contender}, mean of {len(found)}: {seconds:.2f} s, {accuracy:.2f} %")


if __name__ == "__main__":
    main()
