# SPDX-License-Identifier: Apache-2.0
"""The training node over DDS and as its own process: progress, stop with a checkpoint, resume, signals, refusals."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")
pytest.importorskip("lightning")

import rclpy
import torch
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from ros_bench import wait_until
from safetensors.torch import save_file

from monodvps_ros.config import SceneConfig, TrainingNodeConfig, settings
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.msg import TrainingProgress
from monodvps_ros.ros import training_progress
from monodvps_ros.ros.training_callback import Cancelled, Reporter, WatchedSource
from monodvps_ros.ros.training_progress import Phase, Progress, progress_message, training_status
from monodvps_ros.ros.training_run import TrainingRun, prepare
from monodvps_ros.scenes import Drive, write_bag
from monodvps_ros.training.checkpoints import read_checkpoint

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

DEPTH_ALONE = {
    "network": {"encoder": "mobilenetv3_small_050", "input_height": 64, "input_width": 96, "aspp_channels": 16,
                "semantic_channels": 16, "instance_channels": 16, "flow": False},
    "loss": {"semantic": 0.0, "instance": 0.0, "flow": 0.0, "panoptic_smoothness": 0.0, "panoptic_edges": 0.0,
             "triplet": 0.0, "mask_moving_objects": False},
    "pose_encoder": "mobilenetv3_small_050", "batch_size": 1, "max_steps": 100000, "workers": 0, "device": "cpu",
    "checkpoint_every": 100000, "validate_every": 0, "picture_every": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with a bag of six frames and a training config that does not end by itself."""
    folder = tmp_path_factory.mktemp("given")
    write_bag(Drive(SceneConfig(frames=6, height=64, width=96, traffic=0.0), 1), folder / "bag")
    (folder / "config.yaml").write_text(yaml.safe_dump(DEPTH_ALONE))
    return folder


class Process:
    """The node's process and what it says, and a peer that hears its topics and calls its services."""

    def __init__(self, given, out, *arguments, data=None):
        words = [f"data:=['{data or given / 'bag'}']", f"config:={given / 'config.yaml'}", f"out:={out}", *arguments]
        command = [sys.executable, "-m", "monodvps_ros.ros.training_node", "--ros-args"]
        command += [word for argument in words for word in ("-p", argument)]
        environment = {**os.environ, "RCUTILS_LOGGING_USE_STDOUT": "0", "RCUTILS_COLORIZED_OUTPUT": "0"}
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.peer = Node("peer", context=self.context)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.heard, self.statuses = [], []
        self.peer.create_subscription(TrainingProgress, "training/progress", self.heard.append, latched)
        self.peer.create_subscription(DiagnosticArray, "/diagnostics", self.statuses.append, 10)
        self.changer = self.peer.create_client(ChangeState, "/training/change_state")
        self.asker = self.peer.create_client(GetState, "/training/get_state")
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.peer)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                        env=environment, start_new_session=True)  # fmt: skip
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()
        self.executor.shutdown()
        self.peer.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait_until(self, condition, timeout_s=120.0):
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, (self.lines, self.heard[-1:])
            assert self.process.poll() is None, self.lines
            self.executor.spin_once(0.05)

    def wait_for_step(self, step):
        self.wait_until(lambda: self.heard and self.heard[-1].step >= step)

    def call(self, client, request):
        self.wait_until(client.service_is_ready)
        future = client.call_async(request)
        self.wait_until(future.done)
        return future.result()

    def change(self, transition):
        return self.call(self.changer, ChangeState.Request(transition=Transition(id=transition))).success

    def state(self):
        return self.call(self.asker, GetState.Request()).current_state.id

    def end(self):
        end = time.monotonic() + 120.0
        while self.process.poll() is None:
            assert time.monotonic() < end, self.lines
            self.executor.spin_once(0.05)
        self.reader.join()
        self.executor.spin_once(0.05)
        return self.process.returncode


def _phases(messages):
    """Phases in their order, each once where it lasts."""
    phases = [message.phase for message in messages]
    return [phase for place, phase in enumerate(phases) if place == 0 or phases[place - 1] != phase]


