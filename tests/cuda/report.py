"""The results as a page of Markdown and as JSON, in files named after the date and the device."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygrad_m import kernels

from . import compare, mnist, speed
from .targets import targets, time

MEGA = 1e6


def write(results: dict[str, Any], folder: Path) -> tuple[str, list[Path]]:
    """Write both files; the text of the page and their paths."""
    machine = results["machine"]
    device = re.sub(r"[^A-Za-z0-9]+", "-", machine["device"]).strip("-")
    stem = f"cuda-{machine['date'][:10]}-{device}"
    text = markdown(results)
    checked = [one._asdict() for one in targets(results["parts"])]
    paths = [folder / f"{stem}.json", folder / f"{stem}.md"]
    paths[0].write_text(json.dumps({**results, "targets": checked}, indent=1) + "\n", encoding="utf-8")
    paths[1].write_text(text, encoding="utf-8")
    return text, paths


def failures(parts: dict[str, dict[str, Any]]) -> list[str]:
    """What failed, part by part."""
    return [f"{name}: {one}" for name, part in parts.items() for one in part.get("failures", [])]


def markdown(results: dict[str, Any]) -> str:
    return "\n".join(_lines(results)) + "\n"


def _lines(results: dict[str, Any]) -> Iterator[str]:
    parts = results["parts"]
    yield f"# tinygrad_m on CUDA: {results['machine']['device']}, {results['machine']['date'][:10]}\n"
    if results.get("quick"):
        yield "Run with `--quick`: fewer cases, rounds, seeds and steps.\n"
    failed = failures(parts)
    yield "## What failed\n"
    yield from [f"- {one}" for one in failed] or ["Nothing."]
    yield ""
    if checked := targets(parts):
        yield "## Targets\n\nThey are meant for one H100.\n"
        yield from _table(("what", "target", "found", "met"), checked)
    yield "## Machine\n"
    yield from _table(("", ""), results["machine"].items())
    describe = {"suite": _suite, "compare": _compare, "speed": _speed, "mnist": _mnist, "memory": _memory}
    for name, part in parts.items():
        yield f"## {'MNIST' if name == 'mnist' else name.capitalize()}\n"
        yield f"{part['took']:.0f} s.\n"
        if part.get("absent"):
            yield f"Not measured: {part['absent']}\n"
        elif part.get("raised"):
            yield f"It raised {part['raised']}\n"
        else:
            yield from describe[name](part)


def _table(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def _suite(part: dict[str, Any]) -> Iterator[str]:
    if "passed" in part:
        yield f"{part['passed']} tests passed, {part['failed']} failed, {part['skipped']} were skipped.\n"
        yield from [f"- left out: {one}" for one in part["left_out"]]


def _compare(part: dict[str, Any]) -> Iterator[str]:
    yield f"{part['steps']} steps on the CPU and on CUDA. The largest relative difference of the loss, the parameters,"
    yield "gradients and running statistics: float64 from CUDA to the CPU over all steps of one training; float32 of"
    yield "steps that each start from the float64 run, from CUDA and from the CPU to that run, the worst 5 % of steps"
    yield 'left out (a ReLU or max pooling may have decided otherwise; "with them" has them).'
    if any(row["captured"] for row in part["rows"]):
        yield f"Captured: after {compare.WARMUP} usual steps one is recorded as a CUDA graph, then replayed."
    else:
        yield f"Not compared: {speed.WITHOUT_KERNELS}."
    yield ""
    head = (
        "network", "optimizer", "dtype", "captured", "CUDA", "CPU", "allowed", "within", "where", "with them", "waits",
    )  # fmt: skip
    yield from _table(head, map(_compared, part["rows"]))


def _compared(row: dict[str, Any]) -> tuple[Any, ...]:
    allowed, within = (f"{row['cpu']:.1e}", f"{row['allowed']:.1e}"), "yes" if row["within"] else "**no**"
    start = (row["network"], row["optimizer"], row["dtype"], "yes" if row["captured"] else "no")
    if row["raised"]:
        return *start, "raised", *allowed, within, row["raised"], "", "unknown"
    waits = row["waits"] if row["waits"] is not None else {True: "yes", False: "no"}.get(row["waited"], "unknown")
    return *start, f"{row['found']:.1e}", *allowed, within, row["where"], f"{row['largest']:.1e}", waits


def _speed(part: dict[str, Any]) -> Iterator[str]:
    yield f"Rounds: {part['rounds']}; the times are their medians, in brackets the least and the greatest. A contender"
    yield "has a process of its own in each. The device is waited for at both ends of a run of many steps.\n"
    for name, found in part["cases"].items():
        case = speed.CASES[name]
        yield f"### {name}\n\n{case.what[0].upper()}{case.what[1:]}.\n"
        yield from _rates(case, found)
        eager = found.get(speed.EAGER, {}).get("seconds")
        rows = []
        for who, row in found.items():
            least, greatest = time(min(row["rounds"])), time(max(row["rounds"]))
            ratio = f"{row['seconds'] / eager:.2f}" if eager else ""
            shown = f"{time(row['seconds'])} ({least} to {greatest})"
            marked = f"{who} (in part, see below)" if row.get("refused") else who
            rows.append((marked, shown, ratio, _rate(row), row["tf32"]))
        yield from _table(("", "time", "x torch", "rate", "TF32"), rows)
        for who, row in found.items():
            yield from _refused(who, row)
    yield from [f"- left out: {one}" for one in part["left_out"]]
    yield ""


def _refused(who: str, row: dict[str, Any]) -> Iterator[str]:
    if row.get("refused"):
        yield f"{who}: cuDNN refused these convolutions, which were done in the own way:\n"
        yield from [f"- {one}" for one in row["refused"]]
        yield ""


def _rates(case: speed.Case, found: dict[str, Any]) -> Iterator[str]:
    for who, precision in ((speed.OURS, "float32"), (speed.TF32, "TF32")):
        if rate := found.get(who, {}).get("product"):
            n = case.product
            yield f"CuPy's own product of two {n} x {n} float32 matrices, in {precision}: {rate / 1e12:.1f} TFLOP/s.\n"
    ours = found.get(speed.OURS, {})
    if "copy" in ours:
        yield f"The device's copy rate: {ours['copy'] / 1e9:.0f} GB/s, read and written. The step has to read and write"
        yield f"{case.arrays} arrays.\n"


def _rate(row: dict[str, Any]) -> str:
    text = ""
    if "operations" in row:
        text = f"{row['operations'] / 1e12:.1f} TFLOP/s"
    if "bytes" in row:
        text = f"{row['bytes'] / 1e9:.0f} GB/s"
    share = row.get("of product") or row.get("of copy")
    return f"{text}, {share:.0%}" if share else text


def _mnist(part: dict[str, Any]) -> Iterator[str]:
    yield f"The CNN of examples/mnist.py, {part['epochs']} epochs, {part['seeds']} seeds, in each way after a training"
    yield "that is not counted. The time is that of the training loop. Not in it are moving the data set to the device,"
    yield 'the test, and what a captured step needs "before": for each size of batch some usual steps, recording one'
    yield "and its first replay; then weights and state are put back to what they were.\n"
    rows = []
    for way, found in part["ways"].items():
        right, seconds = found["accuracy"], found["seconds"]
        rows.append((
            way, f"{time(found['mean seconds'])} ({time(min(seconds))} to {time(max(seconds))})",
            f"{found['mean accuracy']:.2f} % ({min(right):.2f} to {max(right):.2f} %)",
            time(found["mean before"]) if way == mnist.CAPTURED else "",
        ))  # fmt: skip
    yield from _table(("", "mean time", "mean of the test images right", "before"), rows)
    if not kernels.ENABLED:
        yield f"Left out: {speed.WITHOUT_KERNELS}.\n"


def _memory(part: dict[str, Any]) -> Iterator[str]:
    yield "A training step of the small CNN, batch 256, with a data set of one batch.\n"
    rows = [("tinygrad_m", f"{part['peak'] / MEGA:.1f} MB", f"{part['reserved'] / MEGA:.1f} MB")]
    others = {speed.CUDNN: part.get("cudnn", {}), "torch": part["torch"]}
    for who, row in others.items():
        if "peak" in row:
            rows.append((who, f"{row['peak'] / MEGA:.1f} MB", f"{row['reserved'] / MEGA:.1f} MB"))
    yield from _table(("", "most in use", "reserved by the pool"), rows)
    for who, row in others.items():
        if "absent" in row:
            yield f"- left out: {who}: {row['absent']}\n"
        yield from _refused(who, row)
    if part["missed"]:
        yield f"The pool's own count of bytes in use after the step differs by {part['missed']:+,} from the one here.\n"
    yield "PyTorch's figure has the workspaces of cuBLAS and cuDNN in it; cuBLAS under CuPy takes its own outside of"
    yield "the pool, and cuDNN gets its own from it.\n"
    yield f"In use after {part['few']:,} steps: {part['used after few']:,} bytes; after {part['many']:,}:"
    yield f"{part['used after many']:,} bytes.\n"
