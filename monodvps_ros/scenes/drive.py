# SPDX-License-Identifier: Apache-2.0
"""A synthetic drive: a town, its traffic and a camera that goes through it, rendered with exact truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from monodvps_ros.config import SceneConfig
from monodvps_ros.errors import ConfigError, DeviceError, counted
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.scenes.actors import Stage, add_cross_traffic, add_traffic, add_walkers
from monodvps_ros.scenes.camera import Camera, camera_pose, rigid_inverse
from monodvps_ros.scenes.noise import Noise
from monodvps_ros.scenes.raster import Grid, make_view
from monodvps_ros.scenes.render import Moment, SolidTable, look, picture
from monodvps_ros.scenes.street import GroundPlan, Street, lay_street
from monodvps_ros.scenes.town import TownPlanner
from monodvps_ros.scenes.traffic import Traffic, simulate
from monodvps_ros.scenes.truth import Labelled, as_maps, flow_to_previous, label, seen_before
from monodvps_ros.scenes.weather import choose_weather
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

_RED, _YELLOW, _GREEN = 0, 1, 2
_START_NS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class _Rendered:
    index: int
    moment: Moment
    labelled: Labelled


class Drive:
    """A synthetic drive as a sequence of samples; implements `SampleSource`, and `drive[i]` for any frame.

    The same configuration and seed give the same bytes on one platform, and the same picture within rounding on
    another device. Frames are rendered when they are asked for; in order they are cheapest, because a frame's flow
    needs what the frame before it saw.

    Args:
        config: camera, length, weather and amount of traffic.
        seed: of everything that is random, 0 or more.

    Raises:
        ConfigError: the seed is negative, or the drive is too long for its ids.
        DeviceError: the configured device is not available.
    """

    def __init__(self, config: SceneConfig, seed: int) -> None:
        if seed < 0:
            raise ConfigError(f"seed is {seed}; it must be 0 or more")
        self.config, self.seed = config, seed
        self.device = _device(config.device)
        self.camera = Camera.of(config)
        self._times = config.start_s + np.arange(config.frames) / config.rate_hz
        streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)]
        duration = float(self._times[-1])
        reach = config.max_speed_mps * duration + config.view_distance_m
        self.street: Street = lay_street(streams[0], reach + 250.0)
        self.traffic: Traffic = simulate(
            self.street, streams[1], duration, config.max_speed_mps, config.traffic, config.large_vehicles
        )
        self._path = self._ego_path()
        reach = float(self._path[-1, 3]) + config.view_distance_m
        self.stage = Stage(self._times)
        TownPlanner(self.stage, self.street, streams[2], config.traffic, config.large_vehicles).build(reach)
        add_traffic(self.stage, self.street, self.traffic, streams[3])
        add_cross_traffic(self.stage, self.street, self.traffic, streams[4], config.traffic, config.large_vehicles)
        add_walkers(self.stage, self.street, streams[4], reach, config.traffic)
        self.solids = self.stage.builder.build()
        self.weather = choose_weather(config.weather, streams[5])
        self._wear = float(streams[5].uniform(0.1, 1.0))
        self._noise = Noise(int(streams[5].integers(2**31)), self.device)
        self._table = SolidTable.of(self.solids, self.device)
        self._grid = Grid.of_pixels(self.camera, self.device)
        self._last: _Rendered | None = None

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return self.config.rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """The 19 classes of Cityscapes."""
        return CITYSCAPES

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.config.frames

    def __iter__(self) -> Iterator[Sample]:
        """Render from the first frame on; may be called again."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        """Render one frame.

        The first frame has no previous one: its flow is NaN and nothing of it was visible before.

        Args:
            index: 0-based; negative counts from the end.

        Raises:
            IndexError: there is no such frame.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a drive of {counted(len(self), 'frame')}")
        index %= len(self)
        size = self.camera.height, self.camera.width
        with torch.inference_mode():
            previous = self._previous(index)
            moment = self._moment(index)
            seen = look(moment, self._grid)
            labelled = label(moment, seen)
            if previous is None:
                flow = torch.full((len(labelled.depth), 2), torch.nan, device=self.device)
                visible = torch.zeros(len(flow), dtype=torch.bool, device=self.device)
            else:
                flow, expected = flow_to_previous(self._grid, moment, labelled, previous.moment)
                visible = seen_before(flow, expected, labelled, previous.labelled, size)
            image = picture(moment, self._grid, seen, self.config.antialias).cpu().numpy()
            panoptic, depth_m, flow_px, flow_visible = as_maps(labelled, flow, visible, size)
        self._last = _Rendered(index, moment, labelled)
        stamp_ns = _START_NS + round(index * 1e9 / self.rate_hz)
        return Sample(
            frame=CameraFrame(image, stamp_ns, "camera", self.camera.intrinsics),
            truth=FrameTruth(panoptic, depth_m, flow_px, flow_visible, moment.world_from_camera.copy()),
            sequence=f"{self.seed:06d}",
            index=index,
            source=f"synthetic drive, seed {self.seed}",
        )

    def world_from_camera(self, index: int) -> NDArray[np.float64]:
        """Return the camera's pose at a frame, (4, 4)."""
        x, y, heading, _ = self._path[index]
        return camera_pose(x, y, heading, self.config.camera_height_m, np.deg2rad(self.config.camera_pitch_deg))

    def _previous(self, index: int) -> _Rendered | None:
        if index == 0:
            return None
        if self._last is not None and self._last.index == index - 1:
            return self._last
        moment = self._moment(index - 1)
        return _Rendered(index - 1, moment, label(moment, look(moment, self._grid)))

    def _moment(self, index: int) -> Moment:
        config = self.config
        pose, bodies = self.world_from_camera(index), self.stage.world_from_body(index)
        seen_from, s = rigid_inverse(pose) @ bodies, float(self._path[index, 3])
        return Moment(
            camera=self.camera,
            world_from_camera=pose,
            world_from_body=bodies,
            view=make_view(self.solids, seen_from, self.camera, config.view_distance_m, self.device),
            table=self._table,
            plan=GroundPlan(self.street, s - 60.0, s + config.view_distance_m + 20.0, self.device),
            casters=tuple(self.stage.casters),
            signals=self._signals(float(self._times[index])),
            weather=self.weather,
            noise=self._noise,
            wear=self._wear,
            view_distance_m=config.view_distance_m,
        )

    def _ego_path(self) -> NDArray[np.float64]:
        """Return (T, 4) x, y, heading and s of the camera."""
        s = self.traffic.ego.at(self._times)
        return np.column_stack([self.street.pose(s, self.traffic.ego.offset), s])

    def _signals(self, now_s: float) -> torch.Tensor:
        """Return what each group of lights shows: two a crossing, the main street's and the side street's."""
        lights = torch.full((2 * len(self.street.crossings), 1), _RED)[:, 0]
        lights[::2] = _GREEN
        for red in self.traffic.reds:
            if red.begin_s - 2.0 <= now_s < red.begin_s:
                lights[2 * red.crossing] = _YELLOW
            elif red.begin_s <= now_s < red.end_s:
                lights[2 * red.crossing] = _RED
                lights[2 * red.crossing + 1] = _GREEN if now_s < red.end_s - 2.0 else _YELLOW
        return lights.to(self.device)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is {name!r}; it must be cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device is {name!r} but no CUDA device is available; take 'cpu'")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is {name!r}; it must be cpu, cuda or cuda:N")
    return device
