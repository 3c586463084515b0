# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/include/asm/kvm_host.h
# With include/linux/kvm_host.h and the parts of uapi/linux/kvm.h that the port passes around.
from kvm_vmx.abi.processor cimport *
from kvm_vmx.abi.types cimport gfn_t, gpa_t, gva_t, hpa_t, s64, u8, u16, u32, u64, ulong

cdef enum:
    KVM_NR_MEM_OBJS = 40
    KVM_MAX_CPUID_ENTRIES = 80
    KVM_MAX_VCPUS = 288
    KVM_NR_INTERRUPTS = 256
    KVM_MAX_MCE_BANKS = 32
    KVM_NR_VAR_MTRR = 8
    KVM_NR_FIXED_MTRR_REGION = 88

cdef enum:
    VCPU_REGS_RAX = 0
    VCPU_REGS_RCX = 1
    VCPU_REGS_RDX = 2
    VCPU_REGS_RBX = 3
    VCPU_REGS_RSP = 4
    VCPU_REGS_RBP = 5
    VCPU_REGS_RSI = 6
    VCPU_REGS_RDI = 7
    VCPU_REGS_R8 = 8
    VCPU_REGS_R9 = 9
    VCPU_REGS_R10 = 10
    VCPU_REGS_R11 = 11
    VCPU_REGS_R12 = 12
    VCPU_REGS_R13 = 13
    VCPU_REGS_R14 = 14
    VCPU_REGS_R15 = 15
    VCPU_REGS_RIP = 16
    NR_VCPU_REGS = 17

    VCPU_EXREG_PDPTR = 17
    VCPU_EXREG_CR3 = 18
    VCPU_EXREG_RFLAGS = 19
    VCPU_EXREG_SEGMENTS = 20

cdef enum:
    VCPU_SREG_ES = 0
    VCPU_SREG_CS = 1
    VCPU_SREG_SS = 2
    VCPU_SREG_DS = 3
    VCPU_SREG_FS = 4
    VCPU_SREG_GS = 5
    VCPU_SREG_TR = 6
    VCPU_SREG_LDTR = 7

cdef enum:
    APIC_BASE_MSR = 0x800
    X2APIC_ENABLE = 0x400
    LAPIC_MODE_DISABLED = 0
    LAPIC_MODE_INVALID = 0x400
    LAPIC_MODE_XAPIC = 0x800
    LAPIC_MODE_X2APIC = 0xc00
    APIC_DEFAULT_PHYS_BASE = 0xfee00000
    MCG_CTL_P = 0x100

cdef enum:
    KVM_EXIT_UNKNOWN = 0
    KVM_EXIT_EXCEPTION = 1
    KVM_EXIT_IO = 2
    KVM_EXIT_HYPERCALL = 3
    KVM_EXIT_DEBUG = 4
    KVM_EXIT_HLT = 5
    KVM_EXIT_MMIO = 6
    KVM_EXIT_IRQ_WINDOW_OPEN = 7
    KVM_EXIT_SHUTDOWN = 8
    KVM_EXIT_FAIL_ENTRY = 9
    KVM_EXIT_INTR = 10
    KVM_EXIT_SET_TPR = 11
    KVM_EXIT_INTERNAL_ERROR = 17

    KVM_INTERNAL_ERROR_EMULATION = 1
    KVM_INTERNAL_ERROR_SIMUL_EX = 2
    KVM_INTERNAL_ERROR_DELIVERY_EV = 3

    KVM_EXIT_IO_IN = 0
    KVM_EXIT_IO_OUT = 1

    KVM_MP_STATE_RUNNABLE = 0
    KVM_MP_STATE_UNINITIALIZED = 1
    KVM_MP_STATE_INIT_RECEIVED = 2
    KVM_MP_STATE_HALTED = 3

    KVM_GUESTDBG_ENABLE = 0x1
    KVM_GUESTDBG_SINGLESTEP = 0x2
    KVM_GUESTDBG_USE_SW_BP = 0x10000
    KVM_GUESTDBG_USE_HW_BP = 0x20000

    KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 0x1
    KVM_CPUID_FLAG_STATEFUL_FUNC = 0x2
    KVM_CPUID_FLAG_STATE_READ_NEXT = 0x4

    KVM_X86_SHADOW_INT_MOV_SS = 0x1
    KVM_X86_SHADOW_INT_STI = 0x2

    KVM_DEBUGREG_BP_ENABLED = 1
    KVM_DEBUGREG_WONT_EXIT = 2
    KVM_DEBUGREG_RELOAD = 4

