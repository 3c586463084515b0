# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/mtrr.c
from kvm_vmx.abi.linux cimport WARN_ON
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l1.cpuid cimport cpuid_maxphyaddr
from kvm_vmx.l1.kvm_host cimport *
from kvm_vmx.l1.x86 cimport kvm_inject_gp


cdef bint msr_mtrr_valid(unsigned int msr) noexcept nogil:
    if (msr >= 0x200 and msr <= 0x200 + 2 * KVM_NR_VAR_MTRR - 1) or \
            msr == MSR_MTRRfix64K_00000 or msr == MSR_MTRRfix16K_80000 or \
            msr == MSR_MTRRfix16K_A0000 or msr == MSR_MTRRfix4K_C0000 or \
            msr == MSR_MTRRfix4K_C8000 or msr == MSR_MTRRfix4K_D0000 or \
            msr == MSR_MTRRfix4K_D8000 or msr == MSR_MTRRfix4K_E0000 or \
            msr == MSR_MTRRfix4K_E8000 or msr == MSR_MTRRfix4K_F0000 or \
            msr == MSR_MTRRfix4K_F8000 or msr == MSR_MTRRdefType or \
            msr == MSR_IA32_CR_PAT:
        return True
    return False


cdef bint valid_pat_type(unsigned int t) noexcept nogil:
    return t < 8 and (1 << t) & 0xf3  # 0, 1, 4, 5, 6, 7


cdef bint valid_mtrr_type(unsigned int t) noexcept nogil:
    return t < 8 and (1 << t) & 0x73  # 0, 1, 4, 5, 6


cdef bint kvm_mtrr_valid(kvm_vcpu_t *vcpu, u32 msr, u64 data) noexcept nogil:
    cdef int i
    cdef u64 mask

    if not msr_mtrr_valid(msr):
        return False

    if msr == MSR_IA32_CR_PAT:
        for i in range(8):
            if not valid_pat_type((data >> (i * 8)) & 0xff):
                return False
        return True
    elif msr == MSR_MTRRdefType:
        if data & ~<u64>0xcff:
            return False
        return valid_mtrr_type(data & 0xff)
    elif msr >= MSR_MTRRfix64K_00000 and msr <= MSR_MTRRfix4K_F8000:
        for i in range(8):
            if not valid_mtrr_type((data >> (i * 8)) & 0xff):
                return False
        return True

    # those with a range of their own
    WARN_ON(not (msr >= 0x200 and msr < 0x200 + 2 * KVM_NR_VAR_MTRR))

    mask = ~<u64>0 << cpuid_maxphyaddr(vcpu)
    if (msr & 1) == 0:
        # the base, with the type in it
        if not valid_mtrr_type(data & 0xff):
            return False
        mask |= 0xf00
    else:
        mask |= 0x7ff
    # The caller injects one more: the guest sees #DF, as KVM adds the two up (erratum: mtrr_gp).
    if data & mask:
        kvm_inject_gp(vcpu, 0)
        return False

    return True


cdef bint fixed_msr_to_seg_unit(u32 msr, int *seg, int *unit) noexcept nogil:
    if msr == MSR_MTRRfix64K_00000:
        seg[0] = 0
        unit[0] = 0
    elif msr >= MSR_MTRRfix16K_80000 and msr <= MSR_MTRRfix16K_A0000:
        seg[0] = 1
        unit[0] = msr - MSR_MTRRfix16K_80000
    elif msr >= MSR_MTRRfix4K_C0000 and msr <= MSR_MTRRfix4K_F8000:
        seg[0] = 2
        unit[0] = msr - MSR_MTRRfix4K_C0000
    else:
        return False

    return True


cdef int fixed_mtrr_seg_unit_range_index(int seg, int unit) noexcept nogil:
    # C~ fixed_seg_table[]: its range_start, spelled out
    return (0 if seg == 0 else 8 if seg == 1 else 24) + 8 * unit


cdef int fixed_msr_to_range_index(u32 msr) noexcept nogil:
    cdef int seg, unit

    if not fixed_msr_to_seg_unit(msr, &seg, &unit):
        return -1

    return fixed_mtrr_seg_unit_range_index(seg, unit)


cdef void set_var_mtrr_msr(kvm_vcpu_t *vcpu, u32 msr, u64 data) noexcept nogil:
    cdef kvm_mtrr *mtrr_state = &vcpu.arch.mtrr_state
    # C- the list of ranges: nothing here asks for a memory type: the EPT is fixed
    cdef kvm_mtrr_range *cur
    cdef int index, is_mtrr_mask

    index = (msr - 0x200) // 2
    is_mtrr_mask = msr - 0x200 - 2 * index
    cur = &mtrr_state.var_ranges[index]

    # The bits on the left are 0 in the register, and 1 in what is made of it; reads cut them off.
    # C- the list of ranges: the EPT is fixed
    if not is_mtrr_mask:
        cur.base = data
    else:
        # C~ -1LL, the list of ranges: as unsigned; the EPT is fixed
        cur.mask = data | (~<u64>0 << cpuid_maxphyaddr(vcpu))


cdef int kvm_mtrr_set_msr(kvm_vcpu_t *vcpu, u32 msr, u64 data) noexcept nogil:
    cdef int index

    if not kvm_mtrr_valid(vcpu, msr, data):
        return 1

    index = fixed_msr_to_range_index(msr)
    if index >= 0:
        (<u64 *>&vcpu.arch.mtrr_state.fixed_ranges[index])[0] = data
    elif msr == MSR_MTRRdefType:
        vcpu.arch.mtrr_state.deftype = data
    elif msr == MSR_IA32_CR_PAT:
        vcpu.arch.pat = data
    else:
        set_var_mtrr_msr(vcpu, msr, data)

    # C- update_mtrr(): the EPT is fixed
    return 0


cdef int kvm_mtrr_get_msr(kvm_vcpu_t *vcpu, u32 msr, u64 *pdata) noexcept nogil:
    cdef int index
    cdef int is_mtrr_mask

    # How many ranges of either kind there are, write combining; it can't be written.
    if msr == MSR_MTRRcap:
        pdata[0] = 0x500 | KVM_NR_VAR_MTRR
        return 0

    if not msr_mtrr_valid(msr):
        return 1

    index = fixed_msr_to_range_index(msr)
    if index >= 0:
        pdata[0] = (<u64 *>&vcpu.arch.mtrr_state.fixed_ranges[index])[0]
    elif msr == MSR_MTRRdefType:
        pdata[0] = vcpu.arch.mtrr_state.deftype
    elif msr == MSR_IA32_CR_PAT:
        pdata[0] = vcpu.arch.pat
    else:
        index = (msr - 0x200) // 2
        is_mtrr_mask = msr - 0x200 - 2 * index
        if not is_mtrr_mask:
            pdata[0] = vcpu.arch.mtrr_state.var_ranges[index].base
        else:
            pdata[0] = vcpu.arch.mtrr_state.var_ranges[index].mask

        pdata[0] &= (<u64>1 << cpuid_maxphyaddr(vcpu)) - 1

    return 0
