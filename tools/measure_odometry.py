# SPDX-License-Identifier: Apache-2.0
"""Measures the odometry of weights on recordings with poses, beside ORB features and the essential matrix.

    python tools/measure_odometry.py --weights WEIGHTS RECORDING...

Errors are KITTI's: m per 100 m and degrees per 100 m, over stretches of the given lengths. The essential matrix has no
scale: each of its steps is given its true length.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.config import PipelineConfig, ScaleConfig
from monodvps_ros.data import open_source
from monodvps_ros.errors import DataError, MonoDVPSError, counted
from monodvps_ros.metrics.odometry_errors import odometry_errors
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.loading import load_model, load_pose
from monodvps_ros.types import Sample

_FEATURES = 2000
_RANSAC_PX = 1.0
_FEWEST = 8  # matches


def follow(samples: list[Sample], weights: str, camera_height_m: float) -> NDArray[np.float64]:
    """Return the poses (N, 4, 4) of the pipeline's odometry: by the pose network of the weights, or by corners."""
    config = PipelineConfig(
        weights=weights, device="cpu", engine="torch", scale=ScaleConfig(camera_height_m=camera_height_m)
    )
    pipeline = Pipeline(load_model(config), config, load_pose(config))
    found = [pipeline.step(sample.frame, frozenset({Output.ODOMETRY})).odometry for sample in samples]
    return np.array([odometry.pose for odometry in found if odometry is not None])


def orb_motion(before: Sample, after: Sample, length_m: float) -> NDArray[np.float64]:
    """Return (4, 4): carries points of the second camera into the first; its step has the given length."""
    orb: Any = cv2.ORB_create(_FEATURES)  # type: ignore[attr-defined]
    matrix = before.frame.intrinsics
    assert matrix is not None
    motion = np.eye(4)
    (points, descriptors), (others, other_descriptors) = (
        orb.detectAndCompute(cv2.cvtColor(sample.frame.rectified().image, cv2.COLOR_RGB2GRAY), None)
        for sample in (before, after)
    )
    if descriptors is None or other_descriptors is None:
        return motion
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(descriptors, other_descriptors)
    if len(matches) < _FEWEST:
        return motion
    first = np.array([points[match.queryIdx].pt for match in matches])
    second = np.array([others[match.trainIdx].pt for match in matches])
    essential, inliers = cv2.findEssentialMat(first, second, matrix, cv2.RANSAC, 0.999, _RANSAC_PX)
    if essential is None or essential.shape != (3, 3):
        return motion
    _, rotation, direction, _ = cv2.recoverPose(essential, first, second, matrix, mask=inliers)
    motion[:3, :3], motion[:3, 3] = rotation, length_m * direction[:, 0]
    return np.linalg.inv(motion).astype(np.float64)


def orb_poses(samples: list[Sample], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the composed poses (N, 4, 4) of ORB and the essential matrix."""
    poses = [np.eye(4)]
    for place in range(1, len(samples)):
        length = float(np.linalg.norm(true[place, :3, 3] - true[place - 1, :3, 3]))
        poses.append(poses[-1] @ orb_motion(samples[place - 1], samples[place], length))
    return np.array(poses)


def measure(recording: Path, weights: str, camera_height_m: float, lengths_m: list[float]) -> Iterator[str]:
    """Yield a line of figures for each way."""
    samples = [sample for sample in open_source(recording) if sample.truth.world_from_camera is not None]
    if len(samples) < 2:
        raise DataError(f"{recording}: has no poses; a folder needs poses.txt, a recording transforms on /tf")
    true = np.array([sample.truth.world_from_camera for sample in samples])
    way = float(np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum())
    yield f"{recording.name}: {counted(len(samples), 'frame')}, {way:.0f} m"
    ways = {"weights": follow(samples, weights, 0.0)}
    if camera_height_m > 0.0:
        ways["weights and camera height"] = follow(samples, weights, camera_height_m)
    for name, found in {**ways, "ORB, true scale": orb_poses(samples, true)}.items():
        errors = odometry_errors(true, found, lengths_m)
        yield (
            f"  {name}: {100 * errors.translation:.1f} m, {100 * math.degrees(errors.rotation_rad_m):.1f} degrees "
            f"per 100 m ({counted(errors.stretches, 'stretch', 'stretches')})"
        )


def main() -> None:
    """Measure each recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, nargs="+", help="Recordings with poses.")
    parser.add_argument("--weights", default="", help="Weights file; empty: the default weights.")
    parser.add_argument("--camera-height-m", type=float, default=0.0, help="Above the road; 0: not known.")
    parser.add_argument(
        "--lengths", type=float, nargs="+", default=[10.0, 20.0, 40.0], help="Of the stretches, metres."
    )
    given = parser.parse_args()
    try:
        report(given)
    except MonoDVPSError as error:
        raise SystemExit(str(error)) from error


def report(given: argparse.Namespace) -> None:
    """Print the lines of each recording."""
    for recording in given.recordings:
        for line in measure(recording, given.weights, given.camera_height_m, given.lengths):
            print(line, flush=True)


if __name__ == "__main__":
    main()
