"""The stand-in for CuPy refuses what CuPy refuses, and the library uses no name and no argument that CuPy lacks."""

from __future__ import annotations

import ast
import copy
import inspect
import math
import pickle
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin

import tinygrad_m

LIBRARY = Path(tinygrad_m.__file__).parent


@pytest.fixture(autouse=True)
def cp(cuda: Any) -> Any:
    return cuda


def array(*values: Any, dtype: Any = np.float32) -> Any:
    return standin.fake_cupy.asarray(np.array(values, dtype))


# -- refusals -------------------------------------------------------------------------------------

HOST = np.ones(3, np.float32)
IMPLICIT: list[Callable[[Any], Any]] = [
    np.asarray, np.array, np.sum, np.atleast_1d, lambda a: np.concatenate([a, a]), lambda a: np.array([a[0], a[1]]),
    lambda a: np.stack([HOST, a]), lambda a: HOST.__setitem__(slice(None), a),
    lambda a: standin.fake_cupy.array([a[0]]), lambda a: standin.fake_cupy.arange(a[0]),
]  # fmt: skip
MIXTURES: list[Callable[[Any], Any]] = [
    lambda a: a + HOST, lambda a: HOST + a, lambda a: a * HOST[:1], lambda a: HOST @ a, lambda a: a @ HOST,
    lambda a: a == HOST, lambda a: HOST - a, lambda a: a.__iadd__(HOST), lambda a: a.dot(HOST),
    lambda a: standin.fake_cupy.add(a, HOST), lambda a: standin.fake_cupy.add(HOST, HOST),
    lambda a: standin.fake_cupy.exp(HOST), lambda a: standin.fake_cupy.exp([1.0, 2.0]),
    lambda a: standin.fake_cupy.where(a > 0, a, HOST), lambda a: standin.fake_cupy.maximum(a, a, out=np.ones(3)),
    lambda a: standin.fake_cupy.sum(HOST), lambda a: standin.fake_cupy.concatenate([a, HOST]),
    lambda a: standin.fake_cupy.einsum("i,i", a, HOST), lambda a: a[np.array([0, 1])], lambda a: a[[0, 1]],
    lambda a: a.take(np.array([0])), lambda a: a.__setitem__(slice(None), HOST), lambda a: a.__setitem__(0, [1.0]),
    lambda a: a.fill(HOST), lambda a: standin.fake_cupy.add.at(a, a.astype(int), HOST), lambda a: a + None,
    lambda a: a + "1", lambda a: standin.fake_erf(HOST), lambda a: standin.fake_cupy.sum(1.0),
]  # fmt: skip


@pytest.mark.parametrize("use", IMPLICIT)
def test_implicit_conversion_is_refused(use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"Implicit conversion to a NumPy array is not allowed. Please use `.get\(\)`"):
        use(array(1, 2, 3))


@pytest.mark.parametrize("use", MIXTURES)
def test_mixing_is_refused(use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="Unsupported type|takes cupy.ndarray"):
        use(array(1, 2, 3))


def test_numpy_ufuncs_are_refused() -> None:
    functions: list[Callable[[Any], Any]] = [np.exp, lambda a: np.add(a, 1), lambda a: np.multiply(2.0, a)]
    for function in functions:
        with pytest.raises(TypeError, match="does not support ufuncs"):
            function(array(1, 2))


