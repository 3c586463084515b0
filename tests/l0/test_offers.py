# SPDX-License-Identifier: GPL-2.0-only
"""What CPUID and the capability MSRs offer is there, and what is not there is not on offer."""

import re
import runpy

import pytest
from guest import *
from world import EVMCS, ROOT, World

from kvm_vmx.l0.offers import CAPABILITIES, CLASS, LEAVES, REGISTERS, undone_leaves, undone_msrs
from kvm_vmx.l0.profile import PROFILES, build
from kvm_vmx.machine.fields import other_members

OS_ID, RESET, IDLE, CRASH, CRASH_CTL, INVARIANT = (
    0x40000000, 0x40000003, 0x400000F0, 0x40000100, 0x40000105, 0x40000118)
FEATURES, HINTS, NESTED = 0x40000003, 0x40000004, 0x4000000A
FAST, INPUT = 1 << 16, 0x90000
SUCCESS, CODE_2, BAD_INPUT, ALIGNMENT, PARAMETER, DENIED = 0, 2, 3, 4, 5, 6

ROWS = [(index, bit + shift, name, test) for index, (rows, shift, _) in CAPABILITIES.items()
        for bit, (name, test) in rows.items()]
LEAF_ROWS = [(leaf, register, bit, name, test) for (leaf, register), rows in LEAVES.items()
             for bit, (name, test) in rows.items()]


def leaf(number, register, value):
    """One leaf of the default profile with one register replaced."""
    words = list(PROFILES["kvm-6.12"].cpuid.get(number, (0, 0, 0, 0)))
    words[REGISTERS.index(register)] = value
    return {number: tuple(words)}


def test_every_row_names_a_test_that_is_there():
    for test in {row[-1] for row in (*ROWS, *LEAF_ROWS)} - {None}:
        file, name = test.split("::")
        assert re.search(rf"^def {name}\(", (ROOT / "tests/l0" / file).read_text(), re.M), test


def test_the_page_is_what_is_printed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "dev"))
    printed = runpy.run_path(str(ROOT / "dev/offers.py"))["page"]()
    assert (ROOT / "docs/offers.md").read_text("utf-8") == printed, "run python dev/offers.py"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_shipped_profile_offers_what_is_done(profile):
    assert undone_leaves(PROFILES[profile].cpuid) == undone_msrs(PROFILES[profile].msrs) == []


@pytest.mark.parametrize(("index", "bit", "name", "test"), ROWS)
def test_a_capability_is_done_or_refused(index, bit, name, test):
    value = PROFILES["kvm-6.12"].msrs[index] | 1 << bit
    if test is None:
        with pytest.raises(ValueError) as error:
            build(msrs={index: value})
        assert f"MSR {index:#x} bit {bit} ({name})" in str(error.value)
        assert "\n" not in str(error.value)
    else:
        assert build(msrs={index: value}).msrs[index] == value


def test_a_bit_without_a_name_is_refused():
    for index, (rows, shift, others) in CAPABILITIES.items():
        for bit in set(range(64)) - {row + shift for row in rows}:
            value = PROFILES["kvm-6.12"].msrs[index] | 1 << bit
            if others >> bit & 1:
                if index != 0x485 or not 18 <= bit <= 24:
                    assert build(msrs={index: value}).msrs[index] == value
            else:
                with pytest.raises(ValueError, match=rf"MSR {index:#x} bit {bit} \(no name\)"):
                    build(msrs={index: value})
    for targets in range(5):
        assert build(msrs={0x485: targets << 16 | 0x65})
    with pytest.raises(ValueError, match="5 CR3 targets"):
        build(msrs={0x485: 5 << 16 | 0x65})


