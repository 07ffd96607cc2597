"""Theory held against runs: every formula of theory.py beside what optim.SGD does on a parabola (parabola.py has the
runs and the measures). Each part gives claims and data; `study` puts them together. Next: landscapes.py, or
figures/theory.py."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..optim import SGD, Optimizer, RMSprop
from ..optim.lr_scheduler import MultiStepLR
from ..tensor import Tensor
from . import theory
from .parabola import descend, lengths, measured_rate, run, sign_changes, steps_to
from .study import Claim, Figure, Options, Study, plain
from .theory import Values

Found: TypeAlias = tuple[list[Claim], dict[str, Any]]

FORMS = {"momentum": False, "Nesterov": True}  # nesterov=
BAND = 4.5  # standard errors: a correct formula fails less than once in 100,000 comparisons


def near(text: str, measured: Any, predicted: Any, within: float, source: str) -> Claim:
    """The claim that all of `measured` are as predicted; its number is the largest |measured / predicted - 1|."""
    off = np.max(np.abs(np.asarray(measured) / np.asarray(predicted) - 1))  # NaN if one is NaN, and fails
    return Claim(f"{text} (worst relative difference)", off, 0, within, source)


# -- rates, ripples, and edges --------------------------------------------------------------------


def rates(options: Options) -> Found:
    """A grid of (lr_h, momentum): rate, sign changes and overshoot of each run against theory."""
    momenta = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99) if options.quick else (*np.arange(10) / 10, 0.95, 0.97, 0.99)
    points, steps = (40, 1000) if options.quick else (120, 4000)
    claims: list[Claim] = []
    data: dict[str, Any] = {"momenta": momenta}
    for name, form in FORMS.items():
        a, mu = np.broadcast_arrays(np.linspace(0.013, 2.1 if form else 4.2, points), np.array(momenta)[:, None])
        paths = [run(a[0], 1.0, each, steps, form) for each in momenta]
        rate, expected = np.array([measured_rate(path) for path in paths]), theory.spectral_radius(a, mu, form)
        changes, counted = np.array([sign_changes(path) for path in paths]).swapaxes(0, 1)
        theta, swing = theory.frequency(a, mu, form), np.array([np.max(-path, axis=0, initial=0) for path in paths])
        slow, many, calm = np.abs(np.log(expected)) > 1e-3, changes > 200, expected < 1  # slow: else no rate at all
        data[name] = {"lr_h": a[0], "rate": rate, "predicted": expected}
        chosen, critical = rate[:, a[0] < 1].argmin(axis=0), theory.critical_momentum(a[0][a[0] < 1], form)
        around = (momenta[0], *momenta, momenta[-1])
        beside = [around[k] <= best <= around[k + 2] for k, best in zip(chosen, critical)]
        what = f"SGD, {len(momenta)} momenta x {points} lr*h, beyond the edge to {a[0, -1]:g}; {steps} steps; Goh 2017"
        claims += [
            near(f"{name}: the error shrinks (or grows) per step by the size of the larger root", rate, expected, 0.005,
                 what),
            near(f"{name}: so many steps per digit as the logarithm of that root says", np.log(rate[slow]),
                 np.log(expected[slow]), 0.05, what + "; near equal roots there is a factor k"),
            Claim(f"{name}: the number of sign changes is steps x theta / pi, to within one (worst gap)",
                  np.max(np.abs(changes - counted * theta / np.pi)), 0, 1, what),
            near(f"{name}: the frequency of ripples is theta / pi", changes[many] / counted[many], theta[many] / np.pi,
                 0.01, what + "; runs with more than 200 changes, so the count resolves 0.5 %"),
            Claim(f"{name}: for each lr*h below 1 the fastest momentum of the grid is beside the critical one (share)",
                  np.mean(beside), 1, 1, what + "; Qian 1999"),
            Claim(f"{name}: every run that converges overshoots just as far as the formula says (largest difference)",
                  np.max(np.abs(swing - theory.overshoot(a, mu, form))[calm]), 0, 1e-9, what + "; in units of w_0"),
        ]  # fmt: skip
    return claims, data


def edges(options: Options) -> Found:
    """Where runs begin to diverge, and where they begin to swing, found on fine grids of lr_h that know no theory."""
    spacing, steps = (0.01, 1000) if options.quick else (0.002, 4000)
    wide, narrow = np.arange(0.5, 4.2, spacing), np.geomspace(1e-4, 1, 921)
    few, root = (0.5, 0.81, 0.9), np.sqrt([0.5, 0.81, 0.9])
    edge = {"momentum": (1 - root) ** 2, "Nesterov": ((1 - root**2) / (1 + root**2)) ** 2}
    said = {"momentum": ("2 + 2 mu (gradient descent: 2)", "(1 - sqrt(mu))^2"),
            "Nesterov": ("(2 + 2 mu) / (1 + 2 mu)", "((1 - mu) / (1 + mu))^2")}  # fmt: skip
    claims: list[Claim] = []
    data: dict[str, Any] = {"spacing": spacing}
    for name, form in FORMS.items():
        momenta = (0.5, 0.9, 0.99) if form else (0.0, 0.5, 0.9, 0.99)
        limits, criticals = [], []
        for mu in momenta:
            size = np.abs(run(wide, 1.0, mu, steps, form))
            shrinks = size[-steps // 4 :].max(axis=0) <= size[steps // 4 : steps // 2].max(axis=0)
            limits.append(_first(wide, ~shrinks | ~np.isfinite(size[-1])))
        for mu in few:
            criticals.append(_first(narrow, sign_changes(run(narrow, 1.0, mu, 1000, form))[0] > 0))
        data[name] = {"momenta": momenta, "limits": limits, "criticals": criticals}
        claims += [
            near(f"{name}: converges for lr*h just below {said[name][0]}, and diverges just above", limits,
                 theory.stability_limit(momenta, form), spacing,
                 f"the first of {len(wide)} runs, {spacing:g} apart, that grows; momentum {momenta}"),
            near(f"{name}: swings begin where the roots meet, at lr*h = {said[name][1]}", criticals, edge[name], 0.0125,
                 f"the first of 921 runs, 1 % apart in lr*h, that changes its sign; momentum {few}; Qian 1999"),
        ]  # fmt: skip
    return claims, data


def _first(values: Values, found: Values) -> float:
    """The middle between the first value at which something is found, and the one before; NaN if there is none."""
    k = int(np.argmax(found))
    return float(values[k - 1] + values[k]) / 2 if k else math.nan


def damping(options: Options) -> Found:
    """lr * h = 0.01, where theory says that 0.81 is critical: over-damped, critical, ripples, and the 0.99 swing."""
    momenta = [0.5, *(round(0.76 + k / 100, 2) for k in range(11)), 0.9, 0.95, 0.99]
    path = np.stack([run(1.0, 0.01, mu, 400) for mu in momenta], axis=1)
    changes, swing = sign_changes(path)[0], np.max(-path, axis=0, initial=0)
    what = "SGD on h = 1, lr = 0.01, 400 steps; momentum 0.5, 0.76, 0.77 ... 0.86, 0.9, 0.95, 0.99"
    claims = [
        Claim("At lr*h = 0.01 no momentum up to (1 - sqrt(lr*h))^2 = 0.81 makes w change its sign (changes)",
              max(n for mu, n in zip(momenta, changes) if mu <= 0.81), 0, 0, what + "; Qian 1999"),
        Claim("... and the first momentum above it does", next((mu for mu, n in zip(momenta, changes) if n), math.nan),
              0.815, 0.825, what),
        Claim("... and 0.81 is the fastest of them all (which one)", momenta[int(measured_rate(path).argmin())], 0.805,
              0.815, what + "; measured rate"),
    ]  # fmt: skip
    for mu in (0.81, 0.9, 0.95, 0.99):
        text = "overshoots by this part of the way, as predicted" if mu > 0.81 else "does not overshoot"
        far = float(theory.overshoot(0.01, mu))
        claims.append(Claim(f"At lr*h = 0.01 momentum {mu} {text}", swing[momenta.index(mu)], max(0, far - 1e-9),
                            far + 1e-9, what + "; the formula is in theory.overshoot"))  # fmt: skip
    stems = [
        ("over-damped", 0.03, 0.4), ("critically damped", 0.03, float(theory.critical_momentum(0.03))),
        ("under-damped", 0.03, 0.93), ("under-damped, fast ripples", 2.6, 0.85), ("oscillating", 1.95, 0.1),
        ("diverging", 3.06, 0.5),
    ]  # fmt: skip
    paths = [run(1.0, a, mu, 60) for _, a, mu in stems]
    right = [looks(w) == name and name.startswith(theory.regime(a, mu)) for w, (name, a, mu) in zip(paths, stems)]
    claims.append(Claim("Six runs look as theory calls their regimes (how many)", sum(right), 6, 6,
                        "SGD, 60 steps each: signs and sizes of w, against theory.regime"))  # fmt: skip
    rest = [int(np.flatnonzero(np.abs(w) > 0.01)[-1]) for w in paths[:3]]  # the last step that is not yet near 0
    claims.append(Claim("Of the three with lr*h = 0.03 the critical run is soonest at rest (steps / the next one's)",
                        rest[1] / min(rest[0], rest[2]), 0, 0.8, "the same runs; at rest: |w| <= 0.01"))  # fmt: skip
    show = [0.5, 0.81, 0.9, 0.99]
    return claims, {"momenta": show, "path": path[:, [momenta.index(mu) for mu in show]], "stems": stems,
                    "paths": paths}  # fmt: skip


def looks(path: Values) -> str:
    """The regime that a single run of 60 steps shows, by its signs and sizes alone."""
    changes, steps = (int(n) for n in sign_changes(path))
    if np.abs(path[-10:]).max() > np.abs(path[:10]).max():
        return "diverging"
    if changes == steps:
        return "oscillating"
    if changes:
        return "under-damped" if changes < steps / 4 else "under-damped, fast ripples"
    ratio = path[11:21] / path[10:20]  # a sum of two unequal powers settles to one factor; k s^k goes on falling
    return "over-damped" if ratio[0] - ratio[-1] < 1e-4 else "critically damped"


# -- the best values ------------------------------------------------------------------------------


def best(options: Options) -> Found:
    """The best lr and momentum of each method on a spectrum of 50 curvatures from 1 to kappa: rates and steps."""
    kappas = (10, 100, 1000) if options.quick else (10, 30, 100, 300, 1000, 3000)
    what = f"SGD on 50 curvatures from 1 to kappa = {', '.join(map(str, kappas))}"
    table: dict[str, dict[str, list[float]]] = {}
    series, claims, off = {}, [], 0.0
    for method in theory.METHODS:
        form = method.startswith("nesterov")
        row = table[method] = {"predicted": [], "rate": [], "steps": []}
        for kappa in kappas:
            h, (lr, mu, rate) = np.geomspace(1, kappa, 50), theory.optimal(kappa, method)
            short, long = (math.ceil(-logs / math.log(rate)) for logs in (16, 140))  # equal roots want longer runs
            size = lengths(run(h, lr, mu, short if method == "gd" else long, form))
            for name, number in (("predicted", rate), ("rate", float(measured_rate(size))), ("steps", steps_to(size))):
                row[name].append(number)
            off = max(off, abs(row["steps"][-1] - steps_to(lengths(theory.trajectory(lr * h, mu, short, form)))))
            if kappa == 100:
                series[method] = size[:700] / size[0]
        claims.append(near(f"{method}: its best lr and momentum give the predicted rate on every spectrum", row["rate"],
                           row["predicted"], 0.01, what + "; Lessard, Recht and Packard 2016, Prop. 1"))  # fmt: skip
    claims.append(Claim("The recurrence predicts all numbers of steps to an error of 1e-6 (largest difference)", off,
                        0, 1, what + "; theory.trajectory"))  # fmt: skip
    last = kappas.index(1000)
    for fast, slow in (("momentum", "gd"), ("nesterov", "gd"), ("momentum", "nesterov")):
        most = math.log(table[fast]["predicted"][last]) / math.log(table[slow]["predicted"][last])
        claims.append(Claim(f"{fast} speeds up: at kappa = 1000 {slow} needs this many times its steps to 1e-6",
                            table[slow]["steps"][last] / table[fast]["steps"][last], max(1.05, most / 2), most,
                            what + "; at most the ratio of the logarithms of the rates, and at least half of it, since "
                                   "the factor k of equal roots costs steps at first"))  # fmt: skip
    for method, power in (("gd", 1.0), ("momentum", 0.5), ("nesterov", 0.5)):
        logs = [math.log(-math.log(table[method]["rate"][kappas.index(kappa)])) for kappa in (100, 1000)]
        claims.append(Claim(f"{method}: steps per digit grow as kappa to the power {power:g}",
                            (logs[0] - logs[1]) / math.log(10), power - 0.05, power + 0.05,
                            what + "; slope of the measured rates from kappa = 100 to 1000"))  # fmt: skip
    return claims, {"kappas": kappas, "table": table, "series": series}


def grid_search(options: Options) -> Found:
    """The best lr and momentum found by trying: real runs over a grid, then over a finer one around the best."""
    kappa, steps, points = 100, 300 if options.quick else 600, 18 if options.quick else 40
    h = np.geomspace(1, kappa, 12)
    lrs, momenta = np.geomspace(0.005, 0.06, points), np.linspace(0.3, 0.96, points)
    maps: list[dict[str, Any]] = []
    for _ in range(2):
        rate = np.array([measured_rate(lengths(run(np.outer(lrs, h), 1.0, float(mu), steps))) for mu in momenta])
        row, column = np.unravel_index(np.nanargmin(rate), rate.shape)
        found = {"lr": float(lrs[column]), "momentum": float(momenta[row]), "rate": float(rate[row, column])}
        maps.append({"lr": lrs, "momentum": momenta, "rate": rate, "found": found})
        lrs = np.geomspace(found["lr"] * 0.85, found["lr"] * 1.15, points)
        momenta = np.linspace(max(0.0, found["momentum"] - 0.08), min(0.99, found["momentum"] + 0.08), points)
    ideal, found = theory.optimal(kappa, "momentum"), maps[1]["found"]
    what = f"2 x {points * points} runs of {steps} steps on 12 curvatures from 1 to 100; best rate; Polyak 1964"
    claims = [
        Claim("Grid search finds momentum's best lr where theory puts it (found / predicted)", found["lr"] / ideal.lr,
              0.95, 1.05, what + "; the fine grid spans 15 % either way, and finite runs shift the best a little"),
        Claim("Grid search finds the best momentum where theory puts it (found - predicted)",
              found["momentum"] - ideal.momentum, -0.03, 0.03, what),
        Claim("... and no run is faster than the predicted best rate (found / predicted)", found["rate"] / ideal.rate,
              0.995, 1.02, what + "; runs are finite, so a little slack on both sides"),
    ]  # fmt: skip
    return claims, {"maps": maps, "predicted": ideal._asdict()}


# -- noise ----------------------------------------------------------------------------------------


def _noisy(rng: np.random.Generator, n: int, h: float, settings: dict[str, Any], steps: int) -> Values:
    """w after the last three of `steps` (>= 3) steps, (3, n), of n copies with gradients h w + e, where Var(e) = 1."""
    w = Tensor(np.zeros(n), requires_grad=True)
    errors = (rng.standard_normal(n) for _ in range(steps))
    return np.array(deque(descend(SGD([w], **settings), w, np.full(n, h), steps, errors), maxlen=3))


def noise(options: Options, lr: float = 0.1) -> Found:
    """What gradient noise leaves in the end, for one lr and for lr matched to one lr / (1 - mu); and how smooth the
    updates are. The n copies are independent, so a variance has the relative standard error sqrt(2 / n)."""
    rng, n = np.random.default_rng(options.seed), 10_000 if options.quick else 60_000
    momenta = (0.0, 0.5, 0.9, 0.99) if options.quick else (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
    rows: list[dict[str, Any]] = []
    error, smooth, claims = math.sqrt(2 / n), [], []
    for name, form in FORMS.items():
        floors, updates = [], []  # how far measurements are from theory, in standard errors
        for mu in momenta[form:]:  # Nesterov needs momentum > 0
            for matched in (False, True):
                settings = {"lr": lr * (1 - mu) if matched else lr, "momentum": mu, "nesterov": form}
                radius = float(theory.spectral_radius(settings["lr"], mu, form))
                steps = math.ceil(math.log(1e-5) / 2 / math.log(radius))  # then all but 1e-5 of the variance is in
                variance = float(np.square(_noisy(rng, n, 1.0, settings, steps)[-1]).mean())
                ideal = float(theory.steady_variance(settings["lr"], 1.0, mu, 1.0, form))
                floors.append((variance / ideal - 1) / error)
                rows.append({"momentum": mu, "form": name, "matched": matched, "variance": variance,
                             "predicted": ideal})  # fmt: skip
            if mu > 0:  # on a flat floor gradients are noise alone, and after these steps mu^steps < 0.001
                steps = math.ceil(math.log(1e-3) / math.log(mu)) + 2
                last = _noisy(rng, n, 0.0, {"lr": 1.0, "momentum": mu, "nesterov": form}, steps)
                before, after = np.diff(last, axis=0)
                ratio, correlation = (1 - mu) ** 2 * np.square(after).mean(), np.corrcoef(before, after)[0, 1]
                lag = float(theory.update_autocorrelation(mu, form))
                updates += [(ratio / theory.update_variance_ratio(mu, form) - 1) / error,
                            (correlation - lag) * math.sqrt(n) / (1 - lag**2)]  # fmt: skip
                smooth.append({"momentum": mu, "form": name, "variance": ratio, "correlation": correlation})
        also = "" if form else ": (1 - mu) / (1 + mu), and mu"
        claims += [
            Claim(f"{name}: noise keeps w moving with the predicted variance (worst gap, in standard errors)",
                  np.max(np.abs(floors)), 0, BAND, f"SGD, h = 1, {n} copies, gradients w + e; AR(2) variance"),
            Claim(f"{name} smooths the direction: variance and lag-1 correlation of updates are as predicted{also} "
                  "(worst gap, in standard errors)", np.max(np.abs(updates)), 0, BAND,
                  f"SGD on a flat floor, {n} copies, independent gradients"),
        ]  # fmt: skip
    at = {(r["momentum"], r["matched"]): r for r in rows if r["form"] == "momentum"}
    for mu, matched, text in ((0.9, False, "At one lr, momentum 0.9 raises the noise floor by about 1 / (1 - mu) = 10"),
                              (0.99, True, "At one lr / (1 - mu), even 0.99 hardly changes it")):  # fmt: skip
        measured, ideal = (at[mu, matched][key] / at[0.0, matched][key] for key in ("variance", "predicted"))
        slack = ideal * BAND * error * math.sqrt(2)
        claims.append(Claim(f"{text} (ratio to momentum 0)", measured, ideal - slack, ideal + slack,
                            f"the same runs, lr {lr:g} or {lr:g} (1 - mu); {BAND} standard errors"))  # fmt: skip
    return claims, {"rows": rows, "smooth": smooth, "n": n, "lr": lr}


# -- how far a step goes --------------------------------------------------------------------------


def effective(options: Options) -> Found:
    """The length of each step under a constant gradient of 1, for SGD, Nesterov, and RMSprop with momentum."""
    momenta, steps = (0.0, 0.5, 0.9, 0.95, 0.99), 1000  # 0.99^1000 < 1e-4
    claims: list[Claim] = []
    data: dict[str, Any] = {"momenta": momenta}
    what = f"optim, {steps} steps, momentum {momenta}"
    for name in ("momentum", "Nesterov", "RMSprop"):
        kind: type[Optimizer] = RMSprop if name == "RMSprop" else SGD
        more = [{"alpha": 0.9} if kind is RMSprop else {"nesterov": name == "Nesterov" and mu > 0} for mu in momenta]
        sizes = [constant(kind, steps, {"lr": 0.01, "momentum": mu, **also}) for mu, also in zip(momenta, more)]
        data[name] = np.array(sizes) / 0.01
        claims.append(near(f"{name}: under a constant gradient a step is lr / (1 - mu) long in the end",
                           0.01 * data[name][:, -1], theory.effective_lr(0.01, momenta), 1e-4, what))  # fmt: skip
        if kind is SGD:
            grown = theory.update_size(np.arange(1, steps + 1), np.array(momenta)[:, None], name == "Nesterov")
            claims.append(near(f"{name}: and it grows to that as 1 + mu + mu^2 + ...", data[name], grown, 1e-9, what))
    claims.append(near("RMSprop: its first step is lr / sqrt(1 - alpha) long, as its mean of squares starts at 0",
                       data["RMSprop"][:, 0], 0.1**-0.5, 1e-6, "the same runs, alpha = 0.9"))  # fmt: skip
    return claims, data


def constant(kind: type[Optimizer], steps: int, settings: dict[str, Any], milestones: Sequence[int] = ()) -> Values:
    """The lengths of an optimizer's steps on the slope f = w; lr falls to a tenth after each milestone's step."""
    w = Tensor(np.zeros(1), requires_grad=True)
    optimizer = kind([w], **settings)
    schedule = MultiStepLR(optimizer, milestones=list(milestones))
    places = [0.0]
    for _ in range(steps):
        optimizer.zero_grad()
        w.sum().backward()
        optimizer.step()
        schedule.step()
        places.append(w.item())
    return -np.diff(places)


def velocity_with_lr(lrs: Iterable[float], momentum: float) -> Values:
    """Sutskever's and Keras' form, which keeps lr inside the velocity: v <- momentum v - lr g, w <- w + v, with g = 1.
    The lengths of its steps. It is written out here, since tinygrad_m's SGD is the other form."""
    v, sizes = 0.0, []
    for lr in lrs:
        v = momentum * v - lr * 1.0
        sizes.append(-v)
    return np.array(sizes)


