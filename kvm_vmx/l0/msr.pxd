# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu
from kvm_vmx.l0.state cimport l0_vp

# RDMSR and WRMSR of whoever runs: while L2 does, its segment bases, SYSENTER MSRs and EFER.
cdef insn_t l0_rdmsr(virt_cpu *cpu, u32 msr, u64 *value) noexcept nogil
cdef insn_t l0_wrmsr(virt_cpu *cpu, u32 msr, u64 value) noexcept nogil
cdef insn_t msr_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil
cdef insn_t msr_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil
cdef void msr_init(l0_vp *vp) noexcept nogil
cdef bint pat_valid(u64 pat) noexcept nogil

cdef enum:
    EFER_SCE = 1 << 0
    EFER_LME = 1 << 8
    EFER_LMA = 1 << 10
    EFER_NX = 1 << 11
    EFER_VALID = 0xd01
    DEBUGCTL_VALID = 0xdfc3
    FEATURE_CONTROL_LOCKED = 1
    FEATURE_CONTROL_VMXON_OUTSIDE_SMX = 4
