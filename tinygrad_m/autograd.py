"""The graph: what was computed from what, and the walk back over it that applies the chain rule. This file
lets you call backward() and grad(), and switch recording off with no_grad. A Node is one recorded operation;
the walk visits each once, after everything that consumes it, in time linear in nodes and edges, without
recursion. operation.py (who makes the nodes, and what a rule is) is the file to read beside this one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from . import backend
from .backend import Array

if TYPE_CHECKING:
    from .operation import Op
    from .tensor import Tensor

Vertex: TypeAlias = "Node | Tensor"  # of the graph: what an operation did, or a leaf tensor
Operand: TypeAlias = Any  # Tensor, array or Python number

TensorType: Any = None  # tensor.py puts Tensor and its quick constructor here: the graph makes
wrap: Any = None  # tensors, but imports nothing from above


class GraphError(RuntimeError):
    """The graph cannot be walked: never recorded, freed already, or changed in place since."""


class _State(threading.local):
    recording = True  # do operations record themselves?
    walking = False  # is a walk running rules on plain arrays?

    def __init__(self) -> None:
        self.before: list[bool] = []  # what to go back to after each no_grad; runs once in every thread


_state = _State()


class no_grad(ContextDecorator):
    """`with no_grad():` (or `@no_grad()`) operations of this thread are not recorded."""

    _recording = False

    def __init__(self, *function: Any) -> None:
        if function:
            raise TypeError(f"write @{type(self).__name__}() with brackets, or `with {type(self).__name__}():`")

    def __enter__(self) -> None:
        _state.before.append(_state.recording)
        _state.recording = self._recording

    def __exit__(self, *exc: object) -> None:
        _state.recording = _state.before.pop()


class enable_grad(no_grad):
    """`with enable_grad():` operations are recorded, also inside no_grad."""

    _recording = True


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded."""
    return _state.recording


# -- the graph ------------------------------------------------------------------------------------


