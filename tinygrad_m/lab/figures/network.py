"""The pictures of the theory on real networks; ../network.py says what each is for. Each function takes the data that
an experiment there gave back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import theory
from ..curvature import Ritz, density, gauge
from ..network import edge_label
from . import style


def bridge(found: dict[str, Any]) -> Figure:
    """Left: distance against step for each momentum. Right: steps to a digit, measured on the predicted curve."""
    sweep, named = found["sweep"], {run["name"]: run for run in found["runs"]}
    colours = style.mu_colours([run["momentum"] for run in sweep])
    dashes = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
    drawing = style.figure(4.7)
    left, right = drawing.subplots(1, 2)
    for k, run in enumerate(sweep):
        d = run["distances"]
        left.plot(d, color=colours[run["momentum"]], linestyle=dashes[k % len(dashes)], label=f"{run['momentum']:g}")
        if run["diverged"]:
            style.diverged(left, len(d) - 1, 10, color=colours[run["momentum"]])
    left.plot(named["gauge"]["distances"], color=style.RED, label="best, at its best lr")
    slowest = max(run["steps"] or 0 for run in sweep[:-1])
    left.set(yscale="log", ylim=(1e-10, 2), xlim=(0, max(100, slowest)), xlabel="step",
             ylabel="distance to the minimum / at the start", title="Measured, on MNIST")  # fmt: skip
    drawing.legend(*left.get_legend_handles_labels(), title="left: momentum, lr = 1 / highest curvature", ncols=8,
                   loc="outside lower center", columnspacing=1.4)  # fmt: skip

    mus = np.linspace(0, 0.994, 400)
    ends = np.array([[found["h_min"]], [found["h_max"]]]) / found["h_max"]
    right.plot(mus, steps_per_digit(theory.spectral_radius(ends, mus).max(axis=0)), color=style.BLACK,
               label="predicted, lr = 1 / highest curvature")  # fmt: skip
    rest = [("gd", "gd", "gradient descent, its best lr"), ("nesterov", "nesterov", "Nesterov, textbook lr, momentum"),
            ("gauge", "momentum", "Polyak's best lr, momentum")]  # fmt: skip
    known = [run for run in sweep if run["measured"]]
    right.plot([run["momentum"] for run in known], steps_per_digit([run["measured"] for run in known]), "o",
               color=style.RED, markersize=7, label="measured, the same lr")  # fmt: skip
    for name, look, words in rest:
        run, (colour, _, marker) = named[name], style.METHODS[look]
        if run["measured"]:
            right.plot(run["momentum"], steps_per_digit(run["measured"]), marker, color=colour, markersize=8,
                       linestyle="none", markerfacecolor="none", markeredgewidth=2, label=words)  # fmt: skip
    right.set(yscale="log", xlabel="momentum", ylabel="steps to gain one digit", ylim=(4, 1200),
              title=f"Predicted best: {found['gauge_at_this_lr']['momentum']:.2f}")  # fmt: skip
    right.legend(loc="upper left", fontsize=8)
    drawing.suptitle("The best momentum, predicted from the curvatures and then measured")
    return drawing


def steps_per_digit(rate: Any) -> Any:
    """rate^steps = 1 / 10."""
    return -math.log(10) / np.log(rate)


def ring_down(found: dict[str, Any], early: dict[str, Any]) -> Figure:
    """A panel for each pluck: dots measured, line predicted; the last panel early in training."""
    panels = [(found, pluck) for pluck in found["plucks"]] + [(early, early["plucks"][0])]
    columns = 3 if len(panels) > 4 else 2
    rows = -(-len(panels) // columns)
    drawing = style.figure(1.0 + 2.0 * rows)
    grid = drawing.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, (where, pluck) in zip(grid.flat, panels):
        name = "Nesterov" if pluck["nesterov"] else "momentum"
        title = f"{name} {pluck['momentum']:g}, lr h = {pluck['lr_h']:g}"
        if where is early:
            title, facts = f"{title}\nonly {early['training']} steps trained", f"correlation {pluck['correlation']:.2f}"
            axes.set_facecolor("0.95")
        else:
            regime = theory.regime(pluck["lr_h"], pluck["momentum"], pluck["nesterov"])
            facts = f"{regime}, overshoot {100 * pluck['overshoot'][0]:.0f} %"
        axes.plot(pluck["predicted"], color=style.SKY, linewidth=2.2, label="the parabola's formula")
        axes.plot(pluck["measured"], "o", color=style.BLACK, markersize=2.6, label="measured on the network")
        axes.axhline(0, color="0.6", linewidth=0.8)
        top = max(1.1, 1.1 * max(map(abs, pluck["measured"])))
        axes.set(ylim=(-min(top, 4), min(1.7 * top, 4)))
        axes.set_title(title, fontsize=9.5)
        axes.text(0.97, 0.95, facts, transform=axes.transAxes, ha="right", va="top", fontsize=8.5)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("step after the pluck")
    for row in grid:
        row[0].set_ylabel("displacement / pluck")
    drawing.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    drawing.suptitle("A trained network, plucked in its sharpest direction, rings like a parabola")
    return drawing


def edge(runs: list[dict[str, Any]]) -> Figure:
    """A panel of sharpness and threshold for each run, and one of all losses."""
    columns = 3
    rows = -(-(len(runs) + 1) // columns)
    drawing = style.figure(0.8 + 2.6 * rows)
    grid = drawing.subplots(rows, columns, squeeze=False)
    looks = [(style.BLACK, "-"), (style.BLUE, "-"), (style.ORANGE, "--"), (style.RED, "-."), (style.GREEN, ":")]
    losses = grid.flat[len(runs)]
    for axes, run, (colour, line) in zip(grid.flat, runs, looks):
        axes.plot(run["step"], run["threshold"], color="0.35", linestyle=(0, (4, 2)), label="limit of stability")
        axes.plot(run["step"], run["sharpness"], color=colour, marker=".", markersize=3.5, label="sharpest curvature")
        axes.set(ylim=(0, 1.55 * max(max(run["sharpness"]), run["threshold"][-1])), xlabel="step")
        axes.set_title(f"{edge_label(run)}\n{run['images']} images", fontsize=9.5)
        axes.legend(loc="upper right", fontsize=8)
        words = "diverged" if run["diverged"] else f"late: {100 * run['late']:.1f} % of its limit"
        axes.text(0.97, 0.06, words, transform=axes.transAxes, ha="right", fontsize=8.5)
        if run["diverged"]:
            style.diverged(axes, run["step"][-1], run["sharpness"][-1], color=colour)
        losses.plot(run["step"], run["loss"], color=colour, linestyle=line, label=edge_label(run))
    losses.set(yscale="log", xlabel="step", ylabel="loss", ylim=(1e-6, 10 ** (1 + len(runs))))
    losses.set_yticks(10.0 ** np.arange(-6, 1))
    losses.set_title("loss: what is left to learn", fontsize=9.5)
    losses.legend(loc="upper right", fontsize=8)
    for axes in grid.flat[len(runs) + 1 :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel("curvature")
    drawing.suptitle("Training climbs to the edge of stability, which lr and momentum set")
    return drawing


def spectrum(found: dict[str, Any], convex: dict[str, Any]) -> Figure:
    """Left: the spectral density before and after training. Right: momentum against the curvature waited for."""
    drawing = style.figure(4.8)
    grid = drawing.subplot_mosaic([["before", "gauge"], ["after", "gauge"]])
    for when in ("before", "after"):
        _density(grid[when], found[when], f"{when} training: loss {found[when]['loss']:.2g}")
    grid["after"].set_xlabel("curvature")

    axes = grid["gauge"]
    share = np.geomspace(1e-6, 1, 300)
    free, told = ([gauge(h, 1.0, lr).momentum for h in share] for lr in (None, 1.0))
    axes.plot(share, free, color=style.BLUE, label="best lr and momentum")
    axes.plot(share, told, color=style.BLACK, linestyle="--", label="lr = 1 / highest")
    best = min(convex["sweep"], key=lambda run: run["steps"] or math.inf)
    kappa = convex["h_min"] / convex["h_max"]
    axes.plot(kappa, best["momentum"], "o", color=style.RED, markersize=8, label="fastest measured: one layer")
    values, _, errors = np.array(found["after"]["ritz"][0])[:, ::-1] / found["after"]["h_max"]
    axes.set(xscale="log", xlim=(1.5, 1e-6), ylim=(0, 1.4), yticks=np.linspace(0, 1, 6), ylabel="suggested momentum",
             xlabel="flattest direction waited for / sharpest")  # fmt: skip
    axes.set_title("How flat a direction will you wait for?")
    for k, y in ((10, 0.04), (30, 0.13)):
        if len(values) >= k and values[k - 1] > 0 and errors[:k].max() < 1e-3:  # else it is not known yet
            axes.axvline(values[k - 1], ymax=0.24, color="0.5", linewidth=1)
            axes.annotate(f"trained network: {k}th sharpest", (values[k - 1], y), (0.12, y), fontsize=8.5, va="center",
                          arrowprops={"arrowstyle": "->", "color": "0.5"})  # fmt: skip
    axes.legend(loc="upper left", fontsize=8)
    drawing.suptitle("A network has curvatures of all sizes, and of both signs: no formula ends the search")
    return drawing


def _density(axes: Axes, found: dict[str, Any], title: str) -> None:
    low, high = found["h_min"], found["h_max"]
    width = (high - low) / 120
    at = np.linspace(low - 4 * width, high + 4 * width, 1200)
    share = density([Ritz(*map(np.array, r)) for r in found["ritz"]], at, width) * width
    axes.fill_between(at, 1e-9, share, color=style.SKY, alpha=0.8, linewidth=0)
    axes.plot(at, share, color=style.BLUE, linewidth=1)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set(yscale="log", ylim=(1e-7, 30), ylabel="share of directions", title=title)
    for h, side in ((low, "left"), (high, "right")):
        axes.text(h, 3, f"{'lowest' if h == low else 'highest'} {h:.2g}", ha=side, fontsize=8.5,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
