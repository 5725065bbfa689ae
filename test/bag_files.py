# SPDX-License-Identifier: Apache-2.0
"""Recordings of one camera by this package's own writer, with pictures of noise."""

import numpy as np
from rosbags.typesys import Stores, get_typestore

from monodvps_ros.data.bag import BagWriter, messages

STORE = get_typestore(Stores.ROS2_KILTED)
IMAGE = "/camera/image_raw"
K = np.array([[50.0, 0, 15.5], [0, 60.0, 9.5], [0, 0, 1]])
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def message(kind, stamp, fields):
    return messages.message(STORE, kind, {"header": messages.header_fields(stamp, "cam"), **fields})


def picture(seed, size=(20, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write_frames(path, stamps, storage="mcap", topic=IMAGE, info=True, size=(20, 32)):
    with BagWriter(path, storage) as writer:
        for index, stamp in enumerate(stamps):
            writer.image(topic, stamp, "cam", picture(index, size), "rgb8")
            if info:
                writer.camera_info("/camera/camera_info", stamp, "cam", size, K)
    return path


def stamps(count, step=SECOND // 10):
    return [START + index * step for index in range(count)]


def storage_file(path):
    return next(file for file in path.iterdir() if file.suffix in {".mcap", ".db3"})
