"""The pictures of the MNIST experiment; ../mnist.py says what each is for."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from .. import theory
from ..analysis import cell, curve, heat, momenta, runs
from . import style

TITLES = {"momentum": "momentum", "nesterov": "Nesterov", "rmsprop-momentum": "RMSprop + momentum"}
LOOKS = {"small": (style.BLUE, "o", "-"), "large": (style.RED, "s", "--"), "matched": (style.GREEN, "D", ":")}
NAMES = {"small": "the small rate", "large": "the large rate", "matched": "matched: the large rate x (1 - momentum)"}


def loss(experiment: dict[str, Any], optimizer: str) -> Figure:
    """The training loss against steps, a panel for each protocol, a line for each momentum."""
    mus = momenta(experiment)
    colours = style.mu_colours(mus)
    steps = np.array(experiment["curve_steps"])
    drawing = style.figure(4.2)
    panels = drawing.subplots(1, 3, sharey=True)
    for axes, (protocol, about) in zip(panels, experiment["protocols"][optimizer].items()):
        lost = []
        for mu in mus:
            found = runs(experiment, optimizer, protocol, mu)
            mean, low, high, _ = curve(found, "curve")
            axes.plot(steps, mean, color=colours[mu], label=f"{mu:g}", linewidth=1.4, linestyle=dash(mu))
            axes.fill_between(steps, low, high, color=colours[mu], alpha=0.2, linewidth=0)
            if gone := sum(run["diverged"] is not None for run in found):
                lost.append(f"{mu:g} ({gone} of {len(found)})")
        axes.set(
            xscale="log",
            yscale="log",
            title=about["label"].replace("momentum", "mu"),
            xlabel="step",
            xlim=(4, steps[-1]),
        )
        if lost:
            axes.text(0.03, 0.03, "diverged: " + ", ".join(lost), transform=axes.transAxes, color=style.RED)
    panels[0].set_ylabel("training loss")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, title="momentum", loc="outside right center")
    drawing.suptitle(f"{TITLES[optimizer]}: the protocol decides which momentum looks best")
    return drawing


def label(about: dict[str, Any]) -> str:
    """A protocol's name, short enough for a panel."""
    return str(about["label"]).replace("momentum", "mu")


def dash(mu: float) -> Any:
    """A second sign beside the colour."""
    return {0.0: "-", 0.9: "-", 0.99: (0, (4, 1)), 0.95: (0, (2, 1))}.get(mu, (0, (1, 1)) if mu == 0.5 else "-")


def accuracy(experiment: dict[str, Any], rows: list[dict[str, Any]]) -> Figure:
    """The final test accuracy against momentum, a panel for each optimizer, a line for each protocol."""
    mus = momenta(experiment)
    places = np.arange(len(mus))
    everything = [row["accuracy"].mean for row in rows]
    floor, top = np.floor(np.percentile(everything, 12)) - 1, np.ceil(max(everything))  # the lost ones get arrows
    drawing = style.figure(4.0)
    panels = drawing.subplots(1, 3, sharey=True)
    for axes, (optimizer, protocols) in zip(panels, experiment["protocols"].items()):
        for shift, protocol in zip((-0.12, 0.0, 0.12), protocols):
            colour, marker, line = LOOKS[protocol]
            bands = [cell(rows, optimizer, protocol, mu)["accuracy"] for mu in mus]
            means = np.array([band.mean for band in bands])
            inside = means >= floor
            shown = [band for band, there in zip(bands, inside) if there]
            errors(
                axes,
                (places + shift)[inside],
                shown,
                color=colour,
                marker=marker,
                linestyle=line,
                label=NAMES[protocol],
            )
            for k in np.flatnonzero(~inside):
                gone = " x" if cell(rows, optimizer, protocol, mus[k])["diverged"] else ""
                axes.annotate(f"{means[k]:.0f} %{gone}", (k + shift, floor), xytext=(-2, 12 + 12 * (k % 2)),
                              textcoords="offset points", ha="right", color=colour, fontsize=9,
                              arrowprops={"arrowstyle": "->", "color": colour})  # fmt: skip
        axes.set_xticks(places, [f"{mu:g}" for mu in mus], rotation=60)
        title = f"{TITLES[optimizer]}\n{protocols['small']['label']} and {protocols['large']['label'][3:]}"
        axes.set(title=title, xlabel="momentum", ylim=(floor, top))
    panels[0].set_ylabel(f"test accuracy after {experiment['settings']['epochs']} epochs, %")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=3)
    drawing.suptitle("Which momentum is best depends on the rate; matched, it hardly matters (x: diverged)")
    return drawing


