# SPDX-License-Identifier: Apache-2.0
"""Frames per second alone and beside busy processes, for several ways in which threads wait for each other."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from monodvps_ros.errors import DataError
from monodvps_ros.progress import tracked
from monodvps_ros.threads import POLICY_VARIABLES, let_threads_sleep

#: Ways to wait, by name: changes of the environment before torch loads.
POLICIES: dict[str, dict[str, str]] = {
    "monodvps_ros": {},
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
#: What is measured, frames through `Pipeline.step` and training steps of two images, and for how many seconds; on two
#: busy cores those of training are four steps.
SECONDS = {"step": 2.0, "training": 6.0}
#: Processes for each way.
ROUNDS = 3
_CAMERA = (375, 1242)
#: Keeps a core busy as long as the process of the given number is its parent.
_SPIN = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(100_000): pass"
_WATCH_S = 0.2


def compare_policies(work: str, engine: str, weights: str, beside: int) -> tuple[str, dict[str, dict[str, float]]]:
    """Measure each policy in processes of its own, in turn, so that a change of the machine's speed affects all.

    Args:
        work: one of `SECONDS`.
        engine: that runs the network of a step.
        weights: as for `PipelineConfig.weights`.
        beside: busy processes.

    Returns:
        What was measured in words: weights and engine; and by policy the frames (or training steps) per second
        ``alone`` and ``beside``, each of the best process, since other work can only slow it down, and their ``ratio``.

    Raises:
        DataError: a measuring process failed.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in POLICIES}
    model = ""
    for name in tracked([*POLICIES] * ROUNDS, f"measuring {work}", ROUNDS * len(POLICIES)):
        found[name].append(_in_process(POLICIES[name], [work, engine, weights, str(beside)]))
        model = found[name][-1]["model"]
    return model, {name: _best(runs) for name, runs in found.items()}


def _best(runs: list[dict[str, Any]]) -> dict[str, float]:
    alone, beside = (max(run[key] for run in runs) for key in ("alone", "beside"))
    return {"alone": round(alone, 2), "beside": round(beside, 2), "ratio": round(beside / alone, 2)}


def _in_process(changes: dict[str, str], arguments: list[str]) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name not in POLICY_VARIABLES} | changes
    command = [sys.executable, "-m", "monodvps_ros.benchmark.busy", str(os.getpid()), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DataError(f"the measuring process failed: {' '.join(result.stderr.split())[-200:]}")
    figures: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return figures


def _measure(work: str, engine: str, weights: str, beside: int) -> dict[str, Any]:
    model, call = _training(weights) if work == "training" else _step(engine, weights)
    for _ in range(3):
        call()
    alone = _rate(call, SECONDS[work])
    with _busy_processes(beside):
        return {"model": model, "alone": alone, "beside": _rate(call, SECONDS[work])}


def _rate(call: Callable[[], Any], seconds: float) -> float:
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        call()
        count += 1
    return count / (time.perf_counter() - begun)


@contextmanager
def _busy_processes(count: int) -> Iterator[list[int]]:
    """Keep cores busy until the end, or until this process ends in any way; yields the processes' numbers."""
    processes = [subprocess.Popen([sys.executable, "-c", _SPIN, str(os.getpid())]) for _ in range(count)]
    try:
        time.sleep(0.2)  # until they spin
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _end_with(parent: int) -> None:
    """End this process once the process of that number is not its parent any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _step(engine: str, weights: str) -> tuple[str, Callable[[], Any]]:
    from monodvps_ros.benchmark.stages import make_frame  # noqa: PLC0415 (torch, after the policy is set)
    from monodvps_ros.config import PipelineConfig  # noqa: PLC0415
    from monodvps_ros.outputs import RECORDED_OUTPUTS  # noqa: PLC0415
    from monodvps_ros.perception import Pipeline  # noqa: PLC0415
    from monodvps_ros.perception.loading import load_model  # noqa: PLC0415
    from monodvps_ros.types import CameraFrame  # noqa: PLC0415

    config = PipelineConfig(device="cpu", weights=weights, engine=engine)
    pipeline = Pipeline(load_model(config), config)
    frame = make_frame(_CAMERA, pipeline.model.input_size)
    stamps = iter(range(1 << 62))

    def step() -> Any:
        return pipeline.step(CameraFrame(frame.image, next(stamps), "camera", frame.intrinsics), RECORDED_OUTPUTS)

    return pipeline.model.description, step


def _training(weights: str) -> tuple[str, Callable[[], Any]]:
    import torch  # noqa: PLC0415 (after the policy is set)

    from monodvps_ros.network import load_network  # noqa: PLC0415

    network = load_network(weights, for_inference=False).train()
    images = torch.rand(2, 3, *network.input_size)

    def step() -> None:
        output = network(images)
        (output.class_logits.mean() + output.offsets_px.mean() + output.disparities[0].mean()).backward()

    return f"{network.description}; torch float32", step


if __name__ == "__main__":
    let_threads_sleep()
    _, parent_, work_, engine_, weights_, beside_ = sys.argv
    _end_with(int(parent_))
    print(json.dumps(_measure(work_, engine_, weights_, int(beside_))))  # noqa: T201
