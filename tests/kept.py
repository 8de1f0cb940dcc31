"""How much memory a forward pass keeps for the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor


def kept_bytes(forward: Callable[[], object], *known: Tensor) -> int:
    """Return the bytes that autograd keeps of a forward pass, each memory once, beside the tensors that are `known`."""
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()  # noqa: F841 - while it lives, no memory is given out twice
    for tensor in known:
        sizes.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(sizes.values())
