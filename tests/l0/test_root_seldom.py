# SPDX-License-Identifier: GPL-2.0-only
"""What L1's code seldom does where L0 runs it: 32 bits of VMX, an enlightened VMCS, timers far
away, an interrupt that nobody lets in, what no processor here can do."""

import pytest
from root import *
from test_devices import OURS, served, with_device
from test_root_apic import (
    COUNT, DEADLINE, DIVIDE, ICR, ICR_HIGH, IRR, LEFT, PAGE, TIMER, Memory,
)  # fmt: skip
from test_root_guests import HOST, L2, SPIN, VMCALL, Nested
from test_root_insns import MEMORY, PLAIN, POINTERS, REGION, VMXON
from world import ASSIST, BASE, EVMCS, FIELDS, LAYOUT, TABLE

DIRECTORY = 0x30000
NARROW_HOST = dict(
    VM_EXIT_CONTROLS=BASE[FIELDS["VM_EXIT_CONTROLS"]] & ~(1 << 9), VM_ENTRY_CONTROLS=0x11FB,
    GUEST_IA32_EFER=0, GUEST_CS_AR_BYTES=0xC09B, GUEST_TR_AR_BYTES=0x8B, GUEST_RIP=L2,
    GUEST_RSP=0x21000, GUEST_CR0=0x80000031, GUEST_CR3=DIRECTORY, GUEST_CR4=0x2010, HOST_RIP=HOST,
    HOST_RSP=STACK, HOST_CR0=0x80000031, HOST_CR3=DIRECTORY, HOST_CR4=0x2010, HOST_CS_SELECTOR=8,
    HOST_TR_SELECTOR=0x10, HOST_GDTR_BASE=GDT, HOST_IDTR_BASE=IDT)


class Narrow(Root):
    """L1 in 32-bit code with pages of 4 MByte, in VMX operation."""

    def __init__(self):
        super().__init__(profile="kvm-6.12")
        self.start(self.cpu, long=False)
        for n in range(1024):
            self.memory.write(DIRECTORY + 4 * n, (n << 22 | 0x87).to_bytes(4, "little"))
        for field, value in ((Field.GUEST_CR3, DIRECTORY), (Field.GUEST_CR4, 0x2010)):
            self.cpu.set(field, value)
        assert self.step("0f22c0", rax=0x80000031) is None
        assert self.wrmsr(0x3A, 5) is None
        self.step("0f32", rcx=0x480)
        for page in (VMXON, REGION):
            self.memory.write(page, self.cpu.registers[RAX].to_bytes(4, "little"))
        for name, page in (("vmxon", VMXON), ("vmclear", REGION), ("vmptrld", REGION)):
            self.memory.write_u64(FREE, page)
            self.step(POINTERS[name], rbx=FREE)
            assert self.flags() == 0 and self.cpu.get(Field.GUEST_RIP) > CODE


def test_vmx_instructions_of_32_bit_code():
    """SDM 3C 30.3: the operand of VMREAD and VMWRITE has 32 bits, a pointer 64."""
    root = Narrow()
    root.memory.write(FREE, b"\xff" * 16)
    root.step(MEMORY["vmptrst"], rbx=FREE)
    assert root.memory.read(FREE, 12) == REGION.to_bytes(8, "little") + b"\xff" * 4
    root.memory.write(FREE, (0x12345678).to_bytes(4, "little") + b"\xff" * 4)
    root.step(MEMORY["vmwrite"], rbx=FREE, rcx=FIELDS["GUEST_RIP"])
    root.memory.write(FREE, b"\xee" * 8)
    root.step(MEMORY["vmread"], rbx=FREE, rcx=FIELDS["GUEST_RIP"])
    assert root.memory.read(FREE, 8) == bytes.fromhex("78563412eeeeeeee")
    root.memory.write(FREE, bytes(16))
    # of 128 bits in any code; the kind of it is in EAX
    root.step(MEMORY["invept"], rbx=FREE, rax=2)
    assert root.flags() == 0


