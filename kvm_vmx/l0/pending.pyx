# SPDX-License-Identifier: GPL-2.0-only
# What comes between two instructions of L2, in the order of its priority.
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.delivery cimport deliver, raise_debug_trap
from kvm_vmx.l0.operands cimport *
from kvm_vmx.l0.state cimport *
from kvm_vmx.l0.stimer cimport stimers_ring
from kvm_vmx.l0.translate cimport leave

cdef extern from *:
    bint __sync_bool_compare_and_swap(u32 *place, u32 old, u32 value) nogil

cdef enum:
    TIMER_VECTOR = 0xec
    INTERRUPT_WAITS = 0x100
    # pending debug exceptions: a breakpoint that is enabled, or a single step
    DEBUG_VALID = 0x5000
    DEBUG_WHAT = 0x400f
    EVENT = 0xfff
    SHADOW = GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS


# What the preemption timer has left: one count for each instruction.
cdef u64 timer_end(const l0_vp *vp) noexcept nogil:
    return vp.entered_at + vp.vmcs.vmx_preemption_timer_value


cdef inline bint timer_runs(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER != 0


cdef void set_deadline_with_alarms(l0_vp *vp) noexcept nogil:
    cdef u32 i

    if timer_runs(vp) and timer_end(vp) < vp.deadline:
        vp.deadline = timer_end(vp)
    for i in range(vp.nr_alarms):
        if vp.alarm[i].at < vp.deadline:
            vp.deadline = vp.alarm[i].at


# Let an alarm go off; False where the interrupt before it still waits.
cdef bint ring(l0_vp *vp, u32 number, bint waits) noexcept nogil:
    cdef u32 what = vp.alarm[number].what

    if what == L0_ALARM_TIMERS:
        return stimers_ring(vp, number, waits)
    if what == L0_ALARM_STOP:
        vp.in_guest = L0_STOPPED
    elif what == L0_ALARM_NMI:
        vp.cpu.nmi = 1
    elif not __sync_bool_compare_and_swap(&vp.cpu.intr, 0, what):
        return False
    vp.nr_alarms -= 1
    vp.alarm[number] = vp.alarm[vp.nr_alarms]
    return True


# The alarms that are due, and the next one of all where the processor only waits.
cdef bint ring_alarms(l0_vp *vp, bint waits) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions
    cdef u32 i, first = 0
    cdef bint rung = False

    i = 0
    while i < vp.nr_alarms:
        if vp.alarm[i].at <= now and ring(vp, i, False):
            rung = True
        else:
            i += 1
    if rung or not waits or not vp.nr_alarms:
        return rung
    for i in range(vp.nr_alarms):
        if vp.alarm[i].at < vp.alarm[first].at:
            first = i
    return ring(vp, first, True)


cdef bint leave_for_interrupt(l0_vp *vp) noexcept nogil:
    # the exit acknowledges the interrupt where a control asks for that
    leave(vp, EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0)
    return False


# The timer of L1. It leaves even where L1 has not asked for exits: L0 needs the processor.
cdef bint tick(l0_vp *vp) noexcept nogil:
    __sync_bool_compare_and_swap(&vp.cpu.intr, 0, INTERRUPT_WAITS | TIMER_VECTOR)
    return leave_for_interrupt(vp)


cdef bint time_passes(l0_vp *vp) noexcept nogil:
    ring_alarms(vp, False)
    if vp.in_guest == L0_STOPPED:
        return False
    if vp.counters.l2_instructions - vp.entered_at >= INSTRUCTIONS_A_TICK:
        return tick(vp)
    vp.deadline = vp.entered_at + INSTRUCTIONS_A_TICK
    set_deadline_with_alarms(vp)
    if vp.deadline <= vp.counters.l2_instructions:
        # what could not come yet comes as soon as it can
        vp.deadline = vp.counters.l2_instructions + 1
    return True


cdef bint begin(l0_vp *vp) noexcept nogil:
    cdef u32 info = vp.vmcs.f.vm_entry_intr_info_field
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK
    cdef u64 *debug = &vp.vmcs.f.guest_pending_dbg_exceptions
    cdef bint shadow = vp.vmcs.f.guest_interruptibility_info & GUEST_INTR_STATE_MOV_SS != 0

    vp.attention = 1
    vp.trap_pending = 0
    if not info >> 31:
        return True
    # an exit would clear it, too: the event is not injected once more
    vp.vmcs.f.vm_entry_intr_info_field = info & 0x7fffffff
    if kind == INTR_TYPE_OTHER_EVENT:
        # a pending monitor trap
        vp.trap_pending = 1
        return True
    if not shadow or (kind != INTR_TYPE_SOFT_INTR and kind != INTR_TYPE_SOFT_EXCEPTION):
        debug[0] = 0
    vp.unblocked_nmi = 0
    if not deliver(vp, <u32>INTR_INFO_VALID_MASK | info & EVENT,
                   vp.vmcs.f.vm_entry_exception_error_code, vp.vmcs.f.vm_entry_instruction_len):
        return False
    vp.trap_pending = vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG != 0
    return True


cdef bint debug_trap_due(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_pending_dbg_exceptions & DEBUG_VALID != 0 and \
        not vp.vmcs.f.guest_interruptibility_info & GUEST_INTR_STATE_MOV_SS and \
        vp.vmcs.f.guest_activity_state <= GUEST_ACTIVITY_HLT


cdef bint take_debug_trap(l0_vp *vp) noexcept nogil:
    cdef u32 what = <u32>vp.vmcs.f.guest_pending_dbg_exceptions & DEBUG_WHAT

    vp.vmcs.f.guest_pending_dbg_exceptions = 0
    vp.unblocked_nmi = 0
    return raise_debug_trap(vp, what)


cdef bint nmi_window_open(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_VIRTUAL_NMI_PENDING and \
        not vp.vmcs.f.guest_interruptibility_info & (GUEST_INTR_STATE_NMI | GUEST_INTR_STATE_MOV_SS)


cdef inline bint interrupts_open(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.guest_rflags & FLAG_IF and \
        not vp.vmcs.f.guest_interruptibility_info & SHADOW


# An NMI: L1's, or L2's own where L1 leaves them to it. 1: L2 goes on, 0: it leaves.
cdef bint take_nmi(l0_vp *vp) noexcept nogil:
    if vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_NMI_EXITING:
        vp.cpu.nmi = 0
        leave(vp, EXIT_REASON_EXCEPTION_NMI, 0, 0)
        vp.vmcs.f.vm_exit_intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_NMI_INTR | VECTOR_NMI
        return False
    if vp.vmcs.f.guest_interruptibility_info & (GUEST_INTR_STATE_NMI | GUEST_INTR_STATE_MOV_SS):
        return True
    vp.cpu.nmi = 0
    return deliver(vp, <u32>INTR_INFO_VALID_MASK | INTR_TYPE_NMI_INTR | VECTOR_NMI, 0, 0)


cdef bint take_interrupt(l0_vp *vp) noexcept nogil:
    cdef u32 vector = vp.cpu.intr & INTR_INFO_VECTOR_MASK

    # with exits on, neither RFLAGS.IF nor a shadow holds an interrupt back
    if vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_EXT_INTR_MASK:
        return leave_for_interrupt(vp)
    if not interrupts_open(vp):
        return True
    vp.cpu.intr = 0
    return deliver(vp, <u32>INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR | vector, 0, 0)


# Nothing has woken it: time passes until something does.
cdef bint wait(l0_vp *vp) noexcept nogil:
    if vp.vmcs.f.guest_activity_state != GUEST_ACTIVITY_WAIT_SIPI and ring_alarms(vp, True):
        return vp.in_guest != L0_STOPPED and settle(vp)
    return tick(vp)


cdef bint settle(l0_vp *vp) noexcept nogil:
    cdef u32 activity = vp.vmcs.f.guest_activity_state

    if vp.counters.l2_instructions >= vp.deadline and not time_passes(vp):
        return False
    if vp.trap_pending:
        vp.trap_pending = 0
        leave(vp, EXIT_REASON_MONITOR_TRAP_FLAG, 0, 0)
        return False
    if debug_trap_due(vp):
        if not take_debug_trap(vp):
            return False
        return settle(vp)
    if timer_runs(vp) and vp.counters.l2_instructions >= timer_end(vp):
        leave(vp, EXIT_REASON_PREEMPTION_TIMER, 0, 0)
        return False
    if activity != GUEST_ACTIVITY_WAIT_SIPI:
        if nmi_window_open(vp):
            leave(vp, EXIT_REASON_NMI_WINDOW, 0, 0)
            return False
        if vp.cpu.nmi and not take_nmi(vp):
            return False
    if activity <= GUEST_ACTIVITY_HLT:
        if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_VIRTUAL_INTR_PENDING and \
                interrupts_open(vp):
            leave(vp, EXIT_REASON_PENDING_INTERRUPT, 0, 0)
            return False
        if vp.cpu.intr and not take_interrupt(vp):
            return False
    if vp.vmcs.f.guest_activity_state:
        return wait(vp)
    vp.attention = restless(vp)
    return True
