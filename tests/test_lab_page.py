"""The interactive page: what its JavaScript computes is what Python computes (in node, and in a browser as it opens);
every control changes what it should; and it is one file that asks the network for nothing. The browser tests need
playwright and a Chromium, and are skipped without."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_m.lab import landscapes, page, theory

MOMENTA = (0.0, 0.5, 0.9, 0.99)
STEPS = [1, 2, 4, 9, 20, 45, 100]
SEEDS = 5


def synthetic() -> dict[str, Any]:
    """NOT measured: numbers of the sweep's form, made up for these tests. Momentum 0.9 is best at the small lr, 0.5 at
    the large one, where 0.99 diverges; each seed is 0.1 % better than the one before."""
    small, large = 0.01, 0.1
    rates = {"small": dict.fromkeys(MOMENTA, small), "large": dict.fromkeys(MOMENTA, large)}
    rates["matched"] = {mu: round(large * (1 - mu), 6) for mu in MOMENTA}
    labels = {"small": "lr 0.01", "large": "lr 0.1", "matched": "lr / (1 - momentum) = 0.1"}
    finals = {small: {0.0: 92.0, 0.5: 94.0, 0.9: 96.0, 0.99: 93.0}, large: {0.0: 95.0, 0.5: 97.0, 0.9: 90.0, 0.99: 9.8}}
    runs = []
    for optimizer in ("momentum", "nesterov", "rmsprop-momentum"):
        for lr, mu in sorted({(lr, mu) for table in rates.values() for mu, lr in table.items()}):
            if optimizer == "nesterov" and mu == 0:
                continue  # momentum's are its runs
            for seed in range(SEEDS):
                lost = lr == large and mu == 0.99
                pace = lr * (1 + 5 * mu) * (1.5 if optimizer == "nesterov" else 1)
                end = finals.get(lr, {}).get(mu, 95.5) + 0.1 * seed + 0.3 * (optimizer == "nesterov")
                accuracy = [end - 20.0 * 0.5**k for k in range(4)]
                runs.append({
                    "optimizer": optimizer, "lr": lr, "momentum": mu, "seed": seed, "epochs": 4,
                    "train_loss": [1.0, 0.5, 0.3, 0.2], "test_loss": [1.0, 0.6, 0.4, 0.3],
                    "test_accuracy": [accuracy[0], None, None, None] if lost else [*accuracy[:3], end],
                    "curve": [2.3 / (1 + pace * step) if not lost or step < 20 else None for step in STEPS],
                    "overshoot": 0.1, "cosine": mu, "diverged": 30 if lost else None,
                })  # fmt: skip
    runs.append({**runs[0], "epochs": 1, "test_accuracy": [1.0], "curve": [9.0]})  # of the map lr x momentum: not drawn
    tables = {
        key: {"label": labels[key], "lr": {str(mu): lr for mu, lr in table.items()}} for key, table in rates.items()
    }
    protocols = {name: copy.deepcopy(tables) for name in ("momentum", "nesterov", "rmsprop-momentum")}
    settings = {"epochs": 4, "seeds": SEEDS, "images": 60_000, "hidden": 128, "batch_size": 64}
    return {"format": 1, "settings": settings, "curve_steps": STEPS, "runs": runs, "protocols": protocols}


# -- the file -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page.write(tmp_path_factory.mktemp("page"), synthetic())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page.write(tmp_path_factory.mktemp("bare") / "made" / "on the way", None)


def content(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    assert found
    return json.loads(found[1])


def test_one_file_that_loads_nothing(whole: Path, bare: Path) -> None:
    for path in (whole, bare):
        text = path.read_text("utf-8")
        assert path.name == "momentum.html"
        assert not re.search(r"""https?://|\bsrc\s*=|@import|url\(|<iframe|fetch\(|XMLHttp|WebSocket|import\(""", text)
        assert [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("#")] == ["data:,"]
        assert "default-src 'none'" in text and "<!-- " not in text
        assert list(path.parent.iterdir()) == [path]


