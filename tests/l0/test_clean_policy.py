# SPDX-License-Identifier: GPL-2.0-only
"""Who sets the clean bits: KVM 6.12 does at the end of prepare_vmcs02(), a strict L0 never.

prepare_vmcs02() comes behind the checks of controls, host and guest state, and in front of L2:
only an entry that succeeds marks the groups, and only their sixteen bits. Before, a VMLAUNCH has
cleared them (nested_vmx_handle_enlightened_vmptrld()).
"""

import pytest
from world import ALL_CLEAN, ASSIST, EVMCS, EVMCS_B, GROUP_BITS, World

from kvm_vmx.machine.outcome import Stopped

SPARE = 0xA5A50000
# What a field makes of an entry, and the group whose bit an L1 clears for it.
ENDS = {
    "success": ({}, "GUEST_BASIC"),
    "controls": ({"pin_based_vm_exec_control": 0}, "CONTROL_GRP1"),
    "host": ({"host_cr4": 0}, "HOST_GRP1"),
    "guest": ({"guest_rflags": 0}, "GUEST_BASIC"),
}


def ready(profile, **options):
    world = World(profile=profile, **options)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    return world


@pytest.mark.rule("R37", "K3")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("launch", [False, True])
@pytest.mark.parametrize("profile", ["kvm-6.12", "ice-lake", "tlfs-strict"])
@pytest.mark.parametrize("policy", ["always", "never", "random(3)", "commit_on_success"])
def test_which_bits_an_entry_leaves(profile, launch, end, policy):
    world = ready(profile, cache_policy=policy)
    changes, group = ENDS[end]
    for member, value in changes.items():
        world.put(EVMCS, member, value)
    found = SPARE | ALL_CLEAN & ~(1 << GROUP_BITS[group])
    world.set_clean(found)
    outcome = world.cpu.vmlaunch() if launch else world.cpu.vmresume()
    entered = outcome.ok and not world.get(EVMCS, "vm_exit_reason") >> 31
    assert entered == (end == "success")
    left = found & ~ALL_CLEAN if launch else found
    if entered and profile != "tlfs-strict":
        left |= ALL_CLEAN
    assert world.get(EVMCS, "hv_clean_fields") == left


@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
def test_they_are_set_before_l2_runs(profile):
    world = ready(profile)
    world.set_clean(0)
    world.guest_code(b"\x90\x90\x0f\x01\xc1")
    assert isinstance(world.cpu.vmresume(stop_after=1), Stopped)
    assert world.get(EVMCS, "hv_clean_fields") == (ALL_CLEAN if profile == "kvm-6.12" else 0)
    # L1's other processors may clear them meanwhile, and an exit leaves them alone
    world.set_clean(0x1234)
    assert world.cpu.go_on().ok and world.get(EVMCS, "hv_clean_fields") == 0x1234


@pytest.mark.parametrize(("profile", "groups"), [("kvm-6.12", 0), ("tlfs-strict", 16)])
def test_an_l1_that_leaves_the_bits_to_l0(profile, groups):
    """Genuine Hyper-V: it clears the bits of what it writes, and sets none."""
    world = ready(profile)
    before = world.cpu.counters()["groups_reread"]
    assert world.cpu.vmresume().ok
    assert world.cpu.counters()["groups_reread"] - before == groups


@pytest.mark.rule("R40")
def test_another_pointer_begins_without_clean_bits():
    """On a change of the pointer all groups are read, whatever the page says."""
    world = ready("kvm-6.12")
    world.memory.write(EVMCS_B, world.memory.read(EVMCS, 4096))
    world.memory.write_u64(ASSIST + 48, EVMCS_B)
    world.set_clean(ALL_CLEAN, EVMCS_B)
    before = world.cpu.counters()["groups_reread"]
    assert world.cpu.vmresume().ok
    assert world.cpu.counters()["groups_reread"] - before == 16
    assert world.get(EVMCS_B, "hv_clean_fields") == ALL_CLEAN
