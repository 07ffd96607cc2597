"""What real networks say to the theory: the four experiments of experiments.py, their settings, claims and figures.
`study` runs them all, each as a job of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import parallel
from .experiments import STEPS, bridge, edge, ring_down, spectra
from .study import Claim, Figure, Options, Study

# (lr * h, momentum, Nesterov?): from creeping to ringing. h is the sharpest curvature, which is measured first.
PLUCKS = (
    (0.57, 0.0, False), (1.7, 0.0, False), (0.11, 0.9, False), (0.57, 0.5, False),
    (0.57, 0.9, False), (0.57, 0.99, False), (1.14, 0.9, False), (0.57, 0.9, True),
)  # fmt: skip

# Full-batch training that lifts the curvature to its limit and holds it there; that only touches it; that stops short
DEEP = {"widths": (64, 64, 64), "images": 500, "steps": 2000, "every": 50}
EDGES: tuple[dict[str, Any], ...] = (
    {**DEEP, "lr": 0.12, "momentum": 0.0},
    {**DEEP, "lr": 0.2, "momentum": 0.5, "warm_up": 200},
    {**DEEP, "lr": 0.16, "momentum": 0.9, "nesterov": True, "warm_up": 400},
)
TOUCH: dict[str, Any] = {**DEEP, "lr": 0.4, "momentum": 0.9, "warm_up": 400, "images": 1500, "steps": 1000}
SHORT: dict[str, Any] = {**DEEP, "lr": 0.2, "momentum": 0.9, "warm_up": 400}
QUICK_EDGES: tuple[dict[str, Any], ...] = (
    {"widths": (32, 32), "images": 200, "steps": 800, "every": 40, "lr": 0.2, "momentum": 0.0},
    {"widths": (32, 32), "images": 300, "steps": 800, "every": 40, "lr": 0.25, "momentum": 0.5, "warm_up": 100},
)


def _run(job: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """One experiment, in this process or another."""
    name, settings = job
    ways: dict[str, Callable[..., dict[str, Any]]] = {
        "bridge": bridge, "edge": edge, "spectra": spectra, "ring": ring_down,
    }  # fmt: skip
    return ways[name.split("-")[0]](**settings)


def jobs(options: Options) -> list[tuple[str, dict[str, Any]]]:
    """What `study` runs: (name, the experiment's arguments), the longest first."""
    quick = options.quick
    images = 300 if quick else 500
    plan: list[tuple[str, dict[str, Any]]] = [
        ("bridge", {"images": 300 if quick else 1000, "most": 3500 if quick else 6000}),
        *(("edge", settings) for settings in (QUICK_EDGES if quick else EDGES)),
        *([] if quick else [("edge-touch", TOUCH), ("edge-short", SHORT)]),
        ("spectra", {"images": 200, "training": 200, "probes": 2, "steps": 40} if quick else
                    {"images": 1000, "training": 500, "probes": 4, "steps": 80}),
        ("ring", {"images": images, "plucks": PLUCKS[3:5] + PLUCKS[7:] if quick else PLUCKS}),
        ("ring-early", {"images": images, "plucks": PLUCKS[4:5], "training": 20}),
    ]  # fmt: skip
    return [(name, {**settings, "seed": options.seed}) for name, settings in plan]


def study(options: Options) -> Study:
    """All experiments, as separate jobs; then claims and figures."""
    plan = jobs(options)
    done = dict(parallel.each(_run, plan, options.jobs, title="network", quiet=options.quiet))
    data: dict[str, Any] = {name: done[k] for k, (name, _) in enumerate(plan)}
    data["edge"] = [done[k] for k, (name, _) in enumerate(plan) if name == "edge"]  # there are several
    text = (
        "What theory says of a parabola, asked of MNIST. Softmax regression has one minimum: from its highest "
        "curvature, "
        "which is measured, and its lowest, which is the weight decay, the best momentum is predicted, and then "
        "measured. A trained network is plucked in its sharpest direction, and rings as the same formula says. Long "
        "full-batch training drives the curvature up to the limit that lr and momentum set, and holds it there in "
        "three of five settings. And in a network some directions curve down: there the formula for the best momentum, "
        "which needs a lowest curvature above 0, does not apply."
    )
    claims = bridge_claims(data["bridge"]) + ring_claims(data["ring"], data["ring-early"])
    claims += edge_claims(data) + spectrum_claims(data["spectra"])
    return Study("network", "From theory to a real network", text, claims, figures(data), data)


def bridge_claims(found: dict[str, Any]) -> list[Claim]:
    """Speeds are compared as ln(measured rate) / ln(predicted rate): the ratio of the digits gained per step."""
    source = (f"SGD on softmax regression, {found['images']} MNIST images, full batch, weight decay "
              f"{found['weight_decay']:g}; curvature by Hessian products; theory: Polyak 1964, Goh 2017")  # fmt: skip
    sweep, runs = found["sweep"], {run["name"]: run for run in found["runs"]}

    def off(*several: dict[str, Any]) -> float:
        late = [(run["measured"] or math.nan, run["predicted"]) for run in several]
        return float(np.max([abs(math.log(measured) / math.log(predicted) - 1) for measured, predicted in late]))

    def equal_roots(run: dict[str, Any]) -> float:
        """Equal roots give k rate^k and not rate^k: so much fewer digits a step from step i to step j. And 1 %."""
        i, j = run["window"] or (1, 2)
        return math.log(j / i) / ((j - i) * -math.log(run["predicted"])) + 0.01

    def times(a: dict[str, Any], b: dict[str, Any]) -> float:
        return (a["steps"] or math.nan) / (b["steps"] or math.nan)  # a run that never got there: no number

    best, fastest = (min(sweep, key=lambda run: run[key] or math.inf) for key in ("predicted", "steps"))
    slower = sum((run["steps"] or math.inf) > (runs["gauge"]["steps"] or math.inf) for run in found["around"])
    ratio = math.log(best["predicted"]) / math.log(sweep[0]["predicted"])
    return [
        Claim(f"MNIST, one layer: from its curvatures (the weight decay, {found['h_min']:.3g} and "
              f"{found['h_max']:.3g}; lr = 1 / the "
              f"higher) theory picks momentum {best['momentum']:g} of those tried; the fastest measured is",
              fastest["momentum"], best["momentum"], best["momentum"], source),
        Claim("MNIST, one layer, momentum 0.7 to 0.99: worst error of the predicted digits gained per step",
              off(*[run for run in sweep if run["momentum"] >= 0.7]), 0, 0.01, source),
        Claim("MNIST, one layer, momentum 0 to 0.6, and gradient descent at its best lr: worst error of the same",
              off(runs["gd"], *[run for run in sweep if run["momentum"] < 0.7]), 0, 0.015, source),
        Claim(f"MNIST, one layer, to a millionth of the distance: {fastest['steps']} steps with momentum "
              f"{fastest['momentum']:g}, {sweep[0]['steps']} without; times", times(sweep[0], fastest), 0.7 * ratio,
              1.2 * ratio, f"{source}; {ratio:.2f} predicted once the start is forgotten"),
        Claim("More is not better: momentum 0.99 needs more steps there than no momentum at all; times",
              times(sweep[-1], sweep[0]), 1.5, 1e3, source),
        Claim("Polyak's best lr and momentum: error of the predicted digits per step (its equal roots cost a little)",
              off(runs["gauge"]), 0, equal_roots(runs["gauge"]), f"{source}; error ~ k rate^k"),
        Claim("Nesterov's textbook lr and momentum: the same", off(runs["nesterov"]), 0,
              equal_roots(runs["nesterov"]), f"{source}; Lessard, Recht and Packard 2016"),
        Claim("The gauge is right there: of the 8 pairs around its own (lr 15 %, momentum 0.1 away), slower are",
              slower, 8, 8, f"{source}; gauge: Zhang and Mitliagkas 2017"),
    ]  # fmt: skip


def ring_claims(found: dict[str, Any], early: dict[str, Any]) -> list[Claim]:
    source = (f"784-{found['hidden']}-10 tanh, {found['images']} MNIST images, float64, full batch, trained "
              f"{found['training']} steps; two copies, kicked apart along the top eigenvector; Goh 2017")  # fmt: skip
    plucks = found["plucks"]
    heard = [pluck for pluck in plucks if pluck["heard"]]

    def worst(key: str) -> float:
        return float(max(abs(pluck[key][0] - pluck[key][1]) for pluck in plucks))

    return [
        Claim(f"A plucked network rings as the parabola's formula says, in {len(plucks)} settings: least correlation "
              f"over {STEPS} steps", min(pluck["correlation"] for pluck in plucks), 0.999, 1, source),
        Claim("A plucked network: largest error of the formula in the first 20 steps, for a pluck of 1",
              max(pluck["error"] for pluck in plucks), 0, 0.01, source),
        Claim("A plucked network overshoots as far as predicted: worst error", worst("overshoot"), 0, 0.005, source),
        Claim("A plucked network changes sides as often as predicted: worst error, crossings per step",
              worst("crossings"), 0, 0.03, source),
        Claim("From the ringing alone one hears the momentum: worst error",
              max(abs(p["heard"]["momentum"] - p["momentum"]) for p in heard), 0, 0.005, source),
        Claim("From the ringing alone one hears the curvature that Hessian products found: worst relative error",
              max(abs(p["heard"]["curvature"] / found["curvature"] - 1) for p in heard), 0, 0.01, source),
        Claim(f"Where the formula fails: after {early['training']} steps of training the valley still changes while "
              "one moves; correlation", early["plucks"][0]["correlation"], -1, 0.95, source),
    ]  # fmt: skip


def edge_label(run: dict[str, Any]) -> str:
    name = "Nesterov" if run["nesterov"] else "momentum"
    return f"{name} {run['momentum']:g}, lr {run['lr']:g}" if run["momentum"] else f"gradient descent, lr {run['lr']:g}"


def edges(data: dict[str, Any]) -> list[dict[str, Any]]:
    """All runs of edge() that there are."""
    return [*data["edge"], *(data[name] for name in ("edge-touch", "edge-short") if name in data)]


def edge_claims(data: dict[str, Any]) -> list[Claim]:
    def claim(run: dict[str, Any], words: str, value: float, low: float, high: float) -> Claim:
        widths, start = "-".join(map(str, run["widths"])), f"{edge_label(run)}, {run['images']} images"
        return Claim(f"{start}: {words}", value, low, high, f"784-{widths}-10 tanh, squared error, full batch, "
                     f"{run['step'][-1]} steps; Cohen et al. 2021, arXiv:2103.00065")  # fmt: skip

    claims = [claim(run, f"training lifts the curvature to the limit of stability, {run['threshold'][-1]:.3g}, and "
                    "holds it there; median distance", run["off"], 0, 0.03) for run in data["edge"]]  # fmt: skip
    if "edge-touch" in data:
        touch, short = data["edge-touch"], data["edge-short"]
        top = max(s / t for s, t in zip(touch["sharpness"], touch["threshold"]))
        claims += [
            claim(touch, "the curvature touches its limit; the most that it reaches, as part of it", top, 0.95, 1.2),
            claim(short, f"the loss is gone (now {short['loss'][-1]:.0e}) before the limit is reached; the curvature "
                         "stays at this part of it", short["late"], 0, 0.95),
        ]  # fmt: skip
    highest = max(edges(data), key=lambda run: math.inf if run["diverged"] else run["late"])
    return [*claims, claim(highest, "no run stays above its limit; this one is the highest, at this part of it",
                           highest["late"], 0, 1.03)]  # fmt: skip


def spectrum_claims(found: dict[str, Any]) -> list[Claim]:
    before, after = found["before"], found["after"]
    source = (f"784-{found['hidden']}-10 tanh, {found['images']} MNIST images, {found['training']} steps of momentum "
              "0.9; Lanczos with full reorthogonalisation; Sagun et al. 2017, Ghorbani et al. 2019")  # fmt: skip
    curves = "A network's loss curves down in some directions {} training: lowest curvature over highest"
    return [
        Claim(curves.format("before"), before["h_min"] / before["h_max"], -10, -0.01, source),
        Claim(curves.format("after"), after["h_min"] / after["h_max"], -1, -1e-4, source),
    ]  # fmt: skip


def figures(data: dict[str, Any]) -> list[Figure]:
    """Drawn on demand, by figures/network.py."""

    def drawn(function: str, *args: Any) -> Callable[[], Any]:
        def draw() -> Any:
            from .figures import network as drawings

            return getattr(drawings, function)(*args)

        return draw

    fastest = min(data["bridge"]["sweep"], key=lambda run: run["steps"] or math.inf)
    return [
        Figure("network-bridge", "Softmax regression on MNIST. Left: the distance to the minimum, step by step. Right: "
               "steps to gain one digit, measured (markers), and predicted from the highest curvature and the weight "
               "decay (line). Note "
               f"the sharp minimum near momentum {fastest['momentum']:g}, and that 0.99 is slower than none.",
               drawn("bridge", data["bridge"])),
        Figure("network-ring-down", "Two copies of a trained network, a hair apart in the sharpest direction: how "
               "their difference goes on, measured (dots), and by the parabola's formula (line). Note that they agree "
               "in every regime, but not in the last panel, early in training.",
               drawn("ring_down", data["ring"], data["ring-early"])),
        Figure("network-edge", "The sharpest curvature during long full-batch training (line), and the largest that lr "
               "and momentum can stand (dashes). Note that the line climbs to the dashes and stays there in the "
               "upper row; with heavy ball 0.9, in the two settings tried, it does not. Last panel: the losses.",
               drawn("edge", edges(data))),
        Figure("network-spectrum", "Left: how many of a network's directions have which curvature, before and after "
               "training. Right: the momentum that suits a run that waits for directions of that curvature. Note that "
               "some curvatures are below 0: the formula needs a lowest one above 0, and here there is none.",
               drawn("spectrum", data["spectra"], data["bridge"])),
    ]  # fmt: skip
