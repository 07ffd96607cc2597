"""The data package: MNIST from its embedded files and their cache, IDX files good and bad, and the loader."""

from __future__ import annotations

import ast
import gzip
import hashlib
import lzma
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_m
from tinygrad_m import backend
from tinygrad_m.data import DataError, DataLoader, cache_dir, load_mnist, mnist, read_idx
from tinygrad_m.tensor import Tensor

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
FILES = Path(mnist.__file__).with_name("files")
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


@pytest.fixture(autouse=True, scope="module")
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The user's own cache and data set stay out of the tests; MNIST is decoded once for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_M_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TINYGRAD_M_DATA", raising=False)
        yield


def idx(array: np.ndarray) -> bytes:
    """An array as the bytes of an IDX file."""
    code = CODES[array.dtype.str[1:]]
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


def make(directory: Path, n: int = 7, size: tuple[int, int] = (5, 4), split: str = "train") -> tuple[np.ndarray, ...]:
    """A small data set of random images and labels up to 46 in `directory`; returns both."""
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, *size), dtype=np.uint8)
    labels = rng.integers(0, 47, n, dtype=np.uint8)
    (directory / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
    (directory / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels))
    return images, labels


# ---------------------------------------------------------------------------------------------- MNIST itself


def test_mnist_is_mnist() -> None:
    pixels, labels = load_mnist("train", normalize=False)
    assert pixels.shape == (60000, 1, 28, 28) and pixels.dtype == np.uint8
    assert labels.shape == (60000,) and labels.dtype == np.int64
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert pixels.mean() / 255 == pytest.approx(mnist.MEAN, abs=5e-5)
    assert pixels.std() / 255 == pytest.approx(mnist.STD, abs=5e-5)

    pixels, labels = load_mnist("test", normalize=False)
    assert pixels.shape == (10000, 1, 28, 28) and pixels.dtype == np.uint8
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_normalised_and_flat() -> None:
    pixels, labels = load_mnist("test", normalize=False)
    images, same = load_mnist("test")
    assert images.shape == (10000, 1, 28, 28) and images.dtype == np.float32
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_allclose(images, (pixels / 255 - 0.1307) / 0.3081, rtol=1e-6, atol=1e-6)
    flat, _ = load_mnist("test", flatten=True)
    assert flat.shape == (10000, 784) and flat.dtype == np.float32
    np.testing.assert_array_equal(flat, images.reshape(10000, 784))
    flat, _ = load_mnist("test", flatten=True, normalize=False)
    assert flat.dtype == np.uint8
    np.testing.assert_array_equal(flat, pixels.reshape(10000, 784))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("flatten", [True, False])
def test_arrays_belong_to_the_caller(normalize: bool, flatten: bool) -> None:
    images, labels = load_mnist("test", normalize=normalize, flatten=flatten)
    first = images[0].copy()
    images[:], labels[:] = 0, 0
    again, labels = load_mnist("test", normalize=normalize, flatten=flatten)
    np.testing.assert_array_equal(again[0], first)
    assert labels[0] == 7


@pytest.mark.parametrize("split", ["valid", "Train", "", 0, None, b"train"])
def test_split_error_prints_the_value(split: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f'"train" or "test", not {split!r}')):
        load_mnist(split)


def test_notice_tells_the_truth() -> None:
    notice = (FILES / "NOTICE").read_text()
    for name, decoded in mnist._SHA256.items():
        packed = (FILES / f"{name}.xz").read_bytes()
        assert f"{hashlib.sha256(packed).hexdigest()}  {name}.xz" in notice
        assert f"{decoded}  {name}\n" in notice
    for words in "LeCun", "Cortes", "Burges", "CC BY-SA 3.0":
        assert words in notice


# -------------------------------------------------------------------------------------------------- the cache


