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

import functools
import inspect
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy import generic, ndarray

from . import autograd, backend
from .autograd import Node

if TYPE_CHECKING:
    from .tensor import Tensor

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])
Rule: TypeAlias = Callable[..., Any]
Plan: TypeAlias = tuple[Any, list[Any], list[int]]  # what keeps values, for each input its step back, what is kept
REGISTRY: dict[str, Callable[..., Any]] = {}  # every operation by its name: tests and docs walk it
_state = autograd._state
_new = object.__new__
_NO_ATTRS: dict[str, Any] = {}


def op(
    *, cast: str | None = "common", **rules: Rule | None
) -> Callable[[Callable[Concatenate[Any, P], Any]], Callable[P, Tensor]]:
    """Make an operation of `forward(xp, inputs, attributes)`, and put it in the registry. Parameters without a
    default are inputs (Tensors, arrays, numbers, None), those with one are attributes. `cast`: what is done to
    dtypes first. "common": inputs meet at one (integers take the floats'); "float": integers become float32."""

    def make(forward: Callable[Concatenate[Any, P], Any]) -> Callable[P, Tensor]:
        made = Op(forward, {name: rule for name, rule in rules.items() if rule is not None}, cast)
        run = made.__call__  # a method is called faster than an object

        @functools.wraps(forward)
        def call(*args: Any, **attrs: Any) -> Any:
            return run(args, attrs)

        call.__signature__ = inspect.Signature(made.parameters)  # type: ignore[attr-defined]
        call.op = made  # type: ignore[attr-defined]
        REGISTRY[forward.__name__] = call
        return call

    return make


def composed(function: F) -> F:
    """Put a function made of operations into the registry: it needs no rule of its own. Arguments that are named
    x, a or b may be anything that a Tensor can be made of."""
    names = {name for name in inspect.signature(function).parameters if name in ("x", "a", "b")}
    order = list(inspect.signature(function).parameters)

    def clean(name: str, value: Any) -> Any:
        value = value.item() if isinstance(value, generic) else value  # NumPy's scalars are weak
        return autograd.TensorType(value) if name in names and not isinstance(value, autograd.TensorType) else value

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        if not _state.walking:
            args = tuple([clean(name, value) for name, value in zip(order, args, strict=False)]) + args[len(order) :]
            named = {name: clean(name, value) for name, value in named.items()}
        return function(*args, **named)

    REGISTRY[call.__name__] = call
    return call  # type: ignore[return-value]


