"""What was measured as JSON, and as Markdown: the targets first, then a table for each case.
The numbers come from measure.py's Results; nothing is measured here, but the machine and the versions are looked up."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .cases import CASES, TARGETS, Case, Target
from .contenders import CONTENDERS
from .measure import Key, Results


def text(value: float, unit: str = "s") -> str:
    """A number in a unit that reads well."""
    if unit == "MB":
        return f"{value:.0f} MB"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size or name == "us":
            return f"{value / size:.3g} {name}" if value < 1000 * size else f"{value / size:.0f} {name}"
    raise AssertionError


def middle(case: str, rounds: Iterable[dict[str, float]], what: str = "value") -> float:
    """The median of the rounds; of mnist-99, where each is another seed, the mean."""
    values = [one[what] for one in rounds]
    return statistics.fmean(values) if CASES[case].kind == "mnist-99" else statistics.median(values)


# -- the machine ----------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Date, processor, cores, and the versions of what was measured."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    packages = dict.fromkeys(name for contender in CONTENDERS.values() for name in contender.needs)
    versions = {name: found for name in packages if (found := _version(name))}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "versions": versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


# -- targets --------------------------------------------------------------------------------------


def check(target: Target, results: Results, threads: int) -> dict[str, Any] | None:
    """What was found for a target, and whether it is met; None if tinygrad_m was not measured there."""
    ours = results.values.get(Key(target.case, threads, "tinygrad_m"))
    if ours is None:
        return None
    unit = CASES[target.case].unit
    found: float | None
    if target.at_least:
        found = middle(target.case, ours, "accuracy")
        wanted, shown, met = f"accuracy >= {target.at_least:g} %", f"{found:.2f} %", found >= target.at_least
    elif target.against:
        theirs = results.values.get(Key(target.case, threads, target.against))
        wanted = f"<= {target.limit:.2f} x {target.against}"
        found = middle(target.case, ours) / middle(target.case, theirs) if theirs else None
        shown, met = (f"{found:.2f}" if found else f"no {target.against}"), found is not None and found <= target.limit
    else:
        found = middle(target.case, ours)
        wanted, shown, met = f"<= {text(target.limit, unit)}", text(found, unit), found <= target.limit
    answer = "not measured" if found is None else "yes" if met else "no"
    return {"case": target.case, "threads": threads, "target": wanted, "found": shown, "value": found, "met": answer}


def checked(results: Results) -> list[dict[str, Any]]:
    """All targets for which there is something to say."""
    counts = sorted({key.threads for key in results.values})
    pairs = [(target, n) for target in TARGETS for n in counts if target.threads in (0, n)]
    return [found for target, n in pairs if (found := check(target, results, n))]


# -- the two files --------------------------------------------------------------------------------


def as_json(results: Results, settings: dict[str, Any]) -> str:
    rows = []
    for key, rounds in results.values.items():
        values = [one["value"] for one in rounds]
        row = {**key._asdict(), "unit": CASES[key.case].unit, "middle": middle(key.case, rounds), "rounds": values}
        if "accuracy" in rounds[0]:
            row["accuracy"] = [one["accuracy"] for one in rounds]
        rows.append(row)
    left_out = [{"contender": who, "why": why, "cases": names} for (who, why), names in results.left_out.items()]
    whole = {"machine": machine(), "settings": settings, "results": rows, "targets": checked(results)}
    return json.dumps({**whole, "left_out": left_out}, indent=1)


def as_markdown(results: Results, settings: dict[str, Any]) -> str:
    return "\n".join(_lines(results, settings)) + "\n"


def _lines(results: Results, settings: dict[str, Any]) -> Iterator[str]:
    about = machine()
    yield "# Measured\n"
    yield f"{about['date']}; {about['processor']}, {about['cores']} cores, {about['system']}; Python {about['python']},"
    yield f"NumPy's BLAS {about['blas']}; " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()) + ".\n"
    yield f"Rounds: {settings['rounds']}, in which the contenders take turns, each in a process of its own, on as many"
    yield f"cores as it has threads. A process measures for {settings['seconds']:g} s and says its median. The table"
    yield "has the median of the rounds, in brackets the least and the greatest, and the ratio to eager PyTorch's."
    if settings["load"] is not None:
        yield f"Load before the first: {settings['load']:g}; what else runs slows down those with several threads."
    yield ""
    targets = checked(results)
    if targets:
        yield "## Targets of tinygrad_m\n"
        yield "| case | threads | target | found | met |\n| --- | --- | --- | --- | --- |"
        for row in targets:
            yield f"| {row['case']} | {row['threads']} | {row['target']} | {row['found']} | {row['met']} |"
        yield ""
    for name in dict.fromkeys(key.case for key in results.values):
        yield from _table(CASES[name], results)
    if results.left_out:
        yield "## Left out\n"
        for (who, why), names in results.left_out.items():
            yield f"- {who}: {why} ({', '.join(names)})"


def _table(case: Case, results: Results) -> Iterator[str]:
    """One case: a row for each contender, two columns for each number of threads."""
    keys = [key for key in results.values if key.case == case.name]
    counts = sorted({key.threads for key in keys})
    yield f"## {case.name}\n\n{case.what[0].upper()}{case.what[1:]}.\n"
    heads = [f"{n} thread{'s'[: n > 1]} | x torch" for n in counts]
    yield "| | " + " | ".join(heads) + " |\n| --- |" + " --- | --- |" * len(counts)
    for name in [name for name in CONTENDERS if any(key.contender == name for key in keys)]:
        yield f"| {name} | " + " | ".join(_cells(case, results, n, name) for n in counts) + " |"
    yield ""


def _cells(case: Case, results: Results, threads: int, contender: str) -> str:
    rounds = results.values.get(Key(case.name, threads, contender))
    if not rounds:
        return " | "
    value, values = middle(case.name, rounds), [one["value"] for one in rounds]
    shown = text(value, case.unit)
    if len(values) > 1:
        shown += f" ({text(min(values), case.unit)} to {text(max(values), case.unit)})"
    if "accuracy" in rounds[0]:
        shown += f", {middle(case.name, rounds, 'accuracy'):.2f} % right"
    torch = results.values.get(Key(case.name, threads, "torch"))
    return f"{shown} | " + (f"{value / middle(case.name, torch):.2f}" if torch else "")
