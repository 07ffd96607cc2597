"""What happens when the engine is used wrongly: every misuse raises, and the message names what was wrong (a value,
shape, dtype or name) and what to do instead. Nothing gives a silently wrong value or gradient. A row of CASES is a
name, the misuse, the exception, and words that the message must contain. test_graph.py tests the right uses."""

# mypy: disable-error-code="arg-type, call-arg, call-overload, comparison-overlap, list-item, misc, no-untyped-call"

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_m as tg
from tinygrad_m.operation import REGISTRY, op

T = tg.Tensor
Case = tuple[str, Callable[[], Any], Any, list[str]]


def leaf(*shape: int) -> tg.Tensor:
    """1, 2, 3 ... in float64, requiring grad."""
    return T(np.arange(1.0, 1 + int(np.prod(shape))).reshape(shape), requires_grad=True)


def plain(*shape: int) -> tg.Tensor:
    return leaf(*shape).detach()


def put(t: tg.Tensor, index: Any, value: Any) -> tg.Tensor:
    t[index] = value
    return t


def iadd(t: Any, value: Any) -> Any:
    t += value
    return t


def twice(keep: bool = False) -> None:
    loss = (leaf(3) ** 2).sum()
    loss.backward()
    loss.backward(retain_graph=keep)


def shared_and_freed() -> tuple[tg.Tensor, tg.Tensor, tg.Tensor]:
    """x, and a second output whose graph goes through a part that the first output's backward has freed."""
    x = leaf(3)
    shared = x * x
    shared.sum().backward()
    return x, shared, (shared * 3.0 + x).sum()


class Odd:
    """An object that is no number."""


GRAPH, AXIS = tg.GraphError, np.exceptions.AxisError

DATA: list[Case] = [
    ("string", lambda: T("1.5"), TypeError, ["'1.5'", "numbers"]),
    ("none", lambda: T(None), TypeError, ["None", "numbers"]),
    ("ragged", lambda: T([[1, 2], [3]]), ValueError, ["rectangular", "inhomogeneous"]),
    ("dict", lambda: T({"a": 1}), TypeError, ["dict", "numbers"]),
    ("set", lambda: T({1, 2}), TypeError, ["set", "numbers"]),
    ("generator", lambda: T(k for k in range(3)), TypeError, ["generator", "lists"]),
    ("object", lambda: T(Odd()), TypeError, ["Odd", "numbers"]),
    ("object array", lambda: T(np.array([1, None])), TypeError, ["dtype('O')", "float32"]),
    ("complex number", lambda: T(1j), TypeError, ["complex", "numbers"]),
    ("complex array", lambda: T(np.ones(2, complex)), TypeError, ["complex128", "float32"]),
    ("dates", lambda: T(np.array(["2020-01-01"], "M8[D]")), TypeError, ["M8[D]", "float32"]),
    ("array of strings", lambda: T(np.array(["1"])), TypeError, ["<U1", "float32"]),
    ("masked array", lambda: T(np.ma.masked_equal([1.0, 2.0], 2.0)), TypeError, ["mask", "filled"]),
    ("list of tensors", lambda: T([plain(2), plain(2)]), TypeError, ["gradients", "stack()", "concat()"]),
    ("nested list of tensors", lambda: T([[leaf(2)], [leaf(2)]]), TypeError, ["gradient"]),
    ("unknown dtype", lambda: T([1.0], dtype="flot32"), TypeError, ["'flot32'", "'float32'"]),
    ("complex dtype", lambda: T([1.0], dtype="complex64"), TypeError, ["complex64", "'float32'"]),
    ("object dtype", lambda: tg.zeros(2, dtype=object), TypeError, ["object", "'float32'"]),
    ("no dtype", lambda: tg.zeros(2, dtype=None), TypeError, ["None", "'float32'"]),
    ("astype unknown", lambda: plain(2).astype("flot"), TypeError, ["'flot'", "'float32'"]),
    ("astype function, unknown", lambda: tg.astype(plain(2), "flot"), TypeError, ["flot", "float32"]),
    ("astype function, complex", lambda: tg.astype(plain(2), "complex64"), TypeError, ["complex64", "float32"]),
    ("too large an integer", lambda: T(2**63), OverflowError, [str(2**63), "int64"]),
    ("too large for int8", lambda: T([1, 300], dtype="int8"), OverflowError, ["300", "int8"]),
    ("negative in uint8", lambda: T([-1], dtype="uint8"), OverflowError, ["-1", "uint8"]),
    ("nan as an integer", lambda: T([float("nan")], dtype="int64"), (OverflowError, ValueError), ["nan", "int64"]),
    ("full too large", lambda: tg.full((2,), 300, dtype="int8"), OverflowError, ["300", "int8"]),
    ("arange too large", lambda: tg.arange(120, 130, dtype="int8"), OverflowError, ["129", "int8"]),
    ("randint too large", lambda: tg.randint(200, 300, (50,), dtype="int8"), OverflowError, ["int8"]),
    ("int8 + 300", lambda: T([1], dtype="int8") + 300, OverflowError, ["add", "300", "int8", "astype"]),
    ("shape not ints", lambda: tg.zeros(2.5), TypeError, ["zeros", "2.5", "int"]),
    ("negative shape", lambda: tg.ones(-1), ValueError, ["negative"]),
    ("randint empty range", lambda: tg.randint(3, 3, (2,)), ValueError, ["low < high", "3"]),
    ("ints with grad", lambda: T([1, 2], requires_grad=True), TypeError, ["int64", "dtype='float32'"]),
    ("bools with grad", lambda: T([True], requires_grad=True), TypeError, ["bool", "dtype='float32'"]),
    ("requires_grad_ on ints", lambda: tg.arange(3).requires_grad_(), TypeError, ["int64", "float32"]),
    ("zeros of ints with grad", lambda: tg.zeros(2, dtype=int, requires_grad=True), TypeError, ["int64", "float32"]),
    ("device gpu", lambda: T([1.0], device="gpu"), ValueError, ["'gpu'", "'cuda'"]),
    ("device cpu:3", lambda: T([1.0], device="cpu:3"), ValueError, ["'cpu:3'", "'cpu'"]),
    ("device number", lambda: tg.zeros(1, device=0), ValueError, ["not 0", "'cuda:N'"]),
    ("to gpu", lambda: plain(2).to("gpu"), TypeError, ["'gpu'", "'cuda'"]),
    ("to cpu:1", lambda: plain(2).to("cpu:1"), ValueError, ["'cpu:1'", "'cpu'"]),
    ("default device", lambda: tg.set_default_device("tpu"), ValueError, ["'tpu'", "'cuda'"]),
]  # fmt: skip