def test_everything_on_the_page_has_a_name_of_its_own(whole: Path) -> None:
    text = whole.read_text("utf-8").split("<script>")[0]
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 40
    assert set(re.findall(r'\bfor="([^"]+)"', text)) <= set(ids)
    scripts = "".join((page.PARTS / f"{name}.js").read_text("utf-8") for name in page.SCRIPTS)
    assert set(re.findall(r'\$\("([^"]+)"\)', scripts)) <= set(ids)
    assert {path.stem for path in page.PARTS.glob("*.js")} == set(page.SCRIPTS)


def test_data_cannot_leave_its_script() -> None:
    bad = {"a": "</script><script>alert(1)</script>", "b": "<!-- & \u2028 \u2029 é", "c": [0.1, None, True]}
    text = page.in_script(bad)
    assert not set("<>&\u2028\u2029") & set(text) and text.isascii()
    assert json.loads(text) == bad
    with pytest.raises(ValueError):
        page.in_script(float("nan"))


def test_colours_are_those_of_the_figures() -> None:
    pytest.importorskip("matplotlib")
    from tinygrad_m.lab.figures import style

    css = (page.PARTS / "style.css").read_text("utf-8").split("@media")[0]
    colours = {name: value.upper() for name, value in re.findall(r"(--\w+): (#\w{6})", css)}
    looks = dict(re.findall(r'^  "?([\w-]+)"?: \{ name: "[^"]*", colour: "(--\w+)"', _script("plot"), re.M))
    marks = dict(re.findall(r'^  "?([\w-]+)"?: \{ name: .* mark: "(.)" \}', _script("plot"), re.M))
    assert set(looks) == set(marks) == set(page.METHODS) == set(landscapes.METHODS)
    for name, colour in looks.items():
        assert (colours[colour], marks[name]) == (style.METHODS[name][0], style.METHODS[name][2])


def _script(name: str) -> str:
    return (page.PARTS / f"{name}.js").read_text("utf-8")


# -- the sweep, made small ------------------------------------------------------------------------


def test_mean_and_t_interval_over_seeds() -> None:
    small = page.compact(synthetic())
    cells = {cell["momentum"]: cell for cell in small["optimizers"]["momentum"][0]["cells"]}
    final, half = cells[0.9]["final"], 2.776 * math.sqrt(0.025) / math.sqrt(5)  # s^2 of 0, 0.1 ... 0.4 is 0.025
    assert final["mean"] == pytest.approx(96.2)
    assert (final["high"] - final["low"]) / 2 == pytest.approx(half, abs=0.01)
    assert (cells[0.9]["n"], cells[0.9]["diverged"]) == (SEEDS, 0)
    assert cells[0.9]["accuracy"]["mean"] == pytest.approx([96.2 - 20, 96.2 - 10, 96.2 - 5, 96.2])
    assert len(cells[0.9]["curve"]["mean"]) == len(STEPS)
    assert [row["fixed"] for row in small["optimizers"]["momentum"]] == [True, True, False]


def test_a_diverged_run_is_counted_and_ends_its_curve() -> None:
    lost = page.compact(synthetic())["optimizers"]["momentum"][1]["cells"][-1]
    assert (lost["momentum"], lost["n"], lost["diverged"]) == (0.99, SEEDS, SEEDS)
    assert lost["accuracy"]["mean"][0] is not None and lost["accuracy"]["mean"][1:] == [None] * 3
    assert lost["curve"]["mean"][-1] is None and lost["final"]["mean"] == 10


def test_one_diverged_seed_is_enough_to_leave_no_mean() -> None:
    sweep = synthetic()
    one = next(run for run in sweep["runs"] if run["momentum"] == 0.9 and run["lr"] == 0.01)
    one["test_accuracy"][2:] = [None, None]
    cell = page.compact(sweep)["optimizers"]["momentum"][0]["cells"][2]
    assert cell["accuracy"]["mean"][2:] == [None, None] and cell["accuracy"]["mean"][1] is not None


def test_nesterov_without_momentum_is_momentum_without_momentum() -> None:
    optimizers = page.compact(synthetic())["optimizers"]
    for with_it, without in zip(optimizers["nesterov"], optimizers["momentum"], strict=True):
        assert with_it["cells"][0] == without["cells"][0] and with_it["cells"][0]["n"] == SEEDS
        assert with_it["cells"][1] != without["cells"][1]


