# SPDX-License-Identifier: Apache-2.0
"""A video file as a source of samples: no camera, no truth, stamps from the container's own times."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import part_name
from monodvps_ros.data.format import Format
from monodvps_ros.data.formats.folder import DEFAULT_RATE_HZ, START_NS
from monodvps_ros.data.image_size import MAX_PIXELS
from monodvps_ros.data.sequence_watch import LeftOut, in_order
from monodvps_ros.data.video_containers import container_problem, missing_in_times
from monodvps_ros.errors import DataError, counted
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import CameraFrame, Sample

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp")

#: A nominal rate that differs from the measured one by less than this share is taken for it.
_RATE_TOLERANCE = 0.1
_CONSTANT_RATE = {"mpeg1video", "mpeg2video"}
#: FFmpeg's names of formats in which an index leads to the frames, and of those in which nothing counts them.
_WITH_INDEX, _WITHOUT_COUNT = {"avi"}, {"mpeg", "mpegts"}
#: Bits of a VP8 frame's first byte: 0 where it is for reference only; 1 where it depends on others. Encoders hide only
#: such frames.
_SHOWN_VP8, _DEPENDS_VP8 = 0x10, 0x01


class VideoSource:
    """The frames of a video file, upright, K unknown.

    Neither the number of frames nor the rate that the file's header says is relied upon: its packets are counted and
    their times read when it is opened.

    Args:
        path: the file; what FFmpeg can read.
        rate_hz: frames per second; stamps are then evenly apart. None takes the times of the file.
        labels: label space that is asked of models; a video has no truth.

    Attributes:
        damage: what of it cannot be read or is left out, in sentences; whole once it was read to its end.

    Raises:
        DataError: it cannot be read as a video.
    """

    def __init__(self, path: Path, rate_hz: float | None = None, labels: LabelSpace = CITYSCAPES) -> None:
        self.path = path
        self._labels = labels
        self._given_rate_hz = rate_hz
        self._is_scanned = False
        with _ffmpeg_errors() as errors, self._opened() as (container, stream):
            self._packets = _survey(container, stream)
            decoder, format_name, stream_id = stream.codec_context.name, container.format.name, stream.id
            nominal_hz = float(stream.guessed_rate or stream.average_rate or 0)
        if format_name in _WITH_INDEX and self._packets.errors:
            self._read_without_index()
        if not self._packets.count:
            raise DataError(f"{path}: contains no frame that can be read")
        self._packets.errors += [text for name, text in errors if name != decoder]  # frames are yet to be decoded
        with path.open("rb") as file:
            problem = container_problem(file, format_name, stream_id, self._packets.count)
        if not problem and format_name in _WITHOUT_COUNT:
            problem = missing_in_times(self._packets.times_s)
        self._packets.errors[:0] = [problem] if problem else []
        self._rate_hz = float(rate_hz or self._packets.rate_hz(nominal_hz))
        self.damage = [*self._packets.trouble(str(path)), *self._missing_end()]
        for sentence in self.damage:
            log.warning("%s", sentence)
        if self._packets.cut_away:
            log.warning("%s: its edit list cuts out %s", path, counted(self._packets.cut_away, "frame"))

    @property
    def rate_hz(self) -> float:
        """Frames per second: as given, else the median of the file's times."""
        return self._rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the (absent) truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of frames, as counted without decoding them."""
        return self._packets.count

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first frame; goes on after what is damaged, and tells it in `damage`.

        Raises:
            DataError: it cannot be read as a video any more.
        """
        left_out, sequence, index, decoded = LeftOut(), -1, 0, 0
        refused: list[str] = []
        with self._opened() as (container, stream):
            numbered = enumerate(_frames(container, stream, refused))
            for part, (number, (image, time_s)) in in_order(numbered, self._stamp_ns, left_out):
                index = 0 if part != sequence else index + 1
                sequence, decoded = part, decoded + 1
                yield Sample(
                    CameraFrame(image, self._stamp_ns((number, (image, time_s)))),
                    sequence=part_name(self.path.stem, part),
                    index=index,
                    source=f"{self.path} frame {number}",
                )
        self._report_missing(decoded, left_out, refused)

    def _stamp_ns(self, numbered: tuple[int, tuple[NDArray[np.uint8], float | None]]) -> int:
        """Stamp of a decoded frame; 0 where the file says no time."""
        number, (_, time_s) = numbered
        if self._given_rate_hz is not None or not self._packets.times_s:
            return START_NS + round(number * 1e9 / self._rate_hz)
        if self._packets.is_in_order:
            time_s = self._packets.times_s[number] if number < self._packets.count else None
        return 0 if time_s is None else START_NS + round((time_s - self._packets.times_s[0]) * 1e9)

    def _report_missing(self, decoded: int, left_out: LeftOut, refused: list[str]) -> None:
        found = [*self._packets.trouble(str(self.path)), *self._missing_end()]
        if str(left_out):
            found.append(f"{self.path}: skipped: {left_out}")
        dropped = left_out.repeated + left_out.backward + left_out.unstamped
        if decoded + dropped < self._packets.count:
            frames = counted(self._packets.count, "frame")
            found.append(f"{self.path}: {decoded + dropped} of {frames} can be read")
        elif refused:
            found.append(f"{self.path}: {counted(len(refused), 'packet')} cannot be decoded: {refused[0]}")
        for sentence in found[len(self.damage) :]:
            log.warning("%s", sentence)
        self.damage = found

    def _read_without_index(self) -> None:
        """Take the packets as they follow each other where there are more of them than the index knows."""
        self._is_scanned = True
        with self._opened() as (container, stream):
            scanned = _survey(container, stream)
        self._is_scanned = scanned.count > self._packets.count
        if self._is_scanned:
            log.warning("%s: its index is wrong: it leads to %d of %s", self.path, self._packets.count,
                        counted(scanned.count, "frame"))  # fmt: skip
            self._packets = scanned

    def _missing_end(self) -> list[str]:
        """Say where the frames end before the header's time; what an edit list cuts away is not missing."""
        packets = self._packets
        if packets.is_short:
            with self._opened(ignore_editlist="1") as (container, stream):
                packets = _survey(container, stream)
        if not packets.is_short:
            return []
        return [f"{self.path}: its frames end at {packets.end_s:.3f} s, but its header says {packets.header_s:.3f} s"]

    @contextmanager
    def _opened(self, **options: str) -> Iterator[tuple[Any, Any]]:
        if not self.path.is_file():
            raise DataError(f"{self.path}: does not exist")
        with self.path.open("rb") as file:  # not by name, which FFmpeg may take for an address or a pattern
            try:
                container = _open(_Pipe(file) if self._is_scanned else file, options)
            except (av.FFmpegError, OSError, ValueError) as error:
                raise DataError(f"{self.path}: cannot be read as a video: {error}") from None
            with container:
                stream = container.streams.best("video")  # not a cover picture
                if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
                    raise DataError(
                        f"{self.path}: cannot be read as a video: it contains no video stream of a known codec"
                    )
                stream.thread_type = "AUTO"
                stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
                yield container, stream


