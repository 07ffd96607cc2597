"""What the races over the landscapes show: which momentum is best, when it overshoots, whether it carries a ball out of
a well, and where it circles for ever. Each experiment is a function; study() runs them and turns them into claims.
landscapes.py has the landscapes and the runs; figures/landscapes.py draws what is measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from . import theory
from .landscapes import (  # fmt: skip
    BARRIER,
    GLOBAL,
    HOLD,
    LANDSCAPES,
    METHODS,
    RATES,
    WELLS,
    Array,
    Tuned,
    basins,
    race,
    run,
    times,
    tune_momentum,
    walk,
)
from .parallel import each
from .study import Animation, Claim, Figure, Options, Study, plain

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure as Drawing

RACED = ("ravine", "banana", "beale", "saddle", "monkey", "plateau")
BUDGET = 3000  # steps in a race
WELL_RATES = (0.01, 0.02)
STARTS = (3.0, 3.07, 3.2, 3.3, 3.46, 3.6)  # on Lessard's function: the four in the middle are caught


# -- which momentum? --------------------------------------------------------------------------------------------------


def banana_sweep(momenta: Sequence[float], rates: Sequence[float], steps: int) -> Array:
    """Steps to the goal, (momenta, rates); inf: not there, or not to stay, in `steps` steps."""
    return np.stack([times(LANDSCAPES["banana"], "momentum", rates, steps, mu)[0] for mu in momenta])


def overshoot(path: Array, minimum: float) -> float:
    """How far the first coordinate of a path (steps, coordinates) goes past the minimum, as a share of the way."""
    return float((path[:, 0].max() - minimum) / (minimum - path[0, 0]))


def same_rate(name: str, rate: float, steps: int, momenta: Sequence[float] = (0.9,)) -> dict[str, Array]:
    """Paths (steps + 1, 2) at one lr / (1 - momentum) for all: "gd" first, then "momentum 0.9", "nesterov 0.9" ..."""
    land = LANDSCAPES[name]
    paths = {"gd": run(land, "gd", rate, steps)}
    for mu in momenta:
        for method in ("momentum", "nesterov"):
            paths[f"{method} {mu:g}"] = run(land, method, rate * (1 - mu), steps, mu)
    return paths


def apart(path: Array, other: Array) -> float:
    """The farthest that the points of `path` are from the curve of `other`, as a share of that curve's length."""
    begin, way = other[:-1], np.diff(other, axis=0)
    square = np.maximum((way * way).sum(axis=1), 1e-300)
    worst = 0.0
    for place in path[:: max(1, len(path) // 400)]:
        along = np.clip(((place - begin) * way).sum(axis=1) / square, 0, 1)  # the nearest point of each piece
        worst = max(worst, np.hypot(*(begin + along[:, None] * way - place).T).min())
    return float(worst / np.sqrt(square).sum())


# -- off a saddle, over a plain, out of dents -------------------------------------------------------------------------


def saddle_growth(method: str, momentum: float | None, lr: float = 0.02) -> float:
    """The factor per step by which a run leaves the saddle, measured where f is a quadratic of curvature -0.05."""
    y = run(LANDSCAPES["saddle"], method, lr, 400, momentum, (0.0, 1e-12))[:, 1]
    return float((y[400] / y[300]) ** 0.01)


def steps_until(done: Callable[[Array], Any], name: str, method: str, momentum: float | None, lr: float) -> float:
    """Steps from the landscape's start until done(places); inf: not in 2500."""
    walking = islice(walk(LANDSCAPES[name], method, lr, momentum), 2501)
    return next((float(k) for k, places in enumerate(walking) if done(places)), np.inf)


def dents(method: str, rates: Array, starts: Array, steps: int) -> Array:
    """Rastrigin: the share of `starts`, (2, n), from which a run is in the global dent, |x| and |y| below 1/2, in all
    of its last HOLD steps: for each lr, (rates,)."""
    inside = np.ones((len(rates), starts.shape[1]), bool)
    walking = walk(LANDSCAPES["rastrigin"], method, rates[:, None], start=list(starts[:, None, :]))
    for places in islice(walking, steps + 1 - HOLD, steps + 1):
        inside &= np.abs(places).max(axis=0) < 0.5  # nan is not
    return np.asarray(inside.mean(axis=1))


# -- where momentum fails, and where steepness does not matter --------------------------------------------------------


def lessard_runs(method: str, lr: float, momentum: float | None, steps: int = 600) -> Array:
    """x after 0, 1 ... steps from each of STARTS: (steps + 1, starts)."""
    return run(LANDSCAPES["lessard"], method, lr, steps, momentum, [np.array(STARTS)])[:, 0]


def lessard_cycle() -> Array:
    """The three places that heavy ball with lr 1/9 and momentum 4/9 would circle through: p and r below 1, q above 2.
    9 q = -12 p - 4 r,  9 r = -12 q - 4 p + 24,  9 p = -12 r - 4 q."""
    return np.linalg.solve([[12.0, 9.0, 4.0], [4.0, 12.0, 9.0], [9.0, 4.0, 12.0]], [0.0, 24.0, 0.0])


def off_cycle(x: Array) -> Array:
    """How far the last 300 places of runs, (steps, runs), are from the cycle, in its order: (runs,)."""
    tail = x[-300:]
    turns = [np.abs(tail - np.resize(np.roll(lessard_cycle(), k), 300)[:, None]).max(axis=0) for k in range(3)]
    return np.asarray(np.min(turns, axis=0))


# -- the study: each part measures, and says what it found ------------------------------------------------------------

Shown = list[Figure | Animation]
Part = tuple[list[Claim], Shown, dict[str, Any]]
ENGINE = "our optimizers and autograd, float64"
GOH = "the banana of Goh, Why Momentum Really Works (Distill 2017)"
NOTICE = {
    "ravine": "momentum 0.9 swings to and fro: in so mild a ravine it is too much, and about 0.4 is right.",
    "banana": "gd and RMSprop creep along the floor; the four with a velocity are several times as fast.",
    "beale": "gd and RMSprop creep along the floor, as in the banana, and the others coast.",
    "saddle": "the flat stretch in Nesterov's and gd's curves, where they leave the pass; RMSprop, to which a small "
              "gradient is as good as a large one, has none.",
    "monkey": "gd stands still where the valleys meet, and momentum coasts over it into the valley opposite.",
    "plateau": "how long f stays where it was, and that some run through the hole and have to come back.",
}  # fmt: skip


def all_races(options: Options) -> Part:
    """Every method, its lr chosen by one rule, on every landscape; and momentum with its mu chosen too."""
    momenta = (0.3, 0.4, 0.5, 0.6, 0.9) if options.quick else (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    raced = {name: race(LANDSCAPES[name], BUDGET) for name in RACED}
    best = {name: tune_momentum(LANDSCAPES[name], "momentum", BUDGET, momenta)
            for name in (("ravine",) if options.quick else RACED)}  # fmt: skip
    steps = {name: {tuned.method: tuned.steps for tuned in row} for name, row in raced.items()}
    ravine, banana, beale, plain_field = steps["ravine"], steps["banana"], steps["beale"], steps["plateau"]
    winners = {min(row, key=lambda tuned: tuned.steps).method for row in raced.values()}
    rule = f"{ENGINE}; lr of each: of {len(RATES)} the one with the fewest steps to stay within 0.01 of a minimum"
    # Rates per step in the ravine, kappa = 20: how many times the steps of gd? Heavy ball's is never below sqrt(mu).
    gd, ball = (-np.log(theory.optimal(20.0, method).rate) for method in ("gd", "momentum"))
    at_09 = -np.log(np.sqrt(0.9)) / gd
    claims = [
        Claim("In a ravine 20 times as steep as long, momentum 0.9 is slower than gd, both tuned: gd's steps over its",
              ravine["gd"] / ravine["momentum"], 0.8 * at_09, 0.99, f"{rule}; theory: {at_09:.2f} after many steps"),
        Claim("With its momentum tuned too, heavy ball needs less than half of gd's steps there: gd's steps over its",
              ravine["gd"] / best["ravine"].steps, 2, ball / gd, f"{rule}; theory: at most {ball / gd:.2f}"),
        Claim("The best momentum in that ravine is far below 0.9", best["ravine"].momentum or 0, 0.3, 0.6,
              f"{rule}; theory: {theory.optimal(20.0).momentum:.2f}"),
        Claim("In the bent valley momentum 0.9 needs at least 5 times fewer steps than gd, both tuned",
              banana["gd"] / banana["momentum"], 5, 50, f"{rule}; {GOH}"),
        Claim("Momentum helps RMSprop there, too: RMSprop's steps over those with momentum, both tuned",
              banana["rmsprop"] / banana["rmsprop-momentum"], 2, 20, f"{rule}; {GOH}"),
        Claim("On Beale's function momentum 0.9 pays, too: gd's steps over its, both tuned",
              beale["gd"] / beale["momentum"], 1.5, 10, rule),
        Claim("On Beale's function so does Nesterov's: gd's steps over its, both tuned",
              beale["gd"] / beale["nesterov"], 1.5, 10, rule),
        Claim("Over the plain, momentum 0.9 is slower than gd, both tuned: it runs past the hole; gd's steps over its",
              plain_field["gd"] / plain_field["momentum"], 0.2, 0.99, rule),
        Claim("No method wins everywhere: different winners on six landscapes", len(winners), 2, 6, rule),
    ]  # fmt: skip
    figures: Shown = [
        _figure("steps", f"Steps to the goal, the lr of each method tuned by one rule (the best of {len(RATES)}). "
                "Notice that the order changes from landscape to landscape.",
                lambda pictures: pictures.summary(raced, best)),
    ]  # fmt: skip
    for name in RACED:
        land = LANDSCAPES[name]
        caption = f"{land.formula}: {land.lesson}. The paths, and how f falls. Notice {NOTICE[name]}"
        figures.append(_figure(name, caption, _draw_race(name, raced, best)))
    figures.append(
        _film("banana-race", "The race in the bent valley, the lr of each tuned by one rule. Notice that gd and "
              "RMSprop walk where those with a velocity run.",
              lambda pictures: pictures.race_film(LANDSCAPES["banana"], raced["banana"]))
    )  # fmt: skip
    data = {name: [_row(tuned) for tuned in row] for name, row in raced.items()}
    return claims, figures, {"tuned": data, "momentum tuned too": {name: _row(tuned) for name, tuned in best.items()}}


def _draw_race(name: str, raced: dict[str, list[Tuned]], best: dict[str, Tuned]) -> Callable[[Any], Drawing]:
    return lambda pictures: pictures.race(LANDSCAPES[name], raced[name], best.get(name))


def _row(tuned: Tuned) -> dict[str, Any]:
    return {"method": tuned.method, "momentum": tuned.momentum, "lr": tuned.lr, "steps": tuned.steps}


def which_momentum(options: Options) -> Part:
    """The banana at fixed learning rates: steps against momentum."""
    if options.quick:
        momenta, rates, steps = [0, 0.5, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99], [0.0005, 0.002, 0.004], 2000
    else:
        momenta, rates = [0, 0.3, 0.5, 0.6, 0.7, 0.75, *np.arange(80, 100) / 100], [0.0005, 0.001, 0.002, 0.003, 0.004]
        steps = 4000
    land = LANDSCAPES["banana"]
    found = banana_sweep(momenta, rates, steps)
    best = [momenta[k] for k in found.argmin(axis=0)]
    took = dict(zip(momenta, found[:, rates.index(0.002)]))
    shown = {mu: run(land, "momentum", 0.002, 400, mu) for mu in (0, 0.5, 0.9, 0.99)}
    lost = run(land, "momentum", 0.004, steps, 0.99)[-1]
    source = f"{ENGINE}; {GOH}, from (-1.21, 0.853), steps to stay within 0.01 of the minimum"
    claims = [
        Claim("In the bent valley at lr 0.002, momentum 0.9 needs at least 10 times fewer steps than gd",
              took[0] / took[0.9], 10, 60, source),
        Claim("In that valley 0.99 needs more steps than 0.9: times as many", took[0.99] / took[0.9], 2, 50, source),
        Claim("0.99 overshoots there: it runs past the minimum by this share of the way", overshoot(shown[0.99], 1.0),
              0.2, 1, source),
        Claim("0.9 hardly overshoots there", overshoot(shown[0.9], 1.0), -0.01, 0.05, source),
        Claim("The best momentum depends on lr: there it is higher at lr 0.0005 than at 0.004, by", best[0] - best[-1],
              0.05, 0.3, f"{source}; {len(momenta)} values of momentum"),
        Claim("At lr 0.004 momentum 0.99 diverges there: finite coordinates at the end", np.isfinite(lost).sum(), 0, 0,
              f"{ENGINE}; {GOH}, {steps} steps"),
    ]  # fmt: skip
    figures: Shown = [
        _figure("banana-momentum", "The bent valley at lr 0.002 with four values of momentum. Notice that 0.9 runs "
                "down the valley and stops, and that 0.99 shoots out of it and comes back late.",
                lambda pictures: pictures.momentum_panels(land, shown, {mu: took[mu] for mu in shown}, 0.002)),
        _figure("best-momentum", "Steps to the minimum of the bent valley, against momentum, a line for each lr; the "
                "ring marks the best. Notice that it moves to the left as lr grows.",
                lambda pictures: pictures.best_momentum(momenta, rates, found, steps)),
    ]  # fmt: skip
    return claims, figures, {"momenta": momenta, "rates": rates, "steps": found, "best": best}


def same_rates(options: Options) -> Part:
    """lr / (1 - momentum) the same for all: when it is small, and when not. And what steepness is to RMSprop."""
    land, small, large = LANDSCAPES["ravine"], 0.005, 0.3
    paths = {small: same_rate("ravine", small, 3000), large: same_rate("ravine", large, 300)}
    gaps = {rate: max(apart(path, row["gd"]) for path in row.values()) for rate, row in paths.items()}
    alike = {method: run(land, method, lr, 300, start=(-2.0, -2.0))
             for method, lr in (("gd", 0.2), ("momentum", 0.02), ("rmsprop", 0.02))}  # fmt: skip
    between = {method: np.abs(path[:, 0] - path[:, 1]).max() for method, path in alike.items()}
    source = f"{ENGINE}; ravine, momentum and Nesterov 0.9 beside gd; theory: v goes to g / (1 - mu)"
    claims = [
        Claim(f"At one small lr / (1 - momentum), {small}, all take the same path: greatest distance over its length",
              gaps[small], 0, 0.02, source),
        Claim(f"At a large one, {large}, they do not: how many times as far apart they get", gaps[large] / gaps[small],
              4, 100, source),
        Claim("RMSprop does not see steepness: from (-2, -2) in the ravine, x and y differ by no more than",
              between["rmsprop"], 0, 1e-6, f"{ENGINE}; g / sqrt(mean g^2) is one for 0.2 x and 4 y, but for eps"),
        Claim("gd does see steepness: x and y differ by up to", between["gd"], 1.763, 1.764,
              f"{ENGINE}; lr 0.2; exact: 2 (0.96^2 - 0.2^2), after two steps"),
    ]  # fmt: skip
    figures: Shown = [
        _figure("same-rate", "The same lr / (1 - momentum) for all three: small on the left, large on the right. "
                "Notice that on the left one sees but one path: there, momentum is nothing but a larger lr.",
                lambda pictures: pictures.same_rate(land, paths, gaps)),
        _figure("steepness", "From (-2, -2) in the ravine, 20 times as steep in y as in x. Notice that RMSprop goes "
                "straight along the diagonal: it divides the steepness away.",
                lambda pictures: pictures.steepness(land, alike)),
    ]  # fmt: skip
    return claims, figures, {"greatest distance over length, by lr / (1 - momentum)": gaps, "x - y": between}


def wells(options: Options) -> Part:
    """The tilted double well: which starts end where, for each momentum."""
    momenta = 1 - np.geomspace(1, 0.01, 11 if options.quick else 101)  # 0 ... 0.9 ... 0.99
    starts = np.linspace(-3, 3, 121 if options.quick else 241)
    maps = {method: basins(method, WELL_RATES, momenta, starts) for method in ("momentum", "nesterov")}
    land, lr, (deep, shallow) = LANDSCAPES["double-well"], 0.01, WELLS
    shown = {mu: run(land, "momentum", lr, 600, mu)[:, 0] for mu in (0, 0.9, 0.95, 0.99)}
    nesterov = float(run(land, "nesterov", lr, 600, 0.95)[-1, 0])
    near = [np.array([shallow - 0.1, shallow + 0.1])]
    still = max(float(np.abs(run(land, "momentum", lr, 3000, mu, near)[-1, 0] - shallow).max()) for mu in shown)
    at = maps["momentum"][WELL_RATES.index(lr), [0, int(np.abs(momenta - 0.9).argmin())]]  # gd, and momentum 0.9
    won, right = at == GLOBAL, starts > BARRIER
    out, lost = won[:, right].mean(axis=1), 1 - won[:, ~right].mean(axis=1)
    source = f"{ENGINE}; (x^2 - 1)^2 + 0.3 x, lr 0.01, from x = 2"
    many = f"{ENGINE}; {len(starts)} starts in [-3, 3], lr 0.01"
    claims = [
        Claim("Without momentum the ball rests in the first well that it meets, the local minimum at +0.960",
              shown[0][-1], shallow - 1e-3, shallow + 1e-3, source),
        Claim("Momentum 0.9 carries a ball through the poor well, to the global minimum: it ends at x",
              shown[0.9][-1], deep - 1e-3, deep + 1e-3, source),
        Claim("Momentum 0.95 carries it there and back to the poor one: more is not better; it ends at x",
              shown[0.95][-1], shallow - 1e-3, shallow + 1e-3, source),
        Claim("Nesterov's 0.95 stays at the global one, -1.036", nesterov, deep - 1e-3, deep + 1e-3, source),
        Claim("A ball at rest in the poor well stays, whatever its momentum: without noise nothing lifts it; "
              "farthest end",
              still, 0, 1e-3, f"{ENGINE}; momentum 0 to 0.99, from 0.1 to either side of the minimum, 3000 steps"),
        Claim("gd never leaves its well: share of the right-hand starts that end at the global minimum", out[0], 0, 0,
              many),
        Claim("With speed some of them run through the poor well: the same share with momentum 0.9", out[1],
              0.2, 0.5, many),
        Claim("Momentum 0.9 takes others away: share of the left-hand starts that lose the global minimum", lost[1],
              0.1, 0.4, many),
        Claim("All in all momentum 0.9 gains little: share of all that end at the global minimum, less gd's",
              won[1].mean() - won[0].mean(), 0, 0.2, many),
    ]  # fmt: skip
    figures: Shown = [
        _figure("well", "A ball that starts at x = 2, lr 0.01. Notice that 0.9 leaves it in the deeper well, 0.95 does "
                "not, and 0.99 does, after many swings.", lambda pictures: pictures.well(land, shown)),
        _figure("basins", "Where the ball comes to rest, for each start and momentum. Notice the stripes: near their "
                "edges a little more momentum, or less, changes the well.",
                lambda pictures: pictures.basins(maps, WELL_RATES, momenta, starts)),
        _film("well-film", "The same ball with momentum 0, 0.9 and 0.95. Notice that the last one crosses the barrier "
              "twice.", lambda pictures: pictures.well_film(land, {mu: shown[mu] for mu in (0, 0.9, 0.95)})),
    ]  # fmt: skip
    rows = {method: [["".join(map(str, row)) for row in one] for one in found] for method, found in maps.items()}
    data = {"momenta": momenta, "starts": starts, "rates": WELL_RATES, "ends: method, rate, momentum": rows}
    return claims, figures, {**data, "a digit for each start": "0 global, 1 local, 2 still moving, 3 diverged"}


def saddles(options: Options) -> Part:
    """How fast runs leave a saddle, and cross a plain, at one lr for all."""
    cases: dict[str, tuple[str, float | None]] = {
        "gd": ("gd", None), "momentum 0.5": ("momentum", 0.5), "momentum 0.9": ("momentum", 0.9),
        "momentum 0.99": ("momentum", 0.99), "nesterov 0.9": ("nesterov", 0.9), "nesterov 0.99": ("nesterov", 0.99),
    }  # fmt: skip
    growth = {name: saddle_growth(*case) for name, case in cases.items()}
    off = [growth[name] - theory.saddle_growth(0.001, mu or 0, method == "nesterov")
           for name, (method, mu) in cases.items()]  # fmt: skip
    leave = {name: steps_until(lambda w: abs(w[1]) >= 0.5, "saddle", *case, 0.1) for name, case in cases.items()}
    hole = LANDSCAPES["plateau"].values
    cross = {name: steps_until(lambda w: hole(w) < 0.5, "plateau", *case, 0.2) for name, case in cases.items()}
    speed = {name: np.log(value) / np.log(growth["gd"]) for name, value in growth.items()}
    source = f"{ENGINE}; curvature -0.05, lr 0.02, 1e-12 beside the saddle"
    claims = [
        Claim("Beside a saddle, runs grow by the factor that theory predicts: greatest difference of six",
              np.abs(off).max(), 0, 1e-8, f"{source}; the larger root of a step"),
        Claim("Where a saddle bends little, momentum 0.9 leaves it about 10 times as fast as gd",
              speed["momentum 0.9"], 9, 10,
              f"{source}; 1 / (1 - mu) while lr |curvature| is far below (1 - mu)^2"),
        Claim("Momentum 0.99 leaves that saddle only 27 times as fast as gd, not 100", speed["momentum 0.99"],
              26, 28, source),
        Claim("Steps to leave the saddle at lr 0.1: gd's over momentum 0.9's", leave["gd"] / leave["momentum 0.9"],
              4, 10, f"{ENGINE}; from (1, 0.001) until |y| = 1/2; at most 1 / (1 - mu) times"),
        Claim("Steps to cross the plain at lr 0.2: gd's over momentum 0.9's", cross["gd"] / cross["momentum 0.9"],
              3, 10, f"{ENGINE}; from (-4.5, 1) until f = 1/2; at most 1 / (1 - mu) times"),
    ]  # fmt: skip
    figures: Shown = [
        _figure("leaving", "At one lr for all: steps to leave the saddle (lr 0.1) and to cross the plain (lr 0.2). "
                "Notice that 0.99 brings less over 0.9 than 0.9 over 0: there is no time to gather speed.",
                lambda pictures: pictures.leaving(leave, cross)),
    ]  # fmt: skip
    return claims, figures, {"growth": growth, "times gd's": speed, "steps to leave": leave, "steps to cross": cross}


def all_dents(options: Options) -> Part:
    """Rastrigin: from how many random starts does each method end in the global dent, at every lr of a fine scan?"""
    rng = np.random.default_rng(options.seed)
    n, steps = (8, 500) if options.quick else (60, 1000)
    rates, box = np.geomspace(1e-3, 1, 240), LANDSCAPES["rastrigin"].box[0]
    shares, fresh, best = {}, {}, {}
    for method in METHODS:
        shares[method] = dents(method, rates, rng.uniform(*box, (2, n)), steps)
        best[method] = float(rates[shares[method].argmax()])
        fresh[method] = float(dents(method, np.array([best[method]]), rng.uniform(*box, (2, 1000)), steps)[0])
    ends = run(LANDSCAPES["rastrigin"], "gd", best["gd"], steps, start=list(rng.uniform(*box, (2, 200))))[-1]
    rest = float(LANDSCAPES["rastrigin"].arrived(ends).mean())
    source = f"{ENGINE}; Rastrigin's function, {steps} steps, the best of {len(rates)} lr's, then 1000 fresh starts"
    claims = [
        Claim("Momentum 0.9 does not find the deepest of 121 dents: share of random starts, at its best lr",
              fresh["momentum"], 0, 0.1, f"{source}; the dent is 1/105 of the box"),
        Claim("gd, at an lr unstable in every dent, jumps about for ever, in the end around the deepest: share of "
              "starts",
              fresh["gd"], 0.8, 1, f"{source}; lr h is {best['gd'] * (2 + 40 * np.pi**2):.2g} at the bottom, above 2"),
        Claim("It does not come to rest there: share of those starts that end within 0.01 of the minimum", rest, 0,
              0.05, source),
        Claim("Hardly any lr will do even that for gd: share of them that bring more than half of the starts there",
              (shares["gd"] > 0.5).mean(), 0.001, 0.05, source),
    ]  # fmt: skip
    figures: Shown = [
        _figure("dents", "Rastrigin's bowl: the share of random starts that end in the deepest dent, for each lr. "
                "Notice that a lucky lr is what counts: one at which no dent can hold a run, and it jumps about until "
                "it is caught around the deepest, without ever coming to rest. Heavy ball has none.",
                lambda pictures: pictures.dents(LANDSCAPES["rastrigin"], rates, shares, best)),
    ]  # fmt: skip
    return claims, figures, {"rates": rates, "shares": shares, "best lr": best, "share of 1000 fresh starts": fresh}


def lessard(options: Options) -> Part:
    """A convex function on which momentum with the best settings for quadratics never arrives."""
    circling = lessard_runs("momentum", 1 / 9, 4 / 9)
    gd, wild = lessard_runs("gd", 1 / 13, None), lessard_runs("gd", 1 / 9, None)
    nesterov = lessard_runs("nesterov", 1 / 25, 2 / 3)
    away = off_cycle(circling)
    source = f"{ENGINE}; f' = 25 x, x + 24, 25 x - 24; Lessard, Recht and Packard 2016, SIAM J. Optim. 26(1)"
    claims = [
        Claim("Momentum 4/9 with lr 1/9, the best for curvatures from 1 to 25, circles for ever through -1.802449, "
              "2.115918 and 0.646531: distance from them, from four starts", away[1:-1].max(), 0, 1e-5, source),
        Claim("From 3.0 and 3.6 momentum arrives on that function: |x| at the end",
              np.abs(circling[-1, [0, -1]]).max(), 0, 1e-6, source),
        Claim("gd with its own best lr, 1/13, arrives there from all six starts: |x|", np.abs(gd[-1]).max(), 0, 1e-6,
              source),
        Claim("Nesterov with lr 1/25 and momentum 2/3 arrives there, too: |x|", np.abs(nesterov[-1]).max(), 0, 1e-6,
              f"{source}; for Nesterov it is proved, on every strongly convex f (Nesterov 2004)"),
        Claim("At momentum's lr, 1/9, which is above 2/25, gd diverges there: so many of six",
              (~(np.abs(wild[-1]) < 1e9)).sum(), 6, 6, source),
    ]  # fmt: skip
    figures: Shown = [
        _figure("lessard", "A convex function's slope, the three places between which momentum circles, and x from "
                "three starts. Notice that the middle one never arrives, though f has but one minimum.",
                lambda pictures: pictures.lessard(LANDSCAPES["lessard"], lessard_cycle(), circling, gd)),
    ]  # fmt: skip
    return claims, figures, {"starts": STARTS, "cycle": lessard_cycle(), "distance from it": away}


PARTS: dict[str, Callable[[Options], Part]] = {
    "races": all_races, "momentum": which_momentum, "same rate": same_rates, "wells": wells, "saddles": saddles,
    "dents": all_dents, "lessard": lessard,
}  # fmt: skip


def study(options: Options) -> Study:
    """All parts. options.quick: fewer values of momentum, starts and steps; the claims are the same."""
    whole = Study("landscapes", "Landscapes: races that one can see", (
        "Optimizers race over small landscapes. The lr of each is chosen by one rule, so that none is slow only "
        "because its lr was. In a long bent valley momentum wins by far; on milder ground 0.9 is too much, and less of "
        "it, or Nesterov's, or none is quicker. It may carry a ball through a poor well, into one, or there and back: "
        "whether it helps depends on the start, the lr and the momentum together."
    ))  # fmt: skip
    figures: Shown = []
    items = [(name, options) for name in PARTS]
    for k, (claims, shown, data) in each(_part, items, title="landscapes", quiet=options.quiet):
        whole.claims += claims
        figures += shown
        whole.data[items[k][0]] = plain(data)
    whole.figures = figures
    return whole


def _part(item: tuple[str, Options]) -> Part:
    name, options = item
    return PARTS[name](options)


def _pictures() -> Any:
    from .figures import landscapes as pictures  # needs matplotlib, which claims do not

    return pictures


def _figure(name: str, caption: str, draw: Callable[[Any], Drawing]) -> Figure:
    return Figure(f"landscapes-{name}", caption, lambda: draw(_pictures()))


def _film(name: str, caption: str, animate: Callable[[Any], FuncAnimation]) -> Animation:
    return Animation(f"landscapes-{name}", caption, lambda: animate(_pictures()))
