"""Many independent runs on all cores, or on any cluster that speaks concurrent.futures, with a progress bar.
sweep.py is the largest user, and writes each result down as it arrives."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
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

    When a run raises, or on Ctrl-C, what has finished is still given, and then the exception; runs that have not begun
    are cancelled, and those in our own processes are stopped."""
    costs = [1.0] * len(items) if costs is None else costs
    bar = Progress(len(items), sum(costs), title, quiet)
    try:
        if executor is None and (jobs <= 1 or len(items) <= 1):
            for k, item in enumerate(items):
                yield k, function(item)
                bar.step(costs[k])
        else:
            with _pool(min(jobs, len(items))) if executor is None else _lent(executor) as pool:
                for k, result in _collect(pool, function, items, cancel=executor is not None):
                    yield k, result
                    bar.step(costs[k])
    finally:
        bar.close()


def _collect(pool: Executor, function: Callable[[Item], Result], items: Sequence[Item],
             cancel: bool) -> Iterator[tuple[int, Result]]:  # fmt: skip
    """Submit all and yield what comes. A queue, since as_completed() takes the standard library's futures only."""
    done: queue.SimpleQueue[tuple[int, Future[Result]]] = queue.SimpleQueue()
    futures: list[Future[Result]] = []
    try:
        with _no_interrupt():  # new processes keep it so: Ctrl-C is for this one
            for k, item in enumerate(items):
                futures.append(pool.submit(function, item))
                futures[k].add_done_callback(lambda future, k=k: done.put((k, future)))  # type: ignore[misc]
        for _ in items:
            k, future = done.get()
            yield k, future.result()
    except GeneratorExit:
        raise
    except BaseException:
        while not done.empty():
            k, future = done.get()
            if not future.cancelled() and future.exception() is None:
                yield k, future.result()
        raise
    finally:
        for future in futures if cancel else ():
            future.cancel()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C waits until the end of this block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _pool(jobs: int) -> Iterator[Executor]:
    """Fresh processes with one BLAS thread each: more would fight over the cores. They end when this process does, in
    whatever way, and at once if it has no more use for them: a run can take minutes."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read once, when a process first imports NumPy
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin() -> None:
    """In a new process: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _lent(executor: Executor) -> Iterator[Executor]:
    yield executor  # the caller's: not ours to shut down


class Progress:
    """A bar with an estimate of the time left: tqdm's, or a line now and then where tqdm is not installed."""

    def __init__(self, items: int, cost: float, title: str, quiet: bool = False) -> None:
        self.items, self.cost, self.title = items, cost, title
        self.done, self.spent = 0, 0.0
        self.start = self.told = time.monotonic()
        self.bar: Any = None
        self.quiet = quiet or not title or items == 0 or sys.stderr is None
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
