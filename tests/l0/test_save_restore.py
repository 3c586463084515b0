# SPDX-License-Identifier: GPL-2.0-only
"""Save and restore of a processor: nothing is lost, and no blob does harm."""

import random
import struct

import pytest
from guest import Guest
from world import ALL_CLEAN, ASSIST, EVMCS, FIELDS, GROUP_BITS, VMCS_A, VMXON, World

from kvm_vmx import Machine
from kvm_vmx.machine.outcome import VMfailInvalid, VMfailValid


def moved(world, **options):
    """The same machine on another host: its memory and its processors, nothing else."""
    other = World(vmx=False, cpus=len(world.partition), profile=world.partition.profile.name,
                  cache_policy=world.partition.cache_policy, **options)
    for page in range(0, world.memory.size, 1 << 20):
        other.memory.write(page, world.memory.read(page, 1 << 20))
    for n in range(len(world.partition)):
        other.partition.processor(n).restore(world.partition.processor(n).save())
    return other


def shown(cpu):
    """What L1 can see of its processor."""
    msrs = [0x3A, 0x174, 0x277, 0xC0000080, 0xC0000082, 0xC0000100, 0xC0000102, 0x40000000,
            0x40000001, 0x40000071, 0x40000073, 0x40000080, 0x40000093, 0x40000106, 0x40000107]
    return [cpu.rip, cpu.rsp, cpu.rflags, cpu.cr0, cpu.cr3, cpu.cr4, cpu.cpl, cpu.mov_ss_shadow,
            cpu.pending_interrupt, cpu.pending_nmi, cpu.registers,
            [cpu.rdmsr(msr).value for msr in msrs]]


@pytest.mark.rule("R73")
def test_everything_that_l1_sees_is_kept():
    world = World(cpus=2)
    cpu = world.partition.processor(1)
    for msr, value in ((0x174, 8), (0xC0000082, 0x1234), (0x40000000, 1 << 48),
                       (0x40000073, 0x90001), (0x40000071, 5), (0x40000093, 0x55),
                       (0x40000106, 1 << 16 | 0xF2), (0x40000107, 1), (0x40000080, 1)):
        assert cpu.wrmsr(msr, value).ok
    cpu.registers = list(range(100, 116))
    cpu.rip, cpu.rflags, cpu.mov_ss_shadow = 0x7777, 0x246, True
    cpu.pending_interrupt, cpu.pending_nmi = 0x33, True
    assert shown(moved(world).partition.processor(1)) == shown(cpu)


def test_events_on_their_way_come_along():
    world = World()
    world.guest_code(bytes.fromhex("90" * 20 + "0fa2"))
    world.plain(PIN_BASED_VM_EXEC_CONTROL=0x17)
    world.cpu.interrupt(0x41, after=5)
    world = moved(world)
    assert world.cpu.vmlaunch().ok
    assert world.cpu.vmread(FIELDS["VM_EXIT_REASON"]).value == 1
    assert world.cpu.counters()["l2_instructions"] == 5


@pytest.mark.case("NST-05")
def test_a_processor_outside_vmx_operation():
    world = World(vmx=False)
    assert world.cpu.wrmsr(0x40000000, 5).ok
    blob = world.cpu.save()
    assert [int.from_bytes(blob[at:at + 8], "little")
            for at in (VMXON_AT, CURRENT_AT, ACTIVE_AT)] == [NONE] * 3
    other = moved(world)
    assert other.cpu.save() == blob and other.cpu.vmptrst().vector == 6
    other.turn_on(other.cpu)


@pytest.mark.rule("R73")
@pytest.mark.case("NST-15")
def test_a_plain_vmcs_across_the_launch():
    world = World()
    world.plain(GUEST_RSP=0x1234)
    assert world.cpu.vmwrite(FIELDS["HOST_RSP"], 0x5678).ok
    world = moved(world)
    assert world.cpu.vmptrst().value == VMCS_A
    assert world.cpu.vmread(FIELDS["HOST_RSP"]).value == 0x5678
    assert world.cpu.vmresume().error == 5
    assert world.cpu.vmlaunch().ok
    world = moved(world)
    assert world.cpu.vmptrst().value == VMCS_A
    outcome = world.cpu.vmlaunch()
    assert isinstance(outcome, VMfailValid) and outcome.error == 4
    assert world.cpu.vmresume().ok and world.cpu.rsp == 0x5678
    assert world.cpu.vmclear(VMCS_A).ok
    world = moved(world)
    assert isinstance(world.cpu.vmread(0), VMfailInvalid)


@pytest.mark.rule("R73", "K8")
def test_a_plain_vmcs_beside_an_active_evmcs():
    """VMPTRLD does its plain work while an eVMCS is active: both come along."""
    world = World()
    world.plain(GUEST_RSP=0x1234)
    world.enlighten()
    assert world.cpu.vmlaunch().ok and world.cpu.vmptrld(VMCS_A).ok
    world = moved(world)
    assert world.cpu.active_evmcs == EVMCS and world.cpu.vmptrst().value == VMCS_A
    world.memory.write(ASSIST + 40, b"\0")
    assert world.cpu.vmlaunch().ok
    assert world.cpu.vmread(FIELDS["GUEST_RSP"]).value == 0x1234


