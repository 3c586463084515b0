# SPDX-License-Identifier: GPL-2.0-only
# VMREAD and VMWRITE: a field of the current VMCS at once, everything else with the checks in order.

cdef extern from *:
    """
    #define noinline_insn_t noinline insn_t
    """
    ctypedef insn_t noinline_insn_t

cdef enum:
    MISC_VMWRITE_ANY_FIELD = 1 << 29


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
            return deny(vp, CHECK_vmread_component, encoding, 0, 0)
        value[0] = l0_field_get(&vp.current_vmcs, field, 0)
        return succeed(vp)
    lint(vp, LINT_vmcs_access_while_evmcs)
    page = phys_page(vp.cpu.mem, vp.active_evmcs)
    if not vp.partition.profile.vmread_serves_evmcs:
        return deny(vp, CHECK_vmread_enlightened, encoding, vp.active_evmcs, 0)
    if page == NULL:
        return deny(vp, CHECK_vmread_page_missing, encoding, vp.active_evmcs, 0)
    field = l0_field_of(encoding, &high)
    # upper halves have no place of their own there
    if field == NULL or high or not l0_place_in_page(field):
        return deny(vp, CHECK_vmread_no_place, encoding, vp.active_evmcs, 0)
    value[0] = l0_page_get(page, field)
    return succeed(vp)


cdef bint write_refused(const l0_vp *vp, const l0_field *place) noexcept nogil:
    return place.read_only and not vp.partition.caps.misc & MISC_VMWRITE_ANY_FIELD


# VMREAD of anything but a field of the current VMCS, its upper half apart, at CPL 0.
cdef noinline_insn_t read_otherwise(l0_vp *vp, u64 encoding, u64 *value) noexcept nogil:
    cdef const l0_field *place
    cdef int high

    if not permitted(vp):
        return deny_permission(vp)
    if vp.active_evmcs != L0_NO_VMCS:
        return read_elsewhere(vp, encoding, value)
    if vp.current_vmptr == L0_NO_VMCS:
        return deny(vp, CHECK_vmread_no_vmcs, encoding, 0, 0)
    place = l0_field_of(encoding, &high)
    if place == NULL:
        return read_elsewhere(vp, encoding, value)
    value[0] = l0_field_get(&vp.current_vmcs, place, high)
    return succeed(vp)


# VMWRITE likewise, and where the field is read-only on most processors.
cdef noinline_insn_t write_otherwise(l0_vp *vp, u64 encoding, u64 value) noexcept nogil:
    cdef const l0_field *place
    cdef int high

    if not permitted(vp):
        return deny_permission(vp)
    if vp.active_evmcs != L0_NO_VMCS:
        lint(vp, LINT_vmcs_access_while_evmcs)
        return deny(vp, CHECK_vmwrite_enlightened, encoding, vp.active_evmcs, 0)
    if vp.current_vmptr == L0_NO_VMCS:
        return deny(vp, CHECK_vmwrite_no_vmcs, encoding, 0, 0)
    place = l0_field_of(encoding, &high)
    if place == NULL:
        high = 0
        place = optional_field(vp, encoding)
    if place == NULL:
        return deny(vp, CHECK_vmwrite_component, encoding, 0, 0)
    if write_refused(vp, place):
        return deny(vp, CHECK_vmwrite_read_only, encoding, 0, 0)
    l0_field_set(&vp.current_vmcs, place, high, value)
    vp.groups_to_check |= place.groups
    return succeed(vp)


# 0 where this is the field, and CPL is 0: one test.
cdef inline u64 not_at_once(const l0_vp *vp, const l0_field *place, u64 encoding) noexcept nogil:
    return place.number ^ encoding | vp.cpu.cpl


cdef insn_t l0_vmread(virt_cpu *cpu, u64 field, u64 *value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const l0_field *place = l0_field_at(vp.fields, field)

    vp.counters.vmread += 1
    if unlikely(not_at_once(vp, place, field)):
        return read_otherwise(vp, field, value)
    value[0] = l0_field_whole(&vp.current_vmcs, place, field)
    return succeed(vp)


cdef insn_t l0_vmwrite(virt_cpu *cpu, u64 field, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const l0_field *place = l0_field_at(vp.fields, field)

    vp.counters.vmwrite += 1
    if unlikely(not_at_once(vp, place, field) | place.read_only):
        return write_otherwise(vp, field, value)
    l0_field_set_whole(&vp.current_vmcs, place, field, value)
    vp.groups_to_check |= place.groups
    return succeed(vp)
