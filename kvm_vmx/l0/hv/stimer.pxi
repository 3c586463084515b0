# SPDX-License-Identifier: GPL-2.0-only
# Synthetic timers: one-shot or periodic, by message or by a vector of the APIC.

cdef enum:
    MSR_CONFIG_0 = 0x400000b0

    ENABLED = 1 << 0
    PERIODIC = 1 << 1
    AUTO_ENABLE = 1 << 3
    DIRECT = 1 << 12
    DIRECT_OFFERED = 1 << 19
    FIRST_VECTOR = 16

    # instructions of L2 from one look at the clock to the next
    A_LOOK = 4096

cdef u64 NEVER = ~<u64>0

# more than three years: no time that a halted processor lets pass at once
cdef u64 TOO_FAR = <u64>1 << 50


cdef bint stimer_has(u32 msr) noexcept nogil:
    return MSR_CONFIG_0 <= msr < MSR_CONFIG_0 + 2 * L0_NR_STIMERS


cdef inline u32 source_of(const l0_stimer *timer) noexcept nogil:
    return <u32>(timer.config >> 16) & 15


cdef bint runs(const l0_stimer *timer) noexcept nogil:
    return timer.config & ENABLED != 0 and timer.count != 0


# A periodic timer keeps its beat: what L1 has missed is left out.
cdef void start(l0_stimer *timer, u64 now) noexcept nogil:
    cdef u64 late

    if not timer.config & PERIODIC:
        timer.due = timer.count
    elif timer.due == 0:
        timer.due = now + timer.count if timer.count < NEVER - now else NEVER
    else:
        # the next beat, which is no later than now and the count
        late = (now - timer.due) % timer.count
        timer.due = now + (timer.count - late)


# A message of type 0x80000010: which timer, when it was due, when it is told.
cdef int fire(l0_vp *vp, u32 number, u64 now) noexcept nogil:
    cdef l0_stimer *timer = &vp.stimer[number]
    cdef u64 body[3]
    cdef u32 vector = <u32>(timer.config >> 4) & 0xff

    if timer.config & DIRECT:
        if vector < FIRST_VECTOR:
            return FIRED
        return FIRED if synic_pending(vp, vector) else NOT_YET
    body[0] = number
    body[1] = timer.due
    body[2] = now
    return synic_message(vp, source_of(timer), <u32>0x80000010, body, sizeof(body),
                         timer.config & PERIODIC != 0)


cdef void expire(l0_vp *vp, u32 number, u64 now) noexcept nogil:
    cdef l0_stimer *timer = &vp.stimer[number]
    cdef int how = fire(vp, number, now)

    timer.waits = how == NO_SLOT
    if how != FIRED:
        return
    if timer.config & PERIODIC:
        start(timer, now)
    else:
        timer.config &= ~<u64>ENABLED
        timer.due = 0


# Let the timers that are due fire; before L1 looks at what is pending, and at an end of message.
cdef void stimers_run(l0_vp *vp) noexcept nogil:
    cdef l0_stimer *timer
    cdef u64 now = 0
    cdef u32 i

    for i in range(<u32>L0_NR_STIMERS):
        timer = &vp.stimer[i]
        if not runs(timer) or timer.waits:
            continue
        if not now:
            now = clock_reference_time(vp.partition)
        if timer.due == 0:
            start(timer, now)
        if now >= timer.due:
            expire(vp, i, now)


# A message slot may be free again: those that wait for one try once more.
cdef void stimers_retry(l0_vp *vp) noexcept nogil:
    cdef u32 i

    for i in range(<u32>L0_NR_STIMERS):
        vp.stimer[i].waits = 0
    stimers_run(vp)


# When the first of them is due that only time keeps from firing.
cdef u64 first_due(const l0_vp *vp) noexcept nogil:
    cdef u64 first = NEVER
    cdef u32 i

    for i in range(<u32>L0_NR_STIMERS):
        if runs(&vp.stimer[i]) and not vp.stimer[i].waits and vp.stimer[i].due < first:
            first = vp.stimer[i].due
    return first


# While a timer runs, L2 is interrupted by an alarm that looks at the clock.
cdef void stimers_arm(l0_vp *vp) noexcept nogil:
    cdef u32 i

    if first_due(vp) == NEVER:
        return
    for i in range(vp.nr_alarms):
        if vp.alarm[i].what == <u32>L0_ALARM_TIMERS:
            return
    vp.alarm[vp.nr_alarms].what = L0_ALARM_TIMERS
    vp.alarm[vp.nr_alarms].at = vp.counters.l2_instructions
    vp.nr_alarms += 1


# The timers' alarm, of that number: look at the clock, or where the processor only waits let
# time pass until one is due. Has an interrupt come, or the alarm gone?
cdef bint stimers_ring(l0_vp *vp, u32 number, bint waits) noexcept nogil:
    cdef u32 before = vp.cpu.intr
    cdef u64 now, due

    stimers_run(vp)
    due = first_due(vp)
    if waits and vp.cpu.intr == before and due != NEVER:
        now = clock_reference_time(vp.partition)
        if due > now and due - now < TOO_FAR:
            clock_skip(vp.partition, due - now)
            stimers_run(vp)
            due = first_due(vp)
    if due == NEVER:
        vp.nr_alarms -= 1
        vp.alarm[number] = vp.alarm[vp.nr_alarms]
        return True
    vp.alarm[number].at = vp.counters.l2_instructions + A_LOOK
    return vp.cpu.intr != before


cdef insn_t stimer_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil:
    cdef const l0_stimer *timer = &vp.stimer[(msr - MSR_CONFIG_0) >> 1]

    stimers_run(vp)
    value[0] = timer.count if msr & 1 else timer.config
    return INSN_OK


cdef insn_t stimer_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    cdef l0_stimer *timer = &vp.stimer[(msr - MSR_CONFIG_0) >> 1]
    cdef u64 old = timer.config

    if not msr & 1:
        if value & DIRECT and vp.partition.profile.enforce_cpuid and \
                not vp.partition.caps.features_edx & DIRECT_OFFERED:
            return deny(vp, CHECK_stimer_direct, value, msr, 0)
        timer.config = value
        # source 0 is the hypervisor's own: a timer that runs stops there
        if old & ENABLED and not value & DIRECT and source_of(timer) == 0:
            timer.config &= ~<u64>ENABLED
    else:
        timer.count = value
        if value == 0:
            timer.config &= ~<u64>ENABLED
        elif timer.config & AUTO_ENABLE:
            timer.config |= ENABLED
    timer.due = timer.waits = 0
    stimers_run(vp)
    stimers_arm(vp)
    return INSN_OK
