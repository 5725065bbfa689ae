# SPDX-License-Identifier: Apache-2.0
"""What moves: vehicles on lanes, traffic across, people on foot; each as bodies whose poses are known at all times."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ConfigError
from monodvps_ros.labels import MAX_INSTANCE_ID
from monodvps_ros.scenes.people import Person, pedestrian, rider
from monodvps_ros.scenes.solids import Model, SolidsBuilder
from monodvps_ros.scenes.street import CURB_M, SIDE_REACH_M, TRACK_M, Street
from monodvps_ros.scenes.traffic import Driver, Traffic
from monodvps_ros.scenes.vehicles import bicycle, bus, car, motorcycle, tram, truck

Track = NDArray[np.float64]
_STRIDE_M = 1.4
_SWING = 0.42


class InstanceCounter:
    """Gives out instance ids, 1..999 within each class."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, class_name: str) -> int:
        """Return the next free instance id of a class.

        Raises:
            ConfigError: the class has used up its ids.
        """
        number = self._last.get(class_name, 0) + 1
        if number > MAX_INSTANCE_ID:
            raise ConfigError(
                f"the drive needs more than {MAX_INSTANCE_ID} instances of '{class_name}'; "
                "ask for fewer frames or less traffic"
            )
        self._last[class_name] = number
        return number


@dataclass(frozen=True)
class Caster:
    """What darkens the ground beneath and beside it.

    Attributes:
        body: that it is fixed to.
        x: middle in the body's frame, metres; y: likewise.
        half_x: half its footprint, metres; half_y: likewise.
        height: of what casts the shadow, metres.
        heading: of the footprint in the body's frame, radians.
    """

    body: int
    x: float
    y: float
    half_x: float
    half_y: float
    height: float
    heading: float = 0.0


@dataclass(frozen=True, eq=False)
class _Limb:
    body: int
    track: Track
    hip_m: float
    swing: NDArray[np.float64]


@dataclass(eq=False)
class Stage:
    """Where models are put: collects solids, bodies, shadows and ids.

    Attributes:
        times: (T,) seconds of the frames.
        builder: of the solids.
        counter: of the instance ids.
        casters: of shadows.
    """

    times: NDArray[np.float64]
    builder: SolidsBuilder = field(default_factory=SolidsBuilder)
    counter: InstanceCounter = field(default_factory=InstanceCounter)
    casters: list[Caster] = field(default_factory=list)
    _rigid: dict[int, Track] = field(default_factory=dict)
    _limbs: list[_Limb] = field(default_factory=list)

    def put(self, model: Model, pose: NDArray[np.float64], *things: str) -> None:
        """Add a model that stands still; each of `things` names a thing class among its parts."""
        self.builder.add(model, {name: self.counter.next(name) for name in things}, 0, pose)

    def move(self, model: Model, track: Track, half: tuple[float, float], height: float, *things: str) -> None:
        """Add a rigid model that follows a (T, 4) track of x, y, z and heading; NaN where it is absent."""
        body = self.builder.new_body()
        self._rigid[body] = track
        self.builder.add(model, {name: self.counter.next(name) for name in things}, body)
        self.casters.append(Caster(body, 0.0, 0.0, half[0], half[1], height))

    def walk(self, person: Person, track: Track, phase: float) -> None:
        """Add a person who follows a (T, 4) track; the legs swing with the way that is gone."""
        instance = {"person": self.counter.next("person")}
        step = np.hypot(*np.diff(track[:, :2], axis=0, prepend=track[:1, :2]).T)
        speed = step / np.maximum(np.diff(self.times, prepend=self.times[0] - 0.1), 1e-6)
        swing = _SWING * np.minimum(speed / 1.0, 1.0) * np.sin(np.cumsum(step) / _STRIDE_M * 2 * np.pi + phase)
        body = self.builder.new_body()
        self._rigid[body] = track
        self.builder.add(person.trunk, instance, body)
        self.casters.append(Caster(body, 0.0, 0.0, 0.22, 0.26, 1.7))
        for model, sign in ((person.left, 1.0), (person.right, -1.0)):
            limb = self.builder.new_body()
            self._limbs.append(_Limb(limb, track, person.hip_m, sign * swing))
            self.builder.add(model, instance, limb)

    def world_from_body(self, frame: int) -> NDArray[np.float64]:
        """Return (B, 4, 4) poses at a frame; NaN where a body is absent."""
        poses = np.zeros((self.builder.bodies, 4, 4))
        poses[0] = np.eye(4)
        bodies = np.array(list(self._rigid) + [limb.body for limb in self._limbs], np.int64)
        if not len(bodies):
            return poses
        rows = np.array([t[frame] for t in self._rigid.values()] + [limb.track[frame] for limb in self._limbs])
        swing = np.zeros(len(rows))
        hip = np.zeros(len(rows))
        first = len(self._rigid)
        swing[first:] = [limb.swing[frame] for limb in self._limbs]
        hip[first:] = [limb.hip_m for limb in self._limbs]
        cos_h, sin_h, cos_s, sin_s = np.cos(rows[:, 3]), np.sin(rows[:, 3]), np.cos(swing), np.sin(swing)
        local = np.zeros((len(rows), 4, 4))
        # heading about z, then the swing about the hip's y axis
        local[:, 0, 0], local[:, 0, 1], local[:, 0, 2] = cos_h * cos_s, -sin_h, cos_h * sin_s
        local[:, 1, 0], local[:, 1, 1], local[:, 1, 2] = sin_h * cos_s, cos_h, sin_h * sin_s
        local[:, 2, 0], local[:, 2, 2], local[:, 3, 3] = -sin_s, cos_s, 1.0
        local[:, :2, 3] = rows[:, :2] - hip[:, None] * local[:, :2, 2]
        local[:, 2, 3] = rows[:, 2] + hip * (1.0 - cos_s)
        poses[bodies] = local
        return poses


