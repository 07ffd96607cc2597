"""What is measured: every network, written once as a list of layers that each contender reads, every case by its
name, and the targets. The data and the first weights are here too, so that all contenders train on the same."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

SAMPLES = 8192  # images in the data set of a training case: a whole number of batches of each size below
EVALUATED, EVALUATION_BATCH = 10_000, 1000
LOADED, LOADED_BATCH = 60_000, 64

# The settings of both optimizers; what is not named here is PyTorch's default.
MOMENTUM = {"lr": 0.01, "momentum": 0.9}
RMSPROP = {"lr": 1e-4, "alpha": 0.99, "eps": 1e-8, "momentum": 0.9}
OPTIMIZERS = {"momentum": MOMENTUM, "rmsprop-momentum": RMSPROP}


class Network(NamedTuple):
    """A batch size, the shape of one image, and the layers:
    ("linear", in, out), ("conv", in, out, kernel, padding), ("pool", size), ("dropout", p), ("relu",), ("flatten",)."""

    batch: int
    image: tuple[int, ...]
    layers: tuple[tuple[Any, ...], ...]


def mlp(batch: int, *sizes: int) -> Network:
    """Linear layers of these sizes with ReLU between them."""
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (("linear", *pair), ("relu",))]
    return Network(batch, sizes[:1], tuple(layers[:-1]))


def convolutional(batch: int, *layers: tuple[Any, ...]) -> Network:
    """A network for images of 28 x 28 pixels."""
    return Network(batch, (1, 28, 28), layers)


RELU, FLATTEN, POOL = ("relu",), ("flatten",), ("pool", 2)
NETWORKS = {
    "mlp-64": mlp(64, 784, 128, 10),
    "mlp-128": mlp(128, 784, 128, 10),
    "mlp-512": mlp(128, 784, 512, 512, 10),
    "mlp-1024": mlp(512, 784, 1024, 1024, 10),
    "lenet": convolutional(
        128, ("conv", 1, 6, 5, 2), RELU, POOL, ("conv", 6, 16, 5, 0), RELU, POOL, FLATTEN,
        ("linear", 400, 120), RELU, ("linear", 120, 84), RELU, ("linear", 84, 10),
    ),
    "example": convolutional(  # of PyTorch's repository of examples
        64, ("conv", 1, 32, 3, 0), RELU, ("conv", 32, 64, 3, 0), RELU, POOL, ("dropout", 0.25), FLATTEN,
        ("linear", 9216, 128), RELU, ("dropout", 0.5), ("linear", 128, 10),
    ),
    "small": convolutional(
        256, ("conv", 1, 24, 5, 0), RELU, POOL, ("conv", 24, 32, 3, 0), RELU, POOL, FLATTEN,
        ("linear", 800, 256), RELU, ("linear", 256, 10),
    ),
}  # fmt: skip


def has(network: Network, *kinds: str) -> bool:
    """Whether a layer of one of these kinds is in the network."""
    return any(layer[0] in kinds for layer in network.layers)


def weight_shapes(network: Network) -> list[tuple[tuple[int, ...], int]]:
    """(shape, inputs of one output) of each weight and bias, in order, as PyTorch has them."""
    shapes: list[tuple[tuple[int, ...], int]] = []
    for kind, *sizes in network.layers:
        if kind == "linear":
            inputs, outputs = sizes
            shapes += [((outputs, inputs), inputs), ((outputs,), inputs)]
        elif kind == "conv":
            inputs, outputs, kernel, _ = sizes
            fan = inputs * kernel * kernel
            shapes += [((outputs, inputs, kernel, kernel), fan), ((outputs,), fan)]
    return shapes


def first_weights(network: Network, seed: int = 0) -> list[np.ndarray]:
    """The first values of all weights and biases, float32: U(-b, b), b = 1 / sqrt(inputs of one output)."""
    rng = np.random.default_rng(seed)
    drawn = [rng.uniform(-1, 1, shape) / math.sqrt(fan) for shape, fan in weight_shapes(network)]
    return [array.astype(np.float32) for array in drawn]


def dataset(image: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, float32, and labels, int64: how fast a step is does not depend on what is learnt."""
    rng = np.random.default_rng(1)
    return rng.random((size, *image), dtype=np.float32) * 2 - 1, rng.integers(0, 10, size)


