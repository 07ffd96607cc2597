"""The interactive page: write() makes momentum.html, one file that needs nothing else. Its parts are in page/, plain
HTML, CSS and JavaScript to be read (theory.js first); this file puts them together with data: the measured runs on
MNIST, and golden values from theory.py and our optimizers, which the page computes again as it opens."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from . import landscapes, theory
from .analysis import Band, band, final_accuracy
from .study import plain

PARTS = Path(__file__).with_name("page")
# in the order in which they run
SCRIPTS = ("theory", "optimizers", "plot", "controls", "words", "noise", "views", "regimes", "board", "race",
           "mnist", "check", "main")  # fmt: skip

LANDSCAPES = {"ravine": 0.05, "banana": 0.002, "saddle": 0.5, "double-well": 0.01, "rastrigin": 0.001}  # lr of a path
STEPS = 1500  # of a race
METHODS = {
    "gd": "gradient descent", "momentum": "momentum", "nesterov": "Nesterov", "rmsprop": "RMSprop",
    "rmsprop-momentum": "RMSprop + momentum", "adam": "Adam",
}  # fmt: skip


def write(directory: Path, sweep: dict[str, Any] | None) -> Path:
    """Write directory/momentum.html and return its path. sweep: the MNIST experiment, as journal.load() gives it; with
    None the page says that there is none. Raises ValueError for a sweep of another form: what is missing, and where."""
    path = Path(directory) / "momentum.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(assemble(data(sweep)), encoding="utf-8")
    os.replace(part, path)  # whole at every moment
    return path


def data(sweep: dict[str, Any] | None) -> dict[str, Any]:
    """All that the page's scripts are given."""
    lands = {name: landscapes.LANDSCAPES[name] for name in LANDSCAPES}
    places = {name: {"formula": land.formula, "lesson": land.lesson, "start": land.start, "minima": land.minima,
                     "box": land.box, "lowest": land.lowest()} for name, land in lands.items()}  # fmt: skip
    rule = {"rates": landscapes.RATES, "near": landscapes.NEAR, "hold": landscapes.HOLD, "fence": landscapes.FENCE,
            "steps": STEPS}  # fmt: skip
    measured = None if sweep is None else compact(sweep)
    return dict(plain({"landscapes": places, "rule": rule, "golden": golden(), "sweep": measured}))


def assemble(content: dict[str, Any]) -> str:
    """The page: the template with the style, the scripts and `content` in it. Only these scripts may run: the policy
    names them by their hashes, and allows no address at all."""
    scripts = {name: "\n" + (PARTS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS}
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts.values()]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    blocks = [f'<script type="application/json" id="data">{in_script(content)}</script>']
    blocks += [f"<script>{text}</script>" for text in scripts.values()]
    fills = {
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}",
        "style": (PARTS / "style.css").read_text(encoding="utf-8"),
        "landscapes": "\n    ".join(_choice(name) for name in LANDSCAPES),
        "methods": "\n      ".join(_row(*method) for method in METHODS.items()),
        "scripts": "\n".join(blocks),
    }
    page = (PARTS / "template.html").read_text(encoding="utf-8")
    for name, text in fills.items():
        before, mark, after = page.partition(f"<!-- {name} -->")
        if not mark:
            raise ValueError(f"page: the template has no place for its {name}")
        page = before + text + after
    return page


