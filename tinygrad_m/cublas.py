"""Matrix products by cuBLAS through nvmath-python, NVIDIA's own binding, for steps that are captured: CuPy calls
cuBLAS too, but refuses to while a graph is recorded. Without nvmath-python kernels.py has a product of its own.
cuBLAS counts matrices by columns; so it is asked for out^T = b^T a^T, which in memory is out by rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from . import backend
from .backend import Array

WORKSPACE = 32 << 20  # bytes, as NVIDIA recommends for Hopper; its own, as cuBLAS must not allocate in a graph
KINDS = {"e": (2, "COMPUTE_32F"), "f": (0, "COMPUTE_32F"), "d": (1, "COMPUTE_64F")}  # cudaDataType, cublasComputeType


@cache
def binding() -> Any:
    """nvmath.bindings.cublas, or None if it is not installed."""
    try:
        from nvmath.bindings import cublas
    except Exception:  # not installed, or it does not find cuBLAS
        return None
    return cublas


@cache
def _handle(xp: Any, device: int) -> tuple[int, Array]:
    """cuBLAS' handle for the current device, and its workspace."""
    cublas, workspace = binding(), xp.empty(WORKSPACE, np.uint8)
    handle = cublas.create()
    cublas.set_workspace(handle, workspace.data.ptr, WORKSPACE)
    return handle, workspace


def matmul(xp: Any, a: Array, b: Array, out: Array) -> None:
    """out <- a @ b, on the current device: (batch, m, k), (batch, k, n), (batch, m, n) of one dtype; out in C order."""
    cublas, (batches, m, k), n = binding(), a.shape, b.shape[2]
    handle, _ = _handle(xp, xp.cuda.Device().id)
    cublas.set_stream(handle, xp.cuda.get_current_stream().ptr)
    kind, compute = KINDS[a.dtype.char]
    if a.dtype.char == "f" and backend.get_float32_matmul_precision() == "high":
        compute = "COMPUTE_32F_FAST_TF32"
    (a, a_by_columns, a_step), (b, b_by_columns, b_step) = _laid(xp, a), _laid(xp, b)
    one, zero = (np.array(x, np.float64 if kind == 1 else np.float32) for x in (1, 0))
    cublas.gemm_strided_batched_ex(
        handle, int(b_by_columns), int(a_by_columns), n, m, k, one.ctypes.data,
        b.data.ptr, kind, b_step, b.strides[0] // b.itemsize, a.data.ptr, kind, a_step, a.strides[0] // a.itemsize,
        zero.ctypes.data, out.data.ptr, kind, n, m * n, batches, int(getattr(cublas.ComputeType, compute)),
        int(cublas.GemmAlgo.DEFAULT),
    )  # fmt: skip


def _laid(xp: Any, x: Array) -> tuple[Array, bool, int]:
    """The matrices (a copy, if their rows and their columns have gaps), whether they lie by columns, and how many
    elements there are from one row, or column, to the next."""
    (_, rows, columns), (row, column) = x.shape, [stride // x.itemsize for stride in x.strides[1:]]
    if columns == 1 or column == 1:
        if rows == 1 or row >= columns:
            return x, False, columns if rows == 1 else row
    elif (rows == 1 or row == 1) and column >= rows:
        return x, True, column
    return xp.ascontiguousarray(x), False, columns
