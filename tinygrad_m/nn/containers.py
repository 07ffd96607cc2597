"""Modules made of modules: Sequential runs them one after the other; ModuleList and ModuleDict only hold them,
under PyTorch's names (a plain list or dict in an attribute does as well). Read layers.py next."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Self

from .layers import Conv2d, Linear, MaxPool2d, ReLU, Sigmoid, Tanh
from .module import Module


class _Container(Module):
    """Modules held as attributes named "0", "1", ... or by keys; so a parameter is called "0.weight"."""

    def _held(self) -> dict[str, Module]:
        """name -> module in order; a module that is held twice stands there twice."""
        return {name: x for name, x in vars(self).items() if isinstance(x, Module)}

    def _put(self, name: str, module: Any) -> None:
        kind, found = type(self).__name__, type(module).__name__
        if isinstance(module, type) and issubclass(module, Module):
            made = module.__name__
            raise TypeError(f"{kind}: item {name!r} is the class {made}: make a module of it, {made}(...)")
        if not isinstance(module, Module):
            hint = ": for a function such as relu there is a module, nn.ReLU()" if callable(module) else ""
            hint = f": unpack it, as in {kind}(*layers)" if isinstance(module, (list, tuple)) else hint
            raise TypeError(f"{kind}: item {name!r} must be a Module, not {found}{hint}")
        if not isinstance(name, str) or name == "" or "." in name or hasattr(type(self), name):
            raise ValueError(f"{kind}: the key {name!r} must be a string without '.', and no attribute of every {kind}")
        setattr(self, name, module)

    def __len__(self) -> int:
        return len(self._held())


class _Numbered(_Container):
    """A container whose items have numbers."""

    def __iter__(self) -> Iterator[Module]:
        return iter(self._held().values())

    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return list(self)[index]
        part = dict(list(self._held().items())[index])
        return Sequential(part) if isinstance(self, Sequential) else ModuleList(part.values())

    def __setitem__(self, index: int, module: Module) -> None:
        self._put(list(self._held())[index], module)

    def __delitem__(self, index: int) -> None:
        modules = list(self)
        del modules[index]
        for name in self._held():
            delattr(self, name)
        self.extend(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end. Returns self."""
        self._put(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end. Returns self."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Modules that run one after the other: Sequential(a, b)(x) is b(a(x)). Or by names: Sequential({"a": a})."""

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else dict(enumerate(modules))
        for name, module in named.items():
            self._put(str(name), module)

    def forward(self, x: Any) -> Any:
        """x through all of them. A ReLU before a MaxPool2d runs after it: the same numbers and gradients, as the
        largest of a window stays the largest, and a quarter of the work. On CUDA a layer's bias and a ReLU, Tanh or
        Sigmoid after it are one launch."""
        modules = list(self._held().values())
        for k in range(len(modules) - 1):
            if type(modules[k]) is ReLU and type(modules[k + 1]) is MaxPool2d:
                modules[k : k + 2] = modules[k + 1], modules[k]
        pairs = zip(modules, [*modules[1:], None], strict=False)
        for module, after in pairs:
            activation = WITH_BIAS.get(type(after))
            if activation and isinstance(module, (Linear, Conv2d)) and module.joins(x):
                x = module.activated(x, activation)
                next(pairs)  # is done
            else:
                x = module(x)
        return x


WITH_BIAS: dict[type, str] = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}


class ModuleList(_Numbered):
    """A list of modules. It has no forward(): loop over it in your own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)


class ModuleDict(_Container, MutableMapping[str, Module]):
    """A dict of modules, in the order in which they were put in. It has no forward(): name them in your own."""

    __eq__, __hash__ = Module.__eq__, Module.__hash__  # by identity, as all modules

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.update(modules or {})

    def __getitem__(self, key: str) -> Module:
        held = self._held()
        if key not in held:
            raise KeyError(f"ModuleDict has no {key!r}, only {list(held)}")
        return held[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self._put(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]  # an error that lists the keys
        delattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held())
