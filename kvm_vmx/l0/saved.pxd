# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.l0.state cimport (
    L0_MAX_ALARMS, NR_SLOTS, l0_alarm, l0_msr_value, l0_stimer, l0_synic, l0_vmcs, l0_vp,
)

cdef extern from "kvm_vmx/l0/saved.h" nogil:
    const u64 L0_SAVED_MAGIC
    const u64 L0_SAVED_NONE

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
        u64 xmm[12]
        l0_synic synic
        l0_msr_value msr[NR_SLOTS]
        l0_vmcs plain
        u8 overlaid[4096]
        u64 dr[4]
        u64 dr6
        u64 cr8
        u64 random2
        l0_stimer stimer[4]
        u64 crash[5]
        u64 invariant_tsc
        u64 in_pause_loop
        u64 pause_first
        u64 pause_last
        u64 nr_alarms
        l0_alarm alarm[L0_MAX_ALARMS + 1]
        u32 stopped
        u32 enlightened
        u32 trap_pending
        u32 monitoring
        u64 spent
        l0_vmcs copy
        u64 checksum

    u64 l0_saved_checksum(const l0_saved *saved)

cdef void vp_save(l0_vp *vp, l0_saved *saved) noexcept nogil
# NULL, or what is wrong with it; then nothing has changed.
cdef const char *vp_restore(l0_vp *vp, const l0_saved *saved) noexcept nogil