def test_an_exit_to_a_host_of_32_bits():
    """SDM 27.5.2: CS is 32-bit code where the host is no 64-bit one; its instructions go on."""
    root = Narrow()
    values = {**BASE, **{FIELDS[name]: value for name, value in NARROW_HOST.items()}}
    for field, value in values.items():
        root.step(PLAIN["vmwrite"], rcx=field, rax=value & 0xFFFFFFFF)
        assert root.flags() == 0, hex(field)
        if field >> 13 & 3 == 1:
            root.step(PLAIN["vmwrite"], rcx=field | 1, rax=value >> 32)
    root.memory.write(L2, bytes.fromhex(VMCALL))
    root.memory.write(HOST, b"\x90" * 64)
    root.step(PLAIN["vmlaunch"], count=3)
    get = root.cpu.get
    assert not root.cpu.in_guest and HOST < get(Field.GUEST_RIP) <= HOST + 2
    assert get(Field.GUEST_CS_AR_BYTES) == 0xC09B and root.cpu.processor.efer & 0x500 == 0
    root.step(PLAIN["vmread"], rcx=FIELDS["VM_EXIT_REASON"])
    assert root.cpu.registers[RAX] == 18


def test_an_l1_of_code_that_uses_an_enlightened_vmcs():
    root = Nested(VMCALL)
    tables = loader.identity_tables(root.board)
    values = {**BASE, **{FIELDS[name]: value for name, value in dict(
        GUEST_RIP=L2, GUEST_CR3=tables, HOST_CR3=tables, HOST_RIP=HOST, HOST_RSP=STACK,
        HOST_CS_SELECTOR=8, HOST_TR_SELECTOR=0x10, HOST_GDTR_BASE=GDT, HOST_IDTR_BASE=IDT).items()}}
    for encoding, member, _ in TABLE:
        if FIELDS[encoding] in values:
            at, size = LAYOUT[member]
            root.memory.write(EVMCS + at, values[FIELDS[encoding]].to_bytes(size, "little"))
    root.memory.write(EVMCS, b"\1")
    assert root.wrmsr(0x40000073, ASSIST | 1) is None
    root.memory.write(ASSIST + 40, b"\1")
    root.memory.write_u64(ASSIST + 48, EVMCS)
    root.enter(count=4)
    assert not root.cpu.in_guest and root.cpu.get(Field.GUEST_RIP) > HOST
    at, size = LAYOUT["vm_exit_reason"]
    assert int.from_bytes(root.memory.read(EVMCS + at, size), "little") == 18


def test_timers_before_and_behind_whatever_comes_next():
    root = Root()
    apic = Memory(root)
    apic[DIVIDE] = 0xB
    for count, rung in ((0xFFFFFFFF, 0), (100, 1)):
        apic[TIMER] = 0x40
        apic[COUNT] = count
        root.step("90" * 300, count=200)
        assert apic[IRR + 0x20] == rung
    # written and waited for in one run
    root.step("8903" + "90" * 300, count=250, rbx=PAGE + COUNT, rax=100)
    root.step("8903" + "90" * 300, count=250, rbx=PAGE + COUNT, rax=0xFFFFFFFF)
    assert apic[LEFT] > 0xFFFFF000
    apic[TIMER] = DEADLINE | 0x41
    for distance in (1000, 1 << 40):
        now = root.rdmsr(0x10) + distance
        root.step("0f30" + "90" * 300, count=250, rcx=0x6E0, rax=now & 0xFFFFFFFF, rdx=now >> 32)
    assert root.rdmsr(0x6E0) == now
    for distance, rung in ((1 << 40, 1), (10_000, 3)):
        assert root.wrmsr(0x6E0, root.rdmsr(0x10) + distance) is None
        root.step("90" * 500, count=450)
        assert apic[IRR + 0x20] & rung == rung


