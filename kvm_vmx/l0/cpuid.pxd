# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu
from kvm_vmx.l0.state cimport l0_cpuid_leaf, l0_profile

# A leaf of the profile, or NULL.
cdef const l0_cpuid_leaf *cpuid_leaf(const l0_profile *profile, u32 function) noexcept nogil
cdef insn_t l0_cpuid(virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx) noexcept nogil