def whole(directory: Path) -> bool:
    """Does the cache hold the two decoded files of the test split, and nothing else?"""
    held = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
    return held == {name: digest for name, digest in mnist._SHA256.items() if name.startswith("t10k")}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, in a directory that is not there yet."""
    monkeypatch.setenv("TINYGRAD_M_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def test_second_load_decodes_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = load_mnist("test")
    assert whole(cache)
    monkeypatch.setattr(mnist, "_unpack", lambda *_: pytest.fail("decoded again"))
    again, same = load_mnist("test")
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(same, labels)


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "other data", "a directory"])
def test_bad_cache_is_not_believed(cache: Path, damage: str) -> None:
    images, _ = load_mnist("test", normalize=False)
    victim = cache / "t10k-images-idx3-ubyte"
    raw = bytearray(victim.read_bytes())
    if damage == "a directory":
        victim.unlink()
        (victim / "x").mkdir(parents=True)
    elif damage == "one bit":
        raw[5_000_000] ^= 1
        victim.write_bytes(raw)
    else:  # "other data" is a sound IDX file, left by another version perhaps
        other = idx(np.zeros((10000, 28, 28), np.uint8))
        victim.write_bytes({"truncated": raw[:-1], "empty": b"", "other data": other}[damage])
    again, _ = load_mnist("test", normalize=False)
    np.testing.assert_array_equal(again, images)
    if damage == "a directory":
        assert [path.name for path in cache.iterdir() if path.suffix == ".part"] == []
    else:
        assert whole(cache), "the cache was not rebuilt"


def test_load_without_a_usable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("a file where the cache directory should be")
    for place in blocker, blocker / "below", Path("/proc/nowhere"):
        monkeypatch.setenv("TINYGRAD_M_CACHE", str(place))
        assert load_mnist("test")[1][:3].tolist() == [7, 2, 1]
    assert blocker.read_text().startswith("a file")


def test_cache_write_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert load_mnist("test")[1][:3].tolist() == [7, 2, 1]
    assert list(cache.iterdir()) == []


def test_cache_file_appears_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, replace = [], os.replace

    def spy(source: Path, target: Path) -> None:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        assert source.parent == target.parent and not target.exists() and digest == mnist._SHA256[target.name]
        moved.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    load_mnist("test")
    assert moved == ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def test_processes_at_once(cache: Path) -> None:
    program = (
        "from tinygrad_m.data import load_mnist\n"
        "images, labels = load_mnist('test', normalize=False)\n"
        "print(images.sum(), labels.sum())"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(tinygrad_m.__path__[0]).parent)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [(*process.communicate(timeout=120), process.returncode) for process in running]
    images, labels = load_mnist("test", normalize=False)
    assert answers == [(f"{images.sum()} {labels.sum()}\n", "", 0)] * 4
    assert whole(cache)


def test_damaged_package_is_an_error(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "_FILES", tmp_path)
    packed = tmp_path / "t10k-images-idx3-ubyte.xz"
    with pytest.raises(FileNotFoundError, match=re.escape(str(packed))):
        load_mnist("test")
    packed.write_bytes(lzma.compress(idx(np.zeros((10000, 28, 28), np.uint8))))
    with pytest.raises(DataError, match=f"{re.escape(str(packed))}: .*SHA-256 0fa7898d.*found [0-9a-f]{{64}}.*again"):
        load_mnist("test")
    assert not cache.exists()


def test_cache_dir_follows_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYGRAD_M_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == tmp_path / ".cache" / "tinygrad_m"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/path")
    assert cache_dir() == tmp_path / ".cache" / "tinygrad_m"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "tinygrad_m"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == tmp_path / "Library" / "Caches" / "tinygrad_m"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert cache_dir() == tmp_path / "Local" / "tinygrad_m"
    monkeypatch.setenv("TINYGRAD_M_CACHE", "~/mine")
    assert cache_dir() == tmp_path / "mine"
    assert not (tmp_path / "mine").exists()


def test_cache_dir_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYGRAD_M_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does where there is none
    assert cache_dir().is_absolute() and "~" not in str(cache_dir())


# ------------------------------------------------------------------------------- data sets from a directory


def packed(path: Path, how: str) -> None:
    """Turn the file at `path` into one of the forms in which it is found in the wild."""
    raw = path.read_bytes()
    path.unlink()
    if how.startswith("dot"):
        path = path.with_name(path.name.replace("-idx", ".idx"))
    if how.endswith("gz"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(raw))
    elif how.endswith("xz"):
        path.with_name(path.name + ".xz").write_bytes(lzma.compress(raw))
    else:
        path.write_bytes(raw)


@pytest.mark.parametrize("how", ["plain", "gz", "xz", "dot", "dot gz", "dot xz"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_directory_forms(tmp_path: Path, how: str, split: str) -> None:
    pixels, labels = make(tmp_path, split={"train": "train", "test": "t10k"}[split])
    for path in list(tmp_path.iterdir()):
        packed(path, how)
    got, classes = load_mnist(split, directory=str(tmp_path), normalize=False)
    np.testing.assert_array_equal(got, pixels[:, None])
    np.testing.assert_array_equal(classes, labels)
    assert got.dtype == np.uint8 and classes.dtype == np.int64 and got.flags.writeable and classes.flags.writeable
    images, _ = load_mnist(split, directory=tmp_path, flatten=True)
    np.testing.assert_allclose(images, (pixels.reshape(7, 20) / 255 - 0.1307) / 0.3081, rtol=1e-6, atol=1e-6)


def test_directory_argument_wins_over_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    make(tmp_path / "a", n=3)
    make(tmp_path / "b", n=4)
    monkeypatch.setenv("TINYGRAD_M_DATA", str(tmp_path / "a"))
    assert len(load_mnist()[0]) == 3
    assert len(load_mnist(directory=tmp_path / "b")[0]) == 4
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_mnist(directory="~/b")[0]) == 4
    monkeypatch.setenv("TINYGRAD_M_DATA", "")
    assert len(load_mnist("test")[0]) == 10000


def test_directory_is_not_cached(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "d").mkdir()
    make(tmp_path / "d", n=3)
    load_mnist(directory=tmp_path / "d")
    make(tmp_path / "d", n=5)
    assert len(load_mnist(directory=tmp_path / "d")[0]) == 5
    assert not cache.exists()


def test_plain_file_comes_first_and_folders_are_passed_over(tmp_path: Path) -> None:
    pixels, _ = make(tmp_path)
    (tmp_path / f"{IMAGES}.gz").write_bytes(b"never read")
    assert len(load_mnist(directory=tmp_path)[0]) == len(pixels)
    packed(tmp_path / IMAGES, "dot")  # Kaggle's archive has folders under the plain names
    (tmp_path / f"{IMAGES}.gz").unlink()
    (tmp_path / IMAGES).mkdir()
    assert len(load_mnist(directory=tmp_path)[0]) == len(pixels)


def test_empty_data_set(tmp_path: Path) -> None:
    make(tmp_path, n=0, size=(28, 28))
    assert load_mnist(directory=tmp_path)[0].shape == (0, 1, 28, 28)
    assert load_mnist(directory=tmp_path, flatten=True)[0].shape == (0, 784)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=f"{re.escape(str(tmp_path / 'no'))}: expected {IMAGES}.*no such directory"
    ):
        load_mnist(directory=tmp_path / "no")
    make(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path))}: expected t10k-images-idx3.*{IMAGES}"):
        load_mnist("test", directory=tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected {LABELS} .*found .'{IMAGES}'.*directory="):
        load_mnist(directory=tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        read_idx(tmp_path / "nothing-here")


PIXELS = idx(np.arange(7 * 5 * 4, dtype=np.uint8).reshape(7, 5, 4))
GZIP, XZ = gzip.compress(PIXELS, mtime=0), lzma.compress(PIXELS)
BAD = {  # what stands under the images' name -> what the message must say
    "truncated": (
        PIXELS[:-1],
        r"expected 156 bytes for the shape \(7, 5, 4\) of uint8.*found 155 bytes.*download",
    ),
    "too long": (PIXELS + b"\0", r"expected 156 bytes .*found 157 bytes"),
    "huge shape": (
        PIXELS[:4] + b"\xff" * 12,
        r"expected \d{29} bytes for the shape \(4294967295, .*found 16 bytes",
    ),
    "half a header": (PIXELS[:10], r"expected an IDX file .*found 10 bytes that start '00 00 08 03"),
    "empty": (b"", r"expected an IDX file .*found 0 bytes"),
    "one byte": (b"\0", r"expected an IDX file .*found 1 bytes"),
    "no axes": (b"\0\0\x08\0", r"expected an IDX file .*1 to 4 axes"),
    "unknown dtype": (b"\0\0\x0a" + PIXELS[3:], r"expected an IDX file .*'00 00 0a 03"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(99), r"expected an IDX file .*'89 50 4e 47"),
    "web page": (
        b"<!DOCTYPE html><html>404",
        r"expected an IDX file, found a web page .*<!DOCTYPE html>.*download",
    ),
    "web page after a mark": (b"\xef\xbb\xbf\r\n <html>", r"expected an IDX file, found a web page"),
    "web page in gzip": (gzip.compress(b"<html>"), r"expected an IDX file, found a web page"),
    "gzip cut": (GZIP[:-9], r"expected intact gzip data, found an error .*download"),
    "gzip checksum": (GZIP[:-5] + b"\0" + GZIP[-4:], r"expected intact gzip data, found .*CRC"),
    "gzip garbled": (GZIP[:12] + b"\xff" * 20 + GZIP[32:], r"expected intact gzip data"),
    "xz cut": (XZ[:-9], r"expected intact lzma data"),
    "xz garbled": (XZ[:24] + b"\xff" * 9 + XZ[33:], r"expected intact lzma data"),
    "labels, renamed": (
        idx(np.zeros(7, np.uint8)),
        r"expected images, uint8 \(N, H, W\), found uint8 \(7,\)",
    ),
    "floats": (
        idx(np.zeros((7, 5, 4), np.float32)),
        r"expected images, uint8 .*found float32 \(7, 5, 4\)",
    ),
}


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])  # the name says nothing: the content does
@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_named_and_explained(tmp_path: Path, case: str, suffix: str) -> None:
    content, says = BAD[case]
    make(tmp_path)
    (tmp_path / IMAGES).unlink()
    (tmp_path / (IMAGES + suffix)).write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / (IMAGES + suffix)))}: {says}"):
        load_mnist(directory=tmp_path)


def test_labels_that_do_not_belong(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / LABELS).write_bytes(idx(np.zeros(6, np.uint8)))
    with pytest.raises(DataError, match=f"{LABELS}: expected 7 labels, one for each image in {IMAGES}, found 6"):
        load_mnist(directory=tmp_path)
    (tmp_path / LABELS).write_bytes(PIXELS)
    with pytest.raises(DataError, match=rf"{LABELS}: expected labels, uint8 \(N,\), found uint8 \(7, 5, 4\)"):
        load_mnist(directory=tmp_path)


def test_python_without_lzma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xz").write_bytes(XZ)
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(ImportError, match=r"a\.xz: this Python was built without the module lzma.*directory="):
        read_idx(tmp_path / "a.xz")


def test_data_error_is_a_value_error_that_pickles(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"<html>")
    with pytest.raises(ValueError) as caught:
        read_idx(tmp_path / "x")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is DataError and str(again) == str(caught.value)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 1), (2, 1, 3, 2), (0,), (2, 0, 3)])
def test_read_idx_round_trip(tmp_path: Path, code: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(scale=40, size=shape).astype(code)
    (tmp_path / "a.idx").write_bytes(idx(array))
    got = read_idx(str(tmp_path / "a.idx"))
    np.testing.assert_array_equal(got, array)
    assert got.shape == shape and got.dtype == np.dtype(code) and got.dtype.isnative and got.flags.writeable


# ------------------------------------------------------------------------------------------------- the loader


def rows(n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """x (n, 3) float32 and y (n,) int64, the row's number in both."""
    y = np.arange(n)
    return np.stack([y, y + 0.25, y + 0.5], axis=1).astype(np.float32), y


