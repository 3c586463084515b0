# SPDX-License-Identifier: GPL-2.0-only
# The processor runs L1, and L2 where L1 lets it, until a device or a limit wants it to stand still.


# From here on L1's code runs here. Whoever asks for that sets its registers.
cdef void root_start(l0_vp *vp) noexcept nogil:
    cdef l0_vmcs *r = &vp.root_vmcs

    memset(r, 0, sizeof(r[0]))
    memset(&vp.root, 0, sizeof(vp.root))
    r.f.cpu_based_vm_exec_control = CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    r.f.secondary_vm_exec_control = ROOT_SECONDARY
    r.f.guest_rflags = 2
    vp.root.on = 1
    # without memory for them every instruction is decoded anew
    if vp.decoded == NULL:
        vp.decoded = <l0_decoded *>calloc(L0_DECODED, sizeof(l0_decoded))
    apic_reset(vp)
    vp.vmcs = r
    vp.regs = vp.gpr
    vp.guest_state = L2_STOPPED


# From here on time is counted in instructions, a TSC that ticks 2^shift times in each; or it is the
# host's, and 2^shift ticks are a unit of it.
cdef void root_clock(l0_partition *partition, u32 shift, u64 hz, bint host) noexcept nogil:
    cdef l0_clock *clock = &partition.clock

    io_apic_reset(partition)
    clock.counter_shift = shift
    clock.follows_host = host
    if host:
        clock_start(partition)
        clock.tsc_base = 0
        return
    clock.counter = &partition.vp[0].counters.l2_instructions
    clock.tsc_hz = hz
    clock.created_tsc = clock.tsc_base = clock.tsc_since = ticks(clock)


cdef bint root_schedule(l0_vp *vp, u64 instructions) noexcept nogil:
    if vp.nr_alarms >= <u32>L0_MAX_ALARMS:
        return False
    vp.alarm[vp.nr_alarms].what = L0_ALARM_STOP
    vp.alarm[vp.nr_alarms].at = vp.counters.l2_instructions + instructions
    vp.nr_alarms += 1
    return True


cdef void root_forget_stop(l0_vp *vp) noexcept nogil:
    cdef u32 i

    for i in range(vp.nr_alarms):
        if vp.alarm[i].what == <u32>L0_ALARM_STOP:
            vp.nr_alarms -= 1
            vp.alarm[i] = vp.alarm[vp.nr_alarms]
            return


# From the boundary at which it stands, until it stands again; L1 is what the interpreter runs
# then, or L2 where that is stopped.
cdef u32 root_go(l0_vp *vp) noexcept nogil:
    if not is_root(vp):
        l0_go_on(vp)
        if vp.guest_state == L2_STOPPED:
            return ROOT_PAUSED
        root_from_host(vp)
    else:
        root_is_current(vp)
    while True:
        guest_go_on(vp)
        if vp.guest_state == L2_STOPPED:
            return ROOT_PAUSED
        if not root_exit(vp):
            return ROOT_SHUTDOWN if \
                vp.root_vmcs.f.vm_exit_reason == EXIT_REASON_TRIPLE_FAULT else ROOT_UNDONE
        if vp.guest_state == L2_STOPPED:
            return ROOT_PAUSED


# Run for so many instructions, or less; how it ended, and L2_STOPPED is the state either way.
cdef u32 root_run(l0_vp *vp, u64 instructions) noexcept nogil:
    cdef u32 end

    if vp.partition.clock.counter != NULL:
        vp.partition.clock.counter = &vp.counters.l2_instructions
    vp.may_stop = 1
    vp.root.waits = 0
    if not root_schedule(vp, instructions):
        return ROOT_UNDONE
    end = root_go(vp)
    root_forget_stop(vp)
    if end == ROOT_PAUSED and vp.root.waits:
        end = ROOT_WAITS
    if is_root(vp):
        root_leaves(vp)
    vp.guest_state = L2_STOPPED
    if end == ROOT_PAUSED and bus_next(vp):
        return ROOT_MEMORY if vp.root.bus.now.in_memory else ROOT_PORT
    return end


# Nothing has woken it: time goes on to what comes next, at the latest the end of its run. What is
# due and waits for another event to be taken holds no time up.
cdef bint root_wait(l0_vp *vp) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions, at = ~<u64>0
    cdef u32 i

    if vp.partition.clock.follows_host:
        return host_wait(vp)
    for i in range(vp.nr_alarms):
        if vp.alarm[i].at > now:
            at = min(at, vp.alarm[i].at)
    if vp.root.apic.timer_at:
        at = min(at, vp.root.apic.timer_at)
    if timer_runs(vp):
        at = min(at, now + timer_left(vp))
    vp.root.idle += at - now
    vp.counters.l2_instructions = at
    if is_root(vp):
        vp.root.since += at - now
    vp.deadline = min(vp.deadline, at)
    return handle_boundary(vp)
