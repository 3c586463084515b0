# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/x86.c
from kvm_vmx.abi.asm cimport (
    X86_FEATURE_FSGSBASE, X86_FEATURE_LA57, X86_FEATURE_OSVW, X86_FEATURE_PCID,
    X86_FEATURE_PKU, X86_FEATURE_SMAP, X86_FEATURE_SMEP, X86_FEATURE_TSC_ADJUST, X86_FEATURE_UMIP,
    NMI_VECTOR, X86_FEATURE_X2APIC, X86_FEATURE_XSAVE, rdmsrl_safe, rdtsc, set_debugreg, wrmsrl_safe)
from kvm_vmx.abi.linux cimport (
    BUG_ON, GFP_KERNEL, WARN_ON, WARN_ON_ONCE, current, local_irq_disable,
    local_irq_enable, need_resched, pr_err, preempt_disable, preempt_enable, signal_pending,
    vcpu_unimpl)
from kvm_vmx.abi.types cimport (
    EEXIST, EINTR, EINVAL, ENOMEM, ENOTSUPP, EOPNOTSUPP, s64, smp_mb, smp_wmb, u8, u16, u32, u64, ulong,
    unlikely)
from kvm_vmx.l1.cpuid cimport (
    cpuid_fault_enabled, cpuid_maxphyaddr, cpuid_query_maxphyaddr, guest_cpuid_has,
    kvm_update_cpuid, supports_cpuid_fault)
from kvm_vmx.l1.kvm_cache_regs cimport *
from kvm_vmx.l1.kvm_host cimport *
from kvm_vmx.l1.kvm_main cimport vcpu_load, vcpu_put
from kvm_vmx.l1.lapic cimport (
    kvm_apic_accept_pic_intr, kvm_lapic_get_cr8, kvm_lapic_set_tpr, lapic_in_kernel)
from kvm_vmx.l1.linux.cpu cimport num_possible_cpus
from kvm_vmx.l1.linux.mm cimport kcalloc, kfree
from kvm_vmx.l1.mmu cimport kvm_mmu_reload
from kvm_vmx.l1.hv_init cimport (
    clear_hv_tscchange_cb, hyperv_stop_tsc_emulation, set_hv_tscchange_cb)
from kvm_vmx.l1.mshyperv cimport (
    X86_HYPER_MS_HYPERV, hypervisor_is_type, x86_hyper_type_ms_hyperv)
from kvm_vmx.l1.mtrr cimport kvm_mtrr_get_msr, kvm_mtrr_set_msr
from kvm_vmx.l1.trace cimport trace_kvm_hypercall
from libc.string cimport memset

cdef extern from "asm/percpu.h" nogil:
    int smp_processor_id()

cdef enum:
    KVM_NR_SHARED_MSRS = 16
    KVM_NR_DB_REGS = 4
    KVM_EPERM = 1
    KVM_ENOSYS = 1000
    KVM_HC_VAPIC_POLL_IRQ = 1
    KVM_HC_KICK_CPU = 5

    EXCPT_BENIGN = 0
    EXCPT_CONTRIBUTORY = 1
    EXCPT_PF = 2

    EXCPT_FAULT = 0
    EXCPT_TRAP = 1
    EXCPT_ABORT = 2
    EXCPT_INTERRUPT = 3

cdef extern from *:
    int __sync_fetch_and_add(int *value, int more) nogil
    int __sync_lock_test_and_set(int *value, int new) nogil

cdef extern from *:
    """
    #define CR0_RESERVED_BITS (~(u64)0xe005003f)
    #define CR4_RESERVED_BITS (~(u64)0x773fff)
    #define X86_FEATURE_RTM X86_FEATURE(7, 1, 11)
    #define CR8_RESERVED_BITS (~(unsigned long)0xf)
    #define INVALID_ROOT (~0ULL)
    #define MSR_IA32_MCx_CTL(x) (MSR_IA32_MC0_CTL + 4 * (x))
    """
    u32 MSR_IA32_MCx_CTL(u32 x) noexcept nogil
    const u64 CR0_RESERVED_BITS
    const u64 CR4_RESERVED_BITS
    const ulong CR8_RESERVED_BITS
    const u64 X86_FEATURE_RTM
    const u64 INVALID_ROOT


ctypedef struct kvm_shared_msr_values:
    u64 host
    u64 curr

ctypedef struct kvm_shared_msrs:
    bint registered
    kvm_shared_msr_values values[KVM_NR_SHARED_MSRS]

ctypedef struct kvm_shared_msrs_global:
    int nr
    u32 msrs[KVM_NR_SHARED_MSRS]

cdef kvm_shared_msrs_global shared_msrs_global
cdef kvm_shared_msrs *shared_msrs
cdef u64 efer_reserved_bits


# C~ the notifier and its lock: vcpu_put() calls it, on the CPU itself
cdef void kvm_on_user_return(kvm_shared_msrs *locals) noexcept nogil:
    cdef unsigned int slot
    cdef kvm_shared_msr_values *values

    locals.registered = False
    for slot in range(shared_msrs_global.nr):
        values = &locals.values[slot]
        if values.host != values.curr:
            wrmsrl_safe(shared_msrs_global.msrs[slot], values.host)
            values.curr = values.host


cdef void shared_msr_update(unsigned int slot, u32 msr) noexcept nogil:
    cdef u64 value
    cdef unsigned int cpu = smp_processor_id()
    cdef kvm_shared_msrs *smsr = &shared_msrs[cpu]

    if slot >= shared_msrs_global.nr:
        pr_err("kvm: invalid MSR slot!")
        return
    rdmsrl_safe(msr, &value)
    smsr.values[slot].host = value
    smsr.values[slot].curr = value


cdef void kvm_define_shared_msr(unsigned int slot, u32 msr) noexcept nogil:
    BUG_ON(slot >= KVM_NR_SHARED_MSRS)
    shared_msrs_global.msrs[slot] = msr
    if slot >= shared_msrs_global.nr:
        shared_msrs_global.nr = slot + 1


cdef void kvm_shared_msr_cpu_online() noexcept nogil:
    cdef unsigned int i

    for i in range(shared_msrs_global.nr):
        shared_msr_update(i, shared_msrs_global.msrs[i])


cdef int kvm_set_shared_msr(unsigned int slot, u64 value, u64 mask) noexcept nogil:
    cdef unsigned int cpu = smp_processor_id()
    cdef kvm_shared_msrs *smsr = &shared_msrs[cpu]
    cdef int err

    if ((value ^ smsr.values[slot].curr) & mask) == 0:
        return 0
    smsr.values[slot].curr = value
    err = wrmsrl_safe(shared_msrs_global.msrs[slot], value)
    if err:
        return 1

    # C- user_return_notifier_register(): vcpu_put() is the only way back to user space
    smsr.registered = True
    return 0


cdef void drop_user_return_notifiers() noexcept nogil:
    cdef unsigned int cpu = smp_processor_id()
    cdef kvm_shared_msrs *smsr = &shared_msrs[cpu]

    if smsr.registered:
        kvm_on_user_return(smsr)


cdef u64 kvm_get_apic_base(kvm_vcpu_t *vcpu) noexcept nogil:
    return vcpu.arch.apic_base


