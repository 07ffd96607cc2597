"""Momentum with what one uses it with: adaptive rates, weight decay, schedules, batch sizes, dropout. Each experiment
is a function of the plan and stands alone: it trains one small network on MNIST from the same weights and in the same
order of images (training.py), and says what it saw as claims. descendants.py has Lion and Muon; `study` runs all."""

from __future__ import annotations

import math

import numpy as np

from .descendants import descendants
from .study import Claim, Options, Study
from .training import Job, Part, Plan, Run, accuracies, ahead, band, path, picture, spread, table, train


def adaptive(plan: Plan) -> Part:
    """RMSprop's momentum sums steps, u <- g / sqrt(s); b <- momentum b + u: a constant gradient is amplified by
    1 / (1 - momentum), as in SGD. Adam's beta1 averages, m <- beta1 m + (1 - beta1) g: no such factor."""
    mus, lr = plan.pick((0.0, 0.9, 0.99), (0.0, 0.5, 0.9, 0.99)), 1e-3
    settings: dict[tuple[str, float], Job] = {}
    for mu in mus:
        settings["fixed", mu] = {"optimizer": "rmsprop", "settings": {"lr": lr, "momentum": mu}}
        settings["matched", mu] = {"optimizer": "rmsprop", "settings": {"lr": lr * (1 - mu), "momentum": mu}}
        settings["adam", mu] = {"optimizer": "adam", "settings": {"lr": lr, "betas": (mu, 0.999)}}
    del settings["matched", 0.0]  # the same run as "fixed"
    runs = plan.repeat(settings, "adaptive rates")
    runs["matched", 0.0] = runs["fixed", 0.0]
    once = {**plan.size, "seed": plan.seeds[0], "steps": 1, "watch": 1}
    kick = {
        name: float(np.abs(train({**once, **settings[name, 0.99]})["update"]).max()) / lr for name in ("fixed", "adam")
    }
    alone: tuple[tuple[str, float, Job], ...] = (
        ("rmsprop", 0.0, {}), ("rmsprop", 0.9, {"momentum": 0.9}), ("adam", 0.9, {"betas": (0.9, 0.999)}),
    )  # fmt: skip
    steps = {
        f"{name} {mu}": -np.diff(path(name, {"lr": lr, **own}, np.ones(600)), prepend=0.0) / lr
        for name, mu, own in alone
    }

    ruin, half = ahead(runs["fixed", 0.0], runs["fixed", 0.99])
    left, half_left = ahead(runs["matched", 0.0], runs["matched", 0.99])
    part = left / ruin if ruin > 0 else math.nan  # of nothing there is no part: it fails
    low = [runs["matched", mu] for mu in mus if mu <= 0.9]
    one = "one weight, its gradient always 1, 600 steps"
    claims = [
        Claim("RMSprop: momentum 0.99, at the lr that suits 0, loses accuracy (points)",
              ruin, plan.pick(3, 15), 90, plan.said(half)),
        Claim("RMSprop at lr (1 - momentum): from 0 to 0.9 the accuracy stays (best less worst, points)",
              spread(low), 0, 2.5, plan.said()),
        Claim("RMSprop at lr (1 - momentum): 0.99 loses but a part of what it lost at one lr (part)",
              part, -0.2, plan.pick(0.8, 0.5), f"{plan.said()}; it lost {left:.2g} +- {half_left:.2g} points (95 %)"),
        Claim("Adam at one lr: from beta1 0 to 0.99 the accuracy hardly changes (best less worst, points)",
              spread([runs["adam", mu] for mu in mus]), 0, 4, plan.said()),
        Claim("RMSprop with momentum 0.9 under a constant gradient: steps grow to 1 / (1 - 0.9) = 10 lr (lr)",
              steps["rmsprop 0.9"][-1], 9.9, 10.2, one),
        Claim("Adam with beta1 0.9 under a constant gradient: steps are 1 lr long (lr)",
              steps["adam 0.9"][-1], 0.999, 1.001, one),
        Claim("RMSprop starts cold: its first step on MNIST is 1 / sqrt(1 - alpha) = 10 lr long (lr)",
              kick["fixed"], 9.9, 10.01, plan.said() + "; alpha 0.99, s starts at 0 uncorrected"),
        Claim("Adam corrects for its cold start: its first step on MNIST is 1 lr long (lr)",
              kick["adam"], 0.99, 1.01, plan.said() + "; Kingma and Ba, arXiv 1412.6980"),
    ]  # fmt: skip
    data = {"momentum": mus, "accuracy": table(runs), "steps": steps, "first step": kick}
    caption = (
        "Left: test accuracy after the same steps. RMSprop's momentum makes steps longer, so that it needs a lower lr; "
        "Adam's beta1 does not. Right: why. Notice how RMSprop starts: with ten times its lr."
    )
    return Part(claims, [picture("adaptive", caption, data)], data)


