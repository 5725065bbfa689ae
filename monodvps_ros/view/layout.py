# SPDX-License-Identifier: Apache-2.0
"""Names of what is shown, and the layout of the viewer."""

from typing import Any

from monodvps_ros.optional import import_optional

PURPOSE = "the viewer"
#: The one timeline: stamps of the images.
TIMELINE = "stamp"
WORLD = "world"
CAMERA = f"{WORLD}/camera"
CLOUD, BOXES = f"{CAMERA}/cloud", f"{CAMERA}/boxes"
TRACKS = f"{WORLD}/tracks"
#: The image plane, with what lies in it.
PLANE = f"{CAMERA}/image"
IMAGE, PANOPTIC, DEPTH, SEGMENTS = (f"{PLANE}/{name}" for name in ("rgb", "panoptic", "depth", "segments"))
SCALE = "scale"

#: Where the eye begins, metres in the world: behind and above the camera, looking ahead.
EYE_M, LOOKS_AT_M = (-7.0, 0.0, 4.0), (12.0, 0.0, 0.0)


def layout() -> Any:
    """Make the blueprint: the world at the left; camera, panoptic map and depth at the right; what the scale is below.

    Raises:
        MissingDependencyError: rerun is not installed.
    """
    rrb = import_optional("rerun.blueprint", PURPOSE)
    # A depth image in the view of the world would be a second cloud, and the masks would hide the camera's image.
    world = rrb.Spatial3DView(
        name="World",
        origin=WORLD,
        contents=["$origin/**", *(f"- /{path}" for path in (PANOPTIC, DEPTH, SEGMENTS))],
        eye_controls=rrb.EyeControls3D(position=EYE_M, look_target=LOOKS_AT_M, tracking_entity=f"/{CAMERA}"),
    )
    planes = [
        rrb.Spatial2DView(name=name, origin=PLANE, contents=[f"/{path}" for path in paths])
        for name, paths in (("Camera", (IMAGE, SEGMENTS)), ("Panoptic", (IMAGE, PANOPTIC)), ("Depth", (DEPTH,)))
    ]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(world, rrb.Vertical(*planes), column_shares=[3, 2]),
            rrb.TextLogView(name="Scale", origin=SCALE),
            row_shares=[7, 1],
        ),
        rrb.TimePanel(state="collapsed", timeline=TIMELINE),
        rrb.SelectionPanel(state="collapsed"),
        rrb.BlueprintPanel(state="collapsed"),
    )
