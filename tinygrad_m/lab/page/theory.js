/* What momentum does on a parabola f = h w^2 / 2. All depends on s = lr * h and on the momentum mu:

     w_k+1 = T w_k - D w_k-1       momentum  T = 1 + mu - s          D = mu
                                   Nesterov  T = (1 + mu) (1 - s)    D = mu (1 - s)

   and the two roots of z^2 - T z + D = 0 say how fast w goes to 0, and whether it swings. This is theory.py once more,
   in JavaScript; check.js compares the two. Read words.js next, which says it, and regimes.js, which draws it. */
"use strict";

function traceAndDeterminant(s, mu, nesterov) {
  return nesterov ? [(1 + mu) * (1 - s), mu * (1 - s)] : [1 + mu - s, mu];
}

function roots(s, mu, nesterov) {
  const [T, D] = traceAndDeterminant(s, mu, nesterov);
  const gap = T * T - 4 * D;
  if (gap < 0) {
    const im = Math.sqrt(-gap) / 2;
    return [{ re: T / 2, im }, { re: T / 2, im: -im }];
  }
  const first = (T + (T < 0 ? -1 : 1) * Math.sqrt(gap)) / 2; // the larger one in size
  return [{ re: first, im: 0 }, { re: first === 0 ? 0 : D / first, im: 0 }];
}

/* The rate: after many steps, each step multiplies the distance to the minimum by this. */
function spectralRadius(s, mu, nesterov) {
  const [T, D] = traceAndDeterminant(s, mu, nesterov);
  const gap = T * T - 4 * D;
  return gap < 0 ? Math.sqrt(Math.max(D, 0)) : (Math.abs(T) + Math.sqrt(Math.max(gap, 0))) / 2;
}

/* Is the rate below 1? Asked without a root's rounding: both roots are inside the unit circle (Jury). */
function converges(s, mu, nesterov) {
  const [T, D] = traceAndDeterminant(s, mu, nesterov);
  return Math.abs(T) < 1 + D && D < 1;
}

/* The angle of the larger root: a full swing takes 2 pi / theta steps. */
function frequency(s, mu, nesterov) {
  const [T, D] = traceAndDeterminant(s, mu, nesterov);
  return Math.atan2(Math.sqrt(Math.max(4 * D - T * T, 0)), T);
}

/* s must be below this, or w diverges. */
function stabilityLimit(mu, nesterov) {
  return nesterov ? (2 + 2 * mu) / (1 + 2 * mu) : 2 + 2 * mu;
}

/* The fastest momentum at this s in [0, 1]: with less, w creeps; with more, it swings. */
function criticalMomentum(s, nesterov) {
  const root = Math.sqrt(s);
  return nesterov ? (1 - root) / (1 + root) : (1 - root) ** 2;
}

function regime(s, mu, nesterov) {
  const [T, D] = traceAndDeterminant(s, mu, nesterov);
  const gap = T * T - 4 * D;
  if (!converges(s, mu, nesterov)) return "diverging";
  if (Math.abs(gap) <= 1e-12) return T >= 0 ? "critically damped" : "oscillating";
  if (gap < 0) return "under-damped";
  return T < 0 ? "oscillating" : "over-damped";
}

/* w_1, from w_0 = 1 at rest. */
function firstStep(s, mu, nesterov) {
  return nesterov ? 1 - (1 + mu) * s : 1 - s;
}

