"""Momentum's descendants Lion and Muon: what a step of each looks like beside one of SGD with momentum, and how well
they train, each at the learning rate that one rule finds for all. training.py has the runs, techniques.py the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .study import Claim
from .training import Job, Part, Plan, accuracies, ahead, picture, spread

# What each starts from, and the middle of its rates: five, half a decade apart. The one that is best on images that
# are neither trained on nor tested on is taken: the same rule for all.
METHODS: dict[str, tuple[str, dict[str, Any], float]] = {
    "momentum": ("sgd", {"momentum": 0.9}, 0.03),
    "adam": ("adam", {}, 0.003),
    "lion": ("lion", {}, 0.001),
    "muon": ("muon", {"weight_decay": 0.0}, 0.03),
}
HALF_DECADES = 10.0 ** (np.arange(-2, 3) / 2)


def descendants(plan: Plan) -> Part:
    """Lion: w <- w - lr sign(u), so all weights move equally far. Muon: w <- w - lr orthogonalize(u), so that all
    directions of a matrix do: its singular values come near to 1. (Chen et al., arXiv 2302.06675; Jordan 2024)"""
    steps = plan.pick(90, 2 * 187)
    rates = {name: middle * HALF_DECADES for name, (_, _, middle) in METHODS.items()}

    def job(name: str, rate: float) -> Job:
        optimizer, settings, _ = METHODS[name]
        return {"optimizer": optimizer, "settings": {**settings, "lr": float(rate)}, "steps": steps}

    tuning = replace(plan, seeds=(plan.seeds[0] + 1,))
    tried = tuning.repeat({
        (name, k): {**job(name, rate), "test": 2000, "validate": True}
        for name in METHODS for k, rate in enumerate(rates[name])
    }, "rates for Lion and Muon")  # fmt: skip
    tuned = {name: np.array([tried[name, k][0]["accuracy"] for k in range(len(HALF_DECADES))]) for name in METHODS}
    best = {name: int(row.argmax()) for name, row in tuned.items()}
    choice = {name: float(rates[name][k]) for name, k in best.items()}
    runs = plan.repeat({name: {**job(name, choice[name]), "watch": steps // 2} for name in METHODS}, "Lion and Muon")

    updates = {name: [run["update"] / choice[name] for run in own] for name, own in runs.items()}
    singular = {name: np.array([np.linalg.svd(u, compute_uv=False) for u in own]) for name, own in updates.items()}
    # how many directions, the largest first, hold 90 % of |u|^2: 1 when one has all, 116 when all 128 have the same
    rank = {name: float(np.mean([np.searchsorted(np.cumsum(one**2) / (one**2).sum(), 0.9) + 1 for one in s]))
            for name, s in singular.items()}  # fmt: skip
    moved = np.abs(np.concatenate([u.ravel() for u in updates["lion"]]))
    gain, half = ahead(runs["muon"], runs["momentum"])
    step = f"the change of the first matrix, 128 x 784, in step {steps // 2}, over lr; {len(plan.seeds)} seeds"
    said = "lr from five, half a decade apart, by 2,000 other images and another seed; "
    claims = [
        Claim("Lion: every weight that moves, moves by lr (largest difference, part of lr)",
              np.abs(moved[moved > 0] - 1).max(), 0, 1e-3, step + "; but for rounding of float32 weights"),
        Claim("Muon's step has no small direction (smallest singular value)", singular["muon"].min(), 0.3, 1.21, step),
        Claim("Muon's step has no large direction (largest singular value)", singular["muon"].max(), 0.68, 1.21,
              step + "; its polynomial is at most 1.203 on [0, 1]"),
        Claim("SGD with momentum: so few of 128 directions hold 90 % of a step (its squared length)", rank["momentum"],
              1, 30, step),
        Claim("Lion: it takes more (directions)", rank["lion"], 30, 80, step),
        Claim("Muon: it takes nearly all, as its directions are nearly alike (directions)", rank["muon"],
              90, 116, step),
        Claim("Each at its best lr, after as many steps: Muon is no worse than SGD with momentum (points above)",
              gain, -0.5, 8, said + plan.said(half, steps)),
        Claim("Each at its best lr: the best and the worst of momentum, Adam, Lion and Muon are apart by (points)",
              spread(list(runs.values())), 0, 7, said + plan.said(steps=steps)),
        Claim("None found its best lr at the end of its range, where a better one may lie outside (how many did)",
              sum(k in (0, len(HALF_DECADES) - 1) for k in best.values()), 0, 0, said + plan.said(steps=steps)),
    ]  # fmt: skip
    data = {"rates": rates, "tuned": tuned, "choice": choice, "singular": singular, "directions": rank, "steps": steps,
            "accuracy": {name: accuracies(own) for name, own in runs.items()}}  # fmt: skip
    sizes = {name: np.abs(own[0]).ravel() for name, own in updates.items()}
    one = (
        "One step of each: how far the directions of the matrix go (left), and how far its weights go (right). Notice "
        "that Lion evens out the weights, and Muon the directions."
    )
    two = (
        "Left: the search for each one's lr. Right: test accuracy with the best, all seeds. Notice how far the best "
        "rates lie apart. Equal steps are not equal time: a step of Muon has 15 matrix products more."
    )
    return Part(claims, [picture("updates", one, {**data, "sizes": sizes}), picture("descendants", two, data)], data)
