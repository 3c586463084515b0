# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu

cdef insn_t l0_mov_to_cr(virt_cpu *cpu, u32 cr, u64 value) noexcept nogil

cdef enum:
    CR0_PE = 1 << 0
    CR0_ET = 1 << 4
    CR4_PAE = 1 << 5
    CR4_VMXE = 1 << 13
    CR4_PCIDE = 1 << 17