GRAPHS: list[Case] = [
    ("backward without grad", lambda: plain(3).sum().backward(), GRAPH, ["require grad", "requires_grad=True"]),
    ("backward of comparison", lambda: (leaf(1) > 0).backward(), GRAPH, ["require grad", "requires_grad=True"]),
    ("backward of argmax", lambda: leaf(3).argmax().backward(), GRAPH, ["require grad", "requires_grad=True"]),
    ("backward after no_grad", lambda: tg.no_grad()(lambda: leaf(3).sum())().backward(), GRAPH, ["no_grad"]),
    ("backward of a vector", lambda: (leaf(3) * 2).backward(), GRAPH, ["(3,)", "mean()", "gradient="]),
    ("backward twice", twice, GRAPH, ["freed", "retain_graph=True"]),
    ("freed by another output", lambda: shared_and_freed()[2].backward(), GRAPH, ["multiply", "retain_graph=True"]),
    ("freed, by grad()", lambda: tg.grad((s := shared_and_freed())[2], s[0]), GRAPH, ["freed", "retain_graph=True"]),
    ("freed, allow_unused", lambda: tg.grad((s := shared_and_freed())[1] * 3.0, s[0], np.ones(3), allow_unused=True),
     GRAPH, ["freed", "retain_graph=True"]),
    ("freed, two inputs", lambda: tg.grad((s := shared_and_freed())[2], s[:2]), GRAPH, ["freed"]),
    ("gradient of wrong shape", lambda: (leaf(3) * 2).backward(np.ones(2)), GRAPH, ["(2,)", "(3,)", "equal"]),
    ("gradient would broadcast", lambda: (leaf(3) * 2).backward(1.0), GRAPH, ["()", "(3,)", "equal"]),
    ("gradient of strings", lambda: leaf(1).sum().backward("1"), TypeError, ["'1'", "numbers"]),
    ("gradient complex", lambda: (leaf(2) * 2).backward(np.ones(2, complex)), TypeError, ["complex128", "float32"]),
    ("backward(True)", lambda: leaf(1).sum().backward(True), TypeError, ["True", "retain_graph="]),
    ("backward(False)", lambda: leaf(1).sum().backward(False), TypeError, ["False", "retain_graph="]),
    ("grad of unused", lambda: tg.grad(leaf(2).sum(), leaf(2)), GRAPH, ["input 0", "allow_unused=True"]),
    ("grad of no-grad input", lambda: tg.grad(leaf(2).sum(), plain(2)), GRAPH, ["input 0", "(2,)", "requires_grad"]),
    ("grad of a float", lambda: tg.grad(leaf(2).sum(), 1.0), (GRAPH, TypeError), ["float"]),
    ("grad input list of floats", lambda: tg.grad(leaf(2).sum(), [1.0]), GRAPH, ["float"]),
    ("output is a float", lambda: tg.grad([1.0], leaf(2)), TypeError, ["1.0", "Tensor"]),
    ("output is None", lambda: tg.grad(None, leaf(2)), TypeError, ["None", "Tensor"]),
    ("too many grad_outputs", lambda: tg.grad([leaf(1).sum()], leaf(1), [None, None]), ValueError, ["1", "2", "each"]),
    ("no grad_outputs", lambda: tg.grad([(x := leaf(1)).sum()], x, []), ValueError, ["1", "0", "each"]),
    ("a tensor of grad_outputs", lambda: tg.grad([(x := leaf(2)).sum(), x.prod()], x, plain(2)),
     (TypeError, ValueError), ["grad_outputs", "each"]),
    ("hook without grad", lambda: plain(2).register_hook(lambda g: None), GRAPH, ["register_hook", "requires grad"]),
    ("hook not callable", lambda: leaf(2).register_hook(3), TypeError, ["3", "call"]),
    ("retain_grad without grad", lambda: plain(2).retain_grad(), GRAPH, ["retain_grad", "requires grad"]),
    ("requires_grad=False on a result", lambda: (leaf(2) * 2).requires_grad_(False), GRAPH, ["leaves", "detach()"]),
    ("pickle of a result", lambda: pickle.dumps(leaf(2) * 2), TypeError, ["leaves", "detach()"]),
    ("deepcopy of a result", lambda: copy.deepcopy([leaf(2) * 2]), TypeError, ["leaves", "detach()"]),
    ("no_grad without brackets", lambda: tg.no_grad(lambda: 1), TypeError, ["no_grad()"]),
    ("gradcheck of float32", lambda: tg.gradcheck(tg.exp, T([1.0], requires_grad=True)), TypeError,
     ["input 0", "float32", "float64"]),
    ("gradcheck of nothing", lambda: tg.gradcheck(tg.exp, plain(2)), ValueError, ["requires grad", "nothing"]),
    ("gradcheck of a float", lambda: tg.gradcheck(lambda x: 1.0, leaf(2)), TypeError, ["Tensor", "float"]),
    ("gradcheck of order 3", lambda: tg.gradcheck(tg.exp, leaf(2), order=3), ValueError, ["order", "1 or 2", "3"]),
    ("gradcheck finds detach()", lambda: tg.gradcheck(lambda x: x * x.detach(), leaf(2)), AssertionError,
     ["first", "input 0[0]", "differences"]),
]  # fmt: skip

IN_PLACE: list[Case] = [
    ("leaf += 1", lambda: iadd(leaf(2), 1.0), GRAPH, ["leaf", "no_grad()", "clone()"]),
    ("leaf[0] = 1", lambda: put(leaf(2), 0, 1.0), GRAPH, ["leaf", "no_grad()", "clone()"]),
    ("part of a leaf += 1", lambda: put(x := leaf(2), 0, x[0] + 1), GRAPH, ["leaf", "no_grad()", "clone()"]),
    ("into a view", lambda: put(tg.zeros(2, 3)[0], 0, leaf(1)[0]), GRAPH, ["view", "original", "clone()"]),
    ("duplicate indices", lambda: put(plain(3), [0, 0], leaf(2)), IndexError, ["twice", "gradient"]),
    ("duplicate after wrapping", lambda: put(plain(3), [0, -3], leaf(2)), IndexError, ["twice", "gradient"]),
    ("wrong shape", lambda: put(plain(3), slice(None), np.ones(2)), ValueError, ["(2,)", "(3,)", "reshape"]),
    ("wrong shape, recorded", lambda: put(leaf(3) * 1, slice(None), np.ones(2)), ValueError,
     ["(2,)", "(3,)", "reshape"]),
    ("a row into a number", lambda: put(plain(3), 0, [1.0, 2.0]), ValueError, ["(2,)", "()", "reshape"]),
    ("a string", lambda: put(plain(3), 0, "1.5"), TypeError, ["'1.5'", "numbers"]),
    ("none", lambda: put(plain(3), 0, None), TypeError, ["None", "numbers"]),
    ("none, recorded", lambda: put(leaf(3) * 1, 0, None), TypeError, ["None", "numbers"]),
    ("complex", lambda: put(plain(3), 0, 1j), TypeError, ["complex", "numbers"]),
    ("dict", lambda: put(plain(3), 0, {}), TypeError, ["dict", "numbers"]),
    ("list of tensors", lambda: put(plain(3), slice(0, 2), [leaf(), leaf()]), TypeError, ["gradient", "stack"]),
    ("float into ints", lambda: put(T([1, 2]), 0, 0.5), TypeError, ["float", "int64", "astype"]),
    ("floats into ints", lambda: put(T([1, 2]), slice(None), np.ones(2)), TypeError, ["float64", "int64", "astype"]),
    ("recorded, into ints", lambda: put(T([1, 2]), 0, leaf()), TypeError, ["float64", "int64", "astype"]),
    ("ints += 0.5", lambda: iadd(T([1, 2]), 0.5), ValueError, ["float32", "int64", "t = t +"]),
    ("row += matrix", lambda: iadd(plain(3), np.ones((2, 3))), ValueError, ["(2, 3)", "(3,)", "t = t +"]),
    ("no such index", lambda: put(plain(3), 7, 1.0), IndexError, ["7", "size 3"]),
    ("float index", lambda: put(plain(3), 0.5, 1.0), IndexError, ["float", "0.5", "ints"]),
    ("broadcast, by index", lambda: put(plain(1).broadcast_to((3,)), 0, 1.0), ValueError, ["read-only", "clone()"]),
    ("broadcast, by +=", lambda: iadd(plain(1).broadcast_to((3,)), 1.0), ValueError, ["read-only", "clone()"]),
    ("+= string", lambda: iadd(plain(2), "a"), TypeError, ["'a'", "numbers"]),
]  # fmt: skip

