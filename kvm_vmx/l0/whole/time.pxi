# SPDX-License-Identifier: GPL-2.0-only
# The time of a processor that runs L1: counted in instructions, or the host's.

cdef enum:
    # instructions between two looks at the host's clock
    HOST_LOOK = 4096
    UNITS_OF_REFERENCE = 100    # ns
    LONGEST_SLEEP = 1 << 24


# In instructions, or in units of so many ticks of the TSC as each of them would have had.
cdef inline u64 time_of(const l0_vp *vp) noexcept nogil:
    if vp.partition.clock.follows_host:
        return clock_tsc(vp.partition) >> vp.partition.clock.counter_shift
    return vp.counters.l2_instructions


# Something is due at a time: when the loop has to look.
cdef inline void look_by(l0_vp *vp, u64 at) noexcept nogil:
    if vp.partition.clock.follows_host:
        at = vp.counters.l2_instructions + HOST_LOOK
    vp.deadline = min(vp.deadline, at)


# How much of the preemption timer's time has passed since the entry.
cdef inline u64 timer_spent(const l0_vp *vp) noexcept nogil:
    if vp.partition.clock.follows_host:
        return time_of(vp) - vp.root.entered
    return vp.counters.l2_instructions - vp.entered_at


# Nobody jumps to the host's next event: the processor stands still, for whoever runs it to wait.
cdef bint host_wait(l0_vp *vp) noexcept nogil:
    cdef u32 before = vp.cpu.intr

    stimers_run(vp)
    if vp.cpu.intr != before:
        return handle_boundary(vp)
    vp.root.waits = 1
    return give_back(vp, False)


# In how many ns, at most, the processor has to look again; all ones: nothing is on its way.
cdef u64 root_wakes(l0_vp *vp) noexcept nogil:
    cdef u64 now = time_of(vp), left = NEVER, due = first_due(vp)

    if vp.root.apic.timer_at:
        left = vp.root.apic.timer_at - now if vp.root.apic.timer_at > now else 0
    if timer_runs(vp):
        left = min(left, timer_left(vp))
    if left != NEVER:
        # no longer than a fraction of a second: the product has its place
        left = (min(left, <u64>LONGEST_SLEEP) << vp.partition.clock.counter_shift) * 1000000000 // \
            host_frequency(vp.partition)
    if due != NEVER:
        now = clock_reference_time(vp.partition)
        left = min(left, (due - now) * UNITS_OF_REFERENCE if due > now else 0)
    return left


# A processor that is restored goes on in the time that it has had.
cdef void root_time_restore(l0_partition *partition, u64 tsc, u64 reference) noexcept nogil:
    cdef l0_clock *clock = &partition.clock

    if not clock.follows_host:
        return
    tsc = max(tsc, clock_tsc(partition))
    clock.skipped = max(reference, clock_reference_time(partition))
    clock.tsc_base = tsc
    clock.tsc_since = clock.created_tsc = ticks(clock)


# Let time pass at once, in instructions.
cdef void root_let_pass(l0_vp *vp, u64 instructions) noexcept nogil:
    cdef l0_clock *clock = &vp.partition.clock

    if clock.follows_host:
        clock_skip(vp.partition, <u64>(
            <double>(instructions << clock.counter_shift) * 1e7 /
            <double>host_frequency(vp.partition)))
        return
    vp.counters.l2_instructions += instructions
    vp.root.idle += instructions
    vp.root.since += instructions