class _Pipe:
    """A file that can only be read on, so that FFmpeg cannot go by its index."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read


def _open(file: BinaryIO | _Pipe, options: dict[str, str]) -> Any:
    try:
        return av.open(file, options=options)
    except (av.FFmpegError, ValueError):
        if isinstance(file, _Pipe):
            raise
        file.seek(0)  # an index, or a fragment far behind, may be all that is damaged
        return av.open(file, options={**options, "fflags": "+ignidx"})


@dataclass
class _Packets:
    """What is found by reading a video's packets without decoding them.

    Attributes:
        count: those that are a frame to be shown.
        cut_away: frames that the file's edit list leaves out.
        times_s: their times in order; empty where the file has none.
        end_s: when the last ends, from the first on.
        header_s: duration that the header says; 0 where it says none.
        errors: what FFmpeg has to say against the file.
        hidden_s: times of packets that say they are for reference only.
        is_in_order: frames are shown in the order of the times, whatever a decoder says of each. FFmpeg takes the order
            of the packets of an AVI for the times of the frames, and guesses those that an MPEG stream leaves out.
    """

    count: int = 0
    cut_away: int = 0
    times_s: list[float] = field(default_factory=list)
    end_s: float = 0.0
    header_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    hidden_s: list[float] = field(default_factory=list)
    is_in_order: bool = False

    @property
    def is_short(self) -> bool:
        """Whether the frames end early by more than half of one."""
        return self.end_s > 0 and self.header_s - self.end_s > 0.5 * self.end_s / self.count

    def rate_hz(self, nominal_hz: float) -> float:
        """Frames per second by the median distance of two; the nominal one where that is about the same."""
        gaps = np.diff(self.times_s)
        if not (gaps > 0).any():
            return nominal_hz if nominal_hz > 0 else DEFAULT_RATE_HZ
        measured = 1.0 / float(np.median(gaps[gaps > 0]))
        return nominal_hz if abs(nominal_hz - measured) <= _RATE_TOLERANCE * measured else measured

    def trouble(self, name: str) -> list[str]:
        """Say in sentences what FFmpeg found."""
        if not self.errors:
            return []
        return [f"{name}: is damaged: {self.errors[0]} ({counted(len(self.errors), 'such message')})"]


@contextmanager
def _ffmpeg_errors() -> Iterator[list[tuple[str, str]]]:
    """Give what FFmpeg logs as an error, once it is left: who says it, and what."""
    found: list[tuple[str, str]] = []
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # or what another file was reproached with is not said of this one
    try:
        with av.logging.Capture() as messages:
            yield found
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    found += [(name, text.strip()) for _, name, text in messages]


def _survey(container: Any, stream: Any) -> _Packets:
    found = _Packets()
    try:
        for packet in container.demux(stream):
            _note(found, packet, stream)
    except (av.FFmpegError, ValueError) as error:
        found.errors.append(str(error))
    _sort_times(found, stream.codec_context)
    found.count += _falsely_hidden(found)
    there = found.count + found.cut_away + len(found.hidden_s)
    if stream.frames > there:
        found.errors.append(f"its header says {counted(stream.frames, 'frame')}, {counted(there, 'is', 'are')} there")
    if found.times_s:
        if found.end_s == found.times_s[-1] and found.count > 1:  # frames without a duration
            found.end_s += float(np.median(np.diff(found.times_s)))
        if "mp4" not in container.format.name:  # whose header counts from 0 on, also where the first frame comes later
            found.end_s -= found.times_s[0]
    if stream.duration is not None:
        found.header_s = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        found.header_s = container.duration / av.time_base
    return found


def _sort_times(found: _Packets, codec: Any) -> None:
    """Sort the times of the packets. MPEG-1 and -2 are of a constant rate: uneven times are wrong guesses."""
    times = np.array(found.times_s)
    is_even = codec.name in _CONSTANT_RATE
    is_whole = not found.errors and len(times) == found.count
    found.is_in_order = is_whole and (is_even or (bool(codec.has_b_frames) and bool((np.diff(times) >= 0).all())))
    times.sort()
    gaps = np.diff(times)
    if is_whole and is_even and not gaps.all():
        period_s = float(np.median(gaps))
        if abs(gaps.sum() - period_s * len(gaps)) < 0.5 * period_s:
            times = np.linspace(times[0], times[-1], len(times))
    found.times_s = times.tolist()


def _falsely_hidden(found: _Packets) -> int:
    """Count packets hidden by damage: encoders put a frame for reference beside one that is shown, not in its place."""
    shown = np.array(found.times_s)
    if len(shown) < 2:
        return 0
    apart = 0.5 * float(np.median(np.diff(shown)))
    return sum(bool(np.abs(shown - time).min() >= apart) for time in found.hidden_s)


def _note(found: _Packets, packet: Any, stream: Any) -> None:
    if not packet.size:
        return
    if packet.is_discard:
        found.cut_away += 1
        return
    time = packet.pts if packet.pts is not None else packet.dts
    if stream.codec_context.name == "vp8" and bytes(packet)[0] & (_SHOWN_VP8 | _DEPENDS_VP8) == _DEPENDS_VP8:
        found.hidden_s.append(float(time * packet.time_base) if time is not None else 0.0)
        return
    found.count += 1
    if time is not None:
        found.times_s.append(float(time * packet.time_base))
        found.end_s = max(found.end_s, float((time + (packet.duration or 0)) * packet.time_base))


def _frames(container: Any, stream: Any, refused: list[str]) -> Iterator[tuple[NDArray[np.uint8], float | None]]:
    """Give images and their times in seconds; leaves out what cannot be decoded, whose error it adds, or is damaged."""
    for packet in _packets(container, stream):
        for frame in _decoded(stream.codec_context, packet, refused):
            if not frame.is_corrupt:
                yield _upright(frame), None if frame.pts is None else float(frame.pts * stream.time_base)


def _decoded(codec: Any, packet: Any, refused: list[str]) -> list[Any]:
    try:
        return list(codec.decode(packet))
    except (av.FFmpegError, ValueError) as error:
        refused.append(str(error))
        return []


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Give packets up to what cannot be read, and None then: the decoder still holds frames of those before it."""
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, ValueError):  # missing packets show in the count
        yield None


def _upright(frame: Any) -> NDArray[np.uint8]:
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90)  # counterclockwise
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else np.asarray(pixels, np.uint8)


FORMAT = Format(
    f"a video ({', '.join(VIDEO_SUFFIXES)})",
    lambda path: path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES,
    lambda path, options: VideoSource(path, options.rate_hz, options.labels or CITYSCAPES),
    frozenset({"rate_hz", "labels"}),
)
