# SPDX-License-Identifier: GPL-2.0-only
# The MSR areas of a VMCS: loaded at entry, stored and loaded at exit.

cdef extern from *:
    """
    /* L1's other processors may write into a list while it is read: each word once. */
    static inline struct vmx_msr_entry listed(const u8 *place)
    {
        const volatile struct vmx_msr_entry *entry = (const volatile struct vmx_msr_entry *)place;

        return (struct vmx_msr_entry) { entry->index, entry->reserved, entry->value };
    }
    """
    vmx_msr_entry listed(const u8 *place) nogil

cdef enum:
    # x2APIC registers
    MSR_X2APIC_PAGE = 0x8


# VMX_MISC says how long a list may be, in steps of 512.
cdef u32 longest_list(const l0_vp *vp) noexcept nogil:
    return 512 * (1 + (<u32>(vp.partition.caps.misc >> 25) & 7))


cdef bint may_be_listed(u32 index) noexcept nogil:
    return index >> 8 != MSR_X2APIC_PAGE and index != MSR_IA32_SMM_MONITOR_CTL and \
        index != MSR_IA32_UCODE_WRITE and index != MSR_IA32_UCODE_REV


# The segment bases of L2 come from the guest-state area, never from a list.
cdef bint is_segment_base(u32 index) noexcept nogil:
    return index == MSR_FS_BASE or index == MSR_GS_BASE


# Load one MSR of a list: 0, or the check that refuses it; entry is what was read.
cdef u32 load_listed_msr(l0_vp *vp, u64 gpa, u32 i, vmx_msr_entry *entry) noexcept nogil:
    cdef const u8 *place = phys_ptr(vp.cpu.mem, gpa + <u64>i * 16, 16)

    if i >= longest_list(vp):
        return CHECK_item_too_many
    if place == NULL:
        return CHECK_item_missing
    entry[0] = listed(place)
    if entry.reserved:
        return CHECK_item_reserved
    if is_segment_base(entry.index):
        return CHECK_item_segment_base
    if not may_be_listed(entry.index):
        return CHECK_item_forbidden
    return CHECK_item_value if msr_write(vp, entry.index, entry.value) != INSN_OK else 0


# Load the MSRs of a list: 0, or the 1-based number of the entry that cannot be loaded, why, and
# what it is.
cdef u32 load_msr_list(l0_vp *vp, u64 gpa, u32 count, u32 *why,
                       vmx_msr_entry *entry) noexcept nogil:
    cdef u32 i

    memset(entry, 0, sizeof(vmx_msr_entry))
    for i in range(count):
        why[0] = load_listed_msr(vp, gpa, i, entry)
        if why[0]:
            return i + 1
    return 0


# Which item of an entry's list failed, and what is wrong in it.
cdef void note_item(l0_vp *vp, const l0_vmcs *v, u32 check, u32 number,
                    const vmx_msr_entry *entry) noexcept nogil:
    note_fields(vp, v, check)
    vp.refusal.a = number
    vp.refusal.b = entry.reserved if check == CHECK_item_reserved else entry.index


# Store the MSRs that a list names; False where one cannot be stored.
cdef bint store_msr_list(l0_vp *vp, u64 gpa, u32 count) noexcept nogil:
    cdef vmx_msr_entry entry
    cdef u8 *place
    cdef u64 value = 0
    cdef u32 i

    for i in range(count):
        place = phys_ptr(vp.cpu.mem, gpa + <u64>i * 16, 16)
        if i >= longest_list(vp) or place == NULL:
            return False
        entry = listed(place)
        if entry.reserved or not may_be_listed(entry.index) or \
                msr_read(vp, entry.index, &value) != INSN_OK:
            return False
        (<vmx_msr_entry *>place).value = value
    return True