def decay(plan: Plan) -> Part:
    """Coupled weight decay, g <- g + weight_decay w, goes through the velocity: like every gradient it is amplified
    by 1 / (1 - momentum), and divided by sqrt(s) in Adam. Decoupled, w <- w - lr weight_decay w, it is left alone."""
    pace, zeros = 1e-4, np.zeros(2000)  # lr weight_decay; no gradient but the decay's
    own: dict[str, tuple[str, Job]] = {
        "SGD": ("sgd", {"lr": 0.1}), "SGD, momentum 0.9": ("sgd", {"lr": 0.01, "momentum": 0.9}),
        "SGDW, momentum 0.9": ("sgdw", {"lr": 0.01, "momentum": 0.9}),
        "AdamW": ("adamw", {"lr": 1e-3}), "Adam": ("adam", {"lr": 1e-3}),
    }  # fmt: skip
    alone = {
        name: path(method, {**settings, "lr": 0.01, "weight_decay": pace / 0.01}, zeros, start=30.0)
        for name, (method, settings) in own.items()
    }
    speed = {name: math.log(w[999] / w[1999]) / (1000 * pace) for name, w in alone.items()}
    weak, strong = (1 - path("adam", {"lr": 1e-3, "weight_decay": d}, zeros[:100], 1.0)[-1] for d in (1e-3, 1e-1))

    plan, amounts = plan.fewer(2), plan.pick((0.0, 0.01, 0.1), (0.0, 0.001, 0.01, 0.1))
    runs = plan.repeat({
        (name, amount): {"optimizer": method, "settings": {**settings, "weight_decay": amount}}
        for name, (method, settings) in own.items() for amount in amounts if amount or method[-1] != "w"
    }, "weight decay")  # fmt: skip
    for name, same in ("SGDW, momentum 0.9", "SGD, momentum 0.9"), ("AdamW", "Adam"):
        runs[name, 0.0] = runs[same, 0.0]  # without decay they do the same
    norm = {name: np.array([[run["norm"] for run in runs[name, a]] for a in amounts]) for name in own}
    plain, coupled, apart, adamw, adam = (rows.mean(axis=1) for rows in norm.values())
    zero = "no gradient but the decay's, lr weight_decay = 0.0001, from step 1000 to 2000; speed / (lr weight_decay)"
    mnist = plan.said() + "; norm of both matrices at the end"
    claims = [
        Claim("Coupled decay with momentum 0.9 is 1 / (1 - 0.9) = 10 times as fast (speed)",
              speed["SGD, momentum 0.9"], 10.0, 10.3, zero),
        Claim("Decoupled decay with momentum 0.9 is as fast as without (speed)",
              speed["SGDW, momentum 0.9"], 0.999, 1.001, zero),
        Claim("AdamW's decay is as fast as plain SGD's at the same lr (ratio)",
              speed["AdamW"] / speed["SGD"], 0.999, 1.001, zero),
        Claim("Adam divides coupled decay's size away: 100 times as much moves a weight as far (ratio)",
              strong / weak, 0.99, 1.01, "weight_decay 0.1 and 0.001, no other gradient, 100 steps"),
        Claim("MNIST: coupled, at one lr / (1 - momentum), decay gives one norm, whatever the momentum (part off)",
              np.abs(coupled / plain - 1).max(), 0, 0.06, mnist + ", lr / (1 - momentum) = 0.1"),
        Claim("MNIST: decoupled, momentum 0.9 needs 10 times the weight_decay for that norm (part off)",
              abs(apart[-1] / coupled[-2] - 1), 0, 0.06, f"{mnist}, {amounts[-1]} apart and {amounts[-2]} coupled"),
        Claim("MNIST: Adam's coupled decay shrinks weights more than AdamW's (ratio of norms)",
              adam[-1] / adamw[-1], 0.05, 0.7, f"{mnist}, weight_decay {amounts[-1]}; arXiv 1711.05101"),
    ]  # fmt: skip
    data = {"alone": {name: w[::20] for name, w in alone.items()}, "every": 20, "speed": speed,
            "weight_decay": amounts, "norm": norm, "accuracy": table(runs)}  # fmt: skip
    caption = (
        "Left: one weight under decay alone. Right: the size of the network's weights after training. Notice that "
        "coupled decay goes with lr / (1 - momentum) and decoupled with lr, and how strong it is in Adam."
    )
    return Part(claims, [picture("decay", caption, data)], data)


