"""The part `suite`: the tests that need a GPU, by pytest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from . import process

LIMIT = 3600  # seconds
OPTIONAL = ("hypothesis",)  # files of tests that need one of these are left out where it is not installed


def part(quick: bool = False, tests: str = "tests", root: Path = process.ROOT) -> dict[str, Any]:
    """Run the tests that are marked `cuda` in `root`/`tests`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", tests, "-m", "cuda", f"--junitxml={report}"]
        command += ["--continue-on-collection-errors"]
        try:
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return {"failures": [f"pytest: not done after {LIMIT} s"]}
        if not report.exists():
            said = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["nothing"]
            return {"failures": [f"pytest ended with {done.returncode} and wrote no report: {said[0]}"]}
        return counts(ElementTree.parse(report).getroot())


def counts(report: ElementTree.Element) -> dict[str, Any]:
    """The numbers of passed, failed and skipped tests, and the names of failures, from a report in JUnit's XML."""
    found: dict[str, Any] = {"passed": 0, "failed": 0, "skipped": 0, "left_out": [], "failures": []}
    for name, outcome, message, text in _outcomes(report):
        missing = [package for package in OPTIONAL if f"No module named '{package}'" in text]
        if outcome == "failed" and missing:
            found["left_out"].append(f"{name} needs {missing[0]}")
            continue
        found[outcome] += 1
        if outcome == "failed":
            found["failures"].append(f"{name}: {message}")
    if not found["passed"] and not found["failures"]:
        found["failures"].append("no test ran: all that need a GPU were skipped")
    return found


def _outcomes(report: ElementTree.Element) -> Iterator[tuple[str, str, str, str]]:
    """(name, "passed" | "failed" | "skipped", first line of the message, its text) of each test."""
    for case in report.iter("testcase"):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        for kind, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            element = case.find(kind)
            if element is not None:
                lines = (element.get("message") or kind).splitlines()
                yield name, outcome, lines[0] if lines else kind, element.text or ""
                break
        else:
            yield name, "passed", "", ""
