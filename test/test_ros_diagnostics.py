# SPDX-License-Identifier: Apache-2.0
"""Which problems a camera's status names, and how its values are written."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("rclpy")

from monodvps_ros.outputs import ScaleEstimate, ScaleState
from monodvps_ros.perception import statistics
from monodvps_ros.perception.device import gpu_memory_mb
from monodvps_ros.perception.statistics import Snapshot
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.management.diagnostics import CameraHealth, NodeHealth, camera_status, judge, node_status

pytestmark = pytest.mark.ros

OK, WARN, ERROR = diagnostics.OK, diagnostics.WARN, diagnostics.ERROR
WELL = Snapshot(
    received=100,
    processed=90,
    not_finite=0,
    idle=4,
    dropped=dict.fromkeys(statistics.DROP_REASONS, 1),
    dropped_lately={},
    input_rate_hz=10.0,
    output_rate_hz=9.5,
    latency_p50_ms=12.345,
    latency_p90_ms=20.0,
    latency_max_ms=50.0,
    resets=0,
    since_received_s=0.1,
    last_error="",
    since_error_s=None,
)
HEALTH = CameraHealth(
    name="node: camera",
    active=True,
    snapshot=WELL,
    image_topic="/image",
    stamps="of the images",
    max_rate_hz=0.0,
    subscribed_s=60.0,
    publishers=("/driver",),
    reliability="reliable",
    lost_in_transport=0,
    incompatible={},
    image="640x480 rgb8",
    frame_id="camera",
    camera_problem="",
    frame_problem="",
    rectification="none",
    cloud_mb=1.8,
    scale=ScaleEstimate(3.25, 0.5, ScaleState.ROAD),
    withholds_unknown=True,
    device_lost=False,
)
UNKNOWN = ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN, problem="no road")
FAILED = {"last_error": "image of 1.0: broken", "since_error_s": 1.0}
#: In the order of the message: what makes the status, its level and words of its message.
PROBLEMS = [
    ({"device_lost": True}, {}, ERROR, "device was lost"),
    ({}, FAILED, ERROR, "broken"),
    ({"publishers": ("/a", "/b")}, {}, WARN, "2 publishers on /image: /a, /b; their images mix"),
    ({}, {"since_received_s": None}, WARN, "no image yet"),
    ({}, {"output_rate_hz": 4.9}, WARN, "falling behind: 10.0 images/s received, 4.9 processed"),
    ({"incompatible": {"/points": "DURABILITY"}}, {}, WARN, "/points does not fit: DURABILITY"),
    ({"camera_problem": "no camera_info"}, {}, WARN, "no cloud: no camera_info"),
    ({"scale": UNKNOWN}, {}, WARN, "no depth: the scale is unknown: no road"),
    ({"frame_problem": "two frames"}, {}, WARN, "two frames"),
    ({"odometry_problem": "no odometry"}, {}, WARN, "no odometry"),
    ({"cloud_mb": 30.1}, {}, WARN, "raise pipeline.cloud.stride"),
]


def health(*problems):
    changed, counters = {}, {}
    for of_health, of_counters, *_ in problems:
        changed |= of_health
        counters |= of_counters
    return replace(HEALTH, **changed, snapshot=replace(WELL, **counters))


def test_all_is_well():
    assert judge(HEALTH) == (OK, "9.5 frames/s")


@pytest.mark.parametrize("index", range(len(PROBLEMS)))
def test_a_problem_is_named(index):
    level, message = judge(health(PROBLEMS[index]))
    assert level == PROBLEMS[index][2]
    assert PROBLEMS[index][3] in message


@pytest.mark.parametrize("index", range(len(PROBLEMS)))
def test_all_problems_are_listed_worst_first(index):
    level, message = judge(health(*PROBLEMS[index:]))
    assert level == max(problem[2] for problem in PROBLEMS[index:])
    places = [message.find(problem[3]) for problem in PROBLEMS[index:]]
    assert -1 not in places
    assert places == sorted(places)


def test_depth_that_is_published_without_metres_is_called_so():
    level, message = judge(replace(HEALTH, scale=UNKNOWN, withholds_unknown=False))
    assert (level, message) == (WARN, "depth is not in metres: the scale is unknown: no road")
    values = {pair.key: pair.value for pair in camera_status(replace(HEALTH, scale=UNKNOWN)).values}
    assert (values[diagnostics.SCALE_STATE], values[diagnostics.SCALE_FACTOR]) == ("unknown", "nan")


def test_metric_weights_that_are_in_doubt_are_named_and_their_ratio_is_always_given():
    doubtful = ScaleEstimate(1.0, 1.0, ScaleState.METRIC, road_ratio=1.5, doubt="check the height")
    assert judge(replace(HEALTH, scale=doubtful)) == (WARN, "check the height")
    agreeing = replace(doubtful, road_ratio=1.04, doubt="")
    assert judge(replace(HEALTH, scale=agreeing)) == (OK, "9.5 frames/s")
    for scale, text in ((doubtful, "1.50"), (agreeing, "1.04"), (HEALTH.scale, "nan"), (None, "nan")):
        values = {pair.key: pair.value for pair in camera_status(replace(HEALTH, scale=scale)).values}
        assert values["road scale ratio"] == text


def test_an_image_topic_whose_qos_does_not_fit_is_named_once():
    silent = health(({"incompatible": {"/image": "RELIABILITY"}}, {"since_received_s": None}))
    assert judge(silent)[1].count("RELIABILITY") == 1


def test_a_rate_that_is_limited_is_not_falling_behind():
    slow = health(({"max_rate_hz": 2.0}, {"output_rate_hz": 1.0}))
    assert judge(slow) == (OK, "1.0 frames/s")
    assert judge(replace(slow, max_rate_hz=2.1))[0] == WARN


def test_falling_behind_says_why_most_images_are_dropped():
    lately = {statistics.REPLACED: 3, statistics.UNPAIRED: 5}
    since_the_start = {statistics.UNDECODABLE: 100, statistics.UNPAIRED: 5}
    behind = health(({}, {"output_rate_hz": 1.0, "dropped": since_the_start, "dropped_lately": lately}))
    assert judge(behind)[1].endswith("1.0 processed, most are dropped: no camera_info with its stamp")
    nothing_dropped = health(({}, {"output_rate_hz": 1.0, "dropped": since_the_start, "dropped_lately": {}}))
    assert judge(nothing_dropped)[1].endswith("1.0 processed")


def test_drops_count_as_lately_for_the_window_of_the_rates(monkeypatch):
    now, counters = 100.0, statistics.Statistics()
    monkeypatch.setattr(statistics.time, "monotonic", lambda: now)
    for _ in range(9):
        counters.count_dropped(statistics.UNDECODABLE)
    now += statistics.WINDOW_S
    counters.count_dropped(statistics.UNSTAMPED)
    assert counters.snapshot().dropped_lately == {statistics.UNDECODABLE: 9, statistics.UNSTAMPED: 1}
    now += 1.0
    assert counters.snapshot().dropped_lately == {statistics.UNSTAMPED: 1}
    assert counters.snapshot().dropped[statistics.UNDECODABLE] == 9


@pytest.mark.parametrize(
    ("of_health", "of_counters"),
    [({"cloud_mb": 30.0}, {}), ({}, {"output_rate_hz": 5.0}), ({}, FAILED | {"since_error_s": statistics.WINDOW_S})],
)
def test_limits_are_not_crossed_at_their_value(of_health, of_counters):
    assert judge(health((of_health, of_counters)))[0] == OK


@pytest.mark.parametrize(
    ("changes", "since_s", "words"),
    [
        ({"publishers": ()}, None, "nobody publishes /image"),
        ({"publishers": (), "subscribed_s": None}, None, "nobody publishes /image, and no output has subscribers"),
        ({}, None, "no image yet on /image, published by /driver"),
        ({"incompatible": {"/image": "RELIABILITY"}}, None, "does not fit: RELIABILITY"),
        ({}, 7.2, "no image on /image for 7 s; published by /driver"),
    ],
)
def test_why_there_is_no_image(changes, since_s, words):
    silent = replace(HEALTH, **changes, snapshot=replace(WELL, since_received_s=since_s))
    level, message = judge(silent)
    assert level == WARN
    assert words in message


def test_a_node_that_is_not_active_has_no_problem():
    assert judge(replace(health(PROBLEMS[2]), active=False)) == (OK, "not active")


def test_nobody_subscribes():
    idle = replace(health(({}, {"output_rate_hz": 0.0, "since_received_s": None})), subscribed_s=None)
    assert judge(idle) == (OK, "no subscribers: no output is wanted, so /image is not subscribed to")


def test_a_camera_has_time_to_send_after_the_node_subscribed():
    began = replace(health(({}, {"since_received_s": 60.0})), subscribed_s=diagnostics.SILENCE_S)
    assert judge(began) == (OK, "9.5 frames/s")


def test_values_of_a_camera():
    status = camera_status(HEALTH)
    values = {pair.key: pair.value for pair in status.values}
    assert list(values) == list(diagnostics.CAMERA_KEYS)
    assert (status.name, status.hardware_id, status.level) == ("node: camera", "camera", OK)
    assert values[diagnostics.RECEIVED] == "100"
    assert values[diagnostics.DROPPED] == str(len(statistics.DROP_REASONS))
    assert values[diagnostics.LATENCY_P50] == "12.35"
    assert values[diagnostics.SCALE_STATE] == "road"
    assert values[diagnostics.SCALE_FACTOR] == "3.25"


def node_health(**changes):
    return NodeHealth(**{"name": "perception", "state": "active", "problem": "", "device": "cpu", "weights": "shipped",
                         "start_up_s": None, "callback_errors": 2, "memory_mb": 700.0, "gpu_memory_mb": None,
                         **changes})  # fmt: skip


def test_values_of_the_node():
    status = node_status(node_health())
    values = {pair.key: pair.value for pair in status.values}
    assert list(values) == [key for key in diagnostics.NODE_KEYS if key != diagnostics.GPU_MEMORY]
    assert (status.level, status.message) == (OK, "active")
    assert (values[diagnostics.START_UP_S], values[diagnostics.CALLBACK_ERRORS]) == ("nan", "2")
    assert values[diagnostics.MEMORY] == "700.00"
    assert node_status(node_health(state="unconfigured", problem="no weights")).level == ERROR


def test_memory_of_the_gpu_is_told_where_the_device_is_one():
    values = {pair.key: pair.value for pair in node_status(node_health(gpu_memory_mb=0.0)).values}
    assert list(values) == list(diagnostics.NODE_KEYS)
    assert values[diagnostics.GPU_MEMORY] == "0.00"
    assert gpu_memory_mb(torch.device("cpu")) is None


def test_memory_of_the_process_is_what_it_holds_now():
    code = (
        "import numpy as np; from monodvps_ros.process_memory import process_memory_mb; "
        "before = process_memory_mb(); held = np.ones(40_000_000, np.uint8); print(process_memory_mb() - before)"
    )  # a process of its own: this one may give memory back in between
    grown_mb = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60).stdout)
    assert grown_mb == pytest.approx(40.0, abs=5.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_memory_of_the_gpu_is_what_its_tensors_hold():
    device = torch.device("cuda")
    held = torch.ones(64_000_000, dtype=torch.uint8, device=device)
    assert gpu_memory_mb(device) >= held.nbytes / 1e6
