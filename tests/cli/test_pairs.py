# SPDX-License-Identifier: GPL-2.0-only
"""The two times of kvm-vmx run: what is timed, in which order, and when nothing is told."""

import pytest

from kvm_vmx.run import report
from kvm_vmx.run import pairs

MS = 1_000_000


class Trapping:
    """As much of a machine as a plan asks for."""

    class _kernel:
        by_trap = False


def times(monkeypatch, ns_of, exits=100_000):
    """What timed() makes of turns that take ns_of(name, number of the turn)."""
    taken = []

    def turn(guest, name, plan):
        taken.append(name)
        return ns_of(name, len(taken))

    monkeypatch.setattr(pairs, "turn", turn)
    guest = pairs.Guest(Trapping, "hyperv", b"", 0, None)
    return pairs.timed(guest, exits, {"vmcs": 90.0, "evmcs": 60.0}), taken


NS = {"vmcs": 90.0, "vmcs again": 90.0, "evmcs": 60.0}


def test_modes_take_turns(monkeypatch):
    found, taken = times(monkeypatch, lambda name, n: NS[name])
    rounds = [taken[i:i + 3] for i in range(2, len(taken), 3)]      # two pilots first
    assert len(rounds) == found.rounds >= 5
    assert all(sorted(one) == sorted(NS) for one in rounds)
    # none is always the first, nor always behind the same
    assert len({one[0] for one in rounds}) == 3
    assert found.measurable and found.ns["vmcs"].value == 90 and found.ns["evmcs"].value == 60


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.07, 1.3])
def test_times_are_withheld_where_a_mode_differs_from_itself(monkeypatch, factor, capsys):
    found, _ = times(monkeypatch, lambda name, n: NS[name] * (factor if "again" in name else 1))
    assert found.measurable is False
    assert report.time_row(found) == ("ns, measured here", "", "-", "", "-")
    report.print_interval(found)
    assert capsys.readouterr().out.startswith("ns, not measurable here now: ")
    assert report.timing_of(found)["a_a"][0] == pytest.approx(factor, abs=0.001)


def test_times_are_withheld_where_a_mode_wanders(monkeypatch):
    """Equal in the middle, but nobody could tell a tenth."""
    found, _ = times(monkeypatch, lambda name, n: NS[name] * (1 + n % 7 * 0.1))
    assert found.measurable is False


def test_a_machine_that_slows_down_in_between_moves_no_ratio(monkeypatch):
    """From round to round three times as slow: the pairs are still pairs."""
    found, _ = times(monkeypatch, lambda name, n: NS[name] * (1 if n < 20 else 3))
    assert found.measurable


def test_a_guest_that_ends_in_a_turn_is_not_timed(monkeypatch):
    for when in (1, 2, 3, 20):
        found, _ = times(monkeypatch, lambda name, n: None if n == when else NS[name])
        assert found == pairs.NOTHING and found.measurable is None


@pytest.mark.parametrize("exits", [1, 2, 3, 10, 11, 100, 1_000, 20_000, 100_000, 10**9])
@pytest.mark.parametrize("by_trap", [False, True])
@pytest.mark.parametrize("ns", [1, 50, 90, 5_000, 70_000, 200_000, 20 * MS, 10_000 * MS])
def test_a_turn_stays_within_the_guest_and_all_within_the_time(exits, by_trap, ns):
    found = pairs.plan(exits, {"vmcs": ns, "evmcs": ns * 0.7}, by_trap)
    if found is None:
        return
    assert max(1, found.warm_up) + 1 + found.stretches * found.length <= exits
    assert found.length * ns * 0.7 >= 5 * pairs.CALL_NS
    turn = (found.warm_up + found.stretches * found.length) * ns
    assert 5 <= found.rounds <= pairs.MOST_ROUNDS and turn * 3 * found.rounds <= pairs.SECONDS * 1e9


def test_what_is_timed_and_what_is_not():
    def planned(exits, ns, by_trap=False):
        return pairs.plan(exits, {"vmcs": ns, "evmcs": ns}, by_trap) is not None

    assert planned(100_000, 90) and planned(20_000, 60) and planned(100_000, 70_000, True)
    assert not planned(1, 90) and not planned(10, 90) and not planned(100, 90)
    assert not planned(10, 1_000 * MS)      # a guest that computes for a second
