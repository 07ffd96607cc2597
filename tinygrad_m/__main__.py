"""`python -m tinygrad_m` prints what one pastes into a bug report: versions, BLAS and its threads, devices, and
where the data and its cache are."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import tinygrad_m as tg
from tinygrad_m import backend
from tinygrad_m.data import cache_dir


def _version(*names: str) -> str:
    for name in names:
        try:
            return f"{version(name)} ({name})" if len(names) > 1 else version(name)
        except PackageNotFoundError:
            pass
    return "not installed"


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    threads = {k: os.environ.get(k, "-") for k in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return f"{blas.get('name', '?')} {blas.get('version', '')}; " + ", ".join(f"{k}={v}" for k, v in threads.items())


def _devices() -> str:
    if importlib.util.find_spec("cupy") is None:
        return f"cpu only (CuPy is not installed: {backend.INSTALL})"
    count = tg.device_count()
    if count == 0:
        return "cpu only (CuPy is installed but finds no CUDA device)"
    runtime = backend.cuda().xp.cuda.runtime
    names = [runtime.getDeviceProperties(k)["name"].decode() for k in range(count)]
    return "cpu, " + ", ".join(f"cuda:{k} ({name})" for k, name in enumerate(names))


def main() -> None:
    """Print the report."""
    rows = {
        "tinygrad_m": f"{tg.__version__} from {os.path.dirname(tg.__file__)}",
        "python": f"{sys.version.split()[0]} ({platform.python_implementation()}) on {platform.platform()}",
        "cores": str(os.cpu_count()),
        "numpy": np.__version__,
        "blas": _blas(),
        "cupy": _version("cupy-cuda13x", "cupy-cuda12x", "cupy"),
        "devices": _devices(),
        "default device": tg.get_default_device(),
        "mnist": os.environ.get("TINYGRAD_M_DATA") or "embedded in the package",
        "cache": str(cache_dir()),
        "matplotlib": _version("matplotlib"),
        "tqdm": _version("tqdm"),
    }
    for name, value in rows.items():
        print(f"{name:>14}  {value}")


if __name__ == "__main__":
    main()
