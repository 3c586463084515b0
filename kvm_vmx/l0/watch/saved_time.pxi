# SPDX-License-Identifier: GPL-2.0-only
# Save and restore of what counts time: the synthetic timers, and a loop of PAUSE.


# A timer is due at a reference time: saved, so long from now on; 0 is one that does not run.
cdef void save_timers(l0_vp *vp, l0_saved *saved) noexcept nogil:
    cdef u64 now = clock_reference_time(vp.partition)
    cdef u32 i

    memcpy(saved.stimer, vp.stimer, sizeof(vp.stimer))
    for i in range(<u32>L0_NR_STIMERS):
        if vp.stimer[i].due:
            saved.stimer[i].due = vp.stimer[i].due - now if vp.stimer[i].due > now else 1


cdef void restore_timers(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef u64 now = clock_reference_time(vp.partition)
    cdef u32 i

    memcpy(vp.stimer, saved.stimer, sizeof(vp.stimer))
    for i in range(<u32>L0_NR_STIMERS):
        if vp.stimer[i].due:
            # what is due at no time stays so
            vp.stimer[i].due += now if vp.stimer[i].due < ~now else 0


# A loop of PAUSE goes on where the processor does.
cdef void save_loop(const l0_vp *vp, l0_saved *saved) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions

    saved.in_pause_loop = vp.pause_entry == vp.counters.vmlaunch + vp.counters.vmresume
    if not saved.in_pause_loop:
        return
    saved.pause_first = now - vp.pause_first
    saved.pause_last = now - vp.pause_last


cdef void restore_loop(l0_vp *vp, const l0_saved *saved) noexcept nogil:
    cdef u64 now = vp.counters.l2_instructions

    vp.pause_entry = vp.counters.vmlaunch + vp.counters.vmresume
    if not saved.in_pause_loop:
        vp.pause_entry -= 1
    vp.pause_first = now - saved.pause_first
    vp.pause_last = now - saved.pause_last