OPERATIONS: list[Case] = [
    ("add shapes", lambda: leaf(2, 3) + leaf(2), ValueError, ["add", "(2, 3)", "(2,)", "reshape()"]),
    ("where shapes", lambda: tg.where(plain(2) > 0, leaf(3), 0.0), ValueError, ["where", "(2,)", "(3,)", "reshape()"]),
    ("where none", lambda: tg.where(plain(2) > 1, None, leaf(2)), TypeError, ["where", "None"]),
    ("add none", lambda: leaf(2) + None, TypeError, ["add", "None"]),
    ("exp none", lambda: tg.exp(None), TypeError, ["None"]),
    ("add string", lambda: leaf(2) + "a", TypeError, ["'a'", "numbers"]),
    ("less than string", lambda: leaf(2) < "a", TypeError, ["'a'", "numbers"]),
    ("exp string", lambda: tg.exp("a"), TypeError, ["'a'", "numbers"]),
    ("times 1j", lambda: leaf(2) * 1j, TypeError, ["complex", "numbers"]),
    ("times np.complex64", lambda: leaf(2) * np.complex64(1), TypeError, ["complex"]),
    ("times a duration", lambda: leaf(2) * np.timedelta64(5, "ns"), TypeError, ["timedelta64"]),
    ("times an object array", lambda: leaf(2) * np.array([None]), TypeError, ["dtype('O')", "float32"]),
    ("plus complex array", lambda: leaf(2) + np.ones(2, complex), TypeError, ["complex128", "float32"]),
    ("too many arguments", lambda: tg.exp(leaf(2), leaf(2)), TypeError, ["exp(x", "1 argument", "got 2"]),
    ("no arguments", lambda: tg.exp(), TypeError, ["exp(x", "misses x"]),
    ("unknown keyword", lambda: tg.sum(leaf(2), dim=0), TypeError, ["axis", "dim"]),
    ("unknown keyword, method", lambda: leaf(2).sum(dim=0), TypeError, ["sum", "dim"]),
    ("argument given twice", lambda: tg.sum(leaf(2, 3), 0, axis=1), TypeError, ["sum", "axis", "twice"]),
    ("input given twice", lambda: tg.exp(leaf(2), x=leaf(2)), TypeError, ["exp", "x"]),
    ("matmul of numbers", lambda: leaf() @ leaf(2), ValueError, ["matmul", "()", "use * "]),
    ("matmul by 3", lambda: leaf(2, 2) @ 3, ValueError, ["matmul", "3", "use * "]),
    ("matmul inner", lambda: leaf(2, 3) @ leaf(2, 3), ValueError, ["matmul", "(2, 3)", "a.shape[-1] == b.shape[-2]"]),
    ("matmul batch", lambda: leaf(2, 1, 1) @ leaf(3, 1, 1), ValueError, ["matmul", "(2, 1, 1)", "(3, 1, 1)"]),
    ("reshape size", lambda: leaf(6).reshape(4), ValueError, ["reshape", "size 6", "(4,)", "multiply"]),
    ("reshape two -1", lambda: leaf(6).reshape(-1, -1), ValueError, ["reshape", "one", "-1"]),
    ("reshape -2", lambda: leaf(6).reshape(-2), ValueError, ["reshape", "-2", "-1"]),
    ("reshape float", lambda: leaf(6).reshape(2.0, 3), TypeError, ["reshape", "2.0", "ints"]),
    ("reshape None", lambda: leaf(6).reshape(None), TypeError, ["reshape", "None", "ints"]),
    ("broadcast_to", lambda: leaf(3).broadcast_to((2,)), ValueError, ["broadcast_to", "(3,)", "(2,)"]),
    ("axis too large", lambda: leaf(2, 3).sum(axis=2), AXIS, ["sum", "axis 2", "ndim - 1"]),
    ("mean axis", lambda: leaf(2).mean(axis=-3), AXIS, ["mean", "axis -3", "ndim - 1"]),
    ("mean axis of a number", lambda: leaf().mean(axis=1), AXIS, ["mean", "axis 1", "ndim - 1"]),
    ("var axis of a number", lambda: leaf().var(axis=1), AXIS, ["axis 1", "ndim - 1"]),
    ("axis twice", lambda: leaf(2, 3).sum(axis=(0, -2)), ValueError, ["sum", "duplicate", "(2, 3)"]),
    ("axis float", lambda: leaf(2).sum(axis=0.0), TypeError, ["sum", "float", "integer"]),
    ("mean axis float", lambda: leaf(2).mean(axis=0.0), TypeError, ["mean", "float", "integer"]),
    ("axis list", lambda: leaf(2, 2).max(axis=[0, 1]), TypeError, ["max", "list", "tuple"]),
    ("softmax axis", lambda: leaf(2, 3).softmax(axis=5), AXIS, ["softmax", "axis 5", "ndim - 1"]),
    ("argmax axis", lambda: leaf(2).argmax(axis=1), AXIS, ["argmax", "axis 1", "ndim - 1"]),
    ("take axis", lambda: tg.take(leaf(2, 3), [0], axis=5), AXIS, ["take", "axis 5", "(2, 3)"]),
    ("take_along_axis axis", lambda: tg.take_along_axis(leaf(2, 3), np.zeros((2, 3), int), axis=5), AXIS,
     ["take_along_axis", "axis 5", "(2, 3)"]),
    ("take_along_axis float", lambda: tg.take_along_axis(leaf(2), np.zeros(2)), ValueError, ["integers", "float64"]),
    ("take float", lambda: tg.take(leaf(3), [0.5]), IndexError, ["float64", "integer"]),
    ("repeat axis", lambda: tg.repeat(leaf(3), 2, axis=4), AXIS, ["repeat", "axis 4", "(3,)"]),
    ("repeat float", lambda: tg.repeat(leaf(3), 1.5), TypeError, ["repeat", "1.5", "int"]),
    ("repeat negative", lambda: tg.repeat(leaf(3), -1), ValueError, ["repeat", "-1", "negative"]),
    ("roll float", lambda: tg.roll(leaf(3), 1.5), TypeError, ["roll", "1.5", "int"]),
    ("split axis", lambda: leaf(4).split(2, axis=1), AXIS, ["split", "axis 1", "(4,)"]),
    ("split does not divide", lambda: leaf(3).split(2), ValueError, ["split", "3", "2", "positions"]),
    ("split zero", lambda: leaf(3).split(0), ValueError, ["split", "0", "positions"]),
    ("split float", lambda: leaf(4).split(2.0), TypeError, ["split", "2.0", "int"]),
    ("swapaxes", lambda: tg.swapaxes(leaf(2, 3), 0, 2), AXIS, ["swapaxes", "axis 2", "(2, 3)"]),
    ("moveaxis", lambda: tg.moveaxis(leaf(2, 3), 2, 0), AXIS, ["axis 2", "dimension 2"]),
    ("transpose twice the same", lambda: leaf(2, 3).transpose(0, 0), ValueError, ["(0, 0)", "(2, 3)"]),
    ("squeeze of size 2", lambda: leaf(2, 1).squeeze(axis=0), ValueError, ["squeeze", "(2, 1)", "size 1"]),
    ("expand_dims", lambda: leaf(2).expand_dims(3), AXIS, ["expand_dims", "axis 3"]),
    ("cumsum of all", lambda: leaf(2, 3).cumsum(axis=None), (TypeError, ValueError), ["cumsum", "axis", "reshape"]),
    ("sort of all", lambda: leaf(2, 3).sort(axis=None), (TypeError, ValueError), ["sort", "axis", "reshape"]),
    ("tensordot axes", lambda: tg.tensordot(leaf(2, 3), leaf(2, 3), axes=([7], [1])), AXIS, ["tensordot", "axis 7"]),
    ("tensordot too many", lambda: tg.tensordot(leaf(2), leaf(2), axes=3), ValueError, ["tensordot", "3", "(2,)"]),
    ("tensordot negative", lambda: tg.tensordot(leaf(2), leaf(2), axes=-1), ValueError, ["tensordot", "-1", "(2,)"]),
    ("tensordot sizes", lambda: tg.tensordot(leaf(2), leaf(3), axes=1), ValueError, ["tensordot", "(2,)", "(3,)"]),
    ("concat nothing", lambda: tg.concat([]), ValueError, ["concat", "at least one"]),
    ("concat a number", lambda: tg.concat(leaf()), TypeError, ["concat", "list", "Tensor"]),
    ("concat string", lambda: tg.concat("ab"), TypeError, ["concat", "list", "str"]),
    ("concat two arguments", lambda: tg.concat(leaf(2), leaf(2)), TypeError, ["concat", "axis", "list"]),
    ("concat float axis", lambda: tg.concat([leaf(2)], axis=0.5), TypeError, ["concat", "axis", "0.5"]),
    ("concat shapes", lambda: tg.concat([leaf(2, 3), leaf(2, 4)]), ValueError, ["concat", "(2, 3)", "(2, 4)", "equal"]),
    ("concat dimensions", lambda: tg.concat([leaf(2), leaf(2, 1)]), ValueError, ["(2,)", "(2, 1)", "stack()"]),
    ("concat axis", lambda: tg.concat([leaf(2), leaf(2)], axis=1), ValueError, ["axis 1", "(2,)", "stack()"]),
    ("stack nothing", lambda: tg.stack([]), ValueError, ["stack", "at least one"]),
    ("stack a number", lambda: tg.stack(leaf()), TypeError, ["stack", "list", "Tensor"]),
    ("stack shapes", lambda: tg.stack([leaf(2), leaf(3)]), ValueError, ["stack", "(2,)", "(3,)", "equal"]),
    ("stack axis", lambda: tg.stack([leaf(2)], axis=2), ValueError, ["stack", "axis 2", "2 dimensions"]),
    ("einsum operands", lambda: tg.einsum("ij,jk", leaf(2, 2)), ValueError, ["'ij,jk'", "2 operands", "got 1"]),
    ("einsum dimensions", lambda: tg.einsum("ijk->", leaf(2, 2)), ValueError, ["'ijk'", "operand 0", "2 dimensions"]),
    ("einsum sizes", lambda: tg.einsum("ij,jk", leaf(2, 3), leaf(2, 3)), ValueError, ["einsum", "'j'", "(2, 3)"]),
    ("einsum result", lambda: tg.einsum("ij->k", leaf(2, 3)), ValueError, ["'k'", "must name"]),
    ("einsum diagonal", lambda: tg.einsum("ii", leaf(2, 3)), ValueError, ["'i'", "(2, 3)"]),
    ("einsum signs", lambda: tg.einsum("i*j", leaf(2)), ValueError, ["'i*j'", "letters"]),
    ("einsum order", lambda: tg.einsum(leaf(2), "i->"), TypeError, ["einsum", "str"]),
    ("pad negative", lambda: tg.pad(leaf(2), -1), ValueError, ["pad", "-1", "negative"]),
    ("pad float", lambda: tg.pad(leaf(2), 1.5), TypeError, ["pad", "1.5", "int"]),
    ("pad ints with 0.5", lambda: tg.pad(T([1, 2]), 1, 0.5), TypeError, ["pad", "0.5", "int64", "astype"]),
    ("pad pairs", lambda: tg.pad(leaf(2), ((1, 1), (2, 2))), ValueError, ["pad", "((1, 1), (2, 2))", "(2,)"]),
    ("max of nothing", lambda: tg.zeros(0).max(), ValueError, ["max", "(0,)", "no elements"]),
    ("min over an empty axis", lambda: tg.zeros(2, 0).min(axis=1), ValueError, ["min", "(2, 0)", "no elements"]),
    ("argmax of nothing", lambda: tg.zeros(0).argmax(), ValueError, ["argmax", "(0,)", "empty"]),
    ("mean of nothing", lambda: tg.zeros(2, 0).mean(axis=1), ValueError, ["mean", "(2, 0)", "no elements"]),
    ("var of one", lambda: leaf(1, 3).var(axis=0, correction=1), ValueError, ["var", "(1, 3)", "correction 1"]),
    ("std of one", lambda: leaf(1).std(ddof=1), ValueError, ["var", "(1,)", "correction 1"]),
    ("int ** -1", lambda: T([2]) ** -1, ValueError, ["pow", "int64", "astype"]),
    ("norm of a word", lambda: leaf(2).norm("nuc"), ValueError, ["norm", "'nuc'", "'fro'"]),
    ("gelu of a word", lambda: tg.gelu(leaf(2), "fast"), ValueError, ["gelu", "'fast'", "'tanh'"]),
    ("labels in a column", lambda: tg.softmax_cross_entropy(leaf(3, 4), T([[0], [1], [2]])), ValueError,
     ["(3, 4)", "(3, 1)", "(N,)"]),
    ("too few labels", lambda: tg.softmax_cross_entropy(leaf(3, 4), T([1])), ValueError, ["(3, 4)", "(1,)", "(N,)"]),
    ("labels for one row", lambda: tg.softmax_cross_entropy(leaf(4), T([1])), ValueError, ["(4,)", "(N, C)"]),
    ("labels are floats", lambda: tg.softmax_cross_entropy(leaf(2, 4), T([0.0, 1.0])),
     (IndexError, TypeError, ValueError), ["float32", "integer"]),
    ("linear without a weight", lambda: tg.linear(leaf(2, 3), None, None), TypeError, ["linear", "None"]),
    ("linear shapes", lambda: tg.linear(leaf(2, 3), leaf(3, 4), None), ValueError, ["linear", "(2, 3)", "(3, 4)"]),
    ("index float", lambda: leaf(3)[1.0], IndexError, ["float", "1.0", "ints"]),
    ("index float tensor", lambda: leaf(3)[T([1.0])], IndexError, ["float32", "integer"]),
    ("index string", lambda: leaf(3)["a"], IndexError, ["'a'", "ints"]),
    ("index out of range", lambda: leaf(3)[5], IndexError, ["5", "size 3", "indices count"]),
    ("indices out of range", lambda: leaf(3)[[0, -4]], IndexError, ["-4", "size 3", "indices count"]),
    ("too many indices", lambda: leaf(3)[0, 0], IndexError, ["1-dimensional", "at most ndim"]),
    ("mask of wrong shape", lambda: leaf(3)[T([True, False])], IndexError, ["3", "2", "mask"]),
    ("two ellipses", lambda: leaf(3)[..., ...], IndexError, ["ellipsis"]),
]  # fmt: skip

