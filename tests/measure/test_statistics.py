# SPDX-License-Identifier: GPL-2.0-only
"""Intervals by order statistics, rounds in pairs, fits: against what theory gives."""

import math
import random

import pytest

from kvm_vmx.measure import statistics
from kvm_vmx.measure.paired import A_A_LIMIT, AGAIN, Sample, a_a, alike, at_most, linear
from kvm_vmx.measure.report import Report
from kvm_vmx.measure.rounds import order


@pytest.mark.parametrize("n", [6, 8, 9, 10, 12, 15, 20, 25, 50, 100, 999])
def test_an_interval_is_the_narrowest_that_is_sure_enough(n):
    rank = statistics.lowest_rank(n)
    assert coverage(n, rank) >= 0.95 > coverage(n, rank + 1)


def coverage(n, rank):
    """How surely values rank and n-1-rank, from 0, enclose the median: fewer than rank + 1 of
    them lie on one side of it with the binomial's probability."""
    return 1 - 2 * sum(math.comb(n, k) for k in range(rank + 1)) / 2 ** n


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_values_give_their_whole_range(n):
    found = statistics.estimate(range(n))
    assert (found.low, found.high) == (0, n - 1)


def test_an_interval_holds_the_median_in_95_of_100_cases():
    dice = random.Random(773)
    hits = 0
    for _ in range(1_000):
        found = statistics.estimate([dice.gauss(10, 3) for _ in range(12)])
        hits += found.low <= 10 <= found.high
    assert hits >= 930


def test_an_interrupted_round_is_dropped_in_all_variants():
    ticks = {"a": [1000] * 9, "b": [1000] * 4 + [9000] + [1000] * 4}
    assert statistics.undisturbed(ticks) == [0, 1, 2, 3, 5, 6, 7, 8]


def test_pairs_see_through_a_machine_that_changes_its_pace():
    dice = random.Random(8304)
    pace = [dice.choice((1, 2)) for _ in range(999)]
    ticks = {"store": [1000 * p for p in pace], "again": [1000 * p for p in pace],
             "key": [1000 * p + 20 for p in pace]}
    rounds = range(999)
    assert statistics.differences(ticks, rounds, "again", "store") == 0
    assert statistics.differences(ticks, rounds, "key", "store") == 20


def test_a_fit_finds_what_it_was_made_of():
    rows = [[1.0, size, float(size % 3 == 0)] for size in range(20)]
    (base, slope, step), square = statistics.fit(rows,
                                                 [7 + 3 * row[1] + 11 * row[2] for row in rows])
    assert (base, slope, step, square) == pytest.approx((7, 3, 11, 1))


def test_columns_that_depend_on_each_other_are_refused():
    with pytest.raises(ValueError, match="depend"):
        statistics.fit([[1.0, 1.0], [1.0, 1.0]], [1, 2])


@pytest.mark.parametrize("n", [2, 5, 6, 12, 35])
def test_every_round_has_every_loop_and_neighbours_change(n):
    rounds = [order(r, n) for r in range(3 * n)]
    assert all(sorted(one) == list(range(n)) for one in rounds)
    assert {one[0] for one in rounds} == set(range(n))
    behind = {(one[k], one[k + 1]) for one in rounds for k in range(n - 1)}
    assert n == 2 or len({a for a, b in behind if b == 0}) > 1


def sample(control, copy, ops=1_600):
    return Sample({"x": {"a": control, "b": copy}, "ops": ops,
                   "calibration": {"tsc_hz": 2.6e9, "cycles_per_tick": 1.4}}, "x")


@pytest.mark.parametrize("shift, measurable", [(0, True), (1, True), (200, False)])
def test_a_failed_control_says_that_nothing_is_measurable(shift, measurable):
    """One tick is below the clock's step of 26; 200 of them are 0.17 cycle."""
    report = Report()
    control = [1000 + 26 * (r % 3) for r in range(99)]
    samples = [sample(control, [ticks + 26 * (shift // 26) for ticks in control])] * 8
    a_a(report, "accesses", samples, "b", "a")
    assert report.measurable is measurable
    assert report.find("A/A control", "accesses").low <= report.rows[0].value
    assert A_A_LIMIT["accesses"] == 0.05


@pytest.mark.parametrize("low, value, high, holds", [
    (50, 55, 70, True), (61, 66, 67, False), (58, 66, 67, None), (60, 61, 62, None)])
def test_a_bound_is_missed_only_where_the_interval_is_above_it(low, value, high, holds):
    assert at_most(statistics.Estimate(value, low, high), 60) is holds


@pytest.mark.parametrize("ours, copy, holds", [
    ((0.99, 1.00, 1.01), (1, 1, 1), True),
    ((1.46, 1.47, 1.48), (1, 1, 1), False),          # slower, and C's copy is not
    ((1.46, 1.47, 1.48), (1.4, 1.4, 1.5), None),     # where it stands costs as much
    ((0.97, 1.09, 1.20), (1, 1, 1), None),           # the processes disagree
    ((0.66, 0.68, 0.70), (1, 1, 1), False)])
def test_an_accessor_is_judged_beside_a_copy_of_c(ours, copy, holds):
    def found(low, value, high):
        return statistics.Estimate(value, low, high)

    same = ("readl", found(1, 1, 1), found(1, 1, 1))
    verdict, figure = alike([same, ("read64", found(*ours), found(*copy))])
    assert verdict is holds
    assert ("read64" in figure) is (holds is not True)


def test_entry_cost_made_of_bytes_and_checks_is_recognised():
    from kvm_vmx.measure.loops import GROUPS

    masks = {name: mask for mask, name in GROUPS.items()}
    masks |= {f"first {n}": (1 << n) - 1 for n in range(1, len(GROUPS) + 1)}
    report = Report()
    linear(report, {name: 30 + 9 * bool(mask & AGAIN["control checks"])
                    + 10 * bool(mask & AGAIN["host checks"])
                    + 20 * bool(mask & AGAIN["guest checks"]) for name, mask in masks.items()})
    parts = {row.name: row.value for row in report.rows}
    assert parts["guest checks"] == pytest.approx(20) and parts["a byte"] == pytest.approx(0)
    assert report.claims[0].holds
