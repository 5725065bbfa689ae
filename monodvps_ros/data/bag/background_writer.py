# SPDX-License-Identifier: Apache-2.0
"""Writes a live recording in a thread, so that compression and disk do not hold up whoever receives."""

import threading
from collections import Counter
from queue import SimpleQueue
from types import TracebackType

from monodvps_ros.data.bag.writer import BagWriter


class BackgroundWriter:
    """Writes messages in the order in which they are put; a context manager. Takes memory up to a bound.

    Attributes:
        written: messages by topic.
        lost: messages by topic that came while the queue was full.

    Args:
        writer: the open recording; not to be used by others until the context ends.
        most_bytes: of messages that wait.
    """

    def __init__(self, writer: BagWriter, most_bytes: int) -> None:
        self._writer, self._most_bytes = writer, most_bytes
        self._queue: SimpleQueue[tuple[str, str, bytes, int] | None] = SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="recording")
        self.written: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def __enter__(self) -> "BackgroundWriter":
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, and end the thread.

        Raises:
            DataError: as of `check`.
        """
        self._queue.put(None)
        self._thread.join()
        if kind is None:
            self.check()

    def put(self, topic: str, type_name: str, cdr_bytes: bytes, receive_ns: int) -> None:
        """Write a message, as `BagWriter.raw` takes it, soon; count it as lost where too much waits."""
        with self._lock:
            if self._waiting_bytes + len(cdr_bytes) > self._most_bytes and self._waiting_bytes:
                self.lost[topic] += 1
                return
            self._waiting_bytes += len(cdr_bytes)
        self._queue.put((topic, type_name, cdr_bytes, receive_ns))

    def check(self) -> None:
        """Raise the error that ended the writing, if one did.

        Raises:
            DataError: the recording cannot be written.
        """
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            topic, _, data, _ = message
            try:
                if self._error is None:
                    self._writer.raw(*message)
                    self.written[topic] += 1
            except Exception as error:
                self._error = error
            with self._lock:
                self._waiting_bytes -= len(data)