PYTHON: list[Case] = [
    ("bool of many", lambda: bool(leaf(2)), ValueError, ["(2,)", ".any()", ".all()"]),
    ("if t == t", lambda: 1 if leaf(2) == leaf(2) else 0, ValueError, ["(2,)", ".all()"]),
    ("a and b", lambda: leaf(2) and leaf(2), ValueError, ["(2,)", ".any()"]),
    ("chained comparison", lambda: 0 < leaf(2) < 3, ValueError, ["(2,)", ".any()"]),
    ("floats & floats", lambda: leaf(2) & leaf(2), TypeError, ["&", "float64", "(a > 0)"]),
    ("bools | ints", lambda: (leaf(2) > 0) | T([1, 2]), TypeError, ["|", "int64", "(a > 0)"]),
    ("~ floats", lambda: ~leaf(2), TypeError, ["~", "float64", "compare"]),
    ("len of a number", lambda: len(leaf()), TypeError, ["0-dimensional", "item()"]),
    ("iter of a number", lambda: list(leaf()), TypeError, ["0-dimensional", "item()"]),
    ("item of many", lambda: leaf(2).item(), ValueError, ["(2,)", "tolist()"]),
    ("float of many", lambda: float(leaf(2)), ValueError, ["(2,)", "tolist()"]),
    ("int of nothing", lambda: int(tg.zeros(0)), ValueError, ["(0,)", "one element"]),
    ("float as an index", lambda: [1, 2][plain()], TypeError, ["integer", "float64"]),
    ("range of many", lambda: range(T([1, 2])), TypeError, ["one element", "(2,)"]),
    ("format of many", lambda: f"{leaf(2):.3f}", ValueError, ["(2,)", "tolist()"]),
    ("writing shape", lambda: setattr(leaf(2), "shape", (1, 2)), AttributeError, ["shape"]),
    ("PyTorch's view", lambda: leaf(2).view(2), AttributeError, ["'view'", "reshape"]),  # type: ignore[attr-defined]
    ("PyTorch's cat", lambda: tg.cat([leaf(2)]), AttributeError, ["'cat'", "concat"]),  # type: ignore[attr-defined]
    ("unknown attribute", lambda: leaf(2).gard, AttributeError, ["Tensor", "'gard'"]),  # type: ignore[attr-defined]
    ("sizes as data", lambda: T(2, 3), TypeError, ["sizes", "zeros(2, 3)"]),
    ("tensor of a computed one", lambda: T(leaf(2) * 2), TypeError, ["history", "clone()", "detach()"]),
    ("longdouble", lambda: tg.zeros(2, dtype=np.longdouble), TypeError, ["longdouble", "'float32'"]),
    ("arange step 0", lambda: tg.arange(0, 1, 0), ValueError, ["arange", "step"]),
    ("gradcheck eps", lambda: tg.gradcheck(tg.exp, leaf(2), eps=0.0), ValueError, ["eps", "positive"]),
    ("new attribute", lambda: setattr(leaf(2), "gard", 1), AttributeError, ["gard"]),
    ("np.asarray", lambda: np.asarray(leaf(2)), TypeError, ["gradient", "t.numpy()"]),
    ("np.array of a list", lambda: np.array([leaf(2), leaf(2)]), TypeError, ["gradient", "t.numpy()"]),
    ("np.sum", lambda: np.sum(leaf(2)), TypeError, ["np.sum", "t.numpy()"]),
    ("np.concatenate", lambda: np.concatenate([np.ones(2), leaf(2)]), TypeError, ["np.concatenate", "t.numpy()"]),
    ("np.where", lambda: np.where(np.array([True]), leaf(1), 0.0), TypeError, ["np.where", "t.numpy()"]),
    ("np.add.reduce", lambda: np.add.reduce(leaf(2)), TypeError, ["np.add.reduce", "t.numpy()"]),
    ("np.exp into an array", lambda: np.exp(leaf(2), out=np.ones(2)), TypeError, ["np.exp", "t.numpy()"]),
    ("np.add where=", lambda: np.add(leaf(2), 1.0, where=[True, False]), TypeError, ["np.add", "t.numpy()"]),
    ("np.remainder", lambda: np.remainder(leaf(2), 2), TypeError, ["np.remainder", "t.numpy()"]),
    ("array += t", lambda: iadd(np.ones(2), leaf(2)), TypeError, ["np.add", "t.numpy()"]),
    ("array[:] = t", lambda: np.ones(2).__setitem__(slice(None), leaf(2)), TypeError, ["gradient", "t.numpy()"]),
    ("array.dot", lambda: np.ones(2).dot(leaf(2)), TypeError, ["gradient", "t.numpy()"]),
    ("DLPack with grad", lambda: np.from_dlpack(leaf(2)), TypeError, ["gradient", "detach()"]),
    ("from_dlpack of a list", lambda: tg.from_dlpack([1.0]), TypeError, ["list", "__dlpack__"]),
]  # fmt: skip

