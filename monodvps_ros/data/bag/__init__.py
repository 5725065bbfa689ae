# SPDX-License-Identifier: Apache-2.0
"""Rosbag2 recordings, sqlite3 and MCAP, without ROS: messages out of them, and new ones to write.

The only room below the scenes that knows the `rosbags` library. A recording whose end is cut off (the recorder was
killed, the disk was full) is read as far as it goes, and a warning says so.
"""

from monodvps_ros.data.bag.background_writer import BackgroundWriter
from monodvps_ros.data.bag.reader import BagReader, Topic, read_messages
from monodvps_ros.data.bag.storage import is_bag, part_name, recording_of, sequence_name, whole_sequence
from monodvps_ros.data.bag.writer import BagWriter

__all__ = [
    "BackgroundWriter",
    "BagReader",
    "BagWriter",
    "Topic",
    "is_bag",
    "part_name",
    "read_messages",
    "recording_of",
    "sequence_name",
    "whole_sequence",
]
