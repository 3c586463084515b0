# SPDX-License-Identifier: GPL-2.0-only
# The state of L0, for Cython.
from kvm_vmx.abi.types cimport u8, u16, u32, u64
from kvm_vmx.abi.virt_cpu cimport NR_GPRS, phys_mem, virt_cpu, virt_cpu_ops
from kvm_vmx.abi.hyperv_tlfs cimport hv_enlightened_vmcs

cdef extern from "kvm_vmx/l0/entry/state_checks.h" nogil:
    enum:
        CHECK_none
        CHECK_not_in_vmx
        CHECK_not_privileged
        CHECK_machine_stopped
        CHECK_assist_page_off
        CHECK_assist_page_missing
        CHECK_switch_off
        CHECK_pointer_none
        CHECK_pointer_misaligned
        CHECK_evmcs_missing
        CHECK_evmcs_revision
        CHECK_evmcs_active
        CHECK_shadow_vmcs
        CHECK_mov_ss
        CHECK_launched
        CHECK_not_launched
        CHECK_pin_controls
        CHECK_primary_controls
        CHECK_secondary_controls
        CHECK_exit_controls
        CHECK_entry_controls
        CHECK_unannounced_exit_perf_global
        CHECK_unannounced_entry_perf_global
        CHECK_uncovered_pin
        CHECK_uncovered_secondary
        CHECK_uncovered_exit
        CHECK_cr3_targets
        CHECK_io_bitmap_a
        CHECK_io_bitmap_b
        CHECK_msr_bitmap
        CHECK_vmread_bitmap
        CHECK_vmwrite_bitmap
        CHECK_virtual_apic_page
        CHECK_tpr_threshold
        CHECK_tpr_above_priority
        CHECK_tpr_shadow_needed
        CHECK_apic_access_and_x2apic
        CHECK_apic_access_page
        CHECK_virtual_interrupts
        CHECK_posted_without_virtual
        CHECK_posted_without_acknowledge
        CHECK_posted_vector
        CHECK_posted_descriptor
        CHECK_virtual_nmis
        CHECK_nmi_window
        CHECK_vpid_zero
        CHECK_ept_memory_type
        CHECK_ept_walk
        CHECK_ept_flags
        CHECK_ept_reserved
        CHECK_ept_needed
        CHECK_pml_page
        CHECK_tsc_multiplier
        CHECK_vm_functions
        CHECK_eptp_switching
        CHECK_eptp_list
        CHECK_timer_saved
        CHECK_entry_smm
        CHECK_exit_store_list_address
        CHECK_exit_store_list_end
        CHECK_exit_load_list_address
        CHECK_exit_load_list_end
        CHECK_entry_load_list_address
        CHECK_entry_load_list_end
        CHECK_event_reserved
        CHECK_event_type
        CHECK_event_error_code
        CHECK_event_nmi_vector
        CHECK_event_exception_vector
        CHECK_event_other_vector
        CHECK_event_monitor_trap
        CHECK_event_error_code_high
        CHECK_event_length
        CHECK_debugctl_unannounced
        CHECK_host_address_space
        CHECK_host_cr0
        CHECK_host_cr4
        CHECK_host_cr3
        CHECK_host_sysenter_esp
        CHECK_host_sysenter_eip
        CHECK_host_pae
        CHECK_host_rip
        CHECK_host_guest_wider
        CHECK_host_pcide
        CHECK_host_rip_high
        CHECK_host_perf_global
        CHECK_host_pat
        CHECK_host_efer
        CHECK_host_efer_mode
        CHECK_host_es_selector
        CHECK_host_cs_selector
        CHECK_host_ss_selector
        CHECK_host_ds_selector
        CHECK_host_fs_selector
        CHECK_host_gs_selector
        CHECK_host_tr_selector
        CHECK_host_cs_null
        CHECK_host_tr_null
        CHECK_host_ss_null
        CHECK_host_fs_base
        CHECK_host_gs_base
        CHECK_host_tr_base
        CHECK_host_gdtr_base
        CHECK_host_idtr_base
        CHECK_guest_cr0
        CHECK_guest_paging
        CHECK_guest_cr4
        CHECK_guest_long_paging
        CHECK_guest_long_pae
        CHECK_guest_pcide
        CHECK_guest_cr3
        CHECK_guest_debugctl
        CHECK_guest_dr7
        CHECK_guest_sysenter_esp
        CHECK_guest_sysenter_eip
        CHECK_guest_perf_global
        CHECK_guest_pat
        CHECK_guest_efer
        CHECK_guest_efer_lma
        CHECK_guest_efer_lme
        CHECK_guest_bndcfgs_base
        CHECK_guest_bndcfgs
        CHECK_tr_base
        CHECK_fs_base
        CHECK_gs_base
        CHECK_cs_base
        CHECK_tr_table
        CHECK_tr_usable
        CHECK_tr_type
        CHECK_ldtr_type
        CHECK_ldtr_system
        CHECK_ldtr_table
        CHECK_ldtr_base
        CHECK_es_present
        CHECK_es_reserved
        CHECK_es_granular
        CHECK_es_fine
        CHECK_cs_present
        CHECK_cs_reserved
        CHECK_cs_granular
        CHECK_cs_fine
        CHECK_ss_present
        CHECK_ss_reserved
        CHECK_ss_granular
        CHECK_ss_fine
        CHECK_ds_present
        CHECK_ds_reserved
        CHECK_ds_granular
        CHECK_ds_fine
        CHECK_fs_present
        CHECK_fs_reserved
        CHECK_fs_granular
        CHECK_fs_fine
        CHECK_gs_present
        CHECK_gs_reserved
        CHECK_gs_granular
        CHECK_gs_fine
        CHECK_ldtr_present
        CHECK_ldtr_reserved
        CHECK_ldtr_granular
        CHECK_ldtr_fine
        CHECK_tr_present
        CHECK_tr_reserved
        CHECK_tr_granular
        CHECK_tr_fine
        CHECK_vm86_es_base
        CHECK_vm86_es_limit
        CHECK_vm86_es_rights
        CHECK_vm86_cs_base
        CHECK_vm86_cs_limit
        CHECK_vm86_cs_rights
        CHECK_vm86_ss_base
        CHECK_vm86_ss_limit
        CHECK_vm86_ss_rights
        CHECK_vm86_ds_base
        CHECK_vm86_ds_limit
        CHECK_vm86_ds_rights
        CHECK_vm86_fs_base
        CHECK_vm86_fs_limit
        CHECK_vm86_fs_rights
        CHECK_vm86_gs_base
        CHECK_vm86_gs_limit
        CHECK_vm86_gs_rights
        CHECK_cs_system
        CHECK_cs_type
        CHECK_cs_privilege
        CHECK_cs_conforming
        CHECK_cs_long
        CHECK_ss_requested
        CHECK_ss_privilege
        CHECK_ss_real
        CHECK_ss_type
        CHECK_ss_system
        CHECK_ss_base
        CHECK_es_data_system
        CHECK_es_accessed
        CHECK_es_readable
        CHECK_es_privilege
        CHECK_ds_data_system
        CHECK_ds_accessed
        CHECK_ds_readable
        CHECK_ds_privilege
        CHECK_fs_data_system
        CHECK_fs_accessed
        CHECK_fs_readable
        CHECK_fs_privilege
        CHECK_gs_data_system
        CHECK_gs_accessed
        CHECK_gs_readable
        CHECK_gs_privilege
        CHECK_ds_base
        CHECK_es_base
        CHECK_guest_gdtr_base
        CHECK_guest_idtr_base
        CHECK_guest_gdtr_limit
        CHECK_guest_idtr_limit
        CHECK_guest_rip
        CHECK_guest_rip_high
        CHECK_guest_rflags
        CHECK_guest_rflags_vm
        CHECK_guest_rflags_if
        CHECK_activity_state
        CHECK_activity_hlt
        CHECK_activity_blocked
        CHECK_activity_event
        CHECK_blocking_reserved
        CHECK_blocking_both
        CHECK_blocking_sti
        CHECK_blocking_interrupt
        CHECK_blocking_nmi_mov_ss
        CHECK_blocking_nmi
        CHECK_pending_reserved
        CHECK_pending_step
        CHECK_link_address
        CHECK_link_current
        CHECK_link_missing
        CHECK_link_revision
        CHECK_pdpte0
        CHECK_pdpte1
        CHECK_pdpte2
        CHECK_pdpte3
        CHECK_pdptes_missing
        CHECK_pdptes
        CHECK_item_too_many
        CHECK_item_missing
        CHECK_item_reserved
        CHECK_item_segment_base
        CHECK_item_forbidden
        CHECK_item_value
        CHECK_vmxon_absent
        CHECK_vmxon_protection
        CHECK_vmxon_enable
        CHECK_vmxon_privilege
        CHECK_vmxon_twice
        CHECK_vmxon_cr0
        CHECK_vmxon_cr4
        CHECK_vmxon_firmware
        CHECK_vmxon_address
        CHECK_vmxon_missing
        CHECK_vmxon_revision
        CHECK_insn_not_in_vmx
        CHECK_insn_privilege
        CHECK_vmclear_address
        CHECK_vmclear_vmxon
        CHECK_vmptrld_address
        CHECK_vmptrld_vmxon
        CHECK_vmptrld_missing
        CHECK_vmptrld_revision
        CHECK_vmread_no_vmcs
        CHECK_vmread_enlightened
        CHECK_vmread_page_missing
        CHECK_vmread_component
        CHECK_vmread_no_place
        CHECK_vmwrite_no_vmcs
        CHECK_vmwrite_enlightened
        CHECK_vmwrite_component
        CHECK_vmwrite_read_only
        CHECK_invept_absent
        CHECK_invept_type
        CHECK_invept_memory_type
        CHECK_invept_walk
        CHECK_invept_flags
        CHECK_invept_reserved
        CHECK_invvpid_absent
        CHECK_invvpid_type
        CHECK_invvpid_reserved
        CHECK_invvpid_zero
        CHECK_invvpid_address
        CHECK_cr_number
        CHECK_cr_privilege
        CHECK_cr0_reserved
        CHECK_cr0_paging
        CHECK_cr0_cache
        CHECK_cr0_long_mode
        CHECK_cr0_in_vmx
        CHECK_cr3_reserved
        CHECK_cr4_reserved
        CHECK_cr4_no_vmx
        CHECK_cr4_long_mode
        CHECK_cr4_in_vmx
        CHECK_cr8_reserved
        CHECK_rdmsr_privilege
        CHECK_rdmsr_missing
        CHECK_rdmsr_unannounced
        CHECK_rdmsr_command
        CHECK_wrmsr_privilege
        CHECK_wrmsr_missing
        CHECK_wrmsr_read_only
        CHECK_wrmsr_unannounced
        CHECK_msr_canonical
        CHECK_feature_control_locked
        CHECK_feature_control_bits
        CHECK_msr_pat
        CHECK_msr_perf_global
        CHECK_msr_no_counters
        CHECK_msr_debugctl
        CHECK_msr_spec_ctrl
        CHECK_msr_command
        CHECK_msr_32_bits
        CHECK_msr_apic_base
        CHECK_msr_mcg_status
        CHECK_msr_mtrr_default
        CHECK_msr_mtrr_type
        CHECK_msr_efer
        CHECK_msr_efer_paging
        CHECK_assist_frame
        CHECK_hypercall_locked
        CHECK_hypercall_frame
        CHECK_reference_frame
        CHECK_reenlightenment_bits
        CHECK_reenlightenment_vector
        CHECK_reenlightenment_target
        CHECK_emulation_control
        CHECK_emulation_status
        CHECK_invariant_bits
        CHECK_invariant_stays
        CHECK_synic_eoi
        CHECK_synic_tpr
        CHECK_synic_frame
        CHECK_synic_vector
        CHECK_stimer_direct
        CHECK_call_privilege
        CHECK_call_real_mode
        CHECK_call_no_identity
        CHECK_call_no_xmm
        CHECK_call_code
        CHECK_call_unoffered
        CHECK_call_vmx_off
        CHECK_call_extended_code
        CHECK_call_denied
        CHECK_call_reserved
        CHECK_call_variable
        CHECK_call_count
        CHECK_call_start
        CHECK_call_continued
        CHECK_call_simple
        CHECK_call_fast_length
        CHECK_call_alignment
        CHECK_call_page
        CHECK_call_memory
        CHECK_call_output_alignment
        CHECK_call_output_memory
        CHECK_call_extended_fast
        CHECK_call_port
        CHECK_flush_flags
        CHECK_flush_set_format
        CHECK_flush_set_banks
        CHECK_flush_space_flags
        CHECK_flush_partition_page
        CHECK_send_vector
        CHECK_send_reserved
        CHECK_send_set_banks
        L0_NR_CHECKS
        LIMIT_NONE
        LIMIT_BITS
        LIMIT_PIN
        LIMIT_PROC
        LIMIT_SECONDARY
        LIMIT_EXIT
        LIMIT_ENTRY
        LIMIT_CR0
        LIMIT_GUEST_CR0
        LIMIT_CR4
        LIMIT_ADDRESS
        LIMIT_PAGE
        LIMIT_16_BYTES
        LIMIT_64_BYTES
        LIMIT_EPTP
        LIMIT_PDPTE
        LIMIT_EPT
        LIMIT_TARGETS
        LIMIT_PERF_GLOBAL
        LIMIT_VMFUNC
        LIMIT_CR4_MAY
        LIMIT_APIC_BASE
        END_FAULT
        END_INVALID
        END_ERROR
        END_CONTROL
        END_HOST
        END_GUEST
        END_LINK
        END_PDPTE
        END_LIST
        END_UD
        END_GP
        END_FAIL
        END_STATUS

    ctypedef struct l0_refusal "struct l0_refusal":
        u64 entry
        u64 value
        u64 other
        u64 a
        u64 b
        u64 must
        u64 may
        u32 check
        u32 msr
        u32 from_l2

