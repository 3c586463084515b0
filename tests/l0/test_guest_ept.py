# SPDX-License-Identifier: GPL-2.0-only
"""EPT violations and misconfigurations (SDM volume 3, 29.3 and table 28-7)."""

import pytest
from guest import *

EPT_ON = dict(SECONDARY_VM_EXEC_CONTROL=S_EPT)
READ, WRITE, FETCH = 1, 2, 4
VIOLATION, MISCONFIG = 48, 49
LINEAR, FINAL = 1 << 7, 1 << 8
RF = 1 << 16


def with_ept(guest, code, flags=0x37, accessed=False, **fields):
    g = guest(code, **{**EPT_ON, **fields})
    g.eptp = g.map_ept(flags=flags) | (0x40 if accessed else 0)
    return g


CODES = {READ: "488b03", WRITE: "488903", FETCH: "ffe3"}


@pytest.mark.parametrize("access, rights", [
    (access, rights) for access in (READ, WRITE, FETCH) for rights in (0, 1, 3, 4, 5)
    if not rights & access])
def test_violation_of_an_operand(guest, access, rights):
    g = with_ept(guest, CODES[access])
    g.write(g.ept_entry(DATA), DATA | 0x30 | rights if rights else 0)
    g.regs(rbx=DATA + 0x18)
    found = g.run(EPT_POINTER=g.eptp)
    assert (found.reason, found.qualification, found.linear, found.physical) == (
        VIOLATION, access | rights << 3 | LINEAR | FINAL, DATA + 0x18, DATA + 0x18)
    assert (found.rip, found.length) == (DATA + 0x18 if access == FETCH else CODE, 0)
    # the access will be tried again
    assert g.get("GUEST_RFLAGS") & RF


@pytest.mark.parametrize("access", [READ, WRITE, FETCH])
def test_an_allowed_access(guest, access):
    g = with_ept(guest, CODES[access] + VMCALL)
    g.code(VMCALL, DATA)
    g.regs(rbx=DATA)
    assert g.run(EPT_POINTER=g.eptp).reason == 18


@pytest.mark.parametrize("table", [PML4, PDPT, PD])
@pytest.mark.parametrize("accessed, access", [(False, READ), (True, READ | WRITE)])
def test_violation_of_a_page_table(guest, table, accessed, access):
    """Bit 8 is clear; with accessed and dirty flags for EPT the walk counts as a write."""
    g = with_ept(guest, "488b03", accessed=accessed)
    g.write(g.ept_entry(table), 0)
    found = g.run(EPT_POINTER=g.eptp)
    index = {PML4: CODE >> 39, PDPT: CODE >> 30, PD: CODE >> 21}[table]
    assert found[:4] == (VIOLATION, access | LINEAR, 0, CODE)
    assert (found.linear, found.physical) == (CODE, table + 8 * (index & 511))


def test_setting_an_accessed_flag_is_a_write(guest):
    g = with_ept(guest, "90")
    g.write(g.ept_entry(PD), PD | 0x31)
    found = g.run(EPT_POINTER=g.eptp)
    assert found[:2] == (VIOLATION, READ | WRITE | 1 << 3 | LINEAR)
    # a flag that is set already needs none
    g.code("0fa2")
    g.write(PD + 8 * 2, g.read(PD + 8 * 2) | 0x20)
    assert g.run().reason == 10


def walked(table):
    """The entry of a table that the address in RBX goes through; its shift."""
    shift = {PML4: 39, PDPT: 30, PD: 21}[table]
    return table + 8 * (DATA >> shift & 511)


