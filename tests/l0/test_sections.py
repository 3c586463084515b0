# SPDX-License-Identifier: GPL-2.0-only
"""The section of the SDM that a check of VM entry names is the one that is about its field.

By the manual's order of chapter "VM entries", 27 since the editions of 2023 and 26 before: 2.1 the
controls (execution, exit, entry), 2.2 to 2.4 the host, 3.1 the guest, 4 the list of MSRs.
"""

import re

import pytest
from world import FIELDS

from kvm_vmx.machine.checks import checks

ROWS = [row for row in checks() if row["section"][0].isdigit()]
# Of 27.3.1, the first that a guest field's name begins with; other guest fields are of 27.3.1.1.
GUEST = (("GUEST_[GI]DTR", 3), ("GUEST_RIP|GUEST_RFLAGS", 4), ("GUEST_PDPTR", 6),
         ("GUEST_(ACTIVITY|INTERRUPTIBILITY|PENDING_DBG)|VMCS_LINK", 5),
         ("GUEST_([CSDEFG]S|TR|LDTR)_", 2))
CONTROL, GUEST_STATE, HOST_STATE = 0, 2, 3


def area(field):
    """What a field is of, by the bits of its encoding (SDM, appendix B)."""
    return FIELDS[field] >> 10 & 3


def expected(row):
    field, other, ends = row["field"], row["other"], row["ends"]
    if ends.startswith("exit 34"):
        return "27.4"
    if ends == "exit 33, qualification 2":
        return "27.3.1.6"
    if ends == "VMfailValid 8":
        # what depends on the size of the address space
        wide = other == "VM_EXIT_CONTROLS" and field != "HOST_IA32_EFER"
        if area(field) == CONTROL or field == "HOST_RIP" or wide:
            return "27.2.4"
        segment = re.match(r"HOST_([CSDEFG]S|TR|GDTR|IDTR)_", field)
        return "27.2.3" if segment else "27.2.2"
    if ends == "VMfailValid 7":
        # what posted interrupts need stands with the execution controls
        if "PIN_BASED_VM_EXEC_CONTROL" in (field, other) and row["id"].startswith("posted"):
            return "27.2.1.1"
        return ("27.2.1.2" if field.startswith("VM_EXIT_") else
                "27.2.1.3" if field.startswith("VM_ENTRY_") else "27.2.1.1")
    assert ends.startswith("exit 33") and area(field) == GUEST_STATE
    return f"27.3.1.{next((n for name, n in GUEST if re.match(name, field)), 1)}"


@pytest.mark.parametrize("ends", sorted({row["ends"] for row in ROWS}))
def test_a_check_names_the_section_of_its_field(ends):
    rows = [row for row in ROWS if row["ends"] == ends]
    assert {row["id"]: row["section"] for row in rows} == {
        row["id"]: expected(row) for row in rows}