def test_a_setting_that_was_not_run_has_no_numbers() -> None:
    sweep = synthetic()
    sweep["runs"] = [run for run in sweep["runs"] if run["momentum"] != 0.5]
    assert page.compact(sweep)["optimizers"]["momentum"][0]["cells"][1] == {"momentum": 0.5, "lr": 0.01, "n": 0}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "format 1"),
        (["runs"], [], "'runs' must be a list with something in it"),
        (["settings"], None, "'settings' must be a dict"),
        (["settings", "epochs"], "many", "whole number, got 'many'"),
        (["settings", "epochs"], 77, "no run has 77 epochs"),
        (["runs", 3, "curve"], [1.0], r"runs\[3\]: 'curve' must be a list of 7"),
        (["runs", 3, "test_accuracy"], None, "'test_accuracy' must be a list of 4"),
        (["runs", 2, "test_accuracy", 1], float("nan"), "finite numbers"),
        (["runs", 2, "optimizer"], None, r"runs\[2\] has no 'optimizer'"),
        (["protocols"], {"momentum": {"a": {"label": "", "lr": {"0.1": 7}}}}, "no run belongs to any"),
    ],
)
def test_a_sweep_of_another_form_is_refused(path: list[Any], value: Any, message: str, tmp_path: Path) -> None:
    sweep = copy.deepcopy(synthetic())
    inner: Any = sweep
    for step in path[:-1]:
        inner = inner[step]
    if path[-1] == "optimizer":
        del inner["optimizer"]
    else:
        inner[path[-1]] = value
    with pytest.raises(ValueError, match=f"^page: the sweep is not as sweep.py makes it: .*{message}"):
        page.write(tmp_path, sweep)
    assert not list(tmp_path.iterdir())


# -- what it computes -----------------------------------------------------------------------------


def test_golden_values_cover_every_regime_and_method(bare: Path) -> None:
    golden = content(bare)["golden"]
    assert len(golden["theory"]) > 250 and {row[5] for row in golden["theory"]} == set(theory.REGIMES)
    assert {(one["landscape"], one["method"]) for one in golden["paths"]} == {
        (land, method) for land in page.LANDSCAPES for method in page.METHODS
    }
    for s, mu, nesterov, radius, *_ in golden["theory"]:  # against the matrix, not the formula
        eigenvalues = np.linalg.eigvals(theory.iteration_matrix(s, mu, nesterov))
        assert radius == pytest.approx(np.abs(eigenvalues).max(), abs=1e-7)


NODE = r"""
const fs = require("fs"), vm = require("vm");
const [parts, file] = process.argv.slice(1);
const read = (name) => fs.readFileSync(`${parts}/${name}.js`, "utf8");
const code = ["theory", "optimizers", "check"].map(read).join("\n") + "\n;({compare, simulate})";
const {compare, simulate} = vm.runInNewContext(code);
const data = JSON.parse(fs.readFileSync(file, "utf8"));
const {w} = simulate(0.3, 0.8, data.nesterov ?? false, 30);
console.log(JSON.stringify({...compare(data.golden, data), w}));
"""


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    return found or pytest.skip("needs node")