def in_script(content: Any) -> str:
    """JSON that is safe between <script> and </script>: no <, > or &, and only ASCII (so no U+2028)."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _choice(name: str) -> str:
    words = escape(name.replace("-", " ").capitalize())
    return f'<label><input type="radio" name="land" value="{escape(name)}"> <span>{words}</span></label>'


def _row(method: str, name: str) -> str:
    box = f'<label><input type="checkbox" checked> {escape(name)}</label>'
    sample = '<canvas aria-hidden="true"></canvas>'
    cells = "".join(f'<td data-label="{label}"></td>' for label in ("lr", "height", ""))
    return f'<tr data-method="{method}"><th scope="row">{box}</th><th aria-hidden="true">{sample}</th>{cells}</tr>'


# -- golden values --------------------------------------------------------------------------------


@cache
def golden() -> dict[str, Any]:
    """Numbers that the page must compute too. Infinity is written as None.

    theory    [lr_h, momentum, nesterov, radius, frequency, regime, overshoot, steady variance, root, root]
    limits    [momentum, nesterov, stability limit]
    critical  [lr_h, nesterov, critical momentum]
    optima    [kappa, method, lr times L, momentum, rate]
    paths     runs of our optimizers with our gradients: places and heights after some steps
    tuned     the lr and the steps that landscapes.tune() finds"""
    both = (False, True)
    momenta = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
    grid = [(s, mu, nesterov) for s in (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.81, 1.0, 1.2, 1.5, 1.9, 2.5, 3.2, 3.9)
            for mu in momenta for nesterov in both]  # fmt: skip
    critical = [(s, nesterov, float(theory.critical_momentum(s, nesterov)))
                for s in (0.01, 0.04, 0.09, 0.1, 0.25, 0.3, 0.49, 0.64, 0.81) for nesterov in both]  # fmt: skip
    grid += [(s, mu, nesterov) for s, nesterov, mu in critical]
    rows = [[*point, theory.spectral_radius(*point), theory.frequency(*point), theory.regime(*point),
             theory.overshoot(*point), theory.steady_variance(point[0], 1.0, point[1], 1.0, point[2]),
             *([root.real, root.imag] for root in theory.roots(*point))] for point in grid]  # fmt: skip
    limits = [[mu, nesterov, theory.stability_limit(mu, nesterov)] for mu in (*momenta, 1.0) for nesterov in both]
    names = {"gd": "gd", "momentum": "momentum", "nesterov": "nesterov-quadratic"}  # the page's, and theory.py's
    optima = [[kappa, mine, *theory.optimal((1 / kappa, 1.0), name)]
              for kappa in (1.0, 3.0, 10.0, 100.0, 1000.0) for mine, name in names.items()]  # fmt: skip
    runs = [_path(land, lr, method, mu)
            for land, lr in LANDSCAPES.items() for method in METHODS for mu in _momenta(method)]  # fmt: skip
    tuned = [_tuned(land, method) for land in ("ravine", "double-well") for method in METHODS]
    return {"theory": rows, "limits": limits, "critical": critical, "optima": optima, "paths": runs, "tuned": tuned}


def _momenta(method: str) -> tuple[float | None, ...]:
    return (0.9, 0.5) if "momentum" in landscapes.METHODS[method][1] else (None,)


def _path(name: str, lr: float, method: str, mu: float | None) -> dict[str, Any]:
    land, steps = landscapes.LANDSCAPES[name], [1, 2, 3, 5, 10, 20, 40]
    places = landscapes.run(land, method, lr, steps[-1], mu)[steps]
    settings = {"lr": lr, **({} if mu is None else {"momentum": mu})}
    return {"landscape": name, "method": method, "settings": settings, "start": land.start, "steps": steps,
            "places": places, "values": [land.values(place) for place in places]}  # fmt: skip


def _tuned(name: str, method: str) -> dict[str, Any]:
    best = landscapes.tune(landscapes.LANDSCAPES[name], method, 400)
    return {"landscape": name, "method": method, "momentum": best.momentum, "lr": best.lr, "steps": best.steps}


# -- the MNIST experiment, made small -------------------------------------------------------------

NAMES = {"momentum": "Momentum (SGD)", "nesterov": "Nesterov", "rmsprop-momentum": "RMSprop + momentum"}


def compact(sweep: dict[str, Any]) -> dict[str, Any]:
    """The experiment as the page draws it: for each optimizer, protocol and momentum the mean over seeds and its band
    (see analysis.band), four digits each. Where some run has diverged and has no number, the mean has none either."""
    _require(isinstance(sweep, dict) and sweep.get("format") == 1, f"it must be a dict of format 1, got {sweep!r:.80}")
    for name, kind in (("settings", dict), ("curve_steps", list), ("runs", list), ("protocols", dict)):
        value = sweep.get(name)
        good = isinstance(value, kind) and len(value) > 0
        _require(good, f"{name!r} must be a {kind.__name__} with something in it, got {value!r:.80}")
    settings = sweep["settings"]
    epochs = settings.get("epochs")
    _require(isinstance(epochs, int) and epochs > 0, f"settings['epochs'] must be a whole number, got {epochs!r}")
    long = [(k, run) for k, run in enumerate(sweep["runs"]) if run.get("epochs", epochs) == epochs]
    _require(bool(long), f"no run has {epochs} epochs")  # shorter ones belong to the map of lr x momentum
    found: dict[tuple[str, float, float], list[dict[str, Any]]] = {}
    for k, run in long:
        _check(run, f"runs[{k}]", len(long[0][1].get("test_accuracy", ())), len(sweep["curve_steps"]))
        found.setdefault((run["optimizer"], run["lr"], run["momentum"]), []).append(run)

    optimizers = {}
    for name, protocols in sweep["protocols"].items():
        rows = []
        for key, protocol in protocols.items():
            rates = {float(mu): float(lr) for mu, lr in protocol["lr"].items()}
            cells = [_cell(mu, lr, _runs(found, name, lr, mu)) for mu, lr in sorted(rates.items())]
            if any(cell["n"] for cell in cells):
                fixed = len(set(rates.values())) == 1
                rows.append({"key": key, "label": str(protocol["label"]), "fixed": fixed, "cells": cells})
        if rows:
            optimizers[name] = rows
    _require(bool(optimizers), "no run belongs to any of its protocols")
    momenta = sorted({cell["momentum"] for rows in optimizers.values() for row in rows for cell in row["cells"]})
    return {"epochs": epochs, "curveSteps": sweep["curve_steps"], "momenta": momenta, "optimizers": optimizers,
            "labels": {name: NAMES.get(name, name) for name in optimizers}, "source": _source(sweep)}  # fmt: skip


def _check(run: dict[str, Any], where: str, evaluations: int, bins: int) -> None:
    """Is this a run? Its lists must be as long as those of all others, of numbers or None."""
    for name in ("optimizer", "lr", "momentum", "test_accuracy", "curve", "diverged"):
        _require(name in run, f"{where} has no {name!r}, only {', '.join(map(str, run))}")
    for name, size in (("test_accuracy", evaluations), ("curve", bins)):
        values = run[name]
        good = isinstance(values, list) and len(values) == size > 0
        _require(good, f"{where}: {name!r} must be a list of {size}, got {values!r:.60}")
        good = all(v is None or isinstance(v, (int, float)) and np.isfinite(v) for v in values)
        _require(good, f"{where}: {name!r} must hold finite numbers, or None after a run has diverged")


def _runs(found: dict[Any, list[dict[str, Any]]], name: str, lr: float, mu: float) -> list[dict[str, Any]]:
    """The runs of a setting. Nesterov without momentum is momentum without momentum."""
    return found.get((name, lr, mu)) or (found.get(("momentum", lr, mu), []) if mu == 0 else [])


def _cell(mu: float, lr: float, runs: list[dict[str, Any]]) -> dict[str, Any]:
    cell: dict[str, Any] = {"momentum": mu, "lr": lr, "n": len(runs)}
    if runs:
        cell["diverged"] = sum(run["diverged"] is not None for run in runs)
        cell["final"] = _band([final_accuracy(run) for run in runs])
        for short, name in (("accuracy", "test_accuracy"), ("curve", "curve")):
            bands = [_band(values) for values in zip(*(run[name] for run in runs))]
            cell[short] = {end: [one and one[end] for one in bands] for end in ("mean", "low", "high")}
    return cell


def _band(values: Sequence[float | None]) -> dict[str, float] | None:
    """Mean, low and high, of numbers alone; None if one of the runs has none."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    found: Band = band(numbers)
    return {"mean": _digits(found.mean), "low": _digits(found.low), "high": _digits(found.high), "n": found.n}


def _digits(value: float) -> float:
    return float(f"{value:.5g}")


def _source(sweep: dict[str, Any]) -> str:
    """What was run, in a line."""
    known = sweep["settings"]
    words = [
        f"Network 784-{known['hidden']}-10" if "hidden" in known else "",
        f"{known['images']:,} training images".replace(",", "\u202f") if "images" in known else "",
        f"batches of {known['batch_size']}" if "batch_size" in known else "",
        f"{known['epochs']} epochs", f"{known['seeds']} seeds" if "seeds" in known else "",
        f"measured on {sweep['date']}" if "date" in sweep else "",
    ]  # fmt: skip
    return ", ".join(filter(None, words)) + "."


def _require(ok: bool, text: str) -> None:
    if not ok:
        raise ValueError(f"page: the sweep is not as sweep.py makes it: {text}; make it again, or give None")
