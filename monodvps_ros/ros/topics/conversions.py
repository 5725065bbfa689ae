# SPDX-License-Identifier: Apache-2.0
"""ROS messages to the package's types and back, with at most one copy of the pixels each way.

An incoming rgb8 image is not copied at all: the array is a view of the message's data.
Outgoing pixels are copied once, into the `array.array` of the message: assigning to ``data``, or passing it to the
constructor, copies them again or checks every single byte, depending on the version of ROS. The message of the previous
frame may be reused: allocating a large one costs several times as much as the copy.

cv_bridge and sensor_msgs_py give the same results (see the contract test) but copy more; figures in docs/node.md.
"""

import importlib
from array import array
from functools import cache
from typing import Any, TypeVar

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from monodvps_ros.data.image_codec import decode_compressed, decode_image
from monodvps_ros.data.image_size import MAX_PIXELS
from monodvps_ros.data.message_fields import (
    Fields,
    cloud_fields,
    image_fields,
    ns_to_time,
    time_to_ns,
)
from monodvps_ros.geometry.calibration import Calibration

M = TypeVar("M")


def stamp_to_ns(stamp: Time) -> int:
    """Return a message's time in nanoseconds."""
    return time_to_ns(stamp)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Return nanoseconds as a message's time; before 1970 too, where nanosec still counts forward."""
    sec, nanosec = ns_to_time(stamp_ns)
    return Time(sec=sec, nanosec=nanosec)


def image_array(message: Image) -> NDArray[np.uint8]:
    """Decode an Image.

    Returns:
        (H, W, 3) uint8, red, green, blue; a view of the message's data where it is rgb8.

    Raises:
        EncodingError: the encoding is not supported, or size, step and data do not agree.
    """
    return decode_image(
        np.frombuffer(message.data, np.uint8),
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def compressed_image_array(message: CompressedImage, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a CompressedImage (JPEG, PNG) of at most `max_pixels` pixels.

    Returns:
        (H, W, 3) uint8, red, green, blue.

    Raises:
        EncodingError: the data cannot be decoded, the format is not an image's, or the image is larger.
    """
    return decode_compressed(np.frombuffer(message.data, np.uint8), message.format, max_pixels)


def image_message(pixels: NDArray[Any], encoding: str, header: Header, reuse: Image | None = None) -> Image:
    """Make an Image of an array as `encode_image` takes it; header and `reuse` as `make_message` takes them."""
    return make_message(Image, image_fields(pixels, encoding), header, reuse)


def cloud_message(points: NDArray[Any], header: Header, reuse: PointCloud2 | None = None) -> PointCloud2:
    """Make a PointCloud2 of points as `cloud_fields` takes them; header and `reuse` as `make_message` takes them."""
    return make_message(PointCloud2, cloud_fields(points), header, reuse)


def camera_info_message(calibration: Calibration, header: Header) -> CameraInfo:
    """Make a CameraInfo; the header as `make_message` takes it."""
    return make_message(CameraInfo, calibration.fields(), header)


def message_class(type_name: str) -> type:
    """Return the class of a type such as ``sensor_msgs/msg/Image``.

    Raises:
        ImportError: its package is not installed, or has no such message.
    """
    package, _, name = type_name.partition("/msg/")
    module = importlib.import_module(f"{package}.msg")
    if not hasattr(module, name):
        raise ImportError(f"{package} has no message {name}")
    found: type = getattr(module, name)
    return found


def make_message(kind: type[M], fields: Fields, header: Header | None = None, reuse: M | None = None) -> M:
    """Make a message.

    Args:
        kind: its class.
        fields: all but its header, as `data.message_fields` packs them; or with a header of their own.
        header: taken as it is, not copied; left out where the type has none, or the fields have one.
        reuse: a message to overwrite.
    """
    message = kind() if reuse is None else reuse
    if header is not None and "header" not in fields and hasattr(message, "header"):
        message.header = header
    _set_fields(message, fields)
    return message


def _set_fields(message: Any, fields: Fields) -> Any:
    for name, value in fields.items():
        if isinstance(value, dict):
            _set_fields(getattr(message, name), value)
        elif isinstance(value, list):
            message_type: Any = type(message)
            element = _element_class(message_type, name) if value else None
            setattr(message, name, [_set_fields(element(), item) for item in value] if element else [])
        elif isinstance(value, np.ndarray) and isinstance(getattr(message, name), array):
            _fill(getattr(message, name), value)
        else:
            setattr(message, name, value)
    return message


@cache
def _element_class(kind: Any, name: str) -> type:
    """Class of the elements of a field: sequence<geometry_msgs/Point> gives Point."""
    package, _, element = kind.get_fields_and_field_types()[name].partition("<")[2].rstrip(">").partition("/")
    return message_class(f"{package}/msg/{element}")


def _fill(data: "array[Any]", values: NDArray[Any]) -> None:
    """Put an array's values into a message's field; copied twice only where its rows do not follow each other."""
    content = np.ascontiguousarray(values, data.typecode).reshape(-1)
    if len(data) == content.size:
        np.frombuffer(data, content.dtype)[:] = content
    else:
        del data[:]
        data.frombytes(content.view(np.uint8))  # type: ignore[arg-type]  # any buffer will do
