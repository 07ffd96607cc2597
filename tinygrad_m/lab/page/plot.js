/* Drawing on a canvas: axes with ticks, lines, bands, dots. A Plot maps numbers to pixels; the colours are those of
   style.css, so that they follow the reader's light or dark mode. Nothing here is about momentum. */
"use strict";

/* One look for each method, as in the lab's figures (Okabe and Ito's colours, and a dash pattern). */
const METHODS = {
  gd: { name: "gradient descent", colour: "--black", dash: [], mark: "o" },
  momentum: { name: "momentum", colour: "--blue", dash: [], mark: "s" },
  nesterov: { name: "Nesterov", colour: "--orange", dash: [7, 3], mark: "^" },
  rmsprop: { name: "RMSprop", colour: "--green", dash: [8, 3, 2, 3], mark: "D" },
  "rmsprop-momentum": { name: "RMSprop + momentum", colour: "--red", dash: [11, 2], mark: "v" },
  adam: { name: "Adam", colour: "--purple", dash: [2, 3], mark: "P" },
};

/* Cividis (Nunez, Anderton and Renslow 2018): even steps of brightness, the same for colour-blind readers. */
const CIVIDIS = [
  [0, 34, 78], [0, 46, 106], [26, 56, 111], [50, 67, 109], [67, 78, 108], [83, 90, 109], [97, 101, 111],
  [111, 112, 115], [125, 124, 120], [140, 136, 120], [155, 148, 118], [171, 160, 114], [188, 174, 108],
  [205, 187, 99], [222, 201, 88], [240, 216, 70], [254, 232, 56],
];

function cividis(t) {
  const x = Math.min(1, Math.max(0, t)) * (CIVIDIS.length - 1), k = Math.min(CIVIDIS.length - 2, Math.floor(x));
  return CIVIDIS[k].map((c, i) => Math.round(c + (x - k) * (CIVIDIS[k + 1][i] - c)));
}

const rgb = (c) => `rgb(${c.join(" ")})`;

/* A colour or number of style.css; other colours as they are. */
function css(name) {
  return name.startsWith("--") ? getComputedStyle(document.documentElement).getPropertyValue(name).trim() : name;
}

class Plot {
  /* view: {x: [low, high], y: [low, high], xScale: "log" or "sqrt", yScale, xLabel, yLabel, grid, equal,
     pad: [top, right, bottom, left]} */
  constructor(canvas, view) {
    this.canvas = canvas;
    this.to = canvas.getContext("2d");
    this.set(view);
  }

  set(view) {
    Object.assign(this, { xScale: null, yScale: null, xLabel: "", yLabel: "", pad: [10, 12, 40, 52], grid: true }, view);
    const dpr = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [w, h] = [Math.round(width * dpr), Math.round(height * dpr)];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    const [top, right, bottom, left] = this.pad;
    Object.assign(this, { dpr, width, height, top, left, w: width - left - right, h: height - top - bottom });
    if (this.equal) this.square();
  }

  /* The same scale along both axes: widen the shorter one. */
  square() {
    const unit = Math.max((this.x[1] - this.x[0]) / this.w, (this.y[1] - this.y[0]) / this.h);
    for (const [axis, size] of [["x", this.w], ["y", this.h]]) {
      const middle = (this[axis][0] + this[axis][1]) / 2;
      this[axis] = [middle - unit * size / 2, middle + unit * size / 2];
    }
  }

  X(x) { return this.left + this.w * fraction(x, this.x, this.xScale); }
  Y(y) { return this.top + this.h * (1 - fraction(y, this.y, this.yScale)); }

  /* The numbers under a pixel. */
  at(px, py) {
    return [
      unfraction((px - this.left) / this.w, this.x, this.xScale),
      unfraction(1 - (py - this.top) / this.h, this.y, this.yScale),
    ];
  }

  clear() {
    this.to.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    this.to.clearRect(0, 0, this.width, this.height);
    this.to.lineJoin = this.to.lineCap = "round";
  }

