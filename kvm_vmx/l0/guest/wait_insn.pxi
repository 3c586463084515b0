# SPDX-License-Identifier: GPL-2.0-only
# Instructions by which L2 waits in a loop: PAUSE, MONITOR and MWAIT.


# SDM 26.1.3: a PAUSE soon enough after another belongs to its loop; the first one since the entry
# begins one. Time is counted in instructions of L2, as for the preemption timer.
cdef bint loops_too_long(l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions
    cdef u64 entry = vp.counters.vmlaunch + vp.counters.vmresume

    if vp.pause_entry != entry or now - vp.pause_last > vp.vmcs.ple_gap:
        vp.pause_first = now
    vp.pause_entry = entry
    vp.pause_last = now
    return now - vp.pause_first > vp.vmcs.ple_window


cdef int pause(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_PAUSE_EXITING or (
            secondary_controls(vp.vmcs) & SECONDARY_EXEC_PAUSE_LOOP_EXITING and
            not vp.guest_cpl and loops_too_long(vp)):
        return leave_insn(vp, EXIT_REASON_PAUSE_INSTRUCTION, insn, 0)
    return L2_DONE


cdef int monitor(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.guest_cpl:
        return fault(vp, X86_TRAP_UD, 0)
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_EXITING:
        return leave_insn(vp, EXIT_REASON_MONITOR_INSTRUCTION, insn, 0)
    vp.monitoring = 1
    return L2_DONE


cdef int mwait(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.guest_cpl:
        return fault(vp, X86_TRAP_UD, 0)
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MWAIT_EXITING:
        # the qualification: is an address being monitored?
        return leave_insn(vp, EXIT_REASON_MWAIT_INSTRUCTION, insn, vp.monitoring)
    vp.monitoring = 0
    return L2_DONE
