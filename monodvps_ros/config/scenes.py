# SPDX-License-Identifier: Apache-2.0
"""Settings of synthetic drives."""

from dataclasses import dataclass

from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class SceneConfig(Config):
    """One synthetic drive; its seed is given apart."""

    frames: int = setting(100, "Frames of the drive.", at_least=1, at_most=3000)
    rate_hz: float = setting(10.0, "Frames per second.", unit="Hz", at_least=1.0, at_most=100.0)
    start_s: float = setting(0.0, "Begin so many seconds into the drive.", unit="s", at_least=0.0, at_most=300.0)
    height: int = setting(192, "Rows of the image.", unit="px", at_least=16, at_most=4096)
    width: int = setting(640, "Columns of the image.", unit="px", at_least=16, at_most=8192)
    focal_px: float = setting(0.0, "Focal length; 0 takes 0.6 times the width.", unit="px", at_least=0.0)
    camera_height_m: float = setting(1.5, "Height of the camera above the road.", unit="m", at_least=0.5, at_most=4.0)
    camera_pitch_deg: float = setting(0.0, "Angle that the camera looks down by.", unit="deg", at_least=-30.0,
                                      at_most=60.0)  # fmt: skip
    max_speed_mps: float = setting(11.0, "Speed on a free road.", unit="m/s", at_least=1.0, at_most=30.0)
    traffic: float = setting(1.0, "Vehicles and people, as a multiple of the usual number.", at_least=0.0, at_most=2.0)
    large_vehicles: int = setting(1, "Trucks and buses among the vehicles, as a multiple of the usual number.",
                                  at_least=0, at_most=5)  # fmt: skip
    weather: str = setting("any", "Light and weather; 'any' lets the seed choose.",
                           choices=("any", "clear", "morning", "evening", "overcast", "fog"))  # fmt: skip
    view_distance_m: float = setting(
        250.0, "What is farther away is not drawn.", unit="m", at_least=50.0, at_most=1000.0
    )
    antialias: bool = setting(True, "Smooth the outlines by four samples a pixel; the truth is not touched.")
    device: str = setting("cpu", "Where frames are rendered: cpu, cuda or cuda:N.")
