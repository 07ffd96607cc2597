"""A strict stand-in for CuPy, so that everything the library does on a GPU can be tested without one. It is a
module-like object, `fake_cupy`, with an array class of its own over NumPy: it refuses what CuPy refuses (NumPy
arrays, implicit conversion, names and arguments that CuPy lacks), behaves as CuPy where CuPy differs from NumPy,
and counts in `fake_cupy.syncs` how often the host would have waited for the device. Where CuPy is lenient in a
way that costs (a NumPy array as an index, an array of another device) the stand-in is not.

`cupy_names.txt` lists CuPy's names and their parameters; `python tests/standin.py` writes it from an installed
CuPy. conftest.py puts the stand-in in CuPy's place; test_standin.py tests it, test_backend.py uses it."""

from __future__ import annotations

import contextlib
import inspect
import math
import threading
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
SYNCS = {"argwhere", "compress", "extract", "flatnonzero", "nonzero", "unique"}
VIEWS = {  # they launch no kernel as long as their result is a view
    "T", "astype", "broadcast_to", "diagonal", "expand_dims", "flip", "mT", "moveaxis", "permute_dims", "ravel", "real",
    "reshape", "rollaxis", "squeeze", "swapaxes", "transpose", "view",
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
    device = 0  # CuPy's current device is a thread's own, too


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
        fake_cupy.syncs += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Stream:
    """Only what waits."""

    null: Stream

    def synchronize(self) -> None:
        fake_cupy.syncs += 1


Stream.null = Stream()

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
    fake_cupy.syncs += short in SYNCS
    with np.errstate(all="ignore"):  # a kernel never warns
        result = _wrap(function(*host, **options), seen)
    if short in VIEWS and isinstance(result, ndarray) and result.base is None and id(result) not in map(id, seen):
        _check_device(seen)  # it had to copy
    return result


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
        with np.errstate(all="ignore"):  # a kernel never warns
            if out is not None:
                return _wrap(self.function(*host, out=out._host, **kwargs), [out])
            return _wrap(self.function(*host, order="C", **kwargs), seen)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        if self.__name__ not in self.scatter:
            raise NotImplementedError(f"`cupy_{self.__name__}.at` is not supported yet")
        index, fancy = a._index(indices)
        value = _value(b, a)
        masked = any(getattr(part, "dtype", None) == np.bool_ for part in index)
        if fancy and not masked and a.dtype.char not in self.scatter[self.__name__]:
            raise TypeError(f"scatter_{self.__name__} does not support {a.dtype}")
        self.function.at(a._host, index, np.asarray(value).astype(a.dtype))


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

    __slots__ = ("_host", "_id", "base", "__weakref__")
    __array_ufunc__ = None  # CuPy answers np.exp(array); the library must not rely on it
    __array_priority__ = 100.0
    __hash__ = None  # type: ignore[assignment]
    _host: np.ndarray
    _id: int
    base: ndarray | None

    @classmethod
    def _make(cls, host: np.ndarray, device: int, base: ndarray | None = None) -> ndarray:
        if host.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {host.dtype}")
        self = object.__new__(cls)
        self._host, self._id, self.base = host, device, base
        return self

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self._host, self._id, self.base = np.empty(shape, dtype), _current.device, None

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
        fake_cupy.syncs += 1
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
        return ndarray._make(self._host.copy(order), _current.device)  # type: ignore[arg-type]

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> ndarray:
        return ndarray._make(self._host.copy(), self._id)

    def fill(self, value: Any) -> None:
        self._host.fill(_value(value, self))

    def take(self, indices: Any, axis: int | None = None, out: Any = None) -> Any:
        if not isinstance(indices, (int, np.integer)):
            _check_device([self, *([indices] if isinstance(indices, ndarray) else [])])
        return _wrap(self._host.take(_unwrap(indices, []), axis, mode="wrap"), [])

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
                    fake_cupy.syncs += 1  # the size of the result must be known
                elif axis < self._host.ndim and self._host.shape[axis]:
                    parts[k] = part._host % self._host.shape[axis]
            elif isinstance(part, (list, tuple, np.ndarray)):
                raise TypeError(f"Unsupported type {type(part)} in an index: put it on the device first")
            axis += self._host.ndim - sum(used) if part is Ellipsis else used[k]
        return tuple(parts), fancy

    def __getitem__(self, index: Any) -> Any:
        host, fancy = self._index(index)
        return _wrap(np.array(self._host[host]), []) if fancy else _wrap(self._host[host], [self])

    def __setitem__(self, index: Any, value: Any) -> None:
        host, _ = self._index(index)
        self._host[host] = _value(value, self)


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
    """The module: CuPy's names, NumPy's answers. `syncs` counts how often the host waited; `devices` can be set."""

    ndarray = ndarray
    __name__ = "cupy"

    def __init__(self) -> None:
        self.syncs, self.devices = 0, 2
        runtime = SimpleNamespace(
            getDeviceCount=lambda: self.devices,
            getDevice=lambda: _current.device,
            CUDARuntimeError=CUDARuntimeError,
            getDeviceProperties=lambda device: {"name": b"stand-in for a GPU"},
            deviceSynchronize=Stream.null.synchronize,
        )
        self.cuda = SimpleNamespace(
            Device=Device, Stream=Stream, runtime=runtime, is_available=lambda: self.devices > 0,
            get_current_stream=lambda: Stream.null,
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
        """As new: no waiting counted, two devices, the first of them current."""
        self.syncs, self.devices, _current.device = 0, 2, 0

    def array(self, obj: Any, dtype: Any = None, copy: bool = True) -> Any:
        if isinstance(obj, ndarray):
            wanted = obj.dtype if dtype is None else np.dtype(dtype)
            if obj._id == _current.device and obj.dtype == wanted and not copy:
                return obj
            return ndarray._make(obj._host.astype(wanted), _current.device)
        return ndarray._make(np.array(obj, dtype), _current.device)  # refuses fake arrays in a list

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
    return ndarray._make(np.vectorize(math.erf, otypes=[x.dtype])(x._host), _current.device)


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
