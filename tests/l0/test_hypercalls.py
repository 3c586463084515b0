# SPDX-License-Identifier: GPL-2.0-only
"""Hypercalls of L1: the control word, where parameters are, processor sets, the statuses."""

import itertools
import random

import pytest
from world import EVMCS, World

from kvm_vmx.machine.outcome import Fault

OS_ID, LINUX = 0x40000000, 0x8100 << 48
FAST, INPUT = 1 << 16, 0x90000
SPACE, LIST, SPACE_EX, LIST_EX, GPA_SPACE, GPA_LIST = 2, 3, 0x13, 0x14, 0xAF, 0xB0
SIMPLE, REPEATED = (SPACE, SPACE_EX, GPA_SPACE), (LIST, LIST_EX, GPA_LIST)
CODE, BAD_INPUT, ALIGNMENT, PARAMETER, DENIED, STATE = 2, 3, 4, 5, 6, 7
RESERVED = [*range(27, 31), *range(44, 48), *range(60, 64)]


@pytest.fixture
def world():
    world = World(profile="tlfs-strict")
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    return world


def put(world, *words, at=INPUT):
    for n, word in enumerate(words):
        world.memory.write_u64(at + 8 * n, word)
    return at


def status(world, control, *args, **options):
    return world.cpu.hypercall(control, *args, **options).value & 0xFFFF


@pytest.mark.rule("R94", "R104")
@pytest.mark.parametrize("code", [*SIMPLE, *REPEATED])
@pytest.mark.parametrize("bit", RESERVED)
def test_reserved_bits_of_the_control_word(world, code, bit):
    count = 1 << 32 if code in REPEATED else 0
    put(world, 0, 0, 1)
    assert status(world, code | count | 1 << bit, INPUT) == BAD_INPUT


@pytest.mark.rule("R96", "R104")
def test_unknown_codes(world):
    known = {*SIMPLE, *REPEATED, 8, 0xB, 0x15, 0x5C, 0x5D}
    for code in range(0x10000):
        if code not in known:
            assert world.cpu.hypercall(code).value == CODE, hex(code)


@pytest.mark.rule("R92")
@pytest.mark.case("HC-03")
def test_only_a_kernel_in_protected_mode_calls(world):
    for cpl, cr0 in ((3, world.cpu.cr0), (1, world.cpu.cr0), (0, world.cpu.cr0 & ~1)):
        world.cpu.cpl, world.cpu.cr0 = cpl, cr0
        assert world.cpu.hypercall(SPACE | FAST, 0, 1).vector == 6


@pytest.mark.rule("R95")
@pytest.mark.parametrize("code", SIMPLE)
def test_a_simple_call_has_no_repetitions(world, code):
    put(world, 0, 0, 1)
    assert status(world, code | 1 << 32, INPUT) == BAD_INPUT
    assert status(world, code | 1 << 48, INPUT) == BAD_INPUT
    assert world.cpu.hypercall(code, put(world, 0, 0, 1, 0)).value == 0


@pytest.mark.rule("R95")
@pytest.mark.parametrize("code", REPEATED)
def test_repetitions(world, code):
    header = {LIST: [0, 1, 0], LIST_EX: [0, 1, 1, 0], GPA_LIST: [0, 0]}[code]
    put(world, *header, *[0x7000 + (n << 12) for n in range(8)])
    assert status(world, code, INPUT) == BAD_INPUT, "without a count"
    for count, start in ((1, 1), (3, 3), (3, 4), (8, 4095)):
        assert status(world, code | count << 32 | start << 48, INPUT) == BAD_INPUT
    for count, start in itertools.product((1, 3, 8), (0, 1, 7)):
        if start < count:
            done = world.cpu.hypercall(code | count << 32 | start << 48, INPUT).value
            assert done == count << 32, "the count done is absolute"


@pytest.mark.parametrize("code", [LIST, LIST_EX])
def test_kvm_begins_with_the_first_repetition(code):
    """kvm_hv_hypercall() of KVM 6.12: !rep_cnt || rep_idx is a bad input."""
    world = World()
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    put(world, *([0, 1, 0] if code == LIST else [0, 1, 1, 0]), *[0x7000] * 8)
    for count, start in itertools.product((0, 1, 3, 8), (0, 1, 2, 7, 4095)):
        done = world.cpu.hypercall(code | count << 32 | start << 48, INPUT).value
        assert done == (count << 32 if count and not start else BAD_INPUT)