@pytest.mark.parametrize("table", [PML4, PDPT, PD])
@pytest.mark.parametrize("access", [READ, WRITE])
@pytest.mark.parametrize("accessed", [False, True])
@pytest.mark.parametrize("rights", [0, 1, 4, 5])
@pytest.mark.parametrize("flags", [0, 0x20, 0x60])
def test_each_access_of_a_walk(guest, table, access, accessed, rights, flags):
    """SDM 3C, table 28-7 and 28.3.3.2: a walk reads; it sets a flag by a locked read and write,
    which has bits 0 and 1; with accessed and dirty flags for EPT each access counts as that.
    Bit 7 is set and bit 8 clear: the address is a paging structure's, not the operand's."""
    g = with_ept(guest, CODES[access] + VMCALL, accessed=accessed)
    for at, flag in ((PML4, 0x20), (PDPT, 0x20), (PD, 0x60), (PD + 8 * (CODE >> 21), 0x60)):
        place = at if at & 0xFFF else walked(at)
        g.write(place, g.read(place) | flag)
    g.write(walked(table), g.read(walked(table)) & ~0x60 | flags)
    g.write(g.ept_entry(table), table | 0x30 | rights if rights else 0)
    g.regs(rbx=DATA)
    found = g.run(EPT_POINTER=g.eptp)
    needed = 0x60 if access == WRITE and table == PD else 0x20
    if not rights & 1 or accessed:
        kind = READ | WRITE if accessed else READ
    else:
        kind = READ | WRITE if needed & ~flags else 0
    if kind == 0:
        assert found.reason == 18 and g.read(walked(table)) & 0x60 == flags
        return
    # the fetch of the first instruction comes through PML4 and PDPT, and reads them first
    first = table != PD or not rights & 1 or accessed
    assert (found.reason, found.qualification) == (VIOLATION, kind | rights << 3 | LINEAR)
    assert found.linear in ((CODE, DATA) if first else (DATA,))
    assert found.physical & ~0xFFF == table
    assert g.read(walked(table)) & 0x60 == flags


def test_a_table_that_ends_early(guest):
    """Not present above the last level: the rights are those of all levels together."""
    g = with_ept(guest, "488b03")
    g.write(EPT + 0x2000 + 8 * 3, 0)
    g.regs(rbx=DATA)
    assert g.run(EPT_POINTER=g.eptp).qualification == READ | LINEAR | FINAL


def test_rights_are_the_conjunction_of_all_levels(guest):
    g = with_ept(guest, "488903")
    g.write(EPT + 0x2000 + 8 * 3, g.read(EPT + 0x2000 + 8 * 3) & ~2)
    g.regs(rbx=DATA)
    assert g.run(EPT_POINTER=g.eptp).qualification == WRITE | 5 << 3 | LINEAR | FINAL


@pytest.mark.parametrize("entry", [
    DATA | 0x32, DATA | 0x36, DATA | 7 | 2 << 3, DATA | 7 | 3 << 3, DATA | 7 | 7 << 3,
    DATA | 0x37 | 1 << 46, DATA | 0x37 | 1 << 51])
def test_misconfiguration(guest, entry):
    """W without R, memory types that do not exist, bits beyond the physical address."""
    g = with_ept(guest, "488b03")
    g.write(g.ept_entry(DATA), entry)
    g.regs(rbx=DATA + 8)
    found = g.run(EPT_POINTER=g.eptp)
    assert (found.reason, found.physical, found.rip) == (MISCONFIG, DATA + 8, CODE)


@pytest.mark.parametrize("level, flags",
                         [(3, 0x80), (3, 8), (2, 8), (1, 0x40), (1, 0x80 | 1 << 13)])
def test_misconfigured_tables(guest, level, flags):
    g = with_ept(guest, "488b03")
    place = {3: EPT, 2: EPT + 0x1000, 1: EPT + 0x2000 + 8 * (DATA >> 21)}[level]
    g.write(place, g.read(place) | flags)
    g.regs(rbx=DATA)
    assert g.run(EPT_POINTER=g.eptp).reason == MISCONFIG


