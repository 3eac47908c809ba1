"""NumPy's or PyTorch's operations for a loop of many small steps.

NumPy starts an operation in a fifth of PyTorch's time, and its products of a few rows are as fast
or faster. The two share most names (`add`, `matmul`, ..., with `out`), so that one loop is
written for both: on NumPy's arrays on the CPU, and on tensors elsewhere.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor


# NumPy warns where PyTorch does not, above all when a diverging run reaches NaN.
silent = np.errstate(over="ignore", invalid="ignore", divide="ignore")


def arrays(*tensors: Tensor) -> tuple[ModuleType, list[Array]]:
    """The module whose operations to use, and the tensors as its arrays, in the same memory."""
    if all(map(on_host, tensors)):
        return np, [x.detach().numpy() for x in tensors]
    return on_torch(*tensors)


def on_host(x: Tensor) -> bool:
    """Whether the values are at hand: not on a GPU, and not fake, as in a count of operations."""
    return type(x.detach()) is Tensor and x.device.type == "cpu"


def on_torch(*tensors: Tensor) -> tuple[ModuleType, list[Array]]:
    """The same, but always PyTorch."""
    return torch, [x.detach() for x in tensors]


def sigmoid_(x: Array) -> Array:
    """The sigmoid in place."""
    if isinstance(x, Tensor):
        return x.sigmoid_()
    x *= 0.5
    np.tanh(x, out=x)
    x += 1.0
    x *= 0.5
    return x


def rows(table: Array, index: Array) -> Array:
    """The rows of a table, a new array."""
    if isinstance(table, Tensor):
        return table.index_select(0, index)
    return table.take(index, axis=0)


def softmax_(x: Array) -> Array:
    """The softmax over the last axis, in place."""
    if isinstance(x, Tensor):
        return x.copy_(x.softmax(-1))
    x -= x.max(-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(-1, keepdims=True)
    return x
