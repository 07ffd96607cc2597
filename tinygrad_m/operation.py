"""An operation: its forward on arrays and one derivative rule for each argument, side by side, such as

    @op(a=lambda g, b: g * b, b=lambda g, a: g * a)
    def multiply(xp, a, b):
        return xp.multiply(a, b)

A rule names what it reads, and only that is kept until backward: `g` (gradient of the output), `out` (the
output), inputs by their names; then `shape` (of the argument that the rule is for) and attributes. It runs on
plain arrays for first derivatives, at NumPy's own speed, and on Tensors under create_graph=True: then the
same text records itself, and derivatives of any order follow. All operations are in ops/: start with
ops/elementwise.py. autograd.py is the other half of the engine: the walk that runs the rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np

from . import autograd, backend
from .autograd import Node, Vertex

if TYPE_CHECKING:
    from .tensor import Tensor

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])
Rule: TypeAlias = Callable[..., Any]
state = autograd._state

REGISTRY: dict[str, Callable[..., Any]] = {}  # every operation by its name: tests and docs walk it


class Op(Generic[P]):
    """An operation. Parameters of the forward without a default are inputs (Tensors, arrays, numbers),
    those with one are attributes. `cast` says what happens to dtypes before the forward: "common" (inputs
    meet at one dtype; integers take the floating one's), "float" (integers become float32), None (as is)."""

    def __init__(self, forward: Callable[Concatenate[Any, P], Any], rules: dict[str, Rule], cast: str | None) -> None:
        self.forward, self.rules, self.cast = forward, rules, cast
        self.name = forward.__name__
        self.__doc__, self.__name__, self.__module__ = forward.__doc__, forward.__name__, forward.__module__
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.__signature__ = inspect.Signature(parameters)
        self.inputs = [p.name for p in parameters if p.default is p.empty]
        self.attrs = {p.name: p.default for p in parameters if p.default is not p.empty}
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.table = [self._compile(rules[name]) if name in rules else None for name in self.inputs]
        self.plans: dict[tuple[bool, ...], list[int]] = {}

    def _compile(self, rule: Rule) -> tuple[Rule, list[Any], list[str]]:
        """A rule, where in [out, *inputs] the values that it reads are, and the names of the rest."""
        names = inspect.getfullargspec(rule).args[1:]
        values = [n for n in names if n == "out" or n in self.inputs]
        rest = names[len(values) :]
        unknown = [n for n in rest if n not in self.attrs and n not in ("shape", "i")]
        if names[: len(values)] != values or unknown:
            raise TypeError(
                f"a rule of {self.name} reads {names}: first 'out' or inputs {self.inputs}, "
                f"then 'shape', 'i' (which operand) or attributes {list(self.attrs)}"
            )
        place = slice(1, None) if self.variadic else None
        return rule, [0 if n == "out" else place or 1 + self.inputs.index(n) for n in values], rest

    def __repr__(self) -> str:
        return f"<operation {self.name}{self.__signature__}>"

    def __call__(self, *args: P.args, **attrs: P.kwargs) -> Tensor:
        if self.attrs or attrs or len(args) != len(self.inputs):
            args, attrs = self._bind(args, attrs)  # type: ignore[assignment]
        values: list[Any] = []  # the arrays and numbers for the forward
        parents: list[Vertex | None] = []  # the graph's edges
        tracked = mixed = tensors = weak = False
        first: Any = None
        tensor_type = autograd.TensorType
        for arg in args:
            if isinstance(arg, tensor_type):
                tensors, value = True, arg.data
                if first is None:
                    first = value
                elif value.dtype is not first.dtype or type(value) is not type(first):
                    mixed = True
                if arg._requires_grad:
                    tracked = True
                    parents.append(arg._node or arg)
                else:
                    parents.append(None)
            elif type(arg) is float or type(arg) is int:
                value, weak = arg, True
                parents.append(None)
            elif arg is None or type(arg) is bool:
                value = arg
                parents.append(None)
            else:  # arrays, lists, NumPy scalars, rubbish: sort them out, then begin again
                return self._coerce(args, attrs)
            values.append(value)
        if not tensors:
            return self._coerce(args, attrs)
        on_cpu = type(first) is np.ndarray
        if mixed or not on_cpu or ((weak or self.cast == "float") and first.dtype.kind != "f"):
            values = self._align(values)
        try:
            if on_cpu:
                out = self.forward(np, *values, **attrs)
            else:
                with backend.on(first):
                    out = self.forward(backend.of(first).xp, *values, **attrs)
        except (TypeError, ValueError, IndexError) as error:
            raise self._explain(error, args) from error
        if type(out) is not type(first):  # a full reduction gives NumPy's scalar
            out = np.asarray(out)
        result: Tensor = autograd.wrap(out)
        if out is first or (out.base is not None and (out.base is first or out.base is first.base)):
            result._version = cast(Any, args[0])._version  # a view: who changes one in place has changed the other
        if tracked and self.rules and state.recording and out.dtype.kind == "f":
            result._requires_grad = True
            result._node = Node(self, attrs, parents, self._keep(result, args, values, parents), out)
        return result

    def _keep(self, result: Tensor, args: Sequence[Any], values: list[Any], parents: list[Any]) -> list[Any]:
        """What the rules that will run read: [out, *inputs] as (value, version box, version), None elsewhere."""
        key = tuple([parent is not None for parent in parents])
        plan = self.plans.get(key)
        if plan is None:
            table = self.table * len(args) if self.variadic else self.table
            places = [k for entry, needed in zip(table, key, strict=True) if needed and entry for k in entry[1]]
            everything = list(range(1, len(args) + 1))  # what a rule of a variadic operation reads by its *name
            plan = everything if any(isinstance(k, slice) for k in places) else sorted(set(places))
            self.plans[key] = plan
        kept: list[Any] = [None] * (len(args) + 1)
        for k in plan:
            if k == 0:
                kept[0] = (result.data, result._version, 0)
            elif isinstance(args[k - 1], autograd.TensorType):
                box = args[k - 1]._version
                kept[k] = (values[k - 1], box, box[0])
            else:
                kept[k] = (values[k - 1], None, 0)
        return kept

    def _bind(self, args: Sequence[Any], attrs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Sort arguments into inputs and attributes, as Python's own call would."""
        if not self.variadic:
            n = len(self.inputs)
            if len(args) > n + len(self.attrs):
                raise TypeError(
                    f"{self.name}{self.__signature__} takes {n + len(self.attrs)} arguments, got {len(args)}"
                )
            attrs = {**dict(zip(self.attrs, args[n:], strict=False)), **attrs}
            missing = [name for name in self.inputs[len(args) :] if name not in attrs]
            if missing:
                raise TypeError(f"{self.name}{self.__signature__} misses {', '.join(missing)}")
            args = [*args[:n], *(attrs.pop(name) for name in self.inputs[len(args) :])]
        elif not args:
            raise TypeError(f"{self.name} needs at least one tensor")
        unknown = [name for name in attrs if name not in self.attrs]
        if unknown:
            raise TypeError(f"{self.name}{self.__signature__} has no argument {', '.join(unknown)}")
        return args, {**self.attrs, **attrs}

    def _coerce(self, args: Sequence[Any], attrs: dict[str, Any]) -> Tensor:
        """The rest of __call__: inputs that are no Tensor and no Python number."""
        if state.walking:  # a rule on plain arrays: just compute
            xp = backend.of(next(a for a in args if hasattr(a, "dtype"))).xp
            return cast("Tensor", self.forward(xp, *args, **attrs))
        device = next((a.device for a in args if isinstance(a, autograd.TensorType)), None)
        fresh: list[Any] = []
        for a in args:
            if isinstance(a, np.generic):
                fresh.append(a.item())  # NumPy's scalars are weak too: float32 * np.float64 stays float32
            elif a is None or isinstance(a, (autograd.TensorType, int, float)):
                fresh.append(a)
            else:
                fresh.append(autograd.TensorType(a, device=device if isinstance(a, (list, tuple)) else None))
        if not any(isinstance(a, autograd.TensorType) for a in fresh):
            fresh = [a if a is None else autograd.TensorType(a) for a in fresh]
        return self(*fresh, **attrs)

    def _align(self, values: list[Any]) -> list[Any]:
        """Bring arrays to one device (an error if they are not) and, as `cast` says, to one dtype."""
        arrays = [v for v in values if hasattr(v, "dtype")]
        homes = {backend.device_of(v): v for v in arrays}
        if len(homes) > 1:
            found = ", ".join(f"shape {v.shape} on {device}" for device, v in homes.items())
            raise backend.DeviceError(f"{self.name}: tensors on different devices ({found}); move one with .to(device)")
        if self.cast is None:
            return values
        floats = [v.dtype for v in arrays if v.dtype.kind == "f"]
        if floats:
            dtype = np.result_type(*floats)
        elif self.cast == "float" or any(isinstance(v, float) for v in values):
            dtype = np.dtype(np.float32)
        else:
            dtype = np.result_type(*(v.dtype for v in arrays))
        return [v.astype(dtype, copy=False) if hasattr(v, "dtype") else v for v in values]

    def _explain(self, error: Exception, args: Sequence[Any]) -> Exception:
        """The library's error with the operation's name and its operands before it."""
        kinds = (np.exceptions.AxisError, IndexError, TypeError, ValueError)
        kind = next(k for k in kinds if isinstance(error, k))
        what = ", ".join(f"Tensor{a.shape} {a.dtype}" if isinstance(a, autograd.TensorType) else repr(a) for a in args)
        remedy = next((f"; {text}" for sign, text in REMEDIES.items() if sign in str(error)), "")
        return kind(f"{self.name}: {error} (operands: {what}){remedy}")


REMEDIES = {  # what to do about NumPy's and CuPy's commonest errors
    "could not be broadcast": "shapes must agree from the right, or be 1 there: reshape() or expand_dims() one",
    "mismatch in its core dimension": "a @ b needs a.shape[-1] == b.shape[-2]: transpose or reshape one",
    "not aligned": "a @ b needs a.shape[-1] == b.shape[-2]: transpose or reshape one",
    "enough dimensions": "a @ b needs at least one dimension on both sides: use * for numbers",
    "out of bounds for a": "axes count from 0 to ndim - 1, or back from -1",
    "out of bounds for axis": "indices count from 0 to size - 1, or back from -1",
    "too many indices": "give at most ndim indices",
    "cannot reshape": "the sizes must multiply to the same number; one of them may be -1",
    "must match exactly": "all shapes must be equal but along the joined axis",
    "same shape": "reshape or broadcast_to() them first",
    "not supported for the input types": "convert with .astype()",
}


def op(*, cast: str | None = "common", **rules: Rule) -> Callable[[Callable[Concatenate[Any, P], Any]], Op[P]]:
    """Make an operation of `forward(xp, *inputs, **attributes)` and its rules, and put it in the registry."""

    def make(forward: Callable[Concatenate[Any, P], Any]) -> Op[P]:
        made = Op(forward, rules, cast)
        REGISTRY[made.name] = made
        return made

    return make


def composed(function: F) -> F:
    """Put a function made of operations into the registry: it needs no rule of its own."""
    REGISTRY[getattr(function, "__name__", "")] = function
    return function
