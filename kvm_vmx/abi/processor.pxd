# SPDX-License-Identifier: GPL-2.0-only
# The processor's numbers as the kernel names them, for Cython.
from kvm_vmx.abi.types cimport u32, u64

cdef extern from "asm/msr-index.h" nogil:
    enum:
        MSR_IA32_P5_MC_ADDR
        MSR_IA32_P5_MC_TYPE
        MSR_IA32_TSC
        MSR_IA32_PLATFORM_ID
        MSR_IA32_APICBASE
        MSR_IA32_EBL_CR_POWERON
        MSR_EBC_FREQUENCY_ID
        MSR_SMI_COUNT
        MSR_IA32_FEATURE_CONTROL
        MSR_IA32_TSC_ADJUST
        MSR_IA32_SPEC_CTRL
        MSR_IA32_PRED_CMD
        MSR_IA32_UCODE_WRITE
        MSR_IA32_UCODE_REV
        MSR_IA32_SMM_MONITOR_CTL
        MSR_IA32_SMBASE
        MSR_P6_PERFCTR0
        MSR_P6_PERFCTR1
        MSR_PLATFORM_INFO
        MSR_MTRRcap
        MSR_IA32_ARCH_CAPABILITIES
        MSR_IA32_FLUSH_CMD
        MSR_IA32_BBL_CR_CTL3
        MSR_MISC_FEATURES_ENABLES
        MSR_IA32_SYSENTER_CS
        MSR_IA32_SYSENTER_ESP
        MSR_IA32_SYSENTER_EIP
        MSR_IA32_MCG_CAP
        MSR_IA32_MCG_STATUS
        MSR_IA32_MCG_CTL
        MSR_P6_EVNTSEL0
        MSR_P6_EVNTSEL1
        MSR_IA32_PERF_STATUS
        MSR_IA32_PERF_CTL
        MSR_IA32_MISC_ENABLE
        MSR_IA32_DEBUGCTLMSR
        MSR_IA32_LASTBRANCHFROMIP
        MSR_IA32_LASTBRANCHTOIP
        MSR_IA32_LASTINTFROMIP
        MSR_IA32_LASTINTTOIP
        MSR_MTRRfix64K_00000
        MSR_MTRRfix16K_80000
        MSR_MTRRfix16K_A0000
        MSR_MTRRfix4K_C0000
        MSR_MTRRfix4K_C8000
        MSR_MTRRfix4K_D0000
        MSR_MTRRfix4K_D8000
        MSR_MTRRfix4K_E0000
        MSR_MTRRfix4K_E8000
        MSR_MTRRfix4K_F0000
        MSR_MTRRfix4K_F8000
        MSR_IA32_CR_PAT
        MSR_MTRRdefType
        MSR_CORE_PERF_GLOBAL_CTRL
        MSR_IA32_PEBS_ENABLE
        MSR_IA32_MC0_CTL
        MSR_IA32_VMX_BASIC
        MSR_IA32_VMX_PINBASED_CTLS
        MSR_IA32_VMX_PROCBASED_CTLS
        MSR_IA32_VMX_EXIT_CTLS
        MSR_IA32_VMX_ENTRY_CTLS
        MSR_IA32_VMX_MISC
        MSR_IA32_VMX_CR0_FIXED0
        MSR_IA32_VMX_CR0_FIXED1
        MSR_IA32_VMX_CR4_FIXED0
        MSR_IA32_VMX_CR4_FIXED1
        MSR_IA32_VMX_VMCS_ENUM
        MSR_IA32_VMX_PROCBASED_CTLS2
        MSR_IA32_VMX_EPT_VPID_CAP
        MSR_IA32_VMX_TRUE_PINBASED_CTLS
        MSR_IA32_VMX_TRUE_PROCBASED_CTLS
        MSR_IA32_VMX_TRUE_EXIT_CTLS
        MSR_IA32_VMX_TRUE_ENTRY_CTLS
        MSR_IA32_VMX_VMFUNC
        MSR_IA32_TSCDEADLINE
        MSR_IA32_BNDCFGS
        MSR_IA32_XSS
        SPEC_CTRL_IBRS
        PRED_CMD_IBPB
        SPEC_CTRL_STIBP
        SPEC_CTRL_SSBD
        ARCH_CAP_SKIP_VMENTRY_L1DFLUSH
        FEATURE_CONTROL_LOCKED
        FEATURE_CONTROL_VMXON_ENABLED_INSIDE_SMX
        FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX
        MSR_IA32_APICBASE_BSP
        MSR_IA32_APICBASE_ENABLE
        MSR_MISC_FEATURES_ENABLES_CPUID_FAULT
        DEBUGCTLMSR_LBR
        DEBUGCTLMSR_BTF
        MSR_IA32_VMX_MISC_VMWRITE_SHADOW_RO_FIELDS
        EFER_SCE
        EFER_LME
        EFER_LMA
        EFER_NX
    const u32 MSR_EFER
    const u32 MSR_STAR
    const u32 MSR_LSTAR
    const u32 MSR_CSTAR
    const u32 MSR_SYSCALL_MASK
    const u32 MSR_FS_BASE
    const u32 MSR_GS_BASE
    const u32 MSR_KERNEL_GS_BASE
    const u32 MSR_TSC_AUX
    const u32 MSR_K7_EVNTSEL0
    const u32 MSR_K7_EVNTSEL3
    const u32 MSR_K7_PERFCTR0
    const u32 MSR_K7_PERFCTR3
    const u32 MSR_K8_SYSCFG
    const u32 MSR_K7_HWCR
    const u32 MSR_K7_CLK_CTL
    const u32 MSR_AMD64_NB_CFG
    const u32 MSR_AMD64_PATCH_LOADER
    const u32 MSR_K8_INT_PENDING_MSG
    const u32 MSR_FAM10H_MMIO_CONF_BASE
    const u32 MSR_K8_TSEG_ADDR
    const u32 MSR_K8_TSEG_MASK
    const u32 MSR_VM_HSAVE_PA
    const u32 MSR_AMD64_OSVW_ID_LENGTH
    const u32 MSR_AMD64_OSVW_STATUS
    const u32 MSR_F15H_PERF_CTL0
    const u32 MSR_F15H_PERF_CTR5
    const u32 MSR_AMD64_DC_CFG
    const u32 MSR_AMD64_BU_CFG2
    const u32 MSR_PLATFORM_INFO_CPUID_FAULT