CASES = [(group, *case) for group, cases in
         {"data": DATA, "graph": GRAPHS, "in place": IN_PLACE, "operation": OPERATIONS, "python": PYTHON}.items()
         for case in cases]  # fmt: skip


@pytest.mark.parametrize(("misuse", "error", "words"), [c[2:] for c in CASES], ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_misuse_raises_with_cause_and_remedy(misuse: Callable[[], Any], error: Any, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        misuse()
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    assert not message.startswith("_"), f"the name of something internal: {message}"


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 90 and len({(c[0], c[1]) for c in CASES}) == len(CASES)


@pytest.mark.skipif(tg.device_count() > 0, reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_without_a_gpu(name: str) -> None:
    for misuse in (lambda: T([1.0], device=name), lambda: plain(2).to(name), lambda: tg.set_default_device(name)):
        with pytest.raises(tg.DeviceError, match="(?s)CuPy.*device='cpu'"):
            misuse()
    assert tg.get_default_device() == "cpu"


# -- arrays changed between forward and backward -----------------------------------------------------


def _by_update(t: tg.Tensor) -> None:
    with tg.no_grad():
        t -= 0.1


CHANGES: dict[str, Callable[[tg.Tensor], Any]] = {
    "t[0] =": lambda t: put(t, 0, 9.0),
    "t +=": lambda t: iadd(t, 1.0),
    "t *=": lambda t: t.__imul__(2.0),
    "view": lambda t: iadd(t[1:], 1.0),
    "view of a view": lambda t: iadd(t.reshape(3, 1)[1:].T, 1.0),
    "broadcast source": lambda t: iadd(t.expand_dims(0), 1.0),
    "detached alias": lambda t: iadd(t.detach(), 1.0),
    "detached view": lambda t: put(t.detach()[::-1], 0, 5.0),
    "split piece": lambda t: iadd(t.split([1])[1], 1.0),
    "swapped axes": lambda t: iadd(tg.swapaxes(t.reshape(1, 3), 0, 1), 1.0),
    "iterated rows": lambda t: [iadd(row, 1.0) for row in t.reshape(3, 1)],
    "update": _by_update,
}


@pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))
@pytest.mark.parametrize("create_graph", [False, True])
def test_change_between_forward_and_backward(change: Callable[[tg.Tensor], Any], create_graph: bool) -> None:
    x, w = plain(3), leaf(3)
    loss = (w * x).sum()
    change(x)
    with pytest.raises(tg.GraphError, match="(?s)multiply.*changed in place.*clone"):
        loss.backward(create_graph=create_graph)
    assert w.grad is None
    x, w = plain(3), leaf(3)  # and the same of a parameter
    loss = (w * w).sum()
    with tg.no_grad():
        change(w)
    with pytest.raises(tg.GraphError, match="(?s)changed in place.*clone"):
        loss.backward(create_graph=create_graph)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.broadcast_to((2, 3)), lambda x: x[...], lambda x: x[1:], lambda x: x.reshape(3, 1), lambda x: x.T,
        tg.flip, lambda x: x.expand_dims(0), lambda x: x.expand_dims(0).squeeze(), lambda x: x.split([1])[1],
        lambda x: x.detach(), lambda x: tg.moveaxis(x.reshape(1, 3), 0, 1), lambda x: x.to("cpu"),
        lambda x: x.astype("float64"), lambda x: x.flatten(), lambda x: x[T(1)], lambda x: x.reshape(3, 1)[T(1)],
        lambda x: x[None, ..., ::-1][0, 1:], lambda x: x.expand_dims(0).diagonal(), lambda x: tg.tile(x, 2),
        lambda x: x.clone(), lambda x: x.clip(), lambda x: tg.concat([x]), lambda x: tg.pad(x, 0), lambda x: x + 0.0,
        lambda x: tg.roll(x, 0), lambda x: tg.where(True, x, x), lambda x: x.cpu().to("float64"), lambda x: x[0],
        lambda x: tg.tril(x.reshape(1, 3), k=5), lambda x: x.mean(axis=()), lambda x: x.sum(axis=()),
        lambda x: tg.einsum("i->i", x), lambda x: x.reshape(3, 1).max(axis=1),
    ],
)  # fmt: skip
def test_changed_source_of_a_view_raises_or_does_not_matter(view: Callable[[tg.Tensor], tg.Tensor]) -> None:
    x = plain(3)
    v = view(x)
    before = v.numpy()
    w = T(np.ones(v.shape), requires_grad=True)
    loss = (w * v).sum()
    x += 5.0
    try:
        loss.backward()
    except tg.GraphError:
        return
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad.numpy(), before)


