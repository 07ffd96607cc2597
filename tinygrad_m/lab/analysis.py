"""What the MNIST experiment says: the runs of one setting, their means with bands, and the measures that one compares.
sweep.py makes the experiment, journal.py reads it from disk, mnist.py turns what is here into claims and figures.

A run that diverged counts: its accuracy is part of the mean, and where it has no number (the epochs to a target that it
never reached) the table says how many runs have one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

# Student's t, 97.5 %, for 1, 2, ... degrees of freedom
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
     2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)  # fmt: skip


@dataclass(frozen=True)
class Band:
    """A mean of n numbers and its 95 % band: mean +- t s / sqrt(n) for n >= 5, the least and largest for fewer."""

    mean: float
    low: float
    high: float
    n: int


def band(values: Sequence[float]) -> Band:
    """The band of some numbers. Raises ValueError for none, and for NaN or infinity, which would spoil the mean
    without a word: leave such runs out, and say how many there were."""
    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"a mean needs finite numbers, got {numbers.tolist()}: count the runs that have none apart")
    n, mean = len(numbers), float(numbers.mean())
    if n < 5:
        return Band(mean, float(numbers.min()), float(numbers.max()), n)
    half = (T[n - 2] if n - 2 < len(T) else 1.96) * float(numbers.std(ddof=1)) / n**0.5
    return Band(mean, mean - half, mean + half, n)


def find(experiment: dict[str, Any], optimizer: str, lr: float, momentum: float, epochs: int) -> list[dict[str, Any]]:
    """The runs of one setting, by seed. Nesterov without momentum is momentum without momentum."""
    if momentum == 0 and optimizer == "nesterov":
        optimizer = "momentum"
    wanted = {"optimizer": optimizer, "lr": lr, "momentum": momentum, "epochs": epochs}
    found = [run for run in experiment["runs"] if all(run[name] == value for name, value in wanted.items())]
    return sorted(found, key=lambda run: int(run["seed"]))


def runs(experiment: dict[str, Any], optimizer: str, protocol: str, momentum: float) -> list[dict[str, Any]]:
    """The runs of one cell of the experiment. Raises ValueError if not all seeds are there."""
    lr = experiment["protocols"][optimizer][protocol]["lr"][str(momentum)]
    found = find(experiment, optimizer, lr, momentum, experiment["settings"]["epochs"])
    return _whole(found, experiment["settings"]["seeds"], f"{optimizer} with lr {lr}, momentum {momentum}")


def _whole(found: list[dict[str, Any]], seeds: int, what: str) -> list[dict[str, Any]]:
    if len(found) < seeds:
        raise ValueError(f"the experiment has {len(found)} of {seeds} runs of {what}: finish it first")
    return found


def momenta(experiment: dict[str, Any]) -> list[float]:
    """The values of momentum, in order."""
    return sorted(float(mu) for mu in experiment["protocols"]["momentum"]["small"]["lr"])


def final_accuracy(run: dict[str, Any]) -> float:
    """In per cent, at the end; for a run whose loss is no longer a number, that of one answer for all: 10."""
    last = run["test_accuracy"][-1]
    return 10.0 if last is None else float(last)


def epochs_to(run: dict[str, Any], target: float) -> float | None:
    """The first evaluation (there are four an epoch) with at least `target` per cent; None if there was none."""
    for k, accuracy in enumerate(run["test_accuracy"], 1):
        if accuracy is not None and accuracy >= target:
            return k / 4
    return None


def convergence_rate(run: dict[str, Any]) -> float | None:
    """The factor by which the training loss falls in an epoch: e to the slope of a straight line through log(loss),
    over the epochs with a loss between 1/2 and 1/20 of the first one's. None with fewer than two such epochs."""
    losses = [loss for loss in run["train_loss"] if loss is not None]
    epochs = [k for k, loss in enumerate(losses) if 0.05 <= loss / losses[0] <= 0.5]
    if len(epochs) < 2:
        return None
    return float(np.exp(np.polyfit(epochs, np.log([losses[k] for k in epochs]), 1)[0]))


