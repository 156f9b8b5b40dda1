"""The truth, said as coarsely as a caption says it: what no answer of that form can beat."""

from __future__ import annotations

import numpy as np

from blippose.caption import CaptionFormat
from blippose.evaluation.targets import Answers, Targets


def caption_ceiling(targets: Targets, caption_format: CaptionFormat) -> Answers:
    """The truth written as a caption and read again.

    It loses up to half a bin on each axis, and of a joint outside the input all that lies beyond
    the border.
    """
    truth = zip(targets.xy_input, targets.valid, strict=True)
    captions = [caption_format.encode(xy, valid) for xy, valid in truth]
    poses = [caption_format.decode(caption).pose.xy for caption in captions]
    return Answers("caption format (quantisation)", "ceiling", np.array(poses).reshape(-1, 16, 2))


def resize_ceiling(targets: Targets) -> Answers:
    """The truth at the nearest whole pixel of the input, also beyond its border.

    What resizing costs an answer in whole pixels: nothing below half a pixel of the input, which
    is several of a large image. It is no limit of the image's content, as a localiser may answer
    in fractions. With a bin a pixel it differs from `caption_ceiling` only outside the input.
    """
    xy_input = np.where(targets.valid[..., None], targets.xy_input, np.nan)
    return Answers("whole pixels of the input", "ceiling", np.floor(xy_input + 0.5))
