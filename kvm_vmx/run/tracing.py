# SPDX-License-Identifier: GPL-2.0-only
"""The events of a run as a Chrome trace: what L1 executes, L0's work for it, L2 between exits.

The two modes are two processes of the trace, which begin at the same time, so that the gap
between them can be seen. L0's trace has no stamps, and so the time is a clock of instructions.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from kvm_vmx import fields
from kvm_vmx.run.steady_state import MODES, Run
from kvm_vmx.run.serial import Serial
from kvm_vmx.run.walking import Event, Walk
from kvm_vmx.machine.lints import ConformanceError
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.steps import Moment
from kvm_vmx.machine.trace import EXIT_REASONS, TraceRecord

# (what user space asked for, what L1 executed)
Phases: TypeAlias = list[tuple[str, list[TraceRecord]]]
MOST = 1_000        # exits traced in each mode
FEW, MANY = 512, 1 << 16    # instructions kept of a CPU: of all of them, of the one with the guest
CLOCK = ("logical: 1 us is one instruction, of L1 where L0 executes it (a VM entry is two: entry "
         "and exit), or of L2; what L1 does by itself takes no time")
L0, L1 = 1, 2       # the lanes: CPU n of L1 is L1 + n, L2 comes behind them
ENTRIES = {"vmlaunch", "vmresume"}
NAMES = {int(row["encoding"], 16): row["vmcs_field"] for row in fields()}


def recorded(machine: Machine, mode: str, code: bytes, memory: int, exits: int, config: str,
             serial: Serial | None = None) -> Phases:
    """A mode's run in phases, each (what user space asked for, the instructions that L1
    executed); where a strict machine stops, up to there."""
    phases: Phases = []

    @contextlib.contextmanager
    def phase(name: str, size: int = FEW, cpu: int | None = None) -> Iterator[None]:
        seen = max((records[-1].sequence for _, records in phases if records), default=-1)
        machine.start_trace(size, cpu)
        try:
            yield
        finally:
            machine.stop_trace()
            phases.append((name, [one for one in machine.trace if one.sequence > seen]))

    with contextlib.suppress(ConformanceError):
        with phase("load kvm-intel"):
            kvm = machine.insmod(enlightened_vmcs=mode == "evmcs", config=config)
        with phase("create VM and vCPU"):
            vcpu = kvm.create_vm(code=code, memory=memory).create_vcpu(cpu=0)
        with phase("run", MANY, cpu=0):
            Run(vcpu, serial=serial).stretch(exits)
        with phase("unload kvm-intel"):
            kvm.rmmod()
    return phases


def write_up(runs: dict[str, Phases], cpus: int, wanted: int,
             walks: dict[str, list[Moment]] | None = None) -> dict[str, Any]:
    """The trace: {mode: phases} as the JSON object that Perfetto and chrome://tracing open; walks
    are the exits of each mode that were followed step by step, in processes of their own."""
    about: list[Event] = []
    events: list[Event] = []
    lost = flow = 0
    for process, (mode, phases) in enumerate(runs.items(), 1):
        seen = sorted({record.cpu for _, records in phases for record in records})
        about += names(process, MODES[mode], seen, cpus)
        slices, gaps = drawn(process, phases, cpus)
        events += slices
        lost += gaps
    for process, (mode, moments) in enumerate((walks or {}).items(), len(runs) + 1):
        if moments:
            made = Walk(process, f"{MODES[mode]}, step by step", flow)
            events += made.draw(moments)
            about, flow = about + made.names, made.flow
    return {
        "traceEvents": about + sorted(events, key=lambda event: event["ts"]),
        "displayTimeUnit": "ms",
        "otherData": {"schema": "kvm_vmx.trace/1", "clock": CLOCK, "exits_asked_for": wanted,
                      "most_exits_a_mode": MOST, "instructions_lost": lost},
    }


def names(process: int, mode: str, seen: list[int], cpus: int) -> list[Event]:
    """What the lanes are called, in their order from the top."""
    lanes = {0: "user space", L0: "L0 (Hyper-V)",
             **{L1 + cpu: f"L1 CPU {cpu}" for cpu in seen}, L1 + cpus: "L2 (the guest)"}
    found = [{"ph": "M", "pid": process, "name": "process_name", "args": {"name": mode}},
             {"ph": "M", "pid": process, "name": "process_sort_index",
              "args": {"sort_index": process}}]
    for lane, name in lanes.items():
        for what, value in (("thread_name", {"name": name}),
                            ("thread_sort_index", {"sort_index": lane})):
            found.append({"ph": "M", "pid": process, "tid": lane, "name": what, "args": value})
    return found


def drawn(process: int, phases: Phases, cpus: int) -> tuple[list[Event], int]:
    """A mode's slices and its counter, the outer before the inner; and how many instructions are
    missing because the trace's ring was full."""
    events: list[Event] = []
    now = lost = 0
    before: int | None = None

    def add(lane: int, name: str, start: int, length: int, **about: object) -> None:
        events.append({"ph": "X", "pid": process, "tid": lane, "name": name, "ts": start,
                       "dur": length, **({"args": about} if about else {})})

    for phase, records in phases:
        start, at = now, len(events)
        for record in records:
            if before is not None:
                lost += record.sequence - before - 1
            before = record.sequence
            name, about = title(record), details(record)
            if record.instruction in ENTRIES and record.outcome.ok:
                inside = record.l2_instructions
                why = reason(record.results[0])
                add(L1 + record.cpu, name, now, inside + 2, **about)
                add(L0, "VM entry", now, 1, groups_reread=record.groups_reread,
                    bytes_reread=record.bytes_reread)
                events.append({"ph": "C", "pid": process, "name": "bytes read again", "ts": now,
                               "args": {"bytes": record.bytes_reread}})
                if inside:
                    add(L1 + cpus, f"until {why}", now + 1, inside, instructions=inside)
                add(L0, f"VM exit: {why}", now + 1 + inside, 1)
                now += inside + 2
            else:
                add(L1 + record.cpu, name, now, 1, **about)
                add(L0, name, now, 1)
                now += 1
        events.insert(at, {"ph": "X", "pid": process, "tid": 0, "name": phase, "ts": start,
                           "dur": now - start, "args": {"instructions": len(records)}})
    return events, lost


