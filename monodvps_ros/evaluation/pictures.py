# SPDX-License-Identifier: Apache-2.0
"""Pictures of what is perceived: depth in colour, labelled ids, the cloud from above, one panel of them all.

Images are (H, W, 3) uint8, red green blue. Points are in the optical frame: x right, y down, z forward, metres.
"""

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import LabelSpace

#: Depths drawn brightest and darkest; nearer and farther ones are drawn as these. Fixed, so that pictures compare.
NEAREST_M, FARTHEST_M = 2.0, 80.0
#: Depths that are marked on the colour bar.
DEPTH_TICKS_M = (2, 5, 10, 20, 40, 80)
NO_DEPTH_COLOR = (128, 128, 128)

BACKGROUND = (24, 26, 31)
GRID_COLOR = (58, 62, 70)
TEXT_COLOR = (230, 230, 230)
GRID_STEP_M = 10
STUFF_POINT_PX, THING_POINT_PX = 2, 4
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, eq=False)
class Panels:
    """What is drawn of one frame; None where the recording has nothing.

    Attributes:
        stamp_ns: stamp of the frame.
        image: the camera's image.
        depth_m: (H, W) float32 metres, NaN where there is none.
        color: rendering of the panoptic map.
        tags: (text, u, v) to be written on the rendering, u and v in pixels of it.
        cloud: points with fields x, y, z, label; any shape.
    """

    stamp_ns: int
    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None = None
    color: NDArray[np.uint8] | None = None
    tags: list[tuple[str, int, int]] = field(default_factory=list)
    cloud: NDArray[np.void] | None = None


@cache
def depth_palette() -> NDArray[np.uint8]:
    """Return the 256 colours of the depth scale, nearest first."""
    ramp = np.arange(255, -1, -1, dtype=np.uint8)[:, None]
    palette = cv2.applyColorMap(ramp, cv2.COLORMAP_MAGMA)[:, 0, ::-1].copy()
    palette.setflags(write=False)
    return palette


