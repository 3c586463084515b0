# SPDX-License-Identifier: GPL-2.0-only
# Save and restore of a processor that runs L1's code: what it has besides, and the board.

# The APIC's timer: a count of 32 bits, divided by 128.
cdef u64 LONGEST_PERIOD = <u64>0xffffffff << 7


cdef bint access_sound(const l0_access *access) noexcept nogil:
    cdef u32 size = access.size

    return access.in_memory <= 1 and access.is_read <= 1 and size <= 8 and \
        not size & (size - 1) and not access.value & ~size_mask(size)


# At most one of the two: a read that waits, or one whose answer does.
cdef bint bus_sound(const l0_bus *bus) noexcept nogil:
    cdef u32 i

    if bus.asks > 1 or bus.answered > 1 - bus.asks or bus.is_virtual > 1 or bus.page & 0xfff or \
            bus.used > bus.nr_answers or bus.nr_answers > <u32>L0_ACCESSES - bus.asks or \
            bus.first > bus.nr_writes or bus.nr_writes > <u32>L0_ACCESSES or \
            not access_sound(&bus.now) or (bus.asks and not (bus.now.is_read and bus.now.size)):
        return False
    for i in range(bus.first, bus.nr_writes):
        if not access_sound(&bus.queue[i]) or bus.queue[i].is_read or not bus.queue[i].size:
            return False
    return True


# Where L2 does not stand, none of its interrupts is recognized and no write of its own waits.
cdef bint apic_sound(const l0_apic *apic, bint in_guest) noexcept nogil:
    return apic.init_waits <= 1 and apic.sipi_waits <= 1 and apic.reserved == 0 and \
        apic.virtual_work <= VIRTUAL_ENTRY + VIRTUAL_WRITTEN + VIRTUAL_INTERRUPT and \
        (in_guest or apic.virtual_work <= <u32>VIRTUAL_ENTRY) and \
        apic.written < 0x400 and (apic.written & 15) + apic.written_size <= 4 and \
        not apic.isr[0] & 0xffff and (
            apic.timer_every == 0 or SHORTEST_PERIOD <= apic.timer_every <= LONGEST_PERIOD)


cdef bint board_sound(const l0_partition *partition, const l0_board *board) noexcept nogil:
    cdef const l0_io_apic *io = &board.io_apic
    cdef const l0_port *port
    cdef u32 i

    if io.lines >> L0_IO_LINES or io.index > 0xff or io.id > 15:
        return False
    for i in range(<u32>L0_NR_PORTS):
        port = &board.port[i]
        if port.kind > PORT_EVENTS or port.vp >= partition.nr_vps or \
                port.source >= L0_NR_SINTS or port.length > POSTED_BODY or \
                port.waits > (port.kind == PORT_MESSAGES):
            return False
    return True


# The VMCS that L1's registers are in intercepts nothing.
cdef bint root_vmcs_sound(const l0_vmcs *r) noexcept nogil:
    return r.f.guest_activity_state <= GUEST_ACTIVITY_WAIT_SIPI and \
        r.f.pin_based_vm_exec_control == 0 and r.f.exception_bitmap == 0 and \
        r.f.cpu_based_vm_exec_control == <u32>CPU_BASED_ACTIVATE_SECONDARY_CONTROLS and \
        r.f.secondary_vm_exec_control == <u32>ROOT_SECONDARY


# None, or an exception with an error code.
cdef bint queued_sound(const l0_root *root) noexcept nogil:
    cdef u32 kind = root.queued & ~<u32>31

    return root.queued_error <= 0xffff and (root.queued == 0 or kind == (
        <u32>INTR_INFO_VALID_MASK | INTR_INFO_DELIVER_CODE_MASK | INTR_TYPE_HARD_EXCEPTION))


# NULL, or what of a processor and its board is none.
cdef const char *root_sound(const l0_partition *partition, const l0_whole *whole) noexcept nogil:
    cdef const l0_root *root = &whole.root

    if root.on != 1 or root.shadow_ended > 1 or root.waits > 1 or root.queued_past > 1:
        return "a flag has no such value"
    # so that no count of more wraps
    if whole.instructions >> 63:
        return "its time is none"
    if not queued_sound(root):
        return "its queued exception is none"
    if not bus_sound(&root.bus):
        return "its accesses to devices are none"
    if not apic_sound(&root.apic, whole.saved.stopped != 0):
        return "its APIC is in no state"
    if not root_vmcs_sound(&whole.root_vmcs):
        return "L1 is in no state of a processor"
    if not board_sound(partition, &whole.board):
        return "its board is in no state"
    return NULL


cdef void root_save(l0_vp *vp, l0_whole *whole) noexcept nogil:
    memset(whole, 0, sizeof(l0_whole))
    if is_root(vp):
        root_to_processor(vp)
        vp.guest_state = L2_NOT_RUNNING
    vp_save(vp, &whole.saved)
    vp.guest_state = L2_STOPPED
    whole.root_vmcs = vp.root_vmcs
    whole.root = vp.root
    whole.board = vp.partition.board
    whole.tsc = clock_tsc(vp.partition)
    whole.reference = clock_reference_time(vp.partition)
    whole.instructions = vp.counters.l2_instructions
    whole.checksum = l0_whole_checksum(whole)


# NULL, or what is wrong with it; then nothing has changed.
cdef const char *root_restore(l0_vp *vp, const l0_whole *whole) noexcept nogil:
    cdef const char *wrong = check_saved(vp, &whole.saved)

    if wrong == NULL and whole.checksum != l0_whole_checksum(whole):
        wrong = "it is damaged"
    if wrong == NULL:
        wrong = root_sound(vp.partition, whole)
    if wrong != NULL:
        return wrong
    # what is saved as so long from now on counts from here
    vp.counters.l2_instructions = whole.instructions
    root_time_restore(vp.partition, whole.tsc, whole.reference)
    vp_restore(vp, &whole.saved)
    vp.root_vmcs = whole.root_vmcs
    vp.root = whole.root
    vp.partition.board = whole.board
    vp.regs = vp.gpr
    if not whole.saved.stopped:
        vp.vmcs = &vp.root_vmcs
    vp.guest_state = L2_STOPPED
    return NULL