# Requests: bits of kvm_vcpu.requests, and what whoever makes one wants besides.
cdef enum:
    KVM_REQUEST_MASK = 0xff
    KVM_REQUEST_NO_WAKEUP = 1 << 8
    KVM_REQUEST_WAIT = 1 << 9
    KVM_REQ_TLB_FLUSH = 0 | KVM_REQUEST_WAIT | KVM_REQUEST_NO_WAKEUP
    KVM_REQ_MMU_RELOAD = 1 | KVM_REQUEST_WAIT | KVM_REQUEST_NO_WAKEUP
    KVM_REQ_PENDING_TIMER = 2
    KVM_REQ_UNHALT = 3
    KVM_REQ_LOAD_CR3 = 13
    KVM_REQ_EVENT = 14
    KVM_REQ_TRIPLE_FAULT = 10
    KVM_REQ_NMI = 17
    KVM_REQ_APIC_PAGE_RELOAD = 25 | KVM_REQUEST_WAIT | KVM_REQUEST_NO_WAKEUP

cdef enum:
    OUTSIDE_GUEST_MODE = 0
    IN_GUEST_MODE = 1
    EXITING_GUEST_MODE = 2

cdef enum:
    EMULATE_DONE = 0
    EMULATE_USER_EXIT = 1
    EMULATE_FAIL = 2

ctypedef struct kvm_segment:
    u64 base
    u32 limit
    u16 selector
    u8 type
    u8 present
    u8 dpl
    u8 db
    u8 s
    u8 l
    u8 g
    u8 avl
    u8 unusable
    u8 padding

ctypedef struct kvm_dtable:
    u64 base
    u16 limit

ctypedef struct desc_ptr:
    u16 size
    ulong address

ctypedef struct kvm_regs:
    u64 rax
    u64 rbx
    u64 rcx
    u64 rdx
    u64 rsi
    u64 rdi
    u64 rsp
    u64 rbp
    u64 r8
    u64 r9
    u64 r10
    u64 r11
    u64 r12
    u64 r13
    u64 r14
    u64 r15
    u64 rip
    u64 rflags

ctypedef struct kvm_sregs:
    kvm_segment cs
    kvm_segment ds
    kvm_segment es
    kvm_segment fs
    kvm_segment gs
    kvm_segment ss
    kvm_segment tr
    kvm_segment ldt
    kvm_dtable gdt
    kvm_dtable idt
    u64 cr0
    u64 cr2
    u64 cr3
    u64 cr4
    u64 cr8
    u64 efer
    u64 apic_base

ctypedef struct kvm_cpuid_entry2:
    u32 function
    u32 index
    u32 flags
    u32 eax
    u32 ebx
    u32 ecx
    u32 edx

ctypedef struct msr_data:
    bint host_initiated
    u32 index
    u64 data

ctypedef struct kvm_run_fail_entry:
    u64 hardware_entry_failure_reason

ctypedef struct kvm_run_ex:
    u32 exception
    u32 error_code

ctypedef struct kvm_run_io:
    u8 direction
    u8 size
    u16 port
    u32 count
    u64 data

ctypedef struct kvm_run_mmio:
    u64 phys_addr
    u64 data
    u32 len
    u8 is_write

ctypedef struct kvm_run_hypercall:
    u64 nr
    u64 args[6]
    u64 ret

ctypedef struct kvm_run_internal:
    u32 suberror
    u32 ndata
    u64 data[16]

ctypedef struct kvm_run_hw:
    u64 hardware_exit_reason

# What KVM_RUN tells user space. The union of the kernel's struct is a row of members here.
ctypedef struct kvm_run_t:
    u8 request_interrupt_window
    u8 immediate_exit
    u32 exit_reason
    u8 ready_for_interrupt_injection
    u8 if_flag
    u64 cr8
    kvm_run_hw hw
    kvm_run_fail_entry fail_entry
    kvm_run_ex ex
    kvm_run_io io
    kvm_run_mmio mmio
    kvm_run_hypercall hypercall
    kvm_run_internal internal

ctypedef struct kvm_queued_exception:
    bint pending
    bint injected
    bint has_error_code
    u8 nr
    u32 error_code

ctypedef struct kvm_queued_interrupt:
    bint injected
    bint soft
    u8 nr

ctypedef struct kvm_mtrr_range:
    u64 base
    u64 mask

