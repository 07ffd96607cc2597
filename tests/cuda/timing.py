"""How long a step takes on a device that works behind Python's back: the clock is read when nothing is left to do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

RUNS = 5


def step_time(step: Callable[[], object], wait: Callable[[], object], seconds: float) -> float:
    """The median over RUNS runs of the time of a step, in seconds. A run has many steps, `seconds` of all runs
    together, and the device is waited for before its first and after its last; a warm-up comes before."""
    for _ in range(10):  # kernels are compiled, memory is taken
        step()
        wait()
    start = time.perf_counter()
    warm = 0
    while warm < 10 or time.perf_counter() - start < seconds / RUNS:  # the clock rate goes up
        step()
        warm += 1
        if warm % 10 == 0:
            wait()
    wait()
    count = max(10, round(seconds / RUNS * warm / (time.perf_counter() - start)))
    found = []
    for _ in range(RUNS):
        wait()
        start = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        found.append((time.perf_counter() - start) / count)
    return statistics.median(found)
