# SPDX-License-Identifier: GPL-2.0-only
# Ports behind which a virtual processor takes messages and events, by their connections: TLFS 11.

cdef enum:
    PORT_NONE = 0
    PORT_MESSAGES = 1
    PORT_EVENTS = 2
    # a message as the call has it: connection, type, size of the body, and the body
    POSTED_BYTES = 256
    POSTED_BODY = 240
    CONNECTION_BITS = 0xffffff
    INSUFFICIENT_BUFFERS = 0x13
    EVENT_SLOT = 256


cdef l0_port *find_port(l0_partition *partition, u32 connection, u32 kind) noexcept nogil:
    cdef u32 i

    for i in range(<u32>L0_NR_PORTS):
        if partition.board.port[i].kind == kind and \
                partition.board.port[i].connection == connection:
            return &partition.board.port[i]
    return NULL


# From here on a connection leads to a source of a processor; False without a place for it.
cdef bint port_connect(l0_vp *vp, u32 connection, u32 kind, u32 source) noexcept nogil:
    cdef l0_port *port = find_port(vp.partition, 0, PORT_NONE)

    port_disconnect(vp.partition, connection)
    if port == NULL or source >= L0_NR_SINTS:
        return False
    port.connection = connection
    port.vp = vp.cpu.index
    port.kind = <u8>kind
    port.source = <u8>source
    return True


cdef void port_disconnect(l0_partition *partition, u32 connection) noexcept nogil:
    cdef u32 i

    for i in range(<u32>L0_NR_PORTS):
        if partition.board.port[i].connection == connection:
            memset(&partition.board.port[i], 0, sizeof(partition.board.port[i]))


# The message of a port, into its slot; where that is taken, the message waits for its end.
cdef void port_deliver(l0_partition *partition, l0_port *port) noexcept nogil:
    port.waits = synic_message(&partition.vp[port.vp], port.source, port.message, port.body,
                               port.length, False) != FIRED


cdef void ports_retry(l0_vp *vp) noexcept nogil:
    cdef l0_port *port
    cdef u32 i

    for i in range(<u32>L0_NR_PORTS):
        port = &vp.partition.board.port[i]
        if port.waits and port.vp == vp.cpu.index:
            port_deliver(vp.partition, port)


# TLFS 11.11.2. A port holds one message back.
cdef u64 post_message(l0_vp *vp, const call_t *call, u64 gpa) noexcept nogil:
    cdef const u32 *posted = <const u32 *>phys_ptr(vp.cpu.mem, gpa, POSTED_BYTES)
    cdef l0_port *port = NULL

    if posted != NULL and not call.fast and not gpa & 7:
        port = find_port(vp.partition, posted[0] & CONNECTION_BITS, PORT_MESSAGES)
    if port == NULL:
        return refuse_call(vp, call, CHECK_call_port, 0)
    if port.waits or posted[3] > POSTED_BODY:
        return INSUFFICIENT_BUFFERS if port.waits else HV_STATUS_INVALID_PARAMETER
    port.message = posted[2]
    port.length = <u8>posted[3]
    memcpy(port.body, posted + 4, POSTED_BODY)
    port_deliver(vp.partition, port)
    return HV_STATUS_SUCCESS


# TLFS 11.11.3: the flag of the connection, and an interrupt where it was not set.
cdef u64 signal_event(l0_vp *vp, const call_t *call) noexcept nogil:
    cdef u32 connection = <u32>call.word[0] & CONNECTION_BITS
    cdef u32 flag = connection + (call.word[0] >> 32 & 0xffff)
    cdef l0_port *port = find_port(vp.partition, connection, PORT_EVENTS)
    cdef l0_vp *to
    cdef u8 *flags

    if port == NULL or flag >= 8 * EVENT_SLOT:
        return refuse_call(vp, call, CHECK_call_port, 0)
    to = &vp.partition.vp[port.vp]
    flags = phys_page(vp.cpu.mem, to.synic.event_page)
    if not to.synic.event_page & ENABLED or flags == NULL:
        return HV_STATUS_SUCCESS
    flags += port.source * EVENT_SLOT + flag // 8
    if not flags[0] >> (flag & 7) & 1:
        flags[0] |= <u8>(1 << (flag & 7))
        synic_signal(to, port.source)
    return HV_STATUS_SUCCESS
