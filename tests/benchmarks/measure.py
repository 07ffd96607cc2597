"""One measurement, in a process of its own, and the rounds of them: contenders take turns, so that what else the
machine does meets all alike. The parent says in the environment how many threads are allowed, and the child keeps to
as many cores."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from .cases import Case
from .contenders import CONTENDERS, Absent, Skip, load

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900  # seconds that one process may take
WIDE = ("mlp-512", "mlp-1024")  # cases of wide linear layers alone: for these OpenBLAS' own threads are better
MEMORY_STEPS = 20


# -- in the child ---------------------------------------------------------------------------------


def keep_to_cores(threads: int) -> None:
    """Let this process run on so many cores only: some libraries listen to nothing else."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def measure(case: Case, contender: str, seconds: float, round_: int) -> dict[str, float]:
    """{"value": seconds or megabytes} of one contender in one case; of mnist-99 the accuracy too."""
    if case.kind == "import":
        return {"value": import_time(CONTENDERS[contender].needs[0], seconds)}
    module = load(contender)
    if case.kind == "mnist-99":
        from .mnist_99 import RECIPE, train

        found = train(contender, RECIPE, seed=round_)
        return {"value": found.seconds, "accuracy": found.accuracy}
    if case.kind == "tiny":
        count = 1000
        run = module.tiny_forward if case.name == "tiny forward" else module.tiny_backward
        return {"value": repeat(lambda: run(count), seconds, least=5) / count}
    if case.kind == "evaluate":
        return {"value": repeat(timed(module.evaluation(case)), seconds)}
    if case.kind == "loader":
        return {"value": repeat(timed(module.loading()), seconds)}
    trainer = module.Training(case)
    if case.kind == "memory":
        for _ in range(MEMORY_STEPS):
            trainer.step()
        trainer.wait()
        return {"value": peak_memory()}
    return {"value": step_time(trainer, seconds)}


def timed(f: Callable[[], Any]) -> Callable[[], float]:
    """A function that says how long f took."""

    def run() -> float:
        start = time.perf_counter()
        f()
        return time.perf_counter() - start

    return run


def repeat(run: Callable[[], float], seconds: float, least: int = 3) -> float:
    """The median of what run() returns, after a warm-up: as often as `seconds` allow, and not less than `least`."""
    run()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < least or time.perf_counter() < end:
        found.append(run())
    return statistics.median(found)


def step_time(trainer: Any, seconds: float) -> float:
    """The median time of a step. Steps are timed in groups of about 5 ms, and a group's end is waited for: those who
    work on while Python goes ahead may do so, but not past the clock."""
    for _ in range(3):  # compilers compile, libraries allocate
        trainer.step()
        trainer.wait()
    end = time.perf_counter() + min(0.3, seconds / 3)
    warm = 0
    start = time.perf_counter()
    while warm < 2 or time.perf_counter() < end:
        trainer.step()
        warm += 1
    trainer.wait()
    group = max(1, round(0.005 * warm / (time.perf_counter() - start)))

    def run() -> None:
        for _ in range(group):
            trainer.step()
        trainer.wait()

    return repeat(timed(run), seconds) / group


def import_time(package: str, seconds: float) -> float:
    """Seconds of `import package` in fresh processes; the interpreter's own start is not in it."""
    code = f"import time; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"

    def run() -> float:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise Absent(f"{package} is not installed" if "ModuleNotFound" in done.stderr else last_line(done.stderr))
        return float(done.stdout)

    return repeat(run, seconds, least=5)