cdef extern from "kvm_vmx/l0/watch/written.h" nogil:
    enum:
        L0_WRITTEN_PAGES
        L0_WRITTEN_SLOTS
        L0_WRITTEN_TRIES

    ctypedef struct l0_writer "struct l0_writer":
        u64 where
        u64 value
        u64 entry
        u32 who
        u32 vp

    ctypedef struct l0_written_page "struct l0_written_page":
        u64 page
        l0_writer slot[640]

    ctypedef struct l0_written "struct l0_written":
        l0_written_page page[512]

    l0_written_page *l0_written_at(const void *all, u64 page, int make)

cdef extern from "kvm_vmx/l0/watch/observed.h" nogil:
    enum:
        L0_OF_CHECK
        L0_MAX_LINT_RECORDS
        LINT_msr_lists_ignored
        LINT_evmcs_on_two_cpus
        LINT_vmcs_pointer_while_evmcs
        LINT_vmcs_access_while_evmcs
        LINT_evmcs_vanished
        LINT_vmcs_vanished
        LINT_msr_list_aborted
        LINT_stale_field
        LINT_ungrouped_field
        LINT_exit_info_written
        LINT_page_not_zeroed
        LINT_clean_fields_reserved
        LINT_version_changed
        LINT_pointer_misaligned
        LINT_switch_value
        LINT_assist_page_reserved
        LINT_enlightenments_reserved
        LINT_msr_bitmap_unannounced
        LINT_direct_flush_unannounced
        LINT_exception_unannounced
        LINT_debugctl_unannounced
        LINT_direct_flush_incomplete
        LINT_partition_page_misaligned
        LINT_vmclear_elsewhere
        LINT_entry_list_failed
        LINT_page_fault_filter_ignored
        LINT_cr3_targets_ignored
        LINT_entry_refused
        LINT_assist_page_unset
        LINT_stale_translation
        LINT_flush_unknown_space
        LINT_flush_set_short
        LINT_event_lost
        LINT_event_doubled
        LINT_write_unread
        LINT_clean_unread
        L0_NR_LINTS
        TRACED_cpuid
        TRACED_rdmsr
        TRACED_wrmsr
        TRACED_mov_to_cr
        TRACED_vmxon
        TRACED_vmxoff
        TRACED_vmclear
        TRACED_vmptrld
        TRACED_vmptrst
        TRACED_vmread
        TRACED_vmwrite
        TRACED_vmlaunch
        TRACED_vmresume
        TRACED_invept
        TRACED_invvpid
        TRACED_vmcall
        L0_NR_TRACED
    const u32 L0_NO_FIELD

    ctypedef struct l0_lint_record "struct l0_lint_record":
        u32 what
        u32 offset
        u64 count
        u64 first_entry
        u64 last_entry
        u64 found
        u64 kept
        l0_writer writer

    ctypedef struct l0_trace_record "struct l0_trace_record":
        u64 sequence
        u64 denials
        u32 insn
        u32 status
        u64 operand[3]
        u64 result[2]
        u64 l2_instructions
        u32 groups_reread
        u32 bytes_reread
        l0_refusal refusal

    ctypedef struct l0_trace "struct l0_trace":
        l0_trace_record *record
        u64 size
        u64 end
        const virt_cpu_ops *ops

