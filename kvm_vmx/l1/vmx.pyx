# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx.c
from kvm_vmx.abi.asm cimport *
from kvm_vmx.abi.hyperv_tlfs cimport *
from kvm_vmx.abi.linux cimport *
from kvm_vmx.abi.types cimport *
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l1.bugs cimport (
    MSR_IA32_PRED_CMD, PRED_CMD_IBPB, SPEC_CTRL_IBRS, SPEC_CTRL_SSBD, SPEC_CTRL_STIBP,
    x86_spec_ctrl_restore_host, x86_spec_ctrl_set_guest)
from kvm_vmx.l1.cpuid cimport guest_cpuid_clear, guest_cpuid_has, kvm_emulate_cpuid
from kvm_vmx.l1.crash cimport (
    RCU_INIT_POINTER, crash_vmclear_loaded_vmcss, rcu_assign_pointer)
from kvm_vmx.l1.emulate cimport *
from kvm_vmx.l1.kvm_cache_regs cimport *
from kvm_vmx.l1.kvm_host cimport *
from kvm_vmx.l1.kvm_main cimport (
    kvm_exit, kvm_init, kvm_vcpu_cache_free, kvm_vcpu_cache_zalloc, kvm_vcpu_init, kvm_vcpu_uninit,
    vcpu_load, vcpu_put)
from kvm_vmx.l1.hv_init cimport hv_get_vp_assist_page, hyperv_flush_guest_mapping
from kvm_vmx.l1.lapic cimport lapic_in_kernel
from kvm_vmx.l1.linux.cpu cimport (
    cpu_online, cpu_possible, cpumask_clear_cpu, cpumask_set_cpu, cpumask_t, cpumask_test_cpu,
    do_IRQ, nr_cpu_ids, smp_call_function_single)
from kvm_vmx.l1.linux.jump_label cimport static_branch_disable, static_branch_enable
from kvm_vmx.l1.linux.mm cimport (
    __alloc_pages_node, __get_free_page, alloc_page, free_page, free_pages, kfree, kmalloc,
    vfree, vzalloc)
from kvm_vmx.l1.linux.text_patching cimport text_last_error, text_poke
from kvm_vmx.l1.mmu cimport private_page, x86_set_memory_region
from kvm_vmx.l1.mshyperv cimport ms_hyperv
from kvm_vmx.l1.mtrr cimport kvm_mtrr_valid
from kvm_vmx.l1.trace cimport *
from kvm_vmx.l1.vmx_evmcs cimport get_evmcs_offset
from kvm_vmx.l1.x86 cimport *
from libc.string cimport memcmp, memset

cdef extern from "asm/vmx_insn.h" nogil:
    bint asm_vmxon(const u64 *phys_addr)
    bint asm_vmxoff()
    bint asm_vmclear(const u64 *phys_addr)
    bint asm_vmptrld(const u64 *phys_addr)
    ulong asm_vmread(ulong field)
    bint asm_vmwrite(ulong field, ulong value)
    bint asm_invept(ulong ext, u64 eptp, u64 gpa)
    bint asm_invvpid(ulong ext, u64 vpid, u64 gva)
    u8 asm_vmx_vcpu_run(ulong *regs, ulong *host_rsp, ulong evmcs_rsp, ulong *cr2, bint launched)
    const ulong vmx_return

cdef extern from *:
    """
    #define noinline_void noinline void
    """
    ctypedef void noinline_void
    bint __builtin_constant_p(ulong value) noexcept nogil

cdef extern from *:
    """
    /* No vCPU of this kernel runs a guest of its own (nested VMX): what asks for that finds 0, and
     * what would look into that guest's VMCS is never reached. */
    #define is_guest_mode(vcpu) 0
    #define get_vmcs12(vcpu) ({ BUG(); (void *)NULL; })
    #define nested_cpu_has2(vmcs12, bit) ({ (void)(vmcs12); BUG(); 0; })
    #define nested_ept_ad_enabled(vcpu) ({ BUG(); 0; })

    /* The processor traces nothing: the kernel's own stub for one that cannot. */
    #define intel_pt_handle_vmx(on) ((void)0)

    /* One step along this CPU's list of loaded VMCSs. */
    #define loaded_vmcs_on_cpu_next(v, head) list_step((void **)(v), head, \
        offsetof(__typeof__(**(v)), loaded_vmcss_on_cpu_link))
    #define loaded_vmcs_on_cpu_next_safe(v, n, head) list_step_safe((void **)(v), \
        (void **)(n), head, offsetof(__typeof__(**(v)), loaded_vmcss_on_cpu_link))
    """
    void store_idt(desc_ptr *dt) noexcept nogil
    bint is_guest_mode(kvm_vcpu_t *vcpu) noexcept nogil
    void *get_vmcs12(kvm_vcpu_t *vcpu) noexcept nogil
    bint nested_cpu_has2(void *vmcs12, u32 bit) noexcept nogil
    bint nested_ept_ad_enabled(kvm_vcpu_t *vcpu) noexcept nogil
    void intel_pt_handle_vmx(int on) noexcept nogil
    bint loaded_vmcs_on_cpu_next(loaded_vmcs_t **v, list_head *head) noexcept nogil
    bint loaded_vmcs_on_cpu_next_safe(loaded_vmcs_t **v, loaded_vmcs_t **n,
                                      list_head *head) noexcept nogil

cdef enum:
    APIC_TASKPRI = 0x80
    APIC_EOI = 0xb0
    APIC_TMCCT = 0x390
    APIC_SELF_IPI = 0x3f0

    VMX_EPT_IDENTITY_PAGETABLE_ADDR = 0xfffbc000
    POSTED_INTR_VECTOR = 0xf2

    PT32_ENT_PER_PAGE = 1024
    _PAGE_PRESENT = 0x01
    _PAGE_RW = 0x02
    _PAGE_USER = 0x04
    _PAGE_ACCESSED = 0x20
    _PAGE_DIRTY = 0x40
    _PAGE_PSE = 0x80

# module_add_param() keeps the value it finds: each load of the module begins with it.
cdef bint enable_vpid = 1
module_add_param(&vmx_module, "vpid", &enable_vpid, 1)

cdef bint enable_vnmi = 1
module_add_param(&vmx_module, "vnmi", &enable_vnmi, 1)

cdef bint flexpriority_enabled = 1
module_add_param(&vmx_module, "flexpriority", &flexpriority_enabled, 1)

cdef bint enable_ept = 1
module_add_param(&vmx_module, "ept", &enable_ept, 1)

cdef bint enable_unrestricted_guest = 1
module_add_param(&vmx_module, "unrestricted_guest", &enable_unrestricted_guest, 1)

cdef bint enable_ept_ad_bits = 1
module_add_param(&vmx_module, "eptad", &enable_ept_ad_bits, 1)

cdef bint emulate_invalid_guest_state = 1
module_add_param(&vmx_module, "emulate_invalid_guest_state", &emulate_invalid_guest_state, 1)

cdef bint enable_apicv = 1
module_add_param(&vmx_module, "enable_apicv", &enable_apicv, 1)

cdef bint enable_shadow_vmcs = 1
module_add_param(&vmx_module, "enable_shadow_vmcs", &enable_shadow_vmcs, 1)

cdef bint nested = 0
module_add_param(&vmx_module, "nested", &nested, 1)

cdef u64 host_xss

cdef bint enable_pml = 1
module_add_param(&vmx_module, "pml", &enable_pml, 1)

cdef enum:
    MSR_TYPE_R = 1
    MSR_TYPE_W = 2
    MSR_TYPE_RW = 3

    MSR_BITMAP_MODE_X2APIC = 1
    MSR_BITMAP_MODE_X2APIC_APICV = 2

cdef u64 KVM_VMX_TSC_MULTIPLIER_MAX = <u64>0xffffffffffffffff

cdef int cpu_preemption_timer_multi
cdef bint enable_preemption_timer = 1
module_add_param(&vmx_module, "preemption_timer", &enable_preemption_timer, 1)

cdef enum:
    KVM_GUEST_CR0_MASK = X86_CR0_NW | X86_CR0_CD
    KVM_VM_CR0_ALWAYS_ON_UNRESTRICTED_GUEST = X86_CR0_NE
    KVM_VM_CR0_ALWAYS_ON = X86_CR0_NE | X86_CR0_WP | X86_CR0_PG | X86_CR0_PE
    KVM_CR4_GUEST_OWNED_BITS = (X86_CR4_PVI | X86_CR4_DE | X86_CR4_PCE | X86_CR4_OSFXSR
                                | X86_CR4_OSXMMEXCPT | X86_CR4_LA57 | X86_CR4_TSD)
    KVM_VM_CR4_ALWAYS_ON_UNRESTRICTED_GUEST = X86_CR4_VMXE
    KVM_PMODE_VM_CR4_ALWAYS_ON = X86_CR4_PAE | X86_CR4_VMXE

    KVM_DEFAULT_PLE_GAP = 128
    KVM_VMX_DEFAULT_PLE_WINDOW = 4096

cdef unsigned int ple_gap

cdef unsigned int ple_window = KVM_VMX_DEFAULT_PLE_WINDOW
module_add_param(&vmx_module, "ple_window", <bint *>&ple_window, 0)

cdef extern from *:
    """
    DEFINE_STATIC_KEY_FALSE(vmx_l1d_should_flush);
    """
    static_key_false vmx_l1d_should_flush

cdef enum:
    NR_AUTOLOAD_MSRS = 8
    PML_ENTITY_NUM = 512
    VMX_XSS_EXIT_BITMAP = 0

    EPT_POINTERS_CHECK = 0
    EPT_POINTERS_MATCH = 1
    EPT_POINTERS_MISMATCH = 2

ctypedef struct kvm_vmx_t:
    kvm_t kvm

    unsigned int tss_addr
    bint ept_identity_pagetable_done
    gpa_t ept_identity_map_addr

    int ept_pointers_match
    spinlock_t ept_pointer_lock

# A write-through cache of host fields that exits load and that seldom change.
ctypedef struct vmcs_host_state:
    ulong cr3
    ulong cr4
    ulong gs_base
    ulong fs_base

    u16 fs_sel
    u16 gs_sel
    u16 ldt_sel
    u16 ds_sel
    u16 es_sel

# A VMCS and the CPU it may be loaded on (-1: none), linked there for the day the CPU goes down.
ctypedef struct loaded_vmcs_t:
    vmcs_t *vmcs
    vmcs_t *shadow_vmcs
    int cpu
    bint launched
    bint nmi_known_unmasked
    bint hv_timer_armed
    int soft_vnmi_blocked
    u64 entry_time
    s64 vnmi_blocked_time
    ulong *msr_bitmap
    list_head loaded_vmcss_on_cpu_link
    vmcs_host_state host_state

ctypedef struct shared_msr_entry:
    unsigned int index
    u64 data
    u64 mask

# The list itself, of NR_AUTOLOAD_MSRS, is in the machine's memory: the processor reads it.
ctypedef struct vmx_msrs:
    unsigned int nr
    vmx_msr_entry *val

ctypedef struct msr_autoload_t:
    vmx_msrs guest
    vmx_msrs host

ctypedef struct kvm_save_segment:
    u16 selector
    ulong base
    u32 limit
    u32 ar

ctypedef struct segment_cache_t:
    # four bits a segment, one a field
    u32 bitmask
    kvm_save_segment seg[8]

ctypedef struct rmode_t:
    bint vm86_active
    ulong save_rflags

ctypedef struct vcpu_vmx:
    kvm_vcpu_t vcpu
    ulong host_rsp
    u8 fail
    u8 msr_bitmap_mode
    u32 exit_intr_info
    u32 idt_vectoring_info
    ulong rflags
    shared_msr_entry *guest_msrs
    int nmsrs
    int save_nmsrs
    ulong host_idt_base
    u64 msr_host_kernel_gs_base
    u64 msr_guest_kernel_gs_base

    u64 arch_capabilities
    u64 spec_ctrl

    u32 vm_entry_controls_shadow
    u32 vm_exit_controls_shadow
    u32 secondary_exec_control

    # loaded_vmcs is the VMCS in use, always vmcs01 here. loaded_cpu_state is NULL while the
    # host's own state is in the registers that only a return to user space switches.
    loaded_vmcs_t vmcs01
    loaded_vmcs_t *loaded_vmcs
    loaded_vmcs_t *loaded_cpu_state
    bint __launched
    msr_autoload_t msr_autoload

    rmode_t rmode
    segment_cache_t segment_cache
    int vpid
    bint emulation_required

    u32 exit_reason

    int ple_window
    bint ple_window_dirty

    bint req_immediate_exit

    page_t *pml_pg

    u64 hv_deadline_tsc

    u64 current_tsc_ratio

    u32 host_pkru

    u64 msr_ia32_feature_control
    u64 msr_ia32_feature_control_valid_bits

    ulong host_debugctlmsr

    u64 ept_pointer

cdef enum:
    SEG_FIELD_SEL = 0
    SEG_FIELD_BASE = 1
    SEG_FIELD_LIMIT = 2
    SEG_FIELD_AR = 3

    SEG_FIELD_NR = 4


cdef inline kvm_vmx_t *to_kvm_vmx(kvm_t *kvm) noexcept nogil:
    return <kvm_vmx_t *>kvm


cdef inline vcpu_vmx *to_vmx(kvm_vcpu_t *vcpu) noexcept nogil:
    return <vcpu_vmx *>vcpu

# Per-CPU, in asm/percpu.h. The macros take these names as they stand.
cdef extern from "asm/percpu.h" nogil:
    vmcs_t *vmxarea
    vmcs_t *current_vmcs
    list_head loaded_vmcss_on_cpu
    list_head blocked_vcpu_on_cpu
    spinlock_t blocked_vcpu_on_cpu_lock
    vmcs_t **per_cpu_ptr(vmcs_t *var, int cpu)
    list_head *per_cpu_list "per_cpu_ptr"(list_head var, int cpu)
    spinlock_t *per_cpu_lock "per_cpu_ptr"(spinlock_t var, int cpu)
    int raw_smp_processor_id()
    int smp_processor_id()

cdef enum:
    VMX_VMREAD_BITMAP = 0
    VMX_VMWRITE_BITMAP = 1
    VMX_BITMAP_NR = 2

cdef ulong *vmx_bitmap[VMX_BITMAP_NR]

cdef bint cpu_has_load_ia32_efer
cdef bint cpu_has_load_perf_global_ctrl

# VMX_NR_VPIDS bits
cdef ulong vmx_vpid_bitmap[1024]
cdef spinlock_t vmx_vpid_lock

ctypedef struct vmcs_config_t:
    int size
    int order
    u32 basic_cap
    u32 revision_id
    u32 pin_based_exec_ctrl
    u32 cpu_based_exec_ctrl
    u32 cpu_based_2nd_exec_ctrl
    u32 vmexit_ctrl
    u32 vmentry_ctrl

cdef vmcs_config_t vmcs_config

ctypedef struct vmx_capability_t:
    u32 ept
    u32 vpid

cdef vmx_capability_t vmx_capability

ctypedef struct kvm_vmx_segment_field:
    unsigned int selector
    unsigned int base
    unsigned int limit
    unsigned int ar_bytes

cdef extern from *:
    """
    #define VMX_SEGMENT_FIELD(seg) \\
        { GUEST_##seg##_SELECTOR, GUEST_##seg##_BASE, GUEST_##seg##_LIMIT, GUEST_##seg##_AR_BYTES }
    static const struct { unsigned int selector, base, limit, ar_bytes; } vmx_segment_fields[] = {
        VMX_SEGMENT_FIELD(ES), VMX_SEGMENT_FIELD(CS), VMX_SEGMENT_FIELD(SS), VMX_SEGMENT_FIELD(DS),
        VMX_SEGMENT_FIELD(FS), VMX_SEGMENT_FIELD(GS), VMX_SEGMENT_FIELD(TR), VMX_SEGMENT_FIELD(LDTR),
    };
    #define kvm_vmx_segment_fields vmx_segment_fields

    static const u32 vmx_msr_index[] = {
        MSR_SYSCALL_MASK, MSR_LSTAR, MSR_CSTAR, MSR_EFER, MSR_TSC_AUX, MSR_STAR,
    };
    #define NR_VMX_MSRS ARRAY_SIZE(vmx_msr_index)
    """
    const kvm_vmx_segment_field *kvm_vmx_segment_fields
    # STAR at the end: setup_msrs() may drop it.
    const u32 *vmx_msr_index
    enum:
        NR_VMX_MSRS

cdef u64 host_efer

cdef extern from *:
    """
    DEFINE_STATIC_KEY_FALSE(enable_evmcs);

    /* For measurements, the tree before the patch: no test of this key is compiled. */
    #ifdef BEFORE_EVMCS
    #undef static_branch_unlikely
    #define static_branch_unlikely(x) \\
        ((void *)(x) != (void *)&enable_evmcs && unlikely(arch_static_branch(&(x)->key, false)))
    #endif

    #define current_evmcs ((struct hv_enlightened_vmcs *)this_cpu_read(current_vmcs))
    #define KVM_EVMCS_VERSION 1

    /* `current_evmcs->x &= y` reads the per-CPU pointer once in C, and twice as Cython spells it. */
    #define evmcs_clean_fields_and(mask) (current_evmcs->hv_clean_fields &= (mask))
    #define evmcs_clean_fields_or(mask) (current_evmcs->hv_clean_fields |= (mask))
    """
    static_key_false enable_evmcs
    hv_enlightened_vmcs *current_evmcs
    enum:
        KVM_EVMCS_VERSION
    void evmcs_clean_fields_and(u32 mask) noexcept nogil
    void evmcs_clean_fields_or(u32 mask) noexcept nogil

cdef bint enlightened_vmcs = 1
if IS_ENABLED(CONFIG_HYPERV):
    module_add_param(&vmx_module, "enlightened_vmcs", &enlightened_vmcs, 1)


cdef inline void evmcs_write64(ulong field, u64 value) noexcept nogil:
    cdef u16 clean_field
    cdef int offset = get_evmcs_offset(field, &clean_field)

    if offset < 0:
        return

    (<u64 *>(<char *>current_evmcs + offset))[0] = value

    evmcs_clean_fields_and(~<u32>clean_field)


cdef inline void evmcs_write32(ulong field, u32 value) noexcept nogil:
    cdef u16 clean_field
    cdef int offset = get_evmcs_offset(field, &clean_field)

    if offset < 0:
        return

    (<u32 *>(<char *>current_evmcs + offset))[0] = value
    evmcs_clean_fields_and(~<u32>clean_field)


cdef inline void evmcs_write16(ulong field, u16 value) noexcept nogil:
    cdef u16 clean_field
    cdef int offset = get_evmcs_offset(field, &clean_field)

    if offset < 0:
        return

    (<u16 *>(<char *>current_evmcs + offset))[0] = value
    evmcs_clean_fields_and(~<u32>clean_field)


cdef inline u64 evmcs_read64(ulong field) noexcept nogil:
    cdef int offset = get_evmcs_offset(field, NULL)

    if offset < 0:
        return 0

    return (<u64 *>(<char *>current_evmcs + offset))[0]


cdef inline u32 evmcs_read32(ulong field) noexcept nogil:
    cdef int offset = get_evmcs_offset(field, NULL)

    if offset < 0:
        return 0

    return (<u32 *>(<char *>current_evmcs + offset))[0]


cdef inline u16 evmcs_read16(ulong field) noexcept nogil:
    cdef int offset = get_evmcs_offset(field, NULL)

    if offset < 0:
        return 0

    return (<u16 *>(<char *>current_evmcs + offset))[0]


cdef inline void evmcs_touch_msr_bitmap() noexcept nogil:
    if not IS_ENABLED(CONFIG_HYPERV):
        return
    if unlikely(not current_evmcs):
        return

    # The current VMCS, whoever's bitmap has changed (erratum: touch_current).
    if current_evmcs.hv_enlightenments_control.msr_bitmap:
        evmcs_clean_fields_and(~<u32>HV_VMX_ENLIGHTENED_CLEAN_FIELD_MSR_BITMAP)


cdef void evmcs_load(u64 phys_addr) noexcept nogil:
    cdef hv_vp_assist_page *vp_ap

    if not IS_ENABLED(CONFIG_HYPERV):
        return
    vp_ap = hv_get_vp_assist_page(smp_processor_id())

    vp_ap.current_nested_vmcs = phys_addr
    vp_ap.enlighten_vmentry = 1


cdef void evmcs_sanitize_exec_ctrls(vmcs_config_t *vmcs_conf) noexcept nogil:
    if not IS_ENABLED(CONFIG_HYPERV):
        return
    # Each control below needs a VMCS field that the enlightened VMCS, version 1, has no slot for:
    # POSTED_INTR_NV, POSTED_INTR_DESC_ADDR, GUEST_INTR_STATUS, EOI_EXIT_BITMAP0..3,
    # APIC_ACCESS_ADDR. ENCLS_EXITING_BITMAP is missing from the list (erratum: encls).
    vmcs_conf.pin_based_exec_ctrl &= ~<u32>PIN_BASED_POSTED_INTR
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_APIC_REGISTER_VIRT

    # GUEST_PML_INDEX, PML_ADDRESS
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_ENABLE_PML

    # VM_FUNCTION_CONTROL
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_ENABLE_VMFUNC

    # EPTP_LIST_ADDRESS, VMREAD_BITMAP, VMWRITE_BITMAP
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_SHADOW_VMCS

    # TSC_MULTIPLIER
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_TSC_SCALING

    # PLE_GAP, PLE_WINDOW
    vmcs_conf.cpu_based_2nd_exec_ctrl &= ~<u32>SECONDARY_EXEC_PAUSE_LOOP_EXITING

    # VMX_PREEMPTION_TIMER_VALUE
    vmcs_conf.pin_based_exec_ctrl &= ~<u32>PIN_BASED_VMX_PREEMPTION_TIMER

    # GUEST_IA32_PERF_GLOBAL_CTRL, HOST_IA32_PERF_GLOBAL_CTRL
    vmcs_conf.vmexit_ctrl &= ~<u32>VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL
    vmcs_conf.vmentry_ctrl &= ~<u32>VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL


cdef void check_ept_pointer_match(kvm_t *kvm) noexcept nogil:
    cdef kvm_vcpu_t *vcpu
    cdef u64 tmp_eptp = INVALID_PAGE
    cdef int i

    for i in range(kvm.online_vcpus):
        vcpu = kvm.vcpus[i]
        if not VALID_PAGE(tmp_eptp):
            tmp_eptp = to_vmx(vcpu).ept_pointer
        elif tmp_eptp != to_vmx(vcpu).ept_pointer:
            to_kvm_vmx(kvm).ept_pointers_match = EPT_POINTERS_MISMATCH
            return

    to_kvm_vmx(kvm).ept_pointers_match = EPT_POINTERS_MATCH


cdef int vmx_hv_remote_flush_tlb(kvm_t *kvm) noexcept nogil:
    cdef int ret

    spin_lock(&to_kvm_vmx(kvm).ept_pointer_lock)

    if to_kvm_vmx(kvm).ept_pointers_match == EPT_POINTERS_CHECK:
        check_ept_pointer_match(kvm)

    if to_kvm_vmx(kvm).ept_pointers_match != EPT_POINTERS_MATCH:
        ret = -ENOTSUPP
    # C~ goto out: what it jumps over stands in the else
    else:
        # The hypercall names an address space by the base of its EPT root, without the settings;
        # before the first entry there is none (erratum: flush_early).
        ret = hyperv_flush_guest_mapping(to_vmx(kvm.vcpus[0]).ept_pointer & PAGE_MASK)

    # C- the label: nothing jumps to it
    spin_unlock(&to_kvm_vmx(kvm).ept_pointer_lock)
    return ret


cdef inline bint is_exception_n(u32 intr_info, u8 vector) noexcept nogil:
    return ((intr_info & <u32>(INTR_INFO_INTR_TYPE_MASK | INTR_INFO_VECTOR_MASK
                               | INTR_INFO_VALID_MASK))
            == <u32>(INTR_TYPE_HARD_EXCEPTION | vector | INTR_INFO_VALID_MASK))


cdef inline bint is_page_fault(u32 intr_info) noexcept nogil:
    return is_exception_n(intr_info, PF_VECTOR)


cdef inline bint is_invalid_opcode(u32 intr_info) noexcept nogil:
    return is_exception_n(intr_info, UD_VECTOR)


cdef inline bint is_gp_fault(u32 intr_info) noexcept nogil:
    return is_exception_n(intr_info, GP_VECTOR)


cdef inline bint is_machine_check(u32 intr_info) noexcept nogil:
    return ((intr_info & <u32>(INTR_INFO_INTR_TYPE_MASK | INTR_INFO_VECTOR_MASK
                               | INTR_INFO_VALID_MASK))
            == <u32>(INTR_TYPE_HARD_EXCEPTION | MC_VECTOR | INTR_INFO_VALID_MASK))


cdef inline bint is_icebp(u32 intr_info) noexcept nogil:
    return ((intr_info & <u32>(INTR_INFO_INTR_TYPE_MASK | INTR_INFO_VALID_MASK))
            == <u32>(INTR_TYPE_PRIV_SW_EXCEPTION | INTR_INFO_VALID_MASK))


cdef bint vmx_umip_emulated() noexcept nogil:
    return vmcs_config.cpu_based_2nd_exec_ctrl & \
        SECONDARY_EXEC_DESC


cdef inline bint cpu_has_vmx_msr_bitmap() noexcept nogil:
    return (vmcs_config.cpu_based_exec_ctrl & CPU_BASED_USE_MSR_BITMAPS) != 0


cdef inline bint cpu_has_vmx_tpr_shadow() noexcept nogil:
    return (vmcs_config.cpu_based_exec_ctrl & CPU_BASED_TPR_SHADOW) != 0


cdef inline bint cpu_need_tpr_shadow(kvm_vcpu_t *vcpu) noexcept nogil:
    return cpu_has_vmx_tpr_shadow() and lapic_in_kernel(vcpu)


cdef inline bint cpu_has_secondary_exec_ctrls() noexcept nogil:
    return (vmcs_config.cpu_based_exec_ctrl & CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) != 0


cdef inline bint cpu_has_vmx_virtualize_apic_accesses() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES) != 0


cdef inline bint cpu_has_vmx_apic_register_virt() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_APIC_REGISTER_VIRT) != 0


cdef inline bint cpu_has_vmx_virtual_intr_delivery() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY) != 0


