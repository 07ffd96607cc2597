"""What the results should be, on one H100, and what they are. A missed target is a finding, no failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from . import mnist, speed

CAPTURED_SECONDS = 60e-6
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
    rows = part.get("rows", [])
    waiting = sum(bool(row["waits"] or row["waited"]) for row in rows)
    yield check("no training step waits for the device", "none", rows and f"{waiting} of {len(rows)} runs", not waiting)


def _speed(part: dict[str, Any]) -> Iterator[Checked]:
    cases = part.get("cases", {})

    def of(case: str, who: str, what: str) -> Any:
        return cases.get(case, {}).get(who, {}).get(what)

    for case in ("mlp", "cnn"):
        ours, theirs = of(case, speed.OURS, "seconds"), of(case, speed.EAGER, "seconds")
        ratio = ours / theirs if ours and theirs else None
        yield check(speed.CASES[case].what, "at most eager PyTorch's time", ratio and f"{ratio:.2f} of it",
                    bool(ratio and ratio <= 1))  # fmt: skip
    if captured := of("mlp", speed.CAPTURED, "seconds"):
        what = f"{speed.CASES['mlp'].what}, captured"
        yield check(what, f"at most {time(CAPTURED_SECONDS)}", time(captured), captured <= CAPTURED_SECONDS)
    for case, least, name, rate in (
        ("large", PRODUCT, "of product", "CuPy's rate of matrix products"),
        ("sgd", COPY, "of copy", "the device's copy rate"),
        ("adam", COPY, "of copy", "the device's copy rate"),
    ):
        if case in cases or case in speed.QUICK_CASES:
            share = of(case, speed.OURS, name)
            wanted = f"at least {least:.0%} of {rate}"
            yield check(speed.CASES[case].what, wanted, share and f"{share:.0%}", bool(share and share >= least))


def _mnist(part: dict[str, Any]) -> Iterator[Checked]:
    seconds, right = part.get("mean seconds"), part.get("mean accuracy")
    met = bool(seconds and seconds < MNIST_SECONDS and right >= mnist.ACCURACY)
    yield check(f"MNIST to {mnist.ACCURACY:g} %", f"less than {MNIST_SECONDS:g} s",
                seconds and f"{time(seconds)}, {right:.2f} %", met)  # fmt: skip


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
