/* Does the page compute what Python computes? golden holds numbers from theory.py, and paths of tinygrad_m's own
   optimizers on its own gradients; compare() does them again. The page's last line says what came out. */
"use strict";

const TOLERANCE = { theory: 1e-12, paths: 1e-9 };

/* The difference, relative to the number itself where that is large, and to `least` where it is small. */
function difference(mine, golden, least) {
  if (golden === null) return mine === Infinity ? 0 : Infinity; // JSON has no infinity
  if (typeof golden === "string") return mine === golden ? 0 : Infinity;
  const gap = Math.abs(mine - golden) / Math.max(least, Math.abs(golden));
  return Number.isNaN(gap) ? Infinity : gap;
}

function compare({ theory, limits, critical, optima, paths, tuned }, { landscapes, rule }) {
  const result = { theory: { count: 0, worst: 0 }, paths: { count: 0, worst: 0 } };
  const hold = (kind, mine, golden, least = 1) => {
    result[kind].count += 1;
    result[kind].worst = Math.max(result[kind].worst, difference(mine, golden, least));
  };
  for (const [s, mu, nesterov, radius, theta, kind, over, variance, first, second] of theory) {
    const pair = roots(s, mu, nesterov);
    hold("theory", spectralRadius(s, mu, nesterov), radius);
    hold("theory", frequency(s, mu, nesterov), theta);
    hold("theory", regime(s, mu, nesterov), kind);
    hold("theory", overshoot(s, mu, nesterov), over);
    hold("theory", steadyVariance(s, 1, mu, 1, nesterov), variance, 0);
    [first, second].forEach(([re, im], k) => { hold("theory", pair[k].re, re); hold("theory", pair[k].im, im); });
  }
  for (const [mu, nesterov, limit] of limits) hold("theory", stabilityLimit(mu, nesterov), limit);
  for (const [s, nesterov, mu] of critical) hold("theory", criticalMomentum(s, nesterov), mu);
  for (const [kappa, method, lr, momentum, rate] of optima) {
    const best = optimal(kappa, method);
    [[best.lr, lr], [best.momentum, momentum], [best.rate, rate]].forEach(([mine, theirs]) => hold("theory", mine, theirs));
  }
  for (const { landscape, method, settings, start, steps, places, values } of paths) {
    const path = descend(landscape, method, settings, start, Math.max(...steps));
    steps.forEach((step, k) => {
      places[k].forEach((x, i) => hold("paths", path[step]?.[i], x));
      hold("paths", LANDSCAPES[landscape].f(...(path[step] ?? [])), values[k]);
    });
  }
  for (const { landscape, method, momentum, lr, steps } of tuned) {
    const best = tune(landscape, method, { momentum }, landscapes[landscape], { ...rule, steps: 400 });
    hold("paths", best.lr, lr);
    hold("paths", best.steps, steps);
  }
  result.passed = result.theory.worst <= TOLERANCE.theory && result.paths.worst <= TOLERANCE.paths;
  return result;
}