cdef extern from "asm/processor-flags.h" nogil:
    enum:
        X86_EFLAGS_CF
        X86_EFLAGS_FIXED
        X86_EFLAGS_PF
        X86_EFLAGS_AF
        X86_EFLAGS_ZF
        X86_EFLAGS_SF
        X86_EFLAGS_TF
        X86_EFLAGS_IF
        X86_EFLAGS_DF
        X86_EFLAGS_OF
        X86_EFLAGS_IOPL
        X86_EFLAGS_NT
        X86_EFLAGS_RF
        X86_EFLAGS_VM
        X86_EFLAGS_AC
        X86_CR0_PE
        X86_CR0_MP
        X86_CR0_EM
        X86_CR0_TS
        X86_CR0_ET
        X86_CR0_NE
        X86_CR0_WP
        X86_CR0_AM
        X86_CR0_NW
        X86_CR0_CD
        X86_CR3_PCID_MASK
        X86_CR4_VME
        X86_CR4_PVI
        X86_CR4_TSD
        X86_CR4_DE
        X86_CR4_PSE
        X86_CR4_PAE
        X86_CR4_MCE
        X86_CR4_PGE
        X86_CR4_PCE
        X86_CR4_OSFXSR
        X86_CR4_OSXMMEXCPT
        X86_CR4_UMIP
        X86_CR4_LA57
        X86_CR4_VMXE
        X86_CR4_SMXE
        X86_CR4_FSGSBASE
        X86_CR4_PCIDE
        X86_CR4_OSXSAVE
        X86_CR4_SMEP
        X86_CR4_SMAP
        X86_CR4_PKE
    const u64 X86_CR0_PG

cdef extern from "asm/debugreg.h" nogil:
    enum:
        DR6_BD
        DR6_BS
        DR6_RTM
        DR6_VOLATILE
        DR7_BP_EN_MASK
        DR7_GE
        DR7_GD
        DR7_FIXED_1
    const u32 DR6_FIXED_1
    const u32 DR6_INIT
    const u32 DR7_VOLATILE

cdef extern from "asm/traps.h" nogil:
    enum:
        X86_TRAP_DE
        X86_TRAP_DB
        X86_TRAP_NMI
        X86_TRAP_BP
        X86_TRAP_OF
        X86_TRAP_BR
        X86_TRAP_UD
        X86_TRAP_NM
        X86_TRAP_DF
        X86_TRAP_OLD_MF
        X86_TRAP_TS
        X86_TRAP_NP
        X86_TRAP_SS
        X86_TRAP_GP
        X86_TRAP_PF
        X86_TRAP_SPURIOUS
        X86_TRAP_MF
        X86_TRAP_AC
        X86_TRAP_MC
        X86_TRAP_XF
        X86_TRAP_VE

cdef extern from "asm/kvm.h" nogil:
    enum:
        DE_VECTOR
        DB_VECTOR
        BP_VECTOR
        OF_VECTOR
        BR_VECTOR
        UD_VECTOR
        NM_VECTOR
        DF_VECTOR
        TS_VECTOR
        NP_VECTOR
        SS_VECTOR
        GP_VECTOR
        PF_VECTOR
        MF_VECTOR
        AC_VECTOR
        MC_VECTOR