def test_what_cupy_lacks_is_refused(cp: Any) -> None:
    a = array(1, 2)
    absent: list[Callable[[], Any]] = [
        lambda: cp.no_such, lambda: cp.scatter_add, lambda: cp.ndarray.no_such, lambda: a.itemset, lambda: a.ctypes,
        lambda: a.__array_interface__, lambda: cp.where(True, a, a), lambda: a.__index__,
    ]  # fmt: skip
    for missing in absent:
        with pytest.raises(AttributeError):
            missing()
    misuses: list[Callable[[], Any]] = [
        lambda: cp.add(a, a, where=a > 0), lambda: cp.sum(a, where=a > 0), lambda: a.sum(initial=1.0),
        lambda: cp.concatenate([a, a], foo=1), lambda: cp.argsort(a, stable=True), lambda: cp.max(a, initial=0),
        lambda: cp.ones(3, device="cpu"), lambda: a.astype(float, foo=1), lambda: [1, 2][array(1, dtype=int)[0]],
        lambda: hash(a), lambda: cp.negative(a > 0), lambda: cp.subtract(a > 0, a > 0),
    ]  # fmt: skip
    for wrong in misuses:
        with pytest.raises(TypeError):
            wrong()
    for name in ("multiply", "divide"):
        with pytest.raises(NotImplementedError, match="not supported"):
            getattr(cp, name).at(a, array(0, dtype=int), 1.0)


def test_scatter_has_cupys_dtypes(cp: Any) -> None:
    index = array(0, 0, 2, dtype=int)
    for dtype in ("float16", "float32", "float64", "int32", "int64", "uint64"):
        total = cp.zeros(3, dtype)
        cp.add.at(total, index, 1)
        assert total.get().tolist() == [2, 0, 1] and total.dtype == dtype
    for dtype, function in (("int8", cp.add), ("bool", cp.add), ("float32", cp.subtract), ("float16", cp.maximum)):
        with pytest.raises(TypeError, match="does not support"):
            function.at(cp.zeros(3, dtype), index, 1)
    masked = cp.zeros(3, "int8")
    cp.add.at(masked, array(True, False, True, dtype=bool), 1)
    assert masked.get().tolist() == [1, 0, 1]


# -- CuPy's own ways ------------------------------------------------------------------------------


def test_nothing_is_a_scalar(cp: Any) -> None:
    a = array(1, 2, 3)
    for result in (
        a.sum(),
        a[0],
        a[-1],
        cp.max(a),
        a.any(),
        a @ a,
        cp.argmax(a),
        cp.add(1, 2),
        a.mean() * 2,
        cp.allclose(a, a),
    ):
        assert type(result) is cp.ndarray and result.shape == ()
    assert isinstance(a[0].item(), float)
    assert a.shape == (3,) and a.size == 3 and a.ndim == 1 and a.dtype == np.float32 and a.nbytes == 12 and len(a) == 3


def test_dtypes_follow_nep_50(cp: Any) -> None:
    a = array(1, 2)
    for same in (a * 2.0, 2 / a, a + np.float32(1), cp.where(a > 1, a, 0.0), cp.maximum(a, 0), a.mean()):
        assert same.dtype == np.float32
    for double in (a * np.float64(2), np.float64(2) * a, a + array(1, 2, dtype=float)):
        assert double.dtype == np.float64
    assert array(True, True, dtype=bool).sum().dtype == np.int64


def test_views_share_memory_and_name_their_base(cp: Any) -> None:
    a = cp.zeros((3, 4))
    for view in (
        a[1:],
        a[0],
        a[0, 0],
        a.T,
        a.reshape(-1),
        a.reshape(-1)[2:],
        a[None],
        a.view(),
        cp.broadcast_to(a, (2, 3, 4)),
    ):
        assert view.base is a and type(view) is cp.ndarray
    a[0, 0][...] = 5
    a.T[1] = 7
    assert a[0, 0].item() == 5 and a[:, 1].tolist() == [7, 7, 7]
    for fresh in (
        a.copy(),
        a + 0,
        a[array(0, dtype=int)],
        a.T.reshape(-1),
        a.astype("float32"),
        a.astype(a.dtype),
        a.flatten(),
    ):
        assert fresh.base is None
    assert a.astype(a.dtype, copy=False) is a and cp.asarray(a) is a and cp.asarray(HOST).get() is not HOST


def test_results_are_c_contiguous(cp: Any) -> None:
    a = cp.zeros((3, 4)).T
    assert (a + a).flags.c_contiguous and not a.flags.c_contiguous