def schedules(plan: Plan) -> Part:
    """OneCycleLR lowers momentum while lr is high: what counts is lr / (1 - momentum). And where lr stands matters
    when it drops: inside the velocity, v <- momentum v - lr g, the old one goes on for 1 / (1 - momentum) steps."""
    n, low, high = plan.size["steps"], 0.005, 0.2
    styles: dict[str, Job] = {
        "cycled": {"momentum": 0.95, "cycle": True},
        "0.85": {"momentum": 0.85, "cycle": False},
        "0.95": {"momentum": 0.95, "cycle": False},
    }
    runs = plan.repeat({
        (name, top): {"settings": {"lr": top, "momentum": own["momentum"]},
                      "schedule": ("OneCycleLR", {"max_lr": top, "total_steps": n, "cycle_momentum": own["cycle"]})}
        for name, own in styles.items() for top in (low, high)
    }, "one cycle")  # fmt: skip
    cycles = {name: {key: np.array(runs[name, high][0][key]) for key in ("lr", "momentum")} for name in styles}
    peak = {name: float((own["lr"] / (1 - own["momentum"])).max()) / high for name, own in cycles.items()}
    gain, half_gain = ahead(runs["cycled", high], runs["0.95", high])
    even, half_even = ahead(runs["0.85", high], runs["cycled", high])
    more, half_more = ahead(runs["0.95", low], runs["cycled", low])

    before, drop, after = 10, plan.pick(50, 120), plan.pick({0.9: 20, 0.99: 60}, {0.9: 30, 0.99: 100})  # steps
    forms = {"outside": "sgd", "inside": "rate-inside"}
    dropped = plan.repeat({
        (form, mu): {
            "optimizer": method, "settings": {"lr": lr, "momentum": mu}, "steps": drop + after[mu] + 1,
            "schedule": ("MultiStepLR", {"milestones": [drop]}), "probe": (drop - before, drop + after[mu] + 1),
        }
        for form, method in forms.items() for mu, lr in ((0.9, 0.05), (0.99, 0.005))
    }, "a drop of lr")  # fmt: skip
    probes = {key: np.array([run["probe"] for run in own]) for key, own in dropped.items()}
    excess = {mu: (probes["inside", mu] - probes["outside", mu])[:, before + 1 :].mean(axis=1) for mu in after}
    steps = {form: np.diff(path(method, {"lr": 0.1, "momentum": 0.9}, np.ones(2), rates=(0.1, 0.01))).item()
             for form, method in forms.items()}  # fmt: skip

    def seeds(mu: float) -> str:
        return plan.said(band(excess[mu])[1], drop + after[mu])

    one = "OneCycleLR; Smith and Topin, arXiv 1708.07120"
    two = "lr falls to a tenth; the two forms: Goyal et al., arXiv 1706.02677, equations 9 and 10"
    claims = [
        Claim("One cycle, momentum 0.95 to 0.85 and back: lr / (1 - momentum) reaches max_lr / (1 - 0.85) (max_lr)",
              peak["cycled"], 6.3, 1 / (1 - 0.85) + 1e-6, one),
        Claim("One cycle, momentum left at 0.95: lr / (1 - momentum) reaches three times as much (ratio)",
              peak["0.95"] / peak["cycled"], 2.9, 3.2, one),
        Claim(f"One cycle to lr {high}: cycling the momentum beats leaving it at 0.95 (points)",
              gain, plan.pick(3, 8), 90, f"{plan.said(half_gain)}; {one}"),
        Claim(f"One cycle to lr {high}: a fixed 0.85, with the same top of lr / (1 - momentum), is no worse than "
              "cycling (points above)", even, -2, 7, f"{plan.said(half_even)}; {one}"),
        Claim(f"One cycle to lr {low}, which is too low: now a fixed 0.95 beats cycling (points)",
              more, 0, 10, f"{plan.said(half_more)}; {one}"),
        Claim("Momentum 0.9, a constant gradient: with lr inside the velocity, the step after a drop of lr is 0.1 / "
              "0.019 times as long (ratio)", steps["inside"] / steps["outside"], 5.262, 5.264, two),
        Claim("MNIST, momentum 0.99: with lr inside the velocity, the loss after a drop is higher (mean)",
              excess[0.99].mean(), 0.05, 20, f"{after[0.99]} steps after it; {seeds(0.99)}; {two}"),
        Claim("MNIST, momentum 0.9: with lr inside the velocity, the loss after a drop is higher (mean)",
              excess[0.9].mean(), 0, 2, f"{after[0.9]} steps after it; {seeds(0.9)}; {two}"),
    ]  # fmt: skip
    losses = {name: np.array([_whole(run, n) for run in runs[name, high]]) for name in styles}
    data = {"cycles": cycles, "peak": peak, "loss": losses, "high": high, "accuracy": table(runs), "before": before,
            "drop": drop, "probes": {f"{form} {mu}": rows for (form, mu), rows in probes.items()},
            "excess": {str(mu): values for mu, values in excess.items()}}  # fmt: skip
    cycle = (
        "lr and momentum along one cycle, and what they make together. Notice the third panel: with 0.95 throughout, "
        "lr / (1 - momentum) is three times as high at the top, and there the loss goes up."
    )
    dropping = (
        "The loss on 500 training images around a drop of lr to a tenth. Notice that with lr inside the velocity "
        "nothing drops at first: the old, long steps go on for about 1 / (1 - momentum) steps."
    )
    return Part(claims, [picture("onecycle", cycle, data), picture("drop", dropping, data)], data)


