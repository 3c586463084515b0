# SPDX-License-Identifier: GPL-2.0-only
"""KVM's own eVMCS selftest, step by step, the machine made anew at every sync point.

Source of the scenario: the selftest hyperv_evmcs of Linux 6.12, in plain words; three of its
sync points are inside L2, and at the second an NMI comes. Clean bits are treated as its accessors
in include/x86_64/evmcs.h do: VMLAUNCH begins with none, VMRESUME and each write clear their
groups' bits, and nothing but one line of the test sets any. What makes bits set is L0 alone.
"""

import pytest
from world import ALL_CLEAN, ASSIST, EVMCS, GROUP_BITS, World

from kvm_vmx.machine.outcome import Stopped, VMfailInvalid

FS_BASE, GS_BASE, PARTITION_PAGE, BITMAP = 0xC0000100, 0xC0000101, 0x50000, 0x5000
VMCALL, RDMSR, CPUID = (bytes.fromhex(text) for text in ("0f01c1", "0f32", "0fa2"))
MSR_BITMAP_CLEAN = 1 << GROUP_BITS["MSR_BITMAP"]
EXIT_VMCALL, EXIT_RDMSR, SYNTHETIC = 18, 31, 0x10000031


def mov(register, value):
    """MOV r32, imm32; R8 is 8."""
    prefix = b"\x41" if register >= 8 else b""
    return prefix + bytes([0xB8 | register & 7]) + value.to_bytes(4, "little")


def rdmsr(msr):
    return mov(1, msr) + RDMSR


FLUSH = mov(1, 0x10002) + mov(2, 0) + mov(8, 3) + VMCALL
L2 = b"".join([
    VMCALL, rdmsr(FS_BASE), rdmsr(FS_BASE), rdmsr(GS_BASE), VMCALL, rdmsr(GS_BASE),
    FLUSH, rdmsr(FS_BASE), FLUSH, mov(1, 0), VMCALL])


class Scenario:
    """L1 of the selftest; moves is whether it is saved and restored at its sync points."""

    def __init__(self, moves):
        self.moves = moves
        self.world = World(vmx=False)

    def sync(self):
        """A sync point: nothing of the old machine is left but its memory and the blob."""
        if not self.moves:
            return
        old, blob = self.world, self.world.cpu.save()
        self.world = World(vmx=False)
        for page in range(0, old.memory.size, 1 << 20):
            self.world.memory.write(page, old.memory.read(page, 1 << 20))
        self.world.cpu.restore(blob)
        assert self.world.cpu.save() == blob, "registers are identical after it"

    def get(self, member):
        return self.world.get(EVMCS, member)

    def put(self, **members):
        for member, value in members.items():
            self.world.put(EVMCS, member, value)

    def skip(self, length):
        """RIP past the instruction that exited."""
        self.put(guest_rip=self.get("guest_rip") + length)

    @property
    def clean(self):
        """hv_clean_fields."""
        return self.get("hv_clean_fields")

    @clean.setter
    def clean(self, bits):
        self.world.set_clean(bits)

    def vmwrite(self, group, member, value):
        """evmcs_vmwrite(): the member, and the clean bit of its group."""
        self.put(**{member: value})
        self.clean &= ~(1 << GROUP_BITS[group])

    def launch(self, **options):
        """evmcs_vmlaunch()."""
        self.clean = 0
        return self.world.cpu.vmlaunch(**options)

    def resume(self, reason=None, **options):
        """evmcs_vmresume(), which writes HOST_RIP and HOST_RSP."""
        self.clean &= ~(1 << GROUP_BITS["HOST_GRP1"] | 1 << GROUP_BITS["HOST_POINTER"])
        outcome = self.world.cpu.vmresume(**options)
        if reason is not None:
            assert outcome.ok and self.get("vm_exit_reason") == reason
            # prepare_vmcs02() of 6.12, at its end
            assert self.clean == ALL_CLEAN
        return outcome


