# SPDX-License-Identifier: GPL-2.0-only
# A processor that executes nothing: what it waits for, and how time gets there.


# The first alarm of all, which a processor that only waits comes to at once.
cdef u32 first_alarm(const l0_vp *vp) noexcept nogil:
    cdef u32 i, first = 0

    for i in range(vp.nr_alarms):
        if vp.alarm[i].at < vp.alarm[first].at:
            first = i
    return first


# Nothing has woken it: time jumps to what comes next, the preemption timer's end or an alarm.
cdef bint wait(l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions, at = ~<u64>0
    cdef bint wakes = vp.vmcs.f.guest_activity_state != GUEST_ACTIVITY_WAIT_SIPI
    cdef u32 first = first_alarm(vp)

    if vp.root.on:
        return root_wait(vp)
    if vp.nr_alarms and (wakes or vp.alarm[first].what == L0_ALARM_STOP):
        at = max(vp.alarm[first].at, now)
    if timer_runs(vp) and timer_left(vp) <= at - now:
        vp.entered_at -= timer_left(vp)
        return handle_boundary(vp)
    if at != ~<u64>0 and fire_alarm(vp, first, True):
        if timer_runs(vp):
            vp.entered_at -= at - now
        return vp.guest_state != L2_STOPPED and handle_boundary(vp)
    return handle_boundary(vp) if host_timer_exit(vp) else give_back(vp, False)
