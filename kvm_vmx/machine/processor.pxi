# SPDX-License-Identifier: GPL-2.0-only
# One L1 processor as hardware: its instructions, and what L0 has counted and kept of them.

cdef extern from *:
    """
    static const char *const l0_counter_names[] = {
    #define L0_COUNTER_NAME(name, ...) #name,
    L0_COUNTERS(L0_COUNTER_NAME)
    };
    """
    const char *l0_counter_names[]


cdef class Processor(ProcessorState):
    """One L1 processor as hardware: its instructions, and the registers a test may set.

    Every method is one instruction and returns an Outcome; what a processor would report
    (VMfail, a fault) is in it and never raised.
    """

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
            while self.serve() or (self.vp.guest_state == L2_STOPPED and self.vp.paused):
                PyErr_CheckSignals()
                if self.vp.guest_state == L2_STOPPED:
                    with nogil:
                        status = l0_go_on(self.vp)
        finally:
            self.vp.may_stop = 0
            self.forget_stop()
        return status

    cdef bint serve(self) except -1:
        """Let a device see to the access that waits; was there one?"""
        cdef const l0_access *now = &self.vp.root.bus.now

        if self.vp.partition.devices.ports | self.vp.partition.devices.nr_ranges == 0 or \
                not bus_next(self.vp):
            return False
        found = self.partition.bus.see_to(now.in_memory, now.address, now.size,
                                          None if now.is_read else now.value)
        if found is not None:
            bus_answer(self.vp, found)
        return True

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
    def why_not(self) -> Refusal | None:
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