def order(loader: DataLoader) -> list[int]:
    """The rows that one epoch gives, in order; checks on the way that x and y kept together."""
    seen = []
    for x, y in loader:
        np.testing.assert_array_equal(x.numpy()[:, 1], y.numpy() + 0.25)
        seen += y.numpy().tolist()
    return seen


def test_batches_in_order() -> None:
    loader = DataLoader(*rows(), batch_size=4)
    batches = list(loader)
    assert all(type(batch) is tuple and all(type(t) is Tensor for t in batch) for batch in batches)
    assert [tuple(x.shape) for x, _ in batches] == [(4, 3), (4, 3), (2, 3)]
    assert [y.numpy().tolist() for _, y in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    x, y = batches[0]
    assert x.dtype == np.float32 and y.dtype == np.int64 and not x.requires_grad
    assert order(loader) == order(loader) == list(range(10))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 8])
def test_number_of_batches(n: int, drop_last: bool, shuffle: bool) -> None:
    loader = DataLoader(*rows(n), batch_size=4, drop_last=drop_last, shuffle=shuffle)
    sizes = [len(y) for _, y in loader]
    assert sizes == [4] * (n // 4) + ([] if drop_last or n % 4 == 0 else [n % 4])
    assert len(loader) == len(sizes)


def test_default_batch_size_is_64() -> None:
    assert [len(y) for _, y in DataLoader(*rows(100))] == [64, 36]


def test_one_array_gives_tensors_and_three_give_triples() -> None:
    x, y = rows()
    assert [type(batch) for batch in DataLoader(x, batch_size=5)] == [Tensor, Tensor]
    triples = list(DataLoader(x, y, y.astype(np.uint8), batch_size=5))
    assert [[len(t) for t in batch] for batch in triples] == [[5, 5, 5]] * 2
    assert triples[0][2].dtype == np.uint8


def test_tensors_as_data() -> None:
    x, y = rows()
    loader = DataLoader(Tensor(x), y, batch_size=4, shuffle=True, seed=0)
    assert sorted(order(loader)) == list(range(10))
    (first, _), *_ = loader
    assert first.device == Tensor(x).device and first.dtype == np.float32


def test_shuffle_is_a_new_permutation_each_epoch() -> None:
    loader = DataLoader(*rows(50), batch_size=8, shuffle=True)
    epochs = [order(loader) for _ in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, range(50)]}) == 4


