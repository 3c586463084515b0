# SPDX-License-Identifier: GPL-2.0-only
"""Exceptions and events of L2: intercepted, delivered, nested (SDM volume 3, 26.2, 27.6, 28.2)."""

import pytest
from guest import *

IRETQ = "48cf"
USER = dict(GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB, GUEST_SS_SELECTOR=0x23,
            GUEST_SS_AR_BYTES=0xC0F3)
RF = 1 << 16

# (vector, error code or None, type, code, registers, fields, qualification)
EXCEPTIONS = {
    "#DE": (0, None, HARD, "f7f1", dict(rcx=0), {}, 0),
    "#DB": (1, None, PRIVILEGED, "f1", {}, {}, 0),
    "#BP": (3, None, SOFT, "cc", {}, {}, 0),
    "#OF": (4, None, SOFT, "ce", {}, dict(
        GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B, GUEST_RFLAGS=2 | 1 << 11), 0),
    "#UD": (6, None, HARD, "0f0b", {}, {}, 0),
    "#NM": (7, None, HARD, "d9d0", {}, dict(GUEST_CR0=0x8001003B), 0),
    "#SS": (12, 0, HARD, "58", {}, dict(GUEST_RSP=1 << 47), 0),
    "#GP": (13, 0, HARD, "488b03", dict(rbx=1 << 47), {}, 0),
    "#PF": (14, 0, HARD, "488b03", dict(rbx=0xABC0000018), {}, 0xABC0000018),
    "#AC": (17, 0, HARD, "488b03", dict(rbx=DATA + 1), dict(
        GUEST_CR0=0x80050033, GUEST_RFLAGS=2 | 1 << 18, **USER), 0),
}


