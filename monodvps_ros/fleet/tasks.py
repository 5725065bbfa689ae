# SPDX-License-Identifier: Apache-2.0
"""The tasks of a fleet: a command line for each recording, and the record of one that is finished."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from monodvps_ros.data.fingerprints import file_times
from monodvps_ros.data.manifest import file_digest
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.evaluation.prediction import MANIFEST
from monodvps_ros.files import LOCK, owned, read_json, read_yaml, write_text
from monodvps_ros.network import weights_file

#: Commands for many recordings: the option for the recording, the one for the result, and the result's name in the
#: folder of the recording; empty for the folder itself.
COMMANDS = {
    "predict": ("--input", "--out", ""),
    "pseudo-label": ("--data", "--out", ""),
    "evaluate": ("--data", "--totals", "totals.json"),
}
#: The result of all recordings together, in the folder of the fleet.
RESULT_FILE = "evaluation.json"
_FINISHED, _MARK = ".finished", ".fleet.json"
_SUCCESS = (0, 3)  # 3: finished, but frames of the input are missing
_RECORD = {"words": list, "recording": str, "files": dict, "code": int, "message": str, "seconds": float}
#: Options of files that a command writes besides.
_FILES_WRITTEN = ("--json", "--report")
#: Options beside which a command does not take the default weights.
_OWN_WEIGHTS = ("--weights", "--predictions", "weights=", "model=")


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
class Task:
    """A command for one recording.

    Attributes:
        name: of the recording within the fleet.
        words: command line, without the name of the program.
        out: folder that the command writes to.
        result: file that records that it is finished.
        recording: names, sizes and times of its files when the fleet began, as `file_times` gives them.
        files: SHA-256 of the files that the options name, by the options' values; empty value: the default weights.
    """

    name: str
    words: tuple[str, ...]
    out: Path
    result: Path
    recording: str
    files: Mapping[str, str]

    @property
    def finished(self) -> Outcome | None:
        """What became of it in an earlier run that finished it; None: it is to be run.

        Raises:
            DataError: it was finished with another command line or other files, its recording has changed since, or
                its record is damaged.
        """
        if not (self.result.is_file() and self.out.exists()):
            return None
        record = _read_record(self.result, _RECORD, "remove it, and the recording is processed again")
        words, files = record["words"], record["files"]
        if words != list(self.words):
            said = " ".join(map(str, words))
            raise DataError(f"{self.result}: was made with other options: {said}; choose another --out")
        if record["recording"] != self.recording:
            raise DataError(
                f"{self.result}: files of {self.words[2]} have changed since; remove {self.out}, and it is made again"
            )
        for value in {**files, **self.files}:
            if files.get(value) != self.files.get(value):
                raise DataError(
                    f"{self.result}: was made with other content of {_shown(value)}; choose another --out, or put the "
                    "earlier file back"
                )
        return Outcome(self.name, record["code"], record["message"], record["seconds"])

    def prepare(self) -> None:
        """Remove what an interrupted run left, so that the result does not depend on when it was interrupted.

        Raises:
            DataError: the folder is a link or in use, or a file of the options is no longer as it was.
            OSError: something cannot be removed.
        """
        for value, digest in self.files.items():
            if _content(value) != digest:
                raise DataError(f"{_shown(value)}: has changed since the fleet began, or differs on this machine")
        if self.out.is_symlink():
            raise DataError(f"{self.out}: is a symbolic link, through which nothing is removed; remove the link")
        self.result.unlink(missing_ok=True)
        if self.out.is_dir():
            with owned(self.out):  # refused while another process writes there
                pass
            shutil.rmtree(self.out)

    def record(self, outcome: Outcome) -> None:
        """Record that it is finished.

        Raises:
            DataError: the record cannot be written.
        """
        content = {"words": self.words, "recording": self.recording, "files": dict(self.files), "code": outcome.code,
                   "message": outcome.message, "seconds": outcome.seconds}  # fmt: skip
        write_text(self.result, json.dumps(content, indent=1) + "\n")


def make_tasks(command: str, recordings: Mapping[str, Path], out: Path, options: Sequence[str]) -> list[Task]:
    """Make the command lines for all recordings.

    Args:
        command: a name of `COMMANDS`.
        recordings: paths by name.
        out: folder of the fleet; each recording has a folder of its name there.
        options: of the command; ``{name}`` stands for the recording's name.

    Raises:
        ConfigError: there is no such command, or an option is the fleet's.
        DataError: a recording has a name that no folder in `out` can have, lies in `out`, or `out` in it, or cannot be
            read.
    """
    if command not in COMMANDS:
        raise ConfigError(f"command is '{command}'; it must be one of {', '.join(COMMANDS)}")
    data, target, file = COMMANDS[command]
    _check_options(command, options)
    digest, tasks = cache(_content), []
    for name, path in recordings.items():
        _check_place(name, path, out)
        own = [option.replace("{name}", name) for option in options]
        files = {value: content for value in _values(command, own) if (content := digest(value)) is not None}
        words = (command, data, str(path), target, str(out / name / file), *own)
        tasks.append(Task(name, words, out / name, out / _FINISHED / f"{name}.json", file_times(path), files))
    return tasks


def _check_options(command: str, options: Sequence[str]) -> None:
    for place, word in enumerate(options):
        option, equals, value = word.partition("=")
        if option in COMMANDS[command][:2]:
            raise ConfigError(f"{option} is set for each recording; remove it")
        if option == "--help":
            raise ConfigError(f"--help does not run {command}; see: monodvps {command} --help")
        value = value if equals else "".join(options[place + 1 : place + 2])
        if option in _FILES_WRITTEN and "{name}" not in value:
            raise ConfigError(f"{option} {value}: every recording would write this file; put {{name}} into its path")


def _check_place(name: str, path: Path, out: Path) -> None:
    """See that a recording's folder in `out` is strictly below it, and that neither holds the other: it is removed."""
    if not name or name.startswith(".") or name == RESULT_FILE or Path(name).name != name:
        raise DataError(
            f"{path}: its name '{name}' cannot be the name of a folder in {out}; names must not be empty, begin with a "
            f"dot, contain a slash or be {RESULT_FILE}: rename it, or list it by a path that ends with its name"
        )
    inner, outer = out.resolve(), path.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise DataError(f"{path}: this recording and --out {out} lie one within the other; choose another --out")


