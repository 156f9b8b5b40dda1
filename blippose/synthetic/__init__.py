"""A synthetic data set in MPII Human Pose's own format: drawn people, images and a .mat file."""

from blippose.synthetic.release import (
    GENERATOR_VERSION,
    check_unchanged,
    is_complete,
    people_of,
    write_release,
)
from blippose.synthetic.scene import Frame, Person, render_frame

__all__ = [
    "GENERATOR_VERSION",
    "Frame",
    "Person",
    "check_unchanged",
    "is_complete",
    "people_of",
    "render_frame",
    "write_release",
]
