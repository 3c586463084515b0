# SPDX-License-Identifier: GPL-2.0-only
# The second-level TLB, watched: translations that L2 uses after L1 has changed their EPT entry,
# and flushes that reach nobody.

cdef extern from *:
    """
    /* L1's other processors may write while it is read: each word once. */
    static inline u64 l0_walk_differs(const struct l0_walked *walk)
    {
    #define L0_ENTRY_DIFFERS(n) (*(const volatile u64 *)walk->slot[n] ^ walk->entry[n])
        return L0_ENTRY_DIFFERS(0) | L0_ENTRY_DIFFERS(1) |
            L0_ENTRY_DIFFERS(2) | L0_ENTRY_DIFFERS(3);
    #undef L0_ENTRY_DIFFERS
    }
    /* Of all walks together: 0 where every one of them leads where it led. */
    static inline u64 l0_walks_differ(const struct l0_watch *watch)
    {
        u64 differs = !watch->steps_known;

        for (u32 i = 0; i < watch->nr_steps; i++)
            differs |= *(const volatile u64 *)watch->step[i].slot ^ watch->step[i].entry;
        return differs;
    }
    """
    u64 l0_walk_differs(const l0_walked *walk) nogil
    u64 l0_walks_differ(const l0_watch *watch) nogil


# Where the EPT leads now, without any trace of having looked: the frame with its rights, or NULL.
cdef u8 *ept_now(l0_vp *vp, u64 eptp, u64 gpa, u64 *rights, l0_walked *walk) noexcept nogil:
    cdef u64 table = eptp & ADDRESS, entry, inside
    cdef const u8 *slot
    cdef int level

    walk.gpa = 0
    rights[0] = 7
    for level in range(3, -1, -1):
        slot = phys_page(vp.cpu.mem, table)
        if slot == NULL:
            return NULL
        slot += (gpa >> (12 + 9 * level) & 511) * 8
        entry = (<const volatile u64 *>slot)[0]
        walk.slot[level] = <const u64 *>slot
        walk.entry[level] = entry
        rights[0] &= entry & 7
        if not rights[0]:
            return NULL
        table = entry & ADDRESS
        if level == 0 or (level < 3 and entry & EPT_LARGE):
            break
    inside = (<u64>1 << (12 + 9 * level)) - 1
    # a large page: what is below is there once more
    while level > 0:
        walk.slot[level - 1] = walk.slot[level]
        walk.entry[level - 1] = walk.entry[level]
        level -= 1
    walk.gpa = gpa | 1
    return phys_page(vp.cpu.mem, table & ~inside | gpa & inside)


# The translation is stale: it is taken out of the TLBs, and lasts where L2 looks next.
cdef void set_aside(l0_vp *vp, u32 place) noexcept nogil:
    cdef l0_watch *watch = vp.watch
    cdef l2_tlb_entry *entry = &vp.physical_tlb[place]
    cdef u32 i

    watch.stale[place] = entry[0]
    watch.aside |= <u64>1 << place
    for i in range(<u32>L2_TLB_ENTRIES):
        if vp.tlb[i].host == entry.host:
            vp.tlb[i].tag = 0
    entry.tag = 0


# Pages beside each other are reached by the same tables: the steps of a walk that the one before
# it has not.
cdef void add_steps(l0_watch *watch, const l0_walked *walk,
                    const l0_walked *before) noexcept nogil:
    cdef l0_step *step
    cdef int level

    for level in range(4):
        if before == NULL or walk.slot[level] != before.slot[level] or \
                walk.entry[level] != before.entry[level]:
            step = &watch.step[watch.nr_steps]
            step.slot, step.entry = walk.slot[level], walk.entry[level]
            watch.nr_steps += 1


# What the next look at all translations has to find again; each walk is known.
cdef void keep_steps(l0_vp *vp) noexcept nogil:
    cdef l0_watch *watch = vp.watch
    cdef u64 left = watch.kept
    cdef const l0_walked *before = NULL
    cdef u32 i

    watch.nr_steps = 0
    while left:
        i = trailing_zeros(left)
        left &= left - 1
        if vp.physical_tlb[i].tag & 7:
            add_steps(watch, &watch.walked[i], before)
            before = &watch.walked[i]
    watch.steps_known = 1


