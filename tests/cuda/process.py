"""Each job runs in a Python process of its own: what a job does to the device, its memory pool or its libraries is over
with the process, and one that crashes takes no other along. `run` starts one; `python -m tests.cuda.process` is it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1800  # seconds that a job may take
JOBS = {  # name -> module and function
    "probe": ("machine", "probe"),
    "compare": ("compare", "run"),
    "speed": ("speed", "measure"),
    "mnist": ("mnist", "run"),
    "memory": ("memory", "run"),
    "memory with cuDNN": ("memory", "run_cudnn"),
    "memory of torch": ("memory", "run_torch"),
}


class JobError(Exception):
    """A job ended with an error. The message is its last line; `details` has the traceback."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


def call(job: str, **options: Any) -> Any:
    """Do the job in this process."""
    module, function = JOBS[job]
    return getattr(importlib.import_module(f".{module}", __package__), function)(**options)


def run(job: str, **options: Any) -> Any:
    """Do the job in a new process, and return what it returned. JobError if it raised, crashed or took too long."""
    command = [sys.executable, "-m", f"{__package__}.process", job, json.dumps(options)]
    own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # JAX would take most of the device's memory at its start
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"not done after {LIMIT} s") from error
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        result, failed, details = answer["result"], answer["error"], answer["details"]
    except (IndexError, ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise JobError(f"the process ended with {done.returncode}: {last}", done.stderr) from None
    if failed:
        raise JobError(failed, details)
    return result


def main(argv: list[str]) -> int:
    """What the child does: the job, and one line of JSON at the end."""
    job, options = argv
    answer: dict[str, Any] = {"result": None, "error": "", "details": ""}
    try:
        answer["result"] = call(job, **json.loads(options))
    except Exception as error:
        answer["error"], answer["details"] = said(error), traceback.format_exc()
    print(f"\n{json.dumps(answer)}", flush=True)
    return 0


def said(error: BaseException) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
