"""Which differences from the best choice, or from a named one, are within noise, by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blippose.report.cells import CellState, Estimate
from blippose.report.comparisons import Difference, difference, from_best, from_reference
from blippose.report.grid import Choice, Grid, Key
from blippose.report.judged import difference as difference_of_images
from blippose.report.noise import Noise

_NAMED = 5  # choices in one sentence
_BY_OVERLAP = (
    "Judged by whether the 95 % intervals over validation images (eval.json) overlap. "
    "That is one seed a choice: what another seed would change is not in it."
)
_NONE_WITHIN = "None is within noise of the best."
_NOTHING_TELLS = (
    "Nothing tells noise from difference here: one seed a choice, too few runs, and intervals "
    "of the images not for all of them. Sweep seed=0,1,2 or run `blippose eval` on each run."
)


@dataclass(frozen=True)
class Verdicts:
    """For each choice with a value whether it is within noise of the one it is held against.

    That is the reference where one was named, or else the best.

    Args:
        within: by the choice's key; None for the one that is held and where nothing tells.
        basis: what it was judged by, a sentence.
        reference: the choice that was named.
        differences: from the reference, by the choice's key; empty without one.
        better: keys of the choices on the better side of the one that is held. Of the best there
            are some where it lacks a hard seed that they have.
        apart: a sentence on the choices that are judged by their own noise; empty of none.
    """

    within: Mapping[Key, bool | None]
    basis: str
    reference: Choice | None = None
    differences: Mapping[Key, Difference] = field(default_factory=dict)
    better: frozenset[Key] = frozenset()
    apart: str = ""

    def text(self, choice: Choice) -> str:
        """A verdict in words; empty where there is none."""
        if choice.set_number:
            return "other images"
        if self.reference is not None and choice.key == self.reference.key:
            return "reference"
        beyond = "better" if choice.key in self.better else "worse"
        return {True: "within noise", False: beyond, None: ""}[self.within.get(choice.key)]

    def difference(self, choice: Choice) -> Difference | None:
        """From the reference; None without one, of itself, and of what has no value beside it."""
        return None if choice.set_number else self.differences.get(choice.key)


def judge(grid: Grid, noise: Noise | None, reference: Choice | None = None) -> Verdicts:
    """Hold every choice against the reference, which has a value, or else against the best one."""
    choices = [c for c in grid.choices if c.set_number == 0 and grid.mean(c) is not None]
    if len(choices) < 2:
        return Verdicts({}, _nothing_to_compare(grid, len(choices)), reference)
    held = reference or choices[0]
    others = [choice for choice in choices if choice.key != held.key]
    differences, basis = _differences(grid, noise, held, others, is_named=reference is not None)
    of_others = {c.key: one for c, one in zip(others, differences, strict=True)}
    within = {c.key: of_others[c.key].is_within if c.key in of_others else None for c in choices}
    apart = _apart(grid, noise, choices)
    better = frozenset(k for k, one in of_others.items() if grid.measure.key(one.value) < 0)
    shown = {} if reference is None else of_others
    return Verdicts(within, basis, reference, shown, better, apart)


def _differences(
    grid: Grid, noise: Noise | None, held: Choice, others: Sequence[Choice], *, is_named: bool
) -> tuple[list[Difference], str]:
    """Of each of `others`, and what they were judged by."""
    estimates = [_estimate(grid, choice) for choice in (held, *others)]
    known = [one for one in estimates if one is not None and one.low is not None]
    has_intervals = known == estimates
    if noise is not None and (
        grid.is_replicated or not (has_intervals or noise.holds_interactions)
    ):
        compare = from_reference if is_named else from_best
        basis = _by_noise(grid, noise, len(others), is_named=is_named)
        return compare(grid, held, others, noise), basis
    values = [difference(grid, held, other) for other in others]
    if not has_intervals:
        return [Difference(value) for value in values], _NOTHING_TELLS
    overlaps = [_overlap(known[0], one) for one in known[1:]]
    judged = zip(values, overlaps, strict=True)
    return [Difference(value, None, is_within) for value, is_within in judged], _BY_OVERLAP


def _nothing_to_compare(grid: Grid, num_judged: int) -> str:
    """Why there are not two choices: there is but one, or the others are not done or not alike."""
    num = len({choice.key for choice in grid.choices})
    if num < 2:
        return "There is one choice alone, so nothing to compare it with."
    done = [choice for choice in grid.choices if grid.mean(choice) is not None]
    if len(done) > num_judged:
        return "No two choices were judged on the same images, so none is compared."
    return f"{num_judged or 'None'} of {num} choices is done: there is nothing to compare yet."


def _by_noise(grid: Grid, noise: Noise, num_others: int, *, is_named: bool) -> str:
    unit = grid.measure.unit and f" {grid.measure.unit}"
    of = f"Noise of a run: standard deviation {noise.deviation:.3g}{unit} with "
    of += f"{_degrees(noise.freedom)} of freedom ({noise.source}); 95 %"
    if num_others == 1:
        return f"{of}."
    apart = "; less where seeds scatter unlike others'" if noise.own else ""
    if is_named:
        together = f"all {num_others} comparisons with the reference together (Dunnett)"
    else:
        together = f"all pairs of {num_others + 1} choices together (Tukey)"
    return f"{of} for {together}{apart}."


def _degrees(freedom: int | float) -> str:
    return "1 degree" if round(freedom) == 1 else f"{freedom:.0f} degrees"


def _apart(grid: Grid, noise: Noise | None, choices: Sequence[Choice]) -> str:
    """Whose seeds scatter so that they are no measure of the others' noise."""
    own = [(c, noise.own[c.key]) for c in choices if noise is not None and c.key in noise.own]
    if not own:
        return ""
    deviations = ", ".join(f"{one.deviation:.3g}" for _, one in own)
    unit = grid.measure.unit and f" {grid.measure.unit}"
    return (
        f"The seeds of {'; '.join(grid.choice_label(choice) for choice, _ in own)} scatter more "
        f"than others' (Cochran's test at 1 %): judged by their own noise, standard deviation "
        f"{deviations}{unit}, and left out of the others'."
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
        what = f" ({difference_of_images(first, cells[0])})" if first else ""
        yield (
            f"{name}: {runs} judged on other images or in another frame{what}, so not comparable "
            f"with {grid.set_names[0]}; figures of effects, heat map and noise leave {name} out."
        )


def _comparisons(grid: Grid, verdicts: Verdicts) -> list[str]:
    choices = [choice for choice in grid.choices if choice.set_number == 0]
    within = [c for c in choices if verdicts.within.get(c.key) is True]
    beyond = [c for c in choices if verdicts.within.get(c.key) is False]
    better = [c for c in beyond if c.key in verdicts.better]
    worse = [c for c in beyond if c.key not in verdicts.better]
    basis = [*_of_differences(grid, verdicts), verdicts.basis, *filter(None, [verdicts.apart])]
    if not within and not beyond:
        return basis
    of = f"of {len(within) + len(beyond)} others"
    if verdicts.reference is None:
        names = _named(grid, within)
        first = f"Within noise of the best: {names}." if within else _NONE_WITHIN
        ahead = [f"Better on the seeds that both have: {_named(grid, better)}."] if better else []
        behind = [f"Worse beyond noise: {len(worse)} {of}."] if worse else []
        return [first, *ahead, *behind, *basis]
    groups = {"Better than": better, "Worse than": worse}
    groups["Within noise of"] = within
    found = {what: choices for what, choices in groups.items() if choices}
    counts = [
        f"{what} the reference: {len(some)} {of} ({_named(grid, some)})."
        for what, some in found.items()
    ]
    return [*counts, *basis]


def _named(grid: Grid, choices: Sequence[Choice]) -> str:
    names = "; ".join(grid.choice_label(choice) for choice in choices[:_NAMED])
    more = len(choices) - _NAMED
    return f"{names}; and {more} more" if more > 0 else names


def _of_differences(grid: Grid, verdicts: Verdicts) -> Iterator[str]:
    """What stands in the column of differences."""
    if verdicts.reference is None:
        return
    less = "less" if grid.measure.is_error else "more"
    label = grid.choice_label(verdicts.reference)
    seeds = ", over the seeds that both have, else all" if grid.is_replicated else ""
    yield (
        f"Difference: a choice's {grid.measure.title} minus that of the reference ({label})"
        f"{seeds}; {less} is better."
    )
