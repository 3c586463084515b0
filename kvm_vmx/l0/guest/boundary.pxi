# SPDX-License-Identifier: GPL-2.0-only
# What comes between two instructions of L2, in the order of its priority.

cdef enum:
    # A slice of time: without an exit for so long, L1's timer fires, or L2 is stopped.
    SLICE = 1 << 18

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

cdef enum:
    # pending debug exceptions: a breakpoint that is enabled, or a single step
    DEBUG_VALID = 0x5000
    DEBUG_WHAT = 0x400f
    EVENT = 0xfff
    SHADOW = GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS


cdef inline bint events_wait(const l0_vp *vp) noexcept nogil:
    return events_of(&vp.cpu) != 0


# Must the next boundaries be looked at, one by one?
cdef inline bint needs_boundary_checks(const l0_vp *vp) noexcept nogil:
    cdef const l0_vmcs *v = vp.vmcs

    return (
        v.f.vm_entry_intr_info_field & <u32>INTR_INFO_VALID_MASK | v.f.guest_activity_state |
        v.f.guest_interruptibility_info & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS) |
        v.f.guest_pending_dbg_exceptions | v.f.guest_rflags & (X86_EFLAGS_TF | X86_EFLAGS_RF) |
        v.f.cpu_based_vm_exec_control & (
            CPU_BASED_VIRTUAL_INTR_PENDING | CPU_BASED_VIRTUAL_NMI_PENDING |
            CPU_BASED_MONITOR_TRAP_FLAG) |
        l0_signals(&vp.root.apic)) != 0


cdef inline void set_deadline(l0_vp *vp) noexcept nogil:
    vp.entered_at = vp.counters.l2_instructions
    vp.deadline = vp.entered_at + SLICE
    if unlikely(vp.nr_alarms or
                vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER):
        vp.root.entered = time_of(vp)
        set_deadline_with_alarms(vp)


