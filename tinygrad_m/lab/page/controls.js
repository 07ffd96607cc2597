/* Sliders, buttons and pictures that one can touch: mouse, finger and keyboard do the same. And numbers as words. */
"use strict";

const $ = (id) => document.getElementById(id);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/* Call draw() once before the next frame, however often it is asked for. */
function onceAFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}

/* Draw again when a canvas gets another size, or the colours change. */
function redrawOnChange(canvases, draw) {
  const observer = new ResizeObserver(draw);
  canvases.forEach((canvas) => observer.observe(canvas));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("resize", draw); // zooming changes the pixels alone
}

/* A slider with its number beside it. scale: the value for the slider's position, and back. */
function slider(id, { get = (x) => x, put = (x) => x, text = (x) => short(x), change }) {
  const input = $(id), output = document.querySelector(`output[for="${id}"]`);
  const control = {
    show(value) {
      input.value = put(value);
      output.textContent = text(value);
      input.setAttribute("aria-valuetext", text(value));
    },
  };
  input.addEventListener("input", () => change(get(Number(input.value))));
  return control;
}

/* The slider goes from 0 to 1, its value from low to high on that scale. */
function scaled(low, high, scale) {
  return { get: (t) => unfraction(t, [low, high], scale), put: (x) => fraction(x, [low, high], scale) };
}

/* Radio buttons with one name: call change(value). */
function choices(name, change) {
  for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
    input.addEventListener("change", () => change(input.value));
  }
}

/* A picture that is picked from: pick(x, y) with numbers of plot()'s axes while it is pressed and moved;
   nudge(dx, dy, fine) for an arrow key; key(event) for all others; done() when it is let go. */
function pickable(canvas, plot, { pick, nudge, key = () => {}, done = () => {} }) {
  let pressed = false;
  const send = (event) => {
    const box = canvas.getBoundingClientRect();
    pick(...plot().at(event.clientX - box.left, event.clientY - box.top));
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    pressed = true;
    canvas.setPointerCapture?.(event.pointerId);
    canvas.focus({ preventScroll: true });
    event.preventDefault();
    send(event);
  });
  canvas.addEventListener("pointermove", (event) => pressed && send(event));
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (pressed) done();
      pressed = false;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (way && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      nudge(...way, event.shiftKey);
    } else key(event);
  });
}

/* 0.12345 -> "0.123", 12345 -> "12 345", 1e-7 -> "1e−7". Spaces do not break. */
function short(x, digits = 3) {
  if (x === Infinity) return "∞";
  if (!isNumber(x)) return "—";
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-4) {
    return x.toExponential(Math.min(1, digits - 1)).replace("e+", "e").replace(".0e", "e").replaceAll("-", "−");
  }
  if (size >= 1000) return String(Math.round(x)).replace(/\B(?=(\d{3})+$)/g, "\u202f").replace("-", "−");
  return String(Number(x.toPrecision(digits))).replace("-", "−");
}

/* A number near 1, such as a rate: 0.9487, 0.99499; never rounded to 1 unless it is. */
function rateText(rate) {
  for (let digits = 3; digits < 9; digits++) {
    const text = rate.toFixed(digits);
    if (Math.abs(rate - 1) < 1e-12) return "1";
    if (Math.abs(Number(text) - rate) < 0.06 * Math.abs(1 - rate)) return text;
  }
  return rate.toPrecision(9);
}

const percent = (x) => `${short(100 * x, x < 0.1 ? 2 : 3)}\u00a0%`;
const plural = (n, word) => `${short(n)}\u00a0${word}${n === 1 ? "" : "s"}`;

/* Steps that it takes to come ten times closer. */
const stepsPerDigit = (rate) => (rate >= 1 ? Infinity : rate <= 0 ? 1 : Math.max(1, Math.log(10) / -Math.log(rate)));

/* Words from the data, for innerHTML. */
const plainText = (words) => String(words).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/* A sentence on the page: only what has changed is written, since screen readers read it aloud. */
function say(id, html) {
  const element = $(id);
  if (element.dataset.said !== html) element.innerHTML = element.dataset.said = html;
}
