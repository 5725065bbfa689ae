# SPDX-License-Identifier: Apache-2.0
"""Runs the pipeline over a source and writes what it perceives; goes on where an interrupted run ended."""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from monodvps_ros.config import PipelineConfig, settings
from monodvps_ros.data.bag import BagWriter, is_bag
from monodvps_ros.data.formats import prediction_layout
from monodvps_ros.data.instance_ids import InstanceIds
from monodvps_ros.data.manifest import check_manifest, file_digest
from monodvps_ros.data.message_fields import output_fields
from monodvps_ros.data.predictions import frame_name, read_panoptic, whole_frames, write_prediction
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.errors import ConfigError, counted
from monodvps_ros.labels import VOID_CLASS_ID, decode_panoptic
from monodvps_ros.outputs import RECORDED_OUTPUTS, RECORDED_TOPICS, Output, Perception
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import Sample, SampleSource

MANIFEST = "predictions.json"
#: Settings that do not change what is predicted.
_WITHOUT_EFFECT = ("allow_programs", "device", "threads", "timing")


class Run:
    """The frames to predict, `limit` at most, and what predicts them, which is reset at each new sequence.

    Raises:
        ConfigError: depth of an unknown scale is to be published; predictions hold depth in metres, or none.
    """

    def __init__(self, source: SampleSource, pipeline: Pipeline, limit: int | None = None) -> None:
        if pipeline.config.scale.unknown != "withhold":
            raise ConfigError(
                "scale.unknown is 'publish' but predictions hold metres; give scale.mode=fixed "
                "scale.fixed_factor=FACTOR, or measure the weights themselves: monodvps evaluate --weights"
            )
        self._samples = ReadableSamples(source, "the input", limit)
        self.pipeline = pipeline
        self.length = len(source) if limit is None else min(limit, len(source))
        self.written = self.kept = self.without_metres = self.not_finite = 0
        self._why_no_metres = self._what_not_finite = ""

    def sequences(self) -> Iterator[tuple[str, Iterator[Sample]]]:
        """Give the sequences' names and samples, in order; each begins with a pipeline that has seen nothing."""
        for name, samples in groupby(self._samples, key=lambda sample: sample.sequence):
            self.pipeline.reset()
            yield name, samples

    def step(self, sample: Sample, wanted: frozenset[Output]) -> Perception:
        """Perceive a frame that is then written."""
        perception = self.pipeline.step(sample.frame, wanted)
        self.written += 1
        if perception.problem:
            self.not_finite += 1
            self._what_not_finite = perception.problem
        if not perception.scale.is_known:
            self.without_metres += 1
            self._why_no_metres = perception.scale.problem
        return perception

    @property
    def damage(self) -> list[str]:
        """What is missing of the source, in sentences; whole once all was predicted."""
        return self._samples.damage

    def summary(self, seconds: float) -> list[str]:
        """Say in sentences what was done in a time."""
        rate = f", {self.written / seconds:.1f} frames/s" if self.written and seconds > 0 else ""
        lines = [f"{counted(self.written, 'frame')} written, {self.kept} kept from an earlier run{rate}"]
        if self.without_metres:
            frames = counted(self.without_metres, "frame has", "frames have")
            lines.append(f"{frames} no depth: the scale is unknown: {self._why_no_metres}")
        if self.not_finite:
            frames = counted(self.not_finite, "frame is", "frames are")
            lines.append(f"{frames} incomplete: in the last, {self._what_not_finite}")
        return lines


