"""Every Python block in README.md and docs/ runs, in order, each file in one namespace and in an empty folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": page.stem}
    for match in BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 2
        source = "\n" * (line - 1) + match.group(1)  # tracebacks name the page's own line
        exec(compile(source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_links_and_file_names_exist(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"
    for name in re.findall(r"`((?:tinygrad_m|tests|examples|docs)/[\w./]+)`", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"


def test_docs_have_code() -> None:
    assert len(PAGES) >= 5
    assert sum(len(BLOCK.findall(p.read_text(encoding="utf-8"))) for p in PAGES) >= 8


def test_nothing_but_the_agreed_folders_at_the_top() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    top = {name.split("/")[0] for name in tracked if name and not name.startswith(".")}
    assert top <= {"pyproject.toml", "README.md", "LICENSE", "tinygrad_m", "tests", "examples", "docs"}


def test_report_for_bug_reports() -> None:
    report = subprocess.run([sys.executable, "-m", "tinygrad_m"], capture_output=True, text=True, check=True).stdout
    for word in ("tinygrad_m", "python", "numpy", "blas", "THREADS", "devices", "cache", "mnist"):
        assert word in report