cdef extern from "kvm_vmx/l0/guest/row.h" nogil:
    ctypedef struct l0_row "struct l0_row":
        u64 rip
        u64 end
        const u8 *code[2]
        u64 word[2]
        u64 number
        u64 value
        u64 insns
        const u8 *assist
        u8 *page

cdef extern from "kvm_vmx/l0/guest/parts_of_l2.h" nogil:
    enum:
        L2_TLB_ENTRIES
        L2_NO_REGISTER
        L2_READ
        L2_WRITE
        L2_FETCH
        L2_USER
        L2_DONE
        L2_LEAVES
        L2_FAULTS

    ctypedef struct l2_fault "struct l2_fault":
        u32 vector
        u32 error
        u64 payload

    ctypedef struct l2_tlb_entry "struct l2_tlb_entry":
        u64 tag
        u8 *host

    ctypedef struct l2_insn "struct l2_insn":
        u64 offset
        u64 displacement
        u64 immediate
        u32 far_selector
        u8 map
        u8 opcode
        u8 length
        u8 size
        u8 address_size
        u8 byte_operand
        u8 operand_prefix
        u8 repeat
        u8 lock
        u8 rex
        u8 segment
        u8 has_modrm
        u8 is_memory
        u8 mod
        u8 reg
        u8 rm
        u8 base
        u8 index
        u8 scale
        u8 rip_relative