def schedule(options: Options) -> Found:
    """lr outside the velocity (ours) and inside it, where lr falls to a tenth: after step 1, and after step 60."""
    settings, mu = {"lr": 0.1, "momentum": 0.9}, 0.9
    first, second = constant(SGD, 3, settings, [1]).cumsum(), velocity_with_lr([0.1, 0.01, 0.01], mu).cumsum()
    outside, inside = constant(SGD, 120, settings, [60]), velocity_with_lr([0.1] * 60 + [0.01] * 60, mu)
    what = "SGD with MultiStepLR under a constant gradient, lr 0.1 -> 0.01, momentum 0.9"
    written = "the formula written out, lr 0.1 -> 0.01, momentum 0.9"
    claims = [
        Claim("lr outside the velocity (SGD here, PyTorch): after steps of lr 0.1, 0.01 w is at -0.119", -first[1],
              -0.119 - 1e-12, -0.119 + 1e-12, what + "; 0.1 + 0.01 (1 + mu)"),
        Claim("lr inside the velocity (Sutskever 2013, Keras): w is at -0.2, since the old lr goes on", -second[1],
              -0.2 - 1e-12, -0.2 + 1e-12, written + "; 0.1 + (0.1 mu + 0.01)"),
        Claim("Outside, the first step after the drop has a tenth of the length before it", outside[60] / outside[59],
              0.0999, 0.1001, what + " after 60 steps"),
        Claim("Inside, it still has mu + (1 - mu) / 10 of it", inside[60] / inside[59], 0.9099, 0.9101,
              written + " after 60 steps"),
        Claim("Inside, w coasts this much further after the drop: (0.1 - 0.01) mu / (1 - mu)^2 = 8.1",
              inside[60:].sum() - outside[60:].sum(), 8.07, 8.11, "both, over 60 steps: 0.9^60 = 0.2 % are to come"),
    ]  # fmt: skip
    return claims, {"outside": outside, "inside": inside, "momentum": mu}


