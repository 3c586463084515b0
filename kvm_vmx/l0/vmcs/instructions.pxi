# SPDX-License-Identifier: GPL-2.0-only
# The VMX instructions of L1 but VMLAUNCH and VMRESUME: the checks in order, then the effect.

cdef enum:
    MISC_VMWRITE_ANY_FIELD = 1 << 29
    ALL_GROUPS = 0xffff


# MSR 0x3a: the firmware must have locked VMX on.
cdef bint firmware_allows_vmx(const l0_vp *vp) noexcept nogil:
    return vp.msr[SLOT_FEATURE_CONTROL].value & 5 == 5


cdef bint control_registers_allow_vmx(const l0_vp *vp) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps

    return (vp.cpu.cr0 & caps.cr0_must == caps.cr0_must and not vp.cpu.cr0 & ~caps.cr0_may and
            vp.cpu.cr4 & caps.cr4_must == caps.cr4_must and not vp.cpu.cr4 & ~caps.cr4_may)


cdef insn_t l0_vmxon(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef u8 *region

    vp.counters.vmxon += 1
    # R18: without VMX in CPUID there is no such instruction
    if not vp.partition.caps.vmx or not cpu.cr0 & X86_CR0_PE or not cpu.cr4 & X86_CR4_VMXE:
        return fault_ud()
    if cpu.cpl:
        return fault_gp()
    if vp.in_vmx:
        return fail(vp, VMXERR_VMXON_IN_VMX_ROOT_OPERATION)
    if not control_registers_allow_vmx(vp) or not firmware_allows_vmx(vp):
        return fault_gp()
    if not page_address_valid(vp, pa):
        return fail_invalid(vp)
    region = phys_page(cpu.mem, pa)
    if region == NULL or (<u32 *>region)[0] != vp.partition.profile.vmcs_revision:
        return fail_invalid(vp)
    vp.in_vmx = 1
    vp.vmxon_ptr = pa
    vp.current_vmptr = L0_NO_VMCS
    vp.active_evmcs = L0_NO_VMCS
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
    page = phys_page(vp.cpu.mem, vp.current_vmptr)
    if page != NULL:
        memcpy(page, &vp.current_vmcs, sizeof(l0_vmcs))
    else:
        lint(vp, LINT_vmcs_vanished)
    vp.current_vmptr = L0_NO_VMCS


cdef insn_t l0_vmclear(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)
    cdef u64 enlightened
    cdef u8 *page

    vp.counters.vmclear += 1
    if status != INSN_OK:
        return status
    if not page_address_valid(vp, pa):
        return fail(vp, VMXERR_VMCLEAR_INVALID_ADDRESS)
    if pa == vp.vmxon_ptr:
        return fail(vp, VMXERR_VMCLEAR_VMXON_POINTER)
    if vp.partition.lints_enabled:
        watch_vmclear(vp, pa)
    # R31: of an eVMCS, VMCLEAR ends its being active, and writes nothing into its page; while
    # L1 runs enlightened any page may be one
    if vp.active_evmcs != L0_NO_VMCS and vp.active_evmcs & ~<u64>0xfff == pa:
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
    cdef u8 *page

    vp.counters.vmptrld += 1
    if status != INSN_OK:
        return status
    if vp.active_evmcs != L0_NO_VMCS:
        lint(vp, LINT_vmcs_pointer_while_evmcs)
    if not page_address_valid(vp, pa):
        return fail(vp, VMXERR_VMPTRLD_INVALID_ADDRESS)
    if pa == vp.vmxon_ptr:
        return fail(vp, VMXERR_VMPTRLD_VMXON_POINTER)
    if pa == vp.current_vmptr:
        return succeed(vp)
    page = phys_page(cpu.mem, pa)
    if page == NULL or not revision_valid(vp, (<u32 *>page)[0]):
        return fail(vp, VMXERR_VMPTRLD_INCORRECT_VMCS_REVISION_ID)
    release_current_vmcs(vp)
    memcpy(&vp.current_vmcs, page, sizeof(l0_vmcs))
    vp.current_vmptr = pa
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


# SDM A.6: so many CR3-target values as VMX_MISC says; 25.6.13: the fields of PAUSE loops.
cdef const l0_field *optional_field(const l0_vp *vp, u64 encoding) noexcept nogil:
    return l0_optional_field(
        encoding, vp.partition.caps.misc, vp.partition.caps.secondary_may)


# VMREAD of a field that the profile alone has, and any while an eVMCS is active: the profile
# answers from its page, or not at all.
cdef insn_t read_elsewhere(l0_vp *vp, u64 encoding, u64 *value) noexcept nogil:
    cdef const u8 *page
    cdef const l0_field *field
    cdef int high

    if vp.active_evmcs == L0_NO_VMCS:
        field = optional_field(vp, encoding)
        if field == NULL:
            return fail(vp, VMXERR_UNSUPPORTED_VMCS_COMPONENT)
        value[0] = l0_field_get(&vp.current_vmcs, field, 0)
        return succeed(vp)
    lint(vp, LINT_vmcs_access_while_evmcs)
    page = phys_page(vp.cpu.mem, vp.active_evmcs)
    if not vp.partition.profile.vmread_serves_evmcs or page == NULL:
        return fail_invalid(vp)
    field = l0_field_of(encoding, &high)
    # upper halves have no place of their own there
    if field == NULL or high or not l0_place_in_page(field):
        return fail(vp, VMXERR_UNSUPPORTED_VMCS_COMPONENT)
    value[0] = l0_page_get(page, field)
    return succeed(vp)


cdef insn_t write_optional(l0_vp *vp, u64 encoding, u64 value) noexcept nogil:
    cdef const l0_field *place = optional_field(vp, encoding)

    if place == NULL:
        return fail(vp, VMXERR_UNSUPPORTED_VMCS_COMPONENT)
    return write_field(vp, place, 0, value)


cdef inline insn_t write_field(
        l0_vp *vp, const l0_field *place, int high, u64 value) noexcept nogil:
    if unlikely(place.read_only and not vp.partition.caps.misc & MISC_VMWRITE_ANY_FIELD):
        return fail(vp, VMXERR_VMWRITE_READ_ONLY_VMCS_COMPONENT)
    l0_field_set(&vp.current_vmcs, place, high, value)
    vp.groups_to_check |= place.groups
    return succeed(vp)


cdef insn_t l0_vmread(virt_cpu *cpu, u64 field, u64 *value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)
    cdef const l0_field *place
    cdef int high

    vp.counters.vmread += 1
    if unlikely(status != INSN_OK):
        return status
    if unlikely(vp.active_evmcs != L0_NO_VMCS):
        return read_elsewhere(vp, field, value)
    if unlikely(vp.current_vmptr == L0_NO_VMCS):
        return fail_invalid(vp)
    place = l0_field_of(field, &high)
    if unlikely(place == NULL):
        return read_elsewhere(vp, field, value)
    value[0] = l0_field_get(&vp.current_vmcs, place, high)
    return succeed(vp)


cdef insn_t l0_vmwrite(virt_cpu *cpu, u64 field, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status = check_permission(vp)
    cdef const l0_field *place
    cdef int high

    vp.counters.vmwrite += 1
    if unlikely(status != INSN_OK):
        return status
    if unlikely(vp.active_evmcs != L0_NO_VMCS):
        lint(vp, LINT_vmcs_access_while_evmcs)
        return fail_invalid(vp)
    if unlikely(vp.current_vmptr == L0_NO_VMCS):
        return fail_invalid(vp)
    place = l0_field_of(field, &high)
    if unlikely(place == NULL):
        return write_optional(vp, field, value)
    return write_field(vp, place, high, value)


cdef insn_t l0_invept(virt_cpu *cpu, u64 type, u64 eptp, u64 gpa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const l0_caps *caps = &vp.partition.caps
    cdef insn_t status = check_permission(vp)

    vp.counters.invept += 1
    if not caps.secondary_may & SECONDARY_EXEC_ENABLE_EPT or \
            not caps.ept_vpid & VMX_EPT_INVEPT_BIT:
        return fault_ud()
    if status != INSN_OK:
        return status
    if type != VMX_EPT_EXTENT_CONTEXT and type != VMX_EPT_EXTENT_GLOBAL or \
            not caps.ept_vpid >> (24 + type) & 1:
        return fail(vp, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID)
    if type == VMX_EPT_EXTENT_CONTEXT and ept_pointer_refusal(caps, eptp):
        return fail(vp, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID)
    guest_flush_tlb(vp)
    return succeed(vp)


cdef insn_t l0_invvpid(virt_cpu *cpu, u64 type, u64 vpid, u64 gla) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const l0_caps *caps = &vp.partition.caps
    cdef insn_t status = check_permission(vp)
    cdef bint valid

    vp.counters.invvpid += 1
    # the high half of the capability MSR: bit 0 INVVPID, bits 8 to 11 its types
    if not caps.secondary_may & SECONDARY_EXEC_ENABLE_VPID or not caps.ept_vpid >> 32 & 1:
        return fault_ud()
    if status != INSN_OK:
        return status
    valid = type <= 3 and caps.ept_vpid >> (40 + (type & 3)) & 1 and vpid >> 16 == 0
    if valid and type != VMX_VPID_EXTENT_ALL_CONTEXT:
        valid = vpid != 0
    if valid and type == VMX_VPID_EXTENT_INDIVIDUAL_ADDR:
        valid = is_canonical(gla)
    if not valid:
        return fail(vp, VMXERR_INVALID_OPERAND_TO_INVEPT_INVVPID)
    guest_flush_tlb(vp)
    return succeed(vp)
