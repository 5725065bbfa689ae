# SPDX-License-Identifier: Apache-2.0
"""A strip of frames: input, depth, panoptic rendering and the cloud from above, with times, units and a depth scale."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monodvps_ros.evaluation.pictures import (
    DEPTH_TICKS_M,
    FARTHEST_M,
    NEAREST_M,
    NO_DEPTH_COLOR,
    Panels,
    birds_eye,
    color_depth,
    depth_palette,
    fit_width,
    tagged_color,
)
from monodvps_ros.files import written_whole
from monodvps_ros.labels import LabelSpace

FRAME_WIDTH_PX = 480
BIRDS_EYE_SHAPE = 0.65  # height by width
DOTS_PER_INCH = 100
MARGIN_LEFT_PX, MARGIN_RIGHT_PX, MARGIN_TOP_PX, MARGIN_BOTTOM_PX, GAP_PX = 110, 90, 64, 16, 8
_TITLE_CHARACTER_PX = 10  # the widest characters of the title are not wider


def draw_filmstrip(path: Path, frames: list[Panels], labels: LabelSpace, title: str) -> None:
    """Draw a filmstrip with a title above and write it as PNG.

    There is one column for each of the frames, at least one; a row that no frame has anything for is left out.
    """
    rows = _rows(frames, labels)
    width_px = MARGIN_LEFT_PX + len(frames) * (FRAME_WIDTH_PX + GAP_PX) + MARGIN_RIGHT_PX
    height_px = MARGIN_TOP_PX + sum(len(next(p for p in row if p is not None)) + GAP_PX for _, row in rows)
    height_px += MARGIN_BOTTOM_PX
    figure = Figure(figsize=(width_px / DOTS_PER_INCH, height_px / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(title, (width_px - MARGIN_LEFT_PX) // _TITLE_CHARACTER_PX, max_lines=2, placeholder=" …")
    figure.text(
        MARGIN_LEFT_PX / width_px, 1 - 8 / height_px, "\n".join(lines), va="top", fontsize=11, weight="bold",
        parse_math=False,
    )  # fmt: skip
    top_px = MARGIN_TOP_PX
    for name, row in rows:
        row_px = len(next(p for p in row if p is not None))
        for index, picture in enumerate(row):
            left_px = MARGIN_LEFT_PX + index * (FRAME_WIDTH_PX + GAP_PX)
            axes = _axes(figure, (left_px, top_px, FRAME_WIDTH_PX, row_px))
            axes.set_axis_off()
            if picture is None:
                axes.text(0.5, 0.5, "not in the recording", ha="center", va="center", transform=axes.transAxes)
            else:
                axes.imshow(picture, interpolation="none", aspect="auto")
            if row is rows[0][1]:
                seconds = (frames[index].stamp_ns - frames[0].stamp_ns) * 1e-9
                axes.set_title(f"t = {seconds:.1f} s", fontsize=10, pad=4)
        figure.text(
            (MARGIN_LEFT_PX - 10) / width_px, 1 - (top_px + row_px / 2) / height_px, name, ha="right", va="center",
            fontsize=10, linespacing=1.4,
        )  # fmt: skip
        if name.startswith("depth"):
            right_px = MARGIN_LEFT_PX + len(frames) * (FRAME_WIDTH_PX + GAP_PX) + 6
            _depth_scale(_axes(figure, (right_px, top_px, 16, row_px)))
        top_px += row_px + GAP_PX
    with written_whole(path, suffix=path.suffix) as partial:
        figure.savefig(partial, dpi=DOTS_PER_INCH)


def _rows(frames: list[Panels], labels: LabelSpace) -> list[tuple[str, list[np.ndarray | None]]]:
    width = FRAME_WIDTH_PX
    above = (int(BIRDS_EYE_SHAPE * width), width)
    rows: list[tuple[str, list[np.ndarray | None]]] = [
        ("camera", [fit_width(f.image, width) for f in frames]),
        ("depth\nmetres", [None if f.depth_m is None else fit_width(color_depth(f.depth_m), width) for f in frames]),
        ("panoptic\nclass and\ntrack id", [tagged_color(f, width) for f in frames]),
        ("cloud from\nabove", [None if f.cloud is None else birds_eye(f.cloud, labels, above) for f in frames]),
    ]
    return [(name, row) for name, row in rows if any(picture is not None for picture in row)]


def _axes(figure: Figure, box_px: tuple[float, float, float, float]) -> Axes:
    """Place axes by left, top, width and height in pixels from the figure's upper left corner."""
    left, top, width, height = box_px
    whole_width, whole_height = figure.get_size_inches() * DOTS_PER_INCH
    return figure.add_axes(
        (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    )


def _depth_scale(axes: Axes) -> None:
    axes.imshow(depth_palette()[:, None], aspect="auto", extent=(0, 1, 1, 0), interpolation="none")
    places = np.log(np.array(DEPTH_TICKS_M) / NEAREST_M) / np.log(FARTHEST_M / NEAREST_M)
    axes.set_yticks(places, [f"{tick} m" for tick in DEPTH_TICKS_M], fontsize=8)
    axes.yaxis.tick_right()
    axes.set_xticks([])
    axes.set_xlabel("grey: none", fontsize=8, color=np.array(NO_DEPTH_COLOR) / 255.0, loc="left")