def in_node(node: str, data: dict[str, Any], directory: Path) -> dict[str, Any]:
    """check.js' comparison of `data`, run in node. Infinity comes back as None."""
    file = directory / "data.json"
    file.write_text(json.dumps(data))
    arguments = [node, "-e", NODE, str(page.PARTS), str(file)]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_javascript_agrees_with_python(bare: Path, node: str, tmp_path: Path) -> None:
    data = content(bare)
    result = in_node(node, data, tmp_path)
    assert result["passed"] is True
    assert result["theory"]["count"] > 2000 and result["theory"]["worst"] <= 1e-12
    assert result["paths"]["count"] > 500 and result["paths"]["worst"] <= 1e-9
    for nesterov in (False, True):
        w = in_node(node, {**data, "nesterov": nesterov}, tmp_path)["w"]
        np.testing.assert_allclose(w, theory.trajectory(0.3, 0.8, 30, nesterov), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("table", "place"), [
    ("theory", 3), ("theory", 4), ("theory", 5), ("theory", 6), ("theory", 7), ("theory", 8), ("limits", 2),
    ("critical", 2), ("optima", 2), ("optima", 4), ("paths", "values"), ("paths", "places"), ("tuned", "steps"),
    ("tuned", "lr"),
])  # fmt: skip
def test_the_comparison_notices_any_wrong_value(
    bare: Path, node: str, tmp_path: Path, table: str, place: int | str
) -> None:
    data = content(bare)
    row = data["golden"][table][7]
    if isinstance(row[place], list):
        row = row[place]
        row, place = (row[0], 0) if isinstance(row[0], list) else (row, 0)
    value = row[place]
    row[place] = "diverging?" if isinstance(value, str) else value * (1 + 1e-8) + 1e-8
    result = in_node(node, data, tmp_path)
    assert result["passed"] is False