cdef int kvm_get_apic_mode(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_apic_mode(kvm_get_apic_base(vcpu))


cdef int kvm_set_apic_base(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil:
    cdef int old_mode = kvm_get_apic_mode(vcpu)
    cdef int new_mode = kvm_apic_mode(msr_info.data)
    cdef u64 reserved_bits = (~<u64>0 << cpuid_maxphyaddr(vcpu)) | 0x2ff | \
        (0 if guest_cpuid_has(vcpu, X86_FEATURE_X2APIC) else X2APIC_ENABLE)

    if (msr_info.data & reserved_bits) != 0 or new_mode == LAPIC_MODE_INVALID:
        return 1
    if not msr_info.host_initiated:
        if old_mode == LAPIC_MODE_X2APIC and new_mode == LAPIC_MODE_XAPIC:
            return 1
        if old_mode == LAPIC_MODE_DISABLED and new_mode == LAPIC_MODE_X2APIC:
            return 1

    kvm_lapic_set_base(vcpu, msr_info.data)
    return 0


cdef int exception_class(int vector) noexcept nogil:
    if vector == PF_VECTOR:
        return EXCPT_PF
    elif vector == DE_VECTOR or vector == TS_VECTOR or vector == NP_VECTOR or \
            vector == SS_VECTOR or vector == GP_VECTOR:
        return EXCPT_CONTRIBUTORY
    return EXCPT_BENIGN


cdef int exception_type(int vector) noexcept nogil:
    cdef unsigned int mask

    if WARN_ON(vector > 31 or vector == NMI_VECTOR):
        return EXCPT_INTERRUPT

    mask = <u32>1 << vector

    # #DB for data watchpoints; those for instructions never come this way
    if mask & ((1 << DB_VECTOR) | (1 << BP_VECTOR) | (1 << OF_VECTOR)):
        return EXCPT_TRAP

    if mask & ((1 << DF_VECTOR) | (1 << MC_VECTOR)):
        return EXCPT_ABORT

    # and so are the reserved ones
    return EXCPT_FAULT


# C~ goto queue: the two ways meet at the end, and a first exception skips the test
cdef void kvm_multiple_exception(kvm_vcpu_t *vcpu, unsigned int nr, bint has_error,
                                 u32 error_code, bint reinject) noexcept nogil:
    cdef u32 prev_nr
    cdef int class1, class2

    kvm_make_request(KVM_REQ_EVENT, vcpu)

    if vcpu.arch.exception.pending or vcpu.arch.exception.injected:
        prev_nr = vcpu.arch.exception.nr
        if prev_nr == DF_VECTOR:
            # a third one: nothing is left to deliver it with
            kvm_make_request(KVM_REQ_TRIPLE_FAULT, vcpu)
            return
        class1 = exception_class(prev_nr)
        class2 = exception_class(nr)
        if (class1 == EXCPT_CONTRIBUTORY and class2 == EXCPT_CONTRIBUTORY) \
                or (class1 == EXCPT_PF and class2 != EXCPT_BENIGN):
            vcpu.arch.exception.pending = True
            vcpu.arch.exception.injected = False
            vcpu.arch.exception.has_error_code = True
            vcpu.arch.exception.nr = DF_VECTOR
            vcpu.arch.exception.error_code = 0
            return
        # Otherwise the new one takes the place of the old, which the instruction will raise again.

    if has_error and not is_protmode(vcpu):
        has_error = False
    if reinject:
        WARN_ON_ONCE(vcpu.arch.exception.pending)
        vcpu.arch.exception.injected = True
    else:
        vcpu.arch.exception.pending = True
        vcpu.arch.exception.injected = False
    vcpu.arch.exception.has_error_code = has_error
    vcpu.arch.exception.nr = nr
    vcpu.arch.exception.error_code = error_code


cdef void kvm_queue_exception(kvm_vcpu_t *vcpu, unsigned int nr) noexcept nogil:
    kvm_multiple_exception(vcpu, nr, False, 0, False)


cdef void kvm_requeue_exception(kvm_vcpu_t *vcpu, unsigned int nr) noexcept nogil:
    kvm_multiple_exception(vcpu, nr, False, 0, True)


cdef int kvm_complete_insn_gp(kvm_vcpu_t *vcpu, int err) noexcept nogil:
    if err:
        kvm_inject_gp(vcpu, 0)
    else:
        return kvm_skip_emulated_instruction(vcpu)

    return 1


cdef void kvm_inject_nmi(kvm_vcpu_t *vcpu) noexcept nogil:
    __sync_fetch_and_add(&vcpu.arch.nmi_queued, 1)
    kvm_make_request(KVM_REQ_NMI, vcpu)


cdef void kvm_queue_exception_e(kvm_vcpu_t *vcpu, unsigned int nr, u32 error_code) noexcept nogil:
    kvm_multiple_exception(vcpu, nr, True, error_code, False)


cdef void kvm_inject_gp(kvm_vcpu_t *vcpu, u32 error_code) noexcept nogil:
    kvm_queue_exception_e(vcpu, GP_VECTOR, error_code)


cdef void kvm_requeue_exception_e(kvm_vcpu_t *vcpu, unsigned int nr, u32 error_code) noexcept nogil:
    kvm_multiple_exception(vcpu, nr, True, error_code, True)


cdef bint kvm_require_cpl(kvm_vcpu_t *vcpu, int required_cpl) noexcept nogil:
    if kvm_x86_ops.get_cpl(vcpu) <= required_cpl:
        return True
    kvm_queue_exception_e(vcpu, GP_VECTOR, 0)
    return False


cdef bint kvm_require_dr(kvm_vcpu_t *vcpu, int dr) noexcept nogil:
    if (dr != 4 and dr != 5) or not kvm_read_cr4_bits(vcpu, X86_CR4_DE):
        return True

    kvm_queue_exception(vcpu, UD_VECTOR)
    return False


cdef int kvm_set_cr0(kvm_vcpu_t *vcpu, ulong cr0) noexcept nogil:
    # C- 4 statements: old_cr0, update_bits: what they serve is left out
    cdef int cs_db, cs_l

    cr0 |= X86_CR0_ET

    if cr0 & <ulong>0xffffffff00000000:
        return 1

    cr0 &= ~CR0_RESERVED_BITS

    if (cr0 & X86_CR0_NW) and not (cr0 & X86_CR0_CD):
        return 1

    if (cr0 & <ulong>X86_CR0_PG) and not (cr0 & X86_CR0_PE):
        return 1

    if not is_paging(vcpu) and (cr0 & <ulong>X86_CR0_PG):
        if vcpu.arch.efer & EFER_LME:
            if not is_pae(vcpu):
                return 1
            kvm_x86_ops.get_cs_db_l_bits(vcpu, &cs_db, &cs_l)
            if cs_l:
                return 1

    # C- load_pdptrs(): the processor loads them at the entry
    if not (cr0 & <ulong>X86_CR0_PG) and kvm_read_cr4_bits(vcpu, X86_CR4_PCIDE):
        return 1

    kvm_x86_ops.set_cr0(vcpu, cr0)

    # C- 7 statements: kvm_mmu_reset_context() and what follows it: the EPT is fixed
    return 0


cdef void kvm_lmsw(kvm_vcpu_t *vcpu, ulong msw) noexcept nogil:
    kvm_set_cr0(vcpu, kvm_read_cr0_bits(vcpu, ~<ulong>0x0e) | (msw & 0x0f))


cdef int kvm_set_cr4(kvm_vcpu_t *vcpu, ulong cr4) noexcept nogil:
    cdef ulong old_cr4 = kvm_read_cr4(vcpu)

    # C- pdptr_bits: what it serves is left out
    if cr4 & CR4_RESERVED_BITS:
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_XSAVE) and (cr4 & X86_CR4_OSXSAVE):
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_SMEP) and (cr4 & X86_CR4_SMEP):
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_SMAP) and (cr4 & X86_CR4_SMAP):
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_FSGSBASE) and (cr4 & X86_CR4_FSGSBASE):
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_PKU) and (cr4 & X86_CR4_PKE):
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_LA57) and (cr4 & X86_CR4_LA57):
        return 1

    if not guest_cpuid_has(vcpu, X86_FEATURE_UMIP) and (cr4 & X86_CR4_UMIP):
        return 1

    if is_long_mode(vcpu):
        if not (cr4 & X86_CR4_PAE):
            return 1

    # C- load_pdptrs(): the processor loads them at the entry
    if (cr4 & X86_CR4_PCIDE) and not (old_cr4 & X86_CR4_PCIDE):
        if not guest_cpuid_has(vcpu, X86_FEATURE_PCID):
            return 1

        # PCIDs begin in long mode, with the first of them
        if (kvm_read_cr3(vcpu) & X86_CR3_PCID_MASK) or not is_long_mode(vcpu):
            return 1

    if kvm_x86_ops.set_cr4(vcpu, cr4):
        return 1

    # C- kvm_mmu_reset_context(): the EPT is fixed
    if (cr4 ^ old_cr4) & (X86_CR4_OSXSAVE | X86_CR4_PKE):
        kvm_update_cpuid(vcpu)

    return 0


# C~ PCID, PDPTRs, kvm_mmu_new_cr3(): the guest's root is the guest's own, with EPT below it
cdef int kvm_set_cr3(kvm_vcpu_t *vcpu, ulong cr3) noexcept nogil:
    vcpu.arch.cr3 = cr3
    vcpu.arch.regs_avail |= <u32>1 << VCPU_EXREG_CR3
    kvm_x86_ops.set_tdp_cr3(vcpu, vcpu.arch.mmu.root_hpa)
    return 0


cdef int kvm_set_cr8(kvm_vcpu_t *vcpu, ulong cr8) noexcept nogil:
    if cr8 & CR8_RESERVED_BITS:
        return 1
    if lapic_in_kernel(vcpu):
        kvm_lapic_set_tpr(vcpu, cr8)
    else:
        vcpu.arch.cr8 = cr8
    return 0


cdef ulong kvm_get_cr8(kvm_vcpu_t *vcpu) noexcept nogil:
    if lapic_in_kernel(vcpu):
        return kvm_lapic_get_cr8(vcpu)
    else:
        return vcpu.arch.cr8


