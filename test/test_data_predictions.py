# SPDX-License-Identifier: Apache-2.0
"""Predictions: layouts byte for byte, round trips, ids that fit, interruption and going on."""

import shutil

import cv2
import numpy as np
import pytest

from monodvps_ros.config import PipelineConfig, load
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.formats import formats, prediction_layout
from monodvps_ros.data.instance_ids import InstanceIds
from monodvps_ros.data.predictions import frame_name, open_predictions, whole_frames, write_prediction
from monodvps_ros.errors import ConfigError, DataError, counted
from monodvps_ros.evaluation.prediction import MANIFEST, BagPrediction, FolderPrediction, Run
from monodvps_ros.labels import CITYSCAPES, SEMKITTI, encode_panoptic
from monodvps_ros.outputs import Perception, ScaleEstimate, ScaleState
from monodvps_ros.types import CameraFrame, Sample, SampleSource

CLASSES = np.array([[0, 13, 13], [10, 255, 11]], np.uint8)
INSTANCES = np.array([[0, 1, 255], [0, 0, 7]])
DEPTH = np.array([[1.5, np.nan, 300], [0.25, 2, 80]], np.float32)
NAME = "000003_000004_ulm_000012_000019"


@pytest.fixture(params=[each.layout.name for each in formats() if each.layout])
def layout(request):
    return prediction_layout(request.param)


def write(path, layout, name=NAME, classes=CLASSES, instances=INSTANCES):
    whole_frames(path, layout)
    write_prediction(path, name, layout, classes, instances, DEPTH)
    return path


def test_round_trip(tmp_path, layout):
    write(tmp_path, layout)
    predictions = open_predictions(tmp_path, layout.name)
    (frame,) = predictions
    assert len(predictions) == 1
    assert (frame.sequence, frame.name, frame.stamp_ns) == ("000003", NAME, None)
    np.testing.assert_array_equal(frame.class_ids, CLASSES)
    np.testing.assert_array_equal(frame.instance_ids, INSTANCES)
    assert frame.depth_m.tolist()[1] == [0.25, 2, 80]
    assert frame.depth_m[0, 0] == 1.5 and np.isnan(frame.depth_m[0, 1]) and frame.depth_m[0, 2] == 65535 / 256


