# SPDX-License-Identifier: Apache-2.0
"""CPU time of calls that take turns."""

import statistics
import time
from collections.abc import Callable, Mapping

Calls = Mapping[str, Callable[[], object]]
Rows = dict[str, dict[str, float]]


def in_turn(calls: Calls, repeats: int) -> dict[str, float]:
    """Return the median milliseconds of CPU of each call; they take turns, two rounds are not counted."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for place in range(repeats + 2):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            if place >= 2:
                spent[name].append((time.process_time() - begun) * 1e3)
    return {name: round(statistics.median(times), 3) for name, times in spent.items()}
