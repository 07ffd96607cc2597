"""Where the time of a training step goes in tinygrad_m, by operation, and how long the step must take at least: its
matrix products and the bytes that it touches, at the rates measured here. `python -m tests.benchmarks --profile`.

Each operation's forward and each of its rules gets a stopwatch, which itself takes about half a microsecond a call."""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from tinygrad_m.nn import functional as F
from tinygrad_m.operation import REGISTRY

from .cases import CASES, NETWORKS, Case, Network, weight_shapes
from .contenders.with_tinygrad_m import Training
from .measure import keep_to_cores, repeat, step_time, timed
from .table import text

PROFILED = ("mlp-64 momentum", "small momentum")
SECONDS = 1.0
PRODUCT_SECONDS = 0.1  # for each product, and for the copy


class Clock:
    """Seconds and calls by name, of one step. What runs inside of something timed counts for that."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.busy = False

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] += seconds
        self.calls[name] += 1

    def around(self, name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        """f with a stopwatch."""

        @functools.wraps(f)
        def timed(*args: Any, **named: Any) -> Any:
            if self.busy:
                return f(*args, **named)
            self.busy, start = True, time.perf_counter()
            try:
                return f(*args, **named)
            finally:
                self.add(name, time.perf_counter() - start)
                self.busy = False

        return timed


def put_in(clock: Clock) -> None:
    """A stopwatch around each operation's forward, and around each rule."""
    for call in REGISTRY.values():
        op = getattr(call, "op", None)  # what is composed of operations has none
        if op is None:
            continue
        op.on_numpy = clock.around(f"forward: {op.name}", op.on_numpy)
        op.table = [
            entry and (clock.around(f"backward: {op.name}, {name}", entry[0]), *entry[1:])
            for name, entry in zip(op.inputs, op.table, strict=True)
        ]
        op.plans.clear()  # they hold the rules as they were


def one_step(trainer: Training, clock: Clock) -> dict[str, float]:
    """The step of with_tinygrad_m.py with a look at the clock between its lines: seconds of each part."""
    clock.seconds.clear()
    clock.calls.clear()
    times = [time.perf_counter()]

    def look() -> None:
        times.append(time.perf_counter())

    x, y = next(trainer.batches)
    look()
    loss = F.cross_entropy(trainer.model(x), y)
    look()
    trainer.optimizer.zero_grad()
    look()
    loss.backward()
    look()
    trainer.optimizer.step()
    look()

    batch, forward, zero, backward, update = (b - a for a, b in zip(times, times[1:], strict=False))
    found = {"batch": batch}
    for phase, whole in (("forward", forward), ("backward", backward)):
        parts = {name: s for name, s in clock.seconds.items() if name.startswith(phase)}
        found.update(parts)
        found[f"{phase}: the engine and checks"] = whole - sum(parts.values())
    return {**found, "zero_grad": zero, "optimizer": update}


def parts_of(case: Case) -> tuple[float, float, dict[str, float], Counter[str]]:
    """Seconds of a step without and with stopwatches, the median of each part, and its calls."""
    plain = step_time(Training(case), SECONDS)
    clock, trainer = Clock(), Training(case)
    before = {name: (call.op.on_numpy, call.op.table) for name, call in REGISTRY.items() if hasattr(call, "op")}
    put_in(clock)
    steps: list[dict[str, float]] = []
    try:
        end = time.perf_counter() + SECONDS
        while len(steps) < 20 or time.perf_counter() < end:
            steps.append(one_step(trainer, clock))
    finally:
        for name, (forward, table) in before.items():
            op = REGISTRY[name].op  # type: ignore[attr-defined]
            op.on_numpy, op.table = forward, table
            op.plans.clear()
    steps = steps[3:]
    median = {name: statistics.median(step.get(name, 0.0) for step in steps) for name in steps[-1]}
    return plain, statistics.median(sum(step.values()) for step in steps), median, clock.calls


# -- the floor ------------------------------------------------------------------------------------


