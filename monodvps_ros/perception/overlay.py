# SPDX-License-Identifier: Apache-2.0
"""The camera's image with what is perceived drawn on it: masks, outlines of instances, and a label for each."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.outputs import Segment

#: Share of the mask's colour: of stuff, and of instances.
STUFF_ALPHA, THING_ALPHA = 0.25, 0.45
FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Height of the text's capitals, as a share of the picture's, and in pixels at least and at most.
TEXT_SHARE, TEXT_LEAST_PX, TEXT_MOST_PX = 0.024, 9, 24
#: Instances smaller than this, in squares of the text's height, have no label: it would hide them and their neighbours.
LEAST_LABELLED_AREA = 1.5
_DARK, _WHITE = (25, 25, 25), (255, 255, 255)
_BASE_HEIGHT_PX = 22  # of the font's capitals at scale 1


def draw_overlay(
    image: NDArray[np.uint8],
    codes: NDArray[np.integer],
    colors: NDArray[np.uint8],
    is_thing: NDArray[np.bool_],
    segments: tuple[Segment, ...],
) -> NDArray[np.uint8]:
    """Draw a code map and labels on an image.

    Args:
        image: (H, W, 3) uint8.
        codes: (H, W) integer, 0 for void.
        colors: (S, 3) uint8 by code.
        is_thing: (S,) bool by code, true for instances.
        segments: of this map; things get a label, the nearest first. A label that finds no free place is left out.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    masks = _paint(codes, np.where(is_thing[:, None], _vivid(colors), colors))
    picture = np.asarray(cv2.addWeighted(image, 1.0 - STUFF_ALPHA, masks, STUFF_ALPHA, 0.0), np.uint8)
    things = is_thing[codes]
    cv2.copyTo(cv2.addWeighted(image, 1.0 - THING_ALPHA, masks, THING_ALPHA, 0.0), things.view(np.uint8), picture)
    cv2.copyTo(image, (codes == 0).view(np.uint8), picture)
    picture[_outlines(codes, things)] = _WHITE
    text_px = min(max(round(TEXT_SHARE * len(image)), TEXT_LEAST_PX), TEXT_MOST_PX)
    _write_labels(picture, segments, text_px)
    return picture


def _vivid(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours (S, 3) of the same hue, as bright as they can be: the dark blue of cars would black an image out."""
    brightest = np.maximum(colors.max(1, keepdims=True), 1)
    return np.asarray(colors * (255.0 / brightest), np.uint8)


def _paint(codes: NDArray[np.integer], colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Look colours up, (H, W, 3) uint8; by words of four bytes, which is several times as fast as by three."""
    words = np.ascontiguousarray(np.pad(colors, ((0, 0), (0, 1)))).view(np.uint32)[:, 0]
    return np.asarray(cv2.cvtColor(words.take(codes).view(np.uint8).reshape(*codes.shape, 4), cv2.COLOR_RGBA2RGB))


def _outlines(codes: NDArray[np.integer], things: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of instances beside another segment, (H, W) bool: the outermost of an instance's own."""
    edge = np.zeros(codes.shape, np.bool_)
    across, down = codes[:, :-1] != codes[:, 1:], codes[:-1] != codes[1:]
    edge[:, :-1] |= across
    edge[:, 1:] |= across
    edge[:-1] |= down
    edge[1:] |= down
    return edge & things


def _write_labels(picture: NDArray[np.uint8], segments: tuple[Segment, ...], text_px: int) -> None:
    height, width = picture.shape[:2]
    scale, thickness = text_px / _BASE_HEIGHT_PX, 1 + text_px // 16
    taken = np.zeros((height, width), np.bool_)
    shown = [s for s in segments if s.is_thing and s.area_px >= LEAST_LABELLED_AREA * text_px**2]
    for segment in sorted(shown, key=lambda s: (math.isnan(s.median_depth_m), s.median_depth_m)):
        text = segment.caption
        (text_width, _), below = cv2.getTextSize(text, FONT, scale, thickness)
        box_width, box_height = text_width + 4, text_px + below + 3
        x_min, y_min, x_max, y_max = segment.box_px
        left = min(max((x_min + x_max + 1 - box_width) // 2, 0), max(width - box_width, 0))
        for top in (y_min - box_height, y_min + 1, y_max + 1):  # above, at the upper edge, below
            place = np.s_[max(top, 0) : top + box_height, left : left + box_width]
            if top < 0 or top + box_height > height or taken[place].any():
                continue
            taken[place] = True
            picture[place] = picture[place] // 3
            cv2.putText(picture, text, (left + 2, top + text_px + 1), FONT, scale, _WHITE, thickness, cv2.LINE_AA)
            break
