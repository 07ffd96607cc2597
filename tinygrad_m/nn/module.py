"""What a network is: a Module holds Parameters and other Modules, in attributes, lists, tuples or dicts, and finds
them by itself. This file lets you list, count, move, save and load them. Read layers.py next: the layers are
Modules of one short forward() each; containers.py joins them."""

from __future__ import annotations

import os
import reprlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import IO, Any, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np

from .. import backend
from ..autograd import no_grad
from ..tensor import Tensor

File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
T = TypeVar("T")


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
    _shown: tuple[str, ...] = ()  # names of the attributes that print() shows

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(vars(self).get(name), Parameter) and not (value is None or isinstance(value, Parameter)):
            remedy = "assign nn.Parameter(...) or None, or change its values in place under no_grad()"
            raise TypeError(f"{type(self).__name__}.{name} is a Parameter and would be lost: {remedy}")
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(): define `def forward(self, x): ...` in it")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # -- what is in it ----------------------------------------------------------------------------

    def _named(self, kind: type[T], once: bool = True, deep: bool = True) -> Iterator[tuple[str, T]]:
        return ((name, x) for name, x in _walk(self, "", set(), once, deep) if isinstance(x, kind))

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of this module (its name is "") and of all inside it."""
        return self._named(Module)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        return (x for _, x in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly in this one."""
        return ((name, x) for name, x in self._named(Module, deep=False) if x is not self)

    def children(self) -> Iterator[Module]:
        """The modules directly in this one."""
        return (x for _, x in self.named_children())

    def named_parameters(self, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of all parameters; shared ones once, unless remove_duplicate=False."""
        return self._named(Parameter, remove_duplicate)

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once: what an optimizer takes."""
        return (x for _, x in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all buffers."""
        return ((name, x) for name, x in self._named(Tensor) if not isinstance(x, Parameter))

    def buffers(self) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (x for _, x in self.named_buffers())

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Keep a Tensor that moves and is saved with the model but is not learnt, as self.<name> (or None)."""
        if tensor is not None and (not isinstance(tensor, Tensor) or isinstance(tensor, Parameter)):
            raise TypeError(f"register_buffer({name!r}, ...) takes a Tensor or None, not {type(tensor).__name__}")
        if not name.isidentifier() or (hasattr(self, name) and name not in self._buffers):
            raise ValueError(f"register_buffer: {name!r} must be a new attribute's name on {type(self).__name__}")
        setattr(self, name, tensor)
        self._buffers = (*(b for b in self._buffers if b != name), name)

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
        moving = known = isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda")
        with suppress(TypeError):
            known = moving or backend.check_dtype(target).kind == "f"
        if not known:
            raise TypeError(f"to() takes a device ('cpu', 'cuda', 'cuda:1') or a floating dtype, not {target!r}")
        for _, tensor in self._named(Tensor):
            if moving or tensor.dtype.kind == "f":
                moved = tensor.detach().to(target).data
                if moved is not tensor.data:
                    tensor._replace(moved)
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.detach().to(target)

    # -- saving and loading -----------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor]:
        """Parameters and buffers by name; a shared one under each of its names, as in PyTorch."""
        state: dict[str, Tensor] = {}
        for name, x in self._named(Tensor, once=False):
            if name in state:
                raise ValueError(f"{type(self).__name__} has two tensors named {name!r}: rename a key or attribute")
            state[name] = x
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """name -> NumPy array, copies of all parameters and buffers. The model stays where it is; from CUDA
        this waits for the device. PyTorch takes them after torch.from_numpy()."""
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
        """Copy values (NumPy arrays, Tensors, PyTorch's tensors) into the parameters and buffers of the same names;
        these keep their dtype and device. Returns what strict=False left out. Raises ValueError that lists all missing
        and unexpected names (both only if strict) and all of another shape; then nothing has changed."""
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict takes a dict of names and arrays, not {type(state).__name__}")
        own = self._state()
        keys = LoadedKeys([k for k in own if k not in state], [k for k in state if k not in own])
        problems = [f"missing: {k!r} {own[k].shape}" for k in keys.missing_keys if strict]
        problems += [f"unexpected: {k!r}" for k in keys.unexpected_keys if strict]
        fresh: dict[str, Tensor] = {}  # copies, as a source may be part of this model
        for name in (k for k in own if k in state):
            value, mine = state[name], own[name]
            if hasattr(value, "detach"):  # a Tensor, or PyTorch's
                value = value.detach() if isinstance(value, Tensor) else value.detach().cpu()
            try:
                fresh[name] = Tensor(value, mine.dtype, mine.device)
            except (TypeError, ValueError, RuntimeError, OverflowError) as error:
                problems.append(f"no numbers for it: {name!r} is {type(value).__name__} ({error})")
                continue
            if fresh[name].shape != mine.shape:
                problems.append(f"shape: {name!r} is {mine.shape} in the model, {fresh[name].shape} in the state")
        if problems:
            remedy = "load a state of the same architecture, or say strict=False to skip missing and unexpected names"
            raise ValueError("\n  ".join([f"{type(self).__name__} can't load this state ({remedy}):", *problems]))
        with no_grad():
            for name, tensor in fresh.items():
                own[name][...] = tensor
        return keys

    def save(self, file: File) -> None:
        """Write the state_dict to a path or a binary file, in NumPy's .npz format: np.load(file) reads it."""
        state, path = self.state_dict(), file if isinstance(file, (str, os.PathLike)) else None
        part = f"{path}.part"  # a save that is interrupted leaves the old file whole
        with open(part, "wb") if path else nullcontext(file) as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, array in state.items():  # what np.savez writes, but for any name: its own arguments' names, too
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
        if path:
            os.replace(part, path)

    def load(self, file: File, strict: bool = True) -> LoadedKeys:
        """load_state_dict() from a file that save() wrote. Nothing in the file is executed. Raises
        FileNotFoundError, or ValueError if it is no such file or is damaged."""
        with open(file, "rb") if isinstance(file, (str, os.PathLike)) else nullcontext(file) as stream:
            try:
                with np.load(stream, allow_pickle=False) as archive:
                    state = {name: archive[name] for name in archive.files}
            except (OSError, MemoryError):
                raise
            except Exception as error:  # whatever a damaged file makes zipfile and NumPy say
                raise ValueError(f"'{file}' is no file of arrays written by Module.save(), or is damaged") from error
        return self.load_state_dict(state, strict)

    # -- printing ---------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What print() shows between the parentheses: a layer's settings."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        """The tree of modules; after each the number of parameters in it, the model's total last."""
        sizes = [(p.size, p.requires_grad) for p in self.parameters()]
        total, trained = sum(n for n, _ in sizes), sum(n for n, grad in sizes if grad)
        frozen = f", {total - trained:,} of them frozen" if trained < total else ""
        note = f"  # {total:,} parameter{'s'[: total != 1]}{frozen}" if total else ""
        lines = [f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return "\n".join([head, *lines, f"){note}"]) if lines else f"{head}){note}"


def _walk(x: Any, name: str, seen: set[int], once: bool, deep: bool) -> Iterator[tuple[str, Any]]:
    """(name, y) of all Modules, Parameters and buffers y in x, itself the first, through lists, tuples and dicts.
    once: shared ones under their first name only, else under all. deep: also what is in the modules in x."""
    held: Mapping[Any, Any] = {}
    if isinstance(x, (Module, Tensor)):
        if id(x) in seen:
            return
        seen.add(id(x))
        yield name, x
        if isinstance(x, Module) and (deep or name == ""):
            held = vars(x)
    elif isinstance(x, (list, tuple, dict)):
        held = x if isinstance(x, dict) else dict(enumerate(x))
    elif isinstance(x, (set, frozenset)) and any(isinstance(y, (Module, Parameter)) for y in x):
        raise TypeError(f"attribute {name!r} is a set, which has no fixed order: keep modules and parameters in a list")
    for key, y in list(held.items()):
        if not isinstance(y, Tensor) or isinstance(y, Parameter) or key in getattr(x, "_buffers", ()):
            yield from _walk(y, f"{name}.{key}" if name else key, seen, once, deep)
    if not once:
        seen.discard(id(x))  # seen is then the way down to here: no module is inside itself
