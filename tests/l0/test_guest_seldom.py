# SPDX-License-Identifier: GPL-2.0-only
"""What code of L2 seldom meets: PCIDs, addresses beyond what EPT translates, null stacks of outer
levels, what level 0 alone may."""

import pytest
from modes import *
from test_far_transfers import RETF, RETF_8
from test_guest_modes import real
from world import World

PCIDE = 1 << 17
PCID = {"msrs": {0x489: 0x3727FF | PCIDE}, "unfinished": True}
MOV_CR4, MOV_CR3 = "0f22e0", "0f22d8"
NMI_BLOCKED = 8
AD_AND_EPT = 0x00000F0106334141


@pytest.mark.parametrize("make, cr3, ends", [
    (wide, 0, DONE), (wide, 5, (GP, 0)), (wide, 0xFFF, (GP, 0)), (narrow, 0, (GP, 0))])
def test_pcids_go_on_in_long_mode_and_from_pcid_0(make, cr3, ends):
    """SDM 2B MOV to control registers."""
    g = make(MOV_CR4 + VMCALL, options=PCID)
    if make is wide:
        g.set(GUEST_CR3=PML4 | cr3)
    g.regs(rax=g.get("GUEST_CR4") | PCIDE)
    assert told(g.run()) == ends
    assert bool(g.get("GUEST_CR4") & PCIDE) == (ends is DONE)


def test_with_pcids_bit_63_of_cr3_is_no_address():
    for pcids, ends in ((PCIDE, DONE), (0, (GP, 0))):
        g = wide(MOV_CR3 + VMCALL, options=PCID)
        g.set(GUEST_CR4=g.get("GUEST_CR4") | pcids)
        g.regs(rax=1 << 63 | PML4 | 5)
        assert told(g.run()) == ends
        if ends is DONE:
            assert g.get("GUEST_CR3") == PML4 | 5


def test_pcids_stay_on_with_a_pcid_in_cr3_and_paging_with_them():
    """Only going on is refused; CR0.PG does not go off under PCIDE."""
    g = wide(MOV_CR4 + VMCALL, options=PCID, GUEST_CR3=PML4 | 5)
    g.set(GUEST_CR4=g.get("GUEST_CR4") | PCIDE)
    g.regs(rax=g.get("GUEST_CR4") | 1 << 9)
    assert told(g.run()) is DONE and g.get("GUEST_CR4") & PCIDE


def test_pcids_of_l1():
    world = World(**PCID)
    world.cpu.efer = 0x500
    for cr4, value, ends in ((0x2020, 1 << 63 | 0x1000, False), (0x2020 | PCIDE, 0x1000, True),
                             (0x2020 | PCIDE, 1 << 63 | 0x1005, True)):
        world.cpu.cr4 = cr4
        assert world.cpu.mov_to_cr(3, value).ok == ends
        assert not ends or world.cpu.cr3 == value & ~(1 << 63)


def test_control_registers_outside_vmx_operation():
    """SDM 23.8: nothing is fixed there, but that VMXON then asks for it."""
    cpu = World(vmx=False, msrs={0x488: 0x2200}).cpu
    assert cpu.wrmsr(0x3A, 5).ok
    assert cpu.mov_to_cr(0, 0x80000011).ok and cpu.mov_to_cr(0, 0x80000031).ok
    cpu.cr4 = 0x2000
    assert cpu.vmxon(0x40000).why.id == "vmxon_cr4"
    cpu.cr4 = 0x2200
    assert cpu.vmxon(0x40000).ok


@pytest.mark.parametrize("name, index, may, bit", [
    ("cr0", 0x487, 0xFFFFFFFF, 1 << 30), ("cr4", 0x489, 0x3727FF, 1 << 9)])
def test_what_vmx_operation_does_not_allow_to_be_on(name, index, may, bit):
    """SDM A.7, A.8: a bit that is 0 in the second MSR is fixed to 0, at VMXON and after it."""
    world = World(vmx=False, msrs={index: may & ~bit})
    cpu = world.cpu
    assert cpu.wrmsr(0x3A, 5).ok
    cpu.efer, cpu.cr4 = 0x500, cpu.cr4 | 0x2000
    on, off = getattr(cpu, name) | bit, getattr(cpu, name) & ~bit
    setattr(cpu, name, on)
    refused = cpu.vmxon(0x40000)
    assert not refused.ok and refused.why.id == f"vmxon_{name}"
    setattr(cpu, name, off)
    assert cpu.vmxon(0x40000).ok
    found = cpu.mov_to_cr(int(name[2]), on)
    assert not found.ok and found.why.id in (f"{name}_in_vmx", f"{name}_reserved")
    assert cpu.mov_to_cr(int(name[2]), off).ok


