"""Products of matrices by cuBLAS, called directly: CuPy's own matmul copies transposed stacks, computes float16 ones in
float32, and refuses while a step is captured. CuPy's binding is used, or, in captured steps, nvmath-python's, which is
NVIDIA's; without it kernels.py has a product of its own. cuBLAS counts matrices by columns; so it is asked for
out^T = b^T a^T, which in memory is out by rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from . import backend
from .backend import Array

WORKSPACE = 32 << 20  # bytes, as NVIDIA recommends for Hopper; its own, as cuBLAS must not allocate in a graph
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70  # cublasComputeType
KINDS = {"e": (2, COMPUTE_32F), "f": (0, COMPUTE_32F), "d": (1, COMPUTE_64F)}  # cudaDataType, and how it is summed
NO_TRANSPOSE, TRANSPOSE, DEFAULT = 0, 1, -1  # cublasOperation, cublasGemmAlgo


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
    """nvmath's handle of cuBLAS for the current device, and its workspace."""
    cublas, workspace = binding(), xp.empty(WORKSPACE, np.uint8)
    handle = cublas.create()
    cublas.set_workspace(handle, workspace.data.ptr, WORKSPACE)
    return handle, workspace


def matmul(xp: Any, a: Array, b: Array, out: Array, captured: bool) -> bool:
    """out <- a @ b, on the current device: (batch, m, k), (batch, k, n), (batch, m, n) of one dtype, none of them
    empty; out without gaps. False if there is no binding: then nothing was done."""
    cublas = binding() if captured else backend.cublas_of_cupy()
    if cublas is None:
        return False
    if captured:
        handle, gemm = _handle(xp, xp.cuda.Device().id)[0], cublas.gemm_strided_batched_ex
        cublas.set_stream(handle, xp.cuda.get_current_stream().ptr)
    else:  # CuPy sets the stream itself
        handle, gemm = xp.cuda.device.get_cublas_handle(), cublas.gemmStridedBatchedEx
    kind, compute = KINDS[a.dtype.char]
    if a.dtype.char == "f" and backend.get_float32_matmul_precision() == "high":
        compute = COMPUTE_32F_FAST_TF32
    (batches, m, k), n = a.shape, b.shape[2]
    (a, a_turned, a_step), (b, b_turned, b_step) = _laid(xp, a), _laid(xp, b)
    one, zero = (np.array(x, np.float64 if a.dtype.char == "d" else np.float32) for x in (1, 0))
    gemm(
        handle, b_turned, a_turned, n, m, k, one.ctypes.data,
        b.data.ptr, kind, b_step, b.strides[0] // b.itemsize, a.data.ptr, kind, a_step, a.strides[0] // a.itemsize,
        zero.ctypes.data, out.data.ptr, kind, n, m * n, batches, compute, DEFAULT,
    )  # fmt: skip
    return True


def _laid(xp: Any, x: Array) -> tuple[Array, int, int]:
    """The matrices (a copy, if their rows and their columns have gaps), TRANSPOSE if they lie by columns, and how many
    elements there are from one row, or column, to the next."""
    (_, rows, columns), (row, column) = x.shape, [stride // x.itemsize for stride in x.strides[1:]]
    if columns == 1 or column == 1:
        if rows == 1 or row >= columns:
            return x, NO_TRANSPOSE, columns if rows == 1 else row
    elif (rows == 1 or row == 1) and column >= rows:
        return x, TRANSPOSE, column
    return xp.ascontiguousarray(x), NO_TRANSPOSE, columns
