# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: one status for the node, one for each camera.

The keys are constants here, and part of the node's interface: they do not change from one version to the next.
Counts are whole numbers as text, rates and latencies numbers with two decimals, absent values ``nan``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from monodvps_ros.outputs import ScaleEstimate, ScaleState
from monodvps_ros.perception.metric_scale import COMPARED
from monodvps_ros.perception.statistics import DROP_REASONS, LATENCIES, WINDOW_S, Snapshot

# Keys of the node's status.
STATE = "state"
DEVICE = "device"
WEIGHTS = "weights"
START_UP_S = "start-up s"
MEMORY = "memory MB"
GPU_MEMORY = "GPU memory MB"
CALLBACK_ERRORS = "callback errors"

# Keys of a camera's status.
RECEIVED = "frames received"
PROCESSED = "frames processed"
DROPPED = "frames dropped"
DROPPED_PREFIX = "frames dropped: "  # + one of statistics.DROP_REASONS
NOT_FINITE = "frames with NaN"
IDLE = "frames without subscriber"
LOST = "frames lost in transport"
INPUT_RATE = "input rate Hz"
OUTPUT_RATE = "output rate Hz"
LATENCY_P50 = "latency p50 ms"
LATENCY_P90 = "latency p90 ms"
LATENCY_MAX = "latency max ms"
RESETS = "resets by time jumps"
STAMPS = "stamps"
IMAGE_TOPIC = "image topic"
RELIABILITY = "image reliability"
IMAGE = "image"
CAMERA_INFO = "camera_info"
RECTIFICATION = "rectification"
CLOUD = "cloud MB"
SCALE_STATE = "scale state"
SCALE_FACTOR = "scale factor"
SCALE_CONFIDENCE = "scale confidence"
ROAD_RATIO = "road scale ratio"
LAST_ERROR = "last error"

#: Keys of the node's status and their meaning.
NODE_KEYS = {
    STATE: "lifecycle state",
    DEVICE: "device that the network runs on",
    WEIGHTS: "description of the weights",
    START_UP_S: "time from the start of the process to the first output",
    MEMORY: "resident memory of the process",
    GPU_MEMORY: "GPU memory of network and results; only on a GPU",
    CALLBACK_ERRORS: "exceptions outside image processing; the log has the traceback",
}

#: Keys of a camera's status and their meaning.
CAMERA_KEYS = {
    RECEIVED: "images that reached the node",
    PROCESSED: "images for which outputs were published",
    DROPPED: "images dropped, for any reason",
    **{DROPPED_PREFIX + reason: f"images dropped, reason: {reason}" for reason in DROP_REASONS},
    NOT_FINITE: "images for which the network gave NaN or infinite numbers; void and without points there",
    IDLE: "images still on their way when the last subscriber of an output left",
    LOST: "images that the middleware reports as lost before they reached the node",
    INPUT_RATE: f"images received per second, over the last {WINDOW_S:g} s",
    OUTPUT_RATE: f"images processed per second, over the last {WINDOW_S:g} s",
    LATENCY_P50: f"time from an image's arrival to its last output, median of the last {LATENCIES} images",
    LATENCY_P90: f"time from an image's arrival to its last output, 90th percentile of the last {LATENCIES} images",
    LATENCY_MAX: "time from an image's arrival to its last output, maximum since the start",
    RESETS: "number of time jumps: stamps or clock went back, or a gap between images",
    STAMPS: "where the stamps come from: the images, or the time of receipt where all of theirs are 0",
    IMAGE_TOPIC: "resolved name of the image topic",
    RELIABILITY: "current QoS reliability of the image subscription",
    IMAGE: "size and encoding of the last image",
    CAMERA_INFO: "ok, or what is wrong with it",
    RECTIFICATION: "handling of lens distortion",
    CLOUD: "size of the last cloud",
    SCALE_STATE: f"source of the metres: {', '.join(state.value for state in ScaleState)}",
    SCALE_FACTOR: "metres per unit of the network's depth; nan if unknown",
    SCALE_CONFIDENCE: "confidence of the scale, 0..1",
    ROAD_RATIO: "scale by the camera's height above the road over that of metric weights, median of the last "
    f"{COMPARED} images with road; nan without either",
    LAST_ERROR: "last error, with the stamp of its image",
}

