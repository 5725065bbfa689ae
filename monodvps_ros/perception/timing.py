# SPDX-License-Identifier: Apache-2.0
"""Milliseconds by stage: CUDA events, or the clock elsewhere; free when off."""

import time
from types import MappingProxyType

import torch


class StageTimer:
    """Times the stages between calls of `done`; one that is not enabled does nothing."""

    def __init__(self, enabled: bool, device: torch.device) -> None:
        self._enabled = enabled
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []
        self.done("")

    def done(self, stage: str) -> None:
        """Mark the end of a stage; times of stages with one name add up."""
        if not self._enabled:
            return
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append((stage, event))
        else:
            self._marks.append((stage, time.perf_counter()))

    def result_ms(self) -> MappingProxyType[str, float]:
        """Milliseconds by stage, in the order they first ended; empty where timing is off."""
        if self._cuda and self._marks:
            torch.cuda.synchronize()
        spent: dict[str, float] = {}
        for (_, start), (stage, end) in zip(self._marks, self._marks[1:], strict=False):
            if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
                duration = start.elapsed_time(end)
            else:
                assert isinstance(start, float) and isinstance(end, float)
                duration = (end - start) * 1e3
            spent[stage] = spent.get(stage, 0.0) + duration
        return MappingProxyType(spent)
