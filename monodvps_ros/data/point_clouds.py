# SPDX-License-Identifier: Apache-2.0
"""Points out of a sensor_msgs/PointCloud2."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import EncodingError, counted

_KINDS = {7: "f4", 8: "f8"}  # of sensor_msgs/PointField


def cloud_points(message: Any) -> NDArray[np.float64]:
    """Read the places of a cloud's points.

    Args:
        message: a sensor_msgs/PointCloud2, organized or not, whose x, y and z are FLOAT32 or FLOAT64.

    Returns:
        (N, 3) float64 metres in the cloud's frame; points that are not finite are left out.

    Raises:
        EncodingError: there is no x, y or z of these types, or the data is shorter than the header says.
    """
    order = ">" if message.is_bigendian else "<"
    fields = {field.name: field for field in message.fields}
    wrong = [name for name in "xyz" if name not in fields or fields[name].datatype not in _KINDS]
    if wrong:
        there = ", ".join(f"{name} (datatype {field.datatype})" for name, field in fields.items()) or "none"
        raise EncodingError(f"the cloud has no {', '.join(wrong)} of FLOAT32 or FLOAT64; its fields: {there}")
    height, width, step = int(message.height), int(message.width), int(message.point_step)
    row_step = int(message.row_step) or width * step
    ends = [int(fields[name].offset) + np.dtype(_KINDS[fields[name].datatype]).itemsize for name in "xyz"]
    if step < max(ends) or row_step < width * step:
        raise EncodingError(
            f"the cloud has point_step {step} and row_step {row_step}; {width} points a row with x, y and z up to byte "
            f"{max(ends)} need more"
        )
    layout = np.dtype(
        {
            "names": list("xyz"),
            "formats": [order + _KINDS[fields[name].datatype] for name in "xyz"],
            "offsets": [int(fields[name].offset) for name in "xyz"],
            "itemsize": step,
        }
    )
    data = np.frombuffer(memoryview(message.data), np.uint8)
    if height * width and data.size < (height - 1) * row_step + width * step:
        raise EncodingError(
            f"the cloud has {counted(data.size, 'byte')}; {height} x {width} points of {step} bytes need more"
        )
    rows = [data[row * row_step : row * row_step + width * step].view(layout) for row in range(height)]
    points = np.concatenate([np.stack([row[name] for name in "xyz"], 1) for row in rows] or [np.zeros((0, 3))])
    points = points.astype(np.float64)
    return np.asarray(points[np.isfinite(points).all(1)])
