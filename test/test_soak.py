# SPDX-License-Identifier: Apache-2.0
"""The soak's verdict: flat runs pass; what grows, or is not accounted for, is named."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from soak import judge, went

from monodvps_ros.perception import statistics
from monodvps_ros.ros.management import diagnostics

pytestmark = pytest.mark.ros

FLAT = [(1000.0, 24, 26)] * 400


def watch(usage=FLAT, **changes):
    """100 images received, of which 60 were processed."""
    camera = {diagnostics.RECEIVED: 100, diagnostics.PROCESSED: 60, diagnostics.IDLE: 0, diagnostics.LOST: 2,
              diagnostics.DROPPED: 40, diagnostics.DROPPED_PREFIX + statistics.REPLACED: 40,
              diagnostics.DROPPED_PREFIX + statistics.FAILED: 0, diagnostics.LAST_ERROR: ""}  # fmt: skip
    camera |= changes.pop("camera", {})
    return SimpleNamespace(
        usage=usage, camera={key: str(value) for key, value in camera.items()}, **{"answers": 60, **changes}
    )


def test_a_flat_run_passes_and_says_where_the_images_went(capsys):
    assert judge(watch(), 102, ["[INFO] ready"]) == []
    assert (
        "102 published = 100 received + 2 lost before the node (it knows of 2); 100 received = 100 accounted for"
        in (capsys.readouterr().out)
    )
    assert went(watch().camera) == {"processed": 60, "without subscriber": 0, statistics.REPLACED: 40}


@pytest.mark.parametrize(
    ("seen", "published", "lines", "problem"),
    [
        (watch([(1000.0 + second, 24, 26) for second in range(400)]), 102, [], "memory grew"),
        (watch(FLAT[:300] + [(1000.0, 25, 26)] * 100), 102, [], "threads grew"),
        (watch(FLAT[:300] + [(1000.0, 24, 28)] * 100), 102, [], "file descriptors grew"),
        (watch(camera={diagnostics.RECEIVED: 101}), 102, [], "images are not accounted for"),
        (watch(), 99, [], "more images were received than published"),
        (watch(answers=59), 102, [], "answers are missing"),
        (watch(camera={diagnostics.LAST_ERROR: "no K"}), 102, [], "the node reported: no K"),
        (watch(), 102, ["Traceback (most recent call last):"], "the log has errors"),
    ],
)
def test_what_is_wrong_is_named(seen, published, lines, problem):
    assert judge(seen, published, lines) == [problem]
