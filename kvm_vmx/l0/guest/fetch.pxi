# SPDX-License-Identifier: GPL-2.0-only
# The bytes of an instruction of L2: where they are, and how many can be had.


cdef inline u64 linear_rip(l0_vp *vp, u64 rip) noexcept nogil:
    if vp.code_bits == 64:
        return rip
    return (vp.vmcs.f.guest_cs_base + <u32>rip) & <u64>0xffffffff


# How many bytes from rip on lie within the code segment.
cdef inline u64 bytes_in_segment(l0_vp *vp, u64 rip) noexcept nogil:
    if vp.code_bits == 64:
        return L0_LONGEST_CODE
    if <u32>rip > vp.vmcs.f.guest_cs_limit:
        return 0
    return <u64>vp.vmcs.f.guest_cs_limit - <u32>rip + 1


# The instruction's bytes, across a page boundary where it must be; how many there are.
cdef inline u32 fetch_code(l0_vp *vp, u64 rip, u8 *code) noexcept nogil:
    cdef u64 most = bytes_in_segment(vp, rip)
    cdef u64 linear
    cdef const u8 *page
    cdef u32 have = 0

    linear = linear_rip(vp, rip)
    if likely(most >= <u64>L0_LONGEST_CODE and linear & 4095 <= 4096 - L0_LONGEST_CODE):
        page = translate(vp, linear, fetch_right(vp))
        if page == NULL:
            return 0
        memcpy(code, page + (linear & 4095), L0_LONGEST_CODE)
        return L0_LONGEST_CODE
    while have < L0_LONGEST_CODE and have < most:
        linear = linear_rip(vp, rip + have)
        page = translate(vp, linear, fetch_right(vp))
        if page == NULL:
            break
        code[have] = page[linear & 4095]
        have += 1
    return have
