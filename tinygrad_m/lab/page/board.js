/* Section 2: its pictures. The landscape with the runs on it, and their heights over the steps. `scene` is what race.js
   shows: {name, land, start, step, runs: [[method, run], ...], horizon, height}, with no method that is hidden. */
"use strict";

const TAIL = 300; // steps of a path that are drawn in full, if it does not arrive
const ROWS = 14; // steps of brightness
let relief = null; // the last landscape's picture

function drawBoard(scene) {
  return scene.land.box.length === 2 ? drawFromAbove(scene) : drawFromTheSide(scene);
}

/* Two coordinates: a map. */
function drawFromAbove(scene) {
  const { box, minima } = scene.land;
  const plot = new Plot($("board"), { x: box[0], y: box[1], xLabel: "x", yLabel: "y", grid: false, pad: [8, 8, 36, 46] });
  plot.clear();
  const name = [scene.name, plot.width, plot.height, plot.dpr, css("--card")].join();
  if (relief?.name !== name) relief = { name, image: paintRelief(plot, scene.height) };
  plot.to.drawImage(relief.image, plot.left, plot.top, plot.w, plot.h);
  plot.axes();
  for (const m of minima.filter((m) => !outside(box, m))) plot.mark(...m, { mark: "x", radius: 6 });
  for (const [method, { path, steps }] of scene.runs) {
    const past = path.slice(0, scene.step + 1), { colour, dash } = METHODS[method];
    const drawn = steps < scene.step ? past.slice(0, steps + 20) : past.slice(-TAIL); // the rest would be scribble
    const [xs, ys] = [0, 1].map((i) => drawn.map((w) => w[i]));
    plot.line(past.map((w) => w[0]), past.map((w) => w[1]), { colour, width: 1, alpha: 0.25 });
    plot.line(xs, ys, { colour: "--card", width: 4, alpha: 0.55 });
    plot.line(xs, ys, { colour, dash, width: 2 });
  }
  for (const [method, run] of scene.runs) markRun(plot, method, run, scene.step, ([, y]) => y);
  markStart(plot, scene.start[0], scene.start[1]);
  return plot;
}

/* One coordinate: balls on a curve; those at one place lie on one another. */
function drawFromTheSide(scene) {
  const [box] = scene.land.box, xs = range(0, 400, 1).map((k) => unfraction(k / 400, box));
  const fs = xs.map((x) => scene.height([x])), top = Math.max(2.5, 1.1 * scene.height(scene.start));
  const plot = new Plot($("board"), { x: box, y: [-0.4, top], xLabel: "x", yLabel: "f, above its lowest point",
    pad: [8, 8, 36, 46] });
  plot.clear();
  plot.axes();
  plot.line(xs, fs, { colour: "--muted", width: 2 });
  for (const m of scene.land.minima) plot.mark(m[0], scene.height(m), { mark: "x", radius: 6 });
  const taken = [];
  for (const [method, run] of scene.runs) {
    const x = plot.X(run.path[Math.min(scene.step, run.path.length - 1)][0]);
    const below = taken.filter((other) => Math.abs(other - x) < 12).length;
    taken.push(x);
    markRun(plot, method, run, scene.step, (w) => scene.height(w) + ((8 + 13 * below) / plot.h) * (top + 0.4));
  }
  markStart(plot, scene.start[0], scene.height(scene.start));
  return plot;
}

function markRun(plot, method, { path, lost }, step, up) {
  const at = Math.min(step, path.length - 1), { colour, mark } = METHODS[method];
  plot.mark(path[at][0], up(path[at]), { colour, mark: at >= lost ? "x" : mark, radius: 6 });
}

function markStart(plot, x, y) {
  plot.mark(x, y, { colour: "--card", halo: css("--ink"), radius: 7 });
  plot.mark(x, y, { colour: "--ink", halo: "transparent", radius: 2.5 });
}

/* Height as brightness, in even steps of its logarithm, and a line at each step. */
function paintRelief(plot, height) {
  const image = document.createElement("canvas");
  image.width = Math.round(plot.w * plot.dpr);
  image.height = Math.round(plot.h * plot.dpr);
  const to = image.getContext("2d"), data = to.createImageData(image.width, image.height);
  const [low, high] = ["--relief-low", "--relief-high"].map((name) => css(name).split(" ").map(Number));
  const heights = new Float64Array(image.width * image.height);
  for (let j = 0, at = 0; j < image.height; j++) {
    const y = unfraction(1 - (j + 0.5) / image.height, plot.y);
    for (let i = 0; i < image.width; i++, at++) heights[at] = height([unfraction((i + 0.5) / image.width, plot.x), y]);
  }
  const top = heights.reduce((a, b) => Math.max(a, b)), unit = top / 400;
  const row = heights.map((f) => Math.floor((Math.log1p(Math.max(0, f) / unit) / Math.log1p(400)) * ROWS));
  for (let at = 0; at < row.length; at++) {
    const edge = row[at] !== (row[at + 1] ?? row[at]) || row[at] !== (row[at + image.width] ?? row[at]);
    const t = row[at] / ROWS - (edge ? 0.07 : 0);
    data.data.set([...low.map((c, k) => c + t * (high[k] - c)), 255], 4 * at);
  }
  to.putImageData(data, 0, 0);
  return image;
}

function drawHeights({ runs, step, horizon }) {
  const floor = 1e-7, top = 30 * Math.max(0.01, ...runs.map(([, run]) => run.heights[0]));
  const plot = new Plot($("losses"), { x: [1, horizon], y: [floor, top], xScale: "log", yScale: "log",
    xLabel: "step (log)", yLabel: "f, above its lowest point", pad: [8, 12, 40, 58] });
  plot.clear();
  plot.axes();
  for (const [method, { heights, lost }] of runs) {
    const ys = heights.slice(0, Math.min(step, horizon) + 1).map((f) => Math.max(f, floor / 2));
    const { colour, dash, mark } = METHODS[method];
    plot.line(ys.map((_, k) => Math.max(k, 1)), ys, { colour, dash });
    if (lost <= step) plot.mark(lost, top, { mark: "x", colour });
    else plot.mark(Math.max(1, ys.length - 1), ys.at(-1), { mark, colour, radius: 4 });
  }
  plot.canvas.setAttribute("aria-label", `Height above the lowest point over ${step} steps; the table has the numbers.`);
}

/* A line and marker beside each method's name. */
function drawSample(canvas, { colour, dash, mark }) {
  const plot = new Plot(canvas, { x: [0, 1], y: [0, 1], pad: [0, 0, 0, 0] });
  plot.clear();
  plot.line([0, 1], [0.5, 0.5], { colour, dash, width: 2.2 });
  plot.mark(0.5, 0.5, { colour, mark, radius: 5 });
}
