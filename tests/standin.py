"""A strict stand-in for CuPy, so that everything the library does on a GPU can be tested without one. It is a
module-like object, `fake_cupy`, with an array class of its own over NumPy: it refuses what CuPy refuses (NumPy
arrays, implicit conversion, names and arguments that CuPy lacks), behaves as CuPy where CuPy differs from NumPy,
and counts in `fake_cupy.syncs` how often the host would have waited for the device. Where CuPy is lenient in a
way that costs (a NumPy array as an index, an array of another device) the stand-in is not.

Computing is done at once, but a copy from page-locked memory is done late: when something waits for it. So who
reads too early reads garbage. What a GPU might punish on a bad day only is noted in `fake_cupy.races`, and
`reset()`, with which every test ends, raises if there is a note.

`cupy_names.txt` lists CuPy's names and their parameters; `python tests/standin.py` writes it from an installed
CuPy. conftest.py puts the stand-in in CuPy's place; test_standin.py tests it, test_backend.py uses it."""

from __future__ import annotations

import contextlib
import inspect
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

NAMES_FILE = Path(__file__).with_name("cupy_names.txt")
IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)
SCALARS = (bool, int, float, complex, np.generic)
CREATION = {"arange", "empty", "eye", "full", "identity", "linspace", "logspace", "ones", "tri", "zeros"}
ABOUT_DTYPES = {  # answered on the host, from dtypes, shapes and addresses
    "can_cast", "common_type", "finfo", "iinfo", "isdtype", "issubdtype", "may_share_memory", "promote_types",
    "result_type",
}  # fmt: skip
CUBLAS = {"dot", "einsum", "inner", "matmul", "outer", "tensordot", "vdot", "vecdot"}  # perhaps, some of them
SYNCS = {"argwhere", "compress", "extract", "flatnonzero", "nonzero", "unique"}
VIEWS = {  # they launch no kernel as long as their result is a view
    "T", "ascontiguousarray", "astype", "broadcast_to", "diagonal", "expand_dims", "flip", "mT", "moveaxis",
    "permute_dims", "ravel", "real", "reshape", "rollaxis", "squeeze", "swapaxes", "transpose", "view",
}  # fmt: skip


def _load_names() -> dict[str, inspect.Signature | None]:
    """CuPy's names, "sum" and "ndarray.sum" alike, and what arguments they take, where that is known."""
    names: dict[str, inspect.Signature | None] = {}
    for line in NAMES_FILE.read_text().splitlines():
        name, bracket, parameters = line.partition("(")
        if not line.startswith("#"):
            names[name] = inspect.signature(eval(f"lambda {parameters[:-1]}: None")) if bracket else None
    return names


NAMES = _load_names()

# -- devices --------------------------------------------------------------------------------------


class _Current(threading.local):
    def __init__(self) -> None:  # CuPy's current device and streams are a thread's own, too
        self.device = 0
        self.streams: dict[int, list[Stream]] = {}
        self.pool: MemoryPool | None = None  # None: the one that all share


_current = _Current()


class CUDARuntimeError(RuntimeError):
    """What the CUDA runtime says no with."""


class Device:
    """`with Device(1):` new arrays are made there, and arrays of other devices may not be computed with."""

    def __init__(self, device: int | None = None) -> None:
        self.id = _current.device if device is None else int(device)
        self._before: list[int] = []

    def __enter__(self) -> Device:
        if not 0 <= self.id < fake_cupy.cuda.runtime.getDeviceCount():
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before.append(_current.device)
        _current.device = self.id
        return self

    def __exit__(self, *exc: object) -> None:
        _current.device = self._before.pop()

    def use(self) -> None:
        _current.device = self.id

    def synchronize(self) -> None:
        _wait()
        for copy in list(_copies):
            if copy.line.device == self.id:
                _host.follow(copy.line.sees)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


# -- streams --------------------------------------------------------------------------------------