def test_array_put_into_data() -> None:
    """t.data = array may be refused; where it is not, gradients are those of what was computed, or an error."""
    for new in (np.ones(1), np.ones((2, 3)), np.full(3, 100.0), np.ones(3, "float32")):
        for create_graph in (False, True):
            x = leaf(3)
            loss = (x * x).sum()
            try:
                x.data = new
                loss.backward(create_graph=create_graph)
            except (tg.GraphError, TypeError, ValueError):
                continue
            assert x.grad is not None and x.grad.shape == x.shape == (3,)
            np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0, 6.0])


# -- silently wrong values, which must not be --------------------------------------------------------


@pytest.mark.parametrize("wrong", [np.ones((2, 2)), 5, "a", T(1.0), T([[1.0, 1.0], [2.0, 2.0]]), Odd()])
def test_writes_to_grad_of_the_wrong_kind_are_refused(wrong: Any) -> None:
    """At the write or, at the latest, when backward() would add to it."""
    x = leaf(2)
    with pytest.raises((TypeError, ValueError, tg.GraphError)) as caught:
        x.grad = wrong
        (x * 2.0).sum().backward()
    assert "grad" in str(caught.value)


def test_right_writes_to_grad() -> None:
    x = leaf(2)
    for start, total in ((T([1.0, 1.0], dtype="float64"), [3.0, 3.0]), (None, [2.0, 2.0])):
        x.grad = start
        (x * 2.0).sum().backward()
        assert x.grad is not None and x.grad.tolist() == total


