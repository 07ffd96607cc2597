"""Convolutions by cuDNN: that it is told the right shapes, steps and precision, and runs on the right stream. Without a
GPU a stand-in for nvidia-cudnn-frontend (standin_cudnn.py) computes; where the real package is installed, the
stand-in's names are held against it, and the real one must understand our graphs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin_cudnn
import test_capture
from standin import ndarray as FakeArray
from standin_cudnn import PACKAGE, STEPS, WORKSPACE, Graph, NotSupported, Tensor, set_stream
from standin_kernels import needs_compiler

import tinygrad_m as tg
from tinygrad_m import backend, cudnn, nn
from tinygrad_m.ops.windows import Windows

KINDS = ["conv_fprop", "conv_dgrad", "conv_wgrad"]
CASES = {  # images, weight, how it slides, groups
    "plain": ((2, 3, 6, 5), (4, 3, 3, 2), Windows((3, 2)), 1),
    "padded": ((2, 3, 6, 5), (4, 3, 3, 3), Windows((3, 3), padding=(1, 2)), 1),
    "strided": ((3, 2, 8, 7), (4, 2, 3, 2), Windows((3, 2), stride=(2, 3)), 1),  # rows and columns are left over
    "dilated": ((2, 2, 9, 8), (3, 2, 3, 2), Windows((3, 2), dilation=(2, 3)), 1),
    "grouped": ((2, 6, 5, 5), (4, 3, 3, 3), Windows((3, 3), padding=(1, 1)), 2),
    "depthwise": ((2, 4, 5, 6), (8, 1, 2, 3), Windows((2, 3)), 4),
    "all": ((2, 4, 11, 10), (6, 2, 3, 2), Windows((3, 2), (2, 3), (2, 1), (2, 3)), 2),
    "one pixel": ((1, 1, 1, 1), (1, 1, 1, 1), Windows((1, 1)), 1),
}
TOLERANCE = {"float16": 0.02, "float32": 2e-5, "float64": 1e-12}

package = standin_cudnn.package  # the fixture


# -- what is right: one output pixel after the other, in float64 ------------------------------------


def patches(shape: Any, weight: Any, windows: Windows) -> Iterator[tuple[tuple[int, int], Any]]:
    """Each output pixel and the pixels of the padded image that it sees."""
    for oy in range(windows.out_size(shape)[0]):
        for ox in range(windows.out_size(shape)[1]):
            (top, left), (dy, dx) = (oy * windows.stride[0], ox * windows.stride[1]), windows.dilation
            rows, columns = [top + i * dy for i in range(weight[2])], [left + j * dx for j in range(weight[3])]
            yield (oy, ox), np.ix_(range(shape[0]), range(shape[1]), rows, columns)


def direct(kind: str, a: Any, b: Any, shape: Any, windows: Windows, groups: int) -> np.ndarray:
    """What KINDS' operation makes of a and b (as the package takes them, in float64), by its definition."""
    p, q = windows.padding
    image = {"conv_fprop": a.shape, "conv_dgrad": shape, "conv_wgrad": a.shape}[kind]
    weight = {"conv_fprop": b.shape, "conv_dgrad": b.shape, "conv_wgrad": shape}[kind]
    padded = np.zeros((*image[:2], image[2] + 2 * p, image[3] + 2 * q))
    inner = (slice(None), slice(None), slice(p, p + image[2]), slice(q, q + image[3]))
    if kind != "conv_dgrad":
        padded[inner] = a
    out = padded if kind == "conv_dgrad" else np.zeros(shape)
    n, per, group = image[0], weight[1], weight[0] // groups
    for (oy, ox), place in patches(image, weight, windows):
        for k in range(groups):
            outs, ins = slice(k * group, (k + 1) * group), slice(k * per, (k + 1) * per)
            seen = padded[place][:, ins].reshape(n, -1)  # (N, C/groups * kh * kw)
            if kind == "conv_fprop":
                out[:, outs, oy, ox] = seen @ b[outs].reshape(group, -1).T
            elif kind == "conv_wgrad":
                out[outs] += (b[:, outs, oy, ox].T @ seen).reshape(out[outs].shape)
            else:
                back = np.zeros((n, image[1], *weight[2:]))
                back[:, ins] = (a[:, outs, oy, ox] @ b[outs].reshape(group, -1)).reshape(n, per, *weight[2:])
                out[place] += back
    return out[inner] if kind == "conv_dgrad" else out


