"""nvidia-cudnn-frontend without a GPU: a stand-in for NVIDIA's package that knows only what it is told, and computes on
the stand-in's memory (standin.py). A graph goes through cuDNN's steps in their order; it takes the first engine whose
numerical notes are not deselected; and it writes garbage into its workspace, so that who shares one would notice."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from standin import _current, _perform, fake_cupy

from tinygrad_m import cudnn


class NotSupported(Exception):
    pass


class Names:
    """An enumeration."""

    def __init__(self, *names: str) -> None:
        self.__dict__.update({name: name for name in names})
        self.names = names


class Handle:
    def __init__(self) -> None:
        self.device, self.stream = _current.device, 0


class Tensor:
    def __init__(self, dim: list[int] | None, stride: list[int] | None, data_type: str | None, uid: int | None) -> None:
        self.dim, self.stride, self.type, self.uid, self.output = dim, stride, data_type, uid, False

    def set_output(self, value: bool) -> Tensor:
        self.output = value
        return self

    def set_data_type(self, dtype: str) -> Tensor:
        self.type = dtype
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_uid(self, uid: int) -> Tensor:
        self.uid = uid
        return self

    def at(self, address: int) -> np.ndarray:
        """The array there."""
        assert self.type is not None and self.dim and self.stride and type(address) is int and address % 16 == 0
        assert all(type(n) is int and n > 0 for n in [*self.dim, *self.stride])
        dtype = np.dtype({"HALF": "float16", "FLOAT": "float32", "DOUBLE": "float64"}[self.type])
        in_c_order = [step // 8 for step in np.empty(self.dim).strides]
        assert self.stride == in_c_order  # no other is needed
        memory = (ctypes.c_char * (np.empty(self.dim).size * dtype.itemsize)).from_address(address)
        return np.frombuffer(memory, dtype).reshape(self.dim)


ENGINES: list[set[str]] = [  # by their numerical notes, the first choice first
    {"TENSOR_CORE", "REDUCED_PRECISION_REDUCTION"}, {"TENSOR_CORE", "DOWN_CONVERT_INPUTS"},
    {"TENSOR_CORE", "NONDETERMINISTIC"}, {"TENSOR_CORE"}, {"WINOGRAD", "NONDETERMINISTIC"}, {"WINOGRAD"}, set(),
]  # fmt: skip
STEPS = ["made", "validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans"]
WORKSPACE = 1000


class Graph:
    made: list[Graph] = []
    refusal: tuple[str, Exception] | None = None  # at which step it is refused, and how

    def __init__(
        self, name: str = "", io_data_type: Any = None, intermediate_data_type: Any = None,
        compute_data_type: Any = None, handle: Any = None,
    ) -> None:  # fmt: skip
        self.types, self.handle = (io_data_type, intermediate_data_type, compute_data_type), handle
        self.tensors: list[Tensor] = []
        self.node: Any = None
        self.barred: set[str] = set()
        self.ran: list[str] = []
        self._step("made")
        Graph.made.append(self)

    def _step(self, name: str) -> None:
        assert STEPS[len(self.ran)] == name and (self.handle is None or self.handle.device == _current.device)
        self.ran.append(name)
        if Graph.refusal is not None and Graph.refusal[0] == name:
            raise Graph.refusal[1]

    def tensor(self, dim: list[int], stride: Any = None, data_type: Any = None, uid: Any = None) -> Tensor:
        assert isinstance(dim, list) and isinstance(stride, list) and data_type == self.types[0] and uid > 0
        self.tensors.append(Tensor(dim, stride, data_type, uid))
        return self.tensors[-1]

    def _node(self, kind: str, a: Tensor, b: Tensor, **sliding: list[int]) -> Tensor:
        assert self.node is None and all(isinstance(x, list) and len(x) == 2 for x in sliding.values())
        self.node = kind, a, b, Tensor(None, None, None, None), sliding
        return self.node[3]

    def conv_fprop(self, image: Tensor, weight: Tensor, padding: Any, stride: Any, dilation: Any) -> Tensor:
        return self._node("conv_fprop", image, weight, padding=padding, stride=stride, dilation=dilation)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, padding: Any, stride: Any, dilation: Any) -> Tensor:
        return self._node("conv_dgrad", loss, filter, padding=padding, stride=stride, dilation=dilation)

    def conv_wgrad(self, image: Tensor, loss: Tensor, padding: Any, stride: Any, dilation: Any) -> Tensor:
        return self._node("conv_wgrad", image, loss, padding=padding, stride=stride, dilation=dilation)

    def validate(self) -> None:
        self._step("validate")
        assert self.node[3].output and self.node[3].dim and self.node[3].stride

    def build_operation_graph(self) -> None:
        self._step("build_operation_graph")

    def create_execution_plans(self, heuristics: Any) -> None:
        self._step("create_execution_plans")
        assert heuristics == ["A", "FALLBACK"]

    def deselect_numeric_notes(self, notes: Any) -> None:
        assert self.ran[-1] == "create_execution_plans"  # before, there is nothing to deselect
        self.barred.update(notes)

    def check_support(self) -> None:
        self._step("check_support")

    def build_plans(self, policy: str) -> None:
        self._step("build_plans")
        assert policy == "HEURISTICS_CHOICE"
        self.engine = next(notes for notes in ENGINES if not notes & self.barred)

    def get_workspace_size(self) -> int:
        assert self.ran == STEPS
        return WORKSPACE

    def execute(self, tensor_dict: Any, workspace: Any = None, handle: Any = None) -> None:
        assert self.ran == STEPS and handle is self.handle and handle.device == _current.device
        assert handle.stream == fake_cupy.cuda.get_current_stream().ptr and type(workspace) is int
        kind, a, b, out, sliding = self.node
        x, y, result = (tensor.at(tensor_dict[tensor.uid]) for tensor in (a, b, out))
        scratch = (ctypes.c_char * WORKSPACE).from_address(workspace)
        number = np.float64 if self.types[2] == "DOUBLE" else np.float32
        assert self.types == (a.type, self.types[2], self.types[2]) and out.type == b.type == a.type

        def work() -> None:
            scratch[:] = b"\xff" * WORKSPACE  # if it were anyone else's, they would notice
            result[...] = convolved(kind, x.astype(number), y.astype(number), out.dim, **sliding)

        _perform(work)


def convolved(kind: str, a: Any, b: Any, shape: Any, padding: Any, stride: Any, dilation: Any) -> np.ndarray:
    """By places of the kernel, as NVIDIA's manual defines it; the groups are what the shapes say."""
    image = shape if kind == "conv_dgrad" else a.shape
    weight = shape if kind == "conv_wgrad" else b.shape
    loss = {"conv_fprop": shape, "conv_dgrad": a.shape, "conv_wgrad": b.shape}[kind]
    groups, (p, q) = image[1] // weight[1], padding
    assert image[1] == groups * weight[1] and weight[0] % groups == 0 and (*loss[:2],) == (image[0], weight[0])
    padded = np.zeros((image[0], groups, weight[1], image[2] + 2 * p, image[3] + 2 * q), a.dtype)
    inner = (..., slice(p, p + image[2]), slice(q, q + image[3]))
    split = (image[0], groups, weight[0] // groups, *loss[2:])
    filters = (groups, weight[0] // groups, *weight[1:])
    if kind == "conv_dgrad":
        grads, kernel, answer = a.reshape(split), b.reshape(filters), padded
    else:
        padded[inner] = a.reshape(image[0], groups, weight[1], *image[2:])
        grads, kernel = (b.reshape(split), None) if kind == "conv_wgrad" else (None, b.reshape(filters))
        answer = np.zeros(split if kind == "conv_fprop" else filters, a.dtype)
    for i in range(weight[2]):
        for j in range(weight[3]):
            (top, left), (oh, ow) = (i * dilation[0], j * dilation[1]), loss[2:]
            rows = slice(top, top + (oh - 1) * stride[0] + 1, stride[0])
            place = (..., rows, slice(left, left + (ow - 1) * stride[1] + 1, stride[1]))
            if kind == "conv_fprop":
                answer += np.einsum("ngchw,goc->ngohw", padded[place], kernel[..., i, j])
            elif kind == "conv_dgrad":
                answer[place] += np.einsum("ngohw,goc->ngchw", grads, kernel[..., i, j])
            else:
                answer[..., i, j] += np.einsum("ngohw,ngchw->goc", grads, padded[place])
    return (answer[inner] if kind == "conv_dgrad" else answer).reshape(shape)


def set_stream(handle: Handle, stream: int) -> None:
    assert handle.device == _current.device
    handle.stream = stream


PACKAGE: Any = SimpleNamespace(
    create_handle=Handle, set_stream=set_stream, pygraph=Graph, cudnnGraphNotSupportedError=NotSupported,
    data_type=Names("HALF", "FLOAT", "DOUBLE"), heur_mode=Names("A", "FALLBACK"),
    build_plan_policy=Names("HEURISTICS_CHOICE"),
    numerical_note=Names("TENSOR_CORE", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION", "NONDETERMINISTIC"),
)  # fmt: skip


def forget() -> None:
    Graph.made.clear()
    Graph.refusal = None
    cudnn.REFUSED.clear()
    cudnn._plan.cache_clear()
    cudnn._handle.cache_clear()


@pytest.fixture
def package(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy's stand-in, and the package's."""
    monkeypatch.setattr(cudnn, "binding", lambda: PACKAGE)
    monkeypatch.setattr(cudnn, "_way", "own")
    forget()
    yield cuda
    forget()