def test_operators(cp: Any) -> None:
    a, b = array(5, 6), array(2, 4)
    for mine, theirs in (
        (a + b, [7, 10]), (a - 1, [4, 5]), (1 - a, [-4, -5]), (a * b, [10, 24]), (a / b, [2.5, 1.5]), (a // b, [2, 1]),
        (a % b, [1, 2]), (b**2, [4, 16]), (2**b, [4, 16]), (-a, [-5, -6]), (abs(-a), [5, 6]), (a > 5, [False, True]),
        (~(a > 5), [True, False]), ((a > 5) & (b > 2), [False, True]), (a == 5, [True, False]), (a != 5, [False, True]),
    ):  # fmt: skip
        assert mine.tolist() == theirs
    before = a
    a += 1
    a *= b
    assert a is before and a.tolist() == [12, 28]
    assert cp.add(a, b, out=a) is a and a.tolist() == [14, 32]
    with pytest.raises(TypeError, match="same_kind"):
        array(1, 2, dtype=int).__iadd__(0.5)


def test_indices_wrap_without_a_word(cp: Any) -> None:
    a = array(0, 1, 2)
    index = array(3, -4, 7, dtype=int)
    assert a[index].tolist() == a.take(index).tolist() == [0, 2, 1]
    a[array(5, dtype=int)] = 9
    cp.add.at(a, array(3, 3, dtype=int), 1)
    assert a.tolist() == [2, 1, 9]
    grid = cp.zeros((2, 3))
    assert grid[array(2, dtype=int), array(-9, dtype=int)].shape == (1,)
    a[array(0, 0, dtype=int)] = array(5, 6)  # any of the two, says CuPy: here the last
    assert a[0].item() == 6
    with pytest.raises(IndexError, match="out of bounds"):
        a[3]  # a number is looked at on the host
    with pytest.raises(IndexError, match="integer or boolean"):
        a[array(0.0, 1.0)]


def test_masks(cp: Any) -> None:
    a = array(1, -2, 3)
    assert a[a > 0].tolist() == [1, 3]
    a[a < 0] = 0
    assert a.tolist() == [1, 0, 3]


def test_kernels_never_warn(cp: Any) -> None:
    zero = array(0.0)
    assert np.isnan((zero / zero).item()) and cp.log(zero).item() == -math.inf  # warnings are errors in these tests


def test_waiting_is_counted(cp: Any) -> None:
    a = array(1, 2, 3)
    waits: list[Callable[[], Any]] = [
        lambda: float(a[0]), lambda: int(a[0]), lambda: bool(a[0]), lambda: a[0].item(), a.get, a.tolist,
        lambda: cp.asnumpy(a), lambda: repr(a), lambda: f"{a[0]:.1f}", lambda: a[a > 1], lambda: cp.nonzero(a),
        lambda: cp.where(a > 1), lambda: pickle.dumps(a), cp.cuda.Device(0).synchronize,
        cp.cuda.get_current_stream().synchronize, lambda: 1.0 if a.sum() else 0.0,
    ]  # fmt: skip
    for wait in waits:
        before = cp.syncs
        wait()
        assert cp.syncs == before + 1
    before = cp.syncs
    _ = cp.where(a > 1, a, 0) @ a, a[1:], a.sum(), a[array(0, dtype=int)], copy.copy(a), a.shape, cp.asnumpy(HOST)
    a[...] = 1
    assert cp.syncs == before


# -- devices --------------------------------------------------------------------------------------


def test_devices(cp: Any) -> None:
    assert cp.cuda.runtime.getDeviceCount() == 2 and cp.cuda.is_available()
    first = array(1, 2, 3)
    with cp.cuda.Device(1):
        assert cp.cuda.runtime.getDevice() == 1
        second = array(1, 2, 3)
        with cp.cuda.Device(0):
            assert cp.zeros(1).device.id == 0
        moved, also = first.copy(), cp.asarray(first)
        assert moved.device.id == also.device.id == second.device.id == cp.zeros(1).device.id == 1
        assert (moved + second).tolist() == [2, 4, 6]
    assert (
        cp.cuda.runtime.getDevice() == 0 and first.device == cp.cuda.Device(0) and copy.deepcopy(second).device.id == 1
    )
    assert second.get().tolist() == second.T[:2].reshape(2, 1)[:, 0].tolist() + [3]  # views and copies out are free
    uses: list[Callable[[], Any]] = [
        lambda: second + 1, lambda: first + second, lambda: second.sum(), lambda: cp.concatenate([first, second]),
        lambda: first[second.astype(int)], lambda: second.__setitem__(0, 1.0), lambda: first.__setitem__(0, second[0]),
        lambda: second.astype(np.float64), lambda: cp.exp(first, out=second), lambda: standin.fake_erf(second),
        lambda: cp.add.at(second, 0, 1.0), lambda: second.fill(0),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(RuntimeError, match="device 1.*current device 0"):
            use()
    with pytest.raises(RuntimeError, match="invalid device"), cp.cuda.Device(2):
        pass


def test_it_passes_for_a_device_array(cp: Any) -> None:
    a = array(1, 2)
    assert set(a.__cuda_array_interface__) == {"shape", "typestr", "data", "version"}
    assert a.__cuda_array_interface__["typestr"] == "<f4" and not isinstance(a, np.ndarray)
    assert copy.deepcopy(a).tolist() == pickle.loads(pickle.dumps(a)).tolist() == [1, 2]
    assert standin.fake_erf(array(0.5)).item() == pytest.approx(math.erf(0.5))


# -- streams --------------------------------------------------------------------------------------


class Copying:
    """Page-locked memory with 1, 2, 3 in it, a copy stream, an event for its copies, and device memory to be filled."""

    def __init__(self, cp: Any) -> None:
        self.cp = cp
        self.pinned = np.ndarray(3, np.float32, cp.cuda.alloc_pinned_memory(12))
        self.pinned[:] = 1, 2, 3
        self.stream, self.copied = cp.cuda.Stream(non_blocking=True), cp.cuda.Event(disable_timing=True)
        self.computing = cp.cuda.get_current_stream()
        self.there = cp.empty(3, np.float32)

    def send(self) -> Any:
        """Send it, with the one wait that it needs."""
        self.stream.wait_event(self.computing.record())
        self.there.set(self.pinned, stream=self.stream)
        self.stream.record(self.copied)
        return self.there


@pytest.fixture
def copying(cp: Any) -> Iterator[Copying]:
    yield Copying(cp)
    cp.races.clear()  # each test looks at them itself


RIGHT = [1.0, 2.0, 3.0]


def test_copies_from_pinned_memory_wait_for_nobody(cp: Any, copying: Copying) -> None:
    there = copying.send()
    assert cp.syncs == cp.event_syncs == 0
    copying.computing.wait_event(copying.copied)
    assert cp.syncs == cp.event_syncs == 0 and (there * 2).tolist() == [2.0, 4.0, 6.0] and cp.syncs == 1
    copying.copied.synchronize()
    assert (cp.syncs, cp.event_syncs) == (1, 1)
    cp.cuda.Event().synchronize()  # never recorded: nothing to wait for
    assert cp.event_syncs == 1 and cp.races == []


def test_other_copies_count_as_waits(cp: Any, copying: Copying) -> None:
    copying.stream.wait_event(copying.computing.record())
    for source in (copying.pinned.copy(), np.repeat(copying.pinned, 2)[::2], copying.pinned[::-1][::-1].copy()):
        before = cp.syncs
        copying.there.set(source, stream=copying.stream)
        assert cp.syncs == before + 1 and copying.there.get().tolist() == RIGHT
    before, blocking = cp.syncs, cp.cuda.Stream()
    blocking.wait_event(copying.computing.record())
    copying.there.set(copying.pinned, stream=blocking)
    assert cp.syncs == before + 1  # it and the null stream wait for each other


@pytest.mark.parametrize(
    "waits", ["none", "the host, for the event", "the host", "the device", "its stream, too early"]
)
def test_who_does_not_wait_reads_garbage(cp: Any, copying: Copying, waits: str) -> None:
    if waits == "its stream, too early":
        copying.computing.wait_event(copying.stream.record(copying.copied))
    there = copying.send()
    if waits == "the host, for the event":
        copying.copied.synchronize()
    elif waits == "the host":
        copying.stream.synchronize()
    elif waits == "the device":
        cp.cuda.Device().synchronize()
    assert ((there + 0).tolist() == RIGHT) == (waits.startswith("the"))
    assert cp.races == []


def test_a_copy_takes_what_is_there_when_it_is_done(cp: Any, copying: Copying) -> None:
    there = copying.send()
    copying.pinned[:] = 7  # too early
    copying.computing.wait_event(copying.copied)
    assert there.tolist() == [7, 7, 7] and "was changed before the host knew" in cp.races[0]


@pytest.mark.parametrize("how", ["the next copy", "the host", "the test's end"])
def test_the_compute_stream_waits_but_the_host_does_not(cp: Any, copying: Copying, how: str) -> None:
    there = copying.send()
    copying.computing.wait_event(copying.copied)
    copying.pinned[:] = 7  # the copy may be done, or not: nobody has asked
    if how == "the next copy":
        copying.there = cp.empty(3, np.float32)
        copying.send()
    elif how == "the host":
        copying.copied.synchronize()
    else:
        with pytest.raises(AssertionError, match="was changed before the host knew"):
            cp.reset()
        return
    assert len(cp.races) == 1 and there.tolist() == [7, 7, 7]
    copying.copied.synchronize()
    copying.pinned[:] = 8
    copying.send()
    assert len(cp.races) == 1  # now it was right


def test_a_copy_may_not_outlive_the_memory(cp: Any, copying: Copying) -> None:
    copying.send()
    del copying.there
    assert cp.races == ["device memory was freed before the copy into it was waited for"]
    copying.there = cp.empty(3, np.float32)
    copying.send()
    copying.computing.wait_event(copying.copied)
    del copying.there  # who gets it next comes after the copy
    assert len(cp.races) == 1
    del copying.pinned  # the host may get it next
    assert "page-locked memory was freed before the host knew" in cp.races[-1]
    done = Copying(cp)
    done.send()
    done.stream.synchronize()
    races = len(cp.races)
    del done
    assert len(cp.races) == races


def test_a_copy_waits_for_who_had_the_memory(cp: Any, copying: Copying) -> None:
    copying.stream.wait_event(copying.computing.record())
    late = cp.empty(3, np.float32)  # after the record
    late.set(copying.pinned, stream=copying.stream)
    assert cp.races == ["a copy's stream does not wait for the stream that allocated the memory"]
    late.set(copying.pinned)  # on the stream that allocated it
    with copying.stream:
        cp.empty(3, np.float32).set(copying.pinned)
    assert len(cp.races) == 1 and cp.cuda.get_current_stream() is cp.cuda.Stream.null


def test_streams_and_events_belong_to_devices(cp: Any, copying: Copying) -> None:
    with cp.cuda.Device(1):
        other, event = cp.empty(3, np.float32), cp.cuda.Event()
        with pytest.raises(RuntimeError, match="does not match with the current device"), copying.stream:
            pass
    wrong: list[Callable[[], Any]] = [
        lambda: other.set(copying.pinned, stream=copying.stream), lambda: copying.stream.record(event),
        lambda: copying.computing.record(event), lambda: event.record(),
    ]  # fmt: skip
    for use in wrong:
        with pytest.raises(standin.CUDARuntimeError, match="of two devices"):
            use()
    cp.cuda.Stream.null.wait_event(copying.copied)  # what the null stream is, the current device says
    there = copying.send()
    with cp.cuda.Device(1):
        copying.computing.wait_event(copying.copied)
    assert cp.races == [] and there.tolist() != RIGHT  # it was the other device that waited
    copying.computing.wait_event(copying.copied)
    assert there.tolist() == RIGHT


def test_set_refuses_what_cupy_refuses(copying: Copying) -> None:
    for error, source in (
        (TypeError, [1.0, 2.0, 3.0]), (TypeError, np.zeros(3)), (ValueError, np.zeros((3, 1), np.float32)),
        (TypeError, array(1, 2, 3)),
    ):  # fmt: skip
        with pytest.raises(error):
            copying.there.set(source)
    with pytest.raises(RuntimeError, match="non-contiguous"):
        standin.fake_cupy.zeros((3, 2))[:, 0].set(np.zeros(3))


def test_empty_is_never_luckily_right(cp: Any) -> None:
    assert np.isnan(cp.empty(2).get()).all() and cp.empty((1, 2), dtype="int8", order="F").tolist() == [[-1, -1]]
    assert cp.empty(2, bool).tolist() == [True, True] and cp.empty(0).shape == (0,)


@pytest.mark.filterwarnings("ignore")
def test_signatures_of_streams_are_cupys() -> None:
    cupy = pytest.importorskip("cupy")
    for name, methods in {
        "Event": ("__init__", "record", "synchronize"),
        "Stream": ("__init__", "record", "synchronize", "wait_event", "__enter__"),
    }.items():
        for method in methods:
            mine, theirs = (
                [
                    (p.name, p.default)
                    for p in inspect.signature(getattr(getattr(m.cuda, name), method)).parameters.values()
                ]
                for m in (standin.fake_cupy, cupy)
            )
            assert mine == theirs, f"{name}.{method}"
    assert "alloc_pinned_memory(size_t size)" in cupy.cuda.alloc_pinned_memory.__doc__
    assert "set(self, arr, stream=None)" in cupy.ndarray.set.__doc__


# -- CuPy's names ---------------------------------------------------------------------------------


def chains(tree: ast.AST) -> Iterator[tuple[str, ast.Call | None]]:
    """("add.at", call) for every xp.add.at(...) in a file, ("float32", None) for a name that is not called."""
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        names: list[str] = []
        step: ast.AST = node
        while isinstance(step, ast.Attribute):
            names, step = [step.attr, *names], step.value
        root = step.attr if isinstance(step, ast.Attribute) else getattr(step, "id", "")
        if "xp" in names:
            names = names[names.index("xp") + 1 :]
        elif root not in ("xp", "cupy"):
            continue
        if names and id(node) not in inner:
            yield ".".join(names), calls.get(id(node))


def used() -> list[tuple[str, str, ast.Call | None]]:
    return [
        (path.relative_to(LIBRARY).as_posix(), name, call)
        for path in sorted(LIBRARY.rglob("*.py"))
        for name, call in chains(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_the_library_uses_cupys_names_only() -> None:
    found = used()
    assert {"exp", "add.at", "where", "cuda.Device", "cuda.runtime.getDeviceCount"} <= {n for _, n, _ in found}
    for path, name, call in found:
        assert name.partition(".")[0] in standin.NAMES, f"{path}: cupy has no {name}"
        attrgetter(name)(standin.fake_cupy)  # the stand-in can answer
        signature = standin.NAMES.get(name)
        if call is not None and signature is not None:
            free = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
            for keyword in call.keywords:
                assert free or keyword.arg is None or keyword.arg in signature.parameters, (
                    f"{path}: xp.{name}({keyword.arg}=)"
                )


def test_only_the_backend_knows_cupy() -> None:
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert path.name == "backend.py" or not any(n.startswith("cupy") for n in names), path


@pytest.mark.filterwarnings("ignore")
def test_the_list_of_names_is_cupys() -> None:
    cupy = pytest.importorskip("cupy")
    for name in {n for _, n, _ in used()}:
        attrgetter(name)(cupy)
    stated = standin.NAMES_FILE.read_text(encoding="utf-8")
    if f"CuPy {cupy.__version__} " in stated.splitlines()[0]:
        assert standin.list_names() == stated
