# SPDX-License-Identifier: Apache-2.0
"""Detections and markers as fields: values, and that each field is one of the message's, of its kind."""

import math

import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from monodvps_ros.data.box_fields import detections_3d_fields, detections_fields, label_info_fields, markers_fields
from monodvps_ros.data.message_fields import output_fields
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.outputs import OUTPUT_TOPICS, Box3D, Perception, ScaleEstimate, ScaleState, Segment

CAR = Segment(13002, 7, 13, "car", True, 0.75, 900, (10, 20, 49, 39), 8.5, (0.5, 1.0, 9.0), 4)
ROAD = Segment(0, 0, 0, "road", False, 0.9, 5000, (0, 40, 99, 59), 6.0, (0.0, 1.5, 6.0), 0)
#: Length along z (forward), left is -x, up is -y: what a car straight ahead has.
AHEAD = (0.5, -0.5, 0.5, 0.5)
BOX = Box3D(CAR, (0.5, 0.75, 9.0), (4.4, 1.8, 1.5), AHEAD, (0, 51, 255))
HEADER = {"stamp": {"sec": 3, "nanosec": 7}, "frame_id": "camera"}

#: As vision_msgs 4.1 defines them (ROS 2 Humble to Lyrical).
VISION = {
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
    "Detection2D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox2D bbox\nstring id",
    "Detection3DArray": "std_msgs/Header header\nvision_msgs/Detection3D[] detections",
    "Detection3D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox3D bbox\nstring id",
    "ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "Point2D": "float64 x\nfloat64 y",
    "LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold",
    "VisionClass": "uint16 class_id\nstring class_name",
}


@pytest.fixture(scope="module")
def store():
    store = get_typestore(Stores.ROS2_KILTED)
    for name, text in VISION.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


def check(store, type_name, fields):
    """Each field is one of the type's, and its value of the field's kind, all the way down."""
    known = dict(store.fielddefs[type_name][1])
    for name, value in fields.items():
        assert name in known, f"{type_name} has no field {name}"
        kind, description = known[name]
        if kind == Nodetype.NAME:
            check(store, description, value)
        elif kind == Nodetype.BASE:
            wanted = {"string": str, "float64": float, "float32": float}.get(description[0], int)
            assert type(value) is wanted, f"{type_name}.{name} is {description[0]} but got {value!r}"
        else:
            for item in value:
                check(store, description[0][1], item)


def test_each_field_is_one_of_the_message(store):
    perception = Perception(
        stamp_ns=3_000_000_007,
        frame_id="camera",
        intrinsics=np.eye(3),
        scale=ScaleEstimate(1.0, 1.0, ScaleState.METRIC),
        segments=(CAR, ROAD),
        boxes=(BOX,),
    )
    checked = set()
    for row in OUTPUT_TOPICS:
        if row.type_name.startswith(("vision_msgs", "visualization_msgs")):
            check(store, row.type_name, output_fields(row, perception))
            checked.add(row.topic)
    assert checked == {"detections", "detections_3d", "markers"}
    check(store, "vision_msgs/msg/LabelInfo", label_info_fields(CITYSCAPES))


def test_detections_by_hand():
    """Columns 10 to 49 are 40 pixels wide, with their middle at 29.5; stuff is no detection."""
    (car,) = detections_fields(HEADER, (ROAD, CAR))["detections"]
    assert car["header"] == HEADER
    assert car["id"] == "7"
    assert car["results"] == [{"hypothesis": {"class_id": "car", "score": 0.75}}]
    center = {"position": {"x": 29.5, "y": 29.5}, "theta": 0.0}
    assert car["bbox"] == {"center": center, "size_x": 40.0, "size_y": 20.0}


def test_detections_3d_by_hand():
    (car,) = detections_3d_fields(HEADER, (BOX,))["detections"]
    pose = {"position": {"x": 0.5, "y": 0.75, "z": 9.0}, "orientation": {"x": 0.5, "y": -0.5, "z": 0.5, "w": 0.5}}
    assert car["bbox"] == {"center": pose, "size": {"x": 4.4, "y": 1.8, "z": 1.5}}
    assert (car["id"], car["results"][0]["pose"]["pose"]) == ("7", pose)


def test_markers_by_hand():
    """What was shown is deleted first; the text is 0.6 m above the top of the box: 0.75 - 0.75 - 0.6 m down."""
    delete, cube, text = markers_fields(HEADER, (BOX,))["markers"]
    assert (delete["header"], delete["action"]) == (HEADER, 3)
    assert (cube["ns"], cube["id"], cube["type"], cube["scale"]) == ("boxes", 7, 1, {"x": 4.4, "y": 1.8, "z": 1.5})
    assert cube["color"] == {"r": 0.0, "g": 0.2, "b": 1.0, "a": 0.4}
    assert (text["ns"], text["id"], text["type"], text["text"]) == ("labels", 7, 9, "car 7  8.5 m")
    assert text["pose"]["position"] == pytest.approx({"x": 0.5, "y": -0.6, "z": 9.0})
    assert text["color"]["a"] == 1.0


def test_without_boxes_the_old_markers_are_deleted():
    (delete,) = markers_fields(HEADER, ())["markers"]
    assert delete["action"] == 3


def test_track_ids_beyond_31_bits_stay_in_range():
    far = Box3D(Segment(13001, 2**31 + 5, 13, "car", True, 1.0, 9, (0, 0, 2, 2), math.nan, (0.0, 0.0, 1.0), 1),
                (0.0, 0.0, 5.0), (1.0, 1.0, 1.0), AHEAD, (0, 0, 0))  # fmt: skip
    _, cube, text = markers_fields(HEADER, (far,))["markers"]
    assert cube["id"] == 5
    assert text["text"] == f"car {2**31 + 5}"
