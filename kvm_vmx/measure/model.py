# SPDX-License-Identifier: GPL-2.0-only
"""The model: VMX instructions counted, times what one costs when it traps into Hyper-V."""

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.measure.loops import WARM_UP
from kvm_vmx.measure.report import COUNTED, MODELLED, PUBLISHED, Report, Say

# Linux commit 773e8a0425c9: a tight CPUID loop in L2, cycles an exit.
MAIL_BEFORE, MAIL_AFTER = 18890, 8304
# The mail's bare-metal CPUID loop, before the patch and after it with the key off.
MAIL_KEY_BEFORE, MAIL_KEY_AFTER = 1077.5, 1080.7
# Linux commit ceef7d10dfb6, enlightened MSR bitmap: an RDMSR in L2, cycles.
MSR_BITMAP_BEFORE, MSR_BITMAP_AFTER = 1300, 120

# What L1 executes that Hyper-V intercepts, beside the entry that both modes make.
TRAPPED = ("vmread", "vmwrite", "vmptrld", "vmclear")
SWEEP = (250, 500, 750, 1000, 1250, 1323, 1500, 2000, 3000)


def counted(machine: Machine, enlightened: bool, code: bytes = CPUID_LOOP,
            exits: int = 1_000) -> tuple[float, float]:
    """(trapped instructions, bytes re-read) of one steady exit of a guest."""
    kvm = machine.insmod(enlightened_vmcs=enlightened)
    vcpu = kvm.create_vm(code=code).create_vcpu(cpu=0)
    vcpu.run(exits=WARM_UP)
    windows = []
    for length in (exits, 2 * exits):
        before = dict(machine.counters)
        vcpu.run(exits=length)
        after = machine.counters
        windows.append({name: after[name] - before[name] for name in after})
    kvm.rmmod()
    one = {name: (windows[1][name] - windows[0][name]) / exits for name in windows[0]}
    return sum(one[name] for name in TRAPPED), one["bytes_reread"]


def cost_of_a_trap(traps: float) -> float:
    """Cycles a trapped access, as the mail's two numbers and our count imply."""
    return (MAIL_BEFORE - MAIL_AFTER) / traps


def cycles(traps: float, cost: float) -> float:
    """Modelled cycles an exit of a guest: what is left under eVMCS, plus its traps."""
    return MAIL_AFTER + traps * cost


def run(report: Report, progress: Say = lambda text: None) -> None:
    """Count both modes, derive the cost, sweep it."""
    progress("model: trapped accesses of one exit")
    with Machine(cpus=1, insn="call") as machine:
        vmcs, _ = counted(machine, False)
        evmcs, _ = counted(machine, True)
    cost = cost_of_a_trap(vmcs - evmcs)
    table = "a tight CPUID loop on Hyper-V"
    report.add(table, "VMCS, the mail", MAIL_BEFORE, "cycles", PUBLISHED,
               note="commit 773e8a0425c9")
    report.add(table, "eVMCS, the mail", MAIL_AFTER, "cycles", PUBLISHED,
               note="commit 773e8a0425c9")
    report.add(table, "trapped accesses, VMCS", round(vmcs, 3), "an exit", COUNTED)
    report.add(table, "trapped accesses, eVMCS", round(evmcs, 3), "an exit", COUNTED)
    report.add(table, "cycles a trapped access", round(cost, 2), "cycles", MODELLED,
               note=f"({MAIL_BEFORE} - {MAIL_AFTER}) / {vmcs - evmcs:g}")
    report.add(table, "VMCS, the model", round(cycles(vmcs, cost)), "cycles", MODELLED)
    report.add(table, "eVMCS, the model", round(cycles(evmcs, cost)), "cycles", MODELLED)
    table = "ratio VMCS to eVMCS, by the cost of a trapped access"
    for price in SWEEP:
        report.add(table, f"{price} cycles", round(cycles(vmcs, price) / cycles(evmcs, price), 2),
                   "times", MODELLED)
    report.add(table, "the mail", round(MAIL_BEFORE / MAIL_AFTER, 2), "times", PUBLISHED)
    table = "the key off, a CPUID loop on bare metal"
    report.add(table, "before the patch, the mail", MAIL_KEY_BEFORE, "cycles", PUBLISHED)
    report.add(table, "after it, the mail", MAIL_KEY_AFTER, "cycles", PUBLISHED,
               note=f"{MAIL_KEY_AFTER - MAIL_KEY_BEFORE:+.1f}")
    table = "MSR-bitmap enlightenment, an RDMSR in L2"
    report.add(table, "before", MSR_BITMAP_BEFORE, "cycles", PUBLISHED, note="commit ceef7d10dfb6")
    report.add(table, "after", MSR_BITMAP_AFTER, "cycles", PUBLISHED, note="commit ceef7d10dfb6")
    report.add(table, "saved", MSR_BITMAP_BEFORE - MSR_BITMAP_AFTER, "cycles", PUBLISHED,
               note="about one trapped access of the model")
    report.claim("the CPUID loop costs 7 VMREADs and 1 VMWRITE an exit, none under eVMCS",
                 (vmcs, evmcs) == (8, 0), f"{vmcs:g} and {evmcs:g} trapped accesses")
