# SPDX-License-Identifier: GPL-2.0-only
"""The field table and what its groups make L0 do, as data, as the compiler sees them."""

from kvm_vmx.abi.types cimport u16, u32
from kvm_vmx.l0.check_groups cimport (
    CONTROL_CHECKS, GUEST_CHECKS, HOST_CHECKS, MSR_BITMAP_CONTENT,
)

cdef extern from *:
    """
    #include <asm/evmcs_members.h>
    #include <asm/hyperv-tlfs.h>
    #include <asm/vmx.h>
    struct field_row {
        const char *field, *member, *group;
        u32 encoding;
        u16 offset, size, mask;
    };
    #define EVMCS_FIELD(field, member, group) {                                 \\
        #field, #member, #group, field,                                          \\
        offsetof(struct hv_enlightened_vmcs, member),                            \\
        sizeof(((struct hv_enlightened_vmcs *)0)->member),                       \\
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_##group },
    static const struct field_row field_rows[] = {
    #include <asm/evmcs_fields.h>
    };
    #undef EVMCS_FIELD
    #define EVMCS_AT(name) offsetof(struct hv_enlightened_vmcs, name)
    #define EVMCS_SIZE(name) sizeof(((struct hv_enlightened_vmcs *)0)->name)
    #define HEADER_ROW(name) { .field = #name, .offset = EVMCS_AT(name),            \\
        .size = EVMCS_SIZE(name), .group = "" },
    #define OWN_ROW(name, of) { .field = #name, .offset = EVMCS_AT(name),           \\
        .size = EVMCS_SIZE(name), .group = #of },
    #define LATER_ROW(name, member, at, of) { .field = #name, .offset = at,         \\
        .size = 8, .group = #of },
    static const struct field_row member_rows[] = {
        EVMCS_HEADER_MEMBERS(HEADER_ROW)
        EVMCS_OWN_MEMBERS(OWN_ROW)
        EVMCS_LATER_MEMBERS(LATER_ROW)
    };
    #define NR_MEMBER_ROWS (sizeof(member_rows) / sizeof(member_rows[0]))
    #define NR_FIELD_ROWS (sizeof(field_rows) / sizeof(field_rows[0]))
    """
    ctypedef struct field_row "struct field_row":
        const char *field
        const char *member
        const char *group
        u32 encoding
        u16 offset
        u16 size
        u16 mask
    const field_row *field_rows
    const field_row *member_rows
    enum:
        NR_FIELD_ROWS
        NR_MEMBER_ROWS


def fields() -> list[dict]:
    """One dict a row, in the table's order: vmcs_field, encoding, evmcs_field, offset and size
    in bytes, clean_field, clean_mask; encoding and mask as hexadecimal text."""
    return [{
        "vmcs_field": field_rows[i].field.decode(),
        "encoding": f"0x{field_rows[i].encoding:08x}",
        "evmcs_field": field_rows[i].member.decode(),
        "offset": field_rows[i].offset,
        "size": field_rows[i].size,
        "clean_field": field_rows[i].group.decode(),
        "clean_mask": f"0x{field_rows[i].mask:04x}",
    } for i in range(NR_FIELD_ROWS)]


def other_members() -> dict[str, dict]:
    """What an enlightened VMCS has besides the table's rows, by name: offset and size in bytes,
    clean_field ("" where nothing vouches for it). Members of later revisions, which have a
    VMCS field but no row in v4.19, are called by the field."""
    return {
        member_rows[i].field.decode(): {
            "offset": member_rows[i].offset, "size": member_rows[i].size,
            "clean_field": member_rows[i].group.decode()}
        for i in range(NR_MEMBER_ROWS)}


# Where hv_clean_fields is in the page, in bytes.
CLEAN_FIELDS = other_members()["hv_clean_fields"]["offset"]


def done_again() -> dict[str, int]:
    """What L0 does again at an entry, whatever the bytes, each with the clean groups of which
    one must be dirty for it, as the bits of hv_clean_fields."""
    return {
        "control checks": CONTROL_CHECKS,
        "host checks": HOST_CHECKS,
        "guest checks": GUEST_CHECKS,
        "the MSR bitmap's page": MSR_BITMAP_CONTENT,
    }
