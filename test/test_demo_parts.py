# SPDX-License-Identifier: Apache-2.0
"""Parts of the demo that need no ROS: schedule, report arithmetic, output folder, child processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monodvps_ros.data.schedule import LONGEST_PAUSE_PERIODS, Schedule
from monodvps_ros.demo.output_folder import MARKER, OutputFolder
from monodvps_ros.demo.processes import Child, ChildError
from monodvps_ros.demo.report import LOST_IN_TRANSPORT, NodeCounts, RecordedTopic, latencies_ms, make_report
from monodvps_ros.errors import DataError

SECOND = 10**9


class TestSchedule:
    def due(self, stamps_s, rate_hz=10.0, speed=1.0):
        schedule = Schedule(rate_hz, speed)
        return [schedule.due_s(round(stamp * SECOND), now_s=100.0) for stamp in stamps_s]

    def test_frames_are_as_far_apart_as_their_stamps(self):
        assert self.due([5.0, 5.1, 5.35, 6.0]) == pytest.approx([100.0, 100.1, 100.35, 101.0])

    def test_speed_divides_the_gaps(self):
        assert self.due([0.0, 1.0, 3.0], speed=4.0) == pytest.approx([100.0, 100.25, 100.75])
        assert Schedule(10.0, 4.0).period_s == pytest.approx(0.025)

    @pytest.mark.parametrize("second", [5.0, 4.0, 0.0])
    def test_stamps_that_stand_still_or_go_back_are_a_new_start(self, second):
        assert self.due([5.0, second, second + 0.3]) == pytest.approx([100.0, 100.1, 100.4])

    def test_a_long_pause_is_a_cut_and_one_at_the_limit_is_not(self):
        longest_s = LONGEST_PAUSE_PERIODS / 10.0
        assert self.due([0.0, longest_s]) == pytest.approx([100.0, 100.0 + longest_s])
        assert self.due([0.0, longest_s + 0.001]) == pytest.approx([100.0, 100.1])

    @pytest.mark.parametrize("arguments", [(0.0,), (-1.0,), (10.0, 0.0), (float("nan"),)])
    def test_rates_must_be_above_0(self, arguments):
        with pytest.raises(ValueError, match="must be above 0"):
            Schedule(*arguments)


def counts(received=4, processed=2, idle=0, dropped=None):
    return NodeCounts(received, processed, idle, dropped or {"replaced by a newer image": 2}, "cpu", "random")


# Five frames; the node got 4 of them (not 400), dropped 2 (100 and 300), and published on two topics.
SENT = [(0, 1_000_000), (100, 2_000_000), (200, 3_000_000), (300, 4_000_000), (400, 5_000_000)]
OUTPUTS = {
    "/depth/image": RecordedTopic("sensor_msgs/msg/Image", "32FC1", [0, 200], [11_000_000, 33_000_000]),
    "/points": RecordedTopic("sensor_msgs/msg/PointCloud2", None, [0, 200], [21_000_000, 23_000_000]),
}


class TestReport:
    def test_counts_add_up(self):
        report = make_report("a drive", SENT, counts(), OUTPUTS)
        assert report["frames_published"] == 5
        assert report["frames_received"] == 4
        assert report["frames_dropped"] == 3
        assert report["drop_reasons"] == {LOST_IN_TRANSPORT: 1, "replaced by a newer image": 2}
        assert sum(report["drop_reasons"].values()) == report["frames_dropped"]
        assert report["frames_published"] == report["frames_processed"] + report["frames_dropped"]

    def test_keys_come_in_the_documented_order(self):
        report = make_report("a drive", SENT, counts(), OUTPUTS)
        assert list(report)[:8] == [
            "input", "frames_published", "frames_received", "frames_dropped",
            "outputs", "latency_ms", "device", "weights",
        ]  # fmt: skip
        assert (report["input"], report["device"], report["weights"]) == ("a drive", "cpu", "random")

    def test_outputs_tell_type_encoding_and_stamps(self):
        outputs = make_report("a drive", SENT, counts(), OUTPUTS)["outputs"]
        assert outputs["/depth/image"] == {
            "type": "sensor_msgs/msg/Image", "encoding": "32FC1", "count": 2, "stamps_matched": 2,
        }  # fmt: skip
        assert outputs["/points"]["encoding"] is None

    def test_a_stamp_that_was_never_sent_or_came_twice_does_not_match(self):
        topic = RecordedTopic("sensor_msgs/msg/Image", "32FC1", [0, 0, 77], [1, 2, 3])
        row = make_report("a drive", SENT, counts(), {"/depth/image": topic})["outputs"]["/depth/image"]
        assert (row["count"], row["stamps_matched"]) == (3, 1)

    def test_a_topic_without_messages_counts_0(self):
        row = make_report("a drive", SENT, counts(), {"/points": RecordedTopic("sensor_msgs/msg/PointCloud2")})
        assert row["outputs"]["/points"]["count"] == 0

    def test_latency_ends_with_the_last_output_of_a_frame(self):
        assert latencies_ms(SENT, OUTPUTS) == pytest.approx([20.0, 30.0])
        latency = make_report("a drive", SENT, counts(), OUTPUTS)["latency_ms"]
        assert latency == {"p50": 25.0, "p90": 29.0, "max": 30.0}

    def test_latency_of_no_frame_is_null(self):
        report = make_report("a drive", SENT, counts(received=0, processed=0, dropped={"x": 0}), {})
        assert report["latency_ms"] == {"p50": None, "p90": None, "max": None}
        assert report["frames_dropped"] == 5
        assert report["drop_reasons"] == {LOST_IN_TRANSPORT: 5}

    def test_settled_means_that_no_image_waits(self):
        assert counts().settled
        assert not counts(received=5).settled
        assert counts(received=5, idle=1).settled


class TestOutputFolder:
    def fill(self, folder):
        folder.recording.mkdir()
        for path in (folder.recording / "recording.mcap", folder.recording / "metadata.yaml", folder.filmstrip,
                     folder.report, folder.path / "drive.mp4", folder.log("node")):  # fmt: skip
            path.write_text("old")

    def test_an_earlier_demo_is_replaced(self, tmp_path):
        self.fill(OutputFolder(tmp_path / "out" / "demo"))
        folder = OutputFolder(tmp_path / "out" / "demo")
        assert sorted(item.name for item in folder.path.iterdir()) == [MARKER, "logs"]
        assert not list((folder.path / "logs").iterdir())

    def test_files_of_others_beside_a_demo_are_left_alone(self, tmp_path):
        self.fill(OutputFolder(tmp_path))
        (tmp_path / "notes.txt").write_text("mine")
        OutputFolder(tmp_path)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_a_folder_of_others_is_refused_and_kept(self, tmp_path):
        (tmp_path / "report.json").write_text("mine")
        with pytest.raises(DataError, match="the demo did not make"):
            OutputFolder(tmp_path)
        assert (tmp_path / "report.json").read_text() == "mine"

    def test_a_foreign_file_in_the_recording_stops_everything(self, tmp_path):
        folder = OutputFolder(tmp_path)
        self.fill(folder)
        (folder.recording / "thesis.tex").write_text("mine")
        with pytest.raises(DataError, match=r"thesis\.tex"):
            OutputFolder(tmp_path)
        assert (folder.recording / "recording.mcap").read_text() == "old"

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "demo").write_text("")
        with pytest.raises(DataError, match="is a file"):
            OutputFolder(tmp_path / "demo")

    def test_an_empty_folder_is_taken(self, tmp_path):
        assert OutputFolder(tmp_path).log("node").parent.is_dir()


def python(code):
    return [sys.executable, "-c", code]


def wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestChild:
    def test_events_are_read_and_other_output_is_logged(self, tmp_path):
        code = (
            'import sys; print(\'{"event": "n", "value": 1}\'); print("hello"); print(\'{"event": "n", "value": 2}\')'
        )
        with Child("probe", python(code), tmp_path / "log", events=True) as child:
            assert wait_for(lambda: child.latest("n") == {"event": "n", "value": 2})
            assert child.latest("other") is None
            assert child.wait(10.0) == 0  # stopped sooner, it may still be on its way out
        assert child.last_lines() == "hello"

    def test_stop_asks_with_sigint_first(self, tmp_path):
        code = (
            "import time\nprint('up', flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(7)"
        )
        with Child("probe", python(code), tmp_path / "log") as child:
            assert wait_for(lambda: child.last_lines() == "up")
            assert child.exit_code is None
            assert child.stop() == 7

    def test_a_child_that_ignores_requests_is_killed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            "monodvps_ros.demo.processes.STOP_TIMEOUTS_S",
            {signal.SIGINT: 0.2, signal.SIGTERM: 0.2, signal.SIGKILL: 5.0},
        )
        code = (
            "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
        )
        with Child("probe", python(code), tmp_path / "log") as child:
            assert wait_for(lambda: child.last_lines() == "up")
            assert child.stop() == -signal.SIGKILL

    def test_an_error_in_the_context_stops_it(self, tmp_path):
        with (
            pytest.raises(RuntimeError),
            Child("probe", python("import time; time.sleep(60)"), tmp_path / "log") as child,
        ):
            raise RuntimeError
        assert not is_alive(child.pid)

    def test_error_ends_with_its_last_words(self, tmp_path):
        code = "import sys\nfor i in range(40): print('line', i, file=sys.stderr)\nsys.exit(3)"
        with Child("probe", python(code), tmp_path / "log") as child:
            assert wait_for(lambda: child.exit_code == 3)
            text = str(ChildError(child, "ended by itself"))
        assert text.startswith("the probe ended by itself")
        assert text.endswith("line 39")
        assert "line 20\n" not in text

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux'")
    def test_a_killed_parent_takes_its_child_along(self, tmp_path):
        code = (
            "import sys, time\nfrom pathlib import Path\nfrom monodvps_ros.demo.processes import Child\n"
            "child = Child('probe', [sys.executable, '-c', 'import time; time.sleep(60)'], Path(sys.argv[1]))\n"
            "print(child.pid, flush=True)\ntime.sleep(60)"
        )
        with subprocess.Popen([*python(code), str(tmp_path / "log")], stdout=subprocess.PIPE, text=True) as parent:
            pid = int(parent.stdout.readline())
            assert is_alive(pid)
            os.kill(parent.pid, signal.SIGKILL)
        assert wait_for(lambda: not is_alive(pid))
