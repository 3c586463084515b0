# SPDX-License-Identifier: GPL-2.0-only
"""What `kvm-vmx run` found: the table, how the guest ended, the verdict; as text and as JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TextIO, TypeAlias

from kvm_vmx.console import print_columns
from kvm_vmx.run.pairs import Times
from kvm_vmx.run.steady_state import MODES, Counted, Figures, Result
from kvm_vmx.machine import long_mode
from kvm_vmx.machine.trace import EXIT_REASONS
from kvm_vmx.machine.vcpu import ExitSummary

SCHEMA = "kvm_vmx.run/2"
# what a cell of the table shows of a mode
Shown: TypeAlias = Callable[[Figures], float | str]

# What L0 counts besides the instructions that L1 executes.
NOT_INSTRUCTIONS = {
    "exits", "failed_entries", "l2_instructions", "groups_reread", "bytes_reread",
    "bytes_ungrouped", "bytes_written_back", "tlb_flushes", "lints",
}


class GuestVerdict(NamedTuple):
    """Did the guest see no difference? What differs, and all in one sentence."""

    holds: bool
    differs: list[str]
    text: str

    def as_json(self) -> dict[str, object]:
        """The verdict of schema kvm_vmx.run/2."""
        return {"holds": self.holds, "differs": self.differs, "why": self.text}


def judged(runs: Mapping[str, Counted]) -> GuestVerdict:
    """Compare what the guest left behind in each mode."""
    vmcs, evmcs = (runs[mode].result for mode in MODES)
    if not runs["evmcs"].figures["enable_evmcs"]:
        return GuestVerdict(False, [],
                            "Falls short: enable_evmcs stayed off, so both runs used the VMCS.")
    differs = [name for name, a, b in zip(vmcs._fields, vmcs, evmcs) if a != b]
    if differs:
        return GuestVerdict(False, differs, f"The guest's result differs: {', '.join(differs)}.")
    return GuestVerdict(
        True, [], "The guest saw no difference: registers, memory and exit reasons are equal.")


def print_end(result: Result, size: int, out: TextIO) -> None:
    """What the guest printed, and why it ended before its exits were up."""
    if result.serial:
        print(f"\nThe guest printed:\n{result.serial.rstrip()}", file=out)
    if result.ended is None:
        return
    summary, end = result.ended, long_mode.START + size
    print(f"\nThe guest ended early: {summary.reason}.", file=out)
    if summary.why and summary.reason != "HLT":
        print(*summary.why.split("; "), sep="\n", file=out)
    if summary.fault is not None and summary.fault.rip >= end:
        print(f"the guest's code ends at {end:#x}", file=out)


def ended_of(summary: ExitSummary | None) -> dict[str, object] | None:
    """How the guest ended, for a program; None where its exits were up."""
    if summary is None:
        return None
    return {"reason": summary.reason, "why": summary.why, "data": summary.data,
            "fault": summary.fault and summary.fault.as_json(),
            "refusal": summary.refusal and summary.refusal.as_json()}


def modes_of(runs: Mapping[str, Counted], times: Times) -> dict[str, dict[str, object]]:
    """The modes of schema kvm_vmx.run/2."""
    found: dict[str, dict[str, object]] = {}
    for mode, run in runs.items():
        result, ns = run.result, times.ns.get(mode) if times.measurable else None
        found[mode] = {
            **run.figures,
            "ns_per_exit": ns and round(ns.value, 1),
            "ns_interval": ns and [round(ns.low, 1), round(ns.high, 1)],
            "reasons": {EXIT_REASONS.get(number, str(number)): count
                        for number, count in sorted(result.reasons.items())},
            "ended": ended_of(result.ended),
            "registers": {name: hex(value) for name, value in result.registers.items()},
            "memory_sha256": result.memory,
            "serial": result.serial,
        }
    return found


def timing_of(times: Times) -> dict[str, object]:
    """How the times were taken: rounds, and VMCS over VMCS with its interval."""
    return {"rounds": times.rounds, "measurable": times.measurable,
            "a_a": times.a_a and [round(value, 3) for value in times.a_a]}


def print_modes(modes: Mapping[str, Figures], times: Times, by_call: Sequence[str] = ()) -> None:
    """The table: VMCS against eVMCS; by_call did not trap though the other instructions did."""
    rows: list[tuple[str, ...]] = [("", "VMCS", "an exit", "eVMCS", "an exit")]

    def row(title: str, total: Shown, per_exit: Shown) -> None:
        rows.append((title, *(text(value(mode)) for mode in modes.values()
                              for value in (total, per_exit))))

    def blank(mode: Figures) -> str:
        return ""

    row("exits", lambda mode: mode["exits"], blank)
    for name in instructions(modes):
        row(f"{name}, by call" if name in by_call else name,
            lambda mode: mode["instructions"][name], lambda mode: mode["per_exit"][name])
    row("groups re-read an entry", blank, lambda mode: mode["groups_reread_per_entry"])
    row("bytes re-read an entry", blank, lambda mode: mode["bytes_reread_per_entry"])
    row("bytes without a group", blank, lambda mode: mode["per_exit"]["bytes_ungrouped"])
    if any(any(mode["traps"].values()) for mode in modes.values()):
        row("traps", lambda mode: sum(mode["traps"].values()),
            lambda mode: sum(mode["traps_per_exit"].values()))
    rows.append(time_row(times))
    row("enable_evmcs", lambda mode: "on" if mode["enable_evmcs"] else "off", blank)
    print_columns(rows, right=(1, 2, 3, 4))
    print_interval(times)
    print_gap(modes, times)


def time_row(times: Times) -> tuple[str, str, str, str, str]:
    """The medians; a dash where nothing was timed, or where it tells nothing."""
    vmcs, evmcs = (f"{times.ns[mode].value:,.1f}" if times.measurable else "-" for mode in MODES)
    return "ns, measured here", "", vmcs, "", evmcs


def print_interval(times: Times) -> None:
    """How sure the medians are, or why there are none."""
    if times.measurable is False and times.a_a is not None:
        print(f"ns, not measurable here now: a mode against itself gives {times.a_a.value:.2f} "
              f"[{times.a_a.low:.2f}, {times.a_a.high:.2f}] times its time")
    elif times.measurable:
        vmcs, evmcs = (times.ns[mode] for mode in MODES)
        print(f"ns, 95 % interval: VMCS {vmcs.low:,.1f} to {vmcs.high:,.1f}, "
              f"eVMCS {evmcs.low:,.1f} to {evmcs.high:,.1f}; {times.rounds} rounds in turns")


def print_gap(modes: Mapping[str, Figures], times: Times) -> None:
    """By trap: what lies between the modes, in traps and in time."""
    vmcs, evmcs = (modes[mode] for mode in MODES)
    gap = {name: count - evmcs["traps_per_exit"][name]
           for name, count in vmcs["traps_per_exit"].items()
           if count != evmcs["traps_per_exit"][name]}
    traps = sum(gap.values())
    if not traps:
        return
    parts = " and ".join(f"{text(count)} {name.upper()}" for name, count in gap.items())
    said = f"\nThe gap is {text(traps)} traps an exit: {parts}"
    if times.measurable:
        slow, fast = (times.ns[mode].value for mode in MODES)
        said += (f", {text((slow - fast) / traps)} ns each; "
                 f"eVMCS is {slow / fast:.2f} times as fast")
    print(f"{said}.")


def instructions(modes: Mapping[str, Figures]) -> list[str]:
    """The instructions that either mode executed, in L0's order."""
    return [
        name for name in modes["vmcs"]["instructions"]
        if name not in NOT_INSTRUCTIONS
        and any(mode["instructions"][name] for mode in modes.values())
    ]


def text(value: float | str) -> str:
    """A number as a reader wants it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 1000:
        return f"{round(value):,}"
    return f"{value:,.3g}"