def shapes(network: Network) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """(kind, shape of its input, shape of its output) of each layer; images as (C, N, H, W)."""
    image = network.image
    shape = (network.batch, *image) if len(image) == 1 else (image[0], network.batch, *image[1:])
    for kind, *sizes in network.layers:
        before = shape
        if kind == "linear":
            shape = (shape[0], sizes[1])
        elif kind == "conv":
            shape = (sizes[1], shape[1], *(n + 2 * sizes[3] - sizes[2] + 1 for n in shape[2:]))
        elif kind == "pool":
            shape = (*shape[:2], *(n // sizes[0] for n in shape[2:]))
        elif kind == "flatten":
            shape = (shape[1], shape[0] * prod(shape[2:]))
        yield kind, before, shape


def products(network: Network) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of each matrix product of a step: forward, of the weight, and of the input, but for the
    first layer's input."""
    found: list[tuple[int, int, int]] = []
    weights = iter(weight_shapes(network)[::2])
    for kind, _, out in shapes(network):
        if kind == "linear":
            (o, i), _ = next(weights)
            three = [(out[0], i, o), (o, out[0], i), (out[0], o, i)]
        elif kind == "conv":
            (o, *window), _ = next(weights)
            i, m = prod(window), prod(out[1:])
            three = [(o, i, m), (o, m, i), (i, o, m)]
        else:
            continue
        found += three if found else three[:2]
    return found


def touched(network: Network) -> int:
    """Bytes that a step reads or writes at least, if each operation is done by itself: the batch (read, written),
    what each layer gives (written, read; its gradient too), and the weights (read forward and backward, gradient
    written and read, velocity and weight read and written)."""
    numbers = 2 * network.batch * prod(network.image)
    numbers += sum(4 * prod(out) for _, _, out in shapes(network))
    numbers += sum(8 * prod(shape) for shape, _ in weight_shapes(network))
    return 4 * numbers


def product_time(m: int, k: int, n: int) -> float:
    """Seconds of a float32 matrix product of these sizes."""
    rng = np.random.default_rng(0)
    a, b = rng.random((m, k), dtype=np.float32), rng.random((k, n), dtype=np.float32)
    out = np.empty((m, n), np.float32)
    return repeat(timed(lambda: np.matmul(a, b, out=out)), PRODUCT_SECONDS, least=5)


def floor(network: Network) -> Iterator[str]:
    """The lines of the floor's table."""
    sizes = products(network)
    flops = sum(2 * prod(size) for size in sizes)
    measured = sum(product_time(*size) for size in sizes)
    rate = 2 * 1024**3 / product_time(1024, 1024, 1024)
    source = np.ones(touched(network) // 8, np.float32)  # half is read, half is written
    target = np.empty_like(source)
    copied = repeat(timed(lambda: np.copyto(target, source)), PRODUCT_SECONDS, least=5)
    yield "| at least | how much | rate here | time |\n| --- | ---: | ---: | ---: |"
    work, size = f"{flops / 1e6:.1f} MFLOP", 2 * source.nbytes
    for what, much, fast, seconds in (
        (f"{len(sizes)} matrix products, each at its size", work, f"{flops / measured / 1e9:.0f} GFLOP/s", measured),
        ("the same, at the rate of 1024 x 1024 x 1024", work, f"{rate / 1e9:.0f} GFLOP/s", flops / rate),
        ("bytes touched, as fast as a copy", f"{size / 1e6:.1f} MB", f"{size / copied / 1e9:.1f} GB/s", copied),
    ):
        yield f"| {what} | {much} | {fast} | {text(seconds)} |"
    yield ""


def report(case: Case, threads: int) -> Iterator[str]:
    """The Markdown of one case."""
    plain, watched, parts, calls = parts_of(case)
    yield f"## {case.name}, {threads} thread{'s'[: threads > 1]}: {text(plain)} a step\n"
    yield f"With the stopwatches in it {text(watched)}; medians.\n"
    yield "| part | calls | time | % |\n| --- | ---: | ---: | ---: |"
    whole = sum(parts.values())
    for name, seconds in parts.items():
        yield f"| {name} | {calls[name] or ''} | {text(seconds)} | {100 * seconds / whole:.1f} |"
    yield ""
    yield from floor(NETWORKS[case.network])


def main(threads: int, names: list[str]) -> None:
    """Profile these cases, or those of PROFILED."""
    keep_to_cores(threads)
    for name in names or PROFILED:
        for line in report(CASES[name], threads):
            print(line, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
