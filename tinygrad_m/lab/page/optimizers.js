/* The optimizers that race, formula by formula as in tinygrad_m/optim, and the landscapes that they race on, as in
   tinygrad_m/lab/landscapes.py. An optimizer is a function that gives a step(w, g), which changes the place w (a list
   of one or two coordinates) in place. Read race.js next. */
"use strict";

const OPTIMIZERS = {
  gd: ({ lr }) => (w, g) => {
    for (let i = 0; i < w.length; i++) w[i] -= lr * g[i];
  },

  momentum: ({ lr, momentum }) => {
    const v = [0, 0];
    return (w, g) => {
      for (let i = 0; i < w.length; i++) {
        v[i] = momentum * v[i] + g[i];
        w[i] -= lr * v[i];
      }
    };
  },

  nesterov: ({ lr, momentum }) => {
    const v = [0, 0];
    return (w, g) => {
      for (let i = 0; i < w.length; i++) {
        v[i] = momentum * v[i] + g[i];
        w[i] -= lr * (g[i] + momentum * v[i]); // one step ahead of the velocity
      }
    };
  },

  rmsprop: ({ lr }) => OPTIMIZERS["rmsprop-momentum"]({ lr, momentum: 0 }),

  "rmsprop-momentum": ({ lr, momentum, alpha = 0.99, eps = 1e-8 }) => {
    const s = [0, 0], b = [0, 0];
    return (w, g) => {
      for (let i = 0; i < w.length; i++) {
        s[i] = alpha * s[i] + (1 - alpha) * g[i] * g[i];
        b[i] = momentum * b[i] + g[i] / (Math.sqrt(s[i]) + eps);
        w[i] -= lr * b[i];
      }
    };
  },

  adam: ({ lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8 }) => {
    const m = [0, 0], s = [0, 0];
    let t = 0;
    return (w, g) => {
      t += 1;
      for (let i = 0; i < w.length; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        s[i] = beta2 * s[i] + (1 - beta2) * g[i] * g[i];
        w[i] -= lr / (1 - beta1 ** t) * m[i] / (Math.sqrt(s[i] / (1 - beta2 ** t)) + eps);
      }
    };
  },
};

/* f and its gradient. Their starts, boxes and minima come with the page's data, from landscapes.py. */
const TURN = 2 * Math.PI;
const LANDSCAPES = {
  ravine: {
    f: (x, y) => 0.1 * x * x + 2 * y * y,
    gradient: (x, y) => [0.2 * x, 4 * y],
  },
  banana: {
    f: (x, y) => (1 - x) ** 2 + 20 * (3 * y - x * x) ** 2,
    gradient: (x, y) => [-2 * (1 - x) - 80 * x * (3 * y - x * x), 120 * (3 * y - x * x)],
  },
  saddle: {
    f: (x, y) => 0.5 * x * x + 0.0125 * (y * y - 1) ** 2,
    gradient: (x, y) => [x, 0.05 * y * (y * y - 1)],
  },
  "double-well": {
    f: (x) => (x * x - 1) ** 2 + 0.3 * x,
    gradient: (x) => [4 * x * (x * x - 1) + 0.3],
  },
  rastrigin: {
    f: (x, y) => 20 + x * x + y * y - 10 * (Math.cos(TURN * x) + Math.cos(TURN * y)),
    gradient: (x, y) => [2 * x + 10 * TURN * Math.sin(TURN * x), 2 * y + 10 * TURN * Math.sin(TURN * y)],
  },
};

/* The places after 0, 1, ... steps. It ends early where it has diverged: more than 1000 away, or no number. */
function descend(landscape, method, settings, start, steps) {
  const { gradient } = LANDSCAPES[landscape], step = OPTIMIZERS[method](settings);
  const w = [...start], path = [[...w]];
  for (let k = 0; k < steps && !lost(w); k++) {
    step(w, gradient(...w));
    path.push([...w]);
  }
  return path;
}

function lost(w) {
  return !w.every((x) => Math.abs(x) <= 1000);
}

/* Which of the minima w is near: its index, or -1. */
function nearest(minima, w, near) {
  return minima.findIndex((m) => Math.hypot(...m.map((x, i) => x - w[i])) <= near);
}

/* The step after which a path is near a minimum for `hold` steps in a row; Infinity if never, or, with a box, if it
   leaves that box on its way. */
function arrival(path, minima, rule, box) {
  let row = 0;
  for (let k = 0; k < path.length; k++) {
    if (box && outside(box, path[k])) return Infinity;
    row = nearest(minima, path[k], rule.near) >= 0 ? row + 1 : 0;
    if (row === rule.hold) return k + 1 - rule.hold;
  }
  return Infinity;
}

function outside(box, w) {
  return !w.every((x, i) => box[i][0] <= x && x <= box[i][1]);
}

/* A box `times` as wide and high, around the first one. */
function wider(box, times) {
  return box.map(([low, high]) => {
    const more = ((times - 1) / 2) * (high - low);
    return [low - more, high + more];
  });
}

/* The rule, the same for every method: of all rates, the one that arrives after the fewest steps and is never thrown
   far out, rule.fence times the box (of two at once, the smaller one); if none does, the one that ends lowest. */
function tune(landscape, method, settings, { start, minima, box }, rule) {
  const { f } = LANDSCAPES[landscape];
  let best = null, horizon = rule.steps;
  for (const lr of rule.rates) {
    const path = descend(landscape, method, { ...settings, lr }, start, horizon + rule.hold - 1);
    const steps = arrival(path, minima, rule, wider(box, rule.fence)), end = path[path.length - 1];
    const height = lost(end) ? Infinity : f(...end);
    const lower = steps === Infinity && best?.steps === Infinity && height < best.height;
    if (!best || steps < best.steps || lower) best = { lr, steps, height };
    horizon = Math.min(horizon, best.steps); // who is slower has lost already
  }
  return best;
}