def speed(experiment: dict[str, Any], rows: list[dict[str, Any]]) -> Figure:
    """Epochs to two accuracies, and the rate of convergence, against momentum (heavy ball)."""
    mus = momenta(experiment)
    places = np.arange(len(mus))
    targets = experiment["settings"]["targets"]
    epochs = experiment["settings"]["epochs"]
    drawing = style.figure(4.0)
    panels = drawing.subplots(1, 3)
    for axes, name, which, target in zip(panels, ("epochs_to_low", "epochs_to_high"), (0, 1), targets):
        for shift, (protocol, about) in zip((-0.15, 0.0, 0.15), experiment["protocols"]["momentum"].items()):
            colour, marker, line = LOOKS[protocol]
            found = [cell(rows, "momentum", protocol, mu) for mu in mus]
            whole = np.array([row["reached"][which] == row["n"] for row in found])
            bands = [row[name] for row, there in zip(found, whole) if there]
            errors(
                axes, (places + shift)[whole], bands, color=colour, marker=marker, linestyle=line, label=label(about)
            )
            for k in np.flatnonzero(~whole):
                axes.plot(k + shift, epochs * 1.25, marker=marker, color=colour, markerfacecolor="white")
        axes.axhline(epochs, color="0.7", linewidth=0.8)
        axes.set(yscale="log", title=f"epochs to {target:g} %", xlabel="momentum")
        axes.set_yticks(
            [0.25, 0.5, 1, 2, 5, 10, epochs * 1.25], ["0.25", "0.5", "1", "2", "5", "10", "not all"], minor=False
        )
        axes.set_yticks([], minor=True)
    top = max((row["convergence_rate"].high for row in rows if row["convergence_rate"] is not None), default=1.0)
    for shift, protocol in zip((-0.15, 0.0, 0.15), experiment["protocols"]["momentum"]):
        colour, marker, line = LOOKS[protocol]
        found = [cell(rows, "momentum", protocol, mu) for mu in mus]
        whole = np.array([row["convergence_rate"] is not None and not row["diverged"] for row in found])
        bands = [row["convergence_rate"] for row, there in zip(found, whole) if there]
        errors(panels[2], (places + shift)[whole], bands, color=colour, marker=marker, linestyle=line)
        for k in np.flatnonzero(~whole):
            style.diverged(panels[2], k + shift, top, color=colour)
    panels[2].set(title="loss after / before an epoch", xlabel="momentum")
    if all(row["convergence_rate"] is None for row in rows):
        panels[2].text(0.5, 0.5, "too few epochs\nto tell", ha="center", transform=panels[2].transAxes)
    for axes in panels:
        axes.set_xticks(places, [f"{mu:g}" for mu in mus], rotation=60)
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=3)
    drawing.suptitle("Momentum speeds up a small learning rate; too much of both is slow again")
    return drawing


def errors(axes: Axes, places: Any, bands: Any, **look: Any) -> None:
    """A line through means, with their bands."""
    means = np.array([band.mean for band in bands])
    ends = np.abs([[band.mean - band.low, band.high - band.mean] for band in bands]).reshape(-1, 2).T
    axes.errorbar(places, means, ends, markersize=4, capsize=2, **look)


