"""Where arrays live: NumPy on the CPU, CuPy on CUDA. This file lets you name a device, move an array
there, and find the library (`xp`) that an array belongs to. It is the only file that knows CuPy's name.
Read autograd.py next: it calls each operation with the `xp` found here."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray


class DeviceError(RuntimeError):
    """A device was asked for that is not there, or tensors of two devices met."""


class CaptureError(RuntimeError):
    """A step can't be captured as a CUDA graph: it waits for the device, or would freeze what ought to change."""


class _Capturing(threading.local):
    """What capture.py needs to know while it records a step (hooks is None: it does not)."""

    hooks: list[Callable[[], None]] | None = None  # what must be done on the host before each replay
    rehearsal = False  # the last call before: the kernels are compiled that the recording will use

    def begin(self) -> list[Callable[[], None]]:
        """Begin to record; what there is to know of the last time is forgotten."""
        self.hooks = []
        self.made: set[int] = set()  # ids of arrays that the step has computed
        self.outside: dict[int, tuple[Any, Array]] = {}  # Tensors that it has found, by id, and their memory
        self.leaves: dict[int, Any] = {}  # Tensors that it has given a gradient, by id
        self.stepped: set[Any] = set()  # parameters that it has updated
        return self.hooks

    def met(self, tensors: Any, out: Array) -> None:
        """An operation has computed `out` of these Tensors."""
        for t in tensors:
            if id(t._data) not in self.made:
                self.outside[id(t)] = t, t._data
        self.made.add(id(out))


capturing = _Capturing()


class Backend:
    """An array library: `name` ("cpu" or "cuda"), its module `xp`, its array type and its erf."""

    def __init__(self, name: str, xp: Any, erf: Any) -> None:
        self.name, self.xp, self.array, self.erf = name, xp, xp.ndarray, erf

    def count(self) -> int:
        """Number of devices: always 1 for the CPU, the runtime's answer for CUDA (0 without a driver)."""
        if self.xp is np:
            return 1
        try:  # `import cupy` succeeding proves no GPU: only the runtime knows
            return int(self.xp.cuda.runtime.getDeviceCount())
        except Exception:
            return 0


def _numpy_erf(x: np.ndarray) -> np.ndarray:
    """erf for NumPy, which has none: one element at a time, no slower than a series of NumPy's operations."""
    return np.fromiter(map(math.erf, x.ravel().tolist()), x.dtype, x.size).reshape(x.shape)


CPU = Backend("cpu", np, _numpy_erf)
_cuda: Backend | None = None  # made when first asked for: `import tinygrad_m` never imports CuPy
_default = os.environ.get("TINYGRAD_M_DEVICE", "cpu")  # checked when first used
INSTALL = 'pip install "tinygrad_m[cuda]" (CUDA 13) or "tinygrad_m[cuda12]" (CUDA 12)'


def cuda() -> Backend:
    """The CuPy backend. Raises DeviceError that says whether CuPy or the GPU is missing."""
    global _cuda
    if _cuda is None:
        try:
            import cupy
            from cupyx.scipy.special import erf
        except ImportError as error:
            raise DeviceError(
                f"device 'cuda' needs CuPy, which is not installed: {INSTALL}; or device='cpu'"
            ) from error
        _cuda = Backend("cuda", cupy, erf)
    return _cuda


def device_count() -> int:
    """Number of CUDA devices that can be used; 0 without CuPy or without a GPU. Never raises."""
    try:
        return cuda().count()
    except DeviceError:
        return 0


