"""Draws what techniques.py and descendants.py measured: one function for each figure, which takes the experiment's
data. style.py has the colours; bands are the 95 % of Student's t over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, NullFormatter

from ..training import band
from . import style

Data = Mapping[str, Any]


def adaptive(data: Data) -> Figure:
    """Accuracy over momentum, and steps under a constant gradient."""
    drawing = style.figure(3.9)
    left, right = drawing.subplots(1, 2, width_ratios=(1.1, 1))
    mus = data["momentum"]
    for name, label, look in (
        ("fixed", "RMSprop, lr 0.001", "rmsprop-momentum"),
        ("matched", "RMSprop, lr 0.001 (1 - momentum)", "rmsprop"),
        ("adam", "Adam, lr 0.001, beta1", "adam"),
    ):
        _line(left, range(len(mus)), [data["accuracy"][f"{name} {mu}"] for mu in mus], label=label, **_look(look))
    left.set(xlabel="momentum, or Adam's beta1", ylabel="test accuracy, %", xticks=range(len(mus)), xticklabels=mus)
    left.set_title("Momentum 0.99 at one lr hurts RMSprop, not Adam")
    left.legend(loc="lower left")
    for name, label, look, height in (
        ("rmsprop 0.9", "RMSprop, momentum 0.9: to 10 lr", "rmsprop-momentum", 13.5),
        ("rmsprop 0.0", "RMSprop, momentum 0: to lr", "rmsprop", 1.55),
        ("adam 0.9", "Adam, beta1 0.9: lr, always", "adam", 0.72),
    ):
        steps = data["steps"][name]
        right.plot(np.arange(1, len(steps) + 1), steps, **style.method(look))
        right.text(598, height, label, ha="right", va="center", color=style.METHODS[look][0], fontsize=9)
    right.set(
        yscale="log", xlabel="step, under a constant gradient", ylabel="length of the step, in lr", ylim=(0.5, 60)
    )
    _plain(right.yaxis)
    right.set_title("RMSprop sums steps, Adam averages")
    return drawing


def decay(data: Data) -> Figure:
    """One weight under decay alone, and the norms on MNIST."""
    looks = {
        "SGD": "sgd",
        "SGD, momentum 0.9": "momentum",
        "SGDW, momentum 0.9": "nesterov",
        "Adam": "adam",
        "AdamW": "lion",
    }
    drawing = style.figure(4.0)
    left, right = drawing.subplots(1, 2)
    for k, (name, look) in enumerate(looks.items()):
        weight = data["alone"][name]  # three of them lie on one line: markers in turn
        left.plot(np.arange(len(weight)) * data["every"], weight, label=name, markevery=(3 * k, 15), **_look(look))
    left.set(yscale="log", xlabel="step", ylabel="weight", ylim=(0.8, 34), yticks=(1, 2, 5, 10, 20, 30))
    _plain(left.yaxis)
    left.set_title("No gradient but the decay's: momentum\nmakes it 10 times as fast, unless decoupled")
    left.legend(loc="lower left", title="lr weight_decay = 0.0001", title_fontsize=9)
    amounts = data["weight_decay"]
    for name, look in looks.items():
        _line(right, range(len(amounts)), data["norm"][name], label=name, **_look(look))
    right.set(xlabel="weight_decay", ylabel="norm of the weights, trained", xticks=range(len(amounts)))
    right.set_xticklabels([f"{a:g}" for a in amounts])
    right.set_ylim(bottom=0)
    right.set_title("MNIST, SGD at lr / (1 - momentum) = 0.1:\ncoupled decay acts the same, decoupled less")
    return drawing


def onecycle(data: Data) -> Figure:
    """lr, momentum, lr / (1 - momentum), and the loss."""
    drawing = style.figure(5.2)
    axes = drawing.subplots(2, 2, sharex=True)
    colours = style.mu_colours((0.85, 0.95))
    looks: dict[str, dict[str, Any]] = {
        "cycled": {"color": style.BLUE},
        "0.85": {"color": colours[0.85], "linestyle": "--"},
        "0.95": {"color": colours[0.95], "linestyle": "-."},
    }
    names = {"cycled": "momentum cycled", "0.85": "momentum 0.85", "0.95": "momentum 0.95"}
    top = 0.0
    for style_name, look in looks.items():
        cycle = data["cycles"][style_name]
        lr, mu = cycle["lr"], cycle["momentum"]
        n = len(lr)
        x = 100 * np.arange(n) / n
        axes[0, 0].plot(x, lr, **look)
        axes[0, 1].plot(x, mu, **look)
        axes[1, 0].plot(x, lr / (1 - mu), **look)
        top = max(top, float((lr / (1 - mu)).max()))
        smooth = np.array([_smooth(row, max(1, n // 12)) for row in data["loss"][style_name]])
        points = np.linspace(0, smooth.shape[1] - 1, 60).astype(int)
        reached = float(np.mean(data["accuracy"][f"{style_name} {data['high']}"]))
        _line(
            axes[1, 1],
            100 * (points + n // 12) / n,
            smooth.T[points],
            False,
            label=f"{names[style_name]}: {reached:.1f} %",
            **look,
        )
    axes[0, 0].set(ylabel="lr", title="lr: the same for all")
    axes[0, 1].set(ylabel="momentum", title="momentum: down while lr is up, or fixed")
    axes[1, 0].set(ylabel="lr / (1 - momentum)", xlabel="% of the steps", ylim=(0, 1.08 * top))
    axes[1, 0].set_title("What counts: three times as high with 0.95")
    axes[1, 1].set(ylabel="training loss, smoothed", xlabel="% of the steps", yscale="log")
    _plain(axes[1, 1].yaxis)
    low, high = axes[1, 1].get_ylim()
    axes[1, 1].set_ylim(low, high * (high / low) ** 0.4)  # room for the legend
    axes[1, 1].set_title("The loss; test accuracy at the end")
    axes[1, 1].legend(loc="upper right", fontsize=8)
    return drawing


def drop(data: Data) -> Figure:
    """The loss around a drop of lr, with lr inside and outside the velocity."""
    drawing = style.figure(3.7)
    for axes, mu in zip(drawing.subplots(1, 2), (0.9, 0.99)):
        for form, look in (("inside", "rmsprop-momentum"), ("outside", "momentum")):
            rows = data["probes"][f"{form} {mu}"]
            x = np.arange(rows.shape[1]) - data["before"]
            _line(axes, x, rows.T, False, label=f"lr {form} the velocity", **style.method(look))
        axes.axvline(0, color="0.4", linewidth=1, linestyle=":")
        axes.set(xlabel="steps after the drop of lr to a tenth", ylabel="loss on 500 training images")
        axes.legend(loc="upper right")
    first, second = drawing.axes
    first.set_title("Momentum 0.9: some 10 steps at the old rate")
    second.set_title("Momentum 0.99: some 100 of them")
    for axes in (first, second):
        axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    return drawing


def batches(data: Data) -> Figure:
    """Test loss over the rate, one panel for each batch size."""
    sizes, rates = data["sizes"], np.asarray(data["rates"])
    rows = (len(sizes) + 1) // 2
    drawing = style.figure(1.0 + 2.3 * rows)
    grid = np.atleast_2d(drawing.subplots(rows, 2, sharex=True, sharey=True))
    lowest = 0.85 * min(np.nanmin(table) for table in data["loss"].values())
    for axes, size in zip(grid.flat, sizes):
        for mu, look, label in ((0.0, "gd", "no momentum"), (0.9, "momentum", "momentum 0.9")):
            table = np.minimum(np.nan_to_num(data["loss"][f"{size} {mu}"], nan=np.inf), 4.0)
            axes.plot(rates, table.mean(axis=1), label=label, **_look(look))
            axes.fill_between(
                rates, table.min(axis=1), table.max(axis=1), alpha=0.15, color=style.METHODS[look][0], lw=0
            )
            for k in np.flatnonzero(table.mean(axis=1) >= 4.0):
                style.diverged(axes, rates[k], 4.0, color=style.METHODS[look][0])
            axes.axvline(data["edge"][f"{size} {mu}"], color=style.METHODS[look][0], linestyle=":", linewidth=1.2)
        ratio = data["edge"][f"{size} 0.9"] / data["edge"][f"{size} 0.0"]
        axes.set(xscale="log", yscale="log", title=f"batch {size}: up to {ratio:.1f} times the rate")
        axes.set(ylim=(lowest, 4.0), xticks=(0.05, 0.2, 0.8, 3.2), yticks=(0.2, 0.5, 1, 2, 4))
        _plain(axes.xaxis)
        _plain(axes.yaxis)
    for axes in grid[-1]:
        axes.set_xlabel("lr / (1 - momentum)")
    for axes in grid[:, 0]:
        axes.set_ylabel(f"test loss, step {data['steps']}")
    grid[0, 0].legend(loc="upper left")
    return drawing


def dropout(data: Data) -> Figure:
    """Test error over momentum for each amount of dropout."""
    drawing = style.figure(3.9)
    axes = drawing.subplots()
    mus = data["momentum"]
    for p, look in zip(data["dropout"], ("momentum", "rmsprop-momentum", "nesterov")):
        rows = [100 - data["accuracy"][f"{p} {mu}"] for mu in mus]
        _line(axes, range(len(mus)), rows, label=f"dropout {p:g}" if p else "no dropout", **_look(look))
        k = mus.index(data["best"][str(p)])
        axes.plot(k, np.mean(rows[k]), label="the best of its line" if p == 0 else None, **RING)
    axes.set(xlabel="momentum", ylabel="test error, %", xticks=range(len(mus)), xticklabels=mus, yscale="log")
    axes.set(ylim=(0.6 * min(100 - max(map(np.max, data["accuracy"].values())), 10), 100), yticks=(5, 10, 20, 50, 100))
    _plain(axes.yaxis)
    axes.set_title(f"lr {data['lr']:g}: dropout costs little at low momentum, much at 0.99")
    axes.legend(loc="upper left")
    return drawing


RING: dict[str, Any] = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "markeredgecolor": "0.3",
                        "linestyle": "none"}  # fmt: skip
LABELS = {"momentum": "momentum 0.9", "adam": "Adam", "lion": "Lion", "muon": "Muon"}


def updates(data: Data) -> Figure:
    """The singular values of one step, and how far each weight moved."""
    drawing = style.figure(4.0)
    left, right = drawing.subplots(1, 2)
    for name, label in LABELS.items():
        spectrum = data["singular"][name][0]
        left.plot(np.arange(1, len(spectrum) + 1), spectrum / spectrum[0], label=label, markevery=12, **_look(name))
    left.set(
        yscale="log",
        ylim=(5e-3, 1.6),
        xlabel="direction of the matrix, 1 to 128",
        ylabel="singular value / the largest",
    )
    _plain(left.yaxis)
    left.set_title("Muon moves all directions")
    left.legend(loc="upper right", bbox_to_anchor=(1, 0.8), ncols=2, fontsize=8)
    bins, top = np.linspace(-5, 1, 61), 0.0
    for name in LABELS:
        share, _ = np.histogram(np.log10(np.maximum(data["sizes"][name], 1e-9)), bins=bins)
        share = 100 * share / len(data["sizes"][name])
        right.plot(10 ** ((bins[1:] + bins[:-1]) / 2), share, **_thick(name))
        top = top if name == "lion" else max(top, float(share.max()))  # Lion's is 100
    right.set(xscale="log", xlabel="change of a weight, in lr", ylabel="% of the weights", ylim=(0, 1.2 * top))
    right.text(1.6, 1.15 * top, "Lion:\nall at 1", fontsize=9, va="top")
    right.set_title("Lion moves all weights by lr")
    return drawing


def descendants(data: Data) -> Figure:
    """The search for lr, and the accuracy with the best."""
    drawing = style.figure(3.9)
    left, right = drawing.subplots(1, 2, width_ratios=(1.3, 1))
    for name, label in LABELS.items():
        rates, row = data["rates"][name], data["tuned"][name]
        left.plot(rates, row, label=label, **_look(name))
        k = int(np.argmax(row))
        left.plot(rates[k], row[k], **RING)
    left.set(xscale="log", xlabel="lr", ylabel="accuracy on other images, %")
    left.set_title("The search: one rule, four best rates")
    left.legend(loc="lower left")
    for k, name in enumerate(LABELS):
        values = data["accuracy"][name]
        mean, half = band(values)
        colour, _, mark = style.METHODS[name]
        right.errorbar([k], [mean], [half], fmt=mark, color=colour, markeredgecolor="0.2", markersize=9, capsize=4)
        right.plot(np.full(len(values), k + 0.18), values, ".", color="0.5", markersize=5)
        right.annotate(
            f"{mean:.1f}", (k, mean), (-8, 0), textcoords="offset points", ha="right", va="center", fontsize=9
        )
    right.set(xticks=range(len(LABELS)), xticklabels=list(LABELS.values()), ylabel="test accuracy, %", xlim=(-0.6, 3.5))
    right.tick_params(axis="x", labelsize=8)
    right.set_title(f"After {data['steps']} steps, each at its best lr")
    return drawing


# -- helpers --------------------------------------------------------------------------------------


def _look(name: str) -> dict[str, Any]:
    size = 8 if name == "muon" else 5  # a star
    return {**_thick(name), "marker": style.METHODS[name][2], "markersize": size, "markeredgecolor": "0.25",
            "markeredgewidth": 0.5}  # fmt: skip


def _thick(name: str) -> dict[str, Any]:
    """A method's line; Muon's yellow with a dark edge, to be seen on white."""
    edge = {"path_effects": [Stroke(linewidth=2.8, foreground="0.3"), Normal()]} if name == "muon" else {}
    return {**style.method(name), **edge}


def _plain(axis: Axis) -> None:
    """Numbers such as 0.2 on a logarithmic axis, not powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, x: Sequence[float] | np.ndarray | range, rows: Any, bars: bool = True, **look: Any) -> None:
    """The mean of each row over seeds, with its band: bars at the points, or a shade along a curve."""
    means, halves = np.array([band(row) for row in rows]).T
    if bars:
        axes.errorbar(x, means, halves, capsize=3, **look)
    else:
        axes.plot(x, means, **look)
        axes.fill_between(x, means - halves, means + halves, alpha=0.15, lw=0, color=look["color"])


def _smooth(losses: np.ndarray, width: int) -> np.ndarray:
    """Moving averages. A run that diverged stays at the top of the axes from there on."""
    return np.convolve(np.minimum(losses, 1e3), np.ones(width) / width, "valid")
