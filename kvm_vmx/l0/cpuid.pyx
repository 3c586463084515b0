# SPDX-License-Identifier: GPL-2.0-only
# CPUID as L1 sees it: the profile's leaves, and what differs from processor to processor.
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport INSN_OK, insn_t, virt_cpu
from kvm_vmx.l0.state cimport l0_cpuid_leaf, l0_profile, l0_vp

cdef enum:
    ECX_OSXSAVE = 1 << 27
    CR4_OSXSAVE = 1 << 18


cdef const l0_cpuid_leaf *cpuid_leaf(const l0_profile *profile, u32 function) noexcept nogil:
    cdef u32 i
    for i in range(profile.nr_leaves):
        if profile.leaf[i].function == function:
            return &profile.leaf[i]
    return NULL


cdef insn_t l0_cpuid(virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef u32 function = eax[0], index = ecx[0]
    cdef const l0_cpuid_leaf *leaf = cpuid_leaf(&vp.partition.profile, function)

    vp.counters.cpuid += 1
    if leaf == NULL or (function == 7 and index != 0):
        eax[0] = ebx[0] = ecx[0] = edx[0] = 0
        return INSN_OK
    eax[0] = leaf.eax
    ebx[0] = leaf.ebx
    ecx[0] = leaf.ecx
    edx[0] = leaf.edx
    if function == 1:
        # the initial APIC ID; OSXSAVE mirrors CR4
        ebx[0] = leaf.ebx & 0x00ffffff | (cpu.index & 0xff) << 24
        if not cpu.cr4 & CR4_OSXSAVE:
            ecx[0] = leaf.ecx & ~<u32>ECX_OSXSAVE
    return INSN_OK
