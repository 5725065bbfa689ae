# SPDX-License-Identifier: Apache-2.0
"""Writes frames as a video file: MP4 where OpenCV has the codec, else an animated GIF."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

GIF_WIDTH = 480  # GIF compresses badly


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], rate_hz: float) -> Path:
    """Write a video.

    Args:
        path: of the file, without suffix.
        frames: at least one; (H, W, 3) uint8, red green blue, all of one size, H and W even.
        rate_hz: frames per second.

    Returns:
        The file written: path + .mp4, or path + .gif where OpenCV cannot write MP4 here.
    """
    frames = iter(frames)
    first = next(frames)
    mp4 = path.with_suffix(".mp4")
    writer = cv2.VideoWriter(str(mp4), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, (first.shape[1], first.shape[0]))
    if not writer.isOpened():
        mp4.unlink(missing_ok=True)
        return _write_gif(path.with_suffix(".gif"), [first, *frames], rate_hz)
    try:
        writer.write(first[..., ::-1])
        for frame in frames:
            writer.write(frame[..., ::-1])
    finally:
        writer.release()
    return mp4


def _write_gif(path: Path, frames: list[NDArray[np.uint8]], rate_hz: float) -> Path:
    size = GIF_WIDTH, round(frames[0].shape[0] * GIF_WIDTH / frames[0].shape[1])
    images = [Image.fromarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / rate_hz), loop=0)
    return path
