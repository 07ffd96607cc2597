"""The results of a long experiment, on disk at every moment: one line for each finished run, with a checksum. Whatever
stops the experiment, no finished run is lost or done twice; and a damaged file is noticed and said so.

The first line says what the experiment is. load() reads the finished experiment: sweep.json."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import zlib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from .. import __version__
from .study import plain

FORMAT = 1


class ResultsError(ValueError):
    """A results file that is not what it should be: says which file, what is wrong with it, and what to do."""


def seal(body: dict[str, Any]) -> str:
    """One line of JSON with a checksum of what it says."""
    text = json.dumps(plain(body), allow_nan=False, separators=(",", ":"))
    return json.dumps({"crc": f"{zlib.crc32(text.encode()):08x}"})[:-1] + f', "is": {text}}}'


def unseal(line: str) -> dict[str, Any] | None:
    """What a sealed line says; None if it was cut off or changed."""
    try:
        outer = json.loads(line)
        text = line.rstrip("\n")[line.index('"is": ') + 6 : -1]
        good = f"{zlib.crc32(text.encode()):08x}" == outer["crc"]
        return dict(outer["is"]) if good else None
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def machine() -> dict[str, Any]:
    """What the experiment ran on, and with: no name of a person or a host."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count(),
            "python": platform.python_version(), "numpy": np.__version__, "tinygrad_m": __version__}  # fmt: skip


class Journal:
    """The file of an experiment that is under way: `with Journal(path, settings) as journal`.

    runs: {key: result} of all that are in the file. Raises ResultsError if the file is another experiment's or is
    being written by another process."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.runs: dict[str, dict[str, Any]] = {}
        self.seconds: dict[int, float] = {}  # wall time of each sitting
        self.started = datetime.now(UTC).date().isoformat()
        self.file: IO[str] | None = None

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
        try:
            _lock(self.file, self.path)
            self._read()
        except BaseException:
            self.file.close()
            raise
        self.sitting = len(self.seconds) + 1
        self.begun = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()
        if kind is not None and self.runs:
            self.say(
                f"stopped: {len(self.runs)} finished runs are safe in {self.path}; the same command goes on from there"
            )

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Write a finished run down, at once and for good."""
        self.runs[key] = result
        self.seconds[self.sitting] = time.monotonic() - self.begun
        elapsed = round(self.seconds[self.sitting], 1)
        self._write({"key": key, "sitting": self.sitting, "elapsed": elapsed, "run": result})

    def result(self, more: dict[str, Any]) -> dict[str, Any]:
        """The experiment, whole: settings, machine, wall time and all runs in the order of their keys."""
        runs = [self.runs[key] for key in sorted(self.runs)]
        wall = {"wall_seconds": round(sum(self.seconds.values()), 1), "sittings": len(self.seconds)}
        return {"format": FORMAT, "date": self.started, "settings": self.settings, "machine": machine(), **wall, **more,
                "runs": json.loads(json.dumps(plain(runs)))}  # fmt: skip

    def _write(self, body: dict[str, Any]) -> None:
        assert self.file is not None
        self.file.write(seal(body) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def _read(self) -> None:
        """Take in what is there. A line that was cut off or damaged is said and left out: its run is done again."""
        assert self.file is not None
        self.file.seek(0)
        lines = self.file.readlines()
        if not lines:
            self._write({"format": FORMAT, "settings": self.settings, "date": self.started})
            return
        head = unseal(lines[0])
        if head is None or head.get("format") != FORMAT:
            raise ResultsError(f"{self.path} does not begin like a journal of this experiment: delete it, or choose "
                               "another --out")  # fmt: skip
        if head["settings"] != self.settings:
            names = [name for name in self.settings if head["settings"].get(name) != self.settings[name]]
            differ = ", ".join(f"{name} {head['settings'].get(name)}, not {self.settings[name]}" for name in names)
            raise ResultsError(f"{self.path} holds another experiment ({differ}): choose another --out, or delete it")
        self.started = head["date"]
        for number, line in enumerate(lines[1:], 2):
            body = unseal(line)
            if body is None:
                cut = number == len(lines) and not line.endswith("\n")
                what = "was cut off as it was written" if cut else "is damaged"
                self.say(f"{self.path}, line {number} {what}: that run is done again")
                continue
            self.runs[body["key"]] = body["run"]
            self.seconds[body["sitting"]] = max(self.seconds.get(body["sitting"], 0.0), body["elapsed"])
        if not lines[-1].endswith("\n"):
            self.file.write("\n")  # what follows begins on a line of its own


def _lock(file: IO[str], path: Path) -> None:
    """Two processes that write one journal would do every run twice."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock, and no harm but double work
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ResultsError(
            f"{path} is being written by another process: wait for it, or choose another --out"
        ) from error


def save(path: Path, experiment: dict[str, Any]) -> None:
    """Write sweep.json: one run a line, and a checksum of it all."""
    head = {name: value for name, value in experiment.items() if name != "runs"}
    text = json.dumps(plain(head), indent=1, allow_nan=False)[:-2]
    lines = [json.dumps(plain(run), allow_nan=False, separators=(",", ":")) for run in experiment["runs"]]
    text += ',\n "crc": "' + _crc(experiment) + '",\n "runs": [\n' + ",\n".join(lines) + "\n]}\n"
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def load(path: Path) -> dict[str, Any]:
    """Read what save() wrote. Raises FileNotFoundError, or ResultsError if it is damaged or of another form."""
    again = "make it again with python -m tinygrad_m.lab sweep"
    try:
        experiment = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there are no results; {again}") from None
    except ValueError as error:
        raise ResultsError(f"{path} is not whole ({error}): {again}") from error
    if not isinstance(experiment, dict) or experiment.get("format") != FORMAT or "runs" not in experiment:
        raise ResultsError(f"{path} is not a finished experiment of format {FORMAT}: {again}")
    if _crc(experiment) != experiment.get("crc"):
        raise ResultsError(f"{path} was changed after it was written (its checksum is wrong): {again}")
    return experiment


def _crc(experiment: dict[str, Any]) -> str:
    body = {name: value for name, value in experiment.items() if name != "crc"}
    return f"{zlib.crc32(json.dumps(plain(body), sort_keys=True).encode()):08x}"


def library(name: str) -> str:
    """An installed library's version, for the report."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
