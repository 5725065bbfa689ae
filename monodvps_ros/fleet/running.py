# SPDX-License-Identifier: Apache-2.0
"""Runs the tasks of a fleet, one after the other in this process or on a Ray cluster."""

import contextlib
import io
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from monodvps_ros.errors import ConfigError, DataError, MonoDVPSError, line_of
from monodvps_ros.fleet.tasks import Outcome, Task
from monodvps_ros.optional import import_optional
from monodvps_ros.signals import EXIT_INTERRUPTED

log = logging.getLogger(__name__)

#: Runs a command line and raises SystemExit with its exit code.
Main: TypeAlias = Callable[[list[str]], None]
#: Ray's name on the command line for a cluster of this machine alone.
LOCAL = "local"


@dataclass(frozen=True)
class Resources:
    """Where tasks run.

    Attributes:
        ray: address of a Ray cluster, `LOCAL`, or empty: one after the other in this process.
        cpus: threads of a task. The same number gives the same result to the bit.
        gpus: GPUs of a task on Ray, or a share of one.
        retries: how often a task is started again after its worker has died.
    """

    ray: str = ""
    cpus: int = 1
    gpus: float = 0.0
    retries: int = 2


def run_tasks(tasks: Sequence[Task], main: Main, resources: Resources) -> Iterator[Outcome]:
    """Run the tasks that are not finished; one that fails does not stop the others.

    Args:
        tasks: in the order in which they are begun.
        main: runs a command line, here or on a worker.
        resources: where.

    Returns:
        Outcomes in the order in which they end.

    Raises:
        ConfigError: the cluster cannot be reached, or a task asks for more than this machine has.
        DataError: an earlier run finished one otherwise, or its record is damaged.
        KeyboardInterrupt: one was interrupted.
        MissingDependencyError: Ray is not installed.
    """
    if resources.gpus and not resources.ray:
        raise ConfigError(f"--gpus {resources.gpus:g} is for --ray; without it, give --device after '--'")
    if not (resources.gpus <= 1 or float(resources.gpus).is_integer()):  # nor NaN
        raise ConfigError(f"--gpus is {resources.gpus:g}; it must be a share of one GPU, or a whole number of them")
    todo = [task for task in tasks if task.finished is None]
    if not resources.ray:
        yield from _in_turn(todo, main, resources.cpus)
        return
    ray = import_optional("ray", "--ray")
    stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=resources.ray, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--ray {resources.ray}: the cluster cannot be reached: {error}") from None
    try:
        signal.signal(signal.SIGTERM, stop)  # Ray has taken it
        _check_room(ray, resources)
        yield from _on_ray(ray, todo, main, resources)
    finally:
        ray.shutdown()


def _check_room(ray: Any, resources: Resources) -> None:
    """See that a machine can take a task, which Ray would wait for without a word; a cluster may yet grow."""
    machines = [[node["Resources"].get(kind, 0) for kind in ("CPU", "GPU")] for node in ray.nodes() if node["Alive"]]
    if any(cpus >= resources.cpus and gpus >= resources.gpus for cpus, gpus in machines):
        return
    most = [max(numbers, default=0) for numbers in zip(*machines, strict=True)] or [0, 0]
    asked, has = (f"{cpus:g} CPU and {gpus:g} GPU" for cpus, gpus in ((resources.cpus, resources.gpus), most))
    if resources.ray == LOCAL:
        raise ConfigError(f"--ray local: each recording asks for {asked}, but this machine has {has}; lower --cpus or "
                          "--gpus")  # fmt: skip
    log.warning("--ray %s: each recording asks for %s, but the most that machines of the cluster have is %s; waiting "
                "for one that has so much", resources.ray, asked, has)  # fmt: skip


def _in_turn(todo: Sequence[Task], main: Main, threads: int) -> Iterator[Outcome]:
    for task in todo:
        outcome = _run(task, main, threads)
        if outcome.code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        yield outcome


def _on_ray(ray: Any, todo: Sequence[Task], main: Main, resources: Resources) -> Iterator[Outcome]:
    remote = ray.remote(_run).options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=resources.retries)
    running = {remote.remote(task, main, resources.cpus): task for task in todo}
    while running:
        ended, _ = ray.wait(list(running), num_returns=1)
        task = running.pop(ended[0])
        try:
            yield ray.get(ended[0])
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            yield Outcome(task.name, 1, f"its worker died {resources.retries + 1} times: {reason}")


def _run(task: Task, main: Main, threads: int) -> Outcome:
    torch.set_num_threads(threads)
    begin, said = time.monotonic(), io.StringIO()
    code = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            task.prepare()
            main(list(task.words))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except (MonoDVPSError, OSError) as error:
            code = 1
            said.write(line_of(error))
        except Exception as error:  # a fault of ours; the other recordings are not to suffer from it
            code = 1
            said.write(f"{type(error).__name__}: {error}")
    lines = said.getvalue().strip().splitlines()
    outcome = Outcome(task.name, code, lines[-1] if lines and code else "", time.monotonic() - begin)
    try:
        if not outcome.has_failed:
            task.record(outcome)
    except DataError as error:
        outcome = Outcome(task.name, 1, str(error), outcome.seconds)
    return outcome
