# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `vmcs`: what its mistakes lead to, by the area that the SDM gives each field."""

import pytest

from kvm_vmx.lessons import vmcs

CONTROL_ERROR, HOST_ERROR, INVALID_GUEST_STATE = 7, 8, 0x80000021


def expected(field, given):
    """SDM volume 3C, 27.2 and 27.3: controls, then the host's state, then the guest's."""
    if field.startswith("HOST_"):
        return HOST_ERROR, 0
    if field == "VM_EXIT_CONTROLS" and given[field]:
        return HOST_ERROR, 0            # the bits are good: a 64-bit host cannot return in 32 bits
    if field.startswith("GUEST_") or field == "VMCS_LINK_POINTER":
        return 0, INVALID_GUEST_STATE
    return CONTROL_ERROR, 0


@pytest.mark.soak
def test_a_mistake_leads_where_its_area_says(soak):
    seen = set()
    for seed in range(1000 if soak else 60):
        record = vmcs.run(seed)
        field, error, reason = record.values.values()
        assert (error, reason) == expected(field, record.given["fields"]), (seed, field)
        seen.add((field, error))
    assert len(seen) > (24 if soak else 15)


def test_the_value_that_mends_it_is_told_and_enters():
    for seed in range(20):
        record = vmcs.run(seed)
        assert f"{record.values['field']} = 0x" in record.answer[2]
        assert record.answer[2].endswith("exit reason 12.")


def test_the_table_has_all_that_was_written_and_does_not_tell_the_mistake():
    record = vmcs.run(4)
    rows = record.picture.steps[-1].rows
    assert {row[0].text: int(row[2].text, 16) for row in rows} == record.given["fields"]
    assert {cell.kind for row in rows for cell in row} <= {"", "hot"}
    (told,) = [row for row in record.solved.steps[-1].rows if row[2].kind == "bad"]
    assert told[0].text == record.values["field"]