def test_seed_fixes_every_epoch_whatever_else_draws() -> None:
    backend.manual_seed(1)
    one = DataLoader(*rows(50), shuffle=True, seed=3)
    first = [order(one) for _ in range(3)]
    two = DataLoader(*rows(50), shuffle=True, seed=np.int64(3))
    second = []
    for _ in range(3):
        backend.rng().random(17)
        np.random.random(17)
        second.append(order(two))
    assert first == second
    assert order(DataLoader(*rows(50), shuffle=True, seed=4)) != first[0]


def test_batch_size_and_device_do_not_change_the_order() -> None:
    assert order(DataLoader(*rows(50), shuffle=True, seed=3, batch_size=7)) == order(
        DataLoader(*rows(50), shuffle=True, seed=3, batch_size=50, device="cpu")
    )


def test_seed_comes_from_the_framework() -> None:
    def run(seed: int) -> list[int]:
        backend.manual_seed(seed)
        return order(DataLoader(*rows(50), shuffle=True))

    assert run(5) == run(5) != run(6)
    backend.manual_seed(5)
    assert order(DataLoader(*rows(50), shuffle=True)) != order(DataLoader(*rows(50), shuffle=True))


def test_no_number_is_drawn_without_need() -> None:
    backend.manual_seed(5)
    expected = backend.rng().random()
    backend.manual_seed(5)
    order(DataLoader(*rows(), shuffle=False))
    order(DataLoader(*rows(), shuffle=True, seed=1))
    assert backend.rng().random() == expected


