"""`python -m tests.benchmarks [CASE ...]`: how long the things take whose speed is claimed anywhere. Each contender
runs in a process of its own, alternating, several rounds, on one thread (OPENBLAS_NUM_THREADS=1); the table gives
medians. PyTorch is left out where it is not installed. These are figures, never assertions."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ROUNDS = 5


def best(f: Callable[[], Any], repeats: int, inner: int = 1) -> float:
    """Median seconds of one call of f, after a warm-up."""
    f()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            f()
        times.append((time.perf_counter() - start) / inner)
    return statistics.median(times)


def chain(start: Any, length: int) -> dict[str, float]:
    """Seconds per operation of a chain of tiny operations, forward and backward."""
    begin = time.perf_counter()
    x = start
    for _ in range(length):
        x = x * 1.0001
    middle = time.perf_counter()
    x.backward()
    end = time.perf_counter()
    return {
        f"chain of {length:,}, forward, per operation": (middle - begin) / length,
        f"chain of {length:,}, backward, per operation": (end - middle) / length,
    }


def ours_tiny() -> dict[str, float]:
    """A tiny operation, and the time per operation of short and long chains."""
    import tinygrad_m as tg

    a, b = tg.Tensor(1.0, requires_grad=True), tg.Tensor(2.0, requires_grad=True)
    return {"tiny operation, forward": best(lambda: a * b, 21, 5000), **chain(a, 20_000), **chain(a, 200_000)}


def torch_tiny() -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    a, b = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    return {"tiny operation, forward": best(lambda: a * b, 21, 5000), **chain(a, 20_000)}


def ours_mlp() -> dict[str, float]:
    """A whole training step of 784-128-10 at batch 64, with momentum."""
    import tinygrad_m as tg
    from tinygrad_m import nn, optim
    from tinygrad_m.nn import functional as F

    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = tg.randn(64, 784), tg.randint(0, 10, 64)

    def step() -> None:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {"training step 784-128-10, batch 64, momentum": best(step, 300)}


def torch_mlp() -> dict[str, float]:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))

    def step() -> None:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {"training step 784-128-10, batch 64, momentum": best(step, 300)}


def ours_data() -> dict[str, float]:
    """Loading MNIST from the cache, and an epoch of the loader."""
    from tinygrad_m.data import DataLoader, load_mnist

    load_mnist("train")
    start = time.perf_counter()
    images, labels = load_mnist("train")
    found = {"load_mnist('train') from the cache": time.perf_counter() - start}
    loader = DataLoader(images, labels, batch_size=64, shuffle=True, seed=0)

    def epoch() -> None:
        for _ in loader:
            pass

    return {**found, "an MNIST epoch of batches of 64, shuffled": best(epoch, 5)}


CASES = {
    "tiny": {"tinygrad_m": ours_tiny, "PyTorch": torch_tiny},
    "mlp": {"tinygrad_m": ours_mlp, "PyTorch": torch_mlp},
    "data": {"tinygrad_m": ours_data},
}


def main(names: list[str]) -> None:
    """Run the cases and print a Markdown table."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    found: dict[str, dict[str, list[float]]] = {}
    for case in names or CASES:
        for _ in range(ROUNDS):
            for contender in CASES[case]:
                command = [sys.executable, "-m", "tests.benchmarks", "--run", case, contender]
                done = subprocess.run(command, env=environment, capture_output=True, text=True)
                if done.returncode:
                    print(f"{contender} left out of {case}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                    continue
                for what, seconds in json.loads(done.stdout).items():
                    found.setdefault(what, {}).setdefault(contender, []).append(seconds)
    print(f"one thread, {ROUNDS} rounds, medians; Python {platform.python_version()}, {platform.machine()}\n")
    print("| what | tinygrad_m | PyTorch |\n| --- | --- | --- |")
    for what, by in found.items():
        cells = [text(statistics.median(by[c])) if c in by else "" for c in ("tinygrad_m", "PyTorch")]
        print(f"| {what} | {' | '.join(cells)} |")


def text(seconds: float) -> str:
    """Seconds in a unit that reads well."""
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("us", 1e-6)
    return f"{seconds / size:.3g} {unit}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        print(json.dumps(CASES[sys.argv[2]][sys.argv[3]]()))
    else:
        main(sys.argv[1:])