  /* Ticks, grid lines and labels; `xTicks` and `yTicks` may replace the round numbers: [[value, text], ...]. */
  axes({ xTicks, yTicks } = {}) {
    const { to } = this, grid = css("--grid"), ink = css("--muted");
    to.font = FONT;
    to.lineWidth = 1;
    const xs = xTicks ?? ticks(this.x, this.xScale, this.w / 62), ys = yTicks ?? ticks(this.y, this.yScale, this.h / 34);
    const bottom = this.top + this.h;
    to.strokeStyle = grid;
    to.fillStyle = ink;
    to.textAlign = "center";
    to.textBaseline = "top";
    for (const [x, text] of xs) {
      if (this.grid) this.segment(this.X(x), this.top, this.X(x), bottom);
      to.fillText(text, this.X(x), bottom + 6);
    }
    to.textAlign = "right";
    to.textBaseline = "middle";
    for (const [y, text] of ys) {
      if (this.grid) this.segment(this.left, this.Y(y), this.left + this.w, this.Y(y));
      to.fillText(text, this.left - 7, this.Y(y));
    }
    to.textAlign = "center";
    to.textBaseline = "bottom";
    to.fillText(this.xLabel, this.left + this.w / 2, this.height - 2);
    to.save();
    to.translate(11, this.top + this.h / 2);
    to.rotate(-Math.PI / 2);
    to.textBaseline = "middle";
    to.fillText(this.yLabel, 0, 0);
    to.restore();
  }

  segment(x0, y0, x1, y1) {
    this.to.beginPath();
    this.to.moveTo(x0, y0);
    this.to.lineTo(x1, y1);
    this.to.stroke();
  }

  /* Draw inside the axes only. */
  clipped(draw) {
    this.to.save();
    this.to.beginPath();
    this.to.rect(this.left, this.top, this.w, this.h);
    this.to.clip();
    draw();
    this.to.restore();
  }

  /* A line through points; it is interrupted where a coordinate is no number. look: {colour, width, dash, alpha} */
  line(xs, ys, look = {}) {
    this.clipped(() => {
      this.look(look);
      this.trace(xs, ys);
      this.to.stroke();
    });
  }

  band(xs, low, high, look = {}) {
    this.clipped(() => {
      this.look({ alpha: 0.18, ...look });
      const there = xs.map((_, k) => k).filter((k) => isNumber(low[k]) && isNumber(high[k]));
      const back = [...there].reverse();
      this.trace([...there, ...back].map((k) => xs[k]), [...there.map((k) => high[k]), ...back.map((k) => low[k])]);
      this.to.fill();
    });
  }

  /* A thin line from 0 to each point, and a dot. */
  stems(xs, ys, look = {}) {
    this.clipped(() => {
      this.look({ ...look, width: 1.2, alpha: 0.55 });
      const zero = this.Y(0);
      xs.forEach((x, k) => this.segment(this.X(x), zero, this.X(x), this.Y(bounded(ys[k], this.y))));
    });
    this.dots(xs, ys, { radius: 2.4, ...look });
  }

  dots(xs, ys, look = {}) {
    this.clipped(() => {
      this.look(look);
      xs.forEach((x, k) => {
        if (!isNumber(x) || !isNumber(ys[k])) return;
        this.to.beginPath();
        this.to.arc(this.X(x), this.Y(ys[k]), look.radius ?? 3, 0, 2 * Math.PI);
        this.to.fill();
      });
    });
  }

  /* A marker with a halo: o s ^ v D P or x. */
  mark(x, y, look = {}) {
    const { to } = this, r = look.radius ?? 5;
    to.save();
    this.look(look);
    to.setLineDash([]);
    const inside = (at, from, size) => Math.min(from + size, Math.max(from, at)); // at the edge rather than not at all
    to.translate(inside(this.X(x), this.left, this.w), inside(this.Y(y), this.top, this.h));
    to.beginPath();
    (SHAPES[look.mark] ?? SHAPES.o)(to, r);
    if (look.mark === "x") {
      to.lineWidth = 2.5;
      to.stroke();
    } else {
      to.lineWidth = 3;
      to.strokeStyle = look.halo ?? css("--card");
      to.stroke();
      to.fill();
    }
    to.restore();
  }

