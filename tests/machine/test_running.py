# SPDX-License-Identifier: GPL-2.0-only
"""A guest that computes for ever: L1's timer ends it, and nothing hangs where L1 asked for none."""

import pathlib
import re

import pytest
from each import load

from kvm_vmx import Field
from kvm_vmx.errors import KernelBug
from kvm_vmx.machine.kernel import TIMER_VECTOR

CPUID_THEN_LOOP = b"\x0f\xa2\xeb\xfe"
PIN, EXTERNAL_INTERRUPTS, EXTERNAL_INTERRUPT = 0x4000, 1, 1
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.sweep(2)
@pytest.mark.parametrize("enlightened", [False, True])
def test_the_timer_of_l1_ends_a_slice(kernel, enlightened):
    with kernel(cpus=1) as m:
        vcpu = m.insmod(enlightened_vmcs=enlightened).create_vm(CPUID_THEN_LOOP).create_vcpu(cpu=0)
        summary = vcpu.run(exits=3)
        assert summary.exits == 3
        assert m.cpu(0).exit_reasons[EXTERNAL_INTERRUPT] == 2
        # the exit has acknowledged it
        assert m.cpu(0).pending_interrupt is None


def test_an_l1_that_lends_its_processor_for_good(kernel):
    """Without exits of external interrupts nothing would come back: a BUG, and soon. A kernel's own
    KVM finds its entry in the table of exceptions, and calls kvm_spurious_fault()."""
    words = "vector 18" if kernel.is_port else "in (kvm_spurious_fault|__vmx_vcpu_run)"
    with kernel(cpus=1) as m:
        vcpu = m.insmod(enlightened_vmcs=False).create_vm(CPUID_THEN_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=2)
        load(vcpu)
        cpu = m.cpu(0)
        assert cpu.vmwrite(PIN, cpu.vmread(PIN).value & ~EXTERNAL_INTERRUPTS).ok
        with pytest.raises(KernelBug, match=words):
            vcpu.run(exits=5)


def test_an_l1_of_native_code_has_no_devices(kernel):
    """It cannot stand still for one: ports that it does not intercept, and pages that are no
    memory, read as ones and take every write."""
    # MOV ESI, [PLACE]; MOV [PLACE], ECX; OUT DX, AL; IN EAX, DX; MOV EDI, EAX; CPUID; JMP back
    code = bytes.fromhex("8b342500500000" "890c2500500000" "ee" "ed" "89c7" "0fa2" "ebea")
    with kernel(cpus=1) as m:
        vcpu = m.insmod(enlightened_vmcs=False).create_vm(code, memory=1 << 16).create_vcpu(cpu=0)
        vcpu.run(exits=6)
        load(vcpu)
        cpu = m.cpu(0)
        controls = cpu.vmread(Field.CPU_BASED_VM_EXEC_CONTROL).value
        assert cpu.vmwrite(Field.CPU_BASED_VM_EXEC_CONTROL, controls & ~(3 << 24)).ok
        table = cpu.vmread(Field.EPT_POINTER).value
        for level in (3, 2, 1, 0):
            slot = (table & 0xFFFFFFFFFF000) + 8 * (0x5000 >> 12 + 9 * level & 511)
            table = m.memory.read_u64(slot)
        m.memory.write_u64(slot, 1 << 40 | table & 0xFFF)
        assert cpu.invept(2).ok
        found = vcpu.run(exits=2)
        assert set(found.reasons) == {10}
        assert vcpu.regs["rsi"] == vcpu.regs["rdi"] == 0xFFFFFFFF
        m.memory.write_u64(slot, table)


def test_the_vector_is_said_once():
    """The kernel's own number, in a header that both sides may read; no room has another."""
    header = (ROOT / "include/asm/irq_vectors.h").read_text()
    assert int(re.search(r"LOCAL_TIMER_VECTOR\s+(\w+)", header)[1], 16) == TIMER_VECTOR == 0xEC
    for room in ("kvm_vmx/l0", "kvm_vmx/l1"):
        for path in (ROOT / room).rglob("*.p[yx][xd]*"):
            assert not re.search(r"_VECTOR\s*=\s*0xec\b", path.read_text()), path