@pytest.mark.parametrize(("number", "register", "bit", "name", "test"), LEAF_ROWS)
def test_a_leaf_offers_what_is_done(number, register, bit, name, test):
    changes = leaf(number, register, 1 << bit) | leaf(0x40000000, "eax", 0x40000082)
    profile = build(cpuid=changes)
    offered = profile.cpuid[number][REGISTERS.index(register)]
    if test is None:
        assert offered == 0
        (undone,) = profile.undone
        assert undone.startswith(f"CPUID leaf {number:#x} {register.upper()}[{bit}] (")
        # above the highest leaf it means nothing
        assert build(cpuid=changes | leaf(number & CLASS, "eax", number - 1)).undone == ()
    else:
        assert offered == 1 << bit and profile.undone == ()


# What the bits of leaf 0x40000003 bring: register, bit, MSRs, and those that only it brings.
MSRS = [
    ("eax", 0, (0x40000010,)), ("eax", 1, (0x40000020,)),
    ("eax", 2, (*range(0x40000080, 0x40000085), *range(0x40000090, 0x400000A0))),
    ("eax", 3, (*range(0x400000B0, 0x400000B8),)), ("eax", 4, (*range(0x40000071, 0x40000074),)),
    ("eax", 5, (0x40000000, 0x40000001)), ("eax", 6, (0x40000002,)), ("eax", 7, (RESET,)),
    ("eax", 9, (0x40000021,)), ("eax", 10, (IDLE,)), ("eax", 11, (0x40000022, 0x40000023)),
    ("eax", 13, (0x40000106, 0x40000107, 0x40000108)), ("eax", 15, (INVARIANT,)),
    ("edx", 10, (*range(CRASH, CRASH_CTL + 1),)),
]
ALL_MSRS = {msr for _, _, msrs in MSRS for msr in msrs}


@pytest.mark.parametrize(("register", "bit", "msrs"), MSRS)
def test_an_msr_comes_with_its_bit(register, bit, msrs):
    """hv_check_msr_access() of KVM 6.12, and GUEST_IDLE, which it has not."""
    nothing = {FEATURES: (0, 0, 0, 0)}
    there = World(vmx=False, enforce_cpuid=True, cpuid=nothing | {
        FEATURES: tuple(1 << bit if name == register else 0 for name in REGISTERS)}).cpu
    assert {msr for msr in ALL_MSRS if there.rdmsr(msr).ok} == set(msrs)
    alone = World(vmx=False, cpuid=nothing).cpu
    strict = {0x40000106, 0x40000107, 0x40000108, IDLE}
    assert {msr for msr in msrs if alone.rdmsr(msr).ok} == set(msrs) - strict


def test_nothing_else_is_an_msr():
    offers = {FEATURES: (0xAAFF | 1 << 10, 0, 0, 1 << 10)}
    cpu = World(vmx=False, cpuid=offers).cpu
    assert {msr for msr in range(0x40000000, 0x40000400) if cpu.rdmsr(msr).ok} == ALL_MSRS


# Code, header of it in memory, (register, value) that announces it, status when it is announced.
CALLS = [
    (0x2, (0, 0, 1), (HINTS, "eax", 1 << 2), SUCCESS),
    (0x3, (0, 0, 1, 0), (HINTS, "eax", 1 << 2), SUCCESS),
    (0x13, (0, 0, 1, 0), (HINTS, "eax", 1 << 2 | 1 << 11), SUCCESS),
    (0x14, (0, 0, 1, 0, 0), (HINTS, "eax", 1 << 2 | 1 << 11), SUCCESS),
    (0x8, (1,), (HINTS, "ebx", 0xFFF), SUCCESS),
    (0xB, (0x40, 1), (HINTS, "eax", 1 << 10), SUCCESS),
    (0x15, (0x40, 1, 0), (HINTS, "eax", 1 << 10 | 1 << 11), SUCCESS),
    (0x5C, (), (FEATURES, "ebx", 1 << 4), BAD_INPUT),
    (0x5D, (1,), (FEATURES, "ebx", 1 << 5), BAD_INPUT),
    (0x8001, (), (FEATURES, "ebx", 1 << 20), SUCCESS),
    (0x8002, (), (FEATURES, "ebx", 1 << 20), CODE_2),
    (0x8041, (), (FEATURES, "ebx", 1 << 20), CODE_2),
]


