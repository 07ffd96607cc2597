/* Section 1: the map of lr h and momentum, and what happens at the chosen point of it. theory.js computes, words.js
   says it, views.js draws the three pictures beside the map. */
"use strict";

function regimes() {
  const state = { s: 0.02, mu: 0.9, nesterov: false, kappa: 1, sigma: 0 };
  let plot = null; // the map
  let colours = null; // its picture, kept while only the point moves
  let noise = new NoisyRun({ ...state });

  function change(news) {
    Object.assign(state, news);
    state.s = clamp(state.s, 0, 4);
    state.mu = clamp(state.mu, 0, 1);
    const { s, mu, nesterov, sigma } = state, run = new NoisyRun({ s, mu, nesterov, sigma });
    if (run.name !== noise.name) {
      noise.stopped = true;
      noise = run.start(() => showNoise(run));
    }
    draw();
  }

  // -- the map ----------------------------------------------------------------------------------

  function drawMap() {
    plot = new Plot($("map"), { x: [0, 4], y: [0, 1], xScale: "sqrt", grid: false, pad: [10, 14, 42, 48],
      xLabel: "lr × h  (scale: its square root)", yLabel: "momentum" });
    plot.clear();
    const name = [plot.width, plot.height, plot.dpr, state.nesterov, css("--card")].join();
    if (colours?.name !== name) colours = { name, image: paint() };
    plot.to.drawImage(colours.image, plot.left, plot.top, plot.w, plot.h);
    const xs = plot.w < 380 ? [0, 0.1, 0.5, 1, 2, 3, 4] : [0, 0.01, 0.1, 0.5, 1, 2, 3, 4];
    plot.axes({ xTicks: xs.map((s) => [s, short(s)]), yTicks: ticks([0, 1], null, 10) });

    const mus = range(0, 200, 1).map((k) => k / 200), half = range(0, 100, 1).map((k) => (k / 100) ** 2);
    const critical = half.map((s) => criticalMomentum(s, state.nesterov));
    plot.line(mus.map((mu) => stabilityLimit(mu, state.nesterov)), mus, { colour: "--ink", width: 2.5 });
    plot.line(half, critical, { colour: "#fff", width: 3.5 });
    plot.line(half, critical, { colour: "#111", width: 2, dash: [6, 4] });
    names();
    if (state.kappa > 1) {
      const ends = [state.s / state.kappa, state.s];
      plot.line(ends, [state.mu, state.mu], { colour: "#fff", width: 4, alpha: 0.8 });
      plot.line(ends, [state.mu, state.mu], { colour: "#111", width: 1.6 });
      point(ends[0], "m", "s");
    }
    point(state.s, state.kappa > 1 ? "L" : "", "o");
  }

  function point(s, label, mark) {
    plot.mark(s, state.mu, { mark, radius: 9, colour: "#fff", halo: "#111" });
    plot.mark(s, state.mu, { mark, radius: 5, colour: "#D55E00", halo: "#fff" });
    const y = plot.Y(state.mu) + (state.mu > 0.2 ? 20 : -20);
    plot.text(plot.X(s), y, label, { colour: "#111", halo: "#fff", font: `bold ${FONT}`, align: "center" });
  }

  /* Bright: a digit in one step; dark: in a thousand. Hatched: never. */
  function paint() {
    const image = document.createElement("canvas");
    image.width = Math.round(plot.w * plot.dpr);
    image.height = Math.round(plot.h * plot.dpr);
    const to = image.getContext("2d"), data = to.createImageData(image.width, image.height);
    const [stripe, ground] = ["--hatch", "--hatch-ground"].map((name) => css(name).split(" ").map(Number));
    const table = range(0, 255, 1).map((k) => cividis(k / 255)), gap = Math.round(9 * plot.dpr);
    for (let j = 0, at = 0; j < image.height; j++) {
      const mu = 1 - (j + 0.5) / image.height;
      for (let i = 0; i < image.width; i++, at += 4) {
        const s = unfraction((i + 0.5) / image.width, plot.x, plot.xScale);
        const rate = spectralRadius(s, mu, state.nesterov);
        const shade = Math.round(255 * clamp(1 - Math.log10(stepsPerDigit(rate)) / 3, 0, 1));
        const colour = rate < 1 ? table[shade] : (i + j) % gap < 1.5 * plot.dpr ? stripe : ground;
        data.data.set([...colour, 255], at);
      }
    }
    to.putImageData(data, 0, 0);
    return image;
  }

  function names() {
    const font = `600 ${plot.w < 380 ? 11 : 13}px ${FONT.slice(5)}`;
    const label = (s, mu, words, colour) => plot.text(plot.X(s), plot.Y(mu), words, { align: "center", font, colour });
    if (state.nesterov) {
      label(0.3, 0.62, "ripples", "#fff");
      label(0.12, 0.06, "creeps", "#111");
      label(1.42, 0.03, "jumps across", "#111");
      label(2.75, 0.5, "diverges", "--ink");
    } else {
      label(0.95, 0.62, "ripples: under-damped", "#fff");
      label(0.12, 0.06, "creeps", "#fff");
      label(1.5, 0.03, plot.w < 380 ? "jumps" : "jumps across", "#111");
      label(3.3, 0.3, "diverges", "--ink");
    }
  }

  // -- together ---------------------------------------------------------------------------------

  function show() {
    if (!$("map").clientWidth) return;
    const { s, mu, nesterov } = state;
    drawMap();
    drawSeries(state);
    drawPhase(state);
    drawRoots(state);
    showNoise(noise);
    say("regime-words", regimeWords(state));
    say("spectrum-words", spectrumWords(state));
    for (const [control, name] of sliders) control.show(state[name]);
    for (const input of document.querySelectorAll('input[name="method"]')) {
      input.checked = (input.value === "nesterov") === nesterov;
    }
    $("go-critical").disabled = !(s > 0 && s <= 1);
    $("map").setAttribute("aria-label", `Map of lr times h and momentum. The point: lr h ${short(s)}, momentum ` +
      `${short(mu)}, ${regime(s, mu, nesterov)}. Arrow keys move it; with shift, finely.`);
  }

  const draw = onceAFrame(show);
  const kappaText = (kappa) => (kappa > 1 ? short(kappa) : "1, off");
  const sliders = [
    [slider("slider-s", { ...scaled(0, 4, "sqrt"), change: (s) => change({ s }) }), "s"],
    [slider("slider-mu", { change: (mu) => change({ mu }) }), "mu"],
    [slider("slider-kappa", { ...scaled(1, 1000, "log"), text: kappaText, change: (kappa) => change({ kappa }) }), "kappa"],
    [slider("slider-sigma", { change: (sigma) => change({ sigma }) }), "sigma"],
  ];
  choices("method", (value) => change({ nesterov: value === "nesterov" }));
  pickable($("map"), () => plot, {
    pick: (s, mu) => change({ s, mu }),
    nudge(right, up, fine) {
      const root = Math.max(0, Math.sqrt(state.s) + right * (fine ? 0.002 : 0.02)); // even steps on the map
      change({ s: root * root, mu: state.mu + up * (fine ? 0.002 : 0.01) });
    },
  });
  $("go-critical").addEventListener("click", () => change({ mu: criticalMomentum(state.s, state.nesterov) }));
  const goBest = (method) => {
    const best = optimal(state.kappa, method);
    change({ s: best.lr, mu: best.momentum, nesterov: method === "nesterov" });
  };
  $("go-best").addEventListener("click", () => goBest(state.nesterov ? "nesterov" : "momentum"));
  $("go-plain").addEventListener("click", () => goBest("gd"));
  for (const button of document.querySelectorAll("[data-point]")) {
    const [s, mu] = button.dataset.point.split(" ").map(Number);
    button.addEventListener("click", () => change({ s, mu, kappa: 1, nesterov: false }));
  }
  const colourBar = range(0, 16, 1).map((k) => rgb(cividis(1 - k / 16)));
  $("scale").style.background = `linear-gradient(to right, ${colourBar.join(", ")})`;
  redrawOnChange(["map", "series", "phase", "circle"].map($), draw);
  change({});
}
