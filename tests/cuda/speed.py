"""The part `speed`: whole training steps and steps of an optimizer, of tinygrad_m and of others. Each measurement is a
process of its own; the contenders take turns, round after round, and the median of the rounds counts. Whatever is
compiled or recorded is so in the warm-up of timing.py or before. TF32 is off unless a contender's name or its row says
otherwise; PyTorch has its defaults where its name says nothing. tinygrad_m convolves in its own way unless the name
says cuDNN."""

from __future__ import annotations

import importlib
import statistics
import sys
from typing import Any, NamedTuple

from tinygrad_m import kernels

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from ..benchmarks.where_time_goes import products
from . import process
from .timing import step_time

PARTS = 10  # parameters that an optimizer's numbers are spread over


class Case(NamedTuple):
    """What is measured: training steps of `network`, or steps of an `optimizer` on `numbers` float32 parameters, which
    has to read and write `arrays` arrays of that size: weights, gradients, state. `size`: images in the data set.
    `tf32`: with TF32, too. `product`: also measure CuPy's own product of two matrices of so many rows."""

    what: str
    network: cases.Network | None = None
    size: int = cases.SAMPLES
    tf32: bool = False
    product: int = 0
    optimizer: str = ""
    numbers: int = 0
    arrays: int = 0


CASES = {
    "mlp": Case("a training step of the MLP 784-128-10, batch 128", cases.NETWORKS["mlp-128"], tf32=True),
    "cnn": Case("a training step of the small CNN, batch 256", cases.NETWORKS["small"], tf32=True),
    "lenet": Case("a training step of LeNet-5, batch 128", cases.NETWORKS["lenet"]),
    "large": Case(
        "a training step of the MLP 8192-8192-10, batch 8192", cases.mlp(8192, 8192, 8192, 10), tf32=True, product=8192
    ),
    "sgd": Case("a step of SGD with momentum on 100 M parameters", optimizer="sgd", numbers=100_000_000, arrays=5),
    "adam": Case("a step of Adam on 100 M parameters", optimizer="adam", numbers=100_000_000, arrays=7),
}


class Contender(NamedTuple):
    """The module; in which cases: "training", "optimizer", "convolution", where networks have one, or "TF32", where a
    case says so; what its check() gets, and what its Training or OptimizerStep."""

    module: str
    does: str
    settings: dict[str, Any] = {}
    how: dict[str, bool] = {}


OURS = "tinygrad_m"
CAPTURED = "tinygrad_m, captured"
TF32 = "tinygrad_m, TF32"
CUDNN = "tinygrad_m, cuDNN"
CUDNN_CAPTURED = f"{CAPTURED}, cuDNN"
EAGER = "torch"
GRAPH = "torch, CUDA graph"
COMPILED = "torch.compile"  # with CUDA graphs, too
CONTENDERS = {
    OURS: Contender("with_tinygrad_m", "training optimizer"),
    CAPTURED: Contender("with_tinygrad_m", "training", {"captured": True}, {"captured": True}),
    TF32: Contender("with_tinygrad_m", "TF32", {"tf32": True}),
    f"{CAPTURED}, TF32": Contender("with_tinygrad_m", "TF32", {"tf32": True, "captured": True}, {"captured": True}),
    CUDNN: Contender("with_tinygrad_m", "convolution", {"convolution": "cudnn"}),
    CUDNN_CAPTURED: Contender(
        "with_tinygrad_m", "convolution", {"convolution": "cudnn", "captured": True}, {"captured": True}
    ),
    EAGER: Contender("with_torch", "training optimizer"),
    "torch without TF32": Contender("with_torch", "convolution", {"tf32": False}),
    "torch, TF32": Contender("with_torch", "TF32", {"tf32": True}),
    GRAPH: Contender("with_torch", "training", how={"graph": True}),
    COMPILED: Contender("with_torch", "training", how={"compiled": True}),
    "torch, fused": Contender("with_torch", "optimizer", how={"fused": True}),
    "jax": Contender("with_jax", "training optimizer"),
}
QUICK_CASES = ("mlp", "cnn", "large", "sgd")
QUICK_CONTENDERS = (OURS, CAPTURED, TF32, CUDNN, CUDNN_CAPTURED, EAGER, GRAPH)
WITHOUT_KERNELS = "captured steps need the kernels that TINYGRAD_M_KERNELS=0 turns off"
NOR_CUDNN = "cuDNN is asked only where the kernels are on, which TINYGRAD_M_KERNELS=0 turns off"


