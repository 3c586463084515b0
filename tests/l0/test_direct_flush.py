# SPDX-License-Identifier: GPL-2.0-only
"""Direct virtual flush: the hypercalls of L2 that L0 answers, and the synthetic exit."""

import pytest
from world import ALL_CLEAN, ASSIST, EVMCS, EVMCS_B, World

VMCALL, CPUID = bytes.fromhex("0f01c1"), bytes.fromhex("0fa2")
RAX, RCX, RDX, R8 = 0, 1, 2, 8
START, PARTITION_PAGE, INPUT = 0x500000, 0x50000, 0x600000
FAST = 1 << 16
SPACE, LIST, SPACE_EX, LIST_EX = 2, 3, 0x13, 0x14
EXIT_CPUID, EXIT_VMCALL, SYNTHETIC = 10, 18, 0x10000031
GOOD = {"hv_vm_id": 1, "hv_vp_id": 1, "partition_assist_page": PARTITION_PAGE,
        "hv_enlightenments_control": 1}


def enlighten(world, cpu=None, page=EVMCS, assist=ASSIST, switch=1, **changes):
    world.guest_code(VMCALL + CPUID)
    world.enlighten(page, cpu, assist, **{**GOOD, **changes})
    world.memory.write(assist + 0x20, bytes([switch]))


def call(world, control, rdx=0, r8=0, launch=True, cpu=None, page=EVMCS):
    """L2 executes VMCALL, then CPUID: (exit reason, RAX, RIP at the exit)."""
    cpu = cpu or world.cpu
    registers = [0] * 16
    registers[RCX], registers[RDX], registers[R8] = control, rdx, r8
    cpu.registers = registers
    world.put(page, "guest_rip", START)
    assert (cpu.vmlaunch if launch else cpu.vmresume)().ok
    return world.get(page, "vm_exit_reason"), cpu.registers[RAX], world.get(page, "guest_rip")


@pytest.fixture
def world():
    world = World()
    enlighten(world)
    return world


@pytest.mark.rule("R76", "R83")
@pytest.mark.case("EVM-27")
def test_l0_answers_the_flush_and_l2_goes_on(world):
    assert call(world, SPACE | FAST, 0, 3) == (EXIT_CPUID, 0, START + 3)
    assert world.cpu.exit_reasons[EXIT_VMCALL] == 0
    assert world.cpu.counters()["exits"] == 1 and world.cpu.counters()["tlb_flushes"] == 1


@pytest.mark.rule("R76")
@pytest.mark.parametrize("code", [SPACE, LIST, SPACE_EX, LIST_EX])
def test_all_four_calls(world, code):
    words = [0, 3] + ([1, 0] if code >= SPACE_EX else [0]) + [0x7000] * (code in (LIST, LIST_EX))
    for n, word in enumerate(words):
        world.memory.write_u64(INPUT + 8 * n, word)
    count = 1 if code in (LIST, LIST_EX) else 0
    result = call(world, code | count << 32, INPUT)
    assert result == (EXIT_CPUID, count << 32, START + 3)


@pytest.mark.rule("R8", "R77")
@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("flag", [1, 0])
@pytest.mark.parametrize("switch", [1, 0])
def test_both_switches_and_the_offer(switch, flag, offered):
    world = World(cpuid={0x4000000A: (0x80101 | offered << 17, 1, 0, 0)})
    enlighten(world, switch=switch, hv_enlightenments_control=flag)
    reason = call(world, SPACE | FAST, 0, 3)[0]
    assert reason == (EXIT_CPUID if switch and flag and offered else EXIT_VMCALL)


@pytest.mark.rule("K10")
def test_the_flag_is_live(world):
    assert call(world, SPACE | FAST, 0, 3)[0] == EXIT_CPUID
    world.set_clean()
    world.put(EVMCS, "hv_enlightenments_control", 0)
    assert call(world, SPACE | FAST, 0, 3, launch=False)[0] == EXIT_VMCALL


@pytest.mark.rule("R76")
@pytest.mark.parametrize("code", [0, 8, 0xAF, 0x5C, 0x8001])
def test_other_calls_are_l1s(world, code):
    assert call(world, code | FAST)[0] == EXIT_VMCALL
    assert world.get(EVMCS, "guest_rip") == START


