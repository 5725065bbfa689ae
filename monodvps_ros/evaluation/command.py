# SPDX-License-Identifier: Apache-2.0
"""What `monodvps evaluate` does: open both sides, measure, write JSON and page, print the figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from monodvps_ros.config import PipelineConfig, load
from monodvps_ros.data import open_source
from monodvps_ros.data.formats import find_format, format_named
from monodvps_ros.data.formats.pseudo_labels import is_pseudo_labelled
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.data.label_file import LabelFile, find_label_file, read_label_file
from monodvps_ros.data.predictions import Predictions, open_predictions
from monodvps_ros.data.reading import ReadableSamples, damage_of
from monodvps_ros.errors import ConfigError, DataError, counted
from monodvps_ros.evaluation.depth_scaling import DepthScaling
from monodvps_ros.evaluation.model_pairs import ModelPairs
from monodvps_ros.evaluation.pairs import Names, PredictionPairs, TruthReader, are_many
from monodvps_ros.evaluation.report import render_report
from monodvps_ros.evaluation.result import (
    UNPAIRED,
    Result,
    at_scaling,
    comparison_table,
    figures_table,
    read_result,
    write_result,
)
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.evaluation.totals import write_totals
from monodvps_ros.files import given_or_shipped, write_text
from monodvps_ros.metrics import RECORDING_RULES, DepthProtocol
from monodvps_ros.perception import resolve_device
from monodvps_ros.perception.loading import load_model
from monodvps_ros.progress import tracked
from monodvps_ros.scenes.drives import split as split_of
from monodvps_ros.scenes.split_files import is_written
from monodvps_ros.types import Sample, SampleSource


@dataclass(frozen=True)
class Request:
    """What is to be measured: the options of `monodvps evaluate`, whose help describes them.

    Empty texts and None stand for options that were not given. Depth scaling is then median for a model and none for
    predictions; the data set and labels are found from the data.

    Raises:
        ConfigError: two options do not go together.
    """

    data: Path
    predictions: Path | None = None
    weights: str = ""
    against: str = ""
    split: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    dataset: str = ""
    labels: Path | None = None
    stills: bool = False
    frames: int | None = None
    last: int | None = None
    min_area_px: int = 0
    scaling: str = ""
    camera_height_m: float | None = None
    cap_m: float = 80.0
    crop: str = "none"
    image_topic: str | None = None
    rectified: str = "auto"
    json: Path | None = None
    totals: Path | None = None
    report: Path | None = None
    baseline: Path | None = None
    worst: int = 4

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.frames is not None and self.last is not None:
            raise ConfigError(f"--frames {self.frames} and --last {self.last} are both given; leave one out")
        if self.against and self.baseline is not None:
            raise ConfigError("--against and --baseline are both given; compare with one of them")
        if self.predictions is None and self.scaling == DepthScaling.CAMERA_HEIGHT.value:
            raise ConfigError(
                "--depth-scaling camera-height is for predictions; a model has 'live', the node's own way"
            )
        if self.predictions is not None:
            names, given = ("--against", "--split", "settings", "--stills"), vars(self)
            wrong = [name for name in names if given[name.removeprefix("--")]]
            if wrong:
                raise ConfigError(f"{wrong[0]} is for weights that predict now; leave it out with --predictions")
            if self.scaling == DepthScaling.LIVE.value:
                raise ConfigError("--depth-scaling live is for weights; take none for what a node has published")
        if self.split and ("scale.camera_height_m" in self.settings or self.camera_height_m is not None):
            raise ConfigError("the camera's height is that of each drive here; leave it out")

    @property
    def scalings(self) -> list[DepthScaling]:
        """Depth scalings to measure, the one to show last."""
        if self.predictions is not None:
            return [DepthScaling(self.scaling or "none")]
        shown = DepthScaling(self.scaling or "median")
        return [*(each for each in (DepthScaling.NONE, DepthScaling.LIVE, DepthScaling.MEDIAN) if each != shown), shown]


@dataclass(frozen=True)
class _Recording:
    source: SampleSource
    camera_height_m: float | None

    @cached_property
    def samples(self) -> ReadableSamples:
        return ReadableSamples(self.source, "the data")


def evaluate(request: Request) -> int:
    """Measure, write what is asked for, and print the figures.

    Returns:
        Exit code: 0, or 3 where frames of the data or of the predictions are missing, damaged or left out.

    Raises:
        ConfigError: an option does not fit the data.
        DataError: data, predictions or a baseline cannot be read, or there is nothing to measure.
        WeightsError: weights cannot be had.
    """
    baseline = None if request.baseline is None else read_result(request.baseline)
    recordings = _open(request)
    evaluation, result = _measure(request, recordings)
    if request.against:
        _, before = _measure(replace(request, weights=request.against, worst=0), recordings)
        result["against"] = baseline = before
    name = Path(request.against).name if request.against else request.baseline.name if request.baseline else ""
    if request.json is not None:
        write_result(request.json, result)
    if request.totals is not None:
        write_totals(request.totals, evaluation, result)
    if request.report is not None:
        frames, film = evaluation.worst_frames(), evaluation.film.contents()
        page = render_report(result, evaluation.shown.value, frames, film, baseline, name, _title(request))
        write_text(request.report, page)
    _print(request, result, baseline, name)
    return exit_code(result["damage"])


def _open(request: Request) -> list[_Recording]:
    if not request.split:
        source = open_source(
            request.data, image_topic=request.image_topic, rectified=request.rectified, label_file=request.labels
        )
        height_m = request.camera_height_m or getattr(source, "camera_height_m", None)
        return [_Recording(source, None if "scale.camera_height_m" in request.settings else height_m)]
    drives = split_of(request.split)
    missing = [drive for drive in drives if not is_written(drive, request.data, as_bag=True)]
    if missing:
        share = f"{len(missing)} of {counted(len(drives), 'drive')}"
        raise DataError(
            f"{request.data / missing[0].folder}: {missing[0].name} is missing ({share}); render them with: "
            f"monodvps scenes --split {request.split} --out {request.data}"
        )
    return [
        _Recording(open_source(request.data / drive.folder / drive.name), drive.config.camera_height_m)
        for drive in drives
    ]


def _measure(request: Request, recordings: list[_Recording]) -> tuple[Evaluation, Result]:
    source = recordings[0].source
    data_format = find_format(request.data)
    rules = (format_named(request.dataset) if request.dataset else data_format).rules or RECORDING_RULES
    labels = _labels(request, source)
    truth = TruthReader(request.data, labels, request.min_area_px, data_format.read_panoptic)
    protocol = DepthProtocol(max_depth_m=request.cap_m, crop=request.crop)
    evaluation = Evaluation(
        rules, source.label_space, request.scalings, None if labels is None else labels.groups, protocol,
        request.camera_height_m, request.worst if request.report is not None else 0,
    )  # fmt: skip
    result: Result = {"data": str(request.data), "split": request.split or None,
                      "labels": None if labels is None else str(labels.path)}  # fmt: skip
    result |= {"min_area_px": request.min_area_px, "settings": dict(request.settings)}
    predictions: Predictions | None = None
    if request.predictions is not None:
        if is_pseudo_labelled(request.data):
            raise DataError(f"{request.data}: contains pseudo-labels, not ground truth; give --data with true labels")
        predictions = open_predictions(request.predictions, rules.name)
        made = PredictionPairs(truth, predictions, are_many(request.data, request.predictions))
        evaluation.add_all(made.pairs(_samples(request, recordings[0], "evaluating")))
        without_truth, measured = made.without_truth, {"predictions": str(request.predictions)}
    else:
        without_truth, measured = Names(), _predict(request, recordings, truth, evaluation)
    _check_any(evaluation, without_truth, request.data)
    unpaired = {"predictions": without_truth.summary(), "ground_truth": evaluation.without_prediction.summary()}
    damage = [sentence for recording in recordings for sentence in recording.samples.damage]
    damage += damage_of(predictions)
    return evaluation, {**result, **measured, **evaluation.result(), "unpaired": unpaired, "damage": damage}


def _predict(
    request: Request, recordings: list[_Recording], truth: TruthReader, evaluation: Evaluation
) -> dict[str, Any]:
    settings = load(PipelineConfig, None, {"device": request.device, "weights": request.weights, **request.settings})
    model = load_model(settings, resolve_device(settings.device))
    if model.label_space.name != evaluation.space.name:
        raise ConfigError(
            f"{request.data} has the classes of '{evaluation.space.name}' but the model those of "
            f"'{model.label_space.name}'; only a model of the same classes can be measured"
        )
    predictor = ModelPairs(model, settings, truth, request.stills, allow_pseudo_labels=True)
    for recording in recordings:
        samples = _samples(request, recording, f"evaluating {model.description}")
        evaluation.add_all(predictor.pairs(samples, recording.camera_height_m))
    reference = "pseudo-labels" if predictor.against_pseudo_labels else "truth"
    return {
        "weights": model.description,
        "reference": reference,
        "not_finite": predictor.not_finite,
        "pipeline_ms": predictor.times_ms(),
    }


def _samples(request: Request, recording: _Recording, what: str) -> Iterator[Sample]:
    count = len(recording.source)
    first = 0 if request.last is None else max(count - request.last, 0)
    end = count if request.frames is None else min(request.frames, count)
    taken = islice(recording.samples, first, None if request.frames is None else end)
    return tracked(taken, what, end - first)


def _labels(request: Request, source: SampleSource) -> LabelFile | None:
    if request.labels is not None:
        return read_label_file(given_or_shipped(request.labels), source.label_space, request.data)
    return find_label_file(request.data, source.label_space)


def _check_any(evaluation: Evaluation, without_truth: Names, truth: Path) -> None:
    missing = evaluation.without_prediction
    if evaluation.frames:
        return
    if not missing.count:
        raise DataError(
            f"{truth}: contains no ground truth: neither panoptic labels nor depth; give --data one that "
            "does (a recording of the node alone has predictions only; label images need --labels or a labels.yaml)"
        )
    raise DataError(
        f"no prediction belongs to a true frame: true frames are named {', '.join(missing.names[:2])}, "
        f"predictions {', '.join(without_truth.names[:2])}; check that both are of the same recording"
    )


def _title(request: Request) -> str:
    what = request.weights if request.predictions is None else request.predictions.resolve().name
    return f"{what} on {f'{request.split} of ' if request.split else ''}{request.data.resolve().name}"


def _print(request: Request, result: Result, baseline: Result | None, name: str) -> None:
    console = Console(markup=False, highlight=False)
    shown = request.scalings[-1].value
    title = f"{result['dataset']}: {counted(result['frames'], 'frame')} in {counted(result['sequences'], 'sequence')}"
    if request.against and baseline is not None:
        after, before = at_scaling(result, shown), at_scaling(baseline, shown)
        title += f", {result['reference']}, depth scaling {shown}"
        console.print(comparison_table(after["figures"], before["figures"], title))
    else:
        columns = {f"scaling {scaling}": figures for scaling, figures in result["figures"].items()}
        if baseline is not None:
            columns[name] = at_scaling(baseline, shown)["figures"]
        console.print(figures_table(columns, title))
    if result["labels"] is not None:
        ious = {key: values["iou"] for key, values in result["per_class"].items() if values.get("iou") is not None}
        console.print("IoU (%): " + ", ".join(f"{key} {value:.1f}" for key, value in ious.items()))
    _print_notes(console, result)
    for path in (request.json, request.totals, request.report):
        if path is not None:
            console.print(f"wrote {path}", soft_wrap=True)


def _print_notes(console: Console, result: Result) -> None:
    for side, what in UNPAIRED.items():
        unpaired = result["unpaired"][side]
        if unpaired["count"]:
            more = ", …" if unpaired["count"] > 5 else ""
            console.print(f"{counted(unpaired['count'], *what)} skipped: {', '.join(unpaired['names'][:5])}{more}")
    if result.get("reference") == "pseudo-labels":
        console.print("panoptic figures are against pseudo-labels: agreement with a teacher, not accuracy")
    live = result["by_depth_scaling"].get("live", {}).get("factor", {})
    if live.get("unscaled_frames"):
        console.print(f"{counted(live['unscaled_frames'], 'frame')} had no metres as the node would publish them")
    if result.get("not_finite"):
        frames = counted(result["not_finite"], "frame")
        console.print(f"{frames}: the network gave NaN or infinite numbers, measured as void there")
    if "pipeline_ms" in result:
        console.print(f"pipeline: median {result['pipeline_ms']['p50']:.0f} ms per frame")
