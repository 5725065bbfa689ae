# SPDX-License-Identifier: Apache-2.0
"""Shared memory in which the loader's processes hand batches to training, used again and again."""

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Tensors begin at multiples of this many bytes; the first so many of a block hold its mark.
_ALIGNMENT = 64


class Placed(NamedTuple):
    """A tensor's place in a block: first byte, type and shape."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    def of(self, block: Tensor) -> Tensor:
        """Return the tensor, a view of the block."""
        size = math.prod(self.shape) * self.dtype.itemsize
        return block[self.start : self.start + size].view(self.dtype).view(self.shape)


class BatchMemory:
    """Blocks of shared memory of one process of the loader, each used again once no tensor of its last batch is left.

    The system fills each page of new shared memory with zeros, which takes longer than making the samples. A
    block's first byte marks it as taken; training clears it (`received`). Where all are taken there is one more.
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []

    def stack(self, parts: Mapping[str, Sequence[Tensor]]) -> tuple[Tensor, dict[str, Placed]]:
        """Stack tensors of one shape by name.

        Returns:
            The block, (n,) uint8, which is to be sent to training, and each stacked tensor's place in it.
        """
        places, end = dict[str, Placed](), _ALIGNMENT
        for name, tensors in parts.items():
            places[name] = Placed(end, tensors[0].dtype, (len(tensors), *tensors[0].shape))
            size = sum(tensor.nbytes for tensor in tensors)
            end += math.ceil(size / _ALIGNMENT) * _ALIGNMENT
        block = self._free_block(end)
        for name, place in places.items():
            torch.stack(list(parts[name]), out=place.of(block))
        block[0] = 1  # not before, so that it stays free where tensors cannot be stacked
        return block, places

    def _free_block(self, size: int) -> Tensor:
        block = next((block for block in self._blocks if len(block) >= size and not block[0]), None)
        if block is None:
            block = torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))
            self._blocks.append(block)
        return block


def received(block: Tensor, places: Mapping[str, Placed]) -> dict[str, Any]:
    """Return the tensors in a block; once all of them are gone in this process, the block is free again."""
    memory = block.numpy()
    data = memory[:]  # referenced by the tensors alone
    weakref.finalize(data, _clear_mark, memory, os.getpid()).atexit = False
    flat = torch.from_numpy(data)
    return {name: place.of(flat) for name, place in places.items()}


def _clear_mark(block: NDArray[np.uint8], receiver: int) -> None:
    if os.getpid() == receiver:  # a fork of it drops only its copy
        block[0] = 0