def racing(case: Case) -> list[str]:
    """The contenders of a case. Where the kernels are off no step can be captured, and cuDNN would not be asked."""
    kinds = {"training" if case.network else "optimizer"}
    if case.network and cases.has(case.network, "conv"):
        kinds.add("convolution")
    if case.tf32:
        kinds.add("TF32")
    found = [name for name, contender in CONTENDERS.items() if kinds & set(contender.does.split())]
    return [name for name in found if kernels.ENABLED or not {"captured", "convolution"} & {*CONTENDERS[name].settings}]


def like(contender: str) -> str:
    """The contender whose process measures CuPy's own rates with the same precision of products."""
    return TF32 if CONTENDERS[contender].settings.get("tf32") else OURS


# -- in the child ---------------------------------------------------------------------------------


def measure(contender: str, case: str, seconds: float, device: str = "cuda") -> dict[str, Any]:
    """{"seconds": of a step, "tf32": its state}, with cuDNN what it has "refused", and the rates that tinygrad_m's are
    compared with: "product", in operations, and "copy", in bytes a second; or {"absent": why}."""
    (file, _, settings, how), it = CONTENDERS[contender], CASES[case]
    try:
        module = importlib.import_module(f".{file}", __package__)
        found: dict[str, Any] = {"tf32": module.check(device, **settings)}
    except ModuleNotFoundError as error:
        return {"absent": f"{error.name} is not installed"}
    except Absent as error:
        return {"absent": str(error)}
    if it.network is not None:
        trainer = module.Training(it.network, device, it.size, **how)
    else:
        trainer = module.OptimizerStep(it.optimizer, it.numbers // PARTS, PARTS, device, **how)
    found["seconds"] = step_time(trainer.step, trainer.wait, seconds)
    if contender in (CUDNN, CUDNN_CAPTURED):
        found["refused"] = module.refused()
    if contender in (OURS, TF32) and it.product:
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
    if not kernels.ENABLED:
        found["left_out"] += [WITHOUT_KERNELS, NOR_CUDNN]
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
                    ours = CONTENDERS[contender].module == CONTENDERS[OURS].module
                    found["failures" if ours else "left_out"].append(f"{contender}, {name}: {error}")
                    continue
                if "absent" in one:
                    absent.add(contender)
                    found["left_out"].append(f"{contender}: {one['absent']}")
                    continue
                values.setdefault(contender, []).append(one)
        rows = found["cases"][name] = {who: summary(all_) for who, all_ in values.items()}
        for who, row in rows.items():
            row.update(fractions(CASES[name], row["seconds"], rows.get(like(who), {})))
    return found


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of the rounds."""
    row: dict[str, Any] = {"rounds": [one["seconds"] for one in rounds], "tf32": rounds[0]["tf32"]}
    for name in ("seconds", "product", "copy"):
        if name in rounds[0]:
            row[name] = statistics.median(one[name] for one in rounds)
    if "refused" in rounds[0]:
        row["refused"] = list(dict.fromkeys(why for one in rounds for why in one["refused"]))
    return row


def fractions(case: Case, seconds: float, ours: dict[str, Any]) -> dict[str, float]:
    """What a time is in operations or bytes a second, and as a fraction of the device's rate, which is in `ours`, the
    row of like(). Bytes: each array that the update needs read once, each that it changes written once."""
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
