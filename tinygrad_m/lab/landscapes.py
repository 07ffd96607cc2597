"""Small landscapes with one or two coordinates, and races of the optimizers over them: many runs at once, each with an
lr of its own, all by the library's optimizers on gradients of its autograd. A landscape is a formula of tensors: add
your own to LANDSCAPES. races.py, to be read next, says what the races show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from .. import ops, optim
from ..optim.optimizer import number
from ..tensor import Tensor
from .study import Options, Study

Array = np.ndarray[Any, Any]

RATES = np.geomspace(5e-4, 5, 40)  # the one grid from which every method's lr is chosen
HOLD = 100  # a run has arrived when it stays at the goal for so many steps
FENCE = 3.0  # who has been outside a box so many times as wide and high as the picture was lucky to come back
NEAR = 1e-2  # the goal: no farther than this from a minimum

# The methods that race. Settings that are not named here are the library's defaults.
METHODS: dict[str, tuple[type[optim.Optimizer], dict[str, Any]]] = {
    "gd": (optim.SGD, {}),
    "momentum": (optim.SGD, {"momentum": 0.9}),
    "nesterov": (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (optim.RMSprop, {}),
    "rmsprop-momentum": (optim.RMSprop, {"momentum": 0.9}),
    "adam": (optim.Adam, {}),
}


# -- the landscapes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Landscape:
    """function: takes one tensor for each coordinate, all of one shape, and gives f at each place, elementwise.
    start: where races begin. minima: the global ones first. box: what a picture shows, (low, high) for each
    coordinate. lesson: what to look for."""

    name: str
    formula: str
    function: Callable[..., Tensor]
    start: tuple[float, ...]
    minima: tuple[tuple[float, ...], ...]
    box: tuple[tuple[float, float], ...]
    lesson: str

    def values(self, places: Any) -> Array:
        """f, as an array, at places of shape (coordinates, *any); inf and nan where f overflows."""
        with np.errstate(all="ignore"):
            return self.function(*(Tensor(x, dtype="float64") for x in np.asarray(places, float))).numpy()

    def slopes(self, places: Any) -> Array:
        """The gradient by autograd, of the same shape as places: (coordinates, *any)."""
        w = [Tensor(x, dtype="float64", requires_grad=True) for x in np.asarray(places, float)]
        with np.errstate(all="ignore"):
            self.function(*w).sum().backward()
        return np.stack([x.grad.numpy() for x in w if x.grad is not None])

    def lowest(self) -> float:
        """f at the global minimum."""
        return float(self.values(self.minima[0]))

    def arrived(self, places: Array, near: float = NEAR) -> Array:
        """Which places, of shape (coordinates, *runs), are no farther than `near` from one of the minima: (*runs)."""
        where = np.zeros(places.shape[1:], bool)
        with np.errstate(all="ignore"):
            for minimum in self.minima:
                offsets = [place - m for place, m in zip(places, minimum, strict=True)]
                where |= np.sqrt(sum(d * d for d in offsets)) <= near
        return where

    def outside(self, places: Array, times: float = 1.0) -> Array:
        """Which places are out of the box, or of one `times` as wide and high around it, or nan: (*runs)."""
        out = np.zeros(places.shape[1:], bool)
        for place, (low, high) in zip(places, self.box, strict=True):
            more = (times - 1) / 2 * (high - low)
            out |= ~((low - more <= place) & (place <= high + more))
        return out


def ravine(x: Tensor, y: Tensor) -> Tensor:
    return 0.1 * x * x + 2.0 * y * y


def banana(x: Tensor, y: Tensor) -> Tensor:
    valley = 3.0 * y - x * x
    return (1.0 - x) * (1.0 - x) + 20.0 * valley * valley


def beale(x: Tensor, y: Tensor) -> Tensor:
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y * y, 2.625 - x + x * y * y * y
    return a * a + b * b + c * c


def saddle(x: Tensor, y: Tensor) -> Tensor:
    return 0.5 * x * x + 0.0125 * (y * y - 1.0) * (y * y - 1.0)


def monkey(x: Tensor, y: Tensor) -> Tensor:
    r = x * x + y * y
    return x * x * x - 3.0 * x * y * y + r * r


def plateau(x: Tensor, y: Tensor) -> Tensor:
    return 1.0 - ops.exp(-0.25 * (x * x + 3.0 * y * y))


def rastrigin(x: Tensor, y: Tensor) -> Tensor:
    waves = ops.cos(2.0 * np.pi * x) + ops.cos(2.0 * np.pi * y)
    return 20.0 + x * x + y * y - 10.0 * waves


def double_well(x: Tensor) -> Tensor:
    return (x * x - 1.0) * (x * x - 1.0) + 0.3 * x


def lessard(x: Tensor) -> Tensor:
    """Its slope is 25 x below 1, x + 24 up to 2, and 25 x - 24 above: curvature 25, 1, 25. The constants make f,
    too, continuous."""
    middle = 0.5 * x * x + 24.0 * x - 12.0
    return ops.where(x < 1.0, 12.5 * x * x, ops.where(x < 2.0, middle, 12.5 * x * x - 24.0 * x + 36.0))


_TURNS = np.sort(np.roots([4.0, 0.0, -4.0, 0.3]).real)  # of the double well: minimum, barrier, minimum
_THIRD = 2.0 * np.pi / 3.0  # between the three valleys of the monkey saddle
WELLS, BARRIER = (float(_TURNS[0]), float(_TURNS[2])), float(_TURNS[1])

LANDSCAPES: dict[str, Landscape] = {
    land.name: land
    for land in (
        Landscape("ravine", "0.1 x² + 2 y²", ravine, (-5.0, -2.0), ((0.0, 0.0),), ((-6.0, 6.0), (-3.0, 3.0)),
                  "20 times as steep across as along: gd's lr is limited by the walls"),
        Landscape("banana", "(1 - x)² + 20 (3 y - x²)²", banana, (-1.21, 0.853), ((1.0, 1 / 3),),
                  ((-1.7, 1.7), (-0.45, 1.1)), "a bent valley (Rosenbrock's, as Goh draws it), flat along its floor"),
        Landscape("beale", "(1.5 - x + x y)² + (2.25 - x + x y²)² + (2.625 - x + x y³)²", beale, (1.0, 1.5),
                  ((3.0, 0.5),), ((-0.5, 4.0), (-1.2, 1.9)), "a flat floor between steep walls"),
        Landscape("saddle", "x² / 2 + (y² - 1)² / 80", saddle, (1.0, 1e-3), ((0.0, 1.0), (0.0, -1.0)),
                  ((-1.25, 1.25), (-0.4, 1.5)), "down to a pass, then off it: f falls but slowly where it bends down"),
        Landscape("monkey", "x³ - 3 x y² + (x² + y²)²", monkey, (0.6, 1e-3),
                  tuple((0.75 * np.cos(a), 0.75 * np.sin(a)) for a in (np.pi, _THIRD / 2, -_THIRD / 2)),
                  ((-1.1, 1.1), (-1.0, 1.0)), "three valleys, for two legs and a tail; no curvature where they meet"),
        Landscape("plateau", "1 - exp(-(x² + 3 y²) / 4)", plateau, (-4.5, 1.0), ((0.0, 0.0),),
                  ((-5.5, 5.5), (-2.5, 2.5)), "a hole in a plain: there is hardly a gradient until one is near"),
        Landscape("rastrigin", "20 + x² + y² - 10 cos 2 pi x - 10 cos 2 pi y", rastrigin, (-3.3, 2.4),
                  ((0.0, 0.0),), ((-5.12, 5.12), (-5.12, 5.12)), "a bowl full of dents: 121 minima in this box"),
        Landscape("double-well", "(x² - 1)² + 0.3 x", double_well, (2.0,), tuple((x,) for x in WELLS),
                  ((-2.2, 2.2),), "two wells, the left one deeper: where does the ball come to rest?"),
        Landscape("lessard", "f' = 25 x, x + 24 from 1 to 2, 25 x - 24 above", lessard, (3.3,), ((0.0,),),
                  ((-3.0, 4.0),), "convex, and yet momentum runs in a circle"),
    )
}  # fmt: skip


# -- many runs at once ------------------------------------------------------------------------------------------------


def walk(
    landscape: Landscape, method: str, lr: Any, momentum: float | None = None, start: Sequence[Any] | None = None
) -> Iterator[Array]:
    """Yield the places, (coordinates, *runs), after 0, 1, 2 ... steps, without end.

    lr and each coordinate of `start` (default: the landscape's) are numbers or arrays, which broadcast to the shape
    `runs`: a grid of rates, a grid of starts, or both. momentum: in place of the method's 0.9.
    The updates and f are elementwise, so runs in one tensor do not meet: one that diverges to inf and nan stays so, and
    harms no other. Raises ValueError for a wrong name, lr, momentum or start."""
    make, settings = METHODS[_known("method", method, METHODS)]
    if momentum is not None:
        if "momentum" not in settings:
            raise ValueError(f"momentum={momentum!r}: {method} has none; use momentum, nesterov, rmsprop-momentum")
        settings = settings | {"momentum": number("momentum", momentum, "[0, 1)")}
        if momentum == 0:
            settings.pop("nesterov", None)  # nothing to look ahead with: gd
    rates = np.asarray(lr, float)
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise ValueError(f"lr must be positive and finite, got {lr!r}")
    places = landscape.start if start is None else start
    if len(places) != len(landscape.start):
        raise ValueError(f"{landscape.name} has {len(landscape.start)} coordinates, start has {len(places)}")
    rates, *places = np.broadcast_arrays(rates, *places)
    w = [Tensor(np.array(x, float), requires_grad=True) for x in places]
    optimizer = make(w, **settings)
    update = optimizer.update  # step() calls it for each parameter; give it all the rates in place of one lr
    optimizer.update = lambda *args, lr, **rest: update(*args, lr=rates, **rest)  # type: ignore[method-assign]
    while True:
        yield np.stack([x.numpy() for x in w])
        with np.errstate(all="ignore"):  # a run may overflow: it shows as inf or nan
            optimizer.zero_grad()
            landscape.function(*w).sum().backward()  # df/dx of every run: the sum's gradient
        optimizer.step()


def run(
    landscape: Landscape, method: str, lr: Any, steps: int, momentum: float | None = None,
    start: Sequence[Any] | None = None,
) -> Array:  # fmt: skip
    """The places after 0, 1 ... `steps` steps, (steps + 1, coordinates, *runs): see walk()."""
    return np.stack(list(islice(walk(landscape, method, lr, momentum, start), _count(steps) + 1)))


def times(
    landscape: Landscape, method: str, lr: Any, steps: int, momentum: float | None = None,
    start: Sequence[Any] | None = None, *, fence: bool = False, first: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """For each run, the step at which it arrives: comes within NEAR of a minimum and stays for HOLD steps; inf for
    those that have not arrived by step `steps`. And the places, as run() gives them, up to the end: all have
    arrived (or, with `first`, one has), or time is up. fence: who has been far outside (FENCE) never arrives."""
    path: list[Array] = []
    row, out = np.zeros((), int), np.zeros((), bool)
    for k, places in enumerate(islice(walk(landscape, method, lr, momentum, start), _count(steps) + HOLD)):
        if not path:
            arrived = np.full(places.shape[1:], np.inf)
        path.append(places)
        out = out | (fence and landscape.outside(places, FENCE))
        row = np.where(landscape.arrived(places) & ~out, row + 1, 0)  # how often in a row
        arrived = np.where(np.isinf(arrived) & (row == HOLD), k + 1 - HOLD, arrived)
        if np.isfinite(arrived).any() if first else np.isfinite(arrived).all():
            break
    return arrived, np.stack(path)


# -- fair races -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """A method with the lr that the rule chose for it. steps: to the goal; inf, if no lr of the grid got there, and
    then lr is the one that ended lowest. path: (steps + HOLD, coordinates)."""

    method: str
    momentum: float | None
    lr: float
    steps: float
    path: Array


def tune(landscape: Landscape, method: str, steps: int, momentum: float | None = None, rates: Any = RATES) -> Tuned:
    """The rule, the same for every method: of all `rates`, the lr with the fewest steps to the goal, which is to come
    within NEAR of a minimum and to stay there for HOLD steps, without having been thrown far out (out of a box FENCE
    times as wide and high as the picture). All rates run beside each other; the first to arrive wins (of two at once,
    the smaller lr). After `steps` steps it is over."""
    rates = np.asarray(rates, float)
    if rates.ndim != 1 or not rates.size:
        raise ValueError(f"rates must be a list of learning rates, got an array of shape {rates.shape}")
    arrived, path = times(landscape, method, rates, steps, momentum, fence=True, first=True)
    ends = landscape.values(path[-1])
    best = int(arrived.argmin() if np.isfinite(arrived).any() else np.where(np.isfinite(ends), ends, np.inf).argmin())
    if momentum is None:
        momentum = METHODS[method][1].get("momentum")
    return Tuned(method, momentum, float(rates[best]), float(arrived[best]), path[:, :, best])


def race(landscape: Landscape, steps: int, methods: Sequence[str] = tuple(METHODS), rates: Any = RATES) -> list[Tuned]:
    """Every method with the lr that tune() finds for it."""
    return [tune(landscape, method, steps, rates=rates) for method in methods]


def tune_momentum(landscape: Landscape, method: str, steps: int, momenta: Sequence[float], rates: Any = RATES) -> Tuned:
    """tune(), with the momentum chosen too: the fewest steps over all pairs."""
    return min((tune(landscape, method, steps, mu, rates) for mu in momenta), key=lambda tuned: tuned.steps)


# -- two wells --------------------------------------------------------------------------------------------------------


GLOBAL, LOCAL, MOVING, DIVERGED = range(4)


def ends(places: Array) -> Array:
    """How runs in the double well ended: GLOBAL or LOCAL (within 0.1 of that minimum), MOVING (neither), DIVERGED."""
    with np.errstate(all="ignore"):
        found = np.full(places.shape, MOVING)
        found[np.abs(places - WELLS[0]) < 0.1] = GLOBAL
        found[np.abs(places - WELLS[1]) < 0.1] = LOCAL
        found[~(np.abs(places) < 100)] = DIVERGED
    return found


def basins(method: str, rates: Sequence[float], momenta: Any, starts: Array) -> Array:
    """ends() for every lr, momentum and start: (rates, momenta, starts). A run gets 300 + 12 / (1 - momentum) steps,
    since velocities die out in about 2 / (1 - momentum)."""
    rows = []
    for mu in momenta:
        steps = 300 + int(12 / (1 - mu))
        grid = np.array(rates)[:, None]
        *_, last = islice(walk(LANDSCAPES["double-well"], method, grid, mu, [starts]), steps + 1)
        rows.append(ends(last[0]))
    return np.stack(rows, axis=1)


# -- the study --------------------------------------------------------------------------------------------------------


def study(options: Options) -> Study:
    """What the races show: see races.py."""
    from .races import study

    return study(options)


def _known(what: str, name: str, names: Any) -> str:
    if name not in names:
        raise ValueError(f"there is no {what} {name!r}: use one of {', '.join(names)}")
    return name


def _count(steps: Any) -> int:
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ValueError(f"steps must be a whole number, 1 or more, got {steps!r}")
    return int(steps)
