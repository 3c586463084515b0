# SPDX-License-Identifier: GPL-2.0-only
# Descriptors of L2: from a selector to a segment register.

# A segment register with its hidden part.
ctypedef struct l2_segment:
    u32 selector
    u32 rights          # as the VMCS has them
    u32 limit
    u64 base
    u64 place           # linear address of the descriptor

cdef enum:
    TYPE_ACCESSED = 1
    TYPE_READABLE = 2
    TYPE_CONFORMING = 4

cdef enum:
    TYPE_TSS_16 = 1
    TYPE_TSS = 9
    BUSY = 2


cdef void parse(u64 raw, l2_segment *d) noexcept nogil:
    d.base = (raw >> 16 & 0xffffff) | (raw >> 56) << 24
    d.limit = raw & 0xffff | raw >> 32 & 0xf0000
    d.rights = raw >> 40 & 0xf0ff
    if d.rights & VMX_AR_G_MASK:
        d.limit = d.limit << 12 | 0xfff


# The descriptor that a selector names; `vector` with the selector where there is none.
cdef int fetch_descriptor(l0_vp *vp, u32 selector, u32 vector, u32 external, l2_segment *d) \
        noexcept nogil:
    cdef u32 table = SEG_LDTR if selector & 4 else SEG_GDTR
    cdef u64 raw = 0
    cdef int status

    if (table == SEG_LDTR and segment_rights(vp, SEG_LDTR) & VMX_AR_UNUSABLE_MASK) or \
            (selector | 7) > segment_limit(vp, table):
        return fault(vp, vector, selector & 0xfffc | external)
    d.selector = selector
    d.place = segment_base(vp, table) + (selector & 0xfff8)
    if not long_mode(vp):
        d.place &= <u64>0xffffffff
    status = read_linear(vp, d.place, 8, L2_READ, &raw)
    if status == L2_DONE:
        parse(raw, d)
    return status


cdef int mark_accessed(l0_vp *vp, l2_segment *d) noexcept nogil:
    if d.rights & TYPE_ACCESSED:
        return L2_DONE
    d.rights |= TYPE_ACCESSED
    return write_linear(vp, d.place + 5, 1, L2_WRITE, d.rights & 0xff)


cdef void set_segment(l0_vp *vp, u32 number, const l2_segment *d) noexcept nogil:
    (&vp.vmcs.f.guest_es_selector)[number] = <u16>d.selector
    (&vp.vmcs.f.guest_es_ar_bytes)[number] = d.rights
    (&vp.vmcs.f.guest_es_limit)[number] = d.limit
    (&vp.vmcs.f.guest_es_base)[number] = d.base


cdef void get_segment(l0_vp *vp, u32 number, l2_segment *d) noexcept nogil:
    d.selector = (&vp.vmcs.f.guest_es_selector)[number]
    d.rights = segment_rights(vp, number)
    d.limit = segment_limit(vp, number)
    d.base = segment_base(vp, number)
    d.place = 0


cdef void set_plain_segment(l0_vp *vp, u32 number, u32 selector) noexcept nogil:
    # real-address mode: limit and rights stay what they were
    (&vp.vmcs.f.guest_es_selector)[number] = <u16>selector
    (&vp.vmcs.f.guest_es_base)[number] = <u64>(selector & 0xffff) << 4


cdef void set_null_stack(l0_vp *vp, u32 privilege) noexcept nogil:
    vp.vmcs.f.guest_ss_selector = <u16>privilege
    vp.vmcs.f.guest_ss_ar_bytes = VMX_AR_UNUSABLE_MASK | privilege << VMX_AR_DPL_SHIFT


# A stack segment for a privilege level, in the code of a fault's vector.
cdef int check_stack(l0_vp *vp, u32 selector, u32 level, u32 vector, u32 external,
                     l2_segment *d) noexcept nogil:
    cdef u32 error = selector & 0xfffc | external
    cdef int status

    if selector & 0xfffc == 0:
        return fault(vp, vector, external)
    status = fetch_descriptor(vp, selector, vector, external, d)
    if status:
        return status
    if selector & 3 != level or VMX_AR_DPL(d.rights) != level or not d.rights & VMX_AR_S_MASK or \
            d.rights & (TYPE_CODE | TYPE_WRITABLE) != TYPE_WRITABLE:
        return fault(vp, vector, error)
    if not d.rights & VMX_AR_P_MASK:
        return fault(vp, X86_TRAP_SS, error)
    return mark_accessed(vp, d)


