# SPDX-License-Identifier: GPL-2.0-only
"""L2 under an L1 that is code in memory: what an exit makes of L1, and what reaches L2."""

import pytest
from root import *
from test_root_insns import PLAIN, POINTERS, REGION, VMXON
from world import BASE, FIELDS

L2, HOST, ICR = 0x20000, HANDLERS + 16 * 200, 0xFEE00300
TSC = 0x10
VMCALL, HLT_L2, SPIN = "0f01c1", "f4", "ebfe"
REASON, QUALIFICATION, RIP = 0x4402, 0x6400, 0x681E


class Nested(Root):
    """In VMX operation, with a guest that is ready to enter."""

    def __init__(self, code, fields=(), **options):
        super().__init__(**{"profile": "kvm-6.12", **options})
        assert self.step("0f22e0", rax=0x2020) is None
        assert self.step("0f22c0", rax=0x80000031) is None
        assert self.wrmsr(0x3A, 5) is None
        revision = self.rdmsr(0x480) & 0x7FFFFFFF
        for page in (VMXON, REGION):
            self.memory.write(page, revision.to_bytes(4, "little"))
        for name, page in (("vmxon", VMXON), ("vmclear", REGION), ("vmptrld", REGION)):
            self.memory.write_u64(FREE, page)
            assert self.step(POINTERS[name], rbx=FREE) is None and self.flags() == 0
        for field, value in {**BASE, **{FIELDS[name]: value for name, value in dict(
                GUEST_RIP=L2, GUEST_RSP=0x21000, GUEST_CR3=loader.identity_tables(self.board),
                HOST_RIP=HOST, HOST_RSP=STACK, HOST_CR3=loader.identity_tables(self.board),
                HOST_CS_SELECTOR=8, HOST_TR_SELECTOR=0x10, HOST_GDTR_BASE=GDT, HOST_IDTR_BASE=IDT,
                **dict(fields)).items()}}.items():
            assert self.step(PLAIN["vmwrite"], rcx=field, rax=value) is None, field
            assert self.flags() == 0, hex(field)
        self.memory.write(L2, bytes.fromhex(code))
        self.memory.write(HOST, b"\x90" * 64)

    def enter(self, count=60, **registers):
        return self.step(PLAIN["vmlaunch"], count=count, **registers)

    def read(self, field):
        assert self.step(PLAIN["vmread"], rcx=field) is None
        return self.cpu.registers[RAX]

    def exited(self):
        """(reason, qualification) of the exit that L1 stands behind."""
        assert not self.cpu.in_guest
        return self.read(REASON), self.read(QUALIFICATION)


def test_an_exit_goes_to_the_host_s_state():
    root = Nested(VMCALL, dict(HOST_DS_SELECTOR=0, HOST_ES_SELECTOR=0x10, HOST_FS_SELECTOR=0x10,
                               HOST_FS_BASE=0x1234))
    root.enter(count=3)
    cpu = root.cpu
    assert not cpu.in_guest and cpu.get(Field.GUEST_RIP) > HOST
    assert cpu.get(Field.GUEST_DS_AR_BYTES) >> 16 == 1 and cpu.get(Field.GUEST_FS_BASE) == 0x1234
    assert (cpu.get(Field.GUEST_CS_AR_BYTES), cpu.get(Field.GUEST_TR_LIMIT)) == (0xA09B, 0x67)
    assert cpu.get(Field.GUEST_GDTR_LIMIT) == 0xFFFF
    assert root.exited() == (18, 0)
    assert root.read(RIP) == L2


def test_l2_stands_still_and_goes_on():
    root = Nested(SPIN)
    root.enter(count=20)
    assert root.end == "paused" and root.cpu.in_guest
    assert root.cpu.run(20) == "paused" and root.cpu.in_guest
    root.memory.write(L2, bytes.fromhex(VMCALL))
    root.cpu.run(20)
    assert root.exited()[0] == 18


