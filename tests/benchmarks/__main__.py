"""`python -m tests.benchmarks`: how long the things take whose speed is claimed anywhere, beside those that others
write them with. It prints a Markdown table; `--out DIR` writes it there too, and JSON. These are figures, never
assertions.

    python -m tests.benchmarks --quick                            # about a minute
    python -m tests.benchmarks                                    # all but mnist-99: about an hour and a half
    python -m tests.benchmarks --case mlp-64 "lenet momentum" --contender tinygrad_m torch --threads 1
    python -m tests.benchmarks --case mnist-99 --out results      # minutes: MNIST to 99 %, five seeds
    python -m tests.benchmarks --profile                          # where the time of a step goes, and its floor

cases.py says what is measured and what the targets are, contenders/ who takes part, measure.py how."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import cases, contenders, measure, table


def main(argv: list[str] | None = None) -> int:
    """Run what the command line says."""
    args = parse(argv)
    if args.measure:
        measure.child(cases.CASES[args.measure[0]], args.measure[1], args.threads[0], args.seconds, args.round)
        return 0
    if args.profile:
        return profile(args)
    settings = {name: getattr(args, name) for name in ("rounds", "seconds", "threads")}
    settings["load"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    results = measure.run(args.cases, args.contenders, args.threads, args.rounds, args.seconds, sys.stderr)
    if not results.values and not results.left_out:
        return 1
    markdown = table.as_markdown(results, settings)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "benchmarks.md").write_text(markdown, encoding="utf-8")
        (args.out / "benchmarks.json").write_text(table.as_json(results, settings), encoding="utf-8")
        print(f"wrote benchmarks.md and benchmarks.json into {args.out}", file=sys.stderr)
    print(markdown, end="")
    return 0


def profile(args: argparse.Namespace) -> int:
    """Where the time goes, in a process whose environment limits the threads, as for a measurement."""
    names = [case.name for case in args.cases if args.case and case.kind == "training"]
    command = [sys.executable, "-m", "tests.benchmarks.where_time_goes", str(args.threads[0]), *names]
    return subprocess.run(command, cwd=measure.ROOT, env=measure.environment(args.threads[0], "tinygrad_m")).returncode


def parse(argv: list[str] | None) -> Any:
    """The command line, with the cases and contenders that it means."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few cases, contenders and rounds: about a minute")
    parser.add_argument(
        "--case",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="these only; a first word stands for several",
    )
    parser.add_argument("--contender", nargs="+", action="extend", default=[], metavar="NAME", help="these only")
    parser.add_argument(
        "--threads", nargs="+", action="extend", type=whole, metavar="N", help="default: 1 and 2; with --quick 1"
    )
    parser.add_argument("--rounds", type=whole, help="default 5; with --quick 3")
    parser.add_argument("--seconds", type=float, help="that each process measures for: default 1; with --quick 0.3")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write benchmarks.md and benchmarks.json into it")
    parser.add_argument("--profile", action="store_true", help="instead: where the time of a training step goes")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # what measure.py starts
    parser.add_argument("--round", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.threads = args.threads or ([1] if args.quick or cores == 1 else [1, 2])
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (0.3 if args.quick else 1.0)
    try:
        args.cases = cases.select(args.case or (cases.QUICK if args.quick else []))
        args.contenders = contenders.select(args.contender or (contenders.QUICK if args.quick else []))
    except ValueError as error:
        parser.error(str(error))
    return args


def whole(text: str) -> int:
    """An int of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