def summary(experiment: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each optimizer, protocol and momentum: n runs, how many diverged, and the bands (None where no run
    has a number; `reached` says how many came to each target)."""
    low, high = experiment["settings"]["targets"]
    rows = []
    for optimizer, protocols in experiment["protocols"].items():
        for protocol in protocols:
            for mu in momenta(experiment):
                cell = runs(experiment, optimizer, protocol, mu)
                to_low, to_high = ([epochs_to(run, target) for run in cell] for target in (low, high))
                measures = {
                    "accuracy": [final_accuracy(run) for run in cell],
                    "train_loss": [run["train_loss"][-1] for run in cell],
                    "test_loss": [run["test_loss"][-1] for run in cell],
                    "epochs_to_low": to_low,
                    "epochs_to_high": to_high,
                    "convergence_rate": [convergence_rate(run) for run in cell],
                    **{name: [run[name] for run in cell] for name in ("overshoot", "cosine", "reversals", "zigzag")},
                }
                bands = {name: known(values) for name, values in measures.items()}
                rows.append({
                    "optimizer": optimizer, "protocol": protocol, "momentum": mu, "lr": cell[0]["lr"], "n": len(cell),
                    "diverged": sum(run["diverged"] is not None for run in cell),
                    "reached": [sum(one is not None for one in to) for to in (to_low, to_high)], **bands,
                })  # fmt: skip
    return rows


def known(values: Sequence[float | None]) -> Band | None:
    """The band of those that are numbers; None if none is. (band.n says how many.)"""
    numbers = [value for value in values if value is not None and isfinite(value)]
    return band(numbers) if numbers else None


def cell(rows: Sequence[dict[str, Any]], optimizer: str, protocol: str, momentum: float) -> dict[str, Any]:
    """The row of summary() for one setting."""
    for row in rows:
        if (row["optimizer"], row["protocol"], row["momentum"]) == (optimizer, protocol, momentum):
            return row
    raise KeyError(f"no row for {optimizer}, {protocol}, momentum {momentum}")


def heat(experiment: dict[str, Any]) -> tuple[list[float], list[float], np.ndarray, np.ndarray]:
    """The map: (rates, momenta, mean final accuracy [rate, momentum], fraction of runs diverged)."""
    settings, mus = experiment["settings"], momenta(experiment)
    rates = [float(lr) for lr in settings["heat_rates"]]
    epochs, seeds = settings["heat_epochs"], settings["heat_seeds"]
    cells = [[_whole(find(experiment, "momentum", lr, mu, epochs), seeds, f"the map's lr {lr}, momentum {mu}")
              for mu in mus] for lr in rates]  # fmt: skip
    accuracy = np.array([[np.mean([final_accuracy(run) for run in c]) for c in row] for row in cells])
    lost = np.array([[np.mean([run["diverged"] is not None for run in c]) for c in row] for row in cells])
    return rates, mus, accuracy, lost


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks, ties with their mean rank; NaN if either is all ties."""

    def ranks(values: Sequence[float]) -> np.ndarray:
        array = np.asarray(values, dtype=float)
        return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])

    x, y = ranks(a), ranks(b)
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else float("nan")


def curve(cell: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high, n) along a list that every run has, such as "curve" or "test_accuracy". Where some runs have
    diverged, n is smaller and the mean is over those that are left; where all have, it is NaN, which draws nothing."""
    bands = [known(values) for values in zip(*(run[name] for run in cell))]
    blank = Band(np.nan, np.nan, np.nan, 0)
    table = [(b.mean, b.low, b.high, b.n) for b in (one or blank for one in bands)]
    mean, low, high, n = np.array(table, dtype=float).T
    return mean, low, high, n
