# SPDX-License-Identifier: Apache-2.0
"""Which recordings a fleet has."""

from pathlib import Path

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.camera_file import CAMERA_FILE
from monodvps_ros.data.chain import bags_in
from monodvps_ros.data.formats import formats
from monodvps_ros.data.image_files import list_images
from monodvps_ros.errors import DataError, shortened
from monodvps_ros.files import read_bytes


def list_recordings(path: Path, out: Path) -> dict[str, Path]:
    """Read which recordings there are: a text file with one path a line, or a folder whose entries they are.

    Args:
        path: of the file or folder.
        out: folder of the fleet, which would become an entry of a folder that it lies in.

    Returns:
        Their paths by unique names, in order. Relative paths in a file are relative to it; ``#`` begins a comment.
        Entries of a folder whose names begin with a dot are left out.

    Raises:
        DataError: there are none, one does not exist, two have the same name, `path` is itself a recording, or `out`
            lies in it.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist; give a text file with one recording per line, or a folder of them")
    kind = _recording_kind(path)
    if kind:
        raise DataError(f"{path}: is itself a recording: {kind}; give a folder of recordings, or a text file with one "
                        "path per line")  # fmt: skip
    if path.is_dir():
        if path.resolve() in (out.resolve(), *out.resolve().parents):
            raise DataError(f"{out}: lies in the folder of recordings {path}; choose an --out outside it")
        found = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    else:
        text = read_bytes(path).decode("utf-8-sig", errors="surrogateescape")
        lines = (line.strip() for line in text.splitlines())
        found = [path.parent / line for line in lines if line and not line.startswith("#")]
    names: dict[str, Path] = {}
    for entry in found:
        if not entry.exists():
            raise DataError(f"{path}: lists {shortened(str(entry))}, which does not exist")
        if entry.name in names:
            raise DataError(f"{path}: lists two recordings called {entry.name}: {names[entry.name]} and {entry}")
        names[entry.name] = entry
    if not names:
        raise DataError(f"{path}: lists no recordings")
    return names


def _recording_kind(path: Path) -> str:
    """Say what a recording is; empty for what can be a folder of recordings or a list of them."""
    kind = next((each for each in formats() if each.detects(path)), None)
    if kind is None:
        return ""
    if path.is_dir() and (is_bag(path) or bags_in(path)):  # storage files in a folder are recordings in it
        return kind.title if (path / "metadata.yaml").is_file() else ""
    if path.is_dir() and kind.fallback:
        images = path / "image" if (path / "image").is_dir() else path
        return kind.title if (path / CAMERA_FILE).is_file() or list_images(images) else ""
    if path.is_dir() and sum(kind.detects(entry) for entry in path.iterdir() if entry.is_dir()) > 1:
        return ""  # several splits
    return kind.title