@pytest.mark.slow
def test_stop_by_service_resume_and_interrupt(given, tmp_path):
    out = tmp_path / "out"
    last = out / "checkpoints" / "last.ckpt"
    with Process(given, out, "diagnostics_period_s:=0.2") as node:
        node.wait_for_step(3)
        assert node.state() == State.PRIMARY_STATE_ACTIVE
        assert node.change(Transition.TRANSITION_DEACTIVATE)
        stopped_at = read_checkpoint(last)["global_step"]  # it is there once the service has answered
        node.wait_until(lambda: node.heard[-1].phase == TrainingProgress.PHASE_CANCELLED)
        assert node.heard[-1].step == stopped_at >= 3
        assert (out / "weights.safetensors").is_file()
        assert node.state() == State.PRIMARY_STATE_INACTIVE
        trained = [message for message in node.heard if message.phase == TrainingProgress.PHASE_TRAINING]
        steps = [message.step for message in trained]
        assert steps == sorted(steps)
        assert len(set(steps)) >= 3
        for message in trained[1:]:
            assert message.loss_names[0] == "total"
            assert {"photometric", "smoothness"} <= set(message.loss_names)
            assert len(message.loss_values) == len(message.loss_names)
            assert message.max_steps == 100000
            assert message.eta.sec > 0
            assert message.header.stamp.sec > 0
        assert trained[-1].epoch == (trained[-1].step - 1) // 4  # four of six frames have both neighbours
        statuses = [status for array in node.statuses for status in array.status]
        told = [{pair.key: pair.value for pair in status.values} for status in statuses]
        assert {status.level for status in statuses} == {DiagnosticStatus.OK}
        assert {status.name for status in statuses} == {"training"}
        assert "TRAINING" in {values[training_progress.PHASE] for values in told}

        assert node.change(Transition.TRANSITION_ACTIVATE)
        before = len(node.heard)
        node.wait_for_step(stopped_at + 2)
        assert all(message.step >= stopped_at for message in node.heard[before:] if message.loss_names)
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 0
        assert read_checkpoint(last)["global_step"] >= stopped_at + 2
        assert not [line for line in node.lines if "Traceback" in line or "FATAL" in line]


@pytest.mark.slow
def test_terminated_it_leaves_a_checkpoint_that_another_process_finishes_from(given, tmp_path):
    out = tmp_path / "out"
    with Process(given, out) as node:
        node.wait_for_step(2)
        node.process.send_signal(signal.SIGTERM)
        assert node.end() == 0
        assert _phases(node.heard)[-1] == TrainingProgress.PHASE_CANCELLED
    done = read_checkpoint(out / "checkpoints" / "last.ckpt")["global_step"]
    with Process(given, out, "resume:=true", f"max_steps:={done + 3}") as node:
        assert node.end() == 0
        assert _phases(node.heard)[-1] == TrainingProgress.PHASE_FINISHED
        assert node.heard[-1].step == done + 3
        assert node.heard[-1].eta.sec == 0
        assert min(message.step for message in node.heard if message.loss_names) > done