# Do the translations that L0 holds agree with the EPT, each for itself?
cdef void look_at_translations(l0_vp *vp) noexcept nogil:
    cdef l2_tlb_entry *entry
    cdef l0_walked *walk
    cdef u64 left = vp.watch.kept, rights = 0
    cdef u8 *page
    cdef u32 i

    while left:
        i = trailing_zeros(left)
        left &= left - 1
        entry = &vp.physical_tlb[i]
        if not entry.tag & 7:
            continue
        walk = &vp.watch.walked[i]
        if likely(walk.gpa == entry.tag & ~<u64>0xfff | 1 and not l0_walk_differs(walk)):
            continue
        page = ept_now(vp, vp.tlb_context[0], entry.tag & ~<u64>0xfff, &rights, walk)
        if page != entry.host or entry.tag & 7 & ~rights:
            vp.entry_is_repeat = 0
            walk.gpa = 0
            set_aside(vp, i)
    keep_steps(vp)


# Before an entry.
cdef inline void watch_translations(l0_vp *vp) noexcept nogil:
    # all of them are forgotten before L2 looks
    if vp.tlb_context[0] != ~<u64>0 and unlikely(l0_walks_differ(vp.watch)):
        look_at_translations(vp)


# L2 looks for a page that the TLB has no more: the stale translation, or NULL where there is none.
cdef u8 *stale_page(l0_vp *vp, u64 gpa, u64 need) noexcept nogil:
    cdef u32 place = (gpa >> 12) & (L2_TLB_ENTRIES - 1)
    cdef const l2_tlb_entry *found = &vp.watch.stale[place]

    if not vp.watch.aside >> place & 1 or (found.tag ^ gpa) >> 12 or found.tag & need != need:
        return NULL
    l0_note(vp, LINT_stale_translation, L0_NO_FIELD, found.tag & ~<u64>0xfff,
            <u64>(found.host - vp.cpu.mem.base))
    vp.physical_tlb[place] = found[0]
    place_filled(vp.watch, place)
    return found.host


# The address spaces that this processor has entered with, as long as there is place for them.
cdef void watch_space(l0_vp *vp, u64 eptp) noexcept nogil:
    cdef l0_watch *watch = vp.watch
    cdef u32 i, known = watch.nr_spaces

    # one more than there is place for is no place
    if eptp >> 12 == watch.last_space or known > L0_WATCHED_SPACES:
        return
    watch.last_space = eptp >> 12
    for i in range(known):
        if watch.space[i] == eptp >> 12:
            return
    if known < L0_WATCHED_SPACES:
        watch.space[known] = eptp >> 12
    watch.nr_spaces = known + 1


cdef bint knows_space(const l0_vp *vp, u64 space) noexcept nogil:
    cdef const l0_watch *watch = vp.watch
    cdef u32 i

    # more than there is place for: any may have been one
    if watch.nr_spaces > L0_WATCHED_SPACES:
        return True
    if vp.current_vmptr != L0_NO_VMCS and space == vp.current_vmcs.f.ept_pointer >> 12:
        return True
    for i in range(watch.nr_spaces):
        if watch.space[i] == space:
            return True
    return False


# R87: a flush of guest-physical addresses names a space by its EPT pointer.
cdef void watch_flush(l0_vp *vp, u64 eptp) noexcept nogil:
    cdef u32 i

    for i in range(vp.partition.nr_vps):
        if knows_space(&vp.partition.vp[i], eptp >> 12):
            return
    l0_note(vp, LINT_flush_unknown_space, L0_NO_FIELD, eptp, 0)


# R90: the short form of a set has one bank, and one that is full means everybody it can name.
cdef void watch_set(l0_vp *vp, u64 format, u64 mask, u64 bank) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef const l0_vp *other
    cdef u32 i

    if format == SET_ALL or mask != 1 or ~bank:
        return
    for i in range(partition.nr_vps):
        other = &partition.vp[i]
        if other.active_evmcs != L0_NO_VMCS and \
                other.evmcs_cache.f.hv_vm_id == vp.evmcs_cache.f.hv_vm_id and \
                other.evmcs_cache.f.hv_vp_id >= BANK:
            l0_note(vp, LINT_flush_set_short, L0_NO_FIELD, other.evmcs_cache.f.hv_vp_id, BANK - 1)
