# SPDX-License-Identifier: GPL-2.0-only
"""CPUID by trap: L1's faults where the host offers it, and nobody else's is touched."""

import ctypes
import mmap
import threading

import pytest
from trapping import CPUID_LOOP, RAX, driven, execute

from kvm_vmx import KernelBug, Machine
from kvm_vmx.l1 import mshyperv
from kvm_vmx.machine.kernel import call_function

ARCH_GET_CPUID, ARCH_SET_CPUID, SYS_ARCH_PRCTL = 0x1011, 0x1012, 158
needs_cpuid_faults = pytest.mark.host("cpuid-faulting")
LIBC = ctypes.CDLL(None)


def native(code):
    """A function of machine code that no trap is taken from, and its address."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CFUNCTYPE(ctypes.c_uint32)(address)
    function.memory = memory
    return function, address


# push %rbx; mov $0x40000000, %eax; xor %ecx, %ecx; cpuid; mov %ebx, %eax; pop %rbx; ret
HOST_CPUID = bytes.fromhex("53" "b800000040" "31c9" "0fa2" "89d8" "5b" "c3")


def arch_prctl(code, on):
    """mov $158, %eax; mov $code, %edi; mov $on, %esi; syscall"""
    return (b"\xb8" + SYS_ARCH_PRCTL.to_bytes(4, "little") + b"\xbf" + code.to_bytes(4, "little")
            + b"\xbe" + on.to_bytes(4, "little") + b"\x0f\x05")


def address_of(extension, name):
    """Where a function is that an extension module exports to others."""
    capsule = ctypes.py_object(extension.__pyx_capi__[name])
    get, point = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, point.restype, point.argtypes = ctypes.c_char_p, ctypes.c_void_p, [
        ctypes.py_object, ctypes.c_char_p]
    return point(capsule, get(capsule))


def cpuid_faults():
    """Does CPUID fault in this thread?"""
    return LIBC.syscall(SYS_ARCH_PRCTL, ARCH_GET_CPUID, 0) == 0


@needs_cpuid_faults
def test_every_cpuid_of_l1_traps_and_none_of_pythons():
    host, _ = native(HOST_CPUID)
    before = host()
    with Machine(cpus=2, insn="trap") as machine:
        kvm = machine.insmod()
        kvm.create_vm(code=CPUID_LOOP).create_vcpu().run(exits=100)
        assert machine.traps["cpuid"] == machine.counters["cpuid"] > 10
        thread = driven(machine.module.create_vm(code=CPUID_LOOP).create_vcpu(cpu=1))
        for _ in range(100):
            assert not cpuid_faults() and host() == before
        thread.stop()
        thread.join()
        vendor = machine.cpu(0).cpuid(0x40000000)[1:]
        assert b"".join(word.to_bytes(4, "little") for word in vendor) == b"Microsoft Hv"
        assert not cpuid_faults() and host() == before


@needs_cpuid_faults
def test_cpuid_does_not_fault_after_a_bug_of_the_kernel():
    with Machine(cpus=1, insn="trap") as machine:
        traps = machine.traps["cpuid"]
        detect = address_of(mshyperv, "init_hypervisor_platform")
        # call *%rax; mov $0xdead, %ecx; rdmsr
        with pytest.raises(KernelBug, match="vector 13"):
            execute(machine, bytes.fromhex("ffd0" "b9adde0000" "0f32"), {RAX: detect})
        assert machine.traps["cpuid"] > traps
        assert not cpuid_faults()


@needs_cpuid_faults
def test_a_cpuid_of_whoever_interrupts_a_processor_is_the_hosts():
    """Code that is not L1's, in a thread in which CPUID faults for L1."""
    host, _ = native(HOST_CPUID)
    code = arch_prctl(ARCH_SET_CPUID, 0) + HOST_CPUID[:-1] + b"\x50"        # push %rax
    code += arch_prctl(ARCH_SET_CPUID, 1) + b"\x58\xc3"                     # pop %rax; ret
    foreign, address = native(code)
    with Machine(cpus=1, insn="trap") as machine:
        traps = machine.traps["cpuid"]
        assert call_function(machine._kernel, 0, address, ()) & 0xFFFFFFFF == host()
        assert machine.traps["cpuid"] == traps and not cpuid_faults()
    assert foreign.memory


@needs_cpuid_faults
def test_a_thread_in_which_cpuid_faults_already_keeps_it_so():
    """Somebody else's use of it: L1's CPUID goes by call in such a thread."""
    def run():
        assert LIBC.syscall(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 0) == 0
        with Machine(cpus=1, insn="trap") as machine:
            machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu().run(exits=10)
            seen.append((machine.traps["cpuid"], machine.counters["cpuid"] > 0, cpuid_faults()))
        LIBC.syscall(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 1)

    seen = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(0, True, True)]


@pytest.mark.both("cpuid-faulting")
def test_where_no_cpuid_faults_it_stays_a_call(withheld):
    with Machine(cpus=2, insn="trap") as machine:
        counted, traps = machine.counters["cpuid"], machine.traps["cpuid"]
        machine.insmod()
        assert machine.counters["cpuid"] > counted
        assert (machine.traps["cpuid"] == traps) == ("cpuid" in machine.by_call) == bool(withheld)
        assert not cpuid_faults()
