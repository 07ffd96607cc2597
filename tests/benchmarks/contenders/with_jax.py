"""JAX: the whole step, batch and update included, is one jitted function whose weights and velocities are donated.
Images are channel-last inside, which XLA's convolutions prefer on a CPU; the batch's rows come from NumPy."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import cases

Weights = list[jax.Array]


def inward(weights: list[np.ndarray]) -> Weights:
    """PyTorch's shapes -> JAX's: a convolution's (O, I, kh, kw) -> (kh, kw, I, O), linear (out, in) -> (in, out)."""
    return [jnp.array(w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T) for w in weights]


def outward(weights: Weights) -> list[np.ndarray]:
    """The other way."""
    arrays = map(np.asarray, weights)
    return [w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T for w in arrays]


def scores(network: cases.Network, weights: Weights, x: jax.Array, key: Any = None) -> jax.Array:
    """The network; without a key nothing is dropped out."""
    left = iter(weights)
    if x.ndim == 4:
        x = x.transpose(0, 2, 3, 1)
    for i, (kind, *sizes) in enumerate(network.layers):
        if kind == "linear":
            x = x @ next(left) + next(left)
        elif kind == "conv":
            padding = [(sizes[3], sizes[3])] * 2
            x = lax.conv_general_dilated(x, next(left), (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = x + next(left)
        elif kind == "relu":
            x = jnp.maximum(x, 0)
        elif kind == "pool":  # of windows side by side: faster than reduce_window, forward and back
            n, h, w, c = x.shape
            (size,) = sizes
            x = x.reshape(n, h // size, size, w // size, size, c).max(axis=(2, 4))
        elif kind == "dropout" and key is not None:
            kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - sizes[0], x.shape)
            x = jnp.where(kept, x / (1 - sizes[0]), 0)
        elif kind == "flatten":
            x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return x


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


def momentum(w: jax.Array, g: jax.Array, state: Any, settings: Any) -> tuple[jax.Array, Any]:
    (v,) = state
    v = settings["momentum"] * v + g
    return w - settings["lr"] * v, (v,)


def rmsprop(w: jax.Array, g: jax.Array, state: Any, settings: Any) -> tuple[jax.Array, Any]:
    s, b = state
    s = settings["alpha"] * s + (1 - settings["alpha"]) * g * g
    b = settings["momentum"] * b + g / (jnp.sqrt(s) + settings["eps"])
    return w - settings["lr"] * b, (s, b)


class Training:
    def __init__(self, case: cases.Case, size: int = cases.SAMPLES) -> None:
        network = cases.NETWORKS[case.network]
        update, buffers = (momentum, 1) if case.optimizer == "momentum" else (rmsprop, 2)
        settings = cases.OPTIMIZERS[case.optimizer]
        self.w = inward(cases.first_weights(network))
        self.state = [tuple(jnp.zeros_like(w) for _ in range(buffers)) for w in self.w]
        self.images, self.labels = map(jnp.array, cases.dataset(network.image, size))
        self.orders, self.count = cases.orders(size, network.batch), itertools.count()

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(weights: Weights, states: Any, images: Any, labels: Any, rows: Any, count: Any) -> Any:
            def loss_of(weights: Weights) -> jax.Array:
                key = jax.random.key(count) if cases.has(network, "dropout") else None
                return cross_entropy(scores(network, weights, images[rows], key), labels[rows])

            loss, slopes = jax.value_and_grad(loss_of)(weights)
            pairs = [update(w, g, state, settings) for w, g, state in zip(weights, slopes, states, strict=True)]
            return loss, [w for w, _ in pairs], [state for _, state in pairs]

        self.compiled = step

    def step(self) -> None:
        self.last, self.w, self.state = self.compiled(
            self.w, self.state, self.images, self.labels, next(self.orders), next(self.count)
        )

    def wait(self) -> None:
        jax.block_until_ready(self.w)

    def loss(self) -> float:
        return float(self.last)

    def weights(self) -> list[np.ndarray]:
        return outward(self.w)


def evaluation(case: cases.Case) -> Callable[[], None]:
    network = cases.NETWORKS[case.network]
    weights = inward(cases.first_weights(network))
    images = jnp.array(cases.dataset(network.image, cases.EVALUATED)[0])
    batches = images.reshape(-1, cases.EVALUATION_BATCH, *network.image)
    guess = jax.jit(lambda weights, x: scores(network, weights, x).argmax(axis=1))

    def evaluate() -> None:
        jax.block_until_ready([guess(weights, x) for x in batches])

    return evaluate
