# SPDX-License-Identifier: GPL-2.0-only
# The MSR bitmap in force: L1's page, or what L0 keeps of it while it is enlightened.

cdef enum:
    # reads of the low range, reads of the high one, writes of both: 1 KiB each
    QUARTER = 1024
    RANGE = 0x2000


# Does an access of L2 to an MSR exit to L1?
cdef bint msr_exits(l0_vp *vp, u32 msr, bint write) noexcept nogil:
    cdef const u8 *bitmap = vp.msr_bitmap
    cdef u32 start = 2 * QUARTER if write else 0

    if not vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_USE_MSR_BITMAPS:
        return True
    if msr - <u32>0xc0000000 < RANGE:
        start += QUARTER
    elif msr >= RANGE:
        return True
    if vp.vmcs != &vp.evmcs_cache or not vp.bitmap_kept:
        bitmap = phys_page(vp.cpu.mem, vp.vmcs.f.msr_bitmap)
        if bitmap == NULL:
            return True
    msr &= RANGE - 1
    return bitmap[start + msr // 8] >> (msr % 8) & 1
