"""The lab's command line and its report, with small studies in place of the real ones; .ci/run makes the real one."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tinygrad_m.lab import __main__ as lab
from tinygrad_m.lab import mnist, report
from tinygrad_m.lab.journal import ResultsError
from tinygrad_m.lab.study import Claim, Figure, Options, Study

GOOD = Claim("0.99 overshoots <b>", 0.85, 0.8, 0.9, "a run & a source")
BAD = Claim("it never does", 2.0, 0.0, 1.0, "another run")


def a_study(*claims: Claim, name: str = "theory") -> Study:
    from tinygrad_m.lab.figures import style

    def draw() -> Any:
        drawing = style.figure(2)
        drawing.subplots().plot([1, 2])
        return drawing

    return Study(name, "A <title>", "What is seen.", list(claims), [Figure(f"{name}-x", 'A "caption" & more.', draw)],
                 {"numbers": [1.0, float("nan")]})  # fmt: skip


class Tags(HTMLParser):
    """The tags that a page opens and never closes, and the addresses that it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.loads += [str(value) for name, value in attrs if name == "src" or (tag == "link" and name == "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_says_all_and_loads_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    studies = [a_study(GOOD), a_study(BAD, name="network")]
    files = report.write_parts(studies, tmp_path, drawing=True, quiet=True)
    report.write(tmp_path / "report.html", studies, files, Options(quick=True, seed=3), 12.3)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.loads and all(load.startswith("data:image/png;base64,") for load in tags.loads)
    assert "0.99 overshoots &lt;b&gt;" in page and "a run &amp; a source" in page and "<b>" not in page
    assert page.count('class="PASS">PASS') == page.count('class="FAIL">FAIL') == 2  # in its part, and among all
    assert "1 of 2 claims hold" in page and "0.8 to 0.9" in page
    for link in re.findall(r'href="([^"#]+)"', page):
        assert (tmp_path / link).exists() or link == "momentum.html"
    assert json.loads((tmp_path / "theory.json").read_text())["numbers"] == [1.0, None]


@pytest.mark.parametrize(("claims", "status"), [([GOOD], 0), ([GOOD, BAD], 1)])
def test_the_exit_status_is_1_if_a_claim_fails(
    claims: list[Claim],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(lab, "run", lambda *args: seen.append(args) or [a_study(*claims)])
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)  # no matplotlib: claims all the same
    out = tmp_path / "deep" / "out"
    assert lab.main(["theory", "--quick", "--out", str(out), "--seed", "4", "--jobs", "2", "--quiet"]) == status
    assert seen == [("theory", Options(True, 4, 2, True), out)]
    rows = json.loads((out / "claims.json").read_text())
    assert rows == [claim.as_dict() for claim in claims]
    printed = capsys.readouterr().out
    assert f"{1} of {len(claims)} claims hold" in printed and "tinygrad_m[lab]" in printed
    assert ("FAIL" in printed) == bool(status)


def test_a_report_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResultsError, match=r"pip install .tinygrad_m\[lab\]"):
        lab.main(["report", "--out", str(tmp_path)])


def test_a_damaged_result_stops_the_report(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(ResultsError, match="not whole"):
        lab.experiments(Options(), tmp_path)


def test_a_quick_report_shows_the_published_experiment_and_one_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(mnist, "run", lambda options, out: seen.append((options, out)) or "small")
    monkeypatch.setattr(mnist, "published", lambda: "whole")
    monkeypatch.setattr(mnist, "study", lambda experiment: a_study(GOOD, name="mnist"))
    names = [study.name for study in lab.experiments(Options(quick=True), tmp_path)]
    assert names == ["mnist", "mnist-quick"] and seen == [(Options(quick=True), tmp_path / "quick")]
    assert [study.name for study in lab.experiments(Options(), tmp_path)] == ["mnist"]


def test_what_one_says_of_momentum_comes_first(tmp_path: Path) -> None:
    claims = [Claim(f"{start} x", 0.5, 0.0, 1.0, "s") for _, start in report.DEFINITION]
    later = Claim(f"{report.DEFINITION[0][1]} again", 7.0, 0.0, 1.0, "s")
    study = Study("theory", "t", "x", [*claims, later])
    report.write(tmp_path / "r.html", [study], {}, Options(), 1.0)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    head = page[page.index("In short") : page.index('<section id="theory">')]
    assert all(say in head for say, _ in report.DEFINITION)
    assert head.count("PASS</td>") == len(report.DEFINITION) and "again" not in head


def test_a_parts_data_does_not_overwrite_the_experiment(tmp_path: Path) -> None:
    study = mnist.study(mnist.published())
    report.write_parts([study], tmp_path, drawing=False)
    assert not (tmp_path / "sweep.json").exists() and not (tmp_path / "sweep.jsonl").exists()