#: Without an image for this time, the input is silent.
SILENCE_S = 2.0
#: The node is falling behind where it processes less than this share of the images received.
KEEPING_UP = 0.5
#: Larger clouds lose messages even over shared memory that is configured for large messages.
LARGE_CLOUD_MB = 30.0

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class NodeHealth:
    """Content of the node's status.

    Attributes:
        name: fully qualified name of the node.
        state: lifecycle state.
        problem: why it does not work; empty where it does.
        device: what it computes on; empty before it is known.
        weights: description of the weights; empty before they are loaded.
        start_up_s: from the start of the process to the first frame out; None before.
        callback_errors: uncaught exceptions of callbacks, image processing not counted.
        memory_mb: memory that the process holds, in millions of bytes.
        gpu_memory_mb: the same of the GPU; None where the device is none, or not known yet.
    """

    name: str
    state: str
    problem: str
    device: str
    weights: str
    start_up_s: float | None
    callback_errors: int
    memory_mb: float
    gpu_memory_mb: float | None


@dataclass(frozen=True)
class CameraHealth:
    """Content of a camera's status.

    Attributes:
        name: of the status.
        active: whether the node is active.
        snapshot: its counters.
        image_topic: resolved name.
        stamps: where the stamps come from.
        max_rate_hz: limit of the rate; 0 for none.
        subscribed_s: seconds since it subscribed to the images; None while no output has a subscriber.
        publishers: nodes that publish the images, whether or not their QoS fits; one entry per publisher.
        reliability: QoS reliability of the image subscription now.
        lost_in_transport: images that the middleware reports as lost before they reached the node.
        incompatible: topic to the QoS policy that did not fit, input and outputs.
        image: size and encoding of the last image; empty before the first.
        frame_id: of the last image.
        camera_problem: why there is no cloud; empty where there is.
        frame_problem: where image and camera_info name two frames; else empty.
        rectification: handling of lens distortion.
        cloud_mb: size of the last cloud in millions of bytes; None before the first.
        scale: of the last frame; None before the first.
        withholds_unknown: whether depth is withheld while the scale is unknown.
        device_lost: whether the compute device is gone.
        odometry_problem: why there is no odometry though somebody asks for it; else empty.
    """

    name: str
    active: bool
    snapshot: Snapshot
    image_topic: str
    stamps: str
    max_rate_hz: float
    subscribed_s: float | None
    publishers: tuple[str, ...]
    reliability: str
    lost_in_transport: int
    incompatible: Mapping[str, str]
    image: str
    frame_id: str
    camera_problem: str
    frame_problem: str
    rectification: str
    cloud_mb: float | None
    scale: ScaleEstimate | None
    withholds_unknown: bool
    device_lost: bool
    odometry_problem: str = ""


def node_status(health: NodeHealth) -> DiagnosticStatus:
    """Make the node's status."""
    gpu = {} if health.gpu_memory_mb is None else {GPU_MEMORY: _number(health.gpu_memory_mb)}
    return DiagnosticStatus(
        level=ERROR if health.problem else OK,
        name=health.name,
        message=health.problem or health.state,
        hardware_id=health.device,
        values=_values(
            {
                STATE: health.state,
                DEVICE: health.device,
                WEIGHTS: health.weights,
                START_UP_S: _number(health.start_up_s),
                MEMORY: _number(health.memory_mb),
                **gpu,
                CALLBACK_ERRORS: str(health.callback_errors),
            }
        ),
    )


def camera_status(health: CameraHealth) -> DiagnosticStatus:
    """Make a camera's status."""
    level, message = judge(health)
    snapshot, scale = health.snapshot, health.scale
    values = {
        RECEIVED: str(snapshot.received),
        PROCESSED: str(snapshot.processed),
        DROPPED: str(snapshot.dropped_total),
        **{DROPPED_PREFIX + reason: str(count) for reason, count in snapshot.dropped.items()},
        NOT_FINITE: str(snapshot.not_finite),
        IDLE: str(snapshot.idle),
        LOST: str(health.lost_in_transport),
        INPUT_RATE: _number(snapshot.input_rate_hz),
        OUTPUT_RATE: _number(snapshot.output_rate_hz),
        LATENCY_P50: _number(snapshot.latency_p50_ms),
        LATENCY_P90: _number(snapshot.latency_p90_ms),
        LATENCY_MAX: _number(snapshot.latency_max_ms),
        RESETS: str(snapshot.resets),
        STAMPS: health.stamps,
        IMAGE_TOPIC: health.image_topic,
        RELIABILITY: health.reliability,
        IMAGE: health.image,
        CAMERA_INFO: health.camera_problem or health.frame_problem or ("ok" if health.image else "not looked at yet"),
        RECTIFICATION: health.rectification,
        CLOUD: _number(health.cloud_mb),
        SCALE_STATE: scale.state.value if scale else "",
        SCALE_FACTOR: f"{scale.factor:.4g}" if scale and scale.is_known else "nan",
        SCALE_CONFIDENCE: _number(scale.confidence if scale else None),
        ROAD_RATIO: _number(scale.road_ratio if scale else None),
        LAST_ERROR: snapshot.last_error,
    }
    return DiagnosticStatus(
        level=level, name=health.name, message=message, hardware_id=health.frame_id, values=_values(values)
    )