@pytest.mark.parametrize("fields, count, why", [
    ({}, 100, 0x40), ({}, 0, None),
    # the guest's own timer before and behind L1's
    (dict(VMX_PREEMPTION_TIMER_VALUE=50), 5000, 52),
    (dict(VMX_PREEMPTION_TIMER_VALUE=50_000), 500, 1)])
def test_who_halts_wakes_at_what_comes_first(fields, count, why):
    """L1 halts without a guest, or L2 does."""
    if not fields:
        root = Root()
        root.cpu.set(Field.GUEST_RFLAGS, 0x202)
    else:
        root = Nested("f4", dict(
            PIN_BASED_VM_EXEC_CONTROL=0x57, CPU_BASED_VM_EXEC_CONTROL=0x84006172, **fields),
            profile="bare")
    apic = Memory(root)
    apic[DIVIDE] = 0xB
    apic[TIMER] = 0x40
    apic[COUNT] = count
    if fields:
        root.enter(count=20_000)
        assert root.exited()[0] == why
        return
    root.memory.write(HANDLERS + 16 * 0x40, b"\xf4")
    assert root.step("f4", count=20_000) == why
    assert root.cpu.instructions["idle"] >= count


def test_events_that_wait_for_each_other_while_l1_halts():
    """Two interrupts at once, and RFLAGS.IF off: one waits, the other is to come behind it. Time
    goes on all the same."""
    root = Root()
    root.cpu.set(Field.GUEST_RFLAGS, 2)
    for vector in (0x41, 0x42):
        root.cpu.processor.interrupt(vector, after=0)
    assert root.step("f4", count=1000) is None and root.end == "paused"
    assert root.cpu.processor.pending_interrupt == 0x41
    # one before the end of the run, and a timer behind it
    root.cpu.set(Field.GUEST_ACTIVITY_STATE, 0)
    apic = Memory(root)
    apic[COUNT] = 0x7FFFFFFF
    root.cpu.processor.interrupt(0x43, after=500)
    assert root.step("f4", count=1000) is None and root.end == "paused"


def test_an_interrupt_that_the_task_priority_holds_back():
    """SDM 3A 10.8.3: sent by Hyper-V's own register, and let in by CR8."""
    root = Root(profile="kvm-6.12")
    root.cpu.set(Field.GUEST_RFLAGS, 0x202)
    assert root.step("440f22c0", rax=15) is None
    assert root.wrmsr(0x40000071, 1 << 18 | 0x51) is None
    assert root.step("9090", count=2) is None
    assert root.step("440f22c0" "90", count=2, rax=0) == 0x51


def test_an_exception_of_whoever_runs_l1_that_leaves_l2():
    root = Nested(SPIN, dict(EXCEPTION_BITMAP=1 << 13))
    root.enter(count=10)
    assert root.cpu.in_guest
    root.cpu.queue_exception(13, 0x55)
    root.cpu.run(10)
    assert root.exited()[0] == 0
    assert root.read(FIELDS["VM_EXIT_INTR_INFO"]) & 0xFF == 13


def test_what_no_processor_here_does():
    """A task switch of L1, by IRET in 32-bit code: told as such; a triple fault is another end."""
    root = Root()
    root.start(root.cpu, long=False)
    root.cpu.set(Field.GUEST_RFLAGS, 2 | 1 << 14)
    root.step("cf")
    assert root.end == "undone" and root.cpu.exit_reason == 9
    root.start(root.cpu, long=False)
    root.cpu.set(Field.GUEST_IDTR_LIMIT, 0)
    root.step("0f0b")
    assert root.end == "shutdown" and root.cpu.exit_reason == 2


