# SPDX-License-Identifier: GPL-2.0-only
# The local APIC of a processor that runs L1: what waits, what is in service, timer and IPIs.

cdef enum:
    APIC_PAGE = 0xfee00000
    APIC_ID = 0x02
    APIC_VERSION = 0x03
    APIC_TPR = 0x08
    APIC_PPR = 0x0a
    APIC_END = 0x0b
    APIC_LDR = 0x0d
    APIC_DFR = 0x0e
    APIC_SPIV = 0x0f
    APIC_ISR = 0x10
    APIC_TMR = 0x18
    APIC_IRR = 0x20
    APIC_ESR = 0x28
    APIC_ICR = 0x30
    APIC_ICR_HIGH = 0x31
    APIC_LVT_TIMER = 0x32
    APIC_LVT_LAST = 0x37
    APIC_TIMER_COUNT = 0x38
    APIC_TIMER_LEFT = 0x39
    APIC_TIMER_DIVIDE = 0x3e
    APIC_SELF = 0x3f
    LVT_MASKED = 1 << 16
    LVT_PERIODIC = 1 << 17
    LVT_DEADLINE = 1 << 18
    VERSION_OF_MANY = 0x50014
    BASE_ENABLED = 1 << 11
    BASE_X2APIC = 1 << 10
    MODE_NMI = 4
    MODE_INIT = 5
    MODE_STARTUP = 6
    SHORTHAND_SELF = 1
    SHORTHAND_ALL = 2
    SHORTHAND_OTHERS = 3
    # a timer that fires more often would leave no time between
    SHORTEST_PERIOD = 16
    X2APIC_FIRST = 0x800
    X2APIC_LAST = 0x8ff


cdef void apic_reset(l0_vp *vp) noexcept nogil:
    cdef u32 lvt

    memset(&vp.root.apic, 0, sizeof(vp.root.apic))
    vp.root.apic.reg[APIC_DFR] = ~<u32>0
    vp.root.apic.reg[APIC_SPIV] = 0xff
    for lvt in range(APIC_LVT_TIMER, APIC_LVT_LAST + 1):
        vp.root.apic.reg[lvt] = LVT_MASKED


cdef bint is_x2apic(const l0_vp *vp) noexcept nogil:
    return vp.msr[SLOT_APIC_BASE].value & (BASE_ENABLED | BASE_X2APIC) == \
        (BASE_ENABLED | BASE_X2APIC)


# Does an address that is no memory belong to the APIC?
cdef bint is_apic_page(const l0_vp *vp, u64 address) noexcept nogil:
    return vp.msr[SLOT_APIC_BASE].value & BASE_ENABLED and not is_x2apic(vp) and \
        address & ~<u64>0xfff == vp.msr[SLOT_APIC_BASE].value & ~<u64>0xfff


cdef u32 highest_in_service(const l0_apic *apic) noexcept nogil:
    # 0x100 | vector, or 0
    cdef u32 vector

    if not (apic.isr[0] | apic.isr[1] | apic.isr[2] | apic.isr[3]):
        return 0
    for vector in range(255, 15, -1):
        if apic.isr[vector >> 6] >> (vector & 63) & 1:
            return 0x100 | vector
    return 0


cdef u32 task_priority(const l0_vp *vp) noexcept nogil:
    # CR8 is its upper half
    return <u32>vp.cpu.cr8 << 4 | vp.root.apic.reg[APIC_TPR] & 15


cdef u32 processor_priority(const l0_vp *vp) noexcept nogil:
    cdef u32 service = highest_in_service(&vp.root.apic) & 0xf0
    cdef u32 task = task_priority(vp)

    return task if task & 0xf0 >= service else service


# Is an interrupt to be had that the priority lets through? virt_cpu.intr says so from here on.
cdef bint apic_settle(l0_vp *vp) noexcept nogil:
    cdef u32 first = irq_first(&vp.cpu)

    vp.cpu.intr = first != 0 and first & 0xf0 > processor_priority(vp) & 0xf0
    return vp.cpu.intr


cdef inline u32 *trigger_word(l0_vp *vp, u32 vector) noexcept nogil:
    return &vp.root.apic.reg[APIC_TMR + (vector >> 5)]


# An interrupt is accepted; by a level, its end is told to the I/O APIC.
cdef void apic_raise(l0_vp *vp, u32 vector, bint level=False) noexcept nogil:
    if vector >= 16:
        if level:
            trigger_word(vp, vector)[0] |= <u32>1 << (vector & 31)
        else:
            trigger_word(vp, vector)[0] &= ~(<u32>1 << (vector & 31))
        irq_raise(&vp.cpu, vector)
        apic_settle(vp)


# The processor takes the interrupt that its priority lets through; 0x100 | vector, or 0.
cdef u32 apic_take(l0_vp *vp) noexcept nogil:
    cdef u32 taken

    if not apic_settle(vp):
        return 0
    taken = irq_take(&vp.cpu)
    if not ends_by_itself(vp, taken & 0xff):
        vp.root.apic.isr[(taken & 0xff) >> 6] |= <u64>1 << (taken & 63)
    apic_settle(vp)
    return taken


# The interrupt that an exit acknowledges, or that is delivered: by the APIC where there is one.
cdef inline u32 take_vector(l0_vp *vp) noexcept nogil:
    return apic_take(vp) if vp.root.on else irq_take(&vp.cpu)


