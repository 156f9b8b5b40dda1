"""Which differences from the best choice are within noise, and what that was judged by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blippose.report.cells import CellState, Estimate
from blippose.report.effects import Noise
from blippose.report.grid import Choice, Grid
from blippose.report.judged import difference

_NAMED = 5  # choices in one sentence


@dataclass(frozen=True)
class Verdicts:
    """For each choice with a value, in the grid's order, whether it is within noise of the best.

    Args:
        within: by the choice's key; None for the best itself and where nothing tells.
        basis: what it was judged by, a sentence.
    """

    within: dict[tuple[object, ...], bool | None]
    basis: str

    def text(self, choice: Choice) -> str:
        """A verdict in words; empty where there is none."""
        if choice.set_number:
            return "other images"
        verdict = self.within.get(choice.key)
        return {True: "within noise", False: "worse", None: ""}[verdict]


def judge(grid: Grid, noise: Noise | None) -> Verdicts:
    """Hold every choice against the best one."""
    choices = [c for c in grid.choices if c.set_number == 0 and grid.mean(c) is not None]
    if len(choices) < 2:
        return Verdicts({}, _nothing_to_compare(grid, len(choices)))
    if noise is not None and grid.is_replicated:
        return _by_noise(grid, choices, noise)
    estimates = [_estimate(grid, choice) for choice in choices]
    if all(estimate is not None and estimate.low is not None for estimate in estimates):
        return _by_overlap(choices, [estimate for estimate in estimates if estimate])
    if noise is not None and not noise.holds_interactions:
        return _by_noise(grid, choices, noise)
    return Verdicts(
        {},
        "Nothing tells noise from difference here: one seed a choice, too few runs, and intervals "
        "of the images not for all of them. Sweep seed=0,1,2 or run `blippose eval` on each run.",
    )


def _nothing_to_compare(grid: Grid, num_judged: int) -> str:
    """Why there are not two choices: there is but one, or the others are not done or not alike."""
    num = len({choice.key for choice in grid.choices})
    if num < 2:
        return "There is one choice alone, so nothing to compare it with."
    done = [choice for choice in grid.choices if grid.mean(choice) is not None]
    if len(done) > num_judged:
        return "No two choices were judged on the same images, so none is compared."
    return f"{num_judged or 'None'} of {num} choices is done: there is nothing to compare yet."


def _by_noise(grid: Grid, choices: list[Choice], noise: Noise) -> Verdicts:
    best, *others = choices
    within: dict[tuple[object, ...], bool | None] = {best.key: None}
    for other in others:
        gap, variance = _gap(grid, best, other, noise)
        within[other.key] = gap <= noise.reach(variance, len(choices))
    unit = grid.measure.unit and f" {grid.measure.unit}"
    together = f" for all pairs of {len(choices)} choices together (Tukey)"
    return Verdicts(
        within,
        f"Noise of a run: standard deviation {noise.deviation:.3g}{unit} with {noise.freedom:.0f} "
        f"degrees of freedom ({noise.source}); 95 %{together if others[1:] else ''}.",
    )


def _gap(grid: Grid, best: Choice, other: Choice, noise: Noise) -> tuple[float, float]:
    """How far two choices lie apart, and its variance in runs' worth; of their common seeds."""
    if noise.is_paired and (pairs := grid.paired(best, other)):
        return abs(sum(a - b for a, b in pairs)) / len(pairs), 2 / len(pairs)
    gap = abs((grid.mean(other) or 0.0) - (grid.mean(best) or 0.0))
    return gap, 1 / len(grid.scores(best)) + 1 / len(grid.scores(other))


def _by_overlap(choices: list[Choice], estimates: list[Estimate]) -> Verdicts:
    best = estimates[0]
    within: dict[tuple[object, ...], bool | None] = {choices[0].key: None}
    for choice, other in zip(choices[1:], estimates[1:], strict=True):
        within[choice.key] = _overlap(best, other)
    return Verdicts(
        within,
        "Judged by whether the 95 % intervals over validation images (eval.json) overlap. "
        "That is one seed a choice: what another seed would change is not in it.",
    )


def _overlap(one: Estimate, other: Estimate) -> bool:
    lows, highs = (one.low, other.low), (one.high, other.high)
    if None in lows or None in highs:
        return True
    return max(x for x in lows if x is not None) <= min(x for x in highs if x is not None)


def _estimate(grid: Grid, choice: Choice) -> Estimate | None:
    [cell] = choice.done if len(choice.done) == 1 else [None]
    return None if cell is None else grid.estimate(cell, grid.measure.name)


def sentences(grid: Grid, verdicts: Verdicts) -> list[str]:
    """What may not be compared, what is within noise, by what that was judged, and what luck."""
    return [*_other_sets(grid), *_comparisons(grid, verdicts), *_silent(grid), *_luck(grid)]


def _silent(grid: Grid) -> Iterator[str]:
    """A sentence for each choice that a seed without a value leaves without a mean."""
    for choice in grid.choices:
        num, num_done = len(grid.scores(choice)), len(choice.done)
        if num < num_done:
            seeds = f"{num_done - num} of its {num_done} seeds" if num_done > 1 else "its run"
            yield (
                f"{grid.choice_label(choice)} has no rank: {seeds} never had a value of "
                f"{grid.measure.title}, as none has where no joint parses."
            )


def _luck(grid: Grid) -> Iterator[str]:
    """That the best of many epochs is better by chance."""
    nums = {cell.history.num_validations for cell in grid.cells if cell.state is CellState.DONE}
    if max(nums, default=0) < 2:
        return
    of = f"{min(nums)} to {max(nums)}" if len(nums) > 1 else f"{max(nums)}"
    more = " Runs of more validations had more chances." if len(nums) > 1 else ""
    yield (
        f"A run's figure is the best of its {of} validations on these same images, so better by "
        f"chance than on others.{more}"
    )


def _other_sets(grid: Grid) -> Iterator[str]:
    """A sentence for each validation set beside that of most runs."""
    first = next((cell for cell in grid.cells if grid.is_comparable(cell)), None)
    for number, name in enumerate(grid.set_names[1:], 1):
        cells = [cell for cell in grid.cells if grid.sets[cell.name] == number]
        runs = f"{len(cells)} runs were" if len(cells) > 1 else f"{grid.label(cells[0])} was"
        what = f" ({difference(first, cells[0])})" if first else ""
        yield (
            f"{name}: {runs} judged on other images or in another frame{what}, so not comparable "
            f"with {grid.set_names[0]}; figures of effects, heat map and noise leave {name} out."
        )


def _comparisons(grid: Grid, verdicts: Verdicts) -> list[str]:
    choices = [choice for choice in grid.choices if choice.set_number == 0]
    within = [c for c in choices if verdicts.within.get(c.key) is True]
    worse = [c for c in choices if verdicts.within.get(c.key) is False]
    if not within and not worse:
        return [verdicts.basis]
    names = "; ".join(grid.choice_label(choice) for choice in within[:_NAMED])
    names += f"; and {len(within) - _NAMED} more" if len(within) > _NAMED else ""
    first = (
        f"Within noise of the best: {names}." if within else "None is within noise of the best."
    )
    num_others = len(within) + len(worse)
    second = [f"Worse beyond noise: {len(worse)} of {num_others} others."] if worse else []
    return [first, *second, verdicts.basis]
