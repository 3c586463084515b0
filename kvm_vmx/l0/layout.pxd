# SPDX-License-Identifier: GPL-2.0-only
# The names of kvm_vmx/l0/vmcs/fields.h, blocks.h and members.h, for Cython.
from kvm_vmx.abi.types cimport u8, u16, u32, u64
from kvm_vmx.l0.state cimport l0_vmcs

cdef extern from "kvm_vmx/l0/vmcs/fields.h" nogil:
    ctypedef struct l0_field "struct l0_field":
        u16 offset
        u16 groups
        u8 size
        u8 read_only

    const l0_field *l0_field_of(u64 encoding, int *high)
    const l0_field *l0_optional_field(u64 encoding, u64 misc, u32 secondary)
    u64 l0_field_get(const void *vmcs, const l0_field *field, int high)
    void l0_field_set(void *vmcs, const l0_field *field, int high, u64 value)

cdef extern from "kvm_vmx/l0/vmcs/blocks.h" nogil:
    const u32 L0_FLAG_DIRECT_FLUSH
    const u32 L0_FLAG_MSR_BITMAP
    const u64 L0_UNGROUPED_BYTES
    const u64 L0_WRITE_BACK_BYTES
    u64 l0_reload_groups(l0_vmcs *copy, const u8 *page, u32 dirty)
    u32 l0_place_in_page(const l0_field *field)
    u64 l0_page_get(const u8 *page, const l0_field *field)
    void l0_reload_live(l0_vmcs *copy, const u8 *page)
    u32 l0_flags(const void *vmcs)
    bint l0_counts_are_zero(const l0_vmcs *vmcs)
    void l0_write_back(u8 *page, const l0_vmcs *copy)

cdef extern from "kvm_vmx/l0/vmcs/members.h" nogil:
    ctypedef struct l0_member "struct l0_member":
        u16 groups
        u8 size
        u8 read_only

    const l0_member *l0_members
    u64 l0_member_get(const u8 *page, u32 offset)
    u32 l0_first_nonzero(const u8 *page, u32 start, u32 end)