@pytest.mark.parametrize("answer", [lambda g: g.numpy(), lambda g: 1.0, lambda g: g[:1], lambda g: g.expand_dims(0)])
def test_hook_that_returns_something_else(answer: Callable[[tg.Tensor], Any]) -> None:
    for make in (leaf, lambda n: leaf(n) * 2):
        x = make(3)
        x.register_hook(answer)
        with pytest.raises(tg.GraphError, match=r"hook.*Tensor of shape \(3,\)"):
            (x * 1.0).sum().backward()


@pytest.mark.parametrize("dtype", ["float64", "int64", "float16"])
def test_hook_of_another_dtype_does_not_change_the_gradients_dtype(dtype: str) -> None:
    x = T([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: g.astype(dtype))
    try:
        (x * 2.0).sum().backward()
    except (TypeError, tg.GraphError):
        return
    assert x.grad is not None and x.grad.dtype == np.float32 and x.grad.tolist() == [2.0, 2.0]


def test_float32_stays_float32() -> None:
    x = T([1.0, -2.0])
    values: list[tg.Tensor] = [
        np.float64(2) * x, x * np.float64(2), x + np.ones((), "float64"), x ** np.float64(2), 2.0 * x, x / np.int64(3),
        tg.where(x > 0, 1.0, 0.0), tg.where(x > 0, x, 0.0), tg.leaky_relu(x, np.float64(0.1)),
        tg.elu(x, np.float64(0.1)), x.clip(np.float64(0), np.float64(1)), x.norm(np.float64(3)),
        x.var(ddof=np.float64(1)), tg.maximum(x, np.float64(0)), T([1, 2]) * 0.5, T([True]) * 0.5, T([1, 2]) / 2,
        T([1, 2]).mean(), tg.exp([1, 2]), tg.pad(x, 1, np.float64(2)), tg.sqrt([4, 9]), np.add(x, 1.0),
        x - True, x * np.float32(2),
    ]  # fmt: skip
    assert [str(v.dtype) for v in values[:2] + values[3:]] == ["float32"] * (len(values) - 1)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "float32"])
def test_no_operation_makes_float64_of_other_numbers(dtype: str) -> None:
    half, one = np.float64(0.5), np.float64(1.5)
    tried = 0
    for name, function in REGISTRY.items():
        if name.startswith("_") or name in ("astype", "one_hot", "outer"):
            continue
        for args in ((), (0,), (0.5,), (half,), (0.5, 1.5), (half, one)):
            try:
                with np.errstate(all="ignore"):
                    results = function(T([[1, 0], [1, 1]], dtype=dtype), *args)
            except Exception:  # does not take these arguments
                continue
            for out in results if isinstance(results, list) else [results]:
                tried += 1
                assert str(out.dtype) not in ("float64", "object"), f"{name}{args} gives {out.dtype}"
    assert tried > 100


def test_dtype_and_gradient_of_an_assignment() -> None:
    """The tensor keeps its dtype, the value gets a gradient of its own dtype and shape."""
    t, v = tg.zeros(2, 3), T(np.ones((1, 3)), requires_grad=True)
    t[0] = v
    assert t.dtype == np.float32 and t.requires_grad
    (t * 3.0).sum().backward()
    assert v.grad is not None and v.grad.dtype == np.float64 and v.grad.tolist() == [[3.0, 3.0, 3.0]]


def test_lists_and_arrays_are_converted() -> None:
    """A list does where a tensor does; the answer is a Tensor."""
    a = np.array([3.0, 1.0, 2.0])
    for name, args in {
        "exp": (), "sum": (), "permute_dims": (), "split": (3,), "sort": (), "diag": (), "tile": (2,), "repeat": (2,),
        "pad": (1,), "take": ([0],), "reshape": (3, 1), "var": (), "norm": (), "flip": (), "expand_dims": (0,),
        "take_along_axis": ([0],), "clip": (0, 1), "astype": ("float64",), "moveaxis": (0, 0), "swapaxes": (0, 0),
        "squeeze": (), "softmax": (), "broadcast_to": ((3,),), "argsort": (), "cumsum": (), "roll": (1,),
    }.items():  # fmt: skip
        function = getattr(tg, name)
        expected = function(T(a), *args)
        for given in ([3.0, 1.0, 2.0], a):
            got = function(given, *args)
            for g, e in zip(got, expected, strict=True) if name == "split" else [(got, expected)]:
                assert isinstance(g, tg.Tensor), name
                np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-6, err_msg=name)
    for name, operands in {
        "tensordot": ([1.0, 2.0], [3.0, 4.0], 1), "outer": ([1, 2], [3, 4]), "trace": ([[1, 2]],), "stack": ([[1, 2]],),
        "matmul": ([[1, 2]], [3, 4]), "concat": ([[1], [2]],),
    }.items():  # fmt: skip
        np.testing.assert_array_equal(getattr(tg, name)(*operands).numpy(), getattr(np, name)(*operands))
    np.testing.assert_array_equal(tg.einsum("i,i->", [1, 2], [3, 4]).numpy(), 11)


def test_scalars_of_every_kind() -> None:
    x = T([1.0, 2.0])
    for two in (2, 2.0, np.int8(2), np.float16(2), np.float32(2), np.float64(2), np.longdouble(2), T(2.0), np.array(2)):
        assert (x * two).tolist() == [2.0, 4.0] and (two * x).tolist() == [2.0, 4.0]
    assert (x * True).tolist() == [1.0, 2.0] and (x * np.True_).tolist() == [1.0, 2.0]


def test_numpy_on_the_left_keeps_the_gradient() -> None:
    a = np.array([3.0, 4.0])
    for f in (
        lambda x: a * x, lambda x: np.multiply(a, x), lambda x: a @ x, lambda x: x @ a, lambda x: [3.0, 4.0] * x,
        lambda x: np.float64(3) * x, lambda x: np.exp(x), lambda x: a - x, lambda x: a / x, lambda x: a**x,
        lambda x: np.maximum(a, x * 4), lambda x: np.float_power(x, 2), lambda x: np.fabs(x), lambda x: [3.0, 4.0] + x,
        lambda x: np.stack([a, a]) @ x, lambda x: np.arcsin(x / 9),
    ):  # fmt: skip
        assert tg.gradcheck(f, leaf(2))


def test_equality_with_other_things() -> None:
    x = leaf(2)
    assert (x == None) is False and (x != None) is True and (x == "a") is False  # noqa: E711
    assert x in [x] and {x: 1}[x] == 1 and 2.0 in x and 7.0 not in x


def test_axis_zero_of_a_number_is_numpys() -> None:
    """NumPy lets it stand for nothing; a gradient comes back all the same."""
    for f in (lambda x: x.sum(axis=0), lambda x: x.mean(axis=-1), lambda x: x.max(axis=0)):
        x = leaf()
        try:
            f(x).backward()
        except AXIS:
            continue
        assert x.grad is not None and x.grad.item() == 1.0