@pytest.mark.parametrize("capability, reason", [(0x00000F0106334141, 10), (0x00000F0106334140, 49)])
def test_execute_only_is_a_capability(guest, capability, reason):
    g = with_ept(guest, "0fa2", options=dict(msrs={0x48C: capability}))
    g.write(g.ept_entry(CODE), CODE | 0x34)
    assert g.run(EPT_POINTER=g.eptp).reason == reason


def test_large_pages(guest):
    g = with_ept(guest, "488b03" + VMCALL)
    g.write(EPT + 0x2000 + 8 * 5, 6 << 20 | 0xB7)
    g.write(DATA + 0x12348, 0xFEEDFACE)
    g.regs(rbx=0xA00000 + 0x12348)
    assert g.run(EPT_POINTER=g.eptp).reason == 18
    assert g.regs()[RAX] == 0xFEEDFACE


def test_accessed_and_dirty_flags_of_ept(guest):
    g = with_ept(guest, "488b03" "49890424" + VMCALL, accessed=True)
    g.regs(rbx=DATA, r12=DATA + 0x1000)
    assert g.run(EPT_POINTER=g.eptp).reason == 18
    assert g.read(EPT) & 0x300 == 0x100
    assert [g.read(g.ept_entry(at)) & 0x300 for at in (DATA, DATA + 0x1000, CODE, 0x900000)] == [
        0x100, 0x300, 0x100, 0]


@pytest.mark.parametrize("index", [511, 1, 0])
def test_page_modification_log(index):
    """SDM 28.2.6: each dirty flag that is set leaves an address; a full log exits before that."""
    log = 0x904000
    g = with_ept(lambda code, **more: Guest(
        "plain", code, options=dict(profile="bare"), **more),
        "488903" + "488903" + "49890424" + VMCALL, accessed=True)
    g.set(PML_ADDRESS=log, GUEST_PML_INDEX=index, SECONDARY_VM_EXEC_CONTROL=S_EPT | 1 << 17)
    # the tables of L2 are dirty, so that only its data is left
    g.regs(rbx=DATA + 8, r12=DATA + 0x1000)
    found = g.run(EPT_POINTER=g.eptp)
    written = [g.read(log + 8 * n) for n in range(512)]
    gone = [gpa for gpa in reversed(written) if gpa]
    assert all(gpa & 0xFFF == 0 for gpa in gone) and len(set(gone)) == len(gone)
    if found.reason == 18:
        assert {DATA, DATA + 0x1000} <= set(gone)
        assert g.get("GUEST_PML_INDEX") == (index - len(gone)) & 0xFFFF
    else:
        # the log is full: the index has gone below 0
        assert (found.reason, g.get("GUEST_PML_INDEX"), len(gone)) == (62, 0xFFFF, index + 1)
    assert (found.reason == 18) == (index == 511)


def test_without_the_feature_nothing_is_marked(guest):
    g = with_ept(guest, "488903" + VMCALL)
    g.regs(rbx=DATA)
    g.run(EPT_POINTER=g.eptp)
    assert g.read(g.ept_entry(DATA)) == DATA | 0x37 and g.read(EPT) == EPT + 0x1000 | 7


def test_a_violation_while_an_event_is_delivered(guest):
    g = with_ept(guest, "cd40")
    g.vector(0x40)
    g.write(g.ept_entry(IDT), 0)
    found = g.run(EPT_POINTER=g.eptp)
    assert found[:2] == (VIOLATION, READ | LINEAR | FINAL)
    assert (found.idt_info, found.length, found.linear) == (
        VALID | SOFT_INT | 0x40, 2, IDT + 0x40 * 16)
    assert not g.get("GUEST_RFLAGS") & RF


def test_a_second_page_of_an_instruction(guest):
    """A fetch that runs into the next page faults there; the address says so."""
    g = with_ept(guest, "")
    at = CODE + 0x1000 - 2
    g.code("48b8", at)
    g.write(g.ept_entry(CODE + 0x1000), 0)
    found = g.run(EPT_POINTER=g.eptp, GUEST_RIP=at)
    assert (found.qualification, found.linear, found.rip) == (
        FETCH | LINEAR | FINAL, CODE + 0x1000, at)


