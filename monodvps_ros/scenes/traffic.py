# SPDX-License-Identifier: Apache-2.0
"""Who drives where and when: car following along lanes, red lights that stop the camera, and who crosses then."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.scenes.street import STOP_LINE_M, Street

STEP_S = 0.05
_ACCELERATION = 1.8
_BRAKING = 2.4
_MIN_GAP_M = 2.5
_HEADWAY_S = 1.3
_SIDEWAYS = 2.6


@dataclass(frozen=True)
class Red:
    """One red phase of the main street's lights at a crossing, seconds."""

    crossing: int
    begin_s: float
    end_s: float


@dataclass(eq=False)
class Driver:
    """Who follows a lane.

    Attributes:
        kind: 'ego', 'car', 'truck', 'bus', 'motorcycle' or 'bicycle'.
        lane: drivers of one lane follow each other.
        offset: d of the lane.
        position: s along the direction of travel at the start.
        speed: at the start, m/s.
        free_speed: on a free road, m/s.
        length: metres.
        track: position at each step.
    """

    kind: str
    lane: int
    offset: float
    position: float
    speed: float
    free_speed: float
    length: float
    track: list[float] = field(default_factory=list)

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the position at (N,) times in seconds."""
        return np.interp(times, np.arange(len(self.track)) * STEP_S, self.track)


@dataclass(frozen=True, eq=False)
class Traffic:
    """Everyone who follows the main street, and the red phases of its lights."""

    ego: Driver
    ahead: tuple[Driver, ...]
    oncoming: tuple[Driver, ...]
    reds: tuple[Red, ...]


_LENGTHS = {"ego": 4.4, "car": 4.6, "truck": 8.6, "bus": 11.4, "motorcycle": 2.2, "bicycle": 1.8}


def simulate(
    street: Street, generator: np.random.Generator, duration_s: float, max_speed: float, amount: float, large: int = 1
) -> Traffic:
    """Let everyone drive; `max_speed` is the camera's on a free road, m/s.

    `amount` and `large` are multiples of the usual number of vehicles, and of trucks and buses among them.

    Source: the intelligent driver model, Treiber, Hennecke and Helbing 2000; lights and their triggers are ours.
    """
    ego = Driver("ego", 0, street.lane_offset(0), 0.0, 0.75 * max_speed, max_speed, _LENGTHS["ego"])
    drivers = [ego, *_same_way(street, generator, max_speed, amount, large)]
    lights = _Lights(street, generator)
    for step in range(int(duration_s / STEP_S) + 2):
        lights.watch(step * STEP_S, ego)
        _advance(drivers, street, lights.stops(step * STEP_S), 1.0)
    reds = tuple(lights.reds)
    oncoming = _other_way(street, generator, duration_s, max_speed, amount, large)
    for step in range(int(duration_s / STEP_S) + 2):
        stops = [
            -(street.crossings[r.crossing].s + street.crossings[r.crossing].half_width + STOP_LINE_M)
            for r in reds
            if r.begin_s <= step * STEP_S < r.end_s
        ]
        _advance(oncoming, street, stops, -1.0)
    return Traffic(ego, tuple(drivers[1:]), tuple(oncoming), reds)


class _Lights:
    """Turns a light red when the camera comes near, if it can still stop."""

    def __init__(self, street: Street, generator: np.random.Generator) -> None:
        self._street, self._generator = street, generator
        self._decided: set[int] = set()
        self.reds: list[Red] = []

    def watch(self, now_s: float, ego: Driver) -> None:
        for number, crossing in enumerate(self._street.crossings):
            distance = crossing.s - crossing.half_width - STOP_LINE_M - ego.position
            if number in self._decided or not 0.0 < distance < ego.speed**2 / (2 * 2.0) + 10.0:
                continue
            self._decided.add(number)
            if crossing.has_lights and self._generator.random() < (0.65 if number == 0 else 0.5):
                self.reds.append(Red(number, now_s, now_s + self._generator.uniform(7.0, 10.0)))

    def stops(self, now_s: float) -> list[float]:
        places = [self._street.crossings[red.crossing] for red in self.reds if red.begin_s <= now_s < red.end_s]
        return [place.s - place.half_width - STOP_LINE_M for place in places]


def _advance(drivers: list[Driver], street: Street, stops: list[float], way: float) -> None:
    positions = np.array([driver.position for driver in drivers])
    if not len(positions):
        return
    ahead = way * (positions[:, None] + np.array([0.0, 5.0, 10.0, 15.0]))
    bend = np.abs(street.curvature(ahead.ravel())).reshape(ahead.shape).max(1)
    limits = np.sqrt(_SIDEWAYS / np.maximum(bend, 1e-4))
    for driver, limit in zip(drivers, limits, strict=True):
        driver.track.append(driver.position)
        gap = np.inf
        lead_speed = driver.speed
        for other in drivers:
            if other.lane == driver.lane and other.position > driver.position:
                distance = other.position - driver.position - (other.length + driver.length) / 2
                if distance < gap:
                    gap, lead_speed = distance, other.speed
        for stop in stops:
            distance = stop - driver.position - driver.length / 2
            if driver.speed**2 / (2 * 5.0) < distance < gap or (abs(distance) < 0.5 and driver.speed < 0.5):
                gap, lead_speed = max(distance + 1.5, 0.5), 0.0
        free = min(driver.free_speed, limit)
        wanted = _MIN_GAP_M + max(
            0.0,
            driver.speed * _HEADWAY_S
            + driver.speed * (driver.speed - lead_speed) / (2 * np.sqrt(_ACCELERATION * _BRAKING)),
        )
        push = _ACCELERATION * (1.0 - (driver.speed / free) ** 4 - (wanted / max(gap, 0.3)) ** 2)
        driver.speed = max(0.0, driver.speed + STEP_S * float(np.clip(push, -6.0, _ACCELERATION)))
    for driver in drivers:
        driver.position += STEP_S * driver.speed


def _same_way(
    street: Street, generator: np.random.Generator, max_speed: float, amount: float, large: int
) -> list[Driver]:
    drivers, kinds = [], _kinds(3, large)
    if generator.random() < 0.75 * amount:
        kind = str(generator.choice(kinds))
        drivers.append(
            _driver(
                kind, 0, street.lane_offset(0), generator.uniform(20.0, 34.0), generator.uniform(0.8, 1.05) * max_speed
            )
        )
    if street.lanes > 1:
        for number in range(round(5 * amount)):
            kind = str(generator.choice(kinds))
            speed = generator.uniform(1.0, 1.3) * max_speed
            drivers.append(
                _driver(kind, 1, street.lane_offset(1), 12.0 - 26.0 * number + generator.uniform(-6, 6), speed)
            )
    for number in range(round(4 * amount)):
        place = 9.0 + 55.0 * number + generator.uniform(0.0, 10.0)
        drivers.append(_driver("bicycle", 2, street.bike_offset, place, generator.uniform(4.2, 6.2)))
    return drivers


def _other_way(
    street: Street, generator: np.random.Generator, duration_s: float, max_speed: float, amount: float, large: int
) -> list[Driver]:
    drivers, kinds = [], _kinds(8, large)
    reach = min(street.length, 300.0 + 2.2 * max_speed * duration_s)
    for lane in range(street.lanes):
        place = 35.0 + generator.uniform(0.0, 20.0)
        while place < reach and amount > 0.0:
            kind = str(generator.choice(kinds))
            drivers.append(
                _driver(kind, lane, street.lane_offset(lane), -place, generator.uniform(0.75, 1.1) * max_speed)
            )
            place += generator.uniform(18.0, 75.0) / amount
    for number in range(round(reach / 120.0 * amount)):
        place = 40.0 + 120.0 * number + generator.uniform(0.0, 60.0)
        drivers.append(_driver("bicycle", 9, street.bike_offset, -place, generator.uniform(4.0, 6.0)))
    return drivers


def _kinds(cars: int, large: int) -> list[str]:
    """List kinds of vehicles to draw from, each as often as it is to come."""
    return ["car"] * cars + ["truck", "bus"] * large + ["motorcycle"]


def _driver(kind: str, lane: int, offset: float, position: float, speed: float) -> Driver:
    return Driver(kind, lane, float(offset), float(position), float(0.7 * speed), float(speed), _LENGTHS[kind])
