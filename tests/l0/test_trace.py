# SPDX-License-Identifier: GPL-2.0-only
"""The trace: every instruction of L1 with operands and outcome, per processor, off by default."""

import pytest
from world import ASSIST, BASE, EVMCS, EVMCS_B, VMCS_A, World

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.outcome import Fault, VMfailInvalid, VMfailValid, VMsucceed


def test_it_is_off_by_default():
    world = World()
    world.plain()
    assert world.partition.trace == []


def test_each_instruction_with_its_operands_and_outcome():
    world = World()
    cpu, partition = world.cpu, world.partition
    partition.start_trace()
    cpu.cpuid(0x40000001)
    cpu.rdmsr(0x40000002)
    cpu.wrmsr(0x40000000, 1 << 48)
    cpu.wrmsr(0x12345, 7)
    cpu.mov_to_cr(3, 0x5000)
    cpu.vmread(0)
    cpu.vmclear(VMCS_A)
    cpu.vmptrld(VMCS_A)
    cpu.vmptrst()
    cpu.vmwrite(0x681E, 0x1234)
    cpu.vmread(0x681E)
    cpu.vmread(0xFFFF)
    cpu.vmlaunch()
    cpu.invept(2, 3, 4)
    cpu.invvpid(1, 2, 3)
    cpu.hypercall(0x1234, 5, 6)
    cpu.vmxoff()
    cpu.vmxon(0x40000)
    trace = partition.trace
    assert [record.sequence for record in trace] == list(range(len(trace)))
    got = [(record.instruction, record.operands, type(record.outcome), record.results)
           for record in trace]
    assert got == [
        ("cpuid", (0x40000001, 0), VMsucceed, (0x31237648, 0, 0, 0)),
        ("rdmsr", (0x40000002,), VMsucceed, (0,)),
        ("wrmsr", (0x40000000, 1 << 48), VMsucceed, ()),
        ("wrmsr", (0x12345, 7), Fault, ()),
        ("mov_to_cr", (3, 0x5000), VMsucceed, ()),
        ("vmread", (0,), VMfailInvalid, ()),
        ("vmclear", (VMCS_A,), VMsucceed, ()),
        ("vmptrld", (VMCS_A,), VMsucceed, ()),
        ("vmptrst", (), VMsucceed, (VMCS_A,)),
        ("vmwrite", (0x681E, 0x1234), VMsucceed, ()),
        ("vmread", (0x681E,), VMsucceed, (0x1234,)),
        ("vmread", (0xFFFF,), VMfailValid, ()),
        ("vmlaunch", (VMCS_A,), VMfailValid, ()),
        ("invept", (2, 3, 4), VMsucceed, ()),
        ("invvpid", (1, 2, 3), VMsucceed, ()),
        ("vmcall", (0x1234, 5, 6), VMsucceed, (2,)),
        ("vmxoff", (), VMsucceed, ()),
        ("vmxon", (0x40000,), VMsucceed, ()),
    ]
    assert trace[3].outcome.vector == 13 and trace[11].outcome.error == 12
    texts = [str(record) for record in trace]
    assert texts[3] == (
        "cpu 0: wrmsr 0x12345, 0x7: #GP(0): refused: WRMSR of 0x7 to MSR 0x12345: "
        "there is no such MSR (WRMSR)")
    assert texts[5].startswith("cpu 0: vmread 0x0: VMfailInvalid: refused: VMREAD: of field 0x0")
    assert texts[10] == "cpu 0: vmread 0x681e = 0x1234"
    assert texts[11].startswith("cpu 0: vmread 0xffff: VMfailValid(12): refused: VMREAD: 0xffff")
    assert trace[15].outcome.why.id == "call_code" and trace[14].outcome.why is None


def test_an_entry_is_traced_with_its_exit():
    world = World()
    world.enlighten()
    world.partition.start_trace()
    assert world.cpu.vmlaunch().ok
    (record,) = world.partition.trace
    assert record.operands == (EVMCS,)
    assert record.results == (world.get(EVMCS, "vm_exit_reason"),
                              world.get(EVMCS, "exit_qualification"))