class Node:
    """One recorded operation. It knows its parents and what its rules read, never its own Tensor: so the
    graph has no cycle, and is freed as soon as nobody holds its end."""

    # kept: what rules will read, as operation.py's _keeper says: value, box, count ... and Op fills the slots
    __slots__ = ("op", "plan", "attrs", "parents", "kept", "shape", "dtype", "_hooks", "retain")
    op: Op
    plan: Any
    attrs: dict[str, Any]
    parents: list[Vertex | None]
    kept: tuple[Any, ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _hooks: list[list[Callable[[Tensor], Tensor | None]]] | None
    retain: Callable[[], Tensor | None] | None  # weak reference to a Tensor that wants its .grad

    def saved(self) -> tuple[Any, ...]:
        """What was kept, if it is still there and as it was."""
        kept = self.kept
        if kept is None:
            raise GraphError(
                f"the graph was freed by an earlier backward (met at {self.op.name}): "
                "say retain_graph=True in the first one, or compute the loss again"
            )
        for k in range(0, len(kept), 3):
            if kept[k + 1][0] != kept[k + 2]:
                raise GraphError(
                    f"{self.op.name} needs a tensor of shape {kept[k].shape} as it was, but it was changed in place "
                    "after that: change it after backward, or change a copy (t.clone())"
                )
        return kept

    def _tensor(self, k: int, value: Any, box: list[int]) -> Any:
        """A kept value as it stood in the graph: k is the number of the argument, or -1 for the output."""
        if not hasattr(value, "dtype"):
            return value
        source: Any = self if k < 0 else self.parents[k]
        if isinstance(source, TensorType):
            if source._version is not box:
                raise GraphError(f"{self.op.name} needs a leaf that has since become a computed tensor in place")
            return source
        tensor = wrap(value)
        tensor._node, tensor._requires_grad, tensor._version = source, source is not None, box
        return tensor

    def pull(self, g: Any, walk: _Walk) -> None:
        """The chain rule: from `g`, the gradient of the output, the gradient of each parent, added to what it has."""
        kept, create_graph, useful = self.saved(), walk.create_graph, walk.useful
        grads, pending = walk.grads, walk.pending
        if create_graph:
            entries = zip(self.plan[2], kept[0::3], kept[1::3], strict=True)
            kept = tuple([x for k, value, box in entries for x in (self._tensor(k, value, box), box, 0)])
        i = -1
        for parent in self.parents:
            i += 1
            if parent is None or (useful is not None and parent not in useful):
                continue
            step = self.plan[1][i]
            if step is None:
                op = self.op
                raise GraphError(f"{op.name} has no derivative for its argument {op.inputs[i]!r}: detach() it first")
            rule, pick, rest = step
            if rest:
                extra = {"shape": parent.shape, "i": i, **self.attrs}
                grad = rule(g, *pick(kept), *[extra[name] for name in rest])
            else:
                grad = rule(g, *pick(kept))
            if grad.shape != parent.shape:
                grad = sum_to(grad, parent.shape, self.op.name)
            if grad.dtype is not parent.dtype and grad.dtype != parent.dtype:
                grad = grad.astype(parent.dtype)
            elif grad is g and not create_graph:
                grad = g[...]  # a view: two parents must not think that they own the same array
            before = grads.get(parent)
            grads[parent] = grad if before is None else before + grad
            pending[parent] = left = pending[parent] - 1
            if left == 0:
                walk.ready.append(parent)


def sum_to(g: Any, shape: tuple[int, ...], name: str = "sum_to") -> Any:
    """Undo broadcasting: sum `g` (array or Tensor) over the axes along which `shape` was stretched."""
    lead = len(g.shape) - len(shape)
    if lead < 0 and set(shape[:-lead]) == {1}:  # NumPy assigns (1, 3) to a row of 3
        return sum_to(g, shape[-lead:], name).reshape(shape)
    if lead > 0 and g.shape[lead:] == shape:  # new axes alone, as before a bias
        return g.sum(axis=0 if lead == 1 else tuple(range(lead)))
    axes = tuple(k for k, n in enumerate(g.shape) if k < lead or (shape[k - lead] == 1 and n != 1))
    total = g.sum(axis=axes, keepdims=True) if axes else g
    if lead < 0 or total.shape[lead:] != shape:
        raise GraphError(f"the rule of {name} gave a gradient of shape {g.shape} for an argument of shape {shape}")
    return total.reshape(shape)


# -- the walk -------------------------------------------------------------------------------------


class _Walk:
    """One walk back over a graph, and what is known while it lasts."""

    def __init__(self, seeds: dict[Any, Any], create_graph: bool) -> None:
        self.create_graph = create_graph
        self.grads = seeds  # of vertices that have been reached
        self.pending: dict[Vertex, int] = dict.fromkeys(seeds, 0)  # edges into a vertex that are still to come
        self.ready: list[Any] = []  # vertices whose gradient is complete
        self.useful: set[Vertex] | None = None  # None: all
        pending, stack = self.pending, [v for v in seeds if type(v) is Node]
        while stack:
            for parent in stack.pop().parents:
                if parent in pending:
                    pending[parent] += 1
                elif parent is not None:
                    pending[parent] = 1
                    if type(parent) is Node:
                        stack.append(parent)

    def run(self, targets: set[Vertex] | None, retain_graph: bool) -> dict[Vertex, Any]:
        """Carry gradients back, each vertex once, after all that consume it. Without `targets` they are added to the
        leaves' .grad; with them nothing is touched, and the targets' gradients are returned."""
        if targets is not None:
            self.useful = _leading_to(targets, self.pending)
            self.grads = {v: g for v, g in self.grads.items() if v in self.useful}
        grads, ready, create_graph, found = self.grads, self.ready, self.create_graph, {}
        ready += [v for v in grads if self.pending[v] == 0]
        while ready:
            vertex = ready.pop()
            g = grads.pop(vertex)
            if vertex._hooks:
                for hook in [hook for entry in vertex._hooks for hook in entry]:
                    g = _call_hook(hook, g, create_graph)
            if targets is not None and vertex in targets:
                found[vertex] = g
            if type(vertex) is not Node:
                if targets is None:
                    _accumulate(vertex, g)
                continue
            if self.useful is not None and not any(p in self.useful for p in vertex.parents):
                continue  # a target: what lies before it stays as it is
            keeper = vertex.retain() if vertex.retain is not None and targets is None else None
            if keeper is not None:
                _accumulate(keeper, g if create_graph else g[...])  # g goes on: .grad must not share it
            if isinstance(g, np.generic):  # NumPy computes faster with arrays than with its own scalars
                g = np.asarray(g)
            if create_graph or type(g) is np.ndarray:
                vertex.pull(g, self)
            else:
                with backend.on(g):
                    vertex.pull(g, self)
            if not retain_graph:
                vertex.kept, vertex.attrs = None, {}  # attributes hold arrays, too: indices, where a pool's maxima were
        return found


def _leading_to(targets: set[Vertex], reached: Iterable[Vertex]) -> set[Vertex]:
    """The vertices from which a target can be reached: the others' gradients are nobody's."""
    consumers: dict[Vertex, list[Vertex]] = {}
    for vertex in reached:
        for parent in getattr(vertex, "parents", ()):
            if parent is not None:
                consumers.setdefault(parent, []).append(vertex)
    useful = targets & set(reached)
    stack = list(useful)
    while stack:
        for vertex in consumers.get(stack.pop(), ()):
            if vertex not in useful:
                useful.add(vertex)
                stack.append(vertex)
    return useful


def _call_hook(hook: Callable[[Tensor], Tensor | None], g: Any, create_graph: bool) -> Any:
    """A hook gets a Tensor of its own (writing into it harms nobody) and may return another in its place."""
    walking, _state.walking = _state.walking, False
    try:
        given = g.clone() if create_graph else wrap(_own(g[...]))
        answer = hook(given)
    finally:
        _state.walking = walking
    if answer is None:
        return g
    if not isinstance(answer, TensorType) or answer.shape != g.shape:
        raise GraphError(f"a hook must return None or a Tensor of shape {g.shape}, got {answer!r}")
    answer = answer if answer.dtype == g.dtype else answer.astype(g.dtype)
    return answer if create_graph else answer.data[...]  # a view: what was returned is the hook's own


def _own(g: Any) -> Array:
    """The array if nobody else can see its memory, else a copy. Gradients travel as views and shared arrays."""
    if isinstance(g, np.generic):
        return np.asarray(g)
    if g.base is None:
        return g
    alone = _holders(g) == _ONE_HOLDER and g.size == getattr(g.base, "size", None)
    if alone and getattr(g.flags, "writeable", True):  # CuPy has no such flag
        return g
    with backend.on(g):
        return g.copy(order="K")


def _holders(view: np.ndarray) -> int:
    """How many references there are to the array whose memory this is a view of (more by some constant)."""
    return sys.getrefcount(view.base)


_ONE_HOLDER = _holders(np.empty(1)[...])  # when the view is all that there is, as of a product's transpose
_adding = threading.Lock()  # threads may share leaves


def _accumulate(leaf: Tensor, g: Any) -> None:
    """leaf.grad += g, as a new array: a reference to the old gradient keeps its values."""
    with _adding:
        old = leaf._grad
        if backend.capturing.hooks is not None:
            if old is not None and id(leaf) not in backend.capturing.leaves:
                raise backend.CaptureError(
                    f"a tensor of shape {leaf.shape} has a gradient from before the captured step, which each replay "
                    "would add to: call zero_grad() in the step, or before each call of it"
                )
            backend.capturing.leaves[id(leaf)] = leaf
        if isinstance(g, TensorType):
            leaf._grad = g.clone() if old is None else old + g
        elif old is None:
            leaf._grad = wrap(_own(g))
        else:
            with backend.on(g):
                leaf._grad = wrap(_own(old.data + g))


def _seed(output: Tensor, gradient: Operand, create_graph: bool) -> tuple[Vertex, Any]:
    """The vertex of an output and the gradient that starts there, checked."""
    if not isinstance(output, TensorType):
        raise TypeError(f"gradients start from a Tensor, not {type(output).__name__} {output!r}")
    if isinstance(gradient, bool):
        raise TypeError(f"gradient={gradient!r} is no gradient: did you mean retain_graph={gradient!r}?")
    vertex = output._node or output
    if not output._requires_grad:
        raise GraphError(
            f"a tensor of shape {output.shape} does not require grad: set requires_grad=True on what it is computed "
            "from, and compute it outside no_grad()"
        )
    if isinstance(vertex, Node) and vertex.kept is None:
        vertex.saved()  # raises: freed
    if gradient is None:
        if output.data.size != 1:
            raise GraphError(
                f"backward from a tensor of shape {output.shape} needs a gradient of that shape: reduce it first, "
                "as in loss.mean().backward(), or pass gradient="
            )
        data = output.data
        with backend.on(data):
            one = (np if type(data) is np.ndarray else backend.of(data).xp).ones(data.shape, data.dtype)
        return vertex, wrap(one) if create_graph else one
    if not isinstance(gradient, TensorType):
        gradient = TensorType(gradient, dtype=output.dtype, device=output.device)
    if gradient.shape != output.shape:
        raise GraphError(f"the gradient has shape {gradient.shape}, the tensor {output.shape}: they must be equal")
    if gradient.device != output.device:
        raise backend.DeviceError(f"the gradient is on {gradient.device}, the tensor on {output.device}: use .to()")
    if gradient.dtype != output.dtype:
        gradient = gradient.astype(output.dtype)
    return vertex, gradient.clone() if create_graph else gradient.data[...]


def _run(
    outputs: Sequence[Tensor], gradients: Sequence[Operand], targets: set[Vertex] | None, retain: bool, create: bool
) -> dict[Vertex, Any]:
    """A walk with this thread's state set for it: rules are recorded, or just compute."""
    seeds: dict[Vertex, Any] = {}
    for output, gradient in zip(outputs, gradients, strict=True):
        vertex, g = _seed(output, gradient, create)
        seeds[vertex] = seeds[vertex] + g if vertex in seeds else g
    before = _state.recording, _state.walking
    _state.recording, _state.walking = create, not create
    try:
        with np.errstate(all="ignore"):  # 0 * inf in a rule gives nan, as in PyTorch, without a warning
            return _Walk(seeds, create).run(targets, retain)
    finally:
        _state.recording, _state.walking = before


def backward(
    tensor: Tensor, gradient: Operand = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add d(tensor)/d(leaf) to the .grad of every leaf that `tensor` was computed from. See Tensor.backward."""
    _run([tensor], [gradient], None, create_graph if retain_graph is None else retain_graph, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Operand = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """The gradients of sum(outputs * grad_outputs) with respect to `inputs` (leaves or not), and nothing else:
    no .grad is touched. A Tensor for a Tensor, a tuple for a sequence. create_graph=True: they can be
    differentiated again. An input that the outputs do not depend on is an error, or None with allow_unused."""
    outs: list[Any] = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    ins: list[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    gradients: list[Any] = [grad_outputs] * len(outs) if grad_outputs is None else [grad_outputs]
    if isinstance(outputs, (list, tuple)) and grad_outputs is not None:
        if not isinstance(grad_outputs, (list, tuple)):
            raise TypeError(f"grad_outputs must be a list, one for each of the {len(outs)} outputs, or None")
        gradients = list(grad_outputs)
    if len(gradients) != len(outs):
        raise ValueError(
            f"grad() got {len(outs)} outputs but {len(gradients)} grad_outputs: give one for each, or None"
        )
    for k, t in enumerate(ins):
        if not isinstance(t, TensorType) or not t.requires_grad:
            what = f"Tensor{t.shape}" if isinstance(t, TensorType) else type(t).__name__
            raise GraphError(
                f"input {k} of grad() ({what}) does not require grad: set requires_grad=True before computing"
            )
    vertices = [t._node or t for t in ins]
    found = _run(outs, gradients, set(vertices), create_graph if retain_graph is None else retain_graph, create_graph)
    unused = [k for k, v in enumerate(vertices) if v not in found]
    if unused and not allow_unused:
        raise GraphError(
            f"the outputs do not depend on input {unused[0]} of grad(): pass allow_unused=True to get None"
        )
    seen: set[int] = set()
    got = [None if v not in found else _given_away(found[v], seen) for v in vertices]
    return tuple(got) if isinstance(inputs, (list, tuple)) else got[0]


def _given_away(g: Any, seen: set[int]) -> Tensor:
    """A gradient as a Tensor whose memory no other result shares."""
    if not isinstance(g, TensorType):
        g = wrap(_own(g))
    if id(g.data) in seen or g.data.base is not None:
        with enable_grad():  # grad(create_graph=True) inside no_grad(): the copy is part of the graph too
            g = g.clone()
    seen.add(id(g.data))
    return cast("Tensor", g)