cdef void apic_end(l0_vp *vp) noexcept nogil:
    cdef u32 served = highest_in_service(&vp.root.apic)
    cdef u32 vector = served & 0xff

    if served:
        vp.root.apic.isr[vector >> 6] &= ~(<u64>1 << (served & 63))
        if trigger_word(vp, vector)[0] >> (vector & 31) & 1 and \
                not vp.root.apic.reg[APIC_SPIV] & SPIV_NO_BROADCAST:
            io_apic_end(vp.partition, vector)
    apic_settle(vp)


# The timer counts instructions, divided as it is told.
cdef u64 timer_divider(const l0_apic *apic) noexcept nogil:
    cdef u32 code = apic.reg[APIC_TIMER_DIVIDE] & 3 | apic.reg[APIC_TIMER_DIVIDE] >> 1 & 4

    return <u64>1 << ((code + 1) & 7)


cdef u64 timer_period(const l0_apic *apic) noexcept nogil:
    return max(<u64>apic.reg[APIC_TIMER_COUNT] * timer_divider(apic), <u64>SHORTEST_PERIOD)


cdef void apic_timer_start(l0_vp *vp) noexcept nogil:
    cdef l0_apic *apic = &vp.root.apic
    cdef u32 lvt = apic.reg[APIC_LVT_TIMER]
    cdef u64 period = timer_period(apic)

    apic.timer_at = apic.timer_every = 0
    if lvt & LVT_DEADLINE or not apic.reg[APIC_TIMER_COUNT]:
        return
    apic.timer_at = time_of(vp) + period
    if lvt & LVT_PERIODIC:
        apic.timer_every = period
    look_by(vp, apic.timer_at)


# SDM 3A 11.5.4: a count that runs goes on in another mode, but not into or out of the deadline's.
cdef void apic_timer_mode(l0_apic *apic, u32 lvt) noexcept nogil:
    if (apic.reg[APIC_LVT_TIMER] ^ lvt) & LVT_DEADLINE:
        apic.timer_at = apic.deadline = 0
    apic.timer_every = 0
    if lvt & LVT_PERIODIC and apic.timer_at:
        apic.timer_every = timer_period(apic)


# MSR 0x6e0: when the TSC is to reach it.
cdef void apic_deadline(l0_vp *vp, u64 value) noexcept nogil:
    cdef l0_apic *apic = &vp.root.apic
    cdef const l0_clock *clock = &vp.partition.clock
    cdef u64 now = clock_tsc(vp.partition) + vp.msr[SLOT_TSC_ADJUST].value

    apic.deadline = apic.timer_at = apic.timer_every = 0
    if not apic.reg[APIC_LVT_TIMER] & LVT_DEADLINE or not value:
        return
    apic.deadline = value
    apic.timer_at = time_of(vp) + (
        (value - now >> clock.counter_shift) + 1 if value > now else 1)
    look_by(vp, apic.timer_at)


# Time has passed: has the timer come?
cdef void apic_time(l0_vp *vp) noexcept nogil:
    cdef l0_apic *apic = &vp.root.apic
    cdef u64 now = time_of(vp)

    if not apic.timer_at or now < apic.timer_at:
        return
    apic.deadline = 0
    apic.timer_at = now + apic.timer_every if apic.timer_every else 0
    if not apic.reg[APIC_LVT_TIMER] & LVT_MASKED:
        apic_raise(vp, apic.reg[APIC_LVT_TIMER] & 0xff)


cdef u32 timer_count_left(const l0_vp *vp) noexcept nogil:
    cdef const l0_apic *apic = &vp.root.apic
    cdef u64 now = time_of(vp)

    if not apic.timer_at or apic.reg[APIC_LVT_TIMER] & LVT_DEADLINE or apic.timer_at <= now:
        return 0
    return <u32>((apic.timer_at - now) // timer_divider(apic))


cdef void apic_send(l0_vp *to, u32 command, bint level=False) noexcept nogil:
    cdef u32 mode = command >> 8 & 7

    if mode == MODE_NMI:
        to.cpu.nmi = 1
    elif mode == MODE_INIT:
        # the level that ends it says nothing
        if command >> 14 & 1:
            to.root.apic.init_waits = 1
            to.root.apic.sipi_waits = 0
    elif mode == MODE_STARTUP:
        to.root.apic.sipi_waits = 1
        to.root.apic.sipi_vector = command & 0xff
    elif mode < 2:
        apic_raise(to, command & 0xff, level)


# Is a processor one of those that a destination names?
cdef bint is_addressed(const l0_vp *to, u32 destination, bint logical, bint wide) noexcept nogil:
    cdef u32 own = to.cpu.index, ldr = to.root.apic.reg[APIC_LDR] >> 24

    if destination == ~<u32>0 or (not wide and destination == 0xff):
        return True
    if not logical:
        return destination == own
    if wide or is_x2apic(to):
        return destination >> 16 == own >> 4 and destination >> (own & 15) & 1
    if to.root.apic.reg[APIC_DFR] >> 28 == 0:
        # clusters of four
        return destination >> 4 == ldr >> 4 and destination & ldr & 15 != 0
    return destination & ldr != 0


cdef void apic_command(l0_vp *vp, u32 command, u32 destination, bint wide) noexcept nogil:
    cdef u32 shorthand = command >> 18 & 3, n
    cdef l0_vp *to

    for n in range(vp.partition.nr_vps):
        to = &vp.partition.vp[n]
        if not to.root.on:
            continue
        if shorthand == SHORTHAND_SELF and to != vp:
            continue
        if shorthand == SHORTHAND_OTHERS and to == vp:
            continue
        if shorthand or is_addressed(to, destination, command >> 11 & 1, wide):
            apic_send(to, command)
