# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from monodvps_ros.cli.main import main
from monodvps_ros.data.fingerprints import fingerprint
from monodvps_ros.errors import DataError, WeightsError
from monodvps_ros.files import owned, partial_path, partials, write_bytes, write_text, written_whole


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


# --- one writer at a time ---------------------------------------------------------------------------------------------


def test_an_output_has_one_owner(tmp_path):
    out, file = tmp_path / "deep" / "out", tmp_path / "a.onnx"
    for output, is_file in ((out, False), (file, True)):
        with (
            owned(output, is_file=is_file),
            pytest.raises(DataError, match=rf"written by another process \(process {os.getpid()} on .*; wait for it"),
            owned(output, is_file=is_file),
        ):
            raise AssertionError
        with owned(output, is_file=is_file):
            pass
    assert names(tmp_path) == ["deep"] and not out.exists()  # nothing was written
    with owned(out):
        (out / "a").touch()
    assert names(out) == ["a"]
    with pytest.raises(DataError, match="a is a file; give a folder"), owned(out / "a"):
        raise AssertionError


def test_a_killed_owner_leaves_no_lock(tmp_path):
    program = (
        "import sys; from pathlib import Path; from monodvps_ros.files import owned\n"
        "with owned(Path(sys.argv[1])): print('owned', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "owned\n"
    with pytest.raises(DataError, match=rf"process {process.pid} on"), owned(tmp_path):
        raise AssertionError
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert names(tmp_path) == [".lock"]
    with owned(tmp_path):
        pass
    assert names(tmp_path) == []


def test_waiting_owners_never_own_together(tmp_path):
    inside, most, done = [], [], []

    def work():
        while len(done) < 200:
            with suppress(DataError), owned(tmp_path / "out"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
                done.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert max(most) == 1


@pytest.mark.parametrize(
    "words",
    [
        "scenes --out OUT --frames 1 --size 32x32",
        "scenes --out OUT --split test",
        "predict --input CLIP --out OUT --weights drives",
        "pseudo-label --data CLIP --out OUT --depth-teacher stereo",
        "train --data CLIP --out OUT",
        "ablations --data CLIP --out OUT",
        "demo --out OUT",
        "export --checkpoint absent.ckpt --out OUT/w.safetensors",
    ],
)
def test_every_command_that_writes_owns_its_output(tmp_path, capsys, words):
    clip, out = tmp_path / "clip", tmp_path / "out"
    for part in ("train/labelled", "train/unlabelled", "val", "image", "image_right"):
        (clip / part).mkdir(parents=True)
    cv2.imwrite(str(clip / "image" / "0.png"), np.zeros((32, 32, 3), np.uint8))
    (clip / "camera.json").write_text(
        '{"width": 32, "height": 32, "rate_hz": 10, "K": [30, 0, 16, 0, 30, 16, 0, 0, 1]}'
    )
    out.mkdir()
    given = words.replace("OUT", str(out)).replace("CLIP", str(clip)).split()
    output = out / "w.safetensors" if given[0] == "export" else out
    with owned(output, is_file=given[0] == "export"), pytest.raises(SystemExit) as end:
        main(given)
    assert end.value.code == 2
    assert "is being written by another process" in " ".join(capsys.readouterr().err.split())
    assert not any(out.iterdir())


def test_data_has_the_fingerprint_of_its_contents(tmp_path):
    folder = tmp_path / "a"
    write_text(folder / "deep" / "b.txt", "one")
    write_bytes(folder / "large", bytes(1_000_000))
    first = fingerprint(folder)
    (folder / ".lock").touch()
    os.utime(folder / "large", (0, 0))
    shutil.copytree(folder, tmp_path / "copy")
    assert fingerprint(folder) == fingerprint(tmp_path / "copy") == first
    seen = {first, fingerprint(folder / "large"), fingerprint(tmp_path / "absent")}
    for path, content in (
        ("deep/b.txt", b"two"),
        ("large", bytes(999_999) + b"1"),
        ("large", bytes(500_000) + b"1" + bytes(499_999)),
        ("c", b""),
    ):
        write_bytes(folder / path, content)
        seen.add(fingerprint(folder))
    (folder / "c").rename(folder / "d")
    assert len(seen | {fingerprint(folder)}) == 8