cdef extern from "kvm_vmx/l0/physical.h" nogil:
    u8 *phys_ptr(const phys_mem *mem, u64 gpa, u64 len)
    u8 *phys_page(const phys_mem *mem, u64 gpa)

cdef extern from "kvm_vmx/l0/hv/profile.h" nogil:
    ctypedef struct l0_cpuid_leaf "struct l0_cpuid_leaf":
        u32 function
        u32 index
        u32 indexed
        u32 eax
        u32 ebx
        u32 ecx
        u32 edx

    ctypedef struct l0_msr_value "struct l0_msr_value":
        u32 index
        u64 value

    ctypedef struct l0_profile "struct l0_profile":
        u32 nr_leaves
        u32 nr_msrs
        l0_cpuid_leaf *leaf
        l0_msr_value *msr
        u32 maxphyaddr
        u32 vmcs_revision
        u8 bad_evmcs_pointer_is_ud
        u8 vmread_serves_evmcs
        u8 honour_msr_lists
        u8 assist_overlay
        u8 one_vp_per_evmcs
        u8 aligned_evmcs_pointer
        u8 reject_uncovered_controls
        u8 announced_debugctl
        u8 refuse_rep_start
        u8 user_flush_is_ud
        u8 marks_clean_at_entry
        u8 honour_page_fault_filter
        u8 honour_cr3_targets
        u8 enforce_cpuid
        u8 leaves_error_unwritten
        u8 launch_trusts_clean
        u8 rereads_clean_groups
        u8 loses_assist_page
        u8 serves_stale_bitmaps

    ctypedef struct l0_caps "struct l0_caps":
        u32 pin_must
        u32 pin_may
        u32 proc_must
        u32 proc_may
        u32 secondary_must
        u32 secondary_may
        u32 exit_must
        u32 exit_may
        u32 entry_must
        u32 entry_may
        u64 basic
        u64 misc
        u64 ept_vpid
        u64 vmfunc
        u64 cr0_must
        u64 cr0_may
        u64 cr4_must
        u64 cr4_may
        u64 address_reserved
        u64 perf_global_may
        u8 vmx
        u32 features
        u32 features_ebx
        u32 features_edx
        u32 hints
        u32 nested
        u32 nested_ebx

