# SPDX-License-Identifier: GPL-2.0-only
"""Instructions by trap: the same as by call, what they cost, what the process keeps."""

import contextlib
import ctypes
import os
import random
import re
import signal
import statistics
import threading
import time

import nursery
import pytest
from trapping import COUNTING_LOOP, CPUID_LOOP, HOST_RIP, HOST_RSP, caught

from kvm_vmx import KernelBug, Machine, MachineError
from kvm_vmx import host
from kvm_vmx.trap import engine as trap

STALE = 0xFFFFFFFF81000000
# cycles an exit by VMCS and by eVMCS, as the patch's mail gives them
MAIL_RATIO = 18890 / 8304


def session(insn, enlightened):
    """What a whole session counts and leaves: load, run on two CPUs, hotplug, unload."""
    with Machine(cpus=3, insn=insn) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vm = kvm.create_vm(code=COUNTING_LOOP)
        vcpus = [vm.create_vcpu(cpu=n) for n in (0, 1)]
        ran = [vcpu.run(exits=500) for vcpu in vcpus]
        vcpus[0].cpu = 2
        ran.append(vcpus[0].run(exits=100))
        machine.offline(2)
        machine.online(2)
        machine.cpu(1).hypercall(2, 0)
        vcpus[0].cpu = 0
        ran.append(vcpus[0].run(exits=100))
        seen = [dict(vcpu.regs) for vcpu in vcpus], ran, machine.allocations
        kvm.rmmod()
        return machine.counters, seen, machine.dmesg, machine.traps


# What each instruction that need not trap needs of the host in order to.
OPTIONAL = {"cpuid": "cpuid-faulting", "vmcall": "vmcall-faulting"}


def own_traps(counters, traps):
    """Each instruction that L0 has carried out came by its own trap, but those that do not here."""
    return traps == {
        name: counters[name] if name not in OPTIONAL or host.has(OPTIONAL[name]) else 0
        for name in traps}


def sessions_agree(enlightened):
    """A session counts and leaves the same in both forms."""
    call, trapped = session("call", enlightened), session("trap", enlightened)
    said, *log = trapped[2]
    assert (*trapped[:2], log) == call[:3]
    stay = {name for name, needs in OPTIONAL.items() if not host.has(needs)} | {"mov_to_cr"}
    assert said == f"opcodes trap; by call: {', '.join(sorted(stay))}"
    assert set(call[3].values()) == {0}
    assert own_traps(trapped[0], trapped[3])
    assert all(trapped[0][name] for name in ("cpuid", "vmcall", "rdmsr", "vmxon"))


@pytest.mark.both("cpuid-faulting")
@pytest.mark.parametrize("enlightened", [False, True])
def test_a_session_counts_the_same_in_both_forms(enlightened):
    sessions_agree(enlightened)


@pytest.mark.both("vmcall-faulting")
def test_a_session_where_a_hypervisor_beneath_has_vmcall():
    sessions_agree(True)


@pytest.mark.both("fsgsbase", "sync-core", "memfd")
def test_a_session_on_an_old_kernel():
    sessions_agree(True)


def steady(machine, enlightened, exits):
    """(traps of one exit by name, seconds of the run)."""
    kvm = machine.insmod(enlightened_vmcs=enlightened)
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    vcpu.run(exits=100)
    counts, times = [], []
    for length in (1, 1 + exits):
        before = machine.traps
        start = time.perf_counter()
        vcpu.run(exits=length)
        times.append(time.perf_counter() - start)
        counts.append({name: count - before[name] for name, count in machine.traps.items()})
    kvm.rmmod()
    return {name: (counts[1][name] - counts[0][name]) / exits for name in counts[0]}, times[1]


def test_the_gap_is_eight_traps_and_more_than_the_mails_ratio():
    ratios = []
    with Machine(cpus=1, insn="trap") as machine:
        for _ in range(5):
            (vmcs, slow), (evmcs, fast) = (steady(machine, mode, 500) for mode in (False, True))
            ratios.append(slow / fast)
    assert {name: n for name, n in vmcs.items() if n} == {"vmread": 7, "vmwrite": 1, "vmresume": 1}
    assert {name: n for name, n in evmcs.items() if n} == {"vmresume": 1}
    assert statistics.median(ratios) >= MAIL_RATIO