def raising(guest, name, code=None, **more):
    vector, error, kind, text, registers, fields, qualification = EXCEPTIONS[name]
    g = guest(code or text, **{**fields, **more})
    g.regs(**registers)
    return g


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.case("L2X-07")
def test_an_exception_that_l1_intercepts(guest, name):
    vector, error, kind, code, _, fields, qualification = EXCEPTIONS[name]
    g = raising(guest, name, EXCEPTION_BITMAP=1 << vector)
    found = g.run()
    info = VALID | kind | vector | (0 if error is None else CODE_BIT)
    length = len(code) // 2 if kind in (SOFT, PRIVILEGED) else 0
    assert found[:8] == (0, qualification, length, CODE, info, error or 0, 0, 0)
    # a fault sets RF, so that a breakpoint does not come twice
    assert g.get("GUEST_RFLAGS") & RF == (RF if kind == HARD else 0)


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.case("L2X-07")
def test_an_exception_that_the_guest_handles(guest, name):
    """64-bit gates: SS RSP RFLAGS CS RIP and the error code on a 16-byte aligned stack."""
    vector, error, kind, code, _, fields, qualification = EXCEPTIONS[name]
    g = raising(guest, name, EXCEPTION_BITMAP=0xFFFFFFFF & ~(1 << vector))
    handler = g.vector(vector, dpl=3, ist=1 if name == "#SS" else 0)
    flags, rsp = g.get("GUEST_RFLAGS"), g.get("GUEST_RSP")
    found = g.run()
    assert (found.reason, found.rip, found.idt_info) == (18, handler, 0)
    top = STACK - 0x400 if name == "#SS" else STACK - 0x800 if name == "#AC" else rsp
    bottom = top - 40 - (0 if error is None else 8)
    assert g.get("GUEST_RSP") == bottom
    frame = [g.read(bottom + 8 * n) for n in range(6 if error is not None else 5)]
    if error is not None:
        assert frame.pop(0) == error
    soft = kind in (SOFT, PRIVILEGED)
    assert frame == [
        CODE + (len(code) // 2 if soft else 0), fields.get("GUEST_CS_SELECTOR", 8),
        flags | (0 if soft else RF), rsp, fields.get("GUEST_SS_SELECTOR", 0x10)]
    assert g.get("GUEST_RFLAGS") & (RF | TF | IF) == 0
    assert g.get("GUEST_CS_SELECTOR") == 8
    if vector == 14:
        g.run("0f20d0" + VMCALL)
        assert g.regs()[RAX] == qualification


def test_an_interrupt_gate_masks_and_a_trap_gate_does_not(guest):
    for kind, masked in ((0xE, True), (0xF, False)):
        g = guest("cd40", GUEST_RFLAGS=2 | IF)
        g.vector(0x40, kind=kind)
        g.run()
        assert (g.get("GUEST_RFLAGS") & IF == 0) == masked


def test_iret_goes_back(guest):
    g = guest("cd40" "4889e1" + VMCALL)
    g.vector(0x40, code="48c7c3efbe0000" + IRETQ)
    found = g.run()
    assert (found.reason, found.rip) == (18, CODE + 5)
    assert (g.regs()[RBX], g.regs()[RCX], g.get("GUEST_RSP")) == (0xBEEF, STACK, STACK)


def test_from_user_code_and_back(guest):
    """RSP0 of the task going in, the user's stack and segments going out."""
    g = guest("cd40" "90" + VMCALL, **USER)
    handler = g.vector(0x40, code=VMCALL, dpl=3)
    found = g.run()
    assert (found.rip, g.get("GUEST_SS_SELECTOR"), g.get("GUEST_SS_AR_BYTES") & 0x1007F) == (
        handler, 0, 0x10000)
    assert g.get("GUEST_RSP") == STACK - 0x800 - 40
    g.code(IRETQ, handler)
    found = g.run(GUEST_RIP=handler)
    assert (found.reason, found.rip) == (18, CODE + 3)
    assert g.get("GUEST_CS_SELECTOR") == 0x1B and g.get("GUEST_SS_SELECTOR") == 0x23
    assert g.get("GUEST_RSP") == STACK


def test_a_gate_that_user_code_may_not_call(guest):
    g = guest("cd40", EXCEPTION_BITMAP=1 << 13, **USER)
    g.vector(0x40, dpl=0)
    found = g.run()
    # the fault comes out of the delivery of the software interrupt
    assert (found.intr_info, found.error) == (VALID | HARD | CODE_BIT | 13, 0x40 << 3 | 2)
    assert (found.idt_info, found.length) == (VALID | SOFT_INT | 0x40, 2)


@pytest.mark.parametrize("what, vector, error", [
    ("limit", 13, 0x40 << 3 | 2), ("kind", 13, 0x40 << 3 | 2), ("absent", 11, 0x40 << 3 | 2),
    ("null", 13, 0), ("beyond", 13, 0x100), ("data", 13, 0x10), ("compatibility", 13, 0x28),
])
def test_gates_that_do_not_work(guest, what, vector, error):
    g = guest("cd40", EXCEPTION_BITMAP=1 << vector,
              GUEST_IDTR_LIMIT=0x40 * 16 + 14 if what == "limit" else 0xFFFF, GUEST_GDTR_LIMIT=0xFF)
    g.vector(0x40, kind=0xC if what == "kind" else 0xE, present=what != "absent",
             selector={"null": 0, "beyond": 0x100, "data": 0x10, "compatibility": 0x28}
             .get(what, 8))
    found = g.run()
    assert (found.intr_info, found.error, found.idt_info) == (
        VALID | HARD | CODE_BIT | vector, error, VALID | SOFT_INT | 0x40)


# Injection at entry (SDM 27.6)

@pytest.mark.parametrize("info, error, length, pushed_rip, pushed_code", [
    (VALID | EXT | 0x31, 0, 0, CODE, None), (VALID | NMI | 2, 0, 0, CODE, None),
    (VALID | HARD | 6, 0, 0, CODE, None), (VALID | HARD | CODE_BIT | 13, 0x123, 0, CODE, 0x123),
    (VALID | SOFT_INT | 0x80, 0, 2, CODE + 2, None), (VALID | SOFT | 3, 0, 1, CODE + 1, None),
    (VALID | PRIVILEGED | 1, 0, 1, CODE + 1, None),
])
def test_injection(guest, info, error, length, pushed_rip, pushed_code):
    """An injected event is delivered whatever the exception bitmap says."""
    g = guest("", EXCEPTION_BITMAP=0xFFFFFFFF, GUEST_RFLAGS=2 | IF, VM_ENTRY_INTR_INFO_FIELD=info,
              VM_ENTRY_EXCEPTION_ERROR_CODE=error, VM_ENTRY_INSTRUCTION_LEN=length)
    handler = g.vector(info & 0xFF)
    found = g.run()
    assert (found.reason, found.rip, found.idt_info) == (18, handler, 0)
    frame = [g.read(g.get("GUEST_RSP") + 8 * n) for n in range(6)]
    if pushed_code is not None:
        assert frame.pop(0) == pushed_code
    assert frame[:3] == [pushed_rip, 8, 2 | IF]
    # injected once
    assert g.get("VM_ENTRY_INTR_INFO_FIELD") == info & ~VALID
    assert g.get("GUEST_INTERRUPTIBILITY_INFO") == (8 if info & 0x700 == NMI else 0)


def test_injection_that_faults(guest):
    """An EPT violation or an intercepted fault on the way says what was being delivered."""
    g = guest("", EXCEPTION_BITMAP=1 << 14, GUEST_RFLAGS=2 | IF, GUEST_RSP=0xABC0000000,
              VM_ENTRY_INTR_INFO_FIELD=VALID | EXT | 0x31)
    g.vector(0x31)
    found = g.run()
    assert found[:2] == (0, 0xABC0000000 - 8)
    assert (found.intr_info, found.error) == (VALID | HARD | CODE_BIT | 14, 2)
    assert (found.idt_info, found.rip) == (VALID | EXT | 0x31, CODE)
    # the same with an error code, and with a length
    g.vector(17)
    found = g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | HARD | CODE_BIT | 17,
                  VM_ENTRY_EXCEPTION_ERROR_CODE=0x5A5)
    assert (found.idt_info, found.idt_error) == (VALID | HARD | CODE_BIT | 17, 0x5A5)
    g.vector(0x80)
    found = g.run(VM_ENTRY_INTR_INFO_FIELD=VALID | SOFT_INT | 0x80, VM_ENTRY_INSTRUCTION_LEN=2)
    assert (found.idt_info, found.length) == (VALID | SOFT_INT | 0x80, 2)