def test_numpys_integers_do_where_pythons_do() -> None:
    k = np.int64(1)
    for f in (
        lambda x, k: tg.roll(x, k), lambda x, k: x.sum(axis=k), lambda x, k: x.split(k)[0], lambda x, k: tg.tile(x, k),
        lambda x, k: x.reshape(k, -1), lambda x, k: x[k], lambda x, k: tg.take(x, k), lambda x, k: tg.pad(x, k),
        lambda x, k: x**k, lambda x, k: tg.concat([x, x], axis=k), lambda x, k: tg.stack([x, x], axis=k),
        lambda x, k: tg.diagonal(x, k), lambda x, k: x.expand_dims(k), lambda x, k: tg.repeat(x, k, axis=k),
        lambda x, k: tg.swapaxes(x, 0, k), lambda x, k: tg.cumsum(x, k), lambda x, k: tg.softmax(x, k),
        lambda x, k: tg.tensordot(x, x, k), lambda x, k: x.norm(k), lambda x, k: tg.flip(x, k), lambda x, k: x.sort(k),
        lambda x, k: tg.tril(x, k), lambda x, k: tg.zeros(k) + x, lambda x, k: x.var(ddof=k), lambda x, k: x.clip(k),
    ):  # fmt: skip
        x, y = leaf(2, 2), leaf(2, 2)
        (f(x, k) * 1.0).sum().backward()
        (f(y, 1) * 1.0).sum().backward()
        assert x.grad is not None and y.grad is not None and x.grad.tolist() == y.grad.tolist()


def test_clip_with_min_above_max_is_max_with_no_slope() -> None:
    x = leaf(3)
    y = x.clip(3, 1)  # NumPy's and PyTorch's answer
    y.sum().backward()
    assert y.tolist() == [1.0] * 3 and x.grad is not None and x.grad.tolist() == [0.0] * 3


def test_powers_of_negative_numbers() -> None:
    """As PyTorch: exact for whole exponents; nan, not a wrong number, for others and for the exponent's slope."""
    for e in (2, 3, -1, 2.0, np.float64(3), T(3.0, dtype="float64"), T([2.0, 3.0], dtype="float64")):
        negative = T([-1.5, -2.0], dtype="float64", requires_grad=True)
        assert tg.gradcheck(lambda x, e=e: x**e, negative, order=2, atol=1e-5)
    with np.errstate(invalid="ignore"):
        x, e = T([-2.0], requires_grad=True), T([2.0], requires_grad=True)
        assert np.isnan((x**2.5).item())
        (x**e).sum().backward()
    assert x.grad is not None and x.grad.item() == -4.0 and e.grad is not None and np.isnan(e.grad.item())


@pytest.mark.parametrize("axis", [0, 1])
def test_einsum_with_a_stretched_axis(axis: int) -> None:
    """NumPy and PyTorch stretch a size of 1: right, to its gradients, or an error; not wrong."""
    a, b = (leaf(2, 1), leaf(3, 4)) if axis == 0 else (leaf(2, 3), leaf(1, 4))
    try:
        tg.gradcheck(lambda a, b: tg.einsum("ij,jk->ik", a, b), [a, b])
    except ValueError as error:
        assert "einsum" in str(error)


def test_cross_entropy_of_labels_out_of_range_is_nan() -> None:
    loss = tg.softmax_cross_entropy(leaf(2, 3), T([1, 3]))
    assert np.isfinite(loss.numpy()[0]) and np.isnan(loss.numpy()[1])


# -- a rule that is wrong ----------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[None]:
    """What a test adds to the registry of operations is taken out again."""
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def test_gradcheck_catches_a_wrong_rule(registry: None) -> None:
    @op(x=lambda g, x: g * x * x * 2.0)  # the slope of x^3 is 3 x^2
    def wrong_cube(xp: Any, x: Any) -> Any:
        return x * x * x

    with pytest.raises(AssertionError) as caught:
        tg.gradcheck(wrong_cube, T([[0.0, 2.0]], dtype="float64", requires_grad=True))
    message = str(caught.value)
    assert "first derivative at input 0[0, 1]" in message and "off by" in message
    assert tg.gradcheck(wrong_cube, T([0.0], dtype="float64", requires_grad=True))  # there it is right


def test_gradcheck_catches_a_rule_that_hides_a_second_derivative(registry: None) -> None:
    @op(x=lambda g, x: g * (x.detach() if isinstance(x, tg.Tensor) else x) * 2.0)
    def half_square(xp: Any, x: Any) -> Any:
        return x * x

    assert tg.gradcheck(half_square, leaf(2))
    with pytest.raises(AssertionError, match=r"second derivative at input 0\[0\]"):
        tg.gradcheck(half_square, leaf(2), order=2)


def test_rules_that_cannot_work_are_refused(registry: None) -> None:
    def forward(xp: Any, x: Any, scale: float = 1.0) -> Any:
        return x * scale

    with pytest.raises(TypeError, match=r"forward.*'y'.*\['x'\].*\['scale'\]"):
        op(x=lambda g, y: g)(forward)
    with pytest.raises((TypeError, tg.GraphError), match="(?s)forward.*'[xy]'"):
        op(y=lambda g: g)(forward)(leaf(1)).backward()
    for name in ("out", "shape", "i"):  # a rule means something else by these
        with pytest.raises(TypeError, match=f"can't be called '{name}'"):
            op()(eval(f"lambda xp, {name}: {name}"))
    shrunk = op(x=lambda g: g[:1])(forward)
    with pytest.raises(tg.GraphError, match=r"forward.*\(1,\).*\(3,\)"):
        shrunk(leaf(3)).sum().backward()


# -- threads -----------------------------------------------------------------------------------------


def test_no_grad_is_per_thread() -> None:
    entered, done = threading.Event(), threading.Event()
    seen: list[bool] = []

    def other() -> None:
        with tg.no_grad():
            seen.append((leaf(2) * 2).requires_grad)
            entered.set()
            done.wait(10)
        seen.append((leaf(2) * 2).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(10)
    assert tg.is_grad_enabled() and (leaf(2) * 2).requires_grad
    done.set()
    thread.join(10)
    assert seen == [False, True]
    with tg.no_grad():  # and a new thread starts with recording on
        thread = threading.Thread(target=lambda: seen.append(tg.is_grad_enabled()))
        thread.start()
        thread.join(10)
    assert seen[-1] is True


def test_threads_walk_their_own_graphs() -> None:
    failures: list[str] = []

    def work(k: int) -> None:
        for _ in range(30):
            x = T(np.full(50, float(k)), requires_grad=True)
            (g,) = tg.grad((x * x).sum(), [x], create_graph=k % 2 == 0)
            if not np.array_equal(g.numpy(), np.full(50, 2.0 * k)) or g.requires_grad != (k % 2 == 0):
                failures.append(f"{k}: {g!r}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