@pytest.mark.rule("R73")
def test_an_active_evmcs_stays_active_and_is_read_again():
    world = World(lints=True)
    world.enlighten(host_rsp=0x1111)
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    other = moved(world)
    assert other.cpu.active_evmcs == EVMCS
    assert other.get(EVMCS, "hv_clean_fields") == ALL_CLEAN
    assert other.cpu.vmresume().ok and other.cpu.rsp == 0x1111
    assert other.cpu.counters()["groups_reread"] == 16


@pytest.mark.rule("R73")
@pytest.mark.parametrize("policy", ["always", "never", "random(5)"])
def test_a_change_between_the_exit_and_the_next_entry_is_not_lost(policy):
    """Cut where L1 has stored into the page, and not entered yet."""
    world = World(cache_policy=policy)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    world.put(EVMCS, "host_rsp", 0x2222)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["HOST_POINTER"]))
    other = moved(world)
    for machine in (world, other):
        assert machine.cpu.vmresume().ok and machine.cpu.rsp == 0x2222
    assert other.memory.read(EVMCS, 4096) == world.memory.read(EVMCS, 4096)


@pytest.mark.rule("R73", "K7")
def test_after_a_failed_entry():
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.put(EVMCS, "pin_based_vm_exec_control", 0)
    world.set_clean(ALL_CLEAN & ~(1 << GROUP_BITS["CONTROL_GRP1"]))
    assert world.cpu.vmresume().error == 7
    world.set_clean()
    other = moved(world)
    assert other.cpu.vmresume().error == world.cpu.vmresume().error == 7


@pytest.mark.rule("R73")
def test_the_enlightened_bitmap_is_read_again():
    world = World()
    world.enlighten(cpu_based_vm_exec_control=0x94006172, hv_enlightenments_control=2)
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    world.memory.write(0x5420, b"\1")
    assert world.cpu.vmresume().ok and not world.cpu.msr_exits(0xC0000100)
    other = moved(world)
    assert other.cpu.vmresume().ok and other.cpu.msr_exits(0xC0000100)


@pytest.mark.rule("R21", "R73")
def test_what_lies_under_the_overlay_comes_along():
    world = World(profile="tlfs-strict")
    world.memory.write(ASSIST, b"\x11" * 4096)
    assert world.cpu.wrmsr(0x40000073, ASSIST | 1).ok
    world = moved(world)
    assert world.memory.read(ASSIST, 4096) == bytes(4096)
    assert world.cpu.wrmsr(0x40000073, 0).ok
    assert world.memory.read(ASSIST, 4096) == b"\x11" * 4096


@pytest.mark.rule("R73")
def test_a_page_that_did_not_come_along():
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    blob = world.cpu.save()
    world.memory.unback(EVMCS)
    world.cpu.restore(blob)
    assert world.cpu.active_evmcs == EVMCS
    assert world.cpu.vmresume().vector == 6


@pytest.mark.rule("R73")
def test_migrating_a_running_machine_changes_nothing():
    """Twin machines, one of which is saved and restored at every exit."""
    def final(restore):
        with Machine(cpus=1) as machine:
            kvm = machine.insmod(enlightened_vmcs=True)
            vcpu = kvm.create_vm(code=bytes.fromhex("ffc04889c30fa289d8ebf7")).create_vcpu(cpu=0)
            for _ in range(60):
                vcpu.run(exits=1)
                if restore:
                    machine.cpu(0).restore(machine.cpu(0).save())
            pages = dict(vcpu.evmcs)
            return dict(vcpu.regs), pages, machine.dmesg

    once, twice = final(False), final(True)
    # the host's stack and thread, and the time at which the guest began
    addresses = {"HOST_FS_BASE", "HOST_GS_BASE", "HOST_RSP", "TSC_OFFSET"}
    assert once[0] == twice[0] and once[2] == twice[2]
    assert {k: v for k, v in once[1].items() if k not in addresses} == {
        k: v for k, v in twice[1].items() if k not in addresses}


def forged(blob, at, value, size=8):
    """blob with a number replaced and its checksum made good."""
    body = bytearray(blob)
    body[at:at + size] = value.to_bytes(size, "little")
    total = 0xCBF29CE484222325
    for byte in body[:-8]:
        total = (total ^ byte) * 0x100000001B3 & (1 << 64) - 1
    body[-8:] = struct.pack("<Q", total)
    return bytes(body)


# where the numbers of a saved processor stand
REVISION_AT, INDEX_AT, CPL_AT, INTR_AT, NMI_AT, IN_VMX_AT, SHADOW_AT = 12, 16, 20, 24, 28, 32, 36
VMXON_AT, CURRENT_AT, ACTIVE_AT = 168, 176, 184
RANDOM_AT, REENLIGHTENMENT_AT = 208, 240
MXCSR_AT, MASK_AT, XCR0_AT = 416, 420, 808
NONE = (1 << 64) - 1


