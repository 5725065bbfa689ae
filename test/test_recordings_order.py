# SPDX-License-Identifier: Apache-2.0
"""Stamps as recordings have them: repeated, backward, 0, jumps; what is left out is told and in the exit code."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from recordings import IMAGE, SIZE, START, STEP, camera, image, numbers, picture, serialized, stamps, write_bag

from monodvps_ros.cli.main import main
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.bag.streams import BagStreams
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.data.sequence_watch import LeftOut, in_order
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.training.frames import FrameStore, store_frames
from monodvps_ros.types import CameraFrame, Sample


@pytest.mark.parametrize(
    ("given", "kept", "counts"),
    [
        ([1, 2, 3], [(0, 1), (0, 2), (0, 3)], (0, 0, 0, 1)),
        ([1, 2, 2, 3], [(0, 1), (0, 2), (0, 3)], (1, 0, 0, 1)),
        ([1, 0, 2, 0], [(0, 1), (0, 2)], (0, 0, 2, 1)),
        ([1, 3, 2, 4], [(0, 1), (0, 3), (0, 4)], (0, 1, 0, 1)),  # one out of order
        ([5, 6, 7, 1, 2, 3], [(0, 5), (0, 6), (0, 7), (1, 1), (1, 2), (1, 3)], (0, 0, 0, 2)),  # begun again
        ([1, 2, 1, 2, 1, 2], [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)], (0, 0, 0, 3)),  # a loop
        ([1, 2, 99, 3, 4, 5], [(0, 1), (0, 2), (0, 99), (1, 3), (1, 4), (1, 5)], (0, 0, 0, 2)),  # one far ahead
        ([101, 1, 102, 2, 103], [(0, 101), (0, 102), (0, 103)], (0, 2, 0, 1)),  # a second clock
        ([5, 4, 3], [(0, 5)], (0, 2, 0, 1)),
        ([3, 3, 3, 3], [(0, 3)], (3, 0, 0, 1)),
        ([], [], (0, 0, 0, 1)),
    ],
)
def test_the_rule_of_order(given, kept, counts):
    left_out = LeftOut()
    assert list(in_order(given, lambda stamp: stamp, left_out)) == kept
    assert (left_out.repeated, left_out.backward, left_out.unstamped, left_out.sequences) == counts
    assert len(kept) + sum(counts[:3]) == len(given)


def bag_of(path, offsets, received=None):
    """A recording whose images have stamps at multiples of 0.1 s; None stands for a stamp of 0."""
    given = [0 if offset is None else offset if offset < 0 else START + offset * STEP for offset in offsets]
    write_bag(path, camera(given, stamps(len(offsets)) if received is None else received))
    return path


@pytest.mark.parametrize(
    ("offsets", "kept", "told"),
    [
        ([0, 1, 2, 2, 3, 4], [0, 1, 2, 4, 5], "1 stamp repeats the one before"),
        ([0, 1, 3, 2, 4], [0, 1, 2, 4], "1 stamp goes back"),
        ([0, None, 1, None, 2], [0, 2, 4], "2 stamps are 0"),
        ([0, 1, -START, 2], [0, 1, 3], "1 stamp is 0 or below"),  # sec is negative
    ],
)
def test_frames_out_of_order_are_left_out_and_the_rest_is_read(tmp_path, offsets, kept, told):
    source = open_source(bag_of(tmp_path / "bag", offsets))
    samples = list(source)
    assert numbers(samples) == kept
    assert [sample.index for sample in samples] == list(range(len(kept)))
    assert {sample.sequence for sample in samples} == {"bag"}
    (sentence,) = source.damage
    assert f"{IMAGE}: skipped: {told}" in sentence
    assert len(source) == len(offsets) and source.rate_hz == pytest.approx(10)


def test_the_rate_is_that_of_stamps_that_are_one(tmp_path):
    source = open_source(bag_of(tmp_path / "bag", [0, None, None, 1, None, 2]))
    assert source.rate_hz == pytest.approx(10) and numbers(source) == [0, 3, 5]


@pytest.mark.parametrize(("sec", "nanosec"), [(1_700_000_000, 900_000_000), (2**31 - 1, 2**32 - 300_000_000)])
def test_nanoseconds_beyond_a_second_and_the_last_second(tmp_path, sec, nanosec):
    found = list(camera(stamps(3)))
    for number, (_, _, message) in enumerate(found):
        message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec + number // 2 * STEP
    samples = list(open_source(write_bag(tmp_path / "bag", found).parent))
    assert [s.frame.stamp_ns for s in samples] == [sec * 10**9 + nanosec + number * STEP for number in range(3)]


def test_a_jump_back_begins_a_sequence(tmp_path):
    source = open_source(bag_of(tmp_path / "bag", [50, 51, 52, 0, 1, 2]))
    samples = list(source)
    assert [(s.sequence, s.index) for s in samples] == [
        ("bag", 0), ("bag", 1), ("bag", 2), ("bag.part2", 0), ("bag.part2", 1), ("bag.part2", 2)
    ]  # fmt: skip
    assert numbers(samples) == [0, 1, 2, 3, 4, 5] and list(source.damage) == []
    assert all(sample.frame.intrinsics is not None for sample in samples)


def truth(number, stamp_ns, encoding="32FC1", kind=np.float32):
    """A map whose every value is its number."""
    made = image(0, stamp_ns)
    made.encoding, made.step = encoding, SIZE[1] * kind().itemsize
    made.data = np.full(SIZE, number, kind).view(np.uint8).reshape(-1)
    return made


@pytest.mark.parametrize("before", [True, False])
def test_truth_that_is_sparser_than_the_images_follows_over_a_jump_back(tmp_path, before):
    """Depth of each third image comes two images late; that of 61 is of no image in either run."""
    found, received = [], START
    for number, offset in enumerate([*range(50, 60), *range(45, 64)]):
        stamp, received = START + offset * STEP, received + STEP
        panoptic = "/cam/truth/panoptic", received, truth(13001 + number, stamp, "16UC1", np.uint16)
        found += [panoptic] * before + [(IMAGE, received, image(number % 25, stamp))] + [panoptic] * (not before)
        if offset % 3 == 0:
            found.append(("/cam/truth/depth", received + 2 * STEP, truth(number, stamp)))
        if number == 9:
            found.append(("/cam/truth/depth", received, truth(99, START + 61 * STEP)))
    source = open_source(write_bag(tmp_path / "bag", sorted(found, key=lambda entry: entry[1])).parent)
    samples = list(source)
    assert numbers(samples) == [number % 25 for number in range(29)]
    assert [int(sample.truth.panoptic[0, 0]) for sample in samples] == list(range(13001, 13030))
    depths = [None if s.truth.depth_m is None else int(s.truth.depth_m[0, 0]) for s in samples]
    offsets = [*range(50, 60), *range(45, 64)]
    assert depths == [number if offset % 3 == 0 else None for number, offset in enumerate(offsets)]
    assert source.unpaired == {"depth_m": 1} and list(source.damage) == []


@pytest.mark.parametrize("stamp", [None, -START])
def test_without_stamps_the_time_of_receipt_is_taken_and_said(tmp_path, caplog, stamp):
    source = open_source(bag_of(tmp_path / "bag", [stamp] * 5))
    samples = list(source)
    assert [sample.frame.stamp_ns for sample in samples] == stamps(5)
    assert numbers(samples) == [0, 1, 2, 3, 4] and list(source.damage) == []
    assert all(sample.frame.intrinsics is not None for sample in samples)
    assert "images have stamps of 0 or below; the time of their receipt is taken" in caplog.text
    assert source.rate_hz == pytest.approx(10)


def test_a_frame_that_cannot_be_decoded_is_left_out(tmp_path):
    found = list(camera(stamps(5)))
    found[5][2].encoding = "rgb9"
    samples = ReadableSamples(open_source(write_bag(tmp_path / "bag", found).parent), "the recording")
    assert numbers(samples) == [0, 1, 3, 4]
    assert (samples.read, samples.left_out) == (4, 1)
    assert "1 frame cannot be read; the first: " in samples.damage[0] and "rgb9" in samples.damage[0]


def test_a_first_frame_of_another_encoding_does_not_hide_the_camera(tmp_path):
    found = list(camera(stamps(4)))
    found[1][2].encoding = "rgb9"
    bag = write_bag(tmp_path / "bag", found).parent
    samples = ReadableSamples(open_source(bag), "it")
    assert numbers(samples) == [1, 2, 3] and samples.left_out == 1


def test_a_topic_that_cannot_be_read_does_not_hide_the_camera(tmp_path):
    found = list(camera(stamps(3)))
    with BagWriter(tmp_path / "bag") as writer:
        for topic, at, message in found:
            writer.raw(topic, message.__msgtype__, serialized(message), at)
            writer.raw("/a/image", "sensor_msgs/msg/Image", b"\0\1\0\0cut", at)
    source = open_source(tmp_path / "bag")
    assert source.topics.image == IMAGE and numbers(source) == [0, 1, 2]


def test_a_source_of_nothing_that_can_be_read_is_an_error(tmp_path):
    found = [(IMAGE, stamp, image(0, stamp)) for stamp in stamps(3)]
    for *_, message in found[1:]:
        message.encoding = "rgb9"
    source = open_source(write_bag(tmp_path / "bag", found).parent)
    assert numbers(ReadableSamples(source, "it")) == [0]
    found[0][2].encoding = "rgb9"
    with pytest.raises(DataError, match="contains no camera images"):
        open_source(write_bag(tmp_path / "other", found).parent)


def run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


@pytest.mark.slow
def test_predict_reads_on_and_says_so_in_its_exit_code(tmp_path, capsys):
    bag = bag_of(tmp_path / "bag", [0, 1, 2, 2, 3, 4])
    assert run("predict", "--input", bag, "--out", tmp_path / "p", "--weights", "random") == 3
    assert len(list((tmp_path / "p/pan").iterdir())) == 5
    assert "the input is incomplete: " in capsys.readouterr().err
    whole = bag_of(tmp_path / "whole", range(2))
    assert run("predict", "--input", whole, "--out", tmp_path / "q", "--weights", "random") == 0


@pytest.mark.ros
def test_play_publishes_the_rest_and_says_so_in_its_exit_code(tmp_path):
    bag = bag_of(tmp_path / os.fsdecode(b"caf\xe9"), [0, 1, 1, 2])  # not a name that ROS takes among its arguments
    command = [sys.executable, "-m", "monodvps_ros.cli.main", "play", bag, "--wait-for", "0"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 3, done.stderr
    assert b"3 frames published" in done.stdout
    assert b"the input is incomplete: " in done.stderr and b"1 stamp repeats the one before" in done.stderr


@pytest.mark.slow
def test_evaluate_says_in_its_exit_code_that_frames_are_missing(tmp_path, capsys):
    found = list(camera([START + offset * STEP for offset in (0, 1, 1, 2)]))
    for number, (_, received, seen) in enumerate(found[1::2]):
        depth = image(number, received)
        depth.encoding, depth.step, depth.header = "32FC1", 4 * SIZE[1], seen.header
        depth.data = np.full(SIZE, 5.0, np.float32).view(np.uint8).reshape(-1)
        found.append(("/cam/truth/depth", received, depth))
    bag = write_bag(tmp_path / "bag", sorted(found, key=lambda entry: entry[1])).parent
    assert run("evaluate", "--data", bag, "--weights", "random", "--json", tmp_path / "result.json") == 3
    assert "1 stamp repeats the one before" in capsys.readouterr().err
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["frames"] == 3 and len(result["damage"]) == 1


def test_training_reads_the_camera_that_is_chosen_of_two(tmp_path):
    found = [entry for number, stamp in enumerate(stamps(3)) for entry in
             ((IMAGE, stamp, image(number, stamp)), ("/other/image_raw", stamp, image(number + 5, stamp)))]  # fmt: skip
    bag = write_bag(tmp_path / "bag", found).parent
    command = ("train", "--data", bag, "--out", tmp_path / "t", "--image-topic", "/absent/image")
    assert run(*command) == 2 and not (tmp_path / "t").exists()
    chosen = [open_source(bag, image_topic=topic) for topic in (IMAGE, "/other/image_raw")]
    assert [numbers(source) for source in chosen] == [[0, 1, 2], [5, 6, 7]]
    assert chosen[0].read_as != chosen[1].read_as  # stored frames of the one are none of the other


def test_what_is_missing_goes_into_the_stored_frames(tmp_path):
    bag = bag_of(tmp_path / "bag", [0, 1, 2, 2, 3, 4])
    store = store_frames([open_source(bag)], (16, 24), tmp_path / "frames", "")
    assert (len(store), store.skipped) == (5, 1)
    assert "1 stamp repeats the one before" in store.damage[0]
    assert [entry.follows_previous for entry in store.entries] == [False, True, True, True, True]
    assert FrameStore(tmp_path / "frames").damage == store.damage


def test_training_does_not_go_on_with_a_small_rest(tmp_path):
    bag = bag_of(tmp_path / "bag", [0, 1, 1, 1, 1])
    with pytest.raises(DataError, match=r"only 2 of its 5 frames can be used: .*3 stamps repeat the one before"):
        store_frames([open_source(bag)], (16, 24), tmp_path / "frames", "")


@pytest.mark.parametrize(("name", "found"), [("bag", "b"), ("bag", "a"), ("bag.part2", "d"), ("other.part2", "b")])
def test_other_streams_follow_into_the_part_after_a_jump(name, found):
    stamps_ns = {"a": 50, "b": 51, "c": 1, "d": 2}
    stream = [(stamp * STEP, item) for item, stamp in stamps_ns.items()]
    streams = BagStreams({"bag": None, "other.part2": None}, lambda _: iter(stream), 0.01)
    pixels = np.zeros((*SIZE, 3), np.uint8)
    assert streams.of(Sample(CameraFrame(pixels, stamps_ns[found] * STEP), sequence=name)) == found


def test_the_first_part_is_not_given_what_follows_the_jump():
    stream = [(10, "p0@10"), (20, "p0@20"), (5, "p1@5"), (19, "p1@19"), (29, "p1@29")]
    streams = BagStreams({"bag": None}, lambda _: iter(stream), 100e-9)
    pixels = np.zeros((*SIZE, 3), np.uint8)
    found = [streams.of(Sample(CameraFrame(pixels, stamp), sequence="bag")) for stamp in (10, 21, 30)]
    assert found == ["p0@10", "p0@20", "p0@20"]


def test_one_frame_out_of_order_costs_itself_in_a_data_set(tmp_path):
    folder = tmp_path / "video_sequence/val"
    folder.mkdir(parents=True)
    for place, number in enumerate([1, 2, 2, 3, 4]):
        name = f"000000_{place:06d}_city_000000_{number:06d}_leftImg8bit.png"
        cv2.imwrite(str(folder / name), picture(place))
    samples = ReadableSamples(open_source(tmp_path), "the data set")
    assert numbers(samples) == [0, 1, 3, 4]
    assert samples.left_out == 1 and "frames must be in order of time" in samples.damage[0]


class Longer:
    """Gives more frames than its length says."""

    rate_hz, label_space = 10.0, CITYSCAPES

    def __len__(self):
        return 1

    def __iter__(self):
        for number in range(4):
            pixels = np.full((16, 24, 3), number, np.uint8)
            yield Sample(CameraFrame(pixels, START + number * STEP), index=number)


class Nothing(Longer):
    """Of its only frame the stamp is 0."""

    damage = ("it: skipped: 1 stamp is 0 or below",)

    def __iter__(self):
        return iter(())


def test_the_reason_is_told_where_nothing_is_left():
    with pytest.raises(DataError, match="the source has no readable frame: it: skipped: 1 stamp is 0 or below"):
        list(ReadableSamples(Nothing(), "the source"))


def test_all_frames_are_stored_where_the_length_says_too_little(tmp_path):
    store = store_frames([Longer()], (16, 24), tmp_path, "")
    assert len(store) == 4 and store.damage == []
    assert [int(store.sample(number).frame.image[0, 0, 0]) for number in range(4)] == [0, 1, 2, 3]
