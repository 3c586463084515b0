# SPDX-License-Identifier: GPL-2.0-only
# One logical processor and its memory, for Cython.
from kvm_vmx.abi.types cimport u8, u32, u64

cdef extern from "asm/virt_cpu.h" nogil:
    ctypedef u32 insn_t
    enum:
        INSN_OK
        INSN_VMFAIL_INVALID
        INSN_VMFAIL_VALID
        INSN_STATUS_FLAGS
        WRITER_UNKNOWN
        WRITER_LINE
        WRITER_ADDRESS
        WRITER_PYTHON
        GPR_RAX
        GPR_RCX
        GPR_RDX
        GPR_RBX
        GPR_RSP
        GPR_RBP
        GPR_RSI
        GPR_RDI
        GPR_R8
        GPR_R9
        GPR_R10
        GPR_R11
        GPR_R12
        GPR_R13
        GPR_R14
        GPR_R15
        NR_GPRS
    const u64 WRITTEN_CURRENT
    const u32 INSN_FAULT

    ctypedef struct l1_line "struct l1_line":
        const char *function
        u32 line

    ctypedef struct virt_cpu "struct virt_cpu"

    ctypedef struct phys_mem "struct phys_mem":
        u8 *base
        u64 size
        u64 *unbacked
        void (*wrote)(virt_cpu *cpu, u64 vmcs, u64 field, u32 who, u64 where) noexcept nogil
        void *written

    ctypedef struct virt_cpu_ops "struct virt_cpu_ops":
        insn_t (*cpuid)(virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx) noexcept nogil
        insn_t (*rdmsr)(virt_cpu *cpu, u32 msr, u64 *value) noexcept nogil
        insn_t (*wrmsr)(virt_cpu *cpu, u32 msr, u64 value) noexcept nogil
        insn_t (*mov_to_cr)(virt_cpu *cpu, u32 cr, u64 value) noexcept nogil
        insn_t (*vmxon)(virt_cpu *cpu, u64 pa) noexcept nogil
        insn_t (*vmxoff)(virt_cpu *cpu) noexcept nogil
        insn_t (*vmclear)(virt_cpu *cpu, u64 pa) noexcept nogil
        insn_t (*vmptrld)(virt_cpu *cpu, u64 pa) noexcept nogil
        insn_t (*vmptrst)(virt_cpu *cpu, u64 *pa) noexcept nogil
        insn_t (*vmread)(virt_cpu *cpu, u64 field, u64 *value) noexcept nogil
        insn_t (*vmwrite)(virt_cpu *cpu, u64 field, u64 value) noexcept nogil
        insn_t (*vmentry)(virt_cpu *cpu, u64 *regs, bint launch) noexcept nogil
        insn_t (*invept)(virt_cpu *cpu, u64 type, u64 eptp, u64 gpa) noexcept nogil
        insn_t (*invvpid)(virt_cpu *cpu, u64 type, u64 vpid, u64 gla) noexcept nogil
        insn_t (*vmcall)(virt_cpu *cpu, u64 *regs) noexcept nogil

    ctypedef struct virt_cpu "struct virt_cpu":
        const virt_cpu_ops *ops
        const phys_mem *mem
        u64 rip
        u64 rsp
        u64 rflags
        u64 cr0
        u64 cr2
        u64 cr3
        u64 cr4
        u64 dr7
        u64 dr[4]
        u64 dr6
        u64 cr8
        u64 idtr_base
        u64 gdtr_base
        u64 tr_base
        u32 index
        u32 cpl
        u32 intr
        u32 nmi
        u64 irr[4]

    void irq_raise(virt_cpu *cpu, u32 vector)
    u32 irq_first(const virt_cpu *cpu)
    int irq_is_pending(const virt_cpu *cpu, u32 vector)
    void irq_settle(virt_cpu *cpu)
    u32 irq_take(virt_cpu *cpu)
    void irq_forget(virt_cpu *cpu, u32 vector)
    u32 INSN_FAULT_VECTOR(insn_t status)
    u32 INSN_FAULT_ERROR(insn_t status)
    insn_t INSN_MAKE_FAULT(u32 vector, u32 error)