ctypedef struct kvm_mtrr:
    kvm_mtrr_range var_ranges[8]
    u8 fixed_ranges[88]
    u64 deftype

ctypedef struct kvm_osvw:
    u64 length
    u64 status

ctypedef struct kvm_mmu:
    hpa_t root_hpa
    u64 pdptrs[4]

ctypedef struct kvm_vcpu_stat:
    u64 exits
    u64 host_state_reload
    u64 l1d_flush
    u64 req_event
    u64 signal_exits
    u64 halt_exits
    u64 irq_exits
    u64 irq_window_exits
    u64 nmi_window_exits
    u64 request_irq_exits
    u64 irq_injections
    u64 nmi_injections
    u64 tlb_flush
    u64 io_exits
    u64 hypercalls

ctypedef struct kvm_vcpu_t

ctypedef struct kvm_vcpu_arch:
    # A register may still be in the VMCS alone: kvm_register_read() and its kin know.
    ulong regs[17]
    u32 regs_avail
    u32 regs_dirty

    ulong cr0
    ulong cr0_guest_owned_bits
    ulong cr2
    ulong cr3
    ulong cr4
    ulong cr4_guest_owned_bits
    ulong cr8
    u64 efer
    u64 apic_base
    u64 pat
    u32 pkru
    int mp_state
    u64 microcode_version
    u64 ia32_misc_enable_msr
    s64 ia32_tsc_adjust_msr
    u64 smbase
    u64 smi_count
    u64 msr_platform_info
    u64 msr_misc_features_enables
    u64 mcg_cap
    u64 mcg_status
    u64 mcg_ctl
    u64 *mce_banks
    kvm_mtrr mtrr_state
    kvm_osvw osvw
    int maxphyaddr

    kvm_mmu mmu
    kvm_mmu *walk_mmu

    kvm_queued_exception exception
    kvm_queued_interrupt interrupt
    int nmi_queued
    unsigned int nmi_pending
    bint nmi_injected
    u8 event_exit_inst_len
    ulong exit_qualification

    int cpuid_nent
    kvm_cpuid_entry2 *cpuid_entries

    u64 tsc_offset
    u64 last_guest_tsc
    u64 tsc_scaling_ratio
    ulong db[4]
    ulong dr6
    ulong dr7
    ulong eff_db[4]
    unsigned int switch_db_regs
    bint apicv_active
    bint preempted_in_kernel
    bint apic_attention
    u64 exits_until
    bint l1tf_flush_l1d
    bint gpa_available
    u64 gpa_val
    int (*complete_userspace_io)(kvm_vcpu_t *vcpu) noexcept nogil

ctypedef struct kvm_arch:
    bint pause_in_guest
    bint hlt_in_guest
    bint mwait_in_guest
    bint apic_access_page_done
    bint guest_can_read_msr_platform_info
    hpa_t ept_root
    int page_users
    void *stale_pages
    gfn_t memory_base
    u64 memory_size

ctypedef struct kvm_t:
    kvm_arch arch
    kvm_vcpu_t *vcpus[288]
    int online_vcpus
    int created_vcpus
    int slots_lock
    int srcu
    ulong remote_tlb_flush

ctypedef struct kvm_vcpu_t:
    kvm_t *kvm
    int cpu
    int vcpu_id
    int mode
    ulong requests
    ulong guest_debug
    kvm_run_t *run
    bint preempted
    bint mmio_needed
    int srcu_idx
    kvm_vcpu_stat stat
    kvm_vcpu_arch arch