def shapes_of(name: str, kind: str) -> tuple[Any, Any, Any]:
    """Both inputs' shapes in the package's order, and the result's."""
    image, weight, windows, _ = CASES[name]
    out = (image[0], weight[0], *windows.out_size(image))
    return {"conv_fprop": (image, weight, out), "conv_dgrad": (out, weight, image), "conv_wgrad": (image, out, weight)}[
        kind
    ]


def call(xp: Any, kind: str, a: Any, b: Any, shape: Any, windows: Windows, groups: int) -> Any:
    if kind == "conv_fprop":
        return cudnn.conv(xp, a, b, windows, groups)
    if kind == "conv_dgrad":
        return cudnn.conv_input(xp, a, b, shape, windows, groups)
    return cudnn.conv_weight(xp, b, a, shape, windows, groups)


def arrays(xp: Any, name: str, kind: str, dtype: str) -> tuple[Any, Any, np.ndarray]:
    """Both inputs, on the current device, and the right answer."""
    rng, (a, b, out) = np.random.default_rng(0), shapes_of(name, kind)
    x, y = rng.normal(size=a).astype(dtype), rng.normal(size=b).astype(dtype)
    answer = direct(kind, x.astype("float64"), y.astype("float64"), out, *CASES[name][2:])
    return xp.asarray(x), xp.asarray(y), answer


# -- tests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_all_convolutions(name: str, kind: str, dtype: str, package: Any) -> None:
    with package.cuda.Device(1):
        a, b, answer = arrays(package, name, kind, dtype)
    out = call(package, kind, a, b, shapes_of(name, kind)[2], *CASES[name][2:])  # cuda:1 need not be current
    assert isinstance(out, FakeArray) and out.dtype == dtype and out.device.id == 1 and out.flags.c_contiguous
    assert package.syncs == 0
    np.testing.assert_allclose(out.get(), answer, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * abs(answer).max())


def test_direct_is_a_convolution_and_its_transposes() -> None:
    """What all else here is compared with: against the CPU's."""
    for name, (image, weight, windows, groups) in CASES.items():
        rng = np.random.default_rng(1)
        x = tg.Tensor(rng.normal(size=image), requires_grad=True, dtype="float64")
        w = tg.Tensor(rng.normal(size=weight), requires_grad=True, dtype="float64")
        out = tg.conv2d(x, w, stride=windows.stride, padding=windows.padding, dilation=windows.dilation, groups=groups)
        g = rng.normal(size=out.shape)
        (out * tg.Tensor(g, dtype="float64")).sum().backward()
        pairs = {"conv_fprop": (x, w, out), "conv_dgrad": (g, w, x.grad), "conv_wgrad": (x, g, w.grad)}
        for kind, (a, b, right) in pairs.items():
            a, b = (t.numpy() if isinstance(t, tg.Tensor) else t for t in (a, b))
            got = direct(kind, a, b, shapes_of(name, kind)[2], windows, groups)
            np.testing.assert_allclose(got, right.numpy(), rtol=1e-10, atol=1e-12, err_msg=f"{name} {kind}")


def test_gaps_and_odd_beginnings_are_copied(package: Any) -> None:
    """cuDNN is told C order, and may read sixteen bytes at once."""
    x, w, answer = arrays(package, "padded", "conv_fprop", "float32")
    turned = package.ascontiguousarray(x.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)  # as images lie here
    later = package.empty(w.size + 1, "float32")[1:].reshape(w.shape)
    later[...] = w
    assert not turned.flags.c_contiguous and later.flags.c_contiguous and later.data.ptr % 16 == 4
    out = cudnn.conv(package, turned, later, *CASES["padded"][2:])
    np.testing.assert_allclose(out.get(), answer, rtol=1e-5, atol=1e-5)


def test_a_plan_is_made_once_for_each_case(package: Any) -> None:
    x, w, _ = arrays(package, "padded", "conv_fprop", "float32")
    windows, groups = CASES["padded"][2:]
    for _ in range(3):
        cudnn.conv(package, x, w, windows, groups)
    assert len(Graph.made) == 1
    out = cudnn.conv(package, x, w, windows._replace(stride=(2, 2)), groups)
    cudnn.conv(package, x, w, windows._replace(dilation=(2, 2)), groups)
    cudnn.conv(package, x, w, windows._replace(padding=(1, 1)), groups)
    cudnn.conv(package, x[:1], w, windows, groups)
    cudnn.conv(package, x.astype("float16"), w.astype("float16"), windows, groups)
    cudnn.conv_input(package, out, w, x.shape, windows._replace(stride=(2, 2)), groups)
    cudnn.conv_weight(package, out, x, w.shape, windows._replace(stride=(2, 2)), groups)
    with package.cuda.Device(1):
        cudnn.conv(package, package.asarray(x.get()), package.asarray(w.get()), windows, groups)
    assert len(Graph.made) == 9
    assert len({id(graph.handle) for graph in Graph.made}) == 2  # one for each device


