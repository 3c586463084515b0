# SPDX-License-Identifier: GPL-2.0-only
"""What is said to refuse a VMCS is what L0 refuses, and of what is not known nothing is said."""

import random

import pytest
from test_entry_vectors import fields_of, has_members, is_covered
from test_named_checks import COUNTERS, STATES, why_enlightened, why_plain, world
from world import BASE, DATA, EVMCS, FIELDS, config_a_msrs

from kvm_vmx import decode
from kvm_vmx.decode.judge import IN_MEMORY, NAMES

CPUID = {**COUNTERS, 0x4000000A: (0x2A0101, 1, 0, 0)}
CONFIG = {"profile": "tlfs-strict", "cpuid": CPUID, "msrs": config_a_msrs()}
# of the processor, not of the VMCS
NOT_SEEN = {"host_address_space", "host_guest_wider"}
AT_ENTRY = {"item_missing", "item_reserved", "item_value", "item_too_many", "item_forbidden",
            "item_segment_base"}


@pytest.fixture(scope="module")
def hardware():
    return world(cpuid=CPUID, profile="tlfs-strict")


@pytest.fixture(scope="module")
def enlightened():
    return world(cpuid=CPUID, profile="tlfs-strict")


def whole(fields):
    """A state in which every field is known."""
    base = {name: BASE.get(number, 0) for name, number in FIELDS.items() if name in NAMES}
    return {**dict.fromkeys(NAMES, 0), **base,
            **{name: value for name, value in fields.items() if name in NAMES}}


def seen(why):
    """What a VMCS without memory can show of an entry's answer."""
    return why is not None and why.id not in IN_MEMORY | AT_ENTRY | NOT_SEEN


@pytest.mark.soak
@pytest.mark.parametrize("case", DATA["cases"])
def test_every_vector_as_fields_and_as_a_page(hardware, enlightened, case, soak):
    """Every eighth of each kind; all in a soak."""
    for base, changes, expected, label in DATA["cases"][case][::1 if soak else 8]:
        fields = fields_of(base, changes)
        why = why_plain(hardware, fields)
        found = decode(whole(fields), **CONFIG)
        assert found.missing == ()
        if seen(why):
            assert found.why == why, label
        elif why is None:
            assert found.refusals == (), label
        if has_members((base, changes)) and is_covered(base, changes):
            why = why_enlightened(enlightened, fields)
            if why is not None and seen(why):
                # the bytes that the entry was tried with; it has told its clean bits
                page = enlightened.memory.read(EVMCS, 4096)
                assert decode(page, form="evmcs", **CONFIG).why == why, label


def names_of(found):
    return {one.id for one in found.refusals}


@pytest.mark.parametrize("id", STATES)
def test_less_knowledge_never_says_more(id):
    """Leave out any fields: what still refuses, refuses the whole state, too."""
    fields = whole(STATES[id])
    told = names_of(decode(fields, **CONFIG))
    assert id in told | IN_MEMORY | AT_ENTRY | NOT_SEEN
    chosen = random.Random(id)
    for share in (0.1, 0.5, 0.9):
        known = {name: value for name, value in fields.items() if chosen.random() < share}
        found = decode(known, **CONFIG)
        assert names_of(found) <= told, share
        assert not {one.field for one in found.refusals} - known.keys()


def test_a_refusal_needs_no_more_than_its_fields():
    """The two fields of a rule are enough to see it broken."""
    assert names_of(decode({"GUEST_RFLAGS": 2, "VM_ENTRY_INTR_INFO_FIELD": 0x800000D1})) == {
        "guest_rflags_if"}
    assert names_of(decode({"GUEST_RFLAGS": 2})) == set()
    assert names_of(decode({"VM_ENTRY_INTR_INFO_FIELD": 0x800000D1})) == set()
    assert names_of(decode({"GUEST_RFLAGS": 0})) == {"guest_rflags"}
    assert names_of(decode({"CPU_BASED_VM_EXEC_CONTROL": 0x4006172 | 1 << 18})) == {
        "primary_controls"}


def test_which_l0_is_asked():
    """Virtual-APIC accesses: taken by some processor, not by KVM 6.12's nested one."""
    fields = {"SECONDARY_VM_EXEC_CONTROL": 1, "CPU_BASED_VM_EXEC_CONTROL": 0x84206172,
              "VIRTUAL_APIC_PAGE_ADDR": 0, "APIC_ACCESS_ADDR": 0}
    assert decode(fields).refusals == ()
    refused = decode(fields, profile="kvm-6.12")
    assert refused.why.id == "secondary_controls" and "kvm-6.12" in refused.against
    assert decode(fields, enlightened=True).why.id == "uncovered_secondary"
    assert decode(fields, msrs={0x48B: 0}).why.id == "secondary_controls"
    with pytest.raises(ValueError, match="no profile 'nobody'"):
        decode(fields, profile="nobody")


def test_several_at_once_in_the_order_of_an_entry():
    found = decode({"GUEST_RFLAGS": 0, "HOST_CR4": 0, "TPR_THRESHOLD": 0x10, "HOST_CR3": 1 << 60,
                    "CPU_BASED_VM_EXEC_CONTROL": 0x4206172, "VIRTUAL_APIC_PAGE_ADDR": 5,
                    "VM_EXIT_CONTROLS": 0})
    assert [one.id for one in found.refusals] == [
        "exit_controls", "virtual_apic_page", "tpr_threshold", "host_cr4", "host_cr3",
        "guest_rflags"]
    assert str(found).index("refused by exit_controls") < str(found).index("and then by host_cr3")