@pytest.mark.parametrize("code", [
    "0f388003", "0f388103", "0f388203", "f3660f388003", "f2660f388103", "660f387f03", "660f388303",
    "0f380003", "0f38ff03", "660fae3b", "f30fae3b", "f20fae3b"])
def test_forms_with_a_prefix_of_others(code):
    """INVEPT, INVVPID and INVPCID have 66 and nothing else, CLFLUSH has none (SDM 2A, 3C 30.3)."""
    g = wide(code)
    g.regs(rbx=DATA)
    assert told(g.run()) == (UD, 0)


@pytest.mark.parametrize("form, size", [("8b0e", 4), ("8b8e", 4), ("8b4e", 3), ("8b0f", 2)])
def test_16_bit_addresses_by_form(guest, form, size):
    """Mod 0 with form 6 is a displacement alone, of 16 bits, as that of mod 2 is."""
    g = real(guest, form + "0005"[:2 * (size - 2)] + VMCALL, GUEST_SS_BASE=0)
    at = {"8b0e": 0x500, "8b8e": 0x700, "8b4e": 0x200, "8b0f": 0x123}[form]
    g.write(at, 0xBEEF, 2)
    g.regs(rbp=0x200, rbx=0x123, rcx=0, rsi=0, rdi=0)
    found = g.run()
    assert (found.reason, found.rip) == (18, 0x7000 + size)
    assert g.regs()[RCX] & 0xFFFF == 0xBEEF


def test_iret_that_faults_and_what_its_fault_becomes():
    """SDM 27.2.3: bit 12 of the information where IRET has unblocked NMIs, and the exit is neither
    of a double fault nor during a delivery."""
    fields = dict(GUEST_INTERRUPTIBILITY_INFO=NMI_BLOCKED)
    for bitmap, handler, vector, unblocked in (
            (1 << GP, None, GP, True), (1 << PF, "gone", PF, False), (1 << 8, "absent", 8, None)):
        g = plain("48cf", EXCEPTION_BITMAP=bitmap, GUEST_RSP=STACK, **fields)
        # a frame whose selector names no code
        for n, word in enumerate((CODE, 0x10, 2, STACK, 0)):
            g.write(STACK + 8 * n, word)
        g.vector(GP, present=handler != "absent")
        if handler == "gone":
            g.set(GUEST_IDTR_BASE=END)
        found = g.run()
        assert (found.reason, found.intr_info & 0xFF) == (0, vector)
        if unblocked is not None:
            assert bool(found.intr_info >> 12 & 1) == unblocked
            assert bool(found.idt_info >> 31) == (not unblocked)


