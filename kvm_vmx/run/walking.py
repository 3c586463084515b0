# SPDX-License-Identifier: GPL-2.0-only
"""A few exits step by step in a trace: KVM's functions, each access with L0's work for it, and the
loads and stores of an eVMCS, which cause none.
"""

from typing import Any, TypeAlias

from kvm_vmx.machine import steps
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.steps import Moment

EXITS = 10      # followed in each mode
BEFORE = 3      # until nothing is new
# as the trace has it
Event: TypeAlias = dict[str, Any]
TRAPPED = ("vmread", "vmwrite")


def followed(machine: Machine, mode: str, code: bytes, memory: int, exits: int,
             config: str) -> list[Moment]:
    """What KVM does from an entry on, for so many exits or as long as the guest runs; nothing
    where no thread can be stepped. The machine's instructions trap."""
    if steps.can_step():
        return []
    kvm = machine.insmod(enlightened_vmcs=mode == "evmcs", config=config)
    vcpu = kvm.create_vm(code=code, memory=memory).create_vcpu(cpu=0)
    if vcpu.run(exits=min(BEFORE, exits)).reason != "INTR":
        return []
    with steps.filmed(machine, vcpu.vmcs_gpa if mode == "evmcs" else None) as film:
        vcpu.run(exits=min(exits, EXITS))
    entries = [n for n, moment in enumerate(film.moments) if moment.kind == "vmresume"]
    return film.moments[entries[0]:entries[-1] + 1] if film.complete and entries else []


LANES = ("KVM's functions", "L0 (Hyper-V)", "L1 CPU 0", "loads and stores of the eVMCS",
         "L2 (the guest)")
FUNCTIONS, L0, L1, PAGE, L2 = range(len(LANES))


class Walk:
    """The events of such moments as a process of a trace, with the names of its lanes; now is
    where they end, flow the number of the last arrow."""

    def __init__(self, process: int, title: str, flow: int):
        self.process, self.now, self.flow = process, 0, flow
        self.events: list[Event] = []
        self.names: list[Event] = [
            {"ph": "M", "pid": process, "name": "process_name", "args": {"name": title}},
            {"ph": "M", "pid": process, "name": "process_sort_index",
             "args": {"sort_index": process}}]
        for lane, name in enumerate(LANES):
            for what, value in (("thread_name", {"name": name}),
                                ("thread_sort_index", {"sort_index": lane})):
                self.names.append({"ph": "M", "pid": process, "tid": lane, "name": what,
                                   "args": value})

    def slice(self, lane: int, name: str, length: int, start: int | None = None) -> Event:
        """Something that takes time."""
        event = {"ph": "X", "pid": self.process, "tid": lane, "name": name,
                 "ts": self.now if start is None else start, "dur": length}
        self.events.append(event)
        return event

    def arrow(self, name: str) -> None:
        """From what L1 does now to L0's work for it."""
        self.flow += 1
        for phase, lane in (("s", L1), ("f", L0)):
            self.events.append({
                "ph": phase, "pid": self.process, "tid": lane, "name": name,
                "cat": "trap", "id": self.flow, "ts": self.now,
                **({"bp": "e"} if phase == "f" else {})})

    def draw(self, moments: list[Moment]) -> list[Event]:
        """All of them; a function lasts until the next one."""
        function: Event | None = None
        for moment in moments:
            if function is None or moment.function != function["name"]:
                function = self.slice(FUNCTIONS, moment.function or "vmx_vcpu_run", 0)
            name = f"{moment.kind.upper()} {moment.what}".strip()
            before = self.now
            if moment.kind in TRAPPED:
                self.slice(L1, name, 1)
                self.slice(L0, name, 1)
                self.arrow(name)
                self.now += 1
            elif moment.kind in ("vmresume", "vmlaunch"):
                self.slice(L1, name, 3)
                self.slice(L0, "VM entry", 1)
                self.arrow(name)
                self.slice(L2, "until its exit", 1, self.now + 1)
                self.slice(L0, "VM exit", 1, self.now + 2)
                self.now += 3
            elif moment.kind in ("load", "store"):
                self.slice(PAGE, f"{moment.kind} {moment.what}", 1)
                self.now += 1
            else:
                self.now += 1
            function["dur"] += self.now - before
        return self.events
