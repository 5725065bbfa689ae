# SPDX-License-Identifier: Apache-2.0
"""Which device to compute on, and how much memory that takes."""

import ctypes
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.errors import DeviceError


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
        raise DeviceError(f"device '{name}' is not a device; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"device '{name}' is absent: {count} CUDA devices are visible; use auto or cpu")
    elif device.type != "cpu":
        raise DeviceError(f"device '{name}' is not supported; use auto, cpu, cuda or cuda:N")
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


def process_memory_mb() -> float:
    """Return the resident memory of this process in megabytes."""
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return resident_pages * resource.getpagesize() / 1e6


def release_memory() -> None:
    """Give memory that has been freed back to the system; glibc keeps most of it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def gpu_memory_mb(device: torch.device) -> float | None:
    """Return how much memory of a CUDA device this process' tensors hold, the allocator's reserve included.

    In millions of bytes; None for a device without memory of its own.
    """
    return torch.cuda.memory_reserved(device) / 1e6 if device.type == "cuda" else None
