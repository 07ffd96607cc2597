"""Many independent runs on all cores, or on any cluster that speaks concurrent.futures, with a progress bar.
sweep.py is the largest user; `sweep.py` also writes each result down as it arrives."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[[Item], Result], items: Sequence[Item], jobs: int = 1, executor: Executor | None = None,
         title: str = "", quiet: bool = False, costs: Sequence[float] | None = None,
         ) -> Iterator[tuple[int, Result]]:  # fmt: skip
    """Yield (k, function(items[k])) as they get ready, in any order, with a progress bar and an estimate of the time
    left. `function` must be importable (a module's own function), since other processes will call it.

    jobs      1: here, one by one. More: that many processes, each with one thread of linear algebra
    costs     how long each will take, in any unit, for the estimate; None: all alike
    executor  anything with concurrent.futures' submit(): Dask's client.get_executor(), mpi4py's MPIPoolExecutor ...

    An exception in a run is raised here, and runs that have not begun are cancelled."""
    costs = [1.0] * len(items) if costs is None else costs
    bar = Progress(len(items), sum(costs), title, quiet)
    try:
        if executor is None and (jobs <= 1 or len(items) <= 1):
            for k, item in enumerate(items):
                yield k, function(item)
                bar.step(costs[k])
            return
        with _pool(min(jobs, len(items))) if executor is None else _keep(executor) as pool:
            done: queue.SimpleQueue[tuple[int, Future[Result]]] = queue.SimpleQueue()
            futures = [pool.submit(function, item) for item in items]
            for k, future in enumerate(futures):  # a queue, since as_completed() takes the standard library's only
                future.add_done_callback(lambda future, k=k: done.put((k, future)))  # type: ignore[misc]
            try:
                for _ in items:
                    k, future = done.get()
                    yield k, future.result()
                    bar.step(costs[k])
            finally:
                for future in futures:
                    future.cancel()
    finally:
        bar.close()


@contextmanager
def _pool(jobs: int) -> Iterator[Executor]:
    """Fresh processes with one BLAS thread each: more would fight over the cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read once, when a process first imports NumPy
    try:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _keep(executor: Executor) -> Iterator[Executor]:
    yield executor  # the caller's: not ours to shut down


class Progress:
    """A bar with an estimate of the time left: tqdm's, or a line now and then where tqdm is not installed."""

    def __init__(self, items: int, cost: float, title: str, quiet: bool = False) -> None:
        self.items, self.cost, self.title = items, cost, title
        self.done, self.spent = 0, 0.0
        self.start = self.told = time.monotonic()
        self.bar: Any = None
        self.quiet = quiet or not title or items == 0
        if self.quiet:
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        # a terminal gets ten pictures a second, a file one a minute
        slow = {} if sys.stderr.isatty() else {"mininterval": 60, "maxinterval": 60, "ascii": True}
        form = "{l_bar}{bar}| {postfix[0]}/{postfix[1]} [{elapsed}, {remaining} left]"
        self.bar = tqdm(total=cost, desc=title, ncols=79, bar_format=form, postfix=[0, items], **slow)

    def step(self, cost: float) -> None:
        self.done, self.spent = self.done + 1, self.spent + cost
        if self.bar is not None:
            self.bar.postfix[0] = self.done
            self.bar.update(cost)
        elif not self.quiet and (time.monotonic() - self.told > 10 or self.done == self.items):
            self.told = time.monotonic()
            left = (self.told - self.start) / self.spent * (self.cost - self.spent)
            print(f"{self.title}: {self.done}/{self.items}, about {left:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
