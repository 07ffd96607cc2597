"""Race the optimizers over a landscape, and write the picture: `python examples/landscapes.py banana`.

Each method's lr is chosen by one rule, tinygrad_m.lab.landscapes.tune(). A landscape is a formula of tensors: write
your own, as in LANDSCAPES there, and race it. Needs matplotlib: pip install "tinygrad_m[lab]"."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinygrad_m.lab.landscapes import LANDSCAPES, race
from tinygrad_m.lab.study import Figure


def main(argv: list[str] | None = None) -> None:
    flat = [name for name, land in LANDSCAPES.items() if len(land.start) == 2]
    parser = argparse.ArgumentParser(description="Race the optimizers over a landscape.")
    parser.add_argument("landscape", choices=flat, nargs="?", default="banana", help="where (default banana)")
    parser.add_argument("--steps", type=int, default=3000, help="when the race is over (default 3000)")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the picture (default: this one)")
    args = parser.parse_args(argv)

    land = LANDSCAPES[args.landscape]
    tuned = race(land, args.steps)
    print(f"f = {land.formula}\n{land.lesson}")
    for one in sorted(tuned, key=lambda one: one.steps):
        print(f"{one.method:17s} lr {one.lr:<8.3g} {one.steps:5.0f} steps")
    from tinygrad_m.lab.figures import landscapes as pictures  # needs matplotlib

    for file in Figure(land.name, land.lesson, lambda: pictures.race(land, tuned)).save(args.out):
        print(f"wrote {file}")


if __name__ == "__main__":
    try:
        main()
    except (ImportError, OSError, ValueError) as error:  # no matplotlib, no folder, a wrong number
        sys.exit(f"landscapes.py: error: {error}")
