# SPDX-License-Identifier: Apache-2.0
"""What `monodvps view` writes for the rerun viewer, read back by rerun, and how frames are put together."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from monodvps_ros.cli.main import main
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.formats import prediction_layout
from monodvps_ros.data.image_files import write_image
from monodvps_ros.data.message_fields import output_fields
from monodvps_ros.data.predictions import frame_name, whole_frames, write_prediction
from monodvps_ros.evaluation.prediction import write_perception
from monodvps_ros.labels import VOID_PANOPTIC_ID, decode_panoptic
from monodvps_ros.outputs import OUTPUT_TOPICS, Odometry, Output, Perception, ScaleEstimate, ScaleState, Segment
from monodvps_ros.view.messages import DEPTH, MOST_WAITING, PANOPTIC, FrameAssembler

pytest.importorskip("rerun", reason="rerun needs NumPy 2")
from rerun.chunk import RrdReader

START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000
SIZE = (24, 40)
K = np.array([[20.0, 0, 19.5], [0, 20.0, 11.5], [0, 0, 1]])
ROAD, SKY, CAR_7 = 0, 10_000, 13_002
CAR = np.s_[10:16, 16:28]
#: From the axes of the optical frame (x right, y down, z forward) to x forward, y left, z up.
TURN = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
ENTITIES = {
    "world", "world/camera", "world/camera/image", "world/camera/image/rgb", "world/camera/image/panoptic",
    "world/camera/image/depth", "world/camera/image/segments", "world/camera/cloud", "world/camera/boxes",
    "world/tracks", "scale",
}  # fmt: skip


def frame(index, scale=ScaleState.METRIC, **parts):
    """Sky above road 8 m away, and car 7, 10 m away; the camera has moved by index metres."""
    panoptic = np.full(SIZE, ROAD, np.uint16)
    panoptic[:8], panoptic[CAR], panoptic[23] = SKY, CAR_7, VOID_PANOPTIC_ID
    depth = np.full(SIZE, 8.0, np.float32)
    depth[:8], depth[CAR] = np.nan, 10.0
    pose = np.eye(4)
    pose[:3, :3], pose[0, 3] = TURN, index
    car = Segment(CAR_7, 7, 13, "car", True, 0.75, 72, (16, 10, 27, 15), 10.0, (1.0, 0.5, 10.0), 1 + index)
    return Perception(
        stamp_ns=START_NS + index * STEP_NS, frame_id="cam", intrinsics=K, scale=ScaleEstimate(1.0, 0.5, scale),
        depth_m=depth, panoptic=panoptic, segments=(car,),
        odometry=Odometry("odom", "cam", pose, np.eye(6), np.zeros(3), np.zeros(3), np.eye(6)),
        image=np.full((*SIZE, 3), 10 * index + 50, np.uint8), **parts,
    )  # fmt: skip


def write_bag(path, frames, camera=""):
    with BagWriter(path) as writer:
        for each in frames:
            if not camera:
                write_perception(writer, each)
            for row in OUTPUT_TOPICS:
                if row.topic in ("rectified/image", "odometry") or (camera and row.output is Output.PANOPTIC):
                    fields = output_fields(row, each)
                    if fields is not None:
                        writer.message(f"{camera}/{row.topic}", row.type_name, each.stamp_ns, each.frame_id, fields)
    return path


def view(*words):
    with pytest.raises(SystemExit) as ended:
        main(["view", *map(str, words)])
    return ended.value.code


def read(path):
    """Rows by entity and component: (stamp or None, value) in the order in which they were logged."""
    found = {}
    for chunk in RrdReader(path).stream():
        batch, entity = chunk.to_record_batch(), chunk.entity_path.strip("/")
        assert set(chunk.timeline_names) <= {"stamp"}
        stamps = [None] * len(batch)
        if not chunk.is_static:
            stamps = batch.column("stamp").cast("int64").to_pylist()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if ":" in name:
                rows = found.setdefault(entity, {}).setdefault(name, [])
                rows += [(stamp, value) for stamp, value in zip(stamps, column.to_pylist(), strict=True) if value]
    return {entity: {name: sorted(rows, key=str) for name, rows in parts.items()} for entity, parts in found.items()}


def at(rows, index):
    return next(value for stamp, value in rows if stamp == START_NS + index * STEP_NS)


def array(value, dtype, shape):
    return np.array(value[0], np.uint8).view(dtype).reshape(shape)


def test_a_recording_has_every_entity_at_the_stamps_with_the_values(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", [frame(0), frame(1), frame(2)])
    file = tmp_path / "out" / "drive.rrd"
    assert view(bag, "--save", file) == 0
    assert f"3 frames; open them with: rerun {file}" in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir()] == ["drive.rrd"]
    assert len(RrdReader(file).blueprints()) == 1
    found = read(file)
    assert {name for name in found if not name.startswith("__")} == ENTITIES
    for entity in ENTITIES - {"world", "world/tracks", "scale"}:
        stamps = {stamp for rows in found[entity].values() for stamp, _ in rows if stamp is not None}
        assert stamps == {START_NS + index * STEP_NS for index in range(3)}, entity

    np.testing.assert_allclose(at(found["world/camera"]["Transform3D:translation"], 2), [[2, 0, 0]])
    np.testing.assert_allclose(at(found["world/camera"]["Transform3D:mat3x3"], 2)[0], TURN.T.ravel(), atol=1e-6)
    plane = found["world/camera/image"]
    np.testing.assert_allclose(at(plane["Pinhole:image_from_camera"], 1)[0], K.T.ravel())
    assert at(plane["Pinhole:resolution"], 1) == [[40, 24]]
    depth = array(at(found["world/camera/image/depth"]["DepthImage:buffer"], 1), np.float16, SIZE)
    np.testing.assert_array_equal(depth, frame(1).depth_m)
    panoptic = found["world/camera/image/panoptic"]
    ids = array(at(panoptic["SegmentationImage:buffer"], 1), np.uint16, SIZE)
    np.testing.assert_array_equal(ids, frame(1).panoptic)
    ((_, (names,)),) = panoptic["AnnotationContext:context"]
    names = {entry["class_id"]: entry["class_description"]["info"] for entry in names}
    assert [names[number]["label"] for number in (ROAD, SKY, CAR_7, VOID_PANOPTIC_ID)] == [
        "road",
        "sky",
        "car 2",
        "void",
    ]
    assert names[ROAD]["color"] == 0x804080FF  # Cityscapes' (128, 64, 128), opaque
    segments = found["world/camera/image/segments"]
    assert at(segments["Boxes2D:labels"], 0) == ["car 7  10.0 m"]
    assert at(segments["Boxes2D:centers"], 0) == [[22, 13]] and at(segments["Boxes2D:half_sizes"], 0) == [[6, 3]]
    assert found["scale"]["TextLog:text"] == [(START_NS, ["scale: metric, confidence 0.50"])]


def test_cloud_boxes_and_tracks_are_in_metres(tmp_path):
    file = tmp_path / "drive.rrd"
    assert view(write_bag(tmp_path / "bag", [frame(0), frame(1), frame(2)]), "--save", file) == 0
    found = read(file)
    points = np.array(at(found["world/camera/cloud"]["Points3D:positions"], 1))
    assert len(points) == 16 * 40  # all but sky, void included
    wanted = [(20 - 19.5) / 20 * 10, (12 - 11.5) / 20 * 10, 10]  # of the pixel in row 12 and column 20
    assert np.abs(points - wanted).sum(1).min() < 1e-5
    assert set(at(found["world/camera/cloud"]["Points3D:colors"], 1)) == {0x3C3C3CFF}
    boxes = found["world/camera/boxes"]
    assert at(boxes["Boxes3D:labels"], 2) == ["car 7  10.0 m"]
    center, half_size = np.array(at(boxes["Boxes3D:centers"], 2)[0]), np.array(at(boxes["Boxes3D:half_sizes"], 2)[0])
    # Seen from its side, with 10 columns of 0.5 m inside of its edges; its width lies behind what is seen.
    assert half_size[0] == pytest.approx(2.5, abs=0.2) and center[0] == pytest.approx(1.0, abs=0.2)
    assert center[2] - half_size[1] == pytest.approx(10.0, abs=0.2)
    (way,) = at(found["world/tracks"]["LineStrips3D:strips"], 2)
    np.testing.assert_allclose(way, [TURN @ center + [index, 0, 0] for index in range(3)], atol=1e-5)
    assert at(found["world/tracks"]["Clear:is_recursive"], 0) == [False]  # one place is no way


def test_without_metres_maps_are_shown_alone(tmp_path):
    unknown = frame(0, ScaleState.UNKNOWN)
    unknown.depth_m[:] = np.nan
    file = tmp_path / "drive.rrd"
    assert view(write_bag(tmp_path / "bag", [unknown]), "--save", file) == 0
    found = read(file)
    for entity in ("world/camera/cloud", "world/camera/boxes", "world/camera/image/depth"):
        assert set(found[entity]) == {"Clear:is_recursive"}
    assert "no depth in metres" in found["scale"]["TextLog:text"][0][1][0]
    assert found["scale"]["TextLog:level"][0][1] == ["WARN"]
    assert "SegmentationImage:buffer" in found["world/camera/image/panoptic"]


def test_a_folder_of_predictions_with_its_images(tmp_path, capsys):
    layout, truth = prediction_layout("cityscapes-dvps"), frame(0)
    whole_frames(tmp_path / "pred", layout)
    (tmp_path / "data" / "image").mkdir(parents=True)
    (tmp_path / "data" / "camera.json").write_text(
        f'{{"width": 80, "height": 48, "rate_hz": 10, "K": {[40, 0, 39.5, 0, 40, 23.5, 0, 0, 1]}}}'
    )
    for index in range(2):
        write_image(tmp_path / "data" / "image" / f"{index}.png", np.full((48, 80, 3), 90, np.uint8))
    samples = list(open_source(tmp_path / "data"))
    for sample in samples:
        ids = decode_panoptic(truth.panoptic)
        write_prediction(tmp_path / "pred", frame_name(sample), layout, *ids, truth.depth_m)
    file = tmp_path / "drive.rrd"
    assert view(tmp_path / "pred", "--data", tmp_path / "data", "--save", file) == 0
    found = read(file)
    stamps = [stamp for stamp, _ in found["world/camera/image"]["Pinhole:image_from_camera"]]
    assert stamps == [sample.frame.stamp_ns for sample in samples]
    scaled = [20, 0, 0, 0, 20, 0, 19.5, 11.5, 1]  # K of the camera at half of its size: K above
    np.testing.assert_allclose(found["world/camera/image"]["Pinhole:image_from_camera"][1][1][0], scaled)
    assert found["world/camera/boxes"]["Boxes3D:labels"][0][1] == ["car 2  10.0 m"]  # the instance stands for the track
    np.testing.assert_allclose(found["world/camera"]["Transform3D:translation"][1][1], [[0, 0, 0]])
    assert "no images" not in capsys.readouterr().out
    assert view(tmp_path / "pred", "--save", tmp_path / "alone.rrd") == 0
    assert "no images: the maps are shown alone; --data" in capsys.readouterr().out
    assert not {"world/camera/image", "world/tracks"} & {
        entity for entity, parts in read(tmp_path / "alone.rrd").items() if set(parts) - {"Clear:is_recursive"}
    }


def test_frames_without_their_image_are_counted(tmp_path, capsys):
    bag = write_bag(tmp_path / "bag", [frame(0), frame(1)])
    images = write_bag(tmp_path / "images", [frame(1)])
    words = ("--data", images, "--image-topic", "/rectified/image", "--save", tmp_path / "a.rrd")
    assert view(bag, *words) == 3
    assert f"{bag}: 1 frame has no image" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing: does not exist"),
        (["bag", "--camera", "front"], "contains no topic panoptic/image in namespace 'front'"),
        (["bag", "--dataset", "cifar"], "no data set 'cifar'"),
        (["bag", "--connect", "rerun+http://127.0.0.1:1/proxy"], "exclude each other"),
        (["--rectified", "true"], "apply to recordings"),
    ],
)
def test_what_cannot_be_viewed_is_one_line(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write_bag(tmp_path / "bag", [frame(0)])
    assert view(*words, "--save", tmp_path / "a.rrd") == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("monodvps: ") and error.count("\n") == 1
    assert not list(tmp_path.glob("*.rrd"))


def test_without_a_display_no_viewer_is_started(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("rerun.RecordingStream.spawn", lambda *_, **__: pytest.fail("a viewer was started"))
    assert view(write_bag(tmp_path / "bag", [frame(0)])) == 2
    error = capsys.readouterr().err
    assert error.startswith("monodvps: there is no display") and error.count("\n") == 1 and "--save" in error


def test_without_rerun_the_error_names_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert view(write_bag(tmp_path / "bag", [frame(0)]), "--save", tmp_path / "a.rrd") == 2
    assert "needs the Python package 'rerun', which is not installed" in (error := capsys.readouterr().err)
    assert "pip install '.[view]'" in error


def message(stamp_ns, pixels, encoding, value):
    data = np.full(pixels, value)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=stamp_ns), frame_id="cam")
    return SimpleNamespace(header=header, height=pixels[0], width=pixels[1], encoding=encoding, is_bigendian=0,
                           step=data.itemsize * pixels[1], data=data.tobytes())  # fmt: skip


def depth_at(stamp_ns):
    return DEPTH, message(stamp_ns, (2, 3), "32FC1", np.float32(stamp_ns))


def panoptic_at(stamp_ns):
    return PANOPTIC, message(stamp_ns, (2, 3), "16UC1", np.uint16(stamp_ns))


def test_frames_are_given_when_they_are_whole_and_when_they_are_overtaken():
    assembler = FrameAssembler(frozenset((DEPTH, PANOPTIC)))
    add = lambda piece: [each.stamp_ns for each in assembler.add(*piece)]  # noqa: E731
    assert add(depth_at(1)) == [] and add(depth_at(2)) == []
    assert add(panoptic_at(1)) == [1] and add(panoptic_at(2)) == [2]
    assert add(panoptic_at(3)) == [] and add(depth_at(4)) == []
    assert add(panoptic_at(4)) == [3, 4]  # frame 3 has been overtaken
    assert add(depth_at(3)) == []  # too late
    assert [add(depth_at(stamp)) for stamp in range(5, 5 + MOST_WAITING)] == [[]] * MOST_WAITING
    assert add(depth_at(50)) == [5]  # waits for no panoptic map any more
    assert add(depth_at(51)) == [6, 7, 50, 51]
    assert add(depth_at(52)) == [52] and list(assembler.rest()) == []
    (whole,) = FrameAssembler(frozenset((DEPTH,))).add(*depth_at(9))
    assert whole.depth_m.tolist() == [[9.0] * 3] * 2 and whole.panoptic is None
    assert whole.scale.state is ScaleState.FIXED
