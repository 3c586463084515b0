# SPDX-License-Identifier: GPL-2.0-only
"""By trap: how many traps an exit is in either mode, what one costs, and what is left without."""

from collections.abc import Sequence

from kvm_vmx import Machine
from kvm_vmx.console import Trouble
from kvm_vmx.measure import host_rsp
from kvm_vmx.measure.loops import loaded
from kvm_vmx.measure.model import MAIL_AFTER, MAIL_BEFORE
from kvm_vmx.measure.paired import Samples, at_least
from kvm_vmx.measure.report import COUNTED, DISAGREE, PUBLISHED, Report, Say, row
from kvm_vmx.measure.statistics import estimate

MAIL_RATIO = MAIL_BEFORE / MAIL_AFTER
MODES = {"VMCS": False, "eVMCS": True}
EXITS = 500

# How far apart two runs of the same mode may be before nothing else counts.
A_A_RATIO = 0.05

# Why the other parts have nothing to say here.
BY_CALL_ALONE = {
    "accessors": "under eVMCS an access is a store in either form, and no trap",
    "entry": "what L0 does at an entry is the same behind either form",
    "scale": "threads, loading and flips of the key do not depend on the form",
}


def check(parts: Sequence[str], tier: int) -> None:
    """Trouble where no part, or not this tier, can be measured by trap."""
    if tier == 1:
        raise Trouble("valgrind cannot execute the opcodes: give --tier 0 or 2, or count by call")
    if not set(parts) & set(PARTS):
        part, = parts
        raise Trouble(f"{part} is measured by call alone, since {BY_CALL_ALONE[part]}: "
                      "leave --insn trap out")


def exit_traps(machine: Machine, enlightened: bool) -> dict[str, float]:
    """Traps of one steady exit, by the name of the instruction; those that came."""
    with loaded(machine, "hyperv", enlightened) as world:
        windows = []
        for exits in (EXITS, 2 * EXITS):
            before = machine.traps
            world.vcpu.run(exits=exits)
            windows.append({name: count - before[name] for name, count in machine.traps.items()})
    return {name: (windows[1][name] - windows[0][name]) / EXITS
            for name in windows[0] if windows[1][name] != windows[0][name]}


def count_loop(report: Report, machine: Machine) -> None:
    """Tier 0: the traps of one exit in either mode, and where the gap between them comes from."""
    found = {}
    for mode, on in MODES.items():
        found[mode] = exit_traps(machine, on)
        for name, count in found[mode].items():
            report.add(f"traps of one exit, {mode}", name, round(count, 3), "traps", COUNTED)
    gap = {name: count - found["eVMCS"].get(name, 0) for name, count in found["VMCS"].items()}
    gap = {name: count for name, count in gap.items() if count}
    report.claim("the gap between the modes is 8 traps an exit: 7 VMREADs and 1 VMWRITE",
                 gap == {"vmread": 7, "vmwrite": 1},
                 ", ".join(f"{count:g} {name.upper()}" for name, count in gap.items()))
    executed = {name: machine.counters[name] for name, count in machine.traps.items() if count}
    report.claim("each instruction that L0 carried out came by its own trap",
                 executed == {name: machine.traps[name] for name in executed},
                 f"{sum(executed.values())} instructions, {sum(machine.traps.values())} traps",
                 sample=len(executed))


def count_key(report: Report, machine: Machine) -> None:
    """Tier 0: the three ways to note RSP, in both states of the key."""
    for on in (False, True):
        with loaded(machine, "hyperv", on):
            host_rsp.structure(report, machine, on)


def time_loop(report: Report, samples: Samples) -> None:
    """Tier 2: exits of the two modes, one beside the other, and single accesses."""
    found = samples.world("exits")
    control = estimate([sample.ratio("VMCS again", "VMCS") for sample in found])
    row(report, "A/A control", "exits by trap", control, "times", "VMCS beside VMCS")
    report.measurable &= abs(control.value - 1) <= A_A_RATIO
    for mode in MODES:
        row(report, "one exit, by trap", mode, estimate([one.ns(mode) for one in found]), "ns")
    gap = estimate([sample.difference("VMCS", "eVMCS") for sample in found])
    times = estimate([sample.ratio("VMCS", "eVMCS") for sample in found])
    share = estimate([100 * (1 - sample.ratio("eVMCS", "VMCS")) for sample in found])
    table = "what VMREAD and VMWRITE were of an exit, by trap"
    row(report, table, "the gap between the modes", gap, "cycles")
    row(report, table, "a trap: the gap divided by 8", estimate(
        [sample.difference("VMCS", "eVMCS") / 8 for sample in found]), "cycles")
    accesses = samples.world("accesses")
    for name, what in (("readl", "a VMREAD alone"), ("writel", "a VMWRITE alone")):
        row(report, table, what, estimate(
            [sample.cycles(sample.median(name)) for sample in accesses]), "cycles")
    row(report, table, "their share of a VMCS exit", share, "%")
    row(report, table, "a VMCS exit over an eVMCS exit", times, "times")
    report.add(table, "the mail", round(MAIL_RATIO, 3), "times", PUBLISHED,
               note=f"{MAIL_BEFORE} / {MAIL_AFTER} cycles, commit 773e8a0425c9")
    report.claim("by trap, an exit under eVMCS is at least 2.27 times as fast as under VMCS",
                 at_least(times, round(MAIL_RATIO, 2)),
                 f"{times.value:.2f} times [{times.low:.2f}, {times.high:.2f}]", why=DISAGREE)


def time_key(report: Report, samples: Samples) -> None:
    """Tier 2: whole entries by trap that note RSP anew, in each of the three ways."""
    for world, mode in (("entries off", "VMCS"), ("entries on", "eVMCS")):
        host_rsp.timed(report, f"an entry by trap that notes RSP, {mode}",
                       samples.world(world), "entry_")


PARTS = {"loop": (count_loop, time_loop), "key": (count_key, time_key)}


def run(report: Report, parts: Sequence[str], tier: int, progress: Say = lambda text: None) -> None:
    """These parts, as far as they depend on the form; tier 0, then 2."""
    here = [part for part in parts if part in PARTS]
    report.notes += [f"{part}: by call alone, since {BY_CALL_ALONE[part]}"
                     for part in parts if part not in PARTS]
    with Machine(cpus=1, insn="trap") as machine:
        for part in here:
            progress(f"tier 0 by trap: {part}")
            PARTS[part][0](report, machine)
    if tier >= 2:
        samples = Samples(report, "traps", progress)
        for part in here:
            PARTS[part][1](report, samples)
