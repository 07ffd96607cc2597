"""The curvature of a small network that has learnt MNIST, and what momentum that suggests (and why not to trust it).

    python examples/curvature.py --steps 300        # of training; 100 by default

Read tinygrad_m/lab/curvature.py for the functions; `python -m tinygrad_m.lab network` does much more with them."""

import argparse

import numpy as np

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.lab.curvature import Hessian, gauge, lanczos, power_iteration
from tinygrad_m.nn import functional as F

parser = argparse.ArgumentParser(description="Train a small network on MNIST and measure its curvature.")
parser.add_argument("--steps", type=int, default=100, help="of training (default 100)")
steps = parser.parse_args().steps

tg.manual_seed(0)
images, labels = tg.data.load_mnist("train", flatten=True)
x, y = tg.Tensor(images[:500], dtype="float64"), labels[:500]
model = nn.Sequential(nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 10)).to("float64")
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(steps):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

hessian = Hessian(lambda: F.cross_entropy(model(x), y), list(model.parameters()))
start = np.random.default_rng(0).standard_normal(hessian.size)
top, ritz = power_iteration(hessian, start, 1e-3), lanczos(hessian, start, 40)
print(f"loss {hessian.loss:.4f}; {hessian.size:,} parameters, and so as many curvatures")
print(f"the highest, by power iteration: {top.value:.4f} (residual {top.residual:.0e}, {top.steps} products)")
known = [f"{value:.4f} +- {error:.0e}" for value, error in zip(ritz.values, ritz.errors)]
print(f"the highest, by Lanczos: {', '.join(known[:-6:-1])}\nthe lowest: {', '.join(known[:3])}")
print(gauge(ritz.values[0], ritz.values[-1]).words)