def _values(command: str, options: Sequence[str]) -> Iterator[str]:
    """Give what options may name files by, with the weights of a configuration; empty: the default weights."""
    takes_default = command != "pseudo-label" and not any(word.startswith(_OWN_WEIGHTS) for word in options)
    for before, word in zip(("", *options), options, strict=False):
        option, equals, value = word.partition("=")
        if option in _FILES_WRITTEN or before in _FILES_WRITTEN:
            continue
        for each in (word, value) if equals else (word,):
            yield each
            if each.endswith((".yaml", ".yml")) and _is_file(Path(each)):
                content = read_yaml(Path(each))
                weights = content.get("weights") if isinstance(content, dict) else None
                if isinstance(weights, str):
                    takes_default = False
                    yield weights
    if takes_default:
        yield ""


def _content(value: str) -> str | None:
    """Digest the file that an option's value names, by its path or as weights that ship; None: it names none.

    A folder of predictions is known by its manifest, a graph of OpenVINO by the weights beside it too.
    """
    path = weights_file(value)
    files = [path, path / MANIFEST, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]
    return " ".join(file_digest(file) for file in files if _is_file(file)) or None


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # an option's value that is too long for a path
        return path.is_file()
    return False


def _shown(value: str) -> str:
    return value or "the default weights"


@contextmanager
def fleet_folder(out: Path, command: str) -> Iterator[None]:
    """Own the folder of a fleet until the end, and make it, or see that it is one: it is removed from.

    Raises:
        DataError: another process owns it, it contains something else, or it cannot be written.
    """
    with owned(out):
        mark = out / _MARK
        if mark.is_file():
            advice = 'write {"command": "predict"} into it, or what made the folder, or choose another --out'
            before = _read_record(mark, {"command": str}, advice)["command"]
            if before != command:
                raise DataError(f"{out}: contains the results of 'fleet {before}'; choose another --out")
        elif any(entry.name != LOCK for entry in out.iterdir()):
            raise DataError(f"{out}: contains other files; choose an empty --out")
        else:
            write_text(mark, json.dumps({"command": command}) + "\n")
        yield


def _read_record(path: Path, kinds: Mapping[str, type], advice: str) -> dict[str, Any]:
    try:
        content = read_json(path)
    except DataError as error:
        raise DataError(f"{error}; {advice}") from None
    wrong = not isinstance(content, dict) or [key for key in kinds if not isinstance(content.get(key), kinds[key])]
    if wrong:
        raise DataError(f"{path}: is damaged: it must contain {', '.join(kinds)}; {advice}")
    return dict(content)