def _whole(run: Run, steps: int) -> list[float]:
    """A run's losses, infinite from where it diverged."""
    losses: list[float] = run["loss"]
    return losses + [math.inf] * (steps - len(losses))


def batches(plan: Plan) -> Part:
    """The larger the batch, the less noise, and the higher the rate that a run bears: with momentum more so. Without
    noise, on a curvature h, gd bears lr h < 2 and momentum lr h < 2 + 2 momentum: as lr / (1 - momentum), 19 times
    as much with 0.9. In noise both bear the same lr / (1 - momentum). (Shallue et al., JMLR 2019; arXiv 2306.09000)"""
    plan = plan.fewer(2)
    mus, sizes = (0.0, 0.9), plan.pick((16, 256), (16, 64, 256, 1024))
    rates = 0.05 * 2.0 ** np.arange(*plan.pick((0, 8), (-1, 9)))
    steps = plan.pick(60, 150)
    runs = plan.repeat({
        (size, mu, k): {"settings": {"lr": rate * (1 - mu), "momentum": mu}, "batch": size, "steps": steps}
        for size in sizes for mu in mus for k, rate in enumerate(rates)
    }, "batch sizes")  # fmt: skip
    loss = {(size, mu): np.array([[run["test_loss"] for run in runs[size, mu, k]] for k in range(len(rates))])
            for size in sizes for mu in mus}  # fmt: skip
    mean = {key: table.mean(axis=1) for key, table in loss.items()}
    edge = {key: _edge(rates, values, 2 * min(mean[key[0], mu].min() for mu in mus)) for key, values in mean.items()}
    ratio = {size: edge[size, 0.9] / edge[size, 0.0] for size in sizes}
    small, large = sizes[0], sizes[-1]
    apart = max(abs(mean[size, 0.9][0] / mean[size, 0.0][0] - 1) for size in sizes[1:])
    said = f"{plan.said(steps=steps)}, lr / (1 - momentum) from {rates[0]:g} to {rates[-1]:g}"
    what = "; the rate where the test loss reaches twice the best"
    claims = [
        Claim(f"At the lowest lr / (1 - momentum), {rates[0]:g}, momentum hardly changes the test loss (part)",
              apart, 0, 0.12, f"{said}, batches above {small}; Fu et al., arXiv 2306.09000"),
        Claim(f"Batch {small}, much noise: with momentum 0.9 the lr / (1 - momentum) can be little higher (ratio)",
              ratio[small], 0.5, 4, said + what),
        Claim(f"Batch {large}, little noise: with momentum 0.9 the lr / (1 - momentum) can be much higher (ratio)",
              ratio[large], 2.5, 25, said + what + "; without noise 19"),
        Claim(f"From batch {small} to {large} this advantage of momentum grows (ratio of the ratios)",
              ratio[large] / ratio[small], 1.5, 30, said + what + "; Shallue et al., JMLR 20, 2019"),
        Claim(f"Batch {large}: the best test loss with momentum is no worse than without (loss without / loss with)",
              mean[large, 0.0].min() / mean[large, 0.9].min(), plan.pick(0.9, 1.0), 2.0, said),
    ]  # fmt: skip
    data = {"rates": rates, "sizes": sizes, "loss": {f"{size} {mu}": table for (size, mu), table in loss.items()},
            "edge": {f"{size} {mu}": value for (size, mu), value in edge.items()}, "steps": steps}  # fmt: skip
    caption = (
        f"Test loss after {steps} steps over lr / (1 - momentum); dotted: twice the best; crosses: 4 or more, or "
        "diverged. Notice that the curves agree on the left, and that the range of rates that work grows with the "
        "batch, far more with momentum."
    )
    return Part(claims, [picture("batches", caption, data)], data)