def add_traffic(stage: Stage, street: Street, traffic: Traffic, generator: np.random.Generator) -> None:
    """Put everyone who follows the main street on the stage."""
    for drivers, way in ((traffic.ahead, 1.0), (traffic.oncoming, -1.0)):
        for driver in drivers:
            s = way * driver.at(stage.times)
            place = street.pose(s, way * driver.offset)
            track = np.column_stack([place[:, :2], np.zeros(len(s)), place[:, 2] + (0.0 if way > 0 else np.pi)])
            track[(s < -30.0) | (s > street.length - 1.0)] = np.nan
            _add_vehicle(stage, driver, track, generator)


def _add_vehicle(stage: Stage, driver: Driver, track: Track, generator: np.random.Generator) -> None:
    if driver.kind in ("bicycle", "motorcycle"):
        upright = driver.kind == "bicycle"
        model = (bicycle if upright else motorcycle)(generator) + rider(generator, upright)
        stage.move(model, track, (0.9, 0.25), 1.6, driver.kind, "rider")
        return
    maker = {"car": car, "truck": truck, "bus": bus}[driver.kind]
    model, half = maker(generator)
    stage.move(model, track, half, {"car": 1.5, "truck": 3.4, "bus": 3.1}[driver.kind], driver.kind)


def add_cross_traffic(
    stage: Stage, street: Street, traffic: Traffic, generator: np.random.Generator, amount: float, large: int = 1
) -> None:
    """Let vehicles, with `large` times the usual trucks among them, and people cross while the main street has red."""
    for red in traffic.reds:
        crossing = street.crossings[red.crossing]
        way = float(generator.choice([-1.0, 1.0]))
        if crossing.has_rails and amount > 0.0:
            model, half = tram(generator)
            track = _side_track(stage, street, red.crossing, way, 7.0, red.begin_s + 4.5)
            stage.move(model, track, half, 3.3, "train")
            way = -way
        for number in range(int(generator.integers(1, 4) * amount)):
            kind = str(generator.choice(["car"] * 3 + ["truck"] * large))
            model, half = (car if kind == "car" else truck)(generator)
            moment = red.begin_s + 2.5 + 2.4 * number
            if moment < red.end_s - 1.0:
                track = _side_track(stage, street, red.crossing, way, generator.uniform(7.0, 9.0), moment)
                stage.move(model, track, half, 1.6 if kind == "car" else 3.4, kind)
                way = way if crossing.has_rails else -way
        for _ in range(int(generator.integers(1, 5) * amount)):
            _cross_on_foot(stage, street, red.crossing, red.begin_s, generator)


def _side_track(stage: Stage, street: Street, number: int, way: float, speed: float, moment: float) -> Track:
    along = way * speed * (stage.times - moment)
    place = street.crossings[number].pose(along, -way * TRACK_M)
    heading = place[:, 2] + (0.0 if way > 0 else np.pi)
    track = np.column_stack([place[:, :2], np.zeros(len(along)), heading])
    track[np.abs(along) > SIDE_REACH_M - 8.0] = np.nan
    return track


def _cross_on_foot(stage: Stage, street: Street, number: int, begin_s: float, generator: np.random.Generator) -> None:
    crossing = street.crossings[number]
    side, before = float(generator.choice([-1.0, 1.0])), float(generator.choice([-1.0, -1.0, 1.0]))
    s = crossing.s + before * (crossing.half_width + generator.uniform(2.2, 4.6))
    reach = street.half_width + 1.0 + generator.uniform(0.0, 0.8)
    speed, start = generator.uniform(1.4, 1.9), begin_s + generator.uniform(0.1, 0.7 if side > 0 else 2.5)
    gone = np.clip((stage.times - start) * speed, 0.0, 2.0 * reach)
    d = side * (reach - gone)
    place = street.pose(np.full(len(d), s), d)
    z = CURB_M * np.clip((np.abs(d) - street.half_width) / 0.3 + 0.5, 0.0, 1.0)
    track = np.column_stack([place[:, :2], z, place[:, 2] - side * np.pi / 2])
    stage.walk(pedestrian(generator), track, generator.uniform(0.0, 6.0))


def add_walkers(stage: Stage, street: Street, generator: np.random.Generator, s_to: float, amount: float) -> None:
    """Let people walk along the sidewalks, to and fro."""
    for side in (-1.0, 1.0):
        s = -20.0
        while amount > 0.0:
            s += generator.exponential(16.0 / amount)
            if s > s_to:
                break
            velocity = generator.uniform(0.9, 1.6) * generator.choice([-1.0, 1.0])
            where = s + velocity * stage.times
            place = street.pose(where, side * (street.half_width + generator.uniform(1.3, 2.5)))
            z = np.full(len(where), CURB_M)
            for crossing in street.crossings:
                z = np.where(np.abs(where - crossing.s) < crossing.half_width + 1.5, 0.0, z)
            track = np.column_stack([place[:, :2], z, place[:, 2] + (0.0 if velocity > 0 else np.pi)])
            stage.walk(pedestrian(generator), track, generator.uniform(0.0, 6.0))
