# SPDX-License-Identifier: GPL-2.0-only
# The partition and its processors: allocation, reset, and the table of their instructions.

cdef enum:
    CR0_OF_A_KERNEL = (X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM)
    CR4_OF_A_KERNEL = (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_OSFXSR
                       | X86_CR4_OSXMMEXCPT)
    CPUID_1_ECX_VMX = 1 << 5

cdef virt_cpu_ops ops
ops.cpuid = l0_cpuid
ops.rdmsr = l0_rdmsr
ops.wrmsr = l0_wrmsr
ops.mov_to_cr = l0_mov_to_cr
ops.vmxon = l0_vmxon
ops.vmxoff = l0_vmxoff
ops.vmclear = l0_vmclear
ops.vmptrld = l0_vmptrld
ops.vmptrst = l0_vmptrst
ops.vmread = l0_vmread
ops.vmwrite = l0_vmwrite
ops.vmentry = l0_vmentry
ops.invept = l0_invept
ops.invvpid = l0_invvpid
ops.vmcall = l0_vmcall

# of a partition that is watched
cdef virt_cpu_ops watched_ops = ops
watched_ops.vmentry = watched_vmentry


cdef u64 profile_msr(const l0_profile *profile, u32 index) noexcept nogil:
    cdef u32 i
    for i in range(profile.nr_msrs):
        if profile.msr[i].index == index:
            return profile.msr[i].value
    return 0


# With bit 55 of VMX_BASIC the TRUE MSR says what must be 1.
cdef void decode_control(const l0_profile *profile, u32 plain, u32 exact, u32 *must, u32 *may) \
        noexcept nogil:
    cdef u64 value = profile_msr(profile, plain)

    if exact and profile_msr(profile, MSR_IA32_VMX_BASIC) >> 55 & 1:
        value = profile_msr(profile, exact)
    must[0] = <u32>value
    may[0] = <u32>(value >> 32)


cdef void decode_capabilities(l0_caps *caps, const l0_profile *profile) noexcept nogil:
    cdef const l0_cpuid_leaf *counters = cpuid_leaf(profile, 0xa)

    decode_control(
        profile, MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS,
        &caps.pin_must, &caps.pin_may)
    decode_control(
        profile, MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
        &caps.proc_must, &caps.proc_may)
    decode_control(
        profile, MSR_IA32_VMX_PROCBASED_CTLS2, 0, &caps.secondary_must, &caps.secondary_may)
    decode_control(
        profile, MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS,
        &caps.exit_must, &caps.exit_may)
    decode_control(
        profile, MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS,
        &caps.entry_must, &caps.entry_may)
    caps.basic = profile_msr(profile, MSR_IA32_VMX_BASIC)
    caps.misc = profile_msr(profile, MSR_IA32_VMX_MISC)
    caps.cr0_must = profile_msr(profile, MSR_IA32_VMX_CR0_FIXED0)
    caps.cr0_may = profile_msr(profile, MSR_IA32_VMX_CR0_FIXED1)
    caps.cr4_must = profile_msr(profile, MSR_IA32_VMX_CR4_FIXED0)
    caps.cr4_may = profile_msr(profile, MSR_IA32_VMX_CR4_FIXED1)
    caps.ept_vpid = profile_msr(profile, MSR_IA32_VMX_EPT_VPID_CAP)
    caps.vmfunc = profile_msr(profile, 0x491)
    caps.address_reserved = ~((<u64>1 << profile.maxphyaddr) - 1)
    if counters != NULL:
        # general counters in EAX 15:8, fixed ones in EDX 4:0
        caps.perf_global_may = ((<u64>1 << (counters.eax >> 8 & 31)) - 1) | \
            ((<u64>1 << (counters.edx & 31)) - 1) << 32


# What the leaves announce. A leaf above the highest one means nothing (R4).
cdef void decode_announcements(l0_caps *caps, const l0_profile *profile) noexcept nogil:
    cdef const l0_cpuid_leaf *leaf = cpuid_leaf(profile, 1)
    cdef u32 highest = 0

    caps.vmx = leaf != NULL and leaf.ecx & CPUID_1_ECX_VMX != 0
    leaf = cpuid_leaf(profile, HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS)
    if leaf != NULL:
        highest = leaf.eax
    leaf = cpuid_leaf(profile, HYPERV_CPUID_FEATURES)
    if leaf != NULL and highest >= HYPERV_CPUID_FEATURES:
        caps.features = leaf.eax
        caps.features_ebx = leaf.ebx
        caps.features_edx = leaf.edx
    leaf = cpuid_leaf(profile, HYPERV_CPUID_ENLIGHTMENT_INFO)
    if leaf != NULL and highest >= HYPERV_CPUID_ENLIGHTMENT_INFO:
        caps.hints = leaf.eax
    leaf = cpuid_leaf(profile, HYPERV_CPUID_NESTED_FEATURES)
    if leaf != NULL and highest >= HYPERV_CPUID_NESTED_FEATURES:
        caps.nested = leaf.eax
        caps.nested_ebx = leaf.ebx


