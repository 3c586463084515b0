# SPDX-License-Identifier: GPL-2.0-only
"""Memory by slices, of L1 and of a guest, and pages of L1's that the kernel hands out."""

import pytest

from kvm_vmx import MachineError
from kvm_vmx.machine.partition import PhysicalMemory


@pytest.fixture
def machine(face):
    with face(cpus=2) as machine:
        yield machine


@pytest.fixture(params=["of L1", "of a guest"])
def memory(request, machine):
    if request.param == "of L1":
        return machine.memory
    return machine.insmod().create_vm(memory=64 << 10).memory


def test_a_slice_is_what_read_and_write_see(memory):
    at = 0x8ffc
    memory[at:at + 8] = b"12345678"         # in two pages
    assert memory[at:at + 8] == memory.read(at, 8) == b"12345678"
    memory.write(at, b"abc")
    assert memory[at:at + 4] == b"abc4" and memory[at:at] == b""
    memory[at:at + 2] = bytearray(b"xy")
    memory[at + 2:at + 4] = memoryview(b"zw")
    assert memory[at:at + 8] == b"xyzw5678"
    memory[:2] = b"hi"
    assert memory[:2] == b"hi" and len(memory[memory.size - 3:]) == 3


@pytest.mark.parametrize("start, stop", [(-8, 0), (-8, None), (8, 0), (None, -1), (1 << 70, None),
                                         (0, 1 << 70), (1 << 70, 1 << 71)])
def test_an_address_outside_is_told(memory, start, stop):
    for attempt in (lambda: memory[start:stop], lambda: memory.__setitem__(
            slice(start, stop), b"")):
        with pytest.raises(IndexError, match="outside"):
            attempt()


@pytest.mark.parametrize("where", [3, "3", slice(0, 8, 2), slice("0", 8), slice(0, 8.0), None])
def test_what_is_no_span_is_told(memory, where):
    for attempt in (lambda: memory[where], lambda: memory.__setitem__(where, b"")):
        with pytest.raises(TypeError, match=r"memory\[gpa:gpa \+ 8\]"):
            attempt()
    with pytest.raises(TypeError):
        list(memory)


@pytest.mark.parametrize("data", [b"", b"1234567", b"123456789"])
def test_data_of_another_length_changes_nothing(memory, data):
    memory[0x2000:0x2008] = b"\xaa" * 8
    with pytest.raises(ValueError, match=f"{len(data)} bytes for 8 of memory: give as many"):
        memory[0x2000:0x2008] = data
    assert memory[0x1ff8:0x2010] == bytes(8) + b"\xaa" * 8 + bytes(8)


def test_an_unbacked_page_has_no_slice(machine):
    gpa = machine.memory.alloc()
    machine.memory.unback(gpa)
    with pytest.raises(IndexError, match="call back"):
        machine.memory[gpa:gpa + 8]
    machine.memory.back(gpa)
    assert machine.memory[gpa:gpa + 8] == bytes(8)


def test_pages_are_nobody_else_s(face, machine):
    """Neither a second alloc() nor the kernel hands a page out twice, whatever the order."""
    first = machine.insmod()        # what a CPU keeps of its first vCPU is none of them
    first.create_vm(code=b"\xf4", memory=64 << 10).create_vcpu().run()
    first.rmmod()
    memory, before, taken = machine.memory, machine.allocations, {}
    for size in (1, 4096, 4097, 3 << 12, 4 << 12, 1, 64 << 10):
        gpa = memory.alloc(size)
        pages = 1 << (size - 1 >> 12).bit_length()
        assert gpa and gpa % (pages << 12) == 0 and not any(memory[gpa:gpa + size])
        span = range(gpa, gpa + (pages << 12))
        assert not any(set(span[::4096]) & set(other[::4096]) for other in taken.values())
        taken[gpa] = span
        memory[gpa:gpa + size] = b"\xaa" * size
    pages = sum(len(span) for span in taken.values()) >> 12
    assert machine.allocations["pages"] == before["pages"] + pages
    kvm = machine.insmod()
    vcpu = kvm.create_vm(code=b"\xf4", memory=64 << 10).create_vcpu()
    assert not any(vcpu.vmcs_gpa in span for span in taken.values())
    vcpu.run()
    kvm.rmmod()
    for gpa in taken:
        assert memory[gpa:gpa + 1] == b"\xaa"
        memory.free(gpa)
    assert machine.allocations == before
    # what was given back comes again, of the port's at once, zeroed
    gpa = memory.alloc()
    if face.is_port:
        assert gpa in {page for span in taken.values() for page in span[::4096]}
    assert not any(memory[gpa:gpa + 4096])


def test_a_region_of_one_s_own_for_vmxon(machine):
    cpu, memory = machine.cpu(1), machine.memory
    gpa = memory.alloc(4096)
    memory[gpa:gpa + 4] = (cpu.rdmsr(0x480).value & 0x7FFFFFFF).to_bytes(4, "little")
    cpu.cr0, cpu.cr4 = cpu.cr0 | 1 << 5, cpu.cr4 | 1 << 13
    # IA32_FEATURE_CONTROL: locked, VMXON outside SMX; later kernels see to it at boot
    assert cpu.wrmsr(0x3A, 5).ok or cpu.rdmsr(0x3A).value & 5 == 5
    assert cpu.vmxon(gpa).ok and cpu.mode == "VMX root" and cpu.vmxoff().ok


@pytest.mark.parametrize("size", [0, -1, 1 << 41])
def test_a_size_that_is_none(machine, size):
    with pytest.raises(ValueError, match="give a number from 1"):
        machine.memory.alloc(size)


def test_no_memory_and_a_failing_step(face):
    with face(cpus=1, memory=4 << 20) as machine:
        with pytest.raises(MemoryError, match="boot it with more memory"):
            machine.memory.alloc(4 << 20)
        machine.fail("page")
        with pytest.raises(MemoryError):
            machine.memory.alloc()
        machine.memory.alloc()


def test_only_what_was_allocated_is_given_back(machine):
    gpa = machine.memory.alloc(8192)
    for wrong in (gpa + 4096, 0, 0x5000_0000, -1):
        with pytest.raises(ValueError, match="give what alloc"):
            machine.memory.free(wrong)
    machine.memory.free(gpa)
    with pytest.raises(ValueError, match="give what alloc"):
        machine.memory.free(gpa)


def test_memory_without_a_kernel_hands_out_nothing(machine):
    gpa, memory = machine.memory.alloc(), machine.memory
    machine.close()
    for alone in (memory, PhysicalMemory(1 << 20)):
        for attempt in (alone.alloc, lambda alone=alone: alone.free(gpa)):
            with pytest.raises(MachineError, match="an open Machine"):
                attempt()
    assert memory[gpa:gpa + 8] == bytes(8)