def test_a_write_across_two_pages_is_all_or_nothing(guest):
    g = with_ept(guest, "488903")
    g.write(g.ept_entry(DATA + 0x1000), DATA + 0x1000 | 0x31)
    g.regs(rbx=DATA + 0xFFC, rax=~0)
    found = g.run(EPT_POINTER=g.eptp)
    assert (found.reason, found.physical) == (VIOLATION, DATA + 0x1000)
    assert g.read(DATA + 0xFFC) == 0


def test_memory_that_is_not_there(guest):
    """The EPT may name it: reads are all ones, writes are lost."""
    g = with_ept(guest, "488903" "488b0b" + VMCALL)
    g.write(g.ept_entry(DATA), 1 << 40 | 0x37)
    g.regs(rbx=DATA, rax=5)
    assert g.run(EPT_POINTER=g.eptp).reason == 18
    assert g.regs()[RCX] == (1 << 64) - 1


def test_translations_last_until_they_are_flushed(guest):
    """With a VPID a changed EPT counts after INVEPT."""
    g = with_ept(guest, "488b03" + VMCALL, SECONDARY_VM_EXEC_CONTROL=S_EPT | S_VPID,
                 VIRTUAL_PROCESSOR_ID=7)
    g.regs(rbx=DATA)
    assert g.run(EPT_POINTER=g.eptp).reason == 18
    g.write(g.ept_entry(DATA), 0)
    assert g.cpu.invept(1, g.eptp).ok
    assert g.run(GUEST_RIP=CODE).reason == VIOLATION


def test_without_a_vpid_an_entry_forgets_linear_addresses(guest):
    """But not guest-physical ones, which are INVEPT's."""
    g = with_ept(guest, "488b03" + VMCALL)
    g.write(DATA + 0x5000, 1)
    g.write(0xA05000, 2)
    g.regs(rbx=DATA + 0x5000)
    assert g.run(EPT_POINTER=g.eptp).reason == 18 and g.regs()[RAX] == 1
    g.write(g.ept_entry(DATA + 0x5000), 0)
    assert g.run(GUEST_RIP=CODE).reason == 18 and g.regs()[RAX] == 1
    g.write(PD + 8 * 3, g.read(PD + 8 * 5))
    assert g.run(GUEST_RIP=CODE).reason == 18 and g.regs()[RAX] == 2


def test_pdptes_come_from_the_vmcs(guest):
    """PAE paging under EPT: MOV to CR3 loads them, an exit stores them."""
    g = with_ept(guest, "", GUEST_CS_SELECTOR=0x28, GUEST_CS_AR_BYTES=0xC09B, GUEST_IA32_EFER=0,
                 VM_ENTRY_CONTROLS=0x11FB, GUEST_PDPTR0=PD | 1)
    g.code("0f22d8" + VMCALL)
    g.write(0x11000, PD | 1)
    g.write(0x11018, 0x5001)
    g.regs(rax=0x11000)
    found = g.run(EPT_POINTER=g.eptp)
    assert (found.reason, g.get("GUEST_PDPTR0"), g.get("GUEST_PDPTR3")) == (18, PD | 1, 0x5001)
    # a reserved bit in one of them is #GP
    g.write(0x11008, 1 | 1 << 5)
    assert g.run(GUEST_RIP=CODE, EXCEPTION_BITMAP=1 << 13).intr_info & 0xFF == 13
    # the table is no translation of a linear address
    g.write(g.ept_entry(0x11000), 0)
    assert g.cpu.invept(1, g.eptp).ok
    found = g.run(GUEST_RIP=CODE)
    assert (found.reason, found.qualification, found.physical) == (VIOLATION, READ, 0x11000)
