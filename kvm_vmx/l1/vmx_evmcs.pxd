# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx_evmcs.h
from kvm_vmx.abi.linux cimport WARN_ONCE
from kvm_vmx.abi.types cimport CONFIG_HYPERV, ENOENT, IS_ENABLED, u16, ulong, unlikely

# The table needs designated initialisers, so it stays C; its rows stand in asm/evmcs_fields.h.
cdef extern from *:
    """
    #include <asm/hyperv-tlfs.h>
    #include <asm/vmx.h>

    #define ROL16(val, n) ((u16)(((u16)(val) << (n)) | ((u16)(val) >> (16 - (n)))))

    struct evmcs_field {
        u16 offset;
        u16 clean_field;
    };

    #define EVMCS_FIELD(number, name, clean) [ROL16(number, 6)] = {          \\
        offsetof(struct hv_enlightened_vmcs, name),                           \\
        HV_VMX_ENLIGHTENED_CLEAN_FIELD_##clean },
    static const struct evmcs_field vmcs_field_to_evmcs_1[] = {
    #include <asm/evmcs_fields.h>
    };
    #undef EVMCS_FIELD
    #define NR_EVMCS_1_FIELDS ARRAY_SIZE(vmcs_field_to_evmcs_1)
    """
    ctypedef struct evmcs_field_t "struct evmcs_field":
        u16 offset
        u16 clean_field
    const evmcs_field_t *vmcs_field_to_evmcs_1
    enum:
        NR_EVMCS_1_FIELDS
    u16 ROL16(ulong val, int n) noexcept nogil


cdef inline int get_evmcs_offset(ulong field, u16 *clean_field) noexcept nogil:
    cdef unsigned int index = ROL16(field, 6)
    cdef const evmcs_field_t *evmcs_field

    # C+ the accessors' empty stubs of the other configuration: each ends at this error
    if not IS_ENABLED(CONFIG_HYPERV):
        return -ENOENT

    if unlikely(index >= NR_EVMCS_1_FIELDS):
        WARN_ONCE(1, "KVM: accessing unsupported EVMCS field %lx\n", field)
        return -ENOENT

    # A hole of the table is a row of zeros: offset 0, where revision_id is (erratum: holes).
    evmcs_field = &vmcs_field_to_evmcs_1[index]

    if clean_field:
        clean_field[0] = evmcs_field.clean_field

    return evmcs_field.offset
