# SPDX-License-Identifier: GPL-2.0-only
# The board's I/O APIC: lines of devices, each with the interrupt that it stands for.

cdef enum:
    IO_APIC_PAGE = 0xfec00000
    IO_INDEX = 0
    IO_DATA = 0x10
    # what the index chooses
    IO_ID = 0
    IO_VERSION = 1
    IO_ARBITRATION = 2
    IO_ENTRIES = 0x10
    IO_VERSION_82093 = 0x11
    # of an entry
    ENTRY_LOGICAL = 1 << 11
    ENTRY_REMOTE = 1 << 14
    ENTRY_LEVEL = 1 << 15
    ENTRY_MASKED = 1 << 16
    # delivery status, which is never seen, and remote IRR are the I/O APIC's own
    ENTRY_READ_ONLY = 1 << 12 | ENTRY_REMOTE
    MODE_LOWEST = 1
    SPIV_NO_BROADCAST = 1 << 12


cdef bint is_io_apic(u64 address) noexcept nogil:
    return address & ~<u64>0xfff == <u64>IO_APIC_PAGE


cdef void io_apic_reset(l0_partition *partition) noexcept nogil:
    cdef u32 line

    memset(&partition.board.io_apic, 0, sizeof(partition.board.io_apic))
    for line in range(<u32>L0_IO_LINES):
        partition.board.io_apic.entry[line] = ENTRY_MASKED


# The interrupt of a line, to the processors that its entry names: to the first of them where its
# mode wants only one.
cdef void io_apic_deliver(l0_partition *partition, u32 line) noexcept nogil:
    cdef u64 entry = partition.board.io_apic.entry[line]
    cdef u32 n, command = <u32>entry & 0x7ff
    cdef bint level = entry & ENTRY_LEVEL != 0
    cdef l0_vp *to

    for n in range(partition.nr_vps):
        to = &partition.vp[n]
        if to.root.on and is_addressed(to, <u32>(entry >> 56), entry & ENTRY_LOGICAL != 0, False):
            # an INIT comes by its edge
            apic_send(to, command | 1 << 14, level)
            if command >> 8 & 7 == MODE_LOWEST:
                break
    if level:
        partition.board.io_apic.entry[line] |= ENTRY_REMOTE


# Its line is high, and it has not been told before its end.
cdef bint io_apic_waits(const l0_partition *partition, u32 line) noexcept nogil:
    cdef u64 entry = partition.board.io_apic.entry[line]

    return partition.board.io_apic.lines >> line & 1 and \
        entry & (ENTRY_LEVEL | ENTRY_REMOTE | ENTRY_MASKED) == ENTRY_LEVEL


# A device raises or lowers a line.
cdef void io_apic_line(l0_partition *partition, u32 line, bint level) noexcept nogil:
    cdef l0_io_apic *io = &partition.board.io_apic
    cdef bint was = io.lines >> line & 1

    io.lines = io.lines & ~(<u32>1 << line) | <u32>level << line
    if io_apic_waits(partition, line) or (
            level and not was and not io.entry[line] & (ENTRY_LEVEL | ENTRY_MASKED)):
        io_apic_deliver(partition, line)


# A processor has ended an interrupt that came by a level.
cdef void io_apic_end(l0_partition *partition, u32 vector) noexcept nogil:
    cdef u32 line
    cdef u64 *entry

    for line in range(<u32>L0_IO_LINES):
        entry = &partition.board.io_apic.entry[line]
        if <u8>entry[0] == vector and entry[0] & ENTRY_LEVEL:
            entry[0] &= ~<u64>ENTRY_REMOTE
            if io_apic_waits(partition, line):
                io_apic_deliver(partition, line)


cdef u32 io_apic_read(const l0_partition *partition, u32 offset) noexcept nogil:
    cdef const l0_io_apic *io = &partition.board.io_apic
    cdef u32 number = io.index

    if offset == IO_INDEX:
        return number
    if offset != IO_DATA:
        return 0
    if number == IO_ID or number == IO_ARBITRATION:
        return io.id << 24
    if number == IO_VERSION:
        return (L0_IO_LINES - 1) << 16 | IO_VERSION_82093
    number -= IO_ENTRIES
    return <u32>(io.entry[number >> 1] >> 32 * (number & 1)) if number < 2 * L0_IO_LINES else 0


cdef void io_apic_write_entry(l0_partition *partition, u32 number, u32 value) noexcept nogil:
    cdef u32 line = number >> 1
    cdef u64 *entry = &partition.board.io_apic.entry[line]

    if number & 1:
        entry[0] = entry[0] & ~<u32>0 | <u64>value << 32
        return
    entry[0] = entry[0] & ~<u64>0xffffffff | entry[0] & ENTRY_READ_ONLY | \
        value & <u32>0x1ffff & ~<u32>ENTRY_READ_ONLY
    if not entry[0] & ENTRY_LEVEL:
        entry[0] &= ~<u64>ENTRY_REMOTE
    if io_apic_waits(partition, line):
        io_apic_deliver(partition, line)


cdef void io_apic_write(l0_partition *partition, u32 offset, u32 value) noexcept nogil:
    cdef l0_io_apic *io = &partition.board.io_apic
    cdef u32 number = io.index

    if offset == IO_INDEX:
        io.index = value & 0xff
    elif offset == IO_DATA and number == IO_ID:
        io.id = value >> 24 & 15
    elif offset == IO_DATA and IO_ENTRIES <= number < IO_ENTRIES + 2 * L0_IO_LINES:
        io_apic_write_entry(partition, number - IO_ENTRIES, value)
