# SPDX-License-Identifier: Apache-2.0
"""Time and memory of the metrics: ``python test/benchmark_metrics.py``.

Prints seconds, of the clock and of the CPU (which others may use too), for six frames of 1024 x 2048 with all windows
and depth thresholds of Cityscapes-DVPS and all other measures, and the memory held after more and more frames of one
sequence.
"""

import gc
import time
import tracemalloc

import numpy as np

from monodvps_ros.labels import CITYSCAPES, single_classes
from monodvps_ros.metrics import Evaluator, MetricSettings

SIZE = (1024, 2048)


def frame(number: int) -> tuple[np.ndarray, ...]:
    """A street of 60 rectangles that drift, its prediction, and both depths."""
    rng = np.random.default_rng(1)
    truth = np.full(SIZE, 0, np.uint16)
    truth[: SIZE[0] // 3] = 10000
    truth[-80:] = 65535
    prediction = truth.copy()
    for instance in range(1, 61):
        class_id = int(rng.integers(11, 19))
        top, left = int(rng.integers(0, SIZE[0] - 200)), int(rng.integers(0, SIZE[1] - 400))
        height, width = int(rng.integers(20, 200)), int(rng.integers(20, 300))
        left += 3 * (number % 6)
        truth[top : top + height, left : left + width] = class_id * 1000 + instance
        prediction[top + 4 : top + height + 2, left + 3 : left + width + 5] = class_id * 1000 + instance
    depth = np.broadcast_to(np.linspace(80, 4, SIZE[0])[:, None], SIZE).astype(np.float32)
    noise = np.random.default_rng(number).normal(1.0, 0.15, SIZE).astype(np.float32)
    return truth, prediction, depth, depth * noise


def main() -> None:
    """Run and print."""
    frames = [frame(number) for number in range(6)]
    seconds, busy = [], []
    for _ in range(3):
        evaluator = Evaluator(MetricSettings(CITYSCAPES, single_classes(CITYSCAPES)))
        start, busy_start = time.perf_counter(), time.process_time()
        for maps in frames:
            evaluator.update(*maps[:3], {"none": maps[3]})
        evaluator.end_sequence()
        evaluator.result()
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - busy_start)
    print(f"6 frames {SIZE[0]}x{SIZE[1]}, everything: best of 3 runs {min(seconds):.2f} s, {min(busy):.2f} s of CPU")
    tracemalloc.start()
    evaluator = Evaluator(MetricSettings(CITYSCAPES, single_classes(CITYSCAPES)))
    small = [tuple(part[::8, ::8] for part in maps) for maps in frames]
    for count in range(1, 2401):
        truth, prediction, depth, predicted = small[count % 6]
        evaluator.update(truth, prediction, depth, {"none": predicted})
        if count in (10, 60, 300, 600, 1200, 2400):
            gc.collect()
            held, peak = tracemalloc.get_traced_memory()
            print(f"after {count:4d} frames of one sequence: {held / 1024:.0f} KiB held, {peak / 1024:.0f} KiB at most")


if __name__ == "__main__":
    main()
