# SPDX-License-Identifier: GPL-2.0-only
# VM-entry checks on the guest's segment registers.

cdef enum:
    RPL = 3
    TI = 4
    # in virtual-8086 mode every segment is present, writable data of privilege level 3
    VM86_RIGHTS = 0xf3


cdef bint vm86_segment_valid(u16 selector, u64 base, u32 limit, u32 rights) noexcept nogil:
    return base == <u64>selector << 4 and limit == 0xffff and rights == VM86_RIGHTS


# Present, no reserved bit, and a limit that granularity can express.
cdef bint descriptor_valid(u32 limit, u32 rights) noexcept nogil:
    if not rights & VMX_AR_P_MASK or rights & <u32>VMX_AR_RESERVD_MASK:
        return False
    if limit & 0xfff != 0xfff and rights & VMX_AR_G_MASK:
        return False
    return not limit >> 20 or rights & VMX_AR_G_MASK != 0


cdef bint code_segment_valid(
        const hv_enlightened_vmcs *f, bint unrestricted, bint wide) noexcept nogil:
    cdef u32 rights = f.guest_cs_ar_bytes
    cdef u32 kind = rights & VMX_AR_TYPE_MASK
    cdef u32 level = VMX_AR_DPL(rights)
    cdef u32 stack_level = VMX_AR_DPL(f.guest_ss_ar_bytes)

    if not rights & VMX_AR_S_MASK or not descriptor_valid(f.guest_cs_limit, rights):
        return False
    if kind == 3:
        # data as code: real mode of an unrestricted guest
        if not unrestricted or level:
            return False
    elif kind == 9 or kind == 11:
        if level != stack_level:
            return False
    elif kind == 13 or kind == 15:
        if level > stack_level:
            return False
    else:
        return False
    return not (wide and rights & VMX_AR_L_MASK and rights & VMX_AR_DB_MASK)


cdef bint stack_segment_valid(const hv_enlightened_vmcs *f, bint unrestricted) noexcept nogil:
    cdef u32 rights = f.guest_ss_ar_bytes
    cdef u32 kind = rights & VMX_AR_TYPE_MASK
    cdef u32 level = VMX_AR_DPL(rights)

    if not unrestricted and (f.guest_ss_selector & RPL) != (f.guest_cs_selector & RPL):
        return False
    if not unrestricted and level != (f.guest_ss_selector & RPL):
        return False
    if level and (f.guest_cs_ar_bytes & VMX_AR_TYPE_MASK == 3 or not f.guest_cr0 & 1):
        return False
    if rights & VMX_AR_UNUSABLE_MASK:
        return True
    return (kind == 3 or kind == 7) and rights & VMX_AR_S_MASK != 0 and \
        f.guest_ss_base >> 32 == 0 and descriptor_valid(f.guest_ss_limit, rights)


cdef bint data_segment_valid(u16 selector, u32 limit, u32 rights, bint unrestricted) noexcept nogil:
    cdef u32 kind = rights & VMX_AR_TYPE_MASK

    if rights & VMX_AR_UNUSABLE_MASK:
        return True
    # accessed, and readable if it is code
    if not rights & VMX_AR_S_MASK or not kind & VMX_AR_TYPE_ACCESSES_MASK or \
            (kind & VMX_AR_TYPE_CODE_MASK and not kind & VMX_AR_TYPE_READABLE_MASK):
        return False
    if not unrestricted and kind < 12 and VMX_AR_DPL(rights) < (selector & RPL):
        return False
    return descriptor_valid(limit, rights)


cdef bint short_base(u64 base, u32 rights) noexcept nogil:
    return rights & VMX_AR_UNUSABLE_MASK != 0 or base >> 32 == 0


cdef bint data_segments_valid(const hv_enlightened_vmcs *f, bint unrestricted) noexcept nogil:
    return (
        data_segment_valid(f.guest_ds_selector, f.guest_ds_limit, f.guest_ds_ar_bytes, unrestricted)
        and data_segment_valid(
            f.guest_es_selector, f.guest_es_limit, f.guest_es_ar_bytes, unrestricted)
        and data_segment_valid(
            f.guest_fs_selector, f.guest_fs_limit, f.guest_fs_ar_bytes, unrestricted)
        and data_segment_valid(
            f.guest_gs_selector, f.guest_gs_limit, f.guest_gs_ar_bytes, unrestricted)
        and short_base(f.guest_ds_base, f.guest_ds_ar_bytes)
        and short_base(f.guest_es_base, f.guest_es_ar_bytes))


cdef bint vm86_segments_valid(const hv_enlightened_vmcs *f) noexcept nogil:
    return (
        vm86_segment_valid(
            f.guest_cs_selector, f.guest_cs_base, f.guest_cs_limit, f.guest_cs_ar_bytes)
        and vm86_segment_valid(
            f.guest_ss_selector, f.guest_ss_base, f.guest_ss_limit, f.guest_ss_ar_bytes)
        and vm86_segment_valid(
            f.guest_ds_selector, f.guest_ds_base, f.guest_ds_limit, f.guest_ds_ar_bytes)
        and vm86_segment_valid(
            f.guest_es_selector, f.guest_es_base, f.guest_es_limit, f.guest_es_ar_bytes)
        and vm86_segment_valid(
            f.guest_fs_selector, f.guest_fs_base, f.guest_fs_limit, f.guest_fs_ar_bytes)
        and vm86_segment_valid(
            f.guest_gs_selector, f.guest_gs_base, f.guest_gs_limit, f.guest_gs_ar_bytes))


cdef bint system_segments_valid(const hv_enlightened_vmcs *f, bint wide) noexcept nogil:
    cdef u32 task = f.guest_tr_ar_bytes
    cdef u32 table = f.guest_ldtr_ar_bytes
    cdef u32 kind = task & VMX_AR_TYPE_MASK

    if f.guest_tr_selector & TI or task & (VMX_AR_UNUSABLE_MASK | VMX_AR_S_MASK):
        return False
    if kind != VMX_AR_TYPE_BUSY_64_TSS and (wide or kind != VMX_AR_TYPE_BUSY_16_TSS):
        return False
    if not descriptor_valid(f.guest_tr_limit, task):
        return False
    if table & VMX_AR_UNUSABLE_MASK:
        return True
    return table & VMX_AR_TYPE_MASK == VMX_AR_TYPE_LDT and not table & VMX_AR_S_MASK and \
        not f.guest_ldtr_selector & TI and is_canonical(f.guest_ldtr_base) and \
        descriptor_valid(f.guest_ldtr_limit, table)


# Are the eight segment registers of the guest-state area as an entry needs them?
cdef bint segments_valid(const hv_enlightened_vmcs *f, u32 secondary) noexcept nogil:
    cdef bint unrestricted = secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST != 0
    cdef bint wide = f.vm_entry_controls & VM_ENTRY_IA32E_MODE != 0

    if not (is_canonical(f.guest_tr_base) and is_canonical(f.guest_fs_base) and
            is_canonical(f.guest_gs_base) and f.guest_cs_base >> 32 == 0):
        return False
    if not system_segments_valid(f, wide):
        return False
    if f.guest_rflags & X86_EFLAGS_VM:
        return vm86_segments_valid(f)
    return (code_segment_valid(f, unrestricted, wide) and
            stack_segment_valid(f, unrestricted) and
            data_segments_valid(f, unrestricted))
