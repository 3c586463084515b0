# SPDX-License-Identifier: GPL-2.0-only
# An operand of 64-bit code that the TLB has as a whole: no other look at it is needed.

cdef extern from *:
    """
    /* an operand of 1, 2, 4 or 8 bytes at any place, the bytes above it 0 */
    static inline u64 load_bytes(const u8 *place, u32 size)
    {
        u64 value = 0;

        switch (size) {
        case 8: __builtin_memcpy(&value, place, 8); break;
        case 4: __builtin_memcpy(&value, place, 4); break;
        case 2: __builtin_memcpy(&value, place, 2); break;
        default: value = *place;
        }
        return value;
    }
    static inline void store_bytes(u8 *place, u32 size, u64 value)
    {
        switch (size) {
        case 8: __builtin_memcpy(place, &value, 8); break;
        case 4: __builtin_memcpy(place, &value, 4); break;
        case 2: __builtin_memcpy(place, &value, 2); break;
        default: *place = (u8)value;
        }
    }
    """
    u64 load_bytes(const u8 *place, u32 size) noexcept nogil
    void store_bytes(u8 *place, u32 size, u64 value) noexcept nogil


# Where an operand of 64-bit code lies, whole, in a page that the TLB has with these rights: there
# is nothing else to look at. NULL: it is to be looked at in order.
cdef inline u8 *at_once(l0_vp *vp, u32 segment, u64 offset, u32 size, u32 rights) noexcept nogil:
    cdef u64 linear = offset
    cdef u64 need = rights << user(vp)
    cdef const l2_tlb_entry *entry

    if unlikely(vp.code_bits != 64):
        return NULL
    if segment >= SEG_FS:
        linear += segment_base(vp, segment)
    entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]
    if unlikely((entry.tag ^ linear) >> 12 or entry.tag & need != need or
                linear & 0xfff > 4096 - size or misaligned(vp, linear, size)):
        return NULL
    return entry.host + (linear & 0xfff)
