# SPDX-License-Identifier: Apache-2.0
"""One run of the demo: the perception node over real DDS on a drive, from a camera to pictures and a report."""

import json
import os
import signal
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from monodvps_ros.config import SceneConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.demo.filmstrip import draw_filmstrip
from monodvps_ros.demo.metrics import drive_metrics
from monodvps_ros.demo.middleware import environment
from monodvps_ros.demo.output_folder import OutputFolder
from monodvps_ros.demo.processes import ChildError
from monodvps_ros.demo.recording import Recording
from monodvps_ros.demo.report import RecordedTopic, make_report
from monodvps_ros.demo.session import DemoSession
from monodvps_ros.demo.video import write_video
from monodvps_ros.errors import DataError, WeightsError, counted
from monodvps_ros.evaluation.pictures import Panels, video_frame
from monodvps_ros.evaluation.result import figures_table
from monodvps_ros.files import write_text
from monodvps_ros.network import GRAPH_SUFFIXES, read_card, weights_file
from monodvps_ros.optional import is_installed
from monodvps_ros.outputs import Output, topic_of
from monodvps_ros.progress import progress_bar, tracked
from monodvps_ros.ros_environment import shipped_profile
from monodvps_ros.scenes import Drive
from monodvps_ros.types import Sample, SampleSource
from monodvps_ros.view.command import show, viewer_stream
from monodvps_ros.view.recorded import RecordedFrames

SYNTHETIC_FRAMES = 60
SYNTHETIC_RATE_HZ = 4.0
FILMSTRIP_FRAMES = 4

T = TypeVar("T")

console = Console(markup=False, highlight=False)


def run_demo(
    path: Path | None,
    out: Path,
    weights: str | None,
    frames: int | None,
    image_topic: str | None,
    rectified: str,
    rate: float,
    seed: int,
    device: str,
    camera_height_m: float | None,
) -> int:
    """Play a drive to the node, record what it publishes, measure and draw it, by the options of `monodvps demo`.

    Returns:
        Exit code: 0: done. 1: node or recorder failed; the end of its log is shown. 3: done, but frames of what was
        played are missing, damaged or left out because of their stamps.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # children are stopped as at Ctrl-C
    source, name, height_m = _source(path, image_topic, rectified, frames, seed)
    folder = OutputFolder(out)
    os.environ.update(environment(shipped_profile))
    weights = _weights() if weights is None else weights
    parameters: dict[str, Any] = {"pipeline.device": device, "pipeline.weights": weights}
    height_m = camera_height_m or height_m
    if height_m is not None:
        parameters["pipeline.scale.camera_height_m"] = float(height_m)
    console.print(f"{name}: {counted(_count(source, frames), 'frame')} at {source.rate_hz * rate:g} Hz")
    if weights == "random":
        console.print("The weights are random: the pipeline is real, the predictions are not.", style="yellow")
    try:
        samples = ReadableSamples(source, name, frames)
        report = _run(source, samples, name, _count(source, frames), rate, folder, parameters)
    except ChildError as error:
        console.print(f"The demo failed: {error}", style="red")
        return 1
    metrics = _measure(source, frames, folder, weights) if report["frames_processed"] else None
    if metrics is not None:
        report["metrics"] = metrics
        write_text(folder.report, json.dumps(report, indent=2) + "\n")
    title = f"{name}   |   weights: {weights_file(weights).name}   |   {report['device']}"
    files_made = _draw(folder, title, source)
    _summarize(report, folder, files_made)
    return exit_code(samples.damage)


def _source(
    path: Path | None, image_topic: str | None, rectified: str, frames: int | None, seed: int
) -> tuple[SampleSource, str, float | None]:
    """Return what to play, its name in the report, and the camera's height in metres where it is known."""
    if path is not None:
        source = open_source(path, image_topic=image_topic, rectified=rectified)
        if not len(source):
            raise DataError(f"{path} contains no frames; give a recording with at least one")
        return source, str(path), getattr(source, "camera_height_m", None)  # from a folder's camera.json
    config = SceneConfig(frames=frames or SYNTHETIC_FRAMES, rate_hz=SYNTHETIC_RATE_HZ)
    rendered = _Rendered(Drive(config, seed))
    return rendered, f"synthetic drive, seed {seed}", config.camera_height_m


class _Rendered:
    """A drive rendered before it is played, so that rendering does not compete with the node."""

    def __init__(self, drive: SampleSource) -> None:
        self.rate_hz = drive.rate_hz
        self.label_space = drive.label_space
        self._samples = list(tracked(drive, "rendering the drive", len(drive), console))

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)


def _weights() -> str:
    try:
        weights_file("")
    except WeightsError:
        return "random"
    return ""


def _count(source: SampleSource, frames: int | None) -> int:
    return len(source) if frames is None else min(frames, len(source))