# SDM 3C 26.5.1: it counts in every activity state, and does not expire in wait-for-SIPI.
cdef inline bint timer_runs(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER != 0 and \
        vp.vmcs.f.guest_activity_state != GUEST_ACTIVITY_WAIT_SIPI


# What the preemption timer has left: one count for each instruction. Waiting may have moved
# entered_at to before the first one, so that only differences mean anything.
cdef u64 timer_left(const l0_vp *vp) noexcept nogil:
    cdef u64 spent = timer_spent(vp)

    return 0 if spent >= vp.vmcs.vmx_preemption_timer_value else \
        vp.vmcs.vmx_preemption_timer_value - spent


cdef void set_deadline_with_alarms(l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions
    cdef u32 i

    if timer_runs(vp):
        look_by(vp, now + timer_left(vp))
    if vp.root.apic.timer_at:
        look_by(vp, vp.root.apic.timer_at)
    for i in range(vp.nr_alarms):
        if vp.alarm[i].at < vp.deadline:
            vp.deadline = vp.alarm[i].at


# Let an alarm go off; False where the interrupt before it still waits.
cdef bint fire_alarm(l0_vp *vp, u32 number, bint waits) noexcept nogil:
    cdef u32 what = vp.alarm[number].what

    if what == L0_ALARM_TIMERS:
        return stimers_ring(vp, number, waits)
    if what == L0_ALARM_STOP:
        vp.guest_state = L2_STOPPED
        vp.paused = 0
    elif what == L0_ALARM_NMI:
        vp.cpu.nmi = 1
    elif vp.cpu.intr:
        return False
    else:
        irq_raise(&vp.cpu, what)
    vp.nr_alarms -= 1
    vp.alarm[number] = vp.alarm[vp.nr_alarms]
    return True


# The alarms that are due: whether one went off.
cdef bint fire_alarms(l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions
    cdef u32 i = 0
    cdef bint rung = False

    while i < vp.nr_alarms:
        if vp.alarm[i].at <= now and fire_alarm(vp, i, False):
            rung = True
        else:
            i += 1
    return rung


cdef bint leave_for_interrupt(l0_vp *vp) noexcept nogil:
    # the exit acknowledges the interrupt where a control asks for that
    vm_exit_with(vp, EXIT_REASON_EXTERNAL_INTERRUPT, 0, 0)
    return False


# L1's timer fires where that brings L1 back: its own interrupt, which it has asked to exit.
cdef bint host_timer_exit(l0_vp *vp) noexcept nogil:
    if not vp.partition.tick or vp.vmcs.f.guest_activity_state > GUEST_ACTIVITY_HLT or \
            not vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_EXT_INTR_MASK:
        return False
    irq_raise(&vp.cpu, vp.partition.tick)
    return True


# No exit is due that L1 could ask for: whoever let it enter takes L2 back, or nobody can.
cdef bint give_back(l0_vp *vp, bint only_paused) noexcept nogil:
    vp.guest_state = L2_STOPPED if vp.may_stop else L2_LOST
    vp.paused = only_paused
    return False


cdef u64 slice_spent(const l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions

    return min(now - vp.entered_at, now - vp.resumed_at)


cdef bint time_passes(l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions

    fire_alarms(vp)
    if vp.root.on:
        apic_time(vp)
    if vp.guest_state == L2_STOPPED:
        return False
    if slice_spent(vp) >= SLICE:
        vp.resumed_at = now
        if not host_timer_exit(vp):
            return give_back(vp, True)
    vp.deadline = now + SLICE - slice_spent(vp)
    set_deadline_with_alarms(vp)
    if vp.deadline <= now:
        # what could not come yet comes as soon as it can
        vp.deadline = now + 1
    return True


# The event that an entry injects; False where its delivery leaves.
cdef bint inject_entry_event(l0_vp *vp) noexcept nogil:
    cdef u32 info = vp.vmcs.f.vm_entry_intr_info_field
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK
    cdef u64 *debug = &vp.vmcs.f.guest_pending_dbg_exceptions
    cdef bint shadow = vp.vmcs.f.guest_interruptibility_info & GUEST_INTR_STATE_MOV_SS != 0

    vp.boundary_work = 1
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
    return vp.vmcs.f.guest_rflags & X86_EFLAGS_IF and \
        not vp.vmcs.f.guest_interruptibility_info & SHADOW


# An NMI: L1's, or L2's own where L1 leaves them to it. 1: L2 goes on, 0: it leaves.
cdef bint take_nmi(l0_vp *vp) noexcept nogil:
    if vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_NMI_EXITING:
        vp.cpu.nmi = 0
        vm_exit_with(vp, EXIT_REASON_EXCEPTION_NMI, 0, 0)
        vp.vmcs.f.vm_exit_intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_NMI_INTR | X86_TRAP_NMI
        return False
    # that STI holds back an NMI, too, is a processor's own choice: SDM 2B STI
    if vp.vmcs.f.guest_interruptibility_info & (GUEST_INTR_STATE_NMI | SHADOW):
        return True
    vp.cpu.nmi = 0
    return deliver_here(vp, INTR_TYPE_NMI_INTR | X86_TRAP_NMI)


cdef bint take_interrupt(l0_vp *vp) noexcept nogil:
    cdef u32 taken

    if vp.root.on and not apic_settle(vp):
        return True
    # with exits on, neither RFLAGS.IF nor a shadow holds an interrupt back
    if vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_EXT_INTR_MASK:
        if vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_POSTED_INTR and take_notification(vp):
            return handle_boundary(vp)
        return leave_for_interrupt(vp)
    if not interrupts_open(vp):
        return True
    taken = take_vector(vp)
    # another thread may have taken it back
    return not taken or deliver_here(vp, INTR_TYPE_EXT_INTR | taken & INTR_INFO_VECTOR_MASK)


# At an instruction boundary: False where L2 leaves instead of going on.
cdef bint handle_boundary(l0_vp *vp) noexcept nogil:
    cdef u32 activity = vp.vmcs.f.guest_activity_state

    if bus_goes_on(vp):
        return True
    if vp.root.apic.virtual_work & VIRTUAL_WRITTEN and not finish_apic_write(vp):
        return False
    if bus_waits(vp):
        return give_back(vp, False)
    if vp.counters.l2_instructions >= vp.deadline and not time_passes(vp):
        return False
    if vp.root.apic.init_waits | vp.root.apic.sipi_waits:
        if not take_signals(vp):
            return False
        activity = vp.vmcs.f.guest_activity_state
    if vp.root.queued and not take_queued(vp):
        return False
    if vp.trap_pending:
        vp.trap_pending = 0
        vm_exit_with(vp, EXIT_REASON_MONITOR_TRAP_FLAG, 0, 0)
        return False
    if debug_trap_due(vp):
        if not take_debug_trap(vp):
            return False
        vp.trap_pending = vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG != 0
        return handle_boundary(vp)
    if timer_runs(vp) and timer_left(vp) == 0:
        vm_exit_with(vp, EXIT_REASON_PREEMPTION_TIMER, 0, 0)
        return False
    if activity != GUEST_ACTIVITY_WAIT_SIPI:
        if nmi_window_open(vp):
            vm_exit_with(vp, EXIT_REASON_NMI_WINDOW, 0, 0)
            return False
        if vp.cpu.nmi and not take_nmi(vp):
            return False
    if activity <= GUEST_ACTIVITY_HLT:
        if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_VIRTUAL_INTR_PENDING and \
                interrupts_open(vp):
            vm_exit_with(vp, EXIT_REASON_PENDING_INTERRUPT, 0, 0)
            return False
        # SDM 30.2.2: behind what is above, before the external interrupts
        if vp.root.apic.virtual_work & VIRTUAL_INTERRUPT and interrupts_open(vp):
            return deliver_virtual_interrupt(vp) and handle_boundary(vp)
        if vp.cpu.intr and not take_interrupt(vp):
            return False
    if vp.trap_pending:
        return handle_boundary(vp)
    if vp.vmcs.f.guest_activity_state:
        return wait(vp)
    vp.boundary_work = needs_boundary_checks(vp)
    return True
