# SPDX-License-Identifier: GPL-2.0-only
# The hypercalls that send an interrupt to the processors of a set.

cdef extern from *:
    int __builtin_popcountll(unsigned long long bits) nogil

cdef enum:
    LAST_VECTOR = 0xff


cdef u64 send(l0_vp *vp, const call_t *call, u32 vector, u64 format, u64 mask,
              const u64 *bank) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef u32 i

    if vector < FIRST_VECTOR or vector > LAST_VECTOR:
        return refuse_call(vp, call, CHECK_send_vector, vector)
    for i in range(partition.nr_vps):
        if in_set(format, mask, bank, i):
            irq_raise(&partition.vp[i].cpu, vector)
    return HV_STATUS_SUCCESS


# The calls that send an interrupt to a set of processors; the status.
cdef u64 send_interrupts(l0_vp *vp, const call_t *call, bint extended) noexcept nogil:
    cdef u32 vector = <u32>call.word[0]

    if not extended:
        # in registers the word beside the vector is looked at, in memory it is not
        if call.fast and call.word[0] >> 32:
            return refuse_call(vp, call, CHECK_send_reserved, call.word[0])
        return send(vp, call, vector, SET_SPARSE, 1, call.word + 1)
    if <u32>__builtin_popcountll(call.word[2]) != call.variable:
        return refuse_call(
            vp, call, CHECK_send_set_banks, <u32>__builtin_popcountll(call.word[2]))
    # any other form than that of all processors is a list of banks, and an empty one is nobody
    if call.word[1] != SET_ALL and not call.variable:
        return HV_STATUS_SUCCESS
    return send(vp, call, vector, call.word[1], call.word[2], call.word + 3)
