"""What momentum does to a network that learns digits: the claims and the figures of the MNIST experiment. sweep.py runs
it; the whole of it (560 runs) is kept in results/mnist.json, and what the documentation shows is drawn from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import manual_seed
from ..nn import functional as F
from ..tensor import Tensor
from . import journal, sweep, theory
from .analysis import Band, band, cell, epochs_to, final_accuracy, heat, momenta, rank_correlation, runs, summary
from .curvature import Hessian, power_iteration
from .study import Claim, Figure, Options, Study

PUBLISHED = Path(__file__).parent / "results" / "mnist.json"
HEAVY, NESTEROV, RMSPROP = sweep.OPTIMIZERS


def published() -> dict[str, Any]:
    """The experiment that is in the package, run once whole. Raises as journal.load() does."""
    return journal.load(PUBLISHED)


def run(options: Options, directory: Path, executor: Any = None) -> dict[str, Any]:
    """Run the experiment, or the rest of it, with its journal in `directory`, and write directory/sweep.json."""
    settings = sweep.QUICK if options.quick else sweep.FULL
    settings = sweep.Settings(**{**vars(settings), "first_seed": options.seed})
    experiment = sweep.run(settings, directory / "sweep.jsonl", options.jobs, executor, options.quiet)
    journal.save(directory / "sweep.json", experiment)
    return experiment


def study(experiment: dict[str, Any]) -> Study:
    """Claims and figures of an experiment, run here or published."""
    settings, where = experiment["settings"], source(experiment)
    rows = summary(experiment)
    minutes = experiment["wall_seconds"] / 60
    lost = sum(run["diverged"] is not None for run in experiment["runs"])
    text = (
        f"A network 784-{settings['hidden']}-10 learns MNIST ({settings['images']:,} images) for {settings['epochs']} "
        f"epochs in batches of {settings['batch_size']}, with every value of momentum, three optimizers, three "
        f"protocols for the learning rate and {settings['seeds']} seeds each. The seeds are paired: the same first "
        f"weights and batches for all. {len(experiment['runs'])} runs took {minutes:.0f} minutes with "
        f"{experiment['by']} on {experiment['date']}; {lost} diverged (the loss was no longer a number, or it was back "
        "at that of guessing after having been lower), and are shown as such. The protocols tell opposite stories, and "
        "that is the point: what momentum changes first is the size of the step, by 1 / (1 - momentum)."
    )
    table = [{name: vars(v) if isinstance(v, Band) else v for name, v in row.items()} for row in rows]
    data = {name: experiment[name] for name in ("settings", "machine", "date")} | {"summary": table}
    title = "The MNIST experiment"
    return Study("mnist", title, text, claims(experiment, rows, where), figures(experiment, rows), data)


def source(experiment: dict[str, Any]) -> str:
    settings = experiment["settings"]
    return (f"sweep of {experiment['date']}: {settings['images']:,} images, {settings['epochs']} epochs, "
            f"{settings['seeds']} seeds from {settings['first_seed']}")  # fmt: skip


def mean(row: dict[str, Any], name: str) -> float:
    """The mean over all runs of a row; infinity if some run has no number (it diverged, or never came there)."""
    found = row[name]
    return float(found.mean) if found is not None and found.n == row["n"] else float("inf")


def ratio(a: float, b: float) -> float:
    """a / b, or NaN, which no claim survives: neither is finite, or b is 0."""
    return a / b if b and np.isfinite(a) and np.isfinite(b) else float("nan")


def claims(experiment: dict[str, Any], rows: list[dict[str, Any]], where: str) -> list[Claim]:
    """What the experiment says, each sentence with its number."""
    mus, target = momenta(experiment), experiment["settings"]["targets"][0]
    some = [mu for mu in mus if mu >= 0.5]
    # A short run is mostly its beginning, in which 0.99 has not yet come up to speed and gradients still agree
    short = experiment["settings"]["epochs"] < 5
    warm = [mu for mu in mus if mu <= 0.95] if short else mus
    names = "0 to 0.95" if short else "0 to 0.99"

    def at(optimizer: str, protocol: str, momentum: float, name: str) -> float:
        return mean(cell(rows, optimizer, protocol, momentum), name)

    def line(optimizer: str, protocol: str, name: str, values: list[float] = mus) -> list[float]:
        return [at(optimizer, protocol, mu, name) for mu in values]

    def spread(optimizer: str, protocol: str, values: list[float] = mus) -> float:
        accuracies = line(optimizer, protocol, "accuracy", values)
        return max(accuracies) - min(accuracies)

    whole = experiment["settings"]["epochs"]
    epochs = {mu: float(np.mean([epochs_to(run, target) or whole for run in runs(experiment, HEAVY, "small", mu)]))
              for mu in mus}  # fmt: skip
    heavy_cosine = [abs(c - mu) for c, mu in zip(line(HEAVY, "small", "cosine", some), some)]
    expected = [float(theory.update_autocorrelation(mu, nesterov=True)) for mu in some]
    nesterov_cosine = [abs(c - e) for c, e in zip(line(NESTEROV, "small", "cosine", some), expected)]
    rates, _, accuracy, _ = heat(experiment)
    best_rate = [rates[k] for k in accuracy.argmax(axis=0)]
    best_momentum = dict(zip(rates, (mus[k] for k in accuracy.argmax(axis=1))))
    same = [accuracy[i, mus.index(mu)] for i, lr in enumerate(rates) for mu in warm if np.isclose(lr / (1 - mu), 0.1)]

    gain = band([final_accuracy(a) - final_accuracy(b)
                 for a, b in zip(*(runs(experiment, HEAVY, "small", mu) for mu in (0.9, 0.0)))])  # fmt: skip

    table = [
        (f"Momentum speeds up: at lr 0.01, momentum 0.9 needs this fraction of plain SGD's epochs to {target:g} % (of "
         "all epochs, where SGD never gets there)",
         ratio(epochs[0.9], epochs[0.0]), 0.0, 0.5),
        (f"At lr 0.01 more momentum means fewer epochs to {target:g} %, from 0 up to 0.95 (rank correlation)",
         rank_correlation(mus[:-1], [epochs[mu] for mu in mus[:-1]]), -1.0, -0.9),
        (f"But not without end: at lr 0.01, momentum 0.99 needs this many times the epochs of 0.95 to {target:g} % (a "
         "run that never gets there counts as if it did at its end)",
         ratio(epochs[0.99], epochs[0.95]), 1.05, 100.0),
        ("0.99 overshoots: at lr 0.01 its loss, once low, rises this many times as far again as with 0.9, whose rises "
         "are the noise of the batches (but its lr / (1 - momentum) is ten times as large, too)",
         ratio(at(HEAVY, "small", 0.99, "overshoot"), at(HEAVY, "small", 0.9, "overshoot")), 1.5, 100.0),
        ("0.99 overshoots also with lr / (1 - momentum) the same, less far: this many times as far as 0.9",
         ratio(at(HEAVY, "matched", 0.99, "overshoot"), at(HEAVY, "matched", 0.9, "overshoot")), 1.2, 10.0),
        ("The best momentum depends on the learning rate: the best at lr 0.001 is larger than that at lr 0.1, by",
         best_momentum[0.001] - best_momentum[0.1], 0.04, 0.99),
        ("Paired by seed, at lr 0.01, momentum 0.9 ends above none by at least (the band's lower end), points",
         gain.low, 0.5, 10.0),
        ("At lr 0.1, momentum 0.99 is lost: test accuracy, %", at(HEAVY, "large", 0.99, "accuracy"), 0.0, 50.0),
        (f"With lr / (1 - momentum) the same, momenta {names} end alike: largest difference of mean accuracy, points",
         spread(HEAVY, "matched", warm), 0.0, 2.0 if short else 0.5),
        ("The effective rate is lr / (1 - momentum): on the map, where it is 0.1, accuracies differ by, points",
         max(same) - min(same), 0.0, 3.0 if short else 1.5),
        ("The more momentum, the smaller the best learning rate on the map (rank correlation)",
         rank_correlation(mus, best_rate), -1.0, -0.7),
        ("Momentum smooths: at lr 0.01 successive updates have a cosine of momentum itself; largest difference from it",
         max(heavy_cosine), 0.0, 0.1 if short else 0.02),
        ("Nesterov's updates have nearly the cosine that its impulse response 1 + mu, mu^2, mu^3 ... predicts for "
         "gradients without memory (real ones remember a little); largest error",
         max(nesterov_cosine), 0.0, 0.1 if short else 0.05),
        ("Plain SGD zigzags: at lr 0.1, this fraction of successive gradients point against each other",
         at(HEAVY, "large", 0.0, "zigzag"), 0.53, 1.0),
        ("... and with momentum 0.9 and lr / (1 - momentum) the same, this fraction",
         at(HEAVY, "matched", 0.9, "zigzag"), 0.0, 0.45),
        ("Nesterov overshoots less: its largest rise at lr 0.01 and 0.99, as a fraction of momentum's",
         ratio(at(NESTEROV, "small", 0.99, "overshoot"), at(HEAVY, "small", 0.99, "overshoot")), 0.0, 0.95),
        ("RMSprop's momentum multiplies the step, too: at lr 0.001, momentum 0.99 loses this many points against none",
         at(RMSPROP, "large", 0.0, "accuracy") - at(RMSPROP, "large", 0.99, "accuracy"), 10.0, 90.0),
        ("... and with lr / (1 - momentum) the same, momentum 0.9 differs from none by at most, points",
         abs(at(RMSPROP, "matched", 0.9, "accuracy") - at(RMSPROP, "matched", 0.0, "accuracy")), 0.0, 1.5),
    ]  # fmt: skip
    return [Claim(sentence, value, low, high, where) for sentence, value, low, high in table]


def sharpness(experiment: dict[str, Any], images: int = 1000) -> float:
    """The largest curvature of the loss where training starts: lambda_max of the Hessian over the first images, for
    the first seed's weights."""
    settings = experiment["settings"]
    manual_seed(settings["first_seed"])
    model = sweep.network(settings["hidden"])
    x, y, _, _ = sweep.digits(min(images, settings["images"]), 1)
    inputs, labels = Tensor(x), Tensor(y)
    params = list(model.parameters())
    hessian = Hessian(lambda: F.cross_entropy(model(inputs), labels), params)
    start = np.random.default_rng(0).standard_normal(hessian.size)
    return power_iteration(hessian, start, tolerance=1e-3, max_steps=200).value


