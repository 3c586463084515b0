# SPDX-License-Identifier: GPL-2.0-only
# Where an access goes that no memory answers: to the APIC, or to a device of whoever runs this.


# The page that a walk has just found to be no memory, and the place in it.
cdef inline u64 bus_address(const l0_vp *vp, u64 linear) noexcept nogil:
    return vp.root.bus.page | linear & 0xfff


# Is there anybody who could see to an access? Not where L1 is native code: it cannot stand still.
cdef inline bint has_ports(const l0_vp *vp) noexcept nogil:
    return vp.may_stop and (vp.root.on or vp.partition.devices.ports)


cdef inline bint has_bus(const l0_vp *vp) noexcept nogil:
    return vp.root.on or (vp.may_stop and vp.partition.devices.nr_ranges)


cdef bint is_device(const l0_vp *vp, u64 address) noexcept nogil:
    cdef const l0_devices *devices = &vp.partition.devices
    cdef u32 i

    for i in range(devices.nr_ranges):
        if devices.first[i] <= address <= devices.last[i]:
            return vp.may_stop
    return False


# A read: what the device has said, or the instruction stands still until it has. While an event is
# delivered nobody is asked, since there is no instruction to begin anew.
cdef int bus_ask(l0_vp *vp, bint in_memory, u64 address, u32 size, u64 *value) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus

    if bus.used < bus.nr_answers:
        value[0] = bus.answer[bus.used] & size_mask(size)
        bus.used += 1
        return L2_DONE
    value[0] = size_mask(size)
    if vp.vectoring or bus.nr_answers >= <u32>L0_ACCESSES:
        return L2_DONE
    bus.now.address = address
    bus.now.value = 0
    bus.now.in_memory = in_memory
    bus.now.is_read = 1
    bus.now.size = <u8>size
    bus.asks = 1
    # what the instruction has written so far it will write again
    bus.first = bus.nr_writes = 0
    vp.counters.l2_instructions -= 1
    vp.guest_state = L2_STOPPED
    vp.paused = 0
    return L2_LEAVES


# A write: before the next instruction a device sees to it.
cdef void bus_tell(l0_vp *vp, bint in_memory, u64 address, u32 size, u64 value) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus
    cdef l0_access *place

    if bus.nr_writes < <u32>L0_ACCESSES:
        place = &bus.queue[bus.nr_writes]
        place.address = address
        place.value = value & size_mask(size)
        place.in_memory = in_memory
        place.is_read = 0
        place.size = <u8>size
        bus.nr_writes += 1
    vp.boundary_work = 1


# At a boundary: does an access wait for its device?
cdef inline bint bus_waits(const l0_vp *vp) noexcept nogil:
    return vp.root.bus.first < vp.root.bus.nr_writes


# The access to see to now, where the processor stands still for one.
cdef bint bus_next(l0_vp *vp) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus

    if bus.asks:
        return True
    if not bus_waits(vp):
        return False
    bus.now = bus.queue[bus.first]
    bus.first += 1
    if bus.first == bus.nr_writes:
        bus.first = bus.nr_writes = 0
    return True


# Nothing of what was under way is asked, answered or written any more.
cdef void bus_forget(l0_vp *vp) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus

    bus.asks = bus.answered = bus.nr_answers = bus.used = 0
    bus.first = bus.nr_writes = 0


# What a device has for the read that waits.
cdef void bus_answer(l0_vp *vp, u64 value) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus

    if bus.asks:
        bus.answer[bus.nr_answers] = value
        bus.nr_answers += 1
        bus.asks = 0
        bus.answered = 1


# The instruction that has asked is next, and finds all its answers; else there are none.
cdef inline bint bus_goes_on(l0_vp *vp) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus

    bus.used = bus.asks = 0
    if bus.answered:
        bus.answered = 0
        return True
    bus.nr_answers = 0
    return False


# Devices see accesses of 1, 2, 4 and 8 bytes: what a page's end has cut is made of such.
cdef inline u32 piece(u32 size) noexcept nogil:
    return 8 if size == 8 else 4 if size >= 4 else 2 if size >= 2 else 1


cdef int ask_pieces(l0_vp *vp, u64 address, u32 size, u64 *value) noexcept nogil:
    cdef u32 done = 0
    cdef u64 part = 0
    cdef int status

    value[0] = 0
    while done < size:
        status = bus_ask(vp, True, address + done, piece(size - done), &part)
        if status:
            return status
        value[0] |= part << 8 * done
        done += piece(size - done)
    return L2_DONE


cdef void tell_pieces(l0_vp *vp, u64 address, u32 size, u64 value) noexcept nogil:
    cdef u32 done = 0

    while done < size:
        bus_tell(vp, True, address + done, piece(size - done), value >> 8 * done)
        done += piece(size - done)


# Devices that are memory answer at once; where nothing is, reads are all ones.
cdef int bus_read(l0_vp *vp, u64 address, u32 size, u64 *value) noexcept nogil:
    value[0] = size_mask(size)
    if vp.root.on and is_apic_page(vp, address):
        # 32 bits of a register, then nothing up to the next
        value[0] = 0 if address & 8 else \
            <u64>apic_read(vp, (address & 0xfff) >> 4) >> 8 * (address & 7)
    elif vp.root.on and is_io_apic(address):
        value[0] = io_apic_read(vp.partition, <u32>address & 0xfff)
    elif is_device(vp, address):
        return ask_pieces(vp, address, size, value)
    return L2_DONE


cdef void bus_write(l0_vp *vp, u64 address, u32 size, u64 value) noexcept nogil:
    if vp.root.on and is_apic_page(vp, address):
        if not address & 15:
            apic_write(vp, (address & 0xfff) >> 4, <u32>value)
    elif vp.root.on and is_io_apic(address):
        io_apic_write(vp.partition, <u32>address & 0xfff, <u32>value)
    elif is_device(vp, address):
        tell_pieces(vp, address, size, value)


cdef int read_device(l0_vp *vp, u64 linear, u32 size, u64 *value) noexcept nogil:
    if vp.root.bus.is_virtual:
        return read_virtual_apic(vp, linear, size, value)
    return bus_read(vp, bus_address(vp, linear), size, value)


cdef int write_device(l0_vp *vp, u64 linear, u32 size, u64 value) noexcept nogil:
    if vp.root.bus.is_virtual:
        return write_virtual_apic(vp, linear, size, value)
    bus_write(vp, bus_address(vp, linear), size, value)
    return L2_DONE
