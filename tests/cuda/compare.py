"""The part `compare`: the same training on the CPU and on CUDA, from the same seeds, compared step by step: the loss,
each parameter, its gradient and the running statistics. Differences are relative, max |a - b| / max |b| of an array.

float64: STEPS steps on both. At each the difference must be at most FLOAT64. One rounding is 1e-16, so there is room
for growth by a factor of 10 million.

float32 has no such room. Where an input of ReLU is nearly 0, or two of a max pooling are nearly equal, rounding alone
decides which way the gradient takes, and training goes on from there on another path: two runs that are both right may
part. So each step starts from the float64 run of the CPU (weights, statistics, optimizer), which is the truth that its
end is compared with, and the few steps with such a decision are left out: the worst 5 %. CUDA's difference must be at
most FACTOR times the CPU's. Both share the rounding of the start to float32; what they add to it differs in the order
of sums and in fused multiply-add. The error of a sum of n terms is between log n roundings (by halves) and n (one after
the other), and grows with the square roots of these where roundings are random: for the 30 to 5000 terms here that is
a factor of 3 to 20 between the best order and the worst, and libraries use neither, but blocks. The CPU's difference
counts as FLOOR roundings at least: a result of a few operations can't be trusted to less.

CUDA's runs are made twice: with usual steps, and with steps that tg.capture records once and replays. The same is asked
of both. WARMUP calls of a captured step run as usual, all later ones must be replays, which is counted. A captured step
goes on with the memory that it was recorded with. So the state that a float32 step starts from is copied into the
memory that the model and the optimizer have, where optimizer.load_state_dict() would make new arrays. manual_seed(k)
before step k gives usual steps and replays the same dropout: a replay draws its seeds anew, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

import tinygrad_m as tg
from tinygrad_m import backend, kernels, nn, optim
from tinygrad_m.nn import functional as F

from . import process
from .states import put_back

STEPS = 100
WARMUP = 3
BATCH, BATCHES, CLASSES = 32, 8, 10
IMAGE = (1, 12, 12)
FLOAT64 = 1e-9
FACTOR = 8.0
FLOOR = 4
ROUNDING = 2.0**-24  # of float32
LEFT_OUT = 0.05

Data = list[tuple[np.ndarray, np.ndarray]]


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 48), nn.ReLU(), nn.Linear(48, CLASSES))


def cnn(*before_last: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), *before_last, nn.Linear(48, CLASSES),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "MLP": mlp,
    "CNN, batch norm": cnn,
    "CNN, batch norm, dropout": lambda: cnn(nn.Dropout(0.25)),
}
OPTIMIZERS: dict[str, Callable[[list[tg.Tensor]], optim.Optimizer]] = {
    "momentum": lambda p: optim.SGD(p, lr=0.02, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "rmsprop-momentum": lambda p: optim.RMSprop(p, lr=2e-4, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.002),
}


class Run(NamedTuple):
    """values: of the loss, each parameter, gradient and buffer, by name, a row for each step. starts: the states of
    model and optimizer before each step. waits: how often the host waited for the device in all steps, None if that
    can't be counted. waited: whether it did in one more step."""

    values: dict[str, np.ndarray]
    starts: list[tuple[Any, Any]]
    waits: int | None = None
    waited: bool | None = None


def data(seed: int = 0) -> Data:
    """Batches of images and labels: a class is a pattern under noise, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((CLASSES, *IMAGE))
    labels = rng.integers(0, CLASSES, (BATCHES, BATCH))
    images = (0.5 * patterns[labels] + rng.standard_normal((BATCHES, BATCH, *IMAGE))).astype(np.float32)
    return list(zip(images, labels))


def train(
    network: str, optimizer: str, dtype: str, device: str, batches: Data, steps: int, starts: Any = None,
    captured: bool = False,
) -> Run:  # fmt: skip
    """Train from seed 0, or take each step from the state that `starts` has for it. The first weights are float32's, so
    that both dtypes start from the same. RuntimeError if what is to be captured is not replayed."""
    tg.manual_seed(0)
    model = NETWORKS[network]().to(device).to(dtype=dtype)
    update = OPTIMIZERS[optimizer](list(model.parameters()))
    there = [(tg.Tensor(x.astype(dtype), device=device), tg.Tensor(y, device=device)) for x, y in batches]

    ran = 0  # how often the step ran in Python

    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        nonlocal ran
        ran += 1
        loss = F.cross_entropy(model(x), y)
        update.zero_grad()
        loss.backward()
        update.step()
        return loss

    learn = tg.capture(step, WARMUP) if captured else step
    learnt = dict(model.named_parameters())
    state = {**learnt, **{name: t for name, t in model.named_buffers() if t.dtype.kind == "f"}}
    history: dict[str, list[Any]] = {}
    before: list[tuple[Any, Any]] = []
    waits = 0
    for k in range(steps):
        if starts is not None:
            model.load_state_dict(starts[k][0])  # in place
            put_back(update, starts[k][1]["state"])
        elif device == "cpu":
            before.append((model.state_dict(), update.state_dict()))
        tg.manual_seed(k)  # of dropout's masks
        counted = _counted(device)
        loss = learn(*there[k % len(there)])
        waits += _counted(device) - counted
        found = {"loss": loss, **state, **{f"gradient of {name}": p.grad for name, p in learnt.items()}}
        for name, tensor in found.items():
            with backend.on(tensor.data):
                history.setdefault(name, []).append(tensor.data.copy())  # on the device: reading it would wait
    if captured and ran != WARMUP + 1:
        raise RuntimeError(
            f"{steps} calls of a captured step ran it {ran} times in Python, where {WARMUP + 1} were expected, "
            f"{WARMUP} to warm up and one to record it: these are no replays"
        )
    values = {name: np.stack([backend.to_numpy(a) for a in rows]) for name, rows in history.items()}
    if device == "cpu":
        return Run(values, before)
    if hasattr(backend.cuda().xp, "syncs"):
        return Run(values, before, waits=waits)
    return Run(values, before, waited=host_waits(lambda: learn(*there[steps % len(there)])))


# -- does a step wait for the device? ---------------------------------------------------------------

SPIN = """
extern "C" __global__ void spin(long long cycles) {
    long long start = clock64();
    while (clock64() - start < cycles) {}
}
"""
CYCLES = 500_000_000  # about 0.3 s: many times what Python needs for a step


def _counted(device: str) -> int:
    """How often the host has waited, where CuPy's stand-in of the tests counts it; else 0."""
    return 0 if device == "cpu" else getattr(backend.cuda().xp, "syncs", 0)