@pytest.mark.rule("R91", "R95")
@pytest.mark.parametrize("code", [SPACE, LIST, GPA_SPACE, GPA_LIST])
def test_no_variable_header_where_none_belongs(world, code):
    count = 1 << 32 if code in REPEATED else 0
    put(world, 0, 0, 1, 0, 0)
    assert status(world, code | count | 1 << 17, INPUT) == BAD_INPUT


@pytest.mark.rule("R96")
@pytest.mark.parametrize("code", [*SIMPLE, *REPEATED])
def test_where_parameters_may_be(world, code):
    count = 1 << 32 if code in REPEATED else 0
    length = {SPACE: 24, LIST: 32, SPACE_EX: 32, LIST_EX: 40, GPA_SPACE: 16, GPA_LIST: 24}[code]
    put(world, 0, 0, 1, 0, 0, at=INPUT + 0x1000 - length)
    assert status(world, code | count, INPUT + 0x1000 - length) == 0, "up to the page's end"
    for at in (INPUT + 0x1000 - length + 8, INPUT + 0xFF8, INPUT + 1, INPUT + 4, 1 << 40,
               world.memory.size, (1 << 64) - 8):
        assert status(world, code | count, at) == ALIGNMENT
    world.memory.unback(INPUT)
    assert status(world, code | count, INPUT) == ALIGNMENT


@pytest.mark.rule("R88", "R96")
def test_the_longest_list_fills_its_page(world):
    put(world, 0, 0)
    most = (4096 - 16) // 8
    assert world.cpu.hypercall(GPA_LIST | most << 32, INPUT).value == most << 32
    assert status(world, GPA_LIST | most + 1 << 32, INPUT) == ALIGNMENT


@pytest.mark.rule("R97")
def test_a_fast_call_leaves_its_registers(world):
    registers = [n * 0x1111111111111111 & (1 << 64) - 1 for n in range(16)]
    world.cpu.registers = registers
    assert world.cpu.hypercall(GPA_SPACE | FAST, 0x10001E, 0).value == 0
    after = world.cpu.registers
    assert (after[1], after[2], after[8]) == (GPA_SPACE | FAST, 0x10001E, 0)
    kept = [n for n in range(16) if n not in (0, 1, 2, 8)]
    assert [after[n] for n in kept] == [registers[n] for n in kept]


@pytest.mark.rule("R97")
def test_a_fast_call_in_xmm_registers(world):
    assert status(world, SPACE | FAST, 0, 0, xmm=(1,)) == 0
    assert status(world, SPACE_EX | FAST | 1 << 17, 0, 0, xmm=(0, 1, 1)) == 0
    assert status(world, SPACE_EX | FAST | 1 << 17, 0, 0, xmm=(0, 3, 1)) == BAD_INPUT
    assert status(world, LIST | FAST | 11 << 32, 0, 0, xmm=(1,)) == 0
    assert status(world, LIST | FAST | 12 << 32, 0, 0, xmm=(1,)) == BAD_INPUT, "112 bytes"
    with pytest.raises(ValueError, match="at most 12"):
        world.cpu.hypercall(SPACE | FAST, xmm=tuple(range(13)))


@pytest.mark.rule("R97")
def test_xmm_registers_need_their_announcement():
    world = World(cpuid={0x40000003: (0x2A77, 0, 0, 0x100)})
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    assert isinstance(world.cpu.hypercall(SPACE | FAST, 0, 1), Fault)
    assert world.cpu.hypercall(SPACE | FAST, 0, 1).vector == 6
    assert status(world, 8 | FAST, 1) == 0, "one that needs no more than RDX and R8"


@pytest.mark.rule("R90")
@pytest.mark.parametrize(("code", "allowed"), [
    (SPACE, 7), (LIST, 3), (SPACE_EX, 7), (LIST_EX, 3)])
def test_flush_flags(world, code, allowed):
    count = 1 << 32 if code in REPEATED else 0
    tail = [1, 0, 0] if code in (SPACE_EX, LIST_EX) else [1, 0]
    for bit in range(64):
        put(world, 0, 1 << bit, *tail)
        good = allowed >> bit & 1
        assert status(world, code | count, INPUT) == (0 if good else PARAMETER), bit