# Double and triple faults (SDM 6.15)

def test_a_contributory_fault_in_a_contributory_fault_is_a_double_fault(guest):
    g = guest("488b03", EXCEPTION_BITMAP=1 << 8)
    g.regs(rbx=1 << 47)
    g.vector(13, selector=0)
    found = g.run()
    # a double fault that leaves is no part of a delivery
    assert found[:8] == (0, 0, 0, CODE, VALID | HARD | CODE_BIT | 8, 0, 0, 0)


def test_a_double_fault_is_delivered(guest):
    g = guest("488b03")
    g.regs(rbx=0xABC0000000)
    g.vector(14, present=0)
    handler = g.vector(8)
    found = g.run()
    assert (found.reason, found.rip) == (18, handler)
    assert [g.read(g.get("GUEST_RSP") + 8 * n) for n in range(2)] == [0, CODE]


def test_a_benign_fault_first_is_just_replaced(guest):
    """#UD whose gate is bad: #GP, and no double fault."""
    g = guest("0f0b")
    g.vector(6, present=0)
    handler = g.vector(11)
    found = g.run()
    assert (found.rip, g.read(g.get("GUEST_RSP"))) == (handler, 6 << 3 | 2 | 1)


@pytest.mark.case("L2X-17")
def test_triple_fault(guest):
    """IDT limit 0 and nothing intercepted (the case of L2X-17)."""
    found = guest("0f0b", GUEST_IDTR_LIMIT=0).run()
    assert found[:8] == (2, 0, 0, CODE, 0, 0, 0, 0)


def test_a_fault_during_a_double_fault_names_no_event(guest):
    g = guest("488b03")
    g.regs(rbx=0xABC0000000)
    g.vector(14, present=0)
    g.vector(8, selector=0x100)
    assert g.run()[:8] == (2, 0, 0, CODE, 0, 0, 0, 0)


# The page-fault filter (SDM 26.2)

@pytest.mark.parametrize("bit", [0, 1])
@pytest.mark.parametrize("mask, match, equal", [
    (0, 0, True), (0, 1, False), (2, 2, True), (2, 0, False), (1, 1, False), (1, 0, True)])
@pytest.mark.parametrize("profile", ["kvm-6.12", "ice-lake", "tlfs-strict"])
def test_page_faults_are_filtered_by_their_error_code(guest, profile, bit, mask, match, equal):
    """KVM 6.12 copies neither mask nor match out of an eVMCS (copy_enlightened_to_vmcs12())."""
    g = guest("488903", options=dict(profile=profile, lints=True), EXCEPTION_BITMAP=bit << 14,
              PAGE_FAULT_ERROR_CODE_MASK=mask, PAGE_FAULT_ERROR_CODE_MATCH=match)
    g.regs(rbx=0xABC0000000)
    g.vector(14)
    if g.mode == "evmcs" and profile != "tlfs-strict":
        equal = True
        ignored = bool(mask | match)
    else:
        ignored = False
    reason = g.run().reason
    assert ("page_fault_filter_ignored" in g.world.partition.lints()) == ignored
    assert reason == (0 if bit == equal else 18)
    if bit == equal:
        assert (g.last().error, g.last().qualification) == (2, 0xABC0000000)


