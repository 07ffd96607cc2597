"""Products by cuBLAS, through nvmath-python's binding and by ctypes: that cuBLAS is told the right sizes, orders and
steps. Without a GPU a stand-in for cuBLAS, which knows only what it is told, computes on the stand-in's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import test_capture
from numpy.lib.stride_tricks import as_strided
from standin import _perform

import tinygrad_m as tg
from tinygrad_m import cublas

DTYPES = {0: np.dtype("float32"), 1: np.dtype("float64"), 2: np.dtype("float16")}  # cudaDataType
COMPUTED: list[int] = []  # in which precision


def gemm_strided_batched_ex(
    handle: int, trans_a: int, trans_b: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int, lda: int,
    a_step: int, b: int, b_type: int, ldb: int, b_step: int, beta: int, c: int, c_type: int, ldc: int, c_step: int,
    batches: int, compute: int, algorithm: int,
) -> None:  # fmt: skip
    """c <- alpha op(a) op(b) + beta c, everything by columns, as NVIDIA's manual says."""
    assert handle == 7 and a_type == b_type == c_type and algorithm == -1
    dtype = DTYPES[a_type]
    number = np.float64 if a_type == 1 else np.float32

    def scalar(address: int) -> Any:
        return np.frombuffer((ctypes.c_char * np.dtype(number).itemsize).from_address(address), number)[0]

    def matrices(address: int, rows: int, columns: int, lead: int, step: int) -> np.ndarray:
        assert lead >= max(1, rows) and address
        size = (batches - 1) * step + lead * (columns - 1) + rows
        memory = np.frombuffer((ctypes.c_char * (size * dtype.itemsize)).from_address(address), dtype)
        item = dtype.itemsize
        return as_strided(memory, (batches, rows, columns), (step * item, item, lead * item))

    left = matrices(a, *((k, m) if trans_a else (m, k)), lda, a_step)
    right = matrices(b, *((n, k) if trans_b else (k, n)), ldb, b_step)
    out, by, plus = matrices(c, m, n, ldc, c_step), scalar(alpha), scalar(beta)
    assert by == 1 and plus == 0
    COMPUTED.append(compute)

    def work() -> None:
        x = (left.swapaxes(1, 2) if trans_a else left).astype(number)
        y = (right.swapaxes(1, 2) if trans_b else right).astype(number)
        out[...] = np.matmul(x, y)

    _perform(work)


class Functions:
    """libcublas.so: C functions that say by a number what went wrong."""

    def __init__(self, module: Any) -> None:
        def create(handle: int) -> None:
            ctypes.c_void_p.from_address(handle).value = module.create()

        for name, types, function in [
            ("cublasCreate_v2", "P", create), ("cublasSetWorkspace_v2", "PPz", module.set_workspace),
            ("cublasSetStream_v2", "PP", module.set_stream),
            ("cublasGemmStridedBatchedEx", "PiiiiiPPiiqPiiqPPiiqiii", module.gemm_strided_batched_ex),
        ]:  # fmt: skip
            setattr(self, name, self.in_c(types, function))

    def in_c(self, types: str, function: Any) -> Any:
        kinds = {"P": ctypes.c_void_p, "i": ctypes.c_int, "q": ctypes.c_longlong, "z": ctypes.c_size_t}

        def call(*args: Any) -> int:
            try:
                function(*[arg or 0 for arg in args])  # a null pointer comes as None
            except Exception:  # which C would not see
                return 13
            return 0

        return ctypes.CFUNCTYPE(ctypes.c_int, *[kinds[t] for t in types])(call)