def saddle(options: Options) -> Found:
    """How fast runs leave a saddle: growth along negative curvature, f = -h w^2 / 2."""
    momenta, sizes, steps = (0.0, 0.5, 0.9, 0.99), np.geomspace(1e-6, 1e-1, 11), 1600
    what = f"SGD, lr*|h| from 1e-6 to 0.1, {steps} steps, momentum {momenta}"
    claims: list[Claim] = []
    data: dict[str, Any] = {"momenta": momenta, "lr_h": sizes}
    for name, form in FORMS.items():
        data[name] = np.log([measured_rate(run(-sizes, 1.0, mu, steps, form)) for mu in momenta])
        expected = np.log(theory.saddle_growth(sizes, np.array(momenta)[:, None], form))
        claims.append(near(f"{name}: the logarithm of growth at a saddle is as predicted", data[name], expected, 1e-4,
                           what))  # fmt: skip
    gain = data["momentum"][3] / data["momentum"][0]
    claims += [
        Claim("At a very flat saddle, lr*|h| = 1e-6, momentum 0.99 is about 1 / (1 - mu) = 100 times as fast as gd",
              gain[0], 98, 100, what + "; ratio of log growths; 1 / (1 - mu) is for lr*|h| << (1 - mu)^2"),
        Claim("At lr*|h| = 0.001 it is 27 times as fast, not 100", gain[int(np.argmin(np.abs(sizes - 1e-3)))], 26, 28,
              what + "; the formula's ratio is 27.1"),
    ]  # fmt: skip
    return claims, data


