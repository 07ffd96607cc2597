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


def unseal(line: bytes) -> dict[str, Any] | None:
    """What a sealed line says; None if it was cut off or changed."""
    try:
        text = line.decode().strip()
        outer = json.loads(text)
        body = text[text.index('"is": ') + 6 : -1]
        return dict(outer["is"]) if f"{zlib.crc32(body.encode()):08x}" == outer["crc"] else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


def machine() -> dict[str, Any]:
    """What the experiment ran on, and with: no name of a person or a host."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count(),
            "python": platform.python_version(), "numpy": np.__version__, "tinygrad_m": __version__}  # fmt: skip


class Journal:
    """The file of an experiment that is under way: `with Journal(path, settings, by) as journal`.

    by: what runs it, as "2 processes". runs: {key: result} of all that are in the file. Raises ResultsError if the
    file is another experiment's, is being written by another process, or cannot be written."""

    def __init__(self, path: Path, settings: dict[str, Any], by: str = "1 process") -> None:
        self.path, self.settings, self.by = path, json.loads(json.dumps(settings)), by
        self.runs: dict[str, dict[str, Any]] = {}
        self.sittings: list[dict[str, Any]] = []  # by, seconds, machine of each
        self.started = datetime.now(UTC).date().isoformat()
        self.file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "a+b")  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise ResultsError(f"{self.path} cannot be written ({error.strerror}): choose another --out") from error
        try:
            _lock(self.file, self.path)
            self._read()
        except BaseException:
            self.file.close()
            raise
        self.sittings.append({"by": self.by, "runs": 0, "seconds": 0.0, "machine": machine()})
        self.begun = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if self.file is not None:
                self.file.close()
        except OSError:
            pass  # a full disk was reported by _write
        finally:
            if kind is not None and self.runs:
                self.say(f"finished runs that are safe in {self.path}: {len(self.runs)}; the same command goes on")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Write a finished run down, at once and for good."""
        sitting = self.sittings[-1]
        sitting["seconds"] = round(time.monotonic() - self.begun, 1)
        sitting["runs"] += 1
        self._write({"key": key, "number": len(self.sittings), "sitting": sitting, "run": result})
        self.runs[key] = result

    def result(self, more: dict[str, Any]) -> dict[str, Any]:
        """The experiment, whole: settings, machine, wall time and all runs in the order of their keys."""
        runs = [self.runs[key] for key in sorted(self.runs)]
        used = [sitting for sitting in self.sittings if sitting["runs"]] or self.sittings[-1:]
        by = ", then ".join(dict.fromkeys(sitting["by"] for sitting in used))
        wall = round(sum(sitting["seconds"] for sitting in used), 1)
        return {"format": FORMAT, "date": self.started, "settings": self.settings, "machine": used[-1]["machine"],
                "by": by, "wall_seconds": wall, "sittings": len(used), **more,
                "runs": json.loads(json.dumps(plain(runs)))}  # fmt: skip

    def _write(self, body: dict[str, Any]) -> None:
        assert self.file is not None
        try:
            self.file.write(seal(body).encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise ResultsError(
                f"{self.path} cannot be written ({error.strerror}): make room, and start again"
            ) from error

    def _read(self) -> None:
        """Take in what is there. What was cut off or damaged is said and left out: those runs are done again."""
        assert self.file is not None
        self.file.seek(0)
        text = self.file.read()
        lines = [line for line in text.split(b"\n") if line.strip(b" \r\t\0")]
        bodies = [unseal(line) for line in lines]
        sound = [body for body in bodies if body is not None]
        heads = [body for body in sound if "settings" in body]
        found = [body for body in sound if "run" in body]
        if lines and not sound and not (len(lines) == 1 and seal({}).startswith(lines[0][:8].decode(errors="replace"))):
            raise ResultsError(f"{self.path} is not a journal of this experiment: choose another --out, or delete it")
        for head in heads:
            self._compare(head["settings"], head.get("format"))
            self.started = head["date"]
        for body in found:
            own = {name: body["run"][name] for name in self.settings if name in body["run"] and name != "epochs"}
            self._compare({**self.settings, **own}, FORMAT)
            self.runs[body["key"]] = body["run"]
            while len(self.sittings) < body["number"]:
                self.sittings.append({"by": "?", "runs": 0, "seconds": 0.0, "machine": {}})
            self.sittings[body["number"] - 1] = body["sitting"]
        if bad := [number for number, body in enumerate(bodies, 1) if body is None]:
            cut = bad == [len(lines)] and not text.endswith(b"\n")
            what = f"line {bad[0]} was cut off as it was written" if cut else f"{len(bad)} damaged, as line {bad[0]}"
            self.say(f"{self.path}: {what}; {len(found)} runs are sound, the others are done again")
        if text and not text.endswith(b"\n"):
            self.file.write(b"\n")  # what follows begins on a line of its own
        if not heads:
            self._write({"format": FORMAT, "settings": self.settings, "date": self.started})
        versions = {sitting["machine"].get("tinygrad_m", __version__) for sitting in self.sittings} - {__version__}
        if versions:
            self.say(f"{self.path} has runs of tinygrad_m {', '.join(sorted(versions))}; this is {__version__}")

    def _compare(self, other: dict[str, Any], format: Any) -> None:
        if format != FORMAT:
            raise ResultsError(f"{self.path} is of format {format}, not {FORMAT}: choose another --out, or delete it")
        names = [name for name in self.settings if other.get(name) != self.settings[name]]
        if names:
            differ = ", ".join(f"{name} {other.get(name)}, not {self.settings[name]}" for name in names)
            raise ResultsError(f"{self.path} holds another experiment ({differ}): choose another --out, or delete it")


def _lock(file: IO[bytes], path: Path) -> None:
    """Two processes that write one journal would do every run twice."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock, and no harm but double work
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: a forked child would keep that one
    except (BlockingIOError, PermissionError) as error:
        remedy = "wait for it, or choose another --out"
        raise ResultsError(f"{path} is being written by another process: {remedy}") from error
    except OSError:
        pass  # a file system without locks


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
    again = "make it again with python -m tinygrad_m.lab sweep (or, if it is the package's own, install that again)"
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
