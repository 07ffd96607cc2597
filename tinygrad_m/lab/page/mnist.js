/* Section 3: the measured runs on MNIST. page.py has put means and bands here; this file draws and compares them.
   sweep: {optimizers: {name: [{key, label, fixed, cells: [{momentum, lr, n, diverged, final, accuracy, curve}]}]}, ...} */
"use strict";

function mnist(sweep) {
  $("no-sweep").hidden = Boolean(sweep);
  $("sweep").hidden = !sweep;
  if (!sweep) return;

  const names = Object.keys(sweep.optimizers);
  const state = { optimizer: names[0], protocol: sweep.optimizers[names[0]][0].key, mu: null };
  const protocols = () => sweep.optimizers[state.optimizer];
  const protocol = () => protocols().find(({ key }) => key === state.protocol) ?? protocols()[0];
  const ran = ({ cells }) => cells.filter((cell) => cell.n > 0);
  const cells = () => ran(protocol());
  const chosen = () => cells().find((cell) => cell.momentum === state.mu) ?? best(cells());

  function change(news) {
    Object.assign(state, news);
    state.protocol = protocol().key;
    state.mu = chosen().momentum;
    draw();
  }

  /* The highest mean of the accuracy at the end. */
  function best(list) {
    return list.reduce((a, b) => (b.final.mean > a.final.mean ? b : a));
  }

  // -- curves -----------------------------------------------------------------------------------

  function colour(cell) {
    if (cell === chosen()) return "--red";
    const place = sweep.momenta.indexOf(cell.momentum) / Math.max(1, sweep.momenta.length - 1);
    return rgb(cividis(Number(css("--first")) + 0.8 * place)); // cividis, without the end that the page's colour hides
  }

  /* All momenta thinly, the chosen one on top with its band. A line ends with a cross where a run has diverged. */
  function curves(plot, xs, name) {
    const one = chosen(), ends = [];
    for (const cell of [...cells().filter((cell) => cell !== one), one]) {
      const { mean, low, high } = cell[name], last = mean.reduce((last, y, k) => (isNumber(y) ? k : last), -1);
      if (cell === one) {
        plot.band(xs, low, high, { colour: "--red", alpha: 0.22 });
        plot.line(xs, mean, { colour: "--card", width: 6 });
      }
      plot.line(xs, mean, { colour: colour(cell), width: cell === one ? 3 : 1.6 });
      if (last === xs.length - 1) ends.push([plot.Y(mean[last]), cell]);
      else if (last >= 0) plot.mark(xs[last], mean[last], { mark: "x", colour: colour(cell) });
    }
    tags(plot, ends.filter(([y]) => y >= plot.top && y <= plot.top + plot.h));
  }

  /* The values of momentum at the ends of their lines, pushed apart where they would overlap. */
  function tags(plot, ends) {
    const gap = 13, bottom = plot.top + plot.h, ys = [];
    ends.sort((a, b) => a[0] - b[0]);
    for (const [y] of ends) ys.push(Math.max(y, (ys.at(-1) ?? -gap) + gap));
    for (let k = ys.length - 1, most = bottom; k >= 0; k--, most -= gap) ys[k] = Math.min(ys[k], most);
    ends.forEach(([, cell], k) => {
      const look = cell === chosen() ? { colour: "--red", font: `bold ${FONT}` } : { colour: "--muted" };
      plot.text(plot.left + plot.w + 6, ys[k], String(cell.momentum), look);
    });
  }

  /* The axis shows where the runs end; what is far below is said beneath the title. */
  function drawAccuracy() {
    const list = cells(), one = chosen(), numbers = list.flatMap((cell) => cell.accuracy.mean).filter(isNumber);
    const top = Math.min(100, Math.max(...numbers, ...one.accuracy.high.filter(isNumber)) + 0.4);
    const early = numbers.sort((a, b) => a - b)[Math.floor(0.12 * numbers.length)];
    const ends = [...list.map((cell) => cell.final.mean).filter((y) => y > top - 15), early];
    const y = [Math.max(0, top - 15, Math.min(...ends) - 0.5), top], n = one.accuracy.mean.length;
    const plot = new Plot($("accuracy"), { x: [0, sweep.epochs], y, xLabel: "epoch", yLabel: "test accuracy, %",
      pad: [10, 38, 40, 52] });
    plot.clear();
    plot.axes();
    curves(plot, range(1, n, 1).map((k) => (k * sweep.epochs) / n), "accuracy");
    const below = list.filter((cell) => cell.final.mean < y[0]).map((cell) => cell.momentum);
    const note = below.length ? ` · ends below this picture: momentum ${below.join(", ")}` : "";
    $("accuracy-note").textContent = bandWords(one.n) + note;
    plot.canvas.setAttribute("aria-label", `Test accuracy over the epochs. ${$("mnist-words").textContent}`);
  }

  function drawLoss() {
    const numbers = cells().flatMap((cell) => cell.curve.mean).filter((y) => y > 0), steps = sweep.curveSteps;
    const y = [0.8 * Math.min(...numbers), Math.min(30, 1.2 * Math.max(...numbers))];
    const plot = new Plot($("loss"), { x: [1, steps.at(-1)], y, xScale: "log", yScale: "log", xLabel: "step (log)",
      yLabel: "training loss (log)", pad: [10, 38, 40, 52] });
    const round = range(-5, 1, 1).flatMap((k) => [1, 2, 5].map((digit) => digit * 10 ** k));
    const within = round.filter((v) => v >= y[0] && v <= y[1]);
    plot.clear();
    plot.axes({ yTicks: within.filter((_, k) => within.length < 9 || k % 2 === 0).map((v) => [v, short(v)]) });
    curves(plot, steps, "curve");
    plot.canvas.setAttribute("aria-label", `Training loss over the steps; momentum ${state.mu} is on top.`);
  }

  // -- words ------------------------------------------------------------------------------------

  const bandWords = (n) => n < 2 ? "one seed: no band" : n < 5 ? `band: the lowest and the highest of ${n} seeds`
    : `band: the 95 % interval of the mean over ${n} seeds (Student's t)`;

  function accuracyWords({ mean, low, high, n }) {
    const start = `${mean.toFixed(2)}\u00a0%`;
    if (n < 2) return start;
    if (n < 5) return `${start} (${low.toFixed(2)} to ${high.toFixed(2)})`;
    return `${start}\u00a0±\u00a0${((high - low) / 2).toFixed(2)}`;
  }

  function sentence() {
    const one = chosen(), top = best(cells()), others = cells().filter((cell) => cell !== one);
    const lr = protocol().fixed ? "" : `, so lr ${short(one.lr)}`;
    const where = plainText(`${sweep.labels[state.optimizer]}, ${protocol().label}${lr}`);
    const end = `<b>${accuracyWords(one.final)}</b> after ${plural(sweep.epochs, "epoch")}`;
    const parts = [`<b>Momentum ${one.momentum}</b> (${where}) ends at ${end}.`];
    if (one.diverged) {
      parts.push(`<b>${one.diverged} of ${one.n} runs diverged</b>: the loss was no number, or no better than guessing.`);
    }
    if (one !== top) parts.push(`The highest mean here has momentum <b>${top.momentum}</b>: ${accuracyWords(top.final)}.`);
    else if (others.length) {
      const next = best(others), apart = one.n > 1 && one.final.low > next.final.high;
      parts.push(`That is the highest mean here; next is ${next.momentum} with ${accuracyWords(next.final)}, ` +
        (apart ? "and its band is lower." : "and the bands overlap: which of the two is better is not settled."));
    }
    return parts.join(" ");
  }

  /* Accuracy at the end for every momentum (rows) and protocol (columns), the best of each column marked. */
  function table() {
    const here = (p) => (p === protocol() ? "on" : "");
    const heads = protocols().map((p) => `<th scope="col" class="${here(p)}">${plainText(p.label)}</th>`);
    const rows = sweep.momenta.map((mu) => {
      const columns = protocols().map((p) => {
        const cell = ran(p).find((one) => one.momentum === mu);
        if (!cell) return "<td>not run</td>";
        const top = cell === best(ran(p)), classes = `${top ? "best" : ""} ${cell === chosen() ? "here" : ""}`;
        const lost = cell.diverged ? `<small>${cell.diverged} of ${cell.n} diverged</small>` : "";
        const star = top ? '<span role="img" aria-label="best of this column">★</span> ' : "";
        return `<td class="${classes}">${star}${accuracyWords(cell.final)}${lost}</td>`;
      });
      return `<tr><th scope="row">${mu}</th>${columns.join("")}</tr>`;
    });
    const head = `<thead><tr><th scope="col">momentum</th>${heads.join("")}</tr></thead>`;
    $("finals").innerHTML = `${head}<tbody>${rows.join("")}</tbody>`;
  }

  /* A button for each momentum, with its colour. */
  function legend() {
    const items = cells().map((cell) => {
      const [item, button, look] = ["li", "button", "i"].map((name) => document.createElement(name));
      look.style.background = css(colour(cell));
      button.type = "button";
      button.dataset.mu = cell.momentum;
      button.setAttribute("aria-pressed", cell === chosen());
      button.append(look, `${cell.momentum}${cell.diverged ? " ✕" : ""}`);
      button.addEventListener("click", () => change({ mu: cell.momentum }));
      item.append(button);
      return item;
    });
    const focused = document.activeElement?.dataset?.mu;
    $("momenta").replaceChildren(...items);
    if (focused) $("momenta").querySelector(`[data-mu="${focused}"]`)?.focus();
  }

  // -- together ---------------------------------------------------------------------------------

  function show() {
    if (!$("accuracy").clientWidth) return;
    say("mnist-words", sentence());
    drawAccuracy();
    drawLoss();
    legend();
    table();
    $("optimizer").value = state.optimizer;
    $("protocol").value = state.protocol;
    $("mnist-mu").max = cells().length - 1;
    momentum.show(cells().indexOf(chosen()));
  }

  const draw = onceAFrame(show);
  const options = (id, list) => $(id).replaceChildren(...list.map(([value, words]) => new Option(words, value)));
  const offer = () => options("protocol", protocols().map((p) => [p.key, p.label]));
  options("optimizer", names.map((name) => [name, sweep.labels[name]]));
  offer();
  $("optimizer").addEventListener("change", (event) => {
    state.optimizer = event.target.value;
    offer();
    change({});
  });
  $("protocol").addEventListener("change", (event) => change({ protocol: event.target.value }));
  const value = (k) => cells()[k].momentum;
  const momentum = slider("mnist-mu", { text: (k) => String(value(k)), change: (k) => change({ mu: value(k) }) });
  $("best-momentum").addEventListener("click", () => change({ mu: best(cells()).momentum }));
  $("sweep-source").textContent = sweep.source;
  redrawOnChange([$("accuracy"), $("loss")], draw);
  change({});
}
