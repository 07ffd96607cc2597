"""The pictures of races.py: paths on maps, steps, wells and basins, and two films. Each function takes what was
measured there and gives a matplotlib figure, or an animation, 8 inches wide. style.py has the looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..landscapes import BARRIER, WELLS, Array, Landscape, Tuned
from . import style

NAMES = {"gd": "gd", "momentum": "momentum", "nesterov": "Nesterov", "rmsprop": "RMSprop",
         "rmsprop-momentum": "RMSprop + momentum", "adam": "Adam"}  # fmt: skip
TICKS = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # of axes on the scale of 1 / (1 - momentum)
BEST: dict[str, Any] = {"color": style.SKY, "linestyle": "-", "marker": "d"}  # momentum with its momentum tuned, too


# -- maps and paths ---------------------------------------------------------------------------------------------------


def contours(axes: Any, land: Landscape, levels: int = 14, floor: float = 1e-3, filled: bool = True) -> None:
    """A map of f: grey, darker higher up, stars at the minima. Contours are closer near the bottom: they stand at equal
    steps of log(f + floor * the greatest f)."""
    (left, right), (bottom, top) = land.box
    x, y = np.meshgrid(np.linspace(left, right, 160), np.linspace(bottom, top, 160))
    height = land.values((x, y)) - land.lowest()
    height = np.log10(height + floor * height.max())
    if filled:
        axes.contourf(x, y, height, levels, cmap="Greys", alpha=0.25).set_rasterized(True)
    lines = axes.contour(
        x, y, height, levels, colors="0.65" if filled else "0.8", linewidths=0.6, linestyles="-", antialiased=filled
    )
    lines.set_rasterized(True)  # a vector for each would make large files
    for minimum in land.minima:
        axes.plot(*minimum, marker="*", markersize=13, color="white", markeredgecolor="black", zorder=5)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x", ylabel="y")
    axes.grid(False)


def path(axes: Any, places: Array, look: dict[str, Any], **more: Any) -> list[Any]:
    """A path on a map, with a marker at some of its first steps and a ring at its start."""
    axes.plot(*places[0], marker="o", markersize=9, color="none", markeredgecolor="black", zorder=6)
    basic = {"linewidth": 1.3, "markersize": 4, "markevery": slice(1, 40, 3)}
    lines: list[Any] = axes.plot(*places.T, **{**basic, **look, **more})
    return lines


def _title(name: str) -> str:
    """ "nesterov 0.9" as a label."""
    return name.replace("nesterov", "Nesterov")


def _steps(steps: float) -> str:
    return f"{steps:.0f} steps" if np.isfinite(steps) else "not there in time"


def _looks(tuned: Sequence[Tuned], best: Tuned | None = None) -> list[tuple[Tuned, dict[str, Any], str]]:
    """Each run of a race with its look and its line in the legend."""
    rows = [(one, style.method(one.method, marker=True),
             f"{NAMES[one.method]}: lr {one.lr:.2g}, {_steps(one.steps)}") for one in tuned]  # fmt: skip
    if best is not None:
        label = f"momentum {best.momentum:g}, tuned too: lr {best.lr:.2g}, {_steps(best.steps)}"
        rows.append((best, BEST, label))
    return rows


def race(land: Landscape, tuned: Sequence[Tuned], best: Tuned | None = None) -> Figure:
    """Left the paths of a race, up to the goal; right f against steps."""
    drawing = style.figure(5.2)
    left, right = drawing.subplots(1, 2, width_ratios=(1.15, 1))
    contours(left, land)
    others = [one.momentum for one in tuned if one.method == "momentum"]
    if best is not None and best.momentum in others:
        best = None  # it is there already
    for one, look, label in _looks(tuned, best):
        there = np.isfinite(one.steps)
        places = one.path[: int(one.steps) + 1] if there else one.path
        heights = land.values(places.T) - land.lowest()
        path(left, places, look)
        right.plot(np.arange(1, len(heights)), heights[1:], label=label, markevery=[-1], **look)
        if not there:
            end = heights[-1] if np.isfinite(heights[-1]) else heights[0]
            style.diverged(right, len(heights) - 1, end, color=look["color"])
    right.set(xscale="log", yscale="log", xlabel="steps", ylabel="f, above its lowest", title="how f falls")
    left.set_title(f"{land.name}: paths to the goal")
    drawing.suptitle(f"f = {land.formula}", fontsize=10)
    drawing.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3)
    return drawing


def summary(raced: dict[str, list[Tuned]], best: dict[str, Tuned]) -> Figure:
    """Steps to the goal on every landscape: a row for each, a marker for each method."""
    drawing = style.figure(4.4)
    axes = drawing.subplots()
    last = max(one.steps for row in raced.values() for one in row if np.isfinite(one.steps))
    for k, (name, row) in enumerate(raced.items()):
        axes.axhline(k, color="0.85", zorder=0)
        for j, (one, look, _) in enumerate(_looks(row, best.get(name))):
            height = k + 0.09 * (j - 2.5)  # one below the other: equal ones stay visible
            if np.isfinite(one.steps):
                axes.plot(one.steps, height, **{**look, "linestyle": "none", "markersize": 7})
                if look is BEST:
                    axes.annotate(
                        f"{one.momentum:g}", (one.steps, height), (6, -3), textcoords="offset points", fontsize=8
                    )
            else:
                style.diverged(axes, 2 * last, height, color=look["color"])
    for name in NAMES:
        axes.plot([], [], label=NAMES[name], **{**style.method(name, marker=True), "linestyle": "none"})
    axes.plot([], [], label="momentum, itself tuned too (the number)", **(BEST | {"linestyle": "none"}))
    axes.set(xscale="log", xlabel="steps to the goal, the lr of each tuned", title="No method is the first everywhere")
    axes.set_yticks(range(len(raced)), raced)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    drawing.legend(loc="outside lower center", ncols=4)
    return drawing


# -- which momentum? --------------------------------------------------------------------------------------------------


def momentum_panels(land: Landscape, shown: dict[float, Array], took: dict[float, float], lr: float) -> Figure:
    """A map for each momentum, the path of 400 steps on it."""
    drawing = style.figure(6.0)
    for axes, (mu, places) in zip(drawing.subplots(2, 2, sharex=True, sharey=True).flat, shown.items()):
        contours(axes, land)
        path(axes, places, {"color": style.RED if mu > 0.95 else style.BLUE, "marker": "."}, zorder=4)
        axes.set_title(f"momentum {mu:g}: {_steps(took[mu])} to the goal")
        axes.label_outer()
    drawing.suptitle(f"The first 400 steps at lr {lr:g}: 0.9 runs down the valley, 0.99 overshoots")
    return drawing


def best_momentum(momenta: Sequence[float], rates: Sequence[float], found: Array, steps: int) -> Figure:
    """Steps against momentum, a line for each lr."""
    drawing = style.figure(4.4)
    axes = drawing.subplots()
    span = 1 / (1 - np.array(momenta))
    colours = style.mu_colours(list(rates))
    for lr, column, marker in zip(rates, found.T, "osD^v"):
        there, k = np.isfinite(column), int(column.argmin())
        label = f"lr {lr:g}: best {momenta[k]:g}"
        axes.plot(span[there], column[there], color=colours[lr], marker=marker, markersize=4, label=label)
        for x in span[~there]:
            style.diverged(axes, x, 1.25 * steps, color=colours[lr])
        axes.plot(span[k], column[k], "o", markersize=13, color="none", markeredgecolor=style.RED, markeredgewidth=2)
    axes.set(xscale="log", yscale="log", xlabel="momentum (on the scale of 1 / (1 - momentum))",
             ylabel="steps to the goal", title="The smaller lr is, the more momentum is best")  # fmt: skip
    axes.set_xticks(1 / (1 - np.array(TICKS)), [f"{mu:g}" for mu in TICKS])
    axes.minorticks_off()
    axes.plot([], [], "x", color="0.3", label=f"not there in {steps} steps")
    axes.plot([], [], "o", markersize=11, color="none", markeredgecolor=style.RED, markeredgewidth=2, label="best")
    drawing.legend(loc="outside right center")
    return drawing


def same_rate(land: Landscape, paths: dict[float, dict[str, Array]], gaps: dict[float, float]) -> Figure:
    """One map for each lr / (1 - momentum), with the paths of all methods."""
    drawing = style.figure(4.6)
    panels = drawing.subplots(1, 2, sharey=True)
    for axes, (rate, row) in zip(panels, paths.items()):
        contours(axes, land)
        for width, (name, places) in zip((4.5, 2.5, 1.2), row.items()):  # the wide ones below: all stay visible
            look = style.method(name.split()[0])
            path(axes, places, look, label=_title(name), linewidth=width)
        axes.set_title(f"lr / (1 - momentum) = {rate:g}: {100 * gaps[rate]:.1f} % apart")
        axes.label_outer()
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return drawing


def steepness(land: Landscape, alike: dict[str, Array]) -> Figure:
    """Paths from the corner of the ravine, and how far x and y are from 0 along them."""
    drawing = style.figure(4.6)
    left, right = drawing.subplots(1, 2)
    contours(left, land)
    for name, places in alike.items():
        path(left, places, style.method(name, marker=True), label=NAMES[name])
    left.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), title="RMSprop goes straight to the minimum")
    left.legend(loc="upper right")
    for name in ("gd", "rmsprop"):
        colour = style.METHODS[name][0]
        x, y = np.abs(alike[name][:61].T)
        right.plot(x, color=colour, linewidth=5, alpha=0.4, label=f"{NAMES[name]}: |x|")  # wide: y may lie upon it
        right.plot(y, color=colour, linestyle=(0, (2, 2)), linewidth=2, label=f"{NAMES[name]}: |y|")
    right.set(yscale="log", ylim=(1e-3, 3), xlabel="steps", title="gd: y at once, x late; RMSprop: both alike")
    right.legend(loc="lower left")
    return drawing


# -- wells, saddles, dents, circles -----------------------------------------------------------------------------------


def well(land: Landscape, shown: dict[float, Array]) -> Figure:
    """The wells, turned on their side, and x against steps beside them."""
    drawing = style.figure(4.4)
    left, right = drawing.subplots(1, 2, sharey=True, width_ratios=(1, 2.6))
    x = np.linspace(*land.box[0], 300)
    left.plot(land.values([x]), x, color="black")
    left.set(xlim=(-0.6, 4), xlabel="f", ylabel="x", ylim=land.box[0], title="the wells")
    for axes in (left, right):
        for place, line in ((WELLS[0], "-"), (BARRIER, ":"), (WELLS[1], "-")):
            axes.axhline(place, color="0.6", linewidth=1, linestyle=line)
    left.text(3.9, WELLS[0] - 0.08, "global minimum", ha="right", va="top", fontsize=9)
    left.text(3.9, WELLS[1] - 0.08, "local minimum", ha="right", va="top", fontsize=9)
    left.text(3.9, BARRIER + 0.05, "barrier", ha="right", va="bottom", fontsize=9)
    looks = ((style.BLACK, "-"), (style.BLUE, "-"), (style.RED, "--"), (style.GREEN, ":"))
    for (mu, places), (colour, line) in zip(shown.items(), looks):
        right.plot(places[:301], color=colour, linestyle=line, label=f"momentum {mu:g}")
    right.set(xlabel="steps", title="0.9 gets out, 0.95 gets out and back again")
    drawing.legend(loc="outside lower center", ncols=4)
    return drawing


def basins(maps: dict[str, Array], rates: Sequence[float], momenta: Array, starts: Array) -> Figure:
    """A map for each method and lr: the colour is the well in which a run from that start with that momentum ends."""
    drawing = style.figure(6.4)
    colours = [style.BLUE, style.YELLOW, "0.6", style.BLACK]
    panels = drawing.subplots(2, 2, sharex=True, sharey=True)
    for row, (method, found) in zip(panels, maps.items()):
        for axes, lr, ends in zip(row, rates, found):
            axes.pcolormesh(
                starts, 1 / (1 - momenta), ends, cmap=ListedColormap(colours), vmin=0, vmax=3, rasterized=True
            )
            axes.axvline(BARRIER, color="white", linestyle=":", linewidth=1.5)
            axes.set(title=f"{NAMES[method]}, lr {lr:g}", xlabel="start x", ylabel="momentum", yscale="log")
            axes.set_yticks(1 / (1 - np.array(TICKS)), [f"{mu:g}" for mu in TICKS])
            axes.minorticks_off()
            axes.grid(False)
            axes.label_outer()
    for mu in (0, 0.9, 0.95):
        panels[0, 0].plot(2, 1 / (1 - mu), "o", color="white", markeredgecolor="black", markersize=6, clip_on=False)
    words = ("the global minimum", "the local one", "still moving", "diverged")
    handles: list[Any] = [Patch(color=colour, label=word) for colour, word in zip(colours, words)]
    handles.append(
        panels[0, 0].plot([], [], "o", color="white", markeredgecolor="black", label="the runs of the film")[0]
    )
    drawing.suptitle("Where runs end. Dotted: the barrier; gd's ends change there and nowhere else")
    drawing.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2, handlelength=1.4)
    return drawing


def leaving(leave: dict[str, float], cross: dict[str, float]) -> Figure:
    """Steps as bars, with their numbers."""
    drawing = style.figure(3.4)
    left, right = drawing.subplots(1, 2, sharey=True)
    for axes, steps, title in (
        (left, leave, "to leave the saddle, lr 0.1"),
        (right, cross, "to cross the plain, lr 0.2"),
    ):
        colours = [style.METHODS[name.split()[0]][0] for name in steps]
        known = [value if np.isfinite(value) else 0 for value in steps.values()]
        bars = axes.barh([_title(name) for name in steps], known, color=colours)
        axes.bar_label(bars, [f"{value:.0f}" if np.isfinite(value) else "never" for value in steps.values()], padding=3)
        axes.set(title=title, xlabel="steps", xlim=(0, 1.15 * max(known)))
        axes.grid(axis="y", visible=False)
    left.invert_yaxis()
    return drawing


def dents(land: Landscape, rates: Array, shares: dict[str, Array], best: dict[str, float]) -> Figure:
    """The bowl, and the share of starts that end in its deepest dent, against lr."""
    drawing = style.figure(4.4)
    left, right = drawing.subplots(1, 2, width_ratios=(1, 1.5))
    contours(left, land, 8, floor=10)
    left.set(title="121 dents", aspect="equal")
    for name, share in shares.items():
        right.plot(rates, 100 * share, label=f"{NAMES[name]}: at most {100 * share.max():.0f} %, lr {best[name]:.2g}",
                   **style.method(name))  # fmt: skip
    right.set(
        xscale="log", xlabel="lr", ylabel="% of the starts", ylim=(-3, 103), title="runs that end in the deepest dent"
    )
    drawing.legend(loc="outside lower center", ncols=2, handlelength=3)
    return drawing


def lessard(land: Landscape, cycle: Array, circling: Array, gd: Array) -> Figure:
    """The slope of f with the cycle on it, and x against steps."""
    drawing = style.figure(4.4)
    left, right = drawing.subplots(1, 2, width_ratios=(1, 1.6))
    x = np.linspace(-2.5, 3.5, 400)
    left.plot(x, land.slopes([x])[0], color="black")
    turn = cycle[[0, 1, 2, 0]]
    slope = land.slopes([turn])[0]
    arrow = {"arrowstyle": "-|>", "color": style.RED, "connectionstyle": "arc3,rad=-0.25"}
    for k in range(3):
        left.annotate("", (turn[k + 1], slope[k + 1]), (turn[k], slope[k]), arrowprops=arrow)
        left.annotate(f"{turn[k]:.3f}", (turn[k], slope[k]), (8, -12), textcoords="offset points", color=style.RED)
    left.plot(turn, slope, "o", color=style.RED)
    left.set(xlabel="x", ylabel="slope of f", title="the cycle")
    for k, look in ((0, {"color": style.BLUE, "marker": "s"}), (3, {"color": style.RED, "marker": "o"}),
                    (5, {"color": style.SKY, "marker": "d", "linestyle": "--"})):  # fmt: skip
        right.plot(circling[:31, k], markersize=3.5, label=f"momentum, from {circling[0, k]:g}", **look)
    right.plot(gd[:31, 3], label=f"gd, from {gd[0, 3]:g}", **style.method("gd"))
    for place in cycle:
        right.axhline(place, color=style.RED, linewidth=0.7, linestyle=":")
    right.set(xlabel="steps", ylabel="x", title="from 3.3, momentum never arrives")
    drawing.legend(loc="outside lower center", ncols=4)
    return drawing


# -- films ------------------------------------------------------------------------------------------------------------


def _freeze(drawing: Figure) -> None:
    """Lay out once, not in each frame; and lines without soft edges: a GIF has 256 colours, so it is smaller."""
    for line in (line for axes in drawing.axes for line in axes.lines):
        line.set_antialiased(False)
    drawing.draw_without_rendering()
    drawing.set_layout_engine("none")


def race_film(land: Landscape, tuned: Sequence[Tuned], frames: int = 70) -> FuncAnimation:
    """The paths grow: most frames for the first 200 steps, then faster and faster."""
    drawing = style.figure(4.8)
    axes = drawing.subplots()
    contours(axes, land, 8, filled=False)
    head = {"markevery": [-1], "markersize": 8, "markeredgecolor": "white", "zorder": 7}  # a marker at the end alone
    lines = [path(axes, one.path[:1], look, label=label, **head)[0] for one, look, label in _looks(tuned)]
    title = axes.set_title("step 0")
    drawing.legend(handles=lines, loc="outside lower center", ncols=2, handlelength=3)
    longest = max(len(one.path) for one in tuned)
    _freeze(drawing)
    early = np.linspace(0, min(200, longest), frames * 5 // 7)
    at = np.concatenate([early, np.geomspace(max(early[-1], 1), longest, frames - len(early))]).astype(int)

    def show(frame: int) -> list[Any]:
        for one, line in zip(tuned, lines):
            line.set_data(*one.path[: int(min(at[frame], one.steps)) + 1].T)
        title.set_text(f"step {at[frame]}")
        return [*lines, title]

    return FuncAnimation(drawing, show, frames=len(at), interval=60)


def well_film(land: Landscape, shown: dict[float, Array], frames: int = 80) -> FuncAnimation:
    """A ball in the wells, with its last places: a panel for each momentum, a frame for each step."""
    drawing = style.figure(3.4)
    x = np.linspace(*land.box[0], 200)
    balls, trails = [], []
    for axes, mu in zip(drawing.subplots(1, len(shown), sharey=True), shown):
        axes.plot(x, land.values([x]), color="0.4")
        axes.set(ylim=(-0.8, 10), xlabel="x", ylabel="f", title=f"momentum {mu:g}")
        axes.label_outer()
        trails += axes.plot([], [], ".-", color=style.ORANGE)
        balls += axes.plot([], [], "o", markersize=11, color=style.RED, markeredgecolor="black")
    step = drawing.suptitle("step 0")
    _freeze(drawing)

    def show(frame: int) -> list[Any]:
        for ball, trail, places in zip(balls, trails, shown.values()):
            last = places[max(0, frame - 6) : frame + 1]
            trail.set_data(last, land.values([last]))
            ball.set_data(last[-1:], land.values([last[-1:]]))
        step.set_text(f"step {frame}")
        return [*balls, *trails, step]

    return FuncAnimation(drawing, show, frames=min(frames, *map(len, shown.values())), interval=60)
