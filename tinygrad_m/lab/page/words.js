/* Section 1 in words: what theory.js computes, as sentences. A point is {s, mu, nesterov, kappa}: s = lr h along the
   steepest direction, and kappa how many times flatter the flattest one is. */
"use strict";

/* What happens at a point, in one direction. */
function regimeWords({ s, mu, nesterov }) {
  const rate = spectralRadius(s, mu, nesterov), kind = regime(s, mu, nesterov), beyond = overshoot(s, mu, nesterov);
  if (s === 0) return "<b>Nothing moves:</b> lr × h is 0.";
  if (kind === "diverging") {
    if (rate <= 1 + 1e-12) return "<b>On the edge:</b> nothing is lost from step to step, so w never comes to rest.";
    return `<b>Diverging:</b> every step makes the distance ${rateText(rate)} times as large. ` +
      `With momentum ${short(mu)}, lr × h must stay below <b>${short(stabilityLimit(mu, nesterov))}</b>.`;
  }
  if (rate === 0) return "<b>One step:</b> lr × h is 1 and there is no momentum: the first step lands on the minimum.";

  const plain = stepsPerDigit(spectralRadius(s, 0, false));
  const without = plain === Infinity ? "it diverges" : short(plain);
  const pace = `One decimal digit takes <b>${plural(stepsPerDigit(rate), "step")}</b>` +
    (mu > 0 ? ` (without momentum: ${without}).` : ".");
  const shrink = `every step shrinks it by <b>${rateText(rate)}</b>`;
  if (kind === "critically damped") {
    return `<b>Critically damped:</b> the fastest way in without a swing; ${shrink}. ${pace}`;
  }
  if (kind === "under-damped") {
    const swing = short((2 * Math.PI) / frequency(s, mu, nesterov));
    const far = beyond > 5e-4 ? `it overshoots the minimum by <b>${percent(beyond)}</b>` : "it hardly oversteps the minimum";
    return `<b>Under-damped: ripples</b>; ${shrink}, a swing takes <b>${swing} steps</b>, and ${far}. ${pace}`;
  }
  if (kind === "oscillating") {
    const peak = Math.max(...simulate(s, mu, nesterov, 200).w.map(Math.abs));
    const grown = peak > 1 ? `, after it has grown to ${short(peak)} times the start` : "";
    return `<b>Jumping across:</b> w changes its side at every step; ${shrink}${grown}. ${pace}`;
  }
  return `<b>Over-damped:</b> w creeps in from one side; ${shrink}. ${pace}`;
}

/* What happens in the flattest and the steepest direction at once, and the best that could. */
function spectrumWords({ s, mu, nesterov, kappa }) {
  if (kappa <= 1) {
    return "One curvature only. Move the slider: a second point appears on the map, for the flattest direction of a bowl " +
      "that is κ times as steep along L as along m. One lr and one momentum must serve both.";
  }
  const flat = spectralRadius(s / kappa, mu, nesterov), steep = spectralRadius(s, mu, nesterov);
  const worst = Math.max(flat, steep);
  const who = Math.abs(flat - steep) < 1e-6 ? "both set" : flat > steep ? "the flattest sets" : "the steepest sets";
  const pace = worst >= 1 ? "so it <b>diverges</b>" : `so ${who} the pace: <b>${short(stepsPerDigit(worst))} steps a digit</b>`;
  const best = optimal(kappa, nesterov ? "nesterov" : "momentum"), plain = optimal(kappa, "gd");
  return `Each step multiplies the flattest direction m by <b>${rateText(flat)}</b> and the steepest, L, by ` +
    `<b>${rateText(steep)}</b>, ${pace}. The best that ${nesterov ? "Nesterov" : "momentum"} can do for κ = ${short(kappa)} ` +
    `is ${rateText(best.rate)} (${short(stepsPerDigit(best.rate))} steps a digit), plain gradient descent ` +
    `${rateText(plain.rate)} (${short(stepsPerDigit(plain.rate))}).`;
}

/* The path in the plane of distance and velocity. */
function phaseWords({ s, mu, nesterov, sigma }) {
  if (sigma) return "noise keeps it moving";
  const turn = (2 * Math.PI) / frequency(s, mu, nesterov);
  return {
    "under-damped": `a spiral: ${short(turn)} steps a turn`,
    "over-damped": "no turn: it slides in",
    "critically damped": "the last path without a turn",
    oscillating: "a flip at every step",
    diverging: s === 0 ? "at rest" : spectralRadius(s, mu, nesterov) > 1 + 1e-12 ? "outwards" : "round and round",
  }[regime(s, mu, nesterov)];
}

function rootWords({ s, mu, nesterov }) {
  const [a, b] = roots(s, mu, nesterov);
  if (Math.hypot(a.re - b.re, a.im) < 1e-6) return `a double root at ${short(a.re)}`;
  if (!a.im) return `two real roots: ${short(a.re)} and ${short(b.re)}`;
  const angle = short((180 / Math.PI) * frequency(s, mu, nesterov));
  return `a complex pair, size ${rateText(spectralRadius(s, mu, nesterov))}, angle ${angle}°`;
}

/* The variance that noise keeps alive, compared with gradient descent's. */
function noiseWords({ s, mu, nesterov, sigma }) {
  if (!sigma) return "No noise: w comes to rest at the minimum. Add some, as small batches do.";
  if (!converges(s, mu, nesterov)) {
    return "Here w does not come to rest even without noise: there is no steady variance.";
  }
  if (mu === 0) return "Without momentum: so far the noise keeps w from the minimum. Now add momentum and watch it grow.";
  const variance = steadyVariance(s, 1, mu, sigma ** 2, nesterov), plain = steadyVariance(s, 1, 0, sigma ** 2, false);
  if (plain === Infinity) return "Without momentum this lr × h would diverge, so there is nothing to compare with.";
  const matched = steadyVariance(s * (1 - mu), 1, mu, sigma ** 2, nesterov);
  return `At this lr, momentum ${short(mu)} makes the variance <b>${short(variance / plain)} times</b> that of plain gradient ` +
    `descent: its steps are up to 1 / (1 − μ) = ${short(1 / (1 - mu))} times as long. Divide lr by that factor, and the ` +
    `variance is ${short(matched / plain)} times that of gradient descent at the lr it has now.`;
}
