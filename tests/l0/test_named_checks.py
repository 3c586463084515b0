# SPDX-License-Identifier: GPL-2.0-only
"""Every check of VM entry has a name: a state in which it refuses is found by its row's id."""

import pytest
from test_entry_vectors import (
    COUNTERS, LATER, MEMBERS, fields_of, has_members, is_covered,
)
from world import ASSIST, BASE, DATA, EVMCS, EVMCS_B, FIELDS, VMCS_A, World, config_a_msrs

from kvm_vmx import ConformanceError
from kvm_vmx.machine.checks import checks

ROWS = {row["id"]: row for row in checks()}
CONTROLS = {"pin": "PIN_BASED_VM_EXEC_CONTROL", "proc": "CPU_BASED_VM_EXEC_CONTROL",
            "secondary": "SECONDARY_VM_EXEC_CONTROL", "exit": "VM_EXIT_CONTROLS",
            "entry": "VM_ENTRY_CONTROLS"}
# The MSRs of those controls (SDM A.3 to A.5), the exact ones where there are.
EXACT = {"pin": 0x48D, "proc": 0x48E, "secondary": 0x48B, "exit": 0x48F, "entry": 0x490}
ENDS = {"CTL7": "VMfailValid 7", "HST8": "VMfailValid 8", "GST": "exit 33",
        "GST/4": "exit 33, qualification 4", "GST/2": "exit 33, qualification 2"}
VECTORS = [(case, number) for case in DATA["cases"] for number in range(len(DATA["cases"][case]))]


def world(**options):
    return World(msrs=config_a_msrs(), unfinished=True, maxphyaddr=46, **options)


@pytest.fixture(scope="module")
def plain():
    return world(cpuid=COUNTERS)


@pytest.fixture(scope="module")
def enlightened():
    return world(cpuid={**COUNTERS, 0x4000000A: (0x2A0101, 1, 0, 0)}, profile="tlfs-strict")


def why_plain(world, fields):
    world.plain(**fields)
    return world.cpu.vmlaunch().why


def why_enlightened(world, fields):
    world.enlighten(**{MEMBERS[name]: value for name, value in fields.items() if name in MEMBERS})
    for name, offset in LATER.items():
        if name in fields:
            world.memory.write_u64(EVMCS + offset, fields[name])
    return world.cpu.vmlaunch().why


@pytest.mark.parametrize("case", DATA["cases"])
def test_a_vector_that_fails_names_its_check_and_no_other_does(plain, enlightened, case):
    for base, changes, expected, label in DATA["cases"][case]:
        fields = fields_of(base, changes)
        found = [why_plain(plain, fields)]
        if has_members((base, changes)) and is_covered(base, changes):
            found.append(why_enlightened(enlightened, fields))
        for why in found:
            if expected == "PASS":
                # BASE0 is refused by its RFLAGS alone
                assert why.id == "guest_rflags" and "bit 1 must be 1" in why.sentence, label
            elif expected == "ENTER":
                assert why is None, label
            else:
                assert ROWS[why.id]["ends"] == ENDS[expected], (label, why)
                assert why.field == ROWS[why.id]["field"] and why.sentence.startswith(why.field)
        assert len({why and (why.id, why.value, why.sentence) for why in found}) == 1, label


# One state a row, as changes of BASE: written from the SDM, not from the code.
N, P, X, E = (BASE[FIELDS[CONTROLS[name]]] for name in ("pin", "proc", "exit", "entry"))
TPR = {"CPU_BASED_VM_EXEC_CONTROL": P | 1 << 21}
NARROW = {"VM_EXIT_CONTROLS": X & ~0x200, "VM_ENTRY_CONTROLS": E & ~0x200}
PAE = {"VM_ENTRY_CONTROLS": E & ~0x200}
VM86 = {"GUEST_RFLAGS": 0x20002, **{
    f"GUEST_{reg}_{part}": value for reg in ("ES", "CS", "SS", "DS", "FS", "GS")
    for part, value in (
        ("SELECTOR", 0x10), ("BASE", 0x100), ("LIMIT", 0xFFFF), ("AR_BYTES", 0xF3))}}
USER = {"GUEST_CS_SELECTOR": 0xB, "GUEST_CS_AR_BYTES": 0xA0FB, "GUEST_SS_SELECTOR": 0x13,
        "GUEST_SS_AR_BYTES": 0xC0F3}
