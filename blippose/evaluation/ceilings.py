"""The truth, said as coarsely as it can be said: what no answer of that form can beat.

Three steps on the way to a caption: in whole pixels of the image, of the resized input, in bins.
What each costs is the difference to the one before.
"""

from __future__ import annotations

import numpy as np

from blippose.caption import CaptionFormat
from blippose.evaluation.scores import NAMES, Scores
from blippose.evaluation.targets import Answers, Targets


def image_ceiling(targets: Targets) -> Answers:
    """The truth at the nearest whole pixel of the image: nothing is resized yet.

    As annotators click, so that of MPII's joints it loses next to nothing.
    """
    xy_img = np.where(targets.valid[..., None], targets.xy_img, np.nan)
    xy_input = targets.to_input(np.floor(xy_img + 0.5))
    return Answers("whole pixels of the image", "ceiling", xy_input)


def caption_ceiling(targets: Targets, caption_format: CaptionFormat) -> Answers:
    """The truth written as a caption and read again.

    It loses up to half a bin on each axis, and of a joint outside the input all that lies beyond
    the border.
    """
    truth = zip(targets.xy_input, targets.valid, strict=True)
    captions = [caption_format.encode(xy, valid) for xy, valid in truth]
    poses = [caption_format.decode(caption).pose.xy for caption in captions]
    return Answers("caption format (quantisation)", "ceiling", np.array(poses).reshape(-1, 16, 2))


def ceiling_figures(targets: Targets, caption_format: CaptionFormat) -> dict[str, float]:
    """Every metric of `caption_ceiling`: the best that captions of a format can score."""
    answers = caption_ceiling(targets, caption_format)
    scores = Scores.of(targets, answers, mean_pose=np.zeros((16, 2)))  # no joint is missing
    figures = scores.total.sum(axis=0) / scores.count.sum(axis=0)
    return dict(zip(NAMES, figures.tolist(), strict=True))


def resize_ceiling(targets: Targets) -> Answers:
    """The truth at the nearest whole pixel of the input, also beyond its border.

    What resizing costs beside `image_ceiling`: nothing below half a pixel of the input can be
    said, which is several of a large image. A localiser that answers in fractions may do better.
    With a bin a pixel the caption costs nothing more, but for joints outside the input.
    """
    xy_input = np.where(targets.valid[..., None], targets.xy_input, np.nan)
    return Answers("resize: whole pixels of the input", "ceiling", np.floor(xy_input + 0.5))
