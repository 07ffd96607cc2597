"""A training step as one CUDA graph: recorded once, then started by one call instead of hundreds. On a GPU a small
network's step is mostly the time that Python and CUDA take to start each kernel; a graph takes that away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import backend
from .autograd import is_grad_enabled
from .backend import Array, CaptureError
from .cudnn import get_convolution
from .tensor import Tensor, wrap


class _Recording(NamedTuple):
    """A graph; the arrays that it reads and the result that it writes; what the host does before each replay; Tensors
    from outside whose memory is in the graph, each with that; what .grad is afterwards; and the memory pool, which must
    live as long as the graph: its memory is the graph's alone."""

    graph: Any
    inputs: list[Array]
    result: Any
    hooks: list[Callable[[], None]]
    outside: list[tuple[Tensor, Array]]
    grads: list[tuple[Tensor, Tensor | None]]
    pool: Any


class capture:
    """Record `step` when it is called for the first few times, and replay it afterwards:

        @tg.capture
        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        for x, y in loader:
            loss = step(x, y)

    Its arguments are Tensors on one GPU; what it returns (a Tensor, a tuple, list or dict of them, or None) is new in
    each call. On the CPU the step is just called. The first `warmup` calls run as usual (kernels are compiled, the
    optimizer's state is made); the next one records, and it and all later ones replay. Arguments of another shape or
    dtype, such as a last, smaller batch, are warmed up and recorded by themselves, and so are calls inside autocast().

    A replay does on the GPU what was recorded, with the arguments' new values. What is done on the host happens once,
    when the step is recorded, except: the optimizer's settings and count of steps, so that schedules work (call
    scheduler.step() outside), and dropout's seeds. So choose no branch by a value, append to no list and print nothing
    in the step. Optimizers: SGD, RMSprop, Adam, AdamW, on float32 or float64.

    Raises CaptureError if the step waits for the GPU (.item(), print(loss)), moves data there, adds to gradients from
    before it, or steps an optimizer whose settings would be frozen; and when a replay would work on memory that is no
    longer a parameter's or an optimizer's, after model.to() or optimizer.load_state_dict(): capture the step again."""

    def __init__(self, step: Callable[..., Any], warmup: int = 3) -> None:
        if not callable(step):
            raise TypeError(f"capture() takes a function of Tensors, not {step!r}")
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 1:
            raise ValueError(f"warmup must be a whole number of at least 1, not {warmup!r}")
        self.step, self.warmup = step, warmup
        self.__name__, self.__doc__ = getattr(step, "__name__", "step"), step.__doc__
        self._calls: dict[Any, int] = {}  # by the modes, shapes and dtypes: how often it ran as usual
        self._recordings: dict[Any, _Recording] = {}

    def __call__(self, *tensors: Tensor) -> Any:
        homes = {t.device if isinstance(t, Tensor) else repr(t) for t in tensors}
        on_gpu = any(isinstance(t, Tensor) and t.device != "cpu" for t in tensors)
        if not on_gpu or backend.capturing.hooks is not None:  # inside of another captured step it is a part of that
            return self.step(*tensors)
        if len(homes) > 1:
            raise CaptureError(
                f"{self.__name__}: all arguments must be Tensors on one GPU, got {', '.join(sorted(homes))}"
            )
        from .amp import autocasting  # here, as many scripts do without

        modes = autocasting.on, is_grad_enabled(), backend.get_float32_matmul_precision(), get_convolution()
        signature = modes, *((t.shape, t.dtype, t.requires_grad, t.device) for t in tensors)
        calls = self._calls.get(signature, 0)
        if calls < self.warmup:
            self._calls[signature] = calls + 1
            backend.capturing.rehearsal = calls + 1 == self.warmup
            try:
                return self.step(*tensors)
            finally:
                backend.capturing.rehearsal = False
        with backend.on(tensors[0].data):
            if signature not in self._recordings:
                self._recordings[signature] = self._record(tensors)
            return self._replay(self._recordings[signature], tensors)

    def _replay(self, recording: _Recording, tensors: tuple[Tensor, ...]) -> Any:
        for t, array in recording.outside:
            if t.data is not array:
                raise CaptureError(
                    f"{self.__name__} was recorded with a tensor of shape {array.shape} that now has other memory, on "
                    f"{t.device}: capture the step again, after model.to() and the like"
                )
        for held, t in zip(recording.inputs, tensors, strict=True):
            held[...] = t.data
        for hook in recording.hooks:
            hook()
        recording.graph.launch()
        for leaf, grad in recording.grads:
            leaf._grad = grad
        return _copied(recording.result)

    def _record(self, tensors: tuple[Tensor, ...]) -> _Recording:
        xp = backend.of(tensors[0].data).xp
        inputs = [t.data.copy() for t in tensors]
        stream, pool, state = xp.cuda.Stream(non_blocking=True), xp.cuda.MemoryPool(), backend.capturing
        with xp.cuda.using_allocator(pool.malloc), stream:
            stream.begin_capture()
            hooks = state.begin()
            try:
                result = self.step(*[_like(t, a) for t, a in zip(tensors, inputs, strict=True)])
            except CaptureError:
                raise
            except (RuntimeError, NotImplementedError) as error:
                raise CaptureError(
                    f"{self.__name__} can't be captured ({type(error).__name__}: {error}). It may wait for the GPU, by "
                    ".item(), print(), or a branch on a value, or use what CuPy can't capture: find it in the traceback"
                ) from error
            finally:
                state.hooks = None
                graph = _end(stream)
        grads = [(leaf, leaf._grad) for leaf in state.leaves.values()]
        return _Recording(graph, inputs, result, hooks, list(state.outside.values()), grads, pool)


def _end(stream: Any) -> Any:
    try:
        return stream.end_capture()
    except Exception:  # CUDA gave the capture up when an error was raised: that error says more
        return None


def _like(t: Tensor, array: Array) -> Tensor:
    held = wrap(array)
    held.requires_grad = t.requires_grad
    return held


def _copied(result: Any) -> Any:
    """New Tensors with the values that the graph's have now."""
    if isinstance(result, Tensor):
        return wrap(result.data.copy())
    if isinstance(result, dict):
        return {key: _copied(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return type(result)(_copied(value) for value in result)
    if result is None:
        return None
    raise CaptureError(f"a captured step returns Tensors, or tuples, lists or dicts of them, not {result!r}")
