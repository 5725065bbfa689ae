# SPDX-License-Identifier: Apache-2.0
"""What the training node is made of: the job from the parameters, the run in its thread, message and status."""

import io
import threading
import time

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")
pytest.importorskip("lightning")

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from ros_bench import wait_until
from training_bench import ENDLESS, phases_of, write_given

from monodvps_ros.config import TrainingNodeConfig, settings
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.msg import TrainingProgress
from monodvps_ros.ros.management import training_status as training_progress
from monodvps_ros.ros.management.training_status import progress_message, training_status
from monodvps_ros.ros.nodes.training_node import TrainingNode
from monodvps_ros.ros_environment import REFUSED
from monodvps_ros.training.background_run import TrainingRun, prepare
from monodvps_ros.training.checkpoints import read_checkpoint
from monodvps_ros.training.progress import Phase, Progress
from monodvps_ros.training.reporting import Cancelled, MonitoredSource, Reporter

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_given(tmp_path_factory.mktemp("given"))


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
    with pytest.raises(DataError, match="topic /no/image is missing"):
        prepare(_config(given, tmp_path / "out", image_topic="/no/image"))


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
    with pytest.raises(DataError, match="contains a training run; set 'resume' to true"):
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
    watched = MonitoredSource(Broken(), "bag", Phase.PREPARING, Reporter(told.append, 9), stop)
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
        reporter.update(Phase.TRAINING, throttled=True, step=step)
    reporter.update(Phase.EXPORTING)
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
    assert phases_of(told) == [Phase.PREPARING, Phase.CANCELLED]
    assert told[-1].message == "stopped before the first step; no checkpoint"
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_validation_under_way_is_given_up_and_the_steps_before_it_are_kept(given, tmp_path):
    config = {**ENDLESS, "validate_every": 2}
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

    monkeypatch.setattr("monodvps_ros.training.background_run.train", fail)
    told = []
    run = TrainingRun(prepare(_config(given, tmp_path / "out")), told.append, lambda: None, Console(file=io.StringIO()))
    run.start()
    run.stop()
    assert "Traceback" in run.problem
    assert (told[-1].phase, told[-1].message) == (Phase.FAILED, "ZeroDivisionError: a fault")


@pytest.mark.parametrize("name", ["out", "data"])
def test_a_path_that_no_file_system_takes_is_told_in_one_line(given, tmp_path, name):
    values = {"data": [str(given / "bag")], "out": str(tmp_path), "diagnostics_period_s": 60.0}
    path = "/".join([str(tmp_path), *["long" * 50] * 30])
    given_values = {**values, name: [path] if name == "data" else path}
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = TrainingNode(
        context=context, parameter_overrides=[Parameter(key, value=value) for key, value in given_values.items()]
    )
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert node.problem.startswith(f"OSError: {tmp_path}/long") and node.problem.endswith(": File name too long")
        assert len(node.problem) < 250 and node.exit_code == REFUSED
    finally:
        node.destroy_node()
        context.destroy()