@pytest.mark.parametrize("insn", ["call", "trap"])
@pytest.mark.parametrize("enlightened", [False, True])
@pytest.mark.parametrize("field", [HOST_RIP, HOST_RSP])
def test_a_stale_host_state_is_reported_and_never_jumped_to(insn, enlightened, field):
    with Machine(cpus=1, insn=insn) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=10)
        vcpu._raw.load(0)
        with machine.cpu(0):
            kvm.port.vmcs_writel(field, STALE)
            if enlightened:
                # L0 reads the host state again only where its group is not clean
                kvm.port.vmcs_writel(HOST_RIP, kvm.port.vmcs_readl(HOST_RIP))
        with pytest.raises(KernelBug, match=rf"stale host state: RIP \w+ RSP {STALE:x}"
                           if field == HOST_RSP else rf"stale host state: RIP {STALE:x}"):
            vcpu.run(exits=10)


@pytest.mark.parametrize("insn", ["call", "trap"])
def test_an_instruction_that_faults_is_the_kernels_bug(insn):
    for _ in range(3):
        with Machine(cpus=1, insn=insn) as machine:
            kvm = machine.insmod(enlightened_vmcs=False)
            kvm.create_vm(code=CPUID_LOOP).create_vcpu()._raw.load(0)
            with machine.cpu(0) as cpu:
                assert cpu.vmxoff().ok
                with pytest.raises(KernelBug, match="VMX instruction faulted: vector 6"):
                    kvm.port.vmcs_readl(HOST_RIP)
    with Machine(cpus=1, insn=insn) as machine:
        assert machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu().run(exits=9).exits == 9


def signal_stack():
    """sigaltstack() of this thread: (address, flags, size)."""
    stack = (ctypes.c_uint64 * 3)()
    assert ctypes.CDLL(None).sigaltstack(None, stack) == 0
    return tuple(stack)


def test_handlers_and_signal_stack_are_back_after_each_call():
    mask = 1 << signal.SIGILL - 1 | 1 << signal.SIGSEGV - 1
    before = caught() & mask, signal_stack()
    with Machine(cpus=2, insn="trap") as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=10)
        assert (caught() & mask, signal_stack()) == before
        thread = threading.Thread(target=vcpu.run, args=[20_000])
        thread.start()
        seen = set()
        while thread.is_alive():
            seen.add(caught() & mask)
        thread.join()
        assert mask in seen
    assert (caught() & mask, signal_stack()) == before


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL])
def test_a_signal_that_is_sent_reaches_python(number):
    """By pthread_kill() to a thread whose instructions raise SIGILL all the time. Linux keeps one
    of a kind pending, so a SIGILL that meets an instruction's is lost in it, and is sent again."""
    got, stop = [], threading.Event()

    def drive():
        while not stop.is_set():
            vcpu.run(exits=100)

    old = signal.signal(number, lambda *_: got.append(1))
    try:
        with Machine(cpus=1, insn="trap") as machine:
            vcpu = machine.insmod(enlightened_vmcs=False).create_vm(code=CPUID_LOOP).create_vcpu()
            thread = threading.Thread(target=drive)
            thread.start()
            sent = 0
            while len(got) < 10 and sent < 1_000:
                signal.pthread_kill(thread.ident, number)
                sent += 1
                deadline = time.monotonic() + (0.01 if number == signal.SIGILL else 10)
                while len(got) < min(sent, 10) and time.monotonic() < deadline:
                    time.sleep(0.001)
            stop.set()
            thread.join()
            assert len(got) >= 10 and (number == signal.SIGILL or len(got) == sent)
            assert machine.traps["vmresume"] == machine.counters["vmresume"] > 0
    finally:
        signal.signal(number, old)


FOREIGN = """
import faulthandler, sys, threading, time
from kvm_vmx import Machine, guests
if sys.argv[1] == "on":
    faulthandler.enable()
with Machine(cpus=1, insn="trap") as machine:
    vcpu = machine.insmod().create_vm(code=guests.CPUID_LOOP).create_vcpu()
    thread = threading.Thread(target=vcpu.run, daemon=True)
    thread.start()
    while machine.counters["exits"] < 100:
        time.sleep(0.01)
    getattr(faulthandler, sys.argv[2])()
"""