def orders(size: int, batch: int) -> Iterator[np.ndarray]:
    """The row numbers of each batch, without end: a new order each epoch, drawn as tinygrad_m's DataLoader does."""
    for epoch in itertools.count():
        order = np.random.default_rng([0, epoch]).permutation(size)
        yield from order[: size // batch * batch].reshape(-1, batch)


# -- the cases ------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One thing that is measured. `kind` is what a contender must be able to do; `threads` are the counts that it
    is measured with whatever is asked for, or none: those that are asked for."""

    name: str
    kind: str
    what: str
    network: str = ""
    optimizer: str = ""
    threads: tuple[int, ...] = ()
    unit: str = "s"


def _all() -> Iterator[Case]:
    yield Case(
        "tiny forward",
        "tiny",
        "the product a * b of two scalars, its gradient recorded: time per operation",
        threads=(1,),
    )
    yield Case("tiny backward", "tiny", "the way back through x = x * b, 1000 times: time per operation", threads=(1,))
    for name, network in NETWORKS.items():
        for optimizer in OPTIMIZERS:
            what = f"a training step, batch {network.batch}, {optimizer}"
            yield Case(f"{name} {optimizer}", "training", what, name, optimizer)
    yield Case("evaluate", "evaluate", "10,000 images through the small network, in batches of 1000", "small")
    yield Case("loader", "loader", "an epoch of 60,000 images in shuffled batches of 64")
    yield Case("import", "import", "importing it in a fresh process", threads=(1,))
    for name in NETWORKS:
        what = "the peak memory of a process that imports it and makes 20 steps with momentum"
        yield Case(f"memory {name}", "memory", what, name, "momentum", (1,), "MB")
    yield Case("mnist-99", "mnist-99", "training on MNIST to 99 % test accuracy, a seed each round", threads=(2,))


CASES = {case.name: case for case in _all()}
LONG = ("mnist-99",)  # takes minutes: only when it is asked for by name
QUICK = ("tiny", "mlp-64 momentum", "lenet momentum", "import", "memory mlp-64")


def select(names: Sequence[str]) -> list[Case]:
    """The cases of these names. The first word of a name stands for all that begin so, as `mlp-64` or `memory`."""
    chosen: dict[str, Case] = {}
    for name in names:
        found = {full: case for full, case in CASES.items() if f"{full} ".startswith(f"{name} ")}
        if not found:
            families = list(dict.fromkeys(full.split()[0] for full in CASES))
            raise ValueError(unknown("case", name, [*families, *(full for full in CASES if " " in full)]))
        chosen.update(found)
    return list(chosen.values()) if names else [case for case in CASES.values() if case.name not in LONG]


def unknown(what: str, name: str, right: Sequence[str]) -> str:
    """What to say of a wrong name."""
    near = difflib.get_close_matches(name, right, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"there is no {what} {name!r}{hint}; the names are: {', '.join(right)}"


# -- the targets ----------------------------------------------------------------------------------


class Target(NamedTuple):
    """tinygrad_m's median in a case is at most `limit` times that of `against`, or at most `limit` in the case's unit.
    `threads`: for which count it holds, 0 for each. `at_least`: its accuracy is at least that."""

    case: str
    limit: float
    against: str = ""
    threads: int = 0
    at_least: float = 0.0


TARGETS = [
    Target("tiny forward", 2e-6),
    Target("tiny forward", 1.0, "torch"),
    Target("tiny backward", 3e-6),
    Target("tiny backward", 1.0, "torch"),
    Target("mlp-64 momentum", 0.60, "torch"),
    Target("mlp-64 momentum", 1.00, "jax"),
    Target("mlp-64 momentum", 1.10, "numpy"),
    Target("mlp-64 rmsprop-momentum", 0.50, "torch"),
    *[
        Target(f"{name} momentum", limit, against)
        for name in ("mlp-512", "mlp-1024")
        for against, limit in (("torch", 0.95), ("numpy", 1.05))
    ],
    *[
        Target(f"{name} momentum", limit, "torch", threads)
        for name, limits in {"lenet": (0.65, 0.9), "small": (0.65, 0.9), "example": (0.85, 1.0)}.items()
        for threads, limit in enumerate(limits, 1)
    ],
    *[Target(f"memory {name}", 1.1, "torch") for name in NETWORKS],
    Target("import", 1.3, "numpy"),
    Target("mnist-99", 15.0),
    Target("mnist-99", 1.0, "torch"),
    Target("mnist-99", 0.0, at_least=99.0),
]
