"""DataLoader(..., pin_memory=True): the batches that it gives without, copied beside the computing and never too early
or too late. The stand-in notes races between the streams (see standin.py), and so every test here is one for races."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin

import tinygrad_m as tg
from tinygrad_m import backend, nn, optim
from tinygrad_m.data import DataLoader
from tinygrad_m.data.pinned import _gather
from tinygrad_m.nn import functional as F
from tinygrad_m.tensor import Tensor


def rows(n: int = 23) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n)
    return np.stack([y, y + 0.25, y + 0.5], axis=1).astype(np.float32), y


def numbers(batches: Any) -> list[Any]:
    """All batches as lists of numbers, read only when all of them are there: the latest moment finds the most."""
    kept = [batch if isinstance(batch, tuple) else (batch,) for batch in batches]
    return [[t.tolist() for t in batch] for batch in kept]


# -- the same batches -----------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("n", "batch_size"), [(23, 4), (24, 4), (3, 4), (4, 4), (5, 4), (9, 4), (1, 1), (0, 4)])
def test_batches_are_those_without(there: str, shuffle: bool, drop_last: bool, n: int, batch_size: int) -> None:
    options: dict[str, Any] = {"shuffle": shuffle, "drop_last": drop_last, "batch_size": batch_size, "seed": 5}
    pinned = DataLoader(*rows(n), device=there, pin_memory=True, **options)
    plain, host = DataLoader(*rows(n), device=there, **options), DataLoader(*rows(n), device="cpu", **options)
    assert len(pinned) == len(plain)
    for _ in range(3):
        epoch = list(pinned)
        assert {t.device for batch in epoch for t in batch} <= {there}
        assert {t.dtype.name for batch in epoch for t in batch} <= {"float32", "int64"}
        assert numbers(epoch) == numbers(plain) == numbers(host)
    assert pinned.epoch == 3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"])
def test_dtypes(there: str, dtype: str) -> None:
    data = np.arange(22).reshape(11, 2).astype(dtype)
    batches = list(DataLoader(data, batch_size=4, device=there, pin_memory=True))
    assert [type(batch) for batch in batches] == [Tensor] * 3 and {str(batch.dtype) for batch in batches} == {dtype}
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in batches]), data)


@pytest.mark.parametrize("shape", [(10,), (10, 0), (10, 1), (10, 2, 3, 1), (10, 2, 0), (0, 3), (0,)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_shapes(there: str, shape: tuple[int, ...], shuffle: bool) -> None:
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    one, other = (
        [batch.numpy() for batch in DataLoader(data, batch_size=4, shuffle=shuffle, seed=1, device=there, **options)]
        for options in ({"pin_memory": True}, {})
    )
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs, strict=True)


def test_any_layout_in_memory(there: str, tmp_path: Path) -> None:
    x = np.arange(60, dtype=np.float32).reshape(10, 6)
    raw = bytearray(241)
    shifted = np.frombuffer(raw, np.float32, 60, offset=1).reshape(10, 6)
    shifted[...] = x
    np.save(tmp_path / "x.npy", x)
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    for data in (
        np.asfortranarray(x),
        np.repeat(x, 2, axis=1)[:, ::2],
        x[::-1][::-1],
        x.astype(">f4"),
        shifted,
        on_disk,
    ):
        for shuffle in (False, True):
            plain, pinned = (
                DataLoader(data.astype("f4") if device == "cpu" else data, batch_size=4, shuffle=shuffle, seed=2,
                           device=device, pin_memory=True) for device in ("cpu", there)
            )  # fmt: skip
            assert numbers(pinned) == numbers(plain) and all(batch.dtype.isnative for batch in pinned)
            assert np.shares_memory(pinned.arrays[0], data)  # no copy of the data set


@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray])
def test_gathering_copies_the_chosen_rows_only(lay: Any) -> None:
    data, out = lay(np.ones((1000, 1000))), np.empty((10, 1000))
    tracemalloc.start()
    _gather(data, np.arange(0, 100, 10), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (out == 1).all() and peak < (10_000 if data.flags.c_contiguous else 200_000)  # out has 80 kB, data 8 MB


def test_the_data_set_stays_on_the_host_and_as_it_was(there: str) -> None:
    x, y = rows()
    loader = DataLoader(Tensor(x, device="cpu"), y, batch_size=4, device=there, pin_memory=True)
    assert all(isinstance(a, np.ndarray) for a in loader.arrays)
    for bx, by in loader:
        with tg.no_grad():
            bx *= 0.0
            by += 1
    np.testing.assert_array_equal(x, rows()[0])
    y[:] = y + 100
    assert [n for batch in numbers(loader) for n in batch[1]] == list(range(100, 123))


def test_transform_sees_the_batches_in_order(there: str) -> None:
    seen = []

    def note(x: Tensor, y: Tensor) -> Any:
        seen.append(y.tolist())
        return x * 2.0, y

    plain = numbers(DataLoader(*rows(), batch_size=5, shuffle=True, seed=1, device=there, transform=note))
    before, seen[:] = list(seen), []
    pinned = DataLoader(*rows(), batch_size=5, shuffle=True, seed=1, device=there, transform=note, pin_memory=True)
    assert numbers(pinned) == plain and seen == before

    def fail(*batch: Tensor) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        next(iter(DataLoader(*rows(), device=there, transform=fail, pin_memory=True)))


def test_iterators_at_once_do_not_meet(there: str) -> None:
    options: dict[str, Any] = {"batch_size": 4, "shuffle": True, "seed": 3, "device": there}
    loader, alone = (DataLoader(*rows(), pin_memory=pin, **options) for pin in (True, False))
    pairs = list(zip(loader, loader, strict=True))
    assert numbers(a for a, _ in pairs) == numbers(alone) and numbers(b for _, b in pairs) == numbers(alone)


@pytest.mark.parametrize("taken", range(7))
def test_an_iterator_that_is_left(there: str, taken: int) -> None:
    loader = DataLoader(*rows(), batch_size=4, device=there, pin_memory=True)
    iterator = iter(loader)
    batches = [next(iterator) for _ in range(min(taken, 6))]
    del iterator
    others = tg.zeros(4, 3, device=there) + 7.0  # what may be given the memory next
    assert numbers(batches) == numbers(DataLoader(*rows(), batch_size=4, device="cpu"))[:taken]
    assert set(np.ravel(others.numpy()).tolist()) == {7.0}
    assert len(numbers(loader)) == 6 and loader.epoch == 2


def test_a_loop_that_breaks_or_raises(there: str) -> None:
    loader = DataLoader(*rows(), batch_size=4, device=there, pin_memory=True)
    for k, _ in enumerate(loader):
        if k == 2:
            break
    try:
        for _ in loader:
            raise KeyError
    except KeyError:
        pass
    gc.collect()
    assert numbers(loader) == numbers(DataLoader(*rows(), batch_size=4, device="cpu"))


def test_training_is_that_on_the_host(there: str) -> None:
    x, y = rows(60)
    x, y = x / 60, y % 3
    ends = []
    for device, pin in (("cpu", False), (there, False), (there, True)):
        tg.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            for bx, by in DataLoader(x, y, batch_size=8, shuffle=True, seed=0, device=device, pin_memory=pin):
                optimizer.zero_grad()
                F.cross_entropy(model(bx), by).backward()
                optimizer.step()
        ends.append(np.concatenate([p.numpy().ravel() for p in model.parameters()]))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-4, atol=1e-6)


@pytest.mark.cuda
def test_large_batches_beside_long_computing() -> None:
    """On a real GPU: copies of some MB, and computing that is asked for long before it is done."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (4096, 4096), dtype=np.uint8), np.arange(4096)
    sums = x.sum(axis=1, dtype=np.int64)
    weight = tg.randn(1024, 1024, device="cuda")
    loader = DataLoader(x, y, batch_size=512, shuffle=True, seed=0, device="cuda", pin_memory=True)
    for _ in range(5):
        found = []
        for bx, by in loader:
            for _ in range(20):
                weight = weight @ weight * 1e-3
            found.append((bx.astype("int64").sum(axis=1), by))
            if len(found) % 3 == 0:
                bx += 1  # on the compute stream: a copy that came too early or too late would show
        for got, of in found:
            np.testing.assert_array_equal(got.numpy(), sums[of.numpy()])


