# SPDX-License-Identifier: GPL-2.0-only
# Where an access goes that no memory answers: to the APIC, or to a device of whoever runs L1.


# The page that a walk has just found to be no memory, and the place in it.
cdef inline u64 bus_address(const l0_vp *vp, u64 linear) noexcept nogil:
    return vp.root.bus.page | linear & 0xfff


# Devices that are memory answer at once; where nothing is, reads are all ones.
cdef void bus_read(l0_vp *vp, u64 address, u32 size, u64 *value) noexcept nogil:
    value[0] = size_mask(size)
    if is_apic_page(vp, address):
        value[0] = <u64>apic_read(vp, (address & 0xfff) >> 4) >> 8 * (address & 15)
    elif is_io_apic(address):
        value[0] = io_apic_read(vp.partition, <u32>address & 0xfff)


cdef void bus_write(l0_vp *vp, u64 address, u32 size, u64 value) noexcept nogil:
    if is_apic_page(vp, address) and not address & 15:
        apic_write(vp, (address & 0xfff) >> 4, <u32>value)
    elif is_io_apic(address):
        io_apic_write(vp.partition, <u32>address & 0xfff, <u32>value)


cdef int read_device(l0_vp *vp, u64 linear, u32 size, u64 *value) noexcept nogil:
    if vp.root.bus.is_virtual:
        return read_virtual_apic(vp, linear, size, value)
    bus_read(vp, bus_address(vp, linear), size, value)
    return L2_DONE


cdef int write_device(l0_vp *vp, u64 linear, u32 size, u32 right, u64 value) noexcept nogil:
    if (linear & 4095) + size > 4096:
        # what is at hand is the address of the second page
        translate(vp, linear, right)
    if vp.root.bus.is_virtual:
        return write_virtual_apic(vp, linear, size, value)
    bus_write(vp, bus_address(vp, linear), size, value)
    return L2_DONE


# Before the next instruction a device sees to the port: RAX is still to come where it is read.
cdef void bus_port(l0_vp *vp, u32 port, u32 size, bint is_in, u64 value) noexcept nogil:
    cdef l0_bus *bus = &vp.root.bus

    bus.waits = 1
    bus.port = <u16>port
    bus.size = <u8>size
    bus.is_in = is_in
    bus.value = <u32>(value & size_mask(size))
    vp.boundary_work = 1
