/* Section 1: the three pictures beside the map. Each takes the page's point, {s, mu, nesterov, kappa, sigma}. */
"use strict";

/* How many steps one must see. */
function horizon({ s, mu, nesterov, kappa, sigma }) {
  const rate = Math.max(spectralRadius(s, mu, nesterov), spectralRadius(s / kappa, mu, nesterov));
  if (rate > 1 + 1e-12) return 40;
  return [40, 100, 250].find((n) => n >= (sigma ? 5 : 1.7) * stepsPerDigit(rate)) ?? 600;
}

/* A run of the point, as the optimizer makes it. */
function example(point) {
  const draws = normals(7), error = point.sigma ? () => point.sigma * draws() : undefined;
  return simulate(point.s, point.mu, point.nesterov, horizon(point), error).w;
}

/* The largest |value|, but no more than `most`. */
const largest = (values, most) => values.reduce((high, x) => Math.max(high, Math.min(most, Math.abs(x))), 0);

function drawSeries(point) {
  const { s, mu, nesterov, kappa, sigma } = point, steps = horizon(point), w = example(point);
  const ks = range(0, steps, 1), high = 1.12 * Math.max(1, largest(w, 11)), notes = [];
  const plot = new Plot($("series"), { x: [0, steps], y: [-high, high], xLabel: "step", yLabel: "distance w",
    pad: [10, 12, 40, 60] });
  plot.clear();
  plot.axes();
  plot.line([0, steps], [0, 0], { colour: "--muted", width: 1 });
  const spread = Math.sqrt(steadyVariance(s, 1, mu, sigma ** 2, nesterov));
  if (sigma && spread < Infinity) {
    plot.band(ks, ks.map(() => -2 * spread), ks.map(() => 2 * spread), { colour: "--orange" });
    notes.push("band: two standard deviations, by the formula");
  }
  const bound = sigma ? null : envelope(s, mu, nesterov);
  if (bound) {
    for (const side of [1, -1]) {
      plot.line(ks, ks.map((k) => side * bound(k)), { colour: "--orange", dash: [5, 4], width: 1.6 });
    }
    notes.push(`dashed: the envelope, ∝\u00a0${rateText(spectralRadius(s, mu, nesterov))}ᵏ`);
  }
  if (plot.w > 4 * steps) plot.stems(ks, w, { colour: "--blue" });
  else plot.line(ks, w, { colour: "--blue" });
  if (kappa > 1) {
    plot.line(ks, simulate(s / kappa, mu, nesterov, steps).w, { colour: "--red", dash: [11, 2], width: 2.2 });
    notes.unshift("blue: along the steepest direction L; red, long dashes: along the flattest, m");
  }
  $("series-note").textContent = notes.join(" · ");
  plot.canvas.setAttribute("aria-label", `w over ${steps} steps, from 1: at the end it is ${short(w[steps])}.`);
}

function drawPhase(point) {
  const run = example(point), velocity = run.slice(1).map((w, k) => w - run[k]), w = run.slice(0, -1);
  const most = spectralRadius(point.s, point.mu, point.nesterov) > 1 ? 3 : 1e6;
  const far = 1.12 * Math.max(0.05, largest(w, most)), fast = 1.12 * Math.max(0.002, largest(velocity, most));
  const plot = new Plot($("phase"), { x: [-far, far], y: [-fast, fast], xLabel: "distance w", yLabel: "velocity",
    pad: [10, 12, 40, 62] });
  plot.clear();
  plot.axes({ xTicks: ticks([-far, far], null, 4) });
  plot.line([-far, far], [0, 0], { colour: "--muted", width: 1 });
  plot.line([0, 0], [-fast, fast], { colour: "--muted", width: 1 });
  plot.line(w, velocity, { colour: "--blue", width: 1.3, alpha: 0.8 });
  if (w.length <= 120) plot.dots(w, velocity, { colour: "--blue", radius: 2.6 });
  plot.mark(w[0], velocity[0], { mark: "D", colour: "--red", radius: 5 });
  $("phase-note").textContent = phaseWords(point);
  plot.canvas.setAttribute("aria-label", `Velocity against distance: ${phaseWords(point)}.`);
}

function drawRoots(point) {
  const { s, mu, nesterov } = point, rate = spectralRadius(s, mu, nesterov);
  const wide = Math.max(1.25, 1.15 * Math.min(rate, 4));
  const plot = new Plot($("circle"), { x: [-wide, wide], y: [-wide, wide], equal: true, xLabel: "real part",
    yLabel: "imaginary part" });
  const turn = range(0, 120, 1).map((k) => (2 * Math.PI * k) / 120), ones = [-1, 0, 1].map((x) => [x, short(x)]);
  const circle = (r, look) => plot.line(turn.map((a) => r * Math.cos(a)), turn.map((a) => r * Math.sin(a)), look);
  plot.clear();
  plot.axes({ xTicks: ones, yTicks: ones });
  circle(1, { colour: "--ink", width: 1.8 });
  circle(rate, { colour: "--orange", dash: [5, 4], width: 1.6 });
  for (const root of roots(s, mu, nesterov)) {
    plot.line([0, root.re], [0, root.im], { colour: "--blue", width: 1, alpha: 0.7 });
    plot.mark(root.re, root.im, { colour: rate >= 1 ? "--red" : "--blue", radius: 6 });
  }
  $("circle-note").textContent = rootWords(point);
  plot.canvas.setAttribute("aria-label", `The two roots and the unit circle: ${rootWords(point)}.`);
}