/* max(0, -min w_k): how far w swings to the other side, over whole steps k. */
function overshoot(s, mu, nesterov) {
  const [T, D] = traceAndDeterminant(s, mu, nesterov);
  const first = firstStep(s, mu, nesterov);
  if (s === 0) return 0;
  if (!converges(s, mu, nesterov)) return Infinity;
  let best = 0;
  if (T * T >= 4 * D) {
    if (T > 0) return 0; // positive roots: w keeps its sign
    for (let w = first, after = T * first - D; -w > best; ) {
      best = -w;
      w = T * after - D * w;
      after = T * w - D * after;
    }
    return best;
  }
  const r = Math.sqrt(D), theta = Math.atan2(Math.sqrt(4 * D - T * T), T);
  const slope = (first / r - Math.cos(theta)) / Math.sin(theta); // w_k = A r^k cos(k theta - phi)
  const A = Math.hypot(1, slope), phi = Math.atan(slope), lag = Math.atan(-Math.log(r) / theta);
  let trough = (phi + Math.PI - lag) / theta;
  for (let k = 0; k < 1e5 && A * r ** trough * Math.cos(lag) > best; k++) { // each trough is higher than the last
    for (const step of [Math.floor(trough), Math.ceil(trough)]) {
      best = Math.max(best, -A * r ** step * Math.cos(step * theta - phi));
    }
    trough += 2 * Math.PI / theta;
  }
  return best;
}

/* Where every gradient has an independent error of variance `noise`: the variance of w in the end. */
function steadyVariance(lr, h, mu, noise, nesterov) {
  const [T, D] = traceAndDeterminant(lr * h, mu, nesterov);
  if (!converges(lr * h, mu, nesterov)) return Infinity;
  const p = nesterov ? 1 + mu : 1, q = nesterov ? -mu : 0;
  const above = T * (1 - D) * p * q + (1 + D) * (p * p + q * q + T * p * q);
  return lr * lr * noise * above / ((1 - D) * ((1 + D) ** 2 - T * T));
}

/* The settings that are best for all curvatures from m to L = kappa m at once. lr is in units of 1 / L. */
function optimal(kappa, method) {
  const root = Math.sqrt(kappa), three = Math.sqrt(3 * kappa + 1);
  if (method === "gd") return { lr: 2 * kappa / (kappa + 1), momentum: 0, rate: (kappa - 1) / (kappa + 1) };
  if (method === "nesterov") {
    return { lr: 4 * kappa / (3 * kappa + 1), momentum: (three - 2) / (three + 2), rate: 1 - 2 / three };
  }
  const rate = (root - 1) / (root + 1);
  return { lr: 4 * kappa / (root + 1) ** 2, momentum: rate ** 2, rate };
}

/* The curve C rate^k that the ripples touch, as a function of k; null where w creeps or diverges. */
function envelope(s, mu, nesterov) {
  const kind = regime(s, mu, nesterov), rate = spectralRadius(s, mu, nesterov), first = firstStep(s, mu, nesterov);
  if (kind === "under-damped") {
    const theta = frequency(s, mu, nesterov), slope = (first / rate - Math.cos(theta)) / Math.sin(theta);
    return (k) => Math.hypot(1, slope) * rate ** k;
  }
  if (kind !== "oscillating") return null;
  const [a, b] = roots(s, mu, nesterov);
  if (Math.abs(a.re - b.re) < 1e-6) return (k) => (1 + k * Math.abs(first / a.re - 1)) * rate ** k; // a double root
  return (k) => Math.abs((first - b.re) / (a.re - b.re)) * rate ** k;
}

/* w_0 = 1, w_1 ... as the optimizer makes them, with the velocity u = lr v before each. error(): the gradient's noise. */
function simulate(s, mu, nesterov, steps, error = () => 0) {
  const w = [1], u = [0];
  for (let k = 0; k < steps; k++) {
    const g = s * (w[k] + error());
    u.push(mu * u[k] + g);
    w.push(w[k] - (nesterov ? g + mu * u[k + 1] : u[k + 1]));
  }
  return { w, u };
}

/* Normal random numbers, the same ones every time: mulberry32, and Box and Muller. */
function normals(seed) {
  let state = seed >>> 0, spare = null;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
  return () => {
    if (spare !== null) { const value = spare; spare = null; return value; }
    const r = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    spare = r * Math.sin(angle);
    return r * Math.cos(angle);
  };
}