def motion(experiment: dict[str, Any], rows: list[dict[str, Any]]) -> Figure:
    """Overshoot, smoothing and zigzag against momentum."""
    mus = momenta(experiment)
    places = np.arange(len(mus))
    drawing = style.figure(4.0)
    over, smooth, zigzag = drawing.subplots(1, 3)
    rises: list[float] = []
    for optimizer, protocol in product(("momentum", "nesterov"), ("small", "large")):
        text = f"{TITLES[optimizer]}, {experiment['protocols'][optimizer][protocol]['label']}"
        colour, line, marker = style.METHODS[optimizer]
        face = colour if protocol == "small" else "white"
        found = [cell(rows, optimizer, protocol, mu) for mu in mus]
        look = {
            "color": colour,
            "linestyle": line,
            "marker": marker,
            "markerfacecolor": face,
            "markersize": 5,
            "label": text,
        }
        rises += [row["overshoot"].mean for row in found]
        over.plot(places, rises[-len(mus) :], **look)
        for k, row in enumerate(found):
            if row["diverged"]:
                style.diverged(over, k, rises[k - len(mus)], color=style.BLACK)
        zigzag.plot(places, [100 * row["zigzag"].mean for row in found], **look)
        if protocol == "small":
            smooth.plot(places, [row["cosine"].mean for row in found], **{**look, "linestyle": "none"})
            fine = [mu for mu in mus if mu]
            told = [
                mu if optimizer == "momentum" else float(theory.update_autocorrelation(mu, nesterov=True))
                for mu in fine
            ]
            smooth.plot(places[-len(fine) :], told, color=colour, linestyle=line, linewidth=1)
    over.set(
        yscale="log" if max(rises) > 0 else "linear",
        title="largest rise of the\nsmoothed loss (x: diverged)",
        xlabel="momentum",
    )
    smooth.set(title="smoothing: cosine of\nsuccessive updates (lines: theory)", xlabel="momentum")
    zigzag.set(title="zigzag: gradients that\npoint back, % of steps", xlabel="momentum", ylim=(0, None))
    zigzag.axhline(50, color="0.6", linewidth=0.8)
    for axes in (over, smooth, zigzag):
        axes.set_xticks(places, [f"{mu:g}" for mu in mus], rotation=60)
    handles, labels = over.get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=4)
    drawing.suptitle("Momentum smooths the path and ends the zigzag; 0.99 overshoots")
    return drawing


def heat_map(experiment: dict[str, Any], largest_curvature: float) -> Figure:
    """Test accuracy over learning rate and momentum, with lines of equal lr / (1 - momentum)."""
    rates, mus, accuracy, lost = heat(experiment)
    drawing = style.figure(4.8)
    axes = drawing.subplots()
    axes.grid(False)
    norm = Normalize(np.floor(np.percentile(accuracy, 30)), accuracy.max())
    image = axes.imshow(accuracy.T, origin="lower", aspect="auto", cmap="cividis", norm=norm)
    best_rate = accuracy.argmax(axis=0)
    for j in range(len(mus)):
        for i in range(len(rates)):
            value = accuracy[i, j]
            shade = "black" if norm(value) > 0.55 else "white"
            star = "*" if best_rate[j] == i else ""
            text = "x" if lost[i, j] == 1 else f"{value:.1f}{star}" if lost[i, j] == 0 else f"{value:.0f} (x)"
            halo = [withStroke(linewidth=2.5, foreground="white" if shade == "black" else "#00224e")]
            weight = "bold" if star else "normal"
            look: dict[str, Any] = {
                "color": shade,
                "fontsize": 9,
                "fontweight": weight,
                "path_effects": halo,
                "zorder": 3,
            }
            axes.text(i, j, text, ha="center", va="center", **look)
    at = np.interp
    columns, lines = np.arange(len(rates)), np.arange(len(mus))
    for effective in (0.01, 0.1, 1.0):
        fine = np.linspace(0, len(mus) - 1, 400)
        mu = at(fine, lines, mus)
        lr = effective * (1 - mu)
        inside = (lr >= rates[0]) & (lr <= rates[-1])
        x = at(np.log(lr[inside]), np.log(rates), columns)
        axes.plot(x, fine[inside], color=style.SKY, linewidth=1.2, linestyle="--")
        axes.annotate(
            f"{effective:g}", (x[0], 0), xytext=(0, 8), textcoords="offset points", color=style.SKY, fontsize=8
        )
    fine = np.linspace(-0.5, len(mus) - 0.5, 400)
    limit = (2 + 2 * at(fine, lines, mus)) / largest_curvature
    x = at(np.log(limit), np.log(rates), columns)
    axes.plot(x, fine, color=style.RED, linewidth=2)
    handles = [
        Line2D([], [], color=style.SKY, linestyle="--", label="lr / (1 - momentum) = 0.01, 0.1, 1"),
        Line2D([], [], color=style.RED, linewidth=2, label="lr x curvature at the start = 2 + 2 momentum"),
    ]
    drawing.legend(handles=handles, loc="outside lower center", ncols=2)
    axes.set_xticks(columns, [f"{lr:g}" for lr in rates])
    axes.set_yticks(lines, [f"{mu:g}" for mu in mus])
    epochs = experiment["settings"]["heat_epochs"]
    axes.set(xlabel="learning rate", ylabel="momentum")
    axes.set_title("The best rate (*) falls as momentum rises; x: diverged")
    drawing.colorbar(image, extend="min", label=f"test accuracy after {epochs} epoch{'s' if epochs > 1 else ''}, %")
    return drawing
