# SPDX-License-Identifier: GPL-2.0-only
"""Code that L0 does many instructions of at once, a row to its CPUID or a loop that fills memory:
whatever looks like it does what its instructions do one by one."""

import pytest
from modes import *
from test_repeated_entry import CHANGES, NAMES
from world import ASSIST, EVMCS, config_a_msrs

# by these an entry may repeat the last one, where rows are done at once
REPEATS = {NAMES[member]: value for member, value in CHANGES.items()}
OFFERS = {"msrs": config_a_msrs(), "maxphyaddr": 46, "unfinished": True}


def fill(value, at, add, end, there):
    """MOV [at], value; ADD $1, add; CMP there, end; JNE"""
    return (f"4088{value << 3 | at:02x}" f"4883{0xC0 | add:02x}01"
            f"4839{0xC0 | end << 3 | there:02x}" "75f4" + VMCALL)


@pytest.mark.parametrize("value, at, add, end, there", [
    (RAX, RDI, RDI, RCX, RDI), (RSI, RBX, RBX, RDX, RBX),      # the loop itself
    (RDI, RDI, RDI, RCX, RDI),                                  # each byte is its own address
    (RAX, RDI, RBX, RCX, RBX), (RAX, RDI, RBX, RCX, RDI), (RAX, RDI, RDI, RCX, RBX)])
@pytest.mark.parametrize("fields", [
    {}, dict(CPU_BASED_VM_EXEC_CONTROL=PROC | MTF), dict(GUEST_RFLAGS=2 | TF)])
def test_loops_that_look_like_one_that_fills(guest, value, at, add, end, there, fields):
    """Done as they stand, or many rounds at once: the same memory, registers and flags."""
    g = guest(fill(value, at, add, end, there), EXCEPTION_BITMAP=1 << 1, **fields)
    before = [0x5A, DATA + 64, DATA + 64, DATA, STACK, 0, 0x77, DATA]
    if there != add:
        # a comparison that holds after the first round
        before[there] = before[end]
    expected = {}
    now = list(before)
    for _ in range(64):
        expected[now[at]] = now[value] & 0xFF
        now[add] += 1
        if now[there] == now[end]:
            break
    g.regs(**{f"r{n}": 0 for n in range(8, 16)}, rax=before[0], rcx=before[1], rdx=before[2],
           rbx=before[3], rsi=before[6], rdi=before[7])
    found = g.run()
    for _ in range(400):
        if found.reason == 18:
            break
        assert found.reason == (37 if "CPU_BASED_VM_EXEC_CONTROL" in fields else 0)
        found = g.run()
    after = g.regs()
    assert found.reason == 18
    for n in (RAX, RCX, RDX, RBX, RSI, RDI):
        assert after[n] == now[n], n
    stored = g.memory.read(DATA, 80)
    assert stored == bytes(expected.get(DATA + n, 0) for n in range(80))


def test_loops_whose_bytes_are_those_of_another_instruction():
    """With form 4 the next byte is a SIB, with form 5 four are a displacement."""
    # mov [rax+2*rcx],dil; add esp,1; cmp rsp,rbx; jne; vmcall
    g = plain(fill(RDI, RSP, RSP, RBX, RSP), GUEST_RSP=DATA)
    g.regs(rax=DATA + 0x100, rcx=8, rdi=0x5A, rbx=DATA + 32)
    assert g.run().reason == 18 and g.get("GUEST_RSP") == DATA + 32
    assert g.memory.read(DATA, 64) == bytes(64) and g.read(DATA + 0x110, 1) == 0x5A
    # mov [rip+0x01c58348],dil
    g = wide(fill(RDI, RBP, RBP, RBX, RBP))
    g.regs(rbp=DATA, rbx=DATA + 32, rdi=0x5A)
    found = g.run()
    assert told(found)[0] == PF and found.qualification == CODE + 7 + 0x01C58348


@pytest.mark.parametrize("at", [CODE, CODE + 0x1000 - 6, CODE + 0x2000 - 12])
@pytest.mark.parametrize("place", [DATA, DATA + 0xFF0, CODE + 0x800])
def test_a_loop_that_fills_over_pages(guest, at, place):
    """Also where its own page is filled, and where it lies on two."""
    g = guest("", GUEST_RIP=at)
    g.code(fill(RAX, RDI, RDI, RCX, RDI), at)
    g.regs(rax=0x11, rdi=place, rcx=place + 0x300)
    assert g.run().reason == 18
    assert g.memory.read(place, 0x301) == b"\x11" * 0x300 + b"\0"
    assert g.regs()[RDI] == place + 0x300
    assert g.get("GUEST_RFLAGS") & (ZF | CF) == ZF


@pytest.mark.parametrize("place, before, jumped", [
    (0x2FF9, "", None), (0x2FF0, "eb10", None), (0x3000, "ebf0", None), (0x2F00, "eb20", 0x2F22)])