@pytest.mark.parametrize("flags, user, code, registers, fields, error", [
    (0, False, "488b03", {}, {}, 0), (0, False, "488903", {}, {}, 2),
    (0, True, "488b03", {}, {}, 4), (3, True, "488b03", {}, {}, 5), (5, True, "488903", {}, {}, 7),
    # CR0.WP holds a supervisor back, too
    (5, False, "488903", {}, {}, 3), (1, True, "488903", {}, {}, 7),
    (7 | 1 << 51, False, "488b03", {}, {}, 9),
    (7 | 1 << 63, False, "ffe3", {}, dict(GUEST_IA32_EFER=0xD01), 0x11),
    (7, False, "ffe3", {}, dict(GUEST_CR4=0x102020), 0x11),
    (7, False, "488b03", {}, dict(GUEST_CR4=0x202020), 1),
])
def test_error_codes_of_page_faults(guest, flags, user, code, registers, fields, error):
    g = guest(code, EXCEPTION_BITMAP=1 << 14, **{**(USER if user else {}), **fields})
    g.write(PD + 8 * 5, 0x20000 | 7)
    g.write(0x20000, flags | 0xA00000 & (0 if flags & 1 == 0 else ~0))
    if fields.get("GUEST_CR4", 0) & 0x300000:
        # SMEP and SMAP: the code itself must be a supervisor's
        g.write(PD + 8 * 2, 2 << 21 | 0x83)
    g.regs(rbx=0xA00000)
    found = g.run()
    assert (found.reason, found.error, found.qualification) == (0, error, 0xA00000)


@pytest.mark.parametrize("level", range(4))
def test_an_entry_that_is_not_there_at_each_level(guest, level):
    g = guest("488b03", EXCEPTION_BITMAP=1 << 14)
    address = [0xA00000, 0xA00000, 1 << 30, 1 << 39][level]
    if level < 2:
        g.write(PD + 8 * 5, 0x20000 | 7 if level == 0 else 0)
    g.regs(rbx=address)
    assert (g.run().error, g.last().qualification) == (0, address)


def test_accessed_and_dirty_flags(guest):
    g = guest("488b03" "49890c24" + VMCALL)
    g.write(PD + 8 * 5, 0x20000 | 7)
    g.write(0x20000, 0xA00000 | 7)
    g.write(0x20008, 0xA01000 | 7)
    g.regs(rbx=0xA00000, r12=0xA01000)
    assert g.run().reason == 18
    assert (g.read(PML4), g.read(PDPT), g.read(PD + 8 * 5)) == (
        PDPT | 0x27, PD | 0x27, 0x20000 | 0x27)
    assert (g.read(0x20000), g.read(0x20008)) == (0xA00000 | 0x27, 0xA01000 | 0x67)
    # the code's own page is read, never written
    assert g.read(PD + 8 * 2) & 0x60 == 0x20


def test_single_step(guest):
    g = guest("90" "90", GUEST_RFLAGS=2 | TF, EXCEPTION_BITMAP=2)
    found = g.run()
    assert found[:5] == (0, 1 << 14, 0, CODE + 1, VALID | HARD | 1)
    assert g.get("GUEST_PENDING_DBG_EXCEPTIONS") == 0


def test_a_single_step_trap_reaches_the_guest(guest):
    g = guest("90" "90", GUEST_RFLAGS=2 | TF)
    handler = g.vector(1, code="0f21f0" + VMCALL)
    assert g.run().rip == handler + 3
    assert g.regs()[RAX] == 0xFFFF4FF0
    assert [g.read(g.get("GUEST_RSP") + 8 * n) for n in (0, 2)] == [CODE + 1, 2 | TF]


def test_pending_debug_exceptions_come_after_the_entry(guest):
    g = guest("90", GUEST_PENDING_DBG_EXCEPTIONS=0x1001, EXCEPTION_BITMAP=2)
    assert g.run()[:5] == (0, 1, 0, CODE, VALID | HARD | 1)


def test_int1_has_its_own_type(guest):
    g = guest("f1", EXCEPTION_BITMAP=2)
    assert (g.run().intr_info, g.last().length) == (VALID | PRIVILEGED | 1, 1)


def test_a_task_gate_is_for_l1_to_emulate(guest):
    g = guest("cd40", GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B, GUEST_IA32_EFER=0,
              VM_ENTRY_CONTROLS=0x11FB, GUEST_CR0=0x33, GUEST_TR_AR_BYTES=0x8B,
              SECONDARY_VM_EXEC_CONTROL=S_EPT | S_UNRESTRICTED)
    g.memory.write(IDT + 8 * 0x40, gate_32(0, selector=0x30, kind=5))
    found = g.run(EPT_POINTER=g.map_ept())
    assert found[:3] == (9, 3 << 30 | 0x30, 2)
    assert found.idt_info == VALID | SOFT_INT | 0x40
