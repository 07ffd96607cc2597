/* Section 1, with noise in the gradient: a simulation that runs on, a batch of steps in each frame, while one looks at
   it. The variance that it measures stands beside the formula's (steadyVariance in theory.js). */
"use strict";

class NoisyRun {
  static BATCH = 20000;
  static BATCHES = 60;

  /* point: {s, mu, nesterov, sigma}, with h = 1 and so lr = s. It begins when start() is called, and calls show() after
     each batch. */
  constructor(point) {
    const { s, mu, nesterov, sigma } = point;
    this.name = JSON.stringify(point);
    this.point = point;
    this.runs = sigma > 0 && converges(s, mu, nesterov);
    const digits = stepsPerDigit(spectralRadius(s, mu, nesterov));
    this.settle = this.runs ? Math.min(2e6, Math.ceil(9 * digits)) : 0; // steps until the start is forgotten
    this.means = []; // of w^2, in each batch
    this.draw = normals(1);
    this.w = this.u = 0;
  }

  start(show) {
    const frame = () => {
      if (this.stopped || this.means.length >= NoisyRun.BATCHES) return;
      if (this.settle) this.walk(this.settle);
      this.settle = 0;
      do this.means.push(this.walk(NoisyRun.BATCH)); while (calm() && this.means.length < NoisyRun.BATCHES);
      show();
      requestAnimationFrame(frame);
    };
    if (this.runs) requestAnimationFrame(frame);
    return this;
  }

  /* The mean of w^2 over so many steps. */
  walk(steps) {
    const { s, mu, nesterov, sigma } = this.point;
    let { w, u } = this, sum = 0;
    for (let k = 0; k < steps; k++) {
      const g = s * (w + sigma * this.draw());
      u = mu * u + g;
      w -= nesterov ? g + mu * u : u;
      sum += w * w;
    }
    Object.assign(this, { w, u });
    return sum / steps;
  }

  /* The variance so far, and its standard error: the batches are long enough to count as independent. */
  get measured() {
    const n = this.means.length, mean = this.means.reduce((a, b) => a + b, 0) / n;
    const spread = this.means.reduce((sum, m) => sum + (m - mean) ** 2, 0) / (n - 1);
    return { mean, error: Math.sqrt(spread / n), steps: n * NoisyRun.BATCH };
  }
}

function showNoise(run) {
  const { s, mu, nesterov, sigma } = run.point, { mean, error, steps } = run.measured;
  const formula = run.runs ? steadyVariance(s, 1, mu, sigma ** 2, nesterov) : NaN;
  const plain = sigma && s > 0 && s < 2 ? steadyVariance(s, 1, 0, sigma ** 2, false) : NaN;
  $("noise-measured").textContent = short(mean);
  $("noise-steps").textContent = steps ? `± ${short(2 * error, 2)}, over ${short(steps)} steps` : "not running";
  $("noise-formula").textContent = short(formula);
  $("noise-plain").textContent = short(plain);
  Object.assign($("noise").dataset, { measured: mean, error, formula, steps });
  say("noise-words", noiseWords(run.point));
}