@pytest.mark.rule("R90")
def test_bad_addresses_are_ignored(world):
    put(world, 0, 1, 0, 1 << 63, 0xDEAD << 48, 0xFFF, (1 << 64) - 1)
    assert world.cpu.hypercall(LIST | 4 << 32, INPUT).value == 4 << 32


@pytest.mark.rule("R91")
def test_processor_sets(world):
    # the specification's own example: processors 0, 5 and 130
    put(world, 0, 0, 0, 0x05, 0x21, 0x04)
    assert status(world, SPACE_EX | 2 << 17, INPUT) == 0
    for variable in (0, 1, 3):
        assert status(world, SPACE_EX | variable << 17, INPUT) == BAD_INPUT
    put(world, 0, 0, 1, 0x05)
    assert status(world, SPACE_EX, INPUT) == 0, "all of them"
    for form in (2, 3, 1 << 63):
        put(world, 0, 0, form, 0)
        assert status(world, SPACE_EX, INPUT) == PARAMETER


@pytest.mark.rule("R9")
@pytest.mark.parametrize("code", [GPA_SPACE, GPA_LIST])
def test_guest_mapping_flush_without_the_offer(code):
    world = World()
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    assert status(world, code | (1 << 32 if code == GPA_LIST else 0), put(world, 0, 0, 0)) == CODE


@pytest.mark.rule("R87")
@pytest.mark.parametrize("code", [GPA_SPACE, GPA_LIST])
def test_guest_mapping_flush(world, code):
    count = 1 << 32 if code == GPA_LIST else 0
    assert status(world, code | count, put(world, 0x10001E, 0, 0x7003)) == 0
    for bit in range(64):
        assert status(world, code | count, put(world, 0x10001E, 1 << bit, 0x7000)) == PARAMETER
    assert world.cpu.vmxoff().ok
    assert status(world, code | count, put(world, 0x10001E, 0, 0x7000)) == STATE


def second_level(world, eptp=0xA0000 | 0x1E):
    """An EPT for the guest of BASE: memory as it is."""
    world.memory.write_u64(0xA0000, 0xA1007)
    world.memory.write_u64(0xA1000, 0xB7)
    world.guest_code(bytes.fromhex("0fa2"))
    return {"secondary_vm_exec_control": 2, "ept_pointer": eptp}


def runs(world, launch=False):
    """Does L2 still reach its code?"""
    world.put(EVMCS, "guest_rip", 0x500000)
    assert (world.cpu.vmlaunch if launch else world.cpu.vmresume)().ok
    return world.get(EVMCS, "vm_exit_reason") == 10


def forget_by_invept(world):
    assert world.cpu.invept(1, 0xA001E).ok


def forget_by_call(code, name):
    def forget(world):
        count = 1 << 32 if code == GPA_LIST else 0
        assert status(world, code | count, put(world, name, 0, 0x500000)) == 0
    return forget


@pytest.mark.rule("R74", "R85", "R87", "R88", "R89")
@pytest.mark.parametrize("forget", [
    forget_by_invept, forget_by_call(GPA_SPACE, 0xA001E), forget_by_call(GPA_SPACE, 0xA0000),
    forget_by_call(GPA_LIST, 0xA001E), forget_by_call(GPA_LIST, 0xA0000),
], ids=["invept", "space by EPTP", "space by table", "list by EPTP", "list by table"])
def test_translations_stay_until_they_are_flushed(world, forget):
    world.enlighten(**second_level(world))
    assert runs(world, launch=True)
    world.memory.write_u64(0xA1000, 0)
    world.set_clean()
    assert runs(world), "the virtual TLB is not coherent"
    forget(world)
    assert not runs(world), "once the flush has returned its effects are there"
    assert world.get(EVMCS, "vm_exit_reason") == 48


@pytest.mark.rule("R85")
def test_another_address_space_is_left_alone(world):
    world.enlighten(**second_level(world))
    assert runs(world, launch=True)
    world.memory.write_u64(0xA1000, 0)
    world.set_clean()
    assert status(world, GPA_SPACE, put(world, 0xB001E, 0)) == 0
    assert runs(world)


