# SPDX-License-Identifier: Apache-2.0
"""Finds the camera, its camera_info and the truth among the topics of a recording."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from monodvps_ros.data.bag import BagReader
from monodvps_ros.data.image_codec import PICTURE_ENCODINGS, compressed_problem
from monodvps_ros.errors import DataError, shortened, shown
from monodvps_ros.outputs import CAMERA_INFO_TYPE, COMPRESSED_TYPE, IMAGE_TYPE, OUTPUT_TOPICS

#: Topics that a message lists.
_LISTED = 50
#: Images of a topic that are looked at for their encoding.
_LOOKED_AT = 3
TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_TOPIC, TF_STATIC_TOPIC = "/tf", "/tf_static"

#: Truth of a camera whose images are on <camera>/image_raw: name in `FrameTruth` -> topic below <camera>.
TRUTH_TOPICS = {
    "panoptic": "truth/panoptic",
    "depth_m": "truth/depth",
    "flow_px": "truth/flow",
    "flow_visible": "truth/flow_visible",
}
#: Pictures that this package's node makes; a recording of it is not ambiguous for their sake.
_OWN_PICTURES = tuple(
    f"/{row.topic}" for row in OUTPUT_TOPICS if row.encoding in PICTURE_ENCODINGS or row.type_name == COMPRESSED_TYPE
)


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """The topics of one camera in a recording.

    Attributes:
        image: of its images.
        compressed: whether these are CompressedImage.
        camera_info: beside it; None where there is none.
        truth: topics by name in `FrameTruth`, those that there are.
        has_tf: whether there is a /tf.
    """

    image: str
    compressed: bool
    camera_info: str | None
    truth: dict[str, str] = field(default_factory=dict)
    has_tf: bool = False


def find_camera(reader: BagReader, image_topic: str | None, camera_info_topic: str | None) -> CameraTopics:
    """Choose the topics of one camera.

    Args:
        reader: the recording.
        image_topic: of the images; None finds it where there is only one. Truth, depth and label images, the pictures
            that this package's node publishes, and ``<topic>/compressed`` beside ``<topic>`` do not count; those of
            8UC1, which may be labels, only where there are no others.
        camera_info_topic: of the camera_info; None takes ``camera_info`` beside the images.

    Raises:
        DataError: the topic is missing or of another type, or there is none or more than one to choose from.
    """
    topics = _types(reader)
    if image_topic is None:
        image_topic = _find_images(reader, topics)
    require_topic(reader, image_topic, IMAGE_TYPE, COMPRESSED_TYPE)
    camera = camera_namespace(image_topic)
    if camera_info_topic is None and topics.get(f"{camera}/camera_info") == CAMERA_INFO_TYPE:
        camera_info_topic = f"{camera}/camera_info"
    elif camera_info_topic is not None:
        require_topic(reader, camera_info_topic, CAMERA_INFO_TYPE)
    truth = {name: f"{camera}/{topic}" for name, topic in TRUTH_TOPICS.items()}
    return CameraTopics(
        image=image_topic,
        compressed=topics[image_topic] == COMPRESSED_TYPE,
        camera_info=camera_info_topic,
        truth={name: topic for name, topic in truth.items() if topics.get(topic) == IMAGE_TYPE},
        has_tf=topics.get(TF_TOPIC) == TF_TYPE,
    )


def require_topic(reader: BagReader, name: str, *types: str) -> None:
    """Check that a recording holds messages of a topic, of one of some types.

    Raises:
        DataError: it does not; the message lists its topics.
    """
    topics = _types(reader)
    if topics.get(name) not in types:
        raise DataError(_no_topic(reader, name, topics, types))


def only_topic(reader: BagReader, type_name: str, what: str) -> str:
    """Return the one topic of a type.

    Args:
        reader: the recording.
        type_name: of its messages.
        what: they are, for the error message.

    Raises:
        DataError: there is none, or more than one to choose from.
    """
    topics = _types(reader)
    found = sorted(name for name, kind in topics.items() if kind == type_name)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{reader.path}: contains several topics of {what}; choose one of: {_joined(map(shortened, found))}"
        )
    raise DataError(f"{reader.path}: contains no {what} ({type_name}); its topics: {_listed(reader, topics)}")


def camera_namespace(image_topic: str) -> str:
    """Return the namespace of a camera by the topic of its images: what stands before the last slash."""
    return image_topic.removesuffix("/compressed").rpartition("/")[0]


def _types(reader: BagReader) -> dict[str, str]:
    return {name: topic.type_name for name, topic in reader.topics.items() if topic.count}


def _find_images(reader: BagReader, topics: dict[str, str]) -> str:
    candidates = {
        name
        for name, type_name in topics.items()
        if type_name in {IMAGE_TYPE, COMPRESSED_TYPE} and "/truth/" not in name and not name.endswith(_OWN_PICTURES)
    }
    first = {name: _first_picture(reader, name) for name in sorted(candidates)}
    problems = {name: _problem(message) for name, message in first.items()}
    pictures = {name for name, problem in problems.items() if not problem}
    pictures = {name for name in pictures if not _is_8uc1(first[name])} or pictures
    pictures = {name for name in pictures if name.removesuffix("/compressed") not in pictures - {name}}
    if len(pictures) == 1:
        return pictures.pop()
    if not pictures:
        refused = _joined((f"{shortened(name)}: {problem}" for name, problem in problems.items()), "; ")
        raise DataError(
            f"{reader.path}: contains no camera images ({IMAGE_TYPE} or {COMPRESSED_TYPE} of a picture encoding)"
            f"{refused and f'; {refused}'}; its topics: {_listed(reader, topics)}"
        )
    raise DataError(
        f"{reader.path}: contains several image topics; choose one of: {_joined(map(shortened, sorted(pictures)))}"
    )


def _first_picture(reader: BagReader, topic: str) -> tuple[str, str, int, Any] | None:
    """Return the first of a topic's first messages that is a picture; where none is, the first that can be read."""
    try:
        first = list(islice(reader.messages([topic]), _LOOKED_AT))
    except DataError:
        return None
    return next((message for message in first if not _problem(message)), first[0] if first else None)


