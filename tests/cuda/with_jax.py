"""JAX: the whole step, batch and update included, is one jitted function whose weights and velocities are donated; the
rows of an epoch's batches lie on the device. Images are channel-last inside."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..benchmarks import cases
from ..benchmarks.contenders import Absent
from ..benchmarks.contenders.with_jax import cross_entropy, inward, momentum, outward, scores


def check(device: str) -> str:
    """What is to be known of its settings: TF32, which it would use for products if it were not told otherwise."""
    if device != "cpu" and jax.default_backend() != "gpu":
        raise Absent("jax is installed without CUDA, or finds no device")
    jax.config.update("jax_default_matmul_precision", "highest")
    return "off (jax_default_matmul_precision=highest)"


class Training:
    """Steps of SGD with momentum."""

    def __init__(self, network: cases.Network, device: str, size: int = cases.SAMPLES) -> None:
        self.w = inward(cases.first_weights(network))
        self.v = [jnp.zeros_like(w) for w in self.w]
        self.images, self.labels = map(jnp.array, cases.dataset(network.image, size))
        self.size, self.batch, self.done, self.epoch = size, network.batch, 0, 0

        @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
        def step(weights: Any, velocities: Any, k: Any, images: Any, labels: Any, order: Any) -> Any:
            rows = order[k % len(order)]

            def loss_of(weights: Any) -> jax.Array:
                return cross_entropy(scores(network, weights, images[rows]), labels[rows])

            loss, slopes = jax.value_and_grad(loss_of)(weights)
            pairs = [momentum(w, g, (v,), cases.MOMENTUM) for w, g, v in zip(weights, slopes, velocities, strict=True)]
            return loss, [w for w, _ in pairs], [v for _, (v,) in pairs], k + 1

        self.compiled, self.k = step, jnp.array(0)

    def step(self) -> None:
        if self.done % (self.size // self.batch) == 0:
            order = np.random.default_rng([0, self.epoch]).permutation(self.size)
            self.order = jnp.array(order[: self.size // self.batch * self.batch].reshape(-1, self.batch))
            self.epoch += 1
        self.done += 1
        self.last, self.w, self.v, self.k = self.compiled(
            self.w, self.v, self.k, self.images, self.labels, self.order
        )  # fmt: skip

    def wait(self) -> None:
        jax.block_until_ready((self.w, self.v))

    def loss(self) -> float:
        return float(self.last)

    def weights(self) -> list[np.ndarray]:
        return outward(self.w)


class OptimizerStep:
    """Steps of an optimizer on `parts` parameters of `size` elements, with the same gradients each time."""

    def __init__(self, name: str, size: int, parts: int, device: str) -> None:
        slots = 1 if name == "sgd" else 2
        self.w = [jnp.ones(size) for _ in range(parts)]
        self.state = [tuple(jnp.zeros(size) for _ in range(slots)) for _ in range(parts)]
        self.g = [jnp.full(size, 1e-3) for _ in range(parts)]
        self.t = jnp.array(0)

        @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
        def step(weights: Any, states: Any, t: Any, slopes: Any) -> Any:
            t = t + 1
            pairs = [
                momentum(w, g, s, cases.MOMENTUM) if name == "sgd" else adam(w, g, s, t)
                for w, g, s in zip(weights, slopes, states, strict=True)
            ]
            return [w for w, _ in pairs], [s for _, s in pairs], t

        self.compiled = step

    def step(self) -> None:
        self.w, self.state, self.t = self.compiled(self.w, self.state, self.t, self.g)

    def wait(self) -> None:
        jax.block_until_ready((self.w, self.state))


def adam(w: jax.Array, g: jax.Array, state: Any, t: jax.Array) -> tuple[jax.Array, Any]:
    """One step; the rates are those of the others."""
    m, s = state
    m = 0.9 * m + 0.1 * g
    s = 0.999 * s + 0.001 * g * g
    step = m / (1 - 0.9**t) / (jnp.sqrt(s / (1 - 0.999**t)) + 1e-8)
    return w - 1e-5 * step, (m, s)