def _run(
    source: SampleSource,
    samples: Iterable[Sample],
    name: str,
    count: int,
    rate: float,
    folder: OutputFolder,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Play samples of the source to the node, record, and write the report."""
    with progress_bar(console) as progress:
        task = progress.add_task("starting the node", total=count)
        with DemoSession(folder, parameters) as session:
            progress.update(task, description="playing")
            for _ in session.play(samples, source.rate_hz, rate):
                progress.advance(task)
            progress.update(task, description="waiting for the last frames")
            counts = session.finish()
            topics = session.output_topics
            sent_ns = session.play_count.sent_ns
    assert sent_ns is not None
    recording = Recording(folder.recording)
    outputs = {topic: recording.topics.get(topic) or RecordedTopic(type_name) for topic, type_name in topics.items()}
    report = make_report(name, sent_ns, counts, outputs)
    write_text(folder.report, json.dumps(report, indent=2) + "\n")
    return report


def _measure(source: SampleSource, frames: int | None, folder: OutputFolder, weights: str) -> dict[str, Any] | None:
    """Measure the recording where the drive has truth, and show the result beside the card's."""
    if weights.endswith(GRAPH_SUFFIXES):
        return None  # the classes of a graph are unknown without running it
    header = None if weights == "random" else read_card(weights)
    metrics = drive_metrics(islice(source, frames), folder.recording, source.label_space, header)
    if metrics is None:
        return None
    columns = {"this drive": metrics["drive"]}
    if metrics["card"] is not None:
        columns[f"card, {metrics['card']['split']} split"] = metrics["card"]
    console.print(figures_table(columns, f"Against ground truth, {counted(metrics['frames'], 'frame')}"))
    return metrics


def _draw(folder: OutputFolder, title: str, source: SampleSource) -> list[Path]:
    """Make filmstrip and video from the recording; return the files, none where no frame came through."""
    recording = Recording(folder.recording)
    stamps = recording.complete
    if not stamps:
        return []
    picked = {stamps[round(i * (len(stamps) - 1) / (FILMSTRIP_FRAMES - 1))] for i in range(FILMSTRIP_FRAMES)}
    strip: list[Panels] = []

    def video_frames() -> Iterator[Any]:
        for panels in tracked(recording.panels(), "drawing", len(stamps), console):
            if panels.stamp_ns in picked:
                strip.append(panels)
            yield video_frame(panels, source.label_space, recording.has_cloud)

    duration_s = (stamps[-1] - stamps[0]) * 1e-9
    rate_hz = (len(stamps) - 1) / duration_s if duration_s > 0 else source.rate_hz
    video = write_video(folder.path / "drive", video_frames(), rate_hz)
    if video.suffix != ".mp4":
        console.print("This OpenCV cannot write MP4; the video is a GIF.")
    draw_filmstrip(folder.filmstrip, strip, source.label_space, title)
    return [folder.filmstrip, video, *_write_view(folder, source, len(stamps))]


def _write_view(folder: OutputFolder, source: SampleSource, count: int) -> list[Path]:
    """Write the drive for the rerun viewer, where rerun is installed."""
    if not is_installed("rerun"):
        return []
    with viewer_stream(folder.view) as stream:
        shown = show(RecordedFrames(folder.recording), source.label_space, stream)
        for _ in tracked(shown, f"writing {folder.view.name}", count, console):
            pass
    return [folder.view]


def _summarize(report: dict[str, Any], folder: OutputFolder, pictures: list[Path]) -> None:
    table = Table("topic", "type", "encoding", "messages", box=None, header_style="bold", pad_edge=False)
    for topic, row in report["outputs"].items():
        table.add_row(topic, row["type"], row["encoding"] or "", str(row["count"]))
    console.print(table)
    lost = ", ".join(f"{count} {reason}" for reason, count in report["drop_reasons"].items())
    console.print(
        f"{counted(report['frames_published'], 'frame')} published, {report['frames_processed']} processed, "
        f"{report['frames_dropped']} dropped" + (f" ({lost})" if lost else "")
    )
    latency = report["latency_ms"]
    if latency["p50"] is not None:
        console.print(f"latency: median {latency['p50']:.0f} ms, maximum {latency['max']:.0f} ms")
    if report["frames_dropped"] > report["frames_processed"]:
        console.print(
            "This machine does not keep up with that rate; play more slowly, with a smaller --rate of 'monodvps demo'.",
            style="yellow",
        )
    if report["frames_processed"] and not report["outputs"][f"/{topic_of(Output.CLOUD)}"]["count"]:
        console.print(
            f"No depth in metres, so no cloud: the scale is unknown; see {folder.path}/logs/node.log.", style="yellow"
        )
    console.print("Look at:")
    for path in [*pictures, folder.report, folder.recording]:
        console.print(f"  {path}", soft_wrap=True)
