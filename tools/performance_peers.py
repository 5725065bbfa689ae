# SPDX-License-Identifier: Apache-2.0
"""Comparisons of `measure_performance.py` with the code of others, which is imported where it is to be found."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from in_turn import Calls, Rows, in_turn
from numpy.typing import NDArray
from torch.nn import functional

from monodvps_ros.benchmark.stages import make_frame, stages, street_output
from monodvps_ros.config import PipelineConfig
from monodvps_ros.geometry.resizing import resize_image
from monodvps_ros.labels import CITYSCAPES, single_classes
from monodvps_ros.metrics import Evaluator, MetricSettings
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.perception.grouping import classify, group
from monodvps_ros.types import NetworkOutput

NETWORK_SIZE = (192, 640)
CAMERA_SIZE = (375, 1242)


def against_grouping(repeats: int) -> Rows:
    """Compare with the grouping of bowenc0221/panoptic-deeplab, of the same maps at stride 4."""
    peer = importlib.import_module("segmentation.model.post_processing.instance_post_processing")
    found = {}
    for size in (NETWORK_SIZE, (1024, 2048)):
        output = street_output(size)
        semantic, _ = classify(output, size)
        theirs = partial(_group_their_way, peer, output, semantic)
        ours = partial(group, output, semantic, CITYSCAPES, PipelineConfig().grouping)
        found[f"{size[0]}x{size[1]}, 20 instances"] = in_turn({"ours": ours, "theirs": theirs}, repeats)
    return found


def _group_their_way(peer: Any, output: NetworkOutput, semantic: torch.Tensor) -> Any:
    assert output.center_heatmap is not None and output.offsets_px is not None
    size, things = semantic.shape, [int(place) for place in np.flatnonzero(CITYSCAPES.is_thing)]
    maps = [
        functional.interpolate(part, semantic.shape, mode="bilinear", align_corners=True)  # as theirs
        for part in (output.center_heatmap, output.offsets_px)
    ]
    stuff_area = 2048 * size[0] * size[1] // (1024 * 2048)
    return peer.get_panoptic_segmentation(
        semantic[None], *maps, things, 1000, stuff_area, 255000, threshold=0.2, nms_kernel=7, top_k=200
    )


def against_create_cloud(repeats: int) -> Rows:
    """Compare with create_cloud of sensor_msgs_py: structured points into a message."""
    from std_msgs.msg import Header  # noqa: PLC0415 (only where there is ROS)

    from monodvps_ros.ros.topics.conversions import cloud_message  # noqa: PLC0415

    peer = importlib.import_module("sensor_msgs_py.point_cloud2")
    found = {}
    for height, width in ((188, 621), (540, 960), (1080, 1920)):
        points = np.zeros((height, width), POINT_DTYPE)
        last = cloud_message(points, Header())
        theirs = partial(peer.create_cloud, Header(), last.fields, points.reshape(-1))
        ours = partial(cloud_message, points, Header(), last)
        found[f"{height * width} points"] = in_turn({"ours": ours, "theirs": theirs}, repeats)
    return found


def against_resizing(repeats: int) -> Rows:
    """Compare the resize of images with those of torchvision and OpenCV."""
    vision = importlib.import_module("torchvision.transforms.v2.functional")

    found = {}
    to = NETWORK_SIZE[::-1]
    for height, width in (CAMERA_SIZE, (1080, 1920)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]
        calls: Calls = {
            "ours": partial(resize_image, planes, NETWORK_SIZE),
            "torchvision, antialias": partial(vision.resize, planes, list(NETWORK_SIZE), antialias=True),
            "cv2 INTER_AREA": partial(cv2.resize, image, to, interpolation=cv2.INTER_AREA),
            "cv2 INTER_AREA of floats": partial(_resize_floats, image),
            "cv2 INTER_LINEAR, aliased": partial(cv2.resize, image, to, interpolation=cv2.INTER_LINEAR),
        }
        found[f"{height}x{width} to 192x640"] = in_turn(calls, repeats)
    return found


def _resize_floats(image: NDArray[np.uint8]) -> Any:
    scaled = image.astype(np.float32) / 255.0
    return cv2.resize(scaled, NETWORK_SIZE[::-1], interpolation=cv2.INTER_AREA)


def against_naive_tracker(repeats: int) -> Rows:
    """Compare the tracker with masks that are warped one by one and compared pair by pair."""
    stage = next(stage for stage in stages(make_frame(CAMERA_SIZE, NETWORK_SIZE), "random") if stage.name == "tracker")
    return {"20 objects, 192x640": in_turn({"ours": stage.ours, stage.usual_name: stage.usual}, repeats)}


def against_evaluation(repeats: int) -> Rows:
    """Compare with the evaluation of ViP-DeepLab: six frames of 1024 x 2048, windows of 1 to 4, four thresholds.

    Theirs is video panoptic quality from maps to which the thresholds were applied beforehand; ours is that and all
    other metrics.
    """
    peer = _script("eval_dvpq")
    frames = [evaluation_frame(number) for number in range(6)]
    truths, predictions = (
        [np.where(frame[place] == 65535, 32000, frame[place]).astype(np.uint32) for frame in frames] for place in (0, 1)
    )

    def theirs() -> None:
        for _ in (0.0, 0.5, 0.25, 0.1):
            for window in range(1, 5):
                for first in range(7 - window):
                    part = slice(first, first + window)
                    peer.vpq_eval([predictions[part], truths[part]])

    def ours() -> None:
        evaluator = Evaluator(MetricSettings(CITYSCAPES, single_classes(CITYSCAPES)))
        for maps in frames:
            evaluator.update(maps[0], maps[1], maps[2], {"none": maps[3]})
        evaluator.end_sequence()
        evaluator.result()

    return {"six frames of 1024x2048": in_turn({"ours, every metric": ours, "theirs, VPQ": theirs}, min(3, repeats))}


def _script(name: str) -> Any:
    """Import a script that reads the command line where it is imported."""
    given, sys.argv = sys.argv, sys.argv[:1]
    try:
        return importlib.import_module(name)
    finally:
        sys.argv = given


def evaluation_frame(number: int) -> tuple[NDArray[Any], ...]:
    """Make the truth of 60 rectangles that drift, a prediction of it, and both depths."""
    size, generator = (1024, 2048), np.random.default_rng(1)
    truth = np.zeros(size, np.uint16)
    truth[: size[0] // 3] = 10000
    truth[-80:] = 65535
    prediction = np.where(truth == 65535, 0, truth)
    for instance in range(1, 61):
        class_id = int(generator.integers(11, 19))
        top, left = int(generator.integers(0, size[0] - 200)), int(generator.integers(0, size[1] - 400)) + 3 * number
        height, width = int(generator.integers(20, 200)), int(generator.integers(20, 300))
        truth[top : top + height, left : left + width] = class_id * 1000 + instance
        prediction[top + 4 : top + height + 2, left + 3 : left + width + 5] = class_id * 1000 + instance
    depth = np.broadcast_to(np.linspace(80, 4, size[0])[:, None], size).astype(np.float32)
    noise = np.random.default_rng(number).normal(1.0, 0.15, size).astype(np.float32)
    return truth, prediction, depth, depth * noise


#: What is compared, with the module that must be there.
COMPARISONS: Mapping[str, tuple[str, Callable[[int], Rows]]] = {
    "grouping, bowenc0221/panoptic-deeplab": ("segmentation.model.post_processing", against_grouping),
    "cloud message, sensor_msgs_py": ("sensor_msgs_py", against_create_cloud),
    "resize of images": ("torchvision", against_resizing),
    "tracker": ("cv2", against_naive_tracker),
    "evaluation, ViP-DeepLab": ("eval_dvpq", against_evaluation),
}


def is_there(module: str) -> bool:
    """Return whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package around it
        return False