def begin(scenario):
    """Up to the first entry: identity, assist page, VMXON, the eVMCS with a bad version."""
    world = scenario.world
    assert world.cpu.wrmsr(0x40000000, 0x8100 << 48).ok
    scenario.sync()
    assert scenario.world.cpu.wrmsr(0x40000073, ASSIST | 1).ok
    scenario.world.turn_on(scenario.world.cpu)
    scenario.sync()
    scenario.world.guest_code(L2)
    # a filter that never matches
    scenario.world.enlighten(page_fault_error_code_match=0xFFFFFFFF)
    scenario.sync()
    world = scenario.world
    assert world.memory.read_u64(ASSIST + 48) == EVMCS
    scenario.put(revision_id=0xFFFFFFFF)
    assert isinstance(scenario.launch(), VMfailInvalid) and scenario.clean == 0
    scenario.put(revision_id=1)
    scenario.sync()
    scenario.vmwrite("CONTROL_GRP1", "pin_based_vm_exec_control",
                     scenario.get("pin_based_vm_exec_control") | 8)
    scenario.put(
        partition_assist_page=PARTITION_PAGE, hv_enlightenments_control=1, hv_vm_id=1, hv_vp_id=1)
    scenario.world.memory.write(ASSIST + 32, b"\1")


@pytest.mark.rule("R66", "R67", "R73", "R76", "R82", "K1", "K9")
@pytest.mark.parametrize("moves", [False, True], ids=["stays", "moves"])
@pytest.mark.case("EVM-04", "EVM-11", "EVM-13", "EVM-33")
def test_the_selftest(moves):
    scenario = Scenario(moves)
    begin(scenario)
    scenario.sync()
    assert isinstance(scenario.launch(stop_after=0), Stopped)
    scenario.sync()
    assert isinstance(scenario.world.cpu.go_on(stop_after=0), Stopped)
    scenario.sync()
    scenario.world.cpu.pending_nmi = True
    assert scenario.world.cpu.go_on().ok
    assert scenario.get("vm_exit_reason") == 0
    assert scenario.get("vm_exit_intr_info") & 0xFF == 2
    assert scenario.world.cpu.counters()["l2_instructions"] == 0
    scenario.sync()
    assert isinstance(scenario.resume(stop_after=0), Stopped)
    scenario.sync()
    scenario.sync()
    assert scenario.world.cpu.go_on().ok
    assert scenario.get("vm_exit_reason") == EXIT_VMCALL
    scenario.sync()

    scenario.skip(3)
    scenario.vmwrite("CONTROL_PROC", "cpu_based_vm_exec_control",
                     scenario.get("cpu_based_vm_exec_control") | 1 << 28)
    scenario.world.memory.write(BITMAP + 0x420, b"\1")
    scenario.resume(EXIT_RDMSR)
    scenario.skip(2)
    scenario.put(hv_enlightenments_control=3)
    scenario.resume(EXIT_RDMSR)

    # the next read is intercepted in the page, and not yet in what L0 keeps of it
    scenario.skip(2)
    scenario.world.memory.write(BITMAP + 0x420, b"\3")
    scenario.clean |= MSR_BITMAP_CLEAN
    scenario.resume(EXIT_VMCALL)
    scenario.skip(3)
    scenario.clean &= ~MSR_BITMAP_CLEAN
    scenario.sync()
    scenario.resume(EXIT_RDMSR)

    # a flush that L0 answers, and one that L1 waits for
    scenario.skip(2)
    exits = scenario.world.cpu.exit_reasons[EXIT_VMCALL]
    scenario.resume(EXIT_RDMSR)
    assert scenario.world.cpu.exit_reasons[EXIT_VMCALL] == exits
    assert scenario.world.cpu.registers[0] & 0xFFFF == 0
    scenario.skip(2)
    scenario.world.memory.write(PARTITION_PAGE, b"\1")
    scenario.sync()
    scenario.resume(SYNTHETIC)
    scenario.sync()
    scenario.resume(EXIT_VMCALL)
    scenario.sync()
    scenario.world.memory.write_u64(ASSIST + 48, 0xDEADBEEF)
    assert scenario.launch().vector == 6


def test_the_guest_of_the_selftest_is_whole():
    assert L2.count(VMCALL) == 5 and L2.count(RDMSR) == 5 and CPUID not in L2