cdef extern from "kvm_vmx/l0/watch/watched.h" nogil:
    enum:
        L0_WATCHED_SPACES
        L0_ASSIST_HEAD

    ctypedef struct l0_walked "struct l0_walked":
        u64 gpa
        const u64 *slot[4]
        u64 entry[4]

    ctypedef struct l0_step "struct l0_step":
        const u64 *slot
        u64 entry

    ctypedef struct l0_watch "struct l0_watch":
        u64 kept
        u64 aside
        l2_tlb_entry stale[64]
        u64 last_space
        u64 space[64u]
        u32 nr_spaces
        u32 injected
        u32 delivered
        u32 vectoring
        u32 exit_reason
        u32 dirty
        u32 unread
        u64 rip
        u64 entered
        u64 executed
        u64 exits
        u64 plain
        l0_written_page *written
        l0_walked walked[64]
        u32 nr_steps
        u32 steps_known
        l0_step step[4*64]
        u64 told
        u8 assist[0x38u]

cdef extern from "kvm_vmx/l0/whole/parts.h" nogil:
    enum:
        L0_ACCESSES
        L0_DEVICE_RANGES
        L0_APIC_REGISTERS
        L0_IO_LINES
        L0_NR_PORTS
        ROOT_PAUSED
        ROOT_PORT
        ROOT_MEMORY
        ROOT_WAITS
        ROOT_SHUTDOWN
        ROOT_UNDONE
        VIRTUAL_ENTRY
        VIRTUAL_WRITTEN
        VIRTUAL_INTERRUPT

    ctypedef struct l0_access "struct l0_access":
        u64 address
        u64 value
        u8 in_memory
        u8 is_read
        u8 size

    ctypedef struct l0_bus "struct l0_bus":
        u8 asks
        u8 answered
        u8 nr_answers
        u8 used
        u8 first
        u8 nr_writes
        u8 is_virtual
        l0_access now
        l0_access queue[80]
        u64 answer[80]
        u64 page

    ctypedef struct l0_devices "struct l0_devices":
        u8 ports
        u8 nr_ranges
        u64 first[32]
        u64 last[32]

    ctypedef struct l0_apic "struct l0_apic":
        u32 reg[64]
        u64 isr[4]
        u64 timer_at
        u64 timer_every
        u64 deadline
        u32 icr_high
        u8 init_waits
        u8 sipi_waits
        u8 virtual_work
        u8 reserved
        u8 sipi_vector
        u8 written_size
        u16 written

    ctypedef struct l0_io_apic "struct l0_io_apic":
        u64 entry[24]
        u32 lines
        u32 index
        u32 id

    ctypedef struct l0_port "struct l0_port":
        u32 connection
        u32 vp
        u8 kind
        u8 source
        u8 waits
        u8 length
        u32 message
        u8 body[240]

    ctypedef struct l0_board "struct l0_board":
        l0_io_apic io_apic
        l0_port port[16]

    ctypedef struct l0_root "struct l0_root":
        u8 on
        u8 shadow_ended
        u8 waits
        u64 entered
        u64 since
        u64 instructions
        u32 queued
        u32 queued_error
        u8 queued_past
        u64 idle
        l0_bus bus
        l0_apic apic

    u32 l0_signals(const l0_apic *apic)

