# SPDX-License-Identifier: GPL-2.0-only
"""dev/walks.py: what is a hop, what is a way back, and the walk of a VMREAD, by call and trap."""

import pytest
import walks


def walked(*places):
    """The hops of some (room, depth), and what is noted with each."""
    walk = walks.Walk()
    for room, depth in places:
        walk.at(room, depth, "here")
    return [(room, note) for room, _, note in walk.hops]


def test_a_call_is_a_hop_and_its_end_is_none():
    assert walked(("l1", 1), ("l0", 3), ("l0", 4), ("l1", 1), ("l1", 0)) == [("l1", ""), ("l0", "")]


def test_what_is_inlined_is_left_where_the_stack_is_the_same():
    assert walked(("l1", 1), ("machine", 1), ("l1", 1)) == [("l1", ""), ("machine", "")]


def test_a_room_that_was_left_is_told():
    assert walked(("l1", 1), ("l0", 3), ("l1", 1), ("trap", 3), ("l1", 1), ("l0", 3))[3:] == [
        ("l0", "again")]


def test_a_room_that_another_one_has_called_is_told():
    assert walked(("l1", 1), ("l0", 3), ("l1", 1), ("trap", 3), ("l0", 5))[3:] == [
        ("l0", "again")]


def test_calls_of_one_room_with_no_other_between_are_one_stay():
    assert walked(("l1", 1), ("machine", 3), ("l0", 5), ("l1", 1), ("machine", 3), ("l0", 5)) == [
        ("l1", ""), ("machine", ""), ("l0", "")]


def test_a_call_back_into_a_room_that_waits_is_told():
    assert walked(("l1", 1), ("l0", 3), ("l1", 5))[2:] == [("l1", "back")]


def test_the_ground_is_told_once_and_is_no_hop_back():
    assert walked(("l1", 1), ("include", 1), ("l1", 1), ("include", 1), ("l0", 2)) == [
        ("l1", ""), ("include", ""), ("l0", "")]


@pytest.mark.parametrize("path, room", [
    ("/x/kvm_vmx/l0/vmcs/fields.h", "l0/vmcs"), ("kvm_vmx/l1/linux/mm.pyx", "l1"),
    ("kvm_vmx/l0/physical.h", ""), ("kvm_vmx/machine/vcpu.py", "machine"),
    ("include/asm/vmx_insn.h", "include"),
    ("kvm_vmx/cli.py", "cli"), ("kvm_vmx/console.py", ""), ("/usr/lib/python3/json.py", "")])
def test_the_room_of_a_file(path, room):
    assert walks.room_of(path) == room


@pytest.mark.parametrize("how, rooms", [("read", ["l1", "include", "l0/vmcs"]),
                                        ("trap", ["l1", "include", "trap", "l0/vmcs"])])
def test_a_read_goes_straight_down_and_back(soak, how, rooms):
    """L1's accessor, then L0: no room is entered twice."""
    if not soak:
        pytest.skip("--soak compiles L0 once more")
    walk = walks.WALKS[how][1]()
    assert [room for room, _, _ in walk.hops] == rooms
    assert not any(note for *_, note in walk.hops)


@pytest.mark.soak
@pytest.mark.parametrize("name", walks.WALKS)
def test_no_room_is_entered_twice(soak, name):
    if not soak and name != "run":
        pytest.skip("--soak compiles L0 once more")
    walk = walks.WALKS[name][1]()
    assert len({room for room, *_ in walk.hops}) == len(walk.hops) > 2
    assert not any(note for *_, note in walk.hops)