INTERRUPT, NMI = {"VM_ENTRY_INTR_INFO_FIELD": 0x80000020}, {"VM_ENTRY_INTR_INFO_FIELD": 0x80000202}
POSTED = {**TPR, "SECONDARY_VM_EXEC_CONTROL": 1 << 9, "PIN_BASED_VM_EXEC_CONTROL": N | 0x81}
ACK = {**POSTED, "VM_EXIT_CONTROLS": X | 1 << 15}


def secondary(bits, **more):
    return {"SECONDARY_VM_EXEC_CONTROL": bits, "EPT_POINTER": 0x101E if bits & 2 else 0, **more}


def blocked(state, *more, **fields):
    return {"GUEST_INTERRUPTIBILITY_INFO": state, **dict(*more), **fields}


STATES = {
    "vmread_bitmap": secondary(1 << 14, VMREAD_BITMAP=1),
    "vmwrite_bitmap": secondary(1 << 14, VMWRITE_BITMAP=1),
    "virtual_apic_page": {**TPR, "VIRTUAL_APIC_PAGE_ADDR": 1},
    "tpr_threshold": {**TPR, "TPR_THRESHOLD": 0x10},
    "tpr_above_priority": {**TPR, "VIRTUAL_APIC_PAGE_ADDR": 0xB000, "TPR_THRESHOLD": 1},
    "tpr_shadow_needed": secondary(1 << 4),
    "apic_access_and_x2apic": {**TPR, **secondary(0x11)},
    "apic_access_page": secondary(1, APIC_ACCESS_ADDR=1),
    "virtual_interrupts": {**TPR, **secondary(1 << 9)},
    "posted_without_virtual": {"PIN_BASED_VM_EXEC_CONTROL": N | 0x80},
    "posted_without_acknowledge": POSTED,
    "posted_vector": {**ACK, "POSTED_INTR_NV": 0x100},
    "posted_descriptor": {**ACK, "POSTED_INTR_DESC_ADDR": 1},
    "pml_page": secondary(2 | 1 << 17, PML_ADDRESS=1),
    "tsc_multiplier": secondary(1 << 25),
    "vm_functions": secondary(1 << 13, VM_FUNCTION_CONTROL=2),
    "entry_smm": {"VM_ENTRY_CONTROLS": E | 1 << 10},
    "exit_load_list_address": {"VM_EXIT_MSR_LOAD_COUNT": 1, "VM_EXIT_MSR_LOAD_ADDR": 1},
    "exit_load_list_end": {"VM_EXIT_MSR_LOAD_COUNT": 2, "VM_EXIT_MSR_LOAD_ADDR": (1 << 46) - 16},
    "event_error_code_high": {"VM_ENTRY_INTR_INFO_FIELD": 0x80000B0D,
                              "VM_ENTRY_EXCEPTION_ERROR_CODE": 0x10000},
    "host_address_space": {"VM_EXIT_CONTROLS": X & ~0x200},
    "host_pae": {"HOST_CR4": 0x2000},
    "host_perf_global": {"VM_EXIT_CONTROLS": X | 1 << 12, "HOST_IA32_PERF_GLOBAL_CTRL": 1 << 63},
    "host_efer": {"VM_EXIT_CONTROLS": X | 1 << 21, "HOST_IA32_EFER": 0xD03},
    "host_efer_mode": {"VM_EXIT_CONTROLS": X | 1 << 21, "HOST_IA32_EFER": 1},
    "host_cs_null": {"HOST_CS_SELECTOR": 0},
    "host_tr_null": {"HOST_TR_SELECTOR": 0},
    "guest_paging": secondary(0x82, GUEST_CR0=0x80010032),
    "guest_long_paging": secondary(0x82, GUEST_CR0=0x10033),
    "guest_pcide": {**PAE, "GUEST_CR4": 0x22020},
    "guest_debugctl": {"VM_ENTRY_CONTROLS": E | 4, "GUEST_IA32_DEBUGCTL": 4},
    "guest_dr7": {"VM_ENTRY_CONTROLS": E | 4, "GUEST_DR7": 1 << 32},
    "guest_perf_global": {"VM_ENTRY_CONTROLS": E | 1 << 13, "GUEST_IA32_PERF_GLOBAL_CTRL": 1 << 63},
    "guest_bndcfgs_base": {"VM_ENTRY_CONTROLS": E | 1 << 16, "GUEST_BNDCFGS": 1 << 47},
    "guest_bndcfgs": {"VM_ENTRY_CONTROLS": E | 1 << 16, "GUEST_BNDCFGS": 4},
    "tr_table": {"GUEST_TR_SELECTOR": 0x1C},
    "tr_fine": {"GUEST_TR_AR_BYTES": 0x8B, "GUEST_TR_LIMIT": 0x100FFF},
    "ldtr_system": {"GUEST_LDTR_AR_BYTES": 0x92},
    "ldtr_table": {"GUEST_LDTR_AR_BYTES": 0x82, "GUEST_LDTR_SELECTOR": 4},
    "ldtr_reserved": {"GUEST_LDTR_AR_BYTES": 0x182},
    "ldtr_granular": {"GUEST_LDTR_AR_BYTES": 0x8082, "GUEST_LDTR_LIMIT": 0},
    "ldtr_fine": {"GUEST_LDTR_AR_BYTES": 0x82, "GUEST_LDTR_LIMIT": 0x100000},
    "ss_requested": {"GUEST_SS_SELECTOR": 0x11},
    "ss_privilege": {"GUEST_SS_SELECTOR": 0x11, "GUEST_CS_SELECTOR": 9},
    "ss_real": secondary(0x82, GUEST_CS_AR_BYTES=0xA093, GUEST_SS_AR_BYTES=0xC0F3),
    "guest_rip": {"GUEST_RIP": 1 << 48},
    "guest_rip_high": {"GUEST_CS_AR_BYTES": 0xC09B, "GUEST_RIP": 1 << 32},
    "guest_rflags": {"GUEST_RFLAGS": 0},
    "guest_rflags_vm": VM86,
    "guest_rflags_if": INTERRUPT,
    "activity_state": {"GUEST_ACTIVITY_STATE": 4},
    "activity_hlt": {**USER, "GUEST_ACTIVITY_STATE": 1},
    "activity_blocked": blocked(2, GUEST_ACTIVITY_STATE=1),
    "activity_event": {**NMI, "GUEST_ACTIVITY_STATE": 3},
    "blocking_reserved": blocked(0x10),
    "blocking_both": blocked(3),
    "blocking_sti": blocked(1),
    "blocking_interrupt": blocked(2, INTERRUPT, GUEST_RFLAGS=0x202),
    "blocking_nmi_mov_ss": blocked(2, NMI),
    "blocking_nmi": blocked(8, NMI, PIN_BASED_VM_EXEC_CONTROL=N | 0x28),
    "pending_reserved": {"GUEST_PENDING_DBG_EXCEPTIONS": 0x10},
    "pending_step": blocked(2, GUEST_PENDING_DBG_EXCEPTIONS=1 << 14),
    "link_address": {"VMCS_LINK_POINTER": 1},
    "link_missing": {"VMCS_LINK_POINTER": 1 << 40},
    "link_revision": {"VMCS_LINK_POINTER": 0x9000},
    "pdptes_missing": {**PAE, "GUEST_CR3": 0xFFFFF000},
    "item_missing": {"VM_ENTRY_MSR_LOAD_COUNT": 1, "VM_ENTRY_MSR_LOAD_ADDR": 1 << 40},
    **{f"pdpte{n}": {**PAE, **secondary(2), f"GUEST_PDPTR{n}": 3} for n in range(4)},
    **{f"vm86_{reg.lower()}_{name}": {**VM86, f"GUEST_{reg}_{field}": value}
       for reg in ("ES", "CS", "SS", "DS", "FS", "GS")
       for name, field, value in (("base", "BASE", 0x101), ("limit", "LIMIT", 0xFFFE),
                                  ("rights", "AR_BYTES", 0xF2))},
    **{f"{reg.lower()}_{name}": {f"GUEST_{reg}_{field}": value}
       for reg in ("ES", "DS", "FS", "GS")
       for name, field, value in (("accessed", "AR_BYTES", 0xC092),
                                  ("readable", "AR_BYTES", 0xC099),
                                  ("privilege", "SELECTOR", 0x13))},
}