@pytest.mark.parametrize("handler", ["on", "off"])
def test_a_fault_elsewhere_ends_as_it_would_have(handler):
    done = nursery.python(FOREIGN, handler, "_sigsegv")
    assert done.returncode == -signal.SIGSEGV
    assert ("Fatal Python error: Segmentation fault" in done.stderr) == (handler == "on")


@pytest.mark.parametrize("number", [signal.SIGILL, signal.SIGSEGV])
def test_a_blocked_signal_is_one_line(number):
    with Machine(cpus=1, insn="trap") as machine:
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        try:
            with pytest.raises(MachineError, match=f"^{number.name} is blocked.*insn='call'$"):
                machine.insmod()
            with pytest.raises(MachineError, match=f"^{number.name} is blocked"):
                machine.cpu(0).vmxoff()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        machine.insmod().rmmod()


def test_a_platform_that_cannot_says_so_in_one_line(monkeypatch):
    monkeypatch.setattr(trap, "_silent", frozenset({"vmread", "vmcall"}))
    with pytest.raises(ValueError, match="^no trap on this platform by vmread: use insn='call'$"):
        Machine(cpus=1, insn="trap")
    with Machine(cpus=1, insn="call") as machine:
        machine.insmod().rmmod()


def test_an_unknown_form_names_the_known():
    with pytest.raises(ValueError, match="'call' or 'trap'"):
        Machine(insn="emulate")


def test_forms_follow_one_another():
    for insn in ("call", "trap") * 3:
        with Machine(cpus=1, insn=insn) as machine:
            kvm = machine.insmod()
            assert {site["state"] for site in machine.keys() if site["key"] == "insn_trap"} == {
                "jmp" if insn == "trap" else "nop"}
            kvm.create_vm(code=CPUID_LOOP).create_vcpu().run(exits=50)
            assert (machine.traps["vmresume"] > 0) == (insn == "trap")


def storm(traps):
    """Two vCPUs that trap until there have been so many, under random signals, beside Python."""
    signals = signal.SIGALRM, signal.SIGCHLD, signal.SIGPROF
    received = dict.fromkeys(signals, 0)

    def count(number, frame):
        received[number] += 1

    old = {number: signal.signal(number, count) for number in signals}
    done = threading.Event()
    try:
        with Machine(cpus=2, insn="trap") as machine:
            vm = machine.insmod(enlightened_vmcs=False).create_vm(code=COUNTING_LOOP)
            vcpus = [vm.create_vcpu(cpu=n) for n in (0, 1)]
            exits = [0, 0]

            def drive(n):
                while sum(machine.traps.values()) < traps:
                    exits[n] += vcpus[n].run(exits=500 + n).exits

            def send():
                dice = random.Random(8304)
                while not done.is_set():
                    target, number = dice.choice([None, *threads]), dice.choice(signals)
                    with contextlib.suppress(ProcessLookupError):
                        if target:
                            signal.pthread_kill(target.ident, number)
                        else:
                            os.kill(os.getpid(), number)
                    time.sleep(dice.random() * 0.0006)

            threads = [threading.Thread(target=drive, args=[n]) for n in (0, 1)]
            sender = threading.Thread(target=send)
            for thread in threads:
                thread.start()
            sender.start()
            work = 0
            while any(thread.is_alive() for thread in threads):
                work += len(re.findall(r"\w+", "the quick brown fox" * 20))
            done.set()
            for thread in (*threads, sender):
                thread.join()
            regs = [vcpu.regs["rdi"] for vcpu in vcpus]
            return machine.counters, machine.traps, exits, regs, received, work
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@pytest.mark.both("cpuid-faulting")
def test_no_instruction_is_lost_or_doubled_under_random_signals(soak):
    traps = 1_000_000 if soak else 20_000
    counters, trapped, exits, regs, received, work = storm(traps)
    assert sum(trapped.values()) >= traps and work > 0
    assert own_traps(counters, trapped)
    assert counters["exits"] == sum(exits)
    # the guest counts its CPUIDs before it executes them
    assert all(n <= count <= n + 1 for n, count in zip(exits, regs))
    assert all(received.values())
