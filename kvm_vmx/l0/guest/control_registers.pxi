# SPDX-License-Identifier: GPL-2.0-only
# MOV to a control register of L1.


cdef bint cr0_valid(const l0_vp *vp, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef bint paging = value >> 31 & 1

    if value >> 32 or (paging and not value & X86_CR0_PE):
        return False
    # NW without CD
    if value >> 29 & 1 and not value >> 30 & 1:
        return False
    if not paging and vp.efer & EFER_LMA:
        # leaving long mode from 64-bit code
        return False
    return not vp.in_vmx or (value & caps.cr0_must == caps.cr0_must and not value & ~caps.cr0_may)


cdef bint cr4_valid(const l0_vp *vp, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps

    if value & ~caps.cr4_may or (value & X86_CR4_VMXE and not caps.vmx):
        return False
    if vp.efer & EFER_LMA and not value & X86_CR4_PAE:
        return False
    return not vp.in_vmx or value & caps.cr4_must == caps.cr4_must


cdef insn_t l0_mov_to_cr(virt_cpu *cpu, u32 cr, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu

    vp.counters.mov_to_cr += 1
    if cr != 0 and cr != 2 and cr != 3 and cr != 4 and cr != 8:
        return fault_ud()
    if cpu.cpl:
        return fault_gp()
    if cr == 0:
        if not cr0_valid(vp, value):
            return fault_gp()
        cpu.cr0 = value | X86_CR0_ET
    elif cr == 2:
        cpu.cr2 = value
    elif cr == 3:
        # with PCIDs, bit 63 asks to keep the TLB and is not stored
        if cpu.cr4 & X86_CR4_PCIDE:
            value &= ~(<u64>1 << 63)
        if value & vp.partition.caps.address_reserved:
            return fault_gp()
        cpu.cr3 = value
    elif cr == 4:
        if not cr4_valid(vp, value):
            return fault_gp()
        cpu.cr4 = value
    elif value > 15:
        return fault_gp()
    else:
        cpu.cr8 = value
    vp.host_loaded = 0
    return INSN_OK
