# SPDX-License-Identifier: GPL-2.0-only
# Time of the partition: TSC, reference time, and what becomes of them when it migrates.

cdef extern from "x86intrin.h" nogil:
    unsigned long long __rdtsc()

cdef extern from *:
    """
    #define multiply_shift(a, b, shift) ((u64)((unsigned __int128)(a) * (b) >> (shift)))
    /* 2^64 / (hz / 10^7): what turns a TSC into units of 100 ns */
    #define reference_scale(hz) ((u64)(((unsigned __int128)10000000 << 64) / (hz)))
    """
    u64 multiply_shift(u64 a, u64 b, int shift) nogil
    u64 reference_scale(u64 hz) nogil

cdef enum:
    # the shortest interval, in ns, over which the TSC is compared with the clock
    CALIBRATION = 2000000
    REFERENCE_ENABLE = 1
    REENLIGHTENMENT_ENABLED = 1 << 16
    # below 16 a vector is an exception's: no APIC delivers it


# What ticks: the host's TSC, or where time is counted in instructions, those.
cdef u64 ticks(const l0_clock *clock) noexcept nogil:
    return __rdtsc() if clock.counter == NULL else clock.counter[0] << clock.counter_shift


cdef u64 now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <u64>now.tv_sec * 1000000000 + <u64>now.tv_nsec


cdef void clock_start(l0_partition *partition) noexcept nogil:
    cdef l0_clock *clock = &partition.clock

    clock.created_ns = now_ns()
    clock.created_tsc = ticks(clock)
    clock.tsc_base = clock.created_tsc
    clock.tsc_since = clock.created_tsc
    clock.tsc_ratio = <u64>1 << 32
    clock.hardware_ratio = <u64>1 << 32


# The TSC as L1 reads it, without TSC_ADJUST.
cdef u64 clock_tsc(const l0_partition *partition) noexcept nogil:
    cdef const l0_clock *clock = &partition.clock

    return clock.tsc_base + multiply_shift(ticks(clock) - clock.tsc_since, clock.tsc_ratio, 32)


# How fast the host's own TSC ticks, measured once.
cdef u64 host_frequency(l0_partition *partition) noexcept nogil:
    cdef l0_clock *clock = &partition.clock
    cdef u64 elapsed = 0

    if clock.tsc_hz == 0:
        while elapsed < CALIBRATION:
            elapsed = now_ns() - clock.created_ns
        clock.tsc_hz = <u64>(
            <double>(ticks(clock) - clock.created_tsc) * 1e9 / <double>elapsed)
    return clock.tsc_hz


cdef u64 clock_tsc_frequency(l0_partition *partition) noexcept nogil:
    return multiply_shift(host_frequency(partition), partition.clock.tsc_ratio, 32)


# The partition's reference time, in units of 100 ns.
cdef u64 clock_reference_time(l0_partition *partition) noexcept nogil:
    cdef u64 scale = reference_scale(host_frequency(partition))

    return multiply_shift(ticks(&partition.clock), scale, 64) - \
        multiply_shift(partition.clock.created_tsc, scale, 64) + partition.clock.skipped


# A processor that only waits lets time pass: both clocks go on by so many units of 100 ns.
cdef void clock_skip(l0_partition *partition, u64 units) noexcept nogil:
    cdef l0_clock *clock = &partition.clock
    cdef u64 ticks = <u64>(<double>units * <double>host_frequency(partition) / 1e7)

    clock.skipped += units
    clock.tsc_base += multiply_shift(ticks, clock.tsc_ratio, 32)


# What L1 computes from the page, TSC * scale / 2^64 + offset, is the reference time of now.
cdef void fill_reference_page(l0_partition *partition, u8 *page) noexcept nogil:
    cdef u64 scale = reference_scale(clock_tsc_frequency(partition))

    (<u32 *>page)[0] = 1 + <u32>partition.clock.migrations
    (<u32 *>page)[1] = 0
    (<u64 *>page)[1] = scale
    (<u64 *>page)[2] = clock_reference_time(partition) - \
        multiply_shift(clock_tsc(partition), scale, 64)


