# SPDX-License-Identifier: Apache-2.0
"""Which device to compute on, and how much memory that takes."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.errors import DeviceError, shortened


def resolve_device(name: str) -> torch.device:
    """Return the device that a configuration names.

    Args:
        name: ``auto`` (CUDA where there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: the name is not a device's, or that device is absent; there is no silent fall back to another.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"device '{shortened(name)}' is not a device; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device '{shortened(name)}' is absent: {count} CUDA devices are visible; use auto or cpu"
            )
    elif device.type != "cpu":
        raise DeviceError(f"device '{shortened(name)}' is not supported; use auto, cpu, cuda or cuda:N")
    return device


def to_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device without waiting for it."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[NDArray[Any]]:
    """Copy tensors to the host, waiting for their device once; those of the CPU are not copied."""
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()
    return [copy.numpy() for copy in copies]


class Download:
    """Tensors that come to the host together: the device is waited for once, when the first of them is asked for."""

    def __init__(self) -> None:
        self._pending: list[tuple[tuple[Tensor, ...], list[NDArray[Any]]]] = []

    def add(self, *tensors: Tensor) -> Callable[[], list[NDArray[Any]]]:
        """Add tensors, which may not change any more; returns what gives their arrays."""
        arrays: list[NDArray[Any]] = []
        self._pending.append((tensors, arrays))

        def take() -> list[NDArray[Any]]:
            if any(held is arrays for _, held in self._pending):
                self._fetch()
            return arrays

        return take

    def _fetch(self) -> None:
        found = iter(to_host(*(tensor for tensors, _ in self._pending for tensor in tensors)))
        for tensors, arrays in self._pending:
            arrays.extend(itertools.islice(found, len(tensors)))
        self._pending = []


def gpu_memory_mb(device: torch.device) -> float | None:
    """Return how much memory of a CUDA device this process' tensors hold, the allocator's reserve included.

    In millions of bytes; None for a device without memory of its own.
    """
    return torch.cuda.memory_reserved(device) / 1e6 if device.type == "cuda" else None