cdef void kvm_update_dr0123(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int i

    if not (vcpu.guest_debug & KVM_GUESTDBG_USE_HW_BP):
        for i in range(KVM_NR_DB_REGS):
            vcpu.arch.eff_db[i] = vcpu.arch.db[i]
        vcpu.arch.switch_db_regs |= KVM_DEBUGREG_RELOAD


cdef void kvm_update_dr6(kvm_vcpu_t *vcpu) noexcept nogil:
    if not (vcpu.guest_debug & KVM_GUESTDBG_USE_HW_BP):
        kvm_x86_ops.set_dr6(vcpu, vcpu.arch.dr6)


cdef void kvm_update_dr7(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong dr7

    # C- guest_debug_dr7: no debugger in user space
    dr7 = vcpu.arch.dr7
    kvm_x86_ops.set_dr7(vcpu, dr7)
    vcpu.arch.switch_db_regs &= ~KVM_DEBUGREG_BP_ENABLED
    if dr7 & DR7_BP_EN_MASK:
        vcpu.arch.switch_db_regs |= KVM_DEBUGREG_BP_ENABLED


cdef u64 kvm_dr6_fixed(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u64 fixed = DR6_FIXED_1

    if not guest_cpuid_has(vcpu, X86_FEATURE_RTM):
        fixed |= DR6_RTM
    return fixed


cdef int __kvm_set_dr(kvm_vcpu_t *vcpu, int dr, ulong val) noexcept nogil:
    if dr >= 0 and dr <= 3:
        vcpu.arch.db[dr] = val
        if not (vcpu.guest_debug & KVM_GUESTDBG_USE_HW_BP):
            vcpu.arch.eff_db[dr] = val
    elif dr == 4 or dr == 6:
        if val & 0xffffffff00000000ULL:
            return -1
        vcpu.arch.dr6 = (val & DR6_VOLATILE) | kvm_dr6_fixed(vcpu)
        kvm_update_dr6(vcpu)
    else:
        if val & 0xffffffff00000000ULL:
            return -1
        vcpu.arch.dr7 = (val & DR7_VOLATILE) | DR7_FIXED_1
        kvm_update_dr7(vcpu)

    return 0


cdef int kvm_set_dr(kvm_vcpu_t *vcpu, int dr, ulong val) noexcept nogil:
    if __kvm_set_dr(vcpu, dr, val):
        kvm_inject_gp(vcpu, 0)
        return 1
    return 0


cdef int kvm_get_dr(kvm_vcpu_t *vcpu, int dr, ulong *val) noexcept nogil:
    if dr >= 0 and dr <= 3:
        val[0] = vcpu.arch.db[dr]
    elif dr == 4 or dr == 6:
        if vcpu.guest_debug & KVM_GUESTDBG_USE_HW_BP:
            val[0] = vcpu.arch.dr6
        else:
            val[0] = kvm_x86_ops.get_dr6(vcpu)
    else:
        val[0] = vcpu.arch.dr7
    return 0


# C~ kvm_pmu_rdpmc(): no counter exists, so no index is valid
cdef int kvm_rdpmc(kvm_vcpu_t *vcpu) noexcept nogil:
    return 1


cdef u64 kvm_get_arch_capabilities() noexcept nogil:
    cdef u64 data

    rdmsrl_safe(MSR_IA32_ARCH_CAPABILITIES, &data)

    # Whether it is done for the guest or need not be done: the guest's own guest needs no flush.
    # C- l1tf_vmx_mitigation: nothing sets it to VMENTER_L1D_FLUSH_NEVER
    data |= ARCH_CAP_SKIP_VMENTRY_L1DFLUSH

    return data


cdef int set_efer(kvm_vcpu_t *vcpu, u64 efer) noexcept nogil:
    cdef u64 old_efer = vcpu.arch.efer

    # C~ kvm_valid_efer(): nothing enables what CPUID has a say in
    if efer & efer_reserved_bits:
        return 1

    if is_paging(vcpu) \
            and (vcpu.arch.efer & EFER_LME) != (efer & EFER_LME):
        return 1

    efer &= ~<u64>EFER_LMA
    efer |= vcpu.arch.efer & EFER_LMA

    kvm_x86_ops.set_efer(vcpu, efer)

    # C- kvm_mmu_reset_context(): the EPT is fixed
    return 0


cdef void kvm_enable_efer_bits(u64 mask) noexcept nogil:
    global efer_reserved_bits
    efer_reserved_bits &= ~mask


# C~ vcpu_virt_addr_bits(): 48, as the processor has no LA57
cdef bint is_noncanonical_address(u64 la) noexcept nogil:
    return <u64>(<s64>(la << 16) >> 16) != la


cdef int kvm_set_msr(kvm_vcpu_t *vcpu, msr_data *msr) noexcept nogil:
    if msr.index == <u32>MSR_FS_BASE or msr.index == <u32>MSR_GS_BASE or \
            msr.index == <u32>MSR_KERNEL_GS_BASE or msr.index == <u32>MSR_CSTAR or \
            msr.index == <u32>MSR_LSTAR:
        if is_noncanonical_address(msr.data):
            return 1
    elif msr.index == MSR_IA32_SYSENTER_EIP or msr.index == MSR_IA32_SYSENTER_ESP:
        # Intel refuses what AMD cuts off: make it canonical, so that an entry passes either way.
        # C~ get_canonical(): spelled out for 48 bits
        msr.data = <u64>(<s64>(msr.data << 16) >> 16)
    return kvm_x86_ops.set_msr(vcpu, msr)


cdef u64 kvm_compute_tsc_offset(kvm_vcpu_t *vcpu, u64 target_tsc) noexcept nogil:
    # C~ kvm_scale_tsc(): no TSC scaling
    return target_tsc - rdtsc()


cdef void kvm_vcpu_write_tsc_offset(kvm_vcpu_t *vcpu, u64 offset) noexcept nogil:
    kvm_x86_ops.write_tsc_offset(vcpu, offset)
    vcpu.arch.tsc_offset = offset


cdef inline void adjust_tsc_offset_guest(kvm_vcpu_t *vcpu, s64 adjustment) noexcept nogil:
    kvm_vcpu_write_tsc_offset(vcpu, vcpu.arch.tsc_offset + adjustment)


cdef inline bint kvm_check_tsc_unstable() noexcept nogil:
    # Hyper-V guests mark their TSC unstable at boot.
    # C~ the clock source: under Hyper-V it is Hyper-V's, and the TSC is marked unstable
    return x86_hyper_type_ms_hyperv


cdef int set_msr_mce(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil:
    cdef u64 mcg_cap = vcpu.arch.mcg_cap
    cdef unsigned int bank_num = mcg_cap & 0xff
    cdef u32 msr = msr_info.index
    cdef u64 data = msr_info.data
    cdef u32 offset

    if msr == MSR_IA32_MCG_STATUS:
        vcpu.arch.mcg_status = data
    elif msr == MSR_IA32_MCG_CTL:
        if not (mcg_cap & MCG_CTL_P) and \
                (data or not msr_info.host_initiated):
            return 1
        if data != 0 and data != ~<u64>0:
            return 1
        vcpu.arch.mcg_ctl = data
    else:
        if msr >= MSR_IA32_MC0_CTL and \
                msr < MSR_IA32_MCx_CTL(bank_num):
            offset = msr - MSR_IA32_MC0_CTL
            # a bank's control is all zeros or all ones, but for a bit that some kernels clear
            if (offset & 0x3) == 0 and \
                    data != 0 and (data | (1 << 10)) != ~<u64>0:
                return -1
            # and its status is cleared by guests, never set
            if not msr_info.host_initiated and \
                    (offset & 0x3) == 1 and data != 0:
                return -1
            vcpu.arch.mce_banks[offset] = data
        # C~ break: the else of the test
        else:
            return 1
    return 0


cdef int kvm_set_msr_common(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil:
    cdef bint pr = False
    cdef u32 msr = msr_info.index
    cdef u64 data = msr_info.data
    cdef s64 adj

    if msr == <u32>MSR_AMD64_NB_CFG or msr == MSR_IA32_UCODE_WRITE or \
            msr == <u32>MSR_VM_HSAVE_PA or msr == <u32>MSR_AMD64_PATCH_LOADER or \
            msr == <u32>MSR_AMD64_BU_CFG2 or msr == <u32>MSR_AMD64_DC_CFG:
        pass
    elif msr == MSR_IA32_UCODE_REV:
        if msr_info.host_initiated:
            vcpu.arch.microcode_version = data
    elif msr == <u32>MSR_EFER:
        return set_efer(vcpu, data)
    elif msr == <u32>MSR_K7_HWCR:
        # flush filter, IGNNE emulation, TLB cache, MC status write
        data &= ~<u64>0x40
        data &= ~<u64>0x100
        data &= ~<u64>0x8
        data &= ~<u64>0x40000
        if data != 0:
            vcpu_unimpl(vcpu, "unimplemented HWCR wrmsr: 0x%llx\n", data)
            return 1
    elif msr == <u32>MSR_FAM10H_MMIO_CONF_BASE:
        if data != 0:
            vcpu_unimpl(vcpu, "unimplemented MMIO_CONF_BASE wrmsr: 0x%llx\n", data)
            return 1
    elif msr == MSR_IA32_DEBUGCTLMSR:
        if not data:
            # C~ break: the end of the function returns the same
            return 0  # what is off stays off
        elif data & ~<u64>(DEBUGCTLMSR_LBR | DEBUGCTLMSR_BTF):
            return 1
        vcpu_unimpl(vcpu, "%s: MSR_IA32_DEBUGCTLMSR 0x%llx, nop\n",
                    b"kvm_set_msr_common", data)
    elif msr >= 0x200 and msr <= 0x2ff:
        return kvm_mtrr_set_msr(vcpu, msr, data)
    elif msr == MSR_IA32_APICBASE:
        return kvm_set_apic_base(vcpu, msr_info)
    elif msr >= APIC_BASE_MSR and msr <= APIC_BASE_MSR + 0x3ff:
        # C~ kvm_x2apic_msr_write(): without an APIC it returns 1
        return 1
    elif msr == MSR_IA32_TSCDEADLINE:
        # C~ kvm_set_lapic_tscdeadline_msr(): without an APIC it does nothing
        return 0
    elif msr == MSR_IA32_TSC_ADJUST:
        if guest_cpuid_has(vcpu, X86_FEATURE_TSC_ADJUST):
            if not msr_info.host_initiated:
                adj = data - vcpu.arch.ia32_tsc_adjust_msr
                adjust_tsc_offset_guest(vcpu, adj)
            vcpu.arch.ia32_tsc_adjust_msr = data
    elif msr == MSR_IA32_MISC_ENABLE:
        vcpu.arch.ia32_misc_enable_msr = data
    elif msr == MSR_IA32_SMBASE:
        if not msr_info.host_initiated:
            return 1
        vcpu.arch.smbase = data
    elif msr == MSR_IA32_TSC:
        # C~ kvm_write_tsc(): its search for the other vCPUs' TSCs left out: out of scope, clocks
        # and timers
        vcpu.arch.tsc_offset = data - rdtsc()
        kvm_x86_ops.write_tsc_offset(vcpu, vcpu.arch.tsc_offset)
    elif msr == MSR_SMI_COUNT:
        if not msr_info.host_initiated:
            return 1
        vcpu.arch.smi_count = data
    # C~ kvmclock, steal time, asynchronous page faults, PV EOI, a range of cases: out of scope, the
    # guest is shown no KVM; a range is a comparison
    elif msr == MSR_IA32_MCG_CTL or msr == MSR_IA32_MCG_STATUS or \
            (msr >= MSR_IA32_MC0_CTL and msr <= MSR_IA32_MCx_CTL(KVM_MAX_MCE_BANKS) - 1):
        return set_msr_mce(vcpu, msr_info)
    # C~ ranges of cases, the fall through, the PMU: a range is a comparison; out of scope,
    # performance counters
    elif (msr >= <u32>MSR_K7_EVNTSEL0 and msr <= <u32>MSR_K7_PERFCTR3) or \
            (msr >= MSR_P6_PERFCTR0 and msr <= MSR_P6_PERFCTR1) or \
            (msr >= MSR_P6_EVNTSEL0 and msr <= MSR_P6_EVNTSEL1):
        pr = (msr >= <u32>MSR_K7_PERFCTR0 and msr <= <u32>MSR_K7_PERFCTR3) or \
            (msr >= MSR_P6_PERFCTR0 and msr <= MSR_P6_PERFCTR1)
        if pr or data != 0:
            vcpu_unimpl(vcpu, "disabled perfctr wrmsr: 0x%x data 0x%llx\n", msr, data)
    elif msr == <u32>MSR_K7_CLK_CTL:
        # C- Hyper-V's MSRs: out of scope, the guest is shown no Hyper-V
        pass
    elif msr == MSR_IA32_BBL_CR_CTL3:
        # C- report_ignored_msrs: it is on, and nothing sets it
        vcpu_unimpl(vcpu, "ignored wrmsr: 0x%x data 0x%llx\n", msr, data)
    elif msr == <u32>MSR_AMD64_OSVW_ID_LENGTH:
        if not guest_cpuid_has(vcpu, X86_FEATURE_OSVW):
            return 1
        vcpu.arch.osvw.length = data
    elif msr == <u32>MSR_AMD64_OSVW_STATUS:
        if not guest_cpuid_has(vcpu, X86_FEATURE_OSVW):
            return 1
        vcpu.arch.osvw.status = data
    elif msr == MSR_PLATFORM_INFO:
        if not msr_info.host_initiated or \
                (not (data & <u64>MSR_PLATFORM_INFO_CPUID_FAULT) and
                 cpuid_fault_enabled(vcpu)):
            return 1
        vcpu.arch.msr_platform_info = data
    elif msr == MSR_MISC_FEATURES_ENABLES:
        if data & ~<u64>MSR_MISC_FEATURES_ENABLES_CPUID_FAULT or \
                (data & MSR_MISC_FEATURES_ENABLES_CPUID_FAULT and
                 not supports_cpuid_fault(vcpu)):
            return 1
        vcpu.arch.msr_misc_features_enables = data
    else:
        # C- 6 statements: Xen's MSR, the PMU, ignore_msrs: out of scope, the guest is shown no Xen;
        # out of scope, performance counters; it is off, and nothing sets it
        return 1
    # C- 4 statements: ignore_msrs: it is off, and nothing sets it
    return 0


cdef int get_msr_mce(kvm_vcpu_t *vcpu, u32 msr, u64 *pdata, bint host) noexcept nogil:
    cdef u64 data
    cdef u64 mcg_cap = vcpu.arch.mcg_cap
    cdef unsigned int bank_num = mcg_cap & 0xff
    cdef u32 offset

    if msr == MSR_IA32_P5_MC_ADDR or msr == MSR_IA32_P5_MC_TYPE:
        data = 0
    elif msr == MSR_IA32_MCG_CAP:
        data = vcpu.arch.mcg_cap
    elif msr == MSR_IA32_MCG_CTL:
        if not (mcg_cap & MCG_CTL_P) and not host:
            return 1
        data = vcpu.arch.mcg_ctl
    elif msr == MSR_IA32_MCG_STATUS:
        data = vcpu.arch.mcg_status
    else:
        if msr >= MSR_IA32_MC0_CTL and \
                msr < MSR_IA32_MCx_CTL(bank_num):
            offset = msr - MSR_IA32_MC0_CTL
            data = vcpu.arch.mce_banks[offset]
        # C~ break: the else of the test
        else:
            return 1
    pdata[0] = data
    return 0


cdef int kvm_get_msr_common(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil:
    if msr_info.index == MSR_IA32_PLATFORM_ID or msr_info.index == MSR_IA32_EBL_CR_POWERON or \
            msr_info.index == MSR_IA32_DEBUGCTLMSR or \
            msr_info.index == MSR_IA32_LASTBRANCHFROMIP or \
            msr_info.index == MSR_IA32_LASTBRANCHTOIP or \
            msr_info.index == MSR_IA32_LASTINTFROMIP or \
            msr_info.index == MSR_IA32_LASTINTTOIP or msr_info.index == <u32>MSR_K8_SYSCFG or \
            msr_info.index == <u32>MSR_K8_TSEG_ADDR or \
            msr_info.index == <u32>MSR_K8_TSEG_MASK or msr_info.index == <u32>MSR_K7_HWCR or \
            msr_info.index == <u32>MSR_VM_HSAVE_PA or \
            msr_info.index == <u32>MSR_K8_INT_PENDING_MSG or \
            msr_info.index == <u32>MSR_AMD64_NB_CFG or \
            msr_info.index == <u32>MSR_FAM10H_MMIO_CONF_BASE or \
            msr_info.index == <u32>MSR_AMD64_BU_CFG2 or \
            msr_info.index == MSR_IA32_PERF_CTL or msr_info.index == <u32>MSR_AMD64_DC_CFG:
        msr_info.data = 0
    # C~ ranges of cases, the PMU: a range is a comparison; out of scope, performance counters
    elif (msr_info.index >= <u32>MSR_F15H_PERF_CTL0 and msr_info.index <= <u32>MSR_F15H_PERF_CTR5) or \
            (msr_info.index >= <u32>MSR_K7_EVNTSEL0 and msr_info.index <= <u32>MSR_K7_PERFCTR3) or \
            (msr_info.index >= MSR_P6_PERFCTR0 and msr_info.index <= MSR_P6_PERFCTR1) or \
            (msr_info.index >= MSR_P6_EVNTSEL0 and msr_info.index <= MSR_P6_EVNTSEL1):
        msr_info.data = 0
    elif msr_info.index == MSR_IA32_UCODE_REV:
        msr_info.data = vcpu.arch.microcode_version
    elif msr_info.index == MSR_IA32_TSC:
        # C~ kvm_scale_tsc(): no TSC scaling
        msr_info.data = rdtsc() + vcpu.arch.tsc_offset
    elif msr_info.index == MSR_MTRRcap or \
            (msr_info.index >= 0x200 and msr_info.index <= 0x2ff):
        return kvm_mtrr_get_msr(vcpu, msr_info.index, &msr_info.data)
    elif msr_info.index == 0xcd:
        # the frequency of the front-side bus
        msr_info.data = 3
    elif msr_info.index == MSR_EBC_FREQUENCY_ID:
        # A ratio of 1 harms no guest that divides by it.
        msr_info.data = 1 << 24
    elif msr_info.index == MSR_IA32_APICBASE:
        msr_info.data = kvm_get_apic_base(vcpu)
    elif msr_info.index >= APIC_BASE_MSR and msr_info.index <= APIC_BASE_MSR + 0x3ff:
        # C~ kvm_x2apic_msr_read(): without an APIC it returns 1
        return 1
    elif msr_info.index == MSR_IA32_TSCDEADLINE:
        # C~ kvm_get_lapic_tscdeadline_msr(): without an APIC it is 0
        msr_info.data = 0
    elif msr_info.index == MSR_IA32_TSC_ADJUST:
        msr_info.data = <u64>vcpu.arch.ia32_tsc_adjust_msr
    elif msr_info.index == MSR_IA32_MISC_ENABLE:
        msr_info.data = vcpu.arch.ia32_misc_enable_msr
    elif msr_info.index == MSR_IA32_SMBASE:
        if not msr_info.host_initiated:
            return 1
        msr_info.data = vcpu.arch.smbase
    elif msr_info.index == MSR_SMI_COUNT:
        msr_info.data = vcpu.arch.smi_count
    elif msr_info.index == MSR_IA32_PERF_STATUS:
        # TSC increment a tick, and the multiplier
        # C~ the types of the constants: as they are needed
        msr_info.data = 1000
        msr_info.data |= <u64>4 << 40
    elif msr_info.index == <u32>MSR_EFER:
        msr_info.data = vcpu.arch.efer
    # C~ kvmclock, steal time, asynchronous page faults, PV EOI, a range of cases: out of scope, the
    # guest is shown no KVM; a range is a comparison
    elif msr_info.index == MSR_IA32_P5_MC_ADDR or msr_info.index == MSR_IA32_P5_MC_TYPE or \
            msr_info.index == MSR_IA32_MCG_CAP or msr_info.index == MSR_IA32_MCG_CTL or \
            msr_info.index == MSR_IA32_MCG_STATUS or \
            (msr_info.index >= MSR_IA32_MC0_CTL and msr_info.index <= MSR_IA32_MCx_CTL(KVM_MAX_MCE_BANKS) - 1):
        return get_msr_mce(vcpu, msr_info.index, &msr_info.data,
                           msr_info.host_initiated)
    elif msr_info.index == <u32>MSR_K7_CLK_CTL:
        msr_info.data = 0x20000000
    # C- Hyper-V's MSRs: out of scope, the guest is shown no Hyper-V
    elif msr_info.index == MSR_IA32_BBL_CR_CTL3:
        # an L2 cache of 256 KB that is on
        msr_info.data = <u64>0xbe702111
    elif msr_info.index == <u32>MSR_AMD64_OSVW_ID_LENGTH:
        if not guest_cpuid_has(vcpu, X86_FEATURE_OSVW):
            return 1
        msr_info.data = vcpu.arch.osvw.length
    elif msr_info.index == <u32>MSR_AMD64_OSVW_STATUS:
        if not guest_cpuid_has(vcpu, X86_FEATURE_OSVW):
            return 1
        msr_info.data = vcpu.arch.osvw.status
    elif msr_info.index == MSR_PLATFORM_INFO:
        if not msr_info.host_initiated and \
                not vcpu.kvm.arch.guest_can_read_msr_platform_info:
            return 1
        msr_info.data = vcpu.arch.msr_platform_info
    elif msr_info.index == MSR_MISC_FEATURES_ENABLES:
        msr_info.data = vcpu.arch.msr_misc_features_enables
    else:
        # C- 4 statements: the PMU, ignore_msrs: out of scope, performance counters; it is off, and
        # nothing sets it
        return 1
    # C- 4 statements: ignore_msrs: it is off, and nothing sets it
    return 0


# C~ steal time, kvmclock, timers, WBINVD exits: no clock but the TSC, which is moved with the vCPU
cdef void kvm_arch_vcpu_load(kvm_vcpu_t *vcpu, int cpu) noexcept nogil:
    kvm_x86_ops.vcpu_load(vcpu, cpu)

    if unlikely(vcpu.cpu != cpu) or kvm_check_tsc_unstable():
        if kvm_check_tsc_unstable():
            kvm_vcpu_write_tsc_offset(
                vcpu, kvm_compute_tsc_offset(vcpu, vcpu.arch.last_guest_tsc))
        vcpu.cpu = cpu


cdef void kvm_arch_vcpu_put(kvm_vcpu_t *vcpu) noexcept nogil:
    # Whatever of a segment is asked for here stays in the cache (erratum: segment_cache).
    # C- idx: what it serves is left out
    if vcpu.preempted:
        vcpu.arch.preempted_in_kernel = not kvm_x86_ops.get_cpl(vcpu)

    # C- 5 statements: steal time: out of scope, the guest is shown no KVM
    kvm_x86_ops.vcpu_put(vcpu)
    # a debug status that the guest has left there is none of L1's
    # C- last_host_tsc: out of scope, clocks and timers
    set_debugreg(0, 6)
    # C+ the notifier of user space's return: this is the only way there
    drop_user_return_notifiers()


cdef int kvm_cpu_accept_dm_intr(kvm_vcpu_t *vcpu) noexcept nogil:
    return (not lapic_in_kernel(vcpu) or
            kvm_apic_accept_pic_intr(vcpu))


cdef int kvm_vcpu_ready_for_interrupt_injection(kvm_vcpu_t *vcpu) noexcept nogil:
    # C~ kvm_cpu_has_interrupt(): no APIC, and so no SMM or PIC to ask
    return kvm_x86_ops.interrupt_allowed(vcpu) and \
        not kvm_event_needs_reinjection(vcpu) and \
        kvm_cpu_accept_dm_intr(vcpu)


# C~ irqchip_in_kernel(), pic_in_kernel(): user space has the interrupt controllers
cdef int kvm_vcpu_ioctl_interrupt(kvm_vcpu_t *vcpu, u32 irq) noexcept nogil:
    if irq >= KVM_NR_INTERRUPTS:
        return -EINVAL

    kvm_queue_interrupt(vcpu, irq, False)
    kvm_make_request(KVM_REQ_EVENT, vcpu)
    return 0


cdef int kvm_vcpu_ioctl_nmi(kvm_vcpu_t *vcpu) noexcept nogil:
    kvm_inject_nmi(vcpu)

    return 0


cdef int kvm_emulate_wbinvd(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- kvm_emulate_wbinvd_noskip(): no cache to write back
    return kvm_skip_emulated_instruction(vcpu)


cdef void kvm_vcpu_do_singlestep(kvm_vcpu_t *vcpu, int *r) noexcept nogil:
    # C- kvm_run: written as vcpu.run
    if vcpu.guest_debug & KVM_GUESTDBG_SINGLESTEP:
        # C~ the debug exit: user space is told the exception alone
        vcpu.run.ex.exception = DB_VECTOR
        vcpu.run.exit_reason = KVM_EXIT_DEBUG
        r[0] = EMULATE_USER_EXIT
    else:
        # the debug status keeps what the handler has not cleared
        vcpu.arch.dr6 &= ~<ulong>15
        vcpu.arch.dr6 |= DR6_BS | DR6_RTM
        kvm_queue_exception(vcpu, DB_VECTOR)


cdef int kvm_skip_emulated_instruction(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong rflags = kvm_x86_ops.get_rflags(vcpu)
    cdef int r = EMULATE_DONE

    kvm_x86_ops.skip_emulated_instruction(vcpu)

    # rflags is what the guest had before the instruction: one that sets TF does not trap.
    if unlikely(rflags & X86_EFLAGS_TF):
        kvm_vcpu_do_singlestep(vcpu, &r)
    return r == EMULATE_DONE


# C~ kvm_fast_pio_out() and kvm_fast_pio_in(): no device in the kernel, so user space sees all
cdef int kvm_fast_pio(kvm_vcpu_t *vcpu, int size, u16 port, int in_) noexcept nogil:
    vcpu.run.exit_reason = KVM_EXIT_IO
    vcpu.run.io.direction = KVM_EXIT_IO_IN if in_ else KVM_EXIT_IO_OUT
    vcpu.run.io.size = size
    vcpu.run.io.port = port
    vcpu.run.io.count = 1
    vcpu.run.io.data = vcpu.arch.regs[VCPU_REGS_RAX] & ((<u64>1 << (8 * size)) - 1)
    if in_:
        # No device answers: the bus reads all ones. Four bytes clear the upper half of RAX.
        kvm_register_write(vcpu, VCPU_REGS_RAX,
                           (kvm_register_read(vcpu, VCPU_REGS_RAX) if size < 4 else 0)
                           | ((<u64>1 << (8 * size)) - 1))
    kvm_skip_emulated_instruction(vcpu)
    return 0


cdef int kvm_arch_flush_remote_tlb(kvm_t *kvm) noexcept nogil:
    # C: arch/x86/include/asm/kvm_host.h
    if kvm_x86_ops.tlb_remote_flush and not kvm_x86_ops.tlb_remote_flush(kvm):
        return 0
    else:
        return -ENOTSUPP


cdef void kvm_arch_boot_data() noexcept nogil:
    # C+ no vendor module is loaded yet
    global kvm_x86_ops, shared_msrs
    kvm_x86_ops = NULL
    shared_msrs = NULL


# C~ the VMs and their clocks: out of scope, clocks and timers
cdef void kvm_hyperv_tsc_notifier() noexcept nogil:
    hyperv_stop_tsc_emulation()


# C~ the MMU module, XSAVE, timers, the APIC, perf: out of scope, KVM's MMU; the processor has no
# XSAVE; out of scope, clocks and timers; no APIC in the kernel; out of scope, performance counters
cdef int kvm_arch_init(void *opaque) noexcept nogil:
    cdef kvm_x86_ops_t *ops = <kvm_x86_ops_t *>opaque

    global kvm_x86_ops, shared_msrs, efer_reserved_bits, kvm_has_tsc_control
    global kvm_default_tsc_scaling_ratio
    if kvm_x86_ops:
        pr_err("kvm: already loaded the other module\n")
        return -EEXIST

    if not ops.cpu_has_kvm_support():
        pr_err("kvm: no hardware support\n")
        return -EOPNOTSUPP
    if ops.disabled_by_bios():
        pr_err("kvm: disabled by bios\n")
        return -EOPNOTSUPP

    shared_msrs = <kvm_shared_msrs *>kcalloc(num_possible_cpus(), sizeof(kvm_shared_msrs),
                                             GFP_KERNEL)
    if not shared_msrs:
        pr_err("kvm: failed to allocate percpu kvm_shared_msrs\n")
        return -ENOMEM
    shared_msrs_global.nr = 0
    kvm_has_tsc_control = False
    kvm_default_tsc_scaling_ratio = 0
    efer_reserved_bits = ~<u64>(EFER_SCE | EFER_LME | EFER_LMA)

    kvm_x86_ops = ops

    if hypervisor_is_type(X86_HYPER_MS_HYPERV):
        set_hv_tscchange_cb(kvm_hyperv_tsc_notifier)

    return 0


# C~ the MMU module, timers, the APIC, perf: out of scope, KVM's MMU; out of scope, clocks and
# timers; no APIC in the kernel; out of scope, performance counters
cdef void kvm_arch_exit() noexcept nogil:
    global kvm_x86_ops, shared_msrs
    if hypervisor_is_type(X86_HYPER_MS_HYPERV):
        clear_hv_tscchange_cb()
    kvm_x86_ops = NULL
    kfree(shared_msrs)
    shared_msrs = NULL


cdef int kvm_vcpu_halt(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.stat.halt_exits += 1
    if lapic_in_kernel(vcpu):
        vcpu.arch.mp_state = KVM_MP_STATE_HALTED
        return 1
    else:
        vcpu.run.exit_reason = KVM_EXIT_HLT
        return 0


cdef int kvm_emulate_halt(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int ret = kvm_skip_emulated_instruction(vcpu)

    return kvm_vcpu_halt(vcpu) and ret


cdef int kvm_emulate_hypercall(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong nr, a0, a1, a2, a3, ret
    # C~ int, Hyper-V's calls: the answer is yes or no; out of scope, the guest is shown no Hyper-V
    cdef bint op_64_bit

    nr = kvm_register_read(vcpu, VCPU_REGS_RAX)
    a0 = kvm_register_read(vcpu, VCPU_REGS_RBX)
    a1 = kvm_register_read(vcpu, VCPU_REGS_RCX)
    a2 = kvm_register_read(vcpu, VCPU_REGS_RDX)
    a3 = kvm_register_read(vcpu, VCPU_REGS_RSI)

    trace_kvm_hypercall(nr, a0, a1, a2, a3)
    op_64_bit = is_64_bit_mode(vcpu)
    if not op_64_bit:
        nr &= <ulong>0xFFFFFFFF
        a0 &= <ulong>0xFFFFFFFF
        a1 &= <ulong>0xFFFFFFFF
        a2 &= <ulong>0xFFFFFFFF
        a3 &= <ulong>0xFFFFFFFF

    if kvm_x86_ops.get_cpl(vcpu) != 0:
        ret = <ulong>-KVM_EPERM
    # C~ goto out, kvm_pv_kick_cpu_op(): the test is the first of the chain; no APIC in the kernel
    elif nr == KVM_HC_VAPIC_POLL_IRQ or nr == KVM_HC_KICK_CPU:
        ret = 0
    # C- 5 statements: KVM_HC_CLOCK_PAIRING, KVM_HC_SEND_IPI: out of scope, the guest is shown no
    # KVM
    else:
        ret = <ulong>-KVM_ENOSYS
    # C- the label: nothing jumps to it
    if not op_64_bit:
        ret = <u32>ret
    kvm_register_write(vcpu, VCPU_REGS_RAX, ret)

    vcpu.stat.hypercalls += 1
    return kvm_skip_emulated_instruction(vcpu)


cdef int dm_request_for_irq_injection(kvm_vcpu_t *vcpu) noexcept nogil:
    # C~ pic_in_kernel(): user space has the interrupt controllers
    return vcpu.run.request_interrupt_window


# C~ kvm_run: written as vcpu.run; no SMM, no APIC, no PIC
cdef void post_kvm_run_save(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.run.if_flag = (kvm_get_rflags(vcpu) & X86_EFLAGS_IF) != 0
    vcpu.run.cr8 = kvm_get_cr8(vcpu)
    vcpu.run.ready_for_interrupt_injection = \
        kvm_vcpu_ready_for_interrupt_injection(vcpu) != 0


cdef inline bint kvm_event_needs_reinjection(kvm_vcpu_t *vcpu) noexcept nogil:
    return vcpu.arch.exception.injected or vcpu.arch.interrupt.injected or \
        vcpu.arch.nmi_injected


# C~ nested events, SMM, the APIC: no nested VMX; user space queues interrupts itself
cdef int inject_pending_event(kvm_vcpu_t *vcpu) noexcept nogil:
    # what an exit interrupted comes first
    if vcpu.arch.exception.injected:
        kvm_x86_ops.queue_exception(vcpu)
    elif not vcpu.arch.exception.pending:
        if vcpu.arch.nmi_injected:
            kvm_x86_ops.set_nmi(vcpu)
        elif vcpu.arch.interrupt.injected:
            kvm_x86_ops.set_irq(vcpu)

    # then a new exception
    if vcpu.arch.exception.pending:
        WARN_ON_ONCE(vcpu.arch.exception.injected)
        vcpu.arch.exception.pending = False
        vcpu.arch.exception.injected = True

        if exception_type(vcpu.arch.exception.nr) == EXCPT_FAULT:
            kvm_x86_ops.set_rflags(vcpu, kvm_get_rflags(vcpu) | X86_EFLAGS_RF)

        if vcpu.arch.exception.nr == DB_VECTOR and \
                (vcpu.arch.dr7 & DR7_GD):
            vcpu.arch.dr7 &= ~<ulong>DR7_GD
            kvm_update_dr7(vcpu)

        kvm_x86_ops.queue_exception(vcpu)

    # one event an entry
    if kvm_event_needs_reinjection(vcpu):
        return 0

    if vcpu.arch.nmi_pending and kvm_x86_ops.nmi_allowed(vcpu):
        vcpu.arch.nmi_pending -= 1
        vcpu.arch.nmi_injected = True
        kvm_x86_ops.set_nmi(vcpu)

    return 0


cdef void process_nmi(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef unsigned int limit = 2

    # One NMI runs and one waits; of two that come at once, the first is on its way already.
    if kvm_x86_ops.get_nmi_mask(vcpu) or vcpu.arch.nmi_injected:
        limit = 1

    vcpu.arch.nmi_pending += __sync_lock_test_and_set(&vcpu.arch.nmi_queued, 0)
    vcpu.arch.nmi_pending = min(vcpu.arch.nmi_pending, limit)
    kvm_make_request(KVM_REQ_EVENT, vcpu)


cdef int vcpu_enter_guest(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int r
    cdef bint req_int_win = \
        dm_request_for_irq_injection(vcpu) and \
        kvm_cpu_accept_dm_intr(vcpu)

    # C- req_immediate_exit: nothing asks for an immediate exit
    if kvm_request_pending(vcpu):
        # C- 18 statements: requests of nested VMX, the MMU, timers and clocks: no nested VMX; out
        # of scope, KVM's MMU; out of scope, clocks and timers
        if kvm_check_request(KVM_REQ_TLB_FLUSH, vcpu):
            # C~ kvm_vcpu_flush_tlb(), the TPR's report: the function, spelled out; no APIC
            vcpu.stat.tlb_flush += 1
            kvm_x86_ops.tlb_flush(vcpu, True)
        if kvm_check_request(KVM_REQ_TRIPLE_FAULT, vcpu):
            vcpu.run.exit_reason = KVM_EXIT_SHUTDOWN
            vcpu.mmio_needed = 0
            # C~ goto out, requests of page faults, steal time, SMM: out of scope, the guest is
            # shown no KVM; out of scope, SMM
            return 0
        if kvm_check_request(KVM_REQ_NMI, vcpu):
            process_nmi(vcpu)
        # C- 34 statements: requests of the PMU, the I/O APIC, the APIC, Hyper-V: out of scope,
        # performance counters; no APIC in the kernel; out of scope, the guest is shown no Hyper-V

    if kvm_check_request(KVM_REQ_EVENT, vcpu) or req_int_win:
        vcpu.stat.req_event += 1
        # C~ the APIC's events, SMM, an immediate exit: no APIC in the kernel; out of scope, SMM;
        # nothing asks for an immediate exit
        inject_pending_event(vcpu)
        if vcpu.arch.nmi_pending:
            kvm_x86_ops.enable_nmi_window(vcpu)
        # C~ kvm_cpu_has_injectable_intr(): no APIC in the kernel
        if vcpu.arch.interrupt.injected or req_int_win:
            kvm_x86_ops.enable_irq_window(vcpu)
        WARN_ON(vcpu.arch.exception.pending)

    # C- the APIC's TPR: no APIC
    r = kvm_mmu_reload(vcpu)
    if unlikely(r):
        # C~ goto cancel_injection: its two statements
        kvm_x86_ops.cancel_injection(vcpu)
        return r

    preempt_disable()

    kvm_x86_ops.prepare_guest_switch(vcpu)

    # From here on an IPI for the guest waits until the entry, which it then ends.
    local_irq_disable()
    vcpu.mode = IN_GUEST_MODE

    # C~ srcu_read_unlock(), its barrier, sync_pir_to_irr: memory slots never change, so the barrier
    # is a plain one; no APIC
    smp_mb()

    if vcpu.mode == EXITING_GUEST_MODE or kvm_request_pending(vcpu) \
            or need_resched() or signal_pending(current):
        vcpu.mode = OUTSIDE_GUEST_MODE
        smp_wmb()
        local_irq_enable()
        preempt_enable()
        # C~ goto cancel_injection, XCR0, an immediate exit, the APIC's timer, context tracking: the
        # label's statements; the processor has no XSAVE; nothing asks for an immediate exit; no
        # APIC in the kernel; no context tracking
        kvm_x86_ops.cancel_injection(vcpu)
        return 1

    if unlikely(vcpu.arch.switch_db_regs):
        set_debugreg(0, 7)
        set_debugreg(vcpu.arch.eff_db[0], 0)
        set_debugreg(vcpu.arch.eff_db[1], 1)
        set_debugreg(vcpu.arch.eff_db[2], 2)
        set_debugreg(vcpu.arch.eff_db[3], 3)
        set_debugreg(vcpu.arch.dr6, 6)
        vcpu.arch.switch_db_regs &= ~KVM_DEBUGREG_RELOAD

    kvm_x86_ops.run(vcpu)

    if unlikely(vcpu.arch.switch_db_regs & KVM_DEBUGREG_WONT_EXIT):
        WARN_ON(vcpu.guest_debug & KVM_GUESTDBG_USE_HW_BP)
        kvm_x86_ops.sync_dirty_debug_regs(vcpu)
        kvm_update_dr0123(vcpu)
        kvm_update_dr6(vcpu)
        kvm_update_dr7(vcpu)
        vcpu.arch.switch_db_regs &= ~KVM_DEBUGREG_RELOAD

    # C~ hardware breakpoints, kvm_read_l1_tsc(): the host has none; spelled out without TSC scaling
    vcpu.arch.last_guest_tsc = rdtsc() + vcpu.arch.tsc_offset

    vcpu.mode = OUTSIDE_GUEST_MODE
    smp_wmb()

    # C- kvm_put_guest_xcr0(), kvm_before_interrupt(): the processor has no XSAVE; no perf looks on
    kvm_x86_ops.handle_external_intr(vcpu)

    # C- kvm_after_interrupt(): no perf looks on
    vcpu.stat.exits += 1
    # C- guest_exit_irqoff(): no context tracking
    # C+ the signal that ends a run of so many exits
    if unlikely(vcpu.stat.exits == vcpu.arch.exits_until):
        current.sigpending = 1

    local_irq_enable()
    preempt_enable()

    # C- 9 statements: srcu_read_lock(), profiling, clocks, the APIC: memory slots never change, and
    # none of them exists
    vcpu.arch.gpa_available = False
    r = kvm_x86_ops.handle_exit(vcpu)
    # C- 6 statements: cancel_injection: its statements stand where it is jumped to
    return r


# C~ waiting, the APIC's events: without an in-kernel APIC nothing wakes a vCPU but user space
cdef int vcpu_block(kvm_t *kvm, kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.run.exit_reason = KVM_EXIT_HLT
    return 0


cdef inline bint kvm_vcpu_running(kvm_vcpu_t *vcpu) noexcept nogil:
    # C~ nested events, asynchronous page faults: no nested VMX; out of scope, asynchronous page
    # faults
    return vcpu.arch.mp_state == KVM_MP_STATE_RUNNABLE


cdef int vcpu_run(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int r
    cdef kvm_t *kvm = vcpu.kvm

    # C- srcu_read_lock(): memory slots never change
    vcpu.arch.l1tf_flush_l1d = True

    while True:
        if kvm_vcpu_running(vcpu):
            r = vcpu_enter_guest(vcpu)
        else:
            r = vcpu_block(kvm, vcpu)

        if r <= 0:
            break

        # C- timers: there is no APIC to have one
        if dm_request_for_irq_injection(vcpu) and \
                kvm_vcpu_ready_for_interrupt_injection(vcpu):
            r = 0
            vcpu.run.exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN
            vcpu.stat.request_irq_exits += 1
            break

        # C- asynchronous page faults: out of scope, asynchronous page faults
        if signal_pending(current):
            r = -EINTR
            vcpu.run.exit_reason = KVM_EXIT_INTR
            vcpu.stat.signal_exits += 1
            break
        if need_resched():
            # C- 4 statements: cond_resched(), srcu_read_unlock(): the way back to user space is
            # this kernel's scheduler
            # C+ the way back to user space, as for a signal
            current.need_resched = 0
            r = -EINTR
            vcpu.run.exit_reason = KVM_EXIT_INTR
            break

    return r


# C~ the FPU, signals, PIO that waits for completion: the exit says all
cdef int kvm_arch_vcpu_ioctl_run(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int r
    cdef int (*cui)(kvm_vcpu_t *vcpu) noexcept nogil

    vcpu_load(vcpu)
    try:
        if unlikely(vcpu.arch.complete_userspace_io != NULL):
            cui = vcpu.arch.complete_userspace_io
            vcpu.arch.complete_userspace_io = NULL
            r = cui(vcpu)
            if r <= 0:
                return r
        else:
            WARN_ON(vcpu.mmio_needed)

        if vcpu.run.immediate_exit:
            r = -EINTR
        else:
            r = vcpu_run(vcpu)
    finally:
        post_kvm_run_save(vcpu)
        vcpu_put(vcpu)
    return r


# C~ __get_regs(): spelled out, without the FPU and the emulator's registers
cdef int kvm_arch_vcpu_ioctl_get_regs(kvm_vcpu_t *vcpu, kvm_regs *regs) noexcept nogil:
    vcpu_load(vcpu)
    regs.rax = kvm_register_read(vcpu, VCPU_REGS_RAX)
    regs.rbx = kvm_register_read(vcpu, VCPU_REGS_RBX)
    regs.rcx = kvm_register_read(vcpu, VCPU_REGS_RCX)
    regs.rdx = kvm_register_read(vcpu, VCPU_REGS_RDX)
    regs.rsi = kvm_register_read(vcpu, VCPU_REGS_RSI)
    regs.rdi = kvm_register_read(vcpu, VCPU_REGS_RDI)
    regs.rsp = kvm_register_read(vcpu, VCPU_REGS_RSP)
    regs.rbp = kvm_register_read(vcpu, VCPU_REGS_RBP)
    regs.r8 = kvm_register_read(vcpu, VCPU_REGS_R8)
    regs.r9 = kvm_register_read(vcpu, VCPU_REGS_R9)
    regs.r10 = kvm_register_read(vcpu, VCPU_REGS_R10)
    regs.r11 = kvm_register_read(vcpu, VCPU_REGS_R11)
    regs.r12 = kvm_register_read(vcpu, VCPU_REGS_R12)
    regs.r13 = kvm_register_read(vcpu, VCPU_REGS_R13)
    regs.r14 = kvm_register_read(vcpu, VCPU_REGS_R14)
    regs.r15 = kvm_register_read(vcpu, VCPU_REGS_R15)
    regs.rip = kvm_rip_read(vcpu)
    regs.rflags = kvm_get_rflags(vcpu)
    vcpu_put(vcpu)
    return 0


# C~ __set_regs(): spelled out, without the emulator's registers
cdef int kvm_arch_vcpu_ioctl_set_regs(kvm_vcpu_t *vcpu, kvm_regs *regs) noexcept nogil:
    vcpu_load(vcpu)
    kvm_register_write(vcpu, VCPU_REGS_RAX, regs.rax)
    kvm_register_write(vcpu, VCPU_REGS_RBX, regs.rbx)
    kvm_register_write(vcpu, VCPU_REGS_RCX, regs.rcx)
    kvm_register_write(vcpu, VCPU_REGS_RDX, regs.rdx)
    kvm_register_write(vcpu, VCPU_REGS_RSI, regs.rsi)
    kvm_register_write(vcpu, VCPU_REGS_RDI, regs.rdi)
    kvm_register_write(vcpu, VCPU_REGS_RSP, regs.rsp)
    kvm_register_write(vcpu, VCPU_REGS_RBP, regs.rbp)
    kvm_register_write(vcpu, VCPU_REGS_R8, regs.r8)
    kvm_register_write(vcpu, VCPU_REGS_R9, regs.r9)
    kvm_register_write(vcpu, VCPU_REGS_R10, regs.r10)
    kvm_register_write(vcpu, VCPU_REGS_R11, regs.r11)
    kvm_register_write(vcpu, VCPU_REGS_R12, regs.r12)
    kvm_register_write(vcpu, VCPU_REGS_R13, regs.r13)
    kvm_register_write(vcpu, VCPU_REGS_R14, regs.r14)
    kvm_register_write(vcpu, VCPU_REGS_R15, regs.r15)

    kvm_rip_write(vcpu, regs.rip)
    kvm_set_rflags(vcpu, regs.rflags | X86_EFLAGS_FIXED)

    vcpu.arch.exception.pending = False

    kvm_make_request(KVM_REQ_EVENT, vcpu)
    vcpu_put(vcpu)
    return 0


# C~ __get_sregs(): spelled out, without the APIC
cdef int kvm_arch_vcpu_ioctl_get_sregs(kvm_vcpu_t *vcpu, kvm_sregs *sregs) noexcept nogil:
    cdef desc_ptr dt

    memset(sregs, 0, sizeof(kvm_sregs))
    vcpu_load(vcpu)
    kvm_x86_ops.get_segment(vcpu, &sregs.cs, VCPU_SREG_CS)
    kvm_x86_ops.get_segment(vcpu, &sregs.ds, VCPU_SREG_DS)
    kvm_x86_ops.get_segment(vcpu, &sregs.es, VCPU_SREG_ES)
    kvm_x86_ops.get_segment(vcpu, &sregs.fs, VCPU_SREG_FS)
    kvm_x86_ops.get_segment(vcpu, &sregs.gs, VCPU_SREG_GS)
    kvm_x86_ops.get_segment(vcpu, &sregs.ss, VCPU_SREG_SS)

    kvm_x86_ops.get_segment(vcpu, &sregs.tr, VCPU_SREG_TR)
    kvm_x86_ops.get_segment(vcpu, &sregs.ldt, VCPU_SREG_LDTR)

    kvm_x86_ops.get_idt(vcpu, &dt)
    sregs.idt.limit = dt.size
    sregs.idt.base = dt.address
    kvm_x86_ops.get_gdt(vcpu, &dt)
    sregs.gdt.limit = dt.size
    sregs.gdt.base = dt.address

    sregs.cr0 = kvm_read_cr0(vcpu)
    sregs.cr2 = vcpu.arch.cr2
    sregs.cr3 = kvm_read_cr3(vcpu)
    sregs.cr4 = kvm_read_cr4(vcpu)
    sregs.cr8 = kvm_get_cr8(vcpu)
    sregs.efer = vcpu.arch.efer
    sregs.apic_base = vcpu.arch.apic_base
    vcpu_put(vcpu)
    return 0


cdef int kvm_valid_sregs(kvm_vcpu_t *vcpu, kvm_sregs *sregs) noexcept nogil:
    if not guest_cpuid_has(vcpu, X86_FEATURE_XSAVE) and \
            (sregs.cr4 & X86_CR4_OSXSAVE):
        return -EINVAL

    if (sregs.efer & EFER_LME) and (sregs.cr0 & <ulong>X86_CR0_PG):
        # Paging with LME set is long mode: all of its conditions together, or none.
        if not (sregs.cr4 & X86_CR4_PAE) \
                or not (sregs.efer & EFER_LMA):
            return -EINVAL
    else:
        # and outside it neither 64-bit code nor LMA
        if sregs.efer & EFER_LMA or sregs.cs.l:
            return -EINVAL

    return 0


# C~ kvm_mmu_reset_context(), the APIC: the root is loaded again, and the guest's CR3 with it
cdef int __set_sregs(kvm_vcpu_t *vcpu, kvm_sregs *sregs) noexcept nogil:
    cdef bint mmu_reset_needed = False
    cdef bint cpuid_update_needed = False
    cdef desc_ptr dt

    if kvm_valid_sregs(vcpu, sregs):
        return -EINVAL

    vcpu.arch.apic_base = sregs.apic_base

    dt.size = sregs.idt.limit
    dt.address = sregs.idt.base
    kvm_x86_ops.set_idt(vcpu, &dt)
    dt.size = sregs.gdt.limit
    dt.address = sregs.gdt.base
    kvm_x86_ops.set_gdt(vcpu, &dt)

    vcpu.arch.cr2 = sregs.cr2
    mmu_reset_needed |= kvm_read_cr3(vcpu) != sregs.cr3
    vcpu.arch.cr3 = sregs.cr3
    vcpu.arch.regs_avail |= <u32>1 << VCPU_EXREG_CR3

    kvm_set_cr8(vcpu, sregs.cr8)

    mmu_reset_needed |= vcpu.arch.efer != sregs.efer
    kvm_x86_ops.set_efer(vcpu, sregs.efer)

    mmu_reset_needed |= kvm_read_cr0(vcpu) != sregs.cr0
    kvm_x86_ops.set_cr0(vcpu, sregs.cr0)
    vcpu.arch.cr0 = sregs.cr0

    mmu_reset_needed |= kvm_read_cr4(vcpu) != sregs.cr4
    cpuid_update_needed |= ((kvm_read_cr4(vcpu) ^ sregs.cr4) &
                            (X86_CR4_OSXSAVE | X86_CR4_PKE)) != 0
    kvm_x86_ops.set_cr4(vcpu, sregs.cr4)
    if cpuid_update_needed:
        kvm_update_cpuid(vcpu)

    if mmu_reset_needed:
        vcpu.arch.mmu.root_hpa = INVALID_ROOT

    kvm_x86_ops.set_segment(vcpu, &sregs.cs, VCPU_SREG_CS)
    kvm_x86_ops.set_segment(vcpu, &sregs.ds, VCPU_SREG_DS)
    kvm_x86_ops.set_segment(vcpu, &sregs.es, VCPU_SREG_ES)
    kvm_x86_ops.set_segment(vcpu, &sregs.fs, VCPU_SREG_FS)
    kvm_x86_ops.set_segment(vcpu, &sregs.gs, VCPU_SREG_GS)
    kvm_x86_ops.set_segment(vcpu, &sregs.ss, VCPU_SREG_SS)

    kvm_x86_ops.set_segment(vcpu, &sregs.tr, VCPU_SREG_TR)
    kvm_x86_ops.set_segment(vcpu, &sregs.ldt, VCPU_SREG_LDTR)

    kvm_make_request(KVM_REQ_EVENT, vcpu)

    return 0


cdef int kvm_arch_vcpu_ioctl_set_sregs(kvm_vcpu_t *vcpu, kvm_sregs *sregs) noexcept nogil:
    cdef int ret

    vcpu_load(vcpu)
    ret = __set_sregs(vcpu, sregs)
    vcpu_put(vcpu)
    return ret


# C~ the warning of an unstable TSC: the guest's TSC is as good as the host's
cdef kvm_vcpu_t *kvm_arch_vcpu_create(kvm_t *kvm, unsigned int id, int *err) noexcept nogil:
    return kvm_x86_ops.vcpu_create(kvm, id, err)


cdef int kvm_arch_vcpu_setup(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- kvm_vcpu_mtrr_init(): the EPT is fixed
    vcpu_load(vcpu)
    kvm_vcpu_reset(vcpu, False)
    # C- kvm_mmu_setup(): the EPT is fixed
    vcpu_put(vcpu)
    return 0


# C~ kvm_write_tsc(), kvmclock, the vCPU's mutex: its search for the other vCPUs' TSCs left out: out
# of scope, clocks and timers
cdef void kvm_arch_vcpu_postcreate(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu_load(vcpu)
    kvm_vcpu_write_tsc_offset(vcpu, kvm_compute_tsc_offset(vcpu, 0))
    vcpu_put(vcpu)


# C~ asynchronous page faults, the VM's mutex: there are the vCPUs and the memory to give back
cdef void kvm_free_vcpus(kvm_t *kvm) noexcept nogil:
    cdef int i
    cdef kvm_vcpu_t *vcpu

    # the roots go first, of all of them
    for i in range(kvm.online_vcpus):
        vcpu = kvm.vcpus[i]
        kvm_unload_vcpu_mmu(vcpu)
    for i in range(kvm.online_vcpus):
        kvm_arch_vcpu_free(kvm.vcpus[i])

    for i in range(kvm.online_vcpus):
        kvm.vcpus[i] = NULL

    kvm.online_vcpus = 0


cdef void kvm_unload_vcpu_mmu(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu_load(vcpu)
    # C~ kvm_mmu_unload(): the root belongs to the VM
    vcpu.arch.mmu.root_hpa = INVALID_ROOT
    vcpu_put(vcpu)


# C~ kvmclock_reset(), the mask of WBINVD: out of scope, clocks and timers
cdef void kvm_arch_vcpu_free(kvm_vcpu_t *vcpu) noexcept nogil:
    kvm_x86_ops.vcpu_free(vcpu)


cdef void kvm_arch_vcpu_destroy(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- asynchronous page faults: out of scope, asynchronous page faults
    vcpu_load(vcpu)
    # C~ kvm_mmu_unload(): the root belongs to the VM
    vcpu.arch.mmu.root_hpa = INVALID_ROOT
    vcpu_put(vcpu)

    kvm_x86_ops.vcpu_free(vcpu)


cdef void kvm_vcpu_reset(kvm_vcpu_t *vcpu, bint init_event) noexcept nogil:
    # C~ the APIC, SMM, atomic_set(): no APIC in the kernel; out of scope, SMM; the compiler's own
    __sync_lock_test_and_set(&vcpu.arch.nmi_queued, 0)
    vcpu.arch.nmi_pending = 0
    vcpu.arch.nmi_injected = False
    kvm_clear_interrupt_queue(vcpu)
    kvm_clear_exception_queue(vcpu)
    vcpu.arch.exception.pending = False

    memset(vcpu.arch.db, 0, sizeof(vcpu.arch.db))
    kvm_update_dr0123(vcpu)
    vcpu.arch.dr6 = DR6_INIT
    kvm_update_dr6(vcpu)
    vcpu.arch.dr7 = DR7_FIXED_1
    kvm_update_dr7(vcpu)

    vcpu.arch.cr2 = 0

    kvm_make_request(KVM_REQ_EVENT, vcpu)

    # C- 18 statements: asynchronous page faults, steal time, kvmclock, MPX: out of scope, the guest
    # is shown no KVM; the processor has no MPX
    if not init_event:
        # C- kvm_pmu_reset(): out of scope, performance counters
        vcpu.arch.smbase = 0x30000

        vcpu.arch.msr_platform_info = <u64>MSR_PLATFORM_INFO_CPUID_FAULT
        vcpu.arch.msr_misc_features_enables = 0

    # C- XCR0: the processor has no XSAVE
    memset(vcpu.arch.regs, 0, sizeof(vcpu.arch.regs))
    vcpu.arch.regs_avail = ~<u32>0
    vcpu.arch.regs_dirty = ~<u32>0

    # C- XSS: the processor has no XSAVE
    kvm_x86_ops.vcpu_reset(vcpu, init_event)


# C~ the search for a TSC that went backwards: out of scope, clocks and timers
cdef int kvm_arch_hardware_enable() noexcept nogil:
    cdef int ret

    kvm_shared_msr_cpu_online()
    ret = kvm_x86_ops.hardware_enable()
    if ret != 0:
        return ret

    return 0


cdef void kvm_arch_hardware_disable() noexcept nogil:
    kvm_x86_ops.hardware_disable()
    drop_user_return_notifiers()


# C+ for kvm-intel, which in the kernel sets these variables itself
cdef void kvm_enable_tsc_control(u8 frac_bits) noexcept nogil:
    global kvm_has_tsc_control, kvm_tsc_scaling_ratio_frac_bits
    kvm_has_tsc_control = True
    kvm_tsc_scaling_ratio_frac_bits = frac_bits


cdef int kvm_arch_hardware_setup() noexcept nogil:
    cdef int r

    global kvm_default_tsc_scaling_ratio
    r = kvm_x86_ops.hardware_setup()
    if r != 0:
        return r

    if kvm_has_tsc_control:
        # C- kvm_max_guest_tsc_khz: no user space here asks for another TSC frequency
        kvm_default_tsc_scaling_ratio = <u64>1 << kvm_tsc_scaling_ratio_frac_bits

    # C- kvm_init_msr_list(): no user space here asks for it
    return 0


cdef void kvm_arch_hardware_unsetup() noexcept nogil:
    kvm_x86_ops.hardware_unsetup()


cdef void kvm_arch_check_processor_compat(void *rtn) noexcept nogil:
    kvm_x86_ops.check_processor_compatibility(rtn)


# C~ the PIO page, the APIC, the wbinvd mask, the FPU, labels: user space has the devices; no APIC
# in the kernel; out of scope, the FPU; the labels return
cdef int kvm_arch_vcpu_init(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.arch.apicv_active = False
    vcpu.arch.mp_state = KVM_MP_STATE_RUNNABLE
    vcpu.arch.tsc_scaling_ratio = kvm_default_tsc_scaling_ratio

    vcpu.arch.mmu.root_hpa = INVALID_ROOT
    vcpu.arch.walk_mmu = &vcpu.arch.mmu

    vcpu.arch.mce_banks = <u64 *>kcalloc(KVM_MAX_MCE_BANKS * 4, sizeof(u64), GFP_KERNEL)
    if not vcpu.arch.mce_banks:
        return -ENOMEM
    vcpu.arch.mcg_cap = KVM_MAX_MCE_BANKS

    vcpu.arch.maxphyaddr = cpuid_query_maxphyaddr(vcpu)

    vcpu.arch.pat = <u64>0x0007040600070406
    vcpu.arch.cr0 |= X86_CR0_ET
    return 0


# C~ the PIO page, the APIC, the PMU: what kvm_arch_vcpu_init() left out; CPUID is allocated
cdef void kvm_arch_vcpu_uninit(kvm_vcpu_t *vcpu) noexcept nogil:
    kfree(vcpu.arch.mce_banks)
    kfree(vcpu.arch.cpuid_entries)
    vcpu.arch.cpuid_entries = NULL


# C~ clocks, the APIC, the MMU's lists: out of scope, clocks and timers; no APIC in the kernel; the
# EPT is fixed
cdef int kvm_arch_init_vm(kvm_t *kvm) noexcept nogil:
    kvm.arch.guest_can_read_msr_platform_info = True

    return kvm_x86_ops.vm_init(kvm)


cdef ulong kvm_get_rflags(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong rflags

    rflags = kvm_x86_ops.get_rflags(vcpu)
    if vcpu.guest_debug & KVM_GUESTDBG_SINGLESTEP:
        rflags &= ~<ulong>X86_EFLAGS_TF
    return rflags


cdef void kvm_set_rflags(kvm_vcpu_t *vcpu, ulong rflags) noexcept nogil:
    # C~ __kvm_set_rflags(): spelled out, as nobody single-steps
    kvm_x86_ops.set_rflags(vcpu, rflags)
    kvm_make_request(KVM_REQ_EVENT, vcpu)


# C: arch/x86/kvm/lapic.h
cdef inline int kvm_apic_mode(u64 apic_base) noexcept nogil:
    return apic_base & (MSR_IA32_APICBASE_ENABLE | X2APIC_ENABLE)


# C: arch/x86/kvm/lapic.c
cdef void kvm_lapic_set_base(kvm_vcpu_t *vcpu, u64 value) noexcept nogil:
    cdef u64 old_value = vcpu.arch.apic_base

    # C- apic: no APIC in the kernel
    value |= MSR_IA32_APICBASE_BSP

    vcpu.arch.apic_base = value

    if (old_value ^ value) & MSR_IA32_APICBASE_ENABLE:
        kvm_update_cpuid(vcpu)
        # C- 17 statements: what an APIC wants: no APIC in the kernel