def test_an_interrupt_for_processors_that_nobody_has_started():
    """Of two in the partition, one runs L1's code: a broadcast reaches it alone."""
    root = Root()
    root.board.options["cpus"] = 2
    root.board.power_on()
    root.cpu = root.board.processors[0]
    root.start(root.cpu)
    apic = Memory(root)
    apic[ICR_HIGH] = 1 << 24
    for command in (2 << 18 | 0x61, 3 << 18 | 0x62, 3 << 18 | 4 << 8, 0x63):
        apic[ICR] = command
    assert apic[IRR + 0x30] == 1 << 1
    other = root.board.partition.processor(1)
    assert other.pending_interrupt is None and not other.pending_nmi


@pytest.mark.parametrize("code, ends", [("6e", None), ("f36e", None)])
def test_outs_of_l1_reach_the_bus(code, ends):
    root = Root()
    root.memory.write(FREE, b"AB")
    root.step(code, rsi=FREE, rdx=0xE9, rcx=2)
    assert root.end == "port" and root.cpu.access == (0xE9, 1, 0x41)
    # and none where the operand faults
    assert root.step("6e", rsi=NOWHERE, rdx=0xE9) == GP


def test_control_registers_before_and_in_vmx_operation():
    """SDM 23.8: CR0.NE is 1 in VMX operation, and free before."""
    root = Root()
    assert root.step("0f22c0", rax=0x80000011) is None
    root = Nested(VMCALL)
    assert root.step("0f22c0", rax=0x80000011) == GP
    assert root.step("0f22c0", rax=0x80000031) is None


@pytest.mark.parametrize("code", ["488b03", "8b03", "48630b", "0fb603", "488903", "480103"])
def test_a_loop_that_leaves_what_is_mapped(code):
    """Decoded in an earlier round, it faults in a later one, and at that instruction."""
    root = Root()
    root.memory.write(HANDLERS + 16 * PF, b"\xf4")
    body = code + "4881c300100000"
    assert root.step(body + f"eb{-len(body) // 2 - 2 & 0xFF:02x}", count=60,
                     rbx=(1 << 32) - 0x5000) == PF
    assert root.cpu.processor.cr2 == 1 << 32


@pytest.mark.parametrize("code", [
    "8bc3", "89d8", "488bc3", "4889d8", "3d11000000", "83fb05", "81fb00000100", "83c305", "0fafc3",
    "e200", "e100", "e000", "e300", "f390", "90", "0fa0" "0fa1", "0fa8" "0fa9", "0fa2", "0faee8",
    "0fc70b", "480fc7f0", "ff1b", "ff2b", "ff33" "58", "ff33" "c3", "e800000000" "58"])
def test_an_instruction_that_was_decoded_before(code):
    """It does what it has done then; a run's first instruction would be decoded in any case."""
    root, found = Root(), []
    count = 2 if code in ("0fa00fa1", "0fa80fa9", "ff3358", "ff33c3", "e80000000058") else 1
    behind = CODE + 1 + len(code) // 2
    for _ in range(3):
        # an offset for RET, and a selector behind one for CALL and JMP
        root.memory.write_u64(FREE, behind | (8 << 32 if code in ("ff1b", "ff2b") else 0))
        root.cpu.set(Field.GUEST_RSP, STACK)
        root.cpu.set(Field.GUEST_RFLAGS, 2)
        assert root.step("90" + code + "90" * 4, 1 + count, rax=5, rbx=FREE, rcx=2, rdx=9) is None
        found.append((root.cpu.registers, root.cpu.get(Field.GUEST_RIP),
                      root.cpu.get(Field.GUEST_RSP), root.cpu.get(Field.GUEST_RFLAGS),
                      root.memory.read(STACK - 32, 32), root.memory.read(FREE, 16)))
    if code == "480fc7f0":
        # RDRAND: another number each time
        assert len({one[0][RAX] for one in found}) == 3
        found = [one[1:] for one in found]
    assert found[0] == found[1] == found[2] and found[0][-5] == behind


def test_a_load_from_a_device_that_was_decoded_before():
    root, device = with_device()
    for _ in range(3):
        assert served(root, "8b03" "ebfc", 4, rbx=OURS) is None
    assert len(device.seen) >= 6
