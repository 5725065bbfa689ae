# SPDX-License-Identifier: Apache-2.0
"""The demo's output folder: replaced on every run, but only files of an earlier run."""

import shutil
from pathlib import Path

from monodvps_ros.data.listing import entries
from monodvps_ros.errors import DataError
from monodvps_ros.files import partials

MARKER = ".monodvps_demo"
_FILES = ("filmstrip.png", "drive.mp4", "drive.gif", "drive.rrd", "report.json", "logs/node.log", "logs/recorder.log")
_RECORDING_SUFFIXES = (".mcap", ".db3", ".yaml")


class OutputFolder:
    """Names of what the demo writes, in an empty folder.

    Args:
        path: the folder; made where it is missing. Files of an earlier demo in it are removed.

    Raises:
        DataError: the path is a file, or the folder holds other files; nothing is removed then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} is a file; give another folder with --out")
        if path.exists() and any(entries(path)):
            self._clear()
        path.mkdir(parents=True, exist_ok=True)
        (path / MARKER).write_text("Made by `monodvps demo`, which replaces the files it knows in this folder.\n")
        (path / "logs").mkdir(exist_ok=True)

    @property
    def recording(self) -> Path:
        """Folder of the bag; not made here."""
        return self.path / "recording"

    @property
    def filmstrip(self) -> Path:
        """The picture of some frames."""
        return self.path / "filmstrip.png"

    @property
    def view(self) -> Path:
        """The drive for the rerun viewer."""
        return self.path / "drive.rrd"

    @property
    def report(self) -> Path:
        """Counts and latencies."""
        return self.path / "report.json"

    def log(self, name: str) -> Path:
        """Return the name of a child's log."""
        return self.path / "logs" / f"{name}.log"

    def _clear(self) -> None:
        if not (self.path / MARKER).is_file():
            raise DataError(f"{self.path} contains files that the demo did not make; empty it, or give another --out")
        own = [self.path / name for name in _FILES]
        recorded = list(self.recording.iterdir()) if self.recording.is_dir() else []
        foreign = [item for item in recorded if item.suffix not in _RECORDING_SUFFIXES or not item.is_file()]
        if foreign:
            raise DataError(f"{foreign[0]} was not made by the demo; move it away, or give another --out")
        unfinished = [part for file in own for part in partials(file.parent, f"{file.name}.*")]  # of a killed demo
        for item in [*own, *recorded, *unfinished]:
            item.unlink(missing_ok=True)
        for recording in partials(self.path, f"{self.recording.name}.*"):
            shutil.rmtree(recording)
        if self.recording.is_dir():
            self.recording.rmdir()
