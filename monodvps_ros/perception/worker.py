# SPDX-License-Identifier: Apache-2.0
"""The thread that runs the network, so that it never blocks the executor."""

import threading
from collections.abc import Sequence
from typing import Protocol

#: Period of polling for the camera_info of a waiting image.
RETRY_S = 0.02


class Stream(Protocol):
    """A camera that the worker serves."""

    served_at: float

    def step(self) -> bool:
        """Process the newest image; false where none was ready."""
        ...

    def has_image(self) -> bool:
        """Whether an image is waiting."""
        ...


class Worker:
    """Serves the cameras that share one network a frame at a time, the one that has waited longest first."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        self._condition = threading.Condition()
        self._news = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="perception", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Signal that an image may be ready; called from the callbacks."""
        with self._condition:
            self._news = True
            self._condition.notify()

    def stop(self) -> None:
        """Stop after the current frame."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            waiting_longest_first = sorted(self._streams, key=lambda stream: stream.served_at)
            if not any(stream.step() for stream in waiting_longest_first):
                self._wait()

    def _wait(self) -> None:
        with self._condition:
            if not self._news and not self._stopping:
                waiting = any(stream.has_image() for stream in self._streams)
                self._condition.wait(RETRY_S if waiting else None)
            self._news = False