class _Line:
    """What a stream (or the host) does, step by step. `sees` has the steps of all lines that come before its next."""

    def __init__(self, device: int) -> None:
        self.device = device
        self.sees: dict[_Line, int] = {}

    def step(self) -> int:
        self.sees[self] = self.sees.get(self, 0) + 1
        return self.sees[self]

    def after(self, line: _Line, step: int) -> bool:
        return self.sees.get(line, 0) >= step

    def follow(self, sees: dict[_Line, int]) -> None:
        """Wait for these steps: copies among them are done now, not before."""
        for line, step in sees.items():
            self.sees[line] = max(self.sees.get(line, 0), step)
        for copy in list(_copies):
            if self.device in (-1, copy.line.device) and self.after(copy.line, copy.step):
                copy.run()
                if self is _host:
                    copy.check()
                    _copies.remove(copy)


class _Copy:
    """A copy from page-locked memory that the host does not know to be done. It keeps neither memory alive."""

    def __init__(self, source: np.ndarray, target: ndarray, line: _Line) -> None:
        memory, root = _owner(source), _root(target._host)
        self.line, self.step, self.home, self.ran = line, line.step(), target._born[0], False
        self.source, self.target = weakref.ref(memory, self._source_died), weakref.ref(root, self._target_died)
        start, begin = _address(source) - _address(np.frombuffer(memory, "u1")), _address(target._host) - _address(root)
        self.here, self.there = slice(start, start + source.nbytes), slice(begin, begin + source.nbytes)
        self.content = memory[self.here]

    def run(self) -> None:
        memory, root = self.source(), self.target()
        if not self.ran and memory is not None and root is not None:
            root.ravel("K").view("u1")[self.there] = memory[self.here]
        self.ran = True

    def check(self) -> None:
        memory = self.source()
        if memory is not None and memory[self.here] != self.content:
            fake_cupy.races.append("page-locked memory was changed before the host knew that it had been copied")
            self.content, self.ran = memory[self.here], False
            self.run()  # it may have been done as late as this

    def _source_died(self, _: object) -> None:
        if self in _copies:
            fake_cupy.races.append("page-locked memory was freed before the host knew that it had been copied")

    def _target_died(self, _: object) -> None:
        if self in _copies and not self.home.after(self.line, self.step):
            fake_cupy.races.append("device memory was freed before the copy into it was waited for")


_host, _copies = _Line(-1), list[_Copy]()
_null_lines: dict[int, _Line] = {}


def _line(device: int) -> _Line:
    """The line of the device's current stream."""
    streams = _current.streams.get(device)
    own = streams[-1]._own if streams else None
    return own or _null_lines.setdefault(device, _Line(device))


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _owner(array: np.ndarray) -> Any:
    """What holds the memory: PinnedMemoryPointer if it is page-locked."""
    return _root(array).base


class PinnedMemoryPointer(bytearray):
    """Page-locked memory. It is garbage in the beginning."""


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    return PinnedMemoryPointer(b"\xff" * size)


class Event:
    """A point in a stream's work; on its own device only."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._device = _current.device
        self._sees: dict[_Line, int] = {}  # never recorded: nothing to wait for

    def record(self, stream: Stream | None = None) -> None:
        line = _line(_current.device) if stream is None else stream._line
        if line.device != self._device:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: the event and the stream are of two devices")
        line.step()
        self._sees = dict(line.sees)

    def synchronize(self) -> None:
        fake_cupy.event_syncs += bool(self._sees)
        _host.follow(self._sees)


class Stream:
    """A line of work of its own. The null stream is another one on each device: the current device says which."""

    null: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        self._own = None if null else _Line(_current.device)
        self.is_non_blocking = non_blocking
        self._graph: Graph | None = None
        self.ptr = 0 if null else id(self)
        self.device_id = -1 if null else _current.device

    @property
    def _line(self) -> _Line:
        return self._own or _null_lines.setdefault(_current.device, _Line(_current.device))

    def synchronize(self) -> None:
        _wait()
        _host.follow(self._line.sees)

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        self._line.follow(event._sees)

    def begin_capture(self, mode: int | None = None) -> None:
        if not self.is_non_blocking:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the null stream can't be captured")
        self._graph = Graph()

    def end_capture(self) -> Graph:
        if self._graph is None:
            raise RuntimeError("stream is not capturing")
        graph, self._graph = self._graph, None
        return graph

    def __enter__(self) -> Stream:
        if self.device_id not in (-1, _current.device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) "
                f"does not match with the current device ({_current.device})"
            )
        _current.streams.setdefault(_current.device, []).append(self)
        return self

    def __exit__(self, *args: object) -> None:
        _current.streams[_current.device].pop()


Stream.null = Stream(null=True)


def get_current_stream(device_id: int = -1) -> Stream:
    streams = _current.streams.get(_current.device if device_id == -1 else device_id)
    return streams[-1] if streams else Stream.null


# -- graphs ---------------------------------------------------------------------------------------


class Graph:
    """What was captured: nothing was computed then (results hold garbage), and all of it is at each launch."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.pools = weakref.WeakSet[MemoryPool]()  # where its memory is from
        self.used = 0

    def launch(self, stream: Stream | None = None) -> None:
        if len(self.pools) < self.used:
            fake_cupy.races.append("a graph's memory went back to CuPy before the graph did")
        with np.errstate(all="ignore"):
            for step in self.steps:
                step()


