# SPDX-License-Identifier: Apache-2.0
"""Progress of a training run, as a message and as a status on /diagnostics."""

from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from monodvps_ros.msg import TrainingProgress
from monodvps_ros.training.progress import Progress

# Keys of the status; part of the node's interface.
STATE = "state"
PHASE = "phase"
STEP = "step"
MAX_STEPS = "max steps"
LOSS = "total loss"
REMAINING_S = "remaining s"
SILENT_S = "since last progress s"
OUT = "out"
CALLBACK_ERRORS = "callback errors"

#: Keys of the status and their meaning.
KEYS = {
    STATE: "lifecycle state",
    PHASE: "phase of the run, as in training/progress",
    STEP: "optimiser steps done",
    MAX_STEPS: "optimiser steps planned",
    LOSS: "total loss at the last step",
    REMAINING_S: "expected time to the end; nan if unknown",
    SILENT_S: "time since the last message on training/progress; nan before the first",
    OUT: "output folder of the run",
    CALLBACK_ERRORS: "exceptions outside training; the log has the traceback",
}


def progress_message(progress: Progress, stamp: Time) -> TrainingProgress:
    """Make the message.

    Args:
        progress: of the run.
        stamp: time now.
    """
    eta = Duration(sec=-1)
    if progress.remaining_s is not None:
        whole_s = int(progress.remaining_s)
        eta = Duration(sec=min(whole_s, 2**31 - 1), nanosec=int((progress.remaining_s - whole_s) * 1e9))
    message = TrainingProgress(
        phase=progress.phase.value,
        epoch=progress.epoch,
        step=progress.step,
        max_steps=progress.max_steps,
        loss_names=list(progress.losses),
        loss_values=list(progress.losses.values()),
        metric_names=list(progress.metrics),
        metric_values=list(progress.metrics.values()),
        eta=eta,
        message=progress.message,
    )
    message.header.stamp = stamp
    return message


def training_status(
    name: str, state: str, problem: str, progress: Progress, silent_s: float | None, out: str, callback_errors: int
) -> DiagnosticStatus:
    """Make the node's status.

    Args:
        name: of the status.
        state: lifecycle state.
        problem: why it does not train; empty where there is none.
        progress: of the current or last run.
        silent_s: since the last progress; None before the first.
        out: folder that it writes to.
        callback_errors: uncaught exceptions of callbacks.
    """
    values = {
        STATE: state,
        PHASE: progress.phase.name,
        STEP: str(progress.step),
        MAX_STEPS: str(progress.max_steps),
        LOSS: _number(progress.losses.get("total")),
        REMAINING_S: _number(progress.remaining_s),
        SILENT_S: _number(silent_s),
        OUT: out,
        CALLBACK_ERRORS: str(callback_errors),
    }
    return DiagnosticStatus(
        level=DiagnosticStatus.ERROR if problem else DiagnosticStatus.OK,
        name=name,
        message=problem or progress.message or state,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"
