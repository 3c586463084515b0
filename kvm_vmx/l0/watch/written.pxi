# SPDX-License-Identifier: GPL-2.0-only
# Who writes into a VMCS, as it is told: by the port, by an instruction that traps, by Python.

# A lint of a member of the active eVMCS, and who wrote what it has found.
cdef void note_member(l0_vp *vp, u32 what, u32 offset, u64 found, u64 kept) noexcept nogil:
    l0_note(vp, what, offset, found, kept)
    l0_note_writer(vp, what, offset, offset, found)


cdef void write_down(
        l0_written_page *at, u32 offset, u64 value, const l0_vp *vp, u32 who,
        u64 where) noexcept nogil:
    cdef l0_writer *slot = &at.slot[offset // 2]

    slot.where = where
    slot.value = value
    slot.who = who
    slot.vp, slot.entry = ~<u32>0, 0
    if vp != NULL:
        slot.vp = vp.cpu.index
        slot.entry = vp.counters.vmlaunch + vp.counters.vmresume


# The hook of phys_mem. What was written is read where it stands: in L1's page, or where the VMCS is
# the processor's, in that.
cdef void note_writer(virt_cpu *cpu, u64 vmcs, u64 field, u32 who, u64 where) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef const u8 *fields
    cdef l0_written_page *at
    cdef const l0_field *place
    cdef u64 value = 0
    cdef int high = 0

    if vmcs == WRITTEN_CURRENT:
        vmcs = vp.current_vmptr
    fields = <const u8 *>&vp.current_vmcs if vmcs == vp.current_vmptr else \
        phys_page(cpu.mem, vmcs)
    at = vp.watch.written
    if unlikely(at == NULL or at.page != vmcs | 1):
        at = vp.watch.written = l0_written_at(cpu.mem.written, vmcs, True)
    if unlikely(at == NULL or fields == NULL):
        return
    place = l0_field_of(field, &high)
    if place == NULL:
        return
    value = l0_field_get(fields, place, 0)
    write_down(at, place.offset, value, vp, who, where)
    if place.groups:
        value = (<const hv_enlightened_vmcs *>fields).hv_clean_fields
        write_down(at, CLEAN_FIELDS, value, vp, who, where)


# Python has stored into L1's memory: each member of an eVMCS that this has touched.
cdef void note_stores(const phys_mem *mem, u64 start, u64 end) noexcept nogil:
    cdef u64 page = start & ~<u64>0xfff
    cdef l0_written_page *at
    cdef const u8 *fields
    cdef u32 offset, size

    while page < end:
        at = l0_written_at(mem.written, page, False)
        fields = phys_page(mem, page)
        if at != NULL and fields != NULL:
            for offset in range(0, <u32>LAYOUT_BYTES, 2):
                size = l0_members[offset // 2].size
                if size and page + offset < end and page + offset + size > start:
                    write_down(at, offset, l0_member_get(fields, offset), NULL,
                               WRITER_PYTHON, 0)
        page += 0x1000