class FolderPrediction:
    """Writes ``pan/`` and ``dep/`` in a layout of predictions; what is `given`, the frames, goes into the manifest.

    After an interruption, a sequence goes on after its last whole frame: the frames before it, as many as the tracker
    remembers, are shown to the pipeline again without being written, and objects keep the ids that the files have.

    Raises:
        ConfigError: the model's label space is not the layout's.
        DataError: `out` holds predictions that were made otherwise.
    """

    def __init__(self, run: Run, out: Path, format_name: str, given: Mapping[str, str]) -> None:
        self._run, self._out, self._layout = run, out, prediction_layout(format_name)
        labels = run.pipeline.model.label_space
        if labels.name != self._layout.labels.name:
            raise ConfigError(
                f"{format_name} has label space '{self._layout.labels.name}' but the model has '{labels.name}'; "
                "choose another format"
            )
        self._before = whole_frames(out, self._layout)
        check_manifest(out / MANIFEST, manifest(run.pipeline, format_name, given))
        self._reused = self._dropped = 0

    def __iter__(self) -> Iterator[Sample]:
        """Predict; give each frame once it is whole in the folder.

        Raises:
            DataError: a frame cannot be read or written.
        """
        for number, (_, samples) in enumerate(self._run.sequences()):
            ids = InstanceIds(self._layout.largest_instance)
            recent: deque[Sample] = deque(maxlen=self._run.pipeline.config.tracker.max_age + 1)
            going_on, last = True, ""
            for sample in samples:
                name = frame_name(sample, number)
                going_on = going_on and name in self._before
                if going_on:
                    recent.append(sample)
                    ids.reserve(*read_panoptic(self._out, name, self._layout))
                    last = name
                    self._run.kept += 1
                else:
                    if recent:
                        self._warm_up(recent, last, ids)
                        recent.clear()
                    self._write(sample, name, ids)
                yield sample
            self._reused += ids.reused
            self._dropped += ids.dropped

    def summary(self, seconds: float) -> list[str]:
        """Say in sentences what was done in a time."""
        lines = self._run.summary(seconds)
        limit = self._layout.largest_instance
        if self._reused:
            lines.append(
                f"{counted(self._reused, 'time')} an instance id was reused: the format holds {limit} of a class"
            )
        if self._dropped:
            lines.append(f"{counted(self._dropped, 'instance')} became void: more than {limit} of a class in one frame")
        return [*lines, f"{self._out}: pan/ and dep/ as {self._layout.name} has them"]

    def _write(self, sample: Sample, name: str, ids: InstanceIds) -> None:
        perception = self._run.step(sample, frozenset({Output.DEPTH, Output.PANOPTIC}))
        assert perception.panoptic is not None and perception.depth_m is not None
        class_ids, instance_ids = decode_panoptic(perception.panoptic)
        numbers = ids.assign(class_ids, instance_ids)
        class_ids = np.where(numbers < 0, np.uint8(VOID_CLASS_ID), class_ids)
        write_prediction(self._out, name, self._layout, class_ids, numbers.clip(0), perception.depth_m)

    def _warm_up(self, recent: deque[Sample], last: str, ids: InstanceIds) -> None:
        """Show the pipeline the frames before the gap, and find the files' ids again in the last of them."""
        for sample in recent:
            perception = self._run.pipeline.step(sample.frame, frozenset({Output.DEPTH, Output.PANOPTIC}))
        assert perception.panoptic is not None
        class_ids, instance_ids = decode_panoptic(perception.panoptic)
        old_classes, numbers = read_panoptic(self._out, last, self._layout)
        ids.adopt(class_ids, instance_ids, np.where(old_classes == class_ids, numbers, 0))


class BagPrediction:
    """Writes one recording per sequence, ``out/<sequence>``, with the topics of the node; whole ones are kept.

    Raises:
        DataError: `out` holds predictions that were made otherwise.
    """

    def __init__(self, run: Run, out: Path, format_name: str, given: Mapping[str, str]) -> None:
        self._run, self._out = run, out
        out.mkdir(parents=True, exist_ok=True)
        check_manifest(out / MANIFEST, manifest(run.pipeline, format_name, given))

    def __iter__(self) -> Iterator[Sample]:
        """Predict; give each frame once it is written to the recording that is being made.

        Raises:
            DataError: a frame cannot be read, or a recording cannot be written.
        """
        for name, samples in self._run.sequences():
            path = self._out / name
            if path.is_dir() and is_bag(path):
                for sample in samples:
                    self._run.kept += 1
                    yield sample
                continue
            with BagWriter(path) as writer:
                for sample in samples:
                    write_perception(writer, self._run.step(sample, RECORDED_OUTPUTS))
                    yield sample

    def summary(self, seconds: float) -> list[str]:
        """Say in sentences what was done in a time."""
        return [*self._run.summary(seconds), f"{self._out}: one recording per sequence"]


def write_perception(writer: BagWriter, perception: Perception) -> None:
    """Write what was perceived in one frame, on the node's topics; what is None is left out."""
    for row in RECORDED_TOPICS:
        fields = output_fields(row, perception)
        if fields is not None:
            writer.message(f"/{row.topic}", row.type_name, perception.stamp_ns, perception.frame_id, fields)


def manifest(pipeline: Pipeline, format_name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Say how predictions are made: all that must be the same for a second run to go on with them."""
    made: dict[str, Any] = {"format": format_name, **given, "model": pipeline.model.description}
    for entry in settings(PipelineConfig):
        if entry.name not in _WITHOUT_EFFECT:
            value = attrgetter(entry.name)(pipeline.config)
            made[f"pipeline.{entry.name}"] = list(value) if isinstance(value, tuple) else value  # as JSON reads it
    weights = Path(pipeline.config.weights)
    if weights.is_file():
        made["weights_sha256"] = file_digest(weights)
    return made