def host_waits(step: Callable[[], object], cycles: int = CYCLES) -> bool:
    """Whether step() waits for the device: a kernel that takes long is started before it. If the kernel is over when
    step() returns, Python has waited for it."""
    xp = backend.cuda().xp
    spin = xp.RawKernel(SPIN, "spin")
    spin((1,), (1,), (np.int64(0),))  # compiles
    step()  # takes what memory it needs: cudaMalloc waits
    xp.cuda.runtime.deviceSynchronize()
    spin((1,), (1,), (np.int64(cycles),))
    over = xp.cuda.Event(disable_timing=True)
    over.record()
    step()
    waited = bool(over.done)
    xp.cuda.runtime.deviceSynchronize()
    return waited


# -- the comparison -------------------------------------------------------------------------------


def differences(run: Run, truth: Run) -> tuple[np.ndarray, list[str]]:
    """For each step the largest relative difference, and of what. NaN or infinity is an infinite difference."""
    names, ratios = list(truth.values), []
    for name in names:
        a, b = run.values[name].astype(np.float64), truth.values[name]
        axes = tuple(range(1, a.ndim))
        off, size = abs(a - b).max(axis=axes), abs(b).max(axis=axes)
        with np.errstate(all="ignore"):
            ratio = np.where(off == 0, 0.0, off / size)
        ratios.append(np.where(np.isfinite(ratio), ratio, np.inf))
    table = np.stack(ratios)
    return table.max(axis=0), [names[k] for k in table.argmax(axis=0)]


def compare(network: str, optimizer: str, batches: Data, steps: int) -> list[dict[str, Any]]:
    """A row for each dtype, with usual steps and with captured ones: what was found, what is allowed, and whether it is
    within. A captured run that raises is a row, too, so that the others are not lost."""
    setting = network, optimizer
    truth = train(*setting, "float64", "cpu", batches, steps)
    cpu = train(*setting, "float32", "cpu", batches, steps, truth.starts)
    left_out = int(LEFT_OUT * steps)
    usual = float(np.sort(differences(cpu, truth)[0])[steps - 1 - left_out])
    rows = []
    for captured in (False, True) if kernels.ENABLED else (False,):
        for dtype, starts, out, theirs, allowed in (
            ("float64", None, 0, 0.0, FLOAT64),
            ("float32", truth.starts, left_out, usual, FACTOR * max(usual, FLOOR * ROUNDING)),
        ):
            row: dict[str, Any] = {
                "network": network, "optimizer": optimizer, "dtype": dtype, "captured": captured, "raised": "",
                "cpu": theirs, "allowed": allowed, "last loss": float(truth.values["loss"][-1]),
            }  # fmt: skip
            try:
                run = train(*setting, dtype, "cuda", batches, steps, starts, captured)
                row.update(judged(run, truth, out, allowed))
            except Exception as error:
                if not captured:
                    raise
                row.update(raised=process.said(error), within=False)
            rows.append(row)
    return rows


def judged(run: Run, truth: Run, left_out: int, allowed: float) -> dict[str, Any]:
    """What a row says of a run: its largest difference but for the `left_out` largest, and where it was."""
    found, what = differences(run, truth)
    step = int(np.argsort(found)[len(found) - 1 - left_out])
    return {
        "found": float(found[step]), "where": f"{what[step]}, step {step + 1}", "largest": float(found.max()),
        "within": bool(found[step] <= allowed), "waits": run.waits, "waited": run.waited,
    }  # fmt: skip


def run(
    steps: int = STEPS, networks: Iterable[str] | None = None, optimizers: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """All rows, or those of these networks and optimizers."""
    tg.set_float32_matmul_precision("highest")  # whatever CUPY_TF32 says
    batches = data()
    return [
        row
        for network in networks or NETWORKS
        for optimizer in optimizers or OPTIMIZERS
        for row in compare(network, optimizer, batches, steps)
    ]


def part(quick: bool = False) -> dict[str, Any]:
    """The comparison, in a process of its own."""
    rows = process.run("compare", steps=STEPS)
    failures = [failure(row) for row in rows if not row["within"]]
    return {"steps": STEPS, "rows": rows, "failures": failures}


def failure(row: dict[str, Any]) -> str:
    """What is to be said of a row that is not within its tolerance."""
    name = f"{row['network']}, {row['optimizer']}, {row['dtype']}{', captured' * row['captured']}"
    if row["raised"]:
        return f"{name}: it raised {row['raised']}"
    return f"{name}: {row['found']:.2g} at {row['where']} is more than the allowed {row['allowed']:.2g}"
