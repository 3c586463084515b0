# SPDX-License-Identifier: GPL-2.0-only
# The VMX instructions of L1 but the entries, VMREAD and VMWRITE: checks in order, then the effect.

cdef enum:
    ALL_GROUPS = 0xffff


# What VMXON asks of the processor: the check that refuses, and what it saw, or 0.
cdef u32 vmxon_refusal(const l0_vp *vp, u64 *value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u64 cr0 = vp.cpu.cr0, cr4 = vp.cpu.cr4

    # R18: without VMX in CPUID there is no such instruction
    if not caps.vmx:
        return CHECK_vmxon_absent
    value[0] = cr0
    if breaks(CHECK_vmxon_protection, cr0):
        return CHECK_vmxon_protection
    value[0] = cr4
    if breaks(CHECK_vmxon_enable, cr4):
        return CHECK_vmxon_enable
    value[0] = vp.cpu.cpl
    if vp.cpu.cpl:
        return CHECK_vmxon_privilege
    if vp.in_vmx:
        return CHECK_vmxon_twice
    value[0] = cr0
    if cr0 & caps.cr0_must != caps.cr0_must or cr0 & ~caps.cr0_may:
        return CHECK_vmxon_cr0
    value[0] = cr4
    if cr4 & caps.cr4_must != caps.cr4_must or cr4 & ~caps.cr4_may:
        return CHECK_vmxon_cr4
    # MSR 0x3a: the firmware must have locked VMX on
    value[0] = vp.msr[SLOT_FEATURE_CONTROL].value
    return CHECK_vmxon_firmware if breaks(CHECK_vmxon_firmware, value[0]) else 0


cdef insn_t l0_vmxon(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef u64 value = 0
    cdef u8 *region
    cdef u32 revision, why

    vp.counters.vmxon += 1
    why = vmxon_refusal(vp, &value)
    if why:
        return deny(vp, why, value, 0, 0)
    if not page_address_valid(vp, pa):
        return deny(vp, CHECK_vmxon_address, pa, 0, 0)
    region = phys_page(cpu.mem, pa)
    if region == NULL:
        return deny(vp, CHECK_vmxon_missing, pa, 0, 0)
    revision = (<volatile u32 *>region)[0]
    if revision != vp.partition.profile.vmcs_revision:
        return deny(vp, CHECK_vmxon_revision, pa, revision, vp.partition.profile.vmcs_revision)
    vp.in_vmx = 1
    vp.vmxon_ptr = pa
    vp.current_vmptr = L0_NO_VMCS
    vp.active_evmcs = L0_NO_VMCS
    settle_fields(vp)
    return succeed(vp)


cdef insn_t l0_vmxoff(virt_cpu *cpu) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)

    vp.counters.vmxoff += 1
    if status != INSN_OK:
        return status
    enlightened_release(vp)
    release_current_vmcs(vp)
    vp.in_vmx = 0
    vp.vmxon_ptr = L0_NO_VMCS
    return succeed(vp)


# The current plain VMCS goes back to its page, and none is current any more.
cdef void release_current_vmcs(l0_vp *vp) noexcept nogil:
    cdef u8 *page

    if vp.current_vmptr == L0_NO_VMCS:
        return
    if vp.watch != NULL:
        watch_space(vp, vp.current_vmcs.f.ept_pointer)
    page = phys_page(vp.cpu.mem, vp.current_vmptr)
    if page != NULL:
        memcpy(page, &vp.current_vmcs, sizeof(l0_vmcs))
    else:
        lint(vp, LINT_vmcs_vanished)
    vp.row_kept = 0
    vp.current_vmptr = L0_NO_VMCS
    settle_fields(vp)


cdef insn_t l0_vmclear(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)
    cdef u64 enlightened
    cdef u8 *page

    vp.counters.vmclear += 1
    if status != INSN_OK:
        return status
    if not page_address_valid(vp, pa):
        return deny(vp, CHECK_vmclear_address, pa, 0, 0)
    if pa == vp.vmxon_ptr:
        return deny(vp, CHECK_vmclear_vmxon, pa, 0, 0)
    if vp.partition.lints_enabled:
        watch_vmclear(vp, pa)
    # R31: of an eVMCS, VMCLEAR ends its being active, and writes nothing into its page; while
    # L1 runs enlightened any page may be one
    if vp.active_evmcs != L0_NO_VMCS and vp.active_evmcs & ~<u64>0xfff == pa:
        if vp.partition.lints_enabled:
            watch_release(vp)
        enlightened_release(vp)
        return succeed(vp)
    if enlightened_pointer(vp, &enlightened):
        return succeed(vp)
    if pa == vp.current_vmptr:
        vp.current_vmcs.launch_state = 0
        release_current_vmcs(vp)
    else:
        page = phys_page(cpu.mem, pa)
        if page != NULL:
            (<l0_vmcs *>page).launch_state = 0
    return succeed(vp)


# Bit 31 marks a shadow VMCS, where the processor knows of such.
cdef bint revision_valid(const l0_vp *vp, u32 revision) noexcept nogil:
    if vp.partition.caps.secondary_may & SECONDARY_EXEC_SHADOW_VMCS:
        revision &= 0x7fffffff
    return revision == vp.partition.profile.vmcs_revision


cdef insn_t l0_vmptrld(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)
    cdef l0_vmcs copy
    cdef u8 *page

    vp.counters.vmptrld += 1
    if status != INSN_OK:
        return status
    if vp.active_evmcs != L0_NO_VMCS:
        lint(vp, LINT_vmcs_pointer_while_evmcs)
    if not page_address_valid(vp, pa):
        return deny(vp, CHECK_vmptrld_address, pa, 0, 0)
    if pa == vp.vmxon_ptr:
        return deny(vp, CHECK_vmptrld_vmxon, pa, 0, 0)
    if pa == vp.current_vmptr:
        return succeed(vp)
    page = phys_page(cpu.mem, pa)
    if page == NULL:
        return deny(vp, CHECK_vmptrld_missing, pa, 0, 0)
    # another processor may store there: what is checked is the copy that becomes current
    memcpy(&copy, page, sizeof(l0_vmcs))
    if not revision_valid(vp, copy.f.revision_id):
        return deny(vp, CHECK_vmptrld_revision, pa, copy.f.revision_id,
                    vp.partition.profile.vmcs_revision)
    release_current_vmcs(vp)
    vp.current_vmcs = copy
    vp.current_vmptr = pa
    settle_fields(vp)
    vp.groups_to_check = ALL_GROUPS
    return succeed(vp)


cdef insn_t l0_vmptrst(virt_cpu *cpu, u64 *pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)

    vp.counters.vmptrst += 1
    if status != INSN_OK:
        return status
    if vp.active_evmcs != L0_NO_VMCS:
        lint(vp, LINT_vmcs_pointer_while_evmcs)
    pa[0] = vp.current_vmptr
    return succeed(vp)


cdef insn_t l0_invept(virt_cpu *cpu, u64 type, u64 eptp, u64 gpa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const l0_caps *caps = &vp.partition.caps
    cdef insn_t status
    cdef u32 why

    vp.counters.invept += 1
    if not caps.secondary_may & SECONDARY_EXEC_ENABLE_EPT or \
            not caps.ept_vpid & VMX_EPT_INVEPT_BIT:
        return deny(vp, CHECK_invept_absent, 0, 0, 0)
    status = check_permission(vp)
    if status != INSN_OK:
        return status
    if type != VMX_EPT_EXTENT_CONTEXT and type != VMX_EPT_EXTENT_GLOBAL or \
            not caps.ept_vpid >> (24 + type) & 1:
        return deny(vp, CHECK_invept_type, type, 0, 0)
    why = ept_pointer_refusal(caps, eptp) if type == VMX_EPT_EXTENT_CONTEXT else 0
    if why:
        return deny(vp, CHECK_invept_memory_type + (why - CHECK_ept_memory_type), eptp, 0, 0)
    guest_flush_tlb(vp)
    return succeed(vp)


cdef insn_t l0_invvpid(virt_cpu *cpu, u64 type, u64 vpid, u64 gla) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const l0_caps *caps = &vp.partition.caps
    cdef insn_t status

    vp.counters.invvpid += 1
    # the high half of the capability MSR: bit 0 INVVPID, bits 8 to 11 its types
    if not caps.secondary_may & SECONDARY_EXEC_ENABLE_VPID or not caps.ept_vpid >> 32 & 1:
        return deny(vp, CHECK_invvpid_absent, 0, 0, 0)
    status = check_permission(vp)
    if status != INSN_OK:
        return status
    if type > 3 or not caps.ept_vpid >> (40 + type) & 1:
        return deny(vp, CHECK_invvpid_type, type, 0, 0)
    if breaks(CHECK_invvpid_reserved, vpid):
        return deny(vp, CHECK_invvpid_reserved, vpid, 0, 0)
    if type != VMX_VPID_EXTENT_ALL_CONTEXT and vpid == 0:
        return deny(vp, CHECK_invvpid_zero, vpid, type, 0)
    if type == VMX_VPID_EXTENT_INDIVIDUAL_ADDR and not is_canonical(gla):
        return deny(vp, CHECK_invvpid_address, gla, 0, 0)
    guest_flush_tlb(vp)
    return succeed(vp)