def _edge(rates: np.ndarray, losses: np.ndarray, limit: float) -> float:
    """The rate where the loss passes `limit` for good, read off on logarithmic axes between two of the grid's."""
    k = int(np.flatnonzero(losses <= limit).max(initial=0))
    if k + 1 == len(rates):
        return float(rates[k])
    low, high = (math.log(min(value, 1e3)) for value in losses[k : k + 2])
    part = min(1.0, max(0.0, (math.log(limit) - low) / (high - low)))
    return float(rates[k] * (rates[k + 1] / rates[k]) ** part)


def dropout(plan: Plan) -> Part:
    """Dropout makes gradients noisier, and momentum at a given lr makes noise count more: a velocity of longer memory
    takes longer steps. So a momentum that is just bearable without dropout may not be with it."""
    mus, lr = plan.pick((0.0, 0.8, 0.95, 0.99), (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)), 0.05
    amounts = plan.pick((0.0, 0.5), (0.0, 0.2, 0.5))
    runs = plan.repeat({
        (p, mu): {"settings": {"lr": lr, "momentum": mu}, "dropout": p} for p in amounts for mu in mus
    }, "dropout")  # fmt: skip
    means = {p: [float(accuracies(runs[p, mu]).mean()) for mu in mus] for p in amounts}
    best = {p: mus[int(np.argmax(means[p]))] for p in amounts}
    keep = mus.index(best[0.0])
    cost = {mu: accuracies(runs[0.0, mu]) - accuracies(runs[0.5, mu]) for mu in mus}
    more, half = band(cost[0.99] - cost[0.0])
    shift, half_shift = band(cost[0.95] - cost[0.8])
    said = f"SGD, lr {lr}; "
    claims = [
        Claim("Without momentum, dropout 0.5 changes little at this length of training (accuracy lost, points)",
              cost[0.0].mean(), -3, 3, said + plan.said(band(cost[0.0])[1])),
        Claim("With momentum 0.99 at the same lr, dropout 0.5 costs much more than without momentum (points more)",
              more, 4, 80, said + plan.said(half)),
        Claim("Dropout moves good momenta down: with it, 0.8 gains on 0.95 (points)", shift, 0, 40,
              said + plan.said(half_shift)),
        Claim("Keeping the momentum that is best without dropout costs a few points at most (points)",
              max(max(row) - row[keep] for row in means.values()), 0, 4, said + plan.said()),
    ]  # fmt: skip
    data = {"momentum": mus, "dropout": amounts, "lr": lr, "accuracy": table(runs),
            "best": {str(p): mu for p, mu in best.items()}}  # fmt: skip
    caption = (
        "Test error over momentum at one lr, with and without dropout. Notice the right end: dropout costs little "
        "where momentum is low, and much where steps are already too long."
    )
    return Part(claims, [picture("dropout", caption, data)], data)


def study(options: Options) -> Study:
    """The whole part. Quick: 4,000 images, 90 steps, 2 or 3 seeds, coarser grids; else 12,000, 5 epochs, 4 seeds."""
    plan = Plan.of(options)
    experiments = (adaptive, decay, schedules, batches, dropout, descendants)
    parts = {experiment.__name__: experiment(plan) for experiment in experiments}
    text = (
        "Momentum is hardly ever used alone. Here it meets adaptive rates, weight decay, schedules, large batches and "
        "dropout, and then its descendants Lion and Muon, all on one small network on MNIST. One rule explains most "
        "of what one sees: where the velocity sums, what counts is lr / (1 - momentum), not lr."
    )
    claims = [claim for part in parts.values() for claim in part.claims]
    figures = [figure for part in parts.values() for figure in part.figures]
    data = {"seeds": plan.seeds, "size": plan.size, **{name: part.data for name, part in parts.items()}}
    return Study("techniques", "Momentum and its partners", text, claims, figures, data)
