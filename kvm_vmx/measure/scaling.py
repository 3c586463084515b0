# SPDX-License-Identifier: GPL-2.0-only
"""Scale: more vCPUs, CPUs, threads and lifetimes of VMs; what is counted is asserted, times shown.

What L1 executes for an exit must be the same whatever their number, what a load executes and
keeps must be linear in the CPUs, and what a VM takes must be back when it is gone.
"""

import gc
import os
import threading
import time
from collections.abc import Callable

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.vcpu import Vcpu
from kvm_vmx.measure.report import COUNTED, Report, Say, row
from kvm_vmx.measure.statistics import Estimate, estimate

VCPUS = (1, 10, 100, 1_000)
CPUS = (1, 8, 64, 512, 4_096)
THREADS = (1, 2, 4, 8, 16)
LIFETIMES = (1, 10, 100, 1_000, 10_000, 100_000)
# Tier 0 stops here: what is flat over three decades is, and the rest takes seconds.
COUNTED_LIFETIMES = 1_000

# v4.19's KVM_MAX_VCPUS is 288, so that many vCPUs are of several VMs.
OF_A_VM = 250
MEMORY = 1 << 16
TURN = 200
ROUNDS, THREAD_EXITS = 7, 40_000

# What L1 executes, by counter; the others count what L0 does.
OF_L1 = ("cpuid", "rdmsr", "wrmsr", "mov_to_cr", "vmxon", "vmxoff", "vmclear", "vmptrld", "vmread",
         "vmwrite", "vmlaunch", "vmresume", "invept", "invvpid")


def executed(machine: Machine, call: Callable[[], object]) -> int:
    """How many instructions of VMX and its like L1 executes in a call."""
    before = machine.counters
    call()
    after = machine.counters
    return sum(after[name] - before[name] for name in OF_L1)


def many(module: Module, count: int) -> list[Vcpu]:
    """So many vCPUs on CPU 0."""
    made: list[Vcpu] = []
    while len(made) < count:
        vm = module.create_vm(code=CPUID_LOOP, memory=MEMORY)
        made += [vm.create_vcpu(cpu=0) for _ in range(min(OF_A_VM, count - len(made)))]
    return made


def turns(vcpus: list[Vcpu], exits: int) -> None:
    """Each vCPU in turn has so many exits."""
    for vcpu in vcpus:
        vcpu.run(exits=exits)


def an_exit(machine: Machine, vcpus: list[Vcpu]) -> tuple[float, float]:
    """(of an exit in a turn, of a turn beside its exits): instructions of L1, all vCPUs alike."""
    turns(vcpus, TURN)
    short, long = (executed(machine, lambda: turns(vcpus, exits)) for exits in (TURN, 2 * TURN))
    return (long - short) / len(vcpus) / TURN, (2 * short - long) / len(vcpus)


def count_exits(report: Report) -> None:
    """An exit by vCPUs on a CPU, and by CPUs of the machine."""
    found = {}
    for on, mode in ((False, "VMCS"), (True, "eVMCS")):
        for count in VCPUS:
            with Machine(cpus=1, insn="call") as machine:
                kvm = machine.insmod(enlightened_vmcs=on)
                before = machine.allocations
                vcpus = many(kvm, count)
                kept = [machine.allocations[kind] - before[kind] for kind in before]
                found[mode, count] = of_exit, of_turn = an_exit(machine, vcpus)
            report.add(f"an exit by vCPUs on a CPU, {mode}", f"{count:,}", of_exit,
                       "instructions of L1", COUNTED, note=f"a turn of a vCPU: {of_turn:g} more")
            if on:
                report.add("kept by vCPUs", f"{count:,}", sum(kept), "allocations", COUNTED,
                           note=f"{sum(kept) / count:.2f} a vCPU")
    for mode in ("VMCS", "eVMCS"):
        exits = {found[mode, count][0] for count in VCPUS}
        report.claim(f"{mode}: an exit executes as much with 1,000 vCPUs on its CPU as with one",
                     len(exits) == 1, f"{min(exits):g} to {max(exits):g} instructions of L1",
                     sample=max(exits))


def count_loads(report: Report) -> None:
    """insmod, what it keeps, and an exit, by CPUs of the machine."""
    loads, kept, exits = {}, {}, {}
    for cpus in CPUS:
        with Machine(cpus=cpus, insn="call") as machine:
            before = machine.allocations
            loads[cpus] = executed(machine, lambda: machine.insmod(enlightened_vmcs=True))
            assert machine.module is not None
            kept[cpus] = sum(machine.allocations[kind] - before[kind] for kind in before)
            exits[cpus] = an_exit(machine, many(machine.module, 1))[0]
        report.add("insmod by CPUs", f"{cpus:,}", loads[cpus], "instructions of L1", COUNTED,
                   note=f"keeps {kept[cpus]:,} allocations; an exit then: {exits[cpus]:g}")
    for what, found in (("executes", loads), ("keeps", kept)):
        slope = (found[CPUS[-1]] - found[1]) / (CPUS[-1] - 1)
        off = max(abs(found[cpus] - found[1] - slope * (cpus - 1)) for cpus in CPUS)
        report.claim(f"what insmod {what} is linear in the CPUs, from 1 to {CPUS[-1]:,}",
                     off < 1, f"{slope:g} a CPU, at most {off:g} off the line", sample=slope)
    report.claim(f"an exit executes as much on a machine of {CPUS[-1]:,} CPUs as of one",
                 len({*exits.values()}) == 1, f"{exits[1]:g} and {exits[CPUS[-1]]:g}",
                 sample=exits[1])


