# SPDX-License-Identifier: GPL-2.0-only
"""A lint says who wrote the field last: a line of the port, an instruction, Python; or no more
than it knows."""

import re

import pytest
from world import ALL_CLEAN, EVMCS, FIELDS, ROOT, VMCS_A, World

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.writer import at_address, at_line

SOURCE = (ROOT / "kvm_vmx/l1/vmx.pyx").read_text().splitlines()
SAID = re.compile(r"(\w+)\(\), line (\d+) of l1/vmx.pyx")
CLEAN = 824                                   # hv_clean_fields

watched = pytest.mark.host("compiler")


@pytest.fixture(params=["call", "trap"])
def running(request):
    """A machine that looks, and a vCPU that has run."""
    with Machine(cpus=1, lints=True, insn=request.param) as machine:
        kvm = machine.insmod()
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        yield machine, kvm, vcpu


def stale(machine, vcpu):
    """Let L1 say that nothing has changed, and enter."""
    machine.memory.write(vcpu.vmcs_gpa + CLEAN, ALL_CLEAN.to_bytes(4, "little"))
    vcpu.run(exits=1)
    return [lint for lint in machine.lints if lint == "stale_field"]


def enclosing(line):
    """The function that a line of the port's source is in."""
    return next(found[1] for text in reversed(SOURCE[:line])
                if (found := re.match(r"(?:cdef|cpdef|def)\b.*?(\w+)\(", text)))


@watched
def test_each_line_is_one_that_writes_the_field(running):
    machine, _, vcpu = running
    sregs = vcpu.sregs
    for number, name in enumerate(("es", "ds", "fs", "gs")):
        sregs[name]["selector"] = 8 * (number + 1)
        sregs[name]["base"] = 0x1000 * (number + 1)
    sregs["gdt"]["base"] = 0x7000
    vcpu.sregs = sregs
    found = stale(machine, vcpu)
    assert {"GUEST_DS_SELECTOR", "GUEST_GS_BASE", "GUEST_GDTR_BASE"} <= {one.field for one in found}
    for lint in found:
        name, line = SAID.search(lint.writer).groups()
        statement = " ".join(SOURCE[int(line) - 1:int(line) + 2])
        assert "vmcs_write" in statement and enclosing(int(line)) == name, lint.writer
        assert lint.writer in lint.explain()


@watched
def test_python_by_the_ports_accessor_is_python(running):
    machine, kvm, vcpu = running
    with machine.cpu(0):
        kvm.port.vmcs_write32(0x4004, 8)
    (lint,) = stale(machine, vcpu)
    assert (lint.field, lint.found) == ("EXCEPTION_BITMAP", 8)
    assert lint.writer == "Python, by vmcs_write32(), between entries 3 and 4"


@watched
def test_a_refused_entry_says_who_wrote_the_field(running):
    machine, kvm, vcpu = running
    with machine.cpu(0):
        kvm.port.vmcs_write32(0x4016, 0x800000D1)
    vcpu.run(exits=1)
    (lint,) = (one for one in machine.lints if one == "entry_refused")
    name, line = SAID.search(lint.writer).groups()
    assert name == "vmx_set_rflags" and "GUEST_RFLAGS" in SOURCE[int(line) - 1]


@watched
@pytest.mark.parametrize("insn", ["call", "trap"])
def test_a_plain_vmcs_has_its_writers_too(insn):
    with Machine(cpus=1, lints=True, insn=insn) as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        with machine.cpu(0):
            kvm.port.vmcs_write32(0x4016, 0x800000D1)
        vcpu.run(exits=1)
        assert "vmx_set_rflags(), line " in machine.lints[-1].writer
        machine.cpu(0).vmwrite("GUEST_RFLAGS", 0)
        vcpu.run(exits=1)
        assert machine.lints[-1].writer.startswith("Python, after entry ")


def test_a_vmwrite_that_traps_is_an_address():
    """In the build that tells no lines, too."""
    with Machine(cpus=1, lints=True, insn="trap") as machine:
        kvm = machine.insmod(config="no-jump-label", enlightened_vmcs=False)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        with machine.cpu(0):
            kvm.port.vmcs_write32(0x4016, 0x800000D1)
        vcpu.run(exits=1)
        assert re.match(r"the instruction at 0x[0-9a-f]+, in vmx_set_rflags\(\), after entry",
                        machine.lints[-1].writer)


def test_a_store_that_nobody_told_of_is_l1s():
    """The build without: L0 knows that it was L1, and when."""
    with Machine(cpus=1, lints=True) as machine:
        kvm = machine.insmod(config="no-jump-label")
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=3)
        with machine.cpu(0):
            kvm.port.vmcs_write32(0x4004, 8)
        (lint,) = stale(machine, vcpu)
        assert lint.writer == "L1, between entries 3 and 4"


def test_a_later_store_of_another_value_is_not_put_down_to_the_one_before():
    world = World(lints=True)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    assert world.cpu.vmresume().ok
    world.put(EVMCS, "exception_bitmap", world.get(EVMCS, "exception_bitmap") ^ 8)
    world.cpu.vmresume()
    (lint,) = world.partition.lints()
    assert lint.writer == "Python, between entries 2 and 3"
    world.put(EVMCS, "cr4_read_shadow", 0x20)
    world.cpu.vmresume()
    assert world.partition.lints()[0].writer == "Python, between entries 2 and 3"


def test_a_field_that_nobody_has_written_yet_has_no_writer():
    """A VMCS as VMCLEAR leaves it is refused for a field of it; a VMWRITE then has a name."""
    world = World(lints=True)
    assert world.cpu.vmclear(VMCS_A).ok and world.cpu.vmptrld(VMCS_A).ok
    refusal = world.cpu.vmlaunch().why
    (lint,) = world.partition.lints()
    assert (lint, lint.field) == ("entry_refused", refusal.field)
    assert "Python" not in lint.writer and "line" not in lint.writer
    assert world.cpu.vmwrite(FIELDS[lint.field], 0).ok
    assert world.cpu.vmlaunch().why == refusal
    assert world.partition.lints()[-1].writer.startswith("Python")


def test_without_lints_nobody_is_told():
    with Machine(cpus=1) as machine:
        assert "vmx_watched" not in repr(machine.insmod().port)


def test_the_words_for_a_function_and_an_address():
    assert at_line("__pyx_f_7kvm_vmx_2l1_3vmx_vmx_set_cr0", 7) == \
        "vmx_set_cr0(), line 7 of l1/vmx.pyx"
    assert at_line("__pyx_f_7kvm_vmx_2l1_3vmx_call_vmcs_write32", 7) == "Python, by vmcs_write32()"
    assert at_address(0x10) == "the instruction at 0x10"
