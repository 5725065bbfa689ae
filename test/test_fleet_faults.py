# SPDX-License-Identifier: Apache-2.0
"""Many recordings: what is refused before anything is removed or mixed, and what stops a fleet."""

import logging
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bag_files import stamps, storage_file, write_frames

from monodvps_ros.cli.fleet import fleet
from monodvps_ros.data.image_files import write_image
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.files import owned
from monodvps_ros.fleet import Resources, list_recordings, make_tasks, run_tasks
from monodvps_ros.fleet.running import _check_room

CODES = {"a": 3, "b": 0, "c": 0}


@pytest.fixture
def done(tmp_path, monkeypatch):
    """Recordings a, b, c and a stand-in for `monodvps`, which makes their folders; gives the list of those done."""
    done, before = [], signal.getsignal(signal.SIGTERM)
    for name in CODES:
        (tmp_path / "in" / name).mkdir(parents=True)

    def main(words):
        done.append(Path(words[2]).name)
        Path(words[4]).mkdir(parents=True)
        raise SystemExit(CODES[done[-1]])

    monkeypatch.setattr("monodvps_ros.cli.main.main", main)
    monkeypatch.chdir(tmp_path)
    yield done
    signal.signal(signal.SIGTERM, before)


def run(*options, recordings="in"):
    return fleet("predict", Path(recordings), Path("out"), list(options))


@pytest.mark.parametrize("line", ["..", "../", "in/..", ".", "in/.finished", "in/evaluation.json"])
def test_names_that_would_remove_other_files_are_refused(tmp_path, done, line):
    run()
    (tmp_path / "in/.finished").mkdir()
    (tmp_path / "in/evaluation.json").write_text("")
    (tmp_path / "list").mkdir()
    (tmp_path / "list/all.txt").write_text(f"../in/a\n../{line}\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"cannot be the name of a folder in out|lie one within the other"):
        run(recordings="list/all.txt")
    assert sorted(tmp_path.rglob("*")) == before and done == list(CODES)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".fleet.json"])
def test_a_task_writes_into_a_folder_of_its_own(tmp_path, name):
    with pytest.raises(DataError, match=r"cannot be the name of a folder"):
        make_tasks("predict", {name: tmp_path / "in"}, tmp_path / "out", [])


def test_recordings_and_results_lie_apart(tmp_path, done):
    with pytest.raises(DataError, match="in/out: lies in the folder of recordings in"):
        fleet("predict", Path("in"), Path("in/out"), [])
    assert not (tmp_path / "in/out").exists()
    run()
    (tmp_path / "list.txt").write_text("out/a\n")
    with pytest.raises(DataError, match="out/a: this recording and --out out lie one within the other"):
        run(recordings="list.txt")
    assert (tmp_path / "out/a").is_dir()


def test_a_folder_has_one_fleet_at_a_time(tmp_path, done):
    with owned(tmp_path / "out"), pytest.raises(DataError, match="is being written by another process"):
        run()
    assert done == [] and run() == 3


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, None])
def test_an_interrupt_stops_the_fleet(tmp_path, done, monkeypatch, capsys, stop):
    def main(words):
        done.append(Path(words[2]).name)
        if stop is None:
            raise SystemExit(130)  # as `monodvps` ends
        signal.raise_signal(stop)

    with monkeypatch.context() as changed:
        changed.setattr("monodvps_ros.cli.main.main", main)
        assert run() == 130
    assert done == ["a"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["interrupted; the same command processes the recordings that are not finished"]
    assert run() == 3 and done == ["a", *CODES]


def cluster(*machines):
    nodes = [{"Alive": True, "Resources": resources} for resources in machines]
    return SimpleNamespace(nodes=lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 999.0}}])


