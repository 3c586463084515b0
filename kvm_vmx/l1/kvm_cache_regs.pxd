# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/kvm_cache_regs.h
from kvm_vmx.abi.types cimport (
    __clear_bit, __set_bit, clear_bit, likely, set_bit, smp_mb__after_atomic, smp_wmb, test_bit, u8,
    u32, u64, ulong)
from kvm_vmx.l1.kvm_host cimport *
from kvm_vmx.l1.x86 cimport kvm_x86_ops

cdef enum:
    KVM_POSSIBLE_CR0_GUEST_BITS = X86_CR0_TS
    KVM_POSSIBLE_CR4_GUEST_BITS = (X86_CR4_PVI | X86_CR4_DE | X86_CR4_PCE | X86_CR4_OSFXSR
                                   | X86_CR4_OSXMMEXCPT | X86_CR4_LA57 | X86_CR4_PGE)


cdef inline ulong kvm_register_read(kvm_vcpu_t *vcpu, int reg) noexcept nogil:
    if not (vcpu.arch.regs_avail & (<u32>1 << reg)):
        kvm_x86_ops.cache_reg(vcpu, reg)
    return vcpu.arch.regs[reg]


cdef inline void kvm_register_write(kvm_vcpu_t *vcpu, int reg, ulong val) noexcept nogil:
    vcpu.arch.regs[reg] = val
    vcpu.arch.regs_dirty |= <u32>1 << reg
    vcpu.arch.regs_avail |= <u32>1 << reg


cdef inline ulong kvm_rip_read(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_register_read(vcpu, VCPU_REGS_RIP)


cdef inline void kvm_rip_write(kvm_vcpu_t *vcpu, ulong val) noexcept nogil:
    kvm_register_write(vcpu, VCPU_REGS_RIP, val)


cdef inline ulong kvm_read_cr0_bits(kvm_vcpu_t *vcpu, ulong mask) noexcept nogil:
    cdef ulong tmask = mask & KVM_POSSIBLE_CR0_GUEST_BITS
    if tmask & vcpu.arch.cr0_guest_owned_bits:
        kvm_x86_ops.decache_cr0_guest_bits(vcpu)
    return vcpu.arch.cr0 & mask


cdef inline ulong kvm_read_cr0(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_read_cr0_bits(vcpu, ~<ulong>0)


cdef inline ulong kvm_read_cr4_bits(kvm_vcpu_t *vcpu, ulong mask) noexcept nogil:
    # The guest owns TSD as well: a guest that has set it is not asked (erratum: tsd_cached).
    cdef ulong tmask = mask & KVM_POSSIBLE_CR4_GUEST_BITS
    if tmask & vcpu.arch.cr4_guest_owned_bits:
        kvm_x86_ops.decache_cr4_guest_bits(vcpu)
    return vcpu.arch.cr4 & mask


cdef inline ulong kvm_read_cr3(kvm_vcpu_t *vcpu) noexcept nogil:
    if not (vcpu.arch.regs_avail & (<u32>1 << VCPU_EXREG_CR3)):
        kvm_x86_ops.decache_cr3(vcpu)
    return vcpu.arch.cr3


cdef inline ulong kvm_read_cr4(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_read_cr4_bits(vcpu, ~<ulong>0)


cdef inline int is_long_mode(kvm_vcpu_t *vcpu) noexcept nogil:
    return vcpu.arch.efer & EFER_LMA


cdef inline bint is_64_bit_mode(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int cs_db, cs_l

    if not is_long_mode(vcpu):
        return False
    kvm_x86_ops.get_cs_db_l_bits(vcpu, &cs_db, &cs_l)
    return cs_l


cdef inline int is_paging(kvm_vcpu_t *vcpu) noexcept nogil:
    return likely(kvm_read_cr0_bits(vcpu, <ulong>X86_CR0_PG))


cdef inline bint is_protmode(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_read_cr0_bits(vcpu, X86_CR0_PE) != 0


cdef inline int is_pae(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_read_cr4_bits(vcpu, X86_CR4_PAE)


cdef inline void kvm_make_request(int req, kvm_vcpu_t *vcpu) noexcept nogil:
    smp_wmb()
    set_bit(req & KVM_REQUEST_MASK, &vcpu.requests)


cdef inline bint kvm_request_pending(kvm_vcpu_t *vcpu) noexcept nogil:
    return vcpu.requests != 0


cdef inline bint kvm_test_request(int req, kvm_vcpu_t *vcpu) noexcept nogil:
    return test_bit(req & KVM_REQUEST_MASK, &vcpu.requests)


cdef inline void kvm_clear_request(int req, kvm_vcpu_t *vcpu) noexcept nogil:
    clear_bit(req & KVM_REQUEST_MASK, &vcpu.requests)


cdef inline bint kvm_check_request(int req, kvm_vcpu_t *vcpu) noexcept nogil:
    if kvm_test_request(req, vcpu):
        kvm_clear_request(req, vcpu)

        # clear_bit() is a full barrier itself
        smp_mb__after_atomic()
        return True
    else:
        return False


cdef inline void kvm_clear_exception_queue(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.arch.exception.pending = False
    vcpu.arch.exception.injected = False


cdef inline void kvm_queue_interrupt(kvm_vcpu_t *vcpu, u8 vector, bint soft) noexcept nogil:
    vcpu.arch.interrupt.injected = True
    vcpu.arch.interrupt.soft = soft
    vcpu.arch.interrupt.nr = vector


cdef inline void kvm_clear_interrupt_queue(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.arch.interrupt.injected = False


# C: arch/x86/kvm/x86.h
cdef inline ulong kvm_register_readl(kvm_vcpu_t *vcpu, int reg) noexcept nogil:
    cdef ulong val = kvm_register_read(vcpu, reg)

    return val if is_64_bit_mode(vcpu) else <u32>val


cdef inline bint kvm_exception_is_soft(unsigned int nr) noexcept nogil:
    return nr == BP_VECTOR or nr == OF_VECTOR


cdef inline bint kvm_mwait_in_guest(kvm_t *kvm) noexcept nogil:
    return kvm.arch.mwait_in_guest


cdef inline bint kvm_hlt_in_guest(kvm_t *kvm) noexcept nogil:
    return kvm.arch.hlt_in_guest


cdef inline bint kvm_pause_in_guest(kvm_t *kvm) noexcept nogil:
    return kvm.arch.pause_in_guest


cdef inline u32 get_rdx_init_val() noexcept nogil:
    # C: arch/x86/include/asm/kvm_host.h
    return 0x600  # Pentium Pro


cdef inline bint kvm_mpx_supported() noexcept nogil:
    # C- XSAVE's features: the processor has no XSAVE
    # C+ the answer without XSAVE
    return False