@pytest.mark.parametrize("id", STATES)
def test_a_state_in_which_one_check_refuses(plain, enlightened, id):
    fields = {**STATES[id]}
    why = why_plain(plain, fields)
    assert why.id == id
    if all(name in MEMBERS or name in LATER for name in fields) and is_covered(
            "BASE", {name: hex(value) for name, value in fields.items()}):
        assert why_enlightened(enlightened, fields) == why


# What needs another processor, or another state of this one, than a VMCS can say.
LISTS = {"item_reserved": (0x174, 1, 0), "item_segment_base": (0xC0000100, 0, 0),
         "item_forbidden": (0x79, 0, 0), "item_value": (0x174FFFF, 0, 0)}


@pytest.mark.parametrize("id", [*LISTS, "item_too_many"])
def test_an_item_of_an_entrys_list(plain, enlightened, id):
    index, reserved, value = LISTS.get(id, (0x174, 0, 0))
    count = 1 if id in LISTS else 513
    item = b"".join(n.to_bytes(size, "little")
                    for n, size in ((index, 4), (reserved, 4), (value, 8)))
    fields = {"VM_ENTRY_MSR_LOAD_COUNT": count, "VM_ENTRY_MSR_LOAD_ADDR": 0x10000}
    for world, why in ((plain, why_plain), (enlightened, why_enlightened)):
        world.memory.write(0x10000, item * count)
        found = why(world, fields)
        assert found.id == id and (id == "item_too_many" or "item 1" in found.sentence)


