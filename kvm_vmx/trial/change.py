# SPDX-License-Identifier: GPL-2.0-only
"""What a patch changes in behaviour: the same kernel as built before and with it, side by side."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from kvm_vmx.kernel import executed
from kvm_vmx.trial.observed import MODES, Seen, exits_of

# What an oracle objects to, in the order in which it is told.
KINDS = {
    "ends": "a scenario that does not end well",
    "lint": "what L0 noticed and let pass",
    "refused": "a check that refused an instruction",
    "warning": "a warning of the kernel",
    "leak": "what stays after the module is unloaded",
    "failure": "what a step that fails leads to",
    "modes": "plain and enlightened, the guest exits differently",
}
PLACE = re.compile(r"(?<=\w)(?:\.\w+)*\+0x[0-9a-f]+|(?<=at line )\d+")


@dataclasses.dataclass(frozen=True)
class Objection:
    """One thing that an oracle objects to: where first, and in how many scenarios."""

    kind: str
    what: str
    where: str
    count: int


class Cost(NamedTuple):
    """What the patch makes of one figure of an exit."""

    mode: str
    instruction: str
    before: float
    after: float


class TraceChange(NamedTuple):
    """How a scenario's trace changes: the first place, what stands there, and how much is other."""

    scenario: str
    at: int
    before: str
    after: str
    gone: int
    new: int


class Change(NamedTuple):
    """All that a patch changes."""

    costs: list[Cost]
    gone: list[Objection]
    new: list[Objection]
    kept: list[Objection]
    traces: list[TraceChange]
    scenarios: int


def _of_scenario(seen: Seen) -> Iterator[tuple[str, str]]:
    """(kind, what) of all that is objected to in one scenario."""
    if seen["ends"]:
        yield "ends", seen["ends"]
    for name, field, explained in seen["lints"]:
        # the numbers of an entry are no part of what a lint is about
        yield "lint", f"{name}: {explained.partition('; ')[0].partition(' is 0x')[0]}"
    for name in seen["refused"]:
        yield "refused", name
    for line in seen["warnings"]:
        yield "warning", line
    if seen["left"]:
        yield "leak", f"{seen['left']} left by each round"


def findings(seen: Seen) -> dict[tuple[str, str], Objection]:
    """What the oracles object to, by kind and what, without addresses in the code."""
    found: dict[tuple[str, str], Objection] = {}

    def note(kind: str, what: str, where: str, count: int = 1) -> None:
        key = kind, PLACE.sub("", what)
        before = found.get(key, Objection(*key, where, 0))
        found[key] = dataclasses.replace(before, count=before.count + count)

    for where, scenario in seen["scenarios"].items():
        for kind, what in _of_scenario(scenario):
            note(kind, what, where)
    for mode, counts in seen["failures"].items():
        for what, count in counts.items():
            note("failure", what, f"a load that fails, {mode}", count)
    for name in dict.fromkeys(key.rpartition(", ")[0] for key in seen["scenarios"]):
        traces = [exits_of(seen["scenarios"].get(f"{name}, {mode}", {"steps": []})["steps"])
                  for mode in MODES]
        if traces[0] != traces[1]:
            note("modes", f"{name}: {len(traces[0])} exits by VMCS, {len(traces[1])} by eVMCS",
                 name)
    return found


def _costs(before: Seen, after: Seen) -> list[Cost]:
    return [Cost(mode, name, figure, after["an exit"][mode].get(name, 0))
            for mode in MODES for name, figure in before["an exit"][mode].items()]


def _traces(before: Seen, after: Seen) -> Iterator[TraceChange]:
    """The first difference of each scenario's traces."""
    for name, scenario in before["scenarios"].items():
        ours, theirs = scenario["steps"], after["scenarios"].get(name, {"steps": ()})["steps"]
        if ours == theirs:
            continue
        first = next((n for n, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]),
                     min(len(ours), len(theirs)))
        gone = new = 0
        for kind, old, others in executed.align(list(ours), list(theirs)):
            if kind != "equal":
                gone, new = gone + len(old), new + len(others)
        was, now = (executed.told(steps[first]) if first < len(steps) else "the end"
                    for steps in (ours, theirs))
        yield TraceChange(name, first, was, now, gone, new)


def change(before: Seen, after: Seen) -> Change:
    """What of two observations is other."""
    was, now = findings(before), findings(after)
    order = list(KINDS)

    def told(keys: Any, of: dict[tuple[str, str], Objection]) -> list[Objection]:
        return sorted((of[key] for key in keys), key=lambda one: (order.index(one.kind), one.what))

    return Change(_costs(before, after), told(was.keys() - now.keys(), was),
                  told(now.keys() - was.keys(), now), told(was.keys() & now.keys(), now),
                  list(_traces(before, after)), len(before["scenarios"]))
