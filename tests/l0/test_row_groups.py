# SPDX-License-Identifier: GPL-2.0-only
"""The groups that a check's row states are those it depends on, and L0's come from the rows."""

import copy
import sys

import pytest
from test_every_check import STATE
from world import BASE, FIELDS, ROOT, TABLE, World, config_a_msrs

from kvm_vmx.machine.checks import checks

sys.path.insert(0, str(ROOT / "dev"))
ROWS = {row["id"]: row for row in checks()}
GROUPED = {encoding: group for encoding, _, group in TABLE if group not in ("ALL", "NONE")}
LEAVES = {0xA: (4 << 8, 0, 0, 3)}
# One of so many checks in a run; all with --soak.
SHARE = 12
# A list of MSRs is in memory, and no refusal of the fields.
IDS = [id for id in ROWS if id in STATE and not ROWS[id]["ends"].startswith("exit 34")]


def worth_trying(field, value):
    """Other values of a field: the one of a good state, none, all, and each bit of a word."""
    width = {0: 16, 2: 32}.get(FIELDS[field] >> 13 & 3, 64)
    bits = range(32) if width < 64 or field in ("GUEST_CR0", "GUEST_CR4", "GUEST_RFLAGS") else ()
    tries = {BASE.get(FIELDS[field], 0), 0, (1 << width) - 1, *(value ^ 1 << bit for bit in bits)}
    return {one & (1 << width) - 1 for one in tries} - {value}


def depends(id):
    """The groups of fields by whose change alone a VMCS that the check refuses is one that neither
    it nor another does, or one fewer of them."""
    world = World(msrs=config_a_msrs(), cpuid=LEAVES, maxphyaddr=46, unfinished=True)
    world.plain(**STATE[id][0])
    cpu, found = world.cpu, set()
    before = {why.id for why in cpu.refusals()}
    assert id in before
    for field, group in GROUPED.items():
        if group in found or not (value := cpu.vmread(FIELDS[field])).ok:
            continue
        for other in worth_trying(field, value.value):
            if not cpu.vmwrite(FIELDS[field], other).ok:
                break
            after = {why.id for why in cpu.refusals()}
            if id not in after and not after - before:
                found.add(group)
                break
        cpu.vmwrite(FIELDS[field], value.value)
    return found


@pytest.mark.parametrize("share", range(SHARE))
def test_a_check_depends_on_no_group_that_its_row_does_not_state(share, soak):
    if share and not soak:
        pytest.skip("the others with --soak")
    for id in IDS[share::SHARE]:
        assert depends(id) <= set(ROWS[id]["groups"]), id


def test_what_stands_in_the_tree_is_made_of_the_rows():
    import checks as printer

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