def caller(cpuid, **options):
    """A processor that may call."""
    world = World(cpuid=cpuid, **options)
    assert world.cpu.wrmsr(OS_ID, 0x8100 << 48).ok
    return world


def status(world, control, words=(), **options):
    for n, word in enumerate(words):
        world.memory.write_u64(INPUT + 8 * n, word)
    return world.cpu.hypercall(control, INPUT, 0x91000, **options).value & 0xFFFF


@pytest.mark.parametrize(("code", "words", "offer", "result"), CALLS)
def test_a_call_comes_with_its_bit(code, words, offer, result):
    """hv_check_hypercall_access() of KVM 6.12: denied, whatever else is wrong with it."""
    count = 1 << 32 if code in (0x3, 0x14) else 0
    nothing = {HINTS: (0, 0, 0, 0), FEATURES: (0x60, 0, 0, 1 << 4)}
    denied = caller(nothing, enforce_cpuid=True)
    assert status(denied, code | count, words) == status(denied, code | 1 << 60) == DENIED
    number, register, value = offer
    words_of = list(nothing[number])
    words_of[REGISTERS.index(register)] = value
    offered = caller(nothing | {number: tuple(words_of)}, enforce_cpuid=True)
    assert status(offered, code | count, words) == result
    assert status(offered, code | count | 1 << 60, words) == BAD_INPUT
    if code < 0x8000:
        assert status(offered, code | 1 << 48, words) == BAD_INPUT
        free = caller(nothing)
        assert status(free, code | count, words) == result, "not enforced"
        for part in (bit for bit in range(32) if value >> bit & 1 and value & value - 1
                     and register == "eax"):
            words_of[REGISTERS.index(register)] = 1 << part
            half = caller(nothing | {number: tuple(words_of)}, enforce_cpuid=True)
            assert status(half, code | count, words) == DENIED


@pytest.mark.parametrize("code", [0x42, 0x50, 0x69, 0x8042, 0xFFFF])
def test_an_unknown_call(code):
    for enforce in (False, True):
        assert status(caller({}, enforce_cpuid=enforce), code) == CODE_2


def test_a_signal_needs_its_place():
    world = caller({FEATURES: (0x60, 1 << 5, 0, 0)}, enforce_cpuid=True)
    for at in (INPUT + 4, INPUT + 0xFFC, 1 << 40):
        assert world.cpu.hypercall(0x5D, at).value == ALIGNMENT
    assert world.cpu.hypercall(0x5D | FAST, 1).value == BAD_INPUT


# SEND_IPI -------------------------------------------------------------------------------------

def reached(world, vector):
    """The processors at which it waits; it is taken away."""
    cpus = [world.partition.processor(n) for n in range(len(world.partition))]
    found = {n for n, cpu in enumerate(cpus) if cpu.pending_interrupt == vector}
    for cpu in cpus:
        cpu.pending_interrupt = None
    return found


@pytest.mark.parametrize("fast", [False, True])
def test_an_interrupt_to_a_set_of_processors(fast):
    world = caller({}, cpus=3)

    def send(vector, mask):
        if fast:
            return world.cpu.hypercall(0xB | FAST, vector, mask).value
        return status(world, 0xB, (vector, mask))

    for mask in range(16):
        assert send(0x40, mask) == SUCCESS
        assert reached(world, 0x40) == {n for n in range(3) if mask >> n & 1}
    for vector, result in ((0xF, BAD_INPUT), (0x10, 0), (0xFF, 0), (0x100, BAD_INPUT)):
        assert send(vector, 1) == result
        assert reached(world, vector) == (set() if result else {0})
    # of the word beside the vector KVM looks at the registers' alone
    assert send(1 << 32 | 0x40, 1) == (BAD_INPUT if fast else SUCCESS)


