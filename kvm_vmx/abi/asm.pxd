# SPDX-License-Identifier: GPL-2.0-only
# MSRs, hypercalls and the processor as the kernel names them, for Cython.
from kvm_vmx.abi.types cimport u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport insn_t

cdef extern from "asm/irq_vectors.h" nogil:
    enum:
        NMI_VECTOR
        RESCHEDULE_VECTOR
        CALL_FUNCTION_VECTOR
        HYPERV_REENLIGHTENMENT_VECTOR
        LOCAL_TIMER_VECTOR

cdef extern from "asm/msr.h" nogil:
    int rdmsrl_safe(u32 msr, u64 *value)
    int wrmsrl_safe(u32 msr, u64 value)
    void rdmsrl(u32 msr, u64 *value)
    void wrmsrl(u32 msr, u64 value)
    void rdmsr(u32 msr, u32 *low, u32 *high)
    int rdmsr_safe(u32 msr, u32 *low, u32 *high)
    int wrmsr_safe(u32 msr, u32 low, u32 high)

cdef extern from "asm/mshyperv.h" nogil:
    insn_t hv_vmcall(u64 control, u64 input, u64 output, u64 *result)

cdef extern from "asm/processor.h" nogil:
    enum:
        __KERNEL_CS
        __KERNEL_DS
        GDT_ENTRY_TSS
    const u64 X86_FEATURE_PCID
    const u64 X86_FEATURE_X2APIC
    const u64 X86_FEATURE_XSAVE
    const u64 X86_FEATURE_VMX
    const u64 X86_FEATURE_HYPERVISOR
    const u64 X86_FEATURE_FSGSBASE
    const u64 X86_FEATURE_TSC_ADJUST
    const u64 X86_FEATURE_SMEP
    const u64 X86_FEATURE_INVPCID
    const u64 X86_FEATURE_RDSEED
    const u64 X86_FEATURE_SMAP
    const u64 X86_FEATURE_UMIP
    const u64 X86_FEATURE_PKU
    const u64 X86_FEATURE_LA57
    const u64 X86_FEATURE_RDRAND
    const u64 X86_FEATURE_SPEC_CTRL
    const u64 X86_FEATURE_STIBP
    const u64 X86_FEATURE_ARCH_CAPABILITIES
    const u64 X86_FEATURE_XSAVES
    const u64 X86_FEATURE_OSVW
    const u64 X86_FEATURE_NX
    const u64 X86_FEATURE_RDTSCP
    const u64 X86_FEATURE_LM

    void cpuid(u32 op, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
    u32 cpuid_reg(u32 op, int reg)
    bint boot_cpu_has(u64 feature)
    u32 boot_cpu_data_x86()
    u32 boot_cpu_data_x86_model()
    void cr4_set_bits(u64 mask)
    void cr4_clear_bits(u64 mask)
    u64 get_debugctlmsr()
    u64 *debugreg(int n)
    u64 ktime_get()
    u32 cpuid_eax(u32 op)
    u32 cpuid_ebx(u32 op)
    u32 cpuid_ecx(u32 op)
    u32 cpuid_edx(u32 op)
    bint cpu_has_vmx()
    bint tboot_enabled()
    ulong read_cr0()
    ulong __read_cr3()
    ulong __get_current_cr3_fast()
    ulong cr4_read_shadow()
    void *get_current_gdt_ro()
    ulong get_cpu_entry_area_tss(int cpu)
    ulong cpu_kernelmode_gs_base(int cpu)
    void set_debugreg(u64 value, int n)
    void get_debugreg(ulong var, int n)
    void update_debugctlmsr(u64 value)
    u64 rdtsc()
