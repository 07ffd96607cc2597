"""Tensor: an array that remembers how it was computed. This file is its face, a method for each operation and
an operator for each sign; the mathematics is in ops/, the graph in autograd.py. Read either next."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from . import autograd, backend, ops
from .autograd import Node, Operand
from .backend import Array
from .interop import PYTORCH_NAMES, UFUNCS, as_array


class Tensor:
    """A NumPy or CuPy array, `.data`, and what autograd needs: `requires_grad`, and after backward() `.grad`.

    data: array (its dtype is kept), numbers or nested lists (float32, int64 or bool), or another Tensor. It is
    copied: changing the source later changes nothing here. dtype: float16 to float64, integers or bool.
    device: "cpu", "cuda", "cuda:1"; by default where `data` is, or the default device for host data."""

    __slots__ = ("_data", "_grad", "_is_view", "_requires_grad", "_node", "_version", "_hooks", "__weakref__")
    __array_priority__ = 1000.0  # for libraries that look at it

    def __init__(self, data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> None:
        if isinstance(dtype, int):
            raise TypeError(f"Tensor takes data, then a dtype, not sizes such as {dtype}: zeros(2, 3) takes sizes")
        array = as_array(data, dtype)
        if device is not None or isinstance(array, np.ndarray) and not isinstance(data, Tensor):
            array = backend.put(array, device)
        self._data: Array = array
        self._grad: Tensor | None = None
        self._node: Node | None = None
        self._is_view = False  # of another tensor's memory
        self._version = [0]  # counts changes in place; a view shares its source's list
        self._hooks: list[list[Callable[[Tensor], Tensor | None]]] | None = None
        self._requires_grad = False
        self.requires_grad = requires_grad

    # -- what it is -------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array itself, a NumPy or CuPy array. `t.data = array` copies one of the same shape, dtype and device
        and counts as a change in place; what is written into t.data itself, no graph can notice."""
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        home = backend.of(array)  # TypeError unless it is an array
        if array.shape != self.shape:
            raise ValueError(f"data must be an array of shape {self.shape}, not {array.shape}: make a new Tensor")
        if array.dtype != self.dtype or backend.device_of(array) != self.device:
            found = f"{array.dtype} on {backend.device_of(array)}"
            raise TypeError(f"data must stay {self.dtype} on {self.device}, not {found}: use .to()")
        with backend.on(array):
            self._replace(array if array is self._data else home.xp.array(array))

    def _replace(self, array: Array) -> None:
        """Put another array in place, of any device and dtype; graphs that have kept the old one will notice."""
        self._version[0] += 1
        if array is not self._data:  # views of the old array are on their own now
            self._data, self._version = array, [0]

    @property
    def grad(self) -> Tensor | None:
        """What backward() has added up, None before."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            fits = isinstance(value, Tensor) and value.shape == self.shape and value.dtype == self.dtype
            if not fits or value.device != self.device:
                got = f"{value.shape} {value.dtype} on {value.device}" if isinstance(value, Tensor) else repr(value)
                mine = f"{self.shape} {self.dtype} on {self.device}"
                raise TypeError(
                    f"grad must be None or a Tensor of its tensor's shape, dtype and device: {mine}, not {got}"
                )
        self._grad = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._data.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._data.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._data.size)

    @property
    def device(self) -> str:
        """ "cpu" or "cuda:0", "cuda:1" ..."""
        return backend.device_of(self._data)

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded. It can be set on leaves of a floating dtype."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self.dtype.kind != "f":
            raise TypeError(f"only floating tensors can require grad, not {self.dtype}: use dtype='float32'")
        if self._node is not None and not value:
            raise autograd.GraphError("requires_grad=False only works on leaves: use t.detach() on a computed tensor")
        self._requires_grad = bool(value)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not by a recorded operation."""
        return self._node is None

    def __repr__(self) -> str:
        values = np.array2string(backend.to_numpy(self.data), separator=", ", prefix="Tensor(", threshold=200)
        notes = [f"shape={self.shape}", f"dtype={self.dtype}", f"device={self.device}"]
        if self._node is not None:
            notes.append(f"made by {self._node.op.name}")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        return f"Tensor({values}, {', '.join(notes)})"

    def __getattr__(self, name: str) -> NoReturn:
        remedy = f": use {PYTORCH_NAMES[name]}" if name in PYTORCH_NAMES else ""
        raise AttributeError(f"Tensor has no attribute {name!r}{remedy}")

    # -- autograd ---------------------------------------------------------------------------------

    def backward(self, gradient: Operand = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add the gradient of self (times `gradient`, which a tensor of more than one element needs) to the
        .grad of every leaf. The graph is freed unless retain_graph; create_graph makes the .grad differentiable."""
        autograd.backward(self, gradient, retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same memory without its history: no gradient flows through."""
        out = wrap(self._data)
        out._version = self._version
        return out

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set requires_grad and return self."""
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> None:
        """Also give this computed tensor a .grad in backward(); leaves have one anyway."""
        if not self._requires_grad:
            raise autograd.GraphError("retain_grad() needs a tensor that requires grad")
        if self._node is not None:
            self._node.retain = weakref.ref(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call hook(grad) when this tensor's gradient is complete; what it returns, if not None, takes the
        gradient's place. Returns a function that removes the hook."""
        if not self._requires_grad:
            raise autograd.GraphError("register_hook() needs a tensor that requires grad")
        if not callable(hook):
            raise TypeError(f"a hook is a function that can be called with the gradient, not {hook!r}")
        holder: Any = self._node or self
        entry = [hook]  # a list of its own: the same function may be registered twice
        holder._hooks = [*(e for e in holder._hooks or () if e), entry]  # without those removed
        return entry.clear  # holds no graph

    # -- to Python, NumPy and others --------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """A copy as a NumPy array; from CUDA it waits for the device. `.data` is the array itself."""
        return np.array(backend.to_numpy(self.data))

    def item(self) -> Any:
        """The one element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs exactly one element, this tensor has shape {self.shape}: use tolist()")
        return backend.to_numpy(self.data).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return backend.to_numpy(self.data).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._requires_grad:
            raise TypeError("NumPy would lose this tensor's gradient: use tinygrad_m's functions, or t.numpy()")
        if self.device != "cpu":
            raise TypeError(f"this tensor is on {self.device}, NumPy works on the CPU: use t.numpy() or t.cpu()")
        return np.array(self.data, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """np.add(array, t), array * t ...: the operation of that name, so that the gradient is kept."""
        name = UFUNCS.get(ufunc.__name__, ufunc.__name__)
        function = getattr(ops, name, None)
        if method != "__call__" or kwargs or function is None or len(inputs) > 2:
            if kwargs.get("out") is not None:
                raise TypeError(f"np.{ufunc.__name__} into an array would lose the gradient: a = a + t, or t.numpy()")
            raise TypeError(
                f"np.{ufunc.__name__}{'' if method == '__call__' else '.' + method} does not work on a Tensor: "
                "use tinygrad_m's functions, or t.numpy()"
            )
        return function(*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> NoReturn:
        raise TypeError(f"np.{func.__name__} does not work on a Tensor: use tinygrad_m's functions, or t.numpy()")

    def __dlpack__(self, **options: Any) -> Any:
        if self._requires_grad:
            raise TypeError("DLPack would lose this tensor's gradient: export t.detach()")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a 0-dimensional tensor has no len(): use item()")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a 0-dimensional tensor can't be iterated: use item()")
        return (self[k] for k in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        return bool(ops.equal(self, value).any())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is not clear: use .any() or .all()")
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.size != 1 or self.dtype.kind not in "iu":
            raise TypeError(f"only an integer tensor with one element can be an index, not {self.dtype} {self.shape}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise TypeError(
                "only leaves can be pickled or deep-copied: use t.numpy() (for a figure, say) or t.detach()"
            )
        return _rebuild, (type(self), backend.to_numpy(self.data), self.device, self._requires_grad, self.grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        rebuild, arguments = self.__reduce__()
        memo[id(self)] = made = rebuild(*arguments)
        made.grad = None if self.grad is None else self.grad.detach().clone()
        return made  # type: ignore[no-any-return]

    # -- devices and dtypes -----------------------------------------------------------------------

    def to(self, target: Any) -> Tensor:
        """On a device ("cpu", "cuda", "cuda:1") or in a dtype; self if it is so already."""
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda"):
            found, index = backend.parse(target)
            return ops.to_device(self, "cpu" if found is backend.CPU else f"cuda:{index}")
        try:
            return self if self.dtype == backend.check_dtype(target) else self.astype(target)
        except TypeError:
            raise TypeError(
                f"to() takes a device ('cpu', 'cuda', 'cuda:1') or a dtype ('float32'), not {target!r}"
            ) from None

    def cpu(self) -> Tensor:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, index: int = 0) -> Tensor:
        """On a CUDA device."""
        return self.to(f"cuda:{index}")

    def astype(self, dtype: Any) -> Tensor:
        """In another dtype; integers and bools carry no gradient."""
        return ops.astype(self, dtype)

    # -- operators: the operation itself is the method ----------------------------------------------

    __add__ = __radd__ = ops.add
    __sub__ = ops.subtract
    __mul__ = __rmul__ = ops.multiply
    __truediv__ = ops.divide
    __pow__ = ops.pow
    __matmul__ = ops.matmul
    __neg__, __abs__, __pos__ = ops.negative, ops.abs, ops.clone
    __lt__, __le__, __gt__, __ge__ = ops.less, ops.less_equal, ops.greater, ops.greater_equal
    __getitem__ = ops.getitem
    __hash__ = object.__hash__  # by identity: == compares elements

    def __rsub__(self, other: Operand) -> Tensor:
        return ops.subtract(other, self)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return ops.divide(other, self)

    def __rpow__(self, other: Operand) -> Tensor:
        return ops.pow(other, self)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return ops.matmul(other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else ops.equal(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else ops.not_equal(self, other)

    def __and__(self, other: Operand) -> Tensor:
        return ops.logical_and(_bools("&", self), _bools("&", other))

    def __or__(self, other: Operand) -> Tensor:
        return ops.logical_or(_bools("|", self), _bools("|", other))

    def __invert__(self) -> Tensor:
        return ops.logical_not(_bools("~", self))

    # -- operations as methods: x.exp() is exp(x), documented there ------------------------------------

    exp, log, sqrt, square, abs, clip = ops.exp, ops.log, ops.sqrt, ops.square, ops.abs, ops.clip
    sin, cos, tanh, sigmoid, relu = ops.sin, ops.cos, ops.tanh, ops.sigmoid, ops.relu
    sum, mean, prod, max, min, all, any = ops.sum, ops.mean, ops.prod, ops.max, ops.min, ops.all, ops.any
    argmax, argmin, argsort, sort, cumsum = ops.argmax, ops.argmin, ops.argsort, ops.sort, ops.cumsum
    var, std, norm = ops.var, ops.std, ops.norm
    softmax, log_softmax, logsumexp = ops.softmax, ops.log_softmax, ops.logsumexp
    reshape, transpose, permute_dims, swapaxes = ops.reshape, ops.permute_dims, ops.permute_dims, ops.swapaxes
    squeeze, expand_dims, broadcast_to, flip = ops.squeeze, ops.expand_dims, ops.broadcast_to, ops.flip
    split, take, diagonal, repeat, clone = ops.split, ops.take, ops.diagonal, ops.repeat, ops.clone

    @property
    def T(self) -> Tensor:
        """All axes reversed."""
        return ops.permute_dims(self)

    def flatten(self) -> Tensor:
        """As a vector."""
        return ops.reshape(self, -1)

    # -- changes in place -------------------------------------------------------------------------
    # What would be recorded gives this tensor a new array and a new place in the graph; views that were
    # taken before keep the old ones. What is not recorded (no_grad, or no gradient anywhere) writes into
    # the memory, and the version counter tells every graph that has kept it.

    def __setitem__(self, index: Any, value: Operand) -> None:
        if not isinstance(value, (Tensor, bool, int, float)):
            value = Tensor(value, device=self.device)
        kind = value.dtype if isinstance(value, Tensor) else np.dtype(type(value))
        if kind.kind == "f" and self.dtype.kind != "f":
            raise TypeError(f"{kind} values do not fit into a tensor of {self.dtype}: convert it with .astype() first")
        if self._recorded(value):
            if self._is_view:
                raise autograd.GraphError(
                    "this tensor is a view of another, so the assignment would be lost there: assign to the "
                    "original (t[0, 1] = v instead of t[0][1] = v), or to a clone()"
                )
            self._become(ops.assign(self, index, value))
            return
        if isinstance(value, Tensor) and value.device != self.device:
            raise backend.DeviceError(f"assignment from {value.device} into a tensor on {self.device}: use .to()")
        with backend.on(self.data):
            ops.write(self.data, ops.raw_index(index, self), value.data if isinstance(value, Tensor) else value)
        self._version[0] += 1

    def __iadd__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        return self._update(ops.add, other)

    def __isub__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        return self._update(ops.subtract, other)

    def __imul__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        return self._update(ops.multiply, other)

    def __itruediv__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        return self._update(ops.divide, other)

    def _update(self, operation: Callable[..., Tensor], other: Operand) -> Tensor:
        recorded = self._recorded(other)
        result = operation(self, other)
        if result.shape != self.shape or (result.dtype != self.dtype and self.dtype.kind != "f"):
            raise ValueError(
                f"in place: {operation.__name__} gives {result.shape} {result.dtype}, which does not fit into "
                f"{self.shape} {self.dtype}: write t = t + ... instead"
            )
        if recorded:
            self._become(result.to(self.dtype))
        else:
            with backend.on(self.data):
                ops.write(self.data, ..., result.data)
            self._version[0] += 1
        return self

    def _recorded(self, other: Operand) -> bool:
        """Whether a change in place by `other` belongs into the graph; an error for a leaf that requires grad."""
        if not autograd.is_grad_enabled():
            return False
        if self._requires_grad and self._node is None:
            raise autograd.GraphError(
                "a leaf that requires grad can't be changed in place while operations are recorded: "
                "do it inside `with no_grad():` (an update), or on a clone() (a computation)"
            )
        return self._requires_grad or bool(getattr(other, "_requires_grad", False))

    def _become(self, result: Tensor) -> None:
        if self._node is not None and result._node is not None:  # who retains its gradient goes on to do so
            self._node.retain, result._node.retain = None, self._node.retain
        self._data, self._node, self._requires_grad = result._data, result._node, result._requires_grad
        self._version, self._is_view = result._version, False


def wrap(array: Array) -> Tensor:
    """A Tensor around an array that nobody else will change: no copy, no checks."""
    tensor = _new(Tensor)
    tensor._data, tensor._grad, tensor._node, tensor._hooks = array, None, None, None
    tensor._requires_grad, tensor._is_view, tensor._version = False, False, [0]
    return tensor


_new = object.__new__
autograd.TensorType, autograd.wrap = Tensor, wrap


def _bools(sign: str, value: Any) -> Any:
    if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
        return value
    kind = getattr(value, "dtype", type(value).__name__)
    raise TypeError(f"{sign} joins bool tensors, not {kind}: compare first, as in (a > 0) {sign} (b > 0)")


def _rebuild(kind: type[Tensor], array: np.ndarray, device: str, requires_grad: bool, grad: Tensor | None) -> Tensor:
    tensor = kind.__new__(kind)
    Tensor.__init__(tensor, array, device=device, requires_grad=requires_grad)
    tensor._grad = grad
    return tensor


def from_dlpack(source: Any) -> Tensor:
    """A Tensor from any library's array that speaks DLPack (PyTorch, JAX, CuPy ...). It is copied."""
    if not hasattr(source, "__dlpack_device__"):
        raise TypeError(f"from_dlpack takes an array with __dlpack__, not {type(source).__name__}")
    kind = source.__dlpack_device__()[0]
    library = backend.cuda().xp if kind == 2 else np
    return Tensor(library.from_dlpack(source))
