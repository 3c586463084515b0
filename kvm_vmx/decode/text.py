# SPDX-License-Identifier: GPL-2.0-only
"""A decoded VMCS, and the difference of two, as lines of text."""

from collections.abc import Iterator

from kvm_vmx import streams
from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.decode.difference import Difference
from kvm_vmx.decode.layouts import width
from kvm_vmx.decode.judge import ROWS
from kvm_vmx.decode.result import OF_LINES, TITLES, State, bits_of, ends, wrong_bits
from kvm_vmx.errors import counted

WIDE = 34
MOST_NAMED = 6


def heading(state: State) -> str:
    """Where it comes from and what it is."""
    where = streams.plain(state.source)
    if state.at is not None:
        where += f", line {state.at}" if state.form in OF_LINES else f", offset {state.at:#x}"
    what = TITLES[state.form]
    if "revision_id" in state.others:
        what += f", revision {state.others['revision_id']:#x}"
    return f"{where}: {what}"


def number(name: str, value: int) -> str:
    """A field's value, as wide as the field is."""
    return f"{value:#0{2 * width(name) + 2}x}"


def value_of(name: str, value: int) -> str:
    """A field's value, with what its number means."""
    text = number(name, value)
    if name == "VM_EXIT_REASON":
        reason = ExitReason.of(value & 0xFFFF)
        failed = ", the entry failed" if value >> 31 else ""
        text += f"  {getattr(reason, 'name', 'no reason of the manual')}{failed}"
    return text


def of_state(state: State) -> Iterator[str]:
    """All of it: what L0 says, fields by area, controls by name, clean bits."""
    yield heading(state)
    for note in state.notes:
        yield f"  note: {streams.plain(note)}"
    yield from verdict(state)
    for name, names in state.by_area().items():
        yield ""
        yield name
        for field in names:
            yield from _field(state, field)
    if state.others:
        yield ""
        yield "beside the fields"
        for name, value in state.others.items():
            yield f"  {name:{WIDE}} {value:#x}"
    if state.groups:
        yield ""
        yield from _groups(state)


def _field(state: State, field: str) -> Iterator[str]:
    value = state.fields[field]
    group = state.group(field)
    line = f"  {field:{WIDE}} {value_of(field, value)}"
    if group:
        line = f"{line:60} {', '.join(filter(None, (group, state.clean(field))))}"
    yield line
    bits = bits_of(field, value)
    for n in range(0, len(bits), 3):
        yield f"      {', '.join(bits[n:n + 3])}"


def _groups(state: State) -> Iterator[str]:
    yield f"clean bits, {state.clean_fields:#x}"
    for word in (True, False):
        names = [name for name, clean in state.groups.items() if clean == word]
        if names:
            yield f"  {'clean' if word else 'dirty'}: {', '.join(names)}"
    reserved = (state.clean_fields or 0) >> 16
    if reserved:
        yield f"  bits 31:16 are reserved, and are {reserved:#x}"


def verdict(state: State) -> Iterator[str]:
    """What L0 would say to an entry with it: the first refusal first."""
    if state.form == "assist":
        yield from _assist(state)
        return
    yield f"the checks of VM entry, asked of {state.against}:"
    if not state.refusals:
        yield f"  no check refuses {'what is known of it' if state.missing else 'it'}"
    for n, refusal in enumerate(state.refusals):
        yield f"  {'refused' if n == 0 else 'and then'} by {refusal.id} ({ends(refusal.id)})"
        yield f"    {refusal}"
        wrong = wrong_bits(refusal)
        if len(wrong) > 1:
            yield f"    the wrong bits: {', '.join(wrong)}"
    for lint in state.lints:
        yield f"  noticed: {lint.explain()}"
    if state.missing:
        named = ", ".join(state.missing[:MOST_NAMED])
        more = f" and {len(state.missing) - MOST_NAMED} more" \
            if len(state.missing) > MOST_NAMED else ""
        verb = "is" if len(state.missing) == 1 else "are"
        yield (f"  {counted(len(state.missing), 'field')} that checks look at {verb} not known "
               f"({named}{more}): what only they decide is not asked")
    if state.unasked:
        yield "  not asked, for the memory is not here (--memory gives it):"
        yield from (f"    {_would_look(state, check)}" for check in state.unasked)


def _would_look(state: State, check: str) -> str:
    """What a check that could not be asked would decide by, and how the entry would end."""
    row = ROWS[check]
    known = ", ".join(f"{name} is {number(name, state.fields[name])}"
                      for name in (row["field"], row["other"]) if name in state.fields)
    return f"{check} ({ends(check)}): {known}: what stands there decides (SDM 3C " \
        f"{row['section']})"


def _assist(state: State) -> Iterator[str]:
    pointer = state.others["current_nested_vmcs"]
    if not state.others["enlighten_vmentry"]:
        yield "an entry is with a plain VMCS: enlighten_vmentry is 0"
    elif pointer >= (1 << 64) - 2:
        yield f"an entry has no eVMCS: current_nested_vmcs is {pointer:#x}, which means none"
    else:
        yield f"an entry is with the eVMCS at {pointer:#x}"


def summary(state: State) -> str:
    """A line for one of many."""
    said = f"refused by {state.refusals[0].id}: {state.refusals[0]}" if state.refusals \
        else "no check refuses it"
    notes = "".join(f"; {note}" for note in state.notes if "search" in note)
    return f"{heading(state)}: {said}{notes}"


def of_difference(found: Difference) -> Iterator[str]:
    """Field by field what differs, with the clean bit that governs it."""
    yield f"A: {heading(found.before)}"
    yield f"B: {heading(found.after)}"
    if not found.rows:
        yield "no field that both have differs"
    last = ""
    for row in found.rows:
        if row.area != last:
            yield f"\n{row.area}"
            last = row.area
        line = (f"  {row.name:{WIDE}} {number(row.name, row.before)} -> "
                f"{number(row.name, row.after)}")
        yield line + "  " * bool(row.group) + ", ".join(filter(None, (row.group, row.clean)))
        for sign, names in (("+", row.set), ("-", row.cleared)):
            if names:
                yield f"      {sign} {', '.join(names)}"
    for name, before, after in found.others:
        yield f"  {name:{WIDE}} {before:#x} -> {after:#x}"
    for which, names in (("A", found.only_before), ("B", found.only_after)):
        if names:
            yield f"only in {which}: {', '.join(names)}"
    if found.stale:
        yield ("changed while the clean bit stayed set, so that an L0 may go on with the old "
               f"value: {', '.join(found.stale)}")
