"""The part `speed`: whole training steps and steps of an optimizer, of tinygrad_m and of others. Each measurement is a
process of its own; the contenders take turns, round after round, and the median of the rounds counts."""

from __future__ import annotations

import importlib
import statistics
import sys
from typing import Any, NamedTuple

import tinygrad_m as tg

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from ..benchmarks.where_time_goes import products
from . import process
from .timing import step_time

PARTS = 10  # parameters that an optimizer's numbers are spread over


class Case(NamedTuple):
    """What is measured: training steps of `network`, or steps of an `optimizer` on `numbers` float32 parameters, which
    has to read and write `arrays` arrays of that size: weights, gradients, state. `size`: images in the data set.
    `product`: also measure CuPy's own product of two matrices of so many rows."""

    what: str
    network: cases.Network | None = None
    size: int = cases.SAMPLES
    product: int = 0
    optimizer: str = ""
    numbers: int = 0
    arrays: int = 0


CASES = {
    "mlp": Case("a training step of the MLP 784-128-10, batch 128", cases.NETWORKS["mlp-128"]),
    "cnn": Case("a training step of the small CNN, batch 256", cases.NETWORKS["small"]),
    "lenet": Case("a training step of LeNet-5, batch 128", cases.NETWORKS["lenet"]),
    "large": Case("a training step of the MLP 8192-8192-10, batch 8192", cases.mlp(8192, 8192, 8192, 10), product=8192),
    "sgd": Case("a step of SGD with momentum on 100 M parameters", optimizer="sgd", numbers=100_000_000, arrays=5),
    "adam": Case("a step of Adam on 100 M parameters", optimizer="adam", numbers=100_000_000, arrays=7),
}


class Contender(NamedTuple):
    """The module, how it is asked, and in which cases: "training", "optimizer", or "convolution", where networks have
    one."""

    module: str
    how: dict[str, bool]
    does: str


OURS = "tinygrad_m"
CAPTURED = "tinygrad_m, captured"
EAGER = "torch"
CONTENDERS = {
    OURS: Contender("with_tinygrad_m", {}, "training optimizer"),
    CAPTURED: Contender("with_tinygrad_m", {"captured": True}, "training"),
    EAGER: Contender("with_torch", {}, "training optimizer"),
    "torch without TF32": Contender("with_torch", {"tf32": False}, "convolution"),
    "torch.compile": Contender("with_torch", {"compiled": True}, "training"),
    "torch, fused": Contender("with_torch", {"fused": True}, "optimizer"),
    "jax": Contender("with_jax", {}, "training optimizer"),
}
QUICK_CASES = ("mlp", "cnn", "large", "sgd")
QUICK_CONTENDERS = (OURS, CAPTURED, EAGER)


def racing(case: Case) -> list[str]:
    """The contenders of a case. A captured step is measured where the package has tg.capture."""
    kinds = {"training" if case.network else "optimizer"}
    if case.network and cases.has(case.network, "conv"):
        kinds.add("convolution")
    found = [name for name, contender in CONTENDERS.items() if kinds & set(contender.does.split())]
    return [name for name in found if name != CAPTURED or hasattr(tg, "capture")]


# -- in the child ---------------------------------------------------------------------------------


def measure(contender: str, case: str, seconds: float, device: str = "cuda") -> dict[str, Any]:
    """{"seconds": of a step, "tf32": its state}, and the rates that tinygrad_m's are compared with: "product", in
    operations, and "copy", in bytes a second; or {"absent": why}."""
    (file, how, _), it = CONTENDERS[contender], CASES[case]
    try:
        module = importlib.import_module(f".{file}", __package__)
        found: dict[str, Any] = {"tf32": module.check(device, **{k: v for k, v in how.items() if k != "captured"})}
    except ModuleNotFoundError as error:
        return {"absent": f"{error.name} is not installed"}
    except Absent as error:
        return {"absent": str(error)}
    if it.network is not None:
        trainer = module.Training(it.network, device, it.size, **how)
    else:
        trainer = module.OptimizerStep(it.optimizer, it.numbers // PARTS, PARTS, device, **how)
    found["seconds"] = step_time(trainer.step, trainer.wait, seconds)
    if contender == OURS and it.product:
        found["product"] = module.product_rate(it.product, device, seconds)
    if contender == OURS and it.numbers:
        found["copy"] = module.copy_rate(it.numbers, device, seconds)
    return found


# -- in the parent --------------------------------------------------------------------------------


def part(quick: bool = False) -> dict[str, Any]:
    """All cases, contenders and rounds."""
    rounds, seconds = (1, 0.5) if quick else (5, 2.0)
    names = QUICK_CASES if quick else tuple(CASES)
    found: dict[str, Any] = {"rounds": rounds, "cases": {}, "left_out": [], "failures": []}
    absent: set[str] = set()
    for name in names:
        race = [one for one in racing(CASES[name]) if not quick or one in QUICK_CONTENDERS]
        values: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for contender in [one for one in race if one not in absent]:
                print(f"  {name}: {contender}", file=sys.stderr, flush=True)
                try:
                    one = process.run("speed", contender=contender, case=name, seconds=seconds)
                except process.JobError as error:
                    race.remove(contender)
                    ours = contender in (OURS, CAPTURED)
                    found["failures" if ours else "left_out"].append(f"{contender}, {name}: {error}")
                    continue
                if "absent" in one:
                    absent.add(contender)
                    found["left_out"].append(f"{contender}: {one['absent']}")
                    continue
                values.setdefault(contender, []).append(one)
        found["cases"][name] = {who: summary(CASES[name], all_) for who, all_ in values.items()}
        for row in found["cases"][name].values():
            row.update(fractions(CASES[name], row["seconds"], found["cases"][name].get(OURS, {})))
    return found


def summary(case: Case, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of the rounds."""
    row: dict[str, Any] = {"rounds": [one["seconds"] for one in rounds], "tf32": rounds[0]["tf32"]}
    for name in ("seconds", "product", "copy"):
        if name in rounds[0]:
            row[name] = statistics.median(one[name] for one in rounds)
    return row


def fractions(case: Case, seconds: float, ours: dict[str, Any]) -> dict[str, float]:
    """What a time is in operations or bytes a second, and as a fraction of the device's rate, which tinygrad_m's
    process has measured. Bytes: each array that the update needs read once, each that it changes written once."""
    found: dict[str, float] = {}
    if case.product and case.network is not None:
        found["operations"] = sum(2.0 * m * k * n for m, k, n in products(case.network)) / seconds
        if "product" in ours:
            found["of product"] = found["operations"] / ours["product"]
    if case.numbers:
        found["bytes"] = 4.0 * case.arrays * case.numbers / seconds
        if "copy" in ours:
            found["of copy"] = found["bytes"] / ours["copy"]
    return found
