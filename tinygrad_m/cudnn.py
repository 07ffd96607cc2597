"""Convolutions by cuDNN through nvidia-cudnn-frontend, NVIDIA's own binding (the module `cudnn`; CuPy 14 has none). A
convolution is a graph of one operation, and cuDNN chooses a plan for it, once for each case. Nothing here waits for the
device, and all works while a step is captured. conv, conv_input and conv_weight are those of ops/conv.py without a
bias; they return None where cuDNN has no plan."""

from __future__ import annotations

import os
import threading
from functools import cache
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import backend
from .backend import Array

if TYPE_CHECKING:
    from .ops.windows import Windows

INSTALL = "pip install nvidia-cudnn-frontend nvidia-cudnn-cu13 (CUDA 13) or nvidia-cudnn-cu12 (CUDA 12)"
TYPES = {"e": ("HALF", "FLOAT"), "f": ("FLOAT", "FLOAT"), "d": ("DOUBLE", "DOUBLE")}  # in memory; to compute with
INPUTS = {"conv_fprop": ("image", "weight"), "conv_dgrad": ("loss", "filter"), "conv_wgrad": ("image", "loss")}
ALIGNMENT = 16  # bytes: cuDNN's plans expect that arrays begin at multiples of it

_way = os.environ.get("TINYGRAD_M_CONVOLUTION") or "own"  # checked when first used
_lock = threading.Lock()  # a handle has one stream at a time


class Case(NamedTuple):
    """What a plan depends on. shapes: of both inputs and of the result. cuDNN infers the groups from these."""

    kind: str
    device: int
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    windows: Windows
    groups: int
    tf32: bool


class Plan(NamedTuple):
    graph: Any
    workspace: int  # bytes


REFUSED: dict[Case, str] = {}  # cases that cuDNN has no plan for, and what it said


@cache
def _imported() -> tuple[Any, str]:
    """The module, or None and what went wrong."""
    try:
        module = import_module("cudnn")
        module.backend_version()  # raises if cuDNN itself is missing: the frontend is imported without it, too
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    return module, ""


def binding() -> Any:
    """nvidia-cudnn-frontend's module, or None if it is not installed or does not find cuDNN."""
    return _imported()[0]


def get_convolution() -> str:
    """What set_convolution() has set (at start: $TINYGRAD_M_CONVOLUTION, else "own")."""
    return _way


def set_convolution(way: str) -> None:
    """Who convolves on CUDA: "own" (at first), a matrix product with the windows as columns; or "cudnn", NVIDIA's
    library, where it can: float16, float32 and float64. Which is faster nobody has measured. The CPU stays as it is."""
    global _way
    _check(way, "set_convolution()")
    _way = way


def _check(way: str, source: str) -> None:
    if way not in ("cudnn", "own"):
        raise ValueError(f"{source}: convolutions are done by 'cudnn' or 'own', not {way!r}")
    if way == "cudnn" and binding() is None:
        why = _imported()[1]
        raise ImportError(f"{source}: 'cudnn' needs cuDNN and its frontend ({why}): {INSTALL}; or use 'own'")


def wanted(a: Array, b: Array) -> bool:
    """Whether cuDNN is switched on and can take these: two arrays on CUDA, of one dtype of TYPES, not empty."""
    if _way == "own" or not (backend.is_cuda(a) and backend.is_cuda(b)):
        return False
    _check(_way, "TINYGRAD_M_CONVOLUTION")  # what set_convolution() has set is right already
    return a.dtype == b.dtype and a.dtype.char in TYPES and a.size > 0 and b.size > 0


def conv(xp: Any, x: Array, weight: Array, windows: Windows, groups: int) -> Array | None:
    """x (N, C, H, W), weight (O, C/groups, kh, kw) -> (N, O, oh, ow)."""
    shape = len(x), len(weight), *windows.out_size(x.shape)
    return _run(xp, "conv_fprop", x, weight, shape, windows, groups)


def conv_input(xp: Any, g: Array, weight: Array, size: tuple[int, ...], windows: Windows, groups: int) -> Array | None:
    """The transpose of conv in x: g (N, O, oh, ow) -> images of shape `size`."""
    return _run(xp, "conv_dgrad", g, weight, size, windows, groups)


