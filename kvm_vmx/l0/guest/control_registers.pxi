# SPDX-License-Identifier: GPL-2.0-only
# MOV to a control register of L1.


# Each gives the check that refuses a value, or 0.
cdef u32 cr0_refusal(const l0_vp *vp, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef bint paging = value >> 31 & 1

    if breaks(CHECK_cr0_reserved, value):
        return CHECK_cr0_reserved
    if paging and breaks(CHECK_cr0_paging, value):
        return CHECK_cr0_paging
    # NW without CD
    if value >> 29 & 1 and breaks(CHECK_cr0_cache, value):
        return CHECK_cr0_cache
    # leaving long mode from 64-bit code
    if vp.efer & EFER_LMA and breaks(CHECK_cr0_long_mode, value):
        return CHECK_cr0_long_mode
    if vp.in_vmx and (value & caps.cr0_must != caps.cr0_must or value & ~caps.cr0_may):
        return CHECK_cr0_in_vmx
    return 0


cdef u32 cr4_refusal(const l0_vp *vp, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps

    if value & ~caps.cr4_may:
        return CHECK_cr4_reserved
    if not caps.vmx and breaks(CHECK_cr4_no_vmx, value):
        return CHECK_cr4_no_vmx
    if vp.efer & EFER_LMA and breaks(CHECK_cr4_long_mode, value):
        return CHECK_cr4_long_mode
    if vp.in_vmx and value & caps.cr4_must != caps.cr4_must:
        return CHECK_cr4_in_vmx
    return 0


cdef u32 cr_refusal(const l0_vp *vp, u32 cr, u64 value) noexcept nogil:
    if cr == 0:
        return cr0_refusal(vp, value)
    if cr == 3:
        return CHECK_cr3_reserved if value & vp.partition.caps.address_reserved else 0
    if cr == 4:
        return cr4_refusal(vp, value)
    return CHECK_cr8_reserved if cr == 8 and breaks(CHECK_cr8_reserved, value) else 0


cdef insn_t l0_mov_to_cr(virt_cpu *cpu, u32 cr, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef u32 why

    vp.counters.mov_to_cr += 1
    if cr != 0 and cr != 2 and cr != 3 and cr != 4 and cr != 8:
        return deny(vp, CHECK_cr_number, value, cr, 0)
    if cpu.cpl:
        return deny(vp, CHECK_cr_privilege, value, cr, cpu.cpl)
    # with PCIDs, bit 63 asks to keep the TLB and is not stored
    if cr == 3 and cpu.cr4 & X86_CR4_PCIDE:
        value &= ~(<u64>1 << 63)
    why = cr_refusal(vp, cr, value)
    if why:
        return deny(vp, why, value, cr, 0)
    if cr == 0:
        cpu.cr0 = value | X86_CR0_ET
    elif cr == 2:
        cpu.cr2 = value
    elif cr == 3:
        cpu.cr3 = value
    elif cr == 4:
        cpu.cr4 = value
    else:
        cpu.cr8 = value
    vp.host_loaded = 0
    return INSN_OK
