# SPDX-License-Identifier: GPL-2.0-only
"""The groups that a check's row states are those it depends on, and L0's come from the rows."""

import copy
import itertools
import sys

import pytest
from test_entry_vectors import LATER
from test_every_check import STATE
from test_named_checks import E, N, P, secondary
from world import BASE, FIELDS, REVISION, ROOT, TABLE, World, config_a_msrs

from kvm_vmx.machine.checks import checks
from kvm_vmx.machine.fields import other_members

sys.path.insert(0, str(ROOT / "dev"))
import checks as printer  # noqa: E402  # of dev/

ROWS = {row["id"]: row for row in checks()}
GROUPED = {encoding: group for encoding, _, group in TABLE if group not in ("ALL", "NONE")}
# As it counts for the checks: what no group has with CONTROL_GRP1, and later members.
COUNTED = {encoding: group for encoding, _, group in TABLE if group != "NONE"}
COUNTED |= {name: row["clean_field"] for name, row in other_members().items() if name in LATER}
COUNTED = {name: "CONTROL_GRP1" if group == "ALL" else group for name, group in COUNTED.items()}
LEAVES = {0xA: (4 << 8, 0, 0, 3)}
# One of so many checks in a run; all with --soak.
SHARE = 12
# A list of MSRs is in memory, and no refusal of the fields.
IDS = [id for id in ROWS if id in STATE and not ROWS[id]["ends"].startswith("exit 34")]
WORDS = ("PIN_BASED_VM_EXEC_CONTROL", "CPU_BASED_VM_EXEC_CONTROL", "SECONDARY_VM_EXEC_CONTROL",
         "VM_EXIT_CONTROLS", "VM_ENTRY_CONTROLS")

# Where no change of one field does: what makes the check refuse, and the change of one group that
# ends it. The secondary controls count where bit 31 of the primary ones is 1.
OFF, ON = {"CPU_BASED_VM_EXEC_CONTROL": P & ~(1 << 31)}, {"CPU_BASED_VM_EXEC_CONTROL": P | 1 << 31}
TPR_OFF, TPR_ON = ({name: value | 1 << 21 for name, value in one.items()} for one in (OFF, ON))
REAL = {"GUEST_CR0": 0x20}
FAULT = {"VM_ENTRY_INTR_INFO_FIELD": 0x8000030E}
TYPE_3 = {"GUEST_CS_AR_BYTES": 0xA093}
UNRESTRICTED = {"CONTROL_PROC": ({**secondary(0x82), **OFF}, ON)}
SHOWN = {
    "tpr_above_priority": {"CONTROL_GRP2": ({}, {"VIRTUAL_APIC_PAGE_ADDR": 0xD000})},
    "posted_without_virtual": {"CONTROL_PROC": (
        {**secondary(1 << 9), **TPR_OFF, "PIN_BASED_VM_EXEC_CONTROL": N | 0x81}, TPR_ON)},
    "ept_walk": {"CONTROL_XLAT": ({}, {"EPT_POINTER": 0x101E})},
    "event_error_code": {
        "CRDR": ({**secondary(0x82), **FAULT}, REAL),
        "CONTROL_GRP1": ({**secondary(2), **FAULT, **REAL}, {"SECONDARY_VM_EXEC_CONTROL": 0x82}),
        "CONTROL_PROC": ({**secondary(0x82), **FAULT, **REAL, **OFF}, ON)},
    "guest_cr0": {"CONTROL_PROC": ({**secondary(0x82), **REAL, **OFF}, ON)},
    "tr_type": {"CONTROL_ENTRY": (
        {"GUEST_TR_AR_BYTES": 0x83}, {"VM_ENTRY_CONTROLS": E & ~0x200})},
    "cs_type": {
        "CONTROL_GRP1": ({**secondary(2), **TYPE_3}, {"SECONDARY_VM_EXEC_CONTROL": 0x82}),
        "CONTROL_PROC": ({**secondary(0x82), **TYPE_3, **OFF}, ON)},
    "ss_requested": UNRESTRICTED,
    "ss_privilege": {**UNRESTRICTED, "GUEST_GRP2": (
        {}, {"GUEST_SS_SELECTOR": 0x10, "GUEST_CS_SELECTOR": 8})},
    "ss_real": {"CRDR": ({**REAL, "GUEST_CS_AR_BYTES": 0xA09B}, {"GUEST_CR0": 0x21})},
    **{f"{reg}_privilege": UNRESTRICTED for reg in ("es", "ds", "fs", "gs")},
    "guest_rip_high": {"CONTROL_ENTRY": (
        {"VM_ENTRY_CONTROLS": E & ~0x200, "GUEST_CS_AR_BYTES": 0xA09B}, {"VM_ENTRY_CONTROLS": E})},
    "guest_rflags_vm": {"CRDR": (
        {"VM_ENTRY_CONTROLS": E & ~0x200, "GUEST_RFLAGS": 0x20002, **REAL}, {"GUEST_CR0": 0x21})},
    # the link pointer of a processor that shadows leads to a shadow VMCS
    "link_revision": {
        "CONTROL_GRP1": (secondary(0), {"SECONDARY_VM_EXEC_CONTROL": 1 << 14}),
        "CONTROL_PROC": ({**secondary(1 << 14), **OFF}, ON)},
    "pdptes_missing": {"CONTROL_PROC": ({**secondary(2), **OFF}, ON)},
}