def test_rows_at_the_ends_of_a_page(guest, place, before, jumped):
    """A row goes on where its code does: on the next page, the page before, another part."""
    row = "b801000000" "0fa2"
    g = guest("", OFFERS, GUEST_RIP=CODE + place, **REPEATS)
    start = CODE + place + len(before) // 2
    if before:
        start += int.from_bytes(bytes.fromhex(before[2:]), "little", signed=True)
        g.code(before, CODE + place)
    g.code(row, start)
    assert g.run().reason == 10
    for value in (1, 2, 3):
        # L1 goes back to the row, whose second word changes
        g.code(f"b8{value:02x}000000" "0fa2", start)
        assert g.run(GUEST_RIP=CODE + place).reason == 10
        assert g.get("GUEST_RIP") == start + 5 and g.regs()[RAX] == value


def test_a_row_beyond_4_gbytes(guest):
    """Linear addresses of more than 32 bits, of the same memory."""
    g = guest("", OFFERS, GUEST_RIP=CODE | 1 << 32, **REPEATS)
    g.write(PDPT + 8 * 4, PD | 7)
    g.code("b801000000" "0fa2" "ebf7")
    for _ in range(4):
        assert g.run().reason == 10 and g.get("GUEST_RIP") == CODE + 5 | 1 << 32
        g.set(GUEST_RIP=CODE + 7 | 1 << 32)


@pytest.mark.parametrize("next_page", ["", "488b0425" "00105000"])
def test_the_page_behind_a_row_has_been_read_and_not_run(guest, next_page):
    """CPUID ends its page: what comes next is in the TLB for code, for data, or not at all."""
    at = CODE + 0xFFE - 5 - len(next_page) // 2
    g = guest("", OFFERS, GUEST_RIP=at, **REPEATS)
    g.code(next_page + "b801000000" "0fa2" + VMCALL, at)
    for _ in range(3):
        assert g.run(GUEST_RIP=at).reason == 10 and g.get("GUEST_RIP") == CODE + 0xFFE
        assert g.run(GUEST_RIP=CODE + 0x1000).reason == 18


@pytest.mark.parametrize("entry, leave", [
    (0, 0), (1 << 13, 0), (0, -(1 << 19)), (0, 1 << 12), (0, 1 << 22), (-(1 << 14), 0)])
def test_rows_under_controls_that_load_or_store_more(entry, leave):
    """Each CPUID leaves at its own place, with what the entry and the exit load."""
    fields = dict(REPEATS)
    fields["VM_ENTRY_CONTROLS"] += entry
    fields["VM_EXIT_CONTROLS"] += leave
    if leave == 1 << 22:
        fields.update(PIN_BASED_VM_EXEC_CONTROL=PIN | 1 << 6, VMX_PREEMPTION_TIMER_VALUE=1 << 30)
    g = plain(("b801000000" "0fa2") * 8, OFFERS, **fields)
    assert g.run().reason == 10
    for n in range(1, 8):
        assert g.run(GUEST_RIP=CODE + 7 * n).reason == 10
        assert (g.get("GUEST_RIP"), g.regs()[RAX]) == (CODE + 7 * n + 5, 1)


def test_a_row_behind_a_jump_whose_second_word_changes():
    g = plain("eb0e" + "90" * 14 + "b801000000" "0fa2" "ebe6", OFFERS, **REPEATS)
    for value in (1, 1, 1, 2, 3):
        g.code(f"b8{value:02x}000000", CODE + 16)
        assert g.run(GUEST_RIP=CODE).reason == 10
        assert (g.get("GUEST_RIP"), g.regs()[RAX]) == (CODE + 21, value)


@pytest.mark.parametrize("at", [0xFF8, 0xFFE, 0x800])
def test_a_loop_whose_cpuid_stands_near_the_end_of_its_page(at):
    """Also where what follows, which is no part of what is done, changes."""
    g = plain("", OFFERS, GUEST_RIP=CODE + at - 5, **REPEATS)
    g.code("b801000000" "0fa2" "ebf7" "9090", CODE + at - 5)
    for n in range(8):
        g.code(f"{n:02x}", CODE + at + 5)
        assert g.run(**{"GUEST_RIP": CODE + at + 2} if n else {}).reason == 10
        assert (g.get("GUEST_RIP"), g.regs()[RAX]) == (CODE + at, 1)


def test_an_entry_that_repeats_until_an_evmcs_is_asked_for():
    """The assist page says which VMCS is entered, at each entry anew."""
    g = plain("b801000000" "0fa2" "ebf7", OFFERS, **REPEATS)
    g.world.enlighten(guest_rip=CODE)
    g.world.memory.write(ASSIST + 40, bytes(4))
    for _ in range(4):
        assert g.run(GUEST_RIP=CODE).reason == 10
    g.world.memory.write(ASSIST + 40, b"\1")
    assert g.cpu.vmresume().ok and g.cpu.active_evmcs == EVMCS
    assert g.world.get(EVMCS, "vm_exit_reason") == 10


def test_a_loop_entered_at_its_last_jump():
    """JNE is taken by flags of before, and compares a register with itself then."""
    g = plain(fill(RAX, RDI, RDI, RDI, RDI), GUEST_RIP=CODE + 10, GUEST_RFLAGS=2)
    g.regs(rax=0x5A, rdi=DATA)
    assert g.run().reason == 18 and g.regs()[RDI] == DATA + 1
    assert g.memory.read(DATA, 8) == b"\x5a" + bytes(7)