def test_an_interrupt_to_a_sparse_set():
    world = caller({}, cpus=70)
    assert status(world, 0x15 | 2 << 17, (0x40, 0, 3, 1 << 5, 1 << 2)) == SUCCESS
    assert reached(world, 0x40) == {5, 66}
    assert status(world, 0x15, (0x40, 1, 0)) == SUCCESS and len(reached(world, 0x40)) == 70
    assert status(world, 0x15 | 1 << 17, (0x40, 0, 3, 1)) == BAD_INPUT
    # an empty list is nobody, and then no vector is wrong
    assert status(world, 0x15, (0x1000, 0, 0)) == SUCCESS
    assert status(world, 0x15 | 1 << 17, (0x1000, 0, 1, 1)) == BAD_INPUT
    assert world.cpu.hypercall(0x15 | FAST | 1 << 17, 0x41, 0, xmm=(1, 1 << 3)).value == SUCCESS
    assert reached(world, 0x41) == {3}


# Other MSRs -----------------------------------------------------------------------------------

def test_the_crash_msrs():
    world = World(vmx=False)
    cpu = world.cpu
    assert cpu.rdmsr(CRASH_CTL).value == 1 << 63 and world.partition.crash is None
    for n in range(5):
        assert cpu.wrmsr(CRASH + n, n + 7).ok and cpu.rdmsr(CRASH + n).value == n + 7
    assert cpu.wrmsr(CRASH_CTL, 1).ok and world.partition.crash is None
    assert cpu.wrmsr(CRASH_CTL, 1 << 63).ok and world.partition.crash == (7, 8, 9, 10, 11)


def test_the_reset_msr_asks():
    world = World(vmx=False)
    assert world.cpu.rdmsr(RESET).value == 0 == world.partition.resets
    for value, resets in ((0, 0), (2, 0), (1, 1), (1, 2)):
        assert world.cpu.wrmsr(RESET, value).ok and world.partition.resets == resets


def test_the_invariant_tsc_is_asked_for():
    """hyperv.c: leaf 0x80000007 EDX[8] is held back until L1 has set bit 0, and it stays so."""
    power = {0x80000007: (0, 0, 0, 0x101), 0x80000000: (0x80000008, 0, 0, 0)}
    cpu = World(vmx=False, cpuid=power).cpu
    assert cpu.cpuid(0x80000007)[3] == 1 and cpu.rdmsr(INVARIANT).value == 0
    assert cpu.wrmsr(INVARIANT, 0).ok and not cpu.wrmsr(INVARIANT, 2).ok
    assert cpu.wrmsr(INVARIANT, 1).ok and cpu.cpuid(0x80000007)[3] == 0x101
    assert not cpu.wrmsr(INVARIANT, 0).ok and cpu.rdmsr(INVARIANT).value == 1
    free = World(vmx=False, cpuid=power | leaf(FEATURES, "eax", 0x2AFF)).cpu
    assert free.cpuid(0x80000007)[3] == 0x101, "no such MSR is on offer"


# Controls -------------------------------------------------------------------------------------

SECONDARY_OF = {0x48B: PROFILES["ice-lake"].msrs[0x48B]}


def lake(code, secondary, **fields):
    return Guest("plain", code, options=dict(profile="ice-lake"),
                 SECONDARY_VM_EXEC_CONTROL=secondary, **fields)


SHADOW, READ_BITMAP, WRITE_BITMAP = 0x900000, 0x901000, 0x902000
GUEST_RIP, VM_EXIT_REASON, NO_FIELD = 0x681E, 0x4402, 0x6FFE