def figures(experiment: dict[str, Any], rows: list[dict[str, Any]]) -> list[Figure]:
    """The pictures, drawn when they are wanted."""
    n = experiment["settings"]["seeds"]
    what = f"mean of {n} seeds, {'95 % t bands' if n >= 5 else 'bands from the least to the largest'}"
    names = {HEAVY: "momentum", NESTEROV: "Nesterov's momentum", RMSPROP: "RMSprop with momentum"}
    losses = [
        Figure(f"mnist-loss-{optimizer}",
               f"Training loss with {name}; {what}; both axes are logarithmic. Left, a small rate: more momentum is "
               "faster. Middle, a larger one: much momentum overshoots or diverges. Right, the rate divided by the "
               "amplification 1 / (1 - momentum): the curves meet.",
               lambda optimizer=optimizer: _drawn("loss", experiment, optimizer))  # type: ignore[misc]
        for optimizer, name in names.items()
    ]  # fmt: skip
    return [
        *losses,
        Figure("mnist-accuracy",
               f"Test accuracy at the end against momentum; {what}. Means below the axis are written at an arrow. "
               "Each protocol has another winner: no value of momentum is best without its learning rate.",
               lambda: _drawn("accuracy", experiment, rows)),
        Figure("mnist-speed",
               f"Epochs to two test accuracies, and the factor by which the training loss falls in an epoch, for SGD; "
               f"{what}. Open markers at the top: not all seeds came there; a cross: no number, or some seed diverged. "
               "At the small rate momentum is many times "
               "faster; at the matched rate it changes little.",
               lambda: _drawn("speed", experiment, rows)),
        Figure("mnist-motion",
               "How the parameters move. Left: how far the smoothed loss rises above its lowest value so far. Middle: "
               "the cosine between successive updates, with theory's lines. Right: how often successive gradients "
               "point against each other (above 50 % they zigzag). Filled: lr 0.01, open: lr 0.1.",
               lambda: _drawn("motion", experiment, rows)),
        Figure("mnist-map",
               "Test accuracy for each learning rate and momentum. Along a dashed line lr / (1 - momentum) is the "
               "same; on the middle one, so is the accuracy. The red line is where a parabola of the curvature at the "
               "start would diverge. A network is none: with little momentum it trains beyond that line, with much it "
               "is lost long before.",
               lambda: _drawn("heat_map", experiment, sharpness(experiment))),
    ]  # fmt: skip


def _drawn(function: str, *args: Any) -> Any:
    """A picture of figures/mnist.py, imported only now: claims need no matplotlib."""
    from .figures import mnist

    return getattr(mnist, function)(*args)