def judge(health: CameraHealth) -> tuple[bytes, str]:
    """Return a camera's level and message: all problems, worst first; without any, the frame rate."""
    problems = sorted(_problems(health), key=lambda problem: problem[0], reverse=True)
    if problems:
        return problems[0][0], "; ".join(text for _, text in problems)
    if not health.active:
        return OK, "not active"
    if health.subscribed_s is None:
        return OK, f"no subscribers: no output is wanted, so {health.image_topic} is not subscribed to"
    return OK, f"{health.snapshot.output_rate_hz:.1f} frames/s"


def _problems(health: CameraHealth) -> Iterator[tuple[bytes, str]]:
    snapshot = health.snapshot
    if health.device_lost:
        yield ERROR, f"the compute device was lost; restart the node. {snapshot.last_error}"
    if not health.active:
        return
    if snapshot.since_error_s is not None and snapshot.since_error_s < WINDOW_S and not health.device_lost:
        yield ERROR, snapshot.last_error
    if len(health.publishers) > 1:
        yield WARN, several_publishers(health.image_topic, health.publishers)
    silent = _is_silent(health)
    if silent:
        yield WARN, _why_silent(health)
    received_hz, processed_hz = snapshot.input_rate_hz, snapshot.output_rate_hz
    wanted_hz = min(received_hz, health.max_rate_hz or received_hz)
    if processed_hz < KEEPING_UP * wanted_hz and health.subscribed_s is not None:
        dropped = snapshot.dropped_lately
        most = f", most are dropped: {max(dropped, key=dropped.__getitem__)}" if dropped else ""
        yield WARN, f"falling behind: {received_hz:.1f} images/s received, {processed_hz:.1f} processed{most}"
    for topic, policy in health.incompatible.items():
        if not (silent and topic == health.image_topic):
            yield WARN, f"QoS of the other end of {topic} does not fit: {policy}"
    if health.camera_problem:
        yield WARN, f"no cloud: {health.camera_problem}"
    if health.scale is not None and health.scale.problem:
        depth = "no depth" if health.withholds_unknown else "depth is not in metres"
        yield WARN, f"{depth}: the scale is unknown: {health.scale.problem}"
    doubt = health.scale.doubt if health.scale is not None else ""
    for problem in filter(None, (doubt, health.frame_problem, health.odometry_problem)):
        yield WARN, problem
    if health.cloud_mb is not None and health.cloud_mb > LARGE_CLOUD_MB:
        yield (
            WARN,
            f"a cloud of {health.cloud_mb:.0f} MB is more than DDS carries reliably; raise pipeline.cloud.stride",
        )


def _is_silent(health: CameraHealth) -> bool:
    """Whether images are missing that should come; also, without a subscription, where nobody would send any."""
    if health.subscribed_s is None:
        return not health.publishers
    since = health.snapshot.since_received_s
    return health.subscribed_s > SILENCE_S and (since is None or since > SILENCE_S)


def several_publishers(topic: str, publishers: Sequence[str]) -> str:
    """Say that an image topic has several publishers, whose images mix."""
    return f"{len(publishers)} publishers on {topic}: {', '.join(publishers)}; their images mix, so stop all but one"


def _why_silent(health: CameraHealth) -> str:
    topic = health.image_topic
    if topic in health.incompatible:
        return f"no image: QoS of the publisher on {topic} does not fit: {health.incompatible[topic]}"
    if not health.publishers:
        nobody = "" if health.subscribed_s is not None else ", and no output has subscribers"
        return f"no image: nobody publishes {topic}{nobody}"
    publishers, since = ", ".join(health.publishers), health.snapshot.since_received_s
    if since is not None:
        return f"no image on {topic} for {since:.0f} s; published by {publishers}"
    return f"no image yet on {topic}, published by {publishers}"


def _values(pairs: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in pairs.items()]


def _number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.2f}"
