# SPDX-License-Identifier: Apache-2.0
"""Files: YAML and JSON are parsed with one kind of error; what is written appears whole or not at all, by one writer.

A file is written beside its place under a hidden name of its own, then moved there. A lock file marks an output that is
being written.
"""

import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

import yaml

from monodvps_ros.errors import DataError, MonoDVPSError, shortened

log = logging.getLogger(__name__)

_PARTIAL = ".partial"
_MOST_TEXT = 1 << 28
#: Name of the lock file in a folder that is being written, and its ending beside a file.
LOCK = ".lock"
#: What a lock file holds; empty where its owner was killed before it wrote this.
_OWNER = re.compile(rb"(process \d+ on [^\n]*\n?)?")
#: File systems without locks, such as some cluster storage: outputs there have no owner.
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def partial_path(path: Path, suffix: str = "") -> Path:
    """Name an unfinished file or folder beside a path; each call gives another name."""
    place = path if path.name else path.absolute()  # "." and "/" have no name
    return place.parent / f".{place.name}.{secrets.token_hex(4)}{_PARTIAL}{suffix}"


def partials(folder: Path, name: str = "*") -> list[Path]:
    """List what killed processes have left unfinished in a folder, of files whose names match a pattern."""
    return sorted(folder.glob(f".{name}{_PARTIAL}*"))


def clear_partials(path: Path) -> None:
    """Remove what killed processes have left unfinished of a file; for its owner (see `owned`) alone."""
    for unfinished in partials(path.parent, f"{escape(path.name)}.????????"):
        unfinished.unlink(missing_ok=True)


@contextmanager
def written_whole(
    path: Path,
    error: type[MonoDVPSError] = DataError,
    *,
    what: str = "",
    advice: str = "",
    caught: type[Exception] = OSError,
    make_folder: bool = False,
    suffix: str = "",
    durable: bool = False,
) -> Iterator[Path]:
    """Give a path to write to, and put that file in its place at the end; after an exception remove it.

    Args:
        path: its place; a file there is replaced, and a device or pipe gets the content as a whole at the end.
        error: raised where it cannot be written.
        what: names the file in that error, such as "weights".
        advice: ends that error.
        caught: another exception, beside OSError, that says that it cannot be written.
        make_folder: make the folder of the file.
        suffix: of the path to write to, where what writes it looks at it.
        durable: wait until the disk has it, so that a power failure leaves the old file or the new one.

    Raises:
        MonoDVPSError: `error`, with path and reason.
    """
    partial = partial_path(Path(tempfile.gettempdir(), path.name) if _is_stream(path) else path, suffix)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        put_in_place(partial, path)
    except (OSError, caught) as problem:
        reason = getattr(problem, "strerror", None) or problem
        named = f"{what} cannot be written" if what else "cannot be written"
        raise error(f"{shortened(str(path))}: {named}: {reason}{advice}") from problem
    finally:
        with suppress(OSError):  # an error is on its way already
            partial.unlink(missing_ok=True)


def put_in_place(partial: Path, path: Path) -> None:
    """Move a finished file to its place, or copy it into the device or pipe there.

    Raises:
        OSError: the place cannot be written.
    """
    if not _is_stream(path):
        partial.replace(path)
        return
    own = _own_descriptor(path)
    if own is not None:  # what has been printed comes first
        for printed in filter(None, (sys.stdout, sys.stderr)):
            printed.flush()
    with partial.open("rb") as content, path.open("ab") if own is None else os.fdopen(os.dup(own), "wb") as stream:
        shutil.copyfileobj(content, stream)


def _is_stream(path: Path) -> bool:
    """Whether a path names a device, a pipe, or an open file of a process such as /dev/stdout: none may be replaced."""
    try:
        mode = path.stat().st_mode
        folders = [folder for folder, _ in _places(path)]
    except (OSError, ValueError):  # ValueError: a null character in the path
        return False
    if not stat.S_ISREG(mode):
        return not stat.S_ISDIR(mode)
    return any(folder.startswith("/proc/") for folder in folders)


def _own_descriptor(path: Path) -> int | None:
    """Return the number of this process's open file that a path such as /dev/stdout names, which has a position."""
    names = [name for folder, name in _places(path) if folder == f"/proc/{os.getpid()}/fd"]
    return int(names[0]) if names and names[0].isdecimal() else None


def _places(path: Path) -> list[tuple[str, str]]:
    """Return the real folder and the name of a path, and of what it links to if it is a link."""
    named = [path, path.parent / path.readlink()] if path.is_symlink() else [path]
    return [(os.path.realpath(each.parent), each.name) for each in named]


def write_bytes(path: Path, data: bytes, make_folder: bool = False) -> None:
    """Write a file.

    Raises:
        DataError: it cannot be written.
    """
    with written_whole(path, make_folder=make_folder) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, and make its folder.

    Raises:
        DataError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"), make_folder=True)


def exists(path: Path | str) -> bool:
    """Say whether there is something at a path; at one that is too long for the file system there is nothing."""
    return _unless_too_long(Path(path).exists)