# -- in a browser ---------------------------------------------------------------------------------

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("needs a Chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Tab:
    """The page, open. Everything that it complains of or asks the network for is kept, and must be nothing."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **{"viewport": {"width": 1200, "height": 900}, **options})
        self.context.set_default_timeout(120_000)  # a busy machine
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.requests: list[str] = []
        self.page.goto(path.as_uri())
        self.settle()

    def close(self) -> None:
        self.context.close()
        self.quiet()

    def quiet(self) -> None:
        url = self.page.url.split("#")[0]
        assert self.complaints == []
        assert [request for request in self.requests if request != url and not request.startswith("data:")] == []

    def reset(self) -> None:
        """As it was when it opened, by its own controls."""
        self.js("""() => {
            const set = (id, value, event) => {
                document.getElementById(id).value = value;
                document.getElementById(id).dispatchEvent(new Event(event));
            };
            for (const id of ["slider-kappa", "slider-sigma"]) set(id, 0, "input");
            set("race-mu", 0.9, "input");
            for (const [id, value] of [["optimizer", "momentum"], ["protocol", "small"]]) set(id, value, "change");
            for (const name of ["ravine", "banana"]) document.querySelector(`input[value=${name}]`).click();
            for (const button of ["[data-point='0.01 0.9']", "#best-momentum"]) document.querySelector(button).click();
        }""")
        self.settle()

    def settle(self) -> None:
        """Two frames: what was asked for is drawn."""
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def js(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def wait(self, script: str) -> None:
        """Until the script is true. (Not wait_for_function(): the page's policy forbids what it does.)"""
        for _ in range(1200):
            if self.js(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {script}")

    def text(self, name: str) -> str:
        self.settle()
        return str(self.page.inner_text(f"#{name}")).replace("\u202f", "").replace("\u00a0", " ")

    def pixels(self, name: str) -> str:
        self.settle()
        return str(self.js("(id) => document.getElementById(id).toDataURL()", name))

    def slide(self, name: str, value: float) -> None:
        self.js("([id, value]) => { const slider = document.getElementById(id); slider.value = value; "
                "slider.dispatchEvent(new Event('input')); }", [name, value])  # fmt: skip
        self.settle()

    def number(self, name: str) -> float:
        """What a slider says beside it."""
        self.settle()
        return float(self.page.inner_text(f'output[for="{name}"]').replace("\u2212", "-").replace("\u202f", ""))

    def click(self, selector: str) -> None:
        self.page.click(selector)
        self.settle()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.settle()

    def choose(self, name: str, value: str) -> None:
        self.page.check(f'input[name="{name}"][value="{value}"]', force=True)
        self.settle()


@pytest.fixture(scope="module")
def opened(browser: Any, whole: Path) -> Iterator[Tab]:
    tab = Tab(browser, whole)
    yield tab
    tab.close()


@pytest.fixture
def tab(opened: Tab) -> Iterator[Tab]:
    """One page for many tests: opening it takes longer than they do."""
    opened.reset()
    yield opened
    opened.quiet()


def test_it_opens_and_checks_itself(tab: Tab) -> None:
    assert "Checked against Python" in tab.text("checked")
    assert tab.js("document.getElementById('checked').dataset.passed") == "true"
    blank = """[...document.querySelectorAll("canvas")].filter((c) => c.clientWidth > 0 &&
               new Set(c.getContext("2d").getImageData(0, 0, c.width, c.height).data).size < 3).map((c) => c.id)"""
    assert tab.js(blank) == []


def test_it_says_so_if_a_value_is_wrong(browser: Any, whole: Path, tmp_path: Path) -> None:
    text = whole.read_text("utf-8")
    wrong = re.sub(r'("theory":\[\[0\.001,0\.0,false,)([\d.]+)', lambda m: m[1] + str(float(m[2]) + 1e-10), text)
    assert wrong != text
    (tmp_path / "wrong.html").write_text(wrong, encoding="utf-8")
    tab = Tab(browser, tmp_path / "wrong.html")
    assert tab.text("checked").startswith("WRONG")
    red, green, blue = tab.js(
        "getComputedStyle(document.getElementById('checked')).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert red > 150 and green < 60 and blue < 60
    tab.close()


def test_the_sentence_says_the_regime_in_numbers(tab: Tab) -> None:
    tab.click("text=0.9 ripples")
    words = tab.text("regime-words")
    swing = 2 * math.pi / math.acos((1.9 - 0.01) / (2 * math.sqrt(0.9)))
    w = theory.trajectory(0.01, 0.9, 300)
    assert "Under-damped" in words and f"{math.sqrt(0.9):.3f}" in words
    assert f"{swing:.1f} steps" in words and f"{-100 * w.min():.1f} %" in words
    assert f"{math.log(10) / -math.log(math.sqrt(0.9)):.1f} steps" in words
    assert f"without momentum: {math.log(10) / -math.log(0.99):.0f}" in words
    for name, start in (("plain gradient", "Over-damped"), ("0.5 still", "Over-damped"), ("0.99 over", "Under-damped"),
                        ("jumping", "Jumping"), ("diverging", "Diverging"), ("saved", "Under-damped")):  # fmt: skip
        tab.click(f"text={name}")
        assert tab.text("regime-words").startswith(start)
    tab.click("text=diverging")
    assert "below 2.2" in tab.text("regime-words")  # 2 + 2 mu at mu = 0.1


PICTURES = ("map", "series", "phase", "circle")


def test_sliders_change_all_pictures(tab: Tab) -> None:
    before = [tab.pixels(name) for name in PICTURES]
    tab.slide("slider-mu", 0.6)
    between = [tab.pixels(name) for name in PICTURES]
    tab.slide("slider-s", 0.5)  # of the square root's scale: lr h = 4 * 0.5^2
    after = [tab.pixels(name) for name in PICTURES]
    assert all(len({a, b, c}) == 3 for a, b, c in zip(before, between, after, strict=True))
    assert tab.number("slider-s") == 1 and tab.number("slider-mu") == 0.6
    tab.choose("method", "nesterov")
    assert all(a != b for a, b in zip(after, [tab.pixels(name) for name in PICTURES], strict=True))


def test_arrow_keys_move_the_point(tab: Tab) -> None:
    tab.click("text=0.9 ripples")
    tab.page.focus("#map")
    before, picture = tab.number("slider-s"), tab.pixels("map")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        tab.press(key)
    assert tab.number("slider-mu") == pytest.approx(0.88)
    assert tab.number("slider-s") > before and tab.pixels("map") != picture
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
        tab.press(key)
    assert tab.number("slider-s") == pytest.approx(before) and tab.number("slider-mu") == pytest.approx(0.9)
    tab.press("Shift+ArrowUp")
    assert tab.number("slider-mu") == pytest.approx(0.902)
    assert tab.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_dragging_on_the_map_picks_points(tab: Tab) -> None:
    tab.page.locator("#map").scroll_into_view_if_needed()
    box = tab.page.locator("#map").bounding_box()
    x, y = box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"]
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    first = tab.number("slider-s"), tab.number("slider-mu")
    tab.page.mouse.move(x + 60, y - 60)
    second = tab.number("slider-s"), tab.number("slider-mu")
    tab.page.mouse.up()
    tab.page.mouse.move(x, y)
    assert second[0] > first[0] and second[1] > first[1]
    assert (tab.number("slider-s"), tab.number("slider-mu")) == second  # let go: the mouse moves nothing


def test_touch_on_a_small_screen(browser: Any, whole: Path) -> None:
    tab = Tab(
        browser, whole, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True, device_scale_factor=3
    )
    tab.js("document.getElementById('map').scrollIntoView({block: 'center', behavior: 'instant'})")
    box = tab.page.locator("#map").bounding_box()
    tab.page.touchscreen.tap(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    assert tab.number("slider-s") > 0.5 and 0.2 < tab.number("slider-mu") < 0.6
    assert tab.js("getComputedStyle(document.getElementById('map')).touchAction") == "none"
    assert tab.js("document.getElementById('map').width / document.getElementById('map').clientWidth") == 3  # sharp
    tab.close()


def test_buttons_go_to_the_optimum(tab: Tab) -> None:
    tab.click("text=0.9 ripples")
    tab.click("#go-critical")
    assert tab.number("slider-mu") == pytest.approx((1 - 0.1) ** 2)
    assert tab.text("regime-words").startswith("Critically damped") and "0.9" in tab.text("regime-words")
    tab.slide("slider-kappa", 2 / 3)  # 1000^(2/3)
    assert tab.number("slider-kappa") == 100
    tab.click("#go-best")
    assert tab.number("slider-s") == pytest.approx(4 / (1 + 1 / 10) ** 2, rel=2e-3)
    assert tab.number("slider-mu") == pytest.approx((9 / 11) ** 2, rel=2e-3)
    assert f"{9 / 11:.3f}" in tab.text("spectrum-words") and f"{99 / 101:.3f}" in tab.text("spectrum-words")
    tab.click("#go-plain")
    assert tab.number("slider-mu") == 0 and tab.number("slider-s") == pytest.approx(2 / 1.01, rel=2e-3)
    tab.choose("method", "nesterov")
    tab.click("#go-best")
    assert tab.number("slider-s") == pytest.approx(4 / 3.01, rel=2e-3)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_noise_measured_is_the_noise_predicted(tab: Tab, nesterov: bool) -> None:
    tab.click("text=0.9 ripples")
    tab.choose("method", "nesterov" if nesterov else "momentum")
    tab.slide("slider-s", math.sqrt(0.2 / 4))
    assert tab.text("noise-measured") == "—"
    tab.slide("slider-sigma", 0.5)
    tab.wait("Number(document.getElementById('noise').dataset.steps) >= 500000")
    noise = {key: float(value) for key, value in tab.js("({...document.getElementById('noise').dataset})").items()}
    expected = theory.steady_variance(0.2, 1.0, 0.9, 0.25, nesterov)
    assert noise["formula"] == pytest.approx(expected, rel=0.02)  # the slider's lr h is near 0.2
    assert abs(noise["measured"] - noise["formula"]) < 5 * noise["error"] < 0.1 * expected
    assert "times" in tab.text("noise-words")


def test_the_race_plays_and_stops(tab: Tab) -> None:
    board, start = tab.pixels("board"), tab.text("race-words")
    assert start.startswith("Ready")
    tab.click("#one")
    assert tab.number("race-step") == 1 and tab.pixels("board") != board
    tab.click("#play")
    tab.wait("Number(document.getElementById('race-step').value) > 5")
    assert tab.text("play") == "Pause"
    tab.click("#play")
    step = tab.number("race-step")
    tab.page.wait_for_timeout(120)
    assert tab.number("race-step") == step < page.STEPS
    tab.click("#restart")
    assert tab.number("race-step") == 0 and tab.pixels("board") == board


def test_the_race_is_won_as_in_python(tab: Tab) -> None:
    tab.choose("land", "ravine")
    tab.slide("race-mu", 0.5)
    tab.click("#end")
    words = tab.text("race-words")
    for method, mu in (("gd", None), ("momentum", 0.5), ("nesterov", 0.5), ("rmsprop", None)):
        best = landscapes.tune(landscapes.LANDSCAPES["ravine"], method, 300, mu)
        row = tab.js("(name) => ({...document.querySelector(`tr[data-method='${name}']`).dataset})", method)
        assert (float(row["lr"]), float(row["steps"])) == (pytest.approx(best.lr, rel=1e-12), best.steps)
        if method in ("gd", "momentum"):
            assert f"({best.steps:.0f})" in words
    assert tab.page.locator("tr[data-method=gd] td").nth(2).inner_text().startswith("arrived after")


def test_one_lr_for_all_and_divergence_is_said(tab: Tab) -> None:
    tab.choose("land", "ravine")
    tab.slide("race-lr", 1)
    assert tab.js("document.getElementById('tune').getAttribute('aria-pressed')") == "false"
    tab.click("#end")
    assert "Diverged: gradient descent" in tab.text("race-words")
    assert "diverged at step" in tab.page.inner_text("tr[data-method=gd]")
    tab.click("#tune")
    assert "Diverged" not in tab.text("race-words") and tab.text("race-lr-text") == "each its own"


def test_the_start_is_dragged_and_pushed(tab: Tab) -> None:
    board = tab.pixels("board")
    tab.page.locator("#board").scroll_into_view_if_needed()
    box = tab.page.locator("#board").bounding_box()
    tab.page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"])
    moved, label = tab.pixels("board"), tab.page.get_attribute("#board", "aria-label")
    tab.press("ArrowLeft")
    assert len({board, moved, tab.pixels("board")}) == 3
    assert label != tab.page.get_attribute("#board", "aria-label")
    tab.choose("land", "double-well")
    tab.page.focus("#board")
    tab.press("ArrowLeft")  # one coordinate
    assert "1.89" in str(tab.page.get_attribute("#board", "aria-label"))  # 2 - 0.025 of the box, 4.4 wide


def test_momentum_leaves_the_shallower_well(tab: Tab) -> None:
    tab.choose("land", "double-well")
    tab.click("#end")
    ends = {}
    for method, mu in (("gd", None), ("momentum", 0.9), ("nesterov", 0.9)):
        path = landscapes.run(landscapes.LANDSCAPES["double-well"], method, 0.01, 1000, mu)
        ends[method] = "deeper" if path[-1, 0] < 0 else "shallower"
        assert ends[method] in tab.page.inner_text(f"tr[data-method={method}]")
    assert ends == {"gd": "shallower", "momentum": "deeper", "nesterov": "deeper"}


def test_best_momentum_of_the_race(tab: Tab) -> None:
    tab.choose("land", "ravine")
    tab.click("#race-best")
    land = landscapes.LANDSCAPES["ravine"]
    steps = {mu: landscapes.tune(land, "momentum", 200, mu).steps for mu in (0.3, 0.4, 0.5, 0.6, 0.7)}
    assert tab.number("race-mu") == min(steps, key=lambda mu: steps[mu])
    assert f"fewest steps from here: {min(steps.values()):.0f}." in tab.text("tune-words")


def test_mnist_selects_change_curves_and_words(tab: Tab) -> None:
    seen = [(tab.pixels("accuracy"), tab.pixels("loss"), tab.text("mnist-words"))]
    for action in (lambda: tab.page.select_option("#protocol", "large"),
                   lambda: tab.page.select_option("#optimizer", "nesterov"),
                   lambda: tab.slide("mnist-mu", 0),
                   lambda: tab.page.select_option("#protocol", "matched")):  # fmt: skip
        action()
        seen.append((tab.pixels("accuracy"), tab.pixels("loss"), tab.text("mnist-words")))
    assert [len(set(column)) for column in zip(*seen, strict=True)] == [5, 5, 5]
    assert "so lr 0.1" in seen[-1][2]  # matched: 0.1 / (1 - 0)


def test_mnist_best_momentum_is_pointed_out(tab: Tab) -> None:
    words = tab.text("mnist-words")
    assert words.startswith("Momentum 0.9") and "96.20 % ± 0.2" in words and "its band is lower" in words
    tab.slide("mnist-mu", 0)
    assert tab.text("mnist-words").startswith("Momentum 0 ") and "momentum 0.9" in tab.text("mnist-words")
    tab.click("#best-momentum")
    assert tab.text("mnist-words") == words
    tab.page.select_option("#protocol", "large")
    tab.click("#best-momentum")
    assert tab.text("mnist-words").startswith("Momentum 0.5")
    tab.click("#momenta [data-mu='0.99']")
    assert f"{SEEDS} of {SEEDS} runs diverged" in tab.text("mnist-words")
    assert f"{SEEDS} of {SEEDS} diverged" in tab.text("finals") and tab.text("finals").count("★") == 3
    assert "Student's t" in tab.text("accuracy-note") and "0.99" in tab.text("accuracy-note")


def test_no_sweep_is_said(browser: Any, bare: Path) -> None:
    tab = Tab(browser, bare)
    assert "No measured runs" in tab.text("no-sweep") and "tinygrad_m.lab sweep" in tab.text("no-sweep")
    assert tab.js("getComputedStyle(document.getElementById('sweep')).display") == "none"
    tab.close()


def test_nothing_is_wider_than_the_screen_in_light_or_dark(browser: Any, whole: Path) -> None:
    tab = Tab(browser, whole)
    tab.slide("slider-kappa", 0.5)
    tab.slide("slider-sigma", 0.5)
    tab.click("#end")
    for width, scheme in ((360, "light"), (1600, "dark"), (360, "dark"), (820, "light")):
        map_before = tab.pixels("map")
        tab.page.set_viewport_size({"width": width, "height": 800})
        tab.page.emulate_media(color_scheme=scheme)
        assert tab.pixels("map") != map_before
        assert tab.js("document.documentElement.scrollWidth") <= width
        wide = """(width) => [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, .skip") &&
                  e.getBoundingClientRect().right > width + 1).map((e) => e.outerHTML)"""
        assert tab.js(wide, width) == []
        ink, paper = tab.js("['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name]"
                            ".match(/\\d+/g).reduce((a, b) => a + Number(b), 0))")  # fmt: skip
        assert (ink < paper) == (scheme == "light") and abs(ink - paper) > 500
    tab.close()


def test_everything_has_a_name_for_those_who_cannot_see_it(tab: Tab) -> None:
    unnamed = """[...document.querySelectorAll("input, select, button, canvas")].filter((e) => {
        const words = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent;
        return e.clientWidth > 0 && !e.closest("[aria-hidden=true]") && !words.trim();
    }).map((e) => e.outerHTML)"""
    assert tab.js(unnamed) == []
    assert tab.js("document.querySelectorAll('canvas[tabindex=\"0\"][role=application]').length") == 2
    assert tab.js("document.querySelectorAll('[aria-live=polite]').length") >= 5
    tab.js("document.activeElement.blur()")
    tab.page.focus(".skip")
    assert tab.js("document.activeElement.getBoundingClientRect().left") > 0  # seen, once it has the focus


def test_reduced_motion_goes_to_the_end_at_once(browser: Any, whole: Path) -> None:
    tab = Tab(browser, whole, reduced_motion="reduce")
    tab.click("#play")
    assert tab.number("race-step") == page.STEPS and tab.text("play") == "Play"
    tab.close()


def test_words_of_the_data_are_never_run(browser: Any, tmp_path: Path) -> None:
    sweep = synthetic()
    bad = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u2028"
    for protocols in sweep["protocols"].values():
        protocols["small"]["label"] = bad
    sweep["protocols"][bad] = sweep["protocols"].pop("rmsprop-momentum")
    for run in sweep["runs"]:
        run["optimizer"] = bad if run["optimizer"] == "rmsprop-momentum" else run["optimizer"]
    tab = Tab(browser, page.write(tmp_path, sweep))
    tab.page.select_option("#optimizer", bad)
    assert bad.strip() in tab.text("mnist-words") and "<img" in tab.text("finals")
    assert tab.js("window.hacked") is None
    tab.close()
