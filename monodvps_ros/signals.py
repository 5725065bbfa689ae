# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM: what they do to a node and to a command. Imports nothing of ROS."""

import os
import signal
import threading
from enum import Enum
from types import FrameType

#: Exit code of a command that Ctrl-C ended: 128 + SIGINT.
EXIT_INTERRUPTED = 130


def interrupt_ends_process() -> None:
    """Let Ctrl-C end the process on the spot, until `interrupt_raises`: an import does not unwind well.

    Leaves handlers of others alone, and a SIGINT that is ignored.
    """
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL) and _in_main_thread():
        signal.signal(signal.SIGINT, _end)


def interrupt_raises() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, as Python has it."""
    if signal.getsignal(signal.SIGINT) is _end and _in_main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class Phase(Enum):
    """What a signal does."""

    IMPORTING = "ends the process on the spot: there is nothing to take down yet, and an import does not unwind well"
    STARTING = "unwinds the start-up"
    RUNNING = "is noted for whoever waits"


class StopRequest:
    """Takes both signals from the moment it is made."""

    def __init__(self) -> None:
        self.phase = Phase.IMPORTING
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    def wait(self) -> None:
        """Wait until a stop is requested."""
        self._event.wait()

    def set(self) -> None:
        """Request the stop without a signal."""
        self._event.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._event.set()
        if self.phase is Phase.IMPORTING:
            os._exit(0)
        if self.phase is Phase.STARTING:
            raise SystemExit(0)