def shadowed(code, link=SHADOW, bits=(), **fields):
    """L2 with a shadow VMCS whose GUEST_RIP is 0xc0ffee; bits: fields that exit."""
    g = Guest("plain", code, options=dict(profile="bare"),
              SECONDARY_VM_EXEC_CONTROL=1 << 14, VMREAD_BITMAP=READ_BITMAP,
              VMWRITE_BITMAP=WRITE_BITMAP, **fields)
    main = g.cpu.vmptrst().value
    g.memory.write(SHADOW, (0x11E57ED0 | 1 << 31).to_bytes(4, "little"))
    assert g.cpu.vmptrld(SHADOW).ok and g.cpu.vmwrite(GUEST_RIP, 0xC0FFEE).ok
    assert g.cpu.vmclear(SHADOW).ok and g.cpu.vmptrld(main).ok
    assert g.cpu.vmwrite(0x2800, link).ok
    for field in bits:
        for bitmap in (READ_BITMAP, WRITE_BITMAP):
            g.memory.write(bitmap + field // 8, bytes([1 << field % 8]))
    return g


def read(field):
    """MOV ECX, field; VMREAD RAX, RCX."""
    return "b9" + field.to_bytes(4, "little").hex() + "0f78c8"


def write(field, value):
    """MOV ECX, field; MOV EBX, value; VMWRITE RCX, RBX."""
    return "b9" + field.to_bytes(4, "little").hex() + "bb" + value.to_bytes(
        4, "little").hex() + "0f79cb"


def test_a_shadow_vmcs():
    """SDM 24.6.15 and 30.3: L2 reads and writes the VMCS that the link pointer names."""
    g = shadowed(read(GUEST_RIP) + VMCALL)
    assert g.run().reason == 18 and g.cpu.registers[0] == 0xC0FFEE
    g = shadowed(write(GUEST_RIP, 0xBEEF) + read(GUEST_RIP) + VMCALL)
    assert g.run().reason == 18 and g.cpu.registers[0] == 0xBEEF
    main = g.cpu.vmptrst().value
    assert g.cpu.vmptrld(SHADOW).ok and g.cpu.vmread(GUEST_RIP).value == 0xBEEF
    assert g.cpu.vmptrld(main).ok


@pytest.mark.parametrize("code, reason", [(read(GUEST_RIP), 23), (write(GUEST_RIP, 1), 25),
                                          ("48b9" + (1 << 40).to_bytes(8, "little").hex()
                                           + "0f78c8", 23)])
def test_a_bit_of_the_bitmap_exits_and_so_does_a_large_number(code, reason):
    assert shadowed(code + VMCALL, bits=[GUEST_RIP]).run().reason == reason


@pytest.mark.parametrize("link, field, flags, error", [
    ((1 << 64) - 1, GUEST_RIP, 1, 0), (SHADOW, NO_FIELD, 0x40, 12)])
def test_a_shadow_that_is_none_and_a_field_that_is_none(link, field, flags, error):
    """VMfailInvalid, and VMfailValid with its number in the current VMCS."""
    g = shadowed(read(field) + VMCALL, link=link)
    assert g.cpu.vmwrite(0x4400, 0).ok and g.run().reason == 18
    assert g.cpu.vmread(0x6820).value & 0x8D5 == flags and g.cpu.vmread(0x4400).value == error


@pytest.mark.parametrize(("gap", "window", "leaves"), [
    (1, 5, True), (0, 5, False), (1, 0, True), (1, 8, True), (10, 100, False)])
def test_a_loop_of_pause(gap, window, leaves):
    """SDM 26.1.3, in instructions: PAUSEs one apart are a loop where the gap is 1, and more."""
    g = lake("f390" * 10 + VMCALL, 1 << 10)
    for field, value in ((0x4020, gap), (0x4022, window)):
        assert g.cpu.vmwrite(field, value).ok
    found = g.run()
    assert found.reason == (40 if leaves else 18)
    if leaves:
        assert (found.rip, found.length) == (CODE + 2 * (window + 1), 2)
        # the next entry begins a loop of its own
        assert g.run().reason == (40 if 10 - (window + 1) > window + 1 else 18)


def test_a_loop_of_pause_counts_at_privilege_level_0_alone():
    g = lake("f390" * 10 + VMCALL, 1 << 10, GUEST_CS_SELECTOR=0x1B, GUEST_CS_AR_BYTES=0xA0FB,
             GUEST_SS_SELECTOR=0x23, GUEST_SS_AR_BYTES=0xC0F3)
    assert g.cpu.vmwrite(0x4020, 5).ok and g.cpu.vmwrite(0x4022, 1).ok
    assert g.run().reason == 18


def test_a_loop_of_pause_survives_a_move():
    g = lake("f390" * 10 + VMCALL, 1 << 10)
    assert g.cpu.vmwrite(0x4020, 1).ok and g.cpu.vmwrite(0x4022, 5).ok
    g.cpu.vmlaunch(stop_after=3)
    blob = g.cpu.save()
    other = World(profile="ice-lake")
    other.memory.write(0, g.memory.read(0, 16 << 20))
    other.cpu.restore(blob)
    assert other.cpu.go_on().ok
    assert other.cpu.vmread(0x4402).value == 40 and other.cpu.vmread(0x681E).value == CODE + 12


@pytest.mark.parametrize(("code", "msr"), [("0f31", False), ("0f32", True)])
def test_tsc_scaling(code, msr):
    """SDM 26.5.3: times the multiplier, over 2^48, plus the offset; only with offsetting."""
    def seen(multiplier, proc=TSC_OFFSET, secondary=1 << 25, offset=0):
        g = lake(code + VMCALL, secondary, TSC_OFFSET=offset, MSR_BITMAP=BITMAPS,
                 CPU_BASED_VM_EXEC_CONTROL=PROC | proc | MSR_BITMAPS)
        g.regs(rcx=0x10)
        assert g.cpu.vmwrite(0x2032, multiplier).ok
        before = g.cpu.rdmsr(0x10).value
        g.run()
        registers = g.regs()
        return (registers[RDX] << 32 | registers[RAX]), before, g.cpu.rdmsr(0x10).value

    for factor in (1, 4):
        found, before, after = seen(factor << 48)
        assert before * factor <= found <= after * factor
    found, before, after = seen(1 << 47, offset=1 << 62)
    assert before // 2 <= found - (1 << 62) <= after // 2
    for options in (dict(proc=0), dict(secondary=0)):
        found, before, after = seen(4 << 48, **options)
        assert before <= found <= after


def test_encls():
    """SDM 26.1.3: by bit EAX of the bitmap, bit 63 for all from 63 on; else there is no SGX."""
    g = lake("0f01cf", 1 << 15, EXCEPTION_BITMAP=1 << 6)
    for eax, bitmap, reason in (
            (2, 1 << 2, 60), (2, 1 << 3, 0), (62, 1 << 62, 60), (63, 1 << 63, 60),
            (1000, 1 << 63, 60), (1000, 1 << 40, 0)):
        assert g.cpu.vmwrite(0x202E, bitmap).ok
        g.regs(rax=eax)
        assert g.run(GUEST_RIP=CODE).reason == reason
    assert g.run(SECONDARY_VM_EXEC_CONTROL=0).reason == 0


def test_perf_global_ctrl(guest):
    """Loaded at an entry and at an exit, of either kind of VMCS, where leaf 0xA has counters."""
    g = guest("0f32" + VMCALL, options=dict(cpuid={0xA: (4 << 8, 0, 0, 3)}), MSR_BITMAP=BITMAPS,
              CPU_BASED_VM_EXEC_CONTROL=PROC | MSR_BITMAPS)
    g.set(VM_ENTRY_CONTROLS=g.get("VM_ENTRY_CONTROLS") | 1 << 13,
          VM_EXIT_CONTROLS=g.get("VM_EXIT_CONTROLS") | 1 << 12)
    for name, field, value in (("GUEST_IA32_PERF_GLOBAL_CTRL", 0x2808, 5),
                               ("HOST_IA32_PERF_GLOBAL_CTRL", 0x2C04, 9)):
        if g.mode == "plain":
            assert g.cpu.vmwrite(field, value).ok
        else:
            g.write(EVMCS + other_members()[name]["offset"], value)
    g.regs(rcx=0x38F)
    assert g.run().reason == 18
    assert g.regs()[RAX] == 5 and g.cpu.rdmsr(0x38F).value == 9