PARTS = printer.parts(printer.rows())
BEFORE = {row["id"]: {one["id"] for one in part[:n]}
          for part in PARTS.values() for n, row in enumerate(part)}


def refused_world(id, **changes):
    world = World(msrs=config_a_msrs(), cpuid=LEAVES, maxphyaddr=46, unfinished=True)
    world.memory.write(0xD080, b"\xf0")
    world.memory.write(0x9000, (REVISION | 1 << 31).to_bytes(4, "little"))
    world.plain(**{**STATE[id][0], **changes})
    return world.cpu


def ids(cpu):
    return {why.id for why in cpu.refusals()}


def masks(first, id):
    """Does this check end those that have id in them? Of virtual-8086 mode are checks instead."""
    return first in BEFORE.get(id, ()) and (first[:5] != "vm86_" or id[:5] == "vm86_")


def ended(id, before, after):
    """The check refuses no more, and not as another comes before it now."""
    return id not in after and not any(masks(first, id) for first in after - before)


def worth_trying(cpu, field, value, whys, *, pairs=False):
    """Other values of a field: the one of a good state, none, all, what its refusal allows, each
    bit of a word, privilege and type of a segment, base and selector of virtual-8086 mode."""
    width = {0: 16, 2: 32}.get(FIELDS[field] >> 13 & 3, 64)
    bits = range(32) if width < 64 or field in ("GUEST_CR0", "GUEST_CR4", "GUEST_RFLAGS") else ()
    tries = {BASE.get(FIELDS[field], 0), 0, (1 << width) - 1, *(value ^ 1 << bit for bit in bits)}
    tries |= {(value | why.must) & why.may for why in whys if why.field == field}
    if field.endswith("AR_BYTES"):
        tries |= {value & ~0x60, value | 0x60, 0xF3}
    if field.startswith("GUEST_") and field.endswith("_BASE"):
        selector = cpu.vmread(FIELDS.get(field.replace("BASE", "SELECTOR"), 0))
        tries |= {selector.value << 4} if selector.ok else set()
    if pairs and field in WORDS:
        tries |= {value ^ 1 << a ^ 1 << b for a, b in itertools.combinations(range(32), 2)}
    return {one & (1 << width) - 1 for one in tries} - {value}


def depends(id, groups, *, pairs=False):
    """Those of some groups by whose change, of one field, a check that refuses does no more."""
    cpu = refused_world(id)
    whys, found = cpu.refusals(), set()
    before = {why.id for why in whys}
    assert id in before
    for field, group in COUNTED.items():
        if group not in groups - found or not (value := cpu.vmread(FIELDS[field])).ok:
            continue
        for other in worth_trying(cpu, field, value.value, whys, pairs=pairs):
            if not cpu.vmwrite(FIELDS[field], other).ok:
                break
            if ended(id, before, ids(cpu)):
                found.add(group)
                break
        assert cpu.vmwrite(FIELDS[field], value.value).ok
    return found


def shown(id, first, then):
    """The groups of what ends the refusal: the first changes stay."""
    cpu = refused_world(id, **first)
    before = ids(cpu)
    assert id in before
    for field, value in then.items():
        assert cpu.vmwrite(FIELDS[field], value).ok
    assert ended(id, before, ids(cpu))
    return {COUNTED[field] for field in then}


@pytest.mark.parametrize("share", range(SHARE))
def test_a_check_depends_on_the_groups_that_its_row_states_and_no_others(share, soak):
    if share and not soak:
        pytest.skip("the others with --soak")
    for id in IDS[share::SHARE]:
        stated = set(ROWS[id]["groups"])
        found = depends(id, set(COUNTED.values()))
        assert found <= stated, id
        found |= {group for group in SHOWN.get(id, ()) if shown(id, *SHOWN[id][group]) == {group}}
        found |= depends(id, stated - found, pairs=True) if stated - found else set()
        assert found == stated, id


def test_what_shows_a_group_that_no_single_field_shows():
    for id, groups in SHOWN.items():
        for group, changes in groups.items():
            assert shown(id, *changes) == {group} <= set(ROWS[id]["groups"]), (id, group)


def test_what_stands_in_the_tree_is_made_of_the_rows():
    rows = printer.rows()
    path = ROOT / printer.GROUPS
    assert printer.groups_pxd(rows) == path.read_text()
    # a group too many in the last row of any part shows
    for part in printer.parts(rows).values():
        wrong = copy.deepcopy(rows)
        stated = {bit for row in part for bit in range(16) if row["groups"] >> bit & 1}
        last = next(row for row in wrong if row["id"] == part[-1]["id"])
        last["groups"] |= 1 << min(set(range(6)) - stated)
        assert printer.groups_pxd(wrong) != path.read_text(), last["id"]


def test_a_check_states_the_groups_of_its_own_fields():
    for row in ROWS.values():
        own = {GROUPED[name] for name in (row["field"], row["other"]) if name in GROUPED}
        assert own <= set(row["groups"]), row["id"]