cdef extern from "kvm_vmx/l0/state.h" nogil:
    enum:
        L0_DECODED
        L0_MAX_ALARMS
        L0_ALARM_NMI
        L0_ALARM_STOP
        L0_ALARM_TIMERS
        L0_NR_SINTS
        L0_NR_STIMERS
        L0_NR_EXIT_REASONS
        L0_MAX_CHAIN
        L0_LONGEST_CODE
        L0_NR_MSRS
        L2_NOT_RUNNING
        L2_RUNNING
        L2_STOPPED
        L2_LOST
        CACHE_ALWAYS
        CACHE_NEVER
        CACHE_RANDOM
        CACHE_COMMIT_ON_SUCCESS
        SLOT_FEATURE_CONTROL
        SLOT_PAT
        SLOT_DEBUGCTL
        SLOT_PERF_GLOBAL_CTRL
        SLOT_SYSENTER_CS
        SLOT_SYSENTER_ESP
        SLOT_SYSENTER_EIP
        SLOT_STAR
        SLOT_LSTAR
        SLOT_CSTAR
        SLOT_SYSCALL_MASK
        SLOT_FS_BASE
        SLOT_GS_BASE
        SLOT_KERNEL_GS_BASE
        SLOT_TSC_AUX
        SLOT_TSC_ADJUST
        SLOT_SPEC_CTRL
        SLOT_MISC_ENABLE
        SLOT_APIC_BASE
        SLOT_MCG_STATUS
        SLOT_MTRR_DEF_TYPE
        NR_SLOTS
    const u64 L0_NO_VMCS
    const u64 L0_NR_COUNTERS

    ctypedef struct l0_vmcs "struct l0_vmcs":
        hv_enlightened_vmcs f
        u16 posted_intr_nv
        u16 guest_intr_status
        u16 guest_pml_index
        u16 reserved16
        u32 ple_gap
        u32 ple_window
        u32 vmx_preemption_timer_value
        u32 launch_state
        u64 pml_address
        u64 apic_access_addr
        u64 posted_intr_desc_addr
        u64 vm_function_control
        u64 eoi_exit_bitmap[4]
        u64 eptp_list_address
        u64 vmread_bitmap
        u64 vmwrite_bitmap
        u64 encls_exiting_bitmap
        u64 tsc_multiplier
        u64 guest_ia32_perf_global_ctrl
        u64 host_ia32_perf_global_ctrl

    ctypedef struct l0_vp "struct l0_vp"

    ctypedef struct l0_field "struct l0_field"

    ctypedef struct l0_decoded "struct l0_decoded":
        u64 code[2]
        u64 rip
        u64 bits
        int (*quick)(l0_vp *vp, const l2_insn *insn) noexcept nogil
        l2_insn insn

    ctypedef struct l0_alarm "struct l0_alarm":
        u64 at
        u32 what

    ctypedef struct l0_counters "struct l0_counters":
        u64 cpuid
        u64 rdmsr
        u64 wrmsr
        u64 mov_to_cr
        u64 vmxon
        u64 vmxoff
        u64 vmclear
        u64 vmptrld
        u64 vmptrst
        u64 vmread
        u64 vmwrite
        u64 vmlaunch
        u64 vmresume
        u64 invept
        u64 invvpid
        u64 vmcall
        u64 exits
        u64 failed_entries
        u64 l2_instructions
        u64 groups_reread
        u64 bytes_reread
        u64 bytes_ungrouped
        u64 bytes_written_back
        u64 tlb_flushes
        u64 lints

    ctypedef struct l0_synic "struct l0_synic":
        u64 control
        u64 event_page
        u64 message_page
        u64 source[16]
        u64 icr
        u64 tpr

    ctypedef struct l0_stimer "struct l0_stimer":
        u64 config
        u64 count
        u64 due
        u64 waits

    ctypedef struct l0_clock "struct l0_clock":
        u64 created_tsc
        u64 created_ns
        u64 tsc_hz
        u64 tsc_base
        u64 tsc_since
        u64 tsc_ratio
        u64 hardware_ratio
        u64 reference_msr
        u64 reenlightenment
        u64 emulation_control
        u64 emulation_status
        u64 migrations
        u64 skipped
        const u64 *counter
        u64 counter_shift
        u64 follows_host

    ctypedef struct l0_exit_record "struct l0_exit_record":
        u64 rip
        u64 qualification
        u32 reason
        u32 clean_fields

    ctypedef struct l0_chained "struct l0_chained":
        u64 rip
        u64 payload
        u32 info
        u32 error
        u8 code_bits
        u8 decoded
        u8 have
        u8 code[15]

    ctypedef struct l0_chain "struct l0_chain":
        u32 length
        l0_chained event[8]

    ctypedef struct l0_extended "struct l0_extended":
        u16 control
        u16 status
        u16 tags
        u16 opcode
        u64 instruction
        u64 operand
        u32 mxcsr
        u32 mxcsr_mask
        u64 x87[16]
        u64 xmm[32]
        u64 xcr0

    ctypedef struct l0_partition "struct l0_partition"

    ctypedef struct l0_vp "struct l0_vp":
        virt_cpu cpu
        l0_partition *partition
        u8 in_vmx
        u8 row_kept
        u8 entry_is_repeat
        u8 host_loaded
        u8 guest_state
        u8 mov_ss_shadow
        u16 reserved16
        u64 vmxon_ptr
        u64 current_vmptr
        u64 active_evmcs
        const l0_field *fields
        l0_vmcs current_vmcs
        l0_vmcs evmcs_cache
        u32 valid_groups
        u32 groups_to_check
        u8 bitmap_kept
        u8 last_exit_kept
        l0_vmcs *vmcs
        u64 *regs
        l2_fault fault
        u64 next_rip
        u64 entered_at
        u64 deadline
        u64 resumed_at
        u32 vectoring
        u32 vectoring_error
        u8 code_bits
        u8 guest_cpl
        u8 unblocked_nmi
        u8 boundary_work
        u8 monitoring
        u8 trap_pending
        u8 may_stop
        u8 paused
        l2_tlb_entry tlb[64]
        l2_tlb_entry physical_tlb[64]
        u64 tlb_context[5]
        u64 apic_access
        l0_row row
        l0_alarm alarm[16+1]
        u32 nr_alarms
        u64 guest_random
        l0_msr_value msr[32]
        u32 nr_msr
        u64 efer
        u64 assist_msr
        u64 random_state
        u64 gpr[NR_GPRS]
        l0_extended extended
        l0_synic synic
        l0_stimer stimer[4]
        u64 pause_first
        u64 pause_last
        u64 pause_entry
        u64 lints
        u32 nr_lint_records
        l0_counters counters
        u64 repeats
        u64 exit_reasons[128]
        l0_exit_record *exit_log
        u64 exit_log_size
        u64 exit_log_end
        l0_trace trace
        l0_chain chain
        l0_refusal refusal
        l0_refusal denied
        u64 denials
        l0_watch *watch
        u8 had_assist_page
        u8 overlaid[4096]
        u8 msr_bitmap[4096]
        u8 evmcs_last_exit[1024]
        l0_lint_record lint_record[256]
        l0_vmcs root_vmcs
        l2_insn root_insn
        l0_root root
        l0_decoded *decoded

    ctypedef struct l0_partition "struct l0_partition":
        l0_profile profile
        u32 nr_vps
        u32 cache_policy
        u64 seed
        u64 guest_os_id
        u64 hypercall_msr
        u8 strict
        u8 lints_enabled
        u8 slow_entry
        u8 rereads
        u8 stopped
        u32 stopped_vp
        l0_caps caps
        l0_clock clock
        u64 crash[5]
        u64 crashes
        u64 resets
        u64 invariant_tsc
        u64 traced
        l0_board board
        l0_devices devices
        u32 tick
        l0_vp *vp

    int l0_is_steady(const l0_vp *vp)