def live(module: Module) -> None:
    """One lifetime: a VM, its vCPU, two exits, the end."""
    vm = module.create_vm(code=CPUID_LOOP, memory=MEMORY)
    vm.create_vcpu(cpu=0).run(exits=2)
    vm.destroy()


def lifetimes(report: Report, most: int, timed: bool) -> None:
    """VMs come and go: what is allocated, what an exit executes, and, timed, memory and time."""
    here = [count for count in LIFETIMES if count <= most]
    with Machine(cpus=1, insn="call") as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        live(kvm)
        gc.collect()
        first, done, seen, resident = machine.allocations, 0, [], {}
        for count in here:
            start = time.process_time()
            for _ in range(count - done):
                live(kvm)
            each = (time.process_time() - start) / (count - done)
            done = count
            resident[count] = memory()
            work = executed(machine, lambda: live(kvm))
            seen.append((machine.allocations == first, work))
            if not timed:
                report.add("a lifetime of a VM, by lifetimes before it", f"{count:,}", work,
                           "instructions of L1", COUNTED)
            else:
                report.add("a lifetime of a VM: its time", f"{count:,}", each * 1e6, "us",
                           "measured here", note="CPU time")
                report.add("resident memory by lifetimes of VMs", f"{count:,}",
                           resident[count] / 2**20, "MiB", "measured here")
    same = all(same for same, _ in seen) and len({work for _, work in seen}) == 1
    report.claim(f"after {most:,} lifetimes of VMs nothing is kept, and one executes what the "
                 "first did", same,
                 f"{len(seen)} stretches; {seen[0][1]} and {seen[-1][1]} instructions of L1")
    grown = resident[here[-1]] - resident[here[0]]
    report.claim(f"memory is flat over {most:,} lifetimes of VMs: at most 1 MiB more",
                 grown <= 2**20, f"{grown / 1024:+,.0f} KiB")


def memory() -> int:
    """Bytes of this process that are resident."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def spent(call: Callable[[], object], exits: int) -> Estimate:
    """ns of CPU time an exit, of some calls."""
    def once() -> float:
        start = time.process_time()
        call()
        return (time.process_time() - start) * 1e9 / exits
    return estimate([once() for _ in range(ROUNDS)])


def time_exits(report: Report) -> None:
    """An exit by vCPUs on a CPU, by CPUs of the machine; insmod by CPUs."""
    for count in VCPUS:
        with Machine(cpus=1, insn="call") as machine:
            vcpus = many(machine.insmod(enlightened_vmcs=True), count)
            exits = max(TURN, THREAD_EXITS // count)
            turns(vcpus, TURN)
            row(report, "one exit by vCPUs on a CPU", f"{count:,}",
                spent(lambda: turns(vcpus, exits), exits * count), "ns", "CPU time")
    for cpus in CPUS:
        with Machine(cpus=cpus, insn="call") as machine:
            loads = []
            for _ in range(ROUNDS):
                start = time.process_time()
                kvm = machine.insmod(enlightened_vmcs=True)
                loads.append((time.process_time() - start) * 1e3)
                kvm.rmmod()
            row(report, "insmod by CPUs of the machine", f"{cpus:,}", estimate(loads), "ms",
                "CPU time")
            vcpus = many(machine.insmod(enlightened_vmcs=True), 1)
            turns(vcpus, TURN)
            row(report, "one exit by CPUs of the machine", f"{cpus:,}",
                spent(lambda: turns(vcpus, THREAD_EXITS), THREAD_EXITS), "ns", "CPU time")


def time_threads(report: Report) -> None:
    """An exit by threads, each with a CPU of L1's and a vCPU; they share the host's by time."""
    for count in THREADS:
        with Machine(cpus=count, insn="call") as machine:
            vm = machine.insmod(enlightened_vmcs=True).create_vm(code=CPUID_LOOP)
            vcpus = [vm.create_vcpu(cpu=n) for n in range(count)]
            turns(vcpus, TURN)

            def together() -> None:
                threads = [threading.Thread(target=turns, args=([vcpu], THREAD_EXITS))
                           for vcpu in vcpus]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            row(report, "one exit by threads", f"{count:,}",
                spent(together, THREAD_EXITS * count), "ns",
                f"CPU time, {count} on {min(count, len(os.sched_getaffinity(0)))} processors")


def run(report: Report, progress: Say) -> None:
    """Tier 0: the counts."""
    progress("tier 0: scale")
    # first, as what larger machines have given back would hide what is kept
    lifetimes(report, COUNTED_LIFETIMES, timed=False)
    count_exits(report)
    count_loads(report)


def run_timed(report: Report, progress: Say) -> None:
    """Tier 2: the times beside them."""
    progress("tier 2: scale, lifetimes")
    lifetimes(report, LIFETIMES[-1], timed=True)
    progress("tier 2: scale, vCPUs and CPUs")
    time_exits(report)
    progress("tier 2: scale, threads")
    time_threads(report)
