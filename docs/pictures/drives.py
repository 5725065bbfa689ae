# SPDX-License-Identifier: Apache-2.0
"""Draws drives.jpg, the picture in docs/drives.md: the middle frame of the first drives of each split.

Run as ``python docs/pictures/drives.py``.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from monodvps_ros.scenes import Drive
from monodvps_ros.scenes.drives import SPLITS, SplitDrive, split

COLUMNS, MOST = 6, 24
CELL_PX = (232, 70)
CAPTION_PX = 15
HEADING_PX = 22
GAP_PX = 4
INK, PAPER = (30, 30, 30), (255, 255, 255)


def cell(drive: SplitDrive) -> Image.Image:
    """Draw one drive: a frame over its seed, weather and camera."""
    config = drive.config
    picture = Image.new("RGB", (CELL_PX[0], CELL_PX[1] + CAPTION_PX), PAPER)
    frame = Drive(config, drive.seed)[config.frames // 2].frame.image
    picture.paste(Image.fromarray(frame).resize(CELL_PX, Image.Resampling.LANCZOS), (0, 0))
    caption = (
        f"{drive.seed} {config.weather}, {config.camera_height_m:.2f} m, {config.camera_pitch_deg:+.1f}°, "
        f"f {config.focal_px / config.width:.2f}"
    )
    ImageDraw.Draw(picture).text((1, CELL_PX[1] + 1), caption, INK, ImageFont.load_default(11))
    return picture


def heading(name: str) -> str:
    """Say what a split is."""
    drives = split(name)
    text = f"{name}: {len(drives)} drives of {drives[0].config.frames} frames"
    text += f", {MOST} of them" if len(drives) > MOST else ""
    labelled = sum(drive.labelled for drive in drives)
    return text if labelled == len(drives) else f"{text}, the first {labelled} with labels"


def main() -> None:
    """Write the picture beside this file."""
    step = CELL_PX[0] + GAP_PX, CELL_PX[1] + CAPTION_PX + GAP_PX
    rows = {name: -(-len(split(name)[:MOST]) // COLUMNS) for name in SPLITS}
    height = sum(HEADING_PX + count * step[1] for count in rows.values())
    sheet = Image.new("RGB", (COLUMNS * step[0] - GAP_PX, height), PAPER)
    top = 0
    for name, count in rows.items():
        ImageDraw.Draw(sheet).text((1, top + 4), heading(name), INK, ImageFont.load_default(14))
        for place, drive in enumerate(split(name)[:MOST]):
            row, column = divmod(place, COLUMNS)
            sheet.paste(cell(drive), (column * step[0], top + HEADING_PX + row * step[1]))
        top += HEADING_PX + count * step[1]
    sheet.save(Path(__file__).with_suffix(".jpg"), quality=80, optimize=True)


if __name__ == "__main__":
    main()