# A 64-bit kernel at its first instruction that matters here.
cdef void vp_reset(l0_vp *vp) noexcept nogil:
    vp.cpu.cr0 = X86_CR0_PG | CR0_OF_A_KERNEL
    vp.cpu.cr3 = 0x1000
    vp.cpu.cr4 = CR4_OF_A_KERNEL
    vp.cpu.rflags = X86_EFLAGS_FIXED
    vp.cpu.dr7 = DR7_FIXED_1
    vp.cpu.dr6 = DR6_INIT
    vp.cpu.idtr_base = <u64>0xfffffe0000000000
    vp.cpu.gdtr_base = <u64>0xfffffe0000001000 + vp.cpu.index * <u64>0x3b000
    vp.cpu.tr_base = <u64>0xfffffe0000003000 + vp.cpu.index * <u64>0x3b000
    vp.cpu.cpl = 0
    vp.efer = EFER_VALID
    vp.vmxon_ptr = L0_NO_VMCS
    vp.current_vmptr = L0_NO_VMCS
    vp.active_evmcs = L0_NO_VMCS
    settle_fields(vp)
    vp.vmcs = &vp.current_vmcs
    # any state but 0 will do for the generator
    vp.random_state = (vp.partition.seed + vp.cpu.index + 1) * <u64>0x9e3779b97f4a7c15 | 1
    vp.guest_random = ~vp.random_state
    synic_reset(vp)
    msr_init(vp)
    extended_init(&vp.extended)


# The profile's lists are the partition's own.
cdef bint keep_profile(l0_partition *partition, const l0_profile *profile) noexcept nogil:
    cdef size_t leaves = profile.nr_leaves * sizeof(l0_cpuid_leaf)
    cdef size_t msrs = profile.nr_msrs * sizeof(l0_msr_value)

    partition.profile = profile[0]
    partition.profile.leaf = <l0_cpuid_leaf *>malloc(leaves + 1)
    partition.profile.msr = <l0_msr_value *>malloc(msrs + 1)
    if partition.profile.leaf == NULL or partition.profile.msr == NULL:
        return False
    memcpy(partition.profile.leaf, profile.leaf, leaves)
    memcpy(partition.profile.msr, profile.msr, msrs)
    return True


# A partition of nr_vps processors after reset, or NULL without memory. mem is not owned and
# outlives it.
cdef l0_partition *partition_create(
        const phys_mem *mem, const l0_profile *profile, u32 nr_vps, u32 cache_policy, u64 seed,
        bint strict, bint watch) noexcept nogil:
    cdef l0_partition *partition = <l0_partition *>calloc(1, sizeof(l0_partition))
    cdef void *memory = NULL
    cdef u32 i

    if partition == NULL:
        return NULL
    if not keep_profile(partition, profile) or \
            posix_memalign(&memory, 64, nr_vps * sizeof(l0_vp)):
        partition_destroy(partition)
        return NULL
    memset(memory, 0, nr_vps * sizeof(l0_vp))
    partition.nr_vps = nr_vps
    partition.cache_policy = cache_policy
    partition.seed = seed
    partition.strict = strict
    partition.lints_enabled = watch or strict
    partition.rereads = cache_policy != CACHE_ALWAYS or profile.rereads_clean_groups
    partition.slow_entry = partition.lints_enabled or partition.rereads
    clock_start(partition)
    decode_capabilities(&partition.caps, profile)
    decode_announcements(&partition.caps, profile)
    partition.vp = <l0_vp *>memory
    for i in range(nr_vps):
        partition.vp[i].cpu.ops = &watched_ops if partition.lints_enabled else &ops
        partition.vp[i].cpu.mem = mem
        partition.vp[i].cpu.index = i
        partition.vp[i].partition = partition
        vp_reset(&partition.vp[i])
        if partition.lints_enabled:
            partition.vp[i].watch = <l0_watch *>calloc(1, sizeof(l0_watch))
            if partition.vp[i].watch == NULL:
                partition_destroy(partition)
                return NULL
            partition.vp[i].watch.last_space = ~<u64>0
            partition.vp[i].watch.plain = L0_NO_VMCS
    return partition


cdef void partition_destroy(l0_partition *partition) noexcept nogil:
    cdef u32 n

    if partition == NULL:
        return
    for n in range(partition.nr_vps):
        free(partition.vp[n].exit_log)
        free(partition.vp[n].trace.record)
        free(partition.vp[n].watch)
        free(partition.vp[n].decoded)
    free(partition.profile.leaf)
    free(partition.profile.msr)
    free(partition.vp)
    free(partition)
