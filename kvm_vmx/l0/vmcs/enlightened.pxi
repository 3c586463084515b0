# SPDX-License-Identifier: GPL-2.0-only
# Activation of an enlightened VMCS and the clean-field cache behind it.

cdef enum:
    CLEAN_ALL = 0xffff

cdef extern from *:
    int __builtin_popcount(unsigned int bits) nogil

cdef enum:
    EVMCS_VERSION = 1
    NO_PROCESSOR = 0x7fffffff


# Is the next entry enlightened? The assist page is sampled at the instruction (R24, R25).
cdef inline bint enlightened_pointer(l0_vp *vp, u64 *pointer) noexcept nogil:
    cdef hv_vp_assist_page *assist

    if not vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        return False
    assist = <hv_vp_assist_page *>phys_page(vp.cpu.mem, vp.assist_msr)
    # the switch is one byte; the bytes behind it are reserved
    if assist == NULL or not (<u8 *>&assist.enlighten_vmentry)[0]:
        return False
    pointer[0] = assist.current_nested_vmcs
    # K9: -1 and -2 mean none
    return pointer[0] < ~<u64>1


# The page of the eVMCS to enter with, or NULL and why there is none; the same one as last time
# is the short way.
cdef inline u8 *enlightened_page(
        l0_vp *vp, u64 pointer, bint launch, insn_t *status) noexcept nogil:
    cdef u8 *page

    if likely(pointer == vp.active_evmcs and not launch):
        page = phys_page(vp.cpu.mem, pointer)
        if likely(page != NULL):
            return page
    return enlightened_activate(vp, pointer, status)


cdef inline void enlightened_refresh(l0_vp *vp, u8 *page, bint unusual) noexcept nogil:
    cdef u32 found = (<hv_enlightened_vmcs *>page).hv_clean_fields
    cdef u32 clean = found & vp.valid_groups
    cdef u32 flags = l0_flags(&vp.evmcs_cache)

    # for whoever watches: no decision looks at the copy of it
    vp.evmcs_cache.f.hv_clean_fields = found
    l0_reload_live(&vp.evmcs_cache, page)
    if unlikely(<u16>clean != CLEAN_ALL or unusual or flags != l0_flags(&vp.evmcs_cache)):
        enlightened_reload(vp, page, clean)
    vp.counters.bytes_reread += L0_LIVE_BYTES
    vp.counters.bytes_ungrouped += L0_UNGROUPED_BYTES
    if unlikely(l0_counts(&vp.evmcs_cache)):
        enlightened_counts(vp)


# The copy is worth nothing, but the eVMCS stays active: page and clean bits are all there is.
cdef void enlightened_forget(l0_vp *vp) noexcept nogil:
    vp.valid_groups = 0
    vp.groups_to_check = CLEAN_ALL
    vp.bitmap_kept = 0
    vp.last_exit_kept = 0


# No eVMCS is active any more, and the copy of it is worth nothing.
cdef void enlightened_release(l0_vp *vp) noexcept nogil:
    vp.row_kept = 0
    vp.active_evmcs = L0_NO_VMCS
    settle_fields(vp)
    enlightened_forget(vp)


cdef insn_t refuse_pointer(l0_vp *vp, u64 pointer) noexcept nogil:
    l0_note_refusal(vp, CHECK_evmcs_missing, pointer, 0)
    if vp.partition.profile.bad_evmcs_pointer_is_ud:
        return fault_ud()
    return fail_invalid(vp)


# R30: an eVMCS is active on one processor at most: on which other one it is, and else on none.
cdef u32 active_elsewhere(l0_vp *vp, u64 pointer) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef u32 i

    for i in range(partition.nr_vps):
        if i != vp.cpu.index and partition.vp[i].active_evmcs == pointer:
            return i
    return NO_PROCESSOR


cdef insn_t become_active(l0_vp *vp, u64 pointer, const u8 *page) noexcept nogil:
    cdef u32 revision = (<const hv_enlightened_vmcs *>page).revision_id
    cdef u32 other

    if revision != EVMCS_VERSION and revision != vp.partition.profile.vmcs_revision:
        l0_note_refusal(vp, CHECK_evmcs_revision, pointer, revision)
        vp.refusal.may = vp.partition.profile.vmcs_revision
        return fail_invalid(vp)
    other = active_elsewhere(vp, pointer)
    if other != NO_PROCESSOR:
        lint(vp, LINT_evmcs_on_two_cpus)
        if vp.partition.profile.one_vp_per_evmcs:
            return refused_pointer(vp, CHECK_evmcs_active, pointer, other)
    vp.active_evmcs = pointer
    settle_fields(vp)
    vp.evmcs_cache.f.revision_id = revision
    # what L0 writes back and does not read: nothing of another eVMCS must get there
    vp.evmcs_cache.f.vm_instruction_error = (<const hv_enlightened_vmcs *>page).vm_instruction_error
    return INSN_OK