  text(x, y, words, look = {}) {
    const { to } = this;
    to.save();
    this.look(look);
    to.font = look.font ?? FONT;
    to.textAlign = look.align ?? "left";
    to.textBaseline = look.baseline ?? "middle";
    if (look.halo) {
      to.strokeStyle = css(look.halo);
      to.lineWidth = 3;
      to.setLineDash([]);
      to.strokeText(words, x, y);
    }
    to.fillText(words, x, y);
    to.restore();
  }

  look({ colour = "--ink", width = 1.8, dash = [], alpha = 1 }) {
    this.to.strokeStyle = this.to.fillStyle = css(colour);
    this.to.lineWidth = width;
    this.to.globalAlpha = alpha;
    this.to.setLineDash(dash);
  }

  trace(xs, ys) {
    let pen = false;
    this.to.beginPath();
    for (let k = 0; k < xs.length; k++) {
      const there = isNumber(xs[k]) && isNumber(ys[k]);
      if (there) this.to[pen ? "lineTo" : "moveTo"](this.X(bounded(xs[k], this.x)), this.Y(bounded(ys[k], this.y)));
      pen = there;
    }
  }
}

const FONT = '12px "Helvetica Neue", "Segoe UI", Roboto, Arial, sans-serif';

const SHAPES = {
  o: (to, r) => to.arc(0, 0, r, 0, 2 * Math.PI),
  s: (to, r) => to.rect(-0.85 * r, -0.85 * r, 1.7 * r, 1.7 * r),
  "^": (to, r) => polygon(to, [[0, -1.15 * r], [1.1 * r, 0.8 * r], [-1.1 * r, 0.8 * r]]),
  v: (to, r) => polygon(to, [[0, 1.15 * r], [1.1 * r, -0.8 * r], [-1.1 * r, -0.8 * r]]),
  D: (to, r) => polygon(to, [[0, -1.25 * r], [1.25 * r, 0], [0, 1.25 * r], [-1.25 * r, 0]]),
  P: (to, r) => {
    const a = 0.42 * r, b = 1.15 * r;
    const quarter = [[-a, -b], [a, -b], [a, -a]], turn = ([x, y]) => [-y, x];
    const half = [...quarter, ...quarter.map(turn)];
    polygon(to, [...half, ...half.map(turn).map(turn)]);
  },
  x: (to, r) => { to.moveTo(-r, -r); to.lineTo(r, r); to.moveTo(r, -r); to.lineTo(-r, r); },
};

function polygon(to, points) {
  points.forEach(([x, y], k) => to[k ? "lineTo" : "moveTo"](x, y));
  to.closePath();
}

const isNumber = (x) => typeof x === "number" && !Number.isNaN(x);

/* Far outside the picture is as good as infinity, and canvases cannot draw that. */
function bounded(x, [low, high]) {
  const span = 50 * (high - low);
  return Math.min(high + span, Math.max(low - span, x));
}

/* Where in [low, high] a number is, from 0 to 1, and back. Square roots begin at 0. */
function fraction(x, [low, high], scale) {
  if (scale === "log") return Math.log(Math.max(x, 1e-300) / low) / Math.log(high / low);
  return scale === "sqrt" ? Math.sqrt(Math.max(0, x) / high) : (x - low) / (high - low);
}

function unfraction(t, [low, high], scale) {
  if (scale === "log") return low * (high / low) ** t;
  return scale === "sqrt" ? high * Math.max(0, t) ** 2 : low + t * (high - low);
}

/* About n round numbers in [low, high]: [[value, text], ...]. */
function ticks([low, high], scale, n) {
  if (scale === "log") {
    const from = Math.ceil(Math.log10(low) - 1e-9), to = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((to - from + 1) / Math.max(2, n)));
    return range(from, to, every).map((k) => [10 ** k, power(k)]);
  }
  const rough = (high - low) / Math.max(2, n), unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * unit).find((f) => f >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (String(step / unit).includes(".") ? 1 : 0));
  return range(first, last, 1).map((k) => [k * step, (k * step).toFixed(Math.min(8, digits)).replace("-", "−")]);
}

function range(from, to, step) {
  const list = [];
  for (let k = from; k <= to; k += step) list.push(k);
  return list;
}

function power(k) {
  if (k >= 0 && k <= 4) return String(10 ** k);
  if (k < 0 && k >= -3) return (10 ** k).toFixed(-k);
  return "10" + [...String(k)].map((c) => c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("");
}
