# SPDX-License-Identifier: GPL-2.0-only
# KVM's objects as user space has them: a VM, its memory, and its vCPUs.

cdef class VirtualMachine:
    """A struct kvm."""

    def __cinit__(self, made=None):
        if made is not _MADE:
            raise TypeError("a VirtualMachine comes from Kernel.create_vm()")

    cdef kvm_t *there(self) except NULL:
        if self.kernel is None or self.kvm == NULL:
            raise MachineError("the VM is destroyed: create another")
        self.kernel.check()
        return <kvm_t *>self.kvm

    @property
    def destroyed(self) -> bool:
        """Whether it is gone."""
        return self.kvm == NULL

    def destroy(self, int cpu=ANY_CPU) -> None:
        """Destroy it and its vCPUs."""
        self.kernel.enter(cpu, <void *>kvm_destroy_vm, <u64>self.there())
        self.kvm = NULL
        self.kernel.vms.remove(self)

    def create_vcpu(self, int cpu) -> "tuple[VirtualCpu, int] | tuple[None, int]":
        """(VirtualCpu, 0), or (None, a negative errno)."""
        cdef VirtualCpu vcpu
        cdef int ret = 0
        cdef u64 made = self.kernel.enter(
            cpu, <void *>kvm_vm_ioctl_create_vcpu, <u64>self.there(), self.nr_vcpus, <u64>&ret)

        if made == 0:
            return None, ret
        vcpu = VirtualCpu.__new__(VirtualCpu, _MADE)
        self.nr_vcpus += 1
        vcpu.vm = self
        vcpu.vcpu = <void *>made
        return vcpu, 0

    def move_page(self, u64 gpa, bint flush, int cpu) -> int:
        """Give a page of guest memory another frame, and flush the TLBs unless told otherwise;
        0 or a negative errno."""
        return <int>self.kernel.enter(
            cpu, <void *>move_guest_page if flush else <void *>replace_guest_page,
            <u64>self.there(), gpa)

    @property
    def remote_tlb_flushes(self) -> int:
        """kvm.stat.remote_tlb_flush."""
        return self.there().remote_tlb_flush

    cdef int copy(self, u64 gpa, u8 *data, size_t length, bint store) except -1:
        cdef copy_request call

        call.kvm = self.there()
        call.gpa, call.data, call.length, call.store, call.ret = gpa, data, length, store, 0
        self.kernel.call_anywhere(ANY_CPU, do_copy, &call)
        if call.ret:
            raise IndexError(f"{call.gpa:#x} is outside the guest's memory")
        return 0

    def read(self, gpa: int, length: int) -> bytes:
        """Bytes of the guest's memory; IndexError outside it."""
        data = bytearray(length)
        cdef u8[::1] view = data
        if length:
            self.copy(gpa, &view[0], length, False)
        return bytes(data)

    def write(self, gpa: int, data: bytes) -> None:
        """Store bytes in the guest's memory; IndexError outside it."""
        cdef const u8[::1] view = data
        if len(view):
            self.copy(gpa, <u8 *>&view[0], len(view), True)


cdef struct copy_request:
    kvm_t *kvm
    u64 gpa
    u8 *data
    size_t length
    bint store
    int ret


cdef void do_copy(void *arg) noexcept nogil:
    # As far as the guest has memory, a page at a time: each stays where it is meanwhile.
    cdef copy_request *call = <copy_request *>arg
    cdef size_t part
    cdef u8 *page

    while call.length:
        part = min(<size_t>(PAGE_SIZE - (call.gpa & (PAGE_SIZE - 1))), call.length)
        page = guest_page_get(call.kvm, call.gpa)
        if page == NULL:
            call.ret = -EFAULT
            return
        page += call.gpa & (PAGE_SIZE - 1)
        if call.store:
            memcpy(page, call.data, part)
        else:
            memcpy(call.data, page, part)
        guest_page_put(call.kvm)
        call.gpa += part
        call.data += part
        call.length -= part


