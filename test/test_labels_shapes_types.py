# SPDX-License-Identifier: Apache-2.0
"""The lowest floor: label spaces and panoptic ids, shape contracts, the types that pass between rooms."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from monodvps_ros.errors import LabelError, ShapeError
from monodvps_ros.geometry.resizing import as_image_tensor
from monodvps_ros.labels import (
    CITYSCAPES,
    LABEL_SPACES,
    SEMKITTI,
    VOID_PANOPTIC_ID,
    decode_panoptic,
    encode_panoptic,
    label_space,
)
from monodvps_ros.outputs import OUTPUT_TOPICS, POINT_DTYPE, Output, Perception, topic_of
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import CameraFrame, FrameTruth, NetworkOutput


def test_the_classes_stand_in_the_data_sets_orders():
    assert CITYSCAPES.names[:3] == ("road", "sidewalk", "building")
    assert CITYSCAPES.class_id("sky") == 10
    assert CITYSCAPES.thing_ids == tuple(range(11, 19))
    assert CITYSCAPES.names[11:] == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert (
        SEMKITTI.thing_ids == tuple(range(8)) and SEMKITTI.names[8] == "road" and SEMKITTI.names[18] == "traffic-sign"
    )
    for space in LABEL_SPACES.values():
        assert len(space) == 19 and len(set(space.names)) == 19
        assert len({info.color for info in space.classes}) == 19
        assert list(space.thing_ids) == np.flatnonzero(space.is_thing).tolist()
        assert space.colors.shape == (19, 3) and not space.colors.flags.writeable


def test_launch_files_may_import_the_types_without_torch():
    code = "import sys, monodvps_ros.outputs, monodvps_ros.types; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_output_has_its_own_field_and_topics():
    fields = {field.name for field in dataclasses.fields(Perception)}
    assert {output.field for output in Output} < fields
    assert len({output.field for output in Output}) == len(Output)
    topics = [row.topic for row in OUTPUT_TOPICS]
    assert len(set(topics)) == len(topics)
    assert topic_of(Output.DEPTH) == "depth/image" and topic_of(Output.CLOUD) == "points"


def test_names_that_are_not_there_are_refused_with_those_that_are():
    with pytest.raises(LabelError, match="traffic light"):
        CITYSCAPES.class_id("lamp")
    with pytest.raises(LabelError, match="cityscapes, semkitti"):
        label_space("coco")


def test_panoptic_ids_go_there_and_back():
    classes, instances = np.meshgrid([0, 10, 13, 18, 64], [0, 1, 500, 999])
    ids = encode_panoptic(classes, instances)
    assert ids.dtype == np.uint16 and ids.max() == 64999
    back = decode_panoptic(ids)
    assert np.array_equal(back[0], classes) and np.array_equal(back[1], instances)
    assert encode_panoptic(np.array([255]), np.array([12345])).tolist() == [VOID_PANOPTIC_ID]
    assert [part.tolist() for part in decode_panoptic(np.array([VOID_PANOPTIC_ID]))] == [[255], [0]]


@pytest.mark.parametrize(("class_id", "instance_id", "said"), [
    (65, 0, "class id 65"), (-1, 0, "class id -1"), (13, 1000, "instance id 1000"), (13, -1, "instance id -1"),
])  # fmt: skip
def test_ids_out_of_range_do_not_leak_into_other_classes(class_id, instance_id, said):
    with pytest.raises(LabelError, match=said):
        encode_panoptic(np.array([0, class_id]), np.array([0, instance_id]))


def test_values_that_are_no_panoptic_ids_are_refused():
    with pytest.raises(LabelError, match="65000"):
        decode_panoptic(np.array([0, 65000], np.int64))


def test_letters_are_bound_across_arguments():
    sizes = check_shapes(image=(torch.zeros(2, 3, 4, 5), "B 3 H W"), depth=(np.zeros((2, 1, 4, 5)), "B 1 H W"))
    assert sizes == {"B": 2, "H": 4, "W": 5}
    with pytest.raises(
        ShapeError, match=r"depth is \(2, 1, 3, 5\) but image is \(2, 3, 4, 5\): H is 3 .* 4 .*; resize"
    ):
        check_shapes(
            "resize it", image=(torch.zeros(2, 3, 4, 5), "B 3 H W"), depth=(torch.zeros(2, 1, 3, 5), "B 1 H W")
        )
    with pytest.raises(ShapeError, match=r"image is \(2, 4, 4, 5\) but must be \(B, 3, H, W\)"):
        check_shapes(image=(torch.zeros(2, 4, 4, 5), "B 3 H W"))
    with pytest.raises(ShapeError, match=r"must be \(H, W\)"):
        check_shapes(image=(torch.zeros(4), "H W"))
    assert check_shapes(image=(None, "H W"), rest=(torch.zeros(7, 4, 5), "* H W")) == {"H": 4, "W": 5}
    with pytest.raises(ShapeError, match="rest"):
        check_shapes(rest=(torch.zeros(5), "* H W"))


def test_frames_and_truth_are_checked_where_they_are_made():
    image = np.zeros((4, 6, 3), np.uint8)
    assert CameraFrame(image, 1).size == (4, 6)
    for wrong in (image.astype(np.float32), image[..., :2], image[:0]):
        with pytest.raises(ShapeError, match="image"):
            CameraFrame(wrong, 1)
    with pytest.raises(ShapeError, match="intrinsics"):
        CameraFrame(image, 1, "c", np.eye(4))
    with pytest.raises(ShapeError, match="depth_m must be float32"):
        FrameTruth(depth_m=np.zeros((4, 6)))
    with pytest.raises(ShapeError, match="W is 5"):
        FrameTruth(panoptic=np.zeros((4, 6), np.uint16), depth_m=np.zeros((4, 5), np.float32))


def test_a_model_must_say_instances_and_depth_in_one_way_or_another():
    logits = torch.zeros(1, 19, 2, 2)
    with pytest.raises(ShapeError, match="instances"):
        NetworkOutput(logits, depth_m=torch.zeros(1, 1, 2, 2))
    with pytest.raises(ShapeError, match="disparities or depth_m"):
        NetworkOutput(logits, instances=torch.zeros(1, 2, 2, dtype=torch.int64))


def test_a_point_is_24_bytes_and_an_image_becomes_a_tensor():
    assert POINT_DTYPE.itemsize == 24
    assert [POINT_DTYPE.fields[name][1] for name in POINT_DTYPE.names] == [0, 4, 8, 12, 16, 20]
    image = np.zeros((2, 3, 3), np.uint8)
    image[1, 2] = [255, 0, 51]
    tensor = as_image_tensor(image)
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.0, 0.2])
