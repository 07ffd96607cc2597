"""Data for training: MNIST (inside the package, no download), data sets of the same form from a directory,
and batches of any arrays. Read mnist.py for the files, loader.py for the batches."""

from .loader import DataLoader
from .mnist import DataError, cache_dir, load_mnist, read_idx

__all__ = ["DataError", "DataLoader", "cache_dir", "load_mnist", "read_idx"]
