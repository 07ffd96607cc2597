"""MNIST as NumPy arrays without a network: its four files travel inside the package, compressed with xz.
`load_mnist` gives images and labels, of MNIST or of any data set of the same form (Fashion-MNIST, KMNIST)
in a directory of yours; `read_idx` reads one such file. Read loader.py next: it makes batches of them.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training images, scaled to 0..1

_FILES = Path(__file__).with_name("files")
_SHA256 = {  # of the decoded IDX file: one check for the file in the package and for its copy in the cache
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # third byte of IDX
_CODECS = {b"\x1f\x8b": "gzip", b"\xfd7": "lzma"}  # first bytes of a compressed file -> module that reads it
_DAMAGED = "The file is damaged or incomplete: copy, download or install it again."


class DataError(ValueError):
    """A data file does not hold what it should. The message names it, and what was expected and found."""


def load_mnist(
    split: str = "train",
    *,
    directory: str | os.PathLike[str] | None = None,
    normalize: bool = True,
    flatten: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of the 60,000 "train" or the 10,000 "test" digits.

    images  float32 (N, 1, 28, 28), or (N, 784) with `flatten`: (pixel / 255 - MEAN) / STD, with MNIST's own
            MEAN and STD whatever the data set. With `normalize=False` the pixels: uint8, 0 to 255, same shape
    labels  int64 (N,)

    `directory` (or else the environment variable TINYGRAD_M_DATA) is a directory with IDX files of your own,
    of any N, image size and number of classes: train-images-idx3-ubyte, train-labels-idx1-ubyte and the same
    two with t10k for "test"; also as train-images.idx3-ubyte, and with .gz or .xz (plain files come first).

    Raises DataError for a file that is not what its name says, FileNotFoundError for one that is missing.
    The arrays are yours to change. The first load takes about a second to decode MNIST; later ones read what
    it left in `cache_dir()`.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", not {split!r}')
    stem = "train" if split == "train" else "t10k"
    names = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
    directory = directory if directory is not None else os.environ.get("TINYGRAD_M_DATA") or None
    if directory is None:
        images, labels = (_parse(_embedded(name), _FILES / f"{name}.xz") for name in names)
    else:
        images, labels = _read_pair(*(_find(Path(os.path.expanduser(directory)), name) for name in names))
    images = images.reshape(len(images), math.prod(images.shape[1:])) if flatten else images[:, None]
    if normalize:
        images = images.astype(np.float32)
        images -= 255 * MEAN  # in place: 60,000 images are 188 MB
        images /= 255 * STD
    return images, labels.astype(np.int64)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, plain or compressed with gzip or xz (its first bytes tell, not its name).

    Any dtype that IDX knows, in the machine's byte order, with 1 to 4 axes. Raises DataError if the file is
    not IDX or its length does not fit its header, FileNotFoundError if there is none.
    """
    path = Path(path)
    return _parse(_unpack(path.read_bytes(), path), path)


def cache_dir() -> Path:
    """Where the decoded files of MNIST are kept (55 MB; safe to delete). It need not exist.

    $TINYGRAD_M_CACHE if that is set, else the folder tinygrad_m in the user's cache directory:
    $XDG_CACHE_HOME or ~/.cache (macOS: ~/Library/Caches), on Windows %LOCALAPPDATA%.
    """
    if chosen := os.environ.get("TINYGRAD_M_CACHE"):
        return Path(os.path.expanduser(chosen))
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    usual = {"win32": "~/AppData/Local", "darwin": "~/Library/Caches"}.get(sys.platform, "~/.cache")
    for base in os.environ.get(variable, ""), os.path.expanduser(usual):
        if os.path.isabs(base):  # by the XDG rules a relative path does not count
            return Path(base) / "tinygrad_m"
    return Path(tempfile.gettempdir()) / "tinygrad_m"  # a user without a home, as in some containers


def _error(path: Path, expected: str, found: str, remedy: str) -> DataError:
    return DataError(f"{path}: expected {expected}, found {found}. {remedy}")


