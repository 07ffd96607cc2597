"""tinygrad, the project whose name tinygrad_m's begins with: the whole step is one TinyJit.
On a CPU it compiles with clang, or with the compiler that $CC names; without one it is left out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import cases
from . import Absent, Skip

os.environ["DEV"] = "CPU"
if shutil.which(os.environ.get("CC", "clang")) is None:
    raise Absent("it compiles with clang, which is not installed")

from tinygrad import Context, Tensor, TinyJit, dtypes, nn  # noqa: E402


def scores(network: cases.Network, weights: list[Any], x: Any) -> Any:
    left = iter(weights)
    for kind, *sizes in network.layers:
        if kind == "linear":
            x = x.linear(next(left).transpose(), next(left))
        elif kind == "conv":
            x = x.conv2d(next(left), next(left), padding=sizes[3])
        elif kind == "relu":
            x = x.relu()
        elif kind == "pool":
            x = x.max_pool2d((sizes[0], sizes[0]))
        elif kind == "dropout":
            x = x.dropout(sizes[0])
        elif kind == "flatten":
            x = x.flatten(1)
    return x


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        if case.optimizer != "momentum":
            raise Skip("no RMSprop")
        network = cases.NETWORKS[case.network]
        self.w = [Tensor(w).contiguous().realize() for w in cases.first_weights(network)]
        for w in self.w:
            w.is_param_()
        images, labels = cases.dataset(network.image, size)
        x, y = Tensor(images).realize(), Tensor(labels.astype(np.int32)).realize()
        optimizer = nn.optim.SGD(self.w, **cases.MOMENTUM)
        self.orders = cases.orders(size, network.batch)

        @TinyJit
        def step(rows: Any) -> Any:
            with Context(TRAINING=1):
                optimizer.zero_grad()
                loss = scores(network, self.w, x[rows]).sparse_categorical_crossentropy(y[rows]).backward()
                return loss.realize(*optimizer.schedule_step())

        self.compiled = step

    def step(self) -> None:
        self.last = self.compiled(Tensor(next(self.orders).astype(np.int32), dtype=dtypes.int32).realize())

    def wait(self) -> None:
        self.last.item()

    def loss(self) -> float:
        return float(self.last.item())

    def weights(self) -> list[np.ndarray]:
        return [w.numpy() for w in self.w]


def evaluation(case: cases.Case) -> Callable[[], None]:
    network = cases.NETWORKS[case.network]
    weights = [Tensor(w).realize() for w in cases.first_weights(network)]
    images, _ = cases.dataset(network.image, cases.EVALUATED)
    size = cases.EVALUATION_BATCH
    batches = [Tensor(images[k : k + size]).realize() for k in range(0, cases.EVALUATED, size)]
    guess = TinyJit(lambda x: scores(network, weights, x).argmax(axis=1).realize())

    def evaluate() -> None:
        for x in batches:
            guess(x).numpy()

    return evaluate