cdef struct run_request:
    kvm_vcpu_t *vcpu
    const u64 *exit_reasons     # those of the processor, counted by number
    u64 reasons[L0_NR_EXIT_REASONS]
    const l0_vp *vp             # likewise, its last events and its last refusal
    l0_chain chain
    l0_refusal refusal          # of the last entry, where it was refused
    int ret


cdef void do_run(void *arg) noexcept nogil:
    cdef run_request *call = <run_request *>arg
    cdef int i

    # A processor counts for whoever runs on it: the difference is this vCPU's only while this
    # thread has it.
    for i in range(L0_NR_EXIT_REASONS):
        call.reasons[i] -= call.exit_reasons[i]
    call.ret = kvm_arch_vcpu_ioctl_run(call.vcpu)
    for i in range(L0_NR_EXIT_REASONS):
        call.reasons[i] += call.exit_reasons[i]
    call.chain = call.vp.chain
    call.refusal = call.vp.refusal
    if call.refusal.entry != call.vp.counters.vmlaunch + call.vp.counters.vmresume:
        call.refusal.check = 0


REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11",
             "r12", "r13", "r14", "r15", "rip", "rflags")


cdef class VirtualCpu:
    """A struct kvm_vcpu."""

    def __cinit__(self, made=None):
        if made is not _MADE:
            raise TypeError("a VirtualCpu comes from VirtualMachine.create_vcpu()")

    cdef kvm_vcpu_t *there(self) except NULL:
        if self.vm is None:
            raise MachineError("no vCPU: create one")
        self.vm.there()
        return <kvm_vcpu_t *>self.vcpu

    def run(self, int cpu, exits=None, u64 depth=0) -> tuple[int, int, dict[int, int]]:
        """Run on a CPU until so many VM exits, or until KVM returns to user space.

        A CPU that goes offline ends the run. depth bytes of the thread's kernel stack are in
        use before. Returns (exits, KVM's return value, {reason: exits}). A signal that Python
        handles kicks the vCPU out of the guest, and goes on there unless its handler raises.
        """
        cdef kvm_vcpu_t *vcpu = self.there()
        cdef Kernel kernel = self.vm.kernel
        cdef run_request call
        cdef u64 start = vcpu.stat.exits
        cdef u64 end = ~<u64>0 if exits is None else start + <u64>exits
        cdef bint kicked

        memset(&call, 0, sizeof(call))
        call.vcpu = vcpu
        call.exit_reasons = kernel.partition.partition.vp[cpu].exit_reasons
        call.vp = &kernel.partition.partition.vp[cpu]
        while True:
            kicked = kick_begin()
            try:
                vcpu.arch.exits_until = end
                if not kicked and kick_handles():
                    vcpu.arch.exits_until = min(end, vcpu.stat.exits + SLICE_EXITS)
                if kernel.attempt(cpu, do_run, &call, depth, KICKED if kicked else RUNS):
                    kernel.refuse(cpu)
            finally:
                if kicked:
                    kick_end()
            self.chain = call.chain
            self.refused = call.refusal
            if call.ret != -EINTR or vcpu.stat.exits >= end or not cpu_active(cpu) or \
                    vcpu.run.immediate_exit:
                return vcpu.stat.exits - start, call.ret, {
                    i: call.reasons[i] for i in range(L0_NR_EXIT_REASONS) if call.reasons[i]}
            kick_check()
            # a handler may have closed what this runs in, or be in a child
            self.there()

    @property
    def address(self) -> int:
        """Where its struct kvm_vcpu is."""
        return <size_t>self.there()

    def load(self, int cpu) -> int:
        """Make its VMCS current on a CPU; the GPA of the VMCS."""
        return self.vm.kernel.enter_loaded(cpu, <void *>current_vmcs_pa, <u64>self.there())

    def interrupt(self, int cpu, int vector) -> int:
        """KVM_INTERRUPT: 0 or a negative errno."""
        return <int>self.vm.kernel.enter_loaded(
            cpu, <void *>kvm_vcpu_ioctl_interrupt, <u64>self.there(), <u32>vector)

    def nmi(self, int cpu) -> int:
        """KVM_NMI: 0 or a negative errno."""
        return <int>self.vm.kernel.enter_loaded(
            cpu, <void *>kvm_vcpu_ioctl_nmi, <u64>self.there())

    @property
    def request_interrupt_window(self) -> bool:
        """kvm_run.request_interrupt_window."""
        return bool(self.there().run.request_interrupt_window)

    @request_interrupt_window.setter
    def request_interrupt_window(self, bint value):
        self.there().run.request_interrupt_window = value

    @property
    def ready_for_interrupt_injection(self) -> bool:
        """kvm_run.ready_for_interrupt_injection."""
        return bool(self.there().run.ready_for_interrupt_injection)

    @property
    def refusal(self) -> Refusal | None:
        """Why the last entry of the last run was refused, None where it was not."""
        return refusal_of(&self.refused)

    @property
    def events(self) -> list[dict]:
        """The last event of the guest in the last run, and what its delivery met."""
        return chain_events(&self.chain)

    def exit_state(self) -> dict:
        """struct kvm_run, as far as its exit reason fills it."""
        cdef kvm_run_t *run = self.there().run

        return {
            "exit_reason": run.exit_reason,
            "fail_entry": run.fail_entry.hardware_entry_failure_reason,
            "exception": run.ex.exception, "error_code": run.ex.error_code,
            "io": {"direction": "in" if run.io.direction == 0 else "out", "size": run.io.size,
                   "port": run.io.port, "data": run.io.data},
            "mmio": {"direction": "write" if run.mmio.is_write else "read", "size": run.mmio.len,
                     "address": run.mmio.phys_addr, "data": run.mmio.data},
            "internal": {"suberror": run.internal.suberror,
                         "data": [run.internal.data[i] for i in range(min(run.internal.ndata, 16))]}}

    def answer_mmio(self, u64 data) -> None:
        """kvm_run.mmio.data: what the read that user space was asked for finds."""
        (<kvm_vcpu_t *>self.vcpu).run.mmio.data = data

    def get_regs(self, int cpu) -> dict[str, int]:
        """The general registers, RIP and RFLAGS."""
        cdef kvm_regs regs

        self.vm.kernel.enter(cpu, <void *>kvm_arch_vcpu_ioctl_get_regs, <u64>self.there(),
                             <u64>&regs)
        return regs

    def set_regs(self, int cpu, dict regs) -> None:
        """Set them all."""
        cdef kvm_regs given = regs

        self.vm.kernel.enter(cpu, <void *>kvm_arch_vcpu_ioctl_set_regs, <u64>self.there(),
                             <u64>&given)

    def get_sregs(self, int cpu) -> dict:
        """Segments, tables and control registers."""
        cdef kvm_sregs sregs

        self.vm.kernel.enter(cpu, <void *>kvm_arch_vcpu_ioctl_get_sregs, <u64>self.there(),
                             <u64>&sregs)
        return sregs

    def set_sregs(self, int cpu, dict sregs) -> int:
        """Set them all; 0 or a negative errno."""
        cdef kvm_sregs given = sregs

        return <int>self.vm.kernel.enter(
            cpu, <void *>kvm_arch_vcpu_ioctl_set_sregs, <u64>self.there(), <u64>&given)

    def set_cpuid(self, int cpu, entries: list[dict]) -> int:
        """Give the guest its CPUID table; 0 or a negative errno."""
        cdef kvm_cpuid_entry2 *table = <kvm_cpuid_entry2 *>calloc(
            len(entries) + 1, sizeof(kvm_cpuid_entry2))
        cdef int i

        if table == NULL:
            raise MemoryError("no memory for the CPUID table")
        try:
            for i, entry in enumerate(entries):
                table[i] = entry
            return <int>self.vm.kernel.enter_loaded(
                cpu, <void *>kvm_vcpu_ioctl_set_cpuid2, <u64>self.there(), <u64>table,
                len(entries))
        finally:
            free(table)