@pytest.mark.parametrize(
    ("dtype", "precision", "engine"),
    [
        ("float32", "highest", {"WINOGRAD"}),
        ("float32", "high", {"TENSOR_CORE"}),
        ("float16", "highest", {"TENSOR_CORE"}),
        ("float64", "high", {"TENSOR_CORE"}),
    ],
)
def test_precision(dtype: str, precision: str, engine: Any, package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 only if it is allowed; never half precision in disguise, nor another sum in the next run."""
    x, w, _ = arrays(package, "plain", "conv_fprop", dtype)
    cudnn.conv(package, x, w, *CASES["plain"][2:])
    monkeypatch.setattr(backend, "_precision", precision)
    cudnn.conv(package, x, w, *CASES["plain"][2:])
    assert Graph.made[-1].engine == engine
    stored, computed = {"float16": ("HALF", "FLOAT"), "float32": ("FLOAT",) * 2, "float64": ("DOUBLE",) * 2}[dtype]
    assert Graph.made[-1].types == (stored, computed, computed)
    assert len(Graph.made) == (2 if (dtype, precision) == ("float32", "high") else 1)


@needs_compiler
@pytest.mark.parametrize("captured", [True, False])
def test_training_is_the_same_with_it(captured: bool, package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [lambda: nn.Conv2d(1, 4, 3, bias=False), nn.ReLU, lambda: nn.Conv2d(4, 3, 2, stride=2), nn.Flatten]
    make = lambda: nn.Sequential(*[layer() for layer in layers], nn.Linear(12, 3))  # noqa: E731
    monkeypatch.setitem(test_capture.MODELS, "two", make)
    expected = test_capture.train("two", "momentum", "cuda:1", captured)
    tg.set_convolution("cudnn")
    found = test_capture.train("two", "momentum", "cuda:1", captured)
    assert {graph.node[0] for graph in Graph.made} == {"conv_fprop", "conv_dgrad", "conv_wgrad"} and not cudnn.REFUSED
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_the_current_stream_and_capture(package: Any) -> None:
    """A capture records what cuDNN does, with memory of its own; a replay computes with what is there then."""
    args = CASES["all"][2:]
    x, w, answer = arrays(package, "all", "conv_fprop", "float32")
    later = np.array(x.get())
    cudnn.conv(package, x, w, *args)
    handle = Graph.made[0].handle
    assert handle.stream == 0
    stream, pool, syncs = package.cuda.Stream(non_blocking=True), package.cuda.MemoryPool(), package.syncs
    with package.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        out = cudnn.conv(package, x, w, *args)
        graph = stream.end_capture()
    assert handle.stream == stream.ptr != 0 and package.syncs == syncs and len(Graph.made) == 1
    for factor in (1, 3):
        x.set((later * factor).astype("float32"))
        graph.launch()
        np.testing.assert_allclose(out.get(), answer * factor, rtol=1e-4, atol=1e-4)
    cudnn.conv(package, x, w, *args)
    assert handle.stream == 0  # not the capture's, which may be gone


def test_the_workspace_is_new_each_time(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams must not share one; and it is there until cuDNN has been called."""
    x, w, _ = arrays(package, "plain", "conv_fprop", "float32")
    made, used = [], []
    empty, execute = package.empty, Graph.execute

    def watched(shape: Any, dtype: Any) -> Any:
        made.append(empty(shape, dtype))
        return made[-1]

    def spying(self: Graph, tensor_dict: Any, workspace: Any = None, handle: Any = None) -> None:
        used.append(workspace)
        execute(self, tensor_dict, workspace, handle)

    monkeypatch.setattr(package, "empty", watched, raising=False)
    monkeypatch.setattr(Graph, "execute", spying)
    for _ in range(2):
        cudnn.conv(package, x, w, *CASES["plain"][2:])
    bytes_ = [array for array in made if array.dtype == np.uint8]
    assert [array.size for array in bytes_] == [WORKSPACE] * 2
    assert used == [array.data.ptr for array in bytes_] and used[0] != used[1]


@pytest.mark.parametrize("step", STEPS[1:])
@pytest.mark.parametrize("error", [NotSupported("no engine"), RuntimeError("a descriptor was rejected")])
def test_what_cudnn_can_not_do(error: Exception, step: str, package: Any) -> None:
    Graph.refusal = step, error
    for kind in KINDS:
        a, b, _ = arrays(package, "grouped", kind, "float32")
        for _ in range(2):
            assert call(package, kind, a, b, shapes_of("grouped", kind)[2], *CASES["grouped"][2:]) is None
    assert len(Graph.made) == 3  # it is not asked again
    assert {case.kind for case in cudnn.REFUSED} == set(KINDS)
    assert set(cudnn.REFUSED.values()) == {f"{type(error).__name__}: {error}"}
    Graph.refusal = None
    a, b, answer = arrays(package, "plain", "conv_fprop", "float32")
    np.testing.assert_allclose(cudnn.conv(package, a, b, *CASES["plain"][2:]).get(), answer, rtol=1e-4, atol=1e-4)


def test_other_errors_are_raised(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = arrays(package, "plain", "conv_fprop", "float32")
    Graph.refusal = "validate", ValueError("an attribute is not set")
    with pytest.raises(ValueError, match="an attribute is not set"):
        cudnn.conv(package, a, b, *CASES["plain"][2:])
    Graph.refusal = None

    def broken() -> None:
        raise RuntimeError("CUDNN_STATUS_NOT_INITIALIZED")

    cudnn._handle.cache_clear()
    monkeypatch.setattr(PACKAGE, "create_handle", broken)
    with pytest.raises(RuntimeError, match=r"cuda:0 .*NOT_INITIALIZED.*set_convolution\('own'\)"):
        cudnn.conv(package, a, b, *CASES["plain"][2:])


def test_nothing_is_asked_about_empty_arrays(package: Any) -> None:
    windows = Windows((3, 3), padding=(2, 2))
    x, w = package.ones((2, 3, 0, 4), "float32"), package.ones((4, 3, 3, 3), "float32")
    assert cudnn.conv(package, x, w, windows, 1) is None and not cudnn.wanted(x, w)
    g = package.ones((2, 4, 2, 6), "float32")
    assert cudnn.conv_input(package, g, w, (2, 3, 0, 4), windows, 1) is None
    assert cudnn.conv_weight(package, g, x, (4, 3, 3, 3), windows, 1) is None
    assert not Graph.made


def test_the_switch(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = package.ones((1, 1, 2, 2), "float32")
    assert cudnn.get_convolution() == "own" and not cudnn.wanted(x, x)
    cudnn.set_convolution("cudnn")
    assert cudnn.get_convolution() == "cudnn"
    for dtype in ("float16", "float32", "float64"):
        assert cudnn.wanted(x.astype(dtype), x.astype(dtype))
    assert not cudnn.wanted(x, x.astype("float16")) and not cudnn.wanted(x.astype("int32"), x.astype("int32"))
    assert not cudnn.wanted(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    assert not cudnn.wanted(x, x[:0]) and not cudnn.wanted(x[:0], x)
    cudnn.set_convolution("own")
    assert not cudnn.wanted(x, x)
    with pytest.raises(ValueError, match="by 'cudnn' or 'own', not 'cuDNN'"):
        cudnn.set_convolution("cuDNN")
    monkeypatch.setattr(cudnn, "binding", lambda: None)
    monkeypatch.setattr(cudnn, "_imported", lambda: (None, "ModuleNotFoundError: No module named 'cudnn'"))
    with pytest.raises(ImportError, match=r"No module named 'cudnn'.*pip install nvidia-cudnn-frontend"):
        cudnn.set_convolution("cudnn")
    assert cudnn.get_convolution() == "own"


def test_the_environment_is_checked_when_it_matters(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = package.ones((1, 1, 2, 2), "float32")
    monkeypatch.setattr(cudnn, "_way", "fast")  # as TINYGRAD_M_CONVOLUTION=fast does
    assert not cudnn.wanted(x.get(), x.get())  # on the CPU it says nothing
    with pytest.raises(ValueError, match="TINYGRAD_M_CONVOLUTION: .* 'cudnn' or 'own', not 'fast'"):
        cudnn.wanted(x, x)
    monkeypatch.setattr(cudnn, "_way", "cudnn")
    assert cudnn.wanted(x, x)
    monkeypatch.setattr(cudnn, "binding", lambda: None)
    with pytest.raises(ImportError, match="TINYGRAD_M_CONVOLUTION: 'cudnn' needs cuDNN"):
        cudnn.wanted(x, x)


def test_the_package_is_imported_with_care(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(error: Exception) -> Any:
        raise error

    whole = SimpleNamespace(backend_version=lambda: 92801)
    alone = SimpleNamespace(backend_version=lambda: raises(RuntimeError("no symbol cudnnGetVersion")))
    cases: list[tuple[Any, Any]] = [
        (lambda name: whole, (whole, "")),
        (lambda name: alone, (None, "RuntimeError: no symbol cudnnGetVersion")),
        (lambda name: raises(ModuleNotFoundError(f"No module {name}")), (None, "ModuleNotFoundError: No module cudnn")),
    ]
    for importer, expected in cases:
        monkeypatch.setattr(cudnn, "import_module", importer)
        assert cudnn._imported.__wrapped__() == expected


# -- the real package -------------------------------------------------------------------------------


def real() -> Any:
    module, why = cudnn._imported()
    if module is None:
        pytest.skip(f"needs nvidia-cudnn-frontend and cuDNN: {why}")
    if not inspect.isfunction(module.pygraph.validate):
        pytest.skip(f"nvidia-cudnn-frontend {module.__version__} has its graphs in C++, which need a GPU")
    return module


def test_the_stand_in_knows_only_what_is_there() -> None:
    module = real()
    assert issubclass(module.cudnnGraphNotSupportedError, Exception)
    for enumeration in ("data_type", "heur_mode", "build_plan_policy", "numerical_note"):
        assert set(getattr(PACKAGE, enumeration).names) <= set(getattr(module, enumeration).__members__)
    theirs = [(set_stream, module.set_stream), (Graph.__init__, module.pygraph.__init__)]
    names = ["tensor", "execute", "deselect_numeric_notes", "get_workspace_size", "validate", "build_operation_graph"]
    names += ["create_execution_plans", "check_support", "build_plans"]
    theirs += [(getattr(Graph, name), getattr(module.pygraph, name)) for name in names]
    setters = ["set_output", "set_data_type", "set_dim", "set_stride", "set_uid"]
    theirs += [(getattr(Tensor, name), getattr(module.Tensor, name)) for name in setters]
    for ours, real_one in theirs:
        if inspect.isbuiltin(real_one):
            continue  # compiled, in older versions: without a signature
        mine, there = inspect.signature(ours).parameters, inspect.signature(real_one).parameters
        if "args" not in there:  # build_plans(*args, **kwargs)
            assert list(mine)[1:2] in ([], list(there)[1:2]) and set(mine) <= set(there), ours.__qualname__
    assert callable(module.create_handle)


@pytest.mark.parametrize("dtype", "efd")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_the_real_package_understands_our_graphs(name: str, kind: str, dtype: str) -> None:
    """Without a GPU a graph can be described, no more: what it infers must be what we have told it."""
    module, (a, b, out) = real(), shapes_of(name, kind)
    graph = cudnn.describe(module, cudnn.Case(kind, 0, dtype, (a, b, out), *CASES[name][2:], False), None)
    (node,) = graph.nodes
    windows = CASES[name][2]
    assert node.node_type.name == kind.upper()
    assert list(node.inputs) == list(cudnn.INPUTS[kind])
    for tensor, uid, shape in zip([*node.inputs.values(), *node.outputs.values()], (1, 2, 3), (a, b, out), strict=True):
        assert tensor.get_uid() == uid and tuple(tensor.dim) == shape and not tensor.is_virtual
        assert [step * 4 for step in tensor.stride] == list(np.empty(shape, "float32").strides)
        assert tensor.data_type == getattr(module.data_type, cudnn.TYPES[dtype][0])
    assert node.compute_data_type == getattr(module.data_type, cudnn.TYPES[dtype][1])
    assert {name: tuple(node.params[name]) for name in ("padding", "stride", "dilation")} == {
        "padding": windows.padding, "stride": windows.stride, "dilation": windows.dilation
    }  # fmt: skip
    if kind == "conv_fprop":  # what it would infer by itself
        blank = module.pygraph(io_data_type=module.data_type.FLOAT)
        x, w = (blank.tensor(dim=list(shape), stride=cudnn._strides(shape)) for shape in (a, b))
        assert tuple(blank.conv_fprop(image=x, weight=w, **{k: list(v) for k, v in node.params.items()}).dim) == out


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
def test_cudnn_itself(kind: str, dtype: str) -> None:
    module, why = cudnn._imported()
    if module is None:
        pytest.skip(f"needs nvidia-cudnn-frontend and cuDNN: {why}")
    xp = backend.cuda().xp
    for name in CASES:
        a, b, answer = arrays(xp, name, kind, dtype)
        out = call(xp, kind, a, b, shapes_of(name, kind)[2], *CASES[name][2:])
        if out is None:
            assert name != "plain" or dtype == "float64", cudnn.REFUSED
            continue
        np.testing.assert_allclose(out.get(), answer, rtol=0, atol=TOLERANCE[dtype] * abs(answer).max(), err_msg=name)