class MemoryPool:
    def malloc(self, size: int) -> None:
        raise NotImplementedError("the stand-in's memory is NumPy's")


@contextlib.contextmanager
def using_allocator(allocator: Callable[[int], Any] | None = None) -> Iterator[None]:
    before, _current.pool = _current.pool, getattr(allocator, "__self__", None)
    try:
        yield
    finally:
        _current.pool = before


def _capturing() -> Graph | None:
    return get_current_stream()._graph


def _perform(step: Callable[[], Any]) -> None:
    """Do it; or only note it, while a graph is captured."""
    fake_cupy.launches += 1
    graph = _capturing()
    if graph is None:
        step()
    else:
        graph.steps.append(step)


def _compute(function: Callable[[], Any], made: Callable[[Any], Any]) -> Any:
    """made(function()). While a graph is captured: its arrays hold garbage, and each launch writes into them."""
    fake_cupy.launches += _capturing() is None  # else _perform() counts
    with np.errstate(all="ignore"):  # a kernel never warns
        result = function()
    if _capturing() is not None:
        kept = [np.array(t, order="K") for t in (result if isinstance(result, (list, tuple)) else [result])]

        def again() -> None:
            with np.errstate(all="ignore"):
                fresh = function()
            for target, value in zip(kept, fresh if isinstance(fresh, (list, tuple)) else [fresh], strict=True):
                target[...] = value

        _perform(again)
        for array in kept:
            _spoil(array)
        result = type(result)(kept) if isinstance(result, (list, tuple)) else kept[0]
    return made(result)


def _spoil(array: np.ndarray) -> None:
    array.ravel("K").view("u1")[...] = 1 if array.dtype == np.bool_ else 0xFF  # nan, -1: never luckily right


def _allocated() -> None:
    """A graph's arrays need memory that nobody else is given: a pool of its own."""
    graph = _capturing()
    if graph is not None and _current.pool is None:
        fake_cupy.races.append("a captured graph uses memory of the common pool, which others will be given")
    elif graph is not None and _current.pool not in graph.pools:
        graph.pools.add(_current.pool)
        graph.used += 1


def _wait() -> None:
    """The host waits for the device."""
    if _capturing() is not None:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
    fake_cupy.syncs += 1


# -- from fake to NumPy and back ------------------------------------------------------------------


def _root(array: np.ndarray) -> Any:
    """The array that owns the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _unwrap(value: Any, seen: list[ndarray]) -> Any:
    """Fake arrays, also inside lists and tuples, as NumPy's; they are noted in `seen`. NumPy's are refused."""
    if isinstance(value, ndarray):
        seen.append(value)
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {np.ndarray}")
    if isinstance(value, (list, tuple)):
        return type(value)(_unwrap(v, seen) for v in value)
    return value


def _wrap(result: Any, parents: list[ndarray]) -> Any:
    """NumPy's answer as fake arrays: 0-d instead of scalars, the same object for the same array, views as views."""
    if isinstance(result, (list, tuple)):
        return type(result)(_wrap(r, parents) for r in result)
    if isinstance(result, (np.generic, bool)):
        result = np.asarray(result)
    if not isinstance(result, np.ndarray):
        return result
    for parent in parents:
        if result is parent._host:
            return parent
        if _root(result) is _root(parent._host):
            return ndarray._make(result, parent._id, parent if parent.base is None else parent.base)
    return ndarray._make(result, _current.device)