def parse(device: str | None) -> tuple[Backend, int]:
    """("cpu" | "cuda" | "cuda:1" | None for the default) -> backend and device index."""
    if device is None:
        device = _default
    kind, colon, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind not in ("cpu", "cuda") or (colon and not number.isdecimal()) or (kind == "cpu" and number not in ("", "0")):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', not {device!r}")
    if kind == "cpu":
        return CPU, 0
    backend, index = cuda(), int(number or 0)
    count = backend.count()
    if index >= count:
        found = f"CuPy is installed but finds {count or 'no'} CUDA device{'s'[: count != 1]}"
        raise DeviceError(f"device {device!r}: {found}; check nvidia-smi and the driver, or use device='cpu'")
    return backend, index


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype, if a tensor can have it: a float, integer or bool type. TypeError otherwise."""
    made: np.dtype[Any] | None
    try:
        made = None if dtype is None else np.dtype(dtype)
    except TypeError:
        made = None
    if made is None or made.kind not in "fiub" or made.itemsize > 8:
        raise TypeError(f"dtype must be a float, integer or bool type such as 'float32', not {dtype!r}")
    return made  # type: ignore[no-any-return]


def cast(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """A copy in another dtype. OverflowError for what an integer dtype cannot hold: NumPy would wrap it."""
    if dtype.kind in "iu" and array.dtype != dtype and array.size:
        limits = np.iinfo(dtype)
        for value in (array.min(), array.max()):
            if not limits.min <= value <= limits.max:
                raise OverflowError(f"{value} does not fit into {dtype}: choose a wider dtype, or a float one")
    return np.array(array, dtype=dtype)


def set_default_device(device: str) -> None:
    """Where new tensors are made when `device=` is not given (at start: $TINYGRAD_M_DEVICE, else "cpu")."""
    global _default
    parse(device)
    _default = device


def get_default_device() -> str:
    """The device of new tensors when `device=` is not given."""
    return _default


_precision = "highest"


def get_float32_matmul_precision() -> str:
    """What set_float32_matmul_precision() has set."""
    return _precision


def set_float32_matmul_precision(precision: str) -> None:
    """How CUDA multiplies float32 matrices: "highest" (at first), in float32; or "high", in TF32 on GPUs that have it
    (Ampere and later): operands are rounded to 10 bits after the point, an error of at most 2^-11 or 0.05 % in each,
    and sums are in float32. The CPU, float64, and steps that are captured without cuBLAS stay as they are."""
    global _precision
    if precision not in ("highest", "high"):
        raise ValueError(f"precision must be 'highest' (float32) or 'high' (TF32), not {precision!r}")
    parse("cuda")  # its error, if CuPy or the GPU is missing
    from cupy._core import _routines_linalg as products  # CuPy's own switch, $CUPY_TF32, is read but once

    kind = products.COMPUTE_TYPE_TF32 if precision == "high" else products.COMPUTE_TYPE_FP32
    products.set_compute_type(np.float32, kind)
    _precision = precision


def of(array: Array) -> Backend:
    """The backend that an array belongs to. Raises TypeError for anything that is no array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return CPU
    if _cuda is not None and isinstance(array, _cuda.array):
        return _cuda
    if type(array).__module__.split(".")[0] == "cupy":  # the user's own CuPy array came before our first use
        return cuda()
    raise TypeError(f"expected an array of NumPy or CuPy, got {type(array).__name__}")


def is_cuda(array: Any) -> bool:
    """Whether this is one of CuPy's arrays (a Tensor is none)."""
    return _cuda is not None and isinstance(array, _cuda.array)


def device_of(array: Array) -> str:
    """ "cpu" or "cuda:0": where an array lives."""
    return "cpu" if isinstance(array, np.ndarray) else f"cuda:{array.device.id}"


def on(array: Array) -> AbstractContextManager[Any]:
    """`with on(array):` makes the array's device the current one (for cuda:1 and up it must be)."""
    return nullcontext() if isinstance(array, (np.ndarray, np.generic)) else of(array).xp.cuda.Device(array.device.id)


def share_memory(a: Array, b: Array) -> bool:
    """Whether one array may be a view of the other's memory."""
    if a is b or a.base is b or (a.base is not None and a.base is b.base):
        return True
    with on(a):
        return bool(of(a).xp.may_share_memory(a, b))


def put(array: Array, device: str | None) -> Array:
    """The array on `device` (None: the default device): itself if it is there already, else a copy."""
    backend, index = parse(device)
    home = of(array)
    if backend is CPU:
        return np.asarray(array) if home is CPU else home.xp.asnumpy(array)
    if home is backend and array.device.id == index:
        return array
    if home is CPU and capturing.hooks is not None:
        raise CaptureError("a captured step can't move data to the GPU: each replay would use what they are now; give "
                           "them to the step as Tensors on the GPU")  # fmt: skip
    with backend.xp.cuda.Device(index):
        return backend.xp.asarray(array) if home is CPU else array.copy()


def to_numpy(array: Array) -> np.ndarray:
    """The array on the host (waits for the GPU): a copy from CUDA, the array itself on the CPU."""
    return np.asarray(put(array, "cpu"))


def empty_pinned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """A host array in page-locked memory, of which the GPU can copy by itself while the host goes on."""
    memory = cuda().xp.cuda.alloc_pinned_memory(math.prod(shape) * dtype.itemsize)
    return np.ndarray(shape, dtype, memory)


_rng: np.random.Generator | None = None  # made when first asked for: numpy.random takes 10 ms to import


def manual_seed(seed: int) -> None:
    """Restart the one generator that all random numbers come from. It lives on the host, so that the
    same seed gives the same weights, shuffles and masks on every device."""
    global _rng
    _rng = np.random.default_rng(seed)


def rng() -> np.random.Generator:
    """The generator that manual_seed() restarts."""
    global _rng
    if _rng is None:
        _rng = np.random.default_rng()
    return _rng