def test_epoch_can_be_resumed() -> None:
    loader = DataLoader(*rows(50), shuffle=True, seed=3)
    third = [order(loader) for _ in range(3)][2]
    assert loader.epoch == 3
    resumed = DataLoader(*rows(50), shuffle=True, seed=3)
    resumed.epoch = 2
    assert order(resumed) == third


def test_passes_at_the_same_time_do_not_disturb_each_other() -> None:
    loader = DataLoader(*rows(50), batch_size=5, shuffle=True, seed=3)
    alone = DataLoader(*rows(50), batch_size=5, shuffle=True, seed=3)
    pairs = list(zip(loader, loader, strict=True))
    for k in range(2):
        assert [i for pair in pairs for i in pair[k][1].numpy().tolist()] == order(alone)


def test_a_pass_left_early_counts() -> None:
    loader = DataLoader(*rows(50), batch_size=5, shuffle=True, seed=3)
    next(iter(loader))
    alone = DataLoader(*rows(50), shuffle=True, seed=3)
    assert [order(alone), order(alone)][1] == order(loader)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [4, 10, 99])
def test_batches_share_no_memory_with_the_data(shuffle: bool, batch_size: int) -> None:
    x, y = rows()
    x_tensor = Tensor(x)
    for data in x, x_tensor:
        for bx, by in DataLoader(data, y, batch_size=batch_size, shuffle=shuffle, device="cpu"):
            bx.data[:] = -1
            by.data[:] = -1
    np.testing.assert_array_equal(x, rows()[0])
    np.testing.assert_array_equal(y, rows()[1])
    np.testing.assert_array_equal(x_tensor.numpy(), rows()[0])