def _check_device(arrays: list[ndarray]) -> None:
    for array in arrays:
        if array._id != _current.device:
            raise RuntimeError(
                f"the array resides on device {array._id}, which is not the current device {_current.device}: "
                "CuPy would warn and go through peer access, or fail"
            )


def _call(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """function(*args, **kwargs) of NumPy, with everything that CuPy would check checked."""
    signature, short = NAMES[name], name.rpartition(".")[2]
    if signature is not None:
        try:
            signature.bind(*(args[1:] if "." in name else args), **kwargs)
        except TypeError as error:
            raise TypeError(f"cupy.{name}(): {error}") from None
    seen: list[ndarray] = []
    host, options = _unwrap(args, seen), {k: _unwrap(v, seen) for k, v in kwargs.items()}
    if short in ABOUT_DTYPES:
        return function(*host, **options)
    if short in CREATION and short != "full" and seen:
        raise TypeError(IMPLICIT)
    if short not in CREATION and not seen:
        raise TypeError(f"cupy.{name}() takes cupy.ndarray, not {', '.join(type(a).__name__ for a in args)}")
    if short not in VIEWS:
        _check_device(seen)
    if short in SYNCS:
        _wait()
    if _capturing() is not None and short in CUBLAS:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    if _capturing() is not None and short in ("concatenate", "stack", "vstack", "hstack") and len(seen) > 8:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a table of pointers is copied from the host")
    if short in VIEWS:
        view = function(*host, **options)
        if any(_root(view) is _root(array._host) for array in seen):
            return _wrap(view, seen)
        _check_device(seen)  # it has to copy
    if short in ("empty", "empty_like"):  # nothing to be done at launch
        made = _wrap(function(*host, **options), [])
        _spoil(made._host)
        return made
    return _compute(lambda: function(*host, **options), lambda answer: _wrap(answer, seen))


class UFunc:
    """A universal function: fake arrays and scalars only; `out`, `casting` and `dtype` are all it takes."""

    scatter = {"add": "efdiqIQlL", "subtract": "iI", "maximum": "fdiqIQlL", "minimum": "fdiqIQlL"}  # `at` has these

    def __init__(self, name: str) -> None:
        self.__name__, self.function = name, getattr(np, name)
        self.nin = self.function.nin

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wrong = set(kwargs) - {"out", "casting", "dtype"}
        if wrong:
            raise TypeError(f"Wrong arguments {sorted(wrong)}")
        out = kwargs.pop("out", None) if len(args) == self.nin else args[self.nin]
        given = [*args[: self.nin], *([] if out is None else [out])]
        for value in given:
            if not isinstance(value, (ndarray, *SCALARS)):
                raise TypeError(f"Unsupported type {type(value)}")
        seen = [value for value in given if isinstance(value, ndarray)]
        _check_device(seen)
        host = [value._host if isinstance(value, ndarray) else value for value in given[: self.nin]]
        if self.__name__ in CUBLAS and _capturing() is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        if out is None:
            return _compute(lambda: self.function(*host, order="C", **kwargs), lambda answer: _wrap(answer, seen))
        _perform(lambda: self.function(*host, out=out._host, **kwargs))
        return out

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        if self.__name__ not in self.scatter:
            raise NotImplementedError(f"`cupy_{self.__name__}.at` is not supported yet")
        index, fancy = a._index(indices)
        value = _value(b, a)
        masked = any(getattr(part, "dtype", None) == np.bool_ for part in index)
        if fancy and not masked and a.dtype.char not in self.scatter[self.__name__]:
            raise TypeError(f"scatter_{self.__name__} does not support {a.dtype}")
        _perform(lambda: self.function.at(a._host, a._index(indices)[0], np.asarray(value).astype(a.dtype)))


def _value(value: Any, like: ndarray) -> Any:
    """What may be written into `like`: its own kind, on its own device, or a scalar."""
    if isinstance(value, ndarray):
        _check_device([value, like])
        return value._host
    if isinstance(value, SCALARS) or isinstance(value, np.ndarray) and value.ndim == 0:
        _check_device([like])
        return value
    raise TypeError(f"Unsupported type {type(value)}")


# -- the array ------------------------------------------------------------------------------------


class ndarray:
    """cupy.ndarray, with its elements in `_host` and its device's number in `_id`."""

    __slots__ = ("_host", "_id", "_born", "base", "__weakref__")
    __array_ufunc__ = None  # CuPy answers np.exp(array); the library must not rely on it
    __array_priority__ = 100.0
    __hash__ = None  # type: ignore[assignment]
    _host: np.ndarray
    _id: int
    _born: tuple[_Line, int]  # the stream that allocated the memory, and when
    base: ndarray | None

    @classmethod
    def _make(cls, host: np.ndarray, device: int, base: ndarray | None = None) -> ndarray:
        if host.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {host.dtype}")
        self = object.__new__(cls)
        self._host, self._id, self.base = host, device, base
        self._born = (_line(device), _line(device).step()) if base is None else base._born
        if base is None:
            _allocated()
        return self

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self._host, self._id, self.base = np.empty(shape, dtype), _current.device, None
        self._born = _line(self._id), _line(self._id).step()
        _allocated()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(IMPLICIT)

    def __array_function__(self, *args: Any) -> Any:
        raise TypeError(IMPLICIT)

    def __getattr__(self, name: str) -> Any:
        if "ndarray." + name not in NAMES:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        if not hasattr(self._host, name):
            raise AttributeError(f"the stand-in has no ndarray.{name}: add it to {__file__}")
        if callable(getattr(np.ndarray, name)):
            return lambda *args, **kwargs: _call("ndarray." + name, getattr(np.ndarray, name), (self, *args), kwargs)
        return _wrap(getattr(self._host, name), [self])

    # what waits for the device

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        _wait()
        _host.follow(_line(self._id).sees)
        return np.array(self._host, order="C")

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self) -> bytes:
        return self.get().tobytes()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        return _again, (self.get(),)

    # what is CuPy's own

    def set(self, arr: np.ndarray, stream: Stream | None = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self._host.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")  # in Fortran's order it can: not needed here
        with Device(self._id):
            line = _line(self._id) if stream is None else stream._line
        if line.device != self._id:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: the array and the stream are of two devices")
        if not line.after(*self._born):
            fake_cupy.races.append("a copy's stream does not wait for the stream that allocated the memory")
        if not isinstance(_owner(arr), PinnedMemoryPointer) or not arr.flags.c_contiguous:
            fake_cupy.syncs += 1  # the host copies it to page-locked memory first
            self._host[...] = arr
        elif arr.size:
            fake_cupy.syncs += line is not _line(self._id) and not stream.is_non_blocking  # it and the null stream wait
            for copy in _copies:
                copy.check()
            _copies.append(_Copy(arr, self, line))
            if line is _line(self._id):
                _copies[-1].run()

    @property
    def device(self) -> Device:
        return Device(self._id)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self._host.ctypes.data, device_id=self._id)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        pointer = (self._host.ctypes.data, False)
        return {"shape": self._host.shape, "typestr": self._host.dtype.str, "data": pointer, "version": 3}

    def copy(self, order: str = "C") -> ndarray:
        return _compute(lambda: self._host.copy(order), lambda host: ndarray._make(host, _current.device))  # type: ignore[arg-type]

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> ndarray:
        return ndarray._make(self._host.copy(), self._id)

    def fill(self, value: Any) -> None:
        filler = _value(value, self)
        _perform(lambda: self._host.fill(filler))

    def take(self, indices: Any, axis: int | None = None, out: Any = None) -> Any:
        if not isinstance(indices, (int, np.integer)):
            _check_device([self, *([indices] if isinstance(indices, ndarray) else [])])
        return _compute(lambda: self._host.take(_unwrap(indices, []), axis, mode="wrap"), lambda host: _wrap(host, []))

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[Any]:
        if not self._host.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(len(self)))

    # indexing

    def _index(self, index: Any) -> tuple[tuple[Any, ...], bool]:
        """The index for NumPy, out-of-range integers wrapped as on the device, and whether an array is in it."""
        parts = list(index) if isinstance(index, tuple) else [index]
        if not any(part is Ellipsis for part in parts):
            parts.append(Ellipsis)  # so that NumPy gives an array, never a scalar
        used = [0 if p is None or p is Ellipsis else p.ndim if _is_mask(p) else 1 for p in parts]
        axis, fancy = 0, False
        for k, part in enumerate(parts):
            if isinstance(part, ndarray):
                fancy = True
                _check_device([self, part])
                if part.dtype.kind not in "biu":
                    raise IndexError(f"arrays used as indices must be of integer or boolean type, not {part.dtype}")
                parts[k] = part._host
                if _is_mask(part):
                    _wait()  # the size of the result must be known
                elif axis < self._host.ndim and self._host.shape[axis]:
                    parts[k] = part._host % self._host.shape[axis]
            elif isinstance(part, (list, tuple, np.ndarray)):
                raise TypeError(f"Unsupported type {type(part)} in an index: put it on the device first")
            axis += self._host.ndim - sum(used) if part is Ellipsis else used[k]
        return tuple(parts), fancy

    def __getitem__(self, index: Any) -> Any:
        host, fancy = self._index(index)
        if not fancy:
            return _wrap(self._host[host], [self])
        if _capturing() is None:
            return _wrap(np.array(self._host[host]), [])
        return _compute(lambda: np.array(self._host[self._index(index)[0]]), lambda found: _wrap(found, []))

    def __setitem__(self, index: Any, value: Any) -> None:
        host, _ = self._index(index)
        filler, late = _value(value, self), _capturing() is not None

        def write() -> None:
            self._host[self._index(index)[0] if late else host] = filler  # late: the index may have changed since

        _perform(write)


