# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kernel/cpu/mshyperv.c
from kvm_vmx.abi.asm cimport (
    X86_FEATURE_HYPERVISOR, boot_cpu_has, cpuid, cpuid_eax, cpuid_ebx, cpuid_ecx, cpuid_edx,
    rdmsrl)
from kvm_vmx.abi.hyperv_tlfs cimport *
from kvm_vmx.abi.linux cimport pr_debug, pr_info
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l1.crash cimport native_machine_crash_shutdown, pt_regs
from kvm_vmx.l1.linux.reboot cimport kexec_in_progress, machine_ops, native_machine_shutdown
from libc.string cimport memcmp, memset

cdef enum:
    HZ = 250

# Who cleans up behind this kernel before another begins: set by hv_vmbus.
cdef void (*hv_kexec_handler)() noexcept nogil
cdef void (*hv_crash_handler)(pt_regs *regs) noexcept nogil

# How often the APIC's timer counts in a tick: Hyper-V says it, so nobody measures.
cdef unsigned int lapic_timer_frequency


cdef void hv_setup_kexec_handler(void (*handler)() noexcept nogil) noexcept nogil:
    global hv_kexec_handler
    hv_kexec_handler = handler


cdef void hv_setup_crash_handler(void (*handler)(pt_regs *regs) noexcept nogil) noexcept nogil:
    global hv_crash_handler
    hv_crash_handler = handler


# The VP assist pages stay enabled, and Hyper-V goes on writing there (erratum: kexec_assist).
cdef void hv_machine_shutdown() noexcept nogil:
    if kexec_in_progress and hv_kexec_handler:
        hv_kexec_handler()
    native_machine_shutdown()


cdef void hv_machine_crash_shutdown(pt_regs *regs) noexcept nogil:
    if hv_crash_handler:
        hv_crash_handler(regs)
    native_machine_crash_shutdown(regs)


cdef u32 ms_hyperv_platform() noexcept nogil:
    cdef u32 eax
    cdef u32 hyp_signature[3]

    if not boot_cpu_has(X86_FEATURE_HYPERVISOR):
        return 0

    cpuid(HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS,
          &eax, &hyp_signature[0], &hyp_signature[1], &hyp_signature[2])

    if eax >= HYPERV_CPUID_MIN and \
            eax <= HYPERV_CPUID_MAX and \
            not memcmp(b"Microsoft Hv", hyp_signature, 12):
        return HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS

    return 0


cdef void ms_hyperv_init_platform() noexcept nogil:
    cdef int hv_host_info_eax
    cdef int hv_host_info_ebx
    cdef int hv_host_info_ecx
    cdef int hv_host_info_edx
    cdef u64 hv_lapic_frequency

    global lapic_timer_frequency

    # what it offers, and what it recommends
    ms_hyperv.features = cpuid_eax(HYPERV_CPUID_FEATURES)
    ms_hyperv.misc_features = cpuid_edx(HYPERV_CPUID_FEATURES)
    ms_hyperv.hints = cpuid_eax(HYPERV_CPUID_ENLIGHTMENT_INFO)

    pr_info("Hyper-V: features 0x%x, hints 0x%x\n",
            ms_hyperv.features, ms_hyperv.hints)

    ms_hyperv.max_vp_index = cpuid_eax(HYPERV_CPUID_IMPLEMENT_LIMITS)
    ms_hyperv.max_lp_index = cpuid_ebx(HYPERV_CPUID_IMPLEMENT_LIMITS)

    pr_debug(
             "Hyper-V: max %u virtual processors, %u logical processors\n",
             ms_hyperv.max_vp_index, ms_hyperv.max_lp_index)

    # which build it is
    if cpuid_eax(HYPERV_CPUID_VENDOR_AND_MAX_FUNCTIONS) >= HYPERV_CPUID_VERSION:
        hv_host_info_eax = cpuid_eax(HYPERV_CPUID_VERSION)
        hv_host_info_ebx = cpuid_ebx(HYPERV_CPUID_VERSION)
        hv_host_info_ecx = cpuid_ecx(HYPERV_CPUID_VERSION)
        hv_host_info_edx = cpuid_edx(HYPERV_CPUID_VERSION)

        pr_info("Hyper-V Host Build:%d-%d.%d-%d-%d.%d\n",
                hv_host_info_eax, hv_host_info_ebx >> 16,
                hv_host_info_ebx & 0xFFFF, hv_host_info_ecx,
                hv_host_info_edx >> 24, hv_host_info_edx & 0xFFFFFF)

    # The leaf is read unasked whether it lies below the highest (erratum: leaf_a_unchecked).
    # C- calibrate_tsc, calibrate_cpu: nothing here needs the frequency
    if ms_hyperv.hints & HV_X64_ENLIGHTENED_VMCS_RECOMMENDED:
        ms_hyperv.nested_features = \
            cpuid_eax(HYPERV_CPUID_NESTED_FEATURES)
    if ms_hyperv.features & HV_X64_ACCESS_FREQUENCY_MSRS and \
            ms_hyperv.misc_features & HV_FEATURE_FREQUENCY_MSRS_AVAILABLE:
        rdmsrl(HV_X64_MSR_APIC_FREQUENCY, &hv_lapic_frequency)
        hv_lapic_frequency = hv_lapic_frequency // HZ
        lapic_timer_frequency = hv_lapic_frequency
        pr_info("Hyper-V: LAPIC Timer Frequency: %#x\n",
                lapic_timer_frequency)
        # C- register_nmi_handler(): no NMI without a reason arrives
    machine_ops.shutdown = hv_machine_shutdown
    machine_ops.crash_shutdown = hv_machine_crash_shutdown
    # C- 12 statements: mark_tsc_unstable(), the reason of an NMI, IDT vectors: out of scope, clocks
    # and timers; no NMI without a reason arrives; out of scope, interrupt vectors of Hyper-V's


cdef void init_hypervisor_platform() noexcept nogil:
    # C~ the search among the hypervisors: this one alone to try
    global x86_hyper_type_ms_hyperv
    memset(&ms_hyperv, 0, sizeof(ms_hyperv))
    hv_setup_kexec_handler(NULL)
    hv_setup_crash_handler(NULL)
    x86_hyper_type_ms_hyperv = ms_hyperv_platform() != 0
    if x86_hyper_type_ms_hyperv:
        pr_info("Hypervisor detected: Microsoft Hyper-V\n")
        ms_hyperv_init_platform()
