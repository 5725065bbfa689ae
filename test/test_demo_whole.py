# SPDX-License-Identifier: Apache-2.0
"""The whole demo, as a user runs it: over real DDS, from images to a report, and what happens when it goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rosbags.highlevel import AnyReader

from monodvps_ros.config import SceneConfig
from monodvps_ros.outputs import RECORDED_TOPICS
from monodvps_ros.scenes import Drive, write_bag

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(400)]

FRAMES = 6
ENCODINGS = {"/depth/image": "32FC1", "/panoptic/image": "16UC1", "/panoptic/color": "rgb8",
             "/semantic/image": "mono8", "/semantic/confidence": "mono8"}  # fmt: skip
NEEDS_K = {"/points", "/depth/camera_info"}


def pictures(count):
    """A bright square that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 120, (96, 320, 3), np.uint8)
    for index in range(count):
        picture = noise.copy()
        picture[40:70, 30 + 20 * index : 70 + 20 * index] = 240
        yield picture


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folder of images with a known camera at 2 Hz, which any machine keeps up with."""
    folder = tmp_path_factory.mktemp("input") / "images"
    (folder / "image").mkdir(parents=True)
    for index, picture in enumerate(pictures(FRAMES)):
        cv2.imwrite(str(folder / "image" / f"{index:03}.png"), picture)
    camera = {"width": 320, "height": 96, "rate_hz": 2, "K": [200.0, 0, 159.5, 0, 200.0, 47.5, 0, 0, 1]}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder


def command(*arguments):
    return [sys.executable, "-m", "monodvps_ros.cli.main", "demo", "--weights", "street", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False)


def read(out):
    with AnyReader([out / "recording"]) as reader:
        return [(c.topic, reader.deserialize(raw, c.msgtype)) for c, _, raw in reader.messages()]


def stamps(messages, topic):
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for name, m in messages if name == topic]


def children(pid):
    """Pids of a process' children that are not zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def is_called(pid, module):
    try:
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def done(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "demo"
    result = run("--input", images, "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    return out, result, json.loads((out / "report.json").read_text()), read(out)


def test_report_adds_up(done):
    _, _, report, _ = done
    assert report["frames_published"] == FRAMES
    assert report["frames_received"] <= FRAMES
    assert report["frames_processed"] >= 1
    assert report["frames_published"] == report["frames_processed"] + report["frames_dropped"]
    assert sum(report["drop_reasons"].values()) == report["frames_dropped"]
    assert report["input"].endswith("images")
    assert "street" in report["weights"]
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p90"] <= report["latency_ms"]["max"] < 60_000


def test_every_output_is_there_for_every_frame_that_was_not_dropped(done):
    _, _, report, messages = done
    assert set(report["outputs"]) == {f"/{row.topic}" for row in RECORDED_TOPICS}
    processed = FRAMES - report["frames_dropped"]
    for topic, row in report["outputs"].items():
        assert (row["count"], row["stamps_matched"]) == (processed, processed), topic
        assert row["encoding"] == ENCODINGS.get(topic), topic
        assert len(stamps(messages, topic)) == processed, topic


def test_recording_holds_the_input_beside_the_outputs(done, images):
    _, _, report, messages = done
    sent = stamps(messages, "/image")
    assert sent == stamps(messages, "/camera_info") == sorted(sent)
    assert len(sent) == FRAMES
    first = next(message for topic, message in messages if topic == "/image")
    assert np.array_equal(first.data.reshape(96, 320, 3), next(pictures(1))[..., ::-1])
    for topic in report["outputs"]:
        assert set(stamps(messages, topic)) <= set(sent), topic
    assert any(topic == "/diagnostics" for topic, _ in messages)


def test_pictures_are_made(done):
    out, result, _, _ = done
    strip = cv2.imread(str(out / "filmstrip.png"))
    assert strip is not None
    assert strip.std() > 10
    video = out / "drive.mp4"
    assert (video if video.exists() else out / "drive.gif").stat().st_size > 1000
    assert str(out / "filmstrip.png") in result.stdout.replace("\n", "")


def test_untrained_weights_are_named_as_such_and_know_no_metres(images, tmp_path):
    result = run("--input", images, "--out", tmp_path, "--weights", "random", "--frames", 2)
    assert "weights are random" in result.stdout
    assert "No depth in metres, so no cloud: the scale is unknown" in result.stdout
    assert json.loads((tmp_path / "report.json").read_text())["outputs"]["/points"]["count"] == 0


def test_without_truth_nothing_is_measured(done):
    assert "metrics" not in done[2]
    assert "Against ground truth" not in done[1].stdout


def test_a_drive_with_truth_is_measured(tmp_path):
    drive = Drive(SceneConfig(frames=3, height=96, width=320, rate_hz=1.0, view_distance_m=60.0), 2)
    result = run("--input", write_bag(drive, tmp_path), "--image-topic", "/camera/image_raw", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["metrics"]["frames"] == report["frames_processed"]
    assert report["metrics"]["card"] is None  # of weights that were not measured on drives
    assert 0.0 <= report["metrics"]["drive"]["pq"] < 100.0 and report["metrics"]["drive"]["abs_rel"] > 0.0
    assert "Against ground truth" in result.stdout and "this drive" in result.stdout


def test_a_second_run_replaces_the_first_and_needs_no_camera(done, tmp_path_factory):
    out, _, _, _ = done
    video = tmp_path_factory.mktemp("video") / "drive.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 2.0, (320, 96))
    for picture in pictures(4):
        writer.write(picture)
    writer.release()
    result = run("--input", video, "--out", out, "--frames", 3)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["frames_published"] == 3
    for topic, row in report["outputs"].items():
        assert row["count"] == (0 if topic in NEEDS_K else 3 - report["frames_dropped"]), topic
    assert "No depth in metres, so no cloud" in result.stdout
    warnings = [line for line in (out / "logs" / "node.log").read_text().splitlines() if "WARN" in line]
    assert ["no camera_info" in warnings[0], "the scale is unknown" in warnings[1]] == [True, True], warnings
    assert len(warnings) == 2
    assert len(stamps(read(out), "/image")) == 3


def test_a_wrong_input_is_one_line_and_code_2(tmp_path):
    result = run("--input", tmp_path / "none.mp4", "--out", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "none.mp4" in result.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_weights_end_the_demo_with_the_nodes_last_words(images, tmp_path):
    result = subprocess.run(
        [*command("--input", images, "--out", tmp_path / "out"), "--weights", str(tmp_path / "none.safetensors")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "none.safetensors" in result.stdout.replace("\n", "")
    assert "perception node" in result.stdout


@pytest.fixture
def playing(images, tmp_path):
    """A demo that is in the middle of playing, and the pids of its children."""
    process = subprocess.Popen(
        command("--input", images, "--out", tmp_path / "out"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log, end = tmp_path / "out" / "logs" / "node.log", time.monotonic() + 200
    while time.monotonic() < end and process.poll() is None:
        if log.exists() and "first frame" in log.read_text():
            break
        time.sleep(0.02)
    pids = children(process.pid)
    yield process, pids
    for pid in [process.pid, *pids]:
        if is_called(pid, "monodvps_ros"):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_node_ends_the_demo_and_leaves_no_orphan(playing):
    process, pids = playing
    node = [pid for pid in pids if is_called(pid, "perception_node")]
    assert len(node) == 1
    assert len(pids) == 2
    os.kill(node[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "perception node" in output
    assert "first frame" in output  # its last words
    assert not any(is_called(pid, "monodvps_ros") for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_quiet_and_leaves_no_orphan(playing, number):
    process, pids = playing
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not any(is_called(pid, "monodvps_ros") for pid in pids)
