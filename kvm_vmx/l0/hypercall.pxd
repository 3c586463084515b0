# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu

cdef insn_t l0_vmcall(virt_cpu *cpu, u64 *regs) noexcept nogil
