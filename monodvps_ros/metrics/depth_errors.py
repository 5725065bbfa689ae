# SPDX-License-Identifier: Apache-2.0
"""Depth errors: absRel, sqRel, RMSE, RMSE log and shares within 1.25^n (Eigen et al. 2014), with cap, crop and scaling.

Each is taken over the pixels of a frame, then averaged over frames, as the field does since Zhou et al. 2017. absRel of
standing and of moving pixels and by distance is the mean over all such pixels, of which a frame may have few or none.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monodvps_ros.errors import ConfigError
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need, Totals
from monodvps_ros.metrics.segments import as_array
from monodvps_ros.shapes import check_shapes

MEASURES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "d1", "d2", "d3")

#: Edges in metres of the bands of true depth by which the error is also given; the last band has no end.
DISTANCE_EDGES_M = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0)

#: Crops as (first row, end row, first column, end column) in shares of height and width; cut towards zero to pixels.
#: "garg": Garg et al. 2016; "eigen": Eigen et al. 2014, both made for KITTI. "cityscapes": the lowest quarter, with the
#: car's bonnet, and the upper quarter and the sides are left out (Watson et al. 2021, ManyDepth).
CROPS: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "none": (0.0, 1.0, 0.0, 1.0),
        "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
        "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
        "cityscapes": (0.25, 0.75, 0.09375, 0.90625),
    }
)


@dataclass(frozen=True, slots=True)
class DepthProtocol:
    """Which pixels count.

    Attributes:
        min_depth_m: true depth must be above it; predictions are clipped to it.
        max_depth_m: true depth must be below it; predictions are clipped to it. The cap.
        crop: name of a crop in `CROPS`.

    Raises:
        ConfigError: the range is empty, or there is no such crop.
    """

    min_depth_m: float = 1e-3
    max_depth_m: float = 80.0
    crop: str = "none"

    def __post_init__(self) -> None:
        """Check range and crop."""
        if not 0 < self.min_depth_m < self.max_depth_m:
            raise ConfigError(f"depth range must be 0 < min < max but is {self.min_depth_m}..{self.max_depth_m} m")
        if self.crop not in CROPS:
            raise ConfigError(f"no crop '{self.crop}'; there are: {', '.join(CROPS)}")

    def counts(self, truth_m: NDArray[Any]) -> NDArray[np.bool_]:
        """Return (H, W) bool, true where a pixel of the true depth counts."""
        height, width = truth_m.shape
        top, bottom, left, right = CROPS[self.crop]
        inside = np.zeros(truth_m.shape, np.bool_)
        inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
        return inside & (truth_m > self.min_depth_m) & (truth_m < self.max_depth_m)


def median_scale(truth_m: ArrayLike, prediction: ArrayLike, protocol: DepthProtocol) -> float | None:
    """Return the factor that gives a frame's prediction the median of its truth (Zhou et al. 2017).

    Args:
        truth_m: (H, W) metres, NaN or 0 where there is none.
        prediction: (H, W) depth in any unit, NaN or 0 where there is none.
        protocol: which pixels count.

    Returns:
        The factor, or None where no pixel has both.

    Raises:
        ShapeError: the maps differ in size.
    """
    truth, predicted = as_array(truth_m), as_array(prediction)
    check_shapes("resize the prediction to the truth", truth=(truth, "H W"), prediction=(predicted, "H W"))
    known = protocol.counts(truth) & (predicted > 0) & np.isfinite(predicted)
    if not known.any():
        return None
    return float(np.median(truth[known].astype(np.float64)) / np.median(predicted[known].astype(np.float64)))


@dataclass(frozen=True, slots=True)
class DepthBand:
    """Error within a band of true depth, over all its pixels: [start_m, end_m), `end_m` None where it is open."""

    start_m: float
    end_m: float | None
    pixels: int
    abs_rel: float | None


@dataclass(frozen=True, slots=True)
class DepthErrorScores:
    """Errors, each the mean over frames; None where no frame had a pixel to count.

    Attributes:
        abs_rel: |p - g| / g.
        sq_rel: (p - g)^2 / g, metres.
        rmse: root of the mean of (p - g)^2, metres.
        rmse_log: root of the mean of (ln p - ln g)^2.
        d1: share 0..1 of pixels with max(p / g, g / p) below 1.25.
        d2: the same, below 1.25^2.
        d3: the same, below 1.25^3.
        abs_rel_standing: absRel of pixels that are known to stand, None where there are none.
        abs_rel_moving: absRel of pixels that are known to move over the ground, None where there are none.
        bands: absRel by true depth.
        frames: frames with at least one pixel to count.
        pixels: pixels counted.
        standing_pixels: of these, known to stand.
        moving_pixels: of these, known to move.
        missing_pixels: pixels with true depth but no prediction; they are not in the errors.
    """

    abs_rel: float | None
    sq_rel: float | None
    rmse: float | None
    rmse_log: float | None
    d1: float | None
    d2: float | None
    d3: float | None
    abs_rel_standing: float | None
    abs_rel_moving: float | None
    bands: tuple[DepthBand, ...]
    frames: int
    pixels: int
    standing_pixels: int
    moving_pixels: int
    missing_pixels: int


class DepthErrors(Metric):
    """Depth errors over frames; without a protocol all pixels up to 80 m count."""

    needs = frozenset({Need.DEPTH})
    figures = (
        Figure("abs_rel", "absRel", ("abs_rel",), 3, "", True, "mean relative depth error"),
        Figure("abs_rel_standing", "absRel, standing", ("abs_rel_standing",), 3, "", True),
        Figure("abs_rel_moving", "absRel, moving", ("abs_rel_moving",), 3, "", True),
        Figure("sq_rel", "sqRel", ("sq_rel",), 2, "m", True),
        Figure("rmse", "RMSE", ("rmse",), 2, "m", True),
        Figure("rmse_log", "RMSE log", ("rmse_log",), 3, "", True),
        Figure("d1", "δ < 1.25", ("d1",), 3, "", False, "share of depth pixels within a quarter"),
        Figure("d2", "δ < 1.25²", ("d2",), 3, ""),
        Figure("d3", "δ < 1.25³", ("d3",), 3, ""),
    )

    def __init__(self, protocol: DepthProtocol | None = None) -> None:
        self.protocol = protocol or DepthProtocol()
        super().__init__()

    def measure(self, frame: Frame) -> float | None:
        """Count one frame; return its absRel, None where no pixel counts.

        Predictions that are NaN, infinite or not above 0 are counted as missing and left out.

        Raises:
            ShapeError: the maps differ in size.
        """
        assert frame.true_depth_m is not None and frame.predicted_depth_m is not None
        truth, prediction = as_array(frame.true_depth_m), as_array(frame.predicted_depth_m)
        check_shapes("resize the prediction to the truth", truth=(truth, "H W"), prediction=(prediction, "H W"))
        asked = self.protocol.counts(truth)
        known = asked & (prediction > 0) & np.isfinite(prediction)
        self._totals["missing"] += np.count_nonzero(asked) - np.count_nonzero(known)
        if not known.any():
            return None
        g = truth[known].astype(np.float64)
        p = prediction[known].astype(np.float64).clip(self.protocol.min_depth_m, self.protocol.max_depth_m)
        band = np.searchsorted(DISTANCE_EDGES_M, g, side="right") - 1
        relative = np.abs(p - g) / g
        self._totals["band_sum"] += np.bincount(band, relative, len(DISTANCE_EDGES_M))
        self._totals["band_pixels"] += np.bincount(band, minlength=len(DISTANCE_EDGES_M))
        if frame.moving is not None:
            state = frame.moving[known] + 1
            self._totals["motion_sum"] += np.bincount(state, relative, 3)
            self._totals["motion_pixels"] += np.bincount(state, minlength=3)
        errors = _frame_errors(g, p)
        self._totals["sums"] += errors
        self._totals["frames"] += 1
        return float(errors[0])

    def result(self) -> dict[str, Any]:
        """Return the errors, the pixels that they are of, and absRel by band of true depth."""
        scores = asdict(self.compute())
        return {
            **{name: value for name, value in scores.items() if name != "bands"},
            "over_distance": list(scores["bands"]),
        }

    def compute(self) -> DepthErrorScores:
        """Return the means over everything measured."""
        frames = int(self._totals["frames"].item())
        means = {
            name: float(total) / frames if frames else None
            for name, total in zip(MEASURES, self._totals["sums"], strict=True)
        }
        pixels = self._totals["band_pixels"]
        ends = (*DISTANCE_EDGES_M[1:], None)
        bands = tuple(
            DepthBand(start, end, int(n), float(total / n) if n else None)
            for start, end, n, total in zip(DISTANCE_EDGES_M, ends, pixels, self._totals["band_sum"], strict=True)
        )
        motion = [
            float(total / n) if n else None
            for total, n in zip(self._totals["motion_sum"], self._totals["motion_pixels"], strict=True)
        ]
        return DepthErrorScores(
            **means,
            abs_rel_standing=motion[1],
            abs_rel_moving=motion[2],
            bands=bands,
            frames=frames,
            pixels=int(pixels.sum()),
            standing_pixels=int(self._totals["motion_pixels"][1]),
            moving_pixels=int(self._totals["motion_pixels"][2]),
            missing_pixels=int(self._totals["missing"].item()),
        )

    def _zeros(self) -> Totals:
        return {
            "sums": np.zeros(len(MEASURES), np.float64),
            "frames": np.zeros(1, np.int64),
            "missing": np.zeros(1, np.int64),
            "band_sum": np.zeros(len(DISTANCE_EDGES_M), np.float64),
            "band_pixels": np.zeros(len(DISTANCE_EDGES_M), np.int64),
            # by what `moving` says, plus 1: not known, stands, moves
            "motion_sum": np.zeros(3, np.float64),
            "motion_pixels": np.zeros(3, np.int64),
        }


def _frame_errors(g: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    # in the order of MEASURES; the logarithm of the ratio is |ln p - ln g|
    difference = np.abs(p - g)
    ratio = p / g
    np.maximum(ratio, 1.0 / ratio, out=ratio, where=ratio < 1.0)
    relative = difference / g
    within = [np.count_nonzero(ratio < 1.25**n) / ratio.size for n in (1, 2, 3)]
    log_ratio = np.log(ratio, out=ratio)
    squares = [np.dot(difference, relative), np.dot(difference, difference), np.dot(log_ratio, log_ratio)]
    sq_rel, mean_square, mean_log_square = np.array(squares) / ratio.size
    return np.array([relative.mean(), sq_rel, np.sqrt(mean_square), np.sqrt(mean_log_square), *within])