cdef inline bint cpu_has_vmx_encls_vmexit() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_ENCLS_EXITING) != 0

# Steppings of Nehalem whose preemption timer cannot be trusted.
cdef inline bint cpu_has_broken_vmx_preemption_timer() noexcept nogil:
    cdef u32 eax = cpuid_eax(0x00000001)

    # the reserved bits do not count
    # C- the index: no loop
    eax &= ~(<u32>0x3 << 14 | <u32>0xf << 28)
    # C~ the loop over vmx_preemption_cpu_tfms[]: its eight models, spelled out
    return (eax == 0x000206E6 or eax == 0x00020652 or eax == 0x00020655 or eax == 0x000106E5
            or eax == 0x000106A0 or eax == 0x000106A1 or eax == 0x000106A4 or eax == 0x000106A5)


cdef inline bint cpu_has_vmx_preemption_timer() noexcept nogil:
    return (vmcs_config.pin_based_exec_ctrl & PIN_BASED_VMX_PREEMPTION_TIMER) != 0


cdef inline bint cpu_has_vmx_posted_intr() noexcept nogil:
    return (vmcs_config.pin_based_exec_ctrl & PIN_BASED_POSTED_INTR) != 0


cdef inline bint cpu_has_vmx_apicv() noexcept nogil:
    return (cpu_has_vmx_apic_register_virt()
            and cpu_has_vmx_virtual_intr_delivery()
            and cpu_has_vmx_posted_intr())


cdef inline bint cpu_has_vmx_flexpriority() noexcept nogil:
    return cpu_has_vmx_tpr_shadow() and cpu_has_vmx_virtualize_apic_accesses()


cdef inline bint cpu_has_vmx_ept_4levels() noexcept nogil:
    return (vmx_capability.ept & VMX_EPT_PAGE_WALK_4_BIT) != 0


cdef inline bint cpu_has_vmx_ept_mt_wb() noexcept nogil:
    return (vmx_capability.ept & VMX_EPTP_WB_BIT) != 0


cdef inline bint cpu_has_vmx_ept_5levels() noexcept nogil:
    return (vmx_capability.ept & VMX_EPT_PAGE_WALK_5_BIT) != 0


cdef inline bint cpu_has_vmx_ept_ad_bits() noexcept nogil:
    return (vmx_capability.ept & VMX_EPT_AD_BIT) != 0


cdef inline bint cpu_has_vmx_invept_context() noexcept nogil:
    return (vmx_capability.ept & VMX_EPT_EXTENT_CONTEXT_BIT) != 0


cdef inline bint cpu_has_vmx_invept_global() noexcept nogil:
    return (vmx_capability.ept & VMX_EPT_EXTENT_GLOBAL_BIT) != 0


cdef inline bint cpu_has_vmx_invvpid_individual_addr() noexcept nogil:
    return (vmx_capability.vpid & VMX_VPID_EXTENT_INDIVIDUAL_ADDR_BIT) != 0


cdef inline bint cpu_has_vmx_invvpid_single() noexcept nogil:
    return (vmx_capability.vpid & VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT) != 0


cdef inline bint cpu_has_vmx_invvpid_global() noexcept nogil:
    return (vmx_capability.vpid & VMX_VPID_EXTENT_GLOBAL_CONTEXT_BIT) != 0


cdef inline bint cpu_has_vmx_invvpid() noexcept nogil:
    return (vmx_capability.vpid & VMX_VPID_INVVPID_BIT) != 0


cdef inline bint cpu_has_vmx_ept() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_ENABLE_EPT) != 0


cdef inline bint cpu_has_vmx_unrestricted_guest() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_UNRESTRICTED_GUEST) != 0


cdef inline bint cpu_has_vmx_ple() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_PAUSE_LOOP_EXITING) != 0


cdef inline bint cpu_need_virtualize_apic_accesses(kvm_vcpu_t *vcpu) noexcept nogil:
    return flexpriority_enabled and lapic_in_kernel(vcpu)


cdef inline bint cpu_has_vmx_vpid() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_ENABLE_VPID) != 0


cdef inline bint cpu_has_vmx_rdtscp() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_RDTSCP) != 0


cdef inline bint cpu_has_vmx_invpcid() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_ENABLE_INVPCID) != 0


cdef inline bint cpu_has_virtual_nmis() noexcept nogil:
    return (vmcs_config.pin_based_exec_ctrl & PIN_BASED_VIRTUAL_NMIS) != 0


cdef inline bint cpu_has_vmx_shadow_vmcs() noexcept nogil:
    cdef u64 vmx_msr
    rdmsrl(MSR_IA32_VMX_MISC, &vmx_msr)
    # a shadow VMCS is of use only where VMWRITE reaches every field
    if not (vmx_msr & MSR_IA32_VMX_MISC_VMWRITE_SHADOW_RO_FIELDS):
        return False

    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_SHADOW_VMCS) != 0


cdef inline bint cpu_has_vmx_pml() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_ENABLE_PML) != 0


cdef inline bint cpu_has_vmx_tsc_scaling() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_TSC_SCALING) != 0


cdef inline bint cpu_has_vmx_vmfunc() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_ENABLE_VMFUNC) != 0


cdef inline bint is_nmi(u32 intr_info) noexcept nogil:
    return ((intr_info & <u32>(INTR_INFO_INTR_TYPE_MASK | INTR_INFO_VALID_MASK))
            == <u32>(INTR_TYPE_NMI_INTR | INTR_INFO_VALID_MASK))


cdef inline bint kvm_vcpu_apicv_active(kvm_vcpu_t *vcpu) noexcept nogil:
    # C~ the APIC: none, so the flag alone
    return vcpu.arch.apicv_active


cdef int __find_msr_index(vcpu_vmx *vmx, u32 msr) noexcept nogil:
    cdef int i

    for i in range(vmx.nmsrs):
        if vmx_msr_index[vmx.guest_msrs[i].index] == msr:
            return i
    return -1


cdef inline void __invvpid(int ext, u16 vpid, gva_t gva) noexcept nogil:
    # C- the operand in memory: the wrapper of the instruction builds it
    cdef bint error

    # C~ the instruction: a function of asm/vmx_insn.h
    error = asm_invvpid(ext, vpid, gva)
    BUG_ON(error)


cdef inline void __invept(int ext, u64 eptp, gpa_t gpa) noexcept nogil:
    # C- the operand in memory: the wrapper of the instruction builds it
    cdef bint error

    # C~ the instruction: a function of asm/vmx_insn.h
    error = asm_invept(ext, eptp, gpa)
    BUG_ON(error)


cdef shared_msr_entry *find_msr_entry(vcpu_vmx *vmx, u32 msr) noexcept nogil:
    cdef int i

    i = __find_msr_index(vmx, msr)
    if i >= 0:
        return &vmx.guest_msrs[i]
    return NULL


cdef void vmcs_clear(vmcs_t *vmcs) noexcept nogil:
    cdef u64 phys_addr = __pa(vmcs)
    cdef bint error

    error = asm_vmclear(&phys_addr)
    if unlikely(error):
        pr_err("kvm: vmclear fail: %p/%llx\n", vmcs, phys_addr)


cdef inline void loaded_vmcs_init(loaded_vmcs_t *loaded_vmcs) noexcept nogil:
    vmcs_clear(loaded_vmcs.vmcs)
    if loaded_vmcs.shadow_vmcs and loaded_vmcs.launched:
        vmcs_clear(loaded_vmcs.shadow_vmcs)
    loaded_vmcs.cpu = -1
    loaded_vmcs.launched = 0


cdef void vmcs_load(vmcs_t *vmcs) noexcept nogil:
    cdef u64 phys_addr = __pa(vmcs)
    cdef bint error

    if static_branch_unlikely(&enable_evmcs):
        evmcs_load(phys_addr)
        return

    error = asm_vmptrld(&phys_addr)
    if unlikely(error):
        pr_err("kvm: vmptrld %p/%llx failed\n", vmcs, phys_addr)


# On which CPUs a crash kernel may walk the loaded VMCSs: not where the list is changing.
cdef cpumask_t crash_vmclear_enabled_bitmap


cdef inline void crash_enable_local_vmclear(int cpu) noexcept nogil:
    cpumask_set_cpu(cpu, &crash_vmclear_enabled_bitmap)


cdef inline void crash_disable_local_vmclear(int cpu) noexcept nogil:
    cpumask_clear_cpu(cpu, &crash_vmclear_enabled_bitmap)


cdef inline int crash_local_vmclear_enabled(int cpu) noexcept nogil:
    return cpumask_test_cpu(cpu, &crash_vmclear_enabled_bitmap)


cdef void crash_vmclear_local_loaded_vmcss() noexcept nogil:
    cdef int cpu = raw_smp_processor_id()
    cdef loaded_vmcs_t *v

    if not crash_local_vmclear_enabled(cpu):
        return

    v = NULL
    while loaded_vmcs_on_cpu_next(&v, per_cpu_list(loaded_vmcss_on_cpu, cpu)):
        vmcs_clear(v.vmcs)


cdef void __loaded_vmcs_clear(void *arg) noexcept nogil:
    cdef loaded_vmcs_t *loaded_vmcs = <loaded_vmcs_t *>arg
    cdef int cpu = raw_smp_processor_id()

    if loaded_vmcs.cpu != cpu:
        return  # a migration may race with the CPU going offline
    # This CPU's assist page keeps pointing at the VMCS (erratum: two_pages).
    if per_cpu_ptr(current_vmcs, cpu)[0] == loaded_vmcs.vmcs:
        per_cpu_ptr(current_vmcs, cpu)[0] = NULL
    crash_disable_local_vmclear(cpu)
    list_del(&loaded_vmcs.loaded_vmcss_on_cpu_link)

    # Off this CPU's list before cpu reads -1: whoever sees -1 may put it on another list.
    smp_wmb()

    loaded_vmcs_init(loaded_vmcs)
    crash_enable_local_vmclear(cpu)


cdef void loaded_vmcs_clear(loaded_vmcs_t *loaded_vmcs) noexcept nogil:
    cdef int cpu = loaded_vmcs.cpu

    if cpu != -1:
        smp_call_function_single(cpu, __loaded_vmcs_clear, loaded_vmcs, 1)


cdef inline bint vpid_sync_vcpu_addr(int vpid, gva_t addr) noexcept nogil:
    if vpid == 0:
        return True

    if cpu_has_vmx_invvpid_individual_addr():
        __invvpid(VMX_VPID_EXTENT_INDIVIDUAL_ADDR, vpid, addr)
        return True

    return False


cdef inline void vpid_sync_vcpu_single(int vpid) noexcept nogil:
    if vpid == 0:
        return

    if cpu_has_vmx_invvpid_single():
        __invvpid(VMX_VPID_EXTENT_SINGLE_CONTEXT, vpid, 0)


cdef inline void vpid_sync_vcpu_global() noexcept nogil:
    if cpu_has_vmx_invvpid_global():
        __invvpid(VMX_VPID_EXTENT_ALL_CONTEXT, 0, 0)


cdef inline void vpid_sync_context(int vpid) noexcept nogil:
    if cpu_has_vmx_invvpid_single():
        vpid_sync_vcpu_single(vpid)
    else:
        vpid_sync_vcpu_global()


cdef inline void ept_sync_global() noexcept nogil:
    __invept(VMX_EPT_EXTENT_GLOBAL, 0, 0)


cdef inline void ept_sync_context(u64 eptp) noexcept nogil:
    if cpu_has_vmx_invept_context():
        __invept(VMX_EPT_EXTENT_CONTEXT, eptp, 0)
    else:
        ept_sync_global()


cdef inline void vmcs_check16(ulong field) noexcept nogil:
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6001) == 0x2000))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6001) == 0x2001))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x4000))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x6000))


cdef inline void vmcs_check32(ulong field) noexcept nogil:
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x6000))


cdef inline void vmcs_check64(ulong field) noexcept nogil:
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6001) == 0x2001))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x4000))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x6000))


cdef inline void vmcs_checkl(ulong field) noexcept nogil:
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6001) == 0x2000))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6001) == 0x2001))
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x4000))


cdef inline ulong __vmcs_readl(ulong field) noexcept nogil:
    cdef ulong value

    value = asm_vmread(field)
    return value


cdef inline u16 vmcs_read16(ulong field) noexcept nogil:
    vmcs_check16(field)
    if static_branch_unlikely(&enable_evmcs):
        return evmcs_read16(field)
    return __vmcs_readl(field)


cdef inline u32 vmcs_read32(ulong field) noexcept nogil:
    vmcs_check32(field)
    if static_branch_unlikely(&enable_evmcs):
        return evmcs_read32(field)
    return <u32>__vmcs_readl(field)


cdef inline u64 vmcs_read64(ulong field) noexcept nogil:
    vmcs_check64(field)
    if static_branch_unlikely(&enable_evmcs):
        return evmcs_read64(field)
    return __vmcs_readl(field)


cdef inline ulong vmcs_readl(ulong field) noexcept nogil:
    vmcs_checkl(field)
    if static_branch_unlikely(&enable_evmcs):
        return evmcs_read64(field)
    return __vmcs_readl(field)


cdef noinline_void vmwrite_error(ulong field, ulong value) noexcept nogil:
    pr_err("vmwrite error: reg %lx value %lx (err %d)\n", field, value, vmcs_read32(VM_INSTRUCTION_ERROR))
    dump_stack()


cdef inline void __vmcs_writel(ulong field, ulong value) noexcept nogil:
    cdef bint error

    error = asm_vmwrite(field, value)
    if unlikely(error):
        vmwrite_error(field, value)


cdef inline void vmcs_write16(ulong field, u16 value) noexcept nogil:
    vmcs_check16(field)
    if static_branch_unlikely(&enable_evmcs):
        evmcs_write16(field, value)
        return

    __vmcs_writel(field, value)


cdef inline void vmcs_write32(ulong field, u32 value) noexcept nogil:
    vmcs_check32(field)
    if static_branch_unlikely(&enable_evmcs):
        evmcs_write32(field, value)
        return

    __vmcs_writel(field, value)


cdef inline void vmcs_write64(ulong field, u64 value) noexcept nogil:
    vmcs_check64(field)
    if static_branch_unlikely(&enable_evmcs):
        evmcs_write64(field, value)
        return

    __vmcs_writel(field, value)


cdef inline void vmcs_writel(ulong field, ulong value) noexcept nogil:
    vmcs_checkl(field)
    if static_branch_unlikely(&enable_evmcs):
        evmcs_write64(field, value)
        return

    __vmcs_writel(field, value)


cdef inline void vmcs_clear_bits(ulong field, u32 mask) noexcept nogil:
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x2000))
    if static_branch_unlikely(&enable_evmcs):
        evmcs_write32(field, evmcs_read32(field) & ~mask)
        return

    __vmcs_writel(field, __vmcs_readl(field) & ~mask)


cdef inline void vmcs_set_bits(ulong field, u32 mask) noexcept nogil:
    BUILD_BUG_ON(__builtin_constant_p(field) & ((field & 0x6000) == 0x2000))
    if static_branch_unlikely(&enable_evmcs):
        evmcs_write32(field, evmcs_read32(field) | mask)
        return

    __vmcs_writel(field, __vmcs_readl(field) | mask)


cdef inline void vm_entry_controls_reset_shadow(vcpu_vmx *vmx) noexcept nogil:
    vmx.vm_entry_controls_shadow = vmcs_read32(VM_ENTRY_CONTROLS)


