# SPDX-License-Identifier: Apache-2.0
"""Parts of the scenes by hand-worked cases: streets, filtered patterns, the rasteriser, traffic and shadows."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from monodvps_ros.scenes.actors import Caster
from monodvps_ros.scenes.camera import Camera, camera_pose, planar_pose, rigid_inverse
from monodvps_ros.scenes.noise import Noise, band, fade, pulses
from monodvps_ros.scenes.raster import NOTHING, Grid, cast, make_view
from monodvps_ros.scenes.shadows import shadow_on_ground
from monodvps_ros.scenes.solids import Part, Shape, SolidsBuilder, turn_about
from monodvps_ros.scenes.street import GroundPlan, lay_street
from monodvps_ros.scenes.traffic import STEP_S, simulate
from monodvps_ros.scenes.weather import choose_weather

CPU = torch.device("cpu")
GRAY = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def street():
    return lay_street(np.random.default_rng(3), 600.0)


def looked_at(*parts, height=41, width=61, focal=50.0):
    """Depth and row of what a camera at the origin, 1.5 m high and looking along x, sees of some solids."""
    builder = SolidsBuilder()
    builder.add(parts, {})
    camera = Camera(height, width, focal)
    pose = camera_pose(0.0, 0.0, 0.0, 1.5, 0.0)
    view = make_view(builder.build(), rigid_inverse(pose)[None], camera, 100.0, CPU)
    seen = cast(view, Grid.of_pixels(camera, CPU), Noise(0, CPU))
    return (1.0 / seen.inverse_depth).view(height, width), seen.solid.view(height, width)


class TestRaster:
    def test_box_by_hand(self):
        """A box 2 m wide and 1 m high, its front 8 m ahead at eye height: 12.5 px wide, 6.25 px high."""
        depth, solid = looked_at(Part(Shape.BOX, (9.0, 0.0, 1.5), (1.0, 1.0, 0.5), "building", GRAY))
        hit = (solid != NOTHING).numpy()
        expected = np.zeros((41, 61), bool)
        expected[17:24, 24:37] = True  # |u - 30| <= 6.25, |v - 20| <= 3.125
        np.testing.assert_array_equal(hit, expected)
        np.testing.assert_allclose(depth[hit], 8.0, rtol=1e-6)
        assert torch.isinf(depth[~hit]).all()

    def test_sphere_by_hand(self):
        depth, solid = looked_at(Part(Shape.ELLIPSOID, (10.0, 0.0, 1.5), (2.0, 2.0, 2.0), "building", GRAY))
        assert float(depth[20, 30]) == pytest.approx(8.0, rel=1e-6)
        # A ray x = k z touches the sphere where k = r / sqrt(d^2 - r^2) = 0.2041, 10.2 px from the middle.
        assert np.flatnonzero((solid[20] != NOTHING).numpy()).tolist() == list(range(20, 41))
        # At k = 0.1: 1.01 z^2 - 20 z + 96 = 0.
        assert float(depth[20, 35]) == pytest.approx((20 - np.sqrt(400 - 4 * 1.01 * 96)) / 2.02, rel=1e-6)

    def test_cylinder_side_and_lid(self):
        """Its lid is 0.5 m below the eye, from 3 m to 5 m: seen from row 20 + 5 to 20 + 25 / 3; below is its side."""
        depth, solid = looked_at(Part(Shape.CYLINDER, (4.0, 0.0, 0.5), (1.0, 1.0, 0.5), "pole", GRAY))
        assert solid[24, 30] == NOTHING
        assert float(depth[26, 30]) == pytest.approx(25 / 6, rel=1e-6)
        assert float(depth[28, 30]) == pytest.approx(25 / 8, rel=1e-6)
        assert float(depth[29, 30]) == pytest.approx(3.0, rel=1e-6)

    def test_open_cylinder_shows_what_is_behind(self):
        turn = turn_about("y", np.pi / 2)
        wheel = Part(Shape.CYLINDER, (5.0, 0.0, 1.5), (1.0, 1.0, 0.05), "bicycle", GRAY, turn=turn, inner=0.8)
        wall = Part(Shape.BOX, (11.0, 0.0, 1.5), (1.0, 20.0, 20.0), "wall", GRAY)
        depth, _ = looked_at(wheel, wall)
        assert float(depth[20, 30]) == pytest.approx(10.0, rel=1e-6)
        assert float(depth[20, 30 + 9]) == pytest.approx(4.95, rel=1e-5)

    def test_nearer_solid_wins_whatever_the_order(self):
        near = Part(Shape.BOX, (5.5, 0.0, 1.5), (0.5, 0.5, 0.5), "building", GRAY)
        far = Part(Shape.BOX, (11.0, 0.0, 1.5), (1.0, 5.0, 5.0), "wall", GRAY)
        one, _ = looked_at(near, far)
        other, _ = looked_at(far, near)
        assert torch.equal(one, other)
        assert float(one[20, 30]) == 5.0

    def test_tapered_box_leans(self):
        """The roof is as wide as a point: at 3/4 of the height the front is a quarter as wide, and leans back."""
        tent = Part(Shape.BOX, (10.0, 0.0, 2.0), (2.0, 2.0, 2.0), "building", GRAY, top=(0.0, 0.0, 0.0, 0.0))
        depth, _ = looked_at(tent)
        # On the ray at eye height the front plane is at x = 8 + 2 * 1.5 / 4.
        assert float(depth[20, 30]) == pytest.approx(8.75, rel=1e-6)

    def test_empty_view(self):
        depth, solid = looked_at(Part(Shape.BOX, (-9.0, 0.0, 1.5), (1.0, 1.0, 0.5), "building", GRAY))
        assert torch.isinf(depth).all()
        assert (solid == NOTHING).all()


class TestStreet:
    def test_places_are_found_again(self, street):
        generator = np.random.default_rng(0)
        s, d = generator.uniform(0.0, 500.0, 400), generator.uniform(-9.0, 9.0, 400)
        pose = street.pose(s, d)
        plan = GroundPlan(street, -np.inf, np.inf, CPU)
        place = plan.locate(*torch.from_numpy(pose[:, :2]).float().unbind(1))
        np.testing.assert_allclose(place.s, s, atol=2e-3)
        np.testing.assert_allclose(place.d, d, atol=2e-3)
        np.testing.assert_allclose(place.heading, pose[:, 2], atol=1e-4)

    def test_curb_lies_at_half_the_width(self, street):
        s = np.linspace(0.0, 500.0, 300)
        clear = np.array([all(abs(one - c.s) > c.half_width + 12.0 for c in street.crossings) for one in s])
        plan = GroundPlan(street, -np.inf, np.inf, CPU)
        for d, expected in ((street.half_width, 0.0), (0.0, -street.half_width), (-street.half_width - 2.0, 2.0)):
            points = torch.from_numpy(street.pose(s[clear], d)[:, :2]).float()
            np.testing.assert_allclose(plan.locate(*points.unbind(1)).curb, expected, atol=5e-3)

    def test_side_streets_are_open(self, street):
        crossing = street.crossings[0]
        x, y, _ = crossing.pose(np.array([street.half_width + 20.0]), 0.0)[0]
        place = GroundPlan(street, -np.inf, np.inf, CPU).locate(torch.tensor([x]).float(), torch.tensor([y]).float())
        assert float(place.curb) == pytest.approx(-crossing.half_width, abs=1e-3)
        assert float(place.along) == pytest.approx(street.half_width + 20.0, abs=1e-3)

    def test_heading_has_no_jumps(self, street):
        heading = street.pose(np.arange(-40.0, street.length, 0.25), 0.0)[:, 2]
        assert np.abs(np.diff(heading)).max() < 0.25 / 27.0
        assert np.abs(heading).max() < 1.1


class TestTraffic:
    def test_nobody_drives_through_another_or_a_red_light(self, street):
        traffic = simulate(street, np.random.default_rng(4), 40.0, 11.0, 1.0)
        drivers = [traffic.ego, *traffic.ahead]
        for lane in {driver.lane for driver in drivers}:
            tracks = sorted((np.array(d.track) for d in drivers if d.lane == lane), key=lambda track: track[0])
            for behind, before in pairwise(tracks):
                assert (before - behind).min() > 1.5
        assert traffic.reds
        for red in traffic.reds:
            line = street.crossings[red.crossing].s - street.crossings[red.crossing].half_width
            during = np.array(traffic.ego.track)[int(red.begin_s / STEP_S) + 1 : int(red.end_s / STEP_S)]
            assert during.max() < line

    def test_oncoming_drives_the_other_way(self, street):
        traffic = simulate(street, np.random.default_rng(4), 5.0, 11.0, 1.0)
        assert traffic.oncoming
        assert all(driver.track[-1] >= driver.track[0] and driver.track[0] < 0 for driver in traffic.oncoming)


class TestPatterns:
    def test_pulses_against_an_average(self):
        position = torch.tensor([0.0, 0.3, 0.77, -1.4, 5.5], dtype=torch.float64)
        for width in (0.05, 0.4, 1.7):
            steps = torch.linspace(-width / 2, width / 2, 20001, dtype=torch.float64)
            at = (position[:, None] + steps) / 0.6
            expected = ((at - at.floor()) < 0.25).double().mean(1)
            filtered = pulses(position, 0.6, 0.25, torch.full_like(position, width))
            np.testing.assert_allclose(filtered, expected, atol=2e-4)

    def test_band_by_hand(self):
        position, footprint = torch.tensor([0.0, 1.0, 1.5, 2.5, 9.0]), torch.full((5,), 1.0)
        np.testing.assert_allclose(band(position, 1.0, 2.0, footprint), [0.0, 0.5, 1.0, 0.0, 0.0], atol=1e-6)

    def test_fade(self):
        assert fade(torch.tensor([0.0, 0.35, 1.1, 3.0]), 1.0).tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0])

    def test_cloth_loses_detail_with_distance_and_keeps_its_mean(self):
        noise, place = Noise(1, CPU), torch.rand(2, 40000, generator=torch.Generator().manual_seed(0)) * 100
        spread = [float(noise.cloth(*place, torch.full((40000,), step)).std()) for step in (0.01, 0.2, 1.0, 8.0)]
        assert 0.7 < spread[0] < 1.4
        assert spread == sorted(spread, reverse=True)
        assert spread[-1] < 0.25
        assert abs(float(noise.cloth(*place, torch.full((40000,), 0.01)).mean())) < 0.1

    def test_noise_is_smooth_and_hits_its_lattice(self):
        noise = Noise(1, CPU)
        at = torch.tensor([3.0, 3.0 + 1e-3, 4.0 - 1e-3, 4.0])
        values = noise.plane(at, torch.full_like(at, 2.0))
        assert abs(float(values[1] - values[0])) < 1e-4
        assert abs(float(values[3] - values[2])) < 1e-4
        assert float(values[0]) == pytest.approx(float(noise.cells(torch.tensor([3.5]), torch.tensor([2.5]))[0]))
        points = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0 + 32.0]])
        assert noise.space(points)[0] == noise.space(points)[1]


class TestShadows:
    def test_dark_beneath_and_light_away(self):
        weather = choose_weather("overcast", np.random.default_rng(0))
        x, y = torch.tensor([5.0, 5.0, 30.0]), torch.tensor([0.0, 0.9, 0.0])
        shade = shadow_on_ground([Caster(0, 5.0, 0.0, 2.0, 0.9, 1.5)], np.eye(4)[None], weather, x, y)
        assert float(shade[0]) > 0.5
        assert 0.1 < float(shade[1]) < float(shade[0])
        assert float(shade[2]) == 0.0

    def test_moves_with_its_body_and_goes_with_it(self):
        weather = choose_weather("clear", np.random.default_rng(0))
        caster = Caster(1, 0.0, 0.0, 2.0, 0.9, 1.5)
        x, y = torch.tensor([5.0, 50.0]), torch.tensor([0.0, 7.0])
        bodies = np.stack([np.eye(4), planar_pose(50.0, 7.0, 1.0)])
        shade = shadow_on_ground([caster], bodies, weather, x, y)
        assert float(shade[0]) == 0.0
        assert float(shade[1]) > 0.5
        bodies[1] = np.nan
        assert shadow_on_ground([caster], bodies, weather, x, y).tolist() == [0.0, 0.0]


def test_rigid_inverse():
    pose = camera_pose(3.0, -2.0, 0.7, 1.4, 0.1)
    np.testing.assert_allclose(rigid_inverse(pose) @ pose, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 2], [np.cos(0.7) * np.cos(0.1), np.sin(0.7) * np.cos(0.1), -np.sin(0.1)])
