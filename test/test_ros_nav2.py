# SPDX-License-Identifier: Apache-2.0
"""What semantic_segmentation_layer, the costmap plugin for Nav2, asks of mask, confidence, cloud and class names."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from ros_bench import CAR, NETWORK, ROAD, SKY, Bench, K, stamp_of

from monodvps_ros.config import NodeConfig, from_dict
from monodvps_ros.data.box_fields import label_info_fields
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.outputs import OUTPUT_TOPICS, POINT_DTYPE

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

ROOT = Path(__file__).parents[1]
PRESET = yaml.safe_load((ROOT / "config" / "nav2.yaml").read_text(encoding="utf-8"))["/**"]["ros__parameters"]
MASK, CONFIDENCE, CLOUD = "semantic/image", "semantic/confidence", "points"

#: Parameters of the layer, of a source and of a class type, and their types, by its README and source (a70cf6e).
LAYER = {"plugin": str, "enabled": bool, "observation_sources": str, "combination_method": int,
         "publish_debug_topics": bool, "use_approximate_time_sync": bool}  # fmt: skip
SOURCE = {"segmentation_topic": str, "confidence_topic": str, "labels_topic": str, "pointcloud_topic": str,
          "observation_persistence": float, "expected_update_rate": float, "class_types": list,
          "max_obstacle_distance": float, "min_obstacle_distance": float, "tile_map_decay_time": float,
          "visualize_tile_map": bool, "use_cost_selection": bool}  # fmt: skip
CLASS_TYPE = {"classes": list, "base_cost": int, "max_cost": int, "mark_confidence": int, "samples_to_max_cost": int,
              "dominant_priority": bool}  # fmt: skip


@pytest.fixture(scope="module")
def outputs():
    parameters = {f"pipeline__cloud__{name}": value for name, value in PRESET["pipeline"]["cloud"].items()}
    parameters["pipeline__output_size"] = PRESET["pipeline"]["output_size"]
    with Bench(outputs=(MASK, CONFIDENCE, CLOUD), **parameters) as bench:
        bench.frame(0)
        return {topic: bench.wait_for(topic, 0) for topic in (MASK, CONFIDENCE, CLOUD)}


@pytest.fixture(scope="module")
def layer():
    """The layer's parameters in the page."""
    text = (ROOT / "docs" / "nav2.md").read_text(encoding="utf-8")
    costmap = yaml.safe_load(re.search(r"<!-- costmap -->\n```yaml\n(.*?)```", text, re.DOTALL)[1])
    return costmap["local_costmap"]["local_costmap"]["ros__parameters"]["semantic_layer"]


def pixels(message):
    assert (message.encoding, message.step, len(message.data)) == (
        "mono8",
        message.width,
        message.width * message.height,
    )
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def test_the_preset_sets_only_what_the_layer_needs():
    config = from_dict(NodeConfig, PRESET).pipeline
    assert (config.cloud.stride, config.cloud.organized) == (1, True)
    assert set(PRESET) == {"pipeline"}
    assert set(PRESET["pipeline"]) == {"output_size", "cloud"}


def test_sizes_stamps_and_frames_are_equal(outputs):
    sizes = {(message.height, message.width) for message in outputs.values()}
    assert sizes == {NETWORK}
    for message in outputs.values():
        assert message.header.stamp == stamp_of(0)
        assert message.header.frame_id == "camera_optical"


def test_each_pixel_of_the_mask_is_that_of_its_point(outputs):
    cloud = np.frombuffer(outputs[CLOUD].data, POINT_DTYPE).reshape(NETWORK)
    mask = pixels(outputs[MASK])
    seen = np.isfinite(cloud["z"])
    assert 0.3 < seen.mean() < 0.9
    np.testing.assert_array_equal(cloud["label"][seen], mask[seen])
    assert not seen[mask == SKY].any()
    assert (pixels(outputs[CONFIDENCE])[seen] > 200).mean() > 0.9
    columns = np.nonzero(seen)[1]
    x_scale = NETWORK[1] / 160
    u = (K[0] * cloud["x"][seen] / cloud["z"][seen] + K[2] + 0.5) * x_scale - 0.5
    assert abs(u - columns).max() < 0.5


def test_tiles_get_the_class_that_lies_there(outputs):
    """As the layer does it: pixel by pixel into cells of 0.5 m, in the order of the bytes."""
    names = {field.name: field.offset for field in outputs[CLOUD].fields}
    data, step = bytes(outputs[CLOUD].data), outputs[CLOUD].point_step
    mask = bytes(outputs[MASK].data)
    tiles = defaultdict(set)
    for index in range(0, outputs[MASK].height * outputs[MASK].width, 3):
        x, z = (np.frombuffer(data, "<f4", 1, index * step + names[axis])[0] for axis in "xz")
        if np.isfinite(z) and z < 20.0:
            tiles[int(np.floor(x / 0.5)), int(np.floor(z / 0.5))].add(mask[index])
    found = set().union(*tiles.values())
    assert found == {CAR, ROAD}
    assert len(tiles) > 100


def test_the_page_s_parameters_are_those_of_the_layer(layer):
    assert layer["plugin"] == "semantic_segmentation_layer::SemanticSegmentationLayer"
    sources = layer["observation_sources"].split()
    assert set(layer) <= set(LAYER) | set(sources)
    for name, kind in LAYER.items():
        assert isinstance(layer.get(name, kind()), kind), name
    for source in (layer[name] for name in sources):
        assert set(source) <= set(SOURCE) | set(source["class_types"])
        for name, kind in SOURCE.items():
            assert type(source.get(name, kind())) is kind, name
        for type_name in source["class_types"]:
            assert {name: type(value) for name, value in source[type_name].items()} == CLASS_TYPE, type_name
            assert 0 <= source[type_name]["base_cost"] <= source[type_name]["max_cost"] <= 254


def test_every_class_has_one_cost(layer):
    camera = layer["camera"]
    classes = [name for type_name in camera["class_types"] for name in camera[type_name]["classes"]]
    assert sorted(classes) == sorted(CITYSCAPES.names)
    published = label_info_fields(CITYSCAPES)["class_map"]
    assert {entry["class_name"]: entry["class_id"] for entry in published}["car"] == CAR
    assert 255 not in {entry["class_id"] for entry in published}


def test_the_page_s_topics_are_published_with_the_layer_s_types(layer):
    types = {f"/{row.topic}": (row.type_name.rpartition("/")[2], row.encoding) for row in OUTPUT_TOPICS}
    camera = layer["camera"]
    assert types[camera["segmentation_topic"]] == ("Image", "mono8")
    assert types[camera["confidence_topic"]] == ("Image", "mono8")
    assert types[camera["pointcloud_topic"]] == ("PointCloud2", "")
    assert camera["labels_topic"] == "/label_info"