def is_file(path: Path | str) -> bool:
    """Say whether a path is a file; one that is too long for the file system is none."""
    return _unless_too_long(Path(path).is_file)


def _unless_too_long(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def shipped_file(name: Path | str) -> Path | None:
    """Return a file that ships, such as ``config/train.yaml``; None where it is not installed.

    Such files lie beside the package in its source tree, or in the share folder of a colcon workspace or a Python
    environment.
    """
    named = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    prefixes = [*named, *Path(__file__).parents]
    folders = [Path(__file__).parents[1], *(prefix / "share" / "monodvps_ros" for prefix in prefixes)]
    return next((folder / name for folder in folders if is_file(folder / name)), None)


def given_or_shipped(path: Path) -> Path:
    """Return the file that ships under a path that is missing; else the path."""
    return path if exists(path) else shipped_file(path) or path


def read_yaml(path: Path, error: type[MonoDVPSError] = DataError) -> Any:
    """Read a YAML file.

    Raises:
        MonoDVPSError: `error`: it cannot be read or parsed.
    """
    return parse_yaml(read_bytes(path, error, _MOST_TEXT), str(path), error)


def read_json(path: Path, error: type[MonoDVPSError] = DataError) -> Any:
    """Read a JSON file.

    Raises:
        MonoDVPSError: `error`: it cannot be read or parsed.
    """
    return parse_json(read_bytes(path, error, _MOST_TEXT), str(path), error)


def parse_yaml(text: str | bytes, where: str, error: type[MonoDVPSError] = DataError) -> Any:
    """Parse YAML; `where` it comes from begins the error."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:  # ValueError: bytes, dates, numbers, encodings
        raise error(f"{where}: cannot be read as YAML: {shortened(str(problem))}") from None


def parse_json(text: str | bytes, where: str, error: type[MonoDVPSError] = DataError) -> Any:
    """Parse JSON; `where` it comes from begins the error."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: cannot be read as JSON: {shortened(str(problem))}") from None


def read_bytes(path: Path, error: type[MonoDVPSError] = DataError, most: int = 1 << 30) -> bytes:
    """Read a file or pipe of at most `most` bytes; devices such as /dev/zero, and sparse files, may have no end.

    Raises:
        MonoDVPSError: `error`: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            is_large = status.st_size > most
            data = b"" if is_large else file.read(-1 if stat.S_ISREG(status.st_mode) else most + 1)
        if is_large or len(data) > most:
            raise ValueError(f"it is larger than {most >> 20} MiB")
        return data
    except (OSError, ValueError) as problem:  # ValueError: a null character in the path
        raise error(
            f"{shortened(str(path))}: cannot be read: {getattr(problem, 'strerror', None) or problem}"
        ) from None


@contextmanager
def owned(output: Path, *, is_file: bool = False, wait: bool = False) -> Iterator[None]:
    """Own an output until the end; another process that asks for it meanwhile is refused, or waits.

    The lock is the kernel's (flock), so that a killed process leaves none, even if its lock file stays.

    Args:
        output: folder, which is made if missing, or file.
        is_file: it is a file; its folder must exist.
        wait: until no other process owns it.

    Raises:
        DataError: another process owns it, it cannot be written, or what has the name of its lock file is none.
    """
    folder = output.parent if is_file else output
    path = folder / f".{output.name}{LOCK}" if is_file else folder / LOCK
    is_new = not folder.exists()
    try:
        if not is_file:
            folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(path, wait)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise DataError(
                f"{output}: is being written by another process ({_owner(path)}); wait for it, or choose another --out"
            ) from None
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise DataError(f"{folder} is a file; give a folder with --out") from None
        raise DataError(f"{output}: cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            if os.path.samestat(os.fstat(lock), path.lstat()):
                path.unlink()  # before the lock is released: whoever waits for this file finds that it is gone
        os.close(lock)
        if is_new:
            with suppress(OSError):  # unless something was written
                folder.rmdir()


def _locked(path: Path, wait: bool) -> int:
    while True:
        lock = _lock_file(path)
        try:
            _lock(lock, path, wait)
            if os.path.samestat(os.fstat(lock), path.lstat()):
                os.truncate(lock, 0)
                os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return lock
        except FileNotFoundError:  # removed by its last owner
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _lock_file(path: Path) -> int:
    """Open a lock file, but nothing else that has its name."""
    problem = f"{path} is not a lock of this program, and would be overwritten; move it, or choose another --out"
    if path.is_symlink() or path.is_dir():
        raise DataError(problem)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    if not stat.S_ISREG(os.fstat(lock).st_mode) or not _OWNER.fullmatch(os.pread(lock, 300, 0)):
        os.close(lock)
        raise DataError(problem)
    return lock


def _lock(lock: int, path: Path, wait: bool) -> None:
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            log.warning("%s: waits for another process (%s)", path, _owner(path))
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "unknown"
    except OSError:
        return "unknown"
