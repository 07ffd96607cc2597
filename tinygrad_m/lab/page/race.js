/* Section 2: all optimizers from one start. Whole runs are computed at once (optimizers.js), then played; board.js
   draws them. */
"use strict";

function race({ landscapes, rule }) {
  const state = { name: "banana", start: null, lr: 0.01, mu: 0.9, tuned: true, found: "", step: 0, playing: false };
  const SHARED = { "double-well": 0.01, rastrigin: 0.002 }; // there one asks where a run ends, not how fast: one lr
  const MOMENTA = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
  const hidden = new Set();
  let runs = [], plot = null; // runs: [[method, run], ...]
  const land = () => landscapes[state.name];
  const height = (w) => LANDSCAPES[state.name].f(...w) - land().lowest; // above the lowest point

  function change(news) {
    if (news.name && news.name !== state.name) {
      const lr = SHARED[news.name];
      Object.assign(state, { start: null, step: 0, playing: false, lr: lr ?? state.lr, tuned: !lr });
    }
    Object.assign(state, { found: "" }, news);
    state.start ??= [...land().start];
    runs = Object.keys(METHODS).map((method) => [method, run(method)]);
    draw();
  }

  /* One method's whole run. steps: until it arrived; place: at which minimum; lost: the step at which it had diverged. */
  function run(method) {
    const settings = { momentum: state.mu, beta1: state.mu }; // Adam's beta1 is its momentum
    const place = { ...land(), start: state.start };
    const lr = state.tuned ? tune(state.name, method, settings, place, rule).lr : state.lr;
    const path = descend(state.name, method, { ...settings, lr }, state.start, rule.steps + rule.hold);
    const steps = arrival(path, land().minima, rule), gone = lost(path.at(-1)) ? path.length - 1 : Infinity;
    const where = steps < Infinity ? nearest(land().minima, path[steps], rule.near) : -1;
    return { lr, path, steps, place: where, lost: gone, heights: path.map(height) };
  }

  // -- words ------------------------------------------------------------------------------------

  const at = (run, step = state.step) => Math.min(step, run.path.length - 1);
  const called = (method) => METHODS[method].name;
  const list = (some) => some.map(([method]) => called(method)).join(", ");

  function fate(run) {
    const { steps, path } = run, end = path.at(-1), before = path.at(-2);
    if (run.lost <= state.step) return `diverged at step ${run.lost}`;
    if (steps <= state.step) {
      const well = state.name === "double-well" ? ` in the ${["deeper", "shallower"][run.place]} well` : "";
      const left = state.step >= steps + rule.hold && nearest(land().minima, path[at(run)], rule.near) < 0;
      return `arrived after ${plural(steps, "step")}${well}${left ? ", and left again" : ""}`;
    }
    if (state.step < rule.steps) return "on its way";
    return Math.hypot(...end.map((x, i) => x - before[i])) < 1e-6 ? "at rest elsewhere" : "not there yet";
  }

  function sentence() {
    if (state.step === 0) {
      return "<b>Ready.</b> " + (state.tuned ? `Each method has the lr with which it arrives first: the same ` +
        `${rule.rates.length} to choose from for all.` : `All have the same lr, ${short(state.lr)}.`) + " Press Play.";
    }
    const there = runs.filter(([, run]) => run.steps <= state.step).sort((a, b) => a[1].steps - b[1].steps);
    const parts = [`<b>Step ${short(state.step)}.</b>`];
    if (there.length) {
      const [[first, { steps }]] = there;
      parts.push(`First: <b>${called(first)}</b>, after ${plural(steps, "step")}.`, speeds());
    }
    if (there.length > 1) parts.push(`Arrived: ${there.length} of ${runs.length}.`);
    if (!there.length) {
      const low = ([, run]) => run.heights[at(run)], [first] = [...runs].sort((a, b) => low(a) - low(b));
      parts.push(`Nobody has arrived; lowest is <b>${called(first[0])}</b>, ${short(low(first), 2)} above the lowest point.`);
    }
    if (there.length && state.name === "double-well") {
      const deep = there.filter(([, run]) => run.place === 0);
      parts.push(deep.length ? `In the deeper well: <b>${list(deep)}</b>.` : "All of these are in the shallower well.");
    }
    const stuck = runs.filter(([, run]) => fate(run) === "at rest elsewhere");
    const gone = runs.filter(([, run]) => run.lost <= state.step);
    if (stuck.length) parts.push(`At rest elsewhere: ${list(stuck)}.`);
    if (gone.length) parts.push(`<b>Diverged:</b> ${list(gone)}.`);
    return parts.filter(Boolean).join(" ");
  }

  /* Momentum against gradient descent, once both are there. */
  function speeds() {
    const { momentum, gd } = Object.fromEntries(runs), [own, plain] = [momentum.steps, gd.steps];
    if (state.name === "double-well" || own === 0 || Math.max(own, plain) > state.step) return "";
    if (own >= plain) return `Momentum (${short(own)}) was no faster than gradient descent (${short(plain)}).`;
    return `Momentum (${short(own)}) was ${short(plain / own)} times as fast as gradient descent (${short(plain)}).`;
  }

  function rules() {
    if (!state.tuned) {
      return "One lr for all. It does not mean the same to all: an RMSprop step is about lr long, whatever the gradient.";
    }
    const [low, high] = [rule.rates[0], rule.rates.at(-1)].map((lr) => short(lr));
    return `Each lr is tuned for this start by one rule: of ${rule.rates.length} rates from ${low} to ${high}, the one that ` +
      `first comes within ${short(rule.near)} of a minimum and stays for ${rule.hold} steps, without being thrown far out ` +
      `(if none does, the one that ends lowest).${state.found}`;
  }

  const heightText = (f) => (f < 1e-12 ? "0" : short(f, 2)); // less is rounding

  function table() {
    for (const [method, run] of runs) {
      const row = document.querySelector(`tr[data-method="${method}"]`), cells = row.querySelectorAll("td");
      const words = [short(run.lr), heightText(run.heights[at(run)]), fate(run)];
      words.forEach((text, k) => { cells[k].textContent = text; });
      row.classList.toggle("off", hidden.has(method));
      Object.assign(row.dataset, { steps: run.steps, lr: run.lr });
    }
  }

  // -- together ---------------------------------------------------------------------------------

  function show() {
    if (!$("board").clientWidth) return;
    const shown = runs.filter(([method]) => !hidden.has(method));
    const scene = { ...state, land: land(), runs: shown, horizon: rule.steps, height };
    plot = drawBoard(scene);
    drawHeights(scene);
    table();
    if (!state.playing || state.step % 25 === 0) say("race-words", sentence()); // read aloud: not at every step
    $("lesson").textContent = land().lesson;
    $("formula").textContent = land().formula.replace(/\^([23])/g, (_, n) => ({ 2: "²", 3: "³" })[n]);
    $("tune-words").textContent = rules();
    $("tune").setAttribute("aria-pressed", state.tuned);
    $("play").textContent = state.playing ? "Pause" : "Play";
    for (const input of document.querySelectorAll('input[name="land"]')) input.checked = input.value === state.name;
    rate.show(state.lr);
    if (state.tuned) $("race-lr-text").textContent = "each its own";
    momentum.show(state.mu);
    time.show(state.step);
    const view = land().box.length === 2 ? "from above" : "from the side", start = state.start.map((x) => short(x));
    $("board").setAttribute("aria-label", `The landscape ${$("formula").textContent}, seen ${view}. The start is at ` +
      `${start.join(", ")}. Arrow keys move it, with shift finely; Enter plays.`);
  }

  const draw = onceAFrame(show);

  /* Slowly at first, then faster, as the axis of steps does. With reduced motion: all at once. */
  function play() {
    state.playing = !state.playing;
    if (state.playing && state.step >= rule.steps) state.step = 0;
    if (state.playing && calm()) Object.assign(state, { step: rule.steps, playing: false });
    let exact = state.step;
    const tick = () => {
      if (!state.playing || Math.floor(exact) !== state.step) return; // paused, or moved by hand
      exact = Math.min(rule.steps, exact + Math.max(0.2, 0.012 * exact));
      Object.assign(state, { step: Math.floor(exact), playing: exact < rule.steps });
      draw();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    draw();
  }

  function go(step) {
    Object.assign(state, { playing: false, step: clamp(step, 0, rule.steps) });
    draw();
  }

  function move(...to) {
    change({ start: land().box.map(([low, high], i) => clamp(to[i], low, high)), playing: false });
  }

  /* The momentum with which heavy ball arrives first, its lr tuned too. */
  function bestMomentum() {
    const place = { ...land(), start: state.start };
    const tries = MOMENTA.map((mu) => ({ mu, ...tune(state.name, "momentum", { momentum: mu }, place, rule) }));
    const best = tries.reduce((a, b) => (b.steps < a.steps || (b.steps === a.steps && b.height < a.height) ? b : a));
    const found = best.steps === Infinity ? ` With none of ${MOMENTA.length} momenta does momentum arrive from here.`
      : ` Of ${MOMENTA.length} momenta, ${best.mu} needs the fewest steps from here: ${short(best.steps)}.`;
    change({ mu: best.mu, tuned: true, found });
  }

  const scale = scaled(rule.rates[0], rule.rates.at(-1), "log");
  const rate = slider("race-lr", { ...scale, change: (lr) => change({ lr, tuned: false }) });
  const momentum = slider("race-mu", { change: (mu) => change({ mu }) });
  const time = slider("race-step", { change: go });
  $("race-step").max = rule.steps;
  choices("land", (name) => change({ name }));
  const buttons = { play, one: () => go(state.step + 1), restart: () => go(0), end: () => go(rule.steps),
    tune: () => change({ tuned: !state.tuned }), "race-best": bestMomentum };
  for (const [id, press] of Object.entries(buttons)) $(id).addEventListener("click", press);
  for (const row of document.querySelectorAll("tr[data-method]")) {
    const { method } = row.dataset, sample = row.querySelector("canvas");
    row.querySelector("input").addEventListener("change", (event) => {
      hidden[event.target.checked ? "delete" : "add"](method);
      draw();
    });
    redrawOnChange([sample], () => drawSample(sample, METHODS[method]));
  }
  pickable($("board"), () => plot, {
    pick: move,
    nudge(right, up, fine) {
      const size = fine ? 0.004 : 0.025, ways = [right, up];
      move(...state.start.map((x, i) => x + ways[i] * size * (land().box[i][1] - land().box[i][0])));
    },
    key(event) {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      play();
    },
  });
  redrawOnChange([$("board"), $("losses")], draw);
  change({});
}
