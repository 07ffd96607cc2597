/* The page starts here. Its data was put into it by tinygrad_m/lab/page.py. */
"use strict";

const DATA = JSON.parse($("data").textContent);

hero();
regimes();
race(DATA);
mnist(DATA.sweep);
check();

/* The first picture: three values of momentum, from the same start. */
function hero() {
  const s = 0.01, steps = 200, canvas = $("hero"), ks = range(0, steps, 1);
  const looks = { 0: ["--black", [2, 3]], 0.9: ["--blue", []], 0.99: ["--red", [11, 2]] };
  const ends = (mu) => percent(simulate(s, mu, false, steps).w[steps]), beyond = (mu) => percent(overshoot(s, mu, false));
  const words = {
    0: `${ends(0)} are left after ${steps} steps`,
    0.9: `overshoots by ${beyond(0.9)}`,
    0.99: `overshoots by ${beyond(0.99)}`,
  };
  const places = { 0: [200, 0.86, "right"], 0.9: [200, -0.14, "right"], 0.99: [40, -0.88, "left"] };

  const draw = onceAFrame(() => {
    const plot = new Plot(canvas, { x: [0, steps], y: [-1, 1.05], xLabel: "step", yLabel: "distance from the minimum",
      pad: [6, 14, 40, 48] });
    plot.clear();
    plot.axes({ yTicks: [-1, 0, 1].map((y) => [y, short(y)]) });
    plot.line([0, steps], [0, 0], { colour: "--muted", width: 1 });
    for (const [mu, [colour, dash]] of Object.entries(looks)) {
      plot.line(ks, simulate(s, Number(mu), false, steps).w, { colour, dash, width: 2.4 });
    }
    for (const [mu, [x, y, align]] of Object.entries(places)) {
      const look = { colour: looks[mu][0], font: `600 ${FONT}`, halo: "--paper", align };
      plot.text(plot.X(x), plot.Y(y), `μ = ${mu}: ${words[mu]}`, look);
    }
  });
  const told = Object.entries(words).map(([mu, text]) => `momentum ${mu}: ${text}`);
  canvas.setAttribute("aria-label", `The distance from the minimum of a bowl with lr times h ${s}. ${told.join("; ")}.`);
  redrawOnChange([canvas], draw);
}

/* The last line of the page: does it compute what Python computes? */
function check() {
  const { theory, paths, passed } = compare(DATA.golden, DATA), line = $("checked");
  const gap = ({ worst }) => (worst === Infinity ? "without bound" : short(worst, 2));
  line.classList.toggle("failed", !passed);
  line.dataset.passed = passed;
  line.textContent = `${passed ? "Checked" : "WRONG: checked"} against Python: ${short(theory.count)} values of the theory, ` +
    `largest difference ${gap(theory)} (allowed: 1e−12); ${short(paths.count)} values of optimizer runs, largest ` +
    `difference ${gap(paths)} (allowed: 1e−9).`;
}
