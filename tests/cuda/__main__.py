"""`python -m tests.cuda`: everything that needs a GPU, in one command. It prints a page of Markdown and writes it, with
the numbers as JSON, into cuda-DATE-DEVICE.md and .json.

    python -m tests.cuda                          # all parts
    python -m tests.cuda --quick                  # a few minutes
    python -m tests.cuda --part compare speed --out results

suite    the tests that need a GPU, by pytest
compare  training on CUDA, with usual steps and with captured ones, beside the same on the CPU, step by step
speed    training steps, usual and captured, and optimizers, beside PyTorch and JAX where they are installed; training
         steps with convolutions by cuDNN, too, where it is
mnist    how long MNIST takes to 99 %, with usual steps and with captured ones
memory   what a step needs at most, and that many steps need no more

Exit status: 0, or 1 if a test failed, a comparison is out of its tolerance or a part raised (the others run all the
same), or 2 without a GPU that CuPy can use. A missed target is reported and is no failure.

This folder has no __init__.py: tests/ is on sys.path under pytest, where a package `cuda` would hide NVIDIA's package
of that name, which CuPy imports."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import compare, machine, memory, mnist, process, report, speed, suite

PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "suite": suite.part,
    "compare": compare.part,
    "speed": speed.part,
    "mnist": mnist.part,
    "memory": memory.part,
}


def main(argv: list[str] | None = None) -> int:
    """Run what the command line says; the exit status."""
    args = parse(argv)
    try:
        machine.require()
    except machine.NoGPU as error:
        print(f"python -m tests.cuda: {error}", file=sys.stderr)
        return 2
    results: dict[str, Any] = {"machine": machine.facts(), "quick": args.quick, "parts": {}}
    stopped = False
    for name in args.part:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            results["parts"][name] = run(PARTS[name], args.quick)
        except KeyboardInterrupt:
            results["parts"][name] = {"took": 0.0, "raised": "KeyboardInterrupt", "failures": ["stopped by hand"]}
            stopped = True
        text, paths = report.write(results, args.out)  # after each part: whatever comes, there is a file
        if stopped:
            break
    print(text, end="")
    print(f"wrote {' and '.join(map(str, paths))}", file=sys.stderr)
    return 1 if report.failures(results["parts"]) else 0


def run(part: Callable[[bool], dict[str, Any]], quick: bool) -> dict[str, Any]:
    """What a part found, or how it raised; and how long it took."""
    start = time.perf_counter()
    try:
        found = part(quick)
    except Exception as error:
        said = str(error) if isinstance(error, process.JobError) else process.said(error)
        details = getattr(error, "details", "") or traceback.format_exc()
        print(details, file=sys.stderr)
        found = {"raised": said, "details": details, "failures": [said]}
    return {"took": time.perf_counter() - start, **found}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cuda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", action="extend", choices=list(PARTS), help="these only (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer cases, rounds, seeds and steps")
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="for the two files (default: here)")
    args = parser.parse_args(argv)
    args.part = [name for name in PARTS if name in args.part] if args.part else list(PARTS)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: {error.strerror}")
    return args


if __name__ == "__main__":
    sys.exit(main())
