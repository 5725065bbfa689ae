# SPDX-License-Identifier: Apache-2.0
"""Draws synthetic_drive.png, the picture in README.md: what the node publishes, here with the drive's exact truth.

Run as ``python docs/pictures/synthetic_drive.py``.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from monodvps_ros.cli.filmstrip import draw_filmstrip
from monodvps_ros.cli.pictures import Panels
from monodvps_ros.config import SceneConfig
from monodvps_ros.labels import CITYSCAPES, decode_panoptic
from monodvps_ros.perception.rendering import draw_panoptic, instance_colors
from monodvps_ros.scenes import Drive
from monodvps_ros.types import POINT_DTYPE, Sample

SEED = 1
FRAMES = (10, 30, 50)
SMALLEST_TAGGED_PX = 120


def panels_of(sample: Sample) -> Panels:
    """Draw from a frame's truth what the demo draws from the node's messages."""
    truth, k = sample.truth, sample.frame.intrinsics
    assert truth.panoptic is not None and truth.depth_m is not None and k is not None
    ids, codes = np.unique(truth.panoptic, return_inverse=True)
    classes, instances = (part.astype(np.int64) for part in decode_panoptic(ids))
    codes = codes.reshape(truth.panoptic.shape)
    color = draw_panoptic(torch.from_numpy(codes), torch.from_numpy(instance_colors(classes, instances, CITYSCAPES)))
    tags = []
    areas = np.bincount(codes.ravel())
    for code in sorted(np.flatnonzero(instances), key=lambda code: -areas[code]):
        row, column = np.nonzero(codes == code)
        if areas[code] >= SMALLEST_TAGGED_PX:
            tags.append((f"{CITYSCAPES.names[classes[code]]} {instances[code]}", int(column.mean()), int(row.mean())))
    v, u = np.indices(truth.depth_m.shape)
    cloud = np.zeros(truth.depth_m.shape, POINT_DTYPE)
    cloud["x"] = (u - k[0, 2]) / k[0, 0] * truth.depth_m
    cloud["y"] = (v - k[1, 2]) / k[1, 1] * truth.depth_m
    cloud["z"], cloud["label"] = truth.depth_m, classes[codes]
    return Panels(sample.frame.stamp_ns, sample.frame.image, truth.depth_m, color.numpy(), tags, cloud)


def main() -> None:
    """Write the picture beside this file, with few enough colours to be small."""
    drive = Drive(SceneConfig(frames=max(FRAMES) + 1), SEED)
    frames = [panels_of(sample) for sample in drive if sample.index in FRAMES]
    path = Path(__file__).with_suffix(".png")
    draw_filmstrip(
        path, frames, CITYSCAPES, "A synthetic drive and its exact truth, drawn as the demo draws the outputs"
    )
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
