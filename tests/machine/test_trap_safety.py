# SPDX-License-Identifier: GPL-2.0-only
"""What a process keeps beside instructions that trap: handlers, registers, its debugger."""

import ctypes
import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from trapping import (
    COUNTING_LOOP, CPUID_LOOP, GUEST_RSP, HOST_RIP, RAX, RCX, RDX, caught, driven, execute)

from kvm_vmx import KernelBug, Machine
from kvm_vmx import host
from kvm_vmx.machine.sections import loaded


def test_a_child_of_a_fork_has_the_handlers_that_were_there_before():
    mask = 1 << signal.SIGILL - 1 | 1 << signal.SIGSEGV - 1
    before = caught() & mask
    with Machine(cpus=1, insn="trap") as machine:
        thread = driven(machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu())
        while caught() & mask != mask:
            pass
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if caught() & mask == before else 1)
            assert os.waitpid(child, 0)[1] == 0
        thread.stop()
        thread.join()
    assert caught() & mask == before


@pytest.mark.parametrize("number", [signal.SIGILL, signal.SIGSEGV])
def test_a_handler_that_is_set_meanwhile_gives_way_and_gets_what_is_its_own(number):
    """signal.signal() while a processor runs takes its traps away; the next call takes them back,
    and no instruction was lost."""
    got, deadline = [], time.monotonic() + 60
    with Machine(cpus=2, insn="trap") as machine:
        vm = machine.insmod(enlightened_vmcs=False).create_vm(code=COUNTING_LOOP)
        thread = driven(vm.create_vcpu(cpu=0))
        while machine.counters["exits"] < 100:
            pass
        old = signal.signal(number, lambda *_: got.append(1))
        try:
            machine.cpu(1).vmptrst()
            while not got and time.monotonic() < deadline:
                os.kill(os.getpid(), number)
                time.sleep(0.01)
            exits = machine.counters["exits"]
            while machine.counters["exits"] < exits + 1000 and time.monotonic() < deadline:
                machine.cpu(1).vmptrst()
            thread.stop()
            thread.join(60)
            assert got and not thread.is_alive()
            assert machine.traps["vmread"] == machine.counters["vmread"]
        finally:
            signal.signal(number, old)


def test_faulthandler_is_there_again_whoever_came_first():
    with Machine(cpus=1, insn="trap") as machine:
        was = faulthandler.is_enabled()
        faulthandler.enable()
        machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu().run(exits=10)
        if not was:
            faulthandler.disable()
        machine.module.rmmod()
        machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu().run(exits=10)
        assert machine.traps["vmresume"] == machine.counters["vmresume"]


def test_a_thread_with_a_small_stack():
    old = threading.stack_size(64 << 10)
    try:
        with Machine(cpus=1, insn="trap") as machine:
            seen = []
            thread = threading.Thread(
                target=lambda: seen.append(machine.cpu(0).rdmsr(0x480).ok))
            thread.start()
            thread.join()
            assert seen == [True]
    finally:
        threading.stack_size(old)


def test_an_exit_into_another_entry_is_stale_too():
    """The text has more than one address for exits: each entry has its own."""
    with Machine(cpus=1, insn="trap") as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        start, end = loaded(kvm.path).entries
        words = (ctypes.c_uint64 * ((end - start) // 8)).from_address(start)
        returns = {words[i + 2] for i in range(0, len(words), 3)}
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=10)
        vcpu._raw.load(0)
        with machine.cpu(0):
            own = kvm.port.vmcs_readl(HOST_RIP)
            assert len(returns) > 2 and own in returns
            other = min(returns - {own})
            kvm.port.vmcs_writel(HOST_RIP, other)
        with pytest.raises(KernelBug, match=f"stale host state: RIP {other:x}"):
            vcpu.run(exits=10)


KEPT = {
    # movq %rax, %xmm0 ... movq %xmm0, %rax
    "xmm0": ("66480f6ec0", "66480f7ec0"),
    # below RSP: mov %rax, -8(%rsp) ... mov -8(%rsp), %rax
    "the red zone": ("48894424f8", "488b4424f8"),
    # push %rax; fildq (%rsp) ... fistpq (%rsp); pop %rax
    "x87": ("50df2c24", "df3c2458"),
    # push $0x5f80; ldmxcsr (%rsp); pop %rax ... push $0; stmxcsr (%rsp); pop %rax
    "mxcsr": ("68805f00000fae142458", "6a000fae1c2458"),
}


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("trapping", ["480f78d1", "0f32"])      # vmread %rdx, %rcx; rdmsr
def test_a_trap_leaves_alone_what_its_instruction_does_not_write(what, trapping):
    value = 0x5F80 if what == "mxcsr" else 0x123456789ABCDEF
    with Machine(cpus=1, insn="trap") as machine:
        machine.insmod(enlightened_vmcs=False).create_vm(code=b"\xf4").create_vcpu()._raw.load(0)
        before, after = map(bytes.fromhex, KEPT[what])
        registers = {RAX: value, RCX: 0xC0000081, RDX: GUEST_RSP}
        assert execute(machine, before + bytes.fromhex(trapping) + after, registers)[0] == value
        if what == "mxcsr":
            execute(machine, bytes.fromhex("68801f00000fae142458"))


DEBUGGED = """
from kvm_vmx import Machine, guests
with Machine(cpus=1, insn="trap") as machine:
    vcpu = machine.insmod(enlightened_vmcs=False).create_vm(
        code=guests.CPUID_LOOP).create_vcpu()
    print("exits", vcpu.run(exits=300).exits, flush=True)
    assert machine.traps["vmread"] == machine.counters["vmread"] > 2100
"""


def gdb(*commands):
    """What gdb says of a program whose instructions trap."""
    return subprocess.run(
        [host.find("debugger"), "-nx", "-batch",
         *(part for command in commands for part in ("-ex", command)),
         "--args", sys.executable, "-c", DEBUGGED],
        capture_output=True, text=True, timeout=300).stdout


@pytest.mark.host("debugger")
def test_a_debugger_that_passes_the_signals_on_changes_nothing(soak):
    if not soak:
        pytest.skip("a soak: the next one ends alike")
    out = gdb("handle SIGILL SIGSEGV nostop noprint pass", "run")
    assert "exits 300" in out and "exited normally" in out


@pytest.mark.host("debugger")
def test_a_debugger_stops_at_the_opcode_that_traps():
    out = gdb("handle SIGILL stop print pass", "handle SIGSEGV nostop noprint pass", "run",
              "x/i $pc", "handle SIGILL nostop noprint", "continue")
    assert "SIGILL" in out and re.search(r"=> 0x\w+[^:]*:\s+vm\w+", out)
    assert "exits 300" in out and "exited normally" in out
