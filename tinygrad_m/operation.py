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
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import numpy as np

from . import autograd, backend
from .autograd import Node
from .backend import Array

if TYPE_CHECKING:
    from .tensor import Tensor

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])
Rule: TypeAlias = Callable[..., Any]
Plan: TypeAlias = tuple[list[int], list[Any]]  # which of [out, *inputs] to keep, and for each input its rule
REGISTRY: dict[str, Callable[..., Any]] = {}  # every operation by its name: tests and docs walk it
_state = autograd._state
_NO_ATTRS: dict[str, Any] = {}


def op(
    *, cast: str | None = "common", **rules: Rule | None
) -> Callable[[Callable[Concatenate[Any, P], Any]], Callable[P, Tensor]]:
    """Make an operation of `forward(xp, inputs, attributes)`, and put it in the registry. Parameters without a
    default are inputs (Tensors, arrays, numbers, None), those with one are attributes. `cast`: what is done to
    dtypes first. "common": inputs meet at one (integers take the floats'); "float": integers become float32."""

    def make(forward: Callable[Concatenate[Any, P], Any]) -> Callable[P, Tensor]:
        made = Op(forward, {name: rule for name, rule in rules.items() if rule is not None}, cast)

        @functools.wraps(forward)
        def call(*args: Any, **attrs: Any) -> Any:
            return made(args, attrs)

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
        value = value.item() if isinstance(value, np.generic) else value  # NumPy's scalars are weak
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
        self.name = forward.__name__.lstrip("_")  # _reshape is how reshape is made: errors say reshape
        parameters = list(inspect.signature(forward).parameters.values())[1:]
        self.parameters = [p.replace(annotation=p.empty) for p in parameters]
        self.signature = f"{self.name}{inspect.Signature(self.parameters)}"
        self.inputs = [p.name for p in self.parameters if p.default is p.empty]
        self.attrs = {p.name: p.default for p in self.parameters if p.default is not p.empty}
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in self.parameters)
        self.table = [self._compile(rules[name]) if name in rules else None for name in self.inputs]
        self.optional = self.inputs.index("bias") if "bias" in self.inputs else -1  # the one input that may be None
        wrong = set(rules) - set(self.inputs)
        if wrong or (self.variadic and len(self.inputs) > 1):
            raise TypeError(
                f"{self.name} has inputs {self.inputs}: rules {sorted(rules)} must be for them, or *inputs alone"
            )
        self.plans: dict[int, Plan] = {}  # by which arguments need a gradient, a bit each

    def _compile(self, rule: Rule) -> tuple[Rule, list[int], list[str]]:
        """A rule, where in [out, *inputs] the values that it reads are, and the names of the rest."""
        names = inspect.getfullargspec(rule).args[1:]
        values = [n for n in names if n == "out" or n in self.inputs]
        rest = names[len(values) :]
        unclear = "shape" in rest and "shape" in self.attrs or self.variadic and "out" in names
        if names[: len(values)] != values or unclear or any(n not in (*self.attrs, "shape", "i") for n in rest):
            raise TypeError(
                f"a rule of {self.name} reads {names}: first 'out' or inputs {self.inputs}, "
                f"then 'shape', 'i' (which operand) or attributes {list(self.attrs)}"
            )
        return rule, [0 if n == "out" else 1 + self.inputs.index(n) for n in values], rest

    def __call__(self, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
        if self.attrs or attrs or len(args) != len(self.inputs):
            args, attrs = self._bind(args, attrs)
        values: list[Any] = []  # the arrays and numbers for the forward
        parents: list[Any] = []  # the graph's edges
        mixed = weak = False
        mask, bit = 0, 1  # which arguments need a gradient
        first: Any = None
        tensor_type = autograd.TensorType
        for arg in args:
            if isinstance(arg, tensor_type):
                value = arg._data
                if first is None:
                    first = value
                elif value.dtype is not first.dtype or type(value) is not type(first):
                    mixed = True
                if arg._requires_grad:
                    mask += bit
                    parents.append(arg._node or arg)
                else:
                    parents.append(None)
            elif type(arg) is float or type(arg) is int:
                value, weak = arg, True
                parents.append(None)
            elif type(arg) is bool or (arg is None and len(values) == self.optional):
                value = arg
                parents.append(None)
            else:  # arrays, lists, NumPy scalars, rubbish: sort them out, then begin again
                return self._coerce(args, attrs)
            values.append(value)
            bit += bit
        if first is None:
            return self._coerce(args, attrs)
        try:
            if type(first) is np.ndarray:
                if mixed or ((weak or self.cast == "float") and first.dtype.kind != "f"):
                    values = self._align(values)
                out = self.forward(np, *values, **attrs)
            else:
                with backend.on(first):
                    values = self._align(values)
                    out = self.forward(backend.of(first).xp, *values, **attrs)
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise self._explain(error, args) from error
        if isinstance(out, np.generic):  # a full reduction gives NumPy's scalar
            out = np.asarray(out)
        result = autograd.wrap(out)
        if out is first or out.base is not None:
            for arg in args:  # a view: who changes one in place has changed the other
                if isinstance(arg, tensor_type) and backend.share_memory(out, arg._data):
                    result._version, result._is_view = arg._version, True
        if mask and self.rules and _state.recording and out.dtype.kind == "f":
            self._record(result, out, args, values, parents, mask, attrs)
        return result

    def _record(self, result: Any, out: Array, args: Any, values: Any, parents: Any, mask: int, attrs: Any) -> None:
        """Put the result into the graph. Few objects, as the garbage collector looks at each of them."""
        plan = self._plan(parents) if self.variadic else self.plans.get(mask)
        if plan is None:
            plan = self.plans[mask] = self._plan(parents)
        kept: list[Any] = []
        for k in plan[0]:
            tensor = args[k - 1] if k else result
            if isinstance(tensor, autograd.TensorType):
                box = tensor._version
                kept += (values[k - 1] if k else out, box, box[0])
            else:
                kept += (tensor, None, 0)
        result._requires_grad = True
        result._node = Node(self, plan, attrs or _NO_ATTRS, tuple(parents), tuple(kept), out)

    def _plan(self, parents: Sequence[Any]) -> Plan:
        """For the arguments that have parents: what to keep, and their rules with the places of what each reads
        among that. A rule of a variadic operation reads all inputs at once, by the one name: place None."""
        n = len(parents)
        entries = [None if p is None else self.table[0 if self.variadic else i] for i, p in enumerate(parents)]
        keep = sorted({k for e in entries if e and e[1] for k in (range(1, n + 1) if self.variadic else e[1])})
        if self.variadic:
            return keep, [e and (e[0], None if e[1] else [], e[2]) for e in entries]
        return keep, [e and (e[0], [keep.index(k) for k in e[1]], e[2]) for e in entries]

    def _bind(self, args: Sequence[Any], attrs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Sort arguments into inputs and attributes, as Python's own call would."""
        if not self.variadic:
            n = len(self.inputs)
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
        for name, value in attrs.items():
            if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
                attrs[name] = value.item()  # weak, and not to be changed later
        return args, {**self.attrs, **attrs}

    def _coerce(self, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The rest of __call__: inputs that are no Tensor and no Python number."""
        if _state.walking:  # a rule on plain arrays: just compute
            xp = backend.of(next(a for a in args if hasattr(a, "dtype"))).xp
            return self.forward(xp, *args, **attrs)
        tensor_type = autograd.TensorType
        device = next((a.device for a in args if isinstance(a, tensor_type)), None)
        fresh: list[Any] = []
        for k, a in enumerate(args):
            if a is None and k != self.optional:
                raise TypeError(f"{self.name}: an operand is None, not a tensor, array or number")
            if isinstance(a, np.generic):  # NumPy's scalars are weak too: float32 * np.float64 stays float32
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
