# SPDX-License-Identifier: GPL-2.0-only
# An entry that repeats the last one where somebody watches: only where looking would tell nothing.


# Is what the lints of any entry depend on as the last entry found it, and told nothing?
cdef inline bint nothing_to_tell(const l0_vp *vp) noexcept nogil:
    # a lint of the last entry is told again by this one
    return vp.watch.told == vp.counters.lints and not vp.partition.stopped and \
        not l0_walks_differ(vp.watch)


# And of an enlightened entry: the two pages, but for the clean fields and RIP.
cdef inline bint pages_stand(const l0_vp *vp) noexcept nogil:
    return not page_differs(vp, vp.row.page) and \
        memcmp(vp.row.assist, vp.watch.assist, L0_ASSIST_HEAD) == 0


# VMLAUNCH and VMRESUME of a processor that is watched. What is remembered of events stays true over
# an entry that repeats one which injected none, and left by CPUID as the one before.
cdef insn_t watched_vmentry(virt_cpu *cpu, u64 *regs, bint launch) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef insn_t status

    if likely(not launch) and likely(l0_is_steady(vp)) and likely(nothing_to_tell(vp)):
        if vp.row.page != NULL:
            if likely(enlightened_repeats(vp)) and likely(pages_stand(vp)):
                return repeat_enlightened(vp, regs)
        elif likely(plain_repeats(vp)):
            return repeat_plain(vp, regs)
    enter_in_full(vp, regs, launch, &status)
    return status