def test_cityscapes_files_are_as_the_public_script_reads_them(tmp_path):
    write(tmp_path, prediction_layout("cityscapes-dvps"))
    assert [file.name for file in (tmp_path / "pan").iterdir()] == [f"{NAME}_leftImg8bit.png"]
    assert [file.name for file in (tmp_path / "dep").iterdir()] == [f"{NAME}_leftImg8bit.png"]
    panoptic = cv2.imread(str(tmp_path / "pan" / f"{NAME}_leftImg8bit.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert panoptic.dtype == np.uint8
    assert panoptic[..., 0].tolist() == [[0, 13, 13], [10, 19, 11]]
    assert panoptic[..., 1].tolist() == INSTANCES.tolist()
    depth = cv2.imread(str(tmp_path / "dep" / f"{NAME}_leftImg8bit.png"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and depth.tolist() == [[384, 0, 65535], [64, 512, 20480]]


def test_semkitti_files_are_as_the_public_script_reads_them(tmp_path):
    instances = np.where(INSTANCES == 255, 65535, INSTANCES)
    write(tmp_path, prediction_layout("semkitti-dvps"), "000008_000001", CLASSES, instances)
    assert {file.name for file in (tmp_path / "pan").iterdir()} == {"000008_000001_cat.png", "000008_000001_ins.png"}
    classes = cv2.imread(str(tmp_path / "pan/000008_000001_cat.png"), cv2.IMREAD_UNCHANGED)
    assert classes.dtype == np.uint8 and classes.tolist() == [[0, 13, 13], [10, 19, 11]]
    written = cv2.imread(str(tmp_path / "pan/000008_000001_ins.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16 and written.tolist() == instances.tolist()
    assert len(list((tmp_path / "dep").iterdir())) == 1


@pytest.mark.parametrize(
    ("classes", "instances", "words"),
    [
        (CLASSES, INSTANCES + 1, r"ids 1..256 do not fit into cityscapes-dvps \(0..255\)"),
        (CLASSES, INSTANCES - 1, "instance ids -1"),
        (CLASSES + 10, INSTANCES, "class 23 is not in label space 'cityscapes'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, classes, instances, words):
    with pytest.raises(DataError, match=words):
        write(tmp_path, prediction_layout("cityscapes-dvps"), NAME, classes, instances)


def test_refusals_of_the_reader(tmp_path, layout):
    with pytest.raises(ConfigError, match="no data set 'kitti'; there are: cityscapes-dvps, recording, semkitti-dvps"):
        open_predictions(tmp_path, "kitti")
    with pytest.raises(DataError, match="does not exist"):
        open_predictions(tmp_path / "x", layout.name)
    with pytest.raises(DataError, match="pan: is not a folder"):
        open_predictions(tmp_path, layout.name)
    whole_frames(tmp_path, layout)
    with pytest.raises(DataError, match="contains no predictions"):
        open_predictions(tmp_path, layout.name)
    write(tmp_path, layout)
    depth = next((tmp_path / "dep").iterdir())
    cv2.imwrite(str(depth), np.zeros((3, 3), np.uint16))
    with pytest.raises(DataError, match=r"is 3 x 3 .* but the panoptic prediction is 2 x 3"):
        list(open_predictions(tmp_path, layout.name))
    depth.unlink()
    with pytest.raises(DataError, match=rf"frame {NAME} has not all of its parts \(1 such frame\)"):
        open_predictions(tmp_path, layout.name)


def test_a_class_beyond_void_is_refused(tmp_path):
    write(tmp_path, prediction_layout("cityscapes-dvps"))
    cv2.imwrite(str(next((tmp_path / "pan").iterdir())), np.full((2, 3, 3), 20, np.uint8))
    with pytest.raises(DataError, match=r"contains class 20; expected 0..18, or 19 for void"):
        list(open_predictions(tmp_path, "cityscapes-dvps"))


def test_whole_frames_are_those_with_all_files(tmp_path, layout):
    write(tmp_path, layout, "000000_000000")
    write(tmp_path, layout, "000000_000001")
    next((tmp_path / "dep").glob("*_000001_*")).unlink()
    (tmp_path / "pan" / ".x.png.partial").touch()
    assert whole_frames(tmp_path, layout) == {"000000_000000"}
    assert not list((tmp_path / "pan").glob(".*"))


def test_names_of_frames():
    frame = CameraFrame(np.zeros((2, 3, 3), np.uint8), 1_700_000_000_123_456_789)
    assert frame_name(Sample(frame, source=f"/data/{NAME}_leftImg8bit.png")) == NAME
    assert frame_name(Sample(frame, index=12, source="/bag /image"), 2) == "000002_000012_1700000000123456789"


def test_predictions_of_a_recording(tmp_path):
    panoptic = encode_panoptic(CLASSES, INSTANCES)
    for name in ("drive_1", "drive_2"):
        with BagWriter(tmp_path / name) as writer:
            for stamp in (10, 20, 30, 40):
                if stamp != 20:
                    writer.image("/cam/depth/image", stamp, "cam", DEPTH, "32FC1")
                if stamp != 30:
                    writer.image("/cam/panoptic/image", stamp, "cam", panoptic, "16UC1")
    predictions = open_predictions(tmp_path, "recording")
    frames = list(predictions)
    assert [(frame.sequence, frame.stamp_ns) for frame in frames] == [
        ("drive_1", 10), ("drive_1", 40), ("drive_2", 10), ("drive_2", 40)
    ]  # fmt: skip
    assert predictions.incomplete == 4 and len(predictions) == 6
    np.testing.assert_array_equal(frames[0].class_ids, CLASSES)
    np.testing.assert_array_equal(frames[0].instance_ids, INSTANCES)
    np.testing.assert_array_equal(frames[0].depth_m, DEPTH)
    with BagWriter(tmp_path / "x") as writer:
        writer.image("/image", 1, "cam", np.zeros((2, 3), np.uint8), "mono8")
    with pytest.raises(DataError, match=r"must contain one topic panoptic/image .*; found none"):
        open_predictions(tmp_path / "x", "recording")


def assign(ids, *instances, class_id=13):
    return ids.assign(np.full((1, len(instances)), class_id), np.array([instances]))[0].tolist()


def test_instances_are_numbered_in_order_of_appearance_within_a_class():
    ids = InstanceIds(255)
    assert assign(ids, 900, 0, 17) == [2, 0, 1]
    assert assign(ids, 900, 30, 17) == [2, 3, 1]
    assert assign(ids, 900, class_id=11) == [1]
    assert (ids.reused, ids.dropped) == (0, 0)


def test_the_number_not_seen_for_longest_is_given_away():
    ids = InstanceIds(2)
    assert assign(ids, 5) == [1]
    assert assign(ids, 6) == [2]
    assert assign(ids, 5) == [1]
    assert assign(ids, 7, 5) == [2, 1]  # 6 had number 2
    assert ids.reused == 1
    assert assign(ids, 5, 7, 8) == [1, 2, -1]  # all numbers are in use in this frame
    assert (ids.reused, ids.dropped) == (1, 1)
    assert assign(ids, 6) == [1]  # a new number for an old one
    assert ids.reused == 2


def test_numbers_of_an_earlier_run_are_taken_up_by_overlap():
    ids = InstanceIds(255)
    classes = np.full((1, 6), 13)
    written = np.array([[4, 4, 4, 9, 9, 0]])
    ids.reserve(classes, written)
    now = np.array([[1, 1, 2, 2, 2, 3]])  # 1 lies on 4, most of 2 on 9, 3 on nothing
    ids.adopt(classes, now, written)
    assert ids.assign(classes, now).tolist() == [[4, 4, 9, 9, 9, 10]]


class Moving(SampleSource):
    """A bright object that moves to the right, in sequences of given lengths."""

    rate_hz = 10.0
    label_space = CITYSCAPES

    def __init__(self, counts, k=None):
        self.counts, self.k = counts, k

    def __len__(self):
        return sum(self.counts)

    def __iter__(self):
        for number, count in enumerate(self.counts):
            for index in range(count):
                image = np.zeros((4, 12, 3), np.uint8)
                image[:, index : index + 3] = 200
                frame = CameraFrame(image, 1_000_000_000 + index * 100_000_000, intrinsics=self.k)
                yield Sample(frame, sequence=f"s{number}", index=index, source="")


class Seen:
    """Stands for the pipeline: what is bright is a car, with a new id after each start, as from the real one."""

    def __init__(self, fail_at=None, labels=CITYSCAPES, **settings):
        self.config = load(PipelineConfig, None, settings)
        self.model = type("Model", (), {"label_space": labels, "description": "bright is a car"})
        self.fail_at, self.steps, self.first_id = fail_at, 0, 400

    def reset(self):
        self.first_id += 1

    def step(self, frame, wanted):
        self.steps += 1
        if self.steps == self.fail_at:
            raise KeyboardInterrupt
        bright = frame.image[..., 0] > 100
        panoptic = np.where(bright, 13000 + self.first_id, 0).astype(np.uint16)
        depth = np.full(bright.shape, 2.5, np.float32)
        scale = ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN, problem="no road")
        return Perception(
            stamp_ns=frame.stamp_ns, frame_id="cam", intrinsics=frame.intrinsics, scale=scale,
            depth_m=depth, panoptic=panoptic, segments=(),
        )  # fmt: skip


def run(out, pipeline, counts=(6, 3), kind=FolderPrediction, name="cityscapes-dvps", limit=None):
    source = Moving(counts)
    prediction = kind(Run(source, pipeline, limit), out, name, {"input": "moving"})
    for _ in prediction:
        pass
    return prediction


def ids_of(path, name="cityscapes-dvps"):
    return [(f.sequence, sorted(set(f.instance_ids[f.class_ids == 13].tolist()))) for f in open_predictions(path, name)]


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["cityscapes-dvps", "semkitti-dvps"])
@pytest.mark.parametrize("fail_at", [1, 4, 6, 7, 9])
def test_an_interrupted_prediction_goes_on_as_if_nothing_had_been(tmp_path, fail_at, name):
    labels = prediction_layout(name).labels
    run(tmp_path / "whole", Seen(labels=labels), name=name)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Seen(fail_at, labels=labels), name=name)
    kept = contents(tmp_path / "cut")
    again = Seen(labels=labels)
    again.first_id = 700  # as after a new start, the pipeline's ids are others
    prediction = run(tmp_path / "cut", again, name=name)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert kept.items() <= contents(tmp_path / "cut").items()
    lines = prediction.summary(1.0)
    assert f"{counted(10 - fail_at, 'frame')} written, {fail_at - 1} kept" in lines[0]
    assert f"{counted(10 - fail_at, 'frame has', 'frames have')} no depth: the scale is unknown: no road" in lines[1]


def test_depth_is_not_written_in_another_unit_than_metres(tmp_path):
    with pytest.raises(ConfigError, match=r"predictions hold metres; give scale\.mode=fixed"):
        run(tmp_path, Seen(**{"scale.unknown": "publish"}), limit=2)
    assert not list(tmp_path.iterdir())


def test_the_pipeline_sees_as_many_frames_again_as_the_tracker_remembers(tmp_path):
    run(tmp_path, Seen(**{"tracker.max_age": 2}), limit=5)
    again = Seen(**{"tracker.max_age": 2})
    run(tmp_path, again, limit=6)
    assert again.steps == 3 + 1
    assert ids_of(tmp_path) == [("000000", [1])] * 6


def test_a_finished_prediction_has_nothing_to_do(tmp_path):
    run(tmp_path, Seen())
    before = contents(tmp_path)
    again = Seen()
    assert "0 frames written, 9 kept" in run(tmp_path, again).summary(1.0)[0]
    assert again.steps == 0 and contents(tmp_path) == before


def test_a_half_written_frame_is_written_again(tmp_path):
    run(tmp_path, Seen())
    before = contents(tmp_path)
    next((tmp_path / "dep").glob("000000_000003*")).unlink()
    again = Seen()
    prediction = run(tmp_path, again)
    assert "3 frames written, 6 kept" in prediction.summary(1.0)[0]  # from it to the end of its sequence
    assert contents(tmp_path) == before


def test_predictions_made_otherwise_are_not_mixed(tmp_path):
    run(tmp_path, Seen())
    with pytest.raises(
        DataError, match=r"made with pipeline.tracker.max_age 15, which is now 3 .*choose another folder"
    ):
        run(tmp_path, Seen(**{"tracker.max_age": 3}))
    run(tmp_path, Seen(device="cpu", timing=True))  # neither changes what is predicted
    (tmp_path / MANIFEST).write_text("[")
    with pytest.raises(DataError, match=r"predictions.json: cannot be read as JSON"):
        run(tmp_path, Seen())
    with pytest.raises(ConfigError, match="has label space 'cityscapes' but the model has 'semkitti'"):
        run(tmp_path / "x", Seen(labels=SEMKITTI))


def test_other_weights_of_the_same_name_are_noticed(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"one")
    run(tmp_path / "out", Seen(weights=str(weights)))
    weights.write_bytes(b"two")
    with pytest.raises(DataError, match="made with weights_sha256"):
        run(tmp_path / "out", Seen(weights=str(weights)))


def test_recordings_one_a_sequence(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Seen(fail_at=8), kind=BagPrediction, name="bag")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predictions.json", "s0"]
    (tmp_path / ".s1.0123abcd.partial" / "s1").mkdir(parents=True)  # as a kill leaves it
    again = Seen()
    prediction = run(tmp_path, again, kind=BagPrediction, name="bag")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["predictions.json", "s0", "s1"]
    assert again.steps == 3 and "3 frames written, 6 kept" in prediction.summary(1.0)[0]
    frames = list(open_predictions(tmp_path, "recording"))
    assert [f.sequence for f in frames] == ["s0"] * 6 + ["s1"] * 3
    assert set(np.unique(frames[8].instance_ids)) == {0, 402}
    assert frames[8].stamp_ns == 1_200_000_000 and (frames[8].depth_m == 2.5).all()
    shutil.rmtree(tmp_path / "s1")
    with pytest.raises(DataError, match="made with format 'bag'"):
        run(tmp_path, Seen())


@pytest.mark.slow
def test_the_command_from_a_drive_to_predictions(tmp_path, capsys):
    from monodvps_ros.cli.predict import predict
    from monodvps_ros.config import NetworkConfig, SceneConfig
    from monodvps_ros.network import MonoDVPS, save_weights
    from monodvps_ros.scenes import Drive, write_bag

    size = {"encoder": "mobilenetv3_small_050", "input_height": 64, "input_width": 96}
    widths = dict.fromkeys(("aspp_channels", "semantic_channels", "instance_channels", "head_channels"), 8)
    weights = str(tmp_path / "small.safetensors")
    save_weights(weights, MonoDVPS(NetworkConfig(**size, **widths)), {})
    bag = write_bag(Drive(SceneConfig(frames=2, height=48, width=96), 3), tmp_path)
    for format_ in ("cityscapes-dvps", "bag"):
        out = tmp_path / format_
        predict(bag, out, weights=weights, format_=format_)
        frames = list(open_predictions(out, "cityscapes-dvps"))
        assert [frame.stamp_ns for frame in frames] == [1_000_000_000, 1_100_000_000]
        assert frames[0].class_ids.shape == (48, 96)
        assert "2 frames written, 0 kept" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="'x' is not a setting"):
        predict(bag, tmp_path / "x", ["x"], weights=weights)
    with pytest.raises(ConfigError, match=r"no setting 'tracker.maxage'; similar: tracker.max_age"):
        predict(bag, tmp_path / "x", ["tracker.maxage=1"], weights=weights)


def test_the_command_says_when_it_runs_the_weights_that_ship(tmp_path, capsys):
    from monodvps_ros.cli.predict import predict

    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "0.png"), np.zeros((64, 96, 3), np.uint8))
    predict(tmp_path / "pictures", tmp_path / "out", device="cpu")
    assert "shipped weights street" in " ".join(capsys.readouterr().err.split())


def test_all_outputs_are_written_to_a_recording(tmp_path):
    from monodvps_ros.data.bag import BagReader
    from monodvps_ros.evaluation.prediction import write_perception
    from monodvps_ros.outputs import POINT_DTYPE, Segment

    color, semantic = np.zeros((2, 3, 3), np.uint8), CLASSES
    segment = Segment(13001, 1, 13, "car", True, 1.0, 1, (0, 0, 1, 1), 2.0, (0.0, 0.0, 2.0), 1)
    perception = Perception(
        stamp_ns=5, frame_id="cam", intrinsics=np.eye(3), scale=ScaleEstimate(1.0, 1.0, ScaleState.FIXED),
        depth_m=DEPTH, panoptic=encode_panoptic(CLASSES, INSTANCES), color=color, semantic=semantic,
        confidence=semantic, segments=(segment,), cloud=np.zeros((1, 2), POINT_DTYPE),
    )  # fmt: skip
    with BagWriter(tmp_path / "bag") as writer:
        write_perception(writer, perception)
    with BagReader(tmp_path / "bag") as reader:
        found = {name: topic.type_name.rpartition("/")[2] for name, topic in reader.topics.items()}
    assert found == {
        "/depth/image": "Image", "/depth/camera_info": "CameraInfo", "/panoptic/image": "Image",
        "/panoptic/color": "Image", "/panoptic/segments": "PanopticSegments", "/semantic/image": "Image",
        "/semantic/confidence": "Image", "/points": "PointCloud2",
    }  # fmt: skip
