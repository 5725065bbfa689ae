# SPDX-License-Identifier: Apache-2.0
"""The splits of 'drives' as a choice on the command line, without the imports that rendering needs."""

from enum import Enum


class Split(str, Enum):
    """Splits of 'drives'."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    TRAIN2 = "train2"