def _embedded(name: str) -> bytes:
    """A decoded file of MNIST: the cached one if it is whole, else unpacked and cached for the next time."""
    import hashlib

    with suppress(OSError):  # no cache, or one that can't be read: as good as none
        raw = (cache_dir() / name).read_bytes()
        if hashlib.sha256(raw).hexdigest() == _SHA256[name]:
            return raw
    packed = _FILES / f"{name}.xz"
    raw = _unpack(packed.read_bytes(), packed)
    if (found := hashlib.sha256(raw).hexdigest()) != _SHA256[name]:
        raise _error(packed, f"MNIST with SHA-256 {_SHA256[name]}", found, "Install tinygrad_m again.")
    with suppress(OSError):  # a read-only or full disk: decode again next time
        _write(cache_dir() / name, raw)
    return raw


def _write(path: Path, raw: bytes) -> None:
    """Write a file so that others see all of it or nothing, whoever else is writing it now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.urandom(8).hex()}.part")
    try:
        part.write_bytes(raw)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)  # there only if something went wrong


def _unpack(raw: bytes, path: Path) -> bytes:
    """`raw` itself, or decompressed if it is gzip or xz."""
    codec = _CODECS.get(raw[:2])
    if codec is None:
        return raw
    try:
        module: Any = importlib.import_module(codec)  # here, since most programs need neither
    except ImportError as error:
        hint = "use one that has it, or unpack the files with xz -d and name their directory with directory="
        raise ImportError(f"{path}: this Python was built without the module {codec}; {hint}") from error
    try:
        return bytes(module.decompress(raw))
    except Exception as error:  # each codec has several of its own; all mean the same
        raise _error(path, f"intact {codec} data", f"an error in it ({error})", _DAMAGED) from error


def _parse(raw: bytes, path: Path) -> np.ndarray:
    """IDX: two zero bytes, a dtype, the number of axes, the length of each as big-endian uint32, the data."""
    if raw[:256].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        remedy = "A server sent a page in place of the file: download it again, from another address."
        raise _error(path, "an IDX file", f"a web page that starts {raw[:40]!r}", remedy)
    start = 4 + 4 * raw[3] if len(raw) > 3 else 4
    if raw[:2] != b"\0\0" or len(raw) < start or raw[2] not in _DTYPES or not 1 <= raw[3] <= 4:
        expected = "an IDX file (00 00, dtype 08 to 0e, 1 to 4 axes, 4 bytes for each)"
        found = f"{len(raw)} bytes that start {raw[:20].hex(' ')!r}"
        raise _error(path, expected, found, "It is another kind of file, or damaged: download it again.")
    dtype = np.dtype(_DTYPES[raw[2]])
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) != (size := start + math.prod(shape) * dtype.itemsize):
        expected = f"{size} bytes for the shape {shape} of {dtype.name} in its header"
        raise _error(path, expected, f"{len(raw)} bytes", _DAMAGED)
    array = np.frombuffer(raw, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))  # a copy: `raw` is read-only


def _find(directory: Path, name: str) -> Path:
    """The path of an IDX file under the first of the names it goes by that is there."""
    for plain in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz", ".xz"):
            if (path := directory / (plain + suffix)).is_file():
                return path
    found = f"found {sorted(os.listdir(directory))[:8]}" if directory.is_dir() else "there is no such directory"
    hint = "directory= or TINYGRAD_M_DATA must name the directory that holds the four files (neither: MNIST)."
    raise FileNotFoundError(f"{directory}: expected {name} (or .gz, .xz) in it, but {found}. {hint}")


def _read_pair(image_path: Path, label_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W) and labels (N,), both uint8, or DataError."""
    images, labels = read_idx(image_path), read_idx(label_path)
    checks = (image_path, images, "images, uint8 (N, H, W)", 3), (label_path, labels, "labels, uint8 (N,)", 1)
    for path, array, expected, ndim in checks:
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise _error(path, expected, f"{array.dtype.name} {array.shape}", "Is it another file, renamed?")
    if len(images) != len(labels):
        expected = f"{len(images)} labels, one for each image in {image_path.name}"
        raise _error(label_path, expected, f"{len(labels)}", "Take both files from one data set and split.")
    return images, labels