# -- all of it ------------------------------------------------------------------------------------

PARTS = {
    "rates": rates, "edges": edges, "damping": damping, "best": best, "grid": grid_search, "noise": noise,
    "effective": effective, "schedule": schedule, "saddle": saddle,
}  # fmt: skip

FIGURES = {  # name: (part, caption)
    "regimes": ("rates", "How fast runs converge, for every lr*h and momentum. The background is theory, each dot a "
                "run in the colour of its measured rate, each cross a run that diverged. Notice that the dots vanish "
                "in the background, that momentum widens the range of lr and Nesterov narrows it again, and that for "
                "each lr*h below 1 the fastest momentum is the critical one."),
    "ripples": ("damping", "What the regimes look like: w at each step of six runs. Notice the signs: they never "
                "change, change now and then, or change at every step; and that of the first three, which share one "
                "lr*h, the critical run is soonest at rest."),
    "damping": ("damping", "One curvature, lr*h = 0.01, and four momenta: w over time, and velocity against w. Notice "
                "that 0.81 is the fastest without swinging back, and how far 0.99 swings."),
    "kappa": ("best", "Steps per decimal digit against the condition number kappa (lines: theory, markers: runs), and "
              "the runs at kappa = 100. Notice the slopes: gradient descent pays kappa, momentum its square root."),
    "grid": ("grid", "The measured rate for each lr and momentum at kappa = 100, on a coarse grid and a fine one. "
             "Notice how close the best run is to the point that theory named in advance."),
    "noise": ("noise", "What gradient noise does: the variance of w in the end, and how smooth updates are (lines: "
              "theory, bars: runs with 4.5 standard errors). Notice that momentum smooths the direction and yet does "
              "not lower the noise floor: at one lr it raises it, at one lr / (1 - mu) it hardly changes it."),
    "effective": ("effective", "The length of each step under a constant gradient, in units of lr. Notice that every "
                  "curve ends at 1 / (1 - mu), with SGD and with RMSprop (which begins with long steps, as its mean of "
                  "squares starts at 0), and how long 0.99 takes."),
    "schedule": ("schedule", "lr falls to a tenth after step 60: the length of each step, and how far w has come. "
                 "Notice that a velocity with lr inside coasts on, and that one with lr outside slows down at once."),
    "saddle": ("saddle", "How many times as fast as gradient descent momentum leaves a saddle. Notice that the gain is "
               "1 / (1 - mu) only where the saddle is very flat."),
}  # fmt: skip

TEXT = (
    "On a parabola a step of momentum is a 2x2 matrix, so all it does can be predicted: how fast it converges, whether "
    "it swings past the minimum, and where it diverges. Here each prediction stands beside runs of the library's own "
    "optimizers. Momentum speeds up since it needs only the square root of the steps that a badly scaled valley costs "
    "otherwise; too much of it overshoots; and it multiplies the effective learning rate, which is also why it does "
    "not make noise go away."
)


def study(options: Options) -> Study:
    """Everything above, with its figures. Quick: coarser grids and fewer copies, the same claims."""
    found = {name: part(options) for name, part in PARTS.items()}

    def draw(name: str, part: str) -> Any:
        from .figures import theory as figures

        return getattr(figures, name)(found[part][1])

    figures = [
        Figure(f"theory-{name}", caption, lambda name=name, part=part: draw(name, part))  # type: ignore[misc]
        for name, (part, caption) in FIGURES.items()
    ]
    claims = [claim for part, _ in found.values() for claim in part]
    data = plain({name: results for name, (_, results) in found.items()})
    return Study("theory", "Theory: momentum on a parabola", TEXT, claims, figures, data)
