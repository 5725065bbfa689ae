# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import errno
import threading
from pathlib import Path

import pytest

from monodvps_ros.errors import DataError, WeightsError
from monodvps_ros.files import partial_path, partials, write_bytes, write_text, written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    write_bytes(tmp_path / "a", b"new")
    write_text(tmp_path / "deep" / "er" / "b.txt", "grün")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "deep" / "er" / "b.txt").read_bytes() == "grün".encode()
    assert names(tmp_path) == ["a", "deep"] and names(tmp_path / "deep" / "er") == ["b.txt"]


@pytest.mark.parametrize("path", [".", "..", "/", ""])
def test_a_path_without_a_name_is_one_that_cannot_be_written(path, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match="cannot be written"):
        write_bytes(Path(path), b"")
    assert names(tmp_path) == ["here"] and names(tmp_path / "here") == []


@pytest.mark.parametrize("durable", [False, True])
def test_nothing_is_seen_before_the_end(tmp_path, durable):
    write_bytes(tmp_path / "a.bin", b"old")
    with written_whole(tmp_path / "a.bin", suffix=".onnx", durable=durable) as partial:
        partial.write_bytes(b"ne")
        assert (tmp_path / "a.bin").read_bytes() == b"old"
        assert partial.suffix == ".onnx" and partial.name.startswith(".") and partials(tmp_path) == [partial]
        partial.write_bytes(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new" and names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_passes_and_the_old_file_stays(tmp_path, problem):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(problem), written_whole(tmp_path / "a") as partial:
        partial.write_bytes(b"half")
        raise problem
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_full_disk_is_told_with_path_and_reason(tmp_path):
    with (
        pytest.raises(WeightsError, match=r"a: weights cannot be written: No space left on device; make room$"),
        written_whole(tmp_path / "a", WeightsError, what="weights", advice="; make room") as partial,
    ):
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(DataError, match=r"a: cannot be written: disk says no$"),
        written_whole(tmp_path / "a", caught=RuntimeError),
    ):
        raise RuntimeError("disk says no")
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="x/a: cannot be written: No such file"):
        write_bytes(tmp_path / "x" / "a", b"")
    with pytest.raises(DataError, match=r"file/a: cannot be written: (Not a directory|File exists)"):
        write_text(tmp_path / "file" / "a", "")
    with pytest.raises(DataError, match="folder: cannot be written: Is a directory"):
        write_bytes(tmp_path / "folder", b"")
    assert names(tmp_path) == ["file", "folder"]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a"
    assert partial_path(path) != partial_path(path)
    contents = [bytes([value]) * 100_000 for value in range(8)]
    writers = [threading.Thread(target=write_bytes, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents and names(tmp_path) == ["a"]
