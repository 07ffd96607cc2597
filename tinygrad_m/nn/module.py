"""What a network is: a Module holds Parameters and other Modules, in attributes, lists, tuples or dicts, and finds
them by itself. This file lets you list, count, move, save and load them. Read layers.py next: the layers are
Modules of one short forward() each; containers.py joins them."""

from __future__ import annotations

import os
import reprlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple, Self, TypeAlias

import numpy as np

from .. import backend
from ..tensor import Tensor, wrap

File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"


class Parameter(Tensor):
    """A Tensor that a Module learns: an attribute of this type is found by parameters().

    data: floating array (its dtype is kept), list of floats (float32) or Tensor; it is copied."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.detach() if isinstance(data, Tensor) else data)
        if self.dtype.kind != "f":
            raise TypeError(f"Parameter: only floats can be learnt, not {self.dtype}: use .astype('float32')")
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class LoadedKeys(NamedTuple):
    """What load_state_dict(strict=False) left out: names that only the model has, and only the state has."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A network or a part of one. Subclasses put Parameters and Modules into attributes and define forward():

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [nn.Linear(784, 128), nn.Linear(128, 10)]      # lists, tuples, dicts are searched

            def forward(self, x):
                return self.layers[1](self.layers[0](x).relu())

    net(x) calls forward. A parameter's name is its path, such as "layers.0.weight"; the order is that of the
    attributes, items and keys. What is reached in two ways counts once, under its first name."""

    training: bool = True  # set by train() and eval()
    _buffers: tuple[str, ...] = ()  # names of the attributes that register_buffer made

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(vars(self).get(name), Parameter) and not (value is None or isinstance(value, Parameter)):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter and would be lost: assign nn.Parameter(...) or None, or "
                "change its values in place under no_grad()"
            )
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(): define `def forward(self, x): ...` in it")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # -- what is in it ----------------------------------------------------------------------------

    def _members(self) -> Iterator[tuple[str, Any]]:
        """(name, x) of the Modules, Parameters and buffers held here, not those inside other Modules."""
        for key, value in list(vars(self).items()):
            for name, x in _flat(value, key):
                if not isinstance(x, Tensor) or isinstance(x, Parameter) or name in self._buffers:
                    yield name, x

    def _walk(self, name: str, seen: set[int], once: bool) -> Iterator[tuple[str, Any]]:
        """(name, x) of everything, depth first. once: shared ones under their first name only, else under all."""
        seen.add(id(self))
        yield name, self
        for key, x in self._members():
            if id(x) in seen:
                continue
            path = f"{name}.{key}" if name else key
            if isinstance(x, Module):
                yield from x._walk(path, seen, once)
            else:
                yield path, x
                if once:
                    seen.add(id(x))
        if not once:
            seen.remove(id(self))  # seen is then the way down to here: no module is inside itself

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of this module (its name is "") and of all inside it."""
        return ((name, x) for name, x in self._walk("", set(), True) if isinstance(x, Module))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        return (x for _, x in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly in this one."""
        seen: set[int] = set()
        for name, x in self._members():
            if isinstance(x, Module) and id(x) not in seen:
                seen.add(id(x))
                yield name, x

    def children(self) -> Iterator[Module]:
        """The modules directly in this one."""
        return (x for _, x in self.named_children())

    def named_parameters(self, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of all parameters; shared ones once, unless remove_duplicate=False."""
        return ((name, x) for name, x in self._walk("", set(), remove_duplicate) if isinstance(x, Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once: what an optimizer takes."""
        return (x for _, x in self.named_parameters())

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Keep a Tensor that moves and is saved with the model but is not learnt, as self.<name> (or None)."""
        if tensor is not None and (not isinstance(tensor, Tensor) or isinstance(tensor, Parameter)):
            raise TypeError(f"register_buffer({name!r}, ...) takes a Tensor or None, not {type(tensor).__name__}")
        if not name.isidentifier() or (hasattr(self, name) and name not in self._buffers):
            raise ValueError(f"register_buffer: {name!r} must be a new attribute's name on {type(self).__name__}")
        setattr(self, name, tensor)
        self._buffers = (*(b for b in self._buffers if b != name), name)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all buffers."""
        everything = self._walk("", set(), True)
        return ((name, x) for name, x in everything if isinstance(x, Tensor) and not isinstance(x, Parameter))

    def buffers(self) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (x for _, x in self.named_buffers())

    # -- changing all of it -----------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set `training` everywhere: Dropout and batch norm work differently in training. Returns self."""
        for module in list(self.modules()):
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """train(False): for validation and use."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """fn(module) for each module inside, then for this one. Returns self."""
        for child in list(self.children()):
            child.apply(fn)
        fn(self)
        return self

    def zero_grad(self) -> None:
        """Set every parameter's .grad to None."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters. Returns self."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Self:
        """Move to a device ("cpu", "cuda", "cuda:1") and/or cast what is floating to a dtype. The Parameter objects
        stay, with new .data and .grad: an optimizer that holds them goes on working. Returns self."""
        for target in (*targets, device, dtype):
            if target is not None:
                self._move(target)
        return self

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self, index: int = 0) -> Self:
        """Move to a CUDA device."""
        return self.to(f"cuda:{index}")

    def _move(self, target: Any) -> None:
        moving = isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda")
        if not moving and _kind(target) != "f":
            raise TypeError(f"to() takes a device ('cpu', 'cuda', 'cuda:1') or a floating dtype, not {target!r}")

        def changed(array: backend.Array) -> backend.Array:
            if moving:
                return backend.put(array, target)
            with backend.on(array):
                return array.astype(target, copy=False)

        for tensor in (x for _, x in self._walk("", set(), True) if isinstance(x, Tensor)):
            if moving or tensor.dtype.kind == "f":
                before, tensor.data = tensor.data, changed(tensor.data)
                tensor._version[0] += tensor.data is not before  # a graph recorded before must not meet the new array
                if tensor.grad is not None:
                    tensor.grad = wrap(changed(tensor.grad.data))

    # -- saving and loading -----------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor]:
        """Parameters and buffers by name; a shared one under each of its names, as in PyTorch."""
        state: dict[str, Tensor] = {}
        for name, x in self._walk("", set(), False):
            if isinstance(x, Tensor):
                if name in state:
                    raise ValueError(f"{type(self).__name__} has two tensors named {name!r}: rename a key or attribute")
                state[name] = x
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """name -> NumPy array, copies of all parameters and buffers. The model stays where it is; from CUDA
        this waits for the device. PyTorch takes them after torch.from_numpy()."""
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
        """Copy values (NumPy arrays, Tensors, PyTorch's tensors) into the parameters and buffers of the same
        names, which keep their dtype and device.

        Raises ValueError that lists every missing name, every unexpected one (both only if strict) and every
        one of another shape; then nothing has changed. Returns what strict=False left out."""
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict takes a dict of names and arrays, not {type(state).__name__}")
        own = self._state()
        keys = LoadedKeys([k for k in own if k not in state], [k for k in state if k not in own])
        problems = []
        if strict:
            problems += [f"missing: {k!r} {own[k].shape}" for k in keys.missing_keys]
            problems += [f"unexpected: {k!r}" for k in keys.unexpected_keys]
        fresh: dict[str, Any] = {}
        for name in (k for k in own if k in state):
            value = _values(state[name])
            if value is None:
                problems.append(f"no numbers: {name!r} is {type(state[name]).__name__}")
            elif value.shape != own[name].shape:
                problems.append(f"shape: {name!r} is {own[name].shape} in the model, {value.shape} in the state")
            else:
                with backend.on(value):  # a copy, lest a source that is part of this model changes meanwhile
                    value = value.astype(own[name].dtype)
                fresh[name] = backend.put(value, own[name].device)
        if problems:
            remedy = "load a state of the same architecture, or say strict=False to skip missing and unexpected names"
            raise ValueError("\n  ".join([f"{type(self).__name__} can't load this state ({remedy}):", *problems]))
        for name, value in fresh.items():
            with backend.on(value):
                own[name].data[...] = value
            own[name]._version[0] += 1
        return keys

    def save(self, file: File) -> None:
        """Write the state_dict to a path or a binary file, in NumPy's .npz format: np.load(file) reads it."""
        state = self.state_dict()
        if not isinstance(file, (str, os.PathLike)):
            _write_npz(file, state)
            return
        part = f"{os.fspath(file)}.part"  # a save that is interrupted leaves the old file whole
        with open(part, "wb") as stream:
            _write_npz(stream, state)
        os.replace(part, file)

    def load(self, file: File, strict: bool = True) -> LoadedKeys:
        """load_state_dict() from a file that save() wrote. Nothing in the file is executed. Raises
        FileNotFoundError, or ValueError if it is no such file or is damaged."""
        if not isinstance(file, (str, os.PathLike)):
            return self.load_state_dict(_read_npz(file), strict)
        with open(file, "rb") as stream:
            return self.load_state_dict(_read_npz(stream), strict)

    # -- printing ---------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What print() shows between the parentheses: a layer's settings."""
        return ""

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        """The tree of modules; after each the number of parameters in it, the model's total last."""
        sizes = [(p.size, p.requires_grad) for p in self.parameters()]
        total, trained = sum(n for n, _ in sizes), sum(n for n, grad in sizes if grad)
        frozen = f", {total - trained:,} of them frozen" if trained < total else ""
        note = f"  # {total:,} parameter{'s'[: total != 1]}{frozen}" if total else ""
        lines = [f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra}){note}"
        return "\n".join([f"{type(self).__name__}({extra}", *lines, f"){note}"])


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(name, x) of the Modules and Tensors in an attribute's value, through lists, tuples and dicts."""
    if isinstance(value, (Module, Tensor)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for k, x in enumerate(value):
            yield from _flat(x, f"{name}.{k}")
    elif isinstance(value, dict):
        for k, x in list(value.items()):
            yield from _flat(x, f"{name}.{k}")
    elif isinstance(value, (set, frozenset)) and any(isinstance(x, (Module, Parameter)) for x in value):
        raise TypeError(f"attribute {name!r} is a set, which has no fixed order: keep modules and parameters in a list")


def _kind(dtype: Any) -> str:
    """ "f", "i", "u", "b" ... of a dtype; "" if it is none."""
    try:
        return str(np.dtype(dtype).kind)
    except TypeError:
        return ""


def _values(x: Any) -> backend.Array | None:
    """The array of a Tensor, of anything of NumPy, CuPy or PyTorch, or of nested lists; None if it has no numbers."""
    if isinstance(x, Tensor):
        return x.data
    if hasattr(x, "detach"):  # PyTorch's
        x = x.detach().cpu()
    try:
        array = x if hasattr(x, "__cuda_array_interface__") else np.asarray(x)
        return array if array.dtype.kind in "fiub" else None
    except (TypeError, ValueError, RuntimeError):
        return None


def _read_npz(stream: IO[bytes]) -> dict[str, np.ndarray]:
    try:
        with np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes zipfile and NumPy say
        name = getattr(stream, "name", "this")
        raise ValueError(f"{name!r} is no file of arrays written by Module.save(), or is damaged") from error


def _write_npz(stream: IO[bytes], state: dict[str, np.ndarray]) -> None:
    """What np.savez writes, but for any name: its own arguments' names, too."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in state.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
