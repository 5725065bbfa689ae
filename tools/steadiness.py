# SPDX-License-Identifier: Apache-2.0
"""Measures on a video without ground truth how steady depth and ids are, and draws a filmstrip.

    python tools/steadiness.py --data RECORDING [--weights street] [--frames N] [--pictures FOLDER]

Prints one line of JSON: flicker is the median over the drive of the median over static pixels of |log(depth / depth
expected from the previous frame and the camera's motion)|; ids_per_standing_instance is 1 if every parked car kept its
id. The other figures are described in monodvps_ros/evaluation/steadiness.py.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from monodvps_ros.config import PipelineConfig, ScaleConfig
from monodvps_ros.data import open_source
from monodvps_ros.evaluation.pictures import Panels, video_frame
from monodvps_ros.evaluation.steadiness import Steadiness
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline, resolve_device
from monodvps_ros.perception.loading import load_model
from monodvps_ros.types import Sample

WANTED = frozenset({Output.DEPTH, Output.PANOPTIC, Output.SEGMENTS, Output.COLOR})


def measure(samples: list[Sample], pipeline: Pipeline, pictures: Path | None) -> dict[str, float | int | None]:
    """Run the pipeline over a sequence and measure; write a picture of every frame if a folder is given."""
    steadiness = Steadiness(pipeline.model.label_space)
    for sample in samples:
        perception = pipeline.step(sample.frame, WANTED)
        image = sample.frame.rectified().image
        steadiness.add(image, perception)
        if pictures is None:
            continue
        pictures.mkdir(parents=True, exist_ok=True)
        tags = [(str(segment.track_id), sum(segment.box_px[::2]) // 2, sum(segment.box_px[1::2]) // 2)
                for segment in perception.segments or () if segment.is_thing]  # fmt: skip
        panels = Panels(sample.frame.stamp_ns, image, perception.depth_m, perception.color, tags)
        picture = video_frame(panels, pipeline.model.label_space, with_cloud=False)
        cv2.imwrite(str(pictures / f"{sample.index:06d}.jpg"), np.ascontiguousarray(picture[..., ::-1]))
    return steadiness.result()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Recording, folder of images or video.")
    parser.add_argument("--weights", default="", help="Weights file or shipped name; default: the shipped weights.")
    parser.add_argument("--frames", type=int, help="Maximum number of frames.")
    parser.add_argument("--pictures", type=Path, help="Folder for a picture of every frame.")
    given = parser.parse_args()
    config = PipelineConfig(weights=given.weights, scale=ScaleConfig(unknown="publish"))
    pipeline = Pipeline(load_model(config, resolve_device("auto")), config)
    samples = list(islice(open_source(given.data), given.frames))
    print(json.dumps(measure(samples, pipeline, given.pictures)))


if __name__ == "__main__":
    main()