cdef extern from "kvm_vmx/l0/watch/note.h" nogil:
    void l0_record(l0_vp *vp, u32 what, u32 offset, u64 found, u64 kept)
    void l0_note(l0_vp *vp, u32 what, u32 offset, u64 found, u64 kept)
    void l0_note_writer(l0_vp *vp, u32 what, u32 offset, u32 place, u64 value)

cdef extern from "kvm_vmx/l0/entry/check_rows.h" nogil:
    enum:
        L0_UNCOVERED_SECONDARY
        L0_NEEDS_TPR_SHADOW
        L0_NEEDS_EPT

    ctypedef struct l0_limits "struct l0_limits":
        u32 kind
        u64 must
        u64 may

    ctypedef struct l0_check_row "struct l0_check_row":
        const char *id
        const char *insn
        u32 error
        u32 end
        u32 field
        u32 other
        l0_limits limits
        const char *section
        const char *sentence
        const char *field_name
        const char *other_name

    const l0_check_row *l0_row_of(u32 check)
    u64 l0_row_value(const l0_vmcs *vmcs, u32 encoding)
    void l0_set_refusal(l0_vp *vp, u32 check, u64 a, u64 b)
    void l0_note_refusal(l0_vp *vp, u32 check, u64 a, u64 b)
    const l0_check_row l0_check_rows[L0_NR_CHECKS]

cdef extern from "kvm_vmx/l0/entry/mend.h" nogil:
    enum:
        L0_MAX_MENDS

    ctypedef struct l0_replacement "struct l0_replacement":
        u64 clear
        u64 set

    u32 l0_mends(const l0_refusal *why, u64 *to)
    void l0_row_set(l0_vmcs *vmcs, u32 encoding, u64 value)
    const u64 l0_turned[]
    const l0_replacement l0_replaced[]

