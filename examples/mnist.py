"""Train a network on MNIST, on the CPU or on CUDA: the same program.

    python examples/mnist.py                                  # an MLP with momentum: about 98 % in 5 epochs
    python examples/mnist.py --optimizer rmsprop-momentum     # or sgd, nesterov, rmsprop, adam ...
    python examples/mnist.py --model cnn                      # a small CNN: above 99 % in 2 epochs
    python examples/mnist.py --model cnn --device cuda --capture    # each step as one CUDA graph

Read main() first: it is the training loop, written out. Everything that it calls is in tinygrad_m."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy starts threads that get in the way of --threads
import numpy as np

import tinygrad_m as tg
from tinygrad_m import nn, optim
from tinygrad_m.data import DataLoader, load_mnist
from tinygrad_m.nn import functional as F

try:
    from tqdm import tqdm
except ImportError:  # pip install "tinygrad_m[examples]"
    tqdm = None

# What each name means, with the learning rate and momentum it starts from. Momentum multiplies the rate's
# effect by 1 / (1 - momentum), so the rates below fall as momentum rises.
OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], dict[str, Any]]] = {
    "sgd": (optim.SGD, {"lr": 0.3}),
    "momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "rmsprop": (optim.RMSprop, {"lr": 0.001}),
    "rmsprop-momentum": (optim.RMSprop, {"lr": 0.0002, "momentum": 0.9}),
    "adagrad": (optim.Adagrad, {"lr": 0.03}),
    "adam": (optim.Adam, {"lr": 0.002}),
    "adamw": (optim.AdamW, {"lr": 0.002}),
    "lion": (optim.Lion, {"lr": 0.0003}),
}

# What a model is trained with unless the command line says otherwise. "one-cycle": learning rate up to twice the
# optimizer's and down, momentum down and up; fewer epochs are enough (Smith and Topin, arXiv 1708.07120).
RECIPES: dict[str, dict[str, Any]] = {
    "mlp": {"optimizer": "momentum", "epochs": 5, "batch_size": 64, "schedule": "linear"},
    "cnn": {"optimizer": "nesterov", "epochs": 2, "batch_size": 128, "schedule": "one-cycle"},
}


def build(model: str) -> nn.Module:
    """The network: images (N, 1, 28, 28) -> scores (N, 10)."""
    if model == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(
        nn.Conv2d(1, 12, 5), nn.ReLU(), nn.MaxPool2d(2),  # (N, 12, 12, 12)
        nn.Conv2d(12, 32, 5), nn.ReLU(), nn.MaxPool2d(2),  # (N, 32, 4, 4)
        nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def main(argv: list[str] | None = None) -> float:
    """Train as the command line says; returns the test accuracy in per cent."""
    args = parse(argv)
    device = args.device if args.device != "auto" else "cuda" if tg.device_count() else "cpu"
    tg.set_num_threads(args.threads)
    tg.manual_seed(args.seed)  # weights and shuffles: the same numbers every time, on every device

    train_x, train_y = load_mnist("train", directory=args.data)
    test_x, test_y = load_mnist("test", directory=args.data)
    train = DataLoader(train_x, train_y, batch_size=args.batch_size, shuffle=True, device=device)
    test = DataLoader(test_x, test_y, batch_size=1000, device=device)

    model = build(args.model).to(device)
    make, settings = OPTIMIZERS[args.optimizer]
    optimizer = make(model.parameters(), **{**settings, **given(args)})
    schedule = schedule_of(args.schedule, optimizer, max(1, args.epochs * len(train)))
    print(model)
    print(f"{args.optimizer} {optimizer.defaults['lr']:g}, {args.schedule}, on {device}, seed {args.seed}")

    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        loss = F.cross_entropy(model(x), y)  # forward
        optimizer.zero_grad()
        loss.backward()  # the chain rule, back through everything
        optimizer.step()  # w <- w - lr v
        return loss.detach()

    if args.capture:
        step = tg.capture(step)
    losses: list[float] = []
    accuracies: list[float] = []
    start = time.perf_counter()
    for epoch in range(args.epochs):
        model.train()
        epoch_losses = []
        for x, y in progress(train, f"epoch {epoch + 1}/{args.epochs}"):
            epoch_losses.append(step(x, y))  # stays on the device: nothing waits for it here
            schedule.step()  # the next step's lr
        losses += tg.stack(epoch_losses).tolist()  # read once an epoch
        if not np.isfinite(losses[-1]):
            sys.exit(f"the loss is {losses[-1]}: the steps were too long, lower --lr or --momentum")
        accuracies.append(accuracy(model, test))
        print(
            f"epoch {epoch + 1}: training loss {np.mean(losses[-len(train) :]):.4f}, "
            f"test accuracy {accuracies[-1]:.2f} %, {time.perf_counter() - start:.1f} s"
        )

    if args.save:
        model.save(args.save)
        print(f"wrote {args.save}")
    if args.plot and args.epochs:
        plot(args.plot, losses, accuracies, len(train), model, test_x, test_y, device)
    result = accuracies[-1] if accuracies else accuracy(model, test)
    seconds = time.perf_counter() - start
    print(f"{args.model}, {args.optimizer}, {args.epochs} epochs, {seconds:.1f} s: test accuracy {result:.2f} %")
    return result


def schedule_of(name: str, optimizer: optim.Optimizer, steps: int) -> optim.lr_scheduler.LRScheduler:
    """How the learning rate goes in `steps` steps: in a line from the optimizer's to 0, or in one cycle."""
    if name == "linear":
        return optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    momentum = optimizer.defaults.get("momentum", 0.0)
    cycle = {"base_momentum": momentum - 0.05, "max_momentum": (1 + momentum) / 2} if momentum else {}
    return optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=2 * optimizer.defaults["lr"], total_steps=steps, cycle_momentum=bool(cycle), **cycle
    )


