"""Products of matrices by cuBLAS, called directly: CuPy's own matmul copies transposed stacks, computes float16 ones in
float32, and refuses while a step is captured. It is called through nvmath-python, NVIDIA's own binding, or where that
is not installed by ctypes, in the library that CuPy brings. cuBLAS counts matrices by columns; so it is asked for
out^T = b^T a^T, which in memory is out by rows."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np

from . import backend
from .backend import Array

WORKSPACE = 32 << 20  # bytes, as NVIDIA recommends for Hopper; its own, as cuBLAS must not allocate in a graph
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70  # cublasComputeType
KINDS = {"e": (2, COMPUTE_32F), "f": (0, COMPUTE_32F), "d": (1, COMPUTE_64F)}  # cudaDataType, and how it is summed
NO_TRANSPOSE, TRANSPOSE, DEFAULT = 0, 1, -1  # cublasOperation, cublasGemmAlgo

_lock = threading.Lock()  # a handle has one stream at a time


class Direct:
    """cuBLAS by ctypes, under the names that nvmath.bindings.cublas has for the same functions."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, step = ctypes.c_void_p, ctypes.c_longlong
        matrices = [pointer, ctypes.c_int, ctypes.c_int, step]  # address, type, leading dimension, from one to the next
        gemm = [pointer, *[ctypes.c_int] * 5, pointer, *matrices, *matrices, pointer, *matrices, *[ctypes.c_int] * 3]
        self._functions = {}
        for name, types in {
            "cublasCreate_v2": [pointer], "cublasSetWorkspace_v2": [pointer, pointer, ctypes.c_size_t],
            "cublasSetStream_v2": [pointer, pointer], "cublasGemmStridedBatchedEx": gemm,
        }.items():  # fmt: skip
            self._functions[name] = getattr(library, name)
            self._functions[name].argtypes = types

    def _call(self, name: str, *args: Any) -> None:
        status = self._functions[name](*args)
        if status:
            raise RuntimeError(f"{name}() gave cublasStatus {status}: does this cuBLAS fit the driver and the GPU?")

    def create(self) -> int:
        handle = ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(handle))
        return handle.value or 0

    def set_workspace(self, handle: int, workspace: int, size: int) -> None:
        self._call("cublasSetWorkspace_v2", handle, workspace, size)

    def set_stream(self, handle: int, stream: int) -> None:
        self._call("cublasSetStream_v2", handle, stream)

    def gemm_strided_batched_ex(self, *args: int) -> None:
        self._call("cublasGemmStridedBatchedEx", *args)


@cache
def binding() -> Any:
    """nvmath.bindings.cublas, or Direct; None if cuBLAS is not found."""
    try:
        from nvmath.bindings import cublas

        return cublas
    except Exception:  # not installed, or it does not find cuBLAS
        pass
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib  # CuPy finds its libraries by this

        return Direct(ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path))
    except Exception:
        return None


@cache
def _handle(xp: Any, device: int, captured: bool) -> tuple[int, Array | None]:
    """cuBLAS' handle for the current device, and, for graphs, its workspace."""
    return binding().create(), xp.empty(WORKSPACE, np.uint8) if captured else None


def matmul(xp: Any, a: Array, b: Array, out: Array, captured: bool) -> bool:
    """out <- a @ b, on the current device: (batch, m, k), (batch, k, n), (batch, m, n) of one dtype, none of them
    empty; out without gaps. False if there is no cuBLAS: then nothing was done."""
    cublas = binding()
    if cublas is None:
        return False
    kind, compute = KINDS[a.dtype.char]
    if a.dtype.char == "f" and backend.get_float32_matmul_precision() == "high":
        compute = COMPUTE_32F_FAST_TF32
    (batches, m, k), n = a.shape, b.shape[2]
    (a, a_turned, a_step), (b, b_turned, b_step) = _laid(xp, a), _laid(xp, b)
    one, zero = (np.array(x, np.float64 if a.dtype.char == "d" else np.float32) for x in (1, 0))
    with _lock:
        handle, workspace = _handle(xp, xp.cuda.Device().id, captured)
        cublas.set_stream(handle, xp.cuda.get_current_stream().ptr)
        if workspace is not None:  # after the stream, which takes it away
            cublas.set_workspace(handle, workspace.data.ptr, WORKSPACE)
        cublas.gemm_strided_batched_ex(
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