def color_depth(depth_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a depth map: bright near, dark far, by the logarithm of depth; grey where it is NaN, infinite or <= 0."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    clipped = np.clip(np.where(known, depth_m, FARTHEST_M), NEAREST_M, FARTHEST_M)
    share = np.log(clipped / NEAREST_M) / np.log(FARTHEST_M / NEAREST_M)
    picture = depth_palette()[np.rint(255 * share).astype(np.uint8)]
    picture[~known] = NO_DEPTH_COLOR
    return picture


def write_tags(picture: NDArray[np.uint8], tags: list[tuple[str, int, int]], scale: float = 0.4) -> NDArray[np.uint8]:
    """Write texts centred at (u, v) on a copy of a picture, white on a dark edge.

    The first come first: a text that would lie on one that is written already is left out.
    """
    picture = picture.copy()
    written = np.zeros(picture.shape[:2], np.bool_)
    for text, u, v in tags:
        (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
        left = int(np.clip(u - width // 2, 0, max(0, picture.shape[1] - width)))
        base = int(np.clip(v + height // 2, height, picture.shape[0] - 1))
        place = np.s_[base - height : base + 2, left : left + width]
        if not written[place].any():
            written[place] = True
            _write(picture, text, (left, base), scale)
    return picture


def birds_eye(
    cloud: NDArray[np.void],
    labels: LabelSpace,
    size: tuple[int, int],
    forward_m: float = 50.0,
) -> NDArray[np.uint8]:
    """Draw a cloud from above, the camera at the bottom in the middle, forward up, in the colours of the classes.

    What stands higher covers what lies below it. Lines are 10 m apart.

    Args:
        cloud: points with fields x, y, z (metres, NaN where missing) and label (class id).
        labels: gives the colours; a label outside it is drawn white.
        size: height and width of the picture in pixels.
        forward_m: distance that the picture's height stands for; its width stands for as much as its shape gives.
    """
    height, width = size
    px_per_m = height / forward_m
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    _draw_grid(picture, px_per_m)
    points = cloud.reshape(-1)
    x, z = points["x"], points["z"]
    with np.errstate(invalid="ignore"):
        column = np.floor(x * px_per_m + width / 2)
        row = np.floor(height - z * px_per_m)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & np.isfinite(points["y"])
    kept = np.flatnonzero(inside)
    kept = kept[np.argsort(-points["y"][kept], kind="stable")]  # y points down: the lowest first
    labelled = np.minimum(points["label"][kept], len(labels)).astype(int)
    places = np.stack([row[kept], column[kept]]).astype(int)
    for things in (False, True):
        chosen = np.append(labels.is_thing, False)[labelled] == things
        _draw_points(picture, places[:, chosen], labelled[chosen], labels, THING_POINT_PX if things else STUFF_POINT_PX)
    _draw_distances(picture, px_per_m)
    tip = (width // 2, height - 1)
    cv2.line(picture, tip, (tip[0] - 9, tip[1] - 15), TEXT_COLOR, 1, cv2.LINE_AA)
    cv2.line(picture, tip, (tip[0] + 9, tip[1] - 15), TEXT_COLOR, 1, cv2.LINE_AA)
    return picture


def _draw_points(
    picture: NDArray[np.uint8], places: NDArray[np.int64], label: NDArray[np.int64], labels: LabelSpace, size_px: int
) -> None:
    """Draw points, (2, N) rows and columns, as little squares in the colours of their classes."""
    palette = np.vstack([labels.colors, [[255, 255, 255]]])
    colors = (0.7 * palette + 0.3 * 255).astype(np.uint8)[label]  # lighter: the ground is dark here
    last = np.array([[picture.shape[0] - 1], [picture.shape[1] - 1]])
    for down in range(size_px):
        for right in range(size_px):
            rows, columns = np.minimum(places + np.array([[down], [right]]), last)
            picture[rows, columns] = colors  # of several points in one pixel numpy keeps the last, the highest


def _grid_rows(picture: NDArray[np.uint8], px_per_m: float) -> list[tuple[int, int]]:
    height = picture.shape[0]
    distances = range(GRID_STEP_M, int(height / px_per_m) + 1, GRID_STEP_M)
    return [(distance, round(height - distance * px_per_m)) for distance in distances]


def _draw_grid(picture: NDArray[np.uint8], px_per_m: float) -> None:
    height, width = picture.shape[:2]
    for _, row in _grid_rows(picture, px_per_m):
        cv2.line(picture, (0, row), (width, row), GRID_COLOR, 1)
    for aside in range(0, int(width / 2 / px_per_m) + 1, GRID_STEP_M):
        for column in (round(width / 2 - aside * px_per_m), round(width / 2 + aside * px_per_m)):
            cv2.line(picture, (column, 0), (column, height), GRID_COLOR, 1)


def _draw_distances(picture: NDArray[np.uint8], px_per_m: float) -> None:
    for distance, row in _grid_rows(picture, px_per_m):
        if row > 0:
            _write(picture, f"{distance} m", (4, row + 12), 0.38)


def _write(picture: NDArray[np.uint8], text: str, left_base: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, left_base, FONT, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, left_base, FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def fit_width(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Scale a picture to a width, keeping its shape."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    shrinks = width < picture.shape[1]
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return scaled.astype(np.uint8, copy=False)


def tagged_color(panels: Panels, width: int) -> NDArray[np.uint8] | None:
    """Scale the panoptic rendering to a width and write the tags on it; None where there is no rendering."""
    if panels.color is None:
        return None
    factor = width / panels.color.shape[1]
    tags = [(text, round(u * factor), round(v * factor)) for text, u, v in panels.tags]
    return write_tags(fit_width(panels.color, width), tags)


def video_frame(panels: Panels, labels: LabelSpace, with_cloud: bool, width: int = 640) -> NDArray[np.uint8]:
    """Put image, panoptic rendering and depth of one frame under each other, and the cloud from above beside them.

    Args:
        panels: the frame; what it lacks stays dark.
        labels: label space of the cloud.
        with_cloud: leave room for the cloud, whether or not this frame has one.
        width: of the image in pixels.

    Returns:
        Even height and width, the same for all frames of one camera.
    """
    image = fit_width(panels.image, width)
    color = tagged_color(panels, width)
    depth = None if panels.depth_m is None else fit_width(color_depth(panels.depth_m), width)
    captions = ("camera", "panoptic ids", f"depth, {NEAREST_M:.0f} m bright to {FARTHEST_M:.0f} m dark")
    height = image.shape[0]
    rows = []
    for picture, caption in zip((image, color, depth), captions, strict=True):
        row = np.full((height, width, 3), BACKGROUND, np.uint8)
        if picture is not None:
            row[: min(height, len(picture))] = picture[:height]
        rows.append(_captioned(row, caption))
    column = np.vstack(rows)
    if with_cloud:
        size = len(column), int(0.9 * len(column))
        none = np.full((*size, 3), BACKGROUND, np.uint8)
        above = none if panels.cloud is None else birds_eye(panels.cloud, labels, size)
        column = np.hstack([column, _captioned(above, "cloud from above, lines 10 m apart")])
    return column[: len(column) // 2 * 2, : column.shape[1] // 2 * 2]


def _captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    (width, height), _ = cv2.getTextSize(text, FONT, 0.45, 1)
    picture[: height + 10, : width + 12] //= 4
    cv2.putText(picture, text, (6, height + 5), FONT, 0.45, TEXT_COLOR, 1, cv2.LINE_AA)
    return picture
