"""The patch that holds a joint, the cell of it that does, and joints that have none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import SIZE

from blippose.data import PoseBatch
from blippose.errors import UserError
from blippose.model import PoseCaptioner
from blippose.patch_head import SIGMA_PX, PatchHead
from blippose.pose import NUM_JOINTS

WIDTH = 24
assert SIZE == 32  # in patches of 8 px, here and in `make_captioner`


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


@pytest.mark.parametrize("cells", [1, 4])
def test_missing_joints_have_no_patch(cells: int) -> None:
    """Wherever they are said to be: the loss is the mean of those of the others alone."""
    head = PatchHead(WIDTH, SIZE, cells)
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(8, 17, WIDTH, generator=draw)
    xy = SIZE * torch.rand(8, NUM_JOINTS, 2, generator=draw)
    each = torch.eye(NUM_JOINTS).bool().expand(8, -1, -1)  # (B, 16, 16): one joint is known
    alone = torch.stack([head.loss(states, xy, each[:, joint]) for joint in range(3)])
    valid = torch.arange(NUM_JOINTS).expand(8, -1) < 3
    torch.testing.assert_close(head.loss(states, xy, valid), alone.mean())
    states.requires_grad_(True)
    for nowhere in (torch.nan, torch.inf, -torch.inf, 1e20):
        xy[:, 3:] = nowhere
        states.grad = None
        loss = head.loss(states, xy, valid)
        torch.testing.assert_close(loss, alone.mean())
        loss.backward()
        assert states.grad is not None
        assert states.grad.isfinite().all()


@pytest.mark.parametrize("cells", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_it_works_in_the_precision_that_a_model_has(cells: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    head = PatchHead(WIDTH, SIZE, cells)
    states, xy = torch.randn(2, 17, WIDTH), SIZE * torch.rand(2, NUM_JOINTS, 2)
    valid = torch.ones(2, NUM_JOINTS).bool()
    exact = head.loss(states, xy, valid)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = head.to(dtype).loss(states.to(dtype), xy.to(dtype), valid)
    finally:
        torch.set_default_dtype(before)
    torch.testing.assert_close(found, exact, rtol=3e-2, atol=0)


CELLS = 4  # of 2 px


@pytest.fixture
def fine() -> PatchHead:
    """Channel 16 j + 4 r + c of a patch is the score of joint j in its row r and column c."""
    made = PatchHead(NUM_JOINTS * CELLS**2, SIZE, CELLS)
    torch.nn.init.eye_(made.weight)
    torch.nn.init.zeros_(made.bias)
    return made


@pytest.mark.parametrize(
    ("xy_input", "cell"),
    [
        ((0.0, 0.0), (0, 0)),
        ((7.4, 24.0), (12, 3)),  # row and column of 16 x 16 cells
        ((7.6, 24.0), (12, 4)),
        ((31.0, 1.0), (0, 15)),
        ((14.5, 19.7), (10, 7)),
        ((-9.0, 50.0), (15, 0)),  # outside: the nearest
    ],
)
def test_the_cell_that_holds_the_joint_is_the_best_answer(
    fine: PatchHead, xy_input: tuple[float, float], cell: tuple[int, int]
) -> None:
    xy = torch.tensor(xy_input).expand(1, NUM_JOINTS, 2)
    (row, inner_row), (column, inner_column) = (divmod(at, CELLS) for at in cell)
    losses = torch.zeros(16, CELLS**2)
    for patch, inner in np.ndindex(16, CELLS**2):
        states = torch.zeros(1, 17, NUM_JOINTS * CELLS**2)
        states[0, 1 + patch].view(NUM_JOINTS, CELLS**2)[:, inner] = 5.0
        losses[patch, inner] = fine.loss(states, xy, torch.ones(1, NUM_JOINTS).bool()).detach()
    best = divmod(int(losses.argmin()), CELLS**2)
    assert best == (4 * row + column, CELLS * inner_row + inner_column)


def test_heat_lies_as_the_input_does(fine: PatchHead) -> None:
    """Each joint's scores row by row over the whole input, whichever patch said them."""
    torch.manual_seed(0)
    said = torch.randn(2, 17, NUM_JOINTS * CELLS**2)
    heat = fine.heat(said)
    assert heat.shape == (2, NUM_JOINTS, 16, 16)
    for joint, row, column in [(0, 0, 0), (3, 5, 14), (15, 15, 2)]:
        patch = 4 * (row // CELLS) + column // CELLS
        channel = CELLS**2 * joint + CELLS * (row % CELLS) + column % CELLS
        assert heat[1, joint, row, column] == said[1, 1 + patch, channel]


def test_no_answer_is_better_than_the_gaussian_round_the_joint(fine: PatchHead) -> None:
    """Whose cross entropy with itself is its entropy."""
    xy = np.array([13.3, 21.9])
    centre = 2 * np.arange(16) + 0.5  # of the cells, px
    x, y = (np.exp(-(((centre - at) / SIGMA_PX) ** 2) / 2) for at in xy)
    target = np.outer(y, x) / np.outer(y, x).sum()
    scores = torch.from_numpy(np.log(target)).float()
    # (16, 16) to (patch, cell)
    said = scores.view(4, CELLS, 4, CELLS).transpose(1, 2).reshape(1, 16, 1, CELLS**2)
    states = torch.zeros(1, 17, NUM_JOINTS * CELLS**2)
    states[:, 1:] = said.expand(-1, -1, NUM_JOINTS, -1).flatten(2)
    where = torch.from_numpy(xy).float().expand(1, NUM_JOINTS, 2)
    valid = torch.ones(1, NUM_JOINTS).bool()
    states.requires_grad_(True)
    loss = fine.loss(states, where, valid)
    loss.backward()
    entropy = -(target[target > 0] * np.log(target[target > 0])).sum()
    np.testing.assert_allclose(loss.detach().item(), entropy, rtol=1e-5)
    assert states.grad is not None
    assert float(states.grad.abs().max()) < 1e-6


def test_in_bfloat16_scores_are_added_up_exactly(fine: PatchHead) -> None:
    torch.manual_seed(0)
    states = 8 * torch.randn(64, 17, NUM_JOINTS * CELLS**2).bfloat16().float()
    xy, valid = SIZE * torch.rand(64, NUM_JOINTS, 2), torch.ones(64, NUM_JOINTS).bool()
    exact = fine.loss(states, xy, valid)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(fine.loss(states, xy, valid), exact, rtol=1e-6, atol=0)


def test_a_patch_has_one_cell_or_more() -> None:
    with pytest.raises(UserError, match=r"captioner\.patch_cells=0: expected 1 or more"):
        PatchHead(WIDTH, SIZE, 0)


def test_a_tower_that_is_told_which_pixel_holds_each_joint_comes_to_say_so(
    make_captioner: Callable[..., PoseCaptioner], batch: PoseBatch
) -> None:
    """Of eight images: those that it was told of."""
    torch.manual_seed(0)
    captioner = make_captioner(patch_weight=1.0, patch_cells=8)
    head, valid = captioner.patch_head, batch["valid"]
    assert head is not None
    learned = [*captioner.blip.vision_model.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(learned, lr=1e-2)

    def error_px() -> float:
        heat = head.heat(captioner.look(batch["image"]).detach())  # (8, 16, 32, 32)
        row_and_column = torch.stack(torch.unravel_index(heat.flatten(2).argmax(-1), (SIZE, SIZE)))
        said = row_and_column.flip(0).permute(1, 2, 0)
        return float((said - batch["xy_input"]).norm(dim=-1)[valid].median())

    before = error_px()
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(captioner.look(batch["image"]), batch["xy_input"], valid).backward()
        optimizer.step()
    assert before > 5
    assert error_px() < 1
