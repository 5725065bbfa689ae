# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM as a request to stop. Imports nothing of ROS."""

import signal
import threading
from types import FrameType


class StopRequest:
    """Takes both signals from the moment it is made; a signal during the start-up ends the process at once, with 0."""

    def __init__(self) -> None:
        self._starting = True
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def start_up_is_over(self) -> None:
        """From now on a signal is only noted, for whoever waits."""
        self._starting = False

    def wait(self) -> None:
        """Wait until a stop is requested."""
        self._event.wait()

    def set(self) -> None:
        """Request the stop without a signal."""
        self._event.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._event.set()
        if self._starting:
            raise SystemExit(0)
