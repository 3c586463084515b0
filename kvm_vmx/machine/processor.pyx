# SPDX-License-Identifier: GPL-2.0-only
"""One L1 processor as hardware: its instructions, and what a test may set or look at."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from kvm_vmx.abi.asm cimport CALL_FUNCTION_VECTOR, RESCHEDULE_VECTOR
from kvm_vmx.abi.hyperv_tlfs cimport hv_enlightened_vmcs
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport *
from kvm_vmx.l0.hyperv cimport (
    l0_go_on, msr_exits, stimers_arm, stimers_run, synic_signal, vp_restore, vp_save,
)
from kvm_vmx.l0.state cimport *
from kvm_vmx.machine.checks cimport all_refusals, last_denial, last_refusal, refusal_of
from kvm_vmx.machine.process cimport _MADE, check_process
from kvm_vmx.trap.engine cimport check_executed, trap_ops

from kvm_vmx.machine.outcome import (
    Fault, Outcome, Stopped, VMfailInvalid, VMfailValid, VMsucceed,
)
from kvm_vmx.machine.refusal import Refusal

cdef extern from *:
    """
    static const char *const l0_counter_names[] = {
    #define L0_COUNTER_NAME(name, ...) #name,
    L0_COUNTERS(L0_COUNTER_NAME)
    };
    """
    const char *l0_counter_names[]

_MASK_64 = (1 << 64) - 1


cdef u64 word(value) except? 0:
    """An operand as a register holds it: 64 bits, whatever the sign."""
    return <u64>(value & _MASK_64)


cdef void forget_interrupts(l0_vp *vp) noexcept nogil:
    # A CPU that has called another one waits for the answer.
    cdef u32 vector

    for vector in range(256):
        if vector != <u32>RESCHEDULE_VECTOR and vector != <u32>CALL_FUNCTION_VECTOR:
            irq_forget(&vp.cpu, vector)


cdef class Processor:
    """One L1 processor as hardware: its instructions, and the registers a test may set.

    Every method is one instruction and returns an Outcome; what a processor would report
    (VMfail, a fault) is in it and never raised.
    """

    def __cinit__(self, made=None):
        if made is not _MADE:
            raise TypeError("a Processor comes from Partition.processor(n)")

    cdef const u64 *reasons(self) noexcept:
        return self.vp.exit_reasons

    cdef const virt_cpu_ops *ops(self) except NULL:
        check_process(self.owner)
        if self.vp.guest_state == L2_STOPPED:
            raise RuntimeError("L2 is stopped, and L1 executes nothing: let it go_on() first")
        self.denials = self.vp.denials
        # The opcodes reach the same functions, by way of a signal.
        if self.partition.by_trap:
            return trap_ops()
        return self.vp.cpu.ops

    cdef outcome(self, insn_t status, value=None, why=None):
        cdef u64 rflags = self.vp.cpu.rflags

        if self.partition.by_trap:
            check_executed()
        if why is None and status != INSN_OK and self.vp.denials != self.denials:
            why = refusal_of(&self.vp.denied)
        if self.vp.partition.stopped:
            self.partition.check()
        if self.vp.guest_state == L2_STOPPED:
            return Stopped(rflags)
        if status == INSN_OK:
            return VMsucceed(rflags, value, why)
        if status & INSN_FAULT:
            return Fault(INSN_FAULT_VECTOR(status), INSN_FAULT_ERROR(status), rflags, why)
        if status == INSN_VMFAIL_INVALID:
            return VMfailInvalid(rflags, why=why)
        if self.vp.active_evmcs != L0_NO_VMCS:
            return VMfailValid(self.vp.evmcs_cache.f.vm_instruction_error, rflags, why)
        return VMfailValid(self.vp.current_vmcs.f.vm_instruction_error, rflags, why)

    @property
    def index(self) -> int:
        """The VP index."""
        return self.vp.cpu.index

    @property
    def mode(self) -> str:
        """In which VMX operation it is: "no VMX", "VMX root" or "VMX non-root"."""
        check_process(self.owner)
        if self.vp.guest_state != L2_NOT_RUNNING:
            return "VMX non-root"
        return "VMX root" if self.vp.in_vmx else "no VMX"

    def cpuid(self, function: int, index: int = 0) -> tuple[int, int, int, int]:
        """CPUID with EAX and ECX: (eax, ebx, ecx, edx)."""
        cdef u32 eax = <u32>word(function), ebx = 0, ecx = <u32>word(index), edx = 0

        self.ops().cpuid(&self.vp.cpu, &eax, &ebx, &ecx, &edx)
        if self.partition.by_trap:
            check_executed()
        return eax, ebx, ecx, edx

    def rdmsr(self, msr: int) -> Outcome:
        """RDMSR; the value is 64 bits."""
        cdef u64 value = 0
        cdef insn_t status = self.ops().rdmsr(&self.vp.cpu, <u32>word(msr), &value)
        return self.outcome(status, value if status == INSN_OK else None)

    def wrmsr(self, msr: int, value: int) -> Outcome:
        """WRMSR of a 64-bit value."""
        return self.outcome(self.ops().wrmsr(&self.vp.cpu, <u32>word(msr), word(value)))

    def mov_to_cr(self, cr: int, value: int) -> Outcome:
        """MOV to CR0, CR2, CR3, CR4 or CR8."""
        return self.outcome(self.ops().mov_to_cr(&self.vp.cpu, <u32>word(cr), word(value)))

    def vmxon(self, pa: int) -> Outcome:
        """VMXON with the physical address of the region."""
        return self.outcome(self.ops().vmxon(&self.vp.cpu, word(pa)))

    def vmxoff(self) -> Outcome:
        """VMXOFF."""
        return self.outcome(self.ops().vmxoff(&self.vp.cpu))

    def vmclear(self, pa: int) -> Outcome:
        """VMCLEAR of the VMCS at a physical address."""
        return self.outcome(self.ops().vmclear(&self.vp.cpu, word(pa)))

    def vmptrld(self, pa: int) -> Outcome:
        """VMPTRLD of the VMCS at a physical address."""
        return self.outcome(self.ops().vmptrld(&self.vp.cpu, word(pa)))

    def vmptrst(self) -> Outcome:
        """VMPTRST; the value is the current VMCS's address, all ones without one."""
        cdef u64 value = 0
        cdef insn_t status = self.ops().vmptrst(&self.vp.cpu, &value)
        return self.outcome(status, value if status == INSN_OK else None)

    def vmread(self, field: int) -> Outcome:
        """VMREAD of a field by its encoding."""
        cdef u64 value = 0
        cdef insn_t status = self.ops().vmread(&self.vp.cpu, word(field), &value)
        return self.outcome(status, value if status == INSN_OK else None)

    def vmwrite(self, field: int, value: int) -> Outcome:
        """VMWRITE of a field by its encoding."""
        cdef insn_t status = self.ops().vmwrite(&self.vp.cpu, word(field), word(value))

        if self.vp.cpu.mem.wrote != NULL and status == INSN_OK:
            self.vp.cpu.mem.wrote(&self.vp.cpu, WRITTEN_CURRENT, word(field), WRITER_PYTHON, 0)
        return self.outcome(status)

    cdef enter(self, bint launch, stop_after):
        cdef const virt_cpu_ops *ops = self.ops()
        cdef insn_t status
        if stop_after is not None:
            self.schedule(L0_ALARM_STOP, stop_after)
        self.vp.may_stop = 1
        with nogil:
            status = ops.vmentry(&self.vp.cpu, self.vp.gpr, launch)
        return self.outcome(self.to_the_end(status), None, last_refusal(self.vp))

    cdef insn_t to_the_end(self, insn_t status) except? 0x80000000:
        """L2 runs on where no more than a slice of time is over; a signal's exception leaves it
        stopped."""
        try:
            while self.vp.guest_state == L2_STOPPED and self.vp.paused:
                PyErr_CheckSignals()
                with nogil:
                    status = l0_go_on(self.vp)
        finally:
            self.vp.may_stop = 0
            self.forget_stop()
        return status

    cdef forget_stop(self):
        """L2 has stopped, or has left before."""
        cdef u32 i
        for i in range(self.vp.nr_alarms):
            if self.vp.alarm[i].what == L0_ALARM_STOP:
                self.vp.nr_alarms -= 1
                self.vp.alarm[i] = self.vp.alarm[self.vp.nr_alarms]
                break

    def vmlaunch(self, stop_after: int | None = None) -> Outcome:
        """VMLAUNCH: success means that L2 ran, or failed to enter, and the exit is recorded.

        With stop_after L2 stops after so many of its instructions, unless it leaves before: the
        outcome is Stopped, and go_on() is the rest of the instruction. It is Stopped, too, where
        L2 waits and nothing is on its way that could wake it.
        """
        return self.enter(True, stop_after)

    def vmresume(self, stop_after: int | None = None) -> Outcome:
        """VMRESUME; see vmlaunch."""
        return self.enter(False, stop_after)

    def go_on(self, stop_after: int | None = None) -> Outcome:
        """Let L2 go on where it stopped, here or where it was saved, as VMLAUNCH would have."""
        cdef insn_t status

        check_process(self.owner)
        if self.vp.guest_state != L2_STOPPED:
            raise RuntimeError("L2 is not stopped: enter with stop_after first")
        if stop_after is not None:
            self.schedule(L0_ALARM_STOP, stop_after)
        self.vp.may_stop = 1
        with nogil:
            status = l0_go_on(self.vp)
        return self.outcome(self.to_the_end(status))

    def refusals(self) -> list[Refusal]:
        """Every check that refuses the VMCS that is current, or the eVMCS that is active as L0
        holds it: the first is why an entry fails, the others would refuse it then. Values in
        memory, such as a list of MSRs, are not looked at."""
        check_process(self.owner)
        return all_refusals(self.vp)

    @property
    def stopped(self) -> bool:
        """Does L2 stand between two of its instructions?"""
        return self.vp.guest_state == L2_STOPPED

    def invept(self, type: int, eptp: int = 0, gpa: int = 0) -> Outcome:
        """INVEPT: the type from the register, the EPT pointer and a reserved word from memory."""
        return self.outcome(self.ops().invept(
            &self.vp.cpu, word(type), word(eptp), word(gpa)))

    def invvpid(self, type: int, vpid: int = 0, gla: int = 0) -> Outcome:
        """INVVPID: the type from the register, the VPID and a linear address from memory."""
        return self.outcome(self.ops().invvpid(
            &self.vp.cpu, word(type), word(vpid), word(gla)))

    def hypercall(self, control: int, rdx: int = 0, r8: int = 0, xmm: tuple = ()) -> Outcome:
        """VMCALL with a control word, two registers of parameters, and for a fast call up to
        twelve 64-bit halves of XMM0 to XMM5; the value is RAX."""
        cdef insn_t status
        cdef int i

        if len(xmm) > 12:
            raise ValueError(f"{len(xmm)} halves of XMM registers: give at most 12")
        for i in range(12):
            self.vp.extended.xmm[i] = word(xmm[i]) if i < len(xmm) else 0

        self.vp.gpr[GPR_RCX] = word(control)
        self.vp.gpr[GPR_RDX] = word(rdx)
        self.vp.gpr[GPR_R8] = word(r8)
        status = self.ops().vmcall(&self.vp.cpu, self.vp.gpr)
        if status == INSN_OK and self.vp.denials != self.denials:
            return self.outcome(status, self.vp.gpr[GPR_RAX], refusal_of(&self.vp.denied))
        return self.outcome(status, self.vp.gpr[GPR_RAX] if status == INSN_OK else None)

    @property
    def why_not(self):
        """The Refusal of the last instruction of L1 that was refused, VM entry or other, whoever
        executed it; None where none was."""
        return last_denial(self.vp)

    def save(self) -> bytes:
        """The processor as it is between two instructions, of L1 or, where it is stopped, of L2;
        for restore(). Memory is not in it."""
        cdef l0_saved saved

        check_process(self.owner)
        vp_save(self.vp, &saved)
        return PyBytes_FromStringAndSize(<char *>&saved, sizeof(saved))

    def restore(self, blob: bytes) -> None:
        """Continue as save() found it, here or in another partition of the same profile; what
        L0 held of an eVMCS is read again. ValueError, and no change, for any other blob."""
        cdef const unsigned char[::1] view = blob
        cdef l0_saved saved
        cdef const char *wrong

        check_process(self.owner)
        if len(view) != sizeof(saved):
            raise ValueError(
                f"a saved processor of {len(view)} bytes: give the {sizeof(saved)} of save()")
        memcpy(&saved, &view[0], sizeof(saved))
        wrong = vp_restore(self.vp, &saved)
        if wrong != NULL:
            raise ValueError(f"not restored, {wrong.decode()}: give what save() returned")

    @property
    def registers(self) -> list[int]:
        """The 16 general registers of L1, by encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15."""
        return [self.vp.gpr[i] for i in range(NR_GPRS)]

    @registers.setter
    def registers(self, values: list[int]):
        # what an element does as it is converted changes no list here
        given = tuple(values)
        if len(given) != NR_GPRS:
            raise ValueError(f"{len(given)} registers: give {NR_GPRS}")
        for i, value in enumerate(given):
            self.vp.gpr[<int>i] = word(value)

    def counters(self) -> dict[str, int]:
        """What L0 has done for this processor, by name."""
        cdef l0_counters now = l0_counters_now(self.vp)
        cdef const u64 *counts = <const u64 *>&now
        cdef int i
        return {l0_counter_names[i].decode(): counts[i] for i in range(<int>L0_NR_COUNTERS)}

    @property
    def exit_reasons(self) -> list[int]:
        """How often each basic exit reason has come, by its number."""
        cdef int i
        return [self.vp.exit_reasons[i] for i in range(<int>L0_NR_EXIT_REASONS)]

    def log_exits(self, size: int) -> None:
        """Keep a record of the last `size` exits, from none on; 0 stops it."""
        check_process(self.owner)
        if not 0 <= size <= 1 << 24:
            raise ValueError(f"a log of {size} exits: give 0 to {1 << 24}")
        free(self.vp.exit_log)
        self.vp.exit_log = NULL
        self.vp.exit_log_size = self.vp.exit_log_end = 0
        if size:
            self.vp.exit_log = <l0_exit_record *>calloc(size, sizeof(l0_exit_record))
            if self.vp.exit_log == NULL:
                raise MemoryError(f"no memory for a log of {size} exits")
            self.vp.exit_log_size = size

    @property
    def exit_log(self) -> list[tuple[int, int, int, int]]:
        """(reason, qualification, RIP of L2, clean fields that the entry found) of each exit."""
        cdef u64 i, size = self.vp.exit_log_size, end = self.vp.exit_log_end
        cdef l0_exit_record *record

        found = []
        for i in range(end - size if end > size else 0, end):
            record = &self.vp.exit_log[i % size]
            found.append((record.reason, record.qualification, record.rip, record.clean_fields))
        return found

    def msr_exits(self, msr: int, write: bool = False) -> bool:
        """Would L2's RDMSR, or WRMSR, of an MSR exit, by the bitmap that L0 goes by?"""
        check_process(self.owner)
        return msr_exits(self.vp, <u32>word(msr), write)

    def signal_sint(self, source: int) -> bool:
        """Let a synthetic interrupt source fire; is its interrupt now pending?"""
        check_process(self.owner)
        if not 0 <= source < 16:
            raise ValueError(f"synthetic interrupt source {source!r}: give 0 to 15")
        return synic_signal(self.vp, source)

    @property
    def active_evmcs(self) -> int | None:
        """The GPA of the eVMCS that is active, or None."""
        return None if self.vp.active_evmcs == L0_NO_VMCS else self.vp.active_evmcs

    @property
    def evmcs_copy(self) -> bytes | None:
        """What L0 holds of the active eVMCS, laid out like it (1024 bytes); None without one."""
        if self.vp.active_evmcs == L0_NO_VMCS:
            return None
        return PyBytes_FromStringAndSize(
            <char *>&self.vp.evmcs_cache.f, sizeof(hv_enlightened_vmcs))

    @property
    def rip(self) -> int:
        """The instruction pointer: what the last exit loaded."""
        return self.vp.cpu.rip

    @rip.setter
    def rip(self, value: int):
        self.vp.cpu.rip = word(value)

    @property
    def rsp(self) -> int:
        """The stack pointer: what the last exit loaded."""
        return self.vp.cpu.rsp

    @rsp.setter
    def rsp(self, value: int):
        self.vp.cpu.rsp = word(value)

    @property
    def rflags(self) -> int:
        """RFLAGS, where a VMX instruction leaves its outcome."""
        return self.vp.cpu.rflags

    @rflags.setter
    def rflags(self, value: int):
        self.vp.cpu.rflags = word(value)

    @property
    def cpl(self) -> int:
        """The privilege level, 0 to 3."""
        return self.vp.cpu.cpl

    @cpl.setter
    def cpl(self, value: int):
        if value not in (0, 1, 2, 3):
            raise ValueError(f"privilege level {value!r}: give 0 to 3")
        self.vp.cpu.cpl = value

    @property
    def cr0(self) -> int:
        """CR0, set without the checks of MOV to CR0."""
        return self.vp.cpu.cr0

    @cr0.setter
    def cr0(self, value: int):
        self.vp.cpu.cr0 = word(value)
        self.vp.host_loaded = 0

    @property
    def cr2(self) -> int:
        """CR2, which L1 and L2 share."""
        return self.vp.cpu.cr2

    @cr2.setter
    def cr2(self, value: int):
        self.vp.cpu.cr2 = word(value)

    @property
    def cr3(self) -> int:
        """CR3, set without the checks of MOV to CR3."""
        return self.vp.cpu.cr3

    @cr3.setter
    def cr3(self, value: int):
        self.vp.cpu.cr3 = word(value)
        self.vp.host_loaded = 0

    @property
    def cr8(self) -> int:
        """CR8, which L1 and L2 share: 0 to 15."""
        return self.vp.cpu.cr8

    @cr8.setter
    def cr8(self, value: int):
        if not 0 <= value <= 15:
            raise ValueError(f"CR8 {value!r}: give 0 to 15")
        self.vp.cpu.cr8 = value

    @property
    def dr7(self) -> int:
        """DR7, which an exit sets to 0x400."""
        return self.vp.cpu.dr7

    @dr7.setter
    def dr7(self, value: int):
        if not 0 <= value < 1 << 32:
            raise ValueError(f"DR7 {value!r}: give 32 bits")
        self.vp.cpu.dr7 = value | 0x400

    @property
    def cr4(self) -> int:
        """CR4, set without the checks of MOV to CR4."""
        return self.vp.cpu.cr4

    @cr4.setter
    def cr4(self, value: int):
        self.vp.cpu.cr4 = word(value)
        self.vp.host_loaded = 0

    @property
    def debug_registers(self) -> list[int]:
        """DR0 to DR3 and DR6, which L1 and L2 share."""
        return [self.vp.cpu.dr[i] for i in range(4)] + [self.vp.cpu.dr6]

    @debug_registers.setter
    def debug_registers(self, values: list[int]):
        given = tuple(values)
        if len(given) != 5:
            raise ValueError(f"{len(given)} debug registers: give DR0 to DR3 and DR6")
        for i in range(4):
            self.vp.cpu.dr[i] = word(given[i])
        # the bits that are always 1, and those that are always 0
        self.vp.cpu.dr6 = word(given[4]) & 0xe00f | 0xffff0ff0

    @property
    def efer(self) -> int:
        """IA32_EFER, set without the checks of WRMSR."""
        return self.vp.efer

    @efer.setter
    def efer(self, value: int):
        self.vp.efer = word(value)
        self.vp.groups_to_check = 0xffff

    @property
    def mov_ss_shadow(self) -> bool:
        """Does the instruction before, MOV to SS, block events?"""
        return bool(self.vp.mov_ss_shadow)

    @mov_ss_shadow.setter
    def mov_ss_shadow(self, value: bool):
        self.vp.mov_ss_shadow = 1 if value else 0

    @property
    def pending_interrupt(self) -> int | None:
        """The vector of the external interrupt that waits, the highest of several, or None. One
        that is set comes beside those that wait; None takes them back, but for those by which
        one CPU of the kernel calls another."""
        stimers_run(self.vp)
        cdef u32 first = irq_first(&self.vp.cpu)

        return first & 0xff if first else None

    @pending_interrupt.setter
    def pending_interrupt(self, vector: int | None):
        if vector is not None and not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255 or None")
        if vector is None:
            forget_interrupts(self.vp)
        else:
            irq_raise(&self.vp.cpu, <u32>vector)

    def interrupt(self, vector: int, after: int = 0) -> None:
        """Raise an external interrupt at this processor, after so many more instructions of L2.

        Where L2 halts before that, time passes and it comes at once. Up to 16 events may be on
        their way; an interrupt that finds another one waiting comes behind it.
        """
        if not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255")
        self.schedule(0x100 | <u32>vector, after)

    def nmi(self, after: int = 0) -> None:
        """Raise a non-maskable interrupt at this processor; see interrupt()."""
        self.schedule(L0_ALARM_NMI, after)

    def forget_events(self) -> None:
        """Take back the interrupts and NMIs that have not come yet, or that nobody has taken."""
        self.vp.nr_alarms = self.vp.cpu.nmi = 0
        forget_interrupts(self.vp)
        stimers_arm(self.vp)

    cdef schedule(self, u32 what, after):
        if not 0 <= after < 1 << 63:
            raise ValueError(f"after {after!r} instructions: give a number from 0")
        if self.vp.nr_alarms >= L0_MAX_ALARMS:
            raise ValueError(f"{L0_MAX_ALARMS} events are on their way: let L2 run first")
        self.vp.alarm[self.vp.nr_alarms].at = self.vp.counters.l2_instructions + <u64>after
        self.vp.alarm[self.vp.nr_alarms].what = what
        self.vp.nr_alarms += 1

    @property
    def pending_nmi(self) -> bool:
        """Does a non-maskable interrupt wait?"""
        return bool(self.vp.cpu.nmi)

    @pending_nmi.setter
    def pending_nmi(self, value: bool):
        self.vp.cpu.nmi = 1 if value else 0