@pytest.mark.slow
def test_validation_is_told_and_a_managed_node_outlives_its_run(given, tmp_path):
    config = {**DEPTH_ALONE, "max_steps": 4, "validate_every": 2, "validation_frames": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = ("autostart:=false", f"validate:=['{given / 'bag'}']")
    with Process(tmp_path, tmp_path / "out", *options, data=given / "bag") as node:
        assert node.change(Transition.TRANSITION_CONFIGURE)
        assert node.change(Transition.TRANSITION_ACTIVATE)
        node.wait_until(lambda: node.heard and node.heard[-1].phase == TrainingProgress.PHASE_FINISHED)
        last = node.heard[-1]
        assert dict(zip(last.metric_names, last.metric_values, strict=True)).keys() >= {"absRel", "score"}
        assert {"PREPARING", "TRAINING", "VALIDATING"} <= {Phase(message.phase).name for message in node.heard}
        node.wait_until(lambda: node.state() == State.PRIMARY_STATE_INACTIVE)
        assert node.change(Transition.TRANSITION_CLEANUP)
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 0


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_the_processes_that_read_samples_too(given, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**DEPTH_ALONE, "workers": 1}))
    with Process(tmp_path, tmp_path / "out", data=given / "bag") as node:
        node.wait_for_step(1)
        os.killpg(node.process.pid, signal.SIGINT)
        assert node.end() == 0
        assert (tmp_path / "out" / "checkpoints" / "last.ckpt").is_file()
        assert not [line for line in node.lines if "Traceback" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("data:=['/nothing/there']", "DataError: /nothing/there: does not exist"),
        ("max_steps:=many", "expecting type 'INTEGER'"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(given, tmp_path, argument, words):
    with Process(given, tmp_path / "out", argument) as node:
        assert node.end() == 2
        [line] = node.lines
        assert words in line
        assert "[FATAL]" in line


@pytest.mark.slow
def test_weights_that_do_not_fit_end_as_failed(given, tmp_path):
    save_file({"layer": torch.zeros(8)}, tmp_path / "other.safetensors")
    with Process(given, tmp_path / "out", f"weights:={tmp_path / 'other.safetensors'}") as node:
        assert node.end() == 2
        [line] = [line for line in node.lines if "[FATAL]" in line]
        assert "training failed: WeightsError" in line
        assert "other.safetensors" in line
        assert not [line for line in node.lines if "Traceback" in line]
        if node.heard:  # it may fail before the two have met
            assert node.heard[-1].phase in (TrainingProgress.PHASE_FAILED, TrainingProgress.PHASE_PREPARING)


def _config(given, folder, **values):
    return TrainingNodeConfig(
        **{"data": (str(given / "bag"),), "config": str(given / "config.yaml"), "out": str(folder), **values}
    )


def test_the_parameters_make_the_job(given, tmp_path):
    job = prepare(_config(given, tmp_path / "out", max_steps=7, validate=("", str(given / "bag"))))
    assert job.config.max_steps == 7
    assert list(job.data) == list(job.validation) == [str(given / "bag")]
    assert len(job.data[str(given / "bag")]) == 6
    assert prepare(_config(given, tmp_path / "out")).config.max_steps == 100000


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"data": ("",)}, ConfigError, "'data' is empty; name bags"),
        ({"out": ""}, ConfigError, "'out' is empty; name a folder"),
        ({"resume": True, "weights": "w"}, ConfigError, "leave 'weights' empty"),
        ({"config": "nothing.yaml"}, ConfigError, "nothing.yaml: cannot be read"),
        ({"resume": True}, DataError, "no such checkpoint; set 'resume' to false"),
    ],
)
def test_parameters_that_cannot_be_are_refused(given, tmp_path, values, error, words):
    with pytest.raises(error, match=words):
        prepare(_config(given, tmp_path / "out", **values))


def test_an_unknown_key_is_refused(given, tmp_path):
    (tmp_path / "config.yaml").write_text("los: {depth: 1.0}")
    with pytest.raises(ConfigError, match="unknown key 'los'"):
        prepare(_config(given, tmp_path / "out", config=str(tmp_path / "config.yaml")))