cdef int check_data(l0_vp *vp, u32 selector, l2_segment *d) noexcept nogil:
    cdef u32 error = selector & 0xfffc
    cdef u32 level
    cdef int status = fetch_descriptor(vp, selector, X86_TRAP_GP, 0, d)

    if status:
        return status
    level = VMX_AR_DPL(d.rights)
    if not d.rights & VMX_AR_S_MASK or \
            d.rights & (TYPE_CODE | TYPE_READABLE) == TYPE_CODE:
        return fault(vp, X86_TRAP_GP, error)
    # conforming code may be read from any level
    if d.rights & (TYPE_CODE | TYPE_CONFORMING) != (TYPE_CODE | TYPE_CONFORMING) and (
            selector & 3 > level or vp.guest_cpl > level):
        return fault(vp, X86_TRAP_GP, error)
    if not d.rights & VMX_AR_P_MASK:
        return fault(vp, X86_TRAP_NP, error)
    return mark_accessed(vp, d)


# MOV to a segment register, and POP.
cdef int load_segment(l0_vp *vp, u32 number, u32 selector) noexcept nogil:
    cdef l2_segment d
    cdef int status

    if plain_segments(vp):
        set_plain_segment(vp, number, selector)
        return L2_DONE
    if number == SEG_SS:
        if selector & 0xfffc == 0 and vp.code_bits == 64 and vp.guest_cpl < 3 and \
                selector == vp.guest_cpl:
            set_null_stack(vp, selector)
            return L2_DONE
        status = check_stack(vp, selector, vp.guest_cpl, X86_TRAP_GP, 0, &d)
    elif selector & 0xfffc == 0:
        (&vp.vmcs.f.guest_es_selector)[number] = <u16>selector
        (&vp.vmcs.f.guest_es_ar_bytes)[number] = VMX_AR_UNUSABLE_MASK
        (&vp.vmcs.f.guest_es_base)[number] = 0
        return L2_DONE
    else:
        status = check_data(vp, selector, &d)
    if status == L2_DONE:
        set_segment(vp, number, &d)
    return status


# LLDT and LTR.
cdef int load_system_segment(l0_vp *vp, u32 number, u32 selector) noexcept nogil:
    cdef l2_segment d
    cdef u32 error = selector & 0xfffc
    cdef u32 kind
    cdef u64 high = 0
    cdef int status

    if error == 0:
        if number == SEG_TR:
            return fault(vp, X86_TRAP_GP, 0)
        vp.vmcs.f.guest_ldtr_selector = <u16>selector
        vp.vmcs.f.guest_ldtr_ar_bytes = VMX_AR_UNUSABLE_MASK
        return L2_DONE
    if selector & 4:
        return fault(vp, X86_TRAP_GP, error)
    status = fetch_descriptor(vp, selector, X86_TRAP_GP, 0, &d)
    if status:
        return status
    kind = d.rights & VMX_AR_TYPE_MASK
    if d.rights & VMX_AR_S_MASK or (number == SEG_LDTR and kind != VMX_AR_TYPE_LDT) or (
            number == SEG_TR and kind != TYPE_TSS and (kind != TYPE_TSS_16 or long_mode(vp))):
        return fault(vp, X86_TRAP_GP, error)
    if not d.rights & VMX_AR_P_MASK:
        return fault(vp, X86_TRAP_NP, error)
    if vp.code_bits == 64:
        # 16 bytes: the upper half of the base
        status = read_linear(vp, d.place + 8, 8, L2_READ, &high)
        if status:
            return status
        d.base |= high << 32
        if not is_canonical(d.base):
            return fault(vp, X86_TRAP_GP, error)
    if number == SEG_TR:
        d.rights |= BUSY
        status = write_linear(vp, d.place + 5, 1, L2_WRITE, d.rights & 0xff)
        if status:
            return status
    set_segment(vp, number, &d)
    return L2_DONE
