# SPDX-License-Identifier: Apache-2.0
"""One command over many recordings, one after the other or on a Ray cluster; what is finished is not done again."""

import contextlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.files import read_json, write_text
from monodvps_ros.optional import import_optional

#: Runs a command line and raises SystemExit with its exit code.
Main: TypeAlias = Callable[[list[str]], None]
#: Ray's name on the command line for a cluster of this machine alone.
LOCAL = "local"
#: Commands for many recordings: the option for the recording, the one for the result, and the result's name in the
#: folder of the recording; empty for the folder itself.
COMMANDS = {
    "predict": ("--input", "--out", ""),
    "pseudo-label": ("--data", "--out", ""),
    "evaluate": ("--data", "--totals", "totals.json"),
}
_FINISHED, _MARK = ".finished", ".fleet.json"
_SUCCESS = (0, 3)  # 3: finished, but frames of the input are missing


@dataclass(frozen=True)
class Task:
    """A command for one recording.

    Attributes:
        name: of the recording within the fleet.
        words: command line, without the name of the program.
        out: folder that the command writes to.
        result: file that records that it is finished.
    """

    name: str
    words: tuple[str, ...]
    out: Path
    result: Path

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run has finished it.

        Raises:
            DataError: it was finished with another command line.
        """
        if not self.result.is_file():
            return False
        words = read_json(self.result).get("words")
        if words != list(self.words):
            raise DataError(f"{self.result}: was made with other options: {' '.join(words)}; choose another --out")
        return True


@dataclass(frozen=True)
class Outcome:
    """What became of a task: exit code of its command, its last line on stderr, and the seconds that it took."""

    name: str
    code: int
    message: str = ""
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether its result is missing."""
        return self.code not in _SUCCESS


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


def list_recordings(path: Path) -> dict[str, Path]:
    """Read which recordings there are: a text file with one path a line, or a folder whose entries they are.

    Returns:
        Their paths by unique names, in order. Relative paths in a file are relative to it; ``#`` begins a comment.

    Raises:
        DataError: there are none, one does not exist, or two have the same name.
    """
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    elif path.is_file():
        lines = (line.strip() for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        found = [path.parent / line for line in lines if line and not line.startswith("#")]
    else:
        raise DataError(f"{path}: does not exist; give a text file with one recording per line, or a folder of them")
    names: dict[str, Path] = {}
    for entry in found:
        if not entry.exists():
            raise DataError(f"{path}: lists {entry}, which does not exist")
        if entry.name in names:
            raise DataError(f"{path}: lists two recordings called {entry.name}: {names[entry.name]} and {entry}")
        names[entry.name] = entry
    if not names:
        raise DataError(f"{path}: lists no recordings")
    return names


def make_tasks(command: str, recordings: Mapping[str, Path], out: Path, options: Sequence[str]) -> list[Task]:
    """Make the command lines for all recordings.

    Args:
        command: a name of `COMMANDS`.
        recordings: paths by name.
        out: folder of the fleet; each recording has a folder of its name there.
        options: of the command; ``{name}`` stands for the recording's name.

    Raises:
        ConfigError: there is no such command, or an option is the fleet's.
        DataError: `out` contains something else, or cannot be written.
    """
    if command not in COMMANDS:
        raise ConfigError(f"command is '{command}'; it must be one of {', '.join(COMMANDS)}")
    data, target, file = COMMANDS[command]
    for option in (data, target):
        if option in options:
            raise ConfigError(f"{option} is set for each recording; remove it")
    _own(out, command)
    return [
        Task(
            name,
            (command, data, str(path), target, str(out / name / file), *(o.replace("{name}", name) for o in options)),
            out / name,
            out / _FINISHED / f"{name}.json",
        )
        for name, path in recordings.items()
    ]


def _own(out: Path, command: str) -> None:
    """Make the folder of a fleet, or see that it is one: it is removed from."""
    mark = out / _MARK
    if mark.is_file():
        before = read_json(mark).get("command")
        if before != command:
            raise DataError(f"{out}: contains the results of 'fleet {before}'; choose another --out")
    elif out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: contains other files; choose an empty --out")
    else:
        write_text(mark, json.dumps({"command": command}) + "\n")


def run_tasks(tasks: Sequence[Task], main: Main, resources: Resources) -> Iterator[Outcome]:
    """Run the tasks that are not finished; one that fails does not stop the others.

    Args:
        tasks: in the order in which they are begun.
        main: runs a command line, here or on a worker.
        resources: where.

    Returns:
        Outcomes in the order in which they end.

    Raises:
        ConfigError: the cluster cannot be reached.
        MissingDependencyError: Ray is not installed.
    """
    todo = [task for task in tasks if not task.is_finished]
    if not resources.ray:
        yield from (_run(task, main, resources.cpus) for task in todo)
        return
    ray = import_optional("ray", "--ray")
    try:
        ray.init(address=None if resources.ray == LOCAL else resources.ray, include_dashboard=False,
                 log_to_driver=False, logging_level="ERROR")  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--ray {resources.ray}: the cluster cannot be reached: {error}") from None
    try:
        yield from _on_ray(ray, todo, main, resources)
    finally:
        ray.shutdown()


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
    if task.out.is_dir():  # started again, so that the result does not depend on when it was interrupted
        shutil.rmtree(task.out)
    begin, said = time.monotonic(), io.StringIO()
    code = 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(list(task.words))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except Exception as error:  # a fault of ours; the other recordings are not to suffer from it
            code = 1
            said.write(f"{type(error).__name__}: {error}")
    lines = said.getvalue().strip().splitlines()
    outcome = Outcome(task.name, code, lines[-1] if lines and code else "", time.monotonic() - begin)
    if not outcome.has_failed:
        record = {"words": task.words, "code": code, "message": outcome.message, "seconds": outcome.seconds}
        write_text(task.result, json.dumps(record, indent=1) + "\n")
    return outcome