@pytest.mark.rule("R92")
@pytest.mark.parametrize(("profile", "vector"), [("kvm-6.12", 6), ("tlfs-strict", None)])
def test_outside_privilege_level_0(profile, vector):
    """KVM 6.12's kvm_hv_hypercall() raises #UD in L2; the specification leaves it to L1."""
    world = World(profile=profile)
    enlighten(world, guest_cs_ar_bytes=0xA0FB, guest_ss_ar_bytes=0xC0F3,
              guest_cs_selector=0xB, guest_ss_selector=0x13)
    world.memory.write_u64(0x1000, 0x2007)
    world.memory.write_u64(0x2000, 0x87)
    world.put(EVMCS, "exception_bitmap", 1 << 6)
    if vector is None:
        assert call(world, SPACE | FAST, 0, 3)[0] == EXIT_VMCALL
    else:
        assert call(world, SPACE | FAST, 0, 3)[0] == 0
        assert world.get(EVMCS, "vm_exit_intr_info") == 1 << 31 | 3 << 8 | vector
    assert world.get(EVMCS, "guest_rip") == START


def test_a_plain_vmcs_has_no_direct_flush():
    world = World()
    world.guest_code(VMCALL + CPUID)
    world.plain()
    registers = [0] * 16
    registers[RCX], registers[R8] = SPACE | FAST, 3
    world.cpu.registers = registers
    assert world.cpu.vmlaunch().ok and world.cpu.vmread(0x4402).value == EXIT_VMCALL


@pytest.mark.rule("R81", "R82", "R84")
def test_a_locked_tlb_ends_in_the_synthetic_exit(world):
    world.memory.write(PARTITION_PAGE, (1).to_bytes(4, "little"))
    reason, rax, rip = call(world, SPACE | FAST, 0, 3)
    assert reason == SYNTHETIC, "all 32 bits"
    assert rax & 0xFFFF == 0 and rip == START + 3
    assert world.cpu.counters()["tlb_flushes"] == 1
    assert world.cpu.vmresume().ok
    assert world.get(EVMCS, "vm_exit_reason") == EXIT_CPUID


@pytest.mark.rule("R82")
def test_a_failed_call_does_not_exit(world):
    world.memory.write(PARTITION_PAGE, (1).to_bytes(4, "little"))
    reason, rax, rip = call(world, SPACE | FAST, 0, 1 << 40)
    assert (reason, rax & 0xFFFF, rip) == (EXIT_CPUID, 5, START + 3)


@pytest.mark.rule("R78")
def test_a_partition_page_that_is_not_there():
    world = World()
    enlighten(world, partition_assist_page=1 << 40)
    assert call(world, SPACE | FAST, 0, 3)[:2] == (EXIT_CPUID, 3)
    why = world.cpu.why_not
    assert why.id == "flush_partition_page" and why.sentence.startswith("L2's hypercall 0x2, ")


@pytest.mark.rule("R56", "K10")
def test_the_ids_stand_behind_bit_15(world):
    assert call(world, SPACE | FAST, 0, 3)[0] == EXIT_CPUID
    world.put(EVMCS, "partition_assist_page", 1 << 40)
    world.set_clean()
    assert call(world, SPACE | FAST, 0, 3, launch=False)[1] == 0, "the page of before"
    world.put(EVMCS, "partition_assist_page", 1 << 40)
    world.set_clean(ALL_CLEAN & ~(1 << 15))
    assert call(world, SPACE | FAST, 0, 3, launch=False)[1] == 3


ONES = (1 << 64) - 1


