# SPDX-License-Identifier: Apache-2.0
"""The training node as its own process: progress over DDS, stop with a checkpoint, resume, signals, refusals."""

import os
import signal

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")
pytest.importorskip("lightning")

import torch
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from safetensors.torch import save_file
from training_bench import ENDLESS, Process, phases_of, write_given

from monodvps_ros.msg import TrainingProgress
from monodvps_ros.ros.management import training_status as training_progress
from monodvps_ros.training.checkpoints import read_checkpoint
from monodvps_ros.training.progress import Phase

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_given(tmp_path_factory.mktemp("given"))


def steps_of(heard):
    return {message.step for message in heard if message.phase == TrainingProgress.PHASE_TRAINING}


def test_stop_by_service_resume_and_interrupt(given, tmp_path):
    out = tmp_path / "out"
    last = out / "checkpoints" / "last.ckpt"
    with Process(given, out, "diagnostics_period_s:=0.2") as node:
        node.wait_until(lambda: len(steps_of(node.heard)) >= 3)
        assert node.lifecycle.state() == State.PRIMARY_STATE_ACTIVE
        assert node.lifecycle.change(Transition.TRANSITION_DEACTIVATE)
        stopped_at = read_checkpoint(last)["global_step"]  # it is there once the service has answered
        node.wait_until(lambda: node.heard[-1].phase == TrainingProgress.PHASE_CANCELLED)
        assert node.heard[-1].step == stopped_at >= 3
        assert (out / "weights.safetensors").is_file()
        assert node.lifecycle.state() == State.PRIMARY_STATE_INACTIVE
        trained = [message for message in node.heard if message.phase == TrainingProgress.PHASE_TRAINING]
        steps = [message.step for message in trained]
        assert steps == sorted(steps)
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

        assert node.lifecycle.change(Transition.TRANSITION_ACTIVATE)
        before = len(node.heard)
        node.wait_for_step(stopped_at + 2)
        assert all(message.step >= stopped_at for message in node.heard[before:] if message.loss_names)
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 0
        assert read_checkpoint(last)["global_step"] >= stopped_at + 2
        assert not [line for line in node.lines if "Traceback" in line or "FATAL" in line]


def test_terminated_it_leaves_a_checkpoint_that_another_process_finishes_from(given, tmp_path):
    out = tmp_path / "out"
    with Process(given, out) as node:
        node.wait_for_step(2)
        node.process.send_signal(signal.SIGTERM)
        assert node.end() == 0
        assert phases_of(node.heard)[-1] == TrainingProgress.PHASE_CANCELLED
    done = read_checkpoint(out / "checkpoints" / "last.ckpt")["global_step"]
    last = done + 60  # so many that the peer finds the node before it is done
    with Process(given, out, "resume:=true", f"max_steps:={last}") as node:
        assert node.end() == 0
        assert phases_of(node.heard)[-1] == TrainingProgress.PHASE_FINISHED
        assert node.heard[-1].step == last
        assert node.heard[-1].eta.sec == 0
        assert min(message.step for message in node.heard if message.loss_names) > done


def test_validation_is_told_and_a_managed_node_outlives_its_run(given, tmp_path):
    config = {**ENDLESS, "max_steps": 4, "validate_every": 2, "validation_frames": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = ("autostart:=false", f"validate:=['{given / 'bag'}']")
    with Process(tmp_path, tmp_path / "out", *options, data=given / "bag") as node:
        assert node.lifecycle.change(Transition.TRANSITION_CONFIGURE)
        assert node.lifecycle.change(Transition.TRANSITION_ACTIVATE)
        node.wait_until(lambda: node.heard and node.heard[-1].phase == TrainingProgress.PHASE_FINISHED)
        last = node.heard[-1]
        assert dict(zip(last.metric_names, last.metric_values, strict=True)).keys() >= {"absRel", "score"}
        assert {"PREPARING", "TRAINING", "VALIDATING"} <= {Phase(message.phase).name for message in node.heard}
        node.wait_until(lambda: node.lifecycle.state() == State.PRIMARY_STATE_INACTIVE)
        assert node.lifecycle.change(Transition.TRANSITION_CLEANUP)
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 0


def test_ctrl_c_in_a_terminal_reaches_the_processes_that_read_samples_too(given, tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**ENDLESS, "workers": 1}))
    with Process(tmp_path, tmp_path / "out", data=given / "bag") as node:
        node.wait_for_step(1)
        os.killpg(node.process.pid, signal.SIGINT)
        assert node.end() == 0
        assert (tmp_path / "out" / "checkpoints" / "last.ckpt").is_file()
        assert not [line for line in node.lines if "Traceback" in line]


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


def test_weights_that_do_not_fit_end_as_failed(given, tmp_path):
    save_file({"layer": torch.zeros(8)}, tmp_path / "other.safetensors")
    options = ("autostart:=false", f"weights:={tmp_path / 'other.safetensors'}")
    with Process(given, tmp_path / "out", *options) as node:
        assert node.lifecycle.change(Transition.TRANSITION_CONFIGURE)
        assert node.lifecycle.change(Transition.TRANSITION_ACTIVATE)
        node.wait_until(lambda: node.heard and node.heard[-1].phase == TrainingProgress.PHASE_FAILED)
        assert node.heard[-1].message.startswith("WeightsError: ")
        assert "other.safetensors" in node.heard[-1].message
        node.wait_until(lambda: node.lifecycle.state() == State.PRIMARY_STATE_INACTIVE)
        node.process.send_signal(signal.SIGINT)
        assert node.end() == 2
        [line] = [line for line in node.lines if "[FATAL]" in line]
        assert f"training failed: {node.heard[-1].message}" in line
        assert not [line for line in node.lines if "Traceback" in line]
