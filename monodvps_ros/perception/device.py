# SPDX-License-Identifier: Apache-2.0
"""Which device to compute on, and how much memory that takes."""

import ctypes
import itertools
import mmap
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
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


def process_memory_mb() -> float:
    """Return the resident memory of this process in megabytes."""
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return resident_pages * resource.getpagesize() / 1e6


def release_memory() -> None:
    """Give back to the system what has been freed, which glibc keeps otherwise, and what only the start needed.

    Loading torch's CUDA build looks at a quarter of a gigabyte of libraries that a CPU never needs again. Pages of
    files that were not changed are unmapped; they come back from the file when they are needed.
    """
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:
        trim(0)
    if hasattr(library, "madvise"):
        for start, end in _unchanged_pages():
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _unchanged_pages() -> Iterator[tuple[int, int]]:
    """Find the mappings of files, from and to, of which this process has changed nothing and can change nothing."""
    with suppress(OSError):  # a system without /proc/self/smaps
        bounds = None
        for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split(maxsplit=5)
            if not words[0].endswith(":"):  # a mapping: bounds, permissions, ..., path
                is_private_file = len(words) == 6 and words[5].startswith("/") and words[1] in ("r--p", "r-xp")
                bounds = words[0] if is_private_file else None
            elif bounds and words[0] == "Anonymous:":
                if words[1] == "0":
                    start, _, end = bounds.partition("-")
                    yield int(start, 16), int(end, 16)
                bounds = None


def gpu_memory_mb(device: torch.device) -> float | None:
    """Return how much memory of a CUDA device this process' tensors hold, the allocator's reserve included.

    In millions of bytes; None for a device without memory of its own.
    """
    return torch.cuda.memory_reserved(device) / 1e6 if device.type == "cuda" else None