@pytest.mark.parametrize("pin, blocked", [(0x16 | 8, 8), (0x16 | 0x28, 8)])
def test_an_nmi_that_exits_blocks_those_behind_it(pin, blocked):
    """L2 sends it to itself."""
    root = Nested("8903" + SPIN, dict(PIN_BASED_VM_EXEC_CONTROL=pin))
    root.enter(rbx=ICR, rax=1 << 18 | 4 << 8, count=6)
    assert root.cpu.get(Field.GUEST_INTERRUPTIBILITY_INFO) == blocked
    assert root.exited()[0] == 0


def test_blocking_of_l2_goes_on_in_l1_where_it_is_its_own():
    for pin, blocked in ((0x16, 8), (0x16 | 0x28, 0)):
        root = Nested(VMCALL, dict(GUEST_INTERRUPTIBILITY_INFO=8, PIN_BASED_VM_EXEC_CONTROL=pin))
        root.enter(count=3)
        assert root.cpu.get(Field.GUEST_INTERRUPTIBILITY_INFO) == blocked


def test_an_init_in_l2_exits_and_one_in_l1_waits():
    root = Nested("8903" + SPIN)
    root.enter(rbx=ICR, rax=0x4500, count=10)
    root.cpu.run(10)
    assert root.exited() == (3, 0)
    root.store(ICR, 0x4500)
    # VMX root operation holds it back until VMXOFF
    assert root.step("90") is None and root.cpu.get(Field.GUEST_CR0) & 1
    root.step(PLAIN["vmxoff"], count=2)
    assert root.cpu.get(Field.GUEST_CR0) & 1 == 0


def test_l2_waits_for_a_sipi():
    """SDM 26.3: INIT does nothing there, a SIPI exits with its vector."""
    root = Nested(VMCALL, dict(GUEST_ACTIVITY_STATE=3), cpus=2)
    other = root.board.processors[1]
    root.start(other)
    root.enter(count=10)
    assert root.cpu.in_guest
    first, root.cpu = root.cpu, other
    root.store(ICR, 0x4500)
    root.cpu = first
    first.run(10)
    assert first.in_guest
    root.cpu = other
    root.store(ICR, 0x4600 | 0x77)
    root.cpu = first
    first.run(10)
    assert root.exited() == (4, 0x77)


def test_a_halted_l2_sleeps_until_its_timer():
    """The preemption timer counts while nothing runs."""
    root = Nested(HLT_L2, dict(PIN_BASED_VM_EXEC_CONTROL=0x56, VMX_PREEMPTION_TIMER_VALUE=5000,
                               CPU_BASED_VM_EXEC_CONTROL=0x84006172 & ~0x80),
                  profile="bare")
    root.enter(count=20_000)
    assert root.cpu.instructions["idle"] > 4000
    assert root.exited()[0] == 52


@pytest.mark.parametrize("code", [HLT_L2, SPIN], ids=["halted", "computing"])
def test_the_preemption_timer_goes_by_the_hosts_time(code):
    """SDM 3C 25.5.1: it counts down at the TSC's rate, divided as VMX_MISC says."""
    root = Nested(code, dict(PIN_BASED_VM_EXEC_CONTROL=0x56, VMX_PREEMPTION_TIMER_VALUE=100_000,
                             CPU_BASED_VM_EXEC_CONTROL=0x84006172 & ~0x80),
                  profile="bare", clock="host")
    rate = root.rdmsr(0x485) & 31
    began = root.rdmsr(TSC)
    root.enter(count=100)
    for _ in range(10**6):
        if root.cpu.in_guest:
            root.cpu.run(10_000)
    assert root.exited()[0] == 52 and root.cpu.instructions["idle"] == 0
    assert root.rdmsr(TSC) - began >= 100_000 << rate


@pytest.mark.parametrize("injected", [False, True])
def test_an_exception_for_whoever_runs(injected):
    root = Root()
    root.cpu.queue_exception(13, 0x55, injected=injected)
    assert root.step("90") == 13
    assert root.memory.read_u64(STACK - 48) == 0x55