cdef inline void vm_entry_controls_init(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vmcs_write32(VM_ENTRY_CONTROLS, val)
    vmx.vm_entry_controls_shadow = val


cdef inline void vm_entry_controls_set(vcpu_vmx *vmx, u32 val) noexcept nogil:
    if vmx.vm_entry_controls_shadow != val:
        vm_entry_controls_init(vmx, val)


cdef inline u32 vm_entry_controls_get(vcpu_vmx *vmx) noexcept nogil:
    return vmx.vm_entry_controls_shadow


cdef inline void vm_entry_controls_setbit(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vm_entry_controls_set(vmx, vm_entry_controls_get(vmx) | val)


cdef inline void vm_entry_controls_clearbit(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vm_entry_controls_set(vmx, vm_entry_controls_get(vmx) & ~val)


cdef inline void vm_exit_controls_reset_shadow(vcpu_vmx *vmx) noexcept nogil:
    vmx.vm_exit_controls_shadow = vmcs_read32(VM_EXIT_CONTROLS)


cdef inline void vm_exit_controls_init(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vmcs_write32(VM_EXIT_CONTROLS, val)
    vmx.vm_exit_controls_shadow = val


cdef inline void vm_exit_controls_set(vcpu_vmx *vmx, u32 val) noexcept nogil:
    if vmx.vm_exit_controls_shadow != val:
        vm_exit_controls_init(vmx, val)


cdef inline u32 vm_exit_controls_get(vcpu_vmx *vmx) noexcept nogil:
    return vmx.vm_exit_controls_shadow


cdef inline void vm_exit_controls_setbit(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vm_exit_controls_set(vmx, vm_exit_controls_get(vmx) | val)


cdef inline void vm_exit_controls_clearbit(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vm_exit_controls_set(vmx, vm_exit_controls_get(vmx) & ~val)


cdef void vmx_segment_cache_clear(vcpu_vmx *vmx) noexcept nogil:
    vmx.segment_cache.bitmask = 0


cdef bint vmx_segment_cache_test_set(vcpu_vmx *vmx, unsigned int seg, unsigned int field) noexcept nogil:
    cdef bint ret
    cdef u32 mask = <u32>1 << (seg * SEG_FIELD_NR + field)

    if not (vmx.vcpu.arch.regs_avail & (<u32>1 << VCPU_EXREG_SEGMENTS)):
        vmx.vcpu.arch.regs_avail |= (<u32>1 << VCPU_EXREG_SEGMENTS)
        vmx.segment_cache.bitmask = 0
    ret = (vmx.segment_cache.bitmask & mask) != 0
    vmx.segment_cache.bitmask |= mask
    return ret


cdef u16 vmx_read_guest_seg_selector(vcpu_vmx *vmx, unsigned int seg) noexcept nogil:
    cdef u16 *p = &vmx.segment_cache.seg[seg].selector

    if not vmx_segment_cache_test_set(vmx, seg, SEG_FIELD_SEL):
        p[0] = vmcs_read16(kvm_vmx_segment_fields[seg].selector)
    return p[0]


cdef ulong vmx_read_guest_seg_base(vcpu_vmx *vmx, unsigned int seg) noexcept nogil:
    cdef ulong *p = &vmx.segment_cache.seg[seg].base

    if not vmx_segment_cache_test_set(vmx, seg, SEG_FIELD_BASE):
        p[0] = vmcs_readl(kvm_vmx_segment_fields[seg].base)
    return p[0]


cdef u32 vmx_read_guest_seg_limit(vcpu_vmx *vmx, unsigned int seg) noexcept nogil:
    cdef u32 *p = &vmx.segment_cache.seg[seg].limit

    if not vmx_segment_cache_test_set(vmx, seg, SEG_FIELD_LIMIT):
        p[0] = vmcs_read32(kvm_vmx_segment_fields[seg].limit)
    return p[0]


cdef u32 vmx_read_guest_seg_ar(vcpu_vmx *vmx, unsigned int seg) noexcept nogil:
    cdef u32 *p = &vmx.segment_cache.seg[seg].ar

    if not vmx_segment_cache_test_set(vmx, seg, SEG_FIELD_AR):
        p[0] = vmcs_read32(kvm_vmx_segment_fields[seg].ar_bytes)
    return p[0]


cdef void update_exception_bitmap(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u32 eb

    eb = (<u32>1 << PF_VECTOR) | (<u32>1 << UD_VECTOR) | (<u32>1 << MC_VECTOR) | \
         (<u32>1 << DB_VECTOR) | (<u32>1 << AC_VECTOR)
    # C- the VMware backdoor: it is never enabled
    if (vcpu.guest_debug & (KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP)) == \
            (KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP):
        eb |= <u32>1 << BP_VECTOR
    if to_vmx(vcpu).rmode.vm86_active:
        eb = ~<u32>0
    if enable_ept:
        eb &= ~(<u32>1 << PF_VECTOR)  # the guest takes its own page faults

    # C- the bitmap of L1's own L1: no nested VMX
    vmcs_write32(EXCEPTION_BITMAP, eb)


cdef bint msr_write_intercepted(kvm_vcpu_t *vcpu, u32 msr) noexcept nogil:
    cdef ulong *msr_bitmap
    cdef int f = sizeof(ulong)

    if not cpu_has_vmx_msr_bitmap():
        return True

    msr_bitmap = to_vmx(vcpu).loaded_vmcs.msr_bitmap

    if msr <= 0x1fff:
        return test_bit(msr, msr_bitmap + 0x800 // f)
    elif (msr >= <u32>0xc0000000) and (msr <= <u32>0xc0001fff):
        msr &= 0x1fff
        return test_bit(msr, msr_bitmap + 0xc00 // f)

    return True


cdef bint msr_write_intercepted_l01(kvm_vcpu_t *vcpu, u32 msr) noexcept nogil:
    cdef ulong *msr_bitmap
    cdef int f = sizeof(ulong)

    if not cpu_has_vmx_msr_bitmap():
        return True

    msr_bitmap = to_vmx(vcpu).vmcs01.msr_bitmap

    if msr <= 0x1fff:
        return test_bit(msr, msr_bitmap + 0x800 // f)
    elif (msr >= <u32>0xc0000000) and (msr <= <u32>0xc0001fff):
        msr &= 0x1fff
        return test_bit(msr, msr_bitmap + 0xc00 // f)

    return True


cdef void clear_atomic_switch_msr_special(vcpu_vmx *vmx, ulong entry, ulong exit) noexcept nogil:
    vm_entry_controls_clearbit(vmx, entry)
    vm_exit_controls_clearbit(vmx, exit)


cdef int find_msr(vmx_msrs *m, unsigned int msr) noexcept nogil:
    cdef unsigned int i

    for i in range(m.nr):
        if m.val[i].index == msr:
            return i
    return -ENOENT


cdef void clear_atomic_switch_msr(vcpu_vmx *vmx, unsigned int msr) noexcept nogil:
    cdef int i
    cdef msr_autoload_t *m = &vmx.msr_autoload

    if msr == <u32>MSR_EFER:
        if cpu_has_load_ia32_efer:
            clear_atomic_switch_msr_special(vmx, VM_ENTRY_LOAD_IA32_EFER, VM_EXIT_LOAD_IA32_EFER)
            return
    elif msr == MSR_CORE_PERF_GLOBAL_CTRL:
        if cpu_has_load_perf_global_ctrl:
            clear_atomic_switch_msr_special(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL,
                                            VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL)
            return
    i = find_msr(&m.guest, msr)
    # C~ goto skip_guest: what it jumps over is the block
    if i >= 0:
        m.guest.nr -= 1
        m.guest.val[i] = m.guest.val[m.guest.nr]
        vmcs_write32(VM_ENTRY_MSR_LOAD_COUNT, m.guest.nr)

    # C- the label: nothing jumps to it
    i = find_msr(&m.host, msr)
    if i < 0:
        return

    m.host.nr -= 1
    m.host.val[i] = m.host.val[m.host.nr]
    vmcs_write32(VM_EXIT_MSR_LOAD_COUNT, m.host.nr)


cdef void add_atomic_switch_msr_special(vcpu_vmx *vmx, ulong entry, ulong exit,
                                        ulong guest_val_vmcs, ulong host_val_vmcs,
                                        u64 guest_val, u64 host_val) noexcept nogil:
    vmcs_write64(guest_val_vmcs, guest_val)
    vmcs_write64(host_val_vmcs, host_val)
    vm_entry_controls_setbit(vmx, entry)
    vm_exit_controls_setbit(vmx, exit)


cdef void add_atomic_switch_msr(vcpu_vmx *vmx, unsigned int msr, u64 guest_val, u64 host_val,
                                bint entry_only) noexcept nogil:
    cdef int i, j = 0
    cdef msr_autoload_t *m = &vmx.msr_autoload

    if msr == <u32>MSR_EFER:
        if cpu_has_load_ia32_efer:
            add_atomic_switch_msr_special(vmx, VM_ENTRY_LOAD_IA32_EFER, VM_EXIT_LOAD_IA32_EFER,
                                          GUEST_IA32_EFER, HOST_IA32_EFER, guest_val, host_val)
            return
    elif msr == MSR_CORE_PERF_GLOBAL_CTRL:
        # Asked of the MSRs, not of the sanitised config; under eVMCS both fields are holes
        # (erratum: perf_global_ctrl).
        if cpu_has_load_perf_global_ctrl:
            add_atomic_switch_msr_special(vmx, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL,
                                          VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL,
                                          GUEST_IA32_PERF_GLOBAL_CTRL,
                                          HOST_IA32_PERF_GLOBAL_CTRL, guest_val, host_val)
            return
    elif msr == MSR_IA32_PEBS_ENABLE:
        # PEBS wants a quiet moment after it is disabled; an MSR list gives none.
        wrmsrl(MSR_IA32_PEBS_ENABLE, 0)

    i = find_msr(&m.guest, msr)
    if not entry_only:
        j = find_msr(&m.host, msr)

    if i == NR_AUTOLOAD_MSRS or j == NR_AUTOLOAD_MSRS:
        pr_warn_once("Not enough msr switch entries. Can't add msr %x\n", msr)
        return
    if i < 0:
        i = m.guest.nr
        m.guest.nr += 1
        vmcs_write32(VM_ENTRY_MSR_LOAD_COUNT, m.guest.nr)
    m.guest.val[i].index = msr
    m.guest.val[i].value = guest_val

    if entry_only:
        return

    if j < 0:
        j = m.host.nr
        m.host.nr += 1
        vmcs_write32(VM_EXIT_MSR_LOAD_COUNT, m.host.nr)
    m.host.val[j].index = msr
    m.host.val[j].value = host_val


cdef bint update_transition_efer(vcpu_vmx *vmx, int efer_offset) noexcept nogil:
    cdef u64 guest_efer = vmx.vcpu.arch.efer
    cdef u64 ignore_bits = 0

    if not enable_ept:
        if boot_cpu_has(X86_FEATURE_SMEP):
            guest_efer |= EFER_NX
        elif not (guest_efer & EFER_NX):
            ignore_bits |= EFER_NX

    # LMA and LME are the processor's business; SCE means nothing outside long mode.
    ignore_bits |= EFER_SCE
    ignore_bits |= EFER_LMA | EFER_LME
    if guest_efer & EFER_LMA:
        ignore_bits &= ~<u64>EFER_SCE

    clear_atomic_switch_msr(vmx, MSR_EFER)

    # With EPT there is no emulating NX, so EFER must change in the same instant as the guest.
    if cpu_has_load_ia32_efer or \
            (enable_ept and ((vmx.vcpu.arch.efer ^ host_efer) & EFER_NX)):
        if not (guest_efer & EFER_LMA):
            guest_efer &= ~<u64>EFER_LME
        if guest_efer != host_efer:
            add_atomic_switch_msr(vmx, MSR_EFER, guest_efer, host_efer, False)
        return False
    else:
        guest_efer &= ~ignore_bits
        guest_efer |= host_efer & ignore_bits

        vmx.guest_msrs[efer_offset].data = guest_efer
        vmx.guest_msrs[efer_offset].mask = ~ignore_bits

        return True


cdef void vmx_prepare_switch_to_guest(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef vmcs_host_state *host_state
    cdef int cpu = raw_smp_processor_id()
    cdef ulong fs_base, gs_base
    cdef u16 fs_sel, gs_sel
    cdef int i

    vmx.req_immediate_exit = False

    if vmx.loaded_cpu_state:
        return

    vmx.loaded_cpu_state = vmx.loaded_vmcs
    host_state = &vmx.loaded_cpu_state.host_state

    # Entry refuses host selectors with an RPL or TI bit; user space here has null ones.
    # C~ the host's LDT, DS and ES: null selectors
    host_state.ldt_sel = 0
    host_state.ds_sel = 0
    host_state.es_sel = 0

    gs_base = cpu_kernelmode_gs_base(cpu)
    # C~ the host's FS and GS: null selectors, their bases kept with the task
    fs_sel = 0
    gs_sel = 0
    fs_base = current.fsbase
    vmx.msr_host_kernel_gs_base = current.gsbase

    wrmsrl(MSR_KERNEL_GS_BASE, vmx.msr_guest_kernel_gs_base)

    if unlikely(fs_sel != host_state.fs_sel):
        if not (fs_sel & 7):
            vmcs_write16(HOST_FS_SELECTOR, fs_sel)
        else:
            vmcs_write16(HOST_FS_SELECTOR, 0)
        host_state.fs_sel = fs_sel
    if unlikely(gs_sel != host_state.gs_sel):
        if not (gs_sel & 7):
            vmcs_write16(HOST_GS_SELECTOR, gs_sel)
        else:
            vmcs_write16(HOST_GS_SELECTOR, 0)
        host_state.gs_sel = gs_sel
    if unlikely(fs_base != host_state.fs_base):
        vmcs_writel(HOST_FS_BASE, fs_base)
        host_state.fs_base = fs_base
    if unlikely(gs_base != host_state.gs_base):
        vmcs_writel(HOST_GS_BASE, gs_base)
        host_state.gs_base = gs_base

    for i in range(vmx.save_nmsrs):
        kvm_set_shared_msr(vmx.guest_msrs[i].index,
                           vmx.guest_msrs[i].data,
                           vmx.guest_msrs[i].mask)


cdef void vmx_prepare_switch_to_host(vcpu_vmx *vmx) noexcept nogil:
    # C- host_state: what it serves is left out
    if not vmx.loaded_cpu_state:
        return

    WARN_ON_ONCE(vmx.loaded_cpu_state != vmx.loaded_vmcs)

    # C- host_state: what it serves is left out
    vmx.vcpu.stat.host_state_reload += 1
    vmx.loaded_cpu_state = NULL

    rdmsrl(MSR_KERNEL_GS_BASE, &vmx.msr_guest_kernel_gs_base)
    # C- 14 statements: loads of ldt, gs, fs, ds, es, the TSS limit: the selectors are null on both
    # sides, and no TSS holds an I/O bitmap
    wrmsrl(MSR_KERNEL_GS_BASE, vmx.msr_host_kernel_gs_base)
    # C- load_fixmap_gdt(): the GDT of a CPU is never moved


cdef u64 vmx_read_guest_kernel_gs_base(vcpu_vmx *vmx) noexcept nogil:
    preempt_disable()
    if vmx.loaded_cpu_state:
        rdmsrl(MSR_KERNEL_GS_BASE, &vmx.msr_guest_kernel_gs_base)
    preempt_enable()
    return vmx.msr_guest_kernel_gs_base


cdef void vmx_write_guest_kernel_gs_base(vcpu_vmx *vmx, u64 data) noexcept nogil:
    preempt_disable()
    if vmx.loaded_cpu_state:
        wrmsrl(MSR_KERNEL_GS_BASE, data)
    preempt_enable()
    vmx.msr_guest_kernel_gs_base = data


cdef void decache_tsc_multiplier(vcpu_vmx *vmx) noexcept nogil:
    vmx.current_tsc_ratio = vmx.vcpu.arch.tsc_scaling_ratio
    vmcs_write64(TSC_MULTIPLIER, vmx.current_tsc_ratio)


cdef void vmx_vcpu_load(kvm_vcpu_t *vcpu, int cpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef bint already_loaded = vmx.loaded_vmcs.cpu == cpu
    cdef void *gdt
    cdef ulong sysenter_esp

    if not already_loaded:
        loaded_vmcs_clear(vmx.loaded_vmcs)
        local_irq_disable()
        crash_disable_local_vmclear(cpu)

        # Pairs with the barrier of __loaded_vmcs_clear(): cpu was read before the link is.
        smp_rmb()

        # C+ v4.19 follows a null pointer here where hardware_enable() has failed: an oops too
        BUG_ON(not per_cpu_list(loaded_vmcss_on_cpu, cpu).next)
        list_add(&vmx.loaded_vmcs.loaded_vmcss_on_cpu_link,
                 per_cpu_list(loaded_vmcss_on_cpu, cpu))
        crash_enable_local_vmclear(cpu)
        local_irq_enable()

    if per_cpu_ptr(current_vmcs, cpu)[0] != vmx.loaded_vmcs.vmcs:
        per_cpu_ptr(current_vmcs, cpu)[0] = vmx.loaded_vmcs.vmcs
        vmcs_load(vmx.loaded_vmcs.vmcs)
        # C- indirect_branch_prediction_barrier(): mitigations are off, as with nospectre_v2

    if not already_loaded:
        gdt = get_current_gdt_ro()

        kvm_make_request(KVM_REQ_TLB_FLUSH, vcpu)

        # TSS and GDT are per CPU, so the host fields follow the vCPU around.
        # C~ the TSS: its address from a helper
        vmcs_writel(HOST_TR_BASE, get_cpu_entry_area_tss(cpu))
        vmcs_writel(HOST_GDTR_BASE, <ulong>gdt)
        # C- BUILD_BUG_ON(): no TSS holds an I/O bitmap

        rdmsrl(MSR_IA32_SYSENTER_ESP, <u64 *>&sysenter_esp)
        vmcs_writel(HOST_IA32_SYSENTER_ESP, sysenter_esp)

        vmx.loaded_vmcs.cpu = cpu

    if kvm_has_tsc_control and \
            vmx.current_tsc_ratio != vcpu.arch.tsc_scaling_ratio:
        decache_tsc_multiplier(vmx)

    # C- vmx_vcpu_pi_load(vcpu, cpu): out of scope, posted interrupts
    # C- vmx->host_pkru = read_pkru(): the processor has no protection keys
    vmx.host_debugctlmsr = get_debugctlmsr()


cdef void vmx_vcpu_put(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- vmx_vcpu_pi_put(vcpu): out of scope, posted interrupts

    vmx_prepare_switch_to_host(to_vmx(vcpu))


cdef bint emulation_required(kvm_vcpu_t *vcpu) noexcept nogil:
    return emulate_invalid_guest_state and not guest_state_valid(vcpu)


cdef ulong vmx_get_rflags(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong rflags

    # C- save_rflags: a guest in real mode runs unrestricted
    if not (vcpu.arch.regs_avail & (<u32>1 << VCPU_EXREG_RFLAGS)):
        vcpu.arch.regs_avail |= <u32>1 << VCPU_EXREG_RFLAGS
        rflags = vmcs_readl(GUEST_RFLAGS)
        # C- 4 statements: the rmode.vm86_active fixups: a guest in real mode runs unrestricted
        to_vmx(vcpu).rflags = rflags
    return to_vmx(vcpu).rflags


cdef void vmx_set_rflags(kvm_vcpu_t *vcpu, ulong rflags) noexcept nogil:
    cdef ulong old_rflags = vmx_get_rflags(vcpu)

    vcpu.arch.regs_avail |= <u32>1 << VCPU_EXREG_RFLAGS
    to_vmx(vcpu).rflags = rflags
    # C- the rmode.vm86_active fixups: a guest in real mode runs unrestricted
    vmcs_writel(GUEST_RFLAGS, rflags)

    if (old_rflags ^ to_vmx(vcpu).rflags) & X86_EFLAGS_VM:
        to_vmx(vcpu).emulation_required = emulation_required(vcpu)


cdef u32 vmx_get_interrupt_shadow(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u32 interruptibility = vmcs_read32(GUEST_INTERRUPTIBILITY_INFO)
    cdef int ret = 0

    if interruptibility & GUEST_INTR_STATE_STI:
        ret |= KVM_X86_SHADOW_INT_STI
    if interruptibility & GUEST_INTR_STATE_MOV_SS:
        ret |= KVM_X86_SHADOW_INT_MOV_SS

    return ret


cdef void vmx_set_interrupt_shadow(kvm_vcpu_t *vcpu, int mask) noexcept nogil:
    cdef u32 interruptibility_old = vmcs_read32(GUEST_INTERRUPTIBILITY_INFO)
    cdef u32 interruptibility = interruptibility_old

    interruptibility &= ~<u32>(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

    if mask & KVM_X86_SHADOW_INT_MOV_SS:
        interruptibility |= GUEST_INTR_STATE_MOV_SS
    elif mask & KVM_X86_SHADOW_INT_STI:
        interruptibility |= GUEST_INTR_STATE_STI

    if interruptibility != interruptibility_old:
        vmcs_write32(GUEST_INTERRUPTIBILITY_INFO, interruptibility)


cdef void skip_emulated_instruction(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong rip

    rip = kvm_rip_read(vcpu)
    rip += vmcs_read32(VM_EXIT_INSTRUCTION_LEN)
    kvm_rip_write(vcpu, rip)

    # going past an instruction ends the shadow too
    vmx_set_interrupt_shadow(vcpu, 0)


cdef void vmx_clear_hlt(kvm_vcpu_t *vcpu) noexcept nogil:
    # With HLT left to the guest, a halted guest has its RIP behind the HLT already.
    if kvm_hlt_in_guest(vcpu.kvm) and \
            vmcs_read32(GUEST_ACTIVITY_STATE) == GUEST_ACTIVITY_HLT:
        vmcs_write32(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE)


cdef void vmx_queue_exception(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef unsigned int nr = vcpu.arch.exception.nr
    cdef bint has_error_code = vcpu.arch.exception.has_error_code
    cdef u32 error_code = vcpu.arch.exception.error_code
    cdef u32 intr_info = nr | <u32>INTR_INFO_VALID_MASK

    if has_error_code:
        vmcs_write32(VM_ENTRY_EXCEPTION_ERROR_CODE, error_code)
        intr_info |= INTR_INFO_DELIVER_CODE_MASK

    # C- 8 statements: injection in virtual-8086 mode: a guest in real mode runs unrestricted
    WARN_ON_ONCE(vmx.emulation_required)

    if kvm_exception_is_soft(nr):
        vmcs_write32(VM_ENTRY_INSTRUCTION_LEN, vmx.vcpu.arch.event_exit_inst_len)
        intr_info |= INTR_TYPE_SOFT_EXCEPTION
    else:
        intr_info |= INTR_TYPE_HARD_EXCEPTION

    vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, intr_info)

    vmx_clear_hlt(vcpu)


cdef bint vmx_rdtscp_supported() noexcept nogil:
    return cpu_has_vmx_rdtscp()


cdef bint vmx_invpcid_supported() noexcept nogil:
    return cpu_has_vmx_invpcid()


cdef void move_msr_up(vcpu_vmx *vmx, int from_, int to) noexcept nogil:
    cdef shared_msr_entry tmp

    tmp = vmx.guest_msrs[to]
    vmx.guest_msrs[to] = vmx.guest_msrs[from_]
    vmx.guest_msrs[from_] = tmp


cdef void setup_msrs(vcpu_vmx *vmx) noexcept nogil:
    cdef int save_nmsrs, index

    save_nmsrs = 0
    if is_long_mode(&vmx.vcpu):
        index = __find_msr_index(vmx, MSR_SYSCALL_MASK)
        if index >= 0:
            move_msr_up(vmx, index, save_nmsrs)
            save_nmsrs += 1
        index = __find_msr_index(vmx, MSR_LSTAR)
        if index >= 0:
            move_msr_up(vmx, index, save_nmsrs)
            save_nmsrs += 1
        index = __find_msr_index(vmx, MSR_CSTAR)
        if index >= 0:
            move_msr_up(vmx, index, save_nmsrs)
            save_nmsrs += 1
        index = __find_msr_index(vmx, MSR_TSC_AUX)
        if index >= 0 and guest_cpuid_has(&vmx.vcpu, X86_FEATURE_RDTSCP):
            move_msr_up(vmx, index, save_nmsrs)
            save_nmsrs += 1
        # STAR counts in long mode only, and only with SYSCALL enabled.
        index = __find_msr_index(vmx, MSR_STAR)
        if (index >= 0) and (vmx.vcpu.arch.efer & EFER_SCE):
            move_msr_up(vmx, index, save_nmsrs)
            save_nmsrs += 1
    index = __find_msr_index(vmx, MSR_EFER)
    if index >= 0 and update_transition_efer(vmx, index):
        move_msr_up(vmx, index, save_nmsrs)
        save_nmsrs += 1

    vmx.save_nmsrs = save_nmsrs

    if cpu_has_vmx_msr_bitmap():
        vmx_update_msr_bitmap(&vmx.vcpu)


cdef u64 vmx_read_l1_tsc_offset(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- 4 statements: L2's offset: no nested VMX
    return vcpu.arch.tsc_offset


cdef void vmx_write_tsc_offset(kvm_vcpu_t *vcpu, u64 offset) noexcept nogil:
    # C~ L2's offset, the tracepoint, whose argument is read all the same: no nested VMX, no tracing
    vmcs_read64(TSC_OFFSET)
    vmcs_write64(TSC_OFFSET, offset)


cdef inline bint vmx_feature_control_msr_valid(kvm_vcpu_t *vcpu, u64 val) noexcept nogil:
    cdef u64 valid_bits = to_vmx(vcpu).msr_ia32_feature_control_valid_bits

    return not (val & ~valid_bits)


cdef int vmx_get_msr(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef shared_msr_entry *msr

    if msr_info.index == <u32>MSR_FS_BASE:
        msr_info.data = vmcs_readl(GUEST_FS_BASE)
    elif msr_info.index == <u32>MSR_GS_BASE:
        msr_info.data = vmcs_readl(GUEST_GS_BASE)
    elif msr_info.index == <u32>MSR_KERNEL_GS_BASE:
        msr_info.data = vmx_read_guest_kernel_gs_base(vmx)
    elif msr_info.index == <u32>MSR_EFER:
        return kvm_get_msr_common(vcpu, msr_info)
    elif msr_info.index == MSR_IA32_SPEC_CTRL:
        if not msr_info.host_initiated and \
                not guest_cpuid_has(vcpu, X86_FEATURE_SPEC_CTRL):
            return 1

        msr_info.data = to_vmx(vcpu).spec_ctrl
    elif msr_info.index == MSR_IA32_ARCH_CAPABILITIES:
        if not msr_info.host_initiated and \
                not guest_cpuid_has(vcpu, X86_FEATURE_ARCH_CAPABILITIES):
            return 1
        msr_info.data = to_vmx(vcpu).arch_capabilities
    elif msr_info.index == MSR_IA32_SYSENTER_CS:
        msr_info.data = vmcs_read32(GUEST_SYSENTER_CS)
    elif msr_info.index == MSR_IA32_SYSENTER_EIP:
        msr_info.data = vmcs_readl(GUEST_SYSENTER_EIP)
    elif msr_info.index == MSR_IA32_SYSENTER_ESP:
        msr_info.data = vmcs_readl(GUEST_SYSENTER_ESP)
        # C- 9 statements: MSR_IA32_BNDCFGS, MSR_IA32_MCG_EXT_CTL: the processor has no MPX; the
        # processor has no LMCE
    elif msr_info.index == MSR_IA32_FEATURE_CONTROL:
        msr_info.data = vmx.msr_ia32_feature_control
    # C~ the VMX MSRs, XSS: no nested VMX, no XSAVE; the else holds TSC_AUX and what it falls into
    else:
        if msr_info.index == <u32>MSR_TSC_AUX:
            if not msr_info.host_initiated and \
                    not guest_cpuid_has(vcpu, X86_FEATURE_RDTSCP):
                return 1
        # C- the fall into default: the else holds both
        msr = find_msr_entry(vmx, msr_info.index)
        if msr:
            msr_info.data = msr.data
        # C~ break: the else of the test
        else:
            return kvm_get_msr_common(vcpu, msr_info)

    return 0


cdef int vmx_set_msr(kvm_vcpu_t *vcpu, msr_data *msr_info) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef shared_msr_entry *msr
    cdef int ret = 0
    cdef u32 msr_index = msr_info.index
    cdef u64 data = msr_info.data
    cdef u64 old_msr_data

    if msr_index == <u32>MSR_EFER:
        ret = kvm_set_msr_common(vcpu, msr_info)
    elif msr_index == <u32>MSR_FS_BASE:
        vmx_segment_cache_clear(vmx)
        vmcs_writel(GUEST_FS_BASE, data)
    elif msr_index == <u32>MSR_GS_BASE:
        vmx_segment_cache_clear(vmx)
        vmcs_writel(GUEST_GS_BASE, data)
    elif msr_index == <u32>MSR_KERNEL_GS_BASE:
        vmx_write_guest_kernel_gs_base(vmx, data)
    elif msr_index == MSR_IA32_SYSENTER_CS:
        vmcs_write32(GUEST_SYSENTER_CS, data)
    elif msr_index == MSR_IA32_SYSENTER_EIP:
        vmcs_writel(GUEST_SYSENTER_EIP, data)
    elif msr_index == MSR_IA32_SYSENTER_ESP:
        vmcs_writel(GUEST_SYSENTER_ESP, data)
        # C- 6 statements: MSR_IA32_BNDCFGS: the processor has no MPX
    elif msr_index == MSR_IA32_SPEC_CTRL:
        if not msr_info.host_initiated and \
                not guest_cpuid_has(vcpu, X86_FEATURE_SPEC_CTRL):
            return 1

        if data & ~<u64>(SPEC_CTRL_IBRS | SPEC_CTRL_STIBP | SPEC_CTRL_SSBD):
            return 1

        vmx.spec_ctrl = data

        # C~ break: what it leaves out is the block
        if data:
            # written for the first time: from now on the guest has it to itself
            vmx_disable_intercept_for_msr(vmx.vmcs01.msr_bitmap, MSR_IA32_SPEC_CTRL, MSR_TYPE_RW)
    elif msr_index == MSR_IA32_PRED_CMD:
        if not msr_info.host_initiated and \
                not guest_cpuid_has(vcpu, X86_FEATURE_SPEC_CTRL):
            return 1

        if data & ~<u64>PRED_CMD_IBPB:
            return 1

        # C~ break: what it leaves out is the block
        if data:
            wrmsrl(MSR_IA32_PRED_CMD, PRED_CMD_IBPB)

            # one barrier asked for: from now on it needs no exit
            vmx_disable_intercept_for_msr(vmx.vmcs01.msr_bitmap, MSR_IA32_PRED_CMD, MSR_TYPE_W)
    elif msr_index == MSR_IA32_ARCH_CAPABILITIES:
        if not msr_info.host_initiated:
            return 1
        vmx.arch_capabilities = data
    elif msr_index == MSR_IA32_CR_PAT:
        if vmcs_config.vmentry_ctrl & VM_ENTRY_LOAD_IA32_PAT:
            if not kvm_mtrr_valid(vcpu, MSR_IA32_CR_PAT, data):
                return 1
            vmcs_write64(GUEST_IA32_PAT, data)
            vcpu.arch.pat = data
        # C~ TSC_ADJUST, which does the same as default: it falls in there
        else:
            ret = kvm_set_msr_common(vcpu, msr_info)
        # C- 4 statements: MCG_EXT_CTL: the processor has no LMCE
    elif msr_index == MSR_IA32_FEATURE_CONTROL:
        if not vmx_feature_control_msr_valid(vcpu, data) or \
                (to_vmx(vcpu).msr_ia32_feature_control &
                 FEATURE_CONTROL_LOCKED and not msr_info.host_initiated):
            return 1
        vmx.msr_ia32_feature_control = data
    # C~ vmx_leave_nested(), the VMX MSRs, XSS: no nested VMX, no XSAVE; the else holds TSC_AUX and
    # what it falls into
    else:
        if msr_index == <u32>MSR_TSC_AUX:
            if not msr_info.host_initiated and \
                    not guest_cpuid_has(vcpu, X86_FEATURE_RDTSCP):
                return 1
            # the upper half is reserved
            if (data >> 32) != 0:
                return 1
        # C- the fall into default: the else holds both
        msr = find_msr_entry(vmx, msr_index)
        if msr:
            old_msr_data = msr.data
            msr.data = data
            if msr - vmx.guest_msrs < vmx.save_nmsrs:
                preempt_disable()
                ret = kvm_set_shared_msr(msr.index, msr.data, msr.mask)
                preempt_enable()
                if ret:
                    msr.data = old_msr_data
        # C~ break: the else of the test
        else:
            ret = kvm_set_msr_common(vcpu, msr_info)

    return ret


cdef void vmx_cache_reg(kvm_vcpu_t *vcpu, int reg) noexcept nogil:
    vcpu.arch.regs_avail |= <u32>1 << reg
    if reg == VCPU_REGS_RSP:
        vcpu.arch.regs[VCPU_REGS_RSP] = vmcs_readl(GUEST_RSP)
    elif reg == VCPU_REGS_RIP:
        vcpu.arch.regs[VCPU_REGS_RIP] = vmcs_readl(GUEST_RIP)
    elif reg == VCPU_EXREG_PDPTR:
        if enable_ept:
            ept_save_pdptrs(vcpu)


cdef int cpu_has_kvm_support() noexcept nogil:
    return cpu_has_vmx()


cdef int vmx_disabled_by_bios() noexcept nogil:
    cdef u64 msr

    rdmsrl(MSR_IA32_FEATURE_CONTROL, &msr)
    if msr & FEATURE_CONTROL_LOCKED:
        # measured launch: the firmware must allow VMX in SMX
        if not (msr & FEATURE_CONTROL_VMXON_ENABLED_INSIDE_SMX) and tboot_enabled():
            return 1
        # plain launch, and the firmware allows VMX in SMX alone
        if not (msr & FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX) and \
                (msr & FEATURE_CONTROL_VMXON_ENABLED_INSIDE_SMX) and not tboot_enabled():
            pr_warn("kvm: disable TXT in the BIOS or activate TXT before enabling KVM\n")
            return 1
        # plain launch, and no VMX at all
        if not (msr & FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX) and not tboot_enabled():
            return 1

    return 0


cdef void kvm_cpu_vmxon(u64 addr) noexcept nogil:
    cr4_set_bits(X86_CR4_VMXE)
    intel_pt_handle_vmx(1)

    # No look at the flags: a VMXON that fails goes unnoticed.
    asm_vmxon(&addr)


cdef int hardware_enable() noexcept nogil:
    cdef int cpu = raw_smp_processor_id()
    cdef u64 phys_addr = __pa(per_cpu_ptr(vmxarea, cpu)[0])
    cdef u64 old, test_bits

    if cr4_read_shadow() & X86_CR4_VMXE:
        return -EBUSY

    # A CPU plugged in later may have found no memory for its assist page.
    if static_branch_unlikely(&enable_evmcs) and \
            not hv_get_vp_assist_page(cpu):
        return -EFAULT

    INIT_LIST_HEAD(per_cpu_list(loaded_vmcss_on_cpu, cpu))
    INIT_LIST_HEAD(per_cpu_list(blocked_vcpu_on_cpu, cpu))
    spin_lock_init(per_cpu_lock(blocked_vcpu_on_cpu_lock, cpu))

    crash_enable_local_vmclear(cpu)

    rdmsrl(MSR_IA32_FEATURE_CONTROL, &old)

    test_bits = FEATURE_CONTROL_LOCKED
    test_bits |= FEATURE_CONTROL_VMXON_ENABLED_OUTSIDE_SMX
    if tboot_enabled():
        test_bits |= FEATURE_CONTROL_VMXON_ENABLED_INSIDE_SMX

    if (old & test_bits) != test_bits:
        # the firmware has left it open
        wrmsrl(MSR_IA32_FEATURE_CONTROL, old | test_bits)
    kvm_cpu_vmxon(phys_addr)
    if enable_ept:
        ept_sync_global()

    return 0


cdef void vmclear_local_loaded_vmcss() noexcept nogil:
    cdef int cpu = raw_smp_processor_id()
    cdef loaded_vmcs_t *v
    cdef loaded_vmcs_t *n

    v = n = NULL
    while loaded_vmcs_on_cpu_next_safe(&v, &n, per_cpu_list(loaded_vmcss_on_cpu, cpu)):
        __loaded_vmcs_clear(v)


cdef void kvm_cpu_vmxoff() noexcept nogil:
    asm_vmxoff()

    intel_pt_handle_vmx(0)
    cr4_clear_bits(X86_CR4_VMXE)


cdef void hardware_disable() noexcept nogil:
    # The assist page keeps pointing at the last VMCS (erratum: stale_assist).
    vmclear_local_loaded_vmcss()
    kvm_cpu_vmxoff()


cdef int adjust_vmx_controls(u32 ctl_min, u32 ctl_opt, u32 msr, u32 *result) noexcept nogil:
    cdef u32 vmx_msr_low, vmx_msr_high
    cdef u32 ctl = ctl_min | ctl_opt

    rdmsr(msr, &vmx_msr_low, &vmx_msr_high)

    ctl &= vmx_msr_high  # what may not be set goes
    ctl |= vmx_msr_low   # what may not be clear comes

    # every bit of the minimum must have survived
    if ctl_min & ~ctl:
        return -EIO

    result[0] = ctl
    return 0


cdef bint allow_1_setting(u32 msr, u32 ctl) noexcept nogil:
    cdef u32 vmx_msr_low, vmx_msr_high

    rdmsr(msr, &vmx_msr_low, &vmx_msr_high)
    return (vmx_msr_high & ctl) != 0


cdef int setup_vmcs_config(vmcs_config_t *vmcs_conf) noexcept nogil:
    cdef u32 vmx_msr_low, vmx_msr_high
    cdef u32 min, opt, min2, opt2
    cdef u32 _pin_based_exec_control = 0
    cdef u32 _cpu_based_exec_control = 0
    cdef u32 _cpu_based_2nd_exec_control = 0
    cdef u32 _vmexit_control = 0
    cdef u32 _vmentry_control = 0

    global cpu_has_load_ia32_efer, cpu_has_load_perf_global_ctrl, host_xss
    memset(vmcs_conf, 0, sizeof(vmcs_conf[0]))
    min = (CPU_BASED_HLT_EXITING |
           CPU_BASED_CR8_LOAD_EXITING |
           CPU_BASED_CR8_STORE_EXITING |
           CPU_BASED_CR3_LOAD_EXITING |
           CPU_BASED_CR3_STORE_EXITING |
           CPU_BASED_UNCOND_IO_EXITING |
           CPU_BASED_MOV_DR_EXITING |
           CPU_BASED_USE_TSC_OFFSETING |
           CPU_BASED_MWAIT_EXITING |
           CPU_BASED_MONITOR_EXITING |
           CPU_BASED_INVLPG_EXITING |
           CPU_BASED_RDPMC_EXITING)

    opt = (CPU_BASED_TPR_SHADOW |
           CPU_BASED_USE_MSR_BITMAPS |
           <u32>CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
    if adjust_vmx_controls(min, opt, MSR_IA32_VMX_PROCBASED_CTLS,
                           &_cpu_based_exec_control) < 0:
        return -EIO
    if _cpu_based_exec_control & CPU_BASED_TPR_SHADOW:
        _cpu_based_exec_control &= ~<u32>CPU_BASED_CR8_LOAD_EXITING & \
                                   ~<u32>CPU_BASED_CR8_STORE_EXITING
    if _cpu_based_exec_control & CPU_BASED_ACTIVATE_SECONDARY_CONTROLS:
        min2 = 0
        opt2 = (SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES |
                SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE |
                SECONDARY_EXEC_WBINVD_EXITING |
                SECONDARY_EXEC_ENABLE_VPID |
                SECONDARY_EXEC_ENABLE_EPT |
                SECONDARY_EXEC_UNRESTRICTED_GUEST |
                SECONDARY_EXEC_PAUSE_LOOP_EXITING |
                SECONDARY_EXEC_DESC |
                SECONDARY_EXEC_RDTSCP |
                SECONDARY_EXEC_ENABLE_INVPCID |
                SECONDARY_EXEC_APIC_REGISTER_VIRT |
                SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY |
                SECONDARY_EXEC_SHADOW_VMCS |
                SECONDARY_EXEC_XSAVES |
                SECONDARY_EXEC_RDSEED_EXITING |
                SECONDARY_EXEC_RDRAND_EXITING |
                SECONDARY_EXEC_ENABLE_PML |
                SECONDARY_EXEC_TSC_SCALING |
                SECONDARY_EXEC_ENABLE_VMFUNC |
                SECONDARY_EXEC_ENCLS_EXITING)
        if adjust_vmx_controls(min2, opt2,
                               MSR_IA32_VMX_PROCBASED_CTLS2,
                               &_cpu_based_2nd_exec_control) < 0:
            return -EIO

    if not (_cpu_based_exec_control & CPU_BASED_TPR_SHADOW):
        _cpu_based_2nd_exec_control &= ~<u32>(
            SECONDARY_EXEC_APIC_REGISTER_VIRT |
            SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE |
            SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)

    rdmsr_safe(MSR_IA32_VMX_EPT_VPID_CAP,
               &vmx_capability.ept, &vmx_capability.vpid)

    if _cpu_based_2nd_exec_control & SECONDARY_EXEC_ENABLE_EPT:
        # with EPT the guest may have its CR3 and INVLPG to itself
        _cpu_based_exec_control &= ~<u32>(CPU_BASED_CR3_LOAD_EXITING |
                                          CPU_BASED_CR3_STORE_EXITING |
                                          CPU_BASED_INVLPG_EXITING)
    elif vmx_capability.ept:
        vmx_capability.ept = 0
        pr_warn_once("EPT CAP should not exist if not support "
                     "1-setting enable EPT VM-execution control\n")
    if not (_cpu_based_2nd_exec_control & SECONDARY_EXEC_ENABLE_VPID) and \
            vmx_capability.vpid:
        vmx_capability.vpid = 0
        pr_warn_once("VPID CAP should not exist if not support "
                     "1-setting enable VPID VM-execution control\n")

    min = VM_EXIT_SAVE_DEBUG_CONTROLS | VM_EXIT_ACK_INTR_ON_EXIT
    min |= VM_EXIT_HOST_ADDR_SPACE_SIZE
    opt = (VM_EXIT_SAVE_IA32_PAT | VM_EXIT_LOAD_IA32_PAT |
           VM_EXIT_CLEAR_BNDCFGS)
    if adjust_vmx_controls(min, opt, MSR_IA32_VMX_EXIT_CTLS,
                           &_vmexit_control) < 0:
        return -EIO

    min = PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING
    opt = (PIN_BASED_VIRTUAL_NMIS | PIN_BASED_POSTED_INTR |
           PIN_BASED_VMX_PREEMPTION_TIMER)
    if adjust_vmx_controls(min, opt, MSR_IA32_VMX_PINBASED_CTLS,
                           &_pin_based_exec_control) < 0:
        return -EIO

    if cpu_has_broken_vmx_preemption_timer():
        _pin_based_exec_control &= ~<u32>PIN_BASED_VMX_PREEMPTION_TIMER
    if not (_cpu_based_2nd_exec_control &
            SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY):
        _pin_based_exec_control &= ~<u32>PIN_BASED_POSTED_INTR

    min = VM_ENTRY_LOAD_DEBUG_CONTROLS
    opt = VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_BNDCFGS
    if adjust_vmx_controls(min, opt, MSR_IA32_VMX_ENTRY_CTLS,
                           &_vmentry_control) < 0:
        return -EIO

    rdmsr(MSR_IA32_VMX_BASIC, &vmx_msr_low, &vmx_msr_high)

    # a VMCS never outgrows a page
    if (vmx_msr_high & 0x1fff) > PAGE_SIZE:
        return -EIO

    # nor is it confined to 32-bit addresses on a 64-bit processor
    if vmx_msr_high & (<u32>1 << 16):
        return -EIO

    # write-back memory is the only kind KVM can give it
    if ((vmx_msr_high >> 18) & 15) != 6:
        return -EIO

    vmcs_conf.size = vmx_msr_high & 0x1fff
    vmcs_conf.order = get_order(vmcs_conf.size)
    vmcs_conf.basic_cap = vmx_msr_high & ~<u32>0x1fff

    vmcs_conf.revision_id = vmx_msr_low

    vmcs_conf.pin_based_exec_ctrl = _pin_based_exec_control
    vmcs_conf.cpu_based_exec_ctrl = _cpu_based_exec_control
    vmcs_conf.cpu_based_2nd_exec_ctrl = _cpu_based_2nd_exec_control
    vmcs_conf.vmexit_ctrl = _vmexit_control
    vmcs_conf.vmentry_ctrl = _vmentry_control

    if static_branch_unlikely(&enable_evmcs):
        evmcs_sanitize_exec_ctrls(vmcs_conf)

    cpu_has_load_ia32_efer = \
        allow_1_setting(MSR_IA32_VMX_ENTRY_CTLS,
                        VM_ENTRY_LOAD_IA32_EFER) \
        and allow_1_setting(MSR_IA32_VMX_EXIT_CTLS,
                            VM_EXIT_LOAD_IA32_EFER)

    cpu_has_load_perf_global_ctrl = \
        allow_1_setting(MSR_IA32_VMX_ENTRY_CTLS,
                        VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL) \
        and allow_1_setting(MSR_IA32_VMX_EXIT_CTLS,
                            VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL)

    # Five models lose bits of the MSR at an exit: they switch it through the MSR lists.
    # C~ boot_cpu_data: read by function, and the switch is one test
    if cpu_has_load_perf_global_ctrl and boot_cpu_data_x86() == 0x6:
        if boot_cpu_data_x86_model() in (26, 30, 37, 44, 46):
            cpu_has_load_perf_global_ctrl = False
            pr_warn_once("kvm: VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL "
                         "does not work properly. Using workaround\n")

    if boot_cpu_has(X86_FEATURE_XSAVES):
        rdmsrl(MSR_IA32_XSS, &host_xss)

    return 0


cdef vmcs_t *alloc_vmcs_cpu(bint shadow, int cpu) noexcept nogil:
    cdef int node = cpu_to_node(cpu)
    cdef page_t *pages
    cdef vmcs_t *vmcs

    pages = __alloc_pages_node(node, GFP_KERNEL, vmcs_config.order)
    if not pages:
        return NULL
    vmcs = <vmcs_t *>page_address(pages)
    # the size that VMX_BASIC tells, not the whole page (erratum: memset_size)
    memset(vmcs, 0, vmcs_config.size)

    # the one version that this kernel speaks
    if static_branch_unlikely(&enable_evmcs):
        vmcs.hdr.revision_id = KVM_EVMCS_VERSION
    else:
        vmcs.hdr.revision_id = vmcs_config.revision_id

    if shadow:
        vmcs.hdr.shadow_vmcs = 1
    return vmcs


cdef void free_vmcs(vmcs_t *vmcs) noexcept nogil:
    free_pages(<ulong>vmcs, vmcs_config.order)


cdef void free_loaded_vmcs(loaded_vmcs_t *loaded_vmcs) noexcept nogil:
    if not loaded_vmcs.vmcs:
        return
    loaded_vmcs_clear(loaded_vmcs)
    free_vmcs(loaded_vmcs.vmcs)
    loaded_vmcs.vmcs = NULL
    if loaded_vmcs.msr_bitmap:
        free_page(<ulong>loaded_vmcs.msr_bitmap)
    WARN_ON(loaded_vmcs.shadow_vmcs != NULL)


cdef vmcs_t *alloc_vmcs(bint shadow) noexcept nogil:
    return alloc_vmcs_cpu(shadow, raw_smp_processor_id())


cdef int alloc_loaded_vmcs(loaded_vmcs_t *loaded_vmcs) noexcept nogil:
    cdef hv_enlightened_vmcs *evmcs

    loaded_vmcs.vmcs = alloc_vmcs(False)
    if not loaded_vmcs.vmcs:
        return -ENOMEM

    # L0 cannot tell what it clears before this CPU has loaded an eVMCS (erratum: early_vmclear).
    loaded_vmcs.shadow_vmcs = NULL
    loaded_vmcs_init(loaded_vmcs)

    if cpu_has_vmx_msr_bitmap():
        loaded_vmcs.msr_bitmap = <ulong *>__get_free_page(GFP_KERNEL)
        if not loaded_vmcs.msr_bitmap:
            # C~ goto out_vmcs: the two statements at the label
            free_loaded_vmcs(loaded_vmcs)
            return -ENOMEM
        memset(loaded_vmcs.msr_bitmap, 0xff, PAGE_SIZE)

        if IS_ENABLED(CONFIG_HYPERV) and \
                static_branch_unlikely(&enable_evmcs) and \
                (ms_hyperv.nested_features & HV_X64_NESTED_MSR_BITMAP):
            evmcs = <hv_enlightened_vmcs *>loaded_vmcs.vmcs

            evmcs.hv_enlightenments_control.msr_bitmap = 1

    memset(&loaded_vmcs.host_state, 0, sizeof(vmcs_host_state))

    return 0
    # C- the label: its statements stand where it is jumped to


cdef void free_kvm_area() noexcept nogil:
    cdef int cpu

    for cpu in range(nr_cpu_ids()):
        if not cpu_possible(cpu):
            continue
        free_vmcs(per_cpu_ptr(vmxarea, cpu)[0])
        per_cpu_ptr(vmxarea, cpu)[0] = NULL


cdef int alloc_kvm_area() noexcept nogil:
    cdef int cpu
    cdef vmcs_t *vmcs

    for cpu in range(nr_cpu_ids()):
        if not cpu_possible(cpu):
            continue

        vmcs = alloc_vmcs_cpu(False, cpu)
        if not vmcs:
            free_kvm_area()
            return -ENOMEM

        # VMXON wants the processor's own revision, also where the VMCSs are enlightened: the
        # specification does not say so, Hyper-V does.
        if static_branch_unlikely(&enable_evmcs):
            vmcs.hdr.revision_id = vmcs_config.revision_id

        per_cpu_ptr(vmxarea, cpu)[0] = vmcs
    return 0


cdef void vmx_set_efer(kvm_vcpu_t *vcpu, u64 efer) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef shared_msr_entry *msr = find_msr_entry(vmx, MSR_EFER)

    if not msr:
        return

    vcpu.arch.efer = efer
    if efer & EFER_LMA:
        vm_entry_controls_setbit(to_vmx(vcpu), VM_ENTRY_IA32E_MODE)
        msr.data = efer
    else:
        vm_entry_controls_clearbit(to_vmx(vcpu), VM_ENTRY_IA32E_MODE)

        msr.data = efer & ~<u64>EFER_LME
    setup_msrs(vmx)


cdef void enter_lmode(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u32 guest_tr_ar

    vmx_segment_cache_clear(to_vmx(vcpu))

    guest_tr_ar = vmcs_read32(GUEST_TR_AR_BYTES)
    if (guest_tr_ar & VMX_AR_TYPE_MASK) != VMX_AR_TYPE_BUSY_64_TSS:
        pr_debug_ratelimited("%s: tss fixup for long mode. \n", "enter_lmode")
        vmcs_write32(GUEST_TR_AR_BYTES,
                     (guest_tr_ar & ~<u32>VMX_AR_TYPE_MASK)
                     | VMX_AR_TYPE_BUSY_64_TSS)
    vmx_set_efer(vcpu, vcpu.arch.efer | EFER_LMA)


cdef void exit_lmode(kvm_vcpu_t *vcpu) noexcept nogil:
    vm_entry_controls_clearbit(to_vmx(vcpu), VM_ENTRY_IA32E_MODE)
    vmx_set_efer(vcpu, vcpu.arch.efer & ~<u64>EFER_LMA)


cdef inline void __vmx_flush_tlb(kvm_vcpu_t *vcpu, int vpid, bint invalidate_gpa) noexcept nogil:
    if enable_ept and (invalidate_gpa or not enable_vpid):
        if not VALID_PAGE(vcpu.arch.mmu.root_hpa):
            return
        ept_sync_context(construct_eptp(vcpu, vcpu.arch.mmu.root_hpa))
    else:
        vpid_sync_context(vpid)


cdef void vmx_flush_tlb(kvm_vcpu_t *vcpu, bint invalidate_gpa) noexcept nogil:
    __vmx_flush_tlb(vcpu, to_vmx(vcpu).vpid, invalidate_gpa)


cdef void vmx_flush_tlb_gva(kvm_vcpu_t *vcpu, gva_t addr) noexcept nogil:
    cdef int vpid = to_vmx(vcpu).vpid

    if not vpid_sync_vcpu_addr(vpid, addr):
        vpid_sync_context(vpid)


cdef void vmx_decache_cr0_guest_bits(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong cr0_guest_owned_bits = vcpu.arch.cr0_guest_owned_bits

    vcpu.arch.cr0 &= ~cr0_guest_owned_bits
    vcpu.arch.cr0 |= vmcs_readl(GUEST_CR0) & cr0_guest_owned_bits


cdef void vmx_decache_cr3(kvm_vcpu_t *vcpu) noexcept nogil:
    if enable_unrestricted_guest or (enable_ept and is_paging(vcpu)):
        vcpu.arch.cr3 = vmcs_readl(GUEST_CR3)
    vcpu.arch.regs_avail |= <u32>1 << VCPU_EXREG_CR3


cdef void vmx_decache_cr4_guest_bits(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong cr4_guest_owned_bits = vcpu.arch.cr4_guest_owned_bits

    vcpu.arch.cr4 &= ~cr4_guest_owned_bits
    vcpu.arch.cr4 |= vmcs_readl(GUEST_CR4) & cr4_guest_owned_bits


cdef void ept_load_pdptrs(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef kvm_mmu *mmu = vcpu.arch.walk_mmu

    if not (vcpu.arch.regs_dirty & (<u32>1 << VCPU_EXREG_PDPTR)):
        return

    if is_paging(vcpu) and is_pae(vcpu) and not is_long_mode(vcpu):
        vmcs_write64(GUEST_PDPTR0, mmu.pdptrs[0])
        vmcs_write64(GUEST_PDPTR1, mmu.pdptrs[1])
        vmcs_write64(GUEST_PDPTR2, mmu.pdptrs[2])
        vmcs_write64(GUEST_PDPTR3, mmu.pdptrs[3])


cdef void ept_save_pdptrs(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef kvm_mmu *mmu = vcpu.arch.walk_mmu

    if is_paging(vcpu) and is_pae(vcpu) and not is_long_mode(vcpu):
        mmu.pdptrs[0] = vmcs_read64(GUEST_PDPTR0)
        mmu.pdptrs[1] = vmcs_read64(GUEST_PDPTR1)
        mmu.pdptrs[2] = vmcs_read64(GUEST_PDPTR2)
        mmu.pdptrs[3] = vmcs_read64(GUEST_PDPTR3)

    vcpu.arch.regs_avail |= <u32>1 << VCPU_EXREG_PDPTR
    vcpu.arch.regs_dirty |= <u32>1 << VCPU_EXREG_PDPTR


cdef void ept_update_paging_mode_cr0(ulong *hw_cr0, ulong cr0, kvm_vcpu_t *vcpu) noexcept nogil:
    if not (vcpu.arch.regs_avail & (<u32>1 << VCPU_EXREG_CR3)):
        vmx_decache_cr3(vcpu)
    if not (cr0 & <ulong>X86_CR0_PG):
        # The identity map is behind CR3 now: the guest's moves have to be seen.
        vmcs_write32(CPU_BASED_VM_EXEC_CONTROL,
                     vmcs_read32(CPU_BASED_VM_EXEC_CONTROL) |
                     (CPU_BASED_CR3_LOAD_EXITING |
                      CPU_BASED_CR3_STORE_EXITING))
        vcpu.arch.cr0 = cr0
        vmx_set_cr4(vcpu, kvm_read_cr4(vcpu))
    elif not is_paging(vcpu):
        # CR3 is the guest's own again.
        vmcs_write32(CPU_BASED_VM_EXEC_CONTROL,
                     vmcs_read32(CPU_BASED_VM_EXEC_CONTROL) &
                     ~<u32>(CPU_BASED_CR3_LOAD_EXITING |
                            CPU_BASED_CR3_STORE_EXITING))
        vcpu.arch.cr0 = cr0
        vmx_set_cr4(vcpu, kvm_read_cr4(vcpu))

    if not (cr0 & X86_CR0_WP):
        hw_cr0[0] &= ~<ulong>X86_CR0_WP


cdef void vmx_set_cr0(kvm_vcpu_t *vcpu, ulong cr0) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef ulong hw_cr0

    hw_cr0 = (cr0 & ~<ulong>KVM_GUEST_CR0_MASK)
    if enable_unrestricted_guest:
        hw_cr0 |= KVM_VM_CR0_ALWAYS_ON_UNRESTRICTED_GUEST
    else:
        hw_cr0 |= <ulong>KVM_VM_CR0_ALWAYS_ON

    # C- 4 statements: enter_pmode() and enter_rmode(): real mode without unrestricted guest needs
    # the instruction emulator
    if vcpu.arch.efer & EFER_LME:
        if not is_paging(vcpu) and (cr0 & <ulong>X86_CR0_PG):
            enter_lmode(vcpu)
        if is_paging(vcpu) and not (cr0 & <ulong>X86_CR0_PG):
            exit_lmode(vcpu)

    if enable_ept and not enable_unrestricted_guest:
        ept_update_paging_mode_cr0(&hw_cr0, cr0, vcpu)

    vmcs_writel(CR0_READ_SHADOW, cr0)
    vmcs_writel(GUEST_CR0, hw_cr0)
    vcpu.arch.cr0 = cr0

    # looks at the new value of vcpu->arch.cr0
    vmx.emulation_required = emulation_required(vcpu)


cdef int get_ept_level(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- 5 levels for guests of more than 48 bits: the fixed EPT has 4
    return 4


cdef u64 construct_eptp(kvm_vcpu_t *vcpu, ulong root_hpa) noexcept nogil:
    cdef u64 eptp = VMX_EPTP_MT_WB

    eptp |= VMX_EPTP_PWL_5 if get_ept_level(vcpu) == 5 else VMX_EPTP_PWL_4

    if enable_ept_ad_bits and \
            (not is_guest_mode(vcpu) or nested_ept_ad_enabled(vcpu)):
        eptp |= VMX_EPTP_AD_ENABLE_BIT
    eptp |= (root_hpa & PAGE_MASK)

    return eptp


cdef void vmx_set_cr3(kvm_vcpu_t *vcpu, ulong cr3) noexcept nogil:
    cdef kvm_t *kvm = vcpu.kvm
    cdef ulong guest_cr3
    cdef u64 eptp

    guest_cr3 = cr3
    if enable_ept:
        eptp = construct_eptp(vcpu, cr3)
        vmcs_write64(EPT_POINTER, eptp)

        if kvm_x86_ops.tlb_remote_flush:
            spin_lock(&to_kvm_vmx(kvm).ept_pointer_lock)
            to_vmx(vcpu).ept_pointer = eptp
            to_kvm_vmx(kvm).ept_pointers_match = EPT_POINTERS_CHECK
            spin_unlock(&to_kvm_vmx(kvm).ept_pointer_lock)

        if enable_unrestricted_guest or is_paging(vcpu) or \
                is_guest_mode(vcpu):
            guest_cr3 = kvm_read_cr3(vcpu)
        else:
            guest_cr3 = to_kvm_vmx(kvm).ept_identity_map_addr
        ept_load_pdptrs(vcpu)

    vmcs_writel(GUEST_CR3, guest_cr3)


cdef int vmx_set_cr4(kvm_vcpu_t *vcpu, ulong cr4) noexcept nogil:
    # The host's machine-check bit stays in force while the guest runs; guests have no say.
    cdef ulong hw_cr4

    hw_cr4 = (cr4_read_shadow() & X86_CR4_MCE) | (cr4 & ~<ulong>X86_CR4_MCE)
    if enable_unrestricted_guest:
        hw_cr4 |= KVM_VM_CR4_ALWAYS_ON_UNRESTRICTED_GUEST
        # C- the rmode.vm86_active fixups: a guest in real mode runs unrestricted
    else:
        hw_cr4 |= KVM_PMODE_VM_CR4_ALWAYS_ON

    if not boot_cpu_has(X86_FEATURE_UMIP) and vmx_umip_emulated():
        if cr4 & X86_CR4_UMIP:
            vmcs_set_bits(SECONDARY_VM_EXEC_CONTROL,
                          SECONDARY_EXEC_DESC)
            hw_cr4 &= ~<ulong>X86_CR4_UMIP
        elif not is_guest_mode(vcpu) or \
                not nested_cpu_has2(get_vmcs12(vcpu), SECONDARY_EXEC_DESC):
            vmcs_clear_bits(SECONDARY_VM_EXEC_CONTROL,
                            SECONDARY_EXEC_DESC)

    if cr4 & X86_CR4_VMXE:
        # C- nested_vmx_allowed(): the guest has no VMX, so CR4.VMXE is refused at once
        return 1

    # C- nested_cr4_valid(): no nested VMX
    vcpu.arch.cr4 = cr4

    if not enable_unrestricted_guest:
        if enable_ept:
            if not is_paging(vcpu):
                hw_cr4 &= ~<ulong>X86_CR4_PAE
                hw_cr4 |= X86_CR4_PSE
            elif not (cr4 & X86_CR4_PAE):
                hw_cr4 &= ~<ulong>X86_CR4_PAE

        # The processor drops these without paging; a guest that always pages would keep them.
        if not is_paging(vcpu):
            hw_cr4 &= ~<ulong>(X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE)

    vmcs_writel(CR4_READ_SHADOW, cr4)
    vmcs_writel(GUEST_CR4, hw_cr4)
    return 0


cdef void vmx_get_segment(kvm_vcpu_t *vcpu, kvm_segment *var, int seg) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef u32 ar

    # C- 7 statements: the rmode.vm86_active fixups: a guest in real mode runs unrestricted
    var.base = vmx_read_guest_seg_base(vmx, seg)
    var.limit = vmx_read_guest_seg_limit(vmx, seg)
    var.selector = vmx_read_guest_seg_selector(vmx, seg)
    ar = vmx_read_guest_seg_ar(vmx, seg)
    var.unusable = (ar >> 16) & 1
    var.type = ar & 15
    var.s = (ar >> 4) & 1
    var.dpl = (ar >> 5) & 3
    # Usable segments are present, so user space that forgets "unusable" still says it with this.
    var.present = not var.unusable
    var.avl = (ar >> 12) & 1
    var.l = (ar >> 13) & 1
    var.db = (ar >> 14) & 1
    var.g = (ar >> 15) & 1


cdef u64 vmx_get_segment_base(kvm_vcpu_t *vcpu, int seg) noexcept nogil:
    # C- 4 statements: the rmode.vm86_active fixups: a guest in real mode runs unrestricted
    return vmx_read_guest_seg_base(to_vmx(vcpu), seg)


cdef int vmx_get_cpl(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef int ar

    if unlikely(vmx.rmode.vm86_active):
        return 0
    else:
        ar = vmx_read_guest_seg_ar(vmx, VCPU_SREG_SS)
        return VMX_AR_DPL(ar)


cdef u32 vmx_segment_access_rights(kvm_segment *var) noexcept nogil:
    cdef u32 ar

    if var.unusable or not var.present:
        ar = 1 << 16
    else:
        ar = var.type & 15
        ar |= (var.s & 1) << 4
        ar |= (var.dpl & 3) << 5
        ar |= (var.present & 1) << 7
        ar |= (var.avl & 1) << 12
        ar |= (var.l & 1) << 13
        ar |= (var.db & 1) << 14
        ar |= (var.g & 1) << 15

    return ar


cdef void vmx_set_segment(kvm_vcpu_t *vcpu, kvm_segment *var, int seg) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef const kvm_vmx_segment_field *sf = <const kvm_vmx_segment_field *>&kvm_vmx_segment_fields[seg]

    vmx_segment_cache_clear(vmx)

    # C- 7 statements: the rmode.vm86_active fixups: a guest in real mode runs unrestricted
    vmcs_writel(sf.base, var.base)
    vmcs_write32(sf.limit, var.limit)
    vmcs_write16(sf.selector, var.selector)

    # User space that resets a processor may leave the accessed bit off; entry would refuse it.
    if enable_unrestricted_guest and (seg != VCPU_SREG_LDTR):
        var.type |= 0x1

    vmcs_write32(sf.ar_bytes, vmx_segment_access_rights(var))

    # C- the label: nothing jumps to it
    vmx.emulation_required = emulation_required(vcpu)


cdef void vmx_get_cs_db_l_bits(kvm_vcpu_t *vcpu, int *db, int *l) noexcept nogil:
    cdef u32 ar = vmx_read_guest_seg_ar(to_vmx(vcpu), VCPU_SREG_CS)

    db[0] = (ar >> 14) & 1
    l[0] = (ar >> 13) & 1


cdef void vmx_get_idt(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil:
    dt.size = vmcs_read32(GUEST_IDTR_LIMIT)
    dt.address = vmcs_readl(GUEST_IDTR_BASE)


cdef void vmx_set_idt(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil:
    vmcs_write32(GUEST_IDTR_LIMIT, dt.size)
    vmcs_writel(GUEST_IDTR_BASE, dt.address)


cdef void vmx_get_gdt(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil:
    dt.size = vmcs_read32(GUEST_GDTR_LIMIT)
    dt.address = vmcs_readl(GUEST_GDTR_BASE)


cdef void vmx_set_gdt(kvm_vcpu_t *vcpu, desc_ptr *dt) noexcept nogil:
    vmcs_write32(GUEST_GDTR_LIMIT, dt.size)
    vmcs_writel(GUEST_GDTR_BASE, dt.address)


cdef bint guest_state_valid(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- 34 statements: the checks of a guest that is not unrestricted: their answer is the
    # instruction emulator
    return True


cdef int init_rmode_identity_map(kvm_t *kvm) noexcept nogil:
    cdef kvm_vmx_t *kvm_vmx = to_kvm_vmx(kvm)
    # C- idx: what it serves is left out
    cdef int i, r = 0
    # C~ identity_map_pfn: the page by its address
    cdef u32 *map
    cdef u32 tmp

    # C- mutex_lock(): one thread builds at a time
    if likely(kvm_vmx.ept_identity_pagetable_done):
        # C~ goto out2: the label returns
        return r

    if not kvm_vmx.ept_identity_map_addr:
        kvm_vmx.ept_identity_map_addr = VMX_EPT_IDENTITY_PAGETABLE_ADDR

    # C~ __x86_set_memory_region(), srcu_read_lock(), kvm_clear_guest_page(): a function of mmu.pyx
    # gives a zeroed page; memory slots never change
    r = x86_set_memory_region(kvm, kvm_vmx.ept_identity_map_addr)
    if r < 0:
        # C~ goto out2: the label returns; the page by its address
        return r

    map = <u32 *>private_page(kvm, kvm_vmx.ept_identity_map_addr)
    # 4 GB in pages of 4 MB, each where it is
    for i in range(PT32_ENT_PER_PAGE):
        # C~ kvm_write_guest_page(): a store into the page, as unsigned
        tmp = (<u32>i << 22) + (_PAGE_PRESENT | _PAGE_RW | _PAGE_USER |
                                _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_PSE)
        map[i] = tmp
    kvm_vmx.ept_identity_pagetable_done = True

    # C- 4 statements: out, out2: what they undo is left out
    return r


cdef void seg_setup(int seg) noexcept nogil:
    cdef const kvm_vmx_segment_field *sf = <const kvm_vmx_segment_field *>&kvm_vmx_segment_fields[seg]
    cdef unsigned int ar

    vmcs_write16(sf.selector, 0)
    vmcs_writel(sf.base, 0)
    vmcs_write32(sf.limit, 0xffff)
    ar = 0x93
    if seg == VCPU_SREG_CS:
        ar |= 0x08  # code, not data

    vmcs_write32(sf.ar_bytes, ar)


cdef int allocate_vpid() noexcept nogil:
    cdef int vpid

    if not enable_vpid:
        return 0
    spin_lock(&vmx_vpid_lock)
    vpid = find_first_zero_bit(vmx_vpid_bitmap, VMX_NR_VPIDS)
    if vpid < VMX_NR_VPIDS:
        __set_bit(vpid, vmx_vpid_bitmap)
    else:
        vpid = 0
    spin_unlock(&vmx_vpid_lock)
    return vpid


cdef void free_vpid(int vpid) noexcept nogil:
    if not enable_vpid or vpid == 0:
        return
    spin_lock(&vmx_vpid_lock)
    __clear_bit(vpid, vmx_vpid_bitmap)
    spin_unlock(&vmx_vpid_lock)


cdef inline void vmx_disable_intercept_for_msr(ulong *msr_bitmap, u32 msr, int type) noexcept nogil:
    cdef int f = sizeof(ulong)

    if not cpu_has_vmx_msr_bitmap():
        return

    if static_branch_unlikely(&enable_evmcs):
        evmcs_touch_msr_bitmap()

    # One bit an MSR, clear: no exit. Four bitmaps of 1 KiB: reads of 0..0x1fff, reads of
    # 0xc0000000..0xc0001fff, writes of the low range, writes of the high one.
    if msr <= 0x1fff:
        if type & MSR_TYPE_R:
            __clear_bit(msr, msr_bitmap + 0x000 // f)

        if type & MSR_TYPE_W:
            __clear_bit(msr, msr_bitmap + 0x800 // f)

    elif (msr >= <u32>0xc0000000) and (msr <= <u32>0xc0001fff):
        msr &= 0x1fff
        if type & MSR_TYPE_R:
            __clear_bit(msr, msr_bitmap + 0x400 // f)

        if type & MSR_TYPE_W:
            __clear_bit(msr, msr_bitmap + 0xc00 // f)


cdef inline void vmx_enable_intercept_for_msr(ulong *msr_bitmap, u32 msr, int type) noexcept nogil:
    cdef int f = sizeof(ulong)

    if not cpu_has_vmx_msr_bitmap():
        return

    if static_branch_unlikely(&enable_evmcs):
        evmcs_touch_msr_bitmap()

    if msr <= 0x1fff:
        if type & MSR_TYPE_R:
            __set_bit(msr, msr_bitmap + 0x000 // f)

        if type & MSR_TYPE_W:
            __set_bit(msr, msr_bitmap + 0x800 // f)

    elif (msr >= <u32>0xc0000000) and (msr <= <u32>0xc0001fff):
        msr &= 0x1fff
        if type & MSR_TYPE_R:
            __set_bit(msr, msr_bitmap + 0x400 // f)

        if type & MSR_TYPE_W:
            __set_bit(msr, msr_bitmap + 0xc00 // f)


cdef inline void vmx_set_intercept_for_msr(ulong *msr_bitmap, u32 msr, int type, bint value) noexcept nogil:
    if value:
        vmx_enable_intercept_for_msr(msr_bitmap, msr, type)
    else:
        vmx_disable_intercept_for_msr(msr_bitmap, msr, type)


cdef u8 vmx_msr_bitmap_mode(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u8 mode = 0

    if cpu_has_secondary_exec_ctrls() and \
            (vmcs_read32(SECONDARY_VM_EXEC_CONTROL) &
             SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE):
        mode |= MSR_BITMAP_MODE_X2APIC
        if enable_apicv and kvm_vcpu_apicv_active(vcpu):
            mode |= MSR_BITMAP_MODE_X2APIC_APICV

    return mode

# The x2APIC MSR of an APIC register.
cdef inline u32 X2APIC_MSR(u32 r) noexcept nogil:
    # C+ a macro of this file
    return APIC_BASE_MSR + (r >> 4)


cdef void vmx_update_msr_bitmap_x2apic(ulong *msr_bitmap, u8 mode) noexcept nogil:
    cdef int msr
    cdef unsigned int word

    # Whole words, and nobody clears the clean bit (erratum: x2apic_bitmap).
    for msr in range(0x800, 0x900, 64):
        word = msr // BITS_PER_LONG
        msr_bitmap[word] = 0 if (mode & MSR_BITMAP_MODE_X2APIC_APICV) else ~<ulong>0
        msr_bitmap[word + (0x800 // sizeof(long))] = ~<ulong>0

    if mode & MSR_BITMAP_MODE_X2APIC:
        # The TPR can be virtual without virtual interrupt delivery.
        vmx_disable_intercept_for_msr(msr_bitmap, X2APIC_MSR(APIC_TASKPRI), MSR_TYPE_RW)
        if mode & MSR_BITMAP_MODE_X2APIC_APICV:
            vmx_enable_intercept_for_msr(msr_bitmap, X2APIC_MSR(APIC_TMCCT), MSR_TYPE_R)
            vmx_disable_intercept_for_msr(msr_bitmap, X2APIC_MSR(APIC_EOI), MSR_TYPE_W)
            vmx_disable_intercept_for_msr(msr_bitmap, X2APIC_MSR(APIC_SELF_IPI), MSR_TYPE_W)


cdef void vmx_update_msr_bitmap(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef ulong *msr_bitmap = vmx.vmcs01.msr_bitmap
    cdef u8 mode = vmx_msr_bitmap_mode(vcpu)
    cdef u8 changed = mode ^ vmx.msr_bitmap_mode

    if not changed:
        return

    if changed & (MSR_BITMAP_MODE_X2APIC | MSR_BITMAP_MODE_X2APIC_APICV):
        vmx_update_msr_bitmap_x2apic(msr_bitmap, mode)

    vmx.msr_bitmap_mode = mode


cdef void vmx_set_constant_host_state(vcpu_vmx *vmx) noexcept nogil:
    cdef u32 low32, high32
    cdef ulong tmpl
    cdef ulong cr0, cr3, cr4
    cdef desc_ptr dt

    cr0 = read_cr0()
    WARN_ON(cr0 & X86_CR0_TS)
    vmcs_writel(HOST_CR0, cr0)

    # Most likely what CR3 will be at the entry too; vmx_vcpu_run() looks again.
    cr3 = __read_cr3()
    vmcs_writel(HOST_CR3, cr3)
    vmx.loaded_vmcs.host_state.cr3 = cr3

    # and so with CR4
    cr4 = cr4_read_shadow()
    vmcs_writel(HOST_CR4, cr4)
    vmx.loaded_vmcs.host_state.cr4 = cr4

    vmcs_write16(HOST_CS_SELECTOR, __KERNEL_CS)
    # Null, as in a 64-bit user space: then nothing is left to reload on the way back.
    vmcs_write16(HOST_DS_SELECTOR, 0)
    vmcs_write16(HOST_ES_SELECTOR, 0)
    vmcs_write16(HOST_SS_SELECTOR, __KERNEL_DS)
    vmcs_write16(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8)

    store_idt(&dt)
    vmcs_writel(HOST_IDTR_BASE, dt.address)
    vmx.host_idt_base = dt.address

    vmcs_writel(HOST_RIP, vmx_return)

    rdmsr(MSR_IA32_SYSENTER_CS, &low32, &high32)
    vmcs_write32(HOST_IA32_SYSENTER_CS, low32)
    rdmsrl(MSR_IA32_SYSENTER_EIP, <u64 *>&tmpl)
    vmcs_writel(HOST_IA32_SYSENTER_EIP, tmpl)

    if vmcs_config.vmexit_ctrl & VM_EXIT_LOAD_IA32_PAT:
        rdmsr(MSR_IA32_CR_PAT, &low32, &high32)
        vmcs_write64(HOST_IA32_PAT, low32 | (<u64>high32 << 32))


cdef void set_cr4_guest_host_mask(vcpu_vmx *vmx) noexcept nogil:
    vmx.vcpu.arch.cr4_guest_owned_bits = KVM_CR4_GUEST_OWNED_BITS
    if enable_ept:
        vmx.vcpu.arch.cr4_guest_owned_bits |= X86_CR4_PGE
    # C- L2's mask: no nested VMX
    vmcs_writel(CR4_GUEST_HOST_MASK, ~vmx.vcpu.arch.cr4_guest_owned_bits)


cdef u32 vmx_pin_based_exec_ctrl(vcpu_vmx *vmx) noexcept nogil:
    cdef u32 pin_based_exec_ctrl = vmcs_config.pin_based_exec_ctrl

    if not kvm_vcpu_apicv_active(&vmx.vcpu):
        pin_based_exec_ctrl &= ~<u32>PIN_BASED_POSTED_INTR

    if not enable_vnmi:
        pin_based_exec_ctrl &= ~<u32>PIN_BASED_VIRTUAL_NMIS

    # the timer is switched on when it is armed
    pin_based_exec_ctrl &= ~<u32>PIN_BASED_VMX_PREEMPTION_TIMER
    return pin_based_exec_ctrl


cdef u32 vmx_exec_control(vcpu_vmx *vmx) noexcept nogil:
    cdef u32 exec_control = vmcs_config.cpu_based_exec_ctrl

    if vmx.vcpu.arch.switch_db_regs & KVM_DEBUGREG_WONT_EXIT:
        exec_control &= ~<u32>CPU_BASED_MOV_DR_EXITING

    if not cpu_need_tpr_shadow(&vmx.vcpu):
        exec_control &= ~<u32>CPU_BASED_TPR_SHADOW
        exec_control |= CPU_BASED_CR8_STORE_EXITING | CPU_BASED_CR8_LOAD_EXITING
    if not enable_ept:
        exec_control |= (CPU_BASED_CR3_STORE_EXITING |
                         CPU_BASED_CR3_LOAD_EXITING |
                         CPU_BASED_INVLPG_EXITING)
    if kvm_mwait_in_guest(vmx.vcpu.kvm):
        exec_control &= ~<u32>(CPU_BASED_MWAIT_EXITING |
                               CPU_BASED_MONITOR_EXITING)
    if kvm_hlt_in_guest(vmx.vcpu.kvm):
        exec_control &= ~<u32>CPU_BASED_HLT_EXITING
    return exec_control


cdef bint vmx_rdrand_supported() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_RDRAND_EXITING) != 0


cdef bint vmx_rdseed_supported() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_RDSEED_EXITING) != 0


cdef void vmx_compute_secondary_exec_control(vcpu_vmx *vmx) noexcept nogil:
    cdef kvm_vcpu_t *vcpu = &vmx.vcpu
    cdef bint xsaves_enabled, rdtscp_enabled, invpcid_enabled, rdrand_enabled, rdseed_enabled

    cdef u32 exec_control = vmcs_config.cpu_based_2nd_exec_ctrl

    global enable_unrestricted_guest
    if not cpu_need_virtualize_apic_accesses(vcpu):
        exec_control &= ~<u32>SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES
    if vmx.vpid == 0:
        exec_control &= ~<u32>SECONDARY_EXEC_ENABLE_VPID
    if not enable_ept:
        exec_control &= ~<u32>SECONDARY_EXEC_ENABLE_EPT
        enable_unrestricted_guest = 0
    if not enable_unrestricted_guest:
        exec_control &= ~<u32>SECONDARY_EXEC_UNRESTRICTED_GUEST
    if kvm_pause_in_guest(vmx.vcpu.kvm):
        exec_control &= ~<u32>SECONDARY_EXEC_PAUSE_LOOP_EXITING
    if not kvm_vcpu_apicv_active(vcpu):
        exec_control &= ~<u32>(SECONDARY_EXEC_APIC_REGISTER_VIRT |
                               SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY)
    exec_control &= ~<u32>SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE

    # on only while CR4.UMIP asks for it
    exec_control &= ~<u32>SECONDARY_EXEC_DESC

    # on only while a nested VMCS is current, which never happens here
    exec_control &= ~<u32>SECONDARY_EXEC_SHADOW_VMCS

    if not enable_pml:
        exec_control &= ~<u32>SECONDARY_EXEC_ENABLE_PML

    if vmx_xsaves_supported():
        # XSAVES for the guest only with XSAVE
        xsaves_enabled = \
            guest_cpuid_has(vcpu, X86_FEATURE_XSAVE) and \
            guest_cpuid_has(vcpu, X86_FEATURE_XSAVES)

        if not xsaves_enabled:
            exec_control &= ~<u32>SECONDARY_EXEC_XSAVES

    # C- 5 statements: the nested controls: no nested VMX
    if vmx_rdtscp_supported():
        rdtscp_enabled = guest_cpuid_has(vcpu, X86_FEATURE_RDTSCP)
        if not rdtscp_enabled:
            exec_control &= ~<u32>SECONDARY_EXEC_RDTSCP

    # C- 5 statements: the nested controls: no nested VMX
    if vmx_invpcid_supported():
        # INVPCID for the guest only with PCID
        invpcid_enabled = \
            guest_cpuid_has(vcpu, X86_FEATURE_INVPCID) and \
            guest_cpuid_has(vcpu, X86_FEATURE_PCID)

        if not invpcid_enabled:
            exec_control &= ~<u32>SECONDARY_EXEC_ENABLE_INVPCID
            guest_cpuid_clear(vcpu, X86_FEATURE_INVPCID)

    # C- 5 statements: the nested controls: no nested VMX
    if vmx_rdrand_supported():
        rdrand_enabled = guest_cpuid_has(vcpu, X86_FEATURE_RDRAND)
        if rdrand_enabled:
            exec_control &= ~<u32>SECONDARY_EXEC_RDRAND_EXITING

    # C- 5 statements: the nested controls: no nested VMX
    if vmx_rdseed_supported():
        rdseed_enabled = guest_cpuid_has(vcpu, X86_FEATURE_RDSEED)
        if rdseed_enabled:
            exec_control &= ~<u32>SECONDARY_EXEC_RDSEED_EXITING

    # C- 5 statements: the nested controls: no nested VMX
    vmx.secondary_exec_control = exec_control


cdef void vmx_vcpu_setup(vcpu_vmx *vmx) noexcept nogil:
    cdef int i, j
    cdef u32 index, data_low, data_high

    if enable_shadow_vmcs:
        # any field may be written while the vCPU is created, so the read bitmap serves both
        vmcs_write64(VMREAD_BITMAP, __pa(vmx_bitmap[VMX_VMREAD_BITMAP]))
        vmcs_write64(VMWRITE_BITMAP, __pa(vmx_bitmap[VMX_VMREAD_BITMAP]))
    if cpu_has_vmx_msr_bitmap():
        vmcs_write64(MSR_BITMAP, __pa(vmx.vmcs01.msr_bitmap))

    vmcs_write64(VMCS_LINK_POINTER, ~<u64>0)

    # controls
    vmcs_write32(PIN_BASED_VM_EXEC_CONTROL, vmx_pin_based_exec_ctrl(vmx))
    vmx.hv_deadline_tsc = ~<u64>0

    vmcs_write32(CPU_BASED_VM_EXEC_CONTROL, vmx_exec_control(vmx))

    if cpu_has_secondary_exec_ctrls():
        vmx_compute_secondary_exec_control(vmx)
        vmcs_write32(SECONDARY_VM_EXEC_CONTROL,
                     vmx.secondary_exec_control)

    if kvm_vcpu_apicv_active(&vmx.vcpu):
        vmcs_write64(EOI_EXIT_BITMAP0, 0)
        vmcs_write64(EOI_EXIT_BITMAP1, 0)
        vmcs_write64(EOI_EXIT_BITMAP2, 0)
        vmcs_write64(EOI_EXIT_BITMAP3, 0)

        vmcs_write16(GUEST_INTR_STATUS, 0)

        vmcs_write16(POSTED_INTR_NV, POSTED_INTR_VECTOR)

    # C- POSTED_INTR_DESC_ADDR: out of scope, posted interrupts
    if not kvm_pause_in_guest(vmx.vcpu.kvm):
        vmcs_write32(PLE_GAP, ple_gap)
        vmx.ple_window = ple_window
        vmx.ple_window_dirty = True

    vmcs_write32(PAGE_FAULT_ERROR_CODE_MASK, 0)
    vmcs_write32(PAGE_FAULT_ERROR_CODE_MATCH, 0)
    vmcs_write32(CR3_TARGET_COUNT, 0)

    vmcs_write16(HOST_FS_SELECTOR, 0)
    vmcs_write16(HOST_GS_SELECTOR, 0)
    vmx_set_constant_host_state(vmx)
    vmcs_writel(HOST_FS_BASE, 0)
    vmcs_writel(HOST_GS_BASE, 0)

    if cpu_has_vmx_vmfunc():
        vmcs_write64(VM_FUNCTION_CONTROL, 0)

    vmcs_write32(VM_EXIT_MSR_STORE_COUNT, 0)
    vmcs_write32(VM_EXIT_MSR_LOAD_COUNT, 0)
    vmcs_write64(VM_EXIT_MSR_LOAD_ADDR, __pa(vmx.msr_autoload.host.val))
    vmcs_write32(VM_ENTRY_MSR_LOAD_COUNT, 0)
    vmcs_write64(VM_ENTRY_MSR_LOAD_ADDR, __pa(vmx.msr_autoload.guest.val))

    if vmcs_config.vmentry_ctrl & VM_ENTRY_LOAD_IA32_PAT:
        vmcs_write64(GUEST_IA32_PAT, vmx.vcpu.arch.pat)

    for i in range(NR_VMX_MSRS):
        index = vmx_msr_index[i]
        j = vmx.nmsrs

        if rdmsr_safe(index, &data_low, &data_high) < 0:
            continue
        if wrmsr_safe(index, data_low, data_high) < 0:
            continue
        vmx.guest_msrs[j].index = i
        vmx.guest_msrs[j].data = 0
        vmx.guest_msrs[j].mask = ~<u64>0
        vmx.nmsrs += 1

    vmx.arch_capabilities = kvm_get_arch_capabilities()

    vm_exit_controls_init(vmx, vmcs_config.vmexit_ctrl)

    vm_entry_controls_init(vmx, vmcs_config.vmentry_ctrl)

    vmx.vcpu.arch.cr0_guest_owned_bits = X86_CR0_TS
    vmcs_writel(CR0_GUEST_HOST_MASK, ~<ulong>X86_CR0_TS)

    set_cr4_guest_host_mask(vmx)

    if vmx_xsaves_supported():
        vmcs_write64(XSS_EXIT_BITMAP, VMX_XSS_EXIT_BITMAP)

    if enable_pml:
        # C- ASSERT(): vmx_create_vcpu() has just allocated the page
        vmcs_write64(PML_ADDRESS, page_to_phys(vmx.pml_pg))
        vmcs_write16(GUEST_PML_INDEX, PML_ENTITY_NUM - 1)

    if cpu_has_vmx_encls_vmexit():
        vmcs_write64(ENCLS_EXITING_BITMAP, ~<u64>0)


cdef void vmx_vcpu_reset(kvm_vcpu_t *vcpu, bint init_event) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    # C- apic_base_msr: no APIC
    cdef u64 cr0

    vmx.rmode.vm86_active = 0
    vmx.spec_ctrl = 0

    vcpu.arch.microcode_version = <u64>0x100000000
    vmx.vcpu.arch.regs[VCPU_REGS_RDX] = get_rdx_init_val()
    kvm_set_cr8(vcpu, 0)

    # C- 6 statements: the APIC base: no APIC
    vmx_segment_cache_clear(vmx)  # and not once more behind the writes (erratum: segment_cache)

    seg_setup(VCPU_SREG_CS)
    vmcs_write16(GUEST_CS_SELECTOR, 0xf000)
    vmcs_writel(GUEST_CS_BASE, <ulong>0xffff0000)

    seg_setup(VCPU_SREG_DS)
    seg_setup(VCPU_SREG_ES)
    seg_setup(VCPU_SREG_FS)
    seg_setup(VCPU_SREG_GS)
    seg_setup(VCPU_SREG_SS)

    vmcs_write16(GUEST_TR_SELECTOR, 0)
    vmcs_writel(GUEST_TR_BASE, 0)
    vmcs_write32(GUEST_TR_LIMIT, 0xffff)
    vmcs_write32(GUEST_TR_AR_BYTES, 0x008b)

    vmcs_write16(GUEST_LDTR_SELECTOR, 0)
    vmcs_writel(GUEST_LDTR_BASE, 0)
    vmcs_write32(GUEST_LDTR_LIMIT, 0xffff)
    vmcs_write32(GUEST_LDTR_AR_BYTES, 0x00082)

    if not init_event:
        vmcs_write32(GUEST_SYSENTER_CS, 0)
        vmcs_writel(GUEST_SYSENTER_ESP, 0)
        vmcs_writel(GUEST_SYSENTER_EIP, 0)
        vmcs_write64(GUEST_IA32_DEBUGCTL, 0)

    kvm_set_rflags(vcpu, X86_EFLAGS_FIXED)
    kvm_rip_write(vcpu, 0xfff0)

    vmcs_writel(GUEST_GDTR_BASE, 0)
    vmcs_write32(GUEST_GDTR_LIMIT, 0xffff)

    vmcs_writel(GUEST_IDTR_BASE, 0)
    vmcs_write32(GUEST_IDTR_LIMIT, 0xffff)

    vmcs_write32(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE)
    vmcs_write32(GUEST_INTERRUPTIBILITY_INFO, 0)
    vmcs_writel(GUEST_PENDING_DBG_EXCEPTIONS, 0)
    if kvm_mpx_supported():
        vmcs_write64(GUEST_BNDCFGS, 0)

    setup_msrs(vmx)

    vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, 0)

    if cpu_has_vmx_tpr_shadow() and not init_event:
        vmcs_write64(VIRTUAL_APIC_PAGE_ADDR, 0)
        # C- the virtual APIC page where an APIC needs the shadow: no APIC
        vmcs_write32(TPR_THRESHOLD, 0)

    # C- kvm_make_request(KVM_REQ_APIC_PAGE_RELOAD, vcpu): no APIC page

    if vmx.vpid != 0:
        vmcs_write16(VIRTUAL_PROCESSOR_ID, vmx.vpid)

    cr0 = X86_CR0_NW | X86_CR0_CD | X86_CR0_ET
    vmx.vcpu.arch.cr0 = cr0
    vmx_set_cr0(vcpu, cr0)
    vmx_set_cr4(vcpu, 0)
    vmx_set_efer(vcpu, 0)

    update_exception_bitmap(vcpu)

    vpid_sync_context(vmx.vpid)
    if init_event:
        vmx_clear_hlt(vcpu)


cdef void enable_irq_window(kvm_vcpu_t *vcpu) noexcept nogil:
    vmcs_set_bits(CPU_BASED_VM_EXEC_CONTROL,
                  CPU_BASED_VIRTUAL_INTR_PENDING)


cdef void enable_nmi_window(kvm_vcpu_t *vcpu) noexcept nogil:
    if not enable_vnmi or \
            vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_STI:
        enable_irq_window(vcpu)
        return

    vmcs_set_bits(CPU_BASED_VM_EXEC_CONTROL,
                  CPU_BASED_VIRTUAL_NMI_PENDING)


cdef void vmx_inject_irq(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef u32 intr
    cdef int irq = vcpu.arch.interrupt.nr

    trace_kvm_inj_virq(irq)
    vcpu.stat.irq_injections += 1
    # C- 8 statements: injection in virtual-8086 mode: a guest in real mode runs unrestricted
    intr = irq | <u32>INTR_INFO_VALID_MASK
    if vcpu.arch.interrupt.soft:
        intr |= INTR_TYPE_SOFT_INTR
        vmcs_write32(VM_ENTRY_INSTRUCTION_LEN,
                     vmx.vcpu.arch.event_exit_inst_len)
    else:
        intr |= INTR_TYPE_EXT_INTR
    vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, intr)

    vmx_clear_hlt(vcpu)


cdef void vmx_inject_nmi(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)

    if not enable_vnmi:
        # Without virtual NMIs software guesses the end of the NMI-blocked window.
        vmx.loaded_vmcs.soft_vnmi_blocked = 1
        vmx.loaded_vmcs.vnmi_blocked_time = 0

    vcpu.stat.nmi_injections += 1
    vmx.loaded_vmcs.nmi_known_unmasked = False

    # C- 4 statements: injection in virtual-8086 mode: a guest in real mode runs unrestricted
    vmcs_write32(VM_ENTRY_INTR_INFO_FIELD,
                 INTR_TYPE_NMI_INTR | <u32>INTR_INFO_VALID_MASK | NMI_VECTOR)

    vmx_clear_hlt(vcpu)


cdef bint vmx_get_nmi_mask(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef bint masked

    if not enable_vnmi:
        return vmx.loaded_vmcs.soft_vnmi_blocked
    if vmx.loaded_vmcs.nmi_known_unmasked:
        return False
    masked = (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_NMI) != 0
    vmx.loaded_vmcs.nmi_known_unmasked = not masked
    return masked


cdef void vmx_set_nmi_mask(kvm_vcpu_t *vcpu, bint masked) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)

    if not enable_vnmi:
        if vmx.loaded_vmcs.soft_vnmi_blocked != masked:
            vmx.loaded_vmcs.soft_vnmi_blocked = masked
            vmx.loaded_vmcs.vnmi_blocked_time = 0
    else:
        vmx.loaded_vmcs.nmi_known_unmasked = not masked
        if masked:
            vmcs_set_bits(GUEST_INTERRUPTIBILITY_INFO,
                          GUEST_INTR_STATE_NMI)
        else:
            vmcs_clear_bits(GUEST_INTERRUPTIBILITY_INFO,
                            GUEST_INTR_STATE_NMI)


cdef int vmx_nmi_allowed(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- nested_run_pending: no nested VMX
    if not enable_vnmi and \
            to_vmx(vcpu).loaded_vmcs.soft_vnmi_blocked:
        return 0

    return not (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) &
                (GUEST_INTR_STATE_MOV_SS | GUEST_INTR_STATE_STI
                 | GUEST_INTR_STATE_NMI))


cdef int vmx_interrupt_allowed(kvm_vcpu_t *vcpu) noexcept nogil:
    # C~ nested_run_pending: no nested VMX
    return (vmcs_readl(GUEST_RFLAGS) & X86_EFLAGS_IF) != 0 and \
        not (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO) &
             (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS))


cdef int handle_machine_check(kvm_vcpu_t *vcpu) noexcept nogil:
    # vcpu_run() looks for it
    return 1


cdef int handle_exception(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    # C- kvm_run: written as vcpu.run
    cdef u32 intr_info, ex_no, error_code
    # C- cr2, rip: what they serve is left out
    cdef ulong dr6
    cdef u32 vect_info

    # C- er: what it serves is left out
    vect_info = vmx.idt_vectoring_info
    intr_info = vmx.exit_intr_info

    if is_machine_check(intr_info):
        return handle_machine_check(vcpu)

    if is_nmi(intr_info):
        return 1  # the exit itself has seen to it

    if is_invalid_opcode(intr_info):
        return handle_ud(vcpu)

    error_code = 0
    if intr_info & INTR_INFO_DELIVER_CODE_MASK:
        error_code = vmcs_read32(VM_EXIT_INTR_ERROR_CODE)

    # C- 8 statements: the #GP of the VMware backdoor: it is never enabled
    if vect_info & <u32>VECTORING_INFO_VALID_MASK and \
            not (is_page_fault(intr_info) and not (error_code & PFERR_RSVD_MASK)):
        vcpu.run.exit_reason = KVM_EXIT_INTERNAL_ERROR
        vcpu.run.internal.suberror = KVM_INTERNAL_ERROR_SIMUL_EX
        vcpu.run.internal.ndata = 3
        vcpu.run.internal.data[0] = vect_info
        vcpu.run.internal.data[1] = intr_info
        vcpu.run.internal.data[2] = error_code
        return 0

    # C- 4 statements: the guest's page fault: with EPT the guest takes its own
    ex_no = intr_info & INTR_INFO_VECTOR_MASK

    # C- exceptions in virtual-8086 mode: a guest in real mode runs unrestricted
    if ex_no == AC_VECTOR:
        kvm_queue_exception_e(vcpu, AC_VECTOR, error_code)
        return 1
    elif ex_no == DB_VECTOR:
        dr6 = vmcs_readl(EXIT_QUALIFICATION)
        if not (vcpu.guest_debug &
                (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)):
            vcpu.arch.dr6 &= ~<ulong>15
            vcpu.arch.dr6 |= dr6 | DR6_RTM
            if is_icebp(intr_info):
                skip_emulated_instruction(vcpu)

            kvm_queue_exception(vcpu, DB_VECTOR)
            return 1
    # C~ DR6 and DR7 of the debug exit: user space is told the exception alone; the case that #DB
    # falls into
    if ex_no == DB_VECTOR or ex_no == BP_VECTOR:
        # user space may inject the #BP again, and needs its length then
        vmx.vcpu.arch.event_exit_inst_len = \
            vmcs_read32(VM_EXIT_INSTRUCTION_LEN)
        # C~ the debug exit: user space is told the exception alone
        vcpu.run.exit_reason = KVM_EXIT_DEBUG
        vcpu.run.ex.exception = ex_no
    else:
        # C~ kvm_run: written as vcpu.run
        vcpu.run.exit_reason = KVM_EXIT_EXCEPTION
        vcpu.run.ex.exception = ex_no
        vcpu.run.ex.error_code = error_code
    return 0


cdef int handle_external_interrupt(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.stat.irq_exits += 1
    return 1


cdef int handle_triple_fault(kvm_vcpu_t *vcpu) noexcept nogil:
    vcpu.run.exit_reason = KVM_EXIT_SHUTDOWN
    vcpu.mmio_needed = 0
    return 0


cdef int handle_io(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong exit_qualification
    cdef int size, in_, string
    cdef unsigned int port

    exit_qualification = vmcs_readl(EXIT_QUALIFICATION)
    string = (exit_qualification & 16) != 0

    vcpu.stat.io_exits += 1

    if string:
        return kvm_emulate_instruction(vcpu, 0) == EMULATE_DONE

    port = exit_qualification >> 16
    size = (exit_qualification & 7) + 1
    in_ = (exit_qualification & 8) != 0

    return kvm_fast_pio(vcpu, size, port, in_)


cdef int handle_set_cr0(kvm_vcpu_t *vcpu, ulong val) noexcept nogil:
    # C- 15 statements: CR0 of L2 and of a guest with VMX: no nested VMX
    return kvm_set_cr0(vcpu, val)


cdef int handle_set_cr4(kvm_vcpu_t *vcpu, ulong val) noexcept nogil:
    # C- 11 statements: CR4 of L2: no nested VMX
    return kvm_set_cr4(vcpu, val)


cdef int handle_cr(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong exit_qualification, val
    cdef int cr
    cdef int reg
    cdef int err
    cdef int ret
    cdef u8 cr8_prev, cr8

    exit_qualification = vmcs_readl(EXIT_QUALIFICATION)
    cr = exit_qualification & 15
    reg = (exit_qualification >> 8) & 15
    if (exit_qualification >> 4) & 3 == 0:  # a MOV that writes
        val = kvm_register_readl(vcpu, reg)
        trace_kvm_cr_write(cr, val)
        if cr == 0:
            err = handle_set_cr0(vcpu, val)
            return kvm_complete_insn_gp(vcpu, err)
        elif cr == 3:
            WARN_ON_ONCE(enable_unrestricted_guest)
            err = kvm_set_cr3(vcpu, val)
            return kvm_complete_insn_gp(vcpu, err)
        elif cr == 4:
            err = handle_set_cr4(vcpu, val)
            return kvm_complete_insn_gp(vcpu, err)
        elif cr == 8:
            cr8_prev = kvm_get_cr8(vcpu)
            cr8 = <u8>val
            err = kvm_set_cr8(vcpu, cr8)
            ret = kvm_complete_insn_gp(vcpu, err)
            if lapic_in_kernel(vcpu):
                return ret
            if cr8_prev <= cr8:
                return ret
            vcpu.run.exit_reason = KVM_EXIT_SET_TPR
            return 0
    elif (exit_qualification >> 4) & 3 == 2:  # clts
        WARN_ONCE(1, "Guest should always own CR0.TS")
        vmx_set_cr0(vcpu, kvm_read_cr0_bits(vcpu, ~<ulong>X86_CR0_TS))
        trace_kvm_cr_write(0, kvm_read_cr0(vcpu))
        return kvm_skip_emulated_instruction(vcpu)
    elif (exit_qualification >> 4) & 3 == 1:  # a MOV that reads
        if cr == 3:
            WARN_ON_ONCE(enable_unrestricted_guest)
            val = kvm_read_cr3(vcpu)
            kvm_register_write(vcpu, reg, val)
            trace_kvm_cr_read(cr, val)
            return kvm_skip_emulated_instruction(vcpu)
        elif cr == 8:
            val = kvm_get_cr8(vcpu)
            kvm_register_write(vcpu, reg, val)
            trace_kvm_cr_read(cr, val)
            return kvm_skip_emulated_instruction(vcpu)
    # C~ case 3: two bits have no fifth value
    else:  # lmsw
        val = (exit_qualification >> LMSW_SOURCE_DATA_SHIFT) & 0x0f
        trace_kvm_cr_write(0, (kvm_read_cr0(vcpu) & ~<ulong>0xf) | val)
        kvm_lmsw(vcpu, val)

        return kvm_skip_emulated_instruction(vcpu)
    vcpu.run.exit_reason = 0
    vcpu_unimpl(vcpu, "unhandled control register: op %d cr %d\n",
                <int>(exit_qualification >> 4) & 3, cr)
    return 0


cdef int handle_dr(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong exit_qualification
    cdef int dr, dr7, reg
    cdef ulong val

    exit_qualification = vmcs_readl(EXIT_QUALIFICATION)
    dr = exit_qualification & DEBUG_REG_ACCESS_NUM

    # a debug register that is not there is #UD
    if not kvm_require_dr(vcpu, dr):
        return 1

    # above CPL 0 the next entry raises #GP
    if not kvm_require_cpl(vcpu, 0):
        return 1
    dr7 = vmcs_readl(GUEST_DR7)
    if dr7 & DR7_GD:
        # The exit came before the debug trap, which is owed to host or guest.
        if vcpu.guest_debug & KVM_GUESTDBG_USE_HW_BP:
            # C~ the debug exit: user space is told the exception alone
            vcpu.run.ex.exception = DB_VECTOR
            vcpu.run.exit_reason = KVM_EXIT_DEBUG
            return 0
        else:
            vcpu.arch.dr6 &= ~<ulong>15
            vcpu.arch.dr6 |= DR6_BD | DR6_RTM
            kvm_queue_exception(vcpu, DB_VECTOR)
            return 1

    if vcpu.guest_debug == 0:
        vmcs_clear_bits(CPU_BASED_VM_EXEC_CONTROL,
                        CPU_BASED_MOV_DR_EXITING)

        # No exits until the registers are reloaded; the next exit of any kind collects them.
        vcpu.arch.switch_db_regs |= KVM_DEBUGREG_WONT_EXIT
        return 1

    reg = DEBUG_REG_ACCESS_REG(exit_qualification)
    if exit_qualification & TYPE_MOV_FROM_DR:
        if kvm_get_dr(vcpu, dr, &val):
            return 1
        kvm_register_write(vcpu, reg, val)
    elif kvm_set_dr(vcpu, dr, kvm_register_readl(vcpu, reg)):
        return 1

    return kvm_skip_emulated_instruction(vcpu)


cdef u64 vmx_get_dr6(kvm_vcpu_t *vcpu) noexcept nogil:
    return vcpu.arch.dr6


cdef void vmx_set_dr6(kvm_vcpu_t *vcpu, ulong val) noexcept nogil:
    pass


cdef void vmx_sync_dirty_debug_regs(kvm_vcpu_t *vcpu) noexcept nogil:
    get_debugreg(vcpu.arch.db[0], 0)
    get_debugreg(vcpu.arch.db[1], 1)
    get_debugreg(vcpu.arch.db[2], 2)
    get_debugreg(vcpu.arch.db[3], 3)
    get_debugreg(vcpu.arch.dr6, 6)
    vcpu.arch.dr7 = vmcs_readl(GUEST_DR7)

    vcpu.arch.switch_db_regs &= ~KVM_DEBUGREG_WONT_EXIT
    vmcs_set_bits(CPU_BASED_VM_EXEC_CONTROL, CPU_BASED_MOV_DR_EXITING)


cdef void vmx_set_dr7(kvm_vcpu_t *vcpu, ulong val) noexcept nogil:
    vmcs_writel(GUEST_DR7, val)


cdef int handle_cpuid(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_emulate_cpuid(vcpu)


cdef int handle_rdmsr(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u32 ecx = vcpu.arch.regs[VCPU_REGS_RCX]
    cdef msr_data msr_info

    msr_info.index = ecx
    msr_info.host_initiated = False
    if vmx_get_msr(vcpu, &msr_info):
        trace_kvm_msr_read_ex(ecx)
        kvm_inject_gp(vcpu, 0)
        return 1

    trace_kvm_msr_read(ecx, msr_info.data)
    vcpu.arch.regs[VCPU_REGS_RAX] = msr_info.data & <u32>0xffffffff
    vcpu.arch.regs[VCPU_REGS_RDX] = (msr_info.data >> 32) & <u32>0xffffffff
    return kvm_skip_emulated_instruction(vcpu)


cdef int handle_wrmsr(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef msr_data msr
    cdef u32 ecx = vcpu.arch.regs[VCPU_REGS_RCX]
    cdef u64 data = (vcpu.arch.regs[VCPU_REGS_RAX] & <u32>0xffffffff) \
        | (<u64>(vcpu.arch.regs[VCPU_REGS_RDX] & <u32>0xffffffff) << 32)

    msr.data = data
    msr.index = ecx
    msr.host_initiated = False
    if kvm_set_msr(vcpu, &msr) != 0:
        trace_kvm_msr_write_ex(ecx, data)
        kvm_inject_gp(vcpu, 0)
        return 1

    trace_kvm_msr_write(ecx, data)
    return kvm_skip_emulated_instruction(vcpu)


cdef int handle_interrupt_window(kvm_vcpu_t *vcpu) noexcept nogil:
    vmcs_clear_bits(CPU_BASED_VM_EXEC_CONTROL,
                    CPU_BASED_VIRTUAL_INTR_PENDING)

    kvm_make_request(KVM_REQ_EVENT, vcpu)

    vcpu.stat.irq_window_exits += 1
    return 1


cdef int handle_halt(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_emulate_halt(vcpu)


cdef int handle_vmcall(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_emulate_hypercall(vcpu)


cdef int handle_invd(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_emulate_instruction(vcpu, 0) == EMULATE_DONE


cdef int handle_invlpg(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong exit_qualification = vmcs_readl(EXIT_QUALIFICATION)

    kvm_mmu_invlpg(vcpu, exit_qualification)
    return kvm_skip_emulated_instruction(vcpu)


cdef int handle_rdpmc(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef int err

    err = kvm_rdpmc(vcpu)
    return kvm_complete_insn_gp(vcpu, err)


cdef int handle_wbinvd(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_emulate_wbinvd(vcpu)


cdef int handle_ept_violation(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef ulong exit_qualification
    cdef gpa_t gpa
    cdef u64 error_code

    exit_qualification = vmcs_readl(EXIT_QUALIFICATION)

    # An IRET out of an NMI that faults here leaves NMIs blocked, which the exit undid.
    if not (to_vmx(vcpu).idt_vectoring_info & <u32>VECTORING_INFO_VALID_MASK) and \
            enable_vnmi and \
            (exit_qualification & INTR_INFO_UNBLOCK_NMI):
        vmcs_set_bits(GUEST_INTERRUPTIBILITY_INFO, GUEST_INTR_STATE_NMI)

    gpa = vmcs_read64(GUEST_PHYSICAL_ADDRESS)

    # a read
    trace_kvm_page_fault(gpa, exit_qualification)
    error_code = PFERR_USER_MASK if (exit_qualification & EPT_VIOLATION_ACC_READ) else 0
    # a write
    error_code |= PFERR_WRITE_MASK if (exit_qualification & EPT_VIOLATION_ACC_WRITE) else 0
    # a fetch
    error_code |= PFERR_FETCH_MASK if (exit_qualification & EPT_VIOLATION_ACC_INSTR) else 0
    # of a page that is there
    error_code |= PFERR_PRESENT_MASK if (
        exit_qualification & (EPT_VIOLATION_READABLE | EPT_VIOLATION_WRITABLE |
                              EPT_VIOLATION_EXECUTABLE)) else 0

    error_code |= PFERR_GUEST_FINAL_MASK if (exit_qualification & 0x100) != 0 \
        else PFERR_GUEST_PAGE_MASK

    vcpu.arch.exit_qualification = exit_qualification
    return kvm_mmu_page_fault(vcpu, gpa, error_code)


cdef int handle_ept_misconfig(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef gpa_t gpa

    gpa = vmcs_read64(GUEST_PHYSICAL_ADDRESS)

    # C- 7 statements: the fast MMIO bus: no device sits on it
    # C+ the same call without the instruction bytes
    return kvm_mmu_page_fault(vcpu, gpa, PFERR_RSVD_MASK)


cdef int handle_nmi_window(kvm_vcpu_t *vcpu) noexcept nogil:
    WARN_ON_ONCE(not enable_vnmi)
    vmcs_clear_bits(CPU_BASED_VM_EXEC_CONTROL,
                    CPU_BASED_VIRTUAL_NMI_PENDING)
    vcpu.stat.nmi_window_exits += 1
    kvm_make_request(KVM_REQ_EVENT, vcpu)

    return 1


cdef int hardware_setup() noexcept nogil:
    # C- host_bndcfgs: the processor has no MPX
    cdef int r = -ENOMEM, i

    global enable_vpid, enable_ept, enable_ept_ad_bits, enable_unrestricted_guest
    global flexpriority_enabled, enable_vnmi, ple_gap, ple_window, enable_apicv, enable_pml
    global enable_shadow_vmcs, cpu_preemption_timer_multi
    cdef u64 vmx_msr

    rdmsrl_safe(MSR_EFER, &host_efer)

    for i in range(NR_VMX_MSRS):
        kvm_define_shared_msr(i, vmx_msr_index[i])

    for i in range(VMX_BITMAP_NR):
        vmx_bitmap[i] = <ulong *>__get_free_page(GFP_KERNEL)
        if not vmx_bitmap[i]:
            return hardware_setup_out(r)

    memset(vmx_bitmap[VMX_VMREAD_BITMAP], 0xff, PAGE_SIZE)
    memset(vmx_bitmap[VMX_VMWRITE_BITMAP], 0xff, PAGE_SIZE)

    if setup_vmcs_config(&vmcs_config) < 0:
        r = -EIO
        return hardware_setup_out(r)

    if boot_cpu_has(X86_FEATURE_NX):
        kvm_enable_efer_bits(EFER_NX)

    # C- BNDCFGS: the processor has no MPX
    if not cpu_has_vmx_vpid() or not cpu_has_vmx_invvpid() or \
            not (cpu_has_vmx_invvpid_single() or cpu_has_vmx_invvpid_global()):
        enable_vpid = 0

    if not cpu_has_vmx_ept() or \
            not cpu_has_vmx_ept_4levels() or \
            not cpu_has_vmx_ept_mt_wb() or \
            not cpu_has_vmx_invept_global():
        enable_ept = 0

    # C+ no shadow page tables: KVM's MMU is out of scope
    if not enable_ept:
        pr_err("kvm_intel: a guest without EPT needs shadow page tables, which this port has not: "
               "load with ept=1 on a processor that has EPT\n")
        r = -EOPNOTSUPP
        return hardware_setup_out(r)

    if not cpu_has_vmx_ept_ad_bits() or not enable_ept:
        enable_ept_ad_bits = 0

    if not cpu_has_vmx_unrestricted_guest() or not enable_ept:
        enable_unrestricted_guest = 0

    if not cpu_has_vmx_flexpriority():
        flexpriority_enabled = 0

    if not cpu_has_virtual_nmis():
        enable_vnmi = 0

    # C- 6 statements: set_apic_access_page_addr, update_cr8_intercept, 2 MB pages: no APIC, and the
    # fixed EPT has its own page size
    if IS_ENABLED(CONFIG_HYPERV):
        if ms_hyperv.nested_features & HV_X64_NESTED_GUEST_MAPPING_FLUSH \
                and enable_ept:
            kvm_x86_ops.tlb_remote_flush = vmx_hv_remote_flush_tlb

    if not cpu_has_vmx_ple():
        ple_gap = 0
        ple_window = 0

    # C- how the PLE window grows and shrinks: nothing grows the PLE window
    if not cpu_has_vmx_apicv():
        enable_apicv = 0

    # C- sync_pir_to_irr: no APIC
    if cpu_has_vmx_tsc_scaling():
        # C~ kvm_has_tsc_control and its kin: variables of x86.pyx, which sets them; no user space
        # here asks for another TSC frequency, so none is too high
        kvm_enable_tsc_control(48)

    set_bit(0, vmx_vpid_bitmap)  # VPID 0 is L1 itself

    # PML is built on the dirty bits of EPT entries.
    # C- 7 statements: vmx_enable_tdp() and kvm_disable_tdp(), the nested state: the fixed EPT
    # stands in for the MMU
    if not enable_ept or not enable_ept_ad_bits or not cpu_has_vmx_pml():
        enable_pml = 0

    # C- 7 statements: the dirty-log operations, request_immediate_exit without a preemption timer:
    # no MMU; it is never asked for, as it takes nested VMX or SMM
    if cpu_has_vmx_preemption_timer() and enable_preemption_timer:
        rdmsrl(MSR_IA32_VMX_MISC, &vmx_msr)
        cpu_preemption_timer_multi = vmx_msr & VMX_MISC_PREEMPTION_TIMER_RATE_MASK

    # C- set_hv_timer, cancel_hv_timer: no APIC timer
    if not cpu_has_vmx_shadow_vmcs():
        enable_shadow_vmcs = 0
    # C- the test for shadow VMCSs: what it guards is left out
    # C- init_vmcs_shadow_fields(): shadowing serves nested VMX only

    # C- the posted-interrupt wakeup handler, nested_vmx_setup_ctls_msrs(), LMCE: out of scope,
    # posted interrupts; no nested VMX; the processor has no LMCE

    # Where this fails, nobody gives vmx_bitmap back (erratum: bitmaps_leaked).
    return alloc_kvm_area()


cdef int hardware_setup_out(int r) noexcept nogil:
    cdef int i

    for i in range(VMX_BITMAP_NR):
        free_page(<ulong>vmx_bitmap[i])

    return r


cdef void hardware_unsetup() noexcept nogil:
    cdef int i

    for i in range(VMX_BITMAP_NR):
        free_page(<ulong>vmx_bitmap[i])

    free_kvm_area()


cdef int handle_pause(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- grow_ple_window(), kvm_vcpu_on_spin(): nothing else waits for this thread's turn
    return kvm_skip_emulated_instruction(vcpu)


cdef int handle_nop(kvm_vcpu_t *vcpu) noexcept nogil:
    return kvm_skip_emulated_instruction(vcpu)


cdef int handle_mwait(kvm_vcpu_t *vcpu) noexcept nogil:
    pr_warn_once("kvm: MWAIT instruction emulated as NOP!\n")
    return handle_nop(vcpu)


cdef int handle_invalid_op(kvm_vcpu_t *vcpu) noexcept nogil:
    kvm_queue_exception(vcpu, UD_VECTOR)
    return 1


cdef int handle_monitor_trap(kvm_vcpu_t *vcpu) noexcept nogil:
    return 1


cdef int handle_monitor(kvm_vcpu_t *vcpu) noexcept nogil:
    pr_warn_once("kvm: MONITOR instruction emulated as NOP!\n")
    return handle_nop(vcpu)

# VMX instructions of the guest: nested VMX is off, so each is an invalid opcode to it.
# C+ stands for handle_vmclear() and its kin: nested VMX is off, so each is #UD
cdef int handle_vmx_instruction(kvm_vcpu_t *vcpu) noexcept nogil:
    kvm_queue_exception(vcpu, UD_VECTOR)
    return 1


cdef int handle_preemption_timer(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- the test for an immediate exit: what it guards is left out
    # C- kvm_lapic_expired_hv_timer(vcpu): no APIC timer
    return 1


cdef int handle_encls(kvm_vcpu_t *vcpu) noexcept nogil:
    # SGX is not virtualized: the guest sees no ENCLS.
    kvm_queue_exception(vcpu, UD_VECTOR)
    return 1

ctypedef int (*exit_handler_t)(kvm_vcpu_t *vcpu) noexcept nogil

cdef enum:
    kvm_vmx_max_exit_handlers = EXIT_REASON_XRSTORS + 1

cdef exit_handler_t kvm_vmx_exit_handlers[65]


cdef void setup_exit_handlers() noexcept nogil:
    # C: kvm_vmx_exit_handlers
    kvm_vmx_exit_handlers[EXIT_REASON_EXCEPTION_NMI] = handle_exception
    kvm_vmx_exit_handlers[EXIT_REASON_EXTERNAL_INTERRUPT] = handle_external_interrupt
    kvm_vmx_exit_handlers[EXIT_REASON_TRIPLE_FAULT] = handle_triple_fault
    kvm_vmx_exit_handlers[EXIT_REASON_NMI_WINDOW] = handle_nmi_window
    kvm_vmx_exit_handlers[EXIT_REASON_IO_INSTRUCTION] = handle_io
    kvm_vmx_exit_handlers[EXIT_REASON_CR_ACCESS] = handle_cr
    kvm_vmx_exit_handlers[EXIT_REASON_DR_ACCESS] = handle_dr
    kvm_vmx_exit_handlers[EXIT_REASON_CPUID] = handle_cpuid
    kvm_vmx_exit_handlers[EXIT_REASON_MSR_READ] = handle_rdmsr
    kvm_vmx_exit_handlers[EXIT_REASON_MSR_WRITE] = handle_wrmsr
    kvm_vmx_exit_handlers[EXIT_REASON_PENDING_INTERRUPT] = handle_interrupt_window
    kvm_vmx_exit_handlers[EXIT_REASON_HLT] = handle_halt
    kvm_vmx_exit_handlers[EXIT_REASON_INVD] = handle_invd
    kvm_vmx_exit_handlers[EXIT_REASON_INVLPG] = handle_invlpg
    kvm_vmx_exit_handlers[EXIT_REASON_RDPMC] = handle_rdpmc
    kvm_vmx_exit_handlers[EXIT_REASON_VMCALL] = handle_vmcall
    # C~ the VMX instructions, the APIC's exits: each VMX instruction is #UD, without nested VMX; no
    # APIC
    kvm_vmx_exit_handlers[EXIT_REASON_VMCLEAR] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMLAUNCH] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMPTRLD] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMPTRST] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMREAD] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMRESUME] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMWRITE] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMOFF] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_VMON] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_WBINVD] = handle_wbinvd
    # C- XSETBV, task switches: the processor has no XSAVE; out of scope, the instruction emulator
    kvm_vmx_exit_handlers[EXIT_REASON_MCE_DURING_VMENTRY] = handle_machine_check
    # C- descriptor tables: out of scope, the instruction emulator
    kvm_vmx_exit_handlers[EXIT_REASON_EPT_VIOLATION] = handle_ept_violation
    kvm_vmx_exit_handlers[EXIT_REASON_EPT_MISCONFIG] = handle_ept_misconfig
    kvm_vmx_exit_handlers[EXIT_REASON_PAUSE_INSTRUCTION] = handle_pause
    kvm_vmx_exit_handlers[EXIT_REASON_MWAIT_INSTRUCTION] = handle_mwait
    kvm_vmx_exit_handlers[EXIT_REASON_MONITOR_TRAP_FLAG] = handle_monitor_trap
    kvm_vmx_exit_handlers[EXIT_REASON_MONITOR_INSTRUCTION] = handle_monitor
    # C~ INVEPT, INVVPID: #UD, without nested VMX
    kvm_vmx_exit_handlers[EXIT_REASON_INVEPT] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_INVVPID] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_RDRAND] = handle_invalid_op
    kvm_vmx_exit_handlers[EXIT_REASON_RDSEED] = handle_invalid_op
    # C~ XSAVES, XRSTORS, PML, INVPCID, VMFUNC: never intercepted here; VMFUNC is #UD, without
    # nested VMX
    kvm_vmx_exit_handlers[EXIT_REASON_VMFUNC] = handle_vmx_instruction
    kvm_vmx_exit_handlers[EXIT_REASON_PREEMPTION_TIMER] = handle_preemption_timer
    kvm_vmx_exit_handlers[EXIT_REASON_ENCLS] = handle_encls


cdef void vmx_get_exit_info(kvm_vcpu_t *vcpu, u64 *info1, u64 *info2) noexcept nogil:
    info1[0] = vmcs_readl(EXIT_QUALIFICATION)
    info2[0] = vmcs_read32(VM_EXIT_INTR_INFO)


cdef void vmx_destroy_pml_buffer(vcpu_vmx *vmx) noexcept nogil:
    if vmx.pml_pg:
        free_page(<ulong>page_address(vmx.pml_pg))
        vmx.pml_pg = NULL


cdef void vmx_flush_pml_buffer(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- vmx, pml_buf: what they serve is left out
    cdef u16 pml_idx

    pml_idx = vmcs_read16(GUEST_PML_INDEX)

    # nothing logged
    if pml_idx == (PML_ENTITY_NUM - 1):
        return

    # C- 10 statements: kvm_vcpu_mark_page_dirty() of each entry: nobody asks for the dirty log the
    # processor counts down from here
    vmcs_write16(GUEST_PML_INDEX, PML_ENTITY_NUM - 1)


cdef void vmx_dump_sel(const char *name, u32 sel) noexcept nogil:
    pr_err("%s sel=0x%04x, attr=0x%05x, limit=0x%08x, base=0x%016lx\n",
           name, vmcs_read16(sel),
           vmcs_read32(sel + GUEST_ES_AR_BYTES - GUEST_ES_SELECTOR),
           vmcs_read32(sel + GUEST_ES_LIMIT - GUEST_ES_SELECTOR),
           vmcs_readl(sel + GUEST_ES_BASE - GUEST_ES_SELECTOR))


cdef void vmx_dump_dtsel(const char *name, u32 limit) noexcept nogil:
    pr_err("%s                           limit=0x%08x, base=0x%016lx\n",
           name, vmcs_read32(limit),
           vmcs_readl(limit + GUEST_GDTR_BASE - GUEST_GDTR_LIMIT))


cdef void dump_vmcs() noexcept nogil:
    cdef u32 vmentry_ctl = vmcs_read32(VM_ENTRY_CONTROLS)
    cdef u32 vmexit_ctl = vmcs_read32(VM_EXIT_CONTROLS)
    cdef u32 cpu_based_exec_ctrl = vmcs_read32(CPU_BASED_VM_EXEC_CONTROL)
    cdef u32 pin_based_exec_ctrl = vmcs_read32(PIN_BASED_VM_EXEC_CONTROL)
    cdef u32 secondary_exec_control = 0
    cdef ulong cr4 = vmcs_readl(GUEST_CR4)
    cdef u64 efer = vmcs_read64(GUEST_IA32_EFER)
    cdef int i, n

    if cpu_has_secondary_exec_ctrls():
        secondary_exec_control = vmcs_read32(SECONDARY_VM_EXEC_CONTROL)

    pr_err("*** Guest State ***\n")
    pr_err("CR0: actual=0x%016lx, shadow=0x%016lx, gh_mask=%016lx\n",
           vmcs_readl(GUEST_CR0), vmcs_readl(CR0_READ_SHADOW),
           vmcs_readl(CR0_GUEST_HOST_MASK))
    pr_err("CR4: actual=0x%016lx, shadow=0x%016lx, gh_mask=%016lx\n",
           cr4, vmcs_readl(CR4_READ_SHADOW), vmcs_readl(CR4_GUEST_HOST_MASK))
    pr_err("CR3 = 0x%016lx\n", vmcs_readl(GUEST_CR3))
    if (secondary_exec_control & SECONDARY_EXEC_ENABLE_EPT) and \
            (cr4 & X86_CR4_PAE) and not (efer & EFER_LMA):
        pr_err("PDPTR0 = 0x%016llx  PDPTR1 = 0x%016llx\n",
               vmcs_read64(GUEST_PDPTR0), vmcs_read64(GUEST_PDPTR1))
        pr_err("PDPTR2 = 0x%016llx  PDPTR3 = 0x%016llx\n",
               vmcs_read64(GUEST_PDPTR2), vmcs_read64(GUEST_PDPTR3))
    pr_err("RSP = 0x%016lx  RIP = 0x%016lx\n",
           vmcs_readl(GUEST_RSP), vmcs_readl(GUEST_RIP))
    pr_err("RFLAGS=0x%08lx         DR7 = 0x%016lx\n",
           vmcs_readl(GUEST_RFLAGS), vmcs_readl(GUEST_DR7))
    pr_err("Sysenter RSP=%016lx CS:RIP=%04x:%016lx\n",
           vmcs_readl(GUEST_SYSENTER_ESP),
           vmcs_read32(GUEST_SYSENTER_CS), vmcs_readl(GUEST_SYSENTER_EIP))
    vmx_dump_sel("CS:  ", GUEST_CS_SELECTOR)
    vmx_dump_sel("DS:  ", GUEST_DS_SELECTOR)
    vmx_dump_sel("SS:  ", GUEST_SS_SELECTOR)
    vmx_dump_sel("ES:  ", GUEST_ES_SELECTOR)
    vmx_dump_sel("FS:  ", GUEST_FS_SELECTOR)
    vmx_dump_sel("GS:  ", GUEST_GS_SELECTOR)
    vmx_dump_dtsel("GDTR:", GUEST_GDTR_LIMIT)
    vmx_dump_sel("LDTR:", GUEST_LDTR_SELECTOR)
    vmx_dump_dtsel("IDTR:", GUEST_IDTR_LIMIT)
    vmx_dump_sel("TR:  ", GUEST_TR_SELECTOR)
    if (vmexit_ctl & (VM_EXIT_SAVE_IA32_PAT | VM_EXIT_SAVE_IA32_EFER)) or \
            (vmentry_ctl & (VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_IA32_EFER)):
        pr_err("EFER =     0x%016llx  PAT = 0x%016llx\n",
               efer, vmcs_read64(GUEST_IA32_PAT))
    pr_err("DebugCtl = 0x%016llx  DebugExceptions = 0x%016lx\n",
           vmcs_read64(GUEST_IA32_DEBUGCTL),
           vmcs_readl(GUEST_PENDING_DBG_EXCEPTIONS))
    if cpu_has_load_perf_global_ctrl and \
            vmentry_ctl & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL:
        pr_err("PerfGlobCtl = 0x%016llx\n",
               vmcs_read64(GUEST_IA32_PERF_GLOBAL_CTRL))
    if vmentry_ctl & VM_ENTRY_LOAD_BNDCFGS:
        pr_err("BndCfgS = 0x%016llx\n", vmcs_read64(GUEST_BNDCFGS))
    pr_err("Interruptibility = %08x  ActivityState = %08x\n",
           vmcs_read32(GUEST_INTERRUPTIBILITY_INFO),
           vmcs_read32(GUEST_ACTIVITY_STATE))
    if secondary_exec_control & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY:
        pr_err("InterruptStatus = %04x\n",
               vmcs_read16(GUEST_INTR_STATUS))

    pr_err("*** Host State ***\n")
    pr_err("RIP = 0x%016lx  RSP = 0x%016lx\n",
           vmcs_readl(HOST_RIP), vmcs_readl(HOST_RSP))
    pr_err("CS=%04x SS=%04x DS=%04x ES=%04x FS=%04x GS=%04x TR=%04x\n",
           vmcs_read16(HOST_CS_SELECTOR), vmcs_read16(HOST_SS_SELECTOR),
           vmcs_read16(HOST_DS_SELECTOR), vmcs_read16(HOST_ES_SELECTOR),
           vmcs_read16(HOST_FS_SELECTOR), vmcs_read16(HOST_GS_SELECTOR),
           vmcs_read16(HOST_TR_SELECTOR))
    pr_err("FSBase=%016lx GSBase=%016lx TRBase=%016lx\n",
           vmcs_readl(HOST_FS_BASE), vmcs_readl(HOST_GS_BASE),
           vmcs_readl(HOST_TR_BASE))
    pr_err("GDTBase=%016lx IDTBase=%016lx\n",
           vmcs_readl(HOST_GDTR_BASE), vmcs_readl(HOST_IDTR_BASE))
    pr_err("CR0=%016lx CR3=%016lx CR4=%016lx\n",
           vmcs_readl(HOST_CR0), vmcs_readl(HOST_CR3),
           vmcs_readl(HOST_CR4))
    pr_err("Sysenter RSP=%016lx CS:RIP=%04x:%016lx\n",
           vmcs_readl(HOST_IA32_SYSENTER_ESP),
           vmcs_read32(HOST_IA32_SYSENTER_CS),
           vmcs_readl(HOST_IA32_SYSENTER_EIP))
    if vmexit_ctl & (VM_EXIT_LOAD_IA32_PAT | VM_EXIT_LOAD_IA32_EFER):
        pr_err("EFER = 0x%016llx  PAT = 0x%016llx\n",
               vmcs_read64(HOST_IA32_EFER),
               vmcs_read64(HOST_IA32_PAT))
    if cpu_has_load_perf_global_ctrl and \
            vmexit_ctl & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL:
        pr_err("PerfGlobCtl = 0x%016llx\n",
               vmcs_read64(HOST_IA32_PERF_GLOBAL_CTRL))

    pr_err("*** Control State ***\n")
    pr_err("PinBased=%08x CPUBased=%08x SecondaryExec=%08x\n",
           pin_based_exec_ctrl, cpu_based_exec_ctrl, secondary_exec_control)
    pr_err("EntryControls=%08x ExitControls=%08x\n", vmentry_ctl, vmexit_ctl)
    pr_err("ExceptionBitmap=%08x PFECmask=%08x PFECmatch=%08x\n",
           vmcs_read32(EXCEPTION_BITMAP),
           vmcs_read32(PAGE_FAULT_ERROR_CODE_MASK),
           vmcs_read32(PAGE_FAULT_ERROR_CODE_MATCH))
    pr_err("VMEntry: intr_info=%08x errcode=%08x ilen=%08x\n",
           vmcs_read32(VM_ENTRY_INTR_INFO_FIELD),
           vmcs_read32(VM_ENTRY_EXCEPTION_ERROR_CODE),
           vmcs_read32(VM_ENTRY_INSTRUCTION_LEN))
    pr_err("VMExit: intr_info=%08x errcode=%08x ilen=%08x\n",
           vmcs_read32(VM_EXIT_INTR_INFO),
           vmcs_read32(VM_EXIT_INTR_ERROR_CODE),
           vmcs_read32(VM_EXIT_INSTRUCTION_LEN))
    pr_err("        reason=%08x qualification=%016lx\n",
           vmcs_read32(VM_EXIT_REASON), vmcs_readl(EXIT_QUALIFICATION))
    pr_err("IDTVectoring: info=%08x errcode=%08x\n",
           vmcs_read32(IDT_VECTORING_INFO_FIELD),
           vmcs_read32(IDT_VECTORING_ERROR_CODE))
    pr_err("TSC Offset = 0x%016llx\n", vmcs_read64(TSC_OFFSET))
    if secondary_exec_control & SECONDARY_EXEC_TSC_SCALING:
        pr_err("TSC Multiplier = 0x%016llx\n",
               vmcs_read64(TSC_MULTIPLIER))
    if cpu_based_exec_ctrl & CPU_BASED_TPR_SHADOW:
        pr_err("TPR Threshold = 0x%02x\n", vmcs_read32(TPR_THRESHOLD))
    if pin_based_exec_ctrl & PIN_BASED_POSTED_INTR:
        pr_err("PostedIntrVec = 0x%02x\n", vmcs_read16(POSTED_INTR_NV))
    if (secondary_exec_control & SECONDARY_EXEC_ENABLE_EPT):
        pr_err("EPT pointer = 0x%016llx\n", vmcs_read64(EPT_POINTER))
    n = vmcs_read32(CR3_TARGET_COUNT)
    # C~ a loop with a step by hand: its end is tested against i + 1
    i = 0
    while i + 1 < n:
        pr_err("CR3 target%u=%016lx target%u=%016lx\n",
               i, vmcs_readl(CR3_TARGET_VALUE0 + i * 2),
               i + 1, vmcs_readl(CR3_TARGET_VALUE0 + i * 2 + 2))
        # C+ the step of the loop
        i += 4
    if i < n:
        pr_err("CR3 target%u=%016lx\n",
               i, vmcs_readl(CR3_TARGET_VALUE0 + i * 2))
    if secondary_exec_control & SECONDARY_EXEC_PAUSE_LOOP_EXITING:
        pr_err("PLE Gap=%08x Window=%08x\n",
               vmcs_read32(PLE_GAP), vmcs_read32(PLE_WINDOW))
    if secondary_exec_control & SECONDARY_EXEC_ENABLE_VPID:
        pr_err("Virtual processor ID = 0x%04x\n",
               vmcs_read16(VIRTUAL_PROCESSOR_ID))


cdef int vmx_handle_exit(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef u32 exit_reason = vmx.exit_reason
    cdef u32 vectoring_info = vmx.idt_vectoring_info

    # Whoever reads the dirty bitmap finds it no older than the last exit.
    trace_kvm_exit(exit_reason, vcpu, KVM_ISA_VMX)
    if enable_pml:
        vmx_flush_pml_buffer(vcpu)

    # C- 4 statements: invalid guest state, exits of L2: an unrestricted guest has none; no nested
    # VMX
    if exit_reason & <u32>VMX_EXIT_REASONS_FAILED_VMENTRY:
        dump_vmcs()
        vcpu.run.exit_reason = KVM_EXIT_FAIL_ENTRY
        vcpu.run.fail_entry.hardware_entry_failure_reason \
            = exit_reason
        return 0

    # In an eVMCS the number may be that of an earlier failure (erratum: stale_error).
    if unlikely(vmx.fail):
        vcpu.run.exit_reason = KVM_EXIT_FAIL_ENTRY
        vcpu.run.fail_entry.hardware_entry_failure_reason \
            = vmcs_read32(VM_INSTRUCTION_ERROR)
        return 0

    # An exit in the middle of a delivery that is no fault of the delivery means MMIO where
    # the stack or the IDT should be; entering again would only repeat it.
    if (vectoring_info & <u32>VECTORING_INFO_VALID_MASK) and \
            (exit_reason != EXIT_REASON_EXCEPTION_NMI and
             exit_reason != EXIT_REASON_EPT_VIOLATION and
             exit_reason != EXIT_REASON_PML_FULL and
             exit_reason != EXIT_REASON_TASK_SWITCH):
        vcpu.run.exit_reason = KVM_EXIT_INTERNAL_ERROR
        vcpu.run.internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV
        vcpu.run.internal.ndata = 3
        vcpu.run.internal.data[0] = vectoring_info
        vcpu.run.internal.data[1] = exit_reason
        vcpu.run.internal.data[2] = vcpu.arch.exit_qualification
        if exit_reason == EXIT_REASON_EPT_MISCONFIG:
            vcpu.run.internal.ndata += 1
            vcpu.run.internal.data[3] = \
                vmcs_read64(GUEST_PHYSICAL_ADDRESS)
        return 0

    if unlikely(not enable_vnmi and
                vmx.loaded_vmcs.soft_vnmi_blocked):
        if vmx_interrupt_allowed(vcpu):
            vmx.loaded_vmcs.soft_vnmi_blocked = 0
        elif vmx.loaded_vmcs.vnmi_blocked_time > <s64>1000000000 and \
                vcpu.arch.nmi_pending:
            # No sign of the window's end for a second with interrupts off: give up, and say so.
            pr_warn("%s: Breaking out of NMI-blocked "
                    "state on VCPU %d after 1 s timeout\n",
                    <const char *>"vmx_handle_exit", vcpu.vcpu_id)
            vmx.loaded_vmcs.soft_vnmi_blocked = 0

    if exit_reason < kvm_vmx_max_exit_handlers \
            and kvm_vmx_exit_handlers[exit_reason]:
        return kvm_vmx_exit_handlers[exit_reason](vcpu)
    else:
        vcpu_unimpl(vcpu, "vmx: unexpected exit reason 0x%x\n",
                    exit_reason)
        kvm_queue_exception(vcpu, UD_VECTOR)
        return 1


cdef void vmx_l1d_flush(kvm_vcpu_t *vcpu) noexcept nogil:
    # C- 10 statements: when to flush: the processor has no L1TF, so the key stays off
    vcpu.stat.l1d_flush += 1
    # C- 4 statements: the flush itself: the processor has no L1TF, so the key stays off


cdef void vmx_complete_atomic_exit(vcpu_vmx *vmx) noexcept nogil:
    cdef u32 exit_intr_info = 0
    cdef u16 basic_exit_reason = <u16>vmx.exit_reason

    if not (basic_exit_reason == EXIT_REASON_MCE_DURING_VMENTRY
            or basic_exit_reason == EXIT_REASON_EXCEPTION_NMI):
        return

    if not (vmx.exit_reason & <u32>VMX_EXIT_REASONS_FAILED_VMENTRY):
        exit_intr_info = vmcs_read32(VM_EXIT_INTR_INFO)
    vmx.exit_intr_info = exit_intr_info
    # C- 8 statements: asynchronous page faults, machine checks and NMIs of the host: it has none,
    # and its NMI handler would have nothing to do


cdef void vmx_handle_external_intr(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef u32 exit_intr_info = vmcs_read32(VM_EXIT_INTR_INFO)

    if (exit_intr_info & <u32>(INTR_INFO_VALID_MASK | INTR_INFO_INTR_TYPE_MASK)) \
            == <u32>(INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR):
        # C- 12 statements: the call through the IDT gate of the vector: do_IRQ() is what the gate
        # leads to
        # C+ the handler that the gate leads to
        do_IRQ(exit_intr_info & INTR_INFO_VECTOR_MASK)


cdef bint vmx_mpx_supported() noexcept nogil:
    return (vmcs_config.vmexit_ctrl & VM_EXIT_CLEAR_BNDCFGS) != 0 and \
        (vmcs_config.vmentry_ctrl & VM_ENTRY_LOAD_BNDCFGS) != 0


cdef bint vmx_xsaves_supported() noexcept nogil:
    return (vmcs_config.cpu_based_2nd_exec_ctrl & SECONDARY_EXEC_XSAVES) != 0


cdef void vmx_recover_nmi_blocking(vcpu_vmx *vmx) noexcept nogil:
    cdef u32 exit_intr_info
    cdef bint unblock_nmi
    cdef u8 vector
    cdef bint idtv_info_valid

    idtv_info_valid = (vmx.idt_vectoring_info & <u32>VECTORING_INFO_VALID_MASK) != 0

    if enable_vnmi:
        if vmx.loaded_vmcs.nmi_known_unmasked:
            return
        # not vmx->exit_intr_info, which only some exit reasons fill
        exit_intr_info = vmcs_read32(VM_EXIT_INTR_INFO)
        unblock_nmi = (exit_intr_info & INTR_INFO_UNBLOCK_NMI) != 0
        vector = exit_intr_info & INTR_INFO_VECTOR_MASK
        # A fault in the guest's IRET ends "blocked by NMI" too early: block again. The bit
        # means nothing in the middle of a delivery or at a double fault.
        if (exit_intr_info & <u32>INTR_INFO_VALID_MASK) and unblock_nmi and \
                vector != DF_VECTOR and not idtv_info_valid:
            vmcs_set_bits(GUEST_INTERRUPTIBILITY_INFO,
                          GUEST_INTR_STATE_NMI)
        else:
            vmx.loaded_vmcs.nmi_known_unmasked = \
                not (vmcs_read32(GUEST_INTERRUPTIBILITY_INFO)
                     & GUEST_INTR_STATE_NMI)
    elif unlikely(vmx.loaded_vmcs.soft_vnmi_blocked):
        vmx.loaded_vmcs.vnmi_blocked_time += \
            ktime_get() - vmx.loaded_vmcs.entry_time


cdef void __vmx_complete_interrupts(kvm_vcpu_t *vcpu,
                                    u32 idt_vectoring_info,
                                    int instr_len_field,
                                    int error_code_field) noexcept nogil:
    cdef u8 vector
    cdef int type
    cdef bint idtv_info_valid
    cdef u32 err

    idtv_info_valid = (idt_vectoring_info & <u32>VECTORING_INFO_VALID_MASK) != 0

    vcpu.arch.nmi_injected = False
    kvm_clear_exception_queue(vcpu)
    kvm_clear_interrupt_queue(vcpu)

    if not idtv_info_valid:
        return

    kvm_make_request(KVM_REQ_EVENT, vcpu)

    vector = idt_vectoring_info & VECTORING_INFO_VECTOR_MASK
    type = idt_vectoring_info & VECTORING_INFO_TYPE_MASK

    if type == INTR_TYPE_NMI_INTR:
        vcpu.arch.nmi_injected = True
        # the NMI whose delivery faulted is still to come: not blocked by it yet
        vmx_set_nmi_mask(vcpu, False)
    # C~ case INTR_TYPE_SOFT_EXCEPTION: it falls into the next, so both share a block
    elif type == INTR_TYPE_SOFT_EXCEPTION or type == INTR_TYPE_HARD_EXCEPTION:
        if type == INTR_TYPE_SOFT_EXCEPTION:
            vcpu.arch.event_exit_inst_len = vmcs_read32(instr_len_field)
        # C- the fall into the next case: both share a block
        if idt_vectoring_info & VECTORING_INFO_DELIVER_CODE_MASK:
            err = vmcs_read32(error_code_field)
            kvm_requeue_exception_e(vcpu, vector, err)
        else:
            kvm_requeue_exception(vcpu, vector)
    # C~ case INTR_TYPE_SOFT_INTR: it falls into the next, so both share a block
    elif type == INTR_TYPE_SOFT_INTR or type == INTR_TYPE_EXT_INTR:
        if type == INTR_TYPE_SOFT_INTR:
            vcpu.arch.event_exit_inst_len = vmcs_read32(instr_len_field)
        # C- the fall into the next case: both share a block
        kvm_queue_interrupt(vcpu, vector, type == INTR_TYPE_SOFT_INTR)


cdef void vmx_complete_interrupts(vcpu_vmx *vmx) noexcept nogil:
    __vmx_complete_interrupts(&vmx.vcpu, vmx.idt_vectoring_info,
                              VM_EXIT_INSTRUCTION_LEN,
                              IDT_VECTORING_ERROR_CODE)


cdef void vmx_cancel_injection(kvm_vcpu_t *vcpu) noexcept nogil:
    __vmx_complete_interrupts(vcpu,
                              vmcs_read32(VM_ENTRY_INTR_INFO_FIELD),
                              VM_ENTRY_INSTRUCTION_LEN,
                              VM_ENTRY_EXCEPTION_ERROR_CODE)

    vmcs_write32(VM_ENTRY_INTR_INFO_FIELD, 0)


cdef void atomic_switch_perf_msrs(vcpu_vmx *vmx) noexcept nogil:
    cdef int i, nr_msrs
    cdef perf_guest_switch_msr *msrs

    msrs = perf_guest_get_msrs(&nr_msrs)

    if not msrs:
        return

    for i in range(nr_msrs):
        if msrs[i].host == msrs[i].guest:
            clear_atomic_switch_msr(vmx, msrs[i].msr)
        else:
            add_atomic_switch_msr(vmx, msrs[i].msr, msrs[i].guest,
                                  msrs[i].host, False)


cdef void vmx_arm_hv_timer(vcpu_vmx *vmx, u32 val) noexcept nogil:
    vmcs_write32(VMX_PREEMPTION_TIMER_VALUE, val)
    if not vmx.loaded_vmcs.hv_timer_armed:
        vmcs_set_bits(PIN_BASED_VM_EXEC_CONTROL,
                      PIN_BASED_VMX_PREEMPTION_TIMER)
    vmx.loaded_vmcs.hv_timer_armed = True


cdef void vmx_update_hv_timer(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef u64 tscl
    cdef u32 delta_tsc

    if vmx.req_immediate_exit:
        vmx_arm_hv_timer(vmx, 0)
        return

    if vmx.hv_deadline_tsc != ~<u64>0:
        tscl = rdtsc()
        if vmx.hv_deadline_tsc > tscl:
            # set_hv_timer lets no longer span through
            delta_tsc = <u32>((vmx.hv_deadline_tsc - tscl) >>
                              cpu_preemption_timer_multi)
        else:
            delta_tsc = 0

        vmx_arm_hv_timer(vmx, delta_tsc)
        return

    if vmx.loaded_vmcs.hv_timer_armed:
        vmcs_clear_bits(PIN_BASED_VM_EXEC_CONTROL,
                        PIN_BASED_VMX_PREEMPTION_TIMER)
    vmx.loaded_vmcs.hv_timer_armed = False


cdef void vmx_vcpu_run(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)
    cdef ulong cr3, cr4, evmcs_rsp

    # the guest's own time counts towards the NMI-blocked second
    if unlikely(not enable_vnmi and
                vmx.loaded_vmcs.soft_vnmi_blocked):
        vmx.loaded_vmcs.entry_time = ktime_get()

    # A state that the processor would refuse is for the emulator.
    if vmx.emulation_required:
        return

    if vmx.ple_window_dirty:
        vmx.ple_window_dirty = False
        vmcs_write32(PLE_WINDOW, vmx.ple_window)

    # C- sync_shadow_vmcs: no nested VMX
    # C- copy_vmcs12_to_shadow(vmx): no nested VMX

    # C- sync_shadow_vmcs: no nested VMX
    if vcpu.arch.regs_dirty & (<u32>1 << VCPU_REGS_RSP):
        vmcs_writel(GUEST_RSP, vcpu.arch.regs[VCPU_REGS_RSP])
    if vcpu.arch.regs_dirty & (<u32>1 << VCPU_REGS_RIP):
        vmcs_writel(GUEST_RIP, vcpu.arch.regs[VCPU_REGS_RIP])

    cr3 = __get_current_cr3_fast()
    if unlikely(cr3 != vmx.loaded_vmcs.host_state.cr3):
        vmcs_writel(HOST_CR3, cr3)
        vmx.loaded_vmcs.host_state.cr3 = cr3

    cr4 = cr4_read_shadow()
    if unlikely(cr4 != vmx.loaded_vmcs.host_state.cr4):
        vmcs_writel(HOST_CR4, cr4)
        vmx.loaded_vmcs.host_state.cr4 = cr4

    # A debugger that steps over STI or MOV SS wants no shadow behind it, which entry would
    # take for a pending debug exception that is missing.
    if vcpu.guest_debug & KVM_GUESTDBG_SINGLESTEP:
        vmx_set_interrupt_shadow(vcpu, 0)

    # C- the guest's PKRU: the processor has no protection keys
    # C- __write_pkru(vcpu->arch.pkru): the processor has no protection keys

    atomic_switch_perf_msrs(vmx)

    vmx_update_hv_timer(vcpu)

    # The guest may run with IBRS or STIBP where the host does not: it finds what it wrote.
    x86_spec_ctrl_set_guest(vmx.spec_ctrl, 0)

    vmx.__launched = vmx.loaded_vmcs.launched

    evmcs_rsp = <ulong>&current_evmcs.host_rsp if static_branch_unlikely(&enable_evmcs) else 0

    if static_branch_unlikely(&vmx_l1d_should_flush):
        vmx_l1d_flush(vcpu)

    # C- the assembly: a function of asm/vmx_insn.h
    # C+ what the assembly does: compare and store RSP, load the guest's registers, VMLAUNCH or
    # VMRESUME, save the guest's registers, setbe
    vmx.fail = asm_vmx_vcpu_run(vcpu.arch.regs, &vmx.host_rsp, evmcs_rsp, &vcpu.arch.cr2,
                                vmx.__launched)

    # A guest that has the MSR to itself may have written it since.
    if unlikely(not msr_write_intercepted(vcpu, MSR_IA32_SPEC_CTRL)):
        rdmsrl(MSR_IA32_SPEC_CTRL, &vmx.spec_ctrl)

    x86_spec_ctrl_restore_host(vmx.spec_ctrl, 0)

    # L0 knows the fields as they are now; said also where the entry failed and it has not read
    # them (erratum: clean_after_failure).
    # C- vmexit_fill_RSB(): mitigations are off, as with nospectre_v2
    if static_branch_unlikely(&enable_evmcs):
        evmcs_clean_fields_or(HV_VMX_ENLIGHTENED_CLEAN_FIELD_ALL)

    # an exit zeroes DEBUGCTL
    if vmx.host_debugctlmsr:
        update_debugctlmsr(vmx.host_debugctlmsr)

    vcpu.arch.regs_avail = ~((<u32>1 << VCPU_REGS_RIP) | (<u32>1 << VCPU_REGS_RSP)
                             | (<u32>1 << VCPU_EXREG_RFLAGS)
                             | (<u32>1 << VCPU_EXREG_PDPTR)
                             | (<u32>1 << VCPU_EXREG_SEGMENTS)
                             | (<u32>1 << VCPU_EXREG_CR3))
    vcpu.arch.regs_dirty = 0

    # C- 5 statements: the guest's PKRU, nested_run_pending: the processor has no protection keys;
    # no nested VMX
    vmx.idt_vectoring_info = 0

    vmx.exit_reason = 0xdead if vmx.fail else vmcs_read32(VM_EXIT_REASON)
    if vmx.fail or (vmx.exit_reason & <u32>VMX_EXIT_REASONS_FAILED_VMENTRY):
        return

    vmx.loaded_vmcs.launched = 1
    vmx.idt_vectoring_info = vmcs_read32(IDT_VECTORING_INFO_FIELD)

    vmx_complete_atomic_exit(vmx)
    vmx_recover_nmi_blocking(vmx)
    vmx_complete_interrupts(vmx)


cdef kvm_t *vmx_vm_alloc() noexcept nogil:
    cdef kvm_vmx_t *kvm_vmx = <kvm_vmx_t *>vzalloc(sizeof(kvm_vmx_t))
    return &kvm_vmx.kvm


cdef void vmx_vm_free(kvm_t *kvm) noexcept nogil:
    vfree(to_kvm_vmx(kvm))


cdef void vmx_free_vcpu_nested(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)

    vcpu_load(vcpu)
    # C- vmx_switch_vmcs(), free_nested(): no nested VMX
    vcpu_put(vcpu)


cdef void vmx_free_vcpu(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)

    if enable_pml:
        vmx_destroy_pml_buffer(vmx)
    free_vpid(vmx.vpid)
    # C- leave_guest_mode(): no nested VMX
    vmx_free_vcpu_nested(vcpu)
    free_loaded_vmcs(vmx.loaded_vmcs)
    kfree(vmx.guest_msrs)
    kvm_vcpu_uninit(vcpu)
    vcpu_cache_free(vmx)


# C+ stands for kvm_vcpu_cache: the processor reads MSR lists by their physical address, and all
# else of a vCPU is where no device and no guest reaches its pointers
cdef vcpu_vmx *vcpu_cache_zalloc() noexcept nogil:
    cdef vcpu_vmx *vmx = <vcpu_vmx *>kvm_vcpu_cache_zalloc()

    if vmx == NULL:
        return NULL
    vmx.msr_autoload.guest.val = <vmx_msr_entry *>__get_free_page(GFP_KERNEL | __GFP_ZERO)
    if vmx.msr_autoload.guest.val == NULL:
        kvm_vcpu_cache_free(vmx)
        return NULL
    vmx.msr_autoload.host.val = vmx.msr_autoload.guest.val + NR_AUTOLOAD_MSRS
    return vmx


# C+ stands for kvm_vcpu_cache, likewise
cdef void vcpu_cache_free(vcpu_vmx *vmx) noexcept nogil:
    free_page(<ulong>vmx.msr_autoload.guest.val)
    kvm_vcpu_cache_free(vmx)


# C~ ERR_PTR(): the error number goes beside the address
cdef kvm_vcpu_t *vmx_create_vcpu(kvm_t *kvm, unsigned int id, int *error) noexcept nogil:
    cdef int err
    cdef vcpu_vmx *vmx = vcpu_cache_zalloc()
    cdef ulong *msr_bitmap
    cdef int cpu

    if not vmx:
        error[0] = -ENOMEM
        return NULL

    vmx.vpid = allocate_vpid()

    err = kvm_vcpu_init(&vmx.vcpu, kvm, id)
    if err:
        return vmx_create_vcpu_free_vcpu(vmx, err, error)

    err = -ENOMEM

    # A vCPU without its PML buffer is not created at all: one state less to care for.
    if enable_pml:
        vmx.pml_pg = alloc_page(GFP_KERNEL | __GFP_ZERO)
        if not vmx.pml_pg:
            return vmx_create_vcpu_uninit_vcpu(vmx, err, error)

    vmx.guest_msrs = <shared_msr_entry *>kmalloc(PAGE_SIZE, GFP_KERNEL)

    BUILD_BUG_ON(NR_VMX_MSRS * sizeof(vmx.guest_msrs[0])
                 > PAGE_SIZE)
    if not vmx.guest_msrs:
        return vmx_create_vcpu_free_pml(vmx, err, error)

    err = alloc_loaded_vmcs(&vmx.vmcs01)
    if err < 0:
        return vmx_create_vcpu_free_msrs(vmx, err, error)

    # The new VMCS is not current yet: these touch whichever is (erratum: touch_current).
    msr_bitmap = vmx.vmcs01.msr_bitmap
    vmx_disable_intercept_for_msr(msr_bitmap, MSR_FS_BASE, MSR_TYPE_RW)
    vmx_disable_intercept_for_msr(msr_bitmap, MSR_GS_BASE, MSR_TYPE_RW)
    vmx_disable_intercept_for_msr(msr_bitmap, MSR_KERNEL_GS_BASE, MSR_TYPE_RW)
    vmx_disable_intercept_for_msr(msr_bitmap, MSR_IA32_SYSENTER_CS, MSR_TYPE_RW)
    vmx_disable_intercept_for_msr(msr_bitmap, MSR_IA32_SYSENTER_ESP, MSR_TYPE_RW)
    vmx_disable_intercept_for_msr(msr_bitmap, MSR_IA32_SYSENTER_EIP, MSR_TYPE_RW)
    vmx.msr_bitmap_mode = 0

    vmx.loaded_vmcs = &vmx.vmcs01
    cpu = get_cpu()
    vmx_vcpu_load(&vmx.vcpu, cpu)
    vmx.vcpu.cpu = cpu
    vmx_vcpu_setup(vmx)
    vmx_vcpu_put(&vmx.vcpu)
    put_cpu()

    # C- 4 statements: the APIC access page: no APIC in the kernel
    if enable_ept and not enable_unrestricted_guest:
        err = init_rmode_identity_map(kvm)
        if err:
            return vmx_create_vcpu_free_vmcs(vmx, err, error)

    # C- 4 statements: the nested controls: no nested VMX
    vmx.msr_ia32_feature_control_valid_bits = FEATURE_CONTROL_LOCKED
    # C- the posted-interrupt descriptor: out of scope, posted interrupts
    return &vmx.vcpu

# The labels that vmx_create_vcpu() unwinds through, each falling into the next.
cdef kvm_vcpu_t *vmx_create_vcpu_free_vmcs(vcpu_vmx *vmx, int err, int *error) noexcept nogil:
    free_loaded_vmcs(vmx.loaded_vmcs)
    return vmx_create_vcpu_free_msrs(vmx, err, error)


cdef kvm_vcpu_t *vmx_create_vcpu_free_msrs(vcpu_vmx *vmx, int err, int *error) noexcept nogil:
    kfree(vmx.guest_msrs)
    return vmx_create_vcpu_free_pml(vmx, err, error)


cdef kvm_vcpu_t *vmx_create_vcpu_free_pml(vcpu_vmx *vmx, int err, int *error) noexcept nogil:
    vmx_destroy_pml_buffer(vmx)
    return vmx_create_vcpu_uninit_vcpu(vmx, err, error)


cdef kvm_vcpu_t *vmx_create_vcpu_uninit_vcpu(vcpu_vmx *vmx, int err, int *error) noexcept nogil:
    kvm_vcpu_uninit(&vmx.vcpu)
    return vmx_create_vcpu_free_vcpu(vmx, err, error)


cdef kvm_vcpu_t *vmx_create_vcpu_free_vcpu(vcpu_vmx *vmx, int err, int *error) noexcept nogil:
    free_vpid(vmx.vpid)
    vcpu_cache_free(vmx)
    error[0] = err
    return NULL


cdef int vmx_vm_init(kvm_t *kvm) noexcept nogil:
    spin_lock_init(&to_kvm_vmx(kvm).ept_pointer_lock)

    if not ple_gap:
        kvm.arch.pause_in_guest = True

    # C- 11 statements: the L1TF warnings: the processor has no L1TF
    return 0


cdef void vmx_check_processor_compat(void *rtn) noexcept nogil:
    cdef vmcs_config_t vmcs_conf

    (<int *>rtn)[0] = 0
    if setup_vmcs_config(&vmcs_conf) < 0:
        (<int *>rtn)[0] = -EIO
    # C- nested_vmx_setup_ctls_msrs(): no nested VMX
    if memcmp(&vmcs_config, &vmcs_conf, sizeof(vmcs_config_t)) != 0:
        pr_err("kvm: CPU %d feature inconsistency!\n",
               smp_processor_id())
        (<int *>rtn)[0] = -EIO


cdef void vmcs_set_secondary_exec_control(u32 new_ctl) noexcept nogil:
    # What is switched while the guest runs stays; the rest follows from the guest's CPUID.
    cdef u32 mask = (SECONDARY_EXEC_SHADOW_VMCS |
                     SECONDARY_EXEC_VIRTUALIZE_X2APIC_MODE |
                     SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES |
                     SECONDARY_EXEC_DESC)

    cdef u32 cur_ctl = vmcs_read32(SECONDARY_VM_EXEC_CONTROL)

    vmcs_write32(SECONDARY_VM_EXEC_CONTROL,
                 (new_ctl & ~mask) | (cur_ctl & mask))


cdef void vmx_cpuid_update(kvm_vcpu_t *vcpu) noexcept nogil:
    cdef vcpu_vmx *vmx = to_vmx(vcpu)

    if cpu_has_secondary_exec_ctrls():
        vmx_compute_secondary_exec_control(vmx)
        vmcs_set_secondary_exec_control(vmx.secondary_exec_control)
    # C- 7 statements: nested_vmx_allowed(): no nested VMX


cdef void vmx_request_immediate_exit(kvm_vcpu_t *vcpu) noexcept nogil:
    to_vmx(vcpu).req_immediate_exit = True

cdef kvm_x86_ops_t vmx_x86_ops


cdef void setup_vmx_x86_ops() noexcept nogil:
    # C: vmx_x86_ops
    # C+ what the initialiser leaves out is zero
    memset(&vmx_x86_ops, 0, sizeof(vmx_x86_ops))
    vmx_x86_ops.cpu_has_kvm_support = cpu_has_kvm_support
    vmx_x86_ops.disabled_by_bios = vmx_disabled_by_bios
    vmx_x86_ops.hardware_setup = hardware_setup
    vmx_x86_ops.hardware_unsetup = hardware_unsetup
    vmx_x86_ops.check_processor_compatibility = vmx_check_processor_compat
    vmx_x86_ops.hardware_enable = hardware_enable
    vmx_x86_ops.hardware_disable = hardware_disable

    # C- cpu_has_accelerated_tpr, has_emulated_msr: user space asks for neither
    vmx_x86_ops.vm_init = vmx_vm_init
    vmx_x86_ops.vm_alloc = vmx_vm_alloc
    vmx_x86_ops.vm_free = vmx_vm_free

    vmx_x86_ops.vcpu_create = vmx_create_vcpu
    vmx_x86_ops.vcpu_free = vmx_free_vcpu
    vmx_x86_ops.vcpu_reset = vmx_vcpu_reset

    vmx_x86_ops.prepare_guest_switch = vmx_prepare_switch_to_guest
    vmx_x86_ops.vcpu_load = vmx_vcpu_load
    vmx_x86_ops.vcpu_put = vmx_vcpu_put

    vmx_x86_ops.update_bp_intercept = update_exception_bitmap
    # C- get_msr_feature: user space does not ask for it
    vmx_x86_ops.get_msr = vmx_get_msr
    vmx_x86_ops.set_msr = vmx_set_msr
    vmx_x86_ops.get_segment_base = vmx_get_segment_base
    vmx_x86_ops.get_segment = vmx_get_segment
    vmx_x86_ops.set_segment = vmx_set_segment
    vmx_x86_ops.get_cpl = vmx_get_cpl
    vmx_x86_ops.get_cs_db_l_bits = vmx_get_cs_db_l_bits
    vmx_x86_ops.decache_cr0_guest_bits = vmx_decache_cr0_guest_bits
    vmx_x86_ops.decache_cr3 = vmx_decache_cr3
    vmx_x86_ops.decache_cr4_guest_bits = vmx_decache_cr4_guest_bits
    vmx_x86_ops.set_cr0 = vmx_set_cr0
    vmx_x86_ops.set_cr3 = vmx_set_cr3
    vmx_x86_ops.set_cr4 = vmx_set_cr4
    vmx_x86_ops.set_efer = vmx_set_efer
    vmx_x86_ops.get_idt = vmx_get_idt
    vmx_x86_ops.set_idt = vmx_set_idt
    vmx_x86_ops.get_gdt = vmx_get_gdt
    vmx_x86_ops.set_gdt = vmx_set_gdt
    vmx_x86_ops.get_dr6 = vmx_get_dr6
    vmx_x86_ops.set_dr6 = vmx_set_dr6
    vmx_x86_ops.set_dr7 = vmx_set_dr7
    vmx_x86_ops.sync_dirty_debug_regs = vmx_sync_dirty_debug_regs
    vmx_x86_ops.cache_reg = vmx_cache_reg
    vmx_x86_ops.get_rflags = vmx_get_rflags
    vmx_x86_ops.set_rflags = vmx_set_rflags

    vmx_x86_ops.tlb_flush = vmx_flush_tlb
    vmx_x86_ops.tlb_flush_gva = vmx_flush_tlb_gva

    vmx_x86_ops.run = vmx_vcpu_run
    vmx_x86_ops.handle_exit = vmx_handle_exit
    vmx_x86_ops.skip_emulated_instruction = skip_emulated_instruction
    vmx_x86_ops.set_interrupt_shadow = vmx_set_interrupt_shadow
    vmx_x86_ops.get_interrupt_shadow = vmx_get_interrupt_shadow
    # C- patch_hypercall: the guest writes VMCALL itself
    vmx_x86_ops.set_irq = vmx_inject_irq
    vmx_x86_ops.set_nmi = vmx_inject_nmi
    vmx_x86_ops.queue_exception = vmx_queue_exception
    vmx_x86_ops.cancel_injection = vmx_cancel_injection
    vmx_x86_ops.interrupt_allowed = vmx_interrupt_allowed
    vmx_x86_ops.nmi_allowed = vmx_nmi_allowed
    vmx_x86_ops.get_nmi_mask = vmx_get_nmi_mask
    vmx_x86_ops.set_nmi_mask = vmx_set_nmi_mask
    vmx_x86_ops.enable_nmi_window = enable_nmi_window
    vmx_x86_ops.enable_irq_window = enable_irq_window

    # C- 14 statements: the APIC's: no APIC
    vmx_x86_ops.get_tdp_level = get_ept_level
    # C- get_mt_mask: the fixed EPT has one memory type
    vmx_x86_ops.get_exit_info = vmx_get_exit_info
    # C- get_lpage_level: the fixed EPT has its own page size
    vmx_x86_ops.cpuid_update = vmx_cpuid_update
    # C- 4 statements: set_supported_cpuid and its kin: user space asks for no list of features, and
    # no cache needs WBINVD
    vmx_x86_ops.read_l1_tsc_offset = vmx_read_l1_tsc_offset
    vmx_x86_ops.write_tsc_offset = vmx_write_tsc_offset
    vmx_x86_ops.set_tdp_cr3 = vmx_set_cr3
    # C- check_intercept: the instruction emulator's
    vmx_x86_ops.handle_external_intr = vmx_handle_external_intr
    # C- 4 statements: MPX, XSAVES, UMIP, nested events: the processor has no MPX; the processor has
    # no XSAVE; out of scope, the instruction emulator; no nested VMX
    vmx_x86_ops.request_immediate_exit = vmx_request_immediate_exit
    # C- 22 statements: the dirty log, posted interrupts, the PMU, timers, nested VMX, SMM: out of
    # scope, KVM's MMU; out of scope, posted interrupts; out of scope, performance counters; out of
    # scope, clocks and timers; no nested VMX; out of scope, SMM


cdef void vmx_exit() noexcept nogil:
    cdef int cpu
    cdef hv_vp_assist_page *vp_ap

    RCU_INIT_POINTER(crash_vmclear_loaded_vmcss, NULL)
    # C- synchronize_rcu(): a crash is one more call as a CPU, and none is under way

    kvm_exit()

    if IS_ENABLED(CONFIG_HYPERV):
        if static_branch_unlikely(&enable_evmcs):
            # Leave the pages as a load without enlightened VMCS expects them. A CPU that is
            # offline now keeps what it has (erratum: stale_assist).
            for cpu in range(nr_cpu_ids()):
                if not cpu_online(cpu):
                    continue
                vp_ap = hv_get_vp_assist_page(cpu)

                if not vp_ap:
                    continue

                vp_ap.current_nested_vmcs = 0
                vp_ap.enlighten_vmentry = 0

            static_branch_disable(&enable_evmcs)
    # C- vmx_cleanup_l1d_flush(): nothing was allocated for a flush


cdef int vmx_init() noexcept nogil:
    cdef int r
    cdef int cpu

    global enlightened_vmcs
    if IS_ENABLED(CONFIG_HYPERV):
        # Wanted by the user, recommended by the hypervisor, and of a version KVM speaks. Only
        # the lowest version is looked at (erratum: version_range).
        if enlightened_vmcs and \
                ms_hyperv.hints & HV_X64_ENLIGHTENED_VMCS_RECOMMENDED and \
                (ms_hyperv.nested_features & HV_X64_ENLIGHTENED_VMCS_VERSION) >= \
                KVM_EVMCS_VERSION:
            # Every CPU that is online needs its assist page; nothing keeps others from coming
            # online meanwhile, or later (erratum: online_race).
            for cpu in range(nr_cpu_ids()):
                if not cpu_online(cpu):
                    continue
                if not hv_get_vp_assist_page(cpu):
                    enlightened_vmcs = False
                    break

            if enlightened_vmcs:
                pr_info("KVM: vmx: using Hyper-V Enlightened VMCS\n")
                static_branch_enable(&enable_evmcs)
        else:
            enlightened_vmcs = False

    # A failure leaves the key on (erratum: key_left_on).
    # C~ __alignof__, THIS_MODULE: 64, and the module by its name
    r = kvm_init(&vmx_x86_ops, sizeof(vcpu_vmx), 64, &vmx_module)
    if r:
        return r

    # C- 5 statements: vmx_setup_l1d_flush(): the processor has no L1TF
    rcu_assign_pointer(crash_vmclear_loaded_vmcss,
                       crash_vmclear_local_loaded_vmcss)
    # C- vmx_check_vmcs12_offsets(): no nested VMX
    return 0


# C+ what the module loader does by mapping .data and .bss: every variable's initial value
cdef void vmx_module_data() noexcept nogil:
    global host_xss, cpu_preemption_timer_multi, ple_gap, host_efer
    global cpu_has_load_ia32_efer, cpu_has_load_perf_global_ctrl
    module_initial_params(&vmx_module)
    host_xss = 0
    cpu_preemption_timer_multi = 0
    ple_gap = KVM_DEFAULT_PLE_GAP
    host_efer = 0
    cpu_has_load_ia32_efer = 0
    cpu_has_load_perf_global_ctrl = 0
    memset(&vmcs_config, 0, sizeof(vmcs_config))
    memset(&vmx_capability, 0, sizeof(vmx_capability))
    memset(vmx_bitmap, 0, sizeof(vmx_bitmap))
    memset(vmx_vpid_bitmap, 0, sizeof(vmx_vpid_bitmap))
    memset(&crash_vmclear_enabled_bitmap, 0, sizeof(crash_vmclear_enabled_bitmap))
    # A failed init leaves the key on: its text goes back with the rest of the module.
    if static_key_count(&enable_evmcs.key):
        static_branch_disable(&enable_evmcs)
    setup_exit_handlers()
    setup_vmx_x86_ops()


include "vmx_exports.pxi"
include "bench/accessors.pxi"
include "bench/host_rsp.pxi"
