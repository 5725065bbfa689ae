# SPDX-License-Identifier: Apache-2.0
"""Draws shipped_weights.jpg: where the weights that ship do best and worst on the test split of 'drives'.

Run as ``python docs/pictures/shipped_weights.py out/drives``, with the test split in that folder.
Of each drive's frames that are looked at, the one with the most pixels of the right class stands for the drive in the
upper half, the one with the fewest in the lower half.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monodvps_ros.config import PipelineConfig, replace
from monodvps_ros.data import open_source
from monodvps_ros.evaluation.pictures import color_depth, fit_width
from monodvps_ros.labels import CITYSCAPES, LABEL_DIVISOR, VOID_PANOPTIC_ID, decode_panoptic
from monodvps_ros.network import load_network
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.rendering import draw_panoptic, instance_colors

EVERY = 5
ROWS = 4
WIDTH_PX = 300
TITLES = ("camera", "found: class and track", "true", "found: depth, median scaled", "true")
CAPTION_PX = 16


def color_ids(panoptic: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Colour a panoptic map as the node does."""
    ids, codes = np.unique(panoptic, return_inverse=True)
    classes, instances = (part.astype(np.int64) for part in decode_panoptic(ids))
    colors = torch.from_numpy(instance_colors(classes, instances, CITYSCAPES))
    return draw_panoptic(torch.from_numpy(codes.reshape(panoptic.shape)), colors).numpy()


def looked_at(drive: Path, pipeline: Pipeline) -> list[tuple[float, str, NDArray[np.uint8]]]:
    """Return share of right classes, caption and picture of some frames of a drive."""
    pipeline.reset()
    found = []
    for sample in open_source(drive):
        seen, truth = pipeline.step(sample.frame, frozenset({Output.PANOPTIC, Output.DEPTH})), sample.truth
        if sample.index % EVERY or sample.index < EVERY:
            continue
        assert seen.panoptic is not None and seen.depth_m is not None
        assert truth is not None and truth.panoptic is not None and truth.depth_m is not None
        height, width = truth.panoptic.shape
        ids = cv2.resize(seen.panoptic, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint16)
        depth = cv2.resize(seen.depth_m, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.float32)
        told = truth.panoptic != VOID_PANOPTIC_ID
        share = float((ids // LABEL_DIVISOR == truth.panoptic // LABEL_DIVISOR)[told].mean())
        both = np.isfinite(depth) & np.isfinite(truth.depth_m) & (truth.depth_m < 80.0)
        depth *= np.float32(np.median(truth.depth_m[both]) / np.median(depth[both]))
        error = float((np.abs(depth - truth.depth_m)[both] / truth.depth_m[both]).mean())
        maps = (sample.frame.image, color_ids(ids), color_ids(truth.panoptic), color_depth(depth),
                color_depth(truth.depth_m))  # fmt: skip
        caption = f"{sample.sequence}, frame {sample.index}: {100 * share:.0f} % of classes right, absRel {error:.2f}"
        found.append((share, caption, np.hstack([fit_width(entry, WIDTH_PX) for entry in maps])))
    return found


def band(texts: dict[int, str], width: int) -> NDArray[np.uint8]:
    """Write texts, each from its column on."""
    picture = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    for column, text in texts.items():
        cv2.putText(picture, text, (column + 3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def main() -> None:
    """Write the picture beside this file."""
    pipeline = Pipeline(load_network(""), replace(PipelineConfig(device="cpu"), "sky_depth", True))
    frames = [looked_at(drive, pipeline) for drive in sorted((Path(sys.argv[1]) / "test").iterdir())]
    best = sorted((max(drive, key=lambda frame: frame[0]) for drive in frames), key=lambda frame: -frame[0])[:ROWS]
    worst = sorted((min(drive, key=lambda frame: frame[0]) for drive in frames), key=lambda frame: frame[0])[:ROWS]
    width = WIDTH_PX * len(TITLES)
    parts = [band({WIDTH_PX * place: title for place, title in enumerate(TITLES)}, width)]
    for _, caption, picture in (*best, *reversed(worst)):
        parts += [band({0: caption}, width), picture]
    Image.fromarray(np.vstack(parts)).save(Path(__file__).with_suffix(".jpg"), quality=85)


if __name__ == "__main__":
    main()