def test_the_data_is_not_copied() -> None:
    x, y = rows()
    loader = DataLoader(x, y, device="cpu")
    x += 100
    y += 100
    assert order(loader) == list(range(100, 110))


def test_transform() -> None:
    def double(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        assert type(x) is Tensor and type(y) is Tensor
        return {"x": x, "twice": Tensor(2 * y.numpy())}

    batches = list(DataLoader(*rows(), batch_size=5, transform=double))
    assert [batch["twice"].numpy().tolist() for batch in batches] == [[0, 2, 4, 6, 8], [10, 12, 14, 16, 18]]
    single = list(DataLoader(rows()[1], batch_size=5, transform=lambda y: y.numpy().sum()))
    assert single == [10, 35]


def test_odd_layouts() -> None:
    x, _ = rows()
    for data in x[::-1], np.asfortranarray(x), x[:, ::2], np.broadcast_to(x[0], (10, 3)):
        got = np.concatenate([batch.numpy() for batch in DataLoader(data, batch_size=4)])
        np.testing.assert_array_equal(got, data)
        (batch,) = DataLoader(data, batch_size=10, device="cpu")
        batch.data[:] = 0  # even of a read-only array a batch can be changed


@pytest.mark.parametrize("value", [0, -1, 2.5, 64.0, True, "64", None, np.float32(4)])
def test_bad_batch_size(value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"batch_size must be a whole number of at least 1, not {value!r}")):
        DataLoader(*rows(), batch_size=value)


def test_numpy_integers_are_whole_numbers() -> None:
    assert len(DataLoader(*rows(), batch_size=np.int32(4))) == 3


@pytest.mark.parametrize("value", [-1, 1.5, True, "a"])
def test_bad_seed(value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"seed must be a whole number of at least 0, not {value!r}")):
        DataLoader(*rows(), seed=value)


def test_bad_arguments() -> None:
    x, y = rows()
    with pytest.raises(ValueError, match=r"at least one array"):
        DataLoader()
    with pytest.raises(ValueError, match=r"one length.*\[10, 9, 10\]"):
        DataLoader(x, y[:9], y)
    with pytest.raises(TypeError, match=r"array 1 must be .* not list.*np\.array\(list\)"):
        DataLoader(x, y.tolist())
    with pytest.raises(TypeError, match=r"array 0 must be .* not tuple.*one by one"):
        DataLoader((x, y))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"array 2 must be .* not int.*options by name"):
        DataLoader(x, y, 64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"array 1 must hold numbers.*int64 of shape \(\)"):
        DataLoader(x, np.array(3))
    with pytest.raises(ValueError, match=r"array 1 must hold numbers.*<U3 of shape \(2,\)"):
        DataLoader(x, np.array(["cat", "dog"]))
    with pytest.raises(TypeError, match=r"transform must be a function.*not 3"):
        DataLoader(x, transform=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gpu"):
        DataLoader(x, device="gpu")


# -------------------------------------------------------------------------------------------------- the house


def test_import_is_cheap() -> None:
    """Nothing is imported, at import, that only decoding needs, nor anything outside the standard library."""
    for path in Path(mnist.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(str(node.module))
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names | {"numpy"}, f"{path.name}: {name}"
                assert name not in ("lzma", "gzip", "hashlib"), f"{path.name}: {name}"
