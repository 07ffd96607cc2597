"""The pictures of theory against runs. ../quadratic.py made the data, and its FIGURES say what each is for; lines and
backgrounds are theory.py's formulas, markers are runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from .. import theory
from . import style

Data = dict[str, Any]
PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}  # behind text that crosses lines
DASHES: tuple[Any, ...] = ("-", (0, (6, 1)), "-.", (0, (3, 1)), ":")
TITLES = {"gd": "gradient descent", "momentum": "momentum", "nesterov": "Nesterov",
          "nesterov-quadratic": "Nesterov, tuned to parabolas"}  # fmt: skip
LOOKS: dict[str, dict[str, Any]] = {
    **{name: style.method(name, marker=True) for name in ("gd", "momentum", "nesterov")},
    "nesterov-quadratic": {"color": style.RED, "linestyle": ":", "marker": "D"},
}


def digit(rate: Any) -> Any:
    """Steps for one more decimal digit at this rate; infinitely many from 1 on."""
    with np.errstate(divide="ignore"):
        return np.where(np.asarray(rate) < 1, np.log(10) / -np.log(np.minimum(rate, 1)), np.inf)


def lines(momenta: Sequence[float]) -> dict[float, dict[str, Any]]:
    """A colour and a dash for each momentum."""
    colours = style.mu_colours(momenta)
    return {mu: {"color": colours[mu], "linestyle": DASHES[k % len(DASHES)]} for k, mu in enumerate(sorted(momenta))}


def speed_map(drawing: Figure, panels: Any, ticks: Sequence[float]) -> tuple[LogNorm, Any]:
    """The colour scale of steps per digit (bright: fast), with its bar."""
    from matplotlib.cm import ScalarMappable

    norm = LogNorm(ticks[0], ticks[-1], clip=True)
    bar = drawing.colorbar(ScalarMappable(norm, "cividis_r"), ax=panels, pad=0.01)
    bar.ax.yaxis.set_major_locator(FixedLocator(list(ticks)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.set_yticklabels([f"{tick:g}  ({10 ** (-1 / tick):.3f})" for tick in ticks])
    bar.ax.set_title("steps per digit\n(rate)", fontsize=9, loc="left")
    return norm, "cividis_r"


def regimes(data: Data) -> Figure:
    drawing = style.figure(4.6)
    panels = drawing.subplots(1, 2, sharey=True)
    norm, colours = speed_map(drawing, panels, (1, 3, 10, 30, 100, 300))
    momenta = np.array(data["momenta"])
    for axes, (name, form, end) in zip(panels, (("momentum", False, 4.2), ("Nesterov", True, 2.1))):
        a, mu = np.linspace(1e-3, end, 500), np.linspace(0, 0.999, 400)
        rate = theory.spectral_radius(a, mu[:, None], form)
        steps = np.ma.masked_where(rate >= 1, digit(rate))
        axes.set_facecolor("0.88")
        axes.pcolormesh(a, mu, steps, norm=norm, cmap=colours, shading="nearest", rasterized=True)
        some = slice(0, None, max(1, len(data[name]["lr_h"]) // 20))
        x, y = np.meshgrid(data[name]["lr_h"][some], momenta)
        rate = data[name]["rate"][:, some]
        fine = rate < 1
        axes.scatter(x[fine], y[fine], c=digit(rate[fine]), norm=norm, cmap=colours, s=26, edgecolors="white",
                     linewidths=0.6, clip_on=False, zorder=3)  # fmt: skip
        axes.plot(x[~fine], y[~fine], "x", color="0.25", markersize=4, clip_on=False, zorder=3)
        below = np.linspace(1e-4, 1, 300)
        axes.plot(below, theory.critical_momentum(below, form), color=style.RED, linewidth=2, label="critical momentum")
        axes.plot(theory.stability_limit(mu, form), mu, color="black", linewidth=2, linestyle="--", label="edge")
        limit = "(2+2μ)/(1+2μ)" if form else "2+2μ"
        axes.set(title=f"{name}: stable to {limit}", xlabel="lr × h", xlim=(0, end), ylim=(0, 1))
        axes.grid(False)
    panels[0].set_ylabel("momentum μ")
    grey = {"facecolor": "0.88", "edgecolor": "none", "pad": 2}
    panels[0].text(3.4, 0.3, "diverges", ha="center", va="center", bbox=grey, zorder=4)
    panels[1].text(1.77, 0.7, "diverges", ha="center", va="center", bbox=grey, zorder=4)
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    drawing.suptitle("Runs (dots) have the rates that theory paints behind them")
    return drawing


def ripples(data: Data) -> Figure:
    drawing = style.figure(4.6)
    panels = drawing.subplots(2, 3, sharex=True)
    for axes, (name, a, mu), path in zip(panels.flat, data["stems"], data["paths"]):
        path = path[:41]
        steps = np.arange(len(path))
        for sign, colour, mark in ((path >= 0, style.BLUE, "o"), (path < 0, style.RED, "s")):
            axes.vlines(steps[sign], 0, path[sign], color=colour, linewidth=1)
            axes.plot(steps[sign], path[sign], mark, color=colour, markersize=3)
        axes.axhline(0, color="black", linewidth=0.8)
        if name != "diverging":
            high = 1.05 * max(1.1, np.abs(path).max())
            axes.set_ylim(-high, high)
        axes.set_title(name)
        where = {"x": 0.04, "ha": "left"} if name == "diverging" else {"x": 0.97, "ha": "right"}
        axes.text(y=0.04, s=f"lr × h = {a:g}\nμ = {mu:.3g}", transform=axes.transAxes, fontsize=9, **where)
    for axes in panels[1]:
        axes.set_xlabel("step")
    for axes in panels[:, 0]:
        axes.set_ylabel("w")
    drawing.suptitle("What momentum can do on a parabola: w > 0 (blue circles), w < 0 (red squares)")
    return drawing


def damping(data: Data) -> Figure:
    drawing = style.figure(4.0)
    time, phase = drawing.subplots(1, 2, width_ratios=(3, 2))
    looks = lines(data["momenta"])
    for mu, path in zip(data["momenta"], data["path"].T):
        time.plot(path[:301], label=f"{mu:g}" + (" (critical)" if mu == 0.81 else ""), **looks[mu])
        phase.plot(path[1:], np.diff(path), **looks[mu])
        low = int(np.argmin(path))
        if path[low] < -1e-6:
            time.plot([low], [path[low]], "v", color=looks[mu]["color"], markeredgecolor="black", zorder=3)
            time.annotate(f"overshoots by {-path[low]:.0%}", (low, path[low]), (8, -4), textcoords="offset points",
                          fontsize=9, bbox=PAPER)  # fmt: skip
    time.axhline(0, color="black", linewidth=0.8)
    time.set(title="0.99 overshoots, 0.81 does not", xlabel="step", ylabel="w", ylim=(-1.08, 1.08))
    time.legend(title="momentum", ncols=2, loc="upper right")
    phase.plot([0], [0], "+", color="black", markersize=10)
    phase.set(title="the same in phase space", xlabel="w", ylabel="velocity: change of w per step")
    return drawing


def kappa(data: Data) -> Figure:
    drawing = style.figure(4.0)
    price, course = drawing.subplots(1, 2)
    kappas = np.geomspace(data["kappas"][0], data["kappas"][-1], 100)
    for name, title in TITLES.items():
        look = dict(LOOKS[name])
        mark = look.pop("marker")
        price.plot(kappas, [digit(theory.optimal(float(each), name).rate) for each in kappas], **look)
        price.plot(data["kappas"], digit(np.array(data["table"][name]["rate"])), mark, color=look["color"])
        size = data["series"][name]
        course.plot(size, markevery=(0.02, 0.25), label=title, **LOOKS[name])
    price.set(xscale="log", yscale="log", title="a digit costs κ steps, or √κ", xlabel="condition number κ = L / m",
              ylabel="steps per decimal digit")  # fmt: skip
    price.text(0.05, 0.93, "lines: theory, markers: runs", transform=price.transAxes, fontsize=9)
    course.set(yscale="log", ylim=(1e-6, 3), xlim=(0, 650), title="κ = 100: momentum is there first", xlabel="step",
               ylabel="error, relative to the first")  # fmt: skip
    course.legend(loc="upper right")
    return drawing


def grid(data: Data) -> Figure:
    drawing = style.figure(4.2)
    panels = drawing.subplots(1, 2)
    norm, colours = speed_map(drawing, panels, (10, 20, 50, 100, 200))
    ideal = data["predicted"]
    for axes, found, title in zip(panels, data["maps"], ("coarse grid", "fine grid around its best")):
        steps = np.ma.masked_invalid(digit(found["rate"]))
        axes.set_facecolor("0.88")
        axes.pcolormesh(found["lr"], found["momentum"], steps, norm=norm, cmap=colours, shading="nearest",
                        rasterized=True)  # fmt: skip
        axes.plot(ideal["lr"], ideal["momentum"], "*", color=style.RED, markersize=16, markeredgecolor="white",
                  zorder=4, label="theory: the best")  # fmt: skip
        axes.plot(found["found"]["lr"], found["found"]["momentum"], "o", color="none", markersize=14,
                  markeredgecolor="black", markeredgewidth=2, label="the best run")  # fmt: skip
        axes.set(title=title, xlabel="lr (m = 1, L = 100)", xscale="log")
        axes.grid(False)
        some = slice(0, None, max(1, len(found["lr"]) // 16))  # a cross in each of them would be a grey wall
        x, y = np.meshgrid(found["lr"][some], found["momentum"][some])
        gone = ~(found["rate"][some, some] < 1)
        axes.plot(x[gone], y[gone], "x", color="0.4", markersize=4)
    ticks(panels[0], (0.005, 0.01, 0.02, 0.04))
    ticks(panels[1], (0.028, 0.03, 0.032, 0.034, 0.036))
    panels[0].set_ylabel("momentum μ")
    panels[0].legend(loc="upper left", labelcolor="white")
    drawing.suptitle(f"Grid search at κ = 100: each cell is a run (×: diverged); best predicted rate "
                     f"{ideal['rate']:.3f}, found {data['maps'][1]['found']['rate']:.3f}", fontsize=11)  # fmt: skip
    return drawing


def ticks(axes: Axes, places: Sequence[float]) -> None:
    """Plain numbers on a logarithmic x axis."""
    axes.xaxis.set_major_locator(FixedLocator(list(places)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{place:g}" for place in places])


def memory_axis(axes: Axes, momenta: Sequence[float]) -> None:
    """x is 1 / (1 - mu), the number of gradients that momentum remembers, with mu written at it."""
    axes.set_xscale("log")
    axes.set_xlabel("momentum μ")
    axes.xaxis.set_major_locator(FixedLocator([1 / (1 - mu) for mu in momenta]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{mu:g}" for mu in momenta])


def noise(data: Data) -> Figure:
    drawing = style.figure(4.0)
    floor, variance, correlation = drawing.subplots(1, 3)
    mu, lr, bar = 1 - np.geomspace(1, 0.009, 100), data["lr"], 4.5 * np.sqrt(2 / data["n"])
    some = sorted({row["momentum"] for row in data["rows"]})
    for name, form, key in (("momentum", False, "momentum"), ("Nesterov", True, "nesterov")):
        look = dict(LOOKS[key])
        mark = look.pop("marker")
        for matched in (False, True):
            rate = lr * (1 - mu) if matched else np.full_like(mu, lr)
            floor.plot(1 / (1 - mu), theory.steady_variance(rate, 1.0, mu, 1.0, form), **look)
            rows = [row for row in data["rows"] if (row["form"], row["matched"]) == (name, matched)]
            y = np.array([row["variance"] for row in rows])
            floor.errorbar([1 / (1 - row["momentum"]) for row in rows], y, bar * y, color=look["color"],
                           fmt=mark, markersize=5, capsize=3, label=name if not matched else None)  # fmt: skip
        variance.plot(1 / (1 - mu), theory.update_variance_ratio(mu, form), **look)
        correlation.plot(1 / (1 - mu), theory.update_autocorrelation(mu, form), **look)
        rows = [row for row in data["smooth"] if row["form"] == name]
        x, y = [1 / (1 - row["momentum"]) for row in rows], np.array([row["variance"] for row in rows])
        variance.errorbar(x, y, bar * y, color=look["color"], fmt=mark, markersize=5, capsize=3)
        y = np.array([row["correlation"] for row in rows])
        correlation.errorbar(x, y, 4.5 * (1 - y**2) / np.sqrt(data["n"]), color=look["color"], fmt=mark, markersize=5,
                             capsize=3, label=name)  # fmt: skip
    floor.text(6, 2.2, f"lr = {lr:g}", ha="center")
    floor.text(10, 0.062, f"lr = {lr:g} (1 − μ)", ha="center")
    floor.set(yscale="log", title="what is left in w:\nhigher at one lr", ylabel="variance of w")
    variance.set(yscale="log", title="smoother:\nvariance of updates", ylabel="× (1 − μ)², relative to gradients")
    correlation.set(title="smoother: correlation of\nan update with the next", ylim=(0, 1))
    correlation.legend(loc="lower right")
    for axes in (floor, variance, correlation):
        memory_axis(axes, [mu for mu in some if mu != 0.95])
    return drawing


def effective(data: Data) -> Figure:
    drawing = style.figure(4.0)
    panels = drawing.subplots(1, 2, sharey=True)
    looks = lines(data["momenta"])
    for axes, name in zip(panels, ("momentum", "RMSprop")):
        for mu, sizes in zip(data["momenta"], data[name]):
            axes.axhline(1 / (1 - mu), color="0.6", linewidth=0.8, linestyle=":")
            axes.plot(np.arange(1, len(sizes) + 1), sizes, label=f"{mu:g}", **looks[mu])
        title = "SGD" if name == "momentum" else "RMSprop with momentum"
        axes.set(xscale="log", yscale="log", title=title, xlabel="step under a constant gradient", ylim=(0.7, 160))
        axes.yaxis.set_major_locator(FixedLocator([1 / (1 - mu) for mu in data["momenta"]]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_yticklabels([f"{1 / (1 - mu):.3g}" for mu in data["momenta"]])
    panels[0].set_ylabel("length of the step / lr")
    panels[0].legend(title="momentum", loc="upper left")
    drawing.suptitle("Steps end at lr / (1 − μ): momentum 0.99 makes lr 100 times as large")
    return drawing


def schedule(data: Data) -> Figure:
    drawing = style.figure(3.6)
    size, place = drawing.subplots(1, 2)
    for name, key, look in (
        ("lr outside (SGD here, PyTorch)", "outside", {"color": style.BLUE, "linestyle": "-"}),
        ("lr inside (Sutskever, Keras)", "inside", {"color": style.RED, "linestyle": "--"}),
    ):
        steps = np.arange(1, len(data[key]) + 1)
        size.plot(steps, data[key], label=name, **look)
        place.plot(steps, np.cumsum(data[key]), **look)
        place.annotate(name.split(" (")[0], (steps[-1], np.sum(data[key])), (-4, 6), textcoords="offset points",
                       ha="right", color=look["color"])  # fmt: skip
    for axes in (size, place):
        axes.axvline(60.5, color="0.4", linewidth=0.8)
    size.text(59, 0.5, "lr 0.1 → 0.01", rotation=90, ha="right", va="center", fontsize=9)
    size.set(title="inside, the old rate coasts on", xlabel="step", ylabel="length of the step", ylim=(0, 1.35))
    size.legend(loc="upper right")
    place.set(title="and w goes further than planned", xlabel="step", ylabel="distance travelled")
    place.set_ylim(0, place.get_ylim()[1] * 1.08)
    return drawing


def saddle(data: Data) -> Figure:
    drawing = style.figure(3.8)
    axes = drawing.subplots()
    a = np.geomspace(data["lr_h"][0], data["lr_h"][-1], 200)
    looks = lines(data["momenta"])
    marks = dict(zip(data["momenta"], "osD^"))
    for mu, growth in zip(data["momenta"], data["momentum"]):
        gain = np.log(theory.saddle_growth(a, mu)) / np.log1p(a)
        axes.axhline(1 / (1 - mu), color="0.6", linewidth=0.8, linestyle=":")
        axes.plot(a, gain, **looks[mu])
        axes.plot(data["lr_h"], growth / data["momentum"][0], marks[mu], color=looks[mu]["color"],
                  label=f"{mu:g}")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="lr × |h|, the size of the negative curvature",
             ylabel="times as fast as\ngradient descent",
             title="Leaving a saddle: 0.99 is 100 times as fast only where it is very flat")  # fmt: skip
    axes.yaxis.set_major_locator(FixedLocator([1 / (1 - mu) for mu in data["momenta"]]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{1 / (1 - mu):.3g}" for mu in data["momenta"]])
    axes.legend(title="momentum (dots: runs)", loc="upper right", bbox_to_anchor=(1, 0.98))
    return drawing
