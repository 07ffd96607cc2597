"""`python -m tinygrad_m.lab PART`: theory, landscapes, sweep, network, techniques, page, or report (all of them).

Each part runs, writes its figures, its data and claims.json into a folder, and prints its claims; the exit status is 1
if one fails. --quick is a small version of each: the whole report takes some minutes on two cores."""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from . import journal, mnist, page, report, sweep
from .journal import ResultsError
from .parallel import cores
from .study import Figure, Options, Study, write_json

INSTALL = 'pip install "tinygrad_m[lab]" (in a clone: pip install -e ".[lab]")'
PARTS = {
    "theory": "what theory says of a parabola, against our optimizers",
    "landscapes": "races on ravines, saddles and wells, rates tuned by one rule",
    "sweep": "the MNIST experiment, about an hour (stop it and go on as you like)",
    "network": "theory on real networks: best momentum, ring-down, edge",
    "techniques": "momentum with adaptive rates, decay, schedules, Lion, Muon",
    "page": "momentum.html, to play with",
    "report": "everything, on one page",
}


def run(part: str, options: Options, out: Path) -> list[Study]:
    """The studies of a part. Only `sweep` and `report` write into `out` here: the sweep's journal and results."""
    if part == "sweep":
        return [mnist.study(mnist.run(options, out))]
    if part == "report":
        return [
            *run("theory", options, out),
            *run("landscapes", options, out),
            *experiments(options, out),
            *run("network", options, out),
            *run("techniques", options, out),
        ]
    from . import landscapes, network, quadratic, techniques

    studies: dict[str, Callable[[Options], Study]] = {
        "theory": quadratic.study, "landscapes": landscapes.study, "network": network.study,
        "techniques": techniques.study,
    }  # fmt: skip
    began = time.monotonic()
    result = studies[part](options)
    tell(options, f"{part}: {time.monotonic() - began:.0f} s")
    return [result]


def experiments(options: Options, out: Path) -> list[Study]:
    """The MNIST experiment for the report: your own if `out` has a finished one, else the published one; and with
    --quick a small one, run now."""
    found = [mnist.study(whole(options, out))]
    if options.quick:
        small = mnist.study(mnist.run(options, out / "quick"))
        small.name, small.title = "mnist-quick", "The same on this machine, small"
        small.figures = [figure.of_small_run() for figure in small.figures if isinstance(figure, Figure)]
        found.append(small)
    return found


def whole(options: Options, out: Path) -> dict[str, Any]:
    """The experiment to show: the one in `out` if it is finished and not a small one, else the published one."""
    own = out / "sweep.json"
    if own.exists():
        experiment = journal.load(own)
        if {**experiment["settings"], "first_seed": 0} == json.loads(json.dumps(vars(sweep.FULL))):
            tell(options, f"MNIST: showing the experiment in {own}")
            return experiment
        tell(options, f"MNIST: showing the published experiment, since the one in {own} is a small one")
    return mnist.published()


def tell(options: Options, text: str) -> None:
    if not options.quiet:
        print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run a part; returns the exit status."""
    part, options, out = parse(argv)
    out.mkdir(parents=True, exist_ok=True)
    if part == "page":
        print(f"wrote {page.write(out, whole(options, out))}")
        return 0
    drawing = importlib.util.find_spec("matplotlib") is not None
    if part == "report" and not drawing:
        raise ResultsError(f"the report needs matplotlib for its figures: {INSTALL}")
    began = time.monotonic()
    studies = run(part, options, out)
    files = report.write_parts(studies, out, drawing, options.quiet)
    claims = [claim for study in studies for claim in study.claims]
    write_json(out / "claims.json", [claim.as_dict() for claim in claims])
    if part == "report":
        page.write(out, whole(options, out))
        report.write(out / "report.html", studies, files, options, time.monotonic() - began)
    print("\n".join(map(str, claims)))
    failed = [claim for claim in claims if not claim.passed]
    print(f"{len(claims) - len(failed)} of {len(claims)} claims hold; {time.monotonic() - began:.0f} s; see {out}")
    if not drawing:
        print(f"no figures: they need matplotlib, {INSTALL}")
    return 1 if failed else 0


def parse(argv: list[str] | None) -> tuple[str, Options, Path]:
    """The command line."""
    about = "\n".join(f"  {name:<11} {text}" for name, text in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tinygrad_m.lab", description="The momentum lab: see it, predict it, measure it.",
        epilog=f"parts:\n{about}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("part", choices=PARTS, metavar="PART", help="what to run (see below)")
    parser.add_argument(
        "--quick", action="store_true", help="a small version: up to a minute each, the report some minutes"
    )
    parser.add_argument("--out", metavar="DIR", default="momentum-lab", help="where files go (default momentum-lab)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes at once (default: as many as cores)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error(f"--seed {args.seed} must be 0 or more")
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs} must be 1 or more")
    out = Path(args.out)
    if not next(folder for folder in (out, *out.resolve().parents) if folder.exists()).is_dir():
        parser.error(f"--out {out} is, or is in, a file: name a folder")
    return args.part, Options(args.quick, args.seed, args.jobs, args.quiet), out


def stop(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)  # as Ctrl-C: our processes end with us
    try:
        sys.exit(main())
    except BrokenExecutor:
        print("lab: error: a process was killed; if memory was short, try --jobs 1. The same command goes on",
              file=sys.stderr)  # fmt: skip
    except (OSError, ResultsError) as error:  # a full disk, a damaged file: what it says is enough
        print(f"lab: error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(2)  # 1 is for a claim that fails
