# SPDX-License-Identifier: Apache-2.0
"""Sends frames to a file or to a viewer."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monodvps_ros.errors import ConfigError
from monodvps_ros.files import written_whole
from monodvps_ros.labels import LabelSpace
from monodvps_ros.optional import import_optional
from monodvps_ros.outputs import Perception
from monodvps_ros.view.completion import completed
from monodvps_ros.view.layout import PURPOSE, layout
from monodvps_ros.view.perception_log import PerceptionLog

APPLICATION = "monodvps"
FILE_SUFFIX = ".rrd"


@contextmanager
def viewer_stream(save: Path | None = None, connect: str | None = None) -> Iterator[Any]:
    """Open a stream to a file, to a viewer that runs elsewhere, or to a viewer that is started.

    Args:
        save: file that is written, and there once the stream is closed.
        connect: URL of a viewer, such as ``rerun+http://127.0.0.1:9876/proxy``.

    Raises:
        MissingDependencyError: rerun is not installed.
        ConfigError: a viewer is to be started, and there is no display.
        DataError: the file cannot be written.
    """
    rerun = import_optional("rerun", PURPOSE)
    if save is None and connect is None and not _has_display():
        raise ConfigError(
            "there is no display to show the viewer on (DISPLAY and WAYLAND_DISPLAY are not set); give "
            "--save FILE.rrd, or --connect and the URL of a viewer on another computer"
        )
    stream = rerun.RecordingStream(APPLICATION)
    stream.set_log_time_enabled(False)  # stamps of the images are the one timeline
    stream.set_log_tick_enabled(False)
    try:
        if save is not None:
            with written_whole(save, suffix=FILE_SUFFIX, make_folder=True) as partial:
                stream.save(partial, default_blueprint=layout())
                yield stream
                stream.disconnect()
            return
        if connect is not None:
            stream.connect_grpc(connect, default_blueprint=layout())
        else:
            stream.spawn(default_blueprint=layout())
        yield stream
    finally:
        stream.disconnect()


def show(frames: Iterable[Perception], labels: LabelSpace, stream: Any) -> Iterator[Perception]:
    """Log frames, with what follows from their maps, and yield each after it was logged."""
    log = PerceptionLog(stream, labels)
    for frame in frames:
        log.log(completed(frame, labels))
        yield frame


def _has_display() -> bool:
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
