# SPDX-License-Identifier: GPL-2.0-only
"""What L0 keeps of an eVMCS, policy by policy."""

import pytest
from world import EVMCS, LAYOUT, World


def in_copy(world, member):
    offset, size = LAYOUT[member]
    return int.from_bytes(world.cpu.evmcs_copy[offset:][:size], "little")


def grew(world, before, *names):
    after = world.cpu.counters()
    return tuple(after[name] - before[name] for name in names)


@pytest.mark.rule("R37", "R38")
@pytest.mark.parametrize(
    ("policy", "groups"), [("always", 0), ("never", 1600), ("commit_on_success", 0)]
)
def test_cache_policies(policy, groups):
    world = World(cache_policy=policy)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    before = world.cpu.counters()
    for _ in range(100):
        assert world.cpu.vmresume().ok
    assert grew(world, before, "groups_reread") == (groups,)


def test_the_random_policy_repeats_itself():
    def groups(policy, **options):
        world = World(cache_policy=policy, **options)
        world.enlighten()
        assert world.cpu.vmlaunch().ok
        counts = []
        for _ in range(50):
            world.set_clean()
            assert world.cpu.vmresume().ok
            counts.append(world.cpu.counters()["groups_reread"])
        return counts

    assert groups("random(5)") == groups("random", seed=5) != groups("random(6)")
    assert 200 < groups("random(5)")[-1] < 600


def test_commit_on_success_forgets_what_a_failed_entry_read():
    world = World(cache_policy="commit_on_success")
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.put(EVMCS, "pin_based_vm_exec_control", 0)
    world.put(EVMCS, "exception_bitmap", 0x123)
    world.set_clean(0)
    assert world.cpu.vmresume().error == 7
    assert in_copy(world, "exception_bitmap") == 0
    world.set_clean()
    assert world.cpu.vmresume().ok, "the bad control was never committed"
