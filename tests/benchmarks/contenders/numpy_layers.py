"""The layers of with_numpy.py: each has its buffers, forward(x), and backward(g), which writes its weights' gradients
and gives that of its input. Images are channel-first in memory, (C, N, H, W), so that a convolution is one matrix
product of the weight and the windows as columns, and its result needs no transposition."""

from __future__ import annotations

from typing import Any

import numpy as np

Shape = tuple[int, ...]


def buffer(*shape: int) -> np.ndarray:
    return np.empty(shape, np.float32)


class Linear:
    """x w + b. weights: w (in, out), b and the buffers of their gradients. Nobody needs the gradient of the `first`
    layer's input."""

    def __init__(self, weights: list[np.ndarray], shape: Shape, first: bool) -> None:
        self.w, self.b, self.dw, self.db = weights
        self.shape = (shape[0], len(self.b))
        self.out, self.gx = buffer(*self.shape), None if first else buffer(*shape)
        self.ones = np.ones(shape[0], np.float32)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        np.matmul(x, self.w, out=self.out)
        self.out += self.b
        return self.out

    def backward(self, g: np.ndarray) -> Any:
        np.matmul(self.x.T, g, out=self.dw)
        np.matmul(self.ones, g, out=self.db)  # the sum over the batch, faster than np.sum
        return None if self.gx is None else np.matmul(g, self.w.T, out=self.gx)


class Conv:
    def __init__(self, weights: list[np.ndarray], shape: Shape, padding: int, first: bool) -> None:
        kernel = weights[0].shape[-1]
        self.w, self.b, self.dw, self.db = [array.reshape(len(array), -1) for array in weights]
        c, n, h, w = shape
        padded = (c, n, h + 2 * padding, w + 2 * padding)
        oh, ow = padded[2] - kernel + 1, padded[3] - kernel + 1
        self.shape = (len(self.w), n, oh, ow)
        self.inner = (..., slice(padding, padding + h), slice(padding, padding + w))
        self.image = np.zeros(padded, np.float32) if padding else None
        self.back = None if first else buffer(*padded)
        self.columns = buffer(c, kernel, kernel, n, oh, ow)
        self.matrix = self.columns.reshape(c * kernel * kernel, -1)
        places = [(i, j) for i in range(kernel) for j in range(kernel)]
        self.windows = [((slice(None), i, j), (..., slice(i, i + oh), slice(j, j + ow))) for i, j in places]
        self.out = buffer(*self.shape)

    def forward(self, x: np.ndarray) -> np.ndarray:
        if self.image is not None:
            self.image[self.inner] = x
            x = self.image
        for column, window in self.windows:
            self.columns[column] = x[window]
        rows = self.out.reshape(len(self.w), -1)
        np.matmul(self.w, self.matrix, out=rows)
        rows += self.b
        return self.out

    def backward(self, g: np.ndarray) -> Any:
        g = g.reshape(len(self.w), -1)
        np.matmul(g, self.matrix.T, out=self.dw)
        np.sum(g, axis=1, keepdims=True, out=self.db)
        if self.back is None:
            return None
        np.matmul(self.w.T, g, out=self.matrix)  # the columns of x are not needed any more
        self.back.fill(0)
        for column, window in self.windows:
            self.back[window] += self.columns[column]
        return self.back[self.inner]


class ReLU:
    """In place."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.mask = shape, np.empty(shape, bool)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = np.maximum(x, 0, out=x)
        return self.x

    def backward(self, g: np.ndarray) -> Any:
        np.greater(self.x, 0, out=self.mask)
        return np.multiply(g, self.mask, out=g)


class Pool:
    """The largest of each window. Equal ones all get the gradient: after a ReLU they are 0, and it takes it back."""

    def __init__(self, shape: Shape, size: int) -> None:
        c, n, h, w = shape
        self.shape = (c, n, h // size, w // size)
        self.out, self.mask = buffer(*self.shape), np.empty(self.shape, bool)
        self.gx = np.zeros(shape, np.float32)
        rows = [slice(i, h // size * size, size) for i in range(size)]
        columns = [slice(j, w // size * size, size) for j in range(size)]
        self.places = [(..., row, column) for row in rows for column in columns]

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        np.maximum(x[self.places[0]], x[self.places[1]], out=self.out)
        for place in self.places[2:]:
            np.maximum(self.out, x[place], out=self.out)
        return self.out

    def backward(self, g: np.ndarray) -> Any:
        for place in self.places:
            np.equal(self.x[place], self.out, out=self.mask)
            np.multiply(g, self.mask, out=self.gx[place])
        return self.gx


class Dropout:
    """In training; nothing here evaluates a network that has it."""

    def __init__(self, shape: Shape, p: float) -> None:
        self.shape, self.p, self.rng = shape, p, np.random.default_rng(0)
        self.out, self.scale, self.mask = buffer(*shape), buffer(*shape), np.empty(shape, bool)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.rng.random(dtype=np.float32, out=self.scale)
        np.greater_equal(self.scale, self.p, out=self.mask)
        np.multiply(self.mask, np.float32(1 / (1 - self.p)), out=self.scale)
        return np.multiply(x, self.scale, out=self.out)

    def backward(self, g: np.ndarray) -> Any:
        return np.multiply(g, self.scale, out=g)


class Flatten:
    """(C, N, H, W) -> (N, C * H * W)."""

    def __init__(self, shape: Shape) -> None:
        c, n, h, w = shape
        self.shape = (n, c * h * w)
        self.out, self.gx = buffer(n, c, h, w), buffer(*shape)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.out[...] = x.transpose(1, 0, 2, 3)
        return self.out.reshape(self.shape)

    def backward(self, g: np.ndarray) -> Any:
        self.gx[...] = g.reshape(self.out.shape).transpose(1, 0, 2, 3)
        return self.gx


class CrossEntropy:
    """forward(logits, labels) is the mean loss, backward() the gradient of the logits; both in the logits' memory."""

    def __init__(self, batch: int, classes: int) -> None:
        self.column, self.total = buffer(batch, 1), buffer(batch, 1)
        self.rows, self.p = np.arange(batch), buffer(batch, classes)

    def forward(self, logits: np.ndarray, labels: np.ndarray) -> float:
        self.labels = labels
        np.max(logits, axis=1, keepdims=True, out=self.column)
        logits -= self.column
        np.exp(logits, out=self.p)
        np.sum(self.p, axis=1, keepdims=True, out=self.total)
        picked = logits[self.rows, labels]
        return float((np.log(self.total, out=self.column)[:, 0] - picked).mean())

    def backward(self) -> np.ndarray:
        self.p /= self.total
        self.p[self.rows, self.labels] -= 1
        self.p *= 1 / len(self.p)
        return self.p