# -- who waits ------------------------------------------------------------------------------------


def test_waiting(cuda: Any) -> None:
    """The host waits for the copy of two batches before, and once at the end; never for the computing."""
    loader = DataLoader(*rows(), batch_size=4, device="cuda:1", pin_memory=True)
    iterator, total = iter(loader), tg.zeros(3, device="cuda:1")
    waits = []
    for x, _ in iterator:
        total = total + x.sum(axis=0)
        waits.append(cuda.event_syncs)
    assert waits == [0, 1, 2, 3, 4, 4] and cuda.syncs == 1
    assert total.tolist() == rows()[0].sum(axis=0).tolist()


def test_a_copy_is_asked_for_one_batch_ahead(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[float] = []
    monkeypatch.setattr(
        standin.ndarray, "set", lambda self, arr, stream=None, old=standin.ndarray.set: (sent.append(arr[0]),
        old(self, arr, stream)),
    )  # fmt: skip
    ahead = []
    for _ in DataLoader(rows()[1], batch_size=4, device="cuda", pin_memory=True):
        ahead.append(len(sent))
    assert ahead == [2, 3, 4, 5, 6, 6] and sent == [0, 4, 8, 12, 16, 20]


def test_the_streams_are_not_blocking(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    stream = cuda.cuda.Stream
    monkeypatch.setattr(cuda.cuda, "Stream", lambda **options: made.append(options) or stream(**options))
    list(DataLoader(*rows(), device="cuda", pin_memory=True))
    assert made == [{"non_blocking": True}]


def test_the_training_loops_own_stream(there: str) -> None:
    xp, index = backend.parse(there)[0].xp, backend.parse(there)[1]
    loader = DataLoader(*rows(), batch_size=4, shuffle=True, seed=0, device=there, pin_memory=True)
    with xp.cuda.Device(index), xp.cuda.Stream(non_blocking=True) as mine:
        got = [batch.numpy() for batch, _ in loader]
        mine.synchronize()
    plain = DataLoader(*rows(), batch_size=4, shuffle=True, seed=0, device="cpu")
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate([x.numpy() for x, _ in plain]))


def test_devices_are_left_as_they_were(cuda: Any) -> None:
    assert cuda.cuda.runtime.getDevice() == 0
    for x, _ in DataLoader(*rows(), batch_size=4, device="cuda:1", pin_memory=True):
        assert cuda.cuda.runtime.getDevice() == 0 and x.device == "cuda:1"
    with cuda.cuda.Device(1):
        assert numbers(DataLoader(*rows(), device="cuda:0", pin_memory=True)) == numbers(DataLoader(*rows()))
        assert cuda.cuda.runtime.getDevice() == 1


MISTAKES = {  # each wait that the loader has: what is taken out, and what the stand-in then says
    "the host fills a buffer too early": (standin.Event, "synchronize", "was changed before the host knew"),
    "computing begins too early": (standin.Stream, "wait_event", "does not wait for the stream that allocated"),
    "the end comes too early": (standin.Stream, "synchronize", "was freed before"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_wait_can_be_left_out(cuda: Any, monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    owner, method, says = MISTAKES[mistake]
    monkeypatch.setattr(owner, method, lambda *_: None)
    iterator = iter(DataLoader(*rows(), batch_size=4, device="cuda", pin_memory=True))
    kept = numbers(next(iterator) for _ in range(4))
    right = numbers(DataLoader(*rows(), batch_size=4, device="cpu"))[:4]
    assert (kept != right) == (mistake != "the end comes too early")
    del iterator
    races, cuda.races[:] = " ".join(cuda.races), []
    assert says in races
    standin._copies.clear()


@pytest.mark.parametrize("left_out", ["compute", "copy"])
def test_neither_stream_may_go_on_alone(cuda: Any, monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    wait = standin.Stream.wait_event
    monkeypatch.setattr(
        standin.Stream,
        "wait_event",
        lambda self, event: wait(self, event) if (self is standin.Stream.null) == (left_out == "copy") else None,
    )
    x, y = rows()
    loader = DataLoader(x, y, batch_size=4, device="cuda", pin_memory=True)
    sums = [batch.sum() for batch, _ in loader]
    right = [pytest.approx(x[k : k + 4].sum()) for k in range(0, 23, 4)]
    assert ([s.item() for s in sums] == right) == (left_out == "copy")
    races, cuda.races[:] = set(cuda.races), []
    assert ("a copy's stream does not wait for the stream that allocated the memory" in races) == (left_out == "copy")


# -- the CPU, and misuse --------------------------------------------------------------------------


def test_on_the_cpu_it_changes_nothing(cuda: Any) -> None:
    for options in ({}, {"device": "cpu"}):
        loader = DataLoader(*rows(), batch_size=4, shuffle=True, seed=1, pin_memory=True, **options)  # type: ignore
        plain = DataLoader(*rows(), batch_size=4, shuffle=True, seed=1, device="cpu")
        assert numbers(loader) == numbers(plain) and {x.device for x, _ in loader} == {"cpu"}
    there = Tensor(rows()[0], device="cuda")
    assert [x.device for x in DataLoader(there, device="cpu", pin_memory=True)] == ["cpu"]


def test_the_device_is_the_loaders_as_ever(cuda: Any) -> None:
    x, y = rows()
    assert {t.device for t in DataLoader(Tensor(x), y, pin_memory=True).__iter__().__next__()} == {"cpu"}
    tg.set_default_device("cuda:1")
    loader = DataLoader(x, y, pin_memory=np.True_)  # type: ignore[arg-type]
    tg.set_default_device("cpu")
    assert isinstance(loader.arrays[0], np.ndarray) and {t.device for batch in loader for t in batch} == {"cuda:1"}


def test_misuse_is_explained(cuda: Any) -> None:
    x, y = rows()
    with pytest.raises(TypeError, match="pin_memory must be True or False, not 'cuda:1': name the GPU with device="):
        DataLoader(x, y, pin_memory="cuda:1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pin_memory must be True or False, not 1"):
        DataLoader(x, y, pin_memory=1)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"data on the host, but array 1 is on cuda:1: .*\.cpu\(\), or leave pin_memory"
    ):
        DataLoader(x, Tensor(y, device="cuda:1"), device="cuda", pin_memory=True)
    with pytest.raises(ValueError, match="array 0 is on cuda:0"):
        DataLoader(Tensor(x, device="cuda"), y, pin_memory=True)
    with pytest.raises(TypeError, match="dtype must be a float, integer or bool type"):
        DataLoader(x.astype(np.longdouble), device="cuda", pin_memory=True)
    with pytest.raises(tg.DeviceError, match="'cuda:2'.*finds 2 CUDA devices"):
        DataLoader(x, y, device="cuda:2", pin_memory=True)
    with pytest.raises(ValueError, match="'cpu', 'cuda' or 'cuda:N'"):
        DataLoader(x, y, device="gpu", pin_memory=True)


def test_without_a_gpu(cuda: Any) -> None:
    cuda.devices = 0
    with pytest.raises(tg.DeviceError, match="finds no CUDA devices.*device='cpu'"):
        DataLoader(*rows(), device="cuda", pin_memory=True)
    assert len(DataLoader(*rows(), pin_memory=True)) == 1