OTHER_PROCESSORS = {
    "ept_flags": ({0x48C: 0x00000F0106134141}, secondary(2, EPT_POINTER=0x105E)),
    "event_monitor_trap": ({0x48E: 0xF7F9FFFE04006172, 0x482: 0xF7F9FFFE0401E172},
                           {"VM_ENTRY_INTR_INFO_FIELD": 0x80000700}),
    "eptp_switching": ({0x491: 1}, secondary(1 << 13, VM_FUNCTION_CONTROL=1)),
    "eptp_list": ({0x491: 1}, secondary(1 << 13 | 2, VM_FUNCTION_CONTROL=1, EPTP_LIST_ADDRESS=1)),
}


@pytest.mark.parametrize("id", OTHER_PROCESSORS)
def test_a_check_that_another_processor_makes(id):
    msrs, fields = OTHER_PROCESSORS[id]
    other = World(msrs={**config_a_msrs(), **msrs}, unfinished=True, maxphyaddr=46)
    assert why_plain(other, fields).id == id


NARROW_HOSTS = {"host_guest_wider": {"VM_EXIT_CONTROLS": X & ~0x200},
                "host_pcide": {**NARROW, "HOST_CR4": 0x22020},
                "host_rip_high": {**NARROW, "HOST_RIP": 1 << 32},
                "host_ss_null": {**NARROW, "HOST_SS_SELECTOR": 0}}


@pytest.mark.parametrize("id", NARROW_HOSTS)
def test_a_check_of_a_32_bit_host(id):
    narrow = world()
    narrow.cpu.efer = 0
    assert why_plain(narrow, NARROW_HOSTS[id]).id == id
    narrow.cpu.efer = 0
    assert why_enlightened(narrow, NARROW_HOSTS[id]).id == id


UNCOVERED = {"uncovered_pin": {"PIN_BASED_VM_EXEC_CONTROL": N | 0x40},
             "uncovered_secondary": {"SECONDARY_VM_EXEC_CONTROL": 1},
             "uncovered_exit": {"VM_EXIT_CONTROLS": X | 1 << 22},
             "unannounced_exit_perf_global": {"VM_EXIT_CONTROLS": X | 1 << 12},
             "unannounced_entry_perf_global": {"VM_ENTRY_CONTROLS": E | 1 << 13},
             "debugctl_unannounced": {"VM_ENTRY_CONTROLS": E | 4, "GUEST_IA32_DEBUGCTL": 1}}


@pytest.mark.rule("R14", "R62", "R63")
@pytest.mark.parametrize("id", UNCOVERED)
def test_what_an_evmcs_may_not_hold(id):
    bare = world(profile="tlfs-strict", cpuid={0x4000000A: (0x0101, 0, 0, 0)})
    why = why_enlightened(bare, UNCOVERED[id])
    assert why.id == id and why.section in ("R14", "R62", "R63")


def no_assist_page(w):
    assert w.cpu.wrmsr(0x40000073, 0).ok


POINTERS = {
    "assist_page_off": (no_assist_page, "MSR 0x40000073 is 0x0"),
    "switch_off": (lambda w: w.memory.write(ASSIST + 40, bytes(4)), f"{ASSIST:#x}"),
    "pointer_none": (lambda w: w.memory.write(ASSIST + 48, b"\xff" * 8), "0xffffffffffffffff"),
    "pointer_misaligned": (lambda w: w.memory.write_u64(ASSIST + 48, EVMCS | 8), f"{EVMCS | 8:#x}"),
    "evmcs_missing": (lambda w: w.memory.write_u64(ASSIST + 48, 1 << 40), f"{1 << 40:#x}"),
    "evmcs_revision": (lambda w: w.put(EVMCS, "revision_id", 7), "revision 0x7"),
    "mov_ss": (lambda w: setattr(w.cpu, "mov_ss_shadow", True), "MOV SS"),
    "not_privileged": (lambda w: setattr(w.cpu, "cpl", 3), "is 3"),
    "not_in_vmx": (lambda w: w.cpu.vmxoff(), "VMX operation"),
}