# The reference TSC page: 0, or #GP for a frame that is not there.
cdef insn_t clock_write_reference_page(l0_vp *vp, u64 value) noexcept nogil:
    cdef u8 *page

    if value & REFERENCE_ENABLE:
        page = phys_page(vp.cpu.mem, value)
        if page == NULL:
            return deny(vp, CHECK_reference_frame, value, HV_X64_MSR_REFERENCE_TSC, 0)
        fill_reference_page(vp.partition, page)
    vp.partition.clock.reference_msr = value
    return INSN_OK


# The three MSRs of re-enlightenment.
# R70: vector, Enabled and target in their places, and a vector that can be delivered.
cdef u32 reenlightenment_refusal(const l0_partition *partition, u64 value) noexcept nogil:
    if breaks(CHECK_reenlightenment_bits, value):
        return CHECK_reenlightenment_bits
    if value & REENLIGHTENMENT_ENABLED and value & 0xff < FIRST_VECTOR:
        return CHECK_reenlightenment_vector
    if value & REENLIGHTENMENT_ENABLED and value >> 32 >= partition.nr_vps:
        return CHECK_reenlightenment_target
    return 0


cdef insn_t clock_write_reenlightenment(l0_vp *vp, u64 value) noexcept nogil:
    cdef u32 why = reenlightenment_refusal(vp.partition, value)

    if why:
        return deny(vp, why, value, HV_X64_MSR_REENLIGHTENMENT_CONTROL, vp.partition.nr_vps)
    vp.partition.clock.reenlightenment = value
    return INSN_OK


cdef insn_t clock_write_emulation_control(l0_vp *vp, u64 value) noexcept nogil:
    if breaks(CHECK_emulation_control, value):
        return deny(vp, CHECK_emulation_control, value, HV_X64_MSR_TSC_EMULATION_CONTROL, 0)
    vp.partition.clock.emulation_control = value
    return INSN_OK


# From now on L1 reads a TSC of that ratio; what it has read before stays true.
cdef void tick_at(l0_partition *partition, u64 ratio) noexcept nogil:
    cdef l0_clock *clock = &partition.clock
    cdef u64 host = ticks(clock)

    clock.tsc_base += multiply_shift(host - clock.tsc_since, clock.tsc_ratio, 32)
    clock.tsc_since = host
    clock.tsc_ratio = ratio


cdef insn_t clock_write_emulation_status(l0_vp *vp, u64 value) noexcept nogil:
    cdef l0_clock *clock = &vp.partition.clock

    # L1 can end the emulation, not begin it
    if value:
        return deny(vp, CHECK_emulation_status, value, HV_X64_MSR_TSC_EMULATION_STATUS, 0)
    if clock.emulation_status:
        clock.emulation_status = 0
        tick_at(vp.partition, clock.hardware_ratio)
    return INSN_OK


# The partition has moved to a host whose TSC ticks ratio / 2^32 times as fast as the first's.
cdef void clock_migrate(l0_partition *partition, u64 ratio) noexcept nogil:
    cdef l0_clock *clock = &partition.clock
    cdef u64 wanted = clock.reenlightenment
    cdef u8 *page

    clock.migrations += 1
    clock.hardware_ratio = ratio
    if ratio != clock.tsc_ratio:
        if clock.emulation_control:
            clock.emulation_status = 1
        else:
            tick_at(partition, ratio)
    if clock.reference_msr & REFERENCE_ENABLE:
        page = phys_page(partition.vp[0].cpu.mem, clock.reference_msr)
        if page != NULL:
            fill_reference_page(partition, page)
    if wanted & REENLIGHTENMENT_ENABLED:
        irq_raise(&partition.vp[<u32>(wanted >> 32)].cpu, <u32>wanted & 0xff)