def test_a_folder_of_another_run_is_refused(given, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(DataError, match="holds a training run; set 'resume' to true"):
        prepare(_config(given, tmp_path))


def test_every_parameter_is_fixed_and_described():
    for setting in settings(TrainingNodeConfig):
        assert setting.read_only, setting.name
        assert setting.description.endswith("."), setting.name


def test_phases_are_the_message_s():
    names = {name.removeprefix("PHASE_") for name in dir(TrainingProgress) if name.startswith("PHASE_")}
    assert {phase.name for phase in Phase} == names
    for phase in Phase:
        assert phase.value == getattr(TrainingProgress, f"PHASE_{phase.name}")


def test_the_message_says_what_the_progress_says():
    progress = Progress(Phase.TRAINING, "text", 2, 30, 100, {"total": 1.5, "depth": 1.0}, {"PQ": 0.25}, 61.5)
    message = progress_message(progress, Time(sec=7))
    assert (message.phase, message.message, message.epoch, message.step) == (1, "text", 2, 30)
    assert (message.max_steps, message.max_epochs, message.header.stamp.sec) == (100, 0, 7)
    assert (message.loss_names, list(message.loss_values)) == (["total", "depth"], [1.5, 1.0])
    assert (message.metric_names, list(message.metric_values)) == (["PQ"], [0.25])
    assert (message.eta.sec, message.eta.nanosec) == (61, 500_000_000)
    assert progress_message(Progress(), Time()).eta.sec == -1


def test_the_status_says_why_it_failed():
    progress = Progress(Phase.FAILED, "short", step=3, losses={"total": 2.0})
    status = training_status("training", "inactive", "DataError: gone", progress, 1.5, "out", 4)
    assert (status.level, status.message) == (DiagnosticStatus.ERROR, "DataError: gone")
    values = {pair.key: pair.value for pair in status.values}
    assert values.keys() == training_progress.KEYS.keys()
    assert (values[training_progress.PHASE], values[training_progress.LOSS]) == ("FAILED", "2")
    assert (values[training_progress.REMAINING_S], values[training_progress.CALLBACK_ERRORS]) == ("nan", "4")
    assert training_status("training", "active", "", progress, None, "out", 0).level == DiagnosticStatus.OK


class Broken:
    """Three frames, of which the second cannot be read."""

    rate_hz, label_space = 10.0, None

    def __len__(self):
        return 3

    def __iter__(self):
        return Broken.Reading()

    class Reading:
        place = 0

        def __next__(self):
            self.place += 1
            if self.place == 2:
                raise DataError("damaged")
            if self.place > 3:
                raise StopIteration
            return self.place


def test_a_watched_source_tells_goes_on_after_damage_and_stops():
    told, stop = [], threading.Event()
    watched = WatchedSource(Broken(), "bag", Phase.PREPARING, Reporter(told.append, 9), stop)
    reading = iter(watched)
    assert next(reading) == 1
    with pytest.raises(DataError, match="damaged"):
        next(reading)
    assert next(reading) == 3
    assert (told[0].phase, told[0].message, told[0].max_steps) == (Phase.PREPARING, "bag: frame 1 of 3", 9)
    stop.set()
    with pytest.raises(Cancelled):
        next(reading)


def test_what_comes_often_is_told_at_a_pace_and_the_rest_always():
    told = []
    reporter = Reporter(told.append, 9)
    for step in range(50):
        reporter.tell(Phase.TRAINING, often=True, step=step)
    reporter.tell(Phase.EXPORTING)
    assert len(told) < 50
    assert (told[-1].phase, told[-1].step) == (Phase.EXPORTING, 49)


def test_stopped_before_the_first_step_there_is_no_checkpoint(given, tmp_path):
    told, ended = [], threading.Event()
    run = TrainingRun(prepare(_config(given, tmp_path / "out")), told.append, ended.set, Console(file=io.StringIO()))
    run.start()
    run.stop()
    assert ended.is_set()
    assert not run.is_alive
    assert run.problem == ""
    assert _phases(told) == [Phase.PREPARING, Phase.CANCELLED]
    assert told[-1].message == "stopped before the first step; no checkpoint"
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_validation_under_way_is_given_up_and_the_steps_before_it_are_kept(given, tmp_path):
    config = {**DEPTH_ALONE, "validate_every": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    values = {"config": str(tmp_path / "config.yaml"), "validate": (str(given / "bag"),)}
    job = prepare(_config(given, tmp_path / "out", **values))
    told = []

    def report(progress):
        told.append(progress)
        if progress.phase is Phase.VALIDATING:
            threading.Thread(target=run.stop).start()
            time.sleep(0.2)  # until it was heard

    run = TrainingRun(job, report, lambda: None, Console(file=io.StringIO()))
    run.start()
    wait_until(lambda: not run.is_alive, 60.0)
    assert run.problem == ""
    assert (told[-1].phase, told[-1].step, told[-1].metrics) == (Phase.CANCELLED, 2, {})
    assert read_checkpoint(job.checkpoint)["global_step"] == 2
    assert (tmp_path / "out" / "weights.safetensors").is_file()


def test_a_fault_of_our_own_is_told_with_its_traceback(given, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("monodvps_ros.ros.training_run.train", fail)
    told = []
    run = TrainingRun(prepare(_config(given, tmp_path / "out")), told.append, lambda: None, Console(file=io.StringIO()))
    run.start()
    run.stop()
    assert "Traceback" in run.problem
    assert (told[-1].phase, told[-1].message) == (Phase.FAILED, "ZeroDivisionError: a fault")