@tg.no_grad()
def accuracy(model: nn.Module, test: DataLoader) -> float:
    """Per cent of the test images whose largest score is at the right digit."""
    model.eval()
    right = [(model(x).argmax(axis=1) == y).sum() for x, y in test]
    return 100.0 * sum(tg.stack(right).tolist()) / test.size


def progress(batches: DataLoader, title: str) -> Any:
    """The batches, with a bar if tqdm is installed."""
    return batches if tqdm is None else tqdm(batches, title, leave=False, ncols=79, unit="batch")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a network on MNIST.")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp", help="784-256-10, or two convolutions")
    parser.add_argument(
        "--optimizer",
        choices=list(OPTIMIZERS),
        metavar="NAME",
        help=f"one of {', '.join(OPTIMIZERS)} (default momentum; for the cnn nesterov)",
    )
    parser.add_argument(
        "--schedule", choices=["linear", "one-cycle"], help="of lr (default linear; for the cnn one-cycle)"
    )
    parser.add_argument("--lr", type=float, help="learning rate (default: the optimizer's preset)")
    parser.add_argument("--momentum", type=float, help="for momentum, nesterov and rmsprop-momentum (default 0.9)")
    parser.add_argument("--epochs", type=int, help="passes over the training data (default 5; for the cnn 2)")
    parser.add_argument("--batch-size", type=int, help="images a step (default 64; for the cnn 128)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: all cores")
    parser.add_argument("--seed", type=int, default=0, help="of weights and shuffles (default 0)")
    parser.add_argument("--device", default="auto", help="auto (cuda if there is one), cpu, cuda or cuda:N")
    parser.add_argument("--capture", action="store_true", help="on CUDA: record a step, replay it as one CUDA graph")
    parser.add_argument("--data", metavar="DIR", help="IDX files to use in place of the embedded MNIST")
    parser.add_argument("--save", metavar="FILE", help="write the trained weights (.npz)")
    parser.add_argument(
        "--plot", metavar="FILE", default="mnist.png", help="the figure (default mnist.png; '' for none)"
    )
    args = parser.parse_args(argv)
    for name, value in RECIPES[args.model].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.momentum is not None and "momentum" not in OPTIMIZERS[args.optimizer][1]:
        parser.error(f"--momentum: {args.optimizer} has none; use momentum, nesterov or rmsprop-momentum")
    if args.epochs < 0 or args.batch_size < 1 or args.seed < 0 or args.threads < 1:
        parser.error(
            f"--epochs {args.epochs} and --seed {args.seed} must be 0 or more, "
            f"--batch-size {args.batch_size} and --threads {args.threads} 1 or more"
        )
    if args.momentum is not None and not 0 <= args.momentum < 1:
        parser.error(f"--momentum {args.momentum} must be in [0, 1): more would make steps grow without end")
    for name, file in (("--save", args.save), ("--plot", args.plot)):
        if file and not Path(file).resolve().parent.is_dir():
            parser.error(f"{name} {file}: there is no folder {Path(file).resolve().parent}; make it first")
    return args


def given(args: argparse.Namespace) -> dict[str, float]:
    """The settings that the command line overrides."""
    return {name: value for name in ("lr", "momentum") if (value := getattr(args, name)) is not None}


def plot(
    file: str, losses: list[float], accuracies: list[float], per_epoch: int, model: nn.Module,
    images: np.ndarray, labels: np.ndarray, device: str,
) -> None:  # fmt: skip
    """A figure: the training loss, the test accuracy, and the first 24 digits that the network got wrong."""
    try:
        import matplotlib
    except ImportError:
        print('no figure: --plot needs matplotlib, pip install "tinygrad_m[examples]"')
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with tg.no_grad():
        batches = DataLoader(images, batch_size=1000, device=device)
        guesses = np.concatenate([model(x).argmax(axis=1).numpy() for x in batches])
    wrong = np.flatnonzero(guesses != labels)[:24]

    figure = plt.figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    upper, lower = left.subplots(2, 1, sharex=True)
    epochs = np.arange(1, len(losses) + 1) / per_epoch
    width = max(1, len(losses) // 100)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    upper.plot(epochs, losses, color="0.85", linewidth=0.5, label="each step")
    upper.plot(epochs[width - 1 :], smooth, color="tab:blue", label=f"mean of {width} steps")
    upper.set(ylabel="training loss", yscale="log")
    upper.legend()
    lower.plot(np.arange(1, len(accuracies) + 1), accuracies, "o-", color="tab:orange")
    lower.set(xlabel="epoch", ylabel="test accuracy, %", title=f"{accuracies[-1]:.2f} % at the end")
    right.suptitle(f"{(guesses != labels).sum()} of {len(labels)} wrong: the first ones")
    for k, cell in enumerate(right.subplots(4, 6).flat):
        cell.axis("off")
        if k < len(wrong):
            cell.imshow(images[wrong[k]].squeeze(), cmap="gray_r")
            cell.set_title(f"said {guesses[wrong[k]]}, is {labels[wrong[k]]}", fontsize=8)
    figure.savefig(file, dpi=100)
    plt.close(figure)
    print(f"wrote {file}")


if __name__ == "__main__":
    try:
        main()
    except (tg.DeviceError, OSError, ValueError) as error:  # a wrong flag or file: what it says is enough
        sys.exit(f"mnist.py: error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nstopped")
