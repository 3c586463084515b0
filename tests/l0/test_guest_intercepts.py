# SPDX-License-Identifier: GPL-2.0-only
"""Instructions of L2 that leave, always or by a control (SDM volume 3, chapter 26)."""

import pytest
from guest import *

# (name, code, the control that makes it leave, registers, reason, qualification)
BY_CONTROL = [
    ("HLT", "f4", dict(proc=HLT), {}, 12, 0),
    ("INVLPG", "0f013b", dict(proc=INVLPG), dict(rbx=0x12345678), 14, 0x12345678),
    ("MWAIT", "0f01c9", dict(proc=MWAIT), {}, 36, 0),
    ("MONITOR", "0f01c8", dict(proc=MONITOR), dict(rax=DATA), 39, 0),
    ("RDTSC", "0f31", dict(proc=RDTSC), {}, 16, 0),
    ("RDTSCP", "0f01f9", dict(proc=RDTSC, secondary=S_RDTSCP), {}, 51, 0),
    ("CR3 load", "0f22d8", dict(proc=CR3_LOAD), dict(rax=PML4), 28, 0x003),
    ("CR3 store", "0f20d9", dict(proc=CR3_STORE), {}, 28, 0x113),
    ("CR8 load", "440f22c0", dict(proc=CR8_LOAD), dict(rax=3), 28, 0x008),
    ("CR8 store", "440f20c2", dict(proc=CR8_STORE), {}, 28, 0x218),
    ("PAUSE", "f390", dict(proc=PAUSE), {}, 40, 0),
    ("WBINVD", "0f09", dict(secondary=S_WBINVD), {}, 54, 0),
    ("SGDT", "0f01042550006000", dict(secondary=S_DESC), dict(), 46, 0x600050),
    ("LGDT", "0f0113", dict(secondary=S_DESC), dict(rbx=DATA), 46, 0),
    ("SIDT", "0f014b08", dict(secondary=S_DESC), dict(rbx=DATA), 46, 8),
    ("LIDT", "0f015b10", dict(secondary=S_DESC), dict(rbx=DATA), 46, 0x10),
    ("SLDT", "0f00c0", dict(secondary=S_DESC), {}, 47, 0),
    ("LLDT", "0f00d0", dict(secondary=S_DESC), dict(rax=0), 47, 0),
    ("STR", "0f00c8", dict(secondary=S_DESC), {}, 47, 0),
    ("RDRAND", "0fc7f0", dict(secondary=S_RDRAND), {}, 57, 0),
    ("RDSEED", "0fc7f8", dict(secondary=S_RDSEED), {}, 61, 0),
    ("MOV DR7", "0f21f8", dict(proc=MOV_DR), {}, 29, 0x17),
    ("MOV to DR0", "0f23c2", dict(proc=MOV_DR), dict(rdx=1), 29, 0x200),
    ("OUT", "e680", dict(proc=UNCOND_IO), {}, 30, 0x800040),
]



def controls(proc=0, secondary=0):
    return dict(CPU_BASED_VM_EXEC_CONTROL=PROC | proc, SECONDARY_VM_EXEC_CONTROL=secondary)


@pytest.mark.parametrize("name, code, needs, registers, reason, qualification", BY_CONTROL,
                         ids=[row[0] for row in BY_CONTROL])
