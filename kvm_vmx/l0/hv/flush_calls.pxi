# SPDX-License-Identifier: GPL-2.0-only
# The flush hypercalls: which processors a set names, and what they forget.

cdef enum:
    # the forms of a set of processors
    SET_SPARSE = 0
    SET_ALL = 1

cdef extern from *:
    int __builtin_popcountll(unsigned long long bits) nogil

cdef enum:
    FLAG_ALL_PROCESSORS = 1
    FLAG_ALL_SPACES = 2
    FLAG_NON_GLOBAL = 4

    BANK = 64


cdef void forget(l0_vp *caller, l0_vp *vp) noexcept nogil:
    # another processor may be in L2: it forgets when it finds the context changed
    vp.tlb_context[0] = ~<u64>0
    # whoever keeps a row there looks at the context last
    full_fence()
    vp.row_kept = 0
    if vp == caller:
        guest_flush_tlb(vp)
    vp.counters.tlb_flushes += 1


# Is a number in the set? bank holds the quadwords of the banks that mask names, in order.
cdef bint in_set(u64 format, u64 mask, const u64 *bank, u64 number) noexcept nogil:
    cdef u64 which = number // BANK

    if format == SET_ALL:
        return True
    if which >= BANK or not mask >> which & 1:
        return False
    which = __builtin_popcountll(mask & ((<u64>1 << which) - 1))
    return bank[which] >> (number % BANK) & 1


# R79: a flush of L2 reaches the VM of the caller, by the ids that L1 gave.
cdef void flush_nested(l0_vp *vp, u64 format, u64 mask, const u64 *bank) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef l0_vp *other
    cdef u32 i

    for i in range(partition.nr_vps):
        other = &partition.vp[i]
        if other.active_evmcs != L0_NO_VMCS and \
                other.evmcs_cache.f.hv_vm_id == vp.evmcs_cache.f.hv_vm_id and \
                in_set(format, mask, bank, other.evmcs_cache.f.hv_vp_id):
            forget(vp, other)


# The bits of the flags that a flush does not know.
cdef u64 unknown_flags(u64 flags, bint listed) noexcept nogil:
    cdef u64 known = FLAG_ALL_PROCESSORS | FLAG_ALL_SPACES

    if not listed:
        known |= FLAG_NON_GLOBAL
    return flags & ~known


# Both return the status, and leave in call how many repetitions are done.
cdef u64 flush_virtual(l0_vp *vp, call_t *call) noexcept nogil:
    cdef bint listed = call.code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST or \
        call.code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX
    cdef bint extended = call.code == HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX or \
        call.code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX
    cdef u64 flags = call.word[1]
    # the short form is a set of one bank
    cdef u64 format = SET_SPARSE, mask = 1
    cdef const u64 *bank = call.word + 2

    if unknown_flags(flags, listed):
        return refuse_call(vp, call, CHECK_flush_flags, unknown_flags(flags, listed))
    if extended:
        format = call.word[2]
        mask = call.word[3]
        bank = call.word + 4
        if format != SET_SPARSE and format != SET_ALL:
            return refuse_call(vp, call, CHECK_flush_set_format, format)
        if format == SET_SPARSE and <u32>__builtin_popcountll(mask) != call.variable:
            return refuse_call(
                vp, call, CHECK_flush_set_banks, <u32>__builtin_popcountll(mask))
    if flags & FLAG_ALL_PROCESSORS:
        format = SET_ALL
    # L1's own translations are never kept; a list of addresses is flushed as a whole
    if call.from_l2:
        if vp.watch != NULL:
            watch_set(vp, format, mask, bank[0])
        flush_nested(vp, format, mask, bank)
    call.done = call.count
    return HV_STATUS_SUCCESS


# R87, R88: an address space by its EPT pointer, whose low bits do not count; every processor
# that holds translations of it forgets them all.
cdef u64 call_flush_guest_physical(l0_vp *vp, call_t *call) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef u32 i

    if call.word[1]:
        return refuse_call(vp, call, CHECK_flush_space_flags, call.word[1])
    if vp.watch != NULL:
        watch_flush(vp, call.word[0])
    for i in range(partition.nr_vps):
        if not (partition.vp[i].tlb_context[0] ^ call.word[0]) >> 12:
            forget(vp, &partition.vp[i])
    call.done = call.count
    return HV_STATUS_SUCCESS
