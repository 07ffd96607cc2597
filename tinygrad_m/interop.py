"""What a Tensor can be made of, and what others call its operations: numbers, lists, arrays of other libraries,
NumPy's ufuncs, PyTorch's names. tensor.py is the file to read; this one holds its tables and checks."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import autograd, backend
from .backend import Array

PYTORCH_NAMES = {  # and what they are called here
    "add_": "+= inside no_grad()", "amax": "max", "bmm": "@", "cat": "tg.concat([...])", "chunk": "split",
    "clamp": "clip", "concat": "tg.concat([...])", "contiguous": "nothing: it is not needed", "dim": "ndim",
    "double": "astype('float64')", "element_size": "dtype.itemsize", "expand": "broadcast_to",
    "float": "astype('float32')", "float32": "dtype='float32'", "from_numpy": "Tensor", "gather": "take_along_axis",
    "half": "astype('float16')", "index_select": "take", "int": "astype('int32')", "load": "model.load(file)",
    "long": "astype('int64')", "masked_fill": "tg.where", "matmul": "@", "mm": "@", "movedim": "moveaxis",
    "mul_": "*= inside no_grad()", "numel": "size", "Parameter": "nn.Parameter", "permute": "permute_dims",
    "pow": "**", "repeat_interleave": "repeat", "save": "model.save(file)",
    "set_grad_enabled": "no_grad or enable_grad", "sub_": "-= inside no_grad()", "t": "T", "tensor": "Tensor",
    "type": "astype", "unbind": "iteration", "unsqueeze": "expand_dims", "view": "reshape", "zero_": "t[...] = 0",
}  # fmt: skip
UFUNCS = {
    "absolute": "abs", "power": "pow", "true_divide": "divide", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "fabs": "abs", "float_power": "pow",
}  # fmt: skip


def as_array(data: Any, dtype: Any) -> Array:
    """An array of our own from whatever a Tensor can be made of."""
    wanted = None if dtype is None else backend.check_dtype(dtype)
    if isinstance(data, autograd.TensorType):
        if data._node is not None:
            raise TypeError("a Tensor made of a computed tensor would lose its history: use clone(), or detach()")
        data = data.data
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: use .filled(value) first")
    if hasattr(data, "__cuda_array_interface__"):
        with backend.on(data):
            return data.astype(backend.check_dtype(data.dtype if wanted is None else wanted))
    if isinstance(data, (np.ndarray, np.generic)):
        own = backend.check_dtype(data.dtype)
        return backend.cast(np.asarray(data), wanted or own)
    if _holds_tensors(data):
        raise TypeError("a list of tensors would lose their gradients: use stack() or concat()")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"the nested lists have no rectangular shape: {error}") from error
    if array.dtype.kind not in "fiub" or isinstance(data, (str, bytes)):
        found = repr(data) if isinstance(data, (str, bytes, complex)) or data is None else f"{type(data).__name__}"
        raise TypeError(f"a tensor is made of numbers, arrays or nested lists, not {found} ({array.dtype})")
    if wanted is None and (hasattr(data, "__array__") or hasattr(data, "__array_interface__")):
        wanted = array.dtype
    elif wanted is None:  # numbers and lists
        floats = array.dtype.kind == "f" or array.size == 0
        wanted = np.dtype(np.float32 if floats else np.bool_ if array.dtype.kind == "b" else np.int64)
    return backend.cast(array, wanted)


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and any(
        isinstance(x, autograd.TensorType) or _holds_tensors(x) for x in data[:1]
    )