@pytest.mark.parametrize(("at", "value", "size", "words"), [
    (0, 1, 8, "no saved processor"), (8, 5, 4, "no saved processor"),
    (REVISION_AT, 1, 4, "VMCS revision"), (INDEX_AT, 3, 4, "another processor"),
    (CPL_AT, 4, 4, "no such value"), (IN_VMX_AT, 2, 4, "no such value"),
    (SHADOW_AT, 2, 4, "no such value"), (NMI_AT, 2, 4, "no such value"),
    (INTR_AT, 0x33, 4, "pending interrupt"), (INTR_AT, 0x10033, 4, "pending interrupt"),
    (VMXON_AT, 1, 8, "VMXON pointer"), (VMXON_AT, 1 << 60, 8, "VMXON pointer"),
    (VMXON_AT, NONE, 8, "VMXON pointer"), (VMXON_AT, VMCS_A, 8, "VMCS pointer"),
    (CURRENT_AT, VMXON, 8, "VMCS pointer"), (CURRENT_AT, VMCS_A | 1, 8, "VMCS pointer"),
    (CURRENT_AT, 1 << 50, 8, "VMCS pointer"),
    (IN_VMX_AT, 0, 4, "outside VMX operation"),
    (REENLIGHTENMENT_AT, 0x01FFFFFF000100F2, 8, "re-enlightenment"),
    (REENLIGHTENMENT_AT, 1 << 32 | 0x100F2, 8, "re-enlightenment"),
    (REENLIGHTENMENT_AT, 0x10005, 8, "re-enlightenment"),
    *((MXCSR_AT, 0x1F80 | 1 << bit, 4, "x87 and SSE") for bit in (16, 17, 31)),
    (MASK_AT, 0, 4, "x87 and SSE"), (MASK_AT, 0x2FFFF, 4, "x87 and SSE"),
    *((XCR0_AT, value, 8, "x87 and SSE") for value in (0, 2, 4 | 1, 7, 1 << 63 | 1)),
])
@pytest.mark.case("NST-02", "NST-03", "NST-07", "NST-08", "NST-09", "NST-14")
def test_a_blob_that_contradicts_itself_changes_nothing(at, value, size, words):
    world = World()
    world.plain()
    blob, before = world.cpu.save(), shown(world.cpu)
    world.cpu.restore(forged(blob, at, int.from_bytes(blob[at:at + size], "little"), size))
    with pytest.raises(ValueError, match=words):
        world.cpu.restore(forged(blob, at, value, size))
    assert shown(world.cpu) == before and world.cpu.vmptrst().value == VMCS_A


def test_l2_adds_whatever_a_blob_says_of_mxcsr():
    """SDM 2A LDMXCSR: a reserved bit is #GP, which is not to be the host's."""
    for bit in range(32):
        g = Guest("plain", "0f58c1" + "0f01c1", GUEST_CR4=0x26A0)
        value = 0x1F80 ^ 1 << bit
        bad = forged(g.cpu.save(), MXCSR_AT, value, 4)
        if bit > 15:
            with pytest.raises(ValueError, match="x87 and SSE"):
                g.cpu.restore(bad)
        else:
            g.cpu.restore(bad)
            assert int.from_bytes(g.cpu.save()[MXCSR_AT:MXCSR_AT + 4], "little") == value
        assert g.run().reason == 18


@pytest.mark.case("NST-01")
def test_blobs_that_are_none():
    world = World()
    blob = world.cpu.save()
    for bad in (b"", b"x", blob[:-1], blob + b"\0", bytes(len(blob))):
        with pytest.raises(ValueError):
            world.cpu.restore(bad)
    with pytest.raises(ValueError, match="damaged"):
        world.cpu.restore(blob[:100] + bytes([blob[100] ^ 1]) + blob[101:])
    for bad in (None, "text", 5):
        with pytest.raises(TypeError):
            world.cpu.restore(bad)


def test_any_blob_is_survived():
    rng = random.Random(9)
    world = World()
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    blob = world.cpu.save()
    taken = 0
    for _ in range(150):
        at = rng.randrange(0, 1200) & ~7
        bad = forged(blob, at, rng.choice([0, NONE, rng.getrandbits(64), 1 << 40, 0x45000]))
        try:
            world.cpu.restore(bad)
            taken += 1
        except ValueError:
            continue
        for step in (world.cpu.vmresume, world.cpu.vmlaunch, world.cpu.vmptrst):
            step()
        world.cpu.wrmsr(0x40000073, 0)
    assert taken > 20


def test_a_generator_that_would_stand_still():
    world = World()
    world.cpu.restore(forged(world.cpu.save(), RANDOM_AT, 0))
    assert world.cpu.save()[RANDOM_AT:RANDOM_AT + 8] == (1).to_bytes(8, "little")