class Op:
    """What an operation is made of, and how it is called."""

    def __init__(self, forward: Callable[..., Any], rules: dict[str, Rule], cast: str | None) -> None:
        self.forward, self.rules, self.cast = forward, rules, cast
        # an operation that is one of NumPy's functions may name it, and saves two calls of Python's
        self.on_numpy = getattr(forward, "numpy", None) or functools.partial(forward, np)
        self.name = forward.__name__.lstrip("_")  # _reshape is how reshape is made: errors say reshape
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.parameters = [p.replace(annotation=p.empty) for p in parameters]
        self.signature = f"{self.name}{inspect.Signature(self.parameters)}"
        self.inputs = [p.name for p in self.parameters if p.default is p.empty]
        self.attrs = {p.name: p.default for p in self.parameters if p.default is not p.empty}
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in self.parameters)
        self.plain = -1 if self.attrs or self.variadic else len(self.inputs)  # so many arguments need no sorting out
        self.table = [self._compile(rules[name]) if name in rules else None for name in self.inputs]
        self.optional = self.inputs.index("bias") if "bias" in self.inputs else -1  # the one input that may be None
        taken = {"out", "shape", "i"} & set(self.inputs)
        if taken:
            raise TypeError(f"{self.name}: an input can't be called {taken.pop()!r}: rules mean other things by it")
        wrong = set(rules) - set(self.inputs)
        if wrong or (self.variadic and len(self.inputs) > 1):
            raise TypeError(
                f"{self.name} has inputs {self.inputs}: rules {sorted(rules)} must be for them, or *inputs alone"
            )
        self.plans: dict[int, Plan] = {}  # by which arguments need a gradient, a bit each

    def _compile(self, rule: Rule) -> tuple[Rule, list[int], list[str]]:
        """A rule, where in [*inputs, out] the values that it reads are, and the names of the rest."""
        names = inspect.getfullargspec(rule).args[1:]
        values = [n for n in names if n == "out" or n in self.inputs]
        rest = names[len(values) :]
        unclear = "shape" in rest and "shape" in self.attrs or self.variadic and "out" in names
        if names[: len(values)] != values or unclear or any(n not in (*self.attrs, "shape", "i") for n in rest):
            raise TypeError(
                f"a rule of {self.name} reads {names}: first 'out' or inputs {self.inputs}, "
                f"then 'shape', 'i' (which operand) or attributes {list(self.attrs)}"
            )
        return rule, [-1 if n == "out" else self.inputs.index(n) for n in values], rest

    def __call__(self, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Compute the output, and record how. All that happens here happens for every operation: so it is short."""
        if attrs or len(args) != self.plain:
            args, attrs = self._bind(args, attrs)
        tensor_type = autograd.TensorType
        values: list[Any] = []  # the arrays and numbers for the forward
        holders: list[Any] = []  # the Tensors that hold them
        parents: list[Any] = []  # the graph's edges
        mixed = weak = False
        mask, bit = 0, 1  # which arguments need a gradient
        first: Any = None
        for arg in args:
            if isinstance(arg, tensor_type):
                value = arg._data
                holders.append(arg)
                if first is None:
                    first, kind, dtype = value, type(value), value.dtype
                elif type(value) is not kind or (value.dtype is not dtype and self.cast is not None):
                    mixed = True
                if arg._requires_grad:
                    mask += bit
                    parents.append(arg._node or arg)
                else:
                    parents.append(None)
            else:
                value = arg
                holders.append(_Number)
                parents.append(None)
                if type(arg) is float or type(arg) is int:
                    weak = True
                elif type(arg) is not bool and (arg is not None or len(values) != self.optional):
                    return self._coerce(args, attrs)  # arrays, lists, NumPy scalars, rubbish: then begin again
            values.append(value)
            bit += bit
        if first is None:
            return self._coerce(args, attrs)
        try:
            if kind is ndarray:
                if mixed or ((weak or self.cast == "float") and dtype.kind != "f"):
                    values = self._align(values)
                out = self.on_numpy(*values, **attrs) if attrs else self.on_numpy(*values)
            else:
                with backend.on(first):
                    values = self._align(values)
                    out = self.forward(backend.of(first).xp, *values, **attrs)
                if backend.capturing.hooks is not None:
                    backend.capturing.met([arg for arg in args if isinstance(arg, tensor_type)], out)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise self._explain(error, args) from error
        if type(out) is not ndarray and isinstance(out, generic):  # without axes it makes scalars
            out = np.asarray(out)
        result = autograd.wrap(out)
        if out is first or out.base is not None:
            for arg in args:  # a view: who changes one in place has changed the other
                if isinstance(arg, tensor_type) and backend.share_memory(out, arg._data):
                    result._version, result._is_view = arg._version, True
        if mask and self.rules and _state.recording and out.dtype.kind == "f":
            plan = self.plans.get(mask) or self._plan(parents, mask)
            values.append(out)
            holders.append(result)
            node = _new(Node)  # its slots are filled here: a call of __init__ would cost as much as all of them
            node.op, node.plan, node.attrs, node.parents = self, plan, attrs or _NO_ATTRS, parents
            node.kept = plan[0](values, holders)
            node.shape, node.dtype, node._hooks, node.retain = out.shape, out.dtype, None, None
            result._requires_grad, result._node = True, node
        return result

    def _plan(self, parents: Sequence[Any], mask: int) -> Plan:
        """For the arguments that have parents: a function that keeps what their rules read, and for each its rule,
        a function that picks what it reads from what was kept, and the names of the rest."""
        n = len(parents)
        entries = [None if p is None else self.table[0 if self.variadic else i] for i, p in enumerate(parents)]
        keep = sorted({k for e in entries if e and e[1] for k in (range(n) if self.variadic else e[1])})
        if self.variadic:  # a rule reads all inputs at once, by the one name; too many plans to remember them
            return _keeper(keep), [e and (e[0], _all if e[1] else _picker([]), e[2]) for e in entries], keep
        steps = [e and (e[0], _picker([keep.index(k) for k in e[1]]), e[2]) for e in entries]
        self.plans[mask] = plan = _keeper(keep), steps, keep
        return plan

    def _bind(self, args: Sequence[Any], attrs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Sort arguments into inputs and attributes, as Python's own call would."""
        n = len(self.inputs)
        if self.variadic or len(args) != n or not attrs.keys() <= self.attrs.keys():  # else they are sorted already
            args, attrs = self._sort(args, attrs, n)
        if not attrs:
            return args, self.attrs
        for name, value in attrs.items():
            if isinstance(value, (generic, ndarray)) and value.ndim == 0:
                attrs[name] = value.item()  # weak, and not to be changed later
        return args, {**self.attrs, **attrs}

    def _sort(self, args: Sequence[Any], attrs: dict[str, Any], n: int) -> tuple[Sequence[Any], dict[str, Any]]:
        if not self.variadic:
            if len(args) > n + len(self.attrs):
                most = n + len(self.attrs)
                raise TypeError(f"{self.signature} takes {most} argument{'s'[: most > 1]} at most, got {len(args)}")
            placed = dict(zip(self.attrs, args[n:], strict=False))
            twice = [name for name in (*self.inputs[: len(args)], *placed) if name in attrs]
            if twice:
                raise TypeError(f"{self.signature} got {', '.join(twice)} twice")
            attrs = {**placed, **attrs}
            missing = [name for name in self.inputs[len(args) :] if name not in attrs]
            if missing:
                raise TypeError(f"{self.signature} misses {', '.join(missing)}")
            args = [*args[:n], *(attrs.pop(name) for name in self.inputs[len(args) :])]
        unknown = [name for name in attrs if name not in self.attrs]
        if unknown:
            raise TypeError(
                f"{self.signature} has no argument {', '.join(unknown)}; axis and keepdims are NumPy's names"
            )
        return args, attrs

    def _coerce(self, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The rest of __call__: inputs that are no Tensor and no Python number."""
        if _state.walking:  # a rule on plain arrays: just compute
            for a in args:
                if type(a) is ndarray:
                    return self.on_numpy(*args, **attrs)
            return self.forward(backend.of(next(a for a in args if hasattr(a, "dtype"))).xp, *args, **attrs)
        tensor_type = autograd.TensorType
        device = next((a.device for a in args if isinstance(a, tensor_type)), None)
        fresh: list[Any] = []
        for k, a in enumerate(args):
            if a is None and k != self.optional:
                raise TypeError(f"{self.name}: an operand is None, not a tensor, array or number")
            if isinstance(a, generic):  # NumPy's scalars are weak too: float32 * np.float64 stays float32
                if a.dtype.kind not in "fiub":
                    raise TypeError(
                        f"{self.name}: an operand is {a!r}; tensors hold real numbers, not complex or others"
                    )
                fresh.append(float(a) if a.dtype.kind == "f" else a.item())
            elif a is None or isinstance(a, (tensor_type, bool)):
                fresh.append(a)
            elif isinstance(a, (int, float)):  # an IntEnum, a subclass of float
                fresh.append(int(a) if isinstance(a, int) else float(a))
            else:
                fresh.append(tensor_type(a, device=device if isinstance(a, (list, tuple)) else None))
        if not any(isinstance(a, tensor_type) for a in fresh):
            fresh = [a if a is None else tensor_type(a) for a in fresh]
        return self(fresh, attrs)

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
        stay = "b" if floats and self.cast == "common" else ""  # a mask is fine as it is
        return [v.astype(dtype, copy=False) if hasattr(v, "dtype") and v.dtype.kind != stay else v for v in values]

    def _explain(self, error: Exception, args: Sequence[Any]) -> Exception:
        """The library's error with the operation's name, its operands, and what to do."""
        kinds = (np.exceptions.AxisError, IndexError, TypeError, ValueError, OverflowError)
        kind = next(k for k in kinds if isinstance(error, k))
        tensor_type = autograd.TensorType
        what = ", ".join(f"Tensor{a.shape} {a.dtype}" if isinstance(a, tensor_type) else repr(a) for a in args)
        remedy = next((f"; {text}" for sign, text in REMEDIES.items() if sign in str(error)), "")
        return kind(f"{self.name}: {error} (operands: {what}){remedy}")


class _Number:
    """In a Tensor's place where an operand is a number: nobody changes it."""

    _version = (0,)


def _keeper(places: list[int]) -> Callable[[Any, Any], tuple[Any, ...]]:
    """A function of all values and the Tensors that hold them. It keeps those at these places, in a flat tuple: value,
    the box that counts its changes in place, count so far ... No loop for one and two, by far the commonest."""
    if len(places) == 1:
        (k,) = places
        return lambda values, holders: (values[k], box := holders[k]._version, box[0])
    if len(places) == 2:
        i, j = places
        return lambda values, holders: (
            values[i], box := holders[i]._version, box[0], values[j], box := holders[j]._version, box[0],
        )  # fmt: skip
    return lambda values, holders: tuple(
        [x for k in places for x in (values[k], holders[k]._version, holders[k]._version[0])]
    )


def _picker(places: list[int]) -> Callable[[Any], Any]:
    """A function that picks the values at these places from what a _keeper kept, as a sequence."""
    at = [slice(3 * k, 3 * k + 1) for k in places[:1]] if len(places) < 2 else [3 * k for k in places]
    return itemgetter(*at or [slice(0)])  # of several keys: a tuple; a slice: a list


def _all(kept: Any) -> tuple[Any, ...]:
    return (kept[0::3],)


REMEDIES = {  # what to do about NumPy's and CuPy's commonest errors
    "could not be broadcast": "shapes must agree from the right, or be 1 there: reshape() or expand_dims() one",
    "mismatch in its core dimension": "a @ b needs a.shape[-1] == b.shape[-2]: transpose or reshape one",
    "not aligned": "a @ b needs a.shape[-1] == b.shape[-2]: transpose or reshape one",
    "enough dimensions": "a @ b needs at least one dimension on both sides: use * for numbers",
    "out of bounds for array": "axes count from 0 to ndim - 1, or back from -1",
    "out of bounds for axis": "indices count from 0 to size - 1, or back from -1",
    "too many indices": "give at most ndim indices",
    "cannot reshape": "the sizes must multiply to the same number; one of them may be -1",
    "one unknown dimension": "only one of the sizes may be -1",
    "not equal to one": "only axes of size 1 can be squeezed",
    "'list' object cannot be interpreted": "give axes as a tuple",
    "boolean index did not match": "a mask needs the sizes of the axes that it stands for",
    "negative integer powers": "convert with .astype('float32') first",
    "out of bounds for int": "convert with .astype() to a wider dtype first",
    "out of bounds for uint": "convert with .astype() to a wider dtype first",
    "must match exactly": "all shapes must be equal but along the joined axis",
    "same shape": "reshape or broadcast_to() them first",
    "not supported for the input types": "convert with .astype()",
}
