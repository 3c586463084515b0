# SPDX-License-Identifier: GPL-2.0-only
"""Static keys of both initial values, each with a likely and an unlikely site."""

import contextlib
import itertools
import threading
import time

import pytest
import text

from kvm_vmx import Machine, MachineError
from kvm_vmx.l1.linux import test_static_keys
from kvm_vmx.machine.port_functions import PortFunctions
from kvm_vmx.machine.static_keys import StaticKeys

INITIAL = {"true": True, "false": False}
# (key, what the branch expects): the function that asks it
FUNCTION = {(key, likely): f"{key}_key_{'true' if likely else 'false'}"
            for key in INITIAL for likely in (True, False)}


@pytest.fixture
def machine():
    with Machine(cpus=2) as machine:
        yield machine


@pytest.fixture
def keys(machine):
    with StaticKeys(machine) as keys, machine.cpu(0):
        yield keys


def call(keys, key, what):
    return getattr(keys.port, f"{key}_key_{what}")()


def expected_state(on, likely):
    """include/linux/jump_label.h: the text falls through where the branch is as expected."""
    return "nop" if on == likely else "jmp"


def check(keys, key, on, count=None):
    """The branches, the text and the count of one key."""
    sites = keys.sites()
    for likely in (True, False):
        function = FUNCTION[key, likely]
        assert getattr(keys.port, function)() == on
        assert text.state(sites[function]) == expected_state(on, likely)
        assert sites[function]["state"] == expected_state(on, likely)
        assert sites[function]["likely"] == likely
        assert sites[function]["key"] == f"{key}_key"
    assert call(keys, key, "count") == (on if count is None else count)


@pytest.mark.case("KEY-01")
def test_four_sites_as_the_initial_values_call_for(keys):
    assert set(keys.sites()) == set(FUNCTION.values())
    for key, on in INITIAL.items():
        check(keys, key, on)


@pytest.mark.parametrize("key", INITIAL)
def test_enable_and_disable_flip_one_key_alone(keys, key):
    other, = set(INITIAL) - {key}
    for _ in range(2):
        for what, on in (("enable", True), ("disable", False)):
            call(keys, key, what)
            check(keys, key, on)
            check(keys, other, INITIAL[other])


@pytest.mark.case("KEY-03")
@pytest.mark.parametrize("key", INITIAL)
def test_twice_is_once(machine, keys, key):
    """static_key_enable() and _disable() of a key that is so already do nothing, unwarned."""
    for what, on in (("enable", True), ("disable", False)):
        call(keys, key, what)
        before = machine.warnings
        call(keys, key, what)
        check(keys, key, on)
        assert machine.warnings == before


@pytest.mark.parametrize("key", INITIAL)
def test_a_key_is_on_while_anyone_holds_it(keys, key):
    call(keys, key, "disable")
    for count in (1, 2, 3):
        call(keys, key, "inc")
        check(keys, key, True, count)
    for count in (2, 1):
        call(keys, key, "dec")
        check(keys, key, True, count)
    call(keys, key, "dec")
    check(keys, key, False)


@pytest.mark.parametrize("key", INITIAL)
@pytest.mark.parametrize("what", ["enable", "disable"])
def test_a_counted_key_is_left_alone_with_a_warning(machine, keys, key, what):
    """jump_label.c: enable expects a count of 0 or 1 at most, disable of 1 or 0."""
    call(keys, key, "enable")
    call(keys, key, "inc")
    call(keys, key, what)
    check(keys, key, True, 2)
    # the warning comes once in the life of this kernel's text
    assert machine.warnings <= 1


def test_one_dec_too_many_warns_and_changes_no_text(machine, keys):
    """v4.19: the count goes below zero, which then counts as "on" though the text says off."""
    call(keys, "false", "dec")
    assert machine.warnings == 1
    assert any("jump label: negative count!" in line for line in machine.dmesg)
    for likely in (True, False):
        assert getattr(keys.port, FUNCTION["false", likely])() == 0
        assert text.state(keys.sites()[FUNCTION["false", likely]]) == expected_state(False, likely)
    call(keys, "false", "inc")
    check(keys, "false", False)


@pytest.mark.case("KEY-01", "KEY-02")
def test_the_kernels_own_test_passes(keys):
    for _ in range(3):
        assert keys.port.test_static_key_init() == 0
    call(keys, "true", "disable")
    assert keys.port.test_static_key_init() == -22


@pytest.mark.parametrize(
    "ops", list(itertools.product(["enable", "disable", "inc", "dec"], repeat=2)))
def test_a_fresh_load_is_fresh_whatever_came_before(machine, ops):
    for key, what in itertools.product(INITIAL, ops):
        with StaticKeys(machine) as keys, machine.cpu(1):
            call(keys, key, what)
    with StaticKeys(machine) as keys, machine.cpu(0):
        for key, on in INITIAL.items():
            check(keys, key, on)


def test_they_stand_beside_kvm_intel(machine, keys):
    kvm = machine.insmod(enlightened_vmcs=True)
    for key, on in INITIAL.items():
        check(keys, key, on)
    call(keys, "false", "enable")
    assert {text.state(site) for site in machine.keys() if site["key"] == "enable_evmcs"} == {"jmp"}
    kvm.rmmod()
    check(keys, "false", True)
    assert machine.keys() == []


def test_a_second_load_and_use_after_unload_say_so(machine, keys):
    with pytest.raises(FileExistsError):
        StaticKeys(machine)
    keys.rmmod()
    with pytest.raises(RuntimeError, match="load it again"):
        keys.sites()
    with StaticKeys(machine) as again:
        check(again, "true", True)


def test_text_that_cannot_be_written_leaves_the_key_as_it_is(machine, keys):
    for what, on in (("enable", True), ("inc", True), ("disable", False)):
        call(keys, "false", "enable" if what == "disable" else "disable")
        was = call(keys, "false", "count")
        machine.fail("mprotect")
        call(keys, "false", what)
        check(keys, "false", bool(was))
        call(keys, "false", what)
        check(keys, "false", on)


def test_two_threads_that_switch_keys_at_once(machine, keys):
    """Each takes every CPU for the time, and holds one from the start; neither waits for ever."""
    port = PortFunctions(machine, test_static_keys, contextlib.nullcontext, lambda: None)
    rounds = 300

    def switch(cpu, key):
        with machine.cpu(cpu):
            for _ in range(rounds):
                while True:
                    try:
                        getattr(port, f"{key}_key_inc")()
                        break
                    except MachineError:
                        time.sleep(0)       # the other thread has borrowed this CPU
                while True:
                    try:
                        getattr(port, f"{key}_key_dec")()
                        break
                    except MachineError:
                        time.sleep(0)

    before = machine.warnings
    # each key by two threads: together on one, and beside the other key
    threads = [threading.Thread(target=switch, args=(n % 2, ("true", "false")[n // 2]), daemon=True)
               for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert machine.warnings == before
    assert not any("unexpected bytes" in line for line in machine.dmesg)
    for key, on in INITIAL.items():
        check(keys, key, on)


def test_a_warning_once_is_once_in_a_boot():
    """Of the kernel proper too, whose text stays in the process from one boot to the next."""
    for _ in range(3):
        with Machine(cpus=1) as machine, StaticKeys(machine) as keys, machine.cpu(0):
            for _ in range(2):
                call(keys, "true", "inc")
                call(keys, "true", "enable")        # a count of 2, then of 3: WARN_ON_ONCE
            assert machine.warnings == 1
            for _ in range(2):
                call(keys, "true", "dec")
