# SPDX-License-Identifier: Apache-2.0
"""How often the host waits for the device: on CUDA from torch's profiler, on a CPU by the calls that would wait."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

from monodvps_ros.perception import code_maps

#: Calls of the CUDA runtime that wait.
_WAITING_CALLS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
#: Packages whose functions are named.
_STEPS = ("perception", "network", "engines", "geometry")
#: Functions of torch whose result the host needs.
_WAITING = (
    "item", "tolist", "cpu", "__bool__", "__int__", "__float__", "__index__", "nonzero", "bincount", "masked_select",
    "unique", "equal", "solve", "inv",
)  # fmt: skip


@contextmanager
def fixed_shapes() -> Iterator[None]:
    """Run the steps in the form that they have on a GPU, also on a CPU."""
    before = code_maps.follows_data
    code_maps.follows_data = lambda maps: False
    try:
        yield
    finally:
        code_maps.follows_data = before


class WaitCounter(TorchFunctionMode):
    """Counts calls that would wait if all tensors were on CUDA, by the function of the package that makes them.

    Several tensors that `to_host` brings down at once are one wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._last_download: FrameType | None = None  # held, so that no other takes its identity

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and call."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        waits = name in _WAITING or (name in ("__getitem__", "__setitem__") and _by_mask(args[1]))
        if name == "to" and not kwargs.get("non_blocking", False):
            waits = any(isinstance(value, (str, torch.device)) for value in (*args[1:], *kwargs.values()))
        if name == "numpy" and (download := _download()) is not None:
            waits, self._last_download = download is not self._last_download, download
        if waits:
            self.found[_caller()] += 1
        return func(*args, **kwargs)


def _by_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


def _frames() -> list[Any]:
    return [frame for frame, _ in traceback.walk_stack(None)]


def _download() -> FrameType | None:
    """Which call of `to_host` this is a part of; None: of none."""
    return next((frame for frame in _frames() if frame.f_code.co_name == "to_host"), None)


def _caller() -> str:
    for frame in _frames():
        path = Path(frame.f_code.co_filename)
        if path.parent.name in _STEPS and path.stem != "device" and frame.f_code.co_name != "<listcomp>":
            return f"{path.stem}.{frame.f_code.co_name}"
    return "elsewhere"


def count_waits(step: Callable[[], object], device: torch.device) -> tuple[int, dict[str, int]]:
    """Count the waits in one call, and where they are (calls of the runtime on CUDA)."""
    if device.type == "cuda":
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            step()
        calls = {event.key: event.count for event in profiler.key_averages() if event.key in _WAITING_CALLS}
        calls["cudaDeviceSynchronize"] = max(calls.get("cudaDeviceSynchronize", 0) - 1, 0)  # the profiler's own
        return sum(calls.values()), {name: count for name, count in calls.items() if count}
    with WaitCounter() as counter:
        step()
    return counter.found.total(), dict(counter.found.most_common())