@pytest.mark.rule("R75", "R79", "R91")
@pytest.mark.parametrize(("caller", "flags", "code", "words", "reached"), [
    (0, 1, SPACE, [0], {0, 1, 2}),
    (0, 0, SPACE, [0b0010], {0}),
    (0, 0, SPACE, [0b1100], {1, 2}),
    (0, 0, SPACE, [ONES], {0, 1, 2}),
    (0, 0, SPACE, [0], set()),
    (3, 1, SPACE, [0], {3, 4, 5}),
    (3, 0, SPACE, [0b0100], {4}),
    (3, 0, SPACE_EX, [1, 0], {3, 4, 5}),
    (3, 0, SPACE_EX, [0, 1, 0b1010], {3, 5}),
    (0, 0, SPACE_EX, [0, 2, 0b1010], set()),
])
def test_two_vms_of_three_processors(caller, flags, code, words, reached):
    """VM 7 on processors 0 to 2, VM 9 on 3 to 5, VP ids 1 to 3 in each."""
    world = World(cpus=6)
    for n in range(6):
        cpu, page, assist = world.partition.processor(n), 0x80000 + (n << 12), 0x90000 + (n << 12)
        enlighten(world, cpu, page, assist, hv_vm_id=7 + 2 * (n // 3), hv_vp_id=1 + n % 3)
        assert call(world, 0, cpu=cpu, page=page)[0] == EXIT_VMCALL
    cpu, page = world.partition.processor(caller), 0x80000 + (caller << 12)
    for n, word in enumerate([0, flags, *words]):
        world.memory.write_u64(INPUT + 8 * n, word)
    variable = bin(words[1]).count("1") if code == SPACE_EX and words[0] == 0 else 0
    assert call(world, code | variable << 17, INPUT, cpu=cpu, page=page)[:2] == (EXIT_CPUID, 0)
    counts = [world.partition.counters(n)["tlb_flushes"] for n in range(6)]
    assert {n for n, count in enumerate(counts) if count} == reached


@pytest.mark.rule("R79")
@pytest.mark.parametrize("vp_id", [63, 64, 4095, 4096, 0xFFFFFFFF])
def test_any_vp_id_is_survived(vp_id):
    world = World()
    enlighten(world, hv_vp_id=vp_id)
    for words, reached in (([0], 0), ([ONES], vp_id < 64)):
        for n, word in enumerate([0, 0, *words]):
            world.memory.write_u64(INPUT + 8 * n, word)
        before = world.cpu.counters()["tlb_flushes"]
        assert call(world, SPACE, INPUT)[:2] == (EXIT_CPUID, 0)
        assert world.cpu.counters()["tlb_flushes"] - before == reached
    full = [0, 0, 0, ONES, *[ONES] * 64]
    for n, word in enumerate(full):
        world.memory.write_u64(INPUT + 8 * n, word)
    before = world.cpu.counters()["tlb_flushes"]
    assert call(world, SPACE_EX | 64 << 17, INPUT)[:2] == (EXIT_CPUID, 0)
    assert world.cpu.counters()["tlb_flushes"] - before == (vp_id < 4096)


def test_parameters_come_from_the_memory_of_l2():
    """Through L1's EPT: a page that it does not map is status 4, and no exit."""
    world = World()
    enlighten(world, secondary_vm_exec_control=2, ept_pointer=0xA0000 | 0x1E)
    for table, entry in ((0xA0000, 0xA1007), (0xA1000, 0xA2007)):
        world.memory.write_u64(table, entry)
    for n in range(4):
        # 2 MB pages, write-back; the second one shows the first again
        world.memory.write_u64(0xA2000 + 8 * n, (n << 21 if n != 1 else 0) | 0xB7)
    world.memory.write_u64(INPUT - 0x600000 + 0x30000 + 8, 3)
    assert call(world, SPACE, 0x200000 + 0x30000)[:2] == (EXIT_CPUID, 0)
    assert call(world, SPACE, 0x800000)[:2] == (EXIT_CPUID, 4)
    for member in ("guest_physical_address", "guest_linear_address", "exit_qualification"):
        assert world.get(EVMCS, member) == 0, "of the exit that the missing page did not make"
    world.memory.write_u64(0x30000 + 8, 1 << 9)
    assert call(world, SPACE, 0x200000 + 0x30000)[1] == 5


def test_an_inactive_processor_is_not_reached():
    world = World(cpus=2)
    other = world.partition.processor(1)
    enlighten(world, other, EVMCS_B, 0x90000)
    assert call(world, 0, cpu=other, page=EVMCS_B)[0] == EXIT_VMCALL
    assert other.vmclear(EVMCS_B).ok
    enlighten(world)
    assert call(world, SPACE | FAST, 0, 3)[0] == EXIT_CPUID
    assert world.partition.counters(1)["tlb_flushes"] == 0
