# SPDX-License-Identifier: Apache-2.0
"""Child processes that are always stopped with their parent, and whose logs are kept."""

import ctypes
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

#: Seconds to wait after each signal before the next.
STOP_TIMEOUTS_S = {signal.SIGINT: 20.0, signal.SIGTERM: 5.0, signal.SIGKILL: 5.0}
_PR_SET_PDEATHSIG = 1  # of Linux' prctl(2)


class ChildError(Exception):
    """A child process ended early, failed or stalled; the message ends with the last lines of its log.

    Not a `MonoDVPSError`, since it is not the user's error.
    """

    def __init__(self, child: "Child", what: str) -> None:
        super().__init__(f"the {child.name} {what}; the end of {child.log}:\n{child.last_lines()}")


class Child:
    """A child process; leaving its context stops it.

    It runs in its own session, so that Ctrl-C in a terminal reaches only the parent, which then stops its
    children in order. If the parent is killed, Linux sends the child SIGTERM, and its stdin ends.

    Args:
        name: how error messages call it.
        command: program and arguments.
        log: file that takes its stderr, and its stdout too unless that is read as events.
        events: read stdout as lines of JSON, see `latest`.
    """

    def __init__(self, name: str, command: list[str], log: Path, events: bool = False) -> None:
        self.name = name
        self.log = log
        self._latest: dict[str, dict[str, Any]] = {}
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if events else sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=_set_up_child if sys.platform == "linux" else None,  # noqa: PLW1509 (no locks in it)
            )
        self._reader = threading.Thread(target=self._read_events, daemon=True)
        if events:
            self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code; minus the signal's number where one ended it; None while it runs."""
        return self._process.poll()

    def latest(self, event: str) -> dict[str, Any] | None:
        """Return the newest line of JSON whose ``event`` is this; None where there was none yet."""
        return self._latest.get(event)

    def last_lines(self, count: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def wait(self, timeout_s: float) -> int | None:
        """Wait for it to end by itself; return its exit code, None where the time ran out."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> int:
        """Send SIGINT, then SIGTERM, then SIGKILL until it ends; return its exit code. Harmless where it has ended."""
        for number, timeout_s in STOP_TIMEOUTS_S.items():
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            self.wait(timeout_s)
        if self._reader.is_alive():
            self._reader.join(timeout=5.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return self._process.wait()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._parse_event(line)

    def _parse_event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            self._latest[event["event"]] = event
        except (ValueError, KeyError, TypeError):  # not an event: a library that prints
            with self.log.open("ab") as sink:
                sink.write(line)

    def __enter__(self) -> "Child":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, whatever happened."""
        self.stop()


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _set_up_child() -> None:
    """Run in the child before its program: enable SIGINT, and end when the parent dies."""
    # A shell without job control starts background processes with SIGINT ignored, which children would inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
