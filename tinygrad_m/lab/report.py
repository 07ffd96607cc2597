"""The lab's report: one HTML page with the claims, the figures, the machine and the versions, readable anywhere and
without a network. __main__.py runs the parts; write_parts() writes their files, write() the page."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from . import parallel
from .journal import library, machine
from .study import Claim, Options, Study, write_json

# What one says of momentum, and how the claim begins that stands for it
DEFINITION = (
    ("It speeds up learning.", "Momentum speeds up"),
    ("It smooths the path.", "Momentum smooths"),
    ("At 0.99 it overshoots.", "0.99 overshoots: at lr 0.01"),
    ("Its effective learning rate is lr / (1 - momentum).", "The effective rate is"),
    ("It goes together with adaptive rates, and multiplies those, too.", "RMSprop's momentum multiplies"),
    ("It may carry past a local minimum,", "Momentum 0.9 carries a ball through the poor well"),
    ("and it may not.", "Momentum 0.95 carries it there and back"),
    ("The best value depends on the learning rate.", "The best momentum depends on the learning rate"),
)

QUICK = (
    "<p>This is the quick form: smaller and fewer runs, so that numbers differ from those of the full one and bands "
    "are wider. The MNIST experiment is shown whole, as it was published, and then once more, small.</p>"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6573; --paper: #fdfdfb; --line: #dcdfe4; --good: #00684b;
  --bad: #b3401a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --soft: #a4adba; --paper: #16191f; --line: #363c47;
  --good: #4cc9a0; --bad: #ff9166; } figure img { background: white; border-radius: 4px; } }
body { margin: 0 auto; max-width: 832px; padding: 2rem 1rem 6rem; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { margin: 3.5rem 0 .5rem; }
nav a { margin-right: 1rem; }
a { color: inherit; }
figure { margin: 2rem 0; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line); }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child { min-width: 13rem; }
td.source { color: var(--soft); min-width: 12rem; }
.PASS { color: var(--good); font-weight: 600; } .FAIL { color: var(--bad); font-weight: 700; }
"""


def write_parts(studies: Sequence[Study], out: Path, drawing: bool, quiet: bool = False) -> dict[str, list[Path]]:
    """Write NAME.json of each study and, if `drawing`, its figures; returns {figure's name: paths}."""
    for study in studies:
        claims = [claim.as_dict() for claim in study.claims]
        write_json(out / f"{study.name}.json", {"title": study.title, "claims": claims, **study.data})
    if not drawing:
        return {}
    figures = [figure for study in studies for figure in study.figures]
    paths: dict[str, list[Path]] = {}
    bar = parallel.Progress(len(figures), len(figures), "drawing", quiet)
    for figure in figures:
        paths[figure.name] = figure.save(out)
        bar.step(1)
    bar.close()
    return paths


def write(path: Path, studies: Sequence[Study], files: dict[str, list[Path]], options: Options, seconds: float) -> None:
    """Write the page. Pictures are inside it; their larger forms (SVG) and the data lie beside it."""
    claims = [claim for study in studies for claim in study.claims]
    good = sum(claim.passed for claim in claims)
    about = {**machine(), "matplotlib": library("matplotlib"), "seed": options.seed, "jobs": options.jobs,
             "form": "quick" if options.quick else "full", "seconds": f"{seconds:.0f}",
             "threads of linear algebra": os.environ.get("OPENBLAS_NUM_THREADS", "not fixed")}  # fmt: skip
    body = [
        "<h1>Momentum: seen, predicted, measured</h1>",
        "<p>Momentum keeps a velocity: a fraction of it, usually 0.9 or 0.99, is kept at each step, and the new "
        "gradient is added. What follows from that is below. Every sentence in a table is a measurement with the band "
        "in which its number had to be.</p>",
        f'<p class="{"PASS" if good == len(claims) else "FAIL"}">{good} of {len(claims)} claims hold.</p>',
        *([QUICK] if options.quick else []),
        "<nav>" + "".join(f'<a href="#{s.name}">{escape(s.title)}</a>' for s in studies)
        + '<a href="#claims">All claims</a><a href="momentum.html">The page to play with</a></nav>',
    ]  # fmt: skip
    first = [(say, claim) for say, start in DEFINITION for claim in claims if claim.claim.startswith(start)]
    once = {say: (say, claim) for say, claim in reversed(first)}  # the first that fits: the whole experiment's
    body += ["<h2>In short</h2>", short([once[say] for say, _ in DEFINITION if say in once])]
    for study in studies:
        body += [f'<section id="{study.name}"><h2>{escape(study.title)}</h2><p>{escape(study.text)}</p>']
        for figure in study.figures:
            body.append(picture(files[figure.name], figure.caption))
        body += [table(study.claims), f'<p><a href="{study.name}.json">The data of this part</a></p></section>']
    body += ['<section id="claims"><h2>All claims</h2>', table(claims), "</section>", "<h2>Where this was run</h2>"]
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in about.items())
    body.append(f"<table>{rows}<tr><th>written</th><td>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC</td></tr></table>")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Momentum: the report</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def picture(paths: Sequence[Path], caption: str) -> str:
    """A figure inside the page, with a link to its file that can be enlarged."""
    shown = paths[0]
    kind = "gif" if shown.suffix == ".gif" else "png"
    data = base64.b64encode(shown.read_bytes()).decode()
    alt, link = escape(caption, quote=True), paths[-1].name
    image = f'<img alt="{alt}" src="data:image/{kind};base64,{data}">'
    return f'<figure><a href="{link}">{image}</a><figcaption>{escape(caption)}</figcaption></figure>'


def short(rows: Sequence[tuple[str, Claim]]) -> str:
    """What one says of momentum, with the measurement behind it."""
    lines = [
        f"<tr><td><strong>{escape(say)}</strong></td><td>{escape(claim.claim)}: {claim.value:.4g}</td>"
        f'<td class="{verdict(claim)}">{verdict(claim)}</td></tr>'
        for say, claim in rows
    ]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def verdict(claim: Claim) -> str:
    return "PASS" if claim.passed else "FAIL"


def table(claims: Sequence[Claim]) -> str:
    """The claims table: sentence, number, band, verdict, source."""
    head = "<tr><th>claim</th><th>measured</th><th>must be in</th><th></th><th>from</th></tr>"
    rows = []
    for claim in claims:
        rows.append(
            f'<tr><td>{escape(claim.claim)}</td><td class="number">{claim.value:.4g}</td>'
            f'<td class="number">{claim.low:.4g} to {claim.high:.4g}</td>'
            f'<td class="{verdict(claim)}">{verdict(claim)}</td>'
            f'<td class="source">{escape(claim.source)}</td></tr>'
        )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'
