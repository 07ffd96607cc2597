"""How the lab's figures look: 8 inches wide and legible at 800 pixels; colours that colour-blind readers can tell
apart (Okabe and Ito 2008; cividis for values of momentum), and never by colour alone: line styles, markers and
labels at the lines say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip

# One look for each method, in every figure of the lab: (colour, line style, marker)
METHODS: dict[str, tuple[str, str, str]] = {
    "gd": (BLACK, "-", "o"),
    "sgd": (BLACK, "-", "o"),
    "momentum": (BLUE, "-", "s"),
    "nesterov": (ORANGE, "--", "^"),
    "rmsprop": (GREEN, "-.", "D"),
    "rmsprop-momentum": (RED, (0, (5, 1)), "v"),  # type: ignore[dict-item]
    "adam": (PURPLE, ":", "P"),
    "lion": (SKY, "--", "X"),
    "muon": (YELLOW, "-", "*"),
}


def method(name: str, marker: bool = False) -> dict[str, Any]:
    """Keyword arguments for a line: ax.plot(x, y, label=name, **method("momentum"))."""
    colour, line, mark = METHODS[name]
    return {"color": colour, "linestyle": line, **({"marker": mark} if marker else {})}


def mu_colours(values: Sequence[float]) -> dict[float, Any]:
    """A colour for each value of momentum, from dark (small) to light (large)."""
    colormap = matplotlib.colormaps["cividis"]
    return {mu: colormap(0.92 * k / max(1, len(values) - 1)) for k, mu in enumerate(sorted(values))}


@contextmanager
def context() -> Iterator[None]:
    """The settings that all figures share, for as long as one is drawn."""
    settings: dict[Any, Any] = {
        "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "legend.fontsize": 9, "xtick.labelsize": 9,
        "ytick.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.color": "0.9", "grid.linewidth": 0.6, "lines.linewidth": 1.6, "legend.frameon": False,
        "svg.hashsalt": "tinygrad_m", "svg.fonttype": "none", "axes.axisbelow": True,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def figure(height: float = 4.0, width: float = 8.0) -> Figure:
    """An empty figure, drawn without pyplot (and so without a window, in any thread)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawing = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def close(drawing: Any) -> None:
    """Let the figure's memory go."""
    drawing.clear()


def diverged(axes: Any, x: float, y: float, **look: Any) -> None:
    """Mark a run that diverged: a cross at the top, never silence."""
    axes.plot([x], [y], marker="x", markersize=8, markeredgewidth=2, linestyle="none", clip_on=False, **look)