# The operations by which kvm.ko reaches kvm-intel.ko: those of vmx_x86_ops that a port of this
# scope calls. A NULL member means what it means in v4.19.
ctypedef struct kvm_x86_ops_t:
    int (*cpu_has_kvm_support)() noexcept nogil
    int (*disabled_by_bios)() noexcept nogil
    int (*hardware_enable)() noexcept nogil
    void (*hardware_disable)() noexcept nogil
    void (*check_processor_compatibility)(void *rtn) noexcept nogil
    int (*hardware_setup)() noexcept nogil
    void (*hardware_unsetup)() noexcept nogil

    kvm_t *(*vm_alloc)() noexcept nogil
    void (*vm_free)(kvm_t *kvm) noexcept nogil
    int (*vm_init)(kvm_t *kvm) noexcept nogil

    # On failure *err is the negative errno and the result NULL, where the kernel has ERR_PTR.
    kvm_vcpu_t *(*vcpu_create)(kvm_t *kvm, unsigned int id, int *err) noexcept nogil
    void (*vcpu_free)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*vcpu_reset)(kvm_vcpu_t *vcpu, bint init_event) noexcept nogil

    void (*prepare_guest_switch)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*vcpu_load)(kvm_vcpu_t *vcpu, int cpu) noexcept nogil
    void (*vcpu_put)(kvm_vcpu_t *vcpu) noexcept nogil

    void (*update_bp_intercept)(kvm_vcpu_t *vcpu) noexcept nogil
    int (*get_msr)(kvm_vcpu_t *vcpu, msr_data *msr) noexcept nogil
    int (*set_msr)(kvm_vcpu_t *vcpu, msr_data *msr) noexcept nogil
    u64 (*get_segment_base)(kvm_vcpu_t *vcpu, int seg) noexcept nogil
    void (*get_segment)(kvm_vcpu_t *vcpu, kvm_segment *var, int seg) noexcept nogil
    void (*set_segment)(kvm_vcpu_t *vcpu, kvm_segment *var, int seg) noexcept nogil
    int (*get_cpl)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*get_cs_db_l_bits)(kvm_vcpu_t *vcpu, int *db, int *l) noexcept nogil
    void (*decache_cr0_guest_bits)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*decache_cr3)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*decache_cr4_guest_bits)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_cr0)(kvm_vcpu_t *vcpu, ulong cr0) noexcept nogil
    void (*set_cr3)(kvm_vcpu_t *vcpu, ulong cr3) noexcept nogil
    int (*set_cr4)(kvm_vcpu_t *vcpu, ulong cr4) noexcept nogil
    void (*set_efer)(kvm_vcpu_t *vcpu, u64 efer) noexcept nogil
    void (*get_idt)(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil
    void (*set_idt)(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil
    void (*get_gdt)(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil
    void (*set_gdt)(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil
    u64 (*get_dr6)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_dr6)(kvm_vcpu_t *vcpu, ulong value) noexcept nogil
    void (*set_dr7)(kvm_vcpu_t *vcpu, ulong value) noexcept nogil
    void (*sync_dirty_debug_regs)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*cache_reg)(kvm_vcpu_t *vcpu, int reg) noexcept nogil
    ulong (*get_rflags)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_rflags)(kvm_vcpu_t *vcpu, ulong rflags) noexcept nogil

    void (*tlb_flush)(kvm_vcpu_t *vcpu, bint invalidate_gpa) noexcept nogil
    int (*tlb_remote_flush)(kvm_t *kvm) noexcept nogil
    void (*tlb_flush_gva)(kvm_vcpu_t *vcpu, gva_t addr) noexcept nogil

    void (*run)(kvm_vcpu_t *vcpu) noexcept nogil
    int (*handle_exit)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*skip_emulated_instruction)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_interrupt_shadow)(kvm_vcpu_t *vcpu, int mask) noexcept nogil
    u32 (*get_interrupt_shadow)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_irq)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_nmi)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*queue_exception)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*cancel_injection)(kvm_vcpu_t *vcpu) noexcept nogil
    int (*interrupt_allowed)(kvm_vcpu_t *vcpu) noexcept nogil
    int (*nmi_allowed)(kvm_vcpu_t *vcpu) noexcept nogil
    bint (*get_nmi_mask)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*set_nmi_mask)(kvm_vcpu_t *vcpu, bint masked) noexcept nogil
    void (*enable_nmi_window)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*enable_irq_window)(kvm_vcpu_t *vcpu) noexcept nogil

    int (*get_tdp_level)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*get_exit_info)(kvm_vcpu_t *vcpu, u64 *info1, u64 *info2) noexcept nogil
    u64 (*read_l1_tsc_offset)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*write_tsc_offset)(kvm_vcpu_t *vcpu, u64 offset) noexcept nogil
    void (*set_tdp_cr3)(kvm_vcpu_t *vcpu, ulong cr3) noexcept nogil
    void (*handle_external_intr)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*request_immediate_exit)(kvm_vcpu_t *vcpu) noexcept nogil
    void (*cpuid_update)(kvm_vcpu_t *vcpu) noexcept nogil

cdef extern from "linux/perf_event.h" nogil:
    ctypedef struct perf_guest_switch_msr "struct perf_guest_switch_msr":
        unsigned int msr
        u64 host
        u64 guest

    perf_guest_switch_msr *perf_guest_get_msrs(int *nr)