def test_more_than_the_machine_has_is_refused(caplog):
    small = cluster({"CPU": 2.0, "memory": 1e9})
    with pytest.raises(ConfigError, match=r"asks for 64 CPU and 0 GPU, but this machine has 2 CPU and 0 GPU"):
        _check_room(small, Resources("local", cpus=64))
    with pytest.raises(ConfigError, match=r"asks for 1 CPU and 1 GPU, but this machine has 2 CPU and 0 GPU"):
        _check_room(small, Resources("local", gpus=1.0))
    _check_room(small, Resources("local", cpus=2))
    with caplog.at_level(logging.WARNING):  # of a cluster that may grow
        _check_room(cluster({"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}), Resources("head:6379", cpus=8, gpus=0.5))
        assert caplog.messages == []
        _check_room(cluster({"CPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}), Resources("head:6379", cpus=2, gpus=1))
    assert len(caplog.messages) == 1 and "asks for 2 CPU and 1 GPU" in caplog.text and "waiting" in caplog.text


@pytest.mark.parametrize(("ray", "gpus"), [("", 1.0), ("local", 1.5), ("local", float("nan"))])
def test_shares_of_gpus(ray, gpus):
    with pytest.raises(ConfigError, match=f"--gpus.* {gpus:g}"):
        list(run_tasks([], print, Resources(ray, gpus=gpus)))


def test_frames_that_an_earlier_run_missed_count(done, capsys):
    assert run() == 3 and run() == 3
    assert done == list(CODES)
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "a: kept, incomplete",
        "3 recordings: 0 done, 3 kept, 0 failed",
    ]


@pytest.mark.parametrize(
    "words", ["--weights w.safetensors", "--weights=w.safetensors", "weights=w.safetensors", "--config p.yaml",
              "--weights w.xml", "--predictions=predicted/{name}"]
)  # fmt: skip
def test_results_of_other_weights_are_not_mixed(tmp_path, done, words):
    options = words.split()
    (tmp_path / "p.yaml").write_text("weights: w.safetensors\n")
    (tmp_path / "predicted/c").mkdir(parents=True)
    for name in ("w.safetensors", "w.xml", "w.bin", "predicted/c/predictions.json"):
        (tmp_path / name).write_text("one")
    run(*options)
    assert run(*options) == 3 and len(done) == 3
    file = "w.bin" if "w.xml" in words else "predicted/c/predictions.json" if "{name}" in words else "w.safetensors"
    changed = tmp_path / file
    changed.write_text("two")
    with pytest.raises(DataError, match=r"[ac]\.json: was made with other content of (w\.\w+|predicted/c); choose"):
        run(*options)
    changed.write_text("one")
    assert run(*options) == 3 and len(done) == 3


def test_a_recording_that_was_replaced_is_not_taken_as_done(tmp_path, done):
    file = tmp_path / "in/b/deep/0.mcap"
    file.parent.mkdir()
    file.write_text("one")
    (tmp_path / "in/b/gone").symlink_to("nowhere")
    run()
    before = file.stat()
    changes = [
        lambda: os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1)),
        lambda: (file.write_text("three"), os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))),
        lambda: file.rename(file.with_name("1.mcap")),
    ]
    for change in changes:
        change()
        with pytest.raises(DataError, match=r"\.finished/b\.json: files of in/b have changed since; remove out/b"):
            run()
        shutil.rmtree(tmp_path / "out/b")
        assert run() == 3 and run() == 3
    assert done == ["a", "b", "c", "b", "b", "b"]


def test_files_that_a_command_writes_are_not_those_that_it_reads(tmp_path, done):
    for options in (["--json", "{name}.json"], ["--report={name}.html"]):
        run(*options)
        for name in CODES:
            (tmp_path / f"{name}.json").write_text("{}")
            (tmp_path / f"{name}.html").write_text("")
        assert run(*options) == 3
        assert len(done) == 3
        done.clear()
        shutil.rmtree(tmp_path / "out")


def test_default_weights_are_recorded(tmp_path, done, monkeypatch):
    weights = tmp_path / "w.safetensors"
    weights.write_text("one")
    monkeypatch.setattr("monodvps_ros.fleet.tasks.weights_file", lambda value: weights if not value else Path(value))
    run()
    weights.write_text("two")
    with pytest.raises(DataError, match="other content of the default weights"):
        run()


def test_weights_that_change_meanwhile_fail(tmp_path, done):
    weights = tmp_path / "w.safetensors"
    weights.write_text("one")
    found = list_recordings(tmp_path / "in", tmp_path / "out")
    tasks = make_tasks("predict", found, tmp_path / "out", ["--weights", str(weights)])

    def main(words):
        weights.write_text("two")
        raise SystemExit(0)

    outcomes = list(run_tasks(tasks, main, Resources()))
    assert [outcome.code for outcome in outcomes] == [0, 1, 1]
    assert outcomes[1].message == f"{weights}: has changed since the fleet began, or differs on this machine"


def test_nothing_is_removed_through_a_link(tmp_path, done, capsys):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.fleet.json").write_text('{"command": "predict"}')
    (tmp_path / "out/a").symlink_to(tmp_path / "kept")
    assert run() == 1
    assert done == ["b", "c"] and (tmp_path / "kept/file").is_file()
    assert capsys.readouterr().err.splitlines()[-1].startswith("failed: a: out/a: is a symbolic link")


@pytest.mark.parametrize("content", ["[]", "{}", "[1]", "{", '{"words": 1, "command": 1}', "null"])
@pytest.mark.parametrize("name", [".fleet.json", ".finished/a.json"])
def test_a_damaged_record_is_told_in_one_line(tmp_path, done, name, content):
    run()
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(DataError, match=rf"out/{name}: (is damaged|cannot be read).*; (remove it|write .* into it)"):
        run()


def test_a_result_that_was_removed_is_made_again(tmp_path, done):
    run()
    (tmp_path / "out/b").rmdir()
    run()
    assert done == ["a", "b", "c", "b"]


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path, done):
    (tmp_path / "list.txt").write_text("in/b\nin/a\n", encoding="utf-8-sig")
    assert list(list_recordings(tmp_path / "list.txt", tmp_path / "out")) == ["b", "a"]


def test_splits_of_a_data_set_are_recordings(tmp_path):
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for kind in ("leftImg8bit", "depth_700.0", "gtFine_class", "gtFine_instance"):
            write_image(tmp_path / "data" / split / f"000008_000000_{kind}.png", np.zeros((4, 4), np.uint16))
    assert list(list_recordings(tmp_path / "data", tmp_path / "out")) == ["train", "val"]
    shutil.rmtree(tmp_path / "data/val")
    with pytest.raises(DataError, match="is itself a recording"):
        list_recordings(tmp_path / "data", tmp_path / "out")


def test_a_recording_is_no_folder_of_recordings(tmp_path, done):
    import cv2

    for name in ("images/image", "plain"):
        (tmp_path / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "0.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "video.mp4").write_bytes(b"")
    for name in ("bags/x", "bags/y"):
        write_frames(tmp_path / name, stamps(2))
    for name in ("images", "plain", "video.mp4", "bags/x", storage_file(tmp_path / "bags/x")):
        with pytest.raises(DataError, match=r"is itself a recording: a .*; give a folder of recordings, or"):
            list_recordings(tmp_path / name, tmp_path / "out")
    assert list(list_recordings(tmp_path / "bags", tmp_path / "out")) == ["x", "y"]
    storage = tmp_path / "storage"
    storage.mkdir()
    for name in ("x", "y"):
        storage_file(tmp_path / "bags" / name).rename(storage / f"{name}.mcap")
    assert list(list_recordings(storage, tmp_path / "out")) == ["x.mcap", "y.mcap"]
