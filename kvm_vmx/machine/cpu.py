# SPDX-License-Identifier: GPL-2.0-only
"""One L1 processor of a machine: its instructions, and the place where the port runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kvm_vmx.abi.numbers import ExitReason, Field
from kvm_vmx.errors import Unique
from kvm_vmx.machine.hold import Bound, Hold
from kvm_vmx.machine.outcome import Outcome
from kvm_vmx.machine.refusal import Refusal
from kvm_vmx.machine.register import Event, Reading, Register

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine

P = ParamSpec("P")
T = TypeVar("T")


class Cpu(Unique, Bound):
    """One L1 processor: its instructions, and `with` to run the port's functions on it.

    An instruction returns an Outcome, with RFLAGS as it left them: what a processor would report
    (VMfail, a fault) is in it and never raised. It has the CPU to itself, and so has the setting
    of a register: MachineError where another thread is using it, after the machine was closed,
    and in a child of fork(). A number is taken as the register or operand is wide. Addresses are
    guest-physical, in bytes, unless another kind is named. Chapters are those of the SDM, volume
    3, TLFS is the Hypervisor Top-Level Functional Specification.
    """

    __slots__ = ("_processor",)

    def __init__(self, machine: "Machine", index: int) -> None:
        self.machine, self.index = machine, index
        self._processor = machine._processor(index)

    def _what(self) -> str:
        return f"Cpu {self.index}"

    def _state(self) -> str:
        offline = "" if self.machine.is_online(self.index) else "offline, "
        return offline + self._processor.mode

    def _alone(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function while the CPU is this thread's."""
        with self.machine._gate.use(), Hold(self.machine._kernel, self.index):
            self.machine.check_open()
            return function(*args, **kwargs)

    # instructions

    def cpuid(self, function: int, index: int = 0) -> tuple[int, int, int, int]:
        """CPUID with EAX and ECX: (eax, ebx, ecx, edx), as the profile has them; leaves from
        0x40000000 on are the hypervisor's (TLFS, Feature Discovery)."""
        return self._alone(self._processor.cpuid, function, index)

    def rdmsr(self, msr: int) -> Outcome:
        """RDMSR by the MSR's number; the value is 64 bits. Fault(13) where there is no such MSR,
        or at a privilege level other than 0."""
        return self._alone(self._processor.rdmsr, msr)

    def wrmsr(self, msr: int, value: int) -> Outcome:
        """WRMSR of a 64-bit value; Fault(13) where the MSR is not there, or does not take it."""
        return self._alone(self._processor.wrmsr, msr, value)

    def mov_to_cr(self, cr: int, value: int) -> Outcome:
        """MOV to CR0, CR2, CR3, CR4 or CR8, with the processor's checks (chapter 2.5 and, in VMX
        operation, 24.8); Fault(6) for another register, Fault(13) for a value it refuses."""
        return self._alone(self._processor.mov_to_cr, cr, value)

    def vmxon(self, pa: int) -> Outcome:
        """VMXON (31.3) with the address of the region, whose first four bytes are the revision of
        IA32_VMX_BASIC; Fault(6) without CR4.VMXE, VMfailInvalid for an address that is none."""
        return self._alone(self._processor.vmxon, pa)

    def vmxoff(self) -> Outcome:
        """VMXOFF (31.3); Fault(6) outside VMX operation."""
        return self._alone(self._processor.vmxoff)

    def vmclear(self, pa: int) -> Outcome:
        """VMCLEAR (31.3) of the VMCS at an address: its data goes to memory, and it is current
        and active no more; so it is with an enlightened VMCS (TLFS, Nested Virtualization)."""
        return self._alone(self._processor.vmclear, pa)

    def vmptrld(self, pa: int) -> Outcome:
        """VMPTRLD (31.3): the VMCS at an address is the current one; VMfailValid(11) where its
        revision is another."""
        return self._alone(self._processor.vmptrld, pa)

    def vmptrst(self) -> Outcome:
        """VMPTRST (31.3); the value is the current VMCS's address, all ones without one."""
        return self._alone(self._processor.vmptrst)

    def vmread(self, field: int | str) -> Outcome:
        """VMREAD (31.3) of a field of the current VMCS: "GUEST_RIP", Field.GUEST_RIP or 0x681e.
        VMfailInvalid without a current VMCS, VMfailValid(12) for a field that the processor has
        not; ValueError, with the nearest ones, for a name that is none."""
        return self._alone(self._processor.vmread, Field.of(field))

    def vmwrite(self, field: int | str, value: int) -> Outcome:
        """VMWRITE (31.3) of a field of the current VMCS; see vmread. VMfailValid(13) for a field
        that is only read."""
        return self._alone(self._processor.vmwrite, Field.of(field), value)

    def vmlaunch(self, stop_after: int | None = None) -> Outcome:
        """VMLAUNCH (chapter 27): success means that L2 ran, or failed to enter, and the exit is
        recorded. With EnlightenVmEntry in the assist page it is the eVMCS there that is entered
        (TLFS, Nested Virtualization).

        With stop_after L2 stops after so many of its instructions, unless it leaves before: the
        outcome is Stopped, and go_on() is the rest of the instruction. It is Stopped, too, where
        L2 waits and nothing is on its way that could wake it.
        """
        return self._alone(self._processor.vmlaunch, stop_after)

    def vmresume(self, stop_after: int | None = None) -> Outcome:
        """VMRESUME (chapter 27); see vmlaunch. VMfailValid(5) where the VMCS is not launched."""
        return self._alone(self._processor.vmresume, stop_after)

    def go_on(self, stop_after: int | None = None) -> Outcome:
        """Let L2 go on where it stopped, here or where it was saved, as VMLAUNCH would have;
        RuntimeError where it has not."""
        return self._alone(self._processor.go_on, stop_after)

    def invept(self, type: int, eptp: int = 0, gpa: int = 0) -> Outcome:
        """INVEPT (31.3): the type from the register, the EPT pointer and a reserved word from
        memory; VMfail with error 28 for what it does not take."""
        return self._alone(self._processor.invept, type, eptp, gpa)

    def invvpid(self, type: int, vpid: int = 0, gla: int = 0) -> Outcome:
        """INVVPID (31.3): the type from the register, the VPID and a linear address from memory;
        VMfail with error 28 for what it does not take."""
        return self._alone(self._processor.invvpid, type, vpid, gla)

    def hypercall(self, control: int, rdx: int = 0, r8: int = 0,
                  xmm: tuple[int, ...] = ()) -> Outcome:
        """VMCALL with a hypercall's control word (TLFS, Hypercall Interface), two registers of
        parameters, and for a fast call up to twelve 64-bit halves of XMM0 to XMM5; the value is
        RAX, Hyper-V's status. ValueError for more halves."""
        return self._alone(self._processor.hypercall, control, rdx, r8, xmm)

    # the processor as a whole

    def save(self) -> bytes:
        """The processor as it is between two instructions, of L1 or, where it is stopped, of L2;
        for restore(). Memory is not in it."""
        return self._alone(self._processor.save)

    def restore(self, blob: bytes) -> None:
        """Continue as save() found it, here or on another machine of the same profile; what L0
        held of an eVMCS is read again. ValueError, and no change, for any other blob."""
        self._alone(self._processor.restore, blob)

    def interrupt(self, vector: int, after: int = 0) -> None:
        """Raise an external interrupt at this processor, after so many more instructions of L2.

        Where L2 halts before that, time passes and it comes at once. Up to 16 events may be on
        their way; an interrupt that finds another one waiting comes behind it. ValueError for a
        vector above 255, and for one event more.
        """
        self._alone(self._processor.interrupt, vector, after)

    def nmi(self, after: int = 0) -> None:
        """Raise a non-maskable interrupt at this processor; see interrupt()."""
        self._alone(self._processor.nmi, after)

    def forget_events(self) -> None:
        """Take back the interrupts and NMIs that have not come yet, or that nobody has taken."""
        self._alone(self._processor.forget_events)

    def signal_sint(self, source: int) -> bool:
        """Let a synthetic interrupt source, 0 to 15, fire (TLFS, Inter-Partition Communication);
        is its interrupt now pending? Another thread may do so while the CPU runs."""
        self.machine.check_open()
        return self._processor.signal_sint(source)

    # what L0 knows of it

    def counters(self) -> dict[str, int]:
        """What L0 has done for this processor, by name; also while it runs."""
        self.machine.check_open()
        return self._processor.counters()

    def log_exits(self, size: int) -> None:
        """Keep a record of the last `size` exits, from none on; 0 stops it."""
        self._alone(self._processor.log_exits, size)

    def msr_exits(self, msr: int, write: bool = False) -> bool:
        """Would L2's RDMSR, or WRMSR, of an MSR exit, by the bitmap that L0 goes by (25.6.9)?"""
        return self._alone(self._processor.msr_exits, msr, write)

    def refusals(self) -> list[Refusal]:
        """Every check that refuses the VMCS that is current, or the eVMCS that is active as L0
        holds it (chapter 27): the first is why an entry fails, the others would refuse it then.
        What stands in memory, such as a list of MSRs, is not looked at."""
        return self._alone(self._processor.refusals)

    @property
    def exit_log(self) -> list[tuple[int, int, int, int]]:
        """(reason, qualification, RIP of L2, clean fields that the entry found) of each exit: an
        ExitReason, or a number with bit 31 where the entry failed."""
        self.machine.check_open()
        return [(ExitReason.of(reason), what, rip, clean)
                for reason, what, rip, clean in self._processor.exit_log]

    exit_reasons = Reading[list[int]]("How often each basic exit reason has come, by its number.")
    mode = Reading[str]('In which VMX operation it is: "no VMX", "VMX root" or "VMX non-root".')
    stopped = Reading[bool]("Does L2 stand between two of its instructions?")
    active_evmcs = Reading[int | None](
        "The GPA of the eVMCS that is active (TLFS, Nested Virtualization), or None.")
    evmcs_copy = Reading[bytes | None](
        "What L0 holds of the active eVMCS, laid out like it (1024 bytes); None without one.")
    why_not = Reading[Refusal | None](
        "The Refusal of the last instruction that was refused here, by L1's kernel or by a call: "
        "check, value, what is allowed, and a sentence; None where none was.")
    partition = Reading[Any]("The Partition of L0's that the processor belongs to.")

    # registers

    registers = Register[list[int]](
        "The 16 general registers of L1, by encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15.")
    rip = Register[int]("The instruction pointer: what the last exit loaded.")
    rsp = Register[int]("The stack pointer: what the last exit loaded.")
    rflags = Register[int]("RFLAGS, where a VMX instruction leaves its outcome (31.2).")
    cpl = Register[int]("The privilege level, 0 to 3; ValueError for another.")
    cr0 = Register[int]("CR0, set without the checks of MOV to CR0.")
    cr2 = Register[int]("CR2, which L1 and L2 share.")
    cr3 = Register[int]("CR3, set without the checks of MOV to CR3.")
    cr4 = Register[int]("CR4, set without the checks of MOV to CR4.")
    cr8 = Register[int]("CR8, which L1 and L2 share: 0 to 15; ValueError for another.")
    dr7 = Register[int]("DR7, 32 bits, which an exit sets to 0x400 (28.5.1).")
    debug_registers = Register[list[int]]("DR0 to DR3 and DR6, which L1 and L2 share.")
    efer = Register[int]("IA32_EFER, set without the checks of WRMSR.")
    mov_ss_shadow = Register[bool]("Does the instruction before, MOV to SS, block events (25.4.2)?")
    pending_interrupt = Event[int | None](
        "The vector of the external interrupt that waits, or None; also set while the CPU runs.")
    pending_nmi = Event[bool]("Does a non-maskable interrupt wait? Also set while the CPU runs.")