def peak_memory() -> float:
    """The most memory that this process has held, in MB. From /proc where there is one: on Linux ru_maxrss may be
    that of the process which started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        raise Skip("this system does not say what memory a process took") from None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 1024)


def child(case: Case, contender: str, threads: int, seconds: float, round_: int) -> None:
    """Measure, and print the finding as one line of JSON."""
    keep_to_cores(threads)
    try:
        found: dict[str, Any] = dict(measure(case, contender, seconds, round_))
    except Absent as error:
        found = {"absent": str(error)}
    except Skip as error:
        found = {"skip": str(error)}
    print(json.dumps(found))


# -- in the parent --------------------------------------------------------------------------------


class Key(NamedTuple):
    case: str
    threads: int
    contender: str


class Results:
    """values: what each round found; left_out: (contender, why) and the cases that are missing for that."""

    def __init__(self) -> None:
        self.values: dict[Key, list[dict[str, float]]] = {}
        self.left_out: dict[tuple[str, str], list[str]] = {}

    def skip(self, contender: str, why: str, case: str) -> bool:
        """Note it; True if it was not known yet that the contender is left out for this reason."""
        new = (contender, why) not in self.left_out
        names = self.left_out.setdefault((contender, why), [])
        if case not in names:
            names.append(case)
        return new


def environment(threads: int, contender: str, case: str = "") -> dict[str, str]:
    """The variables by which libraries learn how many threads they may use. tinygrad_m has threads of its own, and
    wants OpenBLAS to have one, or the other way round: docs/speed.md says for which networks."""
    n = str(threads)
    own = "1" if case.startswith(WIDE) else n
    names = ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")
    counts = {f"{name}_NUM_THREADS".replace("MAXIMUM_NUM", "MAXIMUM"): n for name in names}
    if contender == "tinygrad_m":
        counts["OPENBLAS_NUM_THREADS"] = n if case.startswith(WIDE) else "1"
    one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # for imports
    return {
        **inherited, **counts, "TINYGRAD_M_THREADS": own, "NUM_CPU_THREADS": n,  # the last is tinygrad's
        "XLA_FLAGS": one if threads == 1 else "", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "",
        "TINYGRAD_M_DEVICE": "cpu",
    }  # fmt: skip


def run_child(case: Case, contender: str, threads: int, seconds: float, round_: int) -> dict[str, Any]:
    """What a process of its own finds: {"value": ...}, {"skip": why} or {"absent": why}."""
    command = [sys.executable, "-m", "tests.benchmarks", "--measure", case.name, contender]
    command += ["--threads", str(threads), "--seconds", str(seconds), "--round", str(round_)]
    try:
        variables = environment(threads, contender, case.name)
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"skip": f"not done after {LIMIT} s"}
    if done.returncode:
        return {"skip": last_line(done.stderr) or f"the process ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(last_line(done.stdout))
    return found


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def run(
    chosen: Iterable[Case], contenders: list[str], threads: list[int], rounds: int, seconds: float, log: TextIO
) -> Results:
    """Measure all of it. Ctrl-C ends it early, with what there is."""
    results = Results()
    absent: set[str] = set()
    try:
        for case in chosen:
            for count in case.threads or threads:
                _rounds(results, absent, case, contenders, count, rounds, seconds, log)
    except KeyboardInterrupt:
        print("stopped: the table has what was measured so far", file=log)
    return results


def _rounds(
    results: Results, absent: set[str], case: Case, contenders: list[str], threads: int, rounds: int,
    seconds: float, log: TextIO,
) -> None:  # fmt: skip
    """One case with one number of threads: round after round, in each all contenders."""
    racing = [name for name in contenders if case.kind in CONTENDERS[name].kinds.split()]
    print(f"{case.name}, {threads} thread{'s'[: threads > 1]}", file=log, flush=True)
    for round_ in range(rounds):
        for name in [name for name in racing if name not in absent]:
            found = run_child(case, name, threads, seconds, round_)
            if "value" in found:
                results.values.setdefault(Key(case.name, threads, name), []).append(found)
                continue
            racing.remove(name)
            why = found.get("absent") or found["skip"]
            if "absent" in found:
                absent.add(name)
            if results.skip(name, why, "everything" if "absent" in found else case.name):
                print(f"  {name} left out: {why}", file=log, flush=True)
