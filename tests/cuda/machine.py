"""What the results were measured with, and whether there is a GPU to measure on."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tinygrad_m as tg
from tinygrad_m import backend, cudnn

from . import process

PACKAGES = (  # CuPy's and cuDNN's have a name for each CUDA version
    "numpy", "nvmath-python", "nvidia-cudnn-frontend", "torch", "jax", "jaxlib", "pytest",
)  # fmt: skip


class NoGPU(Exception):
    """There is none, or it can't be used. The message says what to install or check."""


def require() -> None:
    """Raise NoGPU unless CuPy is here, finds a device, and computes on it."""
    try:
        found = backend.cuda()
    except tg.DeviceError as error:
        raise NoGPU(str(error).partition("; or device=")[0]) from error
    if found.count() == 0:
        try:
            why = f"the runtime says {found.xp.cuda.runtime.getDeviceCount()} devices"
        except Exception as error:
            why = process.said(error)
        raise NoGPU(
            f"CuPy is installed but finds no CUDA device ({why}). Check that nvidia-smi lists one, that its driver is "
            "new enough for CuPy's CUDA version, and CUDA_VISIBLE_DEVICES"
        )
    try:
        process.run("probe")
    except process.JobError as error:
        raise NoGPU(
            f"CuPy finds a CUDA device but can't compute on it ({error}). CuPy needs CUDA's libraries and headers: "
            'pip install "cupy-cuda13x[ctk]" (CUDA 12: "cupy-cuda12x[ctk]"), or the CUDA toolkit'
        ) from error


def probe() -> float:
    """A sum over a matrix product: needs the compiler, the headers and cuBLAS."""
    x = tg.ones(2, 2, device="cuda")
    return float((x @ x + 1.0).sum().item())


def facts() -> dict[str, Any]:
    """The device, the versions, the date."""
    xp = backend.cuda().xp
    runtime = xp.cuda.runtime
    device = runtime.getDeviceProperties(0)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": _text(device["name"]),
        "devices": runtime.getDeviceCount(),
        "compute capability": f"{device['major']}.{device['minor']}",
        "memory": f"{device['totalGlobalMem'] / 2**30:.1f} GiB",
        "multiprocessors": device["multiProcessorCount"],
        "driver": nvidia_smi("driver_version") or "unknown",
        "power limit": nvidia_smi("power.limit") or "unknown",
        "CUDA of the driver": _cuda(runtime.driverGetVersion()),
        "CUDA runtime": _cuda(runtime.runtimeGetVersion()),
        "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "tinygrad_m": tg.__version__,
        "cupy": xp.__version__,
        **{name: installed(name) for name in PACKAGES},
        "cuDNN": found.backend_version() if (found := cudnn.binding()) else "not found",
        "CUPY_TF32": os.environ.get("CUPY_TF32", "not set: off"),
        "TINYGRAD_M_KERNELS": os.environ.get("TINYGRAD_M_KERNELS", "not set: on"),
        "TINYGRAD_M_CONVOLUTION": os.environ.get("TINYGRAD_M_CONVOLUTION", "not set: own"),
    }


def installed(package: str) -> str:
    """The version of a distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def nvidia_smi(field: str) -> str:
    """What nvidia-smi says of the first device; "" where there is none to ask."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _cuda(number: int) -> str:
    """13000 -> 13.0"""
    return f"{number // 1000}.{number % 1000 // 10}"
