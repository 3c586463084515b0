# SPDX-License-Identifier: GPL-2.0-only
"""Both forms of an instruction, side by side: the same programs, outcomes and counts."""

import random

import pytest
from test_equivalence import GUESTS, MEMORY

from kvm_vmx import Machine, fields
from kvm_vmx.trap import engine as trap


def everything(insn, enlightened, code):
    """All that a guest, its user space and whoever counts can see."""
    with Machine(cpus=2, insn=insn) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=code, memory=MEMORY)
        vcpu = vm.create_vcpu(cpu=0)
        vcpu.trace_exits()
        seen = []
        for exits in (1, 7, 40):
            try:
                summary = vcpu.run(exits=exits)
            except OSError as error:
                summary = error.errno
            seen.append((summary, dict(vcpu.regs), vcpu.sregs))
        seen += [vm.memory.read(0, MEMORY), vcpu.exit_log]
        kvm.rmmod()
        return seen, machine.counters, machine.dmesg, machine.traps


@pytest.mark.both("cpuid-faulting")
@pytest.mark.parametrize("enlightened", [False, True])
@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_and_its_counts_are_the_same(name, enlightened):
    call, trapped = (everything(insn, enlightened, GUESTS[name]) for insn in ("call", "trap"))
    assert (*trapped[:2], trapped[2][1:]) == call[:3]
    stay = trap.probe()
    assert trapped[3] == {name: 0 if name in stay else trapped[1][name] for name in trapped[3]}
    assert set(call[3].values()) == {0}


def test_a_vmread_that_fails_reads_zero():
    """Whatever the read before it found: __vmcs_readl() does not look whether one failed."""
    def reads(insn):
        with Machine(cpus=1, insn=insn) as machine:
            kvm = machine.insmod(enlightened_vmcs=False)
            vcpu = kvm.create_vm(code=b"\xf4", memory=64 << 10).create_vcpu(cpu=0)
            port, rsp, unknown = kvm.port, 0x681C, 0x6FFE
            machine.cpu(0).vmptrld(vcpu.vmcs_gpa)
            with machine.cpu(0):
                port.vmcs_write64(rsp, 0xDEADBEEFDEADBEEF)
                return [f(at) for at in (rsp, unknown, rsp, unknown)
                        for f in (port.vmcs_read64, port.vmcs_readl)]

    found = [0xDEADBEEFDEADBEEF] * 2 + [0] * 2
    assert reads("call") == reads("trap") == found * 2


ENCODINGS = [int(row["encoding"], 16) for row in fields()] + [0x6FFE, 0xFFFF, 1 << 32]
POINTERS = [0x1000, 0x2000, 0x3000, 0, 0x1004, 1 << 40, (1 << 64) - 1]
MSRS = [0x480, 0x48F, 0x3A, 0x40000000, 0x40000001, 0x40000073, 0xC0000080, 0x174, 0xDEAD]
LEAVES = [0, 1, 7, 0x40000000, 0x40000003, 0x4000000A, 0x80000000, 0x80000008, 0x12345678]


def step(dice):
    """(name, operands) of one instruction, with operands that are right now and then."""
    value = dice.choice([0, 1, 0x2000, 0x40000, dice.getrandbits(64)])
    return dice.choice([
        ("vmxon", dice.choice(POINTERS)), ("vmxoff",), ("vmclear", dice.choice(POINTERS)),
        ("vmptrld", dice.choice(POINTERS)), ("vmptrst",), ("vmread", dice.choice(ENCODINGS)),
        ("vmwrite", dice.choice(ENCODINGS), value), ("vmlaunch",), ("vmresume",),
        ("invept", dice.choice([0, 1, 2, 3]), value), ("invvpid", dice.choice([0, 1, 2, 4]), value),
        ("rdmsr", dice.choice(MSRS)), ("wrmsr", dice.choice(MSRS), value),
        ("cpuid", dice.choice(LEAVES)), ("hypercall", dice.choice([1, 8, 0x5C, 2]), value)])


def program(insn, seed, length):
    """What a run of instructions on bare processors reports, one after the other."""
    dice = random.Random(seed)
    with Machine(cpus=1, insn=insn) as machine:
        for page in (0x1000, 0x2000, 0x3000):
            machine.memory.write(page, (machine.cpu(0).rdmsr(0x480).value & 0x7FFFFFFF)
                                 .to_bytes(8, "little"))
        cpu, seen = machine.cpu(0), []
        if dice.random() < 0.8:
            cpu.cr4 |= 1 << 13
            cpu.wrmsr(0x3A, 5)
            cpu.vmxon(0x1000)
        for _ in range(length):
            name, *operands = step(dice)
            seen.append((name, operands, repr(getattr(cpu, name)(*operands)), cpu.rflags,
                         cpu.registers))
        return seen, machine.counters, [machine.memory.read(page, 4096)
                                        for page in (0x1000, 0x2000, 0x3000)]


@pytest.mark.both("cpuid-faulting", "vmcall-faulting", "fsgsbase", "memfd")
@pytest.mark.parametrize("seed", range(6))
def test_any_instructions_report_the_same(seed, soak):
    length = 20_000 if soak else 400
    call, trapped = (program(insn, seed, length) for insn in ("call", "trap"))
    assert trapped == call
    assert len({result.partition("(")[0] for _, _, result, *_ in call[0]}) >= 3
