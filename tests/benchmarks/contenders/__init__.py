"""Who takes part. Each contender is one file here, with a function for each kind of case that it can do; nothing of it
is imported before it is measured.

    Training(case, size)    -> an object with step(): a batch, forward, loss, zero_grad, backward, optimizer;
                               wait(): until all of that is done; loss(): of the last step, as it was before the
                               update; weights(): NumPy arrays in the order and shapes of cases.weight_shapes
    evaluation(case)        -> a function: 10,000 images through the network, without gradient
    loading()               -> a function: an epoch of the loader
    tiny_forward(count)     -> seconds that `count` operations took
    tiny_backward(length)   -> seconds of the way back through a chain of that length

Skip says why one case is left out, Absent why all are."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..cases import Network, unknown


class Skip(Exception):
    """The contender cannot do this case."""


class Absent(Exception):
    """The contender cannot do anything on this machine."""


class Contender(NamedTuple):
    """The file, the packages it needs (distributions, for their versions; the first is what is imported), and the
    kinds of cases it does."""

    file: str
    needs: tuple[str, ...]
    kinds: str


TRAINING = "training memory import"
CONTENDERS = {
    "tinygrad_m": Contender("with_tinygrad_m", ("tinygrad_m",), f"{TRAINING} tiny evaluate loader mnist-99"),
    "numpy": Contender("with_numpy", ("numpy",), f"{TRAINING} evaluate loader"),
    "torch": Contender("with_torch", ("torch",), f"{TRAINING} tiny evaluate loader mnist-99"),
    "torch.compile": Contender("with_torch_compile", ("torch",), "training memory evaluate"),
    "torch.DataLoader": Contender("with_torch_dataloader", ("torch",), "loader"),
    "jax": Contender("with_jax", ("jax", "jaxlib"), f"{TRAINING} evaluate"),
    "tinygrad": Contender("with_tinygrad", ("tinygrad",), f"{TRAINING} evaluate"),
    "mygrad": Contender("with_mygrad", ("mygrad",), f"{TRAINING} tiny"),
    "autograd": Contender("with_autograd", ("autograd",), f"{TRAINING} tiny"),
}
QUICK = ("tinygrad_m", "numpy", "torch")


def select(names: Sequence[str]) -> list[str]:
    """These contenders, or all."""
    for name in names:
        if name not in CONTENDERS:
            raise ValueError(unknown("contender", name, list(CONTENDERS)))
    return list(dict.fromkeys(names)) or list(CONTENDERS)


def load(name: str) -> Any:
    """The module of a contender. Absent if its package is not installed."""
    contender = CONTENDERS[name]
    try:
        importlib.import_module(contender.needs[0])
    except ModuleNotFoundError as error:
        raise Absent(f"{error.name} is not installed") from error
    return importlib.import_module(f".{contender.file}", __name__)


# -- for those whose tensors have an operator * and a method backward() -----------------------------


def time_products(a: Any, b: Any, count: int) -> float:
    """Seconds of a * b, `count` times."""
    start = time.perf_counter()
    for _ in range(count):
        a * b
    return time.perf_counter() - start


def time_chain_back(a: Any, b: Any, length: int) -> float:
    """Seconds of backward() through a * b * b * b ..."""
    x = a
    for _ in range(length):
        x = x * b
    start = time.perf_counter()
    x.backward()
    return time.perf_counter() - start


def sequential(nn: Any, network: Network) -> Any:
    """The network as a Sequential of a library whose layers have PyTorch's names, with first weights of its own."""
    layers = {
        "linear": nn.Linear,
        "conv": lambda inputs, outputs, kernel, padding: nn.Conv2d(inputs, outputs, kernel, padding=padding),
        "pool": nn.MaxPool2d,
        "dropout": nn.Dropout,
        "relu": nn.ReLU,
        "flatten": nn.Flatten,
    }
    return nn.Sequential(*[layers[kind](*sizes) for kind, *sizes in network.layers])
