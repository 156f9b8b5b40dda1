"""What the attention report says of heads, on evidence of which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from blippose.attention import PatchGrid
from blippose.evaluation.attention.evidence import STATISTICS, AttentionEvidence
from blippose.evaluation.attention.report import attention_report, self_shown

NUM = 8


def evidence_of(first: float, second: float, uniform: float) -> AttentionEvidence:
    """A layer of two heads, with every statistic of each and of the uniform decoder."""
    heads = np.tile([first, second], (NUM, 1, 1))
    noise = np.random.default_rng(0).normal(0, 0.01, (NUM, 1, 2))
    return AttentionEvidence(
        PatchGrid(2, 32),
        np.full((1, 2, 16, 17), 1 / 17),
        np.full((16, 17), 1 / 17),
        dict.fromkeys(STATISTICS, heads + noise),
        dict.fromkeys(STATISTICS, np.full(NUM, uniform)),
        np.zeros((NUM, 2, 1, 2, 16), dtype=np.int64),
        np.full((NUM, 2, 1, 2), 0.5),
        np.full((NUM, 16, 2), 9.0),
        ("",) * NUM,
    )


def test_a_head_above_the_uniform_decoder_is_counted_as_more() -> None:
    evidence = evidence_of(0.5, 0.1, uniform=0.2)
    shown = self_shown(evidence, None, None)
    assert (shown.layer, shown.head) == (0, 1)
    about, groups = {"synthetic": False}, ("image", np.arange(NUM))
    report = attention_report(about, evidence, None, {"self": shown}, groups, 50, 0)
    above = [head["self"]["own"]["above_uniform"]["value"] for head in report["heads"]]
    assert above == pytest.approx([0.3, -0.1], abs=0.02)
    assert (
        "more than the uniform decoder's .200 in 1 of 2 heads, less in 1; most in layer 1, head 1"
    ) in " ".join(report["sentences"])