def conv_weight(xp: Any, g: Array, x: Array, shape: tuple[int, ...], windows: Windows, groups: int) -> Array | None:
    """The transpose of conv in weight: g (N, O, oh, ow), x -> (O, C/groups, kh, kw), which is `shape`."""
    return _run(xp, "conv_wgrad", x, g, shape, windows, groups)


def _run(xp: Any, kind: str, a: Array, b: Array, shape: tuple[int, ...], windows: Windows, groups: int) -> Array | None:
    if not (a.size and b.size and prod(shape)):
        return None
    cudnn, device, dtype = binding(), a.device.id, a.dtype.char
    tf32 = dtype == "f" and backend.get_float32_matmul_precision() == "high"
    case = Case(kind, device, dtype, (a.shape, b.shape, tuple(shape)), windows, groups, tf32)
    with _lock, backend.on(a):
        handle = _handle(device)
        cudnn.set_stream(handle=handle, stream=xp.cuda.get_current_stream().ptr)
        plan = _plan(case)
        if plan is None:
            return None
        a, b, out = _ready(a), _ready(b), xp.empty(shape, a.dtype)
        workspace = xp.empty(plan.workspace, np.uint8)  # its own: the stream, or the graph, may not be the last one's
        # Addresses, not arrays: an exchange by DLPack may order streams, which a capture forbids.
        addresses = {uid: x.data.ptr for uid, x in enumerate((a, b, out), 1)}
        plan.graph.execute(addresses, workspace.data.ptr, handle=handle)
    return out


def _ready(x: Array) -> Array:
    """x without gaps, in C order, beginning where cuDNN can read: itself, or a copy."""
    return x if x.flags.c_contiguous and x.data.ptr % ALIGNMENT == 0 else x.copy()


@cache
def _handle(device: int) -> Any:
    """cuDNN's handle for the current device."""
    try:
        return binding().create_handle()
    except Exception as error:
        raise RuntimeError(
            f"cuDNN can't be used on cuda:{device} ({type(error).__name__}: {error}): check that nvidia-cudnn-cu12 or "
            "-cu13 fits CuPy's CUDA, or do without it, by set_convolution('own')"
        ) from error


@cache
def _plan(case: Case) -> Plan | None:
    """cuDNN's plan. float32 is computed with in float32, not TF32, unless case.tf32; all is the same in every run."""
    cudnn = binding()
    notes = cudnn.numerical_note
    barred = [notes.DOWN_CONVERT_INPUTS, notes.REDUCED_PRECISION_REDUCTION, notes.NONDETERMINISTIC]
    if case.dtype == "f" and not case.tf32:
        barred.append(notes.TENSOR_CORE)  # tensor cores have no float32: they round to TF32
    try:
        graph = describe(cudnn, case, _handle(case.device))
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.deselect_numeric_notes(barred)  # not before: it marks plans that are there
        graph.check_support()
        graph.build_plans(cudnn.build_plan_policy.HEURISTICS_CHOICE)
        return Plan(graph, graph.get_workspace_size())
    except (cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:  # also what cuDNN's descriptors reject
        REFUSED[case] = f"{type(error).__name__}: {error}"
        return None


def describe(cudnn: Any, case: Case, handle: Any) -> Any:
    """The graph of one operation; arrays 1 and 2 are its inputs, 3 is the result."""
    stored, computed = [getattr(cudnn.data_type, name) for name in TYPES[case.dtype]]
    graph = cudnn.pygraph(
        io_data_type=stored, intermediate_data_type=computed, compute_data_type=computed, handle=handle
    )
    *given, result = case.shapes
    inputs = {
        name: graph.tensor(dim=list(shape), stride=_strides(shape), data_type=stored, uid=uid)
        for uid, (name, shape) in enumerate(zip(INPUTS[case.kind], given, strict=True), 1)
    }
    sliding = {name: list(getattr(case.windows, name)) for name in ("padding", "stride", "dilation")}
    out = getattr(graph, case.kind)(**inputs, **sliding)
    out.set_output(True).set_data_type(stored).set_dim(list(result)).set_stride(_strides(result)).set_uid(3)
    return graph


def _strides(shape: tuple[int, ...]) -> list[int]:
    """Elements from one to the next along each axis, in C order."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]