@pytest.mark.parametrize("address, ends", [(1 << 47, 48), (1 << 48, 48), (1 << 51, 48)])
def test_ept_translates_48_bits(guest, address, ends):
    """SDM 28.2.2: a guest-physical address beyond them is a violation, whatever the tables."""
    g = guest("488b03" + VMCALL, {"maxphyaddr": 52}, SECONDARY_VM_EXEC_CONTROL=S_EPT,
              EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    # the whole upper half, where only the address is beyond
    g.write(EPT + 8 * (address >> 39 & 511), EPT + 0x1000 | 7)
    g.write(PD + 8 * 7, address | 0x87)
    g.regs(rbx=7 << 21)
    found = g.run()
    assert found.reason == (ends if address >> 48 else 18)
    if address >> 48:
        assert found.physical == address


@pytest.mark.parametrize("level, bit", [(1, 16), (2, 17)])
@pytest.mark.parametrize("offered", [True, False])
def test_a_large_page_that_is_not_offered_is_a_reserved_bit(level, bit, offered):
    """SDM 28.2.2, A.10: bits 16 and 17 of the EPT capabilities."""
    offers = (AD_AND_EPT | 3 << 16) & ~((not offered) << bit)
    g = plain("488b03" + VMCALL, {"msrs": {0x48C: offers}, "unfinished": True},
              SECONDARY_VM_EXEC_CONTROL=S_EPT, EPT_POINTER=EPT | 0x1E)
    g.map_ept()
    place = 7 << 21
    if level == 1:
        g.write(EPT + 0x2000 + 8 * 7, place | 0xB7)
    else:
        # a second GByte that is the first
        g.write(EPT + 0x1008, 0xB7)
        g.write(PD + 8 * 7, 1 << 30 | place | 0x87)
    g.regs(rbx=place)
    assert g.run().reason == (18 if offered else 49)


@pytest.mark.parametrize("walk", [3, 4])
@pytest.mark.parametrize("offered", [0, 1 << 6, 1 << 7, 3 << 6])
def test_the_length_of_an_ept_walk(walk, offered):
    """SDM 26.2.1.1: one less than the length stands in EPTP, and must be supported."""
    g = plain(VMCALL, {"msrs": {0x48C: AD_AND_EPT & ~(3 << 6) | offered}, "unfinished": True},
              SECONDARY_VM_EXEC_CONTROL=S_EPT, EPT_POINTER=EPT | walk << 3 | 6)
    g.map_ept()
    found = g.cpu.vmlaunch()
    assert (found.why is None) == bool(offered >> (walk + 3) & 1)
    assert found.why is None or found.why.id == "ept_walk"


@pytest.mark.parametrize("list_at, ends", [(0x930000, None), (0x930008, "eptp_list"),
                                           (1 << 50, "eptp_list")])
def test_the_list_of_ept_pointers(list_at, ends):
    g = plain(VMCALL, {"msrs": {0x491: 1, 0x48B: 0xFFFFFFFF << 32}, "unfinished": True},
              SECONDARY_VM_EXEC_CONTROL=S_EPT | 1 << 13, EPT_POINTER=EPT | 0x1E,
              VM_FUNCTION_CONTROL=1, EPTP_LIST_ADDRESS=list_at,
              CPU_BASED_VM_EXEC_CONTROL=PROC | VALID)
    g.map_ept()
    found = g.cpu.vmlaunch()
    assert (found.why and found.why.id) == ends
    # VMFUNC itself is L1's to do
    if ends is None:
        g.launched = True
        assert g.run("0f01d4").reason == 59


@pytest.mark.parametrize("make, code, size, rights, level, stack, ends", [
    (wide, RETF_8, 8, 0xA0BB, 1, 1, DONE), (wide, RETF_8, 8, 0xA0DB, 2, 2, DONE),
    (wide, RETF_8, 8, 0xA0BB, 1, 0, (GP, 0)), (wide, RETF_8, 8, 0xA0BB, 1, 2, (GP, 0)),
    (wide, RETF_8, 8, 0xC0BB, 1, 1, (GP, 0)), (wide, RETF_8, 8, 0xA0FB, 3, 3, (GP, 0)),
    (narrow, RETF, 4, 0xC0BB, 1, 1, (GP, 0))])
def test_a_null_stack_of_an_outer_level(make, code, size, rights, level, stack, ends):
    """SDM 2B RET: in 64-bit code of levels 1 and 2 alone, and with the level as its RPL."""
    g = make(code, GUEST_RSP=STACK)
    g.set(GUEST_GDTR_LIMIT=0x4F)
    g.write(FREE, descriptor(rights))
    for n, word in enumerate((HANDLER, 0x30 | level, STACK - 0x100, stack)):
        g.write(STACK + size * n, word, size)
    g.code(VMCALL, HANDLER)
    assert told(g.run()) == ends
    if ends is DONE:
        assert g.get("GUEST_SS_SELECTOR") == stack and g.get("GUEST_RSP") == STACK - 0x100


@pytest.mark.parametrize("code, ends", [("6e", 30), ("6c", 30), ("646e", 30), ("f26e", 30)])
@pytest.mark.parametrize("make", [wide, narrow])
def test_the_address_of_a_string_that_leaves(make, code, ends):
    """SDM 27.2.1: the linear address, with the segment's base where there is one."""
    g = make(code, CPU_BASED_VM_EXEC_CONTROL=PROC | UNCOND_IO | VALID * (make is narrow),
             GUEST_FS_BASE=0x3000, GUEST_DS_BASE=0, GUEST_ES_BASE=0)
    if make is narrow:
        g.set(GUEST_DS_BASE=0xFFFFF000, GUEST_ES_BASE=0x2000)
    g.regs(rsi=DATA, rdi=DATA + 64, rdx=0x80, rcx=3)
    found = g.run()
    base = {wide: {"6e": 0, "f26e": 0, "6c": 0, "646e": 0x3000},
            narrow: {"6e": 0xFFFFF000, "f26e": 0xFFFFF000, "6c": 0x2000, "646e": 0x3000}}[make]
    at = DATA + 64 if code == "6c" else DATA
    assert (found.reason, found.linear) == (ends, (at + base[code]) & 0xFFFFFFFF)


def test_outs_whose_memory_is_not_there():
    g = wide("6e", CPU_BASED_VM_EXEC_CONTROL=PROC & ~UNCOND_IO)
    g.regs(rsi=END, rdx=0x80)
    assert told(g.run()) == (PF, 0)


@pytest.mark.parametrize("code, ends", [
    ("660fc733", 19), ("f30fc733", 27), ("f20fc733", (UD, 0)), ("0fc733", 21)])
@pytest.mark.parametrize("vmxe", [0x2000, 0])
def test_vmxon_asks_for_vmxe(code, ends, vmxe):
    """SDM 3C 30.3: without CR4.VMXE, VMXON is undefined; the others leave in VMX non-root."""
    g = wide(code, options={"msrs": {0x488: 0}, "unfinished": True})
    g.set(GUEST_CR4=g.get("GUEST_CR4") & ~0x2000 | vmxe)
    g.regs(rbx=DATA)
    found = g.run()
    if code == "f30fc733" and not vmxe or ends == (UD, 0):
        assert told(found)[0] == UD
    else:
        assert found.reason == ends


@pytest.mark.parametrize("code, level, ends", [
    ("0f01f8", 3, (GP, 0)), ("0f01f8", 0, DONE), ("0f013b", 3, (GP, 0)), ("0f013b", 0, DONE),
    ("0f06", 3, (GP, 0)), ("0f06", 0, DONE), ("0f08", 3, (GP, 0)), ("0f09", 3, (GP, 0)),
    ("f4", 3, (GP, 0)), ("0f01cf", 3, (UD, 0))])
def test_what_level_0_alone_may(code, level, ends):
    """SWAPGS, INVLPG, CLTS, INVD, WBINVD, HLT; ENCLS is none without SGX (SDM 2A, 2B, 3D)."""
    g = wide(code + VMCALL, **LEVEL_3 if level else {})
    g.regs(rbx=DATA)
    assert told(g.run()) == ends


@pytest.mark.parametrize("at", [END, END - 8])
def test_invpcid_whose_descriptor_ends(at):
    """SDM 2A: 16 bytes are read before anything is done."""
    g = wide("660f388203", SECONDARY_VM_EXEC_CONTROL=S_INVPCID)
    g.regs(rax=2, rbx=at)
    assert told(g.run()) == (PF, 0)


def test_a_task_whose_link_is_not_there():
    """IRET with NT reads it before the task switch leaves (SDM 3A 7.4)."""
    g = narrow("cf", GUEST_RFLAGS=2 | 1 << 14, GUEST_TR_BASE=DATA)
    g.write(g.ept_entry(DATA), 0)
    found = g.run()
    assert (found.reason, found.physical) == (48, DATA)


@pytest.mark.parametrize("mp, ts, ends", [(0, 0, DONE), (2, 0, DONE), (0, 8, DONE), (2, 8, (7, 0))])
def test_wait_asks_for_mp_and_ts(mp, ts, ends):
    """SDM 3A 2.5: #NM of WAIT where both are on."""
    g = wide("9b" + VMCALL)
    g.set(GUEST_CR0=g.get("GUEST_CR0") & ~0xA | mp | ts)
    assert told(g.run()) == ends


@pytest.mark.parametrize("make", [wide, narrow])
@pytest.mark.parametrize("code, operation", [("0f0103", 0), ("0f010b", 1), ("660f0103", 0),
                                             ("0f0113", 2), ("660f011b", 3)])
def test_tables_that_leave_tell_their_operand_size(make, code, operation):
    """SDM 27.2.5: bit 11 is the operand size outside 64-bit code, where it is undefined."""
    g = make(code, CPU_BASED_VM_EXEC_CONTROL=PROC | VALID)
    g.set(SECONDARY_VM_EXEC_CONTROL=(S_EPT | S_UNRESTRICTED if make is narrow else 0) | S_DESC)
    g.regs(rbx=DATA)
    found = g.run()
    assert (found.reason, found.insn_info >> 28 & 3) == (46, operation)
    if make is narrow:
        assert bool(found.insn_info >> 11 & 1) == (not code.startswith("66"))


def test_eight_registers_that_do_not_fit_the_stack():
    """PUSHAD over its segment's limit: RSP is as it was."""
    g = narrow("60", GUEST_SS_AR_BYTES=0x4093, GUEST_SS_LIMIT=0xFFF, GUEST_RSP=0x1010)
    assert told(g.run()) == (SS, 0) and g.get("GUEST_RSP") == 0x1010


def test_bounds_lie_in_memory():
    assert told(narrow("62c3").run()) == (UD, 0)
