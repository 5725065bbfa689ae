# SPDX-License-Identifier: Apache-2.0
"""What stands along a street: blocks of houses, gardens and parks, parked vehicles, lights, signs and trees."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from monodvps_ros.scenes import buildings, furniture, vehicles
from monodvps_ros.scenes.actors import Caster, Stage
from monodvps_ros.scenes.camera import planar_pose
from monodvps_ros.scenes.people import pedestrian
from monodvps_ros.scenes.solids import Model
from monodvps_ros.scenes.street import CURB_M, SIDE_REACH_M, STOP_LINE_M, WALK_M, Crossing, GroundPlan, Street

#: Length of a place to park, and the usual share of trucks among what parks.
_SLOT_M, _PARKED_TRUCKS = 6.0, 0.05


@dataclass(frozen=True, eq=False)
class _Candidate:
    model: Model
    pose: NDArray[np.float64]
    half: tuple[float, float]
    middle_x: float
    clear: float
    height: float

    def points(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        local = unit * np.array(self.half) + np.array([self.middle_x, 0.0])
        points: NDArray[np.float64] = local @ self.pose[:2, :2].T + self.pose[:2, 3]
        return points

    def caster(self) -> Caster:
        x, y = self.points(np.zeros((1, 2)))[0]
        heading = float(np.arctan2(self.pose[1, 0], self.pose[0, 0]))
        return Caster(0, float(x), float(y), *self.half, self.height, heading)


class TownPlanner:
    """Puts things beside a street where nothing else is.

    `amount` and `large` are multiples of the usual number of parked vehicles and people, and of trucks among the
    vehicles; from 2 on two thirds of these are buses.
    """

    def __init__(
        self, stage: Stage, street: Street, generator: np.random.Generator, amount: float, large: int = 1
    ) -> None:
        self._stage, self._street, self._generator, self._amount = stage, street, generator, amount
        self._large = large
        self._waiting: list[_Candidate] = []

    def build(self, s_to: float) -> None:
        """Furnish the main street from behind its beginning to `s_to`, and the side streets there."""
        for side in (-1.0, 1.0):
            s = -60.0
            while s < s_to:
                length = self._generator.uniform(35.0, 75.0)
                style = str(self._generator.choice(["city", "city", "houses", "park"]))
                self._block(s, min(s + length, s_to), side, style)
                s += length
            self._curbside(side, s_to)
            self._skyline(side, s_to)
        for number, crossing in enumerate(self._street.crossings):
            if crossing.s < s_to:
                self._crossing(number, crossing)
        self._settle()

    def _place(self, s: float, d: float, heading: float = 0.0, z: float = CURB_M) -> NDArray[np.float64]:
        x, y, along = self._street.pose(np.array([s]), d)[0]
        return planar_pose(x, y, along + heading, z)

    def _put_if_free(
        self,
        model: Model,
        pose: NDArray[np.float64],
        half: tuple[float, float],
        middle_x: float,
        clear: float,
        height: float = 0.0,
    ) -> None:
        """Remember a model, to be put where its footprint keeps `clear` metres away from every curb."""
        self._waiting.append(_Candidate(model, pose, half, middle_x, clear, height))

    def _settle(self) -> None:
        """Put what was remembered and is free; all footprints are looked up at once."""
        steps = np.linspace(-1.0, 1.0, 5)
        unit = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        points = np.concatenate([item.points(unit) for item in self._waiting]).astype(np.float32)
        plan = GroundPlan(self._street, -np.inf, np.inf, torch.device("cpu"))
        curb = plan.locate(*torch.from_numpy(points).unbind(1)).curb.view(len(self._waiting), -1)
        for item, nearest in zip(self._waiting, curb.amin(1).tolist(), strict=True):
            if nearest <= item.clear:
                continue
            self._stage.put(item.model, item.pose)
            if item.height:
                self._stage.casters.append(item.caster())

    def _block(self, s_from: float, s_to: float, side: float, style: str) -> None:
        if style == "park":
            self._park(s_from, s_to, side)
            return
        edge, s = self._street.half_width + WALK_M, s_from
        while s < s_to - 5.0:
            if style == "city":
                width, depth = self._generator.uniform(7.5, 15.0), self._generator.uniform(9.0, 14.0)
                d, model = edge + 0.15, buildings.town_house(self._generator, width - 0.05, depth)
            else:
                width, depth = self._generator.uniform(13.0, 19.0), self._generator.uniform(8.0, 11.0)
                d = edge + self._generator.uniform(5.0, 9.0)
                model = buildings.detached_house(self._generator, width - 5.0, depth)
                self._garden(s, s + width, side)
            bend = abs(float(self._street.curvature(np.array([s + width / 2]))[0]))
            pose = self._place(s + width / 2, side * (d + bend * width * width / 8), -side * np.pi / 2)
            half = (depth / 2, width / 2 - (0.0 if style == "city" else 2.5))
            self._put_if_free(model, pose, half, -depth / 2, WALK_M - 0.2)
            s += width
        if style == "city":
            self._avenue(s_from, s_to, side)

    def _avenue(self, s_from: float, s_to: float, side: float) -> None:
        if self._generator.random() < 0.55:
            gap = self._generator.uniform(9.0, 15.0)
            for s in np.arange(s_from + 4.0, s_to - 2.0, gap):
                pose = self._place(float(s), side * (self._street.half_width + 0.75), self._generator.uniform(0, 6.0))
                self._put_if_free(furniture.tree(self._generator, conifers=0.0), pose, (0.2, 0.2), 0.0, 0.3, 7.0)
        elif self._generator.random() < 0.5:
            for s in np.arange(s_from, s_to, 2.5):
                pose = self._place(float(s), side * (self._street.half_width + 0.45))
                self._put_if_free(furniture.bollard(), pose, (0.1, 0.1), 0.0, 0.25)

    def _garden(self, s_from: float, s_to: float, side: float) -> None:
        generator, edge, middle = self._generator, self._street.half_width + WALK_M, (s_from + s_to) / 2
        length = s_to - s_from - 3.0
        model = self._border(str(generator.choice(["fence", "wall", "hedge", "wall"])), length)
        pose = self._place(middle, side * (edge + 0.6), -side * np.pi / 2)
        self._put_if_free(model, pose, (0.3, length / 2), 0.0, WALK_M - 0.1)
        for _ in range(int(generator.integers(1, 4))):
            s, d = generator.uniform(s_from, s_to), edge + generator.uniform(1.8, 4.5)
            is_tree = generator.random() < 0.4
            model = furniture.tree(generator) if is_tree else furniture.bush(generator)
            pose = self._place(s, side * d, generator.uniform(0.0, 6.0))
            self._put_if_free(model, pose, (0.6, 0.6), 0.0, WALK_M, 7.0 if is_tree else 1.0)

    def _border(self, kind: str, length: float) -> Model:
        makers = {"fence": buildings.fence, "wall": buildings.wall, "hedge": furniture.hedge}
        return makers[kind](self._generator, length)

    def _park(self, s_from: float, s_to: float, side: float) -> None:
        generator, edge = self._generator, self._street.half_width + WALK_M
        if generator.random() < 0.7:
            kind = str(generator.choice(["fence", "hedge", "wall"]))
            for s in np.arange(s_from + 3.0, s_to - 3.0, 6.0):
                model = self._border(kind, 5.9)
                pose = self._place(float(s), side * (edge + 0.5), -side * np.pi / 2)
                self._put_if_free(model, pose, (0.3, 2.9), 0.0, WALK_M - 0.2)
        for _ in range(int((s_to - s_from) / 4.5)):
            s, d = generator.uniform(s_from, s_to), edge + float(2.0 + 28.0 * generator.random() ** 1.5)
            model = furniture.tree(generator) if generator.random() < 0.75 else furniture.bush(generator)
            pose = self._place(s, side * d, generator.uniform(0.0, 6.0))
            self._put_if_free(model, pose, (0.5, 0.5), 0.0, WALK_M + 0.5, 7.0)

    def _curbside(self, side: float, s_to: float) -> None:
        generator, street = self._generator, self._street
        for s in np.arange(-30.0, s_to, 27.0) + generator.uniform(0.0, 8.0):
            pose = self._place(float(s), side * (street.half_width + 0.45), -side * np.pi / 2)
            self._put_if_free(furniture.street_lamp(generator), pose, (0.1, 0.1), 0.0, 0.2)
        heading = 0.0 if side < 0 else np.pi
        for s in np.arange(10.0, s_to, 26.0) + generator.uniform(0.0, 9.0):
            large = generator.random() < 0.12
            model = furniture.guide_sign(generator) if large else furniture.traffic_sign(generator)
            pose = self._place(float(s), side * (street.half_width + (1.3 if large else 0.5)), heading)
            self._put_if_free(model, pose, (0.1, 1.0 if large else 0.3), 0.0, 0.15)
        taken_to = -np.inf
        for s in np.arange(-30.0, s_to, _SLOT_M):
            if s < taken_to:
                continue
            if generator.random() < 0.55 * self._amount and self._clear_of_crossings(float(s), 13.0):
                place = float(s) + 3.0 + generator.uniform(-0.3, 0.3)
                slots = self._park_vehicle(place, side, heading)
                taken_to = s + slots * _SLOT_M
        s = -20.0
        while self._amount > 0.0 and (s := s + generator.exponential(38.0 / self._amount)) < s_to:
            self._bystanders(float(s), side)

    def _clear_of_crossings(self, s: float, by: float) -> bool:
        return all(abs(s - crossing.s) > crossing.half_width + by for crossing in self._street.crossings)

    def _park_vehicle(self, s: float, side: float, heading: float) -> int:
        """Park a vehicle whose slot has its middle at `s`; returns how many slots it takes."""
        generator = self._generator
        d = -side * self._street.parking_offset + side * generator.uniform(-0.1, 0.15)
        turn = generator.normal(0.0, 0.012)
        draw = generator.random()
        if draw > 0.93:
            for shift in (-1.6, 0.0, 1.6)[: int(generator.integers(1, 4))]:
                pose = self._place(s + shift, d, heading + side * 1.1, 0.0)
                self._stage.put(vehicles.motorcycle(generator), pose, "motorcycle")
            return 1
        kind, slots = self._parked_kind(draw)
        pose = self._place(s + (slots - 1) * _SLOT_M / 2, d, heading + turn, 0.0)
        model, half = {"bus": vehicles.bus, "truck": vehicles.truck, "car": vehicles.car}[kind](generator)
        self._stage.put(model, pose, kind)
        turned = float(np.arctan2(pose[1, 0], pose[0, 0]))
        height = {"bus": 3.1, "truck": 3.4, "car": 1.5}[kind]
        self._stage.casters.append(Caster(0, float(pose[0, 3]), float(pose[1, 3]), *half, height, turned))
        return slots

    def _parked_kind(self, draw: float) -> tuple[str, int]:
        """Tell what parks by a number drawn from 0..1, and how many slots it takes; one slot each where as usual."""
        if draw >= _PARKED_TRUCKS * self._large:
            return "car", 1
        if self._large == 1:
            return "truck", 1
        return ("bus" if draw < _PARKED_TRUCKS * self._large * 2 / 3 else "truck"), 2

    def _bystanders(self, s: float, side: float) -> None:
        generator = self._generator
        if not self._clear_of_crossings(s, 5.0):
            return
        if generator.random() < 0.4:
            for number in range(int(generator.integers(1, 5))):
                pose = self._place(s + 0.7 * number, side * (self._street.half_width + 1.0), generator.normal(1.4, 0.1))
                self._stage.put(vehicles.bicycle(generator), pose, "bicycle")
            return
        for _ in range(int(generator.integers(1, 4))):
            place = s + generator.uniform(-1.2, 1.2), side * (self._street.half_width + generator.uniform(1.4, 2.6))
            x, y, heading = self._street.pose(np.array([place[0]]), float(place[1]))[0]
            row = np.array([x, y, CURB_M, heading + generator.uniform(0.0, 6.28)])
            self._stage.walk(pedestrian(generator), np.tile(row, (len(self._stage.times), 1)), 0.0)

    def _skyline(self, side: float, s_to: float) -> None:
        generator = self._generator
        for s in np.arange(-40.0, s_to, 21.0):
            if generator.random() < 0.6:
                width, depth = generator.uniform(12.0, 20.0), generator.uniform(12.0, 18.0)
                d = self._street.half_width + generator.uniform(32.0, 60.0)
                pose = self._place(float(s), side * d, -side * np.pi / 2)
                model = buildings.tower(generator, width, depth)
                self._put_if_free(model, pose, (depth / 2, width / 2), -depth / 2, 9.0)
        for s in np.arange(-40.0, s_to + 260.0, 85.0):
            d = side * generator.uniform(150.0, 210.0)
            if s < self._street.length:
                self._put_if_free(furniture.hill(generator), self._place(float(s), d), (65.0, 90.0), 0.0, 15.0)

    def _crossing(self, number: int, crossing: Crossing) -> None:
        reach, half = crossing.half_width + STOP_LINE_M - 0.4, self._street.half_width
        if crossing.has_lights:
            for way in (1.0, -1.0):
                arm = float(half - self._street.lanes * 1.6) if self._street.lanes > 1 else 0.0
                pose = self._place(crossing.s - way * reach, -way * (half + 0.5), 0.0 if way > 0 else np.pi)
                self._stage.put(furniture.traffic_light(arm, 2 * number), pose)
                place = np.array([-way * (half + 5.0)])
                x, y, heading = crossing.pose(place, -way * (crossing.half_width + 0.6))[0]
                side_pose = planar_pose(x, y, heading + (0.0 if way > 0 else np.pi), CURB_M)
                self._stage.put(furniture.traffic_light(0.0, 2 * number + 1), side_pose)
        for way in (-1.0, 1.0):
            along = half + WALK_M + 3.0
            for hand in (-1.0, 1.0):
                self._side_row(crossing, way, hand, along)

    def _side_row(self, crossing: Crossing, way: float, hand: float, along: float) -> None:
        generator = self._generator
        along += 10.0
        while along < SIDE_REACH_M:
            width, depth = generator.uniform(9.0, 15.0), generator.uniform(8.0, 11.0)
            place = np.array([way * (along + width / 2)])
            x, y, heading = crossing.pose(place, hand * (crossing.half_width + WALK_M + 0.2))[0]
            pose = planar_pose(x, y, heading - hand * np.pi / 2, CURB_M)
            model = buildings.town_house(generator, width - 0.05, depth)
            self._put_if_free(model, pose, (depth / 2, width / 2), -depth / 2, WALK_M - 0.2)
            along += width