def title(record: TraceRecord) -> str:
    """An instruction with the field or the register that it is about."""
    name, operands = record.instruction.upper(), record.operands
    if record.instruction in ("vmread", "vmwrite"):
        return f"{name} {NAMES.get(operands[0], hex(operands[0]))}"
    if record.instruction in ("rdmsr", "wrmsr", "cpuid"):
        return f"{name} {operands[0]:#x}"
    return name.replace("MOV_TO_CR", f"MOV to CR{operands[0]}") if operands else name


def details(record: TraceRecord) -> dict[str, Any]:
    """Operands, results and outcome, as text: a number of 64 bits is more than JSON holds."""
    about: dict[str, Any] = {"sequence": record.sequence}
    if record.operands:
        about["operands"] = ", ".join(map(hex, record.operands))
    if record.results:
        about["results"] = ", ".join(map(hex, record.results))
    if not record.outcome.ok:
        about["outcome"] = str(record).rpartition(": ")[2]
    return about


def reason(number: int) -> str:
    """A VM-exit reason by name; bit 31 says that the entry failed."""
    basic = EXIT_REASONS.get(number & 0xFFFF, f"reason {number & 0xFFFF}")
    return f"{basic}, entry failed" if number >> 31 else basic


def as_text(trace: dict[str, Any]) -> str:
    """The trace as JSON, an event a line."""
    events = ",\n".join(json.dumps(event, separators=(",", ":"))
                        for event in trace["traceEvents"])
    rest = json.dumps({key: value for key, value in trace.items() if key != "traceEvents"})
    return f'{{"traceEvents":[\n{events}\n],\n{rest[1:]}\n'


def traced_exits(runs: dict[str, Phases]) -> int:
    """The most exits that a mode's trace holds."""
    return max(sum(record.instruction in ENTRIES for record in itertools.chain.from_iterable(
        records for _, records in phases)) for phases in runs.values())
