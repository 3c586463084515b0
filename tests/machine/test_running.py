# SPDX-License-Identifier: GPL-2.0-only
"""A guest that computes for ever: L1's timer ends it, and nothing hangs where L1 asked for none."""

import pathlib
import re

import pytest

from kvm_vmx import Machine
from kvm_vmx.errors import KernelBug
from kvm_vmx.machine.kernel import TIMER_VECTOR

CPUID_THEN_LOOP = b"\x0f\xa2\xeb\xfe"
PIN, EXTERNAL_INTERRUPTS, EXTERNAL_INTERRUPT = 0x4000, 1, 1
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("enlightened", [False, True])
def test_the_timer_of_l1_ends_a_slice(kernel, enlightened):
    with kernel(cpus=1) as m:
        vcpu = m.insmod(enlightened_vmcs=enlightened).create_vm(CPUID_THEN_LOOP).create_vcpu(cpu=0)
        summary = vcpu.run(exits=4)
        assert summary.exits == 4
        assert m.cpu(0).exit_reasons[EXTERNAL_INTERRUPT] == 3
        # the exit has acknowledged it
        assert m.cpu(0).pending_interrupt is None


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_an_l1_that_lends_its_processor_for_good(insn):
    """Without exits of external interrupts nothing would come back: a BUG, and soon."""
    with Machine(cpus=1, insn=insn) as m:
        vcpu = m.insmod(enlightened_vmcs=False).create_vm(CPUID_THEN_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=2)
        cpu = m.cpu(0)
        assert cpu.vmwrite(PIN, cpu.vmread(PIN).value & ~EXTERNAL_INTERRUPTS).ok
        with pytest.raises(KernelBug, match="vector 18"):
            vcpu.run(exits=5)


def test_the_vector_is_said_once():
    """The kernel's own number, in a header that both sides may read; no room has another."""
    header = (ROOT / "include/asm/irq_vectors.h").read_text()
    assert int(re.search(r"LOCAL_TIMER_VECTOR\s+(\w+)", header)[1], 16) == TIMER_VECTOR == 0xEC
    for room in ("kvm_vmx/l0", "kvm_vmx/l1"):
        for path in (ROOT / room).rglob("*.p[yx][xd]*"):
            assert not re.search(r"_VECTOR\s*=\s*0xec\b", path.read_text()), path
