# SPDX-License-Identifier: GPL-2.0-only
# CPUID as L1 sees it: the profile's leaves, and what differs from processor to processor.

cdef enum:
    ECX_OSXSAVE = 1 << 27
    TOPOLOGY = 0xb
    TOPOLOGY_V2 = 0x1f
    EDX_APIC = 1 << 9
    EDX_INVARIANT_TSC = 1 << 8
    TSC_INVARIANT_AVAILABLE = 1 << 15

cdef u32 POWER = 0x80000007


# A leaf of the profile, or NULL.
cdef const l0_cpuid_leaf *cpuid_leaf(const l0_profile *profile, u32 function) noexcept nogil:
    return find_leaf(profile, function, 0)


# The entry of a leaf; ECX counts where the processor has subleaves of it.
cdef const l0_cpuid_leaf *find_leaf(
        const l0_profile *profile, u32 function, u32 index) noexcept nogil:
    cdef u32 i
    for i in range(profile.nr_leaves):
        if profile.leaf[i].function == function and (
                profile.leaf[i].index == index or not profile.leaf[i].indexed):
            return &profile.leaf[i]
    return NULL


# Beyond the last level a topology leaf still tells ECX's low byte and the processor's APIC ID.
cdef void beyond_topology(l0_vp *vp, u32 function, u32 index, u32 *ecx, u32 *edx) noexcept nogil:
    if (function == TOPOLOGY or function == TOPOLOGY_V2) and \
            cpuid_leaf(&vp.partition.profile, function) != NULL:
        ecx[0] = index & 0xff
        edx[0] = vp.cpu.index


cdef insn_t l0_cpuid(virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef u32 function = eax[0], index = ecx[0]
    cdef const l0_cpuid_leaf *leaf = find_leaf(&vp.partition.profile, function, index)

    vp.counters.cpuid += 1
    if leaf == NULL:
        eax[0] = ebx[0] = ecx[0] = edx[0] = 0
        beyond_topology(vp, function, index, ecx, edx)
        return INSN_OK
    eax[0] = leaf.eax
    ebx[0] = leaf.ebx
    ecx[0] = leaf.ecx
    edx[0] = leaf.edx
    if function == 1:
        # the initial APIC ID; OSXSAVE mirrors CR4
        ebx[0] = leaf.ebx & 0x00ffffff | (cpu.index & 0xff) << 24
        ecx[0] = leaf.ecx & ~<u32>ECX_OSXSAVE
        if cpu.cr4 & X86_CR4_OSXSAVE:
            ecx[0] |= ECX_OSXSAVE
        if vp.root.on and not vp.msr[SLOT_APIC_BASE].value & BASE_ENABLED:
            edx[0] = leaf.edx & ~<u32>EDX_APIC
    elif function == TOPOLOGY or function == TOPOLOGY_V2:
        edx[0] = vp.cpu.index
    elif function == POWER and vp.partition.caps.features & TSC_INVARIANT_AVAILABLE and \
            not vp.partition.invariant_tsc & 1:
        # with MSR 0x40000118 on offer, L1 first asks for it
        edx[0] = leaf.edx & ~<u32>EDX_INVARIANT_TSC
    return INSN_OK
