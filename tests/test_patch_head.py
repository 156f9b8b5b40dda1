"""The patch that holds a joint, and joints that have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blippose.patch_head import PatchHead
from blippose.pose import NUM_JOINTS

SIZE, WIDTH = 32, 24  # patches of 8 px


@pytest.fixture
def head() -> PatchHead:
    made = PatchHead(WIDTH, SIZE)
    torch.nn.init.eye_(made.weight)  # channel j of a patch is joint j's logit
    torch.nn.init.zeros_(made.bias)
    return made


@pytest.mark.parametrize(
    ("xy_input", "patch"),
    [
        ((0.0, 0.0), 0),
        ((7.4, 24.0), 12),  # first column, last row of 4 x 4 patches
        ((7.5, 24.0), 13),  # the border between pixels 7 and 8
        ((31.0, 0.0), 3),
        ((-3.0, 40.0), 12),  # outside: the nearest
    ],
)
def test_the_target_is_the_patch_that_holds_the_joint(
    head: PatchHead, xy_input: tuple[float, float], patch: int
) -> None:
    xy = torch.tensor(xy_input).expand(1, NUM_JOINTS, 2)
    losses = []
    for said in range(16):
        states = torch.zeros(1, 17, WIDTH)
        states[0, 1 + said] = 50.0
        losses.append(float(head.loss(states, xy, torch.ones(1, NUM_JOINTS).bool()).detach()))
    assert int(np.argmin(losses)) == patch
    assert losses[patch] < 1e-6


def test_each_joint_of_each_image_has_a_patch_of_its_own(head: PatchHead) -> None:
    draw = torch.Generator().manual_seed(0)
    patch = torch.stack([torch.randperm(NUM_JOINTS, generator=draw) for _ in range(3)])  # (B, 16)
    xy = torch.stack([patch % 4, patch // 4], dim=-1) * 8 + 3.0
    states = torch.zeros(3, 17, WIDTH)
    image, joint = torch.arange(3)[:, None], torch.arange(NUM_JOINTS)
    states[image, 1 + patch, joint] = 50.0
    valid = torch.ones(3, NUM_JOINTS).bool()
    assert float(head.loss(states, xy, valid).detach()) < 1e-6


def test_missing_joints_have_no_patch(head: PatchHead) -> None:
    """Wherever they are said to be: the loss is the mean of those of the others alone."""
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(8, 17, WIDTH, generator=draw)
    xy = SIZE * torch.rand(8, NUM_JOINTS, 2, generator=draw)
    each = torch.eye(NUM_JOINTS).bool().expand(8, -1, -1)  # (B, 16, 16): one joint is known
    alone = torch.stack([head.loss(states, xy, each[:, joint]) for joint in range(3)])
    valid = torch.arange(NUM_JOINTS).expand(8, -1) < 3
    torch.testing.assert_close(head.loss(states, xy, valid), alone.mean())
    xy[:, 3:] = torch.nan
    torch.testing.assert_close(head.loss(states, xy, valid), alone.mean())
