"""What the results should be, on one H100, and what they are. A missed target is a finding, no failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from . import mnist, speed

CAPTURED_SECONDS = 60e-6
GRAPHS = {"mlp": 1.2, "cnn": 1.3}  # times PyTorch's time with CUDA graphs
MNIST_SECONDS = 0.5
PRODUCT, COPY, PEAK = 0.85, 0.80, 1.2


class Checked(NamedTuple):
    """met: "yes", "no", or "not measured"."""

    what: str
    wanted: str
    found: str
    met: str


def check(what: str, wanted: str, found: str | None, met: bool = False) -> Checked:
    """`found` is None if it is not known."""
    return Checked(what, wanted, found or "unknown", "not measured" if not found else "yes" if met else "no")


def targets(parts: dict[str, dict[str, Any]]) -> list[Checked]:
    """All targets of the parts that ran."""
    order = {"compare": _compare, "speed": _speed, "mnist": _mnist, "memory": _memory}
    return [one for name, rule in order.items() if name in parts for one in rule(parts[name])]


def _compare(part: dict[str, Any]) -> Iterator[Checked]:
    for captured, what in ((False, "no training step waits"), (True, "no replay of a captured step waits")):
        rows = [row for row in part.get("rows", []) if row["captured"] == captured and not row["raised"]]
        waiting = sum(bool(row["waits"] or row["waited"]) for row in rows)
        found = f"{waiting} of {len(rows)} runs" if rows else None
        yield check(f"{what} for the device", "none", found, not waiting)


def _speed(part: dict[str, Any]) -> Iterator[Checked]:
    cases = part.get("cases", {})

    def of(case: str, who: str, what: str) -> Any:
        return cases.get(case, {}).get(who, {}).get(what)

    def fastest(case: str, *names: str) -> tuple[str, Any]:
        """Who was fastest of those that were measured, and how fast."""
        times = {who: seconds for who in names if (seconds := of(case, who, "seconds"))}
        return min(times.items(), key=lambda one: one[1], default=("", None))

    def ours_of(case: str, own: str, cudnn: str) -> tuple[str, Any]:
        """The faster of the two ways to convolve: its name for the reader, if cuDNN took part, and its time."""
        who, seconds = fastest(case, own, cudnn)
        return f"{who}: " if of(case, cudnn, "seconds") else "", seconds

    for case in ("mlp", "cnn"):
        who, ours = ours_of(case, speed.OURS, speed.CUDNN)
        theirs = of(case, speed.EAGER, "seconds")
        ratio = ours / theirs if ours and theirs else None
        yield check(speed.CASES[case].what, "at most eager PyTorch's time", ratio and f"{who}{ratio:.2f} of it",
                    bool(ratio and ratio <= 1))  # fmt: skip
    ours = of("mlp", speed.CAPTURED, "seconds")
    yield check(f"{speed.CASES['mlp'].what}, captured", f"at most {time(CAPTURED_SECONDS)}", ours and time(ours),
                bool(ours and ours <= CAPTURED_SECONDS))  # fmt: skip
    for case, most in GRAPHS.items():
        who, ours = ours_of(case, speed.CAPTURED, speed.CUDNN_CAPTURED)
        other, theirs = fastest(case, speed.GRAPH, speed.COMPILED)
        ratio = ours / theirs if ours and theirs else None
        yield check(f"{speed.CASES[case].what}, captured", f"at most {most:g} x PyTorch's time with CUDA graphs",
                    ratio and f"{who}{ratio:.2f} x that of {other}", bool(ratio and ratio <= most))  # fmt: skip
    for case, who, least, name, rate in (
        ("large", speed.TF32, PRODUCT, "of product", "CuPy's rate of matrix products, both in TF32"),
        ("sgd", speed.OURS, COPY, "of copy", "the device's copy rate"),
        ("adam", speed.OURS, COPY, "of copy", "the device's copy rate"),
    ):
        if case in cases or case in speed.QUICK_CASES:
            share = of(case, who, name)
            wanted = f"at least {least:.0%} of {rate}"
            yield check(speed.CASES[case].what, wanted, share and f"{share:.0%}", bool(share and share >= least))


def _mnist(part: dict[str, Any]) -> Iterator[Checked]:
    what, wanted, ways = f"MNIST to {mnist.ACCURACY:g} %", f"less than {MNIST_SECONDS:g} s", part.get("ways")
    if not ways:
        yield check(what, wanted, None)
        return
    way = mnist.fastest(ways)
    seconds, right = ways[way]["mean seconds"], ways[way]["mean accuracy"]
    met = seconds < MNIST_SECONDS and right >= mnist.ACCURACY
    yield check(what, wanted, f"{time(seconds)}, {right:.2f} %, {way}", met)


def _memory(part: dict[str, Any]) -> Iterator[Checked]:
    peak, theirs = part.get("peak"), part.get("torch", {}).get("peak")
    ratio = peak / theirs if peak and theirs else None
    yield check("peak memory in a step of the small CNN", f"at most {PEAK:g} x PyTorch's",
                ratio and f"{ratio:.2f} x", bool(ratio and ratio <= PEAK))  # fmt: skip
    if "used after many" in part:
        more = part["used after many"] - part["used after few"]
        what = f"memory in use after {part['many']:,} steps"
        yield check(what, f"what it is after {part['few']:,}", f"{more:+,} bytes", more == 0)


def time(seconds: float) -> str:
    """A time in a unit that reads well."""
    for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or name == "us":
            return f"{seconds / size:.3g} {name}" if seconds < 1000 * size else f"{seconds / size:.0f} {name}"
    raise AssertionError