@pytest.fixture(params=["nvmath", "ctypes"])
def fake_cublas(cuda: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    asked: list[Any] = []
    module: Any = ModuleType("nvmath.bindings.cublas")

    def gemm(*args: int) -> None:  # setting the stream takes the workspace away
        assert asked[-1][0] == "workspace" or asked[-1] == ("stream", 0)
        gemm_strided_batched_ex(*args)

    module.create = lambda: 7
    module.set_workspace = lambda handle, pointer, size: asked.append(("workspace", size))
    module.set_stream = lambda handle, stream: asked.append(("stream", stream))
    module.gemm_strided_batched_ex = gemm
    found: Any = module if request.param == "nvmath" else cublas.Direct(Functions(module))  # type: ignore[arg-type]
    monkeypatch.setattr(cublas, "binding", lambda: found)
    COMPUTED.clear()
    cublas._handle.cache_clear()
    yield asked
    cublas._handle.cache_clear()


LAYOUTS = {
    "rows": lambda x: x, "columns": lambda x: x.swapaxes(-1, -2).clone().swapaxes(-1, -2),
    "cut": lambda x: tg.concat([x, x], axis=-1)[..., : x.shape[-1]],
    "gaps": lambda x: tg.stack([x, x], axis=-1)[..., 0],
    "turned": lambda x: x[..., ::-1].clone()[..., ::-1],
}  # fmt: skip


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_all_orders_in_memory(left: str, right: str, dtype: str, captured: bool, fake_cublas: list[Any]) -> None:
    rng = np.random.default_rng(0)
    for a, b in [((3, 4), (4, 5)), ((1, 4), (4, 1)), ((3, 1), (1, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5))]:
        x, y = rng.normal(size=a).astype(dtype), rng.normal(size=b).astype(dtype)
        s, t = LAYOUTS[left](tg.Tensor(x, device="cuda:1")), LAYOUTS[right](tg.Tensor(y, device="cuda:1"))
        step: Any = lambda one, s=s, t=t: s @ t * one  # noqa: E731
        step = tg.capture(step, warmup=1) if captured else step
        for _ in range(3):
            got = step(tg.ones(1, dtype=dtype, device="cuda:1")).numpy()
            wide = x.astype("float64") @ y.astype("float64")
            np.testing.assert_allclose(
                got, wide, rtol=0, atol={"float16": 0.01, "float32": 1e-5, "float64": 1e-12}[dtype]
            )
    assert set(COMPUTED) == ({70} if dtype == "float64" else {68})
    assert (("workspace", cublas.WORKSPACE) in fake_cublas) == captured


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_captured_training_through_cublas(model: str, fake_cublas: list[Any]) -> None:
    expected = test_capture.train(model, "momentum", "cuda:1", captured=False)
    assert bool(COMPUTED) == (model == "cnn")  # two matrices are CuPy's affair, stacks are not
    assert ("workspace", cublas.WORKSPACE) not in fake_cublas
    COMPUTED.clear()
    fake_cublas.clear()
    for a, b in zip(test_capture.train(model, "momentum", "cuda:1", captured=True), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert COMPUTED and ("workspace", cublas.WORKSPACE) in fake_cublas
    streams = {stream for what, stream in fake_cublas if what == "stream"}
    assert 0 in streams and len(streams) > 1  # the usual one, and those that were captured


def test_empty_products_need_no_cublas(fake_cublas: list[Any]) -> None:
    step = tg.capture(lambda s, t: s @ t, warmup=1)
    for _ in range(3):
        assert step(tg.zeros(3, 0, device="cuda"), tg.zeros(0, 2, device="cuda")).tolist() == [[0.0, 0.0]] * 3
    assert not COMPUTED


def test_tf32_is_asked_for(fake_cublas: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tg.backend, "_precision", "high")
    twice = tg.capture(lambda s: s @ s, warmup=1)
    for _ in range(2):
        twice(tg.ones(2, 2, device="cuda"))
    assert set(COMPUTED) == {77}


def test_nvmath_has_what_is_called() -> None:
    try:
        from nvmath.bindings import cublas as module
    except ImportError as error:
        pytest.skip(f"needs nvmath-python: {error}")
    assert cublas.binding() is module
    for name in ("create", "set_workspace", "set_stream", "gemm_strided_batched_ex"):
        assert callable(getattr(module, name))
    assert int(module.GemmAlgo.DEFAULT) == cublas.DEFAULT
    for name in ("COMPUTE_32F", "COMPUTE_32F_FAST_TF32", "COMPUTE_64F"):
        assert int(getattr(module.ComputeType, name)) == getattr(cublas, name)
    assert (int(module.Operation.N), int(module.Operation.T)) == (cublas.NO_TRANSPOSE, cublas.TRANSPOSE)


def test_what_cublas_refuses_is_an_error(fake_cublas: list[Any]) -> None:
    if not isinstance(cublas.binding(), cublas.Direct):
        pytest.skip("nvmath-python raises errors of its own")
    with pytest.raises(RuntimeError, match="cublasGemmStridedBatchedEx.* gave cublasStatus 13"):
        cublas.binding().gemm_strided_batched_ex(8, *[0] * 22)


def test_cublas_itself_has_what_is_called() -> None:
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        path = load_nvidia_dynamic_lib("cublas").abs_path
    except Exception as error:
        pytest.skip(f"needs cuBLAS: {error}")
    assert cublas.Direct(ctypes.CDLL(path))._functions  # each name was found