@pytest.mark.case("L2X-06")
def test_leaves_by_its_control(guest, name, code, needs, registers, reason, qualification):
    g = guest(code, **controls(**needs))
    g.regs(**registers)
    found = g.run()
    assert found[:4] == (reason, qualification, len(code) // 2, CODE)
    assert found[4:8] == (0, 0, 0, 0)


@pytest.mark.parametrize("name, code, needs, registers, reason, qualification",
                         [row for row in BY_CONTROL if row[0] != "HLT"],
                         ids=[row[0] for row in BY_CONTROL if row[0] != "HLT"])
@pytest.mark.case("L2X-06")
def test_goes_on_without_it(guest, name, code, needs, registers, reason, qualification):
    secondary = S_RDTSCP if name == "RDTSCP" else 0
    g = guest(code + VMCALL, **controls(secondary=secondary))
    if name in ("LGDT", "LIDT"):
        g.write(DATA + (0x10 if name == "LIDT" else 0), 0xFFFF | (GDT << 16), 10)
    g.regs(**registers)
    assert g.run()[:4] == (18, 0, 3, CODE + len(code) // 2)


ALWAYS = [
    ("CPUID", "0fa2", 10), ("INVD", "0f08", 13), ("VMCALL", VMCALL, 18),
    ("VMCLEAR", "660fc733", 19), ("VMLAUNCH", "0f01c2", 20), ("VMPTRLD", "0fc733", 21),
    ("VMPTRST", "0fc73b", 22), ("VMREAD", "0f7803", 23), ("VMRESUME", "0f01c3", 24),
    ("VMWRITE", "0f7903", 25), ("VMXOFF", "0f01c4", 26), ("VMXON", "f30fc733", 27),
    ("INVEPT", "660f388003", 50), ("INVVPID", "660f388103", 53),
]


@pytest.mark.parametrize("name, code, reason", ALWAYS, ids=[row[0] for row in ALWAYS])
@pytest.mark.case("L2X-06")
def test_always_leaves(guest, name, code, reason):
    g = guest(code)
    g.regs(rbx=DATA)
    assert g.run()[:8] == (reason, 0, len(code) // 2, CODE, 0, 0, 0, 0)


def test_xsetbv_always_leaves_where_the_guest_has_it(guest):
    from world import config_a_msrs
    g = guest("0f01d1", options=dict(msrs=config_a_msrs(), unfinished=True), GUEST_CR4=0x42020,
              EXCEPTION_BITMAP=1 << 6)
    assert g.run()[:3] == (55, 0, 3)
    assert g.run(GUEST_CR4=0x2020).intr_info == VALID | HARD | 6


@pytest.mark.parametrize("code, info, qualification", [
    # mod rm: [rbx]: base RBX, no index, DS, 64-bit addresses; VMPTRLD has no other operand
    ("0fc733", 3 << 23 | 1 << 22 | 3 << 15 | 2 << 7, 0),
    # VMREAD [rbx+rsi*4+0x10], rdx
    ("0f7854b310", 2 << 28 | 3 << 23 | 6 << 18 | 2 | 3 << 15 | 2 << 7, 0x10),
    # VMREAD rcx, rdx: registers, no address
    ("0f78d1", 2 << 28 | 1 << 10 | 1 << 3, 0),
    # VMWRITE r9, [fs:0x1234]: no base, no index
    ("64440f790c2534120000", 9 << 28 | 1 << 27 | 1 << 22 | 4 << 15 | 2 << 7, 0x1234),
    # VMPTRST [ebx-8]: 32-bit addresses
    ("670fc77bf8", 3 << 23 | 1 << 22 | 3 << 15 | 1 << 7, (1 << 64) - 8),
    # INVVPID rdi, [rip+0x100]: the qualification is the sum with the next RIP
    ("660f38813d00010000", 7 << 28 | 1 << 27 | 1 << 22 | 3 << 15 | 2 << 7, CODE + 9 + 0x100),
    # VMCLEAR [rsp+r12*2]: the stack segment
    ("66420fc73464", 4 << 23 | 12 << 18 | 1 | 2 << 15 | 2 << 7, 0),
])
def test_instruction_information(guest, code, info, qualification):
    found = guest(code).run()
    assert (found.insn_info, found.qualification, found.length) == (
        info, qualification, len(code) // 2)


@pytest.mark.parametrize("code, info", [
    # SGDT SIDT LGDT LIDT in bits 29:28; bit 11 is the operand size outside 64-bit code
    ("0f0103", 0), ("0f010b", 1), ("0f0113", 2), ("0f011b", 3)])
def test_descriptor_table_information(guest, code, info):
    g = guest(code, **controls(secondary=S_DESC))
    g.regs(rbx=DATA)
    assert g.run().insn_info & ~(1 << 11) == \
        info << 28 | 3 << 23 | 1 << 22 | 3 << 15 | 2 << 7


@pytest.mark.parametrize("code, info", [
    ("0f00c1", 0), ("0f00c9", 1), ("0f00d1", 2), ("0f00d9", 3)])
def test_descriptor_register_information(guest, code, info):
    found = guest(code, **controls(secondary=S_DESC)).run()
    assert (found.reason, found.insn_info) == (47, info << 28 | 1 << 10 | 1 << 3)


@pytest.mark.parametrize("code, size", [("660fc7f2", 0), ("0fc7f2", 1), ("480fc7f2", 2)])
def test_random_number_information(guest, code, size):
    found = guest(code, **controls(secondary=S_RDRAND)).run()
    assert (found.reason, found.insn_info) == (57, 2 << 3 | size << 11)


def test_invpcid(guest):
    code = "660f38821b"
    g = guest(code, EXCEPTION_BITMAP=1 << 6, **controls(secondary=S_INVPCID, proc=INVLPG))
    g.regs(rbx=DATA)
    found = g.run()
    assert (found.reason, found.insn_info) == (
        58, 3 << 28 | 3 << 23 | 1 << 22 | 3 << 15 | 2 << 7)
    # without the control it does not exist; without INVLPG exiting it does its work
    assert g.run(**controls(proc=INVLPG)).intr_info == VALID | HARD | 6
    g.regs(rax=0)
    assert g.run("660f388203" + VMCALL, **controls(secondary=S_INVPCID)).reason == 18


def test_mwait_says_whether_an_address_is_monitored(guest):
    g = guest("0f01c8" "0f01c9", **controls(proc=MWAIT))
    assert g.run()[:2] == (36, 1)


@pytest.mark.parametrize("code", [
    "0f0b", "0f01f9", "f30fc7f8", "0f01d4", "0fff", "0f34", "f04801c0", "8ec8", "0f20c8", "ffff",
    "0f01d1", "c7c800000000"],
    ids=["UD2", "RDTSCP off", "RDPID", "VMFUNC off", "0f ff", "SYSENTER", "LOCK ADD register",
         "MOV to CS", "MOV CR1", "ff /7", "XSETBV off", "c7 /1"])
@pytest.mark.case("L2X-09")
def test_undefined(guest, code):
    found = guest(code, EXCEPTION_BITMAP=1 << 6).run()
    assert found[:8] == (0, 0, 0, CODE, VALID | HARD | 6, 0, 0, 0)


@pytest.mark.parametrize("code", [
    "f4", "0f08", "0f09", "0f30", "0f32", "0f22c0", "0f20c0", "0f0113", "0f00d0", "0f013b",
    "0f06", "0f01f0", "fa", "e680", "0f33"],
    ids=["HLT", "INVD", "WBINVD", "WRMSR", "RDMSR", "MOV to CR0", "MOV from CR0", "LGDT", "LLDT",
         "INVLPG", "CLTS", "LMSW", "CLI", "OUT", "RDPMC"])
def test_privilege_comes_before_the_exit(guest, code):
    """SDM 26.1.1: with CPL 3 the instruction faults, whatever the controls say."""
    g = guest(code, EXCEPTION_BITMAP=1 << 13, GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB,
              GUEST_SS_SELECTOR=0x23, GUEST_SS_AR_BYTES=0xC0F3,
              **controls(proc=HLT | INVLPG | RDPMC | UNCOND_IO, secondary=S_DESC | S_WBINVD))
    assert g.run()[:8] == (0, 0, 0, CODE, VALID | HARD | CODE_BIT | 13, 0, 0, 0)


@pytest.mark.parametrize("code, reason", [("0fa2", 10), (VMCALL, 18), ("0f01c2", 20),
                                          ("0f21c0", 29)])
def test_exits_that_any_privilege_causes(guest, code, reason):
    g = guest(code, GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB,
              GUEST_SS_SELECTOR=0x23, GUEST_SS_AR_BYTES=0xC0F3, **controls(proc=MOV_DR))
    assert g.run().reason == reason


def test_what_the_timestamp_counter_shows(guest):
    """RDTSC and RDMSR 0x10 with the offset of L1, where it is used."""
    g = guest("0f31" + VMCALL, TSC_OFFSET=1 << 60, MSR_BITMAP=BITMAPS, **controls())
    g.run()
    assert g.regs()[RDX] < 1 << 28
    for code in ("0f31", "0f32"):
        g.regs(rcx=0x10)
        g.run(code + VMCALL, **controls(proc=TSC_OFFSET | MSR_BITMAPS))
        assert g.regs()[RDX] >> 28 == 1


def test_rdpmc_without_counters(guest):
    assert guest("0f33", EXCEPTION_BITMAP=1 << 13,
                 **controls(proc=0)).run().intr_info == VALID | HARD | CODE_BIT | 13
    assert guest("0f33", **controls(proc=RDPMC)).run()[:3] == (15, 0, 2)
