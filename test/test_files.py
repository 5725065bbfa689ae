# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from monodvps_ros.cli.main import main
from monodvps_ros.data.fingerprints import fingerprint
from monodvps_ros.data.image_files import write_image
from monodvps_ros.errors import DataError, WeightsError
from monodvps_ros.files import (
    clear_partials,
    exists,
    is_file,
    owned,
    partial_path,
    partials,
    read_bytes,
    write_bytes,
    write_text,
    written_whole,
)


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


@pytest.fixture
def pipe(tmp_path):
    """Make a pipe; it is open, so that nobody waits for the other end."""
    os.mkfifo(tmp_path / "pipe")
    number = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    yield number
    os.close(number)


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_is_written_into_and_stays(tmp_path, pipe, name):
    (tmp_path / "link").symlink_to("pipe")
    with written_whole(tmp_path / name, durable=True) as partial:
        partial.write_bytes(b"one ")
        assert partials(tmp_path) == []
        with pytest.raises(BlockingIOError):  # nothing is there before the end
            os.read(pipe, 100)
    write_text(tmp_path / name, "two")
    assert os.read(pipe, 100) == b"one two"
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode) and (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "pipe"]


def test_an_open_file_of_the_process_is_written_into(tmp_path):
    with (tmp_path / "log").open("wb", buffering=0) as log:
        log.write(b"before ")
        (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{log.fileno()}")
        write_bytes(tmp_path / "stdout", b"content")
        log.write(b" after")
    assert (tmp_path / "log").read_bytes() == b"before content after" and (tmp_path / "stdout").is_symlink()


def test_what_has_been_printed_stands_before_what_is_written_to_standard_output():
    program = "from pathlib import Path; from monodvps_ros.files import write_text; import sys; print('one')\n"
    program += "write_text(Path('/dev/stdout'), 'two\\n'); print('three')"
    with tempfile.TemporaryFile() as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
        out.seek(0)
        assert out.read() == b"one\ntwo\nthree\n"


def test_a_name_that_is_too_long_is_none_but_a_closed_folder_is_told(tmp_path, monkeypatch):
    assert not exists("x" * 10_000) and not is_file(tmp_path / ("x" * 10_000))
    assert exists(tmp_path) and not is_file(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)
    for ask in (exists, is_file) if sys.version_info < (3, 14) else ():
        with pytest.raises(PermissionError):
            ask(tmp_path / "x")


def test_a_device_that_takes_nothing_is_told_and_stays(tmp_path):
    try:
        os.mknod(tmp_path / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("devices are made by root")
    with pytest.raises(DataError, match=r"full: cannot be written: (No space left on device|Permission denied)$"):
        write_bytes(tmp_path / "full", b"data")
    assert stat.S_ISCHR((tmp_path / "full").lstat().st_mode) and names(tmp_path) == ["full"]


def test_only_what_killed_writers_of_this_file_left_is_cleared(tmp_path):
    for name in (".[a].onnx.01234567.partial.onnx", ".[a].onnx.01234567.partial.bin"):
        (tmp_path / name).touch()
    others = [".[a].onnx.more.01234567.partial", ".a.onnx.01234567.partial", "[a].onnx"]
    for name in others:
        (tmp_path / name).touch()
    clear_partials(tmp_path / "[a].onnx")
    assert names(tmp_path) == others


# --- one writer at a time ---------------------------------------------------------------------------------------------


def test_an_output_has_one_owner(tmp_path):
    out, file = tmp_path / "deep" / "out", tmp_path / "a.onnx"
    for output, single in ((out, False), (file, True)):
        with (
            owned(output, is_file=single),
            pytest.raises(DataError, match=rf"written by another process \(process {os.getpid()} on .*; wait for it"),
            owned(output, is_file=single),
        ):
            raise AssertionError
        with owned(output, is_file=single):
            pass
    assert names(tmp_path) == ["deep"] and not out.exists()  # nothing was written
    with owned(out):
        (out / "a").touch()
    assert names(out) == ["a"]
    with pytest.raises(DataError, match="a is a file; give a folder"), owned(out / "a"):
        raise AssertionError


@pytest.mark.parametrize("kind", ["file", "link", "pipe", "folder"])
def test_what_is_no_lock_of_ours_is_refused_and_stays(tmp_path, kind):
    lock, mine = tmp_path / "out" / ".lock", tmp_path / "thesis.txt"
    lock.parent.mkdir()
    for path in (mine, lock) if kind == "file" else (mine,):
        path.write_text("my work\n")
    if kind == "link":
        lock.symlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    before = lock.lstat()
    with pytest.raises(DataError, match=r"\.lock is not a lock of this program"), owned(lock.parent):
        raise AssertionError
    assert lock.lstat() == before and mine.read_text() == "my work\n"


def test_a_lock_that_was_replaced_meanwhile_is_left(tmp_path):
    with owned(tmp_path):
        (tmp_path / "mine").write_text("my work")
        (tmp_path / "mine").rename(tmp_path / ".lock")
    assert (tmp_path / ".lock").read_text() == "my work"


def test_who_waits_owns_after_the_owner(tmp_path, caplog):
    order = []

    def wait():
        with owned(tmp_path / "a", is_file=True, wait=True):
            order.append("second")

    waiter = threading.Thread(target=wait, daemon=True)
    with owned(tmp_path / "a", is_file=True):
        waiter.start()
        end = time.monotonic() + 60
        while "waits for another process" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)
        order.append("first")
    waiter.join(timeout=60)
    assert order == ["first", "second"] and f"waits for another process (process {os.getpid()} on" in caplog.text
    assert names(tmp_path) == []


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
        "export --engine openvino --precision int8 --calibrate CLIP --checkpoint drives --out OUT/i8.xml",
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
    output = Path(given[-1]) if given[0] == "export" else out
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
    (folder / "a.db3-shm").touch()
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


def test_predictions_of_an_input_that_was_replaced_are_not_gone_on_with(tmp_path, capsys):
    for number in range(2):
        write_image(tmp_path / f"{number}.png", np.zeros((64, 128, 3), np.uint8))
    words = [
        "predict",
        "--input",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--weights",
        "random",
        "--frames",
        "1",
    ]
    for _ in range(2):  # what lies in the output is not of the input
        with pytest.raises(SystemExit, match="0"):
            main(words)
    assert "1 kept from an earlier run" in capsys.readouterr().out
    write_image(tmp_path / "1.png", np.ones((64, 128, 3), np.uint8))
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert f"predictions of {tmp_path}, whose files have changed since" in capsys.readouterr().err


@pytest.mark.timeout(10)
def test_links_to_a_folder_above_do_not_lead_round_and_round(tmp_path):
    write_text(tmp_path / "deep" / "b.txt", "one")
    first = fingerprint(tmp_path)
    for name in ("x", "y"):
        (tmp_path / "deep" / name).symlink_to(tmp_path)
    assert fingerprint(tmp_path) == first


def test_what_has_no_end_is_not_read_to_it(tmp_path):
    for most, content in ((7, b"12345678"), (7, b"1234567")):
        write_bytes(tmp_path / "a", content)
        read, write = os.pipe()
        os.write(write, content)
        os.close(write)
        for path in (tmp_path / "a", Path(f"/proc/self/fd/{read}")):
            if len(content) > most:
                with pytest.raises(DataError, match="cannot be read: it is larger than 0 MiB"):
                    read_bytes(path, most=most)
            else:
                assert read_bytes(path, most=most) == content
        os.close(read)
    with pytest.raises(DataError, match="/dev/zero: cannot be read: it is larger than 1 MiB"):
        read_bytes(Path("/dev/zero"), most=1 << 20)