def _is_mask(part: Any) -> bool:
    return isinstance(part, ndarray) and part.dtype == np.bool_


def _again(host: np.ndarray) -> Any:
    """What a pickle is read with."""
    return fake_cupy.asarray(host)


def _binary(name: str, swapped: bool = False) -> Callable[[Any, Any], Any]:
    def operator(self: Any, other: Any) -> Any:
        if callable(getattr(other, "__array_ufunc__", None)) and not isinstance(other, (np.ndarray, np.generic)):
            pair = (other, self) if swapped else (self, other)  # a Tensor knows how to meet an array
            return other.__array_ufunc__(getattr(np, name), "__call__", *pair)
        return getattr(fake_cupy, name)(*((other, self) if swapped else (self, other)))

    return operator


def _inplace(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: getattr(fake_cupy, name)(self, other, out=self)


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda self: getattr(fake_cupy, name)(self)


for _sign, _name in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_sign}__", _binary(_name))
    setattr(ndarray, f"__r{_sign}__", _binary(_name, swapped=True))
    if _sign != "matmul":
        setattr(ndarray, f"__i{_sign}__", _inplace(_name))
for _sign, _name in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_sign}__", _binary(_name))
for _sign, _name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_sign}__", _unary(_name))

# -- the module -----------------------------------------------------------------------------------


