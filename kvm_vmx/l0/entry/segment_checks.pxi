# SPDX-License-Identifier: GPL-2.0-only
# VM-entry checks on the guest's segment registers. A family of checks has the same rows for each
# register: a check gives that of ES, and its caller moves it on to the register it is about.

cdef enum:
    RPL = 3
    TI = 4
    # in virtual-8086 mode every segment is present, writable data of privilege level 3
    VM86_RIGHTS = 0xf3
    # the places of the registers in a family of checks
    ES_PLACE = 0
    CS_PLACE = 1
    SS_PLACE = 2
    DS_PLACE = 3
    FS_PLACE = 4
    GS_PLACE = 5
    LDTR_PLACE = 6
    TR_PLACE = 7


# From a check of ES, or 0, to that of the nth register of its family; a family begins with the
# checks of ES, and `next_one` is the first of its second register.
cdef inline u32 moved(u32 why, u32 n, u32 first, u32 next_one) noexcept nogil:
    return why + n * (next_one - first) if why else 0


cdef u32 vm86_segment_refusal(u16 selector, u64 base, u32 limit, u32 rights) noexcept nogil:
    if base != <u64>selector << 4:
        return CHECK_vm86_es_base
    if limit != 0xffff:
        return CHECK_vm86_es_limit
    return CHECK_vm86_es_rights if rights != VM86_RIGHTS else 0


# Present, no reserved bit, and a limit that granularity can express.
cdef u32 descriptor_refusal(u32 limit, u32 rights, u32 n) noexcept nogil:
    cdef u32 why = 0

    if not rights & VMX_AR_P_MASK:
        why = CHECK_es_present
    elif rights & <u32>VMX_AR_RESERVD_MASK:
        why = CHECK_es_reserved
    elif limit & 0xfff != 0xfff and rights & VMX_AR_G_MASK:
        why = CHECK_es_granular
    elif limit >> 20 and not rights & VMX_AR_G_MASK:
        why = CHECK_es_fine
    return moved(why, n, CHECK_es_present, CHECK_cs_present)


cdef u32 code_segment_refusal(
        const hv_enlightened_vmcs *f, bint unrestricted, bint wide) noexcept nogil:
    cdef u32 rights = f.guest_cs_ar_bytes
    cdef u32 kind = rights & VMX_AR_TYPE_MASK
    cdef u32 level = VMX_AR_DPL(rights)
    cdef u32 stack_level = VMX_AR_DPL(f.guest_ss_ar_bytes)
    cdef u32 why

    if not rights & VMX_AR_S_MASK:
        return CHECK_cs_system
    why = descriptor_refusal(f.guest_cs_limit, rights, CS_PLACE)
    if why:
        return why
    if kind == 3:
        # data as code: real mode of an unrestricted guest
        if not unrestricted or level:
            return CHECK_cs_type
    elif kind == 9 or kind == 11:
        if level != stack_level:
            return CHECK_cs_privilege
    elif kind == 13 or kind == 15:
        if level > stack_level:
            return CHECK_cs_conforming
    else:
        return CHECK_cs_type
    return CHECK_cs_long if wide and rights & VMX_AR_L_MASK and rights & VMX_AR_DB_MASK else 0


cdef u32 stack_segment_refusal(const hv_enlightened_vmcs *f, bint unrestricted) noexcept nogil:
    cdef u32 rights = f.guest_ss_ar_bytes
    cdef u32 kind = rights & VMX_AR_TYPE_MASK
    cdef u32 level = VMX_AR_DPL(rights)

    if not unrestricted and (f.guest_ss_selector & RPL) != (f.guest_cs_selector & RPL):
        return CHECK_ss_requested
    if not unrestricted and level != (f.guest_ss_selector & RPL):
        return CHECK_ss_privilege
    if level and (f.guest_cs_ar_bytes & VMX_AR_TYPE_MASK == 3 or not f.guest_cr0 & 1):
        return CHECK_ss_real
    if rights & VMX_AR_UNUSABLE_MASK:
        return 0
    if kind != 3 and kind != 7:
        return CHECK_ss_type
    if not rights & VMX_AR_S_MASK:
        return CHECK_ss_system
    if f.guest_ss_base >> 32:
        return CHECK_ss_base
    return descriptor_refusal(f.guest_ss_limit, rights, SS_PLACE)


cdef u32 data_segment_refusal(
        u16 selector, u32 limit, u32 rights, bint unrestricted, u32 n) noexcept nogil:
    cdef u32 kind = rights & VMX_AR_TYPE_MASK
    cdef u32 why = 0

    if rights & VMX_AR_UNUSABLE_MASK:
        return 0
    # accessed, and readable if it is code
    if not rights & VMX_AR_S_MASK:
        why = CHECK_es_data_system
    elif not kind & VMX_AR_TYPE_ACCESSES_MASK:
        why = CHECK_es_accessed
    elif kind & VMX_AR_TYPE_CODE_MASK and not kind & VMX_AR_TYPE_READABLE_MASK:
        why = CHECK_es_readable
    elif not unrestricted and kind < 12 and VMX_AR_DPL(rights) < (selector & RPL):
        why = CHECK_es_privilege
    if why:
        # ES, and from DS on without CS and SS between
        return moved(why, n - 2 if n else 0, CHECK_es_data_system, CHECK_ds_data_system)
    return descriptor_refusal(limit, rights, n)


