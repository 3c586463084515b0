# SPDX-License-Identifier: GPL-2.0-only
# Bytes at a linear address of L2: memory, or a device, of one page or of two.


# What a walk that has found nothing has left: an exception, or an exit.
cdef inline int not_translated(const l0_vp *vp) noexcept nogil:
    return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES


# Is the page that a walk has just found the APIC-access page?
cdef inline bint is_virtual_page(const l0_vp *vp, const u8 *page) noexcept nogil:
    return is_open_bus(page) and vp.root.bus.is_virtual


# Between the devices of two pages, neither of which is the APIC-access page.
cdef inline void swap_places(l0_vp *vp, u64 *place) noexcept nogil:
    cdef u64 other = vp.root.bus.page

    vp.root.bus.page = place[0]
    vp.root.bus.is_virtual = 0
    place[0] = other


# Bytes of the page that a walk has just found.
cdef inline int read_part(l0_vp *vp, const u8 *page, u64 linear, u32 size, u64 *value) noexcept nogil:
    value[0] = 0
    if unlikely(is_open_bus(page)) and (has_bus(vp) or vp.root.bus.is_virtual):
        return read_device(vp, linear, size, value)
    memcpy(value, page + (linear & 4095), size)
    return L2_DONE


cdef inline int write_part(l0_vp *vp, u8 *page, u64 linear, u32 size, u64 value) noexcept nogil:
    if unlikely(is_open_bus(page)):
        if has_bus(vp) or vp.root.bus.is_virtual:
            return write_device(vp, linear, size, value)
        return L2_DONE
    memcpy(page + (linear & 4095), &value, size)
    return L2_DONE


# Each page of an access is looked up once: another processor may change its entry meanwhile, and
# not every translation is kept. Of two pages, both are there before either is read: what a device
# answers it answers once.
cdef int read_across(l0_vp *vp, const u8 *page, u64 linear, u32 size, u32 right, u64 *value) \
        noexcept nogil:
    cdef u32 first = 4096 - (<u32>linear & 4095)
    cdef u64 place = vp.root.bus.page
    cdef const u8 *second = translate(vp, linear + first, right)
    cdef u64 high = 0
    cdef int status

    if second == NULL:
        return not_translated(vp)
    if is_virtual_page(vp, second):
        return apic_access_exit(vp, linear + first, ACCESS_READ)
    # where a device is, is known of the last page that was found
    swap_places(vp, &place)
    status = read_part(vp, page, linear, first, value)
    swap_places(vp, &place)
    if status == L2_DONE:
        status = read_part(vp, second, linear + first, size - first, &high)
    value[0] |= high << 8 * first
    return status


cdef int read_linear(l0_vp *vp, u64 linear, u32 size, u32 right, u64 *value) noexcept nogil:
    cdef const u8 *page = translate(vp, linear, right)

    value[0] = 0
    if page == NULL:
        return not_translated(vp)
    if (linear & 4095) + size <= 4096:
        return read_part(vp, page, linear, size, value)
    if is_virtual_page(vp, page):
        return read_virtual_apic(vp, linear, size, value)
    return read_across(vp, page, linear, size, right, value)


# Both pages before the first byte.
cdef int write_across(l0_vp *vp, u8 *page, u64 linear, u32 size, u32 right, u64 value) \
        noexcept nogil:
    cdef u32 first = 4096 - (<u32>linear & 4095)
    cdef bint is_virtual = is_virtual_page(vp, page)
    cdef u64 place = vp.root.bus.page
    cdef u8 *second = translate(vp, linear + first, right)
    cdef int status

    if second == NULL:
        return not_translated(vp)
    if is_virtual:
        return write_virtual_apic(vp, linear, size, value)
    if is_virtual_page(vp, second):
        return apic_access_exit(vp, linear + first, ACCESS_WRITE)
    swap_places(vp, &place)
    status = write_part(vp, page, linear, first, value)
    swap_places(vp, &place)
    if status == L2_DONE:
        status = write_part(vp, second, linear + first, size - first, value >> 8 * first)
    return status


cdef int write_linear(l0_vp *vp, u64 linear, u32 size, u32 right, u64 value) noexcept nogil:
    cdef u8 *page = translate(vp, linear, right)

    if page == NULL:
        return not_translated(vp)
    if (linear & 4095) + size <= 4096:
        return write_part(vp, page, linear, size, value)
    return write_across(vp, page, linear, size, right, value)
