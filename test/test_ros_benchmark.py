# SPDX-License-Identifier: Apache-2.0
"""What `monodvps benchmark` measures: the node's own calls, the form of its file, and how our packing compares."""

import json
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from std_msgs.msg import Header

from monodvps_ros.benchmark import messages as benchmark_messages
from monodvps_ros.cli.benchmark import ORDER, SIZES, _table, benchmark
from monodvps_ros.errors import ConfigError
from monodvps_ros.ros.topics import conversions

pytestmark = pytest.mark.ros

SMALL = SimpleNamespace(plan=SimpleNamespace(camera_size=(6, 10)))


def duration_ms(call):
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def test_packing_a_whole_1080p_cloud_takes_at_most_half_of_the_usual_time():
    stage = benchmark_messages._pack(SimpleNamespace(plan=SimpleNamespace(camera_size=SIZES["1080p"])))
    spent = [(duration_ms(stage.ours), duration_ms(stage.usual)) for _ in range(7)]
    ours_ms, usual_ms = (min(times) for times in zip(*spent, strict=True))
    assert ours_ms <= 0.5 * usual_ms, f"{ours_ms:.1f} ms; {stage.usual_name}: {usual_ms:.1f} ms"


def test_both_ways_of_packing_hold_the_same_points():
    stage = benchmark_messages._pack(SMALL)
    ours, usual = stage.ours(), stage.usual()
    assert ours.data == usual.data
    assert ours.fields == usual.fields
    assert (ours.point_step, ours.width * ours.height) == (usual.point_step, usual.width * usual.height)


def test_ours_fills_the_last_message_anew_as_the_node_does():
    stage = benchmark_messages._pack(SMALL)
    assert stage.ours() is stage.ours()
    points = benchmark_messages._points(SMALL)
    assert stage.ours() == conversions.cloud_message(points, Header())


def test_ratios_have_two_significant_digits():
    for ours, usual, said in ((3.22, 1031, "0.0031"), (1031, 3.22, "320"), (4.5, 3.0, "1.5"), (1.0, 1.0, "1")):
        table = _table("1080p", {"grouping": {"ours_ms": ours, "usual_ms": usual, "usual": "pairs"}}, 20.0)
        assert list(table.columns[3].cells) == [said]


def test_an_engine_of_the_stages_is_refused():
    with pytest.raises(ConfigError, match="--engine openvino applies to --beside N only; the stages run with torch"):
        benchmark(engine="openvino")


@pytest.mark.slow
def test_the_file_has_every_stage_and_nothing_else(tmp_path, capsys):
    benchmark(tmp_path / "figures.json", repeats=1, weights="random")
    said = capsys.readouterr().out.splitlines()[0]
    assert "random weights" in said and said.endswith("engine torch float32")
    report = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert list(report) == list(SIZES)
    for stages in report.values():
        assert tuple(stages) == ORDER
        for row in stages.values():
            assert set(row) == {"ours_ms", "usual_ms", "usual"}
            assert row["ours_ms"] > 0 < row["usual_ms"]
            assert row["usual"]