cdef bint short_base(u64 base, u32 rights) noexcept nogil:
    return rights & VMX_AR_UNUSABLE_MASK != 0 or base >> 32 == 0


cdef u32 data_segments_refusal(const hv_enlightened_vmcs *f, bint unrestricted) noexcept nogil:
    cdef u32 why = (
        data_segment_refusal(f.guest_ds_selector, f.guest_ds_limit, f.guest_ds_ar_bytes,
                             unrestricted, DS_PLACE) or
        data_segment_refusal(f.guest_es_selector, f.guest_es_limit, f.guest_es_ar_bytes,
                             unrestricted, ES_PLACE) or
        data_segment_refusal(f.guest_fs_selector, f.guest_fs_limit, f.guest_fs_ar_bytes,
                             unrestricted, FS_PLACE) or
        data_segment_refusal(f.guest_gs_selector, f.guest_gs_limit, f.guest_gs_ar_bytes,
                             unrestricted, GS_PLACE))

    if why:
        return why
    if not short_base(f.guest_ds_base, f.guest_ds_ar_bytes):
        return CHECK_ds_base
    return 0 if short_base(f.guest_es_base, f.guest_es_ar_bytes) else CHECK_es_base


cdef inline u32 vm86_refusal(u32 why, u32 n) noexcept nogil:
    return moved(why, n, CHECK_vm86_es_base, CHECK_vm86_cs_base)


cdef u32 vm86_segments_refusal(const hv_enlightened_vmcs *f) noexcept nogil:
    return (
        vm86_refusal(vm86_segment_refusal(
            f.guest_cs_selector, f.guest_cs_base, f.guest_cs_limit, f.guest_cs_ar_bytes), CS_PLACE)
        or vm86_refusal(vm86_segment_refusal(
            f.guest_ss_selector, f.guest_ss_base, f.guest_ss_limit, f.guest_ss_ar_bytes), SS_PLACE)
        or vm86_refusal(vm86_segment_refusal(
            f.guest_ds_selector, f.guest_ds_base, f.guest_ds_limit, f.guest_ds_ar_bytes), DS_PLACE)
        or vm86_refusal(vm86_segment_refusal(
            f.guest_es_selector, f.guest_es_base, f.guest_es_limit, f.guest_es_ar_bytes), ES_PLACE)
        or vm86_refusal(vm86_segment_refusal(
            f.guest_fs_selector, f.guest_fs_base, f.guest_fs_limit, f.guest_fs_ar_bytes), FS_PLACE)
        or vm86_refusal(vm86_segment_refusal(
            f.guest_gs_selector, f.guest_gs_base, f.guest_gs_limit, f.guest_gs_ar_bytes), GS_PLACE))


cdef u32 system_segments_refusal(const hv_enlightened_vmcs *f, bint wide) noexcept nogil:
    cdef u32 task = f.guest_tr_ar_bytes
    cdef u32 table = f.guest_ldtr_ar_bytes
    cdef u32 kind = task & VMX_AR_TYPE_MASK
    cdef u32 why

    if f.guest_tr_selector & TI:
        return CHECK_tr_table
    if task & (VMX_AR_UNUSABLE_MASK | VMX_AR_S_MASK):
        return CHECK_tr_usable
    if kind != VMX_AR_TYPE_BUSY_64_TSS and (wide or kind != VMX_AR_TYPE_BUSY_16_TSS):
        return CHECK_tr_type
    why = descriptor_refusal(f.guest_tr_limit, task, TR_PLACE)
    if why or table & VMX_AR_UNUSABLE_MASK:
        return why
    if table & VMX_AR_TYPE_MASK != VMX_AR_TYPE_LDT:
        return CHECK_ldtr_type
    if table & VMX_AR_S_MASK:
        return CHECK_ldtr_system
    if f.guest_ldtr_selector & TI:
        return CHECK_ldtr_table
    if not is_canonical(f.guest_ldtr_base):
        return CHECK_ldtr_base
    return descriptor_refusal(f.guest_ldtr_limit, table, LDTR_PLACE)


cdef u32 segment_bases_refusal(const hv_enlightened_vmcs *f) noexcept nogil:
    if not is_canonical(f.guest_tr_base):
        return CHECK_tr_base
    if not is_canonical(f.guest_fs_base):
        return CHECK_fs_base
    if not is_canonical(f.guest_gs_base):
        return CHECK_gs_base
    return CHECK_cs_base if f.guest_cs_base >> 32 else 0


# Are the eight segment registers of the guest-state area as an entry needs them?
cdef u32 segments_refusal(const hv_enlightened_vmcs *f, u32 secondary) noexcept nogil:
    cdef bint unrestricted = secondary & SECONDARY_EXEC_UNRESTRICTED_GUEST != 0
    cdef bint wide = f.vm_entry_controls & VM_ENTRY_IA32E_MODE != 0
    cdef u32 why = segment_bases_refusal(f) or system_segments_refusal(f, wide)

    if why:
        return why
    if f.guest_rflags & X86_EFLAGS_VM:
        return vm86_segments_refusal(f)
    return (code_segment_refusal(f, unrestricted, wide) or
            stack_segment_refusal(f, unrestricted) or
            data_segments_refusal(f, unrestricted))
