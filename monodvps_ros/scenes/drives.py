# SPDX-License-Identifier: Apache-2.0
"""The data set 'drives': a fixed set of synthetic drives to train, validate and test on.

Version 1 is the splits train, val and test. Version 2 trains on 'train2' instead: many short drives, a frame each half
second, all labelled, cameras of more kinds, and more large vehicles. Version 3 has those of 'train3' beside them. Val
and test are always the same.

Every number of it stands here. Towns differ by their seeds; the splits also differ in cameras (height, pitch, focal
length) and in which camera goes with which weather, so that a test measures more than memory.
"""

from dataclasses import dataclass

from monodvps_ros.config import SceneConfig

RATE_HZ = 10.0
HEIGHT, WIDTH = 192, 640
#: Every fifth frame of 'train2' and 'train3' is rendered.
SPARSE_RATE_HZ = 2.0
#: Frames of a drive, by split.
FRAMES = {"train": 60, "val": 30, "test": 40, "train2": 12, "train3": 12}


@dataclass(frozen=True)
class SplitDrive:
    """One drive of a split.

    Attributes:
        split: one of `SPLITS`.
        index: of the drive in its split, from 0.
        seed: of the town and all that is random in it.
        labelled: whether its panoptic labels may be trained on; where not, they are to be predicted.
        config: camera, weather, speed and traffic.
    """

    split: str
    index: int
    seed: int
    labelled: bool
    config: SceneConfig

    @property
    def name(self) -> str:
        """Name of its recording."""
        return f"drive_{self.seed:06d}"

    @property
    def folder(self) -> str:
        """Folder below that of the data set that contains it: a split, or a part of one."""
        if self.split != "train":
            return self.split
        return "train/labelled" if self.labelled else "train/unlabelled"


def split(name: str) -> tuple[SplitDrive, ...]:
    """Return the drives of a split, one of `SPLITS`, in their order.

    Raises:
        KeyError: there is no such split.
    """
    if name in _SHORT_DRIVES:
        return tuple(_short_drive(name, index) for index in range(_SHORT_DRIVES[name].count))
    return tuple(_drive(name, index, row) for index, row in enumerate(_TABLES[name]))


#: The first so many drives of 'train' are labelled.
_LABELLED = 10
# seed, start [s], camera height [m], pitch down [deg], focal length [widths], weather, free speed [m/s], traffic
_Row = tuple[int, float, float, float, float, str, float, float]
_TABLES: dict[str, tuple[_Row, ...]] = {
    "train": (
        (1001, 15.0, 1.50, 0.0, 0.60, "clear", 11.0, 1.0),
        (1002, 9.0, 1.35, 1.0, 0.56, "overcast", 9.0, 1.4),
        (1003, 3.0, 1.65, 2.0, 0.64, "morning", 12.0, 0.8),
        (1004, 18.0, 1.45, -0.5, 0.58, "evening", 10.0, 1.2),
        (1005, 12.0, 1.75, 2.5, 0.62, "fog", 8.0, 1.0),
        (1006, 6.0, 1.40, 0.5, 0.66, "clear", 13.0, 1.3),
        (1007, 9.0, 1.55, 1.5, 0.54, "overcast", 10.0, 0.9),
        (1008, 22.0, 1.60, 0.0, 0.60, "morning", 11.0, 1.5),
        (1009, 0.0, 1.30, -1.0, 0.57, "clear", 9.0, 1.1),
        (1010, 18.0, 1.70, 1.0, 0.63, "evening", 12.0, 1.2),
        (1011, 12.0, 1.50, 0.5, 0.59, "clear", 10.0, 1.0),
        (1012, 3.0, 1.40, 1.5, 0.61, "overcast", 11.0, 1.2),
        (1013, 18.0, 1.60, -0.5, 0.55, "morning", 9.0, 1.3),
        (1014, 0.0, 1.70, 2.0, 0.65, "clear", 12.0, 0.9),
        (1015, 15.0, 1.35, 0.0, 0.58, "evening", 10.0, 1.0),
        (1016, 22.0, 1.55, 1.0, 0.62, "fog", 9.0, 1.2),
        (1017, 15.0, 1.45, 2.5, 0.56, "clear", 11.0, 1.5),
        (1018, 9.0, 1.65, 0.5, 0.67, "overcast", 13.0, 1.0),
        (1019, 6.0, 1.30, 1.0, 0.60, "morning", 10.0, 0.8),
        (1020, 22.0, 1.80, 1.5, 0.57, "clear", 11.0, 1.1),
        (1021, 18.0, 1.50, -1.0, 0.64, "overcast", 9.0, 1.4),
        (1022, 3.0, 1.40, 0.0, 0.53, "evening", 12.0, 1.2),
        (1023, 12.0, 1.60, 2.0, 0.59, "clear", 10.0, 1.0),
        (1024, 12.0, 1.55, 0.5, 0.63, "morning", 11.0, 1.1),
    ),
    "val": (
        (2001, 18.0, 1.48, 0.8, 0.61, "clear", 11.0, 1.2),
        (2002, 9.0, 1.72, -0.8, 0.57, "fog", 10.0, 1.0),
        (2003, 3.0, 1.38, 2.2, 0.65, "evening", 9.0, 1.3),
        (2004, 0.0, 1.62, 1.2, 0.55, "morning", 12.0, 1.0),
        (2005, 12.0, 1.33, -0.3, 0.66, "overcast", 10.0, 1.1),
        (2006, 12.0, 1.57, 2.8, 0.59, "clear", 11.0, 1.4),
    ),
    "test": (
        (3001, 6.0, 1.52, 0.3, 0.60, "clear", 11.0, 1.2),
        (3002, 0.0, 1.32, 2.6, 0.68, "overcast", 10.0, 1.0),
        (3003, 9.0, 1.78, -0.7, 0.54, "morning", 12.0, 1.1),
        (3004, 12.0, 1.43, 1.7, 0.64, "fog", 9.0, 1.3),
        (3005, 15.0, 1.67, 3.0, 0.52, "evening", 11.0, 1.0),
        (3006, 0.0, 1.36, -0.9, 0.62, "morning", 10.0, 1.5),
        (3007, 18.0, 1.58, 0.9, 0.67, "clear", 13.0, 0.9),
        (3008, 9.0, 1.73, 2.3, 0.58, "overcast", 9.0, 1.4),
    ),
}


