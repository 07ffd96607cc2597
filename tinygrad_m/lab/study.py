"""What every part of the lab gives back: claims (a sentence, its number, and the band that the number must be in),
figures, and the data that they are drawn from. Read theory.py next; __main__.py shows the parts in their order."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Options:
    """What the command line says to each part. quick: a small version, honest about it, for two cores and a
    minute; seed: of everything random; jobs: processes at once; quiet: no progress bar."""

    quick: bool = False
    seed: int = 0
    jobs: int = 1
    quiet: bool = False


@dataclass(frozen=True)
class Claim:
    """One sentence of the lab, with the measured number that it stands on and the band [low, high] in which the
    number must be. `source`: what was run, and where the theory is from. The tests assert `passed`; the report
    prints it. NaN never passes. Raises ValueError for a band that is empty or not finite."""

    claim: str
    value: float
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):  # NumPy's scalars cannot be written as JSON
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"claim {self.claim!r}: the band [{self.low}, {self.high}] must be finite, low <= high")

    @property
    def passed(self) -> bool:
        return self.low <= self.value <= self.high

    def as_dict(self) -> dict[str, Any]:
        """The row of claims.json."""
        band = {"value": self.value, "low": self.low, "high": self.high}
        return {"claim": self.claim, **band, "passed": self.passed, "source": self.source}

    def __str__(self) -> str:
        band = f"{self.value:10.4g} in [{self.low:.4g}, {self.high:.4g}]"
        return f"{'PASS' if self.passed else 'FAIL'}  {band}  {self.claim}"


SMALL = "A small run: not all of what follows shows in it. "


@dataclass(frozen=True)
class Figure:
    """A picture that can be drawn: `draw()` gives a matplotlib figure, 8 inches wide. caption: what one sees."""

    name: str
    caption: str
    draw: Callable[[], Drawing]

    def of_small_run(self) -> Figure:
        """The same picture of a small run beside the large one's."""
        return replace(self, name=f"quick-{self.name}", caption=SMALL + self.caption)

    def save(self, directory: Path) -> list[Path]:
        """Write NAME.png (800 pixels wide) and NAME.svg; returns the paths, the one to show first."""
        from .figures import style

        with style.context():
            drawing = self.draw()
            paths = [directory / f"{self.name}.{suffix}" for suffix in ("png", "svg")]
            for path in paths:
                drawing.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
            style.close(drawing)
        return paths


@dataclass(frozen=True)
class Animation:
    """A picture that moves: `animate()` gives a matplotlib FuncAnimation."""

    name: str
    caption: str
    animate: Callable[[], FuncAnimation]
    fps: int = 20

    def save(self, directory: Path) -> list[Path]:
        """Write NAME.gif; returns its path in a list."""
        from matplotlib.animation import PillowWriter

        from .figures import style

        path = directory / f"{self.name}.gif"
        with style.context():
            animation = self.animate()
            animation.save(path, writer=PillowWriter(fps=self.fps), dpi=80)
            style.close(animation._fig)  # type: ignore[attr-defined]
        return [path]


@dataclass
class Study:
    """One part of the lab, run: its claims, its figures, and its data, a dict that JSON can hold."""

    name: str
    title: str
    text: str
    claims: list[Claim] = field(default_factory=list)
    figures: Sequence[Figure | Animation] = ()
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(claim.passed for claim in self.claims)


def plain(data: Any) -> Any:
    """`data` as JSON can hold it: arrays as lists, NumPy's numbers as Python's, NaN and the infinities as None."""
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, np.ndarray):
        return plain(data.tolist())
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    if isinstance(data, np.generic):
        data = data.item()
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON. The file is whole at every moment: it is written beside its place and moved there."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(plain(data), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(part, path)
