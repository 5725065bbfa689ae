# SPDX-License-Identifier: Apache-2.0
"""Settings of synthetic drives."""

from dataclasses import dataclass

from monodvps_ros.config.tree import Config, setting


@dataclass(frozen=True)
class SceneConfig(Config):
    """One synthetic drive; the seed is a separate argument."""

    frames: int = setting(100, "Number of frames.", at_least=1, at_most=3000)
    rate_hz: float = setting(10.0, "Frames per second.", unit="Hz", at_least=1.0, at_most=100.0)
    start_s: float = setting(0.0, "Time skipped at the beginning of the drive.", unit="s", at_least=0.0, at_most=300.0)
    height: int = setting(192, "Image height.", unit="px", at_least=16, at_most=4096)
    width: int = setting(640, "Image width.", unit="px", at_least=16, at_most=8192)
    focal_px: float = setting(0.0, "Focal length; 0: 0.6 times the image width.", unit="px", at_least=0.0, at_most=1e5)
    camera_height_m: float = setting(1.5, "Height of the camera above the road.", unit="m", at_least=0.5, at_most=4.0)
    camera_pitch_deg: float = setting(0.0, "Downward pitch of the camera.", unit="deg", at_least=-30.0, at_most=60.0)
    max_speed_mps: float = setting(
        11.0, "Maximum speed of the camera's vehicle.", unit="m/s", at_least=1.0, at_most=30.0
    )
    traffic: float = setting(1.0, "Number of vehicles and people, relative to the default.", at_least=0.0, at_most=2.0)
    large_vehicles: int = setting(1, "Number of trucks and buses, relative to the default.", at_least=0, at_most=5)
    weather: str = setting(
        "any",
        "Lighting and weather; 'any': chosen by the seed.",
        choices=("any", "clear", "morning", "evening", "overcast", "fog"),
    )
    view_distance_m: float = setting(
        250.0, "Distance beyond which nothing is drawn.", unit="m", at_least=50.0, at_most=1000.0
    )
    antialias: bool = setting(True, "Antialias the image with four samples per pixel; the ground truth is unaffected.")
    device: str = setting("cpu", "Device that frames are rendered on: cpu, cuda or cuda:N.")
