# SPDX-License-Identifier: Apache-2.0
"""Numbers with their nouns in messages."""

import pytest

from monodvps_ros.errors import counted


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, "frame"), "1 frame"),
        ((0, "frame"), "0 frames"),
        ((2, "process", "processes"), "2 processes"),
        ((1, "frame has", "frames have"), "1 frame has"),
        ((21, "frame has", "frames have"), "21 frames have"),
        ((1234567, "pixel", "", ","), "1,234,567 pixels"),
    ],
)
def test_a_number_has_its_noun_in_singular_or_plural(arguments, expected):
    assert counted(*arguments) == expected