def _problem(first: tuple[str, str, int, Any] | None) -> str:
    """Say why a topic's images are no pictures, by one of them; empty where they are."""
    if first is None:
        return "no message can be read"
    _, type_name, _, message = first
    if type_name == COMPRESSED_TYPE:
        return compressed_problem(message.data, message.format)
    if message.encoding in PICTURE_ENCODINGS:
        return ""
    return f"encoding {shown(message.encoding)} is not one of {', '.join(PICTURE_ENCODINGS)}"


def _is_8uc1(first: tuple[str, str, int, Any] | None) -> bool:
    return first is not None and getattr(first[3], "encoding", "") == "8UC1"


def _no_topic(reader: BagReader, name: str, topics: dict[str, str], types: tuple[str, ...]) -> str:
    found = f"is of type {shortened(topics[name])}" if name in topics else "is missing, or contains no message"
    expected = f"expected {' or '.join(types)}; its topics: {_listed(reader, topics)}"
    return f"{reader.path}: topic {shortened(name)} {found}; {expected}"


def _listed(reader: BagReader, topics: dict[str, str]) -> str:
    foreign = {name: f"{encoding}, not of ROS 2" for name, encoding in reader.foreign.items()}
    found = sorted({**foreign, **topics}.items())
    return _joined(f"{shortened(name)} ({shortened(type_name)})" for name, type_name in found) or "none"


def _joined(texts: Iterable[str], by: str = ", ") -> str:
    listed = list(texts)
    more = [f"and {len(listed) - _LISTED} more"] if len(listed) > _LISTED else []
    return by.join([*listed[:_LISTED], *more])