def test_tracing_changes_nothing_but_the_trace():
    worlds = [World(), World()]
    worlds[0].partition.start_trace(10)
    for world in worlds:
        world.plain()
        world.cpu.vmlaunch()
    assert worlds[0].cpu.counters() == worlds[1].cpu.counters()
    assert [worlds[n].cpu.vmread(field).value for n in (0, 1) for field in BASE] == [
        worlds[1].cpu.vmread(field).value for field in BASE] * 2


def test_the_ring_keeps_the_last_ones_of_each_processor():
    world = World(cpus=2)
    world.partition.start_trace(4)
    for n in range(10):
        world.partition.processor(n % 2).rdmsr(n)
    assert [(record.cpu, record.operands[0]) for record in world.partition.trace] == [
        (n % 2, n) for n in range(2, 10)]
    world.partition.stop_trace()
    world.cpu.rdmsr(99)
    assert len(world.partition.trace) == 8
    world.partition.start_trace(4)
    assert world.partition.trace == []


def test_one_processor_alone():
    world = World(cpus=2)
    world.partition.start_trace(4, cpu=1)
    for n in range(2):
        world.partition.processor(n).rdmsr(0x40000002)
    assert [record.cpu for record in world.partition.trace] == [1]
    with pytest.raises(IndexError, match="no processor 2"):
        world.partition.start_trace(4, cpu=2)


@pytest.mark.parametrize("size", [0, -1, 1 << 25, 1.5, "many"])
def test_a_bad_size(size):
    with pytest.raises(ValueError, match="give 1 to"):
        World().partition.start_trace(size)


@pytest.mark.rule("R26", "R33")
def test_the_port_is_traced_too():
    with Machine(cpus=1) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=100)
        machine.start_trace()
        vcpu.run(exits=10)
        machine.stop_trace()
        executed = [record.instruction for record in machine.trace]
        assert executed.count("vmresume") == 10
        assert not {"vmread", "vmwrite", "vmptrld", "vmptrst"} & set(executed)
        assert {record.results[0] for record in machine.trace
                if record.instruction == "vmresume"} == {10}
        entries = [(record.l2_instructions, record.groups_reread, record.bytes_reread)
                   for record in machine.trace if record.instruction == "vmresume"]
        # jmp, mov, cpuid; guest_rip and tpr_threshold, which belong to no group
        assert entries[1:] == [(3, 0, 12)] * 9 and entries[0][0] == 3 and entries[0][1] > 0


NONE = (1 << 64) - 1


@pytest.mark.parametrize("profile", ["kvm-6.12", "tlfs-strict"])
@pytest.mark.parametrize(("pointer", "switch", "revision", "plain", "tried"), [
    (EVMCS, 1, 1, False, EVMCS), (EVMCS, 1, 77, False, EVMCS), (EVMCS | 8, 1, 77, False, EVMCS | 8),
    (EVMCS_B, 1, 1, False, EVMCS_B), (0, 1, 1, False, 0),
    (0xDEADBEEF000, 1, 1, False, 0xDEADBEEF000),
    (NONE, 1, 1, False, NONE), (NONE - 1, 1, 1, True, VMCS_A), (EVMCS, 0, 1, True, VMCS_A),
    (EVMCS, 0, 1, False, NONE), (EVMCS, 1, 77, True, EVMCS)])
def test_an_entry_records_the_pointer_that_it_tried(profile, pointer, switch, revision, plain,
                                                    tried):
    """However it ends: the eVMCS's address, the current VMCS's, or all ones where there is none."""
    world = World(profile=profile)
    if plain:
        world.plain()
    world.enlighten(revision_id=revision)
    world.memory.write(ASSIST + 40, bytes([switch]))
    world.memory.write_u64(ASSIST + 48, pointer)
    world.partition.start_trace()
    world.cpu.vmlaunch()
    world.cpu.vmresume()
    first, second = [record for record in world.partition.trace
                     if record.instruction in ("vmlaunch", "vmresume")]
    assert first.operands[0] == tried
    # a refused eVMCS costs the current VMCS its place, too
    assert second.operands[0] == tried
