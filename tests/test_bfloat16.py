from __future__ import annotations

import pytest
import torch

from blippose import bfloat16


def test_a_processor_that_multiplies_both_alike_is_not_cautioned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bfloat16, "_time_of", lambda dtype: 1.0)
    assert bfloat16.caution("precision=bf16-mixed", "precision=32-true") is None


def test_a_processor_without_bfloat16_is_told_by_how_much_and_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bfloat16, "_time_of", {torch.bfloat16: 40.0, torch.float32: 1.0}.get)
    said = bfloat16.caution("precision=bf16-mixed", "precision=32-true")
    assert said is not None
    assert said.startswith("precision=bf16-mixed: this processor takes 40 times as long")
    assert said.endswith("set precision=32-true")


def test_threads_are_as_many_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert bfloat16._time_of(torch.float32) > 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