class FakeCuPy:
    """The module: CuPy's names, NumPy's answers. `syncs` counts how often the host waited, `event_syncs` how often
    only for an event, `launches` how many kernels were started (some of CuPy's functions start several, which count as
    one); `devices` can be set; `races` says what went wrong between streams."""

    ndarray = ndarray
    __name__ = "cupy"

    def __init__(self) -> None:
        self.syncs, self.event_syncs, self.devices, self.launches = 0, 0, 2, 0
        self.races: list[str] = []
        runtime = SimpleNamespace(
            getDeviceCount=lambda: self.devices,
            getDevice=lambda: _current.device,
            CUDARuntimeError=CUDARuntimeError,
            getDeviceProperties=lambda device: {"name": b"stand-in for a GPU"},
            deviceSynchronize=Stream.null.synchronize,
        )
        self.cuda = SimpleNamespace(
            Device=Device, Stream=Stream, Event=Event, runtime=runtime, is_available=lambda: self.devices > 0,
            get_current_stream=get_current_stream, alloc_pinned_memory=alloc_pinned_memory, Graph=Graph,
            MemoryPool=MemoryPool, using_allocator=using_allocator,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name not in NAMES:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        if not hasattr(np, name):
            raise AttributeError(f"the stand-in has no cupy.{name}: add it to {__file__}")
        found = getattr(np, name)
        if isinstance(found, np.ufunc):
            return UFunc(name)
        if isinstance(found, type) or not callable(found):
            return found  # float32, dtype, newaxis, pi
        return lambda *args, **kwargs: _call(name, found, args, kwargs)

    def reset(self) -> None:
        """As new: no waiting counted, two devices, the first of them current. Raises if there was a race."""
        for copy in _copies:
            copy.check()
        races, self.races = self.races, []
        _copies.clear()
        self.syncs, self.event_syncs, self.devices, self.launches, _current.device = 0, 0, 2, 0, 0
        assert not races, races

    def array(self, obj: Any, dtype: Any = None, copy: bool = True) -> Any:
        if isinstance(obj, ndarray):
            wanted = obj.dtype if dtype is None else np.dtype(dtype)
            if obj._id == _current.device and obj.dtype == wanted and not copy:
                return obj
            return _compute(lambda: obj._host.astype(wanted), lambda host: ndarray._make(host, _current.device))
        host = np.array(obj, dtype)  # refuses fake arrays in a list
        if _capturing() is not None:
            fake_cupy.races.append("host data were copied while a graph is captured: each launch would copy them again")
        return ndarray._make(host, _current.device)

    def asarray(self, a: Any, dtype: Any = None) -> Any:
        return self.array(a, dtype, copy=False)

    def asnumpy(self, a: Any) -> np.ndarray:
        return a.get() if isinstance(a, ndarray) else np.asarray(a)

    def where(self, condition: Any, x: Any = None, y: Any = None) -> Any:
        if x is None and y is None:
            return self.nonzero(condition)
        condition = condition.astype("?", copy=False)  # as CuPy: True and False have no astype
        return _Where()(condition, x, y)

    def take(self, a: Any, indices: Any, axis: int | None = None) -> Any:
        return a.take(indices, axis)

    def einsum(self, *operands: Any, dtype: Any = None, optimize: Any = False) -> Any:
        return _call("einsum", np.einsum, operands, {"dtype": dtype, "optimize": optimize})


class _Where(UFunc):
    def __init__(self) -> None:
        self.__name__, self.nin = "where", 3
        self.function = lambda c, x, y, order: np.where(c, x, y)


fake_cupy: Any = FakeCuPy()


def fake_erf(x: Any) -> Any:
    """cupyx.scipy.special.erf."""
    if not isinstance(x, ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    _check_device([x])
    erf = np.vectorize(math.erf, otypes=[x.dtype])
    return _compute(lambda: erf(x._host), lambda host: ndarray._make(host, _current.device))


# -- the list of names ----------------------------------------------------------------------------


def list_names() -> str:
    """The text of cupy_names.txt from the CuPy that is installed."""
    import cupy

    def bare(p: inspect.Parameter) -> inspect.Parameter:
        return p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else None)

    lines = [f"# Names of CuPy {cupy.__version__} and their parameters, written by: python tests/standin.py"]
    for name in dir(cupy):
        thing = getattr(cupy, name)
        if name.startswith("_"):
            continue
        lines.append(name)
        if callable(thing) and not isinstance(thing, (type, cupy.ufunc, type(cupy.matmul))):
            with contextlib.suppress(ValueError):  # compiled, without a signature
                parameters = [bare(p) for p in inspect.signature(thing).parameters.values()]
                lines[-1] += str(inspect.Signature(parameters))
    for name in dir(cupy.ndarray):
        head = (getattr(cupy.ndarray, name).__doc__ or "").partition("\n")[0].partition(" -> ")[0]
        if name.startswith("_"):
            continue
        if "(self" in head:
            text = head.partition("(self")[2].lstrip(", ").removesuffix(")")
            words = [w.split("=")[0].split()[-1] + ("=None" if "=" in w else "") for w in text.split(", ") if w]
            lines.append(f"ndarray.{name}({', '.join(words)})")
        else:
            lines.append(f"ndarray.{name}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    NAMES_FILE.write_text(list_names())