@dataclass(frozen=True)
class _ShortDrives:
    """How many short drives a split has, the seed of the first, and how many cameras other splits take before it."""

    count: int
    first_seed: int
    first_camera: int


_SHORT_DRIVES = {"train2": _ShortDrives(120, 4001, 0), "train3": _ShortDrives(100, 5001, 120)}
#: Names of the splits.
SPLITS = (*_TABLES, *_SHORT_DRIVES)
_STARTS_S = (0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 22.0)
_WEATHERS = ("clear", "overcast", "morning", "evening", "clear", "fog", "overcast")
_LARGE_VEHICLES = (2, 1, 2, 1, 3)


def _drive(name: str, index: int, row: _Row) -> SplitDrive:
    seed, start_s, height_m, pitch_deg, focal, weather, speed_mps, traffic = row
    config = SceneConfig(
        frames=FRAMES[name],
        rate_hz=RATE_HZ,
        start_s=start_s,
        height=HEIGHT,
        width=WIDTH,
        focal_px=focal * WIDTH,
        camera_height_m=height_m,
        camera_pitch_deg=pitch_deg,
        max_speed_mps=speed_mps,
        traffic=traffic,
        weather=weather,
    )
    return SplitDrive(name, index, seed, name != "train" or index < _LABELLED, config)


def _short_drive(name: str, index: int) -> SplitDrive:
    """Make a short drive; its camera is of another kind than the one before, and of all of them none is alike."""
    number = _SHORT_DRIVES[name].first_camera + index
    height_m, pitch_deg, focal, speed_mps, traffic = (
        low + (high - low) * _radical_inverse(number + 1, base)
        for base, low, high in ((2, 1.1, 2.3), (3, -1.5, 5.0), (5, 0.45, 0.9), (7, 8.0, 14.0), (11, 0.8, 1.8))
    )
    config = SceneConfig(
        frames=FRAMES[name],
        rate_hz=SPARSE_RATE_HZ,
        start_s=_STARTS_S[number % len(_STARTS_S)],
        height=HEIGHT,
        width=WIDTH,
        focal_px=round(focal * WIDTH, 2),
        camera_height_m=round(height_m, 3),
        camera_pitch_deg=round(pitch_deg, 2),
        max_speed_mps=round(speed_mps, 2),
        traffic=round(traffic, 2),
        large_vehicles=_LARGE_VEHICLES[number % len(_LARGE_VEHICLES)],
        weather=_WEATHERS[number % len(_WEATHERS)],
    )
    return SplitDrive(name, index, _SHORT_DRIVES[name].first_seed + index, True, config)


def _radical_inverse(number: int, base: int) -> float:
    """Mirror a number's digits at the point: 1, 2, 3 give 1/2, 1/4, 3/4 in base 2. Spreads numbers evenly over 0..1."""
    value, share = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        value += digit * share
        share /= base
    return value