@pytest.mark.parametrize("id", POINTERS)
def test_why_there_is_no_vmcs_to_enter_with(id):
    w = world(profile="tlfs-strict")
    w.enlighten()
    change, said = POINTERS[id]
    change(w)
    outcome = w.cpu.vmlaunch()
    assert not outcome.ok and outcome.why.id == id
    assert said in outcome.why.sentence and outcome.why.sentence in repr(outcome)


def test_an_evmcs_that_is_active_elsewhere():
    w = world(profile="tlfs-strict", cpus=2)
    w.enlighten()
    assert w.cpu.vmlaunch().why is None
    w.memory.write(EVMCS_B, bytes(4096))
    w.enlighten(cpu=w.partition.processor(1), assist=EVMCS_B)
    why = w.partition.processor(1).vmlaunch().why
    assert why.id == "evmcs_active" and "on VP 0" in why.sentence


def test_the_launch_state_and_a_shadow_vmcs():
    w = world()
    w.plain()
    assert w.cpu.vmresume().why.id == "not_launched"
    assert w.cpu.vmlaunch().why is None
    assert w.cpu.vmlaunch().why.id == "launched"
    assert w.cpu.vmclear(VMCS_A).ok
    w.memory.write_u64(VMCS_A, 1 << 31 | int.from_bytes(w.memory.read(VMCS_A, 4), "little"))
    assert w.cpu.vmptrld(VMCS_A).ok
    assert w.cpu.vmlaunch().why.id == "shadow_vmcs"


def test_state_of_memory_and_of_the_current_vmcs(plain):
    assert why_plain(plain, {"VMCS_LINK_POINTER": VMCS_A}).id == "link_current"


@pytest.mark.parametrize("wrong", range(4))
def test_the_first_wrong_entry_of_four_is_named(plain, wrong):
    """SDM 3C 26.3.1.6: bit 1 of a PDPTE that is present is reserved."""
    for entry in range(4):
        plain.memory.write_u64(0x11000 + 8 * entry, 3 if entry >= wrong else 1)
    why = why_plain(plain, {**PAE, "GUEST_CR3": 0x11000})
    assert why.id == "pdptes" and f"entry {wrong}" in why.sentence and "0x3" in why.sentence


ELSEWHERE = {"assist_page_missing", "machine_stopped", "evmcs_active", "not_launched", "launched",
             "shadow_vmcs", "link_current", "pdptes", "item_too_many"}


def test_every_check_has_its_state(plain):
    """By the vectors, or above."""
    found = {why.id for rows in DATA["cases"].values() for base, changes, expected, _ in rows
             if expected not in ("PASS", "ENTER")
             for why in [why_plain(plain, fields_of(base, changes))]}
    found |= ELSEWHERE | set(STATES) | set(LISTS) | set(OTHER_PROCESSORS) | set(NARROW_HOSTS)
    found |= set(UNCOVERED) | set(POINTERS)
    assert ROWS.keys() == found


def test_an_assist_page_that_is_gone_from_memory():
    world = World()
    world.enlighten()
    world.memory.unback(ASSIST)
    why = world.cpu.vmlaunch().why
    assert why.id == "assist_page_missing" and f"MSR 0x40000073 is {ASSIST | 1:#x}" in why.sentence


def test_a_strict_machine_that_has_stopped():
    """Whoever catches the exception finds why no entry succeeds any more."""
    world = World(strict=True)
    world.enlighten()
    assert world.cpu.vmlaunch().ok
    world.set_clean()
    world.put(EVMCS, "exception_bitmap", world.get(EVMCS, "exception_bitmap") ^ 8)
    for enter in (world.cpu.vmresume, world.cpu.vmlaunch):
        with pytest.raises(ConformanceError, match="EXCEPTION_BITMAP"):
            enter()
        assert world.cpu.why_not.id == "machine_stopped"


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_says_its_bit_and_what_the_msr_allows(plain, control):
    must, may = (int(word, 16) for word in DATA["config"]["ctls"][control])
    for bit in range(32):
        value = (BASE.get(FIELDS[CONTROLS[control]], 0) | must) & may ^ 1 << bit
        why = why_plain(plain, {CONTROLS[control]: value})
        if must >> bit & 1 or not may >> bit & 1:
            assert why.field == CONTROLS[control] and f"bit {bit} " in why.sentence
            assert (why.must, why.may) == (must, may)
            limit = f"requires {must:#x}" if must >> bit & 1 else f"allows {may:#x}"
            assert f"MSR {EXACT[control]:#x} {limit}" in why.sentence
        else:
            assert why is None or why.id not in (f"{control}_controls", "primary_controls")