# The page of an eVMCS that is to become active, or that VMLAUNCH makes L0 read anew.
cdef u8 *enlightened_activate(l0_vp *vp, u64 pointer, insn_t *status) noexcept nogil:
    cdef bint changed = pointer != vp.active_evmcs
    cdef u8 *page

    if changed:
        release_current_vmcs(vp)
        enlightened_release(vp)
    if pointer & 0xfff and vp.partition.profile.aligned_evmcs_pointer:
        status[0] = refused_pointer(vp, CHECK_pointer_misaligned, pointer, 0)
        return NULL
    page = phys_page(vp.cpu.mem, pointer)
    if page == NULL:
        if not changed:
            lint(vp, LINT_evmcs_vanished)
            enlightened_release(vp)
        status[0] = refuse_pointer(vp, pointer)
        return NULL
    if changed:
        status[0] = become_active(vp, pointer, page)
        if status[0] != INSN_OK:
            return NULL
    vp.groups_to_check = CLEAN_ALL
    # a fault: what the copy holds counts, of whatever eVMCS it is
    if vp.partition.profile.launch_trusts_clean:
        vp.valid_groups = CLEAN_ALL
        return page
    # K3: nothing of an earlier copy counts, and the page says so too
    vp.valid_groups = 0
    (<hv_enlightened_vmcs *>page).hv_clean_fields &= ~<u32>CLEAN_ALL
    return page


# xorshift64: sixteen coins an entry, the same for the same seed.
cdef u32 random_groups(l0_vp *vp) noexcept nogil:
    vp.random_state ^= vp.random_state << 13
    vp.random_state ^= vp.random_state >> 7
    vp.random_state ^= vp.random_state << 17
    return <u32>(vp.random_state >> 32) & CLEAN_ALL


# R67: with the flag the bitmap's content is read when one of its groups is dirty (K11), and not
# watched. Without it L0 looks into L1's page at every access.
cdef void keep_bitmap(l0_vp *vp, u32 dirty) noexcept nogil:
    cdef const u8 *bitmap

    if not (l0_flags(&vp.evmcs_cache) & L0_FLAG_MSR_BITMAP and
            vp.partition.caps.nested & HV_X64_NESTED_MSR_BITMAP):
        vp.bitmap_kept = 0
        return
    if vp.bitmap_kept and (
            not dirty & MSR_BITMAP_CONTENT or vp.partition.profile.serves_stale_bitmaps):
        return
    bitmap = phys_page(vp.cpu.mem, vp.evmcs_cache.f.msr_bitmap)
    if bitmap != NULL:
        memcpy(vp.msr_bitmap, bitmap, sizeof(vp.msr_bitmap))
    else:
        memset(vp.msr_bitmap, 0xff, sizeof(vp.msr_bitmap))
    vp.bitmap_kept = 1


# Read the dirty groups, as the cache policy has it, and with them the enlightened MSR bitmap.
cdef void enlightened_reload(l0_vp *vp, const u8 *page, u32 clean) noexcept nogil:
    cdef u32 dirty = ~clean & CLEAN_ALL

    if vp.partition.lints_enabled:
        watch_entry(vp, page, clean)
    if vp.partition.cache_policy == CACHE_NEVER or vp.partition.profile.rereads_clean_groups:
        dirty = CLEAN_ALL
    elif vp.partition.cache_policy == CACHE_RANDOM:
        dirty |= random_groups(vp)
    if dirty:
        vp.counters.bytes_reread += l0_reload_groups(&vp.evmcs_cache, page, dirty)
        vp.counters.groups_reread += __builtin_popcount(dirty)
        vp.valid_groups |= dirty
        vp.groups_to_check |= dirty
    keep_bitmap(vp, dirty)


# One of the counts without a clean group is not zero.
cdef void enlightened_counts(l0_vp *vp) noexcept nogil:
    cdef hv_enlightened_vmcs *f = &vp.evmcs_cache.f

    if not vp.partition.profile.honour_msr_lists and (
            f.vm_exit_msr_store_count or f.vm_exit_msr_load_count or f.vm_entry_msr_load_count):
        lint(vp, LINT_msr_lists_ignored)
        f.vm_exit_msr_store_count = 0
        f.vm_exit_msr_load_count = 0
        f.vm_entry_msr_load_count = 0
    if f.cr3_target_count and not vp.partition.profile.honour_cr3_targets:
        lint(vp, LINT_cr3_targets_ignored)
        f.cr3_target_count = 0
    # the group whose checks look at the counts
    vp.groups_to_check |= GROUP_CONTROL_GRP1