cdef extern from "kvm_vmx/l0/vmcs/fields.h" nogil:
    enum:
        L0_NR_FIELDS
        L0_WIDE
        L0_DOUBLE

    ctypedef struct l0_field "struct l0_field":
        u16 offset
        u16 groups
        u8 size
        u8 read_only
        u16 number

    void l0_fields_are_sound(u32 index)
    const l0_field *l0_optional_field(u64 encoding, u64 misc, u32 secondary)
    const l0_field *l0_field_at(const l0_field *fields, u64 encoding)
    const l0_field *l0_field_of(u64 encoding, int *high)
    u64 l0_field_whole(const void *vmcs, const l0_field *field, u64 encoding)
    void l0_field_set_whole(void *vmcs, const l0_field *field, u64 encoding, u64 value)
    u64 l0_field_get(const void *vmcs, const l0_field *field, int high)
    void l0_field_set(void *vmcs, const l0_field *field, int high, u64 value)
    const l0_field l0_fields[512]
    const l0_field l0_no_fields[512]

cdef extern from "kvm_vmx/l0/blocks.h" nogil:
    enum:
        L0_FLAG_DIRECT_FLUSH
        L0_FLAG_MSR_BITMAP
    const u64 L0_LIVE_BYTES
    const u64 L0_UNGROUPED_BYTES
    const u64 L0_WRITE_BACK_BYTES

    void l0_copy_run(u8 *to, const u8 *from_, size_t offset, size_t length)
    u64 l0_page_u64(const u8 *page, size_t offset)
    u64 l0_reload_groups(l0_vmcs *copy, const u8 *page, u32 dirty)
    u32 l0_place_in_page(const l0_field *field)
    u64 l0_page_get(const u8 *page, const l0_field *field)
    void l0_reload_live(l0_vmcs *copy, const u8 *page)
    void l0_reload_repeated(l0_vmcs *copy, const u8 *page)
    u32 l0_flags(const void *vmcs)
    u64 l0_counts(const void *vmcs)
    void l0_write_back(u8 *page, const l0_vmcs *copy)
    void l0_write_back_repeated(u8 *page, const l0_vmcs *copy)
    l0_counters l0_counters_now(const l0_vp *vp)

cdef extern from "kvm_vmx/l0/vmcs/members.h" nogil:
    ctypedef struct l0_member "struct l0_member":
        u16 groups
        u8 size
        u8 read_only

    u64 l0_member_get(const u8 *page, u32 offset)
    u32 l0_first_nonzero(const u8 *page, u32 start, u32 end)
    const l0_member l0_members[512]

cdef extern from "kvm_vmx/l0/watch/saved.h" nogil:
    const u64 L0_SAVED_MAGIC
    const u64 L0_SAVED_NONE
    const u64 L0_HASH_START

    ctypedef struct l0_saved "struct l0_saved":
        u64 magic
        u32 size
        u32 vmcs_revision
        u32 index
        u32 cpl
        u32 intr
        u32 nmi
        u32 in_vmx
        u32 mov_ss_shadow
        u64 profile
        u64 irr[4]
        u64 rip
        u64 rsp
        u64 rflags
        u64 cr0
        u64 cr2
        u64 cr3
        u64 cr4
        u64 dr7
        u64 idtr_base
        u64 gdtr_base
        u64 tr_base
        u64 vmxon_ptr
        u64 current_vmptr
        u64 active_evmcs
        u64 efer
        u64 assist_msr
        u64 random_state
        u64 guest_os_id
        u64 hypercall_msr
        u64 reference_msr
        u64 reenlightenment
        u64 emulation_control
        u64 emulation_status
        u64 regs[16]
        l0_extended extended
        l0_synic synic
        l0_msr_value msr[NR_SLOTS]
        l0_vmcs current_vmcs
        u8 overlaid[4096]
        u64 dr[4]
        u64 dr6
        u64 cr8
        u64 guest_random
        l0_stimer stimer[4]
        u64 crash[5]
        u64 invariant_tsc
        u64 in_pause_loop
        u64 pause_first
        u64 pause_last
        u64 nr_alarms
        l0_alarm alarm[16+1]
        u32 stopped
        u32 enlightened
        u32 trap_pending
        u32 monitoring
        u64 spent
        l0_vmcs evmcs_cache
        u64 checksum

    ctypedef struct l0_whole "struct l0_whole":
        l0_saved saved
        l0_vmcs root_vmcs
        l0_root root
        l0_board board
        u64 tsc
        u64 reference
        u64 instructions
        u64 checksum

    u64 l0_hash(u64 hash, const void *data, u64 length)
    u64 l0_saved_checksum(const l0_saved *saved)
    u64 l0_whole_checksum(const l0_whole *whole)
    u64 l0_profile_digest(const l0_profile *profile)