@pytest.mark.rule("R86")
def test_a_second_level_fault_flushes_nothing(world):
    """A page is known; another one faults; the known one stays, though its entry is gone."""
    world.enlighten(**second_level(world))
    assert runs(world, launch=True)
    world.memory.write_u64(0xA1000, 0)
    world.set_clean()
    world.put(EVMCS, "guest_rip", 0x700000)
    assert world.cpu.vmresume().ok and world.get(EVMCS, "vm_exit_reason") == 48
    assert runs(world)


@pytest.mark.rule("R87")
def test_a_flush_reaches_every_processor():
    world = World(profile="tlfs-strict", cpus=2)
    other = world.partition.processor(1)
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    world.enlighten(cpu=other, **second_level(world))
    assert other.vmlaunch().ok and world.get(EVMCS, "vm_exit_reason") == 10
    world.memory.write_u64(0xA1000, 0)
    assert status(world, GPA_SPACE, put(world, 0xA001E, 0)) == 0
    world.put(EVMCS, "guest_rip", 0x500000)
    assert other.vmresume().ok and world.get(EVMCS, "vm_exit_reason") == 48


@pytest.mark.case("HC-04")
def test_extended_capabilities():
    world = World(cpuid={0x40000003: (0x2A77, 1 << 20, 0, 0x110)})
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    world.memory.write_u64(0x91000, 0x1234)
    assert status(world, 0x8001, 0, 0x91000) == 0
    assert world.memory.read_u64(0x91000) == 0
    assert status(world, 0x8001 | FAST, 0, 0x91000) == PARAMETER
    assert status(world, 0x8001, 0, 0x91001) == status(world, 0x8001, 0, 1 << 40) == ALIGNMENT


@pytest.mark.rule("R104")
@pytest.mark.parametrize(("code", "leaf", "value"), [
    (SPACE, 0x40000004, (1 << 2, 0, 0, 0)),
    (SPACE_EX, 0x40000004, (1 << 11 | 1 << 2, 0, 0, 0)),
    (8, 0x40000004, (0, 0xFFF, 0, 0)),
    (0x8001, 0x40000003, (0x2A77, 1 << 20, 0, 0x110)),
])
def test_a_call_that_cpuid_does_not_announce_is_denied(code, leaf, value):
    nothing = {0x40000003: (0x2A77, 0, 0, 0x110), 0x40000004: (0, 0, 0, 0)}
    for cpuid, result in ((nothing, DENIED), ({**nothing, leaf: value}, 0)):
        world = World(cpuid=cpuid, enforce_cpuid=True)
        assert world.cpu.wrmsr(OS_ID, LINUX).ok
        words = (0, 0, 1, 0) if code == SPACE_EX else (0, 0, 1)
        assert status(world, code, put(world, *words), 0x91000) == result


@pytest.mark.rule("R98")
def test_denial_is_the_error_to_report():
    """Each hint of an extended form is wanted; and a reserved bit does not hide that one lacks."""
    for hints in (0, 1 << 2, 1 << 11):
        world = World(cpuid={0x40000004: (hints, 0xFFFFFFFF, 0, 0)}, enforce_cpuid=True)
        assert world.cpu.wrmsr(OS_ID, LINUX).ok
        put(world, 0, 0, 1, 0)
        assert status(world, SPACE_EX, INPUT) == status(world, 8 | FAST, 1) == DENIED
        assert status(world, SPACE_EX | 1 << 60, INPUT) == DENIED
        assert status(world, 0x1234 | 1 << 60) == BAD_INPUT


@pytest.mark.rule("R98")
def test_of_several_errors_one_is_reported():
    world = World(profile="tlfs-strict")
    assert world.cpu.wrmsr(OS_ID, LINUX).ok
    rng = random.Random(3)
    for _ in range(20000):
        control = rng.choice([*SIMPLE, *REPEATED, 0x1234]) | rng.choice([0, FAST])
        control |= rng.getrandbits(64) & ~0xFFFF & rng.getrandbits(64) & rng.getrandbits(64)
        at = rng.choice([INPUT, INPUT + 4, 0xFFF8, 1 << 40, rng.getrandbits(64)])
        outcome = world.cpu.hypercall(control, at, rng.getrandbits(64))
        assert outcome.ok and outcome.value & 0xFFFF in (0, 2, 3, 4, 5, 7)
        assert outcome.value >> 16 & 0xFFFF == 0 and outcome.value >> 44 == 0
