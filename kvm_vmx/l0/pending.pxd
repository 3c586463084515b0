# SPDX-License-Identifier: GPL-2.0-only
# What comes between two instructions of L2: events of L1's processor, windows, traps, time.
from kvm_vmx.abi.types cimport u32, u64, unlikely
from kvm_vmx.abi.virt_cpu cimport virt_cpu
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.operands cimport FLAG_RF, FLAG_TF
from kvm_vmx.l0.state cimport l0_vmcs, l0_vp

cdef enum:
    # A slice of time: without an exit for so long, L1's timer fires, or L2 is stopped.
    SLICE = 1 << 24

cdef extern from *:
    """
    /* an interrupt or an NMI, which any thread may raise: two words that lie together */
    static inline u64 events_of(const struct virt_cpu *cpu)
    {
        _Static_assert(offsetof(struct virt_cpu, nmi) == offsetof(struct virt_cpu, intr) + 4 &&
                       offsetof(struct virt_cpu, intr) % 8 == 0, "one aligned quadword");
        return *(const volatile u64 *)&cpu->intr;
    }
    """
    u64 events_of(const virt_cpu *cpu) noexcept nogil

# The event that an entry injects; False where its delivery leaves.
cdef bint begin(l0_vp *vp) noexcept nogil
# At an instruction boundary: False where L2 leaves instead of going on.
cdef bint settle(l0_vp *vp) noexcept nogil
cdef void set_deadline_with_alarms(l0_vp *vp) noexcept nogil

cdef inline bint events_wait(const l0_vp *vp) noexcept nogil:
    return events_of(&vp.cpu) != 0

# Must the next boundaries be looked at, one by one?
cdef inline bint restless(const l0_vp *vp) noexcept nogil:
    cdef const l0_vmcs *v = vp.vmcs

    return (
        v.f.vm_entry_intr_info_field & <u32>INTR_INFO_VALID_MASK | v.f.guest_activity_state |
        v.f.guest_interruptibility_info & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS) |
        v.f.guest_pending_dbg_exceptions | v.f.guest_rflags & (FLAG_TF | FLAG_RF) |
        v.f.cpu_based_vm_exec_control & (
            CPU_BASED_VIRTUAL_INTR_PENDING | CPU_BASED_VIRTUAL_NMI_PENDING |
            CPU_BASED_MONITOR_TRAP_FLAG)) != 0

cdef inline void set_deadline(l0_vp *vp) noexcept nogil:
    vp.entered_at = vp.counters.l2_instructions
    vp.deadline = vp.entered_at + SLICE
    if unlikely(vp.nr_alarms or
                vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER):
        set_deadline_with_alarms(vp)
